// tests/plugins/sizes_test.c: structs of plugins that were built from an older or a newer header.
//
// Version 0 compares the header's hash, so no such plugin loads yet. The rules shape the engine
// from the first day all the same: these tests take the hash as given and change the sizes.
#include "engine/plugin/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define PAGE 4096u
#define POISON 0xA5
#define KERNELS 3u

static const weir_plugin_t *offered;

static const weir_plugin_t *entry(const weir_host_t *host)
{
    (void)host;
    return offered;
}

static weir_code_t run(const weir_task_t *task)
{
    (void)task;
    return WEIR_OK;
}

typedef struct world {
    weir__heap_t heap;
    weir__log_t log;
    weir__timelines_t timelines;
    weir__registry_t registry;
} world_t;

// Loads what is offered as the plugin that is linked in. Returns whether it was taken.
static bool load(world_t *world)
{
    memset(world, 0, sizeof *world);
    weir__heap_init(&world->heap, NULL, 0);
    weir__timelines_init(&world->timelines, &world->heap);
    weir__registry_init(&world->registry, &world->heap, &world->log, NULL, &world->timelines);
    weir_status_t status = weir__registry_load(&world->registry, entry, "", NULL);
    bool is_taken = status == NULL;
    weir_status_free(status);
    return is_taken;
}

static void unload(world_t *world)
{
    weir__registry_free(&world->registry);
    weir__timelines_free(&world->timelines);
    assert_int_equal(atomic_load(&world->heap.now_bytes), 0);
}

// `bytes` bytes that end where a page begins that nobody may touch.
static void *edge(char *map, size_t bytes)
{
    return map + PAGE - bytes;
}

static char *map_edge(void)
{
    void *map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(map != MAP_FAILED);
    assert_int_equal(mprotect((char *)map + PAGE, PAGE, PROT_NONE), 0);
    return map;
}

static const weir_kernel_t whole_kernel = {.head = WEIR_HEAD(weir_kernel_t),
    .op = "Relu",
    .revision = 1,
    .dtypes = WEIR_F32,
    .run = run,
    .input_formats = 3,
    .output_formats = 5};

static const weir_plugin_t whole_plugin = {
    .head = WEIR_PLUGIN_HEAD, .name = "sized", .version = "1.0.0", .build = "1"};

// A kernel whose head says `size`, in `stride` bytes; what is left is poison.
static void put_kernel(char *to, uint32_t size, uint32_t stride)
{
    weir_kernel_t kernel = whole_kernel;
    kernel.head.size = size;
    memset(to, POISON, stride);
    memcpy(to, &kernel, WEIR_MIN(WEIR_MAX(size, sizeof kernel.head), sizeof kernel));
}

// Goal:   kernels of every size are taken if they have what a kernel needs; what they do not have
// is
//         zero, what they have more is ignored, and nothing behind them is read.
static void kernels_of_every_size(void **state)
{
    (void)state;
    char *map = map_edge();
    const uint32_t least = offsetof(weir_kernel_t, run) + sizeof(void *);
    for (uint32_t size = 0; size <= sizeof(weir_kernel_t) + 64; size += 8)
        for (uint32_t more = 0; more <= 16; more += 8) {
            uint32_t stride = WEIR_MAX(size, (uint32_t)sizeof(weir_head_t)) + more;
            char *kernels = edge(map, (size_t)KERNELS * stride);
            for (uint32_t i = 0; i < KERNELS; i++)
                put_kernel(kernels + (size_t)i * stride, size, stride);
            weir_plugin_t plugin = whole_plugin;
            plugin.kernels = (weir_array_t){kernels, KERNELS, stride};
            offered = &plugin;
            world_t world;
            assert_int_equal(load(&world), size >= least);
            const weir__plugin_t *seen = world.registry.plugins[0];
            for (uint32_t i = 0; size >= least && i < KERNELS; i++) {
                bool has_formats = size >= sizeof(weir_kernel_t);
                assert_ptr_equal(seen->kernels[i].run, run);
                assert_int_equal(seen->kernels[i].dtypes, WEIR_F32);
                assert_null(seen->kernels[i].prepare);
                assert_int_equal(seen->kernels[i].input_formats, has_formats ? 3 : 0);
                assert_int_equal(seen->kernels[i].output_formats, has_formats ? 5 : 0);
            }
            unload(&world);
        }
    munmap(map, 2 * PAGE);
}

// Goal:   a kernel that says it is larger than its table's stride is refused, with the numbers.
static void kernel_beyond_its_stride(void **state)
{
    (void)state;
    weir_kernel_t kernel = whole_kernel;
    kernel.head.size += 8;
    weir_plugin_t plugin = whole_plugin;
    plugin.kernels = (weir_array_t){&kernel, 1, sizeof kernel};
    offered = &plugin;
    world_t world;
    assert_false(load(&world));
    assert_non_null(strstr(world.registry.plugins[0]->reason, "kernel 0"));
    unload(&world);
}

// Goal:   plugins of every size: a field that is not there is as if it were zero; nothing behind
// the
//         struct is read.
static void plugins_of_every_size(void **state)
{
    (void)state;
    char *map = map_edge();
    const uint32_t name = offsetof(weir_plugin_t, name) + sizeof(void *);
    for (uint32_t size = sizeof(weir_plugin_head_t); size <= sizeof(weir_plugin_t); size += 8) {
        weir_plugin_t plugin = whole_plugin;
        plugin.head.size = size;
        plugin.kernels = (weir_array_t){&whole_kernel, 1, sizeof whole_kernel};
        char *cut = edge(map, size);
        memcpy(cut, &plugin, size);
        // An array that is cut in two has its address and no count: it is empty.
        offered = (const weir_plugin_t *)(void *)cut;
        world_t world;
        assert_int_equal(load(&world), size >= name);
        const weir__plugin_t *seen = world.registry.plugins[0];
        bool has_kernels = size >= offsetof(weir_plugin_t, kernels) + sizeof(weir_array_t);
        if (size >= name)
            assert_int_equal(seen->kernel_count, has_kernels);
        unload(&world);
    }
    munmap(map, 2 * PAGE);
}

// Goal:   a newer plugin, whose structs have more fields, is taken as far as it is known.
static void plugin_that_has_grown(void **state)
{
    (void)state;
    struct {
        weir_plugin_t plugin;
        uint8_t more[64];
    } grown = {.plugin = whole_plugin};
    memset(grown.more, POISON, sizeof grown.more);
    grown.plugin.head.size = sizeof grown;
    grown.plugin.kernels = (weir_array_t){&whole_kernel, 1, sizeof whole_kernel};
    offered = &grown.plugin;
    world_t world;
    assert_true(load(&world));
    assert_int_equal(world.registry.plugins[0]->kernel_count, 1);
    assert_string_equal(world.registry.plugins[0]->name, "sized");
    unload(&world);
}

// Goal:   device tables of every size: entries that are not there are levels that are not offered.
static void device_tables_of_every_size(void **state)
{
    (void)state;
    char *map = map_edge();
    for (uint32_t size = sizeof(weir_head_t); size <= sizeof(weir_device_table_t); size += 8) {
        weir_device_table_t table = {.head = {size, 0}};
        char *cut = edge(map, size);
        memcpy(cut, &table, size);
        weir_plugin_t plugin = whole_plugin;
        plugin.device = (const weir_device_table_t *)(void *)cut;
        offered = &plugin;
        world_t world;
        assert_true(load(&world));
        assert_null(world.registry.plugins[0]->device.launch);
        assert_null(world.registry.plugins[0]->device.clock);
        unload(&world);
    }
    munmap(map, 2 * PAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_of_every_size),
        cmocka_unit_test(kernel_beyond_its_stride),
        cmocka_unit_test(plugins_of_every_size),
        cmocka_unit_test(plugin_that_has_grown),
        cmocka_unit_test(device_tables_of_every_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
