// tests/unit/deadline_busy_test.c: a deadline does not wait for other runs' work.
// Labels: threads
#include "tests/unit/onnx_builder.h"

#include <pthread.h>
#include <weir/weir.h>

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int late_done, busy_done;
    weir_code_t late_code, busy_code;
} gate_t;

static void on_late(void *user_data, weir_status_t status)
{
    gate_t *gate = user_data;
    pthread_mutex_lock(&gate->lock);
    gate->late_code = weir_status_code(status);
    gate->late_done++;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
    weir_status_free(status);
}

// Keeps the engine's only worker until the other run has ended: stands for a long computation.
static void on_busy(void *user_data, weir_status_t status)
{
    gate_t *gate = user_data;
    pthread_mutex_lock(&gate->lock);
    while (!gate->late_done)
        pthread_cond_wait(&gate->changed, &gate->lock);
    gate->busy_code = weir_status_code(status);
    gate->busy_done++;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
    weir_status_free(status);
}

// Goal:   a run that waits for a device which never answers ends at its deadline although every
// worker of
//         the engine is taken.
// Method: one worker, which a second run keeps until the first has ended: if the end of the first
// needed
//         the worker, neither would ever end.
static void deadline_needs_no_worker(void **state)
{
    (void)state;
    gate_t gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    message_t graph = {0};
    add_input(&graph, "x", 1, "4");
    add_node(&graph, "Relu", "relu", "x", "y", (message_t){0});
    add_output(&graph, "y");
    message_t bytes = make_model(graph, 17);
    weir_engine_options_t options = {.size = sizeof options,
        .threads = 1,
        .cache_dir = "",
        .plugin_path = WEIR_TEST_PLUGINS,
        .plugin_options = "async.hang=1"};
    weir_plan_options_t on_device = {.size = sizeof on_device, .devices = "async"};
    weir_plan_options_t on_host = {.size = sizeof on_host, .devices = "ref"};
    weir_engine_t *engine;
    weir_model_t *model;
    weir_plan_t *late_plan, *busy_plan;
    weir_session_t *late, *busy;
    assert_null(weir_engine_create(&options, &engine));
    assert_null(weir_model_load_bytes(engine, bytes.data, bytes.count, NULL, &model));
    free(bytes.data);
    assert_null(weir_plan_create(model, &on_device, &late_plan));
    assert_null(weir_plan_create(model, &on_host, &busy_plan));
    assert_null(weir_session_create(late_plan, NULL, &late));
    assert_null(weir_session_create(busy_plan, NULL, &busy));
    float x[4] = {-1, 2, -3, 4}, y[4], z[4];
    weir_value_t in[] = {weir_f32(x, 1, 4)};
    weir_value_t late_out[] = {weir_f32_out(y, 4)}, busy_out[] = {weir_f32_out(z, 4)};
    weir_run_options_t soon = {.size = sizeof soon, .deadline_ns = weir_now_ns() + 30 * WEIR_MS};
    assert_null(weir_session_start(late, &soon, 1, in, 1, late_out, on_late, &gate));
    assert_null(weir_session_start(busy, NULL, 1, in, 1, busy_out, on_busy, &gate));
    pthread_mutex_lock(&gate.lock);
    while (!gate.busy_done)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
    assert_int_equal(gate.late_done, 1);
    assert_int_equal(gate.late_code, WEIR_DEADLINE_EXCEEDED);
    assert_int_equal(gate.busy_code, WEIR_OK);
    assert_true(z[0] == 0 && z[1] == 2 && z[2] == 0 && z[3] == 4);
    weir_session_free(late);
    weir_session_free(busy);
    weir_plan_free(late_plan);
    weir_plan_free(busy_plan);
    weir_model_free(model);
    weir_engine_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(deadline_needs_no_worker)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
