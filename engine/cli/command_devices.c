// `weir devices`: what plans can be placed on, and why the rest cannot be used.
#include <stdio.h>
#include <stdlib.h>

#include <weir/weir.h>

#include "engine/cli/chain.h"
#include "engine/cli/command.h"
#include "engine/cli/json.h"
#include "engine/cli/rates.h"
#include "engine/cli/subject.h"
#include "engine/cli/text.h"

typedef struct devices_options {
    bool is_json;
    bool is_verbose;
} devices_options_t;

static const weir__cli_option_t rows[] = {
    {.name = "--json", .field = offsetof(devices_options_t, is_json), .help = "one JSON object"},
    WEIR__CLI_ROW_VERBOSE(devices_options_t, is_verbose),
};
static const weir__cli_syntax_t syntax = {
    .command = "devices",
    .arguments = "",
    .purpose =
        "Lists the devices in the order in which plans prefer them, then those that cannot be "
        "used.",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
};

// What one core can do at most.
static void put_rates(weir__cli_json_t *json)
{
    weir__cli_rates_t rates;
    weir__cli_rates_get(&rates);
    weir__cli_json_open(json, "core", '{');
    weir__cli_json_text(json, "instructions", rates.products);
    weir__cli_json_f64(json, "f32_gflop_per_s", rates.f32_gflops, 6);
    weir__cli_json_f64(json, "bf16_gflop_per_s", rates.bf16_gflops, 6);
    weir__cli_json_f64(json, "int8_gop_per_s", rates.int8_gops, 6);
    weir__cli_json_f64(json, "clock_ghz", rates.clock_ghz, 6);
    weir__cli_json_f64(json, "cache_gb_per_s", rates.cache_gb_per_s, 6);
    weir__cli_json_f64(json, "memory_gb_per_s", rates.memory_gb_per_s, 6);
    weir__cli_json_close(json, '}');
}

// What is not known is left out.
static void print_rate(const char *what, double rate, const char *unit)
{
    if (rate > 0)
        (void)printf(", %s %.3g %s", what, rate, unit);
}

static void print_rates(void)
{
    weir__cli_rates_t rates;
    weir__cli_rates_get(&rates);
    (void)printf("\none core (%s): %.3g GHz", rates.products, rates.clock_ghz);
    print_rate("f32", rates.f32_gflops, "GFLOP/s");
    print_rate("bf16", rates.bf16_gflops, "GFLOP/s");
    print_rate("int8", rates.int8_gops, "GOP/s");
    print_rate("reads the last cache with", rates.cache_gb_per_s, "GB/s");
    print_rate("memory with", rates.memory_gb_per_s, "GB/s");
    (void)putchar('\n');
}

static void print_json(
    const weir_engine_t *engine, const weir_device_description_t *devices, uint32_t count)
{
    weir__cli_json_t json = {.out = stdout};
    weir__cli_json_open(&json, NULL, '{');
    weir__cli_json_u64(&json, "threads", weir_engine_threads(engine));
    weir__cli_json_open(&json, "devices", '[');
    for (uint32_t i = 0; i < count; i++) {
        weir__cli_json_open(&json, NULL, '{');
        weir__cli_json_text(&json, "name", devices[i].name);
        weir__cli_json_bool(&json, "usable", devices[i].usable != 0);
        weir__cli_json_text(&json, "version", devices[i].version);
        weir__cli_json_text(&json, "text", devices[i].text);
        weir__cli_json_text(&json, "path", devices[i].path[0] ? devices[i].path : NULL);
        weir__cli_json_close(&json, '}');
    }
    weir__cli_json_close(&json, ']');
    put_rates(&json);
    weir__cli_json_close(&json, '}');
    (void)putchar('\n');
}

static void print_table(const weir_device_description_t *devices, uint32_t count)
{
    weir__cli_table_t table = weir__cli_table_start(4);
    for (uint32_t i = 0; i < count; i++) {
        char text[sizeof(devices[i].text) + 32];
        (void)snprintf(
            text, sizeof(text), "%s%s", devices[i].usable ? "" : "not usable: ", devices[i].text);
        weir__cli_table_add(&table, devices[i].name);
        weir__cli_table_add(&table, devices[i].version);
        weir__cli_table_add(&table, text);
        weir__cli_table_add(&table, devices[i].path[0] ? devices[i].path : "(part of libweir)");
    }
    weir__cli_table_finish(&table, 0, stdout);
    print_rates();
}

static weir_code_t list(
    const devices_options_t *options, weir__cli_chain_t *chain, weir__cli_fault_t *fault)
{
    weir_code_t code = weir__cli_chain_engine(
        chain, &(weir__cli_chain_options_t){.is_verbose = options->is_verbose}, fault);
    if (code != WEIR_OK)
        return code;
    const uint32_t count = weir_device_count(chain->engine);
    weir_device_description_t *devices = calloc((size_t)count + 1, sizeof(*devices));
    if (!devices)
        return weir__cli_fault_set(
            fault, WEIR_RESOURCE_EXHAUSTED, "no memory for %u devices", count);
    for (uint32_t i = 0; i < count && code == WEIR_OK; i++) {
        devices[i].size = sizeof(devices[i]);
        code = weir__cli_chain_take(weir_device_describe(chain->engine, i, &devices[i]), fault);
    }
    if (code == WEIR_OK && options->is_json)
        print_json(chain->engine, devices, count);
    else if (code == WEIR_OK)
        print_table(devices, count);
    free(devices);
    return code;
}

weir_code_t weir__cli_devices(int argc, char **argv, weir__cli_fault_t *fault)
{
    devices_options_t options = {0};
    weir_code_t code = WEIR_OK;
    if (!weir__cli_begin(&syntax, argc, argv, &options, fault, &code))
        return code;
    weir__cli_chain_t chain = {0};
    code = list(&options, &chain, fault);
    weir__cli_chain_close(&chain);
    return code;
}
