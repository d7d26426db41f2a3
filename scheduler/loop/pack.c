// scheduler/loop/pack.c: rows into batches and out of them: copies of boxes between dense tensors.
//
// It must not decide anything: dims were checked when the request came, buffers are large enough.
#include "scheduler/loop/loop.h"

#include <string.h>

// A box of `count` elements per axis at the origin of two dense tensors.
typedef struct box {
    char *to;
    const char *from; // NULL: every element becomes `fill`
    const int64_t *to_dims, *from_dims, *count;
    const char *fill;
    size_t element_bytes;
    uint32_t rank;
} box_t;

static void put(const box_t *box, char *to, const char *from, size_t bytes)
{
    if (from) {
        memcpy(to, from, bytes);
        return;
    }
    for (size_t at = 0; at < bytes; at += box->element_bytes)
        memcpy(to + at, box->fill, box->element_bytes);
}

// Runs of bytes that are contiguous on both sides, one after another.
static void copy_box(const box_t *box)
{
    size_t run = box->element_bytes;
    uint32_t outer = box->rank;
    for (uint32_t d = 0; d < box->rank; d++)
        if (box->count[d] == 0)
            return;
    while (outer > 0) {
        outer--;
        run *= (size_t)box->count[outer];
        if (box->count[outer] != box->to_dims[outer] ||
            (box->from && box->count[outer] != box->from_dims[outer]))
            break;
    }
    int64_t at[WEIR_RANK_MAX] = {0};
    for (;;) {
        size_t to = 0, from = 0;
        for (uint32_t d = 0; d < box->rank; d++) {
            to = to * (size_t)box->to_dims[d] + (size_t)(d < outer ? at[d] : 0);
            if (box->from)
                from = from * (size_t)box->from_dims[d] + (size_t)(d < outer ? at[d] : 0);
        }
        put(box, box->to + to * box->element_bytes,
            box->from ? box->from + from * box->element_bytes : NULL, run);
        uint32_t d = outer;
        while (d > 0 && ++at[d - 1] == box->count[d - 1])
            at[--d] = 0;
        if (d == 0)
            return;
    }
}

// Bytes from one index of an axis to the next.
static size_t step_bytes(const int64_t *dims, uint32_t rank, uint32_t axis, size_t element_bytes)
{
    size_t bytes = element_bytes;
    for (uint32_t d = axis + 1; d < rank; d++)
        bytes *= (size_t)dims[d];
    return bytes;
}

static int32_t axis_of(const weir__served_t *served, const int32_t *axes, uint32_t index)
{
    return served->max_batch > 1 ? axes[index] : WEIR_AXIS_NONE;
}

void weir__pack_dims(const weir__served_t *served, uint32_t index, const weir_value_t *request,
    uint32_t run_rows, weir_value_t *out_batch)
{
    int32_t axis = axis_of(served, served->input_axes, index);
    out_batch->dtype = request->dtype;
    out_batch->rank = request->rank;
    memcpy(out_batch->dims, request->dims, sizeof out_batch->dims);
    if (axis != WEIR_AXIS_NONE)
        out_batch->dims[axis] = run_rows;
    for (uint32_t p = 0; p < served->padding_count; p++)
        if (served->paddings[p].input == index) {
            int64_t *dim = &out_batch->dims[served->paddings[p].axis];
            *dim = weir__shape_length(&served->paddings[p], *dim);
        }
}

static uint16_t half_bits(double value, weir_dtype_t dtype)
{
    float narrow = (float)value;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    if (dtype == WEIR_BF16)
        return (uint16_t)(bits >> 16);
    // Exact for what a half holds exactly; the rest is cut off, which is enough for a filling.
    int32_t exponent = (int32_t)(bits >> 23 & 255) - 112;
    uint32_t sign = bits >> 16 & 0x8000u;
    if (exponent <= 0)
        return (uint16_t)sign;
    if (exponent >= 31)
        return (uint16_t)(sign | 0x7c00u);
    return (uint16_t)(sign | (uint32_t)exponent << 10 | (bits >> 13 & 0x3ffu));
}

static void fill_element(weir_dtype_t dtype, double value, char out_element[8])
{
    memset(out_element, 0, 8);
    float narrow = (float)value;
    int64_t whole = (int64_t)value;
    uint16_t half = half_bits(value, dtype);
    switch (dtype) {
    case WEIR_F32:
        memcpy(out_element, &narrow, sizeof narrow);
        break;
    case WEIR_F64:
        memcpy(out_element, &value, sizeof value);
        break;
    case WEIR_F16:
    case WEIR_BF16:
        memcpy(out_element, &half, sizeof half);
        break;
    default: // integers: the low bytes, on a little-endian machine
        memcpy(out_element, &whole, sizeof whole);
        break;
    }
}

void weir__pack_rows(const weir__served_t *served, uint32_t index, const weir_value_t *request,
    uint32_t rows, uint32_t first, weir_value_t *batch)
{
    int32_t axis = axis_of(served, served->input_axes, index);
    size_t element_bytes = weir_dtype_bytes(request->dtype);
    char *to = batch->data;
    if (axis != WEIR_AXIS_NONE) {
        size_t step = step_bytes(batch->dims, batch->rank, (uint32_t)axis, element_bytes);
        to += first * step;
        // The common case: whole rows, one after another.
        if (axis == 0 && !served->padding_count) {
            if (rows * step > 0)
                memcpy(to, request->data, rows * step);
            return;
        }
    }
    box_t box = {.to = to,
        .from = request->data,
        .to_dims = batch->dims,
        .from_dims = request->dims,
        .count = request->dims,
        .element_bytes = element_bytes,
        .rank = request->rank};
    for (uint32_t p = 0; p < served->padding_count; p++) {
        const weir_padding_t *padding = &served->paddings[p];
        if (padding->input != index || request->dims[padding->axis] == batch->dims[padding->axis])
            continue;
        char element[8];
        fill_element(request->dtype, padding->value, element);
        int64_t count[WEIR_RANK_MAX];
        memcpy(count, batch->dims, sizeof count);
        if (axis != WEIR_AXIS_NONE)
            count[axis] = rows;
        box_t filling = box;
        filling.from = NULL;
        filling.fill = element;
        filling.count = count;
        copy_box(&filling);
    }
    copy_box(&box);
}

bool weir__pack_out(const weir__served_t *served, uint32_t index, const weir_value_t *batch,
    uint32_t run_rows, uint32_t first, uint32_t rows, const weir_value_t *const *inputs,
    weir_value_t *output)
{
    int32_t axis = axis_of(served, served->output_axes, index);
    size_t element_bytes = weir_dtype_bytes(batch->dtype);
    const char *from = batch->data;
    output->rank = batch->rank;
    memcpy(output->dims, batch->dims, sizeof output->dims);
    if (axis != WEIR_AXIS_NONE && run_rows) {
        // An output may have several places for each row.
        int64_t each = batch->dims[axis] / run_rows;
        size_t step = step_bytes(batch->dims, batch->rank, (uint32_t)axis, element_bytes);
        output->dims[axis] = each * rows;
        from += (size_t)(each * first) * step;
        if (axis == 0 && !served->padding_count) {
            // No more than the batch has, which is in memory.
            size_t bytes = (size_t)output->dims[0] * step;
            if (bytes > output->capacity_bytes || (bytes && !output->data))
                return false;
            if (bytes)
                memcpy(output->data, from, bytes);
            return true;
        }
    }
    for (uint32_t p = 0; p < served->padding_count; p++) {
        const weir_padding_t *padding = &served->paddings[p];
        if (padding->output != (int32_t)index || padding->output_axis >= batch->rank)
            continue;
        int64_t length = inputs[padding->input]->dims[padding->axis];
        if (length < batch->dims[padding->output_axis])
            output->dims[padding->output_axis] = length;
    }
    uint64_t count = weir_value_count(output);
    if (count > UINT64_MAX / 8 || count * element_bytes > output->capacity_bytes ||
        (count && !output->data))
        return false;
    copy_box(&(box_t){.to = output->data,
        .from = from,
        .to_dims = output->dims,
        .from_dims = batch->dims,
        .count = output->dims,
        .element_bytes = element_bytes,
        .rank = batch->rank});
    return true;
}
