// backends/print/print.h: expressions as source text, for devices that compile at run time.
//
// What: prints a weir_expression_t (weir/plugin.h, "Expressions") as statements of C, OpenCL C or
//       CUDA C++, and the preamble of types and small functions that these statements use. One
//       meaning for all three: that of kernels/ref.
// How:  value i becomes a variable, `PREFIXi`. Its type is `w_f32` for F32, F16 and BF16 (computed
//       in f32, rounded when stored, cast or constant), else w_<dtype>; a BOOL is 0 or 1. In memory
//       every dtype is a `w_<dtype>` (w_f16, w_bf16: 16 bits; w_bool: 8).
// Not:  it allocates nothing and keeps nothing. Whoever prints says how operands are read and
//       results written.
//
// What a compiler must be told: no contraction of a * b + c (OpenCL: the preamble says it; CUDA:
// --fmad=false; C: -ffp-contract=off), no fast math. Accuracy is then that of the compiler's
// library for exp, erf and the like; + - * /, sqrt, casts and integers are exact (an OpenCL device
// divides and takes roots as exactly as it was asked to).
#ifndef WEIR_BACKENDS_PRINT_PRINT_H
#define WEIR_BACKENDS_PRINT_PRINT_H

#include <weir/plugin.h>

typedef enum weir_print_dialect {
    WEIR_PRINT_C,
    WEIR_PRINT_OPENCL,
    WEIR_PRINT_CUDA
} weir_print_dialect_t;

// A text that grows into the caller's buffer. length counts what was asked for, as snprintf does:
// length >= room says that the text was cut off, and how much room it needs (length + 1).
typedef struct weir_print {
    char *text; // NUL-terminated if room > 0
    uint64_t room;
    uint64_t length;
} weir_print_t;

void weir_print_add(weir_print_t *print, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// The element types whose part of the preamble `expression` needs. WEIR_F64 among them: the device
// must know doubles, which an expression without a double may ask for (integers to powers).
weir_dtype_t weir_print_dtypes(const weir_expression_t *expression);

// Types and functions. Once at the top of a source, with the OR of the dtypes of all its
// expressions and of all element types that the source names itself. lanes: as below; 0 and 1 are
// the same.
void weir_print_preamble(
    weir_print_t *print, weir_print_dialect_t dialect, weir_dtype_t dtypes, uint32_t lanes);

typedef struct weir_print_body {
    const weir_expression_t *expression;
    weir_print_dialect_t dialect;
    // More than 1 (2, 4, 8, 16; OpenCL only): each value is a vector of so many elements, w_f32xN
    // or, of comparisons, w_boolxN (0 or -1 each). Only F32 then; see weir_print_can().
    uint32_t lanes;
    const char *prefix; // of the variables; NULL: "v"
    const char *indent; // of the lines; NULL: four spaces
    // [operand_count] what reads the operand's element: an expression of its type in memory (of
    // w_f32xN with lanes).
    const char *const *loads;
    // The anchor's result, as a w_f32 (or a w_<dtype> of other types); NULL: there is no anchor.
    const char *anchor;
    // [output_count] an lvalue of the output's type in memory each; NULL: not written. The array
    // may be NULL: the caller uses the variables are called.
    const char *const *stores;
    // A statement that runs where an integer is divided by 0 (its result is 0 then); NULL: none.
    const char *fault;
} weir_print_body_t;

// Can it be printed? UNSUPPORTED (reason: a string that lives on) for opcodes that are unknown and
// for what has no vector form; INVALID_ARGUMENT for operands that do not come before their use.
weir_code_t weir_print_can(
    const weir_expression_t *expression, uint32_t lanes, const char **out_reason);

// The statements. Only what weir_print_can() lets through.
void weir_print_statements(weir_print_t *print, const weir_print_body_t *body);

// "f32", "bool", …: what the names of types and functions end in.
const char *weir_print_dtype(weir_dtype_t dtype);

#endif
