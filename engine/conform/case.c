// engine/conform/case.c: a case: a node, its tensors, its values and how it reads.
#include "engine/conform/kit.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// ---- Making ------------------------------------------------------------------------------------

bool weir__kit_case_make(weir__kit_case_t *c, const weir__kit_operator_t *operator_,
    const weir_operator_t *declared, weir_dtype_t dtype, bool is_large, weir__kit_random_t *random)
{
    memset(c, 0, sizeof *c);
    c->random = random;
    c->is_large = is_large;
    c->scale = operator_->scale;
    c->declared = declared;
    c->budget = (double)operator_->budget;
    c->has_specials = operator_->takes_specials && weir__kit_chance(random, 20);
    c->node = (weir_node_t){.head = WEIR_HEAD(weir_node_t),
        .op = operator_->op,
        .origin = "conform",
        .revision = 1,
        .inputs = c->inputs,
        .outputs = c->outputs,
        .attributes = c->attributes};
    return (operator_->dtypes & dtype) && operator_->make(c, dtype, operator_->argument);
}

void weir__kit_allow(const weir__kit_target_t *target, weir__kit_case_t *c)
{
    // Two operands, each off by half a unit of 8 bits, to a term.
    if (target->kernel && (target->kernel->head.flags & WEIR_KERNEL_BF16))
        c->budget += c->budget > 64 ? 0x1p18 : 0x1p16;
}

void weir__kit_case_free(weir__kit_case_t *c)
{
    for (uint32_t i = 0; i < WEIR__KIT_INPUTS + WEIR__KIT_OUTPUTS; i++)
        weir__kit_block_free(&c->blocks[i]);
}

static weir_tensor_t *make_tensor(
    weir__kit_case_t *c, bool is_output, weir_dtype_t dtype, uint32_t rank, const int64_t *dims)
{
    uint32_t number = is_output ? c->node.output_count++ : c->node.input_count++;
    uint32_t slot = is_output ? WEIR__KIT_INPUTS + number : number;
    weir_tensor_t *tensor = is_output ? &c->outputs[number] : &c->inputs[number];
    *tensor =
        (weir_tensor_t){.dtype = dtype, .rank = rank, .dims = c->dims[slot], .element_count = 1};
    for (uint32_t i = 0; i < rank; i++) {
        c->dims[slot][i] = dims[i];
        tensor->element_count *= (uint64_t)dims[i];
    }
    tensor->bytes = tensor->element_count * weir_dtype_bytes(dtype);
    char what[24];
    snprintf(what, sizeof what, "%s %u", is_output ? "output" : "input", number);
    c->blocks[slot] = weir__kit_block(tensor->bytes, what, weir__kit_chance(c->random, 50));
    tensor->data = c->blocks[slot].data;
    return tensor;
}

static double special(weir__kit_random_t *random, weir_dtype_t dtype)
{
    const double least = dtype == WEIR_F64    ? 0x1p-1074
                         : dtype == WEIR_F16  ? 0x1p-24
                         : dtype == WEIR_BF16 ? 0x1p-133
                                              : 0x1p-149;
    switch (weir__kit_below(random, 7)) {
    case 0:
        return (double)NAN;
    case 1:
        return (double)INFINITY;
    case 2:
        return -(double)INFINITY;
    case 3:
        return least;
    case 4:
        return -least * 3;
    case 5:
        return -0.0;
    default:
        return 0.0;
    }
}

void weir__kit_fill(weir__kit_case_t *c, const weir_tensor_t *tensor, double low, double high)
{
    bool is_float = (tensor->dtype & WEIR__KIT_FLOATS) != 0;
    bool has_specials = c->has_specials && is_float;
    if (tensor->dtype & WEIR__KIT_UNSIGNED)
        low = WEIR_MAX(low, 0);
    for (uint64_t i = 0; i < tensor->element_count; i++) {
        double value = is_float ? weir__kit_real(c->random, low, high)
                                : (double)weir__kit_between(
                                      c->random, (int64_t)ceil(low), (int64_t)floor(high));
        if (tensor->dtype == WEIR_BOOL)
            value = (double)weir__kit_below(c->random, 2);
        if (has_specials && weir__kit_chance(c->random, 6))
            value = special(c->random, tensor->dtype);
        weir__kit_set(tensor->data, tensor->dtype, i, value);
    }
}

weir_tensor_t *weir__kit_input(
    weir__kit_case_t *c, weir_dtype_t dtype, uint32_t rank, const int64_t *dims)
{
    weir_tensor_t *tensor = make_tensor(c, false, dtype, rank, dims);
    bool is_float = (dtype & WEIR__KIT_FLOATS) != 0;
    weir__kit_fill(c, tensor, is_float ? -3 : -40, is_float ? 3 : 40);
    return tensor;
}

weir_tensor_t *weir__kit_input_absent(weir__kit_case_t *c)
{
    weir_tensor_t *tensor = &c->inputs[c->node.input_count++];
    *tensor = (weir_tensor_t){0};
    return tensor;
}

weir_tensor_t *weir__kit_input_ints(weir__kit_case_t *c, uint32_t count, const int64_t *values)
{
    int64_t dims[1] = {count};
    weir_tensor_t *tensor = make_tensor(c, false, WEIR_I64, 1, dims);
    for (uint32_t i = 0; i < count; i++)
        weir__kit_set(tensor->data, WEIR_I64, i, (double)values[i]);
    if (weir__kit_chance(c->random, 75))
        tensor->flags = WEIR_TENSOR_CONSTANT;
    return tensor;
}

weir_tensor_t *weir__kit_output(
    weir__kit_case_t *c, weir_dtype_t dtype, uint32_t rank, const int64_t *dims)
{
    return make_tensor(c, true, dtype, rank, dims);
}

int64_t weir__kit_dim(weir__kit_case_t *c)
{
    uint64_t kind = weir__kit_below(c->random, 100);
    if (c->is_large)
        return weir__kit_between(c->random, 7, 19);
    if (kind < 4)
        return 0;
    if (kind < 20)
        return 1;
    return kind < 90 ? weir__kit_between(c->random, 2, 9) : weir__kit_between(c->random, 10, 37);
}

void weir__kit_dims(weir__kit_case_t *c, uint32_t rank, int64_t *out_dims)
{
    for (uint32_t i = 0; i < rank; i++)
        out_dims[i] = weir__kit_dim(c);
}

// ---- Attributes
// ----------------------------------------------------------------------------------

static weir_attribute_t *attribute(weir__kit_case_t *c, const char *name, uint32_t type)
{
    weir_attribute_t *made = &c->attributes[c->node.attribute_count++];
    *made = (weir_attribute_t){.name = name, .type = type, .count = 1};
    return made;
}

void weir__kit_attribute_int(weir__kit_case_t *c, const char *name, int64_t value)
{
    attribute(c, name, WEIR_ATTR_INT)->i = value;
}

void weir__kit_attribute_float(weir__kit_case_t *c, const char *name, double value)
{
    attribute(c, name, WEIR_ATTR_FLOAT)->f = value;
}

void weir__kit_attribute_text(weir__kit_case_t *c, const char *name, const char *value)
{
    attribute(c, name, WEIR_ATTR_STRING)->s = value;
}

void weir__kit_attribute_ints(
    weir__kit_case_t *c, const char *name, uint32_t count, const int64_t *values)
{
    int64_t *ints = c->ints[c->node.attribute_count];
    weir_attribute_t *made = attribute(c, name, WEIR_ATTR_INTS);
    for (uint32_t i = 0; i < count; i++)
        ints[i] = values[i];
    made->count = count;
    made->ints = ints;
}

// ---- Reading
// -------------------------------------------------------------------------------------

typedef struct text {
    char *out;
    uint32_t bytes, used;
} text_t;

static void say(text_t *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(text_t *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text->out + text->used, text->bytes - text->used, format, arguments);
    va_end(arguments);
    if (length > 0)
        text->used = WEIR_MIN(text->used + (uint32_t)length, text->bytes - 1);
}

static void say_tensor(text_t *text, const weir_tensor_t *tensor)
{
    say(text, " %s", weir__kit_dtype_name(tensor->dtype));
    if (!tensor->dtype)
        return;
    for (uint32_t i = 0; i < tensor->rank; i++)
        say(text, "%c%lld", i ? ',' : '[', (long long)tensor->dims[i]);
    say(text, "%s%s", tensor->rank ? "]" : "[]",
        tensor->flags & WEIR_TENSOR_CONSTANT ? " constant" : "");
    if (tensor->rank == 1 && tensor->element_count <= 6 && (tensor->dtype & WEIR_I64))
        for (uint64_t i = 0; i < tensor->element_count; i++)
            say(text, "%s%.0f%s", i ? " " : " (", weir__kit_get(tensor->data, WEIR_I64, i),
                i + 1 == tensor->element_count ? ")" : "");
}

static void say_attribute(text_t *text, const weir_attribute_t *made)
{
    say(text, " %s", made->name);
    if (made->type == WEIR_ATTR_INT)
        say(text, " %lld", (long long)made->i);
    else if (made->type == WEIR_ATTR_FLOAT)
        say(text, " %g", made->f);
    else if (made->type == WEIR_ATTR_STRING)
        say(text, " %s", made->s);
    for (uint32_t j = 0; made->ints && j < made->count; j++)
        say(text, "%c%lld", j ? ',' : ' ', (long long)made->ints[j]);
}

static void say_expression(text_t *text, const char *name, const weir_expression_t *expression)
{
    if (!expression)
        return;
    say(text, " %s(", name);
    for (uint32_t i = 0; i < expression->instruction_count; i++) {
        const weir_instruction_t *code = &expression->instructions[i];
        say(text, "%s%u:%s %u %u %u", i ? "; " : "", code->opcode,
            weir__kit_dtype_name(code->dtype), code->a, code->b, code->c);
    }
    say(text, ")");
}

void weir__kit_case_text(const weir__kit_case_t *c, char *out_text, uint32_t bytes)
{
    text_t text = {.out = out_text, .bytes = bytes};
    say(&text, "%s", c->node.op);
    for (uint32_t i = 0; i < c->node.input_count; i++)
        say_tensor(&text, &c->inputs[i]);
    say(&text, " ->");
    for (uint32_t i = 0; i < c->node.output_count; i++)
        say_tensor(&text, &c->outputs[i]);
    if (c->node.attribute_count) {
        say(&text, " {");
        for (uint32_t i = 0; i < c->node.attribute_count; i++)
            say_attribute(&text, &c->attributes[i]);
        say(&text, " }");
    }
    say_expression(&text, "body", c->node.body);
    say_expression(&text, "prologue", c->node.prologue);
    say_expression(&text, "epilogue", c->node.epilogue);
    if (c->has_specials)
        say(&text, ", with NaN, Inf and denormals");
}
