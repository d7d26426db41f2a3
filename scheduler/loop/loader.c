// scheduler/loop/loader.c: the thread for what takes long: models are loaded and freed, devices are
// opened again, plans are made for them, curves are written to the cache's folder.
//
// One thread, in order. Each job goes back to
// the loop, which alone decides what follows from it. It is started by the first model or device
// that needs it.
#include "scheduler/loop/loop.h"

#include <stdlib.h>
#include <string.h>

struct weir__loader {
    pthread_t thread;
    pthread_cond_t wake;
    bool started, stop;
    weir__job_t *jobs, **jobs_end;
    weir__job_t *done, **done_end;
    atomic_uint done_waiting;
};

static void free_old(weir__job_t *job)
{
    for (uint32_t i = 0; i < WEIR__PLACED_MAX; i++)
        weir_plan_free(job->old_plans[i]);
    for (uint32_t i = 0; i < WEIR__INLINE_MAX; i++)
        weir_session_free(job->old_sessions[i]);
    weir_model_free(job->old_model);
    job->old_model = NULL;
    memset(job->old_sessions, 0, sizeof job->old_sessions);
    memset(job->old_plans, 0, sizeof job->old_plans);
}

static weir_status_t load(weir_scheduler_t *scheduler, weir__served_t *served)
{
    weir_model_t *model;
    WEIR_TRY(weir_model_load(scheduler->engine, served->path, NULL, &model));
    weir_model_info_t info = {.size = sizeof info};
    weir_model_describe(model, &info);
    weir_status_t status =
        strcmp(info.digest, served->info.digest) != 0
            ? WEIR_FAIL(WEIR_DATA_LOSS, "%s is another model now: add it as a version of its own",
                  served->path)
            : weir__build_resident(scheduler, served, model);
    weir_model_free(model);
    if (status)
        weir__ledger_unload(scheduler, served);
    return status;
}

static weir_status_t do_job(weir_scheduler_t *scheduler, weir__job_t *job)
{
    switch (job->kind) {
    case WEIR__JOB_LOAD:
        return load(scheduler, job->served);
    case WEIR__JOB_REOPEN:
        return weir_device_reopen(scheduler->engine, job->device_name);
    case WEIR__JOB_PLAN: {
        weir_plan_options_t options = {.size = sizeof options,
            .devices = job->device_name,
            .precision = job->served->precision};
        return weir_plan_create(job->model, &options, &job->plan);
    }
    case WEIR__JOB_SEAT:
        return weir__seat_create(
            scheduler, job->served, &job->served->placed[job->placed], job->plan, &job->instance);
    case WEIR__JOB_NOTE:
        return weir_engine_keep_note(scheduler->engine, job->note_name, job->note, job->note_bytes);
    case WEIR__JOB_FREE:
        break;
    }
    return NULL;
}

static void *run_loader(void *user_data)
{
    weir_scheduler_t *scheduler = user_data;
    weir__loader_t *loader = scheduler->loader;
    pthread_mutex_lock(&scheduler->lock);
    for (;;) {
        while (!loader->jobs && !loader->stop)
            pthread_cond_wait(&loader->wake, &scheduler->lock);
        weir__job_t *job = loader->jobs;
        if (!job)
            break;
        loader->jobs = job->next;
        if (!loader->jobs)
            loader->jobs_end = &loader->jobs;
        bool stop = loader->stop;
        pthread_mutex_unlock(&scheduler->lock);
        free_old(job);
        job->status = stop && job->kind != WEIR__JOB_NOTE
                          ? weir__loop_status(WEIR_DRAINING, WEIR__REFUSE_DRAINING)
                          : do_job(scheduler, job);
        pthread_mutex_lock(&scheduler->lock);
        job->next = NULL;
        *loader->done_end = job;
        loader->done_end = &job->next;
        atomic_store(&loader->done_waiting, 1);
        weir__wake(scheduler);
    }
    pthread_mutex_unlock(&scheduler->lock);
    return NULL;
}

weir_status_t weir__loader_create(weir_scheduler_t *scheduler)
{
    weir__loader_t *loader = calloc(1, sizeof *loader);
    if (!loader)
        return weir__loop_no_memory();
    loader->jobs_end = &loader->jobs;
    loader->done_end = &loader->done;
    pthread_cond_init(&loader->wake, NULL);
    scheduler->loader = loader;
    return NULL;
}

// Under the lock.
static weir_status_t start(weir_scheduler_t *scheduler)
{
    weir__loader_t *loader = scheduler->loader;
    if (loader->started || loader->stop)
        return NULL;
    int error = pthread_create(&loader->thread, NULL, run_loader, scheduler);
    if (error)
        return WEIR_FAIL(
            WEIR_RESOURCE_EXHAUSTED, "the thread that loads models: %s", strerror(error));
    (void)pthread_setname_np(loader->thread, "weir-loader");
    loader->started = true;
    return NULL;
}

weir_status_t weir__loader_start(weir_scheduler_t *scheduler)
{
    pthread_mutex_lock(&scheduler->lock);
    weir_status_t status = start(scheduler);
    pthread_mutex_unlock(&scheduler->lock);
    return status;
}

void weir__loader_post(weir_scheduler_t *scheduler, weir__job_t *job)
{
    weir__loader_t *loader = scheduler->loader;
    pthread_mutex_lock(&scheduler->lock);
    *loader->jobs_end = job;
    loader->jobs_end = &job->next;
    pthread_cond_signal(&loader->wake);
    pthread_mutex_unlock(&scheduler->lock);
}

void weir__loader_free(weir_scheduler_t *scheduler)
{
    weir__loader_t *loader = scheduler->loader;
    pthread_mutex_lock(&scheduler->lock);
    bool started = loader->started;
    loader->stop = true;
    pthread_cond_signal(&loader->wake);
    pthread_mutex_unlock(&scheduler->lock);
    if (started)
        pthread_join(loader->thread, NULL);
}

static void free_job(weir__job_t *job)
{
    free_old(job);
    weir_plan_free(job->plan);
    weir_model_free(job->model);
    weir_status_free(job->status);
    free(job->note);
    free(job);
}

void weir__loader_forget(weir_scheduler_t *scheduler)
{
    weir__loader_t *loader = scheduler->loader;
    if (!loader)
        return;
    weir__job_t *lists[] = {loader->jobs, loader->done};
    for (size_t i = 0; i < 2; i++)
        while (lists[i]) {
            weir__job_t *job = lists[i];
            lists[i] = job->next;
            if (i == 0 && job->kind == WEIR__JOB_NOTE) // posted when the thread had ended
                job->status = do_job(scheduler, job);
            free_job(job);
        }
    pthread_cond_destroy(&loader->wake);
    free(loader);
}

bool weir__loader_has_done(weir_scheduler_t *scheduler)
{
    return atomic_load(&scheduler->loader->done_waiting) != 0;
}

bool weir__loader_take(weir_scheduler_t *scheduler)
{
    weir__loader_t *loader = scheduler->loader;
    if (!atomic_load_explicit(&loader->done_waiting, memory_order_acquire))
        return false;
    pthread_mutex_lock(&scheduler->lock);
    weir__job_t *job = loader->done;
    loader->done = NULL;
    loader->done_end = &loader->done;
    atomic_store(&loader->done_waiting, 0);
    pthread_mutex_unlock(&scheduler->lock);
    while (job) {
        weir__job_t *next = job->next;
        if (job->freed_bytes)
            weir__ledger_freed(scheduler, job->freed_bytes);
        if (job->kind == WEIR__JOB_LOAD)
            weir__ledger_loaded(scheduler, job->served, job->status);
        else if (job->kind == WEIR__JOB_REOPEN)
            weir__device_reopened(scheduler, job);
        else if (job->kind == WEIR__JOB_PLAN)
            weir__device_planned(scheduler, job);
        else if (job->kind == WEIR__JOB_SEAT)
            weir__device_seated(scheduler, job);
        else if (job->kind == WEIR__JOB_NOTE)
            weir__device_noted(scheduler, job);
        free_job(job);
        job = next;
    }
    if (scheduler->loads_waiting)
        weir__ledger_retry(scheduler);
    return true;
}
