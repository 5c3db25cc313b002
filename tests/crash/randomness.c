// Chance that repeats itself: what a machine may draw that is restored from the same snapshot at each start.
//
// Loaded before libc (LD_PRELOAD). Equal requests get equal bytes, in each process, always.
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

static void fill(unsigned char *data, size_t size) {
    uint64_t state = size;
    for (size_t i = 0; i < size; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        data[i] = state >> 56;
    }
}

ssize_t getrandom(void *data, size_t size, unsigned int flags) {
    (void)flags;
    fill(data, size);
    return (ssize_t)size;
}

int getentropy(void *data, size_t size) {
    fill(data, size);
    return 0;
}
