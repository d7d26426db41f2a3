// weir/model.h: a verified graph with its weights. Immutable and reference counted.
#ifndef WEIR_MODEL_H
#define WEIR_MODEL_H

#include <weir/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_model weir_model_t;

typedef struct weir_model_options {
    uint32_t size; // sizeof(weir_model_options_t)
    // 1: the graph as the file has it, only checked and normalised: no folding, no rewriting.
    uint32_t keep_as_is;
    // 1: the outputs are the values that nodes of the main graph make, in order of execution, and
    // what else the file declares as an output; for comparing devices node by node. With keep_as_is
    // they have their ONNX names.
    uint32_t all_outputs;
} weir_model_options_t;

// Reads, checks and simplifies an ONNX file. The file is read once: overwriting it later changes
// nothing. path:    external data is looked for in the file's folder only. options: NULL for the
// defaults. Owns:    *out_model is one reference, the caller's. Threads: any. Errors:  NOT_FOUND,
// LIMIT, INVALID_ARGUMENT (not a valid model: what and where), UNSUPPORTED (an operator,
//          opset or dtype that weir does not know), DATA_LOSS (the file changed while it was read).
WEIR_API WEIR_MUST_USE weir_status_t weir_model_load(weir_engine_t *engine, const char *path,
    const weir_model_options_t *options, weir_model_t **out_model);

// The same from memory, which is copied; external data is refused. Threads: any. Errors: as above.
WEIR_API WEIR_MUST_USE weir_status_t weir_model_load_bytes(weir_engine_t *engine, const void *bytes,
    size_t byte_count, const weir_model_options_t *options, weir_model_t **out_model);

// One more reference. Threads: any. Errors: none.
WEIR_API void weir_model_retain(weir_model_t *model);

// One reference less; NULL is allowed. Threads: any. Errors: none.
WEIR_API void weir_model_free(weir_model_t *model);

// An input or output as the model declares it.
typedef struct weir_port {
    const char *name;
    weir_dtype_t dtype;
    int32_t rank;                         // -1: not known before a run
    int64_t dims[WEIR_RANK_MAX];          // [rank]; -1: set by the input of a run
    const char *dim_names[WEIR_RANK_MAX]; // of a symbolic dim; NULL: it has none
} weir_port_t;

// Counts and descriptions of what goes in and comes out, in the order of weir_session_run().
// Owns: names live as long as the model. Threads: any. Errors: NOT_FOUND past the last one.
WEIR_API uint32_t weir_model_input_count(const weir_model_t *model);
// As above. Threads: any. Errors: none.
WEIR_API uint32_t weir_model_output_count(const weir_model_t *model);
// As above. Threads: any. Errors: NOT_FOUND.
WEIR_API WEIR_MUST_USE weir_status_t weir_model_input(
    const weir_model_t *model, uint32_t index, weir_port_t *out_port);
// As above. Threads: any. Errors: NOT_FOUND.
WEIR_API WEIR_MUST_USE weir_status_t weir_model_output(
    const weir_model_t *model, uint32_t index, weir_port_t *out_port);

// The node that makes an output.
typedef struct weir_producer {
    const char *op;     // "MatMul"
    const char *origin; // the ONNX node's name; "" when it has none
} weir_producer_t;

// What makes output `index`. Owns: names live as long as the model. Threads: any.
// Errors: NOT_FOUND past the last one, or for an output that is an input or a constant.
WEIR_API WEIR_MUST_USE weir_status_t weir_model_producer(
    const weir_model_t *model, uint32_t index, weir_producer_t *out_producer);

typedef struct weir_model_info {
    uint32_t size;        // sizeof(weir_model_info_t), set by the caller
    uint32_t from_cache;  // 1: the file itself was not read again
    const char *name;     // of the graph
    const char *producer; // "pytorch 2.1"
    char digest[40];      // XXH3-128 of the file (and its external data) in hex
    int64_t ir_version;
    int64_t opset;            // of the default domain
    uint64_t file_bytes;      // external data included
    uint64_t node_count;      // after simplification
    uint64_t file_node_count; // as the file had it
    uint64_t parameter_count; // elements of all constants
    uint64_t parameter_bytes;
    uint64_t folded_bytes; // of constants computed at load
    uint64_t load_ns;
} weir_model_info_t;

// Owns: strings live as long as the model. Threads: any. Errors: none.
WEIR_API void weir_model_describe(const weir_model_t *model, weir_model_info_t *out_info);

// How often an operator occurs after simplification, or how often a rewrite rule was applied.
typedef struct weir_tally {
    const char *name;
    uint64_t count;
} weir_tally_t;

// Entry `index` of the operators (rewrites) of a model, sorted by name; 0 past the last one,
// else 1. Owns: names live as long as the model. Threads: any. Errors: none.
WEIR_API int weir_model_operator(
    const weir_model_t *model, uint32_t index, weir_tally_t *out_tally);
// As above. Threads: any. Errors: none.
WEIR_API int weir_model_rewrite(const weir_model_t *model, uint32_t index, weir_tally_t *out_tally);

#ifdef __cplusplus
}
#endif
#endif
