// scheduler/loop/build.c: a model that is to be served: its plans, where rows lie, its instances.
//
// Runs on the thread that adds the model. It must not touch what the loop owns.
#include "scheduler/loop/loop.h"

#include <stdlib.h>
#include <string.h>

// ---- Ports and axes ----------------------------------------------------------------------------

// A model that was evicted still says what it takes: the names are copied, one after another.
static const char *own(const char *name, char **to)
{
    if (!name)
        return NULL;
    char *here = *to;
    size_t bytes = strlen(name) + 1;
    memcpy(here, name, bytes);
    *to += bytes;
    return here;
}

static size_t names_bytes(const weir_port_t *ports, uint32_t count)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        bytes += strlen(ports[i].name) + 1;
        for (int32_t d = 0; d < ports[i].rank; d++)
            bytes += ports[i].dim_names[d] ? strlen(ports[i].dim_names[d]) + 1 : 0;
    }
    return bytes;
}

static void own_ports(weir_port_t *ports, uint32_t count, char **to)
{
    for (uint32_t i = 0; i < count; i++) {
        ports[i].name = own(ports[i].name, to);
        for (int32_t d = 0; d < ports[i].rank; d++)
            ports[i].dim_names[d] = own(ports[i].dim_names[d], to);
    }
}

static bool own_names(weir__served_t *served)
{
    char *to = served->names = malloc(names_bytes(served->inputs, served->input_count) +
                                      names_bytes(served->outputs, served->output_count) + 1);
    if (!to)
        return false;
    own_ports(served->inputs, served->input_count, &to);
    own_ports(served->outputs, served->output_count, &to);
    return true;
}

static weir_status_t copy_ports(weir__served_t *served, weir_model_t *model)
{
    served->input_count = weir_model_input_count(model);
    served->output_count = weir_model_output_count(model);
    served->inputs = calloc(served->input_count + 1u, sizeof *served->inputs);
    if (served->input_count > WEIR__INPUTS_MAX)
        return WEIR_FAIL(WEIR_LIMIT, "%s@%s has %u inputs; at most %d can be served", served->name,
            served->version, served->input_count, WEIR__INPUTS_MAX);
    served->outputs = calloc(served->output_count + 1u, sizeof *served->outputs);
    served->input_axes = calloc(served->input_count + 1u, sizeof *served->input_axes);
    served->output_axes = calloc(served->output_count + 1u, sizeof *served->output_axes);
    if (!served->inputs || !served->outputs || !served->input_axes || !served->output_axes)
        return weir__loop_no_memory();
    for (uint32_t i = 0; i < served->input_count; i++)
        WEIR_TRY(weir_model_input(model, i, &served->inputs[i]));
    for (uint32_t i = 0; i < served->output_count; i++)
        WEIR_TRY(weir_model_output(model, i, &served->outputs[i]));
    return own_names(served) ? NULL : weir__loop_no_memory();
}

static weir_status_t set_axis(const weir__served_t *served, const weir_port_t *port,
    const int32_t *wanted, uint32_t index, int32_t *out_axis)
{
    int32_t axis = wanted ? wanted[index] : WEIR_AXIS_AUTO;
    if (axis == WEIR_AXIS_AUTO)
        axis = port->rank < 0 || (port->rank > 0 && port->dims[0] < 0) ? 0 : WEIR_AXIS_NONE;
    if (axis != WEIR_AXIS_NONE && (axis < 0 || (port->rank >= 0 && axis >= port->rank)))
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
            "%s@%s: axis %d of \"%s\" cannot hold rows: it has %d axes", served->name,
            served->version, axis, port->name, port->rank);
    *out_axis = axis;
    return NULL;
}

static weir_status_t set_paddings(weir__served_t *served, const weir_serving_options_t *options)
{
    if (!options->padding_count)
        return NULL;
    served->paddings = calloc(options->padding_count, sizeof *served->paddings);
    if (!served->paddings)
        return weir__loop_no_memory();
    served->padding_count = options->padding_count;
    for (uint32_t i = 0; i < options->padding_count; i++) {
        const weir_padding_t *it = &options->paddings[i];
        served->paddings[i] = *it;
        if (it->input >= served->input_count || it->axis >= WEIR_RANK_MAX ||
            (int32_t)it->axis == served->input_axes[it->input] ||
            (int32_t)it->axis >= served->inputs[it->input].rank ||
            served->inputs[it->input].dims[it->axis] >= 0)
            return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
                "%s@%s: paddings[%u]: input %u has no axis %u that is free and is not that of "
                "its rows",
                served->name, served->version, i, it->input, it->axis);
        if (it->output >= 0 &&
            ((uint32_t)it->output >= served->output_count || it->output_axis >= WEIR_RANK_MAX ||
                (int32_t)it->output_axis == served->output_axes[it->output] ||
                (served->outputs[it->output].rank >= 0 &&
                    (int32_t)it->output_axis >= served->outputs[it->output].rank)))
            return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
                "%s@%s: paddings[%u]: output %d has no axis %u to cut back", served->name,
                served->version, i, it->output, it->output_axis);
    }
    return NULL;
}

// Free dims of one name: a request that contradicts itself is refused by itself.
static weir_status_t find_same_dims(weir__served_t *served)
{
    size_t most = (size_t)served->input_count * WEIR_RANK_MAX;
    served->same_dims = calloc(most + 1, sizeof *served->same_dims);
    weir__same_dim_t *firsts = calloc(most + 1, sizeof *firsts);
    uint32_t first_count = 0;
    if (!served->same_dims || !firsts) {
        free(firsts);
        return weir__loop_no_memory();
    }
    for (uint32_t i = 0; i < served->input_count; i++)
        for (int32_t d = 0; d < served->inputs[i].rank; d++) {
            const char *name = served->inputs[i].dim_names[d];
            if (served->inputs[i].dims[d] >= 0 || !name || !name[0])
                continue;
            uint32_t f = 0;
            while (f < first_count &&
                   strcmp(served->inputs[firsts[f].input].dim_names[firsts[f].axis], name) != 0)
                f++;
            weir__same_dim_t here = {.input = i,
                .axis = (uint32_t)d,
                .first_input = firsts[f].input,
                .first_axis = firsts[f].axis};
            if (f == first_count)
                firsts[first_count++] = here;
            else
                served->same_dims[served->same_dim_count++] = here;
        }
    free(firsts);
    return NULL;
}

// Why requests of this model can't be stacked, as far as its ports say; NULL: they may be.
static const char *obstacle(const weir__served_t *served)
{
    uint32_t with_rows = 0;
    for (uint32_t i = 0; i < served->input_count; i++) {
        const weir_port_t *port = &served->inputs[i];
        int32_t axis = served->input_axes[i];
        if (axis != WEIR_AXIS_NONE) {
            with_rows++;
            if (port->rank < 0 || port->dims[axis] >= 0)
                return "not stacked: the axis of its rows is of a fixed size";
            continue;
        }
        uint64_t bytes = weir_dtype_bytes(port->dtype);
        for (int32_t d = 0; d < port->rank && bytes <= WEIR__SHARED_BYTES; d++)
            bytes = port->dims[d] < 0 || port->dims[d] > WEIR__SHARED_BYTES
                        ? WEIR__SHARED_BYTES + 1u
                        : bytes * (uint64_t)port->dims[d];
        if (port->rank < 0 || bytes > WEIR__SHARED_BYTES)
            return "not stacked: an input without rows is too large to be compared";
    }
    for (uint32_t i = 0; i < served->output_count; i++)
        if (served->output_axes[i] == WEIR_AXIS_NONE)
            return "not stacked: an output has no rows";
    return with_rows ? NULL : "not stacked: no input has rows";
}

static weir_status_t set_batching(weir__served_t *served, const weir_serving_options_t *options)
{
    uint32_t most = options->max_batch ? options->max_batch : 32;
    if (most > WEIR__CORE_BATCH_ROWS_MAX || options->batching > WEIR_BATCHING_OFF)
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
            "%s@%s: max_batch is at most %u and batching one of weir_batching_t", served->name,
            served->version, WEIR__CORE_BATCH_ROWS_MAX);
    for (uint32_t i = 0; i < served->input_count; i++)
        WEIR_TRY(
            set_axis(served, &served->inputs[i], options->input_axes, i, &served->input_axes[i]));
    for (uint32_t i = 0; i < served->output_count; i++)
        WEIR_TRY(set_axis(
            served, &served->outputs[i], options->output_axes, i, &served->output_axes[i]));
    WEIR_TRY(set_paddings(served, options));
    WEIR_TRY(find_same_dims(served));
    const char *why = options->batching == WEIR_BATCHING_OFF ? "off, as the options say"
                      : most == 1                            ? "off: max_batch is 1"
                                                             : obstacle(served);
    if (why && options->batching == WEIR_BATCHING_ON && most > 1)
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT, "%s@%s: batching is to be on, but it is %s",
            served->name, served->version, why);
    served->max_batch = why ? 1 : most;
    snprintf(served->batching, sizeof served->batching, "%s",
        why                                     ? why
        : options->batching == WEIR_BATCHING_ON ? "on, as the options say"
                                                : "rows are independent");
    return NULL;
}

// ---- Plans -------------------------------------------------------------------------------------

// FNV-1a, of everything that decides the bits of an answer.
static uint64_t mix(uint64_t hash, const char *text)
{
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return (hash ^ 0xff) * 0x100000001b3u;
}

static uint64_t fingerprint_of(const weir_engine_t *engine, weir_plan_t *plan)
{
    uint64_t hash = mix(0xcbf29ce484222325u, weir_version());
    weir_device_description_t device = {.size = sizeof device};
    for (uint32_t i = 0; i < weir_device_count(engine); i++) {
        weir_status_t status = weir_device_describe(engine, i, &device);
        weir_status_free(status);
        if (!status)
            hash = mix(mix(hash, device.name), device.version);
    }
    weir_plan_node_t node = {.size = sizeof node};
    for (uint32_t i = 0; weir_plan_node(plan, i, &node); i++)
        hash = mix(mix(mix(mix(hash, node.op), node.device), node.kernel), node.fused);
    return hash;
}

// The scheduler's number of a device. Under the lock.
static weir_status_t device_number(
    weir_scheduler_t *scheduler, const char *name, uint32_t *out_device)
{
    for (uint32_t i = 0; i < scheduler->device_count; i++)
        if (strcmp(scheduler->devices[i].name, name) == 0) {
            *out_device = i;
            return NULL;
        }
    if (scheduler->device_count == scheduler->limits.device_count)
        return WEIR_FAIL(
            WEIR_RESOURCE_EXHAUSTED, "more than %u devices", scheduler->limits.device_count);
    weir__loop_device_t *device = &scheduler->devices[scheduler->device_count];
    *device = (weir__loop_device_t){.state = WEIR__DEVICE_HEALTHY};
    // As many batches at a time as threads that could each compute one.
    device->slots = weir_engine_threads(scheduler->engine);
    snprintf(device->name, sizeof device->name, "%.*s", (int)sizeof device->name - 1, name);
    device->series =
        weir__observe_add_series(scheduler->observe, WEIR__OBSERVE_DEVICE, device->name, NULL);
    if (!device->series)
        return weir__loop_no_memory();
    *out_device = scheduler->device_count++;
    return NULL;
}

// A device that is away now may come back; of a model that was there before (`again`), anything
// may.
static bool may_be_missing(bool again, weir_status_t status)
{
    weir_code_t code = weir_status_code(status);
    return again || code == WEIR_UNAVAILABLE || code == WEIR_DEVICE_LOST;
}

static bool is_on_host(const weir_plan_t *plan)
{
    weir_plan_node_t node = {.size = sizeof node};
    if (!plan) // of a device that is away, so it is none of the host's
        return false;
    // What devices keep of a plan says nothing: it need not have constants.
    for (uint32_t i = 0; weir_plan_node(plan, i, &node); i++)
        if (node.slice != UINT32_MAX) // a device is launched
            return false;
    return true;
}

static weir_status_t place(
    weir_scheduler_t *scheduler, weir__served_t *served, const char *devices, uint32_t index)
{
    if (index == WEIR__PLACED_MAX)
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT, "%s@%s: at most %d devices", served->name,
            served->version, WEIR__PLACED_MAX);
    weir__placed_t *placed = &served->placed[index];
    memset(placed, 0, sizeof *placed);
    weir_plan_options_t options = {
        .size = sizeof options, .devices = devices, .precision = served->precision};
    weir_status_t missing = weir_plan_create(served->model, &options, &placed->plan);
    placed->missing = missing != NULL;
    if (missing && !(devices && may_be_missing(served->placed_count, missing)))
        return missing;
    weir_plan_node_t node = {.size = sizeof node};
    const char *name = devices;
    if (!name)
        name = weir_plan_node(placed->plan, 0, &node) ? node.device : "none";
    pthread_mutex_lock(&scheduler->lock);
    weir_status_t status = device_number(scheduler, name, &placed->device);
    pthread_mutex_unlock(&scheduler->lock);
    placed->threads = served->threads;
    placed->on_host = is_on_host(placed->plan);
    placed->instances_max = served->instances_max;
    // Under traffic, where the embedder says nothing else, it grows to an instance on each team.
    if (placed->on_host && served->spreads)
        placed->instances_max = WEIR_MAX(served->instances_max, scheduler->team_count);
    weir_receipt_t *receipt = &placed->receipt;
    snprintf(receipt->model, sizeof receipt->model, "%s", served->name);
    snprintf(receipt->version, sizeof receipt->version, "%s", served->version);
    snprintf(receipt->digest, sizeof receipt->digest, "%s", served->info.digest);
    snprintf(
        receipt->device, sizeof receipt->device, "%.*s", (int)sizeof receipt->device - 1, name);
    if (placed->plan)
        snprintf(receipt->fingerprint, sizeof receipt->fingerprint, "%016llx",
            (unsigned long long)fingerprint_of(scheduler->engine, placed->plan));
    if (!status)
        return missing;
    weir_status_free(missing);
    return status;
}

// A model is served by the devices that are there: one is enough.
static weir_status_t tolerate(weir_scheduler_t *scheduler, const weir__served_t *served, bool again,
    weir_status_t status, bool *out_some)
{
    if (!status) {
        *out_some = true;
        return NULL;
    }
    if (!may_be_missing(again, status))
        return status;
    weir__loop_log(scheduler, WEIR_LOG_WARNING, 0, "%s@%s does without a device: %s", served->name,
        served->version, weir_status_text(status));
    weir_status_free(status);
    return NULL;
}

// out_count: of plans that were tried, also when one fails.
static weir_status_t place_all(
    weir_scheduler_t *scheduler, weir__served_t *served, uint32_t *out_count)
{
    *out_count = 1;
    if (!served->devices)
        return place(scheduler, served, NULL, 0);
    char *list = strdup(served->devices), *rest = NULL;
    if (!list)
        return weir__loop_no_memory();
    weir_status_t status = NULL;
    bool some = false;
    *out_count = 0;
    for (char *name = strtok_r(list, ",", &rest); name && !status;
         name = strtok_r(NULL, ",", &rest)) {
        status = place(scheduler, served, name, *out_count);
        status = tolerate(scheduler, served, served->placed_count, status, &some);
        ++*out_count;
    }
    free(list);
    if (!status && *out_count && !some)
        status = WEIR_FAIL(WEIR_UNAVAILABLE, "%s@%s: none of its devices is there: %s",
            served->name, served->version, served->devices);
    if (!status && !*out_count)
        status = WEIR_FAIL(WEIR_INVALID_ARGUMENT, "%s@%s: devices is an empty list", served->name,
            served->version);
    return status;
}

// ---- Instances ---------------------------------------------------------------------------------

static void free_parts(weir__instance_t *instance, const weir__served_t *served)
{
    weir_session_free(instance->session);
    weir_cancel_free(instance->cancel);
    for (uint32_t i = 0; instance->buffers && i < served->input_count; i++)
        free(instance->buffers[i].data);
    free(instance->buffers);
    free(instance->inputs);
    free(instance->outputs);
    free(instance->tickets);
    weir_status_free(instance->status);
    size_t begin = offsetof(weir__instance_t, placed);
    memset((char *)instance + begin, 0, sizeof *instance - begin);
    atomic_store(&instance->served, NULL); // last: now it is anybody's
}

uint32_t weir__seat_team(const weir__instance_t *instance)
{
    return instance->placed->on_host ? atomic_load(&instance->team) + 1 : 0;
}

void weir__seat_free(weir__instance_t *instance)
{
    free_parts(instance, instance->served);
}

// The one with the fewest instances of this model, of those the one with the fewest of all. Under
// the lock.
static uint32_t freest_team(const weir_scheduler_t *scheduler, const weir__served_t *served)
{
    uint64_t own = scheduler->limits.instance_count + 1u, least = UINT64_MAX;
    uint32_t best = 0;
    for (uint32_t team = 0; team < scheduler->team_count; team++) {
        uint64_t count = 0;
        for (uint32_t i = 0; i < scheduler->limits.instance_count; i++) {
            const weir__instance_t *instance = &scheduler->instances[i];
            const weir__served_t *whose = atomic_load(&instance->served);
            if (whose && atomic_load(&instance->team) == team)
                count += whose == served ? own : 1;
        }
        if (count < least) {
            least = count;
            best = team;
        }
    }
    return best;
}

weir_status_t weir__seat_create(weir_scheduler_t *scheduler, weir__served_t *served,
    weir__placed_t *placed, weir_plan_t *plan, weir__instance_t **out_instance)
{
    weir__instance_t *instance = NULL;
    pthread_mutex_lock(&scheduler->lock);
    for (uint32_t i = 0; i < scheduler->limits.instance_count && !instance; i++)
        if (!scheduler->instances[i].served)
            instance = &scheduler->instances[i];
    if (instance) {
        atomic_store(&instance->team, freest_team(scheduler, served));
        // It is the model's when it is complete: others look through them meanwhile.
        instance->served = &scheduler->nobody;
    }
    pthread_mutex_unlock(&scheduler->lock);
    if (!instance)
        return WEIR_FAIL(WEIR_RESOURCE_EXHAUSTED, "%s@%s: all %u instances are taken", served->name,
            served->version, scheduler->limits.instance_count);
    instance->placed = placed;
    instance->buffers = calloc(served->input_count + 1u, sizeof *instance->buffers);
    instance->inputs = calloc(served->input_count + 1u, sizeof *instance->inputs);
    instance->outputs = calloc(served->output_count + 1u, sizeof *instance->outputs);
    instance->tickets = calloc(served->max_batch, sizeof *instance->tickets);
    weir_status_t status =
        !instance->buffers || !instance->inputs || !instance->outputs || !instance->tickets
            ? weir__loop_no_memory()
            : weir_cancel_create(&instance->cancel);
    weir_session_options_t options = {
        .size = sizeof options, .threads = placed->threads, .team = atomic_load(&instance->team)};
    if (!status)
        status = weir_session_create(plan, &options, &instance->session);
    if (status) {
        free_parts(instance, served);
        return status;
    }
    atomic_store(&instance->served, served);
    *out_instance = instance;
    return NULL;
}

static weir_status_t make_instances(weir_scheduler_t *scheduler, weir__served_t *served, bool again)
{
    bool some = false;
    for (uint32_t p = 0; p < served->placed_count; p++)
        for (uint32_t i = 0; i < served->instances_min && served->placed[p].plan; i++) {
            weir__instance_t *instance;
            weir_status_t status = weir__seat_create(
                scheduler, served, &served->placed[p], served->placed[p].plan, &instance);
            served->placed[p].missing |= status && may_be_missing(again, status);
            WEIR_TRY(tolerate(scheduler, served, again, status, &some));
        }
    if (!some)
        return WEIR_FAIL(
            WEIR_UNAVAILABLE, "%s@%s: no instance could be made", served->name, served->version);
    // What may be evicted does not run on other threads than the team's.
    weir_plan_t *first = served->path ? NULL : served->placed[0].plan;
    atomic_store(&served->no_inline, !first);
    for (uint32_t i = 0; i < WEIR__INLINE_MAX && first; i++) {
        weir_session_options_t options = {
            .size = sizeof options, .team = i % scheduler->team_count};
        WEIR_TRY(weir_session_create(first, &options, &served->inlines[i].session));
    }
    atomic_store(&served->inline_watched, 1); // until its first run has shown where it computes
    atomic_store(&served->inline_ns, 0);
    return NULL;
}

weir_status_t weir__build_resident(
    weir_scheduler_t *scheduler, weir__served_t *served, weir_model_t *model)
{
    weir_model_retain(model);
    served->model = model;
    uint32_t count;
    weir_status_t status = place_all(scheduler, served, &count);
    // Written once: whoever lists the models may be reading it.
    bool again = served->placed_count != 0;
    if (!again)
        served->placed_count = WEIR_MIN(count, (uint32_t)WEIR__PLACED_MAX);
    return status ? status : make_instances(scheduler, served, again);
}

weir_status_t weir__build(weir_scheduler_t *scheduler, weir__served_t *served, weir_model_t *model,
    const weir_serving_options_t *options)
{
    served->info = (weir_model_info_t){.size = sizeof served->info};
    weir_model_describe(model, &served->info);
    served->threads = options->threads;
    served->deadline_ns = options->deadline_ns;
    served->instances_min = options->instances_min ? options->instances_min : 1;
    served->instances_max = WEIR_MAX(served->instances_min, options->instances_max);
    served->spreads = !options->instances_max;
    served->series = weir__observe_add_series(
        scheduler->observe, WEIR__OBSERVE_MODEL, served->name, served->version);
    served->devices = options->devices ? strdup(options->devices) : NULL;
    served->precision = options->precision ? strdup(options->precision) : NULL;
    if (!served->series || (options->devices && !served->devices) ||
        (options->precision && !served->precision))
        return weir__loop_no_memory();
    WEIR_TRY(copy_ports(served, model));
    WEIR_TRY(set_batching(served, options));
    return weir__build_resident(scheduler, served, model);
}
