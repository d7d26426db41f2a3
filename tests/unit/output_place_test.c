// tests/unit/output_place_test.c: what a caller gives to a run and gets from it, and each way to
// give it wrongly.
#include "tests/unit/engine_world.h"

// out: y = Exp(a) + b; a itself; a constant; y again; rank 0.
static message_t make_many_outputs(void)
{
    static const float numbers[] = {1, 2, 3};
    message_t graph = {0}, keep = {0};
    add_input(&graph, "a", 1, "batch,sequence");
    add_input(&graph, "b", 1, "batch,sequence");
    add_floats(&graph, "k", 3, numbers);
    attribute_int(&keep, "keepdims", 0);
    add_node(&graph, "Exp", "exp", "a", "e", (message_t){0});
    add_node(&graph, "Add", "add", "e,b", "y", (message_t){0});
    add_node(&graph, "ReduceMax", "most", "y", "m", keep);
    add_node(&graph, "Identity", "again", "y", "y2", (message_t){0});
    add_output(&graph, "y");
    add_output(&graph, "a");
    add_output(&graph, "k");
    add_output(&graph, "y2");
    add_output(&graph, "m");
    return graph;
}

enum { OUTPUTS = 5 };

static void check_many_outputs(const weir_value_t *out, const float *a, const float *b, int64_t n)
{
    float y[64], most = -INFINITY;
    for (int64_t i = 0; i < n * 4; i++) {
        y[i] = expf(a[i]) + b[i];
        most = y[i] > most ? y[i] : most;
    }
    expect_dims(&out[0], 2, (const int64_t[]){n, 4});
    expect_floats(&out[0], (size_t)n * 4, y, 1e-6f);
    expect_dims(&out[1], 2, (const int64_t[]){n, 4});
    expect_floats(&out[1], (size_t)n * 4, a, 0);
    expect_floats(&out[2], 3, (const float[]){1, 2, 3}, 0);
    expect_floats(&out[3], (size_t)n * 4, y, 1e-6f);
    expect_dims(&out[4], 0, NULL);
    if (n)
        expect_floats(&out[4], 1, &most, 1e-6f);
}

// Goal:   outputs that are inputs, constants, the same value twice, scalars: as buffers of the
//         caller and as views, alone and mixed, at sizes that grow and shrink.
static void outputs_of_every_kind(void **state)
{
    (void)state;
    world_t world;
    float a[64], b[64], memory[OUTPUTS][64];
    world_open(&world, make_many_outputs(), NULL);
    for (int round = 0; round < 24; round++) {
        int64_t n = (const int64_t[]){1, 16, 2, 7}[round % 4];
        fill_floats(a, 64, (uint64_t)round);
        fill_floats(b, 64, (uint64_t)round + 100);
        weir_value_t in[] = {weir_f32(a, 2, n, 4), weir_f32(b, 2, n, 4)}, out[OUTPUTS];
        for (int i = 0; i < OUTPUTS; i++)
            out[i] = (round >> i & 1) ? weir_view() : weir_f32_out(memory[i], 64);
        expect_ok(weir_session_run(world.session, NULL, 2, in, OUTPUTS, out));
        check_many_outputs(out, a, b, n);
        for (int i = 0; i < OUTPUTS; i++)
            assert_int_equal(out[i].data == memory[i], !(round >> i & 1));
    }
    world_close(&world);
}

// Goal:   nothing is written past the end: the buffer's capacity is exactly what is needed.
static void buffers_are_filled_exactly(void **state)
{
    (void)state;
    world_t world;
    float a[8], b[8], memory[OUTPUTS][10];
    world_open(&world, make_many_outputs(), NULL);
    fill_floats(a, 8, 1);
    fill_floats(b, 8, 2);
    static const size_t needed[] = {8, 8, 3, 8, 1};
    weir_value_t in[] = {weir_f32(a, 2, 2, 4), weir_f32(b, 2, 2, 4)}, out[OUTPUTS];
    memset(memory, 0x5a, sizeof memory);
    for (int i = 0; i < OUTPUTS; i++)
        out[i] = weir_f32_out(&memory[i][1], needed[i]);
    expect_ok(weir_session_run(world.session, NULL, 2, in, OUTPUTS, out));
    check_many_outputs(out, a, b, 2);
    float guard;
    memset(&guard, 0x5a, sizeof guard);
    for (int i = 0; i < OUTPUTS; i++) {
        assert_memory_equal(&memory[i][0], &guard, 4);
        assert_memory_equal(&memory[i][needed[i] + 1], &guard, 4);
    }
    world_close(&world);
}

static void expect_run(
    world_t *world, weir_value_t *out, size_t count, weir_code_t code, const char *text)
{
    static float a[8], b[8];
    weir_value_t in[] = {weir_f32(a, 2, 2, 4), weir_f32(b, 2, 2, 4)};
    expect_status(weir_session_run(world->session, NULL, 2, in, count, out), code, text);
}

// Goal:   a buffer that is too small is refused with the size that it needs, and the dims of every
//         output are there: one failed run tells all sizes.
static void capacity_too_small(void **state)
{
    (void)state;
    world_t world;
    float memory[OUTPUTS][8];
    memset(memory, 0x5a, sizeof memory);
    world_open(&world, make_many_outputs(), NULL);
    weir_value_t out[OUTPUTS];
    for (int i = 0; i < OUTPUTS; i++)
        out[i] = weir_f32_out(memory[i], i == 3 ? 8 : 0);
    out[0].capacity_bytes = 31;
    expect_run(&world, out, OUTPUTS, WEIR_RESOURCE_EXHAUSTED,
        "output \"y\" of model from memory: it needs 32 bytes (its dims are filled in), the buffer "
        "has 31; give a larger one");
    expect_dims(&out[0], 2, (const int64_t[]){2, 4});
    expect_dims(&out[1], 2, (const int64_t[]){2, 4});
    expect_dims(&out[2], 1, (const int64_t[]){3});
    expect_dims(&out[4], 0, NULL);
    assert_int_equal(((unsigned char *)memory[0])[0], 0x5a);
    // The same structs with what they asked for.
    for (int i = 0; i < OUTPUTS; i++)
        out[i].capacity_bytes = weir_value_count(&out[i]) * 4;
    expect_run(&world, out, OUTPUTS, WEIR_OK, "");
    out[2].data = NULL;
    expect_run(&world, out, OUTPUTS, WEIR_RESOURCE_EXHAUSTED,
        "...output \"k\" of model from memory: it needs 12 bytes (its dims are filled in), the "
        "buffer has 0");
    world_close(&world);
}

// Goal:   a wrong dtype, placement or number of outputs is said, and said again.
static void outputs_given_wrongly(void **state)
{
    (void)state;
    world_t world;
    int64_t memory[16];
    world_open(&world, make_many_outputs(), NULL);
    weir_value_t out[OUTPUTS];
    for (int i = 0; i < OUTPUTS; i++)
        out[i] = weir_view();
    for (int twice = 0; twice < 2; twice++) {
        if (!twice)
            out[0] = weir_i64_out(memory, 16);
        expect_run(&world, out, OUTPUTS, WEIR_INVALID_ARGUMENT,
            "output \"y\" of model from memory: it is f32, the buffer given is for i64; give one "
            "for f32");
    }
    out[0] = weir_view();
    out[0].placement = 77;
    expect_run(&world, out, OUTPUTS, WEIR_INVALID_ARGUMENT, "...placement 77 is not known");
    expect_run(&world, out, OUTPUTS - 1, WEIR_INVALID_ARGUMENT,
        "model from memory gives 5 outputs, room for 4 was given; give one weir_value_t per "
        "output");
    expect_run(&world, out, 0, WEIR_INVALID_ARGUMENT, "...room for 0 was given; give one");
    out[0] = weir_view();
    expect_run(&world, out, OUTPUTS, WEIR_OK, "");
    world_close(&world);
}

// ---- Empty and scalar --------------------------------------------------------------------------

// Goal:   a size of 0 runs: nothing is read, nothing written, dims are right.
static void empty_tensors(void **state)
{
    (void)state;
    message_t graph = {0}, axis = {0};
    float w[12];
    fill_floats(w, 12, 1);
    add_input(&graph, "x", 1, "N,4");
    put_message(&graph, 5, raw_tensor("w", 1, 2, (const int64_t[]){4, 3}, w, sizeof w));
    add_node(&graph, "MatMul", "product", "x,w", "p", (message_t){0});
    add_node(&graph, "Relu", "relu", "p", "r", (message_t){0});
    attribute_int(&axis, "axis", 0);
    add_node(&graph, "Concat", "twice", "r,r", "y", axis);
    add_output(&graph, "y");
    world_t world;
    world_open(&world, graph, NULL);
    for (int64_t n = 0; n < 3; n++) {
        float x[8];
        fill_floats(x, 8, 3);
        weir_value_t in[] = {weir_f32(n ? x : NULL, 2, n, 4)}, out[1];
        world_run(&world, 1, in, 1, out);
        expect_dims(out, 2, (const int64_t[]){2 * n, 3});
        out[0] = weir_f32_out(NULL, 0);
        weir_status_t status = weir_session_run(world.session, NULL, 1, in, 1, out);
        assert_int_equal(weir_status_code(status), n ? WEIR_RESOURCE_EXHAUSTED : WEIR_OK);
        weir_status_free(status);
    }
    world_close(&world);
}

// Goal:   rank 0 goes in, through and out.
static void scalars(void **state)
{
    (void)state;
    message_t graph = {0};
    add_input(&graph, "x", 1, "");
    add_node(&graph, "Neg", "neg", "x", "n", (message_t){0});
    add_node(&graph, "Exp", "exp", "n", "y", (message_t){0});
    add_output(&graph, "y");
    world_t world;
    world_open(&world, graph, NULL);
    float x = 0.75f, y = expf(-0.75f);
    weir_value_t in[] = {weir_f32(&x, 0)}, out[1];
    world_run(&world, 1, in, 1, out);
    expect_dims(out, 0, NULL);
    expect_floats(out, 1, &y, 1e-6f);
    world_close(&world);
}

// ---- Inputs ------------------------------------------------------------------------------------

typedef struct input_error {
    const char *text;
    weir_value_t a, b;
    size_t count;
} input_error_t;

// Goal:   each mistake about an input names it, what was found and what was expected.
static void inputs_given_wrongly(void **state)
{
    (void)state;
    world_t world;
    static float x[64];
    weir_value_t good = weir_f32(x, 2, 1, 4), none = weir_f32(NULL, 2, 1, 4);
    weir_value_t short_one = good, crooked = weir_f32((char *)x + 1, 2, 1, 4), deep = good;
    static const int64_t huge[] = {INT64_MAX, INT64_MAX}, minus[] = {-1, 4};
    short_one.capacity_bytes = 15;
    deep.rank = 17;
    const input_error_t errors[] = {
        {"input \"b\" of model from memory: dims [1, 3], expected [batch=1, sequence=4] (batch and "
         "sequence are set by \"a\")",
            good, weir_f32(x, 2, 1, 3), 2},
        {"input \"b\" of model from memory: dims [4], expected [batch=1, sequence=4] (batch and "
         "sequence are set by \"a\")",
            good, weir_f32(x, 1, 4), 2},
        {"input \"a\" of model from memory: dims [4], expected [batch, sequence]",
            weir_f32(x, 1, 4), good, 2},
        {"input \"a\" of model from memory: dims [], expected [batch, sequence]", weir_f32(x, 0),
            good, 2},
        {"input \"a\" of model from memory: dtype i64, expected f32; convert it",
            weir_i64(x, 2, 1, 4), good, 2},
        {"input \"b\" of model from memory: dtype ?, expected f32; convert it", good, weir_view(),
            2},
        {"input \"a\" of model from memory: dims [1, 4] need 16 bytes, its buffer has 15; give the "
         "whole value",
            short_one, good, 2},
        {"input \"a\" of model from memory: dims [1, 4] need 16 bytes, its buffer has 0; give the "
         "whole value",
            none, good, 2},
        {"input \"a\" of model from memory: its buffer is not aligned to its 4-byte elements; copy "
         "it to one that is",
            crooked, good, 2},
        {"input \"a\" of model from memory: dims [-1, 4], expected at most 16 sizes of 0 or more",
            weir_tensor(WEIR_F32, x, 2, minus), good, 2},
        {"...expected at most 16 sizes of 0 or more", weir_tensor(WEIR_F32, x, 2, huge), good, 2},
        {"...expected at most 16 sizes of 0 or more", deep, good, 2},
        {"model from memory takes 2 inputs, 1 were given; the first missing one is \"b\"", good,
            good, 1},
        {"model from memory takes 2 inputs, 0 were given; the first missing one is \"a\"", good,
            good, 0},
        {"model from memory takes 2 inputs, 3 were given", good, good, 3},
    };
    world_open(&world, make_many_outputs(), NULL);
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        weir_value_t in[] = {errors[i].a, errors[i].b, errors[i].b}, out[OUTPUTS];
        for (int o = 0; o < OUTPUTS; o++)
            out[o] = weir_view();
        expect_status(weir_session_run(world.session, NULL, errors[i].count, in, OUTPUTS, out),
            WEIR_INVALID_ARGUMENT, errors[i].text);
    }
    assert_int_equal(world_info(&world).run_count, 0);
    world_close(&world);
}

// Goal:   who set which name is told apart when it was not one input.
static void names_set_by_several(void **state)
{
    (void)state;
    message_t graph = {0};
    add_input(&graph, "a", 1, "batch");
    add_input(&graph, "b", 1, "width");
    add_input(&graph, "c", 1, "batch,width,batch");
    add_node(&graph, "Neg", "n", "c", "y", (message_t){0});
    add_output(&graph, "y");
    world_t world;
    float x[64] = {0};
    world_open(&world, graph, NULL);
    weir_value_t in[] = {weir_f32(x, 1, 2), weir_f32(x, 1, 3), weir_f32(x, 3, 2, 3, 4)}, out[1];
    out[0] = weir_view();
    expect_status(weir_session_run(world.session, NULL, 3, in, 1, out), WEIR_INVALID_ARGUMENT,
        "input \"c\" of model from memory: dims [2, 3, 4], expected [batch=2, width=3, batch=2] "
        "(batch is set by \"a\", width is set by \"b\")");
    world_close(&world);
}

// Goal:   a name that one input has twice is one size, whoever else has it.
static void name_twice_in_one_input(void **state)
{
    (void)state;
    message_t graph = {0};
    add_input(&graph, "x", 1, "3,side,side");
    add_node(&graph, "Neg", "n", "x", "y", (message_t){0});
    add_output(&graph, "y");
    world_t world;
    float x[64] = {0};
    world_open(&world, graph, NULL);
    weir_value_t in[] = {weir_f32(x, 3, 3, 4, 5)}, out[1] = {weir_view()};
    expect_status(weir_session_run(world.session, NULL, 1, in, 1, out), WEIR_INVALID_ARGUMENT,
        "input \"x\" of model from memory: dims [3, 4, 5], expected [3, side=4, side=4] (side is "
        "set by \"x\")");
    in[0] = weir_f32(x, 3, 2, 4, 4);
    expect_status(weir_session_run(world.session, NULL, 1, in, 1, out), WEIR_INVALID_ARGUMENT,
        "input \"x\" of model from memory: dims [2, 4, 4], expected [3, side, side]");
    in[0] = weir_f32(x, 3, 3, 4, 4);
    expect_ok(weir_session_run(world.session, NULL, 1, in, 1, out));
    world_close(&world);
}

// Goal:   however many names there are, each one is held to what the first input made of it.
static void names_beyond_count(void **state)
{
    (void)state;
    enum { NAMES = 100 };
    message_t graph = {0};
    weir_value_t in[NAMES + 1], out[1] = {weir_view()};
    float x[4] = {0};
    char name[NAMES][16], size[NAMES][16];
    for (int i = 0; i < NAMES; i++) {
        snprintf(name[i], sizeof name[i], "x%d", i);
        snprintf(size[i], sizeof size[i], "size%d", i);
        add_input(&graph, name[i], 1, size[i]);
        in[i] = weir_f32(x, 1, 2);
    }
    add_input(&graph, "last", 1, size[NAMES - 1]);
    add_node(&graph, "Neg", "n", "last", "y", (message_t){0});
    add_output(&graph, "y");
    world_t world;
    world_open(&world, graph, NULL);
    in[NAMES] = weir_f32(x, 1, 3);
    expect_status(weir_session_run(world.session, NULL, NAMES + 1, in, 1, out),
        WEIR_INVALID_ARGUMENT,
        "input \"last\" of model from memory: dims [3], expected [size99=2] (size99 is set by "
        "\"x99\")");
    in[NAMES] = weir_f32(x, 1, 2);
    expect_ok(weir_session_run(world.session, NULL, NAMES + 1, in, 1, out));
    world_close(&world);
}

// ---- Time --------------------------------------------------------------------------------------

// Goal:   a deadline that has passed and a flag that is up end a run before its first operator; a
//         deadline that is far and a flag that is down do not.
static void ended_between_operators(void **state)
{
    (void)state;
    world_t world;
    weir_cancel_t *cancel;
    float a[8] = {0};
    world_open(&world, make_many_outputs(), NULL);
    expect_ok(weir_cancel_create(&cancel));
    weir_value_t in[] = {weir_f32(a, 2, 2, 4), weir_f32(a, 2, 2, 4)}, out[OUTPUTS];
    for (int o = 0; o < OUTPUTS; o++)
        out[o] = weir_view();
    weir_run_options_t options = {
        .size = sizeof options, .deadline_ns = weir_now_ns() + 3600000 * WEIR_MS, .cancel = cancel};
    expect_ok(weir_session_run(world.session, &options, 2, in, OUTPUTS, out));
    assert_true(world_info(&world).step_count > 0);
    options.deadline_ns = weir_now_ns();
    expect_status(weir_session_run(world.session, &options, 2, in, OUTPUTS, out),
        WEIR_DEADLINE_EXCEEDED, "...allow more time");
    assert_int_equal(world_info(&world).step_count, 0);
    options.deadline_ns = 0;
    expect_ok(weir_session_run(world.session, &options, 2, in, OUTPUTS, out));
    weir_cancel_trigger(cancel);
    expect_status(weir_session_run(world.session, &options, 2, in, OUTPUTS, out), WEIR_CANCELLED,
        "the run was cancelled by its caller");
    assert_int_equal(world_info(&world).step_count, 0);
    weir_cancel_free(cancel);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_of_every_kind),
        cmocka_unit_test(buffers_are_filled_exactly),
        cmocka_unit_test(capacity_too_small),
        cmocka_unit_test(outputs_given_wrongly),
        cmocka_unit_test(empty_tensors),
        cmocka_unit_test(scalars),
        cmocka_unit_test(inputs_given_wrongly),
        cmocka_unit_test(names_set_by_several),
        cmocka_unit_test(name_twice_in_one_input),
        cmocka_unit_test(names_beyond_count),
        cmocka_unit_test(ended_between_operators),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
