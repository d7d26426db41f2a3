// engine/plan/group.c: nodes that would be fused on a device that takes every expression.
//
// The rules are those of fuse.c and prologue.c, without asking kernels: what one device would join,
// no border between devices may cut, because a fused expression is rounded once at its end. A
// kernel that refuses an expression peels it, as always; both parts then run on the device that has
// the group. Must not place anything.
#include "engine/plan/fuse.h"
#include "engine/plan/place.h"

#include <string.h>

#define GROUP_MAX 32
#define FLOATING (WEIR_F32 | WEIR_F64 | WEIR_F16 | WEIR_BF16 | WEIR_BOOL)

typedef struct grouper {
    weir__region_placer_t *at;
    const uint32_t *producers; // [value_count] node number in the region, UINT32_MAX: elsewhere
    bool *has_anchor;          // [node_count] by the number of a group
    uint32_t *sizes;           // [node_count] members, by the number of a group
} grouper_t;

typedef struct members {
    uint32_t nodes[GROUP_MAX];
    uint32_t count;
} members_t;

static const weir__plan_node_t *node_at(const grouper_t *grouper, uint32_t number)
{
    return &grouper->at->region->nodes[number];
}

static bool may_join(const grouper_t *grouper, uint32_t number)
{
    const weir__plan_node_t *node = node_at(grouper, number);
    const weir_plan_t *plan = grouper->at->placer->plan;
    return node->body && !node->is_shape && grouper->at->groups[number] == UINT32_MAX &&
           !(node->anchor->op->flags & WEIR__OP_VIEW) && weir__place_rank_known(plan, node) &&
           (plan->model->graph->values[node->outputs[0]].type.dtype & FLOATING);
}

// Does some device have a kernel with this flag for the node?
static bool has_flag(const grouper_t *grouper, uint32_t number, uint32_t flag)
{
    uint32_t count = weir__placement_total(grouper->at->placer->placement);
    const weir__verdict_t *verdicts = grouper->at->verdicts + (size_t)number * count;
    for (uint32_t d = 0; d < count; d++)
        if (verdicts[d].kernel && (verdicts[d].kernel->head.flags & flag))
            return true;
    return false;
}

static bool same_shape(const grouper_t *grouper, uint32_t a, uint32_t b)
{
    const weir__value_t *values = grouper->at->placer->plan->model->graph->values;
    return weir__plan_same_dims(&values[a].type, &values[b].type);
}

static bool is_member(const members_t *members, uint32_t number)
{
    for (uint32_t m = 0; m < members->count; m++)
        if (members->nodes[m] == number)
            return true;
    return false;
}

static bool all_uses_within(const grouper_t *grouper, const members_t *members, uint32_t value)
{
    uint32_t uses = 0;
    for (uint32_t m = 0; m < members->count; m++) {
        const weir__plan_node_t *node = node_at(grouper, members->nodes[m]);
        for (uint32_t i = 0; i < node->input_count; i++)
            uses += node->inputs[i] == value;
    }
    return uses == grouper->at->placer->plan->use_counts[value];
}

static bool has_room(const grouper_t *grouper, const members_t *members, uint32_t number)
{
    uint32_t code = 2 + node_at(grouper, number)->input_count, operands = code;
    for (uint32_t m = 0; m < members->count; m++) {
        uint32_t inputs = node_at(grouper, members->nodes[m])->input_count;
        code += 1 + inputs;
        operands += inputs - 1;
    }
    return members->count < GROUP_MAX && code <= WEIR_EXPRESSION_MAX &&
           operands <= WEIR_OPERANDS_MAX;
}

static void collect(const grouper_t *grouper, uint32_t root, members_t *members)
{
    *members = (members_t){.nodes = {root}, .count = 1};
    uint32_t result = node_at(grouper, root)->outputs[0];
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t m = 0; m < members->count && !changed; m++) {
            const weir__plan_node_t *node = node_at(grouper, members->nodes[m]);
            for (uint32_t i = 0; i < node->input_count && !changed; i++) {
                uint32_t value = node->inputs[i];
                uint32_t producer = value == WEIR__NONE ? UINT32_MAX : grouper->producers[value];
                if (producer == UINT32_MAX || is_member(members, producer) ||
                    !may_join(grouper, producer) || !has_room(grouper, members, producer) ||
                    !same_shape(grouper, value, result) ||
                    !all_uses_within(grouper, members, value))
                    continue;
                members->nodes[members->count++] = producer;
                changed = true;
            }
        }
    }
}

// The latest node before the members that could carry them as an epilogue; UINT32_MAX: none.
static uint32_t find_anchor(const grouper_t *grouper, const members_t *members, uint32_t root)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t m = 0; m < members->count; m++) {
        const weir__plan_node_t *node = node_at(grouper, members->nodes[m]);
        for (uint32_t i = 0; i < node->input_count; i++) {
            uint32_t value = node->inputs[i];
            uint32_t number = value == WEIR__NONE ? UINT32_MAX : grouper->producers[value];
            if (number == UINT32_MAX || grouper->at->groups[number] != UINT32_MAX ||
                is_member(members, number) || (best != UINT32_MAX && number <= best))
                continue;
            const weir__plan_node_t *anchor = node_at(grouper, number);
            if (!anchor->body && !anchor->is_shape && anchor->output_count == 1 &&
                has_flag(grouper, number, WEIR_KERNEL_EPILOGUE) &&
                same_shape(grouper, value, node_at(grouper, root)->outputs[0]) &&
                all_uses_within(grouper, members, value))
                best = number;
        }
    }
    return best;
}

// A group that only feeds input 0 of a node which takes prologues goes with that node.
static void join_prologues(grouper_t *grouper)
{
    uint32_t *groups = grouper->at->groups;
    uint32_t count = grouper->at->region->node_count;
    for (uint32_t i = 0; i < count; i++) {
        const weir__plan_node_t *node = node_at(grouper, i);
        uint32_t value = node->input_count ? node->inputs[0] : WEIR__NONE;
        uint32_t before = value == WEIR__NONE ? UINT32_MAX : grouper->producers[value];
        if (before == UINT32_MAX || groups[i] == UINT32_MAX || groups[before] == UINT32_MAX ||
            groups[before] == groups[i] || !node_at(grouper, before)->body ||
            grouper->has_anchor[groups[before]] || node->is_shape ||
            grouper->at->placer->plan->use_counts[value] != 1 ||
            !has_flag(grouper, i, WEIR_KERNEL_PROLOGUE))
            continue;
        uint32_t from = groups[before], left = grouper->sizes[from];
        grouper->sizes[groups[i]] += left;
        for (uint32_t j = before; left; j--) // `before` is the last of its group
            if (groups[j] == from) {
                groups[j] = groups[i];
                left--;
            }
        grouper->has_anchor[groups[i]] = true;
    }
}

static bool takes_part(const grouper_t *grouper, uint32_t number)
{
    const weir__plan_node_t *node = node_at(grouper, number);
    return !node->is_shape && !(node->anchor->op->flags & (WEIR__OP_REGIONS | WEIR__OP_VIEW)) &&
           weir__place_rank_known(grouper->at->placer->plan, node);
}

static void group_all(grouper_t *grouper)
{
    uint32_t *groups = grouper->at->groups;
    uint32_t count = grouper->at->region->node_count;
    for (uint32_t i = count; i-- > 0;) {
        if (!may_join(grouper, i))
            continue;
        members_t members;
        collect(grouper, i, &members);
        uint32_t anchor = find_anchor(grouper, &members, i);
        for (uint32_t m = 0; m < members.count; m++)
            groups[members.nodes[m]] = i;
        grouper->sizes[i] = members.count + (anchor != UINT32_MAX);
        if (anchor != UINT32_MAX) {
            groups[anchor] = i;
            grouper->has_anchor[i] = true;
        }
    }
    for (uint32_t i = 0; i < count; i++)
        if (groups[i] == UINT32_MAX && takes_part(grouper, i)) {
            groups[i] = i;
            grouper->sizes[i] = 1;
        }
    join_prologues(grouper);
}

weir_status_t weir__place_group(weir__region_placer_t *at)
{
    weir__heap_t *heap = &at->placer->plan->runtime->heap;
    grouper_t grouper = {.at = at, .producers = at->placer->producers};
    grouper.has_anchor = weir__heap_calloc(heap, at->region->node_count + 1ull, sizeof(bool));
    grouper.sizes = weir__heap_calloc(heap, at->region->node_count + 1ull, sizeof(uint32_t));
    weir_status_t status = NULL;
    if (grouper.has_anchor && grouper.sizes)
        group_all(&grouper);
    else
        status = weir__status_no_memory();
    weir__heap_free(heap, grouper.sizes);
    weir__heap_free(heap, grouper.has_anchor);
    return status;
}
