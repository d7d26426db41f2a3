// ConvTranspose in blocked format whose windows do not overlap: the stride is the kernel, without
// padding. Every output then has one tap, so each tap is a 1x1 convolution that writes every
// stride-th pixel.
//
// All other transposed convolutions are left to the next kernel.
#include "backends/cpu/anchor.h"
#include "backends/cpu/blocked.h"
#include "backends/cpu/common.h"
#include "backends/cpu/conv_shape.h"

#define QUAD 4u        // blocks of output channels in one call of the kernel
#define FEW_CHANNELS 8 // fewer are cheaper row-major

typedef struct spread_state {
    const weir_k_table_t *kernels;
    uint64_t rows, height, width; // of the input; rows: of all images
    uint64_t inputs, blocks;      // input channels, blocks of output channels
    uint64_t kernel_y, kernel_x;
    uint64_t rows_per_task, row_ns;
    uint64_t program_offset;
    weir_cpu_finish_t finish;
} spread_state_t;

weir_code_t weir_cpu_blocked_spread_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_finish_supports(node, 3, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0], *w = &node->inputs[1];
    if (!weir_cpu_is_blocked(x) || w->rank != 4 || !(w->flags & WEIR_TENSOR_CONSTANT) ||
        weir_node_int(node, "group", 1) != 1 || w->element_count == 0)
        return weir_cpu_refuse(out_support, "takes blocks, constant weights and one group only");
    if (w->dims[1] < FEW_CHANNELS)
        return weir_cpu_refuse(out_support, "most of a block would be empty");
    const char *mode = weir_cpu_string(node, "auto_pad");
    const weir_attribute_t *shape = weir_node_attribute(node, "output_shape");
    int fits = (mode[0] == '\0' || mode[0] == 'N') && (!shape || shape->count == 0);
    for (uint32_t axis = 0; axis < 2; axis++)
        fits = fits && weir_cpu_attribute_at(node, "strides", axis, 1) == w->dims[axis + 2] &&
               weir_cpu_attribute_at(node, "dilations", axis, 1) == 1 &&
               weir_cpu_attribute_at(node, "output_padding", axis, 0) == 0 &&
               weir_cpu_attribute_at(node, "pads", axis, 0) == 0 &&
               weir_cpu_attribute_at(node, "pads", axis + 2, 0) == 0;
    return fits ? WEIR_OK
                : weir_cpu_refuse(out_support, "takes windows that neither overlap nor pad only");
}

static uint64_t weight_floats(const weir_tensor_t *w)
{
    return (uint64_t)w->dims[0] * weir_cpu_blocks((uint64_t)w->dims[1]) * WEIR_K_BLOCK *
           (uint64_t)(w->dims[2] * w->dims[3]);
}

weir_code_t weir_cpu_blocked_spread_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    return weir_cpu_finish_pack_query(node, input, WEIR_CPU_FORMAT_SPREAD,
        weight_floats(&node->inputs[1]) * sizeof(float), out_packing);
}

// [tap][up to four blocks of outputs][input][their lanes].
weir_code_t weir_cpu_blocked_spread_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    if (input != 1)
        return weir_cpu_blocked_pack(node, input, destination, bytes);
    const weir_tensor_t *w = &node->inputs[1];
    if (bytes < weight_floats(w) * sizeof(float))
        return WEIR_INVALID_ARGUMENT;
    const uint64_t inputs = (uint64_t)w->dims[0], outputs = (uint64_t)w->dims[1];
    const uint64_t taps = (uint64_t)(w->dims[2] * w->dims[3]);
    const uint64_t lanes_all = weir_cpu_blocks(outputs) * WEIR_K_BLOCK;
    const float *from = w->data;
    float *to = destination;
    for (uint64_t tap = 0; tap < taps; tap++)
        for (uint64_t first = 0; first < lanes_all; first += QUAD * WEIR_K_BLOCK)
            for (uint64_t i = 0; i < inputs; i++)
                for (uint64_t o = first; o < first + QUAD * WEIR_K_BLOCK && o < lanes_all; o++)
                    *to++ = o < outputs ? from[(i * outputs + o) * taps + tap] : 0.0f;
    return WEIR_OK;
}

weir_code_t weir_cpu_blocked_spread_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    spread_state_t *state;
    const weir_code_t code =
        weir_cpu_state_new(host, node, sizeof(*state) + weir_cpu_finish_bytes(node), &state);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0], *w = &node->inputs[1], *y = &node->outputs[0];
    state->height = (uint64_t)x->dims[2];
    state->width = (uint64_t)x->dims[3];
    state->rows = state->width ? (uint64_t)x->dims[0] * state->height : 0;
    state->inputs = (uint64_t)w->dims[0];
    state->blocks = weir_cpu_blocks((uint64_t)w->dims[1]);
    state->kernel_y = (uint64_t)w->dims[2];
    state->kernel_x = (uint64_t)w->dims[3];
    const char *wrong = weir_cpu_finish_init(&state->finish, state + 1, state->kernels, node);
    if (!wrong && w->format != WEIR_CPU_FORMAT_SPREAD)
        wrong = "the weights have not been packed";
    if (!wrong && (y->dims[2] != x->dims[2] * w->dims[2] || y->dims[3] != x->dims[3] * w->dims[3] ||
                      state->width > UINT32_MAX / 64))
        wrong = "the dims do not fit";
    state->row_ns = state->width * state->inputs * state->kernel_y * state->kernel_x *
                        state->blocks * WEIR_K_BLOCK / 40 +
                    1;
    state->rows_per_task = WEIR_MAX(1u, WEIR_CPU_TASK_NS / state->row_ns);
    state->program_offset = weir_cpu_round_up(state->width * sizeof(uint32_t), 64);
    return weir_cpu_state_end(host, node, wrong, state,
        state->program_offset + state->finish.program.scratch_bytes, out_prepared);
}

void weir_cpu_blocked_spread_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const spread_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->rows, state->rows_per_task, state->row_ns);
}

// Tap (ky, kx) of one input row, for up to four blocks of output channels.
static void tap_run(const spread_state_t *state, const weir_task_t *task, uint64_t row,
    uint64_t tap, uint64_t first_block)
{
    static const uint32_t no_tap[1] = {0};
    const uint64_t image = row / state->height, plane = state->height * state->width * WEIR_K_BLOCK;
    const uint64_t ky = tap / state->kernel_x, kx = tap % state->kernel_x;
    const uint64_t out_width = state->width * state->kernel_x;
    const uint64_t block = image * state->blocks + first_block;
    const uint64_t offset = (block * state->finish.pixels +
                                (row % state->height * state->kernel_y + ky) * out_width + kx) *
                            WEIR_K_BLOCK;
    const uint64_t full = state->inputs / WEIR_K_BLOCK, tail = state->inputs % WEIR_K_BLOCK;
    weir_k_finish_t finish;
    const weir_k_finish_t *last = weir_cpu_finish_of(&state->finish, task, block, offset, &finish);
    weir_k_conv_block_t call = {
        .pixels = state->width,
        .blocks = weir_cpu_min(state->blocks - first_block, QUAD),
        .chunks = full,
        .taps = 1,
        .inner = WEIR_K_BLOCK,
        .x = (const float *)task->inputs[0].data + image * weir_cpu_blocks(state->inputs) * plane +
             row % state->height * state->width * WEIR_K_BLOCK,
        .at = task->scratch,
        .tap_at = no_tap,
        .x_chunk = plane,
        .weights = (const float *)task->inputs[1].data +
                   (tap * state->blocks + first_block) * WEIR_K_BLOCK * state->inputs,
        .y = (float *)task->outputs[0].data + offset,
        .y_block = state->finish.pixels * WEIR_K_BLOCK,
        .y_pixel = state->kernel_x * WEIR_K_BLOCK,
        .finish = tail ? NULL : last,
    };
    if (full > 0)
        state->kernels->conv_f32_x16(&call);
    if (tail == 0)
        return;
    call.chunks = 1;
    call.inner = tail;
    call.x += full * plane;
    call.weights += full * WEIR_K_BLOCK * call.blocks * WEIR_K_BLOCK;
    call.resume = full > 0;
    call.finish = last;
    state->kernels->conv_f32_x16(&call);
}

weir_code_t weir_cpu_blocked_spread_run(const weir_task_t *task)
{
    const spread_state_t *state = task->state;
    uint64_t row, end;
    weir_cpu_task_range(task, state->rows, state->rows_per_task, &row, &end);
    weir_cpu_interpreter_t interpreter;
    if (state->finish.has_program && row < end)
        weir_cpu_interpreter_begin(&interpreter, &state->finish.program, task->inputs,
            task->outputs, (unsigned char *)task->scratch + state->program_offset);
    uint32_t *at = task->scratch;
    for (uint64_t p = 0; p < state->width; p++)
        at[p] = (uint32_t)(p * WEIR_K_BLOCK);
    const uint64_t out_pixels = state->kernel_y * state->width * state->kernel_x;
    for (; row < end; row++) {
        for (uint64_t block = 0; block < state->blocks; block += QUAD)
            for (uint64_t tap = 0; tap < state->kernel_y * state->kernel_x; tap++)
                tap_run(state, task, row, tap, block);
        for (uint64_t block = 0; block < state->blocks; block++)
            weir_cpu_finish_apply(&state->finish, task, &interpreter,
                row / state->height * state->blocks + block, row % state->height * out_pixels,
                out_pixels);
    }
    return WEIR_OK;
}
