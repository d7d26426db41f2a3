// What a run costs beside its kernels: an identity model, and chains of tiny nodes.
//
// Prints one JSON line per model: nanoseconds per run, the least and the median of many turns. The
// models are made here, byte by byte, so that it needs no file. It must not measure a kernel.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/weir.h>

#include "benchmarks/models/chain.h"

enum { TURNS = 41, RUNS_PER_TURN = 2000 };

// ---- Timing
// -----------------------------------------------------------------------------------------

static int by_size(const void *a, const void *b)
{
    const double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static weir_status_t time_runs(weir_session_t *session, double out_ns[TURNS])
{
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, y[8];
    const weir_value_t in[] = {weir_f32(x, 2, 1, 8)};
    for (int turn = -1; turn < TURNS; turn++) { // the first warms up
        const uint64_t start_ns = weir_now_ns();
        for (int i = 0; i < RUNS_PER_TURN; i++) {
            weir_value_t out[] = {weir_f32_out(y, 8)};
            WEIR_TRY(weir_session_run(session, NULL, 1, in, 1, out));
        }
        if (turn >= 0)
            out_ns[turn] = (double)(weir_now_ns() - start_ns) / RUNS_PER_TURN;
    }
    qsort(out_ns, TURNS, sizeof *out_ns, by_size);
    return NULL;
}

// *out_ns: the least time of a run.
static weir_status_t measure(
    weir_engine_t *engine, const char *op, int node_count, uint32_t as_is, double *out_ns)
{
    static chain_bytes_t bytes;
    weir_model_t *model = NULL;
    weir_plan_t *plan = NULL;
    weir_session_t *session = NULL;
    double ns[TURNS];
    chain_make(op, node_count, 1, 8, &bytes);
    const weir_model_options_t options = {.size = sizeof options, .keep_as_is = as_is};
    weir_status_t status =
        weir_model_load_bytes(engine, bytes.bytes, bytes.count, &options, &model);
    if (!status)
        status = weir_plan_create(model, NULL, &plan);
    if (!status)
        status = weir_session_create(plan, NULL, &session);
    if (!status)
        status = time_runs(session, ns);
    weir_session_info_t info = {.size = sizeof info};
    if (!status) {
        weir_session_describe(session, &info);
        printf("{\"op\": \"%s\", \"nodes\": %d, \"as_is\": %u, \"steps\": %llu, \"threads\": %u, "
               "\"run_ns_min\": %.0f, \"run_ns_median\": %.0f}\n",
            op, node_count, as_is, (unsigned long long)info.step_count, weir_engine_threads(engine),
            ns[0], ns[TURNS / 2]);
        *out_ns = ns[0];
    }
    weir_session_free(session);
    weir_plan_free(plan);
    weir_model_free(model);
    return status;
}

// --max-ns N: exit code 1 when a run of the identity model never took as little as that.
int main(int argc, char **argv)
{
    double most_ns = 0, identity_ns = 0, other_ns;
    if (argc == 3 && strcmp(argv[1], "--max-ns") == 0) {
        most_ns = atof(argv[2]);
    } else if (argc != 1) {
        fprintf(stderr, "usage: %s [--max-ns N]\n", argv[0]);
        return 2;
    }
    weir_engine_t *engine = NULL;
    const weir_engine_options_t options = {.size = sizeof options, .cache_dir = ""};
    weir_status_t status = weir_engine_create(&options, &engine);
    if (!status)
        status = measure(engine, "Identity", 1, 0, &identity_ns);
    if (!status)
        status = measure(engine, "Identity", 1, 1, &other_ns);
    if (!status)
        status = measure(engine, "Identity", 101, 1, &other_ns);
    if (!status)
        status = measure(engine, "Relu", 1, 1, &other_ns);
    if (!status)
        status = measure(engine, "Relu", 101, 1, &other_ns);
    if (!status)
        status = measure(engine, "Softmax", 1, 1, &other_ns);
    if (!status)
        status = measure(engine, "Softmax", 101, 1, &other_ns);
    if (status)
        fprintf(stderr, "%s\n", weir_status_text(status));
    const int exit_code = status || (most_ns > 0 && identity_ns > most_ns);
    weir_status_free(status);
    weir_engine_free(engine);
    return exit_code;
}
