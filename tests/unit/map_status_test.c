// tests/unit/map_status_test.c: the string map, checked sizes, and statuses.
#include "engine/base/map.h"
#include "engine/base/size.h"
#include "engine/base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define KEYS 700

// Goal:   the map does what an array of "is there, with this number" does.
// Method: a seeded walk of puts, removals and look-ups over few keys, so that slots collide, runs
//         of taken slots form and are cut in the middle; every key is compared now and then.
static void map_follows_its_model(void **state)
{
    (void)state;
    weir__heap_t heap;
    weir__map_t map;
    static char keys[KEYS][8];
    static int64_t model[KEYS];
    weir__heap_init(&heap, NULL, 0);
    weir__map_init(&map, &heap);
    uint32_t number;
    assert_false(weir__map_get(&map, "x", &number));
    weir__map_remove(&map, "x");
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(keys[i], sizeof keys[i], "k%u", i);
        model[i] = -1;
    }
    uint64_t random = 12345, count = 0;
    for (uint32_t step = 0; step < 60000; step++) {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        // The table grows and empties by turns.
        unsigned key = (unsigned)(random >> 40) % KEYS, put = (step / 6000) % 2 ? 30 : 70;
        if ((random >> 33) % 100 < put) {
            count += model[key] < 0;
            model[key] = step;
            char copy[8]; // another address with the same text
            memcpy(copy, keys[key], sizeof copy);
            assert_true(weir__map_put(&map, keys[key], step));
            assert_true(weir__map_get(&map, copy, &number));
        } else {
            count -= model[key] >= 0;
            model[key] = -1;
            weir__map_remove(&map, keys[key]);
        }
        assert_int_equal(map.count, count);
        for (unsigned i = 0; step % 500 == 0 && i < KEYS; i++) {
            bool there = weir__map_get(&map, keys[i], &number);
            assert_int_equal(there, model[i] >= 0);
            if (there)
                assert_int_equal(number, model[i]);
        }
    }
    weir__map_free(&map);
    assert_int_equal(atomic_load(&heap.now_bytes), 0);
}

// Goal:   without memory to grow a put says so and the map stays as it was.
static void map_survives_no_memory(void **state)
{
    (void)state;
    weir__heap_t heap;
    weir__map_t map;
    static char keys[400][8];
    weir__heap_init(&heap, NULL, 6000);
    weir__map_init(&map, &heap);
    uint32_t put = 0, number;
    for (; put < 400; put++) {
        snprintf(keys[put], sizeof keys[put], "%u", put);
        if (!weir__map_put(&map, keys[put], put))
            break;
    }
    assert_true(put > 10 && put < 400);
    for (uint32_t i = 0; i < put; i++)
        assert_true(weir__map_get(&map, keys[i], &number) && number == i);
    weir__map_free(&map);
}

// Goal:   arithmetic on sizes is refused one past the edge and right at it.
static void sizes_at_their_edges(void **state)
{
    (void)state;
    uint64_t u = 0;
    int64_t s = 0;
    assert_true(weir__add_u64(UINT64_MAX - 1, 1, &u) && u == UINT64_MAX);
    assert_false(weir__add_u64(UINT64_MAX, 1, &u));
    assert_true(weir__mul_u64(UINT32_MAX, UINT32_MAX, &u));
    assert_false(weir__mul_u64(1ull << 32, 1ull << 32, &u));
    assert_true(weir__add_i64(INT64_MIN, INT64_MAX, &s) && s == -1);
    assert_false(weir__add_i64(INT64_MIN, -1, &s));
    assert_false(weir__mul_i64(INT64_MIN, -1, &s));
    assert_true(weir__align_u64(0, 64, &u) && u == 0);
    assert_true(weir__align_u64(65, 64, &u) && u == 128);
    assert_true(weir__align_u64(UINT64_MAX - 63, 64, &u) && u == UINT64_MAX - 63);
    assert_false(weir__align_u64(UINT64_MAX - 62, 64, &u));

    static const int64_t empty[] = {INT64_MAX, 0, INT64_MAX}, negative[] = {3, -1},
                         hidden[] = {0, -1}, large[] = {INT64_MAX}, over[] = {INT64_MAX, 2},
                         wrapped[] = {1ll << 32, 1ll << 32}, half[] = {1ll << 61};
    assert_true(weir__dims_count(NULL, 0, &u) && u == 1);
    assert_true(weir__dims_count(empty, 3, &u) && u == 0);
    assert_false(weir__dims_count(negative, 2, &u));
    assert_false(weir__dims_count(hidden, 2, &u)); // a zero before it excuses nothing
    assert_true(weir__dims_count(large, 1, &u) && u == INT64_MAX);
    assert_false(weir__dims_count(over, 2, &u));
    assert_false(weir__dims_count(wrapped, 2, &u));
    assert_true(weir__tensor_bytes(large, 1, WEIR_U8, &u) && u == INT64_MAX);
    assert_false(weir__tensor_bytes(large, 1, WEIR_F16, &u));
    assert_true(weir__tensor_bytes(half, 1, WEIR_I16, &u) && u == 1ull << 62);
    assert_false(weir__tensor_bytes(half, 1, WEIR_F32, &u));
}

// Goal:   a status says code, context and source; NULL is success.
static void status_says_what_and_where(void **state)
{
    (void)state;
    assert_int_equal(weir_status_code(NULL), WEIR_OK);
    assert_string_equal(weir_status_text(NULL), "weir: OK");
    assert_string_equal(weir_status_message(NULL), "");
    weir_status_free(NULL);
    weir_status_t status = WEIR_ERR(WEIR_NOT_FOUND, "file %s of %d", "a", 3);
    assert_int_equal(weir_status_code(status), WEIR_NOT_FOUND);
    assert_string_equal(weir_status_text(status), "weir: NOT_FOUND: file a of 3");
    assert_string_equal(weir_status_message(status), "file a of 3");
    assert_memory_equal(weir_status_source(status), "map_status_test.c:", 18);
    assert_ptr_equal(weir__status_prefix(status, "node %s", "n"), status);
    status = weir__status_prefix(status, "%s", "m.onnx");
    status = weir__status_advise(status, "put it there");
    assert_string_equal(
        weir_status_text(status), "weir: NOT_FOUND: m.onnx: node n: file a of 3; put it there");
    weir_status_free(status);
    assert_null(weir__status_prefix(NULL, "x"));
    assert_null(weir__status_advise(NULL, "x"));
    char name[3000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    status = weir__status_prefix(WEIR_ERR(WEIR_LIMIT, "%s", name), "%s", name);
    assert_int_equal(strlen(weir_status_message(status)), 2 * 2999 + 2); // nothing is cut
    weir_status_free(status);
}

// Goal:   a failure is never taken for success, and what is not known is INTERNAL.
static void status_codes_are_known_ones(void **state)
{
    (void)state;
    static const weir_code_t strange[] = {WEIR_OK, -1, WEIR_INTERNAL + 1, INT32_MAX, INT32_MIN};
    for (unsigned i = 0; i < 5; i++) {
        weir_status_t status = WEIR_ERR(strange[i], "x");
        assert_int_equal(weir_status_code(status), WEIR_INTERNAL);
        assert_string_equal(weir_status_text(status), "weir: INTERNAL: x");
        weir_status_free(status);
    }
    assert_string_equal(weir_code_name(WEIR_DATA_LOSS), "DATA_LOSS");
    assert_string_equal(weir_code_name(WEIR_INTERNAL), "INTERNAL");
    assert_string_equal(weir_code_name(99), "INTERNAL");
    assert_string_equal(weir_code_name(-1), "INTERNAL");
}

// Goal:   the statuses that need no memory are whole, stay whole, and freeing them does nothing.
static void static_statuses(void **state)
{
    (void)state;
    static const weir_code_t codes[] = {
        WEIR_RESOURCE_EXHAUSTED, WEIR_CANCELLED, WEIR_DEADLINE_EXCEEDED, WEIR_UNAVAILABLE};
    for (unsigned i = 0; i < 4; i++) {
        weir_status_t status = weir__status_static(codes[i]);
        char before[400], start[64];
        assert_int_equal(weir_status_code(status), codes[i]);
        snprintf(before, sizeof before, "%s", weir_status_text(status));
        snprintf(start, sizeof start, "weir: %s: ", weir_code_name(codes[i]));
        assert_memory_equal(before, start, strlen(start));
        assert_string_equal(weir_status_message(status), before + strlen(start));
        weir_status_free(status);
        assert_ptr_equal(weir__status_advise(weir__status_prefix(status, "y"), "z"), status);
        assert_string_equal(weir_status_text(weir__status_static(codes[i])), before);
    }
    assert_ptr_equal(weir__status_no_memory(), weir__status_static(WEIR_RESOURCE_EXHAUSTED));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_follows_its_model),
        cmocka_unit_test(map_survives_no_memory),
        cmocka_unit_test(sizes_at_their_edges),
        cmocka_unit_test(status_says_what_and_where),
        cmocka_unit_test(status_codes_are_known_ones),
        cmocka_unit_test(static_statuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
