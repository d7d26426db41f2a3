// tests/plugins/broken.c: a plugin that breaks one rule of <weir/plugin.h>, the one that the
// environment names (WEIR_BROKEN). Each must be caught by `weir conform`: conform_test.py.
//
// Without a name it breaks none and conforms, so that a catch says something. It must stay a plugin
// like a stranger's: no header of ours but plugin.h.
#include <weir/plugin.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char rule[40];
static weir_kernel_t kernels[4];
static weir_plugin_t plugin;

static int breaks(const char *name)
{
    return strcmp(rule, name) == 0;
}

static void *do_nothing(void *user)
{
    return user;
}

// The compiler drops an allocation that nobody looks at.
static void *volatile kept;

static void start_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, do_nothing, NULL) == 0)
        pthread_join(thread, NULL);
}

// ---- Relu
// ----------------------------------------------------------------------------------------

#define BLOCK 64u

typedef struct state {
    uint64_t count, touched;
} state_t;

static state_t *last_prepared;

static weir_code_t relu_supports(const weir_node_t *node, weir_support_t *out)
{
    static uint32_t asked;
    asked++;
    if (breaks("supports_reason"))
        return WEIR_UNSUPPORTED;
    if ((breaks("supports_impure") && asked % 5 == 4) || node->prologue ||
        (node->epilogue && !breaks("epilogue_ignored"))) {
        snprintf(out->reason, sizeof out->reason, "not this one");
        return WEIR_UNSUPPORTED;
    }
    return WEIR_OK;
}

static weir_code_t relu_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out)
{
    state_t *state = host->alloc(host, sizeof *state);
    if (!state)
        return WEIR_RESOURCE_EXHAUSTED;
    state->count = node->outputs[0].element_count;
    last_prepared = state;
    out->state = state;
    out->scratch_bytes = 64;
    out->shared_bytes = 64;
    if (breaks("leak"))
        kept = malloc(16);
    if (breaks("prepared_past_end"))
        memset((char *)out + sizeof *out, 0, 8);
    if (breaks("supports_yes_prepare_no"))
        return host->fail(host, WEIR_UNSUPPORTED, "not after all");
    return WEIR_OK;
}

static void relu_release(const weir_host_t *host, void *state)
{
    host->free(host, state);
}

static void relu_tasks(const weir_node_t *node, void *state, weir_tasks_t *out)
{
    static uint32_t asked;
    (void)state;
    asked++;
    out->phase_count = breaks("too_many_phases") ? WEIR_PHASES_MAX + 1 : 1;
    out->task_count[0] = WEIR_DIV_UP(node->outputs[0].element_count, BLOCK);
    if (breaks("tasks_impure") && out->task_count[0] > 1)
        out->task_count[0] += asked % 2;
}

// What is wrong whatever the elements are.
static weir_code_t misbehave(const weir_task_t *task)
{
    float *x = task->inputs[0].data, *y = task->outputs[0].data;
    uint64_t count = task->outputs[0].element_count;
    state_t *state = task->state;
    if (breaks("abort"))
        abort();
    if (breaks("exit"))
        exit(0);
    while (breaks("hang"))
        pause();
    if (breaks("prints"))
        fprintf(stderr, "running\n");
    if (breaks("run_thread"))
        start_thread();
    if (breaks("run_allocates"))
        free(kept = malloc(32));
    if (breaks("write_past_end"))
        y[count] = 1;
    if (breaks("write_before_start"))
        y[-1] = 1;
    if (breaks("read_past_end") && x[count] > 1)
        return WEIR_INTERNAL;
    if (breaks("write_input") && count)
        x[0] = 1;
    if (breaks("write_state"))
        state->touched++;
    if (breaks("write_past_scratch"))
        memset(task->scratch, 0, 65);
    if (breaks("write_past_shared"))
        memset(task->shared, 0, 65);
    if (breaks("supports_yes_run_no") && task->inputs[0].rank > 2)
        return WEIR_UNSUPPORTED;
    return WEIR_OK;
}

static float relu_one(float x)
{
    static volatile float shared_between_tasks;
    if (breaks("race")) {
        shared_between_tasks = x;
        sched_yield();
        x = shared_between_tasks;
    }
    if (breaks("nan_swallowed"))
        return x > 0 ? x : 0;
    return x < 0 ? 0 : x;
}

static weir_code_t relu_run(const weir_task_t *task)
{
    static uint64_t next_task;
    const float *x = task->inputs[0].data;
    float *y = task->outputs[0].data;
    uint64_t count = task->outputs[0].element_count, first = task->first * BLOCK;
    uint64_t end = WEIR_MIN(first + task->count * BLOCK, count);
    weir_code_t code = misbehave(task);
    if (code != WEIR_OK)
        return code;
    if (breaks("state_shared") && last_prepared)
        end = WEIR_MIN(end, last_prepared->count);
    if (breaks("in_place"))
        memset(y + first, 0, (end - first) * sizeof *y);
    for (uint64_t i = first; i < end; i++)
        y[i] = relu_one(x[i]);
    if (breaks("order") && end > first && task->first && task->first != next_task)
        y[first] += 1;
    next_task = task->first + task->count;
    if (breaks("tail") && end == count && end > first && count % 8)
        y[end - 1] = 7;
    if (breaks("last_task") && task->count == 1 && task->first > 2)
        y[first] = 0.125f; // right only when tasks come together
    return WEIR_OK;
}

// ---- Add, of equal shapes, with a packed constant
// ------------------------------------------------

static weir_code_t add_supports(const weir_node_t *node, weir_support_t *out)
{
    const weir_tensor_t *a = &node->inputs[0], *b = &node->inputs[1];
    if (a->rank == b->rank && memcmp(a->dims, b->dims, a->rank * sizeof a->dims[0]) == 0 &&
        !node->prologue && !node->epilogue)
        return WEIR_OK;
    snprintf(out->reason, sizeof out->reason, "shapes differ");
    return WEIR_UNSUPPORTED;
}

static weir_code_t add_pack_query(const weir_node_t *node, uint32_t input, weir_packing_t *out)
{
    if (input == 1) {
        out->format = breaks("pack_format") ? WEIR_FORMAT_NHWC : WEIR_FORMAT_OWN;
        out->bytes = node->inputs[1].bytes + 4;
    }
    return WEIR_OK;
}

static weir_code_t add_pack(const weir_node_t *node, uint32_t input, void *to, uint64_t bytes)
{
    memset(to, 0, breaks("pack_unwritten") ? 2 : 4);
    if (node->inputs[input].bytes)
        memcpy((char *)to + 4, node->inputs[input].data, bytes - 4);
    if (breaks("pack_wrong") && bytes > 4)
        memset((char *)to + 4, 0, 4);
    return WEIR_OK;
}

static weir_code_t add_run(const weir_task_t *task)
{
    const float *a = task->inputs[0].data, *b = task->inputs[1].data;
    float *y = task->outputs[0].data;
    if (task->inputs[1].format == WEIR_FORMAT_OWN)
        b++;
    for (uint64_t i = 0; i < task->outputs[0].element_count; i++)
        y[i] = a[i] + b[i];
    return WEIR_OK;
}

// ---- Gather, of one axis
// -------------------------------------------------------------------------

static weir_code_t gather_supports(const weir_node_t *node, weir_support_t *out)
{
    if (node->inputs[0].rank == 1 && node->inputs[1].dtype == WEIR_I64)
        return WEIR_OK;
    snprintf(out->reason, sizeof out->reason, "one axis and i64 indices only");
    return WEIR_UNSUPPORTED;
}

static weir_code_t gather_run(const weir_task_t *task)
{
    const int64_t *indices = task->inputs[1].data, end = task->inputs[0].dims[0];
    for (uint64_t i = 0; i < task->outputs[0].element_count; i++) {
        int64_t at = indices[i] < 0 ? indices[i] + end : indices[i];
        if ((at < 0 || at >= end) && !breaks("index_unchecked"))
            return WEIR_INVALID_ARGUMENT;
        at = WEIR_MAX(WEIR_MIN(at, end - 1), 0);
        ((float *)task->outputs[0].data)[i] = ((const float *)task->inputs[0].data)[at];
    }
    return WEIR_OK;
}

// ---- test.broken::Twice, an operator of its own: two of each element
// ----------------------------------------------------

static weir_code_t twice_infer(const weir_node_t *node, weir_shape_t *out, weir_support_t *why)
{
    static int64_t calls;
    const weir_tensor_t *x = &node->inputs[0];
    if (!x->rank) {
        snprintf(why->reason, sizeof why->reason, "%s", breaks("infer_reason") ? "" : "no axis");
        return WEIR_INVALID_ARGUMENT;
    }
    if (breaks("infer_reason") && x->rank == 2)
        return WEIR_INVALID_ARGUMENT;
    *out = (weir_shape_t){.dtype = x->dtype, .rank = x->rank};
    memcpy(out->dims, x->dims, x->rank * sizeof x->dims[0]);
    int64_t *last = &out->dims[x->rank - 1];
    int is_symbol = *last < 0;
    *last = is_symbol ? WEIR_DIM_NEW : 2 * *last;
    if (breaks("infer_impure"))
        *last += calls++;
    if (breaks("infer_negative") && !is_symbol)
        *last = -1;
    if (breaks("infer_dtypes"))
        out->dtype |= WEIR_I64;
    if (breaks("infer_rank"))
        out->rank = WEIR_RANK_MAX + 1;
    if (breaks("infer_symbols") && is_symbol)
        *last = x->dims[0];
    if (breaks("infer_no_symbols") && is_symbol)
        return WEIR_INVALID_ARGUMENT;
    return WEIR_OK;
}

static weir_code_t twice_run(const weir_task_t *task)
{
    const float *x = task->inputs[0].data;
    float *y = task->outputs[0].data;
    for (uint64_t i = 0; i < task->outputs[0].element_count; i++)
        if (!breaks("custom_unwritten") || i % 8 != 7)
            y[i] = x[i / 2];
    if (breaks("custom_past_end"))
        y[task->outputs[0].element_count] = 1;
    return WEIR_OK;
}

static const weir_operator_t operators[] = {{.head = WEIR_HEAD(weir_operator_t),
    .domain = "test.broken",
    .op = "Twice",
    .revision = 1,
    .min_inputs = 1,
    .max_inputs = 1,
    .output_count = 1,
    .infer = twice_infer}};

// ---- The plugin
// ----------------------------------------------------------------------------------

static void fill_kernels(void)
{
    kernels[0] = (weir_kernel_t){.head = {sizeof(weir_kernel_t), WEIR_KERNEL_INPLACE},
        .op = "Relu",
        .revision = 1,
        .dtypes = WEIR_F32,
        .supports = relu_supports,
        .prepare = relu_prepare,
        .release = relu_release,
        .tasks = relu_tasks,
        .run = relu_run};
    kernels[1] = (weir_kernel_t){.head = WEIR_HEAD(weir_kernel_t),
        .op = "Add",
        .revision = 1,
        .dtypes = WEIR_F32,
        .supports = add_supports,
        .pack_query = add_pack_query,
        .pack = add_pack,
        .run = add_run};
    kernels[2] = (weir_kernel_t){.head = WEIR_HEAD(weir_kernel_t),
        .op = "Gather",
        .revision = 1,
        .dtypes = WEIR_F32,
        .supports = gather_supports,
        .run = gather_run};
    kernels[3] = (weir_kernel_t){.head = WEIR_HEAD(weir_kernel_t),
        .op = "test.broken::Twice",
        .revision = 1,
        .dtypes = WEIR_F32,
        .run = twice_run};
    if (breaks("epilogue_ignored"))
        kernels[0].head.flags |= WEIR_KERNEL_EPILOGUE;
    if (breaks("kernel_size"))
        kernels[1].head.size += 64;
    if (breaks("kernel_no_run"))
        kernels[1].run = NULL;
}

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    const char *wanted = getenv("WEIR_BROKEN");
    snprintf(rule, sizeof rule, "%s", wanted ? wanted : "");
    fill_kernels();
    plugin = (weir_plugin_t){.head = WEIR_PLUGIN_HEAD,
        .name = breaks("name") ? "Not a name" : "broken",
        .version = breaks("version") ? NULL : "0.1.0",
        .build = "0.1.0",
        .kernels = WEIR_ARRAY(kernels),
        .operators = WEIR_ARRAY(operators)};
    if (breaks("hash"))
        plugin.head.header_hash ^= 1;
    if (breaks("load_thread"))
        start_thread();
    if (breaks("load_overrun"))
        memset((void *)(uintptr_t)host, 0, sizeof(weir_host_t) + 8);
    return breaks("no_table") ? NULL : &plugin;
}
