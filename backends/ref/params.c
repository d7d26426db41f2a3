// backends/ref/params.c: attributes of a node -> parameters of a reference kernel.
//
// Decoded anew in every call: a handful of short strings, and so neither state nor release.
#include "backends/ref/params.h"

#include <stdio.h>
#include <string.h>

static weir_code_t refuse(char *reason, uint32_t reason_bytes, const char *name, const char *why)
{
    if (reason && reason_bytes)
        (void)snprintf(reason, reason_bytes, "attribute %s: %s", name, why);
    return WEIR_UNSUPPORTED;
}

// Which of `names` (NULL at the end) the string attribute is; absent or empty: 0; unknown: -1.
static int32_t choice(const weir_node_t *node, const char *name, const char *const *names)
{
    const weir_attribute_t *attribute = weir_node_attribute(node, name);
    if (!attribute || attribute->type != WEIR_ATTR_STRING || !attribute->s || !attribute->s[0])
        return 0;
    for (int32_t i = 0; names[i]; i++)
        if (strcmp(attribute->s, names[i]) == 0)
            return i;
    return -1;
}

// Copies an INTS attribute; every value is `otherwise` when it is absent or empty. Returns its
// count, or -1 when it has more than `most`.
static int32_t ints(const weir_node_t *node, const char *name, int64_t otherwise, uint32_t most,
    int64_t *out_values)
{
    const weir_attribute_t *attribute = weir_node_attribute(node, name);
    uint32_t count = attribute && attribute->type == WEIR_ATTR_INTS ? attribute->count : 0;
    if (count > most)
        return -1;
    for (uint32_t i = 0; i < most; i++)
        out_values[i] = i < count ? attribute->ints[i] : otherwise;
    return (int32_t)count;
}

static void decode_axis(const weir_node_t *node, weir_kr_axis_params_t *out)
{
    out->axis = weir_node_int(node, "axis", 0);
    out->start = weir_node_int(node, "start", 0);
    out->end = weir_node_int(node, "end", INT64_MAX);
    out->batch_dims = weir_node_int(node, "batch_dims", 0);
    out->keepdims = weir_node_int(node, "keepdims", 1);
    out->noop_with_empty_axes = weir_node_int(node, "noop_with_empty_axes", 0);
    out->select_last_index = weir_node_int(node, "select_last_index", 0);
    out->exclusive = weir_node_int(node, "exclusive", 0);
    out->reverse = weir_node_int(node, "reverse", 0);
    out->p = weir_node_int(node, "p", 2);
    out->coerce = weir_node_int(node, "coerce", 0);
    out->size = weir_node_int(node, "size", 1);
    out->trans_a = weir_node_int(node, "transA", 0);
    out->trans_b = weir_node_int(node, "transB", 0);
    out->alpha = weir_node_float(node, "alpha", 1.0);
    out->beta = weir_node_float(node, "beta", 1.0);
    out->bias = weir_node_float(node, "bias", 1.0);
    out->epsilon = weir_node_float(node, "epsilon", (double)1e-5f);
}

static weir_code_t decode_window(
    const weir_node_t *node, weir_kr_window_params_t *out, char *reason, uint32_t reason_bytes)
{
    static const char *const auto_pads[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", NULL};
    int64_t output_shape[WEIR_KR_RANK_MAX];
    out->auto_pad = choice(node, "auto_pad", auto_pads);
    if (out->auto_pad < 0)
        return refuse(reason, reason_bytes, "auto_pad", "unknown value");
    out->group = weir_node_int(node, "group", 1);
    out->ceil_mode = weir_node_int(node, "ceil_mode", 0);
    out->count_include_pad = weir_node_int(node, "count_include_pad", 0);
    out->relu = weir_node_int(node, "relu", 0);
    out->storage_order = weir_node_int(node, "storage_order", 0);
    const uint32_t most = WEIR_KR_RANK_MAX;
    int32_t kernel = ints(node, "kernel_shape", 1, most, out->kernel);
    int32_t strides = ints(node, "strides", 1, most, out->strides);
    int32_t dilations = ints(node, "dilations", 1, most, out->dilations);
    int32_t pads = ints(node, "pads", 0, 2 * most, out->pads);
    int32_t padding = ints(node, "output_padding", 0, most, out->output_padding);
    int32_t shape = ints(node, "output_shape", 0, most, output_shape);
    if (kernel < 0 || strides < 0 || dilations < 0 || pads < 0 || padding < 0 || shape < 0)
        return refuse(
            reason, reason_bytes, "kernel_shape, strides, dilations, pads", "too many values");
    int32_t rank = kernel ? kernel : strides ? strides : dilations ? dilations : pads / 2;
    if ((strides && strides != rank) || (dilations && dilations != rank) ||
        (pads && pads != 2 * rank))
        return refuse(
            reason, reason_bytes, "kernel_shape, strides, dilations, pads", "they differ in count");
    out->spatial_rank = (uint32_t)rank;
    out->has_output_shape = shape > 0;
    return WEIR_OK;
}

static weir_code_t decode_resize(
    const weir_node_t *node, weir_kr_resize_params_t *out, char *reason, uint32_t reason_bytes)
{
    static const char *const modes[] = {"nearest", "linear", "cubic", NULL};
    static const char *const coordinates[] = {"half_pixel", "half_pixel_symmetric",
        "pytorch_half_pixel", "align_corners", "asymmetric", NULL};
    static const char *const nearest[] = {
        "round_prefer_floor", "round_prefer_ceil", "floor", "ceil", NULL};
    static const char *const policies[] = {"stretch", "not_larger", "not_smaller", NULL};
    out->mode = choice(node, "mode", modes);
    out->coordinates = choice(node, "coordinate_transformation_mode", coordinates);
    out->nearest = choice(node, "nearest_mode", nearest);
    out->policy = choice(node, "keep_aspect_ratio_policy", policies);
    out->exclude_outside = weir_node_int(node, "exclude_outside", 0);
    out->antialias = weir_node_int(node, "antialias", 0);
    out->cubic_coeff_a = weir_node_float(node, "cubic_coeff_a", -0.75);
    int32_t axes = ints(node, "axes", 0, WEIR_KR_RANK_MAX, out->axes);
    out->axis_count = (uint32_t)(axes < 0 ? 0 : axes);
    if (out->mode < 0 || out->nearest < 0 || out->policy < 0 || axes < 0)
        return refuse(reason, reason_bytes, "mode, nearest_mode, keep_aspect_ratio_policy or axes",
            "unknown value");
    if (out->coordinates < 0)
        return refuse(reason, reason_bytes, "coordinate_transformation_mode",
            "not one of half_pixel(_symmetric), pytorch_half_pixel, align_corners, asymmetric");
    if (out->mode == WEIR_KR_RESIZE_NEAREST && out->antialias)
        return refuse(reason, reason_bytes, "antialias", "not defined for nearest");
    return WEIR_OK;
}

static weir_code_t decode_lstm(
    const weir_node_t *node, weir_kr_lstm_params_t *out, char *reason, uint32_t reason_bytes)
{
    static const char *const directions[] = {"forward", "reverse", "bidirectional", NULL};
    out->direction = choice(node, "direction", directions);
    out->hidden_size = weir_node_int(node, "hidden_size", 0);
    out->input_forget = weir_node_int(node, "input_forget", 0);
    out->layout = weir_node_int(node, "layout", 0);
    out->clip = weir_node_float(node, "clip", 0.0);
    if (out->direction < 0)
        return refuse(reason, reason_bytes, "direction", "unknown value");
    if (out->hidden_size < 1 || out->hidden_size > INT32_MAX)
        return refuse(reason, reason_bytes, "hidden_size", "out of range");
    return WEIR_OK;
}

static weir_code_t decode_attention(
    const weir_node_t *node, weir_kr_attention_params_t *out, char *reason, uint32_t reason_bytes)
{
    static const char *const layouts[4] = {"q_layout", "k_layout", "v_layout", "y_layout"};
    static const char *const parts[3] = {"q_part", "k_part", "v_part"};
    for (uint32_t i = 0; i < 4; i++) {
        const weir_attribute_t *attribute = weir_node_attribute(node, layouts[i]);
        const char *text = attribute && attribute->type == WEIR_ATTR_STRING ? attribute->s : "";
        size_t length = strlen(text);
        if (length >= sizeof out->layouts[i] || strspn(text, i == 3 ? "bhsd" : "bhsdp") != length)
            return refuse(reason, reason_bytes, layouts[i], "no layout");
        memcpy(out->layouts[i], text, length + 1);
    }
    for (uint32_t i = 0; i < 3; i++)
        out->parts[i] = weir_node_int(node, parts[i], 0);
    out->scale = weir_node_float(node, "scale", 1.0);
    return WEIR_OK;
}

weir_code_t weir__ref_params(int32_t kind, const weir_node_t *node, weir_kr_params_t *out_params,
    char *reason, uint32_t reason_bytes)
{
    static const char *const pads[] = {"constant", "reflect", "edge", "wrap", NULL};
    int32_t count;
    switch (kind) {
    case WEIR_REF_PARAMS_AXIS:
        decode_axis(node, &out_params->axis);
        return WEIR_OK;
    case WEIR_REF_PARAMS_TRANSPOSE:
        count = ints(node, "perm", 0, WEIR_KR_RANK_MAX, out_params->transpose.perm);
        if (count < 0)
            return refuse(reason, reason_bytes, "perm", "too many values");
        out_params->transpose.perm_count = (uint32_t)count;
        return WEIR_OK;
    case WEIR_REF_PARAMS_PAD:
        out_params->pad.mode = choice(node, "mode", pads);
        return out_params->pad.mode < 0 ? refuse(reason, reason_bytes, "mode", "unknown value")
                                        : WEIR_OK;
    case WEIR_REF_PARAMS_RESIZE:
        return decode_resize(node, &out_params->resize, reason, reason_bytes);
    case WEIR_REF_PARAMS_WINDOW:
        return decode_window(node, &out_params->window, reason, reason_bytes);
    case WEIR_REF_PARAMS_LSTM:
        return decode_lstm(node, &out_params->lstm, reason, reason_bytes);
    case WEIR_REF_PARAMS_ATTENTION:
        return decode_attention(node, &out_params->attention, reason, reason_bytes);
    default:
        return WEIR_OK;
    }
}
