/* The lock, the counts, the failures that tests ask for, and the controls. */
#include "driver.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { NAMES = 256, FAILURES = 32, NAME = 48 };

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
_Thread_local bool in_host_function;

static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct {
    char name[NAME];
    long calls;
} counts[NAMES];
static struct {
    char name[NAME];
    long left; /* calls until it fails, or 0 */
    CUresult code;
} failures[FAILURES];

/* ---- waiting ---- */

void tell_change(void) { pthread_cond_broadcast(&changed); }

/* Whoever waits may hold Python's GIL, which the host function he waits for needs. A real kernel
 * needs no GIL, so that would be a deadlock of the simulator alone: give it up meanwhile. */
static void *give_up_gil(void)
{
    int (*initialised)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "Py_IsInitialized");
    int (*mine)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "PyGILState_Check");
    void *(*save)(void) = (void *(*)(void))dlsym(RTLD_DEFAULT, "PyEval_SaveThread");
    return initialised && mine && save && initialised() && mine() ? save() : NULL;
}

static void take_gil(void *state)
{
    void (*restore)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "PyEval_RestoreThread");
    if (state && restore) restore(state);
}

void wait_for_change(void)
{
    void *state = give_up_gil();
    pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock); /* who waits for the GIL must not hold the lock */
    take_gil(state);
    pthread_mutex_lock(&lock);
}

/* ---- counts and failures ---- */

/* cuMemAlloc_v2 -> cuMemAlloc */
static void plain(char *name, const char *function)
{
    snprintf(name, NAME, "%s", function);
    char *version = strstr(name, "_v");
    if (version) *version = 0;
}

static long *counter(const char *name)
{
    for (int i = 0; i < NAMES; i++) {
        if (!counts[i].name[0]) snprintf(counts[i].name, NAME, "%s", name);
        if (!strcmp(counts[i].name, name)) return &counts[i].calls;
    }
    abort(); /* NAMES is too small */
}

CUresult count(const char *name)
{
    ++*counter(name);
    CUresult code = CUDA_SUCCESS;
    for (int i = 0; i < FAILURES; i++)
        if (failures[i].left && !strcmp(failures[i].name, name) && !--failures[i].left)
            code = failures[i].code;
    return code;
}

CUresult admit(const char *function, int needs)
{
    char name[NAME];
    plain(name, function);
    CUresult code = count(name);
    if (code) return code;
    if (needs & STARTED && !started) return CUDA_ERROR_NOT_INITIALIZED;
    if (in_host_function && !(needs & ANYWHERE)) return CUDA_ERROR_NOT_PERMITTED;
    if ((needs & CONTEXT) == CONTEXT) {
        if (!current()) return CUDA_ERROR_INVALID_CONTEXT;
        if (!current()->live) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    }
    return needs & SAFE ? refuse_while_capturing() : CUDA_SUCCESS;
}

/* ---- controls ---- */

static const char *const kinds[] = {"memory", "bytes", "host",    "stream",
                                    "event",  "graph", "context", "stack"};

static long live(const char *kind)
{
    if (!strcmp(kind, "memory")) return live_blocks(true);
    if (!strcmp(kind, "bytes")) return live_bytes();
    if (!strcmp(kind, "host")) return live_blocks(false);
    if (!strcmp(kind, "stream")) return live_streams();
    if (!strcmp(kind, "event")) return live_events();
    if (!strcmp(kind, "graph")) return live_graphs();
    if (!strcmp(kind, "context")) return live_contexts();
    if (!strcmp(kind, "stack")) return stack_depth();
    return -1;
}

EXPORT long sim_live(const char *kind)
{
    pthread_mutex_lock(&lock);
    long found = live(kind);
    pthread_mutex_unlock(&lock);
    return found;
}

EXPORT long sim_count(const char *what)
{
    pthread_mutex_lock(&lock);
    long found = *counter(what);
    pthread_mutex_unlock(&lock);
    return found;
}

/* Forgets everything that was asked for before where nth is 0. */
EXPORT void sim_fail(const char *name, long nth, int code)
{
    pthread_mutex_lock(&lock);
    if (nth <= 0) memset(failures, 0, sizeof failures);
    for (int i = 0; nth > 0 && i < FAILURES; i++)
        if (!failures[i].left) {
            snprintf(failures[i].name, NAME, "%s", name);
            failures[i].left = nth;
            failures[i].code = (CUresult)code;
            nth = 0;
        }
    pthread_mutex_unlock(&lock);
}

/* Whether a kernel may touch these bytes; for doubles of kernels, inside a host function too. */
EXPORT int sim_inside(const void *pointer, size_t bytes)
{
    pthread_mutex_lock(&lock);
    bool found = inside_device(pointer, bytes);
    pthread_mutex_unlock(&lock);
    return found;
}

__attribute__((destructor)) static void report(void)
{
    const char *path = getenv("SIM_CUDA_REPORT");
    if (!path || !*path) return;
    char *text = NULL;
    size_t size = 0;
    FILE *line = open_memstream(&text, &size);
    fprintf(line, "{\"pid\": %d, \"live\": {", getpid());
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        fprintf(line, "%s\"%s\": %ld", i ? ", " : "", kinds[i], sim_live(kinds[i]));
    fprintf(line, "}, \"count\": {");
    for (int i = 0; i < NAMES && counts[i].name[0]; i++)
        fprintf(line, "%s\"%s\": %ld", i ? ", " : "", counts[i].name, counts[i].calls);
    fprintf(line, "}}\n");
    fclose(line);
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT, 0666);
    if (file < 0 || write(file, text, size) != (ssize_t)size) perror(path);
    if (file >= 0) close(file);
    free(text);
}
