/* Counts the operations that change files below one folder, and lets the N-th of them fail or end the process.
 *
 * Preloaded into Python, which arms it by `fault_arm` once everything is imported. Operations elsewhere are not counted.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum operation { WRITE = 1, SYNC = 2, RENAME = 4, OPEN = 8, MKDIR = 16, TRUNCATE = 32, UNLINK = 64 };

static char folder[PATH_MAX];
static long target, count;
static int armed, signal_number, error_number, from_there_on, operations;

/* At operation number `at`: send `signal_to_send`, or fail with `error`, there alone or `onwards`; -1 only counts. */
void fault_arm(const char *below, long at, int signal_to_send, int error, int onwards, int which)
{
    strncpy(folder, below, sizeof folder - 1);
    target = at;
    signal_number = signal_to_send;
    error_number = error;
    from_there_on = onwards;
    operations = which;
    count = 0;
    armed = 1;
}

long fault_count(void) { return count; }

static int fails(enum operation which)
{
    if (!(operations & which))
        return 0;
    long number = __sync_fetch_and_add(&count, 1);
    if (number != target && !(from_there_on && target >= 0 && number > target))
        return 0;
    if (signal_number) {
        kill(getpid(), signal_number);
        return 0;
    }
    errno = error_number;
    return 1;
}

static int path_fails(const char *path, enum operation which)
{
    return armed && path && strstr(path, folder) && fails(which);
}

static int descriptor_fails(int descriptor, enum operation which)
{
    char link[64], path[PATH_MAX];
    if (!armed)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return path_fails(path, which);
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define ON_DESCRIPTOR(type, name, which, parameters, arguments) \
    type name parameters \
    { \
        REAL(name); \
        return descriptor_fails(descriptor, which) ? -1 : real arguments; \
    }

#define ON_PATH(name, which, parameters, arguments) \
    int name parameters \
    { \
        REAL(name); \
        return path_fails(path, which) ? -1 : real arguments; \
    }

ON_DESCRIPTOR(ssize_t, write, WRITE, (int descriptor, const void *data, size_t size), (descriptor, data, size))
ON_DESCRIPTOR(ssize_t, writev, WRITE, (int descriptor, const struct iovec *parts, int number), (descriptor, parts, number))
ON_DESCRIPTOR(ssize_t, pwrite64, WRITE, (int descriptor, const void *data, size_t size, off64_t at), (descriptor, data, size, at))
ON_DESCRIPTOR(int, fsync, SYNC, (int descriptor), (descriptor))
ON_DESCRIPTOR(int, ftruncate64, TRUNCATE, (int descriptor, off64_t length), (descriptor, length))
ON_PATH(rename, RENAME, (const char *path, const char *to), (path, to))
ON_PATH(mkdir, MKDIR, (const char *path, mode_t mode), (path, mode))
ON_PATH(unlink, UNLINK, (const char *path), (path))

static int changes(int flags) { return flags & (O_CREAT | O_WRONLY | O_RDWR); }

#define OPENING(name, before, with) \
    int name(before const char *path, int flags, ...) \
    { \
        REAL(name); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return changes(flags) && path_fails(path, OPEN) ? -1 : real(with path, flags, mode); \
    }

#define NOTHING
#define AT int at,
#define GIVEN at,
OPENING(open, NOTHING, NOTHING)
OPENING(open64, NOTHING, NOTHING)
OPENING(openat, AT, GIVEN)
OPENING(openat64, AT, GIVEN)
