// backends/opencl/op_blocked.c: Conv, ConvTranspose, MaxPool and AveragePool in f32 over images in
// blocks of 16 channels (NCHW16C), for the cpu family: a channel block is a vector, a work-item a
// few pixels of a row.
//
// Weights are packed on the host: a work-item reads its own from beginning to end. Of the first
// Conv of a network, whose few channels come row-major, each channel is a chunk of its own.
#include <string.h>

#include "backends/opencl/op_kernels.h"

#define FIRST_CHANNELS 4 // of a row-major input, at most
#define NOTE_ROWS 0
#define NOTE_BLOCKS 1

static const weir_cl_view_t view = {.is_blocked = true};

static const uint32_t one_item[3] = {1, 1, 1};

static bool is_first(const weir_node_t *node)
{
    return node->inputs[0].format == WEIR_FORMAT_ROW_MAJOR;
}

// Pixels of a row that a work-item takes: those that leave least of its last one over.
static int64_t rows_for(int64_t out_width, int64_t most)
{
    int64_t best = most, best_cost = INT64_MAX;
    if (out_width < 1)
        return most;
    if (out_width <= most)
        return out_width;
    for (int64_t rows = most; 4 * rows >= 3 * most && rows > 0; rows--) {
        // A narrower tile reads the same weights for fewer pixels.
        const int64_t cost = weir_cl_div_up(out_width, rows) * (8 * rows + 4);
        if (cost < best_cost) {
            best = rows;
            best_cost = cost;
        }
    }
    return best;
}

static weir_code_t f32_blocks(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_tensor_t *w = &node->inputs[1];
    if (node->input_count < 2 || w->rank != 4 || w->dtype != WEIR_F32 || !weir_cl_is_constant(w) ||
        w->element_count == 0)
        return weir_cl_no(out_support, "takes two spatial dims and constant weights only");
    if (weir_cl_has(node, 2) && !weir_cl_is_constant(&node->inputs[2]))
        return weir_cl_no(out_support, "the bias is no constant");
    return WEIR_OK;
}

// ---------------------------------------------------------------------------------------------
// Conv
// ---------------------------------------------------------------------------------------------

static weir_code_t conv_supports(
    const weir_node_t *node, bool wants_first, weir_support_t *out_support)
{
    weir_cl_window_t window;
    const char *wrong = weir_cl_window_read(node, &window);
    if (wrong)
        return weir_cl_no(out_support, "%s", wrong);
    const weir_code_t code = f32_blocks(node, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0], *w = &node->inputs[1];
    if (wants_first) {
        if (!is_first(node) || window.groups != 1 || w->dims[1] > FIRST_CHANNELS)
            return weir_cl_no(out_support, "takes few row-major channels only");
    } else if (!weir_cl_is_blocked(x)) {
        return weir_cl_no(out_support, "takes blocks only");
    } else if (window.groups > 1 && (w->dims[1] % 16 || w->dims[0] / window.groups % 16)) {
        return weir_cl_no(out_support, "the groups are not of whole blocks");
    }
    return weir_cl_finish_supports(node, view, 14, out_support);
}

weir_code_t weir_cl_blocked_conv_supports(const weir_node_t *node, weir_support_t *out_support)
{
    return conv_supports(node, false, out_support);
}

weir_code_t weir_cl_first_conv_supports(const weir_node_t *node, weir_support_t *out_support)
{
    return conv_supports(node, true, out_support);
}

// How the weights lie: kernels/opencl/cpu/conv.cl.
typedef struct conv_layout {
    int64_t groups, outputs, inputs, taps; // outputs and inputs: of a group
    int64_t blocks, in_quad, quads;        // blocks of a group; of a quad; quads of a group
    int64_t quad_floats, zeros_at;         // the zeros lie behind all
} conv_layout_t;

static conv_layout_t layout_of(const weir_node_t *node)
{
    const weir_tensor_t *w = &node->inputs[1];
    conv_layout_t layout = {.groups = weir_node_int(node, "group", 1),
        .inputs = w->dims[1],
        .taps = w->dims[2] * w->dims[3]};
    layout.outputs = w->dims[0] / layout.groups;
    layout.blocks = weir_cl_blocks(layout.outputs);
    layout.in_quad = layout.blocks % 2 == 0                    ? 2
                     : layout.blocks % 3 == 0                  ? 3
                     : layout.blocks == 1 || layout.groups > 1 ? 1
                                                               : 2;
    layout.quads = weir_cl_div_up(layout.blocks, layout.in_quad);
    layout.quad_floats = layout.inputs * layout.taps * layout.in_quad * 16;
    layout.zeros_at = layout.groups * layout.quads * layout.quad_floats;
    return layout;
}

weir_code_t weir_cl_blocked_conv_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    if (input != 1) {
        weir_cl_finish_pack_query(node, view, input, out_packing);
        return WEIR_OK;
    }
    const conv_layout_t layout = layout_of(node);
    out_packing->format = (uint32_t)(is_first(node) ? WEIR_CL_FORMAT_FIRST : WEIR_CL_FORMAT_CONV) +
                          (uint32_t)layout.in_quad;
    out_packing->bytes = (uint64_t)(layout.zeros_at + 16) * sizeof(float);
    return WEIR_OK;
}

weir_code_t weir_cl_blocked_conv_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    if (input != 1)
        return weir_cl_finish_pack(node, input, destination, bytes);
    const conv_layout_t layout = layout_of(node);
    if (bytes < (uint64_t)(layout.zeros_at + 16) * sizeof(float))
        return WEIR_INVALID_ARGUMENT;
    const int64_t together = is_first(node) ? 1 : 16, lanes = layout.in_quad * 16;
    const float *all = node->inputs[1].data;
    float *to = destination;
    for (int64_t quad = 0; quad < layout.groups * layout.quads; quad++) {
        const int64_t first = quad % layout.quads * lanes;
        const float *from =
            all + (quad / layout.quads * layout.outputs + first) * layout.inputs * layout.taps;
        const int64_t outputs = layout.outputs - first;
        for (int64_t c = 0; c < layout.inputs; c += together)
            for (int64_t tap = 0; tap < layout.taps; tap++)
                for (int64_t i = c; i < WEIR_MIN(c + together, layout.inputs); i++)
                    for (int64_t lane = 0; lane < lanes; lane++)
                        *to++ = lane < outputs
                                    ? from[(lane * layout.inputs + i) * layout.taps + tap]
                                    : 0.0f;
    }
    memset(to, 0, 16 * sizeof *to);
    return WEIR_OK;
}

// The window as the kernel sees it.
static weir_code_t conv_window(const weir_node_t *node, weir_cl_window_t *out_window)
{
    if (weir_cl_window_read(node, out_window))
        return WEIR_INVALID_ARGUMENT;
    if (weir_cl_window_is_point(node, out_window))
        weir_cl_window_flatten(out_window);
    return WEIR_OK;
}

static weir_code_t conv_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    char arguments[WEIR_CL_ARGS_MAX + 1];
    weir_cl_window_t window;
    if (conv_window(node, &window) != WEIR_OK)
        return weir_cl_build_fails(builder, WEIR_INVALID_ARGUMENT, "Conv: the dims do not fit");
    const weir_code_t code =
        weir_cl_finish_build(node, view, WEIR_CL_WANTS_16, "tttlllllllllll", arguments, builder);
    if (code != WEIR_OK)
        return code;
    const conv_layout_t layout = layout_of(node);
    const int64_t most = layout.in_quad == 1 ? 12 : layout.in_quad == 2 ? 8 : 6;
    const int64_t rows = rows_for(window.out_width, most);
    if (is_first(node))
        weir_cl_define(builder, "FIRST", 1);
    weir_cl_define(builder, "ROWS", rows);
    weir_cl_define(builder, "BLOCKS", layout.in_quad);
    weir_cl_define(builder, "TAIL", is_first(node) ? 0 : layout.inputs % 16);
    weir_cl_define(builder, "FILL", (layout.outputs - 1) % 16 + 1);
    weir_cl_window_define(&window, builder);
    weir_cl_note(builder, NOTE_ROWS, rows);
    weir_cl_kernel(builder, "cpu/conv", "weir_conv", arguments, one_item);
    return WEIR_OK;
}

static weir_code_t conv_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    weir_cl_window_t window;
    const weir_code_t code = conv_window(node, &window);
    const conv_layout_t layout = layout_of(node);
    if (code != WEIR_OK || window.channels != layout.inputs * layout.groups)
        return WEIR_INVALID_ARGUMENT;
    const int64_t tiles = weir_cl_div_up(window.out_width, built->notes[NOTE_ROWS]);
    weir_cl_dispatch_t *dispatch =
        weir_cl_dispatch(recipe, 0, (uint64_t)(tiles * window.out_height), (uint64_t)layout.quads,
            (uint64_t)(window.images * layout.groups));
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_input(dispatch, node, 1);
    weir_cl_arg_output(dispatch, node, 0);
    const int64_t sizes[] = {window.height, window.width, window.out_height, window.out_width,
        is_first(node) ? layout.inputs : layout.inputs / 16, layout.blocks, layout.groups,
        layout.quad_floats, layout.zeros_at, window.pad_top, window.pad_left};
    WEIR_CL_SIZES(dispatch, sizes);
    weir_cl_finish_args(node, view, built, dispatch);
    return WEIR_OK;
}

weir_code_t weir_cl_blocked_conv_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    return conv_build(node, builder);
}

weir_code_t weir_cl_blocked_conv_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    return conv_plan(node, built, recipe);
}

weir_code_t weir_cl_first_conv_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    return conv_build(node, builder);
}

weir_code_t weir_cl_first_conv_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    return conv_plan(node, built, recipe);
}

// ---------------------------------------------------------------------------------------------
// Depthwise Conv and pools
// ---------------------------------------------------------------------------------------------

weir_code_t weir_cl_blocked_depthwise_supports(const weir_node_t *node, weir_support_t *out_support)
{
    weir_cl_window_t window;
    const char *wrong = weir_cl_window_read(node, &window);
    if (wrong)
        return weir_cl_no(out_support, "%s", wrong);
    const weir_code_t code = f32_blocks(node, out_support);
    if (code != WEIR_OK)
        return code;
    if (!weir_cl_is_blocked(&node->inputs[0]) || node->inputs[1].dims[1] != 1 ||
        window.groups != node->inputs[1].dims[0] || window.groups < 2)
        return weir_cl_no(out_support, "takes a window for each channel of blocks only");
    return weir_cl_finish_supports(node, view, 11, out_support);
}

weir_code_t weir_cl_blocked_depthwise_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    const weir_tensor_t *w = &node->inputs[1];
    if (input != 1) {
        weir_cl_finish_pack_query(node, view, input, out_packing);
        return WEIR_OK;
    }
    out_packing->format = WEIR_CL_FORMAT_DEPTHWISE;
    out_packing->bytes =
        (uint64_t)(weir_cl_blocks(w->dims[0]) * 16 * w->dims[2] * w->dims[3]) * sizeof(float);
    return WEIR_OK;
}

weir_code_t weir_cl_blocked_depthwise_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    if (input != 1)
        return weir_cl_finish_pack(node, input, destination, bytes);
    const weir_tensor_t *w = &node->inputs[1];
    const int64_t taps = w->dims[2] * w->dims[3], blocks = weir_cl_blocks(w->dims[0]);
    if (bytes < (uint64_t)(blocks * 16 * taps) * sizeof(float))
        return WEIR_INVALID_ARGUMENT;
    const float *from = w->data;
    float *to = destination;
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t tap = 0; tap < taps; tap++)
            for (int64_t c = block * 16; c < block * 16 + 16; c++)
                *to++ = c < w->dims[0] ? from[c * taps + tap] : 0.0f;
    return WEIR_OK;
}

weir_code_t weir_cl_blocked_pool_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cl_pool_supports(node, out_support);
    if (code != WEIR_OK)
        return code;
    if (!weir_cl_is_blocked(&node->inputs[0]) || !weir_cl_is_blocked(&node->outputs[0]) ||
        node->inputs[0].dims[1] < 1)
        return weir_cl_no(out_support, "takes blocks only");
    return WEIR_OK;
}

static weir_code_t window_build(
    const weir_node_t *node, const char *what, weir_cl_builder_t *builder)
{
    char arguments[WEIR_CL_ARGS_MAX + 1];
    weir_cl_window_t window;
    if (weir_cl_window_read(node, &window))
        return weir_cl_build_fails(builder, WEIR_INVALID_ARGUMENT, "%s: no window", node->op);
    const weir_code_t code =
        weir_cl_finish_build(node, view, WEIR_CL_WANTS_16, "tttllllllll", arguments, builder);
    if (code != WEIR_OK)
        return code;
    const int64_t rows = rows_for(window.out_width, 8);
    weir_cl_define(builder, what, 1);
    weir_cl_define(builder, "ROWS", rows);
    weir_cl_define(builder, "COUNT_PADS", weir_node_int(node, "count_include_pad", 0) != 0);
    weir_cl_define(builder, "FILL", (node->outputs[0].dims[1] - 1) % 16 + 1);
    weir_cl_window_define(&window, builder);
    weir_cl_note(builder, NOTE_ROWS, rows);
    weir_cl_kernel(builder, "cpu/window", "weir_blocks_window", arguments, one_item);
    return WEIR_OK;
}

static weir_code_t window_plan(const weir_node_t *node, uint32_t weights,
    const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    weir_cl_window_t window;
    if (weir_cl_window_read(node, &window))
        return WEIR_INVALID_ARGUMENT;
    const bool counts_pads = weir_node_int(node, "count_include_pad", 0) != 0;
    const int64_t tiles = weir_cl_div_up(window.out_width, built->notes[NOTE_ROWS]);
    weir_cl_dispatch_t *dispatch =
        weir_cl_dispatch(recipe, 0, (uint64_t)(tiles * window.out_height),
            (uint64_t)weir_cl_blocks(window.outputs), (uint64_t)window.images);
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_input(dispatch, node, weights);
    weir_cl_arg_output(dispatch, node, 0);
    const int64_t sizes[] = {window.height, window.width, window.out_height, window.out_width,
        window.pad_top, window.pad_left, counts_pads ? window.end_y : window.height,
        counts_pads ? window.end_x : window.width};
    WEIR_CL_SIZES(dispatch, sizes);
    weir_cl_finish_args(node, view, built, dispatch);
    return WEIR_OK;
}

weir_code_t weir_cl_blocked_depthwise_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    return window_build(node, "CONV", builder);
}

weir_code_t weir_cl_blocked_depthwise_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    return window_plan(node, 1, built, recipe);
}

weir_code_t weir_cl_blocked_pool_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    return window_build(node, node->op[0] == 'M' ? "MAX" : "AVERAGE", builder);
}

weir_code_t weir_cl_blocked_pool_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    return window_plan(node, 0, built, recipe);
}

// ---------------------------------------------------------------------------------------------
// ConvTranspose
// ---------------------------------------------------------------------------------------------

weir_code_t weir_cl_blocked_deconv_supports(const weir_node_t *node, weir_support_t *out_support)
{
    weir_cl_window_t window;
    const char *wrong = weir_cl_deconv_read(node, &window);
    if (wrong)
        return weir_cl_no(out_support, "%s", wrong);
    const weir_code_t code = f32_blocks(node, out_support);
    if (code != WEIR_OK)
        return code;
    if (!weir_cl_is_blocked(&node->inputs[0]) || weir_node_int(node, "group", 1) != 1)
        return weir_cl_no(out_support, "takes blocks and one group only");
    return weir_cl_finish_supports(node, view, 11, out_support);
}

static int64_t spread_floats(const weir_tensor_t *w)
{
    return weir_cl_blocks(w->dims[0]) * 16 * weir_cl_blocks(w->dims[1]) * 16 * w->dims[2] *
           w->dims[3];
}

weir_code_t weir_cl_blocked_deconv_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    if (input != 1) {
        weir_cl_finish_pack_query(node, view, input, out_packing);
        return WEIR_OK;
    }
    out_packing->format = WEIR_CL_FORMAT_SPREAD;
    out_packing->bytes = (uint64_t)spread_floats(&node->inputs[1]) * sizeof(float);
    return WEIR_OK;
}

weir_code_t weir_cl_blocked_deconv_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    if (input != 1)
        return weir_cl_finish_pack(node, input, destination, bytes);
    const weir_tensor_t *w = &node->inputs[1];
    if (bytes < (uint64_t)spread_floats(w) * sizeof(float))
        return WEIR_INVALID_ARGUMENT;
    const int64_t inputs = w->dims[0], outputs = w->dims[1], taps = w->dims[2] * w->dims[3];
    const float *from = w->data;
    float *to = destination;
    for (int64_t block = 0; block < weir_cl_blocks(outputs); block++)
        for (int64_t tap = 0; tap < taps; tap++)
            for (int64_t i = 0; i < weir_cl_blocks(inputs) * 16; i++)
                for (int64_t o = block * 16; o < block * 16 + 16; o++)
                    *to++ = i < inputs && o < outputs ? from[(i * outputs + o) * taps + tap] : 0.0f;
    return WEIR_OK;
}

weir_code_t weir_cl_blocked_deconv_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    char arguments[WEIR_CL_ARGS_MAX + 1];
    weir_cl_window_t window;
    if (weir_cl_window_read(node, &window))
        return weir_cl_build_fails(builder, WEIR_INVALID_ARGUMENT, "%s: no window", node->op);
    const weir_code_t code =
        weir_cl_finish_build(node, view, WEIR_CL_WANTS_16, "tttlllllll", arguments, builder);
    if (code != WEIR_OK)
        return code;
    const int64_t width =
        window.out_width < 0 ? -1 : weir_cl_div_up(window.out_width, window.stride_x);
    const int64_t rows = rows_for(width, 8);
    weir_cl_define(builder, "ROWS", rows);
    weir_cl_define(builder, "FILL", (node->outputs[0].dims[1] - 1) % 16 + 1);
    weir_cl_window_define(&window, builder);
    weir_cl_note(builder, NOTE_ROWS, rows);
    weir_cl_kernel(builder, "cpu/spread", "weir_blocks_spread", arguments, one_item);
    return WEIR_OK;
}

weir_code_t weir_cl_blocked_deconv_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    weir_cl_window_t window;
    if (weir_cl_window_read(node, &window) || window.channels != node->inputs[1].dims[0])
        return WEIR_INVALID_ARGUMENT;
    const int64_t tiles =
        weir_cl_div_up(weir_cl_div_up(window.out_width, window.stride_x), built->notes[NOTE_ROWS]);
    weir_cl_dispatch_t *dispatch =
        weir_cl_dispatch(recipe, 0, (uint64_t)(window.out_height * window.stride_x * tiles),
            (uint64_t)weir_cl_blocks(window.outputs), (uint64_t)window.images);
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_input(dispatch, node, 1);
    weir_cl_arg_output(dispatch, node, 0);
    const int64_t sizes[] = {window.height, window.width, window.out_height, window.out_width,
        weir_cl_blocks(window.channels), window.pad_top, window.pad_left};
    WEIR_CL_SIZES(dispatch, sizes);
    weir_cl_finish_args(node, view, built, dispatch);
    return WEIR_OK;
}
