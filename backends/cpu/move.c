// Transpose, Slice, Expand and Tile, of any dtype: the output dense, the input by strides.
//
// What a node does to its dims becomes a list of (extent, stride of the input), outermost first;
// dims of 1 go, neighbours that one stride reaches merge, and the two that matter most are left to
// the kernel. Starts, repeats and their like may be computed in a run: then so is the list.
#include <string.h>

#include "backends/cpu/common.h"

#define DIMS_MAX (2 * WEIR_RANK_MAX)
#define UNIT_BYTES 16384u

typedef struct move_dims {
    uint32_t rank;
    int64_t base; // element of the input where it starts
    uint64_t extents[DIMS_MAX];
    int64_t strides[DIMS_MAX];
} move_dims_t;

typedef struct move_state {
    const weir_k_table_t *kernels;
    uint64_t units, units_per_task, unit_ns;
    uint32_t is_known; // dims need no input that only a run knows
    int64_t base;
    weir_k_copy_shape_t shape;
} move_state_t;

weir_code_t weir_cpu_move_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_plain(node, 1, out_support);
    if (code != WEIR_OK)
        return code;
    if (node->outputs[0].dtype != node->inputs[0].dtype)
        return weir_cpu_refuse(out_support, "changes the dtype");
    for (uint32_t i = 1; i < node->input_count; i++)
        if (node->inputs[i].dtype & ~(weir_dtype_t)(WEIR_I32 | WEIR_I64))
            return weir_cpu_refuse(out_support, "its sizes are not integers");
    if (node->outputs[0].rank > 8)
        return weir_cpu_refuse(out_support, "takes at most 8 dims");
    return WEIR_OK;
}

static void dim_add(move_dims_t *dims, uint64_t extent, int64_t stride)
{
    if (extent == 1)
        return;
    if (dims->rank > 0) {
        const uint32_t last = dims->rank - 1;
        if (dims->strides[last] == stride * (int64_t)extent) {
            dims->extents[last] *= extent;
            dims->strides[last] = stride;
            return;
        }
    }
    dims->extents[dims->rank] = extent;
    dims->strides[dims->rank++] = stride;
}

static void strides_of(const weir_tensor_t *tensor, int64_t *strides)
{
    int64_t distance = 1;
    for (uint32_t d = tensor->rank; d-- > 0;) {
        strides[d] = distance;
        distance *= tensor->dims[d];
    }
}

static const char *transpose_dims(const weir_node_t *node, move_dims_t *dims)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    const weir_attribute_t *perm = weir_node_attribute(node, "perm");
    const uint32_t given = perm && perm->type == WEIR_ATTR_INTS ? perm->count : 0;
    int64_t strides[WEIR_RANK_MAX];
    if (x->rank != y->rank || (given != 0 && given != x->rank))
        return "perm does not fit the rank";
    strides_of(x, strides);
    for (uint32_t d = 0; d < y->rank; d++) {
        const int64_t axis =
            given ? weir_cpu_axis(perm->ints[d], x->rank) : (int64_t)(x->rank - 1 - d);
        if (axis < 0 || x->dims[axis] != y->dims[d])
            return "perm does not fit the output";
        dim_add(dims, (uint64_t)y->dims[d], strides[axis]);
    }
    return NULL;
}

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static const char *slice_dims(
    const weir_node_t *node, const weir_tensor_t *inputs, move_dims_t *dims)
{
    const weir_tensor_t *x = &inputs[0], *y = &node->outputs[0], *starts = &inputs[1];
    const int has_axes = weir_cpu_has(node, 3), has_steps = weir_cpu_has(node, 4);
    const uint64_t count = starts->element_count;
    int64_t strides[WEIR_RANK_MAX], steps[WEIR_RANK_MAX], firsts[WEIR_RANK_MAX] = {0};
    if (x->rank != y->rank || inputs[2].element_count != count || count > x->rank ||
        (has_axes && inputs[3].element_count != count) ||
        (has_steps && inputs[4].element_count != count))
        return "starts, ends, axes and steps differ in length";
    strides_of(x, strides);
    for (uint32_t d = 0; d < x->rank; d++)
        steps[d] = 1;
    for (uint64_t i = 0; i < count; i++) {
        const int64_t axis =
            weir_cpu_axis(has_axes ? weir_cpu_index(&inputs[3], i) : (int64_t)i, x->rank);
        if (axis < 0)
            return "an axis is out of range";
        const int64_t dim = x->dims[axis], start = weir_cpu_index(starts, i);
        const int64_t step = has_steps ? weir_cpu_index(&inputs[4], i) : 1;
        if (step == 0 || step == INT64_MIN)
            return "a step is out of range";
        steps[axis] = step;
        firsts[axis] = clamp(start < 0 ? start + dim : start, 0, step > 0 ? dim : dim - 1);
    }
    for (uint32_t d = 0; d < x->rank; d++) {
        // The output's dims rule: they were inferred from the same numbers, and memory is theirs.
        const int64_t reach = steps[d] > 0 ? x->dims[d] - 1 - firsts[d] : firsts[d];
        const int64_t pace = steps[d] > 0 ? steps[d] : -steps[d];
        if (y->dims[d] > 0 && (reach < 0 || y->dims[d] - 1 > reach / pace))
            return "starts, ends and steps do not fit the output";
        dims->base += firsts[d] * strides[d];
        dim_add(dims, (uint64_t)y->dims[d], y->dims[d] == 1 ? 0 : strides[d] * steps[d]);
    }
    return NULL;
}

static const char *expand_dims(const weir_node_t *node, move_dims_t *dims)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    int64_t strides[WEIR_RANK_MAX];
    if (y->rank < x->rank)
        return "the output has fewer dims than the input";
    strides_of(x, strides);
    for (uint32_t d = 0; d < y->rank; d++) {
        const uint32_t missing = y->rank - x->rank;
        const int64_t from = d < missing ? 1 : x->dims[d - missing];
        if (from != 1 && from != y->dims[d])
            return "the input does not broadcast to the output";
        dim_add(dims, (uint64_t)y->dims[d], from == 1 ? 0 : strides[d - missing]);
    }
    return NULL;
}

static const char *tile_dims(const weir_node_t *node, move_dims_t *dims)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    int64_t strides[WEIR_RANK_MAX];
    if (y->rank != x->rank)
        return "the ranks differ";
    strides_of(x, strides);
    for (uint32_t d = 0; d < y->rank; d++) {
        if (x->dims[d] == 0 ? y->dims[d] != 0 : y->dims[d] % x->dims[d] != 0)
            return "the output is not a multiple of the input";
        dim_add(dims, x->dims[d] ? (uint64_t)(y->dims[d] / x->dims[d]) : 0, 0);
        dim_add(dims, (uint64_t)x->dims[d], strides[d]);
    }
    return NULL;
}

static const char *dims_of(
    const weir_node_t *node, const weir_tensor_t *inputs, move_dims_t *out_dims)
{
    out_dims->rank = 0;
    out_dims->base = 0;
    switch (node->op[0]) {
    case 'S':
        return slice_dims(node, inputs, out_dims);
    case 'E':
        return expand_dims(node, out_dims);
    default:
        return node->op[1] == 'r' ? transpose_dims(node, out_dims) : tile_dims(node, out_dims);
    }
}

// The kernel's rows and columns: the last dim, and before it the one that lies dense in the input,
// if the last one does not, else the next to last.
static const char *shape_of(
    const move_dims_t *dims, uint32_t element_bytes, weir_k_copy_shape_t *out_shape)
{
    uint64_t to_strides[DIMS_MAX], distance = 1;
    if (dims->rank > WEIR_K_COPY_RANK + 2)
        return "too many dims";
    *out_shape = (weir_k_copy_shape_t){
        .element_bytes = element_bytes, .rows = 1, .columns = 1, .from_column = 1, .to_column = 1};
    for (uint32_t d = dims->rank; d-- > 0;) {
        to_strides[d] = distance;
        distance *= dims->extents[d];
    }
    const uint32_t last = dims->rank - 1;
    uint32_t row = last > 0 && dims->rank > 1 ? last - 1 : UINT32_MAX;
    if (dims->rank > 0) {
        out_shape->columns = dims->extents[last];
        out_shape->from_column = dims->strides[last];
        for (uint32_t d = 0; d < last && dims->strides[last] > 1; d++)
            if (dims->strides[d] == 1)
                row = d;
    }
    for (uint32_t d = 0; d + 1 < dims->rank; d++) {
        if (d == row) {
            out_shape->rows = dims->extents[d];
            out_shape->from_row = dims->strides[d];
            out_shape->to_row = (int64_t)to_strides[d];
            continue;
        }
        const uint32_t o = out_shape->outer_rank++;
        out_shape->outer[o] = dims->extents[d];
        out_shape->from_outer[o] = dims->strides[d];
        out_shape->to_outer[o] = (int64_t)to_strides[d];
    }
    const uint64_t row_bytes = out_shape->columns * element_bytes;
    out_shape->chunk_rows = WEIR_MAX(1u, UNIT_BYTES / WEIR_MAX(row_bytes, 1u));
    // Where the input does not lie along the row: whole cache lines of it.
    if (out_shape->from_column > 1)
        out_shape->chunk_rows = weir_cpu_round_up(out_shape->chunk_rows, 64);
    return NULL;
}

static int is_known(const weir_node_t *node)
{
    if (node->op[0] != 'S')
        return 1;
    for (uint32_t i = 1; i < node->input_count; i++)
        if (node->inputs[i].dtype != 0 && !weir_cpu_is_constant(&node->inputs[i]))
            return 0;
    return 1;
}

// Which dims merge depends on where a slice starts in no case but a step, so the units are the same
// for every start; with steps that only a run knows there is one unit.
weir_code_t weir_cpu_move_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    move_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    const uint32_t element_bytes = weir_dtype_bytes(node->inputs[0].dtype);
    const uint64_t bytes = node->outputs[0].element_count * element_bytes;
    state->is_known = (uint32_t)is_known(node);
    state->units = state->units_per_task = bytes > 0;
    state->unit_ns = bytes / 4 + 30;
    if (state->is_known && bytes > 0) {
        move_dims_t dims;
        const char *wrong = dims_of(node, node->inputs, &dims);
        if (!wrong)
            wrong = shape_of(&dims, element_bytes, &state->shape);
        if (wrong) {
            host->free(host, state);
            return host->fail(host, WEIR_INVALID_ARGUMENT, "%s: %s", node->op, wrong);
        }
        const weir_k_copy_shape_t *s = &state->shape;
        state->base = dims.base;
        state->units = WEIR_DIV_UP(s->rows, s->chunk_rows);
        for (uint32_t d = 0; d < s->outer_rank; d++)
            state->units *= s->outer[d];
        const uint64_t elements = weir_cpu_min(s->rows, s->chunk_rows) * s->columns;
        state->unit_ns = elements * element_bytes / (s->from_column == 1 ? 16 : 4) + 5;
        state->units_per_task = WEIR_MAX(1u, WEIR_CPU_TASK_NS / state->unit_ns);
    }
    out_prepared->state = state;
    return WEIR_OK;
}

void weir_cpu_move_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const move_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(
        out_tasks, state->units, WEIR_MAX(1u, state->units_per_task), state->unit_ns);
}

static void units_run(const weir_task_t *task, const move_state_t *state,
    const weir_k_copy_shape_t *shape, int64_t base, uint64_t first, uint64_t count)
{
    const char *from = task->inputs[0].data;
    state->kernels->copy_any(
        shape, first, count, from + base * (int64_t)shape->element_bytes, task->outputs[0].data);
}

weir_code_t weir_cpu_move_run(const weir_task_t *task)
{
    const move_state_t *state = task->state;
    uint64_t first, end;
    weir_cpu_task_range(task, state->units, WEIR_MAX(1u, state->units_per_task), &first, &end);
    if (first >= end)
        return WEIR_OK;
    if (state->is_known) {
        units_run(task, state, &state->shape, state->base, first, end - first);
        return WEIR_OK;
    }
    move_dims_t dims;
    weir_k_copy_shape_t shape;
    const char *wrong = dims_of(task->node, task->inputs, &dims);
    if (!wrong)
        wrong = shape_of(&dims, weir_dtype_bytes(task->inputs[0].dtype), &shape);
    if (wrong) {
        if (task->error_bytes > 0)
            strncpy(task->error, wrong, task->error_bytes - 1);
        return WEIR_INVALID_ARGUMENT;
    }
    uint64_t units = WEIR_DIV_UP(shape.rows, shape.chunk_rows);
    for (uint32_t d = 0; d < shape.outer_rank; d++)
        units *= shape.outer[d];
    units_run(task, state, &shape, dims.base, 0, units);
    return WEIR_OK;
}
