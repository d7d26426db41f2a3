// engine/graph/infer_attention.c: Attention: layouts, and the shape of what it gives.
#include "engine/graph/infer.h"

#include <string.h>

// The sizes of one tensor by its layout's letters; an absent letter is 1.
typedef struct sizes {
    int64_t b, h, s, d;
} sizes_t;

static const char *layout_of(const weir__infer_t *infer, const char *name)
{
    const weir_attribute_t *attribute = weir__node_attribute(infer->node, name);
    return attribute && attribute->type == WEIR_ATTR_STRING ? attribute->s : "";
}

// Each letter of bhsdp at most once, s and d there; p (which part of a packed tensor) of inputs
// only.
static weir_status_t check_layout(const char *name, const char *layout, bool is_input)
{
    size_t length = strlen(layout);
    bool fits = length >= 2 && length <= 5 && strchr(layout, 's') && strchr(layout, 'd') &&
                strspn(layout, is_input ? "bhsdp" : "bhsd") == length;
    for (size_t i = 0; fits && i < length; i++)
        fits = strchr(layout, layout[i]) == layout + i;
    return fits ? NULL : WEIR__BAD("%s is \"%.16s\", which is no layout", name, layout);
}

static weir_status_t read_sizes(
    const weir__infer_t *infer, uint32_t input, const char *name, sizes_t *out_sizes)
{
    static const char *const layouts[] = {"q_layout", "k_layout", "v_layout"};
    static const char *const parts[] = {"q_part", "k_part", "v_part"};
    const char *layout = layout_of(infer, layouts[input]);
    const weir__type_t *type = infer->inputs[input];
    WEIR_TRY(check_layout(layouts[input], layout, true));
    WEIR_TRY(weir__infer_check_rank(infer, input, name, (int32_t)strlen(layout)));
    *out_sizes = (sizes_t){1, 1, 1, 1};
    for (size_t i = 0; layout[i]; i++) {
        int64_t dim = type->dims[i];
        int64_t part = weir__node_int(infer->node, parts[input], 0);
        switch (layout[i]) {
        case 'b':
            out_sizes->b = dim;
            break;
        case 'h':
            out_sizes->h = dim;
            break;
        case 's':
            out_sizes->s = dim;
            break;
        case 'd':
            out_sizes->d = dim;
            break;
        default:
            if (part < 0 || (dim >= 0 && part >= dim))
                return WEIR__BAD(
                    "%s is %lld of %s", parts[input], (long long)part, WEIR__TEXT(infer, type));
        }
    }
    return NULL;
}

// mask broadcasts to [B, H, S, T] and makes it no larger.
static weir_status_t check_mask(
    const weir__infer_t *infer, const weir__type_t *mask, const int64_t *scores)
{
    bool fits = mask->rank <= 4;
    for (int32_t i = 0; fits && i < mask->rank; i++) {
        int64_t dim = mask->dims[mask->rank - 1 - i], size = scores[3 - i];
        fits = dim < 0 || dim == 1 || size < 0 || dim == size;
    }
    return fits ? NULL
                : WEIR__BAD("mask %s does not broadcast to the scores", WEIR__TEXT(infer, mask));
}

weir_status_t weir__infer_attention(weir__infer_t *infer)
{
    const weir__type_t *mask = weir__infer_input(infer, 3);
    const char *layout = layout_of(infer, "y_layout");
    weir__type_t *y = &infer->outputs[0];
    sizes_t q, k, v, sizes;
    int64_t depth, length;
    WEIR_TRY(read_sizes(infer, 0, "Q", &q));
    WEIR_TRY(read_sizes(infer, 1, "K", &k));
    WEIR_TRY(read_sizes(infer, 2, "V", &v));
    WEIR_TRY(check_layout("y_layout", layout, false));
    WEIR_TRY(weir__infer_unify("batches of Q and K", q.b, k.b, &sizes.b));
    WEIR_TRY(weir__infer_unify("batches of Q and V", sizes.b, v.b, &sizes.b));
    WEIR_TRY(weir__infer_unify("heads of Q and K", q.h, k.h, &sizes.h));
    WEIR_TRY(weir__infer_unify("heads of Q and V", sizes.h, v.h, &sizes.h));
    WEIR_TRY(weir__infer_unify("widths of Q and K", q.d, k.d, &depth));
    WEIR_TRY(weir__infer_unify("lengths of K and V", k.s, v.s, &length));
    sizes.s = q.s;
    sizes.d = v.d;
    if (mask)
        WEIR_TRY(check_mask(infer, mask, (int64_t[]){sizes.b, sizes.h, sizes.s, length}));
    for (size_t i = 0; layout[i]; i++)
        y->dims[y->rank++] = layout[i] == 'b'   ? sizes.b
                             : layout[i] == 'h' ? sizes.h
                             : layout[i] == 's' ? sizes.s
                                                : sizes.d;
    // What y_layout leaves out is 1.
    if ((!strchr(layout, 'b') && sizes.b >= 0 && sizes.b != 1) ||
        (!strchr(layout, 'h') && sizes.h >= 0 && sizes.h != 1))
        return WEIR__BAD("y_layout \"%s\" leaves out an axis that is longer than 1", layout);
    return NULL;
}
