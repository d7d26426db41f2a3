// tests/fuzz/fuzz_handshake.c: tables of plugins that are wrong in every way a table can be, and
// options.
//
// A plugin is code of this process, so its pointers are true or nobody can tell; sizes, counts,
// strides, names and what is absent are the fuzzer's to choose.
#include "tests/fuzz/fuzz.h"

#include "engine/plugin/registry.h"
#include <stdlib.h>
#include <string.h>

#define KERNELS 4
#define OPTIONS 4
#define TEXTS 4
#define TEXT_BYTES 40

typedef struct bytes {
    const uint8_t *data;
    size_t count, at;
} bytes_t;

static uint32_t take(bytes_t *bytes)
{
    return bytes->at < bytes->count ? bytes->data[bytes->at++] : 0;
}

static const char *take_text(bytes_t *bytes, char *text)
{
    uint32_t length = take(bytes) % TEXT_BYTES;
    if (length == TEXT_BYTES - 1)
        return NULL;
    for (uint32_t i = 0; i < length; i++)
        text[i] = (char)take(bytes);
    text[length] = 0;
    return text;
}

// What the entry returns: the entry takes no argument of ours.
static weir_plugin_t *table;
static uint32_t probe_answer;

static const weir_plugin_t *entry(const weir_host_t *host)
{
    if (!table && host->fail)
        host->fail(host, WEIR_UNAVAILABLE, "no table today");
    return table;
}

static weir_code_t probe(const weir_host_t *host, weir_support_t *out_support)
{
    (void)host;
    memset(out_support->reason, 'x', sizeof out_support->reason); // without an end
    return (weir_code_t)probe_answer;
}

static weir_code_t run(const weir_task_t *task)
{
    (void)task;
    return WEIR_OK;
}

static uint32_t take_size(bytes_t *bytes, uint32_t right, uint32_t most)
{
    uint32_t choice = take(bytes);
    return choice < 128 ? right : choice < 240 ? choice % (most + 1) : 0x7fffffffu;
}

// An array of `room` bytes whose stride and heads may be wrong, but never lead out of it unless the
// head says more than its stride, which must be refused.
static void make_array(
    bytes_t *bytes, weir_array_t *array, void *data, uint32_t element, uint32_t room)
{
    uint32_t choice = take(bytes);
    array->stride = choice < 192 ? element : choice % 24;
    array->count = take(bytes) % (array->stride ? room / array->stride + 1 : 4);
    array->data = take(bytes) % 16 == 15 ? NULL : data;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t byte_count)
{
    bytes_t bytes = {.data = data, .count = byte_count};
    char texts[TEXTS + KERNELS + OPTIONS][TEXT_BYTES] = {{0}}, options_text[TEXT_BYTES] = {0};
    // On the heap, so that one byte too many is seen.
    weir_kernel_t *kernels = calloc(KERNELS, sizeof *kernels);
    weir_option_t *options = calloc(OPTIONS, sizeof *options);
    weir_device_table_t *device = calloc(1, sizeof *device);
    table = calloc(1, sizeof *table);
    if (!kernels || !options || !device || !table)
        abort();
    table->head = (weir_plugin_head_t)WEIR_PLUGIN_HEAD;
    table->head.size = take_size(&bytes, (uint32_t)sizeof *table, (uint32_t)sizeof *table);
    if (take(&bytes) % 8 == 7)
        table->head.header_hash ^= take(&bytes);
    table->name = take_text(&bytes, texts[0]);
    table->version = take_text(&bytes, texts[1]);
    table->build = take_text(&bytes, texts[2]);
    make_array(&bytes, &table->kernels, kernels, (uint32_t)sizeof *kernels,
        (uint32_t)sizeof *kernels * KERNELS);
    make_array(&bytes, &table->options, options, (uint32_t)sizeof *options,
        (uint32_t)sizeof *options * OPTIONS);
    for (uint32_t i = 0; i < KERNELS; i++) {
        kernels[i].head.size =
            take_size(&bytes, (uint32_t)sizeof *kernels, (uint32_t)sizeof *kernels + 8);
        kernels[i].op = take_text(&bytes, texts[TEXTS + i]);
        kernels[i].dtypes = take(&bytes);
        kernels[i].revision = take(&bytes) % 3;
        kernels[i].run = take(&bytes) % 8 ? run : NULL;
    }
    for (uint32_t i = 0; i < OPTIONS; i++) {
        options[i].head.size =
            take_size(&bytes, (uint32_t)sizeof *options, (uint32_t)sizeof *options + 8);
        options[i].name = take_text(&bytes, texts[TEXTS + KERNELS + i]);
        options[i].type = take(&bytes) % 5;
        options[i].min = (int64_t)take(&bytes) - 128;
        options[i].max = (int64_t)take(&bytes);
    }
    probe_answer = take(&bytes) % 16;
    table->probe = take(&bytes) % 2 ? probe : NULL;
    device->head.size = take_size(&bytes, (uint32_t)sizeof *device, (uint32_t)sizeof *device);
    table->device = take(&bytes) % 4 ? NULL : device;
    if (take(&bytes) % 16 == 15) {
        free(table);
        table = NULL;
    }
    const char *chosen = take_text(&bytes, options_text);

    weir__heap_t heap;
    weir__log_t log = {0};
    weir__timelines_t timelines;
    weir__registry_t registry;
    weir__heap_init(&heap, NULL, 16u << 20);
    weir__timelines_init(&timelines, &heap);
    weir__registry_init(&registry, &heap, &log, NULL, &timelines);
    weir_status_t status = weir__registry_load(&registry, entry, "", chosen);
    fuzz_plant(!status && registry.plugins[0]->kernel_count == 2, data, byte_count);
    weir_status_free(status);
    weir__registry_free(&registry);
    weir__timelines_free(&timelines);
    free(table);
    free(device);
    free(options);
    free(kernels);
    return 0;
}
