// backends/cuda/op_common.c: see op_common.h.
#include "backends/cuda/op_common.h"

#include <stdio.h>
#include <string.h>

#define THREADS 256

// ---- Questions ----------------------------------------------------------------------------------

weir_code_t weir_cuda_refuse(weir_support_t *out_support, const char *reason)
{
    (void)snprintf(out_support->reason, sizeof out_support->reason, "%s", reason);
    return WEIR_UNSUPPORTED;
}

weir_code_t weir_cuda_cannot(
    const weir_cuda_recipe_t *recipe, const weir_node_t *node, weir_code_t code, const char *reason)
{
    return recipe->host->fail(recipe->host, code, "%s: %s", node->op, reason);
}

bool weir_cuda_has(const weir_node_t *node, uint32_t input)
{
    return input < node->input_count && node->inputs[input].dtype != 0;
}

bool weir_cuda_wants(const weir_node_t *node, uint32_t output)
{
    return output < node->output_count && node->outputs[output].dtype != 0;
}

bool weir_cuda_owns(const weir_node_t *node, uint32_t input)
{
    const weir_expression_t *epilogue = node->epilogue;
    return weir_cuda_has(node, input) &&
           (!epilogue || !epilogue->operand_count || input < epilogue->first_operand);
}

bool weir_cuda_is_known(const weir_node_t *node, uint32_t input)
{
    return !weir_cuda_has(node, input) || (node->inputs[input].flags & WEIR_TENSOR_CONSTANT);
}

bool weir_cuda_same_dims(const weir_tensor_t *a, const weir_tensor_t *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           (a->rank == 0 || memcmp(a->dims, b->dims, a->rank * sizeof *a->dims) == 0);
}

int32_t weir_cuda_axis(int64_t axis, uint32_t rank)
{
    if (axis < 0)
        axis += rank;
    return axis >= 0 && axis < (int64_t)rank ? (int32_t)axis : -1;
}

int64_t weir_cuda_product(const weir_tensor_t *tensor, uint32_t first, uint32_t end)
{
    int64_t product = 1;
    for (uint32_t d = first; d < end; d++)
        product *= tensor->dims[d];
    return product;
}

const char *weir_cuda_string(const weir_node_t *node, const char *name)
{
    const weir_attribute_t *attribute = weir_node_attribute(node, name);
    return attribute && attribute->type == WEIR_ATTR_STRING && attribute->s ? attribute->s : "";
}

int64_t weir_cuda_ints(const weir_node_t *node, const char *name, uint32_t i, int64_t otherwise)
{
    const weir_attribute_t *attribute = weir_node_attribute(node, name);
    return attribute && attribute->type == WEIR_ATTR_INTS && i < attribute->count
               ? attribute->ints[i]
               : otherwise;
}

int64_t weir_cuda_value(const weir_tensor_t *tensor, uint64_t i)
{
    return tensor->dtype == WEIR_I32 ? ((const int32_t *)tensor->data)[i]
                                     : ((const int64_t *)tensor->data)[i];
}

weir_code_t weir_cuda_check_counts(const weir_cuda_recipe_t *recipe, const weir_node_t *node)
{
    for (uint32_t i = 0; i < node->input_count + node->output_count; i++) {
        const weir_tensor_t *tensor =
            i < node->input_count ? &node->inputs[i] : &node->outputs[i - node->input_count];
        if (tensor->element_count > WEIR_CUDA_COUNT_MAX)
            return weir_cuda_cannot(
                recipe, node, WEIR_UNSUPPORTED, "a tensor of 2^31 elements or more");
    }
    return WEIR_OK;
}

// ---- Axes ---------------------------------------------------------------------------------------

void weir_cuda_strides(const weir_tensor_t *tensor, int64_t *out_strides)
{
    int64_t stride = 1;
    for (uint32_t d = tensor->rank; d-- > 0;) {
        out_strides[d] = stride;
        stride *= tensor->dims[d];
    }
}

bool weir_cuda_axes_broadcast(weir_cuda_axes_t *axes, const weir_tensor_t *tensor)
{
    int64_t *strides = axes->strides[axes->walk_count], stride = 1;
    if (tensor->rank > axes->rank)
        return false;
    for (uint32_t d = 0; d < axes->rank; d++) {
        const uint32_t axis = axes->rank - 1 - d;
        const int64_t dim = d < tensor->rank ? tensor->dims[tensor->rank - 1 - d] : 1;
        if (dim != 1 && dim != axes->dims[axis])
            return false;
        strides[axis] = dim == 1 ? 0 : stride;
        stride *= dim;
    }
    axes->walk_count++;
    return true;
}

static bool joins(const weir_cuda_axes_t *axes, uint32_t outer, int64_t inner_dim, uint32_t inner)
{
    for (uint32_t w = 0; w < axes->walk_count; w++)
        if (axes->strides[w][outer] != axes->strides[w][inner] * inner_dim)
            return false;
    return true;
}

static void move_axis(weir_cuda_axes_t *axes, uint32_t from, uint32_t to)
{
    axes->dims[to] = axes->dims[from];
    for (uint32_t w = 0; w < axes->walk_count; w++)
        axes->strides[w][to] = axes->strides[w][from];
}

void weir_cuda_axes_merge(weir_cuda_axes_t *axes)
{
    uint32_t rank = 0;
    for (uint32_t d = 0; d < axes->rank; d++) {
        if (axes->dims[d] == 1)
            continue;
        if (rank && joins(axes, rank - 1, axes->dims[d], d)) {
            const int64_t dim = axes->dims[rank - 1] * axes->dims[d];
            move_axis(axes, d, rank - 1);
            axes->dims[rank - 1] = dim;
        } else {
            move_axis(axes, d, rank++);
        }
    }
    if (!rank) {
        axes->dims[0] = 1;
        for (uint32_t w = 0; w < axes->walk_count; w++)
            axes->strides[w][0] = 0;
        rank = 1;
    }
    axes->rank = rank;
}

// ---- Launches -----------------------------------------------------------------------------------

const char *weir_cuda_entry_bytes(const char *const entries[5], uint32_t element_bytes)
{
    for (uint32_t i = 0; i < 5; i++)
        if (element_bytes == 1u << i)
            return entries[i];
    return NULL;
}

const char *weir_cuda_entry_float(const char *const entries[3], weir_dtype_t dtype)
{
    return dtype == WEIR_F32 ? entries[0] : dtype == WEIR_F16 ? entries[1] : entries[2];
}

weir_cuda_kernel_step_t *weir_cuda_launch_blocks(weir_cuda_recipe_t *recipe, const char *entry,
    uint64_t blocks, uint32_t threads, const void *params, uint32_t params_bytes)
{
    return weir_cuda_recipe_kernel(recipe, entry, 0, (weir_cuda_dim3_t){(uint32_t)blocks, 1, 1},
        (weir_cuda_dim3_t){threads, 1, 1}, 0, params, params_bytes);
}

weir_cuda_kernel_step_t *weir_cuda_launch_each(weir_cuda_recipe_t *recipe, const char *entry,
    uint64_t count, const void *params, uint32_t params_bytes)
{
    return weir_cuda_launch_blocks(
        recipe, entry, WEIR_DIV_UP(count, THREADS), THREADS, params, params_bytes);
}

// Takes two or four elements as one where both sides are in one piece and aligned to them.
static uint32_t widen(weir_cuda_axes_t *axes, uint32_t bytes, int64_t *x_first, int64_t *y_first)
{
    const uint32_t last = axes->rank - 1;
    while (bytes < 16 && axes->strides[0][last] == 1 && axes->strides[1][last] == 1) {
        bool is_even = axes->dims[last] % 2 == 0 && *x_first % 2 == 0 && *y_first % 2 == 0;
        for (uint32_t d = 0; d < last; d++)
            is_even &= axes->strides[0][d] % 2 == 0 && axes->strides[1][d] % 2 == 0;
        if (!is_even)
            break;
        bytes *= 2;
        axes->dims[last] /= 2;
        *x_first /= 2;
        *y_first /= 2;
        for (uint32_t d = 0; d < last; d++) {
            axes->strides[0][d] /= 2;
            axes->strides[1][d] /= 2;
        }
    }
    return bytes;
}

// [batch, rows, columns] whose last two axes change places, of 4 bytes: through tiles.
static bool is_transpose(
    const weir_cuda_axes_t *axes, uint32_t bytes, weir_cuda_transpose_params_t *out_params)
{
    const uint32_t r = axes->rank;
    if (bytes != 4 || r < 2 || r > 3)
        return false;
    // Axes are those of y: its rows are x's columns.
    const int64_t rows = axes->dims[r - 1], columns = axes->dims[r - 2];
    if (rows < 8 || columns < 8 || axes->strides[0][r - 1] != columns ||
        axes->strides[0][r - 2] != 1 || axes->strides[1][r - 1] != 1 ||
        axes->strides[1][r - 2] != rows)
        return false;
    if (r == 3 && (axes->strides[0][0] != rows * columns || axes->strides[1][0] != rows * columns))
        return false;
    *out_params = (weir_cuda_transpose_params_t){.batch = r == 3 ? (uint32_t)axes->dims[0] : 1,
        .rows = (uint32_t)rows,
        .columns = (uint32_t)columns};
    return true;
}

static weir_code_t launch_transpose(weir_cuda_recipe_t *recipe,
    const weir_cuda_transpose_params_t *params, weir_cuda_place_t x, weir_cuda_place_t y)
{
    const uint64_t tiles =
        (uint64_t)WEIR_DIV_UP(params->rows, 32u) * WEIR_DIV_UP(params->columns, 32u);
    weir_cuda_kernel_step_t *step = weir_cuda_launch_blocks(
        recipe, "weir_k_transpose_b4", tiles, THREADS, params, sizeof *params);
    if (!step)
        return WEIR_INTERNAL;
    step->grid.z = WEIR_MIN(params->batch, 65535u);
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_transpose_params_t, x), x);
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_transpose_params_t, y), y);
    return WEIR_OK;
}

weir_code_t weir_cuda_copy_axes(weir_cuda_recipe_t *recipe, const weir_node_t *node,
    weir_cuda_axes_t *axes, uint32_t element_bytes, weir_cuda_place_t x, int64_t x_first,
    weir_cuda_place_t y, int64_t y_first)
{
    static const char *const entries[5] = WEIR_CUDA_ENTRIES_BYTES("copy");
    weir_cuda_transpose_params_t transpose;
    int64_t count = 1;
    weir_cuda_axes_merge(axes);
    for (uint32_t d = 0; d < axes->rank; d++)
        count *= axes->dims[d];
    if (!count)
        return WEIR_OK;
    if (!x_first && !y_first && is_transpose(axes, element_bytes, &transpose))
        return launch_transpose(recipe, &transpose, x, y);
    if (axes->rank == 1 && axes->strides[0][0] == 1 && axes->strides[1][0] == 1) {
        x.offset += (uint64_t)x_first * element_bytes;
        y.offset += (uint64_t)y_first * element_bytes;
        return weir_cuda_recipe_copy(recipe, x, y, (uint64_t)count * element_bytes);
    }
    if (axes->rank > WEIR_CUDA_AXES_MAX)
        return weir_cuda_cannot(recipe, node, WEIR_UNSUPPORTED, "it moves along too many axes");
    const uint32_t bytes = widen(axes, element_bytes, &x_first, &y_first);
    weir_cuda_copy_params_t params = {.x_first = x_first,
        .y_first = y_first,
        .count = (uint32_t)((uint64_t)count * element_bytes / bytes),
        .rank = axes->rank};
    for (uint32_t d = 0; d < axes->rank; d++) {
        params.dims[d] = weir_cuda_divide_by((uint32_t)axes->dims[d]);
        params.x_strides[d] = axes->strides[0][d];
        params.y_strides[d] = axes->strides[1][d];
    }
    weir_cuda_kernel_step_t *step = weir_cuda_launch_each(
        recipe, weir_cuda_entry_bytes(entries, bytes), params.count, &params, sizeof params);
    if (!step)
        return WEIR_INTERNAL;
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_copy_params_t, x), x);
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_copy_params_t, y), y);
    return WEIR_OK;
}
