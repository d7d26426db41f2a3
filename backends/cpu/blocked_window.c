// What slides a window over one block of 16 channels at a time: depthwise Conv, MaxPool and
// AveragePool in blocked format.
//
// They take the format when their input comes in it, and do not ask for it. A task is some rows of
// one block; taps outside of the input are left out.
#include <string.h>

#include "backends/cpu/anchor.h"
#include "backends/cpu/blocked.h"
#include "backends/cpu/common.h"
#include "backends/cpu/conv_shape.h"

typedef struct window_state {
    const weir_k_table_t *kernels;
    weir_k_window16_t *row;
    weir_cpu_conv_shape_t shape;          // groups and their channels: of a Conv only
    uint64_t rows, rows_per_task, row_ns; // rows: of all blocks of all images
    int64_t count_top, count_bottom; // rows that an average counts: [-count_top, height + bottom)
    int64_t count_left, count_right;
    uint32_t is_conv;
    weir_cpu_finish_t finish;
} window_state_t;

weir_code_t weir_cpu_blocked_depthwise_supports(
    const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_finish_supports(node, 3, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0], *w = &node->inputs[1];
    if (!weir_cpu_is_blocked(x) || w->rank != 4 || !(w->flags & WEIR_TENSOR_CONSTANT))
        return weir_cpu_refuse(out_support, "takes blocks and constant weights only");
    const int64_t groups = weir_node_int(node, "group", 1);
    if (groups != x->dims[1] || w->dims[0] != groups || w->dims[1] != 1 || w->element_count == 0)
        return weir_cpu_refuse(out_support, "takes one channel a group only");
    return WEIR_OK;
}

static uint64_t depthwise_bytes(const weir_tensor_t *w)
{
    return weir_cpu_blocks((uint64_t)w->dims[0]) * WEIR_K_BLOCK *
           (uint64_t)(w->dims[2] * w->dims[3]) * sizeof(float);
}

weir_code_t weir_cpu_blocked_depthwise_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    return weir_cpu_finish_pack_query(
        node, input, WEIR_CPU_FORMAT_DEPTHWISE, depthwise_bytes(&node->inputs[1]), out_packing);
}

weir_code_t weir_cpu_blocked_depthwise_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    if (input != 1)
        return weir_cpu_blocked_pack(node, input, destination, bytes);
    const weir_tensor_t *w = &node->inputs[1];
    const uint64_t channels = (uint64_t)w->dims[0], taps = (uint64_t)(w->dims[2] * w->dims[3]);
    if (bytes < depthwise_bytes(w))
        return WEIR_INVALID_ARGUMENT;
    float *to = destination;
    const float *from = w->data;
    for (uint64_t c = 0; c < channels; c += WEIR_K_BLOCK)
        for (uint64_t tap = 0; tap < taps; tap++)
            for (uint64_t lane = c; lane < c + WEIR_K_BLOCK; lane++)
                *to++ = lane < channels ? from[lane * taps + tap] : 0.0f;
    return WEIR_OK;
}

weir_code_t weir_cpu_blocked_pool_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_not_f32(node, 1, out_support);
    if (code != WEIR_OK)
        return code;
    if (node->output_count > 1 && node->outputs[1].dtype != 0)
        return weir_cpu_refuse(out_support, "does not give the indices of maxima");
    if (!weir_cpu_is_blocked(&node->inputs[0]) || !weir_cpu_is_blocked(&node->outputs[0]))
        return weir_cpu_refuse(out_support, "takes and gives blocks only");
    for (uint32_t i = 0; i < 4; i++)
        if (weir_cpu_attribute_at(node, "pads", i, 0) < 0)
            return weir_cpu_refuse(out_support, "takes no negative pads");
    for (uint32_t i = 0; i < 2; i++)
        if (weir_cpu_attribute_at(node, "kernel_shape", i, 0) < 1)
            return weir_cpu_refuse(out_support, "the window is not known");
    return WEIR_OK;
}

// What lies behind the last element along an axis and is still counted.
static int64_t pad_end(const weir_node_t *node, uint32_t axis, int64_t begin, int64_t in,
    int64_t out, int64_t kernel, int64_t stride, int64_t dilation)
{
    const char *mode = weir_cpu_string(node, "auto_pad");
    if (!strncmp(mode, "SAME", 4))
        return WEIR_MAX((out - 1) * stride + (kernel - 1) * dilation + 1 - in - begin, 0);
    return !strcmp(mode, "VALID") ? 0 : weir_cpu_attribute_at(node, "pads", axis + 2, 0);
}

static void pool_shape(window_state_t *state, const weir_node_t *node)
{
    const int64_t *in = node->inputs[0].dims, *out = node->outputs[0].dims;
    weir_cpu_conv_shape_t *s = &state->shape;
    s->images = (uint64_t)in[0];
    s->height = in[2];
    s->width = in[3];
    s->out_height = out[2];
    s->out_width = out[3];
    s->kernel_height = weir_cpu_attribute_at(node, "kernel_shape", 0, 1);
    s->kernel_width = weir_cpu_attribute_at(node, "kernel_shape", 1, 1);
    s->stride_y = weir_cpu_attribute_at(node, "strides", 0, 1);
    s->stride_x = weir_cpu_attribute_at(node, "strides", 1, 1);
    s->dilation_y = weir_cpu_attribute_at(node, "dilations", 0, 1);
    s->dilation_x = weir_cpu_attribute_at(node, "dilations", 1, 1);
    s->pad_top = weir_cpu_pad_begin(
        node, 0, s->height, s->out_height, s->kernel_height, s->stride_y, s->dilation_y);
    s->pad_left = weir_cpu_pad_begin(
        node, 1, s->width, s->out_width, s->kernel_width, s->stride_x, s->dilation_x);
    if (weir_node_int(node, "count_include_pad", 0) == 0)
        return;
    state->count_top = s->pad_top;
    state->count_left = s->pad_left;
    state->count_bottom = pad_end(node, 0, s->pad_top, s->height, s->out_height, s->kernel_height,
        s->stride_y, s->dilation_y);
    state->count_right = pad_end(
        node, 1, s->pad_left, s->width, s->out_width, s->kernel_width, s->stride_x, s->dilation_x);
}

weir_code_t weir_cpu_blocked_window_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    window_state_t *state;
    const uint64_t finish_bytes = node->op[0] == 'C' ? weir_cpu_finish_bytes(node) : 0;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state) + finish_bytes, &state);
    if (code != WEIR_OK)
        return code;
    const char *wrong = NULL;
    state->is_conv = node->op[0] == 'C';
    if (state->is_conv) {
        state->row = state->kernels->depthwise_f32_x16;
        wrong = weir_cpu_conv_shape(node, &state->shape);
        if (!wrong && node->inputs[1].format != WEIR_CPU_FORMAT_DEPTHWISE)
            wrong = "the weights have not been packed";
        if (!wrong)
            wrong = weir_cpu_finish_init(&state->finish, state + 1, state->kernels, node);
    } else {
        const int is_max = node->op[0] == 'M';
        state->row = is_max ? state->kernels->maxpool_f32_x16 : state->kernels->averagepool_f32_x16;
        pool_shape(state, node);
        state->finish.channels = (uint64_t)node->outputs[0].dims[1];
        state->finish.out_blocks = weir_cpu_blocks(state->finish.channels);
        state->finish.pixels = (uint64_t)(node->outputs[0].dims[2] * node->outputs[0].dims[3]);
    }
    if (wrong) {
        host->free(host, state);
        return host->fail(host, WEIR_INVALID_ARGUMENT, "%s: %s", node->op, wrong);
    }
    const weir_cpu_conv_shape_t *s = &state->shape;
    const uint64_t pixels = (uint64_t)s->out_width;
    const uint64_t height = pixels ? (uint64_t)s->out_height : 0;
    state->rows = s->images * weir_cpu_blocks((uint64_t)node->outputs[0].dims[1]) * height;
    state->row_ns = pixels * (uint64_t)(s->kernel_height * s->kernel_width) / 4 + 10;
    if (state->finish.has_program)
        state->row_ns +=
            pixels * WEIR_K_BLOCK * weir_cpu_program_cost_ps(&state->finish.program) / 1000;
    state->rows_per_task = WEIR_MAX(1u, WEIR_CPU_TASK_NS / state->row_ns);
    out_prepared->state = state;
    out_prepared->scratch_bytes = state->finish.program.scratch_bytes;
    return WEIR_OK;
}

void weir_cpu_blocked_window_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const window_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->rows, state->rows_per_task, state->row_ns);
}

static void row_run(
    const window_state_t *state, const weir_task_t *task, uint64_t block, int64_t out_y)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    const int64_t top = out_y * s->stride_y - s->pad_top;
    int64_t begin = 0, end = 0, counted = 0;
    for (int64_t tap = 0; tap < s->kernel_height; tap++) {
        const int64_t y = top + tap * s->dilation_y;
        begin += y < 0;
        end += y < s->height;
        counted += y >= -state->count_top && y < s->height + state->count_bottom;
    }
    end = WEIR_MAX(begin, end);
    const uint64_t offset =
        ((block * (uint64_t)s->out_height + (uint64_t)out_y) * (uint64_t)s->out_width) *
        WEIR_K_BLOCK;
    const uint64_t row_floats = (uint64_t)s->width * WEIR_K_BLOCK;
    const uint64_t taps = (uint64_t)s->kernel_width;
    const uint64_t first_row =
        begin < end ? (uint64_t)(top + begin * s->dilation_y) : 0; // none is read if there is none
    weir_k_finish_t finish;
    weir_k_window_row_t row = {
        .pixels = (size_t)s->out_width,
        .rows = (size_t)(end - begin),
        .taps = taps,
        .x = (const float *)task->inputs[0].data +
             (block * (uint64_t)s->height + first_row) * row_floats,
        .x_row = (size_t)s->dilation_y * row_floats,
        .width = s->width,
        .stride = s->stride_x,
        .dilation = s->dilation_x,
        .pad = s->pad_left,
        .weight_row = taps * WEIR_K_BLOCK,
        .y = (float *)task->outputs[0].data + offset,
        .count_begin = -state->count_left,
        .count_end = s->width + state->count_right,
        .count_rows = (size_t)counted,
    };
    if (state->is_conv) {
        const uint64_t of_block = block % state->finish.out_blocks;
        row.weights = (const float *)task->inputs[1].data +
                      (of_block * (uint64_t)s->kernel_height + (uint64_t)begin) * row.weight_row;
        row.finish = weir_cpu_finish_of(&state->finish, task, block, offset, &finish);
    }
    state->row(&row);
}

weir_code_t weir_cpu_blocked_window_run(const weir_task_t *task)
{
    const window_state_t *state = task->state;
    const uint64_t height = (uint64_t)state->shape.out_height;
    const uint64_t width = (uint64_t)state->shape.out_width;
    uint64_t row, end;
    weir_cpu_task_range(task, state->rows, state->rows_per_task, &row, &end);
    weir_cpu_interpreter_t interpreter;
    if (state->finish.has_program && row < end)
        weir_cpu_interpreter_begin(
            &interpreter, &state->finish.program, task->inputs, task->outputs, task->scratch);
    while (row < end) {
        const uint64_t block = row / height, first = row % height;
        const uint64_t last = weir_cpu_min(height, first + end - row);
        for (uint64_t y = first; y < last; y++)
            row_run(state, task, block, (int64_t)y);
        weir_cpu_finish_apply(
            &state->finish, task, &interpreter, block, first * width, (last - first) * width);
        row += last - first;
    }
    return WEIR_OK;
}
