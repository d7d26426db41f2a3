// tests/support/plugins/custom.c: operators of a domain of its own, honest ones and a liar.
//
// What the liar's infer() says is the option `lie`; the others tell in their results what they were
// given, so that a test sees what a plugin sees.
#include <weir/plugin.h>

#include <stdio.h>
#include <string.h>

static const weir_host_t *engine;

static weir_code_t refuse(weir_support_t *out, const char *reason)
{
    snprintf(out->reason, sizeof out->reason, "%s", reason);
    return WEIR_INVALID_ARGUMENT;
}

static void shape_as(const weir_tensor_t *tensor, weir_shape_t *out)
{
    out->dtype = tensor->dtype;
    out->rank = tensor->rank;
    memcpy(out->dims, tensor->dims, tensor->rank * sizeof *tensor->dims);
}

// ---- Tell: y = factor x + bias + sum(weights) + input 2; facts: what the node looks like --------

#define FACTS 7

static weir_code_t tell_infer(const weir_node_t *node, weir_shape_t *out, weir_support_t *support)
{
    if (node->inputs[0].dtype != WEIR_F32)
        return refuse(support, "Tell takes f32");
    const weir_tensor_t *x = &node->inputs[0], *more = &node->inputs[2];
    if (more->dtype && (more->dtype != WEIR_F32 || more->rank != x->rank ||
                           memcmp(more->dims, x->dims, x->rank * sizeof *x->dims) != 0))
        return refuse(support, "what Tell adds is not like its input");
    shape_as(x, &out[0]);
    out[1] = (weir_shape_t){.dtype = WEIR_I64, .rank = 1, .dims = {FACTS}};
    return WEIR_OK;
}

static weir_code_t tell_run(const weir_task_t *task)
{
    const weir_node_t *node = task->node;
    const weir_attribute_t *weights = weir_node_attribute(node, "weights");
    const weir_attribute_t *axes = weir_node_attribute(node, "axes");
    const weir_attribute_t *mode = weir_node_attribute(node, "mode");
    float sum = (float)weir_node_float(node, "bias", -1);
    for (uint32_t i = 0; i < weights->count; i++)
        sum += weights->floats[i];
    const float *x = task->inputs[0].data, *more = task->inputs[2].data;
    float *y = task->outputs[0].data;
    for (uint64_t i = 0; i < task->outputs[0].element_count; i++)
        y[i] = (float)weir_node_int(node, "factor", -1) * x[i] + sum +
               (task->inputs[2].dtype ? more[i] : 0);
    if (!task->outputs[1].dtype)
        return WEIR_OK;
    int64_t facts[FACTS] = {node->input_count, task->inputs[1].dtype != 0,
        task->inputs[2].dtype != 0, mode->s[0], axes->count, axes->count ? axes->ints[0] : -1,
        node->attribute_count};
    memcpy(task->outputs[1].data, facts, sizeof facts);
    return WEIR_OK;
}

// ---- Half: the first half of the last axis; from version 3 on the second one
// ---------------------

static weir_code_t half_infer(const weir_node_t *node, weir_shape_t *out, weir_support_t *support)
{
    const weir_tensor_t *x = &node->inputs[0];
    if (!x->rank)
        return refuse(support, "Half needs an axis");
    shape_as(x, out);
    int64_t last = x->dims[x->rank - 1];
    if (last > 0 && last % 2)
        return refuse(support, "Half cannot halve an odd number");
    out->dims[x->rank - 1] = last < 0 ? WEIR_DIM_NEW : last / 2;
    return WEIR_OK;
}

static weir_code_t half_run(const weir_task_t *task)
{
    const weir_tensor_t *out = &task->outputs[0];
    uint64_t half = (uint64_t)out->dims[out->rank - 1];
    const float *x = task->inputs[0].data;
    float *y = out->data;
    for (uint64_t i = 0; i < out->element_count; i++)
        y[i] = x[i / half * 2 * half + i % half + (task->node->revision == 3 ? half : 0)];
    return WEIR_OK;
}

// ---- Share: the first floor(ratio n) elements of n ---------------------------------------------

static weir_code_t share_infer(const weir_node_t *node, weir_shape_t *out, weir_support_t *support)
{
    const weir_tensor_t *x = &node->inputs[0];
    double ratio = weir_node_float(node, "ratio", 0);
    if (x->rank != 1 || ratio < 0 || ratio > 1)
        return refuse(support, "Share takes a vector and a ratio from 0 to 1");
    shape_as(x, out);
    out->dims[0] = x->dims[0] < 0 ? WEIR_DIM_NEW : (int64_t)(ratio * (double)x->dims[0]);
    return WEIR_OK;
}

static weir_code_t share_run(const weir_task_t *task)
{
    if (task->outputs[0].element_count)
        memcpy(task->outputs[0].data, task->inputs[0].data, task->outputs[0].element_count * 4);
    return WEIR_OK;
}

// ---- Liar
// ----------------------------------------------------------------------------------------

static weir_code_t liar_infer(const weir_node_t *node, weir_shape_t *out, weir_support_t *support)
{
    const char *lie = engine->option(engine, "lie");
    int is_run = node->inputs[0].dims[0] >= 0;
    shape_as(&node->inputs[0], out);
    if (strcmp(lie, "rank") == 0)
        out->rank = WEIR_RANK_MAX + 1;
    else if (strcmp(lie, "ranks") == 0)
        out->rank = UINT32_MAX;
    else if (strcmp(lie, "size") == 0)
        out->dims[0] = -4711;
    else if (strcmp(lie, "two") == 0)
        out->dtype = WEIR_F32 | WEIR_I64;
    else if (strcmp(lie, "none") == 0)
        out->dtype = 0;
    else if (strcmp(lie, "string") == 0)
        out->dtype = WEIR_STRING;
    else if (strcmp(lie, "high") == 0)
        out->dtype = 1u << 31;
    else if (strcmp(lie, "huge") == 0)
        *out = (weir_shape_t){WEIR_F32, 2, {INT64_MAX / 2, INT64_MAX / 2}};
    else if (strcmp(lie, "code") == 0)
        return 4711;
    else if (strcmp(lie, "silent") == 0)
        return WEIR_INVALID_ARGUMENT;
    else if (strcmp(lie, "unsupported") == 0)
        return refuse(support, "not on a Sunday") ? WEIR_UNSUPPORTED : WEIR_OK;
    else if (strcmp(lie, "open") == 0)
        out->dims[0] = WEIR_DIM_NEW;
    else if (strcmp(lie, "later dtype") == 0 && is_run)
        out->dtype = WEIR_I64;
    else if (strcmp(lie, "later rank") == 0 && is_run)
        out->rank++, out->dims[1] = 1;
    else if (strcmp(lie, "later size") == 0 && is_run)
        out->dims[0]++;
    else if (strcmp(lie, "later symbol") == 0)
        out->dims[0] = is_run ? -1 : out->dims[0];
    return WEIR_OK;
}

static weir_code_t copy_run(const weir_task_t *task)
{
    memcpy(task->outputs[0].data, task->inputs[0].data, task->outputs[0].element_count * 4);
    return WEIR_OK;
}

// ---- The plugin
// ----------------------------------------------------------------------------------

static const int64_t axes[] = {4, 5};
static const float weights[] = {0.25f, 0.25f};
static const weir_attribute_t tell_attributes[] = {
    {.name = "factor", .type = WEIR_ATTR_INT, .i = 2},
    {.name = "bias", .type = WEIR_ATTR_FLOAT, .f = 0.5},
    {.name = "mode", .type = WEIR_ATTR_STRING, .s = "plain"},
    {.name = "axes", .type = WEIR_ATTR_INTS, .count = 2, .ints = axes},
    {.name = "weights", .type = WEIR_ATTR_FLOATS, .count = 2, .floats = weights},
};

static const weir_attribute_t share_attributes[] = {{.name = "ratio", .type = WEIR_ATTR_FLOAT}};

#define OPERATOR(name, number, least, most, outputs, rule)                                         \
    .head = WEIR_HEAD(weir_operator_t), .domain = "test.custom", .op = name, .revision = number,   \
    .min_inputs = least, .max_inputs = most, .output_count = outputs, .infer = rule

static const weir_operator_t operators[] = {
    {OPERATOR("Tell", 1, 1, 3, 2, tell_infer), .attributes = WEIR_ARRAY(tell_attributes)},
    {OPERATOR("Half", 1, 1, 1, 1, half_infer)},
    {OPERATOR("Half", 3, 1, 1, 1, half_infer)},
    {OPERATOR("Share", 1, 1, 1, 1, share_infer), .attributes = WEIR_ARRAY(share_attributes)},
    {OPERATOR("Late", 5, 1, 1, 1, half_infer)},
    {OPERATOR("Liar", 1, 1, 1, 1, liar_infer)},
    {OPERATOR("Orphan", 1, 1, 1, 1, half_infer)},
};

#define KERNEL(name, number, body)                                                                 \
    {                                                                                              \
        .head = WEIR_HEAD(weir_kernel_t), .op = "test.custom::" name, .revision = number,          \
        .dtypes = WEIR_F32, .run = body                                                            \
    }

static const weir_kernel_t kernels[] = {KERNEL("Tell", 1, tell_run), KERNEL("Half", 1, half_run),
    KERNEL("Half", 3, half_run), KERNEL("Liar", 1, copy_run), KERNEL("Share", 1, share_run)};

static const weir_option_t options[] = {{.head = WEIR_HEAD(weir_option_t),
    .name = "lie",
    .default_value = "",
    .doc = "what infer() of Liar gets wrong",
    .type = WEIR_OPTION_STRING}};

static const weir_plugin_t plugin = {.head = WEIR_PLUGIN_HEAD,
    .name = "custom",
    .version = "0.1.0",
    .build = "1",
    .options = WEIR_ARRAY(options),
    .kernels = WEIR_ARRAY(kernels),
    .operators = WEIR_ARRAY(operators)};

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);
WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    engine = host;
    return &plugin;
}
