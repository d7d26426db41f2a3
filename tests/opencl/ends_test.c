// tests/opencl/ends_test.c: work on an OpenCL device that ends badly, or does not end.
//
// Goal:   a dispatch that fails ends its run, though its marker ends well, and no other; a call
//         that wants too much ends its run, and only a device that does not answer is lost; a
//         launch that is refused half-way is not waited for; a loss that is known ends its run,
//         whatever hangs; what hangs when its device is closed costs memory and nothing else, also
//         when it ends after all; a device that does not build a kernel, or not run it, is left out
//         of the plan, and the plan says why, but not for want of memory.
// Method: this program stands in front of the loader's functions. Skipped, with a line, where there
//         is no device.
#include "tests/opencl/in_front.h"

// What happens with the next dispatch.
static struct {
    cl_int refuse; // clEnqueueNDRangeKernel returns it, once
    int passes;    // dispatches before that one
    bool is_gone;  // and every marker after it
    cl_int fail;   // the dispatch's event says it
    cl_event failed;
    atomic_bool hold; // the dispatch waits for `held`
    cl_event held;
    atomic_int marker;   // clEnqueueMarkerWithWaitList returns it
    cl_int refuse_word;  // clEnqueueReadBuffer of an error word returns it, once
    cl_int read_marker;  // markers return it after the next read of more
    bool is_read_deaf;   // after that read,
    atomic_bool refuses; // clSetEventCallback fails, once
} fate;

#define PATIENT "opencl.patience_ms=2000" // a callback may be late, too
#define SOON_MS 10000

SHOWN cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint rank,
    const size_t *offset, const size_t *global, const size_t *local, cl_uint wait_count,
    const cl_event *waits, cl_event *out_event)
{
    cl_int (*function)(cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *,
        const size_t *, cl_uint, const cl_event *, cl_event *);
    cl_int (*barrier)(cl_command_queue, cl_uint, const cl_event *, cl_event *);
    cl_event (*new_event)(cl_context, cl_int *);
    cl_context context;
    cl_int refused = fate.passes ? CL_SUCCESS : fate.refuse;
    REAL("clEnqueueNDRangeKernel", function);
    if (fate.passes)
        fate.passes--;
    else
        fate.refuse = CL_SUCCESS;
    if (refused != CL_SUCCESS && fate.is_gone)
        atomic_store(&fate.marker, refused);
    if (refused != CL_SUCCESS)
        return refused;
    if (atomic_exchange(&fate.hold, false)) {
        cl_int (*info)(cl_command_queue, cl_command_queue_info, size_t, void *, size_t *);
        cl_int error;
        REAL("clGetCommandQueueInfo", info);
        REAL("clCreateUserEvent", new_event);
        REAL("clEnqueueBarrierWithWaitList", barrier);
        assert_int_equal(info(queue, CL_QUEUE_CONTEXT, sizeof context, &context, NULL), CL_SUCCESS);
        fate.held = new_event(context, &error);
        assert_int_equal(error, CL_SUCCESS);
        assert_int_equal(barrier(queue, 1, &fate.held, NULL), CL_SUCCESS);
    }
    cl_int error =
        function(queue, kernel, rank, offset, global, local, wait_count, waits, out_event);
    if (fate.fail && out_event)
        fate.failed = *out_event;
    return error;
}

SHOWN cl_int clEnqueueMarkerWithWaitList(
    cl_command_queue queue, cl_uint wait_count, const cl_event *waits, cl_event *out_event)
{
    cl_int (*function)(cl_command_queue, cl_uint, const cl_event *, cl_event *);
    REAL("clEnqueueMarkerWithWaitList", function);
    const cl_int refused = atomic_load(&fate.marker);
    return refused ? refused : function(queue, wait_count, waits, out_event);
}

SHOWN cl_int clGetEventInfo(
    cl_event event, cl_event_info what, size_t bytes, void *value, size_t *out_bytes)
{
    cl_int (*function)(cl_event, cl_event_info, size_t, void *, size_t *);
    REAL("clGetEventInfo", function);
    cl_int error = function(event, what, bytes, value, out_bytes);
    if (what == CL_EVENT_COMMAND_EXECUTION_STATUS && fate.fail && event == fate.failed) {
        memcpy(value, &fate.fail, sizeof fate.fail);
        fate.fail = CL_SUCCESS;
    }
    return error;
}

SHOWN cl_int clSetEventCallback(
    cl_event event, cl_int when, void(CL_CALLBACK *callback)(cl_event, cl_int, void *), void *user)
{
    cl_int (*function)(cl_event, cl_int, void(CL_CALLBACK *)(cl_event, cl_int, void *), void *);
    REAL("clSetEventCallback", function);
    return atomic_exchange(&fate.refuses, false) ? CL_OUT_OF_HOST_MEMORY
                                                 : function(event, when, callback, user);
}

SHOWN cl_int clEnqueueReadBuffer(cl_command_queue queue, cl_mem memory, cl_bool blocking,
    size_t offset, size_t bytes, void *to, cl_uint wait_count, const cl_event *waits,
    cl_event *out_event)
{
    cl_int (*function)(cl_command_queue, cl_mem, cl_bool, size_t, size_t, void *, cl_uint,
        const cl_event *, cl_event *);
    REAL("clEnqueueReadBuffer", function);
    if (bytes == sizeof(cl_int) && fate.refuse_word) {
        const cl_int refused = fate.refuse_word;
        fate.refuse_word = CL_SUCCESS;
        return refused;
    }
    if (bytes > sizeof(cl_int)) {
        if (fate.read_marker)
            atomic_store(&fate.marker, fate.read_marker);
        atomic_store(&fate.refuses, fate.is_read_deaf);
        fate.is_read_deaf = false;
    }
    return function(queue, memory, blocking, offset, bytes, to, wait_count, waits, out_event);
}

static weir_status_t run_once(const world_t *world, uint64_t deadline_ns)
{
    float x[WORLD_IN] = {0}, y[WORLD_OUT], wanted[WORLD_OUT];
    weir_value_t in = weir_f32(x, 2, 1, WORLD_IN), out = weir_f32_out(y, WORLD_OUT);
    weir_run_options_t options = {.size = sizeof options, .deadline_ns = deadline_ns};
    for (int i = 0; i < WORLD_IN; i++)
        x[i] = (float)(i + 1);
    for (int o = 0; o < WORLD_OUT; o++) {
        wanted[o] = 0;
        for (int i = 0; i < WORLD_IN; i++)
            wanted[o] += x[i] * (float)((i * WORLD_OUT + o) * 37 % 19 - 9) / 8;
        wanted[o] = wanted[o] > 0 ? wanted[o] : 0;
    }
    weir_status_t status = weir_session_run(world->session, &options, 1, &in, 1, &out);
    for (int o = 0; !status && o < WORLD_OUT; o++)
        assert_true(y[o] - wanted[o] <= 1e-4f && wanted[o] - y[o] <= 1e-4f);
    return status;
}

static void a_dispatch_that_fails_ends_its_run(void **state)
{
    (void)state;
    world_t world;
    if (!open_world(&world, rows_graph(), NULL, "opencl"))
        skip();
    expect_ok(run_once(&world, 0));
    fate.fail = CL_MEM_OBJECT_ALLOCATION_FAILURE;
    expect_status(run_once(&world, 0), WEIR_RESOURCE_EXHAUSTED, "CL_MEM_OBJECT_ALLOCATION_FAILURE");
    expect_ok(run_once(&world, 0));
    // What a command that was accepted says of the device is true.
    fate.fail = CL_OUT_OF_RESOURCES;
    expect_status(run_once(&world, 0), WEIR_DEVICE_LOST, "");
    world_close(&world);
}

static void a_call_that_wants_too_much_loses_nothing(void **state)
{
    (void)state;
    world_t world;
    if (!open_world(&world, rows_graph(), NULL, "opencl"))
        skip();
    fate.refuse = CL_OUT_OF_RESOURCES;
    expect_status(run_once(&world, 0), WEIR_RESOURCE_EXHAUSTED, "the device goes on");
    expect_ok(run_once(&world, 0));
    fate.refuse = CL_OUT_OF_RESOURCES;
    fate.is_gone = true;
    expect_status(run_once(&world, 0), WEIR_DEVICE_LOST, "");
    atomic_store(&fate.marker, CL_SUCCESS);
    fate.is_gone = false;
    world_close(&world);
}

// What is held ends after all.
static void let_go(void)
{
    cl_int (*end)(cl_event, cl_int);
    REAL("clSetUserEventStatus", end);
    assert_non_null(fate.held);
    assert_int_equal(end(fate.held, CL_COMPLETE), CL_SUCCESS);
    fate.held = NULL;
}

static void what_hangs_outlives_its_device(void **state)
{
    (void)state;
    world_t world;
    if (!open_world(&world, rows_graph(), PATIENT, "opencl"))
        skip();
    expect_ok(run_once(&world, 0));
    atomic_store(&fate.hold, true);
    expect_status(run_once(&world, weir_now_ns() + SOON_MS * WEIR_MS), WEIR_DEADLINE_EXCEEDED, "");
    world_close(&world);
    let_go(); // and nobody is there any more
    assert_true(open_world(&world, rows_graph(), NULL, "opencl"));
    for (int i = 0; i < 3; i++)
        expect_ok(run_once(&world, 0));
    world_close(&world);
}

// Softmax of x w: at least two dispatches.
static message_t two_graph(void)
{
    static const float w[WORLD_IN * WORLD_OUT] = {1};
    return product_graph(w, "Softmax");
}

static weir_status_t run_two(const world_t *world, uint64_t deadline_ns)
{
    float x[WORLD_IN] = {0}, y[WORLD_OUT];
    weir_value_t in = weir_f32(x, 2, 1, WORLD_IN), out = weir_f32_out(y, WORLD_OUT);
    weir_run_options_t options = {.size = sizeof options, .deadline_ns = deadline_ns};
    weir_status_t status = weir_session_run(world->session, &options, 1, &in, 1, &out);
    for (int o = 0; !status && o < WORLD_OUT; o++)
        assert_true(y[o] == 1.0f / WORLD_OUT);
    return status;
}

static void refuse_the_second(cl_int error)
{
    fate.passes = 1;
    fate.refuse = error;
}

static void a_launch_that_is_refused_half_way_is_not_waited_for(void **state)
{
    (void)state;
    world_t world;
    if (!open_world(&world, two_graph(), PATIENT, "opencl"))
        skip();
    expect_ok(run_two(&world, 0));
    refuse_the_second(CL_OUT_OF_RESOURCES);
    expect_status(run_two(&world, 0), WEIR_RESOURCE_EXHAUSTED, "the device goes on");
    expect_ok(run_two(&world, 0));
    refuse_the_second(CL_INVALID_WORK_GROUP_SIZE);
    expect_status(run_two(&world, 0), WEIR_INTERNAL, "CL_INVALID_WORK_GROUP_SIZE");
    expect_ok(run_two(&world, 0));
    // Its first dispatch hangs: the call comes back all the same.
    atomic_store(&fate.hold, true);
    refuse_the_second(CL_INVALID_WORK_GROUP_SIZE);
    expect_status(run_two(&world, weir_now_ns() + SOON_MS * WEIR_MS), WEIR_DEADLINE_EXCEEDED, "");
    assert_int_equal(fate.refuse, CL_SUCCESS);
    world_close(&world);
    let_go();
}

// A dispatch hangs, and of the run's last call the driver says that the device is gone.
static void a_loss_that_is_known_is_not_waited_for(void **state)
{
    (void)state;
    world_t world;
    if (!open_world(&world, two_graph(), PATIENT, "opencl"))
        skip();
    expect_ok(run_two(&world, 0));
    atomic_store(&fate.hold, true);
    fate.read_marker = CL_OUT_OF_RESOURCES;
    expect_status(run_two(&world, weir_now_ns() + 3 * SOON_MS * WEIR_MS), WEIR_DEVICE_LOST, "");
    assert_int_equal(atomic_load(&fate.marker), CL_OUT_OF_RESOURCES);
    atomic_store(&fate.marker, CL_SUCCESS);
    fate.read_marker = CL_SUCCESS;
    world_close(&world);
    let_go();
    // Or there is no callback for it.
    assert_true(open_world(&world, two_graph(), PATIENT, "opencl"));
    expect_ok(run_two(&world, 0));
    atomic_store(&fate.hold, true);
    fate.is_read_deaf = true;
    expect_status(run_two(&world, weir_now_ns() + 3 * SOON_MS * WEIR_MS), WEIR_DEVICE_LOST, "");
    assert_false(fate.is_read_deaf || atomic_load(&fate.refuses));
    world_close(&world);
    let_go();
    // It ends, and its event says so; that the launch was refused does not hide it.
    assert_true(open_world(&world, two_graph(), PATIENT, "opencl"));
    expect_ok(run_two(&world, 0));
    fate.fail = CL_OUT_OF_RESOURCES;
    refuse_the_second(CL_INVALID_WORK_GROUP_SIZE);
    expect_status(run_two(&world, 0), WEIR_DEVICE_LOST, "");
    world_close(&world);
}

// An index that is out of range is not told when its word cannot be read, nor by the next launch.
static void a_word_that_is_not_read_is_no_others(void **state)
{
    (void)state;
    world_t world;
    float x[32] = {0}, y[4];
    int64_t index = 3;
    weir_value_t ins[2] = {weir_f32(x, 2, 8, 4), weir_i64(&index, 1, 1)};
    weir_value_t out = weir_f32_out(y, 4);
    if (!open_world(&world, gather_graph(), NULL, "opencl"))
        skip();
    expect_ok(weir_session_run(world.session, NULL, 2, ins, 1, &out));
    index = 12;
    fate.refuse_word = CL_INVALID_VALUE;
    expect_status(
        weir_session_run(world.session, NULL, 2, ins, 1, &out), WEIR_INTERNAL, "CL_INVALID_VALUE");
    assert_int_equal(fate.refuse_word, CL_SUCCESS);
    index = 3;
    for (int i = 0; i < 4; i++)
        expect_ok(weir_session_run(world.session, NULL, 2, ins, 1, &out));
    world_close(&world);
}

enum { WIDE = 256, LINES = 64 };

// y = x w of x [LINES, WIDE], where w doubles: large enough that the device is preferred to the
// CPU.
static message_t wide_graph(void)
{
    static float w[WIDE * WIDE];
    static const int64_t dims[] = {WIDE, WIDE};
    message_t graph = {0};
    for (int i = 0; i < WIDE; i++)
        w[i * WIDE + i] = 2;
    add_input(&graph, "x", 1, "64,256");
    put_message(&graph, 5, raw_tensor("w", 1, 2, dims, w, sizeof w));
    add_node(&graph, "MatMul", "product", "x,w", "y", (message_t){0});
    add_port(&graph, 12, "y", 1, "64,256");
    return graph;
}

// The graph runs on the CPU, and the plan says this of the OpenCL device; `error`: what the next
// dispatch returns, which is the one that the plan makes. false: there is none.
static bool is_left_out(const char *option, cl_int error, const char *text)
{
    world_t world;
    static float x[LINES * WIDE], y[LINES * WIDE];
    weir_value_t in = weir_f32(x, 2, LINES, WIDE), out = weir_f32_out(y, LINES * WIDE);
    weir_plan_candidate_t candidate = {.size = sizeof candidate};
    weir_plan_options_t options = {.size = sizeof options, .devices = "opencl"};
    fate.refuse = error;
    if (!open_world(&world, wide_graph(), option, "opencl,cpu")) {
        fate.refuse = CL_SUCCESS;
        return false;
    }
    assert_int_equal(fate.refuse, CL_SUCCESS);
    for (int i = 0; i < LINES * WIDE; i++)
        x[i] = (float)(i % 1000);
    expect_ok(weir_session_run(world.session, NULL, 1, &in, 1, &out));
    for (int i = 0; i < LINES * WIDE; i++)
        assert_true(y[i] == 2 * x[i]);
    assert_int_equal(weir_plan_candidate(world.plan, 0, 0, &candidate), 1);
    assert_string_equal(candidate.device, "opencl");
    assert_non_null(strstr(candidate.reason, text));
    assert_int_equal(candidate.is_chosen, 0);
    // One that is wanted alone is not.
    weir_plan_t *plan = NULL;
    fate.refuse = error;
    expect_status(weir_plan_create(world.model, &options, &plan), WEIR_UNSUPPORTED, text);
    world_close(&world);
    return true;
}

static void a_device_that_cannot_compile_is_left_out(void **state)
{
    (void)state;
    if (!is_left_out("opencl.break_build=matmul", CL_SUCCESS, "does not build cpu/matmul"))
        skip();
    // What builds need not run. Nothing is tuned: that would be the next dispatch.
    assert_true(is_left_out("opencl.tune=0", CL_INVALID_WORK_GROUP_SIZE,
        "does not take weir_matmul: CL_INVALID_WORK_GROUP_SIZE"));
    assert_true(is_left_out(
        "opencl.tune=0", CL_OUT_OF_RESOURCES, "does not take weir_matmul: CL_OUT_OF_RESOURCES"));
}

static void want_of_memory_does_not_leave_a_device_out(void **state)
{
    (void)state;
    world_t world;
    weir_plan_t *plan = NULL;
    weir_plan_candidate_t candidate = {.size = sizeof candidate};
    weir_plan_options_t options = {.size = sizeof options, .devices = "opencl,cpu"};
    if (!open_world(&world, wide_graph(), "opencl.tune=0", "opencl,cpu"))
        skip();
    fate.refuse = CL_OUT_OF_HOST_MEMORY;
    expect_status(weir_plan_create(world.model, &options, &plan), WEIR_RESOURCE_EXHAUSTED,
        "CL_OUT_OF_HOST_MEMORY");
    assert_int_equal(fate.refuse, CL_SUCCESS);
    expect_ok(weir_plan_create(world.model, &options, &plan));
    assert_int_equal(weir_plan_candidate(plan, 0, 0, &candidate), 1);
    assert_string_equal(candidate.device, "opencl");
    assert_int_equal(candidate.is_chosen, 1);
    weir_plan_free(plan);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dispatch_that_fails_ends_its_run),
        cmocka_unit_test(a_call_that_wants_too_much_loses_nothing),
        cmocka_unit_test(what_hangs_outlives_its_device),
        cmocka_unit_test(a_launch_that_is_refused_half_way_is_not_waited_for),
        cmocka_unit_test(a_loss_that_is_known_is_not_waited_for),
        cmocka_unit_test(a_word_that_is_not_read_is_no_others),
        cmocka_unit_test(a_device_that_cannot_compile_is_left_out),
        cmocka_unit_test(want_of_memory_does_not_leave_a_device_out),
    };
    return world_code(cmocka_run_group_tests(tests, NULL, NULL));
}
