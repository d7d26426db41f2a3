// engine/plan/fuse.h: between the two halves of fusion.
#ifndef WEIR_PLAN_FUSE_H
#define WEIR_PLAN_FUSE_H

#include "engine/plan/plan.h"

// Would this kernel take the node? (fuse.c)
bool weir__plan_kernel_takes(
    const weir_plan_t *plan, const weir_kernel_t *kernel, const weir__plan_node_t *node);
// Are both of the same, known rank and dims? (fuse.c)
bool weir__plan_same_dims(const weir__type_t *a, const weir__type_t *b);

// prologue.c: a Pointwise node that only feeds input 0 of a node whose kernel takes prologues moves
// into it.
weir_status_t weir__plan_fuse_prologues(weir_plan_t *plan, weir__plan_region_t *region);

#endif
