// engine/graph/node.c: reading nodes, types and constants, and naming them in messages.
//
// Nothing here changes a graph or fails.
#include "engine/graph/build.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const weir_attribute_t *weir__node_attribute(const weir__node_t *node, const char *name)
{
    for (uint32_t i = 0; i < node->attribute_count; i++)
        if (strcmp(node->attributes[i].name, name) == 0)
            return &node->attributes[i];
    return NULL;
}

int64_t weir__node_int(const weir__node_t *node, const char *name, int64_t otherwise)
{
    const weir_attribute_t *attribute = weir__node_attribute(node, name);
    return attribute && attribute->type == WEIR_ATTR_INT ? attribute->i : otherwise;
}

// Appends to a buffer that is `used` bytes full; cut to fit. Returns the new fill.
static size_t put(char *buffer, size_t buffer_bytes, size_t used, const char *text)
{
    if (used + 1 >= buffer_bytes)
        return used;
    size_t length = strlen(text);
    if (length > buffer_bytes - used - 1)
        length = buffer_bytes - used - 1;
    memcpy(buffer + used, text, length);
    buffer[used + length] = 0;
    return used + length;
}

const char *weir__node_label(const weir__node_t *node, char *buffer, size_t buffer_bytes)
{
    // A node may stand for hundreds of others; the first ones name it well enough.
    size_t used = 0, for_origins = buffer_bytes > 64 ? buffer_bytes - 40 : buffer_bytes;
    if (buffer_bytes)
        buffer[0] = 0;
    used = put(buffer, buffer_bytes, used, "node ");
    for (uint32_t i = 0; i < node->origin_count; i++) {
        used = put(buffer, for_origins, used, i ? "+" : "");
        used = put(buffer, for_origins, used, node->origins[i]);
    }
    used = put(buffer, buffer_bytes, used, node->origin_count ? " (" : "(");
    used = put(buffer, buffer_bytes, used, node->op->name);
    put(buffer, buffer_bytes, used, ")");
    return buffer;
}

weir__type_t weir__type_of_tensor(const weir__tensor_t *tensor)
{
    weir__type_t type = {.dtype = tensor->dtype, .rank = (int32_t)tensor->rank};
    for (uint32_t i = 0; i < tensor->rank; i++)
        type.dims[i] = tensor->dims[i];
    return type;
}

bool weir__shape_of_tensor(const weir__tensor_t *tensor, weir__shape_value_t *out_shape)
{
    if (!weir__tensor_ready(tensor) || tensor->rank > 1 || tensor->count == 0 ||
        tensor->count > WEIR__SHAPE_VALUE_MAX || !(tensor->dtype & (WEIR_I32 | WEIR_I64)))
        return false;
    out_shape->count = (uint32_t)tensor->count;
    out_shape->symbol_mask = 0;
    for (uint32_t i = 0; i < out_shape->count; i++)
        out_shape->elements[i] = weir__tensor_int(tensor, i);
    return true;
}

int64_t weir__tensor_int(const weir__tensor_t *tensor, uint64_t index)
{
    uint32_t bytes = weir_dtype_bytes(tensor->dtype);
    const unsigned char *at = (const unsigned char *)tensor->data + index * bytes;
    uint64_t bits = 0;
    memcpy(&bits, at, bytes);
    switch (tensor->dtype) {
    case WEIR_I8:
        return (int8_t)bits;
    case WEIR_I16:
        return (int16_t)bits;
    case WEIR_I32:
        return (int32_t)bits;
    default:
        return (int64_t)bits;
    }
}

// f16 to f64, exact.
static double half_to_double(uint16_t bits)
{
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double magnitude;
    if (exponent == 31)
        magnitude = fraction ? (double)NAN : (double)INFINITY;
    else if (exponent == 0)
        magnitude = ldexp(fraction, -24);
    else
        magnitude = ldexp(fraction + 1024, exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
}

double weir__tensor_float(const weir__tensor_t *tensor, uint64_t index)
{
    uint32_t bytes = weir_dtype_bytes(tensor->dtype);
    const unsigned char *at = (const unsigned char *)tensor->data + index * bytes;
    float single;
    double full;
    uint16_t half;
    switch (tensor->dtype) {
    case WEIR_F32:
        memcpy(&single, at, sizeof single);
        return (double)single;
    case WEIR_F64:
        memcpy(&full, at, sizeof full);
        return full;
    case WEIR_F16:
        memcpy(&half, at, sizeof half);
        return half_to_double(half);
    case WEIR_BF16: {
        memcpy(&half, at, sizeof half);
        uint32_t wide = (uint32_t)half << 16;
        memcpy(&single, &wide, sizeof single);
        return (double)single;
    }
    default:
        return (double)weir__tensor_int(tensor, index);
    }
}

const char *weir__dtype_name(weir_dtype_t dtype)
{
    static const char *const names[] = {"f32", "f64", "f16", "bf16", "i8", "i16", "i32", "i64",
        "u8", "u16", "u32", "u64", "bool", "string"};
    for (uint32_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (dtype == 1u << i)
            return names[i];
    return "?";
}

const char *weir__type_text(
    const weir__graph_t *graph, const weir__type_t *type, char *buffer, size_t buffer_bytes)
{
    size_t used = 0;
    if (buffer_bytes)
        buffer[0] = 0;
    used = put(buffer, buffer_bytes, used, weir__dtype_name(type->dtype));
    if (type->rank < 0) {
        put(buffer, buffer_bytes, used, " of unknown rank");
        return buffer;
    }
    used = put(buffer, buffer_bytes, used, " [");
    for (int32_t i = 0; i < type->rank; i++) {
        char dim[32] = "?";
        const char *text = dim;
        if (type->dims[i] >= 0)
            snprintf(dim, sizeof dim, "%lld", (long long)type->dims[i]);
        else if (graph && graph->symbols.names[-1 - type->dims[i]])
            text = graph->symbols.names[-1 - type->dims[i]];
        used = put(buffer, buffer_bytes, used, i ? ", " : "");
        used = put(buffer, buffer_bytes, used, text);
    }
    put(buffer, buffer_bytes, used, "]");
    return buffer;
}
