// tests/opencl/runs_test.c: what a run on an OpenCL device tells: its times, and that data were
// wrong.
//
// Skipped, with a line, where there is no device.
#include "tests/opencl/device_world.h"

#include <weir/profile.h>

static void a_node_ran_within_its_run(void **state)
{
    (void)state;
    world_t world;
    float x[WORLD_IN * 4] = {0}, y[WORLD_OUT * 4] = {0};
    weir_value_t in = weir_f32(x, 2, 4, WORLD_IN), out = weir_f32_out(y, WORLD_OUT * 4);
    weir_profile_node_t node = {.size = sizeof node};
    weir_run_options_t options = {.size = sizeof options, .profile_level = 1};
    if (!open_world(&world, rows_graph(), NULL, "opencl"))
        skip();
    uint64_t before_ns = weir_now_ns();
    expect_ok(weir_session_run(world.session, &options, 1, &in, 1, &out));
    uint64_t after_ns = weir_now_ns();
    assert_int_equal(weir_session_profile_node(world.session, 0, &node), 1);
    assert_string_equal(node.op, "MatMul");
    assert_in_range(node.start_ns, before_ns, after_ns);
    assert_in_range(node.start_ns + node.duration_ns, node.start_ns + 1, after_ns);
    assert_int_equal(weir_session_profile_node(world.session, 1, &node), 0);
    assert_int_equal(weir_session_profile_dropped(world.session), 0);
    world_close(&world);
}

// An index out of range fails its run; the next one is right.
static void wrong_data_end_their_run_alone(void **state)
{
    (void)state;
    world_t world;
    float x[32] = {0}, y[4] = {0};
    int64_t index = 0;
    weir_value_t ins[2] = {weir_f32(x, 2, 8, 4), weir_i64(&index, 1, 1)};
    weir_value_t out = weir_f32_out(y, 4);
    if (!open_world(&world, gather_graph(), NULL, "opencl"))
        skip();
    for (int i = 0; i < 32; i++)
        x[i] = (float)i;
    for (int64_t i = -12; i < 12; i++) {
        index = i;
        weir_status_t status = weir_session_run(world.session, NULL, 2, ins, 1, &out);
        if (i < -8 || i >= 8) {
            expect_status(status, WEIR_INVALID_ARGUMENT, "out of range");
            continue;
        }
        expect_ok(status);
        assert_memory_equal(y, x + (i + 8) % 8 * 4, sizeof y);
    }
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_ran_within_its_run),
        cmocka_unit_test(wrong_data_end_their_run_alone),
    };
    return world_code(cmocka_run_group_tests(tests, NULL, NULL));
}
