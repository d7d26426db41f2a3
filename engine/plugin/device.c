// engine/plugin/device.c: see device.h. One lock per open device; neither a plugin nor the log is
// called under it.
#include "engine/plugin/device.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

// ---- Records -----------------------------------------------------------------------------------

static void link_made(weir__made_t **list, weir__made_t *made)
{
    made->next = *list;
    made->from = list;
    if (made->next)
        made->next->from = &made->next;
    *list = made;
}

static void unlink_made(weir__made_t *made)
{
    if (!made->from)
        return;
    *made->from = made->next;
    if (made->next)
        made->next->from = made->from;
    made->from = NULL;
}

static void give_back(
    weir__opened_t *opened, weir__made_kind_t kind, weir_handle_t handle, bool is_mapped)
{
    if (!handle)
        return;
    const weir_device_table_t *table = &opened->plugin->device;
    switch (kind) {
    case WEIR__MADE_RECORDING:
        if (table->recording_release)
            table->recording_release(handle);
        break;
    case WEIR__MADE_SPECIALIZATION:
        if (table->specialization_release)
            table->specialization_release(handle);
        break;
    case WEIR__MADE_PROGRAM:
        if (table->program_release)
            table->program_release(handle);
        break;
    case WEIR__MADE_BUFFER:
        if (is_mapped && table->unmap)
            table->unmap(opened->handle, handle);
        table->free(opened->handle, handle);
        break;
    case WEIR__MADE_QUEUE:
        if (!table->queue_destroy)
            break;
        pthread_mutex_lock(&opened->calls);
        table->queue_destroy(opened->handle, handle);
        pthread_mutex_unlock(&opened->calls);
        break;
    case WEIR__MADE_STATE:
    case WEIR__MADE_KINDS:
        break;
    }
}

weir__made_t *weir__made_new(weir__opened_t *opened, weir__made_kind_t kind, weir_handle_t handle)
{
    weir__made_t *made = weir__heap_calloc(opened->registry->heap, 1, sizeof *made);
    if (!made) {
        give_back(opened, kind, handle, false);
        return NULL;
    }
    made->kind = kind;
    made->handle = handle;
    pthread_mutex_lock(&opened->lock);
    link_made(&opened->made[kind], made);
    pthread_mutex_unlock(&opened->lock);
    return made;
}

weir__made_t *weir__made_state(weir__opened_t *opened, const weir_kernel_t *kernel, void *state)
{
    weir__made_t *made = weir__made_new(opened, WEIR__MADE_STATE, 0);
    if (made) {
        made->kernel = kernel;
        made->pointer = state;
    } else if (kernel->release && state) {
        kernel->release(&opened->plugin->host.abi, state);
    }
    return made;
}

static void leave_locked(weir__opened_t *opened)
{
    if (--opened->users == 0)
        pthread_cond_broadcast(&opened->idle);
}

// The end of a record that is in no list.
static void free_made(weir__opened_t *opened, weir__made_t *made)
{
    if (made->kernel && made->kernel->release && made->pointer)
        made->kernel->release(&opened->plugin->host.abi, made->pointer);
    if (made->is_plain)
        weir__heap_free(opened->registry->heap, made->pointer);
    weir__heap_free(opened->registry->heap, made);
}

// May something that hangs still touch it? Then it stays until that is answered or the device
// closed. Under the lock.
static bool is_reachable(const weir__opened_t *opened, const weir__made_t *made)
{
    if (made->kind < WEIR__MADE_BUFFER || atomic_load(&opened->closed))
        return false;
    bool reachable = atomic_load(&opened->lost);
    for (const weir__hung_t *hung = opened->hung; hung && !reachable; hung = hung->next)
        reachable = made->owner && made->owner == hung->owner;
    return reachable;
}

void weir__made_release(weir__opened_t *opened, weir__made_t *made)
{
    if (!made)
        return;
    pthread_mutex_lock(&opened->lock);
    // When this returns its user may free what it was made of.
    while (opened->leaving == made)
        pthread_cond_wait(&opened->idle, &opened->lock);
    unlink_made(made);
    bool later = is_reachable(opened, made);
    if (later)
        link_made(&opened->deferred, made);
    else
        opened->users++;
    pthread_mutex_unlock(&opened->lock);
    if (later)
        return;
    give_back(opened, made->kind, made->handle, made->pointer && !made->is_plain);
    free_made(opened, made);
    weir__opened_leave(opened);
}

void weir__opened_unanswered(weir__opened_t *opened, weir__hung_t *hung, const void *owner)
{
    pthread_mutex_lock(&opened->lock);
    hung->owner = owner;
    hung->from = &opened->hung;
    hung->next = opened->hung;
    if (hung->next)
        hung->next->from = &hung->next;
    opened->hung = hung;
    pthread_mutex_unlock(&opened->lock);
}

void weir__opened_answered(weir__opened_t *opened, weir__hung_t *hung)
{
    weir__made_t *due = NULL;
    pthread_mutex_lock(&opened->lock);
    if (hung->from) {
        *hung->from = hung->next;
        if (hung->next)
            hung->next->from = hung->from;
        hung->from = NULL;
    }
    // A device that is being closed has them freed by that.
    if (!opened->closing && !atomic_load(&opened->lost)) {
        due = opened->deferred;
        opened->deferred = NULL;
    }
    for (weir__made_t *made = due; made; made = made->next)
        made->from = NULL;
    opened->users++; // it is not closed while handles of it are in `due`
    pthread_mutex_unlock(&opened->lock);
    while (due) {
        weir__made_t *made = due;
        due = made->next;
        weir__made_release(opened, made);
    }
    weir__opened_leave(opened);
}

// ---- Users -------------------------------------------------------------------------------------

bool weir__opened_enter(weir__opened_t *opened)
{
    pthread_mutex_lock(&opened->lock);
    bool entered = !opened->closing && !atomic_load(&opened->lost);
    opened->users += entered;
    pthread_mutex_unlock(&opened->lock);
    return entered;
}

void weir__opened_leave(weir__opened_t *opened)
{
    pthread_mutex_lock(&opened->lock);
    leave_locked(opened);
    pthread_mutex_unlock(&opened->lock);
}

// ---- Lost --------------------------------------------------------------------------------------

void weir__opened_lose(weir__opened_t *opened, const char *text)
{
    char message[224];
    pthread_mutex_lock(&opened->lock);
    bool is_news = !atomic_load(&opened->lost);
    if (is_news) {
        snprintf(opened->lost_text, sizeof opened->lost_text, "%s",
            text && text[0] ? text : "it does not say why");
        atomic_store(&opened->lost, true);
    }
    snprintf(message, sizeof message, "it was lost: %s", opened->lost_text);
    // Waking a run only queues it, so this may be done under the lock, which keeps the list.
    for (weir__watch_t *watch = opened->watches; watch; watch = watch->next)
        (void)weir__timeline_fail(
            opened->registry->timelines, watch->timeline, WEIR_DEVICE_LOST, message);
    pthread_mutex_unlock(&opened->lock);
    if (is_news)
        weir__log(opened->registry->log, WEIR_LOG_ERROR, "device", "%s was lost: %s",
            opened->device->name, opened->lost_text);
}

weir_status_t weir__opened_lost_status(const weir__opened_t *opened, weir_code_t code)
{
    const char *name = opened->device->name;
    if (atomic_load(&opened->is_replaced))
        return WEIR_ERR(code,
            "device \"%s\" was reopened after this plan was made (%s): make a new plan", name,
            opened->lost_text);
    return WEIR_ERR(code,
        "device \"%s\" was lost (%s): reopen it (weir_device_reopen) and make a new plan, or leave "
        "it out",
        name, opened->lost_text);
}

weir_status_t weir__opened_status(weir__opened_t *opened, weir_code_t code, const char *call)
{
    if (code == WEIR_OK)
        return NULL;
    char why[256];
    weir__host_take_failure(&opened->plugin->host, why, sizeof why);
    if (code == WEIR_DEVICE_LOST)
        weir__opened_lose(opened, why[0] ? why : call);
    return WEIR_ERR(code, "device \"%s\": %s failed: %s", opened->device->name, call,
        why[0] ? why : weir_code_name(code));
}

bool weir__opened_accepts(weir__opened_t *opened, weir_code_t code, const char *call)
{
    weir_status_free(weir__opened_status(opened, code, call));
    return code == WEIR_OK;
}

// ---- Opening and closing -----------------------------------------------------------------------

// Under the registry's lock.
static const char *feeder_of(const weir__registry_t *registry, const weir__device_t *device)
{
    const weir__feeder_t *feeder = device->pci[0] ? registry->feeders : NULL;
    while (feeder && strcasecmp(feeder->pci, device->pci) != 0)
        feeder = feeder->next;
    return feeder ? feeder->cpus : NULL;
}

static weir_status_t open_device(weir__registry_t *registry, weir__device_t *device)
{
    weir__opened_t *opened = weir__heap_calloc(registry->heap, 1, sizeof *opened);
    if (!opened)
        return weir__status_no_memory();
    weir__plugin_t *plugin = device->plugin;
    weir__host_t *host = &plugin->host;
    atomic_store(&host->feeder_opener, (unsigned long)pthread_self());
    atomic_store(&host->feeder_cpus, feeder_of(registry, device));
    weir_code_t code = plugin->device.open(&host->abi, device->index, &opened->handle);
    atomic_store(&host->feeder_cpus, NULL);
    if (code != WEIR_OK) {
        weir__heap_free(registry->heap, opened);
        return weir__plugin_status(plugin, code, "open");
    }
    opened->registry = registry;
    opened->device = device;
    opened->plugin = plugin;
    opened->previous = device->opened;
    if (opened->previous)
        atomic_store(&opened->previous->is_replaced, true);
    pthread_mutex_init(&opened->lock, NULL);
    pthread_mutex_init(&opened->calls, NULL);
    pthread_cond_init(&opened->idle, NULL);
    device->opened = opened;
    device->handle = opened->handle;
    return NULL;
}

weir_status_t weir__device_enter(
    weir__registry_t *registry, weir__device_t *device, weir__opened_t **out_opened)
{
    weir_status_t status = NULL;
    pthread_mutex_lock(&registry->opening);
    if (device->reopening)
        status = WEIR_ERR(WEIR_UNAVAILABLE,
            "device \"%s\" was lost or left, and is being reopened: try again, or leave it out",
            device->name);
    else if (!device->opened)
        status = open_device(registry, device);
    if (!status && !weir__opened_enter(device->opened))
        status = weir__opened_lost_status(device->opened, WEIR_UNAVAILABLE);
    *out_opened = device->opened;
    pthread_mutex_unlock(&registry->opening);
    return status;
}

static void wait_for_users(weir__opened_t *opened)
{
    while (opened->users)
        pthread_cond_wait(&opened->idle, &opened->lock);
}

// Gives all of one kind back. Under the lock, which it leaves for the calls.
static void give_back_kind(weir__opened_t *opened, weir__made_kind_t kind)
{
    while (opened->made[kind]) {
        weir__made_t *made = opened->made[kind];
        weir_handle_t handle = made->handle;
        bool is_mapped = made->pointer && !made->is_plain;
        made->handle = 0;
        unlink_made(made);
        opened->leaving = made;
        pthread_mutex_unlock(&opened->lock);
        give_back(opened, kind, handle, is_mapped);
        pthread_mutex_lock(&opened->lock);
        opened->leaving = NULL;
        pthread_cond_broadcast(&opened->idle);
        // Of those that are released by their users at this time, too, before the next kind.
        wait_for_users(opened);
    }
}

// close() takes them. Under the lock.
static void forget_kind(weir__opened_t *opened, weir__made_kind_t kind)
{
    while (opened->made[kind]) {
        opened->made[kind]->handle = 0;
        unlink_made(opened->made[kind]);
    }
}

// Buffers and queues that a device still works with must not go before it does: close() takes them.
static void close_device(weir__opened_t *opened)
{
    pthread_mutex_lock(&opened->lock);
    opened->closing = true;
    wait_for_users(opened);
    bool busy = opened->hung || atomic_load(&opened->lost);
    uint32_t kinds = busy ? WEIR__MADE_BUFFER : WEIR__MADE_STATE;
    for (uint32_t kind = 0; kind < kinds; kind++)
        give_back_kind(opened, (weir__made_kind_t)kind);
    for (uint32_t kind = kinds; kind < WEIR__MADE_STATE; kind++)
        forget_kind(opened, (weir__made_kind_t)kind);
    wait_for_users(opened); // no call is under way, and nothing is left for one
    pthread_mutex_unlock(&opened->lock);
    if (opened->plugin->device.close)
        opened->plugin->device.close(opened->handle);
    pthread_mutex_lock(&opened->lock);
    weir__made_t *gone = opened->deferred;
    opened->deferred = NULL;
    atomic_store(&opened->closed, true);
    pthread_mutex_unlock(&opened->lock);
    while (gone) {
        weir__made_t *made = gone;
        gone = made->next;
        free_made(opened, made);
    }
}

weir_status_t weir__device_reopen(weir__registry_t *registry, weir__device_t *device)
{
    pthread_mutex_lock(&registry->opening);
    weir__opened_t *opened = device->opened;
    bool is_taken = device->reopening;
    device->reopening = true;
    pthread_mutex_unlock(&registry->opening);
    if (is_taken)
        return WEIR_ERR(WEIR_UNAVAILABLE, "device \"%s\" is being reopened already", device->name);
    // Not under the lock: whoever still uses the device may have to open another one.
    if (opened && !atomic_load(&opened->closed)) {
        weir__opened_lose(opened, "it was closed to be opened anew");
        close_device(opened);
    }
    pthread_mutex_lock(&registry->opening);
    weir_status_t status = open_device(registry, device);
    device->reopening = false;
    pthread_mutex_unlock(&registry->opening);
    return status;
}

void weir__devices_close(weir__registry_t *registry)
{
    for (uint32_t i = 0; i < registry->device_count; i++)
        if (registry->devices[i].opened && !atomic_load(&registry->devices[i].opened->closed))
            close_device(registry->devices[i].opened);
}

void weir__devices_free(weir__registry_t *registry)
{
    for (uint32_t i = 0; i < registry->device_count; i++)
        while (registry->devices[i].opened) {
            weir__opened_t *opened = registry->devices[i].opened;
            registry->devices[i].opened = opened->previous;
            pthread_mutex_destroy(&opened->lock);
            pthread_mutex_destroy(&opened->calls);
            pthread_cond_destroy(&opened->idle);
            weir__heap_free(registry->heap, opened);
        }
}
