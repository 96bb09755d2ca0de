/* A disk that hangs, as seen by one process (LD_PRELOAD): the call named by HANG_CALL does not return for paths that contain HANG_PATH
   while the file HANG_FLAG exists. Creates HANG_FLAG.reached when a call begins to hang. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int (*real_open)(const char *, int, ...);

static void hang(const char *call, const char *path) {
    const char *flag = getenv("HANG_FLAG");
    const char *hanging_call = getenv("HANG_CALL");
    const char *part = getenv("HANG_PATH");
    if (!flag || !hanging_call || !part || !path || strcmp(call, hanging_call) || !strstr(path, part)) {
        return;
    }
    if (!real_open) {
        real_open = dlsym(RTLD_NEXT, "open");
    }
    while (access(flag, F_OK) == 0) {
        char reached[4096];
        snprintf(reached, sizeof reached, "%s.reached", flag);
        int file = real_open(reached, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        if (file >= 0) {
            close(file);
        }
        usleep(10000);
    }
}

static void hang_file(const char *call, int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length > 0) {
        path[length] = 0;
        hang(call, path);
    }
}

#define OPEN(name)                                                   \
    int name(const char *path, int flags, ...) {                     \
        va_list arguments;                                           \
        va_start(arguments, flags);                                  \
        mode_t mode = va_arg(arguments, mode_t);                     \
        va_end(arguments);                                           \
        hang("open", path);                                          \
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name); \
        return real(path, flags, mode);                              \
    }

OPEN(open)
OPEN(open64)

#define SYNC(name)                                       \
    int name(int file) {                                 \
        hang_file("sync", file);                         \
        int (*real)(int) = dlsym(RTLD_NEXT, #name);      \
        return real(file);                               \
    }

SYNC(fsync)
SYNC(fdatasync)

ssize_t write(int file, const void *bytes, size_t count) {
    hang_file("write", file);
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    return real(file, bytes, count);
}

int unlink(const char *path) {
    hang("unlink", path);
    int (*real)(const char *) = dlsym(RTLD_NEXT, "unlink");
    return real(path);
}
