// engine/api/value.c: plain tensors (weir/value.h).
#include "engine/base/size.h"
#include <string.h>
#include <weir/value.h>

weir_value_t weir_tensor(weir_dtype_t dtype, const void *data, uint32_t rank, const int64_t *dims)
{
    weir_value_t value = {.data = (void *)(uintptr_t)data, .dtype = dtype, .rank = rank};
    if (rank > WEIR_RANK_MAX)
        return value;
    if (rank)
        memcpy(value.dims, dims, rank * sizeof dims[0]);
    if (!weir__tensor_bytes(dims, rank, dtype, &value.capacity_bytes))
        value.capacity_bytes = 0;
    return value;
}

weir_value_t weir_output(weir_dtype_t dtype, void *data, uint64_t capacity_bytes)
{
    return (weir_value_t){.data = data, .capacity_bytes = capacity_bytes, .dtype = dtype};
}

weir_value_t weir_view(void)
{
    return (weir_value_t){.placement = WEIR_PLACE_VIEW};
}

uint64_t weir_value_count(const weir_value_t *value)
{
    uint64_t count;
    if (value->rank > WEIR_RANK_MAX || !weir__dims_count(value->dims, value->rank, &count))
        return UINT64_MAX;
    return count;
}

const char *weir_dtype_name(weir_dtype_t dtype)
{
    static const char *const names[] = {"f32", "f64", "f16", "bf16", "i8", "i16", "i32", "i64",
        "u8", "u16", "u32", "u64", "bool", "string"};
    for (uint32_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (dtype == 1u << i)
            return names[i];
    return "?";
}
