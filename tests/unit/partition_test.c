// tests/unit/partition_test.c: the search behind placement, on problems small enough to try all
// answers, and on long ones for its time and determinism.
#include "engine/plan/partition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UNITS_MAX 2000
#define PLACES 3

typedef struct world {
    weir__problem_t problem;
    uint64_t costs[UNITS_MAX * PLACES];
    bool breaks[UNITS_MAX];
    uint64_t launch_ns[PLACES];
    uint32_t memories[PLACES];
    weir__link_t links[WEIR__MEMORIES_MAX][WEIR__MEMORIES_MAX];
    weir__flow_t flows[UNITS_MAX * 2];
    uint32_t readers[UNITS_MAX * 4];
} world_t;

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return *seed >> 33;
}

// Place 0 is the host, 1 another kind of host, 2 has memory of its own. Each unit reads up to three
// values made before it.
static void fill(world_t *world, uint32_t unit_count, uint64_t seed)
{
    memset(world, 0, sizeof *world);
    world->launch_ns[2] = 5000;
    world->memories[2] = 1;
    world->links[0][1] = (weir__link_t){.latency_ns = 3000, .bytes_per_us = 10000};
    world->links[1][0] = (weir__link_t){.latency_ns = 4000, .bytes_per_us = 8000};
    world->problem = (weir__problem_t){.unit_count = unit_count,
        .place_count = PLACES,
        .costs = world->costs,
        .breaks = world->breaks,
        .launch_ns = world->launch_ns,
        .memories = world->memories,
        .links = (const weir__link_t(*)[WEIR__MEMORIES_MAX])world->links,
        .flows = world->flows,
        .readers = world->readers};
    for (uint32_t u = 0; u < unit_count; u++) {
        for (uint32_t p = 0; p < PLACES; p++)
            world->costs[u * PLACES + p] =
                next(&seed) % 5 == 0 ? WEIR__CANNOT : 100 + next(&seed) % (p == 2 ? 4000 : 20000);
        if (world->costs[u * PLACES] == WEIR__CANNOT)
            world->costs[u * PLACES] = 30000;
        world->breaks[u] = next(&seed) % 7 == 0;
    }
    uint32_t readers = 0, flows = 0;
    for (uint32_t u = 0; u <= unit_count; u++) { // the last one: an input of the model
        weir__flow_t *flow = &world->flows[flows++];
        *flow = (weir__flow_t){.maker = u < unit_count ? u : UINT32_MAX,
            .first_reader = readers,
            .host_reads = next(&seed) % 6 == 0,
            .bytes = next(&seed) % 100000};
        uint32_t least = u < unit_count ? u + 1 : 0;
        for (uint64_t r = next(&seed) % 4; r > 0 && least < unit_count; r--)
            world->readers[readers++] = least + (uint32_t)(next(&seed) % 4) % (unit_count - least);
        flow->reader_count = readers - flow->first_reader;
    }
    world->problem.flow_count = flows;
    world->problem.reader_count = readers;
}

static uint64_t best_of_all(const world_t *world)
{
    uint32_t places[10] = {0}, count = world->problem.unit_count;
    uint64_t best = UINT64_MAX;
    for (uint32_t code = 0, end = 1;; code++) {
        if (code == 0)
            for (uint32_t u = 0; u < count; u++)
                end *= PLACES;
        if (code == end)
            return best;
        for (uint32_t u = 0, rest = code; u < count; u++, rest /= PLACES)
            places[u] = rest % PLACES;
        uint64_t cost = weir__partition_cost(&world->problem, places);
        best = cost < best ? cost : best;
    }
}

// Goal:   the answer is never worse than the best of the plain ones and nearly always the best of
//         all.
// Method: 400 random problems of 1 to 8 units, every assignment of each tried.
static void finds_the_best(void **state)
{
    (void)state;
    world_t *world = malloc(sizeof *world);
    weir__heap_t heap;
    weir__heap_init(&heap, NULL, 0);
    uint32_t exact = 0;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        uint32_t places[8], plain[8];
        fill(world, 1 + (uint32_t)(seed % 8), seed);
        assert_null(weir__partition(&heap, &world->problem, places));
        uint64_t found = weir__partition_cost(&world->problem, places);
        uint64_t best = best_of_all(world);
        assert_true(found >= best && found != UINT64_MAX);
        exact += found == best;
        memset(plain, 0, sizeof plain);
        assert_true(found <= weir__partition_cost(&world->problem, plain));
        if (found > best + best / 2)
            fail_msg("seed %llu: %llu instead of %llu", (unsigned long long)seed,
                (unsigned long long)found, (unsigned long long)best);
    }
    if (exact < 390)
        fail_msg("only %u of 400 were the best", exact);
    assert_int_equal(atomic_load(&heap.now_bytes), 0);
    free(world);
}

// Goal:   work goes to the device only where it pays for the copies and the launch.
static void copies_and_launches_count(void **state)
{
    (void)state;
    world_t *world = calloc(1, sizeof *world);
    weir__heap_t heap;
    weir__heap_init(&heap, NULL, 0);
    fill(world, 3, 1);
    // A chain in -> 0 -> 1 -> 2 -> out; the device does each unit in 1 us, the host in `host_ns`.
    for (uint64_t host_ns = 3000; host_ns <= 9000; host_ns += 6000) {
        uint32_t places[3];
        world->problem.flow_count = 4;
        world->problem.reader_count = 3;
        for (uint32_t u = 0; u < 3; u++) {
            world->costs[u * PLACES] = host_ns;
            world->costs[u * PLACES + 1] = WEIR__CANNOT;
            world->costs[u * PLACES + 2] = 1000;
            world->breaks[u] = false;
            world->readers[u] = u;
            world->flows[u + 1] = (weir__flow_t){.maker = u,
                .first_reader = u + 1,
                .reader_count = u < 2,
                .host_reads = u == 2,
                .bytes = 10000};
        }
        world->flows[0] = (weir__flow_t){
            .maker = UINT32_MAX, .first_reader = 0, .reader_count = 1, .bytes = 10000};
        assert_null(weir__partition(&heap, &world->problem, places));
        // 3 us + 1 us up, 4 us + 1.25 us down, 5 us to launch, 3 us of work: 17.25 us.
        uint32_t wanted = host_ns == 9000 ? 2 : 0;
        for (uint32_t u = 0; u < 3; u++)
            assert_int_equal(places[u], wanted);
        assert_int_equal(weir__partition_cost(&world->problem, places), wanted ? 17250 : 9000);
    }
    // One in the middle that the device cannot do: two more copies and a second launch do not pay.
    uint32_t places[3];
    world->costs[1 * PLACES + 2] = WEIR__CANNOT;
    assert_null(weir__partition(&heap, &world->problem, places));
    for (uint32_t u = 0; u < 3; u++)
        assert_int_equal(places[u], 0);
    free(world);
}

// Goal:   equal problems have equal answers, ties go to the first place, and a long problem with a
//         value that everybody reads takes no quadratic time.
static void deterministic_and_quick(void **state)
{
    (void)state;
    world_t *world = malloc(sizeof *world);
    uint32_t *first = calloc(UNITS_MAX, sizeof *first), *second = calloc(UNITS_MAX, sizeof *first);
    weir__heap_t heap;
    weir__heap_init(&heap, NULL, 0);
    fill(world, UNITS_MAX, 5);
    weir__flow_t *shared = &world->flows[world->problem.flow_count - 1];
    shared->reader_count = UNITS_MAX;
    for (uint32_t u = 0; u < UNITS_MAX; u++)
        world->readers[shared->first_reader + u] = u;
    world->problem.reader_count = shared->first_reader + UNITS_MAX;
    assert_null(weir__partition(&heap, &world->problem, first));
    assert_null(weir__partition(&heap, &world->problem, second));
    assert_memory_equal(first, second, UNITS_MAX * sizeof *first);
    assert_true(weir__partition_cost(&world->problem, first) != UINT64_MAX);
    for (uint32_t i = 0; i < UNITS_MAX * PLACES; i++)
        world->costs[i] = 7;
    assert_null(weir__partition(&heap, &world->problem, first));
    for (uint32_t u = 0; u < UNITS_MAX; u++)
        assert_int_equal(first[u], 0);
    assert_int_equal(atomic_load(&heap.now_bytes), 0);
    free(second);
    free(first);
    free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_best),
        cmocka_unit_test(copies_and_launches_count),
        cmocka_unit_test(deterministic_and_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
