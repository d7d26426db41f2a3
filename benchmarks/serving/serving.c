// bench_serving: what is measured, in which order, and how it is shown; see serving.h.
//
//     bench_serving [--only GROUP] [--seconds S] [--json FILE] [--check]
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "benchmarks/serving/serving.h"

static const struct {
    const char *name;
    void (*run)(serving_t *bench);
} groups[] = {
    {"latency", serving_latency},
    {"rate", serving_rate},
    {"overload", serving_overload},
    {"storm", serving_storm}, // where it is asked for: overload has a short one
    {"classes", serving_classes},
    {"below", serving_below},
    {"fairness", serving_fairness},
    {"cancel", serving_cancel},
    {"refusal", serving_refusal},
    {"idle", serving_idle},
};

enum { GROUP_COUNT = sizeof(groups) / sizeof(groups[0]) };

void serving_row(serving_t *bench, const char *row, const char *figure, double value,
    const char *unit, serving_goal_t goal, double target)
{
    const bool is_met = goal == SERVING_NONE || (goal == SERVING_AT_MOST && value <= target) ||
                        (goal == SERVING_AT_LEAST && value >= target);
    char wanted[64] = "";
    if (goal != SERVING_NONE)
        (void)snprintf(wanted, sizeof(wanted), "%s %.4g  %s",
            goal == SERVING_AT_MOST ? "<=" : ">=", target, is_met ? "reached" : "MISSED");
    (void)printf("%-26s %-34s %10.4g %-10s %s\n", row, figure, value, unit, wanted);
    (void)fflush(stdout);
    bench->missed += !is_met;
    if (!bench->json)
        return;
    (void)fprintf(bench->json,
        "{\"bench\": \"serving\", \"row\": \"%s\", \"figure\": \"%s\", \"value\": %.9g, "
        "\"unit\": \"%s\"",
        row, figure, value, unit);
    if (goal != SERVING_NONE)
        (void)fprintf(bench->json, ", \"%s\": %.9g, \"reached\": %s",
            goal == SERVING_AT_MOST ? "at_most" : "at_least", target, is_met ? "true" : "false");
    (void)fprintf(bench->json, ", \"commit\": \"%s\"}\n", weir__cli_commit());
    (void)fflush(bench->json);
}

// What the machine did meanwhile: figures under load are worth as much as it was free.
typedef struct machine {
    unsigned long long all, idle, stolen; // of all CPUs, in ticks
    uint64_t ours_ns, at_ns;
} machine_t;

static machine_t read_machine(void)
{
    machine_t it = {.ours_ns = serving_cpu_ns(), .at_ns = serving_now_ns()};
    unsigned long long field[8] = {0}; // user nice system idle iowait irq softirq steal
    FILE *file = fopen("/proc/stat", "re");
    if (file && fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &field[0], &field[1],
                    &field[2], &field[3], &field[4], &field[5], &field[6], &field[7]) != 8)
        field[3] = 0;
    if (file)
        (void)fclose(file);
    for (size_t i = 0; i < 8; i++)
        it.all += field[i];
    it.idle = field[3] + field[4];
    it.stolen = field[7];
    return it;
}

static void show_machine(serving_t *bench, const char *group, const machine_t *before)
{
    const machine_t after = read_machine();
    const double ticks = (double)(after.all - before->all);
    const double wall_ns = (double)(after.at_ns - before->at_ns);
    if (ticks <= 0)
        return;
    const double stolen = 100 * (double)(after.stolen - before->stolen) / ticks;
    const double used = 100 * (1 - (double)(after.idle - before->idle) / ticks) - stolen;
    const double ours = 100 * (double)(after.ours_ns - before->ours_ns) / wall_ns /
                        (double)sysconf(_SC_NPROCESSORS_ONLN);
    serving_row(bench, "the machine meanwhile", group, stolen, "% stolen", SERVING_NONE, 0);
    serving_row(bench, "the machine meanwhile", group, used > ours ? used - ours : 0, "% others",
        SERVING_NONE, 0);
}

static int usage(void)
{
    (void)fputs("usage: bench_serving [--only GROUP] [--seconds S] [--json FILE] [--check]\n"
                "groups:",
        stderr);
    for (size_t i = 0; i < GROUP_COUNT; i++)
        (void)fprintf(stderr, " %s", groups[i].name);
    (void)fputc('\n', stderr);
    return 2;
}

// Where the plugin lies: beside the build's libraries, as this program knows from its own place.
static const char *pace_path(const char *program, char *out, size_t out_bytes)
{
    const char *slash = strrchr(program, '/');
    (void)snprintf(out, out_bytes, "%.*s/../lib/bench/weir_pace.so",
        slash ? (int)(slash - program) : 1, slash ? program : ".");
    return out;
}

int main(int argc, char **argv)
{
    char path[4096];
    serving_t bench = {.seconds = 5, .pace = pace_path(argv[0], path, sizeof(path))};
    const char *only = NULL;
    bool is_check = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--check") == 0)
            is_check = true;
        else if (i + 1 < argc && strcmp(argv[i], "--only") == 0)
            only = argv[++i];
        else if (i + 1 < argc && strcmp(argv[i], "--seconds") == 0)
            bench.seconds = strtod(argv[++i], NULL);
        else if (i + 1 < argc && strcmp(argv[i], "--json") == 0) {
            bench.json = fopen(argv[++i], "ae");
            if (!bench.json) {
                perror(argv[i]);
                return 1;
            }
        } else
            return usage();
    }
    if (!(bench.seconds >= 0.5 && bench.seconds <= 600))
        return usage();
    (void)prctl(PR_SET_TIMERSLACK, 1ul); // of threads made from here on, too
    uint32_t run_count = 0;
    for (size_t i = 0; i < GROUP_COUNT; i++)
        if (only ? strcmp(only, groups[i].name) == 0 : groups[i].run != serving_storm) {
            const machine_t before = read_machine();
            groups[i].run(&bench);
            show_machine(&bench, groups[i].name, &before);
            run_count++;
        }
    if (!run_count)
        return usage();
    (void)printf("%u target%s missed\n", bench.missed, bench.missed == 1 ? "" : "s");
    if (bench.json && fclose(bench.json) != 0)
        return 1;
    return is_check && bench.missed ? 1 : 0;
}
