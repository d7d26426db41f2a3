// Models, samples and their right answers; see load.h.
//
// The answers come from runs of a session of its own before the scheduler sees the model, so that a
// defect of batching cannot be in both.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/cli/dtype.h"
#include "engine/cli/text.h"
#include "scheduler/cli/load.h"

// Memory for answers in flight, and how many requests that may be at most.
enum { SLOTS_MAX = 4096, SLOTS_LEAST = 64, SLOTS_MIB = 512, SPANS = 8192 };

static weir_code_t no_memory(weir__cli_fault_t *fault)
{
    return weir__cli_fault_set(fault, WEIR_RESOURCE_EXHAUSTED, "no memory for the requests");
}

// "folder/minilm.onnx" is served as "minilm"; a name that is there already gets a number.
static void name_model(const weir__load_t *load, weir__load_model_t *model, uint32_t index)
{
    const char *slash = strrchr(model->path, '/');
    const char *base = slash ? slash + 1 : model->path;
    (void)snprintf(model->name, sizeof(model->name) - 8, "%s", base);
    char *end = strrchr(model->name, '.');
    if (end && end > model->name)
        *end = '\0';
    for (char *at = model->name; *at; at++)
        if (*at == '@')
            *at = '_';
    for (uint32_t i = 0; i < index; i++)
        if (strcmp(load->models[i].name, model->name) == 0) {
            const size_t used = strlen(model->name);
            (void)snprintf(model->name + used, sizeof(model->name) - used, "-%u", index);
        }
}

// ---- Options of several models
// ----------------------------------------------------------------------

// Does an option "NAME=..." name an input of the model, one of its open dims, or INPUT:AXIS?
static bool is_of(const weir_model_t *model, const char *option)
{
    const size_t bytes = strcspn(option, "=");
    for (uint32_t i = 0; i < weir_model_input_count(model); i++) {
        weir_port_t port;
        weir_status_t status = weir_model_input(model, i, &port);
        weir_status_free(status);
        if (status)
            continue;
        const size_t name_bytes = strlen(port.name);
        if (name_bytes <= bytes && strncmp(port.name, option, name_bytes) == 0 &&
            (option[name_bytes] == '=' || option[name_bytes] == ':'))
            return true;
        for (int32_t d = 0; d < port.rank; d++)
            if (port.dim_names[d] && strlen(port.dim_names[d]) == bytes &&
                strncmp(port.dim_names[d], option, bytes) == 0)
                return true;
    }
    return false;
}

// Of several models each takes the options that name something of its own; of one model all, so
// that its reader says what is wrong with them. Owns: out->items is the caller's to free; NULL: no
// memory.
static void pick(const weir__load_t *load, const weir_model_t *model,
    const weir__cli_option_list_t *all, weir__cli_option_list_t *out)
{
    *out = (weir__cli_option_list_t){.items = calloc(all->count + 1, sizeof(*out->items))};
    for (size_t i = 0; out->items && i < all->count; i++)
        if (load->model_count == 1 || is_of(model, all->items[i]))
            out->items[out->count++] = all->items[i];
}

// An option that none of several models takes is mistyped.
static weir_code_t check_used(const weir__load_t *load, const weir__cli_option_list_t *all,
    const char *name, weir__cli_fault_t *fault)
{
    for (size_t i = 0; i < all->count; i++) {
        bool is_used = load->model_count == 1;
        for (uint32_t m = 0; m < load->model_count; m++)
            is_used = is_used || is_of(load->models[m].model, all->items[i]);
        if (!is_used)
            return weir__cli_fault_set(fault, WEIR_NOT_FOUND,
                "%s %s: no model has an input or an open dim of that name; weir inspect shows them",
                name, all->items[i]);
    }
    return WEIR_OK;
}

// ---- Right answers
// ----------------------------------------------------------------------------------

static weir_code_t keep_answer(const weir_value_t *values, weir__load_model_t *model,
    uint32_t sample, weir__cli_fault_t *fault)
{
    weir__load_answer_t *answer = &model->answers[sample];
    uint64_t all_bytes = 0;
    for (uint32_t i = 0; i < model->output_count; i++) {
        uint64_t bytes = 0;
        if (!weir__cli_dtype_size(values[i].dtype, values[i].rank, values[i].dims, &bytes))
            return weir__cli_fault_set(fault, WEIR_UNSUPPORTED,
                "%s: output %u has a type that load cannot compare", model->path, i);
        void *copy = malloc((size_t)bytes + 1);
        if (!copy)
            return no_memory(fault);
        memcpy(copy, values[i].data, (size_t)bytes);
        answer->values[i] = values[i];
        answer->values[i].data = copy;
        answer->values[i].capacity_bytes = bytes;
        all_bytes += (bytes + 63) / 64 * 64;
    }
    if (all_bytes > model->output_bytes)
        model->output_bytes = all_bytes;
    return WEIR_OK;
}

static weir_code_t run_samples(const weir__load_options_t *options,
    const weir__cli_inputs_wanted_t *given, weir__cli_chain_t *chain, weir__load_model_t *model,
    weir_value_t *views, weir__cli_fault_t *fault)
{
    weir_code_t code = WEIR_OK;
    for (uint32_t s = 0; s < WEIR__LOAD_SAMPLES && code == WEIR_OK; s++) {
        const uint64_t seed = options->seed.is_set ? options->seed.value : 1;
        weir__cli_inputs_wanted_t wanted = *given;
        wanted.seed = (weir__cli_option_count_t){.value = seed + s, .is_set = true};
        code = weir__cli_inputs_make(model->model, &wanted, &model->samples[s], fault);
        if (code != WEIR_OK)
            break;
        model->answers[s].values = calloc((size_t)model->output_count + 1, sizeof(weir_value_t));
        if (!model->answers[s].values)
            return no_memory(fault);
        for (uint32_t i = 0; i < model->output_count; i++)
            views[i] = weir_view();
        const weir__cli_inputs_t *sample = &model->samples[s];
        code = weir__cli_inputs_blame(sample,
            weir__cli_chain_take(weir_session_run(chain->session, NULL, sample->count,
                                     sample->values, model->output_count, views),
                fault),
            fault);
        if (code == WEIR_OK)
            code = keep_answer(views, model, s, fault);
    }
    return code;
}

static weir_code_t find_answers(const weir__load_options_t *options, weir__load_t *load,
    weir__load_model_t *model, weir__cli_fault_t *fault)
{
    const weir__cli_chain_options_t how = {
        .devices = options->devices, .precision = options->precision};
    weir__cli_chain_t chain = {.engine = load->chain.engine, .model = model->model};
    weir__cli_inputs_wanted_t wanted = {.model_path = model->path};
    pick(load, model->model, &options->inputs, &wanted.files);
    pick(load, model->model, &options->dims, &wanted.dims);
    weir_value_t *views = calloc((size_t)model->output_count + 1, sizeof(*views));
    weir_code_t code = views && wanted.files.items && wanted.dims.items
                           ? weir__cli_chain_plan(&chain, &how, fault)
                           : no_memory(fault);
    if (code == WEIR_OK)
        code = weir__cli_chain_session(&chain, fault);
    if (code == WEIR_OK)
        code = run_samples(options, &wanted, &chain, model, views, fault);
    weir_session_free(chain.session);
    weir_plan_free(chain.plan);
    free(views);
    free(wanted.files.items);
    free(wanted.dims.items);
    return code;
}

static weir_code_t serve(const weir__load_options_t *options, weir__load_t *load,
    weir__load_model_t *model, weir__cli_fault_t *fault)
{
    const weir_serving_options_t serving = {.size = sizeof(serving),
        .max_batch = (uint32_t)options->max_batch.value,
        .devices = options->devices,
        .precision = options->precision,
        .warm_rows = UINT32_MAX,
        .sample = model->samples[0].values};
    return weir__cli_chain_take(
        weir_scheduler_add(load->scheduler, model->name, "1", model->model, &serving), fault);
}

// What takes its time before the load begins, on a terminal. text: NULL takes the line away.
static void say(const weir__load_model_t *model, const char *text)
{
    char safe[128];
    if (!isatty(STDERR_FILENO))
        return;
    (void)fputs("\r\033[K", stderr);
    if (text)
        (void)fprintf(stderr, "%s: %s", weir__cli_text_safe(model->name, safe, sizeof(safe)), text);
}

static weir_code_t add_model(const weir__load_options_t *options, weir__load_t *load,
    uint32_t index, weir__cli_fault_t *fault)
{
    weir__load_model_t *model = &load->models[index];
    model->path = options->models.items[index];
    name_model(load, model, index);
    say(model, "runs of its own, for the right answers");
    weir_code_t code = weir__cli_chain_take(
        weir_model_load(load->chain.engine, model->path, NULL, &model->model), fault);
    if (code != WEIR_OK)
        return code;
    model->output_count = weir_model_output_count(model->model);
    code = find_answers(options, load, model, fault);
    say(model, "learning what batches cost");
    if (code == WEIR_OK)
        code = serve(options, load, model, fault);
    say(model, NULL);
    return code;
}

// ---- Requests
// ---------------------------------------------------------------------------------------

static weir_code_t make_slot(weir__load_t *load, weir__load_model_t *model, uint32_t index)
{
    weir__load_slot_t *slot = &load->slots[index];
    slot->load = load;
    slot->model = model;
    slot->outputs = calloc((size_t)model->output_count + 1, sizeof(*slot->outputs));
    slot->buffer = malloc((size_t)model->output_bytes + 1);
    if (!slot->outputs || !slot->buffer)
        return WEIR_RESOURCE_EXHAUSTED;
    slot->next = model->free_slots;
    model->free_slots = slot;
    return WEIR_OK;
}

static weir_code_t make_slots(weir__load_t *load, weir__cli_fault_t *fault)
{
    uint64_t most_bytes = 1;
    for (uint32_t i = 0; i < load->model_count; i++)
        if (load->models[i].output_bytes > most_bytes)
            most_bytes = load->models[i].output_bytes;
    uint64_t each = ((uint64_t)SLOTS_MIB << 20) / most_bytes / load->model_count;
    const uint64_t most = SLOTS_MAX / load->model_count;
    each = each < most ? each : most;
    each = each < SLOTS_LEAST ? SLOTS_LEAST : each;
    load->slot_count = (uint32_t)each * load->model_count;
    load->slots = calloc(load->slot_count, sizeof(*load->slots));
    if (!load->slots)
        return no_memory(fault);
    for (uint32_t i = 0; i < load->slot_count; i++)
        if (make_slot(load, &load->models[i / each], i) != WEIR_OK)
            return no_memory(fault);
    return WEIR_OK;
}

static weir_code_t open_engine(
    const weir__load_options_t *options, weir__load_t *load, weir__cli_fault_t *fault)
{
    weir__load_teams_t teams;
    weir_code_t code = weir__load_teams_find(options, &teams, fault);
    const weir__cli_chain_options_t how = {.threads = options->threads.value,
        .cache_bytes = options->cache_bytes.value,
        .is_verbose = options->is_verbose,
        .spin_ns = options->spin_us.value * 1000,
        .teams = teams.teams,
        .team_count = teams.count,
        .feeders = teams.feeders,
        .feeder_count = teams.feeder_count};
    if (code == WEIR_OK)
        code = weir__cli_chain_engine(&load->chain, &how, fault);
    weir__load_teams_free(&teams);
    return code;
}

weir_code_t weir__load_prepare(
    const weir__load_options_t *options, weir__load_t *out_load, weir__cli_fault_t *fault)
{
    weir__load_t *load = out_load;
    *load = (weir__load_t){.options = options, .model_count = (uint32_t)options->models.count};
    load->random = options->seed.is_set ? options->seed.value : 1;
    load->models = calloc(load->model_count, sizeof(*load->models));
    if (!load->models || sem_init(&load->answered, 0, 0) != 0)
        return no_memory(fault);
    weir_code_t code = open_engine(options, load, fault);
    const weir_scheduler_options_t scheduling = {.size = sizeof(scheduling),
        .requests = 2 * SLOTS_MAX,
        .spin_ns = options->spin_us.value * 1000,
        .spans = options->trace ? SPANS : 0,
        .tenants = options->tenant_count ? options->tenants : NULL,
        .tenant_count = options->tenant_count};
    if (code == WEIR_OK)
        code = weir__cli_chain_take(
            weir_scheduler_create(load->chain.engine, &scheduling, &load->scheduler), fault);
    for (uint32_t i = 0; i < load->model_count && code == WEIR_OK; i++)
        code = add_model(options, load, i, fault);
    if (code == WEIR_OK)
        code = check_used(load, &options->dims, "--dim", fault);
    if (code == WEIR_OK)
        code = check_used(load, &options->inputs, "--input", fault);
    for (uint32_t i = 0; i < load->model_count; i++)
        weir__cli_inputs_guessed(&load->models[i].samples[0], code);
    return code == WEIR_OK ? make_slots(load, fault) : code;
}

static void release_model(weir__load_model_t *model)
{
    for (uint32_t s = 0; s < WEIR__LOAD_SAMPLES; s++) {
        for (uint32_t i = 0; model->answers[s].values && i < model->output_count; i++)
            free(model->answers[s].values[i].data);
        free(model->answers[s].values);
        weir__cli_inputs_free(&model->samples[s]);
    }
    weir_model_free(model->model);
}

void weir__load_release(weir__load_t *load)
{
    weir_scheduler_free(load->scheduler); // first: nothing is in flight after that
    for (uint32_t i = 0; load->slots && i < load->slot_count; i++) {
        free(load->slots[i].outputs);
        free(load->slots[i].buffer);
    }
    free(load->slots);
    for (uint32_t i = 0; load->models && i < load->model_count; i++)
        release_model(&load->models[i]);
    free(load->models);
    weir__cli_chain_close(&load->chain);
    (void)sem_destroy(&load->answered);
    *load = (weir__load_t){0};
}
