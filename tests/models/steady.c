// tests/models/steady.c: what a run costs once its shape has been seen: no allocation, no lock, no
// spin outside the team; and what an engine costs that does nothing.
//
//   steady MODEL NAME:DTYPE:DIM,DIM... [NAME:DTYPE:DIMS]...
//
// The C library's allocator and locks are interposed: this program's symbols come before libc's for
// libweir and its plugins, too. Prints one line a finding; exit code 1 when one is bad.
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <weir/weir.h>

#define INTERPOSED __attribute__((visibility("default")))

// ---- Interposition -----------------------------------------------------------------------------

static atomic_int counting;
static atomic_long allocations, locks;

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t count, size_t bytes);
extern void *__libc_realloc(void *memory, size_t bytes);
extern void *__libc_memalign(size_t alignment, size_t bytes);

static void count_allocation(void)
{
    if (atomic_load_explicit(&counting, memory_order_relaxed))
        atomic_fetch_add(&allocations, 1);
}

INTERPOSED void *malloc(size_t bytes)
{
    count_allocation();
    return __libc_malloc(bytes);
}
INTERPOSED void *calloc(size_t count, size_t bytes)
{
    count_allocation();
    return __libc_calloc(count, bytes);
}
INTERPOSED void *realloc(void *memory, size_t bytes)
{
    count_allocation();
    return __libc_realloc(memory, bytes);
}
INTERPOSED void *aligned_alloc(size_t alignment, size_t bytes)
{
    count_allocation();
    return __libc_memalign(alignment, bytes);
}
INTERPOSED int posix_memalign(void **out_memory, size_t alignment, size_t bytes)
{
    count_allocation();
    *out_memory = __libc_memalign(alignment, bytes);
    return *out_memory ? 0 : 12;
}

typedef int (*mutex_fn)(pthread_mutex_t *mutex);

INTERPOSED int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    static _Atomic(mutex_fn) real;
    mutex_fn lock = atomic_load(&real);
    if (!lock) {
        void *symbol = dlsym(RTLD_NEXT, "pthread_mutex_lock");
        memcpy(&lock, &symbol, sizeof lock);
        atomic_store(&real, lock);
    }
    if (atomic_load_explicit(&counting, memory_order_relaxed))
        atomic_fetch_add(&locks, 1);
    return lock(mutex);
}

// ---- The model ---------------------------------------------------------------------------------

#define INPUTS_MAX 8
#define OUTPUTS_MAX 8

typedef struct world {
    weir_engine_t *engine;
    weir_model_t *model;
    weir_plan_t *plan;
    weir_value_t inputs[INPUTS_MAX];
    size_t input_count, output_count;
} world_t;

static void need(weir_status_t status)
{
    if (!status)
        return;
    fprintf(stderr, "%s\n", weir_status_text(status));
    exit(2);
}

// "x:f32:1,3,48,320", filled with small varied values.
static weir_value_t parse_input(const char *text)
{
    const char *dtype = strchr(text, ':') + 1, *dims = strchr(dtype, ':') + 1;
    int64_t sizes[WEIR_RANK_MAX] = {0};
    uint32_t rank = 0;
    uint64_t count = 1;
    for (char *at = (char *)(uintptr_t)dims; *at && rank < WEIR_RANK_MAX; at += *at == ',') {
        sizes[rank] = strtoll(at, &at, 10);
        count *= (uint64_t)sizes[rank++];
    }
    void *data = calloc(count + 8, 8);
    if (!data)
        exit(2);
    weir_dtype_t type = !strncmp(dtype, "f32", 3)   ? WEIR_F32
                        : !strncmp(dtype, "i32", 3) ? WEIR_I32
                                                    : WEIR_I64;
    for (uint64_t i = 0; i < count; i++) {
        if (type == WEIR_F32)
            ((float *)data)[i] = (float)(i * 37 % 101) / 101;
        else if (type == WEIR_I32)
            ((int32_t *)data)[i] = (int32_t)(i * 37 % 101);
        else
            ((int64_t *)data)[i] = strstr(text, "mask")   ? 1
                                   : strstr(text, "type") ? 0
                                                          : (int64_t)(i * 37 % 101);
    }
    return weir_tensor(type, data, rank, sizes);
}

static weir_session_t *new_session(const world_t *world)
{
    weir_session_t *session;
    need(weir_session_create(world->plan, NULL, &session));
    return session;
}

static void run_once(const world_t *world, weir_session_t *session, weir_value_t *outputs)
{
    for (size_t i = 0; i < world->output_count; i++)
        outputs[i] = weir_view();
    need(weir_session_run(
        session, NULL, world->input_count, world->inputs, world->output_count, outputs));
}

// ---- Findings
// ------------------------------------------------------------------------------------

static int finding(const char *what, double value, double most, const char *unit)
{
    printf(
        "%-44s %10.3f %s (at most %g) %s\n", what, value, unit, most, value <= most ? "ok" : "BAD");
    return value > most;
}

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int count_threads(void)
{
    char line[256];
    int threads = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Threads: %d", &threads) == 1)
            break;
    if (file)
        fclose(file);
    return threads;
}

static int check_runs(const world_t *world)
{
    enum { RUNS = 50 };
    weir_value_t outputs[OUTPUTS_MAX];
    // A first run does allocate and lock: that the counters see it shows that they count.
    atomic_store(&counting, 1);
    weir_session_t *session = new_session(world);
    run_once(world, session, outputs);
    atomic_store(&counting, 0);
    int blind = finding("a first run that was not noticed",
        !atomic_load(&allocations) || !atomic_load(&locks), 0, "runs");
    for (int i = 0; i < 3; i++)
        run_once(world, session, outputs);
    atomic_store(&allocations, 0);
    atomic_store(&locks, 0);
    atomic_store(&counting, 1);
    for (int i = 0; i < RUNS; i++)
        run_once(world, session, outputs);
    atomic_store(&counting, 0);
    weir_session_free(session);
    return blind +
           finding("allocations in 50 runs", (double)atomic_load(&allocations), 0, "calls") +
           finding("locks taken in 50 runs", (double)atomic_load(&locks), 0, "calls");
}

static int check_idle(void)
{
    struct timespec pause = {.tv_sec = 1};
    double before = cpu_seconds();
    nanosleep(&pause, NULL);
    return finding("CPU of an idle engine in 1 s", (cpu_seconds() - before) * 1e3, 0.5, "ms");
}

typedef struct worker {
    const world_t *world;
    pthread_t thread;
    const void *wanted;
    uint64_t bytes;
    int wrong;
} worker_t;

static void *work(void *argument)
{
    worker_t *worker = argument;
    weir_value_t outputs[OUTPUTS_MAX];
    weir_session_t *session = new_session(worker->world);
    for (int i = 0; i < 10; i++) {
        run_once(worker->world, session, outputs);
        worker->wrong += memcmp(outputs[0].data, worker->wanted, worker->bytes) != 0;
    }
    weir_session_free(session);
    return NULL;
}

// Four callers with a session each: the engine adds no thread of its own, and every answer is
// right.
static int check_four_callers(const world_t *world)
{
    enum { CALLERS = 4 };
    worker_t workers[CALLERS];
    weir_value_t outputs[OUTPUTS_MAX];
    weir_session_t *session = new_session(world);
    run_once(world, session, outputs);
    int before = count_threads(), during = 0, wrong = 0;
    for (int i = 0; i < CALLERS; i++) {
        workers[i] = (worker_t){
            .world = world, .wanted = outputs[0].data, .bytes = outputs[0].capacity_bytes};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
            exit(2);
    }
    during = count_threads();
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(workers[i].thread, NULL);
        wrong += workers[i].wrong;
    }
    weir_session_free(session);
    return finding(
               "threads beside the callers that came", during - before - CALLERS, 0, "threads") +
           finding("wrong answers of four callers", wrong, 0, "answers") +
           finding("threads of the engine", before - 1, (double)weir_engine_threads(world->engine),
               "threads");
}

int main(int argc, char **argv)
{
    world_t world = {.input_count = (size_t)(argc - 2)};
    if (argc < 3 || argc - 2 > INPUTS_MAX) {
        fprintf(
            stderr, "usage: steady MODEL NAME:DTYPE:DIM,DIM... (at most %d inputs)\n", INPUTS_MAX);
        return 2;
    }
    need(weir_engine_create(NULL, &world.engine));
    need(weir_model_load(world.engine, argv[1], NULL, &world.model));
    need(weir_plan_create(world.model, NULL, &world.plan));
    for (size_t i = 0; i < world.input_count; i++)
        world.inputs[i] = parse_input(argv[2 + i]);
    world.output_count = weir_model_output_count(world.model);
    if (world.output_count > OUTPUTS_MAX)
        return 2;
    int bad = check_runs(&world) + check_idle() + check_four_callers(&world);
    for (size_t i = 0; i < world.input_count; i++)
        free(world.inputs[i].data);
    weir_plan_free(world.plan);
    weir_model_free(world.model);
    weir_engine_free(world.engine);
    printf("%d passed, %d failed\n", 7 - bad, bad);
    return bad != 0;
}
