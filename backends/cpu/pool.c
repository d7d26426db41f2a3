// MaxPool and AveragePool in f32, one or two spatial dims: a window is taken down the rows first,
// then along the row that this leaves, sorted by its remainder mod the stride. So each tap is a
// dense vector, and a column's work is shared by the windows beside it.
//
// A plane is one task's work from end to end: its bits depend on nothing beside it. Indices of
// maxima, three spatial dims and negative pads are left to the next plugin.
#include <string.h>

#include "backends/cpu/common.h"
#include "backends/cpu/conv_shape.h"

// Rows and columns that a window covers, at most: the taps live on the stack.
#define TAPS_MAX 64

typedef struct pool_axis {
    int64_t in, out, kernel, stride, dilation, begin, end; // begin, end: pads
} pool_axis_t;

typedef struct pool_state {
    const weir_k_table_t *kernels;
    pool_axis_t y, x;
    uint64_t planes, planes_per_task, plane_ns;
    uint64_t phase_columns;
    uint32_t is_max, counts_pads;
    float divisors[]; // [x.out] elements of a window along x
} pool_state_t;

static int is_max(const weir_node_t *node)
{
    return node->op[0] == 'M';
}

weir_code_t weir_cpu_pool_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_not_f32(node, 1, out_support);
    if (code != WEIR_OK)
        return code;
    const uint32_t rank = node->inputs[0].rank;
    if (rank < 3 || rank > 4)
        return weir_cpu_refuse(out_support, "takes one or two spatial dims only");
    if (node->output_count > 1 && node->outputs[1].dtype != 0)
        return weir_cpu_refuse(out_support, "does not give the indices of maxima");
    for (uint32_t i = 0; i < rank - 2; i++) {
        const int64_t kernel = weir_cpu_attribute_at(node, "kernel_shape", i, 0);
        if (kernel < 1 || kernel > TAPS_MAX)
            return weir_cpu_refuse(out_support, "takes windows of 1 to 64 along an axis");
        if (weir_cpu_attribute_at(node, "pads", i, 0) < 0 ||
            weir_cpu_attribute_at(node, "pads", i + rank - 2, 0) < 0)
            return weir_cpu_refuse(out_support, "takes no negative pads");
    }
    return WEIR_OK;
}

static pool_axis_t axis_of(const weir_node_t *node, uint32_t axis)
{
    const uint32_t axes = node->inputs[0].rank - 2;
    pool_axis_t a = {.in = node->inputs[0].dims[axis + 2],
        .out = node->outputs[0].dims[axis + 2],
        .kernel = weir_cpu_attribute_at(node, "kernel_shape", axis, 1),
        .stride = weir_cpu_attribute_at(node, "strides", axis, 1),
        .dilation = weir_cpu_attribute_at(node, "dilations", axis, 1)};
    a.begin = weir_cpu_pad_begin(node, axis, a.in, a.out, a.kernel, a.stride, a.dilation);
    const char *mode = weir_cpu_string(node, "auto_pad");
    if (!strncmp(mode, "SAME", 4)) {
        const int64_t all = (a.out - 1) * a.stride + (a.kernel - 1) * a.dilation + 1 - a.in;
        a.end = WEIR_MAX(all, 0) - a.begin;
    } else if (strcmp(mode, "VALID")) {
        a.end = weir_cpu_attribute_at(node, "pads", axis + axes, 0);
    }
    return a;
}

// Taps of output `at` inside the input; with pads: inside the padded input.
static int64_t taps_inside(const pool_axis_t *a, int64_t at, int with_pads)
{
    const int64_t low = with_pads ? -a->begin : 0, high = a->in + (with_pads ? a->end : 0);
    int64_t count = 0;
    for (int64_t k = 0; k < a->kernel; k++) {
        const int64_t i = at * a->stride - a->begin + k * a->dilation;
        count += i >= low && i < high;
    }
    return count;
}

weir_code_t weir_cpu_pool_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    pool_axis_t x = axis_of(node, node->inputs[0].rank - 3);
    pool_axis_t y = {.in = 1, .out = 1, .kernel = 1, .stride = 1, .dilation = 1};
    if (node->inputs[0].rank == 4)
        y = axis_of(node, 0);
    if (x.stride < 1 || y.stride < 1 || x.dilation < 1 || y.dilation < 1)
        return host->fail(
            host, WEIR_INVALID_ARGUMENT, "%s: a stride or a dilation below 1", node->op);
    pool_state_t *state;
    const weir_code_t code =
        weir_cpu_state_new(host, node, sizeof(*state) + (uint64_t)x.out * sizeof(float), &state);
    if (code != WEIR_OK)
        return code;
    state->x = x;
    state->y = y;
    state->is_max = (uint32_t)is_max(node);
    state->counts_pads = weir_node_int(node, "count_include_pad", 0) != 0;
    state->planes = weir_cpu_product(node->outputs[0].dims, 0, 2);
    if (x.out == 0 || y.out == 0)
        state->planes = 0;
    state->phase_columns = (uint64_t)(x.out + (x.kernel - 1) * x.dilation / x.stride);
    for (int64_t i = 0; i < x.out; i++)
        state->divisors[i] = (float)taps_inside(&x, i, (int)state->counts_pads);
    const uint64_t row_work = (uint64_t)((y.kernel + 2) * x.in + (x.kernel + 1) * x.out);
    state->plane_ns = (uint64_t)y.out * (row_work / 12 + 20);
    state->planes_per_task = WEIR_MAX(1u, WEIR_CPU_TASK_NS / (state->plane_ns + 1));
    out_prepared->state = state;
    out_prepared->scratch_bytes =
        ((uint64_t)x.stride * state->phase_columns + (uint64_t)x.in) * sizeof(float);
    return WEIR_OK;
}

void weir_cpu_pool_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const pool_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->planes, state->planes_per_task, state->plane_ns);
}

// The window down the rows for output row `out_y`, sorted into `sorted`, whose pads are filled.
static void column_windows(
    const pool_state_t *state, const float *plane, int64_t out_y, float *sorted, float *line)
{
    const pool_axis_t *y = &state->y, *x = &state->x;
    const float *rows[TAPS_MAX];
    size_t count = 0;
    for (int64_t k = 0; k < y->kernel; k++) {
        const int64_t i = out_y * y->stride - y->begin + k * y->dilation;
        if (i >= 0 && i < y->in)
            rows[count++] = plane + i * x->in;
    }
    const uint64_t all = (uint64_t)x->stride * state->phase_columns;
    if (count == 0) {
        for (uint64_t i = 0; i < all; i++)
            sorted[i] = state->is_max ? -__builtin_inff() : 0.0f;
        return;
    }
    weir_k_window_t *window =
        state->is_max ? state->kernels->window_max_f32 : state->kernels->window_sum_f32;
    const float *row = rows[0];
    if (x->stride == 1) {
        const int64_t width = WEIR_MIN(x->in, (int64_t)state->phase_columns - x->begin);
        if (width > 0)
            window((size_t)width, count, rows, NULL, 1.0f, sorted + x->begin);
        return;
    }
    if (count > 1) {
        window((size_t)x->in, count, rows, NULL, 1.0f, line);
        row = line;
    }
    state->kernels->phases_f32(
        (size_t)x->in, (size_t)x->stride, (size_t)x->begin, state->phase_columns, row, sorted);
}

static void plane_run(const pool_state_t *state, const float *plane, float *out, float *sorted)
{
    const pool_axis_t *y = &state->y, *x = &state->x;
    const float *taps[TAPS_MAX];
    float *line = sorted + (uint64_t)x->stride * state->phase_columns;
    for (int64_t k = 0; k < x->kernel; k++) {
        const int64_t at = k * x->dilation;
        taps[k] = sorted + (uint64_t)(at % x->stride) * state->phase_columns + at / x->stride;
    }
    for (int64_t out_y = 0; out_y < y->out; out_y++, out += x->out) {
        column_windows(state, plane, out_y, sorted, line);
        if (state->is_max)
            state->kernels->window_max_f32(
                (size_t)x->out, (size_t)x->kernel, taps, NULL, 1.0f, out);
        else
            state->kernels->window_sum_f32((size_t)x->out, (size_t)x->kernel, taps, state->divisors,
                (float)taps_inside(y, out_y, (int)state->counts_pads), out);
    }
}

weir_code_t weir_cpu_pool_run(const weir_task_t *task)
{
    const pool_state_t *state = task->state;
    const uint64_t in_plane = (uint64_t)(state->y.in * state->x.in);
    const uint64_t out_plane = (uint64_t)(state->y.out * state->x.out);
    float *sorted = task->scratch;
    // Pads stay as they are filled here: a row that does not come from memory fills them all with
    // the same.
    for (uint64_t i = 0; i < (uint64_t)state->x.stride * state->phase_columns; i++)
        sorted[i] = state->is_max ? -__builtin_inff() : 0.0f;
    uint64_t first, end;
    weir_cpu_task_range(task, state->planes, state->planes_per_task, &first, &end);
    for (uint64_t plane = first; plane < end; plane++)
        plane_run(state, (const float *)task->inputs[0].data + plane * in_plane,
            (float *)task->outputs[0].data + plane * out_plane, sorted);
    return WEIR_OK;
}
