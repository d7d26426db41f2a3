// tests/faults/subject.h: one model taken all the way, load, plan, session, run, with made-up
// inputs.
//
// Only the public API is used, as a stranger's program would. Memory is counted by an allocator of
// our own, so what a case took at most is known whatever the engine says.
#ifndef WEIR_FAULTS_SUBJECT_H
#define WEIR_FAULTS_SUBJECT_H

#include <stdbool.h>
#include <weir/weir.h>

typedef struct subject {
    const char *path; // NULL: from memory
    const void *bytes;
    size_t byte_count;
    const char *devices; // NULL: the engine's order
    const char
        *dims; // "2x3": of the first input, whatever the model says; NULL: as declared, open ones 1
    int64_t fill;      // elements of integer inputs; those of float inputs are 0.5
    uint64_t limit_ns; // of the run; 0: none
} subject_t;

typedef struct outcome {
    weir_code_t code;
    const char *stage; // "load", "plan", "session", "run": where it ended
    char text[400];
    uint64_t output_bytes; // of the run's outputs
    uint64_t output_sum;   // over all of them
} outcome_t;

void subject_run(weir_engine_t *engine, const subject_t *subject, outcome_t *out_outcome);

// An allocator that counts. `now` and `peak` in bytes.
typedef struct meter {
    _Atomic uint64_t now, peak;
    weir_allocator_t allocator;
} meter_t;
void meter_init(meter_t *meter);
void meter_reset_peak(meter_t *meter);

// An engine on one thread without a cache. limits NULL: a run may take 16 MiB, the rest is as it is
// by default. Ends the process when it cannot be made.
weir_engine_t *subject_engine(meter_t *meter, const weir_limits_t *limits);

#endif
