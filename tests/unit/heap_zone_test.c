// tests/unit/heap_zone_test.c: accounted memory: the heap's budget and the zone's limit.
#include "engine/base/heap.h"
#include "engine/base/zone.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// An allocator that counts and can be told to fail.
typedef struct ledger {
    int live;
    int calls_left; // before it fails; negative: never
    size_t smallest_alignment;
} ledger_t;

static void *ledger_alloc(void *user_data, size_t bytes, size_t alignment)
{
    ledger_t *ledger = user_data;
    if (ledger->calls_left == 0)
        return NULL;
    ledger->calls_left -= ledger->calls_left > 0;
    ledger->live++;
    if (alignment < ledger->smallest_alignment)
        ledger->smallest_alignment = alignment;
    return aligned_alloc(alignment, (bytes + alignment - 1) & ~(alignment - 1));
}

static void ledger_free(void *user_data, void *memory)
{
    ((ledger_t *)user_data)->live--;
    free(memory);
}

static weir_allocator_t allocator_of(ledger_t *ledger)
{
    *ledger = (ledger_t){.calls_left = -1, .smallest_alignment = SIZE_MAX};
    return (weir_allocator_t){.user_data = ledger, .alloc = ledger_alloc, .free = ledger_free};
}

// Goal:   every byte is accounted for, up and down, and blocks are 64-byte aligned.
static void heap_accounts(void **state)
{
    (void)state;
    ledger_t ledger;
    weir_allocator_t allocator = allocator_of(&ledger);
    weir__heap_t heap;
    weir__heap_init(&heap, &allocator, 0);
    char *blocks[50];
    uint64_t asked = 0;
    for (uint64_t i = 0; i < 50; i++) {
        blocks[i] = weir__heap_alloc(&heap, i * 37);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 64, 0);
        memset(blocks[i], (int)i, (size_t)(i * 37));
        asked += i * 37;
    }
    uint64_t now = atomic_load(&heap.now_bytes);
    assert_true(now >= asked && now <= asked + 50 * 64);
    assert_int_equal(atomic_load(&heap.peak_bytes), now);
    blocks[10] = weir__heap_realloc(&heap, blocks[10], 5000);
    for (int i = 0; i < 370; i++)
        assert_int_equal(blocks[10][i], 10);
    blocks[10] = weir__heap_realloc(&heap, blocks[10], 3);
    assert_int_equal(blocks[10][2], 10);
    for (uint64_t i = 0; i < 50; i++)
        weir__heap_free(&heap, blocks[i]);
    weir__heap_free(&heap, NULL);
    assert_int_equal(atomic_load(&heap.now_bytes), 0);
    assert_true(atomic_load(&heap.peak_bytes) > now);
    assert_int_equal(ledger.live, 0);
    assert_true(ledger.smallest_alignment >= 64);
}

// Goal:   the budget is charged before the allocator is asked, and a refusal costs nothing.
static void heap_keeps_its_budget(void **state)
{
    (void)state;
    ledger_t ledger;
    weir_allocator_t allocator = allocator_of(&ledger);
    weir__heap_t heap;
    weir__heap_init(&heap, &allocator, 4096);
    void *first = weir__heap_alloc(&heap, 4096 - 64);
    assert_non_null(first);
    assert_null(weir__heap_alloc(&heap, 0)); // even a header is over
    assert_int_equal(ledger.live, 1);
    assert_null(weir__heap_realloc(&heap, first, 4097)); // the old block stays
    memset(first, 1, 4096 - 64);
    weir__heap_free(&heap, first);
    assert_non_null(first = weir__heap_alloc(&heap, 100));
    ledger.calls_left = 0;
    assert_null(weir__heap_alloc(&heap, 1));
    weir__heap_free(&heap, first);
    assert_int_equal(atomic_load(&heap.now_bytes), 0);
    assert_int_equal(atomic_load(&heap.peak_bytes), 4096);
}

// Goal:   sizes that do not exist are refused, not wrapped around.
static void heap_refuses_overflow(void **state)
{
    (void)state;
    weir__heap_t heap;
    weir__heap_init(&heap, NULL, 0);
    assert_null(weir__heap_alloc(&heap, UINT64_MAX));
    assert_null(weir__heap_alloc(&heap, UINT64_MAX - 63));
    assert_null(weir__heap_calloc(&heap, UINT64_MAX / 2, 3));
    assert_null(weir__heap_calloc(&heap, 1ull << 32, 1ull << 32));
    assert_int_equal(atomic_load(&heap.now_bytes), 0);
    char *zeroed = weir__heap_calloc(&heap, 33, 31);
    for (int i = 0; i < 33 * 31; i++)
        assert_int_equal(zeroed[i], 0);
    weir__heap_free(&heap, zeroed);
}

static void *churn(void *user)
{
    weir__heap_t *heap = user;
    void *kept[8] = {NULL};
    for (int i = 0; i < 4000; i++) {
        weir__heap_free(heap, kept[i % 8]);
        kept[i % 8] = weir__heap_alloc(heap, (uint64_t)(i * 13 % 400));
    }
    for (int i = 0; i < 8; i++)
        weir__heap_free(heap, kept[i]);
    return NULL;
}

// Goal:   accounting holds with several threads. Labels: threads
static void heap_is_thread_safe(void **state)
{
    (void)state;
    weir__heap_t heap;
    pthread_t threads[4];
    weir__heap_init(&heap, NULL, 6000);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, &heap), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&heap.now_bytes), 0);
    assert_true(atomic_load(&heap.peak_bytes) <= 6000);
}

// Goal:   blocks of a zone are zeroed, aligned, disjoint, and all go at once.
// Method: sizes around every boundary; each block is filled and checked at the end.
static void zone_blocks_are_their_own(void **state)
{
    (void)state;
    ledger_t ledger;
    weir_allocator_t allocator = allocator_of(&ledger);
    weir__heap_t heap;
    weir__zone_t zone;
    weir__heap_init(&heap, &allocator, 0);
    weir__zone_init(&zone, &heap, 0);
    static const uint64_t sizes[] = {
        1, 15, 16, 17, 63, 64, 65, 4095, 4096, 4097, 100, 0, 70000, 2097152, 8, 640};
    enum { COUNT = 64 };
    unsigned char *blocks[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        uint64_t bytes = sizes[i % 16];
        blocks[i] = weir__zone_alloc(&zone, bytes);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % (bytes >= 64 ? 64 : 16), 0);
        for (uint64_t b = 0; b < bytes; b++)
            assert_int_equal(blocks[i][b], 0);
        memset(blocks[i], (int)i + 1, (size_t)bytes);
    }
    for (unsigned i = 0; i < COUNT; i++)
        for (uint64_t b = 0; b < sizes[i % 16]; b++)
            assert_int_equal(blocks[i][b], i + 1);
    assert_string_equal(weir__zone_string(&zone, "abcdef", 3), "abc");
    assert_string_equal(weir__zone_format(&zone, "%d-%s", 7, "x"), "7-x");
    weir__zone_free(&zone);
    assert_int_equal(ledger.live, 0);
    assert_int_equal(atomic_load(&heap.now_bytes), 0);
    weir__zone_free(&zone); // again: nothing
}

// Goal:   a zone that takes over the blocks of another needs no memory of its own for as much,
// clears
//         what it gives out, and keeps only what it used.
// Method: what the heap holds, for small and large pieces.
static void zone_goes_on_in_the_blocks_of_another(void **state)
{
    (void)state;
    weir__heap_t heap;
    weir__zone_t zone;
    weir__heap_init(&heap, NULL, 0);
    weir__zone_chunk_t *blocks = NULL;
    uint64_t held = 0;
    for (int round = 0; round < 3; round++) {
        weir__zone_init(&zone, &heap, 0);
        weir__zone_adopt(&zone, blocks);
        for (int i = 0; i < 200; i++) {
            uint64_t bytes = i == 50 ? 60000 : 100;
            unsigned char *piece = weir__zone_alloc(&zone, bytes);
            assert_non_null(piece);
            for (uint64_t at = 0; at < bytes; at++)
                assert_int_equal(piece[at], 0);
            memset(piece, 0xff, bytes);
        }
        if (round)
            assert_int_equal(atomic_load(&heap.peak_bytes), held);
        held = atomic_load(&heap.now_bytes);
        blocks = weir__zone_leave(&zone);
        assert_int_equal(zone.used_bytes, 0);
    }
    weir__zone_init(&zone, &heap, 0);
    weir__zone_adopt(&zone, blocks);
    assert_non_null(weir__zone_alloc(&zone, 100));
    blocks = weir__zone_leave(&zone);
    assert_true(atomic_load(&heap.now_bytes) < held);
    weir__zone_drop(&heap, blocks);
    assert_int_equal(atomic_load(&heap.now_bytes), 0);
}

// Goal:   a zone stops at its limit, at the heap's, and at impossible sizes; what is there stays.
static void zone_keeps_its_limit(void **state)
{
    (void)state;
    weir__heap_t heap;
    weir__zone_t zone;
    weir__heap_init(&heap, NULL, 1 << 20);
    weir__zone_init(&zone, &heap, 1000);
    char *first = weir__zone_alloc(&zone, 900);
    assert_non_null(first);
    memset(first, 5, 900);
    assert_null(weir__zone_alloc(&zone, 200));
    assert_non_null(weir__zone_alloc(&zone, 80));
    assert_null(weir__zone_alloc(&zone, 80));
    assert_null(weir__zone_alloc(&zone, UINT64_MAX));
    assert_null(weir__zone_alloc(&zone, UINT64_MAX - 15));
    assert_null(weir__zone_array(&zone, UINT64_MAX / 4, 5));
    assert_int_equal(first[899], 5);
    weir__zone_free(&zone);
    weir__zone_init(&zone, &heap, 0);
    assert_null(weir__zone_alloc(&zone, 2 << 20)); // the heap's budget
    assert_non_null(weir__zone_alloc(&zone, 1 << 19));
    weir__zone_free(&zone);
    assert_int_equal(atomic_load(&heap.now_bytes), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap_accounts),
        cmocka_unit_test(heap_keeps_its_budget),
        cmocka_unit_test(heap_refuses_overflow),
        cmocka_unit_test(heap_is_thread_safe),
        cmocka_unit_test(zone_blocks_are_their_own),
        cmocka_unit_test(zone_goes_on_in_the_blocks_of_another),
        cmocka_unit_test(zone_keeps_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
