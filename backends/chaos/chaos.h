// backends/chaos/chaos.h: a fake asynchronous device whose kernels are those of another plugin, and
// a source of faults.
//
// What the files share. Data: one state per engine (weir_host_t.state), one device per open(), a
// memory of numbered buffers and some queues per device, one thread per device that works the
// queues off. Locks: the state's, for queues, points and faults of all devices, and one per memory;
// nobody holds two. None is held while a kernel runs or a timeline is signalled.
//
// It must not call anything of weir but <weir/plugin.h>, keep a pointer into host memory longer
// than the contract says (but where a fault asks for it), or block a caller on the device (but in
// wait_idle and the releases, which may).
#ifndef WEIR_BACKENDS_CHAOS_CHAOS_H
#define WEIR_BACKENDS_CHAOS_CHAOS_H

#include <weir/plugin.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define WEIR_CHAOS_DEVICES_MAX 4
#define WEIR_CHAOS_RULES_MAX 32

typedef struct weir_chaos_state weir_chaos_state_t;
typedef struct weir_chaos_device weir_chaos_device_t;
typedef struct weir_chaos_entry weir_chaos_entry_t;

// ---- Faults (fault.c) ---------------------------------------------------------------------------

// Where a fault can strike. RUN and COPIED are completions, on the device's thread; the others are
// calls.
typedef enum weir_chaos_where {
    WEIR_CHAOS_ENUMERATE,
    WEIR_CHAOS_OPEN,
    WEIR_CHAOS_CLOSE,
    WEIR_CHAOS_ALLOC,
    WEIR_CHAOS_FREE,
    WEIR_CHAOS_MAP,
    WEIR_CHAOS_UNMAP,
    WEIR_CHAOS_WRAP_HOST,
    WEIR_CHAOS_QUEUE_CREATE,
    WEIR_CHAOS_QUEUE_DESTROY,
    WEIR_CHAOS_COPY,
    WEIR_CHAOS_EXECUTE,
    WEIR_CHAOS_WAIT_IDLE,
    WEIR_CHAOS_MEMORY_INFO,
    WEIR_CHAOS_EDGE,
    WEIR_CHAOS_EXPORT_BUFFER,
    WEIR_CHAOS_IMPORT_BUFFER,
    WEIR_CHAOS_CLAIM,
    WEIR_CHAOS_COMPILE,
    WEIR_CHAOS_PROGRAM_RELEASE,
    WEIR_CHAOS_PROGRAM_INFO,
    WEIR_CHAOS_PROGRAM_SAVE,
    WEIR_CHAOS_ARTIFACT_CHECK,
    WEIR_CHAOS_PROGRAM_LOAD,
    WEIR_CHAOS_SPECIALIZE,
    WEIR_CHAOS_SPECIALIZATION_RELEASE,
    WEIR_CHAOS_RECORD,
    WEIR_CHAOS_RECORDING_RELEASE,
    WEIR_CHAOS_LAUNCH,
    WEIR_CHAOS_CLOCK,
    WEIR_CHAOS_RUN,
    WEIR_CHAOS_COPIED,
    WEIR_CHAOS_WHERE_COUNT,
} weir_chaos_where_t;

typedef enum weir_chaos_what {
    WEIR_CHAOS_NOTHING,
    WEIR_CHAOS_FAIL,    // the code of the rule
    WEIR_CHAOS_OOM,     // RESOURCE_EXHAUSTED
    WEIR_CHAOS_LOST,    // the device is gone until it is opened again
    WEIR_CHAOS_SLOW,    // takes milliseconds longer
    WEIR_CHAOS_HANG,    // a completion that never comes; what follows it in its queue neither
    WEIR_CHAOS_WRONG,   // an output of a node has a bit flipped
    WEIR_CHAOS_LATE,    // comes so late that it may have been given up, and writes to its bindings
    WEIR_CHAOS_DOUBLE,  // signals twice
    WEIR_CHAOS_MISSING, // does its work and never signals
} weir_chaos_what_t;

// One entry of the schedule: "where:what[=value]:when".
typedef struct weir_chaos_rule {
    const char *text; // in the option's value
    uint32_t text_length;
    weir_chaos_where_t where;
    weir_chaos_what_t what;
    weir_code_t code;
    uint64_t ms;
    char node[64];       // of WRONG: an operator, or part of an origin; "": any node
    uint64_t from, to;   // the calls [from, to], counted from 1, that it strikes …
    uint64_t step;       // … every step-th of them
    uint32_t per_mille;  // or so many of a thousand, by seed; 0: by count
    uint64_t seen, hits; // under the state's lock
} weir_chaos_rule_t;

typedef struct weir_chaos_fault {
    weir_chaos_what_t what;
    weir_code_t code;
    uint64_t ms;
} weir_chaos_fault_t;

// The rules out of the option `faults`. false: out_reason says what is wrong with them.
bool weir_chaos_faults_parse(weir_chaos_state_t *state, const char *text, char *out_reason);
// What strikes here and now; counts. NOTHING nearly always. Under the state's lock.
weir_chaos_fault_t weir_chaos_fault(weir_chaos_state_t *state, weir_chaos_where_t where);
// Does an output of this node get a wrong bit? Counts nodes that a rule names. Under the lock.
bool weir_chaos_fault_wrong(weir_chaos_state_t *state, const weir_node_t *node);
// The head of every call: what strikes, and that a lost device answers nothing else. device NULL:
// there is none yet.
weir_code_t weir_chaos_enter(
    weir_chaos_state_t *state, weir_chaos_device_t *device, weir_chaos_where_t where);
void weir_chaos_faults_log(weir_chaos_state_t *state);
uint64_t weir_chaos_random(weir_chaos_state_t *state); // under the state's lock
// The engine broke the contract: said in the log, counted, and told to the caller.
weir_code_t weir_chaos_misuse(weir_chaos_state_t *state, weir_code_t code, const char *text);

// ---- Points of timelines (point.c) --------------------------------------------------------------

#define WEIR_CHAOS_SETS 256
#define WEIR_CHAOS_WAYS 8

// A timeline that entries of ours wait for or will signal.
typedef struct weir_chaos_timeline {
    weir_handle_t timeline; // 0: free
    uint64_t reached;
    uint32_t pending; // points that will be signalled
    weir_code_t failed;
} weir_chaos_timeline_t;

// The first three under the state's lock.
//
// Notes that `points` will be signalled. RESOURCE_EXHAUSTED: more timelines than there is room for.
weir_code_t weir_chaos_points_expect(
    weir_chaos_state_t *state, const weir_timeline_point_t *points, uint32_t count);
// They will not be signalled after all, or have been.
void weir_chaos_points_forget(
    weir_chaos_state_t *state, const weir_timeline_point_t *points, uint32_t count);
// Are they reached? *out_failed: OK, or what a timeline failed with.
bool weir_chaos_points_reached(weir_chaos_state_t *state, const weir_timeline_point_t *points,
    uint32_t count, weir_code_t *out_failed);
// Signals through the host, or fails; wakes the threads of the devices.
void weir_chaos_points_signal(
    weir_chaos_state_t *state, const weir_timeline_point_t *points, uint32_t count);
void weir_chaos_points_fail(weir_chaos_state_t *state, const weir_timeline_point_t *points,
    uint32_t count, weir_code_t code, const char *text);

// ---- Memory (memory.c) --------------------------------------------------------------------------

#define WEIR_CHAOS_BUFFERS_MAX 4096

typedef struct weir_chaos_buffer {
    uint8_t *data; // behind it lies a page that cannot be touched
    uint64_t bytes;
    void *map; // of munmap(); NULL: wrapped host memory, or imported
    uint64_t map_bytes;
    weir_handle_t peer; // imported: the handle there
    uint32_t generation;
    uint32_t kind; // WEIR_MEMORY_*; 0: free
    uint32_t uses; // entries that work on it now
    uint32_t maps;
    bool is_doomed; // freed while in use
} weir_chaos_buffer_t;

// A device's memory. It outlives the device while a peer works on it.
typedef struct weir_chaos_memory {
    weir_chaos_state_t *state;
    pthread_mutex_t lock;
    atomic_uint references;
    uint32_t slot; // of the device
    uint32_t hint; // where to look for a free buffer
    uint64_t used_bytes, total_bytes;
    weir_chaos_buffer_t buffers[WEIR_CHAOS_BUFFERS_MAX];
} weir_chaos_memory_t;

// What an entry holds on to while it works.
typedef struct weir_chaos_hold {
    weir_chaos_memory_t *memory; // NULL: host memory
    weir_handle_t buffer;
} weir_chaos_hold_t;

weir_chaos_memory_t *weir_chaos_memory_new(
    weir_chaos_state_t *state, uint32_t slot, uint64_t bytes);
void weir_chaos_memory_release(weir_chaos_memory_t *memory);
// The address of a binding's bytes, and a hold on its buffer until weir_chaos_drop(). plain: host
// memory will do. false: out_reason says why not.
bool weir_chaos_resolve(weir_chaos_device_t *device, const weir_binding_t *binding, bool plain,
    void **out_data, weir_chaos_hold_t *out_hold, char *out_reason);
void weir_chaos_drop(const weir_chaos_hold_t *hold);

weir_code_t weir_chaos_alloc(
    weir_handle_t device, uint32_t memory, uint64_t bytes, weir_handle_t *out_buffer);
void weir_chaos_free(weir_handle_t device, weir_handle_t buffer);
weir_code_t weir_chaos_map(weir_handle_t device, weir_handle_t buffer, void **out_pointer);
void weir_chaos_unmap(weir_handle_t device, weir_handle_t buffer);
weir_code_t weir_chaos_wrap_host(
    weir_handle_t device, void *memory, uint64_t bytes, weir_handle_t *out_buffer);
weir_code_t weir_chaos_memory_info(weir_handle_t device, uint64_t *out_used, uint64_t *out_total);
// A buffer that stands for one of a peer.
weir_code_t weir_chaos_memory_import(
    weir_chaos_device_t *device, weir_handle_t peer, uint64_t bytes, weir_handle_t *out_buffer);
// Its size; 0: no such buffer.
uint64_t weir_chaos_memory_bytes(weir_chaos_device_t *device, weir_handle_t buffer);

// ---- Nodes (node.c, compute.c) ------------------------------------------------------------------

// A node that can be run again and again: a copy whose tensors are its own.
typedef struct weir_chaos_node {
    weir_node_t view;
    weir_tensor_t *tensors; // inputs, then outputs
    const weir_kernel_t *kernel;
    void *state;
    uint64_t shared_bytes, scratch_bytes;
    bool owns_state; // prepare() was ours to call
} weir_chaos_node_t;

typedef struct weir_chaos_scratch {
    void *data;
    uint64_t bytes;
} weir_chaos_scratch_t;

// The bytes that a deep copy of `node` takes, and the copy. `block` is aligned to 16 bytes.
uint64_t weir_chaos_node_bytes(const weir_node_t *node);
void weir_chaos_node_copy(const weir_node_t *node, void *block, weir_chaos_node_t *out_node);
// Runs the tasks of a node whose tensors have their data, in an order of the seed's.
weir_code_t weir_chaos_compute(weir_chaos_state_t *state, const weir_chaos_node_t *node,
    const weir_chaos_scratch_t *scratch, char *out_error);

// ---- Programs (program.c, specialize.c, slice.c) ------------------------------------------------

#define WEIR_CHAOS_NONE UINT32_MAX

typedef struct weir_chaos_program {
    weir_chaos_device_t *device;
    uint64_t digest;     // of the slice
    uint32_t node_count; // of the slice
    uint32_t constant_count;
    weir_handle_t *constants; // [constant_count] copies of its own, by tensor; 0: none
    uint32_t kernels[];       // [node_count] numbers in the wrapped plugin's table
} weir_chaos_program_t;

typedef struct weir_chaos_specialization {
    weir_chaos_program_t *program;
    weir_chaos_device_t *device;
    const weir_slice_t *slice;
    weir_chaos_node_t *nodes; // [slice->node_count]
    void **data;              // [slice->tensor_count] addresses, for the launch that runs
    weir_chaos_hold_t *holds; // [slice->tensor_count + 1]
    uint64_t scratch_bytes;
} weir_chaos_specialization_t;

typedef struct weir_chaos_recording {
    weir_chaos_device_t *device;
    const weir_chaos_specialization_t *specialization; // it may be gone
    uint32_t binding_count;
    weir_binding_t bindings[];
} weir_chaos_recording_t;

// A digest of what compile() may rely on: operators, types, ranks, constants' sizes.
uint64_t weir_chaos_slice_digest(const weir_slice_t *slice);
uint64_t weir_chaos_digest(uint64_t seed, const void *data, uint64_t bytes);

weir_code_t weir_chaos_compile(
    weir_handle_t device, const weir_slice_t *slice, weir_handle_t *out_program);
void weir_chaos_program_release(weir_handle_t program);
weir_code_t weir_chaos_program_info(weir_handle_t program, weir_program_info_t *out_info);
weir_code_t weir_chaos_program_save(
    weir_handle_t program, void *destination, uint64_t *inout_bytes);
weir_code_t weir_chaos_artifact_check(weir_handle_t device, const void *data, uint64_t bytes);
weir_code_t weir_chaos_program_load(weir_handle_t device, const weir_slice_t *slice,
    const void *data, uint64_t bytes, weir_handle_t *out_program);
weir_code_t weir_chaos_specialize(
    weir_handle_t program, const weir_slice_t *slice, weir_specialized_t *out_specialized);
void weir_chaos_specialization_release(weir_handle_t specialization);
weir_code_t weir_chaos_record(weir_handle_t specialization, const weir_binding_t *bindings,
    uint32_t binding_count, weir_handle_t *out_recording);
void weir_chaos_recording_release(weir_handle_t recording);
weir_code_t weir_chaos_claim(weir_handle_t device, const weir_slice_t *graph, weir_claim_t *claims);
// What a launch asks for; on the device's thread.
weir_code_t weir_chaos_run_slice(
    weir_chaos_specialization_t *specialization, const weir_chaos_entry_t *entry, char *out_error);

// ---- Queues (queue.c, entry.c) ------------------------------------------------------------------

typedef enum weir_chaos_kind {
    WEIR_CHAOS_ENTRY_COPY,
    WEIR_CHAOS_ENTRY_EXECUTE,
    WEIR_CHAOS_ENTRY_LAUNCH,
} weir_chaos_kind_t;

// A piece of work. It holds copies of all that it was given.
struct weir_chaos_entry {
    weir_chaos_entry_t *next;
    struct weir_chaos_queue *queue;
    weir_chaos_kind_t kind;
    weir_chaos_specialization_t *specialization; // of a launch; NULL: released meanwhile
    weir_binding_t *bindings; // of a launch (the last is the scratch) or an execution
    weir_copy_region_t *regions;
    weir_timeline_point_t *waits, *signals;
    uint32_t binding_count, region_count, wait_count, signal_count;
    weir_binding_t scratch; // of an execution
    weir_chaos_node_t node; // of an execution
    uint32_t node_number;
    bool is_profiled;
    bool is_struck;           // `fault` is decided, once it is the first of its queue
    weir_chaos_fault_t fault; // what becomes of it
    uint64_t id;
    uint64_t due_ns;         // not before
    uint64_t capacity_bytes; // of the block behind this, where the arrays lie
};

typedef struct weir_chaos_queue {
    struct weir_chaos_queue *next; // of the device
    weir_chaos_device_t *device;
    weir_chaos_entry_t *first, **last;
} weir_chaos_queue_t;

weir_code_t weir_chaos_queue_create(weir_handle_t device, weir_handle_t *out_queue);
void weir_chaos_queue_destroy(weir_handle_t device, weir_handle_t queue);
weir_code_t weir_chaos_copy(weir_handle_t queue, const weir_copy_region_t *regions,
    uint32_t region_count, const weir_timeline_point_t *waits, uint32_t wait_count,
    const weir_timeline_point_t *signals, uint32_t signal_count);
weir_code_t weir_chaos_execute(weir_handle_t queue, const weir_execution_t *execution,
    const weir_timeline_point_t *waits, uint32_t wait_count, const weir_timeline_point_t *signals,
    uint32_t signal_count);
weir_code_t weir_chaos_launch(weir_handle_t queue, const weir_launch_t *launch);
weir_code_t weir_chaos_wait_idle(weir_handle_t device);

// An entry like `like`, whose arrays are copied, with `extra_bytes` behind them (*out_extra,
// aligned to 16 bytes). NULL: no memory.
weir_chaos_entry_t *weir_chaos_entry_new(weir_chaos_device_t *device,
    const weir_chaos_entry_t *like, uint64_t extra_bytes, void **out_extra);
void weir_chaos_entry_retire(weir_chaos_device_t *device, weir_chaos_entry_t *entry);
// Does what the entry asks for, faults included, and signals. On the device's thread.
void weir_chaos_entry_run(weir_chaos_device_t *device, weir_chaos_entry_t *entry);
// The device's thread.
void weir_chaos_device_main(void *device);
// Forgets what is queued of a specialization (queue NULL) or a queue, and waits for what runs.
void weir_chaos_forget(weir_chaos_device_t *device,
    const weir_chaos_specialization_t *specialization, const weir_chaos_queue_t *queue);

// ---- Devices (device.c, edge.c) -----------------------------------------------------------------

struct weir_chaos_device {
    weir_chaos_state_t *state;
    const weir_host_t *host;
    uint32_t index, slot;
    weir_chaos_memory_t *memory;
    atomic_bool is_lost;
    void *thread;
    // Under the state's lock.
    bool is_stopping;
    weir_chaos_queue_t *queues;
    weir_chaos_entry_t *running, *spare;
    uint32_t spare_count;
    uint64_t started_ns; // for the clock
    // Records of the launch that runs; the thread's own.
    weir_trace_record_t traces[64];
    uint32_t trace_count;
};

weir_chaos_device_t *weir_chaos_device(weir_handle_t device);
// The device is gone: calls say so, the thread fails all that is queued.
void weir_chaos_lose(weir_chaos_device_t *device);
uint64_t weir_chaos_now_ns(void);
uint64_t weir_chaos_device_ns(const weir_chaos_device_t *device, uint64_t host_ns);
void weir_chaos_trace(weir_chaos_device_t *device, uint64_t id, uint32_t node, uint64_t start_ns);
void weir_chaos_trace_flush(weir_chaos_device_t *device);

weir_code_t weir_chaos_enumerate(
    const weir_host_t *host, uint32_t index, weir_device_info_t *out_info);
weir_code_t weir_chaos_open(const weir_host_t *host, uint32_t index, weir_handle_t *out_device);
void weir_chaos_close(weir_handle_t device);
weir_code_t weir_chaos_clock(weir_handle_t device, uint64_t *out_device_ns, uint64_t *out_host_ns);
weir_code_t weir_chaos_edge(weir_handle_t device, weir_handle_t peer, weir_edge_t *out_edge);
weir_code_t weir_chaos_export_buffer(
    weir_handle_t device, weir_handle_t buffer, weir_export_t *out_export);
weir_code_t weir_chaos_import_buffer(
    weir_handle_t device, const weir_export_t *exported, weir_handle_t *out_buffer);

// ---- The wrapped plugin and the state (wrap.c, plugin.c) ----------------------------------------

// What the wrapped plugin sees of the engine.
typedef struct weir_chaos_inner {
    weir_host_t abi; // the first member
    const weir_host_t *outer;
    void *plugin_state; // the wrapped plugin's own
} weir_chaos_inner_t;

struct weir_chaos_state {
    const weir_host_t *host;
    weir_chaos_inner_t inner;
    weir_plugin_t wrapped;
    weir_kernel_t *kernels;   // [kernel_count] the wrapped plugin's, with run()
    weir_kernel_t *published; // the same without
    uint32_t kernel_count;
    weir_option_t *options; // ours, then the wrapped plugin's
    weir_plugin_t plugin;   // what the engine gets
    weir_device_table_t table;
    char build[160];
    char label[64];

    // Options, read by probe() or the first call after it.
    bool is_configured;
    uint32_t device_count, delay_us, jitter_us, replay, edge_kind;
    uint64_t memory_bytes;
    bool has_pinned, is_host_memory, owns_constants;

    pthread_mutex_t lock;
    pthread_cond_t changed; // for the devices' threads and who waits for them
    weir_chaos_rule_t rules[WEIR_CHAOS_RULES_MAX];
    uint32_t rule_count;
    uint64_t random;
    weir_chaos_device_t *devices[WEIR_CHAOS_DEVICES_MAX]; // open ones
    weir_chaos_timeline_t timelines[WEIR_CHAOS_SETS][WEIR_CHAOS_WAYS];
    atomic_ullong copies, runs, misuses;
};

// The state of the engine behind `host`; NULL: not loaded there.
weir_chaos_state_t *weir_chaos_state(const weir_host_t *host);
// Reads the options, once. false: out_reason says what is wrong.
bool weir_chaos_configure(weir_chaos_state_t *state, char *out_reason);
// Loads the wrapped plugin into the state. Says why not through host->fail().
weir_code_t weir_chaos_wrap(weir_chaos_state_t *state);
// The number, in the wrapped plugin's table, of a kernel that the engine has a copy of;
// WEIR_CHAOS_NONE.
uint32_t weir_chaos_kernel_number(const weir_chaos_state_t *state, const weir_kernel_t *kernel);
// The first kernel that takes this row-major node; out_support: its answer, or a "no".
uint32_t weir_chaos_kernel_for(
    const weir_chaos_state_t *state, const weir_node_t *node, weir_support_t *out_support);

#endif
