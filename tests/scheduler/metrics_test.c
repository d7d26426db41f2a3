// scheduler/observe: the arithmetic of the histograms, the text as Prometheus reads it, many
// writers.
//
// The text is read back by a strict parser of this file: it knows the format 0.0.4, not the names.
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <malloc.h>
#include <pthread.h>

#include "scheduler/observe/observe.h"

// ---- Histograms
// -------------------------------------------------------------------------------------

static void expect_bucket(uint64_t value)
{
    const uint32_t index = weir__histogram_index(value);
    assert_true(index < WEIR__HISTOGRAM_BUCKETS);
    const uint64_t high = weir__histogram_bound(index);
    const uint64_t low = index ? weir__histogram_bound(index - 1) : 0;
    assert_true(value <= high);
    assert_true(value > low || value == 0);
    if (value > 1 && index < WEIR__HISTOGRAM_BUCKETS - 1)
        assert_true((high - value) * 16 < value); // known to 1/16
}

// Goal:   each value lies in its bucket, whose bound is at most 1/16 above it.
// Method: all small values, all values around each bound and each power of two.
static void buckets(void **state)
{
    (void)state;
    for (uint64_t value = 0; value < 100000; value++)
        expect_bucket(value);
    for (uint32_t i = 0; i < WEIR__HISTOGRAM_BUCKETS - 1; i++)
        for (uint64_t off = 0; off < 3; off++)
            expect_bucket(weir__histogram_bound(i) + off - 1);
    for (uint32_t bit = 0; bit < 64; bit++) {
        expect_bucket((1ull << bit) - 1);
        expect_bucket(1ull << bit);
        expect_bucket((1ull << bit) + 1);
    }
    expect_bucket(UINT64_MAX);
    assert_true(weir__histogram_bound(WEIR__HISTOGRAM_BUCKETS - 2) == 1ull << 38);
}

static int compare(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

// Goal: quantiles are at most 1/16 above the true ones, over two parts taken together.
static void quantiles(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    static weir__histogram_t parts[2];
    static uint64_t values[COUNT];
    const weir__histogram_t *const both[] = {&parts[0], &parts[1]};
    assert_int_equal(weir__histogram_quantile(both, 2, 500), 0);
    uint64_t word = 88172645463325252u; // xorshift64
    for (uint32_t i = 0; i < COUNT; i++) {
        word ^= word << 13, word ^= word >> 7, word ^= word << 17;
        values[i] = 1 + (word >> (20 + word % 40)) % 100000000;
        weir__histogram_note(
            i % 2 ? WEIR__OBSERVE_ANY : WEIR__OBSERVE_LOOP, &parts[i % 2], values[i]);
    }
    qsort(values, COUNT, sizeof(values[0]), compare);
    static const uint32_t permilles[] = {1, 100, 500, 900, 990, 999, 1000};
    for (size_t i = 0; i < sizeof(permilles) / sizeof(permilles[0]); i++) {
        const uint64_t truth = values[(COUNT * permilles[i] + 999) / 1000 - 1];
        const uint64_t said = weir__histogram_quantile(both, 2, permilles[i]);
        assert_true(said >= truth && (said - truth) * 16 <= truth);
    }
}

// ---- The text
// ---------------------------------------------------------------------------------------

typedef struct text {
    char *bytes;
    size_t count, capacity;
    uint32_t pieces, pieces_most; // 0: any number
} text_t;

static int take(void *user_data, const char *bytes, size_t count)
{
    text_t *text = user_data;
    if (text->pieces_most && text->pieces == text->pieces_most)
        return 1;
    text->pieces++;
    assert_true(text->count + count < text->capacity);
    memcpy(text->bytes + text->count, bytes, count);
    text->count += count;
    text->bytes[text->count] = '\0';
    return 0;
}

static text_t text_of(weir__observe_t *observe, uint32_t per_octave)
{
    text_t text = {.capacity = 4 << 20, .bytes = malloc(4 << 20)};
    assert_non_null(text.bytes);
    assert_int_equal(weir__observe_text(observe, per_octave, take, &text), WEIR_OK);
    return text;
}

// The value of a sample, given by everything before the blank; -1: it is not there.
static double value_of(const text_t *text, const char *sample)
{
    const size_t bytes = strlen(sample);
    for (const char *at = text->bytes; (at = strstr(at, sample)) != NULL; at++)
        if ((at == text->bytes || at[-1] == '\n') && at[bytes] == ' ')
            return strtod(at + bytes, NULL);
    return -1;
}

static bool is_name(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (!((text[i] >= 'a' && text[i] <= 'z') || text[i] == '_' ||
                (i && text[i] >= '0' && text[i] <= '9')))
            return false;
    return bytes > 0;
}

// {name="value",...} with the three escapes; returns what follows.
static const char *skip_labels(const char *at)
{
    for (at++; *at != '}';) {
        const size_t bytes = strcspn(at, "=");
        assert_true(is_name(at, bytes));
        at += bytes + 1;
        assert_int_equal(*at++, '"');
        for (; *at != '"'; at++) {
            assert_true(*at && *at != '\n');
            if (*at == '\\')
                assert_non_null(strchr("\\\"n", *++at));
        }
        at++;
        assert_true(*at == ',' || *at == '}');
        at += *at == ',';
    }
    return at + 1;
}

// One line of a sample of `family`.
static void expect_sample(const char *line, const char *family, const char *type)
{
    size_t bytes = strcspn(line, "{ ");
    assert_true(is_name(line, bytes));
    const char *rest = line[bytes] == '{' ? skip_labels(line + bytes) : line + bytes;
    char *end = NULL;
    assert_int_equal(*rest, ' ');
    assert_true(strtod(rest + 1, &end) >= 0);
    assert_int_equal(*end, '\n');
    assert_memory_equal(line, family, strlen(family));
    const char *suffix = line + strlen(family);
    bytes -= strlen(family);
    if (strcmp(type, "histogram") == 0)
        assert_true((bytes == 7 && memcmp(suffix, "_bucket", 7) == 0) ||
                    (bytes == 4 && memcmp(suffix, "_sum", 4) == 0) ||
                    (bytes == 6 && memcmp(suffix, "_count", 6) == 0));
    else
        assert_int_equal(bytes, 0);
    const bool is_total = strlen(family) > 6 && !strcmp(family + strlen(family) - 6, "_total");
    assert_int_equal(is_total, strcmp(type, "counter") == 0);
}

// Every family has one HELP and one TYPE before its samples; returns how many families there are,
// each of which must be a row of docs/metrics.md.
static uint32_t expect_format(const text_t *text, const char *page)
{
    char family[128] = "", type[16] = "", row[160];
    uint32_t families = 0;
    for (const char *at = text->bytes; *at;) {
        if (strncmp(at, "# HELP ", 7) == 0) {
            assert_int_equal(sscanf(at, "# HELP %127s", family), 1);
            at = strchr(at, '\n') + 1;
            char again[128] = "";
            assert_int_equal(sscanf(at, "# TYPE %127s %15s", again, type), 2);
            assert_string_equal(again, family);
            (void)snprintf(row, sizeof(row), "# HELP %s ", family);
            assert_null(strstr(at, row)); // not a second time
            (void)snprintf(row, sizeof(row), "\n| `%s` | %s |", family, type);
            if (!strstr(page, row))
                fail_msg("docs/metrics.md has no row for %s, a %s", family, type);
            families++;
        } else {
            expect_sample(at, family, type);
        }
        at = strchr(at, '\n');
        assert_non_null(at);
        at++;
    }
    return families;
}

static char *read_page(void)
{
    FILE *file = fopen("docs/metrics.md", "r");
    assert_non_null(file);
    char *page = calloc(1, 1 << 16);
    assert_non_null(page);
    assert_true(fread(page, 1, (1 << 16) - 1, file) > 0);
    assert_int_equal(fclose(file), 0);
    return page;
}

static uint32_t page_rows(const char *page)
{
    uint32_t rows = 0;
    for (const char *at = page; (at = strstr(at, "\n| `weir_")) != NULL; at++)
        rows++;
    return rows;
}

typedef struct world {
    weir__observe_t *observe;
    weir__observe_series_t *model, *device, *tenant;
} world_t;

static world_t make_world(const char *model, const char *tenant)
{
    world_t it = {0};
    assert_int_equal(weir__observe_create(&it.observe), WEIR_OK);
    it.model = weir__observe_add_series(it.observe, WEIR__OBSERVE_MODEL, model, "1.2.0");
    it.device = weir__observe_add_series(it.observe, WEIR__OBSERVE_DEVICE, "cpu", NULL);
    it.tenant = weir__observe_add_series(it.observe, WEIR__OBSERVE_TENANT, tenant, NULL);
    assert_true(it.model && it.device && it.tenant);
    return it;
}

// Goal: the numbers that were noted are in the text, with the right names, labels and units.
static void numbers(void **state)
{
    (void)state;
    world_t it = make_world("minilm", "acme");
    weir__observe_refused(WEIR__OBSERVE_ANY, it.model, WEIR__REFUSE_COUNT);
    weir__observe_refused(WEIR__OBSERVE_LOOP, it.model, WEIR__REFUSE_COUNT);
    weir__observe_batch(WEIR__OBSERVE_LOOP, it.model, WEIR__DISPATCH_LATEST_START, 6, 2000000001);
    weir__observe_batch(WEIR__OBSERVE_LOOP, it.device, WEIR__DISPATCH_LATEST_START, 6, 2000000001);
    weir__observe_ended(WEIR__OBSERVE_LOOP, it.model, WEIR__FINAL_DONE, 1024, 5000000);
    weir__observe_ended(WEIR__OBSERVE_ANY, it.model, WEIR__FINAL_DONE, 1025, 7000000);
    weir__observe_ended(WEIR__OBSERVE_LOOP, it.tenant, WEIR__FINAL_EXPIRED_QUEUED, UINT64_MAX, 500);
    weir__observe_set(&it.device->state, WEIR__DEVICE_PROBATION);
    weir__observe_set(&it.observe->scheduler.queue_bytes, 4096);
    const text_t text = text_of(it.observe, 1);
#define EXPECT(sample, number) assert_true(value_of(&text, sample) == (number))
#define MODEL "{model=\"minilm\",version=\"1.2.0\""
    EXPECT("weir_requests_refused_total" MODEL ",reason=\"queue_count\"}", 2);
    EXPECT("weir_requests_refused_total" MODEL ",reason=\"tenant\"}", 0);
    EXPECT("weir_requests_total" MODEL ",result=\"done\"}", 2);
    EXPECT("weir_batches_total" MODEL ",reason=\"latest_start\"}", 1);
    EXPECT("weir_rows_total" MODEL "}", 6);
    EXPECT("weir_device_seconds_total" MODEL "}", 2.000000001);
    EXPECT("weir_batch_rows_bucket" MODEL ",le=\"4\"}", 0);
    EXPECT("weir_batch_rows_bucket" MODEL ",le=\"8\"}", 1);
    EXPECT("weir_batch_rows_sum" MODEL "}", 6);
    EXPECT("weir_queue_duration_seconds_bucket" MODEL ",le=\"0.000001024\"}", 1); // le: inclusive
    EXPECT("weir_queue_duration_seconds_bucket" MODEL ",le=\"0.000002048\"}", 2);
    EXPECT("weir_queue_duration_seconds_count" MODEL "}", 2);
    EXPECT("weir_request_duration_seconds_bucket" MODEL ",le=\"+Inf\"}", 2);
    EXPECT("weir_request_duration_seconds_sum" MODEL "}", 0.012);
    EXPECT("weir_device_busy_seconds_total{device=\"cpu\"}", 2.000000001);
    EXPECT("weir_device_state{device=\"cpu\",state=\"probation\"}", 1);
    EXPECT("weir_device_state{device=\"cpu\",state=\"healthy\"}", 0);
    EXPECT("weir_tenant_requests_total{tenant=\"acme\",result=\"expired_queued\"}", 1);
    EXPECT("weir_tenant_request_duration_seconds_count{tenant=\"acme\"}", 1);
    EXPECT("weir_scheduler_queue_bytes", 4096);
    free(text.bytes);
    weir__observe_remove_series(it.observe, it.model);
    const text_t less = text_of(it.observe, 1);
    assert_null(strstr(less.bytes, "minilm"));
    free(less.bytes);
    weir__observe_free(it.observe);
}

// Goal: the format is kept whatever models are called; docs/metrics.md names exactly these
// families;
//       `le` bounds rise and so do their counts, at every resolution.
static void format(void **state)
{
    (void)state;
    char page_name[600];
    memset(page_name, 'x', sizeof(page_name));
    page_name[sizeof(page_name) - 1] = '\0';
    memcpy(page_name + 252, "\xc3\xa4\xc3\xa4", 4); // cut between characters, not within
    world_t it = make_world("quote \" back \\ line \n end", page_name);
    for (uint64_t ns = 1; ns < 1ull << 40; ns = ns * 3 / 2 + 1)
        weir__observe_ended(WEIR__OBSERVE_LOOP, it.model, WEIR__FINAL_DONE, ns, ns * 2);
    char *page = read_page();
    const text_t text = text_of(it.observe, 1);
    const uint32_t families = expect_format(&text, page);
    assert_int_equal(families, page_rows(page));
    assert_non_null(strstr(text.bytes, "model=\"quote \\\" back \\\\ line \\n end\""));
    const char *tenant = strstr(text.bytes, "tenant=\"xxx");
    assert_non_null(tenant);
    assert_memory_equal(tenant + 8 + 250, "xx\xc3\xa4\"", 5);
    free(text.bytes);
    uint32_t bounds_before = 0;
    for (uint32_t per_octave = 1; per_octave <= 16; per_octave *= 2) {
        const text_t fine = text_of(it.observe, per_octave);
        double last_bound = 0, last_count = 0;
        uint32_t bounds = 0;
        const char *key = "weir_request_duration_seconds_bucket";
        for (const char *at = fine.bytes; (at = strstr(at, key)) != NULL; at++) {
            const char *bound = strstr(at, "le=\"") + 4;
            const double count = strtod(strchr(bound, '}') + 1, NULL);
            assert_true(strncmp(bound, "+Inf", 4) == 0 || strtod(bound, NULL) > last_bound);
            assert_true(count >= last_count);
            last_bound = strtod(bound, NULL);
            last_count = count;
            bounds++;
        }
        assert_int_equal(bounds, 26 * per_octave + 2);
        assert_true(bounds > bounds_before);
        bounds_before = bounds;
        free(fine.bytes);
    }
    free(page);
    weir__observe_free(it.observe);
}

// Goal: whoever writes may end it at any piece, and nothing is called after that.
static void ended(void **state)
{
    (void)state;
    world_t it = make_world("m", "t");
    const text_t whole = text_of(it.observe, 1);
    for (uint32_t most = 1; most < whole.pieces; most += 7) {
        text_t text = {.capacity = whole.capacity, .bytes = malloc(whole.capacity)};
        text.pieces_most = most;
        assert_int_equal(weir__observe_text(it.observe, 1, take, &text), WEIR_CANCELLED);
        assert_int_equal(text.pieces, most);
        assert_memory_equal(text.bytes, whole.bytes, text.count);
        free(text.bytes);
    }
    free(whole.bytes);
    weir__observe_free(it.observe);
}

// ---- Many writers
// -----------------------------------------------------------------------------------

enum { WRITERS = 3, NOTES = 20000 };

typedef struct writer {
    world_t *world;
    weir__observe_writer_t kind;
} writer_t;

static void *note_all(void *argument)
{
    const writer_t *it = argument;
    for (uint32_t i = 0; i < NOTES; i++) {
        weir__observe_ended(it->kind, it->world->model, WEIR__FINAL_DONE, i, 2 * i);
        weir__observe_ended(it->kind, it->world->tenant, WEIR__FINAL_DONE, i, 2 * i);
        weir__observe_add(it->kind, &it->world->observe->scheduler.submitted[it->kind], 1);
    }
    return NULL;
}

static int take_nothing(void *user_data, const char *bytes, size_t count)
{
    (void)user_data, (void)bytes, (void)count;
    return 0;
}

static void *scrape(void *argument)
{
    world_t *it = argument;
    for (uint32_t i = 0; i < 20; i++) {
        weir__observe_series_t *more =
            weir__observe_add_series(it->observe, WEIR__OBSERVE_TENANT, "passing", NULL);
        if (weir__observe_text(it->observe, 1, take_nothing, NULL) != WEIR_OK)
            return it;
        weir__observe_remove_series(it->observe, more);
    }
    return NULL;
}

// Goal: no note is lost between the loop's writer, two others, and a reader that adds and removes.
static void many_writers(void **state)
{
    (void)state;
    world_t it = make_world("m", "t");
    pthread_t threads[WRITERS], reader;
    writer_t writers[WRITERS];
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (writer_t){&it, i ? WEIR__OBSERVE_ANY : WEIR__OBSERVE_LOOP};
        assert_int_equal(pthread_create(&threads[i], NULL, note_all, &writers[i]), 0);
    }
    assert_int_equal(pthread_create(&reader, NULL, scrape, &it), 0);
    for (uint32_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    void *failed = NULL;
    assert_int_equal(pthread_join(reader, &failed), 0);
    assert_null(failed);
    const text_t text = text_of(it.observe, 1);
    const double all = WRITERS * (double)NOTES;
    assert_true(value_of(&text, "weir_scheduler_submitted_total") == all);
    assert_true(value_of(&text,
                    "weir_requests_total{model=\"m\",version=\"1.2.0\",result=\"done\"}") == all);
    assert_true(value_of(&text, "weir_tenant_request_duration_seconds_count{tenant=\"t\"}") == all);
    free(text.bytes);
    weir__observe_free(it.observe);
}

typedef struct slow_reader {
    world_t *world;
    weir__observe_series_t *old, *new;
    uint32_t pieces;
} slow_reader_t;

// A receiver that takes its time: others come and go meanwhile, the one that is read too.
static int take_and_change(void *user_data, const char *bytes, size_t count)
{
    slow_reader_t *it = user_data;
    (void)bytes, (void)count;
    if (++it->pieces % 50 == 0 && it->pieces <= 1000) {
        it->new = weir__observe_add_series(it->world->observe, WEIR__OBSERVE_MODEL, "m", "2");
        weir__observe_remove_series(it->world->observe, it->old);
        it->old = it->new;
    }
    return 0;
}

// Goal: series are added and removed while a receiver has the text: nobody waits for it, and what
// it reads stays in memory. One that is added again is shown once.
static void a_receiver_stops_nobody(void **state)
{
    (void)state;
    world_t it = make_world("m", "t");
    slow_reader_t reader = {
        .world = &it, .old = weir__observe_add_series(it.observe, WEIR__OBSERVE_MODEL, "m", "2")};
    assert_int_equal(weir__observe_text(it.observe, 1, take_and_change, &reader), WEIR_OK);
    assert_true(reader.pieces > 200);
    weir__observe_series_t *again =
        weir__observe_add_series(it.observe, WEIR__OBSERVE_MODEL, "m", "2");
    weir__observe_set(&again->queued, 7);
    const text_t text = text_of(it.observe, 1);
    const char *line = "weir_queued_requests{model=\"m\",version=\"2\"}";
    assert_true(value_of(&text, line) == 7);
    assert_null(strstr(strstr(text.bytes, line) + 1, line));
    free(text.bytes);
    weir__observe_remove_series(it.observe, reader.old);
    weir__observe_free(it.observe);
}

// Goal: neither noting nor writing the text allocates.
static void no_allocation(void **state)
{
    (void)state;
    world_t it = make_world("m", "t");
    assert_int_equal(weir__observe_text(it.observe, 16, take_nothing, NULL), WEIR_OK);
    const size_t before = mallinfo2().uordblks;
    const writer_t writer = {&it, WEIR__OBSERVE_LOOP};
    (void)note_all((void *)(uintptr_t)&writer);
    assert_int_equal(weir__observe_text(it.observe, 16, take_nothing, NULL), WEIR_OK);
    assert_int_equal(mallinfo2().uordblks, before);
    weir__observe_free(it.observe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets),
        cmocka_unit_test(quantiles),
        cmocka_unit_test(numbers),
        cmocka_unit_test(format),
        cmocka_unit_test(ended),
        cmocka_unit_test(many_writers),
        cmocka_unit_test(a_receiver_stops_nobody),
        cmocka_unit_test(no_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
