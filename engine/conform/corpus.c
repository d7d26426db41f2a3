// engine/conform/corpus.c: the operators that the kit can make nodes of, and what may differ.
//
// One row per operator of docs/operators.md: who makes its nodes, which element types they may
// have, and how far from the reference a result may lie, in units of the last place. Half types
// round once at the end, so they get little.
#include "engine/conform/kit.h"

#include <string.h>

#define FLOATS WEIR__KIT_FLOATS
#define NUMBERS (WEIR__KIT_FLOATS | WEIR__KIT_INTEGERS)
#define ANY (NUMBERS | WEIR_BOOL)
#define UNARY(op, code, types, scale, budget, specials)                                            \
    {                                                                                              \
        op, weir__kit_make_unary, WEIR_OP_##code, types, WEIR__KIT_##scale, budget, specials       \
    }
#define BINARY(op, code, types, scale, budget, specials)                                           \
    {                                                                                              \
        op, weir__kit_make_binary, WEIR_OP_##code, types, WEIR__KIT_##scale, budget, specials      \
    }
#define MOVE(op, what)                                                                             \
    {                                                                                              \
        op, weir__kit_make_move, WEIR__KIT_##what, ANY, WEIR__KIT_EXACT, 0, true                   \
    }
#define REDUCE(op, types, scale, budget, specials)                                                 \
    {                                                                                              \
        op, weir__kit_make_reduce, WEIR__KIT_REDUCE, types, WEIR__KIT_##scale, budget, specials    \
    }
#define NORM(op, what, scale, budget, specials)                                                    \
    {                                                                                              \
        op, weir__kit_make_norm, WEIR__KIT_##what, FLOATS, WEIR__KIT_##scale, budget, specials     \
    }
#define BYTES (WEIR_U8 | WEIR_I8)
#define QUANT(op, what, types)                                                                     \
    {                                                                                              \
        op, weir__kit_make_quant, WEIR__KIT_##what, types, WEIR__KIT_EXACT, 0, false               \
    }
#define WINDOW(op, what, types, scale, budget, specials)                                           \
    {                                                                                              \
        op, weir__kit_make_window, WEIR__KIT_##what, types, WEIR__KIT_##scale, budget, specials    \
    }

// clang-format off
static const weir__kit_operator_t operators[] = {
    {"Pointwise", weir__kit_make_program, 0, ANY, WEIR__KIT_UNIT, 256, false},
    UNARY("Identity", IDENTITY, ANY, EXACT, 0, true),
    UNARY("Neg", NEG, NUMBERS, EXACT, 0, true),
    UNARY("Abs", ABS, NUMBERS, EXACT, 0, true),
    UNARY("Sign", SIGN, NUMBERS, EXACT, 0, false),
    UNARY("Reciprocal", RECIPROCAL, FLOATS, UNIT, 2, true),
    UNARY("Sqrt", SQRT, FLOATS, UNIT, 2, true),
    UNARY("Exp", EXP, FLOATS, UNIT, 8, true),
    UNARY("Log", LOG, FLOATS, UNIT, 8, true),
    UNARY("Erf", ERF, FLOATS, UNIT, 8, true),
    UNARY("Sin", SIN, FLOATS, UNIT, 8, true),
    UNARY("Cos", COS, FLOATS, UNIT, 8, true),
    UNARY("Tanh", TANH, FLOATS, UNIT, 8, true),
    UNARY("Sigmoid", SIGMOID, FLOATS, UNIT, 8, true),
    UNARY("Softplus", SOFTPLUS, FLOATS, UNIT, 8, true),
    UNARY("Relu", RELU, NUMBERS, EXACT, 0, true),
    UNARY("Floor", FLOOR, FLOATS, EXACT, 0, true),
    UNARY("Ceil", CEIL, FLOATS, EXACT, 0, true),
    UNARY("Round", ROUND, FLOATS, EXACT, 0, true),
    UNARY("Not", NOT, WEIR_BOOL, EXACT, 0, false),
    UNARY("IsNaN", ISNAN, FLOATS, EXACT, 0, true),
    UNARY("Cast", CAST, ANY, EXACT, 0, true),
    UNARY("Gelu", GELU, FLOATS, UNIT, 16, false),
    UNARY("GeluTanh", GELU_TANH, FLOATS, UNIT, 16, false),
    UNARY("HardSigmoid", HARD_SIGMOID, FLOATS, UNIT, 2, true),
    UNARY("HardSwish", HARD_SWISH, FLOATS, UNIT, 4, false),
    UNARY("LeakyRelu", LEAKY_RELU, FLOATS, UNIT, 1, true),
    UNARY("Elu", ELU, FLOATS, UNIT, 8, true),
    BINARY("Add", ADD, NUMBERS, EXACT, 0, true),
    BINARY("Sub", SUB, NUMBERS, EXACT, 0, true),
    BINARY("Mul", MUL, NUMBERS, EXACT, 0, true),
    BINARY("Div", DIV, NUMBERS, UNIT, 2, true),
    BINARY("Pow", POW, NUMBERS, UNIT, 16, false),
    BINARY("Mod", MOD, NUMBERS, UNIT, 4, false),
    BINARY("Min", MIN, NUMBERS, EXACT, 0, true),
    BINARY("Max", MAX, NUMBERS, EXACT, 0, true),
    BINARY("And", AND, WEIR_BOOL, EXACT, 0, false),
    BINARY("Or", OR, WEIR_BOOL, EXACT, 0, false),
    BINARY("Xor", XOR, WEIR_BOOL, EXACT, 0, false),
    BINARY("Equal", EQ, ANY, EXACT, 0, true),
    BINARY("Less", LT, NUMBERS, EXACT, 0, true),
    BINARY("LessOrEqual", LE, NUMBERS, EXACT, 0, true),
    BINARY("Greater", GT, NUMBERS, EXACT, 0, true),
    BINARY("GreaterOrEqual", GE, NUMBERS, EXACT, 0, true),
    BINARY("PRelu", PRELU, FLOATS, UNIT, 1, true),
    {"Where", weir__kit_make_ternary, WEIR_OP_SELECT, ANY, WEIR__KIT_EXACT, 0, true},
    {"Clip", weir__kit_make_ternary, WEIR_OP_CLAMP, NUMBERS, WEIR__KIT_EXACT, 0, true},
    MOVE("Shape", SHAPE), MOVE("Size", SIZE), MOVE("Reshape", RESHAPE), MOVE("Flatten", FLATTEN),
    MOVE("Squeeze", SQUEEZE), MOVE("Unsqueeze", UNSQUEEZE), MOVE("Transpose", TRANSPOSE),
    MOVE("Concat", CONCAT), MOVE("Split", SPLIT), MOVE("Slice", SLICE), MOVE("Expand", EXPAND),
    MOVE("Tile", TILE), MOVE("Pad", PAD),
    {"ConstantOfShape", weir__kit_make_move, WEIR__KIT_CONSTANT_OF_SHAPE, WEIR_I64,
        WEIR__KIT_EXACT, 0, true},
    {"Range", weir__kit_make_move, WEIR__KIT_RANGE, NUMBERS, WEIR__KIT_UNIT, 2, false},
    {"Gather", weir__kit_make_select, WEIR__KIT_GATHER, ANY, WEIR__KIT_EXACT, 0, true},
    {"GatherElements", weir__kit_make_select, WEIR__KIT_GATHER_ELEMENTS, ANY, WEIR__KIT_EXACT, 0,
        true},
    {"GatherND", weir__kit_make_select, WEIR__KIT_GATHER_ND, ANY, WEIR__KIT_EXACT, 0, true},
    {"Resize", weir__kit_make_resize, 0, FLOATS | WEIR_U8, WEIR__KIT_PEAK, 64, false},
    {"MatMul", weir__kit_make_matmul, WEIR__KIT_MATMUL, NUMBERS, WEIR__KIT_SUM, 64, true},
    {"Gemm", weir__kit_make_matmul, WEIR__KIT_GEMM, NUMBERS, WEIR__KIT_SUM, 64, true},
    WINDOW("Conv", CONV, FLOATS, SUM, 64, true),
    WINDOW("ConvTranspose", CONV_TRANSPOSE, FLOATS, SUM, 64, false),
    WINDOW("MaxPool", MAX_POOL, NUMBERS, EXACT, 0, false),
    WINDOW("AveragePool", AVERAGE_POOL, FLOATS, SUM, 16, false),
    WINDOW("GlobalAveragePool", GLOBAL_POOL, FLOATS, SUM, 16, true),
    WINDOW("GlobalMaxPool", GLOBAL_POOL, FLOATS, EXACT, 0, true),
    NORM("BatchNormalization", BATCH_NORM, PEAK, 64, false),
    NORM("LayerNormalization", LAYER_NORM, PEAK, 256, false),
    NORM("InstanceNormalization", INSTANCE_NORM, PEAK, 256, false),
    NORM("LpNormalization", LP_NORM, PEAK, 32, false),
    NORM("LRN", LRN, PEAK, 32, false),
    NORM("Softmax", SOFTMAX, UNIT, 16, true),
    NORM("LogSoftmax", SOFTMAX, PEAK, 32, true),
    REDUCE("ReduceSum", NUMBERS, SUM, 64, true),
    REDUCE("ReduceMean", NUMBERS, SUM, 64, true),
    REDUCE("ReduceMax", ANY, EXACT, 0, true),
    REDUCE("ReduceMin", ANY, EXACT, 0, true),
    REDUCE("ReduceProd", NUMBERS, PEAK, 64, false),
    REDUCE("ReduceL1", NUMBERS, SUM, 64, true),
    REDUCE("ReduceL2", NUMBERS, SUM, 64, true),
    REDUCE("ReduceSumSquare", NUMBERS, SUM, 64, true),
    REDUCE("ReduceLogSum", FLOATS, PEAK, 64, false),
    REDUCE("ReduceLogSumExp", FLOATS, PEAK, 64, false),
    {"ArgMax", weir__kit_make_reduce, WEIR__KIT_ARG, NUMBERS, WEIR__KIT_EXACT, 0, false},
    {"ArgMin", weir__kit_make_reduce, WEIR__KIT_ARG, NUMBERS, WEIR__KIT_EXACT, 0, false},
    {"CumSum", weir__kit_make_reduce, WEIR__KIT_CUM_SUM, NUMBERS, WEIR__KIT_PEAK, 64, false},
    UNARY("Reorder", IDENTITY, ANY, EXACT, 0, true),
    QUANT("QuantizeLinear", QUANTIZE, WEIR_F32),
    QUANT("DequantizeLinear", DEQUANTIZE, BYTES | WEIR_I32),
    QUANT("DynamicQuantizeLinear", DYNAMIC_QUANTIZE, WEIR_F32),
    QUANT("MatMulInteger", MATMUL_INTEGER, BYTES),
    QUANT("ConvInteger", CONV_INTEGER, BYTES),
    QUANT("QLinearMatMul", QLINEAR_MATMUL, BYTES),
    QUANT("QLinearConv", QLINEAR_CONV, BYTES),
    {"LSTM", weir__kit_make_lstm, 0, FLOATS, WEIR__KIT_UNIT, 256, false},
};
// clang-format on

const weir__kit_operator_t *weir__kit_operator(const char *op)
{
    for (uint32_t i = 0; i < sizeof operators / sizeof operators[0]; i++)
        if (strcmp(operators[i].op, op) == 0)
            return &operators[i];
    return NULL;
}

const weir__kit_operator_t *weir__kit_operator_at(uint32_t index)
{
    return index < sizeof operators / sizeof operators[0] ? &operators[index] : NULL;
}

const weir__kit_operator_t *weir__kit_elementwise(weir__kit_random_t *random)
{
    uint32_t first = 1, count = 0;
    while (operators[first + count].make != weir__kit_make_move)
        count++;
    return &operators[first + weir__kit_below(random, count)];
}
