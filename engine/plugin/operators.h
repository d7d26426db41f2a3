// engine/plugin/operators.h: operators of domains that ONNX does not define, as plugins declare
// them.
//
// Checked copies of the tables, made at load. What a model's node becomes of one is decided in
// api/; nothing here knows graphs.
#ifndef WEIR_PLUGIN_OPERATORS_H
#define WEIR_PLUGIN_OPERATORS_H

#include "engine/plugin/registry.h"

#define WEIR__OPERATOR_TENSORS_MAX 64 // inputs, and outputs, that one may have

typedef struct weir__operator {
    weir_operator_t abi; // copied by size; attributes are those below
    weir__plugin_t *plugin;
    const char *name; // "com.example::Op"
    const weir_attribute_t *attributes;
    uint32_t attribute_count;
} weir__operator_t;

// Copies and checks plugin->abi.operators. false: the plugin is refused and says why.
bool weir__operators_copy(weir__registry_t *registry, weir__plugin_t *plugin);

// Two plugins may declare one operator (a wrapper and what it wraps) when they say the same of it;
// of others the later plugin is refused. Call it when it is known which plugins can be used.
void weir__operators_settle(weir__registry_t *registry);

// The newest revision not above `version` that a usable plugin declares, or NULL; then
// *out_lowest is the lowest revision that there is, 0: none.
const weir__operator_t *weir__operator_find(const weir__registry_t *registry, const char *domain,
    const char *op, int64_t version, uint32_t *out_lowest);

#endif
