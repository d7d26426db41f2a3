// engine/onnx/normalise.c: finding the row of a node, its attributes, and putting nodes into the
// graph.
#include "engine/onnx/normalise.h"

#include <inttypes.h>
#include <string.h>

// ---- Dtype hints -----------------------------------------------------------------------------

weir_dtype_t weir__norm_hint(const weir__norm_t *norm, uint32_t value)
{
    if (value == WEIR__NONE)
        return 0;
    weir_dtype_t known = norm->context->graph->values[value].type.dtype;
    if (known)
        return known;
    return value < norm->hints->capacity ? norm->hints->dtypes[value] : 0;
}

static weir_status_t set_hint(const weir__norm_t *norm, uint32_t value, weir_dtype_t dtype)
{
    weir__dtype_hints_t *hints = norm->hints;
    if (value == WEIR__NONE || !dtype)
        return NULL;
    if (value >= hints->capacity) {
        uint32_t capacity = WEIR_MAX(64u, norm->context->graph->value_count);
        capacity = capacity < UINT32_MAX / 2 ? capacity * 2 : UINT32_MAX;
        weir_status_t status;
        weir_dtype_t *dtypes = weir__onnx_alloc(norm->context, capacity, sizeof *dtypes, &status);
        if (!dtypes)
            return status;
        if (hints->capacity)
            memcpy(dtypes, hints->dtypes, hints->capacity * sizeof *dtypes);
        *hints = (weir__dtype_hints_t){dtypes, capacity};
    }
    hints->dtypes[value] = dtype;
    return NULL;
}

// The operator's inputs are there: weir__norm_emit() has counted them.
static weir_dtype_t result_dtype(const weir__norm_t *norm, const char *op, const uint32_t *inputs,
    const weir_attribute_t *attributes)
{
    static const char *const booleans[] = {"Equal", "Less", "LessOrEqual", "Greater",
        "GreaterOrEqual", "IsNaN", "Not", "And", "Or", "Xor"};
    static const char *const integers[] = {"Shape", "Size", "ArgMax", "ArgMin"};
    for (size_t i = 0; i < sizeof booleans / sizeof booleans[0]; i++)
        if (strcmp(op, booleans[i]) == 0)
            return WEIR_BOOL;
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++)
        if (strcmp(op, integers[i]) == 0)
            return WEIR_I64;
    if (strcmp(op, "Cast") == 0)
        return (weir_dtype_t)attributes[0].i;
    if (strcmp(op, "If") == 0)
        return 0;
    bool second = strcmp(op, "Where") == 0 || strcmp(op, "ConstantOfShape") == 0;
    return weir__norm_hint(norm, inputs[second]);
}

// ---- Attributes ------------------------------------------------------------------------------

const weir__onnx_attribute_t *weir__norm_find(const weir__norm_t *norm, const char *name)
{
    for (uint32_t i = 0; i < norm->node->attribute_count; i++)
        if (strcmp(norm->node->attributes[i].name, name) == 0)
            return &norm->node->attributes[i];
    return NULL;
}

weir_status_t weir__norm_value(const char *name, uint32_t type,
    const weir__onnx_attribute_t *attribute, weir_attribute_t *out_attribute)
{
    static const uint32_t wanted[] = {[WEIR_ATTR_INT] = WEIR__ONNX_INT,
        [WEIR_ATTR_FLOAT] = WEIR__ONNX_FLOAT,
        [WEIR_ATTR_STRING] = WEIR__ONNX_STRING,
        [WEIR_ATTR_INTS] = WEIR__ONNX_INTS,
        [WEIR_ATTR_FLOATS] = WEIR__ONNX_FLOATS};
    static const char *const names[] = {
        "", "an integer", "a number", "a text", "integers", "numbers"};
    // An empty list of an old file has no type that could be told.
    bool empty_list = !attribute->type && type >= WEIR_ATTR_INTS;
    if (attribute->type != wanted[type] && !empty_list)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "attribute %s must be %s, but its type in the file is %u", name, names[type],
            attribute->type);
    *out_attribute = (weir_attribute_t){.name = name,
        .type = type,
        .count = attribute->count,
        .i = type == WEIR_ATTR_INT ? attribute->i : 0,
        .f = type == WEIR_ATTR_FLOAT ? (double)attribute->f : 0,
        .s = type == WEIR_ATTR_STRING ? attribute->s : NULL,
        .ints = type == WEIR_ATTR_INTS ? attribute->ints : NULL,
        .floats = type == WEIR_ATTR_FLOATS ? attribute->floats : NULL};
    return NULL;
}

static weir_status_t check_known(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    for (uint32_t i = 0; i < norm->node->attribute_count; i++) {
        const char *name = norm->node->attributes[i].name;
        bool known = false;
        for (uint32_t j = 0; j < row->attribute_count && !known; j++)
            known = row->attributes[j].kind != WEIR__NORM_FIXED &&
                    strcmp(row->attributes[j].name, name) == 0;
        if (!known)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "%s has no attribute \"%s\" in opset %" PRId64,
                row->name, name, norm->opset);
        if (weir__norm_find(norm, name) != &norm->node->attributes[i])
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "attribute %s is given twice", name);
    }
    return NULL;
}

weir_status_t weir__norm_attributes(const weir__norm_t *norm, const weir__norm_row_t *row,
    weir_attribute_t *out_attributes, uint32_t *out_count)
{
    uint32_t count = 0;
    WEIR_TRY(check_known(norm, row));
    for (uint32_t i = 0; i < row->attribute_count; i++) {
        const weir__norm_attribute_t *spec = &row->attributes[i];
        const weir__onnx_attribute_t *attribute = weir__norm_find(norm, spec->name);
        if (spec->kind == WEIR__NORM_DROP)
            continue;
        weir_attribute_t *out = &out_attributes[count++];
        *out = (weir_attribute_t){.name = spec->name, .type = spec->type};
        if (attribute) { // of a fixed one check_known() lets none through
            WEIR_TRY(weir__norm_value(spec->name, spec->type, attribute, out));
            continue;
        }
        if (spec->kind == WEIR__NORM_REQUIRED)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "attribute %s is missing", spec->name);
        out->i = spec->i;
        out->f = (double)spec->f;
        out->s = spec->type == WEIR_ATTR_STRING ? spec->s : NULL;
    }
    *out_count = count;
    return NULL;
}

// ---- Inputs, constants, nodes ----------------------------------------------------------------

uint32_t weir__norm_input(const weir__norm_t *norm, uint32_t index)
{
    return index < norm->input_count ? norm->inputs[index] : WEIR__NONE;
}

const weir__tensor_t *weir__norm_constant(const weir__norm_t *norm, uint32_t value)
{
    if (value == WEIR__NONE)
        return NULL;
    const weir__tensor_t *tensor = norm->context->graph->values[value].constant;
    return tensor && (tensor->data || tensor->count == 0) ? tensor : NULL;
}

weir_status_t weir__norm_ints(const weir__norm_t *norm, uint32_t rank, const int64_t *values,
    uint64_t count, uint32_t *out_value)
{
    int64_t dim = (int64_t)count;
    return weir__graph_add_constant(
        norm->context->graph, NULL, WEIR_I64, rank, &dim, values, true, out_value);
}

weir_status_t weir__norm_floats(
    const weir__norm_t *norm, const float *values, uint64_t count, uint32_t *out_value)
{
    int64_t dim = (int64_t)count;
    return weir__graph_add_constant(
        norm->context->graph, NULL, WEIR_F32, 1, &dim, values, true, out_value);
}

// Rounds to nearest even; for the few constants that rules make. Overflow gives infinity, as it
// should.
static uint16_t f16_bits(double number)
{
    _Static_assert(sizeof(float) == 4, "");
    float single = (float)number;
    uint32_t bits, sign;
    memcpy(&bits, &single, sizeof bits);
    sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits >= 0x7f800000)
        return (uint16_t)(sign | (bits > 0x7f800000 ? 0x7e00 : 0x7c00));
    if (bits >= 0x477ff000)
        return (uint16_t)(sign | 0x7c00);
    if (bits < 0x38800000) { // subnormal: units of 2^-24
        float magnitude;
        memcpy(&magnitude, &bits, sizeof magnitude);
        float scaled = magnitude * 16777216.0f;
        uint32_t whole = (uint32_t)scaled;
        float rest = scaled - (float)whole;
        whole += rest > 0.5f || (rest == 0.5f && (whole & 1));
        return (uint16_t)(sign | whole);
    }
    uint32_t rounded = bits + 0xfff + (bits >> 13 & 1) - 0x38000000;
    return (uint16_t)(sign | rounded >> 13);
}

weir_status_t weir__norm_scalar(
    const weir__norm_t *norm, weir_dtype_t dtype, double number, uint32_t *out_value)
{
    double wide = number;
    float single = (float)number;
    uint16_t half = f16_bits(number);
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    uint16_t brain = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    const void *data = &single;
    if (!dtype)
        dtype = WEIR_F32;
    if (dtype == WEIR_F64)
        data = &wide;
    else if (dtype == WEIR_F16)
        data = &half;
    else if (dtype == WEIR_BF16)
        data = &brain;
    else if (dtype != WEIR_F32)
        return WEIR_ERR(WEIR_UNSUPPORTED,
            "this form of %s is known for floating-point tensors only", norm->node->op_type);
    return weir__graph_add_constant(
        norm->context->graph, NULL, dtype, 0, NULL, data, true, out_value);
}

weir_status_t weir__norm_emit(const weir__norm_t *norm, const char *name, const uint32_t *inputs,
    uint32_t input_count, const uint32_t *outputs, uint32_t output_count,
    const weir_attribute_t *attributes, uint32_t attribute_count)
{
    uint32_t node;
    const weir__op_t *op = weir__op_find(name, 1);
    if (!op)
        return WEIR_ERR(WEIR_INTERNAL, "the operator table has no %s", name);
    while (input_count && inputs[input_count - 1] == WEIR__NONE)
        input_count--;
    while (output_count > 1 && outputs[output_count - 1] == WEIR__NONE)
        output_count--;
    if (input_count < op->min_inputs || input_count > op->max_inputs)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "it has %u inputs; %s takes %u to %u", input_count,
            name, op->min_inputs, op->max_inputs);
    if (output_count < op->min_outputs || output_count > op->max_outputs)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "it has %u outputs; %s makes %u to %u", output_count,
            name, op->min_outputs, op->max_outputs);
    for (uint32_t i = 0; i < op->min_inputs; i++)
        if (inputs[i] == WEIR__NONE)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "its input %u is missing", i);
    WEIR_TRY(weir__graph_add_node(norm->context->graph, norm->region, op, inputs, input_count,
        outputs, output_count, attributes, attribute_count, norm->origin, &node));
    return output_count ? set_hint(norm, outputs[0], result_dtype(norm, name, inputs, attributes))
                        : NULL;
}

weir_status_t weir__norm_emit_plain(const weir__norm_t *norm, const char *op,
    const uint32_t *inputs, uint32_t input_count, uint32_t output)
{
    return weir__norm_emit(norm, op, inputs, input_count, &output, 1, NULL, 0);
}

// ---- Rows ------------------------------------------------------------------------------------

static const weir__norm_row_t *find_row(
    const weir__norm_t *norm, const weir__norm_row_t **out_other_opset)
{
    uint32_t count;
    const weir__norm_row_t *table = weir__norm_table(&count);
    *out_other_opset = NULL;
    // Sorted by name, then by opset.
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(table[middle].name, norm->node->op_type) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < count && strcmp(table[low].name, norm->node->op_type) == 0; low++) {
        if (norm->opset >= table[low].first && norm->opset <= table[low].last)
            return &table[low];
        *out_other_opset = &table[low];
    }
    return NULL;
}

static weir_status_t unknown_operator(const weir__norm_t *norm, const weir__norm_row_t *other)
{
    const weir__onnx_node_t *node = norm->node;
    if (other && norm->opset < other->first)
        return WEIR_ERR(WEIR_UNSUPPORTED,
            "operator %s needs opset %d, but the model imports opset %" PRId64
            ": export the model with opset %d or newer",
            node->op_type, other->first, norm->opset, other->first);
    if (other)
        return WEIR_ERR(WEIR_UNSUPPORTED,
            "operator %s ended with opset %d, but the model imports opset %" PRId64
            ": export the model again",
            node->op_type, other->last, norm->opset);
    return WEIR_ERR(WEIR_UNSUPPORTED,
        "operator %s (opset %" PRId64 ") is not known to weir: export the model with the operators "
        "that docs/operators.md lists",
        node->op_type, norm->opset);
}

weir_status_t weir__norm_apply(const weir__norm_t *norm)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count;
    const weir__norm_row_t *other = NULL;
    if (norm->node->domain[0])
        return weir__norm_custom(norm);
    const weir__norm_row_t *row = find_row(norm, &other);
    if (!row)
        return unknown_operator(norm, other);
    if (row->rule)
        return row->rule(norm, row);
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    return weir__norm_emit(norm, row->target, norm->inputs, norm->input_count, norm->outputs,
        norm->output_count, attributes, count);
}
