// scheduler/observe/histogram.h: log-linear histograms of nanoseconds (or of any counts).
//
// Sixteen buckets an octave: a value is known to 1/16 of itself from 1 to 2^38 (275 s in ns).
// Bounds are inclusive above, as Prometheus' `le` is, and the same in every histogram, so that sums
// of histograms are histograms. (The idea: HdrHistogram's buckets, G. Tene, 2012.)
//
// It must not lock or allocate: a note is two relaxed additions. A reader beside a writer sees some
// state of the last moments, in which the sum may be one note ahead of the buckets.
#ifndef WEIR_SCHEDULER_HISTOGRAM_H
#define WEIR_SCHEDULER_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum {
    WEIR__HISTOGRAM_OCTAVE = 16, // buckets an octave
    WEIR__HISTOGRAM_OCTAVES_LAST = 38,
    // 32 of width 1, then 16 for each octave from 2^5 on; the last one takes what is above.
    WEIR__HISTOGRAM_BUCKETS = 32 + 16 * (WEIR__HISTOGRAM_OCTAVES_LAST - 5) + 1
};

// Who notes. The loop's thread is the only one of its kind, so that its additions need no bus lock;
// everybody else (submitters, inline runs) shares a second copy.
typedef enum weir__observe_writer {
    WEIR__OBSERVE_LOOP,
    WEIR__OBSERVE_ANY,
    WEIR__OBSERVE_WRITERS
} weir__observe_writer_t;

typedef _Atomic uint64_t weir__observe_counter_t;

typedef struct weir__histogram {
    weir__observe_counter_t buckets[WEIR__HISTOGRAM_BUCKETS];
    weir__observe_counter_t sum;
} weir__histogram_t;

static inline void weir__observe_add(
    weir__observe_writer_t writer, weir__observe_counter_t *counter, uint64_t count)
{
    if (writer == WEIR__OBSERVE_LOOP)
        atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + count,
            memory_order_relaxed);
    else
        atomic_fetch_add_explicit(counter, count, memory_order_relaxed);
}

// The bucket of a value: bucket i holds what is above weir__histogram_bound(i - 1) and at most
// weir__histogram_bound(i). 0 counts as 1.
static inline uint32_t weir__histogram_index(uint64_t value)
{
    const uint64_t below = value ? value - 1 : 0; // (low, high] as integers
    if (below < 32)
        return (uint32_t)below;
    const uint32_t octave = 63u - (uint32_t)__builtin_clzll(below);
    if (octave >= WEIR__HISTOGRAM_OCTAVES_LAST)
        return WEIR__HISTOGRAM_BUCKETS - 1;
    return 32u + (octave - 5u) * 16u + (uint32_t)(below >> (octave - 4u)) - 16u;
}

// The greatest value of a bucket; UINT64_MAX of the last one.
static inline uint64_t weir__histogram_bound(uint32_t index)
{
    if (index < 32)
        return index + 1;
    if (index >= WEIR__HISTOGRAM_BUCKETS - 1)
        return UINT64_MAX;
    const uint32_t octave = (index - 32u) / 16u + 5u;
    return (uint64_t)((index - 32u) % 16u + 17u) << (octave - 4u);
}

static inline void weir__histogram_note(
    weir__observe_writer_t writer, weir__histogram_t *histogram, uint64_t value)
{
    weir__observe_add(writer, &histogram->buckets[weir__histogram_index(value)], 1);
    weir__observe_add(writer, &histogram->sum, value);
}

// The bound of the bucket in which the value of rank ceil(permille / 1000 * count) lies, over
// `part_count` histograms taken together; 0 where nothing was noted. Threads: any.
uint64_t weir__histogram_quantile(
    const weir__histogram_t *const *parts, uint32_t part_count, uint32_t permille);

#endif
