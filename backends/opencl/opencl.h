// backends/opencl/opencl.h: what the files of the plugin's host share.
//
// Data: one state per engine (weir_host_t.state) with the list of devices; one device per open()
// with a context, its buffers, its queues, and the programs that are built now. Everything that
// was given to a queue is a flight: it holds copies of the signals and is landed by the driver's
// callback, in order.
//
// Locks: a state's (the list), a device's (buffers, programs, flights, points), a specialization's
// (the arguments of its kernels, while they are set and enqueued). The last may be held when the
// device's is taken, not the other way round. None is held while a timeline is signalled.
//
// It must not block a launch on the device, or keep a thread of its own: the driver's are all.
#ifndef WEIR_BACKENDS_OPENCL_OPENCL_H
#define WEIR_BACKENDS_OPENCL_OPENCL_H

#include "backends/opencl/recipe.h"

#include <CL/cl.h>
#include <pthread.h>
#include <stdatomic.h>

#define WEIR_CL_DEVICES_MAX 32

typedef struct weir_cl_state weir_cl_state_t;
typedef struct weir_cl_device weir_cl_device_t;

// ---- The list (list.c, vendor.c) ----------------------------------------------------------------

// A device as it is listed. id NULL: the driver has not been loaded yet.
typedef struct weir_cl_listed {
    cl_platform_id platform;
    cl_device_id id;
    uint32_t part, part_count; // the part of it that this one is; part_count 0: the whole
    bool is_cpu;
    char name[64], arch[32];
    uint8_t uuid[16];
    uint64_t memory_bytes;
} weir_cl_listed_t;

struct weir_cl_state {
    const weir_host_t *host;
    pthread_mutex_t lock;
    weir_plugin_t plugin; // the table, of this engine's family
    weir_cl_family_t family;
    bool is_listed;     // the list is made
    bool is_asked;      // the driver made it
    bool has_lost_once; // by `lose_after`
    uint32_t count;
    weir_cl_listed_t devices[WEIR_CL_DEVICES_MAX];
    char reason[WEIR_REASON_BYTES]; // why there are none
};

// The values of options that are asked for in more than one place.
const char *weir_cl_option(const weir_host_t *host, const char *name, const char *otherwise);
uint64_t weir_cl_number(const weir_host_t *host, const char *name, uint64_t otherwise);

// Makes the list, once. need_driver: without what is known from the vendor files alone.
void weir_cl_list(weir_cl_state_t *state, bool need_driver);
weir_code_t weir_cl_enumerate(
    const weir_host_t *host, uint32_t index, weir_device_info_t *out_info);
weir_code_t weir_cl_probe(const weir_host_t *host, weir_support_t *out_support);

// What the loader would find: known without loading a driver.
typedef enum weir_cl_vendors {
    WEIR_CL_VENDORS_NONE,
    WEIR_CL_VENDORS_POCL, // and nothing else
    WEIR_CL_VENDORS_OTHER,
} weir_cl_vendors_t;
weir_cl_vendors_t weir_cl_vendors(void);
// Why the loader finds no platform. has_files: there are vendor files, whose libraries are tried.
void weir_cl_vendor_reason(bool has_files, char *out_reason, size_t bytes);
// The platforms. Settings of PoCL that the user did not make are made for this call alone.
cl_int weir_cl_platforms(
    const weir_host_t *host, cl_platform_id *out_platforms, cl_uint room, cl_uint *out_count);

// ---- Devices (device.c) -------------------------------------------------------------------------

typedef struct weir_cl_buffer {
    struct weir_cl_buffer *next, **from; // of the device
    cl_mem memory;                       // NULL: host memory, which only copies meet
    void *host;                          // what the host sees; NULL: nothing
    void *block;                         // of host->alloc, behind `host`
    uint64_t bytes;
    uint64_t serial;       // no other buffer or queue of the device has or had it
    bool is_mapped_memory; // `host` is a mapping of `memory`
} weir_cl_buffer_t;

// A program that is built, as long as something uses it.
typedef struct weir_cl_source weir_cl_source_t;

typedef struct weir_cl_flight weir_cl_flight_t;
typedef struct weir_cl_queue weir_cl_queue_t;

struct weir_cl_device {
    weir_cl_state_t *state;
    const weir_host_t *host;
    uint32_t index;
    cl_platform_id platform;
    cl_device_id id;
    bool is_part; // `id` is ours to release
    cl_context context;
    cl_command_queue commands; // for mapping, compiling and the clock
    weir_cl_facts_t facts;
    bool is_unified; // memory of the host's: buffers lie in it
    bool has_exact_division;
    bool keeps_binaries;
    char stamp[160]; // names device, driver and platform: part of the keys of binaries
    uint64_t memory_bytes, buffer_bytes_max;
    uint64_t lose_after;
    uint64_t patience_ms; // with what must end before memory goes
    pthread_mutex_t lock;
    pthread_cond_t landed; // a flight has, or a thread has landed all that had ended
    weir_cl_buffer_t *buffers;
    weir_cl_queue_t *queues;
    weir_cl_source_t *sources;
    uint64_t used_bytes;
    uint64_t build_count, cached_count; // of programs
    int64_t matmul_rows;                // what tune.c found; 0: nothing was tried yet
    uint32_t flying;
    bool is_hung;      // something did not end within the patience
    bool is_stuck;     // a command in `commands` did not
    bool is_abandoned; // closed while something hangs: whatever ends later touches only this
    atomic_bool is_lost;
    atomic_uint_fast64_t launches;
    atomic_uint_fast64_t serials; // of buffers and queues, given so far
};

weir_cl_device_t *weir_cl_device(weir_handle_t handle);
weir_code_t weir_cl_open(const weir_host_t *host, uint32_t index, weir_handle_t *out_device);
void weir_cl_close(weir_handle_t device);
weir_code_t weir_cl_clock(weir_handle_t device, uint64_t *out_device_ns, uint64_t *out_host_ns);
weir_code_t weir_cl_edge(weir_handle_t device, weir_handle_t peer, weir_edge_t *out_edge);
weir_code_t weir_cl_wait_idle(weir_handle_t device);
// OK, or that the device was lost.
weir_code_t weir_cl_enter(weir_cl_device_t *device);
// What an error that a call of the driver returned is, with a text; loses the device where it means
// that. Not from a driver's callback: it may ask the device whether it is still there.
weir_code_t weir_cl_failure(weir_cl_device_t *device, cl_int error, const char *call);
#define WEIR_CL_SAID_BYTES 192
// The same, with the text in `out_text` instead.
weir_code_t weir_cl_explain(
    weir_cl_device_t *device, cl_int error, const char *call, char out_text[WEIR_CL_SAID_BYTES]);
// What an error of making `what` is while a plan is made: UNSUPPORTED, so that the plan can do
// without the device, unless that is lost or memory is short now, which a later plan may not find.
weir_code_t weir_cl_refusal(weir_cl_device_t *device, cl_int error, const char *what);
// Flushes the queue and waits for one of its commands, no longer than the patience (in the device's
// own queue a minute at least). How it ended, or WEIR_CL_HANGS: then the device is lost. Never from
// a driver's callback.
#define WEIR_CL_HANGS (-30001) // no error of OpenCL's
cl_int weir_cl_wait(weir_cl_device_t *device, cl_command_queue commands, cl_event event);
// The same of an event that ended badly.
weir_code_t weir_cl_event_code(weir_cl_device_t *device, cl_int status);
const char *weir_cl_error_name(cl_int error);
// An in-order queue that takes times.
cl_command_queue weir_cl_commands_new(const weir_cl_device_t *device, cl_int *out_error);
uint64_t weir_cl_now_ns(void);

// ---- Memory (memory.c) --------------------------------------------------------------------------

weir_code_t weir_cl_alloc(
    weir_handle_t device, uint32_t memory, uint64_t bytes, weir_handle_t *out_buffer);
void weir_cl_free(weir_handle_t device, weir_handle_t buffer);
weir_code_t weir_cl_map(weir_handle_t device, weir_handle_t buffer, void **out_pointer);
void weir_cl_unmap(weir_handle_t device, weir_handle_t buffer);
weir_code_t weir_cl_wrap_host(
    weir_handle_t device, void *memory, uint64_t bytes, weir_handle_t *out_buffer);
weir_code_t weir_cl_memory_info(weir_handle_t device, uint64_t *out_used, uint64_t *out_total);
void weir_cl_buffers_free(weir_cl_device_t *device);
weir_cl_buffer_t *weir_cl_buffer(weir_handle_t handle);

// ---- Queues and flights (queue.c, flight.c) -----------------------------------------------------

#define WEIR_CL_SIGNALS_MAX 4 // that a flight holds without memory of its own
#define WEIR_CL_WAITS_MAX 16  // of one command that waits

// One call of copy() or launch() on its way. Flights are used again.
struct weir_cl_flight {
    weir_cl_flight_t *next; // behind it in the queue, or in the pool
    weir_cl_queue_t *queue;
    struct weir_cl_specialization *specialization; // whose launch it is, or NULL
    weir_timeline_point_t signals[WEIR_CL_SIGNALS_MAX];
    weir_timeline_point_t *more_signals; // NULL: `signals` holds all
    uint32_t signal_count;
    uint32_t slot;     // of the queue's error words
    cl_int error_word; // read back when the launch has ended
    bool reads_error;
    bool is_dirty;    // the slot is not 0 any more
    bool has_ended;   // the driver said so
    cl_int status;    // of the event; CL_COMPLETE: well
    weir_code_t code; // not OK: it could not be enqueued whole, and `text` says why
    char text[WEIR_CL_SAID_BYTES];
    cl_event event; // its marker; waits of other queues need it
    // Events of its commands: each may fail alone, and the marker ends well all the same. Of a
    // profiled launch also whose times they have.
    cl_event *events;
    uint32_t *nodes; // WEIR_CL_NO_NODE: of none
    uint32_t event_count, event_room;
    bool is_profiled;
    uint64_t launch_id;
};

struct weir_cl_queue {
    struct weir_cl_queue *next; // of the device
    weir_cl_device_t *device;
    cl_command_queue commands;
    cl_mem errors;   // WEIR_CL_ERROR_SLOTS words, 64 bytes apart
    uint64_t serial; // as a buffer's
    // Under the device's lock:
    weir_cl_flight_t *first, **last; // in the air, in order
    weir_cl_flight_t *pool;
    uint32_t slot_count; // taken by flights
    uint32_t flying;
    bool is_landing; // a thread signals what has ended
};

#define WEIR_CL_ERROR_SLOTS 256
#define WEIR_CL_ERROR_STEP 64
#define WEIR_CL_NO_NODE UINT32_MAX

weir_code_t weir_cl_queue_create(weir_handle_t device, weir_handle_t *out_queue);
void weir_cl_queue_destroy(weir_handle_t device, weir_handle_t queue);
weir_code_t weir_cl_copy(weir_handle_t queue, const weir_copy_region_t *regions,
    uint32_t region_count, const weir_timeline_point_t *waits, uint32_t wait_count,
    const weir_timeline_point_t *signals, uint32_t signal_count);

// A flight with copies of the signals and room for the events of its waits and commands, not in the
// queue yet. NULL: no memory.
weir_cl_flight_t *weir_cl_flight_new(weir_cl_queue_t *queue, uint32_t wait_count,
    uint32_t command_count, const weir_timeline_point_t *signals, uint32_t signal_count);
// It was not begun after all.
void weir_cl_flight_drop(weir_cl_flight_t *flight);
// Where the driver puts the event of the next command; flown() says that it did.
cl_event *weir_cl_flight_event(weir_cl_flight_t *flight);
void weir_cl_flight_flown(weir_cl_flight_t *flight, uint32_t node);
// It lands when what its queue was given ends, and the queue is flushed. error, of `call`, is
// why not all of it could be enqueued: what was is still on its way, so that the flight lands after
// it, with that error; of a device that is lost its signals fail at once. Where nothing was it is
// dropped, and the error returned.
weir_code_t weir_cl_flight_start(weir_cl_flight_t *flight, cl_int error, const char *call);
const weir_timeline_point_t *weir_cl_flight_signals(const weir_cl_flight_t *flight);
void weir_cl_flights_free(weir_cl_queue_t *queue);
// The flight's queue is held back until `waits` are reached: a command that waits for their events.
cl_int weir_cl_await(
    weir_cl_flight_t *flight, const weir_timeline_point_t *waits, uint32_t wait_count);
// Until nothing of the specialization (NULL: of the device) is in the air. false: it hangs.
bool weir_cl_settle(weir_cl_device_t *device, const struct weir_cl_specialization *specialization);
bool weir_cl_settle_queue(const weir_cl_queue_t *queue);

// ---- Programs (program.c, source.c, artifact.c) -------------------------------------------------

typedef struct weir_cl_kernel {
    weir_cl_source_t *source;
    char entry[48];
    char arguments[WEIR_CL_ARGS_MAX + 1];
    uint32_t local[3];
} weir_cl_kernel_t;

// A node of a program: its row, its kernels, what build() noted.
typedef struct weir_cl_member {
    const weir_cl_operator_t *row;
    uint32_t kernel_count;
    weir_cl_kernel_t kernels[WEIR_CL_KERNELS_MAX];
    weir_cl_built_t built;
} weir_cl_member_t;

typedef struct weir_cl_program {
    weir_cl_device_t *device;
    // What program_save() told the size of, until it is written: a driver's binary may grow
    // between.
    void *image;
    uint64_t image_bytes;
    uint32_t member_count;
    weir_cl_member_t members[];
} weir_cl_program_t;

// A binary that somebody kept, looked for by the hash of its source.
typedef struct weir_cl_binaries {
    const void *data; // an artifact that was checked; NULL: none
    uint64_t bytes;
} weir_cl_binaries_t;

weir_cl_program_t *weir_cl_program(weir_handle_t handle);
weir_code_t weir_cl_compile(
    weir_handle_t device, const weir_slice_t *slice, weir_handle_t *out_program);
weir_code_t weir_cl_program_make(weir_cl_device_t *device, const weir_slice_t *slice,
    const weir_cl_binaries_t *binaries, weir_handle_t *out_program);
void weir_cl_program_release(weir_handle_t program);
weir_code_t weir_cl_program_info(weir_handle_t program, weir_program_info_t *out_info);
weir_code_t weir_cl_program_save(weir_handle_t program, void *destination, uint64_t *inout_bytes);
weir_code_t weir_cl_artifact_check(weir_handle_t device, const void *data, uint64_t bytes);
weir_code_t weir_cl_program_load(weir_handle_t device, const weir_slice_t *slice, const void *data,
    uint64_t bytes, weir_handle_t *out_program);

// A program of the driver's, shared by all that have the same text.
struct weir_cl_source {
    weir_cl_source_t *next;
    uint64_t hash[2];
    uint32_t references;
    bool is_kept; // its binary comes from the cache, or is there
    cl_program program;
};
// head: the defines of family and work-group; own: the operator's texts.
weir_code_t weir_cl_source_get(weir_cl_device_t *device, const char *name, const char *head,
    const char *own, const weir_cl_binaries_t *binaries, weir_cl_source_t **out_source);
void weir_cl_source_release(weir_cl_device_t *device, weir_cl_source_t *source);
// Makes the driver compile what it would only compile at the first launch.
weir_code_t weir_cl_source_warm(weir_cl_device_t *device, const weir_cl_kernel_t *kernel);
// Puts its binary into the engine's cache, with all that warming it made.
void weir_cl_source_keep(weir_cl_device_t *device, weir_cl_source_t *source);
// The driver's binary, in memory of host->alloc.
weir_code_t weir_cl_source_binary(
    weir_cl_device_t *device, cl_program program, void **out_data, uint64_t *out_bytes);
// One that is kept in an artifact; false: none.
bool weir_cl_artifact_find(const weir_cl_binaries_t *binaries, const uint64_t hash[2],
    const void **out_data, uint64_t *out_bytes);
// "does not build …", of the last kernel that did not; untouched: all did.
void weir_cl_broken_get(const weir_host_t *host, char *out_text, size_t bytes);
void weir_cl_hash(const void *data, uint64_t bytes, uint64_t inout_hash[2]);
// The embedded text of "cpu/gemm"; NULL: there is none.
const char *weir_cl_embedded(const char *name);

// What build() talks to (builder.c).
#define WEIR_CL_TEXT_BYTES (48u << 10)
struct weir_cl_builder {
    weir_cl_device_t *device;
    int64_t matmul_rows;
    const weir_cl_binaries_t *binaries;
    weir_cl_member_t *member;
    weir_code_t code; // of the first failure
    uint32_t length;  // of `text`
    char name[64];    // of the source said last
    uint32_t local[3];
    bool is_said; // `text` is of the kernel said last
    char text[WEIR_CL_TEXT_BYTES];
};

// Rows of a tile in the cpu family's product, tried out where the slice makes that worth it
// (tune.c).
int64_t weir_cl_tune(weir_cl_device_t *device, const weir_slice_t *slice);

// ---- Specializations (specialize.c, launch.c) ---------------------------------------------------

// A dispatch whose kernel has its own arguments.
typedef struct weir_cl_step {
    cl_kernel kernel;
    uint32_t node;      // of the slice
    uint32_t first_use; // of `uses`
    uint32_t use_count;
    size_t global[3], local[3];
} weir_cl_step_t;

// An argument that a launch sets: a tensor, the scratch or the error word.
typedef struct weir_cl_use {
    uint32_t argument;
    uint32_t binding; // tensor of the slice; tensor_count: the scratch; UINT32_MAX: the error word
    uint64_t offset;
} weir_cl_use_t;

// A place that an argument has. What was freed may lend its cl_mem's value to what comes after it,
// so the serial says whether it is the same.
typedef struct weir_cl_bound {
    cl_mem memory;
    uint64_t serial; // of the buffer, or of the queue for its error words; 0: no buffer
    uint64_t offset;
} weir_cl_bound_t;

typedef struct weir_cl_specialization {
    weir_cl_program_t *program;
    weir_cl_device_t *device;
    pthread_mutex_t lock; // arguments are set and enqueued under it
    uint32_t tensor_count;
    uint32_t step_count, use_count;
    weir_cl_step_t *steps;
    weir_cl_use_t *uses;
    weir_cl_bound_t *bound; // [use_count] as they are set now; offset UINT64_MAX: not at all
    uint64_t *bytes;        // [tensor_count + 1] that each binding must have
    uint64_t scratch_bytes;
    bool has_errors; // a kernel may say that data are wrong
    uint32_t flying; // under the device's lock
} weir_cl_specialization_t;

weir_code_t weir_cl_specialize(
    weir_handle_t program, const weir_slice_t *slice, weir_specialized_t *out_specialized);
void weir_cl_specialization_release(weir_handle_t specialization);
weir_code_t weir_cl_launch(weir_handle_t queue, const weir_launch_t *launch);

#endif
