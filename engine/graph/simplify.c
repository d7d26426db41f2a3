// engine/graph/simplify.c: folding and rewriting, round by round, until nothing changes.
//
// A round costs time linear in the graph: fold, inline branches, share, apply each rule to each
// node once; then what was replaced is written into the nodes, dead nodes go, the order is restored
// and types are inferred again. The number of rounds is bounded, so that no pair of rules can chase
// each other for ever.
#include "engine/graph/rewrite.h"

#include "engine/base/size.h"
#include <string.h>

#define ROUNDS_MAX 16

// Rules by the operator of their root, in order of preference. `last`: only when nothing else
// changes.
static const struct {
    const char *root, *name;
    weir__rule_t *rule;
    bool last;
} rules[] = {
    {NULL, "no-op", weir__rule_no_op, false},
    {"Transpose", "transpose-transpose", weir__rule_transposes, false},
    {NULL, "view-cancel", weir__rule_views_cancel, false},
    {"Reshape", "view-reshape", weir__rule_views, false},
    {"Pow", "pow-cast", weir__rule_pow_cast, false},
    {"Pow", "pow-square", weir__rule_square, false},
    {"Clip", "clip-relu", weir__rule_relu, false},
    {"BatchNormalization", "conv-batch-norm", weir__rule_conv_batch_norm, false},
    {"Mul", "conv-scale", weir__rule_conv_scale, false},
    {"Add", "conv-shift", weir__rule_conv_shift, false},
    {"Mul", "batch-norm-scale", weir__rule_batch_norm_scale, false},
    {"Add", "batch-norm-shift", weir__rule_batch_norm_shift, false},
    {"Div", "layer-norm", weir__rule_layer_norm, false},
    {"Mul", "layer-norm", weir__rule_layer_norm, false},
    {"Mul", "layer-norm-scale", weir__rule_layer_norm_scale, false},
    {"Add", "layer-norm-shift", weir__rule_layer_norm_shift, false},
    {"Softmax", "softmax-axis", weir__rule_softmax_axis, false},
    {"LogSoftmax", "softmax-axis", weir__rule_softmax_axis, false},
    {"MatMul", "attention", weir__rule_attention, false},
    {"Attention", "attention-inputs", weir__rule_attention_inputs, false},
    {"Transpose", "attention-output", weir__rule_attention_output, false},
    {"Mul", "gelu", weir__rule_gelu, false},
    {"Mul", "gelu-tanh", weir__rule_gelu_tanh, false},
    {"Mul", "hard-swish", weir__rule_hard_swish, false},
    {"Div", "hard-swish", weir__rule_hard_swish, false},
    {"Mul", "hard-sigmoid", weir__rule_hard_sigmoid, false},
    {"Div", "hard-sigmoid", weir__rule_hard_sigmoid, false},
    {"QuantizeLinear", "quant-cancel", weir__rule_quant_cancel, false},
    {"QuantizeLinear", "quant-move", weir__rule_quant_move, false},
    {"QuantizeLinear", "quant-conv", weir__rule_quant_conv, false},
    {"QuantizeLinear", "quant-conv-add", weir__rule_quant_conv_add, false},
    {"QuantizeLinear", "quant-matmul", weir__rule_quant_matmul, false},
    {"BatchNormalization", "batch-norm-affine", weir__rule_batch_norm_spelled, true},
};
#define RULE_COUNT (sizeof rules / sizeof rules[0])

static void count_uses(weir__rewrite_t *rewrite, const weir__region_t *region)
{
    const weir__graph_t *graph = rewrite->graph;
    for (uint32_t i = 0; i < region->node_count; i++) {
        const weir__node_t *node = &graph->nodes[region->nodes[i]];
        for (uint32_t j = 0; j < node->input_count; j++)
            if (node->inputs[j] != WEIR__NONE)
                rewrite->uses[node->inputs[j]]++;
        for (uint32_t r = 0; r < node->region_count; r++)
            count_uses(rewrite, node->regions[r]);
    }
    for (uint32_t i = 0; i < region->output_count; i++)
        rewrite->uses[region->outputs[i]]++;
}

static weir_status_t begin_round(weir__rewrite_t *rewrite)
{
    weir__graph_t *graph = rewrite->graph;
    WEIR_TRY(weir__rewrite_grow(rewrite));
    if (!rewrite->value_capacity) // an empty graph
        return NULL;
    memset(rewrite->uses, 0, rewrite->value_capacity * sizeof *rewrite->uses);
    memset(rewrite->is_output, 0, rewrite->value_capacity);
    for (uint32_t i = 0; i < rewrite->value_capacity; i++)
        rewrite->instead[i] = i;
    for (uint32_t i = 0; i < graph->main.output_count; i++)
        rewrite->is_output[graph->main.outputs[i]] = 1;
    count_uses(rewrite, &graph->main);
    rewrite->change_count = 0;
    return NULL;
}

static weir_status_t apply_rules(weir__rewrite_t *rewrite, const weir__region_t *region)
{
    weir__graph_t *graph = rewrite->graph;
    uint32_t count = region->node_count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = region->nodes[i];
        for (uint32_t r = 0; r < graph->nodes[number].region_count; r++)
            WEIR_TRY(apply_rules(rewrite, graph->nodes[number].regions[r]));
        bool done = false;
        for (size_t r = 0; r < RULE_COUNT && !done; r++) {
            const weir__node_t *node = &graph->nodes[number];
            if (node->output_count == 0 || node->outputs[0] == WEIR__NONE ||
                rewrite->instead[node->outputs[0]] != node->outputs[0])
                break;
            if ((rules[r].root && !weir__rewrite_is(node, rules[r].root)) ||
                (rules[r].last && !rewrite->last_phase))
                continue;
            WEIR_TRY(rules[r].rule(rewrite, number, &done));
            if (done)
                WEIR_TRY(weir__rewrite_count(rewrite, rules[r].name));
        }
    }
    return NULL;
}

// Writes into the nodes what stands for what.
static void settle(weir__rewrite_t *rewrite, weir__region_t *region)
{
    weir__graph_t *graph = rewrite->graph;
    for (uint32_t i = 0; i < region->node_count; i++) {
        weir__node_t *node = &graph->nodes[region->nodes[i]];
        for (uint32_t j = 0; j < node->input_count; j++)
            node->inputs[j] = weir__rewrite_resolve(rewrite, node->inputs[j]);
        for (uint32_t r = 0; r < node->region_count; r++)
            settle(rewrite, node->regions[r]);
    }
    for (uint32_t i = 0; i < region->output_count; i++)
        region->outputs[i] = weir__rewrite_resolve(rewrite, region->outputs[i]);
}

static weir_status_t run_round(weir__rewrite_t *rewrite)
{
    weir__graph_t *graph = rewrite->graph;
    WEIR_TRY(begin_round(rewrite));
    WEIR_TRY(weir__fold_constants(rewrite));
    WEIR_TRY(weir__inline_branches(rewrite));
    WEIR_TRY(weir__share_common(rewrite));
    WEIR_TRY(apply_rules(rewrite, &graph->main));
    settle(rewrite, &graph->main);
    WEIR_TRY(weir__remove_dead(graph));
    if (!rewrite->change_count)
        return NULL;
    WEIR_TRY(weir__graph_verify(graph));
    return weir__graph_infer(graph);
}

static weir_status_t run_rounds(weir__rewrite_t *rewrite)
{
    for (uint32_t round = 0; round < ROUNDS_MAX; round++) {
        WEIR_TRY(run_round(rewrite));
        if (rewrite->change_count)
            continue;
        if (rewrite->last_phase)
            break;
        rewrite->last_phase = true;
    }
    return weir__fill_attributes(rewrite->graph);
}

// Room for a few copies of the constants (a cast, a transpose, what rules make of weights), and for
// what a model without any computes about its shapes.
#define FOLD_BYTES_FREE (8ull << 20)
#define FOLD_BYTES_TIMES 4
#define FOLD_WORK_FREE (1ull << 24)
#define FOLD_WORK_TIMES 16

static void allow_folding(weir__rewrite_t *rewrite)
{
    const weir__graph_t *graph = rewrite->graph;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < graph->value_count; i++)
        if (graph->values[i].constant &&
            !weir__add_u64(bytes, graph->values[i].constant->bytes, &bytes))
            bytes = UINT64_MAX;
    bytes = WEIR_MIN(bytes, UINT64_MAX / 32);
    rewrite->fold_bytes_max =
        WEIR_MIN(graph->limits.fold_total_bytes, FOLD_BYTES_FREE + FOLD_BYTES_TIMES * bytes);
    rewrite->fold_work_left = FOLD_WORK_FREE + FOLD_WORK_TIMES * bytes;
}

weir_status_t weir__graph_simplify(weir__graph_t *graph, weir__evaluate_fn evaluate, void *user)
{
    weir__rewrite_t rewrite = {.graph = graph, .evaluate = evaluate, .user = user};
    allow_folding(&rewrite);
    weir_status_t status = run_rounds(&rewrite);
    weir__heap_free(graph->heap, rewrite.uses);
    weir__heap_free(graph->heap, rewrite.instead);
    weir__heap_free(graph->heap, rewrite.is_output);
    weir__heap_free(graph->heap, rewrite.left_alone);
    return status;
}
