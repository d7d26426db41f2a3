// backends/chaos/fault.c: the schedule of faults: reading it, and when a rule strikes.
//
//     schedule = rule {";" rule}          rule = where ":" what ":" when
//     where    = the name of an entry of the device table | "run" | "copied"
//     what     = "fail" ["=" code] | "oom" | "lost" | "slow=" ms                        anywhere
//              | "hang" | "late=" ms | "double" | "missing"                  at run and copied
//              | "wrong" ["=" operator or part of an origin]                           at run
//     when     = n | n "+" | n "-" m | "/" n | "*" | percent "%"
//
// n counts from 1 the calls of that entry (of wrong: the nodes that it names), in the engine's
// life, all devices together. "run" is a launch or an execution about to be completed, "copied" a
// copy. Every rule counts what it saw and what it hit, so that a test can tell that its fault was
// met. It must not decide by time: the same calls meet the same faults.
#include "backends/chaos/chaos.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const places[WEIR_CHAOS_WHERE_COUNT] = {
    [WEIR_CHAOS_ENUMERATE] = "enumerate",
    [WEIR_CHAOS_OPEN] = "open",
    [WEIR_CHAOS_CLOSE] = "close",
    [WEIR_CHAOS_ALLOC] = "alloc",
    [WEIR_CHAOS_FREE] = "free",
    [WEIR_CHAOS_MAP] = "map",
    [WEIR_CHAOS_UNMAP] = "unmap",
    [WEIR_CHAOS_WRAP_HOST] = "wrap_host",
    [WEIR_CHAOS_QUEUE_CREATE] = "queue_create",
    [WEIR_CHAOS_QUEUE_DESTROY] = "queue_destroy",
    [WEIR_CHAOS_COPY] = "copy",
    [WEIR_CHAOS_EXECUTE] = "execute",
    [WEIR_CHAOS_WAIT_IDLE] = "wait_idle",
    [WEIR_CHAOS_MEMORY_INFO] = "memory_info",
    [WEIR_CHAOS_EDGE] = "edge",
    [WEIR_CHAOS_EXPORT_BUFFER] = "export_buffer",
    [WEIR_CHAOS_IMPORT_BUFFER] = "import_buffer",
    [WEIR_CHAOS_CLAIM] = "claim",
    [WEIR_CHAOS_COMPILE] = "compile",
    [WEIR_CHAOS_PROGRAM_RELEASE] = "program_release",
    [WEIR_CHAOS_PROGRAM_INFO] = "program_info",
    [WEIR_CHAOS_PROGRAM_SAVE] = "program_save",
    [WEIR_CHAOS_ARTIFACT_CHECK] = "artifact_check",
    [WEIR_CHAOS_PROGRAM_LOAD] = "program_load",
    [WEIR_CHAOS_SPECIALIZE] = "specialize",
    [WEIR_CHAOS_SPECIALIZATION_RELEASE] = "specialization_release",
    [WEIR_CHAOS_RECORD] = "record",
    [WEIR_CHAOS_RECORDING_RELEASE] = "recording_release",
    [WEIR_CHAOS_LAUNCH] = "launch",
    [WEIR_CHAOS_CLOCK] = "clock",
    [WEIR_CHAOS_RUN] = "run",
    [WEIR_CHAOS_COPIED] = "copied",
};

static const char *const kinds[] = {
    [WEIR_CHAOS_NOTHING] = "",
    [WEIR_CHAOS_FAIL] = "fail",
    [WEIR_CHAOS_OOM] = "oom",
    [WEIR_CHAOS_LOST] = "lost",
    [WEIR_CHAOS_SLOW] = "slow",
    [WEIR_CHAOS_HANG] = "hang",
    [WEIR_CHAOS_WRONG] = "wrong",
    [WEIR_CHAOS_LATE] = "late",
    [WEIR_CHAOS_DOUBLE] = "double",
    [WEIR_CHAOS_MISSING] = "missing",
};

// ---- Reading a schedule -------------------------------------------------------------------------

// The number of the word [text, text + length) in `words`; `count`: it is none of them.
static uint32_t word_number(
    const char *const *words, uint32_t count, const char *text, size_t length)
{
    for (uint32_t i = 0; i < count; i++)
        if (strlen(words[i]) == length && memcmp(words[i], text, length) == 0)
            return i;
    return count;
}

static bool read_when(const char *text, size_t length, weir_chaos_rule_t *rule)
{
    char when[32], *end;
    if (!length || length >= sizeof when)
        return false;
    memcpy(when, text, length);
    when[length] = '\0';
    *rule = (weir_chaos_rule_t){.text = rule->text,
        .text_length = rule->text_length,
        .from = 1,
        .to = UINT64_MAX,
        .step = 1};
    if (strcmp(when, "*") == 0)
        return true;
    if (when[length - 1] == '%') {
        double percent = strtod(when, &end);
        rule->per_mille = percent > 0 && percent <= 100 ? (uint32_t)(percent * 10 + 0.5) : 0;
        return *end == '%' && !end[1] && rule->per_mille;
    }
    if (when[0] == '/') {
        rule->from = rule->step = strtoull(when + 1, &end, 10);
        return !*end && rule->step;
    }
    if (when[0] < '0' || when[0] > '9')
        return false;
    rule->from = rule->to = strtoull(when, &end, 10);
    if (strcmp(end, "+") == 0)
        rule->to = UINT64_MAX;
    else if (*end == '-')
        rule->to = strtoull(end + 1, &end, 10);
    return rule->from && rule->from <= rule->to && (!*end || strcmp(end, "+") == 0);
}

// Calls without a result can be slow, or lose the device; hardly more.
static bool fits(weir_chaos_where_t where, weir_chaos_what_t what)
{
    bool is_completion = where == WEIR_CHAOS_RUN || where == WEIR_CHAOS_COPIED;
    bool is_void =
        where == WEIR_CHAOS_CLOSE || where == WEIR_CHAOS_FREE || where == WEIR_CHAOS_UNMAP ||
        where == WEIR_CHAOS_QUEUE_DESTROY || where == WEIR_CHAOS_PROGRAM_RELEASE ||
        where == WEIR_CHAOS_SPECIALIZATION_RELEASE || where == WEIR_CHAOS_RECORDING_RELEASE;
    switch (what) {
    case WEIR_CHAOS_FAIL:
    case WEIR_CHAOS_OOM:
        return !is_void;
    case WEIR_CHAOS_LOST:
    case WEIR_CHAOS_SLOW:
        return true;
    case WEIR_CHAOS_WRONG:
        return where == WEIR_CHAOS_RUN;
    default:
        return is_completion;
    }
}

static bool read_value(weir_chaos_rule_t *rule, const char *value, size_t length)
{
    char text[sizeof rule->node], *end;
    if (length >= sizeof text)
        return false;
    if (length)
        memcpy(text, value, length);
    text[length] = '\0';
    uint64_t number = strtoull(text, &end, 10);
    bool is_number = length && !*end;
    rule->code = WEIR_INTERNAL;
    switch (rule->what) {
    case WEIR_CHAOS_FAIL:
        if (is_number)
            rule->code = (weir_code_t)number;
        return !length || (is_number && number && number <= WEIR_INTERNAL);
    case WEIR_CHAOS_SLOW:
    case WEIR_CHAOS_LATE:
        rule->ms = number;
        return is_number;
    case WEIR_CHAOS_WRONG:
        memcpy(rule->node, text, length + 1);
        return true;
    default:
        return !length;
    }
}

// "where:what[=value]:when"
static bool read_rule(weir_chaos_rule_t *rule)
{
    const char *text = rule->text, *end = text + rule->text_length;
    const char *first = memchr(text, ':', rule->text_length), *last = end;
    while (last > text && last[-1] != ':') // origins may have colons of their own
        last--;
    if (!first || last <= first + 1 || !read_when(last, (size_t)(end - last), rule))
        return false;
    const char *what = first + 1, *value = memchr(what, '=', (size_t)(last - 1 - what));
    const char *what_end = value ? value : last - 1;
    uint32_t where = word_number(places, WEIR_CHAOS_WHERE_COUNT, text, (size_t)(first - text));
    uint32_t count = sizeof kinds / sizeof kinds[0];
    uint32_t number = word_number(kinds, count, what, (size_t)(what_end - what));
    if (where == WEIR_CHAOS_WHERE_COUNT || number == WEIR_CHAOS_NOTHING || number == count)
        return false;
    rule->where = (weir_chaos_where_t)where;
    rule->what = (weir_chaos_what_t)number;
    return fits(rule->where, rule->what) && read_value(rule, value ? value + 1 : what_end,
                                                value ? (size_t)(last - 1 - value - 1) : 0);
}

bool weir_chaos_faults_parse(weir_chaos_state_t *state, const char *text, char *out_reason)
{
    state->rule_count = 0;
    while (*text) {
        size_t length = strcspn(text, ";");
        weir_chaos_rule_t *rule = &state->rules[state->rule_count];
        if (state->rule_count == WEIR_CHAOS_RULES_MAX) {
            snprintf(out_reason, WEIR_REASON_BYTES, "option faults: more than %d rules",
                WEIR_CHAOS_RULES_MAX);
            return false;
        }
        rule->text = text;
        rule->text_length = (uint32_t)length;
        if (length && !read_rule(rule)) {
            snprintf(out_reason, WEIR_REASON_BYTES,
                "option faults: \"%.*s\" is no where:what:when that can be", (int)length, text);
            return false;
        }
        state->rule_count += length != 0;
        text += length + (text[length] == ';');
    }
    return true;
}

// ---- Striking -----------------------------------------------------------------------------------

// xorshift64*
uint64_t weir_chaos_random(weir_chaos_state_t *state)
{
    uint64_t x = state->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    state->random = x;
    return (x * 0x2545f4914f6cdd1dull) >> 1;
}

static bool strikes(weir_chaos_state_t *state, weir_chaos_rule_t *rule)
{
    rule->seen++;
    bool is_hit = rule->per_mille ? (weir_chaos_random(state) >> 20) % 1000 < rule->per_mille
                                  : rule->seen >= rule->from && rule->seen <= rule->to &&
                                        (rule->seen - rule->from) % rule->step == 0;
    rule->hits += is_hit;
    if (is_hit) { // under the lock: the log must not call back
        char text[256];
        snprintf(
            text, sizeof text, "chaos: fault %.*s strikes", (int)rule->text_length, rule->text);
        state->host->log(state->host, 3, text);
    }
    return is_hit;
}

weir_chaos_fault_t weir_chaos_fault(weir_chaos_state_t *state, weir_chaos_where_t where)
{
    weir_chaos_fault_t fault = {.what = WEIR_CHAOS_NOTHING};
    for (uint32_t i = 0; i < state->rule_count; i++) {
        weir_chaos_rule_t *rule = &state->rules[i];
        if (rule->where != where || rule->what == WEIR_CHAOS_WRONG || !strikes(state, rule))
            continue;
        if (fault.what == WEIR_CHAOS_NOTHING)
            fault = (weir_chaos_fault_t){rule->what, rule->code, rule->ms};
    }
    return fault;
}

bool weir_chaos_fault_wrong(weir_chaos_state_t *state, const weir_node_t *node)
{
    bool is_hit = false;
    for (uint32_t i = 0; i < state->rule_count; i++) {
        weir_chaos_rule_t *rule = &state->rules[i];
        bool is_named = !rule->node[0] || strcmp(rule->node, node->op) == 0 ||
                        (node->origin && strstr(node->origin, rule->node));
        if (rule->what == WEIR_CHAOS_WRONG && is_named && strikes(state, rule))
            is_hit = true;
    }
    return is_hit;
}

static void pause_ms(uint64_t ms)
{
    struct timespec left = {(time_t)(ms / 1000), (long)(ms % 1000 * 1000000)};
    while (nanosleep(&left, &left) != 0)
        ;
}

weir_code_t weir_chaos_enter(
    weir_chaos_state_t *state, weir_chaos_device_t *device, weir_chaos_where_t where)
{
    const weir_host_t *host = state->host;
    pthread_mutex_lock(&state->lock);
    weir_chaos_fault_t fault = weir_chaos_fault(state, where);
    pthread_mutex_unlock(&state->lock);
    if (fault.what == WEIR_CHAOS_SLOW)
        pause_ms(fault.ms);
    if (fault.what == WEIR_CHAOS_LOST && device)
        weir_chaos_lose(device);
    if (fault.what == WEIR_CHAOS_LOST || (device && atomic_load(&device->is_lost)))
        return host->fail(
            host, WEIR_DEVICE_LOST, "%s: the device was lost, by schedule", places[where]);
    if (fault.what == WEIR_CHAOS_OOM)
        return host->fail(
            host, WEIR_RESOURCE_EXHAUSTED, "%s: out of memory, by schedule", places[where]);
    if (fault.what == WEIR_CHAOS_FAIL)
        return host->fail(host, fault.code, "%s: failed, by schedule", places[where]);
    return WEIR_OK;
}

weir_code_t weir_chaos_misuse(weir_chaos_state_t *state, weir_code_t code, const char *text)
{
    char line[256];
    atomic_fetch_add(&state->misuses, 1);
    snprintf(line, sizeof line, "chaos: misuse: %s", text);
    state->host->log(state->host, 0, line);
    return state->host->fail(state->host, code, "%s", text);
}

void weir_chaos_faults_log(weir_chaos_state_t *state)
{
    for (uint32_t i = 0; i < state->rule_count; i++) {
        const weir_chaos_rule_t *rule = &state->rules[i];
        char text[256];
        snprintf(text, sizeof text, "chaos: fault %.*s hit %llu of %llu", (int)rule->text_length,
            rule->text, (unsigned long long)rule->hits, (unsigned long long)rule->seen);
        state->host->log(state->host, 2, text);
    }
}
