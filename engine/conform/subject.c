// engine/conform/subject.c: the plugin under test, loaded by the rules of <weir/plugin.h>, and the
// host that the kit shows it.
//
// The host is a plain one: memory with guards, options at their defaults, no cache; for devices
// also timelines and helper threads (timeline.c).
#include "engine/conform/device.h"

#include "backends/ref/ref_plugin.h"
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POISON 0x5A

bool weir__kit_fail(weir__kit_subject_t *subject, const char *format, ...)
{
    weir__kit_progress_t *progress = subject->progress;
    if (progress->has_failed)
        return false;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(progress->what, sizeof progress->what, format, arguments);
    va_end(arguments);
    progress->has_failed = true;
    return false;
}

// ---- The host
// ------------------------------------------------------------------------------------

static weir__kit_host_t *host_of(const weir_host_t *abi)
{
    return (weir__kit_host_t *)(uintptr_t)abi; // its first member
}

static void *host_alloc(const weir_host_t *abi, uint64_t bytes)
{
    weir__kit_host_t *host = host_of(abi);
    weir__kit_hooks_note("host->alloc");
    weir__kit_block_t block = weir__kit_block(bytes, "memory from host->alloc", true);
    pthread_mutex_lock(&host->lock);
    uint32_t slot = 0;
    while (slot < WEIR__KIT_HOST_BLOCKS && host->blocks[slot].map)
        slot++;
    if (slot < WEIR__KIT_HOST_BLOCKS && block.map)
        host->blocks[slot] = block;
    pthread_mutex_unlock(&host->lock);
    if (slot == WEIR__KIT_HOST_BLOCKS || !block.map) {
        weir__kit_block_free(&block);
        return NULL;
    }
    atomic_fetch_add(&host->live_count, 1);
    return block.data;
}

static void host_free(const weir_host_t *abi, void *memory)
{
    weir__kit_host_t *host = host_of(abi);
    weir__kit_hooks_note("host->free");
    if (!memory)
        return;
    pthread_mutex_lock(&host->lock);
    for (uint32_t i = 0; i < WEIR__KIT_HOST_BLOCKS; i++)
        if (host->blocks[i].map && host->blocks[i].data == memory) {
            if (!weir__kit_block_is_sound(&host->blocks[i]))
                atomic_store(&host->is_overrun, true);
            weir__kit_block_free(&host->blocks[i]);
            atomic_fetch_sub(&host->live_count, 1);
            memory = NULL;
            break;
        }
    pthread_mutex_unlock(&host->lock);
    if (memory)
        atomic_store(&host->is_overrun, true); // not, or no longer, a block of ours
}

static weir_code_t host_fail(const weir_host_t *abi, weir_code_t code, const char *format, ...)
{
    weir__kit_host_t *host = host_of(abi);
    va_list arguments;
    pthread_mutex_lock(&host->lock);
    va_start(arguments, format);
    vsnprintf(host->failure, sizeof host->failure, format, arguments);
    va_end(arguments);
    pthread_mutex_unlock(&host->lock);
    return code;
}

static void host_log(const weir_host_t *abi, int32_t level, const char *text)
{
    (void)abi;
    (void)level;
    (void)text;
}

static weir_code_t host_parallel_for(
    const weir_host_t *abi, uint64_t count, weir_code_t (*body)(void *user, uint64_t i), void *user)
{
    (void)abi;
    weir__kit_hooks_note("host->parallel_for");
    weir_code_t code = WEIR_OK;
    for (uint64_t i = count; i-- > 0 && code == WEIR_OK;)
        code = body(user, i);
    return code;
}

// What the caller sets, else the default of the plugin's own table.
static const char *host_option(const weir_host_t *abi, const char *name)
{
    const weir_array_t *options = &host_of(abi)->options;
    for (size_t i = host_of(abi)->set_option_count; i-- > 0;) {
        const char *set = host_of(abi)->set_options[i];
        if (strncmp(set, name, strlen(name)) == 0 && set[strlen(name)] == '=')
            return set + strlen(name) + 1;
    }
    for (uint32_t i = 0; i < options->count; i++) {
        const weir_option_t *option =
            (const void *)((const char *)options->data + (size_t)i * options->stride);
        if (strcmp(option->name, name) == 0)
            return option->default_value;
    }
    return NULL;
}

static weir_code_t host_blob_get(
    const weir_host_t *abi, const char *key, const void **out_data, uint64_t *out_bytes)
{
    (void)abi;
    (void)key;
    (void)out_data;
    (void)out_bytes;
    return WEIR_NOT_FOUND;
}

static weir_code_t host_blob_put(
    const weir_host_t *abi, const char *key, const void *data, uint64_t bytes)
{
    (void)abi;
    (void)key;
    (void)data;
    (void)bytes;
    return WEIR_UNAVAILABLE;
}

static void host_blob_release(const weir_host_t *abi, const void *data)
{
    (void)abi;
    (void)data;
}

static void host_trace(const weir_host_t *abi, const weir_trace_record_t *records, uint32_t count)
{
    (void)abi;
    (void)records;
    (void)count;
}

static const char *host_plugin_dir(const weir_host_t *abi)
{
    return host_of(abi)->directory;
}

static void host_init(weir__kit_host_t *host, const char *path)
{
    pthread_mutex_init(&host->lock, NULL);
    pthread_mutex_init(&host->timeline_lock, NULL);
    pthread_cond_init(&host->timeline_changed, NULL);
    snprintf(host->directory, sizeof host->directory, "%s", path);
    char *slash = strrchr(host->directory, '/');
    if (slash)
        *slash = '\0';
    host->abi = (weir_host_t){.head = WEIR_HEAD(weir_host_t),
        .alloc = host_alloc,
        .free = host_free,
        .fail = host_fail,
        .log = host_log,
        .parallel_for = host_parallel_for,
        .option = host_option,
        .thread_start = weir__kit_thread_start,
        .thread_join = weir__kit_thread_join,
        .timeline_signal = weir__kit_timeline_signal,
        .timeline_fail = weir__kit_timeline_fail,
        .blob_get = host_blob_get,
        .blob_put = host_blob_put,
        .blob_release = host_blob_release,
        .trace = host_trace,
        .plugin_dir = host_plugin_dir,
        .state = &host->plugin_state};
    host->abi.head.size += sizeof host->beyond; // a later version's host, which has more
    memset(host->beyond, POISON, sizeof host->beyond);
}

// ---- The handshake
// -------------------------------------------------------------------------------

static bool name_is_valid(const char *name)
{
    size_t length = name ? strnlen(name, 32) : 0;
    return length && length < 32 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == length;
}

// Copies min(their size, ours).
static bool copy_sized(void *to, size_t to_bytes, const void *from)
{
    weir_head_t head;
    memcpy(&head, from, sizeof head);
    memset(to, 0, to_bytes);
    memcpy(to, from, WEIR_MIN(head.size, to_bytes));
    return head.size > sizeof head;
}

static bool take_kernels(weir__kit_subject_t *subject)
{
    const weir_array_t *array = &subject->plugin.kernels;
    if (array->count && (!array->data || array->stride < sizeof(weir_head_t)))
        return weir__kit_fail(
            subject, "the table of kernels has no data, or a stride below a head");
    subject->kernels = calloc((size_t)array->count + 1, sizeof *subject->kernels);
    if (!subject->kernels)
        return weir__kit_fail(subject, "no memory for a table of %u kernels", array->count);
    for (uint32_t i = 0; i < array->count; i++) {
        weir_kernel_t *kernel = &subject->kernels[i];
        if (!copy_sized(
                kernel, sizeof *kernel, (const char *)array->data + (size_t)i * array->stride))
            return weir__kit_fail(subject, "kernel %u has no size in its head", i);
        if (kernel->head.size > array->stride)
            return weir__kit_fail(subject,
                "kernel %u says that it has %u bytes, its table's stride "
                "is %u",
                i, kernel->head.size, array->stride);
        if (!kernel->op || (!kernel->run && !subject->host.has_device))
            return weir__kit_fail(subject, "kernel %u has no op or no run()", i);
        if (!kernel->name)
            kernel->name = kernel->op;
    }
    subject->kernel_count = array->count;
    return true;
}

// What a level needs of the table, all or nothing.
static bool take_device(weir__kit_subject_t *subject)
{
    weir_device_table_t *table = &subject->device;
    if (!subject->plugin.device)
        return true;
    if (!copy_sized(table, sizeof *table, subject->plugin.device))
        return weir__kit_fail(subject, "the table of devices has no size in its head");
    subject->host.has_device = true;
    if (!table->enumerate || !table->open || !table->close)
        return weir__kit_fail(subject, "a device needs enumerate(), open() and close()");
    if (!table->execute && !table->compile)
        return weir__kit_fail(subject, "a device needs execute() (L1) or compile() (L2)");
    if (table->execute && (!table->queue_create || !table->alloc || !table->free || !table->copy))
        return weir__kit_fail(subject, "L1 needs alloc(), free(), queue_create() and copy()");
    if (table->compile && (!table->program_release || !table->specialize ||
                              !table->specialization_release || !table->launch))
        return weir__kit_fail(subject, "L2 needs program_release(), specialize(), "
                                       "specialization_release() and launch()");
    if (table->record && (!table->recording_release || !table->program_info))
        return weir__kit_fail(subject, "record() needs recording_release() and program_info()");
    if ((!table->program_save) != (!table->program_load) ||
        (!table->program_save) != (!table->artifact_check))
        return weir__kit_fail(
            subject, "program_save(), artifact_check() and program_load() come together");
    return true;
}

static bool shake_hands(weir__kit_subject_t *subject, weir_plugin_entry_t entry)
{
    const weir_plugin_t *theirs = entry(&subject->host.abi);
    if (!theirs)
        return weir__kit_fail(subject, "weir_plugin_v0 gave no table: %s",
            subject->host.failure[0] ? subject->host.failure : "and no reason by host->fail()");
    weir_plugin_head_t head;
    memcpy(&head, theirs, sizeof head);
    if (head.header_hash != WEIR_PLUGIN_HEADER_HASH)
        return weir__kit_fail(subject,
            "built from another weir/plugin.h: its hash is %016llx, this one's %016llx",
            (unsigned long long)head.header_hash, (unsigned long long)WEIR_PLUGIN_HEADER_HASH);
    if (head.size < offsetof(weir_plugin_t, options))
        return weir__kit_fail(
            subject, "the head of the plugin says %u bytes: use WEIR_PLUGIN_HEAD", head.size);
    memcpy(&subject->plugin, theirs, WEIR_MIN(head.size, sizeof subject->plugin));
    if (!name_is_valid(subject->plugin.name))
        return weir__kit_fail(subject, "its name must be 1 to 31 characters of a-z, 0-9 and _");
    subject->host.options = subject->plugin.options;
    return take_device(subject) && take_kernels(subject);
}

bool weir__kit_load(weir__kit_subject_t *subject, const char *path)
{
    host_init(&subject->host, path);
    if (strcmp(path, "ref") == 0)
        return shake_hands(subject, weir_ref_plugin);
    subject->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!subject->handle) {
        const char *why = dlerror();
        return weir__kit_fail(subject, "cannot be loaded: %s", why ? why : "it is not said why");
    }
    void *symbol = dlsym(subject->handle, "weir_plugin_v0");
    weir_plugin_entry_t entry;
    memcpy(&entry, &symbol, sizeof entry); // a function pointer, as POSIX promises
    if (!entry)
        return weir__kit_fail(subject, "it does not export weir_plugin_v0");
    weir__kit_hooks_install(subject->handle);
    return shake_hands(subject, entry);
}

void weir__kit_check_load(weir__kit_subject_t *subject)
{
    weir__kit_progress_t *progress = subject->progress;
    const weir_plugin_t *plugin = &subject->plugin;
    progress->case_count = progress->run_count = 1;
    for (uint32_t i = 0; i < sizeof subject->host.beyond; i++)
        if (subject->host.beyond[i] != POISON)
            weir__kit_fail(subject, "it wrote past the end of weir_host_t");
    if (!plugin->version || !plugin->version[0])
        weir__kit_fail(subject, "it has no version");
    if (plugin->options.count &&
        (!plugin->options.data || plugin->options.stride < sizeof(weir_head_t)))
        weir__kit_fail(subject, "the table of options has no data, or a stride below a head");
    if (plugin->probe) {
        weir_support_t answer[2] = {{.head = WEIR_HEAD(weir_support_t)}};
        memset(&answer[1], POISON, sizeof answer[1]);
        weir_code_t code = plugin->probe(&subject->host.abi, &answer[0]);
        if (code != WEIR_OK && !answer[0].reason[0])
            weir__kit_fail(subject, "probe() said no (%d) and gave no reason", code);
        for (uint32_t i = 0; i < sizeof answer[1]; i++)
            if (((const uint8_t *)&answer[1])[i] != POISON)
                weir__kit_fail(subject, "probe() wrote past the end of weir_support_t");
    }
    if (weir__kit_hooks_threads())
        weir__kit_fail(subject,
            "it started %u threads while it was loaded: a plugin has no threads "
            "of its own",
            weir__kit_hooks_threads());
    const weir_device_table_t *device = &subject->device;
    weir_device_info_t info = {.head = WEIR_HEAD(weir_device_info_t)};
    // A machine without such a device has nothing to check.
    progress->has_device =
        device->enumerate && device->enumerate(&subject->host.abi, 0, &info) == WEIR_OK;
    progress->is_claiming = device->claim != NULL;
    progress->has_own_memory = !(info.head.flags & WEIR_DEVICE_HOST_MEMORY);
    progress->saves = device->program_save != NULL;
    progress->records = device->record != NULL;
    progress->row_count = WEIR_MIN(subject->kernel_count, WEIR__KIT_KERNELS);
    for (uint32_t i = 0; i < progress->row_count; i++) {
        const weir_kernel_t *kernel = &subject->kernels[i];
        weir__kit_row_t *row = &progress->rows[i];
        snprintf(row->op, sizeof row->op, "%s", kernel->op);
        snprintf(row->name, sizeof row->name, "%s", kernel->name);
        row->flags = kernel->head.flags;
        row->dtypes = kernel->dtypes;
        row->input_formats = kernel->input_formats;
        row->output_formats = kernel->output_formats;
        row->runs = kernel->run != NULL;
        row->packs = kernel->pack_query && kernel->pack;
        row->is_known = weir__kit_operator(kernel->op) != NULL;
        weir_operator_t declared;
        weir__kit_operator_t custom;
        row->is_custom = weir__kit_custom(subject, kernel, &declared, &custom);
    }
}
