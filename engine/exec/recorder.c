// engine/exec/recorder.c: see recorder.h. The thread starts with the first launch that is worth it.
#include "engine/exec/recorder.h"

#include <string.h>

#define POPULAR 8     // launches before one is recorded
#define TRIES_MAX 3   // of one that is refused: it may be for want of memory, or of a kernel's code
#define QUEUED_MAX 64 // asked for at a time; more are asked for again at a later launch

struct weir__recorder {
    weir__heap_t *heap;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool is_running, is_stopping;
    weir__replay_t *first, *last, *current;
    uint32_t count;
};

weir_status_t weir__recorder_create(weir__heap_t *heap, weir__recorder_t **out_recorder)
{
    weir__recorder_t *recorder = weir__heap_calloc(heap, 1, sizeof *recorder);
    if (!recorder)
        return weir__status_no_memory();
    recorder->heap = heap;
    pthread_mutex_init(&recorder->lock, NULL);
    pthread_cond_init(&recorder->changed, NULL);
    *out_recorder = recorder;
    return NULL;
}

void weir__recorder_free(weir__recorder_t *recorder)
{
    if (!recorder)
        return;
    pthread_mutex_lock(&recorder->lock);
    recorder->is_stopping = true;
    bool is_running = recorder->is_running;
    pthread_cond_broadcast(&recorder->changed);
    pthread_mutex_unlock(&recorder->lock);
    if (is_running)
        pthread_join(recorder->thread, NULL);
    pthread_cond_destroy(&recorder->changed);
    pthread_mutex_destroy(&recorder->lock);
    weir__heap_free(recorder->heap, recorder);
}

// ---- The thread --------------------------------------------------------------------------------

static weir__replay_state_t record(weir__replay_t *replay)
{
    weir__opened_t *opened = replay->opened;
    weir_handle_t handle = 0;
    if (!weir__opened_enter(opened))
        return WEIR__REPLAY_REFUSED;
    weir_code_t code = opened->plugin->device.record(
        replay->specialization, replay->bindings, replay->binding_count, &handle);
    weir_status_t status = weir__opened_status(opened, code, "record");
    if (!status)
        replay->recording = weir__made_new(opened, WEIR__MADE_RECORDING, handle);
    else
        weir__log(
            opened->registry->log, WEIR_LOG_DEBUG, "device", "%s", weir_status_message(status));
    weir_status_free(status);
    weir__opened_leave(opened);
    if (replay->recording)
        return WEIR__REPLAY_READY;
    if (++replay->refused_count == TRIES_MAX)
        return WEIR__REPLAY_REFUSED;
    replay->run_count = 0; // as many launches later it is asked for again
    return WEIR__REPLAY_COUNTING;
}

static void *recorder_main(void *argument)
{
    weir__recorder_t *recorder = argument;
    pthread_mutex_lock(&recorder->lock);
    while (!recorder->is_stopping) {
        weir__replay_t *replay = recorder->first;
        if (!replay) {
            pthread_cond_wait(&recorder->changed, &recorder->lock);
            continue;
        }
        recorder->first = replay->next;
        recorder->count--;
        recorder->current = replay;
        pthread_mutex_unlock(&recorder->lock);
        weir__replay_state_t state = record(replay);
        pthread_mutex_lock(&recorder->lock);
        recorder->current = NULL;
        atomic_store_explicit(&replay->state, state, memory_order_release);
        pthread_cond_broadcast(&recorder->changed);
    }
    pthread_mutex_unlock(&recorder->lock);
    return NULL;
}

// ---- Its users ---------------------------------------------------------------------------------

static void ask(weir__recorder_t *recorder, weir__replay_t *replay)
{
    pthread_mutex_lock(&recorder->lock);
    if (!recorder->is_running &&
        pthread_create(&recorder->thread, NULL, recorder_main, recorder) == 0) {
        pthread_setname_np(recorder->thread, "weir-record");
        recorder->is_running = true;
    }
    if (recorder->is_running && recorder->count < QUEUED_MAX) {
        atomic_store_explicit(&replay->state, WEIR__REPLAY_ASKED, memory_order_relaxed);
        replay->next = NULL;
        if (recorder->first)
            recorder->last->next = replay;
        else
            recorder->first = replay;
        recorder->last = replay;
        recorder->count++;
        pthread_cond_broadcast(&recorder->changed);
    }
    pthread_mutex_unlock(&recorder->lock);
}

weir_handle_t weir__replay_next(weir__recorder_t *recorder, weir__replay_t *replay,
    const weir_binding_t *bindings, uint64_t epoch, bool is_fixed)
{
    if (!replay->bindings)
        return 0;
    unsigned state = atomic_load_explicit(&replay->state, memory_order_acquire);
    if (state == WEIR__REPLAY_READY && (!is_fixed || replay->epoch == epoch))
        return weir__made_handle(replay->recording);
    if (state == WEIR__REPLAY_READY) { // other addresses than those that it was made for
        weir__made_release(replay->opened, replay->recording);
        replay->recording = NULL;
        replay->run_count = 0;
        atomic_store_explicit(&replay->state, WEIR__REPLAY_COUNTING, memory_order_relaxed);
        state = WEIR__REPLAY_COUNTING;
    }
    if (state == WEIR__REPLAY_COUNTING && ++replay->run_count > POPULAR) {
        memcpy(replay->bindings, bindings, replay->binding_count * sizeof *bindings);
        replay->epoch = epoch;
        ask(recorder, replay);
    }
    return 0;
}

// Takes it out of the queue, then its launches are counted anew, or waits until the thread is done
// with it.
static void withdraw(weir__recorder_t *recorder, weir__replay_t *replay)
{
    pthread_mutex_lock(&recorder->lock);
    weir__replay_t *before = NULL, *queued = recorder->first;
    while (queued && queued != replay) {
        before = queued;
        queued = queued->next;
    }
    if (queued) {
        if (before)
            before->next = replay->next;
        else
            recorder->first = replay->next;
        if (recorder->last == replay)
            recorder->last = before;
        recorder->count--;
        replay->run_count = 0;
        atomic_store_explicit(&replay->state, WEIR__REPLAY_COUNTING, memory_order_relaxed);
    }
    while (recorder->current == replay)
        pthread_cond_wait(&recorder->changed, &recorder->lock);
    pthread_mutex_unlock(&recorder->lock);
}

void weir__replay_withdraw(weir__recorder_t *recorder, weir__replay_t *replay)
{
    if (replay->bindings &&
        atomic_load_explicit(&replay->state, memory_order_acquire) == WEIR__REPLAY_ASKED)
        withdraw(recorder, replay);
}

void weir__replay_end(weir__recorder_t *recorder, weir__replay_t *replay)
{
    if (!replay->bindings)
        return;
    weir__replay_withdraw(recorder, replay);
    weir__made_release(replay->opened, replay->recording);
    weir__heap_free(recorder->heap, replay->bindings);
}
