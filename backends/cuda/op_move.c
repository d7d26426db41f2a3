// backends/cuda/op_move.c: what moves elements: Transpose, Expand, Tile, Slice, Concat, Split, and
// what only changes a shape.
#include "backends/cuda/op_common.h"

#include <string.h>

static weir_code_t supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->prologue || node->epilogue)
        return weir_cuda_refuse(out_support, "it takes no expression");
    if (!weir_dtype_bytes(node->outputs[0].dtype))
        return weir_cuda_refuse(out_support, "an unknown element type");
    if (node->inputs[0].rank > WEIR_CUDA_AXES_MAX || node->outputs[0].rank > WEIR_CUDA_AXES_MAX)
        return weir_cuda_refuse(out_support, "more than 8 axes");
    if (strcmp(node->op, "Tile") == 0 && node->inputs[0].rank * 2 > WEIR_CUDA_AXES_MAX)
        return weir_cuda_refuse(out_support, "more than 4 axes to repeat");
    if ((strcmp(node->op, "Concat") == 0 && node->input_count > WEIR_CUDA_STEPS_MAX) ||
        (strcmp(node->op, "Split") == 0 && node->output_count > WEIR_CUDA_STEPS_MAX))
        return weir_cuda_refuse(out_support, "more than 8 parts");
    return WEIR_OK;
}

static uint32_t bytes_of(const weir_node_t *node)
{
    return weir_dtype_bytes(node->outputs[0].dtype);
}

// All of y in order, from x along the strides of walk 0.
static weir_code_t move(
    const weir_node_t *node, weir_cuda_axes_t *axes, int64_t x_first, weir_cuda_recipe_t *recipe)
{
    int64_t stride = 1;
    axes->walk_count = 2;
    for (uint32_t d = axes->rank; d-- > 0;) {
        axes->strides[1][d] = stride;
        stride *= axes->dims[d];
    }
    const weir_code_t code = weir_cuda_check_counts(recipe, node);
    if (code != WEIR_OK)
        return code;
    return weir_cuda_copy_axes(
        recipe, node, axes, bytes_of(node), weir_cuda_input(0), x_first, weir_cuda_output(0), 0);
}

static weir_code_t plan_same(const weir_node_t *node, weir_cuda_recipe_t *recipe)
{
    return weir_cuda_recipe_copy(recipe, weir_cuda_input(0), weir_cuda_output(0),
        node->outputs[0].element_count * bytes_of(node));
}

static weir_code_t plan_transpose(const weir_node_t *node, weir_cuda_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0];
    const weir_attribute_t *perm = weir_node_attribute(node, "perm");
    const bool is_given = perm && perm->count == x->rank;
    weir_cuda_axes_t axes = {.rank = x->rank};
    int64_t strides[WEIR_RANK_MAX];
    weir_cuda_strides(x, strides);
    for (uint32_t d = 0; d < x->rank; d++) {
        const int32_t from =
            is_given ? weir_cuda_axis(perm->ints[d], x->rank) : (int32_t)(x->rank - 1 - d);
        if (from < 0)
            return weir_cuda_cannot(recipe, node, WEIR_INVALID_ARGUMENT, "no such axis");
        axes.dims[d] = x->dims[from];
        axes.strides[0][d] = strides[from];
    }
    return move(node, &axes, 0, recipe);
}

static weir_code_t plan_expand(const weir_node_t *node, weir_cuda_recipe_t *recipe)
{
    const weir_tensor_t *y = &node->outputs[0];
    weir_cuda_axes_t axes = {.rank = y->rank};
    memcpy(axes.dims, y->dims, y->rank * sizeof *y->dims);
    if (!weir_cuda_axes_broadcast(&axes, &node->inputs[0]))
        return weir_cuda_cannot(recipe, node, WEIR_INVALID_ARGUMENT, "it does not broadcast");
    return move(node, &axes, 0, recipe);
}

// Each axis as two: how often, and what is repeated.
static weir_code_t plan_tile(const weir_node_t *node, weir_cuda_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    weir_cuda_axes_t axes = {.rank = 2 * x->rank};
    int64_t strides[WEIR_RANK_MAX];
    weir_cuda_strides(x, strides);
    for (uint32_t d = 0; d < x->rank; d++) {
        axes.dims[2 * d] = x->dims[d] ? y->dims[d] / x->dims[d] : 0;
        axes.dims[2 * d + 1] = x->dims[d];
        axes.strides[0][2 * d + 1] = strides[d];
    }
    return move(node, &axes, 0, recipe);
}

// Where it ends the output's dims say.
static weir_code_t slice_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (!weir_cuda_is_known(node, 1) || !weir_cuda_is_known(node, 3) ||
        !weir_cuda_is_known(node, 4))
        return weir_cuda_refuse(out_support, "starts, axes or steps that are no constants");
    return supports(node, out_support);
}

static weir_code_t plan_slice(const weir_node_t *node, weir_cuda_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    weir_cuda_axes_t axes = {.rank = x->rank};
    int64_t first = 0;
    weir_cuda_strides(x, axes.strides[0]);
    memcpy(axes.dims, y->dims, y->rank * sizeof *y->dims);
    for (uint64_t i = 0; i < node->inputs[1].element_count; i++) {
        const int64_t wanted =
            weir_cuda_has(node, 3) ? weir_cuda_value(&node->inputs[3], i) : (int64_t)i;
        const int64_t step = weir_cuda_has(node, 4) ? weir_cuda_value(&node->inputs[4], i) : 1;
        const int32_t axis = weir_cuda_axis(wanted, x->rank);
        int64_t start = weir_cuda_value(&node->inputs[1], i);
        if (axis < 0 || step == 0)
            return weir_cuda_cannot(recipe, node, WEIR_INVALID_ARGUMENT, "no such axis or step");
        start += start < 0 ? x->dims[axis] : 0;
        start = WEIR_MIN(WEIR_MAX(start, 0), step < 0 ? x->dims[axis] - 1 : x->dims[axis]);
        first += start * axes.strides[0][axis];
        axes.strides[0][axis] *= step;
    }
    return move(node, &axes, first, recipe);
}

// Parts of one axis: from x to its place in y (Concat), or the other way (Split).
static weir_code_t plan_parts(const weir_node_t *node, weir_cuda_recipe_t *recipe)
{
    const bool joins = node->op[0] == 'C';
    const weir_tensor_t *whole = joins ? &node->outputs[0] : &node->inputs[0];
    const uint32_t count = joins ? node->input_count : node->output_count;
    const int32_t axis = weir_cuda_axis(weir_node_int(node, "axis", 0), whole->rank);
    int64_t strides[WEIR_RANK_MAX], at = 0;
    weir_code_t code = weir_cuda_check_counts(recipe, node);
    if (code == WEIR_OK && axis < 0)
        code = weir_cuda_cannot(recipe, node, WEIR_INVALID_ARGUMENT, "no such axis");
    if (code != WEIR_OK)
        return code;
    weir_cuda_strides(whole, strides);
    for (uint32_t i = 0; i < count && code == WEIR_OK; i++) {
        const weir_tensor_t *part = joins ? &node->inputs[i] : &node->outputs[i];
        if (!part->dtype)
            return weir_cuda_cannot(recipe, node, WEIR_UNSUPPORTED, "a part that is absent");
        weir_cuda_axes_t axes = {.rank = part->rank, .walk_count = 2};
        memcpy(axes.dims, part->dims, part->rank * sizeof *part->dims);
        memcpy(axes.strides[joins ? 1 : 0], strides, part->rank * sizeof *strides);
        weir_cuda_strides(part, axes.strides[joins ? 0 : 1]);
        const int64_t first = at * strides[axis];
        const weir_cuda_place_t from = weir_cuda_input(joins ? i : 0);
        const weir_cuda_place_t to = weir_cuda_output(joins ? 0 : i);
        code = weir_cuda_copy_axes(recipe, node, &axes, weir_dtype_bytes(whole->dtype), from,
            joins ? 0 : first, to, joins ? first : 0);
        at += part->dims[axis];
    }
    return code;
}

static const weir_cuda_row_t rows[] = {
    WEIR_CUDA_ROW("Transpose", "cuda_transpose", supports, plan_transpose),
    WEIR_CUDA_ROW("Expand", "cuda_expand", supports, plan_expand),
    WEIR_CUDA_ROW("Tile", "cuda_tile", supports, plan_tile),
    WEIR_CUDA_ROW("Slice", "cuda_slice", slice_supports, plan_slice),
    WEIR_CUDA_ROW("Concat", "cuda_concat", supports, plan_parts),
    WEIR_CUDA_ROW("Split", "cuda_split", supports, plan_parts),
    WEIR_CUDA_ROW("Reshape", "cuda_reshape", supports, plan_same),
    WEIR_CUDA_ROW("Flatten", "cuda_flatten", supports, plan_same),
    WEIR_CUDA_ROW("Squeeze", "cuda_squeeze", supports, plan_same),
    WEIR_CUDA_ROW("Unsqueeze", "cuda_unsqueeze", supports, plan_same),
};

const weir_cuda_family_t weir_cuda_family_move = {rows, sizeof rows / sizeof rows[0]};
