// engine/plan/partition.c: the search behind placement.
//
// Finding the cheapest partition of a graph over three places or more is NP-hard; here it is a
// local search in the manner of Kernighan and Lin ("An Efficient Heuristic Procedure for
// Partitioning Graphs", 1970), over runs of neighbours in the order of execution, because that is
// what a launch is. Starts: every unit where it is cheapest alone, and everything at one place as
// far as it can. From each start windows of 1, 2, 4 … neighbours, and whole runs, move to another
// place as long as that makes the sum smaller. The cheapest end wins. Integers only and no clock,
// so equal problems have equal answers.
#include "engine/plan/partition.h"

#include "engine/plan/cost.h"
#include <string.h>

#define WINDOW_MAX 64 // the longest window that is no whole run
#define SWEEPS_MAX 16

typedef struct search {
    const weir__problem_t *problem;
    uint32_t *places;
    // What unit u has to do with: touched[first_touched[u]] up to touched[first_touched[u + 1]],
    // twice the number of a flow, plus 1 where u reads it.
    uint32_t *first_touched, *touched;
    uint32_t *readings; // [flow_count][memory_count] how many units there read it
    uint32_t memory_count;
    uint32_t *stamps; // [flow_count] when the flow was counted last
    uint32_t stamp;
} search_t;

uint64_t weir__link_ns(const weir__link_t *link, uint64_t bytes)
{
    if (!link->bytes_per_us)
        return 0;
    return weir__cost_sum(link->latency_ns, weir__cost_product(bytes, 1000) / link->bytes_per_us);
}

// ---- What an assignment costs ------------------------------------------------------------------

// reached: the memories it is read in, as bits.
static uint64_t flow_cost(
    const weir__problem_t *problem, const weir__flow_t *flow, uint32_t from, uint64_t reached)
{
    uint64_t cost = 0;
    reached |= flow->host_reads;
    reached &= ~(1ull << from);
    for (uint32_t to = 0; reached; to++, reached >>= 1)
        if (reached & 1)
            cost = weir__cost_sum(cost, weir__link_ns(&problem->links[from][to], flow->bytes));
    return cost;
}

static uint32_t made_in(
    const weir__problem_t *problem, const weir__flow_t *flow, const uint32_t *places)
{
    return flow->maker == UINT32_MAX ? 0 : problem->memories[places[flow->maker]];
}

static bool starts_launch(const weir__problem_t *problem, const uint32_t *places, uint32_t unit)
{
    return !unit || problem->breaks[unit] || places[unit - 1] != places[unit];
}

static uint64_t unit_cost(const weir__problem_t *problem, uint32_t unit, uint32_t place)
{
    return problem->costs[(size_t)unit * problem->place_count + place];
}

uint64_t weir__partition_cost(const weir__problem_t *problem, const uint32_t *places)
{
    uint64_t cost = 0;
    for (uint32_t u = 0; u < problem->unit_count; u++) {
        cost = weir__cost_sum(cost, unit_cost(problem, u, places[u]));
        if (starts_launch(problem, places, u))
            cost = weir__cost_sum(cost, problem->launch_ns[places[u]]);
    }
    for (uint32_t f = 0; f < problem->flow_count; f++) {
        const weir__flow_t *flow = &problem->flows[f];
        uint64_t reached = 0;
        for (uint32_t r = 0; r < flow->reader_count; r++)
            reached |= 1ull << problem->memories[places[problem->readers[flow->first_reader + r]]];
        cost =
            weir__cost_sum(cost, flow_cost(problem, flow, made_in(problem, flow, places), reached));
    }
    return cost;
}

static uint64_t flow_cost_now(const search_t *search, uint32_t number)
{
    const weir__flow_t *flow = &search->problem->flows[number];
    const uint32_t *readings = search->readings + (size_t)number * search->memory_count;
    uint64_t reached = 0;
    for (uint32_t m = 0; m < search->memory_count; m++)
        reached |= (uint64_t)(readings[m] != 0) << m;
    return flow_cost(
        search->problem, flow, made_in(search->problem, flow, search->places), reached);
}

// The part of the cost that the places of units [first, end) have a say in.
static uint64_t cost_around(search_t *search, uint32_t first, uint32_t end)
{
    const weir__problem_t *problem = search->problem;
    uint64_t cost = 0;
    search->stamp++;
    for (uint32_t u = first; u <= end && u < problem->unit_count; u++)
        if (starts_launch(problem, search->places, u))
            cost = weir__cost_sum(cost, problem->launch_ns[search->places[u]]);
    for (uint32_t u = first; u < end; u++) {
        cost = weir__cost_sum(cost, unit_cost(problem, u, search->places[u]));
        for (uint32_t t = search->first_touched[u]; t < search->first_touched[u + 1]; t++) {
            uint32_t flow = search->touched[t] / 2;
            if (search->stamps[flow] == search->stamp)
                continue;
            search->stamps[flow] = search->stamp;
            cost = weir__cost_sum(cost, flow_cost_now(search, flow));
        }
    }
    return cost;
}

// ---- Moves
// -----------------------------------------------------------------------------------------

static void set_place(search_t *search, uint32_t unit, uint32_t place)
{
    uint32_t old = search->problem->memories[search->places[unit]];
    uint32_t new = search->problem->memories[place];
    search->places[unit] = place;
    for (uint32_t t = search->first_touched[unit]; old != new &&t < search->first_touched[unit + 1];
         t++) {
        uint32_t *readings =
            search->readings + (size_t)(search->touched[t] / 2) * search->memory_count;
        readings[old] -= search->touched[t] & 1;
        readings[new] += search->touched[t] & 1;
    }
}

// Moves units [first, end) to `place` if that is cheaper. `before`: memory for the places they have
// now.
static bool move(
    search_t *search, uint32_t first, uint32_t end, uint32_t place, uint32_t *before, bool *moved)
{
    const weir__problem_t *problem = search->problem;
    bool differs = false;
    for (uint32_t u = first; u < end; u++) {
        if (unit_cost(problem, u, place) == WEIR__CANNOT)
            return false;
        differs |= search->places[u] != place;
    }
    if (!differs)
        return true;
    uint64_t old_cost = cost_around(search, first, end);
    memcpy(before, search->places + first, (end - first) * sizeof *before);
    for (uint32_t u = first; u < end; u++)
        set_place(search, u, place);
    if (cost_around(search, first, end) < old_cost) {
        *moved = true;
        return true;
    }
    for (uint32_t u = first; u < end; u++)
        set_place(search, u, before[u - first]);
    return true;
}

static bool sweep(search_t *search, uint32_t *before)
{
    const weir__problem_t *problem = search->problem;
    uint32_t count = problem->unit_count;
    bool moved = false;
    for (uint32_t place = 0; place < problem->place_count; place++) {
        for (uint32_t u = 0; u < count; u++)
            for (uint32_t length = 1; length <= WINDOW_MAX && u + length <= count; length *= 2)
                if (!move(search, u, u + length, place, before, &moved))
                    break; // a longer window holds the same unit that cannot
        for (uint32_t first = 0, end; first < count; first = end) {
            end = first + 1;
            while (end < count && !starts_launch(problem, search->places, end))
                end++;
            move(search, first, end, place, before, &moved);
        }
    }
    return moved;
}

// ---- Starts ------------------------------------------------------------------------------------

// Everything at `favourite` as far as it can; otherwise where it is cheapest alone.
static void start_at(const weir__problem_t *problem, uint32_t favourite, uint32_t *places)
{
    for (uint32_t u = 0; u < problem->unit_count; u++) {
        uint32_t best = 0;
        for (uint32_t p = 1; p < problem->place_count; p++)
            if (unit_cost(problem, u, p) < unit_cost(problem, u, best))
                best = p;
        bool fits =
            favourite < problem->place_count && unit_cost(problem, u, favourite) != WEIR__CANNOT;
        places[u] = fits ? favourite : best;
    }
}

// Lists the flows of each unit; touched has room for one maker and all readers of each.
static void list_touched(search_t *search)
{
    const weir__problem_t *problem = search->problem;
    uint32_t *first = search->first_touched;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t f = 0; f < problem->flow_count; f++) {
            const weir__flow_t *flow = &problem->flows[f];
            for (uint32_t r = 0; r <= flow->reader_count; r++) {
                uint32_t unit =
                    r < flow->reader_count ? problem->readers[flow->first_reader + r] : flow->maker;
                if (unit == UINT32_MAX)
                    continue;
                if (pass)
                    search->touched[first[unit]++] = 2 * f + (r < flow->reader_count);
                else
                    first[unit + 1]++;
            }
        }
        for (uint32_t u = 0; u < problem->unit_count && !pass; u++)
            first[u + 1] += first[u];
    }
    // Filling moved each beginning to its end, which is the next one's beginning.
    memmove(first + 1, first, problem->unit_count * sizeof *first);
    first[0] = 0;
}

static void count_readings(search_t *search)
{
    const weir__problem_t *problem = search->problem;
    memset(search->readings, 0,
        (size_t)problem->flow_count * search->memory_count * sizeof *search->readings);
    for (uint32_t f = 0; f < problem->flow_count; f++) {
        const weir__flow_t *flow = &problem->flows[f];
        for (uint32_t r = 0; r < flow->reader_count; r++) {
            uint32_t place = search->places[problem->readers[flow->first_reader + r]];
            search->readings[(size_t)f * search->memory_count + problem->memories[place]]++;
        }
    }
}

static void find(search_t *search, uint32_t *before, uint32_t *out_places)
{
    const weir__problem_t *problem = search->problem;
    uint64_t best = UINT64_MAX;
    for (uint32_t start = 0; start <= problem->place_count; start++) {
        start_at(problem, start ? start - 1 : UINT32_MAX, search->places);
        count_readings(search);
        for (uint32_t i = 0; i < SWEEPS_MAX; i++)
            if (!sweep(search, before))
                break;
        uint64_t cost = weir__partition_cost(problem, search->places);
        if (start && cost >= best)
            continue;
        best = cost;
        memcpy(out_places, search->places, problem->unit_count * sizeof *out_places);
    }
}

// Without launches and copies each unit is alone, and the first start is the answer.
static bool is_separable(const weir__problem_t *problem)
{
    for (uint32_t p = 0; p < problem->place_count; p++)
        if (problem->launch_ns[p] || problem->memories[p])
            return false;
    return true;
}

weir_status_t weir__partition(
    weir__heap_t *heap, const weir__problem_t *problem, uint32_t *out_places)
{
    start_at(problem, UINT32_MAX, out_places);
    if (is_separable(problem))
        return NULL;
    size_t units = problem->unit_count;
    search_t search = {.problem = problem, .memory_count = 1};
    for (uint32_t p = 0; p < problem->place_count; p++)
        if (problem->memories[p] >= search.memory_count)
            search.memory_count = problem->memories[p] + 1;
    search.places = weir__heap_calloc(heap, units + 1, sizeof(uint32_t));
    search.first_touched = weir__heap_calloc(heap, units + 2, sizeof(uint32_t));
    search.touched = weir__heap_calloc(
        heap, (size_t)problem->reader_count + problem->flow_count + 1, sizeof(uint32_t));
    search.stamps = weir__heap_calloc(heap, (size_t)problem->flow_count + 1, sizeof(uint32_t));
    search.readings = weir__heap_calloc(
        heap, (size_t)problem->flow_count + 1, search.memory_count * sizeof(uint32_t));
    uint32_t *before = weir__heap_calloc(heap, units + 1, sizeof(uint32_t));
    weir_status_t status = NULL;
    if (search.places && search.first_touched && search.touched && search.stamps &&
        search.readings && before) {
        list_touched(&search);
        find(&search, before, out_places);
    } else {
        status = weir__status_no_memory();
    }
    weir__heap_free(heap, before);
    weir__heap_free(heap, search.readings);
    weir__heap_free(heap, search.stamps);
    weir__heap_free(heap, search.touched);
    weir__heap_free(heap, search.first_touched);
    weir__heap_free(heap, search.places);
    return status;
}
