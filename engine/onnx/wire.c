// engine/onnx/wire.c: see wire.h.
#include "engine/onnx/wire.h"

#include <inttypes.h>
#include <string.h>

#define VARINT_BYTES_MAX 10

weir_status_t weir__wire_open(
    weir__wire_t *wire, weir__span_t span, const char *message, const weir_limits_t *limits)
{
    if (span.depth > limits->wire_depth)
        return WEIR_ERR(WEIR_LIMIT,
            "%s at byte %" PRIu64 " lies %u messages deep, over the limit wire_depth (%" PRIu64 ")",
            message, span.offset, span.depth, limits->wire_depth);
    *wire = (weir__wire_t){.span = span, .message = message};
    return NULL;
}

weir_status_t weir__wire_varint(
    const weir__wire_t *wire, weir__span_t span, uint64_t *at, uint64_t *out_value)
{
    uint64_t value = 0;
    for (uint32_t i = 0;; i++) {
        if (*at + i >= span.bytes)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT,
                "%s: the varint at byte %" PRIu64
                " is cut off at the end of its message (byte %" PRIu64
                "): the file is damaged or incomplete",
                wire->message, span.offset + *at, span.offset + span.bytes);
        uint8_t byte = span.data[*at + i];
        // The tenth byte holds the one bit that is left of 64.
        if (i == VARINT_BYTES_MAX - 1 && byte > 1)
            break;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (!(byte & 0x80)) {
            *at += i + 1;
            *out_value = value;
            return NULL;
        }
    }
    return WEIR_ERR(WEIR_INVALID_ARGUMENT,
        "%s: the varint at byte %" PRIu64 " is longer than 64 bits: the file is damaged",
        wire->message, span.offset + *at);
}

static weir_status_t past_end(
    const weir__wire_t *wire, const weir__wire_field_t *field, uint64_t bytes)
{
    return WEIR_ERR(WEIR_INVALID_ARGUMENT,
        "%s: field %u at byte %" PRIu64 " has %" PRIu64
        " bytes, which run past the end of its message "
        "(byte %" PRIu64 "): the file is damaged or incomplete",
        wire->message, field->number, field->offset, bytes, wire->span.offset + wire->span.bytes);
}

static weir_status_t read_fixed(weir__wire_t *wire, weir__wire_field_t *field, uint32_t bytes)
{
    if (wire->span.bytes - wire->at < bytes)
        return past_end(wire, field, bytes);
    for (uint32_t i = 0; i < bytes; i++)
        field->value |= (uint64_t)wire->span.data[wire->at + i] << (8 * i);
    wire->at += bytes;
    return NULL;
}

static weir_status_t read_bytes(weir__wire_t *wire, weir__wire_field_t *field)
{
    uint64_t bytes;
    WEIR_TRY(weir__wire_varint(wire, wire->span, &wire->at, &bytes));
    if (bytes > wire->span.bytes - wire->at)
        return past_end(wire, field, bytes);
    field->span = (weir__span_t){
        .data = wire->span.data + wire->at,
        .bytes = bytes,
        .offset = wire->span.offset + wire->at,
        .depth = wire->span.depth + 1,
    };
    wire->at += bytes;
    return NULL;
}

weir_status_t weir__wire_next(weir__wire_t *wire, weir__wire_field_t *out_field)
{
    *out_field = (weir__wire_field_t){.offset = wire->span.offset + wire->at};
    if (wire->at == wire->span.bytes)
        return NULL;
    uint64_t tag;
    WEIR_TRY(weir__wire_varint(wire, wire->span, &wire->at, &tag));
    if (tag >> 3 == 0 || tag >> 3 > (1u << 29) - 1)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "%s: no field number at byte %" PRIu64 ": the file is damaged or is not an ONNX model",
            wire->message, out_field->offset);
    out_field->number = (uint32_t)(tag >> 3);
    out_field->type = (uint32_t)(tag & 7);
    switch (out_field->type) {
    case WEIR__WIRE_VARINT:
        return weir__wire_varint(wire, wire->span, &wire->at, &out_field->value);
    case WEIR__WIRE_FIXED64:
        return read_fixed(wire, out_field, 8);
    case WEIR__WIRE_BYTES:
        return read_bytes(wire, out_field);
    case WEIR__WIRE_FIXED32:
        return read_fixed(wire, out_field, 4);
    default:
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "%s: field %u at byte %" PRIu64 " has wire type %u, which ONNX does not use: the file "
            "is damaged or is not an ONNX model",
            wire->message, out_field->number, out_field->offset, out_field->type);
    }
}

void weir__wire_reopen(weir__wire_t *wire, weir__span_t span, const char *message)
{
    *wire = (weir__wire_t){.span = span, .message = message};
}

bool weir__wire_again(weir__wire_t *wire, weir__wire_field_t *out_field)
{
    weir_status_t status = weir__wire_next(wire, out_field);
    weir_status_free(status);
    return !status && out_field->number;
}

weir_status_t weir__wire_expect(
    const weir__wire_t *wire, const weir__wire_field_t *field, weir__wire_type_t type)
{
    if (field->type == (uint32_t)type)
        return NULL;
    return WEIR_ERR(WEIR_INVALID_ARGUMENT,
        "%s: field %u at byte %" PRIu64
        " has wire type %u instead of %u: the file is damaged or is not an ONNX model",
        wire->message, field->number, field->offset, field->type, (unsigned)type);
}

weir_status_t weir__wire_count(const weir__wire_t *wire, const weir__wire_field_t *field,
    weir__wire_type_t type, uint64_t *out_count)
{
    *out_count = 1;
    if (field->type != WEIR__WIRE_BYTES)
        return weir__wire_expect(wire, field, type);
    const weir__span_t *span = &field->span;
    uint64_t width = type == WEIR__WIRE_FIXED32 ? 4 : 8, count = 0;
    if (type == WEIR__WIRE_VARINT) {
        for (uint64_t i = 0; i < span->bytes; i++)
            count += !(span->data[i] & 0x80);
        *out_count = count;
        if (!span->bytes || !(span->data[span->bytes - 1] & 0x80))
            return NULL;
    } else {
        *out_count = span->bytes / width;
        if (span->bytes % width == 0)
            return NULL;
    }
    return WEIR_ERR(WEIR_INVALID_ARGUMENT,
        "%s: the packed numbers of field %u at byte %" PRIu64
        " end in the middle of one: the file is damaged",
        wire->message, field->number, field->offset);
}

weir_status_t weir__wire_numbers(const weir__wire_t *wire, const weir__wire_field_t *field,
    uint64_t *out_numbers, uint64_t count)
{
    uint64_t at = 0;
    if (field->type != WEIR__WIRE_BYTES) {
        out_numbers[0] = field->value;
        return NULL;
    }
    for (uint64_t i = 0; i < count; i++)
        WEIR_TRY(weir__wire_varint(wire, field->span, &at, &out_numbers[i]));
    return NULL;
}
