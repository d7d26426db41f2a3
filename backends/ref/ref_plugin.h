// backends/ref/ref_plugin.h: the reference backend, an L0 plugin that lies inside libweir.
//
// What: the table of the reference kernels (kernels/ref) as a plugin, and a way to run one node at
// once. Not:  anything that the engine could not do with any other plugin, but for weir_ref_run.
#ifndef WEIR_BACKENDS_REF_PLUGIN_H
#define WEIR_BACKENDS_REF_PLUGIN_H

#include <weir/plugin.h>

// The plugin's table. Static: the same for every engine, never freed. [A]
const weir_plugin_t *weir_ref_plugin(const weir_host_t *host);

// Runs one node to its end on the calling thread: constant folding and shape arithmetic.
// Shapes:  every dim is known, inputs and outputs have their data.
// Errors:  what supports(), prepare() and run() give, with the reason in error[error_bytes]
//          (error may be NULL when error_bytes is 0). Outputs are then undefined.
// Cost:    no allocation while the kernel's scratch is small (4 KiB); host->alloc otherwise.
// Threads: any. [A]
weir_code_t weir_ref_run(
    const weir_host_t *host, const weir_node_t *node, char *error, uint32_t error_bytes);

#endif
