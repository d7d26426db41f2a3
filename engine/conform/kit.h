// engine/conform/kit.h: what the files of the kit share: cases, memory, the subject under test.
//
// A case is one node with its tensors, made from a seed. It lives in a child process that ends
// after its group, so a case frees what is large and nothing else.
#ifndef WEIR_CONFORM_KIT_H
#define WEIR_CONFORM_KIT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <weir/plugin.h>

#define WEIR__KIT_INPUTS 24
#define WEIR__KIT_OUTPUTS 8
#define WEIR__KIT_ATTRIBUTES 16
#define WEIR__KIT_RANK 8

// ---- Chance (random.c) -------------------------------------------------------------------------

typedef struct weir__kit_random {
    uint64_t state;
} weir__kit_random_t;

uint64_t weir__kit_random(weir__kit_random_t *random);
uint64_t weir__kit_below(weir__kit_random_t *random, uint64_t end);               // [0, end)
int64_t weir__kit_between(weir__kit_random_t *random, int64_t low, int64_t high); // both included
bool weir__kit_chance(weir__kit_random_t *random, uint32_t percent);
double weir__kit_real(weir__kit_random_t *random, double low, double high);
uint64_t weir__kit_hash(uint64_t seed, const char *text);

// ---- What the parent sees of a child (child.c)
// ---------------------------------------------------

#define WEIR__KIT_KERNELS 1024

typedef struct weir__kit_row {
    char op[128];
    char name[128];
    uint32_t flags, dtypes, input_formats, output_formats;
    bool packs, is_known, is_custom, runs;
} weir__kit_row_t;

// Shared between parent and child.
typedef struct weir__kit_progress {
    uint32_t case_count, run_count; // begun; those that supports() took
    bool has_failed, has_ended;
    char which[600]; // the case that is running
    char what[600];
    bool has_device, is_claiming, has_own_memory, saves, records; // of its devices
    uint32_t row_count;
    weir__kit_row_t rows[WEIR__KIT_KERNELS];
} weir__kit_progress_t;

// ---- Memory with guards (memory.c) -------------------------------------------------------------

// A block that ends where a page begins that nobody may touch, with a pattern in front of it.
typedef struct weir__kit_block {
    uint8_t *data;
    uint64_t bytes;
    uint8_t *map;
    uint64_t map_bytes;
} weir__kit_block_t;

// what: "input 1": for the report of a stray access. aligned: to 64 bytes, whatever the size.
weir__kit_block_t weir__kit_block(uint64_t bytes, const char *what, bool aligned);
void weir__kit_block_free(weir__kit_block_t *block);
bool weir__kit_block_is_sound(const weir__kit_block_t *block);
void weir__kit_block_protect(const weir__kit_block_t *block, bool is_read_only);
// Of the block that `address` lies in or just beside; "" when in none.
void weir__kit_block_explain(const void *address, char *out_text, uint32_t bytes);

// ---- The subject (subject.c, hooks.c)
// --------------------------------------------------------------

#define WEIR__KIT_HOST_BLOCKS 512 // that a plugin may have of the host at one time
#define WEIR__KIT_TIMELINES 64

typedef struct weir__kit_timeline {
    uint64_t asked, value; // the last point that was asked for, and that came
    weir_code_t code;      // it failed
    char text[160];
} weir__kit_timeline_t;

// The engine's side, as far as the kit plays it.
typedef struct weir__kit_host {
    weir_host_t abi;
    uint8_t beyond[64];      // what a later version might have appended: poison
    atomic_llong live_count; // blocks
    atomic_bool is_overrun;  // a block came back with its guards broken, or was none of ours
    weir_array_t options;    // of the plugin
    void *plugin_state;      // abi.state points here
    weir__kit_block_t blocks[WEIR__KIT_HOST_BLOCKS];
    pthread_mutex_t lock;
    char directory[512];
    char failure[256];
    const char *const *set_options; // "name=value": what the caller sets
    size_t set_option_count;
    bool has_device;
    atomic_uint thread_count; // helper threads that run
    pthread_mutex_t timeline_lock;
    pthread_cond_t timeline_changed;
    weir__kit_timeline_t timelines[WEIR__KIT_TIMELINES];
    uint32_t timeline_count;
    char misuse[200]; // the first that a timeline saw
} weir__kit_host_t;

typedef struct weir__kit_subject {
    weir__kit_host_t host;
    weir_plugin_t plugin;
    weir_device_table_t device; // copied by size; all NULL: none
    weir_kernel_t *kernels;
    uint32_t kernel_count;
    void *handle;
    weir__kit_progress_t *progress;
    weir__kit_random_t random;
    uint64_t seed; // of the group
    uint32_t case_limit;
    uint32_t patience_s; // with a device that was given something
} weir__kit_subject_t;

// Loads and shakes hands. false: fail() was called.
bool weir__kit_load(weir__kit_subject_t *subject, const char *path);
// Notes the first failure; returns false, so that it can be returned.
bool weir__kit_fail(weir__kit_subject_t *subject, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Lays wrappers over what the plugin imports (allocation, locks, threads, sleeping), so that what
// it calls inside run() is seen.
void weir__kit_hooks_install(void *handle);
void weir__kit_hooks_watch(bool is_on); // the calling thread is inside run()
void weir__kit_hooks_note(const char *name);
void weir__kit_hooks_allow_locks(bool is_allowed); // short ones, in a launch
const char *weir__kit_hooks_seen(void); // the first forbidden call since the last ask; NULL: none
int64_t weir__kit_hooks_balance(void);  // blocks of the plugin's own that live now
uint32_t weir__kit_hooks_threads(void); // started by the plugin since it was loaded

// ---- Elements (element.c)
// ------------------------------------------------------------------------

#define WEIR__KIT_FLOATS (WEIR_F32 | WEIR_F64 | WEIR_F16 | WEIR_BF16)
#define WEIR__KIT_INTEGERS                                                                         \
    (WEIR_I8 | WEIR_I16 | WEIR_I32 | WEIR_I64 | WEIR_U8 | WEIR_U16 | WEIR_U32 | WEIR_U64)
#define WEIR__KIT_UNSIGNED (WEIR_U8 | WEIR_U16 | WEIR_U32 | WEIR_U64 | WEIR_BOOL)

const char *weir__kit_dtype_name(weir_dtype_t dtype);
double weir__kit_get(const void *data, weir_dtype_t dtype, uint64_t i);
void weir__kit_set(void *data, weir_dtype_t dtype, uint64_t i, double value);
double weir__kit_epsilon(weir_dtype_t dtype); // distance of 1 to the next

// ---- Cases (case.c and make_*.c)
// -----------------------------------------------------------------

typedef enum weir__kit_scale {
    WEIR__KIT_EXACT, // the same bits (any NaN for NaN, either zero for zero)
    WEIR__KIT_UNIT,  // units of the last place of max(|reference|, 1)
    WEIR__KIT_PEAK,  // of the largest |reference| of the output
    WEIR__KIT_SUM,   // of the result for |inputs|: what sums may lose by cancelling
} weir__kit_scale_t;

typedef struct weir__kit_case {
    weir__kit_random_t *random;
    weir_node_t node;
    weir_tensor_t inputs[WEIR__KIT_INPUTS];
    weir_tensor_t outputs[WEIR__KIT_OUTPUTS];
    weir__kit_block_t blocks[WEIR__KIT_INPUTS + WEIR__KIT_OUTPUTS];
    int64_t dims[WEIR__KIT_INPUTS + WEIR__KIT_OUTPUTS][WEIR_RANK_MAX];
    weir_attribute_t attributes[WEIR__KIT_ATTRIBUTES];
    int64_t ints[WEIR__KIT_ATTRIBUTES][2 * WEIR_RANK_MAX];
    weir_expression_t body, epilogue, prologue;
    weir_instruction_t code[3][WEIR_EXPRESSION_MAX];
    uint16_t results[3][WEIR__KIT_OUTPUTS];
    weir__kit_scale_t scale;
    double budget;      // in what `scale` says
    bool has_specials;  // NaN, Inf, denormals among the values
    bool is_large;      // enough work for several tasks
    bool is_expression; // Pointwise: the reference runs `body`, whatever the op is called
    const weir_operator_t *declared; // of the plugin's own; NULL: one of docs/operators.md
} weir__kit_case_t;

typedef bool (*weir__kit_make_t)(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument);

// One operator that the kit can make nodes of.
typedef struct weir__kit_operator {
    const char *op;
    weir__kit_make_t make;
    uint32_t argument;
    weir_dtype_t dtypes;
    weir__kit_scale_t scale;
    float budget;
    bool takes_specials;
} weir__kit_operator_t;

const weir__kit_operator_t *weir__kit_operator(const char *op);
// Operator `index` of those that are known; NULL past the last.
const weir__kit_operator_t *weir__kit_operator_at(uint32_t index);
// The operator of `kernel` that the plugin itself declares (custom.c). false: it declares none.
bool weir__kit_custom(const weir__kit_subject_t *subject, const weir_kernel_t *kernel,
    weir_operator_t *out_declared, weir__kit_operator_t *out_operator);
// One of those that are one opcode.
const weir__kit_operator_t *weir__kit_elementwise(weir__kit_random_t *random);

// A fresh case; false when the operator has no node of that dtype.
// declared: of an operator of the plugin's own, otherwise NULL.
bool weir__kit_case_make(weir__kit_case_t *c, const weir__kit_operator_t *operator_,
    const weir_operator_t *declared, weir_dtype_t dtype, bool is_large, weir__kit_random_t *random);
void weir__kit_case_free(weir__kit_case_t *c);
// "MatMul f32[3,5] f32[5,7] -> f32[3,7] {transA 1}"
void weir__kit_case_text(const weir__kit_case_t *c, char *out_text, uint32_t bytes);

// For the makers. Values are random; `dims` is copied.
weir_tensor_t *weir__kit_input(
    weir__kit_case_t *c, weir_dtype_t dtype, uint32_t rank, const int64_t *dims);
weir_tensor_t *weir__kit_input_absent(weir__kit_case_t *c);
// An i64 or i32 vector with these values, most often constant.
weir_tensor_t *weir__kit_input_ints(weir__kit_case_t *c, uint32_t count, const int64_t *values);
weir_tensor_t *weir__kit_output(
    weir__kit_case_t *c, weir_dtype_t dtype, uint32_t rank, const int64_t *dims);
void weir__kit_attribute_int(weir__kit_case_t *c, const char *name, int64_t value);
void weir__kit_attribute_float(weir__kit_case_t *c, const char *name, double value);
void weir__kit_attribute_text(weir__kit_case_t *c, const char *name, const char *value);
void weir__kit_attribute_ints(
    weir__kit_case_t *c, const char *name, uint32_t count, const int64_t *values);
void weir__kit_fill(weir__kit_case_t *c, const weir_tensor_t *tensor, double low, double high);
int64_t weir__kit_dim(weir__kit_case_t *c); // a length: odd ones, now and then 1 or 0
void weir__kit_dims(weir__kit_case_t *c, uint32_t rank, int64_t *out_dims);

bool weir__kit_make_unary(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument);
bool weir__kit_make_binary(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument);
bool weir__kit_make_ternary(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument);
bool weir__kit_make_program(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument);
bool weir__kit_make_move(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument);
bool weir__kit_make_select(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument);
bool weir__kit_make_resize(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument);
bool weir__kit_make_matmul(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument);
bool weir__kit_make_window(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument);
bool weir__kit_make_norm(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument);
bool weir__kit_make_reduce(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument);
bool weir__kit_make_custom(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument);
bool weir__kit_make_lstm(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument);
bool weir__kit_make_quant(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument);
enum {
    WEIR__KIT_QUANTIZE,
    WEIR__KIT_DEQUANTIZE,
    WEIR__KIT_DYNAMIC_QUANTIZE,
    WEIR__KIT_MATMUL_INTEGER,
    WEIR__KIT_CONV_INTEGER,
    WEIR__KIT_QLINEAR_MATMUL,
    WEIR__KIT_QLINEAR_CONV
};

// Arguments of the makers above, for operators that are no opcodes.
enum {
    WEIR__KIT_SHAPE = 1,
    WEIR__KIT_SIZE,
    WEIR__KIT_RESHAPE,
    WEIR__KIT_FLATTEN,
    WEIR__KIT_SQUEEZE,
    WEIR__KIT_UNSQUEEZE,
    WEIR__KIT_TRANSPOSE,
    WEIR__KIT_CONCAT,
    WEIR__KIT_SPLIT,
    WEIR__KIT_SLICE,
    WEIR__KIT_EXPAND,
    WEIR__KIT_TILE,
    WEIR__KIT_PAD,
    WEIR__KIT_CONSTANT_OF_SHAPE,
    WEIR__KIT_RANGE,
    WEIR__KIT_GATHER,
    WEIR__KIT_GATHER_ELEMENTS,
    WEIR__KIT_GATHER_ND,
    WEIR__KIT_MATMUL,
    WEIR__KIT_GEMM,
    WEIR__KIT_CONV,
    WEIR__KIT_CONV_TRANSPOSE,
    WEIR__KIT_MAX_POOL,
    WEIR__KIT_AVERAGE_POOL,
    WEIR__KIT_GLOBAL_POOL,
    WEIR__KIT_BATCH_NORM,
    WEIR__KIT_LAYER_NORM,
    WEIR__KIT_INSTANCE_NORM,
    WEIR__KIT_LP_NORM,
    WEIR__KIT_LRN,
    WEIR__KIT_SOFTMAX,
    WEIR__KIT_REDUCE,
    WEIR__KIT_ARG,
    WEIR__KIT_CUM_SUM,
};

// Attaches a random expression to the anchor's result (or to its input 0). Operands are appended.
void weir__kit_attach(weir__kit_case_t *c, bool is_prologue);

// ---- Running a kernel (execute.c)
// ----------------------------------------------------------------

typedef enum weir__kit_order {
    WEIR__KIT_WHOLE,    // each phase in one call
    WEIR__KIT_SHUFFLED, // one task a call, in random order
    WEIR__KIT_RANGES,   // random ranges in random order
    WEIR__KIT_THREADS,  // the same, from several threads at once
} weir__kit_order_t;

// A kernel that was prepared for a node.
typedef struct weir__kit_instance {
    weir__kit_subject_t *subject;
    const weir_kernel_t *kernel;
    const weir__kit_case_t *c;
    weir_node_t node; // as the engine shows it: data of constants only
    weir_tensor_t inputs[WEIR__KIT_INPUTS];
    weir_tensor_t outputs[WEIR__KIT_OUTPUTS];
    weir_tensor_t bound_inputs[WEIR__KIT_INPUTS]; // as run() gets them
    weir_tensor_t bound_outputs[WEIR__KIT_OUTPUTS];
    weir_prepared_t prepared;
    weir_tasks_t tasks;
    uint32_t grown; // bytes of poison after every struct that crosses the border
    char error[WEIR_REASON_BYTES];
} weir__kit_instance_t;

// The case as an engine shows it before a run: data of constants only.
void weir__kit_show(const weir__kit_case_t *c, weir__kit_instance_t *out_instance);
// What supports() says; asks again and insists on the same answer. false: it broke a rule.
bool weir__kit_supports(weir__kit_subject_t *subject, const weir_kernel_t *kernel,
    const weir_node_t *node, bool *out_is_supported);
// out_instance->grown is the caller's; all else is filled in.
bool weir__kit_prepare(weir__kit_subject_t *subject, const weir_kernel_t *kernel,
    const weir__kit_case_t *c, weir__kit_instance_t *out_instance);
weir_code_t weir__kit_execute(weir__kit_instance_t *instance, weir__kit_order_t order);
void weir__kit_release(weir__kit_instance_t *instance);

// ---- The reference and the verdict (reference.c)
// ----------------------------------------------------

typedef struct weir__kit_expected {
    uint8_t *data[WEIR__KIT_OUTPUTS];  // row-major
    uint8_t *scale[WEIR__KIT_OUTPUTS]; // of WEIR__KIT_SUM: the result for |inputs|
    double peak;                       // largest |result| of an anchor before its epilogue
} weir__kit_expected_t;

// false: the reference has no answer (it refuses the node, or an index for an empty result).
bool weir__kit_expect(
    weir__kit_case_t *c, weir_code_t *out_code, weir__kit_expected_t *out_expected);
void weir__kit_expected_free(weir__kit_expected_t *expected);
// false, with the first difference in out_text.
bool weir__kit_compare(const weir__kit_case_t *c, const weir__kit_expected_t *expected,
    char *out_text, uint32_t bytes);

// ---- Formats (format.c)
// --------------------------------------------------------------------------

// Between row-major and WEIR_FORMAT_NCHW16C. dims: [N, C, H, W].
uint64_t weir__kit_blocked_bytes(const weir_tensor_t *tensor);
void weir__kit_to_blocked(const weir_tensor_t *from, void *to);
bool weir__kit_from_blocked(const weir_tensor_t *from, void *to); // false: the filling is not 0

// ---- Checks (check_*.c): each runs a group in the child
// ----------------------------------------------

typedef struct weir__kit_target {
    const weir_kernel_t *kernel; // NULL: of a device that claims, or of no node at all
    const weir__kit_operator_t *operator_;
    weir_dtype_t dtype;
    const weir_operator_t *declared; // by the plugin; NULL: one of docs/operators.md
} weir__kit_target_t;

// Widens the case's budget by what the kernel says of itself: it rounds operands to bf16.
void weir__kit_allow(const weir__kit_target_t *target, weir__kit_case_t *c);

typedef void (*weir__kit_check_t)(weir__kit_subject_t *subject, const weir__kit_target_t *target);

// Makes a node that the kernel takes, says in progress which, and shows it to supports().
// false: no more cases, or a rule was broken.
typedef enum weir__kit_extra {
    WEIR__KIT_PLAIN,
    WEIR__KIT_LARGE,         // work for several tasks
    WEIR__KIT_WITH_EPILOGUE, // with a random expression
    WEIR__KIT_WITH_PROLOGUE,
    WEIR__KIT_CONSTANT_WEIGHTS // all inputs but the first
} weir__kit_extra_t;
bool weir__kit_next_case(weir__kit_subject_t *subject, const weir__kit_target_t *target,
    weir__kit_extra_t extra, weir__kit_case_t *out_case);
// Prepares, runs, releases and compares with the reference. The instance may have been shown and
// changed before. false: a rule was broken.
bool weir__kit_verify(weir__kit_subject_t *subject, const weir__kit_target_t *target,
    weir__kit_case_t *c, weir__kit_instance_t *instance, const weir__kit_expected_t *expected,
    weir_code_t wanted);

void weir__kit_check_load(weir__kit_subject_t *subject);
// Of an operator that the plugin declares: its infer(); and a node twice, with guards.
void weir__kit_check_infer(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_again(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_values(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_supports(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_tasks(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_threads(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_states(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_steady(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_in_place(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_packing(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_epilogue(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_prologue(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_formats(weir__kit_subject_t *subject, const weir__kit_target_t *target);
void weir__kit_check_perf(weir__kit_subject_t *subject, const weir__kit_target_t *target);

#endif
