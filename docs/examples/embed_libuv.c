// docs/examples/embed_libuv.c: weir's scheduler on the program's own libuv loop.
//
//     embed_libuv MODEL.onnx [REQUESTS]
//
// The model takes one f32 input [N, columns] and gives one f32 output. A timer of the program's
// submits ten requests a millisecond; callbacks come on the same loop, so nothing is locked. When
// the last answer is there the scheduler is freed and the loop ends by itself.
#include <weir/scheduler.h>
#include <weir/topology.h>
#include <weir/weir.h>

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

enum { COLUMNS_MAX = 4096, ANSWER_MAX = 4096 };

typedef struct call {
    struct program *program;
    weir_value_t in, out;
    float row[COLUMNS_MAX], answer[ANSWER_MAX];
} call_t;

typedef struct program {
    uv_loop_t loop;
    uv_timer_t timer;
    weir_scheduler_t *scheduler;
    uint32_t columns;
    int goal, submitted, ended, failed;
    double rows;
} program_t;

static void on_event(const weir_event_t *event, void *user_data)
{
    call_t *call = user_data;
    program_t *program = call->program;
    if (event->kind != WEIR_EVENT_FINAL)
        return;
    program->ended++;
    program->rows += event->receipt.batch_size;
    if (event->status) {
        program->failed++;
        fprintf(stderr, "%s\n", weir_status_text(event->status));
    }
    free(call);
}

static void submit(program_t *program)
{
    call_t *call = calloc(1, sizeof *call);
    if (!call)
        return;
    call->program = program;
    for (uint32_t i = 0; i < program->columns; i++)
        call->row[i] = (float)((program->submitted + (int)i) % 11) / 11;
    call->in = weir_f32(call->row, 2, 1, program->columns);
    call->out = weir_f32_out(call->answer, ANSWER_MAX);
    weir_request_t request = {.size = sizeof request,
        .model = "model",
        .inputs = &call->in,
        .outputs = &call->out,
        .input_count = 1,
        .output_count = 1};
    program->submitted++;
    weir_status_t status = weir_submit(program->scheduler, &request, NULL, on_event, call);
    if (!status)
        return;
    program->ended++;
    program->failed++;
    fprintf(stderr, "%s\n", weir_status_text(status));
    weir_status_free(status);
    free(call);
}

static void on_timer(uv_timer_t *timer)
{
    program_t *program = timer->data;
    for (int i = 0; i < 10 && program->submitted < program->goal; i++)
        submit(program);
    if (program->ended < program->goal)
        return;
    uv_close((uv_handle_t *)timer, NULL);
    weir_scheduler_free(program->scheduler); // not from a callback of weir's; here it is allowed
    program->scheduler = NULL;
}

static weir_status_t set_up(program_t *program, weir_engine_t *engine, const char *path)
{
    weir_model_t *model;
    weir_port_t port;
    weir_scheduler_options_t options = {
        .size = sizeof options, .loop = WEIR_LOOP_BORROWED, .uv_loop = &program->loop};
    WEIR_TRY(weir_model_load(engine, path, NULL, &model));
    weir_status_t status = weir_model_input(model, 0, &port);
    if (!status)
        status = weir_scheduler_create(engine, &options, &program->scheduler);
    if (!status)
        status = weir_scheduler_add(program->scheduler, "model", "1.0.0", model, NULL);
    weir_model_free(model);
    if (!status && port.rank == 2 && port.dims[1] > 0 && port.dims[1] <= COLUMNS_MAX)
        program->columns = (uint32_t)port.dims[1];
    return status;
}

int main(int argc, char **argv)
{
    static program_t program;
    program.goal = argc > 2 ? atoi(argv[2]) : 1000;
    if (argc < 2 || uv_loop_init(&program.loop) != 0) {
        fprintf(stderr, "usage: embed_libuv MODEL.onnx [REQUESTS]\n");
        return 2;
    }
    weir_engine_t *engine = NULL;
    weir_status_t status = weir_topology_engine(NULL, &engine); // a team for each L3 cache
    if (!status)
        status = set_up(&program, engine, argv[1]);
    if (status || !program.columns) {
        fprintf(stderr, "%s\n",
            status ? weir_status_text(status) : "embed_libuv: the input is not [N, columns]");
        weir_status_free(status);
        return 1;
    }
    uv_timer_init(&program.loop, &program.timer);
    program.timer.data = &program;
    uv_timer_start(&program.timer, on_timer, 1, 1);
    uv_run(&program.loop, UV_RUN_DEFAULT); // ends when the timer and weir's handles are closed
    uv_loop_close(&program.loop);
    weir_engine_free(engine);
    printf("%d answers, %.2f rows a batch, %d failed\n", program.ended,
        program.ended ? program.rows / program.ended : 0, program.failed);
    return program.failed != 0;
}
