// scheduler/loop/submit.c: the submitter's side: check, take a slot, publish; or run at once.
//
// No lock, no allocation (but for the text of a refusal), no system call while the loop is awake.
#include "scheduler/loop/loop.h"

#include <string.h>

// Of an inline run: so many times the longest one, this much at least; before there was one.
#define PATIENCE_RUNS 16u
#define PATIENCE_NS (1000 * WEIR_MS)
#define PATIENCE_UNKNOWN_NS (20000 * WEIR_MS)
#define GOOD_BATCHES 8u // after those a device that seemed to hang was only slow
#define HANGS_MAX 3u    // in a row: then a session is not tried any more

// ---- Checks ------------------------------------------------------------------------------------

// "[batch, 16]" as the model declares it.
static void declared_dims(const weir_port_t *port, char *text, size_t bytes)
{
    size_t at = 0;
    int wrote = snprintf(text, bytes, "[");
    for (int32_t d = 0; d < port->rank && wrote >= 0 && (at += (size_t)wrote) < bytes; d++) {
        const char *comma = d ? ", " : "";
        if (port->dims[d] >= 0)
            wrote = snprintf(text + at, bytes - at, "%s%lld", comma, (long long)port->dims[d]);
        else if (port->dim_names[d] && port->dim_names[d][0])
            wrote = snprintf(text + at, bytes - at, "%s%s", comma, port->dim_names[d]);
        else
            wrote = snprintf(text + at, bytes - at, "%s?", comma);
    }
    if (wrote >= 0 && (at += (size_t)wrote) < bytes)
        snprintf(text + at, bytes - at, "]");
}

static weir_status_t wrong_dims(
    const weir__served_t *served, const weir_port_t *port, const weir_value_t *value)
{
    char expected[256], given[256];
    weir_port_t like = {.rank = (int32_t)value->rank};
    for (uint32_t d = 0; d < value->rank; d++)
        like.dims[d] = value->dims[d];
    declared_dims(port, expected, sizeof expected);
    declared_dims(&like, given, sizeof given);
    return WEIR_FAIL(WEIR_INVALID_ARGUMENT, "input \"%s\" of %s@%s: dims %s, expected %s",
        port->name, served->name, served->version, given, expected);
}

static bool dims_fit(const weir_port_t *port, const weir_value_t *value)
{
    if (port->rank >= 0 && (uint32_t)port->rank != value->rank)
        return false;
    for (uint32_t d = 0; d < value->rank; d++)
        if (value->dims[d] < 0 ||
            (port->rank >= 0 && port->dims[d] >= 0 && port->dims[d] != value->dims[d]))
            return false;
    return true;
}

static weir_status_t check_input(
    const weir__served_t *served, uint32_t index, const weir_value_t *value, uint64_t *bytes)
{
    const weir_port_t *port = &served->inputs[index];
    if (value->dtype != port->dtype)
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT, "input \"%s\" of %s@%s: it is %s, expected %s",
            port->name, served->name, served->version, weir_dtype_name(value->dtype),
            weir_dtype_name(port->dtype));
    if (value->rank > WEIR_RANK_MAX)
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT, "input \"%s\" of %s@%s: %u axes, at most %d",
            port->name, served->name, served->version, value->rank, WEIR_RANK_MAX);
    if (!dims_fit(port, value))
        return wrong_dims(served, port, value);
    uint64_t count = weir_value_count(value);
    uint64_t element_bytes = weir_dtype_bytes(value->dtype);
    if (count > UINT64_MAX / 16 || (count && !value->data) ||
        count * element_bytes > value->capacity_bytes)
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
            "input \"%s\" of %s@%s: its dims need more bytes than the %llu that are there",
            port->name, served->name, served->version,
            (unsigned long long)(value->data ? value->capacity_bytes : 0));
    *bytes =
        *bytes > UINT64_MAX - count * element_bytes ? UINT64_MAX : *bytes + count * element_bytes;
    return NULL;
}

static weir_status_t check_same_dims(
    const weir__served_t *served, const weir_value_t *const *inputs)
{
    for (uint32_t i = 0; i < served->same_dim_count; i++) {
        const weir__same_dim_t *it = &served->same_dims[i];
        if (inputs[it->input]->dims[it->axis] == inputs[it->first_input]->dims[it->first_axis])
            continue;
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
            "input \"%s\" of %s@%s: dims[%u] is %lld, but \"%s\" is %lld by input \"%s\"",
            served->inputs[it->input].name, served->name, served->version, it->axis,
            (long long)inputs[it->input]->dims[it->axis],
            served->inputs[it->input].dim_names[it->axis],
            (long long)inputs[it->first_input]->dims[it->first_axis],
            served->inputs[it->first_input].name);
    }
    return NULL;
}

// All inputs bring as many rows, 1 to max_batch.
static weir_status_t count_rows(
    const weir__served_t *served, const weir_value_t *const *inputs, uint32_t *out_rows)
{
    *out_rows = 1;
    if (served->max_batch == 1)
        return NULL;
    int64_t rows = -1;
    uint32_t first = 0;
    for (uint32_t i = 0; i < served->input_count; i++) {
        if (served->input_axes[i] == WEIR_AXIS_NONE)
            continue;
        int64_t here = inputs[i]->dims[served->input_axes[i]];
        if (rows < 0) {
            rows = here;
            first = i;
        }
        if (here != rows)
            return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
                "input \"%s\" of %s@%s has %lld rows, input \"%s\" has %lld",
                served->inputs[i].name, served->name, served->version, (long long)here,
                served->inputs[first].name, (long long)rows);
    }
    if (rows < 1 || rows > served->max_batch)
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
            "a request for %s@%s has %lld rows; 1 to %u (max_batch) can run together", served->name,
            served->version, (long long)rows, served->max_batch);
    *out_rows = (uint32_t)rows;
    return NULL;
}

static weir_status_t check_outputs(const weir__served_t *served, const weir_request_t *request)
{
    for (uint32_t i = 0; i < served->output_count; i++) {
        const weir_value_t *output = &request->outputs[i];
        if (request->state && weir__state_output(request->state, i))
            continue;
        if (output->placement != WEIR_PLACE_CALLER)
            return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
                "output \"%s\" of %s@%s: a request's outputs go to the caller's buffers, "
                "weir_output()",
                served->outputs[i].name, served->name, served->version);
        if (output->dtype != served->outputs[i].dtype)
            return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
                "output \"%s\" of %s@%s: it is %s, the buffer given is for %s",
                served->outputs[i].name, served->name, served->version,
                weir_dtype_name(served->outputs[i].dtype), weir_dtype_name(output->dtype));
    }
    return NULL;
}

weir_status_t weir__submit_check(
    weir__served_t *served, const weir_request_t *request, uint32_t *out_rows, uint64_t *out_bytes)
{
    if (request->input_count != served->input_count ||
        request->output_count != served->output_count)
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
            "%s@%s has %u inputs and %u outputs; %u and %u were given", served->name,
            served->version, served->input_count, served->output_count, request->input_count,
            request->output_count);
    const weir_value_t *inputs[WEIR__INPUTS_MAX];
    *out_bytes = 0;
    for (uint32_t i = 0; i < served->input_count; i++) {
        const weir_value_t *kept = request->state ? weir__state_like(request->state, i) : NULL;
        inputs[i] = kept ? kept : &request->inputs[i];
        WEIR_TRY(check_input(served, i, inputs[i], out_bytes));
    }
    WEIR_TRY(check_same_dims(served, inputs));
    WEIR_TRY(count_rows(served, inputs, out_rows));
    return check_outputs(served, request);
}

// ---- Runs on the submitter's thread ------------------------------------------------------------

static weir__inline_t *take_inline(weir__served_t *served)
{
    for (uint32_t i = 0; i < WEIR__INLINE_MAX; i++)
        if (!atomic_load_explicit(&served->inlines[i].busy, memory_order_relaxed) &&
            !atomic_exchange_explicit(&served->inlines[i].busy, 1, memory_order_acquire))
            return &served->inlines[i];
    return NULL;
}

// May it, and is there a session? Whatever is queued goes first, and a tap sees the loop's only.
static weir__inline_t *may_run_inline(
    weir_scheduler_t *scheduler, weir__served_t *served, const weir_request_t *request)
{
    // What is filled up is filled by the loop: its answer would have other bits otherwise.
    if (!(request->flags & WEIR_REQUEST_INLINE) || request->state || served->path ||
        served->padding_count ||
        atomic_load_explicit(&scheduler->in_flight, memory_order_relaxed) ||
        atomic_load_explicit(&served->tapped, memory_order_relaxed) ||
        atomic_load_explicit(&served->no_inline, memory_order_relaxed))
        return NULL;
    return take_inline(served);
}

// Nobody watches an inline run but its own thread: a device that may hang is given as long as the
// core gives a batch before it is quarantined, or longer. 0: no need.
static uint64_t patience_until(const weir__served_t *served, uint64_t now_ns)
{
    if (!atomic_load_explicit(&served->inline_watched, memory_order_relaxed))
        return 0;
    uint64_t longest_ns = atomic_load_explicit(&served->inline_ns, memory_order_relaxed);
    return now_ns +
           (longest_ns ? WEIR_MAX(PATIENCE_RUNS * longest_ns, PATIENCE_NS) : PATIENCE_UNKNOWN_NS);
}

// After a run that went well, with the session still taken.
static void learn_patience(
    weir__served_t *served, const weir_session_t *session, uint64_t compute_ns)
{
    uint64_t longest_ns = atomic_load_explicit(&served->inline_ns, memory_order_relaxed);
    weir_session_info_t info = {.size = sizeof info};
    if (!longest_ns)
        weir_session_describe(session, &info);
    if (!longest_ns && !info.device_bytes) // host memory: this thread and the team compute
        atomic_store_explicit(&served->inline_watched, 0, memory_order_relaxed);
    if (compute_ns > longest_ns)
        atomic_store_explicit(&served->inline_ns, compute_ns, memory_order_relaxed);
}

// A run was given up, or the session has not answered one that was. It may have been slow only:
// when the device answers batches, it is tried again, and given twice as long.
static void note_hang(weir__served_t *served, weir__inline_t *place, uint64_t given_ns)
{
    unsigned allowed = WEIR__INLINE_ALLOWED;
    uint64_t longest_ns = atomic_load_explicit(&served->inline_ns, memory_order_relaxed);
    longest_ns = WEIR_MAX(longest_ns, given_ns / PATIENCE_RUNS * 2);
    atomic_store_explicit(&served->inline_ns, longest_ns, memory_order_relaxed);
    // It stays taken until then: a device may still write to what it has.
    if (++place->hang_count <= HANGS_MAX)
        atomic_store(&place->hung, 1);
    (void)atomic_compare_exchange_strong(&served->no_inline, &allowed, WEIR__INLINE_HUNG);
}

void weir__inline_note_good(weir__served_t *served)
{
    unsigned hung = WEIR__INLINE_HUNG;
    if (atomic_load_explicit(&served->no_inline, memory_order_relaxed) != WEIR__INLINE_HUNG ||
        ++served->good_count < GOOD_BATCHES)
        return;
    served->good_count = 0;
    for (uint32_t i = 0; i < WEIR__INLINE_MAX; i++)
        if (atomic_exchange(&served->inlines[i].hung, 0))
            atomic_store_explicit(&served->inlines[i].busy, 0, memory_order_release);
    (void)atomic_compare_exchange_strong(&served->no_inline, &hung, WEIR__INLINE_ALLOWED);
}

// 10 ns or so: the run was its own queue, batch and end.
static void note_inline(
    weir_scheduler_t *scheduler, weir__served_t *served, uint32_t tenant, const weir_event_t *event)
{
    weir__core_why_t why = event->status ? WEIR__FINAL_FAILED : WEIR__FINAL_DONE;
    uint64_t compute_ns = event->receipt.compute_ns;
    weir__observe_add(WEIR__OBSERVE_ANY, &served->series->parts[WEIR__OBSERVE_ANY].inline_count, 1);
    weir__observe_ended(WEIR__OBSERVE_ANY, served->series, why, 0, compute_ns);
    weir__observe_ended(WEIR__OBSERVE_ANY, scheduler->tenants[tenant], why, 0, compute_ns);
}

// false: the device is lost or does not answer; the request is to be queued, and may run elsewhere.
static bool run_inline(weir_scheduler_t *scheduler, weir__served_t *served, weir__inline_t *place,
    const weir_request_t *request, uint64_t deadline_ns, uint32_t rows, weir_event_fn callback,
    void *user_data)
{
    weir_run_options_t options = {
        .size = sizeof options, .deadline_ns = deadline_ns, .request_id = request->request_id};
    weir_event_t event = {.kind = WEIR_EVENT_FINAL,
        .output_count = request->output_count,
        .outputs = request->outputs,
        .request_id = request->request_id,
        .receipt = served->placed[0].receipt};
    uint64_t start_ns = weir_now_ns(), until_ns = patience_until(served, start_ns);
    bool hangs = until_ns && (!deadline_ns || until_ns < deadline_ns);
    if (hangs)
        options.deadline_ns = until_ns;
    event.status = weir_session_run(place->session, &options, request->input_count, request->inputs,
        request->output_count, request->outputs);
    event.receipt.compute_ns = weir_now_ns() - start_ns;
    event.receipt.batch_size = rows;
    event.receipt.left = WEIR_LEFT_INLINE;
    if (until_ns && !event.status)
        learn_patience(served, place->session, event.receipt.compute_ns);
    weir_code_t code = weir_status_code(event.status);
    hangs = hangs && code == WEIR_DEADLINE_EXCEEDED;
    hangs |= code == WEIR_UNAVAILABLE; // an earlier run of this session has not ended
    bool lost = code == WEIR_DEVICE_LOST;
    if (lost) // for good: its sessions are of a device that is gone
        atomic_store(&served->no_inline, WEIR__INLINE_NEVER);
    if (hangs) {
        note_hang(served, place, event.receipt.compute_ns);
    } else {
        place->hang_count = 0;
        atomic_store_explicit(&place->busy, 0, memory_order_release);
    }
    if (lost || hangs) {
        weir_status_free(event.status);
        return false;
    }
    atomic_fetch_add_explicit(&scheduler->inline_runs, 1, memory_order_relaxed);
    note_inline(scheduler, served, request->tenant, &event);
    weir_status_t status = event.status;
    callback(&event, user_data);
    weir_status_free(status);
    return true;
}

// ---- Submission --------------------------------------------------------------------------------

// served: NULL where the request has not come so far.
static weir_status_t refuse(weir_scheduler_t *scheduler, weir__served_t *served,
    weir_request_t *request, weir__core_why_t why, weir_status_t status)
{
    atomic_fetch_add_explicit(&scheduler->refused, 1, memory_order_relaxed);
    if (served) {
        weir__observe_refused(WEIR__OBSERVE_ANY, served->series, why);
        weir__observe_refused(WEIR__OBSERVE_ANY, scheduler->tenants[request->tenant], why);
    } else {
        weir__observe_add(WEIR__OBSERVE_ANY, &scheduler->observe->scheduler.unmatched[why], 1);
    }
    weir_code_t code = weir_status_code(status);
    if (code == WEIR_RESOURCE_EXHAUSTED || code == WEIR_UNAVAILABLE)
        request->retry_after_ns = scheduler->limits.retry_ns;
    return status;
}

static weir_status_t check_request(const weir_scheduler_t *scheduler, const weir_request_t *request)
{
    if (!request->model || (request->input_count && !request->inputs) ||
        (request->output_count && !request->outputs) || (request->flags & ~WEIR_REQUEST_INLINE))
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
            "a request has a model, inputs and outputs, and known flags only");
    if (request->tenant >= scheduler->limits.tenant_count || request->priority > 7)
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
            "tenant %u, priority %u: there are tenants 0 to %u and priorities 0 to 7",
            request->tenant, request->priority, scheduler->limits.tenant_count - 1);
    return NULL;
}

static void publish(weir_scheduler_t *scheduler, uint32_t index, weir_ticket_t *out_ticket)
{
    if (out_ticket)
        *out_ticket = weir__slot_ticket(scheduler, index);
    // The ring has room for every slot and as many cancels.
    (void)weir__ring_put(&scheduler->submitted, (uint64_t)index << 1);
    weir__wake(scheduler);
}

// Into the queue, if it has room.
static weir_status_t enqueue(weir_scheduler_t *scheduler, weir__served_t *served,
    const weir_request_t *request, const weir__slot_t *filled, weir_ticket_t *out_ticket,
    weir__core_why_t *out_why)
{
    uint64_t before =
        atomic_fetch_add_explicit(&scheduler->queue_bytes, filled->bytes, memory_order_relaxed);
    if (before > scheduler->options.queue_bytes ||
        filled->bytes > scheduler->options.queue_bytes - before) {
        atomic_fetch_sub_explicit(&scheduler->queue_bytes, filled->bytes, memory_order_relaxed);
        *out_why = WEIR__REFUSE_BYTES;
        return weir__loop_status(WEIR_RESOURCE_EXHAUSTED, WEIR__REFUSE_BYTES);
    }
    uint32_t index = weir__slot_take(scheduler);
    if (index == WEIR__NO_INDEX) {
        atomic_fetch_sub_explicit(&scheduler->queue_bytes, filled->bytes, memory_order_relaxed);
        *out_why = WEIR__REFUSE_COUNT;
        return weir__loop_status(WEIR_RESOURCE_EXHAUSTED, WEIR__REFUSE_COUNT);
    }
    weir__slot_t *slot = &scheduler->slots[index];
    slot->served = served;
    slot->inputs = request->inputs;
    slot->outputs = request->outputs;
    slot->state = request->state;
    slot->callback = filled->callback;
    slot->user_data = filled->user_data;
    slot->submitted_ns = filled->submitted_ns;
    slot->deadline_ns = filled->deadline_ns;
    slot->bytes = filled->bytes;
    slot->rows = filled->rows;
    slot->tenant = request->tenant;
    slot->priority = request->priority;
    slot->request_id = request->request_id;
    atomic_store_explicit(&slot->done, WEIR__DONE_NOT, memory_order_relaxed);
    atomic_store_explicit(&slot->waitable, !filled->callback, memory_order_relaxed);
    if (slot->state)
        weir__state_retain(slot->state);
    atomic_fetch_add(&scheduler->in_flight, 1);
    publish(scheduler, index, out_ticket);
    return NULL;
}

static weir_status_t submit_to(weir_scheduler_t *scheduler, weir__served_t *served,
    weir_request_t *request, weir_ticket_t *out_ticket, weir_event_fn callback, void *user_data,
    weir__core_why_t *out_why)
{
    weir__slot_t filled = {.callback = callback,
        .user_data = user_data,
        .submitted_ns = weir_now_ns(),
        .deadline_ns = request->deadline_ns};
    if (!filled.deadline_ns && served->deadline_ns)
        filled.deadline_ns = served->deadline_ns > UINT64_MAX - filled.submitted_ns
                                 ? UINT64_MAX
                                 : filled.submitted_ns + served->deadline_ns;
    if (filled.deadline_ns && filled.deadline_ns <= filled.submitted_ns) {
        *out_why = WEIR__REFUSE_EXPIRED;
        return weir__loop_status(WEIR_DEADLINE_EXCEEDED, WEIR__REFUSE_EXPIRED);
    }
    WEIR_TRY(weir__submit_check(served, request, &filled.rows, &filled.bytes));
    weir__inline_t *place = callback ? may_run_inline(scheduler, served, request) : NULL;
    if (!place || !run_inline(scheduler, served, place, request, filled.deadline_ns, filled.rows,
                      callback, user_data))
        return enqueue(scheduler, served, request, &filled, out_ticket, out_why);
    weir__served_unpin(served);
    return NULL;
}

// A stream stays with the version that its state was made for, whatever the selector means by now;
// only the name has to be right.
static weir_status_t find_of_state(const weir_request_t *request, weir__served_t **out_served)
{
    weir__served_t *served = weir__state_served(request->state);
    size_t bytes = strlen(served->name);
    if (strncmp(request->model, served->name, bytes) != 0 ||
        (request->model[bytes] && request->model[bytes] != '@'))
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
            "the request is for \"%s\", its state was made for %s@%s", request->model, served->name,
            served->version);
    if (atomic_load(&served->state) != WEIR__SERVED_SERVING)
        return weir__loop_status(WEIR_NOT_FOUND, WEIR__REFUSE_MODEL);
    atomic_fetch_add(&served->pins, 1); // it has the state's as well
    *out_served = served;
    return NULL;
}

weir_status_t weir_submit(weir_scheduler_t *scheduler, weir_request_t *request,
    weir_ticket_t *out_ticket, weir_event_fn callback, void *user_data)
{
    if (out_ticket)
        *out_ticket = 0;
    if (!request || request->size < sizeof *request)
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT, "a request, with its size, is needed");
    weir__observe_add(
        WEIR__OBSERVE_ANY, &scheduler->observe->scheduler.submitted[WEIR__OBSERVE_ANY], 1);
    weir__core_why_t why = WEIR__REFUSE_REQUEST;
    weir_status_t status = check_request(scheduler, request);
    if (status)
        return refuse(scheduler, NULL, request, WEIR__REFUSE_REQUEST, status);
    if (atomic_load_explicit(&scheduler->draining, memory_order_relaxed))
        return refuse(scheduler, NULL, request, WEIR__REFUSE_DRAINING,
            weir__loop_status(WEIR_DRAINING, WEIR__REFUSE_DRAINING));
    weir__served_t *served = NULL;
    if (request->state)
        status = find_of_state(request, &served);
    else if (!(served = weir__served_find(scheduler, request->model)))
        status = weir__served_unknown(scheduler, request->model);
    if (status)
        return refuse(scheduler, NULL, request,
            weir_status_code(status) == WEIR_NOT_FOUND ? WEIR__REFUSE_MODEL : WEIR__REFUSE_REQUEST,
            status);
    status = submit_to(scheduler, served, request, out_ticket, callback, user_data, &why);
    if (!status)
        return NULL; // the pin is the request's now
    status = refuse(scheduler, served, request, why, status);
    weir__served_unpin(served);
    return status;
}

void weir_cancel(weir_scheduler_t *scheduler, weir_ticket_t ticket)
{
    uint32_t index = (uint32_t)ticket, generation = (uint32_t)(ticket >> 32);
    if (!generation || index >= scheduler->options.requests)
        return;
    weir__slot_t *slot = &scheduler->slots[index];
    // A stale caller must not overwrite the mark of the slot's next request.
    unsigned marked = atomic_load(&slot->cancelled);
    do {
        if (atomic_load(&slot->generation) != generation || marked == generation)
            return;
    } while (!atomic_compare_exchange_weak(&slot->cancelled, &marked, generation));
    if (!weir__ring_put(&scheduler->submitted, (uint64_t)index << 1 | 1))
        atomic_store(&scheduler->scan_cancels, 1);
    weir__wake(scheduler);
}

static bool is_done(weir__slot_t *slot)
{
    return atomic_load_explicit(&slot->done, memory_order_acquire) == WEIR__DONE_YES;
}

// Looks for a while, if the options say so, then sleeps. false: the deadline came first.
static bool await_done(weir_scheduler_t *scheduler, weir__slot_t *slot, uint64_t deadline_ns)
{
    weir__spin_t spin = weir__spin_begin(scheduler->options.spin_ns);
    if (deadline_ns)
        spin.until_ns = WEIR_MIN(spin.until_ns, deadline_ns);
    while (!is_done(slot) && weir__spin(&spin))
        ;
    while (!is_done(slot)) {
        if (deadline_ns && weir_now_ns() >= deadline_ns)
            return false;
        unsigned not_done = WEIR__DONE_NOT;
        (void)atomic_compare_exchange_strong(&slot->done, &not_done, WEIR__DONE_AWAITED);
        weir__loop_futex_wait(&slot->done, WEIR__DONE_AWAITED, deadline_ns);
    }
    return true;
}

weir_status_t weir_wait(weir_scheduler_t *scheduler, weir_ticket_t ticket, uint64_t deadline_ns,
    weir_event_t *out_event)
{
    uint32_t index = (uint32_t)ticket, generation = (uint32_t)(ticket >> 32);
    weir__slot_t *slot = index < scheduler->options.requests ? &scheduler->slots[index] : NULL;
    if (!slot || !generation || atomic_load(&slot->generation) != generation ||
        !atomic_load(&slot->waitable))
        return WEIR_FAIL(WEIR_NOT_FOUND,
            "no request with this ticket waits for weir_wait(): it had a callback, or was "
            "waited for already");
    if (weir__is_on_loop(scheduler) && atomic_load(&slot->done) != WEIR__DONE_YES)
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT, "the loop's thread would wait for itself");
    if (!await_done(scheduler, slot, deadline_ns))
        return weir__loop_status(WEIR_UNAVAILABLE, WEIR__REFUSE_NO_INSTANCE);
    weir_event_t event = scheduler->kept[index];
    weir_status_t status = event.status;
    event.status = NULL;
    if (out_event)
        *out_event = event;
    atomic_store(&slot->waitable, 0);
    weir__slot_give(scheduler, index);
    return status;
}
