// engine/plan/plan.c: from a model and a list of devices to a plan, step by step.
#include "engine/plan/plan.h"

#include "engine/base/clock.h"
#include <string.h>

// ---- Devices -----------------------------------------------------------------------------------

static weir_status_t add(weir__device_list_t *list, weir__device_t *device)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (list->devices[i] == device)
            return NULL;
    if (list->count == sizeof list->devices / sizeof list->devices[0])
        return WEIR_ERR(WEIR_LIMIT, "more than %u devices for one plan", list->count);
    list->devices[list->count++] = device;
    return NULL;
}

// Opens a device with programs and keeps it open until the plan is made.
static weir_status_t enter(
    weir__registry_t *registry, weir__device_list_t *list, weir__device_t *device)
{
    if (!device->programs)
        return NULL;
    for (uint32_t i = 0; i < list->entered_count; i++)
        if (list->entered[i]->device == device)
            return NULL;
    WEIR_TRY(weir__device_enter(registry, device, &list->entered[list->entered_count]));
    list->entered_count++;
    return NULL;
}

static void leave(weir__device_list_t *list)
{
    for (uint32_t i = 0; i < list->entered_count; i++)
        weir__opened_leave(list->entered[i]);
    for (uint32_t i = 0; i < list->refusal_count; i++)
        weir_status_free(list->refusals[i].status);
}

const char *weir__plan_refusal(const weir__device_list_t *list, const weir__device_t *device)
{
    for (uint32_t i = 0; i < list->refusal_count; i++)
        if (list->refusals[i].device == device)
            return weir_status_message(list->refusals[i].status);
    return NULL;
}

// Does another attempt make sense, without the device that did not compile its part? Then the
// status is the list's.
static bool refuse(weir__device_list_t *list, const weir_plan_t *plan, weir_status_t status)
{
    if (!status || !plan->refuser || list->required || list->refusal_count == 32 ||
        weir__plan_refusal(list, plan->refuser))
        return false;
    weir__log(plan->runtime->registry.log, WEIR_LOG_WARNING, "plan", "%s is left out: %s",
        plan->refuser->name, weir_status_message(status));
    list->refusals[list->refusal_count++] =
        (weir__refusal_t){.device = plan->refuser, .status = status};
    list->count = 0;
    return true;
}

static weir_status_t choose_devices(
    weir__registry_t *registry, const weir_plan_options_t *options, weir__device_list_t *list)
{
    const char *names = options ? options->devices : NULL;
    // One device named is a wish that a fallback would not fulfil.
    list->required =
        options && (options->require_devices || (names && *names && !strchr(names, ',')));
    list->placement = options ? options->placement : NULL;
    while (names && *names) {
        size_t length = strcspn(names, ",");
        weir__device_t *device;
        WEIR_TRY(weir__registry_device(registry, names, length, &device));
        WEIR_TRY(add(list, device));
        WEIR_TRY(enter(registry, list, device));
        names += length + (names[length] == ',');
    }
    bool named = list->count > 0;
    for (uint32_t i = 0; i < registry->device_count; i++) {
        weir__device_t *device = &registry->devices[i];
        bool last_resort = device->plugin == registry->plugins[0];
        if (!device->usable || device->on_request || (named && (!last_resort || list->required)))
            continue;
        // One that nobody asked for is left out when it cannot be opened.
        weir_status_t status = enter(registry, list, device);
        if (status)
            weir__log(registry->log, WEIR_LOG_WARNING, "plan", "%s is left out: %s", device->name,
                weir_status_message(status));
        else
            WEIR_TRY(add(list, device));
        weir_status_free(status);
    }
    return NULL;
}

// ---- Bookkeeping
// -----------------------------------------------------------------------------------

static void count_region_uses(weir_plan_t *plan, const weir__region_t *region)
{
    const weir__graph_t *graph = plan->model->graph;
    for (uint32_t i = 0; i < region->node_count; i++) {
        const weir__node_t *node = &graph->nodes[region->nodes[i]];
        for (uint32_t j = 0; j < node->input_count; j++)
            if (node->inputs[j] != WEIR__NONE)
                plan->use_counts[node->inputs[j]]++;
        for (uint32_t r = 0; r < node->region_count; r++)
            count_region_uses(plan, node->regions[r]); // as deep as limits.subgraph_depth allows
    }
    for (uint32_t i = 0; i < region->output_count; i++)
        plan->use_counts[region->outputs[i]]++;
}

// Once fused and in formats, nodes read other values than the graph's nodes did.
static void count_readers(weir_plan_t *plan, const weir__plan_region_t *region)
{
    for (uint32_t i = 0; i < region->node_count; i++) {
        const weir__plan_node_t *node = &region->nodes[i];
        for (uint32_t j = 0; j < node->input_count; j++)
            if (node->inputs[j] != WEIR__NONE)
                plan->reader_counts[node->inputs[j]]++;
        for (uint32_t r = 0; r < 2; r++)
            if (node->regions[r])
                count_readers(plan, node->regions[r]); // as deep as limits.subgraph_depth allows
    }
    for (uint32_t i = 0; i < region->source->output_count; i++)
        plan->reader_counts[region->source->outputs[i]]++;
}

static uint32_t count_nodes(const weir__plan_region_t *region)
{
    uint32_t count = region->node_count;
    for (uint32_t i = 0; i < region->node_count; i++)
        for (uint32_t r = 0; r < 2; r++)
            if (region->nodes[i].regions[r])
                count += count_nodes(region->nodes[i].regions[r]);
    return count;
}

static void list_nodes(weir_plan_t *plan, weir__plan_region_t *region, uint32_t depth)
{
    for (uint32_t i = 0; i < region->node_count; i++) {
        weir__plan_node_t *node = &region->nodes[i];
        plan->listing_depths[plan->listing_count] = depth;
        plan->listing[plan->listing_count++] = node;
        if (node->choice.device && !node->is_shape) {
            plan->info.node_count++;
            plan->info.ref_node_count +=
                node->choice.device->plugin == plan->runtime->registry.plugins[0];
        }
        for (uint32_t r = 0; r < 2; r++)
            if (node->regions[r])
                list_nodes(plan, node->regions[r], depth + 1);
    }
}

static weir_status_t make_listing(weir_plan_t *plan)
{
    uint32_t count = count_nodes(&plan->main);
    plan->listing = weir__zone_array(&plan->zone, count, sizeof *plan->listing);
    plan->listing_depths = weir__zone_array(&plan->zone, count, sizeof *plan->listing_depths);
    if (!plan->listing || !plan->listing_depths)
        return weir__status_no_memory();
    list_nodes(plan, &plan->main, 0);
    return NULL;
}

static weir_status_t choose_precision(weir_plan_t *plan, const weir_plan_options_t *options)
{
    const char *precision = options && options->precision ? options->precision : "f32";
    plan->is_bf16 = strcmp(precision, "bf16") == 0;
    if (!plan->is_bf16 && strcmp(precision, "f32") != 0)
        return WEIR_ERR(
            WEIR_INVALID_ARGUMENT, "precision \"%s\": there are f32 and bf16", precision);
    return NULL;
}

// ---- Life
// --------------------------------------------------------------------------------------------

static weir_status_t build(
    weir_plan_t *plan, const weir_plan_options_t *options, weir__device_list_t *devices)
{
    WEIR_TRY(choose_precision(plan, options));
    WEIR_TRY(choose_devices(&plan->runtime->registry, options, devices));
    const weir__graph_t *graph = plan->model->graph;
    plan->use_counts = weir__zone_array(&plan->zone, graph->value_count, sizeof *plan->use_counts);
    if (!plan->use_counts)
        return weir__status_no_memory();
    count_region_uses(plan, &graph->main);
    WEIR_TRY(weir__plan_place(plan, &graph->main, devices, &plan->main));
    WEIR_TRY(weir__plan_fuse(plan, &plan->main));
    WEIR_TRY(weir__plan_format(plan, &plan->main));
    WEIR_TRY(weir__plan_pack(plan, &plan->main));
    plan->reader_counts =
        weir__zone_array(&plan->zone, weir__plan_value_count(plan), sizeof *plan->reader_counts);
    if (!plan->reader_counts)
        return weir__status_no_memory();
    count_readers(plan, &plan->main);
    WEIR_TRY(weir__plan_slice(plan, &plan->main));
    WEIR_TRY(weir__plan_upload(plan));
    return make_listing(plan);
}

static weir_plan_t *plan_new(weir_model_t *model)
{
    weir__runtime_t *runtime = model->runtime;
    weir_plan_t *plan = weir__heap_calloc(&runtime->heap, 1, sizeof *plan);
    if (!plan)
        return NULL;
    atomic_init(&plan->references, 1);
    plan->model = model;
    plan->runtime = runtime;
    weir_model_retain(model);
    weir__zone_init(&plan->zone, &runtime->heap, runtime->limits.graph_bytes);
    weir__map_init(&plan->pack_names, &runtime->heap);
    return plan;
}

weir_status_t weir__plan_create(
    weir_model_t *model, const weir_plan_options_t *options, weir_plan_t **out_plan)
{
    uint64_t start_ns = weir__now_ns();
    weir__device_list_t devices = {.count = 0};
    weir_plan_t *plan = plan_new(model);
    if (!plan)
        return weir__status_no_memory();
    weir_status_t status = weir__zone_status(&plan->zone, build(plan, options, &devices));
    while (refuse(&devices, plan, status)) {
        weir__plan_free(plan);
        plan = plan_new(model);
        if (!plan) {
            leave(&devices);
            return weir__status_no_memory();
        }
        status = weir__zone_status(&plan->zone, build(plan, options, &devices));
    }
    leave(&devices);
    if (status) {
        weir__plan_free(plan);
        return status;
    }
    weir__plan_warn_of_cache(plan);
    weir__cache_trim(plan->runtime->cache); // what the model and the plan need has been found
    plan->info.create_ns = weir__now_ns() - start_ns;
    *out_plan = plan;
    return NULL;
}

void weir__plan_free(weir_plan_t *plan)
{
    weir__runtime_t *runtime = plan->runtime;
    if (plan->specs)
        plan->specs_free(plan->specs);
    for (uint32_t i = 0; i < plan->slice_count; i++)
        weir__made_release(
            plan->devices[plan->slices[i].plan_device].opened, plan->slices[i].program);
    for (uint32_t i = 0; i < plan->device_count; i++)
        weir__made_release(plan->devices[i].opened, plan->devices[i].constants);
    weir__plan_unpack(plan);
    weir_model_t *model = plan->model;
    weir__zone_free(&plan->zone);
    weir__heap_free(&runtime->heap, plan);
    weir_model_free(model);
}
