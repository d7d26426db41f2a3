// The writer of trace events: the "Trace Event Format", complete events (ph X), microseconds.
#include "engine/cli/trace.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "engine/cli/json.h"

enum { RUNS_LANE = 0, LANES_MAX = 32 };

typedef struct lanes {
    const char *names[LANES_MAX]; // lane 0 is the runs themselves
    bool are_inside[LANES_MAX];   // of what a device does inside a launch
    uint32_t count;
} lanes_t;

// Devices past the last lane share it.
static uint32_t lane_of(lanes_t *lanes, const char *device, bool is_inside)
{
    uint32_t at = 1;
    while (at < lanes->count &&
           (strcmp(lanes->names[at], device) != 0 || lanes->are_inside[at] != is_inside))
        at++;
    if (at == lanes->count && lanes->count < LANES_MAX) {
        lanes->are_inside[at] = is_inside;
        lanes->names[lanes->count++] = device;
    }
    return at < lanes->count ? at : lanes->count - 1;
}

// Opens an event; its "args" object is left open for the caller.
static void open_event(weir__cli_json_t *json, const char *name, const char *kind, uint32_t lane,
    const weir__cli_step_times_t *times)
{
    weir__cli_json_open(json, NULL, '{');
    weir__cli_json_text(json, "name", name);
    weir__cli_json_text(json, "cat", kind);
    weir__cli_json_text(json, "ph", "X");
    weir__cli_json_u64(json, "pid", 1);
    weir__cli_json_u64(json, "tid", lane);
    weir__cli_json_f64(json, "ts", (double)times->start_ns / 1e3, 15);
    weir__cli_json_f64(json, "dur", (double)times->duration_ns / 1e3, 15);
    weir__cli_json_open(json, "args", '{');
}

static void close_event(weir__cli_json_t *json)
{
    weir__cli_json_close(json, '}');
    weir__cli_json_close(json, '}');
    (void)fputc('\n', json->out);
}

static void put_lane_name(weir__cli_json_t *json, uint32_t lane, const char *name)
{
    weir__cli_json_open(json, NULL, '{');
    weir__cli_json_text(json, "name", "thread_name");
    weir__cli_json_text(json, "ph", "M");
    weir__cli_json_u64(json, "pid", 1);
    weir__cli_json_u64(json, "tid", lane);
    weir__cli_json_open(json, "args", '{');
    weir__cli_json_text(json, "name", name);
    close_event(json);
}

static void put_inside(weir__cli_json_t *json, const weir__cli_steps_t *steps, lanes_t *lanes)
{
    for (size_t i = 0; i < steps->inside_count; i++) {
        const weir__cli_inside_t *inside = &steps->inside[i];
        const char *device = steps->steps[inside->step].device;
        open_event(json, *inside->origins ? inside->origins : inside->op, "node",
            lane_of(lanes, device, true), &inside->times);
        weir__cli_json_text(json, "op", inside->op);
        weir__cli_json_text(json, "device", device);
        weir__cli_json_u64(json, "run", inside->run);
        weir__cli_json_u64(json, "step", inside->step);
        close_event(json);
    }
}

static void put_run(
    weir__cli_json_t *json, const weir__cli_steps_t *steps, uint32_t run, lanes_t *lanes)
{
    open_event(json, "run", "run", RUNS_LANE, &steps->runs[run]);
    weir__cli_json_u64(json, "number", run);
    close_event(json);
    for (uint32_t i = 0; i < steps->step_count; i++) {
        const weir_profile_step_t *step = &steps->steps[i];
        const weir__cli_step_times_t *times = &steps->times[(size_t)run * steps->step_count + i];
        open_event(json, *step->origins ? step->origins : step->op, "step",
            lane_of(lanes, step->device, false), times);
        weir__cli_json_text(json, "op", step->op);
        weir__cli_json_text(json, "fused", step->fused);
        weir__cli_json_text(json, "kernel", step->kernel);
        weir__cli_json_text(json, "device", step->device);
        weir__cli_json_text(json, "shape", step->shape);
        weir__cli_json_u64(json, "flop", step->flop);
        weir__cli_json_u64(json, "bytes", step->bytes);
        close_event(json);
    }
}

weir_code_t weir__cli_trace_write(
    const char *path, const char *model, const weir__cli_steps_t *steps, weir__cli_fault_t *fault)
{
    FILE *out = fopen(path, "we");
    if (!out)
        return weir__cli_fault_set(fault, weir__cli_fault_errno_code(errno),
            "%s cannot be written: %s; choose another file with --trace", path, strerror(errno));
    weir__cli_json_t json = {.out = out};
    lanes_t lanes = {.names = {model}, .count = 1};
    weir__cli_json_open(&json, NULL, '{');
    weir__cli_json_text(&json, "displayTimeUnit", "ns");
    weir__cli_json_open(&json, "traceEvents", '[');
    for (uint32_t run = 0; run < steps->run_count; run++)
        put_run(&json, steps, run, &lanes);
    put_inside(&json, steps, &lanes);
    for (uint32_t lane = 0; lane < lanes.count; lane++) {
        char name[256];
        (void)snprintf(name, sizeof(name), "%s%s", lanes.names[lane],
            lanes.are_inside[lane] ? ", inside its launches" : "");
        put_lane_name(&json, lane, name);
    }
    weir__cli_json_close(&json, ']');
    weir__cli_json_close(&json, '}');
    errno = 0;
    const bool is_bad = fflush(out) != 0 || ferror(out);
    const int error = errno;
    if (fclose(out) == 0 && !is_bad)
        return WEIR_OK;
    (void)remove(path);
    return weir__cli_fault_set(fault, weir__cli_fault_errno_code(error ? error : errno),
        "%s cannot be written: %s; choose another file with --trace", path,
        strerror(error ? error : errno));
}
