// tests/fuzz/fuzz_plan.c: read, check, fold, rewrite, place, fuse, pack, for the CPU's plugin.
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    // The environment can name an uninstrumented plugin, which takes less time to build.
    weir_engine_t *engine = fuzz_engine(getenv("WEIR_PLUGIN_PATH") ? NULL : WEIR_FUZZ_PLUGINS);
    weir_model_t *model = NULL;
    weir_plan_t *plan = NULL;
    weir_status_t status = weir_model_load_bytes(engine, data, bytes, NULL, &model);
    if (!status)
        status = weir_plan_create(model, NULL, &plan);
    weir_plan_node_t node = {.size = sizeof node};
    uint32_t count = 0;
    while (!status && weir_plan_node(plan, count, &node))
        count++;
    fuzz_plant(!status && count == 2, data, bytes);
    weir_status_free(status);
    weir_plan_free(plan);
    weir_model_free(model);
    return 0;
}
