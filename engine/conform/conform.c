// engine/conform/conform.c: which groups a plugin gets, and their order.
//
// A first child loads the plugin and leaves the list of its kernels; from then on each group is a
// child that loads it anew.
#include "engine/conform/conform.h"

#include "engine/conform/child.h"
#include "engine/conform/device.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct kind {
    const char *suffix;
    weir__kit_check_t check;
    uint32_t limit;
    bool every_dtype; // or the first of them only
    uint32_t flags;   // that the kernel must have
    bool needs_packing, needs_formats;
    bool needs_reference;                                  // not for operators of the plugin's own
    bool needs_artifacts, needs_records, needs_own_memory; // of a device
} kind_t;

static const kind_t kinds[] = {
    {.suffix = "",
        .check = weir__kit_check_values,
        .limit = 40,
        .every_dtype = true,
        .needs_reference = true},
    {.suffix = " supports", .check = weir__kit_check_supports, .limit = 20},
    {.suffix = " tasks in random order", .check = weir__kit_check_tasks, .limit = 6},
    {.suffix = " tasks on threads", .check = weir__kit_check_threads, .limit = 5},
    {.suffix = " two nodes at once", .check = weir__kit_check_states, .limit = 12},
    {.suffix = " steady", .check = weir__kit_check_steady, .limit = 4},
    {.suffix = " in place",
        .check = weir__kit_check_in_place,
        .limit = 20,
        .flags = WEIR_KERNEL_INPLACE,
        .needs_reference = true},
    {.suffix = " packed constants",
        .check = weir__kit_check_packing,
        .limit = 25,
        .needs_packing = true,
        .needs_reference = true},
    {.suffix = " with an epilogue",
        .check = weir__kit_check_epilogue,
        .limit = 30,
        .flags = WEIR_KERNEL_EPILOGUE,
        .needs_reference = true},
    {.suffix = " with a prologue",
        .check = weir__kit_check_prologue,
        .limit = 30,
        .flags = WEIR_KERNEL_PROLOGUE,
        .needs_reference = true},
    {.suffix = " in blocked formats",
        .check = weir__kit_check_formats,
        .limit = 25,
        .needs_formats = true,
        .needs_reference = true},
};

// Of an operator that the plugin declares, before those of `kinds` that need no reference.
static const kind_t custom_kinds[] = {
    {.suffix = " infer()", .check = weir__kit_check_infer, .limit = 40},
    {.suffix = " run again", .check = weir__kit_check_again, .limit = 40, .every_dtype = true},
};

// Of a device, whatever it computes.
static const kind_t device_kinds[] = {
    {.suffix = "device: opening", .check = weir__kit_check_device_open, .limit = 1},
    {.suffix = "device: memory",
        .check = weir__kit_check_device_memory,
        .limit = 1,
        .needs_own_memory = true},
    {.suffix = "device: copies",
        .check = weir__kit_check_device_copies,
        .limit = 20,
        .needs_own_memory = true},
    {.suffix = "device: queues",
        .check = weir__kit_check_device_queues,
        .limit = 1,
        .needs_own_memory = true},
};

// Of a node on a device: each kernel of a plugin with a device, or each operator that it claims.
static const kind_t node_kinds[] = {
    {.suffix = " on the device",
        .check = weir__kit_check_device_values,
        .limit = 20,
        .every_dtype = true,
        .needs_reference = true},
    {.suffix = " on the device, steady", .check = weir__kit_check_device_steady, .limit = 1},
    {.suffix = " on the device, saved and loaded",
        .check = weir__kit_check_device_artifacts,
        .limit = 2,
        .needs_artifacts = true},
    {.suffix = " on the device, recorded",
        .check = weir__kit_check_device_records,
        .limit = 4,
        .needs_reference = true,
        .needs_records = true},
    {.suffix = " on the device, released under way",
        .check = weir__kit_check_device_release,
        .limit = 2},
};

static const kind_t score = {.suffix = "", .check = weir__kit_check_perf, .limit = 1};

typedef struct run {
    const weir__conform_options_t *options;
    weir__conform_report_t report;
    void *user;
    weir__conform_totals_t *totals;
    weir__kit_progress_t *progress; // shared with the child
    weir__kit_progress_t *list;     // what the first child said
    uint32_t group_count;           // that the filter lets through, before shards
    weir_code_t code;
} run_t;

// Asked once for each group: shards count them.
static bool is_wanted(run_t *run, const char *name)
{
    const weir__conform_options_t *options = run->options;
    if (options->filter && !strstr(name, options->filter))
        return false;
    const uint32_t number = run->group_count++;
    return options->shard_count < 2 || number % options->shard_count == options->shard;
}

static void tell(run_t *run, const char *name, const weir__kit_progress_t *progress)
{
    weir__conform_group_t group = {.name = name,
        .case_count = progress->run_count ? progress->run_count : progress->case_count,
        .which = progress->which,
        .what = progress->what};
    if (progress->has_failed) {
        group.outcome = WEIR__CONFORM_FAIL;
        run->totals->failed++;
    } else if (!progress->run_count) {
        group.outcome = WEIR__CONFORM_UNSUPPORTED;
        run->totals->unsupported++;
    } else {
        group.outcome = WEIR__CONFORM_PASS;
        run->totals->passed++;
    }
    run->report(run->user, &group);
}

static void run_group(run_t *run, const kind_t *kind, uint32_t kernel, weir_dtype_t dtype)
{
    const weir__kit_row_t *row = &run->list->rows[kernel];
    char name[200];
    bool has_name = strcmp(row->op, row->name) != 0;
    snprintf(name, sizeof name, "%s%s%s%s %s%s", row->op, has_name ? " (" : "",
        has_name ? row->name : "", has_name ? ")" : "", weir__kit_dtype_name(dtype), kind->suffix);
    if (!is_wanted(run, name))
        return;
    uint32_t limit = run->options->case_count ? run->options->case_count : kind->limit;
    weir__kit_job_t job = {.options = run->options,
        .name = name,
        .check = kind->check,
        .kernel = kernel,
        .dtype = dtype,
        .case_limit = WEIR_MIN(limit, 100000)};
    run->code = weir__kit_child_run(&job, run->progress);
    if (run->code == WEIR_OK)
        tell(run, name, run->progress);
}

static bool fits_device(const kind_t *kind, const weir__kit_progress_t *list)
{
    return (!kind->needs_artifacts || list->saves) && (!kind->needs_records || list->records) &&
           (!kind->needs_own_memory || list->has_own_memory);
}

static bool applies(const kind_t *kind, const weir__kit_row_t *row)
{
    return (row->flags & kind->flags) == kind->flags && (!kind->needs_packing || row->packs) &&
           !(kind->needs_reference && row->is_custom && !row->is_known) &&
           (!kind->needs_formats ||
               ((row->input_formats | row->output_formats) & WEIR_FORMAT_BIT(WEIR_FORMAT_NCHW16C)));
}

static void run_kinds(
    run_t *run, uint32_t kernel, weir_dtype_t dtypes, const kind_t *list, size_t count)
{
    const weir__kit_row_t *row = &run->list->rows[kernel];
    for (size_t k = 0; k < count; k++) {
        bool is_first = true;
        for (weir_dtype_t dtype = WEIR_F32; dtype <= WEIR_BOOL && run->code == WEIR_OK;
             dtype <<= 1) {
            if (!(dtypes & dtype) || !applies(&list[k], row) || !fits_device(&list[k], run->list) ||
                (!is_first && !list[k].every_dtype))
                continue;
            is_first = false;
            run_group(run, &list[k], kernel, dtype);
        }
    }
}

static void run_kernel(run_t *run, uint32_t kernel)
{
    const weir__kit_row_t *row = &run->list->rows[kernel];
    const weir__kit_operator_t *operator_ = weir__kit_operator(row->op);
    weir_dtype_t dtypes = row->dtypes ? row->dtypes : UINT32_MAX;
    if (!operator_ && (!row->is_custom || run->options->is_perf)) {
        weir__kit_progress_t none = {.case_count = 0};
        if (!run->options->is_perf && is_wanted(run, row->op))
            tell(run, row->op, &none);
        return;
    }
    bool on_device = run->list->has_device && !run->list->is_claiming && !run->options->is_perf;
    if (operator_)
        dtypes &= operator_->dtypes;
    if (on_device)
        run_kinds(run, kernel, dtypes, node_kinds, sizeof node_kinds / sizeof node_kinds[0]);
    if (!row->runs)
        return;
    if (!operator_)
        run_kinds(run, kernel, dtypes, custom_kinds, sizeof custom_kinds / sizeof custom_kinds[0]);
    if (run->options->is_perf)
        run_kinds(run, kernel, dtypes, &score, 1);
    else
        run_kinds(run, kernel, dtypes, kinds, sizeof kinds / sizeof kinds[0]);
}

// A group of no kernel: of the device itself, or of an operator that it may claim.
static void run_device_group(
    run_t *run, const kind_t *kind, const weir__kit_operator_t *operator_, weir_dtype_t dtype)
{
    char name[200];
    snprintf(name, sizeof name, "%s%s%s%s", operator_ ? operator_->op : "", operator_ ? " " : "",
        operator_ ? weir__kit_dtype_name(dtype) : "", kind->suffix);
    if (!fits_device(kind, run->list) || !is_wanted(run, name))
        return;
    uint32_t limit = run->options->case_count ? run->options->case_count : kind->limit;
    weir__kit_job_t job = {.options = run->options,
        .name = name,
        .check = kind->check,
        .kernel = UINT32_MAX,
        .operator_ = operator_,
        .dtype = dtype,
        .case_limit = WEIR_MIN(limit, 100000)};
    run->code = weir__kit_child_run(&job, run->progress);
    if (run->code == WEIR_OK)
        tell(run, name, run->progress);
}

static void run_claimed(run_t *run, const weir__kit_operator_t *operator_)
{
    for (size_t k = 0; k < sizeof node_kinds / sizeof node_kinds[0]; k++) {
        bool is_first = true;
        for (weir_dtype_t dtype = WEIR_F32; dtype <= WEIR_BOOL && run->code == WEIR_OK;
             dtype <<= 1) {
            if (!(operator_->dtypes & dtype) || (!is_first && !node_kinds[k].every_dtype))
                continue;
            is_first = false;
            run_device_group(run, &node_kinds[k], operator_, dtype);
        }
    }
}

static void run_device(run_t *run)
{
    for (size_t k = 0; k < sizeof device_kinds / sizeof device_kinds[0] && run->code == WEIR_OK;
         k++)
        run_device_group(run, &device_kinds[k], NULL, 0);
    const weir__kit_operator_t *operator_;
    for (uint32_t i = 0; run->list->is_claiming && run->code == WEIR_OK &&
                         (operator_ = weir__kit_operator_at(i)) != NULL;
         i++)
        run_claimed(run, operator_);
}

static void *shared_memory(void)
{
    void *memory = mmap(NULL, 2 * sizeof(weir__kit_progress_t), PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

// Whether there is a file to load at all: everything else is for a child to find out.
static weir_code_t check_path(const char *path, char *out_error, uint32_t error_bytes)
{
    struct stat info;
    if (strcmp(path, "ref") == 0)
        return WEIR_OK;
    if (!strchr(path, '/')) {
        snprintf(out_error, error_bytes,
            "%s: a plugin is a path: write ./%s if it lies in the working directory", path, path);
        return WEIR_INVALID_ARGUMENT;
    }
    if (access(path, R_OK) != 0 || stat(path, &info) != 0) {
        snprintf(out_error, error_bytes, "%s: cannot be read: check the path", path);
        return WEIR_NOT_FOUND;
    }
    if (!S_ISREG(info.st_mode)) {
        snprintf(out_error, error_bytes, "%s: not a regular file: give the plugin's .so", path);
        return WEIR_INVALID_ARGUMENT;
    }
    return WEIR_OK;
}

weir_code_t weir__conform_run(const weir__conform_options_t *options, weir__conform_report_t report,
    void *user, weir__conform_totals_t *out_totals, char *out_error, uint32_t error_bytes)
{
    *out_totals = (weir__conform_totals_t){0};
    const weir_code_t code = check_path(options->plugin, out_error, error_bytes);
    if (code != WEIR_OK)
        return code;
    run_t run = {.options = options, .report = report, .user = user, .totals = out_totals};
    weir__kit_progress_t *memory = shared_memory();
    if (!memory) {
        snprintf(out_error, error_bytes, "no memory to share with the children");
        return WEIR_RESOURCE_EXHAUSTED;
    }
    run.list = &memory[0];
    run.progress = &memory[1];
    weir__kit_job_t load = {.options = options, .name = "load"};
    run.code = weir__kit_child_run(&load, run.list);
    const bool tells_load = !options->is_perf && is_wanted(&run, "load");
    if (run.code == WEIR_OK && (tells_load || run.list->has_failed))
        tell(&run, "load", run.list);
    if (run.code == WEIR_OK && run.list->has_device && !options->is_perf)
        run_device(&run);
    for (uint32_t i = 0; run.code == WEIR_OK && i < run.list->row_count; i++)
        run_kernel(&run, i);
    if (run.code != WEIR_OK)
        snprintf(out_error, error_bytes, "no child process can be started");
    munmap(memory, 2 * sizeof *memory);
    return run.code;
}
