// engine/base/attribute.c: see attribute.h.
#include "engine/base/attribute.h"

#include <string.h>

bool weir__attribute_same(const weir_attribute_t *a, const weir_attribute_t *b)
{
    if (a->type != b->type || strcmp(a->name, b->name) != 0)
        return false;
    switch (a->type) {
    case WEIR_ATTR_INT:
        return a->i == b->i;
    case WEIR_ATTR_FLOAT:
        return memcmp(&a->f, &b->f, sizeof a->f) == 0;
    case WEIR_ATTR_STRING:
        return strcmp(a->s, b->s) == 0;
    case WEIR_ATTR_INTS:
        return a->count == b->count &&
               (!a->count || memcmp(a->ints, b->ints, a->count * sizeof *a->ints) == 0);
    case WEIR_ATTR_FLOATS:
        return a->count == b->count &&
               (!a->count || memcmp(a->floats, b->floats, a->count * sizeof *a->floats) == 0);
    default:
        return false;
    }
}
