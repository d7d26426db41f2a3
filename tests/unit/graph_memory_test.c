// tests/unit/graph_memory_test.c: a graph is built and simplified while each allocation in turn
// fails, and under every budget of graph_bytes.
#include "tests/unit/graph_support.h"

#include "engine/base/status.h"
#include <stdlib.h>

static uint64_t allocations_left;

static void *counted_alloc(void *user_data, size_t bytes, size_t alignment)
{
    (void)user_data;
    if (allocations_left == 0)
        return NULL;
    allocations_left--;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void counted_free(void *user_data, void *memory)
{
    (void)user_data;
    free(memory);
}

static weir_status_t node(
    weir__graph_t *g, const char *name, const uint32_t *inputs, uint32_t count, uint32_t *out_value)
{
    uint32_t number;
    WEIR_TRY(weir__graph_add_value(g, name, out_value));
    return weir__graph_add_node(
        g, &g->main, weir__op_find(name, 1), inputs, count, out_value, 1, NULL, 0, name, &number);
}

// A convolution, its batch norm as Mul and Add, HardSwish spelled out, and arithmetic on constants.
static weir_status_t build(weir__graph_t *g)
{
    static const float numbers[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    static const float three = 3, zero = 0, six = 6;
    uint32_t x, w, s, c3, c0, c6, v[8];
    WEIR_TRY(weir__graph_add_value(g, "x", &x));
    g->values[x].type = (weir__type_t){.dtype = WEIR_F32, .rank = 4, .dims = {1, 4, 5, 5}};
    WEIR_TRY(weir__graph_add_input(g, x));
    WEIR_TRY(weir__graph_add_constant(g, "w", WEIR_F32, 4, INTS(4, 4, 1, 1), numbers, true, &w));
    WEIR_TRY(weir__graph_add_constant(g, "s", WEIR_F32, 3, INTS(4, 1, 1), numbers, true, &s));
    WEIR_TRY(weir__graph_add_constant(g, "c3", WEIR_F32, 0, NULL, &three, true, &c3));
    WEIR_TRY(weir__graph_add_constant(g, "c0", WEIR_F32, 0, NULL, &zero, true, &c0));
    WEIR_TRY(weir__graph_add_constant(g, "c6", WEIR_F32, 0, NULL, &six, true, &c6));
    WEIR_TRY(node(g, "Conv", VALUES(x, w), &v[0]));
    WEIR_TRY(node(g, "Mul", VALUES(v[0], s), &v[1]));
    WEIR_TRY(node(g, "Sqrt", VALUES(s), &v[2]));
    WEIR_TRY(node(g, "Add", VALUES(v[1], v[2]), &v[3]));
    WEIR_TRY(node(g, "Add", VALUES(v[3], c3), &v[4]));
    WEIR_TRY(node(g, "Clip", VALUES(v[4], c0, c6), &v[5]));
    WEIR_TRY(node(g, "Mul", VALUES(v[3], v[5]), &v[6]));
    WEIR_TRY(node(g, "Div", VALUES(v[6], c6), &v[7]));
    return weir__graph_add_output(g, &g->main, v[7]);
}

static weir_status_t load(weir__heap_t *heap, const weir_limits_t *limits, uint32_t *out_nodes)
{
    weir__graph_t *g = NULL;
    weir_status_t status = weir__graph_create(heap, limits, &g);
    if (!status)
        status = build(g);
    if (!status)
        status = weir__graph_verify(g);
    if (!status)
        status = weir__graph_infer(g);
    if (!status)
        status = weir__graph_simplify(g, evaluate, NULL);
    *out_nodes = status ? 0 : g->main.node_count;
    weir__graph_free(g);
    return status;
}

// Goal:   running out of memory at any point is a status, and nothing leaks.
// Method: let the n-th allocation and all after it fail, for every n until a load succeeds.
static void graph_memory_every_allocation(void **state)
{
    (void)state;
    const weir_allocator_t allocator = {.alloc = counted_alloc, .free = counted_free};
    weir_limits_t limits = test_limits();
    uint32_t nodes = 0, failures = 0;
    for (uint64_t n = 0; nodes == 0; n++) {
        weir__heap_t heap;
        weir__heap_init(&heap, &allocator, 0);
        allocations_left = n;
        weir_status_t status = load(&heap, &limits, &nodes);
        assert_int_equal(atomic_load(&heap.now_bytes), 0);
        if (status) {
            assert_int_equal(weir_status_code(status), WEIR_RESOURCE_EXHAUSTED);
            failures++;
        }
        weir_status_free(status);
        assert_true(n < 10000);
    }
    assert_int_equal(nodes, 2); // Conv and HardSwish
    assert_true(failures > 20);
}

// Goal:   graph_bytes is a limit wherever it is reached.
static void graph_memory_every_budget(void **state)
{
    (void)state;
    weir_limits_t limits = test_limits();
    uint32_t nodes = 0, failures = 0;
    for (uint64_t budget = 64; nodes == 0; budget += 64) {
        weir__heap_t heap;
        weir__heap_init(&heap, NULL, 0);
        limits.graph_bytes = budget;
        weir_status_t status = load(&heap, &limits, &nodes);
        assert_int_equal(atomic_load(&heap.now_bytes), 0);
        if (status) {
            assert_int_equal(weir_status_code(status), WEIR_LIMIT);
            failures++;
        }
        weir_status_free(status);
        assert_true(budget < 1u << 20);
    }
    assert_int_equal(nodes, 2);
    assert_true(failures > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(graph_memory_every_allocation),
        cmocka_unit_test(graph_memory_every_budget)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
