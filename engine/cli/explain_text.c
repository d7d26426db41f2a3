// `weir explain` for people, and what its three forms share. It must show the same facts as
// explain_json.c.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/cli/explain.h"
#include "engine/cli/text.h"

// ---- What the three forms share ----------------------------------------------------------------

const char *weir__cli_explain_operators(const weir_plan_node_t *node, char *text, size_t bytes)
{
    const bool is_group = strcmp(node->op, "Pointwise") == 0 && *node->fused;
    (void)snprintf(text, bytes, "%s%s%s", is_group ? "" : node->op,
        !is_group && *node->fused ? "+" : "", node->fused);
    return text;
}

const char *weir__cli_explain_source(uint32_t cost_source)
{
    static const char *const names[] = {"-", "estimated", "claimed", "measured"};
    return cost_source < sizeof(names) / sizeof(names[0]) ? names[cost_source] : names[0];
}

bool weir__cli_explain_is_placed(const weir_plan_t *plan, uint32_t index)
{
    weir_plan_candidate_t candidate = {.size = sizeof(candidate)};
    return weir_plan_candidate(plan, index, 0, &candidate) == 1;
}

uint32_t weir__cli_explain_totals(
    const weir_plan_t *plan, weir__cli_explain_total_t out_totals[WEIR__CLI_EXPLAIN_DEVICES_MAX])
{
    uint32_t count = 0, launch = UINT32_MAX;
    weir_plan_node_t node = {.size = sizeof(node)};
    for (uint32_t i = 0; weir_plan_node(plan, i, &node); i++) {
        uint32_t at = 0;
        if (strcmp(node.device, "engine") == 0)
            continue;
        while (at < count && strcmp(out_totals[at].device, node.device) != 0)
            at++;
        if (at == WEIR__CLI_EXPLAIN_DEVICES_MAX)
            continue;
        if (at == count)
            out_totals[count++] = (weir__cli_explain_total_t){.device = node.device};
        out_totals[at].node_count++;
        out_totals[at].cost_ns += node.cost_ns;
        out_totals[at].launch_count += node.slice != UINT32_MAX && node.slice != launch;
        launch = node.slice;
    }
    return count;
}

// ---- Text --------------------------------------------------------------------------------------

// "mine: has no kernel for Conv; ref: would cost 4 us, and comes last".
static void why_not(
    const weir_plan_t *plan, uint32_t index, uint32_t source, char *text, size_t bytes)
{
    weir_plan_candidate_t candidate = {.size = sizeof(candidate)};
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; weir_plan_candidate(plan, index, i, &candidate) && used < bytes; i++) {
        if (candidate.is_chosen)
            continue;
        const char *between = used ? "; " : "";
        if (*candidate.reason)
            used += (size_t)snprintf(
                text + used, bytes - used, "%s%s: %s", between, candidate.device, candidate.reason);
        else
            used += (size_t)snprintf(text + used, bytes - used, "%s%s: would cost %s%s%s%s",
                between, candidate.device, weir__cli_text_ns(candidate.cost_ns).text,
                candidate.cost_source == source ? "" : " ",
                candidate.cost_source == source ? ""
                                                : weir__cli_explain_source(candidate.cost_source),
                candidate.is_last ? ", is the last resort" : "");
    }
}

// A name made of the names of fifty nodes does not fit a line.
static void add_short(weir__cli_table_t *table, const char *name, size_t most)
{
    char text[64];
    if (strlen(name) > most) {
        (void)snprintf(text, sizeof(text), "%.*s..", (int)most - 2, name);
        name = text;
    }
    weir__cli_table_add(table, name);
}

static uint32_t print_nodes(const weir_plan_t *plan)
{
    static const char *const titles[] = {
        "node", "operators", "device", "cost", "is", "why not elsewhere"};
    weir__cli_table_t table = weir__cli_table_start(6);
    weir_plan_node_t node = {.size = sizeof(node)};
    uint32_t others = 0;
    for (size_t i = 0; i < 6; i++)
        weir__cli_table_add(&table, titles[i]);
    for (uint32_t i = 0; weir_plan_node(plan, i, &node); i++) {
        char operators[256], why[2048];
        if (!weir__cli_explain_is_placed(plan, i)) {
            others++;
            continue;
        }
        why_not(plan, i, node.cost_source, why, sizeof(why));
        add_short(&table, node.origins, 40);
        add_short(&table, weir__cli_explain_operators(&node, operators, sizeof(operators)), 40);
        weir__cli_table_add(&table, node.device);
        weir__cli_table_add(&table, weir__cli_text_ns(node.cost_ns).text);
        (void)snprintf(operators, sizeof(operators), "%s%s",
            weir__cli_explain_source(node.cost_source), node.is_requested ? ", requested" : "");
        weir__cli_table_add(&table, operators);
        weir__cli_table_add(&table, why);
    }
    weir__cli_table_finish(&table, 0, stdout);
    return others;
}

static void print_totals(const weir_plan_t *plan)
{
    weir__cli_explain_total_t totals[WEIR__CLI_EXPLAIN_DEVICES_MAX];
    const uint32_t count = weir__cli_explain_totals(plan, totals);
    weir__cli_table_t table = weir__cli_table_start(4);
    static const char *const titles[] = {"device", "nodes", "launches", "cost"};
    for (size_t i = 0; i < 4; i++)
        weir__cli_table_add(&table, titles[i]);
    for (uint32_t i = 0; i < count; i++) {
        weir__cli_table_add(&table, totals[i].device);
        weir__cli_table_add(&table, weir__cli_text_u64(totals[i].node_count).text);
        weir__cli_table_add(&table, weir__cli_text_u64(totals[i].launch_count).text);
        weir__cli_table_add(&table, weir__cli_text_ns(totals[i].cost_ns).text);
    }
    (void)putchar('\n');
    weir__cli_table_finish(&table, 0, stdout);
}

static void print_cuts(const weir_plan_t *plan)
{
    weir_plan_cut_t cut = {.size = sizeof(cut)};
    uint64_t bytes = 0, cost_ns = 0;
    uint32_t count = 0;
    weir__cli_table_t table = weir__cli_table_start(5);
    static const char *const titles[] = {"cut", "from", "to", "bytes", "copy"};
    for (size_t i = 0; i < 5; i++)
        weir__cli_table_add(&table, titles[i]);
    for (; weir_plan_cut(plan, count, &cut); count++) {
        add_short(&table, cut.value, 40);
        weir__cli_table_add(&table, cut.from);
        weir__cli_table_add(&table, cut.to);
        weir__cli_table_add(&table, weir__cli_text_u64(cut.bytes).text);
        weir__cli_table_add(
            &table, cut.cost_ns ? weir__cli_text_ns(cut.cost_ns).text : "none, one memory");
        bytes += cut.bytes;
        cost_ns += cut.cost_ns;
    }
    if (count)
        (void)putchar('\n');
    else
        table.cell_count = 0;
    weir__cli_table_finish(&table, 0, stdout);
    (void)printf("\n%" PRIu32 " cuts of %" PRIu64 " bytes, %s of copies", count, bytes,
        weir__cli_text_ns(cost_ns).text);
}

void weir__cli_explain_text(const char *path, const weir_plan_t *plan)
{
    char safe[512];
    const uint32_t others = print_nodes(plan);
    print_totals(plan);
    print_cuts(plan);
    (void)printf("; %" PRIu32 " views, sizes and changes of format are not placed\n%s: costs are "
                 "of a run with 1 for an open first axis and 128 for other open sizes\n",
        others, weir__cli_text_safe(path, safe, sizeof(safe)));
}
