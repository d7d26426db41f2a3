// tests/opencl/cycles.c: models are planned, run and released a thousand times on an OpenCL device,
// engines a hundred times; what stays is measured.
//
// Goal:   memory is flat. Method: private memory of the process (its dirty pages) after the first
//         tenth and at the end; more than LEAST_BYTES between them is a leak. The driver is in the
//         same process and counts.
// Exit code 77: no device; 1: it grows.
#include "tests/scheduler/loop_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALLOWED_KIB 2048

static long dirty_kib(void)
{
    char line[256];
    long kib = 0, each;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Private_Dirty: %ld", &each) == 1)
            kib = each;
    if (file)
        fclose(file);
    return kib;
}

static weir_status_t open_engine(weir_engine_t **out_engine)
{
    weir_engine_options_t options = {
        .size = sizeof options, .threads = 1, .plugin_path = WEIR_TEST_OPENCL, .cache_dir = ""};
    return weir_engine_create(&options, out_engine);
}

// One cycle: a plan, a session, a run.
static weir_status_t cycle(weir_model_t *model, int64_t rows)
{
    static float x[WORLD_IN * 8], y[WORLD_OUT * 8];
    weir_plan_t *plan = NULL;
    weir_session_t *session = NULL;
    weir_plan_options_t options = {.size = sizeof options, .devices = "opencl"};
    weir_value_t in = weir_f32(x, 2, (uint32_t)rows, WORLD_IN);
    weir_value_t out = weir_f32_out(y, WORLD_OUT * 8);
    weir_status_t status = weir_plan_create(model, &options, &plan);
    if (!status)
        status = weir_session_create(plan, NULL, &session);
    if (!status)
        status = weir_session_run(session, NULL, 1, &in, 1, &out);
    weir_session_free(session);
    weir_plan_free(plan);
    return status;
}

static int failed(weir_status_t status)
{
    printf("%s\n", weir_status_text(status));
    int code = weir_status_code(status) == WEIR_UNAVAILABLE ? 77 : 1;
    weir_status_free(status);
    return code;
}

static int report(const char *what, int count, const long kib[2])
{
    bool is_flat = kib[1] - kib[0] <= ALLOWED_KIB;
    printf("%s: %d cycles, %ld KiB after a tenth, %ld KiB at the end: %s\n", what, count, kib[0],
        kib[1], is_flat ? "flat" : "GROWS");
    return is_flat ? 0 : 1;
}

static int sessions(int count)
{
    weir_engine_t *engine;
    long kib[2] = {0};
    weir_status_t status = open_engine(&engine);
    if (status)
        return failed(status);
    weir_model_t *model = world_load(engine, rows_graph());
    for (int i = 0; i < count && !status; i++) {
        status = cycle(model, 1 + i % 8);
        if (i + 1 == count / 10)
            kib[0] = dirty_kib();
    }
    kib[1] = dirty_kib();
    weir_model_free(model);
    weir_engine_free(engine);
    return status ? failed(status) : report("plan, session, run", count, kib);
}

static int engines(int count)
{
    long kib[2] = {0};
    for (int i = 0; i < count; i++) {
        weir_engine_t *engine;
        weir_status_t status = open_engine(&engine);
        if (status)
            return failed(status);
        weir_model_t *model = world_load(engine, rows_graph());
        status = cycle(model, 1);
        weir_model_free(model);
        weir_engine_free(engine);
        if (status)
            return failed(status);
        if (i + 1 == count / 10)
            kib[0] = dirty_kib();
    }
    kib[1] = dirty_kib();
    return report("engine and all of it", count, kib);
}

int main(int count, char **arguments)
{
    int cycles = count > 1 ? atoi(arguments[1]) : 1000;
    int code = sessions(cycles);
    return code ? code : engines(cycles / 10);
}
