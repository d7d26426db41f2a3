// engine/exec/check.c: the caller's inputs against what the model declares.
#include "engine/exec/session.h"

#include "engine/base/size.h"
#include <stdio.h>
#include <string.h>

#define TEXT_BYTES 320

static void append(char text[TEXT_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void append(char text[TEXT_BYTES], const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, TEXT_BYTES - used, format, arguments);
    va_end(arguments);
}

static void dims_text(const weir_value_t *value, char text[TEXT_BYTES])
{
    text[0] = '\0';
    append(text, "[");
    for (uint32_t d = 0; d < value->rank && d < WEIR_RANK_MAX; d++)
        append(text, d ? ", %lld" : "%lld", (long long)value->dims[d]);
    append(text, "]");
}

// Which input set a symbol first, and to what.
typedef struct symbol {
    int64_t symbol;
    int64_t size;
    uint32_t input;
} symbol_t;

#define SYMBOLS_MAX 64

typedef struct checker {
    const weir__graph_t *graph;
    const weir_value_t *inputs;
    symbol_t symbols[SYMBOLS_MAX];
    uint32_t symbol_count;
} checker_t;

static const char *symbol_name(const checker_t *checker, int64_t dim)
{
    uint64_t number = (uint64_t)(-1 - dim);
    return number < checker->graph->symbols.count ? checker->graph->symbols.names[number] : NULL;
}

static const symbol_t *find_symbol(const checker_t *checker, int64_t dim)
{
    for (uint32_t i = 0; i < checker->symbol_count; i++)
        if (checker->symbols[i].symbol == dim)
            return &checker->symbols[i];
    return NULL;
}

static const char *setter_of(const checker_t *checker, const symbol_t *symbol)
{
    return checker->graph->values[checker->graph->main.inputs[symbol->input]].name;
}

// " (batch and sequence are set by "input_ids")": who set the named sizes of this type.
static void append_setters(
    const checker_t *checker, const weir__type_t *type, char text[TEXT_BYTES])
{
    const symbol_t *named[WEIR_RANK_MAX];
    uint32_t count = 0;
    for (int32_t d = 0; d < type->rank; d++) {
        const symbol_t *symbol = find_symbol(checker, type->dims[d]);
        bool again = symbol == NULL;
        for (uint32_t i = 0; i < count; i++)
            again |= named[i] == symbol;
        if (!again)
            named[count++] = symbol;
    }
    for (uint32_t i = 0; i < count; i++) {
        bool last = i + 1 == count || named[i + 1]->input != named[i]->input;
        bool first = i == 0 || named[i - 1]->input != named[i]->input;
        bool penultimate = !last && (i + 2 == count || named[i + 2]->input != named[i]->input);
        append(text, "%s%s", i == 0 ? " (" : "", symbol_name(checker, named[i]->symbol));
        if (last)
            append(text, " %s set by \"%s\"%s", first ? "is" : "are", setter_of(checker, named[i]),
                i + 1 == count ? ")" : ", ");
        else
            append(text, penultimate ? " and " : ", ");
    }
}

// "[batch=1, sequence=4]", and who set the names.
static void expected_text(const checker_t *checker, const weir__type_t *type, char text[TEXT_BYTES])
{
    text[0] = '\0';
    append(text, "[");
    for (int32_t d = 0; d < type->rank; d++) {
        const symbol_t *symbol = find_symbol(checker, type->dims[d]);
        const char *name = type->dims[d] < 0 ? symbol_name(checker, type->dims[d]) : NULL;
        append(text, d ? ", " : "");
        if (type->dims[d] >= 0)
            append(text, "%lld", (long long)type->dims[d]);
        else if (name && symbol)
            append(text, "%s=%lld", name, (long long)symbol->size);
        else
            append(text, "%s", name ? name : "any");
    }
    append(text, "]");
    append_setters(checker, type, text);
}

static bool dims_fit(checker_t *checker, uint32_t input, const weir__type_t *type)
{
    const weir_value_t *value = &checker->inputs[input];
    if (type->rank >= 0 && (uint32_t)type->rank != value->rank)
        return false;
    for (int32_t d = 0; d < type->rank; d++) {
        const symbol_t *symbol = find_symbol(checker, type->dims[d]);
        int64_t wanted = type->dims[d] >= 0 ? type->dims[d]
                         : symbol           ? symbol->size
                                            : value->dims[d];
        if (value->dims[d] != wanted)
            return false;
    }
    for (int32_t d = 0; d < type->rank; d++)
        if (type->dims[d] < 0 && symbol_name(checker, type->dims[d]) &&
            !find_symbol(checker, type->dims[d]) && checker->symbol_count < SYMBOLS_MAX)
            checker->symbols[checker->symbol_count++] =
                (symbol_t){.symbol = type->dims[d], .size = value->dims[d], .input = input};
    return true;
}

static weir_status_t check_input(checker_t *checker, uint32_t input, const char *model_name)
{
    const weir__value_t *wanted = &checker->graph->values[checker->graph->main.inputs[input]];
    const weir_value_t *value = &checker->inputs[input];
    char found[TEXT_BYTES], expected[TEXT_BYTES];
    if (value->dtype != wanted->type.dtype)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "input \"%s\" of %s: dtype %s, expected %s; convert it", wanted->name, model_name,
            weir_dtype_name(value->dtype), weir_dtype_name(wanted->type.dtype));
    uint64_t bytes;
    dims_text(value, found);
    if (value->rank > WEIR_RANK_MAX ||
        !weir__tensor_bytes(value->dims, value->rank, value->dtype, &bytes))
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "input \"%s\" of %s: dims %s, expected at most %d sizes of 0 or more", wanted->name,
            model_name, found, WEIR_RANK_MAX);
    if (!dims_fit(checker, input, &wanted->type)) {
        expected_text(checker, &wanted->type, expected);
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "input \"%s\" of %s: dims %s, expected %s",
            wanted->name, model_name, found, expected);
    }
    if (bytes && (!value->data || value->capacity_bytes < bytes))
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "input \"%s\" of %s: dims %s need %llu bytes, its buffer has %llu; give the whole "
            "value",
            wanted->name, model_name, found, (unsigned long long)bytes,
            (unsigned long long)(value->data ? value->capacity_bytes : 0));
    if ((uintptr_t)value->data % weir_dtype_bytes(value->dtype))
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "input \"%s\" of %s: its buffer is not aligned to its %u-byte elements; copy it to one "
            "that is",
            wanted->name, model_name, weir_dtype_bytes(value->dtype));
    return NULL;
}

weir_status_t weir__check_inputs(
    const weir_model_t *model, size_t count, const weir_value_t *inputs)
{
    checker_t checker = {.graph = model->graph, .inputs = inputs};
    const weir__region_t *main = &model->graph->main;
    if (count != main->input_count) {
        const char *name =
            count < main->input_count ? model->graph->values[main->inputs[count]].name : NULL;
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "%s takes %u inputs, %zu were given%s%s%s",
            model->label, main->input_count, count, name ? "; the first missing one is \"" : "",
            name ? name : "", name ? "\"" : "");
    }
    for (uint32_t i = 0; i < main->input_count; i++)
        WEIR_TRY(check_input(&checker, i, model->label));
    return NULL;
}
