// Measuring one model: creation, latency, new shapes, memory.
//
// The figures are collected here and shown by bench_show.c.
#ifndef WEIR_CLI_BENCH_H
#define WEIR_CLI_BENCH_H

#include "engine/cli/subject.h"

// What `weir bench` was asked for.
typedef struct weir__cli_bench_options {
    weir__cli_option_list_t models;
    weir__cli_subject_t subject;
    weir__cli_option_count_t seconds;
    weir__cli_option_count_t runs;
    bool is_random_shapes;
} weir__cli_bench_options_t;

typedef struct weir__cli_creation {
    uint64_t engine_ns; // plugins, threads
    uint64_t load_ns, plan_ns, session_ns;
    uint64_t first_run_ns; // the shapes are new to it
} weir__cli_creation_t;

// Sizes of one open dim, for --random-shapes.
typedef struct weir__cli_range {
    char name[128]; // as --dim takes it
    uint64_t least, most, step;
} weir__cli_range_t;

enum { WEIR__CLI_RANGES_MAX = 32 };

typedef struct weir__cli_bench {
    const char *model;
    weir__cli_creation_t created, cached; // with an empty cache, then with what that left
    // Runs.
    uint64_t *run_ns; // [run_count], sorted
    uint64_t run_count;
    uint64_t elapsed_ns;
    // New shapes.
    weir__cli_range_t ranges[WEIR__CLI_RANGES_MAX];
    uint32_t range_count;
    uint64_t *shape_ns; // [shape_count], sorted: what a new shape cost beside its run
    uint64_t shape_count;
    // Memory: of the engine, and anonymous memory of the process: before the engine was there, at
    // the end of the runs.
    uint64_t engine_bytes, engine_peak_bytes, arena_bytes;
    uint64_t base_anonymous_bytes, anonymous_bytes;
    uint64_t warm_engine_bytes, warm_anonymous_bytes; // after a tenth of the random shapes
    // One profile.
    uint64_t flop, steps_ns, ref_ns;
    uint32_t step_count;
} weir__cli_bench_t;

// inputs: those of the last run, for showing. Owns: weir__cli_bench_free() and
// weir__cli_inputs_free(), also after a failure; the chain is the caller's to close.
weir_code_t weir__cli_bench_make(const weir__cli_bench_options_t *options, const char *model,
    weir__cli_chain_t *chain, weir__cli_inputs_t *inputs, weir__cli_bench_t *out_bench,
    weir__cli_fault_t *fault);
void weir__cli_bench_free(weir__cli_bench_t *bench);

// bench_shapes.c: runs on random shapes until the time is over or enough were made. outputs: room
// for those of the model.
weir_code_t weir__cli_bench_shapes(const weir__cli_bench_options_t *options,
    const weir__cli_chain_t *chain, weir__cli_inputs_t *inputs, weir_value_t *outputs,
    weir__cli_bench_t *bench, weir__cli_fault_t *fault);

// Notes one run; WEIR_RESOURCE_EXHAUSTED when there is no memory for it.
weir_code_t weir__cli_bench_note(
    uint64_t **numbers, uint64_t *count, uint64_t ns, weir__cli_fault_t *fault);
// How far it is, on stderr when that is a terminal; twice a second. done: removes the line.
typedef struct weir__cli_progress {
    uint64_t start_ns, next_ns;
} weir__cli_progress_t;
void weir__cli_progress_show(weir__cli_progress_t *progress, const weir__cli_bench_t *bench);
void weir__cli_progress_end(const weir__cli_progress_t *progress);

uint64_t weir__cli_bench_limit_ns(const weir__cli_bench_options_t *options);
uint64_t weir__cli_bench_limit_runs(const weir__cli_bench_options_t *options);

// bench_show.c
void weir__cli_bench_text(const weir__cli_bench_options_t *options, const weir__cli_chain_t *chain,
    const weir__cli_bench_t *bench);
void weir__cli_bench_json(const weir__cli_bench_options_t *options, const weir__cli_chain_t *chain,
    const weir__cli_inputs_t *inputs, const weir__cli_bench_t *bench);

#endif
