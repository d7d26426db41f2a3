// QLinearConv: bytes in, bytes out, sums in i32; in blocked format, or, slower, row-major.
//
// low_conv.h says how, with 64 input channels to a chunk. Padding is the input's zero point, so
// that every output has all taps and what the zero point adds to a sum depends on the channel
// alone: it goes into the bias. Integer sums are exact, so that nothing can change a bit.
#include <string.h>

#include "backends/cpu/blocked.h"
#include "backends/cpu/int8.h"
#include "backends/cpu/low_conv.h"

#define ELEMENT_BYTES 1u
enum {
    X,
    X_SCALE,
    X_ZERO,
    W,
    W_SCALE,
    W_ZERO,
    Y_SCALE,
    Y_ZERO,
    BIAS,
    ADD,
    ADD_SCALE,
    ADD_ZERO,
    Z_SCALE,
    Z_ZERO
};

typedef struct int8_conv_state {
    const weir_k_low_table_t *low;
    weir_cpu_low_conv_t conv;
    uint64_t c_offset; // in the scratch; the strip lies at 0
    uint64_t channels, out_blocks, pixels;
    unsigned char flip, pad; // of the input
    uint32_t is_row_major;   // both input and output
    weir_k_requant_t requant;
    uint32_t has_add;
    const unsigned char *own_w; // of weights that came as they are, behind the rest; NULL: packed
    const int32_t *bias;        // [panels * 32], behind `at`
    const float *scale;
    uint32_t at[]; // [conv.chunks]
} int8_conv_state_t;

// The node as a Conv of X, W and B.
typedef struct as_conv {
    weir_node_t node;
    weir_tensor_t inputs[3];
} as_conv_t;

static const weir_node_t *as_conv(const weir_node_t *node, as_conv_t *out)
{
    out->node = *node;
    out->inputs[0] = node->inputs[X];
    out->inputs[1] = node->inputs[W];
    out->inputs[2] = (weir_tensor_t){.dtype = 0};
    out->node.inputs = out->inputs;
    out->node.input_count = 3;
    return &out->node;
}

static int is_row_major(const weir_tensor_t *tensor)
{
    return tensor->format == WEIR_FORMAT_ROW_MAJOR;
}

static int is_first(const weir_node_t *node)
{
    return is_row_major(&node->inputs[X]) && !is_row_major(&node->outputs[0]);
}

// Bytes of rank 4, in blocks or row-major.
static int lies(const weir_tensor_t *tensor, int row_major)
{
    return row_major ? weir_cpu_is_bytes(tensor) && tensor->rank == 4 && is_row_major(tensor)
                     : weir_cpu_is_bytes_blocked(tensor);
}

// x_rows, y_rows: is the input row-major, and the output?
static weir_code_t supports(
    const weir_node_t *node, int x_rows, int y_rows, weir_support_t *out_support)
{
    const int first = x_rows && !y_rows;
    as_conv_t conv;
    weir_code_t code = weir_cpu_refuse_plain(node, 8, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *w = &node->inputs[W];
    if (w->rank != 4 || w->dtype != WEIR_I8)
        return weir_cpu_refuse(out_support, "takes weights of i8 only");
    code = weir_cpu_low_conv_supports(as_conv(node, &conv), ELEMENT_BYTES, first, out_support);
    if (code != WEIR_OK)
        return code;
    if (!weir_cpu_has_scale(node, X_SCALE) || !weir_cpu_has_scale(node, Y_SCALE) ||
        !weir_cpu_has_scales_of_weights(node, W_SCALE, w->dims[0]))
        return weir_cpu_refuse(
            out_support, "scales, or zero points, are not constant, or W's not 0");
    if (weir_cpu_has(node, BIAS) && !weir_cpu_is_constant(&node->inputs[BIAS]))
        return weir_cpu_refuse(out_support, "the bias is no constant");
    if (!lies(&node->outputs[0], y_rows) || !lies(&node->inputs[X], x_rows))
        return weir_cpu_refuse(out_support, "the format is another");
    if (weir_cpu_has(node, ADD) &&
        (!lies(&node->inputs[ADD], y_rows) || !weir_cpu_has_scale(node, ADD_SCALE) ||
            !weir_cpu_has_scale(node, Z_SCALE)))
        return weir_cpu_refuse(
            out_support, "the addend has another format, or its scale is no constant");
    return WEIR_OK;
}

weir_code_t weir_cpu_int8_conv_supports(const weir_node_t *node, weir_support_t *out_support)
{
    return supports(node, 0, 0, out_support);
}

weir_code_t weir_cpu_int8_first_supports(const weir_node_t *node, weir_support_t *out_support)
{
    return supports(node, 1, 0, out_support);
}

weir_code_t weir_cpu_int8_rows_supports(const weir_node_t *node, weir_support_t *out_support)
{
    return supports(node, 1, 1, out_support);
}

static uint64_t panels_of(const weir_node_t *node)
{
    return WEIR_DIV_UP((uint64_t)node->inputs[W].dims[0], WEIR_K_PANEL);
}

weir_code_t weir_cpu_int8_conv_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    as_conv_t conv;
    if (input != W)
        return WEIR_OK;
    out_packing->format = is_first(node) ? WEIR_CPU_FORMAT_I8_FIRST : WEIR_CPU_FORMAT_I8_CONV;
    out_packing->bytes =
        weir_cpu_low_conv_weights(as_conv(node, &conv), ELEMENT_BYTES, is_first(node)) +
        panels_of(node) * WEIR_K_PANEL * sizeof(int32_t);
    return WEIR_OK;
}

static void w_pack(const weir_node_t *node, unsigned char *to)
{
    as_conv_t conv;
    const weir_node_t *as = as_conv(node, &conv);
    const uint64_t chunks = weir_cpu_low_conv_chunks(as, ELEMENT_BYTES, is_first(node));
    weir_cpu_low_conv_pack(as, ELEMENT_BYTES, is_first(node), to);
    weir_cpu_i8_sums(to, panels_of(node), chunks,
        (void *)(to + weir_cpu_low_conv_weights(as, ELEMENT_BYTES, is_first(node))));
}

weir_code_t weir_cpu_int8_conv_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    weir_packing_t packing;
    (void)weir_cpu_int8_conv_pack_query(node, input, &packing);
    if (input != W || bytes < packing.bytes)
        return WEIR_INVALID_ARGUMENT;
    w_pack(node, destination);
    return WEIR_OK;
}

static void requant_init(int8_conv_state_t *state, const weir_node_t *node)
{
    const float y_zero = (float)weir_cpu_zero(node, Y_ZERO);
    weir_k_requant_t *r = &state->requant;
    *r = (weir_k_requant_t){.low = -y_zero,
        .high = 255.0f - y_zero,
        .zero = y_zero,
        .flip = weir_cpu_flip(&node->outputs[0]),
        .relu = weir_node_int(node, "relu", 0) != 0};
    state->has_add = (uint32_t)weir_cpu_has(node, ADD);
    if (!state->has_add)
        return;
    const float z_zero = (float)weir_cpu_zero(node, Z_ZERO);
    r->add_flip = weir_cpu_flip(&node->inputs[ADD]);
    r->step = weir_cpu_scale(node, Y_SCALE, 0);
    r->add_step = weir_cpu_scale(node, ADD_SCALE, 0);
    r->add_zero = (float)weir_cpu_zero(node, ADD_ZERO);
    r->out_step = weir_cpu_scale(node, Z_SCALE, 0);
    r->out_low = -z_zero;
    r->out_high = 255.0f - z_zero;
    r->zero = z_zero;
}

static const char *state_init(
    int8_conv_state_t *state, const weir_node_t *node, const unsigned char *weights)
{
    const uint64_t outputs = (uint64_t)node->inputs[W].dims[0];
    const char *wrong = weir_cpu_low_conv_init(&state->conv, ELEMENT_BYTES, is_first(node));
    state->channels = outputs;
    state->out_blocks = weir_cpu_blocks(outputs);
    state->pixels = (uint64_t)(node->outputs[0].dims[2] * node->outputs[0].dims[3]);
    if (wrong || state->conv.strips == 0)
        return wrong;
    weir_cpu_low_conv_places(&state->conv, state->at);
    state->c_offset = state->conv.a_bytes + state->conv.first_bytes;
    state->is_row_major = (uint32_t)is_row_major(&node->outputs[0]);
    state->flip = weir_cpu_flip(&node->inputs[X]);
    state->pad = (unsigned char)weir_cpu_zero(node, X_ZERO);
    int32_t *bias = (int32_t *)(state->at + state->conv.chunks);
    float *scale = (float *)(bias + state->conv.panels * WEIR_K_PANEL);
    const int32_t *sums = (const int32_t *)(weights + state->conv.panels * state->conv.chunks *
                                                          WEIR_K_CHUNK_PANEL_BYTES);
    weir_cpu_requant_init(node, &(weir_cpu_requant_inputs_t){X_SCALE, W_SCALE, Y_SCALE, BIAS},
        outputs, sums, bias, scale);
    state->bias = bias;
    state->scale = scale;
    requant_init(state, node);
    return NULL;
}

weir_code_t weir_cpu_int8_conv_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const weir_k_low_table_t *low = weir_cpu_low_table(host);
    if (!low)
        return host->fail(host, WEIR_UNAVAILABLE, "option isa of plugin cpu: not on this machine");
    weir_cpu_conv_shape_t shape;
    as_conv_t conv;
    const weir_node_t *as = as_conv(node, &conv);
    weir_code_t code = weir_cpu_conv_shape_read(host, as, &shape);
    if (code != WEIR_OK)
        return code;
    const uint64_t chunks = weir_cpu_low_conv_chunks(as, ELEMENT_BYTES, is_first(node));
    const uint64_t own_at =
        weir_cpu_round_up(sizeof(int8_conv_state_t) + chunks * sizeof(uint32_t) +
                              panels_of(node) * WEIR_K_PANEL * (sizeof(int32_t) + sizeof(float)),
            64);
    weir_packing_t packing;
    (void)weir_cpu_int8_conv_pack_query(node, W, &packing);
    const int packs = node->inputs[W].format != packing.format;
    int8_conv_state_t *state;
    code = weir_cpu_state_alloc(host, node, own_at + (packs ? packing.bytes : 0), own_at, &state);
    if (code != WEIR_OK)
        return code;
    state->low = low;
    state->conv.shape = shape;
    state->conv.taps = (uint64_t)(shape.kernel_height * shape.kernel_width);
    const unsigned char *weights = node->inputs[W].data;
    if (packs) {
        unsigned char *own = (unsigned char *)state + own_at;
        w_pack(node, own);
        state->own_w = weights = own;
    }
    const char *wrong = state_init(state, node, weights);
    return weir_cpu_state_end(host, node, wrong, state,
        state->c_offset +
            state->conv.strip_rows * state->conv.plane_columns * WEIR_K_PANEL * sizeof(int32_t),
        out_prepared);
}

void weir_cpu_int8_conv_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const int8_conv_state_t *state = opaque;
    const weir_cpu_low_conv_t *conv = &state->conv;
    (void)node;
    out_tasks->phase_count = 1;
    out_tasks->task_count[0] = WEIR_MAX(1u, weir_cpu_low_conv_tasks(conv));
    const uint64_t outputs = conv->strip_rows * conv->strip_columns;
    out_tasks->task_cost_ns[0] =
        outputs * conv->chunks * conv->panels_per_task * 64 * WEIR_K_PANEL / 800 +
        conv->a_bytes / 32 + 1;
}

// `run` of pixels of up to 64 channels, which begin at x, a plane each.
static void run_gather(const int8_conv_state_t *state, const unsigned char *x, uint64_t channels,
    const weir_cpu_low_run_t *run, unsigned char *to)
{
    const weir_cpu_conv_shape_t *s = &state->conv.shape;
    const uint64_t plane = (uint64_t)(s->height * s->width);
    memset(to, 0, run->inside * WEIR_K_CHUNK_BYTES);
    for (uint64_t c = 0; c < channels; c++)
        for (uint64_t i = 0; i < run->inside; i++)
            to[i * WEIR_K_CHUNK_BYTES + c] = x[c * plane + run->from + i * run->step] ^ state->flip;
}

static void strip_fill(const int8_conv_state_t *state, const weir_cpu_low_strip_t *strip,
    const weir_tensor_t *input, unsigned char *to)
{
    const weir_cpu_low_conv_t *conv = &state->conv;
    const weir_cpu_conv_shape_t *s = &conv->shape;
    if (conv->unit_bytes) {
        weir_cpu_low_conv_first(
            conv, strip, input, state->flip, state->pad, to + conv->a_bytes, to);
        return;
    }
    const uint64_t blocks = weir_cpu_blocks(s->group_inputs);
    const uint64_t plane_bytes = (uint64_t)(s->height * s->width) * WEIR_K_BLOCK;
    const uint64_t image_bytes =
        state->is_row_major ? s->group_inputs * plane_bytes / WEIR_K_BLOCK : blocks * plane_bytes;
    const unsigned char *x = (const unsigned char *)input->data + strip->image * image_bytes;
    const uint64_t rows = strip->rows + conv->reach_y;
    for (uint64_t c = 0; c < conv->channel_chunks; c++)
        for (uint64_t plane = 0; plane < conv->plane_count; plane++) {
            unsigned char *row_to =
                to + (c * conv->plane_count + plane) * conv->plane_pixels * WEIR_K_CHUNK_BYTES;
            for (uint64_t row = 0; row < rows; row++) {
                const weir_cpu_low_run_t run = weir_cpu_low_conv_run(conv, strip, plane, row);
                const unsigned char *parts[4];
                for (uint64_t b = 0; b < 4; b++)
                    parts[b] = 4 * c + b < blocks
                                   ? x + (4 * c + b) * plane_bytes + run.from * WEIR_K_BLOCK
                                   : NULL;
                unsigned char *at = row_to;
                memset(at, state->pad, run.before * WEIR_K_CHUNK_BYTES);
                at += run.before * WEIR_K_CHUNK_BYTES;
                if (state->is_row_major)
                    run_gather(state, x + c * WEIR_K_CHUNK_U8 * plane_bytes / WEIR_K_BLOCK,
                        weir_cpu_min(s->group_inputs - c * WEIR_K_CHUNK_U8, WEIR_K_CHUNK_U8), &run,
                        at);
                else
                    state->low->u8_rows(
                        run.inside, parts, run.step * WEIR_K_BLOCK, state->flip, at);
                at += run.inside * WEIR_K_CHUNK_BYTES;
                memset(at, state->pad, run.behind * WEIR_K_CHUNK_BYTES);
                row_to += conv->plane_columns * WEIR_K_CHUNK_BYTES;
            }
        }
}

// What a product's rows go to.
typedef struct finisher {
    const int8_conv_state_t *state;
    const weir_task_t *task;
    const weir_cpu_low_strip_t *strip;
    const int32_t *c;
    uint64_t panel;
} finisher_t;

// `columns` outputs of block `block` from pixel `pixel` of the image on.
static void block_finish(
    const finisher_t *finisher, uint64_t block, uint64_t pixel, uint64_t columns, const int32_t *c)
{
    const int8_conv_state_t *state = finisher->state;
    weir_k_requant_t requant = state->requant;
    requant.bias = state->bias + block * WEIR_K_BLOCK;
    requant.scale = state->scale + block * WEIR_K_BLOCK;
    const uint64_t offset =
        ((finisher->strip->image * state->out_blocks + block) * state->pixels + pixel) *
        WEIR_K_BLOCK;
    if (state->has_add)
        requant.add = (const unsigned char *)finisher->task->inputs[ADD].data + offset;
    unsigned char *y = (unsigned char *)finisher->task->outputs[0].data + offset;
    state->low->requant_u8_x16(columns, c, WEIR_K_PANEL, &requant, y);
    if (block + 1 == state->out_blocks)
        weir_cpu_bytes_clear(y, columns, state->channels);
}

// The same, row-major, by way of a block; at most WEIR_K_CHUNK_GROUP columns.
static void planes_finish(
    const finisher_t *finisher, uint64_t block, uint64_t pixel, uint64_t columns, const int32_t *c)
{
    const int8_conv_state_t *state = finisher->state;
    const uint64_t channel = block * WEIR_K_BLOCK;
    const uint64_t channels = weir_cpu_min(state->channels - channel, WEIR_K_BLOCK);
    unsigned char made[WEIR_K_CHUNK_GROUP * WEIR_K_BLOCK];
    unsigned char added[WEIR_K_CHUNK_GROUP * WEIR_K_BLOCK] = {0};
    const uint64_t first =
        (finisher->strip->image * state->channels + channel) * state->pixels + pixel;
    weir_k_requant_t requant = state->requant;
    requant.bias = state->bias + channel;
    requant.scale = state->scale + channel;
    const unsigned char *add = state->has_add ? finisher->task->inputs[ADD].data : NULL;
    unsigned char *y = finisher->task->outputs[0].data;
    for (uint64_t l = 0; add && l < channels; l++)
        for (uint64_t p = 0; p < columns; p++)
            added[p * WEIR_K_BLOCK + l] = add[first + l * state->pixels + p];
    requant.add = add ? added : NULL;
    state->low->requant_u8_x16(columns, c, WEIR_K_PANEL, &requant, made);
    for (uint64_t l = 0; l < channels; l++)
        for (uint64_t p = 0; p < columns; p++)
            y[first + l * state->pixels + p] = made[p * WEIR_K_BLOCK + l];
}

static void rows_done(void *user, size_t panel, size_t row, size_t rows)
{
    const finisher_t *finisher = user;
    const weir_cpu_low_conv_t *conv = &finisher->state->conv;
    (void)panel;
    weir_cpu_low_span_t span = {.first = row, .end = row + rows};
    while (weir_cpu_low_conv_span(conv, finisher->strip, &span))
        for (uint64_t b = 2 * finisher->panel;
             b < 2 * finisher->panel + 2 && b < finisher->state->out_blocks; b++)
            (finisher->state->is_row_major ? planes_finish : block_finish)(finisher, b, span.pixel,
                span.columns, finisher->c + (span.at - row) * WEIR_K_PANEL + b % 2 * WEIR_K_BLOCK);
}

weir_code_t weir_cpu_int8_conv_run(const weir_task_t *task)
{
    const int8_conv_state_t *state = task->state;
    const weir_cpu_low_conv_t *conv = &state->conv;
    const uint64_t end = weir_cpu_min(task->first + task->count, weir_cpu_low_conv_tasks(conv));
    const unsigned char *weights = state->own_w ? state->own_w : task->inputs[W].data;
    unsigned char *scratch = task->scratch;
    uint64_t made = UINT64_MAX;
    weir_cpu_low_strip_t strip = {.rows = 0};
    for (uint64_t i = task->first; i < end; i++) {
        const uint64_t number = i / conv->panel_tasks;
        if (number != made) {
            strip = weir_cpu_low_conv_strip(conv, number);
            strip_fill(state, &strip, &task->inputs[X], scratch);
        }
        made = number;
        const uint64_t first = i % conv->panel_tasks * conv->panels_per_task;
        const uint64_t panels = weir_cpu_min(first + conv->panels_per_task, conv->panels);
        for (uint64_t panel = first; panel < panels; panel++) {
            finisher_t finisher = {.state = state,
                .task = task,
                .strip = &strip,
                .c = (void *)(scratch + state->c_offset),
                .panel = panel};
            const weir_k_chunks_block_t call = {
                .rows = strip.outputs,
                .panels = 1,
                .chunks = conv->chunks,
                .a = scratch,
                .at = state->at,
                .b = weights + panel * conv->chunks * WEIR_K_CHUNK_PANEL_BYTES,
                .c = scratch + state->c_offset,
                .c_row = WEIR_K_PANEL,
                .done = rows_done,
                .user = &finisher,
            };
            state->low->chunks_u8s8(&call);
        }
    }
    return WEIR_OK;
}
