// `weir load`: every request has one end, every answer is compared, and the JSON says so.
//
// Labels and file: the generator runs as in the command, on a model of one matrix written into a
// temporary folder; the command line itself is engine/cli's.
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "scheduler/cli/load.h"
#include "tests/scheduler/loop_world.h"

static volatile sig_atomic_t stop;

typedef struct bench {
    char folder[64], path[96];
    const char *models[1];
    const char *dims[1];
    weir__load_options_t options;
    weir__load_t load;
} bench_t;

static void open_bench(bench_t *it, weir__load_scenario_t scenario, uint64_t slo_ns)
{
    weir__cli_fault_t fault = {.code = WEIR_OK};
    *it = (bench_t){.folder = P_tmpdir "/weir-load-XXXXXX"};
    assert_non_null(mkdtemp(it->folder));
    (void)snprintf(it->path, sizeof(it->path), "%s/rows.onnx", it->folder);
    message_t bytes = make_model(rows_graph(), 17);
    FILE *file = fopen(it->path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes.data, 1, bytes.count, file), bytes.count);
    assert_int_equal(fclose(file), 0);
    free(bytes.data);
    it->models[0] = it->path;
    it->dims[0] = "N=1";
    it->options = (weir__load_options_t){.models = {it->models, 1},
        .dims = {it->dims, 1},
        .scenario = scenario,
        .slo_ns = slo_ns,
        .tenant_count = 2,
        .tenants = {{.name = "a", .weight = 3}, {.name = "b", .weight = 1}}};
    if (weir__load_prepare(&it->options, &it->load, &fault) != WEIR_OK)
        fail_msg("%s", fault.text);
    stop = 0;
    it->load.stop = &stop;
}

static void close_bench(bench_t *it)
{
    weir__load_release(&it->load);
    (void)unlink(it->path);
    (void)rmdir(it->folder);
}

static weir__load_result_t run_for(bench_t *it, double qps, double seconds)
{
    weir__cli_fault_t fault = {.code = WEIR_OK};
    weir__load_result_t result;
    if (weir__load_run(&it->load, it->options.scenario, qps, seconds, &result, &fault) != WEIR_OK)
        fail_msg("%s", fault.text);
    return result;
}

static void expect_books(const weir__load_result_t *it)
{
    assert_int_equal(it->offered, it->completed + it->refused + it->late + it->errors);
    assert_true(it->in_slo <= it->completed);
    if (*it->first_error)
        fail_msg("%s", it->first_error);
    assert_int_equal(it->errors, 0);
    uint64_t offered = 0, in_slo = 0;
    for (uint32_t i = 0; i < WEIR__LOAD_BUCKETS; i++) {
        offered += it->buckets[i].offered;
        in_slo += it->buckets[i].in_slo;
    }
    assert_int_equal(offered, it->offered);
    assert_int_equal(in_slo, it->in_slo);
    for (uint64_t i = 1; i < it->latency_count; i++)
        assert_true(it->latencies_ns[i - 1] <= it->latencies_ns[i]);
}

// Goal: in each scenario each request ends once and right; batches form where they can.
static void scenarios(void **state)
{
    (void)state;
    for (weir__load_scenario_t scenario = WEIR__LOAD_QPS; scenario <= WEIR__LOAD_OFFLINE;
         scenario++) {
        bench_t it;
        const bool is_open = scenario == WEIR__LOAD_QPS || scenario == WEIR__LOAD_SERVER;
        open_bench(&it, scenario, is_open ? 10000 * WEIR_MS : 0);
        weir__load_result_t result = run_for(&it, is_open ? 2000 : 0, 0.3);
        expect_books(&result);
        assert_int_equal(result.wrong, 0);
        assert_true(result.completed > 0);
        if (is_open) { // Poisson: 600 are due, give or take; how fast this machine is changes
                       // nothing
            assert_true(result.offered > 450 && result.offered < 750);
            assert_int_equal(result.in_slo, result.offered);
            assert_int_equal(result.queries, result.completed);
        }
        if (scenario == WEIR__LOAD_SINGLE)
            assert_int_equal(result.queries, result.completed);
        if (scenario == WEIR__LOAD_MULTI_STREAM)
            assert_int_equal(result.queries * WEIR__LOAD_MULTI, result.completed);
        if (scenario == WEIR__LOAD_OFFLINE)
            assert_true(result.batch_rows >= 8 * result.batches);
        assert_true(
            weir__load_percentile_ms(&result, 500) <= weir__load_percentile_ms(&result, 999));
        weir__load_result_free(&result);
        close_bench(&it);
    }
}

// Goal: an answer with one other bit is counted as wrong.
static void wrong(void **state)
{
    (void)state;
    bench_t it;
    open_bench(&it, WEIR__LOAD_OFFLINE, 0);
    ((unsigned char *)it.load.models[0].answers[3].values[0].data)[1] ^= 1;
    weir__load_result_t result = run_for(&it, 0, 0.2);
    expect_books(&result);
    assert_true(result.wrong > 0 && result.wrong < result.completed);
    assert_true(
        fabs((double)result.wrong / (double)result.completed - 1.0 / WEIR__LOAD_SAMPLES) < 0.1);
    weir__load_result_free(&result);
    close_bench(&it);
}

// Goal: more than can be done in time is refused or late, and still each has one end.
static void overload(void **state)
{
    (void)state;
    bench_t it;
    open_bench(&it, WEIR__LOAD_QPS, 1000); // 1 us: nothing can be in time
    weir__load_result_t result = run_for(&it, 20000, 0.2);
    expect_books(&result);
    assert_int_equal(result.in_slo, 0);
    assert_true(result.refused + result.late > result.offered / 2);
    weir__load_result_free(&result);
    close_bench(&it);
}

// Goal: ^C ends a run of an hour at once, with what there is.
static void interrupted(void **state)
{
    (void)state;
    for (weir__load_scenario_t scenario = WEIR__LOAD_QPS; scenario <= WEIR__LOAD_OFFLINE;
         scenario++) {
        bench_t it;
        open_bench(&it, scenario, 1000 * WEIR_MS);
        stop = 1;
        weir__load_result_t result = run_for(&it, 10, 3600);
        assert_true(result.is_interrupted);
        expect_books(&result);
        weir__load_result_free(&result);
        close_bench(&it);
    }
}

// The number behind a key of the object; fails where there is none.
static double number_of(const char *text, const char *key)
{
    char quoted[64];
    (void)snprintf(quoted, sizeof(quoted), "\"%s\": ", key);
    const char *at = strstr(text, quoted);
    if (!at) {
        (void)snprintf(quoted, sizeof(quoted), "\"%s\":", key);
        at = strstr(text, quoted);
    }
    if (!at)
        fail_msg("no member %s in %.200s", key, text);
    char *end = NULL;
    const double number = strtod(at + strlen(quoted), &end);
    assert_true(end > at + strlen(quoted));
    return number;
}

// Goal: the JSON has what is promised, and the numbers of the result.
static void json(void **state)
{
    (void)state;
    static const char *const promised[] = {"offered_qps", "completed", "in_slo", "refused",
        "errors", "wrong", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "mean_batch",
        "generator_cpu_share"};
    bench_t it;
    open_bench(&it, WEIR__LOAD_QPS, 10000 * WEIR_MS);
    weir__load_result_t result = run_for(&it, 2000, 0.3);
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    weir__load_show_json(&it.load, &result, out);
    assert_int_equal(fclose(out), 0);
    for (size_t i = 0; i < sizeof(promised) / sizeof(promised[0]); i++)
        assert_true(number_of(text, promised[i]) >= 0);
    assert_true(number_of(text, "completed") == (double)result.completed);
    assert_true(number_of(text, "needed") == 459);
    // In how much time these were offered is the machine's matter.
    assert_true(result.offered > 450 && result.offered < 750);
    const double offered_qps = (double)result.offered * 1e9 / (double)result.offer_ns;
    assert_true(fabs(number_of(text, "offered_qps") / offered_qps - 1) < 1e-6);
    assert_true(number_of(text, "p50_ms") <= number_of(text, "p999_ms"));
    free(text);
    weir__load_result_free(&result);
    close_bench(&it);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scenarios),
        cmocka_unit_test(wrong),
        cmocka_unit_test(overload),
        cmocka_unit_test(interrupted),
        cmocka_unit_test(json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
