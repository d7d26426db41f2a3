// From a path to a session: the four objects that every command with a model needs.
#ifndef WEIR_CLI_CHAIN_H
#define WEIR_CLI_CHAIN_H

#include <weir/weir.h>

#include "engine/cli/fault.h"

typedef struct weir__cli_chain_options {
    uint64_t threads;           // 0: all
    const char *devices;        // NULL: the engine's order
    const char *placement;      // NULL: nothing is placed by request
    const char *precision;      // NULL: f32
    const char *plugin_options; // NULL: each has its default
    const char *cache_dir;      // NULL: the usual place
    uint64_t cache_bytes;       // 0: as many as usual
    bool is_verbose;            // the engine's log on stderr
    uint64_t spin_ns;
    const weir_team_options_t *teams; // NULL: one; then `threads` is 0
    uint32_t team_count;
    uint32_t feeder_count;
    const weir_feeder_options_t *feeders; // NULL: none
} weir__cli_chain_options_t;

typedef struct weir__cli_chain {
    weir_engine_t *engine;
    weir_model_t *model;
    weir_plan_t *plan;
    weir_session_t *session;
} weir__cli_chain_t;

// Takes over a status of the library: fills the fault, frees the status. Returns its code.
weir_code_t weir__cli_chain_take(weir_status_t status, weir__cli_fault_t *fault);

// Make the next objects of the chain; each needs the ones before it. weir__cli_chain_close() frees
// what was made, also after a failure.
weir_code_t weir__cli_chain_engine(
    weir__cli_chain_t *chain, const weir__cli_chain_options_t *options, weir__cli_fault_t *fault);
weir_code_t weir__cli_chain_model(
    weir__cli_chain_t *chain, const char *path, weir__cli_fault_t *fault);
// options: NULL for the defaults.
weir_code_t weir__cli_chain_model_as(weir__cli_chain_t *chain, const char *path,
    const weir_model_options_t *options, weir__cli_fault_t *fault);
weir_code_t weir__cli_chain_plan(
    weir__cli_chain_t *chain, const weir__cli_chain_options_t *options, weir__cli_fault_t *fault);
weir_code_t weir__cli_chain_session(weir__cli_chain_t *chain, weir__cli_fault_t *fault);
void weir__cli_chain_close(weir__cli_chain_t *chain);

#endif
