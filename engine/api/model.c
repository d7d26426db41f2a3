// engine/api/model.c: from a file to a model, stage by stage, and what can be asked of one.
#include "engine/api/objects.h"

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/base/float_mode.h"
#include "engine/onnx/onnx.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- Evaluating nodes at load
// ------------------------------------------------------------------------

typedef struct evaluator {
    weir__runtime_t *runtime;
    const weir__graph_t *graph;
} evaluator_t;

static weir_tensor_t tensor_of(const weir__tensor_t *tensor)
{
    if (!tensor)
        return (weir_tensor_t){.dtype = 0};
    return (weir_tensor_t){.data = (void *)(uintptr_t)tensor->data,
        .bytes = tensor->bytes,
        .element_count = tensor->count,
        .dims = tensor->dims,
        .dtype = tensor->dtype,
        .rank = tensor->rank};
}

// The graph's evaluator: the plain C kernels, one node at a time.
static weir_status_t evaluate(void *user, const weir__node_t *node,
    const weir__tensor_t *const *inputs, const weir__tensor_t *outputs)
{
    const evaluator_t *evaluator = user;
    weir__zone_t zone;
    weir__zone_init(&zone, &evaluator->runtime->heap, 0);
    weir_status_t status = weir__status_no_memory();
    weir_node_t view = {.head = WEIR_HEAD(weir_node_t),
        .op = node->op->name,
        .origin = "",
        .revision = node->op->revision,
        .input_count = node->input_count,
        .output_count = node->output_count,
        .attribute_count = node->attribute_count,
        .attributes = node->attributes};
    weir_expression_t *body = NULL;
    uint64_t count = (uint64_t)node->input_count + node->output_count;
    weir_tensor_t *tensors = weir__zone_array(&zone, count + 1, sizeof *tensors);
    bool made = tensors != NULL;
    if (made && (node->op->flags & WEIR__OP_ELEMENTWISE)) {
        made = weir__expression_of_node(&zone, evaluator->graph, node, &body);
        view.op = "Pointwise";
        view.body = body;
    }
    if (made) {
        for (uint32_t i = 0; i < node->input_count; i++)
            tensors[i] = tensor_of(inputs[i]);
        for (uint32_t i = 0; i < node->output_count; i++)
            tensors[node->input_count + i] =
                tensor_of(node->outputs[i] == WEIR__NONE ? NULL : &outputs[i]);
        view.inputs = tensors;
        view.outputs = tensors + node->input_count;
        char error[WEIR_REASON_BYTES] = "";
        weir_code_t code = evaluator->runtime->evaluate(
            &evaluator->runtime->registry.plugins[0]->host.abi, &view, error, sizeof error);
        status =
            code == WEIR_OK ? NULL : WEIR_ERR(code, "%s", error[0] ? error : "cannot be evaluated");
    }
    weir__zone_free(&zone);
    return status;
}

// ---- Loading
// -----------------------------------------------------------------------------------------

// Before sealing: the place in the file, or in an external one.
static uint64_t origin_of(const weir__source_t *source, const weir__tensor_t *tensor)
{
    const char *start = source->bytes, *data = tensor->data;
    uint64_t place[2] = {0, tensor->bytes};
    if (tensor->external) {
        place[0] = tensor->external->offset;
        const char *name = tensor->external->location;
        return weir__hash64(place, sizeof place, weir__hash64(name, strlen(name), 1)) | 1;
    }
    if (!data || data < start || data >= start + source->byte_count)
        return 0;
    place[0] = (uint64_t)(data - start);
    return weir__hash64(place, sizeof place, 0) | 1;
}

// Moves the constants out of the file's bytes, to where kernels can read them.
static weir_status_t seal(weir_model_t *model)
{
    weir__graph_t *graph = model->graph;
    weir__seal_item_t *items = weir__heap_calloc(graph->heap, graph->value_count, sizeof *items);
    if (!items)
        return weir__status_no_memory();
    uint64_t count = 0;
    for (uint32_t i = 0; i < graph->value_count; i++) {
        // Not const in truth: the graph is still being built.
        weir__tensor_t *tensor = (weir__tensor_t *)(uintptr_t)graph->values[i].constant;
        if (!tensor)
            continue;
        const weir__external_t *external = tensor->external;
        tensor->origin = origin_of(model->source, tensor);
        items[count++] = (weir__seal_item_t){.data = &tensor->data,
            .bytes = tensor->bytes,
            .name = graph->values[i].name,
            .location = external ? external->location : NULL,
            .offset = external ? external->offset : 0,
            .is_boolean = tensor->dtype == WEIR_BOOL};
    }
    weir_status_t status = weir__cache_seal(model->source, items, count);
    weir__heap_free(graph->heap, items);
    return status;
}

static weir_status_t check_time(const weir_model_t *model, uint64_t start_ns, const char *stage)
{
    if (weir__now_ns() - start_ns <= model->runtime->limits.load_ns)
        return NULL;
    return WEIR_ERR(WEIR_LIMIT,
        "%s: loading took longer than limits.load_ns, it was %s: raise the limit or simplify the "
        "model before it is exported",
        model->label, stage);
}

// Every value of the main graph becomes an output. The order is that of execution, so that the
// first one that differs is where a difference began.
static weir_status_t show_all_values(weir__graph_t *graph)
{
    weir__region_t *main = &graph->main;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < main->output_count; i++)
        if (graph->values[main->outputs[i]].producer == WEIR__NONE)
            main->outputs[kept++] = main->outputs[i];
    main->output_count = kept;
    for (uint32_t i = 0; i < main->node_count; i++) {
        const weir__node_t *node = &graph->nodes[main->nodes[i]];
        for (uint32_t j = 0; j < node->output_count; j++)
            if (node->outputs[j] != WEIR__NONE)
                WEIR_TRY(weir__graph_add_output(graph, main, node->outputs[j]));
    }
    return NULL;
}

static weir_status_t build(
    weir_model_t *model, const weir_model_options_t *options, uint64_t start_ns)
{
    weir__runtime_t *runtime = model->runtime;
    weir__onnx_info_t file = {.producer = ""};
    WEIR_TRY(weir__graph_create(&runtime->heap, &runtime->limits, &model->graph));
    weir__graph_t *graph = model->graph;
    WEIR_TRY(weir__operators_offer(&runtime->registry, graph));
    WEIR_TRY(weir__onnx_read(
        model->source->bytes, model->source->byte_count, model->label, graph, &file));
    WEIR_TRY(check_time(model, start_ns, "being read"));
    WEIR_TRY(weir__status_prefix(seal(model), "%s", model->label));
    WEIR_TRY(weir__status_prefix(weir__graph_verify(graph), "%s", model->label));
    WEIR_TRY(weir__status_prefix(weir__graph_infer(graph), "%s", model->label));
    WEIR_TRY(check_time(model, start_ns, "being checked"));
    if (options->all_outputs)
        WEIR_TRY(show_all_values(graph));
    if (!options->keep_as_is) {
        evaluator_t evaluator = {.runtime = runtime, .graph = graph};
        WEIR_TRY(weir__status_prefix(
            weir__graph_simplify(graph, evaluate, &evaluator), "%s", model->label));
    }
    WEIR_TRY(weir__status_prefix(weir__operators_check(graph), "%s", model->label));
    WEIR_TRY(check_time(model, start_ns, "being simplified"));
    model->digest = model->source->digest;
    model->info = (weir_model_info_t){.size = sizeof model->info,
        .from_cache = model->source->from_cache,
        .name = graph->name ? graph->name : "",
        .ir_version = file.ir_version,
        .opset = file.opset,
        .file_bytes = model->source->byte_count + model->source->external_byte_count,
        .file_node_count = file.file_node_count,
        .folded_bytes = graph->folded_bytes};
    weir__hash_hex(model->digest, model->info.digest);
    model->info.producer =
        weir__zone_format(&graph->zone, "%s%s%s", file.producer ? file.producer : "",
            file.producer_version && *file.producer_version ? " " : "",
            file.producer_version ? file.producer_version : "");
    return model->info.producer ? NULL : weir__status_no_memory();
}

// ---- What can be asked
// ---------------------------------------------------------------------------

static int by_name(const void *a, const void *b)
{
    return strcmp(((const weir_tally_t *)a)->name, ((const weir_tally_t *)b)->name);
}

static void count_region(weir_model_t *model, const weir__region_t *region)
{
    for (uint32_t i = 0; i < region->node_count; i++) {
        const weir__node_t *node = &model->graph->nodes[region->nodes[i]];
        uint32_t at = 0;
        while (at < model->operator_count && strcmp(model->operators[at].name, node->op->name) != 0)
            at++;
        if (at == model->operator_count)
            model->operators[model->operator_count++].name = node->op->name;
        model->operators[at].count++;
        model->info.node_count++;
        for (uint32_t r = 0; r < node->region_count; r++)
            count_region(model, node->regions[r]);
        for (uint32_t j = 0; j < node->input_count; j++) {
            const weir__tensor_t *constant = node->inputs[j] == WEIR__NONE
                                                 ? NULL
                                                 : model->graph->values[node->inputs[j]].constant;
            if (!constant || model->counted[node->inputs[j]])
                continue;
            model->counted[node->inputs[j]] = true;
            model->info.parameter_count += constant->count;
            model->info.parameter_bytes += constant->bytes;
        }
    }
}

static weir_status_t count(weir_model_t *model)
{
    uint32_t table;
    (void)weir__op_table(&table);
    table += weir__operators_used(model->graph);
    model->operators = weir__zone_array(&model->graph->zone, table, sizeof *model->operators);
    model->counted = weir__heap_calloc(model->graph->heap, model->graph->value_count, sizeof(bool));
    if (!model->operators || !model->counted)
        return weir__status_no_memory();
    count_region(model, &model->graph->main);
    weir__heap_free(model->graph->heap, model->counted);
    model->counted = NULL;
    qsort(model->operators, model->operator_count, sizeof *model->operators, by_name);
    model->rewrites =
        weir__zone_array(&model->graph->zone, model->graph->rewrite_count, sizeof *model->rewrites);
    if (!model->rewrites)
        return weir__status_no_memory();
    for (uint32_t i = 0; i < model->graph->rewrite_count; i++)
        model->rewrites[i] = (weir_tally_t){
            .name = model->graph->rewrites[i].name, .count = model->graph->rewrites[i].count};
    qsort(model->rewrites, model->graph->rewrite_count, sizeof *model->rewrites, by_name);
    return NULL;
}

// Takes over `source`.
static weir_status_t load(weir_engine_t *engine, weir__source_t *source, const char *label,
    const weir_model_options_t *options, uint64_t start_ns, weir_model_t **out_model)
{
    weir__runtime_t *runtime = &engine->runtime;
    weir_model_options_t known = {.size = sizeof known};
    if (options)
        memcpy(&known, options, WEIR_MIN(options->size, sizeof known));
    weir_model_t *model = weir__heap_calloc(&runtime->heap, 1, sizeof *model);
    if (!model) {
        weir__source_free(source);
        return weir__status_no_memory();
    }
    atomic_init(&model->references, 1);
    model->runtime = runtime;
    model->source = source;
    snprintf(model->label, sizeof model->label, "%s", label);
    runtime->retain(runtime);
    unsigned before = weir__float_enter(); // constants are folded here
    weir_status_t status = build(model, &known, start_ns);
    weir__float_leave(before);
    if (weir_status_code(status) == WEIR_INVALID_ARGUMENT)
        status = weir__status_advise(status, "export the model again, or fetch the file again");
    if (!status)
        status = count(model);
    if (model->graph)
        status = weir__zone_status(&model->graph->zone, status);
    if (status) {
        weir_model_free(model);
        return status;
    }
    model->info.load_ns = weir__now_ns() - start_ns;
    *out_model = model;
    return NULL;
}

weir_status_t weir_model_load(weir_engine_t *engine, const char *path,
    const weir_model_options_t *options, weir_model_t **out_model)
{
    uint64_t start_ns = weir__now_ns();
    weir__runtime_t *runtime = &engine->runtime;
    weir__source_t *source;
    WEIR_TRY(
        weir__cache_load_source(runtime->cache, &runtime->heap, &runtime->limits, path, &source));
    const char *slash = strrchr(path, '/');
    return load(engine, source, slash ? slash + 1 : path, options, start_ns, out_model);
}

weir_status_t weir_model_load_bytes(weir_engine_t *engine, const void *bytes, size_t byte_count,
    const weir_model_options_t *options, weir_model_t **out_model)
{
    uint64_t start_ns = weir__now_ns();
    weir__runtime_t *runtime = &engine->runtime;
    weir__source_t *source;
    WEIR_TRY(weir__cache_copy_source(&runtime->heap, &runtime->limits, bytes, byte_count, &source));
    return load(engine, source, "model from memory", options, start_ns, out_model);
}

void weir_model_retain(weir_model_t *model)
{
    atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
}

void weir_model_free(weir_model_t *model)
{
    if (!model || atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) != 1)
        return;
    weir__runtime_t *runtime = model->runtime;
    weir__heap_free(&runtime->heap, model->counted);
    weir__graph_free(model->graph);
    weir__source_free(model->source);
    weir__heap_free(&runtime->heap, model);
    runtime->release(runtime);
}

uint32_t weir_model_input_count(const weir_model_t *model)
{
    return model->graph->main.input_count;
}

uint32_t weir_model_output_count(const weir_model_t *model)
{
    return model->graph->main.output_count;
}

static void describe_port(const weir__graph_t *graph, uint32_t value, weir_port_t *out_port)
{
    const weir__value_t *source = &graph->values[value];
    memset(out_port, 0, sizeof *out_port);
    out_port->name = source->name;
    out_port->dtype = source->type.dtype;
    out_port->rank = source->type.rank;
    for (int32_t d = 0; d < source->type.rank; d++) {
        int64_t dim = source->type.dims[d];
        uint64_t symbol = (uint64_t)(-1 - dim);
        out_port->dims[d] = dim < 0 ? -1 : dim;
        if (dim < 0 && symbol < graph->symbols.count)
            out_port->dim_names[d] = graph->symbols.names[symbol];
    }
}

weir_status_t weir_model_input(const weir_model_t *model, uint32_t index, weir_port_t *out_port)
{
    if (index >= model->graph->main.input_count)
        return WEIR_ERR(WEIR_NOT_FOUND, "%s has %u inputs, number %u was asked for", model->label,
            model->graph->main.input_count, index);
    describe_port(model->graph, model->graph->main.inputs[index], out_port);
    return NULL;
}

weir_status_t weir_model_output(const weir_model_t *model, uint32_t index, weir_port_t *out_port)
{
    if (index >= model->graph->main.output_count)
        return WEIR_ERR(WEIR_NOT_FOUND, "%s has %u outputs, number %u was asked for", model->label,
            model->graph->main.output_count, index);
    describe_port(model->graph, model->graph->main.outputs[index], out_port);
    return NULL;
}

weir_status_t weir_model_producer(
    const weir_model_t *model, uint32_t index, weir_producer_t *out_producer)
{
    weir_port_t port;
    WEIR_TRY(weir_model_output(model, index, &port));
    const weir__graph_t *graph = model->graph;
    uint32_t producer = graph->values[graph->main.outputs[index]].producer;
    if (producer == WEIR__NONE)
        return WEIR_ERR(WEIR_NOT_FOUND,
            "output \"%s\" of %s is an input or a constant: no node makes it", port.name,
            model->label);
    const weir__node_t *node = &graph->nodes[producer];
    *out_producer = (weir_producer_t){
        .op = node->op->name, .origin = node->origin_count ? node->origins[0] : ""};
    return NULL;
}

void weir_model_describe(const weir_model_t *model, weir_model_info_t *out_info)
{
    weir_model_info_t info = model->info;
    info.size = out_info->size;
    memcpy(out_info, &info, WEIR_MIN(out_info->size, sizeof info));
}

int weir_model_operator(const weir_model_t *model, uint32_t index, weir_tally_t *out_tally)
{
    if (index >= model->operator_count)
        return 0;
    *out_tally = model->operators[index];
    return 1;
}

int weir_model_rewrite(const weir_model_t *model, uint32_t index, weir_tally_t *out_tally)
{
    if (index >= model->graph->rewrite_count)
        return 0;
    *out_tally = model->rewrites[index];
    return 1;
}
