// QLinearMatMul with a constant matrix B of i8, and MatMulInteger with one: sums in i32, exact.
//
// A's rows are copied in chunks of 64 k, those of i8 turned to u8. What A's zero point adds to a
// sum is the zero point times the column's sum, which lies behind the packed B.
#include <string.h>

#include "backends/cpu/int8.h"

#define GROUP_ROWS 64u
#define ENOUGH_TASKS 8u
#define SMALL_MACS 4000000u

typedef struct int8_matmul_state {
    const weir_k_low_table_t *low;
    uint64_t m, n, k, chunks, panels;
    uint64_t row_blocks, panels_per_task, panel_blocks;
    uint64_t c_offset;   // in the scratch; A lies at 0
    uint32_t is_integer; // MatMulInteger
    uint32_t b_input;
    const void *own_b; // of a B that came as it is, behind the rest; NULL: it is packed
    unsigned char flip;
    weir_k_requant_t requant;
    const int32_t *bias; // [panels * 32] of QLinearMatMul, behind `at`
    const float *scale;
    uint32_t at[]; // [chunks]
} int8_matmul_state_t;

enum { A, A_SCALE, A_ZERO, B, B_SCALE, B_ZERO, Y_SCALE, Y_ZERO, BIAS };
enum { INTEGER_B = 1, INTEGER_A_ZERO = 2, INTEGER_B_ZERO = 3 };

static int is_integer(const weir_node_t *node)
{
    return node->op[0] == 'M';
}

static uint32_t b_input(const weir_node_t *node)
{
    return is_integer(node) ? INTEGER_B : B;
}

typedef struct b_shape {
    uint64_t k, n, k_step, n_step;
} b_shape_t;

static b_shape_t b_shape(const weir_node_t *node)
{
    const weir_tensor_t *b = &node->inputs[b_input(node)];
    const uint64_t rows = (uint64_t)b->dims[0], columns = (uint64_t)b->dims[1];
    if (weir_node_int(node, "transB", 0))
        return (b_shape_t){.k = columns, .n = rows, .k_step = 1, .n_step = columns};
    return (b_shape_t){.k = rows, .n = columns, .k_step = columns, .n_step = 1};
}

static weir_code_t integer_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (weir_cpu_has(node, INTEGER_A_ZERO) && node->inputs[INTEGER_A_ZERO].rank > 0 &&
        (node->inputs[INTEGER_A_ZERO].rank > 1 || node->inputs[INTEGER_A_ZERO].dims[0] != 1))
        return weir_cpu_refuse(out_support, "takes one zero point for A only");
    if (!weir_cpu_has(node, INTEGER_B_ZERO))
        return WEIR_OK;
    const weir_tensor_t *zero = &node->inputs[INTEGER_B_ZERO];
    if (!weir_cpu_is_constant(zero))
        return weir_cpu_refuse(out_support, "B's zero point is no constant");
    for (uint64_t i = 0; i < zero->element_count; i++)
        if (((const unsigned char *)zero->data)[i])
            return weir_cpu_refuse(out_support, "B's zero point is not 0");
    return WEIR_OK;
}

weir_code_t weir_cpu_int8_matmul_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_plain(node, is_integer(node) ? 2 : 8, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *b = &node->inputs[b_input(node)];
    if (node->inputs[A].rank < 1 || b->rank != 2 || b->dtype != WEIR_I8 || b->element_count == 0 ||
        !(b->flags & WEIR_TENSOR_CONSTANT))
        return weir_cpu_refuse(out_support, "B is not one constant matrix of i8");
    if (is_integer(node))
        return integer_supports(node, out_support);
    const int64_t columns = b->dims[weir_node_int(node, "transB", 0) ? 0 : 1];
    if (!weir_cpu_has_scale(node, A_SCALE) || !weir_cpu_has_scale(node, Y_SCALE) ||
        !weir_cpu_has_scales_of_weights(node, B_SCALE, columns))
        return weir_cpu_refuse(
            out_support, "scales, or zero points, are not constant, or B's not 0");
    if (weir_cpu_has(node, BIAS) && !weir_cpu_is_constant(&node->inputs[BIAS]))
        return weir_cpu_refuse(out_support, "the bias is no constant");
    return WEIR_OK;
}

static uint64_t packed_bytes(const b_shape_t *b)
{
    return WEIR_DIV_UP(b->n, WEIR_K_PANEL) * WEIR_DIV_UP(b->k, WEIR_K_CHUNK_U8) *
           WEIR_K_CHUNK_PANEL_BYTES;
}

// With the columns' sums behind it.
static uint64_t all_bytes(const b_shape_t *b)
{
    return packed_bytes(b) + WEIR_DIV_UP(b->n, WEIR_K_PANEL) * WEIR_K_PANEL * sizeof(int32_t);
}

weir_code_t weir_cpu_int8_matmul_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    if (input != b_input(node))
        return WEIR_OK;
    const b_shape_t b = b_shape(node);
    out_packing->format = WEIR_CPU_FORMAT_I8;
    out_packing->bytes = all_bytes(&b);
    return WEIR_OK;
}

static void b_pack(const weir_node_t *node, void *destination)
{
    const b_shape_t b = b_shape(node);
    const uint64_t panels = WEIR_DIV_UP(b.n, WEIR_K_PANEL);
    const uint64_t chunks = WEIR_DIV_UP(b.k, WEIR_K_CHUNK_U8);
    const unsigned char *from = node->inputs[b_input(node)].data;
    unsigned char *to = destination;
    for (uint64_t panel = 0; panel < panels; panel++)
        for (uint64_t k = 0; k < chunks * WEIR_K_CHUNK_U8; k += 4)
            for (uint64_t j = panel * WEIR_K_PANEL; j < (panel + 1) * WEIR_K_PANEL; j++)
                for (uint64_t i = k; i < k + 4; i++)
                    *to++ = i < b.k && j < b.n ? from[i * b.k_step + j * b.n_step] : 0;
    weir_cpu_i8_sums(destination, panels, chunks, (void *)to);
}

weir_code_t weir_cpu_int8_matmul_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    const b_shape_t b = b_shape(node);
    if (input != b_input(node) || bytes < all_bytes(&b))
        return WEIR_INVALID_ARGUMENT;
    b_pack(node, destination);
    return WEIR_OK;
}

static void blocks_init(int8_matmul_state_t *state)
{
    state->row_blocks = WEIR_DIV_UP(state->m, GROUP_ROWS);
    state->panels_per_task = state->panels;
    const uint64_t rows = weir_cpu_min(state->m, GROUP_ROWS);
    for (;;) {
        state->panel_blocks = WEIR_DIV_UP(state->panels, state->panels_per_task);
        if (state->row_blocks * state->panel_blocks >= ENOUGH_TASKS ||
            state->panels_per_task == 1 ||
            rows * state->panels_per_task * WEIR_K_PANEL * state->k < SMALL_MACS)
            break;
        state->panels_per_task = WEIR_DIV_UP(state->panels_per_task, 2);
    }
}

static void requant_init(int8_matmul_state_t *state, const weir_node_t *node, const int32_t *sums)
{
    int32_t *bias = (int32_t *)(state->at + state->chunks);
    float *scale = (float *)(bias + state->panels * WEIR_K_PANEL);
    weir_cpu_requant_init(node, &(weir_cpu_requant_inputs_t){A_SCALE, B_SCALE, Y_SCALE, BIAS},
        state->n, sums, bias, scale);
    state->bias = bias;
    state->scale = scale;
    const float zero = (float)weir_cpu_zero(node, Y_ZERO);
    state->requant = (weir_k_requant_t){.low = -zero,
        .high = 255.0f - zero,
        .zero = zero,
        .flip = weir_cpu_flip(&node->outputs[0])};
}

weir_code_t weir_cpu_int8_matmul_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const weir_tensor_t *a = &node->inputs[A], *packed = &node->inputs[b_input(node)];
    const b_shape_t b = b_shape(node);
    if ((uint64_t)a->dims[a->rank - 1] != b.k || b.k > UINT32_MAX / 256)
        return host->fail(host, WEIR_INVALID_ARGUMENT, "%s: A has %lld columns, B has %llu rows",
            node->op, (long long)a->dims[a->rank - 1], (unsigned long long)b.k);
    const int packs = packed->format != WEIR_CPU_FORMAT_I8;
    const uint64_t chunks = WEIR_DIV_UP(b.k, WEIR_K_CHUNK_U8);
    const uint64_t panels = WEIR_DIV_UP(b.n, WEIR_K_PANEL);
    const weir_k_low_table_t *low = weir_cpu_low_table(host);
    if (!low)
        return host->fail(host, WEIR_UNAVAILABLE, "option isa of plugin cpu: not on this machine");
    int8_matmul_state_t *state;
    const uint64_t own_at =
        weir_cpu_round_up(sizeof(*state) + chunks * sizeof(uint32_t) +
                              panels * WEIR_K_PANEL * (sizeof(int32_t) + sizeof(float)),
            64);
    const weir_code_t code =
        weir_cpu_state_alloc(host, node, own_at + (packs ? all_bytes(&b) : 0), own_at, &state);
    if (code != WEIR_OK)
        return code;
    const unsigned char *bytes = packed->data;
    if (packs) {
        unsigned char *own = (unsigned char *)state + own_at;
        b_pack(node, own);
        state->own_b = bytes = own;
    }
    state->low = low;
    state->k = b.k;
    state->n = b.n;
    state->m = weir_cpu_product(a->dims, 0, a->rank - 1);
    state->chunks = chunks;
    state->panels = panels;
    state->b_input = b_input(node);
    state->is_integer = (uint32_t)is_integer(node);
    state->flip = weir_cpu_flip(a);
    blocks_init(state);
    for (uint64_t c = 0; c < chunks; c++)
        state->at[c] = (uint32_t)(c * GROUP_ROWS * WEIR_K_CHUNK_BYTES);
    state->c_offset = chunks * GROUP_ROWS * WEIR_K_CHUNK_BYTES;
    if (!state->is_integer)
        requant_init(state, node, (const int32_t *)(bytes + packed_bytes(&b)));
    out_prepared->state = state;
    out_prepared->scratch_bytes = state->c_offset + GROUP_ROWS * WEIR_K_PANEL * sizeof(int32_t);
    return WEIR_OK;
}

void weir_cpu_int8_matmul_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const int8_matmul_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->row_blocks * state->panel_blocks, 1,
        weir_cpu_min(state->m, GROUP_ROWS) *
                (state->panels_per_task * WEIR_K_PANEL * state->k / 600 + state->k / 16) +
            1);
}

static void a_copy(
    const int8_matmul_state_t *state, const unsigned char *a, uint64_t rows, unsigned char *to)
{
    for (uint64_t row = 0; row < rows; row++)
        for (uint64_t c = 0; c < state->chunks; c++) {
            const uint64_t bytes = weir_cpu_min(state->k - c * WEIR_K_CHUNK_U8, WEIR_K_CHUNK_U8);
            unsigned char *chunk = to + state->at[c] + row * WEIR_K_CHUNK_BYTES;
            memset(chunk, 0, WEIR_K_CHUNK_BYTES);
            memcpy(chunk, a + row * state->k + c * WEIR_K_CHUNK_U8, bytes);
            for (uint64_t i = 0; state->flip && i < bytes; i++)
                chunk[i] ^= state->flip;
        }
}

// One panel of sums becomes bytes of Y.
static void bytes_store(const int8_matmul_state_t *state, const int32_t *c, uint64_t rows,
    uint64_t column, uint64_t columns, unsigned char *y)
{
    for (uint64_t part = 0; part < columns; part += WEIR_K_BLOCK) {
        weir_k_requant_t requant = state->requant;
        requant.bias = state->bias + column + part;
        requant.scale = state->scale + column + part;
        unsigned char bytes[GROUP_ROWS * WEIR_K_BLOCK];
        state->low->requant_u8_x16(rows, c + part, WEIR_K_PANEL, &requant, bytes);
        for (uint64_t row = 0; row < rows; row++)
            memcpy(y + row * state->n + part, bytes + row * WEIR_K_BLOCK,
                weir_cpu_min(columns - part, WEIR_K_BLOCK));
    }
}

static void sums_store(const int8_matmul_state_t *state, const int32_t *c, const int32_t *sums,
    uint32_t zero, uint64_t rows, uint64_t columns, int32_t *y)
{
    for (uint64_t row = 0; row < rows; row++)
        for (uint64_t j = 0; j < columns; j++)
            y[row * state->n + j] =
                (int32_t)((uint32_t)c[row * WEIR_K_PANEL + j] - zero * (uint32_t)sums[j]);
}

weir_code_t weir_cpu_int8_matmul_run(const weir_task_t *task)
{
    const int8_matmul_state_t *state = task->state;
    const uint64_t end =
        weir_cpu_min(task->first + task->count, state->row_blocks * state->panel_blocks);
    const unsigned char *b = state->own_b ? state->own_b : task->inputs[state->b_input].data;
    const int32_t *sums =
        (const int32_t *)(b + state->panels * state->chunks * WEIR_K_CHUNK_PANEL_BYTES);
    const weir_node_t seen = {.inputs = task->inputs};
    const int has_zero =
        task->node->input_count > INTEGER_A_ZERO && task->inputs[INTEGER_A_ZERO].dtype != 0;
    const uint32_t zero = !state->is_integer ? 0
                          : has_zero         ? (uint32_t)weir_cpu_zero(&seen, INTEGER_A_ZERO)
                                             : state->flip;
    unsigned char *scratch = task->scratch;
    uint64_t copied = UINT64_MAX;
    for (uint64_t i = task->first; i < end; i++) {
        const uint64_t row = i / state->panel_blocks * GROUP_ROWS;
        const uint64_t rows = weir_cpu_min(state->m - row, GROUP_ROWS);
        if (copied != row)
            a_copy(
                state, (const unsigned char *)task->inputs[A].data + row * state->k, rows, scratch);
        copied = row;
        const uint64_t first = i % state->panel_blocks * state->panels_per_task;
        const uint64_t last = weir_cpu_min(first + state->panels_per_task, state->panels);
        for (uint64_t panel = first; panel < last; panel++) {
            const weir_k_chunks_block_t call = {
                .rows = rows,
                .panels = 1,
                .chunks = state->chunks,
                .a = scratch,
                .at = state->at,
                .b = b + panel * state->chunks * WEIR_K_CHUNK_PANEL_BYTES,
                .c = scratch + state->c_offset,
                .c_row = WEIR_K_PANEL,
            };
            state->low->chunks_u8s8(&call);
            const uint64_t column = panel * WEIR_K_PANEL;
            const uint64_t columns = weir_cpu_min(state->n - column, WEIR_K_PANEL);
            const uint64_t to = row * state->n + column;
            if (state->is_integer)
                sums_store(state, call.c, sums + column, zero, rows, columns,
                    (int32_t *)task->outputs[0].data + to);
            else
                bytes_store(state, call.c, rows, column, columns,
                    (unsigned char *)task->outputs[0].data + to);
        }
    }
    return WEIR_OK;
}
