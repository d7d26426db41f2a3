// bench_observe: what counting costs one request, and what the text costs.
//
// One request is noted as the loop does it: its end in a model's and a tenant's series, and a batch
// of eight in a model's and a device's. It must not be optimised away: the counters are atomics.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "scheduler/observe/observe.h"

enum { REQUESTS = 4000000, BATCH = 8, TURNS = 5 };

static uint64_t now_ns(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static double time_requests(weir__observe_writer_t writer, weir__observe_series_t *model,
    weir__observe_series_t *device, weir__observe_series_t *tenant)
{
    double least = 1e9;
    for (int turn = 0; turn < TURNS; turn++) {
        const uint64_t start_ns = now_ns();
        for (uint64_t i = 0; i < REQUESTS; i++) {
            const uint64_t queue_ns = 1000 + (i * 2654435761u) % 1000000;
            weir__observe_ended(writer, model, WEIR__FINAL_DONE, queue_ns, queue_ns + 50000);
            weir__observe_ended(writer, tenant, WEIR__FINAL_DONE, queue_ns, queue_ns + 50000);
            if (i % BATCH == 0) {
                weir__observe_batch(writer, model, WEIR__DISPATCH_FULL, BATCH, queue_ns);
                weir__observe_batch(writer, device, WEIR__DISPATCH_FULL, BATCH, queue_ns);
            }
        }
        const double ns = (double)(now_ns() - start_ns) / REQUESTS;
        least = ns < least ? ns : least;
    }
    return least;
}

static int count_bytes(void *user_data, const char *text, size_t bytes)
{
    (void)text;
    *(size_t *)user_data += bytes;
    return 0;
}

int main(void)
{
    weir__observe_t *observe = NULL;
    if (weir__observe_create(&observe) != WEIR_OK)
        return 1;
    weir__observe_series_t *model =
        weir__observe_add_series(observe, WEIR__OBSERVE_MODEL, "m", "1");
    weir__observe_series_t *device =
        weir__observe_add_series(observe, WEIR__OBSERVE_DEVICE, "cpu", NULL);
    weir__observe_series_t *tenant =
        weir__observe_add_series(observe, WEIR__OBSERVE_TENANT, "t", NULL);
    if (!model || !device || !tenant)
        return 1;
    const double loop_ns = time_requests(WEIR__OBSERVE_LOOP, model, device, tenant);
    const double any_ns = time_requests(WEIR__OBSERVE_ANY, model, device, tenant);
    size_t bytes = 0;
    const uint64_t start_ns = now_ns();
    const weir_code_t code = weir__observe_text(observe, 1, count_bytes, &bytes);
    const uint64_t text_ns = now_ns() - start_ns;
    (void)printf("{\"bench\": \"observe\", \"loop_ns_per_request\": %.1f, "
                 "\"any_thread_ns_per_request\": %.1f, \"series_bytes\": %zu, \"text_us\": %.1f, "
                 "\"text_bytes\": %zu}\n",
        loop_ns, any_ns, sizeof(weir__observe_series_t), (double)text_ns / 1e3, bytes);
    weir__observe_free(observe);
    return code == WEIR_OK ? 0 : 1;
}
