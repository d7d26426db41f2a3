// tests/support/plugins/shuffled.c: the kernels of weir_cpu.so, their tasks in another order each
// time.
//
// Every phase of a kernel is one task here, which runs the tasks of the real phase one by one in
// random order. So whole models show whether results depend on the order in which tasks run.
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <weir/plugin.h>

#define KERNELS_MAX 96

static const weir_plugin_t *real;
static weir_kernel_t kernels[KERNELS_MAX];
static weir_plugin_t plugin;
static atomic_uint_fast64_t seed;

static const weir_kernel_t *real_kernel(uint32_t i)
{
    return (const weir_kernel_t *)(const void *)((const char *)real->kernels.data +
                                                 (size_t)i * real->kernels.stride);
}

static weir_tasks_t real_tasks(uint32_t i, const weir_node_t *node, void *state)
{
    weir_tasks_t tasks = {.head = WEIR_HEAD(weir_tasks_t), .phase_count = 1, .task_count = {1}};
    if (real_kernel(i)->tasks)
        real_kernel(i)->tasks(node, state, &tasks);
    return tasks;
}

static void tasks_of(uint32_t i, const weir_node_t *node, void *state, weir_tasks_t *out_tasks)
{
    const weir_tasks_t tasks = real_tasks(i, node, state);
    out_tasks->phase_count = tasks.phase_count;
    for (uint32_t p = 0; p < tasks.phase_count && p < WEIR_PHASES_MAX; p++) {
        out_tasks->task_count[p] = 1;
        out_tasks->task_cost_ns[p] = tasks.task_count[p] * tasks.task_cost_ns[p];
    }
}

// A full cycle over [0, 2^bits) visits each task once: x -> 5x + odd has that period.
static weir_code_t run_of(uint32_t i, const weir_task_t *task)
{
    const uint64_t count = real_tasks(i, task->node, task->state).task_count[task->phase];
    uint64_t random = atomic_fetch_add(&seed, 0x9e3779b97f4a7c15u);
    random = (random ^ (random >> 29)) * 0xbf58476d1ce4e5b9u;
    uint64_t mask = 1;
    while (mask < count)
        mask = mask * 2 + 1;
    uint64_t at = (random >> 20) & mask;
    for (uint64_t step = 0; step <= mask; step++) {
        if (at < count) {
            weir_task_t one = *task;
            one.first = at;
            one.count = 1;
            const weir_code_t code = real_kernel(i)->run(&one);
            if (code != WEIR_OK)
                return code;
        }
        at = (at * 5 + ((random >> 3) | 1)) & mask;
    }
    return WEIR_OK;
}

#define KERNEL(i)                                                                                  \
    static void tasks_##i(const weir_node_t *node, void *state, weir_tasks_t *out_tasks)           \
    {                                                                                              \
        tasks_of(0##i, node, state, out_tasks);                                                    \
    }                                                                                              \
    static weir_code_t run_##i(const weir_task_t *task)                                            \
    {                                                                                              \
        return run_of(0##i, task);                                                                 \
    }
// clang-format off
#define EIGHT(i)                                                                                   \
    KERNEL(i##0) KERNEL(i##1) KERNEL(i##2) KERNEL(i##3)                                            \
    KERNEL(i##4) KERNEL(i##5) KERNEL(i##6) KERNEL(i##7)
EIGHT(0) EIGHT(1) EIGHT(2) EIGHT(3) EIGHT(4) EIGHT(5) EIGHT(6) EIGHT(7)
EIGHT(10) EIGHT(11) EIGHT(12) EIGHT(13) // octal, as all of these

#define CALLS(i) {tasks_##i, run_##i}
#define EIGHT_CALLS(i)                                                                             \
    CALLS(i##0), CALLS(i##1), CALLS(i##2), CALLS(i##3),                                            \
    CALLS(i##4), CALLS(i##5), CALLS(i##6), CALLS(i##7)
              // clang-format on

    static const struct {
    void (*tasks)(const weir_node_t *node, void *state, weir_tasks_t *out_tasks);
    weir_code_t (*run)(const weir_task_t *task);
} calls[KERNELS_MAX] = {EIGHT_CALLS(0), EIGHT_CALLS(1), EIGHT_CALLS(2), EIGHT_CALLS(3),
    EIGHT_CALLS(4), EIGHT_CALLS(5), EIGHT_CALLS(6), EIGHT_CALLS(7), EIGHT_CALLS(10),
    EIGHT_CALLS(11), EIGHT_CALLS(12), EIGHT_CALLS(13)};

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);
WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    void *library = dlopen(SHUFFLED_OF, RTLD_NOW | RTLD_LOCAL);
    weir_plugin_entry_t entry = NULL;
    void *symbol = library ? dlsym(library, "weir_plugin_v0") : NULL;
    memcpy(&entry, &symbol, sizeof(entry));
    const weir_plugin_t *found = entry ? entry(host) : NULL;
    if (!found || found->kernels.count > KERNELS_MAX) {
        host->fail(host, WEIR_UNAVAILABLE, "no plugin to shuffle: " SHUFFLED_OF);
        return NULL;
    }
    pthread_mutex_lock(&lock);
    if (!real) {
        real = found;
        plugin = *found;
        plugin.name = "shuffled";
        plugin.kernels =
            (weir_array_t){kernels, found->kernels.count, (uint32_t)sizeof(kernels[0])};
        for (uint32_t i = 0; i < found->kernels.count; i++) {
            kernels[i] = *real_kernel(i);
            kernels[i].tasks = calls[i].tasks;
            kernels[i].run = calls[i].run;
        }
    }
    pthread_mutex_unlock(&lock);
    return &plugin;
}
