// tests/support/fake_cuda/fake.h: a CUDA driver of our own, without a GPU.
//
// What: libcuda.so.1 with host memory for device memory, streams that a thread works off in order
//       (which of several streams comes next is drawn by seed), events, captures and graphs. The
//       fakes of cuBLASLt, cuDNN and NVRTC are libraries of their own that lean on it.
// How:  each call of an API says its name and where it was called from. A call site is such a pair;
//       a fault strikes one call of a name or of a site. Tests talk to it through fake_cuda_*
//       below, which they find with dlsym().
// Not:  it says nothing about a GPU: no speed, no memory model, nothing of what the real driver
// does
//       beyond what its documentation promises.
#ifndef WEIR_TESTS_FAKE_CUDA_H
#define WEIR_TESTS_FAKE_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_EXPORT __attribute__((visibility("default")))
#define FAKE_ALL UINT64_MAX

// ---- For tests ----------------------------------------------------------------------------------

// A new world: so many devices, nothing counted, no faults. What is open stays as it is.
FAKE_EXPORT void fake_cuda_reset(uint32_t device_count, uint64_t seed);
// Memory of each device.
FAKE_EXPORT void fake_cuda_memory(uint64_t bytes);
// The call number `nth` of `name` (from 1 on, counted from now) returns `result`, and does nothing.
// FAKE_ALL: every call.
FAKE_EXPORT void fake_cuda_fail(const char *name, uint64_t nth, int result);
// Every call of site `site` (see fake_cuda_site) does.
FAKE_EXPORT void fake_cuda_fail_site(uint32_t site, int result);
// The kernel that runs as number `nth` spoils its context with `result`.
FAKE_EXPORT void fake_cuda_fail_kernel(uint64_t nth, int result);
// Nothing that streams hold is worked off while it is paused.
FAKE_EXPORT void fake_cuda_pause(bool is_paused);
FAKE_EXPORT uint32_t fake_cuda_site_count(void);
// The name of a site and how often it was called; NULL past the last. Sites keep their numbers.
FAKE_EXPORT const char *fake_cuda_site(uint32_t site, uint64_t *out_calls, const void **out_from);
// How often something has been done since the reset: a name of an API, "kernel", "graph node".
FAKE_EXPORT uint64_t fake_cuda_count(const char *name);
// What is alive in all contexts: buffers, streams, events, modules, graphs, chunks, host memory.
FAKE_EXPORT uint64_t fake_cuda_alive(void);
// What is alive counts no more, and contexts are free again: after a call that frees was made to
// fail.
FAKE_EXPORT void fake_cuda_forget(void);
// The compute capability of all devices from now on, 90 after a reset.
FAKE_EXPORT void fake_cuda_arch(uint32_t arch);
// Somebody else of this process captures so that only relaxed threads may ask for events.
FAKE_EXPORT void fake_cuda_capture_elsewhere(bool is_on);
// The context of `device`, made current on this thread as an embedder would; -1: none is.
FAKE_EXPORT void fake_cuda_embed(int device);
// Whose context is current on this thread, and is no other below it; -1: none, or it lies on
// others.
FAKE_EXPORT int fake_cuda_embedded(void);

// ---- For the other fakes ------------------------------------------------------------------------

// The head of a call: notes its site. Not 0: what a fault makes of it.
FAKE_EXPORT int fake_cuda_enter(const char *name, const void *from);
// Something that a stream does when its turn comes; `data` is copied. 0, or what cuLaunchKernel
// would return. `stream` is a CUstream.
FAKE_EXPORT int fake_cuda_enqueue(
    void *stream, void (*run)(const void *data), const void *data, size_t bytes);

// Code is loaded, as libraries do at a kernel's first launch. Not 0: this thread captures, and not
// relaxed; the capture is invalid then.
FAKE_EXPORT int fake_cuda_load_code(void);
// Is this stream there? A CUstream.
FAKE_EXPORT bool fake_cuda_stream_is_alive(const void *stream);

// The head of a call that frees: it does so when a fault strikes, too, and says the fault at its
// end.
#define FAKE_FREES() const int fault = fake_cuda_enter(__func__, FAKE_FROM())
#define FAKE_FROM() __builtin_extract_return_addr(__builtin_return_address(0))

#endif
