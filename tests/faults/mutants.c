// tests/faults/mutants.c: real models with damage, taken through load, plan, session and run.
//
// usage: faults_mutants COUNT FIRST MODEL[=DIMS]...
// Case i of a model is the same on every machine; case 0 is the model itself, which must run. FIRST
// skips cases, so that COUNT 1 shows one again. Damage: flipped bits, telling bytes, cuts, removed,
// doubled, exchanged and foreign pieces; mostly where the file has structure, since most bytes of a
// real model are weights. Prints what became of each model's mutants. Fails when one crashed, hung,
// leaked or ended INTERNAL.
#include "tests/faults/batch.h"
#include "tests/faults/subject.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CODES 14
#define RUN_NS (1000 * WEIR_MS)
#define STALL_SECONDS 60

// Of one model; shared by the parent and its children.
typedef struct tally {
    _Atomic uint32_t codes[CODES];
    _Atomic uint32_t ran, leaked, unsound;
    _Atomic uint64_t slowest_ns, peak_bytes;
} tally_t;

typedef struct mutants {
    const char *path, *dims;
    uint8_t *file;
    size_t file_bytes;
    uint32_t *places; // offsets in the file that are not in the middle of weights
    size_t place_count;
    uint32_t *contents; // of those, the ones that are no tag and no length
    size_t content_count;
    uint32_t first;
    tally_t *tally;
    meter_t meter;
    weir_engine_t *engine;
} mutants_t;

// ---- Where the structure is -------------------------------------------------------------------

#define PAYLOAD_BYTES 48 // of a field that is taken for data

static bool varint(const uint8_t *data, size_t end, size_t *at, uint64_t *out_value)
{
    *out_value = 0;
    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = data[(*at)++];
        *out_value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return true;
    }
    return false;
}

// Notes the bytes of fields in [at, end), opening messages as deep as graphs have them. A long
// field that is no message is noted by its first bytes only.
static bool walk(mutants_t *m, size_t at, size_t end, int depth)
{
    size_t kept = m->place_count, kept_contents = m->content_count;
    while (at < end) {
        size_t start = at;
        uint64_t tag, value = 0;
        if (!varint(m->file, end, &at, &tag) || !(tag >> 3) || (tag >> 3) > 1000)
            goto no_message;
        size_t content = at;
        unsigned type = tag & 7;
        if ((type == 0 || type == 2) && !varint(m->file, end, &at, &value))
            goto no_message;
        if (type != 0 && type != 2 && type != 5 && type != 1)
            goto no_message;
        size_t rest = type == 2 ? value : type == 5 ? 4 : type == 1 ? 8 : 0;
        if (rest > end - at)
            goto no_message;
        for (size_t i = start; i < at; i++)
            m->places[m->place_count++] = (uint32_t)i;
        for (size_t i = content; i < at && type == 0; i++)
            m->contents[m->content_count++] = (uint32_t)i;
        bool opened = type == 2 && depth > 0 && rest > 1 && walk(m, at, at + rest, depth - 1);
        size_t shown = rest > PAYLOAD_BYTES ? 8 : rest;
        for (size_t i = 0; !opened && i < shown; i++) {
            m->places[m->place_count++] = (uint32_t)(at + i);
            m->contents[m->content_count++] = (uint32_t)(at + i);
        }
        at += rest;
    }
    return true;
no_message:
    m->place_count = kept;
    m->content_count = kept_contents;
    return false;
}

// ---- Damage -----------------------------------------------------------------------------------

static uint64_t next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u); // splitmix64
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t below(uint64_t *state, size_t count)
{
    return count ? (size_t)(next(state) % count) : 0;
}

static size_t place(const mutants_t *m, uint64_t *state, size_t bytes)
{
    size_t at = next(state) % 8 ? m->places[below(state, m->place_count)] : below(state, bytes);
    return at < bytes ? at : below(state, bytes);
}

static void telling_byte(uint8_t *byte, uint64_t choice)
{
    static const uint8_t telling[] = {0, 1, 2, 7, 8, 16, 127, 128, 255, 0x7e, 0x0a, 0x12};
    *byte = telling[choice % sizeof telling];
}

// Room for `bytes` + 4096.
static size_t damage(const mutants_t *m, uint64_t *state, uint8_t *data, size_t bytes)
{
    size_t at = place(m, state, bytes), length = 1 + below(state, 64), from;
    if (length > bytes - at)
        length = bytes - at;
    switch (next(state) % 8) {
    case 0:
    case 1:
        data[at] ^= (uint8_t)(1u << (next(state) % 8));
        return bytes;
    case 2:
    case 3:
        telling_byte(&data[at], next(state));
        return bytes;
    case 4: // removed
        memmove(data + at, data + at + length, bytes - at - length);
        return bytes - length;
    case 5: // doubled
        memmove(data + at + length, data + at, bytes - at);
        return bytes + length;
    case 6: // a piece from elsewhere over it
        from = place(m, state, bytes - length + 1);
        if (from > bytes - length)
            from = 0;
        memmove(data + at, data + from, length);
        return bytes;
    default: // noise
        for (size_t i = 0; i < length && i < 8; i++)
            data[at + i] = (uint8_t)next(state);
        return bytes;
    }
}

static uint8_t *make_mutant(const mutants_t *m, uint32_t number, size_t *out_bytes)
{
    uint64_t state = number * 0x2545f4914f6cdd1du;
    size_t bytes = m->file_bytes;
    unsigned steps = number ? 1 + (unsigned)below(&state, 3) : 0;
    uint8_t *data = malloc(bytes + 4096);
    if (!data)
        return NULL;
    memcpy(data, m->file, bytes);
    // Most mutants stay sound messages, or the reader would stop nearly all of them.
    bool keeps_messages = number % 4 != 0;
    for (unsigned i = 0; i < steps && bytes > 64; i++) {
        if (!keeps_messages) {
            bytes = damage(m, &state, data, bytes);
            continue;
        }
        uint8_t *byte = &data[m->contents[below(&state, m->content_count)]];
        uint64_t choice = next(&state);
        if (choice % 2)
            *byte ^=
                (uint8_t)(1u << (choice >> 1) % 7); // the top bit says whether a number goes on
        else
            telling_byte(byte, choice >> 1);
    }
    if (number % 16 == 12) // cut
        bytes = place(m, &state, bytes);
    // Exactly as long as it is, so that a sanitizer sees one byte too many.
    uint8_t *exact = realloc(data, bytes ? bytes : 1);
    *out_bytes = bytes;
    return exact ? exact : data;
}

// ---- The cases --------------------------------------------------------------------------------

static void begin(void *user)
{
    mutants_t *m = user;
    weir_limits_t limits = {.size = sizeof limits,
        .load_ns = 20000 * WEIR_MS,
        .peak_bytes = (256u << 20) + 16 * (uint64_t)m->file_bytes,
        .arena_bytes = 128u << 20};
    m->engine = subject_engine(&m->meter, &limits);
}

static void raise_to(_Atomic uint64_t *most, uint64_t value)
{
    uint64_t seen = atomic_load(most);
    while (seen < value && !atomic_compare_exchange_weak(most, &seen, value)) {
    }
}

static void run(void *user, uint32_t index)
{
    mutants_t *m = user;
    outcome_t outcome;
    subject_t subject = {.dims = m->dims, .limit_ns = RUN_NS};
    uint32_t number = m->first + index;
    uint8_t *bytes = make_mutant(m, number, &subject.byte_count);
    if (!bytes)
        return;
    subject.bytes = bytes;
    uint64_t held = atomic_load(&m->meter.now), start_ns = weir_now_ns();
    meter_reset_peak(&m->meter);
    subject_run(m->engine, &subject, &outcome);
    raise_to(&m->tally->slowest_ns, weir_now_ns() - start_ns);
    raise_to(&m->tally->peak_bytes, atomic_load(&m->meter.peak) - held);
    if (atomic_load(&m->meter.now) != held) {
        m->tally->leaked++;
        printf("  mutant %u of %s leaks: %s\n", number, m->path, outcome.text);
    }
    if (outcome.code == WEIR_INTERNAL)
        printf("  mutant %u of %s: INTERNAL at %s: %s\n", number, m->path, outcome.stage,
            outcome.text);
    if (number == 0 && outcome.code != WEIR_OK)
        m->tally->unsound = 1;
    m->tally->ran++;
    m->tally->codes[outcome.code < 0 || outcome.code >= CODES ? CODES - 1 : outcome.code]++;
    free(bytes);
    fflush(stdout);
}

static void end(void *user)
{
    mutants_t *m = user;
    weir_engine_free(m->engine);
}

static void lost(void *user, uint32_t index, const char *what)
{
    mutants_t *m = user;
    printf("  mutant %u of %s: %s\n", m->first + index, m->path, what);
}

static bool read_file(mutants_t *m)
{
    FILE *file = fopen(m->path, "rb");
    if (!file)
        return false;
    fseek(file, 0, SEEK_END);
    long bytes = ftell(file);
    rewind(file);
    m->file_bytes = bytes > 0 ? (size_t)bytes : 0;
    m->file = malloc(m->file_bytes + 1);
    m->places = malloc((m->file_bytes + 1) * sizeof *m->places);
    m->contents = malloc((m->file_bytes + 1) * sizeof *m->contents);
    bool done = m->file && m->places && m->contents && m->file_bytes > 64 &&
                fread(m->file, 1, m->file_bytes, file) == m->file_bytes;
    fclose(file);
    // model, graph, node or tensor, attribute, and what is in it
    return done && walk(m, 0, m->file_bytes, 6) && m->content_count > 0;
}

static bool report(const mutants_t *m, uint32_t count, int children)
{
    const char *slash = strrchr(m->path, '/');
    printf("%s: %u of %u mutants ended by themselves;", slash ? slash + 1 : m->path, m->tally->ran,
        count);
    for (int code = 0; code < CODES; code++)
        if (m->tally->codes[code])
            printf(" %u %s", m->tally->codes[code], weir_code_name(code));
    printf("; slowest %.2f s, most memory %.0f MiB\n", (double)m->tally->slowest_ns / 1e9,
        (double)m->tally->peak_bytes / 1048576.0);
    if (m->tally->unsound)
        printf("  without damage it does not run on the inputs made up for it\n");
    return children == 0 && !m->tally->unsound && m->tally->ran == count && !m->tally->leaked &&
           !m->tally->codes[WEIR_INTERNAL] && m->tally->slowest_ns < 30 * 1000 * WEIR_MS;
}

int main(int argc, char **argv)
{
    int failed = 0;
    if (argc < 4) {
        fprintf(stderr, "usage: faults_mutants COUNT FIRST MODEL[=DIMS]...\n");
        return 2;
    }
    uint32_t count = (uint32_t)strtoul(argv[1], NULL, 10);
    for (int i = 3; i < argc; i++) {
        mutants_t m = {.path = argv[i], .first = (uint32_t)strtoul(argv[2], NULL, 10)};
        char *equal = strchr(argv[i], '=');
        if (equal)
            *equal = 0;
        m.dims = equal ? equal + 1 : NULL;
        m.tally =
            mmap(NULL, sizeof *m.tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (m.tally == MAP_FAILED || !read_file(&m)) {
            fprintf(stderr, "%s cannot be read as a model\n", m.path);
            return 2;
        }
        batch_t batch = {.count = count,
            .stall_seconds = STALL_SECONDS,
            .begin = begin,
            .run = run,
            .end = end,
            .lost = lost,
            .user = &m};
        failed += !report(&m, count, batch_run(&batch));
        munmap(m.tally, sizeof *m.tally);
        free(m.places);
        free(m.contents);
        free(m.file);
    }
    return failed ? 1 : 0;
}
