// backends/opencl/op_common.c: what the movement operators share: axes, sharing out of work, and
// the strided copy that most of them are.
#include "backends/opencl/op_host.h"

#include <string.h>

int64_t weir_cl_axis(int64_t axis, uint32_t rank)
{
    if (axis < 0)
        axis += rank;
    return axis >= 0 && axis < (int64_t)rank ? axis : -1;
}

int64_t weir_cl_product(const int64_t *dims, uint32_t first, uint32_t end)
{
    int64_t product = 1;
    for (uint32_t d = first; d < end; d++)
        product *= dims[d];
    return product;
}

int64_t weir_cl_integer(const weir_tensor_t *tensor, uint64_t i)
{
    int64_t wide;
    int32_t narrow;
    if (tensor->dtype == WEIR_I32) {
        memcpy(&narrow, (const char *)tensor->data + i * sizeof narrow, sizeof narrow);
        return narrow;
    }
    memcpy(&wide, (const char *)tensor->data + i * sizeof wide, sizeof wide);
    return wide;
}

bool weir_cl_is_known(const weir_tensor_t *tensor)
{
    return !tensor->dtype || (tensor->flags & WEIR_TENSOR_CONSTANT);
}

bool weir_cl_is_there(const weir_node_t *node, uint32_t input)
{
    return input < node->input_count && node->inputs[input].dtype;
}

weir_code_t weir_cl_is_plain(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->prologue || node->epilogue)
        return weir_cl_no(out_support, "it takes no expressions");
    for (uint32_t i = 0; i < node->input_count + node->output_count; i++) {
        const weir_tensor_t *tensor =
            i < node->input_count ? &node->inputs[i] : &node->outputs[i - node->input_count];
        if (tensor->format != WEIR_FORMAT_ROW_MAJOR)
            return weir_cl_no(out_support, "it works on row-major tensors");
        if (tensor->rank > WEIR_CL_AXES_MAX)
            return weir_cl_no(out_support, "rank %u, at most %u", tensor->rank, WEIR_CL_AXES_MAX);
    }
    return WEIR_OK;
}

void weir_cl_define_size(weir_cl_builder_t *builder, weir_dtype_t dtype)
{
    uint32_t bytes = weir_dtype_bytes(dtype);
    weir_cl_text(builder, "#define T %s\n",
        bytes == 8   ? "ulong"
        : bytes == 4 ? "uint"
        : bytes == 2 ? "ushort"
                     : "uchar");
}

void weir_cl_define_type(weir_cl_builder_t *builder, const char *name, weir_dtype_t dtype)
{
    static const struct {
        weir_dtype_t dtype;
        const char *name;
    } types[] = {{WEIR_F32, "float"}, {WEIR_F64, "double"}, {WEIR_I8, "char"}, {WEIR_I16, "short"},
        {WEIR_I32, "int"}, {WEIR_I64, "long"}, {WEIR_U8, "uchar"}, {WEIR_U16, "ushort"},
        {WEIR_U32, "uint"}, {WEIR_U64, "ulong"}, {WEIR_BOOL, "uchar"}};
    for (uint32_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].dtype == dtype)
            weir_cl_text(builder, "#define %s %s\n", name, types[i].name);
}

const uint32_t *weir_cl_simple_group(const weir_cl_builder_t *builder)
{
    static const uint32_t alone[3] = {1, 1, 1}, together[3] = {WEIR_CL_GROUP, 1, 1};
    return weir_cl_facts(builder)->family == WEIR_CL_FAMILY_GPU ? together : alone;
}

weir_cl_spread_t weir_cl_spread(const weir_cl_facts_t *facts, int64_t rows, int64_t inner)
{
    weir_cl_spread_t spread = {.rows = rows, .chunk = 1};
    if (facts->family == WEIR_CL_FAMILY_GPU) {
        spread.rows = rows * inner;
        spread.groups = (uint64_t)WEIR_DIV_UP(spread.rows, (int64_t)WEIR_CL_GROUP);
        return spread;
    }
    spread.chunk = WEIR_MAX(1, (int64_t)WEIR_CL_CHUNK / WEIR_MAX(inner, 1));
    // Large rows: a piece for each unit at least, more of them so that none waits long.
    int64_t even = WEIR_DIV_UP(rows, (int64_t)facts->compute_units * 4);
    spread.chunk = WEIR_MIN(spread.chunk, WEIR_MAX(even, 1));
    spread.groups = (uint64_t)WEIR_DIV_UP(rows, spread.chunk);
    return spread;
}

weir_cl_spread_t weir_cl_spread_results(const weir_cl_facts_t *facts, int64_t rows, int64_t cost)
{
    return weir_cl_spread(facts, rows, facts->family == WEIR_CL_FAMILY_GPU ? 1 : WEIR_MAX(cost, 1));
}

// ---- The strided copy ---------------------------------------------------------------------------

void weir_cl_strides(const int64_t *dims, uint32_t rank, int64_t *out_strides)
{
    int64_t stride = 1;
    for (uint32_t d = rank; d-- > 0;) {
        out_strides[d] = stride;
        stride *= dims[d];
    }
}

void weir_cl_walk_build(weir_cl_builder_t *builder, weir_dtype_t dtype)
{
    weir_cl_define_size(builder, dtype);
    weir_cl_kernel(builder, "common/strided", "weir_strided",
        "tt"
        "llllllll"
        "llllllll"
        "llllllll"
        "llll",
        weir_cl_simple_group(builder));
}

// Dims of 1 go, neighbours that both sides walk through in one stride are joined.
static void join(weir_cl_walk_t *walk)
{
    uint32_t rank = 0;
    for (uint32_t d = 0; d < walk->rank; d++) {
        if (walk->dims[d] == 1)
            continue;
        uint32_t last = rank - 1;
        if (rank && walk->x_strides[last] == walk->x_strides[d] * walk->dims[d] &&
            walk->y_strides[last] == walk->y_strides[d] * walk->dims[d]) {
            walk->dims[last] *= walk->dims[d];
        } else {
            last = rank++;
            walk->dims[last] = walk->dims[d];
        }
        walk->x_strides[last] = walk->x_strides[d];
        walk->y_strides[last] = walk->y_strides[d];
    }
    walk->rank = rank;
}

// One long run is cut, so that there is something to share out.
static void cut(weir_cl_walk_t *walk)
{
    const int64_t piece = 4096;
    if (walk->rank != 1 || walk->dims[0] < 2 * piece || walk->dims[0] % piece)
        return;
    walk->dims[1] = piece;
    walk->x_strides[1] = walk->x_strides[0];
    walk->y_strides[1] = walk->y_strides[0];
    walk->x_strides[0] *= piece;
    walk->y_strides[0] *= piece;
    walk->dims[0] /= piece;
    walk->rank = 2;
}

weir_code_t weir_cl_walk_plan(const weir_node_t *node, const weir_cl_built_t *built,
    const weir_cl_walk_t *walk, uint32_t input, uint32_t output, weir_cl_recipe_t *recipe)
{
    weir_cl_walk_t short_walk = *walk;
    join(&short_walk);
    cut(&short_walk);
    if (short_walk.rank > WEIR_CL_AXES_MAX)
        return WEIR_UNSUPPORTED;
    uint32_t missing = WEIR_CL_AXES_MAX - short_walk.rank;
    int64_t dims[WEIR_CL_AXES_MAX], x[WEIR_CL_AXES_MAX] = {0}, y[WEIR_CL_AXES_MAX] = {0};
    for (uint32_t d = 0; d < WEIR_CL_AXES_MAX; d++) {
        dims[d] = d < missing ? 1 : short_walk.dims[d - missing];
        x[d] = d < missing ? 0 : short_walk.x_strides[d - missing];
        y[d] = d < missing ? 0 : short_walk.y_strides[d - missing];
    }
    int64_t inner = dims[WEIR_CL_AXES_MAX - 1];
    weir_cl_spread_t spread =
        weir_cl_spread(built->facts, weir_cl_product(dims, 0, WEIR_CL_AXES_MAX - 1), inner);
    weir_cl_dispatch_t *dispatch = weir_cl_dispatch(recipe, 0, inner ? spread.groups : 0, 1, 1);
    weir_cl_arg_input(dispatch, node, input);
    weir_cl_arg_output(dispatch, node, output);
    for (uint32_t d = 0; d < WEIR_CL_AXES_MAX; d++)
        weir_cl_arg_i64(dispatch, dims[d]);
    for (uint32_t d = 0; d < WEIR_CL_AXES_MAX; d++)
        weir_cl_arg_i64(dispatch, x[d]);
    for (uint32_t d = 0; d < WEIR_CL_AXES_MAX; d++)
        weir_cl_arg_i64(dispatch, y[d]);
    weir_cl_arg_i64(dispatch, short_walk.x_first);
    weir_cl_arg_i64(dispatch, short_walk.y_first);
    weir_cl_arg_i64(dispatch, spread.rows);
    weir_cl_arg_i64(dispatch, spread.chunk);
    return WEIR_OK;
}
