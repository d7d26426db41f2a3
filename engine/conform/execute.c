// engine/conform/execute.c: a kernel's life for one node: supports, prepare, tasks, run, release.
//
// As an engine does it: before a run a kernel sees the data of constants only; in run() its state
// cannot be written, scratch holds rubbish, and tasks come in any order from any thread.
#include "engine/conform/kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POISON 0x5A
#define GROWN 64
#define WORKERS 4
#define RANGES 2048

// An out-struct with room for what a later version may append.
#define GROWN_STRUCT(type)                                                                         \
    struct {                                                                                       \
        type value;                                                                                \
        uint8_t beyond[GROWN];                                                                     \
    }

static bool is_poison(const uint8_t *bytes)
{
    for (uint32_t i = 0; i < GROWN; i++)
        if (bytes[i] != POISON)
            return false;
    return true;
}

void weir__kit_show(const weir__kit_case_t *c, weir__kit_instance_t *out_instance)
{
    weir__kit_instance_t *instance = out_instance;
    instance->c = c;
    instance->node = c->node;
    instance->node.inputs = instance->inputs;
    instance->node.outputs = instance->outputs;
    for (uint32_t i = 0; i < c->node.input_count; i++) {
        instance->bound_inputs[i] = instance->inputs[i] = c->inputs[i];
        if (!(c->inputs[i].flags & WEIR_TENSOR_CONSTANT))
            instance->inputs[i].data = NULL;
    }
    for (uint32_t i = 0; i < c->node.output_count; i++) {
        instance->bound_outputs[i] = instance->outputs[i] = c->outputs[i];
        instance->outputs[i].data = NULL;
    }
}

static bool mask_takes(const weir_kernel_t *kernel, const weir_node_t *node)
{
    weir_dtype_t dtype = node->input_count ? node->inputs[0].dtype : node->outputs[0].dtype;
    return !kernel->dtypes || (kernel->dtypes & dtype);
}

bool weir__kit_supports(weir__kit_subject_t *subject, const weir_kernel_t *kernel,
    const weir_node_t *node, bool *out_is_supported)
{
    *out_is_supported = mask_takes(kernel, node);
    if (!kernel->supports || !*out_is_supported)
        return true;
    weir_code_t first = WEIR_OK;
    uint64_t cost = 0;
    for (uint32_t i = 0; i < 3; i++) {
        GROWN_STRUCT(weir_support_t) answer;
        memset(&answer, POISON, sizeof answer);
        memset(&answer.value, 0, sizeof answer.value);
        answer.value.head.size = sizeof answer.value;
        weir_code_t code = kernel->supports(node, &answer.value);
        if (!is_poison(answer.beyond))
            return weir__kit_fail(subject, "supports() wrote past the end of weir_support_t");
        if (!memchr(answer.value.reason, 0, sizeof answer.value.reason))
            return weir__kit_fail(subject, "supports() gave a reason without an end");
        if (code != WEIR_OK && !answer.value.reason[0])
            return weir__kit_fail(subject, "supports() said no (%d) and gave no reason", code);
        if (i && (code != first || (code == WEIR_OK && answer.value.cost_ns != cost)))
            return weir__kit_fail(subject,
                "supports() is not pure: asked again about the same node it answers %d, cost %llu; "
                "before it was %d, cost %llu",
                code, (unsigned long long)answer.value.cost_ns, first, (unsigned long long)cost);
        first = code;
        cost = answer.value.cost_ns;
    }
    *out_is_supported = first == WEIR_OK;
    return true;
}

// ---- Before a run
// ----------------------------------------------------------------------------------

static bool ask_tasks(weir__kit_instance_t *instance, weir_tasks_t *out_tasks)
{
    weir__kit_subject_t *subject = instance->subject;
    GROWN_STRUCT(weir_tasks_t) answer;
    memset(&answer, POISON, sizeof answer);
    answer.value =
        (weir_tasks_t){.head = WEIR_HEAD(weir_tasks_t), .phase_count = 1, .task_count = {1}};
    if (instance->kernel->tasks)
        instance->kernel->tasks(&instance->node, instance->prepared.state, &answer.value);
    *out_tasks = answer.value;
    if (!is_poison(answer.beyond))
        return weir__kit_fail(subject, "tasks() wrote past the end of weir_tasks_t");
    if (out_tasks->phase_count > WEIR_PHASES_MAX)
        return weir__kit_fail(subject, "tasks() gave %u phases; at most %d are allowed",
            out_tasks->phase_count, WEIR_PHASES_MAX);
    return true;
}

static bool prepare_state(weir__kit_instance_t *instance)
{
    weir__kit_subject_t *subject = instance->subject;
    const weir_kernel_t *kernel = instance->kernel;
    GROWN_STRUCT(weir_prepared_t) answer;
    memset(&answer, POISON, sizeof answer);
    answer.value = (weir_prepared_t){.head = WEIR_HEAD(weir_prepared_t)};
    if (kernel->prepare) {
        weir_code_t code = kernel->prepare(&subject->host.abi, &instance->node, &answer.value);
        if (code != WEIR_OK)
            return weir__kit_fail(subject, "supports() said yes, then prepare() failed (%d): %s",
                code, subject->host.failure);
        if (!is_poison(answer.beyond))
            return weir__kit_fail(subject, "prepare() wrote past the end of weir_prepared_t");
    }
    instance->prepared = answer.value;
    return true;
}

bool weir__kit_prepare(weir__kit_subject_t *subject, const weir_kernel_t *kernel,
    const weir__kit_case_t *c, weir__kit_instance_t *out_instance)
{
    weir__kit_instance_t *instance = out_instance;
    weir_tasks_t again;
    instance->subject = subject;
    instance->kernel = kernel;
    if (!instance->c)
        weir__kit_show(c, instance);
    if (!prepare_state(instance))
        return false;
    if (!ask_tasks(instance, &instance->tasks) || !ask_tasks(instance, &again))
        return false;
    if (memcmp(again.task_count, instance->tasks.task_count,
            instance->tasks.phase_count * sizeof again.task_count[0]) != 0 ||
        again.phase_count != instance->tasks.phase_count)
        return weir__kit_fail(
            subject, "tasks() is not pure: asked again about the same node it divides otherwise");
    return true;
}

void weir__kit_release(weir__kit_instance_t *instance)
{
    if (instance->kernel->release && instance->prepared.state)
        instance->kernel->release(&instance->subject->host.abi, instance->prepared.state);
    instance->prepared.state = NULL;
    if (atomic_load(&instance->subject->host.is_overrun))
        weir__kit_fail(instance->subject, "memory from host->alloc was written past its end, or "
                                          "something else was given to host->free");
}

// ---- A run
// -----------------------------------------------------------------------------------------

typedef struct range {
    uint64_t first, count;
} range_t;

typedef struct phase {
    weir__kit_instance_t *instance;
    uint32_t number;
    const range_t *ranges;
    uint32_t range_count;
    atomic_uint next;
    atomic_int code;
    void *shared;
    uint8_t rubbish;
} phase_t;

static weir_code_t run_range(const phase_t *phase, const range_t *range, weir__kit_block_t *scratch)
{
    weir__kit_instance_t *instance = phase->instance;
    char error[WEIR_REASON_BYTES] = "";
    GROWN_STRUCT(weir_task_t) task;
    memset(&task, POISON, sizeof task);
    task.value = (weir_task_t){.head = WEIR_HEAD(weir_task_t),
        .node = &instance->node,
        .state = instance->prepared.state,
        .inputs = instance->bound_inputs,
        .outputs = instance->bound_outputs,
        .first = range->first,
        .count = range->count,
        .phase = phase->number,
        .error_bytes = sizeof error,
        .scratch = scratch->data,
        .shared = phase->shared,
        .error = error};
    if (scratch->data) // what another task left there
        memset(scratch->data, phase->rubbish, WEIR_MIN(scratch->bytes, 1u << 16));
    weir__kit_hooks_watch(true);
    weir_code_t code = instance->kernel->run(&task.value);
    weir__kit_hooks_watch(false);
    if (code != WEIR_OK)
        memcpy(instance->error, error, sizeof error);
    return code;
}

static void *work(void *user)
{
    phase_t *phase = user;
    uint64_t bytes = phase->instance->prepared.scratch_bytes;
    weir__kit_block_t scratch = {0};
    if (bytes)
        scratch = weir__kit_block(bytes, "scratch", true);
    for (;;) {
        uint32_t at = atomic_fetch_add(&phase->next, 1);
        if (at >= phase->range_count || atomic_load(&phase->code) != WEIR_OK)
            break;
        weir_code_t code = run_range(phase, &phase->ranges[at], &scratch);
        if (code != WEIR_OK)
            atomic_store(&phase->code, code);
    }
    if (!weir__kit_block_is_sound(&scratch))
        weir__kit_fail(phase->instance->subject, "run() wrote outside its scratch");
    weir__kit_block_free(&scratch);
    return NULL;
}

// Divides [0, count) as `order` says. Returns how many ranges there are.
static uint32_t divide(
    weir__kit_random_t *random, weir__kit_order_t order, uint64_t count, range_t *ranges)
{
    uint32_t made = 0;
    if (count == 0)
        return 0;
    if (order == WEIR__KIT_WHOLE) {
        ranges[0] = (range_t){.first = 0, .count = count};
        return 1;
    }
    uint64_t least = WEIR_DIV_UP(count, RANGES / 2);
    for (uint64_t at = 0; at < count;) {
        uint64_t size = order == WEIR__KIT_SHUFFLED || made + 1 == RANGES
                            ? least
                            : least + weir__kit_below(random, 3 * least + 1);
        if (made + 1 == RANGES)
            size = count;
        size = WEIR_MIN(size, count - at);
        ranges[made++] = (range_t){.first = at, .count = size};
        at += size;
    }
    for (uint32_t i = made; i > 1; i--) {
        uint64_t j = weir__kit_below(random, i);
        range_t kept = ranges[j];
        ranges[j] = ranges[i - 1];
        ranges[i - 1] = kept;
    }
    return made;
}

static weir_code_t run_phase(phase_t *phase, weir__kit_order_t order)
{
    pthread_t threads[WORKERS];
    uint32_t started = 0;
    while (order == WEIR__KIT_THREADS && started < WORKERS &&
           pthread_create(&threads[started], NULL, work, phase) == 0)
        started++;
    if (!started)
        work(phase);
    for (uint32_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    return atomic_load(&phase->code);
}

static void protect(weir__kit_instance_t *instance, bool is_read_only)
{
    weir__kit_host_t *host = &instance->subject->host;
    for (uint32_t i = 0; i < WEIR__KIT_HOST_BLOCKS; i++)
        weir__kit_block_protect(&host->blocks[i], is_read_only);
    for (uint32_t i = 0; i < instance->node.input_count; i++)
        if (instance->c->inputs[i].data != instance->c->outputs[0].data)
            weir__kit_block_protect(&instance->c->blocks[i], is_read_only);
}

weir_code_t weir__kit_execute(weir__kit_instance_t *instance, weir__kit_order_t order)
{
    weir__kit_random_t *random = &instance->subject->random;
    weir__kit_block_t shared = {0};
    range_t *ranges = malloc(RANGES * sizeof *ranges);
    if (!ranges)
        return WEIR_RESOURCE_EXHAUSTED;
    if (instance->prepared.shared_bytes)
        shared = weir__kit_block(instance->prepared.shared_bytes, "the shared block", true);
    weir_code_t code = WEIR_OK;
    instance->error[0] = '\0';
    protect(instance, true);
    for (uint32_t p = 0; p < instance->tasks.phase_count && code == WEIR_OK; p++) {
        phase_t phase = {.instance = instance,
            .number = p,
            .ranges = ranges,
            .shared = shared.data,
            .rubbish = (uint8_t)weir__kit_random(random)};
        phase.range_count = divide(random, order, instance->tasks.task_count[p], ranges);
        code = run_phase(&phase, order);
    }
    protect(instance, false);
    if (!weir__kit_block_is_sound(&shared))
        weir__kit_fail(instance->subject, "run() wrote outside its shared block");
    weir__kit_block_free(&shared);
    free(ranges);
    return code;
}
