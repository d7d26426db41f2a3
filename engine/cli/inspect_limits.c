// `weir inspect --limits`: what a model may cost before it is refused, as text or JSON.
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <weir/weir.h>

#include "engine/cli/inspect.h"
#include "engine/cli/json.h"

typedef struct row {
    const char *name;
    size_t offset, bytes;
    const char *text;
} row_t;

#define ROW(field, text)                                                                           \
    {                                                                                              \
#field, offsetof(weir_limits_t, field), sizeof(((weir_limits_t *)0)->field), text          \
    }
static const row_t rows[] = {
    ROW(rank, "dims of any tensor"),
    ROW(file_bytes, "of the model file"),
    ROW(external_bytes, "of all external data together"),
    ROW(nodes, "in all graphs of the model together"),
    ROW(values, "names of tensors"),
    ROW(initializers, "constants in the file"),
    ROW(attributes, "of one node"),
    ROW(operands, "inputs of a node or of the model; outputs likewise"),
    ROW(name_bytes, "of any one name"),
    ROW(tensor_bytes, "of any one tensor"),
    ROW(subgraph_depth, "sub-graphs in sub-graphs; calls of functions in calls"),
    ROW(function_nodes, "that calls of functions put in place"),
    ROW(wire_depth, "messages in messages of the file"),
    ROW(fold_node_bytes, "output of one node evaluated at load"),
    ROW(fold_total_bytes, "outputs of all nodes evaluated at load"),
    ROW(graph_bytes, "memory of the graph, without weights"),
    ROW(peak_bytes, "memory of the engine in all"),
    ROW(arena_bytes, "memory of one session"),
    ROW(load_ns, "time a load may take"),
};
#define ROW_COUNT (sizeof rows / sizeof rows[0])

static uint64_t value_of(const weir_limits_t *limits, const row_t *row)
{
    uint64_t value = 0;
    memcpy(&value, (const char *)limits + row->offset, row->bytes); // little-endian
    return value;
}

void weir__cli_inspect_limits(bool is_json)
{
    weir_limits_t limits;
    weir_limits_default(&limits);
    if (!is_json) {
        (void)printf("%-18s %20s\n", "limit", "default");
        for (size_t i = 0; i < ROW_COUNT; i++)
            printf("%-18s %20" PRIu64 "  %s\n", rows[i].name, value_of(&limits, &rows[i]),
                rows[i].text);
        return;
    }
    weir__cli_json_t json = {.out = stdout};
    weir__cli_json_open(&json, NULL, '{');
    for (size_t i = 0; i < ROW_COUNT; i++)
        weir__cli_json_u64(&json, rows[i].name, value_of(&limits, &rows[i]));
    weir__cli_json_close(&json, '}');
    (void)putchar('\n');
}
