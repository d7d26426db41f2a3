// Resize along the last two axes: "nearest" of any 4-byte dtype, "linear" in f32.
//
// prepare() works out, for every output coordinate, which inputs it reads (and how it blends two);
// a run then goes row by row. A nearest row like the one before it is copied from there. Sizes and
// scales that only a run knows, cubic, antialias and exclude_outside are left to the next plugin.
#include <math.h>
#include <string.h>

#include "backends/cpu/common.h"

typedef struct resize_state {
    const weir_k_table_t *kernels;
    uint64_t planes, planes_per_task, plane_ns;
    int64_t in_y, in_x, out_y, out_x;
    uint32_t is_linear;
    // [out_y] of low, high, weight, then [out_x] of the same. high and weight: linear only.
    int32_t *low_y, *high_y, *low_x, *high_x;
    float *weight_y, *weight_x;
    int32_t numbers[];
} resize_state_t;

static int is_linear(const weir_node_t *node)
{
    return !strcmp(weir_cpu_string(node, "mode"), "linear");
}

static const char *mode_of(const weir_node_t *node)
{
    const char *mode = weir_cpu_string(node, "coordinate_transformation_mode");
    return mode[0] ? mode : "half_pixel";
}

weir_code_t weir_cpu_resize_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_plain(node, 1, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    static const char *const modes[] = {
        "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"};
    const char *mode = weir_cpu_string(node, "mode");
    int is_known = 0;
    for (int i = 0; i < 4; i++)
        is_known |= !strcmp(mode_of(node), modes[i]);
    if (!is_known || (!is_linear(node) && mode[0] && strcmp(mode, "nearest")))
        return weir_cpu_refuse(out_support, "a mode that is not taken");
    if (is_linear(node) ? x->dtype != WEIR_F32 : weir_dtype_bytes(x->dtype) != 4)
        return weir_cpu_refuse(out_support, "takes elements of 4 bytes, linear f32 only");
    if (x->rank < 3 || y->rank != x->rank || y->dtype != x->dtype)
        return weir_cpu_refuse(out_support, "takes [..., height, width]");
    for (uint32_t d = 0; d + 2 < x->rank; d++)
        if (x->dims[d] != y->dims[d])
            return weir_cpu_refuse(out_support, "resizes the last two axes only");
    const weir_attribute_t *axes = weir_node_attribute(node, "axes");
    const weir_attribute_t *policy = weir_node_attribute(node, "keep_aspect_ratio_policy");
    if ((axes && axes->count > 0) || weir_node_int(node, "antialias", 0) ||
        weir_node_int(node, "exclude_outside", 0) ||
        (policy && policy->s && policy->s[0] && strcmp(policy->s, "stretch")))
        return weir_cpu_refuse(out_support, "axes, antialias, exclude_outside or a policy");
    if (weir_cpu_has(node, 1) && node->inputs[1].element_count != 0 &&
        (!weir_cpu_is_constant(&node->inputs[1]) || node->inputs[1].dtype != WEIR_F32 ||
            node->inputs[1].element_count != x->rank))
        return weir_cpu_refuse(out_support, "the scales are not constant");
    return WEIR_OK;
}

// Where output coordinate `at` lies in the input: ONNX operator Resize-19.
static double source_of(const char *mode, double at, double scale, double in)
{
    const double length = scale * in;
    if (mode[0] == 'a')
        return mode[1] == 's' ? at / scale : length == 1.0 ? 0.0 : at * (in - 1) / (length - 1);
    if (mode[0] == 'p' && !(length > 1))
        return 0.0;
    return (at + 0.5) / scale - 0.5;
}

static double nearest_of(const char *mode, double x)
{
    if (!strcmp(mode, "floor"))
        return floor(x);
    if (!strcmp(mode, "ceil"))
        return ceil(x);
    return !strcmp(mode, "round_prefer_ceil") ? floor(x + 0.5) : ceil(x - 0.5);
}

static int32_t inside(double at, int64_t in)
{
    return (int32_t)(at > 0 ? (at >= (double)in ? in - 1 : (int64_t)at) : 0);
}

// The numbers of one axis.
static void axis_fill(
    const weir_node_t *node, uint32_t axis, int32_t *low, int32_t *high, float *weights)
{
    const int64_t in = node->inputs[0].dims[axis], out = node->outputs[0].dims[axis];
    const int by_scales = weir_cpu_has(node, 1) && node->inputs[1].element_count > 0;
    const double scale =
        by_scales ? (double)((const float *)node->inputs[1].data)[axis] : (double)out / (double)in;
    const int is_same = in == out && scale == 1.0;
    for (int64_t o = 0; o < out; o++) {
        const double at =
            is_same ? (double)o : source_of(mode_of(node), (double)o, scale, (double)in);
        if (!is_linear(node)) {
            low[o] = inside(nearest_of(weir_cpu_string(node, "nearest_mode"), at), in);
            continue;
        }
        const double floor_at = floor(at);
        low[o] = inside(floor_at, in);
        high[o] = inside(floor_at + 1, in);
        weights[o] = (float)(at - floor_at);
    }
}

weir_code_t weir_cpu_resize_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    const uint32_t last = x->rank - 1;
    const uint64_t out_y = (uint64_t)y->dims[last - 1], out_x = (uint64_t)y->dims[last];
    const uint64_t per_axis = is_linear(node) ? 3 : 1;
    if (x->dims[last] > INT32_MAX || x->dims[last - 1] > INT32_MAX ||
        (y->element_count > 0 && x->element_count == 0))
        return host->fail(host, WEIR_INVALID_ARGUMENT, "Resize: an axis is empty or too long");
    for (uint32_t d = last - 1; d <= last && weir_cpu_has(node, 1); d++)
        if (node->inputs[1].element_count > d && !(((const float *)node->inputs[1].data)[d] > 0))
            return host->fail(host, WEIR_INVALID_ARGUMENT, "Resize: a scale is not positive");
    resize_state_t *state;
    const weir_code_t code = weir_cpu_state_new(
        host, node, sizeof(*state) + per_axis * (out_y + out_x) * sizeof(int32_t), &state);
    if (code != WEIR_OK)
        return code;
    state->is_linear = (uint32_t)is_linear(node);
    state->in_y = x->dims[last - 1];
    state->in_x = x->dims[last];
    state->out_y = (int64_t)out_y;
    state->out_x = (int64_t)out_x;
    state->planes = y->element_count ? weir_cpu_product(y->dims, 0, last - 1) : 0;
    state->low_y = state->numbers;
    state->low_x = state->low_y + out_y;
    if (state->is_linear) {
        state->high_y = state->low_x + out_x;
        state->high_x = state->high_y + out_y;
        state->weight_y = (float *)(void *)(state->high_x + out_x);
        state->weight_x = state->weight_y + out_y;
    }
    if (state->planes > 0) {
        axis_fill(node, last - 1, state->low_y, state->high_y, state->weight_y);
        axis_fill(node, last, state->low_x, state->high_x, state->weight_x);
    }
    state->plane_ns = out_y * (out_x / 2 + 10);
    state->planes_per_task = WEIR_MAX(1u, WEIR_CPU_TASK_NS / (state->plane_ns + 1));
    out_prepared->state = state;
    out_prepared->scratch_bytes = state->is_linear ? (uint64_t)state->in_x * sizeof(float) : 0;
    return WEIR_OK;
}

void weir_cpu_resize_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const resize_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->planes, state->planes_per_task, state->plane_ns);
}

static void plane_nearest(const resize_state_t *state, const uint32_t *from, uint32_t *to)
{
    for (int64_t y = 0; y < state->out_y; y++, to += state->out_x) {
        const uint32_t *row = from + state->low_y[y] * state->in_x;
        if (y > 0 && state->low_y[y] == state->low_y[y - 1])
            memcpy(to, to - state->out_x, (size_t)state->out_x * sizeof(*to));
        else
            for (int64_t x = 0; x < state->out_x; x++)
                to[x] = row[state->low_x[x]];
    }
}

static void plane_linear(const resize_state_t *state, const float *from, float *to, float *line)
{
    for (int64_t y = 0; y < state->out_y; y++, to += state->out_x) {
        state->kernels->blend_f32((size_t)state->in_x, from + state->low_y[y] * state->in_x,
            from + state->high_y[y] * state->in_x, state->weight_y[y], line);
        state->kernels->blend_picked_f32(
            (size_t)state->out_x, line, state->low_x, state->high_x, state->weight_x, to);
    }
}

weir_code_t weir_cpu_resize_run(const weir_task_t *task)
{
    const resize_state_t *state = task->state;
    const uint64_t in_plane = (uint64_t)(state->in_y * state->in_x);
    const uint64_t out_plane = (uint64_t)(state->out_y * state->out_x);
    uint64_t first, end;
    weir_cpu_task_range(task, state->planes, state->planes_per_task, &first, &end);
    for (uint64_t plane = first; plane < end; plane++) {
        if (state->is_linear)
            plane_linear(state, (const float *)task->inputs[0].data + plane * in_plane,
                (float *)task->outputs[0].data + plane * out_plane, task->scratch);
        else
            plane_nearest(state, (const uint32_t *)task->inputs[0].data + plane * in_plane,
                (uint32_t *)task->outputs[0].data + plane * out_plane);
    }
    return WEIR_OK;
}
