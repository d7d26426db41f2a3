// See low_conv.h.
#include "backends/cpu/low_conv.h"

#include <string.h>

#define STRIP_OUTPUTS 448u       // their sums of 32 channels fill the L1 cache and some
#define STRIP_BYTES (768u << 10) // of the copy
#define FIRST_CHANNELS 4u
#define ENOUGH_TASKS 6u
#define LEAST_OUTPUTS 96u    // of a strip that is divided no more
#define SMALL_MACS 16000000u // a task below this is not divided

// Bytes of a row of taps, 4 channels each; more than a chunk: it cannot be done.
static uint64_t unit_bytes(int64_t kernel_width, uint32_t element_bytes)
{
    uint64_t bytes = 16;
    while (bytes < (uint64_t)kernel_width * FIRST_CHANNELS * element_bytes)
        bytes *= 2;
    return bytes;
}

weir_code_t weir_cpu_low_conv_supports(
    const weir_node_t *node, uint32_t element_bytes, int is_first, weir_support_t *out_support)
{
    const weir_tensor_t *x = &node->inputs[0], *w = &node->inputs[1];
    if (x->rank != 4 || w->rank != 4 || !(w->flags & WEIR_TENSOR_CONSTANT))
        return weir_cpu_refuse(out_support, "takes two spatial dims and constant weights only");
    if (weir_node_int(node, "group", 1) != 1 || w->element_count == 0)
        return weir_cpu_refuse(out_support, "takes one group only");
    if (w->dims[2] * w->dims[3] > (int64_t)WEIR_CPU_LOW_TAPS)
        return weir_cpu_refuse(out_support, "takes up to 1024 taps");
    for (uint32_t i = 0; i < 2; i++)
        if (weir_cpu_attribute_at(node, "strides", i, 1) > 4)
            return weir_cpu_refuse(out_support, "takes strides up to 4");
    for (uint32_t i = 0; i < 4; i++)
        if (weir_cpu_attribute_at(node, "pads", i, 0) < 0)
            return weir_cpu_refuse(out_support, "takes no negative pads");
    // A kernel of one column over an image of one column would become a row: see conv_shape.c.
    if (is_first && w->dims[3] == 1 && w->dims[2] > 1)
        return weir_cpu_refuse(out_support, "the kernel is a column");
    if (is_first &&
        (x->format != WEIR_FORMAT_ROW_MAJOR || w->dims[1] > (int64_t)FIRST_CHANNELS ||
            w->dims[3] > 16 || unit_bytes(w->dims[3], element_bytes) > WEIR_K_CHUNK_BYTES ||
            weir_cpu_attribute_at(node, "dilations", 1, 1) != 1))
        return weir_cpu_refuse(out_support, "takes few row-major channels and short rows only");
    return WEIR_OK;
}

uint64_t weir_cpu_low_conv_chunks(const weir_node_t *node, uint32_t element_bytes, int is_first)
{
    const weir_tensor_t *w = &node->inputs[1];
    if (is_first)
        return WEIR_DIV_UP(
            (uint64_t)w->dims[2], WEIR_K_CHUNK_BYTES / unit_bytes(w->dims[3], element_bytes));
    return WEIR_DIV_UP((uint64_t)w->dims[1], WEIR_K_CHUNK_BYTES / element_bytes) *
           (uint64_t)(w->dims[2] * w->dims[3]);
}

uint64_t weir_cpu_low_conv_weights(const weir_node_t *node, uint32_t element_bytes, int is_first)
{
    return WEIR_DIV_UP((uint64_t)node->inputs[1].dims[0], WEIR_K_PANEL) *
           weir_cpu_low_conv_chunks(node, element_bytes, is_first) * WEIR_K_CHUNK_PANEL_BYTES;
}

// One weight of output j of a panel, element k of a chunk.
static void weight_put(
    const weir_tensor_t *w, uint64_t from, uint64_t j, uint64_t k, unsigned char *chunk)
{
    if (w->dtype == WEIR_I8) {
        chunk[(k / 4 * WEIR_K_PANEL + j) * 4 + k % 4] = ((const unsigned char *)w->data)[from];
        return;
    }
    const uint16_t bits = weir_cpu_bf16(((const float *)w->data)[from]);
    memcpy(chunk + ((k / 2 * WEIR_K_PANEL + j) * 2 + k % 2) * 2, &bits, sizeof(bits));
}

void weir_cpu_low_conv_pack(
    const weir_node_t *node, uint32_t element_bytes, int is_first, unsigned char *to)
{
    const weir_tensor_t *w = &node->inputs[1];
    const uint64_t outputs = (uint64_t)w->dims[0], inputs = (uint64_t)w->dims[1];
    const uint64_t width = (uint64_t)w->dims[3], taps = (uint64_t)w->dims[2] * width;
    const uint64_t chunks = weir_cpu_low_conv_chunks(node, element_bytes, is_first);
    const uint64_t chunk_elements = WEIR_K_CHUNK_BYTES / element_bytes;
    const uint64_t unit = is_first ? unit_bytes((int64_t)width, element_bytes) / element_bytes : 0;
    memset(to, 0, weir_cpu_low_conv_weights(node, element_bytes, is_first));
    for (uint64_t o = 0; o < outputs; o++) {
        unsigned char *panel = to + o / WEIR_K_PANEL * chunks * WEIR_K_CHUNK_PANEL_BYTES;
        for (uint64_t c = 0; c < inputs; c++) {
            const uint64_t from = (o * inputs + c) * taps, j = o % WEIR_K_PANEL;
            const uint64_t chunk = c / chunk_elements * taps, k = c % chunk_elements;
            for (uint64_t tap = 0; !is_first && tap < taps; tap++)
                weight_put(w, from + tap, j, k, panel + (chunk + tap) * WEIR_K_CHUNK_PANEL_BYTES);
            for (uint64_t tap = 0; is_first && tap < taps; tap++) {
                const uint64_t at = tap / width * unit + tap % width * FIRST_CHANNELS + c;
                weight_put(w, from + tap, j, at % chunk_elements,
                    panel + at / chunk_elements * WEIR_K_CHUNK_PANEL_BYTES);
            }
        }
    }
}

// Which plane a tap reads, by its remainders; a new one where needed.
static uint64_t plane_of(weir_cpu_low_conv_t *conv, uint64_t y, uint64_t x)
{
    uint64_t plane = 0;
    while (plane < conv->plane_count && (conv->plane_y[plane] != y || conv->plane_x[plane] != x))
        plane++;
    if (plane == conv->plane_count && plane < WEIR_CPU_LOW_PLANES) {
        conv->plane_y[plane] = y;
        conv->plane_x[plane] = x;
        conv->plane_count++;
    }
    return plane;
}

static void planes_init(weir_cpu_low_conv_t *conv)
{
    const weir_cpu_conv_shape_t *s = &conv->shape;
    for (int64_t ky = 0; ky < s->kernel_height; ky++)
        for (int64_t kx = 0; kx < s->kernel_width; kx++) {
            const int64_t y = ky * s->dilation_y, x = kx * s->dilation_x;
            (void)plane_of(conv, (uint64_t)(y % s->stride_y), (uint64_t)(x % s->stride_x));
            conv->reach_y = WEIR_MAX(conv->reach_y, (uint64_t)(y / s->stride_y));
            conv->reach_x = WEIR_MAX(conv->reach_x, (uint64_t)(x / s->stride_x));
        }
}

static void strip_set(weir_cpu_low_conv_t *conv, uint64_t rows, uint64_t columns)
{
    const weir_cpu_conv_shape_t *s = &conv->shape;
    conv->strip_rows = rows;
    conv->strip_columns = columns;
    conv->row_strips = WEIR_DIV_UP((uint64_t)s->out_height, rows);
    conv->column_strips = WEIR_DIV_UP((uint64_t)s->out_width, columns);
    conv->strips = conv->row_strips * conv->column_strips;
    conv->plane_columns = columns + conv->reach_x;
    conv->plane_pixels = (rows + conv->reach_y) * conv->plane_columns;
    // Groups of 16 rows of A are read whole.
    conv->a_bytes =
        (conv->plane_pixels * conv->plane_count * conv->channel_chunks + 2 * WEIR_K_CHUNK_ROWS) *
        WEIR_K_CHUNK_BYTES;
}

// About `outputs` outputs in a strip, in equal parts.
static void strips_divide(weir_cpu_low_conv_t *conv, uint64_t outputs)
{
    const uint64_t height = (uint64_t)conv->shape.out_height;
    const uint64_t width = (uint64_t)conv->shape.out_width;
    uint64_t columns = width, rows = WEIR_MAX(1u, outputs / (width + conv->reach_x));
    rows = weir_cpu_min(rows, height);
    if (rows == 1 && columns > outputs)
        columns = WEIR_DIV_UP(width, WEIR_DIV_UP(width, outputs));
    rows = WEIR_DIV_UP(height, WEIR_DIV_UP(height, rows));
    strip_set(conv, rows, columns);
}

static uint64_t task_macs(const weir_cpu_low_conv_t *conv)
{
    return conv->strip_rows * conv->strip_columns * conv->chunks * 32 *
           weir_cpu_min(conv->panels_per_task, conv->panels) * WEIR_K_PANEL;
}

uint64_t weir_cpu_low_conv_tasks(const weir_cpu_low_conv_t *conv)
{
    return conv->shape.images * conv->strips * conv->panel_tasks;
}

const char *weir_cpu_low_conv_init(weir_cpu_low_conv_t *conv, uint32_t element_bytes, int is_first)
{
    const weir_cpu_conv_shape_t *s = &conv->shape;
    if (is_first) {
        conv->unit_bytes = unit_bytes(s->kernel_width, element_bytes);
        conv->channel_chunks =
            WEIR_DIV_UP((uint64_t)s->kernel_height, WEIR_K_CHUNK_BYTES / conv->unit_bytes);
        conv->chunks = conv->channel_chunks;
        conv->plane_count = 1;
    } else {
        conv->channel_chunks = WEIR_DIV_UP(s->group_inputs, WEIR_K_CHUNK_BYTES / element_bytes);
        conv->chunks = conv->channel_chunks * conv->taps;
        planes_init(conv);
    }
    conv->panels = WEIR_DIV_UP(s->group_outputs, WEIR_K_PANEL);
    conv->panels_per_task = conv->panels;
    conv->panel_tasks = 1;
    if (s->out_height == 0 || s->out_width == 0) {
        conv->strips = 0;
        return NULL;
    }
    uint64_t outputs = STRIP_OUTPUTS;
    strips_divide(conv, outputs);
    while (conv->a_bytes > STRIP_BYTES && outputs > 2 * WEIR_K_CHUNK_ROWS)
        strips_divide(conv, outputs /= 2);
    while (weir_cpu_low_conv_tasks(conv) < ENOUGH_TASKS && outputs / 2 >= LEAST_OUTPUTS &&
           task_macs(conv) > SMALL_MACS)
        strips_divide(conv, outputs /= 2);
    while (weir_cpu_low_conv_tasks(conv) < ENOUGH_TASKS && conv->panels_per_task > 1 &&
           task_macs(conv) > SMALL_MACS) {
        conv->panels_per_task = WEIR_DIV_UP(conv->panels_per_task, 2);
        conv->panel_tasks = WEIR_DIV_UP(conv->panels, conv->panels_per_task);
    }
    if (is_first) {
        const uint64_t rows = (conv->strip_rows - 1) * (uint64_t)s->stride_y +
                              (uint64_t)((s->kernel_height - 1) * s->dilation_y) + 1;
        conv->first_columns = (conv->strip_columns - 1) * (uint64_t)s->stride_x +
                              conv->unit_bytes / (FIRST_CHANNELS * element_bytes);
        conv->first_bytes =
            weir_cpu_round_up(rows * conv->first_columns * FIRST_CHANNELS * element_bytes, 64);
    }
    return conv->a_bytes + conv->first_bytes > UINT32_MAX / 2 ? "a strip is too large" : NULL;
}

void weir_cpu_low_conv_places(const weir_cpu_low_conv_t *conv, uint32_t *out_at)
{
    const weir_cpu_conv_shape_t *s = &conv->shape;
    weir_cpu_low_conv_t planes = *conv;
    for (uint64_t c = 0; conv->unit_bytes && c < conv->chunks; c++)
        out_at[c] = (uint32_t)(c * conv->plane_pixels * WEIR_K_CHUNK_BYTES);
    if (conv->unit_bytes)
        return;
    for (uint64_t c = 0; c < conv->channel_chunks; c++)
        for (int64_t ky = 0; ky < s->kernel_height; ky++)
            for (int64_t kx = 0; kx < s->kernel_width; kx++) {
                const int64_t y = ky * s->dilation_y, x = kx * s->dilation_x;
                const uint64_t plane =
                    plane_of(&planes, (uint64_t)(y % s->stride_y), (uint64_t)(x % s->stride_x));
                const uint64_t pixel = (c * conv->plane_count + plane) * conv->plane_pixels +
                                       (uint64_t)(y / s->stride_y) * conv->plane_columns +
                                       (uint64_t)(x / s->stride_x);
                *out_at++ = (uint32_t)(pixel * WEIR_K_CHUNK_BYTES);
            }
}

weir_cpu_low_strip_t weir_cpu_low_conv_strip(const weir_cpu_low_conv_t *conv, uint64_t number)
{
    const uint64_t of_image = number % conv->strips;
    weir_cpu_low_strip_t strip = {
        .image = number / conv->strips,
        .row = of_image / conv->column_strips * conv->strip_rows,
        .column = of_image % conv->column_strips * conv->strip_columns,
    };
    strip.rows = weir_cpu_min(conv->strip_rows, (uint64_t)conv->shape.out_height - strip.row);
    strip.columns =
        weir_cpu_min(conv->strip_columns, (uint64_t)conv->shape.out_width - strip.column);
    strip.outputs = (strip.rows - 1) * conv->plane_columns + strip.columns;
    return strip;
}

int weir_cpu_low_conv_span(const weir_cpu_low_conv_t *conv, const weir_cpu_low_strip_t *strip,
    weir_cpu_low_span_t *inout_span)
{
    weir_cpu_low_span_t *span = inout_span;
    uint64_t row = span->first / conv->plane_columns, x = span->first % conv->plane_columns;
    if (x >= strip->columns) {
        row++;
        x = 0;
    }
    span->at = row * conv->plane_columns + x;
    if (span->at >= span->end)
        return 0;
    span->pixel = (strip->row + row) * (uint64_t)conv->shape.out_width + strip->column + x;
    span->columns = weir_cpu_min(strip->columns - x, span->end - span->at);
    span->first = span->at + span->columns;
    return 1;
}

// The first i >= 0 with i * step + offset >= bound.
static int64_t first_at_least(int64_t bound, int64_t offset, int64_t step)
{
    return bound <= offset ? 0 : (bound - offset + step - 1) / step;
}

weir_cpu_low_run_t weir_cpu_low_conv_run(const weir_cpu_low_conv_t *conv,
    const weir_cpu_low_strip_t *strip, uint64_t plane, uint64_t row)
{
    const weir_cpu_conv_shape_t *s = &conv->shape;
    const int64_t count = (int64_t)(strip->columns + conv->reach_x);
    const int64_t y =
        (int64_t)(strip->row + row) * s->stride_y + (int64_t)conv->plane_y[plane] - s->pad_top;
    const int64_t x =
        (int64_t)strip->column * s->stride_x + (int64_t)conv->plane_x[plane] - s->pad_left;
    if (y < 0 || y >= s->height)
        return (weir_cpu_low_run_t){.before = (uint64_t)count};
    const int64_t begin = WEIR_MIN(count, first_at_least(0, x, s->stride_x));
    const int64_t end = WEIR_MAX(begin, WEIR_MIN(count, first_at_least(s->width, x, s->stride_x)));
    return (weir_cpu_low_run_t){
        .before = (uint64_t)begin,
        .inside = (uint64_t)(end - begin),
        .behind = (uint64_t)(count - end),
        .from = end > begin ? (uint64_t)(y * s->width + x + begin * s->stride_x) : 0,
        .step = (uint64_t)s->stride_x,
    };
}

// ---- The first layer ---------------------------------------------------------------------------

// Row `y` of the image, from column `x` on, its channels side by side.
static void pixels_row(const weir_cpu_low_conv_t *conv, const weir_tensor_t *image, uint64_t plane,
    int64_t y, int64_t x, unsigned char flip, unsigned char pad, unsigned char *to)
{
    const weir_cpu_conv_shape_t *s = &conv->shape;
    const int is_float = image->dtype == WEIR_F32;
    const uint64_t pixel_bytes = FIRST_CHANNELS * (is_float ? 2u : 1u);
    const int64_t count = (int64_t)conv->first_columns;
    memset(to, is_float ? 0 : pad, (uint64_t)count * pixel_bytes);
    if (y < 0 || y >= s->height)
        return;
    const int64_t begin = x < 0 ? WEIR_MIN(-x, count) : 0;
    const int64_t end = WEIR_MAX(begin, WEIR_MIN(count, s->width - x));
    for (uint64_t c = 0; c < s->group_inputs; c++) {
        const uint64_t from =
            ((plane + c) * (uint64_t)s->height + (uint64_t)y) * (uint64_t)s->width;
        if (is_float) {
            const float *row = (const float *)image->data + from;
            uint16_t *pixels = (void *)to;
            for (int64_t i = begin; i < end; i++)
                pixels[(uint64_t)i * FIRST_CHANNELS + c] = weir_cpu_bf16(row[x + i]);
        } else {
            const unsigned char *row = (const unsigned char *)image->data + from;
            for (int64_t i = begin; i < end; i++)
                to[(uint64_t)i * FIRST_CHANNELS + c] = row[x + i] ^ flip;
        }
    }
}

// `count` units, `step` bytes apart, into rows of chunks; what lies behind `used` becomes 0. The
// size is known when compiled.
static inline __attribute__((always_inline)) void units_copy(const uint64_t bytes, uint64_t used,
    uint64_t count, const unsigned char *from, uint64_t step, unsigned char *to)
{
    for (uint64_t i = 0; i < count; i++, to += WEIR_K_CHUNK_BYTES) {
        memcpy(to, from + i * step, bytes);
        if (used < bytes)
            memset(to + used, 0, bytes - used);
    }
}

void weir_cpu_low_conv_first(const weir_cpu_low_conv_t *conv, const weir_cpu_low_strip_t *strip,
    const weir_tensor_t *x, unsigned char flip, unsigned char pad, unsigned char *pixels,
    unsigned char *to)
{
    const weir_cpu_conv_shape_t *s = &conv->shape;
    const uint64_t pixel_bytes = FIRST_CHANNELS * (x->dtype == WEIR_F32 ? 2u : 1u);
    const uint64_t row_bytes = conv->first_columns * pixel_bytes;
    const uint64_t rows = (strip->rows - 1) * (uint64_t)s->stride_y +
                          (uint64_t)((s->kernel_height - 1) * s->dilation_y) + 1;
    for (uint64_t row = 0; row < rows; row++)
        pixels_row(conv, x, strip->image * s->group_inputs,
            (int64_t)(strip->row * (uint64_t)s->stride_y + row) - s->pad_top,
            (int64_t)strip->column * s->stride_x - s->pad_left, flip, pad,
            pixels + row * row_bytes);
    const uint64_t units = WEIR_K_CHUNK_BYTES / conv->unit_bytes;
    const uint64_t step = (uint64_t)s->stride_x * pixel_bytes;
    for (uint64_t unit = 0; unit < conv->chunks * units; unit++) {
        unsigned char *unit_to = to + unit / units * conv->plane_pixels * WEIR_K_CHUNK_BYTES +
                                 unit % units * conv->unit_bytes;
        // What is behind the last tap of a row, or the last row, meets weights of 0, which are no
        // match for an infinity.
        const uint64_t used =
            unit < (uint64_t)s->kernel_height ? (uint64_t)s->kernel_width * pixel_bytes : 0;
        const uint64_t ky = weir_cpu_min(unit, (uint64_t)s->kernel_height - 1);
        for (uint64_t row = 0; row < strip->rows;
             row++, unit_to += conv->plane_columns * WEIR_K_CHUNK_BYTES) {
            const unsigned char *from =
                pixels + (row * (uint64_t)s->stride_y + ky * (uint64_t)s->dilation_y) * row_bytes;
            if (conv->unit_bytes == 16)
                units_copy(16, used, strip->columns, from, step, unit_to);
            else if (conv->unit_bytes == 32)
                units_copy(32, used, strip->columns, from, step, unit_to);
            else
                units_copy(64, used, strip->columns, from, step, unit_to);
        }
    }
}
