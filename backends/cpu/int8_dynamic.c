// DynamicQuantizeLinear: the least and the greatest of all, then u8 in their steps.
//
// Phase "range" leaves each part's least and greatest number in shared memory; every task of phase
// "quantize" puts them together again, in the same order, so that all find the same scale.
#include "backends/cpu/common.h"
#include "backends/cpu/low.h"

#define PART 16384u
#define PARTS_MOST 256u

typedef struct dynamic_state {
    const weir_k_table_t *kernels;
    const weir_k_low_table_t *low;
    uint64_t count, part, parts;
} dynamic_state_t;

weir_code_t weir_cpu_dynamic_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_plain(node, 1, out_support);
    if (code != WEIR_OK)
        return code;
    if (node->inputs[0].dtype != WEIR_F32 || node->outputs[0].dtype != WEIR_U8)
        return weir_cpu_refuse(out_support, "takes f32 only");
    return WEIR_OK;
}

weir_code_t weir_cpu_dynamic_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    dynamic_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0];
    state->low = weir_cpu_low_table(host);
    state->count = weir_cpu_product(x->dims, 0, x->rank);
    state->part = WEIR_MAX(PART, WEIR_DIV_UP(state->count, PARTS_MOST));
    state->parts = WEIR_MAX(1u, WEIR_DIV_UP(state->count, state->part));
    out_prepared->state = state;
    out_prepared->shared_bytes = state->parts * 2 * sizeof(float);
    return WEIR_OK;
}

void weir_cpu_dynamic_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const dynamic_state_t *state = opaque;
    (void)node;
    out_tasks->phase_count = 2;
    out_tasks->task_count[0] = out_tasks->task_count[1] = state->parts;
    out_tasks->task_cost_ns[0] = state->part / 8 + 1;
    out_tasks->task_cost_ns[1] = state->part / 4 + 1;
}

weir_code_t weir_cpu_dynamic_run(const weir_task_t *task)
{
    const dynamic_state_t *state = task->state;
    const float *x = task->inputs[0].data;
    float *ranges = task->shared, low = 0, high = 0;
    for (uint64_t i = task->first; task->phase == 0 && i < task->first + task->count; i++)
        state->low->range_f32(weir_cpu_min(state->count - i * state->part, state->part),
            x + i * state->part, ranges + 2 * i);
    if (task->phase == 0)
        return WEIR_OK;
    for (uint64_t i = 0; i < state->parts; i++) {
        low = ranges[2 * i] < low ? ranges[2 * i] : low;
        high = ranges[2 * i + 1] > high ? ranges[2 * i + 1] : high;
    }
    const float scale = high == low ? 1.0f : (high - low) / 255.0f;
    unsigned char zero;
    const float least = 0.0f - low;
    state->low->quantize_u8(1, &least, scale, 0.0f, 0, &zero);
    if (task->first == 0 && task->node->output_count > 1 && task->outputs[1].dtype)
        *(float *)task->outputs[1].data = scale;
    if (task->first == 0 && task->node->output_count > 2 && task->outputs[2].dtype)
        *(unsigned char *)task->outputs[2].data = zero;
    for (uint64_t i = task->first; i < task->first + task->count; i++)
        state->low->quantize_u8(weir_cpu_min(state->count - i * state->part, state->part),
            x + i * state->part, scale, (float)zero, 0,
            (unsigned char *)task->outputs[0].data + i * state->part);
    return WEIR_OK;
}
