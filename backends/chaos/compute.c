// backends/chaos/compute.c: running a node with the wrapped plugin's kernel, on the device's
// thread.
//
// Tasks run one by one, phases in order, within a phase in an order that the seed chooses: a kernel
// whose result depends on that is found out. A scheduled wrong bit is put in afterwards.
#include "backends/chaos/chaos.h"

#include <stdio.h>
#include <string.h>

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

// Task i of n in an order without a table: (first + i * step) mod n, step and n without a common
// divisor.
static weir_code_t run_phase(
    weir_chaos_state_t *state, const weir_chaos_node_t *node, weir_task_t *task, uint64_t count)
{
    pthread_mutex_lock(&state->lock);
    uint64_t step = 1 + weir_chaos_random(state) % 0xffff, at = weir_chaos_random(state);
    pthread_mutex_unlock(&state->lock);
    while (common_divisor(step, count) != 1)
        step++;
    weir_code_t code = WEIR_OK;
    at %= WEIR_MAX(count, 1u);
    for (uint64_t i = 0; i < count && code == WEIR_OK; i++) {
        task->first = at;
        task->count = 1;
        code = node->kernel->run(task);
        at = (at + step % count) % count;
    }
    return code;
}

// Turns one bit in the output's first byte-like place that a consumer will see: of a float the top
// bit of the exponent (1 becomes infinite, 0 becomes 2), of anything else the lowest bit.
static void make_wrong(weir_chaos_state_t *state, const weir_chaos_node_t *node)
{
    const weir_tensor_t *output = &node->view.outputs[0];
    uint32_t size = weir_dtype_bytes(output->dtype);
    if (!node->view.output_count || !output->element_count || !size || !output->data)
        return;
    pthread_mutex_lock(&state->lock);
    bool strikes = weir_chaos_fault_wrong(state, &node->view);
    uint64_t at = strikes ? weir_chaos_random(state) % output->element_count : 0;
    pthread_mutex_unlock(&state->lock);
    if (!strikes)
        return;
    uint8_t *element = (uint8_t *)output->data + at * size;
    if (output->dtype & (WEIR_F16 | WEIR_BF16 | WEIR_F32 | WEIR_F64))
        element[size - 1] ^= 0x40;
    else
        element[0] ^= 1;
}

static uint64_t rounded(uint64_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

weir_code_t weir_chaos_compute(weir_chaos_state_t *state, const weir_chaos_node_t *node,
    const weir_chaos_scratch_t *scratch, char *out_error)
{
    const weir_kernel_t *kernel = node->kernel;
    char error[WEIR_REASON_BYTES] = "";
    uint64_t needed = rounded(node->shared_bytes) + node->scratch_bytes;
    if (scratch->bytes < needed) {
        snprintf(out_error, WEIR_REASON_BYTES, "%s: %llu bytes of scratch, %llu are needed",
            node->view.op, (unsigned long long)scratch->bytes, (unsigned long long)needed);
        return WEIR_INTERNAL;
    }
    weir_tasks_t tasks = {.head = WEIR_HEAD(weir_tasks_t), .phase_count = 1, .task_count = {1}};
    if (kernel->tasks)
        kernel->tasks(&node->view, node->state, &tasks);
    weir_task_t task = {.head = WEIR_HEAD(weir_task_t),
        .node = &node->view,
        .state = node->state,
        .inputs = node->view.inputs,
        .outputs = node->view.outputs,
        .error = error,
        .error_bytes = sizeof error,
        .shared = scratch->data,
        .scratch = (uint8_t *)scratch->data + (needed ? rounded(node->shared_bytes) : 0)};
    weir_code_t code = WEIR_OK;
    for (uint32_t p = 0; p < tasks.phase_count && p < WEIR_PHASES_MAX && code == WEIR_OK; p++) {
        task.phase = p;
        code = run_phase(state, node, &task, tasks.task_count[p]);
    }
    error[sizeof error - 1] = '\0';
    if (code != WEIR_OK)
        snprintf(out_error, WEIR_REASON_BYTES, "%.40s: %.100s", node->view.op, error);
    else
        make_wrong(state, node);
    return code;
}
