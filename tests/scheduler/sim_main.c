// tests/scheduler/sim_main.c: many seeds through the simulator.
//
//     sim [--first N] [--seeds N] [--counts N] [--verbose]
//
// Prints how often each reason occurred, a hash over all actions of all seeds (the same on every
// machine) and how many events a second the core alone took. Exit code 1: an invariant broke (the
// seed is named), or a reason occurred less often than --counts.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef WEIR_MUTANTS
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "tests/scheduler/sim.h"

static const char *const why_names[WEIR__WHY_COUNT] = {
    [WEIR__WHY_NONE] = "none",
    [WEIR__REFUSE_TICKET] = "refuse ticket",
    [WEIR__REFUSE_REQUEST] = "refuse request",
    [WEIR__REFUSE_MODEL] = "refuse model",
    [WEIR__REFUSE_EXPIRED] = "refuse expired",
    [WEIR__REFUSE_INFEASIBLE] = "refuse infeasible",
    [WEIR__REFUSE_COUNT] = "refuse count",
    [WEIR__REFUSE_BYTES] = "refuse bytes",
    [WEIR__REFUSE_TENANT] = "refuse tenant",
    [WEIR__REFUSE_LANES] = "refuse lanes",
    [WEIR__REFUSE_NO_INSTANCE] = "refuse no instance",
    [WEIR__REFUSE_DRAINING] = "refuse draining",
    [WEIR__DISPATCH_FULL] = "dispatch full",
    [WEIR__DISPATCH_LATEST_START] = "dispatch latest start",
    [WEIR__DISPATCH_IDLE] = "dispatch idle",
    [WEIR__DISPATCH_RERUN] = "dispatch rerun",
    [WEIR__DISPATCH_PROBE] = "dispatch probe",
    [WEIR__DISPATCH_DRAIN] = "dispatch drain",
    [WEIR__FINAL_DONE] = "final done",
    [WEIR__FINAL_FAILED] = "final failed",
    [WEIR__FINAL_EXPIRED_QUEUED] = "final expired queued",
    [WEIR__FINAL_EXPIRED_RUNNING] = "final expired running",
    [WEIR__FINAL_DROPPED] = "final dropped",
    [WEIR__FINAL_CANCELLED] = "final cancelled",
    [WEIR__FINAL_LOST] = "final lost",
    [WEIR__FINAL_STRANDED] = "final stranded",
    [WEIR__FINAL_DRAINED] = "final drained",
};

#ifdef WEIR_MUTANTS
int weir_mutant;
#endif

typedef struct options {
    uint64_t first, seeds, counts, mutants;
    int verbose;
} options_t;

typedef struct totals {
    uint64_t counts[WEIR__WHY_COUNT];
    uint64_t faults, steps, hash, replay_ns, few;
} totals_t;

static int parse(int argc, char **argv, options_t *options)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--verbose")) {
            options->verbose = 1;
            continue;
        }
        uint64_t *into = !strcmp(argv[i], "--first")     ? &options->first
                         : !strcmp(argv[i], "--seeds")   ? &options->seeds
                         : !strcmp(argv[i], "--counts")  ? &options->counts
                         : !strcmp(argv[i], "--mutants") ? &options->mutants
                                                         : NULL;
        if (!into || i + 1 == argc)
            return 1;
        *into = strtoull(argv[++i], NULL, 10);
    }
    return 0;
}

static int print_counts(const uint64_t *counts, uint64_t least)
{
    int failed = 0;
    for (int why = 1; why < WEIR__WHY_COUNT; why++) {
        printf("  %-22s %llu\n", why_names[why], (unsigned long long)counts[why]);
        if (counts[why] < least) {
            printf("  ^ occurred less than %llu times\n", (unsigned long long)least);
            failed = 1;
        }
    }
    return failed;
}

// All seeds, until one breaks an invariant: then 1, with result->failure.
static int run_seeds(const options_t *options, sim_result_t *result, totals_t *totals)
{
    static sim_scenario_t scenario;
    for (uint64_t seed = options->first; seed < options->first + options->seeds; seed++) {
        sim_scenario_from_seed(seed, &scenario);
        if (sim_run(&scenario, 1, result))
            return 1;
        uint64_t faults = 0;
        for (int kind = 0; kind < SIM_FAULT_KIND_COUNT; kind++)
            faults += result->faults[kind];
        if (options->verbose)
            printf("seed %llu: %llu events, hash %016llx\n", (unsigned long long)seed,
                (unsigned long long)result->steps, (unsigned long long)result->hash);
        totals->few += result->steps < 2000 || faults == 0;
        totals->faults += faults;
        totals->steps += result->steps;
        totals->replay_ns += result->replay_ns;
        totals->hash = (totals->hash ^ result->hash) * 0x100000001B3u;
        for (int why = 0; why < WEIR__WHY_COUNT; why++)
            totals->counts[why] += result->counts[why];
    }
    return 0;
}

#ifdef WEIR_MUTANTS
// Each in a process of its own: a defect may well end it. Exit code 0 of the child: nothing was
// noticed.
static int run_mutants(const options_t *options, sim_result_t *result)
{
    int survived = 0;
    for (weir_mutant = 1; weir_mutant <= (int)options->mutants; weir_mutant++) {
        totals_t totals = {.few = 0};
        int status = 0;
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            int caught = run_seeds(options, result, &totals);
            printf("mutant %d: %s\n", weir_mutant, caught ? result->failure : "NOT CAUGHT");
            fflush(stdout);
            _exit(caught);
        }
        if (child < 0 || waitpid(child, &status, 0) != child)
            return 2;
        if (WIFSIGNALED(status))
            printf("mutant %d: crashed\n", weir_mutant);
        survived += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    return survived != 0;
}
#endif

int main(int argc, char **argv)
{
    options_t options = {.first = 1, .seeds = 1000};
    static sim_result_t result;
    totals_t totals = {.few = 0};
    if (parse(argc, argv, &options)) {
        fprintf(stderr, "usage: %s [--first N] [--seeds N] [--counts N] [--verbose]\n", argv[0]);
        return 2;
    }
#ifdef WEIR_MUTANTS
    if (options.mutants)
        return run_mutants(&options, &result);
#endif
    if (run_seeds(&options, &result, &totals)) {
        printf("sim: %s\n", result.failure);
        return 1;
    }
    int failed = print_counts(totals.counts, options.counts);
    if (totals.few) {
        printf("sim: %llu seeds with less than 2000 events or no fault\n",
            (unsigned long long)totals.few);
        failed = 1;
    }
    printf("sim: %llu seeds, %llu events, %llu faults, hash %016llx, %.2f M events/s in the core\n",
        (unsigned long long)options.seeds, (unsigned long long)totals.steps,
        (unsigned long long)totals.faults, (unsigned long long)totals.hash,
        (double)totals.steps * 1e3 / (double)(totals.replay_ns ? totals.replay_ns : 1));
    return failed;
}
