// engine/base/attribute.h: when two attributes of nodes are the same.
//
// What must not be here: what an attribute means to an operator.
#ifndef WEIR_ENGINE_BASE_ATTRIBUTE_H
#define WEIR_ENGINE_BASE_ATTRIBUTE_H

#include <stdbool.h>
#include <weir/plugin.h>

// Name, type and value are equal; floats by their bits, so that NaN is NaN and 0 is not -0.
bool weir__attribute_same(const weir_attribute_t *a, const weir_attribute_t *b);

#endif
