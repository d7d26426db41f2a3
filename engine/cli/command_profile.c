// `weir profile MODEL`: where the time of a run goes, step by step.
//
// It must not time anything itself: the engine notes the times (weir/profile.h), this shows them.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/weir.h>

#include "engine/cli/command.h"
#include "engine/cli/json.h"
#include "engine/cli/machine.h"
#include "engine/cli/rates.h"
#include "engine/cli/steps.h"
#include "engine/cli/subject.h"
#include "engine/cli/text.h"
#include "engine/cli/trace.h"

enum { RUNS_DEFAULT = 20, TOP_DEFAULT = 20, WARM_UP = 3 };

typedef struct profile_options {
    const char *model;
    weir__cli_subject_t subject;
    const char *sort;
    const char *trace;
    weir__cli_option_count_t runs;
    weir__cli_option_count_t top;
} profile_options_t;

#define FIELD(name) .field = offsetof(profile_options_t, name)
static const weir__cli_option_t rows[] = {
    WEIR__CLI_SUBJECT_ROWS(profile_options_t, WEIR__CLI_DEVICE_HELP, WEIR__CLI_RANDOM_HELP,
        WEIR__CLI_DIM_HELP, "one JSON object"),
    {.name = "--runs",
        .value_name = "N",
        .kind = WEIR__CLI_OPTION_COUNT,
        FIELD(runs),
        .least = 1,
        .most = 100000,
        .help = "runs that are noted (default: 20), after three that are not"},
    {.name = "--sort",
        .value_name = "time|order",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(sort),
        .help = "slowest first (the default), or as they run"},
    {.name = "--top",
        .value_name = "N",
        .kind = WEIR__CLI_OPTION_COUNT,
        FIELD(top),
        .least = 1,
        .most = UINT32_MAX,
        .help = "shows N steps (default: 20; as JSON all)"},
    {.name = "--trace",
        .value_name = "FILE.json",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(trace),
        .help = "writes the steps of every noted run as trace events, for Perfetto or Chrome"},
};
#undef FIELD
static const weir__cli_syntax_t syntax = {
    .command = "profile",
    .arguments = "MODEL",
    .purpose = "Shows where the time of a run goes: each step, operators, devices.",
    .notes = "Times are medians over the runs. flop are those of the direct algorithm, so that a\n"
             "kernel which does less arithmetic shows a higher rate.\n"
             "Example: weir profile minilm.onnx --dim batch=1 --dim sequence=128 --trace t.json",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
    .argument_least = 1,
    .argument_most = 1,
    .argument_field = offsetof(profile_options_t, model),
};

// ---- Totals
// ---------------------------------------------------------------------------------------

typedef struct total {
    const char *name;
    uint64_t count, ns, flop, bytes;
    double least_ns; // 0: not known
} total_t;

typedef enum grouping { BY_OPERATOR, BY_DEVICE, BY_KERNEL } grouping_t;

static const char *group_of(const weir_profile_step_t *step, grouping_t grouping)
{
    return grouping == BY_OPERATOR ? step->op : grouping == BY_DEVICE ? step->device : step->kernel;
}

static int by_total_time(const void *a, const void *b)
{
    const total_t *left = a, *right = b;
    return (left->ns < right->ns) - (left->ns > right->ns);
}

// totals: [step_count]. Returns how many there are, slowest first.
static uint32_t add_up(const weir__cli_steps_t *steps, grouping_t grouping, total_t *totals)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < steps->step_count; i++) {
        const weir_profile_step_t *step = &steps->steps[i];
        const char *name = group_of(step, grouping);
        uint32_t at = 0;
        while (at < count && strcmp(totals[at].name, name) != 0)
            at++;
        if (at == count)
            totals[count++] = (total_t){.name = name};
        totals[at].count++;
        totals[at].ns += steps->median_ns[i];
        totals[at].flop += step->flop;
        totals[at].bytes += step->bytes;
        totals[at].least_ns += steps->least_ns[i];
    }
    qsort(totals, count, sizeof(*totals), by_total_time);
    return count;
}

static double share_of(const weir__cli_steps_t *steps, uint64_t ns)
{
    return steps->steps_ns ? (double)ns / (double)steps->steps_ns : 0;
}

// Per nanosecond, which is giga per second.
static double rate_of(uint64_t amount, uint64_t ns)
{
    return ns ? (double)amount / (double)ns : 0;
}

// ---- Text
// -----------------------------------------------------------------------------------------

static void add_number(weir__cli_table_t *table, const char *format, double number)
{
    char cell[32];
    (void)snprintf(cell, sizeof(cell), format, number);
    weir__cli_table_add(table, cell);
}

static void add_rates(
    weir__cli_table_t *table, const weir__cli_steps_t *steps, const total_t *total)
{
    weir__cli_table_add(table, weir__cli_text_ns(total->ns).text);
    add_number(table, "%.1f %%", 100 * share_of(steps, total->ns));
    if (total->flop)
        add_number(table, "%.3g", rate_of(total->flop, total->ns));
    else
        weir__cli_table_add(table, "-");
    add_number(table, "%.3g", rate_of(total->bytes, total->ns));
    if (total->least_ns > 0 && total->ns)
        add_number(table, "%.0f %%", 100 * total->least_ns / (double)total->ns);
    else
        weir__cli_table_add(table, "-");
}

// "MatMul+Add+Gelu", then what runs it.
static void describe(const weir_profile_step_t *step, char *text, size_t text_bytes)
{
    const bool is_group = strcmp(step->op, "Pointwise") == 0 && *step->fused;
    (void)snprintf(text, text_bytes, "%s%s%s", is_group ? "" : step->op,
        !is_group && *step->fused ? "+" : "", step->fused);
}

// A name made of the names of fifty nodes does not fit a line.
static void shorten(const char *name, char *text, size_t text_bytes)
{
    const size_t bytes = strlen(name);
    if (bytes < text_bytes)
        (void)snprintf(text, text_bytes, "%s", name);
    else
        (void)snprintf(text, text_bytes, "%.*s..", (int)text_bytes - 3, name);
}

static total_t total_of(const weir__cli_steps_t *steps, uint32_t index)
{
    return (total_t){.ns = steps->median_ns[index],
        .flop = steps->steps[index].flop,
        .bytes = steps->steps[index].bytes,
        .least_ns = steps->least_ns[index]};
}

static void print_steps(const weir__cli_steps_t *steps, const uint32_t *order, uint64_t top)
{
    weir__cli_table_t table = weir__cli_table_start(9);
    static const char *const titles[] = {
        "step", "operator", "kernel", "output", "time", "share", "GFLOP/s", "GB/s", "ceiling"};
    for (size_t i = 0; i < 9; i++)
        weir__cli_table_add(&table, titles[i]);
    for (uint32_t i = 0; i < steps->step_count && i < top; i++) {
        const weir_profile_step_t *step = &steps->steps[order[i]];
        char name[41], operators[41], kernel[128];
        shorten(*step->origins ? step->origins : step->op, name, sizeof(name));
        describe(step, kernel, sizeof(kernel));
        shorten(kernel, operators, sizeof(operators));
        (void)snprintf(kernel, sizeof(kernel), "%s:%s", step->device, step->kernel);
        weir__cli_table_add(&table, name);
        weir__cli_table_add(&table, operators);
        weir__cli_table_add(&table, kernel);
        weir__cli_table_add(&table, step->shape);
        const total_t total = total_of(steps, order[i]);
        add_rates(&table, steps, &total);
    }
    weir__cli_table_finish(&table, 0, stdout);
    if (steps->step_count > top)
        (void)printf("and %" PRIu64 " more: --top %" PRIu32 " shows all\n", steps->step_count - top,
            steps->step_count);
}

static void print_totals(const weir__cli_steps_t *steps, grouping_t grouping, total_t *totals)
{
    static const char *const titles[] = {"operator", "device", "kernel"};
    weir__cli_table_t table = weir__cli_table_start(7);
    const uint32_t count = add_up(steps, grouping, totals);
    weir__cli_table_add(&table, titles[grouping]);
    weir__cli_table_add(&table, "steps");
    weir__cli_table_add(&table, "time");
    weir__cli_table_add(&table, "share");
    weir__cli_table_add(&table, "GFLOP/s");
    weir__cli_table_add(&table, "GB/s");
    weir__cli_table_add(&table, "ceiling");
    for (uint32_t i = 0; i < count; i++) {
        weir__cli_table_add(&table, totals[i].name);
        weir__cli_table_add(&table, weir__cli_text_u64(totals[i].count).text);
        add_rates(&table, steps, &totals[i]);
    }
    (void)putchar('\n');
    weir__cli_table_finish(&table, 0, stdout);
}

static void print_text(const profile_options_t *options, const weir__cli_chain_t *chain,
    const weir__cli_steps_t *steps, const uint32_t *order, total_t *totals)
{
    char safe[512];
    print_steps(steps, order, options->top.is_set ? options->top.value : TOP_DEFAULT);
    print_totals(steps, BY_OPERATOR, totals);
    print_totals(steps, BY_DEVICE, totals);
    (void)printf("\n%s: %s a run (median of %" PRIu32 "), %" PRIu32 " steps, %s between them; ",
        weir__cli_text_safe(options->model, safe, sizeof(safe)),
        weir__cli_text_ns(steps->run_ns).text, steps->run_count, steps->step_count,
        weir__cli_text_ns(steps->between_ns).text);
    (void)printf("%.3g GFLOP/s on %" PRIu32 " threads; %.1f %% of the time on ref\n",
        rate_of(steps->flop, steps->run_ns), weir_engine_threads(chain->engine),
        100 * share_of(steps, steps->ref_ns));
    if (options->trace)
        (void)printf("wrote %s\n", weir__cli_text_safe(options->trace, safe, sizeof(safe)));
}

// ---- JSON
// -----------------------------------------------------------------------------------------

static void put_rates(weir__cli_json_t *json, const weir__cli_steps_t *steps, const total_t *total)
{
    weir__cli_json_u64(json, "time_ns", total->ns);
    weir__cli_json_f64(json, "share", share_of(steps, total->ns), 6);
    weir__cli_json_u64(json, "flop", total->flop);
    weir__cli_json_u64(json, "bytes", total->bytes);
    weir__cli_json_f64(json, "gflop_per_s", rate_of(total->flop, total->ns), 6);
    weir__cli_json_f64(json, "gb_per_s", rate_of(total->bytes, total->ns), 6);
    weir__cli_json_f64(
        json, "ceiling_share", total->ns ? total->least_ns / (double)total->ns : 0.0, 6);
}

static void put_step(weir__cli_json_t *json, const weir__cli_steps_t *steps, uint32_t index)
{
    const weir_profile_step_t *step = &steps->steps[index];
    weir__cli_json_open(json, NULL, '{');
    weir__cli_json_u64(json, "index", index);
    weir__cli_json_text(json, "origins", step->origins);
    weir__cli_json_text(json, "op", step->op);
    weir__cli_json_text(json, "fused", step->fused);
    weir__cli_json_text(json, "device", step->device);
    weir__cli_json_text(json, "kernel", step->kernel);
    weir__cli_json_text(json, "shape", step->shape);
    const total_t total = total_of(steps, index);
    put_rates(json, steps, &total);
    weir__cli_json_close(json, '}');
}

static void put_totals(weir__cli_json_t *json, const char *key, const weir__cli_steps_t *steps,
    grouping_t grouping, total_t *totals)
{
    const uint32_t count = add_up(steps, grouping, totals);
    weir__cli_json_open(json, key, '[');
    for (uint32_t i = 0; i < count; i++) {
        weir__cli_json_open(json, NULL, '{');
        weir__cli_json_text(json, "name", totals[i].name);
        weir__cli_json_u64(json, "step_count", totals[i].count);
        put_rates(json, steps, &totals[i]);
        weir__cli_json_close(json, '}');
    }
    weir__cli_json_close(json, ']');
}

static void print_json(const profile_options_t *options, const weir__cli_chain_t *chain,
    const weir__cli_steps_t *steps, const uint32_t *order, total_t *totals)
{
    weir__cli_machine_t machine;
    weir__cli_json_t json = {.out = stdout};
    const uint64_t top = options->top.is_set ? options->top.value : steps->step_count;
    weir__cli_machine_read(&machine);
    weir__cli_json_open(&json, NULL, '{');
    weir__cli_json_text(&json, "model", options->model);
    weir__cli_json_text(&json, "version", weir_version());
    weir__cli_json_text(&json, "commit", weir__cli_commit());
    weir__cli_json_text(&json, "cpu", machine.cpu);
    weir__cli_json_u64(&json, "threads", weir_engine_threads(chain->engine));
    weir__cli_json_u64(&json, "run_count", steps->run_count);
    weir__cli_json_u64(&json, "run_ns", steps->run_ns);
    weir__cli_json_u64(&json, "steps_ns", steps->steps_ns);
    weir__cli_json_u64(&json, "between_ns", steps->between_ns);
    weir__cli_json_u64(&json, "flop", steps->flop);
    weir__cli_json_u64(&json, "bytes", steps->bytes);
    weir__cli_json_f64(&json, "ref_share", share_of(steps, steps->ref_ns), 6);
    weir__cli_json_u64(&json, "step_count", steps->step_count);
    weir__cli_json_open(&json, "steps", '[');
    for (uint32_t i = 0; i < steps->step_count && i < top; i++)
        put_step(&json, steps, order[i]);
    weir__cli_json_close(&json, ']');
    put_totals(&json, "operators", steps, BY_OPERATOR, totals);
    put_totals(&json, "devices", steps, BY_DEVICE, totals);
    put_totals(&json, "kernels", steps, BY_KERNEL, totals);
    weir__cli_json_close(&json, '}');
    (void)putchar('\n');
}

// ---- The command
// --------------------------------------------------------------------------------------

// Fills order[step_count]. Insertion keeps equals as they run; there are hundreds, not millions.
static void sort_steps(const weir__cli_steps_t *steps, bool by_time, uint32_t *order)
{
    for (uint32_t i = 0; i < steps->step_count; i++) {
        uint32_t at = i;
        for (; by_time && at > 0 && steps->median_ns[order[at - 1]] < steps->median_ns[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

// What this machine's cores could do each step in, where they do it.
static void least_times(const weir__cli_chain_t *chain, weir__cli_steps_t *steps)
{
    weir__cli_rates_t rates;
    weir__cli_rates_get(&rates);
    for (uint32_t i = 0; i < steps->step_count; i++) {
        const weir_profile_step_t *step = &steps->steps[i];
        const bool is_here = strcmp(step->device, "cpu") == 0 || strcmp(step->device, "ref") == 0;
        steps->least_ns[i] =
            is_here ? weir__cli_rates_least_ns(&rates, weir_engine_threads(chain->engine),
                          step->kernel, step->flop, step->bytes)
                    : 0;
    }
}

static weir_code_t show(const profile_options_t *options, const weir__cli_chain_t *chain,
    weir__cli_steps_t *steps, weir__cli_fault_t *fault)
{
    uint32_t *order = calloc((size_t)steps->step_count + 1, sizeof(*order));
    total_t *totals = calloc((size_t)steps->step_count + 1, sizeof(*totals));
    weir_code_t code = WEIR_OK;
    steps->least_ns = calloc((size_t)steps->step_count + 1, sizeof(*steps->least_ns));
    if (!order || !totals || !steps->least_ns)
        code = weir__cli_fault_set(
            fault, WEIR_RESOURCE_EXHAUSTED, "no memory for %u steps", steps->step_count);
    if (code == WEIR_OK && options->trace)
        code = weir__cli_trace_write(options->trace, options->model, steps, fault);
    if (code == WEIR_OK) {
        least_times(chain, steps);
        sort_steps(steps, !options->sort || strcmp(options->sort, "time") == 0, order);
        if (options->subject.is_json)
            print_json(options, chain, steps, order, totals);
        else
            print_text(options, chain, steps, order, totals);
    }
    free(order);
    free(totals);
    return code;
}

static weir_code_t profile(
    const profile_options_t *options, weir__cli_chain_t *chain, weir__cli_fault_t *fault)
{
    const weir__cli_chain_options_t how = weir__cli_subject_chain(&options->subject);
    const weir__cli_inputs_wanted_t wanted =
        weir__cli_subject_inputs(&options->subject, options->model);
    weir__cli_inputs_t inputs = {0};
    weir__cli_steps_t steps = {0};
    if (options->sort && strcmp(options->sort, "time") != 0 && strcmp(options->sort, "order") != 0)
        return weir__cli_fault_usage(
            fault, "option --sort takes time or order, not \"%s\"", options->sort);
    weir_code_t code = weir__cli_chain_engine(chain, &how, fault);
    if (code == WEIR_OK)
        code = weir__cli_chain_model(chain, options->model, fault);
    if (code == WEIR_OK)
        code = weir__cli_inputs_make(chain->model, &wanted, &inputs, fault);
    if (code == WEIR_OK)
        code = weir__cli_chain_plan(chain, &how, fault);
    if (code == WEIR_OK)
        code = weir__cli_chain_session(chain, fault);
    if (code == WEIR_OK)
        code = weir__cli_steps_make(chain, &inputs, WARM_UP - 1,
            options->runs.is_set ? (uint32_t)options->runs.value : RUNS_DEFAULT, &steps, fault);
    if (code == WEIR_OK)
        code = show(options, chain, &steps, fault);
    weir__cli_inputs_guessed(&inputs, code);
    weir__cli_steps_free(&steps);
    weir__cli_inputs_free(&inputs);
    return code;
}

weir_code_t weir__cli_profile(int argc, char **argv, weir__cli_fault_t *fault)
{
    profile_options_t options = {0};
    weir_code_t code = WEIR_OK;
    if (!weir__cli_begin(&syntax, argc, argv, &options, fault, &code))
        return code;
    weir__cli_chain_t chain = {0};
    code = profile(&options, &chain, fault);
    weir__cli_chain_close(&chain);
    weir__cli_options_free(&syntax, &options);
    return code;
}
