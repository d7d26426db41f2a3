// The smallest engine that a plugin's kernels run under: memory from malloc, options from one pair,
// tasks on the calling thread in an order of the caller's choice. Shared by the tests of weir_cpu
// and its benchmark; both open the plugin as a stranger would, through dlopen and the table.
#ifndef WEIR_TESTS_KERNELS_CPU_HOST_H
#define WEIR_TESTS_KERNELS_CPU_HOST_H

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/plugin.h>

typedef struct cpu_host {
    weir_host_t host;
    const char *isa; // value of the option "isa"; NULL: not set
    char message[256];
    int64_t live_count; // allocations not yet freed
    int is_running;     // inside run(): allocation is then counted as a fault
    int64_t fault_count;
} cpu_host_t;

static inline void *cpu_host_alloc(const weir_host_t *host, uint64_t bytes)
{
    cpu_host_t *self = host->engine;
    self->live_count++;
    self->fault_count += self->is_running;
    return aligned_alloc(64, (bytes + 64) / 64 * 64);
}

static inline void cpu_host_free(const weir_host_t *host, void *memory)
{
    cpu_host_t *self = host->engine;
    self->live_count--;
    free(memory);
}

static inline weir_code_t cpu_host_fail(
    const weir_host_t *host, weir_code_t code, const char *format, ...)
{
    cpu_host_t *self = host->engine;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(self->message, sizeof(self->message), format, arguments);
    va_end(arguments);
    return code;
}

static inline const char *cpu_host_option(const weir_host_t *host, const char *name)
{
    const cpu_host_t *self = host->engine;
    return strcmp(name, "isa") ? NULL : self->isa;
}

static inline void cpu_host_init(cpu_host_t *self, const char *isa)
{
    memset(self, 0, sizeof(*self));
    self->host.head = (weir_head_t)WEIR_HEAD(weir_host_t);
    self->host.engine = self;
    self->host.alloc = cpu_host_alloc;
    self->host.free = cpu_host_free;
    self->host.fail = cpu_host_fail;
    self->host.option = cpu_host_option;
    self->isa = isa;
}

// The plugin's table, or NULL with the reason in self->message.
static inline const weir_plugin_t *cpu_host_open(cpu_host_t *self, const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(self->message, sizeof(self->message), "%s", dlerror());
        return NULL;
    }
    weir_plugin_entry_t entry;
    void *symbol = dlsym(library, "weir_plugin_v0");
    memcpy(&entry, &symbol, sizeof(entry));
    return entry ? entry(&self->host) : NULL;
}

static inline const weir_kernel_t *cpu_host_kernel(const weir_plugin_t *plugin, const char *op)
{
    for (uint32_t i = 0; i < plugin->kernels.count; i++) {
        const unsigned char *at = plugin->kernels.data;
        const weir_kernel_t *kernel = (const void *)(at + (size_t)i * plugin->kernels.stride);
        if (!strcmp(kernel->op, op) && !(kernel->head.flags & WEIR_KERNEL_BF16))
            return kernel;
    }
    return NULL;
}

// A node made ready: packed, prepared, its memory at hand.
typedef struct cpu_prepared {
    cpu_host_t *host;
    const weir_kernel_t *kernel;
    weir_node_t node;
    weir_tensor_t inputs[32];
    weir_tasks_t tasks;
    weir_prepared_t prepared;
    void *packed[32];
    void *scratch, *shared;
} cpu_prepared_t;

// supports(), pack of the inputs marked constant, prepare(), tasks(). The node and what it points
// to must stay. On failure nothing is left behind.
static inline weir_code_t cpu_host_prepare(
    cpu_host_t *self, const weir_kernel_t *kernel, const weir_node_t *node, cpu_prepared_t *out)
{
    memset(out, 0, sizeof(*out));
    out->host = self;
    out->kernel = kernel;
    out->node = *node;
    memcpy(out->inputs, node->inputs, node->input_count * sizeof(*node->inputs));
    out->node.inputs = out->inputs;
    weir_support_t support = {.head = WEIR_HEAD(weir_support_t)};
    weir_code_t code = kernel->supports(node, &support);
    if (code != WEIR_OK) {
        snprintf(self->message, sizeof(self->message), "%s", support.reason);
        return code;
    }
    for (uint32_t i = 0; i < node->input_count && kernel->pack_query && code == WEIR_OK; i++) {
        weir_packing_t packing = {.head = WEIR_HEAD(weir_packing_t)};
        if (!(node->inputs[i].flags & WEIR_TENSOR_CONSTANT) ||
            kernel->pack_query(node, i, &packing) != WEIR_OK || packing.format == 0)
            continue;
        out->packed[i] = aligned_alloc(64, (packing.bytes + 64) / 64 * 64);
        code = kernel->pack(node, i, out->packed[i], packing.bytes);
        out->inputs[i].data = out->packed[i];
        out->inputs[i].format = packing.format;
        out->inputs[i].bytes = packing.bytes;
    }
    out->prepared.head = (weir_head_t)WEIR_HEAD(weir_prepared_t);
    if (code == WEIR_OK)
        code = kernel->prepare(&self->host, &out->node, &out->prepared);
    if (code != WEIR_OK) {
        for (uint32_t i = 0; i < 32; i++)
            free(out->packed[i]);
        return code;
    }
    out->tasks.head = (weir_head_t)WEIR_HEAD(weir_tasks_t);
    kernel->tasks(&out->node, out->prepared.state, &out->tasks);
    out->scratch = aligned_alloc(64, (out->prepared.scratch_bytes + 64) / 64 * 64);
    out->shared = aligned_alloc(64, (out->prepared.shared_bytes + 64) / 64 * 64);
    // What a kernel finds there is nobody's business: poison, so that reading it shows.
    memset(out->scratch, 0xff, out->prepared.scratch_bytes);
    memset(out->shared, 0xff, out->prepared.shared_bytes);
    return WEIR_OK;
}

// order 0: one call a phase with all its tasks. Otherwise one task a call, in an order that it
// seeds.
static inline weir_code_t cpu_host_run(cpu_prepared_t *self, uint64_t order)
{
    weir_code_t code = WEIR_OK;
    self->host->is_running = 1;
    for (uint32_t phase = 0; phase < self->tasks.phase_count && code == WEIR_OK; phase++) {
        const uint64_t count = self->tasks.task_count[phase];
        weir_task_t task = {.head = WEIR_HEAD(weir_task_t),
            .node = &self->node,
            .state = self->prepared.state,
            .inputs = self->inputs,
            .outputs = self->node.outputs,
            .count = order ? 1 : count,
            .phase = phase,
            .scratch = self->scratch,
            .shared = self->shared};
        // A multiplier with no common divisor with count walks every task once.
        uint64_t step = order * 2 + 1;
        for (uint64_t a = step, b = count; order && b > 1;) {
            const uint64_t rest = a % b;
            if (rest == 0) {
                a = ++step;
                b = count;
            } else if (rest == 1) {
                break;
            } else {
                a = b;
                b = rest;
            }
        }
        for (uint64_t i = 0; i < (order ? count : 1) && code == WEIR_OK; i++) {
            task.first = order ? (i * step + order) % count : 0;
            code = self->kernel->run(&task);
        }
    }
    self->host->is_running = 0;
    return code;
}

static inline void cpu_host_release(cpu_prepared_t *self)
{
    self->kernel->release(&self->host->host, self->prepared.state);
    for (uint32_t i = 0; i < 32; i++)
        free(self->packed[i]);
    free(self->scratch);
    free(self->shared);
}

#endif
