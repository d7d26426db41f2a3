// kernels/ref/movement.c: Transpose, Concat, Split, Slice, Expand, Tile, Pad.
//
// Elements move whole, so only their size counts. Source: ONNX operators Transpose-25, Concat-13,
// Split-18, Slice-13, Expand-13, Tile-13, Pad-25.
#include "kernels/ref/internal.h"

// y[c] = x[c permuted]: axis i of y is axis perm[i] of x.
int weir_k_transpose__ref(const weir_kr_call_t *call)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *y = &call->outputs[0];
    const weir_kr_transpose_params_t *params = &call->params->transpose;
    int64_t x_strides[WEIR_KR_RANK_MAX], strides[WEIR_KR_RANK_MAX];
    if (y->rank != x->rank || (params->perm_count != 0 && params->perm_count != x->rank))
        return WEIR_KR_FAIL(call, "Transpose: perm does not fit the rank");
    weir__kr_strides(x->dims, x->rank, x_strides);
    for (uint32_t i = 0; i < x->rank; i++) {
        int64_t axis = params->perm_count ? weir__kr_axis(params->perm[i], x->rank)
                                          : (int64_t)(x->rank - 1 - i);
        if (axis < 0 || x->dims[axis] != y->dims[i])
            return WEIR_KR_FAIL(call, "Transpose: perm does not fit the output");
        strides[i] = x_strides[axis];
    }
    int64_t begin, end;
    weir__kr_range(call, weir__kr_count(y), WEIR_KR_BLOCK, &begin, &end);
    weir__kr_copy_strided(
        x->data, 0, strides, y->data, y->dims, y->rank, weir_kr_dtype_bytes(x->dtype), begin, end);
    return WEIR_KR_OK;
}

// Copies a part between a whole and itself: the part is [outer, part_inner], the whole
// [outer, whole_inner], the part lies at `at` in each row.
static void copy_part(char *whole, int64_t whole_inner, int64_t at, char *part, int64_t part_inner,
    int64_t outer, int to_whole)
{
    if (part_inner == 0)
        return;
    for (int64_t i = 0; i < outer; i++) {
        char *in_whole = whole + i * whole_inner + at, *in_part = part + i * part_inner;
        memcpy(to_whole ? in_whole : in_part, to_whole ? in_part : in_whole, (size_t)part_inner);
    }
}

// Shared by Concat (parts are inputs) and Split (parts are outputs).
static int concat_or_split(const weir_kr_call_t *call, const weir_kr_tensor_t *whole,
    const weir_kr_tensor_t *parts, uint32_t part_count, int to_whole)
{
    int64_t axis = weir__kr_axis(call->params->axis.axis, whole->rank);
    if (axis < 0)
        return WEIR_KR_FAIL(call, "axis %lld is out of range for rank %u",
            (long long)call->params->axis.axis, whole->rank);
    int64_t bytes = weir_kr_dtype_bytes(whole->dtype);
    int64_t outer = weir__kr_product(whole->dims, 0, (uint32_t)axis);
    int64_t row = weir__kr_product(whole->dims, (uint32_t)axis + 1, whole->rank) * bytes;
    int64_t at = 0;
    for (uint32_t i = 0; i < part_count; i++) {
        const weir_kr_tensor_t *part = &parts[i];
        int64_t length = part->dtype && part->rank == whole->rank ? part->dims[axis] : 0;
        if (part->dtype &&
            (part->dtype != whole->dtype || length > whole->dims[axis] - at ||
                part->element_count * (uint64_t)bytes != (uint64_t)(outer * row * length)))
            return WEIR_KR_FAIL(
                call, "part %u does not fit the whole along axis %lld", i, (long long)axis);
        if (i >= call->first && i < call->first + call->count && part->dtype)
            copy_part(whole->data, whole->dims[axis] * row, at * row, part->data, length * row,
                outer, to_whole);
        at += length;
    }
    return WEIR_KR_OK;
}

// The inputs one after the other along axis.
int weir_k_concat__ref(const weir_kr_call_t *call)
{
    return concat_or_split(call, &call->outputs[0], call->inputs, call->input_count, 1);
}

// The outputs are consecutive pieces along axis. Their dims say how long each is; `split`, if
// there, must agree.
int weir_k_split__ref(const weir_kr_call_t *call)
{
    const weir_kr_tensor_t *x = &call->inputs[0];
    int64_t axis = weir__kr_axis(call->params->axis.axis, x->rank);
    if (weir__kr_present(call, 1) && axis >= 0) {
        const weir_kr_tensor_t *split = &call->inputs[1];
        if (split->element_count != call->output_count)
            return WEIR_KR_FAIL(call, "Split: %lld sizes for %u outputs",
                (long long)weir__kr_count(split), call->output_count);
        int64_t total = 0;
        for (uint32_t i = 0; i < call->output_count; i++) {
            int64_t length = weir__kr_index(split, i);
            if (length < 0 || length > x->dims[axis] - total ||
                (call->outputs[i].dtype && length != call->outputs[i].dims[axis]))
                return WEIR_KR_FAIL(
                    call, "Split: size %lld does not fit output %u", (long long)length, i);
            total += length;
        }
        if (total != x->dims[axis])
            return WEIR_KR_FAIL(call, "Split: the sizes add up to %lld, the axis has %lld",
                (long long)total, (long long)x->dims[axis]);
    }
    return concat_or_split(call, x, call->outputs, call->output_count, 0);
}

// y[i] = x[start + i * step] along each sliced axis; starts and ends count from the back when
// negative and are clamped: for step > 0 both to [0, dim], for step < 0 starts to [0, dim - 1],
// ends to [-1, dim - 1].
int weir_k_slice__ref(const weir_kr_call_t *call)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *y = &call->outputs[0];
    const weir_kr_tensor_t *starts = &call->inputs[1], *ends = &call->inputs[2];
    int64_t count = weir__kr_count(starts), base = 0, strides[WEIR_KR_RANK_MAX];
    int64_t lengths[WEIR_KR_RANK_MAX];
    int has_axes = weir__kr_present(call, 3), has_steps = weir__kr_present(call, 4);
    if (count != weir__kr_count(ends) || count > (int64_t)x->rank || y->rank != x->rank ||
        (has_axes && weir__kr_count(&call->inputs[3]) != count) ||
        (has_steps && weir__kr_count(&call->inputs[4]) != count))
        return WEIR_KR_FAIL(call, "Slice: starts, ends, axes and steps differ in length");
    weir__kr_strides(x->dims, x->rank, strides);
    uint32_t seen = 0;
    for (uint32_t d = 0; d < x->rank; d++)
        lengths[d] = x->dims[d];
    for (int64_t i = 0; i < count; i++) {
        int64_t wanted = has_axes ? weir__kr_index(&call->inputs[3], i) : i;
        int64_t axis = weir__kr_axis(wanted, x->rank);
        int64_t step = has_steps ? weir__kr_index(&call->inputs[4], i) : 1;
        if (axis < 0 || (seen & (1u << axis)))
            return WEIR_KR_FAIL(call, "Slice: bad axis %lld", (long long)wanted);
        if (step == 0 || step == INT64_MIN)
            return WEIR_KR_FAIL(call, "Slice: bad step %lld", (long long)step);
        seen |= 1u << axis;
        int64_t dim = x->dims[axis], low = step > 0 ? 0 : -1, high = step > 0 ? dim : dim - 1;
        int64_t start = weir__kr_index(starts, i), end = weir__kr_index(ends, i);
        start = weir__kr_min(weir__kr_max(start < 0 ? start + dim : start, 0), high);
        end = weir__kr_min(weir__kr_max(end < 0 ? end + dim : end, low), high);
        if (dim == 0) {
            start = 0;
            end = 0;
        }
        int64_t span = step > 0 ? end - start : start - end, pace = step > 0 ? step : -step;
        lengths[axis] = span <= 0 ? 0 : (span - 1) / pace + 1;
        base += lengths[axis] > 0 ? start * strides[axis] : 0;
        strides[axis] = lengths[axis] > 1 ? strides[axis] * step : 0;
    }
    for (uint32_t d = 0; d < x->rank; d++)
        if (lengths[d] != y->dims[d])
            return WEIR_KR_FAIL(call, "Slice: axis %u gives %lld elements, the output has %lld", d,
                (long long)lengths[d], (long long)y->dims[d]);
    int64_t begin, end;
    weir__kr_range(call, weir__kr_count(y), WEIR_KR_BLOCK, &begin, &end);
    weir__kr_copy_strided(x->data, base, strides, y->data, y->dims, y->rank,
        weir_kr_dtype_bytes(x->dtype), begin, end);
    return WEIR_KR_OK;
}

// x broadcast to the output's dims.
int weir_k_expand__ref(const weir_kr_call_t *call)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *y = &call->outputs[0];
    int64_t strides[WEIR_KR_RANK_MAX], begin, end;
    if (!weir__kr_broadcast(x, y->dims, y->rank, strides))
        return WEIR_KR_FAIL(call, "Expand: the input does not broadcast to the shape");
    weir__kr_range(call, weir__kr_count(y), WEIR_KR_BLOCK, &begin, &end);
    weir__kr_copy_strided(
        x->data, 0, strides, y->data, y->dims, y->rank, weir_kr_dtype_bytes(x->dtype), begin, end);
    return WEIR_KR_OK;
}

// y[c] = x[c mod dims].
int weir_k_tile__ref(const weir_kr_call_t *call)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *y = &call->outputs[0],
                           *repeats = &call->inputs[1];
    if (y->rank != x->rank || weir__kr_count(repeats) != (int64_t)x->rank)
        return WEIR_KR_FAIL(call, "Tile: one repeat per axis is needed");
    int64_t strides[WEIR_KR_RANK_MAX], *map = call->scratch;
    weir__kr_strides(x->dims, x->rank, strides);
    for (uint32_t d = 0; d < x->rank; d++) {
        int64_t repeat = weir__kr_index(repeats, d);
        if (repeat < 0 || (x->dims[d] > 0 && repeat > y->dims[d]) ||
            x->dims[d] * repeat != y->dims[d])
            return WEIR_KR_FAIL(
                call, "Tile: %lld repeats of axis %u do not fit the output", (long long)repeat, d);
        for (int64_t i = 0; i < y->dims[d]; i++)
            *map++ = i % x->dims[d] * strides[d];
    }
    int64_t begin, end;
    weir__kr_mapped_range(call, &begin, &end);
    weir__kr_copy_mapped(x->data, call->scratch, NULL, y->data, y->dims, y->rank,
        weir_kr_dtype_bytes(x->dtype), begin, end);
    return WEIR_KR_OK;
}

// Where coordinate i of a padded axis reads in [0, length), or -1. Reflection repeats with period
// 2 (length - 1): the edge itself is not doubled.
static int64_t pad_source(int64_t i, int64_t length, int32_t mode)
{
    if (i >= 0 && i < length)
        return i;
    if (mode == WEIR_KR_PAD_CONSTANT || length == 0)
        return -1;
    if (mode == WEIR_KR_PAD_EDGE)
        return i < 0 ? 0 : length - 1;
    int64_t period = mode == WEIR_KR_PAD_WRAP ? length : weir__kr_max(2 * (length - 1), 1);
    int64_t phase = i % period;
    if (phase < 0)
        phase += period;
    return phase < length ? phase : period - phase;
}

// y = x with `pads` elements added (negative: cut) at both ends of each axis. Cuts come first, so
// that the other modes repeat what is left.
int weir_k_pad__ref(const weir_kr_call_t *call)
{
    static const uint64_t zero = 0;
    const weir_kr_tensor_t *x = &call->inputs[0], *y = &call->outputs[0], *pads = &call->inputs[1];
    int64_t before[WEIR_KR_RANK_MAX] = {0}, after[WEIR_KR_RANK_MAX] = {0},
            strides[WEIR_KR_RANK_MAX];
    int64_t axis_count = weir__kr_present(call, 3) ? weir__kr_count(&call->inputs[3]) : x->rank;
    if (y->rank != x->rank || axis_count > (int64_t)x->rank ||
        weir__kr_count(pads) != 2 * axis_count)
        return WEIR_KR_FAIL(call, "Pad: two pads per axis are needed");
    for (int64_t i = 0; i < axis_count; i++) {
        int64_t wanted = weir__kr_present(call, 3) ? weir__kr_index(&call->inputs[3], i) : i;
        int64_t axis = weir__kr_axis(wanted, x->rank);
        if (axis < 0)
            return WEIR_KR_FAIL(call, "Pad: bad axis %lld", (long long)wanted);
        before[axis] = weir__kr_index(pads, i);
        after[axis] = weir__kr_index(pads, axis_count + i);
    }
    weir__kr_strides(x->dims, x->rank, strides);
    int64_t *map = call->scratch;
    for (uint32_t d = 0; d < x->rank; d++) {
        int64_t limit = weir__kr_max(x->dims[d], y->dims[d]);
        if (before[d] > limit || before[d] < -limit || after[d] > limit || after[d] < -limit ||
            x->dims[d] + before[d] + after[d] != y->dims[d])
            return WEIR_KR_FAIL(call, "Pad: the pads of axis %u do not fit the output", d);
        int64_t cut = weir__kr_max(-before[d], 0), shift = weir__kr_max(before[d], 0);
        int64_t length = weir__kr_max(x->dims[d] - cut - weir__kr_max(-after[d], 0), 0);
        if (call->params->pad.mode != WEIR_KR_PAD_CONSTANT && length == 0 && y->dims[d] > 0)
            return WEIR_KR_FAIL(call, "Pad: axis %u has nothing to repeat", d);
        for (int64_t i = 0; i < y->dims[d]; i++) {
            int64_t from = pad_source(i - shift, length, call->params->pad.mode);
            *map++ = from < 0 ? -1 : (from + cut) * strides[d];
        }
    }
    const void *fill = weir__kr_present(call, 2) && call->inputs[2].element_count == 1
                           ? call->inputs[2].data
                           : (const void *)&zero;
    int64_t begin, end;
    if (y->rank == 0) { // no axis, no pads: a copy
        memcpy(y->data, x->data, weir_kr_dtype_bytes(x->dtype));
        return WEIR_KR_OK;
    }
    weir__kr_mapped_range(call, &begin, &end);
    weir__kr_copy_mapped(x->data, call->scratch, fill, y->data, y->dims, y->rank,
        weir_kr_dtype_bytes(x->dtype), begin, end);
    return WEIR_KR_OK;
}
