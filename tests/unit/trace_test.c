// tests/unit/trace_test.c: records of devices find their run, or nobody's.
//
// Labels: threads
#include "engine/plugin/trace.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static weir__heap_t heap;

static int setup(void **state)
{
    (void)state;
    weir__heap_init(&heap, NULL, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return atomic_load(&heap.now_bytes) != 0;
}

static weir_trace_record_t record_of(uint64_t id, uint32_t node)
{
    return (weir_trace_record_t){.head = WEIR_HEAD(weir_trace_record_t),
        .launch_id = id,
        .node = node,
        .start_ns = 10 + node,
        .end_ns = 20 + node};
}

// Goal:   a record is found under its run and step; one of the run before, of another sink, or of a
//         caller's own id is dropped without a trace.
static void records_find_their_run(void **state)
{
    (void)state;
    weir__traces_t traces = {.heap = &heap};
    weir__trace_sink_t *one = weir__trace_take(&traces), *other = weir__trace_take(&traces);
    assert_non_null(one);
    assert_true(one != other);
    weir__trace_begin(one);
    uint64_t before = weir__trace_id(one, 3);
    weir__trace_begin(one);
    weir__trace_begin(other);
    weir_trace_record_t records[] = {record_of(before, 1), record_of(weir__trace_id(one, 3), 2),
        record_of(7, 3), record_of(0, 4), record_of(UINT64_MAX, 5),
        record_of(weir__trace_id(other, 3), 6)};
    weir__trace_put(&traces, records, 6);
    uint32_t step;
    assert_int_equal(atomic_load(&one->count), 1);
    assert_int_equal(atomic_load(&one->entries[0].node), 2);
    assert_true(weir__trace_step(one, atomic_load(&one->entries[0].launch_id), &step));
    assert_int_equal(step, 3);
    assert_int_equal(atomic_load(&other->count), 1);
    assert_false(weir__trace_step(one, before, &step));
    weir__trace_begin(one);
    assert_int_equal(atomic_load(&one->count), 0);
    assert_int_equal(atomic_load(&one->entries[0].launch_id), 0);
    weir__trace_give(one);
    assert_ptr_equal(weir__trace_take(&traces), one);
    weir__traces_free(&traces);
}

// Goal:   there are as many sinks as there are, and no more.
static void sinks_end(void **state)
{
    (void)state;
    weir__traces_t traces = {.heap = &heap};
    for (int i = 0; i < WEIR__TRACE_SINKS; i++)
        assert_non_null(weir__trace_take(&traces));
    assert_null(weir__trace_take(&traces));
    weir__trace_give(NULL);
    weir__traces_free(&traces);
}

typedef struct writer {
    weir__traces_t *traces;
    uint64_t id;
} writer_t;

static void *write_many(void *argument)
{
    const writer_t *writer = argument;
    for (uint32_t i = 0; i < 3000; i++) {
        weir_trace_record_t record = record_of(writer->id, i);
        weir__trace_put(writer->traces, &record, 1);
    }
    return NULL;
}

// Goal:   what there is no room for is counted, whoever writes at the same time, and each record
//         that is kept is whole.
static void too_many_are_counted(void **state)
{
    (void)state;
    weir__traces_t traces = {.heap = &heap};
    weir__trace_sink_t *sink = weir__trace_take(&traces);
    pthread_t threads[4];
    weir__trace_begin(sink);
    writer_t writer = {.traces = &traces, .id = weir__trace_id(sink, 0)};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, &writer), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&sink->count), 12000);
    for (uint32_t i = 0; i < WEIR__TRACE_RECORDS; i++) {
        const weir__trace_entry_t *entry = &sink->entries[i];
        assert_true(atomic_load(&entry->launch_id) == writer.id);
        assert_int_equal(atomic_load(&entry->start_ns), 10 + atomic_load(&entry->node));
        assert_int_equal(atomic_load(&entry->end_ns), 20 + atomic_load(&entry->node));
    }
    weir__traces_free(&traces);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(records_find_their_run, setup, teardown),
        cmocka_unit_test_setup_teardown(sinks_end, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_are_counted, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
