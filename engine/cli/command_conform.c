// `weir conform`: does a plugin keep the rules of <weir/plugin.h>?
#include <stdio.h>
#include <string.h>

#include "engine/cli/command.h"
#include "engine/cli/json.h"
#include "engine/conform/conform.h"

typedef struct conform_options {
    const char *plugin;
    const char *filter, *shard;
    weir__cli_option_list_t plugin_options;
    weir__cli_option_count_t seed, cases, timeout;
    bool is_json;
    bool is_perf;
} conform_options_t;

static const weir__cli_option_t rows[] = {
    {.name = "--filter",
        .value_name = "TEXT",
        .kind = WEIR__CLI_OPTION_TEXT,
        .field = offsetof(conform_options_t, filter),
        .help = "only groups whose name holds TEXT, as \"MatMul f32\""},
    {.name = "--shard",
        .value_name = "I/N",
        .kind = WEIR__CLI_OPTION_TEXT,
        .field = offsetof(conform_options_t, shard),
        .help = "of every N groups the one at I, from 1 on: N processes do them side by side"},
    {.name = "--option",
        .value_name = "NAME=VALUE",
        .kind = WEIR__CLI_OPTION_LIST,
        .field = offsetof(conform_options_t, plugin_options),
        .help = "an option of the plugin, instead of its default; as often as you like"},
    {.name = "--seed",
        .value_name = "N",
        .kind = WEIR__CLI_OPTION_COUNT,
        .field = offsetof(conform_options_t, seed),
        .most = UINT64_MAX,
        .help = "other cases; the same number gives the same ones (1)"},
    {.name = "--cases",
        .value_name = "N",
        .kind = WEIR__CLI_OPTION_COUNT,
        .field = offsetof(conform_options_t, cases),
        .least = 1,
        .most = 100000,
        .help = "cases in each group (4 to 40, by kind)"},
    {.name = "--timeout",
        .value_name = "SECONDS",
        .kind = WEIR__CLI_OPTION_COUNT,
        .field = offsetof(conform_options_t, timeout),
        .least = 1,
        .most = 86400,
        .help = "after which a group counts as hanging (60)"},
    {.name = "--perf",
        .field = offsetof(conform_options_t, is_perf),
        .help = "a score card instead of the cases: one thread, best of a few runs"},
    {.name = "--json", .field = offsetof(conform_options_t, is_json), .help = "one JSON object"},
};

static const weir__cli_syntax_t syntax = {
    .command = "conform",
    .arguments = "PLUGIN",
    .purpose = "Checks that a plugin (a path, or ref) keeps the rules of <weir/plugin.h>.",
    .notes = "Each group of cases runs in a process of its own. docs/plugins.md says what is "
             "checked.",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
    .argument_least = 1,
    .argument_most = 1,
    .argument_field = offsetof(conform_options_t, plugin),
};

typedef struct listing {
    weir__cli_json_t *json; // NULL: text
    uint64_t seed;
    bool is_perf;
} listing_t;

static const char *const outcomes[] = {"pass", "failed", "unsupported"};

static void list_json(weir__cli_json_t *json, const weir__conform_group_t *group)
{
    weir__cli_json_open(json, NULL, '{');
    weir__cli_json_text(json, "name", group->name);
    weir__cli_json_u64(json, "cases", group->case_count);
    weir__cli_json_text(json, "outcome", outcomes[group->outcome]);
    weir__cli_json_text(json, "which", group->which[0] ? group->which : NULL);
    weir__cli_json_text(json, "what", group->what[0] ? group->what : NULL);
    weir__cli_json_close(json, '}');
}

static void list(void *user, const weir__conform_group_t *group)
{
    const listing_t *listing = user;
    if (listing->json) {
        list_json(listing->json, group);
        (void)fflush(stdout); // whoever has no time for the end has what there is
        return;
    }
    if (listing->is_perf && group->outcome != WEIR__CONFORM_FAIL) {
        if (group->outcome == WEIR__CONFORM_PASS)
            (void)printf("%-52s %s\n", group->name, group->what);
        return;
    }
    (void)printf("%-52s %5u cases  %s\n", group->name, group->case_count, outcomes[group->outcome]);
    if (group->outcome != WEIR__CONFORM_FAIL)
        return;
    (void)printf("    %s\n", group->what);
    if (group->which[0])
        (void)printf("    --seed %llu --filter \"%s\", %s\n", (unsigned long long)listing->seed,
            group->name, group->which);
    (void)fflush(stdout);
}

// "I/N" with I of 1 to N.
static bool read_shard(const char *text, weir__conform_options_t *options)
{
    char copy[40];
    uint64_t shard, count;
    if (!text)
        return true;
    if (strlen(text) >= sizeof copy)
        return false;
    (void)strcpy(copy, text);
    char *slash = strchr(copy, '/');
    if (!slash)
        return false;
    *slash++ = 0;
    if (!weir__cli_options_number(slash, 1, 100000, &count) ||
        !weir__cli_options_number(copy, 1, count, &shard))
        return false;
    options->shard = (uint32_t)(shard - 1);
    options->shard_count = (uint32_t)count;
    return true;
}

static weir_code_t check(const conform_options_t *options, weir__cli_fault_t *fault)
{
    char error[512] = "";
    weir__conform_totals_t totals;
    weir__cli_json_t json = {.out = stdout};
    listing_t listing = {.json = options->is_json ? &json : NULL,
        .seed = options->seed.is_set ? options->seed.value : 1,
        .is_perf = options->is_perf};
    weir__conform_options_t wanted = {.plugin = options->plugin,
        .filter = options->filter,
        .seed = listing.seed,
        .case_count = (uint32_t)options->cases.value,
        .timeout_s = (uint32_t)options->timeout.value,
        .plugin_options = options->plugin_options.items,
        .plugin_option_count = options->plugin_options.count,
        .is_perf = options->is_perf};
    if (!read_shard(options->shard, &wanted))
        return weir__cli_fault_set(fault, WEIR_INVALID_ARGUMENT,
            "--shard %s: two numbers as in 3/8, the first of them 1 to the second", options->shard);
    if (listing.json) {
        weir__cli_json_open(&json, NULL, '{');
        weir__cli_json_u64(&json, "seed", listing.seed);
        weir__cli_json_open(&json, "groups", '[');
    }
    weir_code_t code = weir__conform_run(&wanted, list, &listing, &totals, error, sizeof(error));
    if (listing.json) {
        weir__cli_json_close(&json, ']');
        weir__cli_json_u64(&json, "passed", totals.passed);
        weir__cli_json_u64(&json, "failed", totals.failed);
        weir__cli_json_u64(&json, "unsupported", totals.unsupported);
        weir__cli_json_close(&json, '}');
        (void)putchar('\n');
    } else if (code == WEIR_OK && !options->is_perf) {
        (void)printf("%u passed, %u failed, %u unsupported\n", totals.passed, totals.failed,
            totals.unsupported);
    }
    if (code != WEIR_OK)
        return weir__cli_fault_set(fault, code, "%s", error);
    if (totals.failed)
        return weir__cli_fault_set(fault, WEIR_INTERNAL,
            "%s breaks rules of weir/plugin.h in %u groups: see docs/plugins.md, then run one with "
            "--filter",
            options->plugin, totals.failed);
    if (!totals.passed && !options->is_perf)
        return weir__cli_fault_set(fault, WEIR_NOT_FOUND,
            "nothing was checked: no group of %s was run and supported%s", options->plugin,
            options->filter || options->shard ? "; the filter may fit none" : "");
    return WEIR_OK;
}

weir_code_t weir__cli_conform(int argc, char **argv, weir__cli_fault_t *fault)
{
    conform_options_t options = {0};
    weir_code_t code = WEIR_OK;
    if (!weir__cli_begin(&syntax, argc, argv, &options, fault, &code))
        return code;
    code = check(&options, fault);
    weir__cli_options_free(&syntax, &options);
    return code;
}
