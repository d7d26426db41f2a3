// backends/opencl/op_winograd.c: a 3x3 Conv without stride in f32 over images in blocks of 16
// channels, by Winograd's F(4x4, 3x3), for the cpu family: tiles are transformed, multiplied by
// transformed weights in 36 products, and transformed back (kernels/opencl/cpu/winograd.cl).
//
// Only of images large enough that a quarter of the products outweighs the transforms. Its rounding
// errors are some times those of the plain sum; weights are transformed in double.
#include <string.h>

#include "backends/opencl/op_kernels.h"

#define LEAST_CHANNELS 32
#define LEAST_PIXELS (24 * 24)
#define POINTS 36
#define NOTE_ROWS 0

static const weir_cl_view_t view = {.is_blocked = true};

static const uint32_t one_item[3] = {1, 1, 1};

weir_code_t weir_cl_winograd_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cl_blocked_conv_supports(node, out_support);
    if (code != WEIR_OK)
        return code;
    weir_cl_window_t window;
    if (weir_cl_window_read(node, &window) || window.kernel_y != 3 || window.kernel_x != 3 ||
        window.stride_y != 1 || window.stride_x != 1 || window.dilation_y != 1 ||
        window.dilation_x != 1 || window.groups != 1)
        return weir_cl_no(out_support, "takes windows of 3 x 3 without stride only");
    if (window.channels < LEAST_CHANNELS || window.outputs < LEAST_CHANNELS ||
        window.out_height < 1 || window.out_width < 1 ||
        window.out_height * window.out_width < LEAST_PIXELS)
        return weir_cl_no(out_support, "takes large images of many channels only");
    return WEIR_OK;
}

// Floats of one point's matrix of weights: panels of 32 outputs.
static int64_t point_floats(const weir_tensor_t *w)
{
    return weir_cl_div_up(weir_cl_blocks(w->dims[0]), 2) * 32 * weir_cl_blocks(w->dims[1]) * 16;
}

weir_code_t weir_cl_winograd_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    if (input != 1) {
        weir_cl_finish_pack_query(node, view, input, out_packing);
        return WEIR_OK;
    }
    out_packing->format = WEIR_CL_FORMAT_WINOGRAD;
    out_packing->bytes = (uint64_t)(POINTS * point_floats(&node->inputs[1])) * sizeof(float);
    return WEIR_OK;
}

// u = G g G^T of one window.
static void window_transform(const float g[9], double u[POINTS])
{
    static const double rows[6][3] = {{1.0 / 4, 0, 0}, {-1.0 / 6, -1.0 / 6, -1.0 / 6},
        {-1.0 / 6, 1.0 / 6, -1.0 / 6}, {1.0 / 24, 1.0 / 12, 1.0 / 6},
        {1.0 / 24, -1.0 / 12, 1.0 / 6}, {0, 0, 1}};
    double half_way[6][3];
    for (uint32_t i = 0; i < 6; i++)
        for (uint32_t j = 0; j < 3; j++)
            half_way[i][j] = rows[i][0] * (double)g[j] + rows[i][1] * (double)g[3 + j] +
                             rows[i][2] * (double)g[6 + j];
    for (uint32_t i = 0; i < 6; i++)
        for (uint32_t j = 0; j < 6; j++)
            u[i * 6 + j] = half_way[i][0] * rows[j][0] + half_way[i][1] * rows[j][1] +
                           half_way[i][2] * rows[j][2];
}

weir_code_t weir_cl_winograd_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    if (input != 1)
        return weir_cl_finish_pack(node, input, destination, bytes);
    const weir_tensor_t *w = &node->inputs[1];
    const int64_t floats = point_floats(w), inputs = w->dims[1];
    const int64_t depth = weir_cl_blocks(inputs) * 16;
    if (bytes < (uint64_t)(POINTS * floats) * sizeof(float))
        return WEIR_INVALID_ARGUMENT;
    memset(destination, 0, bytes);
    float *to = destination;
    const float *from = w->data;
    for (int64_t o = 0; o < w->dims[0]; o++) {
        for (int64_t c = 0; c < inputs; c++) {
            double u[POINTS];
            window_transform(from + (o * inputs + c) * 9, u);
            for (int64_t point = 0; point < POINTS; point++)
                to[point * floats + (o / 32 * depth + c) * 32 + o % 32] = (float)u[point];
        }
    }
    return WEIR_OK;
}

weir_code_t weir_cl_winograd_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    char arguments[WEIR_CL_ARGS_MAX + 1];
    weir_cl_define(builder, "TILES_IN", 1);
    weir_cl_kernel(builder, "cpu/winograd", "weir_tiles_in", "ttlllll", one_item);
    weir_cl_text(builder, "#define FINISH_PARAMETERS\n#define FINISH_POINTERS\n"
                          "#define FINISH16(v, at, line, column) (v)\n"
                          "#define FINISH1(v, at, line, column) (v)\n");
    weir_cl_define(builder, "ONE_BATCH_DIM", 1);
    weir_cl_define(builder, "ROWS", weir_cl_matmul_rows(builder));
    weir_cl_note(builder, NOTE_ROWS, weir_cl_matmul_rows(builder));
    weir_cl_kernel(builder, "cpu/matmul", "weir_matmul", "tttllllllllllllllll", one_item);
    const weir_code_t code =
        weir_cl_finish_build(node, view, WEIR_CL_WANTS_16, "ttlll", arguments, builder);
    if (code != WEIR_OK)
        return code;
    weir_cl_define(builder, "FILL", (node->outputs[0].dims[1] - 1) % 16 + 1);
    weir_cl_kernel(builder, "cpu/winograd", "weir_tiles_out", arguments, one_item);
    return WEIR_OK;
}

weir_code_t weir_cl_winograd_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    weir_cl_window_t window;
    if (weir_cl_window_read(node, &window) || window.channels != node->inputs[1].dims[1])
        return WEIR_INVALID_ARGUMENT;
    const int64_t tiles_x = weir_cl_div_up(window.out_width, 4);
    const int64_t tiles = weir_cl_div_up(window.out_height, 4) * tiles_x;
    const int64_t in_blocks = weir_cl_blocks(window.channels);
    const int64_t out_blocks = weir_cl_blocks(window.outputs);
    const int64_t m = tiles * window.images, n = out_blocks * 16, k = in_blocks * 16;
    const uint64_t sums_at = (uint64_t)(POINTS * m * k) * sizeof(float);
    recipe->scratch_bytes = sums_at + (uint64_t)(POINTS * m * n) * sizeof(float);
    weir_cl_dispatch_t *in =
        weir_cl_dispatch(recipe, 0, (uint64_t)tiles, (uint64_t)in_blocks, (uint64_t)window.images);
    weir_cl_arg_input(in, node, 0);
    weir_cl_arg_scratch(in, 0);
    const int64_t in_sizes[] = {
        window.height, window.width, tiles_x, window.pad_top, window.pad_left};
    WEIR_CL_SIZES(in, in_sizes);
    weir_cl_dispatch_t *product =
        weir_cl_dispatch(recipe, 1, (uint64_t)weir_cl_div_up(m, built->notes[NOTE_ROWS]),
            (uint64_t)weir_cl_div_up(n, 32), POINTS);
    weir_cl_arg_scratch(product, 0);
    weir_cl_arg_input(product, node, 1);
    weir_cl_arg_scratch(product, sums_at);
    const int64_t sizes[] = {
        m, n, k, k, 1, 1, 1, POINTS, 0, 0, 0, m * k, 0, 0, 0, point_floats(&node->inputs[1])};
    WEIR_CL_SIZES(product, sizes);
    weir_cl_dispatch_t *out =
        weir_cl_dispatch(recipe, 2, (uint64_t)tiles, (uint64_t)out_blocks, (uint64_t)window.images);
    weir_cl_arg_scratch(out, sums_at);
    weir_cl_arg_output(out, node, 0);
    const int64_t out_sizes[] = {window.out_height, window.out_width, tiles_x};
    WEIR_CL_SIZES(out, out_sizes);
    weir_cl_finish_args(node, view, built, out);
    return WEIR_OK;
}
