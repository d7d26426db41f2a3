// tests/faults/batch.h: many cases in few processes, none of which may take the others down.
//
// A child process works through the cases. When it crashes or one case takes longer than allowed,
// that case is reported and another child goes on after it.
#ifndef WEIR_FAULTS_BATCH_H
#define WEIR_FAULTS_BATCH_H

#include <stdint.h>

typedef struct batch {
    uint32_t count;
    uint32_t stall_seconds; // a case that takes longer is ended
    // In the child: once at its begin; the cases; once at its end, after which it must own nothing.
    void (*begin)(void *user);
    void (*run)(void *user, uint32_t index);
    void (*end)(void *user);
    // In the parent: case `index` ended the child. What: "CRASH signal 11", "HANG", "LEAK or crash
    // at the end".
    void (*lost)(void *user, uint32_t index, const char *what);
    void *user;
} batch_t;

// Returns how many children were lost; -1 when none could be started.
int batch_run(const batch_t *batch);

#endif
