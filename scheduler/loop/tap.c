// scheduler/loop/tap.c: copies of sampled requests for a consumer off the hot path.
//
// A ring with one writer, the loop, and one reader; all its memory is taken when it is opened, and
// when it is full the sample is dropped and counted. It must not make the loop wait.
#include "scheduler/loop/loop.h"

#include <stdlib.h>
#include <string.h>

typedef struct place {
    weir_tap_sample_t sample;
    weir_value_t *values; // inputs, then outputs
    char *bytes;
} place_t;

struct weir_tap {
    weir_scheduler_t *scheduler;
    weir__served_t *served; // pinned
    weir_tap_options_t options;
    place_t *places; // [options.count]
    uint64_t seen;   // the loop's: requests that ended well
    _Alignas(64) atomic_uint_fast64_t written;
    _Alignas(64) atomic_uint_fast64_t read;
    uint64_t taken; // the reader's: samples that it has had, the one it looks at included
    atomic_uint_fast64_t dropped;
    weir__command_t *closing; // made in time: closing must not fail
};

static bool copy_value(
    weir_tap_t *tap, place_t *place, uint64_t *at, const weir_value_t *from, weir_value_t *to)
{
    uint64_t bytes = weir_value_count(from) * weir_dtype_bytes(from->dtype);
    uint64_t begin = (*at + 15) & ~(uint64_t)15;
    if (bytes > tap->options.bytes || begin > tap->options.bytes - bytes)
        return false;
    *to = *from;
    to->data = place->bytes + begin;
    to->capacity_bytes = bytes;
    if (bytes)
        memcpy(to->data, from->data, (size_t)bytes);
    *at = begin + bytes;
    return true;
}

void weir__tap_take(weir_tap_t *tap, const weir__slot_t *slot, const weir_event_t *event)
{
    if (tap->seen++ % tap->options.every)
        return;
    uint64_t written = atomic_load_explicit(&tap->written, memory_order_relaxed);
    uint64_t read = atomic_load_explicit(&tap->read, memory_order_acquire);
    place_t *place = &tap->places[written % tap->options.count];
    const weir__served_t *served = tap->served;
    uint64_t at = 0;
    bool fits = written - read < tap->options.count;
    for (uint32_t i = 0; i < served->input_count && fits; i++)
        fits = copy_value(tap, place, &at, weir__slot_input(slot, i), &place->values[i]);
    for (uint32_t i = 0; i < served->output_count && fits; i++) {
        const weir_value_t *kept = slot->state ? weir__state_output(slot->state, i) : NULL;
        fits = copy_value(tap, place, &at, kept ? kept : &slot->outputs[i],
            &place->values[served->input_count + i]);
    }
    if (!fits) {
        atomic_fetch_add_explicit(&tap->dropped, 1, memory_order_relaxed);
        weir__observe_add(WEIR__OBSERVE_LOOP, &served->series->tap_dropped, 1);
        return;
    }
    place->sample = (weir_tap_sample_t){.request_id = event->request_id,
        .ticket = event->ticket,
        .ended_ns = tap->scheduler->now_ns,
        .receipt = event->receipt,
        .input_count = served->input_count,
        .output_count = served->output_count,
        .inputs = place->values,
        .outputs = place->values + served->input_count};
    atomic_store_explicit(&tap->written, written + 1, memory_order_release);
}

int weir_tap_next(weir_tap_t *tap, weir_tap_sample_t *out_sample)
{
    // The one that was given last may be written again from here on.
    atomic_store_explicit(&tap->read, tap->taken, memory_order_release);
    if (tap->taken == atomic_load_explicit(&tap->written, memory_order_acquire))
        return 0;
    *out_sample = tap->places[tap->taken++ % tap->options.count].sample;
    return 1;
}

uint64_t weir_tap_dropped(const weir_tap_t *tap)
{
    return atomic_load_explicit(&tap->dropped, memory_order_relaxed);
}

static void free_tap(weir_tap_t *tap)
{
    for (uint32_t i = 0; tap->places && i < tap->options.count; i++) {
        free(tap->places[i].values);
        free(tap->places[i].bytes);
    }
    free(tap->places);
    free(tap->closing);
    if (tap->served)
        weir__served_unpin(tap->served);
    free(tap);
}

static weir_status_t make_places(weir_tap_t *tap)
{
    tap->places = calloc(tap->options.count, sizeof *tap->places);
    tap->closing = calloc(1, sizeof *tap->closing);
    if (!tap->places || !tap->closing)
        return weir__loop_no_memory();
    for (uint32_t i = 0; i < tap->options.count; i++) {
        place_t *place = &tap->places[i];
        place->values = calloc(
            tap->served->input_count + tap->served->output_count + 1u, sizeof *place->values);
        place->bytes = malloc((size_t)tap->options.bytes);
        if (!place->values || !place->bytes)
            return weir__loop_no_memory();
    }
    return NULL;
}

weir_status_t weir_tap_open(weir_scheduler_t *scheduler, const char *model,
    const weir_tap_options_t *options, weir_tap_t **out_tap)
{
    weir_tap_t *tap = aligned_alloc(64, (sizeof *tap + 63) / 64 * 64);
    weir__command_t *command = calloc(1, sizeof *command);
    if (!tap || !command) {
        free(tap);
        free(command);
        return weir__loop_no_memory();
    }
    memset(tap, 0, sizeof *tap);
    tap->scheduler = scheduler;
    if (options)
        memcpy(&tap->options, options, WEIR_MIN(options->size, sizeof tap->options));
    tap->options.every = tap->options.every ? tap->options.every : 1;
    tap->options.count = tap->options.count ? tap->options.count : 64;
    tap->options.bytes = tap->options.bytes ? tap->options.bytes : 1u << 20;
    tap->served = weir__served_find(scheduler, model);
    bool taken = tap->served && atomic_exchange(&tap->served->tapped, 1);
    weir_status_t status = !tap->served ? weir__served_unknown(scheduler, model)
                           : taken      ? WEIR_FAIL(WEIR_UNAVAILABLE, "%s@%s has a tap already",
                                              tap->served->name, tap->served->version)
                                        : make_places(tap);
    if (status) {
        if (tap->served && !taken)
            atomic_store(&tap->served->tapped, 0);
        free_tap(tap);
        free(command);
        return status;
    }
    command->kind = WEIR__COMMAND_TAP;
    command->served = tap->served;
    command->tap = tap;
    weir__command_post(scheduler, command);
    *out_tap = tap;
    return NULL;
}

void weir__tap_close(weir_tap_t *tap)
{
    tap->served->tap = NULL;
    atomic_store(&tap->served->tapped, 0);
    free_tap(tap);
}

void weir_tap_free(weir_tap_t *tap)
{
    if (!tap)
        return;
    // The loop may just be writing: it frees the tap itself.
    weir__command_t *command = tap->closing;
    tap->closing = NULL;
    command->kind = WEIR__COMMAND_UNTAP;
    command->served = tap->served;
    command->tap = tap;
    weir__command_post(tap->scheduler, command);
}
