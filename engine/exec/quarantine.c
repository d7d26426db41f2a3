// engine/exec/quarantine.c: see session.h. A late write then lands in memory that nobody else uses.
#include "engine/exec/session.h"

void weir__quarantine_add(weir__runtime_t *runtime, weir__quarantined_t *record)
{
    pthread_mutex_lock(&runtime->quarantine_lock);
    record->next = runtime->quarantine;
    runtime->quarantine = record;
    pthread_mutex_unlock(&runtime->quarantine_lock);
}

void weir__quarantine_sweep(weir__runtime_t *runtime, bool all)
{
    pthread_mutex_lock(&runtime->quarantine_lock);
    weir__quarantined_t **link = &runtime->quarantine;
    while (*link) {
        weir__quarantined_t *record = *link;
        if (!all &&
            !weir__timeline_reached(&runtime->timelines, record->timeline, record->value, NULL)) {
            link = &record->next;
            continue;
        }
        *link = record->next;
        weir__timeline_release(&runtime->timelines, record->timeline);
        weir__heap_free(&runtime->heap, record->memory);
        weir__heap_free(&runtime->heap, record);
    }
    pthread_mutex_unlock(&runtime->quarantine_lock);
}
