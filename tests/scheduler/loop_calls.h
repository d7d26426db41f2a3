// tests/scheduler/loop_calls.h: a request, its buffers, and what became of it.
#ifndef WEIR_TEST_LOOP_CALLS_H
#define WEIR_TEST_LOOP_CALLS_H

#include "tests/scheduler/loop_world.h"

#include <poll.h>
#include <pthread.h>

// ---- A request and what became of it -----------------------------------------------------------

typedef struct call {
    weir_value_t in, out;
    float x[WORLD_IN * 4], y[WORLD_OUT * 4];
    weir_ticket_t ticket;
    int finals;
    weir_code_t code;
    char text[256];
    weir_receipt_t receipt;
    pthread_t thread;
} call_t;

static inline void note_event(const weir_event_t *event, void *user_data)
{
    call_t *call = user_data;
    call->finals++;
    call->code = weir_status_code(event->status);
    snprintf(call->text, sizeof call->text, "%s", weir_status_text(event->status));
    call->receipt = event->receipt;
    call->thread = pthread_self();
}

static inline weir_request_t request_of(call_t *call, uint32_t seed, uint32_t rows)
{
    memset(call, 0, sizeof *call);
    for (uint32_t i = 0; i < rows * WORLD_IN; i++)
        call->x[i] = (float)((seed * 31 + i * 17) % 101) / 16 - 3;
    call->in = weir_f32(call->x, 2, rows, WORLD_IN);
    call->out = weir_f32_out(call->y, WORLD_OUT * 4);
    return (weir_request_t){.size = sizeof(weir_request_t),
        .model = "rows",
        .inputs = &call->in,
        .outputs = &call->out,
        .input_count = 1,
        .output_count = 1,
        .request_id = seed};
}

static inline weir_status_t submit(world_t *world, call_t *call, weir_request_t *request)
{
    return weir_submit(world->scheduler, request, &call->ticket, note_event, call);
}

static inline void check_answer(world_t *world, call_t *call)
{
    float y[WORLD_OUT * 4];
    weir_value_t out = weir_f32_out(y, WORLD_OUT * 4);
    expect_ok(weir_session_run(world->session, NULL, 1, &call->in, 1, &out));
    assert_int_equal(call->finals, 1);
    assert_int_equal(call->code, WEIR_OK);
    assert_int_equal(call->out.dims[0], call->in.dims[0]);
    assert_memory_equal(y, call->y, (size_t)(call->in.dims[0] * WORLD_OUT) * sizeof(float));
}

static const weir_scheduler_options_t polled = {
    .size = sizeof(weir_scheduler_options_t), .loop = WEIR_LOOP_POLLED};

static inline void open_polled(world_t *world)
{
    world_open(world, rows_graph(), &polled);
    world_add(world, NULL);
    weir_scheduler_poll(world->scheduler);
}

static inline void poll_until(world_t *world, const int *count, int goal)
{
    struct pollfd fd = {.fd = weir_scheduler_fd(world->scheduler), .events = POLLIN};
    while (*count < goal) {
        weir_scheduler_poll(world->scheduler);
        if (*count < goal)
            assert_true(poll(&fd, 1, 10000) > 0); // readable when there is something to do
    }
}

#endif
