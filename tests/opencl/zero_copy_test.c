// tests/opencl/zero_copy_test.c: on a device that works in the host's memory buffers are that
// memory, and nothing is copied but what goes in and comes out.
//
// Goal:   every buffer that kernels see is host memory the driver was told to use, aligned to 256
//         bytes, also on a CPU whose options say nothing; a run's commands move the bytes of its
//         inputs and outputs and no others; the driver keeps no copy of its own: what is changed in
//         that memory, the next run sees. With zero_copy=0 none of it is host memory.
// Method: this program stands in front of the loader's clCreateBuffer and of the commands that
//         copy, counts, and calls them. Skipped, with a line, where there is no device.
#include "tests/opencl/in_front.h"

#include <pthread.h>

#define BUFFERS_MAX 64
#define ROWS 4

typedef struct seen {
    cl_mem memory;
    float *host; // NULL: the driver's own
    size_t bytes;
    bool is_written; // by a command
} seen_t;

static struct {
    pthread_mutex_t lock;
    seen_t buffers[BUFFERS_MAX];
    uint32_t count;
    uint64_t written_bytes, read_bytes, copied_bytes;
    bool is_cpu; // the device of the last buffer
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool is_of_a_cpu(cl_context context)
{
    cl_int (*of_context)(cl_context, cl_context_info, size_t, void *, size_t *);
    cl_int (*of_device)(cl_device_id, cl_device_info, size_t, void *, size_t *);
    cl_device_id id;
    cl_device_type type = 0;
    REAL("clGetContextInfo", of_context);
    REAL("clGetDeviceInfo", of_device);
    assert_int_equal(of_context(context, CL_CONTEXT_DEVICES, sizeof id, &id, NULL), CL_SUCCESS);
    assert_int_equal(of_device(id, CL_DEVICE_TYPE, sizeof type, &type, NULL), CL_SUCCESS);
    return (type & CL_DEVICE_TYPE_CPU) != 0;
}

SHOWN cl_mem clCreateBuffer(
    cl_context context, cl_mem_flags flags, size_t bytes, void *host, cl_int *out_error)
{
    cl_mem (*function)(cl_context, cl_mem_flags, size_t, void *, cl_int *);
    REAL("clCreateBuffer", function);
    cl_mem memory = function(context, flags, bytes, host, out_error);
    const bool is_cpu = is_of_a_cpu(context);
    pthread_mutex_lock(&seen.lock);
    seen.is_cpu = is_cpu;
    assert_true(seen.count < BUFFERS_MAX);
    // COPY_HOST_PTR: small things that the plugin gives to the driver, such as its error words.
    if (memory && !(flags & CL_MEM_COPY_HOST_PTR))
        seen.buffers[seen.count++] = (seen_t){
            .memory = memory, .host = flags & CL_MEM_USE_HOST_PTR ? host : NULL, .bytes = bytes};
    pthread_mutex_unlock(&seen.lock);
    return memory;
}

SHOWN cl_int clEnqueueWriteBuffer(cl_command_queue queue, cl_mem memory, cl_bool blocking,
    size_t offset, size_t bytes, const void *from, cl_uint wait_count, const cl_event *waits,
    cl_event *out_event)
{
    cl_int (*function)(cl_command_queue, cl_mem, cl_bool, size_t, size_t, const void *, cl_uint,
        const cl_event *, cl_event *);
    REAL("clEnqueueWriteBuffer", function);
    pthread_mutex_lock(&seen.lock);
    seen.written_bytes += bytes;
    for (uint32_t i = 0; i < seen.count; i++)
        if (seen.buffers[i].memory == memory)
            seen.buffers[i].is_written = true;
    pthread_mutex_unlock(&seen.lock);
    return function(queue, memory, blocking, offset, bytes, from, wait_count, waits, out_event);
}

SHOWN cl_int clEnqueueReadBuffer(cl_command_queue queue, cl_mem memory, cl_bool blocking,
    size_t offset, size_t bytes, void *to, cl_uint wait_count, const cl_event *waits,
    cl_event *out_event)
{
    cl_int (*function)(cl_command_queue, cl_mem, cl_bool, size_t, size_t, void *, cl_uint,
        const cl_event *, cl_event *);
    REAL("clEnqueueReadBuffer", function);
    pthread_mutex_lock(&seen.lock);
    seen.read_bytes += bytes;
    pthread_mutex_unlock(&seen.lock);
    return function(queue, memory, blocking, offset, bytes, to, wait_count, waits, out_event);
}

SHOWN cl_int clEnqueueCopyBuffer(cl_command_queue queue, cl_mem from, cl_mem to, size_t from_offset,
    size_t to_offset, size_t bytes, cl_uint wait_count, const cl_event *waits, cl_event *out_event)
{
    cl_int (*function)(cl_command_queue, cl_mem, cl_mem, size_t, size_t, size_t, cl_uint,
        const cl_event *, cl_event *);
    REAL("clEnqueueCopyBuffer", function);
    pthread_mutex_lock(&seen.lock);
    seen.copied_bytes += bytes;
    pthread_mutex_unlock(&seen.lock);
    return function(queue, from, to, from_offset, to_offset, bytes, wait_count, waits, out_event);
}

static void run_once(const world_t *world, float y[ROWS * WORLD_OUT])
{
    float x[ROWS * WORLD_IN] = {0};
    weir_value_t in = weir_f32(x, 2, ROWS, WORLD_IN), out = weir_f32_out(y, ROWS * WORLD_OUT);
    for (int i = 0; i < ROWS * WORLD_IN; i++)
        x[i] = (float)(i % 11) - 3;
    seen.written_bytes = seen.read_bytes = seen.copied_bytes = 0;
    expect_ok(weir_session_run(world->session, NULL, 1, &in, 1, &out));
}

// Of a world that was opened just now, which it closes.
static void expect_the_hosts_memory(world_t *world)
{
    float before[ROWS * WORLD_OUT], after[ROWS * WORLD_OUT];
    const seen_t *constants = NULL; // the only one that making the plan has written to
    assert_true(seen.count > 0);
    for (uint32_t i = 0; i < seen.count; i++)
        if (seen.buffers[i].is_written) {
            assert_null(constants);
            constants = &seen.buffers[i];
        }
    assert_non_null(constants);
    run_once(world, before);
    run_once(world, after);
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(seen.written_bytes, ROWS * WORLD_IN * sizeof(float));
    assert_int_equal(seen.read_bytes, sizeof after);
    assert_int_equal(seen.copied_bytes, 0);
    for (uint32_t i = 0; i < seen.count; i++) {
        assert_non_null(seen.buffers[i].host);
        assert_int_equal((uintptr_t)seen.buffers[i].host % 256, 0);
    }
    for (size_t i = 0; i < constants->bytes / sizeof(float); i++)
        constants->host[i] *= 2;
    run_once(world, after);
    float sum = 0;
    for (int i = 0; i < ROWS * WORLD_OUT; i++) {
        assert_true(after[i] == 2 * before[i]); // exact: a power of two
        sum += before[i];
    }
    assert_true(sum > 0);
    world_close(world);
}

static void buffers_are_the_hosts_memory(void **state)
{
    (void)state;
    world_t world;
    seen.count = 0;
    if (!open_world(&world, rows_graph(), "opencl.zero_copy=1", "opencl"))
        skip();
    expect_the_hosts_memory(&world);
}

static void a_cpu_works_in_it_unasked(void **state)
{
    (void)state;
    world_t world;
    seen.count = 0;
    if (!open_world(&world, rows_graph(), NULL, "opencl"))
        skip();
    if (!seen.is_cpu) {
        world_close(&world);
        skip();
    }
    expect_the_hosts_memory(&world);
}

static void memory_of_the_devices_own_is_the_drivers(void **state)
{
    (void)state;
    world_t world;
    float y[ROWS * WORLD_OUT];
    seen.count = 0;
    if (!open_world(&world, rows_graph(), "opencl.zero_copy=0", "opencl"))
        skip();
    run_once(&world, y);
    assert_true(seen.count > 0);
    for (uint32_t i = 0; i < seen.count; i++)
        assert_null(seen.buffers[i].host);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_are_the_hosts_memory),
        cmocka_unit_test(a_cpu_works_in_it_unasked),
        cmocka_unit_test(memory_of_the_devices_own_is_the_drivers),
    };
    return world_code(cmocka_run_group_tests(tests, NULL, NULL));
}
