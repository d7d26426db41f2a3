// backends/opencl/op_reduce.c: Reduce* over axes that are constants.
//
// Axes of one kind that follow each other are one group; dims of 1 belong to either. At most four
// groups stay and four go, which is any tensor of rank 8.
#include "backends/opencl/op_host.h"

#include <string.h>

#define GROUPS 4

static const char *const kinds[] = {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin",
    "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"};
#define FLOAT_ONLY_FROM 6 // but for SumSquare

static int64_t kind_of(const weir_node_t *node)
{
    for (uint32_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(node->op, kinds[i]) == 0)
            return i;
    return -1;
}

static bool axes_are_there(const weir_node_t *node)
{
    return weir_cl_is_there(node, 1) && node->inputs[1].element_count > 0;
}

weir_code_t weir_cl_reduce_supports(const weir_node_t *node, weir_support_t *out_support)
{
    int64_t kind = kind_of(node);
    weir_dtype_t dtype = node->inputs[0].dtype;
    if (kind < 0 || !(dtype & (WEIR_F32 | WEIR_I32 | WEIR_I64)))
        return weir_cl_no(out_support, "f32, i32 and i64");
    if (dtype != WEIR_F32 && (kind == 1 || (kind >= FLOAT_ONLY_FROM && kind != 7)))
        return weir_cl_no(out_support, "f32 only");
    if (weir_cl_is_there(node, 1) && !weir_cl_is_known(&node->inputs[1]))
        return weir_cl_no(out_support, "the axes must be constants");
    return weir_cl_is_plain(node, out_support);
}

weir_code_t weir_cl_reduce_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    weir_dtype_t dtype = node->inputs[0].dtype;
    weir_cl_define(builder, "KIND", kind_of(node));
    weir_cl_define(builder, "IS_FLOAT", dtype == WEIR_F32);
    weir_cl_define_type(builder, "V", dtype);
    weir_cl_text(builder, "#define LOWEST %s\n#define HIGHEST %s\n",
        dtype == WEIR_F32   ? "(-INFINITY)"
        : dtype == WEIR_I32 ? "INT_MIN"
                            : "LONG_MIN",
        dtype == WEIR_F32   ? "INFINITY"
        : dtype == WEIR_I32 ? "INT_MAX"
                            : "LONG_MAX");
    weir_cl_kernel(builder, "common/reduce", "weir_reduce",
        "tt"
        "llllllll"
        "llllllll"
        "ll",
        weir_cl_simple_group(builder));
    return WEIR_OK;
}

typedef struct groups {
    uint32_t count;
    int64_t dims[GROUPS], strides[GROUPS];
} groups_t;

static bool add(groups_t *groups, int64_t dim, int64_t stride, bool follows)
{
    if (!follows && groups->count == GROUPS)
        return false;
    uint32_t last = follows ? groups->count - 1 : groups->count++;
    groups->dims[last] = (follows ? groups->dims[last] : 1) * dim;
    groups->strides[last] = stride;
    return true;
}

// Which axes go, one bit each; INVALID_ARGUMENT: one is out of range.
static weir_code_t going_axes(const weir_node_t *node, uint32_t *out_going)
{
    const weir_tensor_t *x = &node->inputs[0];
    *out_going = 0;
    if (!axes_are_there(node)) {
        if (!weir_node_int(node, "noop_with_empty_axes", 0))
            *out_going = (1u << x->rank) - 1;
        return WEIR_OK;
    }
    for (uint64_t i = 0; i < node->inputs[1].element_count; i++) {
        int64_t axis = weir_cl_axis(weir_cl_integer(&node->inputs[1], i), x->rank);
        if (axis < 0)
            return WEIR_INVALID_ARGUMENT;
        *out_going |= 1u << axis;
    }
    return WEIR_OK;
}

static void add_groups(weir_cl_dispatch_t *dispatch, const groups_t *groups)
{
    uint32_t missing = GROUPS - groups->count;
    for (uint32_t g = 0; g < GROUPS; g++)
        weir_cl_arg_i64(dispatch, g < missing ? 1 : groups->dims[g - missing]);
    for (uint32_t g = 0; g < GROUPS; g++)
        weir_cl_arg_i64(dispatch, g < missing ? 0 : groups->strides[g - missing]);
}

weir_code_t weir_cl_reduce_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    int64_t strides[WEIR_RANK_MAX];
    groups_t kept = {0}, going = {0};
    uint32_t bits;
    bool went = false, is_first = true;
    weir_code_t code = going_axes(node, &bits);
    if (code != WEIR_OK)
        return code;
    weir_cl_strides(x->dims, x->rank, strides);
    for (uint32_t d = 0; d < x->rank; d++) {
        bool goes = bits >> d & 1;
        if (x->dims[d] == 1)
            continue;
        if (!add(goes ? &going : &kept, x->dims[d], strides[d], !is_first && goes == went))
            return WEIR_UNSUPPORTED;
        went = goes;
        is_first = false;
    }
    int64_t count = weir_cl_product(going.dims, 0, going.count);
    int64_t rows = (int64_t)y->element_count;
    weir_cl_spread_t spread = weir_cl_spread_results(built->facts, rows, count);
    weir_cl_dispatch_t *dispatch = weir_cl_dispatch(recipe, 0, spread.groups, 1, 1);
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_output(dispatch, node, 0);
    add_groups(dispatch, &kept);
    add_groups(dispatch, &going);
    weir_cl_arg_i64(dispatch, spread.rows);
    weir_cl_arg_i64(dispatch, spread.chunk);
    return WEIR_OK;
}
