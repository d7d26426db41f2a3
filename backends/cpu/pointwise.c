// "Pointwise": an expression over whole tensors, in tasks of about a microsecond.
//
// Takes f32, i32, i64 and BOOL values and any broadcasting; integer division and the other dtypes
// are left to the next plugin.
#include "backends/cpu/common.h"
#include "backends/cpu/expression.h"

typedef struct pointwise_state {
    weir_cpu_program_t program; // its memory lies behind the state
    uint64_t task_elements;
} pointwise_state_t;

weir_code_t weir_cpu_pointwise_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (!node->body)
        return weir_cpu_refuse(out_support, "a Pointwise node without an expression");
    if (node->prologue || node->epilogue)
        return weir_cpu_refuse(out_support, "Pointwise takes no epilogue");
    return weir_cpu_expression_supports(node, node->body, 0, out_support);
}

weir_code_t weir_cpu_pointwise_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const weir_k_table_t *kernels = weir_cpu_isa_table(host);
    if (!kernels)
        return host->fail(host, WEIR_UNAVAILABLE, "option isa of plugin cpu: not on this machine");
    pointwise_state_t *state =
        host->alloc(host, sizeof(*state) + weir_cpu_program_bytes(node->body));
    if (!state)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a Pointwise program");
    weir_cpu_program_begin(&state->program,
        (weir_cpu_room_t){.expression = node->body, .memory = state + 1}, kernels,
        node->outputs[0].rank, node->outputs[0].dims);
    weir_cpu_program_append(&state->program, node, node->body, WEIR_CPU_NONE);
    weir_cpu_program_end(&state->program);
    const uint64_t elements =
        (uint64_t)WEIR_CPU_TASK_NS * 1000 / weir_cpu_program_cost_ps(&state->program);
    state->task_elements = weir_cpu_round_up(elements, WEIR_CPU_TILE);
    out_prepared->state = state;
    out_prepared->scratch_bytes = state->program.scratch_bytes;
    return WEIR_OK;
}

void weir_cpu_pointwise_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const pointwise_state_t *state = opaque;
    (void)node;
    out_tasks->phase_count = 1;
    out_tasks->task_count[0] =
        WEIR_MAX(1u, WEIR_DIV_UP(state->program.element_count, state->task_elements));
    out_tasks->task_cost_ns[0] = weir_cpu_min(state->program.element_count, state->task_elements) *
                                     weir_cpu_program_cost_ps(&state->program) / 1000 +
                                 1;
}

weir_code_t weir_cpu_pointwise_run(const weir_task_t *task)
{
    const pointwise_state_t *state = task->state;
    const uint64_t total = state->program.element_count;
    const uint64_t first = task->first * state->task_elements;
    if (first >= total)
        return WEIR_OK;
    weir_cpu_interpreter_t interpreter;
    weir_cpu_interpreter_begin(
        &interpreter, &state->program, task->inputs, task->outputs, task->scratch);
    weir_cpu_interpreter_run(
        &interpreter, first, weir_cpu_min(task->count * state->task_elements, total - first));
    return WEIR_OK;
}
