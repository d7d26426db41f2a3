// backends/opencl/op_attention.c: softmax(scale Q K^T + mask) V in f32 (docs/operators.md).
//
// cpu: K and V are packed by a dispatch each; then every work-item takes tiles of 8 rows. gpu: a
// work-group for each row. Tensors are read as their layouts say; rows of Y are in one piece.
#include <string.h>

#include "backends/opencl/op_kernels.h"

#define ROWS 8
#define WORK_ITEMS 64 // of the cpu family: each has scores of its own in the scratch

enum { Q, K, V, Y };

typedef struct place {
    int64_t b, h, s, d;
    int64_t b_step, h_step, s_step, d_step, first;
} place_t;

static const char *const layout_names[4] = {"q_layout", "k_layout", "v_layout", "y_layout"};
static const char *const part_names[3] = {"q_part", "k_part", "v_part"};

static const weir_tensor_t *tensor_of(const weir_node_t *node, uint32_t i)
{
    return i == Y ? &node->outputs[0] : &node->inputs[i];
}

weir_code_t weir_cl_attention_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->prologue || node->epilogue || node->input_count < 3 || node->output_count < 1)
        return weir_cl_no(out_support, "takes no program");
    for (uint32_t i = 0; i < 4; i++) {
        const char *layout = weir_cl_string(node, layout_names[i]);
        const weir_tensor_t *tensor = tensor_of(node, i);
        const size_t length = strlen(layout);
        if (tensor->dtype != WEIR_F32 || tensor->strides)
            return weir_cl_no(out_support, "takes f32 only");
        if (tensor->rank != length || strspn(layout, "bhsdp") != length || length == 0)
            return weir_cl_no(out_support, "a layout is not known");
        if (i == Y && layout[length - 1] != 'd')
            return weir_cl_no(out_support, "rows of the result are not in one piece");
    }
    if (node->input_count > 3 && node->inputs[3].dtype != 0 &&
        (node->inputs[3].dtype != WEIR_F32 || node->inputs[3].rank > 4))
        return weir_cl_no(out_support, "the mask is not f32 of at most 4 axes");
    return WEIR_OK;
}

static bool has_mask(const weir_node_t *node)
{
    return node->input_count > 3 && node->inputs[3].dtype != 0;
}

static place_t place_of(const weir_node_t *node, uint32_t i)
{
    const weir_tensor_t *tensor = tensor_of(node, i);
    const char *layout = weir_cl_string(node, layout_names[i]);
    place_t place = {.b = 1, .h = 1, .s = 1, .d = 1};
    int64_t step = 1;
    for (uint32_t axis = tensor->rank; axis-- > 0;) {
        const int64_t dim = tensor->dims[axis];
        switch (layout[axis]) {
        case 'b':
            place.b = dim;
            place.b_step = step;
            break;
        case 'h':
            place.h = dim;
            place.h_step = step;
            break;
        case 's':
            place.s = dim;
            place.s_step = step;
            break;
        case 'd':
            place.d = dim;
            place.d_step = step;
            break;
        default:
            place.first = weir_node_int(node, part_names[i % 3], 0) * step;
        }
        step *= dim;
    }
    return place;
}

static void mask_steps(const weir_node_t *node, int64_t steps[4])
{
    memset(steps, 0, 4 * sizeof *steps);
    if (!has_mask(node))
        return;
    const weir_tensor_t *mask = &node->inputs[3];
    int64_t step = 1;
    for (uint32_t i = 0; i < mask->rank; i++) {
        const int64_t dim = mask->dims[mask->rank - 1 - i];
        steps[3 - i] = dim == 1 ? 0 : step;
        step *= dim;
    }
}

weir_code_t weir_cl_attention_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    if (has_mask(node))
        weir_cl_define(builder, "HAS_MASK", 1);
    if (weir_cl_facts(builder)->family == WEIR_CL_FAMILY_GPU) {
        weir_cl_kernel(builder, "gpu/attention", "weir_attention",
            "ttttttlllfllllllllllllllllllllll", (uint32_t[3]){WEIR_CL_ITEMS, 1, 1});
        return WEIR_OK;
    }
    weir_cl_define(builder, "ROWS", ROWS);
    weir_cl_kernel(builder, "cpu/attention", "weir_attention", "ttttttlllllllfllllllllllll",
        (uint32_t[3]){1, 1, 1});
    weir_cl_kernel(builder, "cpu/pack", "weir_pack", "ttllllllll", (uint32_t[3]){1, 1, 1});
    return WEIR_OK;
}

// Bytes of `floats`, in steps of 64.
static uint64_t bytes_of(int64_t floats)
{
    return (uint64_t)weir_cl_div_up(floats, 16) * 64;
}

// Packs rows x columns of each head into panels at `offset` of the scratch.
static void pack_plan(const weir_node_t *node, uint32_t input, const place_t *place, int64_t rows,
    int64_t columns, int64_t row_step, int64_t column_step, uint64_t offset,
    weir_cl_recipe_t *recipe)
{
    weir_cl_dispatch_t *pack = weir_cl_dispatch(recipe, 1, (uint64_t)weir_cl_div_up(rows, 64),
        (uint64_t)weir_cl_div_up(columns, 32), (uint64_t)(place->b * place->h));
    weir_cl_arg_input(pack, node, input);
    weir_cl_arg_scratch(pack, offset);
    const int64_t sizes[] = {rows, columns, row_step, column_step, WEIR_MAX(place->h, 1),
        place->b_step, place->h_step, place->first};
    WEIR_CL_SIZES(pack, sizes);
}

static weir_code_t cpu_plan(const weir_node_t *node, const place_t at[4], weir_cl_recipe_t *recipe)
{
    const place_t *q = &at[Q], *k = &at[K], *v = &at[V], *y = &at[Y];
    const int64_t heads = q->b * q->h, terms = k->s, depth = k->d, width = v->d;
    const int64_t panels = weir_cl_div_up(terms, 32), units = heads * weir_cl_div_up(q->s, ROWS);
    const int64_t score_row = panels * 32, items = WEIR_MIN(units, WORK_ITEMS);
    if (width == 0 || units == 0)
        return WEIR_OK;
    const uint64_t values_at = bytes_of(heads * panels * 32 * depth);
    const uint64_t scores_at = values_at + bytes_of(heads * weir_cl_div_up(width, 32) * 32 * terms);
    recipe->scratch_bytes = scores_at + bytes_of(items * ROWS * score_row);
    pack_plan(node, K, k, depth, terms, k->d_step, k->s_step, 0, recipe);
    pack_plan(node, V, v, terms, width, v->s_step, v->d_step, values_at, recipe);
    weir_cl_dispatch_t *dispatch = weir_cl_dispatch(recipe, 0, (uint64_t)items, 1, 1);
    weir_cl_arg_input(dispatch, node, Q);
    weir_cl_arg_scratch(dispatch, 0);
    weir_cl_arg_scratch(dispatch, values_at);
    weir_cl_arg_input(dispatch, node, has_mask(node) ? 3 : Q); // without a mask it is not touched
    weir_cl_arg_output(dispatch, node, 0);
    weir_cl_arg_scratch(dispatch, scores_at);
    const int64_t sizes[] = {units, q->h, q->s, terms, depth, width, score_row};
    WEIR_CL_SIZES(dispatch, sizes);
    weir_cl_arg_f32(dispatch, (float)weir_node_float(node, "scale", 1.0));
    int64_t mask[4];
    mask_steps(node, mask);
    const int64_t steps[] = {q->first, q->b_step, q->h_step, q->s_step, q->d_step, y->b_step,
        y->h_step, y->s_step, mask[0], mask[1], mask[2], mask[3]};
    WEIR_CL_SIZES(dispatch, steps);
    return WEIR_OK;
}

static weir_code_t gpu_plan(const weir_node_t *node, const place_t at[4], weir_cl_recipe_t *recipe)
{
    const place_t *q = &at[Q], *k = &at[K], *v = &at[V], *y = &at[Y];
    if (v->d == 0)
        return WEIR_OK;
    recipe->scratch_bytes = bytes_of(q->b * q->h * q->s * k->s);
    weir_cl_dispatch_t *dispatch =
        weir_cl_dispatch(recipe, 0, (uint64_t)q->s, (uint64_t)q->h, (uint64_t)q->b);
    for (uint32_t i = Q; i <= V; i++)
        weir_cl_arg_input(dispatch, node, i);
    weir_cl_arg_input(dispatch, node, has_mask(node) ? 3 : Q); // without a mask it is not touched
    weir_cl_arg_output(dispatch, node, 0);
    weir_cl_arg_scratch(dispatch, 0);
    weir_cl_arg_i64(dispatch, k->s);
    weir_cl_arg_i64(dispatch, k->d);
    weir_cl_arg_i64(dispatch, v->d);
    weir_cl_arg_f32(dispatch, (float)weir_node_float(node, "scale", 1.0));
    for (uint32_t i = Q; i <= V; i++) {
        const int64_t steps[] = {
            at[i].first, at[i].b_step, at[i].h_step, at[i].s_step, at[i].d_step};
        WEIR_CL_SIZES(dispatch, steps);
    }
    int64_t mask[4];
    mask_steps(node, mask);
    const int64_t steps[] = {y->b_step, y->h_step, y->s_step, mask[0], mask[1], mask[2], mask[3]};
    WEIR_CL_SIZES(dispatch, steps);
    return WEIR_OK;
}

weir_code_t weir_cl_attention_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    place_t at[4];
    for (uint32_t i = 0; i < 4; i++)
        at[i] = place_of(node, i);
    return built->facts->family == WEIR_CL_FAMILY_GPU ? gpu_plan(node, at, recipe)
                                                      : cpu_plan(node, at, recipe);
}
