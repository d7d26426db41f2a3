// engine/graph/rewrite.h: what simplification passes and rules share.
//
// A rule looks at one node (the root) and backwards from it, and either turns the root in place
// into a better node or says that its output is another value. Values keep their numbers, so
// nothing else has to be touched; what nobody reads any more goes away at the end of the round. Use
// counts grow during a round and never shrink, so "used once" errs on the safe side until the next
// round counts again. Only engine/graph includes this.
#ifndef WEIR_GRAPH_REWRITE_H
#define WEIR_GRAPH_REWRITE_H

#include "engine/graph/build.h"

typedef struct weir__rewrite {
    weir__graph_t *graph;
    weir__evaluate_fn evaluate;
    void *user;
    uint32_t *uses;      // [value_capacity] nodes and outputs that read the value
    uint32_t *instead;   // [value_capacity] the value to read instead; itself: no other
    uint8_t *is_output;  // [value_capacity] of the main graph
    uint8_t *left_alone; // [node_capacity] folding it failed or costs too much
    uint32_t value_capacity, node_capacity;
    uint64_t change_count;
    // What folding may still cost: in proportion to the constants of the file, so that a small file
    // takes little memory and time whatever the limits allow a large one.
    uint64_t fold_bytes_max, fold_work_left;
    bool last_phase; // rules that give up on better ones may run
} weir__rewrite_t;

// Makes room for values and nodes that were added. Called by those who add.
weir_status_t weir__rewrite_grow(weir__rewrite_t *rewrite);

// The value that stands for `value` now.
uint32_t weir__rewrite_resolve(const weir__rewrite_t *rewrite, uint32_t value);

// Input `input` of a node, resolved; WEIR__NONE when absent.
uint32_t weir__rewrite_input(
    const weir__rewrite_t *rewrite, const weir__node_t *node, uint32_t input);

// The node that makes `value` when it is of operator `op` (NULL: any), else NULL.
weir__node_t *weir__rewrite_producer(
    const weir__rewrite_t *rewrite, uint32_t value, const char *op);

static inline const weir__type_t *weir__rewrite_type(const weir__rewrite_t *rewrite, uint32_t value)
{
    return &rewrite->graph->values[value].type;
}

static inline bool weir__rewrite_is(const weir__node_t *node, const char *op)
{
    return __builtin_strcmp(node->op->name, op) == 0;
}

// Whether two types are equal, symbols included.
bool weir__type_equal(const weir__type_t *a, const weir__type_t *b);

// The constant behind a value when its bytes are there, or NULL.
const weir__tensor_t *weir__rewrite_constant(const weir__rewrite_t *rewrite, uint32_t value);

// Whether `value` is a constant of one float element; and which.
bool weir__rewrite_scalar(const weir__rewrite_t *rewrite, uint32_t value, double *out_number);

// Whether `value` is a float constant of one element equal to `number` up to 1e-6 of it.
bool weir__rewrite_is_number(const weir__rewrite_t *rewrite, uint32_t value, double number);

// For a commutative node: which input is what `value` says, and the other one. false: neither.
bool weir__rewrite_other(
    const weir__rewrite_t *rewrite, const weir__node_t *node, uint32_t value, uint32_t *out_other);

// Everyone reads `by` instead of `value`, the output of `node`. false: `value` has to stay, because
// it is an output of the model and nothing can produce it directly.
bool weir__rewrite_replace(
    weir__rewrite_t *rewrite, const weir__node_t *node, uint32_t value, uint32_t by);

// Turns node `number` in place into another operator. It takes over the origins of `absorbed`
// ([absorbed_count] nodes, NULL entries are skipped).
weir_status_t weir__rewrite_node(weir__rewrite_t *rewrite, uint32_t number, const char *op,
    const uint32_t *inputs, uint32_t input_count, const weir_attribute_t *attributes,
    uint32_t attribute_count, const weir__node_t *const *absorbed, uint32_t absorbed_count);

// A new node of one output in the region of node `root`, with its origins; its output gets `type`.
weir_status_t weir__rewrite_add(weir__rewrite_t *rewrite, uint32_t root, const char *op,
    const uint32_t *inputs, uint32_t input_count, const weir_attribute_t *attributes,
    uint32_t attribute_count, const weir__type_t *type, uint32_t *out_value);

// A new f32 constant; its memory is charged to fold_total_bytes and to be filled by the caller.
// NULL in *out_data without an error: over the folding limits, so leave the node as it is.
weir_status_t weir__rewrite_constant_new(weir__rewrite_t *rewrite, uint32_t rank,
    const int64_t *dims, uint32_t *out_value, float **out_data);

// A constant with the bytes of another one and other dims.
weir_status_t weir__rewrite_constant_view(weir__rewrite_t *rewrite, const weir__tensor_t *tensor,
    uint32_t rank, const int64_t *dims, uint32_t *out_value);

// Memory for a folded tensor; NULL without an error: over the limits.
weir_status_t weir__rewrite_fold_memory(
    weir__rewrite_t *rewrite, uint64_t bytes, void **out_memory);

// Counts one application of the rule `name`.
weir_status_t weir__rewrite_count(weir__rewrite_t *rewrite, const char *name);

// Passes.
weir_status_t weir__fold_constants(weir__rewrite_t *rewrite);  // fold.c
weir_status_t weir__inline_branches(weir__rewrite_t *rewrite); // branch.c
weir_status_t weir__share_common(weir__rewrite_t *rewrite);    // share.c
weir_status_t weir__remove_dead(weir__graph_t *graph);         // dead.c
weir_status_t weir__fill_attributes(weir__graph_t *graph);     // fill.c

// Rules. *out_done: the root was changed (or its output replaced).
typedef weir_status_t weir__rule_t(weir__rewrite_t *rewrite, uint32_t root, bool *out_done);
weir__rule_t weir__rule_no_op, weir__rule_transposes, weir__rule_views,
    weir__rule_views_cancel; // rules_view.c
weir__rule_t weir__rule_conv_scale, weir__rule_conv_shift, weir__rule_conv_batch_norm,
    weir__rule_batch_norm_scale, weir__rule_batch_norm_shift,
    weir__rule_batch_norm_spelled; // rules_affine.c
weir__rule_t weir__rule_layer_norm, weir__rule_layer_norm_scale, weir__rule_layer_norm_shift,
    weir__rule_softmax_axis; // rules_norm.c
weir__rule_t weir__rule_attention, weir__rule_attention_inputs,
    weir__rule_attention_output; // rules_attention.c
weir__rule_t weir__rule_gelu, weir__rule_gelu_tanh, weir__rule_hard_sigmoid, weir__rule_hard_swish,
    weir__rule_relu, weir__rule_square, weir__rule_pow_cast; // rules_activation.c
weir__rule_t weir__rule_quant_cancel, weir__rule_quant_move, weir__rule_quant_conv,
    weir__rule_quant_conv_add, weir__rule_quant_matmul; // rules_quant.c

#endif
