// backends/cuda/matmul.c: matrix products by cuBLASLt.
//
// Row-major matrices are column-major ones transposed, so D' = B' A' is asked for: the bias, which
// goes along the columns of D, then is the one along the rows of D' that the library adds. The
// algorithm is what was chosen before for these sizes, or the heuristic's first. A bias lies
// somewhere else in each launch, so the descriptor, a plain struct, is made anew on the stack.
#include "backends/cuda/cuda.h"

#include <cublasLt.h>
#include <stdio.h>
#include <string.h>

#define WORKSPACE_MAX (32u << 20)
#define SOME_ADDRESS 0x10000 // of a bias that nobody reads

_Static_assert(sizeof(cublasLtMatmulAlgo_t) <= WEIR_CUDA_CHOICE_BYTES, "a choice holds it");

struct weir_cuda_matmuls {
    cublasLtHandle_t handle;
    __typeof__(cublasLtCreate) *create;
    __typeof__(cublasLtDestroy) *destroy;
    __typeof__(cublasLtGetVersion) *version;
    __typeof__(cublasLtGetStatusName) *status_name;
    __typeof__(cublasLtMatmul) *matmul;
    __typeof__(cublasLtMatmulDescInit_internal) *desc_init;
    __typeof__(cublasLtMatmulDescSetAttribute) *desc_set;
    __typeof__(cublasLtMatrixLayoutInit_internal) *layout_init;
    __typeof__(cublasLtMatrixLayoutSetAttribute) *layout_set;
    __typeof__(cublasLtMatmulPreferenceInit_internal) *preference_init;
    __typeof__(cublasLtMatmulPreferenceSetAttribute) *preference_set;
    __typeof__(cublasLtMatmulAlgoGetHeuristic) *heuristic;
    __typeof__(cublasLtMatmulAlgoCheck) *check;
    weir_cuda_device_t *device;
};

static const struct {
    const char *name;
    size_t at;
} calls[] = {
    {"cublasLtCreate", offsetof(weir_cuda_matmuls_t, create)},
    {"cublasLtDestroy", offsetof(weir_cuda_matmuls_t, destroy)},
    {"cublasLtGetVersion", offsetof(weir_cuda_matmuls_t, version)},
    {"cublasLtGetStatusName", offsetof(weir_cuda_matmuls_t, status_name)},
    {"cublasLtMatmul", offsetof(weir_cuda_matmuls_t, matmul)},
    {"cublasLtMatmulDescInit_internal", offsetof(weir_cuda_matmuls_t, desc_init)},
    {"cublasLtMatmulDescSetAttribute", offsetof(weir_cuda_matmuls_t, desc_set)},
    {"cublasLtMatrixLayoutInit_internal", offsetof(weir_cuda_matmuls_t, layout_init)},
    {"cublasLtMatrixLayoutSetAttribute", offsetof(weir_cuda_matmuls_t, layout_set)},
    {"cublasLtMatmulPreferenceInit_internal", offsetof(weir_cuda_matmuls_t, preference_init)},
    {"cublasLtMatmulPreferenceSetAttribute", offsetof(weir_cuda_matmuls_t, preference_set)},
    {"cublasLtMatmulAlgoGetHeuristic", offsetof(weir_cuda_matmuls_t, heuristic)},
    {"cublasLtMatmulAlgoCheck", offsetof(weir_cuda_matmuls_t, check)},
};

// A product that can be launched from any thread.
typedef struct plan {
    weir_cuda_matmul_t shape; // without places
    cublasComputeType_t compute;
    cudaDataType_t type;
    cublasLtMatrixLayoutOpaque_t a, b, c, d; // of the row-major names
    cublasLtMatmulAlgo_t algorithm;
    uint64_t workspace_bytes;
} plan_t;

// ---- The library --------------------------------------------------------------------------------

static const char *name_of(const weir_cuda_matmuls_t *matmuls, cublasStatus_t status)
{
    const char *name = matmuls->status_name(status);
    return name ? name : "a status without a name";
}

weir_cuda_matmuls_t *weir_cuda_matmuls_open(weir_cuda_device_t *device)
{
    weir_cuda_state_t *state = device->state;
    weir_cuda_library_t *library = &state->libraries[WEIR_CUDA_LIBRARY_CUBLASLT];
    const weir_host_t *host = device->host;
    weir_cuda_matmuls_t *matmuls = host->alloc(host, sizeof *matmuls);
    if (!matmuls)
        return NULL;
    matmuls->device = device;
    pthread_mutex_lock(&state->lock);
    bool is_there = weir_cuda_library(state, WEIR_CUDA_LIBRARY_CUBLASLT) != NULL;
    for (uint32_t i = 0; is_there && i < sizeof calls / sizeof calls[0]; i++) {
        void *symbol = weir_cuda_symbol(state, WEIR_CUDA_LIBRARY_CUBLASLT, calls[i].name);
        is_there = symbol != NULL;
        memcpy((char *)matmuls + calls[i].at, &symbol, sizeof symbol);
    }
    if (is_there) {
        size_t version = matmuls->version();
        snprintf(library->version, sizeof library->version, "cuBLASLt %zu.%zu.%zu", version / 10000,
            version % 10000 / 100, version % 100);
    }
    pthread_mutex_unlock(&state->lock);
    if (!is_there)
        weir_cuda_library_missed(device, WEIR_CUDA_LIBRARY_CUBLASLT);
    if (is_there) {
        cublasStatus_t status = matmuls->create(&matmuls->handle);
        is_there = status == CUBLAS_STATUS_SUCCESS;
        if (!is_there) {
            char text[WEIR_REASON_BYTES];
            snprintf(text, sizeof text,
                "cuda:%u: products run on the own kernel: cublasLtCreate: %s", device->index,
                name_of(matmuls, status));
            host->log(host, 1, text);
        }
    }
    if (is_there)
        return matmuls;
    host->free(host, matmuls);
    return NULL;
}

void weir_cuda_matmuls_close(weir_cuda_matmuls_t *matmuls)
{
    if (!matmuls)
        return;
    const weir_host_t *host = matmuls->device->host;
    (void)matmuls->destroy(matmuls->handle);
    host->free(host, matmuls);
}

static weir_code_t checked(
    weir_cuda_device_t *device, cublasStatus_t status, const char *call, weir_cuda_asked_t asked)
{
    if (status == CUBLAS_STATUS_SUCCESS)
        return WEIR_OK;
    weir_code_t code = WEIR_INTERNAL;
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_ARCH_MISMATCH)
        code = WEIR_UNSUPPORTED;
    else if (status == CUBLAS_STATUS_ALLOC_FAILED)
        code = WEIR_RESOURCE_EXHAUSTED;
    else if (status == CUBLAS_STATUS_EXECUTION_FAILED) // the context is spoiled
        code = WEIR_DEVICE_LOST;
    return weir_cuda_library_failed(device, asked, code, call, name_of(device->matmuls, status));
}

// ---- Descriptors --------------------------------------------------------------------------------

static cublasLtEpilogue_t epilogue_of(weir_cuda_epilogue_t epilogue)
{
    switch (epilogue) {
    case WEIR_CUDA_EPILOGUE_BIAS:
        return CUBLASLT_EPILOGUE_BIAS;
    case WEIR_CUDA_EPILOGUE_RELU:
        return CUBLASLT_EPILOGUE_RELU;
    case WEIR_CUDA_EPILOGUE_BIAS_RELU:
        return CUBLASLT_EPILOGUE_RELU_BIAS;
    case WEIR_CUDA_EPILOGUE_GELU_TANH:
        return CUBLASLT_EPILOGUE_GELU;
    case WEIR_CUDA_EPILOGUE_BIAS_GELU_TANH:
        return CUBLASLT_EPILOGUE_GELU_BIAS;
    case WEIR_CUDA_EPILOGUE_NONE:
        break;
    }
    return CUBLASLT_EPILOGUE_DEFAULT;
}

static bool has_bias(weir_cuda_epilogue_t epilogue)
{
    return epilogue == WEIR_CUDA_EPILOGUE_BIAS || epilogue == WEIR_CUDA_EPILOGUE_BIAS_RELU ||
           epilogue == WEIR_CUDA_EPILOGUE_BIAS_GELU_TANH;
}

static weir_code_t fill_desc(weir_cuda_device_t *device, const plan_t *plan, CUdeviceptr bias,
    weir_cuda_asked_t asked, cublasLtMatmulDescOpaque_t *out_desc)
{
    const weir_cuda_matmuls_t *lib = device->matmuls;
    const weir_cuda_matmul_t *shape = &plan->shape;
    // B' comes first.
    int32_t first = shape->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    int32_t second = shape->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    uint32_t epilogue = epilogue_of(shape->epilogue);
    const void *vector = (const void *)(uintptr_t)bias;
    cublasStatus_t status = lib->desc_init(out_desc, sizeof *out_desc, plan->compute, CUDA_R_32F);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = lib->desc_set(out_desc, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = lib->desc_set(out_desc, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = lib->desc_set(out_desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    if (status == CUBLAS_STATUS_SUCCESS && has_bias(shape->epilogue))
        status = lib->desc_set(out_desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &vector, sizeof vector);
    return checked(device, status, "the descriptor of a product", asked);
}

// The layout of a row-major matrix, as the library sees it.
static weir_code_t fill_layout(weir_cuda_device_t *device, const plan_t *plan, uint64_t rows,
    uint64_t columns, uint64_t distance, uint64_t stride, cublasLtMatrixLayoutOpaque_t *out_layout)
{
    const weir_cuda_matmuls_t *lib = device->matmuls;
    int32_t batch = (int32_t)plan->shape.batch;
    int64_t step = (int64_t)stride;
    cublasStatus_t status = lib->layout_init(
        out_layout, sizeof *out_layout, plan->type, columns, rows, (int64_t)distance);
    if (status == CUBLAS_STATUS_SUCCESS && batch > 1)
        status =
            lib->layout_set(out_layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch);
    if (status == CUBLAS_STATUS_SUCCESS && batch > 1)
        status = lib->layout_set(
            out_layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step);
    return checked(device, status, "the layout of a matrix", WEIR_CUDA_ASKED_PLAN);
}

static weir_code_t fill_layouts(weir_cuda_device_t *device, plan_t *plan)
{
    const weir_cuda_matmul_t *shape = &plan->shape;
    uint64_t m = shape->m, n = shape->n, k = shape->k;
    weir_code_t code = fill_layout(device, plan, shape->transpose_a ? k : m,
        shape->transpose_a ? m : k, shape->lda, shape->stride_a, &plan->a);
    if (code == WEIR_OK)
        code = fill_layout(device, plan, shape->transpose_b ? n : k, shape->transpose_b ? k : n,
            shape->ldb, shape->stride_b, &plan->b);
    if (code == WEIR_OK)
        code = fill_layout(device, plan, m, n, shape->ldd, shape->stride_d, &plan->d);
    plan->c = plan->d;
    if (code == WEIR_OK && shape->beta != 0)
        code = fill_layout(device, plan, m, n, shape->ldc, shape->stride_c, &plan->c);
    return code;
}

// ---- Choosing -----------------------------------------------------------------------------------

// What a pointer is aligned to at least: tensors lie at multiples of 64, a view anywhere.
static uint32_t alignment_of(const weir_cuda_place_t *place)
{
    return place->offset % 16 ? weir_dtype_bytes(WEIR_F16) : 16;
}

static cublasStatus_t fill_preference(const weir_cuda_matmuls_t *lib,
    const weir_cuda_matmul_t *matmul, cublasLtMatmulPreferenceOpaque_t *out_preference)
{
    static const cublasLtMatmulPreferenceAttributes_t attributes[4] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    const weir_cuda_place_t *places[4] = {&matmul->b, &matmul->a, // B' comes first
        matmul->beta != 0 ? &matmul->c : &matmul->d, &matmul->d};
    uint64_t workspace = WORKSPACE_MAX;
    cublasStatus_t status = lib->preference_init(out_preference, sizeof *out_preference);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = lib->preference_set(
            out_preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
    for (uint32_t i = 0; i < 4 && status == CUBLAS_STATUS_SUCCESS; i++) {
        uint32_t alignment = alignment_of(places[i]);
        status = lib->preference_set(out_preference, attributes[i], &alignment, sizeof alignment);
    }
    return status;
}

static weir_code_t choose(
    weir_cuda_device_t *device, const weir_cuda_matmul_t *matmul, plan_t *plan)
{
    const weir_cuda_matmuls_t *lib = device->matmuls;
    cublasLtMatmulDescOpaque_t desc;
    cublasLtMatmulPreferenceOpaque_t preference;
    cublasLtMatmulHeuristicResult_t result;
    uint8_t choice[WEIR_CUDA_CHOICE_BYTES] = {0};
    int count = 0;
    // Nothing says that an algorithm can be asked for without the bias being somewhere.
    weir_code_t code = fill_desc(device, plan, SOME_ADDRESS, WEIR_CUDA_ASKED_PLAN, &desc);
    if (code != WEIR_OK)
        return code;
    if (weir_cuda_choice_get(device, &plan->shape, sizeof plan->shape, choice)) {
        memcpy(&plan->algorithm, choice, sizeof plan->algorithm);
        if (lib->check(lib->handle, &desc, &plan->b, &plan->a, &plan->c, &plan->d, &plan->algorithm,
                &result) == CUBLAS_STATUS_SUCCESS &&
            result.workspaceSize <= WORKSPACE_MAX) {
            plan->workspace_bytes = result.workspaceSize;
            return WEIR_OK;
        }
    }
    code = checked(
        device, fill_preference(lib, matmul, &preference), "a preference", WEIR_CUDA_ASKED_PLAN);
    if (code == WEIR_OK)
        code = checked(device,
            lib->heuristic(lib->handle, &desc, &plan->b, &plan->a, &plan->c, &plan->d, &preference,
                1, &result, &count),
            "cublasLtMatmulAlgoGetHeuristic", WEIR_CUDA_ASKED_PLAN);
    if (code == WEIR_OK && (count < 1 || result.state != CUBLAS_STATUS_SUCCESS))
        code = weir_cuda_stay_own(device, "cuBLASLt has no algorithm for a product");
    if (code != WEIR_OK)
        return code;
    plan->algorithm = result.algo;
    plan->workspace_bytes = result.workspaceSize;
    memset(choice, 0, sizeof choice);
    memcpy(choice, &result.algo, sizeof result.algo);
    weir_cuda_choice_put(device, &plan->shape, sizeof plan->shape, choice);
    return WEIR_OK;
}

// ---- Plans --------------------------------------------------------------------------------------

static cublasComputeType_t compute_of(weir_cuda_precision_t precision)
{
    switch (precision) {
    case WEIR_CUDA_TF32:
        return CUBLAS_COMPUTE_32F_FAST_TF32;
    case WEIR_CUDA_BF16:
        return CUBLAS_COMPUTE_32F_FAST_16BF;
    case WEIR_CUDA_F16:
        return CUBLAS_COMPUTE_32F_FAST_16F;
    case WEIR_CUDA_F32:
        break;
    }
    return CUBLAS_COMPUTE_32F;
}

// A copy that is the same for the same product: every byte of it is part of a key.
static void copy_shape(const weir_cuda_matmul_t *matmul, weir_cuda_matmul_t *out)
{
    const weir_cuda_place_t *from[5] = {
        &matmul->a, &matmul->b, &matmul->c, &matmul->d, &matmul->bias};
    weir_cuda_place_t *to[5] = {&out->a, &out->b, &out->c, &out->d, &out->bias};
    memset(out, 0, sizeof *out);
    out->dtype = matmul->dtype;
    out->precision = matmul->precision;
    out->m = matmul->m;
    out->n = matmul->n;
    out->k = matmul->k;
    out->batch = matmul->batch ? matmul->batch : 1;
    out->transpose_a = matmul->transpose_a;
    out->transpose_b = matmul->transpose_b;
    out->lda = matmul->lda;
    out->ldb = matmul->ldb;
    out->ldc = matmul->beta != 0 ? matmul->ldc : 0;
    out->ldd = matmul->ldd;
    out->stride_a = matmul->stride_a;
    out->stride_b = matmul->stride_b;
    out->stride_c = matmul->beta != 0 ? matmul->stride_c : 0;
    out->stride_d = matmul->stride_d;
    out->alpha = matmul->alpha;
    out->beta = matmul->beta;
    out->epilogue = matmul->epilogue;
    for (uint32_t i = 0; i < 5; i++)
        to[i]->offset = alignment_of(from[i]);
}

weir_code_t weir_cuda_matmul_plan(weir_cuda_device_t *device, const weir_cuda_matmul_t *matmul,
    void **out_plan, uint64_t *out_workspace_bytes)
{
    const weir_host_t *host = device->host;
    *out_plan = NULL;
    if (!device->matmuls || matmul->batch > INT32_MAX)
        return weir_cuda_stay_own(device, "cuBLASLt is not there for a product");
    plan_t *plan = host->alloc(host, sizeof *plan);
    if (!plan)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a product");
    memset(plan, 0, sizeof *plan);
    copy_shape(matmul, &plan->shape);
    plan->compute = compute_of(matmul->precision);
    plan->type = CUDA_R_32F;
    if (matmul->dtype != WEIR_F32) { // what is stored in 16 bits is multiplied in 16 bits
        plan->type = matmul->dtype == WEIR_BF16 ? CUDA_R_16BF : CUDA_R_16F;
        plan->compute = CUBLAS_COMPUTE_32F;
    }
    weir_code_t code = fill_layouts(device, plan);
    if (code == WEIR_OK)
        code = choose(device, matmul, plan);
    if (code != WEIR_OK) {
        host->free(host, plan);
        return code;
    }
    *out_plan = plan;
    *out_workspace_bytes = plan->workspace_bytes;
    return WEIR_OK;
}

void weir_cuda_matmul_free(weir_cuda_device_t *device, void *plan)
{
    device->host->free(device->host, plan);
}

static void *pointer(CUdeviceptr address)
{
    return (void *)(uintptr_t)address;
}

weir_code_t weir_cuda_matmul_enqueue(weir_cuda_device_t *device, const void *opaque,
    const CUdeviceptr addresses[5], CUdeviceptr workspace, CUstream stream, weir_cuda_asked_t asked)
{
    const weir_cuda_matmuls_t *lib = device->matmuls;
    plan_t plan = *(const plan_t *)opaque; // the library takes layouts that are not const
    cublasLtMatmulDescOpaque_t desc;
    weir_code_t code = fill_desc(device, &plan, addresses[4], asked, &desc);
    if (code != WEIR_OK)
        return code;
    const void *c = pointer(plan.shape.beta != 0 ? addresses[2] : addresses[3]);
    return checked(device,
        lib->matmul(lib->handle, &desc, &plan.shape.alpha, pointer(addresses[1]), &plan.b,
            pointer(addresses[0]), &plan.a, &plan.shape.beta, c, &plan.c, pointer(addresses[3]),
            &plan.d, &plan.algorithm, plan.workspace_bytes ? pointer(workspace) : NULL,
            plan.workspace_bytes, stream),
        "cublasLtMatmul", asked);
}
