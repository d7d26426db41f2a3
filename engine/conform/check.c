// engine/conform/check.c: groups that compare with the reference: values, in place, packed
// constants, expressions, formats.
#include "engine/conform/kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- The next case
// -------------------------------------------------------------------------------

static bool make(weir__kit_subject_t *subject, const weir__kit_target_t *target,
    weir__kit_extra_t extra, weir__kit_case_t *c)
{
    if (!weir__kit_case_make(c, target->operator_, target->declared, target->dtype,
            extra == WEIR__KIT_LARGE, &subject->random))
        return false;
    if (extra == WEIR__KIT_CONSTANT_WEIGHTS)
        for (uint32_t i = 1; i < c->node.input_count; i++)
            if (c->inputs[i].dtype)
                c->inputs[i].flags = WEIR_TENSOR_CONSTANT;
    if (extra == WEIR__KIT_WITH_EPILOGUE || extra == WEIR__KIT_WITH_PROLOGUE) {
        bool is_prologue = extra == WEIR__KIT_WITH_PROLOGUE;
        const weir_tensor_t *anchor = is_prologue ? &c->inputs[0] : &c->outputs[0];
        if (anchor->dtype != target->dtype || target->dtype == WEIR_BOOL || c->has_specials ||
            (!is_prologue && c->node.output_count > 1))
            return false;
        c->budget = 256;
        weir__kit_attach(c, is_prologue);
    }
    weir__kit_allow(target, c);
    return true;
}

bool weir__kit_next_case(weir__kit_subject_t *subject, const weir__kit_target_t *target,
    weir__kit_extra_t extra, weir__kit_case_t *out_case)
{
    weir__kit_progress_t *progress = subject->progress;
    while (!progress->has_failed && progress->run_count < subject->case_limit &&
           progress->case_count < 8 * subject->case_limit) {
        uint32_t number = progress->case_count++;
        bool is_supported = false;
        subject->random.state = subject->seed + number;
        subject->random.state = weir__kit_random(&subject->random);
        snprintf(progress->which, sizeof progress->which, "case %u", number);
        if (make(subject, target, extra, out_case)) {
            int used = snprintf(progress->which, sizeof progress->which, "case %u: ", number);
            weir__kit_case_text(out_case, progress->which + used,
                (uint32_t)sizeof progress->which - (uint32_t)used);
            weir__kit_instance_t shown = {0};
            weir__kit_show(out_case, &shown);
            if (!weir__kit_supports(subject, target->kernel, &shown.node, &is_supported))
                return false;
        }
        if (is_supported) {
            progress->run_count++;
            return true;
        }
        weir__kit_case_free(out_case);
    }
    return false;
}

// ---- The verdict on one node
// ---------------------------------------------------------------------

static bool guards_are_sound(weir__kit_subject_t *subject, const weir__kit_case_t *c)
{
    for (uint32_t i = 0; i < WEIR__KIT_INPUTS + WEIR__KIT_OUTPUTS; i++)
        if (!weir__kit_block_is_sound(&c->blocks[i]))
            return weir__kit_fail(subject, "run() wrote outside %s %u",
                i < WEIR__KIT_INPUTS ? "input" : "output", i % WEIR__KIT_INPUTS);
    return true;
}

bool weir__kit_verify(weir__kit_subject_t *subject, const weir__kit_target_t *target,
    weir__kit_case_t *c, weir__kit_instance_t *instance, const weir__kit_expected_t *expected,
    weir_code_t wanted)
{
    char text[300];
    if (!weir__kit_prepare(subject, target->kernel, c, instance))
        return false;
    weir_code_t code = weir__kit_execute(instance, WEIR__KIT_WHOLE);
    weir__kit_release(instance);
    if (!guards_are_sound(subject, c))
        return false;
    if (wanted == WEIR_INVALID_ARGUMENT && code != wanted)
        return weir__kit_fail(subject,
            "an index out of range, or a divisor of 0, is INVALID_ARGUMENT (1); run() said %d",
            code);
    if (wanted == WEIR_OK && code != WEIR_OK)
        return weir__kit_fail(
            subject, "supports() said yes, then run() failed (%d): %s", code, instance->error);
    for (uint32_t o = 0; o < c->node.output_count; o++)
        if (instance->bound_outputs[o].format != WEIR_FORMAT_ROW_MAJOR &&
            !weir__kit_from_blocked(&instance->bound_outputs[o], c->outputs[o].data))
            return weir__kit_fail(
                subject, "output %u: what fills up the last block of channels must be 0", o);
    if (wanted == WEIR_OK && !weir__kit_compare(c, expected, text, sizeof text))
        return weir__kit_fail(subject, "%s", text);
    return !subject->progress->has_failed;
}

static void compare_cases(
    weir__kit_subject_t *subject, const weir__kit_target_t *target, weir__kit_extra_t extra)
{
    static weir__kit_case_t c;
    while (weir__kit_next_case(subject, target, extra, &c)) {
        weir__kit_expected_t expected;
        weir__kit_instance_t instance = {0};
        weir_code_t wanted;
        if (weir__kit_expect(&c, &wanted, &expected))
            weir__kit_verify(subject, target, &c, &instance, &expected, wanted);
        else
            subject->progress->run_count--; // the reference has no answer: nothing was checked
        weir__kit_expected_free(&expected);
        weir__kit_case_free(&c);
    }
}

// There is no reference for an operator of the plugin's own: two runs must agree, whatever lay in
// the outputs before.
void weir__kit_check_again(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    static weir__kit_case_t c;
    while (weir__kit_next_case(subject, target, WEIR__KIT_PLAIN, &c)) {
        weir__kit_expected_t first = {0};
        for (int run = 0; run < 2 && !subject->progress->has_failed; run++) {
            weir__kit_instance_t instance = {0};
            char text[300];
            for (uint32_t o = 0; o < c.node.output_count; o++)
                if (c.outputs[o].bytes)
                    memset(c.outputs[o].data, run ? 0xCC : 0x33, c.outputs[o].bytes);
            if (!weir__kit_prepare(subject, target->kernel, &c, &instance))
                break;
            weir_code_t code = weir__kit_execute(&instance, WEIR__KIT_WHOLE);
            weir__kit_release(&instance);
            if (!guards_are_sound(subject, &c))
                break;
            if (code != WEIR_OK && code != WEIR_INVALID_ARGUMENT)
                weir__kit_fail(subject, "supports() said yes, then run() failed (%d): %s", code,
                    instance.error);
            for (uint32_t o = 0; !run && o < c.node.output_count; o++)
                if ((first.data[o] = malloc(c.outputs[o].bytes + 1)) && c.outputs[o].bytes)
                    memcpy(first.data[o], c.outputs[o].data, c.outputs[o].bytes);
            if (run && code == WEIR_OK && !weir__kit_compare(&c, &first, text, sizeof text))
                weir__kit_fail(subject, "run again, with other bytes in its outputs: %s", text);
        }
        weir__kit_expected_free(&first);
        weir__kit_case_free(&c);
    }
}

void weir__kit_check_values(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    compare_cases(subject, target, WEIR__KIT_PLAIN);
}

void weir__kit_check_epilogue(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    compare_cases(subject, target, WEIR__KIT_WITH_EPILOGUE);
}

void weir__kit_check_prologue(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    compare_cases(subject, target, WEIR__KIT_WITH_PROLOGUE);
}

// ---- In place
// ------------------------------------------------------------------------------------

// The input whose memory output 0 may be; UINT32_MAX: none.
static uint32_t in_place_input(const weir__kit_case_t *c)
{
    const weir_tensor_t *output = &c->outputs[0];
    uint32_t count = c->node.body ? c->node.input_count : WEIR_MIN(c->node.input_count, 1u);
    for (uint32_t i = 0; i < count && c->node.output_count == 1; i++) {
        const weir_tensor_t *input = &c->inputs[i];
        if (input->dtype && input->bytes == output->bytes && input->rank == output->rank &&
            !(input->flags & WEIR_TENSOR_CONSTANT) &&
            memcmp(input->dims, output->dims, output->rank * sizeof output->dims[0]) == 0)
            return i;
    }
    return UINT32_MAX;
}

void weir__kit_check_in_place(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    static weir__kit_case_t c;
    while (weir__kit_next_case(subject, target, WEIR__KIT_PLAIN, &c)) {
        weir__kit_expected_t expected;
        weir__kit_instance_t instance = {0};
        weir_code_t wanted;
        uint32_t input = in_place_input(&c);
        if (weir__kit_expect(&c, &wanted, &expected) && wanted == WEIR_OK && input != UINT32_MAX) {
            c.outputs[0].data = c.inputs[input].data;
            weir__kit_verify(subject, target, &c, &instance, &expected, wanted);
        } else {
            subject->progress->run_count--;
        }
        weir__kit_expected_free(&expected);
        weir__kit_case_free(&c);
    }
}

// ---- Packed constants
// ----------------------------------------------------------------------------

static bool pack_input(weir__kit_subject_t *subject, const weir_kernel_t *kernel,
    const weir_node_t *node, weir__kit_instance_t *instance, uint32_t input,
    weir__kit_block_t *out_block)
{
    weir_packing_t wanted = {.head = WEIR_HEAD(weir_packing_t)}, again = wanted;
    weir_code_t code = kernel->pack_query(node, input, &wanted);
    if (code != WEIR_OK)
        return weir__kit_fail(subject, "pack_query() of input %u failed (%d)", input, code);
    code = kernel->pack_query(node, input, &again);
    if (code != WEIR_OK || again.format != wanted.format || again.bytes != wanted.bytes)
        return weir__kit_fail(subject, "pack_query() of input %u is not pure", input);
    if (!wanted.format)
        return true;
    if (wanted.format < WEIR_FORMAT_OWN)
        return weir__kit_fail(subject,
            "pack_query() of input %u gives format %u: its own begin at WEIR_FORMAT_OWN", input,
            wanted.format);
    *out_block = weir__kit_block(wanted.bytes, "a packed constant", true);
    weir__kit_block_t other = weir__kit_block(wanted.bytes, "a packed constant", true);
    if (!out_block->map || !other.map)
        return weir__kit_fail(subject, "no memory for a packed constant of %llu bytes",
            (unsigned long long)wanted.bytes);
    memset(out_block->data, 0x11, wanted.bytes);
    memset(other.data, 0x22, wanted.bytes);
    code = kernel->pack(node, input, out_block->data, wanted.bytes);
    if (code == WEIR_OK)
        code = kernel->pack(node, input, other.data, wanted.bytes);
    if (code != WEIR_OK)
        weir__kit_fail(subject, "pack() of input %u failed (%d)", input, code);
    else if (!weir__kit_block_is_sound(out_block))
        weir__kit_fail(subject, "pack() of input %u wrote outside its destination", input);
    else if (memcmp(out_block->data, other.data, wanted.bytes) != 0)
        weir__kit_fail(subject,
            "pack() of input %u gives other bytes the second time, or leaves some unwritten",
            input);
    weir__kit_block_free(&other);
    weir__kit_block_protect(out_block, true);
    weir_tensor_t *views[2] = {&instance->inputs[input], &instance->bound_inputs[input]};
    for (uint32_t i = 0; i < 2; i++) {
        views[i]->data = out_block->data;
        views[i]->bytes = wanted.bytes;
        views[i]->format = wanted.format;
    }
    return !subject->progress->has_failed;
}

static bool pack_all(weir__kit_subject_t *subject, const weir_kernel_t *kernel,
    weir__kit_instance_t *instance, weir__kit_block_t *blocks)
{
    // All before any: a kernel packs one constant with the others as they were.
    weir__kit_instance_t plain = *instance;
    plain.node.inputs = plain.inputs;
    for (uint32_t i = 0; i < instance->node.input_count; i++)
        if (kernel->pack_query && kernel->pack && (plain.inputs[i].flags & WEIR_TENSOR_CONSTANT) &&
            !pack_input(subject, kernel, &plain.node, instance, i, &blocks[i]))
            return false;
    return true;
}

void weir__kit_check_packing(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    static weir__kit_case_t c;
    while (weir__kit_next_case(subject, target, WEIR__KIT_CONSTANT_WEIGHTS, &c)) {
        weir__kit_expected_t expected;
        weir__kit_instance_t instance = {0};
        weir__kit_block_t blocks[WEIR__KIT_INPUTS] = {{0}};
        weir_code_t wanted;
        bool is_sound = weir__kit_expect(&c, &wanted, &expected);
        weir__kit_show(&c, &instance);
        if (is_sound && pack_all(subject, target->kernel, &instance, blocks))
            weir__kit_verify(subject, target, &c, &instance, &expected, wanted);
        for (uint32_t i = 0; i < WEIR__KIT_INPUTS; i++)
            weir__kit_block_free(&blocks[i]);
        weir__kit_expected_free(&expected);
        weir__kit_case_free(&c);
    }
}

// ---- Formats
// -------------------------------------------------------------------------------------

#define BLOCKED WEIR_FORMAT_BIT(WEIR_FORMAT_NCHW16C)

static weir__kit_block_t make_blocked(weir_tensor_t *view, weir_tensor_t *bound, const char *what)
{
    weir__kit_block_t block = weir__kit_block(weir__kit_blocked_bytes(view), what, true);
    bound->data = block.data;
    bound->bytes = view->bytes = block.bytes;
    bound->format = view->format = WEIR_FORMAT_NCHW16C;
    return block;
}

// Lays activations in blocks, the inputs, the output or both. false: there are none.
static bool lay_out(weir__kit_subject_t *subject, const weir_kernel_t *kernel,
    const weir__kit_case_t *c, weir__kit_instance_t *instance, weir__kit_block_t *blocks)
{
    uint32_t count = 0, made = 0, ways = (uint32_t)weir__kit_below(&subject->random, 3);
    for (uint32_t i = 0; i < c->node.input_count; i++) {
        const weir_tensor_t *input = &c->inputs[i];
        if (ways == 1 || !(kernel->input_formats & BLOCKED) || input->rank != 4 ||
            (input->flags & WEIR_TENSOR_CONSTANT))
            continue;
        blocks[count] =
            make_blocked(&instance->inputs[i], &instance->bound_inputs[i], "a blocked input");
        weir__kit_to_blocked(input, blocks[count].data);
        made++;
        count++;
    }
    for (uint32_t o = 0; o < c->node.output_count; o++) {
        if (ways == 2 || !(kernel->output_formats & BLOCKED) || c->outputs[o].rank != 4)
            continue;
        blocks[count++] =
            make_blocked(&instance->outputs[o], &instance->bound_outputs[o], "a blocked output");
        made++;
    }
    return made > 0;
}

// One case. false: the kernel, or the reference, does not take it.
static bool check_layout(weir__kit_subject_t *subject, const weir__kit_target_t *target,
    weir__kit_case_t *c, uint32_t number, weir__kit_block_t *blocks, weir__kit_block_t *packed)
{
    weir__kit_progress_t *progress = subject->progress;
    weir__kit_instance_t instance = {0};
    weir__kit_expected_t expected;
    weir_code_t wanted;
    bool is_supported = false;
    for (uint32_t i = 1; c->is_expression && i < c->node.input_count; i++)
        c->inputs[i].flags = 0;
    weir__kit_show(c, &instance);
    if (!lay_out(subject, target->kernel, c, &instance, blocks) ||
        !weir__kit_supports(subject, target->kernel, &instance.node, &is_supported) ||
        !is_supported)
        return false;
    bool is_known = weir__kit_expect(c, &wanted, &expected);
    if (is_known) {
        int used = snprintf(progress->which, sizeof progress->which,
            "case %u, input 0 in format %u, output 0 in format %u: ", number,
            instance.inputs[0].format, instance.outputs[0].format);
        weir__kit_case_text(
            c, progress->which + used, (uint32_t)sizeof progress->which - (uint32_t)used);
        if (pack_all(subject, target->kernel, &instance, packed))
            weir__kit_verify(subject, target, c, &instance, &expected, wanted);
    }
    weir__kit_expected_free(&expected);
    return is_known;
}

void weir__kit_check_formats(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    static weir__kit_case_t c;
    weir__kit_progress_t *progress = subject->progress;
    while (progress->case_count < 12 * subject->case_limit &&
           progress->run_count < subject->case_limit && !progress->has_failed) {
        weir__kit_block_t blocks[WEIR__KIT_INPUTS + WEIR__KIT_OUTPUTS] = {{0}};
        weir__kit_block_t packed[WEIR__KIT_INPUTS] = {{0}};
        uint32_t number = progress->case_count++;
        subject->random.state = subject->seed + number;
        subject->random.state = weir__kit_random(&subject->random);
        snprintf(progress->which, sizeof progress->which, "case %u", number);
        if (make(subject, target, WEIR__KIT_CONSTANT_WEIGHTS, &c))
            progress->run_count += check_layout(subject, target, &c, number, blocks, packed);
        for (uint32_t i = 0; i < WEIR__KIT_INPUTS + WEIR__KIT_OUTPUTS; i++) {
            if (!weir__kit_block_is_sound(&blocks[i]))
                weir__kit_fail(subject, "run() wrote outside a blocked tensor");
            weir__kit_block_free(&blocks[i]);
        }
        for (uint32_t i = 0; i < WEIR__KIT_INPUTS; i++)
            weir__kit_block_free(&packed[i]);
        weir__kit_case_free(&c);
    }
}
