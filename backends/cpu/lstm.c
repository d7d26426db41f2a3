// LSTM in f32 with the default activations: one row of the batch in one direction is a task, all
// its steps.
//
// gates = (bias of W + bias of R + W x) + R h, each product by 64 accumulators and a fixed tree, so
// a row's bits depend on nothing beside it and W and R are read as they lie. Peepholes, clip,
// sequence_lens, input_forget and layout 1 are left to the next plugin.
#include <string.h>

#include "backends/cpu/common.h"

typedef struct lstm_state {
    const weir_k_table_t *kernels;
    uint64_t length, batch, input, hidden, directions, step_ns;
    uint32_t is_reverse;
} lstm_state_t;

weir_code_t weir_cpu_lstm_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_plain(node, 3, out_support);
    if (code != WEIR_OK)
        return code;
    for (uint32_t i = 0; i < node->input_count; i++)
        if (i != 4 && node->inputs[i].dtype != 0 && node->inputs[i].dtype != WEIR_F32)
            return weir_cpu_refuse(out_support, "takes f32 only");
    if (weir_cpu_has(node, 4) || weir_cpu_has(node, 7))
        return weir_cpu_refuse(out_support, "takes neither sequence_lens nor peepholes");
    if (weir_node_int(node, "layout", 0) || weir_node_int(node, "input_forget", 0) ||
        weir_node_float(node, "clip", 0.0) > 0)
        return weir_cpu_refuse(out_support, "takes neither layout 1, input_forget nor clip");
    if (node->inputs[0].rank != 3 || node->inputs[1].rank != 3 || node->inputs[2].rank != 3)
        return weir_cpu_refuse(out_support, "X, W and R are not of rank 3");
    return WEIR_OK;
}

// Has input (or output) `i` this many elements, if it is there?
static int fits(const weir_tensor_t *tensors, uint32_t count, uint32_t i, uint64_t elements)
{
    return i >= count || tensors[i].dtype == 0 || tensors[i].element_count == elements;
}

weir_code_t weir_cpu_lstm_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const weir_tensor_t *x = &node->inputs[0], *w = &node->inputs[1];
    const uint64_t directions = (uint64_t)w->dims[0], hidden = (uint64_t)node->inputs[2].dims[2];
    const uint64_t length = (uint64_t)x->dims[0], batch = (uint64_t)x->dims[1];
    const uint64_t input = (uint64_t)x->dims[2], states = directions * batch * hidden;
    const uint32_t in = node->input_count, out = node->output_count;
    const char *direction = weir_cpu_string(node, "direction");
    if (directions != (!strcmp(direction, "bidirectional") ? 2u : 1u) ||
        !fits(node->inputs, in, 1, directions * 4 * hidden * input) ||
        !fits(node->inputs, in, 2, directions * 4 * hidden * hidden) ||
        !fits(node->inputs, in, 3, directions * 8 * hidden) || !fits(node->inputs, in, 5, states) ||
        !fits(node->inputs, in, 6, states) || !fits(node->outputs, out, 0, length * states) ||
        !fits(node->outputs, out, 1, states) || !fits(node->outputs, out, 2, states))
        return host->fail(host, WEIR_INVALID_ARGUMENT, "LSTM: the dims do not fit");
    lstm_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    state->length = length;
    state->batch = batch;
    state->input = input;
    state->hidden = hidden;
    state->directions = directions;
    state->is_reverse = !strcmp(direction, "reverse");
    state->step_ns = hidden * (input + hidden) / 8 + hidden * 20;
    out_prepared->state = state;
    out_prepared->scratch_bytes =
        weir_cpu_round_up(hidden, 16) * 6 * sizeof(float) + hidden * 4 * sizeof(float);
    return WEIR_OK;
}

void weir_cpu_lstm_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const lstm_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(
        out_tasks, state->directions * state->batch, 1, state->length * state->step_ns);
}

// The start of h or c: an input, or zeros.
static void start_fill(const weir_task_t *task, uint32_t input, uint64_t at, uint64_t n, float *to)
{
    if (weir_cpu_has(task->node, input))
        memcpy(to, (const float *)task->inputs[input].data + at, n * sizeof(*to));
    else
        memset(to, 0, n * sizeof(*to));
}

static void end_store(
    const weir_task_t *task, uint32_t output, uint64_t at, uint64_t n, const float *from)
{
    if (output < task->node->output_count && task->outputs[output].dtype != 0)
        memcpy((float *)task->outputs[output].data + at, from, n * sizeof(*from));
}

static void row_run(
    const lstm_state_t *state, const weir_task_t *task, uint64_t direction, uint64_t row)
{
    const uint64_t n = state->hidden, padded = weir_cpu_round_up(n, 16);
    const float *w = (const float *)task->inputs[1].data + direction * 4 * n * state->input;
    const float *r = (const float *)task->inputs[2].data + direction * 4 * n * n;
    float *h = task->scratch, *c = h + padded, *gates = c + padded, *bias = gates + 4 * padded;
    const uint64_t state_at = (direction * state->batch + row) * n;
    memset(bias, 0, 4 * n * sizeof(*bias));
    if (weir_cpu_has(task->node, 3)) {
        const float *b = (const float *)task->inputs[3].data + direction * 8 * n;
        for (uint64_t j = 0; j < 4 * n; j++)
            bias[j] = b[j] + b[4 * n + j];
    }
    start_fill(task, 5, state_at, n, h);
    start_fill(task, 6, state_at, n, c);
    for (uint64_t step = 0; step < state->length; step++) {
        const uint64_t t = state->is_reverse || direction == 1 ? state->length - 1 - step : step;
        const float *x =
            (const float *)task->inputs[0].data + (t * state->batch + row) * state->input;
        memcpy(gates, bias, 4 * n * sizeof(*gates));
        state->kernels->dot_f32(4 * n, state->input, w, state->input, x, gates);
        state->kernels->dot_f32(4 * n, n, r, n, h, gates);
        state->kernels->lstm_cell_f32(n, gates, c, h);
        end_store(task, 0, ((t * state->directions + direction) * state->batch + row) * n, n, h);
    }
    end_store(task, 1, state_at, n, h);
    end_store(task, 2, state_at, n, c);
}

weir_code_t weir_cpu_lstm_run(const weir_task_t *task)
{
    const lstm_state_t *state = task->state;
    uint64_t first, end;
    weir_cpu_task_range(task, state->directions * state->batch, 1, &first, &end);
    for (uint64_t i = first; i < end; i++)
        row_run(state, task, i / state->batch, i % state->batch);
    return WEIR_OK;
}
