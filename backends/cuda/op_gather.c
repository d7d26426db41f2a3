// backends/cuda/op_gather.c: Gather and Pad: elements found by an index or by a rule.
#include "backends/cuda/op_common.h"

#include <string.h>

static weir_code_t supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->prologue || node->epilogue)
        return weir_cuda_refuse(out_support, "it takes no expression");
    if (!weir_dtype_bytes(node->inputs[0].dtype))
        return weir_cuda_refuse(out_support, "an unknown element type");
    return WEIR_OK;
}

static weir_code_t gather_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (!(node->inputs[1].dtype & (WEIR_I32 | WEIR_I64)))
        return weir_cuda_refuse(out_support, "indices are i32 or i64");
    return supports(node, out_support);
}

static weir_code_t gather_plan(const weir_node_t *node, weir_cuda_recipe_t *recipe)
{
    static const char *const entries[5] = WEIR_CUDA_ENTRIES_BYTES("gather");
    const weir_tensor_t *x = &node->inputs[0], *indices = &node->inputs[1];
    const int32_t axis = weir_cuda_axis(weir_node_int(node, "axis", 0), x->rank);
    weir_code_t code = weir_cuda_check_counts(recipe, node);
    if (code == WEIR_OK && axis < 0)
        code = weir_cuda_cannot(recipe, node, WEIR_INVALID_ARGUMENT, "no such axis");
    if (code != WEIR_OK)
        return code;
    // Rows in pieces of up to 16 bytes.
    uint64_t inner = (uint64_t)weir_cuda_product(x, (uint32_t)axis + 1, x->rank);
    uint32_t bytes = weir_dtype_bytes(x->dtype);
    while (bytes < 16 && inner % 2 == 0) {
        bytes *= 2;
        inner /= 2;
    }
    const uint64_t outer = (uint64_t)weir_cuda_product(x, 0, (uint32_t)axis);
    weir_cuda_gather_params_t params = {.count = (uint32_t)(outer * indices->element_count * inner),
        .inner = weir_cuda_divide_by((uint32_t)inner),
        .index_count = weir_cuda_divide_by((uint32_t)indices->element_count),
        .axis_dim = (uint32_t)x->dims[axis],
        .is_i64 = indices->dtype == WEIR_I64};
    weir_cuda_kernel_step_t *step = weir_cuda_launch_each(
        recipe, weir_cuda_entry_bytes(entries, bytes), params.count, &params, sizeof params);
    if (!step)
        return WEIR_INTERNAL;
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_gather_params_t, x), weir_cuda_input(0));
    weir_cuda_step_pointer(
        step, WEIR_CUDA_AT(weir_cuda_gather_params_t, indices), weir_cuda_input(1));
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_gather_params_t, y), weir_cuda_output(0));
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_gather_params_t, error), weir_cuda_error());
    return WEIR_OK;
}

// ---------------------------------------------------------------------------------------------
// Pad
// ---------------------------------------------------------------------------------------------

static weir_code_t pad_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->inputs[0].rank > WEIR_CUDA_AXES_MAX)
        return weir_cuda_refuse(out_support, "more than 8 axes");
    if (!weir_cuda_is_known(node, 1) || !weir_cuda_is_known(node, 3))
        return weir_cuda_refuse(out_support, "pads that are no constant");
    return supports(node, out_support);
}

static uint32_t pad_mode(const weir_node_t *node)
{
    const char *mode = weir_cuda_string(node, "mode");
    return strcmp(mode, "reflect") == 0 ? WEIR_CUDA_PAD_REFLECT
           : strcmp(mode, "edge") == 0  ? WEIR_CUDA_PAD_EDGE
           : strcmp(mode, "wrap") == 0  ? WEIR_CUDA_PAD_WRAP
                                        : WEIR_CUDA_PAD_CONSTANT;
}

// How much is added (negative: cut) before and after each axis.
static weir_code_t read_pads(const weir_node_t *node, const weir_cuda_recipe_t *recipe,
    int64_t *out_before, int64_t *out_after)
{
    const weir_tensor_t *x = &node->inputs[0], *pads = &node->inputs[1];
    const bool has_axes = weir_cuda_has(node, 3);
    const uint64_t count = has_axes ? node->inputs[3].element_count : x->rank;
    if (pads->element_count != 2 * count)
        return weir_cuda_cannot(
            recipe, node, WEIR_INVALID_ARGUMENT, "two pads per axis are needed");
    for (uint64_t i = 0; i < count; i++) {
        const int64_t wanted = has_axes ? weir_cuda_value(&node->inputs[3], i) : (int64_t)i;
        const int32_t axis = weir_cuda_axis(wanted, x->rank);
        if (axis < 0)
            return weir_cuda_cannot(recipe, node, WEIR_INVALID_ARGUMENT, "no such axis");
        out_before[axis] = weir_cuda_value(pads, i);
        out_after[axis] = weir_cuda_value(pads, count + i);
    }
    return WEIR_OK;
}

static weir_code_t fill_axes(
    const weir_node_t *node, const weir_cuda_recipe_t *recipe, weir_cuda_pad_params_t *params)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    int64_t before[WEIR_RANK_MAX] = {0}, after[WEIR_RANK_MAX] = {0}, strides[WEIR_RANK_MAX];
    const weir_code_t code = read_pads(node, recipe, before, after);
    if (code != WEIR_OK)
        return code;
    weir_cuda_strides(x, strides);
    for (uint32_t d = 0; d < x->rank; d++) {
        // Cuts come first, so that the other modes repeat what is left.
        const int64_t cut = WEIR_MAX(-before[d], 0);
        const int64_t length = WEIR_MAX(x->dims[d] - cut - WEIR_MAX(-after[d], 0), 0);
        if (x->dims[d] + before[d] + after[d] != y->dims[d] ||
            (params->mode != WEIR_CUDA_PAD_CONSTANT && length == 0))
            return weir_cuda_cannot(
                recipe, node, WEIR_INVALID_ARGUMENT, "the pads do not fit the result");
        params->dims[d] = weir_cuda_divide_by((uint32_t)y->dims[d]);
        params->lengths[d] = (int32_t)length;
        params->shifts[d] = (int32_t)WEIR_MAX(before[d], 0);
        params->x_strides[d] = strides[d];
        params->x_first += cut * strides[d];
    }
    return WEIR_OK;
}

static weir_code_t pad_plan(const weir_node_t *node, weir_cuda_recipe_t *recipe)
{
    static const char *const entries[5] = WEIR_CUDA_ENTRIES_BYTES("pad");
    weir_cuda_pad_params_t params = {.count = (uint32_t)node->outputs[0].element_count,
        .rank = node->inputs[0].rank,
        .mode = pad_mode(node)};
    weir_code_t code = weir_cuda_check_counts(recipe, node);
    if (code == WEIR_OK)
        code = fill_axes(node, recipe, &params);
    if (code != WEIR_OK)
        return code;
    weir_cuda_kernel_step_t *step = weir_cuda_launch_each(recipe,
        weir_cuda_entry_bytes(entries, weir_dtype_bytes(node->inputs[0].dtype)), params.count,
        &params, sizeof params);
    if (!step)
        return WEIR_INTERNAL;
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_pad_params_t, x), weir_cuda_input(0));
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_pad_params_t, y), weir_cuda_output(0));
    if (weir_cuda_has(node, 2) && node->inputs[2].element_count == 1)
        weir_cuda_step_pointer(
            step, WEIR_CUDA_AT(weir_cuda_pad_params_t, value), weir_cuda_input(2));
    return WEIR_OK;
}

static const weir_cuda_row_t rows[] = {
    WEIR_CUDA_ROW("Gather", "cuda_gather", gather_supports, gather_plan),
    WEIR_CUDA_ROW("Pad", "cuda_pad", pad_supports, pad_plan),
};

const weir_cuda_family_t weir_cuda_family_gather = {rows, 2};
