// Measuring one model; see bench.h.
//
// A model is made ready twice: by an engine whose cache folder is new and empty, then by another
// engine with what the first one left there. The second one stays and runs.
#include "engine/cli/bench.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/cli/machine.h"
#include "engine/cli/steps.h"
#include "engine/cli/text.h"

enum { SECONDS_DEFAULT = 5, RUNS_MAX = 1 << 22, PROFILED_RUNS = 7 };

uint64_t weir__cli_bench_limit_ns(const weir__cli_bench_options_t *options)
{
    return (options->seconds.is_set ? options->seconds.value : SECONDS_DEFAULT) * 1000 * WEIR_MS;
}

uint64_t weir__cli_bench_limit_runs(const weir__cli_bench_options_t *options)
{
    return options->runs.is_set ? options->runs.value : RUNS_MAX;
}

weir_code_t weir__cli_bench_note(
    uint64_t **numbers, uint64_t *count, uint64_t ns, weir__cli_fault_t *fault)
{
    // Room doubles whenever the count is a power of two.
    if ((*count & (*count - 1)) == 0) {
        uint64_t *more = realloc(*numbers, (size_t)(*count ? *count * 2 : 1) * sizeof(*more));
        if (!more)
            return weir__cli_fault_set(fault, WEIR_RESOURCE_EXHAUSTED,
                "no memory for the times of more than %llu runs: give fewer --seconds",
                (unsigned long long)*count);
        *numbers = more;
    }
    (*numbers)[(*count)++] = ns;
    return WEIR_OK;
}

// ---- Progress
// ---------------------------------------------------------------------------------------

void weir__cli_progress_show(weir__cli_progress_t *progress, const weir__cli_bench_t *bench)
{
    char safe[128];
    const uint64_t now_ns = weir_now_ns();
    if (now_ns < progress->next_ns || !isatty(STDERR_FILENO))
        return;
    progress->next_ns = now_ns + 500 * WEIR_MS;
    (void)fprintf(stderr, "\r\033[K%s: %.1f s, %llu runs",
        weir__cli_text_safe(bench->model, safe, sizeof(safe)),
        (double)(now_ns - progress->start_ns) / 1e9, (unsigned long long)bench->run_count);
}

void weir__cli_progress_end(const weir__cli_progress_t *progress)
{
    if (progress->next_ns)
        (void)fputs("\r\033[K", stderr);
}

// ---- Creation
// ---------------------------------------------------------------------------------------

// Room for the outputs; NULL: the fault says why.
static weir_value_t *make_outputs(const weir__cli_chain_t *chain, weir__cli_fault_t *fault)
{
    const uint32_t count = weir_model_output_count(chain->model);
    weir_value_t *outputs = calloc((size_t)count + 1, sizeof(*outputs));
    if (!outputs)
        weir__cli_fault_set(fault, WEIR_RESOURCE_EXHAUSTED, "no memory for %u outputs", count);
    return outputs;
}

static weir_code_t run_once(const weir__cli_chain_t *chain, const weir__cli_inputs_t *inputs,
    weir_value_t *outputs, uint64_t *out_ns, weir__cli_fault_t *fault)
{
    const uint32_t output_count = weir_model_output_count(chain->model);
    for (uint32_t i = 0; i < output_count; i++)
        outputs[i] = weir_view();
    const uint64_t start_ns = weir_now_ns();
    weir_status_t status = weir_session_run(
        chain->session, NULL, inputs->count, inputs->values, output_count, outputs);
    *out_ns = weir_now_ns() - start_ns;
    return status ? weir__cli_inputs_blame(inputs, weir__cli_chain_take(status, fault), fault)
                  : WEIR_OK;
}

static uint64_t lap(uint64_t *since_ns)
{
    const uint64_t now_ns = weir_now_ns();
    const uint64_t ns = now_ns - *since_ns;
    *since_ns = now_ns;
    return ns;
}

static weir_code_t create(const weir__cli_bench_options_t *options, const char *model,
    const char *cache_dir, weir__cli_chain_t *chain, weir__cli_creation_t *out_times,
    weir__cli_fault_t *fault)
{
    weir__cli_chain_options_t how = weir__cli_subject_chain(&options->subject);
    how.cache_dir = cache_dir;
    uint64_t since_ns = weir_now_ns();
    weir_code_t code = weir__cli_chain_engine(chain, &how, fault);
    out_times->engine_ns = lap(&since_ns);
    if (code == WEIR_OK)
        code = weir__cli_chain_model(chain, model, fault);
    out_times->load_ns = lap(&since_ns);
    if (code == WEIR_OK)
        code = weir__cli_chain_plan(chain, &how, fault);
    out_times->plan_ns = lap(&since_ns);
    if (code == WEIR_OK)
        code = weir__cli_chain_session(chain, fault);
    out_times->session_ns = lap(&since_ns);
    return code;
}

static weir_code_t make_inputs(const weir__cli_bench_options_t *options, const char *model,
    const weir__cli_chain_t *chain, weir__cli_inputs_t *inputs, weir__cli_fault_t *fault)
{
    const weir__cli_inputs_wanted_t wanted = weir__cli_subject_inputs(&options->subject, model);
    return weir__cli_inputs_make(chain->model, &wanted, inputs, fault);
}

// ---- Runs
// -------------------------------------------------------------------------------------------

static weir_code_t time_runs(const weir__cli_bench_options_t *options,
    const weir__cli_chain_t *chain, const weir__cli_inputs_t *inputs, weir_value_t *outputs,
    weir__cli_bench_t *bench, weir__cli_fault_t *fault)
{
    const uint64_t limit_ns = weir__cli_bench_limit_ns(options);
    const uint64_t limit_runs = weir__cli_bench_limit_runs(options);
    uint64_t ns = 0;
    weir_code_t code = WEIR_OK;
    // A tenth of the time warms up: caches, clocks, the scheduler.
    const uint64_t warm_ns = weir_now_ns() + limit_ns / 10;
    for (uint64_t i = 0; code == WEIR_OK && i < limit_runs && weir_now_ns() < warm_ns; i++)
        code = run_once(chain, inputs, outputs, &ns, fault);
    weir__cli_progress_t progress = {.start_ns = weir_now_ns()};
    while (code == WEIR_OK && bench->run_count < limit_runs && bench->elapsed_ns < limit_ns) {
        code = run_once(chain, inputs, outputs, &ns, fault);
        if (code == WEIR_OK)
            code = weir__cli_bench_note(&bench->run_ns, &bench->run_count, ns, fault);
        bench->elapsed_ns = weir_now_ns() - progress.start_ns;
        weir__cli_progress_show(&progress, bench);
    }
    weir__cli_progress_end(&progress);
    return code;
}

static weir_code_t profile(const weir__cli_chain_t *chain, const weir__cli_inputs_t *inputs,
    weir__cli_bench_t *bench, weir__cli_fault_t *fault)
{
    weir__cli_steps_t steps = {0};
    const weir_code_t code = weir__cli_steps_make(chain, inputs, 0, PROFILED_RUNS, &steps, fault);
    bench->step_count = steps.step_count;
    bench->flop = steps.flop;
    bench->steps_ns = steps.steps_ns;
    bench->ref_ns = steps.ref_ns;
    weir__cli_steps_free(&steps);
    return code;
}

static void note_memory(const weir__cli_chain_t *chain, weir__cli_bench_t *bench)
{
    weir_session_info_t session = {.size = sizeof(session)};
    weir_session_describe(chain->session, &session);
    bench->arena_bytes = session.arena_bytes;
    weir_engine_memory(chain->engine, &bench->engine_bytes, &bench->engine_peak_bytes);
    bench->anonymous_bytes = weir__cli_machine_anonymous_bytes();
}

// With an empty cache, once; all of it is gone afterwards.
static weir_code_t measure_creation(const weir__cli_bench_options_t *options, const char *cache_dir,
    weir__cli_chain_t *chain, weir__cli_inputs_t *inputs, weir__cli_bench_t *bench,
    weir__cli_fault_t *fault)
{
    weir_code_t code = create(options, bench->model, cache_dir, chain, &bench->created, fault);
    if (code == WEIR_OK && !options->is_random_shapes) {
        code = make_inputs(options, bench->model, chain, inputs, fault);
        weir_value_t *outputs = code == WEIR_OK ? make_outputs(chain, fault) : NULL;
        if (outputs)
            code = run_once(chain, inputs, outputs, &bench->created.first_run_ns, fault);
        else
            code = fault->code;
        free(outputs);
    }
    if (code == WEIR_OK) { // else the caller says which dims were guessed
        weir__cli_inputs_free(inputs);
        weir__cli_chain_close(chain);
    }
    return code;
}

static weir_code_t measure_runs(const weir__cli_bench_options_t *options, const char *cache_dir,
    weir__cli_chain_t *chain, weir__cli_inputs_t *inputs, weir__cli_bench_t *bench,
    weir__cli_fault_t *fault)
{
    bench->base_anonymous_bytes = weir__cli_machine_anonymous_bytes();
    weir_code_t code = create(options, bench->model, cache_dir, chain, &bench->cached, fault);
    weir_value_t *outputs = code == WEIR_OK ? make_outputs(chain, fault) : NULL;
    if (!outputs)
        return fault->code;
    if (options->is_random_shapes) {
        code = weir__cli_bench_shapes(options, chain, inputs, outputs, bench, fault);
    } else {
        code = make_inputs(options, bench->model, chain, inputs, fault);
        if (code == WEIR_OK)
            code = run_once(chain, inputs, outputs, &bench->cached.first_run_ns, fault);
    }
    if (code == WEIR_OK)
        note_memory(chain, bench);
    if (code == WEIR_OK && !options->is_random_shapes)
        code = time_runs(options, chain, inputs, outputs, bench, fault);
    if (code == WEIR_OK)
        code = profile(chain, inputs, bench, fault);
    (void)weir__cli_steps_percentile(bench->run_ns, bench->run_count, 50); // sorts them
    (void)weir__cli_steps_percentile(bench->shape_ns, bench->shape_count, 50);
    free(outputs);
    return code;
}

weir_code_t weir__cli_bench_make(const weir__cli_bench_options_t *options, const char *model,
    weir__cli_chain_t *chain, weir__cli_inputs_t *inputs, weir__cli_bench_t *out_bench,
    weir__cli_fault_t *fault)
{
    char cache_dir[4096];
    *out_bench = (weir__cli_bench_t){.model = model};
    const int error = weir__cli_machine_folder_make(cache_dir, sizeof(cache_dir));
    if (error)
        return weir__cli_fault_set(fault, weir__cli_fault_errno_code(error),
            "no folder for a temporary cache can be made as %s: %s; TMPDIR may name another place",
            cache_dir, strerror(error));
    weir_code_t code = measure_creation(options, cache_dir, chain, inputs, out_bench, fault);
    if (code == WEIR_OK)
        code = measure_runs(options, cache_dir, chain, inputs, out_bench, fault);
    weir__cli_machine_folder_remove(cache_dir);
    return code;
}

void weir__cli_bench_free(weir__cli_bench_t *bench)
{
    free(bench->run_ns);
    free(bench->shape_ns);
    *bench = (weir__cli_bench_t){0};
}
