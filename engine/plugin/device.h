// engine/plugin/device.h: an open device: what was made from it, who is calling it, whether it is
// lost.
//
// All that a plugin makes for the engine (programs, buffers, queues …) has a record here, so that a
// device can be closed under plans and sessions that still exist: their records then stand for
// nothing, and giving one back calls nobody. An `opened` lives as long as the engine. Must not know
// plans or sessions.
#ifndef WEIR_PLUGIN_DEVICE_H
#define WEIR_PLUGIN_DEVICE_H

#include "engine/plugin/registry.h"

// In the order in which they are given back when a device is closed.
typedef enum weir__made_kind {
    WEIR__MADE_RECORDING,
    WEIR__MADE_SPECIALIZATION,
    WEIR__MADE_PROGRAM,
    WEIR__MADE_BUFFER,
    WEIR__MADE_QUEUE,
    WEIR__MADE_STATE, // of a kernel that the device runs: memory of the host
    WEIR__MADE_KINDS
} weir__made_kind_t;

typedef struct weir__made {
    struct weir__made *next, **from; // among those of its kind; from NULL: in no list
    weir__made_kind_t kind;
    weir_handle_t handle;        // 0: it went with the device, or it is host memory
    void *pointer;               // a BUFFER's address for the host, if it has one
    const weir_kernel_t *kernel; // whose STATE `pointer` is
    bool is_plain;               // `pointer` is the engine's memory, which the device was shown
    const void *owner;           // the plan whose runs reach it; NULL: one session's own
} weir__made_t;

// A run, or an upload, of the plan `owner` was given up before the device answered.
typedef struct weir__hung {
    struct weir__hung *next, **from; // from NULL: in no list
    const void *owner;
} weir__hung_t;

// A timeline that fails when the device is lost: that of a session's queue.
typedef struct weir__watch {
    struct weir__watch *next, **from;
    uint64_t timeline; // changed under the device's lock only
} weir__watch_t;

struct weir__opened {
    weir__opened_t *previous; // of the same device, closed
    weir__registry_t *registry;
    weir__device_t *device;
    weir__plugin_t *plugin;
    weir_handle_t handle;
    atomic_bool lost, closed, is_replaced; // is_replaced: the device was opened anew
    char lost_text[160];                   // written before `lost`
    pthread_mutex_t lock;
    pthread_cond_t idle;
    pthread_mutex_t calls; // around calls that a device takes one at a time
    uint32_t users;        // calls and runs under way
    bool closing;
    const weir__made_t *leaving; // close_device() is giving it back
    weir__made_t *made[WEIR__MADE_KINDS];
    // Released while a run that was given up may still touch them, and what those runs are.
    weir__made_t *deferred;
    weir__hung_t *hung;
    weir__watch_t *watches;
};

// Opens a device with programs, once, and enters it. Errors: UNAVAILABLE when it is lost; what
// open() says.
weir_status_t weir__device_enter(
    weir__registry_t *registry, weir__device_t *device, weir__opened_t **out_opened);
// Closes a device when its runs have ended, and opens it anew: plans made before stay without it.
// Blocks. Errors: what open() says; the device then stays lost.
weir_status_t weir__device_reopen(weir__registry_t *registry, weir__device_t *device);
// Closes every device and frees what the registry kept of them; nothing may use one any more.
void weir__devices_close(weir__registry_t *registry);
void weir__devices_free(weir__registry_t *registry);

// Between these the device is not closed. false: it is lost, or about to be closed.
bool weir__opened_enter(weir__opened_t *opened);
void weir__opened_leave(weir__opened_t *opened);

// Marks the device lost and fails all timelines that are watched. The first text is kept.
void weir__opened_lose(weir__opened_t *opened, const char *text);
// The status for whoever wants to use a lost device.
weir_status_t weir__opened_lost_status(const weir__opened_t *opened, weir_code_t code);
// The status for a call of the plugin that returned `code`; DEVICE_LOST loses the device.
weir_status_t weir__opened_status(weir__opened_t *opened, weir_code_t code, const char *call);

// The same for a call that may fail without harm: true for OK. What the plugin said is forgotten.
bool weir__opened_accepts(weir__opened_t *opened, weir_code_t code, const char *call);

// Records what the plugin has made. NULL: no memory; then it was given back already.
weir__made_t *weir__made_new(weir__opened_t *opened, weir__made_kind_t kind, weir_handle_t handle);
// Records what prepare() of a kernel made. NULL: no memory; then it was released already.
weir__made_t *weir__made_state(weir__opened_t *opened, const weir_kernel_t *kernel, void *state);
// Gives back (what a run that hangs may touch later) and frees the record. NULL is allowed.
void weir__made_release(weir__opened_t *opened, weir__made_t *made);
// The handle, or 0 for what is not there.
static inline weir_handle_t weir__made_handle(const weir__made_t *made)
{
    return made ? made->handle : 0;
}

// Makes a buffer; weir__made_release() ends it. Errors: RESOURCE_EXHAUSTED and what alloc() says.
weir_status_t weir__buffer_make(weir__opened_t *opened, uint64_t bytes, weir__made_t **out_buffer);
// Makes memory that both the host (made->pointer) and copies can reach: pinned, or plain where the
// device has no such memory.
weir_status_t weir__staging_make(
    weir__opened_t *opened, uint64_t bytes, weir__made_t **out_staging);
// The end of a copy at `offset` of either.
weir_binding_t weir__made_binding(const weir__made_t *made, uint64_t offset, uint64_t bytes);
weir_status_t weir__queue_make(weir__opened_t *opened, weir__made_t **out_queue);

// A run of the plan `owner` was given up before the device answered: what the plan has there stays,
// until the answer has come.
void weir__opened_unanswered(weir__opened_t *opened, weir__hung_t *hung, const void *owner);
void weir__opened_answered(weir__opened_t *opened, weir__hung_t *hung);

void weir__watch_add(weir__opened_t *opened, weir__watch_t *watch, uint64_t timeline);
// false: the device is lost, and nothing will be signalled.
bool weir__watch_change(weir__opened_t *opened, weir__watch_t *watch, uint64_t timeline);
void weir__watch_remove(weir__opened_t *opened, weir__watch_t *watch);

// Blocks until the timeline has reached the value. For making plans, never for runs. Errors: what
// the timeline failed with; UNAVAILABLE after `patience_ns` without an answer, which loses the
// device.
weir_status_t weir__opened_wait(
    weir__opened_t *opened, uint64_t timeline, uint64_t value, uint64_t patience_ns);

#endif
