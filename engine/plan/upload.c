// engine/plan/upload.c: constants of slices, in the memory of the device that runs them; and how
// devices reach each other's memory.
//
// Once per plan and device, each content once: sessions and shapes share what lies there. This is
// the only place where a thread waits for a device.
#include "engine/plan/plan.h"

#include "engine/base/size.h"
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 256
#define CHUNK_BYTES (8ull << 20)
#define REGIONS_MAX 64
// For one chunk; a device that takes longer counts as lost. As long as a plugin waits itself: a
// device may be busy with other runs' work for seconds.
#define PATIENCE_NS 60000000000ull

typedef struct entry {
    const char *data;
    uint64_t bytes;
    uint64_t *out_offset; // slice->residents[t]
} entry_t;

typedef struct uploader {
    weir_plan_t *plan;
    weir__plan_device_t *device;
    entry_t *entries;
    uint32_t count;
    weir__made_t *queue, *staging;
    uint64_t timeline, value;
    uint64_t staged_bytes;
    weir_copy_region_t regions[REGIONS_MAX];
    uint32_t region_count;
} uploader_t;

// ---- What there is -----------------------------------------------------------------------------

static weir_status_t collect(uploader_t *uploader)
{
    weir_plan_t *plan = uploader->plan;
    for (int pass = 0; pass < 2; pass++) {
        uploader->count = 0;
        for (uint32_t s = 0; s < plan->slice_count; s++) {
            weir__plan_slice_t *slice = &plan->slices[s];
            bool wanted = &plan->devices[slice->plan_device] == uploader->device;
            for (uint32_t t = 0; wanted && !slice->owns_constants && t < slice->value_count; t++) {
                const void *data;
                uint64_t bytes;
                if (!weir__slice_constant(plan, slice, t, &data, &bytes) || !bytes)
                    continue;
                if (pass)
                    uploader->entries[uploader->count] =
                        (entry_t){.data = data, .bytes = bytes, .out_offset = &slice->residents[t]};
                uploader->count++;
            }
        }
        if (!pass && !(uploader->entries = weir__heap_calloc(
                           &plan->runtime->heap, uploader->count, sizeof *uploader->entries)))
            return weir__status_no_memory();
    }
    return NULL;
}

static int by_place(const void *a, const void *b)
{
    const entry_t *one = a, *other = b;
    if (one->data != other->data)
        return (uintptr_t)one->data < (uintptr_t)other->data ? -1 : 1;
    return one->bytes == other->bytes ? 0 : one->bytes > other->bytes ? -1 : 1;
}

// Offsets for all; what lies at the same address is the same. The largest of those comes first.
static weir_status_t place(uploader_t *uploader, uint64_t *out_bytes)
{
    *out_bytes = 0;
    if (uploader->count)
        qsort(uploader->entries, uploader->count, sizeof *uploader->entries, by_place);
    for (uint32_t i = 0; i < uploader->count; i++) {
        entry_t *entry = &uploader->entries[i];
        if (i && entry->data == entry[-1].data) {
            *entry->out_offset = *entry[-1].out_offset;
            entry->bytes = entry[-1].bytes;
            continue;
        }
        uint64_t end;
        *entry->out_offset = *out_bytes;
        if (!weir__add_u64(*out_bytes, entry->bytes, &end) ||
            !weir__align_u64(end, ALIGNMENT, out_bytes))
            return weir__status_no_memory();
    }
    return NULL;
}

// ---- Moving it ---------------------------------------------------------------------------------

static weir_status_t flush(uploader_t *uploader)
{
    weir__opened_t *opened = uploader->device->opened;
    if (!uploader->region_count)
        return NULL;
    weir_timeline_point_t signal = {.timeline = uploader->timeline, .value = ++uploader->value};
    weir_code_t code = opened->plugin->device.copy(weir__made_handle(uploader->queue),
        uploader->regions, uploader->region_count, NULL, 0, &signal, 1);
    uploader->region_count = 0;
    uploader->staged_bytes = 0;
    WEIR_TRY(weir__opened_status(opened, code, "copy of constants"));
    return weir__opened_wait(opened, signal.timeline, signal.value, PATIENCE_NS);
}

static weir_status_t move(uploader_t *uploader)
{
    weir__made_t *staging = uploader->staging;
    for (uint32_t i = 0; i < uploader->count; i++) {
        const entry_t *entry = &uploader->entries[i];
        if (i && entry->data == entry[-1].data)
            continue;
        for (uint64_t done = 0, bytes; done < entry->bytes; done += bytes) {
            if (uploader->region_count == REGIONS_MAX || uploader->staged_bytes == CHUNK_BYTES)
                WEIR_TRY(flush(uploader));
            bytes = WEIR_MIN(entry->bytes - done, CHUNK_BYTES - uploader->staged_bytes);
            memcpy((char *)staging->pointer + uploader->staged_bytes, entry->data + done, bytes);
            uploader->regions[uploader->region_count++] = (weir_copy_region_t){
                .from = weir__made_binding(staging, uploader->staged_bytes, bytes),
                .to = weir__made_binding(
                    uploader->device->constants, *entry->out_offset + done, bytes)};
            // What follows starts on a boundary; a chunk that is full is sent off above.
            if (!weir__align_u64(
                    uploader->staged_bytes + bytes, ALIGNMENT, &uploader->staged_bytes))
                return weir__status_no_memory();
        }
    }
    return flush(uploader);
}

static weir_status_t upload(uploader_t *uploader)
{
    weir__plan_device_t *device = uploader->device;
    weir__runtime_t *runtime = uploader->plan->runtime;
    WEIR_TRY(collect(uploader));
    WEIR_TRY(place(uploader, &device->constant_bytes));
    if (!device->constant_bytes)
        return NULL;
    WEIR_TRY(weir__buffer_make(device->opened, device->constant_bytes, &device->constants));
    device->constants->owner = uploader->plan; // for as long as a run of it may read them
    uploader->plan->info.resident_bytes += device->constant_bytes;
    WEIR_TRY(weir__queue_make(device->opened, &uploader->queue));
    WEIR_TRY(weir__staging_make(device->opened, CHUNK_BYTES, &uploader->staging));
    WEIR_TRY(weir__timeline_create(&runtime->timelines, &uploader->timeline));
    return move(uploader);
}

// How each device gets what another made. A device that does not say goes through host memory.
static void ask_edges(weir_plan_t *plan)
{
    for (uint32_t to = 0; to < plan->device_count; to++)
        for (uint32_t from = 0; from < plan->device_count; from++) {
            weir__opened_t *one = plan->devices[to].opened;
            const weir__opened_t *other = plan->devices[from].opened;
            const weir_device_table_t *table = &one->plugin->device;
            weir_edge_t edge = {.head = WEIR_HEAD(weir_edge_t)};
            if (to == from || one->plugin != other->plugin || !table->edge ||
                !plan->devices[to].own_memory || !plan->devices[from].own_memory ||
                !weir__opened_accepts(one, table->edge(one->handle, other->handle, &edge), "edge"))
                continue;
            bool imports = table->export_buffer && table->import_buffer;
            if (edge.kind == WEIR_EDGE_NATIVE || (edge.kind == WEIR_EDGE_IMPORT && imports))
                plan->edges[to][from] = (uint8_t)edge.kind;
        }
}

weir_status_t weir__plan_upload(weir_plan_t *plan)
{
    weir_status_t status = NULL;
    ask_edges(plan);
    for (uint32_t d = 0; d < plan->device_count && !status; d++) {
        uploader_t uploader = {.plan = plan, .device = &plan->devices[d]};
        if (!uploader.device->own_memory)
            continue;
        status = upload(&uploader);
        weir__opened_t *opened = uploader.device->opened;
        weir__made_release(opened, uploader.staging);
        weir__made_release(opened, uploader.queue);
        if (uploader.timeline)
            weir__timeline_release(&plan->runtime->timelines, uploader.timeline);
        weir__heap_free(&plan->runtime->heap, uploader.entries);
    }
    return status;
}
