// engine/api/note.c: notes of programs beside the engine's own things in the cache's folder.
#include "engine/api/objects.h"
#include "engine/base/hash.h"
#include "engine/cache/cache.h"
#include <string.h>
#include <weir/engine.h>

#define NOTE_BYTES_MAX (16ull << 20)

// Not a key that anything else of the cache could have.
static weir__hash_t key_of(const char *name)
{
    weir__hash_t key = weir__hash128(name, strlen(name));
    key.high ^= 0x6e6f7465206f6e65u;
    return key;
}

weir_status_t weir_engine_keep_note(
    weir_engine_t *engine, const char *name, const void *data, uint64_t bytes)
{
    weir__runtime_t *runtime = &engine->runtime;
    weir__view_t view;
    if (!name || !name[0] || !data || !bytes)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "a note has a name and at least one byte");
    if (bytes > NOTE_BYTES_MAX)
        return WEIR_ERR(WEIR_LIMIT, "note \"%s\": %llu bytes; at most %llu are kept", name,
            (unsigned long long)bytes, NOTE_BYTES_MAX);
    if (!weir__cache_is_on(runtime->cache))
        return WEIR_ERR(WEIR_UNAVAILABLE,
            "note \"%s\": there is no cache folder; see cache_dir of weir_engine_options_t", name);
    WEIR_TRY(
        weir__cache_put_data(runtime->cache, &runtime->heap, key_of(name), data, bytes, &view));
    bool is_kept = view.mapped;
    weir__cache_view_release(&view);
    if (!is_kept)
        return WEIR_ERR(WEIR_UNAVAILABLE, "note \"%s\": %s cannot be written to", name,
            weir__cache_dir(runtime->cache));
    return NULL;
}

weir_status_t weir_engine_read_note(
    weir_engine_t *engine, const char *name, void *data, uint64_t capacity, uint64_t *out_bytes)
{
    weir__view_t view;
    if (!name || !name[0] || !out_bytes || (capacity && !data))
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "a note is read by its name, into a buffer");
    *out_bytes = 0;
    if (!weir__cache_get(engine->runtime.cache, key_of(name), &view))
        return WEIR_ERR(WEIR_NOT_FOUND, "there is no note \"%s\"", name);
    if (!weir__cache_view_verify(&view)) {
        weir__cache_view_release(&view);
        return WEIR_ERR(WEIR_NOT_FOUND, "note \"%s\" is damaged", name);
    }
    uint64_t bytes = *out_bytes = view.bytes;
    if (bytes <= capacity)
        memcpy(data, view.data, bytes);
    weir__cache_view_release(&view);
    if (bytes > capacity)
        return WEIR_ERR(WEIR_RESOURCE_EXHAUSTED,
            "note \"%s\" has %llu bytes; there is room for %llu", name, (unsigned long long)bytes,
            (unsigned long long)capacity);
    return NULL;
}
