// tests/faults/matrix_test.c: every fault of a device at every entry point that the engine calls,
// at the first, a middle and the last call.
//
// The scenario is played once without faults, to count the calls of each entry point and to have
// the bits of every answer. Then once for each cell: an entry point, a fault, a call of it. In each
// cell every run ends once, with the right bits or a code that names the device; the next run
// works, after as little as that fault allows; nothing is left. Cells whose fault was not met do
// not count. Labels: threads Timeout: 600
#include "tests/faults/matrix.h"

#include <dirent.h>
#include <unistd.h>

static const form_t forms[] = {
    {"programs", "chaos.refuse=Softmax", "chaos,cpu", "first=chaos;second=chaos", false},
    {"nodes", "chaos.refuse=Softmax,chaos.level=1", "chaos,cpu", "first=chaos;second=chaos", false},
    {"claims", "chaos.refuse=Softmax,chaos.claim=1", "chaos,cpu", "first=chaos;second=chaos",
        false},
    {"pair", "chaos.devices=2,chaos.edge=import", "chaos,chaos:1,cpu",
        "first=chaos;soft=chaos:1;second=chaos", false},
    {"host", "chaos.refuse=Softmax,chaos.host_memory=1", "chaos,cpu", "first=chaos;second=chaos",
        false},
    {"kept", "chaos.replay=fixed,chaos.pinned=0", "chaos", NULL, true},
};
#define FORMS (sizeof forms / sizeof forms[0])

static const char *const calls[] = {"enumerate", "open", "alloc", "map", "wrap_host",
    "queue_create", "copy", "execute", "wait_idle", "memory_info", "edge", "export_buffer",
    "import_buffer", "claim", "compile", "program_info", "program_save", "artifact_check",
    "program_load", "specialize", "record", "launch", "clock"};
static const char *const voids[] = {"close", "free", "unmap", "queue_destroy", "program_release",
    "specialization_release", "recording_release"};
static const char *const completions[] = {"run", "copied"};
static const char *const call_faults[] = {"fail", "fail=9", "oom", "lost", "slow=5"};
static const char *const void_faults[] = {"lost", "slow=5"};
static const char *const completion_faults[] = {
    "fail", "oom", "lost", "slow=5", "hang", "late=600", "double", "missing"};
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

// Under a sanitizer, which makes each cell ten times slower, every fourth.
#ifdef WEIR_FAULTS_SANITIZED
#define STRIDE 4
#else
#define STRIDE 1
#endif

static uint32_t turn; // cells that there could have been
static const char *called[COUNT(calls) + COUNT(voids) + COUNT(completions)]; // by the engine
static uint32_t cell_count, phase_counts[PHASES], unmet, failures, steps[4];

// ---- A folder for the artifacts -----------------------------------------------------------------

static char cache[256];

static void empty_folder(const char *path)
{
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
        char name[600];
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.' && unlink(name) != 0) {
            empty_folder(name);
            rmdir(name);
        }
    }
    if (folder)
        closedir(folder);
}

// ---- Cells --------------------------------------------------------------------------------------

static void outcome_init(outcome_t *outcome)
{
    memset(outcome, 0, sizeof *outcome);
    pthread_mutex_init(&outcome->lock, NULL);
    atomic_store(&outcome->struck_phase, -1);
}

// The least that must do to go on after this fault: 1 the same session, 2 a new one, 3 the device
// anew.
static uint32_t steps_allowed(const char *what)
{
    if (strcmp(what, "lost") == 0)
        return 3;
    if (strcmp(what, "hang") == 0 || strcmp(what, "missing") == 0 || strncmp(what, "late", 4) == 0)
        return 2;
    return strncmp(what, "slow", 4) == 0 || strcmp(what, "double") == 0 ? 0 : 1;
}

static void play_cell(const cell_t *cell, const answers_t *reference)
{
    outcome_t *outcome = malloc(sizeof *outcome);
    char schedule[128];
    snprintf(schedule, sizeof schedule, "%s:%s:%llu", cell->where, cell->what,
        (unsigned long long)cell->when);
    outcome_init(outcome);
    if (cell->form->is_cached && strcmp(cell->where, "program_save") == 0)
        empty_folder(cache);
    matrix_play(
        cell->form, schedule, cell, cell->form->is_cached ? cache : NULL, NULL, reference, outcome);
    int phase = atomic_load(&outcome->struck_phase);
    if (phase < 0) {
        unmet++;
    } else {
        cell_count++;
        phase_counts[phase]++;
        steps[outcome->steps]++;
    }
    // A plan that waits for its constants is not a run with a deadline: it gives the device up.
    uint32_t allowed = strstr(outcome->told, "did not answer") ? 3 : steps_allowed(cell->what);
    if (!outcome->problem[0] && outcome->steps > allowed)
        snprintf(outcome->problem, sizeof outcome->problem, "step %u was needed to go on after: %s",
            outcome->steps, outcome->told);
    if (getenv("WEIR_MATRIX_SHOW"))
        print_message("%s, %s, phase %d, step %u: %s\n", cell->form->name, schedule, phase,
            outcome->steps, outcome->told);
    if (outcome->problem[0]) {
        failures++;
        print_error("%s, %s: %s\n", cell->form->name, schedule, outcome->problem);
    }
    pthread_mutex_destroy(&outcome->lock);
    free(outcome);
}

// How often the scenario calls `where`, from the log of one in which every call of it was "slow".
static uint64_t calls_seen(const outcome_t *outcome, const char *where)
{
    char line[64];
    unsigned long long hits = 0;
    snprintf(line, sizeof line, "fault %s:slow=0:* hit ", where);
    for (const char *at = outcome->log; (at = strstr(at, line)) != NULL; at += strlen(line))
        hits = strtoull(at + strlen(line), NULL, 10);
    return hits;
}

static void play_calls(const form_t *form, const answers_t *reference, const char *where,
    uint64_t seen, const char *const *faults, size_t fault_count)
{
    const uint64_t whens[] = {WEIR_MIN(seen, 1u), seen / 2, seen};
    for (size_t i = 0; i < COUNT(called) && seen; i++)
        if (!called[i] || called[i] == where) {
            called[i] = where;
            break;
        }
    for (size_t f = 0; f < fault_count; f++)
        for (size_t w = 0; w < COUNT(whens); w++) {
            if (!whens[w] || (w && whens[w] == whens[w - 1]))
                continue;
            cell_t cell = {form, where, faults[f], whens[w]};
            // The first copies are a plan's constants, which it waits for 20 seconds: one form will
            // do.
            bool is_long = whens[w] == 1 && strcmp(where, "copied") == 0 &&
                           (!strcmp(faults[f], "hang") || !strcmp(faults[f], "missing"));
            if (is_long && form != forms)
                continue;
            if (turn++ % STRIDE)
                continue;
            play_cell(&cell, reference);
        }
}

static void add_slow(char *schedule, size_t bytes, const char *where)
{
    size_t used = strlen(schedule);
    snprintf(schedule + used, bytes - used, "%s%s:slow=0:*", used ? ";" : "", where);
}

static void play_form(const form_t *form)
{
    answers_t reference = {0};
    outcome_t *counted = malloc(sizeof *counted);
    char schedule[900] = "";
    for (size_t i = 0; i < COUNT(calls); i++)
        add_slow(schedule, sizeof schedule, calls[i]);
    for (size_t i = 0; i < COUNT(voids); i++)
        add_slow(schedule, sizeof schedule, voids[i]);
    for (size_t i = 0; i < COUNT(completions); i++)
        add_slow(schedule, sizeof schedule, completions[i]);
    empty_folder(cache);
    for (int again = 0; again <= form->is_cached; again++) {
        outcome_init(counted);
        matrix_play(
            form, schedule, NULL, form->is_cached ? cache : NULL, &reference, NULL, counted);
        if (counted->problem[0] || counted->told[0])
            fail_msg("%s, without a fault: %s %s", form->name, counted->problem, counted->told);
        pthread_mutex_destroy(&counted->lock);
    }
    for (size_t i = 0; i < COUNT(calls); i++) {
        uint64_t seen = calls_seen(counted, calls[i]);
        if (form->is_cached && strcmp(calls[i], "program_save") == 0)
            seen = 1; // in an empty folder
        play_calls(form, &reference, calls[i], seen, call_faults, COUNT(call_faults));
    }
    for (size_t i = 0; i < COUNT(voids); i++)
        play_calls(form, &reference, voids[i], calls_seen(counted, voids[i]), void_faults,
            COUNT(void_faults));
    for (size_t i = 0; i < COUNT(completions); i++)
        play_calls(form, &reference, completions[i], calls_seen(counted, completions[i]),
            completion_faults, COUNT(completion_faults));
    free(counted);
}

// How many of `names` the engine called; the others' names go behind `idle`.
static uint32_t count_called(const char *const *names, size_t count, char *idle, size_t idle_bytes)
{
    uint32_t reached = 0;
    for (size_t i = 0; i < count; i++) {
        size_t k = 0, used = strlen(idle);
        while (k < COUNT(called) && called[k] != names[i])
            k++;
        if (k < COUNT(called))
            reached++;
        else
            snprintf(idle + used, idle_bytes - used, " %s", names[i]);
    }
    return reached;
}

// Goal:   at least 250 cells, in every phase, and in each what the head of this file says.
static void every_fault_at_every_entry_point(void **state)
{
    (void)state;
    const char *only = getenv("WEIR_MATRIX_FORM");
    const char *base = getenv("TMPDIR");
    snprintf(cache, sizeof cache, "%s/weir-matrix-XXXXXX", base && base[0] ? base : P_tmpdir);
    assert_non_null(mkdtemp(cache));
    for (size_t i = 0; i < FORMS; i++)
        if (!only || strcmp(only, forms[i].name) == 0)
            play_form(&forms[i]);
    empty_folder(cache);
    rmdir(cache);
    print_message("device faults: %u cells: %u loading, %u creating, %u running, %u idle, %u "
                  "closing; %u not met; went on after nothing %u, the same session %u, a new "
                  "session %u, the device anew %u; %u failures\n",
        cell_count, phase_counts[PHASE_LOADING], phase_counts[PHASE_CREATING],
        phase_counts[PHASE_RUNNING], phase_counts[PHASE_IDLE], phase_counts[PHASE_CLOSING], unmet,
        steps[0], steps[1], steps[2], steps[3], failures);
    char idle[256] = "";
    uint32_t reached = count_called(calls, COUNT(calls), idle, sizeof idle) +
                       count_called(voids, COUNT(voids), idle, sizeof idle) +
                       count_called(completions, COUNT(completions), idle, sizeof idle);
    print_message("entry points: %u of %zu; never called:%s\n", reached, COUNT(called), idle);
    assert_int_equal(failures, 0);
    if (only)
        return;
    assert_true(reached >= 26);
    assert_true(cell_count >= 250);
    for (uint32_t i = 0; i < PHASES; i++)
        assert_true(phase_counts[i] > 0);
}

// Goal:   the matrix sees wrong bits: a launch that is wrong and says it is well is a problem.
static void wrong_bits_are_seen(void **state)
{
    (void)state;
    answers_t reference = {0};
    outcome_t *outcome = malloc(sizeof *outcome);
    outcome_init(outcome);
    matrix_play(&forms[0], "", NULL, NULL, &reference, NULL, outcome);
    assert_string_equal(outcome->problem, "");
    for (uint64_t when = 1; when <= 9; when += 4) {
        cell_t cell = {&forms[0], "run", "wrong=MatMul", when};
        char schedule[64];
        snprintf(schedule, sizeof schedule, "run:wrong=MatMul:%llu", (unsigned long long)cell.when);
        outcome_init(outcome);
        matrix_play(&forms[0], schedule, &cell, NULL, NULL, &reference, outcome);
        assert_true(atomic_load(&outcome->struck_phase) >= 0);
        assert_non_null(strstr(outcome->problem, "other bits"));
    }
    free(outcome);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_bits_are_seen),
        cmocka_unit_test(every_fault_at_every_entry_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
