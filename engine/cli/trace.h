// Profiled runs as trace events, for Perfetto and Chrome's tracing page.
#ifndef WEIR_CLI_TRACE_H
#define WEIR_CLI_TRACE_H

#include "engine/cli/steps.h"

// Writes one complete event for each run and each of its steps: devices are threads of the picture.
weir_code_t weir__cli_trace_write(
    const char *path, const char *model, const weir__cli_steps_t *steps, weir__cli_fault_t *fault);

#endif
