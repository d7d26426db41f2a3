// engine/graph/build.h: memory and small tools that the graph's own files share.
//
// Only engine/graph includes this; the rest of the engine sees graph.h.
#ifndef WEIR_GRAPH_BUILD_H
#define WEIR_GRAPH_BUILD_H

#include "engine/graph/graph.h"

// A zeroed array in the graph's zone. Failing, NULL and *out_status says whether the limit
// graph_bytes or the machine's memory is spent.
void *weir__graph_array(
    weir__graph_t *graph, uint64_t count, uint64_t bytes, weir_status_t *out_status);

// Appends `number` to a list that lives in the zone.
weir_status_t weir__graph_append(
    weir__graph_t *graph, uint32_t **list, uint32_t *count, uint32_t *capacity, uint32_t number);

// Deep copies of attributes in the graph's zone.
weir_status_t weir__graph_copy_attributes(weir__graph_t *graph, const weir_attribute_t *attributes,
    uint32_t count, const weir_attribute_t **out_copies);

// Element `index` of a constant whose bytes are there; data may be unaligned.
int64_t weir__tensor_int(const weir__tensor_t *tensor, uint64_t index);
double weir__tensor_float(const weir__tensor_t *tensor, uint64_t index);

// Whether the bytes can be read now.
static inline bool weir__tensor_ready(const weir__tensor_t *tensor)
{
    return tensor && (tensor->data || tensor->count == 0);
}

#endif
