// Softmax, LogSoftmax and LayerNormalization in f32, over rows.
//
// A row is one task's work from end to end, so its bits depend on nothing beside it. A softmax
// along an inner axis copies each row out and back. A prologue is applied to a row on its way into
// the output, where the row is then worked on in place. A scale that has to be broadcast is left to
// the next plugin.
#include <string.h>

#include "backends/cpu/common.h"
#include "backends/cpu/expression.h"

typedef struct rows_state {
    const weir_k_table_t *kernels;
    uint64_t row_count, row_elements, rows_per_task, row_ns;
    uint64_t inner; // distance of a row's elements
    weir_k_softmax_t *softmax;
    float epsilon;
    uint32_t is_softmax, has_prologue;
    weir_cpu_program_t program; // with a prologue; its memory lies behind the state
} rows_state_t;

static int is_softmax(const weir_node_t *node)
{
    return node->op[1] == 'o'; // or LogSoftmax
}

// The first dim of a row, or -1.
static int64_t row_axis(const weir_node_t *node)
{
    const int64_t rank = node->inputs[0].rank;
    const int64_t axis = weir_node_int(node, "axis", -1);
    const int64_t first = axis < 0 ? axis + rank : axis;
    return first >= 0 && first < rank ? first : -1;
}

// Inputs before the operands of a prologue.
static uint32_t own_inputs(const weir_node_t *node)
{
    return node->prologue ? WEIR_MIN(node->prologue->first_operand, node->input_count)
                          : node->input_count;
}

static weir_code_t prologue_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->epilogue)
        return weir_cpu_refuse(out_support, "takes no epilogue");
    if (!node->prologue)
        return WEIR_OK;
    if (node->op[0] == 'L' && is_softmax(node))
        return weir_cpu_refuse(out_support, "LogSoftmax takes no prologue");
    if (is_softmax(node) && row_axis(node) + 1 != (int64_t)node->inputs[0].rank)
        return weir_cpu_refuse(out_support, "takes a prologue along the last axis only");
    return weir_cpu_expression_supports(node, node->prologue, 1, out_support);
}

weir_code_t weir_cpu_rows_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = prologue_supports(node, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0];
    const int64_t axis = node->input_count > 0 ? row_axis(node) : -1;
    if (axis < 0)
        return weir_cpu_refuse(out_support, "the axis is not one of the input");
    for (uint32_t i = 0; i < own_inputs(node); i++)
        if (node->inputs[i].dtype != WEIR_F32 && (node->inputs[i].dtype != 0 || i < 2))
            return weir_cpu_refuse(out_support, "takes f32 only");
    for (uint32_t j = 0; j < node->output_count; j++)
        if (node->outputs[j].dtype != WEIR_F32 && (node->outputs[j].dtype != 0 || j == 0))
            return weir_cpu_refuse(out_support, "gives f32 only");
    if (is_softmax(node))
        return WEIR_OK;
    if (own_inputs(node) < 2)
        return weir_cpu_refuse(out_support, "inputs are missing");
    for (uint32_t i = 1; i < WEIR_MIN(own_inputs(node), 3u); i++) {
        const weir_tensor_t *factor = &node->inputs[i];
        if (factor->dtype == 0)
            continue;
        int fits = (int64_t)factor->rank == (int64_t)x->rank - axis;
        for (uint32_t d = 0; fits && d < factor->rank; d++)
            fits = factor->dims[d] == x->dims[(uint32_t)axis + d];
        if (!fits)
            return weir_cpu_refuse(out_support, "scale or bias is not of the normalised dims");
    }
    return WEIR_OK;
}

weir_code_t weir_cpu_rows_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const weir_k_table_t *kernels = weir_cpu_isa_table(host);
    if (!kernels)
        return host->fail(host, WEIR_UNAVAILABLE, "option isa of plugin cpu: not on this machine");
    const uint64_t bytes =
        sizeof(rows_state_t) + (node->prologue ? weir_cpu_program_bytes(node->prologue) : 0);
    rows_state_t *state = host->alloc(host, bytes);
    if (!state)
        return host->fail(
            host, WEIR_RESOURCE_EXHAUSTED, "no memory for the state of a %s", node->op);
    const weir_tensor_t *x = &node->inputs[0];
    memset(state, 0, sizeof(*state));
    state->kernels = kernels;
    state->row_count = state->row_elements = 1;
    state->is_softmax = (uint32_t)is_softmax(node);
    state->epsilon = (float)weir_node_float(node, "epsilon", 1e-5);
    const int is_one_axis = is_softmax(node) && !weir_node_int(node, "coerce", 0);
    const int64_t axis = row_axis(node);
    state->inner = 1;
    state->softmax = node->op[0] == 'S' ? kernels->softmax_f32 : kernels->log_softmax_f32;
    for (int64_t d = 0; d < (int64_t)x->rank; d++) {
        uint64_t *size = d < axis                  ? &state->row_count
                         : d > axis && is_one_axis ? &state->inner
                                                   : &state->row_elements;
        *size *= (uint64_t)x->dims[d];
    }
    state->row_count *= state->inner;
    if (state->row_elements == 0)
        state->row_count = 0;
    state->row_ns = state->row_elements / (state->is_softmax ? 2 : 3) + 20;
    state->rows_per_task = WEIR_MAX(1u, WEIR_CPU_TASK_NS / state->row_ns);
    out_prepared->state = state;
    out_prepared->scratch_bytes = state->inner > 1 ? 2 * state->row_elements * sizeof(float) : 0;
    if (!node->prologue)
        return WEIR_OK;
    state->has_prologue = 1;
    weir_cpu_program_begin(&state->program,
        (weir_cpu_room_t){.expression = node->prologue, .memory = state + 1}, kernels, x->rank,
        x->dims);
    weir_cpu_program_append(&state->program, node, node->prologue,
        weir_cpu_program_broadcast(&state->program, node, 0));
    weir_cpu_program_end(&state->program);
    out_prepared->scratch_bytes = state->program.scratch_bytes;
    return WEIR_OK;
}

// A softmax over the elements at distance `inner`.
static void strided_softmax(
    const rows_state_t *state, const weir_task_t *task, uint64_t row, float *line)
{
    const uint64_t n = state->inner;
    const uint64_t first = row / n * state->row_elements * n + row % n;
    const float *x = (const float *)task->inputs[0].data + first;
    float *y = (float *)task->outputs[0].data + first;
    for (uint64_t i = 0; i < state->row_elements; i++)
        line[i] = x[i * n];
    float *made = line + state->row_elements;
    state->softmax(state->row_elements, line, made);
    for (uint64_t i = 0; i < state->row_elements; i++)
        y[i * n] = made[i];
}

void weir_cpu_rows_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const rows_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->row_count, state->rows_per_task, state->row_ns);
}

weir_code_t weir_cpu_rows_run(const weir_task_t *task)
{
    const rows_state_t *state = task->state;
    const weir_node_t *node = task->node;
    const weir_tensor_t *in = task->inputs, *out = task->outputs;
    const float *bias = own_inputs(node) > 2 && in[2].dtype ? in[2].data : NULL;
    float *mean = node->output_count > 1 && out[1].dtype ? out[1].data : NULL;
    float *inverse = node->output_count > 2 && out[2].dtype ? out[2].data : NULL;
    const uint64_t end =
        weir_cpu_min((task->first + task->count) * state->rows_per_task, state->row_count);
    weir_cpu_interpreter_t interpreter;
    if (state->has_prologue)
        weir_cpu_interpreter_begin(&interpreter, &state->program, in, out, task->scratch);
    for (uint64_t row = task->first * state->rows_per_task; row < end; row++) {
        if (state->inner > 1) {
            strided_softmax(state, task, row, task->scratch);
            continue;
        }
        const float *x = (const float *)in[0].data + row * state->row_elements;
        float *y = (float *)out[0].data + row * state->row_elements;
        if (state->has_prologue) {
            weir_cpu_interpreter_run(&interpreter, row * state->row_elements, state->row_elements);
            x = y;
        }
        if (state->is_softmax)
            state->softmax(state->row_elements, x, y);
        else
            state->kernels->layernorm_f32(state->row_elements, state->epsilon, x, in[1].data, bias,
                y, mean ? mean + row : NULL, inverse ? inverse + row : NULL);
    }
    return WEIR_OK;
}
