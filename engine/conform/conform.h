// engine/conform/conform.h: the conformance kit: does a plugin keep the rules of <weir/plugin.h>?
//
// What: groups of cases, each group in a child process, so that a crash, an abort and a hang are
//       outcomes like any other. Works on any plugin, with nothing of it but the file.
// Why:  an engine must be able to trust kernels that it does not know.
// Not:  a user of the engine's internals; the plugin is loaded by the rules of the header alone.
//       What is printed is the caller's business.
#ifndef WEIR_CONFORM_CONFORM_H
#define WEIR_CONFORM_CONFORM_H

#include <stdbool.h>
#include <weir/plugin.h>

typedef struct weir__conform_options {
    const char *plugin;          // a path, or "ref" for the kernels that are linked in
    const char *filter;          // groups whose name holds this text; NULL: all
    uint32_t shard, shard_count; // of every shard_count groups the one at `shard`; 0, 0: all
    uint64_t seed;
    uint32_t case_count;               // cases in one group, at most; 0: the usual
    uint32_t timeout_s;                // of one group; 0: the usual
    bool is_perf;                      // a score card instead of the cases
    const char *const *plugin_options; // "name=value" of the plugin's own [plugin_option_count]
    size_t plugin_option_count;
} weir__conform_options_t;

typedef enum weir__conform_outcome {
    WEIR__CONFORM_PASS,
    WEIR__CONFORM_FAIL,
    WEIR__CONFORM_UNSUPPORTED // supports() refused every case
} weir__conform_outcome_t;

typedef struct weir__conform_group {
    const char *name;    // "Relu f32", "Relu f32 tasks"
    uint32_t case_count; // that ran
    weir__conform_outcome_t outcome;
    const char *which; // of a failure: the case, so that it can be made again
    const char *what;  // of a failure: what went wrong; of a score: the figure
} weir__conform_group_t;

typedef void (*weir__conform_report_t)(void *user, const weir__conform_group_t *group);

typedef struct weir__conform_totals {
    uint32_t passed, failed, unsupported;
} weir__conform_totals_t;

// Runs all groups and reports each as it ends. Forks: call it in a process with one thread.
// Errors: out_error says why nothing ran (INVALID_ARGUMENT, NOT_FOUND,
// RESOURCE_EXHAUSTED).
weir_code_t weir__conform_run(const weir__conform_options_t *options, weir__conform_report_t report,
    void *user, weir__conform_totals_t *out_totals, char *out_error, uint32_t error_bytes);

#endif
