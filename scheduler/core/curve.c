// scheduler/core/curve.c: a latency curve: mean and p95 of a batch by its rows.
//
// Points at powers of two, straight lines between. A sample moves the two points around it by a
// quarter of the error, the nearer one more (normalised least mean squares). One odd sample is held
// to an eighth of the prediction; a second one that is off to the same side is no accident but a
// machine that became slower or faster, and then all points move at once by the lesser of the two
// ratios. The tail is one ratio for all sizes, moved up 19 for a sample above it and down 1 for one
// below, so it comes to rest where one in 20 is above.
//
// It must not be pessimistic about sizes that it has not seen: those would never be tried.
#include "scheduler/core/curve.h"

#include "scheduler/core/core.h"
#include "scheduler/core/mutant.h"

#define ONE WEIR__CURVE_ONE
#define TAIL_START 1100u
#define TAIL_MAX (4u * ONE)
#define STRANGE_ABOVE 1280u
#define STRANGE_BELOW 820u
// Keeps products of a time, a ratio and a number of rows within 64 bits: 19 hours.
#define TIME_MAX ((uint64_t)1 << 46)

uint32_t weir__core_row_step(uint32_t count, uint32_t most)
{
    return weir__curve_step(count, most);
}

static void keep_monotone(weir__curve_t *curve, uint32_t low)
{
    for (uint32_t i = low; i-- > 0;)
        if (curve->mean_ns[i] > curve->mean_ns[i + 1])
            curve->mean_ns[i] = curve->mean_ns[i + 1];
    for (uint32_t i = 0; i + 1 < WEIR__CURVE_POINT_COUNT; i++) {
        // Twice the rows cost no more than two batches and a bit, else nobody would ever try them
        // again.
        uint64_t most = curve->mean_ns[i] * 9 / 4;
        if (curve->mean_ns[i + 1] > most)
            curve->mean_ns[i + 1] = most;
        // Never seen: as cheap as can be, so that it is tried.
        if (curve->mean_ns[i + 1] < curve->mean_ns[i] || !(curve->seen_log >> (i + 1)))
            curve->mean_ns[i + 1] = curve->mean_ns[i];
    }
}

static void learn_first(weir__curve_t *curve, uint32_t rows, uint64_t elapsed_ns)
{
    for (uint32_t i = 0; i < WEIR__CURVE_POINT_COUNT; i++) {
        uint64_t here = (uint64_t)1 << i;
        // Half fixed, half by the row, until smaller batches say otherwise.
        curve->mean_ns[i] =
            here < rows ? elapsed_ns * (rows + here) / (2 * (uint64_t)rows) : elapsed_ns;
    }
    curve->tail = TAIL_START;
}

static void learn_error(
    weir__curve_t *curve, uint32_t rows, uint64_t elapsed_ns, uint64_t predicted_ns)
{
    uint32_t low = weir__curve_point_below(rows);
    int64_t way = (int64_t)weir__curve_way_up(rows, low), rest = (int64_t)ONE - way;
    int64_t error = (int64_t)elapsed_ns - (int64_t)predicted_ns;
    int64_t most = (int64_t)predicted_ns / 8 + 1;
    error = error > most ? most : error < -most ? -most : error;
    int64_t norm = (rest * rest + way * way) / (int64_t)ONE;
    int64_t to_low = error * rest / norm / 4, to_high = error * way / norm / 4;
    curve->mean_ns[low] = (uint64_t)((int64_t)curve->mean_ns[low] + to_low);
    curve->mean_ns[low + 1] = (uint64_t)((int64_t)curve->mean_ns[low + 1] + to_high);
    if (curve->mean_ns[low + 1] < curve->mean_ns[low])
        curve->mean_ns[low + 1] = curve->mean_ns[low];
    keep_monotone(curve, low);
}

// Two samples that are off to the same side: the machine changed. Returns 1 when all points were
// moved.
static int learn_level(weir__curve_t *curve, uint32_t ratio)
{
    uint32_t before = curve->strange;
    int above = ratio > STRANGE_ABOVE, below = ratio < STRANGE_BELOW;
    curve->strange = above || below ? ratio : 0;
    uint32_t scale = 0;
    if (above && before > STRANGE_ABOVE)
        scale = before < ratio ? before : ratio;
    if (below && before && before < STRANGE_BELOW)
        scale = before > ratio ? before : ratio;
    if (!scale)
        return 0;
    for (uint32_t i = 0; i < WEIR__CURVE_POINT_COUNT; i++) {
        uint64_t mean = curve->mean_ns[i] * scale / ONE;
        curve->mean_ns[i] = mean < 1 ? 1 : mean > TIME_MAX ? TIME_MAX : mean;
    }
    curve->strange = 0;
    return 1;
}

void weir__curve_learn(weir__curve_t *curve, uint32_t rows, uint64_t elapsed_ns)
{
    if (WEIR__MUTANT(10))
        return;
    if (elapsed_ns < 1)
        elapsed_ns = 1;
    if (elapsed_ns > TIME_MAX)
        elapsed_ns = TIME_MAX;
    rows = weir__curve_run_rows(curve, rows);
    uint32_t low = weir__curve_point_below(rows);
    curve->seen_log |= (uint32_t)(weir__curve_way_up(rows, low) ? 3 : 1) << low;
    if (curve->learned == 0) {
        learn_first(curve, rows, elapsed_ns);
        curve->learned = 1;
        return;
    }
    if (curve->learned < UINT32_MAX)
        curve->learned++;
    uint64_t predicted = weir__curve_mean(curve, rows);
    if (predicted < 1)
        predicted = 1;
    uint64_t wide =
        elapsed_ns / predicted >= 64 ? 64 * (uint64_t)ONE : elapsed_ns * ONE / predicted;
    uint32_t ratio = wide < 16 ? 16 : (uint32_t)wide;
    if (learn_level(curve, ratio))
        return;
    learn_error(curve, rows, elapsed_ns, predicted);
    if (ratio > curve->tail)
        curve->tail = curve->tail + 19 > TAIL_MAX ? TAIL_MAX : curve->tail + 19;
    else if (curve->tail > ONE)
        curve->tail--;
}

void weir__curve_restore(
    weir__curve_t *curve, uint32_t rows, uint64_t mean_ns, uint32_t tail, int seen)
{
    uint32_t point = weir__curve_point_below(rows);
    point += rows > (uint32_t)1 << point; // the last one is above the last pair
    mean_ns = mean_ns < 1 ? 1 : mean_ns > TIME_MAX ? TIME_MAX : mean_ns;
    uint32_t first = curve->learned ? point : 0;
    if (first && curve->mean_ns[first - 1] > mean_ns) // whoever kept it was mistaken
        mean_ns = curve->mean_ns[first - 1];
    for (uint32_t i = first; i < WEIR__CURVE_POINT_COUNT; i++)
        curve->mean_ns[i] = mean_ns;
    curve->seen_log |= (uint32_t)(seen != 0) << point;
    curve->tail = tail < ONE ? ONE : tail > TAIL_MAX ? TAIL_MAX : tail;
    curve->learned = curve->learned ? curve->learned : 1;
}

uint32_t weir__curve_rows_within(const weir__curve_t *curve, uint32_t rows_max, uint64_t slack_ns)
{
    uint32_t low = 0, high = rows_max;
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        if (weir__curve_p95(curve, middle) <= slack_ns)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}
