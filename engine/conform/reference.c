// engine/conform/reference.c: what the plain C kernels say, and whether a result is near enough.
//
// An anchor's prologue and epilogue are run as nodes of their own, so that the reference of a fused
// node is its unfused definition.
#include "engine/conform/kit.h"

#include "backends/ref/ref_plugin.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *reference_alloc(const weir_host_t *host, uint64_t bytes)
{
    (void)host;
    return aligned_alloc(64, (bytes + 127) / 64 * 64);
}

static void reference_free(const weir_host_t *host, void *memory)
{
    (void)host;
    free(memory);
}

static const weir_host_t reference_host = {
    .head = WEIR_HEAD(weir_host_t), .alloc = reference_alloc, .free = reference_free};

static uint8_t *room(uint64_t bytes)
{
    return reference_alloc(&reference_host, bytes);
}

// Runs `expression` on `tensor` in place of its ANCHOR; the result goes to `to`.
static weir_code_t run_attached(const weir__kit_case_t *c, const weir_expression_t *expression,
    const weir_tensor_t *tensor, uint8_t *to)
{
    weir_instruction_t code[WEIR_EXPRESSION_MAX];
    weir_tensor_t inputs[WEIR_OPERANDS_MAX + 1], output = *tensor;
    weir_expression_t body = *expression;
    uint32_t operands = expression->operand_count;
    for (uint32_t i = 0; i < expression->instruction_count; i++) {
        code[i] = expression->instructions[i];
        if (code[i].opcode == WEIR_OP_ANCHOR) {
            code[i].opcode = WEIR_OP_LOAD;
            code[i].a = (uint16_t)operands;
        }
    }
    for (uint32_t i = 0; i < operands; i++)
        inputs[i] = c->inputs[expression->first_operand + i];
    inputs[operands] = *tensor;
    output.data = to;
    body.instructions = code;
    body.first_operand = 0;
    body.operand_count = operands + 1;
    weir_node_t node = {.head = WEIR_HEAD(weir_node_t),
        .op = "Pointwise",
        .origin = "conform",
        .revision = 1,
        .input_count = operands + 1,
        .output_count = 1,
        .inputs = inputs,
        .outputs = &output,
        .body = &body};
    return weir_ref_run(&reference_host, &node, NULL, 0);
}

// Runs the node without what is attached. absolute: on |inputs|.
static weir_code_t run_anchor(
    const weir__kit_case_t *c, const uint8_t *prologue_result, bool absolute, uint8_t **out_data)
{
    weir_tensor_t inputs[WEIR__KIT_INPUTS], outputs[WEIR__KIT_OUTPUTS];
    uint8_t *copies[WEIR__KIT_INPUTS] = {NULL};
    weir_node_t node = c->node;
    if (node.prologue)
        node.input_count = WEIR_MIN(node.input_count, node.prologue->first_operand);
    if (node.epilogue)
        node.input_count = WEIR_MIN(node.input_count, node.epilogue->first_operand);
    node.prologue = node.epilogue = NULL;
    node.inputs = inputs;
    node.outputs = outputs;
    if (c->is_expression) {
        node.op = "Pointwise";
        node.body = &c->body;
        node.attribute_count = 0;
    }
    for (uint32_t i = 0; i < node.input_count; i++) {
        inputs[i] = c->inputs[i];
        if (i == 0 && prologue_result)
            inputs[i].data = (void *)(uintptr_t)prologue_result;
        if (!absolute || !(inputs[i].dtype & WEIR__KIT_FLOATS))
            continue;
        copies[i] = room(inputs[i].bytes);
        for (uint64_t j = 0; j < inputs[i].element_count; j++)
            weir__kit_set(copies[i], inputs[i].dtype, j,
                fabs(weir__kit_get(inputs[i].data, inputs[i].dtype, j)));
        inputs[i].data = copies[i];
    }
    for (uint32_t i = 0; i < node.output_count; i++) {
        outputs[i] = c->outputs[i];
        out_data[i] = room(outputs[i].bytes);
        outputs[i].data = out_data[i];
    }
    weir_code_t code = weir_ref_run(&reference_host, &node, NULL, 0);
    for (uint32_t i = 0; i < WEIR__KIT_INPUTS; i++)
        free(copies[i]);
    return code;
}

static double peak_of(const uint8_t *data, const weir_tensor_t *tensor)
{
    double peak = 0;
    for (uint64_t i = 0; i < tensor->element_count; i++) {
        double value = fabs(weir__kit_get(data, tensor->dtype, i));
        if (isfinite(value) && value > peak)
            peak = value;
    }
    return peak;
}

static bool is_empty(const weir__kit_case_t *c)
{
    for (uint32_t o = 0; o < c->node.output_count; o++)
        if (c->outputs[o].element_count)
            return false;
    return true;
}

bool weir__kit_expect(
    weir__kit_case_t *c, weir_code_t *out_code, weir__kit_expected_t *out_expected)
{
    uint8_t *first = NULL;
    memset(out_expected, 0, sizeof *out_expected);
    weir_code_t code = WEIR_OK;
    if (c->node.prologue) {
        first = room(c->inputs[0].bytes);
        code = run_attached(c, c->node.prologue, &c->inputs[0], first);
    }
    if (code == WEIR_OK)
        code = run_anchor(c, first, false, out_expected->data);
    if (code == WEIR_OK && c->scale == WEIR__KIT_SUM)
        code = run_anchor(c, first, true, out_expected->scale);
    if (code == WEIR_OK && (c->node.epilogue || c->node.prologue)) {
        out_expected->peak = peak_of(out_expected->data[0], &c->outputs[0]);
        if (out_expected->scale[0])
            out_expected->peak = peak_of(out_expected->scale[0], &c->outputs[0]);
    }
    if (code == WEIR_OK && c->node.epilogue) {
        weir_tensor_t anchor = c->outputs[0];
        uint8_t *result = room(anchor.bytes);
        anchor.data = out_expected->data[0];
        code = run_attached(c, c->node.epilogue, &anchor, result);
        free(out_expected->data[0]);
        out_expected->data[0] = result;
    }
    free(first);
    *out_code = code;
    // For a result without elements nobody need look at the indices.
    return code == WEIR_OK || (code == WEIR_INVALID_ARGUMENT && !is_empty(c));
}

void weir__kit_expected_free(weir__kit_expected_t *expected)
{
    for (uint32_t i = 0; i < WEIR__KIT_OUTPUTS; i++) {
        free(expected->data[i]);
        free(expected->scale[i]);
    }
    memset(expected, 0, sizeof *expected);
}

// ---- The verdict
// -----------------------------------------------------------------------------------

static double scale_at(const weir__kit_case_t *c, const weir__kit_expected_t *expected,
    uint32_t output, uint64_t i, double wanted, double peak)
{
    if (c->node.epilogue || c->node.prologue)
        return fmax(fmax(expected->peak, peak), 1);
    if (c->scale == WEIR__KIT_SUM)
        return weir__kit_get(expected->scale[output], c->outputs[output].dtype, i);
    return c->scale == WEIR__KIT_PEAK ? peak : fmax(fabs(wanted), 1);
}

static bool is_near(const weir__kit_case_t *c, const weir__kit_expected_t *expected,
    uint32_t output, uint64_t i, double peak)
{
    const weir_tensor_t *tensor = &c->outputs[output];
    uint32_t width = weir_dtype_bytes(tensor->dtype);
    if (!(tensor->dtype & WEIR__KIT_FLOATS)) // not by way of doubles, which are too short for i64
        return memcmp((const uint8_t *)tensor->data + i * width, expected->data[output] + i * width,
                   width) == 0;
    double wanted = weir__kit_get(expected->data[output], tensor->dtype, i);
    double got = weir__kit_get(tensor->data, tensor->dtype, i);
    if (isnan(wanted) || isnan(got))
        return isnan(wanted) && isnan(got);
    if (wanted == got)
        return true;
    if (c->scale == WEIR__KIT_EXACT || isinf(wanted) || isinf(got))
        return false;
    double budget = c->budget;
    if (tensor->dtype & (WEIR_F16 | WEIR_BF16)) // one rounding, at the end
        budget = fmin(budget, 4);
    double scale = scale_at(c, expected, output, i, wanted, peak);
    double least = tensor->dtype == WEIR_F16 ? 0x1p-14 : 0x1p-126;
    return !(fabs(wanted - got) > budget * weir__kit_epsilon(tensor->dtype) * scale + least);
}

bool weir__kit_compare(
    const weir__kit_case_t *c, const weir__kit_expected_t *expected, char *out_text, uint32_t bytes)
{
    for (uint32_t o = 0; o < c->node.output_count; o++) {
        const weir_tensor_t *tensor = &c->outputs[o];
        if (!tensor->dtype || memcmp(tensor->data, expected->data[o], tensor->bytes) == 0)
            continue;
        double peak = peak_of(expected->data[o], tensor);
        uint64_t wrong = 0, first = 0;
        for (uint64_t i = tensor->element_count; i-- > 0;)
            if (!is_near(c, expected, o, i, peak)) {
                wrong++;
                first = i;
            }
        if (!wrong)
            continue;
        snprintf(out_text, bytes,
            "output %u differs in %llu of %llu elements, first at %llu: %.9g, should be %.9g", o,
            (unsigned long long)wrong, (unsigned long long)tensor->element_count,
            (unsigned long long)first, weir__kit_get(tensor->data, tensor->dtype, first),
            weir__kit_get(expected->data[o], tensor->dtype, first));
        return false;
    }
    return true;
}
