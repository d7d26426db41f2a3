// tests/faults/driver.c: takes each model of a list through load, plan, session and run, and tells
// how it ended.
//
// usage: faults_driver LIST
// LIST: a line for each case: path, fill, dims, separated by tabs.
// Prints a line for each case: index, code, stage, microseconds of CPU time, bytes taken at most,
// code on ref, text. A case that ends its process is printed with CRASH or HANG as its code.
#include "tests/faults/batch.h"
#include "tests/faults/subject.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct driver {
    subject_t *cases;
    uint32_t count;
    meter_t meter;
    weir_engine_t *engine;
} driver_t;

// Of this process: what else the machine does is no fault of the case.
static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void begin(void *user)
{
    driver_t *driver = user;
    driver->engine = subject_engine(&driver->meter, NULL);
}

static void run(void *user, uint32_t index)
{
    driver_t *driver = user;
    subject_t subject = driver->cases[index];
    outcome_t outcome, on_ref;
    meter_reset_peak(&driver->meter);
    uint64_t held = atomic_load(&driver->meter.now), start_ns = cpu_ns();
    subject_run(driver->engine, &subject, &outcome);
    uint64_t took_ns = cpu_ns() - start_ns, peak = atomic_load(&driver->meter.peak);
    subject.devices = "ref";
    subject_run(driver->engine, &subject, &on_ref);
    if (atomic_load(&driver->meter.now) != held)
        snprintf(outcome.text, sizeof outcome.text, "LEAK: %llu bytes",
            (unsigned long long)(atomic_load(&driver->meter.now) - held));
    printf("%u\t%s\t%s\t%llu\t%llu\t%s\t%s\n", index, weir_code_name(outcome.code), outcome.stage,
        (unsigned long long)took_ns / 1000, (unsigned long long)(peak - held),
        weir_code_name(on_ref.code), outcome.text);
    fflush(stdout);
}

static void end(void *user)
{
    driver_t *driver = user;
    weir_engine_free(driver->engine);
    free(driver->cases);
}

static void lost(void *user, uint32_t index, const char *what)
{
    (void)user;
    printf("%u\t%s\t\t0\t0\t\t\n", index, what);
}

// Splits the list in place.
static uint32_t parse(char *text, subject_t *cases)
{
    uint32_t count = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *number = strchr(line, '\t');
        char *dims = number ? strchr(number + 1, '\t') : NULL;
        if (!dims)
            continue;
        *number++ = 0;
        *dims++ = 0;
        cases[count++] =
            (subject_t){.path = line, .fill = (int64_t)strtoull(number, NULL, 10), .dims = dims};
    }
    return count;
}

int main(int argc, char **argv)
{
    static char text[1 << 22];
    FILE *list = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (!list) {
        fprintf(stderr, "usage: faults_driver LIST\n");
        return 2;
    }
    text[fread(text, 1, sizeof text - 1, list)] = 0;
    fclose(list);
    driver_t driver = {.cases = calloc(strlen(text) + 1, sizeof *driver.cases)};
    if (!driver.cases)
        return 2;
    driver.count = parse(text, driver.cases);
    batch_t batch = {.count = driver.count,
        .stall_seconds = 20,
        .begin = begin,
        .run = run,
        .end = end,
        .lost = lost,
        .user = &driver};
    int children = batch_run(&batch);
    free(driver.cases);
    return children < 0 ? 2 : 0;
}
