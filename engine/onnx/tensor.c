// engine/onnx/tensor.c: TensorProto -> constant, and the types of ValueInfoProto.
//
// Bytes that lie in the file as memory wants them (raw_data, or one packed run of floats) stay
// there; what is encoded number by number is decoded into the graph's zone. dims and dtype must
// account for exactly the elements that the file gives: nothing is filled in and nothing is left
// over.
#include "engine/onnx/proto.h"

#include "engine/base/boolean.h"
#include "engine/base/hash.h"
#include "engine/base/size.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw_data is used where it lies");

static const struct {
    weir_dtype_t dtype; // 0: weir has none
    uint32_t field;     // the field that holds its elements when raw_data does not
    const char *name;
} types[] = {
    [0] = {0, 0, "UNDEFINED"},
    [1] = {WEIR_F32, 4, "FLOAT"},
    [2] = {WEIR_U8, 5, "UINT8"},
    [3] = {WEIR_I8, 5, "INT8"},
    [4] = {WEIR_U16, 5, "UINT16"},
    [5] = {WEIR_I16, 5, "INT16"},
    [6] = {WEIR_I32, 5, "INT32"},
    [7] = {WEIR_I64, 7, "INT64"},
    [8] = {0, 0, "STRING"},
    [9] = {WEIR_BOOL, 5, "BOOL"},
    [10] = {WEIR_F16, 5, "FLOAT16"},
    [11] = {WEIR_F64, 10, "DOUBLE"},
    [12] = {WEIR_U32, 11, "UINT32"},
    [13] = {WEIR_U64, 11, "UINT64"},
    [14] = {0, 0, "COMPLEX64"},
    [15] = {0, 0, "COMPLEX128"},
    [16] = {WEIR_BF16, 5, "BFLOAT16"},
    [17] = {0, 0, "FLOAT8E4M3FN"},
    [18] = {0, 0, "FLOAT8E4M3FNUZ"},
    [19] = {0, 0, "FLOAT8E5M2"},
    [20] = {0, 0, "FLOAT8E5M2FNUZ"},
    [21] = {0, 0, "UINT4"},
    [22] = {0, 0, "INT4"},
    [23] = {0, 0, "FLOAT4E2M1"},
    [24] = {0, 0, "FLOAT8E8M0"},
    [25] = {0, 0, "UINT2"},
    [26] = {0, 0, "INT2"},
};
#define TYPE_COUNT ((int64_t)(sizeof types / sizeof types[0]))

weir_status_t weir__onnx_dtype(int64_t onnx_type, weir_dtype_t *out_dtype)
{
    if (onnx_type <= 0 || onnx_type >= TYPE_COUNT)
        return WEIR_ERR(onnx_type > 0 ? WEIR_UNSUPPORTED : WEIR_INVALID_ARGUMENT,
            "element type %" PRId64 " is not one that weir knows", onnx_type);
    *out_dtype = types[onnx_type].dtype;
    if (*out_dtype)
        return NULL;
    return WEIR_ERR(WEIR_UNSUPPORTED,
        "element type %s is not supported: convert the tensor to a float or integer type",
        types[onnx_type].name);
}

// ---- TensorProto -----------------------------------------------------------------------------

typedef struct tensor {
    const char *name;
    int64_t dims[WEIR_RANK_MAX];
    uint32_t rank;
    int64_t type;
    bool has_raw, is_external;
    weir__span_t raw;
    uint64_t counts[12];     // elements by field: 4, 5, 7, 10, 11
    uint64_t runs[12];       // pieces that they come in; a number that is not packed counts as two
    weir__span_t packed[12]; // the last packed piece
    const char *location;
    uint64_t offset, length;
    bool has_length;
} tensor_t;

static weir__wire_type_t field_wire_type(uint32_t number)
{
    return number == 4 ? WEIR__WIRE_FIXED32 : number == 10 ? WEIR__WIRE_FIXED64 : WEIR__WIRE_VARINT;
}

static weir_status_t read_dims(const weir__onnx_context_t *context, const weir__wire_t *wire,
    const weir__wire_field_t *field, tensor_t *tensor)
{
    uint64_t more;
    WEIR_TRY(weir__wire_count(wire, field, WEIR__WIRE_VARINT, &more));
    uint32_t most = WEIR_MIN(context->limits->rank, (uint32_t)WEIR_RANK_MAX);
    if (more > most - WEIR_MIN(tensor->rank, most))
        return WEIR_ERR(WEIR_LIMIT,
            "%s at byte %" PRIu64 " has more dims than the limit rank (%u) allows", wire->message,
            wire->span.offset, most);
    WEIR_TRY(weir__wire_numbers(wire, field, (uint64_t *)&tensor->dims[tensor->rank], more));
    tensor->rank += (uint32_t)more;
    return NULL;
}

static weir_status_t read_size(const char *key, const char *text, uint64_t *out_value)
{
    uint64_t value = 0;
    for (const char *c = text; *c; c++)
        if (*c < '0' || *c > '9' || !weir__mul_u64(value, 10, &value) ||
            !weir__add_u64(value, (uint64_t)(*c - '0'), &value))
            return WEIR_ERR(
                WEIR_INVALID_ARGUMENT, "external data: %s \"%s\" is not a size", key, text);
    *out_value = value;
    return NULL;
}

// One StringStringEntryProto of external_data.
static weir_status_t read_external(
    const weir__onnx_context_t *context, weir__span_t span, tensor_t *tensor)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    const char *key = "", *value = "";
    WEIR_TRY(weir__wire_open(&wire, span, "StringStringEntryProto", context->limits));
    for (;;) {
        WEIR_TRY(weir__wire_next(&wire, &field));
        if (!field.number)
            break;
        if (field.number == 1)
            WEIR_TRY(weir__onnx_text(context, &wire, &field, &key));
        else if (field.number == 2)
            WEIR_TRY(weir__onnx_text(context, &wire, &field, &value));
    }
    if (strcmp(key, "location") == 0)
        tensor->location = value;
    else if (strcmp(key, "offset") == 0)
        return read_size(key, value, &tensor->offset);
    else if (strcmp(key, "length") == 0) {
        tensor->has_length = true;
        return read_size(key, value, &tensor->length);
    }
    return NULL;
}

static weir_status_t read_field(const weir__onnx_context_t *context, const weir__wire_t *wire,
    const weir__wire_field_t *field, tensor_t *tensor)
{
    uint64_t count;
    switch (field->number) {
    case 1:
        return read_dims(context, wire, field, tensor);
    case 2:
        WEIR_TRY(weir__wire_expect(wire, field, WEIR__WIRE_VARINT));
        tensor->type = (int64_t)field->value;
        return NULL;
    case 3:
        return WEIR_ERR(WEIR_UNSUPPORTED, "a tensor split into segments is not supported");
    case 4:
    case 5:
    case 7:
    case 10:
    case 11:
        WEIR_TRY(weir__wire_count(wire, field, field_wire_type(field->number), &count));
        tensor->counts[field->number] += count;
        tensor->runs[field->number] += field->type == WEIR__WIRE_BYTES ? 1 : 2;
        tensor->packed[field->number] = field->span;
        return NULL;
    case 8:
        return weir__onnx_text(context, wire, field, &tensor->name);
    case 9:
        WEIR_TRY(weir__wire_expect(wire, field, WEIR__WIRE_BYTES));
        tensor->has_raw = true;
        tensor->raw = field->span;
        return NULL;
    case 13:
        WEIR_TRY(weir__wire_expect(wire, field, WEIR__WIRE_BYTES));
        return read_external(context, field->span, tensor);
    case 14:
        WEIR_TRY(weir__wire_expect(wire, field, WEIR__WIRE_VARINT));
        tensor->is_external = field->value == 1;
        return NULL;
    default:
        return NULL;
    }
}

static weir_status_t read_tensor(
    const weir__onnx_context_t *context, weir__span_t span, tensor_t *tensor)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    *tensor = (tensor_t){.name = ""};
    WEIR_TRY(weir__wire_open(&wire, span, "TensorProto", context->limits));
    for (;;) {
        WEIR_TRY(weir__wire_next(&wire, &field));
        if (!field.number)
            return NULL;
        WEIR_TRY(read_field(context, &wire, &field, tensor));
    }
}

// One element as the file encodes it -> as it lies in memory.
static void store(void *data, uint64_t index, weir_dtype_t dtype, uint64_t bits)
{
    uint32_t bytes = weir_dtype_bytes(dtype);
    if (dtype == WEIR_BOOL)
        bits = bits != 0;
    memcpy((char *)data + index * bytes, &bits, bytes); // little-endian: the low bytes come first
}

// Decodes field `number` into `data`, which has room for exactly the elements counted before.
static weir_status_t decode(weir__span_t span, uint32_t number, weir_dtype_t dtype, void *data)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    uint64_t index = 0, bits;
    weir__wire_type_t type = field_wire_type(number);
    weir__wire_reopen(&wire, span, "TensorProto");
    while (weir__wire_again(&wire, &field)) {
        if (field.number != number)
            continue;
        if (field.type != WEIR__WIRE_BYTES) {
            store(data, index++, dtype, field.value);
            continue;
        }
        uint32_t width = type == WEIR__WIRE_FIXED32 ? 4 : 8;
        for (uint64_t at = 0; at < field.span.bytes;) {
            if (type == WEIR__WIRE_VARINT) {
                WEIR_TRY(weir__wire_varint(&wire, field.span, &at, &bits));
            } else {
                bits = 0;
                memcpy(&bits, field.span.data + at, width);
                at += width;
            }
            store(data, index++, dtype, bits);
        }
    }
    return NULL;
}

// Where the elements are, or a copy of them. *out_data NULL: external or empty.
static weir_status_t find_data(const weir__onnx_context_t *context, weir__span_t span,
    const tensor_t *tensor, weir_dtype_t dtype, const void **out_data)
{
    uint64_t count, bytes;
    *out_data = NULL;
    if (!weir__dims_count(tensor->dims, tensor->rank, &count) ||
        !weir__tensor_bytes(tensor->dims, tensor->rank, dtype, &bytes))
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "its dims are negative or too large");
    if (bytes > context->limits->tensor_bytes)
        return WEIR_ERR(WEIR_LIMIT,
            "it has %" PRIu64 " bytes, over the limit tensor_bytes (%" PRIu64 ")", bytes,
            context->limits->tensor_bytes);
    if (tensor->is_external) {
        if (!tensor->location || !tensor->location[0])
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "its external data has no location");
        if (tensor->has_length && tensor->length != bytes)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT,
                "its external data has %" PRIu64 " bytes, but dims and type need %" PRIu64,
                tensor->length, bytes);
        return NULL;
    }
    if (tensor->has_raw) {
        if (tensor->raw.bytes != bytes)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT,
                "its raw_data has %" PRIu64 " bytes, but dims and type need %" PRIu64,
                tensor->raw.bytes, bytes);
        *out_data = bytes ? tensor->raw.data : NULL;
        return dtype == WEIR_BOOL ? weir__boolean_check(tensor->raw.data, bytes) : NULL;
    }
    uint32_t field = types[tensor->type].field;
    if (tensor->counts[field] != count)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "it has %" PRIu64 " elements, but its dims need %" PRIu64, tensor->counts[field],
            count);
    if (!count)
        return NULL;
    if (tensor->runs[field] == 1 && (field == 4 || field == 10)) {
        *out_data = tensor->packed[field].data;
        return NULL;
    }
    const weir__zone_t *zone = &context->graph->zone;
    void *data = weir__zone_alloc(&context->graph->zone, bytes);
    if (!data && zone->limit_bytes && bytes > zone->limit_bytes - zone->used_bytes)
        return WEIR_ERR(WEIR_LIMIT,
            "its %" PRIu64
            " bytes, which the file encodes one by one, do not fit the limit graph_bytes "
            "(%" PRIu64 "): save the model with raw_data",
            bytes, zone->limit_bytes);
    if (!data)
        return weir__status_no_memory();
    *out_data = data;
    return decode(span, field, dtype, data);
}

static weir_status_t add_external(
    const weir__onnx_context_t *context, const tensor_t *tensor, uint32_t value)
{
    weir__zone_t *zone = &context->graph->zone;
    weir__external_t *external = weir__zone_alloc(zone, sizeof *external);
    char *location = weir__zone_string(zone, tensor->location, strlen(tensor->location));
    if (!external || !location)
        return weir__status_no_memory();
    // The graph's constants are const to everybody but the reader, which is making this one.
    weir__tensor_t *constant = (weir__tensor_t *)(uintptr_t)context->graph->values[value].constant;
    *external = (weir__external_t){
        .location = location, .offset = tensor->offset, .length = constant->bytes};
    constant->external = external;
    return NULL;
}

weir_status_t weir__onnx_tensor_read(
    const weir__onnx_context_t *context, weir__span_t span, const char *name, uint32_t *out_value)
{
    tensor_t tensor;
    weir_dtype_t dtype;
    const void *data = NULL;
    weir_status_t status = read_tensor(context, span, &tensor);
    const char *label = name ? name : tensor.name;
    if (!status && !label[0])
        status = WEIR_ERR(
            WEIR_INVALID_ARGUMENT, "the initialiser at byte %" PRIu64 " has no name", span.offset);
    if (!status)
        status = weir__onnx_dtype(tensor.type, &dtype);
    if (!status)
        status = find_data(context, span, &tensor, dtype, &data);
    if (!status)
        status = weir__graph_add_constant(
            context->graph, label, dtype, tensor.rank, tensor.dims, data, false, out_value);
    if (!status && tensor.is_external)
        status = add_external(context, &tensor, *out_value);
    return weir__status_prefix(status, "tensor %s", label);
}

// ---- ValueInfoProto --------------------------------------------------------------------------

// "?" stands in files for sizes that have nothing to do with one another; so do numbers below 1.
static weir_status_t read_dim(const weir__onnx_context_t *context, weir__span_t span,
    const char *value_name, uint32_t axis, int64_t *out_dim)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    const char *symbol = "";
    int64_t size = 0;
    WEIR_TRY(weir__wire_open(&wire, span, "TensorShapeProto.Dimension", context->limits));
    for (;;) {
        WEIR_TRY(weir__wire_next(&wire, &field));
        if (!field.number)
            break;
        if (field.number == 1) {
            WEIR_TRY(weir__wire_expect(&wire, &field, WEIR__WIRE_VARINT));
            size = (int64_t)field.value;
            symbol = "";
        } else if (field.number == 2) {
            WEIR_TRY(weir__onnx_text(context, &wire, &field, &symbol));
            size = 0;
        }
    }
    *out_dim = size;
    if (size > 0)
        return NULL;
    if (symbol[0] && strcmp(symbol, "?") != 0)
        return weir__graph_symbol(context->graph, symbol, 0, out_dim);
    uint64_t key = weir__hash64(value_name, strlen(value_name), 0x64696d00u + axis);
    return weir__graph_symbol(context->graph, NULL, key, out_dim);
}

static weir_status_t read_shape(const weir__onnx_context_t *context, weir__span_t span,
    const char *value_name, weir__type_t *type)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    uint32_t rank = 0, most = WEIR_MIN(context->limits->rank, (uint32_t)WEIR_RANK_MAX);
    WEIR_TRY(weir__wire_open(&wire, span, "TensorShapeProto", context->limits));
    for (;;) {
        WEIR_TRY(weir__wire_next(&wire, &field));
        if (!field.number)
            break;
        if (field.number != 1)
            continue;
        WEIR_TRY(weir__wire_expect(&wire, &field, WEIR__WIRE_BYTES));
        if (rank == most)
            return WEIR_ERR(WEIR_LIMIT, "it has more dims than the limit rank (%u) allows", most);
        WEIR_TRY(read_dim(context, field.span, value_name, rank, &type->dims[rank]));
        rank++;
    }
    type->rank = (int32_t)rank;
    return NULL;
}

static weir_status_t read_tensor_type(const weir__onnx_context_t *context, weir__span_t span,
    const char *value_name, weir__type_t *type)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    int64_t element = 0;
    WEIR_TRY(weir__wire_open(&wire, span, "TypeProto.Tensor", context->limits));
    for (;;) {
        WEIR_TRY(weir__wire_next(&wire, &field));
        if (!field.number)
            return weir__onnx_dtype(element, &type->dtype);
        if (field.number == 1) {
            WEIR_TRY(weir__wire_expect(&wire, &field, WEIR__WIRE_VARINT));
            element = (int64_t)field.value;
        } else if (field.number == 2) {
            WEIR_TRY(weir__wire_expect(&wire, &field, WEIR__WIRE_BYTES));
            WEIR_TRY(read_shape(context, field.span, value_name, type));
        }
    }
}

static weir_status_t read_type(const weir__onnx_context_t *context, weir__span_t span,
    const char *value_name, bool *out_has_type, weir__type_t *type)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    WEIR_TRY(weir__wire_open(&wire, span, "TypeProto", context->limits));
    for (;;) {
        WEIR_TRY(weir__wire_next(&wire, &field));
        const char *kind = field.number == 4   ? "sequence"
                           : field.number == 5 ? "map"
                           : field.number == 7 ? "opaque value"
                           : field.number == 8 ? "sparse tensor"
                           : field.number == 9 ? "optional"
                                               : NULL;
        if (!field.number)
            return NULL;
        if (kind)
            return WEIR_ERR(WEIR_UNSUPPORTED, "it is a %s; only tensors are supported", kind);
        if (field.number != 1)
            continue;
        WEIR_TRY(weir__wire_expect(&wire, &field, WEIR__WIRE_BYTES));
        *out_has_type = true;
        WEIR_TRY(read_tensor_type(context, field.span, value_name, type));
    }
}

weir_status_t weir__onnx_value_info_read(const weir__onnx_context_t *context, weir__span_t span,
    const char **out_name, bool *out_has_type, weir__type_t *out_type)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    weir__span_t type = {0};
    *out_name = "";
    *out_has_type = false;
    *out_type = (weir__type_t){.rank = -1};
    WEIR_TRY(weir__wire_open(&wire, span, "ValueInfoProto", context->limits));
    for (;;) {
        WEIR_TRY(weir__wire_next(&wire, &field));
        if (!field.number)
            break;
        if (field.number == 1) {
            WEIR_TRY(weir__onnx_text(context, &wire, &field, out_name));
        } else if (field.number == 2) {
            WEIR_TRY(weir__wire_expect(&wire, &field, WEIR__WIRE_BYTES));
            type = field.span;
        }
    }
    if (!(*out_name)[0])
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "the input or output at byte %" PRIu64 " of the file has no name", span.offset);
    if (!type.data)
        return NULL;
    return weir__status_prefix(
        read_type(context, type, *out_name, out_has_type, out_type), "%s", *out_name);
}
