// The command's option parser, near misses, text, JSON, file names, half floats, made-up inputs.
// Libs: weir_cli_parts
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/cli/dtype.h"
#include "engine/cli/filenames.h"
#include "engine/cli/json.h"
#include "engine/cli/near.h"
#include "engine/cli/options.h"
#include "engine/cli/random.h"
#include "engine/cli/text.h"

typedef struct values {
    const char *model;
    const char *device;
    weir__cli_option_list_t inputs;
    weir__cli_option_count_t threads;
    bool is_json;
} values_t;

static const weir__cli_option_t rows[] = {
    {.name = "--device",
        .value_name = "NAME",
        .kind = WEIR__CLI_OPTION_TEXT,
        .field = offsetof(values_t, device),
        .help = "where"},
    {.name = "--input",
        .value_name = "X=Y",
        .kind = WEIR__CLI_OPTION_LIST,
        .field = offsetof(values_t, inputs),
        .help = "what\nmore"},
    {.name = "--threads",
        .value_name = "N",
        .kind = WEIR__CLI_OPTION_COUNT,
        .field = offsetof(values_t, threads),
        .least = 1,
        .most = 64,
        .help = "how many"},
    {.name = "--json", .field = offsetof(values_t, is_json), .help = "as JSON"},
};
static const weir__cli_syntax_t syntax = {
    .command = "try",
    .arguments = "MODEL",
    .purpose = "Tries.",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
    .argument_least = 1,
    .argument_most = 1,
    .argument_field = offsetof(values_t, model),
};

// Parses words separated by blanks, which live in `line`.
static weir__cli_parse_t parse(char *line, values_t *values, weir__cli_fault_t *fault)
{
    char *argv[16];
    int argc = 0;
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    *values = (values_t){0};
    *fault = (weir__cli_fault_t){0};
    return weir__cli_options_parse(&syntax, argc, argv, values, fault);
}

// Goal: every kind of option is stored, in both spellings and any order.
static void options_are_stored(void **state)
{
    char line[] = "--input a=b --threads=7 m.onnx --input=c=d --device cpu,ref --json";
    values_t values;
    weir__cli_fault_t fault;
    (void)state;
    assert_int_equal(parse(line, &values, &fault), WEIR__CLI_PARSE_OK);
    assert_string_equal(values.model, "m.onnx");
    assert_string_equal(values.device, "cpu,ref");
    assert_int_equal(values.inputs.count, 2);
    assert_string_equal(values.inputs.items[0], "a=b");
    assert_string_equal(values.inputs.items[1], "c=d");
    assert_true(values.threads.is_set && values.threads.value == 7 && values.is_json);
    weir__cli_options_free(&syntax, &values);
    assert_int_equal(values.inputs.count, 0);
}

// Goal: after "--" everything is an argument; --help wins over every mistake but not over "--".
static void options_end_and_help(void **state)
{
    values_t values;
    weir__cli_fault_t fault;
    char ended[] = "-- --json", help[] = "--nonsense --help", after[] = "-- --help";
    (void)state;
    assert_int_equal(parse(ended, &values, &fault), WEIR__CLI_PARSE_OK);
    assert_string_equal(values.model, "--json");
    assert_false(values.is_json);
    assert_int_equal(parse(help, &values, &fault), WEIR__CLI_PARSE_HELP);
    assert_int_equal(parse(after, &values, &fault), WEIR__CLI_PARSE_OK);
}

// Goal: a mistake is a usage fault that names the option and the nearest right one.
static void options_mistakes(void **state)
{
    static const struct {
        const char *line, *text;
    } cases[] = {
        {"m --devise cpu", "unknown option --devise, did you mean --device?"},
        {"m --jsno", "did you mean --json?"},
        {"m --thread=3", "unknown option --thread, did you mean --threads?"},
        {"m --hlep", "did you mean --help?"},
        {"m --frobnicate", "unknown option --frobnicate of weir try: weir try --help lists all"},
        {"m -x", "unknown option -x of"},
        {"m --json=1", "--json takes no value"},
        {"m --device", "--device needs a value: --device NAME"},
        {"m --device --json", "--device needs a value"},
        {"m --device a --device b", "--device is given twice"},
        {"m --threads 0", "from 1 to 64, not \"0\""},
        {"m --threads 65", "not \"65\""},
        {"m --threads -1", "not \"-1\""},
        {"m --threads 1x", "not \"1x\""},
        {"m --threads=", "not \"\""},
        {"m --threads 18446744073709551617", "not \"18446744073709551617\""},
        {"m n", "\"n\" is one argument too many: leave it out, weir try MODEL"},
        {"--json", "MODEL is missing: give it, weir try MODEL"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[64];
        values_t values;
        weir__cli_fault_t fault;
        (void)snprintf(line, sizeof(line), "%s", cases[i].line);
        if (parse(line, &values, &fault) != WEIR__CLI_PARSE_WRONG || !fault.is_usage ||
            fault.code != WEIR_INVALID_ARGUMENT || !strstr(fault.text, cases[i].text))
            fail_msg("%s: \"%s\"", cases[i].line, fault.text);
        weir__cli_options_free(&syntax, &values);
    }
}

// Goal: the help shows every option with its value and aligns the second line of a text.
static void options_help_shows_the_table(void **state)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    (void)state;
    assert_non_null(out);
    weir__cli_options_help(&syntax, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "weir try MODEL [options]\nTries.\n\n"
                              "  --device NAME  where\n"
                              "  --input X=Y    what\n"
                              "                 more\n"
                              "  --threads N    how many\n"
                              "  --json         as JSON\n"
                              "  --help         this text\n");
    free(text);
}

// Goal: the distance is the textbook's, swaps included, and does not overrun on long words.
static void near_distances(void **state)
{
    char longest[64], longer[65];
    (void)state;
    assert_int_equal(weir__cli_near_distance("", ""), 0);
    assert_int_equal(weir__cli_near_distance("", "abc"), 3);
    assert_int_equal(weir__cli_near_distance("kitten", "sitting"), 3);
    assert_int_equal(weir__cli_near_distance("device", "devise"), 1);
    assert_int_equal(weir__cli_near_distance("json", "jsno"), 1);
    assert_int_equal(weir__cli_near_distance("ca", "abc"), 3); // optimal string alignment, not 2
    memset(longest, 'a', 63);
    longest[63] = '\0';
    memset(longer, 'a', 64);
    longer[64] = '\0';
    assert_int_equal(weir__cli_near_distance(longest, ""), 63);
    assert_int_equal(weir__cli_near_distance(longest, longest), 0);
    assert_true(weir__cli_near_distance(longer, longest) == SIZE_MAX);
}

// Goal: names from a model can't control the terminal, whatever their bytes.
static void text_is_made_safe(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"conv_1/Add", "conv_1/Add"},
        {"a\nb\x1b[31m\x7f", "a?b?[31m?"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"\xc2\x9b"
         "1m",
            "?1m"}, // a control sequence of one character
        {"\xc3", "?"},
        {"\xc0\xaf", "??"}, // cut, overlong
        {"\xed\xa0\x80", "???"},
        {"\xf4\x90\x80\x80", "????"},
        {"\xe2\x82\xac", "\xe2\x82\xac"},
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
    };
    char out[64];
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(weir__cli_text_safe(cases[i].in, out, sizeof(out)), cases[i].out);
    assert_string_equal(weir__cli_text_safe("ab\xc3\xbc", out, 4), "ab"); // no half character
}

// Goal: columns line up, counting characters and not bytes, and no line ends in blanks.
static void text_table_aligns(void **state)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    weir__cli_table_t table = weir__cli_table_start(3);
    (void)state;
    assert_non_null(out);
    static const char *const cells[] = {"\xc3\xbc", "longer", "x", "abc", "", "y", "d", "", ""};
    for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
        weir__cli_table_add(&table, cells[i]);
    weir__cli_table_finish(&table, 1, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, " \xc3\xbc    longer  x\n abc          y\n d\n");
    free(text);
}

// Goal: sizes and times keep three digits and change units at the right place.
static void text_units(void **state)
{
    (void)state;
    assert_string_equal(weir__cli_text_bytes(0).text, "0 B");
    assert_string_equal(weir__cli_text_bytes(1023).text, "1023 B");
    assert_string_equal(weir__cli_text_bytes(1536).text, "1.5 KiB");
    assert_string_equal(weir__cli_text_bytes(102 * 1048576).text, "102 MiB");
    assert_string_equal(weir__cli_text_bytes(UINT64_MAX).text, "16 EiB");
    assert_string_equal(weir__cli_text_ns(1500).text, "1.5 us");
    assert_string_equal(weir__cli_text_ns(12340000).text, "12.3 ms");
    assert_string_equal(weir__cli_text_ns(2500000000u).text, "2.50 s");
}

// Goal: what is written is JSON, whatever the strings and numbers.
static void json_is_valid(void **state)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    weir__cli_json_t json = {.out = out};
    (void)state;
    assert_non_null(out);
    weir__cli_json_open(&json, NULL, '{');
    weir__cli_json_text(&json, "a\"b", "\\ \n \x01 \xc3\xbc \xff");
    weir__cli_json_text(&json, "none", NULL);
    weir__cli_json_open(&json, "list", '[');
    weir__cli_json_u64(&json, NULL, UINT64_MAX);
    weir__cli_json_i64(&json, NULL, INT64_MIN);
    weir__cli_json_f64(&json, NULL, (double)NAN, 9);
    weir__cli_json_f64(&json, NULL, -(double)INFINITY, 9);
    weir__cli_json_f64(&json, NULL, 0.1, 17);
    weir__cli_json_open(&json, NULL, '{');
    weir__cli_json_close(&json, '}');
    weir__cli_json_close(&json, ']');
    weir__cli_json_bool(&json, "yes", true);
    weir__cli_json_close(&json, '}');
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text,
        "{\"a\\\"b\": \"\\\\ \\u000a \\u0001 \xc3\xbc \\ufffd\", \"none\": null, "
        "\"list\": [18446744073709551615, -9223372036854775808, null, null, 0.10000000000000001, "
        "{}], \"yes\": true}");
    free(text);
}

// Goal: output names give safe, different file names.
static void filenames_are_safe_and_different(void **state)
{
    char lengthy[301];
    const char *const names[] = {
        "a/b", "a_b", "A:B", "", "../../x", "ok.+-_9", lengthy, lengthy, "a_b.2"};
    weir__cli_filename_t files[9];
    (void)state;
    memset(lengthy, 'z', 300);
    lengthy[300] = '\0';
    weir__cli_filenames_make(9, names, files);
    assert_string_equal(files[0].text, "a_b.npy");
    assert_string_equal(files[1].text, "a_b.2.npy");
    assert_string_equal(files[2].text, "A_B.3.npy");
    assert_string_equal(files[3].text, "_.npy");
    assert_string_equal(files[4].text, ".._.._x.npy");
    assert_string_equal(files[5].text, "ok.+-_9.npy");
    assert_int_equal(strlen(files[6].text), 204);
    assert_string_not_equal(files[6].text, files[7].text);
    assert_string_equal(files[8].text, "a_b.2.2.npy");
}

// Goal:   half floats convert as IEEE 754 says.
// Method: all 65,536 halves there and back; every midpoint between neighbours goes to the even one.
static void halves_round_trip(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        const uint16_t half = (uint16_t)bits;
        const float value = weir__cli_f16_to_f32(half);
        if (isnan(value))
            assert_true(isnan(weir__cli_f16_to_f32(weir__cli_f32_to_f16(value))));
        else
            assert_int_equal(weir__cli_f32_to_f16(value), half);
        const float wide = weir__cli_bf16_to_f32(half);
        if (!isnan(wide))
            assert_int_equal(weir__cli_f32_to_bf16(wide), half);
    }
    for (uint16_t half = 0; half < 0x7bff; half++) { // positive, finite
        const float middle =
            (weir__cli_f16_to_f32(half) + weir__cli_f16_to_f32((uint16_t)(half + 1))) / 2;
        assert_int_equal(weir__cli_f32_to_f16(middle), half % 2 ? half + 1 : half);
        assert_int_equal(weir__cli_f32_to_f16(nextafterf(middle, 0)), half);
        assert_int_equal(weir__cli_f32_to_f16(nextafterf(middle, 1e9f)), half + 1);
    }
    assert_true(weir__cli_f16_to_f32(0x3c00) == 1.0f);
    assert_int_equal(weir__cli_f32_to_f16(65519.0f), 0x7bff);
    assert_int_equal(weir__cli_f32_to_f16(65520.0f), 0x7c00);
}

// Goal:   made-up inputs are those that random.h describes.
// Method: splitmix64's published first output for state 0 (its seed), and values by the formula.
static void random_is_as_described(void **state)
{
    (void)state;
    // fnv1a64("") is the offset basis: this seed makes the state 0.
    const uint64_t seed = 0xcbf29ce484222325u;
    assert_true(weir__cli_random_word(seed, "", 0) == 0xe220a8397b1dcdafu);
    assert_true(weir__cli_random_word(seed, "", 1) == 0x6e789e6aa1b965f4u);
    float values[1000];
    double sum = 0, squares = 0;
    weir__cli_random_fill(7, "x", WEIR_F32, 1000, values);
    for (size_t i = 0; i < 1000; i++) {
        const uint64_t word = weir__cli_random_word(7, "x", i);
        const double parts =
            (double)((word & 65535) + (word >> 16 & 65535) + (word >> 32 & 65535) + (word >> 48));
        assert_true((double)values[i] == (parts - 131070) / 131072);
        assert_true(fabsf(values[i]) < 1);
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    assert_true(fabs(sum / 1000) < 0.05 && fabs(sqrt(squares / 1000) - 0.289) < 0.03);
    int64_t integers[64];
    uint8_t flags[64];
    weir__cli_random_fill(7, "x", WEIR_I64, 64, integers);
    weir__cli_random_fill(7, "x", WEIR_BOOL, 64, flags);
    int64_t ones = 0;
    for (size_t i = 0; i < 64; i++) {
        assert_true(integers[i] == (int64_t)(weir__cli_random_word(7, "x", i) >> 63));
        assert_int_equal(flags[i], integers[i]);
        ones += integers[i];
    }
    assert_in_range((uint64_t)ones, 16, 48);
    float other[4];
    weir__cli_random_fill(7, "y", WEIR_F32, 4, other);
    assert_memory_not_equal(other, values, sizeof(other));
}

// Goal: sizes are checked, and elements of every type read right.
static void dtype_sizes_and_elements(void **state)
{
    static const int64_t large[] = {INT64_MAX, 2}, empty[] = {INT64_MAX, 0, INT64_MAX},
                         bad[] = {0, -1};
    uint64_t bytes = 1;
    char text[48];
    const int64_t integers[] = {INT64_MIN, 9007199254740993};
    const uint64_t unsigned_integers[] = {UINT64_MAX};
    const float reals[] = {1.5f, -2.25f};
    (void)state;
    assert_false(weir__cli_dtype_size(WEIR_U8, 2, large, &bytes));
    assert_false(weir__cli_dtype_size(WEIR_F32, 1, large, &bytes));
    assert_false(weir__cli_dtype_size(WEIR_F32, 2, bad, &bytes));
    assert_true(weir__cli_dtype_size(WEIR_F32, 3, empty, &bytes) && bytes == 0);
    assert_true(weir__cli_dtype_size(WEIR_F64, 0, NULL, &bytes) && bytes == 8);
    assert_int_equal(weir__cli_dtype_bytes(WEIR_STRING), 0);
    assert_int_equal(weir__cli_dtype_bytes(WEIR_F32 | WEIR_F64), 0);
    assert_string_equal(
        weir__cli_dtype_text(WEIR_I64, integers, 0, 5, text, 48), "-9223372036854775808");
    assert_string_equal(
        weir__cli_dtype_text(WEIR_I64, integers, 1, 5, text, 48), "9007199254740993");
    assert_string_equal(
        weir__cli_dtype_text(WEIR_U64, unsigned_integers, 0, 5, text, 48), "18446744073709551615");
    assert_string_equal(weir__cli_dtype_text(WEIR_F32, reals, 1, 5, text, 48), "-2.25");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_stored),
        cmocka_unit_test(options_end_and_help),
        cmocka_unit_test(options_mistakes),
        cmocka_unit_test(options_help_shows_the_table),
        cmocka_unit_test(near_distances),
        cmocka_unit_test(text_is_made_safe),
        cmocka_unit_test(text_table_aligns),
        cmocka_unit_test(text_units),
        cmocka_unit_test(json_is_valid),
        cmocka_unit_test(filenames_are_safe_and_different),
        cmocka_unit_test(halves_round_trip),
        cmocka_unit_test(random_is_as_described),
        cmocka_unit_test(dtype_sizes_and_elements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
