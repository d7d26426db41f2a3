// scheduler/observe/observe.c: the list of series. The mutex is for adding, removing and steps of a
// reader; whoever notes never takes it.
#include "scheduler/observe/observe.h"

#include <stdlib.h>
#include <string.h>

#include "scheduler/observe/registry.h"

weir_code_t weir__observe_create(weir__observe_t **out_observe)
{
    weir__observe_t *observe = calloc(1, sizeof(*observe));
    weir__observe_registry_t *registry = calloc(1, sizeof(*registry));
    if (!observe || !registry || pthread_mutex_init(&registry->mutex, NULL) != 0) {
        free(observe);
        free(registry);
        return WEIR_RESOURCE_EXHAUSTED;
    }
    observe->registry = registry;
    *out_observe = observe;
    return WEIR_OK;
}

static void free_series(weir__observe_series_t *series)
{
    free(series->name);
    free(series->version);
    free(series);
}

void weir__observe_free(weir__observe_t *observe)
{
    if (!observe)
        return;
    for (uint32_t kind = 0; kind < WEIR__OBSERVE_KINDS; kind++)
        for (weir__observe_series_t *at = observe->registry->first[kind]; at;) {
            weir__observe_series_t *next = at->next;
            free_series(at);
            at = next;
        }
    pthread_mutex_destroy(&observe->registry->mutex);
    free(observe->registry);
    free(observe);
}

weir__observe_series_t *weir__observe_add_series(
    weir__observe_t *observe, weir__observe_kind_t kind, const char *name, const char *version)
{
    weir__observe_series_t *series = calloc(1, sizeof(*series));
    if (!series)
        return NULL;
    series->kind = kind;
    series->name = strdup(name);
    series->version = version ? strdup(version) : NULL;
    if (!series->name || (version && !series->version)) {
        free_series(series);
        return NULL;
    }
    // At the end, so that the text keeps its order.
    weir__observe_registry_t *registry = observe->registry;
    pthread_mutex_lock(&registry->mutex);
    weir__observe_series_t **at = &registry->first[kind];
    for (; *at; at = &(*at)->next)
        if (strcmp((*at)->name, name) == 0 &&
            strcmp((*at)->version ? (*at)->version : "", version ? version : "") == 0)
            (*at)->is_hidden = true;
    *at = series;
    pthread_mutex_unlock(&registry->mutex);
    return series;
}

void weir__observe_remove_series(weir__observe_t *observe, weir__observe_series_t *series)
{
    if (!series)
        return;
    weir__observe_registry_t *registry = observe->registry;
    pthread_mutex_lock(&registry->mutex);
    weir__observe_series_t **at = &registry->first[series->kind];
    while (*at && *at != series)
        at = &(*at)->next;
    if (*at)
        *at = series->next;
    series->is_hidden = true;
    bool is_read = registry->reader_count > 0;
    if (is_read) { // a reader that stands on it goes on from there
        series->next_removed = registry->removed;
        registry->removed = series;
    }
    pthread_mutex_unlock(&registry->mutex);
    if (!is_read)
        free_series(series);
}

void weir__observe_read_begin(weir__observe_registry_t *registry)
{
    pthread_mutex_lock(&registry->mutex);
    registry->reader_count++;
    pthread_mutex_unlock(&registry->mutex);
}

void weir__observe_read_end(weir__observe_registry_t *registry)
{
    weir__observe_series_t *removed = NULL;
    pthread_mutex_lock(&registry->mutex);
    if (--registry->reader_count == 0) {
        removed = registry->removed;
        registry->removed = NULL;
    }
    pthread_mutex_unlock(&registry->mutex);
    while (removed) {
        weir__observe_series_t *next = removed->next_removed;
        free_series(removed);
        removed = next;
    }
}

const weir__observe_series_t *weir__observe_next(weir__observe_registry_t *registry,
    weir__observe_kind_t kind, const weir__observe_series_t *after)
{
    pthread_mutex_lock(&registry->mutex);
    const weir__observe_series_t *at = after ? after->next : registry->first[kind];
    while (at && at->is_hidden)
        at = at->next;
    pthread_mutex_unlock(&registry->mutex);
    return at;
}
