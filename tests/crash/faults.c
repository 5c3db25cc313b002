// Faults of a disk, for the system calls of one process on the files of its store.
//
// Loaded before libc (LD_PRELOAD). What to do stands in a small file that the test maps too, so that faults begin
// and end while the process runs:
//
//     calls    which calls are meant: 1 writes, 2 syncs, 4 reads, 8 truncations
//     skip     so many of them pass first
//     times    then so many fail; -1: all
//     error    errno of the failure; negative: the call goes on, but first the process gets the signal -error
//     delay    microseconds that each meant call waits first
//     hold     while not 0, meant calls wait
//     seen     how many meant calls there were since the file was written
//     failed   how many of them failed
//     waiting  how many wait now
//
// Only files whose path contains FAULTS_NAME are touched.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { WRITES = 1, SYNCS = 2, READS = 4, TRUNCATIONS = 8 };

struct faults {
    volatile int64_t calls, skip, times, error, delay, hold, seen, failed, waiting;
};

static struct faults nothing, *faults = &nothing;
static const char *name;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTS_PAGE");
    name = getenv("FAULTS_NAME");
    if (!path || !name) return;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) faults = mapped;
    close(file);
}

static int meant(int kind, int file) {
    char link[64], path[4096];
    if (!(faults->calls & kind)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, name) != NULL;
}

static void rest(int64_t microseconds) {
    struct timespec time = {microseconds / 1000000, microseconds % 1000000 * 1000};
    nanosleep(&time, NULL);
}

// Returns whether the call fails; errno says why.
static int fails(int kind, int file) {
    int before = errno;
    if (!meant(kind, file)) {
        errno = before;
        return 0;
    }
    __atomic_add_fetch(&faults->seen, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&faults->waiting, 1, __ATOMIC_SEQ_CST);
    if (faults->delay) rest(faults->delay);
    while (faults->hold) rest(500);
    __atomic_sub_fetch(&faults->waiting, 1, __ATOMIC_SEQ_CST);
    errno = before;
    if (!faults->error || __atomic_sub_fetch(&faults->skip, 1, __ATOMIC_SEQ_CST) >= 0) return 0;
    if (faults->times == 0) return 0;
    if (faults->times > 0) __atomic_sub_fetch(&faults->times, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&faults->failed, 1, __ATOMIC_SEQ_CST);
    if (faults->error < 0) {
        kill(getpid(), (int)-faults->error);
        errno = before;
        return 0;
    }
    errno = (int)faults->error;
    return 1;
}

#define NEXT(symbol) ((__typeof__(&symbol))dlsym(RTLD_NEXT, #symbol))

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    static __typeof__(&pwrite64) next;
    if (!next) next = NEXT(pwrite64);
    return fails(WRITES, file) ? -1 : next(file, data, size, at);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    static __typeof__(&pwrite) next;
    if (!next) next = NEXT(pwrite);
    return fails(WRITES, file) ? -1 : next(file, data, size, at);
}

ssize_t pread64(int file, void *data, size_t size, off64_t at) {
    static __typeof__(&pread64) next;
    if (!next) next = NEXT(pread64);
    return fails(READS, file) ? -1 : next(file, data, size, at);
}

ssize_t pread(int file, void *data, size_t size, off_t at) {
    static __typeof__(&pread) next;
    if (!next) next = NEXT(pread);
    return fails(READS, file) ? -1 : next(file, data, size, at);
}

int fsync(int file) {
    static __typeof__(&fsync) next;
    if (!next) next = NEXT(fsync);
    return fails(SYNCS, file) ? -1 : next(file);
}

int fdatasync(int file) {
    static __typeof__(&fdatasync) next;
    if (!next) next = NEXT(fdatasync);
    return fails(SYNCS, file) ? -1 : next(file);
}

int ftruncate64(int file, off64_t size) {
    static __typeof__(&ftruncate64) next;
    if (!next) next = NEXT(ftruncate64);
    return fails(TRUNCATIONS, file) ? -1 : next(file, size);
}

int ftruncate(int file, off_t size) {
    static __typeof__(&ftruncate) next;
    if (!next) next = NEXT(ftruncate);
    return fails(TRUNCATIONS, file) ? -1 : next(file, size);
}
