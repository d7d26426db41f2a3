// tests/fuzz/common.c: see fuzz.h.
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>

weir_engine_t *fuzz_engine(const char *plugins)
{
    static weir_engine_t *engine; // lives as long as the process, as the fuzzer does
    // Small enough that no operator on plain C kernels takes long.
    weir_limits_t limits = {.size = sizeof limits,
        .tensor_bytes = 1u << 20,
        .fold_node_bytes = 1u << 16,
        .fold_total_bytes = 1u << 20,
        .graph_bytes = 32u << 20,
        .peak_bytes = 256u << 20,
        .arena_bytes = 1u << 16};
    weir_engine_options_t options = {.size = sizeof options,
        .threads = 1,
        .cache_dir = "",
        .plugin_path = plugins,
        .limits = &limits};
    if (engine)
        return engine;
    weir_status_t status = weir_engine_create(&options, &engine);
    if (!status)
        return engine;
    fprintf(stderr, "%s\n", weir_status_text(status));
    exit(2);
}

void fuzz_plant(int reached, const uint8_t *data, size_t bytes)
{
#ifdef WEIR_FUZZ_PLANT
    if (reached && *(const volatile uint8_t *)(data + bytes) == 1)
        fputs("", stderr);
#else
    (void)reached;
    (void)data;
    (void)bytes;
#endif
}
