// How much of the machine's ceiling weir_cpu's f32 MatMul reaches.
//
//   bench_gemm [PLUGIN.so] [--isa NAME] [--shape MxKxN]... [--turns N] [--threads N] [--min-ratio
//   R]
//
// There are two ceilings: a loop of independent fused multiply-adds that touches registers only,
// and B, whose every byte is read once a product, at the best rate that reading it over and over
// gives. With few rows the second is the lower: M rows are 2 M flops for 4 bytes. The figure is the
// share of the lower one; those of each stand beside it. Ceilings and MatMul are timed in turns,
// each ratio from neighbours in time, so that a shared machine's drift hits both; the figure is the
// median of the ratios. Threads take equal parts of the tasks and measure at the same time; time is
// a thread's CPU time, the slowest one's. B is a constant, packed before. Prints a line for people
// and a JSON line for each shape. Exit code 1: a shape stays under --min-ratio; 2: it could not
// run, a product was wrong, or B is too small to time reading it.
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "benchmarks/kernels/ceiling.h"
#include "tests/kernels/cpu_host.h"

#define SHAPES_MAX 16
#define TURNS_MAX 1001
#define THREADS_MAX 64
#define PART_LEAST 4096 // bytes of B a thread, so that every way of reading them reads some

typedef struct shape {
    int64_t m, k, n;
} shape_t;

// GFLOP/s; reading: those that reading B allows. ratio: of the lower of both.
typedef struct result {
    double ratio, upper_ratio, gflops, ceiling, reading, fma_ratio, reading_ratio;
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

// What the threads of one measurement share, and what each of them found in a turn.
typedef struct crew {
    cpu_prepared_t *prepared;
    void *scratch[THREADS_MAX]; // a thread's own
    size_t threads, turns;
    int64_t runs; // of a turn
    double flops; // of a run
    double spent[THREADS_MAX], ceilings[THREADS_MAX], readings[THREADS_MAX];
    atomic_size_t arrived;
    double ratios[TURNS_MAX], speeds[TURNS_MAX], tops[TURNS_MAX], streams[TURNS_MAX];
    double of_tops[TURNS_MAX], of_streams[TURNS_MAX];
} crew_t;

typedef struct member {
    crew_t *crew;
    size_t number;
    pthread_t thread;
} member_t;

// Waits until all threads are here; *inout_round counts a thread's meetings.
static void meet(crew_t *crew, size_t *inout_round)
{
    const size_t all = ++*inout_round * crew->threads;
    atomic_fetch_add(&crew->arrived, 1);
    while (atomic_load(&crew->arrived) < all)
        if (crew->threads > 1)
            sched_yield();
}

// This thread's part of every phase, a meeting behind each.
static void product_run(const member_t *member, size_t *inout_round)
{
    crew_t *crew = member->crew;
    const cpu_prepared_t *prepared = crew->prepared;
    for (uint32_t phase = 0; phase < prepared->tasks.phase_count; phase++) {
        const uint64_t count = prepared->tasks.task_count[phase];
        const uint64_t first = count * member->number / crew->threads;
        const uint64_t end = count * (member->number + 1) / crew->threads;
        const weir_task_t task = {.head = WEIR_HEAD(weir_task_t),
            .node = &prepared->node,
            .state = prepared->prepared.state,
            .inputs = prepared->inputs,
            .outputs = prepared->node.outputs,
            .first = first,
            .count = end - first,
            .phase = phase,
            .scratch = crew->scratch[member->number],
            .shared = prepared->shared};
        if (end > first)
            (void)prepared->kernel->run(&task);
        meet(crew, inout_round);
    }
}

static double greatest(const double *values, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++)
        most = fmax(most, values[i]);
    return most;
}

static double total(const double *values, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += values[i];
    return sum;
}

static void turn_note(crew_t *crew, size_t turn)
{
    const weir_tensor_t *b = &crew->prepared->inputs[1];
    const double speed =
        crew->flops * (double)crew->runs / greatest(crew->spent, crew->threads) * 1e-9;
    const double top = total(crew->ceilings, crew->threads);
    const double stream =
        total(crew->readings, crew->threads) * crew->flops / fmax(1.0, (double)b->bytes);
    crew->speeds[turn] = speed;
    crew->tops[turn] = top;
    crew->streams[turn] = stream;
    crew->of_tops[turn] = speed / top;
    crew->of_streams[turn] = speed / stream;
    crew->ratios[turn] = fmax(speed / top, speed / stream);
}

static void *member_run(void *argument)
{
    const member_t *member = argument;
    crew_t *crew = member->crew;
    const weir_tensor_t *b = &crew->prepared->inputs[1];
    const size_t number = member->number, part = (size_t)b->bytes / crew->threads / 64 * 64;
    size_t round = 0;
    for (size_t turn = 0; turn < crew->turns + 2; turn++) { // two turns to warm up
        meet(crew, &round);
        const double before = ceiling_gflops();
        crew->readings[number] = reading_gbytes((const char *)b->data + number * part, part);
        meet(crew, &round);
        const double start = seconds();
        for (int64_t run = 0; run < crew->runs; run++)
            product_run(member, &round);
        crew->spent[number] = seconds() - start;
        meet(crew, &round);
        crew->ceilings[number] = fmax(before, ceiling_gflops());
        meet(crew, &round);
        if (number == 0 && turn >= 2)
            turn_note(crew, turn - 2);
    }
    return NULL;
}

// 0: measured; 2: no thread or no memory.
static int crew_run(crew_t *crew)
{
    static member_t members[THREADS_MAX];
    const uint64_t bytes = (crew->prepared->prepared.scratch_bytes + 64) / 64 * 64;
    int code = 0;
    for (size_t i = 0; i < crew->threads; i++) {
        crew->scratch[i] = aligned_alloc(64, bytes);
        members[i] = (member_t){.crew = crew, .number = i};
        code = crew->scratch[i] ? code : 2;
    }
    for (size_t i = 1; i < crew->threads && !code; i++)
        if (pthread_create(&members[i].thread, NULL, member_run, &members[i])) {
            fprintf(stderr, "no thread\n");
            exit(2); // those that began wait for this one
        }
    if (!code)
        member_run(&members[0]);
    for (size_t i = 1; i < crew->threads && !code; i++)
        pthread_join(members[i].thread, NULL);
    for (size_t i = 0; i < crew->threads; i++)
        free(crew->scratch[i]);
    return code;
}

static int measure(cpu_host_t *host, const weir_kernel_t *kernel, const shape_t *shape,
    size_t turns, size_t threads, result_t *out_result)
{
    static crew_t crew;
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
    const uint64_t part = prepared.inputs[1].bytes / threads;
    if (part < PART_LEAST) {
        fprintf(stderr, "B is %llu bytes a thread: at least %d are needed to time reading it\n",
            (unsigned long long)part, PART_LEAST);
        return 2;
    }
    const double flops = 2.0 * (double)shape->m * (double)shape->k * (double)shape->n;
    memset(&crew, 0, sizeof(crew));
    crew.prepared = &prepared;
    crew.threads = threads;
    crew.turns = turns;
    crew.flops = flops;
    crew.runs = 1 + (int64_t)(3e8 * (double)threads / flops);
    const int code = crew_run(&crew);
    const double error = spot_error(shape, a, b, c);
    cpu_host_release(&prepared);
    free(a);
    free(b);
    free(c);
    if (code)
        return code;
    if (!(error < 1e-5 * sqrt((double)shape->k) + 1e-6)) {
        fprintf(stderr, "MatMul is wrong by %g\n", error);
        return 2;
    }
    out_result->ratio = median(crew.ratios, turns);
    out_result->upper_ratio = crew.ratios[turns * 9 / 10]; // median() has sorted them
    out_result->gflops = median(crew.speeds, turns);
    out_result->ceiling = median(crew.tops, turns);
    out_result->reading = median(crew.streams, turns);
    out_result->fma_ratio = median(crew.of_tops, turns);
    out_result->reading_ratio = median(crew.of_streams, turns);
    if (isfinite(out_result->ratio) && out_result->reading > 0 && out_result->ceiling > 0)
        return 0;
    fprintf(stderr, "a ceiling could not be measured\n");
    return 2;
}

typedef struct setting {
    const char *isa, *build;
    size_t turns, threads;
} setting_t;

static void print_result(const shape_t *s, const result_t *result, const setting_t *setting)
{
    printf(
        "MatMul f32 %lldx%lldx%lld  %s  %zu threads  %.1f GFLOP/s: %.1f %% of the FMA ceiling "
        "(%.1f), %.1f %% of what reading B allows (%.1f); %.1f %% of the lower (nine in ten below "
        "%.1f %%)\n",
        (long long)s->m, (long long)s->k, (long long)s->n, setting->isa, setting->threads,
        result->gflops, 100 * result->fma_ratio, result->ceiling, 100 * result->reading_ratio,
        result->reading, 100 * result->ratio, 100 * result->upper_ratio);
    printf("{\"benchmark\":\"gemm_f32\",\"m\":%lld,\"k\":%lld,\"n\":%lld,\"isa\":\"%s\","
           "\"threads\":%zu,\"gflops\":%.2f,\"ceiling_gflops\":%.2f,\"reading_gflops\":%.2f,"
           "\"fma_ratio\":%.4f,\"reading_ratio\":%.4f,\"ratio\":%.4f,\"upper_ratio\":%.4f,"
           "\"turns\":%zu,\"build\":\"%s\"}\n",
        (long long)s->m, (long long)s->k, (long long)s->n, setting->isa, setting->threads,
        result->gflops, result->ceiling, result->reading, result->fma_ratio, result->reading_ratio,
        result->ratio, result->upper_ratio, setting->turns, setting->build);
}

int main(int argc, char **argv)
{
    shape_t shapes[SHAPES_MAX] = {{1024, 1024, 1024}};
    size_t shape_count = 0, turns = 25, threads = 1;
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
        else if (!strcmp(argv[i - 1], "--threads"))
            threads = WEIR_MIN(WEIR_MAX((size_t)atoi(value), 1u), (size_t)THREADS_MAX);
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
                        "[--threads N] [--min-ratio R]\n");
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
    const setting_t setting = {support.reason, plugin->build, turns, threads};
    int code = 0;
    for (size_t i = 0; i < WEIR_MAX(shape_count, 1u); i++) {
        result_t result;
        const shape_t *s = &shapes[i];
        // Neighbours on a shared machine take caches and memory away, and only ever slow us down:
        // with a floor to reach, up to five rounds are measured and every one is printed.
        for (int round = 0; round < (least > 0 ? 5 : 1); round++) {
            if (measure(&host, kernel, s, turns, threads, &result))
                return 2;
            print_result(s, &result, &setting);
            if (result.ratio >= least)
                break;
        }
        if (result.ratio < least)
            code = 1;
    }
    return code;
}
