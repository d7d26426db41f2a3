// engine/conform/check_device.c: groups about a device itself: opening, memory, copies, queues.
#include "engine/conform/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CYCLES 1000u
#define CYCLES_LEAST 20u // however slow
#define WARM_UP 4u

static void name_case(weir__kit_subject_t *subject, const char *text)
{
    weir__kit_progress_t *progress = subject->progress;
    snprintf(progress->which, sizeof progress->which, "case %u: %s", progress->case_count, text);
    progress->case_count++;
    progress->run_count++;
}

// ---- Opening -----------------------------------------------------------------------------------

static void check_list(weir__kit_subject_t *subject)
{
    static const uint8_t unknown[16];
    uint8_t seen[65][16];
    name_case(subject, "enumerate() to the end");
    for (uint32_t i = 0; i < 65; i++) {
        weir_device_info_t info[2] = {
            {.head = WEIR_HEAD(weir_device_info_t)}, {.head = WEIR_HEAD(weir_device_info_t)}};
        weir_code_t code[2];
        for (uint32_t j = 0; j < 2; j++)
            code[j] = subject->device.enumerate(&subject->host.abi, i, &info[j]);
        if (code[0] != code[1] || memcmp(info[0].uuid, info[1].uuid, sizeof info[0].uuid) != 0)
            weir__kit_fail(
                subject, "enumerate() of device %u answers otherwise when asked again", i);
        if (code[0] == WEIR_NOT_FOUND && i)
            return;
        if (code[0] != WEIR_OK) {
            weir__kit_fail(
                subject, "enumerate() of device %u said %d: NOT_FOUND (2) is the end", i, code[0]);
            return;
        }
        memcpy(seen[i], info[0].uuid, sizeof seen[i]);
        for (uint32_t j = 0; j < i && memcmp(seen[i], unknown, sizeof unknown) != 0; j++)
            if (memcmp(seen[i], seen[j], sizeof seen[i]) == 0)
                weir__kit_fail(subject, "devices %u and %u have the same uuid", j, i);
    }
    weir__kit_fail(subject, "enumerate() has no end: more than 64 devices");
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void check_clock(weir__kit_device_t *device)
{
    uint64_t before_ns = 0;
    if (!device->table->clock)
        return;
    name_case(device->subject, "clock()");
    for (uint32_t i = 0; i < 100; i++) {
        uint64_t device_ns = 0, host_ns = 0, from_ns = now_ns();
        if (!weir__kit_device_expect(
                device, device->table->clock(device->handle, &device_ns, &host_ns), "clock()"))
            return;
        if (device_ns < before_ns)
            weir__kit_fail(device->subject, "clock() goes back");
        if (host_ns < from_ns || host_ns > now_ns())
            weir__kit_fail(device->subject, "clock() gives a host time outside of its own call");
        before_ns = device_ns;
    }
}

static int64_t blocks_kept(const weir__kit_subject_t *subject)
{
    return weir__kit_hooks_balance() + atomic_load(&subject->host.live_count);
}

// Opening a GPU takes tenths of a second: loops over it end by time, in a part of the patience.
static bool goes_on(const weir__kit_subject_t *subject, uint32_t cycle, uint32_t most,
    uint64_t begin_ns, uint32_t part)
{
    const uint64_t until_ns = begin_ns + subject->patience_s * UINT64_C(1000000000) / part;
    return !subject->progress->has_failed && cycle < most &&
           (cycle < CYCLES_LEAST || now_ns() < until_ns);
}

// A device that is lost is closed with all that it gave: the engine gives none of it back before.
static void check_close_with_buffers(weir__kit_subject_t *subject)
{
    int64_t blocks = 0;
    uint32_t i = 0;
    const uint64_t begin_ns = now_ns();
    for (; goes_on(subject, i, WARM_UP + 100, begin_ns, 4); i++) {
        name_case(subject, "closed with buffers that were not given back");
        weir__kit_device_t device;
        weir_handle_t buffers[3];
        subject->host.timeline_count = 0;
        if (i == WARM_UP)
            blocks = blocks_kept(subject);
        if (!weir__kit_device_open(subject, &device))
            return;
        for (uint32_t b = 0; b < 3 && device.own_memory; b++)
            if (!weir__kit_device_alloc(&device, WEIR_MEMORY_DEVICE, 4096u << b, &buffers[b]))
                return;
        if (device.own_memory)
            device.table->free(device.handle, buffers[1]);
        weir__kit_device_close(&device);
    }
    if (!subject->progress->has_failed && blocks_kept(subject) > blocks)
        weir__kit_fail(subject,
            "%u times close() with 2 buffers that were not given back leave %lld blocks behind",
            i - WARM_UP, (long long)(blocks_kept(subject) - blocks));
}

void weir__kit_check_device_open(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    int64_t blocks = 0;
    (void)target;
    check_list(subject);
    const uint64_t begin_ns = now_ns();
    for (uint32_t i = 0; goes_on(subject, i, CYCLES, begin_ns, 2); i++) {
        weir__kit_device_t device;
        name_case(subject, "opened and closed");
        subject->host.timeline_count = 0;
        if (i == WARM_UP) // what the first ones set up for good may stay
            blocks = blocks_kept(subject);
        if (!weir__kit_device_open(subject, &device))
            return;
        if (i == 0)
            check_clock(&device);
        weir__kit_device_close(&device);
        if (atomic_load(&subject->host.thread_count))
            weir__kit_fail(subject, "close() leaves %u helper threads running",
                atomic_load(&subject->host.thread_count));
        if (i > WARM_UP && (i + 1 - WARM_UP) % 10 == 0 && blocks_kept(subject) > blocks)
            weir__kit_fail(subject, "%u times open() and close() leave %lld blocks behind",
                i + 1 - WARM_UP, (long long)(blocks_kept(subject) - blocks));
    }
    if (!subject->progress->has_failed)
        check_close_with_buffers(subject);
    if (weir__kit_hooks_threads())
        weir__kit_fail(subject, "it started a thread of its own: host->thread_start is for that");
}

// ---- Memory ------------------------------------------------------------------------------------

static void check_too_much(weir__kit_device_t *device)
{
    weir_handle_t buffer = 0, after = 0;
    name_case(device->subject, "2^60 bytes");
    weir_code_t code =
        device->table->alloc(device->handle, WEIR_MEMORY_DEVICE, (uint64_t)1 << 60, &buffer);
    if (code != WEIR_RESOURCE_EXHAUSTED)
        weir__kit_fail(
            device->subject, "alloc() of 2^60 bytes said %d: RESOURCE_EXHAUSTED (5)", code);
    else if (weir__kit_device_alloc(device, WEIR_MEMORY_DEVICE, 4096, &after))
        device->table->free(device->handle, after);
}

static void check_figures(weir__kit_device_t *device)
{
    uint64_t used[3] = {0}, total = 0;
    weir_handle_t buffer;
    if (!device->table->memory_info)
        return;
    name_case(device->subject, "memory_info() before, with and after 8 MiB");
    for (uint32_t i = 0; i < 3; i++) {
        if (i == 1 && !weir__kit_device_alloc(device, WEIR_MEMORY_DEVICE, 8u << 20, &buffer))
            return;
        if (i == 2)
            device->table->free(device->handle, buffer);
        if (!weir__kit_device_expect(device,
                device->table->memory_info(device->handle, &used[i], &total), "memory_info()"))
            return;
    }
    if (used[1] < used[0] + (8u << 20) || used[2] >= used[1] || total < used[1])
        weir__kit_fail(device->subject,
            "memory_info() says %llu, %llu and %llu of %llu bytes are used",
            (unsigned long long)used[0], (unsigned long long)used[1], (unsigned long long)used[2],
            (unsigned long long)total);
}

// Many buffers at a time, each with bytes of its own.
static void check_buffers(weir__kit_device_t *device)
{
    enum { COUNT = 32 };
    weir__kit_random_t *random = &device->subject->random;
    weir_handle_t buffers[COUNT];
    uint64_t sizes[COUNT];
    uint8_t bytes[8192], back[8192];
    name_case(device->subject, "32 buffers, each with bytes of its own");
    for (uint32_t i = 0; i < COUNT; i++) {
        sizes[i] = 1 + weir__kit_below(random, sizeof bytes);
        memset(bytes, (int)(i + 1), sizeof bytes);
        if (!weir__kit_device_alloc(device, WEIR_MEMORY_DEVICE, sizes[i], &buffers[i]) ||
            !weir__kit_device_write(device, buffers[i], 0, bytes, sizes[i]))
            return;
        for (uint32_t j = 0; j < i; j++)
            if (buffers[j] == buffers[i])
                weir__kit_fail(device->subject, "alloc() gave one handle for two buffers");
    }
    for (uint32_t i = 0; i < COUNT && !device->subject->progress->has_failed; i++) {
        memset(bytes, (int)(i + 1), sizeof bytes);
        if (!weir__kit_device_read(device, buffers[i], 0, back, sizes[i]))
            return;
        if (memcmp(bytes, back, sizes[i]) != 0)
            weir__kit_fail(device->subject, "a buffer of %llu bytes does not hold what was copied",
                (unsigned long long)sizes[i]);
        device->table->free(device->handle, buffers[i]);
    }
}

void weir__kit_check_device_memory(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    weir__kit_device_t device;
    (void)target;
    if (!weir__kit_device_open(subject, &device))
        return;
    if (device.own_memory) {
        check_buffers(&device);
        check_too_much(&device);
        check_figures(&device);
    }
    weir__kit_device_close(&device);
}

// ---- Copies ------------------------------------------------------------------------------------

// Several regions in one call, inside the device, at odd offsets.
static void check_regions(weir__kit_device_t *device, weir_handle_t from, weir_handle_t to)
{
    enum { ROOM = 4096, COUNT = 7 };
    weir__kit_subject_t *subject = device->subject;
    uint8_t source[ROOM], wanted[ROOM], got[ROOM];
    weir_copy_region_t regions[COUNT];
    for (uint32_t i = 0; i < ROOM; i++)
        source[i] = (uint8_t)weir__kit_random(&subject->random);
    memset(wanted, 0x5A, ROOM);
    if (!weir__kit_device_write(device, from, 0, source, ROOM) ||
        !weir__kit_device_write(device, to, 0, wanted, ROOM))
        return;
    uint64_t at = 0;
    uint32_t count = 0;
    while (count < COUNT && at < ROOM) {
        uint64_t bytes = 1 + weir__kit_below(&subject->random, ROOM / COUNT);
        uint64_t offset = weir__kit_below(&subject->random, ROOM - bytes + 1);
        bytes = WEIR_MIN(bytes, ROOM - at);
        regions[count++] =
            (weir_copy_region_t){.from = {.buffer = from, .offset = offset, .bytes = bytes},
                .to = {.buffer = to, .offset = at, .bytes = bytes}};
        memcpy(wanted + at, source + offset, bytes);
        at += bytes + weir__kit_below(&subject->random, 64);
    }
    weir_timeline_point_t signal = weir__kit_timeline_next(&subject->host, device->timeline);
    weir_code_t code = device->table->copy(device->queue, regions, count, NULL, 0, &signal, 1);
    if (!weir__kit_device_expect(device, code, "copy() inside the device") ||
        !weir__kit_timeline_wait(subject, device->timeline, &code) ||
        !weir__kit_device_expect(device, code, "a copy inside the device") ||
        !weir__kit_device_read(device, to, 0, got, ROOM))
        return;
    for (uint32_t i = 0; i < ROOM; i++)
        if (got[i] != wanted[i]) {
            weir__kit_fail(subject, "copy() of %u regions: byte %u is %u, should be %u", count, i,
                got[i], wanted[i]);
            return;
        }
}

void weir__kit_check_device_copies(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    weir__kit_device_t device;
    weir_handle_t from = 0, to = 0;
    (void)target;
    if (!weir__kit_device_open(subject, &device))
        return;
    if (device.own_memory) {
        name_case(subject, "no regions at all: only the signal");
        weir_timeline_point_t signal = weir__kit_timeline_next(&subject->host, device.timeline);
        weir_code_t code = device.table->copy(device.queue, NULL, 0, NULL, 0, &signal, 1);
        if (weir__kit_device_expect(&device, code, "copy() without regions"))
            (void)weir__kit_timeline_wait(subject, device.timeline, &code);
        if (weir__kit_device_alloc(&device, WEIR_MEMORY_DEVICE, 4096, &from) &&
            weir__kit_device_alloc(&device, WEIR_MEMORY_DEVICE, 4096, &to))
            for (uint32_t i = 0; i < subject->case_limit && !subject->progress->has_failed; i++) {
                name_case(subject, "regions at odd offsets");
                check_regions(&device, from, to);
            }
        device.table->free(device.handle, from);
        device.table->free(device.handle, to);
    }
    weir__kit_device_close(&device);
}

// ---- Queues ------------------------------------------------------------------------------------

// A chain of copies a -> b -> a ... over two queues, each waiting for the one before it on the
// other: right only when waits are waited for.
static void check_chain(weir__kit_device_t *device, weir_handle_t other)
{
    enum { ROOM = 1 << 16, LINKS = 32 };
    weir__kit_subject_t *subject = device->subject;
    weir_handle_t queues[2] = {device->queue, other}, buffers[LINKS + 1] = {0};
    weir_handle_t timelines[2] = {device->timeline, weir__kit_timeline_new(&subject->host)};
    weir_timeline_point_t before = {0};
    weir_code_t code = WEIR_OK;
    uint8_t *bytes = malloc(ROOM), *back = malloc(ROOM);
    for (uint32_t i = 0; i <= LINKS; i++) {
        if (!bytes || !back ||
            !weir__kit_device_alloc(device, WEIR_MEMORY_DEVICE, ROOM, &buffers[i]))
            return;
        memset(bytes, i ? 0x11 : 0x77, ROOM);
        if (!weir__kit_device_write(device, buffers[i], 0, bytes, ROOM))
            return;
    }
    for (uint32_t i = 0; i < LINKS && code == WEIR_OK; i++) {
        weir_copy_region_t region = {.from = {.buffer = buffers[i], .bytes = ROOM},
            .to = {.buffer = buffers[i + 1], .bytes = ROOM}};
        weir_timeline_point_t signal = weir__kit_timeline_next(&subject->host, timelines[i % 2]);
        code = device->table->copy(queues[i % 2], &region, 1, &before, i > 0, &signal, 1);
        before = signal;
    }
    weir_code_t end[2] = {WEIR_OK, WEIR_OK};
    if (weir__kit_device_expect(device, code, "copy() with a wait") &&
        weir__kit_timeline_wait(subject, timelines[0], &end[0]) &&
        weir__kit_timeline_wait(subject, timelines[1], &end[1]) &&
        weir__kit_device_read(device, buffers[LINKS], 0, back, ROOM)) {
        memset(bytes, 0x77, ROOM);
        if (memcmp(bytes, back, ROOM) != 0)
            weir__kit_fail(subject, "a copy on one queue did not wait for the one on another that "
                                    "it was told to wait for");
    }
    for (uint32_t i = 0; i <= LINKS; i++)
        device->table->free(device->handle, buffers[i]);
    free(bytes);
    free(back);
}

void weir__kit_check_device_queues(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    weir__kit_device_t device;
    weir_handle_t other = 0;
    (void)target;
    if (!weir__kit_device_open(subject, &device))
        return;
    if (device.own_memory &&
        weir__kit_device_expect(
            &device, device.table->queue_create(device.handle, &other), "a second queue_create()"))
        for (uint32_t i = 0; i < 4 && !subject->progress->has_failed; i++) {
            name_case(subject, "32 copies over two queues, each after the one before it");
            check_chain(&device, other);
        }
    if (other && device.table->queue_destroy)
        device.table->queue_destroy(device.handle, other);
    weir__kit_device_close(&device);
}
