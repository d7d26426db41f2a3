// backends/opencl/op_mapped.c: Tile, Pad and Resize to the nearest: each axis has a map from output
// to input coordinates, made on the device, and the copy follows the maps.
//
// Neighbouring axes that stay as they are share one map.
#include "backends/opencl/op_host.h"

#include "backends/opencl/op_resize.h"
#include <string.h>

#define MAPS 5

// What the maps of a node are made of.
typedef struct axis {
    int64_t out, in, stride; // so many coordinates, of so many, so far apart
    int64_t a, b;
    double scale;
    bool stays;
} axis_t;

static weir_code_t build(const weir_node_t *node, weir_cl_builder_t *builder, int64_t kind)
{
    weir_cl_define(builder, "KIND", kind);
    weir_cl_define_size(builder, node->inputs[0].dtype);
    weir_cl_kernel(
        builder, "common/mapped", "weir_mapped", "ttttlllllll", weir_cl_simple_group(builder));
    weir_cl_kernel_too(builder, "weir_map", "tlllillf");
    return WEIR_OK;
}

// The axes in at most MAPS groups; 0: there are too many.
static uint32_t join(const axis_t *axes, uint32_t rank, axis_t *out_groups)
{
    uint32_t count = 0;
    for (uint32_t d = 0; d < rank; d++) {
        axis_t *last = count ? &out_groups[count - 1] : NULL;
        if (last && last->stays && axes[d].stays) {
            last->out *= axes[d].out;
            last->in *= axes[d].in;
            last->stride = axes[d].stride;
            continue;
        }
        if (count == MAPS)
            return 0;
        out_groups[count++] = axes[d];
    }
    return count;
}

static weir_code_t plan(const weir_node_t *node, const weir_cl_built_t *built, const axis_t *axes,
    int64_t mode, uint32_t fill, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *y = &node->outputs[0];
    axis_t groups[MAPS], own[MAPS];
    uint32_t count = join(axes, y->rank, own), missing = MAPS - count;
    if (!count && y->rank)
        return WEIR_UNSUPPORTED;
    if (!y->element_count)
        return WEIR_OK;
    int64_t entries = 0;
    for (uint32_t g = 0; g < MAPS; g++) {
        groups[g] =
            g < missing ? (axis_t){.out = 1, .in = 1, .scale = 1, .stays = true} : own[g - missing];
        weir_cl_dispatch_t *map = weir_cl_dispatch(recipe, 1,
            built->facts->family == WEIR_CL_FAMILY_GPU
                ? (uint64_t)WEIR_DIV_UP(groups[g].out, (int64_t)WEIR_CL_GROUP)
                : 1,
            1, 1);
        weir_cl_arg_scratch(map, (uint64_t)entries * 8);
        weir_cl_arg_i64(map, groups[g].out);
        weir_cl_arg_i64(map, groups[g].in);
        weir_cl_arg_i64(map, groups[g].stride);
        weir_cl_arg_i32(map, mode);
        weir_cl_arg_i64(map, groups[g].a);
        weir_cl_arg_i64(map, groups[g].b);
        weir_cl_arg_f32(map, (float)groups[g].scale);
        entries += groups[g].out;
    }
    recipe->scratch_bytes = (uint64_t)entries * 8;
    int64_t inner = groups[MAPS - 1].out;
    weir_cl_spread_t spread =
        weir_cl_spread(built->facts, (int64_t)y->element_count / inner, inner);
    weir_cl_dispatch_t *copy = weir_cl_dispatch(recipe, 0, spread.groups, 1, 1);
    weir_cl_arg_input(copy, node, 0);
    if (fill)
        weir_cl_arg_input(copy, node, fill);
    else
        weir_cl_arg_none(copy);
    weir_cl_arg_output(copy, node, 0);
    weir_cl_arg_scratch(copy, 0);
    for (uint32_t g = 0; g < MAPS; g++)
        weir_cl_arg_i64(copy, groups[g].out);
    weir_cl_arg_i64(copy, spread.rows);
    weir_cl_arg_i64(copy, spread.chunk);
    return WEIR_OK;
}

// ---- Tile ---------------------------------------------------------------------------------------

// How often the dims say.
weir_code_t weir_cl_tile_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->outputs[0].rank > MAPS)
        return weir_cl_no(out_support, "rank %u, at most %u", node->outputs[0].rank, MAPS);
    return weir_cl_is_plain(node, out_support);
}

weir_code_t weir_cl_tile_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    return build(node, builder, 1);
}

weir_code_t weir_cl_tile_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    int64_t strides[WEIR_RANK_MAX];
    axis_t axes[WEIR_RANK_MAX];
    weir_cl_strides(x->dims, x->rank, strides);
    for (uint32_t d = 0; d < y->rank; d++)
        axes[d] = (axis_t){.out = y->dims[d],
            .in = x->dims[d],
            .stride = strides[d],
            .scale = 1,
            .stays = x->dims[d] == y->dims[d]};
    return plan(node, built, axes, 0, 0, recipe);
}

// ---- Pad ----------------------------------------------------------------------------------------

static int64_t pad_mode(const weir_node_t *node)
{
    static const char *const names[] = {"constant", "edge", "wrap", "reflect"};
    const weir_attribute_t *mode = weir_node_attribute(node, "mode");
    for (int64_t i = 0; mode && mode->s && i < 4; i++)
        if (strcmp(mode->s, names[i]) == 0)
            return i;
    return mode && mode->s ? -1 : 0;
}

weir_code_t weir_cl_pad_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (!weir_cl_is_known(&node->inputs[1]) ||
        (weir_cl_is_there(node, 3) && !weir_cl_is_known(&node->inputs[3])))
        return weir_cl_no(out_support, "pads and axes must be constants");
    if (pad_mode(node) < 0)
        return weir_cl_no(out_support, "an unknown mode");
    if (node->outputs[0].rank > MAPS)
        return weir_cl_no(out_support, "rank %u, at most %u", node->outputs[0].rank, MAPS);
    return weir_cl_is_plain(node, out_support);
}

weir_code_t weir_cl_pad_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    return build(node, builder, 2);
}

weir_code_t weir_cl_pad_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    int64_t strides[WEIR_RANK_MAX], before[WEIR_RANK_MAX] = {0}, after[WEIR_RANK_MAX] = {0};
    axis_t axes[WEIR_RANK_MAX];
    uint64_t count = weir_cl_is_there(node, 3) ? node->inputs[3].element_count : x->rank;
    for (uint64_t i = 0; i < count; i++) {
        int64_t wanted =
            weir_cl_is_there(node, 3) ? weir_cl_integer(&node->inputs[3], i) : (int64_t)i;
        int64_t axis = weir_cl_axis(wanted, x->rank);
        if (axis < 0)
            return WEIR_INVALID_ARGUMENT;
        before[axis] = weir_cl_integer(&node->inputs[1], i);
        after[axis] = weir_cl_integer(&node->inputs[1], count + i);
    }
    weir_cl_strides(x->dims, x->rank, strides);
    for (uint32_t d = 0; d < y->rank; d++) {
        int64_t cut = WEIR_MAX(-before[d], 0);
        int64_t in = WEIR_MAX(x->dims[d] - cut - WEIR_MAX(-after[d], 0), 0);
        axes[d] = (axis_t){.out = y->dims[d],
            .in = in,
            .stride = strides[d],
            .a = WEIR_MAX(before[d], 0),
            .b = cut,
            .scale = 1,
            .stays = !before[d] && !after[d]};
    }
    return plan(node, built, axes, pad_mode(node), weir_cl_is_there(node, 2) ? 2 : 0, recipe);
}

// ---- Resize to the nearest ----------------------------------------------------------------------

weir_code_t weir_cl_nearest_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    return build(node, builder, 3);
}

weir_code_t weir_cl_nearest_plan(const weir_node_t *node, const weir_cl_built_t *built,
    const weir_cl_resize_t *resize, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    int64_t strides[WEIR_RANK_MAX];
    axis_t axes[WEIR_RANK_MAX];
    weir_cl_strides(x->dims, x->rank, strides);
    for (uint32_t d = 0; d < y->rank; d++)
        axes[d] = (axis_t){.out = y->dims[d],
            .in = x->dims[d],
            .stride = strides[d],
            .scale = resize->scales[d],
            .a = resize->bits[d],
            .b = resize->stays[d],
            .stays = resize->stays[d]};
    return plan(node, built, axes, resize->coordinates * 8 + resize->rounding, 0, recipe);
}
