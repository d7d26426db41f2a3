// tests/kernels/ref_probe.c: the reference backend as a shared object that a script can call.
//
// What: runs one node through the plugin's table the hard way: each task in a call of its own, in a
//       shuffled order, with scratch that is poisoned before each task; and through weir_ref_run.
// Not:  part of the product.
#include "tests/kernels/ref_host.h"

#include <string.h>

// Runs `node` by its kernel's tasks in an order drawn from `seed`. Returns a weir_code_t.
WEIR_PLUGIN_EXPORT int32_t probe_run_tasks(
    const weir_node_t *node, uint64_t seed, char *error, uint32_t error_bytes)
{
    return ref_host_run_tasks(node, seed, error, error_bytes);
}

// Runs `node` at once.
WEIR_PLUGIN_EXPORT int32_t probe_run(const weir_node_t *node, char *error, uint32_t error_bytes)
{
    weir_host_t host = ref_host();
    return weir_ref_run(&host, node, error, error_bytes);
}
