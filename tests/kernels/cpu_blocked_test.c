// Goal:   pools, Pointwise and movement in blocked format do what they mean, with the same bits on
//         every ISA and in any order of their tasks, fill up their last block with zeros whatever
//         comes in, allocate nothing in run(), and refuse what they cannot do.
// Method: nodes built by hand through the plugin's table; every result against double by plain
//         loops over row-major tensors, many shapes.
#include "tests/kernels/cpu_blocked.h"

// -----------------------------------------------------------------------------------------
// Pools

typedef struct pool_case {
    int64_t c, height, width, kernel[2], strides[2], pads[4], dilations[2], counts_pads, ceils;
} pool_case_t;

static void check_pool(const pool_case_t *k, int is_max, int with_nan)
{
    int64_t out[2];
    const int64_t in[2] = {k->height, k->width};
    for (int a = 0; a < 2; a++) {
        const int64_t reach = (k->kernel[a] - 1) * k->dilations[a] + 1;
        const int64_t left = in[a] + k->pads[a] + k->pads[a + 2] - reach;
        out[a] = (left + (k->ceils ? k->strides[a] - 1 : 0)) / k->strides[a] + 1;
        if (k->ceils && (out[a] - 1) * k->strides[a] >= in[a] + k->pads[a])
            out[a]--;
    }
    lot_t x = lot_new(2, k->c, k->height, k->width), y = lot_new(2, k->c, out[0], out[1]);
    if (with_nan) {
        x.rows[x.count / 3] = NAN;
        lot_block(&x);
    }
    bench_t bench;
    bench_init(&bench, is_max ? "MaxPool" : "AveragePool");
    input_add(&bench, tensor_blocks(&x));
    bench.output = tensor_blocks(&y);
    ints_add(&bench, "kernel_shape", k->kernel, 2);
    ints_add(&bench, "strides", k->strides, 2);
    ints_add(&bench, "pads", k->pads, 4);
    ints_add(&bench, "dilations", k->dilations, 2);
    int_add(&bench, "count_include_pad", k->counts_pads);
    int_add(&bench, "ceil_mode", k->ceils);
    bench_run(&bench, is_max ? "cpu.max_pool_f32_blocked" : "cpu.average_pool_f32_blocked");
    double *expected = test_malloc(y.count * sizeof(double));
    FOR_ALL(&y)
    {
        double sum = 0, most = -INFINITY;
        int64_t count = 0;
        for (int64_t ky = 0; ky < k->kernel[0]; ky++)
            for (int64_t kx = 0; kx < k->kernel[1]; kx++) {
                const int64_t in_y = row * k->strides[0] - k->pads[0] + ky * k->dilations[0];
                const int64_t in_x = col * k->strides[1] - k->pads[1] + kx * k->dilations[1];
                if (in_y < 0 || in_y >= k->height || in_x < 0 || in_x >= k->width) {
                    count += k->counts_pads && in_y < k->height + k->pads[2] &&
                             in_x < k->width + k->pads[3];
                    continue;
                }
                const double v = (double)x.rows[row_place(&x, n, c, in_y, in_x)];
                sum += v;
                most = v > most || isnan(v) ? v : most;
                count++;
            }
        expected[row_place(&y, n, c, row, col)] = is_max ? most : sum / (double)count;
    }
    assert_blocks(&y, expected, is_max ? 0 : 1e-5, bench.node.op);
    test_free(expected);
    lot_free(&x);
    lot_free(&y);
}

static void pools_take_windows(void **state)
{
    (void)state;
    static const pool_case_t cases[] = {
        {32, 9, 30, SAME(3), SAME(2), PADS(1), SAME(1), 0, 0},
        {20, 9, 30, SAME(3), SAME(2), PADS(0), SAME(1), 0, 1},
        {16, 7, 7, SAME(7), SAME(1), PADS(0), SAME(1), 0, 0},
        {5, 8, 13, {2, 3}, SAME(1), {0, 1, 1, 2}, {1, 2}, 1, 0},
        {16, 11, 12, SAME(3), SAME(2), PADS(1), SAME(1), 1, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int v = 0; v < 4; v++)
            check_pool(&cases[i], v & 1, v / 2);
}

static void global_pools_take_all(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{16, 7, 7}, {35, 1, 1}, {20, 9, 31}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (int is_max = 0; is_max < 2; is_max++) {
            lot_t x = lot_new(2, sizes[i][0], sizes[i][1], sizes[i][2]);
            lot_t y = lot_new(2, sizes[i][0], 1, 1);
            bench_t bench;
            bench_init(&bench, is_max ? "GlobalMaxPool" : "GlobalAveragePool");
            input_add(&bench, tensor_blocks(&x));
            bench.output = tensor_blocks(&y);
            bench_run(&bench,
                is_max ? "cpu.global_max_pool_f32_blocked" : "cpu.global_average_pool_f32_blocked");
            double *expected = test_malloc(y.count * sizeof(double));
            for (size_t j = 0; j < y.count; j++)
                expected[j] = is_max ? -INFINITY : 0;
            const double pixels = (double)(x.dims[2] * x.dims[3]);
            FOR_ALL(&x)
            {
                double *e = &expected[row_place(&y, n, c, 0, 0)];
                const double v = (double)x.rows[row_place(&x, n, c, row, col)];
                *e = is_max ? fmax(*e, v) : *e + v / pixels;
            }
            assert_blocks(&y, expected, is_max ? 0 : 1e-6, bench.node.op);
            test_free(expected);
            lot_free(&x);
            lot_free(&y);
        }
}

// -----------------------------------------------------------------------------------------
// Pointwise

// sigmoid((x + a) * b + c) - d, with a like x, b a constant [C, 1, 1], c [N, C, 1, 1] and d a
// constant [H, W].
static void check_pointwise(int64_t images, int64_t channels, int64_t height, int64_t width)
{
    static const weir_instruction_t code[] = {{.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32, .a = 0},
        {.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32, .a = 1},
        {.opcode = WEIR_OP_ADD, .dtype = WEIR_F32, .a = 0, .b = 1},
        {.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32, .a = 2},
        {.opcode = WEIR_OP_MUL, .dtype = WEIR_F32, .a = 2, .b = 3},
        {.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32, .a = 3},
        {.opcode = WEIR_OP_ADD, .dtype = WEIR_F32, .a = 4, .b = 5},
        {.opcode = WEIR_OP_SIGMOID, .dtype = WEIR_F32, .a = 6},
        {.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32, .a = 4},
        {.opcode = WEIR_OP_SUB, .dtype = WEIR_F32, .a = 7, .b = 8}};
    static const uint16_t outputs[1] = {9};
    lot_t x = lot_new(images, channels, height, width),
          a = lot_new(images, channels, height, width);
    lot_t b = lot_new(1, channels, 1, 1), c1 = lot_new(images, channels, 1, 1);
    lot_t d = lot_new(1, 1, height, width), y = lot_new(images, channels, height, width);
    bench_t bench;
    bench_init(&bench, "Pointwise");
    input_add(&bench, tensor_blocks(&x));
    input_add(&bench, tensor_blocks(&a));
    input_add(&bench, tensor_last(&b, 3, WEIR_TENSOR_CONSTANT));
    input_add(&bench, tensor_blocks(&c1));
    input_add(&bench, tensor_last(&d, 2, WEIR_TENSOR_CONSTANT));
    bench.output = tensor_blocks(&y);
    bench.expression = (weir_expression_t){.head = WEIR_HEAD(weir_expression_t),
        .instructions = code,
        .instruction_count = 10,
        .operand_count = 5,
        .output_count = 1,
        .outputs = outputs};
    bench.node.body = &bench.expression;
    bench_run(&bench, "cpu.pointwise_blocked");
    double *expected = test_malloc(y.count * sizeof(double));
    FOR_ALL(&y)
    {
        const size_t at = row_place(&y, n, c, row, col);
        const double v = ((double)x.rows[at] + (double)a.rows[at]) * (double)b.rows[c] +
                         (double)c1.rows[n * channels + c];
        expected[at] = 1 / (1 + exp(-v)) - (double)d.rows[row * width + col];
    }
    assert_blocks(&y, expected, 1e-6, "Pointwise");
    // An operand with channels that is row-major and no constant.
    bench.inputs[2].flags = 0;
    assert_true(channels == 1 || bench_refused(&bench, "cpu.pointwise_blocked"));
    test_free(expected);
    lot_t *const all[] = {&x, &a, &b, &c1, &d, &y};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        lot_free(all[i]);
}

static void pointwise_broadcasts(void **state)
{
    (void)state;
    check_pointwise(1, 16, 3, 5);
    check_pointwise(2, 35, 7, 9);
    check_pointwise(2, 5, 40, 33);
    check_pointwise(1, 48, 1, 1);
    check_pointwise(2, 1, 4, 4);
}

// -----------------------------------------------------------------------------------------
// Movement

static void reorder_goes_both_ways(void **state)
{
    (void)state;
    static const int64_t sizes[][4] = {
        {1, 16, 4, 4}, {2, 35, 7, 9}, {3, 1, 5, 5}, {1, 3, 70, 71}, {2, 40, 1, 1}, {1, 17, 1, 16}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        lot_t x = lot_new(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3]);
        lot_t y = lot_new(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3]);
        bench_t bench;
        bench_init(&bench, "Reorder");
        input_add(&bench, tensor_rows(&x, 0));
        bench.output = tensor_blocks(&y);
        bench_run(&bench, "cpu.reorder_f32");
        assert_memory_equal(y.blocks, x.blocks, x.blocked_count * sizeof(float));
        bench.inputs[0] = tensor_blocks(&x);
        bench.output = tensor_rows(&y, 0);
        bench_run(&bench, "cpu.reorder_f32");
        assert_memory_equal(y.rows, x.rows, x.count * sizeof(float));
        bench.output = tensor_blocks(&y);
        assert_true(bench_refused(&bench, "cpu.reorder_f32"));
        lot_free(&x);
        lot_free(&y);
    }
}

static void check_concat(int64_t axis, const int64_t *sizes, uint32_t count)
{
    lot_t parts[4];
    int64_t dims[4] = {2, 19, 5, 6};
    dims[axis] = 0;
    bench_t bench;
    bench_init(&bench, "Concat");
    for (uint32_t i = 0; i < count; i++) {
        int64_t own[4] = {2, 19, 5, 6};
        own[axis] = sizes[i];
        dims[axis] += sizes[i];
        parts[i] = lot_new(own[0], own[1], own[2], own[3]);
        input_add(&bench, tensor_blocks(&parts[i]));
    }
    lot_t y = lot_new(dims[0], dims[1], dims[2], dims[3]);
    bench.output = tensor_blocks(&y);
    int_add(&bench, "axis", axis);
    bench_run(&bench, "cpu.concat_f32_blocked");
    double *expected = test_malloc(y.count * sizeof(double));
    int64_t before = 0;
    for (uint32_t i = 0; i < count; i++) {
        FOR_ALL(&parts[i])
        {
            int64_t at[4] = {n, c, row, col};
            at[axis] += before;
            expected[row_place(&y, at[0], at[1], at[2], at[3])] =
                (double)parts[i].rows[row_place(&parts[i], n, c, row, col)];
        }
        before += sizes[i];
    }
    assert_blocks(&y, expected, 0, "Concat");
    test_free(expected);
    for (uint32_t i = 0; i < count; i++)
        lot_free(&parts[i]);
    lot_free(&y);
}

static void concat_joins_along_any_axis(void **state)
{
    (void)state;
    check_concat(1, (const int64_t[]){32, 16, 5}, 3);
    check_concat(1, (const int64_t[]){24, 24, 24, 24}, 4);
    check_concat(1, (const int64_t[]){3, 20, 1, 7}, 4);
    check_concat(0, (const int64_t[]){1, 2}, 2);
    check_concat(2, (const int64_t[]){1, 4, 2}, 3);
    check_concat(3, (const int64_t[]){5, 1}, 2);
}

static void resize_repeats_pixels(void **state)
{
    (void)state;
    static const int64_t factors[][2] = {{2, 2}, {1, 3}, {4, 1}};
    for (size_t i = 0; i < sizeof(factors) / sizeof(factors[0]); i++) {
        const int64_t fy = factors[i][0], fx = factors[i][1];
        lot_t x = lot_new(2, 20, 5, 7), y = lot_new(2, 20, 5 * fy, 7 * fx);
        lot_t scales = lot_new(1, 1, 1, 4);
        const float values[4] = {1, 1, (float)fy, (float)fx};
        memcpy(scales.rows, values, sizeof(values));
        bench_t bench;
        bench_init(&bench, "Resize");
        input_add(&bench, tensor_blocks(&x));
        input_add(&bench, tensor_last(&scales, 1, WEIR_TENSOR_CONSTANT));
        bench.output = tensor_blocks(&y);
        string_add(&bench, "mode", "nearest");
        string_add(&bench, "coordinate_transformation_mode", "asymmetric");
        string_add(&bench, "nearest_mode", "floor");
        bench_run(&bench, "cpu.resize_f32_blocked");
        double *expected = test_malloc(y.count * sizeof(double));
        FOR_ALL(&y)
        expected[row_place(&y, n, c, row, col)] =
            (double)x.rows[row_place(&x, n, c, row / fy, col / fx)];
        assert_blocks(&y, expected, 0, "Resize");
        bench.attributes[0].s = "linear";
        assert_true(bench_refused(&bench, "cpu.resize_f32_blocked"));
        bench.attributes[0].s = "nearest";
        scales.rows[3] = 1.5f;
        assert_true(bench_refused(&bench, "cpu.resize_f32_blocked"));
        test_free(expected);
        lot_free(&x);
        lot_free(&y);
        lot_free(&scales);
    }
}

int main(void)
{
    if (!blocked_open())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pools_take_windows),
        cmocka_unit_test(global_pools_take_all),
        cmocka_unit_test(pointwise_broadcasts),
        cmocka_unit_test(reorder_goes_both_ways),
        cmocka_unit_test(concat_joins_along_any_axis),
        cmocka_unit_test(resize_repeats_pixels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
