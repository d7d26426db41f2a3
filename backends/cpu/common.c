// See common.h.
#include <string.h>

#include "backends/cpu/common.h"

weir_code_t weir_cpu_state_alloc(const weir_host_t *host, const weir_node_t *node, uint64_t bytes,
    uint64_t clear_bytes, void *out_state)
{
    void *state = host->alloc(host, bytes);
    if (!state)
        return host->fail(
            host, WEIR_RESOURCE_EXHAUSTED, "no memory for the state of a %s", node->op);
    memset(state, 0, clear_bytes);
    memcpy(out_state, &state, sizeof(state));
    return WEIR_OK;
}

weir_code_t weir_cpu_state_new(
    const weir_host_t *host, const weir_node_t *node, uint64_t bytes, void *out_state)
{
    const weir_k_table_t *kernels = weir_cpu_isa_table(host);
    if (!kernels)
        return host->fail(host, WEIR_UNAVAILABLE, "option isa of plugin cpu: not on this machine");
    void *state = NULL;
    const weir_code_t code = weir_cpu_state_alloc(host, node, bytes, bytes, &state);
    if (code != WEIR_OK)
        return code;
    memcpy(state, &kernels, sizeof(kernels));
    memcpy(out_state, &state, sizeof(state));
    return WEIR_OK;
}

weir_code_t weir_cpu_state_end(const weir_host_t *host, const weir_node_t *node, const char *wrong,
    void *state, uint64_t scratch_bytes, weir_prepared_t *out_prepared)
{
    if (wrong) {
        host->free(host, state);
        return host->fail(host, WEIR_UNSUPPORTED, "%s: %s", node->op, wrong);
    }
    out_prepared->state = state;
    out_prepared->scratch_bytes = scratch_bytes;
    return WEIR_OK;
}

weir_code_t weir_cpu_refuse_plain(
    const weir_node_t *node, uint32_t input_count, weir_support_t *out_support)
{
    if (node->prologue || node->epilogue)
        return weir_cpu_refuse(out_support, "takes no prologue and no epilogue");
    if (node->input_count < input_count || node->output_count == 0)
        return weir_cpu_refuse(out_support, "inputs are missing");
    for (uint32_t i = 0; i < input_count; i++)
        if (node->inputs[i].dtype == 0)
            return weir_cpu_refuse(out_support, "inputs are missing");
    return WEIR_OK;
}

weir_code_t weir_cpu_refuse_not_f32(
    const weir_node_t *node, uint32_t input_count, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_plain(node, input_count, out_support);
    if (code != WEIR_OK)
        return code;
    if (node->inputs[0].dtype != WEIR_F32 || node->outputs[0].dtype != WEIR_F32)
        return weir_cpu_refuse(out_support, "takes f32 only");
    return WEIR_OK;
}

uint64_t weir_cpu_product(const int64_t *dims, uint32_t first, uint32_t end)
{
    uint64_t product = 1;
    for (uint32_t d = first; d < end; d++)
        product *= (uint64_t)dims[d];
    return product;
}

int64_t weir_cpu_axis(int64_t axis, uint32_t rank)
{
    const int64_t from_front = axis < 0 ? axis + (int64_t)rank : axis;
    return from_front >= 0 && from_front < (int64_t)rank ? from_front : -1;
}

int64_t weir_cpu_index(const weir_tensor_t *tensor, uint64_t i)
{
    return tensor->dtype == WEIR_I32 ? ((const int32_t *)tensor->data)[i]
                                     : ((const int64_t *)tensor->data)[i];
}

int weir_cpu_is_constant(const weir_tensor_t *tensor)
{
    return (tensor->flags & WEIR_TENSOR_CONSTANT) && (tensor->data || tensor->element_count == 0);
}

int weir_cpu_has(const weir_node_t *node, uint32_t i)
{
    return i < node->input_count && node->inputs[i].dtype != 0;
}

const char *weir_cpu_string(const weir_node_t *node, const char *name)
{
    const weir_attribute_t *attribute = weir_node_attribute(node, name);
    return attribute && attribute->type == WEIR_ATTR_STRING && attribute->s ? attribute->s : "";
}

void weir_cpu_tasks_one(
    weir_tasks_t *out_tasks, uint64_t units, uint64_t per_task, uint64_t unit_ns)
{
    out_tasks->phase_count = 1;
    out_tasks->task_count[0] = WEIR_MAX(1u, WEIR_DIV_UP(units, per_task));
    out_tasks->task_cost_ns[0] = WEIR_MIN(units, per_task) * unit_ns + 1;
}

void weir_cpu_task_range(const weir_task_t *task, uint64_t units, uint64_t per_task,
    uint64_t *out_first, uint64_t *out_end)
{
    *out_first = weir_cpu_min(task->first * per_task, units);
    *out_end = weir_cpu_min((task->first + task->count) * per_task, units);
}
