// What a run costs beside its kernels: an identity model, and chains of tiny nodes.
//
// Prints one JSON line per model: nanoseconds per run, the least and the median of many turns. The
// models are made here, byte by byte, so that it needs no file. It must not measure a kernel.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/weir.h>

enum { TURNS = 41, RUNS_PER_TURN = 2000, MODEL_BYTES_MAX = 65536 };

// ---- A few fields of ONNX's protobuf
// ----------------------------------------------------------------

typedef struct message {
    size_t count;
    unsigned char bytes[MODEL_BYTES_MAX];
} message_t;

static void put_number(message_t *out, uint64_t number)
{
    for (; number >= 0x80; number >>= 7)
        out->bytes[out->count++] = (unsigned char)(number | 0x80);
    out->bytes[out->count++] = (unsigned char)number;
}

static void put_field(message_t *out, unsigned field, const void *bytes, size_t count)
{
    put_number(out, field << 3 | 2);
    put_number(out, count);
    memcpy(out->bytes + out->count, bytes, count);
    out->count += count;
}

static void put_text(message_t *out, unsigned field, const char *text)
{
    put_field(out, field, text, strlen(text));
}

// An f32[1, 8] called `name` as field `field` of the graph.
static void put_port(message_t *graph, unsigned field, const char *name)
{
    static const unsigned char type[] = {10, 12, 8, 1, 18, 8, 10, 2, 8, 1, 10, 2, 8, 8};
    message_t port = {0};
    put_text(&port, 1, name);
    put_field(&port, 2, type, sizeof type);
    put_field(graph, field, port.bytes, port.count);
}

// node_count nodes `op`, one after the other.
static void make_model(const char *op, int node_count, message_t *out_model)
{
    message_t graph = {0};
    for (int i = 0; i < node_count; i++) {
        message_t node = {0};
        char from[16], to[16];
        snprintf(from, sizeof from, i ? "v%d" : "x", i);
        snprintf(to, sizeof to, i + 1 < node_count ? "v%d" : "y", i + 1);
        put_text(&node, 1, from);
        put_text(&node, 2, to);
        put_text(&node, 4, op);
        put_field(&graph, 1, node.bytes, node.count);
    }
    put_text(&graph, 2, op);
    put_port(&graph, 11, "x");
    put_port(&graph, 12, "y");
    static const unsigned char head[] = {8, 8}, opset[] = {16, 17};
    memcpy(out_model->bytes, head, sizeof head);
    out_model->count = sizeof head;
    put_field(out_model, 7, graph.bytes, graph.count);
    put_field(out_model, 8, opset, sizeof opset);
}

// ---- Timing
// -----------------------------------------------------------------------------------------

static int by_size(const void *a, const void *b)
{
    const double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static weir_status_t time_runs(weir_session_t *session, double out_ns[TURNS])
{
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, y[8];
    const weir_value_t in[] = {weir_f32(x, 2, 1, 8)};
    for (int turn = -1; turn < TURNS; turn++) { // the first warms up
        const uint64_t start_ns = weir_now_ns();
        for (int i = 0; i < RUNS_PER_TURN; i++) {
            weir_value_t out[] = {weir_f32_out(y, 8)};
            WEIR_TRY(weir_session_run(session, NULL, 1, in, 1, out));
        }
        if (turn >= 0)
            out_ns[turn] = (double)(weir_now_ns() - start_ns) / RUNS_PER_TURN;
    }
    qsort(out_ns, TURNS, sizeof *out_ns, by_size);
    return NULL;
}

// *out_ns: the least time of a run.
static weir_status_t measure(
    weir_engine_t *engine, const char *op, int node_count, uint32_t as_is, double *out_ns)
{
    static message_t bytes;
    weir_model_t *model = NULL;
    weir_plan_t *plan = NULL;
    weir_session_t *session = NULL;
    double ns[TURNS];
    make_model(op, node_count, &bytes);
    const weir_model_options_t options = {.size = sizeof options, .keep_as_is = as_is};
    weir_status_t status =
        weir_model_load_bytes(engine, bytes.bytes, bytes.count, &options, &model);
    if (!status)
        status = weir_plan_create(model, NULL, &plan);
    if (!status)
        status = weir_session_create(plan, NULL, &session);
    if (!status)
        status = time_runs(session, ns);
    weir_session_info_t info = {.size = sizeof info};
    if (!status) {
        weir_session_describe(session, &info);
        printf("{\"op\": \"%s\", \"nodes\": %d, \"as_is\": %u, \"steps\": %llu, \"threads\": %u, "
               "\"run_ns_min\": %.0f, \"run_ns_median\": %.0f}\n",
            op, node_count, as_is, (unsigned long long)info.step_count, weir_engine_threads(engine),
            ns[0], ns[TURNS / 2]);
        *out_ns = ns[0];
    }
    weir_session_free(session);
    weir_plan_free(plan);
    weir_model_free(model);
    return status;
}

// --max-ns N: exit code 1 when a run of the identity model never took as little as that.
int main(int argc, char **argv)
{
    double most_ns = 0, identity_ns = 0, other_ns;
    if (argc == 3 && strcmp(argv[1], "--max-ns") == 0) {
        most_ns = atof(argv[2]);
    } else if (argc != 1) {
        fprintf(stderr, "usage: %s [--max-ns N]\n", argv[0]);
        return 2;
    }
    weir_engine_t *engine = NULL;
    const weir_engine_options_t options = {.size = sizeof options, .cache_dir = ""};
    weir_status_t status = weir_engine_create(&options, &engine);
    if (!status)
        status = measure(engine, "Identity", 1, 0, &identity_ns);
    if (!status)
        status = measure(engine, "Identity", 1, 1, &other_ns);
    if (!status)
        status = measure(engine, "Softmax", 1, 1, &other_ns);
    if (!status)
        status = measure(engine, "Softmax", 101, 1, &other_ns);
    if (status)
        fprintf(stderr, "%s\n", weir_status_text(status));
    const int exit_code = status || (most_ns > 0 && identity_ns > most_ns);
    weir_status_free(status);
    weir_engine_free(engine);
    return exit_code;
}
