// `weir load MODEL...`: traffic for models, and what the scheduler makes of it.
//
// The command parses, runs the scenario and chooses where results go; load.h says who does the
// rest.
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cli/command.h"
#include "engine/cli/subject.h"
#include "scheduler/cli/load.h"

enum { SECONDS_DEFAULT = 10, SEARCH_STEPS = 7 };

// Set by ^C; a second one ends the process.
static volatile sig_atomic_t stop;

static void on_interrupt(int number)
{
    (void)number;
    stop = 1;
}

#define FIELD(name) .field = offsetof(weir__load_options_t, name)
static const weir__cli_option_t rows[] = {
    {.name = "--qps",
        .value_name = "R",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(qps_text),
        .help = "requests at random (Poisson), R a second, whatever becomes of them"},
    {.name = "--scenario",
        .value_name = "NAME",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(scenario_text),
        .help = "single: one at a time; multi: eight at a time; offline: as many as possible;\n"
                "server (default without --qps): the highest rate that holds --slo-ms for 99 %"},
    {.name = "--slo-ms",
        .value_name = "S",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(slo_text),
        .help = "in how many ms an answer is in time, from when its request was due; the\n"
                "deadline of --qps and server"},
    {.name = "--seconds",
        .value_name = "T",
        .kind = WEIR__CLI_OPTION_COUNT,
        FIELD(seconds),
        .least = 1,
        .most = 86400,
        .help = "how long (default: 10); server takes about as long again to find the rate"},
    {.name = "--tenants",
        .value_name = "N[:W,...]",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(tenants_text),
        .help = "so many tenants send equally much; their shares of the devices (default: 1)"},
    {.name = "--max-batch",
        .value_name = "N",
        .kind = WEIR__CLI_OPTION_COUNT,
        FIELD(max_batch),
        .least = 1,
        .most = 1024,
        .help = "rows that leave together, at most (default: 32)"},
    {.name = "--spin-us",
        .value_name = "N",
        .kind = WEIR__CLI_OPTION_COUNT,
        FIELD(spin_us),
        .most = 1000000,
        .help = "how long loop and workers look for work before they sleep (default: 0)"},
    WEIR__CLI_ROW_INPUT(weir__load_options_t, inputs),
    WEIR__CLI_ROW_RANDOM(
        weir__load_options_t, seed, "of the arrivals and the other inputs (default: 1)"),
    WEIR__CLI_ROW_DIM(weir__load_options_t, dims,
        "the size of an open dim, by its name or as INPUT:AXIS; of each model that has it"),
    WEIR__CLI_ROW_DEVICE(weir__load_options_t, devices, "where to run, the preferred one first"),
    WEIR__CLI_ROW_PRECISION(weir__load_options_t, precision),
    WEIR__CLI_ROW_THREADS(weir__load_options_t, threads),
    WEIR__CLI_ROW_CACHE_BYTES(weir__load_options_t, cache_bytes),
    {.name = "--teams",
        .value_name = "CPUS;CPUS",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(teams),
        .help = "threads that compute together, as in \"0-3;4-7\" (default: those that\n"
                "`weir topology` shows; with --threads: one team)"},
    {.name = "--plot",
        .value_name = "FILE.png",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(plot),
        .help = "draws what happened when (python3 with matplotlib); without --json the\n"
                "figures go to FILE.png.json"},
    {.name = "--json",
        .value_name = "FILE|-",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(json),
        .help = "one JSON object into the file, beside the text, or on standard output alone"},
    {.name = "--trace",
        .value_name = "FILE.json",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(trace),
        .help = "when each of the last 8192 requests was where, as trace events for Perfetto"},
    WEIR__CLI_ROW_VERBOSE(weir__load_options_t, is_verbose),
};
#undef FIELD
static const weir__cli_syntax_t syntax = {
    .command = "load",
    .arguments = "MODEL...",
    .purpose = "Sends requests through the batcher and counts answers, in time, right, or not.",
    .notes =
        "Latency counts from when a request was due. Every answer is compared, byte for byte, "
        "with\n"
        "that of a run of its own. Several models get equally much. Whether a percentile is held "
        "is\n"
        "judged by LoadGen's early stopping (binomial, confidence 0.99); the scenarios have its\n"
        "names and shapes, and that is all they have in common with published benchmarks.\n"
        "^C ends the run and shows what there is. A wrong answer or an error: exit code 1.\n"
        "Example: weir load resnet50.onnx --scenario server --slo-ms 100 --seconds 60",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
    .argument_least = 1,
    .argument_most = WEIR__LOAD_MODELS_MAX,
    .argument_field = offsetof(weir__load_options_t, models),
};

// ---- What was asked for
// -----------------------------------------------------------------------------

static weir_code_t read_number(const char *name, const char *text, double least, double most,
    double *out_number, weir__cli_fault_t *fault)
{
    char *end = NULL;
    *out_number = strtod(text, &end);
    if (end == text || *end || !(*out_number >= least && *out_number <= most))
        return weir__cli_fault_usage(
            fault, "%s %s: write a number from %g to %g", name, text, least, most);
    return WEIR_OK;
}

static weir_code_t read_scenario(weir__load_options_t *options, weir__cli_fault_t *fault)
{
    options->scenario = options->qps_text ? WEIR__LOAD_QPS : WEIR__LOAD_SERVER;
    if (!options->scenario_text)
        return WEIR_OK;
    if (options->qps_text)
        return weir__cli_fault_usage(
            fault, "--qps says when requests come, and so does --scenario: give one of them");
    for (uint32_t i = WEIR__LOAD_SINGLE; i <= WEIR__LOAD_OFFLINE; i++)
        if (strcmp(options->scenario_text, weir__load_scenario_name(i)) == 0) {
            options->scenario = i;
            return WEIR_OK;
        }
    return weir__cli_fault_usage(fault,
        "--scenario %s: there are single, multi, server and offline", options->scenario_text);
}

// "3" or "3:4,1,1".
static weir_code_t read_tenants(weir__load_options_t *options, weir__cli_fault_t *fault)
{
    static const char *const names[] = {"tenant-0", "tenant-1", "tenant-2", "tenant-3", "tenant-4",
        "tenant-5", "tenant-6", "tenant-7"};
    const char *text = options->tenants_text;
    if (!text)
        return WEIR_OK;
    char *at = NULL;
    const unsigned long count = strtoul(text, &at, 10);
    bool is_good = at != text && count >= 1 && count <= sizeof(names) / sizeof(names[0]);
    for (uint32_t i = 0; is_good && i < count; i++) {
        unsigned long weight = 1;
        if (*at) {
            const char *digits = at + 1;
            is_good = *at == (i ? ',' : ':');
            weight = is_good ? strtoul(digits, &at, 10) : 0;
            is_good = is_good && at != digits && weight >= 1 && weight <= 1000000;
        }
        options->tenants[i] = (weir_tenant_t){.name = names[i], .weight = (uint32_t)weight};
    }
    if (!is_good || *at)
        return weir__cli_fault_usage(fault,
            "--tenants %s: write how many, 1 to 8, and their weights if they differ, as in 3:4,1,1",
            text);
    options->tenant_count = (uint32_t)count;
    return WEIR_OK;
}

static weir_code_t read_options(weir__load_options_t *options, weir__cli_fault_t *fault)
{
    double slo_ms = 0;
    weir_code_t code = read_scenario(options, fault);
    if (code == WEIR_OK && options->qps_text)
        code = read_number("--qps", options->qps_text, 0.001, 1e7, &options->qps, fault);
    if (code == WEIR_OK && options->slo_text)
        code = read_number("--slo-ms", options->slo_text, 0.001, 1e7, &slo_ms, fault);
    options->slo_ns = (uint64_t)(slo_ms * 1e6);
    if (code == WEIR_OK && options->scenario == WEIR__LOAD_SERVER && !options->slo_ns)
        code = weir__cli_fault_usage(
            fault, "--slo-ms is missing: the scenario server looks for the rate that holds it");
    return code == WEIR_OK ? read_tenants(options, fault) : code;
}

// ---- Scenarios
// --------------------------------------------------------------------------------------

// Of a short run: one more may be late than 1 %, else a single hiccup would halve the rate.
static bool holds(const weir__load_result_t *result)
{
    return !result->wrong && !result->errors &&
           (double)(result->offered - result->in_slo) <= 1 + 0.01 * (double)result->offered;
}

// The highest rate that holds, by halving; short runs, so that it takes about as long as the run.
static weir_code_t find_rate(
    weir__load_t *load, double seconds, double *out_qps, weir__cli_fault_t *fault)
{
    weir__load_result_t result = {0};
    const double each = seconds / SEARCH_STEPS > 0.5 ? seconds / SEARCH_STEPS : 0.5;
    weir_code_t code = weir__load_run(load, WEIR__LOAD_OFFLINE, 0, each, &result, fault);
    double high = (double)result.completed * 1e9 / (double)(result.elapsed_ns + 1), low = 0;
    weir__load_result_free(&result);
    for (int i = 1; i < SEARCH_STEPS && code == WEIR_OK && !stop; i++) {
        const double middle = i == 1 ? high * 0.9 : (low + high) / 2;
        code = weir__load_run(load, WEIR__LOAD_SERVER, middle, each, &result, fault);
        if (holds(&result))
            low = middle;
        else
            high = middle;
        weir__load_result_free(&result);
    }
    // Nothing held: the run shows at the lowest rate that was tried how far off it is.
    *out_qps = low > 0 ? low : high;
    if (code == WEIR_OK && !(*out_qps > 0))
        code = weir__cli_fault_set(fault, WEIR_UNAVAILABLE,
            "no request was answered: %s may not run here", load->models[0].path);
    return code;
}

static weir_code_t run(weir__load_t *load, weir__load_result_t *result, weir__cli_fault_t *fault)
{
    const weir__load_options_t *options = load->options;
    const double seconds =
        (double)(options->seconds.is_set ? options->seconds.value : SECONDS_DEFAULT);
    double qps = options->qps;
    weir_code_t code = WEIR_OK;
    if (options->scenario == WEIR__LOAD_SERVER)
        code = find_rate(load, seconds, &qps, fault);
    if (code == WEIR_OK)
        code = weir__load_run(load, options->scenario, qps, seconds, result, fault);
    return code;
}

// ---- Results
// ----------------------------------------------------------------------------------------

static weir_code_t write_json(const weir__load_t *load, const weir__load_result_t *result,
    const char *path, weir__cli_fault_t *fault)
{
    FILE *out = fopen(path, "we");
    if (out)
        weir__load_show_json(load, result, out);
    const bool is_bad = !out || fflush(out) != 0 || ferror(out);
    const int error = errno;
    if (out && fclose(out) == 0 && !is_bad)
        return WEIR_OK;
    return weir__cli_fault_set(fault, weir__cli_fault_errno_code(error),
        "%s cannot be written: %s; choose another file", path, strerror(error));
}

static int write_piece(void *user_data, const char *text, size_t bytes)
{
    return fwrite(text, 1, bytes, user_data) != bytes;
}

static weir_code_t write_trace(const weir__load_t *load, const char *path, weir__cli_fault_t *fault)
{
    FILE *out = fopen(path, "we");
    weir_code_t code = WEIR_OK;
    if (out)
        code = weir__cli_chain_take(weir_scheduler_spans(load->scheduler, write_piece, out), fault);
    const int error = errno;
    if (out && fclose(out) == 0 && code == WEIR_OK)
        return WEIR_OK;
    return weir__cli_fault_set(fault, weir__cli_fault_errno_code(error),
        "%s cannot be written: %s; choose another file with --trace", path, strerror(error));
}

static weir_code_t show(
    const weir__load_t *load, const weir__load_result_t *result, weir__cli_fault_t *fault)
{
    const weir__load_options_t *options = load->options;
    const bool is_stdout = options->json && strcmp(options->json, "-") == 0;
    char path[4096];
    weir_code_t code = WEIR_OK;
    if (is_stdout)
        weir__load_show_json(load, result, stdout);
    else
        weir__load_show_text(load, result);
    (void)fflush(stdout);
    (void)snprintf(path, sizeof(path), "%s.json", options->plot ? options->plot : "");
    const char *file = options->json && !is_stdout ? options->json : path;
    if (options->plot || (options->json && !is_stdout))
        code = write_json(load, result, file, fault);
    if (code == WEIR_OK && options->trace)
        code = write_trace(load, options->trace, fault);
    if (code == WEIR_OK && options->plot)
        code = weir__load_plot(file, options->plot, fault);
    if (code == WEIR_OK && result->wrong)
        code = weir__cli_fault_set(fault, WEIR_INTERNAL,
            "%llu answers have other bytes than a run of their own gives",
            (unsigned long long)result->wrong);
    if (code == WEIR_OK && result->errors)
        code = weir__cli_fault_set(fault, WEIR_INTERNAL, "%llu requests failed, the first with %s",
            (unsigned long long)result->errors, result->first_error);
    return code;
}

weir_code_t weir__cli_load(int argc, char **argv, weir__cli_fault_t *fault)
{
    weir__load_options_t options = {0};
    weir_code_t code = WEIR_OK;
    if (!weir__cli_begin(&syntax, argc, argv, &options, fault, &code))
        return code;
    weir__load_t load = {0};
    weir__load_result_t result = {0};
    const struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    code = read_options(&options, fault);
    if (code == WEIR_OK)
        code = weir__load_prepare(&options, &load, fault);
    load.stop = &stop;
    if (code == WEIR_OK && sigaction(SIGINT, &action, NULL) == 0)
        code = run(&load, &result, fault);
    if (code == WEIR_OK)
        code = show(&load, &result, fault);
    weir__load_result_free(&result);
    weir__load_release(&load);
    weir__cli_options_free(&syntax, &options);
    return code;
}
