// kernels/ref/matmul.c: MatMul and Gemm.
//
// Source: ONNX operators MatMul-13 (numpy.matmul's rule) and Gemm-13. Sums run over k ascending in
// double (integers: in 64 bits, wrapping) and are rounded once. A task is a tile of one batch.
#include "kernels/ref/internal.h"

#define TILE_ROWS 32
#define TILE_COLUMNS 256

// y[batch] = a[...] b[...], each [m, k] x [k, n]; a_strides and b_strides count whole matrices.
typedef struct problem {
    int64_t m, n, k;
    int64_t a_size, b_size; // elements of one matrix
    uint32_t batch_rank;
    int64_t batch_dims[WEIR_KR_RANK_MAX];
    int64_t a_strides[WEIR_KR_RANK_MAX], b_strides[WEIR_KR_RANK_MAX];
    int64_t batches;
} problem_t;

typedef struct tile {
    int64_t batch, row, row_end, column, column_end;
} tile_t;

static int64_t tiles_of(int64_t extent, int64_t tile)
{
    return (extent + tile - 1) / tile;
}

static uint64_t task_count(const problem_t *problem)
{
    return (uint64_t)(problem->batches * tiles_of(problem->m, TILE_ROWS) *
                      tiles_of(problem->n, TILE_COLUMNS));
}

// 0: there is no such tile (an empty result has one task, and nothing to do).
static int tile_of(const problem_t *problem, uint64_t task, tile_t *out_tile)
{
    if (task >= task_count(problem))
        return 0;
    int64_t rows = tiles_of(problem->m, TILE_ROWS), columns = tiles_of(problem->n, TILE_COLUMNS);
    int64_t t = (int64_t)task;
    out_tile->column = t % columns * TILE_COLUMNS;
    out_tile->column_end = weir__kr_min(out_tile->column + TILE_COLUMNS, problem->n);
    out_tile->row = t / columns % rows * TILE_ROWS;
    out_tile->row_end = weir__kr_min(out_tile->row + TILE_ROWS, problem->m);
    out_tile->batch = t / columns / rows;
    return 1;
}

static int64_t batch_offset(const problem_t *problem, const int64_t *strides, int64_t batch)
{
    int64_t offset = 0;
    for (uint32_t d = problem->batch_rank; d-- > 0;) {
        offset += batch % problem->batch_dims[d] * strides[d];
        batch /= problem->batch_dims[d];
    }
    return offset;
}

// Batch strides of one operand, broadcast to the batch dims. 0: it does not fit.
static int operand_strides(
    const weir_kr_tensor_t *t, const problem_t *problem, int64_t *out_strides)
{
    uint32_t rank = t->rank > 2 ? t->rank - 2 : 0;
    weir_kr_tensor_t batch = {.dims = t->dims, .rank = rank};
    return weir__kr_broadcast(&batch, problem->batch_dims, problem->batch_rank, out_strides);
}

// A 1-D a is a row, a 1-D b a column; the batch dims are the broadcast of the others.
static int matmul_problem(const weir_kr_call_t *call, problem_t *out)
{
    const weir_kr_tensor_t *a = &call->inputs[0], *b = &call->inputs[1];
    if (a->rank == 0 || b->rank == 0)
        return 0;
    *out = (problem_t){.m = a->rank > 1 ? a->dims[a->rank - 2] : 1,
        .k = a->dims[a->rank - 1],
        .n = b->rank > 1 ? b->dims[b->rank - 1] : 1,
        .batches = 1};
    if (out->k != b->dims[b->rank > 1 ? b->rank - 2 : 0])
        return 0;
    out->a_size = out->m * out->k;
    out->b_size = out->k * out->n;
    uint32_t a_batch = a->rank > 2 ? a->rank - 2 : 0, b_batch = b->rank > 2 ? b->rank - 2 : 0;
    out->batch_rank = a_batch > b_batch ? a_batch : b_batch;
    for (uint32_t i = 0; i < out->batch_rank; i++) { // from the innermost outward
        int64_t left = i < a_batch ? a->dims[a_batch - 1 - i] : 1;
        int64_t right = i < b_batch ? b->dims[b_batch - 1 - i] : 1;
        int64_t dim = left == 1 ? right : left;
        out->batch_dims[out->batch_rank - 1 - i] = dim;
        out->batches *= dim;
    }
    return operand_strides(a, out, out->a_strides) && operand_strides(b, out, out->b_strides) &&
           call->outputs[0].element_count == (uint64_t)(out->batches * out->m * out->n);
}

static int gemm_problem(const weir_kr_call_t *call, problem_t *out)
{
    const weir_kr_tensor_t *a = &call->inputs[0], *b = &call->inputs[1], *y = &call->outputs[0];
    if (a->rank != 2 || b->rank != 2 || y->rank != 2)
        return 0;
    int trans_a = call->params->axis.trans_a != 0, trans_b = call->params->axis.trans_b != 0;
    *out = (problem_t){
        .m = a->dims[trans_a], .k = a->dims[!trans_a], .n = b->dims[!trans_b], .batches = 1};
    return out->k == b->dims[trans_b] && y->dims[0] == out->m && y->dims[1] == out->n;
}

void weir_kr_plan_matmul(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    problem_t problem;
    uint64_t count = matmul_problem(call, &problem) ? task_count(&problem) : 1;
    out_plan->task_count = count ? count : 1;
    out_plan->scratch_bytes = 0;
}

void weir_kr_plan_gemm(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    problem_t problem;
    uint64_t count = gemm_problem(call, &problem) ? task_count(&problem) : 1;
    out_plan->task_count = count ? count : 1;
    out_plan->scratch_bytes = 0;
}

#define WEIR_KR_BODY "kernels/ref/matmul_body.inc"
#include "kernels/ref/each_float.inc"
#include "kernels/ref/each_int.inc"

// y = a b over the last two axes.
int weir_k_matmul__ref(const weir_kr_call_t *call)
{
    problem_t problem;
    if (!matmul_problem(call, &problem))
        return WEIR_KR_FAIL(call, "MatMul: the shapes do not fit");
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(matmul, call, &problem)
        WEIR_KR_INT_CASES(matmul, call, &problem)
    default:
        return WEIR_KR_FAIL(call, "MatMul: unknown element type");
    }
}

// y = alpha a' b' + beta c, where ' transposes if asked and c broadcasts to [m, n].
int weir_k_gemm__ref(const weir_kr_call_t *call)
{
    problem_t problem;
    if (!gemm_problem(call, &problem))
        return WEIR_KR_FAIL(call, "Gemm: the shapes do not fit");
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(gemm, call, &problem)
    default:
        return WEIR_KR_FAIL(call, "Gemm: unknown element type");
    }
}
