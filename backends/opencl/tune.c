// backends/opencl/tune.c: how many rows a work-item of the cpu family's product of matrices takes,
// tried out on the device: what a driver's compiler makes of a tile is not known before.
//
// Tried while a plan with a large product is made, never in a run; a few candidates, at most about
// two seconds; the winner is kept in weir's cache under the device's and the driver's names. The
// sums of an element are the same in each: the bits do not depend on it.
#include "backends/opencl/opencl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_ROWS 8
#define LARGE_FLOATS (256u * 256u) // of a constant factor
#define BUDGET_NS 2000000000u
#define RUNS 5

// Of the product that is timed; each candidate divides the rows.
#define SIZE_M 840
#define SIZE_N 256
#define SIZE_K 256

static const int64_t candidates[] = {DEFAULT_ROWS, 6, 7, 10};

// Seconds are worth it only where products are.
static bool has_large_product(const weir_slice_t *slice)
{
    for (uint32_t i = 0; i < slice->node_count; i++) {
        const weir_node_t *node = &slice->nodes[i].node;
        if ((!strcmp(node->op, "MatMul") || !strcmp(node->op, "Gemm")) && node->input_count > 1 &&
            (node->inputs[1].flags & WEIR_TENSOR_CONSTANT) &&
            node->inputs[1].element_count >= LARGE_FLOATS)
            return true;
    }
    return false;
}

static cl_int set_arguments(cl_kernel kernel, const cl_mem memory[3])
{
    const cl_int go = 1;
    const cl_ulong start = 0;
    const cl_long sizes[] = {SIZE_M, SIZE_N, SIZE_K, SIZE_K, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0};
    cl_uint at = 0;
    cl_int error = clSetKernelArg(kernel, at++, sizeof go, &go);
    for (uint32_t i = 0; i < 3; i++) {
        error |= clSetKernelArg(kernel, at++, sizeof memory[i], &memory[i]);
        error |= clSetKernelArg(kernel, at++, sizeof start, &start);
    }
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        error |= clSetKernelArg(kernel, at++, sizeof sizes[i], &sizes[i]);
    return error;
}

// The least time of a few runs; UINT64_MAX: it does not run.
static uint64_t time_of(weir_cl_device_t *device, cl_kernel kernel, int64_t rows)
{
    const size_t global[3] = {(size_t)(SIZE_M / rows), SIZE_N / 32, 1}, local[3] = {1, 1, 1};
    uint64_t best = UINT64_MAX;
    for (uint32_t run = 0; run <= RUNS; run++) {
        cl_ulong start = 0, end = 0;
        cl_event event;
        cl_int error = clEnqueueNDRangeKernel(
            device->commands, kernel, 3, NULL, global, local, 0, NULL, &event);
        if (error != CL_SUCCESS)
            return UINT64_MAX;
        error = weir_cl_wait(device, device->commands, event);
        if (error == CL_SUCCESS)
            error = clGetEventProfilingInfo(
                event, CL_PROFILING_COMMAND_START, sizeof start, &start, NULL);
        if (error == CL_SUCCESS)
            error =
                clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL);
        (void)clReleaseEvent(event);
        if (error != CL_SUCCESS || end <= start)
            return UINT64_MAX;
        if (run > 0) // the first one compiles
            best = WEIR_MIN(best, end - start);
    }
    return best;
}

static uint64_t try_rows(weir_cl_device_t *device, int64_t rows, const cl_mem memory[3])
{
    char own[256];
    weir_cl_source_t *source;
    uint64_t best = UINT64_MAX;
    cl_int error = CL_SUCCESS;
    (void)snprintf(own, sizeof own,
        "#define ROWS %" PRId64 "\n#define FINISH_PARAMETERS\n#define FINISH_POINTERS\n"
        "#define FINISH16(v, at, line, column) (v)\n#define FINISH1(v, at, line, column) (v)\n",
        rows);
    if (weir_cl_source_get(device, "cpu/matmul",
            "#define WEIR_FAMILY_CPU 1\n#define WEIR_LX 1\n#define WEIR_LY 1\n#define WEIR_LZ 1\n",
            own, NULL, &source) != WEIR_OK)
        return best;
    cl_kernel kernel = clCreateKernel(source->program, "weir_matmul", &error);
    if (error == CL_SUCCESS) {
        if (set_arguments(kernel, memory) == CL_SUCCESS)
            best = time_of(device, kernel, rows);
        (void)clReleaseKernel(kernel);
    }
    weir_cl_source_release(device, source);
    return best;
}

static int64_t try_all(weir_cl_device_t *device)
{
    const size_t floats[3] = {SIZE_M * SIZE_K, SIZE_K * SIZE_N, SIZE_M * SIZE_N};
    const cl_float zero = 0;
    const uint64_t begin = weir_cl_now_ns();
    cl_mem memory[3] = {NULL, NULL, NULL};
    cl_int error = CL_SUCCESS;
    for (uint32_t i = 0; i < 3 && error == CL_SUCCESS; i++) {
        memory[i] = clCreateBuffer(
            device->context, CL_MEM_READ_WRITE, floats[i] * sizeof zero, NULL, &error);
        if (error == CL_SUCCESS)
            error = clEnqueueFillBuffer(device->commands, memory[i], &zero, sizeof zero, 0,
                floats[i] * sizeof zero, 0, NULL, NULL);
    }
    int64_t rows = DEFAULT_ROWS;
    uint64_t best = UINT64_MAX;
    for (uint32_t i = 0; error == CL_SUCCESS && i < sizeof candidates / sizeof candidates[0]; i++) {
        if (weir_cl_now_ns() - begin > BUDGET_NS || atomic_load(&device->is_lost))
            break;
        const uint64_t taken = try_rows(device, candidates[i], memory);
        // A few percent are noise.
        if (i == 0 || taken < best - best / 20) {
            best = taken;
            rows = candidates[i];
        }
    }
    for (uint32_t i = 0; i < 3; i++)
        if (memory[i])
            (void)clReleaseMemObject(memory[i]);
    return rows;
}

static bool is_candidate(int64_t rows)
{
    for (uint32_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++)
        if (candidates[i] == rows)
            return true;
    return false;
}

// What an earlier process found; 0: nothing.
static int64_t recall(const weir_host_t *host, const char *key)
{
    const void *data;
    uint64_t bytes;
    int64_t rows = 0;
    if (!host->blob_get || host->blob_get(host, key, &data, &bytes) != WEIR_OK)
        return 0;
    if (bytes == sizeof rows)
        memcpy(&rows, data, sizeof rows);
    host->blob_release(host, data);
    return is_candidate(rows) ? rows : 0;
}

int64_t weir_cl_tune(weir_cl_device_t *device, const weir_slice_t *slice)
{
    const weir_host_t *host = device->host;
    pthread_mutex_lock(&device->lock);
    int64_t rows = device->matmul_rows;
    pthread_mutex_unlock(&device->lock);
    if (rows)
        return rows;
    if (device->facts.family != WEIR_CL_FAMILY_CPU || !host->blob_put ||
        !weir_cl_number(host, "tune", 1) || !has_large_product(slice))
        return DEFAULT_ROWS;
    uint64_t hash[2] = {3, 4};
    char key[64];
    weir_cl_hash(device->stamp, strlen(device->stamp), hash);
    (void)snprintf(key, sizeof key, "matmul tile %016" PRIx64 "%016" PRIx64, hash[0], hash[1]);
    rows = recall(host, key);
    if (!rows) {
        rows = try_all(device);
        if (atomic_load(&device->is_lost)) // that says nothing of the tiles
            return rows;
        (void)host->blob_put(host, key, &rows, sizeof rows); // without a cache: again next time
    }
    pthread_mutex_lock(&device->lock);
    device->matmul_rows = rows;
    pthread_mutex_unlock(&device->lock);
    return rows;
}
