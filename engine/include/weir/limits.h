// weir/limits.h: what a model may cost before it is refused.
//
// Every limit is charged before the memory is taken or the work is done. Exceeding one is
// WEIR_LIMIT and the message names the field. (peak_bytes: RESOURCE_EXHAUSTED, as when the machine
// has no more memory. The folding limits: no error, what would exceed them is left for the run.)
// 0 means the default of weir_limits_default().
#ifndef WEIR_LIMITS_H
#define WEIR_LIMITS_H

#include <weir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_limits {
    uint32_t size;             // sizeof(weir_limits_t)
    uint32_t rank;             // of any tensor; at most WEIR_RANK_MAX
    uint64_t file_bytes;       // of the model file
    uint64_t external_bytes;   // of all external data together
    uint64_t nodes;            // in all graphs of the model together
    uint64_t values;           // names of tensors, all graphs together
    uint64_t initializers;     // constants in the file
    uint64_t attributes;       // of one node
    uint64_t name_bytes;       // of any one name
    uint64_t tensor_bytes;     // of any one tensor
    uint64_t subgraph_depth;   // If in If in If …
    uint64_t wire_depth;       // nesting of messages in the file
    uint64_t fold_node_bytes;  // output of one node evaluated at load
    uint64_t fold_total_bytes; // outputs of all nodes evaluated at load
    uint64_t graph_bytes;      // memory for the graph itself, without weights
    uint64_t peak_bytes;       // memory of loading and planning in all
    uint64_t arena_bytes;      // of one session
    uint64_t load_ns;          // time a load may take
    uint64_t function_nodes;   // that calls of the file's functions put in place, all together
    uint64_t operands;         // inputs of a node or of the model; outputs likewise
} weir_limits_t;

// Fills `out_limits` with the defaults: generous for any model that fits this machine.
// Threads: any. Errors: none.
WEIR_API void weir_limits_default(weir_limits_t *out_limits);

#ifdef __cplusplus
}
#endif
#endif
