// engine/graph/infer_reduce.c: reductions over axes, ArgMax and CumSum.
#include "engine/graph/infer.h"

// Output 0 is input 0 with the axes of `mask` reduced.
static void reduce_axes(weir__infer_t *infer, uint32_t mask, bool keep)
{
    const weir__type_t *x = infer->inputs[0];
    weir__type_t *y = &infer->outputs[0];
    for (int32_t i = 0; i < x->rank; i++) {
        if (!(mask >> i & 1))
            y->dims[y->rank++] = x->dims[i];
        else if (keep)
            y->dims[y->rank++] = 1;
    }
}

weir_status_t weir__infer_reduce(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    bool keep = weir__node_int(infer->node, "keepdims", 1) != 0;
    bool nothing = weir__node_int(infer->node, "noop_with_empty_axes", 0) != 0;
    weir__ints_t axes = {0};
    WEIR_TRY(weir__infer_check(infer, 1, WEIR_I64, 1));
    if (weir__infer_input(infer, 1) && !weir__infer_ints(infer, 1, &axes)) {
        if (!keep)
            return weir__infer_unknown_rank(infer, 0);
        for (uint32_t i = 0; i < (uint32_t)x->rank; i++)
            WEIR_TRY(weir__infer_data_symbol(infer, i, &infer->outputs[0].dims[i]));
        infer->outputs[0].rank = x->rank;
        return NULL;
    }
    uint32_t mask = nothing ? 0 : (1u << x->rank) - 1;
    if (axes.count)
        WEIR_TRY(weir__infer_axes(&axes, x->rank, &mask));
    reduce_axes(infer, mask, keep);
    return NULL;
}

weir_status_t weir__infer_arg(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    uint32_t axis;
    WEIR_TRY(weir__infer_axis(weir__node_int(infer->node, "axis", 0), x->rank, &axis));
    if (x->dims[axis] == 0)
        return WEIR__BAD("axis %u of %s is empty", axis, WEIR__TEXT(infer, x));
    reduce_axes(infer, 1u << axis, weir__node_int(infer->node, "keepdims", 1) != 0);
    return NULL;
}

weir_status_t weir__infer_cumsum(weir__infer_t *infer)
{
    const weir__type_t *axis_type = infer->inputs[1];
    WEIR_TRY(weir__infer_check(infer, 1, WEIR_I64 | WEIR_I32, 1));
    if (axis_type->rank == 1 && axis_type->dims[0] >= 0 && axis_type->dims[0] != 1)
        return WEIR__BAD("the axis has shape %s, a scalar is needed", WEIR__TEXT(infer, axis_type));
    weir__ints_t axis;
    uint32_t checked;
    if (weir__infer_ints(infer, 1, &axis) && axis.count == 1 && !weir__ints_symbolic(&axis, 0))
        WEIR_TRY(weir__infer_axis(weir__ints_at(&axis, 0), infer->inputs[0]->rank, &checked));
    weir__infer_same_shape(infer);
    return NULL;
}
