// backends/example/example.c: a plugin to start from. docs/plugins.md walks through it.
//
// The smallest kernel (Relu); one with all that a kernel may have (MatMul); an operator of a domain
// of its own (com.example::ReGLU); the smallest device ("example:0", level L1). It includes
// <weir/plugin.h> and nothing else of weir.
#include <weir/plugin.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- Relu: a division into tasks and a run() ---------------------------------------------------
#define BLOCK 4096u // elements in one task: some microseconds of work

// How the work divides: it depends on nothing but the node and its dims.
static void block_tasks(const weir_node_t *node, void *state, weir_tasks_t *out)
{
    (void)state;
    out->phase_count = 1;
    out->task_count[0] = WEIR_DIV_UP(node->outputs[0].element_count, BLOCK);
}

// Tasks [first, first + count): on any thread, in any order. No allocation, no lock, no output.
static weir_code_t relu_run(const weir_task_t *task)
{
    const float *x = task->inputs[0].data; // contiguous: we do not ask for strides
    float *y = task->outputs[0].data;
    uint64_t end = WEIR_MIN((task->first + task->count) * BLOCK, task->outputs[0].element_count);
    for (uint64_t i = task->first * BLOCK; i < end; i++)
        y[i] = x[i] < 0 ? 0 : x[i]; // this way round NaN stays NaN
    return WEIR_OK;
}

// ---- MatMul: supports, packing, state, an epilogue ---------------------------------------------
#define PANEL 8u // B is walked in panels of this many columns
#define ROWS_PER_TASK 16u
#define FORMAT_PANELS (WEIR_FORMAT_OWN + 1u) // a layout's number: packed constants are kept by it

static weir_code_t refuse(weir_support_t *out, weir_code_t code, const char *reason)
{
    snprintf(out->reason, sizeof out->reason, "%s", reason);
    return code;
}

// Can we run this node? Dims may be negative here (not known yet), data is there for constants
// only. A "no" costs nothing: another plugin, or the engine's own, gets the node.
static weir_code_t matmul_supports(const weir_node_t *node, weir_support_t *out)
{
    const weir_tensor_t *a = &node->inputs[0], *b = &node->inputs[1];
    if (b->dtype != WEIR_F32 || a->rank < 2 || b->rank != 2)
        return refuse(out, WEIR_UNSUPPORTED, "A must have two axes or more, B two, both f32");
    // An epilogue is a little program over the result. This kernel knows one: max(result, 0).
    const weir_expression_t *e = node->epilogue;
    if (node->prologue || (e && (e->instruction_count != 2 || e->outputs[0] != 1 ||
                                    e->instructions[1].opcode != WEIR_OP_RELU)))
        return refuse(out, WEIR_UNSUPPORTED, "the only expression it takes is a Relu behind it");
    return WEIR_OK;
}

// How constant input `input` should lie: B in panels, A as it is (format 0, which is there).
static weir_code_t matmul_pack_query(const weir_node_t *node, uint32_t input, weir_packing_t *out)
{
    const int64_t *dims = node->inputs[input].dims;
    if (input != 1)
        return WEIR_OK;
    out->format = FORMAT_PANELS;
    out->bytes = WEIR_DIV_UP((uint64_t)dims[1], PANEL) * PANEL * (uint64_t)dims[0] * sizeof(float);
    return WEIR_OK;
}

// Done once; the engine keeps the result and maps it the next time.
static weir_code_t matmul_pack(const weir_node_t *node, uint32_t input, void *to, uint64_t bytes)
{
    const int64_t *dims = node->inputs[input].dims;
    uint64_t depth = (uint64_t)dims[0], columns = (uint64_t)dims[1];
    const float *b = node->inputs[input].data;
    float *packed = to;
    memset(packed, 0, bytes); // the last panel may be wider than what is left
    for (uint64_t k = 0; k < depth; k++)
        for (uint64_t j = 0; j < columns; j++)
            packed[(j / PANEL * depth + k) * PANEL + j % PANEL] = b[k * columns + j];
    return WEIR_OK;
}

// Once for each set of dims, which are known now: what is worth working out only once. Here, rows.
static weir_code_t matmul_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out)
{
    uint64_t *rows = host->alloc(host, sizeof *rows);
    if (!rows)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a MatMul's state");
    *rows = node->outputs[0].element_count / (uint64_t)WEIR_MAX(node->inputs[1].dims[1], 1);
    out->state = rows;
    return WEIR_OK;
}

static void matmul_release(const weir_host_t *host, void *state)
{
    host->free(host, state);
}

static void matmul_tasks(const weir_node_t *node, void *state, weir_tasks_t *out)
{
    const uint64_t *rows = state;
    const int64_t *dims = node->inputs[1].dims;
    out->phase_count = 1;
    out->task_count[0] = WEIR_DIV_UP(*rows, ROWS_PER_TASK);
    out->task_cost_ns[0] = ROWS_PER_TASK * (uint64_t)dims[0] * (uint64_t)dims[1] / 2; // roughly
}

static weir_code_t matmul_run(const weir_task_t *task)
{
    const uint64_t *rows = task->state; // read only: other threads are reading it too
    const int64_t *dims = task->inputs[1].dims;
    const uint64_t depth = (uint64_t)dims[0], columns = (uint64_t)dims[1];
    const float *a = task->inputs[0].data, *b = task->inputs[1].data;
    float *y = task->outputs[0].data;
    const int is_packed = task->inputs[1].format == FORMAT_PANELS; // B is, if it is a constant
    const uint64_t stride = is_packed ? PANEL : columns;
    uint64_t end = WEIR_MIN((task->first + task->count) * ROWS_PER_TASK, *rows);
    for (uint64_t row = task->first * ROWS_PER_TASK; row < end; row++)
        for (uint64_t first = 0; first < columns; first += PANEL) {
            const float *panel = b + first * (is_packed ? depth : 1);
            const uint64_t width = WEIR_MIN(columns - first, PANEL);
            float sums[PANEL] = {0};
            for (uint64_t k = 0; k < depth; k++)
                for (uint64_t j = 0; j < width; j++)
                    sums[j] += a[row * depth + k] * panel[k * stride + j];
            for (uint64_t j = 0; j < width; j++)
                y[row * columns + first + j] = task->node->epilogue && sums[j] < 0 ? 0 : sums[j];
        }
    return WEIR_OK;
}

// ---- com.example::ReGLU, which ONNX does not have ----------------------------------------------
// [..., 2n] -> [..., n]: a max(b, 0) + slope a min(b, 0), a and b the halves of the last axis
// (Shazeer, "GLU Variants Improve Transformer", 2020; slope is ours).

// The outputs' types: at load, when dims may be (negative) symbols, and again for each shape.
static weir_code_t reglu_infer(const weir_node_t *node, weir_shape_t *out, weir_support_t *why)
{
    const weir_tensor_t *x = &node->inputs[0];
    if (x->dtype != WEIR_F32 || !x->rank || (x->dims[x->rank - 1] > 0 && x->dims[x->rank - 1] % 2))
        return refuse(why, WEIR_INVALID_ARGUMENT, "ReGLU takes f32 and an even last axis");
    *out = (weir_shape_t){.dtype = x->dtype, .rank = x->rank};
    memcpy(out->dims, x->dims, x->rank * sizeof *x->dims);
    int64_t *last = &out->dims[x->rank - 1];
    *last = *last < 0 ? WEIR_DIM_NEW : *last / 2; // half of a symbol is a size of its own
    return WEIR_OK;
}

static weir_code_t reglu_run(const weir_task_t *task)
{
    const weir_tensor_t *to = &task->outputs[0];
    const float *x = task->inputs[0].data, slope = (float)weir_node_float(task->node, "slope", 0);
    float *y = to->data;
    uint64_t end = WEIR_MIN((task->first + task->count) * BLOCK, to->element_count);
    uint64_t half = to->element_count ? (uint64_t)to->dims[to->rank - 1] : 1;
    for (uint64_t i = task->first * BLOCK; i < end; i++) {
        const float *a = x + i / half * 2 * half + i % half, b = a[half];
        y[i] = *a * (b < 0 ? slope * b : b);
    }
    return WEIR_OK;
}

// ---- A device: memory that the engine cannot see, and a queue ----------------------------------
// It runs the kernels above, within the call: `waits` name what it signalled before: that is over.
#define BUFFERS 4096u                                    // at a time
#define DEVICE(handle) ((device_t *)(uintptr_t)(handle)) // a handle is what we like

typedef struct device {
    const weir_host_t *host;
    _Atomic(char *) buffers[BUFFERS]; // by handle - 1: alloc() and free() come from any thread
} device_t;

static weir_code_t enumerate(const weir_host_t *host, uint32_t index, weir_device_info_t *out)
{
    (void)host;
    if (index > 0)
        return WEIR_NOT_FOUND;
    snprintf(out->name, sizeof out->name, "plain C behind a queue");
    snprintf(out->arch, sizeof out->arch, "c"); // measured times belong to one arch
    out->numa_node = -1;
    return WEIR_OK;
}

static weir_code_t open_device(const weir_host_t *host, uint32_t index, weir_handle_t *out)
{
    (void)index;
    device_t *device = host->alloc(host, sizeof *device);
    if (device)
        *device = (device_t){.host = host};
    *out = (uintptr_t)device;
    return device ? WEIR_OK : WEIR_RESOURCE_EXHAUSTED;
}

static void close_device(weir_handle_t device)
{
    for (uint32_t i = 0; i < BUFFERS; i++) // after a loss nobody gives them back one by one
        free(DEVICE(device)->buffers[i]);
    DEVICE(device)->host->free(DEVICE(device)->host, DEVICE(device));
}

static weir_code_t alloc_buffer(
    weir_handle_t device, uint32_t memory, uint64_t bytes, weir_handle_t *out)
{
    if (memory != WEIR_MEMORY_DEVICE) // the engine copies from and to its own memory then
        return WEIR_UNSUPPORTED;
    char *made = bytes < SIZE_MAX / 2 ? aligned_alloc(256, (bytes / 256 + 1) * 256) : NULL;
    for (*out = 1; made && *out <= BUFFERS; ++*out)
        if (atomic_compare_exchange_strong(&DEVICE(device)->buffers[*out - 1], &(char *){0}, made))
            return WEIR_OK;
    free(made);
    return WEIR_RESOURCE_EXHAUSTED;
}

static void free_buffer(weir_handle_t device, weir_handle_t buffer)
{
    free(buffer ? atomic_exchange(&DEVICE(device)->buffers[buffer - 1], NULL) : NULL);
}

static weir_code_t create_queue(weir_handle_t device, weir_handle_t *out)
{
    *out = device; // a handle like that; calls of one queue come one at a time: nothing to keep
    return WEIR_OK;
}

static char *at(weir_handle_t device, const weir_binding_t *b)
{
    return b->buffer ? DEVICE(device)->buffers[b->buffer - 1] + b->offset : b->pointer;
}

static weir_code_t copy(weir_handle_t queue, const weir_copy_region_t *regions, uint32_t count,
    const weir_timeline_point_t *waits, uint32_t wait_count, const weir_timeline_point_t *signals,
    uint32_t signal_count)
{
    (void)waits, (void)wait_count;
    for (uint32_t i = 0; i < count; i++)
        memcpy(at(queue, &regions[i].to), at(queue, &regions[i].from), regions[i].to.bytes);
    weir_signal_all(DEVICE(queue)->host, signals, signal_count);
    return WEIR_OK;
}

static weir_code_t execute(weir_handle_t queue, const weir_execution_t *execution,
    const weir_timeline_point_t *waits, uint32_t wait_count, const weir_timeline_point_t *signals,
    uint32_t signal_count)
{
    const weir_node_t *node = execution->node;
    weir_tensor_t tensors[8]; // more than any kernel above has
    weir_tasks_t work = {.head = WEIR_HEAD(weir_tasks_t)};
    (void)waits, (void)wait_count;
    if (execution->binding_count > 8)
        return WEIR_UNSUPPORTED;
    for (uint32_t i = 0; i < execution->binding_count; i++) {
        tensors[i] = i < node->input_count ? node->inputs[i] : node->outputs[i - node->input_count];
        tensors[i].data = at(queue, &execution->bindings[i]);
    }
    execution->kernel->tasks(node, execution->state, &work);
    weir_task_t task = {.head = WEIR_HEAD(weir_task_t), .node = node, .state = execution->state};
    task.inputs = tensors, task.outputs = tensors + node->input_count;
    task.count = work.task_count[0]; // of the only phase, all; none has scratch
    weir_code_t code = execution->kernel->run(&task);
    if (code == WEIR_OK)
        weir_signal_all(DEVICE(queue)->host, signals, signal_count);
    return code;
}

// ---- The plugin --------------------------------------------------------------------------------
// clang-format off
static const weir_attribute_t reglu_attributes[] = {{.name = "slope", .type = WEIR_ATTR_FLOAT}};
static const weir_operator_t operators[] = {
    {.head = WEIR_HEAD(weir_operator_t), .domain = "com.example", .op = "ReGLU", .revision = 1,
     .min_inputs = 1, .max_inputs = 1, .output_count = 1, .infer = reglu_infer,
     .attributes = WEIR_ARRAY(reglu_attributes)}};
static const weir_kernel_t kernels[] = {
    {.head = WEIR_HEAD(weir_kernel_t), .op = "Relu", .revision = 1, .dtypes = WEIR_F32,
     .tasks = block_tasks, .run = relu_run},
    {.head = WEIR_HEAD(weir_kernel_t), .op = "com.example::ReGLU", .revision = 1,
     .dtypes = WEIR_F32, .tasks = block_tasks, .run = reglu_run},
    {.head = {sizeof(weir_kernel_t), WEIR_KERNEL_EPILOGUE}, .op = "MatMul", .revision = 1,
     .dtypes = WEIR_F32, .supports = matmul_supports, .pack_query = matmul_pack_query,
     .pack = matmul_pack, .prepare = matmul_prepare, .release = matmul_release,
     .tasks = matmul_tasks, .run = matmul_run}};
static const weir_device_table_t device = {.head = WEIR_HEAD(weir_device_table_t),
    .enumerate = enumerate, .open = open_device, .close = close_device, .alloc = alloc_buffer,
    .free = free_buffer, .queue_create = create_queue, .copy = copy, .execute = execute};

// build: changes with the code, because packed constants on disk belong to one build.
static const weir_plugin_t plugin = {.head = WEIR_PLUGIN_HEAD, .name = "example", .vendor = "weir",
    .version = "0.1.0", .build = "3", .kernels = WEIR_ARRAY(kernels), .device = &device,
    .operators = WEIR_ARRAY(operators)};
// clang-format on

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    (void)host; // lives as long as the engine: a plugin may keep it
    return &plugin;
}
