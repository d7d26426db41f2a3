// engine/graph/infer.c: inference of one node, and the arithmetic on sizes that the rules share.
//
// A size is a number or a symbol. What a rule cannot tell becomes a symbol keyed by what it was
// computed from, so that equal computations give equal symbols. The rules are in infer_*.c by
// family.
#include "engine/graph/infer.h"

#include "engine/base/hash.h"
#include "engine/base/size.h"
#include <string.h>

bool weir__infer_ints(const weir__infer_t *infer, uint32_t input, weir__ints_t *out_ints)
{
    if (input >= infer->input_count || !infer->inputs[input])
        return false;
    const weir__tensor_t *tensor = infer->values[input];
    const weir__shape_value_t *shape = infer->shapes ? infer->shapes[input] : NULL;
    if (weir__tensor_ready(tensor) && tensor->rank <= 1 && tensor->count <= UINT32_MAX &&
        (tensor->dtype & (WEIR_I32 | WEIR_I64 | WEIR_BOOL))) {
        *out_ints = (weir__ints_t){.tensor = tensor, .count = (uint32_t)tensor->count};
        return true;
    }
    if (!shape)
        return false;
    *out_ints = (weir__ints_t){.shape = shape, .count = shape->count};
    return true;
}

bool weir__ints_symbolic(const weir__ints_t *ints, uint32_t index)
{
    return ints->shape && (ints->shape->symbol_mask >> index & 1);
}

int64_t weir__ints_at(const weir__ints_t *ints, uint32_t index)
{
    return ints->shape ? ints->shape->elements[index] : weir__tensor_int(ints->tensor, index);
}

weir_status_t weir__infer_check(
    const weir__infer_t *infer, uint32_t input, weir_dtype_t dtypes, int32_t rank)
{
    const weir__type_t *type = weir__infer_input(infer, input);
    if (!type)
        return NULL;
    if (type->dtype && !(type->dtype & dtypes))
        return WEIR__BAD("input %u cannot be %s", input, weir__dtype_name(type->dtype));
    if (type->rank > rank)
        return WEIR__BAD("input %u has rank %d, at most %d is allowed", input, type->rank, rank);
    return NULL;
}

weir_status_t weir__infer_check_rank(
    const weir__infer_t *infer, uint32_t input, const char *name, int32_t rank)
{
    const weir__type_t *type = infer->inputs[input];
    if (type->rank != rank)
        return WEIR__BAD("%s has rank %d, %d is needed", name, type->rank, rank);
    return NULL;
}

weir_status_t weir__infer_axis(int64_t axis, int32_t rank, uint32_t *out_axis)
{
    if (axis < -(int64_t)rank || axis >= rank)
        return WEIR__BAD("axis %lld is outside of rank %d", (long long)axis, rank);
    *out_axis = (uint32_t)(axis < 0 ? axis + rank : axis);
    return NULL;
}

weir_status_t weir__infer_axes(const weir__ints_t *ints, int32_t rank, uint32_t *out_mask)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < ints->count; i++) {
        uint32_t axis;
        if (weir__ints_symbolic(ints, i))
            return WEIR__BAD("an axis is computed from sizes");
        WEIR_TRY(weir__infer_axis(weir__ints_at(ints, i), rank, &axis));
        if (mask >> axis & 1)
            return WEIR__BAD("axis %u is named twice", axis);
        mask |= 1u << axis;
    }
    *out_mask = mask;
    return NULL;
}

weir_status_t weir__infer_symbol(const weir__infer_t *infer, const char *tag, const int64_t *parts,
    uint32_t part_count, int64_t *out_dim)
{
    if (!infer->graph)
        return WEIR__BAD("a size cannot be told from the inputs");
    uint64_t seed = weir__hash64(tag, strlen(tag), 0);
    return weir__graph_symbol(
        infer->graph, NULL, weir__hash64(parts, part_count * sizeof *parts, seed), out_dim);
}

weir_status_t weir__infer_data_symbol(const weir__infer_t *infer, uint32_t which, int64_t *out_dim)
{
    const weir__node_t *node = infer->node;
    if (!infer->graph)
        return WEIR__BAD("a size depends on contents of the inputs that are not known");
    uint64_t key = weir__hash64(node->op->name, strlen(node->op->name), which);
    key = weir__hash64(node->inputs, node->input_count * sizeof *node->inputs, key);
    for (uint32_t i = 0; i < node->attribute_count; i++) {
        const weir_attribute_t *attribute = &node->attributes[i];
        key = weir__hash64(attribute->name, strlen(attribute->name), key);
        key = weir__hash64(&attribute->i, sizeof attribute->i, key);
        if (attribute->type == WEIR_ATTR_INTS)
            key = weir__hash64(attribute->ints, attribute->count * sizeof *attribute->ints, key);
        if (attribute->type == WEIR_ATTR_STRING)
            key = weir__hash64(attribute->s, strlen(attribute->s), key);
    }
    // The contents of an If's branches decide, too; no two of them are known to agree.
    if (node->op->flags & WEIR__OP_REGIONS)
        key = weir__hash64(node->outputs, node->output_count * sizeof *node->outputs, key);
    return weir__graph_symbol(infer->graph, NULL, key, out_dim);
}

weir_status_t weir__infer_unknown_rank(weir__infer_t *infer, uint32_t output)
{
    if (!infer->graph)
        return WEIR__BAD(
            "the rank of output %u depends on contents of the inputs that are not known", output);
    infer->outputs[output].rank = -1;
    return NULL;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

weir_status_t weir__infer_affine(const weir__infer_t *infer, int64_t dim, int64_t factor,
    int64_t offset, int64_t divisor, int64_t *out_dim)
{
    if (factor == 1 && offset == 0 && divisor == 1) {
        *out_dim = dim;
        return NULL;
    }
    if (dim >= 0) {
        int64_t product;
        if (!weir__mul_i64(dim, factor, &product) || !weir__add_i64(product, offset, &product))
            return WEIR__BAD("a size overflows");
        *out_dim = floor_div(product, divisor);
        if (*out_dim < 0)
            return WEIR__BAD("a size would be %lld", (long long)*out_dim);
        return NULL;
    }
    if (offset == 0 && divisor == 1)
        return weir__infer_product(infer, (int64_t[]){dim, factor}, 2, out_dim);
    return weir__infer_symbol(
        infer, "affine", (int64_t[]){dim, factor, offset, divisor}, 4, out_dim);
}

weir_status_t weir__infer_product(
    const weir__infer_t *infer, const int64_t *dims, uint32_t count, int64_t *out_dim)
{
    int64_t parts[WEIR_RANK_MAX + 2]; // the number, then the symbols, ascending
    uint32_t symbol_count = 0;
    parts[0] = 1;
    for (uint32_t i = 0; i < count; i++)
        if (dims[i] == 0) {
            *out_dim = 0;
            return NULL;
        }
    for (uint32_t i = 0; i < count; i++) {
        if (dims[i] > 0) {
            if (!weir__mul_i64(parts[0], dims[i], &parts[0]))
                return WEIR__BAD("a size overflows");
            continue;
        }
        uint32_t at = ++symbol_count;
        for (; at > 1 && parts[at - 1] > dims[i]; at--)
            parts[at] = parts[at - 1];
        parts[at] = dims[i];
    }
    if (symbol_count == 0)
        *out_dim = parts[0];
    else if (symbol_count == 1 && parts[0] == 1)
        *out_dim = parts[1];
    else
        return weir__infer_symbol(infer, "product", parts, symbol_count + 1, out_dim);
    return NULL;
}

weir_status_t weir__infer_unify(const char *what, int64_t a, int64_t b, int64_t *out_dim)
{
    if (a >= 0 && b >= 0 && a != b)
        return WEIR__BAD("%s differ: %lld and %lld", what, (long long)a, (long long)b);
    *out_dim = WEIR_MAX(a, b); // a number before a symbol, an older symbol before a younger one
    return NULL;
}

void weir__infer_same_shape(weir__infer_t *infer)
{
    const weir__type_t *from = infer->inputs[0];
    weir__type_t *to = &infer->outputs[0];
    to->rank = from->rank;
    for (int32_t i = 0; i < from->rank; i++)
        to->dims[i] = from->dims[i];
}

void weir__infer_pass_ints(weir__infer_t *infer)
{
    weir__ints_t ints;
    if (!infer->out_shapes || !weir__infer_ints(infer, 0, &ints))
        return;
    weir__shape_value_t *out = weir__infer_out_shape(infer, ints.count);
    if (!out || infer->outputs[0].rank > 1)
        return;
    out->symbol_mask = 0;
    for (uint32_t i = 0; i < ints.count; i++) {
        out->elements[i] = weir__ints_at(&ints, i);
        out->symbol_mask |= (uint32_t)weir__ints_symbolic(&ints, i) << i;
    }
    out->count = ints.count;
}

// Whether symbol `whole` is a broadcast of `part` with something: broadcasting `part` once more
// changes nothing.
static bool is_part(const weir__graph_t *graph, int64_t part, int64_t whole)
{
    const int64_t *parts = graph->symbols.parts[-1 - whole];
    return parts[0] == part || parts[1] == part;
}

weir_status_t weir__infer_broadcast(
    weir__graph_t *graph, const weir__type_t *a, const weir__type_t *b, weir__type_t *out_type)
{
    int32_t rank = WEIR_MAX(a->rank, b->rank);
    int64_t dims[WEIR_RANK_MAX];
    for (int32_t i = 0; i < rank; i++) {
        int32_t ia = i - (rank - a->rank), ib = i - (rank - b->rank);
        int64_t da = ia < 0 ? 1 : a->dims[ia], db = ib < 0 ? 1 : b->dims[ib];
        if (da == db || db == 1) {
            dims[i] = da;
        } else if (da == 1) {
            dims[i] = db;
        } else if (da >= 0 && db >= 0) {
            weir__text_t text_a, text_b;
            return WEIR__BAD("shapes do not broadcast: %s and %s",
                weir__type_text(graph, a, text_a.text, sizeof text_a),
                weir__type_text(graph, b, text_b.text, sizeof text_b));
        } else if (da >= 0 || db >= 0) {
            dims[i] = WEIR_MAX(da, db);
        } else {
            int64_t parts[2] = {WEIR_MIN(da, db), WEIR_MAX(da, db)};
            uint64_t key = weir__hash64(parts, sizeof parts, 0x62726f6164);
            if (!graph)
                return WEIR__BAD("a size cannot be told from the inputs");
            if (is_part(graph, da, db) || is_part(graph, db, da)) {
                dims[i] = is_part(graph, da, db) ? db : da;
                continue;
            }
            WEIR_TRY(weir__graph_symbol(graph, NULL, key, &dims[i]));
            memcpy(graph->symbols.parts[-1 - dims[i]], parts, sizeof parts);
        }
    }
    out_type->rank = rank;
    memcpy(out_type->dims, dims, (size_t)rank * sizeof dims[0]);
    return NULL;
}

static weir_status_t check_dtypes(const weir__infer_t *infer)
{
    const weir__op_t *op = infer->node->op;
    if (infer->input_count < op->min_inputs ||
        (op->max_inputs != UINT16_MAX && infer->input_count > op->max_inputs))
        return WEIR__BAD("it has %u inputs", infer->input_count);
    for (uint32_t i = 0; i < op->min_inputs; i++)
        if (!infer->inputs[i])
            return WEIR__BAD("input %u is missing", i);
    const weir__type_t *first = weir__infer_input(infer, 0);
    if (first)
        WEIR_TRY(weir__infer_check(infer, 0, op->dtypes, WEIR_RANK_MAX));
    for (uint32_t i = 1; first && i < infer->input_count; i++) {
        const weir__type_t *type = infer->inputs[i];
        if (!type)
            continue;
        if (type->dtype == WEIR_STRING)
            return WEIR__BAD("input %u is of strings", i);
        bool same = op->same_dtype >> (i & 31) & 1;
        if (same && first->dtype && type->dtype && type->dtype != first->dtype)
            return WEIR__BAD("input 0 is %s, but input %u is %s", weir__dtype_name(first->dtype), i,
                weir__dtype_name(type->dtype));
    }
    return NULL;
}

static weir_dtype_t result_dtype(const weir__infer_t *infer)
{
    switch (infer->node->op->result) {
    case WEIR__RESULT_SAME:
        return infer->inputs[0]->dtype;
    case WEIR__RESULT_SECOND:
        return infer->inputs[1]->dtype;
    case WEIR__RESULT_BOOL:
        return WEIR_BOOL;
    case WEIR__RESULT_I64:
        return WEIR_I64;
    case WEIR__RESULT_TO:
        return (weir_dtype_t)weir__node_int(infer->node, "to", 0);
    default:
        return 0;
    }
}

static weir_status_t check_outputs(const weir__infer_t *infer)
{
    for (uint32_t i = 0; i < infer->output_count; i++) {
        const weir__type_t *type = &infer->outputs[i];
        uint64_t bytes;
        bool symbolic = type->rank < 0;
        for (int32_t d = 0; d < type->rank; d++)
            symbolic |= type->dims[d] < 0;
        if (symbolic && !infer->graph)
            return WEIR__BAD("the sizes of output %u cannot be told from the inputs", i);
        if (symbolic)
            continue;
        if (!weir__tensor_bytes(type->dims, (uint32_t)type->rank, type->dtype, &bytes) ||
            (infer->graph && bytes > infer->graph->limits.tensor_bytes))
            return WEIR_ERR(WEIR_LIMIT, "output %u, %s, has more than tensor_bytes", i,
                WEIR__TEXT(infer, type));
    }
    return NULL;
}

static weir_status_t infer_node(weir__infer_t *infer)
{
    memset(infer->outputs, 0, infer->output_count * sizeof *infer->outputs);
    for (uint32_t i = 0; infer->out_shapes && i < infer->output_count; i++)
        infer->out_shapes[i].count = 0;
    WEIR_TRY(check_dtypes(infer));
    weir_dtype_t dtype = result_dtype(infer);
    for (uint32_t i = 0; i < infer->output_count; i++)
        infer->outputs[i].dtype = dtype;
    bool known = true;
    for (uint32_t i = 0; i < infer->input_count; i++)
        known &= !infer->inputs[i] || infer->inputs[i]->rank >= 0;
    // An If reads no shape but that of its condition; its outputs' types come from its branches.
    if (!known && !(infer->node->op->flags & WEIR__OP_REGIONS)) {
        for (uint32_t i = 0; i < infer->output_count; i++)
            WEIR_TRY(weir__infer_unknown_rank(infer, i));
        return NULL;
    }
    WEIR_TRY(infer->node->op->infer(infer));
    return check_outputs(infer);
}

weir_status_t weir__infer_node(weir__infer_t *infer)
{
    weir_status_t status = infer_node(infer);
    if (!status)
        return NULL;
    char label[256];
    return weir__status_prefix(status, "%s", weir__node_label(infer->node, label, sizeof label));
}
