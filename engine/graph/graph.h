// engine/graph/graph.h: the intermediate representation: values, nodes, regions.
//
// One table of values and one of nodes for the whole model; a region (the main graph, a branch of
// an If) is an ordered list of nodes over them, so a branch refers to a value of its surroundings
// by its number. Values have exactly one producer (SSA). Everything lives in the graph's zone:
// rewriting leaves garbage behind and frees nothing; the zone's limit bounds it. Nothing here knows
// ONNX, devices or plugins. Not thread-safe while it is built; immutable afterwards.
#ifndef WEIR_GRAPH_GRAPH_H
#define WEIR_GRAPH_GRAPH_H

#include "engine/base/map.h"
#include "engine/base/status.h"
#include "engine/base/zone.h"
#include <stdbool.h>
#include <weir/limits.h>

#define WEIR__NONE UINT32_MAX // no value, no node

// ---- Types -----------------------------------------------------------------------------------

// rank -1: unknown. dims[i] >= 0: that size; dims[i] < 0: symbol number -1 - dims[i]. Equal symbols
// are equal sizes; nothing is known of different ones.
typedef struct weir__type {
    weir_dtype_t dtype; // 0: not known yet
    int32_t rank;
    int64_t dims[WEIR_RANK_MAX];
} weir__type_t;

// Where a constant's bytes lie when they are not in the model file.
typedef struct weir__external {
    const char *location; // relative to the model's folder, as the file says
    uint64_t offset;
    uint64_t length;
} weir__external_t;

// A constant, row-major. bytes == count * sizeof(dtype).
typedef struct weir__tensor {
    weir_dtype_t dtype;
    uint32_t rank;
    const int64_t *dims; // [rank], all >= 0
    uint64_t count;
    uint64_t bytes;
    const void *data; // NULL only while `external` is not loaded yet, or when count is 0
    const weir__external_t *external; // NULL: none
    // Where in the model the bytes came from, so that they are known without being read: equal
    // origins of one model (files and all) are equal bytes. 0: not known. Whoever changes bytes
    // makes a new tensor.
    uint64_t origin;
} weir__tensor_t;

// A small integer vector or scalar of which some elements are symbols: how sizes travel through
// Shape -> Gather -> Concat -> Reshape while dims are symbolic.
#define WEIR__SHAPE_VALUE_MAX 32
typedef struct weir__shape_value {
    uint32_t count;       // elements (1 for a scalar)
    uint32_t symbol_mask; // bit i: element i is a symbol, encoded as in weir__type_t
    int64_t elements[WEIR__SHAPE_VALUE_MAX];
} weir__shape_value_t;

// ---- Operators -------------------------------------------------------------------------------

typedef struct weir__infer weir__infer_t;
typedef struct weir__graph weir__graph_t;

#define WEIR__OP_ELEMENTWISE 1u // is one expression instruction (`opcode`)
#define WEIR__OP_VIEW 2u        // output 0 is input 0's bytes under another shape
#define WEIR__OP_DIMS_ONLY 4u   // reads only the dims of its input (Shape, Size)
#define WEIR__OP_REGIONS 8u     // has regions (If)
#define WEIR__OP_COMMUTATIVE 16u
#define WEIR__OP_CUSTOM 32u // comes from an op source; nothing but a device can run it

// One operator of docs/operators.md, or of an op source.
typedef struct weir__op {
    const char *name;
    uint16_t revision;
    uint16_t min_inputs, max_inputs; // max UINT16_MAX: variadic
    uint16_t min_outputs, max_outputs;
    uint16_t flags;        // WEIR__OP_*
    weir_opcode_t opcode;  // of elementwise operators
    uint32_t value_inputs; // bit i: the output's shape depends on the value of input i
    weir_status_t (*infer)(weir__infer_t *infer); // shapes; the next three tell the dtypes
    weir_dtype_t dtypes;                          // what input 0 may be
    uint32_t same_dtype;                          // bit i: input i has input 0's dtype
    uint32_t result;                              // WEIR__RESULT_*: the outputs' dtype
    const weir_attribute_t *attributes; // of a custom one: all that it has, with their defaults
    uint32_t attribute_count;
    const void *user; // of a custom one: what its rule needs
} weir__op_t;

#define WEIR__RESULT_SAME 0u   // input 0's
#define WEIR__RESULT_SECOND 1u // input 1's
#define WEIR__RESULT_BOOL 2u
#define WEIR__RESULT_I64 3u
#define WEIR__RESULT_TO 4u   // the attribute `to`
#define WEIR__RESULT_RULE 5u // the rule sets it

// The operator `name` of that revision, or NULL.
const weir__op_t *weir__op_find(const char *name, uint16_t revision);
// All operators: op i for i < count.
const weir__op_t *weir__op_table(uint32_t *out_count);

// ---- The graph -------------------------------------------------------------------------------

typedef struct weir__region weir__region_t;

typedef struct weir__node {
    const weir__op_t *op;
    const weir_attribute_t *attributes; // defaults filled in
    uint32_t attribute_count;
    uint32_t input_count;
    uint32_t output_count;
    uint32_t region_count;
    uint32_t *inputs;  // [input_count] value numbers; WEIR__NONE: an optional one that is absent
    uint32_t *outputs; // [output_count]; WEIR__NONE: not wanted
    weir__region_t **regions; // If: then, else
    const char **origins;     // [origin_count] names of the ONNX nodes it stands for
    uint32_t origin_count;
    weir__region_t *region; // the one that it is in
} weir__node_t;

typedef struct weir__value {
    const char *name; // of the file; made up and unique for values that rewriting adds
    weir__type_t type;
    const weir__tensor_t *constant;   // NULL: not a constant
    const weir__shape_value_t *shape; // NULL: nothing is known of its contents
    uint32_t producer;                // node number; WEIR__NONE: input or constant
    uint32_t producer_output;
} weir__value_t;

struct weir__region {
    weir__region_t *parent; // NULL: the main graph
    uint32_t *nodes;        // in topological order (after weir__graph_verify)
    uint32_t node_count, node_capacity;
    uint32_t *inputs; // of the main graph; branches of If have none
    uint32_t input_count, input_capacity;
    uint32_t *outputs;
    uint32_t output_count, output_capacity;
};

// Where a symbol stands first among the inputs of the model: in input `input`, dim `axis`.
typedef struct weir__symbol_place {
    uint32_t input; // WEIR__NONE: in none
    int32_t axis;
} weir__symbol_place_t;

typedef struct weir__symbols {
    const char **names;  // [count]; NULL: made up
    uint64_t *keys;      // [count]: what made it; equal keys are the same symbol
    int64_t (*parts)[2]; // [count]: the symbols whose broadcast it is; zeros: it is none
    uint32_t count, capacity;
    uint32_t *slots; // a hash table over keys: number + 1, 0: free
    uint32_t slot_count;
    const weir__symbol_place_t *places; // [place_count]; younger symbols are in no input
    uint32_t place_count;
} weir__symbols_t;

// How often each rewrite rule was applied. Filled by weir__graph_simplify().
typedef struct weir__rewrite_tally {
    const char *name;
    uint64_t count;
} weir__rewrite_tally_t;

// Where operators of other domains than ONNX's come from. find NULL: there are none.
typedef struct weir__op_source {
    void *user;
    // The operator domain::name in its newest revision not above `version`. It lives as long as the
    // graph; asked again, it is the same. UNSUPPORTED says what to do.
    weir_status_t (*find)(void *user, weir__graph_t *graph, const char *domain, const char *name,
        int64_t version, const weir__op_t **out_op);
} weir__op_source_t;

struct weir__graph {
    weir__zone_t zone;
    weir__zone_t fold_zone; // contents of constants that folding made; bounded by fold_total_bytes
    weir__heap_t *heap;
    weir_limits_t limits;
    weir__value_t *values;
    uint32_t value_count, value_capacity;
    weir__node_t *nodes;
    uint32_t node_count, node_capacity; // nodes ever made; those in use are in regions
    weir__region_t main;
    weir__symbols_t symbols;
    const char *name;
    weir__rewrite_tally_t *rewrites;
    uint32_t rewrite_count;
    uint64_t folded_bytes;
    weir__op_source_t op_source;
};

// limits: every field set. The graph charges limits->graph_bytes, nodes, values, name_bytes.
weir_status_t weir__graph_create(
    weir__heap_t *heap, const weir_limits_t *limits, weir__graph_t **out_graph);
void weir__graph_free(weir__graph_t *graph); // NULL is allowed

// Building. Names are copied. The new number is written to out_*. name NULL: one is made up; such
// values and nodes without an origin are the engine's own and not charged to limits.values and
// limits.nodes.
weir_status_t weir__graph_add_value(weir__graph_t *graph, const char *name, uint32_t *out_value);
// Makes a node and puts it at the end of `region`; inputs, outputs and attributes are copied
// (attribute contents too); outputs' producers are set. A value that has a producer already is
// INVALID_ARGUMENT.
weir_status_t weir__graph_add_node(weir__graph_t *graph, weir__region_t *region,
    const weir__op_t *op, const uint32_t *inputs, uint32_t input_count, const uint32_t *outputs,
    uint32_t output_count, const weir_attribute_t *attributes, uint32_t attribute_count,
    const char *origin, uint32_t *out_node);
weir_status_t weir__graph_add_region(
    weir__graph_t *graph, weir__region_t *parent, weir__region_t **out_region);
weir_status_t weir__graph_add_input(weir__graph_t *graph, uint32_t value);
weir_status_t weir__graph_add_output(weir__graph_t *graph, weir__region_t *region, uint32_t value);
// A constant value with a copy of dims; data is borrowed unless copy is set (then in the zone).
weir_status_t weir__graph_add_constant(weir__graph_t *graph, const char *name, weir_dtype_t dtype,
    uint32_t rank, const int64_t *dims, const void *data, bool copy, uint32_t *out_value);
// The symbol of that name (made when new), encoded as a dim. name NULL: the symbol of `key`, so
// that the same computation on the same sizes gives the same symbol.
weir_status_t weir__graph_symbol(
    weir__graph_t *graph, const char *name, uint64_t key, int64_t *out_dim);

// Fills in symbols.places, once the inputs are there.
weir_status_t weir__graph_place_symbols(weir__graph_t *graph);

// The attribute of a node, or NULL; and its value with a default.
const weir_attribute_t *weir__node_attribute(const weir__node_t *node, const char *name);
int64_t weir__node_int(const weir__node_t *node, const char *name, int64_t otherwise);
// "node Conv_3+Relu_4 (Conv)", for messages; cut to fit.
const char *weir__node_label(const weir__node_t *node, char *buffer, size_t buffer_bytes);

// The type of a constant.
weir__type_t weir__type_of_tensor(const weir__tensor_t *tensor);
// The contents of a small i32 or i64 constant of rank 0 or 1 as a shape value; false: it is none.
bool weir__shape_of_tensor(const weir__tensor_t *tensor, weir__shape_value_t *out_shape);
// "f32 [batch, 3, 224, 224]", for messages; graph NULL: symbols print as "?". Cut to fit.
const char *weir__type_text(
    const weir__graph_t *graph, const weir__type_t *type, char *buffer, size_t buffer_bytes);
const char *weir__dtype_name(weir_dtype_t dtype); // "f32"; "?" for what is no dtype

// ---- Passes, in the order in which a load makes them -------------------------------------------

// Checks what no device may have to check again: operators known, input and output counts, every
// value has one producer or is an input or a constant, is visible where it is used, no cycles,
// outputs exist, constants' sizes add up. Sorts each region topologically. Errors name the node and
// the value.
weir_status_t weir__graph_verify(weir__graph_t *graph);

// Fills in types and shape values from the inputs' types and the constants.
weir_status_t weir__graph_infer(weir__graph_t *graph);

// Evaluates one node on host memory: tensors of `inputs` (NULL: absent), outputs[i].data is memory
// of the right size, types are inferred. The error names nothing; the caller adds the node.
typedef weir_status_t (*weir__evaluate_fn)(void *user, const weir__node_t *node,
    const weir__tensor_t *const *inputs, const weir__tensor_t *outputs);

// Folds constants within limits (fold_node_bytes: an oversized node is left alone when it has no
// consequences for shapes; fold_total_bytes likewise), inlines If with a constant condition,
// removes what nobody reads, and canonicalises by dataflow until nothing changes; types stay
// inferred.
weir_status_t weir__graph_simplify(weir__graph_t *graph, weir__evaluate_fn evaluate, void *user);

// ---- Inference of one node (also used when a run meets new sizes) ------------------------------

struct weir__infer {
    const weir__node_t *node;
    uint32_t input_count, output_count;
    const weir__type_t *const *inputs;   // [input_count]; NULL: absent
    const weir__tensor_t *const *values; // [input_count]; NULL entries: value not known
    const weir__shape_value_t *const
        *shapes;           // [input_count], counts > 0; NULL entries or NULL array: not known
    weir__type_t *outputs; // [output_count], zeroed by weir__infer_node
    weir__shape_value_t *out_shapes; // [output_count] or NULL: not wanted; count 0: not known
    weir__graph_t *graph;            // for symbols; NULL: all dims are concrete
    const weir__type_t *const *region_outputs[2]; // If: types of each branch's outputs
};

// Infers dtype and shape of every output, and checks attributes, dtypes, ranks and dims that the
// operator relates: after it returns OK with concrete dims (and the values that value_inputs
// names), a kernel may rely on all of it. Wraps the operator's rule: an input of unknown rank gives
// outputs of unknown rank. With graph == NULL a size that cannot be told is an INVALID_ARGUMENT
// error. Errors begin with the node's label. Allocates nothing on success when graph == NULL.
weir_status_t weir__infer_node(weir__infer_t *infer);

// The result of numpy broadcasting; symbols as far as they tell. key: for symbols made here.
weir_status_t weir__infer_broadcast(
    weir__graph_t *graph, const weir__type_t *a, const weir__type_t *b, weir__type_t *out_type);

#endif
