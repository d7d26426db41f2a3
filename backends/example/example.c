// backends/example/example.c: a plugin to start from: two operators for host memory (level L0).
//
// Relu is the smallest useful kernel: a division into tasks and a run(). MatMul shows the rest: a
// supports() that says why not, a constant packed once, a state per shape, a fused epilogue.
// docs/plugins.md walks through it. It includes <weir/plugin.h> and nothing else of weir, and this
// builds it:
//
//     cc -shared -fPIC -O2 -I PREFIX/include example.c -o weir_example.so
#include <weir/plugin.h>

#include <stdio.h>
#include <string.h>

// ---- Relu
// ----------------------------------------------------------------------------------------

// Elements in one task: some microseconds of work. Less is lost in handing tasks out, more leaves
// threads without work at the end.
#define RELU_BLOCK 4096u

// How the work divides. It must depend on nothing but the node and its dims.
static void relu_tasks(const weir_node_t *node, void *state, weir_tasks_t *out)
{
    (void)state;
    out->phase_count = 1;
    out->task_count[0] = WEIR_DIV_UP(node->outputs[0].element_count, RELU_BLOCK);
}

// Tasks [first, first + count): on any thread, in any order. No allocation, no lock, no output.
static weir_code_t relu_run(const weir_task_t *task)
{
    const float *x = task->inputs[0].data; // contiguous: we do not ask for strides
    float *y = task->outputs[0].data;
    uint64_t end = (task->first + task->count) * RELU_BLOCK;
    end = WEIR_MIN(end, task->outputs[0].element_count);
    for (uint64_t i = task->first * RELU_BLOCK; i < end; i++)
        y[i] = x[i] < 0 ? 0 : x[i]; // this way round NaN stays NaN
    return WEIR_OK;
}

// ---- MatMul
// --------------------------------------------------------------------------------------

// B is walked in panels of this many columns: one row of a panel is a vector or two.
#define PANEL 8u
#define ROWS_PER_TASK 16u
// The layout of our packed B. A change of the layout is a new number, because packed constants are
// kept on disk and looked up by it.
#define FORMAT_PANELS (WEIR_FORMAT_OWN + 1u)

static weir_code_t refuse(weir_support_t *out, const char *reason)
{
    snprintf(out->reason, sizeof out->reason, "%s", reason);
    return WEIR_UNSUPPORTED;
}

// An epilogue is a little program over the result. This kernel knows one: max(result, 0).
static int is_relu(const weir_expression_t *epilogue)
{
    const weir_instruction_t *code = epilogue->instructions;
    return epilogue->instruction_count == 2 && code[0].opcode == WEIR_OP_ANCHOR &&
           code[1].opcode == WEIR_OP_RELU && code[1].a == 0 && epilogue->output_count == 1 &&
           epilogue->outputs[0] == 1;
}

// Can we run this node? Dims may be negative here (not known yet), data is there for constants
// only. A "no" costs nothing: another plugin, or the engine's own, gets the node.
static weir_code_t matmul_supports(const weir_node_t *node, weir_support_t *out)
{
    const weir_tensor_t *a = &node->inputs[0], *b = &node->inputs[1];
    if (b->dtype != WEIR_F32)
        return refuse(out, "B is not f32");
    if (a->rank < 2 || b->rank != 2)
        return refuse(out, "A must have two axes or more, B exactly two");
    if (node->prologue || (node->epilogue && !is_relu(node->epilogue)))
        return refuse(out, "the only expression it takes is an epilogue of Relu");
    return WEIR_OK;
}

// How constant input `input` should lie: B in panels, A as it is (format 0, which is there).
static weir_code_t matmul_pack_query(const weir_node_t *node, uint32_t input, weir_packing_t *out)
{
    if (input != 1)
        return WEIR_OK;
    uint64_t depth = (uint64_t)node->inputs[1].dims[0], columns = (uint64_t)node->inputs[1].dims[1];
    out->format = FORMAT_PANELS;
    out->bytes = WEIR_DIV_UP(columns, PANEL) * PANEL * depth * sizeof(float);
    return WEIR_OK;
}

// Done once; the engine keeps the result and maps it the next time.
static weir_code_t matmul_pack(const weir_node_t *node, uint32_t input, void *to, uint64_t bytes)
{
    uint64_t depth = (uint64_t)node->inputs[1].dims[0], columns = (uint64_t)node->inputs[1].dims[1];
    const float *b = node->inputs[input].data;
    float *packed = to;
    memset(packed, 0, bytes); // the last panel may be wider than what is left
    for (uint64_t k = 0; k < depth; k++)
        for (uint64_t j = 0; j < columns; j++)
            packed[(j / PANEL * depth + k) * PANEL + j % PANEL] = b[k * columns + j];
    return WEIR_OK;
}

typedef struct matmul_state {
    uint64_t rows, depth, columns;
    int has_relu;
} matmul_state_t;

// Once for each set of dims, which are known now. What is worth working out only once goes here.
static weir_code_t matmul_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out)
{
    const weir_tensor_t *a = &node->inputs[0];
    matmul_state_t *state = host->alloc(host, sizeof *state);
    if (!state)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a MatMul's state");
    *state = (matmul_state_t){.rows = 1,
        .depth = (uint64_t)a->dims[a->rank - 1],
        .columns = (uint64_t)node->inputs[1].dims[1],
        .has_relu = node->epilogue != NULL};
    for (uint32_t i = 0; i + 1 < a->rank; i++)
        state->rows *= (uint64_t)a->dims[i];
    out->state = state;
    return WEIR_OK;
}

static void matmul_release(const weir_host_t *host, void *state)
{
    host->free(host, state);
}

static void matmul_tasks(const weir_node_t *node, void *state, weir_tasks_t *out)
{
    const matmul_state_t *shape = state;
    (void)node;
    out->phase_count = 1;
    out->task_count[0] = WEIR_DIV_UP(shape->rows, ROWS_PER_TASK);
    // Half a nanosecond for each multiplication, roughly: so the engine knows whether waking other
    // threads is worth it.
    out->task_cost_ns[0] = ROWS_PER_TASK * shape->depth * shape->columns / 2;
}

// One row of A times one panel of B. `stride` is the distance of B's rows.
static void multiply_panel(
    const float *a, const float *b, uint64_t depth, uint64_t stride, uint64_t width, float *sums)
{
    for (uint64_t j = 0; j < PANEL; j++)
        sums[j] = 0;
    for (uint64_t k = 0; k < depth; k++)
        for (uint64_t j = 0; j < width; j++)
            sums[j] += a[k] * b[k * stride + j];
}

static weir_code_t matmul_run(const weir_task_t *task)
{
    const matmul_state_t *shape = task->state; // read only: other threads are reading it too
    const uint64_t depth = shape->depth, columns = shape->columns;
    const float *a = task->inputs[0].data, *b = task->inputs[1].data;
    float *y = task->outputs[0].data, sums[PANEL];
    // B is packed if it is a constant, otherwise it lies as it comes.
    const int is_packed = task->inputs[1].format == FORMAT_PANELS;
    uint64_t end = WEIR_MIN((task->first + task->count) * ROWS_PER_TASK, shape->rows);
    for (uint64_t row = task->first * ROWS_PER_TASK; row < end; row++)
        for (uint64_t first = 0; first < columns; first += PANEL) {
            uint64_t width = WEIR_MIN(columns - first, PANEL);
            multiply_panel(a + row * depth, b + first * (is_packed ? depth : 1), depth,
                is_packed ? PANEL : columns, width, sums);
            for (uint64_t j = 0; j < width; j++)
                y[row * columns + first + j] = shape->has_relu && sums[j] < 0 ? 0 : sums[j];
        }
    return WEIR_OK;
}

// ---- The plugin
// ----------------------------------------------------------------------------------

static const weir_kernel_t kernels[] = {
    {.head = WEIR_HEAD(weir_kernel_t),
        .op = "Relu",
        .name = "example relu",
        .revision = 1,
        .dtypes = WEIR_F32,
        .tasks = relu_tasks,
        .run = relu_run},
    {.head = {sizeof(weir_kernel_t), WEIR_KERNEL_EPILOGUE},
        .op = "MatMul",
        .name = "example matmul",
        .revision = 1,
        .dtypes = WEIR_F32,
        .supports = matmul_supports,
        .pack_query = matmul_pack_query,
        .pack = matmul_pack,
        .prepare = matmul_prepare,
        .release = matmul_release,
        .tasks = matmul_tasks,
        .run = matmul_run},
};

static const weir_plugin_t plugin = {.head = WEIR_PLUGIN_HEAD,
    .name = "example",
    .vendor = "weir",
    .version = "0.1.0",
    .build = "0.1.0", // change it with the code: packed constants on disk belong to one build
    .kernels = WEIR_ARRAY(kernels)};

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    (void)host; // lives as long as the engine: a plugin may keep it, for log() and alloc()
    return &plugin;
}
