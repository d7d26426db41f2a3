// What became of the requests, for people and as JSON; see load.h. It must show the same facts in
// both.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/cli/json.h"
#include "engine/cli/machine.h"
#include "engine/cli/text.h"
#include "scheduler/cli/load.h"

enum { CURVE_POINTS = 200 };

const char *weir__load_scenario_name(weir__load_scenario_t scenario)
{
    static const char *const names[] = {[WEIR__LOAD_QPS] = "qps",
        [WEIR__LOAD_SINGLE] = "single",
        [WEIR__LOAD_MULTI_STREAM] = "multi",
        [WEIR__LOAD_SERVER] = "server",
        [WEIR__LOAD_OFFLINE] = "offline"};
    return names[scenario];
}

static double per_second(uint64_t count, uint64_t ns)
{
    return ns ? (double)count * 1e9 / (double)ns : 0;
}

static double share(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

// Rows of a batch; 1 where everything ran inline.
static double mean_batch(const weir__load_result_t *result)
{
    const uint64_t batches = result->batches + result->inline_runs;
    return batches ? (double)(result->batch_rows + result->inline_runs) / (double)batches : 0;
}

// What the rule of LoadGen says of this run.
typedef struct verdict {
    bool is_of_slo;     // else of a percentile
    bool has_enough;    // requests
    bool is_met;        // is_of_slo: proven
    uint64_t needed;    // requests in all
    double estimate_ms; // of the percentile, if has_enough and not is_of_slo
} verdict_t;

static verdict_t judge(const weir__load_t *load, const weir__load_result_t *result)
{
    const weir__load_scenario_t scenario = load->options->scenario;
    const double percentile = weir__load_rule_percentile(scenario);
    if (scenario == WEIR__LOAD_QPS || scenario == WEIR__LOAD_SERVER) {
        // What was refused or failed counts as too late: the caller has no answer either way.
        const uint64_t over = result->offered - result->in_slo;
        const uint64_t needed = weir__load_rule_needed(over, percentile) + over;
        const bool has_enough = result->offered >= weir__load_rule_needed(0, percentile);
        return (verdict_t){.is_of_slo = true,
            .has_enough = has_enough,
            .is_met = load->options->slo_ns && result->offered >= needed && !result->wrong,
            .needed = needed};
    }
    const uint64_t discard = weir__load_rule_discard(result->latency_count, percentile);
    return (verdict_t){.has_enough = discard > 0,
        .needed = weir__load_rule_needed(1, percentile) + 1,
        .estimate_ms =
            discard ? (double)result->latencies_ns[result->latency_count - discard] / 1e6 : NAN};
}

// ---- Text
// -------------------------------------------------------------------------------------------

static void print_verdict(const weir__load_t *load, const weir__load_result_t *result)
{
    const verdict_t it = judge(load, result);
    const double percent = weir__load_rule_percentile(load->options->scenario) * 100;
    if (load->options->scenario == WEIR__LOAD_OFFLINE)
        return;
    if (it.is_of_slo && load->options->slo_ns)
        (void)printf("  rule      %s: %.0f %% within %g ms with confidence 0.99 %s %llu requests\n",
            it.is_met ? "held" : "not held", percent, (double)load->options->slo_ns / 1e6,
            it.is_met ? "needed" : "would need", (unsigned long long)it.needed);
    else if (it.has_enough)
        (void)printf(
            "  rule      p%.0f is at most %.3f ms with confidence 0.99\n", percent, it.estimate_ms);
    else
        (void)printf("  rule      too few for p%.0f with confidence 0.99: %llu are needed\n",
            percent, (unsigned long long)it.needed);
}

void weir__load_show_text(const weir__load_t *load, const weir__load_result_t *result)
{
    const weir__load_options_t *options = load->options;
    char safe[128];
    for (uint32_t i = 0; i < load->model_count; i++) {
        weir_served_t served = {.size = sizeof(served)};
        (void)weir_scheduler_served(load->scheduler, i, &served);
        (void)printf("%s  batches of at most %u: %s\n",
            weir__cli_text_safe(served.name, safe, sizeof(safe)), served.max_batch,
            served.batching);
    }
    (void)printf("%s", weir__load_scenario_name(options->scenario));
    if (result->qps > 0)
        (void)printf(" at %.6g requests/s", result->qps);
    if (options->slo_ns)
        (void)printf(", within %g ms", (double)options->slo_ns / 1e6);
    (void)printf(", %.3g s%s\n", (double)result->elapsed_ns / 1e9,
        result->is_interrupted ? " (interrupted)" : "");
    (void)printf("  offered   %llu, %.6g/s\n", (unsigned long long)result->offered,
        per_second(result->offered, result->offer_ns));
    (void)printf("  answered  %llu, %.6g/s; in time %llu (%.2f %%), %.6g/s\n",
        (unsigned long long)result->completed, per_second(result->completed, result->elapsed_ns),
        (unsigned long long)result->in_slo, 100 * share(result->in_slo, result->offered),
        per_second(result->in_slo, result->elapsed_ns));
    (void)printf("  refused   %llu, ended by the deadline %llu, errors %llu, wrong answers %llu\n",
        (unsigned long long)result->refused, (unsigned long long)result->late,
        (unsigned long long)result->errors, (unsigned long long)result->wrong);
    if (*result->first_error)
        (void)printf(
            "  error     %s\n", weir__cli_text_safe(result->first_error, safe, sizeof(safe)));
    if (result->latency_count)
        (void)printf("  latency   p50 %.3f ms  p90 %.3f  p99 %.3f  p99.9 %.3f%s\n",
            weir__load_percentile_ms(result, 500), weir__load_percentile_ms(result, 900),
            weir__load_percentile_ms(result, 990), weir__load_percentile_ms(result, 999),
            options->scenario == WEIR__LOAD_MULTI_STREAM ? "  (of 8 at a time)" : "");
    (void)printf("  batches   %llu, %.3g rows on average", (unsigned long long)result->batches,
        mean_batch(result));
    if (result->inline_runs)
        (void)printf("; inline %llu", (unsigned long long)result->inline_runs);
    (void)printf("\n  CPU       %.2f of the process, of it %.1f %% the generator's",
        (double)result->process_cpu_ns / (double)(result->elapsed_ns + 1),
        100 * share(result->generator_cpu_ns, result->process_cpu_ns));
    if (result->inline_runs)
        (void)printf(", inline runs included");
    if (result->qps > 0)
        (void)printf(", %.0f us behind at p99", (double)result->late_submit_p99_ns / 1e3);
    (void)putchar('\n');
    print_verdict(load, result);
}

// ---- JSON
// -------------------------------------------------------------------------------------------

static void put_setup(weir__cli_json_t *json, const weir__load_t *load)
{
    const weir__load_options_t *options = load->options;
    weir__cli_machine_t machine;
    weir__cli_machine_read(&machine);
    weir__cli_json_text(json, "scenario", weir__load_scenario_name(options->scenario));
    weir__cli_json_text(json, "commit", weir__cli_commit());
    weir__cli_json_text(json, "cpu", machine.cpu);
    weir__cli_json_text(json, "cpu_flags", machine.flags);
    weir__cli_json_text(json, "devices", options->devices);
    weir__cli_json_u64(json, "threads", weir_engine_threads(load->chain.engine));
    weir__cli_json_u64(json, "seed", options->seed.is_set ? options->seed.value : 1);
    weir__cli_json_u64(json, "tenant_count", options->tenant_count ? options->tenant_count : 1);
    weir__cli_json_u64(json, "spin_us", options->spin_us.value);
    weir__cli_json_open(json, "models", '[');
    for (uint32_t i = 0; i < load->model_count; i++) {
        weir_served_t served = {.size = sizeof(served)};
        (void)weir_scheduler_served(load->scheduler, i, &served);
        weir__cli_json_open(json, NULL, '{');
        weir__cli_json_text(json, "path", load->models[i].path);
        weir__cli_json_text(json, "name", served.name);
        weir__cli_json_text(json, "digest", served.digest);
        weir__cli_json_text(json, "batching", served.batching);
        weir__cli_json_u64(json, "max_batch", served.max_batch);
        weir__cli_json_close(json, '}');
    }
    weir__cli_json_close(json, ']');
}

static void put_counts(
    weir__cli_json_t *json, const weir__load_t *load, const weir__load_result_t *result)
{
    const uint64_t slo_ns = load->options->slo_ns;
    weir__cli_json_f64(json, "slo_ms", slo_ns ? (double)slo_ns / 1e6 : NAN, 9);
    weir__cli_json_f64(json, "target_qps", result->qps > 0 ? result->qps : NAN, 9);
    weir__cli_json_f64(json, "offered_qps", per_second(result->offered, result->offer_ns), 9);
    weir__cli_json_f64(json, "completed_qps", per_second(result->completed, result->elapsed_ns), 9);
    weir__cli_json_f64(json, "in_slo_qps", per_second(result->in_slo, result->elapsed_ns), 9);
    weir__cli_json_u64(json, "offered", result->offered);
    weir__cli_json_u64(json, "completed", result->completed);
    weir__cli_json_u64(json, "in_slo", result->in_slo);
    weir__cli_json_u64(json, "refused", result->refused);
    weir__cli_json_u64(json, "late", result->late);
    weir__cli_json_u64(json, "errors", result->errors);
    weir__cli_json_u64(json, "wrong", result->wrong);
    weir__cli_json_text(json, "first_error", *result->first_error ? result->first_error : NULL);
    weir__cli_json_f64(json, "p50_ms", weir__load_percentile_ms(result, 500), 9);
    weir__cli_json_f64(json, "p90_ms", weir__load_percentile_ms(result, 900), 9);
    weir__cli_json_f64(json, "p99_ms", weir__load_percentile_ms(result, 990), 9);
    weir__cli_json_f64(json, "p999_ms", weir__load_percentile_ms(result, 999), 9);
    weir__cli_json_f64(json, "mean_batch", mean_batch(result), 6);
    weir__cli_json_u64(json, "batches", result->batches);
    weir__cli_json_u64(json, "inline_runs", result->inline_runs);
    weir__cli_json_f64(json, "seconds", (double)result->elapsed_ns / 1e9, 9);
    weir__cli_json_bool(json, "interrupted", result->is_interrupted);
    weir__cli_json_f64(
        json, "process_cpus", (double)result->process_cpu_ns / (double)(result->elapsed_ns + 1), 6);
    weir__cli_json_f64(
        json, "generator_cpu_share", share(result->generator_cpu_ns, result->process_cpu_ns), 6);
    weir__cli_json_f64(json, "generator_late_p99_ms", (double)result->late_submit_p99_ns / 1e6, 6);
}

static void put_verdict(
    weir__cli_json_t *json, const weir__load_t *load, const weir__load_result_t *result)
{
    const verdict_t it = judge(load, result);
    if (load->options->scenario == WEIR__LOAD_OFFLINE)
        return;
    weir__cli_json_open(json, "early_stopping", '{');
    weir__cli_json_f64(json, "percentile", weir__load_rule_percentile(load->options->scenario), 6);
    weir__cli_json_f64(json, "confidence", 0.99, 6);
    weir__cli_json_bool(json, "enough", it.has_enough);
    weir__cli_json_u64(json, "needed", it.needed);
    if (it.is_of_slo)
        weir__cli_json_bool(json, "held", it.is_met);
    else
        weir__cli_json_f64(json, "estimate_ms", it.estimate_ms, 9);
    weir__cli_json_close(json, '}');
}

// For the picture: what happened when, and the distribution of latencies.
static void put_curves(weir__cli_json_t *json, const weir__load_result_t *result)
{
    weir__cli_json_f64(json, "bucket_s", (double)result->bucket_ns / 1e9, 6);
    weir__cli_json_open(json, "buckets", '[');
    for (uint32_t i = 0; i < WEIR__LOAD_BUCKETS; i++) {
        const weir__load_bucket_t *bucket = &result->buckets[i];
        const weir__histogram_t *latency = &bucket->latency_ns;
        weir__cli_json_open(json, NULL, '{');
        weir__cli_json_u64(json, "offered", bucket->offered);
        weir__cli_json_u64(json, "in_slo", bucket->in_slo);
        weir__cli_json_u64(json, "refused", bucket->refused);
        weir__cli_json_u64(json, "other", bucket->other);
        weir__cli_json_f64(
            json, "p50_ms", (double)weir__histogram_quantile(&latency, 1, 500) / 1e6, 5);
        weir__cli_json_f64(
            json, "p99_ms", (double)weir__histogram_quantile(&latency, 1, 990) / 1e6, 5);
        weir__cli_json_close(json, '}');
    }
    weir__cli_json_close(json, ']');
    weir__cli_json_open(json, "latency_ms", '['); // of 0/200, 1/200 … 200/200 of the answers
    for (uint32_t i = 0; i <= CURVE_POINTS && result->latency_count; i++)
        weir__cli_json_f64(json, NULL,
            (double)result->latencies_ns[(result->latency_count - 1) * i / CURVE_POINTS] / 1e6, 6);
    weir__cli_json_close(json, ']');
}

void weir__load_show_json(const weir__load_t *load, const weir__load_result_t *result, FILE *out)
{
    weir__cli_json_t json = {.out = out};
    weir__cli_json_open(&json, NULL, '{');
    put_setup(&json, load);
    put_counts(&json, load, result);
    put_verdict(&json, load, result);
    put_curves(&json, result);
    weir__cli_json_close(&json, '}');
    (void)fputc('\n', out);
}
