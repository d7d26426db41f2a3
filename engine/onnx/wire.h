// engine/onnx/wire.h: a bounded reader of the protobuf wire format.
//
// It walks the fields of one message at a time and never descends by itself: a nested message is a
// span that the caller opens, with its depth counted. It copies nothing and allocates nothing;
// spans point into the file's bytes. It knows no message of ONNX. Format:
// https://protobuf.dev/programming-guides/encoding/
#ifndef WEIR_ONNX_WIRE_H
#define WEIR_ONNX_WIRE_H

#include "engine/base/status.h"
#include <stdbool.h>
#include <weir/limits.h>

// A piece of the file. offset: where it begins in the file, for messages.
typedef struct weir__span {
    const uint8_t *data;
    uint64_t bytes;
    uint64_t offset;
    uint32_t depth; // messages around it
} weir__span_t;

typedef enum weir__wire_type {
    WEIR__WIRE_VARINT = 0,
    WEIR__WIRE_FIXED64 = 1,
    WEIR__WIRE_BYTES = 2,
    WEIR__WIRE_FIXED32 = 5,
} weir__wire_type_t;

typedef struct weir__wire {
    weir__span_t span;
    uint64_t at; // in the span
    const char *message;
} weir__wire_t;

// number 0: the message has ended. value: of VARINT, FIXED32 and FIXED64; span: of BYTES.
typedef struct weir__wire_field {
    uint32_t number;
    uint32_t type;
    uint64_t offset;
    uint64_t value;
    weir__span_t span;
} weir__wire_field_t;

// message: the name of the message type, for errors. Errors: LIMIT (wire_depth).
weir_status_t weir__wire_open(
    weir__wire_t *wire, weir__span_t span, const char *message, const weir_limits_t *limits);

// The next field. Errors: INVALID_ARGUMENT, naming message, field and byte offset.
weir_status_t weir__wire_next(weir__wire_t *wire, weir__wire_field_t *out_field);

// For another walk over a message that weir__wire_next() has walked to its end: nothing is checked
// twice. false: the message has ended.
void weir__wire_reopen(weir__wire_t *wire, weir__span_t span, const char *message);
bool weir__wire_again(weir__wire_t *wire, weir__wire_field_t *out_field);

// Refuses a field of another wire type.
weir_status_t weir__wire_expect(
    const weir__wire_t *wire, const weir__wire_field_t *field, weir__wire_type_t type);

// How many numbers a repeated field holds here: one, or as many as are packed in it. type: of one
// number.
weir_status_t weir__wire_count(const weir__wire_t *wire, const weir__wire_field_t *field,
    weir__wire_type_t type, uint64_t *out_count);

// Writes those numbers, varints; call weir__wire_count() first. Errors: INVALID_ARGUMENT, one is
// longer than 64 bits.
weir_status_t weir__wire_numbers(const weir__wire_t *wire, const weir__wire_field_t *field,
    uint64_t *out_numbers, uint64_t count);

// One varint out of a packed field: advances *at. Errors: INVALID_ARGUMENT.
weir_status_t weir__wire_varint(
    const weir__wire_t *wire, weir__span_t span, uint64_t *at, uint64_t *out_value);

#endif
