// What every command that runs a model is asked: where, on which inputs, with how many threads.
//
// One struct inside each command's own, and the rows of the options that fill it, so that an option
// has one name, one rule and one help text wherever it is taken.
#ifndef WEIR_CLI_SUBJECT_H
#define WEIR_CLI_SUBJECT_H

#include "engine/cli/chain.h"
#include "engine/cli/inputs.h"
#include "engine/cli/options.h"

typedef struct weir__cli_subject {
    const char *devices;
    const char *placement;
    const char *precision;
    const char *plugin_options;
    weir__cli_option_list_t inputs;
    weir__cli_option_list_t dims;
    weir__cli_option_count_t seed;
    weir__cli_option_count_t threads;
    weir__cli_option_count_t cache_bytes;
    bool is_json;
    bool is_verbose;
} weir__cli_subject_t;

// One row each, for a command whose struct `type` has such a member. clang-format would write them
// as functions.
// clang-format off
#define WEIR__CLI_ROW_INPUT(type, member) \
    {.name = "--input", .value_name = "NAME=FILE.npy", .kind = WEIR__CLI_OPTION_LIST, \
        .field = offsetof(type, member), \
        .help = "the value of an input, as numpy.save() writes it; once for each input"}
#define WEIR__CLI_ROW_RANDOM(type, member, text) \
    {.name = "--random", .value_name = "SEED", .kind = WEIR__CLI_OPTION_COUNT, \
        .field = offsetof(type, member), .most = UINT64_MAX, .help = (text)}
#define WEIR__CLI_ROW_DIM(type, member, text) \
    {.name = "--dim", .value_name = "NAME=N", .kind = WEIR__CLI_OPTION_LIST, \
        .field = offsetof(type, member), .help = (text)}
#define WEIR__CLI_ROW_DEVICE(type, member, text) \
    {.name = "--device", .value_name = "NAME[,NAME]", .kind = WEIR__CLI_OPTION_TEXT, \
        .field = offsetof(type, member), .help = (text)}
#define WEIR__CLI_ROW_PLACE(type, member) \
    {.name = "--place", .value_name = "NODE=DEVICE[;..]", .kind = WEIR__CLI_OPTION_TEXT, \
        .field = offsetof(type, member), .help = WEIR__CLI_PLACE_HELP}
#define WEIR__CLI_ROW_PRECISION(type, member) \
    {.name = "--precision", .value_name = "f32|bf16", .kind = WEIR__CLI_OPTION_TEXT, \
        .field = offsetof(type, member), .help = WEIR__CLI_PRECISION_HELP}
#define WEIR__CLI_ROW_OPTION(type, member) \
    {.name = "--option", .value_name = "PLUGIN.NAME=VALUE[,..]", .kind = WEIR__CLI_OPTION_TEXT, \
        .field = offsetof(type, member), .help = WEIR__CLI_OPTION_HELP}
#define WEIR__CLI_ROW_THREADS(type, member) \
    {.name = "--threads", .value_name = "N", .kind = WEIR__CLI_OPTION_COUNT, \
        .field = offsetof(type, member), .least = 1, .most = 4096, \
        .help = "threads that compute (default: all that this process may use)"}
#define WEIR__CLI_ROW_CACHE_BYTES(type, member) \
    {.name = "--cache-bytes", .value_name = "N", .kind = WEIR__CLI_OPTION_COUNT, \
        .field = offsetof(type, member), .least = 1, .most = UINT64_MAX, \
        .help = "what the cache of prepared models may hold (default: 2 GiB)"}
#define WEIR__CLI_ROW_VERBOSE(type, member) \
    {.name = "--verbose", .field = offsetof(type, member), \
        .help = "what the engine logs, on stderr"}

// The rows, for a command whose struct `type` has a member `subject`. device, random, dim, json:
// what their help says.
#define WEIR__CLI_SUBJECT_ROWS(type, device_help, random_help, dim_help, json_help) \
    WEIR__CLI_ROW_INPUT(type, subject.inputs), \
    WEIR__CLI_ROW_RANDOM(type, subject.seed, random_help), \
    WEIR__CLI_ROW_DIM(type, subject.dims, dim_help), \
    WEIR__CLI_ROW_DEVICE(type, subject.devices, device_help), \
    WEIR__CLI_ROW_PLACE(type, subject.placement), \
    WEIR__CLI_ROW_PRECISION(type, subject.precision), \
    WEIR__CLI_ROW_OPTION(type, subject.plugin_options), \
    WEIR__CLI_ROW_THREADS(type, subject.threads), \
    WEIR__CLI_ROW_CACHE_BYTES(type, subject.cache_bytes), \
    {.name = "--json", .field = offsetof(type, subject.is_json), .help = (json_help)}, \
    WEIR__CLI_ROW_VERBOSE(type, subject.is_verbose)
// clang-format on

#define WEIR__CLI_OPTION_HELP "options of plugins, as cpu.isa=avx2"
#define WEIR__CLI_DEVICE_HELP "where to run, the preferred one first (weir devices lists them)"
#define WEIR__CLI_PLACE_HELP                                                                       \
    "runs these nodes of the file, and what is fused with them, on these devices"
#define WEIR__CLI_PRECISION_HELP                                                                   \
    "what products are computed in; bf16 rounds their operands, where a device can (default: f32)"
#define WEIR__CLI_RANDOM_HELP "makes up the other inputs, as weir run does (default: 1)"
#define WEIR__CLI_DIM_HELP "the size of an open dim of made-up inputs, by its name or as INPUT:AXIS"

static inline weir__cli_chain_options_t weir__cli_subject_chain(const weir__cli_subject_t *subject)
{
    return (weir__cli_chain_options_t){.threads = subject->threads.value,
        .devices = subject->devices,
        .placement = subject->placement,
        .precision = subject->precision,
        .plugin_options = subject->plugin_options,
        .cache_bytes = subject->cache_bytes.value,
        .is_verbose = subject->is_verbose};
}

// The inputs wanted; without --random they are made up from seed 1.
static inline weir__cli_inputs_wanted_t weir__cli_subject_inputs(
    const weir__cli_subject_t *subject, const char *model_path)
{
    return (weir__cli_inputs_wanted_t){.model_path = model_path,
        .files = subject->inputs,
        .dims = subject->dims,
        .seed = {.value = subject->seed.is_set ? subject->seed.value : 1, .is_set = true}};
}

#endif
