/* What the two tools share: clocks, failing loudly, buffers, latencies. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* End the program with a message; a benchmark that limps on measures something else. */
__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(2);
}

static inline void *must_grow(void *old, size_t bytes) {
    void *memory = realloc(old, bytes);
    if (memory == NULL) die("out of memory: %zu bytes", bytes);
    return memory;
}

static inline void *must_have_zeroed(size_t count, size_t bytes) {
    void *memory = calloc(count, bytes);
    if (memory == NULL) die("out of memory: %zu bytes", count * bytes);
    return memory;
}

static inline int64_t read_clock_us(clockid_t clock) {
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) die("no clock");
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static inline int64_t monotonic_us(void) { return read_clock_us(CLOCK_MONOTONIC); }

/* Microseconds since 1970: the two tools compare it, so they must run on one machine. */
static inline int64_t wall_us(void) { return read_clock_us(CLOCK_REALTIME); }

/* Bytes read from a connection and not used yet. */
struct buffer {
    char *bytes;
    size_t length, capacity;
};

/* Make room for at least one more byte, and for the zero that ends a string. */
static inline void buffer_make_room(struct buffer *buffer) {
    if (buffer->length + 2 <= buffer->capacity) return;
    buffer->capacity = buffer->capacity ? buffer->capacity * 2 : 8192;
    buffer->bytes = must_grow(buffer->bytes, buffer->capacity);
}

static inline void buffer_drop_front(struct buffer *buffer, size_t count) {
    memmove(buffer->bytes, buffer->bytes + count, buffer->length - count);
    buffer->length -= count;
}

/* Latencies in microseconds, as many as there was room for. */
struct latencies {
    uint32_t *values;
    size_t count, capacity;
};

static inline void latencies_add(struct latencies *latencies, int64_t microseconds) {
    if (latencies->count == latencies->capacity) return;
    if (microseconds < 0) microseconds = 0; /* The wall clock was stepped. */
    if (microseconds > UINT32_MAX) microseconds = UINT32_MAX;
    latencies->values[latencies->count++] = (uint32_t)microseconds;
}

static inline int latencies_compare(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static inline void latencies_sort(struct latencies *latencies) {
    qsort(latencies->values, latencies->count, sizeof *latencies->values, latencies_compare);
}

/* The nearest rank of sorted latencies, in milliseconds; 0 when there are none. */
static inline double latencies_ms(const struct latencies *sorted, double share) {
    if (sorted->count == 0) return 0;
    return sorted->values[(size_t)(share * (double)(sorted->count - 1) + 0.5)] / 1000.0;
}

/* Find a header's value between the start line and `end`; NULL if it is not there. */
static inline const char *find_header(const char *head, const char *end, const char *name) {
    size_t length = strlen(name);
    for (const char *line = head; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        if ((size_t)(end - line) > length && line[length] == ':' && strncasecmp(line, name, length) == 0) {
            const char *value = line + length + 1;
            while (value < end && *value == ' ') value++;
            return value;
        }
        if (newline == NULL) return NULL;
        line = newline + 1;
    }
    return NULL;
}

/* Undo the chunked transfer coding into `body` (which may be NULL to only measure).
 * Returns how many bytes of the input it took, or 0 when the last chunk is not here yet. */
static inline size_t read_chunks(const char *input, size_t length, char *body, size_t *body_length) {
    size_t at = 0;
    *body_length = 0;
    for (;;) {
        const char *newline = memchr(input + at, '\n', length - at);
        if (newline == NULL) return 0;
        size_t size = strtoul(input + at, NULL, 16);
        at = (size_t)(newline - input) + 1;
        if (size > length || length - at < size + 2) return 0;
        if (body != NULL) memcpy(body + *body_length, input + at, size);
        *body_length += size;
        at += size + 2;
        if (size == 0) return at;
    }
}

#endif
