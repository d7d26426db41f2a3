// LSTM in f32 with the default activations: one row of the batch in one direction is a task, all
// its steps.
//
// gates = (bias of W + bias of R) + W x + R h, one ascending chain an element that begins with the
// biases: x of a dozen steps goes past W at once, h of one step past R. Both are packed in panels
// of 32 gates, at plan time or, where they are not constant, by each task. Peepholes, clip,
// sequence_lens, input_forget and layout 1 are left to the next plugin.
#include <string.h>

#include "backends/cpu/common.h"

#define STEPS WEIR_K_TILE_ROWS // whose x goes past W at once

typedef struct lstm_state {
    const weir_k_table_t *kernels;
    uint64_t length, batch, input, hidden, directions, step_ns;
    uint64_t w_floats, r_floats; // packed, of one direction
    uint32_t is_reverse;
    uint32_t packs_w, packs_r; // each task, into its scratch
} lstm_state_t;

// Floats of one direction's gates of `k` inputs each, in panels.
static uint64_t panel_floats(uint64_t gates, uint64_t k)
{
    return weir_cpu_round_up(gates, WEIR_K_PANEL) * k;
}

static void panels_pack(uint64_t gates, uint64_t k, const float *from, float *to)
{
    for (uint64_t panel = 0; panel < gates; panel += WEIR_K_PANEL)
        for (uint64_t i = 0; i < k; i++)
            for (uint64_t gate = panel; gate < panel + WEIR_K_PANEL; gate++)
                *to++ = gate < gates ? from[gate * k + i] : 0.0f;
}

weir_code_t weir_cpu_lstm_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    const weir_tensor_t *w = &node->inputs[input];
    if ((input != 1 && input != 2) || w->dtype != WEIR_F32 || w->element_count == 0)
        return WEIR_OK;
    out_packing->format = WEIR_CPU_FORMAT_PANELS;
    out_packing->bytes = (uint64_t)w->dims[0] *
                         panel_floats((uint64_t)w->dims[1], (uint64_t)w->dims[2]) * sizeof(float);
    return WEIR_OK;
}

weir_code_t weir_cpu_lstm_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    const weir_tensor_t *w = &node->inputs[input];
    const uint64_t gates = (uint64_t)w->dims[1], k = (uint64_t)w->dims[2];
    if (bytes < (uint64_t)w->dims[0] * panel_floats(gates, k) * sizeof(float))
        return WEIR_INVALID_ARGUMENT;
    for (int64_t direction = 0; direction < w->dims[0]; direction++)
        panels_pack(gates, k, (const float *)w->data + (uint64_t)direction * gates * k,
            (float *)destination + (uint64_t)direction * panel_floats(gates, k));
    return WEIR_OK;
}

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
    state->step_ns = hidden * (input + hidden) / 6 + hidden;
    state->w_floats = panel_floats(4 * hidden, input);
    state->r_floats = panel_floats(4 * hidden, hidden);
    state->packs_w = w->format != WEIR_CPU_FORMAT_PANELS;
    state->packs_r = node->inputs[2].format != WEIR_CPU_FORMAT_PANELS;
    out_prepared->state = state;
    out_prepared->scratch_bytes =
        (2 * weir_cpu_round_up(hidden, 16) + (STEPS + 1) * weir_cpu_round_up(4 * hidden, 16) +
            state->packs_w * state->w_floats + state->packs_r * state->r_floats) *
        sizeof(float);
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

// What a task works in, and the panels of its direction.
typedef struct lstm_memory {
    float *h, *c, *bias, *gates; // gates: STEPS rows of 4 hidden
    const float *w, *r;
} lstm_memory_t;

static lstm_memory_t memory_of(
    const lstm_state_t *state, const weir_task_t *task, uint64_t direction)
{
    const uint64_t n = state->hidden, rounded = weir_cpu_round_up(n, 16);
    lstm_memory_t memory = {.h = task->scratch};
    memory.c = memory.h + rounded;
    memory.bias = memory.c + rounded;
    memory.gates = memory.bias + weir_cpu_round_up(4 * n, 16);
    float *panels = memory.gates + STEPS * weir_cpu_round_up(4 * n, 16);
    const float *w = task->inputs[1].data, *r = task->inputs[2].data;
    memory.w = w + direction * state->w_floats;
    memory.r = r + direction * state->r_floats;
    if (state->packs_w) {
        panels_pack(4 * n, state->input, w + direction * 4 * n * state->input, panels);
        memory.w = panels;
        panels += state->w_floats;
    }
    if (state->packs_r) {
        panels_pack(4 * n, n, r + direction * 4 * n * n, panels);
        memory.r = panels;
    }
    return memory;
}

// gates += `rows` rows of a, times k rows of panels.
static void gates_add(const lstm_state_t *state, uint64_t rows, uint64_t k, const float *a,
    uint64_t a_row, const float *panels, float *gates)
{
    const weir_k_gemm_block_t product = {
        .rows = rows,
        .columns = 4 * state->hidden,
        .k = k,
        .a = a,
        .a_row = a_row,
        .a_k = 1,
        .b = panels,
        .b_panel = k * WEIR_K_PANEL,
        .b_k = WEIR_K_PANEL,
        .c = gates,
        .c_row = 4 * state->hidden,
        .resume = 1,
    };
    state->kernels->gemm_f32_12x32(&product);
}

static void row_run(
    const lstm_state_t *state, const weir_task_t *task, uint64_t direction, uint64_t row)
{
    const uint64_t n = state->hidden, length = state->length;
    const lstm_memory_t m = memory_of(state, task, direction);
    const uint64_t state_at = (direction * state->batch + row) * n;
    memset(m.bias, 0, 4 * n * sizeof(*m.bias));
    if (weir_cpu_has(task->node, 3)) {
        const float *b = (const float *)task->inputs[3].data + direction * 8 * n;
        for (uint64_t j = 0; j < 4 * n; j++)
            m.bias[j] = b[j] + b[4 * n + j];
    }
    start_fill(task, 5, state_at, n, m.h);
    start_fill(task, 6, state_at, n, m.c);
    const int is_back = state->is_reverse || direction == 1;
    const float *x = (const float *)task->inputs[0].data + row * state->input;
    const uint64_t x_row = state->batch * state->input;
    for (uint64_t done = 0, steps; done < length; done += steps) {
        steps = weir_cpu_min(length - done, STEPS);
        const uint64_t first = is_back ? length - done - steps : done; // in time
        for (uint64_t i = 0; i < steps; i++)
            memcpy(m.gates + i * 4 * n, m.bias, 4 * n * sizeof(*m.gates));
        gates_add(state, steps, state->input, x + first * x_row, x_row, m.w, m.gates);
        for (uint64_t i = 0; i < steps; i++) {
            const uint64_t step = is_back ? steps - 1 - i : i, t = first + step;
            float *gates = m.gates + step * 4 * n;
            gates_add(state, 1, n, m.h, n, m.r, gates);
            state->kernels->lstm_cell_f32(n, gates, m.c, m.h);
            end_store(
                task, 0, ((t * state->directions + direction) * state->batch + row) * n, n, m.h);
        }
    }
    end_store(task, 1, state_at, n, m.h);
    end_store(task, 2, state_at, n, m.c);
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
