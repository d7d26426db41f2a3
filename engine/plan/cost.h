// engine/plan/cost.h: what a node moves and computes, from its shapes alone.
#ifndef WEIR_PLAN_COST_H
#define WEIR_PLAN_COST_H

#include <stdint.h>
#include <weir/plugin.h>

// As weir/profile.h counts them; what does not fit in 64 bits stays at UINT64_MAX.
typedef struct weir__cost {
    uint64_t bytes;
    uint64_t flop;
} weir__cost_t;

// Dims are concrete.
weir__cost_t weir__node_cost(const weir_node_t *node);

// Arithmetic that stays at the end of its range.
uint64_t weir__cost_sum(uint64_t a, uint64_t b);
uint64_t weir__cost_product(uint64_t a, uint64_t b);

#endif
