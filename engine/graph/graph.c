// engine/graph/graph.c: building a graph: values, nodes, regions, constants, symbols.
//
// Every limit is charged before the memory is taken. Lists grow by doubling inside the zone, so
// that what they leave behind is at most as large as what they hold. This file checks what would
// make the graph inconsistent (a second producer, a number out of range); whether the graph makes
// sense is verify.c's.
#include "engine/graph/build.h"

#include "engine/base/hash.h"
#include "engine/base/size.h"
#include <stdio.h>
#include <string.h>

void *weir__graph_array(
    weir__graph_t *graph, uint64_t count, uint64_t bytes, weir_status_t *out_status)
{
    void *memory = weir__zone_array(&graph->zone, count, bytes);
    *out_status = NULL;
    if (memory)
        return memory;
    uint64_t total, all;
    bool fits = weir__mul_u64(count, bytes, &total) &&
                weir__add_u64(total, graph->zone.used_bytes, &all) &&
                (!graph->zone.limit_bytes || all + 16 <= graph->zone.limit_bytes);
    *out_status = fits ? weir__status_no_memory()
                       : WEIR_ERR(WEIR_LIMIT, "the graph needs more than graph_bytes = %llu bytes",
                             (unsigned long long)graph->limits.graph_bytes);
    return NULL;
}

// A copy of `bytes` bytes in the zone.
static void *copy_bytes(
    weir__graph_t *graph, const void *data, uint64_t bytes, weir_status_t *out_status)
{
    void *memory = weir__graph_array(graph, bytes, 1, out_status);
    if (memory && bytes)
        memcpy(memory, data, (size_t)bytes);
    return memory;
}

static void *grown(weir__graph_t *graph, const void *list, uint32_t count, uint64_t item_bytes,
    uint32_t *capacity, weir_status_t *out_status)
{
    uint32_t larger = *capacity ? *capacity * 2 : 8;
    *out_status = NULL;
    if (larger <= *capacity) {
        *out_status = WEIR_ERR(WEIR_LIMIT, "a list of the graph has more than 2^31 entries");
        return NULL;
    }
    void *copy = weir__graph_array(graph, larger, item_bytes, out_status);
    if (copy) {
        if (count)
            memcpy(copy, list, (size_t)(count * item_bytes));
        *capacity = larger;
    }
    return copy;
}

weir_status_t weir__graph_append(
    weir__graph_t *graph, uint32_t **list, uint32_t *count, uint32_t *capacity, uint32_t number)
{
    if (*count == *capacity) {
        weir_status_t status;
        uint32_t *copy = grown(graph, *list, *count, sizeof **list, capacity, &status);
        if (!copy)
            return status;
        *list = copy;
    }
    (*list)[(*count)++] = number;
    return NULL;
}

weir_status_t weir__graph_create(
    weir__heap_t *heap, const weir_limits_t *limits, weir__graph_t **out_graph)
{
    weir__graph_t *graph = weir__heap_calloc(heap, 1, sizeof *graph);
    if (!graph)
        return weir__status_no_memory();
    graph->heap = heap;
    graph->limits = *limits;
    weir__zone_init(&graph->zone, heap, limits->graph_bytes);
    weir__zone_init(&graph->fold_zone, heap, 0);
    *out_graph = graph;
    return NULL;
}

void weir__graph_free(weir__graph_t *graph)
{
    if (!graph)
        return;
    weir__zone_free(&graph->fold_zone);
    weir__zone_free(&graph->zone);
    weir__heap_free(graph->heap, graph);
}

// A copy of a name of the file.
static weir_status_t copy_name(
    weir__graph_t *graph, const char *what, const char *name, const char **out_name)
{
    size_t length = strlen(name);
    if (length > graph->limits.name_bytes)
        return WEIR_ERR(WEIR_LIMIT, "%s name of %zu bytes is longer than name_bytes = %llu", what,
            length, (unsigned long long)graph->limits.name_bytes);
    weir_status_t status;
    *out_name = copy_bytes(graph, name, length + 1, &status);
    return status;
}

weir_status_t weir__graph_add_value(weir__graph_t *graph, const char *name, uint32_t *out_value)
{
    if (graph->value_count >= WEIR__NONE - 1 ||
        (name && graph->value_count >= graph->limits.values))
        return WEIR_ERR(WEIR_LIMIT, "the model has more than values = %llu tensors",
            (unsigned long long)graph->limits.values);
    weir_status_t status;
    if (graph->value_count == graph->value_capacity) {
        weir__value_t *values = grown(graph, graph->values, graph->value_count,
            sizeof *graph->values, &graph->value_capacity, &status);
        if (!values)
            return status;
        graph->values = values;
    }
    weir__value_t value = {.type = {.rank = -1}, .producer = WEIR__NONE};
    char made_up[32];
    if (!name) {
        snprintf(made_up, sizeof made_up, "weir.%u", graph->value_count);
        value.name = copy_bytes(graph, made_up, strlen(made_up) + 1, &status);
        if (!value.name)
            return status;
    } else {
        WEIR_TRY(copy_name(graph, "a tensor", name, &value.name));
    }
    graph->values[graph->value_count] = value;
    *out_value = graph->value_count++;
    return NULL;
}

static weir_status_t copy_attribute(
    weir__graph_t *graph, const weir_attribute_t *from, weir_attribute_t *to)
{
    weir_status_t status;
    *to = *from;
    to->ints = NULL;
    to->floats = NULL;
    to->s = NULL;
    WEIR_TRY(copy_name(graph, "an attribute", from->name, &to->name));
    if (from->type == WEIR_ATTR_STRING) {
        const char *text = from->s ? from->s : "";
        to->s = copy_bytes(graph, text, strlen(text) + 1, &status);
        return status;
    }
    if (from->type == WEIR_ATTR_INTS && from->count) {
        int64_t *ints = weir__graph_array(graph, from->count, sizeof *ints, &status);
        if (ints)
            memcpy(ints, from->ints, from->count * sizeof *ints);
        to->ints = ints;
        return status;
    }
    if (from->type == WEIR_ATTR_FLOATS && from->count) {
        float *floats = weir__graph_array(graph, from->count, sizeof *floats, &status);
        if (floats)
            memcpy(floats, from->floats, from->count * sizeof *floats);
        to->floats = floats;
        return status;
    }
    return NULL;
}

weir_status_t weir__graph_copy_attributes(weir__graph_t *graph, const weir_attribute_t *attributes,
    uint32_t count, const weir_attribute_t **out_copies)
{
    weir_status_t status;
    weir_attribute_t *copies = weir__graph_array(graph, count, sizeof *copies, &status);
    if (!copies)
        return status;
    for (uint32_t i = 0; i < count; i++)
        WEIR_TRY(copy_attribute(graph, &attributes[i], &copies[i]));
    *out_copies = copies;
    return NULL;
}

static weir_status_t fill_node(weir__graph_t *graph, weir__node_t *node, const uint32_t *inputs,
    const uint32_t *outputs, const weir_attribute_t *attributes, const char *origin)
{
    weir_status_t status;
    node->inputs = copy_bytes(graph, inputs, node->input_count * sizeof *inputs, &status);
    if (!node->inputs)
        return status;
    node->outputs = copy_bytes(graph, outputs, node->output_count * sizeof *outputs, &status);
    if (!node->outputs)
        return status;
    WEIR_TRY(
        weir__graph_copy_attributes(graph, attributes, node->attribute_count, &node->attributes));
    node->origins = weir__graph_array(graph, 1, sizeof *node->origins, &status);
    if (!node->origins)
        return status;
    if (origin) {
        WEIR_TRY(copy_name(graph, "a node", origin, &node->origins[0]));
        node->origin_count = 1;
    }
    return NULL;
}

// Checks that a new node's values exist and that nothing else makes its outputs.
static weir_status_t check_new_node(const weir__graph_t *graph, const char *origin,
    const uint32_t *inputs, uint32_t input_count, const uint32_t *outputs, uint32_t output_count)
{
    for (uint32_t i = 0; i < input_count; i++)
        if (inputs[i] != WEIR__NONE && inputs[i] >= graph->value_count)
            return WEIR_ERR(WEIR_INTERNAL, "node %s: input %u is no value", origin, i);
    for (uint32_t i = 0; i < output_count; i++) {
        if (outputs[i] == WEIR__NONE)
            continue;
        if (outputs[i] >= graph->value_count)
            return WEIR_ERR(WEIR_INTERNAL, "node %s: output %u is no value", origin, i);
        const weir__value_t *value = &graph->values[outputs[i]];
        bool again = value->producer != WEIR__NONE;
        for (uint32_t j = 0; j < i; j++)
            again |= outputs[j] == outputs[i];
        if (again)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT,
                "node %s: its output %s is the output of another node, too", origin, value->name);
        if (value->constant)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT,
                "node %s: its output %s is the name of a constant, too", origin, value->name);
    }
    return NULL;
}

weir_status_t weir__graph_add_node(weir__graph_t *graph, weir__region_t *region,
    const weir__op_t *op, const uint32_t *inputs, uint32_t input_count, const uint32_t *outputs,
    uint32_t output_count, const weir_attribute_t *attributes, uint32_t attribute_count,
    const char *origin, uint32_t *out_node)
{
    const char *label = origin ? origin : op->name;
    if (graph->node_count >= WEIR__NONE - 1 || (origin && graph->node_count >= graph->limits.nodes))
        return WEIR_ERR(WEIR_LIMIT, "the model has more than nodes = %llu nodes",
            (unsigned long long)graph->limits.nodes);
    if (attribute_count > graph->limits.attributes)
        return WEIR_ERR(WEIR_LIMIT, "node %s: %u attributes are more than attributes = %llu", label,
            attribute_count, (unsigned long long)graph->limits.attributes);
    WEIR_TRY(check_new_node(graph, label, inputs, input_count, outputs, output_count));
    weir_status_t status;
    if (graph->node_count == graph->node_capacity) {
        weir__node_t *nodes = grown(graph, graph->nodes, graph->node_count, sizeof *graph->nodes,
            &graph->node_capacity, &status);
        if (!nodes)
            return status;
        graph->nodes = nodes;
    }
    weir__node_t node = {.op = op,
        .attribute_count = attribute_count,
        .input_count = input_count,
        .output_count = output_count,
        .region = region};
    WEIR_TRY(fill_node(graph, &node, inputs, outputs, attributes, origin));
    uint32_t number = graph->node_count;
    WEIR_TRY(weir__graph_append(
        graph, &region->nodes, &region->node_count, &region->node_capacity, number));
    graph->nodes[number] = node;
    graph->node_count++;
    for (uint32_t i = 0; i < output_count; i++) {
        if (outputs[i] == WEIR__NONE)
            continue;
        graph->values[outputs[i]].producer = number;
        graph->values[outputs[i]].producer_output = i;
    }
    *out_node = number;
    return NULL;
}

weir_status_t weir__graph_add_region(
    weir__graph_t *graph, weir__region_t *parent, weir__region_t **out_region)
{
    uint64_t depth = 1;
    for (const weir__region_t *outer = parent; outer && outer->parent; outer = outer->parent)
        depth++;
    if (depth > graph->limits.subgraph_depth)
        return WEIR_ERR(WEIR_LIMIT, "sub-graphs are nested deeper than subgraph_depth = %llu",
            (unsigned long long)graph->limits.subgraph_depth);
    weir_status_t status;
    weir__region_t *region = weir__graph_array(graph, 1, sizeof *region, &status);
    if (!region)
        return status;
    region->parent = parent;
    *out_region = region;
    return NULL;
}

weir_status_t weir__graph_add_input(weir__graph_t *graph, uint32_t value)
{
    if (value >= graph->value_count)
        return WEIR_ERR(WEIR_INTERNAL, "an input of the graph is no value");
    return weir__graph_append(
        graph, &graph->main.inputs, &graph->main.input_count, &graph->main.input_capacity, value);
}

weir_status_t weir__graph_add_output(weir__graph_t *graph, weir__region_t *region, uint32_t value)
{
    if (value >= graph->value_count)
        return WEIR_ERR(WEIR_INTERNAL, "an output of the graph is no value");
    return weir__graph_append(
        graph, &region->outputs, &region->output_count, &region->output_capacity, value);
}

weir_status_t weir__graph_add_constant(weir__graph_t *graph, const char *name, weir_dtype_t dtype,
    uint32_t rank, const int64_t *dims, const void *data, bool copy, uint32_t *out_value)
{
    const char *label = name ? name : "(made up)";
    uint64_t count, bytes;
    if (rank > graph->limits.rank || rank > WEIR_RANK_MAX)
        return WEIR_ERR(WEIR_LIMIT, "tensor %s: its rank %u is more than rank = %u", label, rank,
            WEIR_MIN(graph->limits.rank, (uint32_t)WEIR_RANK_MAX));
    for (uint32_t i = 0; i < rank; i++)
        if (dims[i] < 0)
            return WEIR_ERR(
                WEIR_INVALID_ARGUMENT, "tensor %s: dim %u is %lld", label, i, (long long)dims[i]);
    if (!weir__dims_count(dims, rank, &count) || !weir__tensor_bytes(dims, rank, dtype, &bytes) ||
        bytes > graph->limits.tensor_bytes)
        return WEIR_ERR(WEIR_LIMIT, "tensor %s: it has more than tensor_bytes = %llu bytes", label,
            (unsigned long long)graph->limits.tensor_bytes);
    weir_status_t status;
    weir__tensor_t *tensor = weir__graph_array(graph, 1, sizeof *tensor, &status);
    if (!tensor)
        return status;
    *tensor = (weir__tensor_t){
        .dtype = dtype, .rank = rank, .count = count, .bytes = bytes, .data = data};
    tensor->dims = copy_bytes(graph, dims, rank * sizeof *dims, &status);
    if (!tensor->dims)
        return status;
    if (copy && bytes) {
        tensor->data = copy_bytes(graph, data, bytes, &status);
        if (!tensor->data)
            return status;
    }
    WEIR_TRY(weir__graph_add_value(graph, name, out_value));
    graph->values[*out_value].constant = tensor;
    graph->values[*out_value].type = weir__type_of_tensor(tensor);
    return NULL;
}

static weir_status_t add_symbol(
    weir__graph_t *graph, const char *name, uint64_t key, int64_t *out_dim)
{
    weir__symbols_t *symbols = &graph->symbols;
    weir_status_t status;
    if (symbols->count == symbols->capacity) {
        uint32_t capacity = symbols->capacity, same = capacity;
        const char **names =
            grown(graph, symbols->names, symbols->count, sizeof *names, &capacity, &status);
        if (!names)
            return status;
        int64_t(*parts)[2] =
            grown(graph, symbols->parts, symbols->count, sizeof *parts, &same, &status);
        if (!parts)
            return status;
        uint64_t *keys =
            grown(graph, symbols->keys, symbols->count, sizeof *keys, &symbols->capacity, &status);
        if (!keys)
            return status;
        symbols->names = names;
        symbols->keys = keys;
        symbols->parts = parts;
    }
    const char *copy = NULL;
    if (name)
        WEIR_TRY(copy_name(graph, "a dimension", name, &copy));
    symbols->names[symbols->count] = copy;
    symbols->keys[symbols->count] = key;
    *out_dim = -1 - (int64_t)symbols->count++;
    return NULL;
}

// A slot of the table of symbols by key: the symbol's number + 1; 0: free.
static uint32_t *symbol_slot(weir__symbols_t *symbols, uint64_t key)
{
    uint32_t mask = symbols->slot_count - 1;
    uint32_t i = (uint32_t)key & mask;
    while (symbols->slots[i] && symbols->keys[symbols->slots[i] - 1] != key)
        i = (i + 1) & mask;
    return &symbols->slots[i];
}

static weir_status_t grow_symbol_slots(weir__graph_t *graph)
{
    weir__symbols_t *symbols = &graph->symbols;
    uint32_t larger = symbols->slot_count ? symbols->slot_count * 2 : 64;
    weir_status_t status;
    uint32_t *slots = weir__graph_array(graph, larger, sizeof *slots, &status);
    if (!slots)
        return status;
    symbols->slots = slots;
    symbols->slot_count = larger;
    for (uint32_t i = 0; i < symbols->count; i++)
        *symbol_slot(symbols, symbols->keys[i]) = i + 1;
    return NULL;
}

weir_status_t weir__graph_symbol(
    weir__graph_t *graph, const char *name, uint64_t key, int64_t *out_dim)
{
    if (name)
        key = weir__hash64(name, strlen(name), 0x6e616d65);
    // 2^31 symbols would overflow the table's counts long after graph_bytes refused the model.
    weir__symbols_t *symbols = &graph->symbols;
    if (symbols->count + 1 > symbols->slot_count / 4 * 3)
        WEIR_TRY(grow_symbol_slots(graph));
    uint32_t *slot = symbol_slot(symbols, key);
    if (*slot) {
        *out_dim = -(int64_t)*slot;
        return NULL;
    }
    WEIR_TRY(add_symbol(graph, name, key, out_dim));
    *slot = symbols->count;
    return NULL;
}

weir_status_t weir__graph_place_symbols(weir__graph_t *graph)
{
    weir__symbols_t *symbols = &graph->symbols;
    weir_status_t status;
    weir__symbol_place_t *places =
        weir__graph_array(graph, symbols->count, sizeof *places, &status);
    if (!places)
        return status;
    for (uint32_t i = 0; i < symbols->count; i++)
        places[i].input = WEIR__NONE;
    for (uint32_t i = 0; i < graph->main.input_count; i++) {
        const weir__type_t *type = &graph->values[graph->main.inputs[i]].type;
        for (int32_t d = 0; d < type->rank; d++)
            if (type->dims[d] < 0 && places[-1 - type->dims[d]].input == WEIR__NONE)
                places[-1 - type->dims[d]] = (weir__symbol_place_t){.input = i, .axis = d};
    }
    symbols->places = places;
    symbols->place_count = symbols->count;
    return NULL;
}
