// `weir load`: requests as traffic would bring them, and what became of each.
//
// load_prepare.c makes models, samples and their right answers; load_run.c makes the requests and
// collects the answers; load_rule.c says what a count of them proves; load_show.c shows it. Nothing
// here decides what is served when: that is the scheduler's.
#ifndef WEIR_SCHEDULER_LOAD_H
#define WEIR_SCHEDULER_LOAD_H

#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <weir/scheduler.h>

#include "engine/cli/chain.h"
#include "engine/cli/inputs.h"
#include "engine/cli/options.h"
#include "scheduler/observe/histogram.h"

enum {
    WEIR__LOAD_SAMPLES = 8,         // different inputs of each model
    WEIR__LOAD_MODELS_MAX = 64,     //
    WEIR__LOAD_TENANTS_MAX = 64,    //
    WEIR__LOAD_BUCKETS = 120,       // the time is cut into, for the picture
    WEIR__LOAD_LATENCIES = 1 << 23, // kept exactly; beyond, a fair choice of so many
    WEIR__LOAD_MULTI = 8,           // samples of a query of the scenario multi
};

typedef enum weir__load_scenario {
    WEIR__LOAD_QPS,    // Poisson at a given rate
    WEIR__LOAD_SINGLE, // one outstanding
    WEIR__LOAD_MULTI_STREAM,
    WEIR__LOAD_SERVER, // Poisson at the highest rate that holds the SLO
    WEIR__LOAD_OFFLINE
} weir__load_scenario_t;

// What was asked for.
typedef struct weir__load_options {
    weir__cli_option_list_t models;
    const char *qps_text, *slo_text, *scenario_text, *tenants_text;
    const char *devices, *precision, *teams, *plot, *json, *trace;
    weir__cli_option_list_t inputs, dims;
    weir__cli_option_count_t seed, seconds, threads, cache_bytes, max_batch, spin_us;
    bool is_verbose;
    // Read from the texts.
    weir__load_scenario_t scenario;
    double qps;
    uint64_t slo_ns; // 0: none
    uint32_t tenant_count;
    weir_tenant_t tenants[WEIR__LOAD_TENANTS_MAX];
} weir__load_options_t;

// The right answer to one sample: what a run of its own gave.
typedef struct weir__load_answer {
    weir_value_t *values; // [output_count]; data is ours
} weir__load_answer_t;

typedef struct weir__load_model {
    const char *path;
    char name[64]; // that it is served as
    weir_model_t *model;
    uint32_t output_count;
    uint64_t output_bytes; // of all outputs of a sample, the greatest
    weir__cli_inputs_t samples[WEIR__LOAD_SAMPLES];
    weir__load_answer_t answers[WEIR__LOAD_SAMPLES];
    struct weir__load_slot *free_slots;
} weir__load_model_t;

// One request in flight. The callback fills what is below `done_ns`.
typedef struct weir__load_slot {
    struct weir__load_slot *next;
    struct weir__load *load;
    weir__load_model_t *model;
    weir_value_t *outputs; // [output_count]
    char *buffer;
    uint32_t sample;
    uint64_t scheduled_ns;
    uint32_t run; // that submitted it
    uint64_t done_ns;
    weir_code_t code;
    char text[256]; // of the status
} weir__load_slot_t;

typedef struct weir__load_bucket {
    uint64_t offered, in_slo, refused, other;
    weir__histogram_t latency_ns;
} weir__load_bucket_t;

typedef struct weir__load_result {
    double qps; // that was aimed at; 0: as fast as answers come
    uint64_t offered, completed, in_slo;
    uint64_t refused;       // at once, or dropped because it would have been late
    uint64_t late;          // ended by its deadline
    uint64_t errors;        // anything else
    uint64_t wrong;         // other bytes than a run of its own gives
    uint64_t queries;       // what latencies count: samples, or groups of the scenario multi
    uint64_t *latencies_ns; // [latency_count], sorted when the run is over
    uint64_t latency_count;
    uint64_t late_submit_p99_ns; // how far the generator was behind its own schedule
    uint64_t offer_ns;           // in which requests were made; the last answers may come later
    uint64_t elapsed_ns, generator_cpu_ns, process_cpu_ns;
    uint64_t batches, batch_rows, inline_runs;
    uint64_t bucket_ns;
    weir__load_bucket_t *buckets; // [WEIR__LOAD_BUCKETS]
    char first_error[256];
    bool is_interrupted;
} weir__load_result_t;

// Everything that a run needs.
typedef struct weir__load {
    const weir__load_options_t *options;
    weir__cli_chain_t chain; // its engine
    weir_scheduler_t *scheduler;
    weir__load_model_t *models; // [model_count]
    uint32_t model_count;
    weir__load_slot_t *slots; // [slot_count]
    uint32_t slot_count;
    _Atomic(weir__load_slot_t *) done; // answered, not looked at yet
    sem_t answered;                    // posted for each answer where `is_closed`
    bool is_closed;                    // the next request waits for answers
    uint64_t random;
    const volatile sig_atomic_t *stop;
    weir__histogram_t late_submit_ns;
    weir__load_result_t *result; // of the run under way
    uint32_t run;                // its number
    uint64_t start_ns;
    uint64_t next_progress_ns;
} weir__load_t;

// load_teams.c: one team for each list of CPUs of --teams, else for each L3 cache of this machine;
// none with --threads. Owns: weir__load_teams_free(), also after a failure.
typedef struct weir__load_teams {
    const weir_team_options_t *teams; // NULL: one for all
    uint32_t count;
    uint32_t feeder_count;
    const weir_feeder_options_t *feeders; // with the teams of this machine's caches
    struct weir_topology *topology;
    weir_team_options_t *own;
    char *text;
} weir__load_teams_t;
weir_code_t weir__load_teams_find(
    const weir__load_options_t *options, weir__load_teams_t *out_teams, weir__cli_fault_t *fault);
void weir__load_teams_free(weir__load_teams_t *teams);

// load_prepare.c: engine, scheduler, models, samples and their right answers.
// Owns: weir__load_release(), also after a failure.
weir_code_t weir__load_prepare(
    const weir__load_options_t *options, weir__load_t *out_load, weir__cli_fault_t *fault);
void weir__load_release(weir__load_t *load);

// load_run.c: one run of `seconds` of the scenario; QPS and SERVER at `qps`.
// Owns: weir__load_result_free(), also after a failure.
weir_code_t weir__load_run(weir__load_t *load, weir__load_scenario_t scenario, double qps,
    double seconds, weir__load_result_t *out_result, weir__cli_fault_t *fault);
void weir__load_result_free(weir__load_result_t *result);
// The value that `permille` of the latencies do not exceed, in ms; NaN for none.
double weir__load_percentile_ms(const weir__load_result_t *result, uint32_t permille);

// load_rule.c: LoadGen's early stopping (binomial). With confidence 0.99, how many requests in
// time, beside `over_count` that were not, prove that the share `percentile` of all are in time:
// the least h for which P(at most over_count of h + over_count | rate of misses 1 - percentile) <=
// 0.01.
uint64_t weir__load_rule_needed(uint64_t over_count, double percentile);
// The greatest t whose needed(t) + t is at most `count`; 0: even t = 1 has not enough. Then the
// t-th greatest latency is the estimate of the percentile.
uint64_t weir__load_rule_discard(uint64_t count, double percentile);

// load_show.c
void weir__load_show_text(const weir__load_t *load, const weir__load_result_t *result);
void weir__load_show_json(const weir__load_t *load, const weir__load_result_t *result, FILE *out);
// The percentile that a scenario is judged by.
double weir__load_rule_percentile(weir__load_scenario_t scenario);
const char *weir__load_scenario_name(weir__load_scenario_t scenario);

// load_plot.c: a picture of the JSON file, by python3 and matplotlib.
weir_code_t weir__load_plot(const char *json_path, const char *png_path, weir__cli_fault_t *fault);

#endif
