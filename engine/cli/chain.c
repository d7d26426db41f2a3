// Opening engine, model, plan and session as an embedder would: public calls only.
#include "engine/cli/chain.h"

#include <stdio.h>
#include <string.h>

#include "engine/cli/text.h"

// user_data NULL: only what a person would miss, that nothing is kept for the next start. Plugins
// that are not usable are the business of weir devices.
static void log_line(void *user_data, weir_log_level_t level, const char *module,
    uint64_t request_id, const char *text)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    char safe[1024];
    (void)request_id;
    if (!user_data && strcmp(module, "cache") != 0)
        return;
    const size_t index = (size_t)level < 4 ? (size_t)level : 3;
    (void)fprintf(stderr, "weir: %s: %s: %s\n", levels[index], module,
        weir__cli_text_safe(text, safe, sizeof(safe)));
}

weir_code_t weir__cli_chain_take(weir_status_t status, weir__cli_fault_t *fault)
{
    const weir_code_t code = weir_status_code(status);
    if (code != WEIR_OK)
        weir__cli_fault_set(fault, code, "%s", weir_status_message(status));
    weir_status_free(status);
    return code;
}

weir_code_t weir__cli_chain_engine(
    weir__cli_chain_t *chain, const weir__cli_chain_options_t *options, weir__cli_fault_t *fault)
{
    const weir_engine_options_t engine_options = {.size = sizeof(engine_options),
        .threads = (uint32_t)options->threads,
        .cache_dir = options->cache_dir,
        .cache_bytes = options->cache_bytes,
        .plugin_options = options->plugin_options,
        .spin_ns = options->spin_ns,
        .teams = options->teams,
        .team_count = options->team_count,
        .feeders = options->feeders,
        .feeder_count = options->feeder_count,
        .log = log_line,
        .log_user_data = options->is_verbose ? chain : NULL,
        .log_level = options->is_verbose ? WEIR_LOG_INFO : WEIR_LOG_WARNING};
    return weir__cli_chain_take(weir_engine_create(&engine_options, &chain->engine), fault);
}

weir_code_t weir__cli_chain_model(
    weir__cli_chain_t *chain, const char *path, weir__cli_fault_t *fault)
{
    return weir__cli_chain_model_as(chain, path, NULL, fault);
}

weir_code_t weir__cli_chain_model_as(weir__cli_chain_t *chain, const char *path,
    const weir_model_options_t *options, weir__cli_fault_t *fault)
{
    const weir_code_t code =
        weir__cli_chain_take(weir_model_load(chain->engine, path, options, &chain->model), fault);
    return code;
}

weir_code_t weir__cli_chain_plan(
    weir__cli_chain_t *chain, const weir__cli_chain_options_t *options, weir__cli_fault_t *fault)
{
    const weir_plan_options_t plan_options = {.size = sizeof(plan_options),
        .devices = options->devices,
        .placement = options->placement,
        .precision = options->precision};
    return weir__cli_chain_take(weir_plan_create(chain->model, &plan_options, &chain->plan), fault);
}

weir_code_t weir__cli_chain_session(weir__cli_chain_t *chain, weir__cli_fault_t *fault)
{
    return weir__cli_chain_take(weir_session_create(chain->plan, NULL, &chain->session), fault);
}

void weir__cli_chain_close(weir__cli_chain_t *chain)
{
    weir_session_free(chain->session);
    weir_plan_free(chain->plan);
    weir_model_free(chain->model);
    weir_engine_free(chain->engine);
    *chain = (weir__cli_chain_t){0};
}
