// engine/onnx/normalise_shape.c: rules for operators that move data: attributes that became inputs,
// Resize.
#include "engine/onnx/normalise.h"

#include <inttypes.h>
#include <string.h>

// An attribute of integers as a constant vector; WEIR__NONE when it is absent.
static weir_status_t ints_as_input(
    const weir__norm_t *norm, const char *name, bool required, uint32_t *out_value)
{
    const weir__onnx_attribute_t *attribute = weir__norm_find(norm, name);
    *out_value = WEIR__NONE;
    if (!attribute && required)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "attribute %s is missing", name);
    if (!attribute || (!attribute->type && !attribute->count))
        return NULL;
    if (attribute->type != WEIR__ONNX_INTS)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "attribute %s must be integers", name);
    return weir__norm_ints(norm, 1, attribute->ints, attribute->count, out_value);
}

static weir_status_t only_data_input(const weir__norm_t *norm)
{
    if (norm->input_count == 1)
        return NULL;
    return WEIR_ERR(WEIR_INVALID_ARGUMENT, "it has %u inputs; %s takes 1 in opset %" PRId64,
        norm->input_count, norm->node->op_type, norm->opset);
}

// Squeeze, Unsqueeze and the reductions, when `axes` was an attribute.
weir_status_t weir__norm_axes(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count, inputs[2];
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    WEIR_TRY(only_data_input(norm));
    inputs[0] = norm->inputs[0];
    WEIR_TRY(ints_as_input(norm, "axes", strcmp(row->name, "Unsqueeze") == 0, &inputs[1]));
    return weir__norm_emit(
        norm, row->target, inputs, 2, norm->outputs, norm->output_count, attributes, count);
}

weir_status_t weir__norm_split(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count, inputs[2] = {weir__norm_input(norm, 0), weir__norm_input(norm, 1)};
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    const weir__onnx_attribute_t *parts = weir__norm_find(norm, "num_outputs");
    if (norm->opset < 13) {
        WEIR_TRY(only_data_input(norm));
        WEIR_TRY(ints_as_input(norm, "split", false, &inputs[1]));
    }
    if (parts && parts->i != (int64_t)norm->output_count)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "num_outputs is %" PRId64 ", but it has %u outputs",
            parts->i, norm->output_count);
    return weir__norm_emit(
        norm, "Split", inputs, 2, norm->outputs, norm->output_count, attributes, count);
}

weir_status_t weir__norm_slice(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count, inputs[4];
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    WEIR_TRY(only_data_input(norm));
    inputs[0] = norm->inputs[0];
    WEIR_TRY(ints_as_input(norm, "starts", true, &inputs[1]));
    WEIR_TRY(ints_as_input(norm, "ends", true, &inputs[2]));
    WEIR_TRY(ints_as_input(norm, "axes", false, &inputs[3]));
    return weir__norm_emit(
        norm, "Slice", inputs, 4, norm->outputs, norm->output_count, attributes, count);
}

weir_status_t weir__norm_pad(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count, inputs[3] = {0, 0, WEIR__NONE};
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    WEIR_TRY(only_data_input(norm));
    inputs[0] = norm->inputs[0];
    WEIR_TRY(ints_as_input(norm, "pads", true, &inputs[1]));
    const weir__onnx_attribute_t *value = weir__norm_find(norm, "value");
    if (value && value->type != WEIR__ONNX_FLOAT)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "attribute value must be a number");
    // An absent value is zero, of whatever dtype X has.
    if (value && (value->f < 0 || value->f > 0 || value->f != value->f))
        WEIR_TRY(weir__norm_scalar(
            norm, weir__norm_hint(norm, inputs[0]), (double)value->f, &inputs[2]));
    return weir__norm_emit(
        norm, "Pad", inputs, 3, norm->outputs, norm->output_count, attributes, count);
}

weir_status_t weir__norm_constant_of_shape(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count, inputs[2];
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    WEIR_TRY(only_data_input(norm));
    inputs[0] = norm->inputs[0];
    const weir__onnx_attribute_t *value = weir__norm_find(norm, "value");
    if (!value) {
        WEIR_TRY(weir__norm_scalar(norm, WEIR_F32, 0.0, &inputs[1]));
    } else {
        if (value->type != WEIR__ONNX_TENSOR)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "attribute value must be a tensor");
        WEIR_TRY(weir__onnx_tensor_read(norm->context, value->span, norm->origin, &inputs[1]));
        if (norm->context->graph->values[inputs[1]].constant->count != 1)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "attribute value must have one element");
    }
    return weir__norm_emit(
        norm, "ConstantOfShape", inputs, 2, norm->outputs, norm->output_count, NULL, 0);
}

// ---- Resize ----------------------------------------------------------------------------------

// Where upsample_7 has it in the table.
enum { NEAREST_MODE = 2 };

weir_status_t weir__norm_upsample(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count, inputs[2] = {weir__norm_input(norm, 0), weir__norm_input(norm, 1)};
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    if (norm->opset < 9) {
        const weir__onnx_attribute_t *scales = weir__norm_find(norm, "scales");
        if (!scales || scales->type != WEIR__ONNX_FLOATS)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "attribute scales must be numbers");
        WEIR_TRY(only_data_input(norm));
        WEIR_TRY(weir__norm_floats(norm, scales->floats, scales->count, &inputs[1]));
    }
    if (inputs[1] == WEIR__NONE)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "its input scales is missing");
    return weir__norm_emit(
        norm, "Resize", inputs, 2, norm->outputs, norm->output_count, attributes, count);
}

// Opset 10 had no nearest_mode: it meant floor where an axis grows and ceil where it shrinks.
weir_status_t weir__norm_resize_10(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count;
    bool grows = false, shrinks = false;
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    const weir__tensor_t *scales = weir__norm_constant(norm, weir__norm_input(norm, 1));
    bool nearest = strcmp(attributes[0].s, "nearest") == 0;
    if (nearest && (!scales || scales->dtype != WEIR_F32))
        return WEIR_ERR(WEIR_UNSUPPORTED, "its scales are not constant, so its rounding is not "
                                          "known: export with opset 11 or newer");
    for (uint64_t i = 0; nearest && i < scales->count; i++) {
        float scale;
        memcpy(&scale, (const char *)scales->data + i * sizeof scale, sizeof scale);
        grows |= scale > 1.0f;
        shrinks |= scale < 1.0f;
    }
    if (grows && shrinks)
        return WEIR_ERR(WEIR_UNSUPPORTED, "it grows one axis and shrinks another, which opset 10 "
                                          "rounds differently: export with opset "
                                          "11 or newer");
    if (shrinks)
        attributes[NEAREST_MODE].s = "ceil";
    return weir__norm_emit(norm, "Resize", norm->inputs, norm->input_count, norm->outputs,
        norm->output_count, attributes, count);
}

// An empty constant is how opset 11 spells an absent input.
static uint32_t present(const weir__norm_t *norm, uint32_t index)
{
    uint32_t value = weir__norm_input(norm, index);
    const weir__tensor_t *constant = weir__norm_constant(norm, value);
    return constant && constant->count == 0 ? WEIR__NONE : value;
}

weir_status_t weir__norm_resize(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count, inputs[3] = {weir__norm_input(norm, 0), present(norm, 2), present(norm, 3)};
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    if (strcmp(attributes[1].s, "tf_crop_and_resize") == 0)
        return WEIR_ERR(WEIR_UNSUPPORTED, "coordinate_transformation_mode tf_crop_and_resize is "
                                          "not supported: crop with Slice first");
    if (norm->input_count > 4)
        return WEIR_ERR(
            WEIR_INVALID_ARGUMENT, "it has %u inputs; Resize takes 1 to 4", norm->input_count);
    // With both there, ONNX wants one of them empty: sizes is what an exporter fills last.
    if (inputs[2] != WEIR__NONE)
        inputs[1] = WEIR__NONE;
    if (inputs[1] == WEIR__NONE && inputs[2] == WEIR__NONE)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "it has neither scales nor sizes");
    return weir__norm_emit(
        norm, "Resize", inputs, 3, norm->outputs, norm->output_count, attributes, count);
}
