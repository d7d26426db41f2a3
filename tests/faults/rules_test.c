// tests/faults/rules_test.c: what every rule of shape inference accepts, refuses and computes.
//
// Goal:   each branch of a rule is met by a row of rules.inc that says what must come out, on
// symbols
//         (as at a load), on numbers (as in a run, where the two must agree), and when the graph's
//         memory ends within the rule.
// Method: a row is a node in writing; see rules.inc. Inference of that one node is called directly.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/graph/graph.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPERANDS 16
#define ELEMENTS 64
#define ATTRIBUTES 8
#define UNNAMED (INT64_MIN + 1) // "_"

typedef struct row {
    const char *op, *inputs, *attributes, *want;
    int line;
} row_t;

static const row_t rows[] = {
#define RULE(op_, inputs_, attributes_, want_) {op_, inputs_, attributes_, want_, __LINE__},
#include "tests/faults/rules.inc"
#undef RULE
};

// A value in writing: its type and what is known of its contents.
typedef struct value {
    weir__type_t type;
    weir__tensor_t tensor;
    weir__shape_value_t shape;
    bool absent, has_tensor;
    char data[ELEMENTS * 8];
} value_t;

typedef struct list {
    value_t values[OPERANDS];
    uint32_t count;
    bool symbolic; // something in it is a symbol or of unknown rank
} list_t;

// One row, read, with the graph that holds its symbols.
typedef struct trial {
    const row_t *row;
    weir__heap_t heap;
    weir__graph_t *graph;
    weir__op_t op;
    weir__node_t node;
    weir_attribute_t attributes[ATTRIBUTES];
    int64_t numbers[ATTRIBUTES][ELEMENTS];
    char text[512]; // attributes, cut into names
    uint32_t numbered[OPERANDS];
    list_t inputs, branches[2], want;
    weir__type_t outputs[OPERANDS];
    weir__shape_value_t out_shapes[OPERANDS];
} trial_t;

static int row_line;
static uint32_t wrong_count;

// The row itself cannot be read.
static void broken(const char *text)
{
    fail_msg("rules.inc:%d: %s", row_line, text);
}

static void wrong(const char *text)
{
    print_error("rules.inc:%d: %s\n", row_line, text);
    wrong_count++;
}

// ---- Reading rows -----------------------------------------------------------------------------

static weir_dtype_t read_dtype(const char **at)
{
    size_t length = strcspn(*at, "[*");
    if (length == 1 && **at == '?') {
        (*at)++;
        return 0;
    }
    for (weir_dtype_t dtype = 1; dtype <= WEIR_STRING; dtype <<= 1) {
        const char *name = weir__dtype_name(dtype);
        if (strlen(name) == length && strncmp(name, *at, length) == 0) {
            *at += length;
            return dtype;
        }
    }
    broken("no dtype");
    return 0;
}

// A number, or the symbol of a letter; "_" is what no symbol is called.
static int64_t read_dim(trial_t *trial, const char **at, bool *out_symbolic)
{
    char name[2] = {**at, 0}, *end;
    int64_t dim = 0;
    *out_symbolic = (name[0] >= 'a' && name[0] <= 'z') || name[0] == '_';
    if (*out_symbolic) {
        (*at)++;
        if (name[0] != '_')
            assert_null(weir__graph_symbol(trial->graph, name, 0, &dim));
        else
            dim = UNNAMED;
        return dim;
    }
    dim = strtoll(*at, &end, 10);
    if (end == *at)
        broken("no number");
    *at = end;
    return dim;
}

static void read_contents(value_t *value, const char **at)
{
    uint64_t count = 0, size = weir_dtype_bytes(value->type.dtype);
    value->has_tensor = true;
    (*at)++;
    while (**at && **at != ' ') {
        char *end;
        double real = strtod(*at, &end);
        int64_t whole = strtoll(*at, NULL, 10);
        float single = (float)real;
        const void *from = value->type.dtype == WEIR_F32   ? (const void *)&single
                           : value->type.dtype == WEIR_F64 ? (const void *)&real
                                                           : (const void *)&whole;
        assert_true(count < ELEMENTS && end != *at);
        memcpy(value->data + count++ * size, from, size);
        *at = *end == ',' ? end + 1 : end;
    }
    value->tensor = (weir__tensor_t){.dtype = value->type.dtype,
        .rank = (uint32_t)value->type.rank,
        .dims = value->type.dims,
        .count = count,
        .bytes = count * size,
        .data = count ? value->data : NULL};
}

// "i64[2,n]:3,n": what the text before ':' or '=' says, and what is known behind it.
static void read_value(trial_t *trial, list_t *list, const char **at)
{
    bool symbolic;
    assert_true(list->count < OPERANDS);
    value_t *value = &list->values[list->count++];
    if (**at == '-') {
        value->absent = true;
        (*at)++;
        return;
    }
    value->type.dtype = read_dtype(at);
    if (**at == '*') {
        value->type.rank = -1;
        list->symbolic = true;
        (*at)++;
        return;
    }
    for ((*at)++; **at != ']'; *at += **at == ',') {
        value->type.dims[value->type.rank++] = read_dim(trial, at, &symbolic);
        list->symbolic |= symbolic;
    }
    (*at)++;
    if (**at == '=')
        read_contents(value, at);
    if (**at != ':')
        return;
    do {
        (*at)++;
        uint32_t i = value->shape.count++;
        value->shape.elements[i] = read_dim(trial, at, &symbolic);
        value->shape.symbol_mask |= (uint32_t)symbolic << i;
        list->symbolic |= symbolic;
    } while (**at == ',');
}

// Values separated by spaces; '/' begins the next list.
static void read_lists(trial_t *trial, const char *text, list_t *const *lists)
{
    while (*text) {
        if (*text == ' ')
            text++;
        else if (*text == '/' && text++)
            lists++;
        else
            read_value(trial, *lists, &text);
    }
}

static void read_numbers(trial_t *trial, weir_attribute_t *attribute, const char *text)
{
    int64_t *numbers = trial->numbers[attribute - trial->attributes];
    char *end;
    attribute->ints = numbers;
    for (text++; *text && *text != ']'; text = *end == ',' ? end + 1 : end)
        numbers[attribute->count++] = strtoll(text, &end, 10);
}

// "axis=1 perm=[0,1] mode=linear"
static void read_attributes(trial_t *trial, const char *text)
{
    snprintf(trial->text, sizeof trial->text, "%s", text);
    char *rest = trial->text;
    for (char *word; (word = strtok_r(rest, " ", &rest)) != NULL;) {
        weir_attribute_t *attribute = &trial->attributes[trial->node.attribute_count++];
        char *value = strchr(word, '=');
        assert_true(value && trial->node.attribute_count <= ATTRIBUTES);
        *value++ = 0;
        attribute->name = word;
        if (*value == '[') {
            attribute->type = WEIR_ATTR_INTS;
            read_numbers(trial, attribute, value);
        } else if (strchr("-0123456789", *value) && *value) {
            attribute->type = WEIR_ATTR_INT;
            attribute->i = strtoll(value, NULL, 10);
        } else {
            attribute->type = WEIR_ATTR_STRING;
            attribute->s = value;
        }
    }
}

static bool wants_error(const row_t *row)
{
    return strncmp(row->want, "BAD ", 4) == 0 || strncmp(row->want, "LIMIT ", 6) == 0 ||
           strncmp(row->want, "UNSUPPORTED ", 12) == 0;
}

static void begin(trial_t *trial, const row_t *row)
{
    weir_limits_t limits = {.size = sizeof limits,
        .rank = WEIR_RANK_MAX,
        .name_bytes = 100,
        .tensor_bytes = 1u << 30,
        .graph_bytes = 1u << 20};
    char name[32];
    memset(trial, 0, sizeof *trial);
    trial->row = row;
    row_line = row->line;
    weir__heap_init(&trial->heap, NULL, 0);
    assert_null(weir__graph_create(&trial->heap, &limits, &trial->graph));
    snprintf(name, sizeof name, "%s", row->op + strspn(row->op, "+!"));
    uint32_t output_count =
        strchr(name, '>') ? (uint32_t)strtoul(strchr(name, '>') + 1, NULL, 10) : 0;
    name[strcspn(name, ">")] = 0;
    if (!weir__op_find(name, 1))
        broken("no operator");
    trial->op = *weir__op_find(name, 1);
    read_lists(trial, row->inputs,
        (list_t *const[]){&trial->inputs, &trial->branches[0], &trial->branches[1]});
    read_attributes(trial, row->attributes);
    if (!wants_error(row))
        read_lists(trial, row->want, (list_t *const[]){&trial->want});
    for (uint32_t i = 0; i < OPERANDS; i++)
        trial->numbered[i] = i;
    trial->node.op = &trial->op;
    trial->node.attributes = trial->attributes;
    trial->node.inputs = trial->node.outputs = trial->numbered;
    trial->node.input_count = trial->inputs.count;
    trial->node.output_count = output_count ? output_count : WEIR_MAX(trial->want.count, 1);
}

static void end(trial_t *trial)
{
    weir__graph_free(trial->graph);
    assert_int_equal(trial->heap.now_bytes, 0);
}

// ---- Running them -----------------------------------------------------------------------------

static weir_status_t infer(trial_t *trial, bool load)
{
    const weir__type_t *inputs[OPERANDS] = {0}, *branches[2][OPERANDS] = {{0}};
    const weir__tensor_t *values[OPERANDS] = {0};
    const weir__shape_value_t *shapes[OPERANDS] = {0};
    for (uint32_t i = 0; i < trial->inputs.count; i++) {
        const value_t *value = &trial->inputs.values[i];
        inputs[i] = value->absent ? NULL : &value->type;
        values[i] = value->has_tensor ? &value->tensor : NULL;
        shapes[i] = value->shape.count ? &value->shape : NULL;
    }
    for (uint32_t r = 0; r < 2; r++)
        for (uint32_t i = 0; i < trial->branches[r].count; i++)
            branches[r][i] = &trial->branches[r].values[i].type;
    weir__infer_t node = {.node = &trial->node,
        .input_count = trial->inputs.count,
        .output_count = trial->node.output_count,
        .inputs = inputs,
        .values = values,
        .shapes = load ? shapes : NULL,
        .outputs = trial->outputs,
        .out_shapes = load ? trial->out_shapes : NULL,
        .graph = load ? trial->graph : NULL};
    for (uint32_t r = 0; r < 2; r++)
        node.region_outputs[r] = trial->branches[r].count ? branches[r] : NULL;
    memset(trial->outputs, 0xa5, sizeof trial->outputs);
    return weir__infer_node(&node);
}

static bool same_dim(const trial_t *trial, int64_t got, int64_t want)
{
    if (want != UNNAMED)
        return got == want;
    // "_": a symbol that no letter stands for
    return got < 0 && -1 - got < trial->graph->symbols.count &&
           !trial->graph->symbols.names[-1 - got];
}

static void check_value(const trial_t *trial, uint32_t i, bool load)
{
    const value_t *want = &trial->want.values[i];
    const weir__type_t *got = &trial->outputs[i];
    const weir__shape_value_t *shape = &trial->out_shapes[i];
    char text[256];
    bool same = want->absent || (got->dtype == want->type.dtype && got->rank == want->type.rank);
    for (int32_t d = 0; same && !want->absent && d < got->rank; d++)
        same = same_dim(trial, got->dims[d], want->type.dims[d]);
    if (!same)
        wrong(weir__type_text(trial->graph, got, text, sizeof text));
    if (!load)
        return;
    if (shape->count != want->shape.count)
        wrong("its elements are known, or not, otherwise than the row says");
    for (uint32_t e = 0; e < shape->count; e++)
        if (!same_dim(trial, shape->elements[e], want->shape.elements[e]) ||
            (shape->symbol_mask ^ want->shape.symbol_mask) >> e & 1)
            wrong("an element is not what the row says");
}

static void check(const trial_t *trial, weir_status_t status, bool load)
{
    const row_t *row = trial->row;
    if (!wants_error(row)) {
        if (status)
            wrong(weir_status_text(status));
        weir_status_free(status);
        for (uint32_t i = 0; !status && i < trial->want.count; i++)
            check_value(trial, i, load);
        return;
    }
    weir_code_t code = row->want[0] == 'B'   ? WEIR_INVALID_ARGUMENT
                       : row->want[0] == 'L' ? WEIR_LIMIT
                                             : WEIR_UNSUPPORTED;
    if (!status)
        wrong("it was not refused");
    else if (weir_status_code(status) != code ||
             !strstr(weir_status_message(status), strchr(row->want, ' ') + 1))
        wrong(weir_status_text(status));
    weir_status_free(status);
}

// Every row but those marked '!' as a load has it.
static void rules_at_load(void **state)
{
    static trial_t trial;
    (void)state;
    wrong_count = 0;
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].op[0] == '!')
            continue;
        begin(&trial, &rows[i]);
        check(&trial, infer(&trial, true), true);
        end(&trial);
    }
    print_message("%zu rows\n", sizeof rows / sizeof rows[0]);
    assert_int_equal(wrong_count, 0);
}

// Rows without symbols and those marked '!', as a run has them: no graph, only numbers.
static void rules_in_a_run(void **state)
{
    static trial_t trial;
    uint32_t count = 0;
    (void)state;
    wrong_count = 0;
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(&trial, &rows[i]);
        bool symbolic = trial.inputs.symbolic || trial.want.symbolic ||
                        trial.branches[0].symbolic || trial.branches[1].symbolic;
        if (rows[i].op[0] == '!' || (rows[i].op[0] != '+' && !symbolic)) {
            uint64_t before = trial.heap.now_bytes;
            check(&trial, infer(&trial, false), false);
            assert_true(wants_error(&rows[i]) || trial.heap.now_bytes == before);
            count++;
        }
        end(&trial);
    }
    assert_true(count > 100);
    assert_int_equal(wrong_count, 0);
}

// The graph's memory ends after `room` more symbols: the rule says so, or did not need any.
static void rules_without_memory(void **state)
{
    static trial_t trial;
    uint32_t refused = 0;
    (void)state;
    wrong_count = 0;
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (uint32_t room = 0; room < 5 && rows[i].op[0] != '!'; room++) {
            begin(&trial, &rows[i]);
            const weir__symbols_t *symbols = &trial.graph->symbols;
            uint64_t key = 1;
            int64_t dim;
            do
                assert_null(weir__graph_symbol(trial.graph, NULL, key++, &dim));
            while (symbols->capacity - symbols->count != room);
            trial.graph->zone.limit_bytes = trial.graph->zone.used_bytes;
            weir_status_t status = infer(&trial, true);
            if (weir_status_code(status) == WEIR_LIMIT &&
                strstr(weir_status_message(status), "graph_bytes")) {
                weir_status_free(status);
                refused++;
            } else {
                check(&trial, status, true);
            }
            end(&trial);
        }
    }
    assert_true(refused > 50);
    assert_int_equal(wrong_count, 0);
}

static weir_status_t no_rule(weir__infer_t *infer)
{
    infer->outputs[0] = (weir__type_t){.dtype = WEIR_F32};
    return NULL;
}

// Goal:   what no row can say: an operator of a plugin may have no input at all, or none but later
//         ones; more integers than a count holds are not known, and not read.
static void rules_of_others(void **state)
{
    (void)state;
    const weir__op_t custom = {.name = "Custom",
        .max_inputs = 2,
        .max_outputs = 1,
        .infer = no_rule,
        .dtypes = WEIR_F32,
        .result = WEIR__RESULT_RULE};
    weir__node_t node = {.op = &custom, .output_count = 1};
    weir__type_t output, second = {.dtype = WEIR_STRING, .rank = 0};
    const weir__type_t *inputs[] = {NULL, &second};
    const weir__tensor_t *values[] = {NULL, NULL};
    weir__infer_t infer = {
        .node = &node, .output_count = 1, .inputs = inputs, .values = values, .outputs = &output};
    for (infer.input_count = 0; infer.input_count < 3; infer.input_count++)
        assert_null(weir__infer_node(&infer));

    const weir__type_t f32 = {.dtype = WEIR_F32, .rank = 1, .dims = {4}};
    const weir__type_t i64 = {.dtype = WEIR_I64, .rank = 1, .dims = {1ll << 33}};
    const weir__tensor_t axes = {.dtype = WEIR_I64,
        .rank = 1,
        .dims = i64.dims,
        .count = 1ull << 33,
        .bytes = 1ull << 36,
        .data = &axes};
    weir__node_t squeeze = {.op = weir__op_find("Squeeze", 1), .output_count = 1};
    weir__infer_t huge = {.node = &squeeze,
        .input_count = 2,
        .output_count = 1,
        .inputs = (const weir__type_t *[]){&f32, &i64},
        .values = (const weir__tensor_t *[]){NULL, &axes},
        .outputs = &output};
    weir_status_t status = weir__infer_node(&huge);
    assert_non_null(strstr(weir_status_text(status), "contents of the inputs that are not known"));
    weir_status_free(status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_at_load),
        cmocka_unit_test(rules_in_a_run),
        cmocka_unit_test(rules_without_memory),
        cmocka_unit_test(rules_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
