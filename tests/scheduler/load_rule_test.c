// The rule by which `weir load` says that a percentile is held.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scheduler/cli/load.h"

// Goal: the numbers that LoadGen's documentation names: 64 queries for p90, 662 for p99 of a
// stream.
static void published(void **state)
{
    (void)state;
    assert_int_equal(weir__load_rule_needed(1, 0.90) + 1, 64);
    assert_int_equal(weir__load_rule_needed(1, 0.99) + 1, 662);
    assert_int_equal(weir__load_rule_needed(0, 0.99), 459); // 0.99^459 <= 0.01 < 0.99^458
}

// P(at most `over` misses of `count`), term by term, each from Pascal's triangle.
static long double doubt(unsigned over, unsigned count, long double miss)
{
    long double chances[512] = {1}; // of 0, 1 … misses after so many requests
    for (unsigned n = 0; n < count; n++)
        for (unsigned k = n + 1; k + 1 > 0; k--) {
            chances[k] = chances[k] * (1 - miss) + (k ? chances[k - 1] * miss : 0);
            if (k == 0)
                break;
        }
    long double sum = 0;
    for (unsigned k = 0; k <= over; k++)
        sum += chances[k];
    return sum;
}

// Goal:   the least number that proves it, for 0 to 12 misses at p90.
// Method: the binomial distribution by recurrence.
static void least(void **state)
{
    (void)state;
    for (unsigned over = 0; over <= 12; over++) {
        const unsigned needed = (unsigned)weir__load_rule_needed(over, 0.90);
        assert_true(needed + over < 500);
        assert_true(doubt(over, needed + over, 0.1L) <= 0.01L);
        assert_true(doubt(over, needed + over - 1, 0.1L) > 0.01L);
    }
}

// Goal: as many are discarded as the rule allows, and one more would be too many.
static void discard(void **state)
{
    (void)state;
    assert_int_equal(weir__load_rule_discard(63, 0.90), 0);
    assert_int_equal(weir__load_rule_discard(64, 0.90), 1);
    assert_int_equal(weir__load_rule_discard(661, 0.99), 0);
    assert_int_equal(weir__load_rule_discard(662, 0.99), 1);
    for (uint64_t count = 1000; count < 100000000; count *= 7) {
        const uint64_t most = weir__load_rule_discard(count, 0.99);
        assert_true(most >= 1 && most * 100 <= count);
        assert_true(weir__load_rule_needed(most, 0.99) + most <= count);
        assert_true(weir__load_rule_needed(most + 1, 0.99) + most + 1 > count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published),
        cmocka_unit_test(least),
        cmocka_unit_test(discard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
