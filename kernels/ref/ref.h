// kernels/ref/ref.h: the reference kernels, the definition of right.
//
// What: one plain C function per operator of docs/operators.md, and the interpreter of elementwise
//       expressions. Every other kernel of weir is tested against these.
// Why:  they are written to be read, not to be fast: floating point is accumulated in double in
//       ascending order and rounded once to the result's type; integers wrap.
// Not:  no engine or plugin header, no allocation, no global state, no printing. The structs below
// have
//       the very layout of those in weir/plugin.h (backends/ref asserts it), so that pointers pass
//       through.
//
// Sizes and shapes come validated: outputs have the shape that the operator gives its inputs. What
// depends on values (indices, pads, axes, split sizes, lengths) is checked here against the given
// dims, and a mismatch is WEIR_KR_INVALID with a text.
#ifndef WEIR_KERNELS_REF_H
#define WEIR_KERNELS_REF_H

#include <stdint.h>

#define WEIR_KR_OK 0
#define WEIR_KR_INVALID 1 // the values of an input make no sense for the operator

#define WEIR_KR_RANK_MAX 16

// Element types, one bit each.
#define WEIR_KR_F32 (1u << 0)
#define WEIR_KR_F64 (1u << 1)
#define WEIR_KR_F16 (1u << 2)
#define WEIR_KR_BF16 (1u << 3)
#define WEIR_KR_I8 (1u << 4)
#define WEIR_KR_I16 (1u << 5)
#define WEIR_KR_I32 (1u << 6)
#define WEIR_KR_I64 (1u << 7)
#define WEIR_KR_U8 (1u << 8)
#define WEIR_KR_U16 (1u << 9)
#define WEIR_KR_U32 (1u << 10)
#define WEIR_KR_U64 (1u << 11)
#define WEIR_KR_BOOL (1u << 12)

#define WEIR_KR_FLOATS (WEIR_KR_F32 | WEIR_KR_F64 | WEIR_KR_F16 | WEIR_KR_BF16)
#define WEIR_KR_SIGNED (WEIR_KR_I8 | WEIR_KR_I16 | WEIR_KR_I32 | WEIR_KR_I64)
#define WEIR_KR_UNSIGNED (WEIR_KR_U8 | WEIR_KR_U16 | WEIR_KR_U32 | WEIR_KR_U64)
#define WEIR_KR_NUMBERS (WEIR_KR_FLOATS | WEIR_KR_SIGNED | WEIR_KR_UNSIGNED)
#define WEIR_KR_ANY (WEIR_KR_NUMBERS | WEIR_KR_BOOL)
#define WEIR_KR_INDEX (WEIR_KR_I32 | WEIR_KR_I64)
#define WEIR_KR_WIDE (WEIR_KR_I32 | WEIR_KR_I64 | WEIR_KR_U32 | WEIR_KR_U64)

// A row-major, contiguous tensor. dtype 0: absent.
typedef struct weir_kr_tensor {
    void *data;
    uint64_t bytes;
    uint64_t element_count;
    const int64_t *dims;
    const int64_t *strides; // always NULL here
    uint32_t dtype;
    uint32_t rank;
    uint32_t format;
    uint32_t flags;
} weir_kr_tensor_t;

// ---------------------------------------------------------------------------------------------
// Expressions
// ---------------------------------------------------------------------------------------------

enum {
    WEIR_KR_OP_LOAD = 1,
    WEIR_KR_OP_ANCHOR = 2,
    WEIR_KR_OP_CONST = 3,
    WEIR_KR_OP_IDENTITY = 16,
    WEIR_KR_OP_NEG,
    WEIR_KR_OP_ABS,
    WEIR_KR_OP_SIGN,
    WEIR_KR_OP_RECIPROCAL,
    WEIR_KR_OP_SQRT,
    WEIR_KR_OP_EXP,
    WEIR_KR_OP_LOG,
    WEIR_KR_OP_ERF,
    WEIR_KR_OP_SIN,
    WEIR_KR_OP_COS,
    WEIR_KR_OP_TANH,
    WEIR_KR_OP_SIGMOID,
    WEIR_KR_OP_SOFTPLUS,
    WEIR_KR_OP_RELU,
    WEIR_KR_OP_FLOOR,
    WEIR_KR_OP_CEIL,
    WEIR_KR_OP_ROUND,
    WEIR_KR_OP_NOT,
    WEIR_KR_OP_ISNAN,
    WEIR_KR_OP_CAST,
    WEIR_KR_OP_GELU,
    WEIR_KR_OP_GELU_TANH,
    WEIR_KR_OP_HARD_SIGMOID,
    WEIR_KR_OP_HARD_SWISH,
    WEIR_KR_OP_LEAKY_RELU,
    WEIR_KR_OP_ELU,
    WEIR_KR_OP_ADD = 64,
    WEIR_KR_OP_SUB,
    WEIR_KR_OP_MUL,
    WEIR_KR_OP_DIV,
    WEIR_KR_OP_POW,
    WEIR_KR_OP_MOD,
    WEIR_KR_OP_FMOD,
    WEIR_KR_OP_MIN,
    WEIR_KR_OP_MAX,
    WEIR_KR_OP_AND,
    WEIR_KR_OP_OR,
    WEIR_KR_OP_XOR,
    WEIR_KR_OP_EQ,
    WEIR_KR_OP_LT,
    WEIR_KR_OP_LE,
    WEIR_KR_OP_GT,
    WEIR_KR_OP_GE,
    WEIR_KR_OP_PRELU,
    WEIR_KR_OP_SELECT = 96,
    WEIR_KR_OP_CLAMP,
};

typedef struct weir_kr_instruction {
    uint32_t opcode;
    uint32_t dtype;
    uint16_t a, b, c;
    uint16_t reserved;
    int64_t integer;
    float imm[2];
} weir_kr_instruction_t;

typedef struct weir_kr_expression {
    uint32_t size, flags;
    const weir_kr_instruction_t *instructions;
    uint32_t instruction_count;
    uint32_t first_operand;
    uint32_t operand_count;
    uint32_t output_count;
    const uint16_t *outputs;
} weir_kr_expression_t;

// ---------------------------------------------------------------------------------------------
// Parameters: the attributes of an operator, decoded
// ---------------------------------------------------------------------------------------------

typedef struct weir_kr_axis_params {
    int64_t axis; // may be negative
    int64_t start, end;
    int64_t batch_dims;
    int64_t keepdims, noop_with_empty_axes, select_last_index;
    int64_t exclusive, reverse;
    int64_t p, coerce, size;
    double alpha, beta, bias, epsilon;
    int64_t trans_a, trans_b;
} weir_kr_axis_params_t;

typedef struct weir_kr_transpose_params {
    uint32_t perm_count; // 0: reversed
    int64_t perm[WEIR_KR_RANK_MAX];
} weir_kr_transpose_params_t;

enum { WEIR_KR_PAD_CONSTANT, WEIR_KR_PAD_REFLECT, WEIR_KR_PAD_EDGE, WEIR_KR_PAD_WRAP };

typedef struct weir_kr_pad_params {
    int32_t mode;
} weir_kr_pad_params_t;

enum { WEIR_KR_RESIZE_NEAREST, WEIR_KR_RESIZE_LINEAR, WEIR_KR_RESIZE_CUBIC };
enum {
    WEIR_KR_COORDINATE_HALF_PIXEL,
    WEIR_KR_COORDINATE_HALF_PIXEL_SYMMETRIC,
    WEIR_KR_COORDINATE_PYTORCH_HALF_PIXEL,
    WEIR_KR_COORDINATE_ALIGN_CORNERS,
    WEIR_KR_COORDINATE_ASYMMETRIC
};
enum {
    WEIR_KR_NEAREST_ROUND_PREFER_FLOOR,
    WEIR_KR_NEAREST_ROUND_PREFER_CEIL,
    WEIR_KR_NEAREST_FLOOR,
    WEIR_KR_NEAREST_CEIL
};
enum { WEIR_KR_POLICY_STRETCH, WEIR_KR_POLICY_NOT_LARGER, WEIR_KR_POLICY_NOT_SMALLER };

typedef struct weir_kr_resize_params {
    int32_t mode, coordinates, nearest, policy;
    int64_t exclude_outside, antialias;
    double cubic_coeff_a;
    uint32_t axis_count; // 0: all axes
    int64_t axes[WEIR_KR_RANK_MAX];
} weir_kr_resize_params_t;

enum { WEIR_KR_AUTO_NOTSET, WEIR_KR_AUTO_SAME_UPPER, WEIR_KR_AUTO_SAME_LOWER, WEIR_KR_AUTO_VALID };

// Of convolutions and pools. kernel_count 0: the kernel's dims are those of W (Conv).
typedef struct weir_kr_window_params {
    int32_t auto_pad;
    int32_t has_output_shape;
    uint32_t spatial_rank;
    int64_t group, ceil_mode, count_include_pad, storage_order;
    int64_t relu; // of QLinearConv
    int64_t kernel[WEIR_KR_RANK_MAX], strides[WEIR_KR_RANK_MAX], dilations[WEIR_KR_RANK_MAX];
    int64_t pads[2 * WEIR_KR_RANK_MAX]; // all begins, then all ends
    int64_t output_padding[WEIR_KR_RANK_MAX];
} weir_kr_window_params_t;

enum { WEIR_KR_LSTM_FORWARD, WEIR_KR_LSTM_REVERSE, WEIR_KR_LSTM_BIDIRECTIONAL };

typedef struct weir_kr_lstm_params {
    int32_t direction;
    int64_t hidden_size, input_forget, layout;
    double clip; // 0: none
} weir_kr_lstm_params_t;

// Letters of an axis each, as docs/operators.md says: of Q, K, V and Y.
typedef struct weir_kr_attention_params {
    char layouts[4][6];
    int64_t parts[3];
    double scale;
} weir_kr_attention_params_t;

typedef union weir_kr_params {
    weir_kr_axis_params_t axis;
    weir_kr_transpose_params_t transpose;
    weir_kr_pad_params_t pad;
    weir_kr_resize_params_t resize;
    weir_kr_window_params_t window;
    weir_kr_lstm_params_t lstm;
    weir_kr_attention_params_t attention;
} weir_kr_params_t;

// ---------------------------------------------------------------------------------------------
// Calls
// ---------------------------------------------------------------------------------------------

// One call: tasks [first, first + count) of the plan, any thread, any order.
typedef struct weir_kr_call {
    const weir_kr_tensor_t *inputs;
    const weir_kr_tensor_t *outputs;
    uint32_t input_count;
    uint32_t output_count;
    const weir_kr_params_t *params;
    const weir_kr_expression_t *body; // of Pointwise
    uint64_t first;
    uint64_t count;
    void *scratch; // plan.scratch_bytes, aligned to 64
    char *error;   // [error_bytes], may be NULL when error_bytes is 0
    uint32_t error_bytes;
} weir_kr_call_t;

// How the work divides: depends on shapes, dtypes and parameters only, never on values.
typedef struct weir_kr_plan {
    uint64_t task_count; // >= 1
    uint64_t scratch_bytes;
} weir_kr_plan_t;

typedef int (*weir_kr_run_t)(const weir_kr_call_t *call);
typedef void (*weir_kr_plan_fn_t)(const weir_kr_call_t *call, weir_kr_plan_t *out_plan);

// Plans. Each says what one task of the kernels that use it is.
void weir_kr_plan_one(const weir_kr_call_t *call, weir_kr_plan_t *out_plan); // everything
void weir_kr_plan_elements(
    const weir_kr_call_t *call, weir_kr_plan_t *out_plan); // elements of output 0
void weir_kr_plan_inputs(const weir_kr_call_t *call, weir_kr_plan_t *out_plan);  // one input
void weir_kr_plan_outputs(const weir_kr_call_t *call, weir_kr_plan_t *out_plan); // one output
void weir_kr_plan_mapped(const weir_kr_call_t *call, weir_kr_plan_t *out_plan);
void weir_kr_plan_pointwise(const weir_kr_call_t *call, weir_kr_plan_t *out_plan);
void weir_kr_plan_resize(const weir_kr_call_t *call, weir_kr_plan_t *out_plan);
void weir_kr_plan_gather(const weir_kr_call_t *call, weir_kr_plan_t *out_plan);
void weir_kr_plan_matmul(const weir_kr_call_t *call, weir_kr_plan_t *out_plan);
void weir_kr_plan_gemm(const weir_kr_call_t *call, weir_kr_plan_t *out_plan);
void weir_kr_plan_attention(const weir_kr_call_t *call, weir_kr_plan_t *out_plan);
void weir_kr_plan_conv(const weir_kr_call_t *call, weir_kr_plan_t *out_plan);
void weir_kr_plan_conv_transpose(const weir_kr_call_t *call, weir_kr_plan_t *out_plan);
void weir_kr_plan_channels(
    const weir_kr_call_t *call, weir_kr_plan_t *out_plan); // dims[0] * dims[1]
void weir_kr_plan_reduce(const weir_kr_call_t *call, weir_kr_plan_t *out_plan);
void weir_kr_plan_layer_norm(const weir_kr_call_t *call, weir_kr_plan_t *out_plan);
void weir_kr_plan_softmax(const weir_kr_call_t *call, weir_kr_plan_t *out_plan);
void weir_kr_plan_lstm(const weir_kr_call_t *call, weir_kr_plan_t *out_plan);

// The kernels; kernels.inc says for each what it takes, the file that it is in says its formula.
#define WEIR_KERNEL(op, function, params, plan, min_in, max_in, same, index, dtypes, ulp, flags)   \
    int function(const weir_kr_call_t *call);
#include "kernels/ref/kernels.inc"
#undef WEIR_KERNEL

// ---------------------------------------------------------------------------------------------
// Element types
// ---------------------------------------------------------------------------------------------

uint32_t weir_kr_dtype_bytes(uint32_t dtype);
// Round to nearest, ties to even; overflow is infinity; NaN stays NaN.
uint16_t weir_kr_f16_from_double(double value);
uint16_t weir_kr_bf16_from_double(double value);
double weir_kr_f16_to_double(uint16_t bits);
double weir_kr_bf16_to_double(uint16_t bits);

#endif
