// engine/graph/rules_attention.c: attention from its spelled-out forms.
//
// softmax(Q K^T scale + mask) V, found by dataflow backwards from the last MatMul: a scale may
// stand at Q, at K, or on either side of the mask, as a Mul or a Div. The node says with layouts
// how its tensors lie, so that Transposes, and the cutting of a tensor that holds Q, K and V side
// by side, vanish into it. A probability that anyone else reads has to exist, so then nothing is
// touched.
#include "engine/graph/rewrite.h"

#include <math.h>
#include <string.h>

#define LAYOUT_BYTES 6  // five letters at most
#define ABSORBED_MAX 24 // nodes whose origins are kept
#define SCORES_DEPTH 4  // nodes between the two MatMuls but for the Softmax

enum { Q, K, V, Y };

typedef struct attention {
    uint32_t inputs[3], mask; // mask: WEIR__NONE when there is none
    char layouts[4][LAYOUT_BYTES];
    int64_t parts[3];
    double scale;
    double mask_scale; // of a mask that was added before it was scaled
    uint32_t absorbed[ABSORBED_MAX], absorbed_count;
} attention_t;

// Layouts of nodes have been checked; a longer text would be cut.
static void layout_set(char *to, const char *from)
{
    size_t length = strnlen(from, LAYOUT_BYTES - 1);
    memcpy(to, from, length);
    to[length] = 0;
}

static void absorb(const weir__rewrite_t *rewrite, attention_t *attention, const weir__node_t *node)
{
    if (attention->absorbed_count < ABSORBED_MAX)
        attention->absorbed[attention->absorbed_count++] = (uint32_t)(node - rewrite->graph->nodes);
}

// value = x * number or x / number, of x's own type. A number that could turn a finite product into
// an infinite one, or the reverse, by being applied elsewhere is left alone.
static bool scaled(
    const weir__rewrite_t *rewrite, uint32_t value, uint32_t *out_x, double *out_number)
{
    const weir__node_t *node = weir__rewrite_producer(rewrite, value, NULL);
    bool divides = node && weir__rewrite_is(node, "Div");
    if (!divides && (!node || !weir__rewrite_is(node, "Mul")))
        return false;
    for (uint32_t i = 0; i < (divides ? 1u : 2u); i++) {
        *out_x = weir__rewrite_input(rewrite, node, i);
        if (!weir__rewrite_scalar(rewrite, weir__rewrite_input(rewrite, node, 1 - i), out_number) ||
            !weir__type_equal(
                weir__rewrite_type(rewrite, *out_x), weir__rewrite_type(rewrite, value)))
            continue;
        *out_number = divides ? 1 / *out_number : *out_number;
        return fabs(*out_number) > 1e-6 && fabs(*out_number) < 1e6;
    }
    return false;
}

// Whether a and b are of one f32 type but for the last two axes, which both have, and of rank 2 to
// 4.
static bool same_batches(const weir__type_t *a, const weir__type_t *b)
{
    return a->dtype == WEIR_F32 && b->dtype == WEIR_F32 && a->rank == b->rank && a->rank >= 2 &&
           a->rank <= 4 && memcmp(a->dims, b->dims, (size_t)(a->rank - 2) * sizeof a->dims[0]) == 0;
}

// The scores, backwards to Q K^T. Only what the Softmax alone waits for is taken apart.
static bool find_scores(
    const weir__rewrite_t *rewrite, uint32_t value, uint32_t depth, attention_t *attention)
{
    const weir__node_t *node = weir__rewrite_producer(rewrite, value, NULL);
    uint32_t x;
    double number;
    if (!node || rewrite->uses[value] != 1 || depth > SCORES_DEPTH)
        return false;
    absorb(rewrite, attention, node);
    if (weir__rewrite_is(node, "MatMul")) {
        attention->inputs[Q] = weir__rewrite_input(rewrite, node, 0);
        attention->inputs[K] = weir__rewrite_input(rewrite, node, 1);
        return same_batches(weir__rewrite_type(rewrite, attention->inputs[Q]),
                   weir__rewrite_type(rewrite, attention->inputs[K])) &&
               !weir__rewrite_constant(rewrite, attention->inputs[K]);
    }
    if (scaled(rewrite, value, &x, &number)) {
        attention->scale *= number;
        return find_scores(rewrite, x, depth + 1, attention);
    }
    if (!weir__rewrite_is(node, "Add") || attention->mask != WEIR__NONE)
        return false;
    for (uint32_t i = 0; i < 2; i++) {
        attention_t trial = *attention;
        x = weir__rewrite_input(rewrite, node, i);
        trial.mask = weir__rewrite_input(rewrite, node, 1 - i);
        trial.mask_scale = trial.scale;
        // The mask makes the scores no larger, and is not the scores once more.
        if (x == trial.mask ||
            !weir__type_equal(weir__rewrite_type(rewrite, x), weir__rewrite_type(rewrite, value)))
            continue;
        if (find_scores(rewrite, x, depth + 1, &trial)) {
            *attention = trial;
            return true;
        }
    }
    return false;
}

// Moves input `input` to before a Transpose.
static bool absorb_transpose(const weir__rewrite_t *rewrite, attention_t *attention, uint32_t input)
{
    const weir__node_t *node =
        weir__rewrite_producer(rewrite, attention->inputs[input], "Transpose");
    const weir_attribute_t *perm = node ? weir__node_attribute(node, "perm") : NULL;
    char *layout = attention->layouts[input], before[LAYOUT_BYTES] = {0};
    uint32_t rank = (uint32_t)strlen(layout);
    if (!node || (perm && perm->count && perm->count != rank))
        return false;
    for (uint32_t i = 0; i < rank; i++) {
        int64_t axis = perm && perm->count ? perm->ints[i] : rank - 1 - (int64_t)i;
        axis += axis < 0 ? rank : 0;
        before[axis] = layout[i];
    }
    memcpy(layout, before, sizeof before);
    attention->inputs[input] = weir__rewrite_input(rewrite, node, 0);
    absorb(rewrite, attention, node);
    return true;
}

// Whether an integer input is a constant of one element; and which.
static bool one_int(const weir__rewrite_t *rewrite, const weir__node_t *node, uint32_t input,
    uint32_t rank, int64_t *out_number)
{
    const weir__tensor_t *tensor =
        weir__rewrite_constant(rewrite, weir__rewrite_input(rewrite, node, input));
    if (!tensor || tensor->count != 1 || tensor->rank != rank ||
        !(tensor->dtype & (WEIR_I32 | WEIR_I64)))
        return false;
    *out_number = weir__tensor_int(tensor, 0);
    return true;
}

// value is one element of an axis of x, the axis removed: a Slice and a Squeeze, or a Gather. A
// size that is not known might not have that element, which whoever cuts it has to say.
static bool part_of(const weir__rewrite_t *rewrite, uint32_t value, const weir__node_t *nodes[2],
    uint32_t *out_x, int64_t *out_axis, int64_t *out_part)
{
    const weir__node_t *node = weir__rewrite_producer(rewrite, value, NULL);
    const weir__node_t *slice = NULL;
    int64_t end, axis, step = 1;
    if (!node)
        return false;
    if (weir__rewrite_is(node, "Squeeze"))
        slice = weir__rewrite_producer(rewrite, weir__rewrite_input(rewrite, node, 0), "Slice");
    if (slice) {
        if (!one_int(rewrite, node, 1, 1, out_axis) || !one_int(rewrite, slice, 1, 1, out_part) ||
            !one_int(rewrite, slice, 2, 1, &end) || !one_int(rewrite, slice, 3, 1, &axis) ||
            (slice->input_count > 4 && !one_int(rewrite, slice, 4, 1, &step)) || step != 1 ||
            end != *out_part + 1)
            return false;
    } else {
        if (!weir__rewrite_is(node, "Gather") || !one_int(rewrite, node, 1, 0, out_part))
            return false;
        axis = *out_axis = weir__node_int(node, "axis", 0);
    }
    nodes[0] = node;
    nodes[1] = slice ? slice : node;
    *out_x = weir__rewrite_input(rewrite, nodes[1], 0);
    const weir__type_t *type = weir__rewrite_type(rewrite, *out_x);
    *out_axis += *out_axis < 0 ? type->rank : 0;
    axis += axis < 0 ? type->rank : 0;
    return type->rank > 0 && axis == *out_axis && axis >= 0 && axis < type->rank &&
           *out_part >= 0 && *out_part < type->dims[axis];
}

// Moves input `input` to before the cut that takes it out of a packed tensor.
static bool absorb_part(const weir__rewrite_t *rewrite, attention_t *attention, uint32_t input)
{
    char *layout = attention->layouts[input];
    size_t rank = strlen(layout);
    const weir__node_t *nodes[2];
    uint32_t x;
    int64_t axis, part;
    if (rank + 1 >= LAYOUT_BYTES || strchr(layout, 'p') ||
        !part_of(rewrite, attention->inputs[input], nodes, &x, &axis, &part) ||
        axis > (int64_t)rank)
        return false;
    memmove(layout + axis + 1, layout + axis, rank + 1 - (size_t)axis);
    layout[axis] = 'p';
    attention->parts[input] = part;
    attention->inputs[input] = x;
    absorb(rewrite, attention, nodes[1]);
    absorb(rewrite, attention, nodes[0]);
    return true;
}

static bool absorb_scale(const weir__rewrite_t *rewrite, attention_t *attention, uint32_t input)
{
    uint32_t x;
    double number;
    if (!scaled(rewrite, attention->inputs[input], &x, &number))
        return false;
    absorb(rewrite, attention, weir__rewrite_producer(rewrite, attention->inputs[input], NULL));
    attention->scale *= number;
    attention->inputs[input] = x;
    return true;
}

// Takes in what stands before the inputs. Whoever else reads those values still does.
static bool absorb_inputs(const weir__rewrite_t *rewrite, attention_t *attention)
{
    bool changed = false;
    for (uint32_t input = Q; input <= V; input++) {
        while (absorb_transpose(rewrite, attention, input) ||
               absorb_part(rewrite, attention, input) ||
               (input != V && absorb_scale(rewrite, attention, input)))
            changed = true;
    }
    return changed;
}

static weir_status_t make_attention(
    weir__rewrite_t *rewrite, uint32_t root, const attention_t *attention)
{
    static const char *const names[4] = {"q_layout", "k_layout", "v_layout", "y_layout"};
    static const char *const part_names[3] = {"q_part", "k_part", "v_part"};
    weir_attribute_t attributes[8] = {
        {.name = "scale", .type = WEIR_ATTR_FLOAT, .f = attention->scale}};
    for (uint32_t i = 0; i < 4; i++)
        attributes[1 + i] = (weir_attribute_t){
            .name = names[i], .type = WEIR_ATTR_STRING, .s = attention->layouts[i]};
    for (uint32_t i = 0; i < 3; i++)
        attributes[5 + i] = (weir_attribute_t){
            .name = part_names[i], .type = WEIR_ATTR_INT, .i = attention->parts[i]};
    uint32_t inputs[4] = {
        attention->inputs[Q], attention->inputs[K], attention->inputs[V], attention->mask};
    const weir__node_t *absorbed[ABSORBED_MAX];
    for (uint32_t i = 0; i < attention->absorbed_count; i++)
        absorbed[i] = &rewrite->graph->nodes[attention->absorbed[i]];
    return weir__rewrite_node(rewrite, root, "Attention", inputs,
        attention->mask == WEIR__NONE ? 3 : 4, attributes, 8, absorbed, attention->absorbed_count);
}

// (scores + mask) * number: the mask of the node is mask * number. Leaves *out_done alone when a
// constant may not be made.
static weir_status_t scale_mask(
    weir__rewrite_t *rewrite, uint32_t root, attention_t *attention, bool *out_done)
{
    uint32_t number, scaled_mask;
    float *data;
    WEIR_TRY(weir__rewrite_constant_new(rewrite, 0, NULL, &number, &data));
    if (!data)
        return NULL;
    *data = (float)attention->mask_scale;
    const weir__type_t type = *weir__rewrite_type(rewrite, attention->mask);
    WEIR_TRY(weir__rewrite_add(rewrite, root, "Mul", (uint32_t[]){attention->mask, number}, 2, NULL,
        0, &type, &scaled_mask));
    attention->mask = scaled_mask;
    *out_done = true;
    return NULL;
}

// softmax(scores) V.
weir_status_t weir__rule_attention(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    // By rank; K comes transposed.
    static const char layouts[2][3][LAYOUT_BYTES] = {{"sd", "hsd", "bhsd"}, {"ds", "hds", "bhds"}};
    const weir__node_t *node = &rewrite->graph->nodes[root];
    uint32_t weights = weir__rewrite_input(rewrite, node, 0);
    attention_t attention = {.mask = WEIR__NONE, .scale = 1, .mask_scale = 1};
    attention.inputs[V] = weir__rewrite_input(rewrite, node, 1);
    const weir__node_t *softmax = weir__rewrite_producer(rewrite, weights, "Softmax");
    const weir__type_t *type = weir__rewrite_type(rewrite, weights);
    if (!softmax || rewrite->uses[weights] != 1 || weir__node_int(softmax, "coerce", 0) ||
        !same_batches(type, weir__rewrite_type(rewrite, attention.inputs[V])) ||
        weir__rewrite_constant(rewrite, attention.inputs[V]))
        return NULL;
    int64_t axis = weir__node_int(softmax, "axis", -1);
    if (axis != -1 && axis != type->rank - 1)
        return NULL;
    if (!find_scores(rewrite, weir__rewrite_input(rewrite, softmax, 0), 0, &attention) ||
        !same_batches(type, weir__rewrite_type(rewrite, attention.inputs[Q])))
        return NULL;
    absorb(rewrite, &attention, softmax);
    for (uint32_t i = 0; i < 4; i++)
        layout_set(attention.layouts[i], layouts[i == K][type->rank - 2]);
    absorb_inputs(rewrite, &attention);
    bool ready = attention.mask == WEIR__NONE || attention.mask_scale == 1;
    if (!ready)
        WEIR_TRY(scale_mask(rewrite, root, &attention, &ready));
    *out_done = ready;
    return ready ? make_attention(rewrite, root, &attention) : NULL;
}

static void read_attention(
    const weir__rewrite_t *rewrite, const weir__node_t *node, attention_t *out_attention)
{
    *out_attention = (attention_t){.mask = weir__rewrite_input(rewrite, node, 3),
        .scale = weir__node_attribute(node, "scale")->f,
        .mask_scale = 1};
    for (uint32_t i = 0; i < 4; i++) {
        static const char *const names[4] = {"q_layout", "k_layout", "v_layout", "y_layout"};
        layout_set(out_attention->layouts[i], weir__node_attribute(node, names[i])->s);
    }
    for (uint32_t i = 0; i < 3; i++) {
        static const char *const names[3] = {"q_part", "k_part", "v_part"};
        out_attention->inputs[i] = weir__rewrite_input(rewrite, node, i);
        out_attention->parts[i] = weir__node_int(node, names[i], 0);
    }
}

// What other rules have laid bare before an Attention.
weir_status_t weir__rule_attention_inputs(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    attention_t attention;
    read_attention(rewrite, &rewrite->graph->nodes[root], &attention);
    *out_done = absorb_inputs(rewrite, &attention);
    return *out_done ? make_attention(rewrite, root, &attention) : NULL;
}

// A Transpose of an Attention that nobody else reads, if rows of the result stay in one piece.
weir_status_t weir__rule_attention_output(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    const weir__node_t *node = &rewrite->graph->nodes[root];
    const weir_attribute_t *perm = weir__node_attribute(node, "perm");
    uint32_t value = weir__rewrite_input(rewrite, node, 0);
    const weir__node_t *inner = weir__rewrite_producer(rewrite, value, "Attention");
    attention_t attention;
    if (!inner || rewrite->uses[value] != 1)
        return NULL;
    read_attention(rewrite, inner, &attention);
    char before[LAYOUT_BYTES];
    layout_set(before, attention.layouts[Y]);
    size_t rank = strlen(before);
    if (!perm || perm->count != rank)
        return NULL;
    for (size_t i = 0; i < rank; i++)
        attention.layouts[Y][i] = before[perm->ints[i] + (perm->ints[i] < 0 ? (int64_t)rank : 0)];
    if (attention.layouts[Y][rank - 1] != 'd')
        return NULL;
    absorb(rewrite, &attention, inner);
    *out_done = true;
    return make_attention(rewrite, root, &attention);
}
