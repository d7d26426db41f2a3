// tests/fuzz/fuzz_reader.c: bytes -> graph, unchecked.
#include "tests/fuzz/fuzz.h"

#include "engine/onnx/onnx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    weir__heap_t heap;
    weir__graph_t *graph;
    weir__onnx_info_t info;
    weir_limits_t limits;
    weir_limits_default(&limits);
    weir__heap_init(&heap, NULL, 64u << 20);
    weir_status_t status = weir__graph_create(&heap, &limits, &graph);
    if (!status) {
        status = weir__onnx_read(data, bytes, "fuzz", graph, &info);
        fuzz_plant(!status && graph->node_count == 3, data, bytes);
        weir__graph_free(graph);
    }
    weir_status_free(status);
    return 0;
}
