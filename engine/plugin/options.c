// engine/plugin/options.c: see options.h.
#include "engine/plugin/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 64

static bool read_option(const weir__plugin_t *plugin, uint32_t index, weir_option_t *out_option)
{
    const weir_array_t *array = &plugin->abi.options;
    if (index >= array->count)
        return false;
    weir_head_t head; // checked at the handshake
    const char *from = (const char *)array->data + (size_t)index * array->stride;
    memcpy(&head, from, sizeof head);
    memset(out_option, 0, sizeof *out_option);
    memcpy(out_option, from, WEIR_MIN((size_t)head.size, sizeof *out_option));
    return true;
}

// Levenshtein distance of two short names.
static uint32_t distance(const char *a, const char *b)
{
    uint32_t row[NAME_MAX_BYTES + 1];
    size_t columns = strnlen(b, NAME_MAX_BYTES);
    for (size_t j = 0; j <= columns; j++)
        row[j] = (uint32_t)j;
    for (size_t i = 0; a[i] && i < NAME_MAX_BYTES; i++) {
        uint32_t diagonal = row[0];
        row[0] = (uint32_t)i + 1;
        for (size_t j = 0; j < columns; j++) {
            uint32_t replaced = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = WEIR_MIN(replaced, WEIR_MIN(row[j], row[j + 1]) + 1);
        }
    }
    return row[columns];
}

static weir_status_t unknown(const weir__plugin_t *plugin, const char *name)
{
    const char *nearest = NULL;
    uint32_t best = UINT32_MAX;
    weir_option_t option;
    for (uint32_t i = 0; read_option(plugin, i, &option); i++)
        if (distance(name, option.name) < best) {
            best = distance(name, option.name);
            nearest = option.name;
        }
    if (!nearest)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "plugin \"%s\" has no option \"%s\": it has none at all; leave it out", plugin->name,
            name);
    return WEIR_ERR(WEIR_INVALID_ARGUMENT,
        "plugin \"%s\" has no option \"%s\": did you mean \"%s.%s\"?", plugin->name, name,
        plugin->name, nearest);
}

static weir_status_t check_value(
    const weir__plugin_t *plugin, const weir_option_t *option, const char *value)
{
    char *end = NULL;
    long long number = 0;
    switch (option->type) {
    case WEIR_OPTION_INT:
        number = strtoll(value, &end, 10);
        if (!*value || *end || number < option->min || number > option->max)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT,
                "option %s.%s=%s: expected a number from %lld to %lld", plugin->name, option->name,
                value, (long long)option->min, (long long)option->max);
        return NULL;
    case WEIR_OPTION_BOOL:
        if (strcmp(value, "0") && strcmp(value, "1"))
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "option %s.%s=%s: expected 0 or 1", plugin->name,
                option->name, value);
        return NULL;
    default:
        return NULL;
    }
}

// The values of one plugin start as its defaults.
static weir_status_t set_defaults(weir__registry_t *registry, weir__plugin_t *plugin)
{
    const char **options =
        weir__zone_array(&registry->zone, 2ull * plugin->abi.options.count + 1, sizeof *options);
    if (!options)
        return weir__status_no_memory();
    weir_option_t option;
    for (uint32_t i = 0; read_option(plugin, i, &option); i++) {
        options[2 * i] = option.name;
        options[2 * i + 1] = option.default_value ? option.default_value : "";
    }
    plugin->host.options = options;
    return NULL;
}

static weir_status_t no_such_plugin(
    const weir__registry_t *registry, const char *plugin_name, const char *option_name)
{
    char names[256] = "";
    for (uint32_t i = 0; i < registry->plugin_count; i++) {
        const weir__plugin_t *plugin = registry->plugins[i];
        if (!plugin->usable && strcmp(plugin->name, plugin_name) == 0)
            return WEIR_ERR(WEIR_UNAVAILABLE,
                "option %s.%s: the plugin cannot be used: %s (%s); leave the option out",
                plugin_name, option_name, plugin->reason, plugin->path);
        if (plugin->usable)
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s",
                names[0] ? ", " : "", plugin->name);
    }
    return WEIR_ERR(WEIR_NOT_FOUND,
        "option %s.%s: no plugin named \"%s\" was loaded (there are: %s); leave the option out or "
        "put weir_%s.so on WEIR_PLUGIN_PATH",
        plugin_name, option_name, plugin_name, names, plugin_name);
}

static weir_status_t apply_one(weir__registry_t *registry, char *text)
{
    char *dot = strchr(text, '.'), *equals = strchr(text, '=');
    if (!dot || !equals || dot > equals)
        return WEIR_ERR(
            WEIR_INVALID_ARGUMENT, "plugin option \"%s\": write it as plugin.option=value", text);
    *dot = *equals = '\0';
    const char *name = dot + 1, *value = equals + 1;
    for (uint32_t i = 0; i < registry->plugin_count; i++) {
        weir__plugin_t *plugin = registry->plugins[i];
        if (!plugin->usable || strcmp(plugin->name, text) != 0)
            continue;
        weir_option_t option;
        for (uint32_t j = 0; read_option(plugin, j, &option); j++)
            if (strcmp(option.name, name) == 0) {
                WEIR_TRY(check_value(plugin, &option, value));
                ((const char **)(uintptr_t)plugin->host.options)[2 * j + 1] = value;
                return NULL;
            }
        return unknown(plugin, name);
    }
    return no_such_plugin(registry, text, name);
}

weir_status_t weir__options_apply(weir__registry_t *registry, const char *text)
{
    for (uint32_t i = 0; i < registry->plugin_count; i++)
        if (registry->plugins[i]->usable)
            WEIR_TRY(set_defaults(registry, registry->plugins[i]));
    while (text && *text) {
        size_t length = strcspn(text, ",");
        char *one = weir__zone_string(&registry->zone, text, length);
        if (!one)
            return weir__status_no_memory();
        if (length)
            WEIR_TRY(apply_one(registry, one));
        text += length + (text[length] == ',');
    }
    return NULL;
}
