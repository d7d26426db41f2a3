// backends/ref/ref_plugin.c: the reference kernels as an L0 plugin.
//
// What: one weir_kernel_t per row of kernels/ref/kernels.inc. Each hands the engine's tensors
// through to
//       the kernel as they are, which the asserts below allow.
// Why stateless: parameters are decoded from the node in every call, so there is nothing to release
// and
//       a kernel needs no memory but the scratch that its plan names.
// Not:  operator semantics; they are in kernels/ref.
#include "backends/ref/ref_plugin.h"

#include "backends/ref/params.h"
#include "kernels/ref/pointwise.h"

#include <stdio.h>
#include <string.h>

// ---------------------------------------------------------------------------------------------
// The kernels' own vocabulary is that of the plugin header
// ---------------------------------------------------------------------------------------------

#define SAME_FIELD(ours, theirs, field)                                                            \
    _Static_assert(offsetof(ours, field) == offsetof(theirs, field), #theirs "." #field)
#define SAME_VALUE(name) _Static_assert((uint32_t)WEIR_KR_##name == (uint32_t)WEIR_##name, #name)

_Static_assert(sizeof(weir_kr_tensor_t) == sizeof(weir_tensor_t), "weir_tensor_t");
SAME_FIELD(weir_kr_tensor_t, weir_tensor_t, data);
SAME_FIELD(weir_kr_tensor_t, weir_tensor_t, bytes);
SAME_FIELD(weir_kr_tensor_t, weir_tensor_t, element_count);
SAME_FIELD(weir_kr_tensor_t, weir_tensor_t, dims);
SAME_FIELD(weir_kr_tensor_t, weir_tensor_t, strides);
SAME_FIELD(weir_kr_tensor_t, weir_tensor_t, dtype);
SAME_FIELD(weir_kr_tensor_t, weir_tensor_t, rank);
SAME_FIELD(weir_kr_tensor_t, weir_tensor_t, format);
SAME_FIELD(weir_kr_tensor_t, weir_tensor_t, flags);
_Static_assert(sizeof(weir_kr_instruction_t) == sizeof(weir_instruction_t), "weir_instruction_t");
SAME_FIELD(weir_kr_instruction_t, weir_instruction_t, opcode);
SAME_FIELD(weir_kr_instruction_t, weir_instruction_t, dtype);
SAME_FIELD(weir_kr_instruction_t, weir_instruction_t, a);
SAME_FIELD(weir_kr_instruction_t, weir_instruction_t, b);
SAME_FIELD(weir_kr_instruction_t, weir_instruction_t, c);
SAME_FIELD(weir_kr_instruction_t, weir_instruction_t, integer);
SAME_FIELD(weir_kr_instruction_t, weir_instruction_t, imm);
_Static_assert(sizeof(weir_kr_expression_t) == sizeof(weir_expression_t), "weir_expression_t");
SAME_FIELD(weir_kr_expression_t, weir_expression_t, instructions);
SAME_FIELD(weir_kr_expression_t, weir_expression_t, instruction_count);
SAME_FIELD(weir_kr_expression_t, weir_expression_t, first_operand);
SAME_FIELD(weir_kr_expression_t, weir_expression_t, operand_count);
SAME_FIELD(weir_kr_expression_t, weir_expression_t, output_count);
SAME_FIELD(weir_kr_expression_t, weir_expression_t, outputs);

SAME_VALUE(F32);
SAME_VALUE(F64);
SAME_VALUE(F16);
SAME_VALUE(BF16);
SAME_VALUE(I8);
SAME_VALUE(I16);
SAME_VALUE(I32);
SAME_VALUE(I64);
SAME_VALUE(U8);
SAME_VALUE(U16);
SAME_VALUE(U32);
SAME_VALUE(U64);
SAME_VALUE(BOOL);
SAME_VALUE(RANK_MAX);
SAME_VALUE(EXPRESSION_MAX);
SAME_VALUE(OPERANDS_MAX);
_Static_assert(WEIR_KR_OK == WEIR_OK && WEIR_KR_INVALID == WEIR_INVALID_ARGUMENT, "codes");

// The opcodes are runs of an enum: their ends and every name in between.
SAME_VALUE(OP_LOAD);
SAME_VALUE(OP_ANCHOR);
SAME_VALUE(OP_CONST);
SAME_VALUE(OP_IDENTITY);
SAME_VALUE(OP_NEG);
SAME_VALUE(OP_ABS);
SAME_VALUE(OP_SIGN);
SAME_VALUE(OP_RECIPROCAL);
SAME_VALUE(OP_SQRT);
SAME_VALUE(OP_EXP);
SAME_VALUE(OP_LOG);
SAME_VALUE(OP_ERF);
SAME_VALUE(OP_SIN);
SAME_VALUE(OP_COS);
SAME_VALUE(OP_TANH);
SAME_VALUE(OP_SIGMOID);
SAME_VALUE(OP_SOFTPLUS);
SAME_VALUE(OP_RELU);
SAME_VALUE(OP_FLOOR);
SAME_VALUE(OP_CEIL);
SAME_VALUE(OP_ROUND);
SAME_VALUE(OP_NOT);
SAME_VALUE(OP_ISNAN);
SAME_VALUE(OP_CAST);
SAME_VALUE(OP_GELU);
SAME_VALUE(OP_GELU_TANH);
SAME_VALUE(OP_HARD_SIGMOID);
SAME_VALUE(OP_HARD_SWISH);
SAME_VALUE(OP_LEAKY_RELU);
SAME_VALUE(OP_ELU);
SAME_VALUE(OP_ADD);
SAME_VALUE(OP_SUB);
SAME_VALUE(OP_MUL);
SAME_VALUE(OP_DIV);
SAME_VALUE(OP_POW);
SAME_VALUE(OP_MOD);
SAME_VALUE(OP_FMOD);
SAME_VALUE(OP_MIN);
SAME_VALUE(OP_MAX);
SAME_VALUE(OP_AND);
SAME_VALUE(OP_OR);
SAME_VALUE(OP_XOR);
SAME_VALUE(OP_EQ);
SAME_VALUE(OP_LT);
SAME_VALUE(OP_LE);
SAME_VALUE(OP_GT);
SAME_VALUE(OP_GE);
SAME_VALUE(OP_PRELU);
SAME_VALUE(OP_SELECT);
SAME_VALUE(OP_CLAMP);

// ---------------------------------------------------------------------------------------------
// Rows
// ---------------------------------------------------------------------------------------------

typedef struct row {
    const char *op;
    weir_kr_run_t run;
    weir_kr_plan_fn_t plan;
    int32_t params;
    uint32_t min_in, max_in, same, index;
    weir_dtype_t dtypes;
} row_t;

enum {
#define WEIR_KERNEL(op, function, params, plan, min_in, max_in, same, index, dtypes, ulp, flags)   \
    ROW_##op,
#include "kernels/ref/kernels.inc"
#undef WEIR_KERNEL
    ROW_COUNT
};

static const row_t rows[ROW_COUNT] = {
#define WEIR_KERNEL(op, function, params, plan, min_in, max_in, same, index, dtypes, ulp, flags)   \
    {#op, function, weir_kr_plan_##plan, WEIR_REF_PARAMS_##params, min_in, max_in, same, index,    \
        dtypes},
#include "kernels/ref/kernels.inc"
#undef WEIR_KERNEL
};

static weir_code_t refuse(char *reason, uint32_t reason_bytes, const char *format, uint32_t i)
{
    if (reason && reason_bytes)
        (void)snprintf(reason, reason_bytes, format, i);
    return WEIR_UNSUPPORTED;
}

static int is_one_of(weir_dtype_t dtype, weir_dtype_t set)
{
    return dtype != 0 && (dtype & (dtype - 1)) == 0 && (dtype & ~set) == 0;
}

// Every output has the type that the kernel writes.
static weir_code_t check_outputs(
    const row_t *row, const weir_node_t *node, char *reason, uint32_t reason_bytes)
{
    ptrdiff_t which = row - rows;
    for (uint32_t i = 0; i < node->output_count; i++) {
        weir_dtype_t dtype = node->outputs[i].dtype, expected = node->inputs[0].dtype;
        if (which == ROW_Shape || which == ROW_Size || which == ROW_ArgMax || which == ROW_ArgMin ||
            (which == ROW_MaxPool && i == 1))
            expected = WEIR_I64;
        if (which == ROW_ConstantOfShape)
            expected = node->inputs[1].dtype;
        if (which == ROW_LayerNormalization && i > 0)
            expected = WEIR_KR_FLOATS;
        if (which == ROW_QuantizeLinear || which == ROW_QLinearConv || which == ROW_QLinearMatMul)
            expected = WEIR_U8 | WEIR_I8;
        if (which == ROW_DynamicQuantizeLinear)
            expected = i == 1 ? WEIR_F32 : WEIR_U8;
        if (which == ROW_DequantizeLinear)
            expected = WEIR_F32;
        if (which == ROW_MatMulInteger || which == ROW_ConvInteger)
            expected = WEIR_I32;
        if (dtype == 0 && (i > 0 || which == ROW_LSTM || which == ROW_Split))
            continue;
        if (!is_one_of(dtype, expected))
            return refuse(
                reason, reason_bytes, "output %u has an element type that is not offered", i);
    }
    return WEIR_OK;
}

static weir_code_t check_inputs(
    const row_t *row, const weir_node_t *node, char *reason, uint32_t reason_bytes)
{
    if (node->input_count < row->min_in || (row->max_in != 255 && node->input_count > row->max_in))
        return refuse(reason, reason_bytes, "%u inputs are too few or too many", node->input_count);
    for (uint32_t i = 0; i < node->input_count; i++) {
        const weir_tensor_t *input = &node->inputs[i];
        uint32_t bit = i < 31 ? 1u << i : 0;
        // Shape and Size read no bytes, so any format will do.
        int reads = row != &rows[ROW_Shape] && row != &rows[ROW_Size];
        if (reads && (input->strides || input->format != WEIR_FORMAT_ROW_MAJOR))
            return refuse(reason, reason_bytes, "input %u is not contiguous row-major", i);
        if (input->rank > WEIR_RANK_MAX)
            return refuse(reason, reason_bytes, "input %u has too many axes", i);
        int required = i < row->min_in || (row->same & (1u << 31));
        // Resize has scales or sizes, either may be absent.
        if (input->dtype == 0 && required && !(row == &rows[ROW_Resize] && i > 0))
            return refuse(reason, reason_bytes, "input %u is absent", i);
        if (input->dtype && (row->index & bit) && !is_one_of(input->dtype, WEIR_KR_INDEX))
            return refuse(reason, reason_bytes, "input %u is neither int32 nor int64", i);
        if (input->dtype && ((row->same & bit) || (row->same & (1u << 31))) &&
            input->dtype != node->inputs[0].dtype)
            return refuse(
                reason, reason_bytes, "input %u has another element type than input 0", i);
    }
    if (row != &rows[ROW_Pointwise] && !is_one_of(node->inputs[0].dtype, row->dtypes))
        return refuse(reason, reason_bytes, "the element type of input %u is not offered", 0);
    if (row == &rows[ROW_Resize] && node->inputs[1].dtype && node->inputs[1].dtype != WEIR_F32)
        return refuse(reason, reason_bytes, "input %u (scales) must be float32", 1);
    return WEIR_OK;
}

// Can the row run the node? Fills the parameters on the way.
static weir_code_t check(const row_t *row, const weir_node_t *node, weir_kr_params_t *out_params,
    char *reason, uint32_t reason_bytes)
{
    if (node->prologue || node->epilogue)
        return refuse(
            reason, reason_bytes, "%u: reference kernels take no prologue or epilogue", 0);
    if (node->output_count == 0)
        return refuse(reason, reason_bytes, "%u outputs", 0);
    weir_code_t code = check_inputs(row, node, reason, reason_bytes);
    if (code != WEIR_OK)
        return code;
    if (row == &rows[ROW_Pointwise]) {
        if (weir_kr_expression_check((const weir_kr_expression_t *)node->body,
                (const weir_kr_tensor_t *)node->inputs, node->input_count,
                (const weir_kr_tensor_t *)node->outputs, node->output_count, reason, reason_bytes))
            return WEIR_UNSUPPORTED;
    } else {
        code = check_outputs(row, node, reason, reason_bytes);
        if (code != WEIR_OK)
            return code;
    }
    return weir__ref_params(row->params, node, out_params, reason, reason_bytes);
}

// ---------------------------------------------------------------------------------------------
// The calls of a kernel
// ---------------------------------------------------------------------------------------------

static weir_code_t supports(const row_t *row, const weir_node_t *node, weir_support_t *out_support)
{
    weir_kr_params_t params;
    return check(row, node, &params, out_support->reason, sizeof out_support->reason);
}

static weir_kr_call_t call_of(const weir_node_t *node, const weir_kr_params_t *params)
{
    return (weir_kr_call_t){.inputs = (const weir_kr_tensor_t *)node->inputs,
        .outputs = (const weir_kr_tensor_t *)node->outputs,
        .input_count = node->input_count,
        .output_count = node->output_count,
        .params = params,
        .body = (const weir_kr_expression_t *)node->body};
}

static weir_code_t plan(const row_t *row, const weir_node_t *node, weir_kr_plan_t *out_plan)
{
    weir_kr_params_t params;
    weir_code_t code = weir__ref_params(row->params, node, &params, NULL, 0);
    if (code != WEIR_OK)
        return code;
    weir_kr_call_t call = call_of(node, &params);
    row->plan(&call, out_plan);
    return WEIR_OK;
}

static weir_code_t prepare(const row_t *row, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    weir_kr_plan_t p;
    weir_code_t code = plan(row, node, &p);
    if (code == WEIR_OK)
        out_prepared->scratch_bytes = p.scratch_bytes;
    return code;
}

static void tasks(const row_t *row, const weir_node_t *node, weir_tasks_t *out_tasks)
{
    weir_kr_plan_t p;
    out_tasks->phase_count = 1;
    out_tasks->task_count[0] = plan(row, node, &p) == WEIR_OK ? p.task_count : 1;
}

static weir_code_t run(const row_t *row, const weir_task_t *task)
{
    weir_kr_params_t params;
    weir_code_t code =
        weir__ref_params(row->params, task->node, &params, task->error, task->error_bytes);
    if (code != WEIR_OK)
        return code;
    weir_kr_call_t call = call_of(task->node, &params);
    call.inputs = (const weir_kr_tensor_t *)task->inputs;
    call.outputs = (const weir_kr_tensor_t *)task->outputs;
    call.first = task->first;
    call.count = task->count;
    call.scratch = task->scratch;
    call.error = task->error;
    call.error_bytes = task->error_bytes;
    return row->run(&call);
}

// A kernel's functions get no pointer of their own: each row has its own, which know their row.
#define WEIR_KERNEL(op, function, params, plan, min_in, max_in, same, index, dtypes, ulp, flags)   \
    static weir_code_t supports_##op(const weir_node_t *node, weir_support_t *out_support)         \
    {                                                                                              \
        return supports(&rows[ROW_##op], node, out_support);                                       \
    }                                                                                              \
    static weir_code_t prepare_##op(                                                               \
        const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)           \
    {                                                                                              \
        (void)host;                                                                                \
        return prepare(&rows[ROW_##op], node, out_prepared);                                       \
    }                                                                                              \
    static void tasks_##op(const weir_node_t *node, void *state, weir_tasks_t *out_tasks)          \
    {                                                                                              \
        (void)state;                                                                               \
        tasks(&rows[ROW_##op], node, out_tasks);                                                   \
    }                                                                                              \
    static weir_code_t run_##op(const weir_task_t *task)                                           \
    {                                                                                              \
        return run(&rows[ROW_##op], task);                                                         \
    }
#include "kernels/ref/kernels.inc"
#undef WEIR_KERNEL

#define FLAGS_0 0
#define FLAGS_INPLACE WEIR_KERNEL_INPLACE

static const weir_kernel_t kernels[ROW_COUNT] = {
#define WEIR_KERNEL(                                                                               \
    op_, function, params, plan, min_in, max_in, same, index, dtypes_, ulp, flags_)                \
    {.head = {(uint32_t)sizeof(weir_kernel_t), FLAGS_##flags_},                                    \
        .op = #op_,                                                                                \
        .name = "ref " #op_,                                                                       \
        .revision = 1,                                                                             \
        .dtypes = dtypes_,                                                                         \
        .supports = supports_##op_,                                                                \
        .prepare = prepare_##op_,                                                                  \
        .tasks = tasks_##op_,                                                                      \
        .run = run_##op_},
#include "kernels/ref/kernels.inc"
#undef WEIR_KERNEL
};

static weir_code_t probe(const weir_host_t *host, weir_support_t *out_support)
{
    (void)host;
    snprintf(out_support->reason, sizeof out_support->reason, "plain C, always there");
    return WEIR_OK;
}

static const weir_plugin_t plugin = {.head = WEIR_PLUGIN_HEAD,
    .name = "ref",
    .vendor = "weir",
    .version = WEIR_REF_VERSION,
    .build = WEIR_REF_VERSION " " __VERSION__,
    .kernels = WEIR_ARRAY(kernels),
    .probe = probe};

const weir_plugin_t *weir_ref_plugin(const weir_host_t *host)
{
    (void)host;
    return &plugin;
}

// ---------------------------------------------------------------------------------------------
// One node at once
// ---------------------------------------------------------------------------------------------

weir_code_t weir_ref_run(
    const weir_host_t *host, const weir_node_t *node, char *error, uint32_t error_bytes)
{
    _Alignas(64) char small[4096];
    weir_kr_params_t params;
    weir_kr_plan_t p;
    const row_t *row = NULL;
    for (uint32_t i = 0; i < ROW_COUNT && !row; i++)
        if (rows[i].op[0] == node->op[0] && strcmp(rows[i].op, node->op) == 0)
            row = &rows[i];
    if (!row) {
        (void)refuse(error, error_bytes, "%u reference kernels, none of this name", ROW_COUNT);
        return WEIR_NOT_FOUND;
    }
    weir_code_t code = check(row, node, &params, error, error_bytes);
    if (code != WEIR_OK)
        return code;
    weir_kr_call_t call = call_of(node, &params);
    row->plan(&call, &p);
    void *large = NULL;
    if (p.scratch_bytes > sizeof small) {
        large = host->alloc(host, p.scratch_bytes);
        if (!large) {
            (void)refuse(
                error, error_bytes, "no memory for scratch of row %u", (uint32_t)(row - rows));
            return WEIR_RESOURCE_EXHAUSTED;
        }
    }
    call.scratch = large ? large : small;
    call.count = p.task_count;
    call.error = error;
    call.error_bytes = error_bytes;
    code = row->run(&call);
    if (large)
        host->free(host, large);
    return code;
}
