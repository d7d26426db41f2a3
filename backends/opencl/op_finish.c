// backends/opencl/op_finish.c: what follows the sum of an anchor (a bias, alpha and beta of a Gemm,
// the epilogue), printed into the anchor's kernel.
//
// Each operand is found from the place of an element: its line and its column of the output, as the
// kernel sees it (weir_cl_view_t). How is settled when the plan is made, dims symbolic, and noted;
// a shape that broadcasts in another way is refused, and then a kernel of its own.
#include <stdio.h>
#include <string.h>

#include "backends/opencl/op_kernels.h"
#include "backends/print/print.h"

#define OPERANDS_MAX (WEIR_CL_NOTES - WEIR_CL_NOTE_FINISH)
#define TEXT_BYTES 24576u

// The part of the line that finds an operand's element.
enum { LINE_NONE = 0, LINE_ALL = 1, LINE_MOD = 2, LINE_DIV = 3 };

typedef struct operand {
    uint32_t input;
    uint32_t line;       // LINE_*
    uint32_t has_column; // blocked: it has channels
    uint32_t axis;       // LINE_MOD and LINE_DIV: the first dim of the product
    uint32_t is_whole;   // it lies as the output does
} operand_t;

typedef struct finish {
    operand_t operands[OPERANDS_MAX];
    uint32_t count;
    bool has_own; // operand 0 is input 2
    float alpha, beta;
} finish_t;

// What is printed: an anchor's epilogue, or all that a Pointwise is.
static const weir_expression_t *expression_of(const weir_node_t *node)
{
    return node->body ? node->body : node->epilogue;
}

uint32_t weir_cl_own_inputs(const weir_node_t *node)
{
    const weir_expression_t *expression = expression_of(node);
    return expression && expression->operand_count
               ? WEIR_MIN(expression->first_operand, node->input_count)
               : node->input_count;
}

// Dim `axis` of `rank` that a tensor is broadcast to.
static int64_t dim_of(const weir_tensor_t *tensor, uint32_t rank, uint32_t axis)
{
    return axis + tensor->rank < rank ? 1 : tensor->dims[axis + tensor->rank - rank];
}

// ---------------------------------------------------------------------------------------------
// How an operand is found
// ---------------------------------------------------------------------------------------------

enum { MARK_ANY = 0, MARK_IN = 1, MARK_OUT = 2 };

static const char *find_row_major(const weir_tensor_t *y, uint32_t column_axes, bool is_channels,
    const weir_tensor_t *tensor, operand_t *operand)
{
    uint8_t marks[WEIR_RANK_MAX];
    const uint32_t lines = y->rank - column_axes;
    const char *broadcast = "an operand that broadcasts in a way that is not known";
    if (tensor->rank > y->rank || tensor->strides)
        return broadcast;
    for (uint32_t d = 0; d < y->rank; d++) {
        const int64_t dim =
            is_channels ? (d == 1 ? tensor->dims[0] : 1) : dim_of(tensor, y->rank, d);
        if (dim != 1 && dim != y->dims[d])
            return broadcast;
        marks[d] = (uint8_t)(dim != 1 ? MARK_IN : y->dims[d] == 1 ? MARK_ANY : MARK_OUT);
    }
    uint32_t seen = MARK_ANY;
    for (uint32_t d = lines; d < y->rank; d++) {
        if (marks[d] && seen && seen != marks[d])
            return broadcast;
        seen = marks[d] ? marks[d] : seen;
    }
    operand->has_column = seen == MARK_IN;
    uint32_t changes = 0, first = MARK_ANY, last = MARK_ANY;
    for (uint32_t d = 0; d < lines; d++) {
        if (!marks[d] || marks[d] == last)
            continue;
        if (last) {
            changes++;
            operand->axis = d;
        } else {
            first = marks[d];
        }
        last = marks[d];
    }
    if (changes > 1)
        return broadcast;
    operand->line = changes == 1      ? (first == MARK_IN ? LINE_DIV : LINE_MOD)
                    : last == MARK_IN ? LINE_ALL
                                      : LINE_NONE;
    operand->is_whole = operand->line == LINE_ALL && (operand->has_column || column_axes == 0);
    return NULL;
}

static const char *find_blocked(
    const weir_tensor_t *y, bool is_channels, const weir_tensor_t *tensor, operand_t *operand)
{
    if (tensor->rank > 4 || tensor->strides)
        return "an operand that broadcasts in a way that is not known";
    int64_t dims[4];
    for (uint32_t d = 0; d < 4; d++)
        dims[d] = is_channels ? (d == 1 ? tensor->dims[0] : 1) : dim_of(tensor, 4, d);
    const bool is_point = dims[2] == 1 && dims[3] == 1;
    const bool in_blocks = tensor->format == WEIR_FORMAT_NCHW16C;
    if (in_blocks && tensor->rank == 4 && !memcmp(dims, y->dims, sizeof dims)) {
        operand->is_whole = 1;
        return NULL;
    }
    if (dims[0] == 1 && dims[1] == 1 && is_point)
        return NULL;
    operand->has_column = 1;
    if (dims[1] != y->dims[1] || !is_point)
        return "an operand that broadcasts in a way that is not known";
    if (dims[0] == 1 && (in_blocks || weir_cl_is_constant(tensor)))
        return NULL;
    operand->line = LINE_ALL;
    return in_blocks && dims[0] == y->dims[0] ? NULL : "an operand that is not in blocks";
}

static const char *add_operand(
    const weir_node_t *node, weir_cl_view_t view, uint32_t input, finish_t *finish)
{
    const weir_tensor_t *tensor = &node->inputs[input], *y = &node->outputs[0];
    if (finish->count == OPERANDS_MAX)
        return "more operands than the kernel has room for";
    if (tensor->dtype != WEIR_F32)
        return "an operand that is not f32";
    operand_t *operand = &finish->operands[finish->count++];
    *operand = (operand_t){.input = input};
    // A bias is one for each channel; Gemm's C is broadcast.
    const bool is_channels = finish->has_own && finish->count == 1 && node->op[0] == 'C';
    if (is_channels && (tensor->rank != 1 || y->rank < 2 || tensor->dims[0] != y->dims[1]))
        return "a bias that is not one for each channel";
    if (view.is_blocked)
        return find_blocked(y, is_channels, tensor, operand);
    return find_row_major(y, view.column_axes, is_channels, tensor, operand);
}

static const char *finish_read(const weir_node_t *node, weir_cl_view_t view, finish_t *finish)
{
    const bool is_gemm = node->op[0] == 'G';
    *finish = (finish_t){.alpha = 1.0f, .beta = 1.0f};
    if (is_gemm) {
        finish->alpha = (float)weir_node_float(node, "alpha", 1.0);
        finish->beta = (float)weir_node_float(node, "beta", 1.0);
    }
    if ((is_gemm || node->op[0] == 'C') && weir_cl_has(node, 2)) {
        finish->has_own = true;
        const char *wrong = add_operand(node, view, 2, finish);
        if (wrong)
            return wrong;
    }
    const weir_expression_t *expression = expression_of(node);
    for (uint32_t k = 0; expression && k < expression->operand_count; k++) {
        if (expression->first_operand + k >= node->input_count)
            return "an operand that is not there";
        const char *wrong = add_operand(node, view, expression->first_operand + k, finish);
        if (wrong)
            return wrong;
    }
    return NULL;
}

// Arguments of one operand: the tensor, a size of the line, the columns of a line.
static bool needs_size(const operand_t *operand)
{
    return operand->line == LINE_MOD || operand->line == LINE_DIV;
}

static bool needs_width(const operand_t *operand, weir_cl_view_t view)
{
    return !view.is_blocked && !operand->is_whole && operand->has_column &&
           operand->line != LINE_NONE;
}

static uint32_t arg_count(const finish_t *finish, weir_cl_view_t view)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < finish->count; i++)
        count += 1u + needs_size(&finish->operands[i]) + needs_width(&finish->operands[i], view);
    return count;
}

weir_code_t weir_cl_finish_supports(
    const weir_node_t *node, weir_cl_view_t view, uint32_t args, weir_support_t *out_support)
{
    if (node->prologue)
        return weir_cl_no(out_support, "takes no prologue");
    const uint32_t own = WEIR_MIN(weir_cl_own_inputs(node), 3u);
    if (node->output_count != 1 || node->outputs[0].dtype != WEIR_F32)
        return weir_cl_no(out_support, "gives one f32 output only");
    for (uint32_t i = 0; i < own; i++)
        if (node->inputs[i].dtype != WEIR_F32 && (i < 2 || node->inputs[i].dtype != 0))
            return weir_cl_no(out_support, "takes f32 only");
    if (view.is_blocked && !weir_cl_is_blocked(&node->outputs[0]))
        return weir_cl_no(out_support, "gives blocks only");
    finish_t finish;
    const char *reason = finish_read(node, view, &finish);
    if (reason)
        return weir_cl_no(out_support, "%s", reason);
    if (args + arg_count(&finish, view) > WEIR_CL_ARGS_MAX)
        return weir_cl_no(out_support, "more operands than the kernel has room for");
    const weir_expression_t *expression = expression_of(node);
    if (!expression)
        return WEIR_OK;
    if (expression->output_count != 1 ||
        expression->instructions[expression->outputs[0]].dtype != WEIR_F32)
        return weir_cl_no(out_support, "gives one f32 output only");
    // PoCL's sine and cosine of 16 are wrong for large arguments.
    for (uint32_t i = 0; i < expression->instruction_count; i++)
        if (expression->instructions[i].opcode == WEIR_OP_SIN ||
            expression->instructions[i].opcode == WEIR_OP_COS)
            return weir_cl_no(out_support, "takes no sines");
    if (weir_print_can(expression, 16, &reason) != WEIR_OK ||
        weir_print_can(expression, 1, &reason) != WEIR_OK)
        return weir_cl_no(out_support, "%s", reason);
    return WEIR_OK;
}

// ---------------------------------------------------------------------------------------------
// The text
// ---------------------------------------------------------------------------------------------

// What reads operand i: 16 elements, or one.
static void print_load(const weir_node_t *node, const operand_t *operand, weir_cl_view_t view,
    uint32_t i, uint32_t lanes, char text[192])
{
    char line[64] = "0";
    if (operand->line == LINE_ALL)
        (void)snprintf(line, sizeof line, "line");
    else if (operand->line != LINE_NONE)
        (void)snprintf(line, sizeof line, "(line %c (size_t)e%u_size)",
            operand->line == LINE_MOD ? '%' : '/', i);
    char at[112];
    if (operand->is_whole)
        (void)snprintf(at, sizeof at, "at");
    else if (!operand->has_column)
        (void)snprintf(at, sizeof at, "%s", line);
    else if (operand->line == LINE_NONE)
        (void)snprintf(at, sizeof at, "column");
    else if (view.is_blocked)
        (void)snprintf(at, sizeof at, "line * %lld + column",
            (long long)weir_cl_blocks(node->outputs[0].dims[1]) * 16);
    else
        (void)snprintf(at, sizeof at, "%s * (size_t)e%u_width + column", line, i);
    const bool is_spread = lanes > 1 && !operand->has_column &&
                           !(operand->is_whole && (view.is_blocked || view.column_axes > 0));
    if (lanes == 1)
        (void)snprintf(text, 192, "e%u[%s]", i, at);
    else if (is_spread)
        (void)snprintf(text, 192, "(float16)(e%u[%s])", i, at);
    else
        (void)snprintf(text, 192, "vload16(0, e%u + %s)", i, at);
}

// The operands as parameters or as arguments: what stands before and after a tensor's name,
// and before a size's.
static void print_operands(const finish_t *finish, weir_cl_view_t view, const char *before,
    const char *after, const char *size, weir_print_t *print)
{
    for (uint32_t i = 0; i < finish->count; i++) {
        const operand_t *operand = &finish->operands[i];
        weir_print_add(print, ", %se%u%s", before, i, after);
        if (needs_size(operand))
            weir_print_add(print, ", %se%u_size", size, i);
        if (needs_width(operand, view))
            weir_print_add(print, ", %se%u_width", size, i);
    }
}

// The function that finishes `lanes` elements.
static void print_function(const weir_node_t *node, const finish_t *finish, weir_cl_view_t view,
    uint32_t lanes, weir_print_t *print)
{
    const char *type = lanes > 1 ? "float16" : "float";
    char loads[OPERANDS_MAX][192];
    const char *load_list[OPERANDS_MAX];
    for (uint32_t i = 0; i < finish->count; i++) {
        print_load(node, &finish->operands[i], view, i, lanes, loads[i]);
        load_list[i] = loads[i];
    }
    weir_print_add(print,
        "static inline %s weir_finish%u(%s anchor, size_t at, size_t line, size_t column", type,
        lanes, type);
    print_operands(finish, view, "__global const float *", "", "const long ", print);
    weir_print_add(print, ")\n{\n");
    if (finish->alpha != 1.0f)
        weir_print_add(print, "    anchor = anchor * %af;\n", (double)finish->alpha);
    if (finish->has_own && finish->beta != 1.0f)
        weir_print_add(print, "    anchor = anchor + %s * %af;\n", loads[0], (double)finish->beta);
    else if (finish->has_own)
        weir_print_add(print, "    anchor = anchor + %s;\n", loads[0]);
    if (expression_of(node)) {
        const weir_print_body_t body = {.expression = expression_of(node),
            .dialect = WEIR_PRINT_OPENCL,
            .lanes = lanes,
            .loads = load_list + finish->has_own,
            .anchor = "anchor"};
        weir_print_statements(print, &body);
        weir_print_add(print, "    return v%u;\n}\n", (unsigned)expression_of(node)->outputs[0]);
    } else {
        weir_print_add(print, "    return anchor;\n}\n");
    }
    weir_print_add(print,
        "#define FINISH%u(anchor, at, line, column) weir_finish%u(anchor, at, line, column", lanes,
        lanes);
    print_operands(finish, view, "", "", "", print);
    weir_print_add(print, ")\n");
}

static void note_operands(const finish_t *finish, weir_cl_builder_t *builder)
{
    for (uint32_t i = 0; i < finish->count; i++) {
        const operand_t *operand = &finish->operands[i];
        weir_cl_note(builder, WEIR_CL_NOTE_FINISH + i,
            (int64_t)(operand->line | operand->has_column << 4 | operand->is_whole << 5 |
                      operand->axis << 8));
    }
}

weir_code_t weir_cl_finish_build(const weir_node_t *node, weir_cl_view_t view, uint32_t wants,
    const char *own, char out_arguments[WEIR_CL_ARGS_MAX + 1], weir_cl_builder_t *builder)
{
    char text[TEXT_BYTES];
    weir_print_t print = {.text = text, .room = sizeof text};
    finish_t finish;
    const char *reason = finish_read(node, view, &finish);
    if (reason)
        return weir_cl_build_fails(builder, WEIR_UNSUPPORTED, "%s: %s", node->op, reason);
    const uint32_t lanes = wants & WEIR_CL_WANTS_16 ? 16 : 1;
    if (expression_of(node))
        weir_print_preamble(
            &print, WEIR_PRINT_OPENCL, weir_print_dtypes(expression_of(node)) | WEIR_F32, lanes);
    if (wants & WEIR_CL_WANTS_16)
        print_function(node, &finish, view, 16, &print);
    if (wants & WEIR_CL_WANTS_1)
        print_function(node, &finish, view, 1, &print);
    weir_print_add(&print, "#define FINISH_PARAMETERS ");
    print_operands(&finish, view, "WEIR_INPUT(float, ", ")", "const long ", &print);
    weir_print_add(&print, "\n#define FINISH_POINTERS");
    for (uint32_t i = 0; i < finish.count; i++)
        weir_print_add(&print, " WEIR_CONST_POINTER(float, e%u);", i);
    weir_print_add(&print, "\n");
    if (print.length >= print.room)
        return weir_cl_build_fails(
            builder, WEIR_UNSUPPORTED, "%s: an epilogue that is too long", node->op);
    weir_cl_text(builder, "%s", text);
    note_operands(&finish, builder);
    size_t used = strlen(own);
    if (used + arg_count(&finish, view) > WEIR_CL_ARGS_MAX)
        return weir_cl_build_fails(builder, WEIR_UNSUPPORTED, "%s: too many operands", node->op);
    memcpy(out_arguments, own, used);
    for (uint32_t i = 0; i < finish.count; i++) {
        out_arguments[used++] = 't';
        if (needs_size(&finish.operands[i]))
            out_arguments[used++] = 'l';
        if (needs_width(&finish.operands[i], view))
            out_arguments[used++] = 'l';
    }
    out_arguments[used] = '\0';
    return WEIR_OK;
}

void weir_cl_finish_args(const weir_node_t *node, weir_cl_view_t view, const weir_cl_built_t *built,
    weir_cl_dispatch_t *dispatch)
{
    const weir_tensor_t *y = &node->outputs[0];
    const bool has_own = (node->op[0] == 'G' || node->op[0] == 'C') && weir_cl_has(node, 2);
    const weir_expression_t *expression = expression_of(node);
    const uint32_t operands = expression ? expression->operand_count : 0;
    const uint32_t lines = view.is_blocked ? 1 : y->rank - view.column_axes;
    for (uint32_t i = 0; i < operands + has_own; i++) {
        const uint32_t note = (uint32_t)built->notes[WEIR_CL_NOTE_FINISH + i];
        const operand_t operand = {.line = note & 15u,
            .has_column = note >> 4 & 1u,
            .is_whole = note >> 5 & 1u,
            .axis = note >> 8};
        weir_cl_arg_input(
            dispatch, node, has_own && i == 0 ? 2 : expression->first_operand + i - has_own);
        if (needs_size(&operand))
            weir_cl_arg_i64(dispatch, WEIR_MAX(weir_cl_sizes(y, operand.axis, lines), 1));
        if (needs_width(&operand, view))
            weir_cl_arg_i64(dispatch, weir_cl_sizes(y, lines, y->rank));
    }
}

// ---------------------------------------------------------------------------------------------
// Constants with channels, in blocks
// ---------------------------------------------------------------------------------------------

void weir_cl_finish_pack_query(
    const weir_node_t *node, weir_cl_view_t view, uint32_t input, weir_packing_t *out_packing)
{
    finish_t finish;
    if (finish_read(node, view, &finish))
        return;
    for (uint32_t i = 0; i < finish.count; i++) {
        if (finish.operands[i].input != input || !finish.operands[i].has_column)
            continue;
        out_packing->format = WEIR_CL_FORMAT_CHANNELS;
        out_packing->bytes =
            (uint64_t)weir_cl_blocks(node->outputs[0].dims[1]) * 16 * sizeof(float);
    }
}

weir_code_t weir_cl_finish_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    const weir_tensor_t *tensor = &node->inputs[input];
    const uint64_t floats = bytes / sizeof(float);
    const uint64_t channels = WEIR_MIN(tensor->element_count, floats);
    memset(destination, 0, bytes);
    if (channels > 0)
        memcpy(destination, tensor->data, channels * sizeof(float));
    return WEIR_OK;
}
