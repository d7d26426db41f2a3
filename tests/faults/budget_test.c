// tests/faults/budget_test.c: reading and checking under ever smaller budgets.
//
// Goal:   wherever in the reader, the verifier, inference or rewriting memory or a budget ends, the
//         load ends with RESOURCE_EXHAUSTED or LIMIT, and gives everything back.
// Method: each model of the fuzz corpus is loaded once to see what it takes; then under falling
//         budgets of graph_bytes, such that each piece of the graph is refused in its turn; with
//         each allocation failing in its turn; and with each other limit at its lowest values.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/onnx/onnx.h"
#include <dirent.h>
#include <stdio.h>

#define CORPUS "tests/fuzz/corpus/model"
#define NARROW 12 // values of each limit

static uint64_t allocations, failing; // failing: the number of the one that fails; 0: none

static void *counted_alloc(void *user_data, size_t bytes, size_t alignment)
{
    (void)user_data;
    if (++allocations == failing)
        return NULL;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void counted_free(void *user_data, void *memory)
{
    (void)user_data;
    free(memory);
}

typedef struct input {
    void *data;
    size_t bytes;
} input_t;

// What a load does before a device is asked. Returns the code; *out_bytes: what the graph took.
static weir_code_t load(const input_t *input, const weir_limits_t *limits, uint64_t *out_bytes)
{
    weir__heap_t heap;
    weir__graph_t *graph;
    weir__onnx_info_t info;
    weir_allocator_t allocator = {.alloc = counted_alloc, .free = counted_free};
    weir__heap_init(&heap, &allocator, 0);
    allocations = 0;
    weir_status_t status = weir__graph_create(&heap, limits, &graph);
    if (!status) {
        status = weir__onnx_read(input->data, input->bytes, "corpus", graph, &info);
        if (!status)
            status = weir__graph_verify(graph);
        if (!status)
            status = weir__graph_infer(graph);
        if (!status)
            status = weir__graph_simplify(graph, NULL, NULL);
        *out_bytes = graph->zone.used_bytes;
        weir__graph_free(graph);
    }
    weir_code_t code = weir_status_code(status);
    weir_status_free(status);
    assert_int_equal(heap.now_bytes, 0);
    return code;
}

// Each limit on what a graph may have, at 1, 2, 3 ...: the same end, or LIMIT.
static void narrow(const input_t *input, weir_code_t right, unsigned *loads)
{
    static const size_t fields[] = {offsetof(weir_limits_t, nodes), offsetof(weir_limits_t, values),
        offsetof(weir_limits_t, initializers), offsetof(weir_limits_t, attributes),
        offsetof(weir_limits_t, name_bytes), offsetof(weir_limits_t, tensor_bytes),
        offsetof(weir_limits_t, subgraph_depth), offsetof(weir_limits_t, wire_depth),
        offsetof(weir_limits_t, function_nodes), offsetof(weir_limits_t, operands)};
    uint64_t ignored;
    weir_limits_t limits;
    for (size_t field = 0; field <= sizeof fields / sizeof fields[0]; field++)
        for (uint64_t value = 1; value <= NARROW; value++) {
            weir_limits_default(&limits);
            if (field < sizeof fields / sizeof fields[0])
                memcpy((char *)&limits + fields[field], &value, sizeof value);
            else
                limits.rank = (uint32_t)value;
            weir_code_t code = load(input, &limits, &ignored);
            if (code != right)
                assert_int_equal(code, WEIR_LIMIT);
            ++*loads;
        }
}

static void squeeze(const input_t *input, unsigned *loads)
{
    uint64_t need = 0, ignored;
    weir_limits_t limits;
    weir_limits_default(&limits);
    failing = 0;
    weir_code_t right = load(input, &limits, &need);
    uint64_t total = allocations;
    narrow(input, right, loads);
    for (failing = 1; failing <= total; failing++) {
        weir_code_t code = load(input, &limits, &ignored);
        if (code != right)
            assert_int_equal(code, WEIR_RESOURCE_EXHAUSTED);
    }
    failing = 0;
    *loads += (unsigned)total;
    // What a load under a budget took is what came before the piece that it was refused.
    while (need > 0) {
        limits.graph_bytes = need - 1;
        weir_code_t code = load(input, &limits, &need);
        if (code != right)
            assert_true(code == WEIR_LIMIT || code == WEIR_RESOURCE_EXHAUSTED);
        (*loads)++;
    }
}

static void corpus_under_budgets(void **state)
{
    (void)state;
    unsigned files = 0, loads = 0;
    DIR *folder = opendir(CORPUS);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[512];
        input_t input = {.data = malloc(1 << 16)};
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof path, CORPUS "/%s", entry->d_name);
            FILE *file = fopen(path, "rb");
            assert_non_null(file);
            assert_non_null(input.data);
            input.bytes = fread(input.data, 1, 1 << 16, file);
            fclose(file);
            squeeze(&input, &loads);
            files++;
        }
        free(input.data);
    }
    closedir(folder);
    print_message("%u models, %u loads\n", files, loads);
    assert_true(files >= 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(corpus_under_budgets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
