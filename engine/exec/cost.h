// engine/exec/cost.h: what one step of a specialization moves and computes, from its shapes alone.
#ifndef WEIR_EXEC_COST_H
#define WEIR_EXEC_COST_H

#include "engine/exec/spec.h"
#include "engine/plan/cost.h"

// A kernel's, or all of a launch's nodes.
weir__cost_t weir__step_cost(const weir__step_t *step);

// Bit p: phase p of the step holds enough work for each of two threads to be worth waking one.
uint32_t weir__step_wide_phases(const weir__step_t *step);

#endif
