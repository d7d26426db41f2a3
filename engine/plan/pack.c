// engine/plan/pack.c: constants laid out as the chosen kernels want them.
//
// Kept in the cache, so that every process on the machine maps the same pages and a second start
// packs nothing. The key says all that the bytes depend on: the constant's content, the kernel's
// format, the plugin's build and the node's attributes.
//
// First all are looked up, then those that are missing are made, the largest first. A worker of the
// team helps, a few constants at a time: sessions that run meanwhile get it back in between.
#include "engine/plan/plan.h"

#include "engine/base/size.h"
#include "engine/base/team.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// The caller and one worker: more than two writers of files gain nothing on the disks of today that
// would be worth the threads of those who compute.
#define MAKERS 2u
// What is larger is made by the caller alone: a worker that has one ends long before or after it.
#define SHARED_BYTES_MAX (16ull << 20)
// For so many constants, or so many bytes of them, a worker is held.
#define SLICE_COUNT 16u
#define SLICE_BYTES (8ull << 20)

typedef struct packing {
    const weir_kernel_t *kernel;
    const weir_node_t *view;
    weir__plugin_t *plugin;
    uint32_t input;
} packing_t;

// One input of a node that wants a packed constant. In the plan's zone.
typedef struct request {
    struct request *next, *next_missing;
    packing_t packing;
    weir__plan_node_t *node;
    weir__hash_t key;
    uint64_t bytes;
    uint32_t index; // in plan->packs
    weir_status_t status;
} request_t;

typedef struct collection {
    request_t *requests, *missing; // latest first
    uint64_t missing_count;
} collection_t;

static weir_status_t fill(void *user, void *destination, uint64_t bytes)
{
    const packing_t *packing = user;
    weir_code_t code = packing->kernel->pack(packing->view, packing->input, destination, bytes);
    return weir__plugin_status(packing->plugin, code, "pack");
}

static weir__hash_t hash_text(const char *text)
{
    return weir__hash128(text ? text : "", text ? strlen(text) : 0);
}

// What makes this constant this constant: its place in the model, if the file has it as it is; its
// bytes, if rewriting computed it. (Not its place in memory: that depends on how the model was
// loaded.)
weir__hash_t weir__plan_hash_constant(const weir_model_t *model, const weir__value_t *value)
{
    const weir__tensor_t *constant = value->constant;
    if (!constant->origin)
        return weir__hash128(constant->data, constant->bytes);
    uint64_t place[2] = {constant->origin, constant->bytes};
    return weir__hash_join(model->digest, weir__hash128(place, sizeof place));
}

static weir__hash_t hash_attributes(const weir_node_t *view)
{
    weir__hash_t hash = hash_text(view->op);
    for (uint32_t i = 0; i < view->attribute_count; i++) {
        const weir_attribute_t *attribute = &view->attributes[i];
        uint64_t parts[2] = {(uint64_t)attribute->i, 0};
        memcpy(&parts[1], &attribute->f, sizeof attribute->f);
        hash = weir__hash_join(hash, hash_text(attribute->name));
        hash = weir__hash_join(hash, weir__hash128(parts, sizeof parts));
        if (attribute->type == WEIR_ATTR_STRING)
            hash = weir__hash_join(hash, hash_text(attribute->s));
        if (attribute->type == WEIR_ATTR_INTS)
            hash = weir__hash_join(
                hash, weir__hash128(attribute->ints, attribute->count * sizeof(int64_t)));
        if (attribute->type == WEIR_ATTR_FLOATS)
            hash = weir__hash_join(
                hash, weir__hash128(attribute->floats, attribute->count * sizeof(float)));
    }
    return hash;
}

static weir__hash_t key_of(const weir_plan_t *plan, const weir__plan_node_t *node,
    const packing_t *packing, const weir_packing_t *wanted)
{
    const weir__value_t *value = &plan->model->graph->values[node->inputs[packing->input]];
    uint64_t shape[5 + WEIR_RANK_MAX] = {wanted->format, wanted->bytes, packing->input,
        value->constant->dtype, value->constant->rank};
    memcpy(&shape[5], value->constant->dims, value->constant->rank * sizeof shape[0]);
    weir__hash_t key = weir__plan_hash_constant(plan->model, value);
    key = weir__hash_join(key, weir__hash128(shape, sizeof shape));
    key = weir__hash_join(key, hash_text(packing->plugin->name));
    key = weir__hash_join(key, hash_text(packing->plugin->abi.build));
    return weir__hash_join(key, hash_attributes(packing->view));
}

// Room for one more pack, so that one that was made always has a place.
static weir_status_t grow_packs(weir_plan_t *plan)
{
    weir__heap_t *heap = &plan->runtime->heap;
    if (plan->pack_count < plan->pack_capacity)
        return NULL;
    uint64_t capacity = plan->pack_capacity ? 2ull * plan->pack_capacity : 16, bytes;
    if (capacity > UINT32_MAX || !weir__mul_u64(capacity, sizeof *plan->packs, &bytes))
        return weir__status_no_memory();
    weir__view_t *packs = weir__heap_realloc(heap, plan->packs, bytes);
    if (!packs)
        return weir__status_no_memory();
    plan->packs = packs;
    plan->pack_capacity = (uint32_t)capacity;
    return NULL;
}

// Of this plan, of the cache, or to be made. *out_index: its place in packs.
static weir_status_t find_pack(
    weir_plan_t *plan, weir__hash_t key, uint64_t bytes, uint32_t *out_index, bool *out_missing)
{
    char hex[33];
    *out_missing = false;
    weir__hash_hex(key, hex);
    if (weir__map_get(&plan->pack_names, hex, out_index))
        return NULL;
    WEIR_TRY(grow_packs(plan));
    const char *name = weir__zone_string(&plan->zone, hex, strlen(hex));
    if (!name || !weir__map_put(&plan->pack_names, name, plan->pack_count))
        return weir__status_no_memory();
    weir__view_t *view = &plan->packs[plan->pack_count];
    bool cached = weir__cache_get(plan->runtime->cache, key, view);
    if (cached && view->bytes != bytes) {
        weir__cache_view_release(view);
        cached = false;
    }
    *out_index = plan->pack_count++;
    *out_missing = !cached;
    plan->info.packed_bytes += bytes;
    plan->info.packed_cached_bytes += cached ? bytes : 0;
    return NULL;
}

static weir_status_t pack_input(
    weir_plan_t *plan, collection_t *collection, weir__plan_node_t *node, const packing_t *packing)
{
    weir_packing_t wanted = {.head = WEIR_HEAD(weir_packing_t)};
    weir_code_t code = packing->kernel->pack_query(packing->view, packing->input, &wanted);
    if (code != WEIR_OK)
        return weir__status_prefix(
            weir__plugin_status(packing->plugin, code, "pack_query"), "%s", node->label);
    if (!wanted.format)
        return NULL;
    if (wanted.format < WEIR_FORMAT_OWN)
        return WEIR_ERR(WEIR_INTERNAL,
            "%s: kernel \"%s\" packs into format %u, which is not one of its own", node->label,
            packing->kernel->name, wanted.format);
    request_t *request = weir__zone_alloc(&plan->zone, sizeof *request);
    if (!request)
        return weir__status_no_memory();
    *request = (request_t){.packing = *packing,
        .node = node,
        .key = key_of(plan, node, packing, &wanted),
        .bytes = wanted.bytes};
    bool missing;
    WEIR_TRY(weir__status_prefix(
        find_pack(plan, request->key, request->bytes, &request->index, &missing), "%s",
        node->label));
    request->next = collection->requests;
    collection->requests = request;
    if (missing) {
        request->next_missing = collection->missing;
        collection->missing = request;
        collection->missing_count++;
    }
    node->packed[packing->input].format = wanted.format;
    return NULL;
}

static weir_status_t pack_node(weir_plan_t *plan, collection_t *collection, weir__plan_node_t *node)
{
    const weir_kernel_t *kernel = node->choice.kernel;
    if (!kernel || !kernel->pack_query || !kernel->pack || node->is_shape)
        return NULL;
    // Which of several kernels it will be is known in a run; what is packed is for the first.
    bool alone = kernel->head.flags & WEIR_KERNEL_PACKS_ALONE;
    if (node->candidate_count && !alone)
        return NULL;
    uint32_t count = node->input_count + node->output_count;
    weir_tensor_t *tensors = weir__zone_array(&plan->zone, count, sizeof *tensors);
    weir_node_t *view = weir__zone_alloc(&plan->zone, sizeof *view);
    node->packed = weir__zone_array(&plan->zone, node->input_count, sizeof *node->packed);
    if (!tensors || !view || !node->packed)
        return weir__status_no_memory();
    if (!weir__view_node(plan, node, tensors, view) && !alone)
        return NULL;
    packing_t packing = {.kernel = kernel, .view = view, .plugin = node->choice.device->plugin};
    for (packing.input = 0; packing.input < node->input_count; packing.input++)
        if (tensors[packing.input].flags & WEIR_TENSOR_CONSTANT)
            WEIR_TRY(pack_input(plan, collection, node, &packing));
    return NULL;
}

static weir_status_t collect(
    weir_plan_t *plan, collection_t *collection, weir__plan_region_t *region)
{
    for (uint32_t i = 0; i < region->node_count; i++) {
        weir__plan_node_t *node = &region->nodes[i];
        WEIR_TRY(pack_node(plan, collection, node));
        for (uint32_t r = 0; r < 2; r++)
            if (node->regions[r])
                WEIR_TRY(collect(plan, collection, node->regions[r]));
    }
    return NULL;
}

// ---- Making what is missing --------------------------------------------------------------------

typedef struct making {
    weir_plan_t *plan;
    request_t **requests; // of the slice
    weir__scratch_t scratches[MAKERS];
} making_t;

static weir_code_t make_some(void *user, uint32_t worker, uint64_t first, uint64_t count)
{
    making_t *making = user;
    weir__runtime_t *runtime = making->plan->runtime;
    for (uint64_t i = first; i < first + count; i++) {
        request_t *request = making->requests[i];
        request->status = weir__cache_put_by(runtime->cache, &runtime->heap, request->key,
            request->bytes, fill, &request->packing, &making->scratches[worker],
            &making->plan->packs[request->index]);
        if (request->status)
            return weir_status_code(request->status);
    }
    return WEIR_OK;
}

static int by_size(const void *a, const void *b)
{
    const request_t *x = *(request_t *const *)a, *y = *(request_t *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

// How many of the `count` requests from `first` on are made before the team is asked again.
static uint64_t slice_of(request_t *const *requests, uint64_t first, uint64_t count)
{
    uint64_t bytes = requests[first]->bytes, end = first + 1;
    if (bytes > SHARED_BYTES_MAX)
        return 1;
    while (end < count && end - first < SLICE_COUNT &&
           (end - first < MAKERS || bytes + requests[end]->bytes <= SLICE_BYTES))
        bytes += requests[end++]->bytes;
    return end - first;
}

// Who finds no worker idle works without a lease: then the team does not count this thread as one
// that computes, and runs keep what they have.
static weir_code_t make_slice(making_t *making, uint64_t count)
{
    weir__lease_t lease;
    if (count < 2)
        return make_some(making, 0, 0, count);
    weir__lease_begin(making->plan->runtime->team, MAKERS, &lease);
    bool helped = lease.worker_count > 0;
    weir_code_t code = helped ? weir__lease_run(&lease, count, make_some, making) : WEIR_OK;
    weir__lease_end(&lease);
    return helped ? code : make_some(making, 0, 0, count);
}

static weir_status_t make_missing(weir_plan_t *plan, const collection_t *collection)
{
    making_t making = {.plan = plan};
    uint64_t count = 0;
    if (!collection->missing)
        return NULL;
    request_t **requests =
        weir__zone_array(&plan->zone, collection->missing_count, sizeof(request_t *));
    if (!requests)
        return weir__status_no_memory();
    for (request_t *request = collection->missing; request; request = request->next_missing)
        requests[count++] = request;
    qsort(requests, count, sizeof(request_t *), by_size);
    weir_code_t code = WEIR_OK; // the requests say what failed
    for (uint64_t first = 0, taken; first < count && code == WEIR_OK; first += taken) {
        taken = slice_of(requests, first, count);
        making.requests = requests + first;
        code = make_slice(&making, taken);
    }
    for (uint32_t i = 0; i < MAKERS; i++)
        weir__heap_free(&plan->runtime->heap, making.scratches[i].memory);
    weir_status_t status = NULL;
    for (uint64_t i = 0; i < count; i++) {
        if (status)
            weir_status_free(requests[i]->status);
        else if (requests[i]->status)
            status = weir__status_prefix(requests[i]->status, "%s", requests[i]->node->label);
    }
    return status;
}

weir_status_t weir__plan_pack(weir_plan_t *plan, weir__plan_region_t *region)
{
    collection_t collection = {0};
    WEIR_TRY(collect(plan, &collection, region));
    WEIR_TRY(make_missing(plan, &collection));
    for (const request_t *request = collection.requests; request; request = request->next)
        request->node->packed[request->packing.input].view = plan->packs[request->index];
    return NULL;
}

void weir__plan_warn_of_cache(const weir_plan_t *plan)
{
    const weir__runtime_t *runtime = plan->runtime;
    const weir__source_t *source = plan->model->source;
    const bool cached = source && source->cache; // else the model came from memory
    uint64_t limit = weir__cache_limit(runtime->cache), bytes = 0;
    // The last: what the cache adds to each blob, at most.
    uint64_t parts[4] = {plan->info.packed_bytes, cached ? source->byte_count : 0,
        cached ? source->constants.bytes : 0, (plan->pack_count + 2ull) * 8192};
    for (int i = 0; i < 4; i++)
        if (!weir__add_u64(bytes, parts[i], &bytes))
            bytes = UINT64_MAX;
    if (limit && bytes > limit)
        weir__log(&runtime->log, WEIR_LOG_WARNING, "cache",
            "%s takes %" PRIu64 " bytes of the cache, which may hold %" PRIu64
            ": it may be gone before a later start; set cache_bytes to %" PRIu64 " or more",
            plan->model->label, bytes, limit, bytes);
}

void weir__plan_unpack(weir_plan_t *plan)
{
    for (uint32_t i = 0; i < plan->pack_count; i++)
        weir__cache_view_release(&plan->packs[i]);
    weir__heap_free(&plan->runtime->heap, plan->packs);
    weir__map_free(&plan->pack_names);
}
