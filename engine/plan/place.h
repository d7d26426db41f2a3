// engine/plan/place.h: placement, as its steps share it and as `explain` reads it afterwards.
//
// What moves as one is a *unit*: nodes that would be fused on a device that takes every expression,
// as far as the same devices can run them. docs/decisions/placement.md has the rules.
#ifndef WEIR_PLAN_PLACE_H
#define WEIR_PLAN_PLACE_H

#include "engine/cache/times.h"
#include "engine/plan/cost.h"
#include "engine/plan/partition.h"
#include "engine/plan/plan.h"

// What one device has to do with one unit.
typedef struct weir__candidacy {
    uint64_t cost_ns;   // at nominal sizes
    const char *reason; // of a "no"; NULL: it can
    uint32_t source;    // WEIR_COST_*
    bool is_last;       // it can, but is asked only when nobody else can
} weir__candidacy_t;

typedef struct weir__unit {
    uint32_t *nodes; // [node_count] numbers in the graph, ascending
    uint32_t node_count;
    uint32_t device;                // a place in placement->devices
    weir__candidacy_t *candidacies; // [weir__placement_total()]
    bool is_pinned;
} weir__unit_t;

// A tensor that is made on one device and read on another.
typedef struct weir__cut {
    uint32_t value;                  // of the graph
    const weir__device_t *from, *to; // NULL: the host
    uint64_t bytes;                  // at nominal sizes
    uint64_t cost_ns;                // 0: they share memory
} weir__cut_t;

typedef struct weir__placement {
    weir__device_t *devices[WEIR__MEMORIES_MAX];
    uint32_t device_count; // as asked for; one more is there when is_spare
    bool is_spare;         // plain C was not asked for, and has only what must stay on the host
    weir__unit_t *units;   // in order of execution, region by region
    uint32_t unit_count, unit_capacity;
    uint32_t *node_units; // [graph->node_count] UINT32_MAX: in none
    int64_t *sizes;       // [symbol count] nominal
    weir__cut_t *cuts;
    uint32_t cut_count, cut_capacity;
} weir__placement_t;

static inline uint32_t weir__placement_total(const weir__placement_t *placement)
{
    return placement->device_count + placement->is_spare;
}

// ---- Nominal sizes and what work costs (estimate.c) ---------------------------------------------

// A size for every symbol: 1 for the first axis of an input, 128 for others.
weir_status_t weir__nominal_sizes(weir_plan_t *plan, int64_t **out_sizes);
// Bytes of a value with these sizes for its symbols; what is not known counts as 0.
uint64_t weir__value_bytes(const weir_plan_t *plan, uint32_t value, const int64_t *sizes);
// What nodes of the graph compute, and move if what stays among them is never written down.
weir__cost_t weir__nodes_cost(
    const weir_plan_t *plan, const uint32_t *nodes, uint32_t count, const int64_t *sizes);
// A guess at how long a device takes, by its kind alone; never 0.
uint64_t weir__guess_ns(const weir_plan_t *plan, const weir__device_t *device, weir__cost_t cost);
// What a launch costs beyond its nodes.
uint64_t weir__launch_ns(const weir__device_t *device);
// The links between the memories of the devices; *out_memories[d] is that of device d.
void weir__links(weir__device_t *const *devices, uint32_t count,
    weir__link_t links[WEIR__MEMORIES_MAX][WEIR__MEMORIES_MAX], uint32_t *out_memories);

// Names what a device would do for nodes of the graph, whatever the sizes: operators, attributes,
// types, how they hang together; the device's arch and the plugin's build.
weir__hash_t weir__nodes_key(
    const weir_plan_t *plan, const uint32_t *nodes, uint32_t count, const weir__device_t *device);
// Which times are comparable: those of about as much work.
uint32_t weir__size_class(weir__cost_t cost);

// ---- Steps of placing a region ------------------------------------------------------------------

// What a device said of a node.
typedef struct weir__verdict {
    const weir_kernel_t *kernel; // NULL: of a device that claims itself, or a "no"
    const char *reason;          // of a "no"; NULL: it can
    uint64_t cost_ns;            // as the device said; 0: unknown
} weir__verdict_t;

// A node that the user wants on a device.
typedef struct weir__pin {
    const char *origin; // the name of the ONNX node
    uint32_t device;    // a place in placement->devices
    bool is_used;
} weir__pin_t;

typedef struct weir__placer {
    weir_plan_t *plan;
    weir__placement_t *placement;
    weir__map_t reasons; // texts kept so far -> their places in `texts`
    const char **texts;
    uint32_t text_count, text_capacity;
    weir__times_t *times;  // NULL: none are kept
    weir__map_t pin_names; // ONNX names -> places in `pins`
    weir__pin_t *pins;
    uint32_t pin_count;
    const weir__device_list_t *list;
    const bool *shape_values; // [graph->value_count]
    // By value of the graph, UINT32_MAX between regions, so that a small region costs little.
    uint32_t *producers; // the node of the region that makes it
    uint32_t *flow_of;   // its flow
    uint32_t memories[WEIR__MEMORIES_MAX];
    weir__link_t links[WEIR__MEMORIES_MAX][WEIR__MEMORIES_MAX];
} weir__placer_t;

typedef struct weir__region_placer {
    weir__placer_t *placer;
    weir__plan_region_t *region;
    weir__verdict_t *verdicts; // [node_count][weir__placement_total()]
    uint32_t *groups;          // [node_count] nodes that belong together; UINT32_MAX: in none
} weir__region_placer_t;

// claim.c: asks every device about every node.
weir_status_t weir__place_ask(weir__region_placer_t *region_placer);
// Is that a node which no device but the host's kernels may have, and why? NULL: no.
const char *weir__place_host_only(const weir_plan_t *plan, const weir__plan_node_t *node);
// Is the rank of all its tensors known?
bool weir__place_rank_known(const weir_plan_t *plan, const weir__plan_node_t *node);
// A node of unknown rank: whoever has a kernel of that name may get it once the rank is known.
weir_status_t weir__place_candidates(
    weir_plan_t *plan, const weir__placement_t *placement, weir__plan_node_t *node);

// group.c: fills in groups.
weir_status_t weir__place_group(weir__region_placer_t *region_placer);

// assign.c: makes units of the groups and gives each a device.
weir_status_t weir__place_assign(weir__region_placer_t *region_placer);

// pin.c: reads "origin=device;origin=device" (NULL: nothing). Errors: INVALID_ARGUMENT, NOT_FOUND.
weir_status_t weir__pins_read(weir__placer_t *placer, const char *text);
// The device that is wanted for these nodes of the graph: a place in placement->devices;
// UINT32_MAX: none is. Errors: INVALID_ARGUMENT when two are.
weir_status_t weir__pins_find(
    weir__placer_t *placer, const uint32_t *nodes, uint32_t count, uint32_t *out_device);
// Errors: NOT_FOUND for a pin that no unit has.
weir_status_t weir__pins_check(const weir__placer_t *placer);

// ---- Afterwards (explain.c) ---------------------------------------------------------------------

#define WEIR__PARTS_MAX 16

// How much of a unit a node of the finished plan does.
typedef struct weir__share {
    uint32_t unit; // in placement->units
    double share;  // 0 to 1, of its work
} weir__share_t;

typedef struct weir__shares {
    weir__share_t shares[WEIR__PARTS_MAX];
    uint32_t count; // 0: sizes, views, control flow, a change of format
} weir__shares_t;

// The units that a node of the finished plan stands for. sizes: of symbols, to share work out.
void weir__plan_shares(const weir_plan_t *plan, const weir__plan_node_t *node, const int64_t *sizes,
    weir__shares_t *out_shares);
// What device number `device` of plan->placement has to do with a node of the finished plan; false:
// the node was not placed by cost, or there are not so many devices.
bool weir__plan_candidate(const weir_plan_t *plan, const weir__plan_node_t *node, uint32_t device,
    weir__candidacy_t *out_candidacy);

#endif
