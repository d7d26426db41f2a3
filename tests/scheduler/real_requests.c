// tests/scheduler/real_requests.c: a real model under the scheduler: each answer's bytes are those
// of a run alone.
//
//     real_requests MODEL.onnx COUNT [--lengths LOW HIGH] [--pad] [--most N] [--max-batch N]
//
// Goal:   batching changes no bit of an answer, whoever its neighbours are.
// Method: KINDS different requests, each run alone by a session; then COUNT of them through the
//         scheduler, 48 in flight, one in 16 cancelled. Free axes that are not those of rows are
//         LOW to HIGH long. --pad declares them: then a request alone is run as long as it is
//         filled (1, 2, 3, 4, 6, 8, 12 …), and what is said besides is whether its own length gives
//         the same bits. --most: integers are below N (1: masks and types).
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/scheduler.h>
#include <weir/weir.h>

enum { KINDS = 48, DEPTH = 48, PORTS = 8 };

typedef struct kind {
    weir_value_t inputs[PORTS], outputs[PORTS];
    int64_t length;
} kind_t;

typedef struct call {
    kind_t *kind;
    weir_value_t outputs[PORTS];
    atomic_int busy;
} call_t;

typedef struct program {
    weir_engine_t *engine;
    weir_model_t *model;
    weir_session_t *session;
    weir_scheduler_t *scheduler;
    uint32_t input_count, output_count;
    weir_port_t inputs[PORTS];
    int64_t low, high, most;
    uint32_t max_batch;
    int pad;
    uint64_t random;
    kind_t kinds[KINDS];
    call_t calls[DEPTH];
    atomic_long answered, cancelled, failed, wrong, rows;
} program_t;

static program_t program;

static void die(const char *what)
{
    fprintf(stderr, "real_requests: %s\n", what);
    exit(1);
}

static void check(weir_status_t status)
{
    if (status)
        die(weir_status_text(status));
}

static uint64_t draw(uint64_t below)
{
    program.random ^= program.random << 13;
    program.random ^= program.random >> 7;
    program.random ^= program.random << 17;
    return (program.random >> 11) % below;
}

static size_t element_bytes(weir_dtype_t dtype)
{
    if (dtype & (WEIR_I64 | WEIR_F64))
        return 8;
    return dtype & (WEIR_F32 | WEIR_I32) ? 4 : 1;
}

static void fill(weir_value_t *value, const char *name)
{
    uint64_t count = weir_value_count(value);
    int is_mask = strstr(name, "mask") != NULL, is_type = strstr(name, "type") != NULL;
    for (uint64_t i = 0; i < count; i++) {
        int64_t whole = is_mask ? 1 : is_type ? 0 : (int64_t)draw((uint64_t)program.most);
        if (value->dtype == WEIR_F32)
            ((float *)value->data)[i] = (float)draw(2001) / 1000 - 1;
        else if (value->dtype == WEIR_I64)
            ((int64_t *)value->data)[i] = whole;
        else if (value->dtype == WEIR_I32)
            ((int32_t *)value->data)[i] = (int32_t)whole;
        else
            ((uint8_t *)value->data)[i] = (uint8_t)whole;
    }
}

// 1, 2, 3, 4, 6, 8, 12 …
static int64_t rounded(int64_t length)
{
    int64_t power = 1;
    while (power < length)
        power *= 2;
    return power / 4 * 3 >= length ? power / 4 * 3 : power;
}

static void make_inputs(kind_t *kind)
{
    kind->length = program.low + (int64_t)draw((uint64_t)(program.high - program.low + 1));
    for (uint32_t i = 0; i < program.input_count; i++) {
        const weir_port_t *port = &program.inputs[i];
        weir_value_t *value = &kind->inputs[i];
        *value = (weir_value_t){.dtype = port->dtype, .rank = (uint32_t)port->rank};
        for (int32_t d = 0; d < port->rank; d++)
            value->dims[d] = port->dims[d] >= 0 ? port->dims[d] : d ? kind->length : 1;
        value->capacity_bytes = weir_value_count(value) * element_bytes(port->dtype);
        value->data = malloc(value->capacity_bytes + 1);
        fill(value, port->name);
    }
}

// Filled with zeros behind, as the scheduler is told to. One row, and the axis is the second.
static weir_value_t lengthened(const weir_value_t *value, int64_t length)
{
    weir_value_t longer = *value;
    longer.dims[1] = length;
    longer.capacity_bytes = weir_value_count(&longer) * element_bytes(value->dtype);
    longer.data = calloc(1, longer.capacity_bytes + 1);
    memcpy(longer.data, value->data, value->capacity_bytes);
    return longer;
}

static void run_alone(kind_t *kind, int filled, weir_value_t *outputs)
{
    weir_value_t inputs[PORTS];
    for (uint32_t i = 0; i < program.input_count; i++)
        inputs[i] = filled && program.inputs[i].rank == 2 && program.inputs[i].dims[1] < 0
                        ? lengthened(&kind->inputs[i], rounded(kind->length))
                        : kind->inputs[i];
    for (uint32_t i = 0; i < program.output_count; i++)
        outputs[i] = weir_view();
    check(weir_session_run(
        program.session, NULL, program.input_count, inputs, program.output_count, outputs));
    for (uint32_t i = 0; i < program.output_count; i++) {
        weir_value_t *it = &outputs[i];
        // One row: what is cut back is a beginning.
        if (filled && it->rank == 3)
            it->dims[1] = kind->length;
        it->capacity_bytes = weir_value_count(it) * element_bytes(it->dtype);
        void *copy = malloc(it->capacity_bytes + 1);
        memcpy(copy, it->data, it->capacity_bytes);
        it->data = copy;
        it->placement = WEIR_PLACE_CALLER;
    }
    for (uint32_t i = 0; i < program.input_count; i++)
        if (inputs[i].data != kind->inputs[i].data)
            free(inputs[i].data);
}

static int same(const weir_value_t *a, const weir_value_t *b)
{
    for (uint32_t i = 0; i < program.output_count; i++)
        if (a[i].rank != b[i].rank ||
            memcmp(a[i].dims, b[i].dims, a[i].rank * sizeof a[i].dims[0]) != 0 ||
            memcmp(a[i].data, b[i].data, weir_value_count(&a[i]) * element_bytes(a[i].dtype)) != 0)
            return 0;
    return 1;
}

static void on_event(const weir_event_t *event, void *user_data)
{
    call_t *call = user_data;
    weir_code_t code = weir_status_code(event->status);
    atomic_fetch_add(&program.answered, code == WEIR_OK);
    atomic_fetch_add(&program.cancelled, code == WEIR_CANCELLED);
    atomic_fetch_add(&program.failed, code != WEIR_OK && code != WEIR_CANCELLED);
    if (code == WEIR_OK) {
        atomic_fetch_add(&program.rows, event->receipt.batch_size);
        atomic_fetch_add(&program.wrong, !same(call->outputs, call->kind->outputs));
    } else if (code != WEIR_CANCELLED) {
        fprintf(stderr, "%s\n", weir_status_text(event->status));
    }
    atomic_store(&call->busy, 0);
}

static void submit(call_t *call)
{
    call->kind = &program.kinds[draw(KINDS)];
    for (uint32_t i = 0; i < program.output_count; i++) {
        const weir_value_t *like = &call->kind->outputs[i];
        if (call->outputs[i].capacity_bytes < like->capacity_bytes)
            call->outputs[i].data = realloc(call->outputs[i].data, like->capacity_bytes + 1);
        uint64_t bytes = WEIR_MAX(call->outputs[i].capacity_bytes, like->capacity_bytes);
        call->outputs[i] = weir_output(like->dtype, call->outputs[i].data, bytes);
    }
    weir_request_t request = {.size = sizeof request,
        .model = "model",
        .inputs = call->kind->inputs,
        .outputs = call->outputs,
        .input_count = program.input_count,
        .output_count = program.output_count};
    weir_ticket_t ticket;
    atomic_store(&call->busy, 1);
    check(weir_submit(program.scheduler, &request, &ticket, on_event, call));
    if (draw(16) == 0)
        weir_cancel(program.scheduler, ticket);
}

static void add_model(void)
{
    weir_padding_t paddings[PORTS];
    uint32_t padding_count = 0;
    for (uint32_t i = 0; i < program.input_count && program.pad; i++)
        if (program.inputs[i].rank == 2 && program.inputs[i].dims[1] < 0) {
            paddings[padding_count] = (weir_padding_t){
                .input = i, .axis = 1, .output = padding_count ? -1 : 0, .output_axis = 1};
            if (program.kinds[0].outputs[0].rank != 3)
                paddings[padding_count].output = -1;
            padding_count++;
        }
    check(weir_scheduler_add(program.scheduler, "model", "1.0.0", program.model,
        &(weir_serving_options_t){.size = sizeof(weir_serving_options_t),
            .max_batch = program.max_batch,
            .paddings = paddings,
            .padding_count = padding_count,
            .warm_rows = UINT32_MAX,
            .sample = program.kinds[0].inputs}));
}

static void set_up(const char *path)
{
    check(weir_engine_create(NULL, &program.engine));
    check(weir_model_load(program.engine, path, NULL, &program.model));
    weir_plan_t *plan;
    check(weir_plan_create(program.model, NULL, &plan));
    check(weir_session_create(plan, NULL, &program.session));
    weir_plan_free(plan); // the session keeps it
    program.input_count = weir_model_input_count(program.model);
    program.output_count = weir_model_output_count(program.model);
    if (program.input_count > PORTS || program.output_count > PORTS)
        die("too many inputs or outputs");
    for (uint32_t i = 0; i < program.input_count; i++)
        check(weir_model_input(program.model, i, &program.inputs[i]));
    long same_length = 0;
    for (uint32_t k = 0; k < KINDS; k++) {
        weir_value_t own[PORTS];
        make_inputs(&program.kinds[k]);
        run_alone(&program.kinds[k], program.pad, program.kinds[k].outputs);
        run_alone(&program.kinds[k], 0, own);
        same_length += same(own, program.kinds[k].outputs);
        for (uint32_t i = 0; i < program.output_count; i++)
            free(own[i].data);
    }
    if (program.pad)
        printf("filled lengths: %ld of %d have the bits of their own length\n", same_length, KINDS);
    check(weir_scheduler_create(program.engine, NULL, &program.scheduler));
    add_model();
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage: real_requests MODEL.onnx COUNT [--lengths LOW HIGH] [--pad] [--most N] "
            "[--max-batch N]");
    program.low = program.high = 16;
    program.most = 2;
    program.max_batch = 16;
    program.random = 88172645463325252u;
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "--pad") == 0) {
            program.pad = 1;
        } else if (strcmp(argv[i], "--lengths") == 0 && i + 2 < argc) {
            program.low = atol(argv[++i]);
            program.high = atol(argv[++i]);
        } else if (strcmp(argv[i], "--most") == 0 && i + 1 < argc) {
            program.most = atol(argv[++i]);
        } else if (strcmp(argv[i], "--max-batch") == 0 && i + 1 < argc) {
            program.max_batch = (uint32_t)atoi(argv[++i]);
        } else {
            die("an option that is not known");
        }
    }
    set_up(argv[1]);
    long goal = atol(argv[2]), submitted = 0;
    while (submitted < goal)
        for (uint32_t i = 0; i < DEPTH && submitted < goal; i++)
            if (!atomic_load(&program.calls[i].busy)) {
                submit(&program.calls[i]);
                submitted++;
            } else {
                sched_yield();
            }
    check(weir_drain(program.scheduler, 0, NULL, NULL));
    weir_served_t served = {.size = sizeof served};
    (void)weir_scheduler_served(program.scheduler, 0, &served);
    weir_scheduler_info_t info = {.size = sizeof info};
    weir_scheduler_describe(program.scheduler, &info);
    printf("%s: %s; %.2f rows a batch\n", argv[1], served.batching,
        info.batches ? (double)info.batch_rows / (double)info.batches : 0);
    long answered = atomic_load(&program.answered), wrong = atomic_load(&program.wrong);
    long ended = answered + atomic_load(&program.cancelled) + atomic_load(&program.failed);
    printf("%ld submitted, %ld ended: %ld answered, %ld wrong, %ld failed\n", submitted, ended,
        answered, wrong, atomic_load(&program.failed));
    weir_scheduler_free(program.scheduler);
    weir_session_free(program.session);
    weir_model_free(program.model);
    weir_engine_free(program.engine);
    return wrong || ended != submitted || atomic_load(&program.failed) || answered * 2 < goal;
}
