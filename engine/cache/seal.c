// engine/cache/seal.c: constants, gathered in one aligned block.
//
// The blob's key is made of the model's content, the place of every constant, and the identity of
// every external file: the same key means the same bytes at the same offsets, so a start that finds
// it copies and reads nothing. The blob ends with the digest over model and external data.
#include "engine/cache/source.h"

#include "engine/base/boolean.h"
#include "engine/base/size.h"
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define ALIGNMENT 64u

// The blob's last 64 bytes.
typedef struct suffix {
    weir__hash_t digest;
    uint64_t external_bytes;
} suffix_t;
#define SUFFIX_BYTES 64u
_Static_assert(sizeof(suffix_t) <= SUFFIX_BYTES, "");

// What is to be moved: part of the key, so it holds nothing but numbers.
typedef struct move {
    weir__identity_t identity; // of the external file; zero: out of the source
    uint64_t item;
    uint64_t from; // offset in that file or in the source
    uint64_t bytes;
    uint64_t to; // offset in the block
} move_t;

typedef struct sealing {
    weir__source_t *source;
    const weir__seal_item_t *items;
    move_t *moves;
    uint64_t move_count;
    uint64_t block_bytes; // of the constants; with the suffix once all are planned
    uint64_t external_bytes;
} sealing_t;

static bool in_source(const weir__source_t *source, const void *data)
{
    uintptr_t first = (uintptr_t)source->bytes, at = (uintptr_t)data;
    return source->bytes && at >= first && at - first <= source->byte_count;
}

// In memory the source is kept only for constants, so there all of them move and it goes.
static bool must_move(const weir__source_t *source, const weir__seal_item_t *item)
{
    if (!item->bytes)
        return false;
    if (item->location)
        return true;
    return in_source(source, *item->data) &&
           (!source->file.mapped || (uintptr_t)*item->data % ALIGNMENT != 0);
}

// ---- Planning --------------------------------------------------------------------------------

static weir_status_t open_external(
    const sealing_t *sealing, const weir__seal_item_t *item, int *out_file)
{
    if (sealing->source->folder_error)
        return WEIR_ERR(WEIR_NOT_FOUND, "the model's folder cannot be opened: %s",
            strerror(sealing->source->folder_error));
    if (sealing->source->folder < 0)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "external data needs a folder: load the model from a file instead of from memory");
    return weir__file_open_beneath(sealing->source->folder, item->location, false, out_file);
}

static weir_status_t check_external(
    sealing_t *sealing, const weir__seal_item_t *item, const move_t *before, move_t *move)
{
    const weir_limits_t *limits = &sealing->source->limits;
    uint64_t end;
    int file;
    if (before && sealing->items[before->item].location &&
        strcmp(sealing->items[before->item].location, item->location) == 0) {
        move->identity = before->identity;
    } else {
        WEIR_TRY(open_external(sealing, item, &file));
        weir_status_t status = weir__file_settle(file, &move->identity);
        close(file);
        if (status)
            return status;
    }
    if (!weir__add_u64(item->offset, item->bytes, &end) || end > move->identity.bytes)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "%" PRIu64 " bytes at offset %" PRIu64 " are wanted, but the file has %" PRIu64
            " bytes",
            item->bytes, item->offset, move->identity.bytes);
    if (!weir__add_u64(sealing->external_bytes, item->bytes, &sealing->external_bytes) ||
        sealing->external_bytes > limits->external_bytes)
        return WEIR_ERR(WEIR_LIMIT,
            "the model has more external data than the limit external_bytes (%" PRIu64 ")",
            limits->external_bytes);
    move->from = item->offset;
    return NULL;
}

static weir_status_t plan_move(sealing_t *sealing, uint64_t index)
{
    const weir__seal_item_t *item = &sealing->items[index];
    const move_t *before = sealing->move_count ? &sealing->moves[sealing->move_count - 1] : NULL;
    move_t *move = &sealing->moves[sealing->move_count];
    uint64_t at;
    move->item = index;
    move->bytes = item->bytes;
    if (item->location)
        WEIR_TRY(weir__status_prefix(check_external(sealing, item, before, move),
            "tensor %s: external file %s", item->name, item->location));
    else
        move->from = (uint64_t)((const char *)*item->data - (const char *)sealing->source->bytes);
    if (!weir__align_u64(sealing->block_bytes, ALIGNMENT, &at) ||
        !weir__add_u64(at, item->bytes, &sealing->block_bytes))
        return WEIR_ERR(WEIR_LIMIT, "tensor %s: all constants together are too large", item->name);
    move->to = at;
    sealing->move_count++;
    return NULL;
}

// ---- Copying ---------------------------------------------------------------------------------

typedef struct open_file {
    int file; // -1: none
    const char *location;
    weir__identity_t identity;
} open_file_t;

static weir_status_t close_checked(open_file_t *open)
{
    weir__identity_t after;
    if (open->file < 0)
        return NULL;
    weir_status_t status = weir__file_identity(open->file, &after);
    close(open->file);
    open->file = -1;
    if (!status && !weir__identity_equal(&after, &open->identity))
        status = WEIR_ERR(
            WEIR_DATA_LOSS, "it was changed while it was read: try again when nobody writes it");
    return weir__status_prefix(status, "external file %s", open->location);
}

// *digest goes on with what is read.
static weir_status_t pour_external(const sealing_t *sealing, const move_t *move, open_file_t *open,
    weir__sink_t *sink, weir__hash_t *digest)
{
    const weir__seal_item_t *item = &sealing->items[move->item];
    weir__hash_stream_t hash;
    if (open->file < 0 || strcmp(open->location, item->location) != 0) {
        WEIR_TRY(close_checked(open));
        WEIR_TRY(open_external(sealing, item, &open->file));
        open->location = item->location;
        open->identity = move->identity;
    }
    weir__hash_stream_begin(&hash);
    for (uint64_t done = 0, piece; done < move->bytes; done += piece) {
        void *room = weir__sink_room(sink, move->bytes - done, &piece);
        WEIR_TRY(weir__file_read(open->file, move->from + done, room, piece));
        if (item->is_boolean)
            WEIR_TRY(weir__boolean_check(room, piece));
        weir__hash_stream_add(&hash, room, piece);
        weir__sink_took(sink, piece);
    }
    *digest = weir__hash_join(*digest, weir__hash_stream_128(&hash));
    return NULL;
}

static weir_status_t pour(void *user, weir__sink_t *sink)
{
    const sealing_t *sealing = user;
    const weir__source_t *source = sealing->source;
    suffix_t suffix = {.digest = source->content, .external_bytes = sealing->external_bytes};
    open_file_t open = {.file = -1};
    weir_status_t status = NULL;
    uint64_t done = 0; // what lies between constants is zero
    for (uint64_t i = 0; i < sealing->move_count && !status; i++) {
        const move_t *move = &sealing->moves[i];
        const weir__seal_item_t *item = &sealing->items[move->item];
        weir__sink_zeros(sink, move->to - done);
        done = move->to + move->bytes;
        if (item->location)
            status = weir__status_prefix(pour_external(sealing, move, &open, sink, &suffix.digest),
                "tensor %s: external file %s", item->name, item->location);
        else
            weir__sink_put(sink, (const char *)source->bytes + move->from, move->bytes);
    }
    if (!status)
        status = close_checked(&open);
    else if (open.file >= 0)
        close(open.file);
    if (status)
        return status;
    weir__sink_zeros(sink, sealing->block_bytes - SUFFIX_BYTES - done);
    weir__sink_put(sink, &suffix, sizeof suffix);
    weir__sink_zeros(sink, SUFFIX_BYTES - sizeof suffix);
    return NULL;
}

// ---- All of it -------------------------------------------------------------------------------

static weir_status_t make_block(sealing_t *sealing)
{
    weir__source_t *source = sealing->source;
    weir__hash_t key = weir__cache_key(
        weir__hash_join(source->content,
            weir__hash128(sealing->moves, sealing->move_count * sizeof *sealing->moves)),
        WEIR__CACHE_KEY_CONSTANTS);
    if (weir__cache_get(source->cache, key, &source->constants)) {
        if (source->constants.bytes == sealing->block_bytes)
            return NULL;
        weir__cache_view_release(&source->constants);
    }
    return weir__cache_pour(
        source->cache, source->heap, key, sealing->block_bytes, pour, sealing, &source->constants);
}

static weir_status_t seal(sealing_t *sealing, uint64_t item_count)
{
    weir__source_t *source = sealing->source;
    bool kept = false;
    for (uint64_t i = 0; i < item_count; i++)
        if (must_move(source, &sealing->items[i]))
            WEIR_TRY(plan_move(sealing, i));
        else if (sealing->items[i].bytes)
            kept |= in_source(source, *sealing->items[i].data);
    if (sealing->move_count) {
        suffix_t suffix;
        if (!weir__align_u64(sealing->block_bytes, ALIGNMENT, &sealing->block_bytes) ||
            !weir__add_u64(sealing->block_bytes, SUFFIX_BYTES, &sealing->block_bytes))
            return WEIR_ERR(WEIR_LIMIT, "all constants together are too large");
        WEIR_TRY(make_block(sealing));
        memcpy(&suffix, (const char *)source->constants.data + sealing->block_bytes - SUFFIX_BYTES,
            sizeof suffix);
        source->digest = suffix.digest;
        source->external_byte_count = suffix.external_bytes;
    }
    for (uint64_t i = 0; i < sealing->move_count; i++) {
        const move_t *move = &sealing->moves[i];
        *sealing->items[move->item].data = (const char *)source->constants.data + move->to;
    }
    if (!kept) {
        weir__cache_view_release(&source->file);
        source->bytes = NULL;
    }
    return NULL;
}

weir_status_t weir__cache_seal(
    weir__source_t *source, const weir__seal_item_t *items, uint64_t item_count)
{
    sealing_t sealing = {.source = source, .items = items};
    sealing.moves = weir__heap_calloc(source->heap, item_count, sizeof *sealing.moves);
    if (!sealing.moves)
        return weir__status_no_memory();
    weir_status_t status = seal(&sealing, item_count);
    weir__heap_free(source->heap, sealing.moves);
    if (source->folder >= 0)
        close(source->folder);
    source->folder = -1;
    return status;
}
