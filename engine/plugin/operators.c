// engine/plugin/operators.c: see operators.h.
//
// A table is refused as a whole: a plugin whose declarations are wrong in one place is not to be
// trusted in another. Calls nothing of the plugin.
#include "engine/plugin/operators.h"

#include "engine/base/attribute.h"

#include <stdio.h>
#include <string.h>

#define NAME_MAX_BYTES 127

// A domain ("com.example") or, without dots, an operator's name.
static bool is_name(const char *name, const char *others)
{
    size_t length = strnlen(name, NAME_MAX_BYTES + 1);
    if (!length || length > NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < length; i++) {
        bool is_letter = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z');
        bool is_digit = name[i] >= '0' && name[i] <= '9';
        if (!is_letter && !is_digit && !strchr(others, name[i]))
            return false;
    }
    return true;
}

// What ONNX defines is not for plugins to redefine: a model would mean another thing with them.
static bool is_onnx(const char *domain)
{
    return strcmp(domain, "ai.onnx") == 0 || strncmp(domain, "ai.onnx.", 8) == 0;
}

static bool attribute_is_sound(const weir_attribute_t *attribute)
{
    bool has_values = attribute->count == 0 ||
                      (attribute->type == WEIR_ATTR_INTS && attribute->ints) ||
                      (attribute->type == WEIR_ATTR_FLOATS && attribute->floats);
    return attribute->name && attribute->name[0] && attribute->type >= WEIR_ATTR_INT &&
           attribute->type <= WEIR_ATTR_FLOATS && (attribute->type < WEIR_ATTR_INTS || has_values);
}

static bool copy_attributes(
    weir__registry_t *registry, weir__plugin_t *plugin, weir__operator_t *made)
{
    const weir_array_t *array = &made->abi.attributes;
    if (array->count && (!array->data || array->stride < sizeof(weir_attribute_t))) {
        weir__plugin_refuse(plugin,
            "operator %s: its table of attributes is malformed (%u, stride %u)", made->name,
            array->count, array->stride);
        return false;
    }
    weir_attribute_t *copies = weir__zone_array(&registry->zone, array->count, sizeof *copies);
    if (!copies) {
        weir__plugin_refuse(plugin, "no memory for the attributes of operator %s", made->name);
        plugin->starved = true;
        return false;
    }
    for (uint32_t i = 0; i < array->count; i++) {
        memcpy(&copies[i], (const char *)array->data + (size_t)i * array->stride, sizeof *copies);
        bool sound = attribute_is_sound(&copies[i]);
        for (uint32_t j = 0; sound && j < i; j++)
            sound = strcmp(copies[i].name, copies[j].name) != 0;
        if (!sound) {
            weir__plugin_refuse(plugin,
                "operator %s: attribute %u of its table has no name, no type, no default values or "
                "the name of another",
                made->name, i);
            return false;
        }
        if (copies[i].type == WEIR_ATTR_STRING && !copies[i].s)
            copies[i].s = "";
    }
    made->attributes = copies;
    made->attribute_count = array->count;
    return true;
}

static bool check(weir__plugin_t *plugin, const weir__operator_t *made)
{
    const weir_operator_t *abi = &made->abi;
    if (is_onnx(abi->domain))
        weir__plugin_refuse(plugin, "operator %s: the domain %s is ONNX's; take one of your own",
            made->name, abi->domain);
    else if (!abi->revision || abi->revision > UINT16_MAX)
        weir__plugin_refuse(
            plugin, "operator %s: its revision %u is not 1 to 65535", made->name, abi->revision);
    else if (abi->min_inputs > abi->max_inputs || abi->max_inputs > WEIR__OPERATOR_TENSORS_MAX ||
             !abi->output_count || abi->output_count > WEIR__OPERATOR_TENSORS_MAX)
        weir__plugin_refuse(plugin,
            "operator %s: %u to %u inputs and %u outputs are not possible (at most %d, an output "
            "at least)",
            made->name, abi->min_inputs, abi->max_inputs, abi->output_count,
            WEIR__OPERATOR_TENSORS_MAX);
    else if (!abi->infer)
        weir__plugin_refuse(plugin, "operator %s: it has no infer()", made->name);
    else
        return true;
    return false;
}

static bool copy_one(
    weir__registry_t *registry, weir__plugin_t *plugin, const char *from, uint32_t index)
{
    weir__operator_t *made = &plugin->operators[index];
    uint32_t stride = plugin->abi.operators.stride;
    weir_head_t head;
    memcpy(&head, from, sizeof head);
    bool whole = head.size <= stride &&
                 weir__plugin_copy_sized(&made->abi, sizeof made->abi, from, head.size);
    if (!whole || !made->abi.domain || !made->abi.op || !is_name(made->abi.domain, "_.-") ||
        !is_name(made->abi.op, "_")) {
        weir__plugin_refuse(plugin, "operator %u of its table is malformed (size %u, stride %u)",
            index, head.size, stride);
        return false;
    }
    made->plugin = plugin;
    made->name = weir__zone_format(&registry->zone, "%s::%s", made->abi.domain, made->abi.op);
    if (!made->name) {
        weir__plugin_refuse(plugin, "no memory for its operators");
        plugin->starved = true;
        return false;
    }
    if (!check(plugin, made))
        return false;
    for (uint32_t i = 0; i < index; i++)
        if (plugin->operators[i].abi.revision == made->abi.revision &&
            strcmp(plugin->operators[i].name, made->name) == 0) {
            weir__plugin_refuse(plugin, "operator %s, revision %u, is in its table twice",
                made->name, made->abi.revision);
            return false;
        }
    return copy_attributes(registry, plugin, made);
}

bool weir__operators_copy(weir__registry_t *registry, weir__plugin_t *plugin)
{
    const weir_array_t *array = &plugin->abi.operators;
    if (!array->count)
        return true;
    if (!array->data || array->stride < sizeof(weir_head_t)) {
        weir__plugin_refuse(plugin, "its table of operators is malformed (%u at %s, stride %u)",
            array->count, array->data ? "some address" : "no address", array->stride);
        return false;
    }
    plugin->operators = weir__zone_array(&registry->zone, array->count, sizeof *plugin->operators);
    if (!plugin->operators) {
        weir__plugin_refuse(plugin, "no memory for its %u operators", array->count);
        plugin->starved = true;
        return false;
    }
    for (uint32_t i = 0; i < array->count; i++)
        if (!copy_one(registry, plugin, (const char *)array->data + (size_t)i * array->stride, i))
            return false;
    plugin->operator_count = array->count;
    return true;
}

// ---- Between plugins ---------------------------------------------------------------------------

static bool says_the_same(const weir__operator_t *a, const weir__operator_t *b)
{
    if (a->abi.min_inputs != b->abi.min_inputs || a->abi.max_inputs != b->abi.max_inputs ||
        a->abi.output_count != b->abi.output_count || a->attribute_count != b->attribute_count)
        return false;
    for (uint32_t i = 0; i < a->attribute_count; i++)
        if (!weir__attribute_same(&a->attributes[i], &b->attributes[i]))
            return false;
    return true;
}

// The operator of an earlier plugin that contradicts one of `plugin`, or NULL.
static const weir__operator_t *contradiction(
    const weir__registry_t *registry, const weir__plugin_t *plugin)
{
    for (uint32_t p = 0; p < registry->plugin_count && registry->plugins[p] != plugin; p++) {
        const weir__plugin_t *earlier = registry->plugins[p];
        for (uint32_t i = 0; earlier->usable && i < earlier->operator_count; i++)
            for (uint32_t j = 0; j < plugin->operator_count; j++) {
                const weir__operator_t *a = &earlier->operators[i], *b = &plugin->operators[j];
                if (a->abi.revision == b->abi.revision && strcmp(a->name, b->name) == 0 &&
                    !says_the_same(a, b))
                    return a;
            }
    }
    return NULL;
}

void weir__operators_settle(weir__registry_t *registry)
{
    for (uint32_t p = 0; p < registry->plugin_count; p++) {
        weir__plugin_t *plugin = registry->plugins[p];
        const weir__operator_t *other = plugin->usable ? contradiction(registry, plugin) : NULL;
        if (other)
            weir__plugin_refuse(plugin,
                "operator %s, revision %u: plugin \"%s\" declares it otherwise", other->name,
                other->abi.revision, other->plugin->name);
    }
}

const weir__operator_t *weir__operator_find(const weir__registry_t *registry, const char *domain,
    const char *op, int64_t version, uint32_t *out_lowest)
{
    const weir__operator_t *found = NULL;
    uint32_t lowest = 0;
    for (uint32_t p = 0; p < registry->plugin_count; p++) {
        const weir__plugin_t *plugin = registry->plugins[p];
        for (uint32_t i = 0; plugin->usable && i < plugin->operator_count; i++) {
            const weir__operator_t *at = &plugin->operators[i];
            if (strcmp(at->abi.op, op) != 0 || strcmp(at->abi.domain, domain) != 0)
                continue;
            if (!lowest || at->abi.revision < lowest)
                lowest = at->abi.revision;
            if (at->abi.revision <= version && (!found || at->abi.revision > found->abi.revision))
                found = at;
        }
    }
    *out_lowest = lowest;
    return found;
}
