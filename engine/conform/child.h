// engine/conform/child.h: one group in a process of its own.
#ifndef WEIR_CONFORM_CHILD_H
#define WEIR_CONFORM_CHILD_H

#include "engine/conform/conform.h"
#include "engine/conform/kit.h"

typedef struct weir__kit_job {
    const weir__conform_options_t *options;
    const char *name;        // of the group; with the seed it says which cases are made
    weir__kit_check_t check; // NULL: weir__kit_check_load
    uint32_t kernel;         // its number in the plugin's table; UINT32_MAX: of none
    const weir__kit_operator_t *operator_; // for a group of no kernel; NULL: for no node either
    weir_dtype_t dtype;
    uint32_t case_limit;
} weir__kit_job_t;

// Forks, runs the group, waits. However the child ends, `progress` (shared memory) says what
// happened. Errors: RESOURCE_EXHAUSTED when there is no child.
weir_code_t weir__kit_child_run(const weir__kit_job_t *job, weir__kit_progress_t *progress);

#endif
