// What the kernels that are not products share: states, axes, index tensors, refusals.
#ifndef WEIR_BACKENDS_CPU_COMMON_H
#define WEIR_BACKENDS_CPU_COMMON_H

#include "backends/cpu/cpu.h"

// What a task should take at least. A thread takes many at once and single ones only in the end, so
// small ones cost little and leave no thread waiting.
#define WEIR_CPU_TASK_NS 1000u

// A state of `bytes`, the first `clear_bytes` zero; weights that are packed behind those are
// written once only. Says why not.
weir_code_t weir_cpu_state_alloc(const weir_host_t *host, const weir_node_t *node, uint64_t bytes,
    uint64_t clear_bytes, void *out_state);
// All of it zero, but that it begins with a pointer to this machine's kernels.
weir_code_t weir_cpu_state_new(
    const weir_host_t *host, const weir_node_t *node, uint64_t bytes, void *out_state);
// The end of a prepare(): hands the state over, with its scratch. `wrong`, if it is not NULL, says
// why it cannot be used: then the state is freed.
weir_code_t weir_cpu_state_end(const weir_host_t *host, const weir_node_t *node, const char *wrong,
    void *state, uint64_t scratch_bytes, weir_prepared_t *out_prepared);

// A "no" to prologues, epilogues and too few inputs; WEIR_OK otherwise.
weir_code_t weir_cpu_refuse_plain(
    const weir_node_t *node, uint32_t input_count, weir_support_t *out_support);

// The same, and to what is not f32 in input 0 and output 0.
weir_code_t weir_cpu_refuse_not_f32(
    const weir_node_t *node, uint32_t input_count, weir_support_t *out_support);

// Product of dims [first, end), which must be known.
uint64_t weir_cpu_product(const int64_t *dims, uint32_t first, uint32_t end);

// `axis` counted from the front, or -1 if there is no such axis.
int64_t weir_cpu_axis(int64_t axis, uint32_t rank);

// Element i of an i32 or i64 tensor.
int64_t weir_cpu_index(const weir_tensor_t *tensor, uint64_t i);

// Is the data of this input there while a plan is made?
int weir_cpu_is_constant(const weir_tensor_t *tensor);

// Is input i given?
int weir_cpu_has(const weir_node_t *node, uint32_t i);

// The string attribute, or "".
const char *weir_cpu_string(const weir_node_t *node, const char *name);

// One phase of `units` in tasks of `per_task`.
void weir_cpu_tasks_one(
    weir_tasks_t *out_tasks, uint64_t units, uint64_t per_task, uint64_t unit_ns);

// Units [*out_first, *out_end) of a call's tasks.
void weir_cpu_task_range(const weir_task_t *task, uint64_t units, uint64_t per_task,
    uint64_t *out_first, uint64_t *out_end);

#endif
