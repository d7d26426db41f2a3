// engine/plan/estimate.c: what work and copies cost while nobody has measured them.
//
// The rates below are orders of magnitude for a kind of device, not for a product. They weigh work
// against copies and launches; which of two devices is the faster they never decide (assign.c).
#include "engine/plan/place.h"

#include "engine/base/size.h"
#include <string.h>

// ---- Nominal sizes -----------------------------------------------------------------------------

#define NOMINAL_BATCH 1
#define NOMINAL_SIZE 128

weir_status_t weir__nominal_sizes(weir_plan_t *plan, int64_t **out_sizes)
{
    const weir__graph_t *graph = plan->model->graph;
    int64_t *sizes = weir__zone_array(&plan->zone, graph->symbols.count, sizeof *sizes);
    if (!sizes)
        return weir__status_no_memory();
    for (uint32_t s = 0; s < graph->symbols.count; s++)
        sizes[s] = NOMINAL_SIZE;
    for (uint32_t i = 0; i < graph->main.input_count; i++) {
        const weir__type_t *type = &graph->values[graph->main.inputs[i]].type;
        if (type->rank > 0 && type->dims[0] < 0)
            sizes[-1 - type->dims[0]] = NOMINAL_BATCH;
    }
    *out_sizes = sizes;
    return NULL;
}

// A tensor of the graph with these sizes; rank 0 and no bytes where nothing is known.
static void nominal_tensor(const weir_plan_t *plan, uint32_t value, const int64_t *sizes,
    int64_t dims[WEIR_RANK_MAX], weir_tensor_t *out_tensor)
{
    *out_tensor = (weir_tensor_t){.dims = dims};
    if (value == WEIR__NONE)
        return;
    const weir__value_t *source = &plan->model->graph->values[value];
    out_tensor->dtype = source->type.dtype;
    int32_t rank = source->constant ? (int32_t)source->constant->rank : source->type.rank;
    const int64_t *from = source->constant ? source->constant->dims : source->type.dims;
    if (rank < 0)
        return;
    for (int32_t d = 0; d < rank; d++)
        dims[d] = from[d] < 0 ? sizes[-1 - from[d]] : from[d];
    out_tensor->rank = (uint32_t)rank;
    if (!weir__dims_count(dims, out_tensor->rank, &out_tensor->element_count) ||
        !weir__tensor_bytes(dims, out_tensor->rank, out_tensor->dtype, &out_tensor->bytes))
        out_tensor->element_count = out_tensor->bytes = 0;
}

uint64_t weir__value_bytes(const weir_plan_t *plan, uint32_t value, const int64_t *sizes)
{
    int64_t dims[WEIR_RANK_MAX];
    weir_tensor_t tensor;
    nominal_tensor(plan, value, sizes, dims, &tensor);
    return tensor.bytes;
}

// ---- Work --------------------------------------------------------------------------------------

#define TENSORS_MAX 64 // a node with more of them counts with its first

static weir__cost_t node_cost(
    const weir_plan_t *plan, const weir__node_t *node, const int64_t *sizes)
{
    weir_tensor_t tensors[TENSORS_MAX];
    int64_t dims[TENSORS_MAX][WEIR_RANK_MAX];
    uint32_t outputs = WEIR_MIN(node->output_count, TENSORS_MAX / 2);
    uint32_t inputs = WEIR_MIN(node->input_count, TENSORS_MAX - outputs);
    for (uint32_t i = 0; i < inputs; i++)
        nominal_tensor(plan, node->inputs[i], sizes, dims[i], &tensors[i]);
    for (uint32_t i = 0; i < outputs; i++)
        nominal_tensor(plan, node->outputs[i], sizes, dims[inputs + i], &tensors[inputs + i]);
    weir_node_t view = {.head = WEIR_HEAD(weir_node_t),
        .op = node->op->name,
        .revision = node->op->revision,
        .input_count = inputs,
        .output_count = outputs,
        .attribute_count = node->attribute_count,
        .inputs = tensors,
        .outputs = tensors + inputs,
        .attributes = node->attributes};
    weir__cost_t cost = weir__node_cost(&view);
    if ((node->op->flags & WEIR__OP_ELEMENTWISE) && outputs)
        cost.flop = weir__cost_sum(cost.flop, view.outputs[0].element_count);
    return cost;
}

static bool is_among(const uint32_t *nodes, uint32_t count, uint32_t number)
{
    for (uint32_t i = 0; i < count; i++)
        if (nodes[i] == number)
            return true;
    return false;
}

weir__cost_t weir__nodes_cost(
    const weir_plan_t *plan, const uint32_t *nodes, uint32_t count, const int64_t *sizes)
{
    const weir__graph_t *graph = plan->model->graph;
    weir__cost_t cost = {0};
    uint64_t inside = 0;
    for (uint32_t n = 0; n < count; n++) {
        const weir__node_t *node = &graph->nodes[nodes[n]];
        weir__cost_t own = node_cost(plan, node, sizes);
        cost.flop = weir__cost_sum(cost.flop, own.flop);
        cost.bytes = weir__cost_sum(cost.bytes, own.bytes);
        // Written once and read here: neither happens.
        for (uint32_t i = 0; i < node->input_count && count > 1; i++)
            if (node->inputs[i] != WEIR__NONE &&
                is_among(nodes, count, graph->values[node->inputs[i]].producer))
                inside = weir__cost_sum(
                    inside, weir__cost_product(2, weir__value_bytes(plan, node->inputs[i], sizes)));
    }
    cost.bytes = cost.bytes > inside ? cost.bytes - inside : 0;
    return cost;
}

typedef struct rates {
    uint64_t flop_per_us, bytes_per_us, call_ns;
} rates_t;

// What one call takes, at these rates; threads: those that share the work.
static uint64_t time_of(const rates_t *rates, weir__cost_t cost)
{
    uint64_t compute = weir__cost_product(cost.flop, 1000) / rates->flop_per_us;
    uint64_t move = weir__cost_product(cost.bytes, 1000) / rates->bytes_per_us;
    return weir__cost_sum(rates->call_ns, WEIR_MAX(compute, move));
}

uint64_t weir__guess_ns(const weir_plan_t *plan, const weir__device_t *device, weir__cost_t cost)
{
    static const rates_t plain = {1000, 2000, 500};     // 1 GFLOP/s, 2 GB/s
    static const rates_t own = {2000000, 200000, 2000}; // 2 TFLOP/s, 200 GB/s
    rates_t host = {20000, 10000, 300};                 // 20 GFLOP/s a thread, 10 GB/s
    if (device->plugin == plan->runtime->registry.plugins[0])
        return time_of(&plain, cost);
    if (device->own_memory)
        return time_of(&own, cost);
    host.flop_per_us *= weir__team_threads(plan->runtime->team);
    return time_of(&host, cost);
}

// ---- Launches and copies -----------------------------------------------------------------------

#define LAUNCH_NS 5000
#define COPY_LATENCY_NS 10000
#define COPY_BYTES_PER_US 10000

uint64_t weir__launch_ns(const weir__device_t *device)
{
    return device->programs ? LAUNCH_NS : 0;
}

// How a tensor gets to `to`; from NULL: from the host. false: the device says only "through the
// host".
static bool ask_edge(const weir__device_t *to, const weir__device_t *from, weir__link_t *out_link)
{
    weir_edge_t edge = {.head = WEIR_HEAD(weir_edge_t)};
    const weir_device_table_t *table = &to->plugin->device;
    bool answered = table->edge && (!from || from->plugin == to->plugin);
    if (answered)
        answered = weir__opened_accepts(
            to->opened, table->edge(to->handle, from ? from->handle : 0, &edge), "edge");
    if (!answered)
        edge = (weir_edge_t){.kind = WEIR_EDGE_STAGED};
    *out_link = (weir__link_t){.latency_ns = edge.latency_ns ? edge.latency_ns : COPY_LATENCY_NS,
        .bytes_per_us = edge.bytes_per_us ? edge.bytes_per_us : COPY_BYTES_PER_US};
    return !from || (answered && edge.kind != WEIR_EDGE_STAGED);
}

void weir__links(weir__device_t *const *devices, uint32_t count,
    weir__link_t links[WEIR__MEMORIES_MAX][WEIR__MEMORIES_MAX], uint32_t *out_memories)
{
    const weir__device_t *owners[WEIR__MEMORIES_MAX] = {NULL};
    uint32_t memories = 1;
    memset(links, 0, sizeof(weir__link_t) * WEIR__MEMORIES_MAX * WEIR__MEMORIES_MAX);
    for (uint32_t d = 0; d < count; d++) {
        out_memories[d] = devices[d]->own_memory ? memories : 0;
        if (devices[d]->own_memory)
            owners[memories++] = devices[d];
    }
    for (uint32_t m = 1; m < memories; m++) {
        ask_edge(owners[m], NULL, &links[0][m]);
        links[m][0] = links[0][m];
    }
    for (uint32_t a = 1; a < memories; a++)
        for (uint32_t b = 1; b < memories; b++) {
            if (a == b || ask_edge(owners[b], owners[a], &links[a][b]))
                continue;
            // Down and up again.
            links[a][b].latency_ns = weir__cost_sum(links[a][0].latency_ns, links[0][b].latency_ns);
            links[a][b].bytes_per_us =
                WEIR_MAX(WEIR_MIN(links[a][0].bytes_per_us, links[0][b].bytes_per_us) / 2, 1);
        }
}

// ---- Names for measured times ------------------------------------------------------------------

static weir__hash_t hash_more(weir__hash_t so_far, const void *data, uint64_t bytes)
{
    return weir__hash_join(so_far, weir__hash128(data, bytes));
}

static weir__hash_t hash_text(weir__hash_t so_far, const char *text)
{
    return hash_more(so_far, text ? text : "", text ? strlen(text) : 0);
}

static weir__hash_t hash_attribute(weir__hash_t hash, const weir_attribute_t *attribute)
{
    uint64_t head[2] = {attribute->type, attribute->count};
    hash = hash_text(hash, attribute->name);
    hash = hash_more(hash, head, sizeof head);
    switch (attribute->type) {
    case WEIR_ATTR_INT:
        return hash_more(hash, &attribute->i, sizeof attribute->i);
    case WEIR_ATTR_FLOAT:
        return hash_more(hash, &attribute->f, sizeof attribute->f);
    case WEIR_ATTR_STRING:
        return hash_text(hash, attribute->s);
    case WEIR_ATTR_INTS:
        return hash_more(hash, attribute->ints, attribute->count * sizeof(int64_t));
    default:
        return hash_more(hash, attribute->floats, attribute->count * sizeof(float));
    }
}

// A tensor by its type and by who makes it: the nth of these nodes, or somebody else. Open sizes
// are all alike: the size class tells them apart.
static weir__hash_t hash_value(const weir_plan_t *plan, weir__hash_t hash, uint32_t value,
    const uint32_t *nodes, uint32_t count)
{
    int64_t head[4 + WEIR_RANK_MAX] = {-1};
    if (value == WEIR__NONE)
        return hash_more(hash, head, sizeof head);
    const weir__value_t *source = &plan->model->graph->values[value];
    uint32_t maker = 0;
    while (maker < count && nodes[maker] != source->producer)
        maker++;
    head[0] = source->type.dtype;
    head[1] = source->constant ? (int64_t)source->constant->rank : source->type.rank;
    head[2] = source->constant ? -1 : (int64_t)maker;
    head[3] = maker < count ? source->producer_output : 0;
    const int64_t *dims = source->constant ? source->constant->dims : source->type.dims;
    for (int64_t d = 0; d < head[1]; d++)
        head[4 + d] = WEIR_MAX(dims[d], -1);
    return hash_more(hash, head, sizeof head);
}

weir__hash_t weir__nodes_key(
    const weir_plan_t *plan, const uint32_t *nodes, uint32_t count, const weir__device_t *device)
{
    weir__hash_t hash = weir__hash128(&count, sizeof count);
    hash = hash_text(hash, device->plugin->name);
    hash = hash_text(hash, device->plugin->abi.version);
    hash = hash_text(hash, device->plugin->abi.build);
    hash = hash_text(hash, device->arch);
    uint32_t threads = device->programs ? 0 : weir__team_threads(plan->runtime->team);
    hash = hash_more(hash, &threads, sizeof threads);
    if (plan->is_bf16)
        hash = hash_text(hash, "bf16");
    for (uint32_t n = 0; n < count; n++) {
        const weir__node_t *node = &plan->model->graph->nodes[nodes[n]];
        uint32_t head[4] = {
            node->op->revision, node->input_count, node->output_count, node->attribute_count};
        hash = hash_text(hash, node->op->name);
        hash = hash_more(hash, head, sizeof head);
        for (uint32_t i = 0; i < node->attribute_count; i++)
            hash = hash_attribute(hash, &node->attributes[i]);
        for (uint32_t i = 0; i < node->input_count; i++)
            hash = hash_value(plan, hash, node->inputs[i], nodes, count);
        for (uint32_t i = 0; i < node->output_count; i++)
            hash = hash_value(plan, hash, node->outputs[i], nodes, count);
    }
    return hash;
}

uint32_t weir__size_class(weir__cost_t cost)
{
    uint64_t work = weir__cost_sum(cost.flop, cost.bytes);
    if (!work)
        return 0;
    // Half powers of two: the exponent, and whether the next bit is set.
    uint32_t exponent = 63u - (uint32_t)__builtin_clzll(work);
    return 1 + 2 * exponent + (exponent ? (uint32_t)(work >> (exponent - 1) & 1) : 0);
}
