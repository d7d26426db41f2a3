// backends/cuda/op_reduce.c: Reduce* over any axes, GlobalAveragePool and GlobalMaxPool.
#include "backends/cuda/op_common.h"

#include <string.h>

#define THREADS 256
#define LONG 64 // elements to reduce from which on a block takes one result

static const struct {
    const char *op;
    uint32_t kind;
} kinds[] = {{"ReduceSum", WEIR_CUDA_REDUCE_SUM}, {"ReduceMean", WEIR_CUDA_REDUCE_MEAN},
    {"ReduceMax", WEIR_CUDA_REDUCE_MAX}, {"ReduceMin", WEIR_CUDA_REDUCE_MIN},
    {"ReduceProd", WEIR_CUDA_REDUCE_PROD}, {"ReduceL1", WEIR_CUDA_REDUCE_L1},
    {"ReduceL2", WEIR_CUDA_REDUCE_L2}, {"ReduceSumSquare", WEIR_CUDA_REDUCE_SUM_SQUARE},
    {"ReduceLogSum", WEIR_CUDA_REDUCE_LOG_SUM}, {"ReduceLogSumExp", WEIR_CUDA_REDUCE_LOG_SUM_EXP},
    {"GlobalAveragePool", WEIR_CUDA_REDUCE_MEAN}, {"GlobalMaxPool", WEIR_CUDA_REDUCE_MAX}};

static weir_code_t supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (!(node->inputs[0].dtype & WEIR_CUDA_FLOATS))
        return weir_cuda_refuse(out_support, "only f32, f16 and bf16");
    if (node->prologue || node->epilogue)
        return weir_cuda_refuse(out_support, "it takes no expression");
    if (node->inputs[0].rank > WEIR_CUDA_AXES_MAX)
        return weir_cuda_refuse(out_support, "more than 8 axes");
    if (!weir_cuda_is_known(node, 1))
        return weir_cuda_refuse(out_support, "axes that are no constant");
    return WEIR_OK;
}

// Which axes go.
static weir_code_t reduced_axes(
    const weir_node_t *node, const weir_cuda_recipe_t *recipe, bool *out_reduced)
{
    const weir_tensor_t *x = &node->inputs[0];
    const bool is_global = strncmp(node->op, "Global", 6) == 0;
    const uint64_t count = weir_cuda_has(node, 1) ? node->inputs[1].element_count : 0;
    const bool all = count == 0 && !weir_node_int(node, "noop_with_empty_axes", 0);
    for (uint32_t d = 0; d < x->rank; d++)
        out_reduced[d] = is_global ? d >= 2 : all;
    if (is_global)
        return WEIR_OK;
    for (uint64_t i = 0; i < count; i++) {
        const int32_t axis = weir_cuda_axis(weir_cuda_value(&node->inputs[1], i), x->rank);
        if (axis < 0)
            return weir_cuda_cannot(recipe, node, WEIR_INVALID_ARGUMENT, "no such axis");
        out_reduced[axis] = true;
    }
    return WEIR_OK;
}

// The axes of x that are reduced, or those that are kept.
static weir_cuda_axes_t pick(const weir_tensor_t *x, const bool *reduced, bool which)
{
    weir_cuda_axes_t axes = {.walk_count = 1};
    int64_t strides[WEIR_RANK_MAX];
    weir_cuda_strides(x, strides);
    for (uint32_t d = 0; d < x->rank; d++)
        if (reduced[d] == which) {
            axes.dims[axes.rank] = x->dims[d];
            axes.strides[0][axes.rank++] = strides[d];
        }
    weir_cuda_axes_merge(&axes);
    return axes;
}

static uint32_t fill(
    const weir_cuda_axes_t *axes, weir_cuda_divider_t *dims, int64_t *strides, uint32_t *out_rank)
{
    uint32_t count = 1;
    *out_rank = axes->rank;
    for (uint32_t d = 0; d < axes->rank; d++) {
        // Of no element there is nothing to divide.
        dims[d] = weir_cuda_divide_by((uint32_t)WEIR_MAX(axes->dims[d], 1));
        strides[d] = axes->strides[0][d];
        count *= (uint32_t)axes->dims[d];
    }
    return count;
}

static weir_code_t plan(const weir_node_t *node, weir_cuda_recipe_t *recipe)
{
    static const char *const line[3] = WEIR_CUDA_ENTRIES_FLOAT("reduce_line");
    static const char *const each[3] = WEIR_CUDA_ENTRIES_FLOAT("reduce_each");
    const weir_tensor_t *x = &node->inputs[0];
    weir_cuda_reduce_params_t params = {0};
    bool reduced[WEIR_RANK_MAX];
    weir_code_t code = weir_cuda_check_counts(recipe, node);
    if (code == WEIR_OK)
        code = reduced_axes(node, recipe, reduced);
    if (code != WEIR_OK)
        return code;
    const weir_cuda_axes_t kept = pick(x, reduced, false), gone = pick(x, reduced, true);
    params.kept_count = fill(&kept, params.kept, params.kept_strides, &params.kept_rank);
    params.reduced_count =
        fill(&gone, params.reduced, params.reduced_strides, &params.reduced_rank);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].op, node->op) == 0)
            params.kind = kinds[i].kind;
    const bool is_line = params.reduced_count >= LONG &&
                         (gone.strides[0][gone.rank - 1] == 1 || params.kept_count < 4 * THREADS);
    const char *entry = weir_cuda_entry_float(is_line ? line : each, x->dtype);
    weir_cuda_kernel_step_t *step =
        is_line ? weir_cuda_launch_blocks(recipe, entry, params.kept_count,
                      params.reduced_count < 512 ? 64 : THREADS, &params, sizeof params)
                : weir_cuda_launch_each(recipe, entry, params.kept_count, &params, sizeof params);
    if (!step)
        return WEIR_INTERNAL;
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_reduce_params_t, x), weir_cuda_input(0));
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_reduce_params_t, y), weir_cuda_output(0));
    return WEIR_OK;
}

static const weir_cuda_row_t rows[] = {
    WEIR_CUDA_ROW("ReduceSum", "cuda_reduce_sum", supports, plan),
    WEIR_CUDA_ROW("ReduceMean", "cuda_reduce_mean", supports, plan),
    WEIR_CUDA_ROW("ReduceMax", "cuda_reduce_max", supports, plan),
    WEIR_CUDA_ROW("ReduceMin", "cuda_reduce_min", supports, plan),
    WEIR_CUDA_ROW("ReduceProd", "cuda_reduce_prod", supports, plan),
    WEIR_CUDA_ROW("ReduceL1", "cuda_reduce_l1", supports, plan),
    WEIR_CUDA_ROW("ReduceL2", "cuda_reduce_l2", supports, plan),
    WEIR_CUDA_ROW("ReduceSumSquare", "cuda_reduce_sum_square", supports, plan),
    WEIR_CUDA_ROW("ReduceLogSum", "cuda_reduce_log_sum", supports, plan),
    WEIR_CUDA_ROW("ReduceLogSumExp", "cuda_reduce_log_sum_exp", supports, plan),
    WEIR_CUDA_ROW("GlobalAveragePool", "cuda_global_average_pool", supports, plan),
    WEIR_CUDA_ROW("GlobalMaxPool", "cuda_global_max_pool", supports, plan),
};

const weir_cuda_family_t weir_cuda_family_reduce = {rows, sizeof rows / sizeof rows[0]};
