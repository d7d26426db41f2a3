// tests/unit/session_steady_test.c: a run of shapes that were seen allocates nothing.
//
// Counted twice: at the engine's allocator, and at the C library's malloc, which this program
// replaces (but under a sanitizer, which has replaced it already).
#include "tests/support/count_malloc.h"
#include "tests/unit/engine_world.h"

// Matrix products with an epilogue, a softmax, a reshape by sizes, and a branch that is data.
static message_t make_model_of_all(void)
{
    static const int64_t dims[] = {16, 16};
    static const int64_t shape[] = {-1, 4};
    float w[256];
    message_t graph = {0}, then = {0}, other = {0}, branches = {0};
    fill_floats(w, 256, 8);
    add_input(&graph, "x", 1, "N,16");
    add_input(&graph, "c", 9, "");
    put_message(&graph, 5, raw_tensor("w", 1, 2, dims, w, sizeof w));
    add_int64s(&graph, "shape", 2, shape);
    add_node(&graph, "MatMul", "first", "x,w", "a", (message_t){0});
    add_node(&graph, "Relu", "relu", "a", "b", (message_t){0});
    add_node(&graph, "MatMul", "second", "b,w", "d", (message_t){0});
    add_node(&graph, "Softmax", "softmax", "d", "e", (message_t){0});
    add_node(&then, "Neg", "neg", "e", "p", (message_t){0});
    add_output(&then, "p");
    add_node(&other, "Exp", "exp", "e", "q", (message_t){0});
    add_output(&other, "q");
    attribute_graph(&branches, "then_branch", then);
    attribute_graph(&branches, "else_branch", other);
    add_node(&graph, "If", "if", "c", "f", branches);
    add_node(&graph, "Reshape", "fours", "f,shape", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

static long allocations(const world_t *world)
{
    return atomic_load(&world->allocations) + atomic_load(&mallocs);
}

// Goal:   after each shape and each branch was seen once, runs allocate nothing at all, whichever
//         of them comes, on one thread and on several.
static void runs_allocate_nothing(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 3; threads += 2) {
        world_t world;
        world_options_t options = {.threads = threads};
        float x[64 * 16], y[64 * 16];
        world_open(&world, make_model_of_all(), &options);
        fill_floats(x, 64 * 16, 4);
        // The counter counts: specializing allocates.
        long start = allocations(&world);
        for (int round = 0; round < 200; round++) {
            uint8_t condition = round / 4 % 3 == 0; // each shape meets both
            int64_t n = (const int64_t[]){1, 64, 7, 30}[round % 4];
            weir_value_t in[] = {
                weir_f32(x, 2, n, 16), weir_tensor(WEIR_BOOL, &condition, 0, NULL)};
            weir_value_t out[] = {weir_f32_out(y, 64 * 16)};
            expect_ok(weir_session_run(world.session, NULL, 2, in, 1, out));
            if (round == 15) {
                assert_true(allocations(&world) > start);
                start = allocations(&world);
            }
        }
        assert_int_equal(allocations(&world), start);
        world_close(&world);
    }
}

// Goal:   one shape and one branch: not a single allocation from the second run on.
static void one_shape_allocates_nothing(void **state)
{
    (void)state;
    world_t world;
    float x[16], y[16];
    uint8_t condition = 0;
    world_open(&world, make_model_of_all(), NULL);
    fill_floats(x, 16, 4);
    weir_value_t in[] = {weir_f32(x, 2, 1, 16), weir_tensor(WEIR_BOOL, &condition, 0, NULL)};
    long before = allocations(&world), start = 0;
    for (int round = 0; round < 50; round++) {
        weir_value_t out[] = {round % 2 ? weir_view() : weir_f32_out(y, 16)};
        expect_ok(weir_session_run(world.session, NULL, 2, in, 1, out));
        if (round == 0)
            start = allocations(&world);
    }
    assert_true(start > before); // the first one did, so the counter counts
    assert_int_equal(allocations(&world), start);
    world_close(&world);
}

// Goal:   the counters see both ways of allocating.
static void counters_count(void **state)
{
    (void)state;
    long before = atomic_load(&mallocs);
    void *volatile block = malloc(10); // volatile: or the pair would be left out
    free(block);
    assert_int_equal(atomic_load(&mallocs) - before, COUNTS_MALLOC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_allocate_nothing),
        cmocka_unit_test(one_shape_allocates_nothing),
        cmocka_unit_test(counters_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
