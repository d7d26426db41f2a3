// Gather, of any dtype: rows picked by index. An index out of range is an error, never a read.
#include <stdio.h>
#include <string.h>

#include "backends/cpu/common.h"

typedef struct gather_state {
    const weir_k_table_t *kernels;
    uint64_t picks, rows, row_bytes, rows_per_task;
    int64_t dim;
} gather_state_t;

weir_code_t weir_cpu_gather_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_plain(node, 2, out_support);
    if (code != WEIR_OK)
        return code;
    if (weir_cpu_axis(weir_node_int(node, "axis", 0), node->inputs[0].rank) < 0)
        return weir_cpu_refuse(out_support, "the axis is not one of the input");
    if (!(node->inputs[1].dtype & (WEIR_I32 | WEIR_I64)))
        return weir_cpu_refuse(out_support, "takes i32 and i64 indices only");
    return WEIR_OK;
}

weir_code_t weir_cpu_gather_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const weir_tensor_t *x = &node->inputs[0];
    const uint32_t axis = (uint32_t)weir_cpu_axis(weir_node_int(node, "axis", 0), x->rank);
    gather_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    state->dim = x->dims[axis];
    state->picks = node->inputs[1].element_count;
    state->rows = weir_cpu_product(x->dims, 0, axis) * state->picks;
    state->row_bytes = weir_cpu_product(x->dims, axis + 1, x->rank) * weir_dtype_bytes(x->dtype);
    state->rows_per_task = WEIR_MAX(1u, WEIR_CPU_TASK_NS / (state->row_bytes / 8 + 4));
    out_prepared->state = state;
    if (node->outputs[0].element_count * weir_dtype_bytes(x->dtype) ==
        state->rows * state->row_bytes)
        return WEIR_OK;
    host->free(host, state);
    out_prepared->state = NULL;
    return host->fail(host, WEIR_INVALID_ARGUMENT, "Gather: the output has another size");
}

void weir_cpu_gather_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const gather_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->rows, state->rows_per_task, state->row_bytes / 8 + 4);
}

weir_code_t weir_cpu_gather_run(const weir_task_t *task)
{
    const gather_state_t *state = task->state;
    const char *x = task->inputs[0].data;
    char *y = task->outputs[0].data;
    uint64_t first, end;
    weir_cpu_task_range(task, state->rows, state->rows_per_task, &first, &end);
    for (uint64_t row = first; row < end; row++) {
        const int64_t given = weir_cpu_index(&task->inputs[1], row % state->picks);
        const int64_t index = given < 0 ? given + state->dim : given;
        if (index < 0 || index >= state->dim) {
            if (task->error_bytes > 0)
                snprintf(task->error, task->error_bytes,
                    "index %lld is out of range for an axis of %lld", (long long)given,
                    (long long)state->dim);
            return WEIR_INVALID_ARGUMENT;
        }
        const uint64_t from = row / state->picks * (uint64_t)state->dim + (uint64_t)index;
        if (state->row_bytes == 4)
            memcpy(y + row * 4, x + from * 4, 4);
        else
            memcpy(y + row * state->row_bytes, x + from * state->row_bytes, state->row_bytes);
    }
    return WEIR_OK;
}
