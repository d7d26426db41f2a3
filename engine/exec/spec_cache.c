// engine/exec/spec_cache.c: a plan's specializations, least recently used ones dropped.
//
// One lock, taken only when a session meets shapes that it did not just run.
#include "engine/exec/spec.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define SPECS_MAX 32
#define CHILDREN_MAX 16     // of one specialization
#define DESCENDANTS_MAX 256 // of all of them: children have children

struct weir__spec_cache {
    weir__heap_t *heap;
    pthread_mutex_t lock;
    weir__spec_t *newest;
    uint32_t count;
    _Atomic(weir__zone_chunk_t *) spare; // of a specialization that is gone
    weir__zone_t zone;                   // of `constants`
    weir__slot_t **constants;
};

static void free_cache(struct weir__spec_cache *cache)
{
    while (cache->newest) {
        weir__spec_t *spec = cache->newest;
        cache->newest = spec->next;
        weir__spec_release(spec);
    }
    weir__zone_drop(cache->heap, atomic_load(&cache->spare));
    pthread_mutex_destroy(&cache->lock);
    weir__zone_free(&cache->zone);
    weir__heap_free(cache->heap, cache);
}

weir_status_t weir__spec_cache_create(weir_plan_t *plan)
{
    struct weir__spec_cache *cache = weir__heap_calloc(&plan->runtime->heap, 1, sizeof *cache);
    if (!cache)
        return weir__status_no_memory();
    cache->heap = &plan->runtime->heap;
    pthread_mutex_init(&cache->lock, NULL);
    weir__zone_init(&cache->zone, cache->heap, 0);
    plan->specs = cache;
    plan->specs_free = free_cache;
    cache->constants =
        weir__zone_array(&cache->zone, weir__plan_value_count(plan), sizeof *cache->constants);
    return cache->constants &&
                   weir__slots_of_constants(plan->model->graph, &cache->zone, cache->constants)
               ? NULL
               : weir__status_no_memory();
}

void weir__spec_zone_begin(weir_plan_t *plan, weir__zone_t *zone)
{
    weir__zone_init(zone, &plan->runtime->heap, plan->runtime->limits.graph_bytes);
    weir__zone_adopt(zone, atomic_exchange(&plan->specs->spare, NULL));
}

void weir__spec_zone_end(weir_plan_t *plan, weir__zone_t *zone)
{
    weir__zone_chunk_t *block = weir__zone_leave(zone);
    weir__zone_drop(plan->specs->heap, atomic_exchange(&plan->specs->spare, block));
}

weir__slot_t *const *weir__spec_constants(const weir_plan_t *plan)
{
    return plan->specs->constants;
}

uint32_t weir__spec_cache_count(weir_plan_t *plan)
{
    pthread_mutex_lock(&plan->specs->lock);
    uint32_t count = plan->specs->count;
    pthread_mutex_unlock(&plan->specs->lock);
    return count;
}

bool weir__spec_fits(const weir__spec_t *spec, const weir_value_t *inputs)
{
    const int64_t *key = spec->key;
    uint32_t count = spec->plan->model->graph->main.input_count;
    for (uint32_t i = 0; i < count; i++) {
        if (*key++ != inputs[i].rank)
            return false;
        for (uint32_t d = 0; d < inputs[i].rank; d++)
            if (*key++ != inputs[i].dims[d])
                return false;
    }
    return true;
}

static bool has_contents(
    const weir__spec_t *child, const weir__spec_t *parent, const void *const *contents)
{
    const char *key = (const char *)child->key;
    for (uint32_t i = 0; i < parent->wait_count; i++) {
        uint64_t bytes = parent->slot_of_value[parent->waits[i]]->bytes;
        if (bytes && memcmp(key, contents[i], (size_t)bytes) != 0)
            return false;
        key += bytes;
    }
    return true;
}

// Finds in the list and moves to its front; the result has one more reference. Under the lock.
static weir__spec_t *find(weir__spec_t **list, const weir_value_t *inputs,
    const weir__spec_t *parent, const void *const *contents)
{
    for (weir__spec_t **link = list; *link; link = &(*link)->next) {
        weir__spec_t *spec = *link;
        if (parent ? !has_contents(spec, parent, contents) : !weir__spec_fits(spec, inputs))
            continue;
        *link = spec->next;
        spec->next = *list;
        *list = spec;
        weir__spec_retain(spec);
        return spec;
    }
    return NULL;
}

static uint32_t count_descendants(const weir__spec_t *spec)
{
    uint32_t count = 0;
    for (const weir__spec_t *child = spec->children; child; child = child->next)
        count += 1 + count_descendants(child); // as deep as one run has data-dependent points
    return count;
}

// Takes the oldest out of the list; the caller releases it, outside the lock. Under the lock.
static weir__spec_t *drop_oldest(weir__spec_t **list)
{
    weir__spec_t **link = list;
    while ((*link)->next)
        link = &(*link)->next;
    weir__spec_t *oldest = *link;
    *link = NULL;
    return oldest;
}

// Makes room among the children when there are too many: the oldest child, with all below it, of
// the root that was longest unused. A run that is using it holds references and goes on. Under the
// lock.
static weir__spec_t *drop_descendants(struct weir__spec_cache *cache)
{
    weir__spec_t *root = NULL;
    uint32_t count = 0;
    for (weir__spec_t *spec = cache->newest; spec; spec = spec->next) {
        count += count_descendants(spec);
        root = spec->children ? spec : root;
    }
    if (!root || count <= DESCENDANTS_MAX)
        return NULL;
    root->child_count--;
    return drop_oldest(&root->children);
}

weir_status_t weir__spec_get(weir_plan_t *plan, const weir_value_t *inputs, weir__spec_t *parent,
    const void *const *contents, weir__spec_t **out_spec, bool *out_made)
{
    struct weir__spec_cache *cache = plan->specs;
    weir__spec_t **list = parent ? &parent->children : &cache->newest;
    uint32_t *count = parent ? &parent->child_count : &cache->count;
    pthread_mutex_lock(&cache->lock);
    *out_spec = find(list, inputs, parent, contents);
    pthread_mutex_unlock(&cache->lock);
    *out_made = *out_spec == NULL;
    if (*out_spec)
        return NULL;
    // Made outside the lock: two sessions may make the same one, which costs time but no bits.
    weir__spec_t *made;
    WEIR_TRY(parent ? weir__spec_create_child(parent, contents, &made)
                    : weir__spec_create(plan, inputs, &made));
    weir__spec_t *dropped = NULL, *also_dropped = NULL;
    weir__spec_retain(made);
    pthread_mutex_lock(&cache->lock);
    made->next = *list;
    *list = made;
    if (++*count > (parent ? CHILDREN_MAX : SPECS_MAX)) {
        dropped = drop_oldest(list);
        --*count;
    }
    if (parent)
        also_dropped = drop_descendants(cache);
    pthread_mutex_unlock(&cache->lock);
    weir__spec_release(dropped);
    weir__spec_release(also_dropped);
    *out_spec = made;
    return NULL;
}
