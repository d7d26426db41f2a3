// scheduler/core/curve.h: what a batch of n rows costs on one device, learned as it runs.
#ifndef WEIR_SCHEDULER_CORE_CURVE_H
#define WEIR_SCHEDULER_CORE_CURVE_H

#include "scheduler/core/core.h"

#define WEIR__CURVE_POINT_COUNT WEIR__CORE_CURVE_POINTS
#define WEIR__CURVE_ONE 1024u // of ratios

typedef struct weir__curve {
    uint64_t mean_ns[WEIR__CURVE_POINT_COUNT]; // never falls from one point to the next
    uint32_t tail;                             // p95 over mean, in 1/1024; at least 1024
    uint32_t strange;   // how far the sample before was off, in 1/1024, if it was far; else 0
    uint32_t learned;   // how many samples; 0: nothing is known
    uint32_t seen_log;  // bit i: point i was part of a sample
    uint32_t step_rows; // batches are filled up to weir__core_row_step() of at most so many; 0: not
} weir__curve_t;

// What weir__core_row_step() says.
static inline uint32_t weir__curve_step(uint32_t count, uint32_t most)
{
    if (count > (uint32_t)1 << 31)
        count = (uint32_t)1 << 31;
    uint32_t power = count <= 1 ? 1 : 1u << (32 - __builtin_clz(count - 1));
    // As many sizes as the engine keeps shapes of a plan, 32: eight of each doubling up to 128, or
    // up to 64 and then two.
    uint32_t fine = most <= 128 ? 128 : 64;
    uint32_t part = power > 16 && power <= fine ? power / 16 : power / 4;
    uint32_t step = part ? (count + part - 1) / part * part : power;
    return step > most && count <= most ? most : step;
}

// As many as such a batch is run with.
static inline uint32_t weir__curve_run_rows(const weir__curve_t *curve, uint32_t rows)
{
    return curve->step_rows ? weir__curve_step(rows, curve->step_rows) : rows;
}

static inline uint32_t weir__curve_point_below(uint32_t rows)
{
    uint32_t point = 31 - (uint32_t)__builtin_clz(rows | 1);
    return point < WEIR__CURVE_POINT_COUNT - 2 ? point : WEIR__CURVE_POINT_COUNT - 2;
}

// How far `rows` lies from its lower point to its upper one, in 1/1024.
static inline uint32_t weir__curve_way_up(uint32_t rows, uint32_t point)
{
    uint32_t low = (uint32_t)1 << point;
    uint32_t way = ((rows - low) * WEIR__CURVE_ONE) >> point;
    return way > WEIR__CURVE_ONE ? WEIR__CURVE_ONE : way;
}

// 0 while nothing is known: unknown is taken for fast, since only running it makes it known.
// Inline: an arrival asks several times.
static inline uint64_t weir__curve_mean(const weir__curve_t *curve, uint32_t rows)
{
    rows = weir__curve_run_rows(curve, rows);
    uint32_t low = weir__curve_point_below(rows), way = weir__curve_way_up(rows, low);
    uint64_t from = curve->mean_ns[low];
    return from + (curve->mean_ns[low + 1] - from) * way / WEIR__CURVE_ONE;
}

static inline uint64_t weir__curve_p95(const weir__curve_t *curve, uint32_t rows)
{
    return weir__curve_mean(curve, rows) * curve->tail / WEIR__CURVE_ONE;
}

void weir__curve_learn(weir__curve_t *curve, uint32_t rows, uint64_t elapsed_ns);
// Takes a point over as it was kept: its mean, and was it part of a sample? rows: a power of two.
// Points come from the least on.
void weir__curve_restore(
    weir__curve_t *curve, uint32_t rows, uint64_t mean_ns, uint32_t tail, int seen);

// The most rows, at most `rows_max`, whose p95 is within `slack_ns`; 0 when not even one row is.
uint32_t weir__curve_rows_within(const weir__curve_t *curve, uint32_t rows_max, uint64_t slack_ns);

#endif
