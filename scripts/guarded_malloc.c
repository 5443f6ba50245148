/* Allocations that end at an unmapped page, for scripts/measure_ncnn_checking.py (LD_PRELOAD).

   While guard_start is in effect each allocation has pages of its own between unmapped ones, and
   its memory is full of one byte. No address is used twice. A read or a write beyond an allocation,
   or of a freed one, ends the process; a read of memory that was never written depends on the byte.
   What ncnn itself allocates beyond a tensor (64 bytes) belongs to the allocation. */

#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

enum { PAGE = 4096, MOST = 1 << 22, FILLED = 1 << 24 };

struct block { uintptr_t start; size_t size; };

static struct block *blocks;
static size_t count;
static uintptr_t arena, next, arena_end;
static int guarding, counting, fill;
static size_t largest;
static atomic_flag busy = ATOMIC_FLAG_INIT;

static void lock(void)
{
    while (atomic_flag_test_and_set(&busy))
        ;
}

static void unlock(void) { atomic_flag_clear(&busy); }

static void *map(size_t size, int protection)
{
    return mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

void guard_count(void) { counting = 1; largest = 0; }

size_t guard_largest(void) { return largest; }

int guard_start(int byte)
{
    size_t size = (size_t)1 << 42;
    void *reserved = map(size, PROT_NONE), *table = map(MOST * sizeof *blocks, PROT_READ | PROT_WRITE);
    if (reserved == MAP_FAILED || table == MAP_FAILED)
        return -1;
    arena = next = (uintptr_t)reserved;
    arena_end = arena + size;
    blocks = table;
    fill = byte;
    guarding = 1;
    return 0;
}

static void *allocate_unlocked(size_t alignment, size_t size, int byte)
{
    if (count == MOST || size > ((size_t)1 << 40))
        return NULL;
    size_t pages = (size + alignment + PAGE - 1) / PAGE * PAGE;
    if (next + pages + 2 * PAGE > arena_end)
        return NULL;
    uintptr_t start = next + PAGE, end = start + pages;
    if (mprotect((void *)start, pages, PROT_READ | PROT_WRITE) != 0)
        return NULL;
    if (byte && pages <= FILLED)
        memset((void *)start, byte, pages);
    next = end;
    blocks[count].start = (end - size) & ~(uintptr_t)(alignment - 1);
    blocks[count].size = size;
    return (void *)blocks[count++].start;
}

static void *allocate(size_t alignment, size_t size, int byte)
{
    lock();
    void *pointer = allocate_unlocked(alignment, size, byte);
    unlock();
    return pointer;
}

static struct block *find(void *pointer)
{
    lock();
    size_t low = 0, high = count;
    unlock();
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (blocks[middle].start < (uintptr_t)pointer)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && blocks[low].start == (uintptr_t)pointer ? &blocks[low] : NULL;
}

static int is_guarded(void *pointer)
{
    return (uintptr_t)pointer >= arena && (uintptr_t)pointer < arena_end;
}

static void note(size_t size)
{
    if (counting && size > largest && size < (size_t)1 << 46) /* more no machine has */
        largest = size;
}

void *malloc(size_t size)
{
    note(size);
    return guarding ? allocate(16, size, fill) : __libc_malloc(size);
}

void *calloc(size_t items, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(items, size, &total))
        return NULL;
    note(total);
    return guarding ? allocate(16, total, 0) : __libc_calloc(items, size);
}

void free(void *pointer)
{
    if (!is_guarded(pointer)) {
        __libc_free(pointer);
        return;
    }
    struct block *block = find(pointer);
    if (block == NULL)
        __builtin_trap();
    uintptr_t start = block->start / PAGE * PAGE, end = block->start + block->size + PAGE - 1;
    madvise((void *)start, (end - start) / PAGE * PAGE, MADV_DONTNEED);
    mprotect((void *)start, (end - start) / PAGE * PAGE, PROT_NONE);
}

void *realloc(void *pointer, size_t size)
{
    note(size);
    if (!guarding && !is_guarded(pointer))
        return __libc_realloc(pointer, size);
    size_t old = malloc_usable_size(pointer);
    void *moved = malloc(size);
    if (moved != NULL && pointer != NULL) {
        memcpy(moved, pointer, old < size ? old : size);
        free(pointer);
    }
    return moved;
}

void *memalign(size_t alignment, size_t size)
{
    note(size);
    return guarding ? allocate(alignment, size, fill) : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **result, size_t alignment, size_t size)
{
    void *pointer = memalign(alignment, size);
    if (pointer == NULL)
        return ENOMEM;
    *result = pointer;
    return 0;
}

size_t malloc_usable_size(void *pointer)
{
    if (pointer == NULL)
        return 0;
    if (is_guarded(pointer)) {
        struct block *block = find(pointer);
        return block == NULL ? 0 : block->size;
    }
    size_t chunk = ((size_t *)pointer)[-1]; /* glibc's: its size, and in bit 1 whether it is mapped */
    return (chunk & ~(size_t)7) - (chunk & 2 ? 16 : 8);
}
