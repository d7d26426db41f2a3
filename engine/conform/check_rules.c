// engine/conform/check_rules.c: groups about how a kernel behaves, whatever it computes: order,
// threads, state, allocation, purity.
#include "engine/conform/kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- One node, several ways
// ------------------------------------------------------------------------

typedef struct kept {
    uint8_t *data[WEIR__KIT_OUTPUTS];
} kept_t;

static void spoil(const weir__kit_case_t *c, int byte)
{
    for (uint32_t o = 0; o < c->node.output_count; o++)
        if (c->outputs[o].dtype)
            memset(c->outputs[o].data, byte, c->outputs[o].bytes);
}

static void keep(const weir__kit_case_t *c, kept_t *out_kept)
{
    memset(out_kept, 0, sizeof *out_kept);
    for (uint32_t o = 0; o < c->node.output_count; o++) {
        out_kept->data[o] = malloc(c->outputs[o].bytes + 1);
        if (out_kept->data[o] && c->outputs[o].bytes)
            memcpy(out_kept->data[o], c->outputs[o].data, c->outputs[o].bytes);
    }
}

static void drop(kept_t *kept)
{
    for (uint32_t o = 0; o < WEIR__KIT_OUTPUTS; o++)
        free(kept->data[o]);
}

static bool is_same(const weir__kit_case_t *c, const kept_t *kept)
{
    for (uint32_t o = 0; o < c->node.output_count; o++)
        if (c->outputs[o].bytes &&
            memcmp(kept->data[o], c->outputs[o].data, c->outputs[o].bytes) != 0)
            return false;
    return true;
}

static uint64_t task_count(const weir__kit_instance_t *instance)
{
    uint64_t most = 0;
    for (uint32_t p = 0; p < instance->tasks.phase_count; p++)
        most = WEIR_MAX(most, instance->tasks.task_count[p]);
    return most;
}

// Runs in one go, then in `order` a few times; the bytes must be the same.
static void compare_orders(weir__kit_subject_t *subject, const weir__kit_target_t *target,
    weir__kit_order_t order, uint32_t times, const char *what)
{
    static weir__kit_case_t c;
    while (weir__kit_next_case(subject, target, WEIR__KIT_LARGE, &c)) {
        weir__kit_instance_t instance = {0};
        kept_t kept = {{NULL}};
        if (!weir__kit_prepare(subject, target->kernel, &c, &instance))
            return;
        spoil(&c, 0x33);
        weir_code_t first = weir__kit_execute(&instance, WEIR__KIT_WHOLE);
        keep(&c, &kept);
        for (uint32_t i = 0; i < times; i++) {
            spoil(&c, 0xCC);
            weir_code_t code = weir__kit_execute(&instance, order);
            if (code != first)
                weir__kit_fail(
                    subject, "%s run() says %d, in one call it said %d", what, code, first);
            else if (first == WEIR_OK && !is_same(&c, &kept))
                weir__kit_fail(subject, "%s the bytes of the result differ (%llu tasks)", what,
                    (unsigned long long)task_count(&instance));
        }
        drop(&kept);
        weir__kit_release(&instance);
        weir__kit_case_free(&c);
    }
}

void weir__kit_check_tasks(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    compare_orders(subject, target, WEIR__KIT_SHUFFLED, 1, "with its tasks in random order,");
    subject->progress->case_count = subject->progress->run_count = 0;
    compare_orders(subject, target, WEIR__KIT_RANGES, 2, "with its tasks in random ranges,");
}

void weir__kit_check_threads(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    compare_orders(subject, target, WEIR__KIT_THREADS, 4, "with its tasks on four threads,");
}

// ---- Two nodes at once
// -------------------------------------------------------------------------------

typedef struct runner {
    weir__kit_instance_t *instance;
    weir_code_t code;
} runner_t;

static void *run_one(void *user)
{
    runner_t *runner = user;
    for (uint32_t i = 0; i < 4 && runner->code == WEIR_OK; i++)
        runner->code = weir__kit_execute(runner->instance, WEIR__KIT_WHOLE);
    return NULL;
}

static void run_pair(weir__kit_subject_t *subject, const weir__kit_target_t *target,
    weir__kit_case_t *cases, weir__kit_instance_t *instances)
{
    kept_t kept[2] = {{{NULL}}, {{NULL}}};
    for (uint32_t i = 0; i < 2; i++) { // alone
        instances[i] = (weir__kit_instance_t){0};
        if (!weir__kit_prepare(subject, target->kernel, &cases[i], &instances[i]))
            return;
        spoil(&cases[i], 0x33);
        if (weir__kit_execute(&instances[i], WEIR__KIT_WHOLE) != WEIR_OK)
            return; // what is wrong with that is said by another group
        keep(&cases[i], &kept[i]);
        weir__kit_release(&instances[i]);
    }
    for (uint32_t i = 0; i < 2; i++) {
        instances[i] = (weir__kit_instance_t){0};
        if (!weir__kit_prepare(subject, target->kernel, &cases[i], &instances[i]))
            return;
    }
    for (uint32_t i = 0; i < 4; i++) { // 0, 1, 0, 1
        spoil(&cases[i % 2], 0xCC);
        weir__kit_execute(&instances[i % 2], WEIR__KIT_WHOLE);
        if (!is_same(&cases[i % 2], &kept[i % 2]))
            weir__kit_fail(subject, "its result changes while another node of the kernel is "
                                    "prepared: state is shared between nodes");
    }
    pthread_t thread;
    runner_t runners[2] = {{.instance = &instances[0]}, {.instance = &instances[1]}};
    if (pthread_create(&thread, NULL, run_one, &runners[0]) == 0) {
        run_one(&runners[1]);
        pthread_join(thread, NULL);
        for (uint32_t i = 0; i < 2; i++)
            if (!is_same(&cases[i], &kept[i]))
                weir__kit_fail(subject, "its result changes while another node of the kernel runs");
    }
    for (uint32_t i = 0; i < 2; i++) {
        drop(&kept[i]);
        weir__kit_release(&instances[i]);
    }
}

void weir__kit_check_states(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    static weir__kit_case_t cases[2];
    static weir__kit_instance_t instances[2];
    while (weir__kit_next_case(subject, target, WEIR__KIT_PLAIN, &cases[0]) &&
           weir__kit_next_case(subject, target, WEIR__KIT_PLAIN, &cases[1])) {
        run_pair(subject, target, cases, instances);
        weir__kit_case_free(&cases[0]);
        weir__kit_case_free(&cases[1]);
    }
}

// ---- What a run costs
// --------------------------------------------------------------------------------

void weir__kit_check_steady(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    static weir__kit_case_t c;
    while (weir__kit_next_case(subject, target, WEIR__KIT_LARGE, &c)) {
        int64_t blocks = 0, live = 0;
        for (uint32_t i = 0; i < 20 && !subject->progress->has_failed; i++) {
            weir__kit_instance_t instance = {0};
            if (i == 4) { // what the first ones set up for good may stay
                blocks = weir__kit_hooks_balance();
                live = atomic_load(&subject->host.live_count);
            }
            if (!weir__kit_prepare(subject, target->kernel, &c, &instance))
                return;
            (void)weir__kit_hooks_seen();
            if (i < 6)
                (void)weir__kit_execute(&instance, i % 2 ? WEIR__KIT_RANGES : WEIR__KIT_WHOLE);
            const char *seen = weir__kit_hooks_seen();
            if (seen)
                weir__kit_fail(subject,
                    "run() calls %s: no allocation, lock, sleep or thread is allowed there", seen);
            weir__kit_release(&instance);
        }
        if (weir__kit_hooks_threads())
            weir__kit_fail(subject, "it started a thread: a plugin has none of its own");
        int64_t grown = weir__kit_hooks_balance() - blocks;
        int64_t kept = atomic_load(&subject->host.live_count) - live;
        if (grown > 0 || kept > 0)
            weir__kit_fail(subject, "16 times prepare() and release() leave %lld blocks behind",
                (long long)(grown + kept));
        weir__kit_case_free(&c);
    }
}

// ---- supports()
// --------------------------------------------------------------------------------------

// Dims that are not known yet: equal sizes get equal symbols.
static void make_symbolic(weir_tensor_t *tensor, int64_t *dims)
{
    if (!tensor->dtype || (tensor->flags & WEIR_TENSOR_CONSTANT))
        return;
    for (uint32_t i = 0; i < tensor->rank; i++)
        dims[i] = -2 - tensor->dims[i];
    tensor->dims = dims;
    if (tensor->rank) {
        tensor->element_count = 0;
        tensor->bytes = 0;
    }
}

void weir__kit_check_supports(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    static weir__kit_case_t c;
    static int64_t dims[WEIR__KIT_INPUTS + WEIR__KIT_OUTPUTS][WEIR_RANK_MAX];
    while (weir__kit_next_case(subject, target, WEIR__KIT_PLAIN, &c)) {
        weir__kit_instance_t instance = {0};
        bool answer;
        weir__kit_show(&c, &instance);
        for (uint32_t i = 0; i < c.node.input_count; i++)
            make_symbolic(&instance.inputs[i], dims[i]);
        for (uint32_t i = 0; i < c.node.output_count; i++)
            make_symbolic(&instance.outputs[i], dims[WEIR__KIT_INPUTS + i]);
        (void)weir__kit_supports(subject, target->kernel, &instance.node, &answer);
        weir__kit_case_free(&c);
    }
}
