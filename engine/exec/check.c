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

typedef struct checker {
    const weir__graph_t *graph;
    const weir_value_t *inputs;
    uint32_t fit_count; // the first so many inputs fit: their sizes say what the symbols are
    int32_t fit_dims;   // and so do these dims of the next one
} checker_t;

static const char *symbol_name(const checker_t *checker, int64_t dim)
{
    uint64_t number = (uint64_t)(-1 - dim);
    return number < checker->graph->symbols.count ? checker->graph->symbols.names[number] : NULL;
}

static const weir__value_t *declared(const checker_t *checker, uint32_t input)
{
    return &checker->graph->values[checker->graph->main.inputs[input]];
}

// Who sets what was found when the model was loaded: a run looks nothing up and needs no memory.
// false: `dim` has no name, or no input so far has it.
static bool find_symbol(const checker_t *checker, int64_t dim, symbol_t *out_symbol)
{
    const weir__symbols_t *symbols = &checker->graph->symbols;
    uint64_t number = (uint64_t)(-1 - dim);
    if (number >= symbols->place_count || !symbols->names[number])
        return false;
    weir__symbol_place_t place = symbols->places[number];
    if (place.input > checker->fit_count ||
        (place.input == checker->fit_count && place.axis >= checker->fit_dims))
        return false;
    *out_symbol = (symbol_t){
        .symbol = dim, .size = checker->inputs[place.input].dims[place.axis], .input = place.input};
    return true;
}

// " (batch and sequence are set by "input_ids")": who set the named sizes of this type.
static void append_setters(
    const checker_t *checker, const weir__type_t *type, char text[TEXT_BYTES])
{
    symbol_t named[WEIR_RANK_MAX];
    uint32_t count = 0;
    for (int32_t d = 0; d < type->rank; d++) {
        bool again = !find_symbol(checker, type->dims[d], &named[count]);
        for (uint32_t i = 0; i < count; i++)
            again |= named[i].symbol == type->dims[d];
        count += !again;
    }
    for (uint32_t i = 0; i < count; i++) {
        bool last = i + 1 == count || named[i + 1].input != named[i].input;
        bool first = i == 0 || named[i - 1].input != named[i].input;
        bool penultimate = !last && (i + 2 == count || named[i + 2].input != named[i].input);
        append(text, "%s%s", i == 0 ? " (" : "", symbol_name(checker, named[i].symbol));
        if (last)
            append(text, " %s set by \"%s\"%s", first ? "is" : "are",
                declared(checker, named[i].input)->name, i + 1 == count ? ")" : ", ");
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
        symbol_t symbol;
        const char *name = type->dims[d] < 0 ? symbol_name(checker, type->dims[d]) : NULL;
        append(text, d ? ", " : "");
        if (type->dims[d] >= 0)
            append(text, "%lld", (long long)type->dims[d]);
        else if (find_symbol(checker, type->dims[d], &symbol))
            append(text, "%s=%lld", name, (long long)symbol.size);
        else
            append(text, "%s", name ? name : "any");
    }
    append(text, "]");
    append_setters(checker, type, text);
}

// Afterwards fit_dims is 0, unless the first dim that does not fit has the name of an earlier one
// of this input: only then do these explain anything.
static bool dims_fit(checker_t *checker, uint32_t input, const weir__type_t *type)
{
    const weir_value_t *value = &checker->inputs[input];
    if (type->rank >= 0 && (uint32_t)type->rank != value->rank)
        return false;
    for (int32_t d = 0; d < type->rank; d++) {
        symbol_t symbol = {.size = value->dims[d], .input = UINT32_MAX};
        checker->fit_dims = d;
        if (type->dims[d] >= 0)
            symbol.size = type->dims[d];
        else
            (void)find_symbol(checker, type->dims[d], &symbol);
        if (value->dims[d] == symbol.size)
            continue;
        checker->fit_dims = symbol.input == input ? d : 0;
        return false;
    }
    checker->fit_dims = 0;
    return true;
}

static weir_status_t check_input(checker_t *checker, uint32_t input, const char *model_name)
{
    const weir__value_t *wanted = declared(checker, input);
    const weir_value_t *value = &checker->inputs[input];
    char found[TEXT_BYTES], expected[TEXT_BYTES];
    if (value->dtype != wanted->type.dtype)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "input \"%s\" of %s: dtype %s, expected %s; convert it", wanted->name, model_name,
            weir_dtype_name(value->dtype), weir_dtype_name(wanted->type.dtype));
    uint64_t bytes;
    if (value->rank > WEIR_RANK_MAX ||
        !weir__tensor_bytes(value->dims, value->rank, value->dtype, &bytes)) {
        dims_text(value, found);
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "input \"%s\" of %s: dims %s, expected at most %d sizes of 0 or more", wanted->name,
            model_name, found, WEIR_RANK_MAX);
    }
    if (!dims_fit(checker, input, &wanted->type)) {
        dims_text(value, found);
        expected_text(checker, &wanted->type, expected);
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "input \"%s\" of %s: dims %s, expected %s",
            wanted->name, model_name, found, expected);
    }
    if (bytes && (!value->data || value->capacity_bytes < bytes)) {
        dims_text(value, found);
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "input \"%s\" of %s: dims %s need %llu bytes, its buffer has %llu; give the whole "
            "value",
            wanted->name, model_name, found, (unsigned long long)bytes,
            (unsigned long long)(value->data ? value->capacity_bytes : 0));
    }
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
    for (uint32_t i = 0; i < main->input_count; i++) {
        checker.fit_count = i;
        WEIR_TRY(check_input(&checker, i, model->label));
    }
    return NULL;
}
