// Goal:   Attention is right: the reference kernel and weir_cpu.so on each ISA against double by
//         plain loops, in every layout, with every kind of mask; the CPU's bits are the same on
//         every ISA, in any order of tasks, and alone or in a batch; nothing is allocated in run().
// Method: nodes built by hand. The bound is 2^-24 times (16 + D + T) sums of magnitudes: one
//         rounding for each term of the two sums, and the softmax's own budget.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/cpu/cpu.h"
#include "kernels/ref/ref.h"
#include "tests/kernels/cpu_host.h"

#define ISA_COUNT 3
static const char *const isa_names[ISA_COUNT] = {"plain", "avx2", "avx512"};
static cpu_host_t hosts[ISA_COUNT];
static const weir_plugin_t *plugins[ISA_COUNT]; // NULL: not on this machine

static uint32_t random_state = 11;
static float random_float(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (float)(random_state >> 8) / 8388608.0f - 1.0f;
}

// Sizes, layouts and a mask of dims m[0..3] over [b, h, s, t] (0: none; else 1 or the size).
typedef struct shape {
    int64_t b, h, s, t, d, dv;
    const char *layouts[4];
    int64_t parts[3];
    int mask; // bit i: the mask has axis i of b, h, s, t; -1: no mask
    double scale;
} shape_t;

typedef struct problem {
    shape_t shape;
    weir_node_t node;
    weir_tensor_t inputs[4], outputs[1];
    weir_attribute_t attributes[8];
    int64_t dims[5][5];
    float *data[5];
    double *expected, *bound;
} problem_t;

static int64_t size_of(const shape_t *shape, int which, char letter)
{
    return letter == 'b'   ? shape->b
           : letter == 'h' ? shape->h
           : letter == 's' ? (which == 1 || which == 2 ? shape->t : shape->s)
           : letter == 'd' ? (which >= 2 ? shape->dv : shape->d)
                           : 3;
}

static uint64_t offset_of(const problem_t *p, int which, int64_t b, int64_t h, int64_t s, int64_t d)
{
    const char *layout = p->shape.layouts[which];
    uint64_t offset = 0;
    for (int i = 0; layout[i]; i++) {
        const int64_t at = layout[i] == 'b'   ? b
                           : layout[i] == 'h' ? h
                           : layout[i] == 's' ? s
                           : layout[i] == 'd' ? d
                                              : p->shape.parts[which];
        offset = offset * (uint64_t)size_of(&p->shape, which, layout[i]) + (uint64_t)at;
    }
    return offset;
}

static uint64_t mask_offset(const problem_t *p, const int64_t at[4])
{
    const int64_t sizes[4] = {p->shape.b, p->shape.h, p->shape.s, p->shape.t};
    uint64_t offset = 0;
    for (int i = 0; i < 4; i++)
        if (p->shape.mask & (1 << i))
            offset = offset * (uint64_t)sizes[i] + (uint64_t)at[i];
    return offset;
}

static void expect_row(problem_t *p, double *weights, int64_t b, int64_t h, int64_t s)
{
    const shape_t *shape = &p->shape;
    double greatest = -INFINITY, sum = 0, magnitude = 0;
    for (int64_t t = 0; t < shape->t; t++) {
        double score = 0, size = 0;
        for (int64_t d = 0; d < shape->d; d++) {
            const double product = (double)p->data[0][offset_of(p, 0, b, h, s, d)] *
                                   (double)p->data[1][offset_of(p, 1, b, h, t, d)];
            score += product;
            size += fabs(product);
        }
        score *= (double)(float)shape->scale;
        size *= fabs(shape->scale);
        if (shape->mask >= 0)
            score += (double)p->data[3][mask_offset(p, (int64_t[]){b, h, s, t})];
        weights[t] = score;
        greatest = fmax(greatest, score);
        // The difference to the greatest is rounded too; below e^-30 a weight counts for nothing.
        magnitude = fmax(magnitude, size);
    }
    for (int64_t t = 0; t < shape->t; t++)
        sum += weights[t] = exp(weights[t] - greatest);
    for (int64_t d = 0; d < shape->dv; d++) {
        double y = 0, size = 0;
        for (int64_t t = 0; t < shape->t; t++) {
            const double product =
                weights[t] / sum * (double)p->data[2][offset_of(p, 2, b, h, t, d)];
            y += product;
            size += fabs(product);
        }
        const uint64_t at = offset_of(p, 3, b, h, s, d);
        p->expected[at] = shape->t ? y : 0;
        p->bound[at] = ldexp((16 + (double)(shape->d + shape->t)) * (1 + magnitude) * size, -24);
    }
}

static void *room(uint64_t count, size_t bytes)
{
    return test_calloc(count + 1, bytes);
}

static void problem_begin(problem_t *p, const shape_t *shape)
{
    static const char *const names[8] = {
        "q_layout", "k_layout", "v_layout", "y_layout", "q_part", "k_part", "v_part", "scale"};
    memset(p, 0, sizeof(*p));
    p->shape = *shape;
    for (int i = 0; i < 8; i++)
        p->attributes[i] = (weir_attribute_t){.name = names[i],
            .type = i < 4   ? WEIR_ATTR_STRING
                    : i < 7 ? WEIR_ATTR_INT
                            : WEIR_ATTR_FLOAT,
            .s = i < 4 ? shape->layouts[i] : NULL,
            .i = i >= 4 && i < 7 ? shape->parts[i - 4] : 0,
            .f = shape->scale};
    for (int i = 0; i < 5; i++) { // Q, K, V, Y, mask
        weir_tensor_t *tensor = i == 3 ? &p->outputs[0] : &p->inputs[i == 4 ? 3 : i];
        const int64_t sizes[4] = {shape->b, shape->h, shape->s, shape->t};
        uint32_t rank = 0;
        for (int axis = 0; i == 4 && axis < 4; axis++)
            p->dims[i][rank++] = shape->mask >= 0 && shape->mask & (1 << axis) ? sizes[axis] : 1;
        for (int axis = 0; i < 4 && shape->layouts[i][axis]; axis++)
            p->dims[i][rank++] = size_of(shape, i, shape->layouts[i][axis]);
        *tensor = (weir_tensor_t){
            .dtype = WEIR_F32, .rank = rank, .dims = p->dims[i], .element_count = 1};
        for (uint32_t axis = 0; axis < rank; axis++)
            tensor->element_count *= (uint64_t)p->dims[i][axis];
        tensor->bytes = tensor->element_count * sizeof(float);
        float *data = tensor->data = room(tensor->element_count, sizeof(float));
        p->data[i == 3 ? 4 : i == 4 ? 3 : i] = data;
        for (uint64_t e = 0; e < tensor->element_count; e++)
            data[e] = random_float() * (i == 4 ? 8.0f : 2.0f);
        data[tensor->element_count] = 77.0f; // a fence
    }
    p->node = (weir_node_t){.head = WEIR_HEAD(weir_node_t),
        .op = "Attention",
        .origin = "test",
        .revision = 1,
        .input_count = shape->mask >= 0 ? 4 : 3,
        .output_count = 1,
        .attribute_count = 8,
        .inputs = p->inputs,
        .outputs = p->outputs,
        .attributes = p->attributes};
    p->expected = room(p->outputs[0].element_count, sizeof(double));
    p->bound = room(p->outputs[0].element_count, sizeof(double));
}

static void problem_expect(problem_t *p)
{
    double *weights = room((uint64_t)p->shape.t, sizeof(*weights));
    for (int64_t b = 0; b < p->shape.b; b++)
        for (int64_t h = 0; h < p->shape.h; h++)
            for (int64_t s = 0; s < p->shape.s; s++)
                expect_row(p, weights, b, h, s);
    test_free(weights);
}

static void problem_end(problem_t *p)
{
    for (int i = 0; i < 5; i++)
        test_free(p->data[i]);
    test_free(p->expected);
    test_free(p->bound);
}

static void run_cpu(problem_t *p, int isa, uint64_t order)
{
    cpu_prepared_t prepared;
    const weir_kernel_t *kernel = cpu_host_kernel(plugins[isa], "Attention");
    assert_non_null(kernel);
    if (cpu_host_prepare(&hosts[isa], kernel, &p->node, &prepared) != WEIR_OK)
        fail_msg("%s: %s", isa_names[isa], hosts[isa].message);
    memset(p->data[4], 0xff, p->outputs[0].bytes);
    assert_int_equal(cpu_host_run(&prepared, order), WEIR_OK);
    cpu_host_release(&prepared);
    assert_int_equal(hosts[isa].fault_count, 0);
    assert_int_equal(hosts[isa].live_count, 0);
}

// The reference kernel, one task a call, last one first. Tensors pass as they are (backends/ref).
static void run_ref(problem_t *p)
{
    weir_kr_params_t params = {.attention = {.scale = p->shape.scale}};
    for (int i = 0; i < 4; i++)
        strcpy(params.attention.layouts[i], p->shape.layouts[i]);
    memcpy(params.attention.parts, p->shape.parts, sizeof p->shape.parts);
    weir_kr_tensor_t inputs[4], outputs[1];
    memcpy(inputs, p->inputs, sizeof inputs);
    memcpy(outputs, p->outputs, sizeof outputs);
    char error[200] = "";
    weir_kr_call_t call = {.inputs = inputs,
        .outputs = outputs,
        .input_count = p->node.input_count,
        .output_count = 1,
        .params = &params,
        .count = 1,
        .error = error,
        .error_bytes = sizeof error};
    weir_kr_plan_t plan;
    weir_kr_plan_attention(&call, &plan);
    call.scratch = room(plan.scratch_bytes, 1);
    memset(p->data[4], 0xff, p->outputs[0].bytes);
    for (call.first = plan.task_count; call.first-- > 0;)
        if (weir_k_attention__ref(&call))
            fail_msg("%s", error);
    test_free(call.scratch);
}

static void check(const problem_t *p, const char *who, double units)
{
    for (uint64_t i = 0; i < p->outputs[0].element_count; i++) {
        const double found = (double)p->data[4][i], wanted = p->expected[i];
        const double bound = units * p->bound[i] + ldexp(fabs(wanted), -24) + 1e-37;
        if (!(fabs(found - wanted) <= bound))
            fail_msg("%s: b %d h %d s %d t %d d %d dv %d: element %d is %g, not %g", who,
                (int)p->shape.b, (int)p->shape.h, (int)p->shape.s, (int)p->shape.t, (int)p->shape.d,
                (int)p->shape.dv, (int)i, found, wanted);
    }
    assert_true(p->data[4][p->outputs[0].element_count] == 77.0f);
}

static void check_shape(const shape_t *shape)
{
    problem_t p;
    problem_begin(&p, shape);
    problem_expect(&p);
    run_ref(&p);
    check(&p, "ref", 0);
    float *first = NULL;
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        for (uint64_t order = 0; plugins[isa] && order < 3; order++) {
            run_cpu(&p, isa, order);
            check(&p, isa_names[isa], 1);
            if (!first) {
                first = room(p.outputs[0].element_count, sizeof(float));
                memcpy(first, p.data[4], p.outputs[0].bytes);
            }
            assert_memory_equal(first, p.data[4], p.outputs[0].bytes);
        }
    }
    test_free(first);
    problem_end(&p);
}

static const int64_t lengths[] = {1, 2, 11, 12, 13, 15, 16, 17, 31, 33, 64, 65, 100};
static const int64_t widths[] = {1, 3, 15, 16, 17, 32, 33, 64, 70};
#define PICK(list, i) (list)[(i) % (sizeof(list) / sizeof((list)[0]))]

static void lengths_and_widths(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 60; i++)
        check_shape(&(shape_t){.b = 1 + i % 2,
            .h = 1 + i % 3,
            .s = PICK(lengths, i),
            .t = PICK(lengths, 7 * i + 3),
            .d = PICK(widths, 5 * i),
            .dv = PICK(widths, 4 * i + 2),
            .layouts = {"bhsd", "bhsd", "bhsd", "bhsd"},
            .mask = i % 3 ? (int)(i % 16) : -1,
            .scale = i % 2 ? 0.25 : 1.0});
}

static void layouts(void **state)
{
    (void)state;
    static const char *const some[] = {
        "bhsd", "bshd", "bhds", "bsphd", "pbhsd", "dshb", "bphds", "sbhdp", "hbsd"};
    static const char *const results[] = {"bhsd", "bshd", "sbhd", "hbsd"};
    for (uint32_t i = 0; i < 36; i++)
        check_shape(&(shape_t){.b = 2,
            .h = 3,
            .s = 13 + i % 3 * 20,
            .t = 18,
            .d = 5,
            .dv = i % 2 ? 32 : 7,
            .layouts = {PICK(some, i), PICK(some, i / 2 + 3), PICK(some, i / 3 + 5),
                PICK(results, i)},
            .parts = {2, i % 3, 1},
            .mask = (int)(i % 16),
            .scale = 0.5});
    check_shape(&(shape_t){.b = 1,
        .h = 1,
        .s = 20,
        .t = 9,
        .d = 4,
        .dv = 6,
        .layouts = {"sd", "ds", "sd", "sd"},
        .mask = 8,
        .scale = 1});
    check_shape(&(shape_t){.b = 1,
        .h = 4,
        .s = 20,
        .t = 9,
        .d = 4,
        .dv = 6,
        .layouts = {"hsd", "shd", "hsd", "shd"},
        .mask = -1,
        .scale = -1});
}

// Goal:   many rows in blocks of their own; a row distance of 4 KiB; keys past a cache block; and
//         nothing at all.
static void ends(void **state)
{
    (void)state;
    shape_t shape = {.b = 1,
        .h = 2,
        .s = 500,
        .t = 530,
        .d = 8,
        .dv = 8,
        .layouts = {"bshd", "bshd", "bshd", "bshd"},
        .mask = 8,
        .scale = 0.375};
    check_shape(&shape);
    shape = (shape_t){.b = 1,
        .h = 16,
        .s = 14,
        .t = 1024,
        .d = 64,
        .dv = 64,
        .layouts = {"bshd", "bshd", "bshd", "bshd"},
        .mask = -1,
        .scale = 0.125};
    check_shape(&shape);
    for (int which = 0; which < 6; which++) {
        shape = (shape_t){.b = which != 0,
            .h = which != 1,
            .s = which == 2 ? 0 : 13,
            .t = which == 3 ? 0 : 5,
            .d = which == 4 ? 0 : 4,
            .dv = which == 5 ? 0 : 4,
            .layouts = {"bshd", "bhsd", "bhsd", "bhsd"},
            .mask = 4,
            .scale = 1};
        check_shape(&shape);
    }
}

// Goal:   a row of a batch has the bits that it has alone.
static void alone_as_in_a_batch(void **state)
{
    (void)state;
    problem_t many, one;
    shape_t shape = {.b = 5,
        .h = 3,
        .s = 37,
        .t = 29,
        .d = 15,
        .dv = 33,
        .layouts = {"bshd", "bshd", "bshd", "bshd"},
        .mask = 9,
        .scale = 0.4};
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        if (!plugins[isa])
            continue;
        problem_begin(&many, &shape);
        run_cpu(&many, isa, 1);
        for (int64_t b = 0; b < shape.b; b++) {
            shape_t alone = shape;
            alone.b = 1;
            problem_begin(&one, &alone);
            for (int i = 0; i < 4; i++)
                memcpy(one.data[i], many.data[i] + (uint64_t)b * one.inputs[i].element_count,
                    one.inputs[i].bytes);
            run_cpu(&one, isa, 0);
            assert_memory_equal(one.data[4],
                many.data[4] + (uint64_t)b * one.outputs[0].element_count, one.outputs[0].bytes);
            problem_end(&one);
        }
        problem_end(&many);
    }
}

// Goal:   minus infinity masks a key out whatever V is not; a row of nothing but that is NaN; a NaN
//         stays in its own row and head.
static void infinities(void **state)
{
    (void)state;
    shape_t shape = {.b = 1,
        .h = 2,
        .s = 14,
        .t = 21,
        .d = 4,
        .dv = 9,
        .layouts = {"bhsd", "bhsd", "bhsd", "bhsd"},
        .mask = 12,
        .scale = 1};
    for (int who = -1; who < ISA_COUNT; who++) {
        if (who >= 0 && !plugins[who])
            continue;
        problem_t p;
        problem_begin(&p, &shape);
        for (int64_t t = 0; t < shape.t; t++) {
            p.data[3][2 * shape.t + t] = t % 2 ? -INFINITY : 0.0f;
            p.data[3][5 * shape.t + t] = -INFINITY;
        }
        p.data[0][offset_of(&p, 0, 0, 1, 7, 1)] = NAN;
        problem_expect(&p);
        if (who < 0)
            run_ref(&p);
        else
            run_cpu(&p, who, 1);
        for (int64_t h = 0; h < shape.h; h++)
            for (int64_t s = 0; s < shape.s; s++)
                for (int64_t d = 0; d < shape.dv; d++) {
                    const uint64_t at = offset_of(&p, 3, 0, h, s, d);
                    const double found = (double)p.data[4][at];
                    if (s == 5 || (s == 7 && h == 1))
                        assert_true(isnan(found));
                    else
                        assert_true(fabs(found - p.expected[at]) <= 1e-5);
                }
        problem_end(&p);
    }
}

// Goal:   the softmax kernel alone: its sum and its elements, in the bits of every ISA.
static void attend(void **state)
{
    (void)state;
    enum { MOST = 200 };
    static const struct {
        const char *isa;
        const weir_k_table_t *table;
    } tables[ISA_COUNT] = {{"plain", &weir_k_table__plain}, {"avx2", &weir_k_table__avx2},
        {"avx512", &weir_k_table__avx512}};
    float x[MOST + 1], mask[MOST + 1], y[ISA_COUNT][MOST + 1];
    for (size_t count = 1; count <= MOST; count++)
        for (int kind = 0; kind < 3; kind++) {
            float sums[ISA_COUNT] = {0};
            double greatest = -INFINITY, sum = 0;
            for (size_t i = 0; i <= MOST; i++) {
                x[i] = 4 * random_float();
                mask[i] = 4 * random_float();
            }
            for (size_t i = 0; i < count; i++)
                greatest = fmax(
                    greatest, 0.5 * (double)x[i] + (kind ? (double)mask[kind == 1 ? 0 : i] : 0));
            for (int t = 0; t < ISA_COUNT; t++) {
                if (!plugins[t])
                    continue;
                memcpy(y[t], x, sizeof x);
                sums[t] =
                    tables[t].table->attend_f32(count, 0.5f, kind ? mask : NULL, kind == 2, y[t]);
                assert_memory_equal(y[t], y[0], sizeof x);
                assert_memory_equal(&sums[t], &sums[0], sizeof sums[0]);
            }
            for (size_t i = 0; i < count; i++) {
                const double e = exp(
                    0.5 * (double)x[i] + (kind ? (double)mask[kind == 1 ? 0 : i] : 0) - greatest);
                assert_true(fabs((double)y[0][i] - e) <= ldexp(16 * e, -23));
                sum += e;
            }
            assert_true(fabs((double)sums[0] - sum) <= ldexp(16 * sum, -23));
            for (size_t i = count; i <= MOST; i++)
                assert_true(y[0][i] == x[i]);
        }
}

static void refused(void **state)
{
    (void)state;
    static const shape_t shapes[] = {
        {1, 1, 2, 2, 2, 2, {"bhsd", "bhsd", "bhsd", "bhds"}, {0}, -1, 1},
        {1, 1, 2, 2, 2, 2, {"bhsx", "bhsd", "bhsd", "bhsd"}, {0}, -1, 1},
    };
    const weir_kernel_t *kernel = cpu_host_kernel(plugins[0], "Attention");
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        problem_t p;
        weir_support_t support = {.head = WEIR_HEAD(weir_support_t)};
        problem_begin(&p, &shapes[i]);
        assert_int_equal(kernel->supports(&p.node, &support), WEIR_UNSUPPORTED);
        assert_true(support.reason[0] != 0);
        problem_end(&p);
    }
}

int main(void)
{
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        cpu_host_init(&hosts[isa], isa_names[isa]);
        plugins[isa] = cpu_host_open(&hosts[isa], WEIR_CPU_PLUGIN);
    }
    if (!plugins[0]) {
        fprintf(stderr, "%s\n", hosts[0].message);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_and_widths),
        cmocka_unit_test(layouts),
        cmocka_unit_test(ends),
        cmocka_unit_test(alone_as_in_a_batch),
        cmocka_unit_test(infinities),
        cmocka_unit_test(attend),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
