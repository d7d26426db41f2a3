// engine/plan/prologue.c: expressions in front of a node (see fuse.c for those behind it).
#include "engine/plan/fuse.h"

#include <string.h>

// The operand that the expression transforms: the first that is not constant and has the result's
// dtype and shape; UINT32_MAX: none.
static uint32_t main_operand(const weir__graph_t *graph, const weir__plan_node_t *node)
{
    const weir__type_t *result = &graph->values[node->outputs[0]].type;
    for (uint32_t i = 0; i < node->input_count; i++) {
        const weir__value_t *value = &graph->values[node->inputs[i]];
        if (!value->constant && value->type.dtype == result->dtype &&
            weir__plan_same_dims(&value->type, result))
            return i;
    }
    return UINT32_MAX;
}

// `node` with the body of `before` as its prologue; NULL in *out_node: it has no operand to stand
// on.
static weir_status_t join(weir_plan_t *plan, const weir__plan_node_t *before,
    const weir__plan_node_t *node, weir__plan_node_t **out_node)
{
    weir__zone_t *zone = &plan->zone;
    *out_node = NULL;
    uint32_t main = main_operand(plan->model->graph, before);
    if (main == UINT32_MAX)
        return NULL;
    weir__plan_node_t *made = weir__zone_copy(zone, node, sizeof *node);
    weir_expression_t *prologue = weir__zone_copy(zone, before->body, sizeof *prologue);
    uint32_t total = node->input_count + before->input_count;
    uint32_t *inputs = weir__zone_array(zone, total, sizeof *inputs);
    weir_instruction_t *code = weir__zone_copy(
        zone, before->body->instructions, before->body->instruction_count * sizeof *code);
    if (!made || !prologue || !inputs || !code)
        return weir__status_no_memory();
    memcpy(inputs, node->inputs, node->input_count * sizeof *inputs);
    memcpy(inputs + node->input_count, before->inputs, before->input_count * sizeof *inputs);
    inputs[0] = before->inputs[main];
    // The operand that became input 0 keeps its number, so that the others need no renumbering;
    // nothing loads it any more.
    for (uint32_t i = 0; i < prologue->instruction_count; i++)
        if (code[i].opcode == WEIR_OP_LOAD && code[i].a == main)
            code[i] = (weir_instruction_t){.opcode = WEIR_OP_ANCHOR, .dtype = code[i].dtype};
    prologue->instructions = code;
    prologue->first_operand = node->input_count;
    made->inputs = inputs;
    made->input_count = total;
    made->prologue = prologue;
    made->fused = weir__zone_format(zone, "%s%s%s", before->fused[0] ? before->fused : before->op,
        node->fused[0] ? "+" : "", node->fused);
    made->origins = weir__zone_format(zone, "%s+%s", before->origins, node->origins);
    made->label =
        weir__zone_format(zone, "node %s (%s)", made->origins ? made->origins : "", node->op);
    if (!made->fused || !made->origins || !made->label)
        return weir__status_no_memory();
    *out_node = made;
    return NULL;
}

static bool may_feed(
    const weir_plan_t *plan, const weir__plan_node_t *before, const weir__plan_node_t *node)
{
    return before->body && before->choice.kernel && !before->is_shape && !before->candidate_count &&
           before->choice.device == node->choice.device && before->output_count == 1 &&
           before->outputs[0] == node->inputs[0] && plan->use_counts[node->inputs[0]] == 1;
}

weir_status_t weir__plan_fuse_prologues(weir_plan_t *plan, weir__plan_region_t *region)
{
    for (uint32_t i = 0; i < region->node_count; i++) {
        weir__plan_node_t *node = &region->nodes[i];
        if (!node->choice.kernel || !(node->choice.kernel->head.flags & WEIR_KERNEL_PROLOGUE) ||
            node->prologue || !node->input_count || node->is_shape || node->candidate_count)
            continue;
        uint32_t at = UINT32_MAX;
        for (uint32_t j = 0; j < i && at == UINT32_MAX; j++)
            if (may_feed(plan, &region->nodes[j], node))
                at = j;
        weir__plan_node_t *made = NULL;
        if (at != UINT32_MAX)
            WEIR_TRY(join(plan, &region->nodes[at], node, &made));
        if (!made || !weir__plan_kernel_takes(plan, made->choice.kernel, made))
            continue;
        region->nodes[i] = *made;
        memmove(&region->nodes[at], &region->nodes[at + 1],
            (region->node_count - at - 1) * sizeof *region->nodes);
        region->node_count--;
        i--;
    }
    return NULL;
}
