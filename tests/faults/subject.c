// tests/faults/subject.c: see subject.h.
#include "tests/faults/subject.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- Counted memory ---------------------------------------------------------------------------

#define HEAD 64

static void *meter_alloc(void *user_data, size_t bytes, size_t alignment)
{
    meter_t *meter = user_data;
    if (alignment > HEAD || bytes > SIZE_MAX / 2)
        return NULL;
    size_t total = (bytes + HEAD + HEAD - 1) & ~(size_t)(HEAD - 1);
    char *memory = aligned_alloc(HEAD, total);
    if (!memory)
        return NULL;
    memcpy(memory, &total, sizeof total);
    uint64_t now = atomic_fetch_add(&meter->now, total) + total, peak = atomic_load(&meter->peak);
    while (peak < now && !atomic_compare_exchange_weak(&meter->peak, &peak, now)) {
    }
    return memory + HEAD;
}

static void meter_free(void *user_data, void *memory)
{
    meter_t *meter = user_data;
    size_t total;
    if (!memory)
        return;
    memcpy(&total, (char *)memory - HEAD, sizeof total);
    atomic_fetch_sub(&meter->now, total);
    free((char *)memory - HEAD);
}

void meter_init(meter_t *meter)
{
    atomic_init(&meter->now, 0);
    atomic_init(&meter->peak, 0);
    meter->allocator =
        (weir_allocator_t){.user_data = meter, .alloc = meter_alloc, .free = meter_free};
}

void meter_reset_peak(meter_t *meter)
{
    atomic_store(&meter->peak, atomic_load(&meter->now));
}

weir_engine_t *subject_engine(meter_t *meter, const weir_limits_t *limits)
{
    weir_engine_t *engine;
    weir_limits_t small = {.size = sizeof small, .arena_bytes = 16u << 20};
    weir_engine_options_t options = {.size = sizeof options,
        .threads = 1,
        .cache_dir = "",
        .limits = limits ? limits : &small,
        .allocator = meter ? &meter->allocator : NULL};
    meter_init(meter);
    weir_status_t status = weir_engine_create(&options, &engine);
    if (!status)
        return engine;
    fprintf(stderr, "%s\n", weir_status_text(status));
    exit(2);
}

// ---- Made-up inputs ---------------------------------------------------------------------------

static uint32_t dtype_bytes(weir_dtype_t dtype)
{
    if (dtype & (WEIR_F64 | WEIR_I64 | WEIR_U64))
        return 8;
    if (dtype & (WEIR_F32 | WEIR_I32 | WEIR_U32))
        return 4;
    return dtype & (WEIR_F16 | WEIR_BF16 | WEIR_I16 | WEIR_U16) ? 2 : 1;
}

// "2x3" -> 2, 3.
static uint32_t parse_dims(const char *text, int64_t *dims)
{
    uint32_t rank = 0;
    char *end;
    while (*text && rank < WEIR_RANK_MAX) {
        dims[rank++] = strtoll(text, &end, 10);
        text = *end == 'x' ? end + 1 : end;
    }
    return rank;
}

static void fill(void *data, uint64_t count, weir_dtype_t dtype, int64_t number)
{
    const double half = 0.5;
    const float half_f32 = 0.5f;
    const uint16_t half_f16 = 0x3800, half_bf16 = 0x3f00;
    uint32_t bytes = dtype_bytes(dtype);
    const void *element = dtype == WEIR_F64    ? (const void *)&half
                          : dtype == WEIR_F32  ? (const void *)&half_f32
                          : dtype == WEIR_F16  ? (const void *)&half_f16
                          : dtype == WEIR_BF16 ? (const void *)&half_bf16
                                               : (const void *)&number;
    if (dtype == WEIR_BOOL)
        number = number != 0;
    for (uint64_t i = 0; i < count; i++)
        memcpy((char *)data + i * bytes, element, bytes);
}

// One input. False: it is larger than anything that a test hands over.
static bool make_input(
    const weir_port_t *port, const char *dims, int64_t number, weir_value_t *out_value)
{
    const uint64_t most = 1u << 22;
    int64_t sizes[WEIR_RANK_MAX] = {0};
    uint32_t rank = port->rank < 0 ? 0 : (uint32_t)port->rank;
    uint64_t count = 1;
    for (uint32_t i = 0; i < rank; i++)
        sizes[i] = port->dims[i] < 0 ? 1 : port->dims[i];
    if (dims && *dims)
        rank = parse_dims(dims, sizes);
    for (uint32_t i = 0; i < rank; i++) {
        if (sizes[i] && count > most / (uint64_t)sizes[i])
            return false;
        count *= (uint64_t)sizes[i];
    }
    void *data = calloc(count + 1, dtype_bytes(port->dtype));
    if (!data)
        return false;
    fill(data, count, port->dtype, number);
    *out_value = weir_tensor(port->dtype, data, rank, sizes);
    return true;
}

// ---- All the way ------------------------------------------------------------------------------

static bool ended(weir_status_t status, const char *stage, outcome_t *outcome)
{
    outcome->code = weir_status_code(status);
    outcome->stage = stage;
    snprintf(outcome->text, sizeof outcome->text, "%s", weir_status_message(status));
    for (char *c = outcome->text; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = '?';
    weir_status_free(status);
    return outcome->code != WEIR_OK;
}

// What a run gave is read, so that a sanitizer sees a view that is not there.
static void read_outputs(const weir_value_t *outputs, uint32_t count, outcome_t *outcome)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t size = weir_value_count(&outputs[i]) * dtype_bytes(outputs[i].dtype);
        for (uint64_t at = 0; at < size; at++) // FNV-1a
            outcome->output_sum =
                (outcome->output_sum ^ ((const uint8_t *)outputs[i].data)[at]) * 0x100000001b3u;
        outcome->output_bytes += size;
    }
}

static void run_session(
    const subject_t *subject, weir_model_t *model, weir_session_t *session, outcome_t *outcome)
{
    uint32_t input_count = weir_model_input_count(model);
    uint32_t output_count = weir_model_output_count(model);
    weir_value_t *inputs = calloc(input_count + 1, sizeof *inputs);
    weir_value_t *outputs = calloc(output_count + 1, sizeof *outputs);
    bool ready = inputs && outputs;
    if (!ready)
        *outcome = (outcome_t){.code = WEIR_RESOURCE_EXHAUSTED, .stage = "inputs of the test"};
    for (uint32_t i = 0; ready && i < input_count; i++) {
        weir_port_t port;
        ready = !ended(weir_model_input(model, i, &port), "describe", outcome);
        if (ready && !make_input(&port, i == 0 ? subject->dims : NULL, subject->fill, &inputs[i])) {
            *outcome = (outcome_t){.code = WEIR_RESOURCE_EXHAUSTED, .stage = "inputs of the test"};
            ready = false;
        }
    }
    for (uint32_t i = 0; ready && i < output_count; i++)
        outputs[i] = weir_view();
    if (ready) {
        weir_run_options_t options = {.size = sizeof options,
            .deadline_ns = subject->limit_ns ? weir_now_ns() + subject->limit_ns : 0};
        if (!ended(weir_session_run(session, &options, input_count, inputs, output_count, outputs),
                "run", outcome))
            read_outputs(outputs, output_count, outcome);
    }
    for (uint32_t i = 0; inputs && i < input_count; i++)
        free(inputs[i].data);
    free(inputs);
    free(outputs);
}

void subject_run(weir_engine_t *engine, const subject_t *subject, outcome_t *out_outcome)
{
    weir_model_t *model = NULL;
    weir_plan_t *plan = NULL;
    weir_session_t *session = NULL;
    weir_plan_options_t options = {.size = sizeof options, .devices = subject->devices};
    weir_status_t status = subject->path ? weir_model_load(engine, subject->path, NULL, &model)
                                         : weir_model_load_bytes(engine, subject->bytes,
                                               subject->byte_count, NULL, &model);
    *out_outcome = (outcome_t){.stage = ""};
    if (!ended(status, "load", out_outcome) &&
        !ended(weir_plan_create(model, &options, &plan), "plan", out_outcome) &&
        !ended(weir_session_create(plan, NULL, &session), "session", out_outcome))
        run_session(subject, model, session, out_outcome);
    weir_session_free(session);
    weir_plan_free(plan);
    weir_model_free(model);
}
