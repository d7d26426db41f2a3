// backends/opencl/op_resize.c: Resize: to the nearest along any axes, linear in f32 along the last
// two. Cubic, antialias, exclude_outside and policies are left to another device.
#include "backends/opencl/op_resize.h"

#include <string.h>

static const char *text_of(const weir_node_t *node, const char *name, const char *otherwise)
{
    const weir_attribute_t *attribute = weir_node_attribute(node, name);
    return attribute && attribute->s && attribute->s[0] ? attribute->s : otherwise;
}

static bool is_linear(const weir_node_t *node)
{
    return strcmp(text_of(node, "mode", "nearest"), "linear") == 0;
}

// The number of the attribute's value in `names`; -1: none of them.
static int64_t choice(
    const weir_node_t *node, const char *name, const char *const *names, uint32_t count)
{
    const char *text = text_of(node, name, names[0]);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    return -1;
}

static int64_t coordinates_of(const weir_node_t *node)
{
    static const char *const names[] = {
        "half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric"};
    return choice(node, "coordinate_transformation_mode", names, 5);
}

static int64_t rounding_of(const weir_node_t *node)
{
    static const char *const names[] = {"round_prefer_floor", "floor", "ceil", "round_prefer_ceil"};
    return choice(node, "nearest_mode", names, 4);
}

static bool is_by_scales(const weir_node_t *node)
{
    return weir_cl_is_there(node, 1) && node->inputs[1].element_count > 0;
}

weir_code_t weir_cl_resize_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    const char *mode = text_of(node, "mode", "nearest");
    const weir_attribute_t *axes = weir_node_attribute(node, "axes");
    if (coordinates_of(node) < 0 || rounding_of(node) < 0 ||
        (!is_linear(node) && strcmp(mode, "nearest") != 0))
        return weir_cl_no(out_support, "a mode that it does not have");
    if ((axes && axes->count) || weir_node_int(node, "antialias", 0) ||
        weir_node_int(node, "exclude_outside", 0) ||
        strcmp(text_of(node, "keep_aspect_ratio_policy", "stretch"), "stretch") != 0)
        return weir_cl_no(out_support, "axes, antialias, exclude_outside or a policy");
    if (is_by_scales(node) &&
        (!weir_cl_is_known(&node->inputs[1]) || node->inputs[1].element_count != x->rank))
        return weir_cl_no(out_support, "the scales must be constants");
    if (x->rank > (is_linear(node) ? WEIR_CL_AXES_MAX : 5) || x->rank != y->rank)
        return weir_cl_no(out_support, "rank %u", x->rank);
    if (is_linear(node) && (x->rank < 2 || x->dtype != WEIR_F32))
        return weir_cl_no(out_support, "linear works on f32 of rank 2 at least");
    for (uint32_t d = 0; is_linear(node) && d + 2 < x->rank; d++)
        if (x->dims[d] != y->dims[d])
            return weir_cl_no(out_support, "linear resizes the last two axes");
    return weir_cl_is_plain(node, out_support);
}

weir_code_t weir_cl_resize_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    if (!is_linear(node))
        return weir_cl_nearest_build(node, builder);
    weir_cl_define(builder, "KIND", 4);
    weir_cl_kernel(
        builder, "common/mapped", "weir_linear", "tttttllllll", weir_cl_simple_group(builder));
    weir_cl_kernel_too(builder, "weir_map_linear", "tttllilfi");
    return WEIR_OK;
}

static weir_code_t read_node(const weir_node_t *node, weir_cl_resize_t *out_resize)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    out_resize->coordinates = coordinates_of(node);
    out_resize->rounding = rounding_of(node);
    for (uint32_t d = 0; d < x->rank; d++) {
        float scale = 0;
        if (is_by_scales(node))
            memcpy(&scale, (const char *)node->inputs[1].data + d * sizeof scale, sizeof scale);
        out_resize->scales[d] = is_by_scales(node) ? (double)scale
                                : x->dims[d]       ? (double)y->dims[d] / (double)x->dims[d]
                                                   : 0;
        if (y->element_count && !(out_resize->scales[d] > 0))
            return WEIR_INVALID_ARGUMENT;
        memcpy(&out_resize->bits[d], &out_resize->scales[d], sizeof out_resize->bits[d]);
        out_resize->stays[d] = out_resize->scales[d] == 1.0 && x->dims[d] == y->dims[d];
    }
    return WEIR_OK;
}

static weir_code_t plan_linear(const weir_node_t *node, const weir_cl_built_t *built,
    const weir_cl_resize_t *resize, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    int64_t out[2], in[2], entries = 0;
    uint32_t first = y->rank - 2;
    if (!y->element_count)
        return WEIR_OK;
    for (uint32_t i = 0; i < 2; i++) {
        out[i] = y->dims[first + i];
        in[i] = x->dims[first + i];
        if (in[i] > INT32_MAX)
            return WEIR_UNSUPPORTED;
    }
    uint64_t array = (uint64_t)WEIR_DIV_UP((out[0] + out[1]) * 4, 64) * 64;
    for (uint32_t i = 0; i < 2; i++) {
        bool is_gpu = built->facts->family == WEIR_CL_FAMILY_GPU;
        weir_cl_dispatch_t *map = weir_cl_dispatch(
            recipe, 1, is_gpu ? (uint64_t)WEIR_DIV_UP(out[i], (int64_t)WEIR_CL_GROUP) : 1, 1, 1);
        for (uint32_t a = 0; a < 3; a++)
            weir_cl_arg_scratch(map, a * array + (uint64_t)entries * 4);
        weir_cl_arg_i64(map, out[i]);
        weir_cl_arg_i64(map, in[i]);
        weir_cl_arg_i32(map, resize->coordinates * 8);
        weir_cl_arg_i64(map, resize->bits[first + i]);
        weir_cl_arg_f32(map, (float)resize->scales[first + i]);
        weir_cl_arg_i32(map, resize->stays[first + i]);
        entries += out[i];
    }
    recipe->scratch_bytes = 3 * array;
    weir_cl_spread_t spread =
        weir_cl_spread(built->facts, (int64_t)y->element_count / out[1], out[1]);
    weir_cl_dispatch_t *blend = weir_cl_dispatch(recipe, 0, spread.groups, 1, 1);
    weir_cl_arg_input(blend, node, 0);
    weir_cl_arg_output(blend, node, 0);
    for (uint32_t a = 0; a < 3; a++)
        weir_cl_arg_scratch(blend, a * array);
    weir_cl_arg_i64(blend, out[0]);
    weir_cl_arg_i64(blend, out[1]);
    weir_cl_arg_i64(blend, in[0]);
    weir_cl_arg_i64(blend, in[1]);
    weir_cl_arg_i64(blend, spread.rows);
    weir_cl_arg_i64(blend, spread.chunk);
    return WEIR_OK;
}

weir_code_t weir_cl_resize_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    weir_cl_resize_t resize;
    weir_code_t code = read_node(node, &resize);
    if (code != WEIR_OK)
        return code;
    return is_linear(node) ? plan_linear(node, built, &resize, recipe)
                           : weir_cl_nearest_plan(node, built, &resize, recipe);
}
