// engine/plugin/options.h: options for plugins, "cpu.isa=avx2,cpu.tile=12".
#ifndef WEIR_PLUGIN_OPTIONS_H
#define WEIR_PLUGIN_OPTIONS_H

#include "engine/plugin/registry.h"

// Parses `text` (NULL: nothing), checks each option against what its plugin declares (an unknown
// one is an error that names the nearest), and hands every plugin its values, defaults filled in.
weir_status_t weir__options_apply(weir__registry_t *registry, const char *text);

#endif
