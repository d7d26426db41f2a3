// `weir inspect --json`. It must show the same facts as inspect_text.c. Absent facts are null.
#include <stdio.h>

#include "engine/cli/inspect.h"
#include "engine/cli/json.h"
#include "engine/cli/ports.h"

typedef int (*tally_fn)(const weir_model_t *model, uint32_t index, weir_tally_t *out_tally);

static void put_facts(const char *path, const weir__cli_chain_t *chain, weir__cli_json_t *json)
{
    weir_model_info_t info = {.size = sizeof(info)};
    weir_model_describe(chain->model, &info);
    uint64_t now_bytes = 0, peak_bytes = 0;
    weir_engine_memory(chain->engine, &now_bytes, &peak_bytes);
    weir__cli_json_text(json, "model", path);
    weir__cli_json_text(json, "graph", info.name);
    weir__cli_json_text(json, "producer", *info.producer ? info.producer : NULL);
    weir__cli_json_i64(json, "ir_version", info.ir_version);
    weir__cli_json_i64(json, "opset", info.opset);
    weir__cli_json_u64(json, "file_bytes", info.file_bytes);
    weir__cli_json_text(json, "digest", info.digest);
    weir__cli_json_u64(json, "file_node_count", info.file_node_count);
    weir__cli_json_u64(json, "node_count", info.node_count);
    weir__cli_json_u64(json, "parameter_count", info.parameter_count);
    weir__cli_json_u64(json, "parameter_bytes", info.parameter_bytes);
    weir__cli_json_u64(json, "folded_bytes", info.folded_bytes);
    weir__cli_json_u64(json, "memory_now_bytes", now_bytes);
    weir__cli_json_u64(json, "memory_peak_bytes", peak_bytes);
    weir__cli_json_u64(json, "load_ns", info.load_ns);
    weir__cli_json_bool(json, "from_cache", info.from_cache != 0);
}

static weir_code_t put_ports(
    const weir_model_t *model, weir__cli_json_t *json, weir__cli_fault_t *fault)
{
    const uint32_t input_count = weir_model_input_count(model);
    const uint32_t output_count = weir_model_output_count(model);
    weir_port_t port = {0};
    weir_code_t code = WEIR_OK;
    weir__cli_json_open(json, "inputs", '[');
    for (uint32_t i = 0; i < input_count && code == WEIR_OK; i++) {
        code = weir__cli_chain_take(weir_model_input(model, i, &port), fault);
        if (code == WEIR_OK)
            weir__cli_port_json(json, &port);
    }
    weir__cli_json_close(json, ']');
    weir__cli_json_open(json, "outputs", '[');
    for (uint32_t i = 0; i < output_count && code == WEIR_OK; i++) {
        code = weir__cli_chain_take(weir_model_output(model, i, &port), fault);
        if (code == WEIR_OK)
            weir__cli_port_json(json, &port);
    }
    weir__cli_json_close(json, ']');
    return code;
}

static void put_tallies(
    const weir_model_t *model, tally_fn next, const char *key, weir__cli_json_t *json)
{
    weir_tally_t tally = {0};
    weir__cli_json_open(json, key, '{');
    for (uint32_t i = 0; next(model, i, &tally); i++)
        weir__cli_json_u64(json, tally.name, tally.count);
    weir__cli_json_close(json, '}');
}

static void put_plan(const weir_plan_t *plan, weir__cli_json_t *json)
{
    weir_plan_info_t info = {.size = sizeof(info)};
    weir_plan_describe(plan, &info);
    weir_plan_node_t node = {.size = sizeof(node)};
    weir__cli_json_open(json, "plan", '{');
    weir__cli_json_u64(json, "node_count", info.node_count);
    weir__cli_json_u64(json, "ref_node_count", info.ref_node_count);
    weir__cli_json_u64(json, "packed_bytes", info.packed_bytes);
    weir__cli_json_u64(json, "packed_cached_bytes", info.packed_cached_bytes);
    weir__cli_json_u64(json, "create_ns", info.create_ns);
    weir__cli_json_open(json, "nodes", '[');
    for (uint32_t i = 0; weir_plan_node(plan, i, &node); i++) {
        weir__cli_json_open(json, NULL, '{');
        weir__cli_json_text(json, "op", node.op);
        weir__cli_json_u64(json, "depth", node.depth);
        weir__cli_json_text(json, "device", node.device);
        weir__cli_json_text(json, "kernel", node.kernel);
        weir__cli_json_text(json, "fused", node.fused);
        weir__cli_json_text(json, "origins", node.origins);
        weir__cli_json_text(json, "why", node.why);
        weir__cli_json_close(json, '}');
        node.size = sizeof(node);
    }
    weir__cli_json_close(json, ']');
    weir__cli_json_close(json, '}');
}

weir_code_t weir__cli_inspect_json(
    const char *path, const weir__cli_chain_t *chain, weir__cli_fault_t *fault)
{
    weir__cli_json_t json = {.out = stdout};
    weir__cli_json_open(&json, NULL, '{');
    put_facts(path, chain, &json);
    const weir_code_t code = put_ports(chain->model, &json, fault);
    if (code != WEIR_OK)
        return code;
    put_tallies(chain->model, weir_model_operator, "operators", &json);
    put_tallies(chain->model, weir_model_rewrite, "rewrites", &json);
    if (chain->plan)
        put_plan(chain->plan, &json);
    weir__cli_json_close(&json, '}');
    (void)putchar('\n');
    return WEIR_OK;
}
