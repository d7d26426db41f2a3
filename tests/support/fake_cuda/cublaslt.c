// tests/support/fake_cuda/cublaslt.c: a cuBLASLt that multiplies in plain C when the stream comes
// to it.
//
// Its opaque structs hold what was said, in the open. It knows what the plugin asks for, and
// refuses the rest. The heuristic gives algorithm 1; an algorithm that it never gave is refused. So
// are operands that are aligned to less than the preference said, and a workspace that is not to
// 256 bytes, as the documentation wants it.
#include "tests/support/fake_cuda/fake.h"

#include <cublasLt.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define FAKE_CALL()                                                                                \
    do {                                                                                           \
        int fault_ = fake_cuda_enter(__func__, FAKE_FROM());                                       \
        if (fault_)                                                                                \
            return (cublasStatus_t)fault_;                                                         \
    } while (0)

#define FIRST_ALIGNMENT CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES

typedef struct layout {
    uint64_t rows, columns;
    int64_t distance, stride;
    int32_t batch;
    cudaDataType type;
} layout_t;

typedef struct desc {
    int32_t compute, first, second;
    uint32_t epilogue;
    const void *bias;
} desc_t;

typedef struct product {
    layout_t a, b, c, d;
    desc_t desc;
    float alpha, beta;
    const float *a_data, *b_data, *c_data;
    float *d_data;
    void *workspace;
} product_t;

_Static_assert(sizeof(layout_t) <= sizeof(cublasLtMatrixLayoutOpaque_t), "it fits");
_Static_assert(sizeof(desc_t) <= sizeof(cublasLtMatmulDescOpaque_t), "it fits");

static void read_layout(cublasLtMatrixLayout_t opaque, layout_t *out_layout)
{
    memcpy(out_layout, opaque, sizeof *out_layout);
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    static char there;
    FAKE_CALL();
    *handle = (cublasLtHandle_t)(void *)&there;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    FAKE_FREES();
    return fault    ? (cublasStatus_t)fault
           : handle ? CUBLAS_STATUS_SUCCESS
                    : CUBLAS_STATUS_INVALID_VALUE;
}

size_t cublasLtGetVersion(void)
{
    return 130000;
}

const char *cublasLtGetStatusName(cublasStatus_t status)
{
    if (fake_cuda_enter(__func__, FAKE_FROM()))
        return NULL;
    return status == CUBLAS_STATUS_ALLOC_FAILED       ? "CUBLAS_STATUS_ALLOC_FAILED"
           : status == CUBLAS_STATUS_EXECUTION_FAILED ? "CUBLAS_STATUS_EXECUTION_FAILED"
           : status == CUBLAS_STATUS_NOT_SUPPORTED    ? "CUBLAS_STATUS_NOT_SUPPORTED"
                                                      : "a status of the fake";
}

// ---- Descriptors --------------------------------------------------------------------------------

cublasStatus_t cublasLtMatmulDescInit_internal(
    cublasLtMatmulDesc_t opaque, size_t size, cublasComputeType_t compute, cudaDataType_t scale)
{
    FAKE_CALL();
    desc_t desc = {.compute = (int32_t)compute, .epilogue = CUBLASLT_EPILOGUE_DEFAULT};
    if (size != sizeof *opaque || scale != CUDA_R_32F)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(opaque, &desc, sizeof desc);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t opaque,
    cublasLtMatmulDescAttributes_t attribute, const void *value, size_t size)
{
    FAKE_CALL();
    desc_t desc;
    memcpy(&desc, opaque, sizeof desc);
    if (attribute == CUBLASLT_MATMUL_DESC_TRANSA && size == sizeof desc.first)
        memcpy(&desc.first, value, size);
    else if (attribute == CUBLASLT_MATMUL_DESC_TRANSB && size == sizeof desc.second)
        memcpy(&desc.second, value, size);
    else if (attribute == CUBLASLT_MATMUL_DESC_EPILOGUE && size == sizeof desc.epilogue)
        memcpy(&desc.epilogue, value, size);
    else if (attribute == CUBLASLT_MATMUL_DESC_BIAS_POINTER && size == sizeof desc.bias)
        memcpy(&desc.bias, value, size);
    else
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(opaque, &desc, sizeof desc);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t opaque, size_t size,
    cudaDataType type, uint64_t rows, uint64_t columns, int64_t distance)
{
    FAKE_CALL();
    layout_t layout = {
        .rows = rows, .columns = columns, .distance = distance, .batch = 1, .type = type};
    if (size != sizeof *opaque || distance < (int64_t)rows)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(opaque, &layout, sizeof layout);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t opaque,
    cublasLtMatrixLayoutAttribute_t attribute, const void *value, size_t size)
{
    FAKE_CALL();
    layout_t layout;
    read_layout(opaque, &layout);
    if (attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT && size == sizeof layout.batch)
        memcpy(&layout.batch, value, size);
    else if (attribute == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET &&
             size == sizeof layout.stride)
        memcpy(&layout.stride, value, size);
    else
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(opaque, &layout, sizeof layout);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceInit_internal(
    cublasLtMatmulPreference_t preference, size_t size)
{
    FAKE_CALL();
    memset(preference, 0, size);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
    cublasLtMatmulPreferenceAttributes_t attribute, const void *value, size_t size)
{
    FAKE_CALL();
    bool is_bytes = attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
    if (size == sizeof(uint32_t) && attribute >= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES &&
        attribute <= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES)
        memcpy((uint32_t *)(void *)preference + (attribute - FIRST_ALIGNMENT), value, size);
    return size == (is_bytes ? sizeof(uint64_t) : sizeof(uint32_t)) ? CUBLAS_STATUS_SUCCESS
                                                                    : CUBLAS_STATUS_INVALID_VALUE;
}

// ---- Algorithms ---------------------------------------------------------------------------------

// Do the matrices make a product? D (rows x columns) = op(A) op(B).
static cublasStatus_t check_shapes(const product_t *product)
{
    const layout_t *a = &product->a, *b = &product->b, *d = &product->d;
    uint64_t m = product->desc.first == CUBLAS_OP_T ? a->columns : a->rows;
    uint64_t k = product->desc.first == CUBLAS_OP_T ? a->rows : a->columns;
    uint64_t k_too = product->desc.second == CUBLAS_OP_T ? b->columns : b->rows;
    uint64_t n = product->desc.second == CUBLAS_OP_T ? b->rows : b->columns;
    if (m != d->rows || n != d->columns || k != k_too || a->batch != d->batch ||
        b->batch != d->batch || product->c.rows != m || product->c.columns != n)
        return CUBLAS_STATUS_INVALID_VALUE;
    return a->type == CUDA_R_32F && b->type == CUDA_R_32F && d->type == CUDA_R_32F
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_NOT_SUPPORTED;
}

static cublasStatus_t gather(product_t *product, cublasLtMatmulDesc_t desc,
    cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
    cublasLtMatrixLayout_t d)
{
    memset(product, 0, sizeof *product);
    memcpy(&product->desc, desc, sizeof product->desc);
    read_layout(a, &product->a);
    read_layout(b, &product->b);
    read_layout(c, &product->c);
    read_layout(d, &product->d);
    return check_shapes(product);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
    cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
    cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int wanted,
    cublasLtMatmulHeuristicResult_t results[], int *out_count)
{
    FAKE_CALL();
    product_t product;
    cublasStatus_t status = gather(&product, desc, a, b, c, d);
    *out_count = 0;
    // Nothing promises an answer for a bias that is nowhere.
    if ((product.desc.epilogue & CUBLASLT_EPILOGUE_BIAS) && !product.desc.bias)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (!handle || wanted < 1 || status != CUBLAS_STATUS_SUCCESS)
        return handle && wanted > 0 ? status : CUBLAS_STATUS_INVALID_VALUE;
    memset(&results[0], 0, sizeof results[0]);
    results[0].algo.data[0] = 1;
    memcpy(&results[0].algo.data[1], preference, 4 * sizeof(uint32_t));
    results[0].workspaceSize = 1024;
    *out_count = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
    cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
    cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t *algorithm,
    cublasLtMatmulHeuristicResult_t *result)
{
    FAKE_CALL();
    product_t product;
    cublasStatus_t status = gather(&product, desc, a, b, c, d);
    if (!handle || status != CUBLAS_STATUS_SUCCESS || algorithm->data[0] != 1)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    memset(result, 0, sizeof *result);
    result->algo = *algorithm;
    result->workspaceSize = 1024;
    return CUBLAS_STATUS_SUCCESS;
}

// ---- Multiplying --------------------------------------------------------------------------------

static float finish(const desc_t *desc, float value, uint64_t row)
{
    if (desc->epilogue & CUBLASLT_EPILOGUE_BIAS)
        value += ((const float *)desc->bias)[row];
    if (desc->epilogue & CUBLASLT_EPILOGUE_RELU)
        value = value < 0 ? 0 : value; // NaN stays
    if (desc->epilogue & CUBLASLT_EPILOGUE_GELU) {
        float inner = 0.7978845608f * (value + 0.044715f * value * value * value);
        value = 0.5f * value * (1 + tanhf(inner));
    }
    return value;
}

// Column-major, a column of D at a time.
static void multiply(
    const product_t *product, const float *a, const float *b, const float *c, float *d)
{
    uint64_t m = product->d.rows, n = product->d.columns;
    bool is_first_t = product->desc.first == CUBLAS_OP_T;
    bool is_second_t = product->desc.second == CUBLAS_OP_T;
    uint64_t k = is_first_t ? product->a.rows : product->a.columns;
    int64_t lda = product->a.distance, ldb = product->b.distance;
    for (uint64_t j = 0; j < n; j++) {
        float *column = d + (int64_t)j * product->d.distance;
        for (uint64_t i = 0; i < m; i++) {
            double sum = 0;
            for (uint64_t l = 0; l < k; l++) {
                float x = is_first_t ? a[(int64_t)i * lda + (int64_t)l]
                                     : a[(int64_t)l * lda + (int64_t)i];
                float y = is_second_t ? b[(int64_t)l * ldb + (int64_t)j]
                                      : b[(int64_t)j * ldb + (int64_t)l];
                sum += (double)x * (double)y;
            }
            float value = product->alpha * (float)sum;
            if (product->beta != 0)
                value += product->beta * c[(int64_t)j * product->c.distance + (int64_t)i];
            column[i] = finish(&product->desc, value, i);
        }
    }
}

static void run_product(const void *data)
{
    const product_t *product = data;
    memset(product->workspace, 0xff, 1024); // it is there to be written
    for (int64_t i = 0; i < product->d.batch; i++)
        multiply(product, product->a_data + i * product->a.stride,
            product->b_data + i * product->b.stride, product->c_data + i * product->c.stride,
            product->d_data + i * product->d.stride);
}

static bool are_aligned(const cublasLtMatmulAlgo_t *algorithm, const void *const operands[4])
{
    uint32_t alignments[4];
    memcpy(alignments, &algorithm->data[1], sizeof alignments);
    for (uint32_t i = 0; i < 4; i++)
        if (alignments[i] && (uintptr_t)operands[i] % alignments[i])
            return false;
    return true;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
    const void *a_data, cublasLtMatrixLayout_t a, const void *b_data, cublasLtMatrixLayout_t b,
    const void *beta, const void *c_data, cublasLtMatrixLayout_t c, void *d_data,
    cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t *algorithm, void *workspace,
    size_t workspace_bytes, cudaStream_t stream)
{
    FAKE_CALL();
    product_t product;
    cublasStatus_t status = gather(&product, desc, a, b, c, d);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    if (!handle || !a_data || !b_data || !d_data || algorithm->data[0] != 1 || !workspace ||
        workspace_bytes < 1024 || (uintptr_t)workspace % 256 ||
        !are_aligned(algorithm, (const void *[]){a_data, b_data, c_data, d_data}) ||
        ((product.desc.epilogue & CUBLASLT_EPILOGUE_BIAS) && !product.desc.bias))
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(&product.alpha, alpha, sizeof product.alpha);
    memcpy(&product.beta, beta, sizeof product.beta);
    product.a_data = a_data;
    product.b_data = b_data;
    product.c_data = c_data;
    product.d_data = d_data;
    product.workspace = workspace;
    return fake_cuda_enqueue(stream, run_product, &product, sizeof product) == 0
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_EXECUTION_FAILED;
}
