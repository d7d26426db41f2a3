// engine/exec/recorder.h: launches that have become popular are recorded, on a thread of the
// engine.
//
// A recording belongs to one session's binding of a specialization. Where the device can take other
// bindings with it (REBIND) it stays good; where it cannot (FIXED) it goes with the session's
// memory. A run never waits for one: it launches without.
#ifndef WEIR_EXEC_RECORDER_H
#define WEIR_EXEC_RECORDER_H

#include "engine/plan/plan.h"

typedef struct weir__recorder weir__recorder_t;

typedef enum weir__replay_state {
    WEIR__REPLAY_COUNTING, // the session's own
    WEIR__REPLAY_ASKED,    // the recorder's
    WEIR__REPLAY_READY,
    WEIR__REPLAY_REFUSED, // for good
} weir__replay_state_t;

// One launch of a bound specialization.
typedef struct weir__replay {
    struct weir__replay *next; // in the recorder's queue
    atomic_uint state;
    uint32_t run_count;
    uint32_t refused_count; // the recorder's
    uint32_t binding_count;
    weir__opened_t *opened;
    weir_handle_t specialization;
    weir_binding_t *bindings; // [binding_count] a copy; NULL: the device does not replay
    uint64_t epoch;           // of the session's memory that they point to
    weir__made_t *recording;
} weir__replay_t;

weir_status_t weir__recorder_create(weir__heap_t *heap, weir__recorder_t **out_recorder);
void weir__recorder_free(weir__recorder_t *recorder); // joins its thread; NULL is allowed

// The recording to launch with, or 0; every call counts as one launch. bindings: those of now.
weir_handle_t weir__replay_next(weir__recorder_t *recorder, weir__replay_t *replay,
    const weir_binding_t *bindings, uint64_t epoch, bool is_fixed);
// Nothing records it when this returns: its bindings may lose their memory. Waits as below.
void weir__replay_withdraw(weir__recorder_t *recorder, weir__replay_t *replay);
// Ends it, waiting for a call of record() that is under way.
void weir__replay_end(weir__recorder_t *recorder, weir__replay_t *replay);

#endif
