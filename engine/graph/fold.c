// engine/graph/fold.c: nodes whose inputs are all constants become constants, and so do sizes that
// are known although what they are computed from is not (Shape of known dims, and what follows).
//
// Memory is charged to fold_node_bytes and fold_total_bytes before it is taken; a node over a limit
// is left for the run. Folding never makes a small model large: an operator that only repeats its
// input (Expand, Tile, ConstantOfShape) is folded while its result is small, and what all of it may
// take, in bytes and in arithmetic, is in proportion to the constants of the file.
#include "engine/graph/rewrite.h"

#include "engine/base/size.h"
#include <string.h>

#define FOLD_REPEATED_BYTES (64u << 10)

static weir_status_t make_constant(
    weir__rewrite_t *rewrite, uint32_t value, const void *data, const weir__tensor_t *tensor)
{
    weir__graph_t *graph = rewrite->graph;
    weir_status_t status;
    weir__tensor_t *copy = weir__graph_array(graph, 1, sizeof *copy, &status);
    if (!copy)
        return status;
    *copy = *tensor;
    copy->data = data;
    int64_t *dims = weir__graph_array(graph, tensor->rank, sizeof *dims, &status);
    if (!dims)
        return status;
    memcpy(dims, tensor->dims, tensor->rank * sizeof *dims);
    copy->dims = dims;
    uint32_t producer = graph->values[value].producer;
    graph->nodes[producer].outputs[graph->values[value].producer_output] = WEIR__NONE;
    graph->values[value].producer = WEIR__NONE;
    graph->values[value].constant = copy;
    rewrite->change_count++;
    return NULL;
}

// A value whose elements are all known numbers.
static weir_status_t fold_shape_value(weir__rewrite_t *rewrite, uint32_t value, bool *out_done)
{
    const weir__value_t *known = &rewrite->graph->values[value];
    const weir__shape_value_t *shape = known->shape;
    weir_dtype_t dtype = known->type.dtype;
    uint64_t count;
    if (!shape || shape->symbol_mask || known->type.rank < 0 ||
        !weir__dims_count(known->type.dims, (uint32_t)known->type.rank, &count) ||
        count != shape->count)
        return NULL;
    union {
        int64_t i64[WEIR__SHAPE_VALUE_MAX];
        int32_t i32[WEIR__SHAPE_VALUE_MAX];
        uint8_t boolean[WEIR__SHAPE_VALUE_MAX];
    } data;
    for (uint32_t i = 0; i < shape->count; i++) {
        if (dtype == WEIR_I64)
            data.i64[i] = shape->elements[i];
        else if (dtype == WEIR_I32)
            data.i32[i] = (int32_t)shape->elements[i];
        else
            data.boolean[i] = shape->elements[i] != 0;
    }
    weir__tensor_t tensor = {.dtype = dtype,
        .rank = (uint32_t)known->type.rank,
        .dims = known->type.dims,
        .count = count,
        .bytes = count * weir_dtype_bytes(dtype)};
    void *memory;
    WEIR_TRY(weir__rewrite_fold_memory(rewrite, tensor.bytes, &memory));
    if (!memory)
        return NULL;
    memcpy(memory, &data, (size_t)tensor.bytes);
    *out_done = true;
    WEIR_TRY(weir__rewrite_count(rewrite, "fold-shape"));
    return make_constant(rewrite, value, memory, &tensor);
}

// Whether evaluating the node now is worth it; out_bytes and in_bytes: of all outputs and inputs.
static bool worth_folding(const weir__node_t *node, uint64_t in_bytes, uint64_t out_bytes)
{
    static const char *const heavy[] = {
        "Conv", "ConvTranspose", "LSTM", "MaxPool", "AveragePool", "Resize", "LRN"};
    static const char *const repeating[] = {"Expand", "Tile", "ConstantOfShape", "Range", "Pad"};
    if (node->op->flags & WEIR__OP_CUSTOM) // there is no plain C kernel
        return false;
    for (size_t i = 0; i < sizeof heavy / sizeof heavy[0]; i++)
        if (weir__rewrite_is(node, heavy[i]))
            return false;
    for (size_t i = 0; i < sizeof repeating / sizeof repeating[0]; i++)
        if (weir__rewrite_is(node, repeating[i]) && out_bytes > FOLD_REPEATED_BYTES &&
            out_bytes > 2 * in_bytes)
            return false;
    return true;
}

// Takes the arithmetic of a node from what is left. Evaluation happens on one thread at load, so
// what does not fit is left for the run.
static bool take_work(weir__rewrite_t *rewrite, const weir__node_t *node,
    const weir__tensor_t *const *inputs, uint64_t in_bytes, uint64_t out_bytes)
{
    uint64_t work;
    if (weir__rewrite_is(node, "MatMul") || weir__rewrite_is(node, "Gemm")) {
        if (!weir__mul_u64(inputs[0]->count, inputs[1]->count, &work))
            return false;
        if (inputs[1]->rank)
            work /= (uint64_t)WEIR_MAX(inputs[1]->dims[0], 1);
    } else if (!weir__add_u64(in_bytes, out_bytes, &work)) {
        return false;
    }
    if (work > rewrite->fold_work_left)
        return false;
    rewrite->fold_work_left -= work;
    return true;
}

// Describes the outputs and takes their memory. *out_ready false: over a limit or sizes not known.
static weir_status_t prepare_outputs(weir__rewrite_t *rewrite, uint32_t number,
    const weir__tensor_t *const *inputs, weir__tensor_t *outputs, bool *out_ready)
{
    const weir__graph_t *graph = rewrite->graph;
    const weir__node_t *node = &graph->nodes[number];
    uint64_t in_bytes = 0, out_bytes = 0;
    *out_ready = false;
    for (uint32_t i = 0; i < node->input_count; i++)
        in_bytes += inputs[i] ? inputs[i]->bytes : 0;
    for (uint32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] == WEIR__NONE)
            return NULL;
        const weir__type_t *type = &graph->values[node->outputs[i]].type;
        weir__tensor_t *tensor = &outputs[i];
        if (type->rank < 0 || weir_dtype_bytes(type->dtype) == 0)
            return NULL;
        *tensor = (weir__tensor_t){
            .dtype = type->dtype, .rank = (uint32_t)type->rank, .dims = type->dims};
        if (!weir__dims_count(type->dims, tensor->rank, &tensor->count) ||
            !weir__tensor_bytes(type->dims, tensor->rank, type->dtype, &tensor->bytes) ||
            !weir__add_u64(out_bytes, tensor->bytes, &out_bytes))
            return NULL;
    }
    uint64_t total;
    if (out_bytes > graph->limits.fold_node_bytes ||
        !weir__add_u64(out_bytes, graph->folded_bytes, &total) || total > rewrite->fold_bytes_max ||
        !worth_folding(node, in_bytes, out_bytes) ||
        !take_work(rewrite, node, inputs, in_bytes, out_bytes))
        return NULL;
    for (uint32_t i = 0; i < node->output_count; i++) {
        void *memory;
        WEIR_TRY(weir__rewrite_fold_memory(rewrite, outputs[i].bytes, &memory));
        if (!memory)
            return NULL;
        outputs[i].data = memory;
    }
    *out_ready = true;
    return NULL;
}

// A constant under another shape shares its bytes.
static weir_status_t fold_view(
    weir__rewrite_t *rewrite, uint32_t number, const weir__tensor_t *from)
{
    uint32_t output = rewrite->graph->nodes[number].outputs[0];
    if (output == WEIR__NONE)
        return NULL;
    const weir__type_t *type = &rewrite->graph->values[output].type;
    weir__tensor_t tensor = *from;
    uint64_t count;
    if (type->rank < 0 || !weir__dims_count(type->dims, (uint32_t)type->rank, &count) ||
        count != from->count)
        return NULL;
    tensor.rank = (uint32_t)type->rank;
    tensor.dims = type->dims;
    WEIR_TRY(weir__rewrite_count(rewrite, "fold"));
    return make_constant(rewrite, output, from->data, &tensor);
}

static weir_status_t fold_node(weir__rewrite_t *rewrite, uint32_t number,
    const weir__tensor_t **inputs, weir__tensor_t *outputs)
{
    weir__graph_t *graph = rewrite->graph;
    const weir__node_t *node = &graph->nodes[number];
    for (uint32_t i = 0; i < node->input_count; i++) {
        uint32_t value = weir__rewrite_input(rewrite, node, i);
        inputs[i] = weir__rewrite_constant(rewrite, value);
        if (value != WEIR__NONE && !inputs[i])
            return NULL;
    }
    // Quantised weights stay what they are until nothing more can be made of them.
    if (weir__rewrite_is(node, "DequantizeLinear") && !rewrite->last_phase)
        return NULL;
    if ((node->op->flags & WEIR__OP_VIEW || weir__rewrite_is(node, "Identity")) && inputs[0])
        return fold_view(rewrite, number, inputs[0]);
    bool ready;
    WEIR_TRY(prepare_outputs(rewrite, number, inputs, outputs, &ready));
    rewrite->left_alone[number] = !ready;
    if (!ready)
        return NULL;
    weir_status_t status = rewrite->evaluate(rewrite->user, node, inputs, outputs);
    if (status) {
        weir_code_t code = weir_status_code(status);
        if (code == WEIR_RESOURCE_EXHAUSTED || code == WEIR_INTERNAL) {
            char label[256];
            return weir__status_prefix(status, "%s", weir__node_label(node, label, sizeof label));
        }
        // It may lie in a branch that is never taken, so a failure is the run's to report.
        weir_status_free(status);
        rewrite->left_alone[number] = 1;
        return NULL;
    }
    uint32_t output_count = node->output_count;
    for (uint32_t i = 0; i < output_count; i++)
        WEIR_TRY(
            make_constant(rewrite, graph->nodes[number].outputs[i], outputs[i].data, &outputs[i]));
    return weir__rewrite_count(rewrite, "fold");
}

static weir_status_t fold_region(weir__rewrite_t *rewrite, const weir__region_t *region,
    const weir__tensor_t **inputs, weir__tensor_t *outputs)
{
    const weir__graph_t *graph = rewrite->graph;
    for (uint32_t i = 0; i < region->node_count; i++) {
        const weir__node_t *node = &graph->nodes[region->nodes[i]];
        for (uint32_t r = 0; r < node->region_count; r++)
            WEIR_TRY(fold_region(rewrite, node->regions[r], inputs, outputs));
        if (node->region_count || rewrite->left_alone[region->nodes[i]])
            continue;
        bool done = false;
        if (node->output_count == 1 && node->outputs[0] != WEIR__NONE)
            WEIR_TRY(fold_shape_value(rewrite, node->outputs[0], &done));
        if (!done && rewrite->evaluate)
            WEIR_TRY(fold_node(rewrite, region->nodes[i], inputs, outputs));
    }
    return NULL;
}

weir_status_t weir__fold_constants(weir__rewrite_t *rewrite)
{
    weir__graph_t *graph = rewrite->graph;
    uint32_t most_inputs = 1, most_outputs = 1;
    for (uint32_t i = 0; i < graph->node_count; i++) {
        most_inputs = WEIR_MAX(most_inputs, graph->nodes[i].input_count);
        most_outputs = WEIR_MAX(most_outputs, graph->nodes[i].output_count);
    }
    const weir__tensor_t **inputs = weir__heap_calloc(graph->heap, most_inputs, sizeof *inputs);
    weir__tensor_t *outputs = weir__heap_calloc(graph->heap, most_outputs, sizeof *outputs);
    weir_status_t status = inputs && outputs ? fold_region(rewrite, &graph->main, inputs, outputs)
                                             : weir__status_no_memory();
    weir__heap_free(graph->heap, inputs);
    weir__heap_free(graph->heap, outputs);
    return status;
}
