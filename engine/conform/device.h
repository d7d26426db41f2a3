// engine/conform/device.h: a device of the plugin, driven as the engine drives it.
#ifndef WEIR_CONFORM_DEVICE_H
#define WEIR_CONFORM_DEVICE_H

#include "engine/conform/kit.h"

// ---- The host's side (timeline.c) --------------------------------------------------------------

weir_code_t weir__kit_timeline_signal(const weir_host_t *abi, uint64_t handle, uint64_t value);
weir_code_t weir__kit_timeline_fail(
    const weir_host_t *abi, uint64_t handle, weir_code_t code, const char *text);
weir_code_t weir__kit_thread_start(const weir_host_t *abi, const char *name,
    void (*body)(void *user), void *user, void **out_thread);
void weir__kit_thread_join(const weir_host_t *abi, void *thread);

// 0: there are too many.
weir_handle_t weir__kit_timeline_new(weir__kit_host_t *host);
// The next point to ask for; taken back when the call that was to signal it was refused.
weir_timeline_point_t weir__kit_timeline_next(weir__kit_host_t *host, weir_handle_t handle);
void weir__kit_timeline_take_back(weir__kit_host_t *host, weir_handle_t handle);
uint64_t weir__kit_timeline_value(weir__kit_host_t *host, weir_handle_t handle);
// Waits for all that was asked for. *out_code: how the timeline failed. false: it broke a rule.
bool weir__kit_timeline_wait(
    weir__kit_subject_t *subject, weir_handle_t handle, weir_code_t *out_code);

// ---- A device (device.c) -----------------------------------------------------------------------

typedef struct weir__kit_device {
    weir__kit_subject_t *subject;
    const weir_device_table_t *table;
    weir_device_info_t info;
    weir_handle_t handle, queue, timeline;
    bool own_memory;
    bool has_pinned;
} weir__kit_device_t;

// All fail the subject and return false where a rule was broken.
bool weir__kit_device_open(weir__kit_subject_t *subject, weir__kit_device_t *out_device);
// After all that was asked for has ended.
void weir__kit_device_close(weir__kit_device_t *device);
// How a call that may refuse ended: a reason is not asked for, RESOURCE_EXHAUSTED and so on are.
bool weir__kit_device_expect(weir__kit_device_t *device, weir_code_t code, const char *call);

// A buffer of the device; bytes 0 is one of 1.
bool weir__kit_device_alloc(
    weir__kit_device_t *device, uint32_t memory, uint64_t bytes, weir_handle_t *out_buffer);
// Copies `bytes` from or to the host, through a pinned buffer where there is one, and waits.
bool weir__kit_device_write(weir__kit_device_t *device, weir_handle_t buffer, uint64_t offset,
    const void *data, uint64_t bytes);
bool weir__kit_device_read(
    weir__kit_device_t *device, weir_handle_t buffer, uint64_t offset, void *data, uint64_t bytes);

// ---- One node on a device (device_node.c) ------------------------------------------------------

#define WEIR__KIT_TENSORS (WEIR__KIT_INPUTS + WEIR__KIT_OUTPUTS)

// A node that was made ready: a slice of one, its program and specialization (or a kernel's state).
typedef struct weir__kit_work {
    weir__kit_device_t *device;
    const weir_kernel_t *kernel; // NULL: claimed
    weir__kit_case_t *c;
    weir_slice_t slice;
    weir_slice_node_t node;
    weir_tensor_t tensors[WEIR__KIT_TENSORS];
    weir_tensor_t node_inputs[WEIR__KIT_INPUTS], node_outputs[WEIR__KIT_OUTPUTS];
    uint32_t numbers[WEIR__KIT_TENSORS]; // of the node's tensors in the slice
    uint32_t slice_inputs[WEIR__KIT_INPUTS], slice_outputs[WEIR__KIT_OUTPUTS];
    weir_binding_t places[WEIR__KIT_TENSORS + 1];   // of the slice's tensors, then the scratch
    weir_binding_t bindings[WEIR__KIT_TENSORS + 1]; // L1: inputs, then outputs; L2: as places
    uint32_t binding_count;
    weir_handle_t program;
    weir_specialized_t specialized;
    weir_program_info_t info;
    weir_prepared_t prepared; // L1
    weir_handle_t arena;      // of a device with memory of its own
    uint64_t arena_bytes;
    weir__kit_block_t scratch; // of one on host memory
    weir_code_t refused;       // what the call itself said
} weir__kit_work_t;

// Does the device take the node? Asks again and insists on the same answer.
bool weir__kit_device_takes(weir__kit_device_t *device, const weir_kernel_t *kernel,
    weir__kit_case_t *c, weir__kit_work_t *work, bool *out_takes);
// Compiles (or loads `artifact`), specializes, makes room.
bool weir__kit_work_make(weir__kit_work_t *work, const void *artifact, uint64_t artifact_bytes);
// Uploads the inputs, spoils the outputs, gives the work to the device. recording: 0 or a handle.
bool weir__kit_work_launch(weir__kit_work_t *work, weir_handle_t recording);
// Gives it alone, with what lies there.
bool weir__kit_work_give(weir__kit_work_t *work, weir_handle_t recording);
// Waits. *out_code: how it ended. Outputs are in the case's blocks then.
bool weir__kit_work_finish(weir__kit_work_t *work, weir_code_t *out_code);
void weir__kit_work_free(weir__kit_work_t *work);

// ---- Groups (check_device.c, check_program.c) --------------------------------------------------

void weir__kit_check_device_open(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_device_memory(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_device_copies(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_device_queues(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_device_values(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_device_steady(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_device_artifacts(
    weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_device_records(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_device_release(weir__kit_subject_t *subject, const weir__kit_target_t *target);

#endif
