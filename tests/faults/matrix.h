// tests/faults/matrix.h: one cell of the matrix of device faults: a scenario, a fault, what came of
// it.
#ifndef WEIR_FAULTS_MATRIX_H
#define WEIR_FAULTS_MATRIX_H

#include "tests/unit/device_graphs.h"

#include <pthread.h>

// How the device is used. Each form has a plan of its own, and reaches other entry points.
typedef struct form {
    const char *name, *options, *devices, *placement;
    bool is_cached; // artifacts are kept; the scenario is played twice
} form_t;

typedef enum phase {
    PHASE_LOADING,  // the engine and the model
    PHASE_CREATING, // plan, session and the first run of each shape
    PHASE_RUNNING,
    PHASE_IDLE, // between runs: the device is opened anew
    PHASE_CLOSING,
    PHASES,
} phase_t;

typedef struct cell {
    const form_t *form;
    const char *where, *what;
    uint64_t when;
} cell_t;

// What a scenario saw.
typedef struct outcome {
    atomic_int phase;            // now
    atomic_int struck_phase;     // -1: the fault was not met
    atomic_uint ended, started;  // runs
    uint32_t failed_runs, steps; // steps: what it took to go on, 0 to 3
    char problem[1600];          // "": none
    char told[768];              // what the first failure said
    char log[8192];
    pthread_mutex_t lock;
} outcome_t;

// Plays the scenario with this schedule; `reference` is NULL or answers that must be met.
#define SHAPES 3
#define ANSWER_FLOATS (24 * SIDE)
typedef struct answers {
    float y[SHAPES][ANSWER_FLOATS];
} answers_t;

void matrix_play(const form_t *form, const char *schedule, const cell_t *cell, const char *cache,
    answers_t *made, const answers_t *reference, outcome_t *outcome);

#endif
