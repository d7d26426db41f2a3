// weir/plugin.h: the plugin ABI, version 0.
//
// A plugin is a shared object that exports one symbol, weir_plugin_v0. It offers operators for host
// memory (level L0: a table of kernels) and, if it likes, devices (L1: memory and a queue; L2:
// timelines, compiled programs, artifacts). This header stands alone: a plugin includes nothing
// else of weir and links nothing of weir.
//
// Rules that hold for every struct and call here:
//  - A struct that crosses the border starts with weir_head_t; `size` is the maker's sizeof. The
//    receiver copies min(size, its own size) bytes into a zeroed struct of its own. A zero field
//    means "as before this field existed".
//  - Every pointer in a call has a length and dies with the call, unless the comment says
//  otherwise.
//    Strings are NUL-terminated UTF-8.
//  - A plugin never aborts, exits, prints, installs signal handlers or throws across the border,
//  and
//    has no compute threads of its own: kernels expose tasks, the engine runs them.
//  - Threading marks: [A] any thread, any time; [D] one call at a time per device; [Q] one at a
//  time per
//    queue; [+] may block. Calls marked none of these are made once, at load.
//
// Version 0 demands that plugin and engine were built from the very same header: header_hash is
// compared for equality. From version 1 on the layout rules above take its place.
#ifndef WEIR_PLUGIN_H
#define WEIR_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The hash of this file without this line; tests/style keeps it true.
#define WEIR_PLUGIN_HEADER_HASH 0x881b1881016485e4ull

// ---------------------------------------------------------------------------------------------
// Vocabulary: codes, dtypes, heads, arrays
// ---------------------------------------------------------------------------------------------

// How a call ended. 0 is success; the others say whose move is next. Unknown codes are INTERNAL.
typedef int32_t weir_code_t;
enum {
    WEIR_OK = 0,
    WEIR_INVALID_ARGUMENT = 1,   // the caller's mistake: a wrong shape, dtype, name, option
    WEIR_NOT_FOUND = 2,          // no such file, input, device, plugin
    WEIR_UNSUPPORTED = 3,        // well-formed, but nothing here can do it
    WEIR_LIMIT = 4,              // over a limit of weir_limits_t; the text names the limit
    WEIR_RESOURCE_EXHAUSTED = 5, // memory, capacity or a queue is full
    WEIR_INFEASIBLE = 6,         // refused at once: it could not end before its deadline
    WEIR_DEADLINE_EXCEEDED = 7,
    WEIR_CANCELLED = 8,
    WEIR_UNAVAILABLE = 9, // not now: try again later
    WEIR_DRAINING = 10,   // shutting down, nothing new is taken
    WEIR_DEVICE_LOST = 11,
    WEIR_DATA_LOSS = 12, // a file is damaged or changed under us
    WEIR_INTERNAL = 13,  // a defect of weir or of a plugin
};

// An element type is one bit, so that a set of types is an OR. 0: absent.
typedef uint32_t weir_dtype_t;
#define WEIR_F32 (1u << 0)
#define WEIR_F64 (1u << 1)
#define WEIR_F16 (1u << 2)
#define WEIR_BF16 (1u << 3)
#define WEIR_I8 (1u << 4)
#define WEIR_I16 (1u << 5)
#define WEIR_I32 (1u << 6)
#define WEIR_I64 (1u << 7)
#define WEIR_U8 (1u << 8)
#define WEIR_U16 (1u << 9)
#define WEIR_U32 (1u << 10)
#define WEIR_U64 (1u << 11)
#define WEIR_BOOL (1u << 12)   // one byte, 0 or 1
#define WEIR_STRING (1u << 13) // never reaches a plugin

#define WEIR_RANK_MAX 16
#define WEIR_REASON_BYTES 160

typedef struct weir_head {
    uint32_t size; // sizeof the struct that it starts, as its maker compiled it
    uint32_t flags;
} weir_head_t;
#define WEIR_HEAD(type)                                                                            \
    {                                                                                              \
        (uint32_t)sizeof(type), 0                                                                  \
    }

// An array of structs whose size the receiver may not know: element i lies at data + i * stride.
typedef struct weir_array {
    const void *data;
    uint32_t count;
    uint32_t stride;
} weir_array_t;
#define WEIR_ARRAY(a)                                                                              \
    {                                                                                              \
        (a), (uint32_t)(sizeof(a) / sizeof((a)[0])), (uint32_t)sizeof((a)[0])                      \
    }

#define WEIR_MIN(a, b) ((a) < (b) ? (a) : (b))
#define WEIR_MAX(a, b) ((a) > (b) ? (a) : (b))
#define WEIR_DIV_UP(a, b) (((a) + (b)-1) / (b))

// ---------------------------------------------------------------------------------------------
// Tensors, attributes, nodes
// ---------------------------------------------------------------------------------------------

// How elements lie in memory. 0 is row-major. Values from WEIR_FORMAT_OWN on belong to the plugin.
#define WEIR_FORMAT_ROW_MAJOR 0u
#define WEIR_FORMAT_NHWC 1u
#define WEIR_FORMAT_NCHW8C 2u
#define WEIR_FORMAT_NCHW16C 3u
#define WEIR_FORMAT_OWN 0x1000u

#define WEIR_TENSOR_CONSTANT 1u // data is there when the plan is made and never changes

// A tensor of a node. dtype 0 (then rank 0, data NULL): an optional input or output that is absent.
// While a plan is made dims may be symbolic (negative; equal symbols are equal sizes) and data is
// NULL but for constants. In prepare(), tasks() and run() every dim is >= 0; in run() data is
// there.
typedef struct weir_tensor {
    void *data;             // aligned to its element at least; inputs are read only
    uint64_t bytes;         // size of the memory behind data
    uint64_t element_count; // product of dims; 0 while a dim is symbolic
    const int64_t *dims;    // [rank]
    const int64_t *strides; // [rank], in elements; NULL: contiguous
    weir_dtype_t dtype;
    uint32_t rank;
    uint32_t format; // WEIR_FORMAT_*, or what pack_query() chose for this constant
    uint32_t flags;  // WEIR_TENSOR_*
} weir_tensor_t;

enum {
    WEIR_ATTR_INT = 1,
    WEIR_ATTR_FLOAT = 2,
    WEIR_ATTR_STRING = 3,
    WEIR_ATTR_INTS = 4,
    WEIR_ATTR_FLOATS = 5
};

// An attribute of an operator, defaults filled in. ints/floats hold `count` values.
typedef struct weir_attribute {
    const char *name;
    uint32_t type; // WEIR_ATTR_*
    uint32_t count;
    int64_t i;
    double f;
    const char *s;
    const int64_t *ints;
    const float *floats;
} weir_attribute_t;

// ---------------------------------------------------------------------------------------------
// Expressions: the one construct that carries fusion
// ---------------------------------------------------------------------------------------------

// An expression is a straight-line program over elements. Instruction i defines value i from
// earlier values a, b, c. It is evaluated for each element of the result shape; WEIR_OP_LOAD k
// reads operand k of the node (inputs[first_operand + k]) broadcast by numpy's rule. Alone it is
// the body of a "Pointwise" node. As an epilogue it is applied to the anchor's result
// (WEIR_OP_ANCHOR), as a prologue to the anchor's input 0 (WEIR_OP_ANCHOR too), before the anchor
// reads it.
//
// Rules: floating point is computed in the result's dtype (f16 and bf16 in f32, rounded at the
// end), NaN propagates (MIN, MAX, CLAMP, RELU too). Integers wrap. Integer DIV truncates; a divisor
// of 0 is INVALID_ARGUMENT. MOD has the sign of the divisor, FMOD that of the dividend. Comparisons
// and logic give BOOL. CAST float->int truncates and saturates (NaN -> 0); float or int -> bool is
// != 0.
typedef uint32_t weir_opcode_t;
enum {
    WEIR_OP_NONE = 0,
    // leaves
    WEIR_OP_LOAD = 1,   // operand number `a`; dtype is the operand's
    WEIR_OP_ANCHOR = 2, // the anchor's result
    WEIR_OP_CONST = 3,  // imm[0] (floats) or integer (others)
    // unary, value a
    // clang-format off
    WEIR_OP_IDENTITY = 16, WEIR_OP_NEG, WEIR_OP_ABS, WEIR_OP_SIGN, WEIR_OP_RECIPROCAL, WEIR_OP_SQRT,
    WEIR_OP_EXP, WEIR_OP_LOG, WEIR_OP_ERF, WEIR_OP_SIN, WEIR_OP_COS, WEIR_OP_TANH, WEIR_OP_SIGMOID,
    WEIR_OP_SOFTPLUS, WEIR_OP_RELU, WEIR_OP_FLOOR, WEIR_OP_CEIL, WEIR_OP_ROUND, WEIR_OP_NOT,
    WEIR_OP_ISNAN,
    // clang-format on
    WEIR_OP_CAST,         // to the instruction's dtype
    WEIR_OP_GELU,         // 0.5 x (1 + erf(x / sqrt 2))
    WEIR_OP_GELU_TANH,    // 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
    WEIR_OP_HARD_SIGMOID, // max(0, min(1, imm[0] x + imm[1]))
    WEIR_OP_HARD_SWISH,   // x max(0, min(1, x / 6 + 0.5))
    WEIR_OP_LEAKY_RELU,   // x < 0 ? imm[0] x : x
    WEIR_OP_ELU,          // x < 0 ? imm[0] (exp(x) - 1) : x
    // binary, values a and b
    // clang-format off
    WEIR_OP_ADD = 64, WEIR_OP_SUB, WEIR_OP_MUL, WEIR_OP_DIV, WEIR_OP_POW, WEIR_OP_MOD,
    WEIR_OP_FMOD, WEIR_OP_MIN, WEIR_OP_MAX, WEIR_OP_AND, WEIR_OP_OR, WEIR_OP_XOR, WEIR_OP_EQ,
    WEIR_OP_LT, WEIR_OP_LE, WEIR_OP_GT, WEIR_OP_GE,
    // clang-format on
    WEIR_OP_PRELU, // a < 0 ? a * b : a
    // ternary, values a, b and c
    WEIR_OP_SELECT = 96, // a ? b : c
    WEIR_OP_CLAMP,       // min(max(a, b), c)
};

typedef struct weir_instruction {
    weir_opcode_t opcode;
    weir_dtype_t dtype; // of the value defined
    uint16_t a, b, c;   // earlier values (LOAD: a is the operand number)
    uint16_t reserved;
    int64_t integer;
    float imm[2];
} weir_instruction_t;

#define WEIR_EXPRESSION_MAX 64 // instructions in one expression, at most
#define WEIR_OPERANDS_MAX 16   // operands of one expression, at most

typedef struct weir_expression {
    weir_head_t head;
    const weir_instruction_t *instructions; // [instruction_count]
    uint32_t instruction_count;
    uint32_t first_operand; // operand k is the node's input first_operand + k
    uint32_t operand_count;
    uint32_t output_count;
    const uint16_t *outputs; // [output_count] values; output j is the node's output j
} weir_expression_t;

// A node as a plugin sees it. Operators and revisions: docs/operators.md. Elementwise operators
// come under their own name ("Relu") to a kernel of that name, and as "Pointwise" with `body` to a
// kernel of that.
typedef struct weir_node {
    weir_head_t head;
    const char *op;
    const char *origin; // names of the ONNX nodes it stands for, for messages
    uint32_t revision;
    uint32_t input_count; // expression operands included
    uint32_t output_count;
    uint32_t attribute_count;
    const weir_tensor_t *inputs;
    const weir_tensor_t *outputs;
    const weir_attribute_t *attributes;
    const weir_expression_t *body;     // of a Pointwise node
    const weir_expression_t *prologue; // NULL: none
    const weir_expression_t *epilogue; // NULL: none
} weir_node_t;

// ---------------------------------------------------------------------------------------------
// The engine, as a plugin sees it
// ---------------------------------------------------------------------------------------------

typedef struct weir_host weir_host_t;

// When a device did something, in nanoseconds of its own clock (see clock() of the device).
typedef struct weir_trace_record {
    weir_head_t head;
    uint64_t launch_id; // as launch() or execute() was given it
    uint32_t node;      // of the slice; UINT32_MAX: the whole launch, or a copy
    uint32_t reserved;
    uint64_t start_ns, end_ns;
} weir_trace_record_t;

struct weir_host {
    weir_head_t head;
    void *engine; // the engine's own
    // Accounted memory, aligned to 64 bytes or more; NULL when there is none. [A]
    void *(*alloc)(const weir_host_t *host, uint64_t bytes);
    void (*free)(const weir_host_t *host, void *memory);
    // Says why the call that is being made fails; returns `code`. [A]
    weir_code_t (*fail)(const weir_host_t *host, weir_code_t code, const char *format, ...);
    // level: 0 error, 1 warning, 2 info, 3 debug. [A]
    void (*log)(const weir_host_t *host, int32_t level, const char *text);
    // Runs body(user, i) for i in [0, count) on the engine's team; for packing and compiling only.
    // [A+]
    weir_code_t (*parallel_for)(const weir_host_t *host, uint64_t count,
        weir_code_t (*body)(void *user, uint64_t i), void *user);
    // The value of one of the plugin's options, or NULL. Lives as long as the engine. While
    // weir_plugin_v0 runs: what the user wrote for weir_NAME.so, not checked yet, no defaults. [A]
    const char *(*option)(const weir_host_t *host, const char *name);
    // A counted helper thread (I/O, reaping; never compute of L0 kernels). [A]
    weir_code_t (*thread_start)(const weir_host_t *host, const char *name, void (*body)(void *user),
        void *user, void **out_thread);
    void (*thread_join)(const weir_host_t *host, void *thread); // [A+]
    // Timelines of the engine: 64-bit counters that only grow. Signalling wakes every run that
    // waits for that value or a smaller one. A failure is sticky and reaches every waiter. [A]
    weir_code_t (*timeline_signal)(const weir_host_t *host, uint64_t timeline, uint64_t value);
    weir_code_t (*timeline_fail)(
        const weir_host_t *host, uint64_t timeline, weir_code_t code, const char *text);
    // The artifact cache: views are mapped and live until blob_release. [A+]
    weir_code_t (*blob_get)(
        const weir_host_t *host, const char *key, const void **out_data, uint64_t *out_bytes);
    weir_code_t (*blob_put)(
        const weir_host_t *host, const char *key, const void *data, uint64_t bytes);
    void (*blob_release)(const weir_host_t *host, const void *data);
    // Keeps records for profiled runs; may drop some, and counts those. No lock. [A]
    void (*trace)(const weir_host_t *host, const weir_trace_record_t *records, uint32_t count);
    const char *(*plugin_dir)(const weir_host_t *host); // [A]
    // Room for one pointer of the plugin's, NULL at first: what it must find again, in shutdown()
    // say, for this engine. Set at load.
    void **state;
};

// ---------------------------------------------------------------------------------------------
// L0: kernels for host memory
// ---------------------------------------------------------------------------------------------

// The answer to supports(). cost_ns: an estimate for one run at the node's dims (symbolic dims as
// you like); 0: unknown. reason: for a "no", a few words for a person.
typedef struct weir_support {
    weir_head_t head;
    uint64_t cost_ns;
    char reason[WEIR_REASON_BYTES];
} weir_support_t;

// How the kernel wants a constant input to lie. format 0: as it is.
typedef struct weir_packing {
    weir_head_t head;
    uint32_t
        format; // >= WEIR_FORMAT_OWN; names the layout, ISA included: it is part of the cache key
    uint32_t reserved;
    uint64_t bytes;
} weir_packing_t;

#define WEIR_PHASES_MAX 8
typedef struct weir_tasks {
    weir_head_t head;
    uint32_t phase_count;
    uint32_t reserved;
    uint64_t task_count[WEIR_PHASES_MAX];   // phase p + 1 starts when all tasks of p have ended
    uint64_t task_cost_ns[WEIR_PHASES_MAX]; // an estimate each; 0: unknown
} weir_tasks_t;

// What prepare() gives back.
typedef struct weir_prepared {
    weir_head_t head;
    void *state;            // the kernel's own, until release()
    uint64_t scratch_bytes; // per worker; not kept from one task to the next
    uint64_t shared_bytes;  // one block per run of the node, kept across its phases
} weir_prepared_t;

// Tasks [first, first + count) of one phase: any thread, any order within the phase.
typedef struct weir_task {
    weir_head_t head;
    const weir_node_t *node;
    void *state; // read only: other threads run tasks of the same node now
    const weir_tensor_t *inputs;
    const weir_tensor_t *outputs;
    uint64_t first;
    uint64_t count;
    uint32_t phase;
    uint32_t error_bytes;
    void *scratch; // 64-byte aligned
    void *shared;  // 64-byte aligned
    char *error;   // [error_bytes] a kernel that fails may say why here
} weir_task_t;

#define WEIR_KERNEL_EPILOGUE                                                                       \
    1u // offers itself as an anchor with an epilogue (supports() has the say)
#define WEIR_KERNEL_PROLOGUE 2u
#define WEIR_KERNEL_STRIDES 4u // takes strided inputs
// Output 0 may be input 0's memory, of Pointwise any operand's, when dims and element size are
// equal.
#define WEIR_KERNEL_INPLACE 8u
#define WEIR_KERNEL_BLOCKED 16u // prefers the formats it names to row-major ones
// Rounds f32 operands to bf16, sums in f32: for plans of that precision only.
#define WEIR_KERNEL_BF16 32u
// pack_query() and pack() look at nothing but the attributes and the one constant: they may be
// asked where the rank of other inputs, then 0, is known only in a run.
#define WEIR_KERNEL_PACKS_ALONE 64u

// Formats. An activation is an input that is no constant, or an output, of rank 4, [N, C, H, W]. A
// kernel that names no formats takes and gives row-major ones. In WEIR_FORMAT_NCHW16C element (n,
// c, h, w) lies at
// ((n * ceil(C / 16) + c / 16) * H * W + h * W + w) * 16 + c % 16, and what fills up the last block
// of channels is 0: whoever writes the tensor writes those zeros too. The engine asks supports()
// with the formats it has in mind (weir_tensor_t.format), puts "Reorder" nodes (one input, one
// output, equal dims, other format) where formats change, and asks the device that wants a format
// for the Reorder kernel.
#define WEIR_FORMAT_BIT(format) (1u << (format))

typedef struct weir_kernel {
    weir_head_t head; // flags: WEIR_KERNEL_*
    const char *op;
    const char *name; // for profile and explain; NULL: op
    uint32_t revision;
    weir_dtype_t
        dtypes; // what input 0 (a node without inputs: output 0) may be; 0: supports() has the say
    // Can this kernel run this node? Dims may be symbolic. NULL: always. Pure. [A]
    weir_code_t (*supports)(const weir_node_t *node, weir_support_t *out_support);
    // How constant input `input` should lie, and making it so. NULL: never packed. [A]
    weir_code_t (*pack_query)(const weir_node_t *node, uint32_t input, weir_packing_t *out_packing);
    weir_code_t (*pack)(const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes);
    // Once per concrete dims. NULL: no state, no scratch. [A]
    weir_code_t (*prepare)(
        const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared);
    void (*release)(const weir_host_t *host, void *state); // [A]
    // How the work divides; must depend on nothing but the node and its dims. NULL: one task. [A]
    void (*tasks)(const weir_node_t *node, void *state, weir_tasks_t *out_tasks);
    // The only hot call: no allocation, no lock, no blocking. NULL only in plugins with devices of
    // their own memory. [A]
    weir_code_t (*run)(const weir_task_t *task);
    // WEIR_FORMAT_BIT()s in which activations may lie; 0: row-major only. A kernel with
    // WEIR_KERNEL_BLOCKED wants its formats for their own sake (Conv); others take them when their
    // inputs come in them anyway.
    uint32_t input_formats;
    uint32_t output_formats;
} weir_kernel_t;

// ---------------------------------------------------------------------------------------------
// L1 and L2: devices
// ---------------------------------------------------------------------------------------------
//
// A device whose claim() is NULL runs the kernels of the plugin's table: the engine asks their
// supports(), fuses, chooses formats and packs constants (on the host) as for L0, but never calls
// run(), which may be NULL: execute() or launch() does. A device with claim() says itself what it
// can run and sees unfused, row-major nodes.
//
// L1: execute() runs one node on the queue; the engine makes programs of it. L2: compile().
//
// A device without WEIR_DEVICE_HOST_MEMORY has memory of its own. The engine keeps one arena per
// session there, places tensors in it by offset, uploads each constant once per plan, and puts
// copies where a tensor crosses. A copy has a pinned buffer (or, where the device has none, plain
// host memory) at one end, or the memory of a peer that edge() says is NATIVE or IMPORT. Nothing of
// the caller's is ever given to a device.
//
// Kernels of a plugin's table run in the order of the slice's nodes: what no later node reads may
// share memory with what a later one writes. Of nodes that were claimed all tensors are apart.

typedef uint64_t weir_handle_t; // belongs to its maker; 0: none

#define WEIR_DEVICE_HOST_MEMORY 1u // works on host pointers: no buffers, no copies
#define WEIR_DEVICE_ON_REQUEST 2u  // used only where somebody names it, and listed last

typedef struct weir_device_info {
    weir_head_t head; // flags: WEIR_DEVICE_*
    char name[64];
    char arch[32];
    uint8_t uuid[16]; // zeros: unknown
    char pci[16];
    int32_t numa_node; // -1: unknown
    uint32_t reserved;
    uint64_t memory_bytes;
} weir_device_info_t;

// A slice as its device sees it: flat arrays. Tensors that no node of the slice makes and that are
// not constants are its inputs.
typedef struct weir_slice_node {
    weir_node_t node;            // inputs/outputs point at copies of the tensors below
    const uint32_t *inputs;      // [node.input_count] tensor numbers; UINT32_MAX: absent
    const uint32_t *outputs;     // [node.output_count]
    const weir_kernel_t *kernel; // the plugin's own, which the engine chose; NULL: claimed
} weir_slice_node_t;

typedef struct weir_slice {
    weir_head_t head;
    const weir_slice_node_t *nodes;
    const weir_tensor_t *tensors; // constants have their data, packed ones as they are packed
    const uint32_t *inputs;
    const uint32_t *outputs;
    uint32_t node_count, tensor_count, input_count, output_count;
} weir_slice_t;

typedef struct weir_claim {
    weir_head_t head;
    uint32_t claimed; // 1: the device can run it
    uint32_t reserved;
    uint64_t cost_ns; // at the node's dims (symbolic ones as you like); 0: unknown
    char reason[WEIR_REASON_BYTES];
} weir_claim_t;

// A value of one of the engine's timelines. `signals` are to be signalled through the host when the
// work is done, inside the call or later. `waits` only ever name points that this very device was
// asked to signal before: work must not begin before them.
typedef struct weir_timeline_point {
    weir_handle_t timeline;
    uint64_t value;
} weir_timeline_point_t;

// Where a tensor lies: host memory (pointer; buffer 0), or `offset` bytes into a buffer.
typedef struct weir_binding {
    void *pointer;
    weir_handle_t buffer;
    uint64_t offset;
    uint64_t bytes;
} weir_binding_t;

typedef struct weir_copy_region {
    weir_binding_t from, to; // of equal bytes
} weir_copy_region_t;

enum {
    WEIR_MEMORY_DEVICE = 1, // the device's own; map() need not work
    WEIR_MEMORY_PINNED = 2, // the host's, mapped, fast to copy from and to
};

// How a tensor gets from `peer` to the device.
enum {
    WEIR_EDGE_STAGED = 0, // through host memory: always possible
    WEIR_EDGE_IMPORT = 1, // buffers of the peer after import_buffer()
    WEIR_EDGE_NATIVE = 2, // buffers of the peer as they are
};

typedef struct weir_edge {
    weir_head_t head;
    uint32_t kind;         // WEIR_EDGE_*
    uint32_t bytes_per_us; // 0: unknown
    uint64_t latency_ns;   // of one copy, however small; 0: unknown
} weir_edge_t;

// A buffer for other devices. `data` is whatever the two plugins agree on (a POSIX file descriptor,
// an IPC handle); `kind` names that agreement, "cuda-ipc".
typedef struct weir_export {
    weir_head_t head;
    char kind[32];
    uint64_t bytes;
    uint64_t data[8];
} weir_export_t;

// One node for an L1 device. Tensors of `node` have concrete dims, and data only where constants
// lie in host memory; bindings: inputs, then outputs (absent ones all zero). The structs and arrays
// die with the call, so what runs later copies them; `state` and constants' data stay until the
// work has ended or the device is closed.
typedef struct weir_execution {
    weir_head_t head;
    const weir_node_t *node;
    const weir_kernel_t *kernel; // the plugin's; NULL: the node was claimed
    void *state;                 // of the kernel's prepare()
    const weir_binding_t *bindings;
    uint32_t binding_count;
    uint32_t node_number; // for trace()
    // As large as prepare() asked for scratch and shared bytes together, each rounded up to 64. A
    // claimed node has none.
    weir_binding_t scratch;
    uint64_t launch_id;
} weir_execution_t;

// What replays: NONE enqueues anew each time; REBIND is recorded once and takes other bindings;
// FIXED holds for the bindings it was recorded with.
enum { WEIR_REPLAY_NONE = 0, WEIR_REPLAY_REBIND = 1, WEIR_REPLAY_FIXED = 2 };

#define WEIR_PROGRAM_OWN_CONSTANTS 1u // it has its own copies: constants are not bound

typedef struct weir_program_info {
    weir_head_t head; // flags: WEIR_PROGRAM_*
    uint32_t replay;  // WEIR_REPLAY_*
    uint32_t reserved;
} weir_program_info_t;

typedef struct weir_specialized {
    weir_head_t head;
    weir_handle_t specialization;
    uint64_t scratch_bytes; // device memory for one launch: the binding after those of the tensors
} weir_specialized_t;

// One launch. The arrays die with the call.
typedef struct weir_launch {
    weir_head_t head;
    weir_handle_t specialization;
    weir_handle_t recording;        // 0: enqueue anew
    const weir_binding_t *bindings; // one per tensor of the slice, then the scratch (or zeros)
    const weir_timeline_point_t *waits;
    const weir_timeline_point_t *signals;
    uint32_t binding_count, wait_count, signal_count;
    uint32_t profiled; // 1: trace() records are wanted
    uint64_t id;
} weir_launch_t;

// The table of a plugin that has devices. NULL entries are levels, or parts, not offered. A call
// that returns DEVICE_LOST, or a timeline failed with it, loses the device: the engine ends its
// runs with that code, closes it once they have ended, and may open() it again later.
typedef struct weir_device_table {
    weir_head_t head;
    // info of device `index`; NOT_FOUND past the last. Creates no device context. [A]
    weir_code_t (*enumerate)(const weir_host_t *host, uint32_t index, weir_device_info_t *out_info);
    weir_code_t (*open)(const weir_host_t *host, uint32_t index, weir_handle_t *out_device); // [+]
    // No call is under way and nothing made from the device is used again: what was not given back
    // goes with it, buffers and queues of work that never ended above all. Such work must have
    // stopped touching memory when it returns. [+]
    void (*close)(weir_handle_t device);

    // ---- L1: memory and in-order queues -------------------------------------------------------
    // RESOURCE_EXHAUSTED leaves the device usable. Aligned to 256 bytes. [A]
    weir_code_t (*alloc)(
        weir_handle_t device, uint32_t memory, uint64_t bytes, weir_handle_t *out_buffer);
    void (*free)(weir_handle_t device, weir_handle_t buffer); // [A]
    // The host's address of a PINNED buffer, valid until unmap(). [A]
    weir_code_t (*map)(weir_handle_t device, weir_handle_t buffer, void **out_pointer);
    void (*unmap)(weir_handle_t device, weir_handle_t buffer); // [A]
    // Makes host memory usable as a PINNED buffer without a copy; freed like one. [A]
    weir_code_t (*wrap_host)(
        weir_handle_t device, void *memory, uint64_t bytes, weir_handle_t *out_buffer);
    weir_code_t (*queue_create)(weir_handle_t device, weir_handle_t *out_queue); // [D]
    void (*queue_destroy)(weir_handle_t device, weir_handle_t queue);            // [D]
    // Copies in queue order; returns without waiting if it can. Without regions it only signals,
    // after all that the queue was given before. A call that returns an error began nothing. [Q]
    weir_code_t (*copy)(weir_handle_t queue, const weir_copy_region_t *regions,
        uint32_t region_count, const weir_timeline_point_t *waits, uint32_t wait_count,
        const weir_timeline_point_t *signals, uint32_t signal_count);
    // Runs one node in queue order; returns without waiting if it can. [Q]
    weir_code_t (*execute)(weir_handle_t queue, const weir_execution_t *execution,
        const weir_timeline_point_t *waits, uint32_t wait_count,
        const weir_timeline_point_t *signals, uint32_t signal_count);
    weir_code_t (*wait_idle)(weir_handle_t device); // [A+]
    weir_code_t (*memory_info)(
        weir_handle_t device, uint64_t *out_used, uint64_t *out_total); // [A]

    // ---- L2 -------------------------------------------------------------------------------------
    // What it costs to get a tensor here from `peer` (of the same plugin), or from the host (0).
    // [A]
    weir_code_t (*edge)(weir_handle_t device, weir_handle_t peer, weir_edge_t *out_edge);
    weir_code_t (*export_buffer)(
        weir_handle_t device, weir_handle_t buffer, weir_export_t *out_export); // [A]
    weir_code_t (*import_buffer)(weir_handle_t device, const weir_export_t *exported,
        weir_handle_t *out_buffer); // freed like one of its own [A]
    // Which nodes. claims[node_count] are zeroed but for their heads. Pure. [A]
    weir_code_t (*claim)(weir_handle_t device, const weir_slice_t *graph, weir_claim_t *claims);
    // Once per plan; dims may be symbolic. The slice dies with the call, its constants' data live
    // until program_release. [A+]
    weir_code_t (*compile)(
        weir_handle_t device, const weir_slice_t *slice, weir_handle_t *out_program);
    void (*program_release)(weir_handle_t program);                                    // [A]
    weir_code_t (*program_info)(weir_handle_t program, weir_program_info_t *out_info); // [A]
    // Artifacts. The engine keeps them, under a key made of the slice (nodes, attributes,
    // constants' contents), the device's arch and the plugin's build. save: *inout_bytes is the
    // room at `destination` (NULL: how many are needed). load: as compile(), from what save()
    // wrote; artifact_check: DATA_LOSS or UNSUPPORTED for bytes that load() must not be given. [A+]
    weir_code_t (*program_save)(weir_handle_t program, void *destination, uint64_t *inout_bytes);
    weir_code_t (*artifact_check)(weir_handle_t device, const void *data, uint64_t bytes);
    weir_code_t (*program_load)(weir_handle_t device, const weir_slice_t *slice, const void *data,
        uint64_t bytes, weir_handle_t *out_program);
    // Once per concrete dims (in slice->tensors); no device call, microseconds. slice and all it
    // points to stay until specialization_release. An input whose contents are known by now has
    // data, and is bound all the same. [A]
    weir_code_t (*specialize)(
        weir_handle_t program, const weir_slice_t *slice, weir_specialized_t *out_specialized);
    // May come while launches are in flight: the device finishes or forgets them first. What hangs
    // may after that touch nothing but its bindings in the arena, which the engine keeps; constants
    // may be gone. [A+]
    void (*specialization_release)(weir_handle_t specialization);
    // Records a launch with these bindings, in the background, once a specialization is popular.
    // [A+]
    weir_code_t (*record)(weir_handle_t specialization, const weir_binding_t *bindings,
        uint32_t binding_count, weir_handle_t *out_recording);
    void (*recording_release)(weir_handle_t recording); // [A]
    // The only hot call. Returns without waiting for the device. [Q]
    weir_code_t (*launch)(weir_handle_t queue, const weir_launch_t *launch);
    // One moment in the device's time and in the monotonic clock's. [A]
    weir_code_t (*clock)(weir_handle_t device, uint64_t *out_device_ns, uint64_t *out_host_ns);
} weir_device_table_t;

// ---------------------------------------------------------------------------------------------
// The plugin
// ---------------------------------------------------------------------------------------------

// A tensor's type as infer() of an operator gives it. Dims: >= 0, or one of the (negative) symbols
// of the node's inputs; WEIR_DIM_NEW: a size of its own that only a run tells.
#define WEIR_DIM_NEW INT64_MIN
typedef struct weir_shape {
    weir_dtype_t dtype;
    uint32_t rank;
    int64_t dims[WEIR_RANK_MAX];
} weir_shape_t;

// An operator of a domain that ONNX does not define. Nodes and kernels name it "domain::op".
typedef struct weir_operator {
    weir_head_t head;
    const char *domain; // "com.example"; not "" or "ai.onnx", which are ONNX's
    const char *op;
    uint32_t revision; // the domain's opset version it came with; the newest not above a file's
    uint32_t min_inputs, max_inputs; // at most 64; a node has max_inputs, missing ones are absent
    uint32_t output_count;           // 1 to 64; what a model does not name is absent in kernels
    weir_array_t attributes; // of weir_attribute_t: names, types and defaults; others are refused
    // The outputs' types from the inputs' (dims may be symbolic). INVALID_ARGUMENT: they do not
    // fit; out_support->reason says why. Pure; called again with concrete dims for each shape. [A]
    weir_code_t (*infer)(
        const weir_node_t *node, weir_shape_t *out_shapes, weir_support_t *out_support);
} weir_operator_t;

enum { WEIR_OPTION_INT = 1, WEIR_OPTION_STRING = 2, WEIR_OPTION_BOOL = 3 };

typedef struct weir_option {
    weir_head_t head;
    const char *name;
    const char *default_value;
    const char *doc;
    uint32_t type; // WEIR_OPTION_*
    uint32_t reserved;
    int64_t min, max; // of an INT
} weir_option_t;

typedef struct weir_plugin_head {
    uint32_t size;
    uint32_t flags;
    uint64_t header_hash;
} weir_plugin_head_t;
#define WEIR_PLUGIN_HEAD                                                                           \
    {                                                                                              \
        (uint32_t)sizeof(weir_plugin_t), 0, WEIR_PLUGIN_HEADER_HASH                                \
    }

typedef struct weir_plugin {
    weir_plugin_head_t head;
    const char *name; // "cpu"; [a-z0-9_]+, at most 31 characters
    const char *vendor;
    const char *version;               // semantic version
    const char *build;                 // whatever changes when the code does; part of cache keys
    weir_array_t options;              // of weir_option_t
    weir_array_t kernels;              // of weir_kernel_t, in order of preference
    const weir_device_table_t *device; // NULL: L0 only
    // Can it work on this machine? A "no" (UNAVAILABLE) says why through out_support->reason; a
    // "yes" may describe the device there ("AVX-512, bf16"). NULL: yes. Creates no device context.
    // [A]
    weir_code_t (*probe)(const weir_host_t *host, weir_support_t *out_support);
    void (*shutdown)(const weir_host_t *host); // [+]
    weir_array_t operators;                    // of weir_operator_t
} weir_plugin_t;

#if defined(__GNUC__)
#define WEIR_PLUGIN_EXPORT __attribute__((visibility("default")))
#else
#define WEIR_PLUGIN_EXPORT
#endif

// Returns the plugin's table, which lives as long as the process, or NULL after host->fail().
// `host` lives as long as the engine that loads it; several engines may load one plugin.
typedef const weir_plugin_t *(*weir_plugin_entry_t)(const weir_host_t *host);

// ---------------------------------------------------------------------------------------------
// Small helpers for plugin authors
// ---------------------------------------------------------------------------------------------

static inline uint32_t weir_dtype_bytes(weir_dtype_t dtype)
{
    if (dtype & (WEIR_F32 | WEIR_I32 | WEIR_U32))
        return 4;
    if (dtype & (WEIR_F64 | WEIR_I64 | WEIR_U64))
        return 8;
    if (dtype & (WEIR_F16 | WEIR_BF16 | WEIR_I16 | WEIR_U16))
        return 2;
    return (dtype & (WEIR_I8 | WEIR_U8 | WEIR_BOOL)) ? 1 : 0;
}

// The attribute `name` of `node`, or NULL.
static inline const weir_attribute_t *weir_node_attribute(const weir_node_t *node, const char *name)
{
    for (uint32_t i = 0; i < node->attribute_count; i++) {
        const char *a = node->attributes[i].name, *b = name;
        while (*a && *a == *b)
            a++, b++;
        if (*a == *b)
            return &node->attributes[i];
    }
    return NULL;
}

static inline int64_t weir_node_int(const weir_node_t *node, const char *name, int64_t otherwise)
{
    const weir_attribute_t *attribute = weir_node_attribute(node, name);
    return attribute && attribute->type == WEIR_ATTR_INT ? attribute->i : otherwise;
}

static inline double weir_node_float(const weir_node_t *node, const char *name, double otherwise)
{
    const weir_attribute_t *attribute = weir_node_attribute(node, name);
    return attribute && attribute->type == WEIR_ATTR_FLOAT ? attribute->f : otherwise;
}

static inline void weir_signal_all(
    const weir_host_t *host, const weir_timeline_point_t *signals, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        (void)host->timeline_signal(host, signals[i].timeline, signals[i].value);
}

#ifdef __cplusplus
}
#endif
#endif
