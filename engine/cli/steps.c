// Collecting the profiles of several runs; see steps.h.
#include "engine/cli/steps.h"

#include <stdlib.h>
#include <string.h>

static int compare_ns(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a;
    const uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

uint64_t weir__cli_steps_percentile(uint64_t *numbers, uint64_t count, uint32_t percent)
{
    if (count == 0)
        return 0;
    qsort(numbers, (size_t)count, sizeof(*numbers), compare_ns);
    const uint64_t rank = (count * percent + 99) / 100;
    return numbers[rank ? rank - 1 : 0];
}

static weir_code_t no_memory(weir__cli_fault_t *fault)
{
    return weir__cli_fault_set(fault, WEIR_RESOURCE_EXHAUSTED,
        "no memory for the times of that many runs: give fewer of them");
}

static weir_code_t run_once(const weir__cli_chain_t *chain, const weir__cli_inputs_t *inputs,
    uint32_t output_count, weir_value_t *outputs, uint32_t level, weir__cli_fault_t *fault)
{
    const weir_run_options_t how = {.size = sizeof(how), .profile_level = level};
    for (uint32_t i = 0; i < output_count; i++)
        outputs[i] = weir_view();
    const weir_code_t code =
        weir__cli_chain_take(weir_session_run(chain->session, &how, inputs->count, inputs->values,
                                 output_count, outputs),
            fault);
    return weir__cli_inputs_blame(inputs, code, fault);
}

// The steps of a plan are known once it has run.
static weir_code_t make_room(
    const weir__cli_chain_t *chain, weir__cli_steps_t *steps, weir__cli_fault_t *fault)
{
    weir_profile_run_t run = {.size = sizeof(run)};
    weir_session_profile_run(chain->session, &run);
    const size_t count = run.step_count;
    steps->step_count = run.step_count;
    steps->steps = calloc(count + 1, sizeof(*steps->steps));
    steps->median_ns = calloc(count + 1, sizeof(*steps->median_ns));
    steps->times = calloc(count * steps->run_count + 1, sizeof(*steps->times));
    steps->runs = calloc((size_t)steps->run_count + 1, sizeof(*steps->runs));
    return steps->steps && steps->median_ns && steps->times && steps->runs ? WEIR_OK
                                                                           : no_memory(fault);
}

// What devices recorded of the last run.
static weir_code_t take_inside(const weir__cli_chain_t *chain, weir__cli_steps_t *steps,
    uint32_t index, uint64_t zero_ns, weir__cli_fault_t *fault)
{
    weir_profile_node_t node = {.size = sizeof(node)};
    for (uint32_t i = 0; weir_session_profile_node(chain->session, i, &node); i++) {
        if (steps->inside_count == steps->inside_room) {
            const size_t room = steps->inside_room ? 2 * steps->inside_room : 64;
            weir__cli_inside_t *grown = realloc(steps->inside, room * sizeof(*grown));
            if (!grown)
                return no_memory(fault);
            steps->inside = grown;
            steps->inside_room = room;
        }
        // The device's clock may say that it began before the first run did.
        const uint64_t start_ns = node.start_ns > zero_ns ? node.start_ns - zero_ns : 0;
        steps->inside[steps->inside_count++] = (weir__cli_inside_t){.run = index,
            .step = node.step,
            .op = node.op,
            .origins = node.origins,
            .times = {.start_ns = start_ns, .duration_ns = node.duration_ns}};
    }
    return WEIR_OK;
}

static weir_code_t take_run(const weir__cli_chain_t *chain, weir__cli_steps_t *steps,
    uint32_t index, uint64_t zero_ns, weir__cli_fault_t *fault)
{
    weir_profile_run_t run = {.size = sizeof(run)};
    weir_session_profile_run(chain->session, &run);
    if (run.step_count != steps->step_count)
        return weir__cli_fault_set(fault, WEIR_INTERNAL,
            "a run made %u steps and the next one, on the same inputs, %u: please report this",
            steps->step_count, run.step_count);
    steps->runs[index] = (weir__cli_step_times_t){
        .start_ns = run.start_ns - zero_ns, .duration_ns = run.duration_ns};
    for (uint32_t i = 0; i < steps->step_count; i++) {
        weir_profile_step_t *step = &steps->steps[i];
        step->size = sizeof(*step);
        (void)weir_session_profile(chain->session, i, step);
        steps->times[(size_t)index * steps->step_count + i] = (weir__cli_step_times_t){
            .start_ns = step->start_ns - zero_ns, .duration_ns = step->duration_ns};
    }
    return take_inside(chain, steps, index, zero_ns, fault);
}

static weir_code_t summarize(weir__cli_steps_t *steps, weir__cli_fault_t *fault)
{
    uint64_t *numbers = calloc((size_t)steps->run_count + 1, sizeof(*numbers));
    if (!numbers)
        return no_memory(fault);
    for (uint32_t r = 0; r < steps->run_count; r++)
        numbers[r] = steps->runs[r].duration_ns;
    steps->run_ns = weir__cli_steps_percentile(numbers, steps->run_count, 50);
    for (uint32_t r = 0; r < steps->run_count; r++) {
        uint64_t inside_ns = 0;
        for (uint32_t i = 0; i < steps->step_count; i++)
            inside_ns += steps->times[(size_t)r * steps->step_count + i].duration_ns;
        numbers[r] = steps->runs[r].duration_ns - inside_ns;
    }
    steps->between_ns = weir__cli_steps_percentile(numbers, steps->run_count, 50);
    for (uint32_t i = 0; i < steps->step_count; i++) {
        for (uint32_t r = 0; r < steps->run_count; r++)
            numbers[r] = steps->times[(size_t)r * steps->step_count + i].duration_ns;
        steps->median_ns[i] = weir__cli_steps_percentile(numbers, steps->run_count, 50);
        steps->steps_ns += steps->median_ns[i];
        if (strcmp(steps->steps[i].device, "ref") == 0)
            steps->ref_ns += steps->median_ns[i];
        steps->flop += steps->steps[i].flop;
        steps->bytes += steps->steps[i].bytes;
    }
    free(numbers);
    return WEIR_OK;
}

weir_code_t weir__cli_steps_make(const weir__cli_chain_t *chain, const weir__cli_inputs_t *inputs,
    uint32_t warm_up, uint32_t run_count, weir__cli_steps_t *out_steps, weir__cli_fault_t *fault)
{
    *out_steps = (weir__cli_steps_t){.run_count = run_count};
    const uint32_t output_count = weir_model_output_count(chain->model);
    weir_value_t *outputs = calloc((size_t)output_count + 1, sizeof(*outputs));
    if (!outputs)
        return no_memory(fault);
    // The last run of the warm-up is profiled too: what a profile needs is then in place.
    weir_code_t code = WEIR_OK;
    for (uint32_t i = 0; i < warm_up && code == WEIR_OK; i++)
        code = run_once(chain, inputs, output_count, outputs, 0, fault);
    if (code == WEIR_OK)
        code = run_once(chain, inputs, output_count, outputs, 1, fault);
    if (code == WEIR_OK)
        code = make_room(chain, out_steps, fault);
    const uint64_t zero_ns = weir_now_ns();
    for (uint32_t i = 0; i < run_count && code == WEIR_OK; i++) {
        code = run_once(chain, inputs, output_count, outputs, 1, fault);
        if (code == WEIR_OK)
            code = take_run(chain, out_steps, i, zero_ns, fault);
    }
    // What these runs took is what later plans place nodes by.
    if (code == WEIR_OK && run_count > 0 && out_steps->step_count > 0)
        code = weir__cli_chain_take(weir_session_learn(chain->session), fault);
    if (code == WEIR_OK)
        code = summarize(out_steps, fault);
    free(outputs);
    return code;
}

void weir__cli_steps_free(weir__cli_steps_t *steps)
{
    free(steps->steps);
    free(steps->median_ns);
    free(steps->least_ns);
    free(steps->times);
    free(steps->runs);
    free(steps->inside);
    *steps = (weir__cli_steps_t){0};
}
