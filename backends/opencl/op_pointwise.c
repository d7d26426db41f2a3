// backends/opencl/op_pointwise.c: "Pointwise": an expression over tensors of any broadcasting,
// printed into kernels/opencl/common/pointwise.cl.
//
// The output's dims are joined into groups wherever all operands go along; how an operand follows
// the groups is known when the plan is made, so the kernel gets sizes alone. Where it is not known
// (two symbols that may be equal) the operand's distances are arguments. Values of f32 are worked
// on sixteen at a time where the expression has that form.
#include "backends/opencl/op_host.h"

#include "backends/print/print.h"
#include <stdio.h>
#include <string.h>

#define GROUPS_MAX 8
#define OUTPUTS_MAX 8
#define LANES 16
#define GPU_GROUP 128
#define CHUNK 16384u // elements for one work-item of the cpu family, about

// How an operand follows a group: it does, it stays where it is, or only a run tells.
enum { FOLLOWS = 1, STAYS = 2, OPEN = 3 };

typedef struct layout {
    uint32_t group_count;
    uint32_t first_axis[GROUPS_MAX + 1]; // group g is the axes [first[g], first[g + 1]) of output 0
    uint32_t operand_count, output_count;
    uint8_t follows[WEIR_OPERANDS_MAX][GROUPS_MAX];
    bool is_open[WEIR_OPERANDS_MAX]; // its distances are arguments
    uint32_t lanes;
    bool may_fail; // an integer is divided
} layout_t;

// ---- How operands lie ---------------------------------------------------------------------------

static const weir_tensor_t *operand_of(const weir_node_t *node, uint32_t k)
{
    return &node->inputs[node->body->first_operand + k];
}

static uint8_t follow_axis(const weir_tensor_t *operand, const weir_tensor_t *output, uint32_t axis)
{
    uint32_t missing = output->rank - operand->rank;
    if (axis < missing)
        return STAYS;
    int64_t own = operand->dims[axis - missing], whole = output->dims[axis];
    if (own == whole)
        return FOLLOWS;
    return own == 1 ? STAYS : OPEN;
}

// Sizes of 1 follow as well as they stay: they say nothing about how axes may be joined.
static bool is_one(const weir_tensor_t *output, uint32_t axis)
{
    return output->dims[axis] == 1;
}

static bool goes_along(
    const weir_node_t *node, const layout_t *layout, uint32_t group, uint32_t axis)
{
    const weir_tensor_t *output = &node->outputs[0];
    for (uint32_t k = 0; k < layout->operand_count; k++) {
        uint8_t how = follow_axis(operand_of(node, k), output, axis);
        if (how == OPEN || how != layout->follows[k][group])
            return false;
    }
    return true;
}

static bool divides(const weir_expression_t *body)
{
    for (uint32_t i = 0; i < body->instruction_count; i++) {
        const weir_instruction_t *each = &body->instructions[i];
        bool is_whole = !(each->dtype & (WEIR_F32 | WEIR_F64 | WEIR_F16 | WEIR_BF16));
        if (is_whole && (each->opcode == WEIR_OP_DIV || each->opcode == WEIR_OP_MOD ||
                            each->opcode == WEIR_OP_FMOD))
            return true;
    }
    return false;
}

// PoCL's sin() and cos() of vectors are wrong for large arguments: twice the value, even.
static bool has_sines(const weir_expression_t *body)
{
    for (uint32_t i = 0; i < body->instruction_count; i++)
        if (body->instructions[i].opcode == WEIR_OP_SIN ||
            body->instructions[i].opcode == WEIR_OP_COS)
            return true;
    return false;
}

static const char *lay_out(const weir_node_t *node, layout_t *layout)
{
    const weir_tensor_t *output = &node->outputs[0];
    const char *reason;
    memset(layout, 0, sizeof *layout);
    layout->operand_count = node->body->operand_count;
    layout->output_count = node->output_count;
    layout->lanes = LANES;
    layout->may_fail = divides(node->body);
    for (uint32_t axis = 0; axis < output->rank; axis++) {
        uint32_t last = layout->group_count - 1;
        if (is_one(output, axis) || (layout->group_count && goes_along(node, layout, last, axis)))
            continue;
        if (layout->group_count == GROUPS_MAX)
            return "it broadcasts over more dims than the kernel knows";
        last = layout->group_count++;
        layout->first_axis[last] = axis;
        for (uint32_t k = 0; k < layout->operand_count; k++) {
            layout->follows[k][last] = follow_axis(operand_of(node, k), output, axis);
            layout->is_open[k] = layout->is_open[k] || layout->follows[k][last] == OPEN;
        }
    }
    if (!layout->group_count) { // one element
        layout->group_count = 1;
        for (uint32_t k = 0; k < layout->operand_count; k++)
            layout->follows[k][0] = STAYS;
    }
    layout->first_axis[layout->group_count] = output->rank;
    for (uint32_t k = 0; k < layout->operand_count; k++)
        if (operand_of(node, k)->dtype != WEIR_F32 || layout->is_open[k])
            layout->lanes = 1;
    for (uint32_t o = 0; o < layout->output_count; o++)
        if (node->outputs[o].dtype != WEIR_F32)
            layout->lanes = 1;
    if (weir_print_can(node->body, LANES, &reason) != WEIR_OK || has_sines(node->body))
        layout->lanes = 1;
    return NULL;
}

static uint32_t argument_count(const layout_t *layout)
{
    uint32_t count = layout->operand_count + layout->output_count + layout->group_count + 3;
    for (uint32_t k = 0; k < layout->operand_count; k++)
        count += layout->is_open[k] ? layout->group_count : 0;
    return count + layout->may_fail;
}

static weir_dtype_t dtypes_of(const weir_node_t *node)
{
    weir_dtype_t dtypes = weir_print_dtypes(node->body);
    for (uint32_t k = 0; k < node->body->operand_count; k++)
        dtypes |= operand_of(node, k)->dtype;
    for (uint32_t o = 0; o < node->output_count; o++)
        dtypes |= node->outputs[o].dtype;
    return dtypes;
}

weir_code_t weir_cl_pointwise_supports(const weir_node_t *node, weir_support_t *out_support)
{
    layout_t layout;
    const char *reason;
    if (!node->body || node->prologue || node->epilogue)
        return weir_cl_no(out_support, "a Pointwise node has a body and nothing else");
    if (node->output_count > OUTPUTS_MAX)
        return weir_cl_no(out_support, "%u outputs", node->output_count);
    if (weir_print_can(node->body, 1, &reason) != WEIR_OK)
        return weir_cl_no(out_support, "%s", reason);
    reason = lay_out(node, &layout);
    if (reason)
        return weir_cl_no(out_support, "%s", reason);
    if (argument_count(&layout) > WEIR_CL_ARGS_MAX)
        return weir_cl_no(out_support, "it has more operands than a kernel has arguments");
    return WEIR_OK;
}

// ---- Printing -----------------------------------------------------------------------------------

// Where operand k's element lies in a row: a sum over the outer groups.
static void print_base(weir_cl_builder_t *builder, const layout_t *layout, uint32_t k)
{
    weir_cl_text(builder, " const long a%u = 0", k);
    for (uint32_t g = 0; g + 1 < layout->group_count; g++) {
        if (layout->is_open[k]) {
            weir_cl_text(builder, " + i%u * d%u_%u", g, k, g);
            continue;
        }
        if (layout->follows[k][g] != FOLLOWS)
            continue;
        weir_cl_text(builder, " + i%u", g);
        for (uint32_t later = g + 1; later < layout->group_count; later++)
            if (layout->follows[k][later] == FOLLOWS)
                weir_cl_text(builder, " * n%u", later);
    }
    weir_cl_text(builder, ";");
}

// The row's place in the outer groups and every operand's base, in one line.
static void print_row(weir_cl_builder_t *builder, const layout_t *layout)
{
    weir_cl_text(builder, "#define WEIR_ROW(row) long rest = (row); (void)rest;");
    for (uint32_t g = layout->group_count - 1; g-- > 0;)
        weir_cl_text(builder, " const long i%u = rest %% n%u; rest /= n%u;", g, g, g);
    for (uint32_t k = 0; k < layout->operand_count; k++)
        print_base(builder, layout, k);
    weir_cl_text(builder, "\n");
}

static void print_parameters(
    weir_cl_builder_t *builder, const weir_node_t *node, const layout_t *layout)
{
    weir_cl_text(builder, "#define WEIR_PARAMETERS ");
    for (uint32_t k = 0; k < layout->operand_count; k++)
        weir_cl_text(builder, ", WEIR_TENSOR(const w_%s, x%u)",
            weir_print_dtype(operand_of(node, k)->dtype), k);
    for (uint32_t o = 0; o < layout->output_count; o++)
        weir_cl_text(
            builder, ", WEIR_TENSOR(w_%s, y%u)", weir_print_dtype(node->outputs[o].dtype), o);
    for (uint32_t g = 0; g < layout->group_count; g++)
        weir_cl_text(builder, ", const long n%u", g);
    for (uint32_t k = 0; k < layout->operand_count; k++)
        for (uint32_t g = 0; layout->is_open[k] && g < layout->group_count; g++)
            weir_cl_text(builder, ", const long d%u_%u", k, g);
    weir_cl_text(builder, "%s\n#define WEIR_POINTERS", layout->may_fail ? ", WEIR_ERROR" : "");
    for (uint32_t k = 0; k < layout->operand_count; k++)
        weir_cl_text(builder, " WEIR_POINTER(const w_%s, x%u);",
            weir_print_dtype(operand_of(node, k)->dtype), k);
    for (uint32_t o = 0; o < layout->output_count; o++)
        weir_cl_text(
            builder, " WEIR_POINTER(w_%s, y%u);", weir_print_dtype(node->outputs[o].dtype), o);
    weir_cl_text(builder, "\n#define WEIR_INNER n%u\n", layout->group_count - 1);
}

// What reads operand k at element i of the row.
static void print_load(
    const layout_t *layout, uint32_t k, uint32_t lanes, char *out_text, size_t bytes)
{
    uint32_t inner = layout->group_count - 1;
    if (layout->is_open[k])
        snprintf(out_text, bytes, "x%u[a%u + i * d%u_%u]", k, k, k, inner);
    else if (layout->follows[k][inner] != FOLLOWS)
        snprintf(out_text, bytes, lanes > 1 ? "(w_f32x16)(x%u[a%u])" : "x%u[a%u]", k, k);
    else
        snprintf(out_text, bytes, lanes > 1 ? "vload16(0, x%u + a%u + i)" : "x%u[a%u + i]", k, k);
}

// A block of statements that makes element i of row `at`, or sixteen of them.
static weir_code_t print_body(
    weir_cl_builder_t *builder, const weir_node_t *node, const layout_t *layout, uint32_t lanes)
{
    char loads[WEIR_OPERANDS_MAX][48], stores[OUTPUTS_MAX][24], text[16384];
    const char *load_texts[WEIR_OPERANDS_MAX], *store_texts[OUTPUTS_MAX];
    for (uint32_t k = 0; k < layout->operand_count; k++) {
        print_load(layout, k, lanes, loads[k], sizeof loads[k]);
        load_texts[k] = loads[k];
    }
    for (uint32_t o = 0; o < layout->output_count; o++) {
        snprintf(stores[o], sizeof stores[o], lanes > 1 ? "r%u" : "y%u[at + i]", o);
        store_texts[o] = stores[o];
    }
    weir_print_t print = {.text = text, .room = sizeof text};
    weir_print_body_t body = {.expression = node->body,
        .dialect = WEIR_PRINT_OPENCL,
        .lanes = lanes,
        .loads = load_texts,
        .stores = store_texts,
        .fault = layout->may_fail ? "WEIR_FAIL(1);" : NULL};
    weir_print_statements(&print, &body);
    if (print.length >= print.room)
        return weir_cl_build_fails(builder, WEIR_LIMIT, "an expression of %llu bytes of source",
            (unsigned long long)print.length);
    // Statements are lines; a macro is one.
    for (char *at = text; (at = strchr(at, '\n')) != NULL;)
        *at = ' ';
    weir_cl_text(builder, "#define WEIR_EACH%u {", lanes);
    for (uint32_t o = 0; lanes > 1 && o < layout->output_count; o++)
        weir_cl_text(builder, " w_f32x16 r%u;", o);
    weir_cl_text(builder, " %s", text);
    for (uint32_t o = 0; lanes > 1 && o < layout->output_count; o++)
        weir_cl_text(builder, " vstore16(r%u, 0, y%u + at + i);", o, o);
    weir_cl_text(builder, " }\n");
    return WEIR_OK;
}

weir_code_t weir_cl_pointwise_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    static const uint32_t alone[3] = {1, 1, 1}, together[3] = {GPU_GROUP, 1, 1};
    bool is_gpu = weir_cl_facts(builder)->family == WEIR_CL_FAMILY_GPU;
    char preamble[24576], arguments[WEIR_CL_ARGS_MAX + 1];
    layout_t layout;
    int64_t open = 0;
    (void)lay_out(node, &layout);
    if (is_gpu)
        layout.lanes = 1;
    weir_print_t print = {.text = preamble, .room = sizeof preamble};
    weir_print_preamble(&print, WEIR_PRINT_OPENCL, dtypes_of(node), layout.lanes);
    if (print.length >= print.room)
        return weir_cl_build_fails(
            builder, WEIR_LIMIT, "a preamble of %llu bytes", (unsigned long long)print.length);
    weir_cl_text(builder, "%s", preamble);
    print_parameters(builder, node, &layout);
    print_row(builder, &layout);
    weir_code_t code = print_body(builder, node, &layout, 1);
    if (code == WEIR_OK && layout.lanes > 1)
        code = print_body(builder, node, &layout, LANES);
    if (code != WEIR_OK)
        return code;
    weir_cl_note(builder, 0, layout.group_count);
    for (uint32_t g = 0; g <= layout.group_count; g++)
        weir_cl_note(builder, 1 + g, layout.first_axis[g]);
    for (uint32_t k = 0; k < layout.operand_count; k++)
        open |= (int64_t)layout.is_open[k] << k;
    weir_cl_note(builder, WEIR_CL_NOTES - 1, open);
    uint32_t tensors = layout.operand_count + layout.output_count;
    uint32_t count = argument_count(&layout);
    memset(arguments, 'l', count);
    memset(arguments, 't', tensors);
    arguments[count] = '\0';
    if (layout.may_fail) // comes before rows and chunks
        arguments[count - 4] = 'e';
    weir_cl_kernel(
        builder, "common/pointwise", "weir_pointwise", arguments, is_gpu ? together : alone);
    return WEIR_OK;
}

// ---- Dispatching --------------------------------------------------------------------------------

static int64_t group_size(const weir_node_t *node, const layout_t *layout, uint32_t g)
{
    int64_t size = 1;
    for (uint32_t axis = layout->first_axis[g]; axis < layout->first_axis[g + 1]; axis++)
        size *= node->outputs[0].dims[axis];
    return size;
}

// Distances of an operand whose dims only a run tells: one for each group, 0 where it stays. Such a
// group is one axis, but for axes of size 1.
static void add_distances(
    weir_cl_dispatch_t *dispatch, const weir_node_t *node, const layout_t *layout, uint32_t k)
{
    const weir_tensor_t *operand = operand_of(node, k), *output = &node->outputs[0];
    for (uint32_t g = 0; g < layout->group_count; g++) {
        uint32_t missing = output->rank - operand->rank;
        int64_t distance = 1, own = 1;
        for (uint32_t axis = layout->first_axis[g]; axis < output->rank; axis++) {
            int64_t dim = axis < missing ? 1 : operand->dims[axis - missing];
            if (axis < layout->first_axis[g + 1])
                own *= dim;
            else
                distance *= dim;
        }
        weir_cl_arg_i64(dispatch, own == 1 ? 0 : distance);
    }
}

// The groups of build(): dims that were symbols there may be 1 here, which changes nothing.
static void same_layout(const weir_node_t *node, const weir_cl_built_t *built, layout_t *layout)
{
    (void)lay_out(node, layout);
    layout->group_count = (uint32_t)built->notes[0];
    for (uint32_t g = 0; g <= layout->group_count; g++)
        layout->first_axis[g] = (uint32_t)built->notes[1 + g];
    for (uint32_t k = 0; k < layout->operand_count; k++)
        layout->is_open[k] = (built->notes[WEIR_CL_NOTES - 1] >> k & 1) != 0;
}

weir_code_t weir_cl_pointwise_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    layout_t layout;
    same_layout(node, built, &layout);
    int64_t inner = group_size(node, &layout, layout.group_count - 1);
    int64_t total = (int64_t)node->outputs[0].element_count, rows = total ? total / inner : 0;
    int64_t chunk_rows = WEIR_MAX(1, (int64_t)CHUNK / WEIR_MAX(inner, 1));
    int64_t chunk = WEIR_MIN(inner, (int64_t)CHUNK);
    uint64_t x = (uint64_t)WEIR_DIV_UP(rows, chunk_rows);
    uint64_t y = inner ? (uint64_t)WEIR_DIV_UP(inner, chunk) : 0;
    if (built->facts->family == WEIR_CL_FAMILY_GPU) {
        x = (uint64_t)WEIR_DIV_UP(total, GPU_GROUP);
        y = 1;
    }
    weir_cl_dispatch_t *dispatch = weir_cl_dispatch(recipe, 0, x, y, 1);
    for (uint32_t k = 0; k < layout.operand_count; k++)
        weir_cl_arg_input(dispatch, node, node->body->first_operand + k);
    for (uint32_t o = 0; o < layout.output_count; o++)
        weir_cl_arg_output(dispatch, node, o);
    for (uint32_t g = 0; g < layout.group_count; g++)
        weir_cl_arg_i64(dispatch, group_size(node, &layout, g));
    for (uint32_t k = 0; k < layout.operand_count; k++)
        if (layout.is_open[k])
            add_distances(dispatch, node, &layout, k);
    if (layout.may_fail)
        weir_cl_arg_error(dispatch);
    weir_cl_arg_i64(dispatch, built->facts->family == WEIR_CL_FAMILY_GPU ? total : rows);
    weir_cl_arg_i64(dispatch, chunk_rows);
    weir_cl_arg_i64(dispatch, chunk);
    return WEIR_OK;
}
