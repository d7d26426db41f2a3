// backends/opencl/op_move.c: Transpose, Slice, Expand, Concat, Split: each is one strided copy, or
// one for each part.
#include "backends/opencl/op_host.h"

#define PARTS_MAX WEIR_CL_DISPATCHES_MAX

weir_code_t weir_cl_move_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    weir_cl_walk_build(builder, node->inputs[0].dtype);
    return WEIR_OK;
}

// ---- Transpose ----------------------------------------------------------------------------------

weir_code_t weir_cl_transpose_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    const weir_attribute_t *perm = weir_node_attribute(node, "perm");
    int64_t strides[WEIR_RANK_MAX];
    weir_cl_walk_t walk = {.rank = y->rank};
    weir_cl_strides(x->dims, x->rank, strides);
    weir_cl_strides(y->dims, y->rank, walk.y_strides);
    for (uint32_t d = 0; d < y->rank; d++) {
        int64_t axis =
            perm && perm->count ? weir_cl_axis(perm->ints[d], x->rank) : (int64_t)(x->rank - 1 - d);
        if (axis < 0)
            return WEIR_INVALID_ARGUMENT;
        walk.dims[d] = y->dims[d];
        walk.x_strides[d] = strides[axis];
    }
    return weir_cl_walk_plan(node, built, &walk, 0, 0, recipe);
}

// ---- Slice --------------------------------------------------------------------------------------

// Where it ends the output's dims say.
weir_code_t weir_cl_slice_supports(const weir_node_t *node, weir_support_t *out_support)
{
    for (uint32_t i = 1; i < node->input_count; i++)
        if (i != 2 && !weir_cl_is_known(&node->inputs[i]))
            return weir_cl_no(out_support, "starts, axes and steps must be constants");
    return weir_cl_is_plain(node, out_support);
}

weir_code_t weir_cl_slice_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    weir_cl_walk_t walk = {.rank = y->rank};
    weir_cl_strides(x->dims, x->rank, walk.x_strides);
    weir_cl_strides(y->dims, y->rank, walk.y_strides);
    for (uint32_t d = 0; d < y->rank; d++)
        walk.dims[d] = y->dims[d];
    for (uint64_t i = 0; i < node->inputs[1].element_count; i++) {
        int64_t wanted =
            weir_cl_is_there(node, 3) ? weir_cl_integer(&node->inputs[3], i) : (int64_t)i;
        int64_t step = weir_cl_is_there(node, 4) ? weir_cl_integer(&node->inputs[4], i) : 1;
        int64_t axis = weir_cl_axis(wanted, x->rank), start = weir_cl_integer(&node->inputs[1], i);
        if (axis < 0 || !step)
            return WEIR_INVALID_ARGUMENT;
        int64_t dim = x->dims[axis], high = step > 0 ? dim : dim - 1;
        start = WEIR_MIN(WEIR_MAX(start < 0 ? start + dim : start, 0), high);
        if (y->dims[axis] > 0)
            walk.x_first += start * walk.x_strides[axis];
        walk.x_strides[axis] = y->dims[axis] > 1 ? walk.x_strides[axis] * step : 0;
    }
    return weir_cl_walk_plan(node, built, &walk, 0, 0, recipe);
}

// ---- Expand -------------------------------------------------------------------------------------

weir_code_t weir_cl_expand_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    int64_t strides[WEIR_RANK_MAX];
    weir_cl_walk_t walk = {.rank = y->rank};
    weir_cl_strides(x->dims, x->rank, strides);
    weir_cl_strides(y->dims, y->rank, walk.y_strides);
    for (uint32_t d = 0; d < y->rank; d++) {
        uint32_t missing = y->rank - x->rank;
        walk.dims[d] = y->dims[d];
        walk.x_strides[d] = d < missing || x->dims[d - missing] == 1 ? 0 : strides[d - missing];
    }
    return weir_cl_walk_plan(node, built, &walk, 0, 0, recipe);
}

// ---- Concat and Split ---------------------------------------------------------------------------

// In blocks of 16 channels a part begins where a block does, unless it is the last.
static weir_code_t supports_parts(const weir_node_t *node, const weir_tensor_t *whole,
    const weir_tensor_t *parts, uint32_t part_count, weir_support_t *out_support)
{
    if (part_count > PARTS_MAX)
        return weir_cl_no(out_support, "%u parts, at most %u", part_count, PARTS_MAX);
    if (whole->format == WEIR_FORMAT_ROW_MAJOR)
        return weir_cl_is_plain(node, out_support);
    if (whole->format != WEIR_FORMAT_NCHW16C || whole->dtype != WEIR_F32 ||
        weir_cl_axis(weir_node_int(node, "axis", 0), 4) != 1)
        return weir_cl_no(out_support, "blocks are joined along their channels");
    for (uint32_t i = 0; i < part_count; i++)
        if (parts[i].format != WEIR_FORMAT_NCHW16C || parts[i].dims[1] < 0 ||
            (parts[i].dims[1] % 16 && i + 1 < part_count))
            return weir_cl_no(out_support, "a part ends within a block of channels");
    return WEIR_OK;
}

// A tensor as [outer, length, inner]; of blocks, the length counts blocks.
static void line_of(const weir_node_t *node, const weir_tensor_t *tensor, int64_t *out_outer,
    int64_t *out_length, int64_t *out_inner)
{
    int64_t axis = weir_cl_axis(weir_node_int(node, "axis", 0), tensor->rank);
    uint32_t at = axis < 0 ? 0 : (uint32_t)axis;
    bool is_blocked = tensor->format == WEIR_FORMAT_NCHW16C;
    *out_outer = weir_cl_product(tensor->dims, 0, at);
    *out_length = is_blocked ? WEIR_DIV_UP(tensor->dims[at], 16) : tensor->dims[at];
    *out_inner = weir_cl_product(tensor->dims, at + 1, tensor->rank) * (is_blocked ? 16 : 1);
}

static weir_code_t plan_parts(
    const weir_node_t *node, const weir_cl_built_t *built, bool to_whole, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *whole = to_whole ? &node->outputs[0] : &node->inputs[0];
    uint32_t part_count = to_whole ? node->input_count : node->output_count;
    int64_t outer, whole_length, inner, at = 0;
    line_of(node, whole, &outer, &whole_length, &inner);
    for (uint32_t i = 0; i < part_count; i++) {
        const weir_tensor_t *part = to_whole ? &node->inputs[i] : &node->outputs[i];
        int64_t length;
        if (!part->dtype)
            continue;
        line_of(node, part, &outer, &length, &inner);
        weir_cl_walk_t walk = {.rank = 2, .dims = {outer, length * inner}};
        int64_t *whole_strides = to_whole ? walk.y_strides : walk.x_strides;
        int64_t *part_strides = to_whole ? walk.x_strides : walk.y_strides;
        whole_strides[0] = whole_length * inner;
        part_strides[0] = length * inner;
        whole_strides[1] = part_strides[1] = 1;
        *(to_whole ? &walk.y_first : &walk.x_first) = at * inner;
        weir_code_t code =
            weir_cl_walk_plan(node, built, &walk, to_whole ? i : 0, to_whole ? 0 : i, recipe);
        if (code != WEIR_OK)
            return code;
        at += length;
    }
    return WEIR_OK;
}

weir_code_t weir_cl_concat_supports(const weir_node_t *node, weir_support_t *out_support)
{
    return supports_parts(node, &node->outputs[0], node->inputs, node->input_count, out_support);
}

weir_code_t weir_cl_concat_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    return plan_parts(node, built, true, recipe);
}

// A part that nobody reads is absent, and how long it is only `split` says.
weir_code_t weir_cl_split_supports(const weir_node_t *node, weir_support_t *out_support)
{
    for (uint32_t i = 0; i < node->output_count; i++)
        if (!node->outputs[i].dtype)
            return weir_cl_no(out_support, "a part that is not there");
    return supports_parts(node, &node->inputs[0], node->outputs, node->output_count, out_support);
}

weir_code_t weir_cl_split_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    return plan_parts(node, built, false, recipe);
}
