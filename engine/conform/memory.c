// engine/conform/memory.c: blocks whose neighbours are watched.
//
// A block ends where a page begins that nobody may touch, so that one element too far is a fault at
// once; what lies in front of it is a pattern that is checked. So data is aligned to its element
// only, as a caller's tensor may be.
#include "engine/conform/kit.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096u
#define PATTERN 0xA5
#define BLOCKS 512

// The live blocks, for the report of a stray access from a signal handler.
static struct {
    weir__kit_block_t block;
    char what[24];
} live[BLOCKS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void list(const weir__kit_block_t *block, const char *what)
{
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < BLOCKS; i++)
        if (!live[i].block.map) {
            live[i].block = *block;
            snprintf(live[i].what, sizeof live[i].what, "%s", what);
            break;
        }
    pthread_mutex_unlock(&lock);
}

weir__kit_block_t weir__kit_block(uint64_t bytes, const char *what, bool aligned)
{
    uint64_t room = aligned ? (bytes + 63) / 64 * 64 : bytes;
    uint64_t inner = WEIR_MAX(WEIR_DIV_UP(room, PAGE), 1) * PAGE;
    weir__kit_block_t block = {.bytes = bytes, .map_bytes = inner + 2 * PAGE};
    void *map = mmap(NULL, block.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect((char *)map + PAGE, inner, PROT_READ | PROT_WRITE) != 0)
        return (weir__kit_block_t){0};
    block.map = map;
    block.data = block.map + PAGE + inner - room;
    memset(block.map + PAGE, PATTERN, inner);
    list(&block, what);
    return block;
}

void weir__kit_block_free(weir__kit_block_t *block)
{
    if (!block->map)
        return;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < BLOCKS; i++)
        if (live[i].block.map == block->map)
            live[i].block.map = NULL;
    pthread_mutex_unlock(&lock);
    munmap(block->map, block->map_bytes);
    *block = (weir__kit_block_t){0};
}

bool weir__kit_block_is_sound(const weir__kit_block_t *block)
{
    if (!block->map)
        return true;
    for (const uint8_t *at = block->map + PAGE; at < block->data; at++)
        if (*at != PATTERN)
            return false;
    const uint8_t *end = block->map + block->map_bytes - PAGE;
    for (const uint8_t *at = block->data + block->bytes; at < end; at++)
        if (*at != PATTERN)
            return false;
    return true;
}

void weir__kit_block_protect(const weir__kit_block_t *block, bool is_read_only)
{
    if (block->map)
        mprotect(block->map + PAGE, block->map_bytes - 2 * PAGE,
            is_read_only ? PROT_READ : PROT_READ | PROT_WRITE);
}

void weir__kit_block_explain(const void *address, char *out_text, uint32_t bytes)
{
    const uint8_t *at = address;
    out_text[0] = '\0';
    for (uint32_t i = 0; i < BLOCKS; i++) {
        const weir__kit_block_t *block = &live[i].block;
        if (!block->map || at < block->map || at >= block->map + block->map_bytes)
            continue;
        if (at < block->data)
            snprintf(out_text, bytes, ", %lld bytes before the start of %s",
                (long long)(block->data - at), live[i].what);
        else if (at < block->data + block->bytes)
            snprintf(out_text, bytes, ", in %s, which run() may only read", live[i].what);
        else
            snprintf(out_text, bytes, ", %lld bytes past the end of %s",
                (long long)(at - block->data - (int64_t)block->bytes), live[i].what);
        return;
    }
}
