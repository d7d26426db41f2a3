// Conv of 3x3 with stride 1 in blocked format by Winograd's minimal filtering F(4x4, 3x3): a
// quarter of the multiplications, at the price of 36 transformed weights for 9.
//
// Tiles of 4x4 outputs are taken in groups, rectangles of the image. A group's input becomes 36
// matrices [tiles][channels], each is multiplied by its weights with the direct convolution's own
// kernel, and a tile's 36 sums become 16 outputs, which get bias, residual and activation. Groups
// are tasks; where an image has few, their inputs are transformed in a phase of its own and the
// output channels are divided too. A tile's bits depend on its place in its image alone.
//
// Chosen by the sizes of the layer, never by the batch: only where the image's are known when the
// plan is made. The error is several times the direct way's; a NaN or an infinity spreads over its
// tile (docs/decisions/cpu-winograd.md).
#include <string.h>

#include "backends/cpu/anchor.h"
#include "backends/cpu/blocked.h"
#include "backends/cpu/common.h"
#include "backends/cpu/conv_shape.h"

#define SIDE 6u      // of a tile's input
#define STEP 4u      // of its output
#define MATRICES 36u // SIDE * SIDE
#define GROUP_TILES 32u
#define SMALLEST_SIDE 12   // of an output: below, the weights take longer than the sums
#define LARGE_SIDE 21      // of an output: enough tiles for any weights
#define MANY_WEIGHTS 65536 // pairs of channels
#define LEAST_CHANNELS 16  // of input and output
#define ENOUGH_GROUPS 6u   // as tasks of their own
#define PAD WEIR_K_BLOCK   // between matrices: they do not meet in one set of the L1 cache

typedef struct winograd_state {
    const weir_k_table_t *kernels;
    weir_cpu_conv_shape_t shape;
    uint64_t chunks, blocks, quads;             // of input and output channels
    uint64_t rows, columns;                     // tiles of an image
    uint64_t group_rows, group_columns;         // tiles of a group
    uint64_t groups_down, groups_across;        // of an image
    uint64_t tiles;                             // of a group, at most
    uint64_t v_step, m_step;                    // from one matrix to the next, in floats
    uint32_t is_shared;                         // inputs are transformed in a phase of their own
    uint64_t m_at, patch_at, at_at, program_at; // in the scratch
    weir_cpu_finish_t finish;
} winograd_state_t;

weir_code_t weir_cpu_blocked_winograd_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_finish_supports(node, 3, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0], *w = &node->inputs[1], *y = &node->outputs[0];
    if (!weir_cpu_is_blocked(x) || w->rank != 4 || !(w->flags & WEIR_TENSOR_CONSTANT))
        return weir_cpu_refuse(out_support, "takes blocks and constant weights only");
    if (w->dims[2] != 3 || w->dims[3] != 3 || weir_node_int(node, "group", 1) != 1)
        return weir_cpu_refuse(out_support, "takes 3x3 without groups only");
    for (uint32_t i = 0; i < 2; i++)
        if (weir_cpu_attribute_at(node, "strides", i, 1) != 1 ||
            weir_cpu_attribute_at(node, "dilations", i, 1) != 1)
            return weir_cpu_refuse(out_support, "takes no strides and no dilations");
    for (uint32_t i = 0; i < 4; i++)
        if (weir_cpu_attribute_at(node, "pads", i, 0) < 0)
            return weir_cpu_refuse(out_support, "takes no negative pads");
    for (uint32_t i = 0; i < 2; i++)
        if (w->dims[i] < LEAST_CHANNELS || w->dims[i] % (int64_t)WEIR_K_BLOCK)
            return weir_cpu_refuse(out_support, "takes whole blocks of channels only");
    if (x->dims[2] < 1 || x->dims[3] < 1 || y->dims[2] < SMALLEST_SIDE ||
        y->dims[3] < SMALLEST_SIDE)
        return weir_cpu_refuse(out_support, "the image is small, or its size is not known");
    if (w->dims[0] * w->dims[1] >= MANY_WEIGHTS &&
        (y->dims[2] < LARGE_SIDE || y->dims[3] < LARGE_SIDE))
        return weir_cpu_refuse(out_support, "the weights are many for a small image");
    return WEIR_OK;
}

static uint64_t weight_bytes(const weir_tensor_t *w)
{
    return (uint64_t)w->dims[0] * (uint64_t)w->dims[1] * MATRICES * sizeof(float);
}

weir_code_t weir_cpu_blocked_winograd_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    return weir_cpu_finish_pack_query(
        node, input, WEIR_CPU_FORMAT_WINOGRAD, weight_bytes(&node->inputs[1]), out_packing);
}

// G g G^T in double, for the filters of a block of output channels at one input channel; lanes are
// filters. `from_lane`: floats from one filter to the next.
static void weights_transform(const float *from, uint64_t from_lane, float out[][WEIR_K_BLOCK])
{
    static const double g[SIDE][3] = {{1.0 / 4, 0, 0}, {-1.0 / 6, -1.0 / 6, -1.0 / 6},
        {-1.0 / 6, 1.0 / 6, -1.0 / 6}, {1.0 / 24, 1.0 / 12, 1.0 / 6},
        {1.0 / 24, -1.0 / 12, 1.0 / 6}, {0, 0, 1}};
    double tap[9][WEIR_K_BLOCK], half[SIDE][3][WEIR_K_BLOCK];
    for (uint32_t lane = 0; lane < WEIR_K_BLOCK; lane++)
        for (uint32_t i = 0; i < 9; i++)
            tap[i][lane] = (double)from[lane * from_lane + i];
    for (uint32_t i = 0; i < SIDE; i++)
        for (uint32_t j = 0; j < 3; j++)
            for (uint32_t lane = 0; lane < WEIR_K_BLOCK; lane++)
                half[i][j][lane] = g[i][0] * tap[j][lane] + g[i][1] * tap[3 + j][lane] +
                                   g[i][2] * tap[6 + j][lane];
    for (uint32_t i = 0; i < SIDE; i++)
        for (uint32_t j = 0; j < SIDE; j++)
            for (uint32_t lane = 0; lane < WEIR_K_BLOCK; lane++)
                out[i * SIDE + j][lane] =
                    (float)(half[i][0][lane] * g[j][0] + half[i][1][lane] * g[j][1] +
                            half[i][2][lane] * g[j][2]);
}

// [quad][matrix][input channel][output channels of the quad].
weir_code_t weir_cpu_blocked_winograd_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    if (input != 1)
        return weir_cpu_blocked_pack(node, input, destination, bytes);
    const weir_tensor_t *w = &node->inputs[1];
    if (bytes < weight_bytes(w))
        return WEIR_INVALID_ARGUMENT;
    const uint64_t inputs = (uint64_t)w->dims[1], blocks = (uint64_t)w->dims[0] / WEIR_K_BLOCK;
    const float *from = w->data;
    float *to = destination;
    for (uint64_t quad = 0; quad < weir_cpu_quads(blocks); quad++) {
        const uint64_t first = weir_cpu_quad_begin(blocks, quad);
        const uint64_t count = weir_cpu_quad_begin(blocks, quad + 1) - first,
                       lanes = count * WEIR_K_BLOCK;
        for (uint64_t c = 0; c < inputs; c++)
            for (uint64_t block = 0; block < count; block++) {
                float transformed[MATRICES][WEIR_K_BLOCK];
                weights_transform(from + ((first + block) * WEIR_K_BLOCK * inputs + c) * 9,
                    inputs * 9, transformed);
                for (uint32_t i = 0; i < MATRICES; i++)
                    memcpy(to + (i * inputs + c) * lanes + block * WEIR_K_BLOCK, transformed[i],
                        sizeof(transformed[i]));
            }
        to += MATRICES * inputs * lanes;
    }
    return WEIR_OK;
}

static uint64_t group_total(const winograd_state_t *state)
{
    return state->shape.images * state->groups_down * state->groups_across;
}

// Groups: pieces of a row of tiles, or whole rows, as equal as can be.
static void groups_divide(winograd_state_t *state)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    state->rows = WEIR_DIV_UP((uint64_t)s->out_height, STEP);
    state->columns = WEIR_DIV_UP((uint64_t)s->out_width, STEP);
    state->groups_across = WEIR_DIV_UP(state->columns, GROUP_TILES);
    state->group_columns = WEIR_DIV_UP(state->columns, state->groups_across);
    const uint64_t most = WEIR_MAX(1u, GROUP_TILES / state->group_columns);
    state->groups_down = WEIR_DIV_UP(state->rows, most);
    state->group_rows = WEIR_DIV_UP(state->rows, state->groups_down);
    state->tiles = state->group_rows * state->group_columns;
    state->is_shared = group_total(state) < ENOUGH_GROUPS;
}

static void memory_place(winograd_state_t *state)
{
    state->v_step = state->chunks * state->tiles * WEIR_K_BLOCK + PAD;
    state->m_step = weir_cpu_min(state->blocks, WEIR_CPU_QUAD) * state->tiles * WEIR_K_BLOCK + PAD;
    state->m_at = state->is_shared ? 0 : MATRICES * state->v_step * sizeof(float);
    state->patch_at = state->m_at + MATRICES * state->m_step * sizeof(float);
    state->at_at = state->patch_at + MATRICES * WEIR_K_BLOCK * sizeof(float);
    state->program_at = state->at_at + weir_cpu_round_up(state->tiles * sizeof(uint32_t), 64);
}

weir_code_t weir_cpu_blocked_winograd_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    winograd_state_t *state;
    weir_cpu_conv_shape_t shape;
    weir_code_t code = weir_cpu_conv_shape_read(host, node, &shape);
    if (code == WEIR_OK)
        code = weir_cpu_state_new(host, node, sizeof(*state) + weir_cpu_finish_bytes(node), &state);
    if (code != WEIR_OK)
        return code;
    state->shape = shape;
    state->chunks = shape.group_inputs / WEIR_K_BLOCK;
    state->blocks = shape.group_outputs / WEIR_K_BLOCK;
    state->quads = weir_cpu_quads(state->blocks);
    groups_divide(state);
    memory_place(state);
    const char *wrong = node->inputs[1].format == WEIR_CPU_FORMAT_WINOGRAD
                            ? weir_cpu_finish_init(&state->finish, state + 1, state->kernels, node)
                            : "the weights have not been packed";
    if (!wrong && state->is_shared)
        out_prepared->shared_bytes = group_total(state) * MATRICES * state->v_step * sizeof(float);
    return weir_cpu_state_end(host, node, wrong, state,
        state->program_at + state->finish.program.scratch_bytes, out_prepared);
}

void weir_cpu_blocked_winograd_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const winograd_state_t *state = opaque;
    const uint64_t groups = group_total(state);
    const uint64_t in_ns = state->tiles * 40; // of a block of channels
    const uint64_t quad_ns =
        state->tiles * MATRICES * state->chunks * WEIR_K_BLOCK * WEIR_CPU_QUAD * WEIR_K_BLOCK / 80 +
        state->tiles * WEIR_CPU_QUAD * 30;
    (void)node;
    out_tasks->phase_count = 1 + state->is_shared;
    if (state->is_shared) {
        out_tasks->task_count[0] = WEIR_MAX(1u, groups * state->chunks);
        out_tasks->task_cost_ns[0] = in_ns;
        out_tasks->task_count[1] = WEIR_MAX(1u, groups * state->quads);
        out_tasks->task_cost_ns[1] = quad_ns;
        return;
    }
    out_tasks->task_count[0] = WEIR_MAX(1u, groups);
    out_tasks->task_cost_ns[0] = in_ns * state->chunks + quad_ns * state->quads;
}

// A group of one image: which tiles.
typedef struct group {
    uint64_t image, row, column, rows, columns;
} group_t;

static group_t group_of(const winograd_state_t *state, uint64_t number)
{
    group_t group = {.image = number / state->groups_across / state->groups_down};
    group.row = number / state->groups_across % state->groups_down * state->group_rows;
    group.column = number % state->groups_across * state->group_columns;
    group.rows = weir_cpu_min(state->group_rows, state->rows - WEIR_MIN(group.row, state->rows));
    group.columns =
        weir_cpu_min(state->group_columns, state->columns - WEIR_MIN(group.column, state->columns));
    return group;
}

// The 6x6 pixels of a tile that reaches over the edge, with their padding.
static void patch_fill(
    const weir_cpu_conv_shape_t *s, const float *plane, int64_t y0, int64_t x0, float *patch)
{
    memset(patch, 0, MATRICES * WEIR_K_BLOCK * sizeof(*patch));
    const int64_t left = WEIR_MAX(-x0, 0), right = WEIR_MIN((int64_t)SIDE, s->width - x0);
    for (int64_t row = 0; row < (int64_t)SIDE && left < right; row++)
        if (y0 + row >= 0 && y0 + row < s->height)
            memcpy(patch + (row * (int64_t)SIDE + left) * (int64_t)WEIR_K_BLOCK,
                plane + ((y0 + row) * s->width + x0 + left) * (int64_t)WEIR_K_BLOCK,
                (size_t)(right - left) * WEIR_K_BLOCK * sizeof(*patch));
}

// One block of input channels of a group, into its 36 matrices.
static void block_transform(const winograd_state_t *state, const weir_task_t *task,
    const group_t *group, uint64_t chunk, float *v)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    const uint64_t pixels = (uint64_t)(s->height * s->width);
    const float *plane = (const float *)task->inputs[0].data +
                         (group->image * state->chunks + chunk) * pixels * WEIR_K_BLOCK;
    float *patch = (float *)(void *)((unsigned char *)task->scratch + state->patch_at);
    float *to = v + chunk * state->tiles * WEIR_K_BLOCK;
    for (uint64_t row = group->row; row < group->row + group->rows; row++)
        for (uint64_t column = group->column; column < group->column + group->columns;
             column++, to += WEIR_K_BLOCK) {
            const int64_t y0 = (int64_t)(row * STEP) - s->pad_top;
            const int64_t x0 = (int64_t)(column * STEP) - s->pad_left;
            if (y0 >= 0 && x0 >= 0 && y0 + (int64_t)SIDE <= s->height &&
                x0 + (int64_t)SIDE <= s->width) {
                state->kernels->winograd_in_f32_x16(
                    plane + (y0 * s->width + x0) * (int64_t)WEIR_K_BLOCK,
                    (size_t)s->width * WEIR_K_BLOCK, to, state->v_step);
                continue;
            }
            patch_fill(s, plane, y0, x0, patch);
            state->kernels->winograd_in_f32_x16(patch, SIDE * WEIR_K_BLOCK, to, state->v_step);
        }
}

// Sums of one block of output channels become outputs.
static void block_finish(const winograd_state_t *state, const weir_task_t *task,
    const group_t *group, uint64_t block, const float *m)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    const uint64_t width = (uint64_t)s->out_width, height = (uint64_t)s->out_height;
    const uint64_t number = group->image * state->blocks + block; // of all images
    const uint64_t plane = number * height * width;
    float *y = task->outputs[0].data;
    for (uint64_t row = group->row; row < group->row + group->rows; row++)
        for (uint64_t column = group->column; column < group->column + group->columns;
             column++, m += WEIR_K_BLOCK) {
            const uint64_t offset = (plane + row * STEP * width + column * STEP) * WEIR_K_BLOCK;
            weir_k_finish_t finish;
            const weir_k_finish_t *last =
                weir_cpu_finish_of(&state->finish, task, number, offset, &finish);
            state->kernels->winograd_out_f32_x16(m, state->m_step, y + offset, width * WEIR_K_BLOCK,
                weir_cpu_min(height - row * STEP, STEP), weir_cpu_min(width - column * STEP, STEP),
                last);
        }
}

static void block_apply(const winograd_state_t *state, const weir_task_t *task,
    const group_t *group, uint64_t block, weir_cpu_interpreter_t *interpreter)
{
    const uint64_t width = (uint64_t)state->shape.out_width, top = group->row * STEP;
    const uint64_t number = group->image * state->blocks + block;
    const uint64_t rows = weir_cpu_min(group->rows * STEP, (uint64_t)state->shape.out_height - top);
    if (group->columns == state->columns) {
        weir_cpu_finish_apply(&state->finish, task, interpreter, number, top * width, rows * width);
        return;
    }
    const uint64_t left = group->column * STEP;
    for (uint64_t row = top; row < top + rows; row++)
        weir_cpu_finish_apply(&state->finish, task, interpreter, number, row * width + left,
            weir_cpu_min(group->columns * STEP, width - left));
}

static void quad_run(const winograd_state_t *state, const weir_task_t *task, const group_t *group,
    uint64_t quad, const float *v, weir_cpu_interpreter_t *interpreter)
{
    static const uint32_t no_tap[1] = {0};
    const uint64_t first = weir_cpu_quad_begin(state->blocks, quad);
    const uint64_t blocks = weir_cpu_quad_begin(state->blocks, quad + 1) - first;
    const uint64_t inputs = state->chunks * WEIR_K_BLOCK;
    unsigned char *scratch = task->scratch;
    float *m = (float *)(void *)(scratch + state->m_at);
    weir_k_conv_block_t product = {
        .pixels = group->rows * group->columns,
        .blocks = blocks,
        .chunks = state->chunks,
        .taps = 1,
        .inner = WEIR_K_BLOCK,
        .at = (const uint32_t *)(const void *)(scratch + state->at_at),
        .tap_at = no_tap,
        .x_chunk = state->tiles * WEIR_K_BLOCK,
        .weights = (const float *)task->inputs[1].data + first * WEIR_K_BLOCK * inputs * MATRICES,
        .y_block = state->tiles * WEIR_K_BLOCK,
        .y_pixel = WEIR_K_BLOCK,
    };
    for (uint64_t i = 0; i < MATRICES; i++) {
        product.x = v + i * state->v_step;
        product.y = m + i * state->m_step;
        state->kernels->conv_f32_x16(&product);
        product.weights += inputs * blocks * WEIR_K_BLOCK;
    }
    for (uint64_t b = 0; b < blocks; b++) {
        block_finish(state, task, group, first + b, m + b * state->tiles * WEIR_K_BLOCK);
        if (state->finish.has_program)
            block_apply(state, task, group, first + b, interpreter);
    }
}

static void transform_run(const winograd_state_t *state, const weir_task_t *task, uint64_t end)
{
    for (uint64_t i = task->first; i < end; i++) {
        const uint64_t number = i / state->chunks;
        const group_t group = group_of(state, number);
        block_transform(state, task, &group, i % state->chunks,
            (float *)task->shared + number * MATRICES * state->v_step);
    }
}

weir_code_t weir_cpu_blocked_winograd_run(const weir_task_t *task)
{
    const winograd_state_t *state = task->state;
    const uint64_t groups = group_total(state), last = task->first + task->count;
    if (state->is_shared && task->phase == 0) {
        transform_run(state, task, weir_cpu_min(last, groups * state->chunks));
        return WEIR_OK;
    }
    const uint64_t parts = state->is_shared ? state->quads : 1;
    const uint64_t end = weir_cpu_min(last, groups * parts);
    weir_cpu_interpreter_t interpreter;
    if (state->finish.has_program && task->first < end)
        weir_cpu_interpreter_begin(&interpreter, &state->finish.program, task->inputs,
            task->outputs, (unsigned char *)task->scratch + state->program_at);
    uint32_t *at = (uint32_t *)(void *)((unsigned char *)task->scratch + state->at_at);
    for (uint64_t tile = 0; tile < state->tiles; tile++)
        at[tile] = (uint32_t)(tile * WEIR_K_BLOCK);
    for (uint64_t i = task->first; i < end; i++) {
        const uint64_t number = i / parts;
        const group_t group = group_of(state, number);
        if (group.rows == 0 || group.columns == 0)
            continue;
        if (state->is_shared) {
            quad_run(state, task, &group, i % parts,
                (const float *)task->shared + number * MATRICES * state->v_step, &interpreter);
            continue;
        }
        for (uint64_t chunk = 0; chunk < state->chunks; chunk++)
            block_transform(state, task, &group, chunk, task->scratch);
        for (uint64_t quad = 0; quad < state->quads; quad++)
            quad_run(state, task, &group, quad, task->scratch, &interpreter);
    }
    return WEIR_OK;
}
