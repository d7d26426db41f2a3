// engine/conform/hooks.c: what a plugin calls of the C library, seen from outside.
//
// The plugin's own import table is pointed at wrappers that count and go on to the real function.
// So only calls of the plugin itself are seen, and nothing in it has to be built for that. State is
// static: wrappers get no pointer, and a child tests one plugin.
#include "engine/conform/kit.h"

#include <dlfcn.h>
#include <link.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static _Thread_local bool is_watching;
static _Atomic(const char *) seen;
static atomic_llong balance;
static atomic_uint threads;
static bool are_locks_allowed;

void weir__kit_hooks_watch(bool is_on)
{
    is_watching = is_on;
}

void weir__kit_hooks_note(const char *name)
{
    const char *none = NULL;
    if (is_watching)
        atomic_compare_exchange_strong(&seen, &none, name);
}

void weir__kit_hooks_allow_locks(bool is_allowed)
{
    are_locks_allowed = is_allowed;
}

const char *weir__kit_hooks_seen(void)
{
    return atomic_exchange(&seen, NULL);
}

int64_t weir__kit_hooks_balance(void)
{
    return atomic_load(&balance);
}

uint32_t weir__kit_hooks_threads(void)
{
    return atomic_load(&threads);
}

// ---- The wrappers
// ----------------------------------------------------------------------------------

static void *hook_malloc(size_t bytes)
{
    weir__kit_hooks_note("malloc");
    void *memory = malloc(bytes);
    atomic_fetch_add(&balance, memory != NULL);
    return memory;
}

static void *hook_calloc(size_t count, size_t bytes)
{
    weir__kit_hooks_note("calloc");
    void *memory = calloc(count, bytes);
    atomic_fetch_add(&balance, memory != NULL);
    return memory;
}

static void *hook_realloc(void *old, size_t bytes)
{
    weir__kit_hooks_note("realloc");
    bool had = old != NULL;
    void *memory = realloc(old, bytes);
    atomic_fetch_add(&balance, (memory != NULL) && !had);
    return memory;
}

static int hook_posix_memalign(void **out, size_t alignment, size_t bytes)
{
    weir__kit_hooks_note("posix_memalign");
    int code = posix_memalign(out, alignment, bytes);
    atomic_fetch_add(&balance, code == 0);
    return code;
}

static void *hook_aligned_alloc(size_t alignment, size_t bytes)
{
    weir__kit_hooks_note("aligned_alloc");
    void *memory = aligned_alloc(alignment, bytes);
    atomic_fetch_add(&balance, memory != NULL);
    return memory;
}

static void hook_free(void *memory)
{
    weir__kit_hooks_note("free");
    atomic_fetch_sub(&balance, memory != NULL);
    free(memory);
}

static void *hook_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset)
{
    weir__kit_hooks_note("mmap");
    return mmap(at, bytes, protection, flags, file, offset);
}

static int hook_pthread_create(
    pthread_t *out, const pthread_attr_t *attributes, void *(*body)(void *), void *user)
{
    weir__kit_hooks_note("pthread_create");
    atomic_fetch_add(&threads, 1);
    return pthread_create(out, attributes, body, user);
}

static int hook_mutex_lock(pthread_mutex_t *mutex)
{
    if (!are_locks_allowed)
        weir__kit_hooks_note("pthread_mutex_lock");
    return pthread_mutex_lock(mutex);
}

static int hook_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    weir__kit_hooks_note("pthread_cond_wait");
    return pthread_cond_wait(condition, mutex);
}

static int hook_cond_timedwait(
    pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until)
{
    weir__kit_hooks_note("pthread_cond_timedwait");
    return pthread_cond_timedwait(condition, mutex, until);
}

static int hook_sem_wait(sem_t *semaphore)
{
    weir__kit_hooks_note("sem_wait");
    return sem_wait(semaphore);
}

static int hook_nanosleep(const struct timespec *wanted, struct timespec *out_left)
{
    weir__kit_hooks_note("nanosleep");
    return nanosleep(wanted, out_left);
}

static int hook_usleep(useconds_t us)
{
    weir__kit_hooks_note("usleep");
    return usleep(us);
}

static unsigned hook_sleep(unsigned seconds)
{
    weir__kit_hooks_note("sleep");
    return sleep(seconds);
}

typedef struct hook {
    const char *name;
    void (*function)(void);
} hook_t;

#define HOOK(name, function)                                                                       \
    {                                                                                              \
        name, (void (*)(void))function                                                             \
    }
static const hook_t hooks[] = {
    HOOK("malloc", hook_malloc),
    HOOK("calloc", hook_calloc),
    HOOK("realloc", hook_realloc),
    HOOK("posix_memalign", hook_posix_memalign),
    HOOK("aligned_alloc", hook_aligned_alloc),
    HOOK("free", hook_free),
    HOOK("mmap", hook_mmap),
    HOOK("pthread_create", hook_pthread_create),
    HOOK("pthread_mutex_lock", hook_mutex_lock),
    HOOK("pthread_cond_wait", hook_cond_wait),
    HOOK("pthread_cond_timedwait", hook_cond_timedwait),
    HOOK("sem_wait", hook_sem_wait),
    HOOK("nanosleep", hook_nanosleep),
    HOOK("usleep", hook_usleep),
    HOOK("sleep", hook_sleep),
};

// ---- The import table
// ------------------------------------------------------------------------------

typedef struct imports {
    uintptr_t base;
    const ElfW(Sym) * symbols;
    const char *strings;
} imports_t;

static void patch(const imports_t *imports, const ElfW(Rela) * entry)
{
    const ElfW(Sym) *symbol = &imports->symbols[ELF64_R_SYM(entry->r_info)];
    const char *name = imports->strings + symbol->st_name;
    void **slot = (void **)(imports->base + entry->r_offset);
    for (size_t i = 0; i < sizeof hooks / sizeof hooks[0]; i++) {
        if (symbol->st_shndx != SHN_UNDEF || strcmp(hooks[i].name, name) != 0)
            continue;
        uintptr_t page = (uintptr_t)slot & ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1);
        if (mprotect((void *)page, (uintptr_t)slot + sizeof *slot - page, PROT_READ | PROT_WRITE))
            return;
        memcpy(slot, &hooks[i].function, sizeof *slot);
    }
}

static void patch_all(const imports_t *imports, const ElfW(Rela) * entries, size_t bytes)
{
    for (size_t i = 0; entries && i < bytes / sizeof *entries; i++)
        if (ELF64_R_SYM(entries[i].r_info))
            patch(imports, &entries[i]);
}

void weir__kit_hooks_install(void *handle)
{
    struct link_map *map = NULL;
    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 || !map)
        return;
    imports_t imports = {.base = map->l_addr};
    const ElfW(Rela) *calls = NULL, *data = NULL;
    size_t calls_bytes = 0, data_bytes = 0;
    for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == DT_SYMTAB)
            imports.symbols = (const ElfW(Sym) *)entry->d_un.d_ptr;
        else if (entry->d_tag == DT_STRTAB)
            imports.strings = (const char *)entry->d_un.d_ptr;
        else if (entry->d_tag == DT_JMPREL)
            calls = (const ElfW(Rela) *)entry->d_un.d_ptr;
        else if (entry->d_tag == DT_PLTRELSZ)
            calls_bytes = entry->d_un.d_val;
        else if (entry->d_tag == DT_RELA)
            data = (const ElfW(Rela) *)entry->d_un.d_ptr;
        else if (entry->d_tag == DT_RELASZ)
            data_bytes = entry->d_un.d_val;
    }
    if (!imports.symbols || !imports.strings)
        return;
    patch_all(&imports, calls, calls_bytes);
    patch_all(&imports, data, data_bytes);
}
