// Concat and Split, of any dtype: one whole and its parts along an axis.
//
// The whole is [outer][row of bytes]; a part has its place in each row. A task is a range of the
// whole's bytes, whatever parts it cuts through.
#include <string.h>

#include "backends/cpu/common.h"

#define TASK_BYTES 262144u

typedef struct join_state {
    const weir_k_table_t *kernels;
    uint64_t row_bytes, whole_bytes, column_bytes; // of one index of the axis
    uint32_t axis, is_split;
} join_state_t;

static int is_split(const weir_node_t *node)
{
    return node->op[0] == 'S';
}

weir_code_t weir_cpu_join_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_plain(node, 1, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0];
    if (weir_cpu_axis(weir_node_int(node, "axis", 0), x->rank) < 0)
        return weir_cpu_refuse(out_support, "the axis is not one of the input");
    for (uint32_t i = 1; i < node->input_count && !is_split(node); i++)
        if (node->inputs[i].dtype != x->dtype || node->inputs[i].rank != x->rank)
            return weir_cpu_refuse(out_support, "its inputs differ in dtype or rank");
    return WEIR_OK;
}

weir_code_t weir_cpu_join_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const int splits = is_split(node);
    const weir_tensor_t *whole = splits ? &node->inputs[0] : &node->outputs[0];
    const weir_tensor_t *parts = splits ? node->outputs : node->inputs;
    const uint32_t part_count = splits ? node->output_count : node->input_count;
    const uint32_t axis =
        (uint32_t)weir_cpu_axis(weir_node_int(node, "axis", 0), node->inputs[0].rank);
    int64_t length = 0;
    for (uint32_t i = 0; i < part_count; i++) {
        int fits = parts[i].dtype == whole->dtype && parts[i].rank == whole->rank;
        for (uint32_t d = 0; fits && d < whole->rank; d++)
            fits = d == axis || parts[i].dims[d] == whole->dims[d];
        if (!fits)
            return host->fail(host, WEIR_INVALID_ARGUMENT, "%s: part %u does not fit the whole",
                node->op, (unsigned)i);
        length += parts[i].dims[axis];
    }
    if (length != whole->dims[axis])
        return host->fail(host, WEIR_INVALID_ARGUMENT, "%s: the parts add up to %lld, not %lld",
            node->op, (long long)length, (long long)whole->dims[axis]);
    join_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    state->axis = axis;
    state->is_split = (uint32_t)splits;
    state->column_bytes =
        weir_cpu_product(whole->dims, axis + 1, whole->rank) * weir_dtype_bytes(whole->dtype);
    state->row_bytes = state->column_bytes * (uint64_t)length;
    state->whole_bytes = weir_cpu_product(whole->dims, 0, axis) * state->row_bytes;
    out_prepared->state = state;
    return WEIR_OK;
}

void weir_cpu_join_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const join_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->whole_bytes, TASK_BYTES, 1);
    out_tasks->task_cost_ns[0] = out_tasks->task_cost_ns[0] / 8 + 20;
}

weir_code_t weir_cpu_join_run(const weir_task_t *task)
{
    const join_state_t *state = task->state;
    const weir_tensor_t *parts = state->is_split ? task->outputs : task->inputs;
    char *whole = state->is_split ? task->inputs[0].data : task->outputs[0].data;
    uint64_t at, end;
    weir_cpu_task_range(task, state->whole_bytes, TASK_BYTES, &at, &end);
    uint64_t row = at < end ? at / state->row_bytes : 0, part = 0, part_begin = 0;
    while (at < end) {
        const uint64_t row_begin = row * state->row_bytes;
        const uint64_t part_bytes = (uint64_t)parts[part].dims[state->axis] * state->column_bytes;
        const uint64_t begin = row_begin + part_begin, stop = begin + part_bytes;
        if (at < stop) {
            const uint64_t count = weir_cpu_min(stop, end) - at;
            char *piece = (char *)parts[part].data + row * part_bytes + (at - begin);
            memcpy(
                state->is_split ? piece : whole + at, state->is_split ? whole + at : piece, count);
            at += count;
        }
        part_begin += part_bytes;
        part++;
        if (part_begin == state->row_bytes) {
            part = part_begin = 0;
            row++;
        }
    }
    return WEIR_OK;
}
