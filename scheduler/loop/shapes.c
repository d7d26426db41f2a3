// scheduler/loop/shapes.c: which requests may be stacked: those with the same key.
//
// The key holds every dim of every input but that of its rows (and the whole of small inputs that
// have no rows), with lengths that are filled rounded up. So how long a request's inputs are filled
// depends on itself alone, and so do its answer's bits. Keys are compared whole, never by hash.
#include "scheduler/loop/loop.h"

#include <stdlib.h>
#include <string.h>

uint32_t weir__shape_round(uint32_t count, uint32_t most)
{
    return weir__core_row_step(count, most);
}

// Lengths are filled up to 1, 2, 3, 4, 6, 8, 12, 16, 24 …, fewer than there are batches: each is a
// shape in each size of batch.
static uint32_t round_length(uint32_t length, uint32_t most)
{
    uint32_t step = 1;
    while (step < length)
        step += step < 2 ? 1 : step & (step - 1) ? step / 3 : step / 2;
    return step > most && length <= most ? most : step;
}

int64_t weir__shape_length(const weir_padding_t *padding, int64_t length)
{
    uint32_t most = padding->length_max ? padding->length_max : UINT32_MAX;
    if (length <= 0 || length > INT32_MAX || length > most)
        return length;
    return round_length((uint32_t)length, most);
}

uint32_t weir__shape_key_capacity(const weir__served_t *served)
{
    return served->input_count * (1 + WEIR_RANK_MAX + WEIR__SHARED_BYTES / 8) + 1;
}

uint64_t weir__shape_hash(const weir__served_t *served, const int64_t *key, uint32_t key_count)
{
    uint64_t hash = 0x9e3779b97f4a7c15u ^ served->core_version;
    for (uint32_t i = 0; i < key_count; i++)
        hash = (hash ^ (uint64_t)key[i]) * 0xff51afd7ed558ccdu ^ (hash >> 29);
    return hash;
}

uint32_t weir__shape_key(const weir__served_t *served, const weir_value_t *const *inputs,
    int64_t *out_key, uint64_t *out_hash)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < served->input_count; i++) {
        const weir_value_t *input = inputs[i];
        int32_t axis = served->max_batch > 1 ? served->input_axes[i] : WEIR_AXIS_NONE;
        uint32_t begin = count;
        out_key[count++] = input->rank;
        for (uint32_t d = 0; d < input->rank; d++)
            out_key[count++] = (int32_t)d == axis ? -1 : input->dims[d];
        for (uint32_t p = 0; p < served->padding_count; p++)
            if (served->paddings[p].input == i) {
                int64_t *dim = &out_key[begin + 1 + served->paddings[p].axis];
                *dim = weir__shape_length(&served->paddings[p], *dim);
            }
        if (axis != WEIR_AXIS_NONE || served->max_batch == 1)
            continue;
        uint64_t bytes = weir_value_count(input) * weir_dtype_bytes(input->dtype);
        if (bytes > WEIR__SHARED_BYTES)
            bytes = WEIR__SHARED_BYTES; // served.c stacks none that could be larger
        out_key[count + (bytes + 7) / 8 - (bytes > 0)] = 0;
        if (bytes)
            memcpy(&out_key[count], input->data, (size_t)bytes);
        count += (uint32_t)((bytes + 7) / 8);
    }
    *out_hash = weir__shape_hash(served, out_key, count);
    return count;
}

// How many words of a key are an input's contents, with these dims. false: it could have none such.
static bool shared_words(
    const weir_port_t *port, const int64_t *dims, int64_t rank, uint32_t *out_count)
{
    uint64_t bytes = weir_dtype_bytes(port->dtype);
    for (int64_t d = 0; d < rank; d++) {
        if (dims[d] < 0 || dims[d] > WEIR__SHARED_BYTES)
            return false;
        bytes *= (uint64_t)dims[d];
        if (bytes > WEIR__SHARED_BYTES)
            return false;
    }
    *out_count = (uint32_t)((bytes + 7) / 8);
    return true;
}

bool weir__shape_key_is_whole(const weir__served_t *served, const int64_t *key, uint32_t key_count)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < served->input_count; i++) {
        const weir_port_t *port = &served->inputs[i];
        if (at == key_count)
            return false;
        int64_t rank = key[at++];
        if (rank < 0 || rank > WEIR_RANK_MAX || (port->rank >= 0 && rank != port->rank) ||
            key_count - at < (uint32_t)rank)
            return false;
        uint32_t words = 0;
        if (served->max_batch > 1 && served->input_axes[i] == WEIR_AXIS_NONE &&
            !shared_words(port, key + at, rank, &words))
            return false;
        at += (uint32_t)rank;
        if (key_count - at < words)
            return false;
        at += words;
    }
    return at == key_count;
}

static weir__shape_t *find(weir_scheduler_t *scheduler, const weir__served_t *served, uint64_t hash,
    const int64_t *key, uint32_t key_count)
{
    uint32_t at = scheduler->shape_buckets[hash % scheduler->shape_bucket_count];
    for (; at != WEIR__NO_INDEX; at = scheduler->shapes[at].next) {
        weir__shape_t *shape = &scheduler->shapes[at];
        if (shape->hash == hash && shape->served == served && shape->key_count == key_count &&
            memcmp(shape->key, key, key_count * sizeof *key) == 0)
            return shape;
    }
    return NULL;
}

static void unlink_shape(weir_scheduler_t *scheduler, weir__shape_t *shape)
{
    uint32_t index = (uint32_t)(shape - scheduler->shapes);
    uint32_t *link = &scheduler->shape_buckets[shape->hash % scheduler->shape_bucket_count];
    while (*link != index)
        link = &scheduler->shapes[*link].next;
    *link = shape->next;
    shape->served = NULL;
}

// An unused place, or that of the shape that was longest not met.
static weir__shape_t *make_room(weir_scheduler_t *scheduler)
{
    weir__shape_t *oldest = NULL;
    for (uint32_t i = 0; i < scheduler->options.shapes; i++) {
        weir__shape_t *shape = &scheduler->shapes[i];
        if (!shape->served)
            return shape;
        if (!shape->users && (!oldest || shape->used < oldest->used))
            oldest = shape;
    }
    if (oldest)
        unlink_shape(scheduler, oldest);
    return oldest;
}

uint32_t weir__shape_get(weir_scheduler_t *scheduler, weir__served_t *served, uint64_t hash,
    const int64_t *key, uint32_t key_count)
{
    weir__shape_t *shape = find(scheduler, served, hash, key, key_count);
    if (!shape) {
        shape = make_room(scheduler);
        if (!shape)
            return WEIR__NO_INDEX;
        if (key_count > shape->key_capacity) {
            int64_t *grown = realloc(shape->key, key_count * sizeof *grown);
            if (!grown)
                return WEIR__NO_INDEX;
            shape->key = grown;
            shape->key_capacity = key_count;
        }
        memcpy(shape->key, key, key_count * sizeof *key);
        uint32_t *bucket = &scheduler->shape_buckets[hash % scheduler->shape_bucket_count];
        shape->served = served;
        shape->hash = hash;
        shape->users = 0;
        shape->id = ++scheduler->shape_ids;
        shape->key_count = key_count;
        shape->next = *bucket;
        *bucket = (uint32_t)(shape - scheduler->shapes);
    }
    shape->users++;
    shape->used = ++scheduler->shape_uses;
    served->last_shape = (uint32_t)(shape - scheduler->shapes);
    return served->last_shape;
}

uint32_t weir__shape_again(
    weir_scheduler_t *scheduler, weir__served_t *served, const weir_value_t *const *inputs)
{
    weir__shape_t *shape = &scheduler->shapes[served->last_shape];
    // Lengths that are filled and inputs that are shared make the key more than dims.
    if (shape->served != served || served->padding_count)
        return WEIR__NO_INDEX;
    const int64_t *key = shape->key;
    for (uint32_t i = 0; i < served->input_count; i++) {
        const weir_value_t *input = inputs[i];
        int32_t axis = served->max_batch > 1 ? served->input_axes[i] : 0;
        if (axis == WEIR_AXIS_NONE || *key++ != input->rank)
            return WEIR__NO_INDEX;
        for (uint32_t d = 0; d < input->rank; d++, key++)
            if (*key != input->dims[d] && (served->max_batch == 1 || (int32_t)d != axis))
                return WEIR__NO_INDEX;
    }
    shape->users++;
    shape->used = ++scheduler->shape_uses;
    return served->last_shape;
}

void weir__shape_release(weir_scheduler_t *scheduler, uint32_t shape)
{
    scheduler->shapes[shape].users--;
}

void weir__shapes_forget(weir_scheduler_t *scheduler, weir__served_t *served)
{
    for (uint32_t i = 0; i < scheduler->options.shapes; i++)
        if (scheduler->shapes[i].served == served)
            unlink_shape(scheduler, &scheduler->shapes[i]);
}
