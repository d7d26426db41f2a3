// engine/cache/cache.h: files that outlive the process: model files, aligned constants, packed
// weights.
//
// Everything is a blob: bytes under a 128-bit key, in a file of its own, mapped read-only. Nothing
// here decides what is right: a blob that is missing, damaged or not ours is made again, and when
// there is no folder to write to, blobs live in memory. A cache never makes a load fail.
//
// The folder belongs to this user (0700 when made here). A writer fills a temporary file and
// renames it, so other processes see a whole blob or none; of two writers of one key with the same
// bytes both map the file of the first, and the second one's goes.
// It is not synced: what a dying process leaves is recognised by its size, header and trailer; what
// a power cut leaves, by a checksum of all bytes, which the first get of a blob in each boot looks
// at. Later gets do not, because a start of a large model must not read all of it; only
// weir__cache_view_verify() does at any time. Whoever truncates a file of the folder while it is
// mapped kills the process; no other user can.
#ifndef WEIR_CACHE_CACHE_H
#define WEIR_CACHE_CACHE_H

#include "engine/base/hash.h"
#include "engine/base/heap.h"
#include "engine/base/log.h"
#include "engine/base/status.h"
#include <stdbool.h>
#include <weir/limits.h>

// What the folder may hold: one or two large models, or nine like MiniLM (a model takes about 2.5
// times its weights: the file, constants that had to move, packed weights).
#define WEIR__CACHE_BYTES_DEFAULT (2ull << 30)
// Blobs that nobody used for so long go even where there is room.
#define WEIR__CACHE_UNUSED_S (30 * 86400)
// What was used so lately stays beyond the limit, up to so many times the limit and while the disk
// has room for the limit once more: two models that do not fit together would else drive each other
// out at each start.
#define WEIR__CACHE_RECENT_S 86400
#define WEIR__CACHE_RECENT_TIMES 4

typedef struct weir__cache weir__cache_t;

// Writes the folder that is used when nobody names one: $WEIR_CACHE_DIR, else $XDG_CACHE_HOME/weir,
// else
// ~/.cache/weir; "" (no cache) when WEIR_CACHE_DIR is empty or none of them is set.
void weir__cache_default_dir(char *out_path, size_t capacity);

// Opens a cache; makes the folder when it is not there. A folder that cannot be used gives a
// warning and a cache that keeps everything in memory. dir:   NULL: the default one; "": none.
// bytes: what the folder may hold (0: WEIR__CACHE_BYTES_DEFAULT). weir__cache_trim() removes blobs
//        not used for the longest time until it holds no more; afterwards it may grow past that.
//        What a cache that is open now, in any process, has handed
//        out is as a rule not removed (see weir__cache_hold()), nor what was used within
//        WEIR__CACHE_RECENT_S (see there). On a machine without a clock only the order of use
//        counts.
// heap, log: must outlive the cache. log NULL: silent.
// Errors: RESOURCE_EXHAUSTED.
weir_status_t weir__cache_open(weir__heap_t *heap, const weir__log_t *log, const char *dir,
    uint64_t bytes, weir__cache_t **out_cache);
// Trims the folder once, and only if blobs were made since it was opened: a process that finds all
// it needs removes nothing, however long it was stopped. To be called when all is taken up that is
// needed now. Closing does it, too. Threads: any. NULL is allowed.
void weir__cache_trim(weir__cache_t *cache);
// Views stay valid. NULL is allowed.
void weir__cache_close(weir__cache_t *cache);
// Whether it writes to a folder; the folder's path ("" without one).
bool weir__cache_is_on(const weir__cache_t *cache);
const char *weir__cache_dir(const weir__cache_t *cache);
// What the folder may hold; 0 without one. cache NULL: 0.
uint64_t weir__cache_limit(const weir__cache_t *cache);

// ---- Blobs -----------------------------------------------------------------------------------

// A blob in use: mapped, or in memory. data is 64-byte aligned and read-only.
typedef struct weir__view {
    const void *data;
    uint64_t bytes;
    bool mapped;
    void *block; // the mapping or the heap's block; NULL: empty view
    uint64_t block_bytes;
    weir__heap_t *heap;
} weir__view_t;

// false: there is none, or it is damaged, which is a warning. The first get of a blob since the
// machine was started reads all of it. Threads: any. cache NULL: false.
bool weir__cache_get(weir__cache_t *cache, weir__hash_t key, weir__view_t *out_view);

// Writes `bytes` bytes to `destination`.
typedef weir_status_t (*weir__fill_fn)(void *user, void *destination, uint64_t bytes);

// Makes a blob. When no file can be written, or cache is NULL, it is made in memory of `heap`.
// Threads: any. Errors: what `fill` returns; RESOURCE_EXHAUSTED.
weir_status_t weir__cache_put(weir__cache_t *cache, weir__heap_t *heap, weir__hash_t key,
    uint64_t bytes, weir__fill_fn fill, void *user, weir__view_t *out_view);

// The same with memory to work in that outlives the call: making many blobs one after the other,
// the kernel hands out, and clears, one block instead of as many. memory NULL: none yet. Owns: the
// caller frees `memory`.
typedef struct weir__scratch {
    void *memory;
    uint64_t bytes;
} weir__scratch_t;
weir_status_t weir__cache_put_by(weir__cache_t *cache, weir__heap_t *heap, weir__hash_t key,
    uint64_t bytes, weir__fill_fn fill, void *user, weir__scratch_t *scratch,
    weir__view_t *out_view);

// The same for bytes that come in order: they go from the processor's cache into the file. `pour`
// puts exactly `bytes` bytes into the sink; it is called again, from the beginning, when the file
// cannot be written after all.
typedef struct weir__sink weir__sink_t;
typedef weir_status_t (*weir__pour_fn)(void *user, weir__sink_t *sink);
weir_status_t weir__cache_pour(weir__cache_t *cache, weir__heap_t *heap, weir__hash_t key,
    uint64_t bytes, weir__pour_fn pour, void *user, weir__view_t *out_view);

// Copies `bytes` bytes into the sink; zeros.
void weir__sink_put(weir__sink_t *sink, const void *data, uint64_t bytes);
void weir__sink_zeros(weir__sink_t *sink, uint64_t bytes);
// Room for the next *out_bytes bytes, at most `wanted` and at least 1; then, how many of them are
// there now.
void *weir__sink_room(weir__sink_t *sink, uint64_t wanted, uint64_t *out_bytes);
void weir__sink_took(weir__sink_t *sink, uint64_t bytes);
// weir__hash128() of all bytes that are in it.
weir__hash_t weir__sink_digest(const weir__sink_t *sink);

// weir__cache_put() with the bytes at hand.
weir_status_t weir__cache_put_data(weir__cache_t *cache, weir__heap_t *heap, weir__hash_t key,
    const void *data, uint64_t bytes, weir__view_t *out_view);
void weir__cache_view_release(weir__view_t *view); // an empty view is allowed

// Reads all of a mapped blob and compares it with the checksum of its writer; true for one in
// memory.
bool weir__cache_view_verify(const weir__view_t *view);

// ---- Model files -------------------------------------------------------------------------------

// A model file as it was at one moment: the user's file is not needed any more.
typedef struct weir__source {
    const void *bytes; // NULL once sealing found that nothing points there any more
    uint64_t byte_count;
    weir__hash_t digest; // of the content; after sealing, of the external data, too
    uint64_t external_byte_count;
    bool from_cache;      // the user's file was not read
    weir__hash_t content; // digest of the file alone
    // The rest is the cache's own.
    weir__cache_t *cache;
    weir__heap_t *heap;
    weir__view_t file, constants;
    weir_limits_t limits;
    int folder;       // where external data is looked for; -1: nowhere
    int folder_error; // why there is none; 0: the model came from memory
} weir__source_t;

// Takes the content of the file `path`: out of the cache when a file of the same device, inode,
// size and times was read before, else by reading it once. The user's file is never mapped. cache:
// may be NULL. Errors: NOT_FOUND, INVALID_ARGUMENT (not a regular file), LIMIT (file_bytes),
// DATA_LOSS (it changed while it was read), RESOURCE_EXHAUSTED.
weir_status_t weir__cache_load_source(weir__cache_t *cache, weir__heap_t *heap,
    const weir_limits_t *limits, const char *path, weir__source_t **out_source);
// The same from memory, which is copied. External data is then refused.
weir_status_t weir__cache_copy_source(weir__heap_t *heap, const weir_limits_t *limits,
    const void *bytes, uint64_t byte_count, weir__source_t **out_source);

// A constant of the model: where its pointer is kept, and where its bytes are.
typedef struct weir__seal_item {
    const void **data; // rewritten when the bytes move
    uint64_t bytes;
    const char *name;     // for messages
    const char *location; // of external data, relative to the model's folder; NULL: *data is set
    uint64_t offset;      // in that file
    bool is_boolean;      // external bytes other than 0 and 1 are refused
} weir__seal_item_t;

// Gathers constants that are external, or that lie in the source where no kernel wants them (not at
// a multiple of 64), in one read-only block, and points them there. A later seal of the same model
// finds the block and reads nothing: external files count as the same when device, inode, size and
// times are. Afterwards source->bytes is NULL unless a constant still points there. Errors:
// INVALID_ARGUMENT (a location outside the folder, not a regular file, too short), NOT_FOUND, LIMIT
// (external_bytes), DATA_LOSS, RESOURCE_EXHAUSTED. The source is then only good for freeing.
weir_status_t weir__cache_seal(
    weir__source_t *source, const weir__seal_item_t *items, uint64_t item_count);
void weir__source_free(weir__source_t *source); // NULL is allowed

#endif
