// Goal:   Conv and ConvTranspose in blocked format are the sums that they stand for, with the same
// bits on
//         every ISA and in any order of their tasks, fill up their last block with zeros whatever
//         comes in, allocate nothing in run(), and refuse what they cannot do.
// Method: nodes built by hand through the plugin's table; every result against double by plain
//         loops over row-major tensors, many shapes.
#include "tests/kernels/cpu_blocked.h"

// -----------------------------------------------------------------------------------------
// Conv

typedef enum epilogue {
    EPILOGUE_NONE,
    EPILOGUE_RELU,
    EPILOGUE_ADD_RELU,   // a residual
    EPILOGUE_CLAMP,      // between constant operands
    EPILOGUE_SCALE,      // times [C, 1, 1], plus [N, C, 1, 1], sigmoid
    EPILOGUE_HARD_SWISH, // plus a scalar
    EPILOGUE_AFFINE      // hard swish, times a scalar, plus a scalar
} epilogue_t;

typedef struct conv_case {
    int64_t n, c, height, width, outputs, groups, kernel[2], strides[2], pads[4], dilations[2];
    epilogue_t epilogue;
    int has_bias;
} conv_case_t;

typedef struct extras {
    lot_t residual, scale, shift, low, high;
} extras_t;

static double epilogue_of(
    const conv_case_t *k, const extras_t *e, int64_t n, int64_t c, size_t at, double x)
{
    switch (k->epilogue) {
    case EPILOGUE_NONE:
        return x;
    case EPILOGUE_RELU:
        return x > 0 || isnan(x) ? x : 0;
    case EPILOGUE_ADD_RELU:
        x += (double)e->residual.rows[at];
        return x > 0 || isnan(x) ? x : 0;
    case EPILOGUE_CLAMP:
        return isnan(x) ? x : fmin(fmax(x, (double)e->low.rows[0]), (double)e->high.rows[0]);
    case EPILOGUE_SCALE:
        x = x * (double)e->scale.rows[c] + (double)e->shift.rows[n * k->outputs + c];
        return 1 / (1 + exp(-x));
    case EPILOGUE_AFFINE:
        x *= fmax(0, fmin(1, x / 6 + 0.5));
        return x * (double)e->low.rows[0] + (double)e->high.rows[0];
    default:
        x += (double)e->low.rows[0];
        return x * fmax(0, fmin(1, x / 6 + 0.5));
    }
}

static const weir_instruction_t program_relu[] = {
    {.opcode = WEIR_OP_ANCHOR, .dtype = WEIR_F32}, {.opcode = WEIR_OP_RELU, .dtype = WEIR_F32}};
static const weir_instruction_t program_add_relu[] = {{.opcode = WEIR_OP_ANCHOR, .dtype = WEIR_F32},
    {.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32},
    {.opcode = WEIR_OP_ADD, .dtype = WEIR_F32, .a = 1, .b = 0},
    {.opcode = WEIR_OP_RELU, .dtype = WEIR_F32, .a = 2}};
static const weir_instruction_t program_clamp[] = {{.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32},
    {.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32, .a = 1},
    {.opcode = WEIR_OP_ANCHOR, .dtype = WEIR_F32},
    {.opcode = WEIR_OP_CLAMP, .dtype = WEIR_F32, .a = 2, .b = 0, .c = 1}};
static const weir_instruction_t program_scale[] = {{.opcode = WEIR_OP_ANCHOR, .dtype = WEIR_F32},
    {.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32},
    {.opcode = WEIR_OP_MUL, .dtype = WEIR_F32, .a = 0, .b = 1},
    {.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32, .a = 1},
    {.opcode = WEIR_OP_ADD, .dtype = WEIR_F32, .a = 2, .b = 3},
    {.opcode = WEIR_OP_SIGMOID, .dtype = WEIR_F32, .a = 4}};
static const weir_instruction_t program_hard_swish[] = {
    {.opcode = WEIR_OP_ANCHOR, .dtype = WEIR_F32}, {.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32},
    {.opcode = WEIR_OP_ADD, .dtype = WEIR_F32, .a = 0, .b = 1},
    {.opcode = WEIR_OP_HARD_SWISH, .dtype = WEIR_F32, .a = 2}};
static const weir_instruction_t program_affine[] = {{.opcode = WEIR_OP_ANCHOR, .dtype = WEIR_F32},
    {.opcode = WEIR_OP_HARD_SWISH, .dtype = WEIR_F32}, {.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32},
    {.opcode = WEIR_OP_MUL, .dtype = WEIR_F32, .a = 1, .b = 2},
    {.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32, .a = 1},
    {.opcode = WEIR_OP_ADD, .dtype = WEIR_F32, .a = 4, .b = 3}};

static const struct {
    const weir_instruction_t *code;
    uint32_t count;
} programs[] = {[EPILOGUE_NONE] = {NULL, 0},
    [EPILOGUE_RELU] = {program_relu, 2},
    [EPILOGUE_ADD_RELU] = {program_add_relu, 4},
    [EPILOGUE_CLAMP] = {program_clamp, 4},
    [EPILOGUE_SCALE] = {program_scale, 6},
    [EPILOGUE_HARD_SWISH] = {program_hard_swish, 4},
    [EPILOGUE_AFFINE] = {program_affine, 6}};

static uint16_t last_value; // of the epilogue in use

static void epilogue_add(bench_t *bench, const conv_case_t *k, const extras_t *e)
{
    if (k->epilogue == EPILOGUE_NONE)
        return;
    last_value = (uint16_t)(programs[k->epilogue].count - 1);
    bench->expression = (weir_expression_t){.head = WEIR_HEAD(weir_expression_t),
        .instructions = programs[k->epilogue].code,
        .instruction_count = programs[k->epilogue].count,
        .first_operand = bench->node.input_count,
        .output_count = 1,
        .outputs = &last_value};
    const uint32_t before = bench->node.input_count;
    if (k->epilogue == EPILOGUE_ADD_RELU)
        input_add(bench, tensor_blocks(&e->residual));
    if (k->epilogue == EPILOGUE_SCALE) {
        input_add(bench, tensor_last(&e->scale, 3, WEIR_TENSOR_CONSTANT));
        input_add(bench, tensor_blocks(&e->shift));
    }
    if (k->epilogue == EPILOGUE_CLAMP || k->epilogue == EPILOGUE_HARD_SWISH ||
        k->epilogue == EPILOGUE_AFFINE)
        input_add(bench, tensor_last(&e->low, 0, WEIR_TENSOR_CONSTANT));
    if (k->epilogue == EPILOGUE_CLAMP || k->epilogue == EPILOGUE_AFFINE)
        input_add(bench, tensor_last(&e->high, 0, WEIR_TENSOR_CONSTANT));
    bench->expression.operand_count = bench->node.input_count - before;
    bench->node.epilogue = &bench->expression;
}

// is_first: the input comes row-major. with_nan: a NaN in the middle of it.
static void check_conv(const conv_case_t *k, const char *name, int is_first, int with_nan)
{
    const int64_t reach_y = (k->kernel[0] - 1) * k->dilations[0] + 1;
    const int64_t reach_x = (k->kernel[1] - 1) * k->dilations[1] + 1;
    const int64_t rows = (k->height + k->pads[0] + k->pads[2] - reach_y) / k->strides[0] + 1;
    const int64_t columns = (k->width + k->pads[1] + k->pads[3] - reach_x) / k->strides[1] + 1;
    const int64_t inputs = k->c / k->groups;
    lot_t x = lot_new(k->n, k->c, k->height, k->width);
    lot_t w = lot_new(k->outputs, inputs, k->kernel[0], k->kernel[1]);
    lot_t bias = lot_new(1, 1, 1, k->outputs);
    lot_t y = lot_new(k->n, k->outputs, rows, columns);
    extras_t e = {.residual = lot_new(k->n, k->outputs, rows, columns),
        .scale = lot_new(1, k->outputs, 1, 1),
        .shift = lot_new(k->n, k->outputs, 1, 1),
        .low = lot_new(1, 1, 1, 1),
        .high = lot_new(1, 1, 1, 1)};
    e.low.rows[0] = -0.3f;
    e.high.rows[0] = 0.4f;
    if (with_nan) {
        x.rows[x.count / 2] = NAN;
        lot_block(&x);
    }
    bench_t bench;
    bench_init(&bench, "Conv");
    input_add(&bench, is_first ? tensor_rows(&x, 0) : tensor_blocks(&x));
    input_add(&bench, tensor_rows(&w, WEIR_TENSOR_CONSTANT));
    if (k->has_bias)
        input_add(&bench, tensor_last(&bias, 1, WEIR_TENSOR_CONSTANT));
    bench.output = tensor_blocks(&y);
    int_add(&bench, "group", k->groups);
    ints_add(&bench, "strides", k->strides, 2);
    ints_add(&bench, "pads", k->pads, 4);
    ints_add(&bench, "dilations", k->dilations, 2);
    epilogue_add(&bench, k, &e);
    bench_run(&bench, name);
    double *expected = test_malloc(y.count * sizeof(double));
    const int64_t of_group = k->outputs / k->groups;
    FOR_ALL(&y)
    {
        double sum = k->has_bias ? (double)bias.rows[c] : 0;
        for (int64_t i = 0; i < inputs; i++)
            for (int64_t ky = 0; ky < k->kernel[0]; ky++)
                for (int64_t kx = 0; kx < k->kernel[1]; kx++) {
                    const int64_t in_y = row * k->strides[0] - k->pads[0] + ky * k->dilations[0];
                    const int64_t in_x = col * k->strides[1] - k->pads[1] + kx * k->dilations[1];
                    const int64_t channel = c / of_group * inputs + i;
                    if (in_y >= 0 && in_y < k->height && in_x >= 0 && in_x < k->width)
                        sum += (double)x.rows[row_place(&x, n, channel, in_y, in_x)] *
                               (double)w.rows[row_place(&w, c, i, ky, kx)];
                }
        const size_t at = row_place(&y, n, c, row, col);
        expected[at] = epilogue_of(k, &e, n, c, at, sum);
    }
    const double terms = (double)(inputs * k->kernel[0] * k->kernel[1]);
    assert_blocks(&y, expected, 1e-6 * (terms + 2), name);
    test_free(expected);
    lot_t *const all[] = {&x, &w, &bias, &y, &e.residual, &e.scale, &e.shift, &e.low, &e.high};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        lot_free(all[i]);
}

static void conv_gives_the_sums(void **state)
{
    (void)state;
    static const conv_case_t cases[] = {
        // n, c, height, width, outputs, groups, kernel, strides, pads, dilations, epilogue, bias
        {1, 16, 5, 7, 16, 1, SAME(1), SAME(1), PADS(0), SAME(1), EPILOGUE_NONE, 0},
        {2, 32, 9, 13, 64, 1, SAME(1), SAME(1), PADS(0), SAME(1), EPILOGUE_RELU, 1},
        {2, 35, 9, 13, 70, 1, SAME(1), SAME(1), PADS(0), SAME(1), EPILOGUE_ADD_RELU, 1},
        {1, 24, 11, 8, 40, 1, SAME(1), SAME(2), PADS(0), SAME(1), EPILOGUE_SCALE, 0},
        {1, 5, 6, 6, 3, 1, SAME(1), SAME(1), PADS(0), SAME(1), EPILOGUE_HARD_SWISH, 1},
        {2, 16, 8, 9, 33, 1, SAME(3), SAME(1), PADS(1), SAME(1), EPILOGUE_CLAMP, 1},
        {1, 40, 7, 7, 80, 1, SAME(3), SAME(1), PADS(1), SAME(1), EPILOGUE_ADD_RELU, 0},
        {1, 20, 10, 11, 17, 1, SAME(3), SAME(2), PADS(1), SAME(1), EPILOGUE_SCALE, 1},
        {1, 16, 12, 13, 16, 1, {5, 3}, {1, 2}, {2, 1, 0, 3}, {1, 2}, EPILOGUE_NONE, 1},
        {1, 18, 15, 14, 20, 1, SAME(3), SAME(3), PADS(0), {2, 1}, EPILOGUE_RELU, 0},
        {1, 19, 15, 14, 20, 1, SAME(3), SAME(1), PADS(2), SAME(2), EPILOGUE_NONE, 0},
        {2, 32, 6, 5, 96, 2, SAME(3), SAME(1), PADS(1), SAME(1), EPILOGUE_ADD_RELU, 1},
        {1, 48, 4, 30, 48, 3, SAME(1), SAME(1), PADS(0), SAME(1), EPILOGUE_SCALE, 1},
        {1, 16, 3, 3, 16, 1, SAME(3), SAME(1), PADS(4), SAME(1), EPILOGUE_NONE, 1}, // all padding
        {3, 48, 1, 1, 20, 1, SAME(1), SAME(1), PADS(0), SAME(1), EPILOGUE_RELU, 1},
        {1, 32, 30, 31, 144, 1, SAME(1), SAME(1), PADS(0), SAME(1), EPILOGUE_RELU, 1},
        {1, 16, 29, 28, 80, 1, SAME(3), SAME(1), PADS(1), SAME(1), EPILOGUE_NONE, 0},
        {1, 96, 6, 7, 64, 1, SAME(3), SAME(1), PADS(1), SAME(1), EPILOGUE_RELU, 1}, // two passes
        {1, 24, 7, 9, 23, 1, SAME(1), SAME(1), PADS(0), SAME(1), EPILOGUE_AFFINE, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_conv(&cases[i], "cpu.conv_f32_blocked", 0, 0);
        check_conv(&cases[i], "cpu.conv_f32_blocked", 0, 1);
    }
}

// Its error is larger than the direct way's; the sums are long enough for the same bound.
static void winograd_gives_the_sums(void **state)
{
    (void)state;
    static const conv_case_t cases[] = {
        {2, 32, 13, 17, 64, 1, SAME(3), SAME(1), PADS(1), SAME(1), EPILOGUE_RELU, 1},
        {1, 16, 14, 14, 32, 1, SAME(3), SAME(1), PADS(0), SAME(1), EPILOGUE_NONE, 0},
        {1, 16, 12, 150, 80, 1, SAME(3), SAME(1), {1, 0, 1, 2}, SAME(1), EPILOGUE_ADD_RELU, 1},
        {2, 48, 41, 29, 16, 1, SAME(3), SAME(1), PADS(1), SAME(1), EPILOGUE_CLAMP, 1},
        {1, 32, 12, 133, 48, 1, SAME(3), SAME(1), PADS(1), SAME(1), EPILOGUE_SCALE, 1},
        {1, 32, 14, 14, 144, 1, SAME(3), SAME(1), PADS(3), SAME(1), EPILOGUE_HARD_SWISH, 0},
        {1, 16, 13, 14, 32, 1, SAME(3), SAME(1), PADS(1), SAME(1), EPILOGUE_AFFINE, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_conv(&cases[i], "cpu.conv_f32_winograd", 0, 0);
}

static void first_conv_takes_rows(void **state)
{
    (void)state;
    static const conv_case_t cases[] = {
        {1, 3, 20, 21, 64, 1, SAME(7), SAME(2), PADS(3), SAME(1), EPILOGUE_RELU, 1},
        {2, 3, 9, 10, 20, 1, SAME(3), SAME(2), PADS(1), SAME(1), EPILOGUE_SCALE, 1},
        {1, 1, 9, 10, 16, 1, SAME(3), SAME(1), PADS(1), SAME(2), EPILOGUE_NONE, 0},
        {1, 4, 9, 10, 16, 1, SAME(1), SAME(1), PADS(0), SAME(1), EPILOGUE_CLAMP, 1},
        {1, 3, 9, 10, 20, 1, SAME(3), SAME(2), PADS(1), SAME(1), EPILOGUE_AFFINE, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int with_nan = 0; with_nan < 2; with_nan++)
            check_conv(&cases[i], "cpu.conv_f32_first", 1, with_nan);
}

static void depthwise_gives_the_sums(void **state)
{
    (void)state;
    static const conv_case_t cases[] = {
        {2, 32, 9, 30, 32, 32, SAME(3), SAME(1), PADS(1), SAME(1), EPILOGUE_RELU, 1},
        {1, 40, 9, 30, 40, 40, SAME(5), SAME(1), PADS(2), SAME(1), EPILOGUE_ADD_RELU, 1},
        {1, 24, 13, 12, 24, 24, SAME(5), SAME(2), PADS(2), SAME(1), EPILOGUE_SCALE, 0},
        {1, 17, 13, 12, 17, 17, SAME(3), {2, 1}, PADS(1), SAME(1), EPILOGUE_HARD_SWISH, 1},
        {1, 16, 13, 12, 16, 16, {3, 2}, SAME(1), {1, 0, 0, 1}, SAME(3), EPILOGUE_CLAMP, 0},
        {1, 5, 2, 2, 5, 5, SAME(5), SAME(1), PADS(4), SAME(1), EPILOGUE_NONE, 1},
        {1, 19, 6, 11, 19, 19, SAME(3), SAME(1), PADS(1), SAME(1), EPILOGUE_AFFINE, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int with_nan = 0; with_nan < 2; with_nan++)
            check_conv(&cases[i], "cpu.depthwise_f32_blocked", 0, with_nan);
}

// An image alone has the bits that it has in a batch.
static void check_one_image(const char *name, int64_t inputs, int64_t outputs)
{
    enum { H = 13, W = 14 };
    const int64_t pads[4] = {1, 1, 1, 1};
    lot_t w = lot_new(outputs, inputs, 3, 3), x = lot_new(3, inputs, H, W);
    lot_t y = lot_new(3, outputs, H, W);
    bench_t bench;
    bench_init(&bench, "Conv");
    input_add(&bench, tensor_blocks(&x));
    input_add(&bench, tensor_rows(&w, WEIR_TENSOR_CONSTANT));
    bench.output = tensor_blocks(&y);
    ints_add(&bench, "pads", pads, 4);
    bench_run(&bench, name);
    const size_t x_image = x.blocked_count / 3, y_image = y.blocked_count / 3;
    float *all = test_malloc(y.blocked_count * sizeof(float));
    memcpy(all, y.blocks, y.blocked_count * sizeof(float));
    const int64_t x_dims[4] = {1, inputs, H, W}, y_dims[4] = {1, outputs, H, W};
    bench.inputs[0].dims = x_dims;
    bench.inputs[0].data = x.blocks + 2 * x_image;
    bench.output.dims = y_dims;
    bench.output.bytes /= 3;
    bench_run(&bench, name);
    assert_memory_equal(y.blocks, all + 2 * y_image, y_image * sizeof(float));
    test_free(all);
    lot_free(&w);
    lot_free(&x);
    lot_free(&y);
}

static void conv_gives_one_image_its_bits(void **state)
{
    (void)state;
    check_one_image("cpu.conv_f32_blocked", 24, 40);
    check_one_image("cpu.conv_f32_winograd", 64, 96);
}

static void winograd_along_rows_gives_the_sums(void **state)
{
    (void)state;
    static const conv_case_t cases[] = {
        {2, 64, 131, 1, 80, 1, {5, 1}, SAME(1), {2, 0, 1, 0}, SAME(1), EPILOGUE_RELU, 1},
        {1, 80, 3, 70, 64, 1, {1, 5}, SAME(1), {1, 0, 1, 0}, SAME(1), EPILOGUE_SCALE, 0},
        {1, 64, 2, 413, 64, 1, {1, 3}, SAME(1), {0, 1, 0, 1}, SAME(1), EPILOGUE_ADD_RELU, 1},
        {2, 64, 67, 1, 64, 1, {3, 1}, SAME(1), PADS(0), SAME(1), EPILOGUE_HARD_SWISH, 1},
        {1, 64, 1, 75, 64, 1, {1, 3}, SAME(1), PADS(0), SAME(1), EPILOGUE_AFFINE, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_conv(&cases[i], "cpu.conv_f32_winograd_row", 0, 0);
}

static void winograd_refuses_what_does_not_pay(void **state)
{
    (void)state;
    const int64_t pads[4] = {1, 1, 1, 1}, strides[2] = {2, 2};
    lot_t x = lot_new(1, 32, 14, 14), w = lot_new(64, 32, 3, 3), y = lot_new(1, 64, 14, 14);
    bench_t bench;
    bench_init(&bench, "Conv");
    input_add(&bench, tensor_blocks(&x));
    input_add(&bench, tensor_rows(&w, WEIR_TENSOR_CONSTANT));
    bench.output = tensor_blocks(&y);
    ints_add(&bench, "pads", pads, 4);
    const char *const name = "cpu.conv_f32_winograd";
    assert_false(bench_refused(&bench, name));
    y.dims[2] = -1; // a size that only a run tells
    assert_true(bench_refused(&bench, name));
    y.dims[2] = 7;
    assert_true(bench_refused(&bench, name));
    y.dims[2] = 14;
    w.dims[1] = 40; // no whole blocks
    assert_true(bench_refused(&bench, name));
    w.dims[1] = 1024; // many weights for a small image
    assert_true(bench_refused(&bench, name));
    w.dims[1] = 32;
    ints_add(&bench, "strides", strides, 2);
    assert_true(bench_refused(&bench, name));
    lot_free(&x);
    lot_free(&w);
    lot_free(&y);
}

static void conv_refuses_what_it_cannot(void **state)
{
    (void)state;
    const int64_t negative[4] = {0, 0, -1, 0};
    lot_t x = lot_new(1, 32, 4, 4), w = lot_new(32, 8, 1, 1), y = lot_new(1, 32, 4, 4);
    bench_t bench;
    bench_init(&bench, "Conv");
    input_add(&bench, tensor_blocks(&x));
    input_add(&bench, tensor_rows(&w, WEIR_TENSOR_CONSTANT));
    bench.output = tensor_blocks(&y);
    int_add(&bench, "group", 4); // of 8 channels
    assert_true(bench_refused(&bench, "cpu.conv_f32_blocked"));
    assert_true(bench_refused(&bench, "cpu.depthwise_f32_blocked"));
    bench.attributes[0].i = 1;
    w.dims[1] = 32;
    assert_false(bench_refused(&bench, "cpu.conv_f32_blocked"));
    assert_true(bench_refused(&bench, "cpu.conv_f32_first"));
    bench.inputs[1].flags = 0; // weights that are no constant
    assert_true(bench_refused(&bench, "cpu.conv_f32_blocked"));
    bench.inputs[1].flags = WEIR_TENSOR_CONSTANT;
    bench.output.format = WEIR_FORMAT_ROW_MAJOR;
    assert_true(bench_refused(&bench, "cpu.conv_f32_blocked"));
    bench.output.format = WEIR_FORMAT_NCHW16C;
    bench.inputs[0].format = WEIR_FORMAT_ROW_MAJOR;
    assert_true(bench_refused(&bench, "cpu.conv_f32_blocked"));
    bench.inputs[0].format = WEIR_FORMAT_NCHW16C;
    ints_add(&bench, "pads", negative, 4);
    assert_true(bench_refused(&bench, "cpu.conv_f32_blocked"));
    w.dims[1] = 8;
    lot_free(&x);
    lot_free(&w);
    lot_free(&y);
}

// -----------------------------------------------------------------------------------------
// ConvTranspose

static void check_spread(int64_t images, int64_t inputs, int64_t outputs, int64_t height,
    int64_t width, int64_t factor_y, int64_t factor_x)
{
    const int64_t strides[2] = {factor_y, factor_x};
    lot_t x = lot_new(images, inputs, height, width),
          w = lot_new(inputs, outputs, factor_y, factor_x);
    lot_t bias = lot_new(1, 1, 1, outputs);
    lot_t y = lot_new(images, outputs, height * factor_y, width * factor_x);
    bench_t bench;
    bench_init(&bench, "ConvTranspose");
    input_add(&bench, tensor_blocks(&x));
    input_add(&bench, tensor_rows(&w, WEIR_TENSOR_CONSTANT));
    input_add(&bench, tensor_last(&bias, 1, WEIR_TENSOR_CONSTANT));
    bench.output = tensor_blocks(&y);
    ints_add(&bench, "strides", strides, 2);
    bench_run(&bench, "cpu.deconv_f32_blocked");
    double *expected = test_malloc(y.count * sizeof(double));
    FOR_ALL(&y)
    {
        double sum = (double)bias.rows[c];
        for (int64_t i = 0; i < inputs; i++)
            sum += (double)x.rows[row_place(&x, n, i, row / factor_y, col / factor_x)] *
                   (double)w.rows[row_place(&w, i, c, row % factor_y, col % factor_x)];
        expected[row_place(&y, n, c, row, col)] = sum;
    }
    assert_blocks(&y, expected, 1e-6 * (double)(inputs + 2), "ConvTranspose");
    test_free(expected);
    const int64_t wider[2] = {factor_y + 1, factor_x};
    bench.attributes[0].ints = wider;
    assert_true(bench_refused(&bench, "cpu.deconv_f32_blocked"));
    lot_free(&x);
    lot_free(&w);
    lot_free(&bias);
    lot_free(&y);
}

static void deconv_spreads_its_taps(void **state)
{
    (void)state;
    check_spread(1, 24, 24, 5, 9, 2, 2);
    check_spread(2, 16, 9, 3, 4, 2, 2);
    check_spread(1, 5, 81, 3, 4, 1, 3);
}

int main(void)
{
    if (!blocked_open())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv_gives_the_sums),
        cmocka_unit_test(winograd_gives_the_sums),
        cmocka_unit_test(winograd_along_rows_gives_the_sums),
        cmocka_unit_test(first_conv_takes_rows),
        cmocka_unit_test(depthwise_gives_the_sums),
        cmocka_unit_test(conv_gives_one_image_its_bits),
        cmocka_unit_test(winograd_refuses_what_does_not_pay),
        cmocka_unit_test(conv_refuses_what_it_cannot),
        cmocka_unit_test(deconv_spreads_its_taps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
