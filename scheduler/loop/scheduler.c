// scheduler/loop/scheduler.c: a scheduler's life: options, memory, commands, the end.
//
// All memory for requests is taken at the creation, sized by the options.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/loop/loop.h"

void weir__loop_log(const weir_scheduler_t *scheduler, weir_log_level_t level, uint64_t request_id,
    const char *format, ...)
{
    if (!scheduler->options.log || level > scheduler->options.log_level)
        return;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    scheduler->options.log(scheduler->options.log_user_data, level, "scheduler", request_id, text);
}

void weir__command_post(weir_scheduler_t *scheduler, weir__command_t *command)
{
    command->next = NULL;
    command->after = weir__ring_tail(&scheduler->submitted);
    pthread_mutex_lock(&scheduler->lock);
    *scheduler->commands_end = command;
    scheduler->commands_end = &command->next;
    atomic_store(&scheduler->commands_waiting, 1);
    pthread_mutex_unlock(&scheduler->lock);
    weir__wake(scheduler);
}

// ---- Creation ----------------------------------------------------------------------------------

static weir_status_t check_options(weir_scheduler_options_t *options)
{
    options->requests = options->requests ? options->requests : 4096;
    options->models = options->models ? options->models : 256;
    options->shapes = options->shapes ? options->shapes : 1024;
    options->queue_bytes = options->queue_bytes ? options->queue_bytes : (uint64_t)1 << 30;
    if (options->loop > WEIR_LOOP_POLLED ||
        (options->loop == WEIR_LOOP_BORROWED) != (options->uv_loop != NULL))
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
            "loop is one of weir_loop_t, and uv_loop is there with WEIR_LOOP_BORROWED only");
    if (options->requests > 1u << 20 || options->models > 1u << 14 || options->shapes > 1u << 16)
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT, "at most %u requests, %u models and %u shapes",
            1u << 20, 1u << 14, 1u << 16);
    if (options->tenant_count > 4096 || (options->tenant_count && !options->tenants))
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT, "tenants: an array of at most 4096");
    if (options->loop != WEIR_LOOP_OWN)
        options->spin_ns = 0; // the thread is the embedder's
    return NULL;
}

static weir__core_limits_t make_limits(const weir_scheduler_options_t *options)
{
    weir__core_limits_t limits = weir__core_limits_default();
    limits.request_count = options->requests;
    limits.model_count = 2 * options->models; // those on their way out included
    limits.lane_count = options->shapes;
    limits.flow_count = 4 * options->shapes;
    limits.instance_count = 2 * options->models + 256;
    limits.tenant_count = options->tenant_count ? options->tenant_count : 1;
    limits.batch_rows = WEIR__CORE_BATCH_ROWS_MAX;
    limits.row_steps = 1; // weir__shape_round()
    limits.queue_bytes = options->queue_bytes;
    // A machine that is busy otherwise stops a thread for a tenth of a second now and then.
    limits.watchdog_min_ns = 1000 * WEIR_MS;
    limits.retry_ns = 10 * WEIR_MS;
    return limits;
}

static uint32_t power_above(uint32_t count)
{
    uint32_t power = 1;
    while (power < count)
        power *= 2;
    return power;
}

static bool make_rings(weir_scheduler_t *scheduler)
{
    uint32_t submitted = power_above(4 * scheduler->options.requests);
    uint32_t ended = power_above(2 * scheduler->limits.instance_count);
    weir__ring_cell_t *cells = calloc((size_t)submitted + ended, sizeof *cells);
    if (!cells)
        return false;
    weir__ring_init(&scheduler->submitted, cells, submitted);
    weir__ring_init(&scheduler->ended, cells + submitted, ended);
    return true;
}

static bool make_tables(weir_scheduler_t *scheduler)
{
    const weir_scheduler_options_t *options = &scheduler->options;
    scheduler->shape_bucket_count = power_above(2 * options->shapes);
    scheduler->slots = aligned_alloc(64, options->requests * sizeof *scheduler->slots);
    if (scheduler->slots)
        memset(scheduler->slots, 0, options->requests * sizeof *scheduler->slots);
    scheduler->kept = calloc(options->requests, sizeof *scheduler->kept);
    scheduler->models = calloc(options->models, sizeof *scheduler->models);
    scheduler->labels = calloc(WEIR__LABELS_MAX, sizeof *scheduler->labels);
    scheduler->instances = calloc(scheduler->limits.instance_count, sizeof *scheduler->instances);
    scheduler->shapes = calloc(options->shapes, sizeof *scheduler->shapes);
    scheduler->shape_buckets =
        calloc(scheduler->shape_bucket_count, sizeof *scheduler->shape_buckets);
    scheduler->actions = calloc(WEIR__ACTIONS, sizeof *scheduler->actions);
    scheduler->answers = calloc(WEIR__ANSWERS, sizeof *scheduler->answers);
    if (!scheduler->slots || !scheduler->kept || !scheduler->models || !scheduler->labels ||
        !scheduler->instances || !scheduler->shapes || !scheduler->shape_buckets ||
        !scheduler->actions || !scheduler->answers || !make_rings(scheduler))
        return false;
    for (uint32_t i = 0; i < scheduler->shape_bucket_count; i++)
        scheduler->shape_buckets[i] = WEIR__NO_INDEX;
    for (uint32_t i = 0; i < scheduler->limits.instance_count; i++) {
        scheduler->instances[i].index = i;
        scheduler->instances[i].scheduler = scheduler;
    }
    for (uint32_t i = 0; i < options->models; i++) {
        atomic_init(&scheduler->models[i].label, WEIR__NO_INDEX);
        scheduler->models[i].first_waiting = WEIR__NO_INDEX;
        scheduler->models[i].stage.instance = WEIR__NO_INDEX;
        scheduler->models[i].scheduler = scheduler;
    }
    weir__slots_init(scheduler);
    return true;
}

static weir_status_t make_core(weir_scheduler_t *scheduler)
{
    size_t bytes;
    weir_code_t code = weir__core_size(&scheduler->limits, &bytes);
    if (code != WEIR_OK)
        return WEIR_FAIL(code, "the options ask for more than the decision core can count");
    scheduler->core_memory = malloc(bytes);
    if (!scheduler->core_memory)
        return weir__loop_no_memory();
    code = weir__core_init(scheduler->core_memory, bytes, &scheduler->limits, &scheduler->core);
    if (code != WEIR_OK)
        return WEIR_FAIL(code, "the decision core refuses its limits");
    return NULL;
}

static void free_memory(weir_scheduler_t *scheduler)
{
    for (uint32_t i = 0; scheduler->instances && i < scheduler->limits.instance_count; i++)
        if (scheduler->instances[i].served)
            weir__seat_free(&scheduler->instances[i]);
    for (uint32_t i = 0; scheduler->models && i < scheduler->options.models; i++)
        if (atomic_load(&scheduler->models[i].state) != WEIR__SERVED_EMPTY)
            weir__served_clear(scheduler, &scheduler->models[i]);
    for (uint32_t i = 0; scheduler->shapes && i < scheduler->options.shapes; i++)
        free(scheduler->shapes[i].key);
    weir__loader_forget(scheduler);
    weir__trace_close(scheduler);
    weir__observe_free(scheduler->observe);
    weir__spans_free(scheduler->spans);
    free(scheduler->tenants);
    free(scheduler->slots);
    free(scheduler->kept);
    free(scheduler->models);
    free(scheduler->labels);
    free(scheduler->instances);
    free(scheduler->shapes);
    free(scheduler->shape_buckets);
    free(scheduler->actions);
    free(scheduler->answers);
    free(scheduler->submitted.cells);
    free(scheduler->core_memory);
    free(scheduler->key);
    pthread_mutex_destroy(&scheduler->lock);
    free(scheduler);
}

static weir_status_t make_series(weir_scheduler_t *scheduler)
{
    if (weir__observe_create(&scheduler->observe) != WEIR_OK)
        return weir__loop_no_memory();
    if (scheduler->options.spans &&
        weir__spans_create(scheduler->options.spans, &scheduler->spans) != WEIR_OK)
        return weir__loop_no_memory();
    scheduler->tenants = calloc(scheduler->limits.tenant_count, sizeof *scheduler->tenants);
    for (uint32_t i = 0; scheduler->tenants && i < scheduler->limits.tenant_count; i++) {
        const char *name = scheduler->options.tenants ? scheduler->options.tenants[i].name : NULL;
        char number[16];
        (void)snprintf(number, sizeof number, "%u", i);
        if (!name)
            name = scheduler->options.tenants ? number : "default";
        for (uint32_t before = 0; before < i && scheduler->options.tenants; before++)
            if (strcmp(scheduler->tenants[before]->name, name) == 0)
                return WEIR_FAIL(WEIR_INVALID_ARGUMENT, "two tenants have the name \"%s\"", name);
        scheduler->tenants[i] =
            weir__observe_add_series(scheduler->observe, WEIR__OBSERVE_TENANT, name, NULL);
        if (!scheduler->tenants[i])
            return weir__loop_no_memory();
    }
    return scheduler->tenants ? NULL : weir__loop_no_memory();
}

static void tell_tenants(weir_scheduler_t *scheduler)
{
    for (uint32_t i = 0; i < scheduler->options.tenant_count; i++)
        weir__turn_feed(scheduler,
            &(weir__core_event_t){.kind = WEIR__EVENT_TENANT,
                .tenant = i,
                .count = scheduler->options.tenants[i].weight ? scheduler->options.tenants[i].weight
                                                              : 1});
}

weir_status_t weir_scheduler_create(weir_engine_t *engine, const weir_scheduler_options_t *options,
    weir_scheduler_t **out_scheduler)
{
    weir_scheduler_options_t known = {.size = sizeof known};
    if (options)
        memcpy(&known, options, WEIR_MIN(options->size, sizeof known));
    WEIR_TRY(check_options(&known));
    size_t bytes = (sizeof(weir_scheduler_t) + 63) / 64 * 64;
    weir_scheduler_t *scheduler = aligned_alloc(64, bytes);
    if (!scheduler)
        return weir__loop_no_memory();
    memset(scheduler, 0, bytes);
    scheduler->engine = engine;
    while (weir_engine_team_threads(engine, scheduler->team_count))
        scheduler->team_count++;
    scheduler->options = known;
    scheduler->limits = make_limits(&known);
    scheduler->timer_ns = scheduler->held_due_ns = scheduler->drain_due_ns = WEIR__CORE_NEVER;
    scheduler->commands_end = &scheduler->commands;
    pthread_mutex_init(&scheduler->lock, NULL);
    weir_status_t status = make_tables(scheduler) ? NULL : weir__loop_no_memory();
    if (!status)
        status = make_series(scheduler);
    if (!status)
        status = make_core(scheduler);
    if (!status)
        status = weir__trace_open(scheduler);
    if (!status) {
        tell_tenants(scheduler); // before there is a loop, so from here
        scheduler->options.tenants = NULL;
        scheduler->options.trace_path = NULL;
        status = weir__loader_create(scheduler);
    }
    if (!status)
        status = weir__wake_create(scheduler);
    if (status) {
        free_memory(scheduler);
        return status;
    }
    *out_scheduler = scheduler;
    return NULL;
}

void weir_scheduler_free(weir_scheduler_t *scheduler)
{
    if (!scheduler)
        return;
    weir__loader_free(scheduler);
    weir__wake_free(scheduler);
    free_memory(scheduler);
}

// ---- While it lives ----------------------------------------------------------------------------

int weir_scheduler_fd(const weir_scheduler_t *scheduler)
{
    return weir__wake_fd(scheduler);
}

void weir_scheduler_poll(weir_scheduler_t *scheduler)
{
    weir__wake_poll(scheduler);
}

weir_status_t weir_drain(
    weir_scheduler_t *scheduler, uint64_t deadline_ns, weir_drained_fn drained, void *user_data)
{
    bool polled = scheduler->options.loop == WEIR_LOOP_POLLED;
    if (!drained && weir__is_on_loop(scheduler))
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
            "on the loop's thread weir_drain() would wait for itself: give it a callback");
    weir__command_t *command = calloc(1, sizeof *command);
    if (!command)
        return weir__loop_no_memory();
    if (atomic_exchange(&scheduler->draining, 1)) {
        free(command);
        return WEIR_FAIL(WEIR_UNAVAILABLE, "the scheduler drains already");
    }
    command->kind = WEIR__COMMAND_DRAIN;
    command->deadline_ns = deadline_ns ? deadline_ns : WEIR__CORE_NEVER;
    command->drained = drained;
    command->user_data = user_data;
    weir__command_post(scheduler, command);
    while (!drained && !atomic_load(&scheduler->drained_told)) {
        if (polled)
            weir_scheduler_poll(scheduler);
        if (!atomic_load(&scheduler->drained_told))
            weir__loop_futex_wait(
                &scheduler->drained_told, 0, weir_now_ns() + (polled ? 1 : 1000) * WEIR_MS);
    }
    return NULL;
}

void weir_scheduler_describe(const weir_scheduler_t *scheduler, weir_scheduler_info_t *out_info)
{
    // What was submitted is counted first and read last: nothing is accepted less than no times.
    weir_scheduler_info_t info = {.size = out_info->size,
        .in_flight = atomic_load(&scheduler->in_flight),
        .refused = atomic_load(&scheduler->refused),
        .ended = atomic_load(&scheduler->finals),
        .batches = atomic_load(&scheduler->batches),
        .batch_rows = atomic_load(&scheduler->batch_rows),
        .inline_runs = atomic_load(&scheduler->inline_runs),
        .memory_bytes = atomic_load(&scheduler->memory_bytes)};
    info.accepted = atomic_load(&scheduler->observe->scheduler.submitted[WEIR__OBSERVE_ANY]) -
                    info.inline_runs - info.refused;
    memcpy(out_info, &info, WEIR_MIN(out_info->size, sizeof info));
}

weir_status_t weir_scheduler_metrics(
    weir_scheduler_t *scheduler, weir_write_fn write, void *user_data)
{
    if (weir__observe_text(scheduler->observe, 2, write, user_data) == WEIR_OK)
        return NULL;
    return WEIR_FAIL(WEIR_CANCELLED, "the receiver ended the text");
}
