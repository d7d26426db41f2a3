// backends/opencl/recipe.h: what an operator says to the host of this plugin, and nothing else.
//
// An operator is a row: a kernel of the plugin's table and two functions. build() says once per
// plan which OpenCL kernels a node needs (dims may be symbolic). plan() says once per concrete dims
// how they are dispatched: a recipe. Neither calls OpenCL, allocates, or keeps anything; the host
// of the plugin (program.c, specialize.c) does the rest.
//
// The OpenCL side of it is kernels/opencl/common/prelude.cl, which stands in front of every source:
// a kernel is `WEIR_KERNEL(name)(WEIR_GO, WEIR_TENSOR(float, x), …, int n)`.
#ifndef WEIR_BACKENDS_OPENCL_RECIPE_H
#define WEIR_BACKENDS_OPENCL_RECIPE_H

#include <weir/plugin.h>

#include <stdbool.h>

// Which family of kernels. CPU: no local memory, no barriers, a work-group of one work-item is one
// big tile. GPU: local tiles, work-groups of 64 to 256.
typedef enum weir_cl_family {
    WEIR_CL_FAMILY_CPU = 0,
    WEIR_CL_FAMILY_GPU = 1,
} weir_cl_family_t;

#define WEIR_CL_KERNELS_MAX 8     // that one node needs
#define WEIR_CL_DISPATCHES_MAX 32 // of one node
#define WEIR_CL_ARGS_MAX 32       // of one dispatch, WEIR_GO not counted
#define WEIR_CL_NOTES 16

// What is known of the device when a plan is made.
typedef struct weir_cl_facts {
    weir_cl_family_t family;
    uint32_t compute_units;
    uint32_t group_max; // work-items in a work-group
    uint64_t local_bytes;
    bool is_cpu; // the device is one, whatever the family
} weir_cl_facts_t;

// ---- build() ------------------------------------------------------------------------------------

typedef struct weir_cl_builder weir_cl_builder_t;

const weir_cl_facts_t *weir_cl_facts(const weir_cl_builder_t *builder);
// Rows of a work-item's tile in the cpu family's product of matrices, as tried on the device.
int64_t weir_cl_matmul_rows(const weir_cl_builder_t *builder);
// Texts that go in front of the source of the next weir_cl_kernel(): a macro, or any lines. What
// does not fit fails the build.
void weir_cl_define(weir_cl_builder_t *builder, const char *name, int64_t value);
void weir_cl_text(weir_cl_builder_t *builder, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// A number that plan() finds again in built->notes[which].
void weir_cl_note(weir_cl_builder_t *builder, uint32_t which, int64_t value);
// The node needs kernel `entry` of the embedded source `source` ("cpu/gemm" is
// kernels/opencl/cpu/gemm.cl), built with the texts said since the last call. local: its work-group
// (WEIR_LX, WEIR_LY, WEIR_LZ for the source). arguments: one letter each, in order:
//   t  a tensor or scratch: WEIR_TENSOR or WEIR_INPUT     e  WEIR_ERROR
//   i  int     l  long     f  float
// The first kernel of a node is 0, and so on. Kernels of equal source and texts are one program.
void weir_cl_kernel(weir_cl_builder_t *builder, const char *source, const char *entry,
    const char *arguments, const uint32_t local[3]);
// The same with the texts of the call before: another entry of the same program.
void weir_cl_kernel_too(weir_cl_builder_t *builder, const char *entry, const char *arguments);
// Says why build() fails and returns `code`.
weir_code_t weir_cl_build_fails(weir_cl_builder_t *builder, weir_code_t code, const char *format,
    ...) __attribute__((format(printf, 3, 4)));

// ---- plan() -------------------------------------------------------------------------------------

// What build() left behind.
typedef struct weir_cl_built {
    const weir_cl_facts_t *facts;
    int64_t notes[WEIR_CL_NOTES];
} weir_cl_built_t;

typedef enum weir_cl_arg_kind {
    WEIR_CL_ARG_TENSOR = 1, // `number`: of the node's inputs, then outputs
    WEIR_CL_ARG_SCRATCH,    // at `value` bytes
    WEIR_CL_ARG_ERROR,
    WEIR_CL_ARG_I32,
    WEIR_CL_ARG_I64,
    WEIR_CL_ARG_F32,
} weir_cl_arg_kind_t;

typedef struct weir_cl_arg {
    weir_cl_arg_kind_t kind;
    uint32_t number;
    int64_t value;
    float real;
} weir_cl_arg_t;

// One clEnqueueNDRangeKernel: groups[d] work-groups of the local size that build() said. One with a
// group count of 0 is left out.
typedef struct weir_cl_dispatch {
    uint32_t kernel;
    uint32_t arg_count;
    uint64_t groups[3];
    weir_cl_arg_t args[WEIR_CL_ARGS_MAX];
} weir_cl_dispatch_t;

typedef struct weir_cl_recipe {
    uint64_t scratch_bytes; // for all dispatches of the node together; keep 64-byte steps
    uint32_t dispatch_count;
    weir_cl_dispatch_t dispatches[WEIR_CL_DISPATCHES_MAX];
} weir_cl_recipe_t;

// Adds a dispatch; its arguments are added in the order of the kernel's, WEIR_GO left out. They
// run in order, each after the one before has ended.
weir_cl_dispatch_t *weir_cl_dispatch(
    weir_cl_recipe_t *recipe, uint32_t kernel, uint64_t x, uint64_t y, uint64_t z);
void weir_cl_arg_input(weir_cl_dispatch_t *dispatch, const weir_node_t *node, uint32_t input);
void weir_cl_arg_output(weir_cl_dispatch_t *dispatch, const weir_node_t *node, uint32_t output);
void weir_cl_arg_none(weir_cl_dispatch_t *dispatch); // a tensor that is absent: a base of 0
void weir_cl_arg_scratch(weir_cl_dispatch_t *dispatch, uint64_t offset);
void weir_cl_arg_error(weir_cl_dispatch_t *dispatch);
void weir_cl_arg_i32(weir_cl_dispatch_t *dispatch, int64_t value);
void weir_cl_arg_i64(weir_cl_dispatch_t *dispatch, int64_t value);
void weir_cl_arg_f32(weir_cl_dispatch_t *dispatch, float value);

// ---- Rows ---------------------------------------------------------------------------------------

// A row of the table. kernel.name is set and no other row of the family has it; run, prepare,
// release and tasks stay NULL.
typedef struct weir_cl_operator {
    weir_kernel_t kernel;
    // OK, or what weir_cl_build_fails() returned. The texts it says depend on nothing but the node
    // and the facts. Pure.
    weir_code_t (*build)(const weir_node_t *node, weir_cl_builder_t *builder);
    // Concrete dims; sizes of 0 occur. The recipe is zeroed. An error is INVALID_ARGUMENT or
    // UNSUPPORTED. Pure, and fast: microseconds.
    weir_code_t (*plan)(
        const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe);
} weir_cl_operator_t;

// The answer "no" of supports(), with a reason.
weir_code_t weir_cl_no(weir_support_t *out_support, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
