// tests/plugins/sizes_test.c: structs of plugins that were built from an older or a newer header.
//
// Version 0 compares the header's hash, so no such plugin loads yet. The rules shape the engine
// from the first day all the same: these tests take the hash as given and change the sizes.
#include "engine/plugin/operators.h"

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

static weir_code_t no_device(const weir_host_t *host, uint32_t index, weir_device_info_t *out_info)
{
    (void)host, (void)index, (void)out_info;
    return WEIR_NOT_FOUND;
}

// Goal:   device tables of every size, smaller and larger than ours: entries that are there are
//         taken as they are, entries that are not there are levels that are not offered.
static void device_tables_of_every_size(void **state)
{
    (void)state;
    char *map = map_edge();
    const size_t first = offsetof(weir_device_table_t, enumerate);
    for (uint32_t size = sizeof(weir_head_t); size <= sizeof(weir_device_table_t) + 64; size += 8) {
        weir_device_table_t table;
        memset(&table, POISON, sizeof table); // entries that nobody may call
        table.head = (weir_head_t){size, 0};
        table.enumerate = no_device;
        char *cut = edge(map, size);
        memset(cut, POISON, size);
        memcpy(cut, &table, WEIR_MIN((size_t)size, sizeof table));
        weir_plugin_t plugin = whole_plugin;
        plugin.device = (const weir_device_table_t *)(void *)cut;
        offered = &plugin;
        world_t world;
        assert_true(load(&world));
        const char *seen = (const char *)&world.registry.plugins[0]->device;
        for (size_t at = first; at < sizeof table; at += sizeof(void *)) {
            void *entry_there, *entry_given;
            memcpy(&entry_there, seen + at, sizeof entry_there);
            memcpy(&entry_given, (const char *)&table + at, sizeof entry_given);
            assert_ptr_equal(entry_there, at + sizeof(void *) <= size ? entry_given : NULL);
        }
        // Nobody may close what nobody opened, nor call the poison.
        unload(&world);
    }
    munmap(map, 2 * PAGE);
}

// ---- Operators ---------------------------------------------------------------------------------

static weir_code_t infer(
    const weir_node_t *node, weir_shape_t *out_shapes, weir_support_t *out_support)
{
    (void)node, (void)out_shapes, (void)out_support;
    return WEIR_OK;
}

static const weir_operator_t whole_operator = {.head = WEIR_HEAD(weir_operator_t),
    .domain = "test.sizes",
    .op = "Op",
    .revision = 1,
    .min_inputs = 1,
    .max_inputs = 2,
    .output_count = 1,
    .infer = infer};

// Loads a plugin with these operators. Returns the plugin as it is seen.
static const weir__plugin_t *load_operators(
    world_t *world, const void *operators, uint32_t count, uint32_t stride, bool is_taken)
{
    static weir_plugin_t plugin;
    plugin = whole_plugin;
    plugin.operators = (weir_array_t){operators, count, stride};
    offered = &plugin;
    assert_int_equal(load(world), is_taken);
    return world->registry.plugins[0];
}

// Goal:   operators of every size and stride: taken if they have all that an operator needs, which
//         ends with infer(); nothing behind them is read.
static void operators_of_every_size(void **state)
{
    (void)state;
    char *map = map_edge();
    const uint32_t least = offsetof(weir_operator_t, infer) + sizeof(void *);
    for (uint32_t size = 0; size <= sizeof(weir_operator_t) + 64; size += 8)
        for (uint32_t more = 0; more <= 16; more += 8) {
            uint32_t stride = WEIR_MAX(size, (uint32_t)sizeof(weir_head_t)) + more;
            char *operators = edge(map, (size_t)KERNELS * stride);
            memset(operators, POISON, (size_t)KERNELS * stride);
            for (uint32_t i = 0; i < KERNELS; i++) {
                weir_operator_t one = whole_operator;
                one.head.size = size;
                one.revision = i + 1;
                memcpy(operators + (size_t)i * stride, &one,
                    WEIR_MIN(WEIR_MAX(size, sizeof one.head), sizeof one));
            }
            world_t world;
            const weir__plugin_t *seen =
                load_operators(&world, operators, KERNELS, stride, size >= least);
            for (uint32_t i = 0; size >= least && i < KERNELS; i++) {
                uint32_t lowest;
                const weir__operator_t *found =
                    weir__operator_find(&world.registry, "test.sizes", "Op", i + 1, &lowest);
                assert_non_null(found);
                assert_string_equal(found->name, "test.sizes::Op");
                assert_int_equal(found->abi.revision, i + 1);
                assert_int_equal(found->abi.max_inputs, 2);
                assert_ptr_equal(found->abi.infer, infer);
                assert_int_equal(lowest, 1);
            }
            assert_int_equal(seen->operator_count, size >= least ? KERNELS : 0);
            unload(&world);
        }
    munmap(map, 2 * PAGE);
}

// Goal:   attributes lie as far apart as their table says; a shorter one is refused.
static void attributes_of_every_stride(void **state)
{
    (void)state;
    char *map = map_edge();
    for (uint32_t stride = 0; stride <= sizeof(weir_attribute_t) + 64; stride += 8) {
        const bool is_whole = stride >= sizeof(weir_attribute_t);
        char *attributes = edge(map, (size_t)2 * stride);
        memset(attributes, POISON, (size_t)2 * stride);
        for (uint32_t i = 0; i < 2; i++) {
            weir_attribute_t one = {.name = i ? "b" : "a", .type = WEIR_ATTR_INT, .i = 7 + i};
            memcpy(attributes + (size_t)i * stride, &one, WEIR_MIN((size_t)stride, sizeof one));
        }
        weir_operator_t operator= whole_operator;
        operator.attributes =(weir_array_t){attributes, 2, stride};
        world_t world;
        const weir__plugin_t *seen =
            load_operators(&world, &operator, 1, sizeof operator, is_whole);
        if (is_whole) {
            assert_string_equal(seen->operators[0].attributes[1].name, "b");
            assert_int_equal(seen->operators[0].attributes[1].i, 8);
        } else {
            assert_non_null(strstr(seen->reason, "its table of attributes is malformed"));
        }
        unload(&world);
    }
    munmap(map, 2 * PAGE);
}

static void expect_refused(const weir_operator_t *operators, uint32_t count, const char *reason)
{
    world_t world;
    const weir__plugin_t *seen = load_operators(&world, operators, count, sizeof *operators, false);
    if (!strstr(seen->reason, reason))
        fail_msg("expected \"%s\", got \"%s\"", reason, seen->reason);
    unload(&world);
}

// Goal:   each thing that a declaration can have wrong is said.
static void operators_that_are_refused(void **state)
{
    (void)state;
    static const weir_attribute_t unnamed[] = {{.type = WEIR_ATTR_INT}};
    static const weir_attribute_t twice[] = {
        {.name = "a", .type = WEIR_ATTR_INT}, {.name = "a", .type = WEIR_ATTR_FLOAT}};
    static const weir_attribute_t untyped[] = {{.name = "a", .type = 6}};
    static const weir_attribute_t empty[] = {{.name = "a", .type = WEIR_ATTR_INTS, .count = 3}};
    const struct {
        weir_operator_t change;
        const char *reason;
    } cases[] = {
        {{.domain = "ai.onnx"}, "operator ai.onnx::Op: the domain ai.onnx is ONNX's"},
        {{.domain = "ai.onnx.ml"}, "the domain ai.onnx.ml is ONNX's"},
        {{.domain = ""}, "operator 0 of its table is malformed"},
        {{.domain = "a b"}, "operator 0 of its table is malformed"},
        {{.op = "A::B"}, "operator 0 of its table is malformed"},
        {{.op = ""}, "operator 0 of its table is malformed"},
        {{.revision = 65536}, "its revision 65536 is not 1 to 65535"},
        {{.max_inputs = 65}, "1 to 65 inputs and 1 outputs are not possible"},
        {{.min_inputs = 3}, "3 to 2 inputs and 1 outputs are not possible"},
        {{.output_count = 65}, "1 to 2 inputs and 65 outputs are not possible"},
        {{.attributes = WEIR_ARRAY(unnamed)}, "attribute 0 of its table has no name"},
        {{.attributes = WEIR_ARRAY(twice)}, "attribute 1 of its table has no name"},
        {{.attributes = WEIR_ARRAY(untyped)}, "attribute 0 of its table has no name"},
        {{.attributes = WEIR_ARRAY(empty)}, "attribute 0 of its table has no name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const weir_operator_t *change = &cases[i].change;
        weir_operator_t operator= whole_operator;
        operator.domain = change->domain ? change->domain : operator.domain;
        operator.op = change->op ? change->op : operator.op;
        operator.revision = change->revision ? change->revision : operator.revision;
        operator.min_inputs = change->min_inputs ? change->min_inputs : operator.min_inputs;
        operator.max_inputs = change->max_inputs ? change->max_inputs : operator.max_inputs;
        operator.output_count = change->output_count ? change->output_count : operator.output_count;
        operator.attributes = change->attributes;
        expect_refused(&operator, 1, cases[i].reason);
    }
    weir_operator_t pair[2] = {whole_operator, whole_operator};
    expect_refused(pair, 2, "operator test.sizes::Op, revision 1, is in its table twice");
    pair[0].revision = 0;
    expect_refused(pair, 1, "its revision 0 is not 1 to 65535");
    pair[0] = whole_operator;
    pair[0].output_count = 0;
    expect_refused(pair, 1, "1 to 2 inputs and 0 outputs are not possible");
    pair[0] = whole_operator;
    pair[0].infer = NULL;
    expect_refused(pair, 1, "operator test.sizes::Op: it has no infer()");
    world_t world;
    const weir__plugin_t *seen = load_operators(&world, NULL, 2, sizeof pair[0], false);
    assert_non_null(strstr(seen->reason, "its table of operators is malformed (2 at no address"));
    unload(&world);
}

// Goal:   two plugins may declare one operator when they say the same of it; otherwise the later
//         one is refused, and says who was first.
static void operators_of_two_plugins(void **state)
{
    (void)state;
    static const weir_attribute_t alpha[] = {{.name = "alpha", .type = WEIR_ATTR_FLOAT, .f = 1}};
    static const weir_attribute_t beta[] = {{.name = "alpha", .type = WEIR_ATTR_FLOAT, .f = 2}};
    for (int differs = 0; differs < 4; differs++) {
        world_t world;
        weir_operator_t first = whole_operator, second = whole_operator;
        first.attributes = second.attributes = (weir_array_t)WEIR_ARRAY(alpha);
        if (differs == 1)
            second.attributes = (weir_array_t)WEIR_ARRAY(beta);
        if (differs == 2)
            second.output_count = 2;
        if (differs == 3)
            second.revision = 2; // another operator
        (void)load_operators(&world, &first, 1, sizeof first, true);
        weir__registry_t *registry = &world.registry;
        weir__plugin_t other = {.usable = true, .name = "other"};
        other.abi.operators = (weir_array_t){&second, 1, sizeof second};
        assert_true(weir__operators_copy(registry, &other));
        weir__plugin_t *both[2] = {registry->plugins[0], &other}, **own = registry->plugins;
        registry->plugins = both;
        registry->plugin_count = 2;
        weir__operators_settle(registry);
        assert_true(both[0]->usable);
        assert_int_equal(other.usable, differs == 0 || differs == 3);
        if (!other.usable)
            assert_string_equal(other.reason,
                "operator test.sizes::Op, revision 1: plugin \"sized\" declares it otherwise");
        registry->plugins = own;
        registry->plugin_count = 1;
        unload(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_of_every_size),
        cmocka_unit_test(kernel_beyond_its_stride),
        cmocka_unit_test(plugins_of_every_size),
        cmocka_unit_test(plugin_that_has_grown),
        cmocka_unit_test(device_tables_of_every_size),
        cmocka_unit_test(operators_of_every_size),
        cmocka_unit_test(attributes_of_every_stride),
        cmocka_unit_test(operators_that_are_refused),
        cmocka_unit_test(operators_of_two_plugins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
