// tests/support/fake_cuda/driver.h: what the files of the fake libcuda.so.1 share.
//
// One lock for everything. It is held in calls and let go while a stream's task runs.
#ifndef WEIR_TESTS_FAKE_CUDA_DRIVER_H
#define WEIR_TESTS_FAKE_CUDA_DRIVER_H

#include "tests/support/fake_cuda/fake.h"

#include <cuda.h>
#include <pthread.h>

#define FAKE_DEVICES_MAX 8

// A context: CUcontext points at one.
typedef struct fake_context {
    uint32_t device, references;
    uint64_t used_bytes;
    CUresult error; // sticky
} fake_context_t;

typedef enum fake_task_kind { FAKE_RUN, FAKE_RECORD, FAKE_WAIT } fake_task_kind_t;

typedef struct fake_event {
    uint64_t recorded, reached; // how often
    uint64_t ns;
    bool is_timed, is_doomed;
} fake_event_t;

typedef struct fake_task {
    struct fake_task *next;
    fake_task_kind_t kind;
    void (*run)(const void *data);
    fake_event_t *event;
    uint64_t ticket;
    bool is_kernel;
    size_t bytes;
    _Alignas(16) unsigned char data[];
} fake_task_t;

typedef struct fake_graph {
    fake_task_t *first, **last;
} fake_graph_t;

typedef struct fake_stream {
    struct fake_stream *next;
    fake_context_t *context;
    fake_task_t *first, **last;
    bool is_running;
    fake_graph_t *capture; // NULL: it does not capture
    bool is_invalid;       // what it captures
    bool is_relaxed;       // the capture
    pthread_t owner;       // of the capture
} fake_stream_t;

typedef struct fake_world {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool is_started, is_paused, is_captured_elsewhere;
    uint32_t device_count, arch;
    uint64_t memory_bytes, seed;
    fake_context_t contexts[FAKE_DEVICES_MAX];
    fake_stream_t *streams;
    uint64_t kernels, kernel_to_fail;
    CUresult kernel_result;
    uint64_t alive, nodes;
} fake_world_t;

extern fake_world_t fake_world;

// The head of every call: FAKE_CALL() returns what a fault makes of it.
#define FAKE_CALL()                                                                                \
    do {                                                                                           \
        int fault_ = fake_cuda_enter(__func__, FAKE_FROM());                                       \
        if (fault_)                                                                                \
            return (CUresult)fault_;                                                               \
    } while (0)
// And of a call that needs a context: `context` is the current one. What frees does so in a spoiled
// context, too: the real one takes all with it in the end, which would hide what was forgotten.
// Without a current context nothing is freed: the memory is then lost on purpose.
#define FAKE_FREEING_CONTEXT(memory)                                                               \
    fake_context_t *context = fake_context_now();                                                  \
    if (!context || !context->references) {                                                        \
        fake_lose(memory);                                                                         \
        return CUDA_ERROR_INVALID_CONTEXT;                                                         \
    }
#define FAKE_CONTEXT_CALL()                                                                        \
    FAKE_CALL();                                                                                   \
    fake_context_t *context = fake_context_now();                                                  \
    if (!context || !context->references)                                                          \
        return CUDA_ERROR_INVALID_CONTEXT;                                                         \
    if (context->error)                                                                            \
    return context->error

fake_context_t *fake_context_now(void);
// A leak that a test made is none to a sanitizer.
void fake_lose(const void *memory);
void fake_lock(void);
void fake_unlock(void);
// Under the lock: the world is made, from the environment, before anything else.
void fake_world_start(void);
// A call that must not be made while this thread captures: invalidates the capture.
CUresult fake_no_capture(void);
// A question that a capture of somebody else's forbids to threads that are not relaxed.
CUresult fake_may_ask(void);
// A task of so many bytes. NULL: no memory.
fake_task_t *fake_task_new(fake_task_kind_t kind, const void *data, size_t bytes);
// Gives it to a stream, or to the graph that it captures. Under the lock.
CUresult fake_task_add(CUstream stream, fake_task_t *task);
// Waits until a stream (NULL: all of a context) has nothing to do. Under the lock.
void fake_wait(fake_context_t *context, fake_stream_t *stream);
// Under the lock: no memory is known any more.
void fake_memory_forget(void);
// Is this memory known to the driver (so that a copy need not be done within the call)?
bool fake_is_known(CUdeviceptr address);

// Finds an own kernel by its name: the emulator's body. false: there is none.
typedef struct fake_kernel {
    char name[128];
    // One of the two.
    void (*run_generated)(const void *params, const uint32_t grid[3], const uint32_t block[3]);
    const void *own;
} fake_kernel_t;
bool fake_own_find(const char *name, fake_kernel_t *out_kernel);
void fake_own_run(const fake_kernel_t *kernel, const void *params, const uint32_t grid[3],
    const uint32_t block[3]);

#endif
