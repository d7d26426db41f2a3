// scheduler/core/curve.h: what a batch of n rows costs on one device, learned as it runs.
#ifndef WEIR_SCHEDULER_CORE_CURVE_H
#define WEIR_SCHEDULER_CORE_CURVE_H

#include <stdint.h>

#define WEIR__CURVE_POINT_COUNT 11 // 1, 2, 4 .. 1024 rows

typedef struct weir__curve {
    uint64_t mean_ns[WEIR__CURVE_POINT_COUNT]; // never falls from one point to the next
    uint32_t tail;                             // p95 over mean, in 1/1024; at least 1024
    uint32_t strange;   // how far the sample before was off, in 1/1024, if it was far; else 0
    uint32_t learned;   // how many samples; 0: nothing is known
    uint32_t seen_log;  // bit i: point i was part of a sample
    uint32_t step_rows; // batches are filled up to weir__core_row_step() of at most so many; 0: not
} weir__curve_t;

// 0 while nothing is known: unknown is taken for fast, since only running it makes it known.
uint64_t weir__curve_mean(const weir__curve_t *curve, uint32_t rows);
uint64_t weir__curve_p95(const weir__curve_t *curve, uint32_t rows);
void weir__curve_learn(weir__curve_t *curve, uint32_t rows, uint64_t elapsed_ns);

// The most rows, at most `rows_max`, whose p95 is within `slack_ns`; 0 when not even one row is.
uint32_t weir__curve_rows_within(const weir__curve_t *curve, uint32_t rows_max, uint64_t slack_ns);

#endif
