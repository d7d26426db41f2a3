// ConstantOfShape, of any dtype: one element, again and again.
//
// Small results are folded when a model is loaded; what comes here is weights that a file describes
// instead of holding, and buffers whose dims only a run knows.
#include "backends/cpu/common.h"

#define UNIT_ELEMENTS 16384u

typedef struct fill_state {
    const weir_k_table_t *kernels;
    uint64_t units, units_per_task, unit_ns;
} fill_state_t;

weir_code_t weir_cpu_fill_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_plain(node, 2, out_support);
    if (code != WEIR_OK)
        return code;
    if (node->inputs[1].dtype != node->outputs[0].dtype)
        return weir_cpu_refuse(out_support, "the value is of another dtype");
    return WEIR_OK;
}

weir_code_t weir_cpu_fill_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    if (node->inputs[1].element_count != 1)
        return host->fail(
            host, WEIR_INVALID_ARGUMENT, "ConstantOfShape: the value is not one element");
    fill_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    state->units = WEIR_DIV_UP(node->outputs[0].element_count, UNIT_ELEMENTS);
    state->unit_ns = UNIT_ELEMENTS * weir_dtype_bytes(node->outputs[0].dtype) / 16;
    state->units_per_task = WEIR_MAX(1u, WEIR_CPU_TASK_NS / state->unit_ns);
    out_prepared->state = state;
    return WEIR_OK;
}

void weir_cpu_fill_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const fill_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->units, state->units_per_task, state->unit_ns);
}

weir_code_t weir_cpu_fill_run(const weir_task_t *task)
{
    const fill_state_t *state = task->state;
    const weir_tensor_t *out = &task->outputs[0];
    const uint32_t bytes = weir_dtype_bytes(out->dtype);
    uint64_t first, end;
    weir_cpu_task_range(task, state->units, state->units_per_task, &first, &end);
    if (first >= end)
        return WEIR_OK;
    first *= UNIT_ELEMENTS;
    const weir_k_copy_shape_t shape = {
        .element_bytes = bytes,
        .rows = 1,
        .chunk_rows = 1,
        .columns = weir_cpu_min(end * UNIT_ELEMENTS, out->element_count) - first,
        .to_column = 1,
    };
    state->kernels->copy_any(
        &shape, 0, 1, task->inputs[1].data, (unsigned char *)out->data + first * bytes);
    return WEIR_OK;
}
