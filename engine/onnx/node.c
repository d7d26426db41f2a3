// engine/onnx/node.c: NodeProto, AttributeProto, OperatorSetIdProto.
#include "engine/onnx/proto.h"

#include <inttypes.h>
#include <string.h>

void *weir__onnx_alloc(
    const weir__onnx_context_t *context, uint64_t count, uint64_t bytes, weir_status_t *out_status)
{
    void *memory = weir__zone_array(context->zone, count, bytes);
    *out_status = NULL;
    if (memory)
        return memory;
    uint64_t limit = context->limits->graph_bytes;
    bool over =
        count && (bytes > limit / count || count * bytes > limit - context->zone->used_bytes);
    *out_status =
        over ? WEIR_ERR(WEIR_LIMIT,
                   "reading the graph takes more memory than the limit graph_bytes (%" PRIu64 ")",
                   limit)
             : weir__status_no_memory();
    return NULL;
}

weir_status_t weir__onnx_text(const weir__onnx_context_t *context, const weir__wire_t *wire,
    const weir__wire_field_t *field, const char **out_text)
{
    WEIR_TRY(weir__wire_expect(wire, field, WEIR__WIRE_BYTES));
    uint64_t bytes = field->span.bytes;
    if (bytes > context->limits->name_bytes)
        return WEIR_ERR(WEIR_LIMIT,
            "%s: the text of field %u at byte %" PRIu64 " has %" PRIu64
            " bytes, over the limit name_bytes (%" PRIu64 ")",
            wire->message, field->number, field->offset, bytes, context->limits->name_bytes);
    if (bytes && memchr(field->span.data, 0, (size_t)bytes))
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "%s: the text of field %u at byte %" PRIu64 " holds a zero byte", wire->message,
            field->number, field->offset);
    weir_status_t status;
    char *text = weir__onnx_alloc(context, bytes + 1, 1, &status);
    if (!text)
        return status;
    if (bytes)
        memcpy(text, field->span.data, (size_t)bytes);
    *out_text = text;
    return NULL;
}

static const char *plain_domain(const char *domain)
{
    return strcmp(domain, "ai.onnx") == 0 ? "" : domain;
}

weir_status_t weir__onnx_opset_read(
    const weir__onnx_context_t *context, weir__span_t span, weir__onnx_opset_t *out_opset)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    *out_opset = (weir__onnx_opset_t){.domain = ""};
    WEIR_TRY(weir__wire_open(&wire, span, "OperatorSetIdProto", context->limits));
    for (;;) {
        WEIR_TRY(weir__wire_next(&wire, &field));
        if (!field.number)
            break;
        if (field.number == 1) {
            WEIR_TRY(weir__onnx_text(context, &wire, &field, &out_opset->domain));
            out_opset->domain = plain_domain(out_opset->domain);
        } else if (field.number == 2) {
            WEIR_TRY(weir__wire_expect(&wire, &field, WEIR__WIRE_VARINT));
            out_opset->version = (int64_t)field.value;
        }
    }
    return NULL;
}

// ---- Attributes ------------------------------------------------------------------------------

// How many values the lists of an attribute have.
typedef struct list_counts {
    uint64_t ints, floats, strings;
} list_counts_t;

static weir_status_t count_lists(
    const weir__onnx_context_t *context, weir__span_t span, list_counts_t *out_counts)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    uint64_t count = 0;
    *out_counts = (list_counts_t){0};
    WEIR_TRY(weir__wire_open(&wire, span, "AttributeProto", context->limits));
    for (;;) {
        WEIR_TRY(weir__wire_next(&wire, &field));
        if (!field.number)
            break;
        if (field.number == 7) {
            WEIR_TRY(weir__wire_count(&wire, &field, WEIR__WIRE_FIXED32, &count));
            out_counts->floats += count;
        } else if (field.number == 8) {
            WEIR_TRY(weir__wire_count(&wire, &field, WEIR__WIRE_VARINT, &count));
            out_counts->ints += count;
        } else if (field.number == 9) {
            out_counts->strings++;
        }
    }
    return NULL;
}

static weir_status_t alloc_lists(const weir__onnx_context_t *context, const list_counts_t *counts,
    weir__onnx_attribute_t *attribute)
{
    weir_status_t status = NULL;
    if (counts->ints > UINT32_MAX || counts->floats > UINT32_MAX || counts->strings > UINT32_MAX)
        return WEIR_ERR(WEIR_LIMIT, "an attribute has more than %u values", UINT32_MAX);
    attribute->ints = weir__onnx_alloc(context, counts->ints, sizeof *attribute->ints, &status);
    if (!attribute->ints)
        return status;
    attribute->floats =
        weir__onnx_alloc(context, counts->floats, sizeof *attribute->floats, &status);
    if (!attribute->floats)
        return status;
    attribute->strings =
        weir__onnx_alloc(context, counts->strings, sizeof *attribute->strings, &status);
    return status;
}

static weir_status_t read_floats(
    const weir__wire_t *wire, const weir__wire_field_t *field, float *floats, uint64_t *count)
{
    uint64_t more;
    WEIR_TRY(weir__wire_count(wire, field, WEIR__WIRE_FIXED32, &more));
    for (uint64_t i = 0; i < more; i++) {
        uint32_t bits = (uint32_t)field->value;
        if (field->type == WEIR__WIRE_BYTES)
            memcpy(&bits, field->span.data + 4 * i, sizeof bits);
        memcpy(&floats[*count], &bits, sizeof bits);
        *count += 1;
    }
    return NULL;
}

static weir_status_t read_ints(
    const weir__wire_t *wire, const weir__wire_field_t *field, int64_t *ints, uint64_t *count)
{
    uint64_t more;
    WEIR_TRY(weir__wire_count(wire, field, WEIR__WIRE_VARINT, &more));
    WEIR_TRY(weir__wire_numbers(wire, field, (uint64_t *)ints + *count, more));
    *count += more;
    return NULL;
}

// Old files have no `type`; then the fields that are there tell.
static uint32_t guess_type(const list_counts_t *counts, uint32_t seen)
{
    if (counts->ints)
        return WEIR__ONNX_INTS;
    if (counts->floats)
        return WEIR__ONNX_FLOATS;
    if (counts->strings)
        return WEIR__ONNX_STRINGS;
    return seen;
}

static weir_status_t read_scalar(const weir__onnx_context_t *context, const weir__wire_t *wire,
    const weir__wire_field_t *field, weir__onnx_attribute_t *attribute, uint32_t *seen)
{
    uint32_t bits = (uint32_t)field->value;
    switch (field->number) {
    case 2:
        WEIR_TRY(weir__wire_expect(wire, field, WEIR__WIRE_FIXED32));
        memcpy(&attribute->f, &bits, sizeof bits);
        *seen = WEIR__ONNX_FLOAT;
        return NULL;
    case 3:
        WEIR_TRY(weir__wire_expect(wire, field, WEIR__WIRE_VARINT));
        attribute->i = (int64_t)field->value;
        *seen = WEIR__ONNX_INT;
        return NULL;
    case 4:
        *seen = WEIR__ONNX_STRING;
        return weir__onnx_text(context, wire, field, &attribute->s);
    case 5:
    case 6:
        WEIR_TRY(weir__wire_expect(wire, field, WEIR__WIRE_BYTES));
        attribute->span = field->span;
        *seen = field->number == 5 ? WEIR__ONNX_TENSOR : WEIR__ONNX_GRAPH;
        return NULL;
    case 20:
        WEIR_TRY(weir__wire_expect(wire, field, WEIR__WIRE_VARINT));
        attribute->type = (uint32_t)WEIR_MIN(field->value, (uint64_t)UINT32_MAX);
        return NULL;
    default:
        return NULL;
    }
}

weir_status_t weir__onnx_attribute_read(
    const weir__onnx_context_t *context, weir__span_t span, weir__onnx_attribute_t *out_attribute)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    list_counts_t counts, read = {0};
    uint32_t seen = 0;
    *out_attribute = (weir__onnx_attribute_t){.name = "", .reference = "", .s = ""};
    WEIR_TRY(count_lists(context, span, &counts));
    WEIR_TRY(alloc_lists(context, &counts, out_attribute));
    weir__wire_reopen(&wire, span, "AttributeProto");
    while (weir__wire_again(&wire, &field)) {
        if (field.number == 1)
            WEIR_TRY(weir__onnx_text(context, &wire, &field, &out_attribute->name));
        else if (field.number == 21)
            WEIR_TRY(weir__onnx_text(context, &wire, &field, &out_attribute->reference));
        else if (field.number == 7)
            WEIR_TRY(read_floats(&wire, &field, out_attribute->floats, &read.floats));
        else if (field.number == 8)
            WEIR_TRY(read_ints(&wire, &field, out_attribute->ints, &read.ints));
        else if (field.number == 9)
            WEIR_TRY(
                weir__onnx_text(context, &wire, &field, &out_attribute->strings[read.strings++]));
        else
            WEIR_TRY(read_scalar(context, &wire, &field, out_attribute, &seen));
    }
    if (!out_attribute->type)
        out_attribute->type = guess_type(&counts, seen);
    uint64_t count = out_attribute->type == WEIR__ONNX_INTS      ? counts.ints
                     : out_attribute->type == WEIR__ONNX_FLOATS  ? counts.floats
                     : out_attribute->type == WEIR__ONNX_STRINGS ? counts.strings
                                                                 : 0;
    out_attribute->count = (uint32_t)count;
    return NULL;
}

// ---- Nodes -----------------------------------------------------------------------------------

static weir_status_t count_node(
    const weir__onnx_context_t *context, weir__span_t span, weir__onnx_node_t *node)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    uint64_t inputs = 0, outputs = 0, attributes = 0;
    weir_status_t status = NULL;
    WEIR_TRY(weir__wire_open(&wire, span, "NodeProto", context->limits));
    for (;;) {
        WEIR_TRY(weir__wire_next(&wire, &field));
        if (!field.number)
            break;
        inputs += field.number == 1;
        outputs += field.number == 2;
        attributes += field.number == 5;
    }
    if (attributes > context->limits->attributes)
        return WEIR_ERR(WEIR_LIMIT,
            "the node at byte %" PRIu64 " has %" PRIu64
            " attributes, over the limit attributes (%" PRIu64 ")",
            span.offset, attributes, context->limits->attributes);
    uint64_t most = WEIR_MIN(context->limits->operands, (uint64_t)UINT32_MAX / 2);
    if (inputs > most || outputs > most)
        return WEIR_ERR(WEIR_LIMIT,
            "the node at byte %" PRIu64 " has %" PRIu64 " inputs and %" PRIu64
            " outputs, over the limit operands (%" PRIu64 ")",
            span.offset, inputs, outputs, most);
    node->inputs = weir__onnx_alloc(context, inputs, sizeof *node->inputs, &status);
    if (!node->inputs)
        return status;
    node->outputs = weir__onnx_alloc(context, outputs, sizeof *node->outputs, &status);
    if (!node->outputs)
        return status;
    node->attributes = weir__onnx_alloc(context, attributes, sizeof *node->attributes, &status);
    return status;
}

weir_status_t weir__onnx_node_read(
    const weir__onnx_context_t *context, weir__span_t span, weir__onnx_node_t *out_node)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    weir__onnx_node_t *node = out_node;
    *node = (weir__onnx_node_t){.name = "", .op_type = "", .domain = "", .overload = ""};
    WEIR_TRY(count_node(context, span, node));
    weir__wire_reopen(&wire, span, "NodeProto");
    while (weir__wire_again(&wire, &field)) {
        switch (field.number) {
        case 1:
            WEIR_TRY(weir__onnx_text(context, &wire, &field, &node->inputs[node->input_count++]));
            break;
        case 2:
            WEIR_TRY(weir__onnx_text(context, &wire, &field, &node->outputs[node->output_count++]));
            break;
        case 3:
            WEIR_TRY(weir__onnx_text(context, &wire, &field, &node->name));
            break;
        case 4:
            WEIR_TRY(weir__onnx_text(context, &wire, &field, &node->op_type));
            break;
        case 5:
            WEIR_TRY(weir__wire_expect(&wire, &field, WEIR__WIRE_BYTES));
            WEIR_TRY(weir__onnx_attribute_read(
                context, field.span, &node->attributes[node->attribute_count++]));
            break;
        case 7:
            WEIR_TRY(weir__onnx_text(context, &wire, &field, &node->domain));
            break;
        case 8:
            WEIR_TRY(weir__onnx_text(context, &wire, &field, &node->overload));
            break;
        default:
            break;
        }
    }
    node->domain = plain_domain(node->domain);
    if (!node->op_type[0])
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "the node at byte %" PRIu64 " has no operator (op_type)", span.offset);
    return NULL;
}
