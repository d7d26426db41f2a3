// MatMul and Gemm with a constant matrix B, their operands rounded to bf16, sums in f32.
//
// B is rounded and packed when the plan is made; a task rounds the rows of A that it needs into its
// scratch. Everything after the product is f32 and the same as in matmul.c. An output's sum is one
// chain over chunks of 32 k, whatever rows and columns a task has.
#include <string.h>

#include "backends/cpu/low.h"
#include "backends/cpu/matmul.h"

#define GROUP_ROWS 32u      // rows that go through all columns of a block before the next ones
#define BLOCK_ROWS 128u     // of a task, at most
#define BLOCK_PANELS 16u    // columns between two looks at B: they stay in L2
#define BLOCK_BYTES 524288u // of rounded A
#define ENOUGH_TASKS 8u
#define SMALL_MACS 8000000u  // a task below this is not divided
#define LEAST_ELEMENTS 1024u // of B: below, rounding A costs more than is won

typedef struct bf16_matmul_state {
    const weir_k_table_t *kernels;
    const weir_k_low_table_t *low;
    uint64_t m, n, k, chunks, panels;
    uint64_t block_rows, row_blocks, block_panels, panel_blocks;
    uint64_t c_offset, program_offset; // in the scratch; rounded A lies at 0
    uint32_t has_program;
    const void *own_b; // of a B that came as it is; NULL: it is packed
    weir_cpu_program_t program;
    // Behind it: where each chunk of A lies (uint32_t [chunks]), the program's memory, own B.
} bf16_matmul_state_t;

typedef struct b_shape {
    uint64_t k, n, k_step, n_step;
} b_shape_t;

static b_shape_t b_shape(const weir_node_t *node)
{
    const weir_tensor_t *b = &node->inputs[1];
    const uint64_t rows = (uint64_t)b->dims[0], columns = (uint64_t)b->dims[1];
    if (weir_cpu_matmul_is_gemm(node) && weir_node_int(node, "transB", 0))
        return (b_shape_t){.k = columns, .n = rows, .k_step = 1, .n_step = columns};
    return (b_shape_t){.k = rows, .n = columns, .k_step = columns, .n_step = 1};
}

static uint64_t chunks_of(const b_shape_t *b)
{
    return WEIR_DIV_UP(b->k, WEIR_K_CHUNK_BF16);
}

static uint64_t packed_bytes(const b_shape_t *b)
{
    return WEIR_DIV_UP(b->n, WEIR_K_PANEL) * chunks_of(b) * WEIR_K_CHUNK_PANEL_BYTES;
}

weir_code_t weir_cpu_bf16_matmul_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_matmul_supports(node, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *b = &node->inputs[1];
    if (!weir_cpu_has_bf16())
        return weir_cpu_refuse(out_support, "this machine has no bf16 instructions");
    if (b->rank != 2 || !(b->flags & WEIR_TENSOR_CONSTANT))
        return weir_cpu_refuse(out_support, "B is not one constant matrix");
    if (b->element_count < LEAST_ELEMENTS)
        return weir_cpu_refuse(out_support, "B is small");
    if (weir_cpu_matmul_is_gemm(node) && weir_node_int(node, "transA", 0))
        return weir_cpu_refuse(out_support, "A is transposed");
    return WEIR_OK;
}

weir_code_t weir_cpu_bf16_matmul_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    if (input != 1)
        return WEIR_OK;
    const b_shape_t b = b_shape(node);
    out_packing->format = WEIR_CPU_FORMAT_BF16;
    out_packing->bytes = packed_bytes(&b);
    return WEIR_OK;
}

static void b_pack(const b_shape_t *b, const float *from, uint16_t *to)
{
    const uint64_t panels = WEIR_DIV_UP(b->n, WEIR_K_PANEL), padded = 32 * chunks_of(b);
    for (uint64_t panel = 0; panel < panels; panel++)
        for (uint64_t k = 0; k < padded; k += 2)
            for (uint64_t j = panel * WEIR_K_PANEL; j < (panel + 1) * WEIR_K_PANEL; j++)
                for (uint64_t i = k; i < k + 2; i++)
                    *to++ = i < b->k && j < b->n
                                ? weir_cpu_bf16(from[i * b->k_step + j * b->n_step])
                                : (uint16_t)0;
}

weir_code_t weir_cpu_bf16_matmul_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    const b_shape_t b = b_shape(node);
    if (input != 1 || bytes < packed_bytes(&b))
        return WEIR_INVALID_ARGUMENT;
    b_pack(&b, node->inputs[1].data, destination);
    return WEIR_OK;
}

// Halves the blocks until there are tasks enough, but none below some tens of microseconds.
static void blocks_init(bf16_matmul_state_t *state)
{
    uint64_t rows = weir_cpu_min(BLOCK_ROWS, weir_cpu_round_up(state->m, WEIR_K_CHUNK_ROWS));
    while (rows > GROUP_ROWS && rows * state->chunks * WEIR_K_CHUNK_BYTES > BLOCK_BYTES)
        rows = weir_cpu_round_up(rows / 2, GROUP_ROWS);
    uint64_t panels = state->panels;
    for (;;) {
        state->row_blocks = rows ? WEIR_DIV_UP(state->m, rows) : 0;
        state->panel_blocks = WEIR_DIV_UP(state->panels, panels);
        if (state->row_blocks * state->panel_blocks >= ENOUGH_TASKS ||
            rows * panels * WEIR_K_PANEL * state->k < SMALL_MACS)
            break;
        if (rows > GROUP_ROWS)
            rows = weir_cpu_round_up(rows / 2, GROUP_ROWS);
        else if (panels > 2)
            panels = WEIR_DIV_UP(panels, 2);
        else
            break;
    }
    state->block_rows = rows;
    state->block_panels = panels;
}

static uint32_t *chunk_places(const bf16_matmul_state_t *state)
{
    return (uint32_t *)(uintptr_t)(state + 1);
}

static uint64_t places_bytes(uint64_t chunks)
{
    return weir_cpu_round_up(chunks * sizeof(uint32_t), 16);
}

static void state_init(bf16_matmul_state_t *state, const weir_node_t *node)
{
    const weir_tensor_t *a = &node->inputs[0];
    const b_shape_t b = b_shape(node);
    state->k = b.k;
    state->n = b.n;
    state->m = 1;
    for (uint32_t d = 0; d + 1 < a->rank; d++)
        state->m *= (uint64_t)a->dims[d];
    state->chunks = chunks_of(&b);
    state->panels = WEIR_DIV_UP(b.n, WEIR_K_PANEL);
    blocks_init(state);
    const uint64_t held = weir_cpu_round_up(state->block_rows, GROUP_ROWS);
    for (uint64_t c = 0; c < state->chunks; c++)
        chunk_places(state)[c] = (uint32_t)(c * held * WEIR_K_CHUNK_BYTES);
    state->c_offset = held * state->chunks * WEIR_K_CHUNK_BYTES;
    state->program_offset = state->c_offset + GROUP_ROWS * WEIR_K_PANEL * sizeof(float);
    if (state->has_program)
        weir_cpu_matmul_program(&state->program,
            (unsigned char *)(state + 1) + places_bytes(state->chunks), state->kernels, node);
}

weir_code_t weir_cpu_bf16_matmul_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const weir_k_table_t *kernels = weir_cpu_isa_table(host);
    const weir_k_low_table_t *low = weir_cpu_low_table(host);
    if (!kernels || !low)
        return host->fail(host, WEIR_UNAVAILABLE, "option isa of plugin cpu: not on this machine");
    const weir_tensor_t *a = &node->inputs[0];
    const b_shape_t b = b_shape(node);
    if ((uint64_t)a->dims[a->rank - 1] != b.k)
        return host->fail(host, WEIR_INVALID_ARGUMENT, "%s: A has %lld columns, B has %llu rows",
            node->op, (long long)a->dims[a->rank - 1], (unsigned long long)b.k);
    if (b.k > UINT32_MAX / 256)
        return host->fail(host, WEIR_UNSUPPORTED, "%s: rows of A are too long", node->op);
    const int programmed = weir_cpu_matmul_has_program(node);
    const int packs = node->inputs[1].format != WEIR_CPU_FORMAT_BF16;
    const uint64_t own_at =
        weir_cpu_round_up(sizeof(bf16_matmul_state_t) + places_bytes(chunks_of(&b)) +
                              (programmed ? weir_cpu_program_bytes(node->epilogue) : 0),
            64);
    bf16_matmul_state_t *state = host->alloc(host, own_at + (packs ? packed_bytes(&b) : 0));
    if (!state)
        return host->fail(
            host, WEIR_RESOURCE_EXHAUSTED, "no memory for the state of a %s", node->op);
    *state =
        (bf16_matmul_state_t){.kernels = kernels, .low = low, .has_program = (uint32_t)programmed};
    state_init(state, node);
    if (packs) {
        void *own = (unsigned char *)state + own_at;
        b_pack(&b, node->inputs[1].data, own);
        state->own_b = own;
    }
    out_prepared->state = state;
    out_prepared->scratch_bytes =
        state->program_offset + (programmed ? state->program.scratch_bytes : 0);
    return WEIR_OK;
}

void weir_cpu_bf16_matmul_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const bf16_matmul_state_t *state = opaque;
    (void)node;
    out_tasks->phase_count = 1;
    out_tasks->task_count[0] = WEIR_MAX(1u, state->row_blocks * state->panel_blocks);
    out_tasks->task_cost_ns[0] =
        state->block_rows * state->block_panels * (WEIR_K_PANEL * state->k / 300 + 1) +
        state->block_rows * state->k / 8 + 1;
}

// The block of C of one task; `first_panel` of B.
typedef struct block {
    const bf16_matmul_state_t *state;
    const unsigned char *b;
    float *c;
    unsigned char *scratch;
    uint64_t first_row, rows, first_panel, panels;
} block_t;

static void a_round(const block_t *block, const float *a)
{
    const bf16_matmul_state_t *state = block->state;
    for (uint64_t c = 0; c < state->chunks; c++) {
        const uint64_t left = state->k - c * WEIR_K_CHUNK_BF16;
        const float *from = a + block->first_row * state->k + c * WEIR_K_CHUNK_BF16;
        state->low->bf16_rows(block->rows, from, weir_cpu_min(left, 16), from + 16,
            left > 16 ? weir_cpu_min(left - 16, 16) : 0, state->k,
            block->scratch + chunk_places(state)[c]);
    }
}

// Rows [row, row + rows) of the task, panels [panel, panel + panels) of B.
static void group_run(const block_t *block, uint64_t row, uint64_t panel, uint64_t panels,
    weir_cpu_interpreter_t *interpreter)
{
    const bf16_matmul_state_t *state = block->state;
    const uint64_t column = panel * WEIR_K_PANEL;
    const uint64_t columns = weir_cpu_min(panels * WEIR_K_PANEL, state->n - column);
    const uint64_t whole = columns / WEIR_K_PANEL, rest = columns % WEIR_K_PANEL;
    const uint64_t first = (block->first_row + row) * state->n + column;
    weir_k_chunks_block_t call = {
        .rows = weir_cpu_min(block->rows - row, GROUP_ROWS),
        .panels = whole,
        .chunks = state->chunks,
        .a = block->scratch + row * WEIR_K_CHUNK_BYTES,
        .at = chunk_places(state),
        .b_panel = state->chunks * WEIR_K_CHUNK_PANEL_BYTES,
        .c = block->c + first,
        .c_row = state->n,
        .c_panel = WEIR_K_PANEL,
    };
    call.b = block->b + panel * call.b_panel;
    if (whole > 0)
        state->low->chunks_bf16(&call);
    if (rest > 0) {
        const float *spilled = (void *)(block->scratch + state->c_offset);
        call.panels = 1;
        call.b += whole * call.b_panel;
        call.c = block->scratch + state->c_offset;
        call.c_row = WEIR_K_PANEL;
        state->low->chunks_bf16(&call);
        for (uint64_t i = 0; i < call.rows; i++)
            memcpy(block->c + first + i * state->n + whole * WEIR_K_PANEL,
                spilled + i * WEIR_K_PANEL, rest * sizeof(*spilled));
    }
    if (state->has_program)
        weir_cpu_anchor_apply(interpreter, first, call.rows, columns, state->n);
}

weir_code_t weir_cpu_bf16_matmul_run(const weir_task_t *task)
{
    const bf16_matmul_state_t *state = task->state;
    const uint64_t end =
        weir_cpu_min(task->first + task->count, state->row_blocks * state->panel_blocks);
    weir_cpu_interpreter_t interpreter;
    if (state->has_program && task->first < end)
        weir_cpu_interpreter_begin(&interpreter, &state->program, task->inputs, task->outputs,
            (unsigned char *)task->scratch + state->program_offset);
    uint64_t rounded = UINT64_MAX;
    for (uint64_t i = task->first; i < end; i++) {
        // Neighbouring tasks share rows of A.
        block_t block = {.state = state,
            .b = state->own_b ? state->own_b : task->inputs[1].data,
            .c = task->outputs[0].data,
            .scratch = task->scratch,
            .first_row = i / state->panel_blocks * state->block_rows,
            .first_panel = i % state->panel_blocks * state->block_panels};
        block.rows = weir_cpu_min(state->m - block.first_row, state->block_rows);
        block.panels = weir_cpu_min(state->panels - block.first_panel, state->block_panels);
        if (rounded != block.first_row)
            a_round(&block, task->inputs[0].data);
        rounded = block.first_row;
        for (uint64_t p = 0; p < block.panels; p += BLOCK_PANELS)
            for (uint64_t row = 0; row < block.rows; row += GROUP_ROWS)
                group_run(&block, row, block.first_panel + p,
                    weir_cpu_min(block.panels - p, BLOCK_PANELS), &interpreter);
    }
    return WEIR_OK;
}
