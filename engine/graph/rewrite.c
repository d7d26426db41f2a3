// engine/graph/rewrite.c: see rewrite.h. Matching helpers and the three ways to change a graph:
// another value instead, another operator in place, a new constant.
#include "engine/graph/rewrite.h"

#include "engine/base/size.h"
#include <math.h>
#include <string.h>

// Grows an array of the heap to `capacity` items; the new ones are zero.
static bool grow_array(
    weir__heap_t *heap, void **array, uint64_t item_bytes, uint32_t old, uint32_t capacity)
{
    void *grown = weir__heap_realloc(heap, *array, capacity * item_bytes);
    if (!grown)
        return false;
    *array = grown;
    memset((char *)grown + old * item_bytes, 0, (size_t)((capacity - old) * item_bytes));
    return true;
}

weir_status_t weir__rewrite_grow(weir__rewrite_t *rewrite)
{
    weir__graph_t *graph = rewrite->graph;
    uint32_t old = rewrite->value_capacity, old_nodes = rewrite->node_capacity;
    if (graph->value_count > old) {
        uint32_t capacity = graph->value_capacity;
        void *uses = rewrite->uses, *instead = rewrite->instead, *outputs = rewrite->is_output;
        bool grown = grow_array(graph->heap, &uses, sizeof(uint32_t), old, capacity);
        rewrite->uses = uses;
        grown = grown && grow_array(graph->heap, &instead, sizeof(uint32_t), old, capacity);
        rewrite->instead = instead;
        grown = grown && grow_array(graph->heap, &outputs, 1, old, capacity);
        rewrite->is_output = outputs;
        if (!grown)
            return weir__status_no_memory();
        for (uint32_t i = old; i < capacity; i++)
            rewrite->instead[i] = i;
        rewrite->value_capacity = capacity;
    }
    if (graph->node_count > old_nodes) {
        void *left_alone = rewrite->left_alone;
        bool grown = grow_array(graph->heap, &left_alone, 1, old_nodes, graph->node_capacity);
        rewrite->left_alone = left_alone;
        if (!grown)
            return weir__status_no_memory();
        rewrite->node_capacity = graph->node_capacity;
    }
    return NULL;
}

uint32_t weir__rewrite_resolve(const weir__rewrite_t *rewrite, uint32_t value)
{
    if (value == WEIR__NONE)
        return value;
    uint32_t last = value;
    while (rewrite->instead[last] != last)
        last = rewrite->instead[last];
    // Shorten the path, so that long chains of no-ops stay linear in all.
    while (rewrite->instead[value] != last) {
        uint32_t next = rewrite->instead[value];
        rewrite->instead[value] = last;
        value = next;
    }
    return last;
}

uint32_t weir__rewrite_input(
    const weir__rewrite_t *rewrite, const weir__node_t *node, uint32_t input)
{
    return input < node->input_count ? weir__rewrite_resolve(rewrite, node->inputs[input])
                                     : WEIR__NONE;
}

weir__node_t *weir__rewrite_producer(const weir__rewrite_t *rewrite, uint32_t value, const char *op)
{
    if (value == WEIR__NONE || rewrite->graph->values[value].producer == WEIR__NONE)
        return NULL;
    weir__node_t *node = &rewrite->graph->nodes[rewrite->graph->values[value].producer];
    if (rewrite->graph->values[value].producer_output != 0 || (op && !weir__rewrite_is(node, op)))
        return NULL;
    return node;
}

bool weir__type_equal(const weir__type_t *a, const weir__type_t *b)
{
    return a->dtype == b->dtype && a->rank == b->rank && a->rank >= 0 &&
           memcmp(a->dims, b->dims, (size_t)a->rank * sizeof a->dims[0]) == 0;
}

const weir__tensor_t *weir__rewrite_constant(const weir__rewrite_t *rewrite, uint32_t value)
{
    if (value == WEIR__NONE)
        return NULL;
    const weir__tensor_t *tensor = rewrite->graph->values[value].constant;
    return weir__tensor_ready(tensor) ? tensor : NULL;
}

bool weir__rewrite_scalar(const weir__rewrite_t *rewrite, uint32_t value, double *out_number)
{
    const weir__tensor_t *tensor = weir__rewrite_constant(rewrite, value);
    if (!tensor || tensor->count != 1 ||
        !(tensor->dtype & (WEIR_F32 | WEIR_F64 | WEIR_F16 | WEIR_BF16)))
        return false;
    *out_number = weir__tensor_float(tensor, 0);
    return true;
}

bool weir__rewrite_is_number(const weir__rewrite_t *rewrite, uint32_t value, double number)
{
    double found;
    return weir__rewrite_scalar(rewrite, value, &found) &&
           fabs(found - number) <= 1e-6 * fabs(number);
}

bool weir__rewrite_other(
    const weir__rewrite_t *rewrite, const weir__node_t *node, uint32_t value, uint32_t *out_other)
{
    uint32_t a = weir__rewrite_input(rewrite, node, 0), b = weir__rewrite_input(rewrite, node, 1);
    *out_other = a == value ? b : a;
    return a == value || b == value;
}

bool weir__rewrite_replace(
    weir__rewrite_t *rewrite, const weir__node_t *node, uint32_t value, uint32_t by)
{
    weir__graph_t *graph = rewrite->graph;
    by = weir__rewrite_resolve(rewrite, by);
    if (!rewrite->is_output[value]) {
        rewrite->instead[value] = by;
        rewrite->uses[by] += rewrite->uses[value];
        rewrite->change_count++;
        return true;
    }
    // The model's output keeps its name: the producer of `by` makes it directly.
    uint32_t producer = graph->values[by].producer;
    if (rewrite->is_output[by] || producer == WEIR__NONE ||
        graph->nodes[producer].region != node->region)
        return false;
    uint32_t output = graph->values[by].producer_output;
    uint32_t old = graph->values[value].producer;
    if (old != WEIR__NONE)
        graph->nodes[old].outputs[graph->values[value].producer_output] = WEIR__NONE;
    graph->nodes[producer].outputs[output] = value;
    graph->values[value].producer = producer;
    graph->values[value].producer_output = output;
    graph->values[value].type = graph->values[by].type;
    graph->values[value].shape = graph->values[by].shape;
    graph->values[by].producer = WEIR__NONE;
    rewrite->instead[by] = value;
    rewrite->uses[value] += rewrite->uses[by];
    rewrite->change_count++;
    return true;
}

// A chain of nodes that rules merge one by one is of any length; the names of so many tell who they
// were.
#define ORIGINS_MAX 256u

// Appends what is not known yet, while there is room.
static void add_origins(
    const char **origins, uint32_t *inout_count, uint32_t most, const weir__node_t *node)
{
    uint32_t before = *inout_count; // a node's own names differ from one another
    for (uint32_t i = 0; i < node->origin_count && *inout_count < most; i++) {
        bool known = false;
        for (uint32_t k = 0; k < before && !known; k++)
            known = strcmp(origins[k], node->origins[i]) == 0;
        if (!known)
            origins[(*inout_count)++] = node->origins[i];
    }
}

// The origins of the absorbed nodes, then the root's own; each once.
static weir_status_t join_origins(weir__graph_t *graph, weir__node_t *root,
    const weir__node_t *const *absorbed, uint32_t absorbed_count)
{
    uint64_t most = root->origin_count;
    uint32_t count = 0;
    for (uint32_t i = 0; i < absorbed_count; i++)
        most += absorbed[i] && absorbed[i] != root ? absorbed[i]->origin_count : 0;
    most = WEIR_MIN(most, ORIGINS_MAX);
    weir_status_t status;
    const char **origins = weir__graph_array(graph, most, sizeof *origins, &status);
    if (!origins)
        return status;
    for (uint32_t i = 0; i < absorbed_count; i++)
        if (absorbed[i] && absorbed[i] != root)
            add_origins(origins, &count, (uint32_t)most, absorbed[i]);
    add_origins(origins, &count, (uint32_t)most, root);
    root->origins = origins;
    root->origin_count = count;
    return NULL;
}

weir_status_t weir__rewrite_node(weir__rewrite_t *rewrite, uint32_t number, const char *op,
    const uint32_t *inputs, uint32_t input_count, const weir_attribute_t *attributes,
    uint32_t attribute_count, const weir__node_t *const *absorbed, uint32_t absorbed_count)
{
    weir__graph_t *graph = rewrite->graph;
    weir__node_t *node = &graph->nodes[number];
    WEIR_TRY(join_origins(graph, node, absorbed, absorbed_count));
    weir_status_t status;
    uint32_t *copy = weir__graph_array(graph, input_count, sizeof *copy, &status);
    if (!copy)
        return status;
    for (uint32_t i = 0; i < input_count; i++) {
        copy[i] = weir__rewrite_resolve(rewrite, inputs[i]);
        if (copy[i] != WEIR__NONE)
            rewrite->uses[copy[i]]++;
    }
    WEIR_TRY(weir__graph_copy_attributes(graph, attributes, attribute_count, &node->attributes));
    node->attribute_count = attribute_count;
    node->inputs = copy;
    node->input_count = input_count;
    node->op = weir__op_find(op, 1);
    rewrite->left_alone[number] = 0;
    rewrite->change_count++;
    return NULL;
}

weir_status_t weir__rewrite_add(weir__rewrite_t *rewrite, uint32_t root, const char *op,
    const uint32_t *inputs, uint32_t input_count, const weir_attribute_t *attributes,
    uint32_t attribute_count, const weir__type_t *type, uint32_t *out_value)
{
    weir__graph_t *graph = rewrite->graph;
    uint32_t number;
    WEIR_TRY(weir__graph_add_value(graph, NULL, out_value));
    graph->values[*out_value].type = *type;
    WEIR_TRY(weir__graph_add_node(graph, graph->nodes[root].region, weir__op_find(op, 1), inputs,
        input_count, out_value, 1, attributes, attribute_count, NULL, &number));
    graph->nodes[number].origins = graph->nodes[root].origins;
    graph->nodes[number].origin_count = graph->nodes[root].origin_count;
    for (uint32_t i = 0; i < input_count; i++)
        if (inputs[i] != WEIR__NONE)
            rewrite->uses[inputs[i]]++;
    rewrite->change_count++;
    return weir__rewrite_grow(rewrite);
}

weir_status_t weir__rewrite_fold_memory(weir__rewrite_t *rewrite, uint64_t bytes, void **out_memory)
{
    weir__graph_t *graph = rewrite->graph;
    *out_memory = NULL;
    uint64_t total;
    if (bytes > graph->limits.fold_node_bytes ||
        !weir__add_u64(graph->folded_bytes, bytes, &total) || total > rewrite->fold_bytes_max)
        return NULL;
    *out_memory = weir__zone_alloc(&graph->fold_zone, WEIR_MAX(bytes, 1));
    if (!*out_memory)
        return weir__status_no_memory();
    graph->folded_bytes = total;
    return NULL;
}

weir_status_t weir__rewrite_constant_new(weir__rewrite_t *rewrite, uint32_t rank,
    const int64_t *dims, uint32_t *out_value, float **out_data)
{
    uint64_t bytes;
    void *memory;
    *out_data = NULL;
    if (!weir__tensor_bytes(dims, rank, WEIR_F32, &bytes))
        return NULL;
    WEIR_TRY(weir__rewrite_fold_memory(rewrite, bytes, &memory));
    if (!memory)
        return NULL;
    WEIR_TRY(weir__graph_add_constant(
        rewrite->graph, NULL, WEIR_F32, rank, dims, memory, false, out_value));
    *out_data = memory;
    return weir__rewrite_grow(rewrite);
}

weir_status_t weir__rewrite_constant_view(weir__rewrite_t *rewrite, const weir__tensor_t *tensor,
    uint32_t rank, const int64_t *dims, uint32_t *out_value)
{
    WEIR_TRY(weir__graph_add_constant(
        rewrite->graph, NULL, tensor->dtype, rank, dims, tensor->data, false, out_value));
    return weir__rewrite_grow(rewrite);
}

weir_status_t weir__rewrite_count(weir__rewrite_t *rewrite, const char *name)
{
    weir__graph_t *graph = rewrite->graph;
    for (uint32_t i = 0; i < graph->rewrite_count; i++) {
        if (strcmp(graph->rewrites[i].name, name) == 0) {
            graph->rewrites[i].count++;
            return NULL;
        }
    }
    // There are a few dozen rules, so copying the table for a new one costs nothing.
    weir_status_t status;
    weir__rewrite_tally_t *copy =
        weir__graph_array(graph, graph->rewrite_count + 1ull, sizeof *copy, &status);
    if (!copy)
        return status;
    if (graph->rewrite_count)
        memcpy(copy, graph->rewrites, graph->rewrite_count * sizeof *copy);
    copy[graph->rewrite_count] = (weir__rewrite_tally_t){.name = name, .count = 1};
    graph->rewrites = copy;
    graph->rewrite_count++;
    return NULL;
}
