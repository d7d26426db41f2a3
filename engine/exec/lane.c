// engine/exec/lane.c: what a session has of each device: a queue, a timeline, memory.
//
// What a device that has not answered may still touch is kept: a session that is freed early leaves
// its lanes in quarantine. A late write then lands in memory that nobody else uses.
#include "engine/exec/session.h"

// ---- Life --------------------------------------------------------------------------------------

static weir_status_t open_lane(
    weir__runtime_t *runtime, const weir__plan_device_t *device, weir__lane_t *lane)
{
    lane->opened = device->opened;
    lane->own_memory = device->own_memory;
    if (!weir__opened_enter(lane->opened))
        return weir__opened_lost_status(lane->opened, WEIR_DEVICE_LOST);
    weir_status_t status = weir__timeline_create(&runtime->timelines, &lane->timeline);
    if (!status)
        status = weir__queue_make(lane->opened, &lane->queue);
    if (!status)
        weir__watch_add(lane->opened, &lane->watch, lane->timeline);
    weir__opened_leave(lane->opened);
    return status;
}

weir_status_t weir__lanes_create(const weir_plan_t *plan, weir__lanes_t **out_lanes)
{
    weir__runtime_t *runtime = plan->runtime;
    weir__lanes_t *lanes;
    *out_lanes = NULL;
    if (!plan->device_count)
        return NULL;
    lanes = weir__heap_calloc(
        &runtime->heap, 1, sizeof *lanes + plan->device_count * sizeof lanes->lanes[0]);
    if (!lanes)
        return weir__status_no_memory();
    lanes->owner = plan;
    for (uint32_t i = 0; i < plan->device_count; i++) {
        lanes->count++;
        weir_status_t status = open_lane(runtime, &plan->devices[i], &lanes->lanes[i]);
        if (status) {
            weir__lanes_free(runtime, lanes, NULL);
            return status;
        }
    }
    *out_lanes = lanes;
    return NULL;
}

static void close_lane(weir__runtime_t *runtime, weir__lane_t *lane)
{
    weir__watch_remove(lane->opened, &lane->watch);
    for (uint32_t i = 0; i < WEIR__CHAIN_MAX; i++) {
        weir__made_release(lane->opened, lane->arena[i].memory);
        weir__made_release(lane->opened, lane->staging[i].memory);
    }
    weir__made_release(lane->opened, lane->queue);
    if (lane->timeline)
        weir__timeline_release(&runtime->timelines, lane->timeline);
}

// Gives back what was imported of a segment of lane `from`; UINT32_MAX: of all.
static void forget_imports(weir__lanes_t *lanes, uint32_t from, uint32_t depth)
{
    for (weir__import_t **link = &lanes->imports; *link;) {
        weir__import_t *import = *link;
        if (from != UINT32_MAX && (import->from != from || import->depth != depth)) {
            link = &import->next;
            continue;
        }
        *link = import->next;
        weir__opened_t *opened = lanes->lanes[import->to].opened;
        weir__made_release(opened, import->memory);
        weir__heap_free(opened->registry->heap, import);
    }
}

static void free_lanes(weir__runtime_t *runtime, weir__lanes_t *lanes)
{
    forget_imports(lanes, UINT32_MAX, 0);
    for (uint32_t i = 0; i < lanes->count; i++)
        close_lane(runtime, &lanes->lanes[i]);
    weir__heap_free(&runtime->heap, lanes->arena);
    weir__heap_free(&runtime->heap, lanes);
}

// Has the device answered, or was it closed? What a lost one may still touch is not known.
static bool is_lane_over(weir__runtime_t *runtime, const weir__lane_t *lane)
{
    if (atomic_load(&lane->opened->closed))
        return true;
    bool lost = lane->value && atomic_load(&lane->opened->lost);
    return !lost && weir__lane_is_idle(runtime, lane);
}

static bool is_over(weir__runtime_t *runtime, const weir__lanes_t *lanes)
{
    for (uint32_t i = 0; i < lanes->count; i++)
        if (!is_lane_over(runtime, &lanes->lanes[i]))
            return false;
    return true;
}

// A lane that failed when nobody looked any more is asked anew when it will have done all.
static void renew_failed(weir__runtime_t *runtime, weir__lanes_t *lanes)
{
    for (uint32_t i = 0; i < lanes->count; i++) {
        weir__lane_t *lane = &lanes->lanes[i];
        if (!weir__lane_has_failed(runtime, lane) || !weir__opened_enter(lane->opened))
            continue;
        weir__lane_renew(runtime, lane);
        weir__opened_leave(lane->opened);
    }
}

static void put_in_quarantine(weir__runtime_t *runtime, weir__lanes_t *lanes)
{
    pthread_mutex_lock(&runtime->quarantine_lock);
    lanes->next = runtime->quarantine;
    runtime->quarantine = lanes;
    pthread_mutex_unlock(&runtime->quarantine_lock);
}

void weir__lanes_free(weir__runtime_t *runtime, weir__lanes_t *lanes, void *arena)
{
    if (!lanes) {
        weir__heap_free(&runtime->heap, arena);
        return;
    }
    lanes->arena = arena;
    renew_failed(runtime, lanes);
    bool over = true;
    for (uint32_t i = 0; i < lanes->count; i++) {
        weir__lane_t *lane = &lanes->lanes[i];
        if (is_lane_over(runtime, lane))
            continue;
        weir__opened_unanswered(lane->opened, &lane->hung, lanes->owner);
        over = false;
    }
    if (over)
        free_lanes(runtime, lanes);
    else
        put_in_quarantine(runtime, lanes);
}

void weir__quarantine_sweep(weir__runtime_t *runtime, bool all)
{
    pthread_mutex_lock(&runtime->quarantine_lock);
    weir__lanes_t *next = runtime->quarantine;
    runtime->quarantine = NULL;
    pthread_mutex_unlock(&runtime->quarantine_lock);
    // Out of the list they are this thread's alone.
    while (next) {
        weir__lanes_t *lanes = next;
        next = lanes->next;
        if (!all)
            renew_failed(runtime, lanes);
        if (!all && !is_over(runtime, lanes)) {
            put_in_quarantine(runtime, lanes);
            continue;
        }
        for (uint32_t i = 0; i < lanes->count; i++)
            weir__opened_answered(lanes->lanes[i].opened, &lanes->lanes[i].hung);
        free_lanes(runtime, lanes);
    }
}

// ---- Use ---------------------------------------------------------------------------------------

weir_status_t weir__lanes_enter(weir__lanes_t *lanes)
{
    for (uint32_t i = 0; lanes && i < lanes->count; i++) {
        weir__opened_t *opened = lanes->lanes[i].opened;
        if (weir__opened_enter(opened))
            continue;
        while (i-- > 0)
            weir__opened_leave(lanes->lanes[i].opened);
        return weir__opened_lost_status(opened, WEIR_DEVICE_LOST);
    }
    return NULL;
}

void weir__lanes_leave(weir__lanes_t *lanes)
{
    for (uint32_t i = 0; lanes && i < lanes->count; i++)
        weir__opened_leave(lanes->lanes[i].opened);
}

bool weir__lane_has_failed(weir__runtime_t *runtime, const weir__lane_t *lane)
{
    const char *text;
    if (!lane->timeline)
        return lane->value > 0;
    return weir__timeline_status(&runtime->timelines, lane->timeline, &text) != WEIR_OK;
}

bool weir__lane_is_idle(weir__runtime_t *runtime, const weir__lane_t *lane)
{
    return !lane->is_given_up && !weir__lane_has_failed(runtime, lane) &&
           weir__timeline_reached(&runtime->timelines, lane->timeline, lane->value, NULL);
}

// An empty copy, which comes after all that the queue was given. false: it cannot be had.
static bool add_barrier(weir__lane_t *lane)
{
    const weir_device_table_t *table = &lane->opened->plugin->device;
    weir_timeline_point_t signal = {.timeline = lane->timeline, .value = 1};
    if (!table->copy || !lane->queue)
        return false;
    weir_code_t code = table->copy(weir__made_handle(lane->queue), NULL, 0, NULL, 0, &signal, 1);
    weir_status_free(weir__opened_status(lane->opened, code, "copy"));
    return code == WEIR_OK;
}

void weir__lane_renew(weir__runtime_t *runtime, weir__lane_t *lane)
{
    weir__timelines_t *timelines = &runtime->timelines;
    const char *text;
    // What failed has ended. Is there more than that?
    bool is_busy = lane->value > weir__timeline_value(timelines, lane->timeline) + 1;
    if (lane->timeline) {
        if (weir__timeline_status(timelines, lane->timeline, &text) == WEIR_DEVICE_LOST)
            weir__opened_lose(lane->opened, text);
        weir__timeline_release(timelines, lane->timeline);
    }
    lane->timeline = lane->value = lane->base = 0;
    weir_status_free(weir__timeline_create(timelines, &lane->timeline));
    bool works = weir__watch_change(lane->opened, &lane->watch, lane->timeline);
    lane->is_given_up |= !works; // until it is closed
    if (!works || !is_busy)
        return;
    if (!lane->timeline) {
        lane->value = 2; // more than one that failed: it is asked again
        return;
    }
    lane->value = 1;
    lane->is_given_up = !add_barrier(lane);
}

weir_status_t weir__lane_unanswered_status(const weir__lane_t *lane)
{
    if (atomic_load(&lane->opened->lost))
        return weir__opened_lost_status(lane->opened, WEIR_DEVICE_LOST);
    return WEIR_ERR(WEIR_UNAVAILABLE,
        "device \"%s\" has not answered an earlier run of this session: try again, or make another "
        "session",
        lane->opened->device->name);
}

// The new memory first: without it nothing has changed.
static weir_status_t grow_arena(weir__lanes_t *lanes, uint32_t number, uint32_t depth,
    const weir__need_t *need, bool *out_changed)
{
    weir__lane_t *lane = &lanes->lanes[number];
    weir__segment_t *segment = &lane->arena[depth];
    weir__made_t *memory;
    if (need->arena_bytes <= segment->bytes)
        return NULL;
    WEIR_TRY(weir__buffer_make(lane->opened, need->arena_bytes, &memory));
    forget_imports(lanes, number, depth);
    weir__made_release(lane->opened, segment->memory);
    *segment = (weir__segment_t){.memory = memory, .bytes = need->arena_bytes};
    *out_changed = true;
    return NULL;
}

static weir_status_t grow_staging(
    weir__lane_t *lane, uint32_t depth, const weir__need_t *need, bool *out_changed)
{
    weir__segment_t *segment = &lane->staging[depth];
    weir__made_t *memory;
    if (need->staging_bytes <= segment->bytes)
        return NULL;
    WEIR_TRY(weir__staging_make(lane->opened, need->staging_bytes, &memory));
    weir__made_release(lane->opened, segment->memory);
    *segment = (weir__segment_t){.memory = memory, .bytes = need->staging_bytes};
    *out_changed = true;
    return NULL;
}

weir_status_t weir__lane_grow(weir__lanes_t *lanes, uint32_t number, uint32_t depth,
    const weir__need_t *need, bool *out_changed)
{
    weir__lane_t *lane = &lanes->lanes[number];
    if (!lane->own_memory)
        return NULL;
    WEIR_TRY(grow_arena(lanes, number, depth, need, out_changed));
    return grow_staging(lane, depth, need, out_changed);
}

uint64_t weir__lanes_bytes(const weir__lanes_t *lanes)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; lanes && i < lanes->count; i++)
        for (uint32_t depth = 0; depth < WEIR__CHAIN_MAX; depth++)
            bytes += lanes->lanes[i].arena[depth].bytes + lanes->lanes[i].staging[depth].bytes;
    return bytes;
}

const weir__made_t *weir__lane_imported(
    const weir__lanes_t *lanes, uint32_t to, uint32_t from, uint32_t depth)
{
    for (const weir__import_t *import = lanes->imports; import; import = import->next)
        if (import->to == to && import->from == from && import->depth == depth)
            return import->memory;
    return NULL;
}

weir_status_t weir__lane_import(weir__lanes_t *lanes, uint32_t to, uint32_t from, uint32_t depth)
{
    const weir__made_t *arena = lanes->lanes[from].arena[depth].memory;
    weir__opened_t *one = lanes->lanes[to].opened, *other = lanes->lanes[from].opened;
    if (!arena || weir__lane_imported(lanes, to, from, depth))
        return NULL;
    weir_export_t exported = {.head = WEIR_HEAD(weir_export_t)};
    weir_handle_t handle = 0;
    const weir_device_table_t *table = &one->plugin->device;
    // Its own memory first: an export that nobody imports would have no owner.
    weir__import_t *import = weir__heap_calloc(one->registry->heap, 1, sizeof *import);
    if (!import)
        return weir__status_no_memory();
    weir_status_t status = weir__opened_status(
        other, table->export_buffer(other->handle, arena->handle, &exported), "export_buffer");
    if (!status)
        status = weir__opened_status(
            one, table->import_buffer(one->handle, &exported, &handle), "import_buffer");
    if (!status && !(import->memory = weir__made_new(one, WEIR__MADE_BUFFER, handle)))
        status = weir__status_no_memory();
    if (status) {
        weir__heap_free(one->registry->heap, import);
        return status;
    }
    *import = (weir__import_t){
        .next = lanes->imports, .to = to, .from = from, .depth = depth, .memory = import->memory};
    lanes->imports = import;
    return NULL;
}
