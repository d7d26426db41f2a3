// `weir inspect` for people. It must show the same facts as inspect_json.c.
#include <inttypes.h>
#include <stdio.h>

#include "engine/cli/inspect.h"
#include "engine/cli/ports.h"
#include "engine/cli/text.h"

static void fact(weir__cli_table_t *table, const char *name, const char *value)
{
    weir__cli_table_add(table, name);
    weir__cli_table_add(table, value);
}

static void print_facts(const char *path, const weir__cli_chain_t *chain)
{
    weir_model_info_t info = {.size = sizeof(info)};
    weir_model_describe(chain->model, &info);
    uint64_t now_bytes = 0, peak_bytes = 0;
    weir_engine_memory(chain->engine, &now_bytes, &peak_bytes);
    char text[512];
    weir__cli_table_t table = weir__cli_table_start(2);
    fact(&table, "model", path);
    (void)snprintf(text, sizeof(text), "%s  (%s, IR %" PRId64 ", opset %" PRId64 ")", info.name,
        *info.producer ? info.producer : "no producer named", info.ir_version, info.opset);
    fact(&table, "graph", text);
    fact(&table, "file", weir__cli_text_bytes(info.file_bytes).text);
    fact(&table, "digest", info.digest);
    (void)snprintf(text, sizeof(text), "%" PRIu64 " in the file, %" PRIu64 " after simplification",
        info.file_node_count, info.node_count);
    fact(&table, "nodes", text);
    (void)snprintf(text, sizeof(text), "%" PRIu64 " (%s), of which %s computed at load",
        info.parameter_count, weir__cli_text_bytes(info.parameter_bytes).text,
        weir__cli_text_bytes(info.folded_bytes).text);
    fact(&table, "parameters", text);
    (void)snprintf(text, sizeof(text), "%s held, %s at most", weir__cli_text_bytes(now_bytes).text,
        weir__cli_text_bytes(peak_bytes).text);
    fact(&table, "memory", text);
    (void)snprintf(text, sizeof(text), "%s%s", weir__cli_text_ns(info.load_ns).text,
        info.from_cache ? ", from the cache" : "");
    fact(&table, "loaded in", text);
    weir__cli_table_finish(&table, 0, stdout);
}

static weir_code_t print_ports(const weir_model_t *model, weir__cli_fault_t *fault)
{
    weir__cli_table_t table = weir__cli_table_start(3);
    weir_code_t code = WEIR_OK;
    const uint32_t input_count = weir_model_input_count(model);
    const uint32_t count = input_count + weir_model_output_count(model);
    for (uint32_t i = 0; i < count && code == WEIR_OK; i++) {
        const bool is_input = i < input_count;
        weir_port_t port = {0};
        code = weir__cli_chain_take(is_input ? weir_model_input(model, i, &port)
                                             : weir_model_output(model, i - input_count, &port),
            fault);
        if (code != WEIR_OK)
            break;
        weir__cli_table_add(&table, is_input ? "input" : "output");
        weir__cli_table_add(&table, port.name);
        weir__cli_table_add(&table, weir__cli_port_type(&port).text);
    }
    (void)putchar('\n');
    weir__cli_table_finish(&table, 0, stdout);
    return code;
}

typedef int (*tally_fn)(const weir_model_t *model, uint32_t index, weir_tally_t *out_tally);

static void print_tallies(const weir_model_t *model, tally_fn next, const char *title)
{
    weir_tally_t tally = {0};
    weir__cli_table_t table = weir__cli_table_start(2);
    uint32_t count = 0;
    for (; next(model, count, &tally); count++) {
        weir__cli_table_add(&table, weir__cli_text_u64(tally.count).text);
        weir__cli_table_add(&table, tally.name);
    }
    (void)printf("\n%s%s\n", title, count ? "" : ": none");
    weir__cli_table_finish(&table, 2, stdout);
}

static void print_plan(const weir_plan_t *plan)
{
    weir_plan_info_t info = {.size = sizeof(info)};
    weir_plan_describe(plan, &info);
    weir_plan_node_t node = {.size = sizeof(node)};
    weir__cli_table_t table = weir__cli_table_start(6);
    static const char *const heads[] = {
        "operator", "device", "kernel", "fused", "ONNX nodes", "why"};
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        weir__cli_table_add(&table, heads[i]);
    for (uint32_t i = 0; weir_plan_node(plan, i, &node); i++) {
        char op[128];
        // Nodes inside an If are indented below it.
        (void)snprintf(op, sizeof(op), "%*s%s", (int)WEIR_MIN(node.depth, 16u) * 2, "", node.op);
        weir__cli_table_add(&table, op);
        weir__cli_table_add(&table, node.device);
        weir__cli_table_add(&table, node.kernel);
        weir__cli_table_add(&table, node.fused);
        weir__cli_table_add(&table, node.origins);
        weir__cli_table_add(&table, node.why);
        node.size = sizeof(node);
    }
    (void)printf("\nplan: %" PRIu32 " nodes, %" PRIu32
                 " of them on ref; %s of weights packed, %s of "
                 "them from the cache; made in %s\n",
        info.node_count, info.ref_node_count, weir__cli_text_bytes(info.packed_bytes).text,
        weir__cli_text_bytes(info.packed_cached_bytes).text,
        weir__cli_text_ns(info.create_ns).text);
    weir__cli_table_finish(&table, 2, stdout);
}

weir_code_t weir__cli_inspect_text(
    const char *path, const weir__cli_chain_t *chain, weir__cli_fault_t *fault)
{
    print_facts(path, chain);
    const weir_code_t code = print_ports(chain->model, fault);
    if (code != WEIR_OK)
        return code;
    print_tallies(chain->model, weir_model_operator, "operators");
    print_tallies(chain->model, weir_model_rewrite, "rewrites");
    if (chain->plan)
        print_plan(chain->plan);
    return WEIR_OK;
}
