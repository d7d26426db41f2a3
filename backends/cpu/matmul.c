// MatMul and Gemm in f32: batches of C = A B over packed panels of B, epilogue in L1.
//
// Phase "pack" (only where B is not a constant packed at plan time) puts B into panels in shared
// memory. Phase "multiply" divides C into blocks of rows and columns. Within a block K goes in
// steps of WEIR_CPU_BLOCK_K; the chain of every element is spilled to C and resumed, never added up
// from parts, so neither the blocks nor the step change a bit. A is read as it lies, but for two
// cases that are first copied, 12 rows at a time: a row distance of a multiple of 4 KiB (12 rows
// would meet in one L1 set), and a transposed A.
#include <string.h>

#include "backends/cpu/matmul.h"

#define PACK_PANELS 8u
#define BLOCK_ROWS 120u
#define FEW_ROWS 264u
#define BLOCK_FLOATS 262144u // of B: half of an L2 cache

typedef struct matmul_state {
    const weir_k_table_t *kernels;
    uint64_t m, n, k, batch_count;
    uint64_t a_row, a_k, b_k, b_column; // distances in floats; b_*: of a B that is not packed
    uint64_t b_matrix_count;
    uint32_t batch_rank;
    uint32_t is_packed;   // B is a constant in panels
    uint32_t copies_a;    // 12 rows at a time
    uint32_t has_program; // an epilogue, or a Gemm's alpha and C
    uint64_t batch_dims[WEIR_RANK_MAX];
    uint64_t a_batch[WEIR_RANK_MAX], b_batch[WEIR_RANK_MAX]; // in matrices
    uint64_t block_rows, block_columns, row_blocks, column_blocks;
    uint64_t pack_blocks; // per matrix
    weir_cpu_program_t program;
} matmul_state_t;

int weir_cpu_matmul_is_gemm(const weir_node_t *node)
{
    return node->op[0] == 'G';
}

// The sizes of B alone, which may be all that is known when it is packed.
typedef struct matmul_b {
    uint64_t matrix_count, k, n, from_k, from_column;
} matmul_b_t;

static matmul_b_t b_shape(const weir_node_t *node)
{
    const weir_tensor_t *b = &node->inputs[1];
    matmul_b_t shape = {.matrix_count = 1};
    if (b->rank == 1) {
        shape.k = (uint64_t)b->dims[0];
        shape.n = 1;
    } else {
        shape.k = (uint64_t)b->dims[b->rank - 2];
        shape.n = (uint64_t)b->dims[b->rank - 1];
        for (uint32_t d = 0; d + 2 < b->rank; d++)
            shape.matrix_count *= (uint64_t)b->dims[d];
    }
    shape.from_k = shape.n;
    shape.from_column = 1;
    if (weir_cpu_matmul_is_gemm(node) && weir_node_int(node, "transB", 0)) {
        const uint64_t k = shape.n;
        shape.n = shape.k;
        shape.k = k;
        shape.from_k = 1;
        shape.from_column = k;
    }
    return shape;
}

static uint64_t panel_floats(const matmul_b_t *b)
{
    return weir_cpu_round_up(b->n, WEIR_K_PANEL) * b->k;
}

weir_code_t weir_cpu_matmul_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->input_count < 2 || node->inputs[0].rank < 1 || node->inputs[1].rank < 1)
        return weir_cpu_refuse(out_support, "inputs are missing");
    if (weir_cpu_matmul_is_gemm(node) && (node->inputs[0].rank != 2 || node->inputs[1].rank != 2))
        return weir_cpu_refuse(out_support, "Gemm takes matrices only");
    return weir_cpu_anchor_supports(node, weir_cpu_matmul_is_gemm(node) ? 3 : 2, out_support);
}

weir_code_t weir_cpu_matmul_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    if (input != 1 || node->inputs[1].dtype != WEIR_F32)
        return WEIR_OK;
    const matmul_b_t b = b_shape(node);
    out_packing->format = WEIR_CPU_FORMAT_PANELS;
    out_packing->bytes = b.matrix_count * panel_floats(&b) * sizeof(float);
    if (out_packing->bytes == 0)
        out_packing->format = WEIR_FORMAT_ROW_MAJOR;
    return WEIR_OK;
}

weir_code_t weir_cpu_matmul_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    const matmul_b_t b = b_shape(node);
    const uint64_t floats = panel_floats(&b);
    if (input != 1 || bytes < b.matrix_count * floats * sizeof(float))
        return WEIR_INVALID_ARGUMENT;
    // Packing moves numbers and computes none: the plain kernel gives the bits of any.
    for (uint64_t matrix = 0; matrix < b.matrix_count; matrix++)
        weir_k_table__plain.pack_f32_x32(b.k, b.n,
            (const float *)node->inputs[1].data + matrix * b.k * b.n, b.from_k, b.from_column,
            (float *)destination + matrix * floats);
    return WEIR_OK;
}

// The batch dims of A, B and C by numpy's rule, and how a batch of C finds its matrices.
static void batch_init(matmul_state_t *state, const weir_tensor_t *a, const weir_tensor_t *b)
{
    const uint32_t a_rank = a->rank > 2 ? a->rank - 2 : 0, b_rank = b->rank > 2 ? b->rank - 2 : 0;
    uint64_t a_distance = 1, b_distance = 1;
    state->batch_rank = WEIR_MAX(a_rank, b_rank);
    state->batch_count = 1;
    for (uint32_t i = 0; i < state->batch_rank; i++) {
        const uint32_t d = state->batch_rank - 1 - i;
        const uint64_t a_dim = i < a_rank ? (uint64_t)a->dims[a_rank - 1 - i] : 1;
        const uint64_t b_dim = i < b_rank ? (uint64_t)b->dims[b_rank - 1 - i] : 1;
        state->batch_dims[d] = a_dim == 1 ? b_dim : a_dim;
        state->a_batch[d] = a_dim == 1 ? 0 : a_distance;
        state->b_batch[d] = b_dim == 1 ? 0 : b_distance;
        state->batch_count *= state->batch_dims[d];
        a_distance *= a_dim;
        b_distance *= b_dim;
    }
    // One B for all: the batches of A are just more rows.
    if (state->b_matrix_count == 1 && state->batch_count > 0) {
        state->m *= state->batch_count;
        state->batch_count = 1;
        state->batch_rank = 0;
    }
}

// Divides C into about equal blocks, and each again until there are tasks enough, but none below
// some microseconds. A block's part of B stays in the L2 cache for the rows of its neighbours, too.
// With few rows all of them stay together as long as there are columns to divide, so that every
// panel of B comes from memory once and to one core only.
static void blocks_init(matmul_state_t *state)
{
    const uint64_t enough = 16, small = 600000;
    const int has_few_rows = state->m <= FEW_ROWS;
    const uint64_t most_columns = weir_cpu_min(
        WEIR_CPU_BLOCK_COLUMNS, WEIR_MAX(BLOCK_FLOATS / (state->k + !state->k), WEIR_K_PANEL));
    // A copied row of A shall be used for more than one panel.
    const uint64_t least_columns = (state->copies_a ? 4 : has_few_rows ? 1 : 2) * WEIR_K_PANEL;
    const uint64_t least_rows = 2 * WEIR_K_TILE_ROWS;
    uint64_t row_parts = has_few_rows ? 1 : WEIR_DIV_UP(state->m, BLOCK_ROWS);
    uint64_t column_parts = WEIR_DIV_UP(state->n, most_columns);
    for (;;) {
        const uint64_t rows =
            weir_cpu_round_up(WEIR_DIV_UP(state->m, WEIR_MAX(row_parts, 1u)), WEIR_K_TILE_ROWS);
        const uint64_t columns =
            weir_cpu_round_up(WEIR_DIV_UP(state->n, WEIR_MAX(column_parts, 1u)), WEIR_K_PANEL);
        state->block_rows = rows;
        state->block_columns = columns;
        state->row_blocks = rows ? WEIR_DIV_UP(state->m, rows) : 0;
        state->column_blocks = columns ? WEIR_DIV_UP(state->n, columns) : 0;
        const uint64_t tasks = state->batch_count * state->row_blocks * state->column_blocks;
        if (tasks >= enough || rows * columns * state->k < small)
            return;
        const int more_rows = rows > least_rows, more_columns = columns > least_columns;
        if (more_rows && (!has_few_rows || !more_columns))
            row_parts = 2 * state->row_blocks;
        else if (more_columns)
            column_parts = 2 * state->column_blocks;
        else
            return;
    }
}

static int has_c(const weir_node_t *node)
{
    return weir_cpu_matmul_is_gemm(node) && weir_cpu_anchor_inputs(node) > 2 &&
           node->inputs[2].dtype != 0;
}

int weir_cpu_matmul_has_program(const weir_node_t *node)
{
    return node->epilogue || has_c(node) ||
           (weir_cpu_matmul_is_gemm(node) && weir_node_float(node, "alpha", 1.0) != 1.0);
}

void weir_cpu_matmul_program(weir_cpu_program_t *program, void *memory,
    const weir_k_table_t *kernels, const weir_node_t *node)
{
    const double alpha = weir_cpu_matmul_is_gemm(node) ? weir_node_float(node, "alpha", 1.0) : 1.0;
    const double beta = weir_cpu_matmul_is_gemm(node) ? weir_node_float(node, "beta", 1.0) : 1.0;
    weir_cpu_program_begin(program,
        (weir_cpu_room_t){.expression = node->epilogue, .memory = memory}, kernels,
        node->outputs[0].rank, node->outputs[0].dims);
    uint16_t result = weir_cpu_program_anchor(program);
    if (alpha != 1.0)
        result = weir_cpu_program_binary(
            program, WEIR_OP_MUL, result, weir_cpu_program_constant(program, (float)alpha));
    if (has_c(node)) {
        uint16_t c = weir_cpu_program_broadcast(program, node, 2);
        if (beta != 1.0)
            c = weir_cpu_program_binary(
                program, WEIR_OP_MUL, c, weir_cpu_program_constant(program, (float)beta));
        result = weir_cpu_program_binary(program, WEIR_OP_ADD, result, c);
    }
    weir_cpu_anchor_end(program, node, result);
}

static void matmul_init(matmul_state_t *state, const weir_node_t *node)
{
    const weir_tensor_t *a = &node->inputs[0], *b = &node->inputs[1];
    const matmul_b_t shape = b_shape(node);
    state->k = shape.k;
    state->n = shape.n;
    state->b_k = shape.from_k;
    state->b_column = shape.from_column;
    state->b_matrix_count = shape.matrix_count;
    state->is_packed = b->format == WEIR_CPU_FORMAT_PANELS;
    if (weir_cpu_matmul_is_gemm(node) && weir_node_int(node, "transA", 0)) {
        state->m = (uint64_t)a->dims[1];
        state->a_row = 1;
        state->a_k = state->m;
    } else {
        state->m = a->rank == 1 ? 1 : (uint64_t)a->dims[a->rank - 2];
        state->a_row = state->k;
        state->a_k = 1;
    }
    state->copies_a = state->a_k != 1 || state->a_row % 1024 == 0;
    batch_init(state, a, b);
    blocks_init(state);
    state->pack_blocks = WEIR_DIV_UP(shape.n, PACK_PANELS * WEIR_K_PANEL);
    if (state->has_program)
        weir_cpu_matmul_program(&state->program, state + 1, state->kernels, node);
}

weir_code_t weir_cpu_matmul_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const weir_k_table_t *kernels = weir_cpu_isa_table(host);
    if (!kernels)
        return host->fail(host, WEIR_UNAVAILABLE, "option isa of plugin cpu: not on this machine");
    const weir_tensor_t *a = &node->inputs[0];
    const int transposed = weir_cpu_matmul_is_gemm(node) && weir_node_int(node, "transA", 0);
    const matmul_b_t b = b_shape(node);
    if ((uint64_t)a->dims[transposed ? 0 : a->rank - 1] != b.k)
        return host->fail(host, WEIR_INVALID_ARGUMENT, "%s: A has %lld columns, B has %llu rows",
            node->op, (long long)a->dims[transposed ? 0 : a->rank - 1], (unsigned long long)b.k);
    const int programmed = weir_cpu_matmul_has_program(node);
    matmul_state_t *state = host->alloc(
        host, sizeof(*state) + (programmed ? weir_cpu_program_bytes(node->epilogue) : 0));
    if (!state)
        return host->fail(
            host, WEIR_RESOURCE_EXHAUSTED, "no memory for the state of a %s", node->op);
    *state = (matmul_state_t){.kernels = kernels, .has_program = (uint32_t)programmed};
    matmul_init(state, node);
    out_prepared->state = state;
    out_prepared->scratch_bytes =
        WEIR_CPU_COPY_BYTES + (state->has_program ? state->program.scratch_bytes : 0);
    out_prepared->shared_bytes =
        state->is_packed ? 0 : b.matrix_count * panel_floats(&b) * sizeof(float);
    return WEIR_OK;
}

void weir_cpu_matmul_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const matmul_state_t *state = opaque;
    (void)node;
    uint32_t phase = 0;
    if (!state->is_packed) {
        out_tasks->task_count[phase] = WEIR_MAX(1u, state->b_matrix_count * state->pack_blocks);
        out_tasks->task_cost_ns[phase] = state->k * weir_cpu_min(state->n, 256) / 4 + 1;
        phase++;
    }
    out_tasks->task_count[phase] =
        WEIR_MAX(1u, state->batch_count * state->row_blocks * state->column_blocks);
    out_tasks->task_cost_ns[phase] = state->block_rows * state->block_columns * state->k / 40 + 1;
    out_tasks->phase_count = phase + 1;
}

static void pack_run(const matmul_state_t *state, const weir_task_t *task, uint64_t number)
{
    const uint64_t matrix = number / state->pack_blocks;
    const uint64_t first = number % state->pack_blocks * PACK_PANELS * WEIR_K_PANEL;
    const float *from = (const float *)task->inputs[1].data + matrix * state->k * state->n;
    float *to =
        (float *)task->shared + matrix * weir_cpu_round_up(state->n, WEIR_K_PANEL) * state->k;
    state->kernels->pack_f32_x32(state->k,
        weir_cpu_min(state->n - first, PACK_PANELS * WEIR_K_PANEL), from + first * state->b_column,
        state->b_k, state->b_column, to + first * state->k);
}

// Rows [0, rows) and k [0, count) of a block of A, row by row into the scratch.
static void a_copy(
    const matmul_state_t *state, const float *a, uint64_t rows, uint64_t count, float *to)
{
    for (uint64_t row = 0; row < rows; row++) {
        const float *from = a + row * state->a_row;
        float *row_to = to + row * WEIR_CPU_COPY_ROW;
        if (state->a_k == 1)
            memcpy(row_to, from, count * sizeof(*to));
        else
            for (uint64_t k = 0; k < count; k++)
                row_to[k] = from[k * state->a_k];
    }
}

// The block of C of one task, but for the epilogue's interpreter.
typedef struct matmul_block {
    const float *a, *b;
    float *c, *copy;
    uint64_t rows, columns, first; // first: linear index in the output
} matmul_block_t;

static void block_run(
    const matmul_state_t *state, const matmul_block_t *block, weir_cpu_interpreter_t *interpreter)
{
    uint64_t k0 = 0;
    do { // once even if K is 0: C is then zeros
        const uint64_t depth = weir_cpu_min(state->k - k0, WEIR_CPU_BLOCK_K);
        for (uint64_t i = 0; i < block->rows; i += WEIR_K_TILE_ROWS) {
            weir_k_gemm_block_t tile = {
                .rows = weir_cpu_min(block->rows - i, WEIR_K_TILE_ROWS),
                .columns = block->columns,
                .k = depth,
                .a = block->a + i * state->a_row + k0 * state->a_k,
                .a_row = state->a_row,
                .a_k = state->a_k,
                .b = block->b + k0 * WEIR_K_PANEL,
                .b_panel = state->k * WEIR_K_PANEL,
                .b_k = WEIR_K_PANEL,
                .c = block->c + i * state->n,
                .c_row = state->n,
                .resume = k0 > 0,
            };
            if (state->copies_a) {
                a_copy(state, tile.a, tile.rows, depth, block->copy);
                tile.a = block->copy;
                tile.a_row = WEIR_CPU_COPY_ROW;
                tile.a_k = 1;
            }
            state->kernels->gemm_f32_12x32(&tile);
            if (state->has_program && k0 + depth == state->k)
                weir_cpu_anchor_apply(
                    interpreter, block->first + i * state->n, tile.rows, block->columns, state->n);
        }
        k0 += WEIR_CPU_BLOCK_K;
    } while (k0 < state->k);
}

static void multiply_run(const matmul_state_t *state, const weir_task_t *task, uint64_t number,
    weir_cpu_interpreter_t *interpreter)
{
    // Neighbouring tasks share a block of columns of B.
    const uint64_t row_block = number % state->row_blocks;
    const uint64_t column_block = number / state->row_blocks % state->column_blocks;
    const uint64_t batch = number / state->row_blocks / state->column_blocks;
    uint64_t rest = batch, a_matrix = 0, b_matrix = 0;
    for (uint32_t d = state->batch_rank; d-- > 0;) {
        a_matrix += rest % state->batch_dims[d] * state->a_batch[d];
        b_matrix += rest % state->batch_dims[d] * state->b_batch[d];
        rest /= state->batch_dims[d];
    }
    const uint64_t row = row_block * state->block_rows;
    const uint64_t column = column_block * state->block_columns;
    const float *panels = state->is_packed ? task->inputs[1].data : task->shared;
    const uint64_t first = (batch * state->m + row) * state->n + column;
    const matmul_block_t block = {
        .a = (const float *)task->inputs[0].data + a_matrix * state->m * state->k +
             row * state->a_row,
        .b = panels + b_matrix * weir_cpu_round_up(state->n, WEIR_K_PANEL) * state->k +
             column * state->k,
        .c = (float *)task->outputs[0].data + first,
        .copy = task->scratch,
        .rows = weir_cpu_min(state->m - row, state->block_rows),
        .columns = weir_cpu_min(state->n - column, state->block_columns),
        .first = first,
    };
    block_run(state, &block, interpreter);
}

weir_code_t weir_cpu_matmul_run(const weir_task_t *task)
{
    const matmul_state_t *state = task->state;
    if (task->phase == 0 && !state->is_packed) {
        const uint64_t total = state->b_matrix_count * state->pack_blocks;
        for (uint64_t i = task->first; i < task->first + task->count && i < total; i++)
            pack_run(state, task, i);
        return WEIR_OK;
    }
    const uint64_t total = state->batch_count * state->row_blocks * state->column_blocks;
    weir_cpu_interpreter_t interpreter;
    if (state->has_program && total > 0)
        weir_cpu_interpreter_begin(&interpreter, &state->program, task->inputs, task->outputs,
            (unsigned char *)task->scratch + WEIR_CPU_COPY_BYTES);
    for (uint64_t i = task->first; i < task->first + task->count && i < total; i++)
        multiply_run(state, task, i, &interpreter);
    return WEIR_OK;
}
