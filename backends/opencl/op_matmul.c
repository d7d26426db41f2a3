// backends/opencl/op_matmul.c: MatMul and Gemm in f32.
//
// cpu: B in panels of 32 columns, packed on the host if it is a constant, else by a dispatch
// before. gpu: both as they lie. A batch of matrices is addressed by up to four dims; with one B
// for all of them they are just more rows of A.
#include <string.h>

#include "backends/opencl/op_kernels.h"

#define BATCH_DIMS 4
#define NOTE_ROWS 0

typedef struct matmul {
    int64_t m, n, k, a_row, a_k, b_k, b_column;
    int64_t batches, b_matrices;
    int64_t dims[BATCH_DIMS], a_steps[BATCH_DIMS], b_steps[BATCH_DIMS]; // in matrices
} matmul_t;

static bool is_gemm(const weir_node_t *node)
{
    return node->op[0] == 'G';
}

static weir_cl_view_t view_of(const weir_node_t *node)
{
    return (weir_cl_view_t){.column_axes = node->inputs[1].rank == 1 ? 0 : 1};
}

static weir_code_t matmul_supports(
    const weir_node_t *node, uint32_t args, weir_support_t *out_support)
{
    if (node->input_count < 2 || node->output_count < 1 || node->inputs[0].rank < 1 ||
        node->inputs[1].rank < 1)
        return weir_cl_no(out_support, "inputs are missing");
    if (is_gemm(node) && (node->inputs[0].rank != 2 || node->inputs[1].rank != 2))
        return weir_cl_no(out_support, "Gemm takes matrices only");
    if (node->inputs[0].rank > BATCH_DIMS + 2 || node->inputs[1].rank > BATCH_DIMS + 2)
        return weir_cl_no(out_support, "takes up to four batch dims");
    return weir_cl_finish_supports(node, view_of(node), args, out_support);
}

weir_code_t weir_cl_matmul_cpu_supports(const weir_node_t *node, weir_support_t *out_support)
{
    return matmul_supports(node, 19, out_support);
}

weir_code_t weir_cl_matmul_gpu_supports(const weir_node_t *node, weir_support_t *out_support)
{
    return matmul_supports(node, 21, out_support);
}

// The sizes of B alone: what is known when it is packed.
static void b_read(const weir_node_t *node, matmul_t *matmul)
{
    const weir_tensor_t *b = &node->inputs[1];
    const bool is_vector = b->rank == 1;
    matmul->k = b->dims[is_vector ? 0 : b->rank - 2];
    matmul->n = is_vector ? 1 : b->dims[b->rank - 1];
    matmul->b_matrices = is_vector ? 1 : weir_cl_sizes(b, 0, b->rank - 2);
    matmul->b_k = matmul->n;
    matmul->b_column = 1;
    if (is_gemm(node) && weir_node_int(node, "transB", 0)) {
        const int64_t n = matmul->k;
        matmul->k = matmul->n;
        matmul->n = n;
        matmul->b_k = 1;
        matmul->b_column = matmul->k;
    }
}

static int64_t panel_floats(const matmul_t *matmul)
{
    return weir_cl_div_up(matmul->n, 32) * 32 * matmul->k;
}

weir_code_t weir_cl_matmul_cpu_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    if (input != 1 || node->inputs[1].dtype != WEIR_F32)
        return WEIR_OK;
    matmul_t matmul = {0};
    b_read(node, &matmul);
    const int64_t floats = matmul.b_matrices * panel_floats(&matmul);
    if (floats > 0) {
        out_packing->format = WEIR_CL_FORMAT_PANELS;
        out_packing->bytes = (uint64_t)floats * sizeof(float);
    }
    return WEIR_OK;
}

weir_code_t weir_cl_matmul_cpu_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    matmul_t matmul = {0};
    b_read(node, &matmul);
    const int64_t floats = panel_floats(&matmul), panels = weir_cl_div_up(matmul.n, 32);
    if (input != 1 || bytes < (uint64_t)(matmul.b_matrices * floats) * sizeof(float))
        return WEIR_INVALID_ARGUMENT;
    float *to = destination;
    for (int64_t panel = 0; panel < matmul.b_matrices * panels; panel++) {
        const float *from = (const float *)node->inputs[1].data +
                            panel / panels * matmul.k * matmul.n +
                            panel % panels * 32 * matmul.b_column;
        const int64_t columns = WEIR_MIN(matmul.n - panel % panels * 32, 32);
        for (int64_t k = 0; k < matmul.k; k++)
            for (int64_t j = 0; j < 32; j++)
                *to++ = j < columns ? from[k * matmul.b_k + j * matmul.b_column] : 0.0f;
    }
    return WEIR_OK;
}

// Concrete dims.
static const char *matmul_read(const weir_node_t *node, matmul_t *matmul)
{
    const weir_tensor_t *a = &node->inputs[0], *b = &node->inputs[1];
    *matmul = (matmul_t){.batches = 1};
    b_read(node, matmul);
    const bool is_transposed = is_gemm(node) && weir_node_int(node, "transA", 0);
    matmul->m = a->rank == 1 ? 1 : a->dims[a->rank - (is_transposed ? 1 : 2)];
    if (a->dims[a->rank - (is_transposed ? 2 : 1)] != matmul->k)
        return "the rows of A and the columns of B are not of one size";
    matmul->a_row = is_transposed ? 1 : matmul->k;
    matmul->a_k = is_transposed ? matmul->m : 1;
    const uint32_t a_rank = a->rank > 2 ? a->rank - 2 : 0, b_rank = b->rank > 2 ? b->rank - 2 : 0;
    int64_t a_step = 1, b_step = 1;
    for (uint32_t i = 0; i < BATCH_DIMS; i++) {
        const int64_t a_dim = i < a_rank ? a->dims[a_rank - 1 - i] : 1;
        const int64_t b_dim = i < b_rank ? b->dims[b_rank - 1 - i] : 1;
        const uint32_t d = BATCH_DIMS - 1 - i;
        matmul->dims[d] = a_dim == 1 ? b_dim : a_dim;
        matmul->a_steps[d] = a_dim == 1 ? 0 : a_step;
        matmul->b_steps[d] = b_dim == 1 ? 0 : b_step;
        matmul->batches *= matmul->dims[d];
        a_step *= a_dim;
        b_step *= b_dim;
    }
    if (matmul->b_matrices == 1 && matmul->batches > 0 && !is_transposed) {
        matmul->m *= matmul->batches;
        matmul->batches = 1;
        for (uint32_t d = 0; d < BATCH_DIMS; d++)
            matmul->dims[d] = 1;
    }
    return NULL;
}

// d1 … d3, then the steps of A and of B; of B in matrices of `b_floats`.
static void batch_args(const matmul_t *matmul, int64_t b_floats, weir_cl_dispatch_t *dispatch)
{
    for (uint32_t d = 1; d < BATCH_DIMS; d++)
        weir_cl_arg_i64(dispatch, WEIR_MAX(matmul->dims[d], 1));
    for (uint32_t d = 0; d < BATCH_DIMS; d++)
        weir_cl_arg_i64(dispatch, matmul->a_steps[d] * matmul->m * matmul->k);
    for (uint32_t d = 0; d < BATCH_DIMS; d++)
        weir_cl_arg_i64(dispatch, matmul->b_steps[d] * b_floats);
}

weir_code_t weir_cl_matmul_cpu_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    char arguments[WEIR_CL_ARGS_MAX + 1];
    const weir_code_t code = weir_cl_finish_build(node, view_of(node),
        WEIR_CL_WANTS_16 | WEIR_CL_WANTS_1, "tttllllllllllllllll", arguments, builder);
    if (code != WEIR_OK)
        return code;
    const int64_t rows = weir_cl_matmul_rows(builder);
    weir_cl_define(builder, "ROWS", rows);
    weir_cl_note(builder, NOTE_ROWS, rows);
    weir_cl_kernel(builder, "cpu/matmul", "weir_matmul", arguments, (uint32_t[3]){1, 1, 1});
    if (node->inputs[1].format != WEIR_CL_FORMAT_PANELS)
        weir_cl_kernel(builder, "cpu/pack", "weir_pack", "ttllllllll", (uint32_t[3]){1, 1, 1});
    return WEIR_OK;
}

weir_code_t weir_cl_matmul_cpu_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    matmul_t matmul;
    if (matmul_read(node, &matmul))
        return WEIR_INVALID_ARGUMENT;
    const int64_t panels = weir_cl_div_up(matmul.n, 32), floats = panel_floats(&matmul);
    const bool is_packed = node->inputs[1].format == WEIR_CL_FORMAT_PANELS;
    if (!is_packed) {
        recipe->scratch_bytes = (uint64_t)(matmul.b_matrices * floats) * sizeof(float);
        weir_cl_dispatch_t *pack = weir_cl_dispatch(recipe, 1,
            (uint64_t)weir_cl_div_up(matmul.k, 64), (uint64_t)panels, (uint64_t)matmul.b_matrices);
        weir_cl_arg_input(pack, node, 1);
        weir_cl_arg_scratch(pack, 0);
        weir_cl_arg_i64(pack, matmul.k);
        weir_cl_arg_i64(pack, matmul.n);
        weir_cl_arg_i64(pack, matmul.b_k);
        weir_cl_arg_i64(pack, matmul.b_column);
        weir_cl_arg_i64(pack, 1);
        weir_cl_arg_i64(pack, matmul.k * matmul.n);
        weir_cl_arg_i64(pack, 0);
        weir_cl_arg_i64(pack, 0);
    }
    weir_cl_dispatch_t *product =
        weir_cl_dispatch(recipe, 0, (uint64_t)weir_cl_div_up(matmul.m, built->notes[NOTE_ROWS]),
            (uint64_t)panels, (uint64_t)matmul.batches);
    weir_cl_arg_input(product, node, 0);
    if (is_packed)
        weir_cl_arg_input(product, node, 1);
    else
        weir_cl_arg_scratch(product, 0);
    weir_cl_arg_output(product, node, 0);
    const int64_t sizes[] = {matmul.m, matmul.n, matmul.k, matmul.a_row, matmul.a_k};
    WEIR_CL_SIZES(product, sizes);
    batch_args(&matmul, floats, product);
    weir_cl_finish_args(node, view_of(node), built, product);
    return WEIR_OK;
}

weir_code_t weir_cl_matmul_gpu_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    char arguments[WEIR_CL_ARGS_MAX + 1];
    const weir_code_t code = weir_cl_finish_build(
        node, view_of(node), WEIR_CL_WANTS_1, "tttllllllllllllllllll", arguments, builder);
    if (code != WEIR_OK)
        return code;
    weir_cl_kernel(builder, "gpu/matmul", "weir_matmul", arguments, (uint32_t[3]){16, 16, 1});
    return WEIR_OK;
}

weir_code_t weir_cl_matmul_gpu_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    matmul_t matmul;
    if (matmul_read(node, &matmul))
        return WEIR_INVALID_ARGUMENT;
    weir_cl_dispatch_t *product =
        weir_cl_dispatch(recipe, 0, (uint64_t)weir_cl_div_up(matmul.n, 64),
            (uint64_t)weir_cl_div_up(matmul.m, 64), (uint64_t)matmul.batches);
    weir_cl_arg_input(product, node, 0);
    weir_cl_arg_input(product, node, 1);
    weir_cl_arg_output(product, node, 0);
    const int64_t sizes[] = {
        matmul.m, matmul.n, matmul.k, matmul.a_row, matmul.a_k, matmul.b_k, matmul.b_column};
    WEIR_CL_SIZES(product, sizes);
    batch_args(&matmul, matmul.k * matmul.n, product);
    weir_cl_finish_args(node, view_of(node), built, product);
    return WEIR_OK;
}
