// engine/exec/cost.h: what one step of a specialization moves and computes, from its shapes alone.
#ifndef WEIR_EXEC_COST_H
#define WEIR_EXEC_COST_H

#include "engine/exec/spec.h"

// As weir/profile.h counts them; what does not fit in 64 bits stays at UINT64_MAX.
typedef struct weir__cost {
    uint64_t bytes;
    uint64_t flop;
} weir__cost_t;

// Dims are concrete.
weir__cost_t weir__node_cost(const weir_node_t *node);
// A kernel's, or all of a launch's nodes.
weir__cost_t weir__step_cost(const weir__step_t *step);

// Bit p: phase p of the step holds enough work for each of two threads to be worth waking one.
uint32_t weir__step_wide_phases(const weir__step_t *step);

#endif
