// engine/conform/check_perf.c: a score card: one thread, one size, the best of a few runs.
//
// For a first look. It compares nothing: machines and budgets differ.
#include "engine/conform/kit.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

// Makes the node to be timed. Returns how much one run does, 0: no figure for this operator.
static double make(weir__kit_case_t *c, const char *op, const char **out_unit)
{
    const int64_t square[2] = {512, 512}, wide[1] = {1 << 22};
    if (strcmp(op, "MatMul") == 0) {
        weir__kit_input(c, WEIR_F32, 2, square);
        weir__kit_input(c, WEIR_F32, 2, square)->flags = WEIR_TENSOR_CONSTANT;
        weir__kit_output(c, WEIR_F32, 2, square);
        *out_unit = "GFLOP/s";
        return 2.0 * 512 * 512 * 512 * 1e-9;
    }
    if (strcmp(op, "Pointwise") != 0 && strcmp(op, "Relu") != 0)
        return 0;
    weir__kit_input(c, WEIR_F32, 1, wide);
    weir__kit_output(c, WEIR_F32, 1, wide);
    c->code[0][0] = (weir_instruction_t){.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32};
    c->code[0][1] = (weir_instruction_t){.opcode = WEIR_OP_RELU, .dtype = WEIR_F32};
    c->results[0][0] = 1;
    c->body = (weir_expression_t){.head = WEIR_HEAD(weir_expression_t),
        .instructions = c->code[0],
        .instruction_count = 2,
        .operand_count = 1,
        .output_count = 1,
        .outputs = c->results[0]};
    c->node.body = strcmp(op, "Pointwise") == 0 ? &c->body : NULL;
    *out_unit = "GB/s";
    return 2.0 * 4 * (double)wide[0] * 1e-9;
}

static void pack(weir__kit_instance_t *instance, const weir_kernel_t *kernel)
{
    for (uint32_t i = 0; kernel->pack_query && i < instance->node.input_count; i++) {
        weir_packing_t wanted = {.head = WEIR_HEAD(weir_packing_t)};
        if (!(instance->inputs[i].flags & WEIR_TENSOR_CONSTANT) ||
            kernel->pack_query(&instance->node, i, &wanted) != WEIR_OK || !wanted.format)
            continue;
        weir__kit_block_t block = weir__kit_block(wanted.bytes, "a packed constant", true);
        if (!block.map || kernel->pack(&instance->node, i, block.data, wanted.bytes) != WEIR_OK)
            continue;
        instance->inputs[i].data = instance->bound_inputs[i].data = block.data;
        instance->inputs[i].bytes = instance->bound_inputs[i].bytes = wanted.bytes;
        instance->inputs[i].format = instance->bound_inputs[i].format = wanted.format;
    }
}

void weir__kit_check_perf(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    static weir__kit_case_t c;
    static weir__kit_instance_t instance;
    weir__kit_progress_t *progress = subject->progress;
    const char *unit = "";
    subject->random.state = subject->seed;
    c.random = &subject->random;
    c.node = (weir_node_t){.head = WEIR_HEAD(weir_node_t),
        .op = target->kernel->op,
        .origin = "conform",
        .revision = 1,
        .inputs = c.inputs,
        .outputs = c.outputs,
        .attributes = c.attributes};
    double work = make(&c, target->kernel->op, &unit), best = 1e9;
    bool is_supported = false;
    progress->case_count = 1;
    weir__kit_show(&c, &instance);
    if (work <= 0 || (target->kernel->dtypes && !(target->kernel->dtypes & WEIR_F32)) ||
        !weir__kit_supports(subject, target->kernel, &instance.node, &is_supported) ||
        !is_supported)
        return;
    pack(&instance, target->kernel);
    if (!weir__kit_prepare(subject, target->kernel, &c, &instance))
        return;
    double begin = seconds();
    for (uint32_t i = 0; i < 20 && (i < 3 || seconds() - begin < 1); i++) {
        double start = seconds();
        if (weir__kit_execute(&instance, WEIR__KIT_WHOLE) != WEIR_OK)
            return;
        double took = seconds() - start;
        best = took < best ? took : best;
    }
    progress->run_count = 1;
    snprintf(progress->what, sizeof progress->what, "%.3g %s", work / best, unit);
}
