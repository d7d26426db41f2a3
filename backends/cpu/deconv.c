// ConvTranspose in f32 whose windows neither overlap nor leave gaps (kernel = strides, no pads): a
// product of the transposed weights and the pixels, stored where each tap belongs.
//
// One ascending chain over the input channels for every output element. A task is a block of whole
// input rows of one group of one image, so the rows of the output that it makes are its own. Other
// transposed convolutions are left to the next plugin.
#include <string.h>

#include "backends/cpu/anchor.h"
#include "backends/cpu/common.h"
#include "backends/cpu/conv_shape.h"

#define WAYS_MAX 8 // of the kernel along x

typedef struct deconv_state {
    const weir_k_table_t *kernels;
    uint64_t images, groups, inputs, outputs; // inputs, outputs: channels of one group
    uint64_t height, width, kernel_y, kernel_x;
    uint64_t block_height, blocks; // rows of the input
    uint64_t panel_bytes, tile_row;
    uint32_t has_program;
    weir_cpu_program_t program;
} deconv_state_t;

weir_code_t weir_cpu_deconv_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->input_count < 2 || node->output_count == 0)
        return weir_cpu_refuse(out_support, "inputs are missing");
    const weir_tensor_t *x = &node->inputs[0], *w = &node->inputs[1], *y = &node->outputs[0];
    if (x->rank < 3 || x->rank > 4 || w->rank != x->rank || y->rank != x->rank)
        return weir_cpu_refuse(out_support, "takes one or two spatial dims only");
    for (uint32_t i = 0; i < x->rank - 2; i++) {
        const int64_t kernel = w->dims[i + 2];
        if (kernel < 1 || weir_cpu_attribute_at(node, "strides", i, 1) != kernel ||
            (weir_cpu_attribute_at(node, "dilations", i, 1) != 1 && kernel > 1) ||
            weir_cpu_attribute_at(node, "pads", i, 0) != 0 ||
            weir_cpu_attribute_at(node, "pads", i + x->rank - 2, 0) != 0 ||
            weir_cpu_attribute_at(node, "output_padding", i, 0) != 0)
            return weir_cpu_refuse(out_support, "its windows overlap, leave gaps or are cut");
    }
    const weir_attribute_t *shape = weir_node_attribute(node, "output_shape");
    const char *mode = weir_cpu_string(node, "auto_pad");
    if ((shape && shape->count > 0) || (mode[0] && strcmp(mode, "NOTSET")))
        return weir_cpu_refuse(out_support, "takes neither output_shape nor auto_pad");
    if (w->dims[x->rank - 1] > WAYS_MAX)
        return weir_cpu_refuse(out_support, "takes kernels of at most 8 columns");
    return weir_cpu_anchor_supports(node, 3, out_support);
}

static int has_bias(const weir_node_t *node)
{
    return weir_cpu_anchor_inputs(node) > 2 && node->inputs[2].dtype != 0;
}

// Bias, then the epilogue. The program's memory lies behind the state.
static void program_init(deconv_state_t *state, const weir_node_t *node)
{
    weir_cpu_program_t *program = &state->program;
    weir_cpu_program_begin(program,
        (weir_cpu_room_t){.expression = node->epilogue, .memory = state + 1}, state->kernels,
        node->outputs[0].rank, node->outputs[0].dims);
    uint16_t result = weir_cpu_program_anchor(program);
    if (has_bias(node)) {
        const int64_t strides[WEIR_RANK_MAX] = {0, 1}; // one value a channel
        const uint16_t bias = weir_cpu_program_load(program, node, 2, strides);
        result = weir_cpu_program_binary(program, WEIR_OP_ADD, result, bias);
    }
    weir_cpu_anchor_end(program, node, result);
}

weir_code_t weir_cpu_deconv_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const weir_tensor_t *x = &node->inputs[0], *w = &node->inputs[1], *y = &node->outputs[0];
    const int64_t groups = weir_node_int(node, "group", 1);
    const uint32_t last = x->rank - 1;
    const int64_t height = x->rank == 4 ? x->dims[2] : 1;
    const int64_t kernel_y = x->rank == 4 ? w->dims[2] : 1;
    if (groups < 1 || x->dims[1] % groups || w->dims[0] != x->dims[1] ||
        y->dims[1] != w->dims[1] * groups || y->dims[0] != x->dims[0] ||
        y->dims[last] != x->dims[last] * w->dims[last] ||
        (x->rank == 4 && y->dims[2] != height * kernel_y))
        return host->fail(host, WEIR_INVALID_ARGUMENT, "ConvTranspose: the dims do not fit");
    deconv_state_t *state;
    const int has_program = has_bias(node) || node->epilogue;
    const weir_code_t code = weir_cpu_state_new(host, node,
        sizeof(*state) + (has_program ? weir_cpu_program_bytes(node->epilogue) : 0), &state);
    if (code != WEIR_OK)
        return code;
    state->has_program = (uint32_t)has_program;
    state->images = (uint64_t)x->dims[0];
    state->groups = (uint64_t)groups;
    state->inputs = (uint64_t)(x->dims[1] / groups);
    state->outputs = (uint64_t)w->dims[1];
    state->height = (uint64_t)height;
    state->width = (uint64_t)x->dims[last];
    state->kernel_y = (uint64_t)kernel_y;
    state->kernel_x = (uint64_t)w->dims[last];
    const uint64_t wanted = WEIR_MAX(1u, 512 / WEIR_MAX(state->width, 1u));
    state->block_height = weir_cpu_min(wanted, WEIR_MAX(state->height, 1u));
    state->blocks = y->element_count ? WEIR_DIV_UP(state->height, state->block_height) : 0;
    const uint64_t columns = weir_cpu_round_up(state->block_height * state->width, WEIR_K_PANEL);
    state->panel_bytes = columns * state->inputs * sizeof(float);
    state->tile_row = columns + 16; // off a power of two
    if (has_program)
        program_init(state, node);
    out_prepared->state = state;
    // One channel's taps are stored together: up to a tile and the taps that reach into it.
    out_prepared->scratch_bytes = state->panel_bytes +
                                  state->kernel_y * state->kernel_x * state->tile_row * 4 +
                                  (state->has_program ? state->program.scratch_bytes : 0);
    return WEIR_OK;
}

void weir_cpu_deconv_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const deconv_state_t *state = opaque;
    const uint64_t work = state->block_height * state->width * state->inputs * state->outputs *
                          state->kernel_y * state->kernel_x;
    (void)node;
    weir_cpu_tasks_one(
        out_tasks, state->images * state->groups * state->blocks, 1, work / 30 + 100);
}

// All taps of one output channel over a block's pixels, in `taps`, then stored.
static void channel_run(const deconv_state_t *state, const weir_k_gemm_block_t *block,
    uint64_t rows, float *taps, float *out)
{
    const uint64_t tap_count = state->kernel_y * state->kernel_x;
    for (uint64_t tap = 0; tap < tap_count; tap += WEIR_K_TILE_ROWS) {
        weir_k_gemm_block_t tile = *block;
        tile.rows = weir_cpu_min(tap_count - tap, WEIR_K_TILE_ROWS);
        tile.a += tap;
        tile.c = taps + tap * state->tile_row;
        state->kernels->gemm_f32_12x32(&tile);
    }
    for (uint64_t y = 0; y < rows; y++)
        for (uint64_t ky = 0; ky < state->kernel_y; ky++) {
            const float *ways[WAYS_MAX];
            for (uint64_t kx = 0; kx < state->kernel_x; kx++)
                ways[kx] = taps + (ky * state->kernel_x + kx) * state->tile_row + y * state->width;
            state->kernels->interleave_f32(state->width, state->kernel_x, ways, out);
            out += state->width * state->kernel_x;
        }
}

static void block_run(const deconv_state_t *state, const weir_task_t *task, uint64_t number,
    weir_cpu_interpreter_t *interpreter)
{
    const uint64_t group = number / state->blocks; // of all images
    const uint64_t first_row = number % state->blocks * state->block_height;
    const uint64_t rows = weir_cpu_min(state->height - first_row, state->block_height);
    const uint64_t pixels = state->height * state->width, columns = rows * state->width;
    const uint64_t tap_count = state->kernel_y * state->kernel_x;
    const float *x = (const float *)task->inputs[0].data + group * state->inputs * pixels +
                     first_row * state->width;
    const float *w = (const float *)task->inputs[1].data +
                     group % state->groups * state->inputs * state->outputs * tap_count;
    float *panels = task->scratch, *taps = panels + state->panel_bytes / sizeof(float);
    state->kernels->pack_f32_x32(state->inputs, columns, x, pixels, 1, panels);
    for (uint64_t channel = 0; channel < state->outputs; channel++) {
        const weir_k_gemm_block_t block = {
            .columns = columns,
            .k = state->inputs,
            .a = w + channel * tap_count,
            .a_row = 1,
            .a_k = state->outputs * tap_count,
            .b = panels,
            .b_panel = state->inputs * WEIR_K_PANEL,
            .b_k = WEIR_K_PANEL,
            .c_row = state->tile_row,
        };
        const uint64_t out_row = state->width * state->kernel_x;
        const uint64_t first = ((group * state->outputs + channel) * state->height + first_row) *
                               state->kernel_y * out_row;
        channel_run(state, &block, rows, taps, (float *)task->outputs[0].data + first);
        if (state->has_program)
            weir_cpu_interpreter_run(interpreter, first, rows * state->kernel_y * out_row);
    }
}

weir_code_t weir_cpu_deconv_run(const weir_task_t *task)
{
    const deconv_state_t *state = task->state;
    uint64_t first, end;
    weir_cpu_task_range(task, state->images * state->groups * state->blocks, 1, &first, &end);
    weir_cpu_interpreter_t interpreter;
    if (state->has_program && first < end)
        weir_cpu_interpreter_begin(&interpreter, &state->program, task->inputs, task->outputs,
            (unsigned char *)task->scratch + state->panel_bytes +
                state->kernel_y * state->kernel_x * state->tile_row * 4);
    for (uint64_t i = first; i < end; i++)
        block_run(state, task, i, &interpreter);
    return WEIR_OK;
}
