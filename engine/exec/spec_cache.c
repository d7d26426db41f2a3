// engine/exec/spec_cache.c: a plan's specializations, least recently used ones dropped.
//
// One lock, taken only when a session meets shapes that it did not just run.
#include "engine/exec/spec.h"

#include "engine/base/hash.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define SPECS_MAX 32
#define CHILDREN_MAX 16     // of one specialization
#define DESCENDANTS_MAX 256 // of all of them: children have children

struct weir__spec_cache {
    weir__heap_t *heap;
    pthread_mutex_t lock;
    // Of specializations for inputs, most recently used first. The hashes lie together, because
    // what is looked for is mostly not there, and the specializations are far from the processor.
    uint64_t hashes[SPECS_MAX + 1];
    weir__spec_t *specs[SPECS_MAX + 1];
    uint32_t count;
    _Atomic(weir__zone_chunk_t *) spare; // of a specialization that is gone
    weir__zone_t zone;                   // of `constants`
    weir__slot_t **constants;
};

static void free_cache(struct weir__spec_cache *cache)
{
    for (uint32_t i = 0; i < cache->count; i++)
        weir__spec_release(cache->specs[i]);
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

uint64_t weir__spec_hash(const weir_plan_t *plan, const weir_value_t *inputs)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < plan->model->graph->main.input_count; i++)
        hash = weir__hash64(
            inputs[i].dims, inputs[i].rank * sizeof inputs[i].dims[0], hash ^ inputs[i].rank);
    return hash;
}

// Puts a root in front; `from` is where it was. Under the lock.
static void put_first(
    struct weir__spec_cache *cache, uint32_t from, uint64_t hash, weir__spec_t *spec)
{
    memmove(&cache->hashes[1], &cache->hashes[0], from * sizeof cache->hashes[0]);
    memmove(&cache->specs[1], &cache->specs[0], from * sizeof(weir__spec_t *));
    cache->hashes[0] = hash;
    cache->specs[0] = spec;
}

// The results of both have one more reference. Under the lock.
static weir__spec_t *find_root(
    struct weir__spec_cache *cache, uint64_t hash, const weir_value_t *inputs)
{
    for (uint32_t i = 0; i < cache->count; i++) {
        if (cache->hashes[i] != hash || !weir__spec_fits(cache->specs[i], inputs))
            continue;
        weir__spec_t *spec = cache->specs[i];
        put_first(cache, i, hash, spec);
        weir__spec_retain(spec);
        return spec;
    }
    return NULL;
}

static weir__spec_t *find_child(weir__spec_t *parent, const void *const *contents)
{
    for (weir__spec_t **link = &parent->children; *link; link = &(*link)->next) {
        weir__spec_t *spec = *link;
        if (!has_contents(spec, parent, contents))
            continue;
        *link = spec->next;
        spec->next = parent->children;
        parent->children = spec;
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
    for (uint32_t i = 0; i < cache->count; i++) {
        count += count_descendants(cache->specs[i]);
        root = cache->specs[i]->children ? cache->specs[i] : root;
    }
    if (!root || count <= DESCENDANTS_MAX)
        return NULL;
    root->child_count--;
    return drop_oldest(&root->children);
}

// Takes one more reference; what goes for it is the caller's to release, outside the lock. Under
// the lock.
static weir__spec_t *keep_root(struct weir__spec_cache *cache, uint64_t hash, weir__spec_t *made)
{
    weir__spec_retain(made);
    put_first(cache, cache->count, hash, made);
    if (cache->count < SPECS_MAX) {
        cache->count++;
        return NULL;
    }
    return cache->specs[SPECS_MAX];
}

static weir__spec_t *keep_child(weir__spec_t *parent, weir__spec_t *made)
{
    weir__spec_retain(made);
    made->next = parent->children;
    parent->children = made;
    if (parent->child_count < CHILDREN_MAX) {
        parent->child_count++;
        return NULL;
    }
    return drop_oldest(&parent->children);
}

weir_status_t weir__spec_get(weir_plan_t *plan, const weir_value_t *inputs, weir__spec_t *parent,
    const void *const *contents, weir__spec_t **out_spec, bool *out_made)
{
    struct weir__spec_cache *cache = plan->specs;
    const uint64_t hash = parent ? 0 : weir__spec_hash(plan, inputs);
    pthread_mutex_lock(&cache->lock);
    *out_spec = parent ? find_child(parent, contents) : find_root(cache, hash, inputs);
    pthread_mutex_unlock(&cache->lock);
    *out_made = *out_spec == NULL;
    if (*out_spec)
        return NULL;
    // Made outside the lock: two sessions may make the same one, which costs time but no bits.
    weir__spec_t *made;
    WEIR_TRY(parent ? weir__spec_create_child(parent, contents, &made)
                    : weir__spec_create(plan, inputs, &made));
    pthread_mutex_lock(&cache->lock);
    weir__spec_t *dropped = parent ? keep_child(parent, made) : keep_root(cache, hash, made);
    weir__spec_t *also_dropped = parent ? drop_descendants(cache) : NULL;
    pthread_mutex_unlock(&cache->lock);
    weir__spec_release(dropped);
    weir__spec_release(also_dropped);
    *out_spec = made;
    return NULL;
}
