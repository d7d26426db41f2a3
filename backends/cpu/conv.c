// Conv in f32, one or two spatial dims: a product of the weights and of panels that each task fills
// for its own pixels, or, with one input channel a group, the taps applied straight to padded rows.
//
// Both are one ascending chain over (channel, ky, kx) for every output element. Weights that are
// constant are packed at plan time: 12 output channels side by side, or 32 where there is one
// spatial dim, so that few pixels may take the way of conv_few.c. The chain of a product begins
// with the bias; the epilogue (and the bias of the direct way) is a program, applied while the
// block is in L1.
#include <string.h>

#include "backends/cpu/anchor.h"
#include "backends/cpu/conv_few.h"

typedef struct conv_state {
    const weir_k_table_t *kernels;
    weir_cpu_conv_shape_t shape;
    uint64_t k, pixels;
    uint32_t is_direct;   // one input channel a group
    uint32_t is_few;      // few pixels: conv_few.c
    uint32_t is_in_place; // 1x1: the input is the matrix, and is read where it lies
    uint32_t together;    // rows of weights side by side; 1: not packed
    uint32_t is_shared;   // columns are made in a phase of their own, for several blocks of rows
    uint32_t has_bias;    // where the chains begin
    uint32_t has_program; // an epilogue

    uint64_t block_columns, block_rows, column_blocks, row_blocks; // of the product

    uint64_t planes_per_task; // of the direct way
    uint32_t is_plane;        // of it: 3x3, taken from the plane as it lies

    uint64_t own_scratch_bytes;
    weir_cpu_program_t program;
    // [k] of the direct way: where each tap of output row 0 begins in the plane. Behind it the
    // program's memory.
    int64_t tap_at[];
} conv_state_t;

static int is_direct(uint64_t group_inputs, uint64_t groups)
{
    return group_inputs == 1 && groups > 1;
}

weir_code_t weir_cpu_conv_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->input_count < 2)
        return weir_cpu_refuse(out_support, "inputs are missing");
    const weir_tensor_t *x = &node->inputs[0], *w = &node->inputs[1];
    if (x->rank < 3 || x->rank > 4 || w->rank != x->rank)
        return weir_cpu_refuse(out_support, "takes one or two spatial dims only");
    return weir_cpu_anchor_supports(node, 3, out_support);
}

// The sizes of W alone: what is known when it is packed.
typedef struct conv_weights {
    uint64_t groups, group_outputs, group_inputs, k, together;
} conv_weights_t;

static conv_weights_t weights_shape(const weir_node_t *node)
{
    const weir_tensor_t *w = &node->inputs[1];
    const int64_t groups = weir_node_int(node, "group", 1);
    conv_weights_t shape = {
        .groups = groups < 1 ? 1 : (uint64_t)groups, .group_inputs = (uint64_t)w->dims[1], .k = 1};
    shape.group_outputs = (uint64_t)w->dims[0] / shape.groups;
    for (uint32_t d = 1; d < w->rank; d++)
        shape.k *= (uint64_t)w->dims[d];
    shape.together = w->rank == 3 ? WEIR_K_PANEL : WEIR_K_TILE_ROWS;
    return shape;
}

static uint64_t packed_bytes(const conv_weights_t *w)
{
    return w->groups * weir_cpu_round_up(w->group_outputs, w->together) * w->k * sizeof(float);
}

weir_code_t weir_cpu_conv_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    if (input != 1 || node->inputs[1].dtype != WEIR_F32)
        return WEIR_OK;
    const conv_weights_t w = weights_shape(node);
    if (is_direct(w.group_inputs, w.groups) || w.k == 0 || w.group_outputs == 0)
        return WEIR_OK;
    out_packing->format =
        w.together == WEIR_K_PANEL ? WEIR_CPU_FORMAT_PANELS : WEIR_CPU_FORMAT_ROWS;
    out_packing->bytes = packed_bytes(&w);
    return WEIR_OK;
}

weir_code_t weir_cpu_conv_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    const conv_weights_t w = weights_shape(node);
    if (input != 1 || bytes < packed_bytes(&w))
        return WEIR_INVALID_ARGUMENT;
    float *to = destination;
    for (uint64_t group = 0; group < w.groups; group++) {
        const float *from = (const float *)node->inputs[1].data + group * w.group_outputs * w.k;
        for (uint64_t block = 0; block < w.group_outputs; block += w.together)
            for (uint64_t k = 0; k < w.k; k++)
                for (uint64_t row = block; row < block + w.together; row++)
                    *to++ = row < w.group_outputs ? from[row * w.k + k] : 0.0f;
    }
    return WEIR_OK;
}

static void program_init(conv_state_t *state, const weir_node_t *node, void *memory)
{
    weir_cpu_program_t *program = &state->program;
    weir_cpu_program_begin(program,
        (weir_cpu_room_t){.expression = node->epilogue, .memory = memory}, state->kernels,
        node->outputs[0].rank, node->outputs[0].dims);
    weir_cpu_anchor_end(program, node, weir_cpu_program_anchor(program));
}

// A row of input for each channel, pixels side by side: that is the matrix.
static int reads_in_place(const conv_state_t *state)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    return s->kernel_height == 1 && s->kernel_width == 1 && s->height == 1 && s->out_height == 1 &&
           s->out_width == s->width && s->stride_x == 1 && s->pad_left == 0 && s->pad_top == 0;
}

static void product_init(conv_state_t *state)
{
    const uint64_t enough = 8, small = 2000000;
    const uint64_t outputs = state->shape.group_outputs;
    uint64_t columns =
        weir_cpu_min(WEIR_CPU_BLOCK_COLUMNS, weir_cpu_round_up(state->pixels, WEIR_K_PANEL));
    uint64_t rows = weir_cpu_round_up(outputs, WEIR_K_TILE_ROWS);
    for (;;) {
        state->column_blocks = columns ? WEIR_DIV_UP(state->pixels, columns) : 0;
        state->row_blocks = rows ? WEIR_DIV_UP(outputs, rows) : 0;
        const uint64_t tasks =
            state->shape.images * state->shape.groups * state->column_blocks * state->row_blocks;
        if (tasks >= enough || rows * columns * state->k < small)
            break;
        // Fewer pixels first: row blocks fill the same panels again.
        if (columns > 2 * WEIR_K_PANEL)
            columns = weir_cpu_round_up(columns / 2, WEIR_K_PANEL);
        else if (rows > 2 * WEIR_K_TILE_ROWS)
            rows = weir_cpu_round_up(rows / 2, WEIR_K_TILE_ROWS);
        else
            break;
    }
    state->block_columns = columns;
    state->block_rows = rows;
    state->is_in_place = (uint32_t)reads_in_place(state);
    state->is_shared = state->row_blocks > 1 && !state->is_in_place;
    // columns is a multiple of 32, so that what comes behind is aligned.
    const uint64_t made = state->is_in_place ? WEIR_K_PANEL : columns;
    state->own_scratch_bytes =
        state->is_shared ? 0 : weir_cpu_min(state->k, WEIR_CPU_BLOCK_K) * made * sizeof(float);
}

// Floats of one block of columns over all of K, and how many such blocks all groups of all images
// have.
static uint64_t column_floats(const conv_state_t *state)
{
    return state->k * state->block_columns;
}

static uint64_t column_total(const conv_state_t *state)
{
    return state->shape.images * state->shape.groups * state->column_blocks;
}

// Floats of a plane, rounded so that the row pointers behind it are aligned.
static uint64_t plane_floats(const weir_cpu_conv_shape_t *shape)
{
    const weir_cpu_conv_plane_t plane = weir_cpu_conv_plane(shape);
    return weir_cpu_round_up(
        (uint64_t)plane.rows * (uint64_t)shape->stride_x * (uint64_t)plane.phase_columns, 16);
}

// 3x3 taps side by side, both strides 1 or both 2.
static int is_plane(const weir_cpu_conv_shape_t *s)
{
    return s->kernel_height == 3 && s->kernel_width == 3 && s->dilation_y == 1 &&
           s->dilation_x == 1 && s->stride_y == s->stride_x && s->stride_x <= 2;
}

static void direct_init(conv_state_t *state)
{
    state->is_plane = (uint32_t)is_plane(&state->shape);
    const uint64_t floats = state->pixels ? plane_floats(&state->shape) : 0;
    const weir_cpu_conv_plane_t plane = weir_cpu_conv_plane(&state->shape);
    const weir_cpu_conv_shape_t *s = &state->shape;
    for (int64_t tap = 0; tap < (int64_t)state->k; tap++) {
        const int64_t ky = tap / s->kernel_width, column = tap % s->kernel_width * s->dilation_x;
        state->tap_at[tap] =
            (ky * s->dilation_y * s->stride_x + column % s->stride_x) * plane.phase_columns +
            column / s->stride_x;
    }
    const uint64_t plane_ns = (state->is_plane ? 0 : floats / 8) +
                              state->pixels * state->k / (state->is_plane ? 24 : 16) + 10;
    state->planes_per_task = WEIR_MAX(1u, 20000 / plane_ns);
    if (state->is_plane)
        return;
    // Two planes, one of ones, the taps' weights and rows; see direct_memory.
    state->own_scratch_bytes = weir_cpu_round_up(
        3 * floats * sizeof(float) + (state->k + 1) * (sizeof(const float *) + sizeof(float)), 64);
}

weir_code_t weir_cpu_conv_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const weir_k_table_t *kernels = weir_cpu_isa_table(host);
    if (!kernels)
        return host->fail(host, WEIR_UNAVAILABLE, "option isa of plugin cpu: not on this machine");
    weir_cpu_conv_shape_t shape;
    const char *wrong = weir_cpu_conv_shape(node, &shape);
    if (wrong)
        return host->fail(host, WEIR_INVALID_ARGUMENT, "Conv: %s", wrong);
    const uint64_t k =
        shape.group_inputs * (uint64_t)shape.kernel_height * (uint64_t)shape.kernel_width;
    const int direct = is_direct(shape.group_inputs, shape.groups);
    const uint64_t tap_count = direct ? k : 0;
    conv_state_t *state =
        host->alloc(host, sizeof(*state) + tap_count * sizeof(state->tap_at[0]) +
                              (node->epilogue ? weir_cpu_program_bytes(node->epilogue) : 0));
    if (!state)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for the state of a Conv");
    *state = (conv_state_t){.kernels = kernels, .shape = shape};
    state->k = k;
    state->pixels = (uint64_t)shape.out_height * (uint64_t)shape.out_width;
    state->is_direct = (uint32_t)direct;
    const uint32_t format = node->inputs[1].format;
    state->together = format == WEIR_CPU_FORMAT_PANELS ? WEIR_K_PANEL
                      : format == WEIR_CPU_FORMAT_ROWS ? WEIR_K_TILE_ROWS
                                                       : 1;
    state->is_few = format == WEIR_CPU_FORMAT_PANELS && k > 0 && weir_cpu_few_takes(&shape);
    if (state->is_direct)
        direct_init(state);
    else if (state->is_few)
        state->own_scratch_bytes = weir_cpu_round_up(weir_cpu_few_scratch_bytes(&shape), 64);
    else
        product_init(state);
    state->has_bias = weir_cpu_anchor_inputs(node) > 2 && node->inputs[2].dtype != 0;
    state->has_program = node->epilogue != NULL;
    if (state->has_program)
        program_init(state, node, &state->tap_at[tap_count]);
    out_prepared->state = state;
    out_prepared->scratch_bytes =
        state->own_scratch_bytes + (state->has_program ? state->program.scratch_bytes : 0);
    if (state->is_shared)
        out_prepared->shared_bytes = column_total(state) * column_floats(state) * sizeof(float);
    return WEIR_OK;
}

// Tasks of the phase that computes; 0 if the output is empty.
static uint64_t task_total(const conv_state_t *state)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    if (state->pixels == 0)
        return 0;
    if (state->is_direct)
        return WEIR_DIV_UP(s->images * s->groups * s->group_outputs, state->planes_per_task);
    if (state->is_few)
        return s->images * s->groups * weir_cpu_few_tasks(s);
    return column_total(state) * state->row_blocks;
}

void weir_cpu_conv_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const conv_state_t *state = opaque;
    (void)node;
    uint32_t phase = 0;
    if (state->is_shared) {
        out_tasks->task_count[phase] =
            WEIR_MAX(1u, column_total(state) * WEIR_DIV_UP(state->k, WEIR_CPU_BLOCK_K));
        out_tasks->task_cost_ns[phase] = state->block_columns * WEIR_CPU_BLOCK_K / 2;
        phase++;
    }
    out_tasks->task_count[phase] = WEIR_MAX(1u, task_total(state));
    // Few pixels: a panel comes from the L2 cache in the time of some 4 pixels' sums.
    out_tasks->task_cost_ns[phase] =
        state->is_direct ? 20000
        : state->is_few  ? weir_cpu_min(state->shape.group_outputs, WEIR_CPU_FEW_CHANNELS) *
                                  state->k * (state->pixels + 4) / 80 +
                              1
                        : state->block_rows * state->block_columns * state->k / 40 + 1;
    out_tasks->phase_count = phase + 1;
}

// Fills rows [k0, k0 + depth) of one block of columns, counted over all groups of all images.
static void columns_fill(const conv_state_t *state, const weir_task_t *task, uint64_t column_block,
    uint64_t k0, uint64_t depth, float *to)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    const uint64_t group = column_block / state->column_blocks;
    const uint64_t column = column_block % state->column_blocks * state->block_columns;
    const float *x = (const float *)task->inputs[0].data +
                     group * s->group_inputs * (uint64_t)(s->height * s->width);
    weir_cpu_conv_columns(
        s, x, k0, depth, column, weir_cpu_min(state->pixels - column, state->block_columns), to);
}

static void columns_run(const conv_state_t *state, const weir_task_t *task, uint64_t number)
{
    const uint64_t depth_blocks = WEIR_DIV_UP(state->k, WEIR_CPU_BLOCK_K);
    const uint64_t column_block = number / depth_blocks;
    const uint64_t k0 = number % depth_blocks * WEIR_CPU_BLOCK_K;
    float *to = (float *)task->shared + column_block * column_floats(state);
    columns_fill(state, task, column_block, k0, weir_cpu_min(state->k - k0, WEIR_CPU_BLOCK_K),
        to + k0 * state->block_columns);
}

// Where a block of columns and some rows of K are.
typedef struct panels {
    const float *whole, *last; // last: of fewer than 32 columns
    uint64_t columns, last_columns;
    uint64_t panel, k, last_k; // distances
} panels_t;

// Of the input as it lies. Behind its end nothing can be read: there the last panel is copied.
static panels_t panels_in_place(const conv_state_t *state, const weir_task_t *task,
    uint64_t column_block, uint64_t columns, uint64_t k0, uint64_t depth)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    const uint64_t group = column_block / state->column_blocks, pixels = state->pixels;
    const uint64_t column = column_block % state->column_blocks * state->block_columns;
    const uint64_t first = (group * s->group_inputs + k0) * pixels + column;
    const uint64_t whole = columns - columns % WEIR_K_PANEL;
    panels_t panels = {.whole = (const float *)task->inputs[0].data + first,
        .columns = whole,
        .last_columns = columns - whole,
        .panel = WEIR_K_PANEL,
        .k = pixels,
        .last_k = pixels};
    panels.last = panels.whole + whole;
    const uint64_t all = s->images * s->groups * s->group_inputs * pixels;
    if (panels.last_columns > 0 && first + (depth - 1) * pixels + whole + WEIR_K_PANEL > all) {
        const float *x = (const float *)task->inputs[0].data + group * s->group_inputs * pixels;
        weir_cpu_conv_columns(s, x, k0, depth, column + whole, panels.last_columns, task->scratch);
        panels.last = task->scratch;
        panels.last_k = WEIR_K_PANEL;
    }
    return panels;
}

static panels_t panels_of(const conv_state_t *state, const weir_task_t *task, uint64_t column_block,
    uint64_t columns, uint64_t k0, uint64_t depth)
{
    if (state->is_in_place && depth > 0)
        return panels_in_place(state, task, column_block, columns, k0, depth);
    float *made = task->scratch;
    if (state->is_shared)
        made =
            (float *)task->shared + column_block * column_floats(state) + k0 * state->block_columns;
    else
        columns_fill(state, task, column_block, k0, depth, made);
    return (panels_t){
        .whole = made, .columns = columns, .panel = depth * WEIR_K_PANEL, .k = WEIR_K_PANEL};
}

static void product_run(const conv_state_t *state, const weir_task_t *task, uint64_t number,
    weir_cpu_interpreter_t *interpreter)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    const uint64_t row_block = number % state->row_blocks;
    const uint64_t column_block = number / state->row_blocks; // of all groups of all images
    const uint64_t group = column_block / state->column_blocks;
    const uint64_t column = column_block % state->column_blocks * state->block_columns;
    const uint64_t columns = weir_cpu_min(state->pixels - column, state->block_columns);
    const uint64_t first_row = row_block * state->block_rows;
    const uint64_t end_row = weir_cpu_min(first_row + state->block_rows, s->group_outputs);
    const uint64_t together = state->together;
    const uint64_t weight_rows = weir_cpu_round_up(s->group_outputs, together);
    const float *weights =
        (const float *)task->inputs[1].data + group % s->groups * weight_rows * state->k;
    const float *bias =
        state->has_bias ? (const float *)task->inputs[2].data + group % s->groups * s->group_outputs
                        : NULL;
    uint64_t k0 = 0;
    do { // once even if K is 0
        const uint64_t depth = weir_cpu_min(state->k - k0, WEIR_CPU_BLOCK_K);
        const panels_t panels = panels_of(state, task, column_block, columns, k0, depth);
        for (uint64_t row = first_row, rows; row < end_row; row += rows) {
            const uint64_t first = (group * s->group_outputs + row) * state->pixels + column;
            rows = weir_cpu_min(end_row - row, WEIR_K_TILE_ROWS);
            if (together > 1)
                rows = weir_cpu_min(rows, together - row % together);
            weir_k_gemm_block_t tile = {
                .rows = rows,
                .columns = panels.columns,
                .k = depth,
                .a = weights + (row - row % together) * state->k + k0 * together + row % together,
                .a_row = together > 1 ? 1 : state->k,
                .a_k = together,
                .b = panels.whole,
                .b_panel = panels.panel,
                .b_k = panels.k,
                .c = (float *)task->outputs[0].data + first,
                .c_row = state->pixels,
                .start = bias ? bias + row : NULL,
                .resume = k0 > 0,
            };
            if (panels.columns > 0)
                state->kernels->gemm_f32_12x32(&tile);
            if (panels.last_columns > 0) {
                tile.columns = panels.last_columns;
                tile.b = panels.last;
                tile.b_k = panels.last_k;
                tile.c += panels.columns;
                state->kernels->gemm_f32_12x32(&tile);
            }
            if (state->has_program && k0 + depth == state->k)
                weir_cpu_anchor_apply(interpreter, first, tile.rows, columns, state->pixels);
        }
        k0 += WEIR_CPU_BLOCK_K;
    } while (k0 < state->k);
}

static void few_run(const conv_state_t *state, const weir_task_t *task, uint64_t number,
    weir_cpu_interpreter_t *interpreter)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    const uint64_t parts = weir_cpu_few_tasks(s), part = number % parts, group = number / parts;
    const uint64_t of_group = group % s->groups, outputs = s->group_outputs;
    const uint64_t first = part * WEIR_CPU_FEW_CHANNELS;
    const uint64_t group_floats = weir_cpu_round_up(outputs, WEIR_K_PANEL) * state->k;
    weir_cpu_few_run(s, state->kernels, part,
        (const float *)task->inputs[0].data + group * s->group_inputs * (uint64_t)s->width,
        (const float *)task->inputs[1].data + of_group * group_floats,
        state->has_bias ? (const float *)task->inputs[2].data + of_group * outputs : NULL,
        (float *)task->outputs[0].data + group * outputs * state->pixels, task->scratch);
    if (state->has_program)
        weir_cpu_interpreter_run(interpreter, (group * outputs + first) * state->pixels,
            weir_cpu_min(outputs - first, WEIR_CPU_FEW_CHANNELS) * state->pixels);
}

// What a task of the direct way works in.
typedef struct direct_memory {
    float *padded, *wide, *ones, *weights;
    const float **rows;
} direct_memory_t;

static direct_memory_t direct_memory(const conv_state_t *state, void *scratch)
{
    const uint64_t floats = plane_floats(&state->shape);
    direct_memory_t memory = {.padded = scratch};
    memory.wide = memory.padded + floats;
    memory.ones = memory.wide + floats;
    memory.rows = (const float **)(void *)(memory.ones + floats);
    memory.weights = (float *)(void *)(memory.rows + state->k + 1);
    memset(memory.padded, 0, floats * sizeof(float)); // the pads stay
    for (uint64_t i = 0; i < floats && state->has_bias; i++)
        memory.ones[i] = 1.0f;
    return memory;
}

// Output plane `number` of all images.
static void plane_run(const conv_state_t *state, const weir_task_t *task, uint64_t number)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    const uint64_t channel = number % (s->groups * s->group_outputs);
    const weir_k_depthwise_plane_block_t plane = {
        .x = (const float *)task->inputs[0].data +
             number / s->group_outputs * (uint64_t)(s->height * s->width),
        .height = s->height,
        .width = s->width,
        .out_height = s->out_height,
        .out_width = s->out_width,
        .pad_top = s->pad_top,
        .pad_left = s->pad_left,
        .stride = s->stride_x,
        .weights = (const float *)task->inputs[1].data + channel * state->k,
        .start = state->has_bias ? ((const float *)task->inputs[2].data)[channel] : 0.0f,
        .y = (float *)task->outputs[0].data + number * state->pixels,
    };
    state->kernels->depthwise_3x3_f32(&plane);
}

// The same for any window. A bias is a tap on a row of ones, before all others.
static void direct_run(const conv_state_t *state, const weir_task_t *task, uint64_t number,
    const direct_memory_t *memory)
{
    const weir_cpu_conv_shape_t *s = &state->shape;
    const weir_cpu_conv_plane_t plane = weir_cpu_conv_plane(s);
    const int64_t row_floats = s->stride_x * plane.phase_columns;
    const uint64_t outputs = s->groups * s->group_outputs, bias = state->has_bias;
    const float *x = (const float *)task->inputs[0].data +
                     number / s->group_outputs * (uint64_t)(s->height * s->width);
    float *y = (float *)task->outputs[0].data + number * state->pixels;
    memory->rows[0] = memory->ones;
    if (bias)
        memory->weights[0] = ((const float *)task->inputs[2].data)[number % outputs];
    memcpy(memory->weights + bias,
        (const float *)task->inputs[1].data + number % outputs * state->k,
        state->k * sizeof(float));
    weir_cpu_conv_plane_fill(s, state->kernels, x, memory->padded);
    // Short rows with stride 1 go as one: outputs at the padded distance, dropped where they lie
    // between two rows. Every tap of the last one kept still lies in the plane.
    const int joins = s->stride_x == 1 && s->stride_y == 1 && s->out_width < 64;
    for (int64_t out_y = 0; out_y < (joins ? 1 : s->out_height); out_y++) {
        const float *first_row = memory->padded + out_y * s->stride_y * row_floats;
        for (uint64_t tap = 0; tap < state->k; tap++)
            memory->rows[bias + tap] = first_row + state->tap_at[tap];
        if (joins)
            state->kernels->depthwise_f32((size_t)((s->out_height - 1) * row_floats + s->out_width),
                bias + state->k, memory->weights, memory->rows, memory->wide);
        else
            state->kernels->depthwise_f32((size_t)s->out_width, bias + state->k, memory->weights,
                memory->rows, y + out_y * s->out_width);
    }
    for (int64_t out_y = 0; joins && out_y < s->out_height; out_y++)
        weir_cpu_floats_copy(
            memory->wide + out_y * row_floats, s->out_width, y + out_y * s->out_width);
}

weir_code_t weir_cpu_conv_run(const weir_task_t *task)
{
    const conv_state_t *state = task->state;
    const weir_cpu_conv_shape_t *s = &state->shape;
    if (state->is_shared && task->phase == 0) {
        const uint64_t blocks = column_total(state) * WEIR_DIV_UP(state->k, WEIR_CPU_BLOCK_K);
        for (uint64_t i = task->first; i < task->first + task->count && i < blocks; i++)
            columns_run(state, task, i);
        return WEIR_OK;
    }
    const uint64_t total = task_total(state);
    weir_cpu_interpreter_t interpreter;
    if (state->has_program && total > 0)
        weir_cpu_interpreter_begin(&interpreter, &state->program, task->inputs, task->outputs,
            (unsigned char *)task->scratch + state->own_scratch_bytes);
    const uint64_t end = weir_cpu_min(task->first + task->count, total);
    for (uint64_t i = task->first; i < end && state->is_few; i++)
        few_run(state, task, i, &interpreter);
    for (uint64_t i = task->first; i < end && !state->is_direct && !state->is_few; i++)
        product_run(state, task, i, &interpreter);
    if (!state->is_direct || task->first >= end)
        return WEIR_OK;
    direct_memory_t memory;
    if (!state->is_plane)
        memory = direct_memory(state, task->scratch);
    const uint64_t planes = s->images * s->groups * s->group_outputs;
    for (uint64_t i = task->first; i < end; i++) {
        const uint64_t first = i * state->planes_per_task;
        const uint64_t count = weir_cpu_min(state->planes_per_task, planes - first);
        for (uint64_t plane = first; plane < first + count; plane++)
            if (state->is_plane)
                plane_run(state, task, plane);
            else
                direct_run(state, task, plane, &memory);
        if (state->has_program)
            weir_cpu_interpreter_run(&interpreter, first * state->pixels, count * state->pixels);
    }
    return WEIR_OK;
}
