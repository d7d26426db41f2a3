// engine/onnx/onnx.h: bytes -> graph. The only part of weir that knows the ONNX file format.
//
// Every operator version becomes the one form of docs/operators.md; nothing after this knows
// opsets. The graph is not verified and has no types but those of inputs and constants:
// weir__graph_verify() and weir__graph_infer() come next.
#ifndef WEIR_ONNX_ONNX_H
#define WEIR_ONNX_ONNX_H

#include "engine/graph/graph.h"

// The versions of the default operator set that are understood.
#define WEIR__ONNX_OPSET_FIRST 7
#define WEIR__ONNX_OPSET_LAST 28

typedef struct weir__onnx_info {
    const char *producer; // "" when the file does not say; both live in the graph's zone
    const char *producer_version;
    int64_t ir_version;
    int64_t opset;            // of the default domain
    uint64_t file_node_count; // in all graphs of the file, Constant included, functions not
} weir__onnx_info_t;

// Reads a ModelProto into an empty graph.
// bytes:  must outlive the graph, or the constants must be moved: constants that the file holds as
// plain
//         bytes are pointers into it, of any alignment. Packed or converted ones lie in the graph's
//         zone. External ones have data NULL and `external` set.
// source_name: put before every message; the file's name.
// Errors: INVALID_ARGUMENT, UNSUPPORTED, LIMIT, RESOURCE_EXHAUSTED. The graph is then only good for
// freeing.
weir_status_t weir__onnx_read(const void *bytes, uint64_t byte_count, const char *source_name,
    weir__graph_t *graph, weir__onnx_info_t *out_info);

#endif
