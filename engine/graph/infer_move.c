// engine/graph/infer_move.c: operators that move elements: Transpose, Concat, Split, Slice, Gather,
// Pad.
#include "engine/graph/infer.h"

#include "engine/base/size.h"
#include <string.h>

weir_status_t weir__infer_transpose(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    weir__type_t *y = &infer->outputs[0];
    const weir_attribute_t *perm = weir__node_attribute(infer->node, "perm");
    y->rank = x->rank;
    if (!perm || perm->count == 0) {
        for (int32_t i = 0; i < x->rank; i++)
            y->dims[i] = x->dims[x->rank - 1 - i];
    } else {
        uint32_t seen = 0;
        if (perm->count != (uint32_t)x->rank)
            return WEIR__BAD("perm has %u axes for rank %d", perm->count, x->rank);
        for (int32_t i = 0; i < x->rank; i++) {
            uint32_t axis;
            WEIR_TRY(weir__infer_axis(perm->ints[i], x->rank, &axis));
            if (seen >> axis & 1)
                return WEIR__BAD("perm names axis %u twice", axis);
            seen |= 1u << axis;
            y->dims[i] = x->dims[axis];
        }
    }
    if (x->rank <= 1)
        weir__infer_pass_ints(infer);
    return NULL;
}

// The elements of a Concat of small vectors.
static void concat_ints(weir__infer_t *infer)
{
    weir__shape_value_t *out = weir__infer_out_shape(infer, 1);
    if (!out || infer->outputs[0].rank != 1)
        return;
    uint32_t count = 0, mask = 0;
    for (uint32_t i = 0; i < infer->input_count; i++) {
        weir__ints_t ints;
        if (infer->inputs[i]->dims[0] == 0)
            continue;
        if (!weir__infer_ints(infer, i, &ints) || ints.count > WEIR__SHAPE_VALUE_MAX - count)
            return;
        for (uint32_t j = 0; j < ints.count; j++, count++) {
            out->elements[count] = weir__ints_at(&ints, j);
            mask |= (uint32_t)weir__ints_symbolic(&ints, j) << count;
        }
    }
    out->symbol_mask = mask;
    out->count = count;
}

weir_status_t weir__infer_concat(weir__infer_t *infer)
{
    const weir__type_t *first = infer->inputs[0];
    weir__type_t *y = &infer->outputs[0];
    uint32_t axis, symbol_count = 0;
    int64_t sum = 0, symbol = 0;
    WEIR_TRY(weir__infer_axis(weir__node_int(infer->node, "axis", 0), first->rank, &axis));
    weir__infer_same_shape(infer);
    uint64_t key = 0;
    for (uint32_t i = 0; i < infer->input_count; i++) {
        const weir__type_t *x = infer->inputs[i];
        if (!x)
            return WEIR__BAD("input %u is missing", i);
        if (x->rank != first->rank)
            return WEIR__BAD(
                "input 0 has rank %d, but input %u has rank %d", first->rank, i, x->rank);
        for (uint32_t d = 0; d < (uint32_t)x->rank; d++) {
            if (d == axis)
                continue;
            if (x->dims[d] >= 0 && y->dims[d] >= 0 && x->dims[d] != y->dims[d])
                return WEIR__BAD("input 0 and input %u differ in axis %u: %s and %s", i, d,
                    WEIR__TEXT(infer, first), WEIR__TEXT(infer, x));
            y->dims[d] = WEIR_MAX(y->dims[d], x->dims[d]); // as weir__infer_unify
        }
        int64_t size = x->dims[axis];
        if (size < 0) {
            symbol = size;
            symbol_count++;
            key += (uint64_t)size * (uint64_t)size * 0x9e3779b97f4a7c15ull; // of any order
        } else if (!weir__add_i64(sum, size, &sum)) {
            return WEIR__BAD("a size overflows");
        }
    }
    if (symbol_count == 0)
        y->dims[axis] = sum;
    else if (symbol_count == 1)
        WEIR_TRY(weir__infer_affine(infer, symbol, 1, sum, 1, &y->dims[axis]));
    else
        WEIR_TRY(weir__infer_symbol(
            infer, "sum", (int64_t[]){sum, symbol_count, (int64_t)key}, 3, &y->dims[axis]));
    concat_ints(infer);
    return NULL;
}

// Sizes of the parts when the file does not say: equal ones, the last one smaller.
static weir_status_t equal_parts(weir__infer_t *infer, uint32_t axis)
{
    int64_t size = infer->inputs[0]->dims[axis], count = infer->output_count, part;
    WEIR_TRY(weir__infer_affine(infer, size, 1, count - 1, count, &part));
    for (uint32_t i = 0; i < infer->output_count; i++)
        infer->outputs[i].dims[axis] = part;
    if (count == 1)
        return NULL;
    int64_t *last = &infer->outputs[count - 1].dims[axis];
    if (size < 0)
        return weir__infer_symbol(infer, "last part", (int64_t[]){size, count}, 2, last);
    *last = size - part * (count - 1);
    if (*last < 0)
        return WEIR__BAD(
            "size %lld cannot be split into %lld parts", (long long)size, (long long)count);
    return NULL;
}

weir_status_t weir__infer_split(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    uint32_t axis;
    WEIR_TRY(weir__infer_check(infer, 1, WEIR_I64, 1));
    WEIR_TRY(weir__infer_axis(weir__node_int(infer->node, "axis", 0), x->rank, &axis));
    for (uint32_t i = 0; i < infer->output_count; i++) {
        infer->outputs[i].rank = x->rank;
        memcpy(infer->outputs[i].dims, x->dims, sizeof x->dims);
    }
    if (!weir__infer_input(infer, 1))
        return equal_parts(infer, axis);
    weir__ints_t parts;
    if (!weir__infer_ints(infer, 1, &parts)) {
        for (uint32_t i = 0; i < infer->output_count; i++)
            WEIR_TRY(weir__infer_data_symbol(infer, i, &infer->outputs[i].dims[axis]));
        return NULL;
    }
    if (parts.count != infer->output_count)
        return WEIR__BAD("%u split sizes for %u outputs", parts.count, infer->output_count);
    int64_t sum = 0;
    bool symbolic = x->dims[axis] < 0;
    for (uint32_t i = 0; i < parts.count; i++) {
        int64_t part = weir__ints_at(&parts, i);
        infer->outputs[i].dims[axis] = part;
        symbolic |= weir__ints_symbolic(&parts, i);
        if (part < 0 && !weir__ints_symbolic(&parts, i))
            return WEIR__BAD("split size %u is %lld", i, (long long)part);
        if (!symbolic && !weir__add_i64(sum, part, &sum))
            return WEIR__BAD("the split sizes overflow");
    }
    if (!symbolic && sum != x->dims[axis])
        return WEIR__BAD("the split sizes add up to %lld, axis %u of %s has another size",
            (long long)sum, axis, WEIR__TEXT(infer, x));
    return NULL;
}

// One axis of a Slice: where it starts, ends and steps; what is not known is marked.
typedef struct cut {
    int64_t start, end, step;
    bool start_symbolic, end_symbolic;
} cut_t;

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static weir_status_t cut_dim(
    const weir__infer_t *infer, int64_t dim, const cut_t *cut, int64_t *out_dim)
{
    if (cut->step == 0)
        return WEIR__BAD("a step is 0");
    if (dim >= 0 && !cut->start_symbolic && !cut->end_symbolic) {
        // As numpy: going down, positions end at -1; a negative bound counts from the end.
        int64_t low = cut->step > 0 ? 0 : -1, high = cut->step > 0 ? dim : dim - 1;
        int64_t start = clamp(cut->start < 0 ? cut->start + dim : cut->start, low, high);
        int64_t end = clamp(cut->end < 0 ? cut->end + dim : cut->end, low, high);
        uint64_t distance = cut->step > 0 ? (uint64_t)(end - start) : (uint64_t)(start - end);
        uint64_t step = cut->step > 0 ? (uint64_t)cut->step : 0 - (uint64_t)cut->step;
        bool empty = cut->step > 0 ? end <= start : end >= start;
        *out_dim = empty ? 0 : (int64_t)((distance - 1) / step + 1);
        return NULL;
    }
    bool from_zero = !cut->start_symbolic && cut->start == 0;
    bool to_end = cut->end_symbolic ? cut->end == dim : cut->end >= INT32_MAX;
    if (from_zero && to_end && cut->step == 1) {
        *out_dim = dim;
        return NULL;
    }
    int64_t parts[] = {
        dim, cut->start, cut->end, cut->step, cut->start_symbolic, cut->end_symbolic};
    return weir__infer_symbol(infer, "slice", parts, 6, out_dim);
}

// The elements of a Slice of a small vector, when its bounds are numbers.
static void slice_ints(weir__infer_t *infer, const cut_t *cut)
{
    weir__ints_t ints;
    if (!infer->out_shapes || infer->inputs[0]->rank != 1 || cut->start_symbolic ||
        cut->end_symbolic || !weir__infer_ints(infer, 0, &ints) || infer->outputs[0].dims[0] < 0)
        return;
    uint32_t count = (uint32_t)infer->outputs[0].dims[0]; // at most what ints has
    weir__shape_value_t *out = weir__infer_out_shape(infer, count);
    if (!out || infer->inputs[0]->dims[0] != ints.count)
        return;
    int64_t size = ints.count;
    int64_t low = cut->step > 0 ? 0 : -1, high = cut->step > 0 ? size : size - 1;
    int64_t at = clamp(cut->start < 0 ? cut->start + size : cut->start, low, high);
    out->symbol_mask = 0;
    for (uint32_t i = 0; i < count; i++, at += i < count ? cut->step : 0) {
        out->elements[i] = weir__ints_at(&ints, (uint32_t)at);
        out->symbol_mask |= (uint32_t)weir__ints_symbolic(&ints, (uint32_t)at) << i;
    }
    out->count = count;
}

// Which axes a Slice cuts, in the order of its bounds. false: not known.
static weir_status_t slice_axes(
    const weir__infer_t *infer, uint32_t count, uint32_t *axes, bool *out_known)
{
    weir__ints_t ints;
    int32_t rank = infer->inputs[0]->rank;
    *out_known = true;
    if (count > (uint32_t)rank)
        return WEIR__BAD("%u axes are cut, the input has rank %d", count, rank);
    for (uint32_t i = 0; i < count; i++)
        axes[i] = i;
    if (!weir__infer_input(infer, 3))
        return NULL;
    *out_known = weir__infer_ints(infer, 3, &ints);
    if (!*out_known)
        return NULL;
    if (ints.count != count)
        return WEIR__BAD("%u starts, but %u axes", count, ints.count);
    uint32_t mask;
    WEIR_TRY(weir__infer_axes(&ints, rank, &mask));
    for (uint32_t i = 0; i < count; i++) {
        int64_t axis = weir__ints_at(&ints, i);
        axes[i] = (uint32_t)(axis < 0 ? axis + rank : axis);
    }
    return NULL;
}

weir_status_t weir__infer_slice(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    weir__type_t *y = &infer->outputs[0];
    weir__ints_t starts, ends, steps = {0};
    for (uint32_t i = 1; i < 5; i++)
        WEIR_TRY(weir__infer_check(infer, i, WEIR_I64 | WEIR_I32, 1));
    bool has_starts = weir__infer_ints(infer, 1, &starts);
    bool has_ends = weir__infer_ints(infer, 2, &ends);
    bool has_steps = weir__infer_ints(infer, 4, &steps);
    bool steps_known = has_steps || !weir__infer_input(infer, 4), axes_known;
    int64_t length = has_starts ? starts.count : infer->inputs[1]->dims[0];
    uint32_t axes[WEIR_RANK_MAX];
    weir__infer_same_shape(infer);
    if (infer->inputs[1]->rank != 1 || infer->inputs[2]->rank != 1)
        return WEIR__BAD("starts and ends must be of rank 1");
    if ((has_starts && has_ends && ends.count != starts.count) ||
        (has_steps && has_starts && steps.count != starts.count))
        return WEIR__BAD("starts, ends and steps differ in length");
    if (length >= 0)
        WEIR_TRY(slice_axes(infer, (uint32_t)WEIR_MIN(length, 255), axes, &axes_known));
    if (length < 0 || !axes_known) {
        for (uint32_t i = 0; i < (uint32_t)x->rank; i++)
            WEIR_TRY(weir__infer_data_symbol(infer, i, &y->dims[i]));
        return NULL;
    }
    for (uint32_t i = 0; i < (uint32_t)length; i++) {
        uint32_t axis = axes[i];
        bool known = has_starts && has_ends && steps_known;
        if (!known || (has_steps && weir__ints_symbolic(&steps, i))) {
            WEIR_TRY(weir__infer_data_symbol(infer, axis, &y->dims[axis]));
            continue;
        }
        cut_t cut = {.start = weir__ints_at(&starts, i),
            .end = weir__ints_at(&ends, i),
            .step = has_steps ? weir__ints_at(&steps, i) : 1,
            .start_symbolic = weir__ints_symbolic(&starts, i),
            .end_symbolic = weir__ints_symbolic(&ends, i)};
        WEIR_TRY(cut_dim(infer, x->dims[axis], &cut, &y->dims[axis]));
        slice_ints(infer, &cut);
    }
    return NULL;
}

// The elements of a Gather from a small vector, when the indices are numbers.
static weir_status_t gather_ints(weir__infer_t *infer)
{
    weir__ints_t from, at;
    if (!infer->out_shapes || infer->inputs[0]->rank != 1 || infer->inputs[1]->rank > 1 ||
        !weir__infer_ints(infer, 0, &from) || !weir__infer_ints(infer, 1, &at))
        return NULL;
    weir__shape_value_t *out = weir__infer_out_shape(infer, at.count);
    if (!out)
        return NULL;
    uint32_t mask = 0;
    for (uint32_t i = 0; i < at.count; i++) {
        int64_t index = weir__ints_at(&at, i);
        if (weir__ints_symbolic(&at, i))
            return NULL;
        if (index < -(int64_t)from.count || index >= (int64_t)from.count)
            return WEIR__BAD(
                "index %lld is outside of axis 0 of size %u", (long long)index, from.count);
        uint32_t position = (uint32_t)(index < 0 ? index + (int64_t)from.count : index);
        out->elements[i] = weir__ints_at(&from, position);
        mask |= (uint32_t)weir__ints_symbolic(&from, position) << i;
    }
    out->symbol_mask = mask;
    out->count = at.count;
    return NULL;
}

weir_status_t weir__infer_gather(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0], *indices = infer->inputs[1];
    weir__type_t *y = &infer->outputs[0];
    uint32_t axis;
    WEIR_TRY(weir__infer_check(infer, 1, WEIR_I64 | WEIR_I32, WEIR_RANK_MAX));
    WEIR_TRY(weir__infer_axis(weir__node_int(infer->node, "axis", 0), x->rank, &axis));
    if (x->rank - 1 + indices->rank > WEIR_RANK_MAX)
        return WEIR_ERR(WEIR_LIMIT, "its rank %d is more than rank = %d",
            x->rank - 1 + indices->rank, WEIR_RANK_MAX);
    for (int32_t i = 0; i < x->rank; i++) {
        if (i != (int32_t)axis) {
            y->dims[y->rank++] = x->dims[i];
            continue;
        }
        for (int32_t j = 0; j < indices->rank; j++)
            y->dims[y->rank++] = indices->dims[j];
    }
    return gather_ints(infer);
}

weir_status_t weir__infer_gather_elements(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0], *indices = infer->inputs[1];
    uint32_t axis;
    WEIR_TRY(weir__infer_check(infer, 1, WEIR_I64 | WEIR_I32, WEIR_RANK_MAX));
    WEIR_TRY(weir__infer_check_rank(infer, 1, "indices", x->rank));
    WEIR_TRY(weir__infer_axis(weir__node_int(infer->node, "axis", 0), x->rank, &axis));
    infer->outputs[0].rank = x->rank;
    for (int32_t i = 0; i < x->rank; i++) {
        infer->outputs[0].dims[i] = indices->dims[i];
        if (i != (int32_t)axis && x->dims[i] >= 0 && indices->dims[i] > x->dims[i])
            return WEIR__BAD("indices %s are larger than the data %s in axis %d",
                WEIR__TEXT(infer, indices), WEIR__TEXT(infer, x), i);
    }
    return NULL;
}

weir_status_t weir__infer_gather_nd(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0], *indices = infer->inputs[1];
    weir__type_t *y = &infer->outputs[0];
    int64_t batch = weir__node_int(infer->node, "batch_dims", 0);
    WEIR_TRY(weir__infer_check(infer, 1, WEIR_I64, WEIR_RANK_MAX));
    if (indices->rank < 1 || x->rank < 1 || batch < 0 || batch >= WEIR_MIN(x->rank, indices->rank))
        return WEIR__BAD("batch_dims %lld do not fit %s and %s", (long long)batch,
            WEIR__TEXT(infer, x), WEIR__TEXT(infer, indices));
    int64_t depth = indices->dims[indices->rank - 1];
    if (depth < 0)
        return weir__infer_unknown_rank(infer, 0);
    if (depth < 1 || depth > x->rank - batch)
        return WEIR__BAD(
            "indices of %lld numbers do not fit %s", (long long)depth, WEIR__TEXT(infer, x));
    int32_t kept = x->rank - (int32_t)(batch + depth);
    if (indices->rank - 1 + kept > WEIR_RANK_MAX)
        return WEIR_ERR(WEIR_LIMIT, "its rank %d is more than rank = %d", indices->rank - 1 + kept,
            WEIR_RANK_MAX);
    for (int32_t i = 0; i + 1 < indices->rank; i++) {
        int64_t dim = indices->dims[i];
        if (i < batch)
            WEIR_TRY(weir__infer_unify("batch sizes", dim, x->dims[i], &dim));
        y->dims[y->rank++] = dim;
    }
    for (int32_t i = 0; i < kept; i++)
        y->dims[y->rank++] = x->dims[batch + depth + i];
    return NULL;
}

// One axis of a Pad.
static weir_status_t pad_dim(const weir__infer_t *infer, uint32_t axis, int64_t before,
    int64_t after, bool repeats, bool reflects)
{
    int64_t dim = infer->inputs[0]->dims[axis], sum;
    if (!weir__add_i64(before, after, &sum))
        return WEIR__BAD("the pads of axis %u overflow", axis);
    if (dim == 0 && repeats && (before > 0 || after > 0))
        return WEIR__BAD("axis %u is empty and cannot be repeated", axis);
    if (dim > 0 && reflects && (before >= dim || after >= dim))
        return WEIR__BAD("axis %u of size %lld cannot be reflected %lld and %lld wide", axis,
            (long long)dim, (long long)before, (long long)after);
    if (dim >= 0 && (before < -dim || after < -dim))
        return WEIR__BAD("more than axis %u of size %lld would be cut off", axis, (long long)dim);
    return weir__infer_affine(infer, dim, 1, sum, 1, &infer->outputs[0].dims[axis]);
}

weir_status_t weir__infer_pad(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    weir__ints_t pads, axes = {0};
    WEIR_TRY(weir__infer_check(infer, 1, WEIR_I64, 1));
    WEIR_TRY(weir__infer_check(infer, 3, WEIR_I64 | WEIR_I32, 1));
    const weir__type_t *value = weir__infer_input(infer, 2);
    for (int32_t i = 0; value && i < value->rank; i++)
        if (value->dims[i] >= 0 && value->dims[i] != 1)
            return WEIR__BAD(
                "the value has shape %s, one element is needed", WEIR__TEXT(infer, value));
    const weir_attribute_t *mode = weir__node_attribute(infer->node, "mode");
    bool reflects = mode && mode->s && strcmp(mode->s, "reflect") == 0;
    bool repeats = mode && mode->s && strcmp(mode->s, "constant") != 0;
    if (repeats && !reflects && strcmp(mode->s, "edge") != 0 && strcmp(mode->s, "wrap") != 0)
        return WEIR__BAD("mode %s is not known", mode->s);
    weir__infer_same_shape(infer);
    bool has_axes = weir__infer_input(infer, 3) != NULL;
    if (!weir__infer_ints(infer, 1, &pads) || (has_axes && !weir__infer_ints(infer, 3, &axes))) {
        for (uint32_t i = 0; i < (uint32_t)x->rank; i++)
            WEIR_TRY(weir__infer_data_symbol(infer, i, &infer->outputs[0].dims[i]));
        return NULL;
    }
    uint32_t count = has_axes ? axes.count : (uint32_t)x->rank, mask;
    if (has_axes)
        WEIR_TRY(weir__infer_axes(&axes, x->rank, &mask));
    if (pads.count != 2 * count)
        return WEIR__BAD("%u pads for %u axes", pads.count, count);
    for (uint32_t i = 0; i < count; i++) {
        int64_t named = has_axes ? weir__ints_at(&axes, i) : i;
        uint32_t axis = (uint32_t)(named < 0 ? named + x->rank : named);
        if (weir__ints_symbolic(&pads, i) || weir__ints_symbolic(&pads, i + count))
            WEIR_TRY(weir__infer_data_symbol(infer, axis, &infer->outputs[0].dims[axis]));
        else
            WEIR_TRY(pad_dim(infer, axis, weir__ints_at(&pads, i), weir__ints_at(&pads, i + count),
                repeats, reflects));
    }
    return NULL;
}
