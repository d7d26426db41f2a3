// engine/graph/infer.h: what the inference rules share.
//
// A rule reads infer->inputs (ranks are known, dtypes are checked) and writes infer->outputs' rank
// and dims. It works alike on symbols (a load, infer->graph set) and on numbers (a run,
// infer->graph NULL); it never allocates but for symbols. Only engine/graph includes
// this.
#ifndef WEIR_GRAPH_INFER_H
#define WEIR_GRAPH_INFER_H

#include "engine/graph/build.h"

#define WEIR__BAD(...) WEIR_ERR(WEIR_INVALID_ARGUMENT, __VA_ARGS__)

// Texts of types in messages.
typedef struct weir__text {
    char text[256];
} weir__text_t;
#define WEIR__TEXT(infer, type)                                                                    \
    weir__type_text((infer)->graph, (type), (weir__text_t){{0}}.text, sizeof(weir__text_t))

// The integers of an input, when they are known: all of them, though some may be symbols.
typedef struct weir__ints {
    const weir__shape_value_t *shape;
    const weir__tensor_t *tensor;
    uint32_t count;
} weir__ints_t;

bool weir__infer_ints(const weir__infer_t *infer, uint32_t input, weir__ints_t *out_ints);
bool weir__ints_symbolic(const weir__ints_t *ints, uint32_t index);
int64_t weir__ints_at(const weir__ints_t *ints, uint32_t index);

static inline const weir__type_t *weir__infer_input(const weir__infer_t *infer, uint32_t input)
{
    return input < infer->input_count ? infer->inputs[input] : NULL;
}

// Whether output `output` is wanted and exists.
static inline bool weir__infer_wants(const weir__infer_t *infer, uint32_t output)
{
    return output < infer->output_count;
}

// Input `input`, when present, has a dtype of `dtypes` and a rank of at most `rank`.
weir_status_t weir__infer_check(
    const weir__infer_t *infer, uint32_t input, weir_dtype_t dtypes, int32_t rank);

// Input `input`, one that the operator needs, is of exactly that rank.
weir_status_t weir__infer_check_rank(
    const weir__infer_t *infer, uint32_t input, const char *name, int32_t rank);

// axis in [-rank, rank) as one in [0, rank).
weir_status_t weir__infer_axis(int64_t axis, int32_t rank, uint32_t *out_axis);

// Axes of an integer input as a bit set; each in range and there once.
weir_status_t weir__infer_axes(const weir__ints_t *ints, int32_t rank, uint32_t *out_mask);

// A size that nothing is known of but what it was computed from: `parts` under `tag`. graph NULL:
// error.
weir_status_t weir__infer_symbol(const weir__infer_t *infer, const char *tag, const int64_t *parts,
    uint32_t part_count, int64_t *out_dim);

// A size that the contents of the inputs decide: keyed by the node's inputs, attributes and
// `which`.
weir_status_t weir__infer_data_symbol(const weir__infer_t *infer, uint32_t which, int64_t *out_dim);

// Rank -1 for output `output`, which a run may not have.
weir_status_t weir__infer_unknown_rank(weir__infer_t *infer, uint32_t output);

// floor((dim * factor + offset) / divisor), factor and divisor > 0, dim a number or a symbol; a
// negative result is INVALID_ARGUMENT.
weir_status_t weir__infer_affine(const weir__infer_t *infer, int64_t dim, int64_t factor,
    int64_t offset, int64_t divisor, int64_t *out_dim);

// The product of dims, numbers and symbols.
weir_status_t weir__infer_product(
    const weir__infer_t *infer, const int64_t *dims, uint32_t count, int64_t *out_dim);

// What two sizes are that must be equal. `what` names them in the error.
weir_status_t weir__infer_unify(const char *what, int64_t a, int64_t b, int64_t *out_dim);

// Copies input 0's shape to output 0.
void weir__infer_same_shape(weir__infer_t *infer);

// Whether a shape value of `count` elements is wanted of output 0 and may be written.
static inline weir__shape_value_t *weir__infer_out_shape(const weir__infer_t *infer, uint64_t count)
{
    if (!infer->out_shapes || !infer->output_count || count == 0 || count > WEIR__SHAPE_VALUE_MAX ||
        !(infer->outputs[0].dtype & (WEIR_I64 | WEIR_I32 | WEIR_BOOL)))
        return NULL;
    return &infer->out_shapes[0];
}

// Copies what is known of input 0's integers to output 0 (operators that keep elements in order).
void weir__infer_pass_ints(weir__infer_t *infer);

// The rules, by file.
typedef weir_status_t weir__infer_rule_t(weir__infer_t *infer);
weir__infer_rule_t weir__infer_unary, weir__infer_cast, weir__infer_binary, weir__infer_pow,
    weir__infer_prelu, weir__infer_where, weir__infer_clip; // infer_pointwise.c
weir__infer_rule_t weir__infer_shape, weir__infer_size, weir__infer_reshape, weir__infer_flatten,
    weir__infer_squeeze, weir__infer_unsqueeze, weir__infer_expand, weir__infer_tile,
    weir__infer_constant_of_shape, weir__infer_range; // infer_shape.c
weir__infer_rule_t weir__infer_transpose, weir__infer_concat, weir__infer_split, weir__infer_slice,
    weir__infer_gather, weir__infer_gather_elements, weir__infer_gather_nd,
    weir__infer_pad; // infer_move.c
weir__infer_rule_t weir__infer_conv, weir__infer_conv_transpose, weir__infer_max_pool,
    weir__infer_average_pool, weir__infer_global_pool;                      // infer_conv.c
weir__infer_rule_t weir__infer_reduce, weir__infer_arg, weir__infer_cumsum; // infer_reduce.c
weir__infer_rule_t weir__infer_matmul, weir__infer_gemm;                    // infer_matmul.c
weir__infer_rule_t weir__infer_quantize, weir__infer_dequantize, weir__infer_dynamic_quantize,
    weir__infer_matmul_integer, weir__infer_conv_integer, weir__infer_qlinear_matmul,
    weir__infer_qlinear_conv;             // infer_quant.c
weir__infer_rule_t weir__infer_attention; // infer_attention.c
weir__infer_rule_t weir__infer_softmax, weir__infer_batch_norm, weir__infer_layer_norm,
    weir__infer_instance_norm, weir__infer_lp_norm, weir__infer_lrn, weir__infer_lstm,
    weir__infer_resize, weir__infer_if; // infer_misc.c

#endif
