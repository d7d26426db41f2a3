// Runs on random shapes: what a shape costs that was not seen before, and whether memory grows.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cli/bench.h"
#include "engine/cli/machine.h"
#include "engine/cli/random.h"

enum { MOST_DEFAULT = 64, DIM_TEXT_BYTES = 160 };

// ---- Ranges
// -----------------------------------------------------------------------------------------

static weir__cli_range_t *find_range(weir__cli_bench_t *bench, const char *name)
{
    for (uint32_t i = 0; i < bench->range_count; i++)
        if (strcmp(bench->ranges[i].name, name) == 0)
            return &bench->ranges[i];
    return NULL;
}

static weir_code_t add_range(weir__cli_bench_t *bench, const char *name, weir__cli_fault_t *fault)
{
    if (find_range(bench, name))
        return WEIR_OK;
    if (bench->range_count == WEIR__CLI_RANGES_MAX)
        return weir__cli_fault_set(fault, WEIR_UNSUPPORTED,
            "%s has more than %d open dims: leave out --random-shapes", bench->model,
            WEIR__CLI_RANGES_MAX);
    weir__cli_range_t *range = &bench->ranges[bench->range_count++];
    *range = (weir__cli_range_t){.least = 1, .most = MOST_DEFAULT, .step = 1};
    (void)snprintf(range->name, sizeof(range->name), "%s", name);
    return WEIR_OK;
}

static weir_code_t find_open_dims(
    const weir__cli_chain_t *chain, weir__cli_bench_t *bench, weir__cli_fault_t *fault)
{
    for (uint32_t i = 0; i < weir_model_input_count(chain->model); i++) {
        weir_port_t port;
        weir_code_t code = weir__cli_chain_take(weir_model_input(chain->model, i, &port), fault);
        for (int32_t axis = 0; axis < port.rank && code == WEIR_OK; axis++) {
            char name[128];
            if (port.dims[axis] >= 0)
                continue;
            if (port.dim_names[axis])
                (void)snprintf(name, sizeof(name), "%s", port.dim_names[axis]);
            else
                (void)snprintf(name, sizeof(name), "%s:%d", port.name, axis);
            code = add_range(bench, name, fault);
        }
        if (code != WEIR_OK)
            return code;
    }
    if (bench->range_count == 0)
        return weir__cli_fault_set(fault, WEIR_INVALID_ARGUMENT,
            "%s has no open dim: leave out --random-shapes", bench->model);
    return WEIR_OK;
}

// "N", "A..B" or "A..B/STEP".
static bool read_range(const char *text, weir__cli_range_t *range)
{
    char copy[80];
    if (strlen(text) >= sizeof(copy))
        return false;
    (void)strcpy(copy, text);
    char *dots = strstr(copy, "..");
    char *slash = strchr(copy, '/');
    range->step = 1;
    if (slash) {
        *slash++ = '\0';
        if (!dots || !weir__cli_options_number(slash, 1, UINT32_MAX, &range->step))
            return false;
    }
    const char *last = copy;
    if (dots) {
        *dots = '\0';
        last = dots + 2;
    }
    return weir__cli_options_number(copy, 0, UINT32_MAX, &range->least) &&
           weir__cli_options_number(last, range->least, UINT32_MAX, &range->most);
}

// INPUT:AXIS of a dim that has a name stands for the name.
static void use_name(const weir__cli_chain_t *chain, char *text, size_t text_bytes)
{
    for (uint32_t i = 0; i < weir_model_input_count(chain->model); i++) {
        weir_port_t port;
        uint64_t axis = 0;
        weir_status_t status = weir_model_input(chain->model, i, &port);
        weir_status_free(status); // there is an input of that number
        const size_t bytes = strlen(port.name);
        if (strncmp(text, port.name, bytes) != 0 || text[bytes] != ':' || port.rank <= 0 ||
            !weir__cli_options_number(text + bytes + 1, 0, (uint64_t)port.rank - 1, &axis) ||
            !port.dim_names[axis])
            continue;
        (void)snprintf(text, text_bytes, "%s", port.dim_names[axis]);
        return;
    }
}

static weir_code_t take_option(const weir__cli_chain_t *chain, weir__cli_bench_t *bench,
    const char *text, weir__cli_fault_t *fault)
{
    char name[128];
    weir__cli_range_t read = {.step = 1};
    const char *equals = strrchr(text, '=');
    if (!equals || equals == text || !read_range(equals + 1, &read))
        return weir__cli_fault_usage(fault,
            "--dim takes NAME=A..B, NAME=A..B/STEP or NAME=N with --random-shapes, not \"%s\"",
            text);
    (void)snprintf(name, sizeof(name), "%.*s", (int)WEIR_MIN(equals - text, 127), text);
    use_name(chain, name, sizeof(name));
    weir__cli_range_t *range = find_range(bench, name);
    if (!range)
        return weir__cli_fault_set(fault, WEIR_NOT_FOUND,
            "%s has no open dim \"%s\": weir inspect %s shows the names; INPUT:AXIS names one "
            "without a name",
            bench->model, name, bench->model);
    range->least = read.least;
    range->most = read.most;
    range->step = read.step;
    return WEIR_OK;
}

// ---- Runs
// -------------------------------------------------------------------------------------------

static weir_code_t make_inputs(const weir__cli_bench_options_t *options,
    const weir__cli_chain_t *chain, uint64_t run, const weir__cli_bench_t *bench,
    weir__cli_inputs_t *inputs, weir__cli_fault_t *fault)
{
    char texts[WEIR__CLI_RANGES_MAX][DIM_TEXT_BYTES];
    const char *items[WEIR__CLI_RANGES_MAX];
    const uint64_t seed = options->subject.seed.is_set ? options->subject.seed.value : 1;
    for (uint32_t i = 0; i < bench->range_count; i++) {
        const weir__cli_range_t *range = &bench->ranges[i];
        const uint64_t choices = (range->most - range->least) / range->step + 1;
        const uint64_t pick = weir__cli_random_word(seed, range->name, run) % choices;
        (void)snprintf(texts[i], sizeof(texts[i]), "%s=%" PRIu64, range->name,
            range->least + pick * range->step);
        items[i] = texts[i];
    }
    const weir__cli_inputs_wanted_t wanted = {.model_path = bench->model,
        .dims = {.items = items, .count = bench->range_count},
        .seed = {.value = seed, .is_set = true}};
    weir__cli_inputs_free(inputs);
    return weir__cli_inputs_make(chain->model, &wanted, inputs, fault);
}

// One run on a shape of its own, and what the shape cost.
static weir_code_t run_shape(const weir__cli_chain_t *chain, const weir__cli_inputs_t *inputs,
    weir_value_t *outputs, weir__cli_bench_t *bench, weir__cli_fault_t *fault)
{
    const uint32_t output_count = weir_model_output_count(chain->model);
    weir_session_info_t before = {.size = sizeof(before)}, after = {.size = sizeof(after)};
    for (uint32_t i = 0; i < output_count; i++)
        outputs[i] = weir_view();
    weir_session_describe(chain->session, &before);
    const uint64_t start_ns = weir_now_ns();
    weir_status_t status = weir_session_run(
        chain->session, NULL, inputs->count, inputs->values, output_count, outputs);
    const uint64_t ns = weir_now_ns() - start_ns;
    if (status)
        return weir__cli_chain_take(status, fault);
    weir_session_describe(chain->session, &after);
    weir_code_t code = weir__cli_bench_note(&bench->run_ns, &bench->run_count, ns, fault);
    if (code == WEIR_OK && after.specialize_count > before.specialize_count)
        code = weir__cli_bench_note(&bench->shape_ns, &bench->shape_count,
            after.specialize_ns - before.specialize_ns, fault);
    return code;
}

static weir_code_t run_all(const weir__cli_bench_options_t *options, const weir__cli_chain_t *chain,
    weir__cli_inputs_t *inputs, weir_value_t *outputs, weir__cli_bench_t *bench,
    weir__cli_fault_t *fault)
{
    const uint64_t limit_ns = weir__cli_bench_limit_ns(options);
    const uint64_t limit_runs = weir__cli_bench_limit_runs(options);
    weir__cli_progress_t progress = {.start_ns = weir_now_ns()};
    weir_code_t code = WEIR_OK;
    while (code == WEIR_OK && bench->run_count < limit_runs && bench->elapsed_ns < limit_ns) {
        code = make_inputs(options, chain, bench->run_count, bench, inputs, fault);
        if (code == WEIR_OK)
            code = run_shape(chain, inputs, outputs, bench, fault);
        bench->elapsed_ns = weir_now_ns() - progress.start_ns;
        const bool is_warm =
            bench->run_count >= (limit_runs + 9) / 10 || bench->elapsed_ns >= limit_ns / 10;
        if (!bench->warm_engine_bytes && is_warm) {
            uint64_t peak_bytes;
            weir_engine_memory(chain->engine, &bench->warm_engine_bytes, &peak_bytes);
            bench->warm_anonymous_bytes = weir__cli_machine_anonymous_bytes();
        }
        weir__cli_progress_show(&progress, bench);
    }
    weir__cli_progress_end(&progress);
    return code;
}

weir_code_t weir__cli_bench_shapes(const weir__cli_bench_options_t *options,
    const weir__cli_chain_t *chain, weir__cli_inputs_t *inputs, weir_value_t *outputs,
    weir__cli_bench_t *bench, weir__cli_fault_t *fault)
{
    weir_code_t code = find_open_dims(chain, bench, fault);
    for (size_t i = 0; i < options->subject.dims.count && code == WEIR_OK; i++)
        code = take_option(chain, bench, options->subject.dims.items[i], fault);
    if (code == WEIR_OK)
        code = run_all(options, chain, inputs, outputs, bench, fault);
    return code;
}
