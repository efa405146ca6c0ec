/* What Linux and macOS spell differently: bytes made durable, space taken ahead, sleep on a condition by the monotonic clock. */
#ifndef TSENGINE_OS_PLATFORM_H
#define TSENGINE_OS_PLATFORM_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef __APPLE__

/* fsync of macOS hands the bytes to the drive without waiting until they are on it. File systems that know no better get it alone. */
static inline int platform_sync(int fd) {
    if (fcntl(fd, F_FULLFSYNC) >= 0)
        return 0;
    return errno == ENOTSUP || errno == ENOTTY || errno == EINVAL ? fsync(fd) : -1;
}

static inline int platform_sync_data(int fd) { return platform_sync(fd); }

/* Returns an error number. Space behind the end only: no file of ours has holes. */
static inline int platform_allocate(int fd, int64_t offset, int64_t size_bytes) {
    struct stat status;
    if (fstat(fd, &status) < 0)
        return errno;
    if (offset + size_bytes <= status.st_size)
        return 0;
    fstore_t wish = {F_ALLOCATEALL, F_PEOFPOSMODE, 0, offset + size_bytes - status.st_size, 0};
    return fcntl(fd, F_PREALLOCATE, &wish) < 0 || ftruncate(fd, offset + size_bytes) < 0 ? errno : 0;
}

static inline int platform_condition_init(pthread_cond_t *condition) { return pthread_cond_init(condition, NULL); }

static inline int platform_condition_sleep(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t wait_ns) {
    struct timespec wait = {wait_ns / 1000000000, wait_ns % 1000000000};
    return pthread_cond_timedwait_relative_np(condition, mutex, &wait);
}

#else

static inline int platform_sync(int fd) { return fsync(fd); }

static inline int platform_sync_data(int fd) { return fdatasync(fd); }

static inline int platform_allocate(int fd, int64_t offset, int64_t size_bytes) { return posix_fallocate(fd, offset, size_bytes); }

static inline int platform_condition_init(pthread_cond_t *condition) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    int status = pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
    return status;
}

static inline int platform_condition_sleep(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t wait_ns) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + wait_ns;
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    return pthread_cond_timedwait(condition, mutex, &until);
}

#endif
#endif
