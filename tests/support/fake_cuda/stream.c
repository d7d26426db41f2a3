// tests/support/fake_cuda/stream.c: the fake driver: streams, events, captures, graphs.
#include "tests/support/fake_cuda/driver.h"

#include <stdlib.h>
#include <string.h>

CUresult fake_no_capture(void)
{
    CUresult result = CUDA_SUCCESS;
    fake_lock();
    for (fake_stream_t *stream = fake_world.streams; stream; stream = stream->next)
        if (stream->capture && pthread_equal(stream->owner, pthread_self())) {
            stream->is_invalid = true;
            result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
    fake_unlock();
    return result;
}

int fake_cuda_load_code(void)
{
    int result = 0;
    fake_lock();
    for (fake_stream_t *stream = fake_world.streams; stream; stream = stream->next)
        if (stream->capture && !stream->is_relaxed &&
            pthread_equal(stream->owner, pthread_self())) {
            stream->is_invalid = true;
            result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
    fake_unlock();
    return result;
}

bool fake_cuda_stream_is_alive(const void *handle)
{
    fake_lock();
    const fake_stream_t *stream = fake_world.streams;
    while (stream && stream != handle)
        stream = stream->next;
    fake_unlock();
    return stream != NULL;
}

static _Thread_local CUstreamCaptureMode mode_now = CU_STREAM_CAPTURE_MODE_GLOBAL;

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
    FAKE_CALL();
    CUstreamCaptureMode before = mode_now;
    mode_now = *mode;
    *mode = before;
    return CUDA_SUCCESS;
}

CUresult fake_may_ask(void)
{
    fake_lock();
    bool may = !fake_world.is_captured_elsewhere || mode_now == CU_STREAM_CAPTURE_MODE_RELAXED;
    fake_unlock();
    return may ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult cuStreamQuery(CUstream handle)
{
    FAKE_CONTEXT_CALL();
    const fake_stream_t *stream = (const fake_stream_t *)handle;
    CUresult result = fake_may_ask();
    if (result != CUDA_SUCCESS)
        return result;
    fake_lock();
    result = stream->first || stream->is_running ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
    if (context->error)
        result = context->error;
    fake_unlock();
    return result;
}

CUresult cuStreamCreate(CUstream *out_stream, unsigned flags)
{
    FAKE_CONTEXT_CALL();
    (void)flags;
    fake_stream_t *stream = calloc(1, sizeof *stream);
    if (!stream)
        return CUDA_ERROR_OUT_OF_MEMORY;
    stream->context = context;
    stream->last = &stream->first;
    fake_lock();
    stream->next = fake_world.streams;
    fake_world.streams = stream;
    fake_world.alive++;
    fake_unlock();
    *out_stream = (CUstream)stream;
    return CUDA_SUCCESS;
}

// What it holds is done first; here it is waited for, so that nothing is left behind.
CUresult cuStreamDestroy(CUstream handle)
{
    FAKE_FREES();
    fake_stream_t *stream = (fake_stream_t *)handle;
    fake_lock();
    fake_wait(NULL, stream);
    fake_stream_t **link = &fake_world.streams;
    while (*link != stream)
        link = &(*link)->next;
    *link = stream->next;
    fake_world.alive--;
    fake_unlock();
    free(stream);
    return (CUresult)fault;
}

// ---- Events -------------------------------------------------------------------------------------

CUresult cuEventCreate(CUevent *out_event, unsigned flags)
{
    FAKE_CONTEXT_CALL();
    fake_event_t *event = calloc(1, sizeof *event);
    if (!event)
        return CUDA_ERROR_OUT_OF_MEMORY;
    event->is_timed = !(flags & CU_EVENT_DISABLE_TIMING);
    fake_lock();
    fake_world.alive++;
    fake_unlock();
    *out_event = (CUevent)event;
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent handle)
{
    FAKE_FREES();
    fake_event_t *event = (fake_event_t *)handle;
    fake_lock();
    while (event->reached < event->recorded && !fake_world.is_paused)
        pthread_cond_wait(&fake_world.changed, &fake_world.lock);
    fake_world.alive--;
    fake_unlock();
    free(event);
    return (CUresult)fault;
}

CUresult cuEventRecord(CUevent handle, CUstream stream)
{
    FAKE_CONTEXT_CALL();
    fake_event_t *event = (fake_event_t *)handle;
    fake_task_t *task = fake_task_new(FAKE_RECORD, NULL, 0);
    fake_lock();
    if (task) {
        task->event = event;
        task->ticket = event->recorded + 1;
    }
    CUresult result = fake_task_add(stream, task);
    if (result == CUDA_SUCCESS)
        event->recorded++;
    fake_unlock();
    return result;
}

CUresult cuEventQuery(CUevent handle)
{
    FAKE_CONTEXT_CALL();
    const fake_event_t *event = (const fake_event_t *)handle;
    CUresult result = fake_may_ask();
    if (result != CUDA_SUCCESS)
        return result;
    fake_lock();
    result = event->reached >= event->recorded ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
    if (context->error)
        result = context->error;
    fake_unlock();
    return result;
}

CUresult cuEventElapsedTime(float *ms, CUevent first, CUevent last)
{
    FAKE_CONTEXT_CALL();
    const fake_event_t *from = (const fake_event_t *)first, *to = (const fake_event_t *)last;
    if (!from->is_timed || !to->is_timed || !from->recorded || !to->recorded)
        return CUDA_ERROR_INVALID_HANDLE;
    fake_lock();
    *ms = (float)((double)(to->ns - from->ns) * 1e-6);
    fake_unlock();
    return CUDA_SUCCESS;
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent handle, unsigned flags)
{
    FAKE_CONTEXT_CALL();
    fake_event_t *event = (fake_event_t *)handle;
    fake_task_t *task = fake_task_new(FAKE_WAIT, NULL, 0);
    (void)flags;
    fake_lock();
    if (task) {
        task->event = event;
        task->ticket = event->recorded;
    }
    CUresult result = fake_task_add(stream, task);
    fake_unlock();
    return result;
}

// ---- Graphs -------------------------------------------------------------------------------------

static fake_graph_t *new_graph(void)
{
    fake_graph_t *graph = calloc(1, sizeof *graph);
    if (!graph)
        abort();
    graph->last = &graph->first;
    fake_world.alive++;
    return graph;
}

static void free_graph(fake_graph_t *graph)
{
    while (graph->first) {
        fake_task_t *task = graph->first;
        graph->first = task->next;
        free(task);
    }
    fake_world.alive--;
    free(graph);
}

static fake_task_t *copy_task(const fake_task_t *task)
{
    fake_task_t *copy = fake_task_new(task->kind, task->data, task->bytes);
    if (!copy)
        abort();
    copy->run = task->run;
    copy->is_kernel = task->is_kernel;
    return copy;
}

CUresult cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode mode)
{
    FAKE_CONTEXT_CALL();
    fake_stream_t *stream = (fake_stream_t *)handle;
    fake_lock();
    bool is_free = !stream->capture;
    if (is_free) {
        stream->capture = new_graph();
        stream->is_invalid = false;
        stream->is_relaxed = mode == CU_STREAM_CAPTURE_MODE_RELAXED;
        stream->owner = pthread_self();
    }
    fake_unlock();
    return is_free ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_STATE;
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph *out_graph)
{
    fake_stream_t *stream = (fake_stream_t *)handle;
    int fault = fake_cuda_enter(__func__, FAKE_FROM());
    fake_lock();
    fake_graph_t *graph = stream->capture;
    stream->capture = NULL; // it has ended, whatever is said
    CUresult result = !graph               ? CUDA_ERROR_ILLEGAL_STATE
                      : stream->is_invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
                                           : (CUresult)fault;
    if (result != CUDA_SUCCESS && graph) {
        free_graph(graph);
        graph = NULL;
    }
    fake_unlock();
    *out_graph = (CUgraph)graph;
    return result;
}

CUresult cuGraphInstantiate(CUgraphExec *out_exec, CUgraph handle, unsigned long long flags)
{
    FAKE_CONTEXT_CALL();
    const fake_graph_t *graph = (const fake_graph_t *)handle;
    (void)flags;
    fake_lock();
    fake_graph_t *exec = new_graph();
    for (const fake_task_t *task = graph->first; task; task = task->next) {
        *exec->last = copy_task(task);
        exec->last = &(*exec->last)->next;
    }
    fake_unlock();
    *out_exec = (CUgraphExec)exec;
    return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph graph)
{
    FAKE_FREES();
    fake_lock();
    free_graph((fake_graph_t *)graph);
    fake_unlock();
    return (CUresult)fault;
}

CUresult cuGraphExecDestroy(CUgraphExec exec)
{
    FAKE_FREES();
    fake_lock();
    free_graph((fake_graph_t *)exec);
    fake_unlock();
    return (CUresult)fault;
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream stream)
{
    FAKE_CONTEXT_CALL();
    const fake_graph_t *exec = (const fake_graph_t *)handle;
    CUresult result = CUDA_SUCCESS;
    fake_lock();
    for (const fake_task_t *task = exec->first; task && result == CUDA_SUCCESS; task = task->next) {
        result = fake_task_add(stream, copy_task(task));
        fake_world.nodes++;
    }
    fake_unlock();
    return result;
}
