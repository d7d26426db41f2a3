// backends/cuda/cuda.h: what the files of the host part share.
//
// Data: one state per engine (weir_host_t.state) with the libraries and the options; one device per
// open() with the primary context, memory, modules, queues and one reaper thread. A queue is a
// stream and a list of operations under way, each with an event; the reaper polls the events in
// order and signals. Operators speak recipe.h and know nothing of this.
//
// Locks: the state's (libraries, list of open devices), the device's (everything listed in it), and
// one around calls of each cuDNN handle. None is held while a timeline is signalled. The state's is
// never taken under the device's.
//
// It must not block a thread that launches or copies, link a library of CUDA, or keep a pointer of
// a call longer than the contract says.
#ifndef WEIR_BACKENDS_CUDA_CUDA_H
#define WEIR_BACKENDS_CUDA_CUDA_H

#include "backends/cuda/recipe.h"

#include <weir/plugin.h>

#include <cuda.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define WEIR_CUDA_DEVICES_MAX 16
#define WEIR_CUDA_VERSION_BYTES 48

typedef struct weir_cuda_state weir_cuda_state_t;
typedef struct weir_cuda_device weir_cuda_device_t;
typedef struct weir_cuda_queue weir_cuda_queue_t;
typedef struct weir_cuda_specialization weir_cuda_specialization_t;
typedef struct weir_cuda_recording weir_cuda_recording_t;
typedef struct weir_cuda_matmuls weir_cuda_matmuls_t; // cuBLASLt of a device (matmul.c)
typedef struct weir_cuda_convs weir_cuda_convs_t;     // cuDNN of a device (conv.c)

// ---- Libraries (library.c) ----------------------------------------------------------------------

// Each function under its versioned name: driver.cuMemAlloc is driver.cuMemAlloc_v2.
typedef struct weir_cuda_driver {
#define WEIR_CUDA_CALL(name) __typeof__(name) *name;
#include "backends/cuda/driver.inc"
#undef WEIR_CUDA_CALL
} weir_cuda_driver_t;

typedef enum weir_cuda_library_id {
    WEIR_CUDA_LIBRARY_DRIVER,
    WEIR_CUDA_LIBRARY_NVRTC,
    WEIR_CUDA_LIBRARY_CUBLASLT,
    WEIR_CUDA_LIBRARY_CUDNN,
    WEIR_CUDA_LIBRARY_CUPTI,
    WEIR_CUDA_LIBRARY_COUNT,
} weir_cuda_library_id_t;

typedef struct weir_cuda_library {
    void *handle; // NULL: not there
    bool is_tried;
    char version[WEIR_CUDA_VERSION_BYTES];
    char reason[WEIR_REASON_BYTES]; // why it is not there
} weir_cuda_library_t;

// Loads a library, once. NULL: library->reason says why not. Under the state's lock.
void *weir_cuda_library(weir_cuda_state_t *state, weir_cuda_library_id_t id);
// dlsym() that says in the library's reason what is missing.
void *weir_cuda_symbol(weir_cuda_state_t *state, weir_cuda_library_id_t id, const char *name);
// A library that turns out to be of no use: it is given up.
void weir_cuda_library_drop(
    weir_cuda_state_t *state, weir_cuda_library_id_t id, const char *format, ...);
// Loads and initialises the driver, once. UNAVAILABLE: state->libraries[DRIVER].reason says why.
weir_code_t weir_cuda_driver_start(weir_cuda_state_t *state);

// ---- Compiling (compiler.c) ---------------------------------------------------------------------

// Is NVRTC there? Loads it, once. Under the state's lock.
bool weir_cuda_compiler_there(weir_cuda_state_t *state);
#define WEIR_CUDA_SAID_BYTES 640 // of what the compiler says; more is cut off

// Compiles for sm_<arch>. *out_image is of host->alloc. Else out_reason is why not: the text of a
// failure is the thread's, and this runs on threads of the engine's team. [A]
weir_code_t weir_cuda_compile_source(weir_cuda_state_t *state, uint32_t arch, const char *source,
    const char *entry, void **out_image, uint64_t *out_bytes,
    char out_reason[WEIR_CUDA_SAID_BYTES]);

// ---- The state (plugin.c) -----------------------------------------------------------------------

struct weir_cuda_state {
    const weir_host_t *host;
    pthread_mutex_t lock;
    weir_cuda_driver_t driver;
    bool is_started, is_usable;
    uint32_t device_count;
    weir_cuda_library_t libraries[WEIR_CUDA_LIBRARY_COUNT];
    struct weir_cuda_compiler *compiler;

    weir_kernel_t *kernels;       // [kernel_count] as the engine gets them
    const weir_cuda_row_t **rows; // [kernel_count]
    uint32_t kernel_count;
    weir_plugin_t plugin;

    // Options.
    bool is_configured;
    weir_cuda_precision_t precision;
    uint64_t budget_bytes, keep_bytes, chunk_bytes; // budget 0: what the device has
    uint32_t graphs_max;
    bool uses_mapping, uses_nvtx, uses_peers;
};

// The state of the engine behind `host`; NULL: not loaded there.
weir_cuda_state_t *weir_cuda_state(const weir_host_t *host);
// Reads the options, once. false: out_reason says what is wrong.
bool weir_cuda_configure(weir_cuda_state_t *state, char *out_reason);
// The row of a kernel that the engine has a copy of; NULL: none.
const weir_cuda_row_t *weir_cuda_row(const weir_cuda_state_t *state, const weir_kernel_t *kernel);

// ---- Errors (error.c) ---------------------------------------------------------------------------

// Is nothing to be had from the context after this?
bool weir_cuda_is_sticky(CUresult result);
// The code for a result, and the text "call: CUDA_ERROR_X" for the engine. A sticky error loses the
// device.
weir_code_t weir_cuda_check(weir_cuda_device_t *device, CUresult result, const char *call);
// The device is gone: calls say so, the reaper fails all that is under way.
void weir_cuda_lose(weir_cuda_device_t *device, const char *why);
// What cuBLASLt or cuDNN was asked for when it failed.
typedef enum weir_cuda_asked {
    WEIR_CUDA_ASKED_PLAN,
    WEIR_CUDA_ASKED_CAPTURE, // nothing runs: the recording is refused
    WEIR_CUDA_ASKED_LAUNCH,
} weir_cuda_asked_t;
// Fails with this text, which is then this thread's last.
weir_code_t weir_cuda_fail(weir_cuda_device_t *device, weir_code_t code, const char *text);
// UNSUPPORTED: the own kernels take over, and the log says "own kernel" and why.
weir_code_t weir_cuda_stay_own(weir_cuda_device_t *device, const char *why);
// The same for a library that is not there: its reason.
void weir_cuda_library_missed(weir_cuda_device_t *device, weir_cuda_library_id_t id);
// The code and the text for a library's failure whose own code would be `code`. DEVICE_LOST loses
// the device, except in a capture. INTERNAL in a plan is UNSUPPORTED, as above.
weir_code_t weir_cuda_library_failed(weir_cuda_device_t *device, weir_cuda_asked_t asked,
    weir_code_t code, const char *call, const char *said);
// The head of a call: the context becomes the thread's current one, until weir_cuda_leave(), which
// each call that entered ends with: whatever was current before is so again. DEVICE_LOST if the
// device is lost.
weir_code_t weir_cuda_enter(weir_cuda_device_t *device);
// The same for calls that only free, of a lost device, too. false: nothing to leave.
bool weir_cuda_enter_to_free(weir_cuda_device_t *device);
void weir_cuda_leave(weir_cuda_device_t *device);
// What this thread's last failure said.
void weir_cuda_failed_text(weir_cuda_device_t *device, char *out_text, size_t bytes);

// ---- Memory (memory.c, pool.c) ------------------------------------------------------------------

typedef struct weir_cuda_buffer {
    struct weir_cuda_buffer *next, **from; // of the device
    weir_cuda_device_t *device;
    CUdeviceptr address;
    void *host; // of a pinned one
    uint64_t bytes;
    uint64_t cost_bytes;   // that the device has less: whole chunks or pages
    uint64_t mapped_bytes; // of the address range, if it is mapped; else 0
    CUmemGenericAllocationHandle *chunks;
    uint32_t chunk_count;
    uint32_t kind; // WEIR_MEMORY_*
    bool is_wrapped;
} weir_cuda_buffer_t;

// Physical memory that no buffer has now.
typedef struct weir_cuda_pool {
    bool is_on; // the device can map
    uint64_t grain_bytes, chunk_bytes;
    CUmemGenericAllocationHandle *free;
    uint32_t free_count, free_capacity;
} weir_cuda_pool_t;

void weir_cuda_pool_open(weir_cuda_device_t *device);
void weir_cuda_pool_close(weir_cuda_device_t *device);
// A buffer of chunks at one address range, out of the pool and the driver.
weir_code_t weir_cuda_pool_map(weir_cuda_device_t *device, weir_cuda_buffer_t *buffer);
void weir_cuda_pool_unmap(weir_cuda_device_t *device, weir_cuda_buffer_t *buffer);
// Gives free chunks back to the driver until at most `keep_bytes` are left. Under the device's
// lock.
void weir_cuda_pool_trim(weir_cuda_device_t *device, uint64_t keep_bytes);

weir_code_t weir_cuda_alloc(
    weir_handle_t device, uint32_t memory, uint64_t bytes, weir_handle_t *out_buffer);
void weir_cuda_free(weir_handle_t device, weir_handle_t buffer);
weir_code_t weir_cuda_map(weir_handle_t device, weir_handle_t buffer, void **out_pointer);
void weir_cuda_unmap(weir_handle_t device, weir_handle_t buffer);
weir_code_t weir_cuda_wrap_host(
    weir_handle_t device, void *memory, uint64_t bytes, weir_handle_t *out_buffer);
weir_code_t weir_cuda_memory_info(weir_handle_t device, uint64_t *out_used, uint64_t *out_total);
// Frees all buffers.
void weir_cuda_memory_close(weir_cuda_device_t *device);
// The address of a binding. false: it leaves its buffer, or is in host memory that is not pinned.
bool weir_cuda_address(const weir_binding_t *binding, CUdeviceptr *out_address);

// Words that kernels say errors in: pinned, mapped; more of them are made when all are taken.
weir_code_t weir_cuda_word_take(weir_cuda_device_t *device, uint32_t **out_word);
void weir_cuda_word_give(weir_cuda_device_t *device, uint32_t *word);

// ---- Queues (queue.c, reaper.c) -----------------------------------------------------------------

// An operation under way. Those of a queue end in order.
typedef struct weir_cuda_operation {
    struct weir_cuda_operation *next;
    weir_cuda_queue_t *queue;
    CUevent event;
    weir_cuda_specialization_t *specialization; // NULL: a copy
    weir_cuda_recording_t *recording;           // NULL: enqueued
    uint32_t *word;                             // of the kernels' errors; NULL: none
    // Something was enqueued, and then a call failed: that is said when the former has ended.
    bool is_dirty, is_without_event; // the latter: the stream is asked
    weir_code_t failure;
    char failure_text[WEIR_REASON_BYTES];
    weir_timeline_point_t *signals;
    uint32_t signal_count, signal_capacity;
    // Of a profiled launch: an event before each node and one at the end.
    CUevent *stamps;
    uint32_t *stamp_nodes;
    uint32_t stamp_count, stamp_capacity;
    uint64_t launch_id;
} weir_cuda_operation_t;

struct weir_cuda_queue {
    weir_cuda_queue_t *next; // of the device
    weir_cuda_device_t *device;
    CUstream stream;
    uint32_t *word;
    weir_cuda_operation_t *first, **last; // under way
    weir_cuda_operation_t *spare;
};

weir_code_t weir_cuda_queue_create(weir_handle_t device, weir_handle_t *out_queue);
void weir_cuda_queue_destroy(weir_handle_t device, weir_handle_t queue);
// Of one that is in no list. The reaper has ended or knows nothing of it.
void weir_cuda_queue_free(weir_cuda_queue_t *queue);
weir_code_t weir_cuda_copy(weir_handle_t queue, const weir_copy_region_t *regions,
    uint32_t region_count, const weir_timeline_point_t *waits, uint32_t wait_count,
    const weir_timeline_point_t *signals, uint32_t signal_count);
weir_code_t weir_cuda_wait_idle(weir_handle_t device);

// An operation that will signal; not under way yet.
weir_code_t weir_cuda_operation_new(weir_cuda_queue_t *queue, const weir_timeline_point_t *signals,
    uint32_t signal_count, weir_cuda_operation_t **out_operation);
// The stream waits for what signals these points, if that is still under way.
weir_code_t weir_cuda_operation_wait(
    weir_cuda_queue_t *queue, const weir_timeline_point_t *waits, uint32_t wait_count);
// Records its event behind all that the stream was given, and gives it to the reaper.
weir_code_t weir_cuda_operation_begin(weir_cuda_operation_t *operation);
// The end of a call that failed with `code`. If nothing was enqueued the operation is spare again.
// Else what was enqueued still uses memory: the operation is under way until that has ended, then
// its points fail; the call itself fails only if there are none.
weir_code_t weir_cuda_operation_fail(weir_cuda_operation_t *operation, weir_code_t code);
void weir_cuda_operation_drop(weir_cuda_operation_t *operation);
// Destroys an operation's events and its memory.
void weir_cuda_operation_free(weir_cuda_device_t *device, weir_cuda_operation_t *operation);

// The reaper's thread.
void weir_cuda_reaper_main(void *device);
// Waits until nothing under way is of this specialization, recording or queue (others NULL), or the
// device is lost.
void weir_cuda_reaper_wait(weir_cuda_device_t *device,
    const weir_cuda_specialization_t *specialization, const weir_cuda_recording_t *recording,
    const weir_cuda_queue_t *queue);

// ---- Programs (program.c, module.c) -------------------------------------------------------------

// A module on the device: one for each generated source, shared by programs.
typedef struct weir_cuda_module {
    struct weir_cuda_module *next; // of the device
    uint64_t hash[2];
    uint32_t users;
    CUmodule module;
    CUfunction function;
} weir_cuda_module_t;

// Loads the fatbin and looks up its kernels, once: programs do, so that specializations need not.
weir_code_t weir_cuda_modules_prepare(weir_cuda_device_t *device);
// A kernel of the fatbin; NULL: there is none of that name. No device call. [A]
CUfunction weir_cuda_module_entry(const weir_cuda_device_t *device, const char *entry);
// The module of a source that is there already, with one more user; NULL: none.
weir_cuda_module_t *weir_cuda_module_find(weir_cuda_device_t *device, const uint64_t hash[2]);
weir_code_t weir_cuda_module_load(weir_cuda_device_t *device, const uint64_t hash[2],
    const char *entry, const void *image, weir_cuda_module_t **out_module);
void weir_cuda_module_release(weir_cuda_device_t *device, weir_cuda_module_t *module);
void weir_cuda_modules_close(weir_cuda_device_t *device);

// A generated kernel of a node: number `source` of node `node`.
typedef struct weir_cuda_generated {
    uint32_t node, source;
    uint64_t hash[2];
    char entry[WEIR_CUDA_ENTRY_BYTES];
    weir_cuda_module_t *module;
    void *image; // kept for program_save()
    uint64_t image_bytes;
} weir_cuda_generated_t;

typedef struct weir_cuda_program {
    weir_cuda_device_t *device;
    uint64_t digest; // of the slice
    uint32_t node_count;
    uint32_t generated_count;
    weir_cuda_generated_t *generated;
    // Of convolutions whose dims are known without a run: made with the program, shared by its
    // specializations.
    void **conv_plans;
    uint32_t conv_count;
    const weir_cuda_row_t *rows[]; // [node_count]
} weir_cuda_program_t;

weir_code_t weir_cuda_compile(
    weir_handle_t device, const weir_slice_t *slice, weir_handle_t *out_program);
void weir_cuda_program_release(weir_handle_t program);
weir_code_t weir_cuda_program_info(weir_handle_t program, weir_program_info_t *out_info);
weir_code_t weir_cuda_program_save(weir_handle_t program, void *destination, uint64_t *inout_bytes);
weir_code_t weir_cuda_artifact_check(weir_handle_t device, const void *data, uint64_t bytes);
weir_code_t weir_cuda_program_load(weir_handle_t device, const weir_slice_t *slice,
    const void *data, uint64_t bytes, weir_handle_t *out_program);
// Two 64-bit hashes of some bytes, from `seed` on.
void weir_cuda_hash(uint64_t seed, const void *data, uint64_t bytes, uint64_t out_hash[2]);

// ---- Specializations (specialize.c, launch.c) ---------------------------------------------------

#define WEIR_CUDA_NO_TENSOR UINT32_MAX
#define WEIR_CUDA_IS_SCRATCH (UINT32_MAX - 1)
#define WEIR_CUDA_IS_ERROR (UINT32_MAX - 2)

// A place, once it is known which tensor of the slice it is in.
typedef struct weir_cuda_spot {
    uint32_t tensor; // or WEIR_CUDA_*
    uint32_t at;     // in a kernel's parameters
    uint64_t offset;
} weir_cuda_spot_t;

typedef struct weir_cuda_command {
    weir_cuda_step_kind_t kind;
    uint32_t node;
    // KERNEL
    CUfunction function;
    weir_cuda_dim3_t grid, block;
    uint32_t shared_bytes, params_bytes;
    uint64_t params_at; // in the specialization's params
    // MATMUL, CONV: of matmul.c, conv.c. Spots a, b, c, d, bias, or x, w, y. NULL: a convolution
    // whose plan is still to be made, of `conv`.
    void *plan;
    const weir_cuda_conv_t *conv;
    uint64_t workspace_offset, workspace_bytes;
    bool is_early, is_late; // it runs before, and after the specialization is ready
    // COPY: from, to
    uint64_t copy_bytes;
    uint32_t first_spot, spot_count; // in the specialization's spots
} weir_cuda_command_t;

struct weir_cuda_specialization {
    weir_cuda_program_t *program;
    weir_cuda_device_t *device;
    uint32_t tensor_count;
    uint32_t command_count;
    uint64_t scratch_bytes;
    bool may_fail; // a kernel says errors
    // Convolutions run on the own kernels until record(), in the background, has made the plans of
    // the library that were not there: then it is ready.
    atomic_bool is_ready;
    atomic_bool has_said_recorded, has_said_refused; // in the log
    weir_cuda_command_t *commands;
    weir_cuda_spot_t *spots;
    uint64_t *params;
};

struct weir_cuda_recording {
    weir_cuda_recording_t *next, **from; // of the device
    weir_cuda_device_t *device;
    weir_cuda_specialization_t *specialization;
    CUgraphExec exec; // NULL: dropped for want of memory; launches enqueue
    uint32_t *word;
    uint32_t uses; // launches under way
    uint64_t used; // when it was used last, by the device's count of launches
    uint64_t replay_count;
};

weir_code_t weir_cuda_specialize(
    weir_handle_t program, const weir_slice_t *slice, weir_specialized_t *out_specialized);
void weir_cuda_specialization_release(weir_handle_t specialization);
// Makes the plans that are still to be made, where the library can; the others' nodes stay on the
// own kernels. [A+]
void weir_cuda_specialization_ready(weir_cuda_specialization_t *specialization);
weir_code_t weir_cuda_record(weir_handle_t specialization, const weir_binding_t *bindings,
    uint32_t binding_count, weir_handle_t *out_recording);
void weir_cuda_recording_release(weir_handle_t recording);
weir_code_t weir_cuda_launch(weir_handle_t queue, const weir_launch_t *launch);
// Destroys graphs that nothing under way uses, least recently used first, until at most `keep` are
// left.
void weir_cuda_recordings_drop(weir_cuda_device_t *device, uint32_t keep);
// Frees those that were not released.
void weir_cuda_recordings_close(weir_cuda_device_t *device);

// ---- cuBLASLt and cuDNN (matmul.c, conv.c) ------------------------------------------------------

// The handle of the device, made at open(). NULL: the library is not there or will not start, which
// its reason says.
weir_cuda_matmuls_t *weir_cuda_matmuls_open(weir_cuda_device_t *device);
void weir_cuda_matmuls_close(weir_cuda_matmuls_t *matmuls);
// Descriptors and algorithm of one product; the workspace that a launch must have. No device call.
weir_code_t weir_cuda_matmul_plan(weir_cuda_device_t *device, const weir_cuda_matmul_t *matmul,
    void **out_plan, uint64_t *out_workspace_bytes);
void weir_cuda_matmul_free(weir_cuda_device_t *device, void *plan);
// addresses: of a, b, c, d, bias.
weir_code_t weir_cuda_matmul_enqueue(weir_cuda_device_t *device, const void *plan,
    const CUdeviceptr addresses[5], CUdeviceptr workspace, CUstream stream,
    weir_cuda_asked_t asked);

weir_cuda_convs_t *weir_cuda_convs_open(weir_cuda_device_t *device);
void weir_cuda_convs_close(weir_cuda_convs_t *convs);
// The stream will be destroyed: none of the library's handles may hold it then. NULL is allowed.
void weir_cuda_convs_forget(weir_cuda_convs_t *convs, CUstream stream);
#define WEIR_CUDA_CONV_WORKSPACE (64ull << 20) // that a plan may need at most

// The plan of a convolution, shared by all that ask for the same one. A new one takes milliseconds.
// UNSUPPORTED: the library cannot, or not with so much workspace, which the log says.
weir_code_t weir_cuda_conv_plan(weir_cuda_device_t *device, const weir_cuda_conv_t *conv,
    uint64_t workspace_max, void **out_plan, uint64_t *out_workspace_bytes);
// The same if it is there; NULL: it is not.
void *weir_cuda_conv_find(weir_cuda_device_t *device, const weir_cuda_conv_t *conv,
    uint64_t workspace_max, uint64_t *out_workspace_bytes);
void weir_cuda_conv_free(weir_cuda_device_t *device, void *plan);
// addresses: of x, w, y.
weir_code_t weir_cuda_conv_enqueue(weir_cuda_device_t *device, void *plan,
    const CUdeviceptr addresses[3], CUdeviceptr workspace, CUstream stream,
    weir_cuda_asked_t asked);

// ---- Ranges (range.c) ---------------------------------------------------------------------------

// An NVTX range of this thread, if the option nvtx says so.
void weir_cuda_range_push(const weir_cuda_device_t *device, const char *name);
void weir_cuda_range_pop(const weir_cuda_device_t *device);

// ---- Choices (select.c) -------------------------------------------------------------------------

#define WEIR_CUDA_CHOICE_BYTES 64

// What was chosen for operators of this device, by key; kept on disk. Append-only: a later record
// of the same key counts.
typedef struct weir_cuda_choices {
    weir_cuda_device_t *device;
    pthread_mutex_t lock;
    struct weir_cuda_choice *list; // [count]
    uint32_t count, capacity, saved_count;
} weir_cuda_choices_t;

void weir_cuda_choices_open(weir_cuda_device_t *device);
// Writes what is new. [A+]
void weir_cuda_choices_save(weir_cuda_device_t *device);
void weir_cuda_choices_close(weir_cuda_device_t *device);
// false: none for this key.
bool weir_cuda_choice_get(weir_cuda_device_t *device, const void *key, uint64_t key_bytes,
    uint8_t out_choice[WEIR_CUDA_CHOICE_BYTES]);
void weir_cuda_choice_put(weir_cuda_device_t *device, const void *key, uint64_t key_bytes,
    const uint8_t choice[WEIR_CUDA_CHOICE_BYTES]);

// ---- Devices (device.c) -------------------------------------------------------------------------

struct weir_cuda_device {
    weir_cuda_state_t *state;
    const weir_host_t *host;
    uint32_t index;
    CUdevice number;
    CUcontext context;
    weir_cuda_facts_t facts;
    uint32_t peers; // a bit for each device that reaches its memory; option peer
    char name[64];
    void *thread;
    weir_cuda_matmuls_t *matmuls;
    weir_cuda_convs_t *convs;
    weir_cuda_choices_t choices;
    atomic_bool is_lost;

    pthread_mutex_t lock;
    pthread_cond_t changed; // for the reaper and who waits for it
    char lost_text[WEIR_REASON_BYTES], failed_text[WEIR_REASON_BYTES];
    pthread_t failed_by; // whose text that is
    bool is_stopping;
    weir_cuda_queue_t *queues;
    weir_cuda_operation_t *finishing; // off its queue, and not signalled yet
    weir_cuda_buffer_t *buffers;
    uint64_t used_bytes;
    weir_cuda_pool_t pool;
    struct weir_cuda_words *words; // the newest block (memory.c)
    weir_cuda_recording_t *recordings;
    uint64_t launch_count;
    pthread_mutex_t module_lock; // of the modules alone
    pthread_mutex_t ready_lock;  // of specializations that are made ready
    CUmodule fatbin;
    CUfunction *entries; // by the rows of kernels/cuda/kernels.inc; NULL: not loaded yet
    weir_cuda_module_t *modules;
};

weir_cuda_device_t *weir_cuda_device(weir_handle_t device);
weir_code_t weir_cuda_enumerate(
    const weir_host_t *host, uint32_t index, weir_device_info_t *out_info);
weir_code_t weir_cuda_open(const weir_host_t *host, uint32_t index, weir_handle_t *out_device);
void weir_cuda_close(weir_handle_t device);
weir_code_t weir_cuda_clock(weir_handle_t device, uint64_t *out_device_ns, uint64_t *out_host_ns);
weir_code_t weir_cuda_edge(weir_handle_t device, weir_handle_t peer, weir_edge_t *out_edge);
uint64_t weir_cuda_now_ns(void);

#endif
