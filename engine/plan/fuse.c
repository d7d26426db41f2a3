// engine/plan/fuse.c: joins elementwise nodes into expressions, and binds those to anchors.
//
// Works on placed nodes, so a fusion never crosses devices and placement never changes bits. From
// each elementwise node backwards, producers of the same shape whose every reader is inside join
// the group. Then a node that offers to carry an epilogue (MatMul, Conv …) may take the group; when
// its kernel refuses, the expression is peeled from its end until it accepts. Must not touch shape
// arithmetic: a specialization has to see it node by node.
#include "engine/plan/fuse.h"

#include <string.h>

#define GROUP_MAX 32
#define FLOATING (WEIR_F32 | WEIR_F64 | WEIR_F16 | WEIR_BF16 | WEIR_BOOL)

typedef struct group {
    uint32_t members[GROUP_MAX]; // node numbers, ascending: a topological order
    uint32_t count;
} group_t;

typedef struct fuser {
    weir_plan_t *plan;
    weir__plan_region_t *region;
    uint32_t *producers; // [value_count] node number in the region, UINT32_MAX: elsewhere
    bool *taken;         // [node_count] part of a group or an anchor of one
    weir__plan_node_t **replacements; // [node_count] what stands at that place now
} fuser_t;

bool weir__plan_same_dims(const weir__type_t *a, const weir__type_t *b)
{
    return a->rank >= 0 && a->rank == b->rank &&
           memcmp(a->dims, b->dims, (size_t)a->rank * sizeof a->dims[0]) == 0;
}

static bool same_shape(const fuser_t *fuser, uint32_t a, uint32_t b)
{
    const weir__value_t *values = fuser->plan->model->graph->values;
    return weir__plan_same_dims(&values[a].type, &values[b].type);
}

static bool may_join(const fuser_t *fuser, uint32_t number)
{
    const weir__plan_node_t *node = &fuser->region->nodes[number];
    return node->body && node->choice.kernel && !node->candidate_count && !node->is_shape &&
           !fuser->taken[number] && !(node->anchor->op->flags & WEIR__OP_VIEW) &&
           (fuser->plan->model->graph->values[node->outputs[0]].type.dtype & FLOATING);
}

static uint32_t uses_within(const fuser_t *fuser, const group_t *group, uint32_t value)
{
    uint32_t uses = 0;
    for (uint32_t m = 0; m < group->count; m++) {
        const weir__plan_node_t *node = &fuser->region->nodes[group->members[m]];
        for (uint32_t i = 0; i < node->input_count; i++)
            uses += node->inputs[i] == value;
    }
    return uses;
}

static bool is_member(const group_t *group, uint32_t number)
{
    for (uint32_t m = 0; m < group->count; m++)
        if (group->members[m] == number)
            return true;
    return false;
}

// Upper bounds: every member's instruction and all its loads.
static bool has_room(const fuser_t *fuser, const group_t *group, uint32_t number)
{
    uint32_t code = 2 + fuser->region->nodes[number].input_count, operands = code;
    for (uint32_t m = 0; m < group->count; m++) {
        code += 1 + fuser->region->nodes[group->members[m]].input_count;
        operands += fuser->region->nodes[group->members[m]].input_count - 1;
    }
    return group->count < GROUP_MAX && code <= WEIR_EXPRESSION_MAX && operands <= WEIR_OPERANDS_MAX;
}

static void insert(group_t *group, uint32_t number)
{
    uint32_t at = group->count++;
    for (; at > 0 && group->members[at - 1] > number; at--)
        group->members[at] = group->members[at - 1];
    group->members[at] = number;
}

// Grows the group backwards from `root` until nothing more may join.
static void collect(const fuser_t *fuser, uint32_t root, group_t *group)
{
    const weir__plan_node_t *nodes = fuser->region->nodes;
    *group = (group_t){.members = {root}, .count = 1};
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t m = 0; m < group->count && !changed; m++) {
            const weir__plan_node_t *node = &nodes[group->members[m]];
            for (uint32_t i = 0; i < node->input_count && !changed; i++) {
                uint32_t value = node->inputs[i];
                uint32_t producer = fuser->producers[value];
                if (producer == UINT32_MAX || is_member(group, producer) ||
                    !may_join(fuser, producer) || !has_room(fuser, group, producer) ||
                    nodes[producer].choice.device != nodes[root].choice.device ||
                    !same_shape(fuser, value, nodes[root].outputs[0]) ||
                    uses_within(fuser, group, value) != fuser->plan->use_counts[value])
                    continue;
                insert(group, producer);
                changed = true;
            }
        }
    }
}

// ---- Building
// --------------------------------------------------------------------------------------

typedef struct builder {
    weir_instruction_t code[WEIR_EXPRESSION_MAX];
    uint32_t values[WEIR_EXPRESSION_MAX]; // the graph's value that instruction i defines
    uint32_t count;
    uint32_t operands[WEIR_OPERANDS_MAX];
    uint32_t operand_count;
} builder_t;

// The instruction that defines `value`, adding a load when there is none.
static uint16_t value_of(builder_t *builder, const weir__graph_t *graph, uint32_t value)
{
    for (uint32_t i = 0; i < builder->count; i++)
        if (builder->values[i] == value)
            return (uint16_t)i;
    builder->operands[builder->operand_count] = value;
    builder->values[builder->count] = value;
    builder->code[builder->count] = (weir_instruction_t){.opcode = WEIR_OP_LOAD,
        .dtype = graph->values[value].type.dtype,
        .a = (uint16_t)builder->operand_count++};
    return (uint16_t)builder->count++;
}

static void build_code(
    const fuser_t *fuser, const group_t *group, uint32_t anchor_value, builder_t *builder)
{
    const weir__graph_t *graph = fuser->plan->model->graph;
    *builder = (builder_t){.count = 0};
    if (anchor_value != WEIR__NONE) {
        builder->code[0] = (weir_instruction_t){
            .opcode = WEIR_OP_ANCHOR, .dtype = graph->values[anchor_value].type.dtype};
        builder->values[builder->count++] = anchor_value;
    }
    for (uint32_t m = 0; m < group->count; m++) {
        const weir__plan_node_t *node = &fuser->region->nodes[group->members[m]];
        weir_instruction_t made = node->body->instructions[node->body->instruction_count - 1];
        uint16_t *slots[3] = {&made.a, &made.b, &made.c};
        for (uint32_t i = 0; i < node->input_count && i < 3; i++)
            *slots[i] = value_of(builder, graph, node->inputs[i]);
        builder->values[builder->count] = node->outputs[0];
        builder->code[builder->count++] = made;
    }
}

static weir_expression_t *finish_expression(
    weir__zone_t *zone, const builder_t *builder, uint32_t first_operand)
{
    weir_expression_t *expression = weir__zone_alloc(zone, sizeof *expression);
    weir_instruction_t *code = weir__zone_copy(zone, builder->code, builder->count * sizeof *code);
    uint16_t *outputs = weir__zone_alloc(zone, sizeof *outputs);
    if (!expression || !code || !outputs)
        return NULL;
    outputs[0] = (uint16_t)(builder->count - 1);
    *expression = (weir_expression_t){.head = WEIR_HEAD(weir_expression_t),
        .instructions = code,
        .instruction_count = builder->count,
        .first_operand = first_operand,
        .operand_count = builder->operand_count,
        .output_count = 1,
        .outputs = outputs};
    return expression;
}

// Names for people: origins joined, operators as "Add+Gelu".
static bool name_fused(const fuser_t *fuser, const group_t *group, weir__plan_node_t *made,
    const weir__plan_node_t *anchor)
{
    weir__zone_t *zone = &fuser->plan->zone;
    const char *origins = anchor ? anchor->origins : "", *fused = "";
    for (uint32_t m = 0; m < group->count && origins && fused; m++) {
        const weir__plan_node_t *node = &fuser->region->nodes[group->members[m]];
        origins = weir__zone_format(zone, "%s%s%s", origins, *origins ? "+" : "", node->origins);
        fused = weir__zone_format(zone, "%s%s%s", fused, *fused ? "+" : "", node->anchor->op->name);
    }
    made->origins = origins;
    made->fused = fused;
    made->label = weir__zone_format(zone, "node %s (%s)", origins ? origins : "", made->op);
    return origins && fused && made->label;
}

// The node that does the whole group: Pointwise, or `anchor` with the group as its epilogue.
static weir__plan_node_t *build_node(
    const fuser_t *fuser, const group_t *group, const weir__plan_node_t *anchor)
{
    weir__zone_t *zone = &fuser->plan->zone;
    const weir__plan_node_t *root = &fuser->region->nodes[group->members[group->count - 1]];
    builder_t builder;
    build_code(fuser, group, anchor ? anchor->outputs[0] : WEIR__NONE, &builder);
    weir__plan_node_t *made = weir__zone_alloc(zone, sizeof *made);
    if (!made)
        return NULL;
    *made = anchor ? *anchor : *root;
    uint32_t kept = anchor ? anchor->input_count : 0;
    made->input_count = kept + builder.operand_count;
    made->inputs = weir__zone_array(zone, made->input_count, sizeof *made->inputs);
    made->outputs = root->outputs;
    made->output_count = 1;
    weir_expression_t *expression = finish_expression(zone, &builder, kept);
    if (!made->inputs || !expression)
        return NULL;
    for (uint32_t i = 0; i < kept; i++)
        made->inputs[i] = anchor->inputs[i];
    for (uint32_t i = 0; i < builder.operand_count; i++)
        made->inputs[kept + i] = builder.operands[i];
    if (anchor) {
        made->epilogue = expression;
        made->body = NULL;
    } else {
        made->anchor = NULL;
        made->op = "Pointwise";
        made->body = expression;
        made->epilogue = NULL;
    }
    return name_fused(fuser, group, made, anchor) ? made : NULL;
}

bool weir__plan_kernel_takes(
    const weir_plan_t *plan, const weir_kernel_t *kernel, const weir__plan_node_t *node)
{
    weir_tensor_t tensors[64];
    weir_node_t view;
    if (node->input_count + node->output_count > 64 || !weir__view_node(plan, node, tensors, &view))
        return false;
    weir_dtype_t dtype = view.input_count ? view.inputs[0].dtype : view.outputs[0].dtype;
    if (kernel->dtypes && !(kernel->dtypes & dtype))
        return false;
    weir_support_t answer = {.head = WEIR_HEAD(weir_support_t)};
    return !kernel->supports || kernel->supports(&view, &answer) == WEIR_OK;
}

static bool bind_pointwise(const fuser_t *fuser, weir__plan_node_t *node)
{
    const weir__plugin_t *plugin = node->choice.device->plugin;
    for (uint32_t i = 0; i < plugin->kernel_count; i++)
        if (strcmp(plugin->kernels[i].op, "Pointwise") == 0 &&
            weir__plan_kernel_takes(fuser->plan, &plugin->kernels[i], node)) {
            node->choice.kernel = &plugin->kernels[i];
            return true;
        }
    return false;
}

// ---- Binding
// ---------------------------------------------------------------------------------------

// The node before the group that could carry it as an epilogue: the latest one; UINT32_MAX: none.
static uint32_t find_anchor(const fuser_t *fuser, const group_t *group)
{
    const weir__plan_node_t *nodes = fuser->region->nodes;
    const weir__plan_node_t *root = &nodes[group->members[group->count - 1]];
    uint32_t best = UINT32_MAX;
    for (uint32_t m = 0; m < group->count; m++) {
        const weir__plan_node_t *node = &nodes[group->members[m]];
        for (uint32_t i = 0; i < node->input_count; i++) {
            uint32_t value = node->inputs[i], number = fuser->producers[value];
            if (number == UINT32_MAX || fuser->taken[number] || is_member(group, number))
                continue;
            const weir__plan_node_t *anchor = &nodes[number];
            if (anchor->choice.kernel &&
                (anchor->choice.kernel->head.flags & WEIR_KERNEL_EPILOGUE) &&
                anchor->choice.device == root->choice.device && !anchor->body &&
                !anchor->candidate_count && !anchor->is_shape && anchor->output_count == 1 &&
                same_shape(fuser, value, root->outputs[0]) &&
                uses_within(fuser, group, value) == fuser->plan->use_counts[value] &&
                (best == UINT32_MAX || number > best))
                best = number;
        }
    }
    return best;
}

// May the group be cut behind its first `count` members, so that one value alone crosses?
static bool cuts_cleanly(
    const fuser_t *fuser, const group_t *group, uint32_t count, uint32_t anchor_value)
{
    group_t head = *group;
    head.count = count;
    if (uses_within(fuser, &head, anchor_value) != fuser->plan->use_counts[anchor_value])
        return false;
    for (uint32_t m = 0; m + 1 < count; m++) {
        uint32_t value = fuser->region->nodes[group->members[m]].outputs[0];
        if (uses_within(fuser, &head, value) != fuser->plan->use_counts[value])
            return false;
    }
    return true;
}

static void replace(fuser_t *fuser, const group_t *group, uint32_t anchor, weir__plan_node_t *made)
{
    for (uint32_t m = 0; m < group->count; m++) {
        fuser->taken[group->members[m]] = true;
        fuser->replacements[group->members[m]] = NULL;
    }
    if (anchor != UINT32_MAX) {
        fuser->taken[anchor] = true;
        fuser->replacements[anchor] = NULL;
    }
    fuser->replacements[group->members[group->count - 1]] = made;
}

// Takes as much of the group, from its beginning, as the anchor's kernel accepts. Returns how many
// members.
static weir_status_t bind_epilogue(
    fuser_t *fuser, const group_t *group, uint32_t anchor, uint32_t *out_taken)
{
    const weir__plan_node_t *node = &fuser->region->nodes[anchor];
    *out_taken = 0;
    for (uint32_t count = group->count; count > 0; count--) {
        if (!cuts_cleanly(fuser, group, count, node->outputs[0]))
            continue;
        group_t head = *group;
        head.count = count;
        weir__plan_node_t *made = build_node(fuser, &head, node);
        if (!made)
            return weir__status_no_memory();
        if (!weir__plan_kernel_takes(fuser->plan, made->choice.kernel, made))
            continue;
        replace(fuser, &head, anchor, made);
        *out_taken = count;
        return NULL;
    }
    return NULL;
}

static weir_status_t fuse_from(fuser_t *fuser, uint32_t root)
{
    group_t group;
    collect(fuser, root, &group);
    uint32_t anchor = find_anchor(fuser, &group), bound = 0;
    if (anchor != UINT32_MAX)
        WEIR_TRY(bind_epilogue(fuser, &group, anchor, &bound));
    memmove(group.members, group.members + bound, (group.count - bound) * sizeof group.members[0]);
    group.count -= bound;
    // Peeled from the end too: what the Pointwise kernel refuses loses its last node, which stays
    // alone, and the rest is met again as a group of its own.
    if (group.count < 2)
        return NULL;
    weir__plan_node_t *made = build_node(fuser, &group, NULL);
    if (!made)
        return weir__status_no_memory();
    if (bind_pointwise(fuser, made))
        replace(fuser, &group, UINT32_MAX, made);
    return NULL;
}

// Closes the gaps that fusion left.
static void compact(fuser_t *fuser)
{
    weir__plan_region_t *region = fuser->region;
    uint32_t count = 0;
    for (uint32_t i = 0; i < region->node_count; i++)
        if (fuser->replacements[i])
            region->nodes[count++] = *fuser->replacements[i];
    region->node_count = count;
}

static weir_status_t fuse_region(fuser_t *fuser)
{
    weir__plan_region_t *region = fuser->region;
    weir__zone_t *zone = &fuser->plan->zone;
    fuser->taken = weir__zone_array(zone, region->node_count, sizeof(bool));
    fuser->replacements = weir__zone_array(zone, region->node_count, sizeof(void *));
    if (!fuser->taken || !fuser->replacements)
        return weir__status_no_memory();
    for (uint32_t i = 0; i < region->node_count; i++) {
        fuser->replacements[i] = &region->nodes[i];
        for (uint32_t o = 0; o < region->nodes[i].output_count; o++)
            if (region->nodes[i].outputs[o] != WEIR__NONE)
                fuser->producers[region->nodes[i].outputs[o]] = i;
    }
    for (uint32_t i = region->node_count; i-- > 0;)
        if (may_join(fuser, i))
            WEIR_TRY(fuse_from(fuser, i));
    compact(fuser);
    return weir__plan_fuse_prologues(fuser->plan, region);
}

weir_status_t weir__plan_fuse(weir_plan_t *plan, weir__plan_region_t *region)
{
    for (uint32_t i = 0; i < region->node_count; i++)
        for (uint32_t r = 0; r < 2; r++)
            if (region->nodes[i].regions[r])
                WEIR_TRY(weir__plan_fuse(plan, region->nodes[i].regions[r]));
    // A table of all values is given back at once: there may be as many regions as values.
    uint64_t bytes = (uint64_t)plan->model->graph->value_count * sizeof(uint32_t);
    fuser_t fuser = {.plan = plan, .region = region};
    fuser.producers = weir__heap_alloc(&plan->runtime->heap, bytes);
    if (!fuser.producers)
        return weir__status_no_memory();
    memset(fuser.producers, 0xff, (size_t)bytes);
    weir_status_t status = fuse_region(&fuser);
    weir__heap_free(&plan->runtime->heap, fuser.producers);
    return status;
}
