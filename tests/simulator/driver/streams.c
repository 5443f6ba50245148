/* Streams are queues that nobody works off until somebody waits; events; host functions. */
#include "driver.h"

#include <stdlib.h>
#include <time.h>

CUstream streams;

static CUevent events;
static uint64_t issued;

uint64_t latest(void) { return issued; }

/* ---- queues ---- */

void append(Queue *queue, Operation operation)
{
    Operation *added = malloc(sizeof *added);
    *added = operation;
    added->next = NULL;
    if (queue->last) queue->last->next = added;
    else queue->first = added;
    queue->last = added;
}

static Operation *take(Queue *queue)
{
    Operation *first = queue->first;
    queue->first = first->next;
    if (!queue->first) queue->last = NULL;
    return first;
}

/* Whether work in this stream waits for the stream with the handle 0, and that for it. */
static bool blocking(CUstream stream) { return !(stream->flags & CU_STREAM_NON_BLOCKING); }

CUresult enqueue(CUstream stream, Operation operation)
{
    if (stream->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (stream->capture) {
        append(&stream->capture->queue, operation);
        return CUDA_SUCCESS;
    }
    if (stream == stream->context->legacy)
        for (CUstream other = streams; other; other = other->next)
            if (other->context == stream->context && other->capture && blocking(other)) {
                other->invalidated = true;
                return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
            }
    operation.number = ++issued;
    append(&stream->queue, operation);
    return CUDA_SUCCESS;
}

/* ---- working them off ---- */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec * 1e-6;
}

static CUresult run_host(const Operation *operation)
{
    CUresult failure = count("host");
    if (failure) return failure;
    pthread_mutex_unlock(&lock);
    in_host_function = true;
    operation->host.function(operation->host.data);
    in_host_function = false;
    pthread_mutex_lock(&lock);
    return CUDA_SUCCESS;
}

static CUresult run(const Operation *operation)
{
    switch (operation->kind) {
    case COPY: return run_copy(&operation->copy);
    case FILL: return run_fill(&operation->fill);
    case HOST: return run_host(operation);
    case FREE: return run_free(operation->pointer);
    default: return CUDA_SUCCESS;
    }
}

static void record(CUevent event, uint64_t number)
{
    if (event->number != number) return; /* recorded again since */
    event->done = true;
    event->time = now();
}

/* What the stream with the handle 0 and the others that block owe to each other. */
static void drain_before(CUstream stream, uint64_t number)
{
    if (!blocking(stream)) return;
    if (stream != stream->context->legacy) {
        if (stream->context->legacy) drain(stream->context->legacy, number - 1);
        return;
    }
    for (CUstream other = streams; other; other = other->next)
        if (other->context == stream->context && other != stream && blocking(other))
            drain(other, number - 1);
}

/* After an error nothing more is done in a stream until somebody has been told. */
static void step(CUstream stream)
{
    Operation *operation = take(&stream->queue);
    stream->running = operation->number;
    drain_before(stream, operation->number);
    if (operation->kind == WAIT) drain(operation->wait.stream, operation->wait.number);
    if (operation->kind == RECORD) record(operation->event, operation->number);
    if (!stream->error || operation->kind == FREE) {
        CUresult error = run(operation);
        if (!stream->error) stream->error = error;
    }
    if (operation->kind == COPY) free(operation->copy.staged);
    free(operation);
    stream->running = 0;
    tell_change();
}

static bool pending(CUstream stream, uint64_t number)
{
    if (stream->running && stream->running <= number) return true;
    return stream->queue.first && stream->queue.first->number <= number;
}

/* Whoever gets here first does the work, others wait for it. That cannot lock up: an operation
 * waits for earlier ones only. */
void drain(CUstream stream, uint64_t number)
{
    if (in_host_function) return; /* what cleans up there does not wait */
    while (pending(stream, number)) {
        if (stream->running) wait_for_change();
        else step(stream);
    }
}

void drain_context(CUcontext context)
{
    uint64_t number = issued;
    for (CUstream stream = streams; stream; stream = stream->next)
        if (stream->context == context) drain(stream, number);
}

void drain_device(int device)
{
    for (CUcontext context = contexts; context; context = context->next)
        if (device < 0 || context->device == device) drain_context(context);
}

static CUresult take_error(CUstream stream)
{
    CUresult error = stream->error;
    stream->error = CUDA_SUCCESS;
    return error;
}

CUresult finish(CUstream stream)
{
    uint64_t number = issued;
    if (stream == stream->context->legacy) drain_before(stream, number + 1);
    drain(stream, number);
    return take_error(stream);
}

/* ---- streams ---- */

CUstream new_stream(CUcontext context, unsigned flags)
{
    CUstream stream = calloc(1, sizeof *stream);
    *stream = (struct CUstream_st){.next = streams, .context = context, .flags = flags};
    stream->live = true;
    return streams = stream;
}

CUstream find_stream(CUstream handle)
{
    if (!handle || handle == CU_STREAM_LEGACY) return current() ? current()->legacy : NULL;
    for (CUstream stream = streams; stream; stream = stream->next)
        if (stream == handle) return stream->live ? stream : NULL;
    return NULL;
}

long live_streams(void)
{
    long number = 0;
    for (CUstream stream = streams; stream; stream = stream->next)
        number += stream->live && stream != stream->context->legacy;
    return number;
}

static bool of(CUcontext context, CUstream stream)
{
    return stream && stream->context == context && stream != context->legacy;
}

long drop_streams_of(CUcontext context)
{
    long number = 0;
    for (CUstream stream = streams; stream; stream = stream->next)
        if (stream->context == context) {
            number += stream->live && of(context, stream);
            stream->live = false;
        }
    for (CUevent event = events; event; event = event->next)
        if (event->context == context) number += event->live, event->live = false;
    context->legacy = NULL;
    return number;
}

CUresult cuStreamCreate(CUstream *stream, unsigned flags)
{
    CALL(CONTEXT);
    if (flags & ~CU_STREAM_NON_BLOCKING) return CUDA_ERROR_INVALID_VALUE;
    *stream = new_stream(current(), flags);
    return CUDA_SUCCESS;
}

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority)
{
    CALL(CONTEXT);
    (void)priority;
    if (flags & ~CU_STREAM_NON_BLOCKING) return CUDA_ERROR_INVALID_VALUE;
    *stream = new_stream(current(), flags);
    return CUDA_SUCCESS;
}

/* What is queued stays queued: nobody has waited for it. */
CUresult cuStreamDestroy(CUstream handle)
{
    CALL(CONTEXT | ANYWHERE);
    CUstream stream = handle ? find_stream(handle) : NULL;
    if (!stream || stream == stream->context->legacy) return CUDA_ERROR_INVALID_HANDLE;
    stream->live = false;
    stream->capture = NULL;
    return CUDA_SUCCESS;
}

static CUresult synchronize(CUstream stream)
{
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    return stream->capture ? invalidate(stream) : finish(stream);
}

CUresult cuStreamSynchronize(CUstream stream)
{
    CALL(CONTEXT);
    return synchronize(find_stream(stream));
}

/* Finds everything done, since asking is what gets it done. */
CUresult cuStreamQuery(CUstream stream)
{
    CALL(CONTEXT);
    return synchronize(find_stream(stream));
}

CUresult cuStreamGetFlags(CUstream handle, unsigned *flags)
{
    CALL(CONTEXT);
    CUstream stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    *flags = stream->flags;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetCtx(CUstream handle, CUcontext *context)
{
    CALL(CONTEXT);
    CUstream stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    *context = stream->context;
    return CUDA_SUCCESS;
}

/* Stands for a kernel as well, which runs in streams of the current context alone. */
CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void *data)
{
    CALL(CONTEXT);
    CUstream stream = find_stream(handle);
    if (!stream || stream->context != current()) return CUDA_ERROR_INVALID_HANDLE;
    if (!function) return CUDA_ERROR_INVALID_VALUE;
    return enqueue(stream, (Operation){.kind = HOST, .host = {function, data}});
}

/* ---- events ---- */

static CUevent find_event(CUevent handle)
{
    for (CUevent event = events; event; event = event->next)
        if (event == handle) return event->live ? event : NULL;
    return NULL;
}

long live_events(void)
{
    long number = 0;
    for (CUevent event = events; event; event = event->next) number += event->live;
    return number;
}

CUresult cuEventCreate(CUevent *event, unsigned flags)
{
    CALL(CONTEXT);
    *event = calloc(1, sizeof **event);
    **event = (struct CUevent_st){.next = events, .context = current(), .flags = flags};
    (*event)->live = true;
    events = *event;
    return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent handle)
{
    CALL(CONTEXT | ANYWHERE);
    CUevent event = find_event(handle);
    if (!event) return CUDA_ERROR_INVALID_HANDLE;
    event->live = false;
    return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent handle, CUstream stream_handle)
{
    CALL(CONTEXT);
    CUevent event = find_event(handle);
    CUstream stream = find_stream(stream_handle);
    if (!event || !stream || event->context != stream->context) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    event->capture = stream->capture;
    if (stream->capture) return CUDA_SUCCESS; /* an order that the graph has anyway */
    CUresult error = enqueue(stream, (Operation){.kind = RECORD, .event = event});
    if (error) return error;
    event->stream = stream;
    event->number = latest();
    event->done = false;
    return CUDA_SUCCESS;
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned flags)
{
    CALL(CONTEXT);
    CUevent event = find_event(event_handle);
    CUstream stream = find_stream(handle);
    if (!event || !stream) return CUDA_ERROR_INVALID_HANDLE;
    if (flags) return CUDA_ERROR_INVALID_VALUE;
    if (event->capture && event->capture == stream->capture) return CUDA_SUCCESS;
    if (event->capture) return CUDA_ERROR_NOT_SUPPORTED; /* a capture over several streams */
    if (stream->capture) {
        stream->invalidated = true;
        return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    }
    if (!event->stream || event->done) return CUDA_SUCCESS;
    Operation wait = {.kind = WAIT, .wait = {event->stream, event->number}};
    return enqueue(stream, wait);
}

static CUresult wait_for(CUevent event)
{
    if (!event) return CUDA_ERROR_INVALID_HANDLE;
    if (event->capture) return CUDA_ERROR_CAPTURED_EVENT;
    if (!event->stream) return CUDA_SUCCESS;
    drain(event->stream, event->number);
    return take_error(event->stream);
}

CUresult cuEventSynchronize(CUevent event)
{
    CALL(CONTEXT);
    return wait_for(find_event(event));
}

CUresult cuEventQuery(CUevent event)
{
    CALL(CONTEXT);
    return wait_for(find_event(event));
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent start_handle, CUevent end_handle)
{
    CALL(CONTEXT);
    CUevent start = find_event(start_handle), end = find_event(end_handle);
    if (!start || !end || !start->stream || !end->stream) return CUDA_ERROR_INVALID_HANDLE;
    if ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING) return CUDA_ERROR_INVALID_HANDLE;
    if (!start->done || !end->done) return CUDA_ERROR_NOT_READY;
    *milliseconds = end->time - start->time;
    return CUDA_SUCCESS;
}
