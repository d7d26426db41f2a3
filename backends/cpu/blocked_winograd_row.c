// Conv along rows, of 3 or 5 taps with stride 1, in blocked format by Winograd's minimal filtering:
// F(4, 3) and F(2, 5), 6 multiplications for 12 and for 10.
//
// As blocked_winograd.c for 3x3: 6 matrices [tiles][channels], made by a phase of their own, each
// multiplied by its weights with the direct convolution's own kernel. A column of pixels is a row.
// A tile's bits depend on its place in its row alone; chosen by the sizes of the layer, never by
// the batch (docs/decisions/cpu-winograd.md).
#include <string.h>

#include "backends/cpu/anchor.h"
#include "backends/cpu/blocked.h"
#include "backends/cpu/common.h"
#include "backends/cpu/conv_shape.h"

#define SIDE 6u // of a tile's input
#define GROUP_TILES 96u
#define LEAST_PIXELS 64   // of an image
#define LEAST_CHANNELS 64 // of input and output
#define PAD WEIR_K_BLOCK  // between matrices: they do not meet in one set of the L1 cache

typedef struct row_state {
    const weir_k_table_t *kernels;
    weir_cpu_conv_shape_t shape;
    uint64_t chunks, blocks, quads;        // of input and output channels
    uint64_t step;                         // outputs of a tile
    uint64_t row_tiles, pieces;            // of a row; groups of it
    uint64_t tiles;                        // of a group, at most
    uint64_t v_step, m_step, image_floats; // image_floats: transformed input of one image
    uint64_t patch_at, at_at, program_at;  // in the scratch, behind the sums
    weir_cpu_finish_t finish;
} row_state_t;

// 3 or 5 taps along one axis; 0: neither.
static int64_t taps_of(const weir_node_t *node)
{
    const weir_tensor_t *x = &node->inputs[0], *w = &node->inputs[1];
    const int is_row = w->dims[2] == 1, is_column = w->dims[3] == 1 && x->dims[3] == 1;
    const int64_t taps = is_row ? w->dims[3] : is_column ? w->dims[2] : 0;
    return taps == 3 || taps == 5 ? taps : 0;
}

weir_code_t weir_cpu_blocked_winograd_row_supports(
    const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_finish_supports(node, 3, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0], *w = &node->inputs[1], *y = &node->outputs[0];
    if (!weir_cpu_is_blocked(x) || w->rank != 4 || !(w->flags & WEIR_TENSOR_CONSTANT))
        return weir_cpu_refuse(out_support, "takes blocks and constant weights only");
    if (!taps_of(node) || weir_node_int(node, "group", 1) != 1)
        return weir_cpu_refuse(out_support, "takes 3 or 5 taps along a row, without groups");
    for (uint32_t i = 0; i < 4; i++)
        if (weir_cpu_attribute_at(node, "pads", i, 0) < 0 ||
            weir_cpu_attribute_at(node, "strides", i % 2, 1) != 1 ||
            weir_cpu_attribute_at(node, "dilations", i % 2, 1) != 1)
            return weir_cpu_refuse(out_support, "takes no strides, dilations and negative pads");
    for (uint32_t i = 0; i < 2; i++)
        if (w->dims[i] < LEAST_CHANNELS || w->dims[i] % (int64_t)WEIR_K_BLOCK)
            return weir_cpu_refuse(out_support, "takes whole blocks of many channels only");
    if (x->dims[2] < 1 || x->dims[3] < 1 || y->dims[2] < 1 || y->dims[3] < 1 ||
        y->dims[2] * y->dims[3] < LEAST_PIXELS)
        return weir_cpu_refuse(out_support, "the image is small, or its size is not known");
    return WEIR_OK;
}

static uint64_t weight_bytes(const weir_tensor_t *w)
{
    return (uint64_t)w->dims[0] * (uint64_t)w->dims[1] * SIDE * sizeof(float);
}

weir_code_t weir_cpu_blocked_winograd_row_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    return weir_cpu_finish_pack_query(
        node, input, WEIR_CPU_FORMAT_WINOGRAD_ROW, weight_bytes(&node->inputs[1]), out_packing);
}

// G g in double: powers of the points 0, 1, -1, 2, -2, and the last tap for infinity.
static float weight_transform(const float *from, uint64_t taps, uint32_t matrix)
{
    static const double point[SIDE - 1] = {0, 1, -1, 2, -2};
    static const double scale[SIDE - 1] = {1.0 / 4, -1.0 / 6, -1.0 / 6, 1.0 / 24, 1.0 / 24};
    if (matrix == SIDE - 1)
        return from[taps - 1];
    double sum = 0, power = 1;
    for (uint64_t tap = 0; tap < taps; tap++, power *= point[matrix])
        sum += power * (double)from[tap];
    return (float)(scale[matrix] * sum);
}

// [quad][matrix][input channel][output channels of the quad].
weir_code_t weir_cpu_blocked_winograd_row_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    if (input != 1)
        return weir_cpu_blocked_pack(node, input, destination, bytes);
    const weir_tensor_t *w = &node->inputs[1];
    if (bytes < weight_bytes(w))
        return WEIR_INVALID_ARGUMENT;
    const uint64_t inputs = (uint64_t)w->dims[1], blocks = (uint64_t)w->dims[0] / WEIR_K_BLOCK;
    const uint64_t taps = (uint64_t)(w->dims[2] * w->dims[3]);
    float *to = destination;
    for (uint64_t quad = 0; quad < weir_cpu_quads(blocks); quad++) {
        const uint64_t first = weir_cpu_quad_begin(blocks, quad) * WEIR_K_BLOCK;
        const uint64_t end = weir_cpu_quad_begin(blocks, quad + 1) * WEIR_K_BLOCK;
        for (uint32_t matrix = 0; matrix < SIDE; matrix++)
            for (uint64_t c = 0; c < inputs; c++)
                for (uint64_t lane = first; lane < end; lane++)
                    *to++ = weight_transform(
                        (const float *)w->data + (lane * inputs + c) * taps, taps, matrix);
    }
    return WEIR_OK;
}

// Groups of one image: pieces of its rows.
static uint64_t group_count(const row_state_t *state)
{
    return (uint64_t)state->shape.out_height * state->pieces;
}

static void state_init(row_state_t *state, int64_t taps)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    state->chunks = s->group_inputs / WEIR_K_BLOCK;
    state->blocks = s->group_outputs / WEIR_K_BLOCK;
    state->quads = weir_cpu_quads(state->blocks);
    state->step = SIDE + 1 - (uint64_t)taps;
    state->row_tiles = WEIR_DIV_UP((uint64_t)s->out_width, state->step);
    state->pieces = WEIR_DIV_UP(state->row_tiles, GROUP_TILES);
    state->tiles = WEIR_DIV_UP(state->row_tiles, state->pieces);
    state->v_step = state->chunks * state->tiles * WEIR_K_BLOCK + PAD;
    state->m_step = weir_cpu_min(state->blocks, WEIR_CPU_QUAD) * state->tiles * WEIR_K_BLOCK + PAD;
    state->image_floats = group_count(state) * SIDE * state->v_step;
    state->patch_at = SIDE * state->m_step * sizeof(float);
    state->at_at = state->patch_at + SIDE * WEIR_K_BLOCK * sizeof(float);
    state->program_at = state->at_at + weir_cpu_round_up(state->tiles * sizeof(uint32_t), 64);
}

weir_code_t weir_cpu_blocked_winograd_row_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    row_state_t *state;
    weir_cpu_conv_shape_t shape;
    weir_code_t code = weir_cpu_conv_shape_read(host, node, &shape);
    if (code == WEIR_OK)
        code = weir_cpu_state_new(host, node, sizeof(*state) + weir_cpu_finish_bytes(node), &state);
    if (code != WEIR_OK)
        return code;
    state->shape = shape;
    state_init(state, taps_of(node));
    const char *wrong = node->inputs[1].format == WEIR_CPU_FORMAT_WINOGRAD_ROW
                            ? weir_cpu_finish_init(&state->finish, state + 1, state->kernels, node)
                            : "the weights have not been packed";
    if (!wrong)
        out_prepared->shared_bytes = state->shape.images * state->image_floats * sizeof(float);
    return weir_cpu_state_end(host, node, wrong, state,
        state->program_at + state->finish.program.scratch_bytes, out_prepared);
}

void weir_cpu_blocked_winograd_row_tasks(
    const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const row_state_t *state = opaque;
    const uint64_t groups = state->shape.images * group_count(state);
    (void)node;
    out_tasks->phase_count = 2;
    out_tasks->task_count[0] = WEIR_MAX(1u, groups);
    out_tasks->task_cost_ns[0] = state->tiles * state->chunks * 8;
    out_tasks->task_count[1] = WEIR_MAX(1u, groups * state->quads);
    out_tasks->task_cost_ns[1] =
        state->tiles * SIDE * state->chunks * WEIR_K_BLOCK * WEIR_CPU_QUAD * WEIR_K_BLOCK / 80;
}

// A group: a piece of one row of one image.
typedef struct piece {
    uint64_t image, row, first, tiles; // first: its first tile
} piece_t;

static piece_t piece_of(const row_state_t *state, uint64_t number)
{
    const uint64_t groups = group_count(state), of_image = number % groups;
    piece_t piece = {.image = number / groups, .row = of_image / state->pieces};
    piece.first = of_image % state->pieces * state->tiles;
    piece.tiles =
        weir_cpu_min(state->tiles, state->row_tiles - weir_cpu_min(piece.first, state->row_tiles));
    return piece;
}

// The 6 pixels of a tile that reaches over the edge, with their padding; row: NULL if it is
// padding.
static void patch_fill(const weir_cpu_conv_shape_t *s, const float *row, int64_t x0, float *patch)
{
    memset(patch, 0, SIDE * WEIR_K_BLOCK * sizeof(*patch));
    const int64_t left = WEIR_MAX(-x0, 0), right = WEIR_MIN((int64_t)SIDE, s->width - x0);
    if (row && left < right)
        memcpy(patch + left * (int64_t)WEIR_K_BLOCK, row + (x0 + left) * (int64_t)WEIR_K_BLOCK,
            (size_t)(right - left) * WEIR_K_BLOCK * sizeof(*patch));
}

static void piece_transform(
    const row_state_t *state, const weir_task_t *task, const piece_t *piece, float *v)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    const uint64_t pixels = (uint64_t)(s->height * s->width);
    const int64_t y = (int64_t)piece->row - s->pad_top;
    const int is_there = y >= 0 && y < s->height;
    float *patch = (float *)(void *)((unsigned char *)task->scratch + state->patch_at);
    for (uint64_t chunk = 0; chunk < state->chunks; chunk++) {
        const float *plane = (const float *)task->inputs[0].data +
                             (piece->image * state->chunks + chunk) * pixels * WEIR_K_BLOCK;
        const float *row = is_there ? plane + y * s->width * (int64_t)WEIR_K_BLOCK : NULL;
        float *to = v + chunk * state->tiles * WEIR_K_BLOCK;
        for (uint64_t tile = 0; tile < piece->tiles; tile++, to += WEIR_K_BLOCK) {
            const int64_t x0 = (int64_t)((piece->first + tile) * state->step) - s->pad_left;
            const int is_inside = row && x0 >= 0 && x0 + (int64_t)SIDE <= s->width;
            if (!is_inside)
                patch_fill(s, row, x0, patch);
            state->kernels->winograd_row_in_f32_x16(1,
                is_inside ? row + x0 * (int64_t)WEIR_K_BLOCK : patch, SIDE * WEIR_K_BLOCK, to,
                state->v_step);
        }
    }
}

static void quad_run(const row_state_t *state, const weir_task_t *task, const piece_t *piece,
    uint64_t quad, const float *v, weir_cpu_interpreter_t *interpreter)
{
    static const uint32_t no_tap[1] = {0};
    const weir_cpu_conv_shape_t *s = &state->shape;
    const uint64_t first = weir_cpu_quad_begin(state->blocks, quad);
    const uint64_t blocks = weir_cpu_quad_begin(state->blocks, quad + 1) - first;
    const uint64_t inputs = s->group_inputs, width = (uint64_t)s->out_width;
    float *m = task->scratch;
    weir_k_conv_block_t product = {
        .pixels = piece->tiles,
        .blocks = blocks,
        .chunks = state->chunks,
        .taps = 1,
        .inner = WEIR_K_BLOCK,
        .at = (const uint32_t *)(void *)((unsigned char *)task->scratch + state->at_at),
        .tap_at = no_tap,
        .x_chunk = state->tiles * WEIR_K_BLOCK,
        .weights = (const float *)task->inputs[1].data + first * WEIR_K_BLOCK * inputs * SIDE,
        .y_block = state->tiles * WEIR_K_BLOCK,
        .y_pixel = WEIR_K_BLOCK,
    };
    for (uint64_t i = 0; i < SIDE; i++) {
        product.x = v + i * state->v_step;
        product.y = m + i * state->m_step;
        state->kernels->conv_f32_x16(&product);
        product.weights += inputs * blocks * WEIR_K_BLOCK;
    }
    const uint64_t column = piece->first * state->step;
    const uint64_t pixels = weir_cpu_min(piece->tiles * state->step, width - column);
    const uint64_t at = piece->row * width + column; // in the plane
    for (uint64_t b = 0; b < blocks; b++) {
        const uint64_t block = piece->image * state->blocks + first + b; // of all images
        const uint64_t offset = (block * (uint64_t)s->out_height * width + at) * WEIR_K_BLOCK;
        weir_k_finish_t finish;
        state->kernels->winograd_row_out_f32_x16(pixels, state->step,
            m + b * state->tiles * WEIR_K_BLOCK, state->m_step,
            (float *)task->outputs[0].data + offset,
            weir_cpu_finish_of(&state->finish, task, block, offset, &finish));
        weir_cpu_finish_apply(&state->finish, task, interpreter, block, at, pixels);
    }
}

weir_code_t weir_cpu_blocked_winograd_row_run(const weir_task_t *task)
{
    const row_state_t *state = task->state;
    const uint64_t groups = state->shape.images * group_count(state);
    const uint64_t parts = task->phase == 0 ? 1 : state->quads;
    const uint64_t end = weir_cpu_min(task->first + task->count, groups * parts);
    weir_cpu_interpreter_t interpreter;
    if (task->phase == 1 && state->finish.has_program && task->first < end)
        weir_cpu_interpreter_begin(&interpreter, &state->finish.program, task->inputs,
            task->outputs, (unsigned char *)task->scratch + state->program_at);
    uint32_t *at = (uint32_t *)(void *)((unsigned char *)task->scratch + state->at_at);
    for (uint64_t tile = 0; tile < state->tiles; tile++)
        at[tile] = (uint32_t)(tile * WEIR_K_BLOCK);
    for (uint64_t i = task->first; i < end; i++) {
        const piece_t piece = piece_of(state, i / parts);
        float *v = (float *)task->shared + i / parts * SIDE * state->v_step;
        if (piece.tiles == 0)
            continue;
        if (task->phase == 0)
            piece_transform(state, task, &piece, v);
        else
            quad_run(state, task, &piece, i % parts, v, &interpreter);
    }
    return WEIR_OK;
}
