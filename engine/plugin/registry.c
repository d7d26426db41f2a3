// engine/plugin/registry.c: finding plugins, the handshake, the list of devices.
#include "engine/plugin/registry.h"

#include "engine/plugin/device.h"
#include "engine/plugin/operators.h"
#include "engine/plugin/options.h"
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void weir__registry_init(weir__registry_t *registry, weir__heap_t *heap, const weir__log_t *log,
    weir__team_t *team, weir__timelines_t *timelines)
{
    *registry = (weir__registry_t){.heap = heap, .log = log, .team = team, .timelines = timelines};
    weir__zone_init(&registry->zone, heap, 0);
    pthread_mutex_init(&registry->lock, NULL);
    pthread_mutex_init(&registry->opening, NULL);
    registry->traces.heap = heap;
}

static weir__plugin_t *add_plugin(weir__registry_t *registry, const char *path)
{
    if (registry->plugin_count == registry->plugin_capacity) {
        uint32_t capacity = registry->plugin_capacity ? registry->plugin_capacity * 2 : 8;
        weir__plugin_t **plugins =
            weir__heap_realloc(registry->heap, registry->plugins, capacity * sizeof *plugins);
        if (!plugins)
            return NULL;
        registry->plugins = plugins;
        registry->plugin_capacity = capacity;
    }
    weir__plugin_t *plugin = weir__heap_calloc(registry->heap, 1, sizeof *plugin);
    if (!plugin)
        return NULL;
    snprintf(plugin->path, sizeof plugin->path, "%s", path);
    char *directory = weir__zone_string(&registry->zone, path, strlen(path));
    char *slash = directory ? strrchr(directory, '/') : NULL;
    if (slash)
        *slash = '\0';
    weir__host_init(&plugin->host, registry, directory ? directory : "");
    registry->plugins[registry->plugin_count++] = plugin;
    return plugin;
}

static weir__device_t *add_device(
    weir__registry_t *registry, weir__plugin_t *plugin, const char *name, bool usable)
{
    if (registry->device_count == registry->device_capacity) {
        uint32_t capacity = registry->device_capacity ? registry->device_capacity * 2 : 8;
        weir__device_t *devices =
            weir__heap_realloc(registry->heap, registry->devices, capacity * sizeof *devices);
        if (!devices)
            return NULL;
        registry->devices = devices;
        registry->device_capacity = capacity;
    }
    weir__device_t *device = &registry->devices[registry->device_count++];
    *device = (weir__device_t){.plugin = plugin, .usable = usable};
    snprintf(device->name, sizeof device->name, "%s", name);
    snprintf(device->text, sizeof device->text, "%s", plugin->reason);
    return device;
}

// ---- Handshake -----------------------------------------------------------------------------

void weir__plugin_refuse(weir__plugin_t *plugin, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(plugin->reason, sizeof plugin->reason, format, arguments);
    va_end(arguments);
    plugin->usable = false;
}

bool weir__plugin_copy_sized(void *to, size_t to_bytes, const void *from, size_t from_bytes)
{
    from_bytes -= from_bytes % sizeof(void *);
    memset(to, 0, to_bytes);
    memcpy(to, from, WEIR_MIN(to_bytes, from_bytes));
    return from_bytes > sizeof(weir_head_t);
}

// Can the array be walked at all? Its elements are checked one by one.
static bool array_is_sound(weir__plugin_t *plugin, const weir_array_t *array, const char *what)
{
    if (!array->count || (array->data && array->stride >= sizeof(weir_head_t)))
        return true;
    weir__plugin_refuse(plugin, "its table of %ss is malformed (%u at %s, stride %u)", what,
        array->count, array->data ? "some address" : "no address", array->stride);
    return false;
}

static bool check_options(weir__plugin_t *plugin)
{
    const weir_array_t *array = &plugin->abi.options;
    if (!array_is_sound(plugin, array, "option"))
        return false;
    for (uint32_t i = 0; i < array->count; i++) {
        const char *from = (const char *)array->data + (size_t)i * array->stride;
        weir_option_t option;
        weir_head_t head;
        memcpy(&head, from, sizeof head);
        if (head.size > array->stride ||
            !weir__plugin_copy_sized(&option, sizeof option, from, head.size) || !option.name) {
            weir__plugin_refuse(plugin, "option %u of its table is malformed (size %u, stride %u)",
                i, head.size, array->stride);
            return false;
        }
    }
    return true;
}

static bool copy_kernels(weir__registry_t *registry, weir__plugin_t *plugin)
{
    const weir_array_t *array = &plugin->abi.kernels;
    if (!array_is_sound(plugin, array, "kernel"))
        return false;
    weir_kernel_t *kernels = weir__zone_array(&registry->zone, array->count, sizeof(weir_kernel_t));
    if (!kernels) {
        weir__plugin_refuse(plugin, "no memory for its %u kernels", array->count);
        plugin->starved = true;
        return false;
    }
    for (uint32_t i = 0; i < array->count; i++) {
        const char *from = (const char *)array->data + (size_t)i * array->stride;
        weir_head_t head;
        memcpy(&head, from, sizeof head);
        if (head.size > array->stride ||
            !weir__plugin_copy_sized(&kernels[i], sizeof kernels[i], from, head.size) ||
            !kernels[i].op || (!kernels[i].run && !plugin->device.enumerate)) {
            weir__plugin_refuse(plugin, "kernel %u of its table is malformed (size %u, stride %u)",
                i, head.size, array->stride);
            return false;
        }
        if (!kernels[i].name)
            kernels[i].name = kernels[i].op;
    }
    plugin->kernels = kernels;
    plugin->kernel_count = array->count;
    return true;
}

weir_status_t weir__registry_add_feeder(
    weir__registry_t *registry, const char *pci, const char *cpus)
{
    weir__feeder_t *feeder = weir__zone_alloc(&registry->zone, sizeof *feeder);
    if (!feeder)
        return weir__status_no_memory();
    *feeder = (weir__feeder_t){.next = registry->feeders,
        .pci = weir__zone_string(&registry->zone, pci, strlen(pci)),
        .cpus = weir__zone_string(&registry->zone, cpus, strlen(cpus))};
    if (!feeder->pci || !feeder->cpus)
        return weir__status_no_memory();
    registry->feeders = feeder;
    return NULL;
}

static bool name_is_valid(const char *name)
{
    size_t length = strnlen(name, sizeof(((weir__plugin_t *)0)->name));
    if (!length || length >= sizeof(((weir__plugin_t *)0)->name))
        return false;
    for (size_t i = 0; i < length; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789_", name[i]))
            return false;
    return true;
}

// From the plugin's table to a checked copy. Leaves the reason when it is refused.
static void shake_hands(
    weir__registry_t *registry, weir__plugin_t *plugin, weir__plugin_entry_t entry)
{
    const weir_plugin_t *theirs = entry(&plugin->host.abi);
    if (!theirs) {
        char why[160];
        weir__host_take_failure(&plugin->host, why, sizeof why);
        weir__plugin_refuse(
            plugin, "weir_plugin_v0 gave no table: %s", why[0] ? why : "it does not say why");
        return;
    }
    weir_plugin_head_t head;
    memcpy(&head, theirs, sizeof head);
    if (head.header_hash != WEIR_PLUGIN_HEADER_HASH) {
        weir__plugin_refuse(plugin,
            "built from another weir/plugin.h (hash %016llx, this engine has %016llx): rebuild it "
            "against this version",
            (unsigned long long)head.header_hash, (unsigned long long)WEIR_PLUGIN_HEADER_HASH);
        return;
    }
    weir__plugin_copy_sized(&plugin->abi, sizeof plugin->abi, theirs, head.size);
    plugin->introduced = true;
    if (!plugin->abi.name || !name_is_valid(plugin->abi.name)) {
        weir__plugin_refuse(plugin, "its name must be 1 to 31 characters of a-z, 0-9 and _");
        return;
    }
    snprintf(plugin->name, sizeof plugin->name, "%s", plugin->abi.name);
    if (plugin->abi.device) {
        weir_head_t device_head;
        memcpy(&device_head, plugin->abi.device, sizeof device_head);
        weir__plugin_copy_sized(
            &plugin->device, sizeof plugin->device, plugin->abi.device, device_head.size);
    }
    plugin->usable = check_options(plugin) && copy_kernels(registry, plugin) &&
                     weir__operators_copy(registry, plugin);
}

static void probe(weir__plugin_t *plugin)
{
    if (!plugin->usable || !plugin->abi.probe)
        return;
    weir_support_t answer = {.head = WEIR_HEAD(weir_support_t)};
    weir_code_t code = plugin->abi.probe(&plugin->host.abi, &answer);
    answer.reason[sizeof answer.reason - 1] = '\0';
    snprintf(plugin->reason, sizeof plugin->reason, "%s", answer.reason);
    plugin->usable = code == WEIR_OK;
}

// ---- Files -----------------------------------------------------------------------------------

// A plugin is code: it must belong to root or to us, and nobody else may be able to write it; who
// is in its group is not looked up.
static bool is_trusted(weir__plugin_t *plugin)
{
    struct stat info;
    // The loader would look for a bare name in folders of its own, not where stat() looks.
    if (!strchr(plugin->path, '/')) {
        weir__plugin_refuse(
            plugin, "not loaded: write ./%s if it lies in the working directory", plugin->path);
        return false;
    }
    if (stat(plugin->path, &info) != 0) {
        weir__plugin_refuse(plugin, "cannot be opened: check the path");
        return false;
    }
    // A group that is our own is how a umask of 002 leaves what we build.
    bool foreign_group = (info.st_mode & S_IWGRP) && info.st_gid != 0 && info.st_gid != getegid();
    if (!S_ISREG(info.st_mode) || (info.st_uid != 0 && info.st_uid != geteuid()) || foreign_group ||
        (info.st_mode & S_IWOTH)) {
        weir__plugin_refuse(plugin,
            "not loaded: it must be a file of yours or root's that other groups and others cannot "
            "write (chmod go-w)");
        return false;
    }
    return true;
}

static bool is_known(const weir__registry_t *registry, const weir__plugin_t *plugin)
{
    for (uint32_t i = 0; i < registry->plugin_count; i++)
        if (registry->plugins[i] != plugin && registry->plugins[i]->usable &&
            strcmp(registry->plugins[i]->name, plugin->name) == 0)
            return true;
    return false;
}

// The name to show for a plugin that never told its own: weir_NAME.so.
static void name_from_path(weir__plugin_t *plugin)
{
    const char *base = strrchr(plugin->path, '/');
    base = base ? base + 1 : plugin->path;
    if (strncmp(base, "weir_", 5) == 0)
        base += 5;
    snprintf(plugin->name, sizeof plugin->name, "%.*s", (int)strcspn(base, "."), base);
}

static weir_status_t load_file(weir__registry_t *registry, const char *path)
{
    weir__plugin_t *plugin = add_plugin(registry, path);
    if (!plugin)
        return weir__status_no_memory();
    name_from_path(plugin);
    if (!is_trusted(plugin))
        return NULL;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        const char *why = dlerror();
        weir__plugin_refuse(plugin, "cannot be loaded: %s", why ? why : "unknown error");
        return NULL;
    }
    void *symbol = dlsym(handle, "weir_plugin_v0");
    weir__plugin_entry_t entry;
    memcpy(&entry, &symbol, sizeof entry); // a function pointer, as POSIX promises
    if (!entry) {
        weir__plugin_refuse(plugin, "not a weir plugin: it does not export weir_plugin_v0");
        return NULL;
    }
    shake_hands(registry, plugin, entry);
    if (plugin->usable && is_known(registry, plugin))
        weir__plugin_refuse(plugin, "another plugin named \"%s\" was found first", plugin->name);
    return NULL;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static weir_status_t load_folder(weir__registry_t *registry, const char *folder)
{
    DIR *directory = opendir(folder);
    if (!directory) {
        if (errno != ENOENT)
            weir__log(registry->log, WEIR_LOG_WARNING, "plugin", "folder %s is not read: %s",
                folder, strerror(errno));
        return NULL;
    }
    char *names[256];
    uint32_t count = 0;
    bool enough_memory = true;
    for (struct dirent *entry;
         enough_memory && count < 256 && (entry = readdir(directory)) != NULL;) {
        size_t length = strlen(entry->d_name);
        if (length <= 8 || strncmp(entry->d_name, "weir_", 5) != 0 ||
            strcmp(entry->d_name + length - 3, ".so") != 0)
            continue;
        names[count] = weir__zone_format(&registry->zone, "%s/%s", folder, entry->d_name);
        enough_memory = names[count++] != NULL;
    }
    closedir(directory);
    if (!enough_memory)
        return weir__status_no_memory();
    qsort(names, count, sizeof names[0], compare_names); // the same order on every machine
    for (uint32_t i = 0; i < count; i++)
        WEIR_TRY(load_file(registry, names[i]));
    return NULL;
}

static weir_status_t load_search_path(weir__registry_t *registry, const char *search_path)
{
    while (search_path && *search_path) {
        size_t length = strcspn(search_path, ":");
        char *entry = weir__zone_string(&registry->zone, search_path, length);
        if (!entry)
            return weir__status_no_memory();
        struct stat info;
        if (length && stat(entry, &info) == 0 && S_ISDIR(info.st_mode))
            WEIR_TRY(load_folder(registry, entry));
        else if (length)
            WEIR_TRY(load_file(registry, entry));
        search_path += length + (search_path[length] == ':');
    }
    return NULL;
}

// weir/ beside the library itself: the same below a build folder and an install prefix.
static weir_status_t load_installed(weir__registry_t *registry)
{
    Dl_info info;
    if (!dladdr((void *)(uintptr_t)weir__registry_init, &info) || !info.dli_fname)
        return NULL;
    char path[PATH_MAX];
    if (!realpath(info.dli_fname, path))
        return NULL;
    char *slash = strrchr(path, '/');
    if (!slash)
        return NULL;
    *slash = '\0';
    char *folder = weir__zone_format(&registry->zone, "%s/weir", path);
    return folder ? load_folder(registry, folder) : weir__status_no_memory();
}

// ---- Devices ---------------------------------------------------------------------------------

// Why a device with this table and these flags cannot be used; NULL: it can.
static const char *lacks(const weir__plugin_t *plugin, uint32_t flags)
{
    const weir_device_table_t *table = &plugin->device;
    bool launches = table->compile && table->specialize && table->launch;
    if (!table->open || !table->close || (!launches && !table->execute))
        return "its table has neither execute() nor compile(), specialize() and launch()";
    if (!table->claim && !plugin->kernel_count)
        return "it has no claim() and its plugin has no kernels";
    if (!(flags & WEIR_DEVICE_HOST_MEMORY) &&
        (!table->alloc || !table->free || !table->copy || !table->queue_create))
        return "it has memory of its own, but not all of alloc(), free(), copy() and "
               "queue_create()";
    return NULL;
}

// Are there kernels that the engine itself can run, on host memory?
static bool has_host_kernels(const weir__plugin_t *plugin)
{
    for (uint32_t i = 0; i < plugin->kernel_count; i++)
        if (plugin->kernels[i].run)
            return true;
    return false;
}

// "cuda", "cuda:1" …; a plugin that is a host device of that name as well has "example:0".
static weir_status_t add_programs(weir__registry_t *registry, weir__plugin_t *plugin)
{
    for (uint32_t i = 0; i < 64; i++) {
        weir_device_info_t info = {.head = WEIR_HEAD(weir_device_info_t)};
        if (plugin->device.enumerate(&plugin->host.abi, i, &info) != WEIR_OK)
            return NULL;
        char name[64];
        snprintf(
            name, sizeof name, i || has_host_kernels(plugin) ? "%s:%u" : "%s", plugin->name, i);
        const char *why_not = lacks(plugin, info.head.flags);
        weir__device_t *device = add_device(registry, plugin, name, !why_not);
        if (!device)
            return weir__status_no_memory();
        device->programs = true;
        device->own_memory = !(info.head.flags & WEIR_DEVICE_HOST_MEMORY);
        device->on_request = (info.head.flags & WEIR_DEVICE_ON_REQUEST) != 0;
        device->stepwise = !(plugin->device.compile && plugin->device.launch);
        device->index = i;
        info.name[sizeof info.name - 1] = info.arch[sizeof info.arch - 1] = '\0';
        info.pci[sizeof info.pci - 1] = '\0';
        memcpy(device->arch, info.arch, sizeof device->arch);
        memcpy(device->pci, info.pci, sizeof device->pci);
        const char *more = why_not ? why_not : plugin->reason; // what probe() says besides
        snprintf(device->text, sizeof device->text, more[0] ? "%s: %s" : "%s", info.name, more);
    }
    return NULL;
}

static uint32_t rank(const weir__device_t *device)
{
    return !device->usable ? 2 : device->on_request;
}

// What has to be named comes late, what cannot be used last; otherwise the order stays.
static void put_best_first(weir__registry_t *registry)
{
    for (uint32_t i = 1; i < registry->device_count; i++) {
        weir__device_t device = registry->devices[i];
        uint32_t to = i;
        for (; to && rank(&registry->devices[to - 1]) > rank(&device); to--)
            registry->devices[to] = registry->devices[to - 1];
        registry->devices[to] = device;
    }
}

static weir_status_t list_devices(weir__registry_t *registry)
{
    for (int programs = 1; programs >= 0; programs--)
        for (uint32_t i = 1; i < registry->plugin_count; i++) {
            weir__plugin_t *plugin = registry->plugins[i];
            if (!plugin->usable || (plugin->device.enumerate != NULL) != programs)
                continue;
            if (programs)
                WEIR_TRY(add_programs(registry, plugin));
            if ((!programs || has_host_kernels(plugin)) &&
                !add_device(registry, plugin, plugin->name, true))
                return weir__status_no_memory();
        }
    // The plugin that is linked in is the device of last resort.
    if (!add_device(registry, registry->plugins[0], registry->plugins[0]->name, true))
        return weir__status_no_memory();
    for (uint32_t i = 1; i < registry->plugin_count; i++)
        if (!registry->plugins[i]->usable &&
            !add_device(registry, registry->plugins[i], registry->plugins[i]->name, false))
            return weir__status_no_memory();
    put_best_first(registry);
    return NULL;
}

weir_status_t weir__registry_load(weir__registry_t *registry, weir__plugin_entry_t linked_in,
    const char *search_path, const char *options)
{
    registry->option_text = options;
    weir__plugin_t *ref = add_plugin(registry, "");
    if (!ref)
        return weir__status_no_memory();
    shake_hands(registry, ref, linked_in);
    if (ref->starved)
        return weir__status_no_memory();
    if (!ref->usable)
        return WEIR_ERR(WEIR_INTERNAL, "the linked-in plugin is refused: %s", ref->reason);
    WEIR_TRY(load_search_path(registry, search_path));
    WEIR_TRY(load_installed(registry));
    WEIR_TRY(weir__options_apply(registry, options));
    for (uint32_t i = 0; i < registry->plugin_count; i++)
        probe(registry->plugins[i]);
    weir__operators_settle(registry);
    for (uint32_t i = 0; i < registry->plugin_count; i++) {
        if (!registry->plugins[i]->usable)
            weir__log(registry->log, WEIR_LOG_WARNING, "plugin", "%s is not used: %s",
                registry->plugins[i]->path, registry->plugins[i]->reason);
    }
    return list_devices(registry);
}

void weir__registry_free(weir__registry_t *registry)
{
    weir__devices_free(registry);
    for (uint32_t i = 0; i < registry->plugin_count; i++) {
        weir__plugin_t *plugin = registry->plugins[i];
        // Also of one refused later: its entry may have taken something already.
        if (plugin->introduced && plugin->abi.shutdown)
            plugin->abi.shutdown(&plugin->host.abi);
        weir__host_free(&plugin->host);
        weir__heap_free(registry->heap, plugin);
    }
    weir__traces_free(&registry->traces);
    weir__heap_free(registry->heap, registry->plugins);
    weir__heap_free(registry->heap, registry->devices);
    weir__zone_free(&registry->zone);
    pthread_mutex_destroy(&registry->lock);
    pthread_mutex_destroy(&registry->opening);
}

// "cuda" is "cuda:0", and the other way round.
static bool is_named(const weir__device_t *device, const char *name, size_t length)
{
    if (strlen(device->name) == length && strncmp(device->name, name, length) == 0)
        return true;
    size_t plugin = strlen(device->plugin->name);
    return device->programs && device->index == 0 && !strchr(device->name, ':') &&
           length == plugin + 2 && strncmp(name, device->plugin->name, plugin) == 0 &&
           strncmp(name + plugin, ":0", 2) == 0;
}

weir_status_t weir__registry_device(
    weir__registry_t *registry, const char *name, size_t name_length, weir__device_t **out_device)
{
    char names[256] = "";
    for (uint32_t i = 0; i < registry->device_count; i++) {
        weir__device_t *device = &registry->devices[i];
        if (is_named(device, name, name_length)) {
            if (!device->usable)
                return WEIR_ERR(WEIR_UNAVAILABLE,
                    "device \"%s\" cannot be used: %s (%s); `weir devices` lists those that can",
                    device->name, device->plugin->reason[0] ? device->plugin->reason : device->text,
                    device->plugin->path);
            *out_device = device;
            return NULL;
        }
        if (device->usable)
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s",
                names[0] ? ", " : "", device->name);
    }
    return WEIR_ERR(WEIR_NOT_FOUND,
        "device \"%.*s\": no plugin offers it (there are: %s); put weir_%.*s.so on "
        "WEIR_PLUGIN_PATH, or "
        "name another device",
        (int)name_length, name, names, (int)strcspn(name, ":,"), name);
}

weir_status_t weir__plugin_status(weir__plugin_t *plugin, weir_code_t code, const char *call)
{
    if (code == WEIR_OK)
        return NULL;
    char why[256];
    weir__host_take_failure(&plugin->host, why, sizeof why);
    return WEIR_ERR(code, "plugin \"%s\": %s failed: %s", plugin->name, call,
        why[0] ? why : weir_code_name(code));
}
