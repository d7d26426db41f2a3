// Profiled runs: the same inputs several times, and for each step of the plan its times.
//
// It only collects; command_profile.c and command_bench.c show.
#ifndef WEIR_CLI_STEPS_H
#define WEIR_CLI_STEPS_H

#include <weir/profile.h>

#include "engine/cli/chain.h"
#include "engine/cli/inputs.h"

typedef struct weir__cli_step_times {
    uint64_t start_ns, duration_ns; // start: since the first profiled run began
} weir__cli_step_times_t;

// What a device did inside a step of a run.
typedef struct weir__cli_inside {
    uint32_t run, step;
    const char *op, *origins; // live as long as the session
    weir__cli_step_times_t times;
} weir__cli_inside_t;

typedef struct weir__cli_steps {
    uint32_t step_count;
    uint32_t run_count;
    weir_profile_step_t *steps;    // [step_count]; texts live as long as the session does not run
    uint64_t *median_ns;           // [step_count]
    weir__cli_step_times_t *times; // [run_count][step_count]
    weir__cli_step_times_t *runs;  // [run_count]
    weir__cli_inside_t *inside;    // [inside_count] of all runs
    size_t inside_count, inside_room;
    uint64_t run_ns;      // median of whole runs
    uint64_t between_ns;  // of a run: what is not in its steps, median
    uint64_t steps_ns;    // sum of median_ns
    uint64_t ref_ns;      // of those, on the plain C device
    uint64_t flop, bytes; // of one run
    double *least_ns; // [step_count] in which these cores could do it; 0: not known. May be NULL
} weir__cli_steps_t;

// Runs warm_up + run_count times, the last run_count of them profiled.
// Owns: weir__cli_steps_free(), also after a failure.
weir_code_t weir__cli_steps_make(const weir__cli_chain_t *chain, const weir__cli_inputs_t *inputs,
    uint32_t warm_up, uint32_t run_count, weir__cli_steps_t *out_steps, weir__cli_fault_t *fault);
void weir__cli_steps_free(weir__cli_steps_t *steps);

// Sorts `count` numbers and returns the one that `percent` of them do not exceed (nearest rank);
// 0 for none.
uint64_t weir__cli_steps_percentile(uint64_t *numbers, uint64_t count, uint32_t percent);

#endif
