// engine/conform/check_program.c: groups about nodes on a device: values, launches, artifacts,
// recordings, release while something is under way.
#include "engine/conform/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- The next case -----------------------------------------------------------------------------

// Makes a node that the device takes. false: no more cases, or a rule was broken.
static bool next_work(weir__kit_device_t *device, const weir__kit_target_t *target, bool is_large,
    weir__kit_case_t *out_case, weir__kit_work_t *out_work)
{
    weir__kit_subject_t *subject = device->subject;
    weir__kit_progress_t *progress = subject->progress;
    while (!progress->has_failed && progress->run_count < subject->case_limit &&
           progress->case_count < 8 * subject->case_limit) {
        uint32_t number = progress->case_count++;
        bool takes = false;
        subject->random.state = subject->seed + number;
        subject->random.state = weir__kit_random(&subject->random);
        int used = snprintf(progress->which, sizeof progress->which, "case %u: ", number);
        if (weir__kit_case_make(out_case, target->operator_, target->declared, target->dtype,
                is_large, &subject->random)) {
            weir__kit_allow(target, out_case);
            weir__kit_case_text(out_case, progress->which + used,
                (uint32_t)sizeof progress->which - (uint32_t)used);
            if (!weir__kit_device_takes(device, target->kernel, out_case, out_work, &takes))
                return false;
        }
        if (takes) {
            progress->run_count++;
            return true;
        }
        weir__kit_case_free(out_case);
    }
    return false;
}

// What a group does with a node. false: the device can be asked no more.
typedef bool (*check_t)(weir__kit_work_t *work);

// Opens the device and checks node after node.
static void check_each(
    weir__kit_subject_t *subject, const weir__kit_target_t *target, bool is_large, check_t check)
{
    static weir__kit_case_t c;
    static weir__kit_work_t work;
    weir__kit_device_t device;
    bool goes_on = true;
    if (!weir__kit_device_open(subject, &device))
        return;
    while (goes_on && next_work(&device, target, is_large, &c, &work)) {
        goes_on = check(&work);
        weir__kit_work_free(&work);
        weir__kit_case_free(&c);
    }
    weir__kit_device_close(&device);
}

static bool run_once(weir__kit_work_t *work, weir_handle_t recording, weir_code_t *out_code)
{
    return weir__kit_work_launch(work, recording) && weir__kit_work_finish(work, out_code);
}

// ---- Values ------------------------------------------------------------------------------------

static bool check_values(weir__kit_work_t *work)
{
    weir__kit_subject_t *subject = work->device->subject;
    weir__kit_expected_t expected;
    weir_code_t wanted, code;
    char text[300];
    bool is_made = false;
    if (!weir__kit_expect(work->c, &wanted, &expected))
        subject->progress->run_count--; // the reference has no answer: nothing was checked
    else
        is_made = weir__kit_work_make(work, NULL, 0);
    for (uint32_t times = 0; is_made && times < 2; times++) {
        if (!run_once(work, 0, &code))
            break;
        if (wanted == WEIR_INVALID_ARGUMENT && code != wanted)
            weir__kit_fail(subject,
                "an index out of range, or a divisor of 0, is INVALID_ARGUMENT (1); it ended with "
                "%d",
                code);
        else if (wanted == WEIR_OK && code != WEIR_OK)
            weir__kit_fail(
                subject, "it was taken, then it failed (%d): %s", code, subject->host.failure);
        else if (wanted == WEIR_OK && !weir__kit_compare(work->c, &expected, text, sizeof text))
            weir__kit_fail(subject, "%s%s", text, times ? ", the second time" : "");
    }
    weir__kit_expected_free(&expected);
    return true;
}

void weir__kit_check_device_values(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    check_each(subject, target, false, check_values);
}

// ---- What a launch costs -----------------------------------------------------------------------

#define WARM_UP 16u
#define LAUNCHES 64u

// Launches work four at a time. Notes what they call; false: something else went wrong.
static bool launch_often(
    weir__kit_work_t *work, int64_t *out_kept, const char **out_seen, uint32_t *out_seen_count)
{
    weir__kit_subject_t *subject = work->device->subject;
    int64_t blocks = 0;
    weir_code_t code = WEIR_OK;
    for (uint32_t i = 0; i < LAUNCHES; i++) {
        if (i == WARM_UP)
            blocks = weir__kit_hooks_balance() + atomic_load(&subject->host.live_count);
        (void)weir__kit_hooks_seen();
        if (!weir__kit_work_give(work, 0))
            return false;
        const char *seen = weir__kit_hooks_seen();
        if (seen && i >= WARM_UP) {
            *out_seen = seen;
            ++*out_seen_count;
        }
        if (i % 4 == 3 && (!weir__kit_work_finish(work, &code) || code != WEIR_OK))
            return false;
    }
    *out_kept = weir__kit_hooks_balance() + atomic_load(&subject->host.live_count) - blocks;
    return true;
}

// A pool that finds its size while it is used is no fault: one launch in four may make it grow.
static bool check_steady(weir__kit_work_t *work)
{
    weir__kit_subject_t *subject = work->device->subject;
    const char *seen = NULL;
    uint32_t seen_count = 0, later = LAUNCHES - WARM_UP;
    int64_t kept = 0;
    weir_code_t code = WEIR_OK;
    weir__kit_hooks_allow_locks(true);
    if (weir__kit_work_make(work, NULL, 0) && run_once(work, 0, &code) && code == WEIR_OK &&
        launch_often(work, &kept, &seen, &seen_count)) {
        if (seen_count > later / 4)
            weir__kit_fail(subject,
                "a launch calls %s, in %u of %u launches: it must neither allocate nor wait", seen,
                seen_count, later);
        if (kept > later / 4)
            weir__kit_fail(subject, "%u launches leave %lld blocks behind", later, (long long)kept);
    }
    return true;
}

void weir__kit_check_device_steady(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    check_each(subject, target, true, check_steady);
}

// ---- Artifacts ---------------------------------------------------------------------------------

static uint8_t *save(weir__kit_work_t *work, uint64_t *out_bytes)
{
    weir__kit_device_t *device = work->device;
    uint64_t bytes = 0, again;
    if (!weir__kit_device_expect(
            device, device->table->program_save(work->program, NULL, &bytes), "program_save()"))
        return NULL;
    uint8_t *artifact = malloc(bytes + 1);
    again = bytes;
    if (artifact &&
        weir__kit_device_expect(device,
            device->table->program_save(work->program, artifact, &again), "program_save()")) {
        if (again > bytes)
            weir__kit_fail(device->subject, "program_save() wants more room than it said");
        *out_bytes = again;
        return artifact;
    }
    free(artifact);
    return NULL;
}

// Bytes that are not an artifact of this build are refused, or still give the right answer.
static void check_damage(weir__kit_device_t *device, const uint8_t *artifact, uint64_t bytes)
{
    weir__kit_subject_t *subject = device->subject;
    uint8_t *bent = malloc(bytes + 1);
    for (uint32_t i = 0; bent && i < 64 && !subject->progress->has_failed; i++) {
        uint64_t length = i % 4 ? bytes : weir__kit_below(&subject->random, bytes);
        uint64_t at = weir__kit_below(&subject->random, bytes);
        memcpy(bent, artifact, bytes);
        if (length == bytes)
            bent[at] ^= (uint8_t)(1u << weir__kit_below(&subject->random, 8));
        weir_code_t code = device->table->artifact_check(device->handle, bent, length);
        if (code == WEIR_OK)
            weir__kit_fail(subject,
                length == bytes ? "artifact_check() accepts an artifact whose byte %llu was changed"
                                : "artifact_check() accepts an artifact cut to %llu bytes",
                (unsigned long long)(length == bytes ? at : length));
        else if (code != WEIR_DATA_LOSS && code != WEIR_UNSUPPORTED)
            weir__kit_fail(subject,
                "artifact_check() says %d of a damaged artifact: DATA_LOSS (12) or UNSUPPORTED (3)",
                code);
    }
    free(bent);
}

static bool check_artifact(weir__kit_work_t *work)
{
    static weir__kit_work_t loaded;
    weir__kit_device_t *device = work->device;
    weir__kit_subject_t *subject = device->subject;
    weir__kit_expected_t first = {0};
    weir_code_t code;
    uint64_t bytes = 0;
    bool takes;
    if (!weir__kit_work_make(work, NULL, 0) || !run_once(work, 0, &code) || code != WEIR_OK)
        return true;
    for (uint32_t o = 0; o < work->c->node.output_count; o++)
        if ((first.data[o] = malloc(work->c->outputs[o].bytes + 1)) && work->c->outputs[o].bytes)
            memcpy(first.data[o], work->c->outputs[o].data, work->c->outputs[o].bytes);
    uint8_t *artifact = save(work, &bytes);
    if (artifact && weir__kit_device_expect(device,
                        device->table->artifact_check(device->handle, artifact, bytes),
                        "artifact_check() of what program_save() wrote")) {
        char text[300];
        if (weir__kit_device_takes(device, work->kernel, work->c, &loaded, &takes) && takes &&
            weir__kit_work_make(&loaded, artifact, bytes) && run_once(&loaded, 0, &code)) {
            if (code != WEIR_OK)
                weir__kit_fail(subject, "a loaded program fails (%d)", code);
            else if (!weir__kit_compare(work->c, &first, text, sizeof text))
                weir__kit_fail(subject, "a loaded program gives another answer: %s", text);
        }
        weir__kit_work_free(&loaded);
        check_damage(device, artifact, bytes);
    }
    free(artifact);
    weir__kit_expected_free(&first);
    return true;
}

void weir__kit_check_device_artifacts(
    weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    check_each(subject, target, false, check_artifact);
}

// ---- Recordings --------------------------------------------------------------------------------

// Everything moves to another place: what is recorded must not remember the old one.
static bool move(weir__kit_work_t *work, weir_handle_t *out_old)
{
    weir_handle_t arena;
    if (!weir__kit_device_alloc(work->device, WEIR_MEMORY_DEVICE, work->arena_bytes, &arena))
        return false;
    for (uint32_t t = 0; t < WEIR__KIT_TENSORS + 1; t++) {
        if (work->bindings[t].buffer == work->arena)
            work->bindings[t].buffer = arena;
        if (work->places[t].buffer == work->arena)
            work->places[t].buffer = arena;
    }
    *out_old = work->arena;
    work->arena = arena;
    return true;
}

// Three launches of a recording, the last one with other bindings where it takes them.
static void replay(
    weir__kit_work_t *work, const weir__kit_expected_t *expected, weir_handle_t recording)
{
    weir__kit_device_t *device = work->device;
    weir_handle_t old = 0;
    weir_code_t code;
    char text[300];
    for (uint32_t i = 0; i < 3 && !device->subject->progress->has_failed; i++) {
        bool moves = i == 2 && work->info.replay == WEIR_REPLAY_REBIND && work->arena;
        if ((moves && !move(work, &old)) || !run_once(work, recording, &code))
            break;
        if (code != WEIR_OK)
            weir__kit_fail(device->subject, "a recorded launch fails (%d): %s", code,
                device->subject->host.failure);
        else if (!weir__kit_compare(work->c, expected, text, sizeof text))
            weir__kit_fail(device->subject, "a recorded launch: %s%s", text,
                moves ? ", with other bindings" : "");
    }
    if (old)
        device->table->free(device->handle, old);
}

static bool check_record(weir__kit_work_t *work)
{
    weir__kit_device_t *device = work->device;
    weir__kit_expected_t expected;
    weir_handle_t recording = 0;
    weir_code_t wanted;
    if (weir__kit_expect(work->c, &wanted, &expected) && wanted == WEIR_OK &&
        weir__kit_work_make(work, NULL, 0) && work->info.replay != WEIR_REPLAY_NONE &&
        weir__kit_device_expect(device,
            device->table->record(
                work->specialized.specialization, work->bindings, work->binding_count, &recording),
            "record()"))
        replay(work, &expected, recording);
    if (recording)
        device->table->recording_release(recording);
    weir__kit_expected_free(&expected);
    return true;
}

void weir__kit_check_device_records(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    check_each(subject, target, false, check_record);
}

// ---- Release while something is under way ------------------------------------------------------

static bool check_release(weir__kit_work_t *work)
{
    weir__kit_device_t *device = work->device;
    weir__kit_subject_t *subject = device->subject;
    weir_handle_t timeline = device->timeline;
    bool is_given = weir__kit_work_make(work, NULL, 0);
    for (uint32_t i = 0; is_given && i < 8; i++)
        is_given = i ? weir__kit_work_give(work, 0) : weir__kit_work_launch(work, 0);
    if (work->specialized.specialization)
        device->table->specialization_release(work->specialized.specialization);
    work->specialized.specialization = 0;
    // Whether they are finished or forgotten is the device's choice; signals stay in order.
    uint64_t reached = weir__kit_timeline_value(&subject->host, timeline);
    if (subject->host.misuse[0])
        weir__kit_fail(subject, "%s, after its specialization was released at %llu",
            subject->host.misuse, (unsigned long long)reached);
    if (device->own_memory && device->table->wait_idle)
        (void)device->table->wait_idle(device->handle);
    device->timeline = weir__kit_timeline_new(&subject->host);
    return device->timeline != 0;
}

void weir__kit_check_device_release(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    check_each(subject, target, true, check_release);
}
