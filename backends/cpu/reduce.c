// ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceL1, ReduceL2, ReduceSumSquare, the global
// pools and LpNormalization along the last axis, in f32, where the axes that go are neighbours.
//
// The input is [outer][length][inner]. Every result is one fold over `length` elements in one fixed
// order, whether they lie side by side (inner 1) or not, so its bits depend on nothing beside it.
#include <math.h>
#include <string.h>

#include "backends/cpu/common.h"

#define BLOCK_COLUMNS 256u

typedef enum reduce_kind {
    REDUCE_SUM,
    REDUCE_MEAN,
    REDUCE_MAX,
    REDUCE_MIN,
    REDUCE_L1,
    REDUCE_L2,
    REDUCE_SUM_SQUARE,
} reduce_kind_t;

typedef struct reduce_state {
    const weir_k_table_t *kernels;
    weir_k_fold_t *fold;
    weir_k_fold_columns_t *fold_columns;
    uint64_t outer, length, inner;
    uint64_t units, per_task, unit_ns; // a unit is a row, or a block of columns
    reduce_kind_t kind;
    uint32_t normalises;
} reduce_state_t;

static int kind_of(const weir_node_t *node, reduce_kind_t *out_kind)
{
    static const struct {
        const char *op;
        reduce_kind_t kind;
    } kinds[] = {{"ReduceSum", REDUCE_SUM}, {"ReduceMean", REDUCE_MEAN}, {"ReduceMax", REDUCE_MAX},
        {"ReduceMin", REDUCE_MIN}, {"ReduceL1", REDUCE_L1}, {"ReduceL2", REDUCE_L2},
        {"ReduceSumSquare", REDUCE_SUM_SQUARE}, {"GlobalAveragePool", REDUCE_MEAN},
        {"GlobalMaxPool", REDUCE_MAX}};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        if (!strcmp(node->op, kinds[i].op)) {
            *out_kind = kinds[i].kind;
            return 1;
        }
    *out_kind = weir_node_int(node, "p", 2) == 1 ? REDUCE_L1 : REDUCE_L2;
    return !strcmp(node->op, "LpNormalization");
}

// The axes that go are [*out_first, *out_end); NULL, or why they are not such a range.
static const char *axes_of(const weir_node_t *node, uint32_t *out_first, uint32_t *out_end)
{
    const weir_tensor_t *x = &node->inputs[0];
    uint32_t going = 0;
    *out_first = *out_end = 0;
    if (node->op[0] == 'L') {
        const int64_t axis = weir_cpu_axis(weir_node_int(node, "axis", -1), x->rank);
        if (axis < 0 || axis + 1 != (int64_t)x->rank)
            return "normalises along the last axis only";
        going = 1u << axis;
    } else if (node->op[0] == 'G') {
        if (x->rank < 3)
            return "takes at least one spatial dim";
        going = ((1u << x->rank) - 1) & ~3u;
    } else if (!weir_cpu_has(node, 1) ||
               (weir_cpu_is_constant(&node->inputs[1]) && node->inputs[1].element_count == 0)) {
        if (weir_node_int(node, "noop_with_empty_axes", 0))
            return "no axes, and noop_with_empty_axes";
        going = (1u << x->rank) - 1;
    } else if (!weir_cpu_is_constant(&node->inputs[1])) {
        return "the axes are not constant";
    } else {
        for (uint64_t i = 0; i < node->inputs[1].element_count; i++) {
            const int64_t axis = weir_cpu_axis(weir_cpu_index(&node->inputs[1], i), x->rank);
            if (axis < 0)
                return "an axis is out of range";
            going |= 1u << axis;
        }
    }
    if (going == 0)
        return "a scalar";
    while (!(going >> *out_first & 1))
        ++*out_first;
    *out_end = *out_first;
    while (going >> *out_end & 1)
        ++*out_end;
    return going >> *out_end ? "the axes are not neighbours" : NULL;
}

weir_code_t weir_cpu_reduce_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_not_f32(node, 1, out_support);
    reduce_kind_t kind;
    uint32_t first, end;
    if (code != WEIR_OK)
        return code;
    if (!kind_of(node, &kind))
        return weir_cpu_refuse(out_support, "no such reduction");
    const char *refusal = axes_of(node, &first, &end);
    return refusal ? weir_cpu_refuse(out_support, refusal) : WEIR_OK;
}

static void kernels_choose(reduce_state_t *state)
{
    const weir_k_table_t *k = state->kernels;
    switch (state->kind) {
    case REDUCE_MAX:
        state->fold = k->fold_max_f32;
        state->fold_columns = k->fold_columns_max_f32;
        break;
    case REDUCE_MIN:
        state->fold = k->fold_min_f32;
        state->fold_columns = k->fold_columns_min_f32;
        break;
    case REDUCE_L1:
        state->fold = k->fold_abs_f32;
        state->fold_columns = k->fold_columns_abs_f32;
        break;
    case REDUCE_L2:
    case REDUCE_SUM_SQUARE:
        state->fold = k->fold_square_f32;
        state->fold_columns = k->fold_columns_square_f32;
        break;
    default:
        state->fold = k->fold_sum_f32;
        state->fold_columns = k->fold_columns_sum_f32;
    }
}

weir_code_t weir_cpu_reduce_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const weir_tensor_t *x = &node->inputs[0];
    reduce_state_t *state;
    reduce_kind_t kind;
    uint32_t first, end;
    const char *refusal = kind_of(node, &kind) ? axes_of(node, &first, &end) : "no such reduction";
    if (refusal)
        return host->fail(host, WEIR_INVALID_ARGUMENT, "%s: %s", node->op, refusal);
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    state->kind = kind;
    state->outer = weir_cpu_product(x->dims, 0, first);
    state->length = weir_cpu_product(x->dims, first, end);
    state->inner = weir_cpu_product(x->dims, end, x->rank);
    state->normalises = node->op[0] == 'L';
    kernels_choose(state);
    const uint64_t columns = weir_cpu_min(state->inner, BLOCK_COLUMNS);
    state->units = state->outer * WEIR_DIV_UP(state->inner, BLOCK_COLUMNS);
    state->unit_ns = state->length * columns / (state->inner == 1 ? 20 : 6) + 25;
    state->per_task = WEIR_MAX(1u, WEIR_CPU_TASK_NS / state->unit_ns);
    out_prepared->state = state;
    return WEIR_OK;
}

void weir_cpu_reduce_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const reduce_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->units, state->per_task, state->unit_ns);
}

// What comes after the fold, in place.
static void finish(const reduce_state_t *state, uint64_t count, float *out)
{
    if (state->kind == REDUCE_MEAN)
        state->kernels->divide_f32(count, out, (float)state->length, out);
    for (uint64_t i = 0; i < count && state->kind == REDUCE_L2; i++)
        out[i] = sqrtf(out[i]);
}

static void row_normalise(const reduce_state_t *state, const float *x, float *out)
{
    float norm = state->fold(state->length, x);
    finish(state, 1, &norm);
    // A row of zeros stays one.
    state->kernels->divide_f32(state->length, x, norm == 0.0f ? 1.0f : norm, out);
}

weir_code_t weir_cpu_reduce_run(const weir_task_t *task)
{
    const reduce_state_t *state = task->state;
    const uint64_t blocks = WEIR_DIV_UP(state->inner, BLOCK_COLUMNS);
    uint64_t first, end;
    weir_cpu_task_range(task, state->units, state->per_task, &first, &end);
    for (uint64_t unit = first; unit < end; unit++) {
        const uint64_t row = unit / blocks, column = unit % blocks * BLOCK_COLUMNS;
        const uint64_t columns = weir_cpu_min(state->inner - column, BLOCK_COLUMNS);
        const float *x =
            (const float *)task->inputs[0].data + row * state->length * state->inner + column;
        float *out = (float *)task->outputs[0].data;
        if (state->normalises) {
            row_normalise(state, x, out + row * state->length);
            continue;
        }
        out += row * state->inner + column;
        if (state->inner == 1)
            *out = state->fold(state->length, x);
        else
            state->fold_columns(state->length, columns, x, state->inner, out);
        finish(state, columns, out);
    }
    return WEIR_OK;
}
