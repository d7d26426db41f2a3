// engine/exec/device_profile.c: what devices did in a profiled run, node by node, in our time.
//
// A device's clock may run at its own pace: it is read at both ends of a run, and what lies between
// is a straight line.
#include "engine/exec/session.h"

#include <string.h>
#include <weir/profile.h>

void weir__profile_clocks(weir_session_t *session, uint32_t end)
{
    weir__profile_t *profile = &session->profile;
    if (!session->lanes)
        return;
    if (!end && !profile->sink)
        profile->sink = weir__trace_take(&session->runtime->registry.traces);
    if (!end && profile->sink)
        weir__trace_begin(profile->sink);
    for (uint32_t i = 0; i < session->lanes->count; i++) {
        weir__lane_t *lane = &session->lanes->lanes[i];
        weir__clocks_t *clocks = &lane->clocks[end];
        weir__opened_t *opened = lane->opened;
        const weir_device_table_t *table = &opened->plugin->device;
        if (!table->clock || atomic_load(&opened->lost) ||
            !weir__opened_accepts(opened,
                table->clock(opened->handle, &clocks->device_ns, &clocks->host_ns), "clock"))
            *clocks = (weir__clocks_t){0};
    }
}

uint64_t weir__profile_launch_id(const weir_session_t *session)
{
    const weir__profile_t *profile = &session->profile;
    return profile->on && profile->sink ? weir__trace_id(profile->sink, profile->count)
                                        : session->run.options.request_id;
}

static uint64_t host_time(const weir__lane_t *lane, uint64_t device_ns)
{
    const weir__clocks_t *first = &lane->clocks[0], *last = &lane->clocks[1];
    if (!first->host_ns || !last->host_ns) // it records our clock
        return device_ns;
    double pace = 1;
    if (last->device_ns > first->device_ns && last->host_ns > first->host_ns)
        pace =
            (double)(last->host_ns - first->host_ns) / (double)(last->device_ns - first->device_ns);
    int64_t since = (int64_t)(device_ns - first->device_ns);
    return first->host_ns + (uint64_t)(int64_t)((double)since * pace);
}

// The entry of record `index` among those of this run, or NULL.
static const weir__trace_entry_t *find_entry(
    const weir__profile_t *profile, uint32_t index, uint32_t *out_step)
{
    uint32_t count = atomic_load(&profile->sink->count);
    for (uint32_t i = 0; i < count && i < WEIR__TRACE_RECORDS; i++) {
        const weir__trace_entry_t *entry = &profile->sink->entries[i];
        uint64_t id = atomic_load_explicit(&entry->launch_id, memory_order_acquire);
        if (!weir__trace_step(profile->sink, id, out_step) || *out_step >= profile->count)
            continue;
        const weir__step_t *step = profile->steps[*out_step].step;
        uint32_t node = atomic_load_explicit(&entry->node, memory_order_relaxed);
        if (step->kind == WEIR__STEP_LAUNCH && node < step->slice_view->node_count && !index--)
            return entry;
    }
    return NULL;
}

uint32_t weir_session_profile_dropped(const weir_session_t *session)
{
    const weir__profile_t *profile = &session->profile;
    if (!profile->on || !profile->sink)
        return 0;
    uint32_t count = atomic_load(&profile->sink->count);
    return count > WEIR__TRACE_RECORDS ? count - WEIR__TRACE_RECORDS : 0;
}

bool weir__profile_record(
    const weir_session_t *session, uint32_t index, weir__profile_record_t *out_record)
{
    const weir__profile_t *profile = &session->profile;
    const weir__trace_entry_t *entry =
        profile->on && profile->sink ? find_entry(profile, index, &out_record->step) : NULL;
    if (!entry)
        return false;
    const weir__step_t *step = profile->steps[out_record->step].step;
    const weir__lane_t *lane = &session->lanes->lanes[step->lane];
    out_record->node = atomic_load_explicit(&entry->node, memory_order_relaxed);
    uint64_t start_ns = atomic_load_explicit(&entry->start_ns, memory_order_relaxed);
    uint64_t end_ns = atomic_load_explicit(&entry->end_ns, memory_order_relaxed);
    out_record->start_ns = host_time(lane, start_ns);
    out_record->duration_ns = host_time(lane, end_ns) - out_record->start_ns;
    return true;
}

int weir_session_profile_node(
    const weir_session_t *session, uint32_t index, weir_profile_node_t *out_node)
{
    weir__profile_record_t record;
    if (!weir__profile_record(session, index, &record))
        return 0;
    const weir__step_t *step = session->profile.steps[record.step].step;
    const weir_node_t *node = &step->slice_view->nodes[record.node].node;
    weir_profile_node_t known = {.size = out_node->size,
        .step = record.step,
        .op = node->op,
        .origins = node->origin,
        .start_ns = record.start_ns,
        .duration_ns = record.duration_ns};
    memcpy(out_node, &known, WEIR_MIN(out_node->size, sizeof known));
    return 1;
}
