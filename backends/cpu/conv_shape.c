// What a convolution reads: its numbers from the node, and the rearranged inputs that the kernels
// take.
//
// Moves floats and computes none. Nothing is read outside the input, whatever the attributes say.
#include <string.h>

#include "backends/cpu/conv_shape.h"

#define LINE_TAPS 64 // of a kernel whose panels are prepared tap by tap

int64_t weir_cpu_attribute_at(
    const weir_node_t *node, const char *name, uint32_t i, int64_t otherwise)
{
    const weir_attribute_t *attribute = weir_node_attribute(node, name);
    return attribute && attribute->type == WEIR_ATTR_INTS && i < attribute->count
               ? attribute->ints[i]
               : otherwise;
}

int64_t weir_cpu_pad_begin(const weir_node_t *node, uint32_t axis, int64_t in, int64_t out,
    int64_t kernel, int64_t stride, int64_t dilation)
{
    const weir_attribute_t *attribute = weir_node_attribute(node, "auto_pad");
    const char *mode = attribute && attribute->s ? attribute->s : "NOTSET";
    if (!strcmp(mode, "VALID"))
        return 0;
    if (strcmp(mode, "SAME_UPPER") && strcmp(mode, "SAME_LOWER"))
        return weir_cpu_attribute_at(node, "pads", axis, 0);
    const int64_t all = (out - 1) * stride + (kernel - 1) * dilation + 1 - in;
    return all <= 0 ? 0 : !strcmp(mode, "SAME_UPPER") ? all / 2 : all - all / 2;
}

const char *weir_cpu_conv_shape(const weir_node_t *node, weir_cpu_conv_shape_t *out_shape)
{
    const weir_tensor_t *x = &node->inputs[0], *w = &node->inputs[1], *y = &node->outputs[0];
    const int64_t groups = weir_node_int(node, "group", 1);
    const uint32_t last = x->rank - 1, axes = x->rank - 2;
    weir_cpu_conv_shape_t s = {
        .height = 1, .out_height = 1, .kernel_height = 1, .stride_y = 1, .dilation_y = 1};
    if (w->rank != x->rank || y->rank != x->rank)
        return "X, W and Y differ in rank";
    if (groups < 1 || w->dims[0] % groups || x->dims[1] != w->dims[1] * groups ||
        y->dims[0] != x->dims[0] || y->dims[1] != w->dims[0])
        return "the channels do not fit the groups";
    s.images = (uint64_t)x->dims[0];
    s.groups = (uint64_t)groups;
    s.group_inputs = (uint64_t)w->dims[1];
    s.group_outputs = (uint64_t)(w->dims[0] / groups);
    s.width = x->dims[last];
    s.out_width = y->dims[last];
    s.kernel_width = w->dims[last];
    s.stride_x = weir_cpu_attribute_at(node, "strides", axes - 1, 1);
    s.dilation_x = weir_cpu_attribute_at(node, "dilations", axes - 1, 1);
    if (axes == 2) {
        s.height = x->dims[2];
        s.out_height = y->dims[2];
        s.kernel_height = w->dims[2];
        s.stride_y = weir_cpu_attribute_at(node, "strides", 0, 1);
        s.dilation_y = weir_cpu_attribute_at(node, "dilations", 0, 1);
    }
    if (s.stride_x < 1 || s.stride_y < 1 || s.dilation_x < 1 || s.dilation_y < 1)
        return "a stride or a dilation below 1";
    s.pad_left = weir_cpu_pad_begin(
        node, axes - 1, s.width, s.out_width, s.kernel_width, s.stride_x, s.dilation_x);
    if (axes == 2)
        s.pad_top = weir_cpu_pad_begin(
            node, 0, s.height, s.out_height, s.kernel_height, s.stride_y, s.dilation_y);
    // A column of pixels is a row of them: what follows likes long rows.
    if (s.width == 1 && s.out_width == 1 && s.kernel_width == 1 && s.pad_left == 0) {
        s.width = s.height;
        s.out_width = s.out_height;
        s.kernel_width = s.kernel_height;
        s.stride_x = s.stride_y;
        s.dilation_x = s.dilation_y;
        s.pad_left = s.pad_top;
        s.height = s.out_height = s.kernel_height = s.stride_y = s.dilation_y = 1;
        s.pad_top = 0;
    }
    // Where every pixel stands for itself, an image is one long row too.
    if (s.kernel_height == 1 && s.kernel_width == 1 && s.stride_y == 1 && s.stride_x == 1 &&
        s.pad_top == 0 && s.pad_left == 0 && s.out_height == s.height && s.out_width == s.width) {
        s.width = s.out_width = s.height * s.width;
        s.height = s.out_height = 1;
    }
    *out_shape = s;
    return NULL;
}

weir_code_t weir_cpu_conv_shape_read(
    const weir_host_t *host, const weir_node_t *node, weir_cpu_conv_shape_t *out_shape)
{
    const char *wrong = weir_cpu_conv_shape(node, out_shape);
    return wrong ? host->fail(host, WEIR_INVALID_ARGUMENT, "%s: %s", node->op, wrong) : WEIR_OK;
}

// The first i >= 0 with i * stride + offset >= bound.
static int64_t first_at_least(int64_t bound, int64_t offset, int64_t stride)
{
    return bound <= offset ? 0 : (bound - offset + stride - 1) / stride;
}

// to[i] = row[i * stride + offset] for i in [first, first + count), 0 where that is outside [0,
// width).
static void row_copy(const float *row, int64_t width, int64_t stride, int64_t offset, int64_t first,
    int64_t count, float *to)
{
    const int64_t end = first + count;
    int64_t begin_inside = WEIR_MAX(first, first_at_least(0, offset, stride));
    begin_inside = WEIR_MIN(begin_inside, end);
    int64_t end_inside = WEIR_MIN(end, first_at_least(width, offset, stride));
    end_inside = WEIR_MAX(end_inside, begin_inside);
    int64_t i = first;
    for (; i < begin_inside; i++)
        *to++ = 0.0f;
    if (stride == 1) {
        const size_t inside = (size_t)(end_inside - i);
        if (inside > 0)
            memcpy(to, row + i + offset, inside * sizeof(*to));
        to += inside;
        i = end_inside;
    } else {
        for (; i < end_inside; i++)
            *to++ = row[i * stride + offset];
    }
    for (; i < end; i++)
        *to++ = 0.0f;
}

// The place of matrix row k in the input: its tap and the first element of its plane.
typedef struct column_row {
    int64_t ky, kx;
    const float *plane;
} column_row_t;

static void row_next(const weir_cpu_conv_shape_t *s, column_row_t *row)
{
    if (++row->kx < s->kernel_width)
        return;
    row->kx = 0;
    if (++row->ky < s->kernel_height)
        return;
    row->ky = 0;
    row->plane += s->height * s->width;
}

// Panel columns [pixel, pixel + count) of one matrix row.
static void panel_row(const weir_cpu_conv_shape_t *s, const column_row_t *row, int64_t pixel,
    int64_t count, float *to)
{
    int64_t y = pixel / s->out_width, column = pixel % s->out_width;
    for (int64_t done = 0; done < count; y++, column = 0) {
        const int64_t run = WEIR_MIN(s->out_width - column, count - done);
        const int64_t in_y = y * s->stride_y - s->pad_top + row->ky * s->dilation_y;
        if (in_y < 0 || in_y >= s->height)
            memset(to + done, 0, (size_t)run * sizeof(*to));
        else
            row_copy(row->plane + in_y * s->width, s->width, s->stride_x,
                row->kx * s->dilation_x - s->pad_left, column, run, to + done);
        done += run;
    }
    for (int64_t pad = count; pad < (int64_t)WEIR_K_PANEL; pad++)
        to[pad] = 0.0f;
}

// A panel of a convolution with one dim: which columns of each tap are inside the input.
typedef struct line_panel {
    int32_t begin[LINE_TAPS], end[LINE_TAPS];
} line_panel_t;

static void line_panel_make(
    const weir_cpu_conv_shape_t *s, int64_t first, int64_t count, line_panel_t *out_panel)
{
    for (int64_t kx = 0; kx < s->kernel_width; kx++) {
        const int64_t offset = first * s->stride_x + kx * s->dilation_x - s->pad_left;
        const int64_t end = WEIR_MIN(first_at_least(s->width, offset, s->stride_x), count);
        const int64_t begin = first_at_least(0, offset, s->stride_x);
        out_panel->begin[kx] = (int32_t)WEIR_MIN(begin, end);
        out_panel->end[kx] = (int32_t)end;
    }
}

static void line_panel_row(const weir_cpu_conv_shape_t *s, const line_panel_t *panel,
    const column_row_t *row, int64_t first, float *to)
{
    const int64_t offset = first * s->stride_x + row->kx * s->dilation_x - s->pad_left;
    const int64_t begin = panel->begin[row->kx], end = panel->end[row->kx];
    if (end - begin < (int64_t)WEIR_K_PANEL)
        memset(to, 0, WEIR_K_PANEL * sizeof(*to));
    for (int64_t i = begin; i < end; i++)
        to[i] = row->plane[i * s->stride_x + offset];
}

void weir_cpu_conv_columns(const weir_cpu_conv_shape_t *s, const float *x, uint64_t first_k,
    uint64_t count_k, uint64_t first, uint64_t columns, float *to)
{
    const int64_t taps = s->kernel_height * s->kernel_width, k = (int64_t)first_k;
    const column_row_t first_row = {.ky = k % taps / s->kernel_width,
        .kx = k % taps % s->kernel_width,
        .plane = x + k / taps * s->height * s->width};
    const int64_t reach = (s->kernel_width - 1) * s->dilation_x + WEIR_K_PANEL;
    const int is_line = s->height == 1 && s->out_height == 1 && s->kernel_height == 1 &&
                        s->pad_top == 0 && s->kernel_width <= LINE_TAPS;
    for (uint64_t panel = 0; panel < columns; panel += WEIR_K_PANEL) {
        const int64_t count = (int64_t)weir_cpu_min(columns - panel, WEIR_K_PANEL);
        const int64_t pixel = (int64_t)(first + panel);
        const int64_t y = pixel / s->out_width * s->stride_y - s->pad_top;
        const int64_t column = pixel % s->out_width, left = column - s->pad_left;
        // Whole, of one output row, and nothing but pixels of the input: 32 floats a row.
        const int is_inside = s->stride_x == 1 && count == WEIR_K_PANEL &&
                              column + count <= s->out_width && left >= 0 &&
                              left + reach <= s->width && y >= 0 &&
                              y + (s->kernel_height - 1) * s->dilation_y < s->height;
        line_panel_t line;
        if (is_line && !is_inside)
            line_panel_make(s, column, count, &line);
        column_row_t row = first_row;
        for (uint64_t kk = 0; kk < count_k; kk++, to += WEIR_K_PANEL, row_next(s, &row)) {
            if (is_inside)
                memcpy(to,
                    row.plane + (y + row.ky * s->dilation_y) * s->width + left +
                        row.kx * s->dilation_x,
                    WEIR_K_PANEL * sizeof(*to));
            else if (is_line)
                line_panel_row(s, &line, &row, column, to);
            else
                panel_row(s, &row, pixel, count, to);
        }
    }
}

weir_cpu_conv_plane_t weir_cpu_conv_plane(const weir_cpu_conv_shape_t *s)
{
    return (weir_cpu_conv_plane_t){
        .rows = (s->out_height - 1) * s->stride_y + (s->kernel_height - 1) * s->dilation_y + 1,
        .phase_columns = s->out_width + (s->kernel_width - 1) * s->dilation_x / s->stride_x,
    };
}

void weir_cpu_floats_copy(const float *from, int64_t count, float *to)
{
    if (count < 8) {
        for (int64_t i = 0; i < count; i++)
            to[i] = from[i];
        return;
    }
    // Eight at a time; the last eight may lie over the ones before.
    for (int64_t i = 0; i + 8 <= count; i += 8)
        memcpy(to + i, from + i, 8 * sizeof(*to));
    memcpy(to + count - 8, from + count - 8, 8 * sizeof(*to));
}

void weir_cpu_conv_plane_fill(
    const weir_cpu_conv_shape_t *s, const weir_k_table_t *kernels, const float *x, float *to)
{
    const weir_cpu_conv_plane_t plane = weir_cpu_conv_plane(s);
    const int64_t row_floats = s->stride_x * plane.phase_columns;
    const int64_t first = WEIR_MAX(0, -s->pad_top),
                  end = WEIR_MIN(s->height, plane.rows - s->pad_top);
    for (int64_t y = first; y < end; y++) {
        float *row = to + (y + s->pad_top) * row_floats;
        const float *from = x + y * s->width;
        if (s->stride_x > 1 && s->pad_left >= 0) {
            kernels->phases_f32((size_t)s->width, (size_t)s->stride_x, (size_t)s->pad_left,
                (size_t)plane.phase_columns, from, row);
            continue;
        }
        for (int64_t phase = 0; phase < s->stride_x && s->stride_x > 1; phase++)
            row_copy(from, s->width, s->stride_x, phase - s->pad_left, 0, plane.phase_columns,
                row + phase * plane.phase_columns);
        const int64_t left = WEIR_MAX(0, -s->pad_left);
        const int64_t right = WEIR_MIN(s->width, row_floats - s->pad_left);
        if (s->stride_x == 1 && right > left)
            weir_cpu_floats_copy(from + left, right - left, row + left + s->pad_left);
    }
}
