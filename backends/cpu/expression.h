// Expression programs: what a weir_expression_t (or a Gemm's alpha, beta and C, or a Conv's bias)
// becomes once the dims are known, and their interpreter.
//
// A program works on ranges of linear output indices, in tiles of WEIR_CPU_TILE elements that stay
// in L1. Each element's bits depend on its operands alone, never on where a range or a tile begins.
#ifndef WEIR_BACKENDS_CPU_EXPRESSION_H
#define WEIR_BACKENDS_CPU_EXPRESSION_H

#include "backends/cpu/cpu.h"

#define WEIR_CPU_TILE 512u
// Steps and views that an anchor puts before its expression; steps with the longest expression.
#define WEIR_CPU_ANCHOR_STEPS 8u
#define WEIR_CPU_ANCHOR_VIEWS 1u
#define WEIR_CPU_STEPS_MAX (WEIR_EXPRESSION_MAX + WEIR_CPU_ANCHOR_STEPS)
#define WEIR_CPU_NONE UINT16_MAX

// An operand, seen from the output: the element for linear output index i is found by splitting i
// over the extents (the last one fastest) and following the strides. Dims that can be are merged.
typedef struct weir_cpu_view {
    uint32_t input; // number of the node's input
    uint32_t rank;  // 0: one element for all
    uint32_t element_bytes;
    weir_dtype_t dtype;
    uint64_t extents[WEIR_RANK_MAX];
    int64_t strides[WEIR_RANK_MAX]; // in elements
} weir_cpu_view_t;

typedef enum weir_cpu_step_kind {
    WEIR_CPU_STEP_MAP,    // kernel(a, b, c)
    WEIR_CPU_STEP_LOAD,   // view
    WEIR_CPU_STEP_ANCHOR, // what the anchor left in output 0
    WEIR_CPU_STEP_SAME,   // value a under another number
    WEIR_CPU_STEP_CONST,  // integer or immediates.f[0]
} weir_cpu_step_kind_t;

// Step i defines value i.
typedef struct weir_cpu_step {
    weir_k_map_t *kernel;
    weir_cpu_step_kind_t kind;
    weir_dtype_t dtype;
    uint16_t a, b, c; // values; WEIR_CPU_NONE: not there
    uint16_t slot;    // of the scratch; WEIR_CPU_NONE: lives elsewhere
    uint16_t view;
    uint8_t is_pinned; // filled once a task: it is the same for every element
    uint8_t is_output;
    int64_t integer;
    weir_k_immediates_t immediates;
} weir_cpu_step_t;

typedef struct weir_cpu_program {
    const weir_k_table_t *kernels;
    // The strides of a tensor broadcast to the dims; NULL: numpy's rule on row-major tensors.
    void (*strides_of)(const weir_tensor_t *tensor, int64_t *out_strides);
    uint32_t step_count, view_count, output_count, slot_count;
    uint32_t slot_bytes;
    uint32_t rank; // of the output
    int64_t dims[WEIR_RANK_MAX];
    uint64_t element_count;
    uint64_t scratch_bytes; // a multiple of 64
    // In the memory that begin() was given.
    weir_cpu_view_t *views;
    weir_cpu_step_t *steps;
    uint16_t *outputs;
} weir_cpu_program_t;

// Memory that a program needs besides itself: for `expression` (NULL: none) and what an anchor puts
// before it. As large as the expression, not as the largest one: programs are made by the hundred
// when a shape is new, and the time goes into fresh pages.
uint64_t weir_cpu_program_bytes(const weir_expression_t *expression);

// Can the interpreter run this expression of this node? has_anchor: ANCHOR stands for an f32
// tensor.
weir_code_t weir_cpu_expression_supports(const weir_node_t *node,
    const weir_expression_t *expression, int has_anchor, weir_support_t *out_support);

// What a program is begun with: its expression, or NULL, and program_bytes() of memory for it,
// aligned as a pointer is, which must stay where it is as long as the program is used.
typedef struct weir_cpu_room {
    const weir_expression_t *expression;
    void *memory;
} weir_cpu_room_t;

// An empty program for an output of these dims. The next five add values and return their numbers.
void weir_cpu_program_begin(weir_cpu_program_t *program, weir_cpu_room_t room,
    const weir_k_table_t *kernels, uint32_t rank, const int64_t *dims);
uint16_t weir_cpu_program_anchor(weir_cpu_program_t *program);
uint16_t weir_cpu_program_constant(weir_cpu_program_t *program, float value);
// Input `input` of the node, with one stride (in elements) for each dim of the output.
uint16_t weir_cpu_program_load(
    weir_cpu_program_t *program, const weir_node_t *node, uint32_t input, const int64_t *strides);
// The same, broadcast by numpy's rule.
uint16_t weir_cpu_program_broadcast(
    weir_cpu_program_t *program, const weir_node_t *node, uint32_t input);
uint16_t weir_cpu_program_binary(
    weir_cpu_program_t *program, weir_opcode_t opcode, uint16_t a, uint16_t b);
// A whole expression whose ANCHOR is value `anchor`, and its outputs.
void weir_cpu_program_append(weir_cpu_program_t *program, const weir_node_t *node,
    const weir_expression_t *expression, uint16_t anchor);
void weir_cpu_program_output(weir_cpu_program_t *program, uint16_t value);
// Gives every value its place. After it the program does not change.
void weir_cpu_program_end(weir_cpu_program_t *program);

// A task's use of a program: made once a task, then run on any number of ranges.
typedef struct weir_cpu_interpreter {
    const weir_cpu_program_t *program;
    const weir_tensor_t *inputs;
    const weir_tensor_t *outputs;
    unsigned char *scratch; // program->scratch_bytes, aligned to 64
    const void *at[WEIR_CPU_STEPS_MAX];
} weir_cpu_interpreter_t;

void weir_cpu_interpreter_begin(weir_cpu_interpreter_t *interpreter,
    const weir_cpu_program_t *program, const weir_tensor_t *inputs, const weir_tensor_t *outputs,
    void *scratch);
// Elements [first, first + count) of the output, in linear order.
void weir_cpu_interpreter_run(weir_cpu_interpreter_t *interpreter, uint64_t first, uint64_t count);
// `columns` elements of each of `rows` rows, row_elements apart, from element `first` on.
void weir_cpu_interpreter_rows(weir_cpu_interpreter_t *interpreter, uint64_t first, uint64_t rows,
    uint64_t columns, uint64_t row_elements);

// A guess at the time for one element, in picoseconds.
uint64_t weir_cpu_program_cost_ps(const weir_cpu_program_t *program);

#endif
