// engine/api/limits.c: the defaults: generous for any model that fits a large machine, finite for a
// hostile one.
#include "engine/api/objects.h"

#include <string.h>

#define GiB (1ull << 30)

void weir_limits_default(weir_limits_t *out_limits)
{
    *out_limits = (weir_limits_t){
        .size = sizeof *out_limits,
        .rank = WEIR_RANK_MAX,
        .file_bytes = 16 * GiB,
        .external_bytes = 256 * GiB,
        .nodes = 1000000,
        .values = 4000000,
        .initializers = 1000000,
        .attributes = 1000,
        .name_bytes = 4096,
        .tensor_bytes = 64 * GiB,
        .subgraph_depth = 32,
        .wire_depth = 100,
        .fold_node_bytes = 1 * GiB,
        .fold_total_bytes = 4 * GiB,
        .graph_bytes = 1 * GiB,
        .peak_bytes = 1024 * GiB,
        .arena_bytes = 64 * GiB,
        .load_ns = 600000000000ull, // ten minutes
        .function_nodes = 10000,
        .operands = 8192,
    };
}

#define FILL(field) (out_limits->field = given.field ? given.field : out_limits->field)

void weir__limits_fill(const weir_limits_t *limits, weir_limits_t *out_limits)
{
    weir_limits_default(out_limits);
    if (!limits)
        return;
    weir_limits_t given = {.size = 0};
    memcpy(&given, limits, WEIR_MIN(limits->size, sizeof given));
    FILL(rank);
    FILL(file_bytes);
    FILL(external_bytes);
    FILL(nodes);
    FILL(values);
    FILL(initializers);
    FILL(attributes);
    FILL(name_bytes);
    FILL(tensor_bytes);
    FILL(subgraph_depth);
    FILL(wire_depth);
    FILL(fold_node_bytes);
    FILL(fold_total_bytes);
    FILL(graph_bytes);
    FILL(peak_bytes);
    FILL(arena_bytes);
    FILL(load_ns);
    FILL(function_nodes);
    FILL(operands);
    out_limits->rank = WEIR_MIN(out_limits->rank, WEIR_RANK_MAX);
}
