// How much of the machine's FMA ceiling weir_cpu's f32 MatMul reaches, on one thread.
//
//   bench_gemm [PLUGIN.so] [--isa NAME] [--shape MxKxN]... [--turns N] [--min-ratio R]
//
// The ceiling is a loop of independent fused multiply-adds that touches registers only. Ceiling and
// MatMul are timed in turns, each ratio from neighbours in time, so that a shared machine's drift
// hits both; the figure is the median of the ratios. Time is this thread's CPU time. B is a
// constant, packed before. Prints a line for people and a JSON line for each shape. Exit code 1: a
// shape stays under --min-ratio; 2: it could not run, or a product was wrong.
#include <math.h>

#include "benchmarks/kernels/ceiling.h"
#include "tests/kernels/cpu_host.h"

#define SHAPES_MAX 16
#define TURNS_MAX 1001

typedef struct shape {
    int64_t m, k, n;
} shape_t;

typedef struct result {
    double ratio, upper_ratio, gflops, ceiling;
} result_t;

static float *random_floats(int64_t count)
{
    float *numbers = aligned_alloc(64, ((size_t)count * sizeof(float) + 64) / 64 * 64);
    uint32_t state = 1;
    for (int64_t i = 0; numbers && i < count; i++) {
        state = state * 1664525u + 1013904223u;
        numbers[i] = (float)(state >> 8) / 16777216.0f - 0.5f;
    }
    return numbers;
}

static weir_tensor_t matrix(float *data, const int64_t *dims, uint32_t flags)
{
    const uint64_t count = (uint64_t)dims[0] * (uint64_t)dims[1];
    return (weir_tensor_t){.data = data,
        .bytes = count * sizeof(float),
        .element_count = count,
        .dims = dims,
        .dtype = WEIR_F32,
        .rank = 2,
        .flags = flags};
}

// The largest error of a few elements against double, so that no wrong product is timed.
static double spot_error(const shape_t *shape, const float *a, const float *b, const float *c)
{
    double worst = 0;
    for (int64_t s = 0; s < 64; s++) {
        const int64_t i = s * 7919 % shape->m, j = s * 104729 % shape->n;
        double sum = 0;
        for (int64_t k = 0; k < shape->k; k++)
            sum += (double)a[i * shape->k + k] * (double)b[k * shape->n + j];
        worst = fmax(worst, fabs(sum - (double)c[i * shape->n + j]));
    }
    return worst;
}

static int measure(cpu_host_t *host, const weir_kernel_t *kernel, const shape_t *shape,
    size_t turns, result_t *out_result)
{
    static double ratios[TURNS_MAX], speeds[TURNS_MAX], ceilings[TURNS_MAX];
    const int64_t a_dims[2] = {shape->m, shape->k}, b_dims[2] = {shape->k, shape->n};
    const int64_t c_dims[2] = {shape->m, shape->n};
    float *a = random_floats(shape->m * shape->k), *b = random_floats(shape->k * shape->n);
    float *c = random_floats(shape->m * shape->n);
    if (!a || !b || !c)
        return 2;
    const weir_tensor_t inputs[2] = {matrix(a, a_dims, 0), matrix(b, b_dims, WEIR_TENSOR_CONSTANT)};
    const weir_tensor_t outputs[1] = {matrix(c, c_dims, 0)};
    const weir_node_t node = {.head = WEIR_HEAD(weir_node_t),
        .op = "MatMul",
        .origin = "bench",
        .revision = 1,
        .input_count = 2,
        .output_count = 1,
        .inputs = inputs,
        .outputs = outputs};
    cpu_prepared_t prepared;
    if (cpu_host_prepare(host, kernel, &node, &prepared) != WEIR_OK) {
        fprintf(stderr, "MatMul: %s\n", host->message);
        return 2;
    }
    const double flops = 2.0 * (double)shape->m * (double)shape->k * (double)shape->n;
    for (size_t turn = 0; turn < turns + 2; turn++) { // two turns to warm up
        const double before = ceiling_gflops();
        const double start = seconds();
        int64_t runs = 0;
        do {
            cpu_host_run(&prepared, 0);
            runs++;
        } while (seconds() - start < 2e-3);
        const double speed = flops * (double)runs / (seconds() - start) * 1e-9;
        const double after = ceiling_gflops();
        if (turn < 2)
            continue;
        speeds[turn - 2] = speed;
        ceilings[turn - 2] = fmax(before, after);
        ratios[turn - 2] = speed / ceilings[turn - 2];
    }
    const double error = spot_error(shape, a, b, c);
    cpu_host_release(&prepared);
    free(a);
    free(b);
    free(c);
    if (!(error < 1e-5 * sqrt((double)shape->k) + 1e-6)) {
        fprintf(stderr, "MatMul is wrong by %g\n", error);
        return 2;
    }
    out_result->ratio = median(ratios, turns);
    out_result->upper_ratio = ratios[turns * 9 / 10]; // median() has sorted them
    out_result->gflops = median(speeds, turns);
    out_result->ceiling = median(ceilings, turns);
    return 0;
}

static void print_result(
    const shape_t *s, const result_t *result, const char *isa, const char *build, size_t turns)
{
    printf("MatMul f32 %lldx%lldx%lld  %s  %.1f GFLOP/s of %.1f (%.1f %%, nine in ten below "
           "%.1f %%)\n",
        (long long)s->m, (long long)s->k, (long long)s->n, isa, result->gflops, result->ceiling,
        100 * result->ratio, 100 * result->upper_ratio);
    printf("{\"benchmark\":\"gemm_f32\",\"m\":%lld,\"k\":%lld,\"n\":%lld,\"isa\":\"%s\","
           "\"gflops\":%.2f,\"ceiling_gflops\":%.2f,\"ratio\":%.4f,\"upper_ratio\":%.4f,"
           "\"turns\":%zu,"
           "\"build\":\"%s\"}\n",
        (long long)s->m, (long long)s->k, (long long)s->n, isa, result->gflops, result->ceiling,
        result->ratio, result->upper_ratio, turns, build);
}

int main(int argc, char **argv)
{
    shape_t shapes[SHAPES_MAX] = {{1024, 1024, 1024}};
    size_t shape_count = 0, turns = 25;
    double least = 0;
    const char *path = built_plugin(), *isa = NULL;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (argv[i][0] != '-') {
            path = argv[i];
            continue;
        }
        i++;
        long long m = 0, k = 0, n = 0;
        if (!strcmp(argv[i - 1], "--isa"))
            isa = value;
        else if (!strcmp(argv[i - 1], "--turns"))
            turns = WEIR_MIN(WEIR_MAX((size_t)atoi(value), 1u), (size_t)TURNS_MAX);
        else if (!strcmp(argv[i - 1], "--min-ratio"))
            least = atof(value);
        else if (!strcmp(argv[i - 1], "--shape") && shape_count < SHAPES_MAX &&
                 sscanf(value, "%lldx%lldx%lld", &m, &k, &n) == 3 && m > 0 && k > 0 && n > 0)
            shapes[shape_count++] = (shape_t){m, k, n};
        else
            path = NULL, i = argc;
    }
    if (!path) {
        fprintf(stderr, "usage: bench_gemm [PLUGIN.so] [--isa NAME] [--shape MxKxN]... [--turns N] "
                        "[--min-ratio R]\n");
        return 2;
    }
    cpu_host_t host;
    cpu_host_init(&host, isa);
    const weir_plugin_t *plugin = cpu_host_open(&host, path);
    const weir_kernel_t *kernel = plugin ? cpu_host_kernel(plugin, "MatMul") : NULL;
    weir_support_t support = {.head = WEIR_HEAD(weir_support_t)};
    if (!kernel || plugin->probe(&host.host, &support) != WEIR_OK) {
        fprintf(stderr, "%s: %s%s\n", path, host.message, support.reason);
        return 2;
    }
    int code = 0;
    for (size_t i = 0; i < WEIR_MAX(shape_count, 1u); i++) {
        result_t result;
        const shape_t *s = &shapes[i];
        // Neighbours on a shared machine take caches and memory away, and only ever slow us down:
        // with a floor to reach, up to five rounds are measured and every one is printed.
        for (int round = 0; round < (least > 0 ? 5 : 1); round++) {
            if (measure(&host, kernel, s, turns, &result))
                return 2;
            print_result(s, &result, support.reason, plugin->build, turns);
            if (result.ratio >= least)
                break;
        }
        if (result.ratio < least)
            code = 1;
    }
    return code;
}
