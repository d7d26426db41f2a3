// engine/cache/sink.c: how the bytes of a blob reach its file.
//
// By write() and not through a mapping: the kernel clears a page of the file before a mapping may
// write to it, which took half of the time of a first load. Each piece is hashed and written while
// it is in the second-level cache. An error is kept until the end, so that those who pour need not
// look.
#include "engine/cache/store.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int weir__sink_write(int file, const void *data, uint64_t bytes, uint64_t offset)
{
    for (uint64_t done = 0; done < bytes;) {
        ssize_t wrote =
            pwrite(file, (const char *)data + done, (size_t)(bytes - done), (off_t)(offset + done));
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return wrote < 0 ? errno : ENOSPC;
        done += (uint64_t)wrote;
    }
    return 0;
}

static void write_piece(weir__sink_t *sink, const void *data, uint64_t bytes)
{
    weir__hash_stream_add(&sink->hash, data, bytes);
    if (!sink->error)
        sink->error = weir__sink_write(sink->file, data, bytes, sink->offset);
    sink->offset += bytes;
}

static void empty_buffer(weir__sink_t *sink)
{
    write_piece(sink, sink->buffer, sink->used);
    sink->used = 0;
}

void *weir__sink_room(weir__sink_t *sink, uint64_t wanted, uint64_t *out_bytes)
{
    if (sink->used == sink->capacity)
        empty_buffer(sink);
    uint64_t room = sink->capacity - sink->used;
    *out_bytes = wanted < room ? wanted : room;
    return sink->buffer + sink->used;
}

void weir__sink_took(weir__sink_t *sink, uint64_t bytes)
{
    sink->used += bytes;
    sink->left -= bytes;
}

void weir__sink_put(weir__sink_t *sink, const void *data, uint64_t bytes)
{
    const char *from = data;
    while (bytes) {
        uint64_t piece = bytes < WEIR__SINK_BUFFER_BYTES ? bytes : WEIR__SINK_BUFFER_BYTES;
        bool direct =
            sink->file >= 0 && !sink->used && (!sink->buffer || piece == WEIR__SINK_BUFFER_BYTES);
        if (direct) {
            write_piece(sink, from, piece);
            sink->left -= piece;
        } else {
            void *room = weir__sink_room(sink, bytes, &piece);
            memcpy(room, from, (size_t)piece);
            weir__sink_took(sink, piece);
        }
        from += piece;
        bytes -= piece;
    }
}

void weir__sink_zeros(weir__sink_t *sink, uint64_t bytes)
{
    static const char zeros[64];
    for (; bytes > sizeof zeros; bytes -= sizeof zeros)
        weir__sink_put(sink, zeros, sizeof zeros);
    weir__sink_put(sink, zeros, bytes);
}

weir__hash_t weir__sink_digest(const weir__sink_t *sink)
{
    if (sink->file < 0)
        return weir__hash128(sink->buffer, sink->used);
    weir__hash_stream_t hash = sink->hash;
    weir__hash_stream_add(&hash, sink->buffer, sink->used);
    return weir__hash_stream_128(&hash);
}

int weir__sink_flush(weir__sink_t *sink)
{
    if (sink->used)
        empty_buffer(sink);
    return sink->error ? sink->error : sink->left ? EIO : 0;
}
