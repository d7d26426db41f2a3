// The command's .npy reader against hostile files, and its writer against its reader.
// Libs: weir_cli_parts
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/cli/dtype.h"
#include "engine/cli/npy.h"

static char folder[] = P_tmpdir "/weir-npy-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder); // fails when a test, or the writer, has left something behind
}

static const char *path_of(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void write_file(const char *path, const void *bytes, size_t byte_count)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, byte_count, file), byte_count);
    assert_int_equal(fclose(file), 0);
}

static size_t read_file(const char *path, uint8_t *bytes, size_t byte_count)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    const size_t got = fread(bytes, 1, byte_count, file);
    assert_int_equal(fclose(file), 0);
    return got;
}

// Builds a file of the given version around `dict`. Returns its size.
static size_t build(int version, const char *dict, size_t data_bytes, uint8_t *bytes)
{
    const size_t length = strlen(dict);
    const size_t start = version == 1 ? 10 : 12;
    memcpy(bytes, "\x93NUMPY", 6);
    bytes[6] = (uint8_t)version;
    bytes[7] = 0;
    for (size_t i = 8; i < start; i++)
        bytes[i] = (uint8_t)(length >> ((i - 8) * 8));
    memcpy(bytes + start, dict, length);
    for (size_t i = 0; i < data_bytes; i++)
        bytes[start + length + i] = (uint8_t)i;
    return start + length + data_bytes;
}

static weir_code_t load_dict(
    int version, const char *dict, size_t data_bytes, weir_value_t *out_value, char *text)
{
    static uint8_t bytes[70000];
    weir__cli_fault_t fault = {0};
    const size_t size = build(version, dict, data_bytes, bytes);
    write_file(path_of("x.npy"), bytes, size);
    const weir_code_t code = weir__cli_npy_load(path_of("x.npy"), out_value, &fault);
    assert_int_equal(unlink(path_of("x.npy")), 0);
    assert_true(code == WEIR_OK || strstr(fault.text, "x.npy"));
    (void)snprintf(text, 256, "%.255s", fault.text);
    return code;
}

// Goal:   what is written is read again, for every dtype and rank.
// Method: random-looking bytes through a file; the file's data is compared too.
static void npy_round_trip(void **state)
{
    static const weir_dtype_t dtypes[] = {WEIR_F32, WEIR_F64, WEIR_F16, WEIR_I8, WEIR_I16, WEIR_I32,
        WEIR_I64, WEIR_U8, WEIR_U16, WEIR_U32, WEIR_U64, WEIR_BOOL};
    static const int64_t shapes[][WEIR_RANK_MAX] = {
        {0}, {5}, {2, 3}, {3, 0, 2}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 7}};
    static const uint32_t ranks[] = {0, 1, 2, 3, WEIR_RANK_MAX};
    uint8_t data[64];
    (void)state;
    for (size_t d = 0; d < sizeof(dtypes) / sizeof(dtypes[0]); d++) {
        for (size_t s = 0; s < sizeof(ranks) / sizeof(ranks[0]); s++) {
            for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (uint8_t)(dtypes[d] == WEIR_BOOL ? i % 3 == 0 : i * 37 + 11);
            weir_value_t in = {.data = data, .dtype = dtypes[d], .rank = ranks[s]}, out;
            memcpy(in.dims, shapes[s], sizeof(in.dims));
            uint64_t bytes = 0;
            assert_true(weir__cli_dtype_size(in.dtype, in.rank, in.dims, &bytes));
            weir__cli_fault_t fault = {0};
            assert_int_equal(weir__cli_npy_save(folder, "a.npy", &in, &fault), WEIR_OK);
            assert_int_equal(weir__cli_npy_load(path_of("a.npy"), &out, &fault), WEIR_OK);
            assert_int_equal(out.dtype, in.dtype);
            assert_int_equal(out.rank, in.rank);
            assert_memory_equal(out.dims, in.dims, in.rank * sizeof(in.dims[0]));
            assert_int_equal(out.capacity_bytes, bytes);
            assert_memory_equal(out.data, data, bytes);
            free(out.data);
            assert_int_equal(unlink(path_of("a.npy")), 0);
        }
    }
}

// Goal:   a file is byte for byte what numpy.save() writes.
// Method: the bytes of numpy.save(f, numpy.array([[1, 2, 3]], "<i4")), numpy 2.
static void npy_writes_what_numpy_writes(void **state)
{
    static const int32_t numbers[] = {1, 2, 3};
    weir__cli_fault_t fault = {0};
    weir_value_t value = {
        .data = (void *)(uintptr_t)numbers, .dtype = WEIR_I32, .rank = 2, .dims = {1, 3}};
    uint8_t expected[140], got[160];
    char dict[119];
    (void)state;
    (void)snprintf(dict, sizeof(dict), "%-117s\n",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 3), }");
    (void)build(1, dict, 0, expected);
    memcpy(expected + 128, numbers, sizeof(numbers));
    assert_int_equal(weir__cli_npy_save(folder, "b.npy", &value, &fault), WEIR_OK);
    assert_int_equal(read_file(path_of("b.npy"), got, sizeof(got)), sizeof(expected));
    assert_memory_equal(got, expected, sizeof(expected));
    assert_int_equal(unlink(path_of("b.npy")), 0);
}

// Goal:   bf16, which the format lacks, keeps its values.
// Method: 3000 elements (more than one chunk) are read back as f32.
static void npy_widens_bf16(void **state)
{
    enum { COUNT = 3000 };
    uint16_t halves[COUNT];
    weir__cli_fault_t fault = {0};
    weir_value_t in = {.data = halves, .dtype = WEIR_BF16, .rank = 1, .dims = {COUNT}}, out;
    (void)state;
    for (size_t i = 0; i < COUNT; i++)
        halves[i] = weir__cli_f32_to_bf16((float)i / 8);
    assert_int_equal(weir__cli_npy_save(folder, "h.npy", &in, &fault), WEIR_OK);
    assert_int_equal(weir__cli_npy_load(path_of("h.npy"), &out, &fault), WEIR_OK);
    assert_int_equal(out.dtype, WEIR_F32);
    assert_int_equal(out.capacity_bytes, COUNT * 4);
    for (size_t i = 0; i < COUNT; i++)
        assert_true(((float *)out.data)[i] == weir__cli_bf16_to_f32(halves[i]));
    free(out.data);
    assert_int_equal(unlink(path_of("h.npy")), 0);
}

// Goal:   a file cut anywhere is refused, and so is one with a byte too many.
// Method: every prefix of good files of the three versions.
static void npy_refuses_truncated(void **state)
{
    static uint8_t bytes[1000];
    (void)state;
    for (int version = 1; version <= 3; version++) {
        const size_t size = build(
            version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", 24, bytes);
        for (size_t cut = 0; cut <= size + 1; cut++) {
            weir__cli_fault_t fault = {0};
            weir_value_t value;
            write_file(path_of("t.npy"), bytes, cut);
            const weir_code_t code = weir__cli_npy_load(path_of("t.npy"), &value, &fault);
            assert_int_equal(code, cut == size ? WEIR_OK : WEIR_INVALID_ARGUMENT);
            if (code == WEIR_OK)
                free(value.data);
            else
                assert_non_null(strstr(fault.text, "t.npy"));
        }
    }
    assert_int_equal(unlink(path_of("t.npy")), 0);
}

// Goal:   headers that lie or are broken are refused with the right code; odd but valid ones are
// read. Method: a table of dicts; each is followed by 24 bytes of data.
static void npy_reads_headers(void **state)
{
#define DICT(descr, order, shape)                                                                  \
    "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }\n"
    static const struct {
        const char *dict;
        weir_code_t code;
        const char *text; // in the message
    } cases[] = {
        {DICT("'<f4'", "False", "(2, 3)"), WEIR_OK, ""},
        {DICT("'=f4'", "False", "(2,3)"), WEIR_OK, ""},
        {DICT("\"<f4\"", "False", "( 6 , )"), WEIR_OK, ""},
        {"{'shape': (3, 2), 'descr': '<f4', 'fortran_order': False}", WEIR_OK, ""},
        {DICT("'<f4'", "True", "(6,)"), WEIR_OK, ""}, // one dim: the orders are the same
        {DICT("'|u1'", "False", "(24,)"), WEIR_OK, ""},
        {DICT("'<f4'", "True", "(2, 3)"), WEIR_UNSUPPORTED, "ascontiguousarray"},
        {DICT("'>f4'", "False", "(2, 3)"), WEIR_UNSUPPORTED, "astype('<f4')"},
        {DICT("'<c8'", "False", "(3,)"), WEIR_UNSUPPORTED, "<c8"},
        {DICT("'|O'", "False", "(3,)"), WEIR_UNSUPPORTED, "astype"},
        {DICT("'|f4'", "False", "(6,)"), WEIR_UNSUPPORTED, "astype"},
        {DICT("'<U6'", "False", "(1,)"), WEIR_UNSUPPORTED, "<U6"},
        {DICT("[('a', '<f4')]", "False", "(6,)"), WEIR_UNSUPPORTED, "fields"},
        {DICT("'<f4'", "False", "(6)"), WEIR_INVALID_ARGUMENT, "tuple"},
        {DICT("'<f4'", "False", "[6]"), WEIR_INVALID_ARGUMENT, "tuple"},
        {DICT("'<f4'", "False", "(2 3)"), WEIR_INVALID_ARGUMENT, "comma"},
        {DICT("'<f4'", "False", "(2,,3)"), WEIR_INVALID_ARGUMENT, "no size"},
        {DICT("'<f4'", "False", "(-1, 3)"), WEIR_INVALID_ARGUMENT, "no size"},
        {DICT("'<f4'", "False", "(2, 3"), WEIR_INVALID_ARGUMENT, "no size"},
        {DICT("'<f4'", "False", "(9223372036854775808,)"), WEIR_INVALID_ARGUMENT, "2^63"},
        {DICT("'<f4'", "False", "(99999999999999999999999999,)"), WEIR_INVALID_ARGUMENT, "2^63"},
        {DICT("'<f4'", "False", "(4294967296, 4294967296)"), WEIR_INVALID_ARGUMENT, "memory"},
        {DICT("'<f4'", "False", "(9223372036854775807,)"), WEIR_INVALID_ARGUMENT, "memory"},
        {DICT("'<f4'", "False", "(1099511627776,)"), WEIR_INVALID_ARGUMENT, "its shape needs"},
        {DICT("'<f4'", "False", "(0, 4294967296, 4294967296)"), WEIR_INVALID_ARGUMENT, "needs 0"},
        {DICT("'<f4'", "False", "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,6)"), WEIR_LIMIT, "16"},
        {DICT("'<f4'", "false", "(6,)"), WEIR_INVALID_ARGUMENT, "fortran_order"},
        {DICT("4", "False", "(6,)"), WEIR_INVALID_ARGUMENT, "descr"},
        {DICT("'<f4'", "False", "(6,), 'more': 1"), WEIR_INVALID_ARGUMENT, "key"},
        {DICT("'<f4'", "False", "(6,), 'descr': '<f4'"), WEIR_INVALID_ARGUMENT, "key"},
        {"{'descr': '<f4', 'shape': (6,)}", WEIR_INVALID_ARGUMENT, "lacks a key"},
        {DICT("'<f4'", "False", "(6,)") "x", WEIR_INVALID_ARGUMENT, "after its dict"},
        {"{'descr': '<f4", WEIR_INVALID_ARGUMENT, "descr"},
        {"{", WEIR_INVALID_ARGUMENT, "dict"},
        {"", WEIR_INVALID_ARGUMENT, "dict"},
    };
    (void)state;
    for (int version = 1; version <= 3; version++) {
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            weir_value_t value;
            char text[256];
            const weir_code_t code = load_dict(version, cases[i].dict, 24, &value, text);
            if (code != cases[i].code || !strstr(text, cases[i].text))
                fail_msg("%s: code %d, \"%s\"", cases[i].dict, code, text);
            if (code == WEIR_OK)
                free(value.data);
        }
    }
}

// Goal:   magic, version and the header's length are checked before anything is believed.
// Method: one byte changed in a good file.
static void npy_refuses_damaged_start(void **state)
{
    uint8_t good[200], bad[200];
    weir__cli_npy_header_t header;
    weir__cli_fault_t fault = {0};
    const size_t size =
        build(2, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", 24, good);
    (void)state;
    assert_int_equal(weir__cli_npy_parse(good, size, "file", &header, &fault), WEIR_OK);
    for (size_t i = 0; i < 12; i++) {
        memcpy(bad, good, size);
        bad[i] ^= 0x80;
        assert_int_not_equal(weir__cli_npy_parse(bad, size, "file", &header, &fault), WEIR_OK);
    }
    memcpy(bad, good, size);
    memset(bad + 8, 255, 4); // a header of 4 GiB
    assert_int_equal(
        weir__cli_npy_parse(bad, size, "file", &header, &fault), WEIR_INVALID_ARGUMENT);
    assert_non_null(strstr(fault.text, "64 KiB"));
}

// Goal:   no header, whatever its bytes, makes the parser read out of bounds or accept a wrong
// size. Method: 200,000 random edits of a good header in a heap block of its exact size (the
// sanitizers watch).
static void npy_survives_random_edits(void **state)
{
    static const char letters[] = "{}()[]',:<>|=fiub0123456789 TrueFalse\\\n\xff";
    uint8_t good[200];
    const size_t size =
        build(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", 0, good);
    uint64_t random = 1;
    size_t accepted = 0;
    uint8_t *bytes = malloc(size);
    (void)state;
    assert_non_null(bytes);
    for (int round = 0; round < 200000; round++) {
        memcpy(bytes, good, size);
        for (int edit = 0; edit <= round % 3; edit++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            bytes[8 + (random >> 33) % (size - 8)] =
                (uint8_t)letters[(random >> 50) % (sizeof(letters) - 1)];
        }
        weir__cli_npy_header_t header;
        weir__cli_fault_t fault = {0};
        if (weir__cli_npy_parse(bytes, size, "file", &header, &fault) == WEIR_OK) {
            uint64_t expected = weir__cli_dtype_bytes(header.dtype);
            assert_true(header.rank <= WEIR_RANK_MAX && header.data_offset == size);
            for (uint32_t i = 0; i < header.rank; i++)
                expected *= (uint64_t)header.dims[i];
            assert_int_equal(header.data_bytes, expected);
            accepted++;
        }
    }
    free(bytes);
    assert_true(accepted > 100); // the edits reach past the first check
}

// Goal:   values of a bool array other than 0 and 1 are refused, which kernels rely on.
static void npy_refuses_bad_bool(void **state)
{
    weir_value_t value;
    char text[256];
    (void)state;
    assert_int_equal(
        load_dict(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }", 3, &value, text),
        WEIR_INVALID_ARGUMENT); // the data is 0, 1, 2
    assert_non_null(strstr(text, "element 2"));
}

// Goal:   what is no file is refused at once; nothing waits.
static void npy_refuses_what_is_no_file(void **state)
{
    weir_value_t value;
    weir__cli_fault_t fault = {0};
    (void)state;
    assert_int_equal(weir__cli_npy_load(path_of("missing.npy"), &value, &fault), WEIR_NOT_FOUND);
    assert_non_null(strstr(fault.text, "missing.npy"));
    assert_int_equal(weir__cli_npy_load(folder, &value, &fault), WEIR_INVALID_ARGUMENT);
    assert_int_equal(mkfifo(path_of("pipe"), 0600), 0);
    assert_int_equal(weir__cli_npy_load(path_of("pipe"), &value, &fault), WEIR_INVALID_ARGUMENT);
    assert_int_equal(unlink(path_of("pipe")), 0);
}

// Goal:   a write that fails keeps the file that was there and leaves nothing else.
// Method: a limit on file sizes plays the full disk; the folder is empty but for the old file
// afterwards.
static void npy_save_is_whole_or_not_at_all(void **state)
{
    static float data[100000];
    weir__cli_fault_t fault = {0};
    weir_value_t small = {.data = data, .dtype = WEIR_F32, .rank = 1, .dims = {1}};
    weir_value_t large = {.data = data, .dtype = WEIR_F32, .rank = 1, .dims = {100000}};
    struct rlimit limit;
    uint8_t before[400], after[400];
    (void)state;
    assert_int_equal(weir__cli_npy_save(folder, "f.npy", &small, &fault), WEIR_OK);
    const size_t size = read_file(path_of("f.npy"), before, sizeof(before));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    const rlim_t old = limit.rlim_cur;
    limit.rlim_cur = 4096;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const weir_code_t code = weir__cli_npy_save(folder, "f.npy", &large, &fault);
    limit.rlim_cur = old;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(code, WEIR_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(fault.text, "f.npy"));
    assert_non_null(strstr(fault.text, strerror(EFBIG)));
    assert_int_equal(read_file(path_of("f.npy"), after, sizeof(after)), size);
    assert_memory_equal(before, after, size);
    assert_int_equal(weir__cli_npy_save(folder, "f.npy", &large, &fault), WEIR_OK); // replaces it
    assert_int_equal(unlink(path_of("f.npy")), 0);
    assert_int_equal(weir__cli_npy_save(path_of("none"), "f.npy", &small, &fault), WEIR_NOT_FOUND);
    assert_int_equal(mkdir(path_of("d.npy"), 0700), 0);
    assert_int_not_equal(weir__cli_npy_save(folder, "d.npy", &small, &fault), WEIR_OK);
    assert_int_equal(rmdir(path_of("d.npy")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(npy_round_trip),
        cmocka_unit_test(npy_writes_what_numpy_writes),
        cmocka_unit_test(npy_widens_bf16),
        cmocka_unit_test(npy_refuses_truncated),
        cmocka_unit_test(npy_reads_headers),
        cmocka_unit_test(npy_refuses_damaged_start),
        cmocka_unit_test(npy_survives_random_edits),
        cmocka_unit_test(npy_refuses_bad_bool),
        cmocka_unit_test(npy_refuses_what_is_no_file),
        cmocka_unit_test(npy_save_is_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
