/* A CUDA driver over host memory: what its parts share. The README beside says what it is. */
#ifndef SIMULATED_DRIVER_H
#define SIMULATED_DRIVER_H

#define _GNU_SOURCE
#define CUDA_ENABLE_DEPRECATED /* pycuda still calls what CUDA calls deprecated */

/* the library exports what cuda.h declares and the controls, nothing else */
#pragma GCC visibility push(default)
#include <cuda.h>
#pragma GCC visibility pop
#define EXPORT __attribute__((visibility("default")))

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEVICES = 8 };

/* Handles are never freed, so that a stale one is always known to be stale. */

struct CUctx_st {
    CUcontext next;
    int device;
    bool primary, live;
    int uses;        /* retained, or created and attached, and not given back */
    CUstream legacy; /* the stream with the handle 0 */
};

typedef struct {
    char *pointer;
    bool device;
    size_t pitch, slice; /* bytes from row to row, and from plane to plane */
} Side;

typedef struct {
    Side to, from;
    size_t width, height, depth; /* width in bytes */
    void *staged;                /* what was read from pageable memory at the call, or NULL */
} Copy;

typedef struct {
    char *pointer;
    size_t pitch, width, height; /* width in elements */
    int size;                    /* bytes of one element: 1, 2 or 4 */
    unsigned value;
} Fill;

typedef struct Operation {
    struct Operation *next;
    uint64_t number; /* in the order of the calls, over all streams */
    enum { COPY, FILL, HOST, RECORD, WAIT, FREE } kind;
    union {
        Copy copy;
        Fill fill;
        struct {
            CUhostFn function;
            void *data;
        } host;
        CUevent event; /* to record */
        struct {
            CUstream stream;
            uint64_t number;
        } wait;
        CUdeviceptr pointer; /* to free */
    };
} Operation;

typedef struct {
    Operation *first, *last;
} Queue;

struct CUstream_st {
    CUstream next;
    CUcontext context;
    unsigned flags;
    bool live;
    Queue queue;
    uint64_t running; /* number of the operation under way, or 0 */
    CUresult error;   /* of an operation, until somebody synchronises */
    CUgraph capture;  /* what is being recorded, or NULL */
    CUstreamCaptureMode mode;
    pthread_t capturer;
    bool invalidated;
};

struct CUevent_st {
    CUevent next;
    CUcontext context;
    unsigned flags;
    bool live, done;
    CUstream stream; /* of the latest record, or NULL */
    uint64_t number; /* of the latest record */
    double time;     /* when it was reached, in milliseconds */
    CUgraph capture; /* that it was recorded into, or NULL */
};

struct CUgraph_st {
    CUgraph next;
    bool live;
    Queue queue;
};

struct CUgraphExec_st {
    CUgraphExec next;
    CUcontext context;
    bool live;
    Queue queue;
};

/* core.c: one lock, which is never held while a host function runs */

enum {
    STARTED = 1,
    CONTEXT = 2 | STARTED, /* one has to be current */
    SAFE = 4,              /* what a capture under way forbids */
    ANYWHERE = 8,          /* also inside a host function: what cleans up */
};

extern pthread_mutex_t lock;
extern _Thread_local bool in_host_function;

static inline int hold(void) { return pthread_mutex_lock(&lock); }
static inline void release(int *held) { (void)held, pthread_mutex_unlock(&lock); }

/* Opens every function of the driver: locks until it returns, counts it, refuses it. */
#define CALL(needs)                                         \
    __attribute__((cleanup(release))) int held = hold();    \
    CUresult refused = admit(__func__, needs);              \
    if (refused) return refused

CUresult admit(const char *function, int needs);
CUresult count(const char *name); /* one more; the failure that was asked for, or success */
void wait_for_change(void);
void tell_change(void);

/* devices.c */

typedef struct {
    char name[64];
    int major, minor;
    size_t total, used;
    CUcontext primary;
} Device;

extern Device devices[MAX_DEVICES];
extern bool started;
extern CUcontext contexts;

CUcontext current(void); /* or NULL */
int stack_depth(void);
long live_contexts(void);

/* memory.c */

typedef enum { ON_DEVICE, ON_HOST, REGISTERED } Place;

bool inside_device(const void *pointer, size_t bytes);
CUresult run_copy(const Copy *copy);
CUresult run_fill(const Fill *fill);
CUresult run_free(CUdeviceptr pointer);
long free_memory_of(CUcontext context); /* how many blocks there were */
long live_blocks(bool device);
long live_bytes(void);

/* streams.c */

extern CUstream streams;

CUstream new_stream(CUcontext context, unsigned flags);
CUstream find_stream(CUstream handle);
CUresult enqueue(CUstream stream, Operation operation);
void append(Queue *queue, Operation operation);
void drain(CUstream stream, uint64_t number); /* up to and with this operation */
void drain_context(CUcontext context);
void drain_device(int device); /* -1: all */
CUresult finish(CUstream stream); /* drains it; its error, which is then forgotten */
uint64_t latest(void);            /* number of the latest operation */
long drop_streams_of(CUcontext context);
long live_streams(void);
long live_events(void);

/* graphs.c */

CUresult refuse_while_capturing(void);
CUresult invalidate(CUstream stream);
long drop_graphs_of(CUcontext context);
long live_graphs(void);

#endif
