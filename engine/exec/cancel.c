// engine/exec/cancel.c: a flag that ends runs, those that wait for a device included.
#include "engine/exec/session.h"

#include "engine/base/status.h"
#include <stdlib.h>

struct weir_cancel {
    atomic_bool set;
    pthread_mutex_t lock;
    weir__cancel_link_t *links;
};

weir_status_t weir_cancel_create(weir_cancel_t **out_cancel)
{
    weir_cancel_t *cancel = calloc(1, sizeof *cancel);
    if (!cancel)
        return weir__status_no_memory();
    pthread_mutex_init(&cancel->lock, NULL);
    *out_cancel = cancel;
    return NULL;
}

void weir_cancel_free(weir_cancel_t *cancel)
{
    if (!cancel)
        return;
    pthread_mutex_destroy(&cancel->lock);
    free(cancel);
}

bool weir__cancel_is_set(const weir_cancel_t *cancel)
{
    return cancel && atomic_load_explicit(&cancel->set, memory_order_acquire);
}

void weir_cancel_trigger(weir_cancel_t *cancel)
{
    pthread_mutex_lock(&cancel->lock);
    atomic_store_explicit(&cancel->set, true, memory_order_release);
    for (weir__cancel_link_t *link = cancel->links, *next; link; link = next) {
        next = link->next;
        link->wake(link);
    }
    pthread_mutex_unlock(&cancel->lock);
}

void weir__cancel_link(weir_cancel_t *cancel, weir__cancel_link_t *link)
{
    pthread_mutex_lock(&cancel->lock);
    link->next = cancel->links;
    link->from = &cancel->links;
    if (link->next)
        link->next->from = &link->next;
    cancel->links = link;
    pthread_mutex_unlock(&cancel->lock);
}

void weir__cancel_unlink(weir_cancel_t *cancel, weir__cancel_link_t *link)
{
    pthread_mutex_lock(&cancel->lock);
    *link->from = link->next;
    if (link->next)
        link->next->from = link->from;
    pthread_mutex_unlock(&cancel->lock);
}
