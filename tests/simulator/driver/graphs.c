/* Work that is recorded from one stream and launched again as one. */
#include "driver.h"

static CUgraph graphs;
static CUgraphExec executables;

/* ---- what a capture forbids ---- */

CUresult invalidate(CUstream stream)
{
    stream->invalidated = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

/* A global capture forbids it to every thread, a thread-local one to its own. */
CUresult refuse_while_capturing(void)
{
    CUresult error = CUDA_SUCCESS;
    for (CUstream stream = streams; stream; stream = stream->next) {
        if (!stream->capture || stream->mode == CU_STREAM_CAPTURE_MODE_RELAXED) continue;
        bool mine = pthread_equal(stream->capturer, pthread_self());
        if (mine || stream->mode == CU_STREAM_CAPTURE_MODE_GLOBAL) error = invalidate(stream);
    }
    return error;
}

/* ---- capture ---- */

CUresult cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode mode)
{
    CALL(CONTEXT);
    CUstream stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (stream == stream->context->legacy) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
    stream->capture = calloc(1, sizeof *stream->capture);
    stream->mode = mode;
    stream->capturer = pthread_self();
    stream->invalidated = false;
    return CUDA_SUCCESS;
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph *graph)
{
    CALL(CONTEXT);
    CUstream stream = find_stream(handle);
    *graph = NULL;
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (!stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
    bool mine = pthread_equal(stream->capturer, pthread_self());
    if (!mine && stream->mode != CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    CUgraph captured = stream->capture;
    bool invalidated = stream->invalidated;
    stream->capture = NULL;
    stream->invalidated = false;
    if (invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    captured->live = true;
    captured->next = graphs;
    *graph = graphs = captured;
    return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *status)
{
    CALL(CONTEXT);
    CUstream stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    *status = !stream->capture       ? CU_STREAM_CAPTURE_STATUS_NONE
              : !stream->invalidated ? CU_STREAM_CAPTURE_STATUS_ACTIVE
                                     : CU_STREAM_CAPTURE_STATUS_INVALIDATED;
    return CUDA_SUCCESS;
}

/* ---- graphs ---- */

static CUgraph find_graph(CUgraph handle)
{
    for (CUgraph graph = graphs; graph; graph = graph->next)
        if (graph == handle) return graph->live ? graph : NULL;
    return NULL;
}

static CUgraphExec find_executable(CUgraphExec handle)
{
    for (CUgraphExec graph = executables; graph; graph = graph->next)
        if (graph == handle) return graph->live ? graph : NULL;
    return NULL;
}

static void clear(Queue *queue)
{
    for (Operation *operation = queue->first, *next; operation; operation = next) {
        next = operation->next;
        free(operation);
    }
    *queue = (Queue){NULL, NULL};
}

long live_graphs(void)
{
    long number = 0;
    for (CUgraph graph = graphs; graph; graph = graph->next) number += graph->live;
    for (CUgraphExec graph = executables; graph; graph = graph->next) number += graph->live;
    return number;
}

long drop_graphs_of(CUcontext context)
{
    long number = 0;
    for (CUgraphExec graph = executables; graph; graph = graph->next)
        if (graph->context == context && graph->live) graph->live = false, number++;
    return number;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *executable, CUgraph handle,
                                     unsigned long long flags)
{
    CALL(CONTEXT);
    CUgraph graph = find_graph(handle);
    if (!graph || flags) return CUDA_ERROR_INVALID_VALUE;
    CUgraphExec made = calloc(1, sizeof *made);
    made->context = current();
    made->live = true;
    for (Operation *operation = graph->queue.first; operation; operation = operation->next)
        append(&made->queue, *operation);
    made->next = executables;
    *executable = executables = made;
    return CUDA_SUCCESS;
}

CUresult cuGraphLaunch(CUgraphExec handle, CUstream stream_handle)
{
    CALL(CONTEXT);
    CUgraphExec graph = find_executable(handle);
    CUstream stream = find_stream(stream_handle);
    if (!graph) return CUDA_ERROR_INVALID_VALUE;
    if (!stream || stream->context != graph->context) return CUDA_ERROR_INVALID_HANDLE;
    CUresult error = CUDA_SUCCESS;
    for (Operation *operation = graph->queue.first; operation && !error;
         operation = operation->next)
        error = enqueue(stream, *operation);
    return error;
}

CUresult cuGraphDestroy(CUgraph handle)
{
    CALL(STARTED | ANYWHERE);
    CUgraph graph = find_graph(handle);
    if (!graph) return CUDA_ERROR_INVALID_VALUE;
    graph->live = false;
    clear(&graph->queue);
    return CUDA_SUCCESS;
}

CUresult cuGraphExecDestroy(CUgraphExec handle)
{
    CALL(STARTED | ANYWHERE);
    CUgraphExec graph = find_executable(handle);
    if (!graph) return CUDA_ERROR_INVALID_VALUE;
    graph->live = false;
    clear(&graph->queue);
    return CUDA_SUCCESS;
}
