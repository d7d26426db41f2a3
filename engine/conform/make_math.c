// engine/conform/make_math.c: nodes that multiply, convolve, pool, normalise and reduce.
#include "engine/conform/kit.h"

#include <string.h>

static int64_t pick(weir__kit_case_t *c, int64_t low, int64_t high)
{
    return weir__kit_between(c->random, low, high);
}

// A weight: constant as often as not.
static weir_tensor_t *weight(
    weir__kit_case_t *c, weir_dtype_t dtype, uint32_t rank, const int64_t *dims)
{
    bool has_specials = c->has_specials;
    c->has_specials = false; // 0 times Inf in what is padded is nobody's business
    weir_tensor_t *tensor = weir__kit_input(c, dtype, rank, dims);
    c->has_specials = has_specials;
    if (weir__kit_chance(c->random, 70))
        tensor->flags = WEIR_TENSOR_CONSTANT;
    return tensor;
}

// ---- Products
// ------------------------------------------------------------------------------------

static int64_t extent(weir__kit_case_t *c)
{
    uint64_t kind = weir__kit_below(c->random, 100);
    if (kind < 3)
        return 0;
    if (kind < 15)
        return 1;
    return kind < 80 ? pick(c, 2, 20) : pick(c, 21, 150);
}

static bool make_gemm(weir__kit_case_t *c, weir_dtype_t dtype)
{
    int64_t m = extent(c), n = extent(c), k = extent(c);
    int64_t trans_a = pick(c, 0, 1), trans_b = pick(c, 0, 1);
    weir__kit_input(c, dtype, 2, (int64_t[]){trans_a ? k : m, trans_a ? m : k});
    weight(c, dtype, 2, (int64_t[]){trans_b ? n : k, trans_b ? k : n});
    int64_t out[2] = {m, n};
    switch (pick(c, 0, 4)) {
    case 0:
        break;
    case 1:
        weight(c, dtype, 2, out);
        break;
    case 2:
        weight(c, dtype, 0, NULL);
        break;
    case 3:
        weight(c, dtype, 2, (int64_t[]){m, 1});
        break;
    default:
        weight(c, dtype, 1, &n);
    }
    weir__kit_attribute_float(c, "alpha", weir__kit_chance(c->random, 60) ? 1.0 : 0.5);
    weir__kit_attribute_float(c, "beta", weir__kit_chance(c->random, 60) ? 1.0 : 2.0);
    weir__kit_attribute_int(c, "transA", trans_a);
    weir__kit_attribute_int(c, "transB", trans_b);
    weir__kit_output(c, dtype, 2, out);
    return true;
}

bool weir__kit_make_matmul(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    if (argument == WEIR__KIT_GEMM)
        return make_gemm(c, dtype);
    int64_t a[WEIR_RANK_MAX], b[WEIR_RANK_MAX], out[WEIR_RANK_MAX];
    int64_t m = extent(c), n = extent(c), k = extent(c);
    uint32_t batch = weir__kit_chance(c->random, 50) ? 0 : (uint32_t)pick(c, 1, 2), rank = 0;
    bool vector_a = weir__kit_chance(c->random, 8), vector_b = weir__kit_chance(c->random, 8);
    bool shared_b = weir__kit_chance(c->random, 50);
    for (uint32_t i = 0; i < batch; i++) {
        out[i] = pick(c, 1, 4);
        a[i] = weir__kit_chance(c->random, 25) ? 1 : out[i];
        b[i] = weir__kit_chance(c->random, 25) && a[i] == out[i] ? 1 : out[i];
        if (vector_b || shared_b)
            a[i] = out[i];
        if (vector_a)
            b[i] = out[i];
    }
    uint32_t rank_a = vector_a ? 0 : batch,
             rank_b = vector_b || (shared_b && !vector_a) ? 0 : batch;
    if (rank_a || rank_b)
        rank = batch;
    if (!vector_a)
        a[rank_a++] = out[rank++] = m;
    a[rank_a++] = k;
    b[rank_b++] = k;
    if (!vector_b)
        b[rank_b++] = out[rank++] = n;
    weir__kit_input(c, dtype, rank_a, a);
    weight(c, dtype, rank_b, b);
    weir__kit_output(c, dtype, rank, out);
    return true;
}

// ---- Windows
// -------------------------------------------------------------------------------------

typedef struct window {
    uint32_t rank, automatic;
    int64_t in[3], out[3], kernel[3], strides[3], dilations[3], pads[6];
    int64_t ceil_mode;
} window_t;

static const char *const auto_pads[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"};

static void choose_axis(weir__kit_case_t *c, window_t *w, uint32_t i, bool is_pool)
{
    w->kernel[i] = pick(c, 1, w->rank == 3 ? 2 : 4);
    w->strides[i] = weir__kit_chance(c->random, 55) ? 1 : pick(c, 2, 3);
    w->dilations[i] = weir__kit_chance(c->random, 80) ? 1 : 2;
    int64_t reach = w->dilations[i] * (w->kernel[i] - 1) + 1;
    int64_t most = is_pool ? (w->kernel[i] - 1) / 1 : 2;
    w->in[i] = reach + pick(c, 0, w->rank == 3 ? 4 : 14);
    if (w->automatic == 0)
        for (uint32_t side = 0; side < 2; side++)
            w->pads[i + side * w->rank] =
                weir__kit_chance(c->random, 50) ? 0 : pick(c, 0, WEIR_MIN(most, 2));
    int64_t room = w->in[i] + w->pads[i] + w->pads[i + w->rank] - reach;
    w->out[i] = (w->ceil_mode ? WEIR_DIV_UP(room, w->strides[i]) : room / w->strides[i]) + 1;
    if (w->ceil_mode && (w->out[i] - 1) * w->strides[i] >= w->in[i] + w->pads[i])
        w->out[i]--;
    if (w->automatic == 1 || w->automatic == 2)
        w->out[i] = WEIR_DIV_UP(w->in[i], w->strides[i]);
}

static void choose_window(weir__kit_case_t *c, window_t *w, bool is_pool, bool is_transposed)
{
    memset(w, 0, sizeof *w);
    w->rank = weir__kit_chance(c->random, 75) ? 2 : (uint32_t)pick(c, 1, 3);
    if (!is_transposed && weir__kit_chance(c->random, 15))
        w->automatic = (uint32_t)pick(c, 1, 3);
    if (is_pool && w->automatic == 0)
        w->ceil_mode = weir__kit_chance(c->random, 25);
    bool is_plain = is_transposed && weir__kit_chance(c->random, 40); // the usual doubling
    for (uint32_t i = 0; i < w->rank; i++) {
        choose_axis(c, w, i, is_pool);
        if (is_plain) {
            w->kernel[i] = w->strides[i] = 2;
            w->dilations[i] = 1;
            w->pads[i] = w->pads[i + w->rank] = 0;
        }
    }
}

static void window_attributes(weir__kit_case_t *c, const window_t *w)
{
    weir__kit_attribute_text(c, "auto_pad", auto_pads[w->automatic]);
    weir__kit_attribute_ints(c, "kernel_shape", w->rank, w->kernel);
    weir__kit_attribute_ints(c, "strides", w->rank, w->strides);
    weir__kit_attribute_ints(c, "dilations", w->rank, w->dilations);
    weir__kit_attribute_ints(c, "pads", 2 * w->rank, w->pads);
}

static bool make_conv(weir__kit_case_t *c, weir_dtype_t dtype, bool is_transposed)
{
    window_t w;
    choose_window(c, &w, false, is_transposed);
    int64_t group = weir__kit_chance(c->random, 60) ? 1 : pick(c, 2, 4), none = 0;
    bool is_depthwise = !is_transposed && weir__kit_chance(c->random, 25);
    int64_t in_each = pick(c, 1, 6),
            out_each = pick(c, 1, weir__kit_chance(c->random, 20) ? 40 : 6);
    if (is_depthwise) {
        group = pick(c, 1, 20);
        in_each = out_each = 1;
    }
    int64_t x[5] = {pick(c, 1, 2), in_each * group}, y[5] = {x[0], out_each * group}, padding[3];
    int64_t k[5] = {is_transposed ? x[1] : y[1], is_transposed ? out_each : in_each};
    for (uint32_t i = 0; i < w.rank; i++) {
        x[2 + i] = w.in[i];
        y[2 + i] = w.out[i];
        k[2 + i] = w.kernel[i];
        padding[i] = w.strides[i] > 1 && weir__kit_chance(c->random, 40) ? w.strides[i] - 1 : 0;
        if (is_transposed)
            y[2 + i] = w.strides[i] * (w.in[i] - 1) + padding[i] +
                       w.dilations[i] * (w.kernel[i] - 1) + 1 - w.pads[i] - w.pads[i + w.rank];
        if (y[2 + i] < 1)
            return false;
    }
    weir__kit_input(c, dtype, w.rank + 2, x);
    weight(c, dtype, w.rank + 2, k);
    if (weir__kit_chance(c->random, 60))
        weight(c, dtype, 1, &y[1]);
    window_attributes(c, &w);
    weir__kit_attribute_int(c, "group", group);
    if (is_transposed) {
        weir__kit_attribute_ints(c, "output_padding", w.rank, padding);
        weir__kit_attribute_ints(c, "output_shape", 0, &none);
    }
    weir__kit_output(c, dtype, w.rank + 2, y);
    return true;
}

bool weir__kit_make_window(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    if (argument == WEIR__KIT_CONV || argument == WEIR__KIT_CONV_TRANSPOSE)
        return make_conv(c, dtype, argument == WEIR__KIT_CONV_TRANSPOSE);
    window_t w;
    choose_window(c, &w, true, false);
    int64_t x[5] = {pick(c, 1, 2), pick(c, 1, weir__kit_chance(c->random, 30) ? 40 : 9)};
    int64_t y[5] = {x[0], x[1]};
    for (uint32_t i = 0; i < w.rank; i++) {
        x[2 + i] = w.in[i];
        y[2 + i] = argument == WEIR__KIT_GLOBAL_POOL ? 1 : w.out[i];
    }
    weir__kit_input(c, dtype, w.rank + 2, x);
    weir__kit_output(c, dtype, w.rank + 2, y);
    if (argument == WEIR__KIT_GLOBAL_POOL)
        return true;
    window_attributes(c, &w);
    weir__kit_attribute_int(c, "ceil_mode", w.ceil_mode);
    if (argument == WEIR__KIT_AVERAGE_POOL) {
        weir__kit_attribute_int(c, "count_include_pad", pick(c, 0, 1));
        return true;
    }
    c->has_specials = false;
    weir__kit_fill(c, &c->inputs[0], dtype & WEIR__KIT_UNSIGNED ? 0 : -40, 40);
    weir__kit_attribute_int(c, "storage_order", 0);
    if (weir__kit_chance(c->random, 20))
        weir__kit_output(c, WEIR_I64, w.rank + 2, y);
    return true;
}

// ---- Norms
// ---------------------------------------------------------------------------------------

static bool make_layer_norm(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t rank, int64_t *dims)
{
    int64_t axis = pick(c, 0, rank - 1);
    for (uint32_t i = (uint32_t)axis; i < rank; i++)
        dims[i] = WEIR_MAX(dims[i], 2);
    weir__kit_input(c, dtype, rank, dims);
    weight(c, dtype, rank - (uint32_t)axis, dims + axis);
    if (weir__kit_chance(c->random, 70))
        weight(c, dtype, rank - (uint32_t)axis, dims + axis);
    weir__kit_output(c, dtype, rank, dims);
    weir__kit_attribute_int(c, "axis", axis);
    weir__kit_attribute_float(c, "epsilon", 0.01);
    return true;
}

static void make_channels(
    weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument, uint32_t rank, const int64_t *dims)
{
    weir__kit_input(c, dtype, rank, dims);
    uint32_t count = argument == WEIR__KIT_BATCH_NORM ? 4 : 2;
    for (uint32_t i = 0; i < count; i++) {
        weir_tensor_t *each = weight(c, dtype, 1, &dims[1]);
        if (i == 3) // a variance
            weir__kit_fill(c, each, 0.2, 3);
    }
    weir__kit_attribute_float(c, "epsilon", 0.01);
}

bool weir__kit_make_norm(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    int64_t dims[WEIR_RANK_MAX];
    uint32_t rank = (uint32_t)pick(c, 1, 4);
    bool has_channels = argument == WEIR__KIT_BATCH_NORM || argument == WEIR__KIT_INSTANCE_NORM;
    if (has_channels || argument == WEIR__KIT_LRN)
        rank = has_channels ? (uint32_t)pick(c, 3, 4) : 4;
    weir__kit_dims(c, rank, dims);
    if (argument != WEIR__KIT_SOFTMAX)
        for (uint32_t i = 0; i < rank; i++)
            dims[i] = WEIR_MAX(dims[i], argument == WEIR__KIT_INSTANCE_NORM && i >= 2 ? 2 : 1);
    int64_t axis = pick(c, 0, rank - 1);
    if (argument == WEIR__KIT_LAYER_NORM)
        return make_layer_norm(c, dtype, rank, dims);
    if (has_channels)
        make_channels(c, dtype, argument, rank, dims);
    else
        weir__kit_input(c, dtype, rank, dims);
    if (argument == WEIR__KIT_LP_NORM) {
        weir__kit_attribute_int(c, "axis", axis);
        weir__kit_attribute_int(c, "p", pick(c, 1, 2));
    } else if (argument == WEIR__KIT_LRN) {
        weir__kit_attribute_float(c, "alpha", 0.001);
        weir__kit_attribute_float(c, "beta", 0.75);
        weir__kit_attribute_float(c, "bias", 1.0);
        weir__kit_attribute_int(c, "size", pick(c, 1, 5));
    } else if (argument == WEIR__KIT_SOFTMAX) {
        weir__kit_attribute_int(
            c, "axis", weir__kit_chance(c->random, 25) ? axis - (int64_t)rank : axis);
        weir__kit_attribute_int(c, "coerce", weir__kit_chance(c->random, 25));
    }
    weir__kit_output(c, dtype, rank, dims);
    return true;
}

// ---- Reductions
// ----------------------------------------------------------------------------------

bool weir__kit_make_reduce(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    int64_t dims[WEIR_RANK_MAX], out[WEIR_RANK_MAX], axes[WEIR_RANK_MAX];
    uint32_t rank = (uint32_t)pick(c, 1, 4), out_rank = 0, axis_count = 0;
    bool is_one = argument == WEIR__KIT_ARG;
    int64_t axis = pick(c, 0, rank - 1), keep = pick(c, 0, 1);
    weir__kit_dims(c, rank, dims);
    for (uint32_t i = 0; i < rank; i++) // empty sets have no largest element
        dims[i] = WEIR_MAX(dims[i], 1);
    weir_tensor_t *x = weir__kit_input(c, dtype, rank, dims);
    if (argument == WEIR__KIT_CUM_SUM) {
        weir_tensor_t *which = weir__kit_input(c, WEIR_I64, 0, NULL);
        weir__kit_set(which->data, WEIR_I64, 0, (double)axis);
        weir__kit_attribute_int(c, "exclusive", pick(c, 0, 1));
        weir__kit_attribute_int(c, "reverse", pick(c, 0, 1));
        weir__kit_output(c, dtype, rank, dims);
        return true;
    }
    if (strcmp(c->node.op, "ReduceLogSum") == 0)
        weir__kit_fill(c, x, 1, 4);
    if (strcmp(c->node.op, "ReduceProd") == 0)
        weir__kit_fill(c, x, 0.7, 1.3);
    for (uint32_t i = 0; i < rank; i++) {
        bool is_reduced = is_one ? i == axis : weir__kit_chance(c->random, 50);
        if (is_reduced)
            axes[axis_count++] = i;
        if (!is_reduced || keep)
            out[out_rank++] = is_reduced ? 1 : dims[i];
    }
    if (axis_count == 0) { // all of them
        for (out_rank = 0; keep && out_rank < rank; out_rank++)
            out[out_rank] = 1;
    } else if (!is_one) {
        weir__kit_input_ints(c, axis_count, axes);
    }
    weir__kit_attribute_int(c, "keepdims", keep);
    if (is_one) {
        weir__kit_attribute_int(c, "axis", axis);
        weir__kit_attribute_int(c, "select_last_index", pick(c, 0, 1));
    } else {
        weir__kit_attribute_int(c, "noop_with_empty_axes", 0);
    }
    weir__kit_output(c, is_one ? WEIR_I64 : dtype, out_rank, out);
    return true;
}

bool weir__kit_make_lstm(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    static const char *const directions[] = {"forward", "reverse", "bidirectional"};
    (void)argument;
    uint32_t direction = (uint32_t)pick(c, 0, 2);
    int64_t count = direction == 2 ? 2 : 1, hidden = pick(c, 1, 9), in = pick(c, 1, 9);
    int64_t length = pick(c, 1, 5), batch = pick(c, 1, 3);
    weir__kit_input(c, dtype, 3, (int64_t[]){length, batch, in});
    weight(c, dtype, 3, (int64_t[]){count, 4 * hidden, in});
    weight(c, dtype, 3, (int64_t[]){count, 4 * hidden, hidden});
    if (weir__kit_chance(c->random, 70))
        weight(c, dtype, 2, (int64_t[]){count, 8 * hidden});
    else
        weir__kit_input_absent(c);
    weir__kit_input_absent(c);
    if (weir__kit_chance(c->random, 50)) {
        weir__kit_input(c, dtype, 3, (int64_t[]){count, batch, hidden});
        weir__kit_input(c, dtype, 3, (int64_t[]){count, batch, hidden});
    }
    for (uint32_t i = 0; i < c->node.input_count; i++)
        if (c->inputs[i].dtype)
            weir__kit_fill(c, &c->inputs[i], -0.5, 0.5);
    weir__kit_attribute_text(c, "direction", directions[direction]);
    weir__kit_attribute_int(c, "hidden_size", hidden);
    weir__kit_attribute_int(c, "input_forget", 0);
    weir__kit_attribute_int(c, "layout", 0);
    weir__kit_attribute_float(c, "clip", 0);
    weir__kit_output(c, dtype, 4, (int64_t[]){length, count, batch, hidden});
    weir__kit_output(c, dtype, 3, (int64_t[]){count, batch, hidden});
    weir__kit_output(c, dtype, 3, (int64_t[]){count, batch, hidden});
    return true;
}
