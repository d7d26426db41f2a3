// docs/examples/embed_rpc.c: a server with its own epoll loop that answers through weir's
// scheduler.
//
//     embed_rpc MODEL.onnx [CLIENTS [REQUESTS]]
//
// The model takes one f32 input [N, columns] and gives one f32 output [N, ...]. A connection sends
// rows of `columns` floats and gets a code and an answer for each. Here clients are threads of this
// program, at the other ends of socket pairs; a real server accepts them.
//
// What to see: one descriptor in the server's own epoll set (WEIR_LOOP_POLLED), a request's memory
// that lives in its connection, a deadline, cancelling when a client hangs up, and draining.
#include <weir/scheduler.h>
#include <weir/topology.h>
#include <weir/weir.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { COLUMNS_MAX = 4096, ANSWER_MAX = 4096, CLIENTS_MAX = 256 };

typedef struct reply {
    int32_t code;
    int32_t batch_size;
    int32_t count; // floats that follow
    float values[ANSWER_MAX];
} reply_t;

// One outstanding request per connection: its buffers are part of it.
typedef struct connection {
    int fd;
    size_t have; // bytes of the row that have come
    float row[COLUMNS_MAX];
    weir_value_t in, out;
    weir_ticket_t ticket; // 0: none is outstanding
    reply_t reply;
} connection_t;

typedef struct server {
    weir_scheduler_t *scheduler;
    int epoll;
    uint32_t columns;
    uint32_t open_count;
    uint64_t answered, batch_rows;
} server_t;

static server_t server; // for the callback; a program may have globals, weir has none

static void hang_up(connection_t *connection)
{
    // The FINAL still comes, and only then is the connection's memory free for another client.
    weir_cancel(server.scheduler, connection->ticket);
    close(connection->fd);
    connection->fd = -1;
    server.open_count--;
}

static void send_reply(connection_t *connection)
{
    size_t bytes = offsetof(reply_t, values) + (size_t)connection->reply.count * sizeof(float);
    // A reply is smaller than a socket's buffer; a real server queues what does not fit.
    if (connection->fd >= 0 &&
        send(connection->fd, &connection->reply, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
        hang_up(connection);
}

// From weir_scheduler_poll(), so on this thread: no lock is needed.
static void on_event(const weir_event_t *event, void *user_data)
{
    connection_t *connection = user_data;
    if (event->kind != WEIR_EVENT_FINAL)
        return;
    connection->ticket = 0;
    connection->reply.code = weir_status_code(event->status);
    connection->reply.batch_size = (int32_t)event->receipt.batch_size;
    connection->reply.count = event->status ? 0 : (int32_t)weir_value_count(&connection->out);
    server.answered++;
    server.batch_rows += event->receipt.batch_size;
    send_reply(connection);
}

static void submit(connection_t *connection)
{
    connection->in = weir_f32(connection->row, 2, 1, server.columns);
    connection->out = weir_f32_out(connection->reply.values, ANSWER_MAX);
    weir_request_t request = {.size = sizeof request,
        .model = "model@^1",
        .inputs = &connection->in,
        .outputs = &connection->out,
        .input_count = 1,
        .output_count = 1,
        .deadline_ns = weir_now_ns() + 10000 * WEIR_MS};
    weir_status_t status =
        weir_submit(server.scheduler, &request, &connection->ticket, on_event, connection);
    if (!status)
        return;
    // Refused: nobody will call back. request.retry_after_ns would be advice for the client.
    connection->reply.code = weir_status_code(status);
    connection->reply.count = 0;
    weir_status_free(status);
    send_reply(connection);
}

static void receive(connection_t *connection)
{
    // What comes before the reply would overwrite the row that is in flight: who sends more than
    // one at a time is hung up on, as is who leaves meanwhile.
    if (connection->ticket) {
        hang_up(connection);
        return;
    }
    size_t want = server.columns * sizeof(float);
    ssize_t got = recv(connection->fd, (char *)connection->row + connection->have,
        want - connection->have, MSG_DONTWAIT);
    if (got <= 0) {
        hang_up(connection);
        return;
    }
    connection->have += (size_t)got;
    if (connection->have < want)
        return;
    connection->have = 0;
    submit(connection);
}

static void serve(void)
{
    struct epoll_event events[64];
    weir_scheduler_poll(server.scheduler); // once, so that its descriptor knows what to watch
    while (server.open_count) {
        int count = epoll_wait(server.epoll, events, 64, -1);
        for (int i = 0; i < count; i++)
            if (events[i].data.ptr)
                receive(events[i].data.ptr);
        weir_scheduler_poll(server.scheduler);
    }
}

// ---- Clients: only to have something to serve --------------------------------------------------

typedef struct client {
    pthread_t thread;
    int fd;
    int request_count;
    int failed;
} client_t;

static int read_all(int fd, void *data, size_t bytes)
{
    for (size_t have = 0; have < bytes;) {
        ssize_t got = read(fd, (char *)data + have, bytes - have);
        if (got <= 0)
            return 0;
        have += (size_t)got;
    }
    return 1;
}

static void *run_client(void *user_data)
{
    client_t *client = user_data;
    float row[COLUMNS_MAX];
    static _Thread_local reply_t reply;
    for (int r = 0; r < client->request_count; r++) {
        for (uint32_t i = 0; i < server.columns; i++)
            row[i] = (float)((r + (int)i) % 7) / 7;
        size_t bytes = server.columns * sizeof(float);
        if (write(client->fd, row, bytes) != (ssize_t)bytes ||
            !read_all(client->fd, &reply, offsetof(reply_t, values)) ||
            !read_all(client->fd, reply.values, (size_t)reply.count * sizeof(float)) ||
            reply.code != WEIR_OK)
            client->failed++;
    }
    close(client->fd);
    return NULL;
}

static int watch(int fd, void *data)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = data}};
    return epoll_ctl(server.epoll, EPOLL_CTL_ADD, fd, &event);
}

static int run(uint32_t client_count, int request_count)
{
    static client_t clients[CLIENTS_MAX];
    connection_t *connections = calloc(client_count, sizeof *connections);
    int failed = connections == NULL, pair[2];
    for (uint32_t i = 0; i < client_count && !failed; i++) {
        failed = socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
        if (failed)
            break;
        connections[i].fd = pair[0];
        clients[i] = (client_t){.fd = pair[1], .request_count = request_count};
        failed = watch(pair[0], &connections[i]) ||
                 pthread_create(&clients[i].thread, NULL, run_client, &clients[i]);
        server.open_count++;
    }
    if (failed) {
        perror("embed_rpc");
        return 1;
    }
    serve();
    for (uint32_t i = 0; i < client_count; i++) {
        pthread_join(clients[i].thread, NULL);
        failed += clients[i].failed;
    }
    // Everything that was taken ends; nothing new is taken.
    weir_status_t status = weir_drain(server.scheduler, 0, NULL, NULL);
    weir_status_free(status);
    printf("%llu answers, %.2f rows a batch, %d failed\n", (unsigned long long)server.answered,
        server.answered ? (double)server.batch_rows / (double)server.answered : 0, failed);
    free(connections);
    return failed != 0;
}

static weir_status_t set_up(weir_engine_t *engine, const char *path)
{
    weir_model_t *model;
    weir_port_t port;
    weir_scheduler_options_t options = {.size = sizeof options, .loop = WEIR_LOOP_POLLED};
    WEIR_TRY(weir_model_load(engine, path, NULL, &model));
    weir_status_t status = weir_model_input(model, 0, &port);
    if (!status)
        status = weir_scheduler_create(engine, &options, &server.scheduler);
    if (!status)
        status = weir_scheduler_add(server.scheduler, "model", "1.0.0", model, NULL);
    weir_model_free(model); // the scheduler has its own reference
    if (!status)
        server.columns = port.rank == 2 && port.dims[1] > 0 && port.dims[1] <= COLUMNS_MAX
                             ? (uint32_t)port.dims[1]
                             : 0;
    return status;
}

int main(int argc, char **argv)
{
    uint32_t client_count = argc > 2 ? (uint32_t)atoi(argv[2]) : 16;
    int request_count = argc > 3 ? atoi(argv[3]) : 1000;
    if (argc < 2 || client_count < 1 || client_count > CLIENTS_MAX) {
        fprintf(stderr, "usage: embed_rpc MODEL.onnx [CLIENTS [REQUESTS]]\n");
        return 2;
    }
    weir_engine_t *engine = NULL;
    weir_status_t status = weir_topology_engine(NULL, &engine); // a team for each L3 cache
    if (!status)
        status = set_up(engine, argv[1]);
    int failed = 1;
    if (status) {
        fprintf(stderr, "%s\n", weir_status_text(status));
        weir_status_free(status);
    } else if (!server.columns) {
        fprintf(stderr, "embed_rpc: the input of %s is not [N, columns]\n", argv[1]);
    } else {
        server.epoll = epoll_create1(EPOLL_CLOEXEC);
        if (watch(weir_scheduler_fd(server.scheduler), NULL) == 0)
            failed = run(client_count, request_count);
        close(server.epoll);
    }
    weir_scheduler_free(server.scheduler);
    weir_engine_free(engine);
    return failed;
}
