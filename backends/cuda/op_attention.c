// backends/cuda/op_attention.c: softmax(Q K^T scale + mask) V, whole, for heads of up to 128.
#include "backends/cuda/op_common.h"

#include <string.h>

#define THREADS 128

enum { Q, K, V, Y };

static const char *const layout_names[4] = {"q_layout", "k_layout", "v_layout", "y_layout"};
static const char *const part_names[4] = {"q_part", "k_part", "v_part", ""};

static const weir_tensor_t *tensor_of(const weir_node_t *node, uint32_t i)
{
    return i == Y ? &node->outputs[0] : &node->inputs[i];
}

// The dim of the axis `letter`; 1 if there is none.
static int64_t dim_of(const weir_node_t *node, uint32_t i, char letter)
{
    const char *layout = weir_cuda_string(node, layout_names[i]);
    const char *at = strchr(layout, letter);
    return at ? tensor_of(node, i)->dims[at - layout] : 1;
}

static weir_code_t supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_dtype_t dtype = node->inputs[0].dtype;
    if (!(dtype & WEIR_CUDA_FLOATS))
        return weir_cuda_refuse(out_support, "only f32, f16 and bf16");
    if (node->prologue || node->epilogue)
        return weir_cuda_refuse(out_support, "it takes no expression");
    for (uint32_t i = 0; i < 4; i++) {
        const char *layout = weir_cuda_string(node, layout_names[i]);
        if (tensor_of(node, i)->rank != strlen(layout) || strspn(layout, "bhsdp") != strlen(layout))
            return weir_cuda_refuse(out_support, "a layout is not known");
        if (tensor_of(node, i)->dtype != dtype)
            return weir_cuda_refuse(out_support, "tensors of several types");
    }
    if (weir_cuda_has(node, 3) && (node->inputs[3].dtype != dtype || node->inputs[3].rank > 4))
        return weir_cuda_refuse(out_support, "a mask of another type, or of more than 4 axes");
    const int64_t depth = dim_of(node, Q, 'd'), value_depth = dim_of(node, V, 'd');
    if (depth < 0 || depth > WEIR_CUDA_ATTENTION_DEPTH_MAX || value_depth < 0 ||
        value_depth > WEIR_CUDA_ATTENTION_DEPTH_MAX)
        return weir_cuda_refuse(out_support, "heads of more than 128, or of unknown size");
    return WEIR_OK;
}

static weir_cuda_attention_place_t place_of(const weir_node_t *node, uint32_t i)
{
    const weir_tensor_t *tensor = tensor_of(node, i);
    const char *layout = weir_cuda_string(node, layout_names[i]);
    weir_cuda_attention_place_t place = {0};
    int64_t strides[WEIR_RANK_MAX];
    weir_cuda_strides(tensor, strides);
    for (uint32_t axis = 0; axis < tensor->rank; axis++) {
        const uint64_t stride = (uint64_t)strides[axis];
        switch (layout[axis]) {
        case 'b':
            place.batch = stride;
            break;
        case 'h':
            place.head = stride;
            break;
        case 's':
            place.row = stride;
            break;
        case 'd':
            place.depth = stride;
            break;
        default:
            place.first = (uint64_t)weir_node_int(node, part_names[i], 0) * stride;
        }
    }
    return place;
}

static void fill_mask(const weir_node_t *node, weir_cuda_attention_params_t *params)
{
    uint64_t *steps[4] = {
        &params->mask_column, &params->mask_row, &params->mask_head, &params->mask_batch};
    const weir_tensor_t *mask = &node->inputs[3];
    int64_t strides[WEIR_RANK_MAX];
    if (!weir_cuda_has(node, 3))
        return;
    weir_cuda_strides(mask, strides);
    for (uint32_t d = 0; d < mask->rank; d++) {
        const uint32_t axis = mask->rank - 1 - d;
        *steps[d] = mask->dims[axis] == 1 ? 0 : (uint64_t)strides[axis];
    }
}

static weir_code_t plan(const weir_node_t *node, weir_cuda_recipe_t *recipe)
{
    static const char *const entries[3] = WEIR_CUDA_ENTRIES_FLOAT("attention");
    weir_cuda_attention_params_t params = {.q_at = place_of(node, Q),
        .k_at = place_of(node, K),
        .v_at = place_of(node, V),
        .y_at = place_of(node, Y),
        .batch = (uint32_t)dim_of(node, Q, 'b'),
        .heads = (uint32_t)dim_of(node, Q, 'h'),
        .rows = (uint32_t)dim_of(node, Q, 's'),
        .columns = (uint32_t)dim_of(node, K, 's'),
        .depth = (uint32_t)dim_of(node, Q, 'd'),
        .value_depth = (uint32_t)dim_of(node, V, 'd'),
        .scale = (float)weir_node_float(node, "scale", 1.0)};
    const weir_code_t code = weir_cuda_check_counts(recipe, node);
    if (code != WEIR_OK)
        return code;
    fill_mask(node, &params);
    params.row_tiles = WEIR_DIV_UP(params.rows, (uint32_t)WEIR_CUDA_ATTENTION_ROWS);
    weir_cuda_kernel_step_t *step = weir_cuda_launch_blocks(recipe,
        weir_cuda_entry_float(entries, node->inputs[0].dtype),
        (uint64_t)params.row_tiles * params.heads * params.batch, THREADS, &params, sizeof params);
    if (!step)
        return WEIR_INTERNAL;
    const uint32_t at[4] = {WEIR_CUDA_AT(weir_cuda_attention_params_t, q),
        WEIR_CUDA_AT(weir_cuda_attention_params_t, k),
        WEIR_CUDA_AT(weir_cuda_attention_params_t, v),
        WEIR_CUDA_AT(weir_cuda_attention_params_t, mask)};
    for (uint32_t i = 0; i < 4; i++)
        if (weir_cuda_has(node, i))
            weir_cuda_step_pointer(step, at[i], weir_cuda_input(i));
    weir_cuda_step_pointer(
        step, WEIR_CUDA_AT(weir_cuda_attention_params_t, y), weir_cuda_output(0));
    return WEIR_OK;
}

static const weir_cuda_row_t rows[] = {
    WEIR_CUDA_ROW("Attention", "cuda_attention", supports, plan),
};

const weir_cuda_family_t weir_cuda_family_attention = {rows, 1};
