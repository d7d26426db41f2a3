// tests/unit/layout_reuse_test.c: memory that is used again changes no answer.
//
// Random graphs from seeds, at several sizes each. One model keeps only its last value, so that the
// arena is used over and over; its twin has every value as an output, so that nothing is. The bits
// must be the same; and in the layout itself nothing that lives may lie on anything else that does.
// Timeout: 120
#include "tests/unit/engine_world.h"

#include "engine/exec/session.h"
#include <unistd.h>

// ---- Random graphs -----------------------------------------------------------------------------

// A size is n * rows + k, where n is what the run brings along.
typedef struct size2 {
    int64_t n, k;
} size2_t;

typedef struct matrix {
    char name[16];
    size2_t rows, columns;
} matrix_t;

#define MATRICES_MAX 48

typedef struct graph_maker {
    uint64_t random;
    message_t graph;
    matrix_t matrices[MATRICES_MAX];
    uint32_t count;
    uint32_t constants;
} graph_maker_t;

static uint32_t draw(graph_maker_t *maker, uint32_t below)
{
    maker->random = maker->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(maker->random >> 33) % below;
}

static matrix_t *new_matrix(graph_maker_t *maker, size2_t rows, size2_t columns)
{
    matrix_t *made = &maker->matrices[maker->count];
    snprintf(made->name, sizeof made->name, "v%u", maker->count++);
    made->rows = rows;
    made->columns = columns;
    return made;
}

static void add_op(graph_maker_t *maker, const char *op, const char *inputs, const matrix_t *output,
    message_t attributes)
{
    char name[24];
    snprintf(name, sizeof name, "make_%s", output->name);
    add_node(&maker->graph, op, name, inputs, output->name, attributes);
}

static bool same_size(size2_t a, size2_t b)
{
    return a.n == b.n && a.k == b.k;
}

// A product with a constant, where a row's width is a number.
static void add_product(graph_maker_t *maker, matrix_t a, message_t attributes)
{
    float values[16 * 16];
    size2_t width = {0, 1 + draw(maker, 8)};
    char weight[16], inputs[64];
    int64_t dims[] = {a.columns.k, width.k};
    if (a.columns.n || a.columns.k > 16)
        return;
    snprintf(weight, sizeof weight, "c%u", maker->constants++);
    fill_floats(values, 256, maker->random);
    put_message(
        &maker->graph, 5, raw_tensor(weight, 1, 2, dims, values, (size_t)(dims[0] * dims[1]) * 4));
    snprintf(inputs, sizeof inputs, "%s,%s", a.name, weight);
    add_op(maker, "MatMul", inputs, new_matrix(maker, a.rows, width), attributes);
}

// One node on values drawn from those that are there; late ones are drawn more often.
static void add_random_node(graph_maker_t *maker)
{
    static const char *const unary[] = {"Relu", "Tanh", "Neg", "Abs", "Sigmoid"};
    static const char *const binary[] = {"Add", "Mul", "Sub", "Max"};
    uint32_t near = 1 + draw(maker, 8), back = draw(maker, WEIR_MIN(maker->count, near));
    matrix_t a = maker->matrices[maker->count - 1 - back], b = a;
    for (uint32_t i = 0, at = draw(maker, maker->count); i < maker->count; i++) {
        const matrix_t *other = &maker->matrices[(at + i) % maker->count];
        if (same_size(other->rows, a.rows) && same_size(other->columns, a.columns)) {
            b = *other;
            break;
        }
    }
    char inputs[64];
    message_t attributes = {0};
    uint32_t axis = 1;
    switch (draw(maker, 10)) {
    case 0:
    case 1:
        add_op(
            maker, unary[draw(maker, 5)], a.name, new_matrix(maker, a.rows, a.columns), attributes);
        return;
    case 2:
    case 3:
    case 4:
        snprintf(inputs, sizeof inputs, "%s,%s", a.name, b.name);
        add_op(maker, binary[draw(maker, 4)], inputs, new_matrix(maker, a.rows, a.columns),
            attributes);
        return;
    case 5:
        add_product(maker, a, attributes);
        return;
    case 6:
        add_op(maker, "Transpose", a.name, new_matrix(maker, a.columns, a.rows), attributes);
        return;
    case 7: // rows and columns flattened and cut again: a view
        if (!a.columns.n && a.columns.k % 2 == 0) {
            char shape[16];
            int64_t dims[] = {-1, a.columns.k / 2};
            snprintf(shape, sizeof shape, "c%u", maker->constants++);
            add_int64s(&maker->graph, shape, 2, dims);
            snprintf(inputs, sizeof inputs, "%s,%s", a.name, shape);
            add_op(maker, "Reshape", inputs,
                new_matrix(
                    maker, (size2_t){2 * a.rows.n, 2 * a.rows.k}, (size2_t){0, a.columns.k / 2}),
                attributes);
        }
        return;
    case 8: // along the rows the inputs are pieces of the output
        axis = 0;
        // fall through
    default:
        if (a.columns.n + a.columns.k > 12 || a.rows.n > 4)
            return;
        attribute_int(&attributes, "axis", axis);
        snprintf(inputs, sizeof inputs, "%s,%s", a.name, b.name);
        size2_t *sum = axis ? &a.columns : &a.rows;
        *sum = (size2_t){sum->n * 2, sum->k * 2};
        add_op(maker, "Concat", inputs, new_matrix(maker, a.rows, a.columns), attributes);
        return;
    }
}

// all: every value is an output; otherwise only the last.
static message_t make_random_graph(uint64_t seed, bool all, uint32_t *out_count)
{
    graph_maker_t maker = {.random = seed};
    add_input(&maker.graph, "v0", 1, "N,6");
    new_matrix(&maker, (size2_t){1, 0}, (size2_t){0, 6});
    uint32_t wanted = 6 + draw(&maker, MATRICES_MAX - 8);
    for (int tries = 0; maker.count < wanted && tries < 200; tries++)
        add_random_node(&maker);
    for (uint32_t i = 1; i < maker.count; i++)
        if (all || i + 1 == maker.count)
            add_output(&maker.graph, maker.matrices[i].name);
    *out_count = maker.count - 1;
    return maker.graph;
}

// ---- The layout --------------------------------------------------------------------------------

typedef struct life {
    const weir__slot_t *root;
    uint32_t first, last;
} life_t;

// When each root's memory is in use, from the steps alone.
static uint32_t find_lives(const weir__spec_t *spec, life_t *lives, uint32_t capacity)
{
    uint32_t count = 0;
    for (uint32_t s = 0; s < spec->step_count; s++)
        for (uint32_t i = 0; i < spec->steps[s].slot_count; i++) {
            const weir__slot_t *slot = spec->steps[s].slots[i];
            if (!slot || slot->root->kind != WEIR__SLOT_ARENA)
                continue;
            uint32_t at = 0;
            while (at < count && lives[at].root != slot->root)
                at++;
            assert_true(at < capacity);
            if (at == count)
                lives[count++] = (life_t){.root = slot->root, .first = s};
            lives[at].last = s;
        }
    const weir__region_t *main = &spec->plan->model->graph->main;
    for (uint32_t l = 0; l < count; l++) {
        for (uint32_t i = 0; i < main->output_count; i++)
            if (spec->slot_of_value[main->outputs[i]]->root == lives[l].root)
                lives[l].last = UINT32_MAX;
        for (uint32_t i = 0; i < main->input_count; i++)
            if (spec->slot_of_value[main->inputs[i]]->root == lives[l].root)
                lives[l] = (life_t){.root = lives[l].root, .last = UINT32_MAX};
    }
    return count;
}

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
    return a_bytes && b_bytes && a < b + b_bytes && b < a + a_bytes;
}

// b is made by the step that is the last to read a, into a's memory.
static bool in_place(const weir__spec_t *spec, const life_t *a, const life_t *b)
{
    if (a->last != b->first || a->root->offset != b->root->offset ||
        a->root->bytes != b->root->bytes)
        return false;
    const weir__step_t *step = &spec->steps[b->first];
    if (!step->kernel || !(step->kernel->head.flags & WEIR_KERNEL_INPLACE))
        return false;
    uint32_t reads = 0;
    for (uint32_t i = 0; i < step->view.input_count; i++)
        reads += step->slots[i] && step->slots[i]->root == a->root;
    return reads == 1 && step->slots[step->view.input_count]->root == b->root;
}

// Concats whose inputs were written where they belong.
static uint32_t count_joined(const weir__spec_t *spec)
{
    uint32_t joined = 0;
    for (uint32_t s = 0; s < spec->step_count; s++) {
        const weir__step_t *step = &spec->steps[s];
        if (step->kind != WEIR__STEP_KERNEL || strcmp(step->view.op, "Concat") != 0 ||
            step->tasks.phase_count)
            continue;
        const weir__slot_t *whole = step->slots[step->view.input_count];
        uint64_t at = whole->shift;
        for (uint32_t i = 0; i < step->view.input_count; i++) {
            assert_ptr_equal(step->slots[i]->root, whole->root);
            assert_int_equal(step->slots[i]->shift, at);
            at += step->slots[i]->bytes;
        }
        assert_true(at <= whole->root->bytes);
        joined++;
    }
    return joined;
}

// Returns how many values took over another's memory.
static uint32_t check_layout(const weir__spec_t *spec)
{
    life_t lives[256];
    uint32_t count = find_lives(spec, lives, 256), taken_over = 0;
    for (uint32_t i = 0; i < count; i++) {
        const weir__slot_t *a = lives[i].root;
        assert_int_equal(a->offset % 64, 0);
        assert_true(a->offset + a->bytes <= spec->arena_bytes);
        for (uint32_t j = i + 1; j < count; j++) {
            const life_t *early = lives[i].first <= lives[j].first ? &lives[i] : &lives[j];
            const life_t *late = early == &lives[i] ? &lives[j] : &lives[i];
            if (early->last < late->first ||
                !overlap(a->offset, a->bytes, lives[j].root->offset, lives[j].root->bytes))
                continue;
            if (!in_place(spec, early, late))
                fail_msg("bytes %llu.. hold two values in step %u",
                    (unsigned long long)late->root->offset, late->first);
            taken_over++;
        }
        for (uint32_t s = 0; s < spec->step_count; s++)
            if (spec->steps[s].shared_bytes && lives[i].first <= s && s <= lives[i].last)
                assert_false(overlap(a->offset, a->bytes, spec->steps[s].shared_offset,
                    spec->steps[s].shared_bytes));
    }
    return taken_over;
}

// ---- Twins -------------------------------------------------------------------------------------

typedef struct totals {
    uint64_t reused_bytes, kept_bytes;
    uint32_t taken_over, joined;
} totals_t;

static void check_twins(
    uint64_t seed, const world_options_t *options, float tolerance, totals_t *totals)
{
    uint32_t count;
    world_t reusing, keeping;
    world_open(&reusing, make_random_graph(seed, false, &count), options);
    world_open(&keeping, make_random_graph(seed, true, &count), options);
    for (int64_t round = 0; round < 5; round++) {
        int64_t n = (const int64_t[]){3, 8, 1, 0, 5}[round];
        float x[8 * 6], before[8 * 6];
        fill_floats(x, 48, seed + (uint64_t)round);
        memcpy(before, x, sizeof x);
        weir_value_t in[] = {weir_f32(x, 2, n, 6)}, last[1], all[MATRICES_MAX];
        world_run(&keeping, 1, in, count, all);
        for (int twice = 0; twice < 2; twice++) {
            world_run(&reusing, 1, in, 1, last);
            const weir_value_t *wanted = &all[count - 1];
            expect_dims(last, wanted->rank, wanted->dims);
            uint64_t bytes = weir_value_count(wanted) * 4;
            if (tolerance == 0 && bytes && memcmp(last->data, wanted->data, bytes) != 0)
                fail_msg("seed %llu, n %lld: other bits", (unsigned long long)seed, (long long)n);
            expect_floats(last, bytes / 4, wanted->data, tolerance);
        }
        assert_memory_equal(x, before, sizeof x); // the caller's input is read only
        totals->taken_over += check_layout(reusing.session->bounds[0].spec);
        totals->joined += count_joined(reusing.session->bounds[0].spec);
        check_layout(keeping.session->bounds[0].spec);
        // What is an output has memory of its own, so that the twin shows what joining changes.
        assert_int_equal(count_joined(keeping.session->bounds[0].spec), 0);
    }
    totals->reused_bytes += world_info(&reusing).arena_bytes;
    totals->kept_bytes += world_info(&keeping).arena_bytes;
    world_close(&reusing);
    world_close(&keeping);
}

// Goal:   on the plain C device, node by node as the file has them: the same bits; memory really is
//         used again, and in place.
static void twins_on_ref(void **state)
{
    (void)state;
    totals_t totals = {0};
    world_options_t options = {.keep_as_is = true};
    for (uint64_t seed = 1; seed <= 60; seed++)
        check_twins(seed, &options, 0, &totals);
    assert_true(totals.reused_bytes * 4 < totals.kept_bytes * 3);
    assert_true(totals.taken_over > 50);
    assert_true(totals.joined > 10);
}

// Goal:   the same with a device of programs, whose launches take many values at once.
static void twins_on_a_device(void **state)
{
    (void)state;
    totals_t totals = {0};
    world_options_t options = {.keep_as_is = true,
        .plugin_path = WEIR_TEST_PLUGINS,
        .devices = "async,ref",
        .plugin_options = "async.refuse=Tanh"};
    for (uint64_t seed = 100; seed <= 115; seed++)
        check_twins(seed, &options, 0, &totals);
    assert_true(totals.reused_bytes < totals.kept_bytes);
}

// Goal:   the same with the fast kernels, up to rounding: they fuse more in one twin than in the
//         other.
static void twins_on_cpu(void **state)
{
    (void)state;
    totals_t totals = {0};
    static const char plugin[] = WEIR_TEST_PLUGINS "/../weir/weir_cpu.so";
    if (access(plugin, R_OK) != 0)
        skip(); // another architecture
    world_options_t options = {.plugin_path = plugin, .devices = "cpu,ref"};
    for (uint64_t seed = 200; seed <= 225; seed++)
        check_twins(seed, &options, 2e-4f, &totals);
    assert_true(totals.reused_bytes < totals.kept_bytes);
}

// Goal:   what is placed and fused by others than ref gives ref's answer, up to rounding.
static void devices_agree(void **state)
{
    (void)state;
    for (uint64_t seed = 300; seed <= 330; seed++) {
        uint32_t count;
        world_t picky, plain;
        world_options_t options = {.plugin_path = WORLD_PLUGINS, .devices = "mine,picky"};
        world_open(&picky, make_random_graph(seed, false, &count), &options);
        world_open(&plain, make_random_graph(seed, false, &count), NULL);
        for (int64_t n = 1; n < 6; n += 2) {
            float x[30];
            fill_floats(x, 30, seed);
            weir_value_t in[] = {weir_f32(x, 2, n, 6)}, found[1], wanted[1];
            world_run(&picky, 1, in, 1, found);
            world_run(&plain, 1, in, 1, wanted);
            expect_dims(found, wanted->rank, wanted->dims);
            expect_floats(found, weir_value_count(wanted), wanted->data, 2e-4f);
        }
        world_close(&picky);
        world_close(&plain);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twins_on_ref),
        cmocka_unit_test(twins_on_a_device),
        cmocka_unit_test(twins_on_cpu),
        cmocka_unit_test(devices_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
