// tests/faults/matrix_play.c: the scenario that every cell of the matrix plays.
//
// Load, create, run, open the device anew, run again, close. Runs are started and waited for
// alternately; every one must end once. When one fails, what it takes to go on is tried step by
// step: the same session, a new one, the device anew with a new plan. Nothing here knows which
// fault was scheduled: it only reports.
#include "tests/faults/matrix.h"

#include <semaphore.h>

#define RUNS 24 // enough of the first shape for a launch to be recorded
#define DEADLINE_MS 400

static const int64_t shape_rows[SHAPES] = {2, 5, 24};

typedef struct stage {
    outcome_t *outcome;
    const form_t *form;
    world_t world;
    answers_t *made;
    const answers_t *reference;
    bool has_deadline;
    uint64_t turn;
} stage_t;

// Under the log's threads: which phase it is when the fault strikes.
static void on_log(void *user_data, weir_log_level_t level, const char *module, uint64_t request_id,
    const char *text)
{
    outcome_t *outcome = user_data;
    (void)level;
    (void)module;
    (void)request_id;
    pthread_mutex_lock(&outcome->lock);
    if (strstr(text, "strikes") && atomic_load(&outcome->struck_phase) < 0)
        atomic_store(&outcome->struck_phase, atomic_load(&outcome->phase));
    if (strstr(text, "chaos:") && !strstr(text, "strikes")) {
        size_t used = strlen(outcome->log);
        snprintf(outcome->log + used, sizeof outcome->log - used, "%s\n", text);
    }
    pthread_mutex_unlock(&outcome->lock);
}

static void problem(stage_t *stage, const char *what, const char *detail)
{
    outcome_t *outcome = stage->outcome;
    if (!outcome->problem[0])
        snprintf(outcome->problem, sizeof outcome->problem, "%.64s: %.1400s", what, detail);
}

// A failure must say whose and why. Frees the status; false: it was none.
static bool note_failure(stage_t *stage, const char *call, weir_status_t status)
{
    outcome_t *outcome = stage->outcome;
    if (!status)
        return false;
    const char *message = weir_status_message(status);
    if (!outcome->told[0])
        snprintf(outcome->told, sizeof outcome->told, "%s: %s", call, weir_status_text(status));
    weir_code_t code = weir_status_code(status);
    bool is_known = code > WEIR_OK && code <= WEIR_INTERNAL;
    // Of what never ends: the run that waits for it, and the session that is given up.
    bool is_waiting = stage->has_deadline && (code == WEIR_DEADLINE_EXCEEDED ||
                                                 strstr(message, "a device never answered"));
    if (!is_known || (!strstr(message, "chaos") && !is_waiting))
        problem(stage, call, weir_status_text(status));
    weir_status_free(status);
    return true;
}

// ---- Making things ------------------------------------------------------------------------------

static bool make_engine(stage_t *stage, const char *schedule, const char *cache)
{
    world_t *world = &stage->world;
    char options[1024];
    snprintf(options, sizeof options, "%s%schaos.faults=%s", stage->form->options,
        stage->form->options[0] ? "," : "", schedule);
    weir_allocator_t allocator = {.user_data = world, .alloc = world_alloc, .free = world_free};
    weir_engine_options_t engine = {.size = sizeof engine,
        .threads = 2,
        .plugin_path = WEIR_TEST_CHAOS,
        .cache_dir = cache ? cache : "",
        .plugin_options = options,
        .allocator = &allocator,
        .log = on_log,
        .log_user_data = stage->outcome,
        .log_level = WEIR_LOG_DEBUG};
    if (note_failure(stage, "weir_engine_create", weir_engine_create(&engine, &world->engine)))
        return false;
    message_t bytes = make_model(graph_chain(), 17);
    bool failed = note_failure(stage, "weir_model_load_bytes",
        weir_model_load_bytes(world->engine, bytes.data, bytes.count, NULL, &world->model));
    free(bytes.data);
    return !failed;
}

static bool make_plan(stage_t *stage)
{
    world_t *world = &stage->world;
    weir_plan_options_t plan = {
        .size = sizeof plan, .devices = stage->form->devices, .placement = stage->form->placement};
    return !note_failure(
               stage, "weir_plan_create", weir_plan_create(world->model, &plan, &world->plan)) &&
           !note_failure(stage, "weir_session_create",
               weir_session_create(world->plan, NULL, &world->session));
}

static void drop_plan(world_t *world)
{
    weir_session_free(world->session);
    weir_plan_free(world->plan);
    world->session = NULL;
    world->plan = NULL;
}

// ---- Runs ---------------------------------------------------------------------------------------

typedef struct waiter {
    outcome_t *outcome;
    weir_status_t status;
    sem_t ended;
} waiter_t;

static void on_done(void *user_data, weir_status_t status)
{
    waiter_t *waiter = user_data;
    waiter->status = status;
    atomic_fetch_add(&waiter->outcome->ended, 1);
    sem_post(&waiter->ended);
}

static weir_status_t start_and_wait(
    stage_t *stage, const weir_run_options_t *options, const weir_value_t *in, weir_value_t *out)
{
    waiter_t waiter = {.outcome = stage->outcome};
    sem_init(&waiter.ended, 0, 0);
    weir_status_t status =
        weir_session_start(stage->world.session, options, 1, in, 1, out, on_done, &waiter);
    if (!status) {
        atomic_fetch_add(&stage->outcome->started, 1);
        while (sem_wait(&waiter.ended) != 0)
            ;
        status = waiter.status;
    }
    sem_destroy(&waiter.ended);
    return status;
}

// One run. false: it failed, as noted; an answer that is wrong is a problem.
static bool run(stage_t *stage, uint32_t shape)
{
    float x[ANSWER_FLOATS], y[ANSWER_FLOATS] = {0};
    int64_t rows = shape_rows[shape];
    size_t count = (size_t)rows * SIDE;
    fill_floats(x, count, shape + 1);
    weir_value_t in[] = {weir_f32(x, 2, rows, SIDE)}, out[] = {weir_f32_out(y, ANSWER_FLOATS)};
    weir_run_options_t options = {.size = sizeof options,
        .profile_level = stage->turn % 5 == 4,
        .deadline_ns = stage->has_deadline ? weir_now_ns() + DEADLINE_MS * WEIR_MS : 0};
    weir_status_t status = stage->turn++ % 2
                               ? start_and_wait(stage, &options, in, out)
                               : weir_session_run(stage->world.session, &options, 1, in, 1, out);
    if (note_failure(stage, "run", status)) {
        stage->outcome->failed_runs++;
        return false;
    }
    if (stage->made)
        memcpy(stage->made->y[shape], y, sizeof y);
    if (stage->reference && memcmp(stage->reference->y[shape], y, count * sizeof *y) != 0)
        problem(stage, "run", "it says it is well and its answer has other bits");
    return true;
}

static bool reopen_all(stage_t *stage)
{
    world_t *world = &stage->world;
    drop_plan(world);
    weir_device_description_t device = {.size = sizeof device};
    for (uint32_t i = 0; i < weir_device_count(world->engine); i++) {
        weir_status_t status = weir_device_describe(world->engine, i, &device);
        if (status || strncmp(device.name, "chaos", 5) != 0) {
            weir_status_free(status);
            continue;
        }
        // What strikes while it is opened strikes once.
        if (note_failure(
                stage, "weir_device_reopen", weir_device_reopen(world->engine, device.name)) &&
            note_failure(
                stage, "weir_device_reopen", weir_device_reopen(world->engine, device.name)))
            return false;
    }
    return true;
}

static void take(stage_t *stage, uint32_t step)
{
    stage->outcome->steps = WEIR_MAX(stage->outcome->steps, step);
}

// After a failure: the least that gets an answer.
static bool go_on(stage_t *stage, uint32_t shape)
{
    world_t *world = &stage->world;
    take(stage, 1);
    if (world->session && run(stage, shape))
        return true;
    take(stage, 2);
    weir_session_free(world->session);
    world->session = NULL;
    if (world->plan &&
        !note_failure(stage, "weir_session_create",
            weir_session_create(world->plan, NULL, &world->session)) &&
        run(stage, shape))
        return true;
    take(stage, 3);
    drop_plan(world);
    if (make_plan(stage) && run(stage, shape))
        return true;
    if (reopen_all(stage) && make_plan(stage) && run(stage, shape))
        return true;
    problem(stage, "nothing helps", stage->outcome->told);
    return false;
}

// ---- The scenario -------------------------------------------------------------------------------

// A device that could not be listed is not there: the engine goes on without.
static void play_without(stage_t *stage)
{
    weir_plan_options_t plan = {.size = sizeof plan, .devices = "cpu"};
    world_t *world = &stage->world;
    stage->reference = NULL; // other kernels' bits
    drop_plan(world);
    bool is_well = !note_failure(stage, "weir_plan_create",
                       weir_plan_create(world->model, &plan, &world->plan)) &&
                   !note_failure(stage, "weir_session_create",
                       weir_session_create(world->plan, NULL, &world->session)) &&
                   run(stage, 0);
    if (!is_well)
        problem(stage, "not even without the device", stage->outcome->told);
}

// Are all devices there that the form wants?
static bool is_listed(const stage_t *stage)
{
    const weir_engine_t *engine = stage->world.engine;
    weir_device_description_t device = {.size = sizeof device};
    uint32_t listed = 0, wanted = strstr(stage->form->devices, "chaos:1") ? 2 : 1;
    for (uint32_t i = 0; i < weir_device_count(engine); i++) {
        weir_status_t status = weir_device_describe(engine, i, &device);
        listed += !status && strncmp(device.name, "chaos", 5) == 0 && device.usable;
        weir_status_free(status);
    }
    return listed >= wanted;
}

static void play_runs(stage_t *stage, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t shape = i < 2 * SHAPES ? i % SHAPES : 0;
        if (!run(stage, shape) && !go_on(stage, shape))
            return;
        if (i + 1 == SHAPES)
            atomic_store(&stage->outcome->phase, PHASE_RUNNING);
    }
}

static void play(stage_t *stage)
{
    outcome_t *outcome = stage->outcome;
    atomic_store(&outcome->phase, PHASE_CREATING);
    if (!is_listed(stage)) {
        play_without(stage);
        return;
    }
    if (!make_plan(stage)) {
        drop_plan(&stage->world);
        take(stage, 1);
        if (!make_plan(stage) && !go_on(stage, 0))
            return;
    }
    play_runs(stage, RUNS);
    atomic_store(&outcome->phase, PHASE_IDLE);
    if (!reopen_all(stage)) {
        problem(stage, "the device cannot be opened anew", outcome->told);
        return;
    }
    if (!make_plan(stage)) {
        drop_plan(&stage->world);
        take(stage, 1);
        if (!make_plan(stage) && !go_on(stage, 0))
            return;
    }
    play_runs(stage, SHAPES);
}

void matrix_play(const form_t *form, const char *schedule, const cell_t *cell, const char *cache,
    answers_t *made, const answers_t *reference, outcome_t *outcome)
{
    stage_t stage = {.outcome = outcome, .form = form, .made = made, .reference = reference};
    // Only what may never end gets a deadline, so that a busy machine is no fault.
    stage.has_deadline = cell && (!strcmp(cell->what, "hang") || !strcmp(cell->what, "missing") ||
                                     !strncmp(cell->what, "late", 4));
    atomic_store(&outcome->phase, PHASE_LOADING);
    if (make_engine(&stage, schedule, cache))
        play(&stage);
    world_t *world = &stage.world;
    atomic_store(&outcome->phase, PHASE_CLOSING);
    drop_plan(world);
    weir_model_free(world->model);
    weir_engine_free(world->engine);
    if (atomic_load(&world->live) != 0) {
        char text[96];
        snprintf(text, sizeof text, "%ld blocks", atomic_load(&world->live));
        problem(&stage, "left behind", text);
    }
    if (atomic_load(&outcome->started) != atomic_load(&outcome->ended))
        problem(&stage, "runs", "not as many ended as were started");
    // The misuses are the engine's, whatever the device does.
    if (world->engine && !strstr(outcome->log, " 0 misuses"))
        problem(&stage, "the engine broke the contract", outcome->log);
}
