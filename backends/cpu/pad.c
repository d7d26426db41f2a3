// Pad, of any dtype and mode: row by row of the output. The pads may be known only in a run.
//
// Every output coordinate maps to one of the input, or in mode "constant" to the value; the middle
// of a row is a plain copy.
#include <stdio.h>
#include <string.h>

#include "backends/cpu/common.h"

typedef enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP } pad_mode_t;

typedef struct pad_state {
    const weir_k_table_t *kernels;
    uint64_t rows, rows_per_task, row_ns;
    pad_mode_t mode;
} pad_state_t;

static int mode_of(const weir_node_t *node)
{
    static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
    const char *mode = weir_cpu_string(node, "mode");
    for (int i = 0; i < 4; i++)
        if (!strcmp(mode, names[i]))
            return i;
    return mode[0] ? -1 : 0;
}

weir_code_t weir_cpu_pad_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_plain(node, 2, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0];
    if (mode_of(node) < 0)
        return weir_cpu_refuse(out_support, "an unknown mode");
    if (x->rank == 0 || node->outputs[0].rank != x->rank)
        return weir_cpu_refuse(out_support, "pads a scalar");
    if (node->inputs[1].dtype != WEIR_I64 ||
        (weir_cpu_has(node, 3) && !(node->inputs[3].dtype & (WEIR_I32 | WEIR_I64))))
        return weir_cpu_refuse(out_support, "its pads or axes are not integers");
    if (weir_cpu_has(node, 2) && node->inputs[2].dtype != x->dtype)
        return weir_cpu_refuse(out_support, "its value has another dtype");
    return WEIR_OK;
}

weir_code_t weir_cpu_pad_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const weir_tensor_t *y = &node->outputs[0];
    pad_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    const uint64_t row_bytes = (uint64_t)y->dims[y->rank - 1] * weir_dtype_bytes(y->dtype);
    state->mode = (pad_mode_t)mode_of(node);
    state->rows = row_bytes ? weir_cpu_product(y->dims, 0, y->rank - 1) : 0;
    state->row_ns = row_bytes / 8 + 20;
    state->rows_per_task = WEIR_MAX(1u, WEIR_CPU_TASK_NS / state->row_ns);
    out_prepared->state = state;
    return WEIR_OK;
}

void weir_cpu_pad_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const pad_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->rows, state->rows_per_task, state->row_ns);
}

// What comes before the first element along every axis; NULL, or what is wrong.
static const char *begins_of(const weir_task_t *task, int64_t *begins)
{
    const weir_tensor_t *x = &task->inputs[0], *y = &task->outputs[0], *pads = &task->inputs[1];
    const int has_axes = weir_cpu_has(task->node, 3);
    const uint64_t count = has_axes ? task->inputs[3].element_count : x->rank;
    memset(begins, 0, WEIR_RANK_MAX * sizeof(*begins));
    int64_t ends[WEIR_RANK_MAX] = {0};
    if (pads->element_count != 2 * count || count > x->rank)
        return "two pads for every axis are needed";
    for (uint64_t i = 0; i < count; i++) {
        const int64_t axis =
            weir_cpu_axis(has_axes ? weir_cpu_index(&task->inputs[3], i) : (int64_t)i, x->rank);
        if (axis < 0)
            return "an axis is out of range";
        begins[axis] = weir_cpu_index(pads, i);
        ends[axis] = weir_cpu_index(pads, i + count);
    }
    for (uint32_t d = 0; d < x->rank; d++)
        if (begins[d] > y->dims[d] || begins[d] < -x->dims[d] ||
            ends[d] != y->dims[d] - x->dims[d] - begins[d])
            return "the pads do not fit the output";
    return NULL;
}

// The input coordinate that `at` stands for on an axis of `dim`, or -1: the value.
static int64_t source_of(pad_mode_t mode, int64_t at, int64_t dim)
{
    if (at >= 0 && at < dim)
        return at;
    if (mode == PAD_CONSTANT || dim == 0)
        return -1;
    if (mode == PAD_EDGE)
        return at < 0 ? 0 : dim - 1;
    if (mode == PAD_WRAP)
        return (at % dim + dim) % dim;
    if (dim == 1)
        return 0;
    const int64_t period = 2 * (dim - 1), folded = (at % period + period) % period;
    return folded < dim ? folded : period - folded;
}

static void element_copy(char *to, const char *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

// One row of the output from one of the input; row NULL: all value.
static void row_run(pad_mode_t mode, int64_t begin, int64_t dim, int64_t count, const char *row,
    const char *value, size_t bytes, char *to)
{
    int64_t inside = row ? WEIR_MIN(WEIR_MAX(begin, 0), count) : count;
    const int64_t inside_end = row ? WEIR_MIN(WEIR_MAX(begin + dim, inside), count) : count;
    for (int64_t i = 0; i < inside; i++) {
        const int64_t from = row ? source_of(mode, i - begin, dim) : -1;
        element_copy(to + (size_t)i * bytes, from < 0 ? value : row + (size_t)from * bytes, bytes);
    }
    if (inside_end > inside)
        memcpy(to + (size_t)inside * bytes, row + (size_t)(inside - begin) * bytes,
            (size_t)(inside_end - inside) * bytes);
    for (int64_t i = inside_end; i < count; i++) {
        const int64_t from = source_of(mode, i - begin, dim);
        element_copy(to + (size_t)i * bytes, from < 0 ? value : row + (size_t)from * bytes, bytes);
    }
}

weir_code_t weir_cpu_pad_run(const weir_task_t *task)
{
    const pad_state_t *state = task->state;
    const weir_tensor_t *x = &task->inputs[0], *y = &task->outputs[0];
    static const char zeros[8] = {0};
    int64_t begins[WEIR_RANK_MAX];
    const char *wrong = begins_of(task, begins);
    if (wrong) {
        if (task->error_bytes > 0)
            snprintf(task->error, task->error_bytes, "%s", wrong);
        return WEIR_INVALID_ARGUMENT;
    }
    const size_t bytes = weir_dtype_bytes(x->dtype);
    const char *value =
        weir_cpu_has(task->node, 2) && task->inputs[2].data ? task->inputs[2].data : zeros;
    const uint32_t last = x->rank - 1;
    uint64_t first, end;
    weir_cpu_task_range(task, state->rows, state->rows_per_task, &first, &end);
    for (uint64_t row = first; row < end; row++) {
        uint64_t rest = row, distance = 1, offset = 0;
        int is_value = 0;
        for (uint32_t d = last; d-- > 0;) {
            const int64_t at = (int64_t)(rest % (uint64_t)y->dims[d]);
            const int64_t from = source_of(state->mode, at - begins[d], x->dims[d]);
            is_value |= from < 0;
            offset += (uint64_t)WEIR_MAX(from, 0) * distance;
            distance *= (uint64_t)x->dims[d];
            rest /= (uint64_t)y->dims[d];
        }
        const char *from = (const char *)x->data + offset * (uint64_t)x->dims[last] * bytes;
        row_run(state->mode, begins[last], x->dims[last], y->dims[last], is_value ? NULL : from,
            value, bytes, (char *)y->data + row * (uint64_t)y->dims[last] * bytes);
    }
    return WEIR_OK;
}
