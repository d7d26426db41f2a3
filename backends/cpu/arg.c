// ArgMax and ArgMin of f32 rows that lie dense in memory.
//
// First the extreme of a row, by vectors, then a search for it; a NaN is the most extreme of all.
// Other axes are left to the next plugin.
#include "backends/cpu/common.h"

typedef struct arg_state {
    const weir_k_table_t *kernels;
    weir_k_fold_t *fold;
    uint64_t rows, length, rows_per_task;
    uint32_t takes_last;
} arg_state_t;

weir_code_t weir_cpu_arg_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_plain(node, 1, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0];
    if (x->dtype != WEIR_F32 || node->outputs[0].dtype != WEIR_I64)
        return weir_cpu_refuse(out_support, "takes f32 only");
    if (weir_cpu_axis(weir_node_int(node, "axis", 0), x->rank) + 1 != (int64_t)x->rank)
        return weir_cpu_refuse(out_support, "takes the last axis only");
    return WEIR_OK;
}

weir_code_t weir_cpu_arg_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const weir_tensor_t *x = &node->inputs[0];
    const uint64_t rows = weir_cpu_product(x->dims, 0, x->rank - 1);
    if (rows > 0 && x->dims[x->rank - 1] == 0)
        return host->fail(host, WEIR_INVALID_ARGUMENT, "%s: nothing to choose from", node->op);
    arg_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    state->rows = rows;
    state->length = (uint64_t)x->dims[x->rank - 1];
    state->takes_last = weir_node_int(node, "select_last_index", 0) != 0;
    state->fold = node->op[4] == 'a' ? state->kernels->fold_max_f32 : state->kernels->fold_min_f32;
    state->rows_per_task = WEIR_MAX(1u, WEIR_CPU_TASK_NS / (state->length / 4 + 10));
    out_prepared->state = state;
    return WEIR_OK;
}

void weir_cpu_arg_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const arg_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->rows, state->rows_per_task, state->length / 4 + 10);
}

static int is_it(float x, float extreme)
{
    return x == extreme || (x != x && extreme != extreme);
}

weir_code_t weir_cpu_arg_run(const weir_task_t *task)
{
    const arg_state_t *state = task->state;
    uint64_t first, end;
    weir_cpu_task_range(task, state->rows, state->rows_per_task, &first, &end);
    for (uint64_t row = first; row < end; row++) {
        const float *x = (const float *)task->inputs[0].data + row * state->length;
        const float extreme = state->fold(state->length, x);
        int64_t at = state->takes_last ? (int64_t)state->length - 1 : 0;
        while (!is_it(x[at], extreme))
            at += state->takes_last ? -1 : 1;
        ((int64_t *)task->outputs[0].data)[row] = at;
    }
    return WEIR_OK;
}
