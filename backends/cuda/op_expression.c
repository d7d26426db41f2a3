// backends/cuda/op_expression.c: expressions as generated kernels.
//
// A kernel takes one struct: pointers (operands, the anchor's result, outputs), counts, and for
// each merged axis of the output a divider and the operands' strides. Where all operands lie as the
// output does, or are one element, one axis is left and nothing is divided. What is printed depends
// on types and ranks alone, so one program serves all shapes.
#include "backends/cuda/op_common.h"

#include "backends/print/print.h"

#include <stdio.h>
#include <string.h>

#define ENTRY "weir_expression"
#define THREADS 256
#define EACH 4 // elements of a thread
#define OUTPUTS_MAX 8

// How the generated struct lies; sizes in bytes.
typedef struct layout {
    const weir_expression_t *expression;
    uint32_t operand_count, output_count;
    bool has_anchor;
    bool divides;  // integers: a word for errors
    uint32_t axes; // that the struct has room for
    uint32_t pointer_count;
    uint32_t dims_at, strides_at, bytes;
} layout_t;

static const weir_tensor_t *operand_of(
    const weir_node_t *node, const weir_expression_t *expression, uint32_t k)
{
    return &node->inputs[expression->first_operand + k];
}

// Along axis `axis` of the output: 1 it moves, 0 it stays, -1 only dims can tell.
static int moves(const weir_tensor_t *operand, const weir_tensor_t *output, uint32_t axis)
{
    const uint32_t missing = output->rank - operand->rank;
    if (axis < missing || operand->dims[axis - missing] == 1)
        return 0;
    return operand->dims[axis - missing] == output->dims[axis] ? 1 : -1;
}

// No fewer axes than any dims for these symbols will need.
static uint32_t axes_at_most(const weir_node_t *node, const layout_t *layout)
{
    const weir_tensor_t *output = &node->outputs[0];
    uint32_t count = 0, last = 0;
    for (uint32_t axis = 0; axis < output->rank; axis++) {
        bool is_new = count == 0;
        if (output->dims[axis] == 1)
            continue;
        for (uint32_t k = 0; k < layout->operand_count && !is_new; k++) {
            const weir_tensor_t *operand = operand_of(node, layout->expression, k);
            const int here = moves(operand, output, axis);
            is_new = here < 0 || here != moves(operand, output, last);
        }
        count += is_new;
        last = axis;
    }
    return WEIR_MAX(count, 1u);
}

static bool divides_integers(const weir_expression_t *expression)
{
    const weir_dtype_t floats = WEIR_F32 | WEIR_F64 | WEIR_F16 | WEIR_BF16;
    for (uint32_t i = 0; i < expression->instruction_count; i++) {
        const weir_instruction_t *at = &expression->instructions[i];
        if (!(at->dtype & floats) &&
            (at->opcode == WEIR_OP_DIV || at->opcode == WEIR_OP_MOD || at->opcode == WEIR_OP_FMOD))
            return true;
    }
    return false;
}

static bool has_opcode(const weir_expression_t *expression, weir_opcode_t opcode)
{
    for (uint32_t i = 0; i < expression->instruction_count; i++)
        if (expression->instructions[i].opcode == opcode)
            return true;
    return false;
}

static const char *lay_out(
    const weir_node_t *node, const weir_expression_t *expression, layout_t *out)
{
    *out = (layout_t){.expression = expression,
        .operand_count = expression->operand_count,
        .output_count = expression->output_count,
        .has_anchor = has_opcode(expression, WEIR_OP_ANCHOR),
        .divides = divides_integers(expression)};
    if (out->output_count > OUTPUTS_MAX || out->output_count > node->output_count)
        return "an expression of too many results";
    for (uint32_t k = 0; k < out->operand_count; k++)
        if (operand_of(node, expression, k)->rank > node->outputs[0].rank)
            return "an operand of more axes than the result";
    out->pointer_count = out->operand_count + out->output_count + out->has_anchor + out->divides;
    out->dims_at = out->pointer_count * 8 + 8; // behind count and rank
    out->axes = WEIR_MIN(WEIR_MAX(node->outputs[0].rank, 1u), (uint32_t)WEIR_CUDA_AXES_MAX);
    const uint32_t axis_bytes = (uint32_t)sizeof(weir_cuda_divider_t) + out->operand_count * 4;
    while (out->axes > 1 && out->dims_at + out->axes * axis_bytes > WEIR_CUDA_PARAMS_MAX - 8)
        out->axes--;
    out->strides_at = out->dims_at + out->axes * (uint32_t)sizeof(weir_cuda_divider_t);
    out->bytes = (out->dims_at + out->axes * axis_bytes + 7) / 8 * 8;
    if (out->bytes > WEIR_CUDA_PARAMS_MAX || out->pointer_count > WEIR_CUDA_POINTERS_MAX ||
        axes_at_most(node, out) > out->axes)
        return "more operands, along more axes, than a kernel's parameters hold";
    return NULL;
}

weir_code_t weir_cuda_expression_supports(
    const weir_node_t *node, const weir_expression_t *expression, weir_support_t *out_support)
{
    layout_t layout;
    const char *reason;
    if (weir_print_can(expression, 1, &reason) != WEIR_OK)
        return weir_cuda_refuse(out_support, reason);
    reason = lay_out(node, expression, &layout);
    return reason ? weir_cuda_refuse(out_support, reason) : WEIR_OK;
}

// ---------------------------------------------------------------------------------------------
// Source
// ---------------------------------------------------------------------------------------------

static void print_params(weir_print_t *out, const weir_node_t *node, const layout_t *layout)
{
    weir_print_add(out, "struct weir_params {\n");
    for (uint32_t k = 0; k < layout->operand_count; k++)
        weir_print_add(out, "    const w_%s *x%u;\n",
            weir_print_dtype(operand_of(node, layout->expression, k)->dtype), k);
    if (layout->has_anchor)
        weir_print_add(out, "    const w_%s *anchor;\n", weir_print_dtype(node->inputs[0].dtype));
    for (uint32_t j = 0; j < layout->output_count; j++)
        weir_print_add(out, "    w_%s *y%u;\n",
            weir_print_dtype(
                layout->expression->instructions[layout->expression->outputs[j]].dtype),
            j);
    weir_print_add(
        out, "%s    unsigned count, rank;\n", layout->divides ? "    unsigned *error;\n" : "");
    weir_print_add(out, "    struct { unsigned divisor, magic, shift; } dims[%u];\n", layout->axes);
    if (layout->operand_count)
        weir_print_add(out, "    unsigned strides[%u][%u];\n", layout->axes, layout->operand_count);
    weir_print_add(out, "};\n");
}

// The variables o0, o1, …: where each operand's element lies.
static void print_offsets(weir_print_t *out, const layout_t *layout)
{
    weir_print_add(out, "        unsigned rest = i");
    for (uint32_t k = 0; k < layout->operand_count; k++)
        weir_print_add(out, ", o%u = 0", k);
    weir_print_add(out, ";\n        for (unsigned a = p.rank - 1; a > 0; a--) {\n"
                        "            const unsigned high = (unsigned)((unsigned long long)rest * "
                        "p.dims[a].magic >> 32);\n"
                        "            const unsigned q = (high + rest) >> p.dims[a].shift;\n"
                        "            const unsigned c = rest - q * p.dims[a].divisor;\n"
                        "            rest = q;\n");
    for (uint32_t k = 0; k < layout->operand_count; k++)
        weir_print_add(out, "            o%u += c * p.strides[a][%u];\n", k, k);
    weir_print_add(out, "        }\n");
    for (uint32_t k = 0; k < layout->operand_count; k++)
        weir_print_add(out, "        o%u += rest * p.strides[0][%u];\n", k, k);
}

static weir_dtype_t all_dtypes(const weir_node_t *node, const layout_t *layout, weir_dtype_t anchor)
{
    weir_dtype_t dtypes = weir_print_dtypes(layout->expression) | anchor;
    for (uint32_t k = 0; k < layout->operand_count; k++)
        dtypes |= operand_of(node, layout->expression, k)->dtype;
    return dtypes;
}

static void print_source(
    weir_print_t *out, const weir_node_t *node, const layout_t *layout, weir_dtype_t anchor)
{
    char loads[WEIR_OPERANDS_MAX][24], stores[OUTPUTS_MAX][24], anchor_text[40] = "";
    const char *load_texts[WEIR_OPERANDS_MAX], *store_texts[OUTPUTS_MAX];
    for (uint32_t k = 0; k < layout->operand_count; k++) {
        (void)snprintf(loads[k], sizeof loads[k], "p.x%u[o%u]", k, k);
        load_texts[k] = loads[k];
    }
    for (uint32_t j = 0; j < layout->output_count; j++) {
        (void)snprintf(stores[j], sizeof stores[j], "p.y%u[i]", j);
        store_texts[j] = node->outputs[j].dtype ? stores[j] : NULL;
    }
    if (anchor & (WEIR_F16 | WEIR_BF16))
        (void)snprintf(
            anchor_text, sizeof anchor_text, "w_%s_value(p.anchor[i])", weir_print_dtype(anchor));
    else
        (void)snprintf(anchor_text, sizeof anchor_text, "p.anchor[i]");
    const weir_print_body_t body = {.expression = layout->expression,
        .dialect = WEIR_PRINT_CUDA,
        .indent = "        ",
        .loads = load_texts,
        .anchor = layout->has_anchor ? anchor_text : NULL,
        .stores = store_texts,
        .fault = layout->divides ? "atomicOr(p.error, 2u);" : NULL};
    weir_print_preamble(out, WEIR_PRINT_CUDA, all_dtypes(node, layout, anchor), 1);
    print_params(out, node, layout);
    weir_print_add(out,
        "extern \"C\" __global__ void __launch_bounds__(%d) " ENTRY
        "(const __grid_constant__ weir_params p)\n{\n",
        THREADS);
    weir_print_add(out,
        "    _Pragma(\"unroll\")\n"
        "    for (unsigned j = 0; j < %d; j++) {\n"
        "        const unsigned i = (blockIdx.x * %d + j) * %d + threadIdx.x;\n"
        "        if (i >= p.count)\n            return;\n",
        EACH, EACH, THREADS);
    print_offsets(out, layout);
    weir_print_statements(out, &body);
    weir_print_add(out, "    }\n}\n");
}

weir_code_t weir_cuda_expression_build(const weir_node_t *node, const weir_expression_t *expression,
    weir_dtype_t anchor, weir_cuda_build_t *build)
{
    weir_print_t out = {build->text, build->text_bytes, 0};
    layout_t layout;
    const char *reason = lay_out(node, expression, &layout);
    if (reason)
        return build->host->fail(build->host, WEIR_INTERNAL, "%s: %s", node->op, reason);
    print_source(&out, node, &layout, anchor);
    if (out.length >= out.room)
        return build->host->fail(build->host, WEIR_LIMIT, "%s: a source of %llu bytes", node->op,
            (unsigned long long)out.length);
    return weir_cuda_build_source(build, ENTRY, build->text);
}

// ---------------------------------------------------------------------------------------------
// Launch
// ---------------------------------------------------------------------------------------------

static weir_code_t fill_axes(const weir_node_t *node, const layout_t *layout,
    weir_cuda_recipe_t *recipe, weir_cuda_axes_t *axes)
{
    const weir_tensor_t *output = &node->outputs[0];
    *axes = (weir_cuda_axes_t){.rank = output->rank};
    memcpy(axes->dims, output->dims, output->rank * sizeof *output->dims);
    for (uint32_t k = 0; k < layout->operand_count; k++)
        if (!weir_cuda_axes_broadcast(axes, operand_of(node, layout->expression, k)))
            return weir_cuda_cannot(
                recipe, node, WEIR_INVALID_ARGUMENT, "an operand does not broadcast");
    weir_cuda_axes_merge(axes);
    return WEIR_OK;
}

static void point(weir_cuda_kernel_step_t *step, const weir_node_t *node, const layout_t *layout,
    weir_cuda_place_t anchor)
{
    uint32_t at = 0;
    for (uint32_t k = 0; k < layout->operand_count; k++, at += 8)
        weir_cuda_step_pointer(step, at, weir_cuda_input(layout->expression->first_operand + k));
    if (layout->has_anchor) {
        weir_cuda_step_pointer(step, at, anchor);
        at += 8;
    }
    for (uint32_t j = 0; j < layout->output_count; j++, at += 8)
        if (node->outputs[j].dtype)
            weir_cuda_step_pointer(step, at, weir_cuda_output(j));
    if (layout->divides)
        weir_cuda_step_pointer(step, at, weir_cuda_error());
}

weir_code_t weir_cuda_expression_plan(const weir_node_t *node, const weir_expression_t *expression,
    uint32_t source, weir_cuda_place_t at, weir_cuda_recipe_t *recipe)
{
    unsigned char params[WEIR_CUDA_PARAMS_MAX] = {0};
    layout_t layout;
    weir_cuda_axes_t axes;
    const char *reason = lay_out(node, expression, &layout);
    if (reason)
        return weir_cuda_cannot(recipe, node, WEIR_INTERNAL, reason);
    weir_code_t code = weir_cuda_check_counts(recipe, node);
    if (code == WEIR_OK)
        code = fill_axes(node, &layout, recipe, &axes);
    if (code != WEIR_OK)
        return code;
    const uint32_t counts[2] = {(uint32_t)node->outputs[0].element_count, axes.rank};
    if (axes.rank > layout.axes)
        return weir_cuda_cannot(recipe, node, WEIR_INTERNAL, "more axes than with symbols");
    memcpy(params + layout.dims_at - sizeof counts, counts, sizeof counts);
    for (uint32_t d = 0; d < axes.rank; d++) {
        const weir_cuda_divider_t dim = weir_cuda_divide_by((uint32_t)axes.dims[d]);
        memcpy(params + layout.dims_at + d * sizeof dim, &dim, sizeof dim);
        for (uint32_t k = 0; k < layout.operand_count; k++) {
            const uint32_t stride = (uint32_t)axes.strides[k][d];
            memcpy(params + layout.strides_at + (d * layout.operand_count + k) * sizeof stride,
                &stride, sizeof stride);
        }
    }
    const uint64_t blocks = WEIR_DIV_UP((uint64_t)counts[0], (uint64_t)(THREADS * EACH));
    weir_cuda_kernel_step_t *step =
        weir_cuda_recipe_kernel(recipe, NULL, source, (weir_cuda_dim3_t){(uint32_t)blocks, 1, 1},
            (weir_cuda_dim3_t){THREADS, 1, 1}, 0, params, layout.bytes);
    if (!step)
        return WEIR_INTERNAL;
    point(step, node, &layout, at);
    return WEIR_OK;
}
