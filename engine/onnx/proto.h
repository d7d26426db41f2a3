// engine/onnx/proto.h: messages of ONNX, read into plain structs.
//
// Each reader looks at one message and what is bound to be in it; graphs stay spans, which reader.c
// opens with a stack of its own. Text is copied (NUL-terminated) into the caller's zone; bulk data
// stays in the file. Field numbers are those of onnx.proto.
#ifndef WEIR_ONNX_PROTO_H
#define WEIR_ONNX_PROTO_H

#include "engine/graph/graph.h"
#include "engine/onnx/wire.h"

// AttributeProto.AttributeType
enum {
    WEIR__ONNX_FLOAT = 1,
    WEIR__ONNX_INT = 2,
    WEIR__ONNX_STRING = 3,
    WEIR__ONNX_TENSOR = 4,
    WEIR__ONNX_GRAPH = 5,
    WEIR__ONNX_FLOATS = 6,
    WEIR__ONNX_INTS = 7,
    WEIR__ONNX_STRINGS = 8,
};

typedef struct weir__onnx_attribute {
    const char *name;
    const char *
        reference; // ref_attr_name: the value is an attribute of the function's call; "": it is not
    uint32_t type;
    uint32_t count; // of ints, floats, strings
    int64_t i;
    float f;
    const char *s;
    int64_t *ints;
    float *floats;
    const char **strings;
    weir__span_t span; // of a tensor or graph
} weir__onnx_attribute_t;

typedef struct weir__onnx_node {
    const char *name, *op_type, *domain, *overload; // "" when absent; domain "ai.onnx" is ""
    const char **inputs, **outputs;                 // "": absent
    uint32_t input_count, output_count, attribute_count;
    weir__onnx_attribute_t *attributes;
} weir__onnx_node_t;

typedef struct weir__onnx_opset {
    const char *domain;
    int64_t version;
} weir__onnx_opset_t;

// What every reader needs: where text goes, and the limits.
typedef struct weir__onnx_context {
    weir__graph_t *graph;
    weir__zone_t *zone; // freed when the model is read
    const weir_limits_t *limits;
} weir__onnx_context_t;

// Memory of context->zone; NULL and a status (no memory, or LIMIT graph_bytes).
void *weir__onnx_alloc(
    const weir__onnx_context_t *context, uint64_t count, uint64_t bytes, weir_status_t *out_status);

// A name: no NUL in it, at most name_bytes.
weir_status_t weir__onnx_text(const weir__onnx_context_t *context, const weir__wire_t *wire,
    const weir__wire_field_t *field, const char **out_text);

weir_status_t weir__onnx_node_read(
    const weir__onnx_context_t *context, weir__span_t span, weir__onnx_node_t *out_node);

weir_status_t weir__onnx_attribute_read(
    const weir__onnx_context_t *context, weir__span_t span, weir__onnx_attribute_t *out_attribute);

// {domain, version} of OperatorSetIdProto; domain "ai.onnx" is "".
weir_status_t weir__onnx_opset_read(
    const weir__onnx_context_t *context, weir__span_t span, weir__onnx_opset_t *out_opset);

// Name and type of a ValueInfoProto. *out_has_type false: it has none. Symbols are made in the
// graph.
weir_status_t weir__onnx_value_info_read(const weir__onnx_context_t *context, weir__span_t span,
    const char **out_name, bool *out_has_type, weir__type_t *out_type);

// A TensorProto as a constant of the graph. name NULL: the tensor's own name.
weir_status_t weir__onnx_tensor_read(
    const weir__onnx_context_t *context, weir__span_t span, const char *name, uint32_t *out_value);

// weir's dtype of an ONNX TensorProto.DataType; UNSUPPORTED, with its name, when weir has none.
weir_status_t weir__onnx_dtype(int64_t onnx_type, weir_dtype_t *out_dtype);

#endif
