// tests/support/fake_cuda/nvrtc.c: an NVRTC that compiles for this machine.
//
// The source is compiled unchanged by the C++ compiler of the build, behind a few words that make a
// loop over threads of what runs on a device, into a shared object, which the fake driver loads as
// a module. So it takes kernels whose threads do not meet, and no assembly of a device.
#define _GNU_SOURCE
#include "tests/support/fake_cuda/fake.h"

#include <nvrtc.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAKE_CALL()                                                                                \
    do {                                                                                           \
        int fault_ = fake_cuda_enter(__func__, FAKE_FROM());                                       \
        if (fault_)                                                                                \
            return (nvrtcResult)fault_;                                                            \
    } while (0)

struct _nvrtcProgram {
    char *source;
    bool is_ptx;
    unsigned char *image;
    size_t image_bytes;
    char log[4096];
};

// What has been compiled in this process: tests make the same plan hundreds of times.
#define KEPT_MAX 64
static struct {
    char *source;
    unsigned char *image;
    size_t bytes;
} kept[KEPT_MAX];
static uint32_t kept_count;
static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;

static const char before[] = //
    "#include <math.h>\n"
    "#include <stdint.h>\n"
    "#include <string.h>\n"
    "#define __global__\n"
    "#define __device__\n"
    "#define __forceinline__ inline\n"
    "#define __grid_constant__\n"
    "#define __launch_bounds__(...)\n"
    "#define __restrict__ __restrict\n"
    "struct weir_fake_dim3 { unsigned x, y, z; };\n"
    "static __thread weir_fake_dim3 threadIdx, blockIdx, blockDim, gridDim;\n"
    "static inline unsigned atomicOr(unsigned *word, unsigned bits)\n"
    "{ return __atomic_fetch_or(word, bits, __ATOMIC_RELAXED); }\n"
    "#line 1\n";

static const char after[] = //
    "\ntemplate <class P> static void weir_fake_loop(void (*kernel)(P), const void *params,\n"
    "    const unsigned *grid, const unsigned *block) {\n"
    "  gridDim = {grid[0], grid[1], grid[2]}; blockDim = {block[0], block[1], block[2]};\n"
    "  unsigned *b[3] = {&blockIdx.x, &blockIdx.y, &blockIdx.z};\n"
    "  unsigned *t[3] = {&threadIdx.x, &threadIdx.y, &threadIdx.z};\n"
    "  P p; memcpy((void *)&p, params, sizeof p);\n"
    "  for (*b[2] = 0; *b[2] < grid[2]; ++*b[2]) for (*b[1] = 0; *b[1] < grid[1]; ++*b[1])\n"
    "  for (*b[0] = 0; *b[0] < grid[0]; ++*b[0]) for (*t[2] = 0; *t[2] < block[2]; ++*t[2])\n"
    "  for (*t[1] = 0; *t[1] < block[1]; ++*t[1]) for (*t[0] = 0; *t[0] < block[0]; ++*t[0])\n"
    "    kernel(p);\n"
    "}\n";

nvrtcResult nvrtcVersion(int *major, int *minor)
{
    FAKE_CALL();
    *major = 13;
    *minor = 0;
    return NVRTC_SUCCESS;
}

static const int archs[] = {75, 80, 86, 89, 90, 100, 120};
#define ARCHS ((int)(sizeof archs / sizeof archs[0]))

nvrtcResult nvrtcGetNumSupportedArchs(int *count)
{
    FAKE_CALL();
    *count = ARCHS;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetSupportedArchs(int *out_archs)
{
    FAKE_CALL();
    memcpy(out_archs, archs, sizeof archs);
    return NVRTC_SUCCESS;
}

// A name that cannot be had is no name.
const char *nvrtcGetErrorString(nvrtcResult result)
{
    if (fake_cuda_enter(__func__, FAKE_FROM()))
        return NULL;
    return result == NVRTC_ERROR_COMPILATION ? "NVRTC_ERROR_COMPILATION" : "a result of the fake";
}

nvrtcResult nvrtcCreateProgram(nvrtcProgram *out_program, const char *source, const char *name,
    int header_count, const char *const *headers, const char *const *names)
{
    FAKE_CALL();
    (void)name;
    (void)headers;
    (void)names;
    if (header_count)
        return NVRTC_ERROR_INVALID_INPUT;
    nvrtcProgram program = calloc(1, sizeof *program);
    if (program)
        program->source = strdup(source);
    *out_program = program;
    return program && program->source ? NVRTC_SUCCESS : NVRTC_ERROR_OUT_OF_MEMORY;
}

nvrtcResult nvrtcDestroyProgram(nvrtcProgram *program)
{
    FAKE_FREES();
    free((*program)->source);
    free((*program)->image);
    free(*program);
    *program = NULL;
    return (nvrtcResult)fault;
}

// The names of the kernels: what comes before the bracket after "__global__".
static void write_runs(FILE *to, const char *source)
{
    for (const char *at = source; (at = strstr(at, "__global__")) != NULL; at++) {
        const char *bracket = strchr(at, '(');
        const char *bounds = strstr(at, "__launch_bounds__");
        if (bounds && bounds < bracket)
            bracket = strchr(strchr(bounds, ')'), '(');
        const char *end = bracket;
        while (end > at && end[-1] == ' ')
            end--;
        const char *first = end;
        while (first > at && first[-1] != ' ')
            first--;
        int length = (int)(end - first);
        (void)fprintf(to,
            "extern \"C\" void weir_fake_run_%.*s(const void *p, const unsigned *g, const "
            "unsigned *b) { weir_fake_loop(%.*s, p, g, b); }\n",
            length, first, length, first);
    }
}

static bool run_compiler(const char *source, const char *object, const char *log)
{
    char *arguments[] = {(char *)WEIR_FAKE_CXX, "-x", "c++", "-std=c++17", "-O1", "-w", "-shared",
        "-fPIC", "-ffp-contract=off", "-fno-exceptions", "-fno-rtti", "-o",
        (char *)(uintptr_t)object, (char *)(uintptr_t)source, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status = 1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(
        &actions, 2, log, 0x241 /* O_WRONLY | O_CREAT | O_TRUNC */, 0600);
    bool is_started = posix_spawnp(&child, WEIR_FAKE_CXX, &actions, NULL, arguments, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    if (is_started)
        (void)waitpid(child, &status, 0);
    return is_started && status == 0;
}

static size_t read_file(const char *path, unsigned char **out_data)
{
    FILE *file = fopen(path, "rb");
    *out_data = NULL;
    if (!file)
        return 0;
    (void)fseek(file, 0, SEEK_END);
    size_t bytes = (size_t)ftell(file);
    rewind(file);
    *out_data = malloc(bytes + 1);
    if (!*out_data || fread(*out_data, 1, bytes, file) != bytes)
        abort();
    (*out_data)[bytes] = 0;
    (void)fclose(file);
    return bytes;
}

static void write_source(const char *path, const char *source)
{
    FILE *file = fopen(path, "w");
    if (!file)
        abort();
    (void)fputs(before, file);
    (void)fputs(source, file);
    (void)fputs(after, file);
    write_runs(file, source);
    (void)fclose(file);
}

static bool recall(nvrtcProgram program)
{
    pthread_mutex_lock(&kept_lock);
    for (uint32_t i = 0; i < kept_count && !program->image; i++)
        if (strcmp(kept[i].source, program->source) == 0) {
            program->image = malloc(kept[i].bytes);
            program->image_bytes = kept[i].bytes;
            if (program->image)
                memcpy(program->image, kept[i].image, kept[i].bytes);
        }
    pthread_mutex_unlock(&kept_lock);
    return program->image != NULL;
}

static void keep(nvrtcProgram program)
{
    pthread_mutex_lock(&kept_lock);
    unsigned char *image = malloc(program->image_bytes);
    if (image && kept_count < KEPT_MAX) {
        memcpy(image, program->image, program->image_bytes);
        kept[kept_count].source = strdup(program->source);
        kept[kept_count].image = image;
        kept[kept_count++].bytes = program->image_bytes;
    } else {
        free(image);
    }
    pthread_mutex_unlock(&kept_lock);
}

// Code for one architecture or PTX for all from one on, of those that it knows.
static bool read_target(const char *option, bool *out_ptx)
{
    char target[64];
    for (int i = 0; i < ARCHS; i++)
        for (int ptx = 0; ptx < 2; ptx++) {
            (void)snprintf(target, sizeof target, "--gpu-architecture=%s_%d",
                ptx ? "compute" : "sm", archs[i]);
            *out_ptx = ptx;
            if (strcmp(option, target) == 0)
                return true;
        }
    return false;
}

nvrtcResult nvrtcCompileProgram(nvrtcProgram program, int count, const char *const *options)
{
    const int fault = fake_cuda_enter(__func__, FAKE_FROM());
    if (fault) {
        (void)snprintf(program->log, sizeof program->log, "a fault of the fake");
        return (nvrtcResult)fault;
    }
    char folder[512], source[600], object[600], log[600];
    const char *above = getenv("TMPDIR");
    (void)snprintf(folder, sizeof folder, "%s/weir_fake_nvrtc_XXXXXX", above ? above : P_tmpdir);
    if (count < 1 || !read_target(options[0], &program->is_ptx))
        return NVRTC_ERROR_INVALID_OPTION;
    if (recall(program))
        return NVRTC_SUCCESS;
    if (!mkdtemp(folder))
        return NVRTC_ERROR_INTERNAL_ERROR;
    (void)snprintf(source, sizeof source, "%s/kernel.cu", folder);
    (void)snprintf(object, sizeof object, "%s/kernel.so", folder);
    (void)snprintf(log, sizeof log, "%s/log", folder);
    write_source(source, program->source);
    bool is_good = run_compiler(source, object, log);
    if (is_good) {
        program->image_bytes = read_file(object, &program->image);
    } else {
        unsigned char *text;
        (void)read_file(log, &text);
        (void)snprintf(program->log, sizeof program->log, "%s", text ? (char *)text : "");
        free(text);
    }
    (void)unlink(source);
    (void)unlink(object);
    (void)unlink(log);
    (void)rmdir(folder);
    if (!is_good || !program->image_bytes)
        return NVRTC_ERROR_COMPILATION;
    keep(program);
    return NVRTC_SUCCESS;
}

// As the real one: there is code or PTX, and of the other 0 bytes.
nvrtcResult nvrtcGetCUBINSize(nvrtcProgram program, size_t *bytes)
{
    FAKE_CALL();
    *bytes = program->is_ptx ? 0 : program->image_bytes;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetCUBIN(nvrtcProgram program, char *image)
{
    FAKE_CALL();
    if (program->is_ptx)
        return NVRTC_ERROR_INVALID_PROGRAM;
    memcpy(image, program->image, program->image_bytes);
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetPTXSize(nvrtcProgram program, size_t *bytes)
{
    FAKE_CALL();
    *bytes = program->image_bytes;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetPTX(nvrtcProgram program, char *image)
{
    FAKE_CALL();
    memcpy(image, program->image, program->image_bytes);
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram program, size_t *bytes)
{
    FAKE_CALL();
    *bytes = strlen(program->log) + 1;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetProgramLog(nvrtcProgram program, char *log)
{
    FAKE_CALL();
    memcpy(log, program->log, strlen(program->log) + 1);
    return NVRTC_SUCCESS;
}
