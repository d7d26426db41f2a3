// benchmarks/serving/weir_pace.c: a device of known speed: 2 ms and 0.25 ms a row, by sleeping.
//
// It has one kernel, Cos, which waits and then copies: the benchmark measures decisions and
// hand-offs, not kernels, and a device that sleeps is as fast on a busy machine as on an idle one.
// The first element of the first row multiplies the time, so that the benchmark can make the
// "machine" slower as it runs. It is no example of a kernel: those do not sleep.
#include <string.h>
#include <time.h>

#include <weir/plugin.h>

enum { FIXED_NS = 2000000, ROW_NS = 250000, SECOND_NS = 1000000000 };

static void sleep_for(uint64_t ns)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    const uint64_t end_ns = (uint64_t)at.tv_sec * SECOND_NS + (uint64_t)at.tv_nsec + ns;
    at.tv_sec = (time_t)(end_ns / SECOND_NS);
    at.tv_nsec = (long)(end_ns % SECOND_NS);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0) {
    }
}

static weir_code_t pace_run(const weir_task_t *task)
{
    const weir_tensor_t *x = &task->inputs[0];
    const uint64_t rows = x->rank ? (uint64_t)x->dims[0] : 1;
    const float factor = x->element_count ? *(const float *)x->data : 1;
    const double ns = (double)(FIXED_NS + ROW_NS * rows) * (double)(factor >= 1 ? factor : 1);
    sleep_for((uint64_t)ns);
    memcpy(task->outputs[0].data, x->data, x->element_count * sizeof(float));
    return WEIR_OK;
}

static void pace_tasks(const weir_node_t *node, void *state, weir_tasks_t *out)
{
    (void)node;
    (void)state;
    out->phase_count = 1;
    out->task_count[0] = 1;
}

static const weir_kernel_t kernels[] = {{.head = WEIR_HEAD(weir_kernel_t),
    .op = "Cos",
    .revision = 1,
    .dtypes = WEIR_F32,
    .tasks = pace_tasks,
    .run = pace_run}};

static const weir_plugin_t plugin = {
    .head = WEIR_PLUGIN_HEAD, .name = "pace", .version = "0.1.0", .kernels = WEIR_ARRAY(kernels)};

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);
WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    (void)host;
    return &plugin;
}
