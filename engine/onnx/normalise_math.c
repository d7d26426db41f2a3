// engine/onnx/normalise_math.c: rules for operators that compute: chains, Clip, Cast, Conv, pools,
// LSTM …
#include "engine/onnx/normalise.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <strings.h>

// Reads an attribute that the row drops, because only the rule knows what to do with it.
static weir_status_t read_float(
    const weir__norm_t *norm, const char *name, float otherwise, float *out_number)
{
    const weir__onnx_attribute_t *attribute = weir__norm_find(norm, name);
    *out_number = attribute ? attribute->f : otherwise;
    if (attribute && attribute->type != WEIR__ONNX_FLOAT)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "attribute %s must be a number", name);
    return NULL;
}

static weir_status_t read_int(
    const weir__norm_t *norm, const char *name, int64_t otherwise, int64_t *out_number)
{
    const weir__onnx_attribute_t *attribute = weir__norm_find(norm, name);
    *out_number = attribute ? attribute->i : otherwise;
    if (attribute && attribute->type != WEIR__ONNX_INT)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "attribute %s must be an integer", name);
    return NULL;
}

static weir_status_t one_output(const weir__norm_t *norm)
{
    if (norm->output_count == 1 && norm->outputs[0] != WEIR__NONE)
        return NULL;
    return WEIR_ERR(WEIR_INVALID_ARGUMENT, "it has %u outputs; %s makes 1", norm->output_count,
        norm->node->op_type);
}

// ---- Variadic operators ----------------------------------------------------------------------

static weir_status_t emit_chain(const weir__norm_t *norm, const char *op, uint32_t output)
{
    if (norm->input_count < 2)
        return weir__norm_emit_plain(norm, "Identity", norm->inputs, norm->input_count, output);
    uint32_t sum = norm->inputs[0];
    for (uint32_t i = 1; i < norm->input_count; i++) {
        uint32_t inputs[2] = {sum, norm->inputs[i]};
        sum = output;
        if (i + 1 < norm->input_count)
            WEIR_TRY(weir__graph_add_value(norm->context->graph, NULL, &sum));
        WEIR_TRY(weir__norm_emit_plain(norm, op, inputs, 2, sum));
    }
    return NULL;
}

weir_status_t weir__norm_chain(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count;
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    WEIR_TRY(one_output(norm));
    return emit_chain(norm, row->target, norm->outputs[0]);
}

weir_status_t weir__norm_mean(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count, inputs[2];
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    WEIR_TRY(one_output(norm));
    if (norm->input_count < 2)
        return emit_chain(norm, "Add", norm->outputs[0]);
    WEIR_TRY(weir__graph_add_value(norm->context->graph, NULL, &inputs[0]));
    WEIR_TRY(emit_chain(norm, "Add", inputs[0]));
    WEIR_TRY(weir__norm_scalar(
        norm, weir__norm_hint(norm, norm->inputs[0]), (double)norm->input_count, &inputs[1]));
    return weir__norm_emit_plain(norm, "Div", inputs, 2, norm->outputs[0]);
}

// ---- Clip ------------------------------------------------------------------------------------

weir_status_t weir__norm_clip_attributes(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count, inputs[3] = {weir__norm_input(norm, 0)};
    float low, high;
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    WEIR_TRY(read_float(norm, "min", -FLT_MAX, &low));
    WEIR_TRY(read_float(norm, "max", FLT_MAX, &high));
    if (norm->input_count != 1)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "it has %u inputs; Clip takes 1 in opset %" PRId64,
            norm->input_count, norm->opset);
    weir_dtype_t dtype = weir__norm_hint(norm, inputs[0]);
    WEIR_TRY(weir__norm_scalar(norm, dtype, (double)low, &inputs[1]));
    WEIR_TRY(weir__norm_scalar(norm, dtype, (double)high, &inputs[2]));
    return weir__norm_emit(norm, "Clip", inputs, 3, norm->outputs, norm->output_count, NULL, 0);
}

weir_status_t weir__norm_clip_inputs(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count, inputs[3] = {weir__norm_input(norm, 0), weir__norm_input(norm, 1),
                        weir__norm_input(norm, 2)};
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    WEIR_TRY(one_output(norm));
    if (norm->input_count > 3)
        return WEIR_ERR(
            WEIR_INVALID_ARGUMENT, "it has %u inputs; Clip takes 1 to 3", norm->input_count);
    bool no_low = inputs[1] == WEIR__NONE, no_high = inputs[2] == WEIR__NONE;
    if (no_low && no_high)
        return weir__norm_emit_plain(norm, "Identity", inputs, 1, norm->outputs[0]);
    if (!no_low && !no_high)
        return weir__norm_emit_plain(norm, "Clip", inputs, 3, norm->outputs[0]);
    // One end is open. For floats infinity stands for it; for integers, or where the dtype is not
    // known yet, Max or Min says the same without a constant.
    weir_dtype_t dtype = weir__norm_hint(norm, no_low ? inputs[2] : inputs[1]);
    if (!dtype)
        dtype = weir__norm_hint(norm, inputs[0]);
    if (dtype & (WEIR_F32 | WEIR_F64 | WEIR_F16 | WEIR_BF16)) {
        WEIR_TRY(
            weir__norm_scalar(norm, dtype, no_low ? -INFINITY : INFINITY, &inputs[no_low ? 1 : 2]));
        return weir__norm_emit_plain(norm, "Clip", inputs, 3, norm->outputs[0]);
    }
    uint32_t pair[2] = {inputs[0], no_low ? inputs[2] : inputs[1]};
    return weir__norm_emit_plain(norm, no_low ? "Min" : "Max", pair, 2, norm->outputs[0]);
}

// ---- Cast, Gelu ------------------------------------------------------------------------------

weir_status_t weir__norm_cast(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count;
    weir_dtype_t dtype;
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    WEIR_TRY(weir__status_prefix(weir__onnx_dtype(attributes[0].i, &dtype), "attribute to"));
    attributes[0].i = (int64_t)dtype;
    return weir__norm_emit(norm, "Cast", norm->inputs, norm->input_count, norm->outputs,
        norm->output_count, attributes, count);
}

weir_status_t weir__norm_cast_like(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count;
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    weir_dtype_t dtype = weir__norm_hint(norm, weir__norm_input(norm, 1));
    if (!dtype)
        return WEIR_ERR(WEIR_UNSUPPORTED,
            "the element type of its second input is not known here: use Cast instead of CastLike");
    attributes[0] = (weir_attribute_t){.name = "to", .type = WEIR_ATTR_INT, .i = (int64_t)dtype};
    return weir__norm_emit(
        norm, "Cast", norm->inputs, 1, norm->outputs, norm->output_count, attributes, 1);
}

weir_status_t weir__norm_gelu(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count;
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    const weir__onnx_attribute_t *approximate = weir__norm_find(norm, "approximate");
    const char *form = approximate ? approximate->s : "none";
    if (strcmp(form, "none") != 0 && strcmp(form, "tanh") != 0)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "attribute approximate is \"%s\"; known are none and tanh", form);
    return weir__norm_emit(norm, form[0] == 't' ? "GeluTanh" : "Gelu", norm->inputs,
        norm->input_count, norm->outputs, norm->output_count, NULL, 0);
}

// ---- Operators that differ in training -------------------------------------------------------

// The mask of a Dropout that drops nothing: true everywhere (until opset 9: 1 of X's dtype).
static weir_status_t emit_mask(const weir__norm_t *norm, uint32_t output)
{
    uint32_t inputs[2];
    const uint8_t yes = 1;
    weir_attribute_t range[2] = {{.name = "start", .type = WEIR_ATTR_INT},
        {.name = "end", .type = WEIR_ATTR_INT, .i = INT64_MAX}};
    WEIR_TRY(weir__graph_add_value(norm->context->graph, NULL, &inputs[0]));
    WEIR_TRY(weir__norm_emit(norm, "Shape", norm->inputs, 1, &inputs[0], 1, range, 2));
    if (norm->opset < 10)
        WEIR_TRY(weir__norm_scalar(norm, weir__norm_hint(norm, norm->inputs[0]), 1.0, &inputs[1]));
    else
        WEIR_TRY(weir__graph_add_constant(
            norm->context->graph, NULL, WEIR_BOOL, 0, NULL, &yes, true, &inputs[1]));
    return weir__norm_emit_plain(norm, "ConstantOfShape", inputs, 2, output);
}

weir_status_t weir__norm_dropout(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count, mode = weir__norm_input(norm, 2);
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    if (mode != WEIR__NONE) {
        const weir__tensor_t *constant = weir__norm_constant(norm, mode);
        if (!constant || constant->dtype != WEIR_BOOL || constant->count != 1 ||
            *(const uint8_t *)constant->data)
            return WEIR_ERR(WEIR_UNSUPPORTED,
                "training_mode is not the constant false: export the model for inference");
    }
    if (!norm->input_count || !norm->output_count || norm->output_count > 2)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "it has %u inputs and %u outputs; Dropout has 1 to 3 "
            "and 1 to 2",
            norm->input_count, norm->output_count);
    if (norm->outputs[0] != WEIR__NONE)
        WEIR_TRY(weir__norm_emit_plain(norm, "Identity", norm->inputs, 1, norm->outputs[0]));
    return norm->output_count > 1 && norm->outputs[1] != WEIR__NONE
               ? emit_mask(norm, norm->outputs[1])
               : NULL;
}

weir_status_t weir__norm_batch_norm(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count;
    int64_t spatial, training;
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    WEIR_TRY(read_int(norm, "spatial", 1, &spatial));
    WEIR_TRY(read_int(norm, "training_mode", 0, &training));
    if (spatial != 1)
        return WEIR_ERR(WEIR_UNSUPPORTED, "spatial = 0 (statistics per position) is not supported");
    if (training)
        return WEIR_ERR(
            WEIR_UNSUPPORTED, "training_mode = 1 is not supported: export the model for inference");
    // Further outputs exist in training only. A node that reads one is refused: nothing makes it.
    uint32_t outputs = WEIR_MIN(norm->output_count, 1u);
    return weir__norm_emit(norm, "BatchNormalization", norm->inputs, norm->input_count,
        norm->outputs, outputs, attributes, count);
}

// ---- Convolutions and pools ------------------------------------------------------------------

// Where conv, max_pool and average_pool have these attributes in the table.
enum { KERNEL_SHAPE = 2, STRIDES = 3, DILATIONS = 4, PADS = 5 };

static weir_status_t fill(
    const weir__norm_t *norm, weir_attribute_t *attribute, uint32_t count, int64_t number)
{
    weir_status_t status;
    if (attribute->count)
        return NULL;
    int64_t *ints = weir__onnx_alloc(norm->context, count, sizeof *ints, &status);
    if (!ints)
        return status;
    for (uint32_t i = 0; i < count; i++)
        ints[i] = number;
    attribute->ints = ints;
    attribute->count = count;
    return NULL;
}

// spatial 0: not known before inference; lists that are not given then stay empty.
static weir_status_t fill_window(
    const weir__norm_t *norm, weir_attribute_t *attributes, uint32_t spatial)
{
    WEIR_TRY(fill(norm, &attributes[STRIDES], spatial, 1));
    WEIR_TRY(fill(norm, &attributes[DILATIONS], spatial, 1));
    return fill(norm, &attributes[PADS], spatial * 2, 0);
}

static weir_status_t norm_conv(
    const weir__norm_t *norm, const weir__norm_row_t *row, uint32_t weights_input)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count, weights = weir__norm_input(norm, weights_input);
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    const weir__tensor_t *constant =
        weights == WEIR__NONE ? NULL : norm->context->graph->values[weights].constant;
    weir_attribute_t *kernel = &attributes[KERNEL_SHAPE];
    if (!kernel->count && constant && constant->rank > 2) {
        kernel->ints = constant->dims + 2;
        kernel->count = constant->rank - 2;
    }
    uint32_t spatial = kernel->count                 ? kernel->count
                       : attributes[STRIDES].count   ? attributes[STRIDES].count
                       : attributes[DILATIONS].count ? attributes[DILATIONS].count
                                                     : attributes[PADS].count / 2;
    WEIR_TRY(fill_window(norm, attributes, spatial));
    return weir__norm_emit(norm, row->target, norm->inputs, norm->input_count, norm->outputs,
        norm->output_count, attributes, count);
}

weir_status_t weir__norm_conv(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    return norm_conv(norm, row, 1);
}

weir_status_t weir__norm_qlinear_conv(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    return norm_conv(norm, row, 3);
}

weir_status_t weir__norm_pool(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count;
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    WEIR_TRY(fill_window(norm, attributes, attributes[KERNEL_SHAPE].count));
    return weir__norm_emit(norm, row->target, norm->inputs, norm->input_count, norm->outputs,
        norm->output_count, attributes, count);
}

// ---- LSTM ------------------------------------------------------------------------------------

static weir_status_t check_activations(const weir__norm_t *norm)
{
    static const char *const defaults[] = {"Sigmoid", "Tanh", "Tanh"};
    const weir__onnx_attribute_t *activations = weir__norm_find(norm, "activations");
    if (!activations)
        return NULL;
    for (uint32_t i = 0; i < activations->count; i++)
        if (strcasecmp(activations->strings[i], defaults[i % 3]) != 0)
            return WEIR_ERR(WEIR_UNSUPPORTED,
                "activation %u is %s; only the defaults Sigmoid, Tanh, Tanh are supported", i,
                activations->strings[i]);
    return NULL;
}

weir_status_t weir__norm_lstm(const weir__norm_t *norm, const weir__norm_row_t *row)
{
    weir_attribute_t attributes[WEIR__NORM_ATTRIBUTES_MAX];
    uint32_t count, recurrence = weir__norm_input(norm, 2);
    weir_attribute_t *hidden_size = &attributes[1];
    WEIR_TRY(weir__norm_attributes(norm, row, attributes, &count));
    WEIR_TRY(check_activations(norm));
    const weir__tensor_t *constant =
        recurrence == WEIR__NONE ? NULL : norm->context->graph->values[recurrence].constant;
    if (!hidden_size->i && constant && constant->rank == 3)
        hidden_size->i = constant->dims[2];
    return weir__norm_emit(norm, "LSTM", norm->inputs, norm->input_count, norm->outputs,
        norm->output_count, attributes, count);
}
