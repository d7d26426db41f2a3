// The wire reader: what it accepts, and that damage is refused with the place of the damage.
#include "engine/onnx/wire.h"
#include "tests/unit/onnx_builder.h"

static weir_limits_t limits;

static weir_status_t walk(const void *data, size_t bytes, uint32_t *out_fields)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    weir__span_t span = {.data = data, .bytes = bytes, .offset = 100, .depth = 1};
    *out_fields = 0;
    WEIR_TRY(weir__wire_open(&wire, span, "Thing", &limits));
    for (;;) {
        WEIR_TRY(weir__wire_next(&wire, &field));
        if (!field.number)
            return NULL;
        ++*out_fields;
    }
}

static void expect_text(const void *data, size_t bytes, const char *text)
{
    uint32_t fields;
    weir_status_t status = walk(data, bytes, &fields);
    assert_int_equal(weir_status_code(status), WEIR_INVALID_ARGUMENT);
    if (!strstr(weir_status_message(status), text))
        fail_msg("\"%s\" lacks \"%s\"", weir_status_message(status), text);
    weir_status_free(status);
}

// Goal: every wire type that ONNX uses is walked over, known or not.
static void wire_walks_all_types(void **state)
{
    (void)state;
    message_t message = {0};
    uint32_t fields;
    put_int(&message, 1, -1);
    put_text(&message, 2, "text");
    put_float(&message, 3, 1.5f);
    put_varint(&message, 4 << 3 | 1);
    for (int i = 0; i < 8; i++)
        put_byte(&message, 7);
    put_bytes(&message, 5, "", 0);
    assert_null(walk(message.data, message.count, &fields));
    assert_int_equal(fields, 5);
    free(message.data);
    assert_null(walk("", 0, &fields));
    assert_int_equal(fields, 0);
}

// Goal: a message cut off anywhere inside a field is refused, and between fields it is not.
static void wire_refuses_truncation(void **state)
{
    (void)state;
    message_t message = {0};
    uint32_t fields, accepted = 0;
    put_int(&message, 1, 300);
    put_text(&message, 2, "text");
    put_float(&message, 3, 1.5f);
    for (size_t bytes = 0; bytes <= message.count; bytes++) {
        uint8_t *exact =
            malloc(bytes + 1); // so that the address sanitizer sees a read past the end
        memcpy(exact + 1, message.data, bytes);
        weir_status_t status = walk(exact + 1, bytes, &fields);
        accepted += !status;
        weir_status_free(status);
        free(exact);
    }
    assert_int_equal(accepted, 4);
    free(message.data);
}

// Goal: each kind of damage has a message of its own, with field and byte.
static void wire_names_damage(void **state)
{
    (void)state;
    static const uint8_t cut[] = {0x08, 0x80};
    static const uint8_t overlong[] = {
        0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01};
    static const uint8_t past_64_bits[] = {
        0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    static const uint8_t past_end[] = {0x12, 0x05, 'a'};
    static const uint8_t huge[] = {
        0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
    static const uint8_t group[] = {0x0b};
    static const uint8_t field_0[] = {0x08, 0x01, 0x00, 0x01};
    static const uint8_t fixed[] = {0x0d, 1, 2, 3};
    expect_text(cut, sizeof cut, "Thing: the varint at byte 101 is cut off");
    expect_text(overlong, sizeof overlong, "varint at byte 101 is longer than 64 bits");
    expect_text(past_64_bits, sizeof past_64_bits, "longer than 64 bits");
    expect_text(
        past_end, sizeof past_end, "field 2 at byte 100 has 5 bytes, which run past the end");
    expect_text(huge, sizeof huge, "18446744073709551615 bytes, which run past the end");
    expect_text(group, sizeof group, "field 1 at byte 100 has wire type 3");
    expect_text(field_0, sizeof field_0, "no field number at byte 102");
    expect_text(fixed, sizeof fixed, "field 1 at byte 100 has 4 bytes, which run past the end");
}

// Goal: nesting is bounded.
static void wire_limits_depth(void **state)
{
    (void)state;
    weir__wire_t wire;
    weir__span_t span = {.depth = (uint32_t)limits.wire_depth};
    assert_null(weir__wire_open(&wire, span, "Thing", &limits));
    span.depth++;
    weir_status_t status = weir__wire_open(&wire, span, "Thing", &limits);
    assert_int_equal(weir_status_code(status), WEIR_LIMIT);
    assert_non_null(strstr(weir_status_message(status), "wire_depth (60)"));
    weir_status_free(status);
}

// Goal: packed and single numbers read alike; a packed run that ends inside a number is refused.
static void wire_counts_numbers(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x0a, 0x03, 0x01, 0xac, 0x02, 0x08, 0x07, 0x0a, 0x01, 0x80};
    weir__wire_t wire;
    weir__wire_field_t field;
    uint64_t count, numbers[2];
    assert_null(weir__wire_open(
        &wire, (weir__span_t){.data = bytes, .bytes = sizeof bytes}, "Thing", &limits));
    assert_null(weir__wire_next(&wire, &field));
    assert_null(weir__wire_count(&wire, &field, WEIR__WIRE_VARINT, &count));
    assert_int_equal(count, 2);
    assert_null(weir__wire_numbers(&wire, &field, numbers, 2));
    assert_int_equal(numbers[0], 1);
    assert_int_equal(numbers[1], 300);
    assert_null(weir__wire_next(&wire, &field));
    assert_null(weir__wire_count(&wire, &field, WEIR__WIRE_VARINT, &count));
    assert_int_equal(count, 1);
    assert_null(weir__wire_next(&wire, &field));
    weir_status_t status = weir__wire_count(&wire, &field, WEIR__WIRE_VARINT, &count);
    assert_int_equal(weir_status_code(status), WEIR_INVALID_ARGUMENT);
    weir_status_free(status);
    status = weir__wire_count(&wire, &field, WEIR__WIRE_FIXED32, &count);
    assert_int_equal(weir_status_code(status), WEIR_INVALID_ARGUMENT);
    weir_status_free(status);
}

int main(void)
{
    limits = test_limits();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wire_walks_all_types),
        cmocka_unit_test(wire_refuses_truncation),
        cmocka_unit_test(wire_names_damage),
        cmocka_unit_test(wire_limits_depth),
        cmocka_unit_test(wire_counts_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
