// engine/graph/infer_shape.c: operators that read, make or change shapes and leave elements in
// order (Shape, Reshape, Squeeze ...), and those that make tensors of a computed shape (Expand,
// Tile, Range).
#include "engine/graph/infer.h"

#include "engine/base/size.h"
#include <math.h>
#include <string.h>

weir_status_t weir__infer_shape(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    int64_t start = weir__node_int(infer->node, "start", 0);
    int64_t end = weir__node_int(infer->node, "end", INT64_MAX);
    start = WEIR_MAX(0, WEIR_MIN(start < 0 ? start + x->rank : start, x->rank));
    end = WEIR_MAX(0, WEIR_MIN(end < 0 ? end + x->rank : end, x->rank));
    uint32_t count = end > start ? (uint32_t)(end - start) : 0;
    infer->outputs[0].rank = 1;
    infer->outputs[0].dims[0] = count;
    weir__shape_value_t *out = weir__infer_out_shape(infer, count);
    if (!out)
        return NULL;
    out->count = count;
    out->symbol_mask = 0;
    for (uint32_t i = 0; i < count; i++) {
        out->elements[i] = x->dims[start + i];
        out->symbol_mask |= (uint32_t)(out->elements[i] < 0) << i;
    }
    return NULL;
}

weir_status_t weir__infer_size(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    infer->outputs[0].rank = 0;
    weir__shape_value_t *out = weir__infer_out_shape(infer, 1);
    if (!out)
        return NULL;
    WEIR_TRY(weir__infer_product(infer, x->dims, (uint32_t)x->rank, &out->elements[0]));
    out->symbol_mask = out->elements[0] < 0;
    out->count = 1;
    return NULL;
}

// Sets output 0's rank to the number of elements of 1-D input `input` and its dims to unknown
// sizes; for an operator whose shape input is not known.
static weir_status_t dims_of_length(weir__infer_t *infer, uint32_t input)
{
    const weir__type_t *shape = infer->inputs[input];
    if (shape->rank != 1)
        return WEIR__BAD("input %u has rank %d, 1 is needed", input, shape->rank);
    if (shape->dims[0] < 0)
        return weir__infer_unknown_rank(infer, 0);
    if (shape->dims[0] > WEIR_RANK_MAX)
        return WEIR_ERR(WEIR_LIMIT, "its rank %lld is more than rank = %d",
            (long long)shape->dims[0], WEIR_RANK_MAX);
    for (uint32_t i = 0; i < shape->dims[0]; i++)
        WEIR_TRY(weir__infer_data_symbol(infer, i, &infer->outputs[0].dims[i]));
    infer->outputs[0].rank = (int32_t)shape->dims[0];
    return NULL;
}

// Removes the symbols that both lists have; numbers are multiplied up.
typedef struct product {
    int64_t number;
    int64_t symbols[WEIR_RANK_MAX];
    uint32_t symbol_count;
} product_t;

static weir_status_t multiply(product_t *product, int64_t dim)
{
    if (dim < 0)
        product->symbols[product->symbol_count++] = dim;
    else if (!weir__mul_i64(product->number, dim, &product->number))
        return WEIR__BAD("a size overflows");
    return NULL;
}

static void cancel(product_t *a, product_t *b)
{
    for (uint32_t i = 0; i < a->symbol_count; i++)
        for (uint32_t j = 0; j < b->symbol_count; j++)
            if (a->symbols[i] == b->symbols[j]) {
                a->symbols[i--] = a->symbols[--a->symbol_count];
                b->symbols[j] = b->symbols[--b->symbol_count];
                break;
            }
}

// The size that -1 stands for: all of the input over the other sizes.
static weir_status_t solve_rest(
    const weir__infer_t *infer, product_t *all, product_t *others, int64_t *out_dim)
{
    if (others->number == 0)
        return WEIR__BAD("-1 cannot be told: another size is 0");
    cancel(all, others);
    if (others->symbol_count == 0 && all->number % others->number == 0) {
        int64_t dims[WEIR_RANK_MAX + 1];
        memcpy(dims, all->symbols, all->symbol_count * sizeof dims[0]);
        dims[all->symbol_count] = all->number / others->number;
        return weir__infer_product(infer, dims, all->symbol_count + 1, out_dim);
    }
    if (others->symbol_count == 0 && all->symbol_count == 0)
        return WEIR__BAD("%lld elements cannot be divided by %lld for -1", (long long)all->number,
            (long long)others->number);
    int64_t parts[2];
    int64_t left[WEIR_RANK_MAX + 1], right[WEIR_RANK_MAX + 1];
    memcpy(left, all->symbols, all->symbol_count * sizeof left[0]);
    left[all->symbol_count] = all->number;
    memcpy(right, others->symbols, others->symbol_count * sizeof right[0]);
    right[others->symbol_count] = others->number;
    WEIR_TRY(weir__infer_product(infer, left, all->symbol_count + 1, &parts[0]));
    WEIR_TRY(weir__infer_product(infer, right, others->symbol_count + 1, &parts[1]));
    return weir__infer_symbol(infer, "quotient", parts, 2, out_dim);
}

static weir_status_t reshape_dims(weir__infer_t *infer, const weir__ints_t *shape)
{
    const weir__type_t *x = infer->inputs[0];
    weir__type_t *y = &infer->outputs[0];
    bool allow_zero = weir__node_int(infer->node, "allowzero", 0) != 0;
    int32_t rest = -1;
    product_t all = {.number = 1}, others = {.number = 1};
    for (int32_t i = 0; i < x->rank; i++)
        WEIR_TRY(multiply(&all, x->dims[i]));
    for (uint32_t i = 0; i < shape->count; i++) {
        int64_t size = weir__ints_at(shape, i);
        if (!weir__ints_symbolic(shape, i)) {
            if (size == -1 && rest < 0) {
                rest = (int32_t)i;
                continue;
            }
            if (size < 0)
                return WEIR__BAD("size %u of the new shape is %lld", i, (long long)size);
            if (size == 0 && !allow_zero) {
                if ((int32_t)i >= x->rank)
                    return WEIR__BAD(
                        "size %u of the new shape is 0, but the input has rank %d", i, x->rank);
                size = x->dims[i];
            }
        }
        y->dims[i] = size;
        WEIR_TRY(multiply(&others, size));
    }
    y->rank = (int32_t)shape->count;
    if (rest >= 0)
        return solve_rest(infer, &all, &others, &y->dims[rest]);
    if (all.symbol_count == 0 && others.symbol_count == 0 && all.number != others.number)
        return WEIR__BAD("%s has %lld elements, the new shape %s has %lld", WEIR__TEXT(infer, x),
            (long long)all.number, WEIR__TEXT(infer, y), (long long)others.number);
    return NULL;
}

weir_status_t weir__infer_reshape(weir__infer_t *infer)
{
    weir__ints_t shape;
    WEIR_TRY(weir__infer_check(infer, 1, WEIR_I64, 1));
    if (!weir__infer_ints(infer, 1, &shape))
        return dims_of_length(infer, 1);
    if (shape.count > WEIR_RANK_MAX)
        return WEIR_ERR(
            WEIR_LIMIT, "its rank %u is more than rank = %d", shape.count, WEIR_RANK_MAX);
    WEIR_TRY(reshape_dims(infer, &shape));
    weir__infer_pass_ints(infer);
    return NULL;
}

weir_status_t weir__infer_flatten(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    int64_t axis = weir__node_int(infer->node, "axis", 1);
    if (axis < -(int64_t)x->rank || axis > x->rank)
        return WEIR__BAD("axis %lld is outside of rank %d", (long long)axis, x->rank);
    uint32_t at = (uint32_t)(axis < 0 ? axis + x->rank : axis);
    infer->outputs[0].rank = 2;
    WEIR_TRY(weir__infer_product(infer, x->dims, at, &infer->outputs[0].dims[0]));
    return weir__infer_product(
        infer, x->dims + at, (uint32_t)x->rank - at, &infer->outputs[0].dims[1]);
}

weir_status_t weir__infer_squeeze(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    weir__type_t *y = &infer->outputs[0];
    uint32_t mask = 0;
    weir__ints_t axes;
    WEIR_TRY(weir__infer_check(infer, 1, WEIR_I64, 1));
    if (!weir__infer_input(infer, 1)) {
        for (int32_t i = 0; i < x->rank; i++) {
            if (x->dims[i] < 0)
                return weir__infer_unknown_rank(infer, 0);
            mask |= (uint32_t)(x->dims[i] == 1) << i;
        }
    } else if (weir__infer_ints(infer, 1, &axes)) {
        WEIR_TRY(weir__infer_axes(&axes, x->rank, &mask));
    } else {
        return weir__infer_unknown_rank(infer, 0);
    }
    for (int32_t i = 0; i < x->rank; i++) {
        if (!(mask >> i & 1)) {
            y->dims[y->rank++] = x->dims[i];
        } else if (x->dims[i] >= 0 && x->dims[i] != 1) {
            return WEIR__BAD("axis %d of %s is not of size 1", i, WEIR__TEXT(infer, x));
        }
    }
    weir__infer_pass_ints(infer);
    return NULL;
}

weir_status_t weir__infer_unsqueeze(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    weir__type_t *y = &infer->outputs[0];
    uint32_t mask;
    weir__ints_t axes;
    WEIR_TRY(weir__infer_check(infer, 1, WEIR_I64, 1));
    if (!weir__infer_ints(infer, 1, &axes))
        return weir__infer_unknown_rank(infer, 0);
    if (axes.count > (uint32_t)(WEIR_RANK_MAX - x->rank))
        return WEIR_ERR(WEIR_LIMIT, "its rank %u is more than rank = %d",
            axes.count + (uint32_t)x->rank, WEIR_RANK_MAX);
    int32_t rank = x->rank + (int32_t)axes.count, from = 0;
    WEIR_TRY(weir__infer_axes(&axes, rank, &mask));
    for (int32_t i = 0; i < rank; i++)
        y->dims[i] = mask >> i & 1 ? 1 : x->dims[from++];
    y->rank = rank;
    weir__infer_pass_ints(infer);
    return NULL;
}

weir_status_t weir__infer_expand(weir__infer_t *infer)
{
    weir__ints_t ints;
    WEIR_TRY(weir__infer_check(infer, 1, WEIR_I64, 1));
    if (!weir__infer_ints(infer, 1, &ints)) {
        const weir__type_t *shape = infer->inputs[1];
        if (shape->rank != 1 || shape->dims[0] < 0)
            return weir__infer_unknown_rank(infer, 0);
        if (shape->dims[0] > WEIR_RANK_MAX)
            return WEIR_ERR(WEIR_LIMIT, "its rank %lld is more than rank = %d",
                (long long)shape->dims[0], WEIR_RANK_MAX);
        int32_t rank = WEIR_MAX((int32_t)shape->dims[0], infer->inputs[0]->rank);
        for (int32_t i = 0; i < rank; i++)
            WEIR_TRY(weir__infer_data_symbol(infer, (uint32_t)i, &infer->outputs[0].dims[i]));
        infer->outputs[0].rank = rank;
        return NULL;
    }
    if (ints.count > WEIR_RANK_MAX)
        return WEIR_ERR(
            WEIR_LIMIT, "its rank %u is more than rank = %d", ints.count, WEIR_RANK_MAX);
    weir__type_t target = {.dtype = infer->inputs[0]->dtype, .rank = (int32_t)ints.count};
    for (uint32_t i = 0; i < ints.count; i++) {
        target.dims[i] = weir__ints_at(&ints, i);
        if (target.dims[i] < 0 && !weir__ints_symbolic(&ints, i))
            return WEIR__BAD("size %u of the new shape is %lld", i, (long long)target.dims[i]);
    }
    return weir__infer_broadcast(infer->graph, infer->inputs[0], &target, &infer->outputs[0]);
}

weir_status_t weir__infer_tile(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    weir__ints_t repeats;
    WEIR_TRY(weir__infer_check(infer, 1, WEIR_I64, 1));
    bool known = weir__infer_ints(infer, 1, &repeats);
    if (known && repeats.count != (uint32_t)x->rank)
        return WEIR__BAD("%u repeats for rank %d", repeats.count, x->rank);
    infer->outputs[0].rank = x->rank;
    for (uint32_t i = 0; i < (uint32_t)x->rank; i++) {
        int64_t *dim = &infer->outputs[0].dims[i];
        if (!known) {
            WEIR_TRY(weir__infer_data_symbol(infer, i, dim));
            continue;
        }
        int64_t repeat = weir__ints_at(&repeats, i);
        if (repeat < 0 && !weir__ints_symbolic(&repeats, i))
            return WEIR__BAD("repeat %u is %lld", i, (long long)repeat);
        WEIR_TRY(weir__infer_product(infer, (int64_t[]){x->dims[i], repeat}, 2, dim));
    }
    return NULL;
}

weir_status_t weir__infer_constant_of_shape(weir__infer_t *infer)
{
    weir__ints_t shape;
    const weir__type_t *value = infer->inputs[1];
    for (int32_t i = 0; i < value->rank; i++)
        if (value->dims[i] != 1)
            return WEIR__BAD(
                "the value has shape %s, one element is needed", WEIR__TEXT(infer, value));
    WEIR_TRY(weir__infer_check(infer, 0, WEIR_I64, 1));
    if (!weir__infer_ints(infer, 0, &shape))
        return dims_of_length(infer, 0);
    if (shape.count > WEIR_RANK_MAX)
        return WEIR_ERR(
            WEIR_LIMIT, "its rank %u is more than rank = %d", shape.count, WEIR_RANK_MAX);
    weir__type_t *y = &infer->outputs[0];
    y->rank = (int32_t)shape.count;
    for (uint32_t i = 0; i < shape.count; i++) {
        y->dims[i] = weir__ints_at(&shape, i);
        if (y->dims[i] < 0 && !weir__ints_symbolic(&shape, i))
            return WEIR__BAD("size %u is %lld", i, (long long)y->dims[i]);
    }
    weir__ints_t fill;
    bool small = y->rank == 0 || (y->rank == 1 && y->dims[0] >= 0);
    weir__shape_value_t *out =
        small ? weir__infer_out_shape(infer, y->rank ? (uint64_t)y->dims[0] : 1) : NULL;
    if (!out || !weir__infer_ints(infer, 1, &fill))
        return NULL;
    out->count = y->rank ? (uint32_t)y->dims[0] : 1;
    out->symbol_mask = 0;
    for (uint32_t i = 0; i < out->count; i++)
        out->elements[i] = weir__ints_at(&fill, 0);
    return NULL;
}

// The number of elements of an integer Range; false: too many to count.
static bool range_count(int64_t start, int64_t limit, int64_t delta, int64_t *out_count)
{
    // The distance of two int64 fits in a uint64, whichever way the range goes.
    bool empty = delta > 0 ? limit <= start : limit >= start;
    uint64_t distance =
        delta > 0 ? (uint64_t)limit - (uint64_t)start : (uint64_t)start - (uint64_t)limit;
    uint64_t step = delta > 0 ? (uint64_t)delta : 0 - (uint64_t)delta;
    uint64_t count = empty ? 0 : (distance - 1) / step + 1;
    *out_count = (int64_t)count;
    return count <= INT64_MAX;
}

static weir_status_t range_ints(weir__infer_t *infer, const weir__ints_t *ints)
{
    weir__type_t *y = &infer->outputs[0];
    int64_t start = weir__ints_at(&ints[0], 0), limit = weir__ints_at(&ints[1], 0);
    int64_t delta = weir__ints_at(&ints[2], 0);
    bool symbolic = false;
    for (int i = 0; i < 3; i++)
        symbolic |= weir__ints_symbolic(&ints[i], 0);
    if (symbolic) {
        bool counts = !weir__ints_symbolic(&ints[0], 0) && start == 0 &&
                      !weir__ints_symbolic(&ints[2], 0) && delta == 1;
        if (!counts)
            return weir__infer_data_symbol(infer, 0, &y->dims[0]);
        y->dims[0] = limit;
        return NULL;
    }
    if (delta == 0)
        return WEIR__BAD("delta is 0");
    if (!range_count(start, limit, delta, &y->dims[0]))
        return WEIR_ERR(WEIR_LIMIT, "the range has more than tensor_bytes");
    weir__shape_value_t *out = weir__infer_out_shape(infer, (uint64_t)y->dims[0]);
    if (!out)
        return NULL;
    out->count = (uint32_t)y->dims[0];
    out->symbol_mask = 0;
    // Every element lies between start and limit, but i * delta need not fit.
    for (uint32_t i = 0; i < out->count; i++)
        out->elements[i] = (int64_t)((uint64_t)start + i * (uint64_t)delta);
    return NULL;
}

weir_status_t weir__infer_range(weir__infer_t *infer)
{
    weir__ints_t ints[3];
    const weir__tensor_t *tensors[3];
    bool known = true, ready = true;
    for (uint32_t i = 0; i < 3; i++) {
        const weir__type_t *type = infer->inputs[i];
        if (type->rank > 1 || (type->rank == 1 && type->dims[0] >= 0 && type->dims[0] != 1))
            return WEIR__BAD(
                "input %u has shape %s, a scalar is needed", i, WEIR__TEXT(infer, type));
        known &= weir__infer_ints(infer, i, &ints[i]) && ints[i].count == 1;
        tensors[i] = infer->values[i];
        ready &= weir__tensor_ready(tensors[i]);
    }
    infer->outputs[0].rank = 1;
    if (known)
        return range_ints(infer, ints);
    if (!ready)
        return weir__infer_data_symbol(infer, 0, &infer->outputs[0].dims[0]);
    double start = weir__tensor_float(tensors[0], 0), limit = weir__tensor_float(tensors[1], 0);
    double delta = weir__tensor_float(tensors[2], 0);
    double count = ceil((limit - start) / delta);
    if (delta == 0 || isnan(count))
        return WEIR__BAD("a range from %g to %g by %g has no length", start, limit, delta);
    if (count > 1e15)
        return WEIR_ERR(WEIR_LIMIT, "the range has more than tensor_bytes");
    infer->outputs[0].dims[0] = count > 0 ? (int64_t)count : 0;
    return NULL;
}
