// backends/cuda/op_pool.c: MaxPool and AveragePool over one or two axes.
#include "backends/cuda/op_common.h"

static weir_code_t supports(const weir_node_t *node, weir_support_t *out_support)
{
    const uint32_t rank = node->inputs[0].rank;
    if (!(node->inputs[0].dtype & WEIR_CUDA_FLOATS))
        return weir_cuda_refuse(out_support, "only f32, f16 and bf16");
    if (node->prologue || node->epilogue)
        return weir_cuda_refuse(out_support, "it takes no expression");
    if (rank < 3 || rank > 4)
        return weir_cuda_refuse(out_support, "windows over one or two axes only");
    return WEIR_OK;
}

static weir_code_t plan(const weir_node_t *node, weir_cuda_recipe_t *recipe)
{
    static const char *const entries[3] = WEIR_CUDA_ENTRIES_FLOAT("pool");
    weir_cuda_pool_params_t params = {.count = (uint32_t)node->outputs[0].element_count,
        .is_average = node->op[0] == 'A',
        .count_include_pad = weir_node_int(node, "count_include_pad", 0) != 0,
        .column_major = weir_node_int(node, "storage_order", 0) != 0};
    weir_code_t code = weir_cuda_check_counts(recipe, node);
    if (code == WEIR_OK)
        code = weir_cuda_window(node, recipe, &params.window);
    if (code != WEIR_OK)
        return code;
    params.out_width = weir_cuda_divide_by((uint32_t)params.window.out_width);
    params.out_height = weir_cuda_divide_by((uint32_t)params.window.out_height);
    weir_cuda_kernel_step_t *step =
        weir_cuda_launch_each(recipe, weir_cuda_entry_float(entries, node->inputs[0].dtype),
            params.count, &params, sizeof params);
    if (!step)
        return WEIR_INTERNAL;
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_pool_params_t, x), weir_cuda_input(0));
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_pool_params_t, y), weir_cuda_output(0));
    if (weir_cuda_wants(node, 1))
        weir_cuda_step_pointer(
            step, WEIR_CUDA_AT(weir_cuda_pool_params_t, indices), weir_cuda_output(1));
    return WEIR_OK;
}

static const weir_cuda_row_t rows[] = {WEIR_CUDA_ROW("MaxPool", "cuda_max_pool", supports, plan),
    WEIR_CUDA_ROW("AveragePool", "cuda_average_pool", supports, plan)};

const weir_cuda_family_t weir_cuda_family_pool = {rows, 2};
