// Conv in blocked format with its operands rounded to bf16, sums in f32.
//
// low_conv.h says how: a task rounds the inputs of a strip into its scratch, multiplies them with
// 32 output channels at a time and finishes those in f32. One chain for each output over (32 input
// channels, tap), with zeros where there is padding, so neither strips nor tasks change a bit.
#include <string.h>

#include "backends/cpu/anchor.h"
#include "backends/cpu/blocked.h"
#include "backends/cpu/common.h"
#include "backends/cpu/low_conv.h"

typedef struct bf16_conv_state {
    const weir_k_table_t *kernels;
    const weir_k_low_table_t *low;
    weir_cpu_low_conv_t conv;
    uint64_t c_offset, program_offset; // in the scratch; the strip lies at 0
    weir_cpu_finish_t finish;
    uint32_t at[]; // [conv.chunks]; behind it the finish's memory
} bf16_conv_state_t;

#define ELEMENT_BYTES 2u

static int is_first(const weir_node_t *node)
{
    return node->inputs[0].format == WEIR_FORMAT_ROW_MAJOR;
}

static weir_code_t supports(const weir_node_t *node, int first, weir_support_t *out_support)
{
    weir_code_t code = weir_cpu_finish_supports(node, 3, out_support);
    if (code == WEIR_OK)
        code = weir_cpu_low_conv_supports(node, ELEMENT_BYTES, first, out_support);
    if (code != WEIR_OK)
        return code;
    if (!weir_cpu_has_bf16())
        return weir_cpu_refuse(out_support, "this machine has no bf16 instructions");
    return first || weir_cpu_is_blocked(&node->inputs[0])
               ? WEIR_OK
               : weir_cpu_refuse(out_support, "takes blocks only");
}

weir_code_t weir_cpu_bf16_conv_supports(const weir_node_t *node, weir_support_t *out_support)
{
    return supports(node, 0, out_support);
}

weir_code_t weir_cpu_bf16_first_supports(const weir_node_t *node, weir_support_t *out_support)
{
    return supports(node, 1, out_support);
}

static uint32_t weights_format(const weir_node_t *node)
{
    return is_first(node) ? WEIR_CPU_FORMAT_BF16_FIRST : WEIR_CPU_FORMAT_BF16_CONV;
}

weir_code_t weir_cpu_bf16_conv_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    return weir_cpu_finish_pack_query(node, input, weights_format(node),
        weir_cpu_low_conv_weights(node, ELEMENT_BYTES, is_first(node)), out_packing);
}

weir_code_t weir_cpu_bf16_conv_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    if (input != 1)
        return weir_cpu_blocked_pack(node, input, destination, bytes);
    if (bytes < weir_cpu_low_conv_weights(node, ELEMENT_BYTES, is_first(node)))
        return WEIR_INVALID_ARGUMENT;
    weir_cpu_low_conv_pack(node, ELEMENT_BYTES, is_first(node), destination);
    return WEIR_OK;
}

static uint64_t places_bytes(uint64_t chunks)
{
    return weir_cpu_round_up(chunks * sizeof(uint32_t), 16);
}

static const char *state_init(bf16_conv_state_t *state, const weir_node_t *node)
{
    const char *wrong = weir_cpu_low_conv_init(&state->conv, ELEMENT_BYTES, is_first(node));
    if (wrong || state->conv.strips == 0)
        return wrong;
    if (node->inputs[1].format != weights_format(node))
        return "the weights have not been packed";
    weir_cpu_low_conv_places(&state->conv, state->at);
    state->c_offset = state->conv.a_bytes + state->conv.first_bytes;
    state->program_offset = state->c_offset + WEIR_K_CHUNK_GROUP * WEIR_K_PANEL * sizeof(float);
    return NULL;
}

weir_code_t weir_cpu_bf16_conv_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    weir_cpu_conv_shape_t shape;
    weir_code_t code = weir_cpu_conv_shape_read(host, node, &shape);
    if (code != WEIR_OK)
        return code;
    const uint64_t at_bytes =
        places_bytes(weir_cpu_low_conv_chunks(node, ELEMENT_BYTES, is_first(node)));
    bf16_conv_state_t *state;
    code = weir_cpu_state_new(
        host, node, sizeof(*state) + at_bytes + weir_cpu_finish_bytes(node), &state);
    if (code != WEIR_OK)
        return code;
    state->low = weir_cpu_low_table(host);
    state->conv.shape = shape;
    state->conv.taps = (uint64_t)(shape.kernel_height * shape.kernel_width);
    const char *wrong = state_init(state, node);
    if (!wrong)
        wrong = weir_cpu_finish_init(
            &state->finish, (unsigned char *)state->at + at_bytes, state->kernels, node);
    return weir_cpu_state_end(host, node, wrong, state,
        state->program_offset + state->finish.program.scratch_bytes, out_prepared);
}

void weir_cpu_bf16_conv_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const bf16_conv_state_t *state = opaque;
    const weir_cpu_low_conv_t *conv = &state->conv;
    (void)node;
    out_tasks->phase_count = 1;
    out_tasks->task_count[0] = WEIR_MAX(1u, weir_cpu_low_conv_tasks(conv));
    const uint64_t outputs = conv->strip_rows * conv->strip_columns;
    out_tasks->task_cost_ns[0] =
        outputs * conv->chunks * conv->panels_per_task * 32 * WEIR_K_PANEL / 400 +
        conv->a_bytes / 16 + 1;
}

static void strip_fill(const bf16_conv_state_t *state, const weir_cpu_low_strip_t *strip,
    const weir_tensor_t *input, unsigned char *to)
{
    const weir_cpu_low_conv_t *conv = &state->conv;
    const float *x = input->data;
    if (conv->unit_bytes) {
        weir_cpu_low_conv_first(conv, strip, input, 0, 0, to + conv->a_bytes, to);
        return;
    }
    const weir_cpu_conv_shape_t *s = &conv->shape;
    const uint64_t blocks = weir_cpu_blocks(s->group_inputs);
    const uint64_t plane_floats = (uint64_t)(s->height * s->width) * WEIR_K_BLOCK;
    const uint64_t rows = strip->rows + conv->reach_y;
    for (uint64_t c = 0; c < conv->channel_chunks; c++) {
        const float *low = x + (strip->image * blocks + 2 * c) * plane_floats;
        const uint64_t high_lanes = 2 * c + 1 < blocks ? WEIR_K_BLOCK : 0;
        const float *high = high_lanes ? low + plane_floats : low;
        for (uint64_t plane = 0; plane < conv->plane_count; plane++) {
            unsigned char *row_to =
                to + (c * conv->plane_count + plane) * conv->plane_pixels * WEIR_K_CHUNK_BYTES;
            for (uint64_t row = 0; row < rows; row++) {
                const weir_cpu_low_run_t run = weir_cpu_low_conv_run(conv, strip, plane, row);
                unsigned char *at = row_to;
                memset(at, 0, run.before * WEIR_K_CHUNK_BYTES);
                at += run.before * WEIR_K_CHUNK_BYTES;
                state->low->bf16_rows(run.inside, low + run.from * WEIR_K_BLOCK, WEIR_K_BLOCK,
                    high + run.from * WEIR_K_BLOCK, high_lanes, run.step * WEIR_K_BLOCK, at);
                at += run.inside * WEIR_K_CHUNK_BYTES;
                memset(at, 0, run.behind * WEIR_K_CHUNK_BYTES);
                row_to += conv->plane_columns * WEIR_K_CHUNK_BYTES;
            }
        }
    }
}

// What a product's rows go to.
typedef struct finisher {
    const bf16_conv_state_t *state;
    const weir_task_t *task;
    const weir_cpu_low_strip_t *strip;
    weir_cpu_interpreter_t *interpreter;
    const float *c;
    uint64_t panel;
} finisher_t;

// `columns` outputs of one block of all images, from pixel `pixel` on.
static void block_finish(
    const finisher_t *finisher, uint64_t block, uint64_t pixel, uint64_t columns, const float *c)
{
    const bf16_conv_state_t *state = finisher->state;
    const uint64_t offset = (block * state->finish.pixels + pixel) * WEIR_K_BLOCK;
    weir_k_finish_t finish;
    state->low->finish_f32_x16(columns, c, WEIR_K_PANEL,
        weir_cpu_finish_of(&state->finish, finisher->task, block, offset, &finish),
        (float *)finisher->task->outputs[0].data + offset);
    weir_cpu_finish_apply(
        &state->finish, finisher->task, finisher->interpreter, block, pixel, columns);
}

static void rows_done(void *user, size_t panel, size_t row, size_t rows)
{
    const finisher_t *finisher = user;
    const uint64_t blocks = finisher->state->finish.out_blocks;
    (void)panel;
    weir_cpu_low_span_t span = {.first = row, .end = row + rows};
    while (weir_cpu_low_conv_span(&finisher->state->conv, finisher->strip, &span))
        for (uint64_t b = 2 * finisher->panel; b < 2 * finisher->panel + 2 && b < blocks; b++)
            block_finish(finisher, finisher->strip->image * blocks + b, span.pixel, span.columns,
                finisher->c + (span.at - row) * WEIR_K_PANEL + b % 2 * WEIR_K_BLOCK);
}

static void panel_run(const bf16_conv_state_t *state, const weir_task_t *task,
    const weir_cpu_low_strip_t *strip, uint64_t panel, weir_cpu_interpreter_t *interpreter)
{
    unsigned char *scratch = task->scratch;
    finisher_t finisher = {.state = state,
        .task = task,
        .strip = strip,
        .interpreter = interpreter,
        .c = (void *)(scratch + state->c_offset),
        .panel = panel};
    const weir_k_chunks_block_t call = {
        .rows = strip->outputs,
        .panels = 1,
        .chunks = state->conv.chunks,
        .a = scratch,
        .at = state->at,
        .b = (const unsigned char *)task->inputs[1].data +
             panel * state->conv.chunks * WEIR_K_CHUNK_PANEL_BYTES,
        .c = scratch + state->c_offset,
        .c_row = WEIR_K_PANEL,
        .done = rows_done,
        .user = &finisher,
    };
    state->low->chunks_bf16(&call);
}

weir_code_t weir_cpu_bf16_conv_run(const weir_task_t *task)
{
    const bf16_conv_state_t *state = task->state;
    const weir_cpu_low_conv_t *conv = &state->conv;
    const uint64_t end = weir_cpu_min(task->first + task->count, weir_cpu_low_conv_tasks(conv));
    weir_cpu_interpreter_t interpreter;
    if (state->finish.has_program && task->first < end)
        weir_cpu_interpreter_begin(&interpreter, &state->finish.program, task->inputs,
            task->outputs, (unsigned char *)task->scratch + state->program_offset);
    uint64_t made = UINT64_MAX;
    weir_cpu_low_strip_t strip = {.rows = 0};
    for (uint64_t i = task->first; i < end; i++) {
        const uint64_t number = i / conv->panel_tasks;
        if (number != made) {
            strip = weir_cpu_low_conv_strip(conv, number);
            strip_fill(state, &strip, &task->inputs[0], task->scratch);
        }
        made = number;
        const uint64_t first = i % conv->panel_tasks * conv->panels_per_task;
        const uint64_t panels = weir_cpu_min(first + conv->panels_per_task, conv->panels);
        for (uint64_t panel = first; panel < panels; panel++)
            panel_run(state, task, &strip, panel, &interpreter);
    }
    return WEIR_OK;
}
