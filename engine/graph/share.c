// engine/graph/share.c: common subexpressions: equal small constants become one, and nodes of one
// region with the same operator, inputs and attributes become one.
//
// Every operator is a function of its inputs and attributes, so this never changes a result.
#include "engine/graph/rewrite.h"

#include "engine/base/attribute.h"
#include "engine/base/hash.h"
#include <string.h>

#define SHARED_CONSTANT_BYTES 256

typedef struct share {
    weir__rewrite_t *rewrite;
    uint32_t *slots; // a hash table: number + 1, 0: free
    uint64_t mask;
} share_t;

static bool same_constant(const weir__tensor_t *a, const weir__tensor_t *b)
{
    return a->dtype == b->dtype && a->rank == b->rank && a->bytes == b->bytes &&
           memcmp(a->dims, b->dims, a->rank * sizeof *a->dims) == 0 &&
           (a->bytes == 0 || memcmp(a->data, b->data, (size_t)a->bytes) == 0);
}

static weir_status_t share_constants(share_t *share)
{
    weir__graph_t *graph = share->rewrite->graph;
    for (uint32_t i = 0; i < graph->value_count; i++) {
        const weir__tensor_t *tensor = weir__rewrite_constant(share->rewrite, i);
        if (!tensor || tensor->bytes > SHARED_CONSTANT_BYTES || share->rewrite->is_output[i] ||
            share->rewrite->instead[i] != i)
            continue;
        uint64_t key =
            weir__hash64(tensor->dims, tensor->rank * sizeof *tensor->dims, tensor->dtype);
        if (tensor->bytes)
            key = weir__hash64(tensor->data, tensor->bytes, key);
        uint64_t at = key & share->mask;
        for (; share->slots[at]; at = (at + 1) & share->mask) {
            uint32_t other = share->slots[at] - 1;
            if (same_constant(tensor, graph->values[other].constant)) {
                share->rewrite->instead[i] = other;
                share->rewrite->uses[other] += share->rewrite->uses[i];
                break;
            }
        }
        if (!share->slots[at])
            share->slots[at] = i + 1;
    }
    return NULL;
}

// The inputs of a node in the order in which they are compared.
static uint32_t input_at(const weir__rewrite_t *rewrite, const weir__node_t *node, uint32_t i)
{
    if (node->op->flags & WEIR__OP_COMMUTATIVE) {
        uint32_t a = weir__rewrite_input(rewrite, node, 0),
                 b = weir__rewrite_input(rewrite, node, 1);
        return i == 0 ? WEIR_MIN(a, b) : WEIR_MAX(a, b);
    }
    return weir__rewrite_input(rewrite, node, i);
}

static bool same_node(const weir__rewrite_t *rewrite, const weir__node_t *a, const weir__node_t *b)
{
    if (a->op != b->op || a->region != b->region || a->input_count != b->input_count ||
        a->output_count != b->output_count || a->attribute_count != b->attribute_count)
        return false;
    for (uint32_t i = 0; i < a->input_count; i++)
        if (input_at(rewrite, a, i) != input_at(rewrite, b, i))
            return false;
    for (uint32_t i = 0; i < a->attribute_count; i++)
        if (!weir__attribute_same(&a->attributes[i], &b->attributes[i]))
            return false;
    for (uint32_t i = 0; i < a->output_count; i++)
        if (b->outputs[i] != WEIR__NONE && a->outputs[i] == WEIR__NONE)
            return false;
    return true;
}

static weir_status_t merge(share_t *share, const weir__node_t *kept, const weir__node_t *node)
{
    weir__rewrite_t *rewrite = share->rewrite;
    // A model's output must keep its name, so such a node stays.
    for (uint32_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] != WEIR__NONE && rewrite->is_output[node->outputs[i]])
            return NULL;
    for (uint32_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] != WEIR__NONE)
            weir__rewrite_replace(rewrite, node, node->outputs[i], kept->outputs[i]);
    return weir__rewrite_count(rewrite, "share");
}

static weir_status_t share_region(share_t *share, const weir__region_t *region)
{
    weir__rewrite_t *rewrite = share->rewrite;
    weir__graph_t *graph = rewrite->graph;
    for (uint32_t i = 0; i < region->node_count; i++) {
        uint32_t number = region->nodes[i];
        const weir__node_t *node = &graph->nodes[number];
        for (uint32_t r = 0; r < node->region_count; r++)
            WEIR_TRY(share_region(share, node->regions[r]));
        bool wanted = false; // false: folded or replaced in this round
        for (uint32_t j = 0; j < node->output_count; j++)
            wanted |= node->outputs[j] != WEIR__NONE;
        if (node->region_count || !wanted)
            continue;
        uint64_t key = weir__hash64(&node->op, sizeof node->op, node->input_count);
        for (uint32_t j = 0; j < node->input_count; j++) {
            uint32_t input = input_at(rewrite, node, j);
            key = weir__hash64(&input, sizeof input, key);
        }
        uint64_t at = key & share->mask;
        for (; share->slots[at]; at = (at + 1) & share->mask) {
            const weir__node_t *other = &graph->nodes[share->slots[at] - 1];
            if (same_node(rewrite, other, node)) {
                WEIR_TRY(merge(share, other, node));
                break;
            }
        }
        if (!share->slots[at])
            share->slots[at] = number + 1;
    }
    return NULL;
}

weir_status_t weir__share_common(weir__rewrite_t *rewrite)
{
    weir__graph_t *graph = rewrite->graph;
    uint64_t most = WEIR_MAX(graph->node_count, graph->value_count), size = 64;
    while (size < 2 * most)
        size *= 2;
    share_t share = {.rewrite = rewrite, .mask = size - 1};
    share.slots = weir__heap_calloc(graph->heap, size, sizeof *share.slots);
    if (!share.slots)
        return weir__status_no_memory();
    weir_status_t status = share_constants(&share);
    if (!status) {
        memset(share.slots, 0, size * sizeof *share.slots);
        status = share_region(&share, &graph->main);
    }
    weir__heap_free(graph->heap, share.slots);
    return status;
}
