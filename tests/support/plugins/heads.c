// tests/support/plugins/heads.c: looks at every struct that the engine hands to a plugin.
//
// Each must begin with its size; one that the plugin fills in must be zero behind its head, because
// a plugin built from an older header leaves the fields that it does not know as they are. It is a
// device with memory of its own, in three builds: L1, L2, and L2 that claims (HEADS_LEVEL,
// HEADS_CLAIMS). What it saw and what was wrong are read by the test from heads_report().
#include <weir/plugin.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char seen[1024], wrong[1024];

WEIR_PLUGIN_EXPORT void heads_report(const char **out_seen, const char **out_wrong);
WEIR_PLUGIN_EXPORT void heads_report(const char **out_seen, const char **out_wrong)
{
    *out_seen = seen;
    *out_wrong = wrong;
}

// Calls come from one thread at a time in the test that uses this.
static void note(char *list, const char *name)
{
    size_t used = strlen(list);
    if (!strstr(list, name))
        snprintf(list + used, 1024 - used, "%s;", name);
}

static void look(const char *name, const void *given, uint32_t size, int is_filled_in)
{
    const unsigned char *bytes = given;
    weir_head_t head;
    memcpy(&head, given, sizeof head);
    note(seen, name);
    if (head.size != size)
        note(wrong, name);
    for (uint32_t i = sizeof head; is_filled_in && i < size; i++)
        if (bytes[i])
            note(wrong, name);
}
#define GIVEN(type, pointer) look(#type, pointer, sizeof(type), 0)
#define EMPTY(type, pointer) look(#type, pointer, sizeof(type), 1)

// ---- Kernels: MatMul with a packed B, Relu, an operator
// ------------------------------------------

#define FORMAT_TURNED (WEIR_FORMAT_OWN + 9u)

static weir_code_t supports(const weir_node_t *node, weir_support_t *out)
{
    GIVEN(weir_node_t, node);
    EMPTY(weir_support_t, out);
    return WEIR_OK;
}

static weir_code_t pack_query(const weir_node_t *node, uint32_t input, weir_packing_t *out)
{
    GIVEN(weir_node_t, node);
    EMPTY(weir_packing_t, out);
    if (input != 1)
        return WEIR_OK;
    out->format = FORMAT_TURNED;
    out->bytes = node->inputs[1].bytes;
    return WEIR_OK;
}

static weir_code_t pack(const weir_node_t *node, uint32_t input, void *to, uint64_t bytes)
{
    const int64_t *dims = node->inputs[input].dims;
    const float *from = node->inputs[input].data;
    for (uint64_t i = 0; i < bytes / sizeof(float); i++)
        ((float *)to)[(int64_t)i % dims[1] * dims[0] + (int64_t)i / dims[1]] = from[i];
    return WEIR_OK;
}

static weir_code_t prepare(const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out)
{
    GIVEN(weir_host_t, host);
    GIVEN(weir_node_t, node);
    EMPTY(weir_prepared_t, out);
    return WEIR_OK;
}

static void tasks(const weir_node_t *node, void *state, weir_tasks_t *out)
{
    (void)state;
    GIVEN(weir_node_t, node);
    EMPTY(weir_tasks_t, out);
    out->phase_count = 1;
    out->task_count[0] = 1;
}

static weir_code_t infer(const weir_node_t *node, weir_shape_t *out, weir_support_t *support)
{
    GIVEN(weir_node_t, node);
    EMPTY(weir_support_t, support);
    out->dtype = WEIR_F32;
    out->rank = node->inputs[0].rank;
    memcpy(out->dims, node->inputs[0].dims, out->rank * sizeof out->dims[0]);
    return WEIR_OK;
}

static weir_code_t compute(
    const weir_node_t *node, const weir_tensor_t *in, const weir_tensor_t *to)
{
    const float *x = in[0].data;
    float *y = to->data;
    if (strcmp(node->op, "MatMul") != 0) {
        for (uint64_t i = 0; i < to->element_count; i++)
            y[i] = strcmp(node->op, "Relu") == 0 ? (x[i] < 0 ? 0 : x[i]) : x[i] + 1;
        return WEIR_OK;
    }
    const float *b = in[1].data;
    int64_t depth = in[1].dims[0], columns = in[1].dims[1];
    int turned = in[1].format == FORMAT_TURNED;
    for (int64_t i = 0; i < (int64_t)to->element_count; i++) {
        y[i] = 0;
        for (int64_t k = 0; k < depth; k++)
            y[i] += x[i / columns * depth + k] *
                    b[turned ? i % columns * depth + k : k * columns + i % columns];
    }
    return WEIR_OK;
}

#define KERNEL(name)                                                                               \
    {                                                                                              \
        .head = WEIR_HEAD(weir_kernel_t), .op = name, .revision = 1, .dtypes = WEIR_F32,           \
        .supports = supports, .pack_query = pack_query, .pack = pack, .prepare = prepare,          \
        .tasks = tasks                                                                             \
    }
static const weir_kernel_t kernels[] = {KERNEL("MatMul"), KERNEL("Relu"), KERNEL("test.heads::Op")};

// ---- The device --------------------------------------------------------------------------------

static const weir_host_t *engine;

static weir_code_t enumerate(const weir_host_t *host, uint32_t index, weir_device_info_t *out)
{
    GIVEN(weir_host_t, host);
    EMPTY(weir_device_info_t, out);
    snprintf(out->name, sizeof out->name, "looks at heads");
    return index ? WEIR_NOT_FOUND : WEIR_OK;
}

static weir_code_t open_device(const weir_host_t *host, uint32_t index, weir_handle_t *out)
{
    (void)index;
    engine = host;
    *out = 1;
    return WEIR_OK;
}

static void close_device(weir_handle_t device)
{
    (void)device;
}

static weir_code_t alloc_buffer(
    weir_handle_t device, uint32_t memory, uint64_t bytes, weir_handle_t *out)
{
    (void)device, (void)memory;
    *out = (uintptr_t)aligned_alloc(256, (bytes / 256 + 1) * 256);
    return *out ? WEIR_OK : WEIR_RESOURCE_EXHAUSTED;
}

static void free_buffer(weir_handle_t device, weir_handle_t buffer)
{
    (void)device;
    free((void *)(uintptr_t)buffer);
}

static weir_code_t map(weir_handle_t device, weir_handle_t buffer, void **out)
{
    (void)device;
    *out = (void *)(uintptr_t)buffer;
    return WEIR_OK;
}

static weir_code_t create_queue(weir_handle_t device, weir_handle_t *out)
{
    *out = device;
    return WEIR_OK;
}

static void destroy_queue(weir_handle_t device, weir_handle_t queue)
{
    (void)device, (void)queue;
}

static weir_code_t edge_from(weir_handle_t to, weir_handle_t from, weir_edge_t *out)
{
    (void)to, (void)from;
    EMPTY(weir_edge_t, out);
    return WEIR_OK;
}

static char *at(const weir_binding_t *b)
{
    return b->buffer ? (char *)(uintptr_t)b->buffer + b->offset : b->pointer;
}

static weir_code_t copy(weir_handle_t queue, const weir_copy_region_t *regions, uint32_t count,
    const weir_timeline_point_t *waits, uint32_t wait_count, const weir_timeline_point_t *signals,
    uint32_t signal_count)
{
    (void)queue, (void)waits, (void)wait_count;
    for (uint32_t i = 0; i < count; i++)
        memcpy(at(&regions[i].to), at(&regions[i].from), regions[i].to.bytes);
    weir_signal_all(engine, signals, signal_count);
    return WEIR_OK;
}

#if HEADS_LEVEL == 1

static weir_code_t execute(weir_handle_t queue, const weir_execution_t *execution,
    const weir_timeline_point_t *waits, uint32_t wait_count, const weir_timeline_point_t *signals,
    uint32_t signal_count)
{
    (void)queue, (void)waits, (void)wait_count;
    const weir_node_t *node = execution->node;
    GIVEN(weir_execution_t, execution);
    GIVEN(weir_node_t, node);
    if (execution->kernel)
        GIVEN(weir_kernel_t, execution->kernel);
    weir_tensor_t inputs[4], output = node->outputs[0];
    for (uint32_t i = 0; i < node->input_count; i++) {
        inputs[i] = node->inputs[i];
        inputs[i].data = at(&execution->bindings[i]);
    }
    output.data = at(&execution->bindings[node->input_count]);
    (void)compute(node, inputs, &output);
    weir_signal_all(engine, signals, signal_count);
    return WEIR_OK;
}

#else

static weir_code_t compile(weir_handle_t device, const weir_slice_t *slice, weir_handle_t *out)
{
    GIVEN(weir_slice_t, slice);
    GIVEN(weir_node_t, &slice->nodes[0].node);
    if (slice->nodes[0].kernel)
        GIVEN(weir_kernel_t, slice->nodes[0].kernel);
    *out = device;
    return WEIR_OK;
}

static void program_release(weir_handle_t program)
{
    (void)program;
}

static weir_code_t program_info(weir_handle_t program, weir_program_info_t *out)
{
    (void)program;
    EMPTY(weir_program_info_t, out);
    return WEIR_OK;
}

static weir_code_t specialize(
    weir_handle_t program, const weir_slice_t *slice, weir_specialized_t *out)
{
    (void)program;
    GIVEN(weir_slice_t, slice);
    EMPTY(weir_specialized_t, out);
    out->specialization = (uintptr_t)slice;
    return WEIR_OK;
}

static void specialization_release(weir_handle_t specialization)
{
    (void)specialization;
}

static weir_code_t launch(weir_handle_t queue, const weir_launch_t *given)
{
    (void)queue;
    GIVEN(weir_launch_t, given);
    const weir_slice_t *slice = (const weir_slice_t *)(uintptr_t)given->specialization;
    for (uint32_t n = 0; n < slice->node_count; n++) {
        const weir_slice_node_t *node = &slice->nodes[n];
        weir_tensor_t inputs[4], output = slice->tensors[node->outputs[0]];
        for (uint32_t i = 0; i < node->node.input_count; i++) {
            inputs[i] = slice->tensors[node->inputs[i]];
            inputs[i].data = at(&given->bindings[node->inputs[i]]);
        }
        output.data = at(&given->bindings[node->outputs[0]]);
        (void)compute(&node->node, inputs, &output);
    }
    weir_signal_all(engine, given->signals, given->signal_count);
    return WEIR_OK;
}

#endif

#ifdef HEADS_CLAIMS
static weir_code_t claim(weir_handle_t device, const weir_slice_t *graph, weir_claim_t *claims)
{
    (void)device;
    GIVEN(weir_slice_t, graph);
    for (uint32_t i = 0; i < graph->node_count; i++) {
        EMPTY(weir_claim_t, &claims[i]);
        for (uint32_t k = 0; k < sizeof kernels / sizeof kernels[0]; k++)
            claims[i].claimed |= strcmp(graph->nodes[i].node.op, kernels[k].op) == 0;
    }
    return WEIR_OK;
}
#endif

static const weir_device_table_t device = {
    .head = WEIR_HEAD(weir_device_table_t),
    .enumerate = enumerate,
    .open = open_device,
    .close = close_device,
    .alloc = alloc_buffer,
    .free = free_buffer,
    .map = map,
    .queue_create = create_queue,
    .queue_destroy = destroy_queue,
    .copy = copy,
    .edge = edge_from,
#if HEADS_LEVEL == 1
    .execute = execute,
#else
    .compile = compile,
    .program_release = program_release,
    .program_info = program_info,
    .specialize = specialize,
    .specialization_release = specialization_release,
    .launch = launch,
#endif
#ifdef HEADS_CLAIMS
    .claim = claim,
#endif
};

// ---- The plugin --------------------------------------------------------------------------------

static weir_code_t probe(const weir_host_t *host, weir_support_t *out)
{
    GIVEN(weir_host_t, host);
    EMPTY(weir_support_t, out);
    return WEIR_OK;
}

static const weir_operator_t operators[] = {{.head = WEIR_HEAD(weir_operator_t),
    .domain = "test.heads",
    .op = "Op",
    .revision = 1,
    .min_inputs = 1,
    .max_inputs = 1,
    .output_count = 1,
    .infer = infer}};

static const weir_plugin_t plugin = {.head = WEIR_PLUGIN_HEAD,
    .name = HEADS_NAME,
    .version = "0.1.0",
    .build = "1",
    .kernels = WEIR_ARRAY(kernels),
    .device = &device,
    .probe = probe,
    .operators = WEIR_ARRAY(operators)};

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);
WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    GIVEN(weir_host_t, host);
    return &plugin;
}
