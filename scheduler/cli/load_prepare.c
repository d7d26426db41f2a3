// Models, samples and their right answers; see load.h.
//
// The answers come from runs of a session of its own before the scheduler sees the model, so that a
// defect of batching cannot be in both.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cli/dtype.h"
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

static weir_code_t run_samples(const weir__load_options_t *options, weir__cli_chain_t *chain,
    weir__load_model_t *model, weir_value_t *views, weir__cli_fault_t *fault)
{
    weir_code_t code = WEIR_OK;
    for (uint32_t s = 0; s < WEIR__LOAD_SAMPLES && code == WEIR_OK; s++) {
        const uint64_t seed = options->seed.is_set ? options->seed.value : 1;
        const weir__cli_inputs_wanted_t wanted = {.model_path = model->path,
            .files = options->inputs,
            .dims = options->dims,
            .seed = {.value = seed + s, .is_set = true}};
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
    const weir__cli_chain_options_t how = {.devices = options->devices};
    weir__cli_chain_t chain = {.engine = load->chain.engine, .model = model->model};
    weir_value_t *views = calloc((size_t)model->output_count + 1, sizeof(*views));
    weir_code_t code = views ? weir__cli_chain_plan(&chain, &how, fault) : no_memory(fault);
    if (code == WEIR_OK)
        code = weir__cli_chain_session(&chain, fault);
    if (code == WEIR_OK)
        code = run_samples(options, &chain, model, views, fault);
    weir_session_free(chain.session);
    weir_plan_free(chain.plan);
    free(views);
    return code;
}

static weir_code_t serve(const weir__load_options_t *options, weir__load_t *load,
    weir__load_model_t *model, weir__cli_fault_t *fault)
{
    const weir_serving_options_t serving = {.size = sizeof(serving),
        .max_batch = (uint32_t)options->max_batch.value,
        .devices = options->devices,
        .warm_rows = UINT32_MAX,
        .sample = model->samples[0].values};
    return weir__cli_chain_take(
        weir_scheduler_add(load->scheduler, model->name, "1", model->model, &serving), fault);
}

static weir_code_t add_model(const weir__load_options_t *options, weir__load_t *load,
    uint32_t index, weir__cli_fault_t *fault)
{
    weir__load_model_t *model = &load->models[index];
    model->path = options->models.items[index];
    name_model(load, model, index);
    weir_code_t code = weir__cli_chain_take(
        weir_model_load(load->chain.engine, model->path, NULL, &model->model), fault);
    if (code != WEIR_OK)
        return code;
    model->output_count = weir_model_output_count(model->model);
    code = find_answers(options, load, model, fault);
    return code == WEIR_OK ? serve(options, load, model, fault) : code;
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

weir_code_t weir__load_prepare(
    const weir__load_options_t *options, weir__load_t *out_load, weir__cli_fault_t *fault)
{
    weir__load_t *load = out_load;
    *load = (weir__load_t){.options = options, .model_count = (uint32_t)options->models.count};
    load->random = options->seed.is_set ? options->seed.value : 1;
    const weir__cli_chain_options_t how = {
        .threads = options->threads.value, .is_verbose = options->is_verbose};
    load->models = calloc(load->model_count, sizeof(*load->models));
    if (!load->models || sem_init(&load->answered, 0, 0) != 0)
        return no_memory(fault);
    weir_code_t code = weir__cli_chain_engine(&load->chain, &how, fault);
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
    if (load->model_count)
        weir__cli_inputs_guessed(&load->models[0].samples[0], code);
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
