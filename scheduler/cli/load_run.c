// The generator: one thread submits on schedule, looks at what was answered, and sleeps; see
// load.h.
//
// Latency counts from the moment at which a request was scheduled, whether the generator was there
// in time or not. Bytes are compared here and not in the callback: the loop has better things to
// do.
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "scheduler/cli/load.h"

// offline keeps so many requests in flight: some full batches; more would only wait longer.
enum { SECOND_NS = 1000000000, ANSWER_SECONDS_MAX = 120, STOP_SECONDS_MAX = 2, OFFLINE_MAX = 256 };

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec at;
    (void)clock_gettime(clock, &at);
    return (uint64_t)at.tv_sec * SECOND_NS + (uint64_t)at.tv_nsec;
}

static void sleep_until(uint64_t at_ns)
{
    const struct timespec at = {
        .tv_sec = (time_t)(at_ns / SECOND_NS), .tv_nsec = (long)(at_ns % SECOND_NS)};
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL); // a signal ends it early
}

// splitmix64 (Steele, Lea, Flood 2014).
static uint64_t draw(weir__load_t *load)
{
    uint64_t word = (load->random += 0x9e3779b97f4a7c15u);
    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
    return word ^ (word >> 31);
}

// Nanoseconds to the next arrival of a Poisson process.
static uint64_t draw_gap_ns(weir__load_t *load, double qps)
{
    const double uniform = ((double)(draw(load) >> 11) + 0.5) / 9007199254740992.0;
    return (uint64_t)(-log(uniform) / qps * SECOND_NS);
}

// ---- One request
// ------------------------------------------------------------------------------------

static void on_event(const weir_event_t *event, void *user_data)
{
    weir__load_slot_t *slot = user_data;
    if (event->kind != WEIR_EVENT_FINAL)
        return;
    weir__load_t *load = slot->load;
    slot->done_ns = weir_now_ns();
    slot->code = weir_status_code(event->status);
    if (event->status)
        (void)snprintf(slot->text, sizeof(slot->text), "%s", weir_status_message(event->status));
    const bool is_closed = load->is_closed;
    slot->next = atomic_load_explicit(&load->done, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(
        &load->done, &slot->next, slot, memory_order_release, memory_order_relaxed)) {
    }
    if (is_closed)
        (void)sem_post(&load->answered);
}

static weir__load_bucket_t *bucket_at(const weir__load_t *load, uint64_t scheduled_ns)
{
    const uint64_t index = (scheduled_ns - load->start_ns) / load->result->bucket_ns;
    return &load->result->buckets[index < WEIR__LOAD_BUCKETS ? index : WEIR__LOAD_BUCKETS - 1];
}

// Something that is no answer.
static void note_failure(
    weir__load_t *load, weir_code_t code, const char *text, uint64_t scheduled_ns)
{
    weir__load_result_t *result = load->result;
    weir__load_bucket_t *bucket = bucket_at(load, scheduled_ns);
    if (code == WEIR_RESOURCE_EXHAUSTED || code == WEIR_INFEASIBLE) {
        result->refused++;
        bucket->refused++;
    } else if (code == WEIR_DEADLINE_EXCEEDED) {
        result->late++;
        bucket->refused++;
    } else {
        result->errors++;
        bucket->other++;
        if (!*result->first_error)
            (void)snprintf(result->first_error, sizeof(result->first_error), "%s: %s",
                weir_code_name(code), text);
    }
}

static weir__load_slot_t *take_slot(weir__load_t *load)
{
    weir__load_model_t *model = &load->models[draw(load) % load->model_count];
    weir__load_slot_t *slot = model->free_slots;
    if (slot)
        model->free_slots = slot->next;
    return slot;
}

static void give_slot(weir__load_slot_t *slot)
{
    slot->next = slot->model->free_slots;
    slot->model->free_slots = slot;
}

static void fill_slot(weir__load_slot_t *slot, uint32_t sample)
{
    size_t at = 0;
    slot->sample = sample;
    for (uint32_t i = 0; i < slot->model->output_count; i++) {
        const weir_value_t *right = &slot->model->answers[sample].values[i];
        slot->outputs[i] = weir_output(right->dtype, slot->buffer + at, right->capacity_bytes);
        at += (size_t)((right->capacity_bytes + 63) / 64 * 64);
    }
}

// Submits a request that was due at `scheduled_ns`. Returns whether it was accepted.
static bool submit(weir__load_t *load, uint64_t scheduled_ns, uint32_t flags)
{
    load->result->offered++;
    bucket_at(load, scheduled_ns)->offered++;
    weir__load_slot_t *slot = take_slot(load);
    if (!slot) {
        note_failure(load, WEIR_RESOURCE_EXHAUSTED, "", scheduled_ns);
        return false;
    }
    fill_slot(slot, (uint32_t)(draw(load) % WEIR__LOAD_SAMPLES));
    slot->scheduled_ns = scheduled_ns;
    slot->run = load->run;
    const weir__cli_inputs_t *sample = &slot->model->samples[slot->sample];
    const bool has_deadline = !load->is_closed && load->options->slo_ns;
    weir_request_t request = {.size = sizeof(request),
        .flags = flags,
        .model = slot->model->name,
        .inputs = sample->values,
        .input_count = sample->count,
        .outputs = slot->outputs,
        .output_count = slot->model->output_count,
        .deadline_ns = has_deadline ? scheduled_ns + load->options->slo_ns : 0,
        .tenant =
            load->options->tenant_count ? (uint32_t)(draw(load) % load->options->tenant_count) : 0,
        .request_id = load->result->offered};
    weir_status_t status = weir_submit(load->scheduler, &request, NULL, on_event, slot);
    if (!status)
        return true;
    note_failure(load, weir_status_code(status), weir_status_message(status), scheduled_ns);
    weir_status_free(status);
    give_slot(slot);
    return false;
}

// ---- Answers
// ----------------------------------------------------------------------------------------

static bool is_right(const weir__load_slot_t *slot)
{
    for (uint32_t i = 0; i < slot->model->output_count; i++) {
        const weir_value_t *right = &slot->model->answers[slot->sample].values[i];
        const weir_value_t *got = &slot->outputs[i];
        if (got->dtype != right->dtype || got->rank != right->rank ||
            memcmp(got->dims, right->dims, right->rank * sizeof(right->dims[0])) != 0 ||
            memcmp(got->data, right->data, (size_t)right->capacity_bytes) != 0)
            return false;
    }
    return true;
}

// Keeps a latency; once the array is full, each of all that came has the same chance to be in it
// (Vitter's algorithm R).
static void note_latency(weir__load_t *load, uint64_t ns)
{
    weir__load_result_t *result = load->result;
    const uint64_t number = result->queries++;
    if (number < WEIR__LOAD_LATENCIES) {
        result->latencies_ns[number] = ns;
        result->latency_count++;
    } else {
        const uint64_t at = draw(load) % (number + 1);
        if (at < WEIR__LOAD_LATENCIES)
            result->latencies_ns[at] = ns;
    }
}

static void look_at(weir__load_t *load, weir__load_slot_t *slot, bool is_query)
{
    weir__load_result_t *result = load->result;
    if (slot->code != WEIR_OK) {
        note_failure(load, slot->code, slot->text, slot->scheduled_ns);
        return;
    }
    const uint64_t ns = slot->done_ns - slot->scheduled_ns;
    weir__load_bucket_t *bucket = bucket_at(load, slot->scheduled_ns);
    result->completed++;
    result->wrong += !is_right(slot);
    if (!load->options->slo_ns || ns <= load->options->slo_ns) {
        result->in_slo++;
        bucket->in_slo++;
    } else {
        bucket->other++;
    }
    weir__histogram_note(WEIR__OBSERVE_LOOP, &bucket->latency_ns, ns);
    if (is_query)
        note_latency(load, ns);
}

// Looks at everything that was answered; returns how much that was.
static uint32_t collect(weir__load_t *load, bool is_query)
{
    uint32_t count = 0;
    weir__load_slot_t *at = atomic_exchange_explicit(&load->done, NULL, memory_order_acquire);
    while (at) {
        weir__load_slot_t *next = at->next;
        if (at->run == load->run) // else a run that waited long enough has counted it
            look_at(load, at, is_query);
        give_slot(at);
        at = next;
        count++;
    }
    return count;
}

static void show_progress(weir__load_t *load, uint64_t now_ns)
{
    const weir__load_result_t *result = load->result;
    if (now_ns < load->next_progress_ns || !isatty(STDERR_FILENO))
        return;
    load->next_progress_ns = now_ns + 500 * WEIR_MS;
    (void)fprintf(stderr, "\r\033[K%.1f s, %llu offered, %llu answered, %llu in time",
        (double)(now_ns - load->start_ns) / 1e9, (unsigned long long)result->offered,
        (unsigned long long)result->completed, (unsigned long long)result->in_slo);
}

// ---- Scenarios
// --------------------------------------------------------------------------------------

// Poisson arrivals, whatever becomes of them.
static void run_open(weir__load_t *load, double qps, uint64_t end_ns)
{
    uint64_t next_ns = load->start_ns + draw_gap_ns(load, qps);
    while (next_ns < end_ns && !*load->stop) {
        (void)collect(load, true);
        const uint64_t now_ns = weir_now_ns();
        show_progress(load, now_ns);
        if (now_ns < next_ns) {
            const uint64_t limit_ns = now_ns + 100 * WEIR_MS; // so that ^C and progress are seen
            sleep_until(next_ns < limit_ns ? next_ns : limit_ns);
            continue;
        }
        weir__histogram_note(WEIR__OBSERVE_LOOP, &load->late_submit_ns, now_ns - next_ns);
        (void)submit(load, next_ns, 0);
        next_ns += draw_gap_ns(load, qps);
    }
}

// One query at a time, of `size` samples; its latency is that of its last answer.
static void run_stream(weir__load_t *load, uint32_t size, uint32_t flags, uint64_t end_ns)
{
    uint64_t now_ns = weir_now_ns();
    while (now_ns < end_ns && !*load->stop) {
        uint32_t waiting = 0;
        for (uint32_t i = 0; i < size; i++)
            waiting += submit(load, now_ns, flags);
        const bool is_whole = waiting == size;
        const uint64_t failed = load->result->offered - load->result->completed;
        uint64_t end_of_query_ns = 0;
        for (; waiting; waiting--) {
            while (sem_wait(&load->answered) != 0 && errno == EINTR && !*load->stop) {
            }
            if (*load->stop)
                return;
            // The list is read only after the semaphore, so the last answer is in it.
            const weir__load_slot_t *at = atomic_load_explicit(&load->done, memory_order_acquire);
            if (at && at->done_ns > end_of_query_ns)
                end_of_query_ns = at->done_ns;
        }
        (void)collect(load, false);
        if (is_whole && load->result->offered - load->result->completed == failed - size)
            note_latency(load, end_of_query_ns - now_ns);
        now_ns = weir_now_ns();
        show_progress(load, now_ns);
    }
}

// As many as there is room for, all the time.
static void run_offline(weir__load_t *load, uint64_t end_ns)
{
    uint64_t in_flight = 0;
    const uint64_t slots = load->slot_count / load->model_count;
    const uint64_t most = slots < OFFLINE_MAX ? slots : OFFLINE_MAX;
    while (weir_now_ns() < end_ns && !*load->stop) {
        bool is_taken = true;
        while (in_flight < most && is_taken && !*load->stop)
            in_flight += is_taken = submit(load, weir_now_ns(), 0);
        if (in_flight && sem_wait(&load->answered) != 0)
            continue;
        while (sem_trywait(&load->answered) == 0) {
        }
        in_flight -= collect(load, true);
        show_progress(load, weir_now_ns());
    }
}

// Waits for what is in flight; what is not answered after a long time is an error.
static void wait_for_rest(weir__load_t *load, bool is_query)
{
    const uint64_t start_ns = weir_now_ns();
    const weir__load_result_t *it = load->result;
    uint64_t ended = 0, limit_ns = 0;
    do {
        (void)collect(load, is_query);
        ended = it->completed + it->refused + it->late + it->errors;
        limit_ns = (*load->stop ? STOP_SECONDS_MAX : ANSWER_SECONDS_MAX) * (uint64_t)SECOND_NS;
        show_progress(load, weir_now_ns());
        if (ended < it->offered)
            sleep_until(weir_now_ns() + WEIR_MS);
    } while (ended < it->offered && weir_now_ns() - start_ns < limit_ns);
    if (*load->stop) {
        load->result->offered = ended; // what ^C cut off is nobody's fault
        return;
    }
    for (uint64_t i = ended; i < it->offered; i++)
        note_failure(load, WEIR_INTERNAL, "a request was never answered", load->start_ns);
}

static weir_code_t make_result(
    double qps, double seconds, weir__load_result_t *out, weir__cli_fault_t *fault)
{
    *out = (weir__load_result_t){.qps = qps,
        .bucket_ns = (uint64_t)(seconds * SECOND_NS / WEIR__LOAD_BUCKETS) + 1,
        .latencies_ns = malloc(WEIR__LOAD_LATENCIES * sizeof(uint64_t)),
        .buckets = calloc(WEIR__LOAD_BUCKETS, sizeof(weir__load_bucket_t))};
    if (out->latencies_ns && out->buckets)
        return WEIR_OK;
    return weir__cli_fault_set(fault, WEIR_RESOURCE_EXHAUSTED, "no memory for the latencies");
}

static int compare(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

weir_code_t weir__load_run(weir__load_t *load, weir__load_scenario_t scenario, double qps,
    double seconds, weir__load_result_t *out_result, weir__cli_fault_t *fault)
{
    const weir_code_t code = make_result(qps, seconds, out_result, fault);
    if (code != WEIR_OK)
        return code;
    weir_scheduler_info_t before = {.size = sizeof(before)}, after = {.size = sizeof(after)};
    weir_scheduler_describe(load->scheduler, &before);
    // Sleeps end when they should, not up to 50 us later; of this thread only.
    (void)prctl(PR_SET_TIMERSLACK, 1ul);
    memset(&load->late_submit_ns, 0, sizeof(load->late_submit_ns));
    load->result = out_result;
    load->run++;
    load->is_closed = scenario != WEIR__LOAD_QPS && scenario != WEIR__LOAD_SERVER;
    const uint64_t thread_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    const uint64_t process_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    load->start_ns = weir_now_ns();
    const uint64_t end_ns = load->start_ns + (uint64_t)(seconds * SECOND_NS);
    if (!load->is_closed)
        run_open(load, qps, end_ns);
    else if (scenario == WEIR__LOAD_OFFLINE)
        run_offline(load, end_ns);
    else
        run_stream(load, scenario == WEIR__LOAD_SINGLE ? 1 : WEIR__LOAD_MULTI,
            scenario == WEIR__LOAD_SINGLE ? WEIR_REQUEST_INLINE : 0, end_ns);
    out_result->offer_ns = weir_now_ns() - load->start_ns;
    wait_for_rest(load, scenario != WEIR__LOAD_MULTI_STREAM && scenario != WEIR__LOAD_SINGLE);
    while (sem_trywait(&load->answered) == 0) {
    }
    if (load->next_progress_ns)
        (void)fputs("\r\033[K", stderr);
    load->next_progress_ns = 0;
    out_result->elapsed_ns = weir_now_ns() - load->start_ns;
    out_result->generator_cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - thread_ns;
    out_result->process_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - process_ns;
    weir_scheduler_describe(load->scheduler, &after);
    out_result->batches = after.batches - before.batches;
    out_result->batch_rows = after.batch_rows - before.batch_rows;
    out_result->inline_runs = after.inline_runs - before.inline_runs;
    out_result->is_interrupted = *load->stop != 0;
    const weir__histogram_t *late = &load->late_submit_ns;
    out_result->late_submit_p99_ns = weir__histogram_quantile(&late, 1, 990);
    qsort(out_result->latencies_ns, out_result->latency_count, sizeof(uint64_t), compare);
    return WEIR_OK;
}

void weir__load_result_free(weir__load_result_t *result)
{
    free(result->latencies_ns);
    free(result->buckets);
    *result = (weir__load_result_t){0};
}

double weir__load_percentile_ms(const weir__load_result_t *result, uint32_t permille)
{
    const uint64_t count = result->latency_count;
    if (!count)
        return NAN;
    const uint64_t rank = (count * permille + 999) / 1000;
    return (double)result->latencies_ns[rank ? rank - 1 : 0] / 1e6;
}
