// Bytes that change their place or their meaning: Reorder and MaxPool in blocked format,
// QuantizeLinear and DequantizeLinear with one scale, in either format.
#include <string.h>

#include "backends/cpu/blocked.h"
#include "backends/cpu/conv_shape.h"
#include "backends/cpu/int8.h"

// ---- Reorder -----------------------------------------------------------------------------------

#define REORDER_PIXELS 4096u

typedef struct bytes_reorder_state {
    const weir_k_table_t *kernels;
    uint64_t channels, blocks, pixels, tasks_per_block, all_blocks;
    uint32_t to_blocks;
} bytes_reorder_state_t;

weir_code_t weir_cpu_bytes_reorder_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_plain(node, 1, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    const weir_tensor_t *row_major = weir_cpu_is_bytes_blocked(x) ? y : x;
    if (weir_cpu_is_bytes_blocked(x) == weir_cpu_is_bytes_blocked(y) || row_major->rank != 4 ||
        row_major->format != WEIR_FORMAT_ROW_MAJOR || row_major->strides)
        return weir_cpu_refuse(out_support, "goes between row-major and blocks of bytes only");
    return WEIR_OK;
}

weir_code_t weir_cpu_bytes_reorder_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    bytes_reorder_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0];
    state->to_blocks = !weir_cpu_is_bytes_blocked(x);
    state->channels = (uint64_t)x->dims[1];
    state->blocks = weir_cpu_blocks(state->channels);
    state->pixels = (uint64_t)x->dims[2] * (uint64_t)x->dims[3];
    state->all_blocks = state->pixels ? (uint64_t)x->dims[0] * state->blocks : 0;
    state->tasks_per_block = WEIR_DIV_UP(state->pixels, REORDER_PIXELS);
    out_prepared->state = state;
    return WEIR_OK;
}

void weir_cpu_bytes_reorder_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const bytes_reorder_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->all_blocks * state->tasks_per_block, 1,
        weir_cpu_min(state->pixels, REORDER_PIXELS) * 10 + 10);
}

weir_code_t weir_cpu_bytes_reorder_run(const weir_task_t *task)
{
    const bytes_reorder_state_t *state = task->state;
    const unsigned char *x = task->inputs[0].data;
    unsigned char *y = task->outputs[0].data;
    uint64_t i, end;
    weir_cpu_task_range(task, state->all_blocks * state->tasks_per_block, 1, &i, &end);
    for (; i < end; i++) {
        const uint64_t block = i / state->tasks_per_block, of_image = block % state->blocks;
        const uint64_t first = i % state->tasks_per_block * REORDER_PIXELS;
        const uint64_t pixels = weir_cpu_min(state->pixels - first, REORDER_PIXELS);
        const uint64_t channel = of_image * WEIR_K_BLOCK;
        const uint64_t channels = weir_cpu_min(state->channels - channel, WEIR_K_BLOCK);
        const uint64_t row_major =
            (block / state->blocks * state->channels + channel) * state->pixels + first;
        const uint64_t blocked = (block * state->pixels + first) * WEIR_K_BLOCK;
        for (uint64_t p = 0; p < pixels; p++)
            for (uint64_t c = 0; c < channels; c++)
                if (state->to_blocks)
                    y[blocked + p * WEIR_K_BLOCK + c] = x[row_major + c * state->pixels + p];
                else
                    y[row_major + c * state->pixels + p] = x[blocked + p * WEIR_K_BLOCK + c];
        if (state->to_blocks)
            weir_cpu_bytes_clear(y + blocked, pixels, channels);
    }
    return WEIR_OK;
}

// ---- MaxPool -----------------------------------------------------------------------------------

#define POOL_TAPS 64

typedef struct bytes_pool_state {
    const weir_k_table_t *kernels;
    const weir_k_low_table_t *low;
    weir_cpu_conv_shape_t shape;
    uint64_t channels, rows, rows_per_task, row_ns;
    uint64_t planes; // of one image: blocks of channels, or channels
    uint64_t lanes;  // of a pixel of one
    unsigned char flip;
} bytes_pool_state_t;

weir_code_t weir_cpu_bytes_pool_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_plain(node, 1, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    if (!weir_cpu_is_bytes(x) || x->rank != 4 || x->format != y->format ||
        (x->format == WEIR_FORMAT_ROW_MAJOR ? 0 : !weir_cpu_is_bytes_blocked(x)) ||
        node->output_count > 1)
        return weir_cpu_refuse(out_support, "takes bytes of two spatial dims only");
    const int64_t taps = weir_cpu_attribute_at(node, "kernel_shape", 0, 1) *
                         weir_cpu_attribute_at(node, "kernel_shape", 1, 1);
    if (taps > POOL_TAPS || weir_node_int(node, "ceil_mode", 0))
        return weir_cpu_refuse(out_support, "takes up to 64 taps, and no ceil_mode");
    return WEIR_OK;
}

weir_code_t weir_cpu_bytes_pool_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    bytes_pool_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    weir_cpu_conv_shape_t *s = &state->shape;
    int64_t *const kernel[2] = {&s->kernel_height, &s->kernel_width};
    int64_t *const stride[2] = {&s->stride_y, &s->stride_x};
    int64_t *const dilation[2] = {&s->dilation_y, &s->dilation_x};
    int64_t *const pad[2] = {&s->pad_top, &s->pad_left};
    for (uint32_t i = 0; i < 2; i++) {
        *kernel[i] = weir_cpu_attribute_at(node, "kernel_shape", i, 1);
        *stride[i] = weir_cpu_attribute_at(node, "strides", i, 1);
        *dilation[i] = weir_cpu_attribute_at(node, "dilations", i, 1);
        *pad[i] = weir_cpu_pad_begin(
            node, i, x->dims[2 + i], y->dims[2 + i], *kernel[i], *stride[i], *dilation[i]);
    }
    s->height = x->dims[2];
    s->width = x->dims[3];
    s->out_height = y->dims[2];
    s->out_width = y->dims[3];
    state->low = weir_cpu_low_table(host);
    state->flip = weir_cpu_flip(x);
    state->channels = (uint64_t)x->dims[1];
    const int is_blocked = x->format != WEIR_FORMAT_ROW_MAJOR;
    state->lanes = is_blocked ? WEIR_K_BLOCK : 1;
    state->planes = is_blocked ? weir_cpu_blocks(state->channels) : state->channels;
    state->rows = s->out_width ? (uint64_t)x->dims[0] * state->planes * (uint64_t)s->out_height : 0;
    state->row_ns = (uint64_t)(s->out_width * s->kernel_height * s->kernel_width) + 10;
    state->rows_per_task = WEIR_MAX(1u, WEIR_CPU_TASK_NS / state->row_ns);
    out_prepared->state = state;
    out_prepared->scratch_bytes = (uint64_t)WEIR_MAX(s->width, 0) * state->lanes;
    return WEIR_OK;
}

void weir_cpu_bytes_pool_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const bytes_pool_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->rows, state->rows_per_task, state->row_ns);
}

// The greatest of the rows that the windows of one row of outputs cover, byte by byte, each with
// its top bit turned for i8; 0 where there is none.
static void rows_pool(
    const bytes_pool_state_t *state, const unsigned char *x, int64_t out_y, unsigned char *most)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    const uint64_t bytes = (uint64_t)s->width * state->lanes;
    const unsigned char flip = state->flip;
    memset(most, 0, bytes);
    for (int64_t ky = 0; ky < s->kernel_height; ky++) {
        const int64_t in_y = out_y * s->stride_y - s->pad_top + ky * s->dilation_y;
        if (in_y < 0 || in_y >= s->height)
            continue;
        const unsigned char *row = x + (uint64_t)in_y * bytes;
        for (uint64_t i = 0; i < bytes; i++) {
            const unsigned char here = row[i] ^ flip;
            most[i] = here > most[i] ? here : most[i];
        }
    }
}

// Output column out_x, from what rows_pool() made.
static void pixel_pool(
    const bytes_pool_state_t *state, const unsigned char *rows, int64_t out_x, unsigned char *y)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    const unsigned char *columns[POOL_TAPS];
    size_t count = 0;
    for (int64_t kx = 0; kx < s->kernel_width; kx++) {
        const int64_t in_x = out_x * s->stride_x - s->pad_left + kx * s->dilation_x;
        if (in_x >= 0 && in_x < s->width)
            columns[count++] = rows + (uint64_t)in_x * state->lanes;
    }
    if (state->lanes == WEIR_K_BLOCK) {
        state->low->max_u8_x16(count, columns, 0, y);
    } else {
        *y = 0;
        for (size_t i = 0; i < count; i++)
            *y = WEIR_MAX(*y, columns[i][0]);
    }
    for (uint64_t lane = 0; state->flip && lane < state->lanes; lane++)
        y[lane] ^= state->flip;
}

weir_code_t weir_cpu_bytes_pool_run(const weir_task_t *task)
{
    const bytes_pool_state_t *state = task->state;
    const weir_cpu_conv_shape_t *s = &state->shape;
    uint64_t row, end;
    weir_cpu_task_range(task, state->rows, state->rows_per_task, &row, &end);
    for (; row < end; row++) {
        const uint64_t plane = row / (uint64_t)s->out_height;
        const unsigned char *x = (const unsigned char *)task->inputs[0].data +
                                 plane * (uint64_t)(s->height * s->width) * state->lanes;
        unsigned char *y =
            (unsigned char *)task->outputs[0].data + row * (uint64_t)s->out_width * state->lanes;
        rows_pool(state, x, (int64_t)(row % (uint64_t)s->out_height), task->scratch);
        for (int64_t out_x = 0; out_x < s->out_width; out_x++)
            pixel_pool(state, task->scratch, out_x, y + (uint64_t)out_x * state->lanes);
        if (state->lanes == WEIR_K_BLOCK && plane % state->planes + 1 == state->planes)
            weir_cpu_bytes_clear(y, (uint64_t)s->out_width, state->channels);
    }
    return WEIR_OK;
}

// ---- QuantizeLinear and DequantizeLinear -------------------------------------------------------

#define LINEAR_ELEMENTS 16384u

typedef struct linear_state {
    const weir_k_table_t *kernels;
    const weir_k_low_table_t *low;
    uint64_t count;           // elements, those that fill up blocks included
    uint64_t channels, plane; // of a blocked tensor: elements of one block of channels
    uint32_t is_quantizing;
    unsigned char flip;
} linear_state_t;

static const weir_tensor_t *bytes_of(const weir_node_t *node)
{
    return node->op[0] == 'Q' ? &node->outputs[0] : &node->inputs[0];
}

weir_code_t weir_cpu_linear_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_plain(node, 2, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0], *scale = &node->inputs[1];
    if (!weir_cpu_is_bytes(bytes_of(node)) || scale->dtype != WEIR_F32 ||
        (node->op[0] == 'Q' ? x : y)->dtype != WEIR_F32)
        return weir_cpu_refuse(out_support, "takes u8 and i8 only");
    if (scale->rank > 1 || (scale->rank == 1 && scale->dims[0] != 1))
        return weir_cpu_refuse(out_support, "takes one scale only");
    if (x->format != y->format || (x->format == WEIR_FORMAT_NCHW16C && x->rank != 4))
        return weir_cpu_refuse(out_support, "keeps the format");
    return WEIR_OK;
}

weir_code_t weir_cpu_linear_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    linear_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0];
    state->low = weir_cpu_low_table(host);
    state->count = weir_cpu_product(x->dims, 0, x->rank);
    if (x->format == WEIR_FORMAT_NCHW16C) {
        state->channels = (uint64_t)x->dims[1];
        state->plane = (uint64_t)(x->dims[2] * x->dims[3]) * WEIR_K_BLOCK;
        state->count = (uint64_t)x->dims[0] * weir_cpu_blocks(state->channels) * state->plane;
    }
    state->is_quantizing = node->op[0] == 'Q';
    state->flip = weir_cpu_flip(bytes_of(node));
    out_prepared->state = state;
    return WEIR_OK;
}

void weir_cpu_linear_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const linear_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(
        out_tasks, WEIR_DIV_UP(state->count, LINEAR_ELEMENTS), 1, LINEAR_ELEMENTS / 4);
}

// What fills up a last block of channels is 0 again.
static void tails_clear(
    const linear_state_t *state, const weir_task_t *task, uint64_t first, uint64_t end)
{
    const uint64_t blocks = weir_cpu_blocks(state->channels);
    for (uint64_t at = first; at < end; at += WEIR_K_BLOCK)
        if (at / state->plane % blocks + 1 == blocks) {
            if (state->is_quantizing)
                weir_cpu_bytes_clear(
                    (unsigned char *)task->outputs[0].data + at, 1, state->channels);
            else
                weir_cpu_blocked_clear((float *)task->outputs[0].data + at, 1, state->channels);
        }
}

weir_code_t weir_cpu_linear_run(const weir_task_t *task)
{
    const linear_state_t *state = task->state;
    const weir_node_t seen = {.inputs = task->inputs};
    const float scale = *(const float *)task->inputs[1].data;
    const int has_zero = task->node->input_count > 2 && task->inputs[2].dtype != 0;
    const float zero = (float)(has_zero ? weir_cpu_zero(&seen, 2) : state->flip);
    uint64_t first, end;
    weir_cpu_task_range(task, WEIR_DIV_UP(state->count, LINEAR_ELEMENTS), 1, &first, &end);
    first *= LINEAR_ELEMENTS;
    end = weir_cpu_min(end * LINEAR_ELEMENTS, state->count);
    if (first >= end)
        return WEIR_OK;
    if (state->is_quantizing)
        state->low->quantize_u8(end - first, (const float *)task->inputs[0].data + first, scale,
            zero, state->flip, (unsigned char *)task->outputs[0].data + first);
    else
        state->low->dequantize_u8(end - first, (const unsigned char *)task->inputs[0].data + first,
            scale, zero, state->flip, (float *)task->outputs[0].data + first);
    if (state->channels % WEIR_K_BLOCK)
        tails_clear(state, task, first, end);
    return WEIR_OK;
}
