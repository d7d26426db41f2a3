// engine/api/operators.c: operators that plugins declare, as a model's graph sees them.
//
// The graph gets an op for each that a model uses; its rule asks the plugin's infer() and believes
// nothing: ranks, dtypes and dims are checked, and what a run brings must agree with what was said
// at load, because kernels were chosen by that. A plugin that lies is an INTERNAL error that names
// it.
#include "engine/api/objects.h"

#include "engine/base/hash.h"
#include "engine/base/size.h"
#include "engine/plugin/operators.h"
#include <inttypes.h>
#include <string.h>

#define ANY_DTYPE (WEIR_STRING - 1)

typedef struct custom {
    weir__op_t op;
    const weir__operator_t *declared;
    const weir__graph_t *graph;
    struct custom *next;
} custom_t;

// What one graph uses; in its zone.
typedef struct customs {
    const weir__registry_t *registry;
    custom_t *first;
} customs_t;

// ---- infer() -----------------------------------------------------------------------------------

typedef struct question {
    weir_node_t node;
    weir_tensor_t inputs[WEIR__OPERATOR_TENSORS_MAX];
    weir_tensor_t outputs[WEIR__OPERATOR_TENSORS_MAX];
    weir_shape_t shapes[WEIR__OPERATOR_TENSORS_MAX];
    weir_support_t support;
} question_t;

// An input as the plugin sees it: its type, and its contents where they are known.
static weir_tensor_t show(const weir__type_t *type, const weir__tensor_t *value)
{
    if (!type)
        return (weir_tensor_t){.dtype = 0};
    weir_tensor_t tensor = {.dims = type->dims, .dtype = type->dtype, .rank = (uint32_t)type->rank};
    if (weir__dims_count(type->dims, tensor.rank, &tensor.element_count) && value && value->data) {
        tensor.data = (void *)(uintptr_t)value->data;
        tensor.bytes = value->bytes;
        tensor.flags = WEIR_TENSOR_CONSTANT;
    }
    return tensor;
}

static void ask(const weir__infer_t *infer, question_t *question)
{
    const weir__node_t *node = infer->node;
    memset(question, 0, sizeof *question);
    question->support = (weir_support_t){.head = WEIR_HEAD(weir_support_t)};
    question->node = (weir_node_t){.head = WEIR_HEAD(weir_node_t),
        .op = node->op->name,
        .origin = node->origin_count ? node->origins[0] : "",
        .revision = node->op->revision,
        .input_count = infer->input_count,
        .output_count = node->op->max_outputs,
        .attribute_count = node->attribute_count,
        .inputs = question->inputs,
        .outputs = question->outputs,
        .attributes = node->attributes};
    for (uint32_t i = 0; i < infer->input_count; i++)
        question->inputs[i] = show(infer->inputs[i], infer->values ? infer->values[i] : NULL);
}

// What infer() said with its code. A reason is the plugin's; without one it is blamed by name.
static weir_status_t refused(const custom_t *custom, question_t *question, weir_code_t code)
{
    char *reason = question->support.reason;
    reason[sizeof question->support.reason - 1] = '\0';
    bool known = code == WEIR_INVALID_ARGUMENT || code == WEIR_UNSUPPORTED ||
                 code == WEIR_RESOURCE_EXHAUSTED;
    if (known && reason[0])
        return WEIR_ERR(code, "%s", reason);
    return WEIR_ERR(known ? code : WEIR_INTERNAL,
        "plugin \"%s\": infer() of %s refuses it (code %d) and says %s",
        custom->declared->plugin->name, custom->op.name, (int)code, reason[0] ? reason : "not why");
}

static weir_status_t lie(
    const custom_t *custom, uint32_t output, const char *what, long long number)
{
    return WEIR_ERR(WEIR_INTERNAL, "plugin \"%s\": infer() of %s gives output %u %s %lld",
        custom->declared->plugin->name, custom->op.name, output, what, number);
}

static bool is_input_symbol(const weir__infer_t *infer, int64_t dim)
{
    for (uint32_t i = 0; i < infer->input_count; i++)
        for (int32_t d = 0; infer->inputs[i] && d < infer->inputs[i]->rank; d++)
            if (infer->inputs[i]->dims[d] == dim)
                return true;
    return false;
}

static uint64_t hash_attribute(const weir_attribute_t *attribute, uint64_t key)
{
    key = weir__hash64(attribute->name, strlen(attribute->name), key);
    switch (attribute->type) {
    case WEIR_ATTR_INT:
        return weir__hash64(&attribute->i, sizeof attribute->i, key);
    case WEIR_ATTR_FLOAT:
        return weir__hash64(&attribute->f, sizeof attribute->f, key);
    case WEIR_ATTR_STRING:
        return weir__hash64(attribute->s, strlen(attribute->s), key);
    case WEIR_ATTR_INTS:
        return weir__hash64(attribute->ints, attribute->count * sizeof *attribute->ints, key);
    default:
        return weir__hash64(attribute->floats, attribute->count * sizeof *attribute->floats, key);
    }
}

// A symbol for a size that only a run tells. infer() is pure, so all that it was shown is the key:
// equal questions give equal sizes. A constant is known by its number.
static weir_status_t open_size(
    const weir__infer_t *infer, uint32_t output, uint32_t axis, int64_t *out_dim)
{
    const weir__node_t *node = infer->node;
    const uint32_t which[3] = {node->op->revision, output, axis};
    uint64_t key = weir__hash64(node->op->name, strlen(node->op->name), 0);
    key = weir__hash64(which, sizeof which, key);
    for (uint32_t i = 0; i < infer->input_count; i++) {
        const weir__type_t *type = infer->inputs[i];
        bool is_known = infer->values && infer->values[i];
        const uint32_t facts[3] = {type ? type->dtype : 0, type ? (uint32_t)type->rank : 0,
            is_known ? node->inputs[i] : WEIR__NONE};
        key = weir__hash64(facts, sizeof facts, key);
        if (type)
            key = weir__hash64(type->dims, (uint32_t)type->rank * sizeof type->dims[0], key);
    }
    for (uint32_t i = 0; i < node->attribute_count; i++)
        key = hash_attribute(&node->attributes[i], key);
    return weir__graph_symbol(infer->graph, NULL, key, out_dim);
}

static weir_status_t take(
    weir__infer_t *infer, const custom_t *custom, uint32_t output, const weir_shape_t *shape)
{
    weir__type_t *type = &infer->outputs[output];
    weir_dtype_t dtype = shape->dtype;
    if (!dtype || (dtype & (dtype - 1)) || (dtype & ~(weir_dtype_t)ANY_DTYPE))
        return lie(custom, output, "a dtype that is not one of weir's: bits", (long long)dtype);
    if (shape->rank > WEIR_RANK_MAX)
        return lie(custom, output, "the rank", shape->rank);
    type->dtype = dtype;
    type->rank = (int32_t)shape->rank;
    for (uint32_t d = 0; d < shape->rank; d++) {
        int64_t dim = shape->dims[d];
        if (dim == WEIR_DIM_NEW && infer->graph) {
            WEIR_TRY(open_size(infer, output, d, &dim));
        } else if (dim == WEIR_DIM_NEW) {
            return WEIR_ERR(WEIR_UNSUPPORTED,
                "plugin \"%s\" leaves dim %u of output %u of %s open; sizes must follow from the "
                "inputs' when a run begins",
                custom->declared->plugin->name, d, output, custom->op.name);
        } else if (dim < 0 && !is_input_symbol(infer, dim)) {
            return lie(custom, output, "the size", dim);
        }
        type->dims[d] = dim;
    }
    return NULL;
}

// The size that a symbol of the load has in this run, if an input shows it.
static bool symbol_now(
    const weir__infer_t *infer, const weir__graph_t *graph, int64_t symbol, int64_t *out_size)
{
    for (uint32_t i = 0; i < infer->input_count; i++) {
        uint32_t value = infer->node->inputs[i];
        const weir__type_t *now = infer->inputs[i];
        const weir__type_t *then = value == WEIR__NONE ? NULL : &graph->values[value].type;
        if (!now || !then || then->rank != now->rank)
            continue;
        for (int32_t d = 0; d < now->rank; d++)
            if (then->dims[d] == symbol) {
                *out_size = now->dims[d];
                return true;
            }
    }
    return false;
}

// In a run: is it what was said at load?
static weir_status_t agree(const weir__infer_t *infer, const custom_t *custom, uint32_t output)
{
    uint32_t value = infer->node->outputs[output];
    if (value == WEIR__NONE)
        return NULL;
    const weir__type_t *then = &custom->graph->values[value].type, *now = &infer->outputs[output];
    if (then->dtype != now->dtype)
        return lie(custom, output, "another dtype in a run than at load: bits", now->dtype);
    if (then->rank != now->rank)
        return lie(custom, output, "another rank in a run than at load:", now->rank);
    for (int32_t d = 0; d < now->rank; d++) {
        int64_t size = then->dims[d];
        bool known = size >= 0 || symbol_now(infer, custom->graph, size, &size);
        if (known && size != now->dims[d])
            return lie(custom, output, "another size in a run than at load:", now->dims[d]);
    }
    return NULL;
}

static weir_status_t infer_custom(weir__infer_t *infer)
{
    const custom_t *custom = infer->node->op->user;
    question_t question;
    ask(infer, &question);
    weir_code_t code =
        custom->declared->abi.infer(&question.node, question.shapes, &question.support);
    if (code != WEIR_OK)
        return refused(custom, &question, code);
    for (uint32_t i = 0; i < infer->output_count; i++) {
        WEIR_TRY(take(infer, custom, i, &question.shapes[i]));
        if (!infer->graph)
            WEIR_TRY(agree(infer, custom, i));
    }
    return NULL;
}

// ---- Finding them ------------------------------------------------------------------------------

static weir_status_t nobody(const char *domain, const char *name, int64_t version, uint32_t lowest)
{
    if (lowest)
        return WEIR_ERR(WEIR_UNSUPPORTED,
            "operator %s::%s needs version %u of %s, but the model imports version %" PRId64
            ": export the model again, or load an older plugin",
            domain, name, lowest, domain, version);
    return WEIR_ERR(WEIR_UNSUPPORTED,
        "operator %s::%s (version %" PRId64
        ") is not ONNX's, and no plugin that is loaded defines it: load one that does "
        "(WEIR_PLUGIN_PATH; `weir devices` says what is loaded), or export the model with the "
        "operators that docs/operators.md lists",
        domain, name, version);
}

static weir_status_t find(void *user, weir__graph_t *graph, const char *domain, const char *name,
    int64_t version, const weir__op_t **out_op)
{
    customs_t *customs = user;
    uint32_t lowest;
    const weir__operator_t *declared =
        weir__operator_find(customs->registry, domain, name, version, &lowest);
    if (!declared)
        return nobody(domain, name, version, lowest);
    custom_t *custom = customs->first;
    while (custom && custom->declared != declared)
        custom = custom->next;
    if (!custom) {
        custom = weir__zone_alloc(&graph->zone, sizeof *custom);
        if (!custom)
            return weir__status_no_memory();
        *custom = (custom_t){.declared = declared, .graph = graph, .next = customs->first};
        custom->op = (weir__op_t){.name = declared->name,
            .revision = (uint16_t)declared->abi.revision,
            .min_inputs = (uint16_t)declared->abi.min_inputs,
            .max_inputs = (uint16_t)declared->abi.max_inputs,
            .min_outputs = 1,
            .max_outputs = (uint16_t)declared->abi.output_count,
            .flags = WEIR__OP_CUSTOM,
            .infer = infer_custom,
            .dtypes = ANY_DTYPE,
            .result = WEIR__RESULT_RULE,
            .attributes = declared->attributes,
            .attribute_count = declared->attribute_count,
            .user = custom};
        customs->first = custom;
    }
    *out_op = &custom->op;
    return NULL;
}

weir_status_t weir__operators_offer(const weir__registry_t *registry, weir__graph_t *graph)
{
    customs_t *customs = weir__zone_alloc(&graph->zone, sizeof *customs);
    if (!customs)
        return weir__status_no_memory();
    customs->registry = registry;
    graph->op_source = (weir__op_source_t){.user = customs, .find = find};
    return NULL;
}

uint32_t weir__operators_used(const weir__graph_t *graph)
{
    uint32_t count = 0;
    const customs_t *customs = graph->op_source.user;
    for (const custom_t *custom = customs->first; custom; custom = custom->next)
        count++;
    return count;
}

static weir_status_t check_region(const weir__graph_t *graph, const weir__region_t *region)
{
    for (uint32_t i = 0; i < region->node_count; i++) {
        const weir__node_t *node = &graph->nodes[region->nodes[i]];
        for (uint32_t r = 0; r < node->region_count; r++)
            WEIR_TRY(check_region(graph, node->regions[r]));
        for (uint32_t j = 0; (node->op->flags & WEIR__OP_CUSTOM) && j < node->input_count; j++) {
            uint32_t value = node->inputs[j];
            char label[256];
            if (value != WEIR__NONE && graph->values[value].type.rank < 0)
                return WEIR_ERR(WEIR_UNSUPPORTED,
                    "%s: the rank of its input %u, %s, is not known, so its plugin cannot tell "
                    "what it makes: export the model with shapes",
                    weir__node_label(node, label, sizeof label), j, graph->values[value].name);
        }
    }
    return NULL;
}

weir_status_t weir__operators_check(const weir__graph_t *graph)
{
    return weir__operators_used(graph) ? check_region(graph, &graph->main) : NULL;
}
