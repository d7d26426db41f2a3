// engine/plan/learn.c: from times of steps to times of units.
//
// A step is what ran: a kernel with what is fused to it, or a launch of many nodes. Placement asks
// about units, so a step's time is shared out among the units it stands for, by their work. Must
// keep nothing that was not measured whole: a unit of which a part did not run has no time.
#include "engine/plan/learn.h"

#include "engine/plan/place.h"
#include <string.h>

typedef struct tally {
    double ns;
    double share; // of the unit, so far
} tally_t;

struct weir__learner {
    const weir_plan_t *plan;
    int64_t *sizes; // [symbol count] the run's where it tells, nominal elsewhere
    tally_t *units; // [unit_count]
};

weir_status_t weir__learner_open(const weir_plan_t *plan, weir__learner_t **out_learner)
{
    weir__heap_t *heap = &plan->runtime->heap;
    uint64_t symbols = plan->model->graph->symbols.count;
    weir__learner_t *learner = weir__heap_calloc(heap, 1, sizeof *learner);
    if (!learner)
        return weir__status_no_memory();
    learner->plan = plan;
    learner->sizes = weir__heap_alloc(heap, symbols * sizeof *learner->sizes);
    learner->units = weir__heap_calloc(heap, plan->placement->unit_count, sizeof(tally_t));
    if (!learner->sizes || !learner->units) {
        weir__learner_close(learner);
        return weir__status_no_memory();
    }
    if (symbols)
        memcpy(learner->sizes, plan->placement->sizes, symbols * sizeof *learner->sizes);
    *out_learner = learner;
    return NULL;
}

void weir__learner_close(weir__learner_t *learner)
{
    if (!learner)
        return;
    weir__heap_t *heap = &learner->plan->runtime->heap;
    weir__heap_free(heap, learner->units);
    weir__heap_free(heap, learner->sizes);
    weir__heap_free(heap, learner);
}

void weir__learner_dims(
    weir__learner_t *learner, uint32_t value, uint32_t rank, const int64_t *dims)
{
    const weir_plan_t *plan = learner->plan;
    if (value == WEIR__NONE)
        return;
    const weir__type_t *type = &plan->model->graph->values[weir__plan_original(plan, value)].type;
    for (uint32_t d = 0; type->rank == (int32_t)rank && d < rank; d++)
        if (type->dims[d] < 0)
            learner->sizes[-1 - type->dims[d]] = dims[d];
}

// What a part of a unit has to do, as a weight.
static double work_of(const weir__learner_t *learner, const weir__share_t *share)
{
    const weir__unit_t *unit = &learner->plan->placement->units[share->unit];
    weir__cost_t cost =
        weir__nodes_cost(learner->plan, unit->nodes, unit->node_count, learner->sizes);
    return share->share * (1 + (double)cost.flop + (double)cost.bytes);
}

void weir__learner_time(
    weir__learner_t *learner, const weir__plan_node_t *const *nodes, uint32_t count, uint64_t ns)
{
    double all = 0;
    // Twice over the same: the sum of weights first.
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t n = 0; n < count; n++) {
            weir__shares_t shares;
            weir__plan_shares(learner->plan, nodes[n], learner->sizes, &shares);
            for (uint32_t s = 0; s < shares.count; s++) {
                double work = work_of(learner, &shares.shares[s]);
                if (pass) {
                    tally_t *tally = &learner->units[shares.shares[s].unit];
                    tally->ns += (double)ns * work / all;
                    tally->share += shares.shares[s].share;
                } else {
                    all += work;
                }
            }
        }
}

weir_status_t weir__learner_save(weir__learner_t *learner)
{
    const weir_plan_t *plan = learner->plan;
    const weir__placement_t *placement = plan->placement;
    weir__times_t *times;
    WEIR_TRY(weir__times_open(plan->runtime->cache, &plan->runtime->heap, &times));
    weir_status_t status = NULL;
    for (uint32_t u = 0; u < placement->unit_count && !status; u++) {
        const tally_t *tally = &learner->units[u];
        const weir__unit_t *unit = &placement->units[u];
        if (tally->share < 0.999 || tally->share > 1.001)
            continue; // part of it did not run, or it ran twice
        uint64_t ns = tally->ns < 1 ? 1 : (uint64_t)tally->ns;
        weir__hash_t key =
            weir__nodes_key(plan, unit->nodes, unit->node_count, placement->devices[unit->device]);
        uint32_t size_class =
            weir__size_class(weir__nodes_cost(plan, unit->nodes, unit->node_count, learner->sizes));
        status = weir__times_note(times, key, size_class, ns);
    }
    if (!status)
        status = weir__times_save(times);
    weir__times_close(times);
    return status;
}
