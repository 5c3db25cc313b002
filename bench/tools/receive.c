/* receive: the receiver of the benchmark. One thread, epoll, HTTP/1.1 keep-alive, loopback only.
 *
 *   receive PORT              0 lets the system choose; the first line printed is the port
 *
 *   POST /anything            200 {"ok":true}; the message is counted
 *   POST /status/NNN          NNN; the message is counted if that is 2xx, else it is refused
 *   GET  /__count             how many different messages arrived; as cheap as a message, to be asked often
 *   GET  /__stats             what arrived: unique, duplicates, refused, times, latencies
 *   GET  /__window            the latencies of what arrived since this was last asked
 *   GET  /__log               two bytes for each number from 0: how often it was counted, and how often refused
 *   POST /__answer?NNN        say NNN to everything from now on; 200 ends it
 *   POST /__reset?min=ID      forget everything; numbers below ID (stragglers of the last run) do not count
 *
 * A body must hold "qid", the number of the message, and "qts", when it was sent, in microseconds since
 * 1970. Both are found by their key, also in a body that was written anew or lies escaped inside a string.
 */
#define _GNU_SOURCE
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MESSAGES_MAX = 1 << 23,       /* Numbers from 0 up to this are told apart. */
    REQUEST_BYTES_MAX = 64 << 20, /* A longer one is no message of ours. */
    WINDOW_MAX = 1 << 20,         /* Latencies of one window. */
    EVENTS_MAX = 512,
};

struct count { /* Of one message; 255 is as far as it goes. */
    uint8_t taken, refused;
};

struct connection {
    int fd;
    struct buffer input;
};

/* One request inside a connection's input. */
struct request {
    const char *start, *path, *head_end;
    const char *body;
    size_t body_length;
    size_t length; /* Of the whole request in the input. */
    char *decoded; /* To be freed; the body lies in it if it came in chunks. */
};

enum parsed { PARSED, INCOMPLETE, MALFORMED };

static struct {
    struct count *counts; /* By message number. */
    int64_t highest;      /* Of the numbers, plus one. */
    int answer;           /* To everything, if not 200. */
    size_t unique, duplicates, unreadable, refused;
    int64_t first_us, last_us; /* When the first and the last message arrived. */
    int64_t first_number;      /* Smaller ones do not count. */
    struct latencies latencies, window;
    size_t connections, connections_peak;
} state;

static void forget_everything(int64_t first_number) {
    memset(state.counts, 0, sizeof *state.counts * (size_t)state.highest);
    state.highest = 0;
    state.unique = state.duplicates = state.unreadable = state.refused = 0;
    state.first_us = state.last_us = 0;
    state.first_number = first_number;
    state.latencies.count = state.window.count = 0;
    state.connections_peak = state.connections;
}

/* The number that follows a key, however the quotes and colons between them are escaped; -1 if none does. */
static int64_t number_after(const char *text, size_t length, const char *key) {
    const char *end = text + length;
    const char *at = memmem(text, length, key, strlen(key));
    if (at == NULL) return -1;
    at += strlen(key);
    for (int skipped = 0; at < end && (*at < '0' || *at > '9'); at++)
        if (++skipped > 8) return -1;
    if (at == end) return -1;
    int64_t number = 0;
    for (; at < end && *at >= '0' && *at <= '9'; at++) number = number * 10 + (*at - '0');
    return number;
}

static void count_message(const char *body, size_t length, bool taken) {
    int64_t now = wall_us();
    int64_t number = number_after(body, length, "qid"), sent = number_after(body, length, "qts");
    if (number < 0 || sent < 0) {
        state.unreadable++;
        return;
    }
    if (number < state.first_number) return;
    struct count *count = number < MESSAGES_MAX ? &state.counts[number] : NULL;
    if (count != NULL && number >= state.highest) state.highest = number + 1;
    if (!taken) {
        state.refused++;
        if (count != NULL && count->refused < UINT8_MAX) count->refused++;
        return;
    }
    if (state.first_us == 0) state.first_us = now;
    state.last_us = now;
    if (count != NULL) {
        if (count->taken < UINT8_MAX) count->taken++;
        if (count->taken > 1) {
            state.duplicates++;
            return;
        }
    }
    state.unique++;
    latencies_add(&state.latencies, now - sent);
    latencies_add(&state.window, now - sent);
}

static int print_stats(char *out, size_t capacity) {
    struct latencies *latencies = &state.latencies;
    latencies_sort(latencies); /* Their order means nothing to anybody else. */
    return snprintf(out, capacity,
                    "{\"unique\":%zu,\"duplicates\":%zu,\"unreadable\":%zu,\"refused\":%zu,"
                    "\"first_us\":%lld,\"last_us\":%lld,"
                    "\"p50_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,"
                    "\"connections\":%zu,\"connections_peak\":%zu}",
                    state.unique, state.duplicates, state.unreadable, state.refused, (long long)state.first_us,
                    (long long)state.last_us, latencies_ms(latencies, 0.5), latencies_ms(latencies, 0.9),
                    latencies_ms(latencies, 0.99), latencies_ms(latencies, 1), state.connections,
                    state.connections_peak);
}

/* The latencies of the window, which begins anew. */
static int print_window(char *out, size_t capacity) {
    struct latencies *window = &state.window;
    latencies_sort(window);
    int length = snprintf(out, capacity, "{\"count\":%zu,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f}", window->count,
                          latencies_ms(window, 0.5), latencies_ms(window, 0.99), latencies_ms(window, 1));
    window->count = 0;
    return length;
}

/* Send everything, waiting for the peer where it is slow; false if it has gone. */
static bool send_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            struct pollfd writable = {.fd = fd, .events = POLLOUT};
            if (poll(&writable, 1, 1000) <= 0) return false;
            continue;
        }
        if (sent < 0) return false;
        bytes += sent;
        length -= (size_t)sent;
    }
    return true;
}

static bool send_answer(int fd, int status, const char *body, size_t length) {
    char answer[1024];
    int size = snprintf(answer, sizeof answer,
                        "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%.*s", status,
                        status == 200 ? "OK" : "As asked", length, (int)length, body);
    return send_all(fd, answer, (size_t)size);
}

/* Send what is known of each number, as bytes. */
static bool send_log(int fd) {
    char head[128];
    size_t length = sizeof *state.counts * (size_t)state.highest;
    int size = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", length);
    return send_all(fd, head, (size_t)size) && send_all(fd, (const char *)state.counts, length);
}

/* Find the first request of the input. What it points to stays valid until the input moves. */
static enum parsed parse_request(struct connection *connection, struct request *request) {
    char *start = connection->input.bytes;
    size_t length = connection->input.length;
    char *blank = memmem(start, length, "\r\n\r\n", 4);
    *request = (struct request){.start = start};
    if (blank == NULL) return length > 65536 ? MALFORMED : INCOMPLETE;
    request->head_end = blank + 2;
    const char *space = memchr(start, ' ', (size_t)(blank - start));
    if (space == NULL) return MALFORMED;
    request->path = space + 1;
    request->body = blank + 4;
    size_t head_length = (size_t)(blank - start) + 4;

    const char *given = find_header(start, request->head_end, "content-length");
    if (given != NULL) {
        request->body_length = strtoul(given, NULL, 10);
        request->length = head_length + request->body_length;
        if (request->body_length > REQUEST_BYTES_MAX) return MALFORMED;
        if (length >= request->length) return PARSED;
        const char *expectation = find_header(start, request->head_end, "expect");
        if (expectation != NULL && length == head_length) send_all(connection->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        return INCOMPLETE;
    }
    const char *coding = find_header(start, request->head_end, "transfer-encoding");
    request->length = head_length;
    if (coding == NULL || strncasecmp(coding, "chunked", 7) != 0) return PARSED;
    request->decoded = must_grow(NULL, length);
    size_t taken = read_chunks(request->body, length - head_length, request->decoded, &request->body_length);
    request->body = request->decoded;
    request->length += taken;
    if (taken > 0) return PARSED;
    free(request->decoded);
    return length > REQUEST_BYTES_MAX ? MALFORMED : INCOMPLETE;
}

/* Answer one request; false if the connection is to be closed after it. */
static bool answer_request(int fd, const struct request *request) {
    char stats[600];
    const char *path = request->path;
    bool sent;
    if (strncmp(path, "/__count", 8) == 0) {
        sent = send_answer(fd, 200, stats, (size_t)snprintf(stats, sizeof stats, "{\"unique\":%zu,\"refused\":%zu}", state.unique, state.refused));
    } else if (strncmp(path, "/__stats", 8) == 0) {
        sent = send_answer(fd, 200, stats, (size_t)print_stats(stats, sizeof stats));
    } else if (strncmp(path, "/__window", 9) == 0) {
        sent = send_answer(fd, 200, stats, (size_t)print_window(stats, sizeof stats));
    } else if (strncmp(path, "/__log", 6) == 0) {
        sent = send_log(fd);
    } else if (strncmp(path, "/__answer?", 10) == 0) {
        state.answer = atoi(path + 10);
        sent = send_answer(fd, 200, "{}", 2);
    } else if (strncmp(path, "/__reset", 8) == 0) {
        forget_everything(strncmp(path + 8, "?min=", 5) == 0 ? strtoll(path + 13, NULL, 10) : 0);
        sent = send_answer(fd, 200, "{}", 2);
    } else {
        bool counts = strncmp(request->start, "GET ", 4) != 0 && strncmp(request->start, "HEAD ", 5) != 0;
        int status = strncmp(path, "/status/", 8) == 0 ? atoi(path + 8) : state.answer;
        if (counts) count_message(request->body, request->body_length, status >= 200 && status < 300);
        sent = send_answer(fd, status, "{\"ok\":true}", 11);
    }
    const char *wish = find_header(request->start, request->head_end, "connection");
    return sent && (wish == NULL || strncasecmp(wish, "close", 5) != 0);
}

/* Read what has come and answer it; false when the connection has ended. */
static bool serve(struct connection *connection) {
    struct buffer *input = &connection->input;
    buffer_make_room(input);
    ssize_t got = read(connection->fd, input->bytes + input->length, input->capacity - input->length - 1);
    if (got < 0 && errno == EAGAIN) return true;
    if (got <= 0) return false;
    input->length += (size_t)got;
    input->bytes[input->length] = '\0'; /* Numbers are read up to what ends them. */
    while (input->length > 0) {
        struct request request;
        enum parsed parsed = parse_request(connection, &request);
        if (parsed == INCOMPLETE) return true;
        if (parsed == MALFORMED) return false;
        bool stays = answer_request(connection->fd, &request);
        free(request.decoded);
        if (!stays) return false;
        buffer_drop_front(input, request.length);
    }
    return true;
}

static void watch(int epoll, int fd, struct connection *connection) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl: %s", strerror(errno));
}

static void accept_all(int epoll, int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *connection = must_have_zeroed(1, sizeof *connection);
        connection->fd = fd;
        watch(epoll, fd, connection);
        if (++state.connections > state.connections_peak) state.connections_peak = state.connections;
    }
}

static void forget(struct connection *connection) {
    close(connection->fd);
    free(connection->input.bytes);
    free(connection);
    state.connections--;
}

/* Listen on loopback and print the port. */
static int listen_on(int port) {
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 4096) != 0)
        die("cannot listen on port %d: %s", port, strerror(errno));
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS_MAX];
    if (argc != 2) die("usage: receive PORT");
    state.answer = 200;
    state.counts = must_have_zeroed(MESSAGES_MAX, sizeof *state.counts);
    state.latencies.capacity = MESSAGES_MAX;
    state.latencies.values = must_grow(NULL, sizeof(uint32_t) * MESSAGES_MAX);
    state.window.capacity = WINDOW_MAX;
    state.window.values = must_grow(NULL, sizeof(uint32_t) * WINDOW_MAX);
    int listener = listen_on(atoi(argv[1])), epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, listener, NULL);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection == NULL)
                accept_all(epoll, listener);
            else if (!serve(connection))
                forget(connection);
        }
    }
}
