// scheduler/loop/curves.c: what batches cost, kept between processes.
//
// The curves of a model's plan are a note of the engine (weir_engine_keep_note()): one for each
// plan, under the model's digest and the plan's fingerprint, so that another device, kernel or
// version begins anew. They are read when the model is added and written when it is removed or the
// scheduler ends: a restart knows what is feasible before the first request.
//
// It must not trust a note: whoever can write to the cache's folder may have.
#include "scheduler/loop/loop.h"

#include <stdlib.h>
#include <string.h>

#define MAGIC 0x3165767275637277u // "wrcurve1", little-endian
#define NOTE_BYTES_MAX (256u << 10)

typedef struct head {
    uint64_t magic;
    uint32_t count; // of records, each with its key behind it
    uint32_t reserved;
} head_t;

typedef struct record {
    weir__core_curve_t curve;
    uint32_t key_count;
    uint32_t reserved;
} record_t;

// On how many threads it computes is a part of what it costs: 0 would be as many as an engine has.
static void name_note(const weir_scheduler_t *scheduler, const weir__placed_t *placed,
    uint32_t max_batch, char out_name[256])
{
    uint32_t threads =
        placed->threads ? placed->threads : weir_engine_team_threads(scheduler->engine, 0);
    snprintf(out_name, 256, "scheduler curves %s %s %s %u %u", placed->receipt.digest,
        placed->receipt.fingerprint, placed->receipt.device, threads, max_batch);
}

// ---- Reading (the thread that adds the model) --------------------------------------------------

// The points of a record as samples that are taken as they are.
static bool add_samples(weir__served_t *served, weir__command_t *command, uint32_t placed,
    const record_t *record, const int64_t *key)
{
    // Those above the last one that was seen are taken to cost as much as that.
    for (uint32_t i = 0; i < WEIR__CORE_CURVE_POINTS && record->curve.seen_log >> i; i++) {
        weir__sample_t *grown =
            realloc(command->samples, (command->sample_count + 1) * sizeof *grown);
        int64_t *own = malloc(weir__shape_key_capacity(served) * sizeof *own);
        if (grown)
            command->samples = grown;
        if (!grown || !own) {
            free(own);
            return false;
        }
        memcpy(own, key, record->key_count * sizeof *own);
        grown[command->sample_count++] = (weir__sample_t){.placed = placed,
            .rows = (uint32_t)1 << i,
            .elapsed_ns = record->curve.mean_ns[i],
            .tail = record->curve.tail ? record->curve.tail : 1,
            .seen = record->curve.seen_log >> i & 1,
            .hash = weir__shape_hash(served, key, record->key_count),
            .key_count = record->key_count,
            .key = own};
    }
    return true;
}

static void read_note(weir__served_t *served, weir__command_t *command, uint32_t placed,
    const char *note, uint64_t bytes)
{
    head_t head;
    if (bytes < sizeof head)
        return;
    memcpy(&head, note, sizeof head);
    uint64_t at = sizeof head;
    uint32_t capacity = weir__shape_key_capacity(served);
    for (uint32_t i = 0; head.magic == MAGIC && i < head.count; i++) {
        record_t record;
        if (bytes - at < sizeof record)
            return;
        memcpy(&record, note + at, sizeof record);
        at += sizeof record;
        // An aligned copy: the key's place in the note is anywhere.
        if (record.key_count > capacity || bytes - at < record.key_count * sizeof(int64_t))
            return;
        int64_t *key = malloc((capacity + 1) * sizeof *key);
        if (key)
            memcpy(key, note + at, record.key_count * sizeof *key);
        at += record.key_count * sizeof *key;
        bool fits = key && weir__shape_key_is_whole(served, key, record.key_count) &&
                    add_samples(served, command, placed, &record, key);
        free(key);
        if (!fits)
            return;
    }
}

void weir__curves_read(
    weir_scheduler_t *scheduler, weir__served_t *served, weir__command_t *command)
{
    char *note = malloc(NOTE_BYTES_MAX);
    for (uint32_t p = 0; note && p < served->placed_count; p++) {
        char name[256];
        uint64_t bytes = 0;
        if (!served->placed[p].receipt.fingerprint[0])
            continue;
        name_note(scheduler, &served->placed[p], served->max_batch, name);
        weir_status_t status =
            weir_engine_read_note(scheduler->engine, name, note, NOTE_BYTES_MAX, &bytes);
        if (!status)
            read_note(served, command, p, note, bytes);
        weir_status_free(status);
    }
    free(note);
}

// ---- Keeping (the loop) ------------------------------------------------------------------------

static uint64_t write_note(
    weir_scheduler_t *scheduler, const weir__served_t *served, uint32_t device, char *note)
{
    head_t head = {.magic = MAGIC};
    uint64_t at = sizeof head;
    for (uint32_t i = 0; i < scheduler->options.shapes; i++) {
        const weir__shape_t *shape = &scheduler->shapes[i];
        record_t record = {.key_count = shape->key_count};
        uint64_t bytes = sizeof record + shape->key_count * sizeof *shape->key;
        if (shape->served != served || bytes > NOTE_BYTES_MAX - at ||
            !weir__core_curve(scheduler->core, served->index, served->core_version, 0, shape->id,
                device, &record.curve))
            continue;
        memcpy(note + at, &record, sizeof record);
        memcpy(note + at + sizeof record, shape->key, shape->key_count * sizeof *shape->key);
        at += bytes;
        head.count++;
    }
    memcpy(note, &head, sizeof head);
    return head.count ? at : 0;
}

// Writing takes as long as the disk does: the loader's, who has the model pinned meanwhile, so that
// whoever finds it gone and adds it again reads what was kept.
static bool post_note(weir_scheduler_t *scheduler, weir__served_t *served, const char *name,
    const char *note, uint64_t bytes)
{
    weir__job_t *job = calloc(1, sizeof *job);
    void *own = malloc(bytes);
    weir_status_t status = job && own ? weir__loader_start(scheduler) : weir__loop_no_memory();
    if (status) {
        weir_status_free(status);
        free(own);
        free(job);
        return false;
    }
    memcpy(own, note, bytes);
    job->kind = WEIR__JOB_NOTE;
    job->served = served;
    memcpy(job->note_name, name, sizeof job->note_name);
    job->note = own;
    job->note_bytes = bytes;
    atomic_fetch_add(&served->pins, 1);
    weir__loader_post(scheduler, job);
    return true;
}

void weir__curves_keep(weir_scheduler_t *scheduler, weir__served_t *served, bool now)
{
    // While it is loaded its plans are the loader's; nothing was learned since it was kept last.
    bool ours = served->in_core && atomic_load(&served->residency) != WEIR__LOADING;
    char *note = ours ? malloc(NOTE_BYTES_MAX) : NULL;
    for (uint32_t p = 0; note && p < served->placed_count; p++) {
        const weir__placed_t *placed = &served->placed[p];
        char name[256] = {0};
        uint64_t bytes = 0;
        if (placed->receipt.fingerprint[0])
            bytes = write_note(scheduler, served, placed->device, note);
        if (!bytes)
            continue;
        name_note(scheduler, placed, served->max_batch, name);
        // Without a folder for it there is nothing to be done.
        if (now || !post_note(scheduler, served, name, note, bytes))
            weir_status_free(weir_engine_keep_note(scheduler->engine, name, note, bytes));
    }
    free(note);
}
