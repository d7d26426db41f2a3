// engine/plan/learn.h: takes in how long the nodes of a plan took, for plans to come.
#ifndef WEIR_PLAN_LEARN_H
#define WEIR_PLAN_LEARN_H

#include "engine/plan/plan.h"

typedef struct weir__learner weir__learner_t;

// Errors: RESOURCE_EXHAUSTED.
weir_status_t weir__learner_open(const weir_plan_t *plan, weir__learner_t **out_learner);
// What a value's dims were in the run: the open sizes among them are the run's.
void weir__learner_dims(
    weir__learner_t *learner, uint32_t value, uint32_t rank, const int64_t *dims);
// These nodes of the plan took so long together. Called after all dims are known.
void weir__learner_time(
    weir__learner_t *learner, const weir__plan_node_t *const *nodes, uint32_t count, uint64_t ns);
// Keeps the times of what was measured as a whole. Errors: RESOURCE_EXHAUSTED.
weir_status_t weir__learner_save(weir__learner_t *learner);
void weir__learner_close(weir__learner_t *learner); // NULL is allowed

#endif
