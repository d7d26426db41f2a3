// The floor: how long threads take to wake each other, without anything to do; see serving.h.
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "benchmarks/serving/serving.h"

typedef struct chain {
    int event, poll;
    serving_gate_t to_worker, to_client;
    atomic_uint from_worker; // what the loop was woken for
    atomic_uint stop;
    bool has_loop;
} chain_t;

static void wake_loop(chain_t *chain)
{
    const uint64_t one = 1;
    if (write(chain->event, &one, sizeof(one)) != sizeof(one))
        abort();
}

static void *run_loop(void *argument)
{
    chain_t *chain = argument;
    for (;;) {
        struct epoll_event event;
        uint64_t count;
        if (epoll_wait(chain->poll, &event, 1, -1) != 1)
            continue;
        if (read(chain->event, &count, sizeof(count)) != sizeof(count))
            abort();
        if (atomic_load(&chain->stop))
            return NULL;
        if (atomic_exchange(&chain->from_worker, 0))
            serving_gate_open(&chain->to_client);
        else
            serving_gate_open(&chain->to_worker);
    }
}

static void *run_worker(void *argument)
{
    chain_t *chain = argument;
    for (;;) {
        serving_gate_wait(&chain->to_worker);
        if (atomic_load(&chain->stop))
            return NULL;
        if (chain->has_loop) {
            atomic_store(&chain->from_worker, 1);
            wake_loop(chain);
        } else {
            serving_gate_open(&chain->to_client);
        }
    }
}

uint64_t serving_floor_ns(
    uint32_t hops, uint32_t turns, serving_place_t client, serving_place_t others)
{
    chain_t chain = {.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
        .poll = epoll_create1(EPOLL_CLOEXEC),
        .has_loop = hops == 4};
    struct epoll_event event = {.events = EPOLLIN};
    uint64_t *times_ns = malloc(turns * sizeof(*times_ns));
    pthread_t loop, worker;
    serving_pin(others);
    if (chain.event < 0 || chain.poll < 0 || !times_ns ||
        epoll_ctl(chain.poll, EPOLL_CTL_ADD, chain.event, &event) != 0 ||
        pthread_create(&loop, NULL, run_loop, &chain) != 0 ||
        pthread_create(&worker, NULL, run_worker, &chain) != 0)
        abort();
    serving_pin(client);
    for (uint32_t i = 0; i < turns; i++) {
        const uint64_t start_ns = serving_now_ns();
        if (chain.has_loop)
            wake_loop(&chain);
        else
            serving_gate_open(&chain.to_worker);
        serving_gate_wait(&chain.to_client);
        times_ns[i] = serving_now_ns() - start_ns;
    }
    atomic_store(&chain.stop, 1);
    wake_loop(&chain);
    serving_gate_open(&chain.to_worker);
    pthread_join(loop, NULL);
    pthread_join(worker, NULL);
    (void)close(chain.event);
    (void)close(chain.poll);
    const uint64_t median_ns = serving_percentile(times_ns, turns, 500);
    free(times_ns);
    serving_pin(SERVING_ALL);
    return median_ns;
}
