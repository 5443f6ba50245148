/* Memory of devices, page-locked memory of the host, and what copies and fills them. */
#include "driver.h"

enum { ALIGNMENT = 512, FRESH = 0xFF /* floats are NaN */, FREED = 0xDD };

typedef struct Block {
    struct Block *next;
    char *base;
    size_t size;
    Place place;
    CUcontext context;
    unsigned flags;
    bool mapped; /* the host's, and its address on the device was asked for */
} Block;

static Block *blocks;

/* ---- which memory there is ---- */

static Block *find(const void *pointer)
{
    const char *byte = pointer;
    for (Block *block = blocks; block; block = block->next)
        if (byte >= block->base && byte < block->base + block->size) return block;
    return NULL;
}

static bool inside(const Block *block, const void *pointer, size_t bytes)
{
    return block && bytes <= block->size - (size_t)((const char *)pointer - block->base);
}

bool inside_device(const void *pointer, size_t bytes)
{
    Block *block = find(pointer);
    return inside(block, pointer, bytes) && (block->place == ON_DEVICE || block->mapped);
}

static bool page_locked(const void *pointer, size_t bytes)
{
    Block *block = find(pointer);
    return inside(block, pointer, bytes) && block->place != ON_DEVICE;
}

static bool touches(const Block *block, const char *pointer, size_t bytes)
{
    return pointer < block->base + block->size && block->base < pointer + bytes;
}

static bool touches_device(const char *pointer, size_t bytes)
{
    for (Block *block = blocks; block; block = block->next)
        if (block->place == ON_DEVICE && touches(block, pointer, bytes)) return true;
    return false;
}

long live_blocks(bool device)
{
    long number = 0;
    for (Block *block = blocks; block; block = block->next)
        number += (block->place == ON_DEVICE) == device;
    return number;
}

long live_bytes(void)
{
    long bytes = 0;
    for (int i = 0; i < MAX_DEVICES; i++) bytes += devices[i].used;
    return bytes;
}

static void add(void *base, size_t size, Place place, unsigned flags)
{
    Block *block = malloc(sizeof *block);
    *block = (Block){blocks, base, size, place, current(), flags, false};
    blocks = block;
}

static void forget(Block *block)
{
    for (Block **link = &blocks; *link; link = &(*link)->next)
        if (*link == block) {
            *link = block->next;
            break;
        }
    if (block->place == ON_DEVICE) devices[block->context->device].used -= block->size;
    if (block->place != REGISTERED) {
        memset(block->base, FREED, block->size);
        free(block->base);
    }
    free(block);
}

static CUresult allocate(void **base, size_t size, Place place, unsigned flags)
{
    Device *device = &devices[current()->device];
    if (!size) return CUDA_ERROR_INVALID_VALUE;
    if (place == ON_DEVICE && size > device->total - device->used) return CUDA_ERROR_OUT_OF_MEMORY;
    if (posix_memalign(base, ALIGNMENT, size)) return CUDA_ERROR_OUT_OF_MEMORY;
    memset(*base, FRESH, size);
    if (place == ON_DEVICE) device->used += size;
    add(*base, size, place, flags);
    return CUDA_SUCCESS;
}

long free_memory_of(CUcontext context)
{
    long number = 0;
    for (Block *block = blocks, *next; block; block = next) {
        next = block->next;
        if (block->context == context) forget(block), number++;
    }
    return number;
}

/* ---- allocation ---- */

CUresult cuMemAlloc(CUdeviceptr *pointer, size_t size)
{
    CALL(CONTEXT | SAFE);
    return allocate((void **)pointer, size, ON_DEVICE, 0);
}

CUresult cuMemAllocPitch(CUdeviceptr *pointer, size_t *pitch, size_t width, size_t height,
                         unsigned element)
{
    CALL(CONTEXT | SAFE);
    if (element != 4 && element != 8 && element != 16) return CUDA_ERROR_INVALID_VALUE;
    *pitch = (width + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return allocate((void **)pointer, *pitch * height, ON_DEVICE, 0);
}

/* The block that starts at this address, once nothing uses it any more. */
static Block *unused(const void *pointer, bool device)
{
    Block *block = find(pointer);
    if (!block || block->base != pointer) return NULL;
    if ((block->place == ON_DEVICE) != device) return NULL;
    drain_device(device ? block->context->device : -1);
    return find(pointer);
}

CUresult cuMemFree(CUdeviceptr pointer)
{
    CALL(CONTEXT | SAFE | ANYWHERE);
    Block *block = unused((void *)pointer, true);
    if (!block) return CUDA_ERROR_INVALID_VALUE;
    forget(block);
    return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void **pointer, size_t size, unsigned flags)
{
    CALL(CONTEXT | SAFE);
    return allocate(pointer, size, ON_HOST, flags);
}

CUresult cuMemAllocHost(void **pointer, size_t size)
{
    CALL(CONTEXT | SAFE);
    return allocate(pointer, size, ON_HOST, 0);
}

CUresult cuMemFreeHost(void *pointer)
{
    CALL(CONTEXT | SAFE | ANYWHERE);
    Block *block = unused(pointer, false);
    if (!block || block->place != ON_HOST) return CUDA_ERROR_INVALID_VALUE;
    forget(block);
    return CUDA_SUCCESS;
}

CUresult cuMemHostRegister(void *pointer, size_t size, unsigned flags)
{
    CALL(CONTEXT | SAFE);
    if (!size) return CUDA_ERROR_INVALID_VALUE;
    for (Block *block = blocks; block; block = block->next)
        if (touches(block, pointer, size)) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    add(pointer, size, REGISTERED, flags);
    return CUDA_SUCCESS;
}

CUresult cuMemHostUnregister(void *pointer)
{
    CALL(CONTEXT | SAFE | ANYWHERE);
    Block *block = unused(pointer, false);
    if (!block || block->place != REGISTERED) return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
    forget(block);
    return CUDA_SUCCESS;
}

CUresult cuMemHostGetDevicePointer(CUdeviceptr *pointer, void *host, unsigned flags)
{
    CALL(CONTEXT);
    Block *block = find(host);
    if (flags || !block || block->place == ON_DEVICE) return CUDA_ERROR_INVALID_VALUE;
    block->mapped = true;
    *pointer = (CUdeviceptr)host;
    return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned *flags, void *host)
{
    CALL(CONTEXT);
    Block *block = find(host);
    if (!block || block->place == ON_DEVICE) return CUDA_ERROR_INVALID_VALUE;
    *flags = block->flags;
    return CUDA_SUCCESS;
}

CUresult cuMemGetInfo(size_t *left, size_t *total)
{
    CALL(CONTEXT);
    const Device *device = &devices[current()->device];
    *left = device->total - device->used;
    *total = device->total;
    return CUDA_SUCCESS;
}

CUresult cuMemGetAddressRange(CUdeviceptr *base, size_t *size, CUdeviceptr pointer)
{
    CALL(CONTEXT);
    Block *block = find((void *)pointer);
    if (!block || block->place != ON_DEVICE) return CUDA_ERROR_NOT_FOUND;
    if (base) *base = (CUdeviceptr)block->base;
    if (size) *size = block->size;
    return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr pointer)
{
    CALL(CONTEXT);
    Block *block = find((void *)pointer);
    if (!block) return CUDA_ERROR_INVALID_VALUE;
    bool device = block->place == ON_DEVICE;
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: *(CUcontext *)data = block->context; break;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned *)data = device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
        break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int *)data = block->context->device; break;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: *(char **)data = block->base; break;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE: *(size_t *)data = block->size; break;
    default: return CUDA_ERROR_NOT_SUPPORTED;
    }
    return CUDA_SUCCESS;
}

CUresult cuMemAllocAsync(CUdeviceptr *pointer, size_t size, CUstream handle)
{
    CALL(CONTEXT);
    CUstream stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture) return CUDA_ERROR_NOT_SUPPORTED;
    return allocate((void **)pointer, size, ON_DEVICE, 0);
}

CUresult cuMemFreeAsync(CUdeviceptr pointer, CUstream handle)
{
    CALL(CONTEXT | ANYWHERE);
    CUstream stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture) return CUDA_ERROR_NOT_SUPPORTED;
    Block *block = find((void *)pointer);
    if (!block || block->place != ON_DEVICE || (CUdeviceptr)block->base != pointer)
        return CUDA_ERROR_INVALID_VALUE;
    return enqueue(stream, (Operation){.kind = FREE, .pointer = pointer});
}

CUresult run_free(CUdeviceptr pointer)
{
    Block *block = find((void *)pointer);
    if (!block || block->place != ON_DEVICE) return CUDA_ERROR_ILLEGAL_ADDRESS;
    forget(block);
    return CUDA_SUCCESS;
}

/* ---- copies ---- */

static size_t span(const Copy *copy, const Side *side)
{
    return (copy->depth - 1) * side->slice + (copy->height - 1) * side->pitch + copy->width;
}

static bool allowed(const Copy *copy, const Side *side)
{
    size_t bytes = span(copy, side);
    if (side->device) return inside_device(side->pointer, bytes);
    return side->pointer && !touches_device(side->pointer, bytes);
}

static bool pageable(const Copy *copy, const Side *side)
{
    return !side->device && !page_locked(side->pointer, span(copy, side));
}

CUresult run_copy(const Copy *copy)
{
    static const char *const names[2][2] = {{"HtoH", "HtoD"}, {"DtoH", "DtoD"}};
    CUresult failure = count(names[copy->from.device][copy->to.device]);
    if (failure) return failure;
    if (!allowed(copy, &copy->to)) return CUDA_ERROR_ILLEGAL_ADDRESS;
    if (!copy->staged && !allowed(copy, &copy->from)) return CUDA_ERROR_ILLEGAL_ADDRESS;
    const char *source = copy->staged ? copy->staged : copy->from.pointer;
    for (size_t z = 0; z < copy->depth; z++)
        for (size_t y = 0; y < copy->height; y++)
            memmove(copy->to.pointer + z * copy->to.slice + y * copy->to.pitch,
                    source + z * copy->from.slice + y * copy->from.pitch, copy->width);
    return CUDA_SUCCESS;
}

static void *stage(const Copy *copy)
{
    size_t bytes = span(copy, &copy->from);
    return memcpy(malloc(bytes), copy->from.pointer, bytes);
}

/* What comes from pageable memory is read at the call, what goes there is there after it. */
static CUresult copy_async(Copy copy, CUstream handle)
{
    CUstream stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (!copy.width || !copy.height || !copy.depth) return CUDA_SUCCESS;
    if (!allowed(&copy, &copy.to) || !allowed(&copy, &copy.from)) return CUDA_ERROR_INVALID_VALUE;
    bool reads = pageable(&copy, &copy.from), writes = pageable(&copy, &copy.to);
    if (reads || writes) count("pageable");
    if (reads && !stream->capture) copy.staged = stage(&copy);
    CUresult error = enqueue(stream, (Operation){.kind = COPY, .copy = copy});
    if (error) free(copy.staged);
    return error || !writes || stream->capture ? error : finish(stream);
}

static CUresult copy_now(Copy copy)
{
    CUstream stream = current()->legacy;
    if (!copy.width || !copy.height || !copy.depth) return CUDA_SUCCESS;
    if (!allowed(&copy, &copy.to) || !allowed(&copy, &copy.from)) return CUDA_ERROR_INVALID_VALUE;
    CUresult error = enqueue(stream, (Operation){.kind = COPY, .copy = copy});
    bool waits = !copy.to.device || !copy.from.device; /* from device to device it does not */
    return error || !waits ? error : finish(stream);
}

static Side on_device(CUdeviceptr pointer) { return (Side){(char *)pointer, true, 0, 0}; }
static Side on_host(const void *pointer) { return (Side){(char *)pointer, false, 0, 0}; }
static Side anywhere(CUdeviceptr pointer)
{
    return inside_device((void *)pointer, 1) ? on_device(pointer) : on_host((void *)pointer);
}
static Copy line(Side to, Side from, size_t size) { return (Copy){to, from, size, 1, 1, NULL}; }

CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t size)
{
    CALL(CONTEXT | SAFE);
    return copy_now(line(on_device(to), on_host(from), size));
}

CUresult cuMemcpyDtoH(void *to, CUdeviceptr from, size_t size)
{
    CALL(CONTEXT | SAFE);
    return copy_now(line(on_host(to), on_device(from), size));
}

CUresult cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t size)
{
    CALL(CONTEXT | SAFE);
    return copy_now(line(on_device(to), on_device(from), size));
}

CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t size)
{
    CALL(CONTEXT | SAFE);
    return copy_now(line(anywhere(to), anywhere(from), size));
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t size, CUstream stream)
{
    CALL(CONTEXT);
    return copy_async(line(on_device(to), on_host(from), size), stream);
}

CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t size, CUstream stream)
{
    CALL(CONTEXT);
    return copy_async(line(on_host(to), on_device(from), size), stream);
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream)
{
    CALL(CONTEXT);
    return copy_async(line(on_device(to), on_device(from), size), stream);
}

CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream)
{
    CALL(CONTEXT);
    return copy_async(line(anywhere(to), anywhere(from), size), stream);
}

CUresult cuMemcpyPeer(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                      CUcontext from_context, size_t size)
{
    CALL(CONTEXT | SAFE);
    (void)to_context, (void)from_context;
    return copy_now(line(on_device(to), on_device(from), size));
}

CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                           CUcontext from_context, size_t size, CUstream stream)
{
    CALL(CONTEXT);
    (void)to_context, (void)from_context;
    return copy_async(line(on_device(to), on_device(from), size), stream);
}

/* One side of a copy of rows or of planes; false where its memory is of a kind that is not here. */
static bool read_side(Side *side, CUmemorytype type, const void *host, CUdeviceptr device,
                      size_t pitch, size_t rows)
{
    switch (type) {
    case CU_MEMORYTYPE_HOST: *side = on_host(host); break;
    case CU_MEMORYTYPE_DEVICE: *side = on_device(device); break;
    case CU_MEMORYTYPE_UNIFIED: *side = anywhere(device); break;
    default: return false;
    }
    side->pitch = pitch;
    side->slice = pitch * rows;
    return true;
}

static void start(Side *side, size_t x, size_t y, size_t z)
{
    side->pointer += z * side->slice + y * side->pitch + x;
}

static bool read_2d(Copy *copy, const CUDA_MEMCPY2D *asked)
{
    *copy = (Copy){.width = asked->WidthInBytes, .height = asked->Height, .depth = 1};
    /* a pitch of 0 is that of rows without gaps */
    size_t to = asked->dstPitch ? asked->dstPitch : asked->WidthInBytes;
    size_t from = asked->srcPitch ? asked->srcPitch : asked->WidthInBytes;
    if (!read_side(&copy->to, asked->dstMemoryType, asked->dstHost, asked->dstDevice, to, 1) ||
        !read_side(&copy->from, asked->srcMemoryType, asked->srcHost, asked->srcDevice, from, 1))
        return false;
    start(&copy->to, asked->dstXInBytes, asked->dstY, 0);
    start(&copy->from, asked->srcXInBytes, asked->srcY, 0);
    return true;
}

static bool read_3d(Copy *copy, const CUDA_MEMCPY3D *asked)
{
    *copy = (Copy){.width = asked->WidthInBytes, .height = asked->Height, .depth = asked->Depth};
    size_t to = asked->dstPitch ? asked->dstPitch : asked->WidthInBytes;
    size_t from = asked->srcPitch ? asked->srcPitch : asked->WidthInBytes;
    size_t to_rows = asked->dstHeight ? asked->dstHeight : asked->Height;
    size_t from_rows = asked->srcHeight ? asked->srcHeight : asked->Height;
    if (!read_side(&copy->to, asked->dstMemoryType, asked->dstHost, asked->dstDevice, to,
                   to_rows) ||
        !read_side(&copy->from, asked->srcMemoryType, asked->srcHost, asked->srcDevice, from,
                   from_rows))
        return false;
    start(&copy->to, asked->dstXInBytes, asked->dstY, asked->dstZ);
    start(&copy->from, asked->srcXInBytes, asked->srcY, asked->srcZ);
    return true;
}

CUresult cuMemcpy2D(const CUDA_MEMCPY2D *asked)
{
    CALL(CONTEXT | SAFE);
    Copy copy;
    return read_2d(&copy, asked) ? copy_now(copy) : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuMemcpy2DUnaligned(const CUDA_MEMCPY2D *asked)
{
    CALL(CONTEXT | SAFE);
    Copy copy;
    return read_2d(&copy, asked) ? copy_now(copy) : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuMemcpy2DAsync(const CUDA_MEMCPY2D *asked, CUstream stream)
{
    CALL(CONTEXT);
    Copy copy;
    return read_2d(&copy, asked) ? copy_async(copy, stream) : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuMemcpy3D(const CUDA_MEMCPY3D *asked)
{
    CALL(CONTEXT | SAFE);
    Copy copy;
    return read_3d(&copy, asked) ? copy_now(copy) : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult cuMemcpy3DAsync(const CUDA_MEMCPY3D *asked, CUstream stream)
{
    CALL(CONTEXT);
    Copy copy;
    return read_3d(&copy, asked) ? copy_async(copy, stream) : CUDA_ERROR_NOT_SUPPORTED;
}

/* ---- fills: never waited for by the host ---- */

static size_t fill_span(const Fill *fill)
{
    return (fill->height - 1) * fill->pitch + fill->width * fill->size;
}

CUresult run_fill(const Fill *fill)
{
    CUresult failure = count("fill");
    if (failure) return failure;
    if (!inside_device(fill->pointer, fill_span(fill))) return CUDA_ERROR_ILLEGAL_ADDRESS;
    for (size_t y = 0; y < fill->height; y++)
        for (size_t x = 0; x < fill->width; x++)
            memcpy(fill->pointer + y * fill->pitch + x * fill->size, &fill->value, fill->size);
    return CUDA_SUCCESS;
}

static CUresult fill(CUdeviceptr pointer, size_t pitch, unsigned value, int size, size_t width,
                     size_t height, CUstream handle)
{
    CUstream stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (!width || !height) return CUDA_SUCCESS;
    Fill asked = {(char *)pointer, pitch, width, height, size, value};
    if (pointer % size || !inside_device(asked.pointer, fill_span(&asked)))
        return CUDA_ERROR_INVALID_VALUE;
    return enqueue(stream, (Operation){.kind = FILL, .fill = asked});
}

/* a value's first bytes are its lowest on the machines that CUDA runs on */
#define FILLS(bits, type)                                                                         \
    CUresult cuMemsetD##bits##_v2(CUdeviceptr pointer, type value, size_t width)                  \
    {                                                                                             \
        CALL(CONTEXT | SAFE);                                                                     \
        return fill(pointer, 0, value, bits / 8, width, 1, NULL);                                 \
    }                                                                                             \
    CUresult cuMemsetD##bits##Async(CUdeviceptr pointer, type value, size_t width, CUstream s)    \
    {                                                                                             \
        CALL(CONTEXT);                                                                            \
        return fill(pointer, 0, value, bits / 8, width, 1, s);                                    \
    }                                                                                             \
    CUresult cuMemsetD2D##bits##_v2(CUdeviceptr pointer, size_t pitch, type value, size_t width,  \
                                    size_t height)                                                \
    {                                                                                             \
        CALL(CONTEXT | SAFE);                                                                     \
        return fill(pointer, pitch, value, bits / 8, width, height, NULL);                        \
    }                                                                                             \
    CUresult cuMemsetD2D##bits##Async(CUdeviceptr pointer, size_t pitch, type value,              \
                                      size_t width, size_t height, CUstream s)                    \
    {                                                                                             \
        CALL(CONTEXT);                                                                            \
        return fill(pointer, pitch, value, bits / 8, width, height, s);                           \
    }
FILLS(8, unsigned char)
FILLS(16, unsigned short)
FILLS(32, unsigned int)
