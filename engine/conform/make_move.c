// engine/conform/make_move.c: nodes that move elements: shapes, slices, gathers, Resize.
#include "engine/conform/kit.h"

#include <string.h>

static int64_t pick(weir__kit_case_t *c, int64_t low, int64_t high)
{
    return weir__kit_between(c->random, low, high);
}

static uint32_t some_dims(weir__kit_case_t *c, uint32_t least, int64_t *out_dims)
{
    uint32_t rank = (uint32_t)pick(c, least, WEIR_MAX(least, 4));
    if (weir__kit_chance(c->random, 12)) { // enough for several tasks
        out_dims[0] = pick(c, 20, 50);
        out_dims[1] = pick(c, 300, 700);
        return 2;
    }
    weir__kit_dims(c, rank, out_dims);
    return rank;
}

// An axis, one way or the other.
static int64_t spelled(weir__kit_case_t *c, int64_t axis, uint32_t rank)
{
    return weir__kit_chance(c->random, 25) ? axis - (int64_t)rank : axis;
}

// ---- Shapes of the same elements ---------------------------------------------------------------

static bool make_view(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    int64_t dims[WEIR_RANK_MAX], out[WEIR_RANK_MAX], axes[1];
    uint32_t rank = some_dims(c, 1, dims), out_rank = 0;
    int64_t axis = pick(c, 0, rank - 1);
    if (argument == WEIR__KIT_SQUEEZE)
        dims[axis] = 1;
    weir__kit_input(c, dtype, rank, dims);
    axes[0] = axis;
    if (argument == WEIR__KIT_FLATTEN) {
        out[0] = out[1] = 1;
        for (uint32_t i = 0; i < rank; i++)
            out[i >= axis] *= dims[i];
        out_rank = 2;
        weir__kit_attribute_int(c, "axis", axis);
    } else if (argument == WEIR__KIT_RESHAPE) {
        for (uint32_t i = 0; i < rank; i++)
            out[i] = dims[rank - 1 - i];
        out_rank = rank;
        weir__kit_input_ints(c, rank, out);
        weir__kit_attribute_int(c, "allowzero", 1);
    } else {
        for (uint32_t i = 0; i < rank; i++) {
            if (argument == WEIR__KIT_UNSQUEEZE && i == axis)
                out[out_rank++] = 1;
            if (argument == WEIR__KIT_UNSQUEEZE || i != axis)
                out[out_rank++] = dims[i];
        }
        weir__kit_input_ints(c, 1, axes);
    }
    weir__kit_output(c, dtype, out_rank, out);
    return true;
}

static bool make_shape(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    int64_t dims[WEIR_RANK_MAX], count[1];
    uint32_t rank = some_dims(c, 1, dims);
    weir__kit_input(c, dtype, rank, dims);
    if (argument == WEIR__KIT_SIZE) {
        weir__kit_output(c, WEIR_I64, 0, NULL);
        return true;
    }
    int64_t start = pick(c, 0, rank - 1), end = pick(c, start, rank);
    count[0] = end - start;
    weir__kit_attribute_int(c, "start", start);
    weir__kit_attribute_int(c, "end", end == rank ? INT64_MAX : end);
    weir__kit_output(c, WEIR_I64, 1, count);
    return true;
}

static bool make_transpose(weir__kit_case_t *c, weir_dtype_t dtype)
{
    int64_t dims[WEIR_RANK_MAX], out[WEIR_RANK_MAX], perm[WEIR_RANK_MAX];
    uint32_t rank = some_dims(c, 1, dims);
    for (uint32_t i = 0; i < rank; i++)
        perm[i] = i;
    for (uint32_t i = rank; i > 1; i--) {
        uint64_t j = weir__kit_below(c->random, i);
        int64_t kept = perm[j];
        perm[j] = perm[i - 1];
        perm[i - 1] = kept;
    }
    for (uint32_t i = 0; i < rank; i++)
        out[i] = dims[perm[i]];
    weir__kit_input(c, dtype, rank, dims);
    weir__kit_attribute_ints(c, "perm", rank, perm);
    weir__kit_output(c, dtype, rank, out);
    return true;
}

static bool make_concat(weir__kit_case_t *c, weir_dtype_t dtype)
{
    int64_t dims[WEIR_RANK_MAX], total = 0;
    uint32_t rank = some_dims(c, 1, dims), parts = (uint32_t)pick(c, 1, 5);
    int64_t axis = pick(c, 0, rank - 1);
    for (uint32_t i = 0; i < parts; i++) {
        dims[axis] = weir__kit_dim(c);
        total += dims[axis];
        weir__kit_input(c, dtype, rank, dims);
    }
    dims[axis] = total;
    weir__kit_attribute_int(c, "axis", spelled(c, axis, rank));
    weir__kit_output(c, dtype, rank, dims);
    return true;
}

static bool make_split(weir__kit_case_t *c, weir_dtype_t dtype)
{
    int64_t dims[WEIR_RANK_MAX], sizes[WEIR__KIT_OUTPUTS];
    uint32_t rank = some_dims(c, 1, dims), parts = (uint32_t)pick(c, 1, 4);
    int64_t axis = pick(c, 0, rank - 1), total = 0;
    bool is_even = weir__kit_chance(c->random, 30);
    int64_t each = pick(c, 1, 5);
    for (uint32_t i = 0; i < parts; i++) {
        sizes[i] = is_even ? each : weir__kit_dim(c);
        total += sizes[i];
    }
    dims[axis] = total;
    weir__kit_input(c, dtype, rank, dims);
    if (!is_even)
        weir__kit_input_ints(c, parts, sizes);
    weir__kit_attribute_int(c, "axis", spelled(c, axis, rank));
    for (uint32_t i = 0; i < parts; i++) {
        dims[axis] = sizes[i];
        weir__kit_output(c, dtype, rank, dims);
    }
    return true;
}

static bool make_slice(weir__kit_case_t *c, weir_dtype_t dtype)
{
    int64_t dims[WEIR_RANK_MAX], out[WEIR_RANK_MAX];
    int64_t starts[WEIR_RANK_MAX], ends[WEIR_RANK_MAX], axes[WEIR_RANK_MAX], steps[WEIR_RANK_MAX];
    uint32_t rank = some_dims(c, 1, dims);
    for (uint32_t i = 0; i < rank; i++) {
        int64_t step = weir__kit_chance(c->random, 50) ? 1 : pick(c, 1, 3);
        bool is_backward = weir__kit_chance(c->random, 20) && dims[i] > 0;
        int64_t from = dims[i] ? pick(c, 0, dims[i] - 1) : 0, to = pick(c, from, dims[i]);
        axes[i] = i;
        if (is_backward) {
            starts[i] = from;
            ends[i] = -dims[i] - 1; // to the first one
            steps[i] = -step;
            out[i] = from / step + 1;
        } else {
            starts[i] = weir__kit_chance(c->random, 20) && dims[i] ? from - dims[i] : from;
            ends[i] = to == dims[i] && weir__kit_chance(c->random, 50) ? INT64_MAX : to;
            steps[i] = step;
            out[i] = (to - from + step - 1) / step;
        }
    }
    weir__kit_input(c, dtype, rank, dims);
    int64_t *lists[4] = {starts, ends, axes, steps};
    for (uint32_t i = 0; i < 4; i++) {
        weir_tensor_t *list = weir__kit_input_ints(c, rank, lists[i]);
        memcpy(list->data, lists[i], rank * sizeof lists[i][0]); // INT64_MAX is no double
    }
    weir__kit_output(c, dtype, rank, out);
    return true;
}

static bool make_repeat(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    int64_t dims[WEIR_RANK_MAX], out[WEIR_RANK_MAX], list[WEIR_RANK_MAX];
    uint32_t rank = some_dims(c, 1, dims);
    for (uint32_t i = 0; i < rank; i++) {
        out[i] = dims[i];
        list[i] = argument == WEIR__KIT_TILE ? (dims[i] > 100 ? 1 : pick(c, 0, 3)) : dims[i];
        if (argument == WEIR__KIT_TILE)
            out[i] = dims[i] * list[i];
        else if (weir__kit_chance(c->random, 40))
            dims[i] = 1;
    }
    weir__kit_input(c, dtype, rank, dims);
    weir__kit_input_ints(c, rank, list);
    weir__kit_output(c, dtype, rank, out);
    return true;
}

static bool make_pad(weir__kit_case_t *c, weir_dtype_t dtype)
{
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
    int64_t dims[WEIR_RANK_MAX], out[WEIR_RANK_MAX], pads[2 * WEIR_RANK_MAX];
    uint32_t rank = some_dims(c, 1, dims), mode = (uint32_t)pick(c, 0, 3);
    for (uint32_t i = 0; i < rank; i++) {
        if (mode)
            dims[i] = WEIR_MAX(dims[i], 4);
        pads[i] = pick(c, 0, 3);
        pads[i + rank] = mode == 0 && dims[i] > 2 ? pick(c, -2, 3) : pick(c, 0, 3);
        out[i] = dims[i] + pads[i] + pads[i + rank];
    }
    weir__kit_input(c, dtype, rank, dims);
    weir__kit_input_ints(c, 2 * rank, pads);
    if (mode == 0 && weir__kit_chance(c->random, 60))
        weir__kit_input(c, dtype, 0, NULL);
    weir__kit_attribute_text(c, "mode", modes[mode]);
    weir__kit_output(c, dtype, rank, out);
    return true;
}

static bool make_range(weir__kit_case_t *c, weir_dtype_t dtype)
{
    int64_t count[1] = {weir__kit_dim(c)};
    double start = (double)pick(c, 0, 9), delta = (double)pick(c, 1, 2);
    double values[3] = {start, start + delta * (double)count[0], delta};
    for (uint32_t i = 0; i < 3; i++)
        weir__kit_set(weir__kit_input(c, dtype, 0, NULL)->data, dtype, 0, values[i]);
    weir__kit_output(c, dtype, 1, count);
    return true;
}

static bool make_constant(weir__kit_case_t *c, weir_dtype_t dtype)
{
    static const weir_dtype_t dtypes[] = {WEIR_F32, WEIR_I64, WEIR_U8, WEIR_F16};
    int64_t dims[WEIR_RANK_MAX], one[1] = {1};
    if (dtype != WEIR_I64)
        return false;
    uint32_t rank = some_dims(c, 1, dims);
    weir__kit_input_ints(c, rank, dims);
    weir_dtype_t filled = dtypes[weir__kit_below(c->random, 4)];
    weir__kit_input(c, filled, 1, one);
    weir__kit_output(c, filled, rank, dims);
    return true;
}

bool weir__kit_make_move(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    switch (argument) {
    case WEIR__KIT_SHAPE:
    case WEIR__KIT_SIZE:
        return make_shape(c, dtype, argument);
    case WEIR__KIT_TRANSPOSE:
        return make_transpose(c, dtype);
    case WEIR__KIT_CONCAT:
        return make_concat(c, dtype);
    case WEIR__KIT_SPLIT:
        return make_split(c, dtype);
    case WEIR__KIT_SLICE:
        return make_slice(c, dtype);
    case WEIR__KIT_EXPAND:
    case WEIR__KIT_TILE:
        return make_repeat(c, dtype, argument);
    case WEIR__KIT_PAD:
        return make_pad(c, dtype);
    case WEIR__KIT_RANGE:
        return make_range(c, dtype);
    case WEIR__KIT_CONSTANT_OF_SHAPE:
        return make_constant(c, dtype);
    default:
        return make_view(c, dtype, argument);
    }
}

// ---- Gathers
// -------------------------------------------------------------------------------------

static void fill_indices(weir__kit_case_t *c, weir_tensor_t *indices, int64_t end)
{
    for (uint64_t i = 0; i < indices->element_count; i++)
        weir__kit_set(indices->data, indices->dtype, i, (double)pick(c, -end, end - 1));
    if (indices->element_count && weir__kit_chance(c->random, 10)) {
        uint64_t at = weir__kit_below(c->random, indices->element_count);
        weir__kit_set(indices->data, indices->dtype, at,
            (double)(weir__kit_chance(c->random, 50) ? end : -end - 1));
    }
}

bool weir__kit_make_select(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    int64_t dims[WEIR_RANK_MAX], index_dims[WEIR_RANK_MAX], out[WEIR_RANK_MAX];
    uint32_t rank = some_dims(c, 1, dims), index_rank = 0, out_rank = 0;
    weir_dtype_t index = weir__kit_chance(c->random, 60) ? WEIR_I64 : WEIR_I32;
    int64_t axis = argument == WEIR__KIT_GATHER_ND ? 0 : pick(c, 0, rank - 1);
    dims[axis] = WEIR_MAX(dims[axis], 1);
    weir__kit_input(c, dtype, rank, dims);
    if (argument == WEIR__KIT_GATHER_ELEMENTS) {
        index_rank = out_rank = rank;
        for (uint32_t i = 0; i < rank; i++)
            out[i] = index_dims[i] = i == axis ? weir__kit_dim(c) : dims[i];
    } else {
        index_rank = (uint32_t)pick(c, 0, 2);
        weir__kit_dims(c, index_rank, index_dims);
        for (uint32_t i = 0; i < axis; i++)
            out[out_rank++] = dims[i];
        for (uint32_t i = 0; i < index_rank; i++)
            out[out_rank++] = index_dims[i];
        for (uint32_t i = (uint32_t)axis + 1; i < rank; i++)
            out[out_rank++] = dims[i];
    }
    if (argument == WEIR__KIT_GATHER_ND)
        index_dims[index_rank++] = 1;
    fill_indices(c, weir__kit_input(c, index, index_rank, index_dims), dims[axis]);
    if (argument == WEIR__KIT_GATHER_ND)
        weir__kit_attribute_int(c, "batch_dims", 0);
    else
        weir__kit_attribute_int(c, "axis", spelled(c, axis, rank));
    weir__kit_output(c, dtype, out_rank, out);
    return true;
}

// ---- Resize
// --------------------------------------------------------------------------------------

bool weir__kit_make_resize(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const coordinates[] = {
        "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"};
    static const char *const rounding[] = {
        "round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
    (void)argument;
    int64_t dims[4], out[4], none = 0;
    uint32_t mode = (uint32_t)pick(c, 0, 2);
    weir__kit_dims(c, 2, dims);
    for (uint32_t i = 2; i < 4; i++)
        dims[i] = pick(c, 1, 12);
    memcpy(out, dims, sizeof out);
    weir__kit_input(c, dtype, 4, dims);
    if (weir__kit_chance(c->random, 50)) {
        int64_t rank[1] = {4};
        weir_tensor_t *scales = weir__kit_input(c, WEIR_F32, 1, rank);
        scales->flags = WEIR_TENSOR_CONSTANT;
        for (uint32_t i = 0; i < 4; i++) {
            int64_t scale = i < 2 ? 1 : pick(c, 1, 3);
            weir__kit_set(scales->data, WEIR_F32, i, (double)scale);
            out[i] = dims[i] * scale;
        }
        weir__kit_input_absent(c);
    } else {
        out[2] = pick(c, 1, 20);
        out[3] = pick(c, 1, 20);
        weir__kit_input_absent(c);
        weir__kit_input_ints(c, 4, out);
    }
    weir__kit_attribute_text(c, "mode", modes[mode]);
    weir__kit_attribute_text(c, "coordinate_transformation_mode", coordinates[pick(c, 0, 3)]);
    weir__kit_attribute_text(c, "nearest_mode", rounding[pick(c, 0, 3)]);
    weir__kit_attribute_float(c, "cubic_coeff_a", -0.75);
    weir__kit_attribute_int(c, "exclude_outside", 0);
    weir__kit_attribute_float(c, "extrapolation_value", 0);
    weir__kit_attribute_int(c, "antialias", 0);
    weir__kit_attribute_ints(c, "axes", 0, &none);
    weir__kit_attribute_text(c, "keep_aspect_ratio_policy", "stretch");
    weir__kit_output(c, dtype, 4, out);
    return true;
}
