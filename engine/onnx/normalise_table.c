// engine/onnx/normalise_table.c: every operator and opset that weir understands, one row each.
//
// Source: the operator schemas of ONNX 1.23 (docs/Changelog.md there). Sorted by name, then by
// opset; tests/unit/onnx_normalise_test.c keeps it so.
#include "engine/onnx/normalise.h"

#define LAST INT16_MAX
#define LIST(list) (list), (uint32_t)(sizeof(list) / sizeof((list)[0]))
#define NO_ATTRIBUTES NULL, 0

#define INT(name_, default_)                                                                       \
    {                                                                                              \
        .name = (name_), .type = WEIR_ATTR_INT, .kind = WEIR__NORM_CARRY, .i = (default_)          \
    }
#define INT_REQUIRED(name_)                                                                        \
    {                                                                                              \
        .name = (name_), .type = WEIR_ATTR_INT, .kind = WEIR__NORM_REQUIRED                        \
    }
#define INT_FIXED(name_, value_)                                                                   \
    {                                                                                              \
        .name = (name_), .type = WEIR_ATTR_INT, .kind = WEIR__NORM_FIXED, .i = (value_)            \
    }
#define FLOAT(name_, default_)                                                                     \
    {                                                                                              \
        .name = (name_), .type = WEIR_ATTR_FLOAT, .kind = WEIR__NORM_CARRY, .f = (default_)        \
    }
#define FLOAT_FIXED(name_, value_)                                                                 \
    {                                                                                              \
        .name = (name_), .type = WEIR_ATTR_FLOAT, .kind = WEIR__NORM_FIXED, .f = (value_)          \
    }
#define STRING(name_, default_)                                                                    \
    {                                                                                              \
        .name = (name_), .type = WEIR_ATTR_STRING, .kind = WEIR__NORM_CARRY, .s = (default_)       \
    }
#define STRING_FIXED(name_, value_)                                                                \
    {                                                                                              \
        .name = (name_), .type = WEIR_ATTR_STRING, .kind = WEIR__NORM_FIXED, .s = (value_)         \
    }
#define INTS(name_)                                                                                \
    {                                                                                              \
        .name = (name_), .type = WEIR_ATTR_INTS, .kind = WEIR__NORM_CARRY                          \
    }
#define INTS_REQUIRED(name_)                                                                       \
    {                                                                                              \
        .name = (name_), .type = WEIR_ATTR_INTS, .kind = WEIR__NORM_REQUIRED                       \
    }
#define INTS_FIXED(name_)                                                                          \
    {                                                                                              \
        .name = (name_), .type = WEIR_ATTR_INTS, .kind = WEIR__NORM_FIXED                          \
    }
#define DROP(name_)                                                                                \
    {                                                                                              \
        .name = (name_), .kind = WEIR__NORM_DROP                                                   \
    }

typedef weir__norm_attribute_t attributes_t[];

static const attributes_t axis_0 = {INT("axis", 0)};
static const attributes_t axis_1 = {INT("axis", 1)};
static const attributes_t axis_required = {INT_REQUIRED("axis")};
static const attributes_t arg_7 = {
    INT("axis", 0), INT("keepdims", 1), INT_FIXED("select_last_index", 0)};
static const attributes_t arg_12 = {
    INT("axis", 0), INT("keepdims", 1), INT("select_last_index", 0)};
static const attributes_t softmax_1 = {INT("axis", 1), INT_FIXED("coerce", 1)};
static const attributes_t softmax_13 = {INT("axis", -1), INT_FIXED("coerce", 0)};
static const attributes_t reduce_axes = {
    INT("keepdims", 1), INT_FIXED("noop_with_empty_axes", 0), DROP("axes")};
static const attributes_t reduce = {INT("keepdims", 1), INT("noop_with_empty_axes", 0)};
static const attributes_t axes_attribute = {DROP("axes")};
static const attributes_t conv = {STRING("auto_pad", "NOTSET"), INT("group", 1),
    INTS("kernel_shape"), INTS("strides"), INTS("dilations"), INTS("pads")};
static const attributes_t conv_transpose = {STRING("auto_pad", "NOTSET"), INT("group", 1),
    INTS("kernel_shape"), INTS("strides"), INTS("dilations"), INTS("pads"), INTS("output_padding"),
    INTS("output_shape")};
static const attributes_t max_pool = {STRING("auto_pad", "NOTSET"), INT("ceil_mode", 0),
    INTS_REQUIRED("kernel_shape"), INTS("strides"), INTS("dilations"), INTS("pads"),
    INT("storage_order", 0)};
static const attributes_t average_pool = {STRING("auto_pad", "NOTSET"), INT("ceil_mode", 0),
    INTS_REQUIRED("kernel_shape"), INTS("strides"), INTS("dilations"), INTS("pads"),
    INT("count_include_pad", 0)};
static const attributes_t batch_norm_7 = {
    FLOAT("epsilon", 1e-5f), DROP("momentum"), DROP("spatial")};
static const attributes_t batch_norm_9 = {FLOAT("epsilon", 1e-5f), DROP("momentum")};
static const attributes_t batch_norm_14 = {
    FLOAT("epsilon", 1e-5f), DROP("momentum"), DROP("training_mode")};
static const attributes_t epsilon = {FLOAT("epsilon", 1e-5f)};
static const attributes_t layer_norm = {
    INT("axis", -1), FLOAT("epsilon", 1e-5f), DROP("stash_type")};
static const attributes_t lp_norm = {INT("axis", -1), INT("p", 2)};
static const attributes_t lrn = {
    FLOAT("alpha", 1e-4f), FLOAT("beta", 0.75f), FLOAT("bias", 1.0f), INT_REQUIRED("size")};
static const attributes_t gemm = {
    FLOAT("alpha", 1.0f), FLOAT("beta", 1.0f), INT("transA", 0), INT("transB", 0)};
static const attributes_t hard_sigmoid = {FLOAT("alpha", 0.2f), FLOAT("beta", 0.5f)};
static const attributes_t leaky_relu = {FLOAT("alpha", 0.01f)};
static const attributes_t elu = {FLOAT("alpha", 1.0f)};
static const attributes_t mod = {INT("fmod", 0)};
static const attributes_t cast = {INT_REQUIRED("to"), DROP("saturate"), DROP("round_mode")};
static const attributes_t cast_like = {DROP("saturate"), DROP("round_mode")};
static const attributes_t clip_6 = {DROP("min"), DROP("max")};
static const attributes_t dropout_7 = {DROP("ratio")};
static const attributes_t dropout_12 = {DROP("seed")};
static const attributes_t gelu = {DROP("approximate")};
static const attributes_t shape_1 = {INT_FIXED("start", 0), INT_FIXED("end", INT64_MAX)};
static const attributes_t shape_15 = {INT("start", 0), INT("end", INT64_MAX)};
static const attributes_t reshape_5 = {INT_FIXED("allowzero", 0)};
static const attributes_t reshape_14 = {INT("allowzero", 0)};
static const attributes_t transpose = {INTS("perm")};
static const attributes_t split_2 = {INT("axis", 0), DROP("split")};
static const attributes_t split_18 = {INT("axis", 0), DROP("num_outputs")};
static const attributes_t slice_1 = {DROP("starts"), DROP("ends"), DROP("axes")};
static const attributes_t gather_nd_11 = {INT_FIXED("batch_dims", 0)};
static const attributes_t gather_nd_12 = {INT("batch_dims", 0)};
static const attributes_t pad_2 = {STRING("mode", "constant"), DROP("pads"), DROP("value")};
static const attributes_t pad_11 = {STRING("mode", "constant")};
static const attributes_t value_attribute = {DROP("value")};
static const attributes_t stash_type = {DROP("stash_type")};
static const attributes_t cum_sum = {INT("exclusive", 0), INT("reverse", 0)};
static const attributes_t lstm = {STRING("direction", "forward"), INT("hidden_size", 0),
    INT("input_forget", 0), INT("layout", 0), FLOAT("clip", 0.0f), DROP("activations"),
    DROP("activation_alpha"), DROP("activation_beta")};
// Upsample and Resize before opset 11 say only `mode`; the rest is what they meant.
static const attributes_t upsample_7 = {STRING("mode", "nearest"), DROP("scales"),
    STRING_FIXED("coordinate_transformation_mode", "asymmetric"),
    STRING_FIXED("nearest_mode", "floor"), FLOAT_FIXED("cubic_coeff_a", -0.75f),
    INT_FIXED("exclude_outside", 0), FLOAT_FIXED("extrapolation_value", 0.0f),
    INT_FIXED("antialias", 0), INTS_FIXED("axes"),
    STRING_FIXED("keep_aspect_ratio_policy", "stretch")};
static const attributes_t resize_11 = {STRING("mode", "nearest"),
    STRING("coordinate_transformation_mode", "half_pixel"),
    STRING("nearest_mode", "round_prefer_floor"), FLOAT("cubic_coeff_a", -0.75f),
    INT("exclude_outside", 0), FLOAT("extrapolation_value", 0.0f), INT_FIXED("antialias", 0),
    INTS_FIXED("axes"), STRING_FIXED("keep_aspect_ratio_policy", "stretch")};
static const attributes_t resize_18 = {STRING("mode", "nearest"),
    STRING("coordinate_transformation_mode", "half_pixel"),
    STRING("nearest_mode", "round_prefer_floor"), FLOAT("cubic_coeff_a", -0.75f),
    INT("exclude_outside", 0), FLOAT("extrapolation_value", 0.0f), INT("antialias", 0),
    INTS("axes"), STRING("keep_aspect_ratio_policy", "stretch")};

static const attributes_t quantize_10 = {INT_FIXED("axis", 1)};
static const attributes_t quantize_13 = {INT("axis", 1)};
static const attributes_t quantize_19 = {INT("axis", 1), DROP("saturate")};
static const attributes_t quantize_21 = {INT("axis", 1), INT("block_size", 0),
    INT("output_dtype", 0), DROP("saturate"), DROP("precision")};
static const attributes_t dequantize_21 = {
    INT("axis", 1), INT("block_size", 0), INT_FIXED("output_dtype", 0)};
static const attributes_t qlinear_conv = {STRING("auto_pad", "NOTSET"), INT("group", 1),
    INTS("kernel_shape"), INTS("strides"), INTS("dilations"), INTS("pads"), INT_FIXED("relu", 0)};
static const attributes_t qlinear_matmul = {INT_FIXED("transB", 0)};

#define PLAIN(name, first)                                                                         \
    {                                                                                              \
        name, first, LAST, name, NO_ATTRIBUTES, NULL                                               \
    }
#define WITH(name, first, last, list)                                                              \
    {                                                                                              \
        name, first, last, name, LIST(list), NULL                                                  \
    }
// `axes` was an attribute until `first_input`.
#define REDUCE(name, first_input)                                                                  \
    {name, 1, first_input - 1, name, LIST(reduce_axes), weir__norm_axes},                          \
    {                                                                                              \
        name, first_input, LAST, name, LIST(reduce), NULL                                          \
    }

// clang-format off
static const weir__norm_row_t table[] = {
    PLAIN("Abs", 6),
    PLAIN("Add", 7),
    PLAIN("And", 7),
    WITH("ArgMax", 1, 11, arg_7),
    WITH("ArgMax", 12, LAST, arg_12),
    WITH("ArgMin", 1, 11, arg_7),
    WITH("ArgMin", 12, LAST, arg_12),
    {"AveragePool", 1, LAST, "AveragePool", LIST(average_pool), weir__norm_pool},
    {"BatchNormalization", 7, 8, "BatchNormalization", LIST(batch_norm_7), weir__norm_batch_norm},
    {"BatchNormalization", 9, 13, "BatchNormalization", LIST(batch_norm_9), weir__norm_batch_norm},
    {"BatchNormalization", 14, LAST, "BatchNormalization", LIST(batch_norm_14),
        weir__norm_batch_norm},
    {"Cast", 6, LAST, "Cast", LIST(cast), weir__norm_cast},
    {"CastLike", 15, LAST, "Cast", LIST(cast_like), weir__norm_cast_like},
    PLAIN("Ceil", 6),
    {"Clip", 6, 10, "Clip", LIST(clip_6), weir__norm_clip_attributes},
    {"Clip", 11, LAST, "Clip", NO_ATTRIBUTES, weir__norm_clip_inputs},
    WITH("Concat", 4, LAST, axis_required),
    {"ConstantOfShape", 9, LAST, "ConstantOfShape", LIST(value_attribute),
        weir__norm_constant_of_shape},
    {"Conv", 1, LAST, "Conv", LIST(conv), weir__norm_conv},
    {"ConvInteger", 10, LAST, "ConvInteger", LIST(conv), weir__norm_conv},
    {"ConvTranspose", 1, LAST, "ConvTranspose", LIST(conv_transpose), weir__norm_conv},
    PLAIN("Cos", 7),
    WITH("CumSum", 11, LAST, cum_sum),
    WITH("DequantizeLinear", 10, 12, quantize_10),
    WITH("DequantizeLinear", 13, 20, quantize_13),
    WITH("DequantizeLinear", 21, LAST, dequantize_21),
    PLAIN("Div", 7),
    {"Dropout", 7, 11, "Identity", LIST(dropout_7), weir__norm_dropout},
    {"Dropout", 12, LAST, "Identity", LIST(dropout_12), weir__norm_dropout},
    PLAIN("DynamicQuantizeLinear", 11),
    WITH("Elu", 6, LAST, elu),
    PLAIN("Equal", 7),
    PLAIN("Erf", 9),
    PLAIN("Exp", 6),
    PLAIN("Expand", 8),
    WITH("Flatten", 1, LAST, axis_1),
    PLAIN("Floor", 6),
    WITH("Gather", 1, LAST, axis_0),
    WITH("GatherElements", 11, LAST, axis_0),
    WITH("GatherND", 11, 11, gather_nd_11),
    WITH("GatherND", 12, LAST, gather_nd_12),
    {"Gelu", 20, LAST, "Gelu", LIST(gelu), weir__norm_gelu},
    WITH("Gemm", 7, LAST, gemm),
    PLAIN("GlobalAveragePool", 1),
    PLAIN("GlobalMaxPool", 1),
    PLAIN("Greater", 7),
    PLAIN("GreaterOrEqual", 12),
    WITH("HardSigmoid", 6, LAST, hard_sigmoid),
    PLAIN("HardSwish", 14),
    PLAIN("Identity", 1),
    WITH("InstanceNormalization", 6, LAST, epsilon),
    PLAIN("IsNaN", 9),
    WITH("LRN", 1, LAST, lrn),
    {"LSTM", 7, LAST, "LSTM", LIST(lstm), weir__norm_lstm},
    WITH("LayerNormalization", 17, LAST, layer_norm),
    WITH("LeakyRelu", 6, LAST, leaky_relu),
    PLAIN("Less", 7),
    PLAIN("LessOrEqual", 12),
    PLAIN("Log", 6),
    WITH("LogSoftmax", 1, 12, softmax_1),
    WITH("LogSoftmax", 13, LAST, softmax_13),
    WITH("LpNormalization", 1, LAST, lp_norm),
    PLAIN("MatMul", 1),
    PLAIN("MatMulInteger", 10),
    {"Max", 6, LAST, "Max", NO_ATTRIBUTES, weir__norm_chain},
    {"MaxPool", 1, LAST, "MaxPool", LIST(max_pool), weir__norm_pool},
    {"Mean", 6, LAST, "Add", NO_ATTRIBUTES, weir__norm_mean},
    {"Min", 6, LAST, "Min", NO_ATTRIBUTES, weir__norm_chain},
    WITH("Mod", 10, LAST, mod),
    PLAIN("Mul", 7),
    PLAIN("Neg", 6),
    PLAIN("Not", 1),
    PLAIN("Or", 7),
    PLAIN("PRelu", 7),
    {"Pad", 2, 10, "Pad", LIST(pad_2), weir__norm_pad},
    WITH("Pad", 11, LAST, pad_11),
    PLAIN("Pow", 7),
    {"QLinearConv", 10, LAST, "QLinearConv", LIST(qlinear_conv), weir__norm_qlinear_conv},
    WITH("QLinearMatMul", 10, LAST, qlinear_matmul),
    WITH("QuantizeLinear", 10, 12, quantize_10),
    WITH("QuantizeLinear", 13, 18, quantize_13),
    WITH("QuantizeLinear", 19, 20, quantize_19),
    WITH("QuantizeLinear", 21, LAST, quantize_21),
    WITH("Range", 11, LAST, stash_type),
    PLAIN("Reciprocal", 6),
    REDUCE("ReduceL1", 18),
    REDUCE("ReduceL2", 18),
    REDUCE("ReduceLogSum", 18),
    REDUCE("ReduceLogSumExp", 18),
    REDUCE("ReduceMax", 18),
    REDUCE("ReduceMean", 18),
    REDUCE("ReduceMin", 18),
    REDUCE("ReduceProd", 18),
    REDUCE("ReduceSum", 13),
    REDUCE("ReduceSumSquare", 18),
    PLAIN("Relu", 6),
    WITH("Reshape", 5, 13, reshape_5),
    WITH("Reshape", 14, LAST, reshape_14),
    {"Resize", 10, 10, "Resize", LIST(upsample_7), weir__norm_resize_10},
    {"Resize", 11, 17, "Resize", LIST(resize_11), weir__norm_resize},
    {"Resize", 18, LAST, "Resize", LIST(resize_18), weir__norm_resize},
    PLAIN("Round", 11),
    WITH("Shape", 1, 14, shape_1),
    WITH("Shape", 15, LAST, shape_15),
    PLAIN("Sigmoid", 6),
    PLAIN("Sign", 9),
    PLAIN("Sin", 7),
    PLAIN("Size", 1),
    {"Slice", 1, 9, "Slice", LIST(slice_1), weir__norm_slice},
    PLAIN("Slice", 10),
    WITH("Softmax", 1, 12, softmax_1),
    WITH("Softmax", 13, LAST, softmax_13),
    PLAIN("Softplus", 1),
    {"Split", 2, 12, "Split", LIST(split_2), weir__norm_split},
    {"Split", 13, LAST, "Split", LIST(split_18), weir__norm_split},
    PLAIN("Sqrt", 6),
    {"Squeeze", 1, 12, "Squeeze", LIST(axes_attribute), weir__norm_axes},
    PLAIN("Squeeze", 13),
    PLAIN("Sub", 7),
    {"Sum", 6, LAST, "Add", NO_ATTRIBUTES, weir__norm_chain},
    PLAIN("Tanh", 6),
    PLAIN("Tile", 6),
    WITH("Transpose", 1, LAST, transpose),
    {"Unsqueeze", 1, 12, "Unsqueeze", LIST(axes_attribute), weir__norm_axes},
    PLAIN("Unsqueeze", 13),
    {"Upsample", 7, 9, "Resize", LIST(upsample_7), weir__norm_upsample},
    PLAIN("Where", 9),
    PLAIN("Xor", 7),
};
// clang-format on

const weir__norm_row_t *weir__norm_table(uint32_t *out_count)
{
    *out_count = (uint32_t)(sizeof table / sizeof table[0]);
    return table;
}
