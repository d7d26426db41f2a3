// `weir explain` for programs: JSON, and a drawing for graphviz.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <weir/weir.h>

#include "engine/cli/explain.h"
#include "engine/cli/json.h"

enum { EXPLAIN_VERSION = 1 }; // of the JSON; fields may be added without a new one

// ---- JSON --------------------------------------------------------------------------------------

static void put_source(weir__cli_json_t *json, uint32_t cost_source)
{
    weir__cli_json_text(json, "cost_source",
        cost_source == WEIR_COST_NONE ? NULL : weir__cli_explain_source(cost_source));
}

static void put_candidates(weir__cli_json_t *json, const weir_plan_t *plan, uint32_t index)
{
    weir_plan_candidate_t candidate = {.size = sizeof(candidate)};
    weir__cli_json_open(json, "candidates", '[');
    for (uint32_t i = 0; weir_plan_candidate(plan, index, i, &candidate); i++) {
        weir__cli_json_open(json, NULL, '{');
        weir__cli_json_text(json, "device", candidate.device);
        weir__cli_json_bool(json, "chosen", candidate.is_chosen);
        weir__cli_json_bool(json, "able", !*candidate.reason);
        weir__cli_json_text(json, "reason", *candidate.reason ? candidate.reason : NULL);
        weir__cli_json_u64(json, "cost_ns", candidate.cost_ns);
        put_source(json, candidate.cost_source);
        weir__cli_json_bool(json, "last_resort", candidate.is_last);
        weir__cli_json_close(json, '}');
    }
    weir__cli_json_close(json, ']');
}

static void put_inputs(weir__cli_json_t *json, const weir_plan_t *plan, uint32_t index)
{
    weir_plan_input_t input = {.size = sizeof(input)};
    weir__cli_json_open(json, "inputs", '[');
    for (uint32_t i = 0; weir_plan_input(plan, index, i, &input); i++) {
        weir__cli_json_open(json, NULL, '{');
        weir__cli_json_text(json, "value", input.value);
        weir__cli_json_bool(json, "constant", input.is_constant);
        if (input.producer != UINT32_MAX)
            weir__cli_json_u64(json, "node", input.producer);
        weir__cli_json_close(json, '}');
    }
    weir__cli_json_close(json, ']');
}

static void put_node(
    weir__cli_json_t *json, const weir_plan_t *plan, uint32_t index, const weir_plan_node_t *node)
{
    weir__cli_json_open(json, NULL, '{');
    weir__cli_json_u64(json, "index", index);
    weir__cli_json_u64(json, "depth", node->depth);
    weir__cli_json_text(json, "origins", node->origins);
    weir__cli_json_text(json, "op", node->op);
    weir__cli_json_text(json, "fused", node->fused);
    weir__cli_json_text(json, "device", node->device);
    weir__cli_json_text(json, "kernel", node->kernel);
    weir__cli_json_u64(json, "cost_ns", node->cost_ns);
    put_source(json, node->cost_source);
    weir__cli_json_bool(json, "requested", node->is_requested);
    if (node->group != UINT32_MAX)
        weir__cli_json_u64(json, "group", node->group);
    if (node->slice != UINT32_MAX)
        weir__cli_json_u64(json, "slice", node->slice);
    put_inputs(json, plan, index);
    put_candidates(json, plan, index);
    weir__cli_json_close(json, '}');
}

static void put_cuts(weir__cli_json_t *json, const weir_plan_t *plan)
{
    weir_plan_cut_t cut = {.size = sizeof(cut)};
    weir__cli_json_open(json, "cuts", '[');
    for (uint32_t i = 0; weir_plan_cut(plan, i, &cut); i++) {
        weir__cli_json_open(json, NULL, '{');
        weir__cli_json_text(json, "value", cut.value);
        weir__cli_json_text(json, "from", cut.from);
        weir__cli_json_text(json, "to", cut.to);
        weir__cli_json_u64(json, "bytes", cut.bytes);
        weir__cli_json_u64(json, "cost_ns", cut.cost_ns);
        weir__cli_json_close(json, '}');
    }
    weir__cli_json_close(json, ']');
}

static void put_totals(weir__cli_json_t *json, const weir_plan_t *plan)
{
    weir__cli_explain_total_t totals[WEIR__CLI_EXPLAIN_DEVICES_MAX];
    const uint32_t count = weir__cli_explain_totals(plan, totals);
    weir__cli_json_open(json, "devices", '[');
    for (uint32_t i = 0; i < count; i++) {
        weir__cli_json_open(json, NULL, '{');
        weir__cli_json_text(json, "name", totals[i].device);
        weir__cli_json_u64(json, "node_count", totals[i].node_count);
        weir__cli_json_u64(json, "launch_count", totals[i].launch_count);
        weir__cli_json_u64(json, "cost_ns", totals[i].cost_ns);
        weir__cli_json_close(json, '}');
    }
    weir__cli_json_close(json, ']');
}

void weir__cli_explain_json(const char *path, const weir_plan_t *plan)
{
    weir__cli_json_t json = {.out = stdout};
    weir_plan_node_t node = {.size = sizeof(node)};
    weir__cli_json_open(&json, NULL, '{');
    weir__cli_json_u64(&json, "explain_version", EXPLAIN_VERSION);
    weir__cli_json_text(&json, "model", path);
    weir__cli_json_text(&json, "version", weir_version());
    weir__cli_json_open(&json, "nodes", '[');
    for (uint32_t i = 0; weir_plan_node(plan, i, &node); i++)
        put_node(&json, plan, i, &node);
    weir__cli_json_close(&json, ']');
    put_totals(&json, plan);
    put_cuts(&json, plan);
    weir__cli_json_close(&json, '}');
    (void)putchar('\n');
}

// ---- Graphviz ----------------------------------------------------------------------------------

// A quoted string of DOT: https://graphviz.org/doc/info/lang.html
static void put_quoted(FILE *out, const char *text)
{
    (void)fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            (void)fputc('\\', out);
        if (*text == '\n')
            (void)fputs("\\n", out);
        else
            (void)fputc((unsigned char)*text < ' ' ? ' ' : *text, out);
    }
    (void)fputc('"', out);
}

// Devices get colours in the order in which they come.
static const char *colour_of(
    const weir__cli_explain_total_t *totals, uint32_t count, const char *device)
{
    static const char *const colours[] = {
        "lightblue", "palegreen", "orange", "plum", "khaki", "lightpink"};
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(totals[i].device, device) == 0)
            return colours[i % (sizeof(colours) / sizeof(colours[0]))];
    return "white";
}

static void draw_nodes(FILE *out, const weir_plan_t *plan)
{
    weir__cli_explain_total_t totals[WEIR__CLI_EXPLAIN_DEVICES_MAX];
    const uint32_t count = weir__cli_explain_totals(plan, totals);
    weir_plan_node_t node = {.size = sizeof(node)};
    uint32_t slice = UINT32_MAX;
    for (uint32_t i = 0; weir_plan_node(plan, i, &node); i++) {
        char label[512], operators[256];
        if (slice != UINT32_MAX && node.slice != slice)
            (void)fputs("    }\n", out);
        if (node.slice != UINT32_MAX && node.slice != slice) {
            (void)fprintf(out, "    subgraph cluster_%" PRIu32 " {\n        label=", node.slice);
            (void)snprintf(label, sizeof(label), "launch on %s", node.device);
            put_quoted(out, label);
            (void)fputc('\n', out);
        }
        slice = node.slice;
        (void)snprintf(label, sizeof(label), "%s\n%.60s\n%s",
            weir__cli_explain_operators(&node, operators, sizeof(operators)), node.origins,
            node.device);
        (void)fprintf(out, "    n%" PRIu32 " [fillcolor=%s, label=", i,
            colour_of(totals, count, node.device));
        put_quoted(out, label);
        (void)fputs("]\n", out);
    }
    if (slice != UINT32_MAX)
        (void)fputs("    }\n", out);
}

static void draw_edges(FILE *out, const weir_plan_t *plan)
{
    weir_plan_node_t node = {.size = sizeof(node)};
    weir_plan_input_t input = {.size = sizeof(input)};
    for (uint32_t i = 0; weir_plan_node(plan, i, &node); i++)
        for (uint32_t j = 0; weir_plan_input(plan, i, j, &input); j++) {
            if (input.producer == UINT32_MAX)
                continue;
            (void)fprintf(out, "    n%" PRIu32 " -> n%" PRIu32 " [tooltip=", input.producer, i);
            put_quoted(out, input.value);
            (void)fputs("]\n", out);
        }
}

weir_code_t weir__cli_explain_dot(
    const char *file, const char *path, const weir_plan_t *plan, weir__cli_fault_t *fault)
{
    FILE *out = fopen(file, "w");
    if (out) {
        (void)fputs("digraph ", out);
        put_quoted(out, path);
        (void)fputs(" {\n    node [shape=box, style=filled, fontname=sans]\n", out);
        draw_nodes(out, plan);
        draw_edges(out, plan);
        (void)fputs("}\n", out);
        if (!ferror(out) && fclose(out) == 0)
            return WEIR_OK;
    }
    const int error = errno;
    return weir__cli_fault_set(fault, weir__cli_fault_errno_code(error),
        "the drawing %s cannot be written: %s; choose another file with --dot", file,
        strerror(error));
}
