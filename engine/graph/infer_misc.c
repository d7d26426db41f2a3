// engine/graph/infer_misc.c: normalisations, Softmax, LSTM, Resize and If.
#include "engine/graph/infer.h"

#include "engine/base/size.h"
#include <math.h>
#include <string.h>

weir_status_t weir__infer_softmax(weir__infer_t *infer)
{
    uint32_t axis;
    WEIR_TRY(
        weir__infer_axis(weir__node_int(infer->node, "axis", -1), infer->inputs[0]->rank, &axis));
    weir__infer_same_shape(infer);
    return NULL;
}

// Inputs [first, last] are vectors, one number per channel of input 0.
static weir_status_t check_channels(
    const weir__infer_t *infer, uint32_t first, uint32_t last, int32_t least_rank)
{
    const weir__type_t *x = infer->inputs[0];
    if (x->rank < least_rank)
        return WEIR__BAD("its input has rank %d, at least %d is needed", x->rank, least_rank);
    for (uint32_t i = first; i <= last; i++) {
        const weir__type_t *type = infer->inputs[i];
        if (type->rank != 1 ||
            (type->dims[0] >= 0 && x->dims[1] >= 0 && type->dims[0] != x->dims[1]))
            return WEIR__BAD("input %u is %s, one number per channel of %s is needed", i,
                WEIR__TEXT(infer, type), WEIR__TEXT(infer, x));
    }
    return NULL;
}

weir_status_t weir__infer_batch_norm(weir__infer_t *infer)
{
    WEIR_TRY(check_channels(infer, 1, 4, 2));
    weir__infer_same_shape(infer);
    return NULL;
}

weir_status_t weir__infer_instance_norm(weir__infer_t *infer)
{
    WEIR_TRY(check_channels(infer, 1, 2, 3));
    weir__infer_same_shape(infer);
    return NULL;
}

weir_status_t weir__infer_layer_norm(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    uint32_t axis;
    WEIR_TRY(weir__infer_axis(weir__node_int(infer->node, "axis", -1), x->rank, &axis));
    for (uint32_t i = 1; i < infer->input_count; i++) {
        const weir__type_t *type = infer->inputs[i];
        bool fits = !type || type->rank == x->rank - (int32_t)axis;
        for (int32_t d = 0; fits && type && d < type->rank; d++)
            fits = type->dims[d] < 0 || x->dims[axis + (uint32_t)d] < 0 ||
                   type->dims[d] == x->dims[axis + (uint32_t)d];
        if (!fits)
            return WEIR__BAD("%s is %s, the axes of %s from %u on are needed",
                i == 1 ? "scale" : "B", WEIR__TEXT(infer, type), WEIR__TEXT(infer, x), axis);
    }
    weir__infer_same_shape(infer);
    for (uint32_t i = 1; i < infer->output_count; i++) {
        infer->outputs[i] = infer->outputs[0];
        infer->outputs[i].dtype = WEIR_F32;
        for (int32_t d = (int32_t)axis; d < x->rank; d++)
            infer->outputs[i].dims[d] = 1;
    }
    return NULL;
}

weir_status_t weir__infer_lp_norm(weir__infer_t *infer)
{
    uint32_t axis;
    int64_t p = weir__node_int(infer->node, "p", 2);
    WEIR_TRY(
        weir__infer_axis(weir__node_int(infer->node, "axis", -1), infer->inputs[0]->rank, &axis));
    if (p != 1 && p != 2)
        return WEIR__BAD("p is %lld, only 1 and 2 are known", (long long)p);
    weir__infer_same_shape(infer);
    return NULL;
}

weir_status_t weir__infer_lrn(weir__infer_t *infer)
{
    int64_t size = weir__node_int(infer->node, "size", 0);
    if (infer->inputs[0]->rank < 3)
        return WEIR__BAD("its input has rank %d, at least 3 is needed", infer->inputs[0]->rank);
    if (size < 1 || size > INT32_MAX)
        return WEIR__BAD("size is %lld", (long long)size);
    weir__infer_same_shape(infer);
    return NULL;
}

// Input `input` of an LSTM, when present, has exactly these dims.
static weir_status_t lstm_check(const weir__infer_t *infer, uint32_t input, const char *name,
    int32_t rank, int64_t d0, int64_t d1, int64_t d2)
{
    const weir__type_t *type = weir__infer_input(infer, input);
    if (!type)
        return NULL;
    weir__type_t want = {.dtype = type->dtype, .rank = rank, .dims = {d0, d1, d2}};
    bool fits = type->rank == rank;
    for (int32_t i = 0; fits && i < rank; i++)
        fits = type->dims[i] < 0 || want.dims[i] < 0 || type->dims[i] == want.dims[i];
    if (!fits)
        return WEIR__BAD(
            "%s is %s, %s is needed", name, WEIR__TEXT(infer, type), WEIR__TEXT(infer, &want));
    return NULL;
}

static weir_status_t lstm_directions(const weir__infer_t *infer, int64_t *out_count)
{
    const weir_attribute_t *direction = weir__node_attribute(infer->node, "direction");
    const char *text = direction && direction->s ? direction->s : "forward";
    *out_count = strcmp(text, "bidirectional") == 0 ? 2 : 1;
    if (*out_count == 1 && strcmp(text, "forward") != 0 && strcmp(text, "reverse") != 0)
        return WEIR__BAD("direction %s is not known", text);
    return NULL;
}

weir_status_t weir__infer_lstm(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    bool batch_first = weir__node_int(infer->node, "layout", 0) != 0;
    int64_t directions, hidden = weir__node_int(infer->node, "hidden_size", 0);
    WEIR_TRY(lstm_directions(infer, &directions));
    WEIR_TRY(weir__infer_check_rank(infer, 0, "X", 3));
    WEIR_TRY(weir__infer_check_rank(infer, 2, "R", 3));
    if (hidden == 0)
        hidden = infer->inputs[2]->dims[2];
    if (hidden < 1 || hidden > INT32_MAX)
        return WEIR__BAD("hidden_size is %lld", (long long)hidden);
    int64_t steps = x->dims[batch_first ? 1 : 0], batch = x->dims[batch_first ? 0 : 1];
    int64_t first = batch_first ? batch : directions, second = batch_first ? directions : batch;
    WEIR_TRY(lstm_check(infer, 1, "W", 3, directions, 4 * hidden, x->dims[2]));
    WEIR_TRY(lstm_check(infer, 2, "R", 3, directions, 4 * hidden, hidden));
    WEIR_TRY(lstm_check(infer, 3, "B", 2, directions, 8 * hidden, 0));
    WEIR_TRY(weir__infer_check(infer, 4, WEIR_I32, 1));
    WEIR_TRY(lstm_check(infer, 4, "sequence_lens", 1, batch, 0, 0));
    WEIR_TRY(lstm_check(infer, 5, "initial_h", 3, first, second, hidden));
    WEIR_TRY(lstm_check(infer, 6, "initial_c", 3, first, second, hidden));
    WEIR_TRY(lstm_check(infer, 7, "P", 2, directions, 3 * hidden, 0));
    weir__type_t *y = infer->outputs;
    y[0].rank = 4;
    y[0].dims[0] = batch_first ? batch : steps;
    y[0].dims[1] = batch_first ? steps : directions;
    y[0].dims[2] = batch_first ? directions : batch;
    y[0].dims[3] = hidden;
    for (uint32_t i = 1; i < infer->output_count; i++) {
        y[i].rank = 3;
        y[i].dims[0] = first;
        y[i].dims[1] = second;
        y[i].dims[2] = hidden;
    }
    return NULL;
}

static bool one_of(const char *text, const char *const *known)
{
    for (; *known; known++)
        if (strcmp(text, *known) == 0)
            return true;
    return false;
}

static const char *text_attribute(
    const weir__infer_t *infer, const char *name, const char *otherwise)
{
    const weir_attribute_t *attribute = weir__node_attribute(infer->node, name);
    return attribute && attribute->s && attribute->s[0] ? attribute->s : otherwise;
}

static weir_status_t resize_check(const weir__infer_t *infer)
{
    static const char *const modes[] = {"nearest", "linear", "cubic", NULL};
    static const char *const transforms[] = {"half_pixel", "half_pixel_symmetric",
        "pytorch_half_pixel", "align_corners", "asymmetric", NULL};
    static const char *const roundings[] = {
        "round_prefer_floor", "round_prefer_ceil", "floor", "ceil", NULL};
    static const char *const policies[] = {"stretch", "not_larger", "not_smaller", NULL};
    static const struct {
        const char *name, *otherwise;
        const char *const *known;
    } checks[] = {{"mode", "nearest", modes},
        {"coordinate_transformation_mode", "half_pixel", transforms},
        {"nearest_mode", "round_prefer_floor", roundings},
        {"keep_aspect_ratio_policy", "stretch", policies}};
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        const char *text = text_attribute(infer, checks[i].name, checks[i].otherwise);
        if (!one_of(text, checks[i].known))
            return WEIR_ERR(WEIR_UNSUPPORTED, "%s %s is not supported", checks[i].name, text);
    }
    bool scales = weir__infer_input(infer, 1) != NULL, sizes = weir__infer_input(infer, 2) != NULL;
    if (scales == sizes)
        return WEIR__BAD("exactly one of scales and sizes is needed");
    WEIR_TRY(weir__infer_check(infer, 1, WEIR_F32, 1));
    return weir__infer_check(infer, 2, WEIR_I64, 1);
}

// dim * scale, as f32 rounds it, then down.
static weir_status_t scaled(const weir__infer_t *infer, int64_t dim, double scale, int64_t *out)
{
    if (!(scale > 0) || scale > 1e9)
        return WEIR__BAD("a scale is %g", scale);
    if (dim < 0) {
        int64_t bits = 0;
        if (scale == floor(scale))
            return weir__infer_affine(infer, dim, (int64_t)scale, 0, 1, out);
        memcpy(&bits, &scale, sizeof scale);
        return weir__infer_symbol(infer, "scaled", (int64_t[]){dim, bits}, 2, out);
    }
    float size = floorf((float)dim * (float)scale);
    if (size > 9e15f)
        return WEIR__BAD("a size overflows");
    *out = (int64_t)size;
    if (dim > 0 && *out == 0)
        return WEIR__BAD("a size of %lld times %g is nothing", (long long)dim, scale);
    return NULL;
}

// One scale for all axes, so that none gets larger (or smaller) than `sizes` say.
static weir_status_t keep_ratio(weir__infer_t *infer, const weir__ints_t *sizes,
    const uint32_t *axes, uint32_t count, bool larger)
{
    double scale = 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t dim = infer->inputs[0]->dims[axes[i]];
        if (dim <= 0 || weir__ints_symbolic(sizes, i)) {
            for (uint32_t j = 0; j < count; j++)
                WEIR_TRY(weir__infer_data_symbol(infer, axes[j], &infer->outputs[0].dims[axes[j]]));
            return NULL;
        }
        double one = (double)weir__ints_at(sizes, i) / (double)dim;
        scale = i == 0 ? one : larger ? WEIR_MAX(scale, one) : WEIR_MIN(scale, one);
    }
    for (uint32_t i = 0; i < count; i++) {
        double size = floor(scale * (double)infer->inputs[0]->dims[axes[i]] + 0.5);
        if (size > 9e15) // beyond what a double counts
            return WEIR__BAD("a size overflows");
        infer->outputs[0].dims[axes[i]] = (int64_t)size;
    }
    return NULL;
}

static weir_status_t resize_to(
    weir__infer_t *infer, const weir__ints_t *sizes, const uint32_t *axes, uint32_t count)
{
    const char *policy = text_attribute(infer, "keep_aspect_ratio_policy", "stretch");
    if (sizes->count != count)
        return WEIR__BAD("%u sizes for %u axes", sizes->count, count);
    for (uint32_t i = 0; i < count; i++) {
        int64_t size = weir__ints_at(sizes, i);
        if (!weir__ints_symbolic(sizes, i) && (size < 0 || size > INT32_MAX))
            return WEIR__BAD("size %u is %lld", i, (long long)size);
        if (infer->inputs[0]->dims[axes[i]] == 0 && size > 0)
            return WEIR__BAD("axis %u is empty and cannot be resized", axes[i]);
        infer->outputs[0].dims[axes[i]] = size;
    }
    if (strcmp(policy, "stretch") != 0)
        return keep_ratio(infer, sizes, axes, count, strcmp(policy, "not_smaller") == 0);
    return NULL;
}

weir_status_t weir__infer_resize(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    const weir_attribute_t *named = weir__node_attribute(infer->node, "axes");
    uint32_t axes[WEIR_RANK_MAX], count = (uint32_t)x->rank, seen = 0;
    WEIR_TRY(resize_check(infer));
    weir__infer_same_shape(infer);
    if (named && named->count)
        count = named->count;
    if (count > (uint32_t)x->rank)
        return WEIR__BAD("%u axes for rank %d", count, x->rank);
    for (uint32_t i = 0; i < count; i++) {
        axes[i] = i;
        if (named && named->count)
            WEIR_TRY(weir__infer_axis(named->ints[i], x->rank, &axes[i]));
        if (seen >> axes[i] & 1)
            return WEIR__BAD("axis %u is named twice", axes[i]);
        seen |= 1u << axes[i];
    }
    weir__ints_t sizes;
    if (weir__infer_ints(infer, 2, &sizes))
        return resize_to(infer, &sizes, axes, count);
    const weir__tensor_t *scales = infer->values[1]; // NULL where there are sizes, too
    if (weir__tensor_ready(scales)) {
        if (scales->count != count)
            return WEIR__BAD("%llu scales for %u axes", (unsigned long long)scales->count, count);
        for (uint32_t i = 0; i < count; i++)
            WEIR_TRY(scaled(infer, x->dims[axes[i]], weir__tensor_float(scales, i),
                &infer->outputs[0].dims[axes[i]]));
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++)
        WEIR_TRY(weir__infer_data_symbol(infer, axes[i], &infer->outputs[0].dims[axes[i]]));
    return NULL;
}

weir_status_t weir__infer_if(weir__infer_t *infer)
{
    const weir__type_t *condition = infer->inputs[0];
    for (int32_t i = 0; i < condition->rank; i++)
        if (condition->dims[i] >= 0 && condition->dims[i] != 1)
            return WEIR__BAD(
                "the condition has shape %s, a scalar is needed", WEIR__TEXT(infer, condition));
    for (uint32_t i = 0; i < infer->output_count; i++) {
        const weir__type_t *a = infer->region_outputs[0] ? infer->region_outputs[0][i] : NULL;
        const weir__type_t *b = infer->region_outputs[1] ? infer->region_outputs[1][i] : NULL;
        if (!a || !b)
            return WEIR__BAD("the types of its branches are not known");
        if (a->dtype && b->dtype && a->dtype != b->dtype)
            return WEIR__BAD("output %u is %s in one branch and %s in the other", i,
                weir__dtype_name(a->dtype), weir__dtype_name(b->dtype));
        weir__type_t *y = &infer->outputs[i];
        *y = *a;
        if (a->rank != b->rank)
            WEIR_TRY(weir__infer_unknown_rank(infer, i));
        for (int32_t d = 0; d < y->rank; d++)
            if (a->dims[d] != b->dims[d])
                WEIR_TRY(
                    weir__infer_data_symbol(infer, i * WEIR_RANK_MAX + (uint32_t)d, &y->dims[d]));
    }
    return NULL;
}
