// Conv in blocked format, two spatial dims, direct: strips of pixels times groups of up to four
// blocks of output channels, without a matrix in between.
//
// A strip whose taps reach over the edge is first copied with its padding, so that every output has
// all taps and one chain over (channel block, ky, kx, channel); the channels of a last block that
// is not full come after all others. An input of few channels may come row-major; it is copied with
// its channels side by side. Without padding the input is read where it lies. Depthwise is in
// blocked_window.c.
#include <string.h>

#include "backends/cpu/anchor.h"
#include "backends/cpu/blocked.h"
#include "backends/cpu/common.h"
#include "backends/cpu/conv_shape.h"

#define FIRST_CHANNELS 4u // of a row-major input, at most
#define STRIP_PIXELS 480u
#define FIRST_STRIP_PIXELS 960u // of few channels: rows that strips share are copied again
#define STRIP_BYTES (512u * 1024u)
#define WEIGHT_BYTES (160u * 1024u) // of one pass over a strip: they stay in L2
#define ENOUGH_TASKS 12u
#define SMALL_MACS 1000000u // a task below this is not divided

typedef struct conv_state {
    const weir_k_table_t *kernels;
    weir_cpu_conv_shape_t shape;
    uint64_t full_blocks, tail;          // of one group's input channels
    uint64_t blocks, quads;              // of one group's output channels
    uint64_t taps, k;                    // k: of the whole chain
    uint64_t pixels, pixel_floats;       // outputs of an image; from one input column to the next
    uint64_t columns, chunk_floats;      // of the input as the kernel sees it
    uint64_t strip_pixels, strips;       // of one group of one image
    uint64_t quads_per_task, quad_tasks; // of one strip
    uint32_t is_copied, is_row_major;    // the input
    uint64_t full_taps, full_inner, tail_taps, tail_inner;
    uint64_t at_offset, program_offset; // in the scratch
    weir_cpu_finish_t finish;
    uint32_t tap_at[]; // full_taps, then tail_taps; behind them the finish's memory
} conv_state_t;

static weir_code_t supports(const weir_node_t *node, int is_row_major, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_finish_supports(node, 3, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0], *w = &node->inputs[1];
    if (x->rank != 4 || w->rank != 4 || !(w->flags & WEIR_TENSOR_CONSTANT))
        return weir_cpu_refuse(out_support, "takes two spatial dims and constant weights only");
    const int64_t groups = weir_node_int(node, "group", 1);
    if (groups < 1 || w->dims[0] % groups || w->element_count == 0)
        return weir_cpu_refuse(out_support, "the channels do not fit the groups");
    if (w->dims[2] * w->dims[3] > 1024)
        return weir_cpu_refuse(out_support, "takes up to 1024 taps");
    for (uint32_t i = 0; i < 4; i++)
        if (weir_cpu_attribute_at(node, "pads", i, 0) < 0)
            return weir_cpu_refuse(out_support, "takes no negative pads");
    if (is_row_major) {
        if (x->format != WEIR_FORMAT_ROW_MAJOR || groups != 1 || w->dims[1] > FIRST_CHANNELS)
            return weir_cpu_refuse(out_support, "takes few row-major channels only");
        return WEIR_OK;
    }
    if (!weir_cpu_is_blocked(x))
        return weir_cpu_refuse(out_support, "takes blocks only");
    if (groups > 1 && (w->dims[1] % WEIR_K_BLOCK || w->dims[0] / groups % WEIR_K_BLOCK))
        return weir_cpu_refuse(out_support, "the groups are not of whole blocks");
    return WEIR_OK;
}

weir_code_t weir_cpu_blocked_conv_supports(const weir_node_t *node, weir_support_t *out_support)
{
    return supports(node, 0, out_support);
}

weir_code_t weir_cpu_first_conv_supports(const weir_node_t *node, weir_support_t *out_support)
{
    return supports(node, 1, out_support);
}

static int is_row_major(const weir_node_t *node)
{
    return node->inputs[0].format == WEIR_FORMAT_ROW_MAJOR;
}

static uint32_t weights_format(const weir_node_t *node)
{
    return is_row_major(node) ? WEIR_CPU_FORMAT_FIRST : WEIR_CPU_FORMAT_CONV;
}

static uint64_t weight_floats(const weir_node_t *node)
{
    const weir_tensor_t *w = &node->inputs[1];
    const uint64_t groups = (uint64_t)weir_node_int(node, "group", 1);
    return groups * weir_cpu_blocks((uint64_t)w->dims[0] / groups) * WEIR_K_BLOCK *
           (uint64_t)w->dims[1] * (uint64_t)w->dims[2] * (uint64_t)w->dims[3];
}

weir_code_t weir_cpu_blocked_conv_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    return weir_cpu_finish_pack_query(
        node, input, weights_format(node), weight_floats(node) * sizeof(float), out_packing);
}

// One row of a quad: the weights of its channels for one element of the chain.
static float *row_pack(const float *from, uint64_t channel_floats, uint64_t first, uint64_t lanes,
    uint64_t channels, float *to)
{
    for (uint64_t lane = 0; lane < lanes; lane++)
        *to++ = first + lane < channels ? from[(first + lane) * channel_floats] : 0.0f;
    return to;
}

weir_code_t weir_cpu_blocked_conv_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    if (input != 1)
        return weir_cpu_blocked_pack(node, input, destination, bytes);
    if (bytes < weight_floats(node) * sizeof(float))
        return WEIR_INVALID_ARGUMENT;
    const weir_tensor_t *w = &node->inputs[1];
    const uint64_t groups = (uint64_t)weir_node_int(node, "group", 1);
    const uint64_t outputs = (uint64_t)w->dims[0] / groups, inputs = (uint64_t)w->dims[1];
    const uint64_t taps = (uint64_t)w->dims[2] * (uint64_t)w->dims[3];
    const uint64_t blocks = weir_cpu_blocks(outputs);
    const uint64_t together = is_row_major(node) ? 1 : WEIR_K_BLOCK; // channels at each tap
    float *to = destination;
    for (uint64_t group = 0; group < groups; group++) {
        const float *from = (const float *)w->data + group * outputs * inputs * taps;
        for (uint64_t quad = 0; quad < weir_cpu_quads(blocks); quad++) {
            const uint64_t first = weir_cpu_quad_begin(blocks, quad) * WEIR_K_BLOCK;
            const uint64_t lanes = weir_cpu_quad_begin(blocks, quad + 1) * WEIR_K_BLOCK - first;
            for (uint64_t c = 0; c < inputs; c += together)
                for (uint64_t tap = 0; tap < taps; tap++)
                    for (uint64_t i = c; i < c + together && i < inputs; i++)
                        to = row_pack(
                            from + i * taps + tap, inputs * taps, first, lanes, outputs, to);
        }
    }
    return WEIR_OK;
}

// Where the taps of each channel lie: all of them, or the first of each row.
static void taps_place(
    const conv_state_t *state, uint64_t channels, uint64_t count, uint32_t *out_at)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    const uint64_t of_channel = count / channels;
    const uint64_t width = of_channel == state->taps ? (uint64_t)s->kernel_width : 1;
    for (uint64_t tap = 0; tap < count; tap++) {
        const uint64_t ky = tap % of_channel / width, kx = tap % of_channel % width;
        out_at[tap] = (uint32_t)(tap / of_channel * state->chunk_floats +
                                 (ky * (uint64_t)s->dilation_y * state->columns +
                                     kx * (uint64_t)s->dilation_x) *
                                     state->pixel_floats);
    }
}

// How the kernel walks the input: what its taps are, and where it finds a pixel.
static void walk_init(conv_state_t *state)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    const int64_t reach_y = (s->kernel_height - 1) * s->dilation_y;
    const int64_t reach_x = (s->kernel_width - 1) * s->dilation_x;
    const int64_t rows = (s->out_height - 1) * s->stride_y + reach_y + 1;
    const int64_t columns = (s->out_width - 1) * s->stride_x + reach_x + 1;
    state->is_copied = state->is_row_major || s->pad_top > 0 || s->pad_left > 0 ||
                       rows > s->height || columns > s->width;
    state->columns = (uint64_t)(state->is_copied ? columns : s->width);
    state->pixel_floats = state->is_row_major ? 1 : WEIR_K_BLOCK;
    if (state->is_row_major)
        return;
    const int dense = s->dilation_x == 1; // the taps of a row lie side by side
    state->full_taps = dense ? (uint64_t)s->kernel_height : state->taps;
    state->full_inner = state->taps / state->full_taps * WEIR_K_BLOCK;
    state->tail_taps = state->taps;
    state->tail_inner = state->tail;
    taps_place(state, 1, state->full_taps, state->tap_at);
    taps_place(state, 1, state->tail_taps, state->tap_at + state->full_taps);
}

// With a row-major input every element of the chain is a tap of its own: (channel, ky, kx).
static void first_walk_init(conv_state_t *state)
{
    state->tail_taps = state->k;
    state->tail_inner = 1;
    taps_place(state, state->shape.group_inputs, state->tail_taps, state->tap_at);
}

// Input rows that `rows` output rows need.
static uint64_t rows_needed(const conv_state_t *state, uint64_t rows)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    return (rows - 1) * (uint64_t)s->stride_y + (uint64_t)((s->kernel_height - 1) * s->dilation_y) +
           1;
}

// Planes of one group's input: blocks of channels, or channels.
static uint64_t planes_of(const conv_state_t *state)
{
    const uint64_t channels = state->shape.group_inputs;
    return state->is_row_major ? channels : weir_cpu_blocks(channels);
}

static uint64_t strip_floats(const conv_state_t *state, uint64_t pixels)
{
    const uint64_t rows = rows_needed(state, pixels / (uint64_t)state->shape.out_width);
    return rows * state->columns * state->pixel_floats * planes_of(state);
}

// Divides the pixels so that the parts are about equal, of whole rows if the strip is copied.
static void strips_divide(conv_state_t *state, uint64_t most)
{
    const uint64_t width = (uint64_t)state->shape.out_width;
    const uint64_t unit = state->is_copied ? width : 24;
    uint64_t count = WEIR_DIV_UP(state->pixels, WEIR_MAX(most, unit));
    state->strip_pixels = weir_cpu_round_up(WEIR_DIV_UP(state->pixels, count), unit);
    while (state->is_copied && state->strip_pixels > width &&
           strip_floats(state, state->strip_pixels) * sizeof(float) > STRIP_BYTES)
        state->strip_pixels -= width;
    state->strips = WEIR_DIV_UP(state->pixels, state->strip_pixels);
}

static uint64_t task_total(const conv_state_t *state)
{
    if (state->pixels == 0)
        return 0;
    return state->shape.images * state->shape.groups * state->strips * state->quad_tasks;
}

static uint64_t task_macs(const conv_state_t *state)
{
    return state->strip_pixels * state->k *
           weir_cpu_min(state->quads_per_task * WEIR_CPU_QUAD, state->blocks) * WEIR_K_BLOCK;
}

// Output channels are divided before the pixels become few: a strip's copy costs less than weights
// that are read once more.
static void tasks_divide(conv_state_t *state)
{
    if (state->pixels == 0)
        return;
    const uint64_t most_pixels = state->is_row_major ? FIRST_STRIP_PIXELS : STRIP_PIXELS;
    strips_divide(state, most_pixels);
    for (uint64_t per_task = state->quads;; per_task = WEIR_DIV_UP(per_task, 2)) {
        state->quads_per_task = per_task;
        state->quad_tasks = WEIR_DIV_UP(state->quads, per_task);
        if (per_task == 1 || task_total(state) >= ENOUGH_TASKS || task_macs(state) < SMALL_MACS)
            break;
    }
    for (uint64_t most = most_pixels / 2; most >= 60; most /= 2) {
        if (task_total(state) >= ENOUGH_TASKS || task_macs(state) < SMALL_MACS)
            break;
        strips_divide(state, most);
    }
}

static const char *state_init(conv_state_t *state, const weir_node_t *node)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    state->is_row_major = (uint32_t)is_row_major(node);
    state->full_blocks = state->is_row_major ? 0 : s->group_inputs / WEIR_K_BLOCK;
    state->tail = s->group_inputs - state->full_blocks * WEIR_K_BLOCK;
    state->blocks = weir_cpu_blocks(s->group_outputs);
    state->quads = weir_cpu_quads(state->blocks);
    state->k = state->taps * s->group_inputs;
    state->pixels = (uint64_t)s->out_height * (uint64_t)s->out_width;
    if (state->pixels == 0)
        return NULL;
    walk_init(state);
    tasks_divide(state);
    if (node->inputs[1].format != weights_format(node))
        return "the weights have not been packed";
    const uint64_t plane = state->columns * (uint64_t)WEIR_MAX(s->height, 1);
    const uint64_t copied = state->is_copied ? strip_floats(state, state->strip_pixels) : 0;
    if (plane > UINT32_MAX / 64 || copied > UINT32_MAX / 2)
        return "a plane is too large";
    const uint64_t rows =
        state->is_copied ? rows_needed(state, state->strip_pixels / (uint64_t)s->out_width) : 0;
    state->chunk_floats =
        (state->is_copied ? rows * state->columns : (uint64_t)(s->height * s->width)) *
        state->pixel_floats;
    if (state->is_row_major)
        first_walk_init(state);
    state->at_offset = weir_cpu_round_up(copied * sizeof(float), 64);
    state->program_offset =
        state->at_offset + weir_cpu_round_up(state->strip_pixels * sizeof(uint32_t), 64);
    return NULL;
}

weir_code_t weir_cpu_blocked_conv_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    weir_cpu_conv_shape_t shape;
    weir_code_t code = weir_cpu_conv_shape_read(host, node, &shape);
    if (code != WEIR_OK)
        return code;
    const uint64_t taps = (uint64_t)(shape.kernel_height * shape.kernel_width);
    const uint64_t tap_count = taps * WEIR_MAX(2u, (uint64_t)FIRST_CHANNELS);
    const uint64_t tap_bytes = weir_cpu_round_up(tap_count * sizeof(uint32_t), 8);
    conv_state_t *state;
    code = weir_cpu_state_new(
        host, node, sizeof(*state) + tap_bytes + weir_cpu_finish_bytes(node), &state);
    if (code != WEIR_OK)
        return code;
    state->shape = shape;
    state->taps = taps;
    const char *wrong = state_init(state, node);
    if (!wrong)
        wrong = weir_cpu_finish_init(
            &state->finish, (unsigned char *)state->tap_at + tap_bytes, state->kernels, node);
    return weir_cpu_state_end(host, node, wrong, state,
        state->program_offset + state->finish.program.scratch_bytes, out_prepared);
}

void weir_cpu_blocked_conv_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const conv_state_t *state = opaque;
    (void)node;
    out_tasks->phase_count = 1;
    out_tasks->task_count[0] = WEIR_MAX(1u, task_total(state));
    out_tasks->task_cost_ns[0] = task_macs(state) / 40 + 1;
}

// Input rows from `first_row` on, with their padding, block after block.
static void strip_fill(
    const conv_state_t *state, const float *x, int64_t first_row, uint64_t rows, float *strip)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    const uint64_t columns = state->columns;
    const uint64_t left = weir_cpu_min((uint64_t)WEIR_MAX(s->pad_left, 0), columns);
    const uint64_t width = weir_cpu_min((uint64_t)s->width, columns - left);
    const uint64_t right = columns - left - width;
    const uint64_t plane = (uint64_t)(s->height * s->width) * state->pixel_floats;
    const uint64_t floats = state->pixel_floats;
    for (uint64_t i = 0; i < planes_of(state); i++) {
        float *to = strip + i * state->chunk_floats;
        for (uint64_t row = 0; row < rows; row++, to += columns * floats) {
            const int64_t y = first_row + (int64_t)row;
            if (y < 0 || y >= s->height) {
                memset(to, 0, columns * floats * sizeof(*to));
                continue;
            }
            const float *from = x + i * plane + (uint64_t)(y * s->width) * floats;
            memset(to, 0, left * floats * sizeof(*to));
            memcpy(to + left * floats, from, width * floats * sizeof(*to));
            memset(to + (left + width) * floats, 0, right * floats * sizeof(*to));
        }
    }
}

// One strip of one group of one image: where its pixels are.
typedef struct strip {
    const float *x;
    const uint32_t *at;
    uint64_t first, pixels;
    uint64_t group; // of all images
} strip_t;

static strip_t strip_make(const conv_state_t *state, const weir_task_t *task, uint64_t number)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    const uint64_t width = (uint64_t)s->out_width;
    strip_t strip = {.group = number / state->strips};
    strip.first = number % state->strips * state->strip_pixels;
    strip.pixels = weir_cpu_min(state->strip_pixels, state->pixels - strip.first);
    const uint64_t group_floats =
        state->is_row_major ? s->group_inputs : weir_cpu_blocks(s->group_inputs) * WEIR_K_BLOCK;
    const float *x = (const float *)task->inputs[0].data +
                     strip.group * group_floats * (uint64_t)(s->height * s->width);
    uint32_t *at = (void *)((unsigned char *)task->scratch + state->at_offset);
    const uint64_t skipped = state->is_copied ? strip.first : 0;
    uint64_t row = (strip.first - skipped) / width, column = (strip.first - skipped) % width;
    for (uint64_t p = 0; p < strip.pixels; p++) {
        at[p] = (uint32_t)((row * (uint64_t)s->stride_y * state->columns +
                               column * (uint64_t)s->stride_x) *
                           state->pixel_floats);
        if (++column == width) {
            column = 0;
            row++;
        }
    }
    strip.at = at;
    strip.x = x;
    if (state->is_copied) {
        strip.x = task->scratch;
        strip_fill(state, x, (int64_t)(strip.first / width) * s->stride_y - s->pad_top,
            rows_needed(state, strip.pixels / width), task->scratch);
    }
    return strip;
}

static void quad_run(const conv_state_t *state, const weir_task_t *task, const strip_t *strip,
    uint64_t quad, weir_cpu_interpreter_t *interpreter)
{
    const uint64_t first_block = weir_cpu_quad_begin(state->blocks, quad);
    const uint64_t blocks = weir_cpu_quad_begin(state->blocks, quad + 1) - first_block;
    const uint64_t block = strip->group * state->blocks + first_block; // of all images
    const uint64_t offset = (block * state->pixels + strip->first) * WEIR_K_BLOCK;
    const uint64_t group = strip->group % state->shape.groups;
    weir_k_finish_t finish;
    const weir_k_finish_t *last = weir_cpu_finish_of(&state->finish, task, block, offset, &finish);
    weir_k_conv_block_t call = {
        .pixels = strip->pixels,
        .blocks = blocks,
        .taps = state->full_taps,
        .inner = state->full_inner,
        .at = strip->at,
        .tap_at = state->tap_at,
        .x_chunk = state->chunk_floats,
        .y = (float *)task->outputs[0].data + offset,
        .y_block = state->pixels * WEIR_K_BLOCK,
        .y_pixel = WEIR_K_BLOCK,
    };
    const float *weights = (const float *)task->inputs[1].data +
                           (group * state->blocks + first_block) * WEIR_K_BLOCK * state->k;
    const uint64_t chunk_weights = state->taps * WEIR_K_BLOCK * blocks * WEIR_K_BLOCK;
    const uint64_t most = WEIR_MAX(1u, WEIGHT_BYTES / (chunk_weights * sizeof(float)));
    for (uint64_t chunk = 0; chunk < state->full_blocks; chunk += most) {
        call.chunks = weir_cpu_min(most, state->full_blocks - chunk);
        call.x = strip->x + chunk * state->chunk_floats;
        call.weights = weights + chunk * chunk_weights;
        call.resume = chunk > 0;
        call.finish = chunk + call.chunks == state->full_blocks && state->tail == 0 ? last : NULL;
        state->kernels->conv_f32_x16(&call);
    }
    if (state->tail > 0) {
        call.chunks = 1;
        call.taps = state->tail_taps;
        call.inner = state->tail_inner;
        call.tap_at = state->tap_at + state->full_taps;
        call.x = strip->x + state->full_blocks * state->chunk_floats;
        call.weights = weights + state->full_blocks * chunk_weights;
        call.resume = state->full_blocks > 0;
        call.finish = last;
        state->kernels->conv_f32_x16(&call);
    }
    for (uint64_t b = 0; b < blocks; b++)
        weir_cpu_finish_apply(
            &state->finish, task, interpreter, block + b, strip->first, strip->pixels);
}

weir_code_t weir_cpu_blocked_conv_run(const weir_task_t *task)
{
    const conv_state_t *state = task->state;
    const uint64_t end = weir_cpu_min(task->first + task->count, task_total(state));
    weir_cpu_interpreter_t interpreter;
    if (state->finish.has_program && task->first < end)
        weir_cpu_interpreter_begin(&interpreter, &state->finish.program, task->inputs,
            task->outputs, (unsigned char *)task->scratch + state->program_offset);
    uint64_t made = UINT64_MAX;
    strip_t strip;
    for (uint64_t i = task->first; i < end; i++) {
        const uint64_t number = i / state->quad_tasks;
        if (number != made)
            strip = strip_make(state, task, number);
        made = number;
        const uint64_t first = i % state->quad_tasks * state->quads_per_task;
        const uint64_t quads = weir_cpu_min(first + state->quads_per_task, state->quads);
        for (uint64_t quad = first; quad < quads; quad++)
            quad_run(state, task, &strip, quad, &interpreter);
    }
    return WEIR_OK;
}
