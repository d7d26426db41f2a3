// engine/graph/rules_affine.c: scales and shifts per channel move into the weights before them.
//
// BatchNormalization, or a Mul or Add by a constant per channel, behind a convolution becomes part
// of its weights and bias; behind a BatchNormalization part of its parameters; a BatchNormalization
// that stays becomes a Mul and an Add, which the plan can fuse. New numbers are computed in f64 and
// rounded once.
#include "engine/graph/rewrite.h"

#include <math.h>
#include <string.h>

// y = scale[c] * x + shift[c]; NULL: 1, 0.
typedef struct affine {
    uint32_t channels;
    double *scale, *shift;
} affine_t;

static void affine_free(weir__rewrite_t *rewrite, affine_t *affine)
{
    weir__heap_free(rewrite->graph->heap, affine->scale);
    weir__heap_free(rewrite->graph->heap, affine->shift);
}

// Reads a constant that multiplies or is added to a value of `rank` axes with the channels in axis
// 1: one number, or one per channel. *out_numbers NULL without an error: it is no such constant.
static weir_status_t read_channels(const weir__rewrite_t *rewrite, uint32_t value, int32_t rank,
    uint32_t channels, double **out_numbers)
{
    const weir__tensor_t *tensor = weir__rewrite_constant(rewrite, value);
    *out_numbers = NULL;
    if (!tensor || tensor->dtype != WEIR_F32 || (int32_t)tensor->rank > rank)
        return NULL;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        int32_t axis = rank - (int32_t)tensor->rank + (int32_t)i;
        if (tensor->dims[i] != 1 && !(axis == 1 && tensor->dims[i] == (int64_t)channels))
            return NULL;
    }
    double *numbers = weir__heap_calloc(rewrite->graph->heap, channels, sizeof *numbers);
    if (!numbers)
        return weir__status_no_memory();
    for (uint32_t c = 0; c < channels; c++)
        numbers[c] = weir__tensor_float(tensor, tensor->count == 1 ? 0 : c);
    *out_numbers = numbers;
    return NULL;
}

// A convolution that only this root reads, with constant f32 weights and bias.
typedef struct conv {
    const weir__node_t *node;
    const weir__tensor_t *weights, *bias;
    uint32_t channels;
    bool transposed;
} conv_t;

static bool find_conv(const weir__rewrite_t *rewrite, uint32_t value, conv_t *out)
{
    out->node = weir__rewrite_producer(rewrite, value, NULL);
    if (!out->node || rewrite->uses[value] != 1)
        return false;
    out->transposed = weir__rewrite_is(out->node, "ConvTranspose");
    if (!out->transposed && !weir__rewrite_is(out->node, "Conv"))
        return false;
    uint32_t bias = weir__rewrite_input(rewrite, out->node, 2);
    out->weights = weir__rewrite_constant(rewrite, weir__rewrite_input(rewrite, out->node, 1));
    out->bias = weir__rewrite_constant(rewrite, bias);
    if (!out->weights || out->weights->dtype != WEIR_F32 || (bias != WEIR__NONE && !out->bias) ||
        weir__rewrite_type(rewrite, value)->rank != (int32_t)out->weights->rank)
        return false;
    int64_t group = weir__node_int(out->node, "group", 1);
    int64_t channels = out->transposed ? out->weights->dims[1] * group : out->weights->dims[0];
    if (channels < 1 || channels > INT32_MAX)
        return false;
    out->channels = (uint32_t)channels;
    return true;
}

// The weights with every output channel scaled. *out_value WEIR__NONE: over the folding limits.
static weir_status_t scale_weights(
    weir__rewrite_t *rewrite, const conv_t *conv, const double *scale, uint32_t *out_value)
{
    const weir__tensor_t *weights = conv->weights;
    float *data;
    *out_value = WEIR__NONE;
    WEIR_TRY(weir__rewrite_constant_new(rewrite, weights->rank, weights->dims, out_value, &data));
    if (!data) {
        *out_value = WEIR__NONE;
        return NULL;
    }
    if (weights->count == 0)
        return NULL;
    // Conv: [M, C/g, k...]. ConvTranspose: [C, M/g, k...], where row r belongs to group r / (C/g).
    uint64_t rows = (uint64_t)weights->dims[0], columns = (uint64_t)weights->dims[1];
    uint64_t inner = weights->count / (rows * columns);
    uint64_t group = conv->transposed ? conv->channels / columns : 1;
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t j = 0; j < columns; j++) {
            uint64_t channel = conv->transposed ? r / (rows / group) * columns + j : r;
            for (uint64_t i = 0; i < inner; i++) {
                uint64_t at = (r * columns + j) * inner + i;
                data[at] = (float)(weir__tensor_float(weights, at) * scale[channel]);
            }
        }
    return NULL;
}

// Turns the root into the convolution followed by `affine`.
static weir_status_t absorb(weir__rewrite_t *rewrite, uint32_t root, const conv_t *conv,
    const affine_t *affine, bool *out_done)
{
    uint32_t inputs[3] = {weir__rewrite_input(rewrite, conv->node, 0),
        weir__rewrite_input(rewrite, conv->node, 1), weir__rewrite_input(rewrite, conv->node, 2)};
    uint32_t conv_number = (uint32_t)(conv->node - rewrite->graph->nodes);
    int64_t dims[1] = {conv->channels};
    if (affine->scale) {
        WEIR_TRY(scale_weights(rewrite, conv, affine->scale, &inputs[1]));
        if (inputs[1] == WEIR__NONE)
            return NULL;
    }
    if (affine->shift || conv->bias) {
        float *data;
        WEIR_TRY(weir__rewrite_constant_new(rewrite, 1, dims, &inputs[2], &data));
        if (!data)
            return NULL;
        for (uint32_t c = 0; c < conv->channels; c++) {
            double bias = conv->bias ? weir__tensor_float(conv->bias, c) : 0;
            data[c] = (float)(bias * (affine->scale ? affine->scale[c] : 1) +
                              (affine->shift ? affine->shift[c] : 0));
        }
    }
    const weir__node_t *node = &rewrite->graph->nodes[conv_number];
    *out_done = true;
    return weir__rewrite_node(rewrite, root, node->op->name, inputs,
        inputs[2] == WEIR__NONE ? 2 : 3, node->attributes, node->attribute_count, &node, 1);
}

// What BatchNormalization does. Nothing is read unless all its parameters are constants of f32.
static weir_status_t read_batch_norm(
    weir__rewrite_t *rewrite, const weir__node_t *node, affine_t *out, bool *out_known)
{
    const weir__tensor_t *parameters[4];
    const weir_attribute_t *epsilon = weir__node_attribute(node, "epsilon");
    *out_known = false;
    for (uint32_t i = 0; i < 4; i++) {
        parameters[i] = weir__rewrite_constant(rewrite, weir__rewrite_input(rewrite, node, i + 1));
        if (!parameters[i] || parameters[i]->dtype != WEIR_F32 || parameters[i]->rank != 1 ||
            parameters[i]->count != parameters[0]->count || parameters[i]->count > INT32_MAX)
            return NULL;
    }
    weir__heap_t *heap = rewrite->graph->heap;
    out->channels = (uint32_t)parameters[0]->count;
    out->scale = weir__heap_calloc(heap, out->channels, sizeof *out->scale);
    out->shift = weir__heap_calloc(heap, out->channels, sizeof *out->shift);
    if (!out->scale || !out->shift)
        return weir__status_no_memory();
    *out_known = true;
    for (uint32_t c = 0; c < out->channels; c++) {
        double variance = weir__tensor_float(parameters[3], c) + (epsilon ? epsilon->f : 1e-5);
        // A variance that is no variance stays the operator's own business.
        *out_known &= variance > 0;
        out->scale[c] = weir__tensor_float(parameters[0], c) / sqrt(variance);
        out->shift[c] = weir__tensor_float(parameters[1], c) -
                        weir__tensor_float(parameters[2], c) * out->scale[c];
    }
    return NULL;
}

weir_status_t weir__rule_conv_batch_norm(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    const weir__node_t *node = &rewrite->graph->nodes[root];
    conv_t conv;
    affine_t affine = {0};
    bool known;
    if (!find_conv(rewrite, weir__rewrite_input(rewrite, node, 0), &conv))
        return NULL;
    weir_status_t status = read_batch_norm(rewrite, node, &affine, &known);
    if (!status && known && affine.channels == conv.channels)
        status = absorb(rewrite, root, &conv, &affine, out_done);
    affine_free(rewrite, &affine);
    return status;
}

// Mul (scales set) or Add of a constant per channel behind a convolution.
static weir_status_t conv_then(weir__rewrite_t *rewrite, uint32_t root, bool scales, bool *out_done)
{
    const weir__node_t *node = &rewrite->graph->nodes[root];
    for (uint32_t i = 0; i < 2 && !*out_done; i++) {
        uint32_t value = weir__rewrite_input(rewrite, node, i);
        uint32_t constant = weir__rewrite_input(rewrite, node, 1 - i);
        conv_t conv;
        affine_t affine = {0};
        if (value == WEIR__NONE || !find_conv(rewrite, value, &conv))
            continue;
        affine.channels = conv.channels;
        double **numbers = scales ? &affine.scale : &affine.shift;
        WEIR_TRY(
            read_channels(rewrite, constant, (int32_t)conv.weights->rank, conv.channels, numbers));
        if (!*numbers)
            continue;
        weir_status_t status = absorb(rewrite, root, &conv, &affine, out_done);
        affine_free(rewrite, &affine);
        return status;
    }
    return NULL;
}

weir_status_t weir__rule_conv_scale(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    return conv_then(rewrite, root, true, out_done);
}

weir_status_t weir__rule_conv_shift(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    return conv_then(rewrite, root, false, out_done);
}

// Mul or Add of a constant per channel behind a BatchNormalization that only the root reads.
static weir_status_t batch_norm_then(
    weir__rewrite_t *rewrite, uint32_t root, bool scales, bool *out_done)
{
    const weir__graph_t *graph = rewrite->graph;
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t value = weir__rewrite_input(rewrite, &graph->nodes[root], i);
        uint32_t other = weir__rewrite_input(rewrite, &graph->nodes[root], 1 - i);
        const weir__node_t *norm = weir__rewrite_producer(rewrite, value, "BatchNormalization");
        if (!norm || rewrite->uses[value] != 1)
            continue;
        uint32_t number = (uint32_t)(norm - graph->nodes), inputs[5];
        for (uint32_t j = 0; j < 5; j++)
            inputs[j] = weir__rewrite_input(rewrite, norm, j);
        const weir__tensor_t *old[2] = {
            weir__rewrite_constant(rewrite, inputs[1]), weir__rewrite_constant(rewrite, inputs[2])};
        int32_t rank = weir__rewrite_type(rewrite, value)->rank;
        if (!old[0] || !old[1] || old[0]->dtype != WEIR_F32 || old[0]->count > INT32_MAX)
            continue;
        uint32_t channels = (uint32_t)old[0]->count;
        double *numbers;
        WEIR_TRY(read_channels(rewrite, other, rank, channels, &numbers));
        if (!numbers)
            continue;
        weir_status_t status = NULL;
        int64_t dims[1] = {channels};
        float *data[2] = {NULL, NULL};
        for (uint32_t j = scales ? 0 : 1; j < 2 && !status; j++)
            status = weir__rewrite_constant_new(rewrite, 1, dims, &inputs[j + 1], &data[j]);
        bool fits = data[1] && (!scales || data[0]);
        for (uint32_t j = scales ? 0 : 1; !status && fits && j < 2; j++)
            for (uint32_t c = 0; c < channels; c++) {
                double before = weir__tensor_float(old[j], c);
                data[j][c] = (float)(scales ? before * numbers[c] : before + numbers[c]);
            }
        weir__heap_free(graph->heap, numbers);
        if (status || !fits)
            return status;
        norm = &graph->nodes[number];
        *out_done = true;
        return weir__rewrite_node(rewrite, root, "BatchNormalization", inputs, 5, norm->attributes,
            norm->attribute_count, &norm, 1);
    }
    return NULL;
}

weir_status_t weir__rule_batch_norm_scale(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    return batch_norm_then(rewrite, root, true, out_done);
}

weir_status_t weir__rule_batch_norm_shift(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    return batch_norm_then(rewrite, root, false, out_done);
}

// A constant [C, 1, ...] that broadcasts over `rank` axes.
static weir_status_t spread(weir__rewrite_t *rewrite, const double *numbers, uint32_t channels,
    int32_t rank, uint32_t *out_value)
{
    int64_t dims[WEIR_RANK_MAX];
    float *data;
    *out_value = WEIR__NONE;
    for (int32_t i = 0; i < rank - 1; i++)
        dims[i] = i == 0 ? channels : 1;
    WEIR_TRY(weir__rewrite_constant_new(rewrite, (uint32_t)rank - 1, dims, out_value, &data));
    if (!data)
        *out_value = WEIR__NONE;
    for (uint32_t c = 0; data && c < channels; c++)
        data[c] = (float)numbers[c];
    return NULL;
}

weir_status_t weir__rule_batch_norm_spelled(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    const weir__node_t *node = &rewrite->graph->nodes[root];
    uint32_t x = weir__rewrite_input(rewrite, node, 0), scale = WEIR__NONE, shift = WEIR__NONE,
             scaled;
    weir__type_t type = *weir__rewrite_type(rewrite, x);
    affine_t affine = {0};
    bool known;
    if (type.rank < 2 || type.dtype != WEIR_F32)
        return NULL;
    weir_status_t status = read_batch_norm(rewrite, node, &affine, &known);
    if (!status && known) {
        WEIR_TRY_GOTO(
            status, done, spread(rewrite, affine.scale, affine.channels, type.rank, &scale));
        WEIR_TRY_GOTO(
            status, done, spread(rewrite, affine.shift, affine.channels, type.rank, &shift));
        if (scale == WEIR__NONE || shift == WEIR__NONE)
            goto done;
        WEIR_TRY_GOTO(status, done,
            weir__rewrite_add(
                rewrite, root, "Mul", (uint32_t[]){x, scale}, 2, NULL, 0, &type, &scaled));
        *out_done = true;
        status = weir__rewrite_node(
            rewrite, root, "Add", (uint32_t[]){scaled, shift}, 2, NULL, 0, NULL, 0);
    }
done:
    affine_free(rewrite, &affine);
    return status;
}
