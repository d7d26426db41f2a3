// engine/onnx/normalise.h: one node of any ONNX version -> nodes of docs/operators.md.
//
// normalise_table.c says, for each operator and range of opsets, which operator it becomes, which
// attributes it has and their defaults, and the rule that makes it when names and attributes are
// not all.
#ifndef WEIR_ONNX_NORMALISE_H
#define WEIR_ONNX_NORMALISE_H

#include "engine/onnx/proto.h"

// What is known of dtypes before inference: a hint for the few rules that must make a constant of
// the dtype of an input. Indexed by value; 0: not known.
typedef struct weir__dtype_hints {
    weir_dtype_t *dtypes;
    uint32_t capacity;
} weir__dtype_hints_t;

typedef struct weir__norm {
    const weir__onnx_context_t *context;
    weir__dtype_hints_t *hints;
    weir__region_t *region;
    const weir__onnx_node_t *node;
    const char *origin;
    int64_t opset;
    const uint32_t *inputs; // values; WEIR__NONE: absent. Absent ones at the end are left out
    uint32_t input_count;
    const uint32_t *outputs;
    uint32_t output_count;
} weir__norm_t;

typedef enum weir__norm_kind {
    WEIR__NORM_CARRY,    // the file's value, else the default
    WEIR__NORM_REQUIRED, // the file's value; without one the node is refused
    WEIR__NORM_FIXED,    // the default, whatever the file says: the file has no such attribute
    WEIR__NORM_DROP,     // may be there and means nothing to inference, or the rule reads it
} weir__norm_kind_t;

// An attribute of a table row. type: WEIR_ATTR_*.
typedef struct weir__norm_attribute {
    const char *name;
    uint32_t type;
    weir__norm_kind_t kind;
    int64_t i;
    float f;
    const char *s;
} weir__norm_attribute_t;

typedef struct weir__norm_row weir__norm_row_t;
struct weir__norm_row {
    const char *name;
    int16_t first, last; // opsets
    const char *target;  // the operator of docs/operators.md
    const weir__norm_attribute_t *attributes;
    uint32_t attribute_count;
    weir_status_t (*rule)(const weir__norm_t *norm, const weir__norm_row_t *row); // NULL: as it is
};

const weir__norm_row_t *weir__norm_table(uint32_t *out_count);

// Puts the node into its region. Errors: UNSUPPORTED (an operator or a use of it that weir does not
// know), INVALID_ARGUMENT. They do not name the node: the caller does.
weir_status_t weir__norm_apply(const weir__norm_t *norm);

// The same for a node of a domain that ONNX does not define.
weir_status_t weir__norm_custom(const weir__norm_t *norm);

// The dtype of a value as far as it is known.
weir_dtype_t weir__norm_hint(const weir__norm_t *norm, uint32_t value);

// ---- For rules -------------------------------------------------------------------------------

#define WEIR__NORM_ATTRIBUTES_MAX 16

// The value that the file gives an attribute, checked against the type that it must have.
weir_status_t weir__norm_value(const char *name, uint32_t type,
    const weir__onnx_attribute_t *attribute, weir_attribute_t *out_attribute);
// The file's attribute, or NULL.
const weir__onnx_attribute_t *weir__norm_find(const weir__norm_t *norm, const char *name);
// Attributes of the row: checked, defaults filled in. out: [WEIR__NORM_ATTRIBUTES_MAX].
weir_status_t weir__norm_attributes(const weir__norm_t *norm, const weir__norm_row_t *row,
    weir_attribute_t *out_attributes, uint32_t *out_count);
// The i-th input, or WEIR__NONE.
uint32_t weir__norm_input(const weir__norm_t *norm, uint32_t index);
// The constant behind a value, with its bytes there, or NULL.
const weir__tensor_t *weir__norm_constant(const weir__norm_t *norm, uint32_t value);

// New constants. ints: a vector, or a scalar when rank is 0.
weir_status_t weir__norm_ints(const weir__norm_t *norm, uint32_t rank, const int64_t *values,
    uint64_t count, uint32_t *out_value);
weir_status_t weir__norm_floats(
    const weir__norm_t *norm, const float *values, uint64_t count, uint32_t *out_value);
// A scalar of a float dtype (dtype 0: f32).
weir_status_t weir__norm_scalar(
    const weir__norm_t *norm, weir_dtype_t dtype, double number, uint32_t *out_value);

weir_status_t weir__norm_emit(const weir__norm_t *norm, const char *op, const uint32_t *inputs,
    uint32_t input_count, const uint32_t *outputs, uint32_t output_count,
    const weir_attribute_t *attributes, uint32_t attribute_count);
// One output, no attributes.
weir_status_t weir__norm_emit_plain(const weir__norm_t *norm, const char *op,
    const uint32_t *inputs, uint32_t input_count, uint32_t output);

// Rules, by the file that they are in.
typedef weir_status_t weir__norm_rule_t(const weir__norm_t *norm, const weir__norm_row_t *row);
// normalise_math.c
weir__norm_rule_t weir__norm_chain, weir__norm_mean, weir__norm_clip_attributes,
    weir__norm_clip_inputs, weir__norm_cast, weir__norm_cast_like, weir__norm_gelu,
    weir__norm_dropout, weir__norm_batch_norm, weir__norm_conv, weir__norm_qlinear_conv,
    weir__norm_pool, weir__norm_lstm;
// normalise_shape.c
weir__norm_rule_t weir__norm_axes, weir__norm_split, weir__norm_slice, weir__norm_pad,
    weir__norm_constant_of_shape, weir__norm_upsample, weir__norm_resize_10, weir__norm_resize;

#endif
