// backends/chaos/node.c: a copy of a node, for work that is done after the call that asked for it.
//
// Everything that a node points at is copied but for the data of its tensors. One walk does both:
// without a block it counts the bytes, with one it fills it.
#include "backends/chaos/chaos.h"

#include <string.h>

typedef struct cursor {
    uint8_t *base; // NULL: only count
    uint64_t used;
} cursor_t;

// Room for `bytes` of `from`, copied; NULL while counting.
static void *put(cursor_t *cursor, const void *from, uint64_t bytes)
{
    void *to = cursor->base ? cursor->base + cursor->used : NULL;
    if (to && from && bytes)
        memcpy(to, from, bytes);
    cursor->used += (bytes + 15) / 16 * 16;
    return to;
}

static const char *put_string(cursor_t *cursor, const char *text)
{
    return text ? put(cursor, text, strlen(text) + 1) : NULL;
}

static weir_tensor_t *put_tensors(cursor_t *cursor, const weir_node_t *node)
{
    uint32_t count = node->input_count + node->output_count;
    weir_tensor_t *tensors = put(cursor, NULL, count * sizeof *tensors);
    for (uint32_t i = 0; i < count; i++) {
        const weir_tensor_t *from =
            i < node->input_count ? &node->inputs[i] : &node->outputs[i - node->input_count];
        const int64_t *dims = put(cursor, from->dims, from->rank * sizeof(int64_t));
        const int64_t *strides =
            from->strides ? put(cursor, from->strides, from->rank * sizeof(int64_t)) : NULL;
        if (!tensors)
            continue;
        tensors[i] = *from;
        tensors[i].dims = dims;
        tensors[i].strides = strides;
    }
    return tensors;
}

static weir_attribute_t *put_attributes(cursor_t *cursor, const weir_node_t *node)
{
    weir_attribute_t *attributes =
        put(cursor, node->attributes, node->attribute_count * sizeof *attributes);
    for (uint32_t i = 0; i < node->attribute_count; i++) {
        const weir_attribute_t *from = &node->attributes[i];
        const char *name = put_string(cursor, from->name);
        const char *text = put_string(cursor, from->s);
        const int64_t *ints =
            from->ints ? put(cursor, from->ints, from->count * sizeof(int64_t)) : NULL;
        const float *floats =
            from->floats ? put(cursor, from->floats, from->count * sizeof(float)) : NULL;
        if (!attributes)
            continue;
        attributes[i].name = name;
        attributes[i].s = text;
        attributes[i].ints = ints;
        attributes[i].floats = floats;
    }
    return attributes;
}

static const weir_expression_t *put_expression(cursor_t *cursor, const weir_expression_t *from)
{
    if (!from)
        return NULL;
    weir_expression_t *to = put(cursor, from, sizeof *from);
    const weir_instruction_t *instructions =
        put(cursor, from->instructions, from->instruction_count * sizeof *from->instructions);
    const uint16_t *outputs =
        put(cursor, from->outputs, from->output_count * sizeof *from->outputs);
    if (to) {
        to->instructions = instructions;
        to->outputs = outputs;
    }
    return to;
}

static void walk(cursor_t *cursor, const weir_node_t *node, weir_chaos_node_t *out_node)
{
    weir_node_t view = *node;
    weir_tensor_t *tensors = put_tensors(cursor, node);
    view.op = put_string(cursor, node->op);
    view.origin = put_string(cursor, node->origin);
    view.attributes = put_attributes(cursor, node);
    view.body = put_expression(cursor, node->body);
    view.prologue = put_expression(cursor, node->prologue);
    view.epilogue = put_expression(cursor, node->epilogue);
    if (!out_node || !tensors)
        return;
    view.inputs = tensors;
    view.outputs = tensors + node->input_count;
    *out_node = (weir_chaos_node_t){.view = view, .tensors = tensors};
}

uint64_t weir_chaos_node_bytes(const weir_node_t *node)
{
    cursor_t cursor = {NULL, 0};
    walk(&cursor, node, NULL);
    return cursor.used + 16; // never an empty block
}

void weir_chaos_node_copy(const weir_node_t *node, void *block, weir_chaos_node_t *out_node)
{
    cursor_t cursor = {block, 0};
    walk(&cursor, node, out_node);
}
