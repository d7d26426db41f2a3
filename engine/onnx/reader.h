// engine/onnx/reader.h: what the files that walk a model share: the stack of graphs being read.
//
// A frame is one list of nodes being put into a region: the main graph, a branch of an If, or the
// body of a function at one call. Frames lie on a stack of their own, so that nesting in the file
// never becomes nesting of C calls. Frames and text live in the reader's zone until the model is
// read.
#ifndef WEIR_ONNX_READER_H
#define WEIR_ONNX_READER_H

#include "engine/onnx/normalise.h"
#include "engine/onnx/onnx.h"

// Operator sets that a model or a function may import.
#define WEIR__ONNX_IMPORTS_MAX 256

typedef struct weir__frame weir__frame_t;
struct weir__frame {
    weir__frame_t *below;
    const weir__frame_t
        *outer; // whose names are seen here, too; NULL for the main graph and functions
    weir__region_t *region;
    weir__map_t names;   // -> value, or WEIR__NONE for an argument that a call leaves out
    weir__map_t exports; // of a function: output -> the caller's value
    weir__onnx_node_t *nodes;
    uint32_t node_count, next;
    const weir__onnx_opset_t *opsets;
    uint32_t opset_count;
    const weir__onnx_attribute_t *actuals; // attributes of the function's call
    uint32_t actual_count;
    bool in_function;
    uint32_t call_depth;
    const char *prefix; // of origins: "" or "call/"
};

typedef struct weir__onnx_reader {
    weir__onnx_context_t context;
    weir__zone_t zone;
    weir__onnx_info_t *info;
    weir__dtype_hints_t hints;
    weir__frame_t *top;
    weir__map_t functions; // "domain\nname\noverload" -> index of function_spans
    weir__span_t *function_spans;
    uint32_t function_count;
    uint64_t node_count, initializer_count, function_node_count; // charged so far
} weir__onnx_reader_t;

// ---- scope.c -----------------------------------------------------------------------------------

// A new frame, not yet on the stack.
weir_status_t weir__frame_make(weir__onnx_reader_t *reader, weir__frame_t **out_frame);
void weir__frame_push(weir__onnx_reader_t *reader, weir__frame_t *frame);
void weir__frame_pop(weir__onnx_reader_t *reader);

// Reads a GraphProto's nodes, constants, inputs and outputs into a frame that is on the stack; its
// nodes are then processed one by one. is_main: its inputs become the model's.
weir_status_t weir__frame_open_graph(
    weir__onnx_reader_t *reader, weir__frame_t *frame, weir__span_t span, bool is_main);

// Reads field `number` of a message as nodes into frame->nodes (room was charged and made).
weir_status_t weir__frame_read_nodes(weir__onnx_reader_t *reader, weir__frame_t *frame,
    weir__span_t span, const char *message, uint32_t number, uint64_t count);

// Makes the values that the frame's nodes define.
weir_status_t weir__frame_declare(weir__onnx_reader_t *reader, weir__frame_t *frame);

weir_status_t weir__frame_bind(weir__frame_t *frame, const char *name, uint32_t value);
bool weir__frame_resolve(const weir__frame_t *frame, const char *name, uint32_t *out_value);

// The version of a domain that the frame imports; 0: none.
int64_t weir__frame_opset(const weir__frame_t *frame, const char *domain);

bool weir__is_constant_node(const weir__onnx_node_t *node);

// ---- call.c ------------------------------------------------------------------------------------

// Reads names of the model's functions.
weir_status_t weir__functions_index(weir__onnx_reader_t *reader);
// The function that a node calls, or NULL.
const weir__span_t *weir__function_find(weir__onnx_reader_t *reader, const weir__onnx_node_t *node);
// Pushes the body of a function in place of `node`.
weir_status_t weir__function_call(
    weir__onnx_reader_t *reader, weir__span_t function, const weir__norm_t *call);

#endif
