// backends/cuda/op_matmul.c: MatMul and Gemm: one product of cuBLASLt, or the own kernel where that
// is missing or the batches are no single stride apart.
#include "backends/cuda/op_common.h"

#include <string.h>

#define THREADS 256

// Both operators as one product.
typedef struct product {
    uint64_t m, n, k, batch;
    bool transpose_a, transpose_b;
    float alpha, beta;
    weir_cuda_axes_t batches; // walks: a, b
    bool has_c;
    uint32_t c; // input of the node
    uint64_t c_row, c_column, c_stride;
} product_t;

static bool has_own_c(const weir_node_t *node)
{
    return node->op[0] == 'G' && weir_cuda_owns(node, 2);
}

static weir_code_t supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->inputs[1].dtype != node->inputs[0].dtype ||
        (has_own_c(node) && node->inputs[2].dtype != node->inputs[0].dtype))
        return weir_cuda_refuse(out_support, "operands of several types");
    if (node->inputs[0].rank > 6 || node->inputs[1].rank > 6)
        return weir_cuda_refuse(out_support, "more than 6 axes");
    return weir_cuda_anchor_supports(node, out_support);
}

static weir_code_t supports_bf16(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->inputs[0].dtype != WEIR_F32)
        return weir_cuda_refuse(out_support, "it rounds f32 only");
    return supports(node, out_support);
}

static weir_cuda_fusion_t fusion_of(const weir_node_t *node)
{
    const bool is_free = !has_own_c(node);
    return weir_cuda_fusion(node, is_free, is_free);
}

static weir_code_t build(const weir_node_t *node, weir_cuda_build_t *out_build)
{
    const weir_cuda_fusion_t fusion = fusion_of(node);
    return weir_cuda_anchor_build(node, &fusion, out_build);
}

// ---------------------------------------------------------------------------------------------
// What is multiplied
// ---------------------------------------------------------------------------------------------

// The leading axes of one operand, each matrix one unit.
static void walk(weir_cuda_axes_t *batches, const weir_tensor_t *tensor)
{
    int64_t *strides = batches->strides[batches->walk_count++], stride = 1;
    const uint32_t own = tensor->rank > 2 ? tensor->rank - 2 : 0;
    for (uint32_t d = 0; d < batches->rank; d++) {
        const uint32_t axis = batches->rank - 1 - d;
        const int64_t dim = d < own ? tensor->dims[own - 1 - d] : 1;
        strides[axis] = dim == 1 ? 0 : stride;
        stride *= dim;
        if (dim != 1)
            batches->dims[axis] = dim;
    }
}

static void fill_matmul(const weir_node_t *node, product_t *p)
{
    const weir_tensor_t *a = &node->inputs[0], *b = &node->inputs[1];
    *p = (product_t){.m = a->rank > 1 ? (uint64_t)a->dims[a->rank - 2] : 1,
        .n = b->rank > 1 ? (uint64_t)b->dims[b->rank - 1] : 1,
        .k = (uint64_t)a->dims[a->rank - 1],
        .batch = 1,
        .alpha = 1.0f};
    const uint32_t a_axes = a->rank > 2 ? a->rank - 2 : 0, b_axes = b->rank > 2 ? b->rank - 2 : 0;
    p->batches.rank = WEIR_MAX(a_axes, b_axes);
    for (uint32_t d = 0; d < p->batches.rank; d++)
        p->batches.dims[d] = 1;
    walk(&p->batches, a);
    walk(&p->batches, b);
    weir_cuda_axes_merge(&p->batches);
    for (uint32_t d = 0; d < p->batches.rank; d++)
        p->batch *= (uint64_t)p->batches.dims[d];
    // One B for all batches of A: they are rows of one matrix.
    if (p->batches.rank == 1 && p->batches.strides[1][0] == 0 &&
        (p->batch == 1 || p->batches.strides[0][0] == 1)) {
        p->m *= p->batch;
        p->batch = 1;
    }
}

static void fill_gemm(const weir_node_t *node, product_t *p)
{
    const weir_tensor_t *a = &node->inputs[0], *b = &node->inputs[1];
    *p = (product_t){.batch = 1,
        .transpose_a = weir_node_int(node, "transA", 0) != 0,
        .transpose_b = weir_node_int(node, "transB", 0) != 0,
        .alpha = (float)weir_node_float(node, "alpha", 1.0),
        .batches = {.rank = 1, .walk_count = 2, .dims = {1}}};
    p->m = (uint64_t)a->dims[p->transpose_a];
    p->k = (uint64_t)a->dims[!p->transpose_a];
    p->n = (uint64_t)b->dims[!p->transpose_b];
    if (!has_own_c(node))
        return;
    const weir_tensor_t *c = &node->inputs[2];
    p->has_c = true;
    p->c = 2;
    p->beta = (float)weir_node_float(node, "beta", 1.0);
    p->c_column = c->rank && c->dims[c->rank - 1] != 1;
    p->c_row = c->rank > 1 && c->dims[0] != 1 ? (uint64_t)c->dims[c->rank - 1] : 0;
}

// ---------------------------------------------------------------------------------------------
// Who multiplies
// ---------------------------------------------------------------------------------------------

static weir_code_t plan_own(const weir_node_t *node, const product_t *p,
    const weir_cuda_fusion_t *fusion, weir_cuda_place_t to, weir_cuda_recipe_t *recipe)
{
    static const char *const entries[3] = WEIR_CUDA_ENTRIES_FLOAT("gemm");
    const uint64_t a_size = p->m * p->k, b_size = p->k * p->n;
    weir_cuda_gemm_params_t params = {.m = (uint32_t)p->m,
        .n = (uint32_t)p->n,
        .k = (uint32_t)p->k,
        .batch = (uint32_t)p->batch,
        .transpose_a = p->transpose_a,
        .transpose_b = p->transpose_b,
        .finish = fusion->has_relu ? WEIR_CUDA_FINISH_RELU : WEIR_CUDA_FINISH_NONE,
        .alpha = p->alpha,
        .beta = p->has_c ? p->beta : 1.0f,
        .lda = p->transpose_a ? p->m : p->k,
        .ldb = p->transpose_b ? p->k : p->n,
        .ldd = p->n,
        .c_row = p->c_row,
        .c_column = p->c_column,
        .d_stride = p->m * p->n};
    if (p->batches.rank > WEIR_CUDA_BATCH_AXES)
        return weir_cuda_cannot(recipe, node, WEIR_UNSUPPORTED, "batches along too many axes");
    params.batch_rank = p->batch > 1 ? p->batches.rank : 0;
    for (uint32_t d = 0; d < params.batch_rank; d++) {
        params.batch_dims[d] = weir_cuda_divide_by((uint32_t)p->batches.dims[d]);
        params.a_strides[d] = (uint64_t)p->batches.strides[0][d] * a_size;
        params.b_strides[d] = (uint64_t)p->batches.strides[1][d] * b_size;
    }
    if (fusion->has_addend) { // as large as the result
        params.c_row = p->n;
        params.c_column = 1;
        params.c_stride = p->m * p->n;
    }
    const weir_cuda_dim3_t grid = {(uint32_t)WEIR_DIV_UP(p->m, (uint64_t)WEIR_CUDA_TILE),
        (uint32_t)WEIR_DIV_UP(p->n, (uint64_t)WEIR_CUDA_TILE),
        (uint32_t)WEIR_MIN(p->batch, 65535u)};
    if (grid.y > 65535)
        return weir_cuda_cannot(recipe, node, WEIR_UNSUPPORTED, "too many columns");
    weir_cuda_kernel_step_t *step =
        weir_cuda_recipe_kernel(recipe, weir_cuda_entry_float(entries, node->inputs[0].dtype), 0,
            grid, (weir_cuda_dim3_t){THREADS, 1, 1}, 0, &params, sizeof params);
    if (!step)
        return WEIR_INTERNAL;
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_gemm_params_t, a), weir_cuda_input(0));
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_gemm_params_t, b), weir_cuda_input(1));
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_gemm_params_t, d), to);
    if (p->has_c || fusion->has_addend)
        weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_gemm_params_t, c),
            weir_cuda_input(p->has_c ? p->c : fusion->addend));
    if (fusion->has_bias)
        weir_cuda_step_pointer(
            step, WEIR_CUDA_AT(weir_cuda_gemm_params_t, bias), weir_cuda_input(fusion->bias));
    return WEIR_OK;
}

// C of Gemm as the library can add it: a bias, or as large as the result, which it is copied into.
static weir_code_t place_c(const weir_node_t *node, const product_t *p, weir_cuda_matmul_t *matmul,
    bool *out_is_bias, weir_cuda_recipe_t *recipe)
{
    *out_is_bias = p->has_c && !p->c_row && p->c_column && p->beta >= 1.0f && p->beta <= 1.0f;
    if (!p->has_c)
        return WEIR_OK;
    if (*out_is_bias) {
        matmul->bias = weir_cuda_input(p->c);
        return WEIR_OK;
    }
    matmul->beta = p->beta;
    if (p->c_row == p->n && p->c_column) {
        matmul->c = weir_cuda_input(p->c);
        return WEIR_OK;
    }
    weir_cuda_axes_t axes = {.rank = 2,
        .walk_count = 2,
        .dims = {(int64_t)p->m, (int64_t)p->n},
        .strides = {{(int64_t)p->c_row, (int64_t)p->c_column}, {(int64_t)p->n, 1}}};
    matmul->c = matmul->d;
    return weir_cuda_copy_axes(recipe, node, &axes, weir_dtype_bytes(matmul->dtype),
        weir_cuda_input(p->c), 0, matmul->d, 0);
}

static weir_code_t plan_library(const weir_node_t *node, const product_t *p,
    const weir_cuda_fusion_t *fusion, weir_cuda_place_t to, weir_cuda_recipe_t *recipe)
{
    const bool walks = p->batch > 1;
    bool is_bias = false;
    weir_cuda_matmul_t matmul = {.dtype = node->inputs[0].dtype,
        .precision = recipe->precision,
        .m = p->m,
        .n = p->n,
        .k = p->k,
        .batch = p->batch,
        .transpose_a = p->transpose_a,
        .transpose_b = p->transpose_b,
        .lda = p->transpose_a ? p->m : p->k,
        .ldb = p->transpose_b ? p->k : p->n,
        .ldc = p->n,
        .ldd = p->n,
        .stride_a = walks ? (uint64_t)p->batches.strides[0][0] * p->m * p->k : 0,
        .stride_b = walks ? (uint64_t)p->batches.strides[1][0] * p->k * p->n : 0,
        .stride_c = p->m * p->n,
        .stride_d = p->m * p->n,
        .alpha = p->alpha,
        .a = weir_cuda_input(0),
        .b = weir_cuda_input(1),
        .d = to};
    const weir_code_t code = place_c(node, p, &matmul, &is_bias, recipe);
    if (code != WEIR_OK)
        return code;
    if (fusion->has_bias) {
        matmul.bias = weir_cuda_input(fusion->bias);
        is_bias = true;
    }
    if (fusion->has_addend) {
        matmul.c = weir_cuda_input(fusion->addend);
        matmul.beta = 1.0f;
    }
    matmul.epilogue = is_bias && fusion->has_relu ? WEIR_CUDA_EPILOGUE_BIAS_RELU
                      : is_bias                   ? WEIR_CUDA_EPILOGUE_BIAS
                      : fusion->has_relu          ? WEIR_CUDA_EPILOGUE_RELU
                                                  : WEIR_CUDA_EPILOGUE_NONE;
    return weir_cuda_recipe_matmul(recipe, &matmul);
}

static weir_code_t plan(const weir_node_t *node, weir_cuda_recipe_t *recipe)
{
    const weir_cuda_fusion_t fusion = fusion_of(node);
    product_t p;
    weir_code_t code = weir_cuda_check_counts(recipe, node);
    if (code != WEIR_OK)
        return code;
    if (node->op[0] == 'G')
        fill_gemm(node, &p);
    else
        fill_matmul(node, &p);
    const weir_cuda_place_t to = weir_cuda_anchor_place(node, &fusion, recipe);
    // The library takes no empty sum; one row of batches, all along one stride.
    if (recipe->facts->has_matmul && p.k && p.batches.rank == 1)
        code = plan_library(node, &p, &fusion, to, recipe);
    else
        code = plan_own(node, &p, &fusion, to, recipe);
    return code == WEIR_OK ? weir_cuda_anchor_end(node, &fusion, to, recipe) : code;
}

#define ROW(operator, kernel_name, extra_flags, can)                                               \
    {                                                                                              \
        .kernel = {.head = {sizeof(weir_kernel_t), WEIR_KERNEL_EPILOGUE | (extra_flags)},          \
            .op = operator,                                                                        \
            .name = kernel_name,                                                                   \
            .revision = 1,                                                                         \
            .supports = can},                                                                      \
        .build = build, .plan = plan                                                               \
    }

static const weir_cuda_row_t rows[] = {
    ROW("MatMul", "cuda_matmul_bf16", WEIR_KERNEL_BF16, supports_bf16),
    ROW("Gemm", "cuda_gemm_bf16", WEIR_KERNEL_BF16, supports_bf16),
    ROW("MatMul", "cuda_matmul", 0, supports),
    ROW("Gemm", "cuda_gemm", 0, supports),
};

const weir_cuda_family_t weir_cuda_family_matmul = {rows, sizeof rows / sizeof rows[0]};
