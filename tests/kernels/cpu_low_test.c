// Goal:   the bf16 and int8 kernels of every table that this machine can run are right at sizes
// from
//         1 to beyond their tiles, and an output's bits do not depend on what is computed beside
//         it.
// Method: plain loops in double or 64-bit integers; int8 to the byte, and the same bytes on every
//         table; bf16 within a rounding for each term. Tables are found as the plugin finds them.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/cpu/low.h"

#define TABLES 4
#define MOST_ROWS 97
#define MOST_PANELS 3
#define MOST_CHUNKS 5
#define C_ROW 100 // more than MOST_PANELS * 32: what lies behind a row stays

static const weir_k_low_table_t *tables[TABLES];
static size_t table_count;

static const char *wanted_isa;
static const char *option(const weir_host_t *host, const char *name)
{
    (void)host;
    return strcmp(name, "isa") == 0 ? wanted_isa : NULL;
}

static int tables_find(void **state)
{
    static const char *const isas[TABLES] = {"auto", "avx512", "avx2", "plain"};
    const weir_host_t host = {.option = option};
    (void)state;
    for (size_t i = 0; i < TABLES; i++) {
        wanted_isa = isas[i];
        const weir_k_low_table_t *table = weir_cpu_low_table(&host);
        int known = !table;
        for (size_t t = 0; t < table_count; t++)
            known |= tables[t] == table;
        if (!known)
            tables[table_count++] = table;
    }
    return table_count == 0;
}

static uint32_t random_state = 5;
static uint32_t random_bits(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static float random_float(void)
{
    return (float)random_bits() / 8388608.0f - 1.0f;
}

static float bf16_value(const unsigned char *at)
{
    uint16_t bits;
    memcpy(&bits, at, sizeof(bits));
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof(value));
    return value;
}

// ---- Products ----------------------------------------------------------------------------------

typedef struct product {
    weir_k_chunks_block_t block;
    unsigned char *a, *b;
    uint32_t at[MOST_CHUNKS];
    uint32_t *c; // [MOST_ROWS + 1][C_ROW] of either kind
} product_t;

static void product_make(product_t *p, int is_bf16)
{
    const size_t a_rows = MOST_ROWS + 31; // groups of rows are read whole
    p->a = aligned_alloc(64, MOST_CHUNKS * a_rows * 64);
    p->b = aligned_alloc(64, MOST_PANELS * MOST_CHUNKS * WEIR_K_CHUNK_PANEL_BYTES);
    p->c = aligned_alloc(64, ((MOST_ROWS + 1) * C_ROW * 4 + 63) / 64 * 64);
    assert_true(p->a && p->b && p->c);
    for (size_t i = 0; i < MOST_CHUNKS * a_rows * 64; i++)
        p->a[i] = (unsigned char)random_bits();
    for (size_t i = 0; i < MOST_PANELS * MOST_CHUNKS * WEIR_K_CHUNK_PANEL_BYTES; i++)
        p->b[i] = (unsigned char)random_bits();
    unsigned char *const both[2] = {p->a, p->b};
    const size_t sizes[2] = {
        MOST_CHUNKS * a_rows * 64, MOST_PANELS * MOST_CHUNKS * WEIR_K_CHUNK_PANEL_BYTES};
    for (size_t which = 0; is_bf16 && which < 2; which++)
        for (size_t i = 0; i < sizes[which]; i += 2) {
            const uint16_t bits = weir_cpu_bf16(random_float());
            memcpy(both[which] + i, &bits, sizeof(bits));
        }
    // Chunks in any order, one of them twice.
    for (size_t c = 0; c < MOST_CHUNKS; c++)
        p->at[c] = (uint32_t)((c * 3 % MOST_CHUNKS) * a_rows * 64);
    p->at[1] = p->at[0];
    p->block = (weir_k_chunks_block_t){.a = p->a,
        .at = p->at,
        .b = p->b,
        .b_panel = MOST_CHUNKS * WEIR_K_CHUNK_PANEL_BYTES,
        .c = p->c,
        .c_row = C_ROW,
        .c_panel = WEIR_K_PANEL};
}

static void product_free(product_t *p)
{
    free(p->a);
    free(p->b);
    free(p->c);
}

// The sum of element (row, column), and of its terms' magnitudes.
static double expected(
    const product_t *p, int is_bf16, size_t row, size_t column, double *out_magnitude)
{
    double sum = 0, magnitude = 0;
    for (size_t c = 0; c < p->block.chunks; c++) {
        const unsigned char *a = p->a + p->at[c] + row * 64;
        const unsigned char *b =
            p->b + column / 32 * p->block.b_panel + c * WEIR_K_CHUNK_PANEL_BYTES + column % 32 * 4;
        for (size_t i = 0; i < 64; i += is_bf16 ? 2 : 1) {
            const unsigned char *from = b + i / 4 * 128 + i % 4;
            const double term = is_bf16 ? (double)bf16_value(a + i) * (double)bf16_value(from)
                                        : (double)a[i] * (double)(signed char)*from;
            sum += term;
            magnitude += fabs(term);
        }
    }
    *out_magnitude = magnitude;
    return sum;
}

static void product_check(const product_t *p, int is_bf16)
{
    for (size_t row = 0; row < p->block.rows; row++)
        for (size_t column = 0; column < 32 * p->block.panels; column++) {
            double magnitude;
            const double wanted = expected(p, is_bf16, row, column, &magnitude);
            const uint32_t bits = p->c[row * C_ROW + column];
            float value;
            memcpy(&value, &bits, sizeof(value));
            if (!is_bf16)
                assert_int_equal((int64_t)wanted, (int32_t)bits);
            else
                assert_true(fabs((double)value - wanted) <= 0x1p-22 * magnitude + 0x1p-120);
        }
}

typedef struct collected {
    const product_t *p;
    uint32_t *c; // as the block would have written it
    size_t panel, row;
} collected_t;

static void collect(void *user, size_t panel, size_t row, size_t rows)
{
    collected_t *to = user;
    assert_true(rows > 0 && rows <= WEIR_K_CHUNK_GROUP);
    assert_true(panel == to->panel ? row == to->row : panel == to->panel + 1 && row == 0);
    to->panel = panel;
    to->row = row + rows;
    for (size_t i = 0; i < rows; i++)
        memcpy(to->c + (row + i) * C_ROW + panel * 32, to->p->c + i * C_ROW, 32 * 4);
}

static void products_are_right_at_every_size(int is_bf16)
{
    static const size_t rows[] = {
        1, 2, 11, 12, 13, 15, 16, 17, 31, 32, 33, 60, 61, 64, 65, MOST_ROWS};
    product_t p;
    product_make(&p, is_bf16);
    uint32_t *passed = calloc((MOST_ROWS + 1) * C_ROW, 4), *alone = calloc(C_ROW, 4);
    assert_true(passed && alone);
    for (size_t t = 0; t < table_count; t++)
        for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
            weir_k_chunks_t *run = is_bf16 ? tables[t]->chunks_bf16 : tables[t]->chunks_u8s8;
            p.block.rows = rows[r];
            p.block.panels = 1 + r % MOST_PANELS;
            p.block.chunks = 1 + (r + t) % MOST_CHUNKS;
            memset(p.c, 0xee, (MOST_ROWS + 1) * C_ROW * 4);
            run(&p.block);
            product_check(&p, is_bf16);
            for (size_t row = 0; row <= rows[r]; row++)
                for (size_t j = row < rows[r] ? 32 * p.block.panels : 0; j < C_ROW; j++)
                    assert_int_equal(0xeeeeeeeeu, p.c[row * C_ROW + j]);
            // Passed on instead of kept; the last row alone.
            memset(passed, 0xee, (MOST_ROWS + 1) * C_ROW * 4);
            uint32_t *kept = p.c, group[WEIR_K_CHUNK_GROUP * C_ROW];
            collected_t to = {.p = &p, .c = passed};
            weir_k_chunks_block_t block = p.block;
            p.c = group;
            block.c = group;
            block.done = collect;
            block.user = &to;
            run(&block);
            p.c = kept;
            assert_memory_equal(kept, passed, rows[r] * C_ROW * 4);
            block = p.block;
            block.a += (rows[r] - 1) * 64;
            block.rows = 1;
            block.c = alone;
            run(&block);
            assert_memory_equal(kept + (rows[r] - 1) * C_ROW, alone, p.block.panels * 32 * 4);
        }
    free(passed);
    free(alone);
    product_free(&p);
}

static void bf16_products(void **state)
{
    (void)state;
    products_are_right_at_every_size(1);
}

static void int8_products(void **state)
{
    (void)state;
    products_are_right_at_every_size(0);
}

// ---- Rows --------------------------------------------------------------------------------------

// Goal: rounding to nearest even, what overflows and what is no number; lanes that are not there.
static void rows_are_rounded(void **state)
{
    (void)state;
    float from[3][48];
    for (size_t i = 0; i < 3 * 48; i++)
        from[i / 48][i % 48] = random_float() * 1e3f;
    const uint32_t special[] = {0x7fc00001u, 0xff800000u, 0x7f7fffffu, 0x3f808000u, 0x3f818000u,
        0x3f808001u, 0x80000000u, 0x7f800001u};
    memcpy(&from[1][3], special, sizeof(special));
    for (size_t t = 0; t < table_count; t++)
        for (size_t low = 0; low <= 16; low++)
            for (size_t high = 0; high <= 16; high += 4) {
                uint16_t to[3][32];
                memset(to, 0xee, sizeof(to));
                tables[t]->bf16_rows(3, from[0], low, from[0] + 20, high, 48, to);
                for (size_t row = 0; row < 3; row++)
                    for (size_t i = 0; i < 32; i++) {
                        const size_t lane = i % 16;
                        const int is_there = i < 16 ? lane < low : lane < high;
                        const float value = from[row][i < 16 ? lane : 20 + lane];
                        const uint16_t wanted = is_there ? weir_cpu_bf16(value) : 0;
                        if (is_there && value != value)
                            assert_true((to[row][i] & 0x7fffu) > 0x7f80u);
                        else
                            assert_int_equal(wanted, to[row][i]);
                    }
            }
    assert_int_equal(0x3f80, weir_cpu_bf16(1.00390625f)); // halfway: to even
    assert_int_equal(0x7f80, weir_cpu_bf16(3.4e38f));
}

static void bytes_are_gathered(void **state)
{
    (void)state;
    unsigned char from[4][200], to[5 * 64];
    for (size_t i = 0; i < sizeof(from); i++)
        from[i / 200][i % 200] = (unsigned char)random_bits();
    for (size_t t = 0; t < table_count; t++) {
        const unsigned char *const parts[4] = {from[0], from[1], NULL, from[3]};
        tables[t]->u8_rows(5, parts, 32, 0x80, to);
        for (size_t row = 0; row < 5; row++)
            for (size_t i = 0; i < 64; i++)
                assert_int_equal(
                    i / 16 == 2 ? 0 : from[i / 16][row * 32 + i % 16] ^ 0x80, to[row * 64 + i]);
    }
}

// ---- What follows a sum ------------------------------------------------------------------------

static float kept_between(float value, float low, float high)
{
    if (value != value)
        return 0;
    return rintf(value < low ? low : value > high ? high : value);
}

static unsigned char requantised(
    const weir_k_requant_t *r, int32_t sum, size_t lane, size_t i, const unsigned char *add)
{
    const int32_t biased = (int32_t)((uint32_t)sum + (uint32_t)r->bias[lane]);
    float value = kept_between((float)biased * r->scale[lane], r->low, r->high);
    if (!add && r->relu && value < 0)
        value = 0;
    if (add) {
        const float product = value * r->step;
        const float other = ((float)(add[i] ^ r->add_flip) - r->add_zero) * r->add_step;
        float both = product + other;
        both = r->relu && both < 0 ? 0 : both;
        value = kept_between(both / r->out_step, r->out_low, r->out_high);
    }
    return (unsigned char)((unsigned char)(int32_t)(value + r->zero) ^ r->flip);
}

// Goal: the bytes of the formula in docs/operators.md, for every kind of step.
static void sums_become_bytes(void **state)
{
    static const float steps[] = {0.0173f, 0.5f, 1.0f, 3e-39f, INFINITY, 1e-20f};
    int32_t c[37][40], bias[16];
    float scale[16];
    unsigned char add[37 * 16], y[37 * 16 + 1];
    (void)state;
    for (size_t kind = 0; kind < 48; kind++) {
        for (size_t i = 0; i < 37 * 40; i++)
            c[i / 40][i % 40] = (int32_t)(random_bits() % 60000) - 30000;
        for (size_t i = 0; i < 16; i++) {
            bias[i] = (int32_t)(random_bits() % 2000) - 1000;
            scale[i] = kind == 47 && i == 3 ? INFINITY : (float)(random_bits() % 100) * 1e-4f;
        }
        for (size_t i = 0; i < sizeof(add); i++)
            add[i] = (unsigned char)random_bits();
        const float zero = (float)(random_bits() % 256), out_zero = (float)(random_bits() % 256);
        weir_k_requant_t r = {.bias = bias,
            .scale = scale,
            .low = -zero,
            .high = 255.0f - zero,
            .zero = kind % 2 ? out_zero : zero,
            .flip = (unsigned char)(kind % 3 ? 0 : 0x80),
            .add_flip = (unsigned char)(kind % 5 ? 0 : 0x80),
            .relu = kind % 4 > 1,
            .add = kind % 2 ? add : NULL,
            .step = steps[kind / 2 % 2],
            .add_step = 0.011f,
            .add_zero = (float)(random_bits() % 256),
            .out_step = steps[kind / 2 % 6],
            .out_low = -out_zero,
            .out_high = 255.0f - out_zero};
        for (size_t t = 0; t < table_count; t++) {
            memset(y, 0xee, sizeof(y));
            tables[t]->requant_u8_x16(37, &c[0][8], 40, &r, y);
            for (size_t i = 0; i < 37 * 16; i++)
                assert_int_equal(requantised(&r, c[i / 16][8 + i % 16], i % 16, i, r.add), y[i]);
            assert_int_equal(0xee, y[37 * 16]);
        }
    }
}

// Goal: halves go to even whatever the step, and what is no number or out of reach has a byte.
static void floats_become_bytes_and_back(void **state)
{
    static const float steps[] = {0.0173f, 0.5f, 1.0f, 2e-39f, 1e35f};
    float x[67], back[67];
    unsigned char y[68];
    (void)state;
    for (size_t kind = 0; kind < 20; kind++) {
        const float step = steps[kind % 5], zero = (float)(random_bits() % 256);
        const unsigned char flip = (unsigned char)(kind % 2 ? 0x80 : 0);
        for (size_t i = 0; i < 67; i++)
            x[i] = ((float)(random_bits() % 600) - 300.0f) * 0.5f * step;
        x[5] = NAN;
        x[6] = INFINITY;
        x[7] = -INFINITY;
        for (size_t t = 0; t < table_count; t++)
            for (size_t count = 1; count <= 67; count += 3) {
                memset(y, 0xee, sizeof(y));
                tables[t]->quantize_u8(count, x, step, zero, flip, y);
                for (size_t i = 0; i < count; i++) {
                    const float whole = kept_between(x[i] / step, -zero, 255.0f - zero) + zero;
                    assert_int_equal((unsigned)whole ^ flip, y[i]);
                }
                assert_int_equal(0xee, y[count]);
                tables[t]->dequantize_u8(count, y, step, zero, flip, back);
                for (size_t i = 0; i < count; i++) {
                    const float wanted = ((float)(y[i] ^ flip) - zero) * step;
                    assert_memory_equal(&wanted, &back[i], sizeof(wanted));
                }
            }
    }
}

static void the_greatest_byte(void **state)
{
    (void)state;
    unsigned char from[9][16], y[16];
    const unsigned char *rows[9];
    for (size_t i = 0; i < sizeof(from); i++)
        from[i / 16][i % 16] = (unsigned char)random_bits();
    for (size_t i = 0; i < 9; i++)
        rows[i] = from[i];
    for (size_t t = 0; t < table_count; t++)
        for (size_t count = 1; count <= 9; count++)
            for (int flip = 0; flip < 256; flip += 128) {
                tables[t]->max_u8_x16(count, rows, (unsigned char)flip, y);
                for (size_t lane = 0; lane < 16; lane++) {
                    unsigned most = 0;
                    for (size_t i = 0; i < count; i++) {
                        const unsigned here = from[i][lane] ^ (unsigned)flip;
                        most = here > most ? here : most;
                    }
                    assert_int_equal(most ^ (unsigned)flip, y[lane]);
                }
            }
}

static void ranges_hold_zero_and_no_nan(void **state)
{
    float x[133], out[2];
    (void)state;
    for (size_t t = 0; t < table_count; t++)
        for (size_t count = 0; count <= 133; count++) {
            float low = 0, high = 0;
            for (size_t i = 0; i < count; i++) {
                x[i] = i % 17 == 9 ? NAN : random_float() + (count % 3 ? 0.0f : 1.5f);
                low = x[i] < low ? x[i] : low;
                high = x[i] > high ? x[i] : high;
            }
            tables[t]->range_f32(count, x, out);
            assert_true(out[0] == low && out[1] == high);
        }
}

static void floats_are_finished(void **state)
{
    (void)state;
    float c[13][40], bias[16], add[13 * 16], y[13 * 16];
    for (size_t i = 0; i < 13 * 40; i++)
        c[i / 40][i % 40] = random_float();
    for (size_t i = 0; i < 13 * 16; i++)
        add[i] = random_float();
    for (size_t i = 0; i < 16; i++)
        bias[i] = random_float();
    c[2][9] = NAN;
    for (size_t t = 0; t < table_count; t++)
        for (int kind = 0; kind < 16; kind++) {
            const weir_k_finish_t finish = {.bias = kind & 1 ? bias : NULL,
                .add = kind & 2 ? add : NULL,
                .low = -0.25f,
                .high = 0.5f,
                .activation = kind / 4,
                .has_scale = kind % 3 == 1,
                .has_shift = kind % 5 > 2,
                .scale = 1.3f,
                .shift = -0.2f};
            tables[t]->finish_f32_x16(13, &c[0][8], 40, kind ? &finish : NULL, y);
            for (size_t i = 0; i < 13 * 16; i++) {
                float wanted = c[i / 16][8 + i % 16];
                wanted += finish.bias ? bias[i % 16] : 0;
                wanted += finish.add ? add[i] : 0;
                if (finish.activation == WEIR_K_RELU)
                    wanted = wanted < 0 ? 0 : wanted;
                if (finish.activation == WEIR_K_CLAMP)
                    wanted = wanted < finish.low    ? finish.low
                             : wanted > finish.high ? finish.high
                                                    : wanted;
                if (finish.activation == WEIR_K_HARD_SWISH) {
                    const float part = wanted * (1.0f / 6.0f) + 0.5f;
                    wanted *= part < 0 ? 0 : part > 1 ? 1 : part;
                }
                wanted = finish.has_scale ? wanted * finish.scale : wanted;
                wanted = finish.has_shift ? wanted + finish.shift : wanted;
                assert_true(wanted == y[i] || (wanted != wanted && y[i] != y[i]));
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_products),
        cmocka_unit_test(int8_products),
        cmocka_unit_test(rows_are_rounded),
        cmocka_unit_test(bytes_are_gathered),
        cmocka_unit_test(sums_become_bytes),
        cmocka_unit_test(floats_become_bytes_and_back),
        cmocka_unit_test(the_greatest_byte),
        cmocka_unit_test(ranges_hold_zero_and_no_nan),
        cmocka_unit_test(floats_are_finished),
    };
    return cmocka_run_group_tests(tests, tables_find, NULL);
}
