// LRN in f32: every element over a power of the squares of the channels around it.
//
// A channel of an image is a unit: its bits depend on that image alone.
#include "backends/cpu/common.h"

#define SIZE_MAX_TAKEN 64
#define BLOCK 2048u // elements of a channel at a time: the rows of a window stay in the L1 cache

typedef struct lrn_state {
    const weir_k_table_t *kernels;
    uint64_t rows, channels, pixels, rows_per_task, row_ns;
    int64_t before, after;
    float alpha, beta, bias;
} lrn_state_t;

weir_code_t weir_cpu_lrn_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_not_f32(node, 1, out_support);
    if (code != WEIR_OK)
        return code;
    const int64_t size = weir_node_int(node, "size", 0);
    if (node->inputs[0].rank < 3 || size < 1 || size > SIZE_MAX_TAKEN)
        return weir_cpu_refuse(out_support, "takes images and sizes of 1 to 64");
    // exp(beta log base) loses as many bits as the exponent is large.
    if (weir_node_float(node, "beta", 0.75) < 0 || weir_node_float(node, "beta", 0.75) > 1)
        return weir_cpu_refuse(out_support, "takes a beta of 0 to 1");
    return WEIR_OK;
}

weir_code_t weir_cpu_lrn_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const weir_tensor_t *x = &node->inputs[0];
    const int64_t size = weir_node_int(node, "size", 1);
    lrn_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    state->channels = (uint64_t)x->dims[1];
    state->rows = weir_cpu_product(x->dims, 0, 2);
    state->pixels = weir_cpu_product(x->dims, 2, x->rank);
    state->before = (size - 1) / 2;
    state->after = size / 2;
    state->alpha = (float)(weir_node_float(node, "alpha", 1e-4) / (double)size);
    state->beta = (float)weir_node_float(node, "beta", 0.75);
    state->bias = (float)weir_node_float(node, "bias", 1.0);
    state->row_ns = state->pixels * (uint64_t)(size + 8) / 16 + 10;
    state->rows_per_task = WEIR_MAX(1u, WEIR_CPU_TASK_NS / state->row_ns);
    out_prepared->state = state;
    return WEIR_OK;
}

void weir_cpu_lrn_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const lrn_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->rows, state->rows_per_task, state->row_ns);
}

weir_code_t weir_cpu_lrn_run(const weir_task_t *task)
{
    const lrn_state_t *state = task->state;
    const float *x = task->inputs[0].data;
    float *y = task->outputs[0].data;
    uint64_t first, end;
    weir_cpu_task_range(task, state->rows, state->rows_per_task, &first, &end);
    for (uint64_t row = first; row < end; row++) {
        const int64_t channel = (int64_t)(row % state->channels);
        const int64_t low = WEIR_MAX(channel - state->before, 0);
        const int64_t high = WEIR_MIN(channel + state->after, (int64_t)state->channels - 1);
        for (uint64_t at = 0; at < state->pixels; at += BLOCK) {
            const float *rows[SIZE_MAX_TAKEN];
            const float *image = x + (row - (uint64_t)channel) * state->pixels + at;
            size_t count = 0;
            for (int64_t c = low; c <= high; c++)
                rows[count++] = image + (uint64_t)c * state->pixels;
            const uint64_t offset = row * state->pixels + at;
            state->kernels->lrn_f32(weir_cpu_min(state->pixels - at, BLOCK), count, rows,
                x + offset, state->alpha, state->beta, state->bias, y + offset);
        }
    }
    return WEIR_OK;
}
