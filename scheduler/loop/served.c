// scheduler/loop/served.c: models under names and versions: finding, adding, removing, labels.
//
// Places in the table are never moved, so that submitters look without a lock: a look pins the
// place first and reads it then; a place is used again only when it was removed and nobody pins it.
#include "scheduler/loop/loop.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

// ---- Versions and selectors --------------------------------------------------------------------

// "1", "1.2", "1.2.3" at the start of `text`; returns how many numbers, 0 where there are none or
// something else follows.
static uint32_t parse_numbers(const char *text, uint32_t out_numbers[3])
{
    uint32_t count = 0;
    out_numbers[0] = out_numbers[1] = out_numbers[2] = 0;
    while (count < 3 && isdigit((unsigned char)*text)) {
        uint64_t number = 0;
        for (; isdigit((unsigned char)*text); text++)
            if ((number = number * 10 + (uint64_t)(*text - '0')) > UINT32_MAX)
                return 0;
        out_numbers[count++] = (uint32_t)number;
        if (*text != '.')
            break;
        text++;
    }
    return *text ? 0 : count;
}

static int compare_versions(const weir__served_t *a, const weir__served_t *b)
{
    if (a->numbered != b->numbered)
        return a->numbered ? 1 : -1;
    for (uint32_t i = 0; a->numbered && i < 3; i++)
        if (a->numbers[i] != b->numbers[i])
            return a->numbers[i] > b->numbers[i] ? 1 : -1;
    return strcmp(a->version, b->version);
}

typedef enum rule { RULE_HIGHEST, RULE_EXACT, RULE_COMPATIBLE } rule_t;

typedef struct selector {
    const char *name;
    size_t name_bytes;
    rule_t rule;
    const char *version; // also a label
    uint32_t numbers[3], number_count;
    uint32_t label; // WEIR__NO_INDEX: no such one
} selector_t;

static uint32_t find_label(const weir_scheduler_t *scheduler, const char *label)
{
    uint32_t count = atomic_load_explicit(&scheduler->label_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(scheduler->labels[i], label) == 0)
            return i;
    return WEIR__NO_INDEX;
}

static selector_t parse_selector(const weir_scheduler_t *scheduler, const char *text)
{
    const char *at = strchr(text, '@');
    selector_t selector = {.name = text,
        .name_bytes = at ? (size_t)(at - text) : strlen(text),
        .label = WEIR__NO_INDEX};
    if (!at)
        return selector;
    selector.version = at + 1;
    selector.rule = at[1] == '^' ? RULE_COMPATIBLE : RULE_EXACT;
    if (selector.rule == RULE_COMPATIBLE)
        selector.number_count = parse_numbers(at + 2, selector.numbers);
    else if (isalpha((unsigned char)at[1]))
        selector.label = find_label(scheduler, at + 1);
    return selector;
}

// ^1: 1.x.y. ^1.2: 1.x.y that is not below 1.2.
static bool is_compatible(const weir__served_t *served, const selector_t *selector)
{
    if (!served->numbered || !selector->number_count || served->numbers[0] != selector->numbers[0])
        return false;
    for (uint32_t i = 1; i < 3; i++)
        if (served->numbers[i] != selector->numbers[i])
            return served->numbers[i] > selector->numbers[i];
    return true;
}

static bool matches(weir__served_t *served, const selector_t *selector)
{
    if (strncmp(served->name, selector->name, selector->name_bytes) != 0 ||
        served->name[selector->name_bytes])
        return false;
    switch (selector->rule) {
    case RULE_HIGHEST:
        return true;
    case RULE_COMPATIBLE:
        return is_compatible(served, selector);
    case RULE_EXACT:
        break;
    }
    return strcmp(served->version, selector->version) == 0 ||
           (selector->label != WEIR__NO_INDEX &&
               atomic_load_explicit(&served->label, memory_order_acquire) == selector->label);
}

void weir__served_unpin(weir__served_t *served)
{
    weir__served_unpin_many(served, 1);
}

void weir__served_unpin_many(weir__served_t *served, uint32_t count)
{
    weir_scheduler_t *scheduler = served->scheduler;
    atomic_fetch_sub(&served->pins, count);
    if (atomic_load(&served->state) != WEIR__SERVED_REMOVED)
        return;
    // The loop may wait for just that.
    atomic_store(&scheduler->unpinned, 1);
    weir__wake(scheduler);
}

static bool pin(weir__served_t *served)
{
    if (atomic_load_explicit(&served->state, memory_order_relaxed) != WEIR__SERVED_SERVING)
        return false;
    // The remover writes the state and then reads the pins; here it is the other way round, so one
    // of the two sees the other.
    atomic_fetch_add(&served->pins, 1);
    if (atomic_load(&served->state) == WEIR__SERVED_SERVING)
        return true;
    weir__served_unpin(served);
    return false;
}

static uint64_t hash_name(const char *name, size_t bytes)
{
    uint64_t hash = 0xcbf29ce484222325u; // FNV-1a
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ (unsigned char)name[i]) * 0x100000001b3u;
    return hash;
}

static weir__served_t *find_once(weir_scheduler_t *scheduler, const char *text)
{
    selector_t selector = parse_selector(scheduler, text);
    uint64_t hash = hash_name(selector.name, selector.name_bytes);
    uint32_t high = atomic_load_explicit(&scheduler->model_high, memory_order_acquire);
    weir__served_t *found = NULL;
    for (uint32_t i = 0; i < high; i++) {
        weir__served_t *served = &scheduler->models[i];
        // A pin is a write that all submitters share: not on models of other names.
        if (atomic_load_explicit(&served->name_hash, memory_order_relaxed) != hash || !pin(served))
            continue;
        if (!matches(served, &selector) || (found && compare_versions(served, found) < 0)) {
            weir__served_unpin(served);
            continue;
        }
        if (found)
            weir__served_unpin(found);
        found = served;
    }
    return found;
}

// A look is no snapshot: what it looks for may move to a place that it has passed already, so what
// was not found is looked for again when something has moved meanwhile.
weir__served_t *weir__served_find(weir_scheduler_t *scheduler, const char *text)
{
    for (;;) {
        unsigned moves = atomic_load(&scheduler->served_moves);
        weir__served_t *found = find_once(scheduler, text);
        if (found || atomic_load(&scheduler->served_moves) == moves)
            return found;
    }
}

weir_status_t weir__served_unknown(const weir_scheduler_t *scheduler, const char *selector)
{
    if (atomic_load_explicit(&scheduler->model_high, memory_order_relaxed) == 0)
        return WEIR_FAIL(WEIR_NOT_FOUND,
            "model \"%s\": nothing is served yet; weir_scheduler_add() adds models", selector);
    return WEIR_FAIL(WEIR_NOT_FOUND,
        "model \"%s\": no such name, version or label is served; weir_scheduler_served() lists "
        "what is",
        selector);
}

// ---- Adding ------------------------------------------------------------------------------------

static weir_status_t check_names(const char *name, const char *version)
{
    if (!name || !name[0] || strlen(name) >= WEIR__NAME_BYTES || strchr(name, '@'))
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
            "a model's name has 1 to %d bytes and no '@', not \"%s\"", WEIR__NAME_BYTES - 1,
            name ? name : "");
    if (!version || !version[0] || strlen(version) >= WEIR__VERSION_BYTES || strchr(version, '@') ||
        version[0] == '^')
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
            "the version of \"%s\" has 1 to %d bytes and no '@', such as \"1.2.0\", not \"%s\"",
            name, WEIR__VERSION_BYTES - 1, version ? version : "");
    return NULL;
}

// A place of the table, and nobody else's meanwhile: it is being added. Under
// the lock.
static weir_status_t take_place(
    weir_scheduler_t *scheduler, const char *name, const char *version, weir__served_t **out_served)
{
    uint32_t high = atomic_load_explicit(&scheduler->model_high, memory_order_relaxed);
    weir__served_t *free_one = NULL;
    for (uint32_t i = 0; i < scheduler->options.models; i++) {
        weir__served_t *served = &scheduler->models[i];
        uint32_t state = atomic_load(&served->state);
        if (state == WEIR__SERVED_EMPTY && !free_one)
            free_one = served;
        if ((state == WEIR__SERVED_SERVING || state == WEIR__SERVED_ADDING) &&
            strcmp(served->name, name) == 0 && strcmp(served->version, version) == 0)
            return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
                "%s@%s is served already: give the new one another version, or remove the old "
                "one first",
                name, version);
    }
    if (!free_one)
        return WEIR_FAIL(WEIR_RESOURCE_EXHAUSTED,
            "%u models are served, or not quite gone yet; allow more in options.models",
            scheduler->options.models);
    uint32_t index = (uint32_t)(free_one - scheduler->models);
    snprintf(free_one->name, sizeof free_one->name, "%s", name);
    snprintf(free_one->version, sizeof free_one->version, "%s", version);
    free_one->numbered = parse_numbers(version, free_one->numbers) > 0;
    free_one->index = index;
    free_one->core_version = ++scheduler->core_versions;
    atomic_store(&free_one->label, WEIR__NO_INDEX);
    atomic_store(&free_one->name_hash, hash_name(name, strlen(name)));
    atomic_store(&free_one->state, WEIR__SERVED_ADDING);
    if (index >= high)
        atomic_store_explicit(&scheduler->model_high, index + 1, memory_order_release);
    *out_served = free_one;
    return NULL;
}

static weir_status_t add_label(weir_scheduler_t *scheduler, const char *label, uint32_t *out_index)
{
    if (!isalpha((unsigned char)label[0]) || strlen(label) >= WEIR__VERSION_BYTES ||
        strchr(label, '@'))
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
            "a label begins with a letter and has at most %d bytes, not \"%s\"",
            WEIR__VERSION_BYTES - 1, label);
    *out_index = find_label(scheduler, label);
    if (*out_index != WEIR__NO_INDEX)
        return NULL;
    uint32_t count = atomic_load_explicit(&scheduler->label_count, memory_order_relaxed);
    if (count == WEIR__LABELS_MAX)
        return WEIR_FAIL(
            WEIR_RESOURCE_EXHAUSTED, "there are %d labels already, the most", WEIR__LABELS_MAX);
    snprintf(scheduler->labels[count], WEIR__VERSION_BYTES, "%s", label);
    atomic_store_explicit(&scheduler->label_count, count + 1, memory_order_release);
    *out_index = count;
    return NULL;
}

// Under the lock.
static void move_label(weir_scheduler_t *scheduler, weir__served_t *served, uint32_t index)
{
    // First the new one, then word of it: who looks meanwhile finds one of the two (the higher
    // version), or looks again.
    atomic_store(&served->label, index);
    atomic_fetch_add(&scheduler->served_moves, 1);
    for (uint32_t i = 0; i < scheduler->options.models; i++) {
        weir__served_t *other = &scheduler->models[i];
        if (other != served && atomic_load(&other->state) == WEIR__SERVED_SERVING &&
            strcmp(other->name, served->name) == 0 && atomic_load(&other->label) == index)
            atomic_store(&other->label, WEIR__NO_INDEX);
    }
}

static void free_samples(weir__command_t *command)
{
    for (uint32_t i = 0; i < command->sample_count; i++)
        free(command->samples[i].key);
    free(command->samples);
    free(command);
}

static void give_up(weir_scheduler_t *scheduler, weir__served_t *served)
{
    for (uint32_t i = 0; i < scheduler->limits.instance_count; i++)
        if (scheduler->instances[i].served == served)
            weir__seat_free(&scheduler->instances[i]);
    weir__served_clear(scheduler, served);
    atomic_store(&served->state, WEIR__SERVED_EMPTY);
}

static weir_status_t build_and_probe(weir_scheduler_t *scheduler, weir__served_t *served,
    weir_model_t *model, const weir_serving_options_t *options, weir__command_t *command)
{
    uint64_t begin_ns = weir_now_ns();
    weir_model_t *loaded = NULL;
    if (!model) {
        served->path = strdup(options->path);
        if (!served->path)
            return weir__loop_no_memory();
        WEIR_TRY(weir_model_load(scheduler->engine, options->path, NULL, &loaded));
    }
    weir_status_t status = weir__build(scheduler, served, model ? model : loaded, options);
    weir_model_free(loaded);                      // `served` has its own reference
    uint64_t build_ns = weir_now_ns() - begin_ns; // a load later does no more than that
    if (!status)
        status = weir__probe(scheduler, served, options, command);
    if (!status)
        weir__curves_read(scheduler, served, command);
    return status ? status : weir__ledger_add(scheduler, served, build_ns);
}

weir_status_t weir_scheduler_add(weir_scheduler_t *scheduler, const char *name, const char *version,
    weir_model_t *model, const weir_serving_options_t *options)
{
    weir_serving_options_t known = {.size = sizeof known};
    if (options)
        memcpy(&known, options, WEIR_MIN(options->size, sizeof known));
    WEIR_TRY(check_names(name, version));
    if ((model != NULL) == (known.path != NULL))
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
            "%s@%s: either a model is given, or a path to load it from when it is needed", name,
            version);
    weir__command_t *command = calloc(1, sizeof *command);
    if (!command)
        return weir__loop_no_memory();
    weir__served_t *served = NULL;
    pthread_mutex_lock(&scheduler->lock);
    uint32_t label;
    weir_status_t status = known.label ? add_label(scheduler, known.label, &label) : NULL;
    if (!status)
        status = take_place(scheduler, name, version, &served);
    pthread_mutex_unlock(&scheduler->lock);
    if (!status)
        status = build_and_probe(scheduler, served, model, &known, command);
    if (status) {
        if (served)
            give_up(scheduler, served);
        free_samples(command);
        return status;
    }
    weir__loop_log(scheduler, WEIR_LOG_INFO, 0, "%s@%s: batches of up to %u rows: %s", name,
        version, served->max_batch, served->batching);
    if (!served->path) // from the command on the loop counts
        weir__observe_set(
            &served->series->instances, (uint64_t)served->placed_count * served->instances_min);
    command->kind = WEIR__COMMAND_ADD;
    command->served = served;
    weir__command_post(scheduler, command);
    // Only now: a request that is in the ring has its model in the commands. The label is taken
    // from another version when this one can be found.
    pthread_mutex_lock(&scheduler->lock);
    atomic_store(&served->state, WEIR__SERVED_SERVING);
    atomic_fetch_add(&scheduler->served_moves, 1);
    if (known.label)
        move_label(scheduler, served, label);
    pthread_mutex_unlock(&scheduler->lock);
    return NULL;
}

// ---- Removing ----------------------------------------------------------------------------------

// Under the lock.
static weir__served_t *find_exact(
    weir_scheduler_t *scheduler, const char *name, const char *version)
{
    for (uint32_t i = 0; i < scheduler->options.models; i++) {
        weir__served_t *served = &scheduler->models[i];
        if (atomic_load(&served->state) == WEIR__SERVED_SERVING &&
            strcmp(served->name, name) == 0 && strcmp(served->version, version) == 0)
            return served;
    }
    return NULL;
}

weir_status_t weir_scheduler_remove(
    weir_scheduler_t *scheduler, const char *name, const char *version)
{
    weir__command_t *command = calloc(1, sizeof *command);
    if (!command)
        return weir__loop_no_memory();
    pthread_mutex_lock(&scheduler->lock);
    weir__served_t *served = find_exact(scheduler, name, version);
    if (served)
        atomic_store(&served->state, WEIR__SERVED_REMOVED);
    pthread_mutex_unlock(&scheduler->lock);
    if (!served) {
        free(command);
        return WEIR_FAIL(WEIR_NOT_FOUND, "%s@%s is not served", name, version);
    }
    command->kind = WEIR__COMMAND_REMOVE;
    command->served = served;
    weir__command_post(scheduler, command);
    return NULL;
}

weir_status_t weir_scheduler_label(
    weir_scheduler_t *scheduler, const char *name, const char *version, const char *label)
{
    pthread_mutex_lock(&scheduler->lock);
    weir__served_t *served = find_exact(scheduler, name, version);
    uint32_t index;
    weir_status_t status = served ? add_label(scheduler, label, &index)
                                  : WEIR_FAIL(WEIR_NOT_FOUND, "%s@%s is not served", name, version);
    if (!status)
        move_label(scheduler, served, index);
    pthread_mutex_unlock(&scheduler->lock);
    return status;
}

void weir__served_clear(weir_scheduler_t *scheduler, weir__served_t *served)
{
    weir__stage_clear(served);
    weir__observe_remove_series(scheduler->observe, served->series);
    served->series = NULL;
    for (uint32_t i = 0; i < WEIR__INLINE_MAX; i++)
        weir_session_free(served->inlines[i].session);
    for (uint32_t i = 0; i < WEIR__PLACED_MAX; i++) {
        weir_plan_free(served->placed[i].plan);
        served->placed[i].plan = NULL;
    }
    weir_model_free(served->model);
    free(served->names);
    free(served->devices);
    free(served->precision);
    free(served->path);
    served->names = served->devices = served->precision = served->path = NULL;
    atomic_store(&served->charge_bytes, 0);
    atomic_store(&served->grown_bytes, 0);
    memset(served->booked, 0, sizeof served->booked);
    served->buffer_bytes = served->charged_bytes = 0;
    atomic_store(&served->residency, WEIR__RESIDENT);
    free(served->inputs);
    free(served->outputs);
    free(served->input_axes);
    free(served->output_axes);
    free(served->paddings);
    free(served->same_dims);
    for (uint32_t i = 0; i < WEIR__INLINE_MAX; i++) {
        served->inlines[i].session = NULL;
        atomic_store(&served->inlines[i].busy, 0); // one that hung never let go
        atomic_store(&served->inlines[i].hung, 0);
        served->inlines[i].hang_count = 0;
    }
    served->model = NULL;
    served->inputs = served->outputs = NULL;
    served->input_axes = served->output_axes = NULL;
    served->paddings = NULL;
    served->same_dims = NULL;
    served->placed_count = served->padding_count = served->same_dim_count = 0;
    atomic_store(&served->tapped, 0);
    atomic_store(&served->no_inline, WEIR__INLINE_ALLOWED);
}

// Freeing weights takes long and is not the loop's, unless there is nobody else: false.
static bool post_free(weir_scheduler_t *scheduler, weir__served_t *served, uint64_t bytes)
{
    weir__job_t *job = atomic_load(&scheduler->closing) ? NULL : calloc(1, sizeof *job);
    weir_status_t status = job ? weir__loader_start(scheduler) : NULL;
    if (!job || status) {
        weir_status_free(status);
        free(job);
        return false;
    }
    job->freed_bytes = bytes;
    for (uint32_t i = 0; i < WEIR__PLACED_MAX; i++) {
        job->old_plans[i] = served->placed[i].plan;
        served->placed[i].plan = NULL;
    }
    for (uint32_t i = 0; i < WEIR__INLINE_MAX; i++) {
        job->old_sessions[i] = served->inlines[i].session;
        served->inlines[i].session = NULL;
    }
    job->old_model = served->model;
    served->model = NULL;
    weir__loader_post(scheduler, job);
    return true;
}

void weir__served_settle(weir_scheduler_t *scheduler, weir__served_t *served)
{
    if (atomic_load(&served->state) != WEIR__SERVED_REMOVED || !served->in_core ||
        served->in_loop || served->instance_count ||
        atomic_load(&served->residency) == WEIR__LOADING)
        return;
    // Somebody may just be looking at it: whoever lets go wakes the loop.
    if (atomic_load(&served->pins))
        return;
    weir__shapes_forget(scheduler, served);
    uint64_t bytes = weir__ledger_remove(scheduler, served);
    bool posted = post_free(scheduler, served, bytes);
    // What is the loop's; the rest may be written by whoever gives up adding a model.
    served->instance_count = served->in_loop = served->held_count = served->running_count = 0;
    served->batch_count = served->good_count = 0;
    served->in_core = served->wants_up = false;
    served->tap = NULL;
    served->first_waiting = served->last_waiting = WEIR__NO_INDEX;
    weir__ledger_forget(scheduler, served);
    served->rate = 0;
    pthread_mutex_lock(&scheduler->lock);
    weir__served_clear(scheduler, served);
    atomic_store(&served->state, WEIR__SERVED_EMPTY);
    pthread_mutex_unlock(&scheduler->lock);
    if (!posted)
        weir__ledger_freed(scheduler, bytes);
}

int weir_scheduler_served(weir_scheduler_t *scheduler, uint32_t index, weir_served_t *out_served)
{
    uint32_t high = atomic_load_explicit(&scheduler->model_high, memory_order_acquire);
    for (uint32_t i = 0; i < high; i++) {
        weir__served_t *served = &scheduler->models[i];
        if (!pin(served))
            continue;
        if (index-- > 0) {
            weir__served_unpin(served);
            continue;
        }
        weir_served_t info = {.size = out_served->size,
            .max_batch = served->max_batch,
            .resident = atomic_load(&served->residency) == WEIR__RESIDENT,
            .memory_bytes = atomic_load(&served->charge_bytes) + atomic_load(&served->grown_bytes),
            .instances =
                (uint32_t)atomic_load_explicit(&served->series->instances, memory_order_relaxed)};
        snprintf(info.name, sizeof info.name, "%s", served->name);
        snprintf(info.version, sizeof info.version, "%s", served->version);
        snprintf(info.digest, sizeof info.digest, "%s", served->info.digest);
        snprintf(info.batching, sizeof info.batching, "%s", served->batching);
        weir__served_unpin(served);
        memcpy(out_served, &info, WEIR_MIN(out_served->size, sizeof info));
        return 1;
    }
    return 0;
}
