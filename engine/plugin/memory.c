// engine/plugin/memory.c: buffers, staging memory and queues of an open device.
#include "engine/plugin/device.h"

static weir_status_t keep(
    weir__opened_t *opened, weir__made_kind_t kind, weir_handle_t handle, weir__made_t **out_made)
{
    *out_made = weir__made_new(opened, kind, handle);
    return *out_made ? NULL : weir__status_no_memory();
}

weir_status_t weir__buffer_make(weir__opened_t *opened, uint64_t bytes, weir__made_t **out_buffer)
{
    weir_handle_t handle = 0;
    weir_code_t code =
        opened->plugin->device.alloc(opened->handle, WEIR_MEMORY_DEVICE, bytes, &handle);
    if (code != WEIR_OK)
        return weir__opened_status(opened, code, "alloc");
    return keep(opened, WEIR__MADE_BUFFER, handle, out_buffer);
}

// *out_handle 0: the device has no pinned memory.
static weir_status_t make_pinned(
    weir__opened_t *opened, uint64_t bytes, weir_handle_t *out_handle, void **out_pointer)
{
    const weir_device_table_t *table = &opened->plugin->device;
    *out_handle = 0;
    if (!table->map)
        return NULL;
    weir_code_t code = table->alloc(opened->handle, WEIR_MEMORY_PINNED, bytes, out_handle);
    if (code == WEIR_UNSUPPORTED) {
        (void)weir__opened_accepts(opened, code, "alloc of pinned memory");
        *out_handle = 0;
        return NULL;
    }
    if (code != WEIR_OK)
        return weir__opened_status(opened, code, "alloc of pinned memory");
    code = table->map(opened->handle, *out_handle, out_pointer);
    if (code == WEIR_OK)
        return NULL;
    weir_status_t status = weir__opened_status(opened, code, "map");
    table->free(opened->handle, *out_handle);
    return status;
}

weir_status_t weir__staging_make(weir__opened_t *opened, uint64_t bytes, weir__made_t **out_staging)
{
    weir_handle_t handle;
    void *pointer = NULL;
    WEIR_TRY(make_pinned(opened, bytes, &handle, &pointer));
    if (!handle && !(pointer = weir__heap_alloc(opened->registry->heap, bytes)))
        return weir__status_no_memory();
    weir_status_t status = keep(opened, WEIR__MADE_BUFFER, handle, out_staging);
    if (status) {
        if (!handle)
            weir__heap_free(opened->registry->heap, pointer);
        return status;
    }
    (*out_staging)->pointer = pointer;
    (*out_staging)->is_plain = !handle;
    return NULL;
}

weir_binding_t weir__made_binding(const weir__made_t *made, uint64_t offset, uint64_t bytes)
{
    if (!made || !bytes)
        return (weir_binding_t){.bytes = 0};
    if (made->is_plain)
        return (weir_binding_t){.pointer = (char *)made->pointer + offset, .bytes = bytes};
    return (weir_binding_t){.buffer = made->handle, .offset = offset, .bytes = bytes};
}

weir_status_t weir__queue_make(weir__opened_t *opened, weir__made_t **out_queue)
{
    const weir_device_table_t *table = &opened->plugin->device;
    weir_handle_t handle = 0;
    *out_queue = NULL;
    if (!table->queue_create) // works on host memory, and needs none
        return NULL;
    pthread_mutex_lock(&opened->calls);
    weir_code_t code = table->queue_create(opened->handle, &handle);
    pthread_mutex_unlock(&opened->calls);
    if (code != WEIR_OK)
        return weir__opened_status(opened, code, "queue_create");
    return keep(opened, WEIR__MADE_QUEUE, handle, out_queue);
}
