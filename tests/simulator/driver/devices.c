/* Devices, contexts, and each thread's stack of them. */
#include "driver.h"

#include <stdio.h>
#include <unistd.h>

enum { VERSION = 13000, STACK = 32 };

Device devices[MAX_DEVICES];
bool started;
CUcontext contexts;

static int number_of_devices;
static pid_t process;
static _Thread_local CUcontext stack[STACK];
static _Thread_local int depth;

/* ---- devices ---- */

/* name:capability:bytes;name:... */
static bool read_devices(const char *text)
{
    for (number_of_devices = 0; *text; number_of_devices++) {
        Device *device = &devices[number_of_devices];
        int length = 0;
        if (number_of_devices == MAX_DEVICES) return false;
        int fields = sscanf(text, "%63[^:]:%d.%d:%zu%n", device->name, &device->major,
                            &device->minor, &device->total, &length);
        text += length;
        if (fields != 4 || (*text && *text++ != ';')) return false;
    }
    return true;
}

CUresult cuInit(unsigned flags)
{
    CALL(0);
    if (flags) return CUDA_ERROR_INVALID_VALUE;
    if (process && process != getpid()) return CUDA_ERROR_NOT_INITIALIZED; /* after a fork */
    if (started) return CUDA_SUCCESS;
    const char *text = getenv("SIM_CUDA_DEVICES");
    if (!text) text = "Simulated A:9.0:1073741824;Simulated B:8.7:1073741824";
    if (!read_devices(text)) {
        fprintf(stderr, "SIM_CUDA_DEVICES: expected NAME:9.0:BYTES;..., got %s\n", text);
        return CUDA_ERROR_UNKNOWN;
    }
    started = number_of_devices;
    process = getpid();
    return started ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

/* CUDA does not work in the child of a fork. */
static void before_fork(void) { pthread_mutex_lock(&lock); }
static void in_parent(void) { pthread_mutex_unlock(&lock); }
static void in_child(void) { started = false, pthread_mutex_unlock(&lock); }

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, in_parent, in_child);
}

static bool exists(CUdevice device) { return device >= 0 && device < number_of_devices; }

CUresult cuDriverGetVersion(int *version)
{
    *version = VERSION;
    return CUDA_SUCCESS;
}

/* The tables of private functions that NVIDIA's libraries share with its driver: none is here. */
CUresult cuGetExportTable(const void **table, const CUuuid *id)
{
    CALL(ANYWHERE);
    (void)id;
    *table = NULL;
    return CUDA_ERROR_NOT_FOUND;
}

CUresult cuDeviceGetCount(int *number)
{
    CALL(STARTED);
    *number = number_of_devices;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    CALL(STARTED);
    if (!exists(ordinal)) return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int size, CUdevice device)
{
    CALL(STARTED);
    if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
    snprintf(name, size, "%s", devices[device].name);
    return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device)
{
    CALL(STARTED);
    if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
    *major = devices[device].major;
    *minor = devices[device].minor;
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device)
{
    CALL(STARTED);
    if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
    *bytes = devices[device].total;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device)
{
    CALL(STARTED);
    if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
    memcpy(uuid->bytes, "simulated-gpu-0", 16);
    uuid->bytes[14] += device;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *text, int size, CUdevice device)
{
    CALL(STARTED);
    if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
    snprintf(text, size, "0000:%02X:00.0", device + 1);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetByPCIBusId(CUdevice *device, const char *text)
{
    CALL(STARTED);
    unsigned domain, bus, slot;
    bool read = sscanf(text, "%x:%x:%x", &domain, &bus, &slot) == 3;
    if (!read || domain || slot || !exists((int)bus - 1)) return CUDA_ERROR_INVALID_DEVICE;
    *device = (int)bus - 1;
    return CUDA_SUCCESS;
}

CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
    CALL(STARTED);
    if (!exists(device) || !exists(peer)) return CUDA_ERROR_INVALID_DEVICE;
    *can = 0;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    CALL(STARTED);
    if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
    if (attribute < 1 || attribute >= CU_DEVICE_ATTRIBUTE_MAX) return CUDA_ERROR_INVALID_VALUE;
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = devices[device].major; break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = devices[device].minor; break;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID: *value = device + 1; break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 8; break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *value = 48 << 10; break;
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: *value = 1; break;
    default: *value = 0;
    }
    return CUDA_SUCCESS;
}

/* ---- contexts ---- */

CUcontext current(void) { return depth ? stack[depth - 1] : NULL; }
int stack_depth(void) { return depth; }

long live_contexts(void)
{
    long number = 0;
    for (CUcontext context = contexts; context; context = context->next) number += context->uses;
    return number;
}

static bool known(CUcontext handle)
{
    for (CUcontext context = contexts; context; context = context->next)
        if (context == handle) return context->live;
    return false;
}

static CUcontext new_context(CUdevice device, bool primary)
{
    CUcontext context = calloc(1, sizeof *context);
    *context = (struct CUctx_st){.next = contexts, .device = device, .primary = primary};
    return contexts = context;
}

static void open_context(CUcontext context)
{
    context->live = true;
    context->legacy = new_stream(context, CU_STREAM_DEFAULT);
}

/* Everything in it goes with it; what its owner has not freed before is counted as lost. */
static void close_context(CUcontext context)
{
    drain_context(context);
    long lost = free_memory_of(context) + drop_streams_of(context) + drop_graphs_of(context);
    while (lost--) count("lost");
    context->live = false;
}

static bool push(CUcontext context)
{
    if (depth == STACK) return false;
    stack[depth++] = context;
    return true;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    CALL(STARTED);
    if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
    if (!devices[device].primary) devices[device].primary = new_context(device, true);
    *context = devices[device].primary;
    if (!(*context)->live) open_context(*context);
    ++(*context)->uses;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
    CALL(STARTED | ANYWHERE);
    if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
    CUcontext context = devices[device].primary;
    if (!context || !context->uses) return CUDA_ERROR_INVALID_CONTEXT;
    if (!--context->uses) close_context(context);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxReset(CUdevice device)
{
    CALL(STARTED);
    if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
    CUcontext context = devices[device].primary;
    if (!context || !context->live) return CUDA_SUCCESS;
    close_context(context);
    if (context->uses) open_context(context);
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    CALL(STARTED);
    if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
    *flags = 0;
    *active = devices[device].primary && devices[device].primary->live;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned flags)
{
    CALL(STARTED);
    (void)flags;
    return exists(device) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuCtxCreate(CUcontext *context, CUctxCreateParams *parameters, unsigned flags,
                     CUdevice device)
{
    CALL(STARTED);
    (void)flags;
    if (parameters) return CUDA_ERROR_NOT_SUPPORTED;
    if (!exists(device)) return CUDA_ERROR_INVALID_DEVICE;
    *context = new_context(device, false);
    open_context(*context);
    (*context)->uses = 1;
    return push(*context) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

static CUresult give_back(CUcontext context)
{
    if (!known(context) || context->primary) return CUDA_ERROR_INVALID_CONTEXT;
    if (context == current()) depth--;
    if (!--context->uses) close_context(context);
    return CUDA_SUCCESS;
}

CUresult cuCtxDestroy(CUcontext context)
{
    CALL(STARTED | ANYWHERE);
    if (known(context) && !context->primary) context->uses = 1;
    return give_back(context);
}

CUresult cuCtxAttach(CUcontext *context, unsigned flags)
{
    CALL(CONTEXT);
    if (flags || current()->primary) return CUDA_ERROR_INVALID_VALUE;
    ++current()->uses;
    *context = current();
    return CUDA_SUCCESS;
}

CUresult cuCtxDetach(CUcontext context)
{
    CALL(STARTED | ANYWHERE);
    return give_back(context);
}

CUresult cuCtxPushCurrent(CUcontext context)
{
    CALL(STARTED | ANYWHERE);
    return known(context) && push(context) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuCtxPopCurrent(CUcontext *context)
{
    CALL(STARTED | ANYWHERE);
    if (!depth) return CUDA_ERROR_INVALID_CONTEXT;
    CUcontext popped = stack[--depth];
    if (context) *context = popped;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context)
{
    CALL(STARTED | ANYWHERE);
    if (context && !known(context)) return CUDA_ERROR_INVALID_CONTEXT;
    if (depth) depth--;
    return !context || push(context) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cuCtxGetCurrent(CUcontext *context)
{
    CALL(STARTED | ANYWHERE);
    *context = current();
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    CALL(CONTEXT | ANYWHERE);
    *device = current()->device;
    return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void)
{
    CALL(CONTEXT);
    CUresult error = CUDA_SUCCESS;
    for (CUstream stream = streams; stream; stream = stream->next)
        if (stream->context == current() && stream->capture) error = invalidate(stream);
    if (error) return error;
    for (CUstream stream = streams; stream; stream = stream->next)
        if (stream->context == current()) {
            CUresult own = finish(stream);
            if (!error) error = own;
        }
    return error;
}

/* ---- what pycuda can ask of a context, and what makes no difference here ---- */

CUresult cuCtxGetApiVersion(CUcontext context, unsigned *version)
{
    CALL(STARTED);
    if (context && !known(context)) return CUDA_ERROR_INVALID_CONTEXT;
    *version = VERSION;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetLimit(size_t *value, CUlimit limit)
{
    CALL(CONTEXT);
    (void)limit;
    *value = 0;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetLimit(CUlimit limit, size_t value)
{
    CALL(CONTEXT);
    (void)limit, (void)value;
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCacheConfig(CUfunc_cache *config)
{
    CALL(CONTEXT);
    *config = CU_FUNC_CACHE_PREFER_NONE;
    return CUDA_SUCCESS;
}

CUresult cuCtxSetCacheConfig(CUfunc_cache config)
{
    CALL(CONTEXT);
    (void)config;
    return CUDA_SUCCESS;
}
