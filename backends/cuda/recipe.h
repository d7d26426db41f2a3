// backends/cuda/recipe.h: what the operators (op_*.c) say to the host part of the plugin.
//
// An operator is a row: the kernel of the engine's table, build() for what must be generated and
// compiled before dims are known, and plan(), which turns a node with concrete dims into steps: an
// own kernel of the embedded fatbin, a generated one, a matrix product of cuBLASLt, a convolution
// of cuDNN, a copy. Steps run in order on one stream. Neither call touches a device or a library;
// both are pure, on any thread.
//
// A kernel takes one struct by value, extern "C" __global__ void name(const name_params_t p). A
// step carries that struct as bytes, with a list of the pointers in it that a launch fills in. The
// struct has the host's layout, which is the device's too.
#ifndef WEIR_BACKENDS_CUDA_RECIPE_H
#define WEIR_BACKENDS_CUDA_RECIPE_H

#include <weir/plugin.h>

#include <stdbool.h>

#define WEIR_CUDA_STEPS_MAX 8
#define WEIR_CUDA_PARAMS_MAX 512  // bytes of one kernel's parameters
#define WEIR_CUDA_POINTERS_MAX 24 // of one kernel
#define WEIR_CUDA_SOURCES_MAX 4   // generated kernels of one node
#define WEIR_CUDA_ENTRY_BYTES 64

// What matrix products and convolutions of f32 may round their operands to. Storage stays f32. A
// plan of precision bf16 is made of kernels of that flag, which wins; else the option of that name
// says it.
typedef enum weir_cuda_precision {
    WEIR_CUDA_F32, // strict: TF32 is off
    WEIR_CUDA_TF32,
    WEIR_CUDA_BF16,
    WEIR_CUDA_F16,
} weir_cuda_precision_t;

// The device and the libraries that a recipe is for.
typedef struct weir_cuda_facts {
    uint32_t arch; // 90: sm_90
    uint32_t multiprocessor_count;
    uint32_t shared_bytes; // that a block may have without asking, 49152
    uint32_t threads_per_block;
    weir_cuda_precision_t precision;
    bool has_matmul;   // cuBLASLt is there; else the own product
    bool has_conv;     // cuDNN is there; else the own convolution
    bool has_compiler; // NVRTC is there; without it no node that generates source is taken
} weir_cuda_facts_t;

// ---- Places: what a pointer will point at -------------------------------------------------------

typedef enum weir_cuda_place_kind {
    WEIR_CUDA_NOWHERE, // NULL
    WEIR_CUDA_INPUT,   // of the node, number `index`; an absent one is NULL
    WEIR_CUDA_OUTPUT,
    WEIR_CUDA_SCRATCH, // of this node, from `offset` on; see weir_cuda_recipe_scratch()
    WEIR_CUDA_ERROR,   // a uint32_t, 0 at first: a kernel ORs WEIR_CUDA_BAD_* into it (atomicOr)
} weir_cuda_place_kind_t;

#define WEIR_CUDA_BAD_INDEX 1u   // an index out of range
#define WEIR_CUDA_BAD_DIVISOR 2u // an integer divided by 0

typedef struct weir_cuda_place {
    weir_cuda_place_kind_t kind;
    uint32_t index;
    uint64_t offset; // bytes from there
} weir_cuda_place_t;

static inline weir_cuda_place_t weir_cuda_input(uint32_t index)
{
    return (weir_cuda_place_t){.kind = WEIR_CUDA_INPUT, .index = index};
}

static inline weir_cuda_place_t weir_cuda_output(uint32_t index)
{
    return (weir_cuda_place_t){.kind = WEIR_CUDA_OUTPUT, .index = index};
}

static inline weir_cuda_place_t weir_cuda_scratch(uint64_t offset)
{
    return (weir_cuda_place_t){.kind = WEIR_CUDA_SCRATCH, .offset = offset};
}

static inline weir_cuda_place_t weir_cuda_error(void)
{
    return (weir_cuda_place_t){.kind = WEIR_CUDA_ERROR};
}

// ---- Steps --------------------------------------------------------------------------------------

typedef struct weir_cuda_dim3 {
    uint32_t x, y, z;
} weir_cuda_dim3_t;

// A pointer in a kernel's parameters.
typedef struct weir_cuda_pointer {
    uint32_t at; // offsetof() in the parameters
    weir_cuda_place_t place;
} weir_cuda_pointer_t;

// A launch of a kernel: of the fatbin if `entry` is set, else of the node's generated source number
// `source`. Nothing is launched where a side of the grid is 0.
typedef struct weir_cuda_kernel_step {
    const char *entry; // a string constant
    uint32_t source;
    weir_cuda_dim3_t grid, block;
    uint32_t shared_bytes; // dynamic
    uint32_t params_bytes, pointer_count;
    weir_cuda_pointer_t pointers[WEIR_CUDA_POINTERS_MAX];
    uint64_t params[WEIR_CUDA_PARAMS_MAX / 8];
} weir_cuda_kernel_step_t;

typedef enum weir_cuda_epilogue {
    WEIR_CUDA_EPILOGUE_NONE,
    WEIR_CUDA_EPILOGUE_BIAS, // a vector of n
    WEIR_CUDA_EPILOGUE_RELU,
    WEIR_CUDA_EPILOGUE_BIAS_RELU,
    WEIR_CUDA_EPILOGUE_GELU_TANH,
    WEIR_CUDA_EPILOGUE_BIAS_GELU_TANH,
} weir_cuda_epilogue_t;

// d[b] = epilogue(alpha op(a[b]) op(b[b]) + beta c[b]), all row-major: op(a) is m x k, op(b) k x n,
// c and d m x n. A leading dimension is the distance between rows, a batch stride that between
// matrices (0: the same one for all), both in elements. All of one dtype: F32, F16 or BF16.
typedef struct weir_cuda_matmul {
    weir_dtype_t dtype;
    weir_cuda_precision_t precision; // of f32
    uint64_t m, n, k, batch;
    bool transpose_a, transpose_b; // a lies as k x m, b as n x k
    uint64_t lda, ldb, ldc, ldd;
    uint64_t stride_a, stride_b, stride_c, stride_d;
    float alpha, beta; // beta 0: c is not read
    weir_cuda_epilogue_t epilogue;
    weir_cuda_place_t a, b, c, d, bias; // bias [n]
} weir_cuda_matmul_t;

// y = x * w: x [n, c, spatial…], w [k, c / groups, window…], y [n, k, spatial…], row-major. The
// library fuses nothing behind it in this layout: a bias and Relu are a step of their own.
typedef struct weir_cuda_conv {
    weir_dtype_t dtype;
    weir_cuda_precision_t precision; // of f32; bf16 and f16: as tf32
    uint32_t spatial_rank;           // 1 or 2
    uint32_t groups;
    int64_t x_dims[4], w_dims[4], y_dims[4]; // [2 + spatial_rank]
    int64_t pads_before[2], pads_after[2], strides[2], dilations[2];
    weir_cuda_place_t x, w, y;
} weir_cuda_conv_t;

typedef struct weir_cuda_copy_step {
    weir_cuda_place_t from, to;
    uint64_t bytes;
} weir_cuda_copy_step_t;

typedef enum weir_cuda_step_kind {
    WEIR_CUDA_STEP_KERNEL,
    WEIR_CUDA_STEP_MATMUL,
    WEIR_CUDA_STEP_CONV,
    WEIR_CUDA_STEP_COPY,
} weir_cuda_step_kind_t;

typedef struct weir_cuda_step {
    weir_cuda_step_kind_t kind;
    union {
        weir_cuda_kernel_step_t kernel;
        weir_cuda_matmul_t matmul;
        weir_cuda_conv_t conv;
        weir_cuda_copy_step_t copy;
    };
} weir_cuda_step_t;

// What plan() fills; `host` (for fail()), `facts` and `precision` are set.
typedef struct weir_cuda_recipe {
    const weir_host_t *host;
    const weir_cuda_facts_t *facts;
    weir_cuda_precision_t precision; // what f32 may be rounded to in products and convolutions
    uint64_t scratch_bytes;
    uint32_t step_count;
    weir_cuda_step_t steps[WEIR_CUDA_STEPS_MAX];
} weir_cuda_recipe_t;

// Bytes of scratch for this node, all its steps: the offset, aligned to 256.
uint64_t weir_cuda_recipe_scratch(weir_cuda_recipe_t *recipe, uint64_t bytes);
// A launch of `entry` (NULL: of the generated source number `source`). The parameters are copied.
// NULL: too many steps or bytes (the fail is said; return INTERNAL).
weir_cuda_kernel_step_t *weir_cuda_recipe_kernel(weir_cuda_recipe_t *recipe, const char *entry,
    uint32_t source, weir_cuda_dim3_t grid, weir_cuda_dim3_t block, uint32_t shared_bytes,
    const void *params, uint32_t params_bytes);
// The pointer at offset `at` of the parameters points at `place`.
void weir_cuda_step_pointer(weir_cuda_kernel_step_t *step, uint32_t at, weir_cuda_place_t place);
weir_code_t weir_cuda_recipe_matmul(weir_cuda_recipe_t *recipe, const weir_cuda_matmul_t *matmul);
weir_code_t weir_cuda_recipe_conv(weir_cuda_recipe_t *recipe, const weir_cuda_conv_t *conv);
weir_code_t weir_cuda_recipe_copy(
    weir_cuda_recipe_t *recipe, weir_cuda_place_t from, weir_cuda_place_t to, uint64_t bytes);

// ---- Generated source ---------------------------------------------------------------------------

// What build() fills. Equal sources of a plan are compiled once; what is compiled is cached on
// disk.
typedef struct weir_cuda_build {
    const weir_host_t *host;
    const weir_cuda_facts_t *facts;
    char *text; // room to print a source in, for build() to use as it likes
    uint64_t text_bytes;
    uint32_t source_count;
    struct {
        char *source; // the host's copy
        char entry[WEIR_CUDA_ENTRY_BYTES];
    } sources[WEIR_CUDA_SOURCES_MAX];
} weir_cuda_build_t;

// A CUDA source (extern "C" entry `entry`), copied. It is the node's next source, from 0 on.
weir_code_t weir_cuda_build_source(weir_cuda_build_t *build, const char *entry, const char *source);

// ---- Rows ---------------------------------------------------------------------------------------

typedef struct weir_cuda_row {
    weir_kernel_t kernel; // run, prepare, release, tasks: NULL; the name is unique in the plugin
    // Dims may be symbolic; constants have their data. NULL: generates nothing.
    weir_code_t (*build)(const weir_node_t *node, weir_cuda_build_t *build);
    // Dims are concrete; inputs whose contents are known have their data. A node whose outputs
    // have no elements is not asked for.
    weir_code_t (*plan)(const weir_node_t *node, weir_cuda_recipe_t *recipe);
    // Each node of it generates source. Where NVRTC is missing such rows are not offered, and of
    // other rows the flags EPILOGUE and PROLOGUE are not.
    bool always_builds;
} weir_cuda_row_t;

// An empty recipe for a node of this row.
void weir_cuda_recipe_begin(weir_cuda_recipe_t *recipe, const weir_host_t *host,
    const weir_cuda_facts_t *facts, const weir_cuda_row_t *row);

// A file of rows. families.inc lists them in order of preference: WEIR_CUDA_FAMILY(name) stands for
// weir_cuda_family_name, which is defined in op_name.c.
typedef struct weir_cuda_family {
    const weir_cuda_row_t *rows;
    uint32_t count;
} weir_cuda_family_t;

#define WEIR_CUDA_FAMILY(name) extern const weir_cuda_family_t weir_cuda_family_##name;
#include "backends/cuda/families.inc"
#undef WEIR_CUDA_FAMILY

#endif
