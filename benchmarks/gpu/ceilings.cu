// benchmarks/gpu/ceilings.cu: what this GPU gives at most: copies in its memory, to and from the host, and a
// large bf16 product of cuBLASLt. Shares of a ceiling are shares of these.
//
// One JSON object on the last line. Each figure is the best of some runs, timed by events. cuBLASLt is loaded by
// its name, because where it lies beside PyTorch there is nothing to link with; without it that figure is 0.
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#define CHECK(call)                                                                                \
    do {                                                                                           \
        if ((call) != 0) {                                                                         \
            std::fprintf(stderr, "%s failed\n", #call);                                            \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

template <class Work> static float best_ms(int runs, Work work)
{
    cudaEvent_t first, last;
    float best = 1e30f;
    CHECK(cudaEventCreate(&first));
    CHECK(cudaEventCreate(&last));
    for (int i = 0; i < runs + 2; i++) {
        float ms = 0;
        CHECK(cudaEventRecord(first));
        work();
        CHECK(cudaEventRecord(last));
        CHECK(cudaEventSynchronize(last));
        CHECK(cudaEventElapsedTime(&ms, first, last));
        if (i >= 2 && ms < best)
            best = ms;
    }
    return best;
}

static double copy_gb_s(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, int sides)
{
    float ms = best_ms(10, [&] { CHECK(cudaMemcpyAsync(to, from, bytes, kind)); });
    return sides * (double)bytes / ms * 1e-6;
}

static void *library()
{
    static void *handle;
    for (const char *name : {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"})
        if (!handle)
            handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    return handle;
}

template <class Call> static Call *find(const char *name)
{
    Call *call = (Call *)dlsym(library(), name);
    if (!call) {
        std::fprintf(stderr, "cuBLASLt has no %s\n", name);
        std::exit(1);
    }
    return call;
}
#define LT(name) find<decltype(name)>(#name)

// So many bf16 of 0.5 to 2, of either sign, from a seed. Constants, or what underflows to 0 in a product, take less
// power than a model's numbers do.
static void fill(void *to, size_t count, uint64_t seed)
{
    std::vector<uint16_t> values(count);
    for (uint16_t &value : values) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t drawn = (uint32_t)(seed >> 33);
        value = (uint16_t)(0x3f00 | (drawn & 0xff) | (drawn & 0x100) << 7);
    }
    CHECK(cudaMemcpy(to, values.data(), count * sizeof values[0], cudaMemcpyHostToDevice));
}

// N x N x N in bf16, sums in f32.
static double gemm_tflop_s(int n)
{
    if (!library())
        return 0;
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t layout;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t result;
    __nv_bfloat16 *a, *b, *d;
    void *workspace;
    size_t room = 64u << 20, bytes = (size_t)n * n * sizeof *a;
    int count = 0;
    float one = 1, zero = 0;
    CHECK(cudaMalloc(&a, bytes));
    CHECK(cudaMalloc(&b, bytes));
    CHECK(cudaMalloc(&d, bytes));
    CHECK(cudaMalloc(&workspace, room));
    fill(a, (size_t)n * n, 1);
    fill(b, (size_t)n * n, 2);
    CHECK(LT(cublasLtCreate)(&handle));
    CHECK(LT(cublasLtMatmulDescCreate)(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    CHECK(LT(cublasLtMatrixLayoutCreate)(&layout, CUDA_R_16BF, n, n, n));
    CHECK(LT(cublasLtMatmulPreferenceCreate)(&preference));
    CHECK(LT(cublasLtMatmulPreferenceSetAttribute)(
        preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room, sizeof room));
    CHECK(LT(cublasLtMatmulAlgoGetHeuristic)(
        handle, desc, layout, layout, layout, layout, preference, 1, &result, &count));
    float ms = best_ms(20, [&] {
        CHECK(LT(cublasLtMatmul)(handle, desc, &one, a, layout, b, layout, &zero, d, layout, d, layout,
            &result.algo, workspace, room, 0));
    });
    return 2.0 * n * n * n / ms * 1e-9;
}

int main()
{
    const size_t bytes = 512u << 20;
    void *one, *two, *host;
    CHECK(cudaMalloc(&one, bytes));
    CHECK(cudaMalloc(&two, bytes));
    CHECK(cudaMallocHost(&host, bytes));
    double device = copy_gb_s(two, one, bytes, cudaMemcpyDeviceToDevice, 2);
    double up = copy_gb_s(one, host, bytes, cudaMemcpyHostToDevice, 1);
    double down = copy_gb_s(host, one, bytes, cudaMemcpyDeviceToHost, 1);
    double launch_us = best_ms(50, [&] { CHECK(cudaMemsetAsync(one, 0, 4)); }) * 1e3;
    std::printf("{\"copy_gb_s\": %.1f, \"upload_gb_s\": %.1f, \"download_gb_s\": %.1f, \"memset_us\": "
                "%.2f, \"gemm_bf16_tflop_s\": %.1f}\n",
        device, up, down, launch_us, gemm_tflop_s(8192));
    return 0;
}
