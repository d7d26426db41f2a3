// scheduler/observe/histogram.c: quantiles of log-linear histograms. It only reads.
#include "scheduler/observe/histogram.h"

static uint64_t bucket_of(
    const weir__histogram_t *const *parts, uint32_t part_count, uint32_t index)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < part_count; i++)
        count += atomic_load_explicit(&parts[i]->buckets[index], memory_order_relaxed);
    return count;
}

uint64_t weir__histogram_quantile(
    const weir__histogram_t *const *parts, uint32_t part_count, uint32_t permille)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < WEIR__HISTOGRAM_BUCKETS; i++)
        count += bucket_of(parts, part_count, i);
    if (count == 0)
        return 0;
    // In two parts, so that no count overflows.
    uint64_t rank = count / 1000 * permille + (count % 1000 * permille + 999) / 1000;
    rank = rank ? rank : 1;
    uint32_t index = 0;
    for (uint64_t seen = 0; index < WEIR__HISTOGRAM_BUCKETS - 1; index++) {
        seen += bucket_of(parts, part_count, index);
        if (seen >= rank)
            break;
    }
    return weir__histogram_bound(index);
}
