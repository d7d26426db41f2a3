// How many requests a second an empty model takes from one submitter, and what each costs in CPU
// time and allocations.
#include <string.h>

#include "benchmarks/serving/serving.h"

// A pause is a small part of what the window holds; waiting must not be the CPU time that is
// measured.
enum { WINDOW = 3072, WARM_UP = 100000, PAUSE_NS = 100000 };

typedef struct flood {
    serving_world_t world;
    atomic_uint_fast64_t ended;
    float x[WINDOW][SERVING_COLUMNS], y[WINDOW][SERVING_COLUMNS];
    weir_value_t inputs[WINDOW], outputs[WINDOW];
} flood_t;

static void on_event(const weir_event_t *event, void *user_data)
{
    flood_t *it = user_data;
    serving_need(event->status);
    atomic_fetch_add_explicit(&it->ended, 1, memory_order_release);
}

// Requests [first, first + count), at most WINDOW of them in flight: places are used in turn, and a
// FINAL in the wrong order would show as a wrong answer.
static uint64_t submit_all(flood_t *it, uint64_t first, uint64_t until_ns, uint64_t most)
{
    uint64_t at = first;
    for (; at - first < most; at++) {
        while (at - atomic_load_explicit(&it->ended, memory_order_acquire) >= WINDOW)
            serving_sleep_until(serving_now_ns() + PAUSE_NS);
        if (at % 256 == 0 && until_ns && serving_now_ns() >= until_ns)
            break;
        const size_t place = at % WINDOW;
        it->outputs[place] = weir_f32_out(it->y[place], SERVING_COLUMNS);
        weir_request_t request = {.size = sizeof(request),
            .model = "m",
            .inputs = &it->inputs[place],
            .outputs = &it->outputs[place],
            .input_count = 1,
            .output_count = 1};
        serving_need(weir_submit(it->world.scheduler, &request, NULL, on_event, it));
    }
    while (atomic_load_explicit(&it->ended, memory_order_acquire) < at)
        serving_sleep_until(serving_now_ns() + PAUSE_NS);
    return at;
}

void serving_rate(serving_t *bench)
{
    static flood_t it;
    memset(&it, 0, sizeof(it));
    const weir_serving_options_t serving = {.size = sizeof(serving),
        .max_batch = 256,
        .batching = WEIR_BATCHING_ON,
        .warm_rows = UINT32_MAX};
    serving_open(&it.world, "Identity", 1, NULL, NULL, &serving);
    for (size_t i = 0; i < WINDOW; i++) {
        it.x[i][0] = (float)i;
        it.inputs[i] = weir_f32(it.x[i], 2, 1, SERVING_COLUMNS);
    }
    const uint64_t first = submit_all(&it, 0, 0, WARM_UP);
    const uint64_t allocations = serving_allocations(), cpu_ns = serving_cpu_ns();
    const uint64_t start_ns = serving_now_ns();
    const uint64_t end =
        submit_all(&it, first, start_ns + (uint64_t)(bench->seconds * 1e9), UINT64_MAX);
    const double elapsed_ns = (double)(serving_now_ns() - start_ns);
    const double count = (double)(end - first);
    serving_row(bench, "empty model", "one submitter, batched", count / elapsed_ns * 1e3, "M/s",
        SERVING_AT_LEAST, 2);
    serving_row(bench, "empty model", "CPU time of a request",
        (double)(serving_cpu_ns() - cpu_ns) / count / 1e3, "us", SERVING_AT_MOST, 0.5);
    serving_row(bench, "empty model", "allocations of a request",
        (double)(serving_allocations() - allocations) / count, "", SERVING_AT_MOST, 0);
    for (size_t i = 0; i < WINDOW; i++)
        if (memcmp(it.x[i], it.y[i], sizeof(it.x[i])) != 0) {
            (void)fputs("a wrong answer\n", stderr);
            break;
        }
    serving_close(&it.world);
}
