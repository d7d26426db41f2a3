// kernels/ref/gather.c: Gather, GatherElements, GatherND.
//
// Source: ONNX operators Gather-13, GatherElements-13, GatherND-13. Negative indices count from the
// back; one out of range is an error, never a read.
#include "kernels/ref/internal.h"

#define GATHER_ROWS 64 // rows that one task of Gather copies

// Index i of `indices` into an axis of `dim`, or -1.
static int64_t checked(const weir_kr_tensor_t *indices, int64_t i, int64_t dim)
{
    int64_t index = weir__kr_index(indices, i);
    if (index < -dim || index >= dim)
        return -1;
    return index < 0 ? index + dim : index;
}

static int out_of_range(const weir_kr_call_t *call, int64_t index, int64_t axis, int64_t dim)
{
    return WEIR_KR_FAIL(call, "index %lld is out of range for axis %lld of %lld", (long long)index,
        (long long)axis, (long long)dim);
}

static int64_t gather_rows(const weir_kr_call_t *call, int64_t *out_axis)
{
    const weir_kr_tensor_t *x = &call->inputs[0];
    *out_axis = weir__kr_axis(call->params->axis.axis, x->rank);
    if (*out_axis < 0)
        return 0;
    return weir__kr_product(x->dims, 0, (uint32_t)*out_axis) * weir__kr_count(&call->inputs[1]);
}

void weir_kr_plan_gather(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    int64_t axis;
    out_plan->task_count = weir__kr_blocks(gather_rows(call, &axis), GATHER_ROWS);
    out_plan->scratch_bytes = 0;
}

// y[o, i..., r] = x[o, indices[i...], r], where o runs over the axes before `axis`, r over those
// after.
int weir_k_gather__ref(const weir_kr_call_t *call)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *indices = &call->inputs[1],
                           *y = &call->outputs[0];
    int64_t axis, begin, end;
    int64_t rows = gather_rows(call, &axis);
    if (axis < 0)
        return WEIR_KR_FAIL(call, "Gather: axis is out of range");
    int64_t dim = x->dims[axis], picks = weir__kr_count(indices);
    int64_t bytes = weir__kr_product(x->dims, (uint32_t)axis + 1, x->rank) *
                    (int64_t)weir_kr_dtype_bytes(x->dtype);
    if (y->element_count * weir_kr_dtype_bytes(x->dtype) != (uint64_t)(rows * bytes))
        return WEIR_KR_FAIL(call, "Gather: the output has another size");
    weir__kr_range(call, rows, GATHER_ROWS, &begin, &end);
    for (int64_t row = begin; row < end; row++) {
        int64_t index = checked(indices, row % picks, dim);
        if (index < 0)
            return out_of_range(call, weir__kr_index(indices, row % picks), axis, dim);
        if (bytes > 0)
            memcpy((char *)y->data + row * bytes,
                (const char *)x->data + (row / picks * dim + index) * bytes, (size_t)bytes);
    }
    return WEIR_KR_OK;
}

// y[c] = x[c with c[axis] replaced by indices[c]].
int weir_k_gather_elements__ref(const weir_kr_call_t *call)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *indices = &call->inputs[1],
                           *y = &call->outputs[0];
    int64_t axis = weir__kr_axis(call->params->axis.axis, x->rank), begin, end;
    if (axis < 0 || indices->rank != x->rank || y->element_count != indices->element_count)
        return WEIR_KR_FAIL(call, "GatherElements: axis or ranks do not fit");
    int64_t strides[WEIR_KR_RANK_MAX], c[WEIR_KR_RANK_MAX], bytes = weir_kr_dtype_bytes(x->dtype);
    for (uint32_t d = 0; d < x->rank; d++)
        if ((int64_t)d != axis && indices->dims[d] > x->dims[d])
            return WEIR_KR_FAIL(call, "GatherElements: axis %u of the indices is too long", d);
    weir__kr_strides(x->dims, x->rank, strides);
    weir__kr_range(call, weir__kr_count(y), WEIR_KR_BLOCK, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        weir__kr_unravel(i, indices->dims, x->rank, c);
        c[axis] = checked(indices, i, x->dims[axis]);
        if (c[axis] < 0)
            return out_of_range(call, weir__kr_index(indices, i), axis, x->dims[axis]);
        int64_t offset = 0;
        for (uint32_t d = 0; d < x->rank; d++)
            offset += c[d] * strides[d];
        memcpy((char *)y->data + i * bytes, (const char *)x->data + offset * bytes, (size_t)bytes);
    }
    return WEIR_KR_OK;
}

// Each tuple of indices' last axis picks a slice of x, behind batch_dims shared leading axes.
int weir_k_gather_nd__ref(const weir_kr_call_t *call)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *indices = &call->inputs[1],
                           *y = &call->outputs[0];
    int64_t batch_dims = call->params->axis.batch_dims;
    if (indices->rank == 0 || batch_dims < 0 || batch_dims >= (int64_t)indices->rank)
        return WEIR_KR_FAIL(call, "GatherND: batch_dims or the indices' rank do not fit");
    int64_t tuple = indices->dims[indices->rank - 1];
    if (tuple < 0 || tuple + batch_dims > (int64_t)x->rank)
        return WEIR_KR_FAIL(
            call, "GatherND: tuples of %lld for rank %u", (long long)tuple, x->rank);
    for (int64_t d = 0; d < batch_dims; d++)
        if (x->dims[d] != indices->dims[d])
            return WEIR_KR_FAIL(call, "GatherND: batch axis %lld differs", (long long)d);
    uint32_t first = (uint32_t)batch_dims, after = (uint32_t)(batch_dims + tuple);
    int64_t batches = weir__kr_product(x->dims, 0, first);
    int64_t picks = weir__kr_product(indices->dims, first, indices->rank - 1);
    int64_t bytes =
        weir__kr_product(x->dims, after, x->rank) * (int64_t)weir_kr_dtype_bytes(x->dtype);
    int64_t per_batch = weir__kr_product(x->dims, first, after);
    if (y->element_count * weir_kr_dtype_bytes(x->dtype) != (uint64_t)(batches * picks * bytes))
        return WEIR_KR_FAIL(call, "GatherND: the output has another size");
    for (int64_t row = 0; row < batches * picks; row++) {
        int64_t offset = 0;
        for (int64_t i = 0; i < tuple; i++) {
            int64_t dim = x->dims[batch_dims + i];
            int64_t index = checked(indices, row * tuple + i, dim);
            if (index < 0)
                return out_of_range(
                    call, weir__kr_index(indices, row * tuple + i), batch_dims + i, dim);
            offset = offset * dim + index;
        }
        if (bytes > 0)
            memcpy((char *)y->data + row * bytes,
                (const char *)x->data + (row / picks * per_batch + offset) * bytes, (size_t)bytes);
    }
    return WEIR_KR_OK;
}
