// What a count of requests proves; see load.h. Pure arithmetic.
//
// Source: MLCommons LoadGen, early_stopping.cc: the least h with BinomialCDF(t; h + t, 1 - p) <= 1
// - c, with c = 0.99 and no tolerance.
#include <math.h>

#include "scheduler/cli/load.h"

#define WEIR__LOAD_DOUBT 0.01 // 1 - confidence

// P(at most `over` of `count` miss | each misses with probability 1 - percentile), from the largest
// term down: they fall fast enough that few count.
static double doubt(uint64_t over, uint64_t count, double percentile)
{
    const double n = (double)count, k = (double)over, miss = 1 - percentile;
    if (k >= n * miss)
        return 1; // above the mean: more than a half at least, and the terms below would underflow
    double term = exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(miss) +
                      (n - k) * log(percentile));
    double sum = 0;
    for (uint64_t i = over; term > 0; i--) {
        sum += term;
        if (i == 0 || term < sum * 1e-17)
            break;
        term *= (double)i * percentile / ((n - (double)i + 1) * miss);
    }
    return sum;
}

uint64_t weir__load_rule_needed(uint64_t over_count, double percentile)
{
    uint64_t low = 1, high = 2;
    while (doubt(over_count, high + over_count, percentile) > WEIR__LOAD_DOUBT)
        high *= 2;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (doubt(over_count, middle + over_count, percentile) > WEIR__LOAD_DOUBT)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint64_t weir__load_rule_discard(uint64_t count, double percentile)
{
    uint64_t low = 0, high = count; // needed(low) + low <= count, or low is 0
    while (low < high) {
        const uint64_t middle = low + (high - low + 1) / 2;
        if (weir__load_rule_needed(middle, percentile) + middle <= count)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

double weir__load_rule_percentile(weir__load_scenario_t scenario)
{
    return scenario == WEIR__LOAD_SINGLE ? 0.90 : 0.99;
}
