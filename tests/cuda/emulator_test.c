// Goal:   each own CUDA kernel, its body unchanged, computes what kernels/ref says, with the
//         parameters that the operators' plans give it: at odd sizes, at sizes around tiles and
//         blocks, and whatever order threads take between barriers.
// Method: nodes of every operator that has own kernels, run by the emulator (emulator_node.h). At
//         the end every kernel of kernels.inc must have run.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/cuda/emulator_node.h"
#include "tests/support/emulator/emulator.h"

static const weir_dtype_t floats[] = {WEIR_F32, WEIR_F16, WEIR_BF16};
static const weir_dtype_t sizes[] = {WEIR_U8, WEIR_F16, WEIR_F32, WEIR_I64};
static uint32_t seed = 1;

// ---------------------------------------------------------------------------------------------
// Moves
// ---------------------------------------------------------------------------------------------

static void transposes(void **state)
{
    static const int64_t perms[][4] = {{0, 2, 3, 1}, {3, 2, 1, 0}, {1, 0, 2, 3}, {0, 1, 3, 2}};
    test_node_t n;
    (void)state;
    for (uint32_t s = 0; s < 4; s++)
        for (uint32_t p = 0; p < 4; p++) {
            const int dims[4] = {3, 5, 7, 6};
            node_new(&n, "Transpose", seed++);
            node_input(&n, sizes[s], 4, dims[0], dims[1], dims[2], dims[3]);
            node_output(&n, sizes[s], 4, dims[perms[p][0]], dims[perms[p][1]], dims[perms[p][2]],
                dims[perms[p][3]]);
            node_ints(&n, "perm", perms[p], 4);
            node_check(&n, 0);
        }
    // Through tiles, and of more than one tile both ways.
    static const int64_t swap[] = {1, 0}, batch_swap[] = {0, 2, 1};
    static const int shapes[][2] = {{8, 8}, {33, 65}, {64, 32}, {31, 9}};
    for (uint32_t i = 0; i < 4; i++) {
        node_new(&n, "Transpose", seed++);
        node_input(&n, WEIR_F32, 2, shapes[i][0], shapes[i][1]);
        node_output(&n, WEIR_F32, 2, shapes[i][1], shapes[i][0]);
        node_ints(&n, "perm", swap, 2);
        node_check(&n, 0);
        node_new(&n, "Transpose", seed++);
        node_input(&n, WEIR_F32, 3, 3, shapes[i][0], shapes[i][1]);
        node_output(&n, WEIR_F32, 3, 3, shapes[i][1], shapes[i][0]);
        node_ints(&n, "perm", batch_swap, 3);
        node_check(&n, 0);
    }
}

static void slices(void **state)
{
    test_node_t n;
    (void)state;
    for (uint32_t s = 0; s < 4; s++) {
        node_new(&n, "Slice", seed++);
        node_input(&n, sizes[s], 3, 5, 9, 300);
        node_values(&n, 2, 1, -2);
        node_values(&n, 2, 1000, -1000);
        node_values(&n, 2, 2, 1);
        node_values(&n, 2, 3, -2);
        node_output(&n, sizes[s], 3, 5, 4, 100);
        node_check(&n, 0);
        node_new(&n, "Slice", seed++); // rows that are even: pieces of 16 bytes
        node_input(&n, sizes[s], 2, 20, 64);
        node_values(&n, 1, 16);
        node_values(&n, 1, 48);
        node_values(&n, 1, 1);
        node_output(&n, sizes[s], 2, 20, 32);
        node_check(&n, 0);
    }
}

static void joins_and_parts(void **state)
{
    test_node_t n;
    (void)state;
    for (uint32_t s = 0; s < 4; s++) {
        for (int axis = 0; axis < 3; axis++) {
            // Along the axis 3, 4 and 1; elsewhere 5.
            const int at[3] = {axis == 0, axis == 1, axis == 2};
            static const int parts[3] = {3, 4, 1};
            node_new(&n, "Concat", seed++);
            for (uint32_t i = 0; i < 3; i++)
                node_input(&n, sizes[s], 3, at[0] ? parts[i] : 5, at[1] ? parts[i] : 5,
                    at[2] ? parts[i] : 5);
            node_output(&n, sizes[s], 3, at[0] ? 8 : 5, at[1] ? 8 : 5, at[2] ? 8 : 5);
            node_int(&n, "axis", axis);
            node_check(&n, 0);
        }
        node_new(&n, "Split", seed++);
        node_input(&n, sizes[s], 3, 4, 9, 6);
        node_values(&n, 3, 2, 3, 4);
        node_output(&n, sizes[s], 3, 4, 2, 6);
        node_output(&n, sizes[s], 3, 4, 3, 6);
        node_output(&n, sizes[s], 3, 4, 4, 6);
        node_int(&n, "axis", 1);
        node_check(&n, 0);
        node_new(&n, "Expand", seed++);
        node_input(&n, sizes[s], 3, 5, 1, 7);
        node_values(&n, 4, 2, 5, 6, 7);
        node_output(&n, sizes[s], 4, 2, 5, 6, 7);
        node_check(&n, 0);
        node_new(&n, "Tile", seed++);
        node_input(&n, sizes[s], 2, 5, 7);
        node_values(&n, 2, 3, 2);
        node_output(&n, sizes[s], 2, 15, 14);
        node_check(&n, 0);
    }
}

static void pads(void **state)
{
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
    test_node_t n;
    (void)state;
    for (uint32_t s = 0; s < 4; s++)
        for (uint32_t m = 0; m < 4; m++)
            for (int has_value = 0; has_value < 2; has_value++) {
                node_new(&n, "Pad", seed++);
                node_input(&n, sizes[s], 3, 3, 5, 9);
                node_values(&n, 6, 2, -1, 3, 1, 4, -2);
                if (has_value)
                    node_input(&n, sizes[s], 1, 1);
                node_output(&n, sizes[s], 3, 6, 8, 10);
                node_string(&n, "mode", modes[m]);
                node_check(&n, 0);
            }
}

static void gathers(void **state)
{
    test_node_t n;
    (void)state;
    for (uint32_t s = 0; s < 4; s++)
        for (int axis = 0; axis < 3; axis++)
            for (int inner = 1; inner < 20; inner += 3) {
                const int dims[3] = {4, 6, inner};
                const int part[3] = {axis == 0 ? 5 : 4, axis == 1 ? 5 : 6, axis == 2 ? 5 : inner};
                const int least = -dims[axis], most = dims[axis] - 1;
                node_new(&n, "Gather", seed++);
                node_input(&n, sizes[s], 3, dims[0], dims[1], dims[2]);
                node_values(&n, 5, 0, most, least, most / 2, -1);
                node_output(&n, sizes[s], 3, part[0], part[1], part[2]);
                node_int(&n, "axis", axis);
                node_check(&n, 0);
            }
    node_new(&n, "Gather", seed++); // i32, and whole rows of 16 bytes
    node_input(&n, WEIR_F32, 2, 11, 384);
    int32_t *indices = node_input(&n, WEIR_I32, 2, 3, 2);
    for (int i = 0; i < 6; i++)
        indices[i] = i * 2 - 5;
    node_output(&n, WEIR_F32, 3, 3, 2, 384);
    node_int(&n, "axis", 0);
    node_check(&n, 0);
}

static void an_index_out_of_range_is_reported(void **state)
{
    test_node_t n;
    (void)state;
    for (int wrong = -5; wrong <= 4; wrong++) {
        node_new(&n, "Gather", seed++);
        node_input(&n, WEIR_F32, 2, 4, 3);
        node_values(&n, 2, 1, wrong);
        node_output(&n, WEIR_F32, 2, 2, 3);
        node_int(&n, "axis", 0);
        assert_int_equal(node_run(&n, 1), wrong < -4 || wrong > 3);
        node_free(&n);
    }
}

// ---------------------------------------------------------------------------------------------
// Lines
// ---------------------------------------------------------------------------------------------

static const int lengths[] = {1, 2, 7, 31, 32, 33, 64, 65, 127, 129, 513, 1000, 2049, 2300};
#define LENGTHS (sizeof lengths / sizeof lengths[0])

static void softmaxes(void **state)
{
    test_node_t n;
    (void)state;
    for (uint32_t t = 0; t < 3; t++)
        for (uint32_t l = 0; l < LENGTHS; l++)
            for (int is_log = 0; is_log < 2; is_log++) {
                const int inner = l % 3 == 2 ? 3 : 1;
                node_new(&n, is_log ? "LogSoftmax" : "Softmax", seed++);
                float *x = node_input(&n, floats[t], 3, 2, lengths[l], inner);
                if (l % 4 == 3) { // huge, and not there at all
                    node_set(floats[t], x, 0, 60000.0f);
                    node_set(floats[t], x, 1, -INFINITY);
                }
                node_output(&n, floats[t], 3, 2, lengths[l], inner);
                node_int(&n, "axis", 1);
                node_int(&n, "coerce", 0);
                node_check(&n, is_log ? 4e-6 : 1e-6);
            }
    node_new(&n, "Softmax", seed++); // before opset 13, and a NaN
    float *x = node_input(&n, WEIR_F32, 3, 3, 4, 5);
    x[21] = NAN;
    node_output(&n, WEIR_F32, 3, 3, 4, 5);
    node_int(&n, "axis", 1);
    node_int(&n, "coerce", 1);
    node_check(&n, 1e-6);
}

static void norms(void **state)
{
    test_node_t n;
    (void)state;
    for (uint32_t t = 0; t < 3; t++)
        for (uint32_t l = 0; l < LENGTHS; l++) {
            for (int p = 1; p < 3; p++) {
                const int inner = l % 2 ? 2 : 1;
                node_new(&n, "LpNormalization", seed++);
                void *x = node_input(&n, floats[t], 3, 2, lengths[l], inner);
                for (int i = 0; i < lengths[l]; i++) // the second line is of zeros
                    node_set(
                        floats[t], x, (uint64_t)(inner > 1 ? i * 2 + 1 : lengths[l] + i), 0.0f);
                node_output(&n, floats[t], 3, 2, lengths[l], inner);
                node_int(&n, "axis", 1);
                node_int(&n, "p", p);
                node_check(&n, 1e-6);
            }
            node_new(&n, "LayerNormalization", seed++);
            node_input(&n, floats[t], 2, 3, lengths[l]);
            node_input(&n, floats[t], 1, lengths[l]);
            if (l % 3)
                node_input(&n, floats[t], 1, lengths[l]);
            node_output(&n, floats[t], 2, 3, lengths[l]);
            if (l % 2) {
                node_output(&n, WEIR_F32, 2, 3, 1);
                node_output(&n, WEIR_F32, 2, 3, 1);
            }
            node_int(&n, "axis", -1);
            node_float(&n, "epsilon", 1e-3);
            node_check(&n, 4e-5);
        }
}

static void reductions(void **state)
{
    static const char *const ops[] = {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin",
        "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"};
    test_node_t n;
    (void)state;
    for (uint32_t t = 0; t < 3; t++)
        for (uint32_t o = 0; o < 10; o++)
            for (uint32_t axes = t; axes < 16; axes += t ? 3 : 1) {
                const int dims[4] = {3, 5, 2, 67};
                int kept[4], list[4], count = 0;
                for (int d = 0; d < 4; d++) {
                    kept[d] = axes >> d & 1 ? 1 : dims[d];
                    if (axes >> d & 1)
                        list[count++] = d;
                }
                node_new(&n, ops[o], seed++);
                void *x = node_input(&n, floats[t], 4, dims[0], dims[1], dims[2], dims[3]);
                for (uint64_t i = 0; i < n.inputs[0].element_count; i++)
                    if (o == 4 || o == 8) // products stay near 1, sums above 0
                        node_set(floats[t], x, i, 1.0f + ((float)(i % 7) - 3.0f) / 1024);
                if (o == 2 || o == 3)
                    node_set(floats[t], x, 77, NAN);
                if (o == 9)
                    node_set(floats[t], x, 99, axes % 2 ? INFINITY : -INFINITY);
                node_values(&n, (uint32_t)count, list[0], count > 1 ? list[1] : 0,
                    count > 2 ? list[2] : 0, count > 3 ? list[3] : 0);
                node_output(&n, floats[t], 4, kept[0], kept[1], kept[2], kept[3]);
                node_int(&n, "keepdims", 1);
                node_int(&n, "noop_with_empty_axes", axes % 3 == 0);
                if (!count && axes % 3 != 0) {
                    node_free(&n);
                    continue;
                }
                node_check(&n, 2e-4);
            }
}

static void global_pools(void **state)
{
    static const int planes[][2] = {{1, 1}, {7, 7}, {3, 21}, {31, 33}};
    test_node_t n;
    (void)state;
    for (uint32_t t = 0; t < 3; t++)
        for (uint32_t p = 0; p < 4; p++)
            for (int is_max = 0; is_max < 2; is_max++) {
                node_new(&n, is_max ? "GlobalMaxPool" : "GlobalAveragePool", seed++);
                node_input(&n, floats[t], 4, 2, 5, planes[p][0], planes[p][1]);
                node_output(&n, floats[t], 4, 2, 5, 1, 1);
                node_check(&n, 1e-6);
            }
}

// ---------------------------------------------------------------------------------------------
// Windows
// ---------------------------------------------------------------------------------------------

typedef struct window_case {
    int in[2], out[2];
    int64_t kernel[2], strides[2], dilations[2], pads[4];
} window_case_t;

static const window_case_t windows[] = {
    {{7, 9}, {7, 9}, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}},
    {{12, 15}, {6, 8}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}},
    {{13, 11}, {5, 11}, {5, 3}, {2, 1}, {1, 1}, {0, 1, 0, 1}},
    {{10, 17}, {8, 11}, {2, 3}, {1, 1}, {4, 3}, {0, 0, 2, 0}},
    {{5, 5}, {7, 3}, {4, 2}, {1, 2}, {1, 1}, {2, 1, 3, 0}},
};
#define WINDOWS (sizeof windows / sizeof windows[0])

static void say_window(test_node_t *n, const window_case_t *w, int is_pool)
{
    if (is_pool)
        node_ints(n, "kernel_shape", w->kernel, 2);
    node_ints(n, "strides", w->strides, 2);
    node_ints(n, "dilations", w->dilations, 2);
    node_ints(n, "pads", w->pads, 4);
    node_string(n, "auto_pad", "NOTSET");
}

static void pools(void **state)
{
    test_node_t n;
    (void)state;
    for (uint32_t t = 0; t < 3; t++)
        for (uint32_t i = 0; i < WINDOWS; i++)
            for (uint32_t kind = 0; kind < 4; kind++) {
                const window_case_t *w = &windows[i];
                node_new(&n, kind < 2 ? "MaxPool" : "AveragePool", seed++);
                void *x = node_input(&n, floats[t], 4, 2, 3, w->in[0], w->in[1]);
                if (kind == 1)
                    node_set(floats[t], x, 8, NAN);
                node_output(&n, floats[t], 4, 2, 3, w->out[0], w->out[1]);
                if (kind == 1)
                    node_output(&n, WEIR_I64, 4, 2, 3, w->out[0], w->out[1]);
                say_window(&n, w, 1);
                node_int(&n, kind < 2 ? "storage_order" : "count_include_pad", kind & 1);
                node_check(&n, 1e-6);
            }
    static const int64_t three[] = {3}, two[] = {2}, one[] = {1}, none[] = {0, 0};
    node_new(&n, "AveragePool", seed++); // one axis, pads by rule
    node_input(&n, WEIR_F32, 3, 2, 3, 20);
    node_output(&n, WEIR_F32, 3, 2, 3, 10);
    node_ints(&n, "kernel_shape", three, 1);
    node_ints(&n, "strides", two, 1);
    node_ints(&n, "dilations", one, 1);
    node_ints(&n, "pads", none, 2);
    node_string(&n, "auto_pad", "SAME_UPPER");
    node_int(&n, "count_include_pad", 0);
    node_check(&n, 1e-6);
}

static void convolutions(void **state)
{
    // Input and output channels of a group, groups.
    static const int channels[][3] = {{3, 5, 1}, {17, 66, 1}, {2, 3, 4}, {1, 1, 6}, {1, 2, 5}};
    test_node_t n;
    (void)state;
    for (uint32_t t = 0; t < 6; t++) // by the own kernels, then by a library and what follows it
        for (uint32_t i = 0; i < WINDOWS; i++)
            for (uint32_t c = 0; c < 5; c++) {
                const window_case_t *w = &windows[i];
                const weir_dtype_t dtype = floats[t % 3];
                const int in = channels[c][0], out = channels[c][1], groups = channels[c][2];
                // A library rounds to the type before the bias is added.
                const double twice = t < 3 || dtype == WEIR_F32 ? 0
                                     : dtype == WEIR_F16        ? 8e-3
                                                                : 6e-2;
                node_new(&n, "Conv", seed++);
                n.has_conv = t >= 3;
                node_input(&n, dtype, 4, 2, in * groups, w->in[0], w->in[1]);
                node_input(&n, dtype, 4, out * groups, in, (int)w->kernel[0], (int)w->kernel[1]);
                if ((i + c) % 2)
                    node_input(&n, dtype, 1, out * groups);
                node_output(&n, dtype, 4, 2, out * groups, w->out[0], w->out[1]);
                say_window(&n, w, 0);
                node_int(&n, "group", groups);
                node_check(&n, 4e-5 + twice);
            }
}

// ---------------------------------------------------------------------------------------------
// Products
// ---------------------------------------------------------------------------------------------

static void products(void **state)
{
    static const int shapes[][3] = {
        {1, 1, 1}, {5, 7, 3}, {64, 64, 16}, {65, 63, 17}, {1, 130, 33}, {129, 2, 40}};
    test_node_t n;
    (void)state;
    for (uint32_t t = 0; t < 3; t++)
        for (uint32_t i = 0; i < 6; i++) {
            const int m = shapes[i][0], c = shapes[i][1], k = shapes[i][2];
            node_new(&n, "MatMul", seed++);
            node_input(&n, floats[t], 2, m, k);
            node_input(&n, floats[t], 2, k, c);
            node_output(&n, floats[t], 2, m, c);
            node_check(&n, 4e-5);
            for (int how = 0; how < 8; how++) {
                const int flips_a = how & 1, flips_b = how >> 1 & 1;
                node_new(&n, "Gemm", seed++);
                node_input(&n, floats[t], 2, flips_a ? k : m, flips_a ? m : k);
                node_input(&n, floats[t], 2, flips_b ? c : k, flips_b ? k : c);
                if (how == 1)
                    node_input(&n, floats[t], 1, c);
                else if (how == 3)
                    node_input(&n, floats[t], 2, m, 1);
                else if (how == 5)
                    node_input(&n, floats[t], 2, m, c);
                else if (how == 7)
                    node_input(&n, floats[t], 1, 1);
                node_output(&n, floats[t], 2, m, c);
                node_int(&n, "transA", flips_a);
                node_int(&n, "transB", flips_b);
                node_float(&n, "alpha", 0.5);
                node_float(&n, "beta", how == 3 ? 2.0 : 1.0);
                node_check(&n, 4e-5);
            }
        }
}

static void batches(void **state)
{
    test_node_t n;
    (void)state;
    for (uint32_t t = 0; t < 3; t++) {
        node_new(&n, "MatMul", seed++); // each side lacks an axis that the other has
        node_input(&n, floats[t], 4, 2, 1, 5, 9);
        node_input(&n, floats[t], 4, 1, 3, 9, 4);
        node_output(&n, floats[t], 4, 2, 3, 5, 4);
        node_check(&n, 4e-5);
        node_new(&n, "MatMul", seed++); // one B for all
        node_input(&n, floats[t], 3, 3, 25, 9);
        node_input(&n, floats[t], 2, 9, 70);
        node_output(&n, floats[t], 3, 3, 25, 70);
        node_check(&n, 4e-5);
        node_new(&n, "MatMul", seed++); // one A for all
        node_input(&n, floats[t], 2, 4, 6);
        node_input(&n, floats[t], 3, 5, 6, 3);
        node_output(&n, floats[t], 3, 5, 4, 3);
        node_check(&n, 4e-5);
    }
    node_new(&n, "MatMul", seed++); // vectors
    node_input(&n, WEIR_F32, 1, 9);
    node_input(&n, WEIR_F32, 1, 9);
    node_output(&n, WEIR_F32, 0);
    node_check(&n, 4e-5);
    node_new(&n, "MatMul", seed++);
    node_input(&n, WEIR_F32, 3, 2, 5, 9);
    node_input(&n, WEIR_F32, 1, 9);
    node_output(&n, WEIR_F32, 2, 2, 5);
    node_check(&n, 4e-5);
    node_new(&n, "MatMul", seed++);
    node_input(&n, WEIR_F32, 1, 9);
    node_input(&n, WEIR_F32, 3, 2, 9, 4);
    node_output(&n, WEIR_F32, 2, 2, 4);
    node_check(&n, 4e-5);
    node_new(&n, "MatMul", seed++); // the empty sum
    node_input(&n, WEIR_F32, 2, 3, 0);
    node_input(&n, WEIR_F32, 2, 0, 4);
    node_output(&n, WEIR_F32, 2, 3, 4);
    node_check(&n, 0);
}

// ---------------------------------------------------------------------------------------------
// Attention
// ---------------------------------------------------------------------------------------------

typedef struct attention_case {
    int batch, heads, rows, columns, depth, value_depth;
    int mask; // 0: none; 1: [b, 1, 1, t]; 2: [s, t]; 3: the whole
} attention_case_t;

static void say_attention(test_node_t *n, weir_dtype_t dtype, const attention_case_t *c)
{
    node_input(n, dtype, 4, c->batch, c->rows, c->heads, c->depth);
    node_input(n, dtype, 4, c->batch, c->heads, c->depth, c->columns);
    node_input(n, dtype, 4, c->batch, c->columns, c->heads, c->value_depth);
    void *mask = NULL;
    if (c->mask == 1)
        mask = node_input(n, dtype, 4, c->batch, 1, 1, c->columns);
    else if (c->mask == 2)
        mask = node_input(n, dtype, 2, c->rows, c->columns);
    else if (c->mask == 3)
        mask = node_input(n, dtype, 4, c->batch, c->heads, c->rows, c->columns);
    for (uint64_t i = 0; mask && i + 1 < n->inputs[3].element_count; i++)
        if (i % 5 == 1 || (c->mask == 3 && i < (uint64_t)c->columns - 1))
            node_set(dtype, mask, i, -INFINITY); // of row 0, all but the last
    node_output(n, dtype, 4, c->batch, c->rows, c->heads, c->value_depth);
    node_string(n, "q_layout", "bshd");
    node_string(n, "k_layout", "bhds");
    node_string(n, "v_layout", "bshd");
    node_string(n, "y_layout", "bshd");
    node_float(n, "scale", 0.35);
}

static void attentions(void **state)
{
    static const attention_case_t cases[] = {{1, 1, 1, 1, 1, 1, 0}, {2, 3, 17, 33, 32, 32, 1},
        {1, 2, 16, 32, 64, 64, 2}, {2, 2, 15, 65, 33, 40, 3}, {1, 1, 5, 100, 128, 128, 1},
        {1, 2, 37, 31, 7, 97, 0}, {1, 1, 3, 0, 8, 8, 0}, {2, 1, 33, 70, 0, 5, 2}};
    test_node_t n;
    (void)state;
    for (uint32_t t = 0; t < 3; t++)
        for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            node_new(&n, "Attention", seed++);
            say_attention(&n, floats[t], &cases[i]);
            node_check(&n, 4e-6);
        }
    node_new(&n, "Attention", seed++); // one tensor of Q, K and V
    node_input(&n, WEIR_F32, 5, 2, 19, 3, 2, 16);
    for (uint32_t i = 1; i < 3; i++) {
        n.inputs[i] = n.inputs[0];
        n.node.input_count++;
        n.input_memory[i].memory = NULL;
    }
    node_output(&n, WEIR_F32, 4, 2, 2, 19, 16);
    node_string(&n, "q_layout", "bsphd");
    node_string(&n, "k_layout", "bsphd");
    node_string(&n, "v_layout", "bsphd");
    node_string(&n, "y_layout", "bhsd");
    node_int(&n, "q_part", 0);
    node_int(&n, "k_part", 1);
    node_int(&n, "v_part", 2);
    node_float(&n, "scale", 0.25);
    node_check(&n, 4e-6);
}

static void every_kernel_has_run(void **state)
{
    const weir_emulator_kernel_t *kernel;
    uint32_t count = 0;
    (void)state;
    for (; (kernel = weir_emulator_kernel(count)) != NULL; count++)
        if (!node_has_run(kernel->name))
            fail_msg("%s has run in no test", kernel->name);
    print_message("%u kernels\n", count);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transposes),
        cmocka_unit_test(slices),
        cmocka_unit_test(joins_and_parts),
        cmocka_unit_test(pads),
        cmocka_unit_test(gathers),
        cmocka_unit_test(an_index_out_of_range_is_reported),
        cmocka_unit_test(softmaxes),
        cmocka_unit_test(norms),
        cmocka_unit_test(reductions),
        cmocka_unit_test(global_pools),
        cmocka_unit_test(pools),
        cmocka_unit_test(convolutions),
        cmocka_unit_test(products),
        cmocka_unit_test(batches),
        cmocka_unit_test(attentions),
        cmocka_unit_test(every_kernel_has_run),
    };
    if (argc > 1) // one of them alone
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
