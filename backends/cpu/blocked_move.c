// What moves elements in blocked format: Reorder between row-major and blocks, Concat, and Resize
// to whole multiples by the nearest element. No value is changed.
#include <string.h>

#include "backends/cpu/blocked.h"
#include "backends/cpu/common.h"

// ---------------------------------------------------------------------------------------------
// Reorder

typedef struct reorder_state {
    const weir_k_table_t *kernels;
    uint64_t channels, blocks, all_blocks, pixels;
    uint64_t pixels_per_task, tasks_per_block;
    uint32_t to_blocks;
} reorder_state_t;

weir_code_t weir_cpu_reorder_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_not_f32(node, 1, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    const weir_tensor_t *row_major = weir_cpu_is_blocked(x) ? y : x;
    if (weir_cpu_is_blocked(x) == weir_cpu_is_blocked(y) || row_major->rank != 4 ||
        row_major->format != WEIR_FORMAT_ROW_MAJOR || row_major->strides)
        return weir_cpu_refuse(out_support, "goes between row-major and blocks only");
    return WEIR_OK;
}

weir_code_t weir_cpu_reorder_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    reorder_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0];
    state->to_blocks = !weir_cpu_is_blocked(x);
    state->channels = (uint64_t)x->dims[1];
    state->blocks = weir_cpu_blocks(state->channels);
    state->pixels = (uint64_t)x->dims[2] * (uint64_t)x->dims[3];
    state->all_blocks = state->pixels ? (uint64_t)x->dims[0] * state->blocks : 0;
    state->pixels_per_task = 4096;
    state->tasks_per_block = WEIR_DIV_UP(state->pixels, state->pixels_per_task);
    out_prepared->state = state;
    return WEIR_OK;
}

void weir_cpu_reorder_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const reorder_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->all_blocks * state->tasks_per_block, 1,
        weir_cpu_min(state->pixels, state->pixels_per_task) * 5 + 10);
}

weir_code_t weir_cpu_reorder_run(const weir_task_t *task)
{
    const reorder_state_t *state = task->state;
    uint64_t i, end;
    weir_cpu_task_range(task, state->all_blocks * state->tasks_per_block, 1, &i, &end);
    for (; i < end; i++) {
        const uint64_t block = i / state->tasks_per_block, of_image = block % state->blocks;
        const uint64_t first = i % state->tasks_per_block * state->pixels_per_task;
        const uint64_t pixels = weir_cpu_min(state->pixels - first, state->pixels_per_task);
        const uint64_t channel = of_image * WEIR_K_BLOCK;
        const uint64_t channels = weir_cpu_min(state->channels - channel, WEIR_K_BLOCK);
        const uint64_t row_major =
            (block / state->blocks * state->channels + channel) * state->pixels + first;
        const uint64_t blocked = (block * state->pixels + first) * WEIR_K_BLOCK;
        const float *x = task->inputs[0].data;
        float *y = task->outputs[0].data;
        if (state->to_blocks)
            state->kernels->block_f32_x16(
                pixels, channels, x + row_major, state->pixels, y + blocked);
        else
            state->kernels->unblock_f32_x16(
                pixels, channels, x + blocked, y + row_major, state->pixels);
    }
    return WEIR_OK;
}

// ---------------------------------------------------------------------------------------------
// Concat

typedef struct concat_state {
    const weir_k_table_t *kernels;
    uint32_t axis;
    uint64_t rows, row_floats; // of the output: what lies before the axis, and one row
} concat_state_t;

weir_code_t weir_cpu_blocked_concat_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_not_f32(node, 1, out_support);
    if (code != WEIR_OK)
        return code;
    if (!weir_cpu_is_blocked(&node->outputs[0]))
        return weir_cpu_refuse(out_support, "gives blocks only");
    for (uint32_t i = 0; i < node->input_count; i++)
        if (!weir_cpu_is_blocked(&node->inputs[i]))
            return weir_cpu_refuse(out_support, "takes blocks only");
    return weir_cpu_axis(weir_node_int(node, "axis", 0), 4) < 0
               ? weir_cpu_refuse(out_support, "the axis is not one of the inputs")
               : WEIR_OK;
}

// Floats of one row of a tensor: from `axis` on. A row of the axis 1 is an image.
static uint64_t row_floats(const weir_tensor_t *tensor, uint32_t axis)
{
    const uint64_t dims[4] = {(uint64_t)tensor->dims[0], weir_cpu_blocks((uint64_t)tensor->dims[1]),
        (uint64_t)tensor->dims[2], (uint64_t)tensor->dims[3]};
    uint64_t floats = WEIR_K_BLOCK;
    for (uint32_t d = axis; d < 4; d++)
        floats *= dims[d];
    return floats;
}

weir_code_t weir_cpu_blocked_concat_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    concat_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *y = &node->outputs[0];
    state->axis = (uint32_t)weir_cpu_axis(weir_node_int(node, "axis", 0), 4);
    state->row_floats = row_floats(y, state->axis);
    state->rows = state->row_floats ? row_floats(y, 0) / state->row_floats : 0;
    out_prepared->state = state;
    return WEIR_OK;
}

// Along the channels a task is one block of the output, else one row of one input.
static uint64_t concat_units(const concat_state_t *state, const weir_node_t *node)
{
    return state->axis == 1 ? state->rows * weir_cpu_blocks((uint64_t)node->outputs[0].dims[1])
                            : state->rows * node->input_count;
}

void weir_cpu_blocked_concat_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const concat_state_t *state = opaque;
    const uint64_t units = concat_units(state, node);
    const uint64_t unit_ns = units ? WEIR_MAX(1u, state->rows * state->row_floats / units / 10) : 1;
    weir_cpu_tasks_one(out_tasks, units, 1, unit_ns);
}

// Block `block` of the output's channels of one image, put together from the inputs that reach it.
static void channels_run(
    const weir_task_t *task, uint64_t image, uint64_t block, uint64_t pixels, uint64_t channels)
{
    const weir_node_t *node = task->node;
    float *y = (float *)task->outputs[0].data +
               (image * weir_cpu_blocks(channels) + block) * pixels * WEIR_K_BLOCK;
    const uint64_t begin = block * WEIR_K_BLOCK;
    uint64_t from = 0; // the first channel of an input
    for (uint32_t i = 0; i < node->input_count && from < begin + WEIR_K_BLOCK; i++) {
        const uint64_t own = (uint64_t)task->inputs[i].dims[1];
        const float *x = (const float *)task->inputs[i].data +
                         image * weir_cpu_blocks(own) * pixels * WEIR_K_BLOCK;
        uint64_t channel = WEIR_MAX(begin, from);
        const uint64_t end = weir_cpu_min(begin + WEIR_K_BLOCK, from + own);
        while (channel < end) {
            const uint64_t source = channel - from, lane = channel - begin;
            const uint64_t lanes =
                weir_cpu_min(end - channel, WEIR_K_BLOCK - source % WEIR_K_BLOCK);
            const float *at = x + source / WEIR_K_BLOCK * pixels * WEIR_K_BLOCK;
            if (lanes == WEIR_K_BLOCK)
                memcpy(y, at, pixels * WEIR_K_BLOCK * sizeof(*y));
            else if (lanes == WEIR_K_BLOCK / 2)
                for (uint64_t p = 0; p < pixels; p++)
                    memcpy(y + p * WEIR_K_BLOCK + lane,
                        at + p * WEIR_K_BLOCK + source % WEIR_K_BLOCK,
                        WEIR_K_BLOCK / 2 * sizeof(*y));
            else
                for (uint64_t p = 0; p < pixels; p++)
                    for (uint64_t l = 0; l < lanes; l++)
                        y[p * WEIR_K_BLOCK + lane + l] =
                            at[p * WEIR_K_BLOCK + source % WEIR_K_BLOCK + l];
            channel += lanes;
        }
        from += own;
    }
    if (begin + WEIR_K_BLOCK > channels)
        weir_cpu_blocked_clear(y, pixels, channels);
}

weir_code_t weir_cpu_blocked_concat_run(const weir_task_t *task)
{
    const concat_state_t *state = task->state;
    const weir_tensor_t *y = &task->outputs[0];
    const uint64_t blocks = weir_cpu_blocks((uint64_t)y->dims[1]);
    uint64_t unit, end;
    weir_cpu_task_range(task, concat_units(state, task->node), 1, &unit, &end);
    for (; unit < end; unit++) {
        if (state->axis == 1) {
            channels_run(task, unit / blocks, unit % blocks,
                (uint64_t)y->dims[2] * (uint64_t)y->dims[3], (uint64_t)y->dims[1]);
            continue;
        }
        const uint32_t input = (uint32_t)(unit % task->node->input_count);
        const uint64_t row = unit / task->node->input_count;
        uint64_t before = 0;
        for (uint32_t i = 0; i < input; i++)
            before += row_floats(&task->inputs[i], state->axis);
        const uint64_t floats = row_floats(&task->inputs[input], state->axis);
        if (floats > 0)
            memcpy((float *)y->data + row * state->row_floats + before,
                (const float *)task->inputs[input].data + row * floats, floats * sizeof(float));
    }
    return WEIR_OK;
}

// ---------------------------------------------------------------------------------------------
// Resize

typedef struct resize_state {
    const weir_k_table_t *kernels;
    uint64_t rows, height, width, factor_y, factor_x; // of the input; rows: of all blocks
} resize_state_t;

// The whole factor by which axis `axis` grows, or 0.
static uint64_t factor_of(const weir_node_t *node, uint32_t axis)
{
    const weir_tensor_t *scales = node->input_count > 1 ? &node->inputs[1] : NULL;
    if (!scales || scales->dtype != WEIR_F32 || scales->element_count != 4 || !scales->data)
        return 0;
    const float scale = ((const float *)scales->data)[axis];
    const uint64_t factor = scale >= 1.0f && scale <= 64.0f ? (uint64_t)scale : 0;
    return (float)factor == scale ? factor : 0;
}

weir_code_t weir_cpu_blocked_resize_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_not_f32(node, 1, out_support);
    if (code != WEIR_OK)
        return code;
    if (!weir_cpu_is_blocked(&node->inputs[0]) || !weir_cpu_is_blocked(&node->outputs[0]))
        return weir_cpu_refuse(out_support, "takes and gives blocks only");
    const weir_attribute_t *axes = weir_node_attribute(node, "axes");
    if (strcmp(weir_cpu_string(node, "mode"), "nearest") || (axes && axes->count > 0) ||
        !weir_cpu_is_constant(&node->inputs[1]) || factor_of(node, 0) != 1 ||
        factor_of(node, 1) != 1 || factor_of(node, 2) == 0 || factor_of(node, 3) == 0)
        return weir_cpu_refuse(out_support, "takes the nearest element and whole factors only");
    const char *place = weir_cpu_string(node, "coordinate_transformation_mode");
    const char *nearest = weir_cpu_string(node, "nearest_mode");
    const int floors = !strcmp(place, "asymmetric") && !strcmp(nearest, "floor");
    // The middle of an output lies less than half an element from the middle of its input.
    const int rounds = !strcmp(place, "half_pixel") && !strncmp(nearest, "round", 5);
    return floors || rounds ? WEIR_OK : weir_cpu_refuse(out_support, "takes asymmetric floor only");
}

weir_code_t weir_cpu_blocked_resize_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    resize_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0];
    state->factor_y = factor_of(node, 2);
    state->factor_x = factor_of(node, 3);
    state->height = (uint64_t)x->dims[2];
    state->width = (uint64_t)x->dims[3];
    state->rows = (uint64_t)x->dims[0] * weir_cpu_blocks((uint64_t)x->dims[1]) * state->height;
    out_prepared->state = state;
    return WEIR_OK;
}

static uint64_t resize_rows_per_task(const resize_state_t *state)
{
    const uint64_t pixels = state->width * state->factor_x * state->factor_y;
    return WEIR_MAX(1u, WEIR_CPU_TASK_NS / (pixels * 4 + 1));
}

void weir_cpu_blocked_resize_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const resize_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->rows, resize_rows_per_task(state),
        state->width * state->factor_x * state->factor_y * 4 + 1);
}

weir_code_t weir_cpu_blocked_resize_run(const weir_task_t *task)
{
    const resize_state_t *state = task->state;
    const uint64_t out_floats = state->width * state->factor_x * WEIR_K_BLOCK;
    uint64_t row, end;
    weir_cpu_task_range(task, state->rows, resize_rows_per_task(state), &row, &end);
    for (; row < end; row++) {
        const float *x = (const float *)task->inputs[0].data + row * state->width * WEIR_K_BLOCK;
        float *first = (float *)task->outputs[0].data + row * state->factor_y * out_floats;
        float *y = first;
        for (uint64_t p = 0; p < state->width; p++, x += WEIR_K_BLOCK)
            for (uint64_t i = 0; i < state->factor_x; i++, y += WEIR_K_BLOCK)
                memcpy(y, x, WEIR_K_BLOCK * sizeof(*y));
        for (uint64_t i = 1; i < state->factor_y && out_floats > 0; i++)
            memcpy(first + i * out_floats, first, out_floats * sizeof(*y));
    }
    return WEIR_OK;
}
