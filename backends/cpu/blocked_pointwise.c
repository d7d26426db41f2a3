// "Pointwise" and the pools over everything in blocked format, taken when an operand comes in it.
//
// An operand either lies in blocks, or has one value for all channels, or is a constant that has
// been packed into blocks. All values that go in and out are f32.
#include "backends/cpu/blocked.h"
#include "backends/cpu/common.h"

typedef struct pointwise_state {
    weir_cpu_program_t program;           // its memory lies behind the state
    uint64_t channels, blocks, pixels;    // blocks: of one image
    uint64_t all_pixels, pixels_per_task; // of all blocks of all images
} pointwise_state_t;

weir_code_t weir_cpu_blocked_pointwise_supports(
    const weir_node_t *node, weir_support_t *out_support)
{
    if (!node->body || node->prologue || node->epilogue)
        return weir_cpu_refuse(out_support, "takes an expression and no epilogue");
    const weir_code_t code = weir_cpu_expression_supports(node, node->body, 0, out_support);
    return code == WEIR_OK ? weir_cpu_blocked_expression(node, node->body, out_support) : code;
}

weir_code_t weir_cpu_blocked_pointwise_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    weir_cpu_blocked_pack_query(node, node->body, 0, input, out_packing);
    return WEIR_OK;
}

weir_code_t weir_cpu_blocked_pointwise_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    return weir_cpu_blocked_pack(node, input, destination, bytes);
}

weir_code_t weir_cpu_blocked_pointwise_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const weir_k_table_t *kernels = weir_cpu_isa_table(host);
    if (!kernels)
        return host->fail(host, WEIR_UNAVAILABLE, "option isa of plugin cpu: not on this machine");
    pointwise_state_t *state =
        host->alloc(host, sizeof(*state) + weir_cpu_program_bytes(node->body));
    if (!state)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a Pointwise program");
    const weir_tensor_t *y = &node->outputs[0];
    weir_cpu_blocked_begin(&state->program,
        (weir_cpu_room_t){.expression = node->body, .memory = state + 1}, kernels, y);
    weir_cpu_program_append(&state->program, node, node->body, WEIR_CPU_NONE);
    weir_cpu_program_end(&state->program);
    state->channels = (uint64_t)y->dims[1];
    state->blocks = weir_cpu_blocks(state->channels);
    state->pixels = (uint64_t)y->dims[2] * (uint64_t)y->dims[3];
    state->all_pixels = (uint64_t)y->dims[0] * state->blocks * state->pixels;
    const uint64_t tiles = (uint64_t)WEIR_CPU_TASK_NS * 1000 / WEIR_CPU_TILE /
                           weir_cpu_program_cost_ps(&state->program);
    state->pixels_per_task = WEIR_MAX(tiles, 1) * (WEIR_CPU_TILE / WEIR_K_BLOCK);
    out_prepared->state = state;
    out_prepared->scratch_bytes = state->program.scratch_bytes;
    return WEIR_OK;
}

void weir_cpu_blocked_pointwise_tasks(
    const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const pointwise_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->all_pixels, state->pixels_per_task,
        WEIR_K_BLOCK * weir_cpu_program_cost_ps(&state->program) / 1000 + 1);
}

weir_code_t weir_cpu_blocked_pointwise_run(const weir_task_t *task)
{
    const pointwise_state_t *state = task->state;
    uint64_t begin, end;
    weir_cpu_task_range(task, state->all_pixels, state->pixels_per_task, &begin, &end);
    if (begin >= end)
        return WEIR_OK;
    weir_cpu_interpreter_t interpreter;
    weir_cpu_interpreter_begin(
        &interpreter, &state->program, task->inputs, task->outputs, task->scratch);
    weir_cpu_interpreter_run(&interpreter, begin * WEIR_K_BLOCK, (end - begin) * WEIR_K_BLOCK);
    if (state->channels % WEIR_K_BLOCK == 0)
        return WEIR_OK;
    for (uint64_t at = begin; at < end;) {
        const uint64_t block = at / state->pixels;
        const uint64_t next = weir_cpu_min((block + 1) * state->pixels, end);
        if (block % state->blocks + 1 == state->blocks)
            weir_cpu_blocked_clear(
                (float *)task->outputs[0].data + at * WEIR_K_BLOCK, next - at, state->channels);
        at = next;
    }
    return WEIR_OK;
}

typedef struct global_state {
    const weir_k_table_t *kernels;
    weir_k_pool16_t *pool;
    uint64_t all_blocks, blocks, channels, pixels, blocks_per_task;
} global_state_t;

weir_code_t weir_cpu_blocked_global_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_not_f32(node, 1, out_support);
    if (code != WEIR_OK)
        return code;
    if (!weir_cpu_is_blocked(&node->inputs[0]) || !weir_cpu_is_blocked(&node->outputs[0]))
        return weir_cpu_refuse(out_support, "takes and gives blocks only");
    return WEIR_OK;
}

weir_code_t weir_cpu_blocked_global_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    global_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0];
    state->pool =
        node->op[6] == 'M' ? state->kernels->maxall_f32_x16 : state->kernels->averageall_f32_x16;
    state->channels = (uint64_t)x->dims[1];
    state->blocks = weir_cpu_blocks(state->channels);
    state->all_blocks = (uint64_t)x->dims[0] * state->blocks;
    state->pixels = (uint64_t)x->dims[2] * (uint64_t)x->dims[3];
    state->blocks_per_task = WEIR_MAX(1u, WEIR_CPU_TASK_NS / (state->pixels + 10));
    out_prepared->state = state;
    return WEIR_OK;
}

void weir_cpu_blocked_global_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const global_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->all_blocks, state->blocks_per_task, state->pixels + 10);
}

weir_code_t weir_cpu_blocked_global_run(const weir_task_t *task)
{
    const global_state_t *state = task->state;
    uint64_t block, end;
    weir_cpu_task_range(task, state->all_blocks, state->blocks_per_task, &block, &end);
    for (; block < end; block++) {
        const float *x = (const float *)task->inputs[0].data + block * state->pixels * WEIR_K_BLOCK;
        float *y = (float *)task->outputs[0].data + block * WEIR_K_BLOCK;
        state->pool(state->pixels, x, y);
        if (block % state->blocks + 1 == state->blocks)
            weir_cpu_blocked_clear(y, 1, state->channels);
    }
    return WEIR_OK;
}
