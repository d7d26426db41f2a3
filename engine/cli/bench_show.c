// Figures of `weir bench`, as text and as JSON. The two must show the same facts.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/cli/bench.h"
#include "engine/cli/json.h"
#include "engine/cli/machine.h"
#include "engine/cli/steps.h"
#include "engine/cli/text.h"

// Of numbers that are sorted already.
static uint64_t percentile(const uint64_t *sorted, uint64_t count, uint32_t percent)
{
    const uint64_t rank = (count * percent + 99) / 100;
    return count ? sorted[rank ? rank - 1 : 0] : 0;
}

static uint64_t median(const weir__cli_bench_t *bench)
{
    return percentile(bench->run_ns, bench->run_count, 50);
}

static double ref_share(const weir__cli_bench_t *bench)
{
    return bench->steps_ns ? (double)bench->ref_ns / (double)bench->steps_ns : 0;
}

static double runs_per_second(const weir__cli_bench_t *bench)
{
    return bench->elapsed_ns ? (double)bench->run_count * 1e9 / (double)bench->elapsed_ns : 0;
}

static uint64_t created_ns(const weir__cli_creation_t *times)
{
    return times->load_ns + times->plan_ns + times->session_ns;
}

static uint64_t more(uint64_t now, uint64_t before)
{
    return now > before ? now - before : 0;
}

// ---- Text
// -----------------------------------------------------------------------------------------

static void print_shapes(const weir__cli_bench_t *bench)
{
    (void)printf(
        "  shapes   %" PRIu64 " new in %" PRIu64 " runs:", bench->shape_count, bench->run_count);
    for (uint32_t i = 0; i < bench->range_count; i++) {
        char safe[128];
        (void)printf(" %s=%" PRIu64 "..%" PRIu64,
            weir__cli_text_safe(bench->ranges[i].name, safe, sizeof(safe)), bench->ranges[i].least,
            bench->ranges[i].most);
    }
    (void)printf("; a new shape costs %s (median), %s (p99)\n",
        weir__cli_text_ns(percentile(bench->shape_ns, bench->shape_count, 50)).text,
        weir__cli_text_ns(percentile(bench->shape_ns, bench->shape_count, 99)).text);
    (void)printf("  growth   since a tenth of them: engine %s, process %s\n",
        weir__cli_text_bytes(more(bench->engine_bytes, bench->warm_engine_bytes)).text,
        weir__cli_text_bytes(more(bench->anonymous_bytes, bench->warm_anonymous_bytes)).text);
}

static void print_creation(
    const char *title, const weir__cli_bench_t *bench, const weir__cli_creation_t *times)
{
    (void)printf("  %s %s (load %s, plan %s)", title, weir__cli_text_ns(created_ns(times)).text,
        weir__cli_text_ns(times->load_ns).text, weir__cli_text_ns(times->plan_ns).text);
    if (!bench->range_count)
        (void)printf(", first run %s", weir__cli_text_ns(times->first_run_ns).text);
    (void)printf(", engine %s\n", weir__cli_text_ns(times->engine_ns).text);
}

void weir__cli_bench_text(const weir__cli_bench_options_t *options, const weir__cli_chain_t *chain,
    const weir__cli_bench_t *bench)
{
    char safe[512];
    const uint64_t p50_ns = median(bench);
    (void)printf("%s  %s f32, %" PRIu32 " threads\n",
        weir__cli_text_safe(bench->model, safe, sizeof(safe)),
        options->subject.devices ? options->subject.devices : "best devices",
        weir_engine_threads(chain->engine));
    (void)printf("  run      p50 %s  min %s  p90 %s  p99 %s", weir__cli_text_ns(p50_ns).text,
        weir__cli_text_ns(percentile(bench->run_ns, bench->run_count, 0)).text,
        weir__cli_text_ns(percentile(bench->run_ns, bench->run_count, 90)).text,
        weir__cli_text_ns(percentile(bench->run_ns, bench->run_count, 99)).text);
    (void)printf("  of %" PRIu64 " runs", bench->run_count);
    if (!bench->range_count)
        (void)printf("  %.4g runs/s  %.3g GFLOP/s", runs_per_second(bench),
            p50_ns ? (double)bench->flop / (double)p50_ns : 0.0);
    (void)printf("\n");
    if (bench->range_count)
        print_shapes(bench);
    print_creation("created ", bench, &bench->created);
    print_creation("cached  ", bench, &bench->cached);
    (void)printf(
        "  memory   engine %s (most %s), of that session %s; process %s more than without\n",
        weir__cli_text_bytes(bench->engine_bytes).text,
        weir__cli_text_bytes(bench->engine_peak_bytes).text,
        weir__cli_text_bytes(bench->arena_bytes).text,
        weir__cli_text_bytes(more(bench->anonymous_bytes, bench->base_anonymous_bytes)).text);
    (void)printf("  ref      %.1f %% of the time of %" PRIu32 " steps\n", 100 * ref_share(bench),
        bench->step_count);
}

// ---- JSON
// -----------------------------------------------------------------------------------------

static void put_creation(weir__cli_json_t *json, const char *key, const weir__cli_bench_t *bench,
    const weir__cli_creation_t *times)
{
    weir__cli_json_open(json, key, '{');
    weir__cli_json_u64(json, "engine_ns", times->engine_ns);
    weir__cli_json_u64(json, "load_ns", times->load_ns);
    weir__cli_json_u64(json, "plan_ns", times->plan_ns);
    weir__cli_json_u64(json, "session_ns", times->session_ns);
    weir__cli_json_u64(json, "create_ns", created_ns(times));
    if (!bench->range_count)
        weir__cli_json_u64(json, "first_run_ns", times->first_run_ns);
    weir__cli_json_close(json, '}');
}

static void put_machine(weir__cli_json_t *json)
{
    weir__cli_machine_t machine;
    weir__cli_machine_read(&machine);
    weir__cli_json_text(json, "version", weir_version());
    weir__cli_json_text(json, "commit", weir__cli_commit());
    weir__cli_json_text(json, "cpu", machine.cpu);
    weir__cli_json_text(json, "cpu_flags", machine.flags);
}

static void put_inputs(weir__cli_json_t *json, const weir__cli_inputs_t *inputs)
{
    weir__cli_json_open(json, "inputs", '[');
    for (uint32_t i = 0; i < inputs->count; i++) {
        const weir_value_t *value = &inputs->values[i];
        weir__cli_json_open(json, NULL, '{');
        weir__cli_json_text(json, "name", inputs->ports[i].name);
        weir__cli_json_text(json, "dtype", weir_dtype_name(value->dtype));
        weir__cli_json_open(json, "dims", '[');
        for (uint32_t d = 0; d < value->rank; d++)
            weir__cli_json_i64(json, NULL, value->dims[d]);
        weir__cli_json_close(json, ']');
        weir__cli_json_close(json, '}');
    }
    weir__cli_json_close(json, ']');
}

static void put_times(weir__cli_json_t *json, const weir__cli_bench_t *bench)
{
    const uint64_t p50_ns = median(bench);
    weir__cli_json_u64(json, "run_count", bench->run_count);
    weir__cli_json_f64(json, "seconds", (double)bench->elapsed_ns / 1e9, 6);
    weir__cli_json_u64(json, "min_ns", percentile(bench->run_ns, bench->run_count, 0));
    weir__cli_json_u64(json, "p50_ns", p50_ns);
    weir__cli_json_u64(json, "p90_ns", percentile(bench->run_ns, bench->run_count, 90));
    weir__cli_json_u64(json, "p99_ns", percentile(bench->run_ns, bench->run_count, 99));
    if (bench->range_count)
        return;
    weir__cli_json_f64(json, "runs_per_s", runs_per_second(bench), 6);
    weir__cli_json_u64(json, "flop", bench->flop);
    weir__cli_json_f64(json, "gflop_per_s", p50_ns ? (double)bench->flop / (double)p50_ns : 0.0, 6);
}

static void put_shapes(weir__cli_json_t *json, const weir__cli_bench_t *bench)
{
    weir__cli_json_open(json, "random_shapes", '{');
    weir__cli_json_open(json, "ranges", '[');
    for (uint32_t i = 0; i < bench->range_count; i++) {
        weir__cli_json_open(json, NULL, '{');
        weir__cli_json_text(json, "dim", bench->ranges[i].name);
        weir__cli_json_u64(json, "least", bench->ranges[i].least);
        weir__cli_json_u64(json, "most", bench->ranges[i].most);
        weir__cli_json_u64(json, "step", bench->ranges[i].step);
        weir__cli_json_close(json, '}');
    }
    weir__cli_json_close(json, ']');
    weir__cli_json_u64(json, "new_shape_count", bench->shape_count);
    weir__cli_json_u64(
        json, "specialize_p50_ns", percentile(bench->shape_ns, bench->shape_count, 50));
    weir__cli_json_u64(
        json, "specialize_p99_ns", percentile(bench->shape_ns, bench->shape_count, 99));
    weir__cli_json_u64(
        json, "engine_growth_bytes", more(bench->engine_bytes, bench->warm_engine_bytes));
    weir__cli_json_u64(
        json, "process_growth_bytes", more(bench->anonymous_bytes, bench->warm_anonymous_bytes));
    weir__cli_json_close(json, '}');
}

void weir__cli_bench_json(const weir__cli_bench_options_t *options, const weir__cli_chain_t *chain,
    const weir__cli_inputs_t *inputs, const weir__cli_bench_t *bench)
{
    weir_model_info_t model = {.size = sizeof(model)};
    weir_plan_info_t plan = {.size = sizeof(plan)};
    weir__cli_json_t json = {.out = stdout};
    weir_model_describe(chain->model, &model);
    weir_plan_describe(chain->plan, &plan);
    weir__cli_json_open(&json, NULL, '{');
    weir__cli_json_text(&json, "model", bench->model);
    weir__cli_json_text(&json, "digest", model.digest);
    put_machine(&json);
    weir__cli_json_text(&json, "devices", options->subject.devices);
    weir__cli_json_text(
        &json, "precision", options->subject.precision ? options->subject.precision : "f32");
    weir__cli_json_u64(&json, "threads", weir_engine_threads(chain->engine));
    put_inputs(&json, inputs);
    put_times(&json, bench);
    if (bench->range_count)
        put_shapes(&json, bench);
    put_creation(&json, "created", bench, &bench->created);
    put_creation(&json, "cached", bench, &bench->cached);
    weir__cli_json_open(&json, "memory", '{');
    weir__cli_json_u64(&json, "engine_bytes", bench->engine_bytes);
    weir__cli_json_u64(&json, "engine_peak_bytes", bench->engine_peak_bytes);
    weir__cli_json_u64(&json, "session_bytes", bench->arena_bytes);
    weir__cli_json_u64(
        &json, "process_bytes", more(bench->anonymous_bytes, bench->base_anonymous_bytes));
    weir__cli_json_u64(&json, "parameter_bytes", model.parameter_bytes);
    weir__cli_json_u64(&json, "packed_bytes", plan.packed_bytes);
    weir__cli_json_close(&json, '}');
    weir__cli_json_u64(&json, "node_count", plan.node_count);
    weir__cli_json_u64(&json, "ref_node_count", plan.ref_node_count);
    weir__cli_json_u64(&json, "step_count", bench->step_count);
    weir__cli_json_f64(&json, "ref_share", ref_share(bench), 6);
    weir__cli_json_close(&json, '}');
    (void)putchar('\n');
}
