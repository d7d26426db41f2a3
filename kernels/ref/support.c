// kernels/ref/support.c: element types, plans and the copies that the movement kernels are made of.
//
// Not: anything of one operator.
#include "kernels/ref/internal.h"

#include <stdarg.h>
#include <stdio.h>

void weir__kr_say(const weir_kr_call_t *call, const char *format, ...)
{
    if (call->error && call->error_bytes) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(call->error, call->error_bytes, format, arguments);
        va_end(arguments);
    }
}

uint32_t weir_kr_dtype_bytes(uint32_t dtype)
{
    if (dtype & (WEIR_KR_F32 | WEIR_KR_I32 | WEIR_KR_U32))
        return 4;
    if (dtype & (WEIR_KR_F64 | WEIR_KR_I64 | WEIR_KR_U64))
        return 8;
    if (dtype & (WEIR_KR_F16 | WEIR_KR_BF16 | WEIR_KR_I16 | WEIR_KR_U16))
        return 2;
    return (dtype & (WEIR_KR_I8 | WEIR_KR_U8 | WEIR_KR_BOOL)) ? 1 : 0;
}

// ---------------------------------------------------------------------------------------------
// Half precision (IEEE 754-2008 binary16, and bfloat16)
// ---------------------------------------------------------------------------------------------

// Rounds a finite |value| to `precision` significant bits with smallest exponent `least` (of the
// value of the last place of a subnormal), to nearest, ties to even. nearbyint() rounds so by
// default.
static double round_to(double value, int precision, int least)
{
    int exponent;
    (void)frexp(value, &exponent);
    int last = exponent - precision;
    if (last < least)
        last = least;
    return ldexp(nearbyint(ldexp(value, -last)), last);
}

uint16_t weir_kr_f16_from_double(double value)
{
    uint16_t sign = signbit(value) ? 0x8000u : 0;
    if (isnan(value))
        return (uint16_t)(sign | 0x7e00u);
    double magnitude = isinf(value) ? value : round_to(fabs(value), 11, -24);
    if (fabs(magnitude) >= 65536.0)
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x1p-14)
        return (uint16_t)(sign | (uint16_t)ldexp(magnitude, 24));
    int exponent;
    double fraction = frexp(magnitude, &exponent); // in [0.5, 1)
    uint32_t bits = (uint32_t)ldexp(fraction, 11) - 1024u;
    return (uint16_t)(sign | ((uint32_t)(exponent + 14) << 10) | bits);
}

double weir_kr_f16_to_double(uint16_t bits)
{
    int exponent = (bits >> 10) & 31;
    double fraction = bits & 1023;
    double magnitude;
    if (exponent == 31)
        magnitude = fraction != 0 ? (double)NAN : (double)INFINITY;
    else if (exponent == 0)
        magnitude = ldexp(fraction, -24);
    else
        magnitude = ldexp(fraction + 1024.0, exponent - 25);
    return (bits & 0x8000u) ? -magnitude : magnitude;
}

uint16_t weir_kr_bf16_from_double(double value)
{
    uint16_t sign = signbit(value) ? 0x8000u : 0;
    if (isnan(value))
        return (uint16_t)(sign | 0x7fc0u);
    double magnitude = isinf(value) ? value : round_to(fabs(value), 8, -133);
    // Now exact in f32, or beyond it, where the conversion gives infinity.
    float single = (float)fabs(magnitude);
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    return (uint16_t)(sign | (bits >> 16));
}

double weir_kr_bf16_to_double(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float single;
    memcpy(&single, &wide, sizeof single);
    return (double)single;
}

// ---------------------------------------------------------------------------------------------
// Plans
// ---------------------------------------------------------------------------------------------

void weir_kr_plan_one(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    (void)call;
    out_plan->task_count = 1;
    out_plan->scratch_bytes = 0;
}

void weir_kr_plan_elements(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    out_plan->task_count = weir__kr_blocks(weir__kr_count(&call->outputs[0]), WEIR_KR_BLOCK);
    out_plan->scratch_bytes = 0;
}

void weir_kr_plan_inputs(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    out_plan->task_count = call->input_count;
    out_plan->scratch_bytes = 0;
}

void weir_kr_plan_outputs(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    out_plan->task_count = call->output_count;
    out_plan->scratch_bytes = 0;
}

void weir_kr_plan_channels(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    const weir_kr_tensor_t *x = &call->inputs[0];
    int64_t channels = weir__kr_product(x->dims, 0, x->rank < 2 ? x->rank : 2);
    out_plan->task_count = (uint64_t)weir__kr_max(channels, 1);
    out_plan->scratch_bytes = 0;
}

// ---------------------------------------------------------------------------------------------
// Copies
// ---------------------------------------------------------------------------------------------

// One run of the innermost axis.
static void copy_run(
    const char *source, int64_t stride, char *destination, int64_t count, uint32_t element_bytes)
{
    if (stride == 1) {
        memcpy(destination, source, (size_t)count * element_bytes);
        return;
    }
    int64_t step = stride * (int64_t)element_bytes;
    for (int64_t i = 0; i < count; i++, source += step, destination += element_bytes) {
        switch (element_bytes) { // constant sizes: the compiler makes moves of them
        case 4:
            memcpy(destination, source, 4);
            break;
        case 8:
            memcpy(destination, source, 8);
            break;
        case 2:
            memcpy(destination, source, 2);
            break;
        default:
            memcpy(destination, source, 1);
            break;
        }
    }
}

void weir__kr_copy_strided(const void *source, int64_t base, const int64_t *strides,
    void *destination, const int64_t *dims, uint32_t rank, uint32_t element_bytes, int64_t begin,
    int64_t end)
{
    if (begin >= end)
        return;
    int64_t coordinates[WEIR_KR_RANK_MAX];
    weir__kr_unravel(begin, dims, rank, coordinates);
    int64_t inner = rank ? dims[rank - 1] : 1;
    int64_t inner_stride = rank ? strides[rank - 1] : 1;
    char *to = (char *)destination + begin * (int64_t)element_bytes;
    int64_t offset = base;
    for (uint32_t i = 0; i < rank; i++)
        offset += coordinates[i] * strides[i];
    int64_t at = rank ? coordinates[rank - 1] : 0;
    for (int64_t element = begin; element < end;) {
        int64_t run = weir__kr_min(inner - at, end - element);
        copy_run((const char *)source + offset * (int64_t)element_bytes, inner_stride, to, run,
            element_bytes);
        to += run * (int64_t)element_bytes;
        element += run;
        offset -= at * inner_stride;
        at = 0;
        for (uint32_t d = rank > 0 ? rank - 1 : 0; d-- > 0;) {
            offset += strides[d];
            if (++coordinates[d] < dims[d])
                break;
            offset -= strides[d] * dims[d];
            coordinates[d] = 0;
        }
    }
}

int weir__kr_broadcast(
    const weir_kr_tensor_t *from, const int64_t *dims, uint32_t rank, int64_t *out_strides)
{
    if (from->rank > rank)
        return 0;
    int64_t stride = 1;
    for (uint32_t i = 0; i < rank; i++) {
        uint32_t d = rank - 1 - i;
        if (i >= from->rank) {
            out_strides[d] = 0;
            continue;
        }
        int64_t dim = from->dims[from->rank - 1 - i];
        if (dim != dims[d] && dim != 1)
            return 0;
        out_strides[d] = dim == 1 ? 0 : stride;
        stride *= dim;
    }
    return 1;
}

void weir__kr_copy_mapped(const void *source, const int64_t *maps, const void *fill,
    void *destination, const int64_t *dims, uint32_t rank, uint32_t element_bytes, int64_t begin,
    int64_t end)
{
    if (begin >= end)
        return;
    int64_t coordinates[WEIR_KR_RANK_MAX];
    weir__kr_unravel(begin, dims, rank, coordinates);
    char *to = (char *)destination + begin * (int64_t)element_bytes;
    if (rank == 0) {
        memcpy(to, source, element_bytes);
        return;
    }
    const int64_t *map_of[WEIR_KR_RANK_MAX];
    for (uint32_t d = 0; d < rank; maps += dims[d], d++)
        map_of[d] = maps;
    const int64_t *inner = map_of[rank - 1];
    for (int64_t element = begin; element < end;) {
        int64_t at = coordinates[rank - 1];
        int64_t run = weir__kr_min(dims[rank - 1] - at, end - element);
        int64_t outer = 0, outside = 0;
        for (uint32_t d = 0; d + 1 < rank; d++) {
            int64_t offset = map_of[d][coordinates[d]];
            outside |= offset < 0;
            outer += offset;
        }
        for (int64_t i = 0; i < run; i++, to += element_bytes) {
            int64_t offset = inner[at + i];
            const char *from =
                outside || offset < 0
                    ? (const char *)fill
                    : (const char *)source + (outer + offset) * (int64_t)element_bytes;
            copy_run(from, 1, to, 1, element_bytes);
        }
        element += run;
        coordinates[rank - 1] = 0;
        for (uint32_t d = rank - 1; d-- > 0;) {
            if (++coordinates[d] < dims[d])
                break;
            coordinates[d] = 0;
        }
    }
}

// The tables cost the sum of the dims per task: no more tasks than pay for them.
void weir_kr_plan_mapped(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    const weir_kr_tensor_t *y = &call->outputs[0];
    int64_t entries = 1;
    for (uint32_t d = 0; d < y->rank; d++)
        entries += y->dims[d];
    int64_t count = weir__kr_count(y);
    uint64_t blocks = weir__kr_blocks(count, WEIR_KR_BLOCK);
    uint64_t worth = (uint64_t)weir__kr_max(count / entries, 1);
    out_plan->task_count = blocks < worth ? blocks : worth;
    out_plan->scratch_bytes = (uint64_t)entries * sizeof(int64_t);
}

void weir__kr_mapped_range(const weir_kr_call_t *call, int64_t *out_begin, int64_t *out_end)
{
    weir_kr_plan_t plan;
    weir_kr_plan_mapped(call, &plan);
    int64_t total = weir__kr_count(&call->outputs[0]);
    int64_t block = (total + (int64_t)plan.task_count - 1) / (int64_t)plan.task_count;
    weir__kr_range(call, total, block, out_begin, out_end);
}
