// backends/opencl/source.c: programs of the driver's: from text or a binary that was kept, shared
// by all that have the same text, released with the last.
//
// Binaries come from the artifact that is being loaded, or from the engine's cache, under a key
// made of the text and of all that names the device and its driver. Whatever is wrong with a
// binary, the text is compiled instead.
#include "backends/opencl/opencl.h"

#include "kernels/opencl/sources.h"
#include <stdio.h>
#include <string.h>

#define LOG_BYTES 16384
#define SAID_BYTES 320 // of a compiler's log, in the text of an error

const char *weir_cl_embedded(const char *name)
{
    for (size_t i = 0; i < weir_cl_embedded_count; i++)
        if (strcmp(weir_cl_embedded_sources[i].name, name) == 0)
            return weir_cl_embedded_sources[i].text;
    return NULL;
}

// FNV-1a, twice from different starts, with a shift between: names, not secrets.
void weir_cl_hash(const void *data, uint64_t bytes, uint64_t inout_hash[2])
{
    const uint8_t *at = data;
    uint64_t a = inout_hash[0] ^ 0xcbf29ce484222325u, b = inout_hash[1] ^ 0x9ae16a3b2f90404fu;
    for (uint64_t i = 0; i < bytes; i++) {
        a = (a ^ at[i]) * 0x100000001b3u;
        b = (b ^ at[i] ^ (b >> 29)) * 0x9e3779b97f4a7c15u;
    }
    inout_hash[0] = a;
    inout_hash[1] = b ^ bytes;
}

// ---- What did not build -------------------------------------------------------------------------

// Kept for `weir devices` of later: a driver that does not build a kernel is worth knowing of. What
// builds is not asked about, so a note stays until that very source builds, or the plugin changes.
#define BROKEN_KEY "kernel that does not build"

static void broken_put(const weir_host_t *host, const char *text)
{
    if (host->blob_put)
        (void)host->blob_put(host, BROKEN_KEY, text, strlen(text) + 1);
}

void weir_cl_broken_get(const weir_host_t *host, char *out_text, size_t bytes)
{
    const void *data;
    uint64_t length;
    if (!host->blob_get || host->blob_get(host, BROKEN_KEY, &data, &length) != WEIR_OK)
        return;
    snprintf(out_text, bytes, "%.*s", (int)WEIR_MIN(length, bytes), (const char *)data);
    host->blob_release(host, data);
}

// A source that is noted as broken has been built.
static void broken_forget(const weir_host_t *host, const char *name)
{
    char text[WEIR_REASON_BYTES] = "";
    weir_cl_broken_get(host, text, sizeof text);
    if (text[0] && strstr(text, name))
        broken_put(host, "");
}

// ---- Building -----------------------------------------------------------------------------------

static const char *build_options(const weir_cl_device_t *device)
{
    // -w: some drivers print how many warnings there were.
    return device->has_exact_division ? "-w -cl-std=CL1.2 -cl-fp32-correctly-rounded-divide-sqrt"
                                      : "-w -cl-std=CL1.2";
}

// The compiler's words: the first error of its log goes into the status, all of it into the log.
static weir_code_t build_failure(
    weir_cl_device_t *device, cl_program program, const char *name, cl_int error)
{
    const weir_host_t *host = device->host;
    char *log = host->alloc(host, LOG_BYTES);
    if (!log)
        return WEIR_RESOURCE_EXHAUSTED;
    memset(log, 0, LOG_BYTES);
    (void)clGetProgramBuildInfo(
        program, device->id, CL_PROGRAM_BUILD_LOG, LOG_BYTES - 1, log, NULL);
    host->log(host, 0, log);
    const char *first = strstr(log, "error");
    char note[WEIR_REASON_BYTES];
    first = first ? first : log;
    int length = (int)WEIR_MIN(strcspn(first, "\n"), SAID_BYTES);
    snprintf(note, sizeof note, "does not build %s: %.*s", name, length, first);
    broken_put(host, note);
    weir_code_t code =
        host->fail(host, WEIR_UNSUPPORTED, "the driver does not build %s: %s (%d): %.*s", name,
            weir_cl_error_name(error), error, length, first);
    host->free(host, log);
    return code;
}

// NULL: the binary is of no use.
static cl_program from_binary(weir_cl_device_t *device, const void *data, uint64_t bytes)
{
    const unsigned char *binary = data;
    size_t size = (size_t)bytes;
    cl_int status = CL_SUCCESS, error = CL_SUCCESS;
    cl_program program =
        clCreateProgramWithBinary(device->context, 1, &device->id, &size, &binary, &status, &error);
    if (error == CL_SUCCESS && status == CL_SUCCESS)
        error = clBuildProgram(program, 1, &device->id, build_options(device), NULL, NULL);
    if (error == CL_SUCCESS && status == CL_SUCCESS)
        return program;
    if (program)
        (void)clReleaseProgram(program);
    return NULL;
}

static void key_of(const uint64_t hash[2], char out_key[48])
{
    snprintf(out_key, 48, "program %016llx%016llx", (unsigned long long)hash[0],
        (unsigned long long)hash[1]);
}

// From a kept binary; false: there is none, or none that works.
static bool restore(weir_cl_device_t *device, const weir_cl_binaries_t *binaries,
    const uint64_t hash[2], cl_program *out_program)
{
    const weir_host_t *host = device->host;
    const void *data;
    uint64_t bytes;
    char key[48];
    *out_program = NULL;
    if (binaries && weir_cl_artifact_find(binaries, hash, &data, &bytes))
        *out_program = from_binary(device, data, bytes);
    key_of(hash, key);
    if (!*out_program && host->blob_get && host->blob_get(host, key, &data, &bytes) == WEIR_OK) {
        *out_program = from_binary(device, data, bytes);
        host->blob_release(host, data);
    }
    return *out_program != NULL;
}

weir_code_t weir_cl_source_binary(
    weir_cl_device_t *device, cl_program program, void **out_data, uint64_t *out_bytes)
{
    const weir_host_t *host = device->host;
    size_t bytes = 0;
    *out_data = NULL;
    cl_int error = clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, NULL);
    if (error != CL_SUCCESS || !bytes)
        return host->fail(host, WEIR_UNSUPPORTED, "the driver gives no binaries");
    unsigned char *data = host->alloc(host, bytes);
    if (!data)
        return WEIR_RESOURCE_EXHAUSTED;
    error = clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof data, &data, NULL);
    if (error != CL_SUCCESS) {
        host->free(host, data);
        return weir_cl_failure(device, error, "clGetProgramInfo");
    }
    *out_data = data;
    *out_bytes = bytes;
    return WEIR_OK;
}

void weir_cl_source_keep(weir_cl_device_t *device, weir_cl_source_t *source)
{
    const weir_host_t *host = device->host;
    void *data = NULL;
    uint64_t bytes = 0;
    char key[48];
    if (source->is_kept || !device->keeps_binaries || !host->blob_put)
        return;
    source->is_kept = true;
    if (weir_cl_source_binary(device, source->program, &data, &bytes) != WEIR_OK)
        return;
    key_of(source->hash, key);
    (void)host->blob_put(
        host, key, data, bytes); // without a cache it is compiled again, that is all
    host->free(host, data);
}

// ---- Sharing ------------------------------------------------------------------------------------

// One more reference; NULL: it is not there.
static weir_cl_source_t *find(weir_cl_device_t *device, const uint64_t hash[2])
{
    pthread_mutex_lock(&device->lock);
    weir_cl_source_t *source = device->sources;
    while (source && (source->hash[0] != hash[0] || source->hash[1] != hash[1]))
        source = source->next;
    if (source)
        source->references++;
    pthread_mutex_unlock(&device->lock);
    return source;
}

static weir_code_t build(weir_cl_device_t *device, const char *name, const char *const texts[4],
    const weir_cl_binaries_t *binaries, weir_cl_source_t *source)
{
    const char *strings[4] = {texts[0], texts[1], texts[2], texts[3]};
    const char *broken = weir_cl_option(device->host, "break_build", "");
    cl_int error = CL_SUCCESS;
    if (*broken && strstr(name, broken))
        strings[3] = "#error broken by the option break_build\n";
    if (!*broken && restore(device, binaries, source->hash, &source->program)) {
        source->is_kept = true;
        return WEIR_OK;
    }
    source->program = clCreateProgramWithSource(device->context, 4, strings, NULL, &error);
    if (error != CL_SUCCESS)
        return weir_cl_refusal(device, error, name);
    error = clBuildProgram(source->program, 1, &device->id, build_options(device), NULL, NULL);
    if (error == CL_SUCCESS) {
        broken_forget(device->host, name);
        return WEIR_OK;
    }
    weir_code_t code = build_failure(device, source->program, name, error);
    (void)clReleaseProgram(source->program);
    return code;
}

weir_code_t weir_cl_source_get(weir_cl_device_t *device, const char *name, const char *head,
    const char *own, const weir_cl_binaries_t *binaries, weir_cl_source_t **out_source)
{
    const weir_host_t *host = device->host;
    const char *texts[4] = {head, weir_cl_embedded("common/prelude"), own, weir_cl_embedded(name)};
    const char *options = build_options(device);
    uint64_t hash[2] = {1, 2};
    if (!texts[1] || !texts[3])
        return host->fail(host, WEIR_INTERNAL, "there is no kernel source %s", name);
    weir_cl_hash(device->stamp, strlen(device->stamp), hash);
    weir_cl_hash(options, strlen(options), hash);
    for (uint32_t i = 0; i < 4; i++)
        weir_cl_hash(texts[i], strlen(texts[i]), hash);
    *out_source = find(device, hash);
    if (*out_source)
        return WEIR_OK;
    weir_cl_source_t *source = host->alloc(host, sizeof *source);
    if (!source)
        return WEIR_RESOURCE_EXHAUSTED;
    *source = (weir_cl_source_t){.hash = {hash[0], hash[1]}, .references = 1};
    weir_code_t code = build(device, name, texts, binaries, source);
    if (code != WEIR_OK) {
        host->free(host, source);
        return code;
    }
    pthread_mutex_lock(&device->lock); // two that make the same at a time are two
    source->next = device->sources;
    device->sources = source;
    pthread_mutex_unlock(&device->lock);
    *out_source = source;
    return WEIR_OK;
}

void weir_cl_source_release(weir_cl_device_t *device, weir_cl_source_t *source)
{
    bool is_last = false;
    pthread_mutex_lock(&device->lock);
    if (--source->references == 0) {
        weir_cl_source_t **link = &device->sources;
        while (*link != source)
            link = &(*link)->next;
        *link = source->next;
        is_last = true;
    }
    pthread_mutex_unlock(&device->lock);
    if (!is_last)
        return;
    (void)clReleaseProgram(source->program);
    device->host->free(device->host, source);
}

// ---- Compiled before it runs --------------------------------------------------------------------

// PoCL, and drivers of GPUs as well, make machine code of a kernel at its first launch: so there is
// one, of a single group that touches nothing (weir_go is 0), while the plan is made.
weir_code_t weir_cl_source_warm(weir_cl_device_t *device, const weir_cl_kernel_t *kernel)
{
    const cl_mem none = NULL;
    const cl_int zero = 0;
    const cl_long zeros = 0;
    const cl_float real = 0;
    size_t local[3] = {kernel->local[0], kernel->local[1], kernel->local[2]};
    cl_int error = CL_SUCCESS;
    cl_uint at = 1;
    cl_event event;
    cl_kernel warm = clCreateKernel(kernel->source->program, kernel->entry, &error);
    if (error != CL_SUCCESS)
        return weir_cl_refusal(device, error, kernel->entry);
    error = clSetKernelArg(warm, 0, sizeof zero, &zero);
    for (const char *c = kernel->arguments; *c && error == CL_SUCCESS; c++) {
        if (*c == 't' || *c == 'e')
            error = clSetKernelArg(warm, at++, sizeof none, &none);
        if (*c == 'i')
            error |= clSetKernelArg(warm, at++, sizeof zero, &zero);
        else if (*c == 'f')
            error |= clSetKernelArg(warm, at++, sizeof real, &real);
        else
            error |= clSetKernelArg(warm, at++, sizeof zeros, &zeros);
    }
    if (error == CL_SUCCESS)
        error =
            clEnqueueNDRangeKernel(device->commands, warm, 3, NULL, local, local, 0, NULL, &event);
    if (error == CL_SUCCESS) {
        error = weir_cl_wait(device, device->commands, event);
        (void)clReleaseEvent(event);
    }
    (void)clReleaseKernel(warm);
    return error == CL_SUCCESS ? WEIR_OK : weir_cl_refusal(device, error, kernel->entry);
}
