// tests/kernels/ref_host.h: the smallest host that can run a reference kernel, for the tests.
#ifndef WEIR_TESTS_KERNELS_REF_HOST_H
#define WEIR_TESTS_KERNELS_REF_HOST_H

#include "backends/ref/ref_plugin.h"

#include <stdlib.h>
#include <string.h>

static inline void *ref_host_alloc(const weir_host_t *host, uint64_t bytes)
{
    (void)host;
    return aligned_alloc(64, (size_t)((bytes + 63) / 64 * 64));
}

static inline void ref_host_free(const weir_host_t *host, void *memory)
{
    (void)host;
    free(memory);
}

static inline weir_host_t ref_host(void)
{
    return (weir_host_t){
        .head = WEIR_HEAD(weir_host_t), .alloc = ref_host_alloc, .free = ref_host_free};
}

static inline const weir_kernel_t *ref_host_kernel(const char *op)
{
    const weir_plugin_t *plugin = weir_ref_plugin(NULL);
    for (uint32_t i = 0; i < plugin->kernels.count; i++) {
        const weir_kernel_t *kernel =
            (const weir_kernel_t *)(const void *)((const char *)plugin->kernels.data +
                                                  (size_t)i * plugin->kernels.stride);
        if (strcmp(kernel->op, op) == 0)
            return kernel;
    }
    return NULL;
}

// One task after the other, in an order shuffled by `seed`, with poisoned scratch each time.
static inline weir_code_t ref_host_run_tasks(
    const weir_node_t *node, uint64_t seed, char *error, uint32_t error_bytes)
{
    weir_host_t host = ref_host();
    const weir_kernel_t *kernel = ref_host_kernel(node->op);
    weir_support_t support = {WEIR_HEAD(weir_support_t), 0, {0}};
    weir_prepared_t prepared = {.head = WEIR_HEAD(weir_prepared_t)};
    weir_tasks_t tasks = {.head = WEIR_HEAD(weir_tasks_t)};
    if (!kernel)
        return WEIR_NOT_FOUND; // the caller knows why
    weir_code_t code = kernel->supports(node, &support);
    if (code == WEIR_OK)
        code = kernel->prepare(&host, node, &prepared);
    if (code != WEIR_OK) {
        strncpy(error, support.reason, error_bytes);
        return code;
    }
    kernel->tasks(node, prepared.state, &tasks);
    uint64_t count = tasks.task_count[0];
    uint64_t *order = malloc((size_t)(count + 1) * sizeof *order);
    char *scratch = ref_host_alloc(&host, prepared.scratch_bytes + 64);
    for (uint64_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u; // Knuth's MMIX generator
        uint64_t at = (seed >> 33) % (i + 1);
        order[i] = order[at];
        order[at] = i;
    }
    for (uint64_t i = 0; i < count && code == WEIR_OK; i++) {
        memset(scratch, 0xfb, (size_t)prepared.scratch_bytes);
        weir_task_t task = {.head = WEIR_HEAD(weir_task_t),
            .node = node,
            .inputs = node->inputs,
            .outputs = node->outputs,
            .first = order[i],
            .count = 1,
            .scratch = scratch,
            .error = error,
            .error_bytes = error_bytes};
        code = kernel->run(&task);
    }
    free(scratch);
    free(order);
    return code;
}

#endif
