// The parts of `weir explain`: what a plan knows, as a table, as JSON and as a drawing.
#ifndef WEIR_CLI_EXPLAIN_H
#define WEIR_CLI_EXPLAIN_H

#include <stdbool.h>
#include <stdio.h>

#include "engine/cli/chain.h"

// "Conv+Add+Relu", of a node of the plan.
const char *weir__cli_explain_operators(const weir_plan_node_t *node, char *text, size_t bytes);
// "measured", "claimed", "estimated"; "-" for none.
const char *weir__cli_explain_source(uint32_t cost_source);
// Did placement choose among devices for it? Views, sizes and control flow stay in the engine.
bool weir__cli_explain_is_placed(const weir_plan_t *plan, uint32_t index);

typedef struct weir__cli_explain_total {
    const char *device;
    uint64_t node_count, launch_count, cost_ns;
} weir__cli_explain_total_t;

enum { WEIR__CLI_EXPLAIN_DEVICES_MAX = 40 };

// What each device has to do, in the order in which they come; returns how many there are.
uint32_t weir__cli_explain_totals(
    const weir_plan_t *plan, weir__cli_explain_total_t out_totals[WEIR__CLI_EXPLAIN_DEVICES_MAX]);

void weir__cli_explain_text(const char *path, const weir_plan_t *plan);
void weir__cli_explain_json(const char *path, const weir_plan_t *plan);
// For graphviz: a box per node, a cluster per launch.
weir_code_t weir__cli_explain_dot(
    const char *file, const char *path, const weir_plan_t *plan, weir__cli_fault_t *fault);

#endif
