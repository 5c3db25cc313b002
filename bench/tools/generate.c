/* generate: the load of the benchmark. Publishes small JSON messages over HTTP/1.1 keep-alive, to loopback only.
 *
 *   generate --url URL [--header 'Name: value']... [--count 20000] [--connections 64] [--rate 0]
 *            [--size 200] [--first 0] [--method POST] [--seconds 50] [--stop 0] [--body TEMPLATE] [--log FILE]
 *
 *   --rate 0   closed loop: a connection sends its next message when the last one was answered
 *   --rate R   open loop: R messages a second, whatever the answers do. The time in the body and the latency
 *              both begin when the message was due, so that a server that stalls cannot hide it
 *   --stop S   begin no message after so many seconds, also where some were due and found no connection
 *   --log FILE what became of each message, one character each: 2, 3, 4, 5 for an answer of that class, 0 for none
 *              or half of one, and . for a message that was never begun
 *
 * URL, headers and body may hold {i}, the number of the message; the body also {ts}, its time, and {pad}.
 * Without --body it is {"qid":I,"qts":MICROSECONDS,"pad":"xxx"}, filled up to --size bytes.
 * Prints one line of JSON. What is answered 2xx is accepted.
 */
#define _GNU_SOURCE
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TEXT_MAX = 65536, EVENTS_MAX = 256, STATUS_MAX = 600 };

static struct {
    char host[64], path[4096], headers[8192];
    const char *method, *body, *log;
    long count, first;
    int port, connections, size;
    double rate, seconds, stop;
} options = {.method = "POST", .count = 20000, .port = 80, .connections = 64, .size = 200, .seconds = 50};

struct connection {
    int fd; /* -1 while there is none. */
    bool busy, sent_again;
    long number;
    int64_t due_wall_us; /* What the body tells the receiver. */
    int64_t since_us;    /* When the latency began, monotonic. */
    struct buffer input;
};

static struct {
    long sent, done, accepted, refused, lost; /* Lost: no answer, also at the second try. */
    bool stopped; /* Nothing is begun any more. */
    long bare;    /* Refused with 429 or 503, and not told when to come again. */
    long by_status[STATUS_MAX];
    char *fates;  /* By number, from the first on: see --log. */
    struct latencies latencies;
    int64_t last_us;     /* When the last answer came, monotonic. */
    int64_t max_late_us; /* By how much an open loop fell behind its plan. */
    char first_refusal[300];
} state;

static int epoll_fd;
static char *padding;

/* Copy a template, filling in what is known; what is not given (NULL) stays as it is. */
static size_t fill_in(char *out, const char *template, long number, const char *time, const char *pad) {
    size_t length = 0;
    char digits[32];
    snprintf(digits, sizeof digits, "%ld", number);
    const struct {
        const char *name, *value;
    } marks[] = {{"{i}", digits}, {"{ts}", time}, {"{pad}", pad}};
    while (*template != '\0') {
        const char *value = NULL;
        for (size_t i = 0; i < sizeof marks / sizeof *marks && value == NULL; i++) {
            size_t width = strlen(marks[i].name);
            if (marks[i].value == NULL || strncmp(template, marks[i].name, width) != 0) continue;
            value = marks[i].value;
            template += width;
        }
        size_t width = value ? strlen(value) : 1;
        if (length + width + 1 > TEXT_MAX) die("a filled template is longer than %d bytes", TEXT_MAX);
        memcpy(out + length, value ? value : template++, width);
        length += width;
    }
    out[length] = '\0';
    return length;
}

static size_t make_body(char *out, long number, int64_t due_wall_us) {
    char time[32];
    snprintf(time, sizeof time, "%lld", (long long)due_wall_us);
    if (options.body != NULL) return fill_in(out, options.body, number, time, padding);
    int length = snprintf(out, TEXT_MAX, "{\"qid\":%ld,\"qts\":%s,\"pad\":\"", number, time);
    int rest = options.size - length - 2;
    if (rest > 0) {
        memset(out + length, 'x', (size_t)rest);
        length += rest;
    }
    memcpy(out + length, "\"}", 3);
    return (size_t)length + 2;
}

static size_t make_request(char *out, size_t capacity, long number, int64_t due_wall_us) {
    static char body[TEXT_MAX], path[TEXT_MAX], headers[TEXT_MAX];
    size_t body_length = make_body(body, number, due_wall_us);
    fill_in(path, options.path, number, NULL, NULL);
    fill_in(headers, options.headers, number, NULL, NULL);
    int length = snprintf(out, capacity,
                          "%s %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\n%s\r\n%s",
                          options.method, path, options.host, options.port, body_length, headers, body);
    if (length < 0 || (size_t)length >= capacity) die("the request is too long");
    return (size_t)length;
}

static bool dial(struct connection *connection) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket: %s", strerror(errno));
    inet_pton(AF_INET, options.host, &address.sin_addr);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return false;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl: %s", strerror(errno));
    connection->fd = fd;
    connection->input.length = 0;
    return true;
}

static void hang_up(struct connection *connection) {
    close(connection->fd);
    connection->fd = -1;
}

/* Send the connection's message; a connection that was closed while idle is dialled anew, once. */
static bool send_message(struct connection *connection) {
    static char request[4 * TEXT_MAX];
    size_t length = make_request(request, sizeof request, connection->number, connection->due_wall_us);
    for (int attempt = 0; attempt < 2; attempt++) {
        if (connection->fd < 0 && !dial(connection)) return false;
        if (send(connection->fd, request, length, MSG_NOSIGNAL) == (ssize_t)length) return true;
        hang_up(connection);
    }
    return false;
}

static void start(struct connection *connection, int64_t due_wall_us, int64_t due_us) {
    state.fates[state.sent] = '0';
    connection->number = options.first + state.sent++;
    connection->due_wall_us = due_wall_us;
    connection->since_us = due_us;
    connection->sent_again = false;
    connection->busy = send_message(connection);
    if (!connection->busy) {
        state.lost++;
        state.done++;
    }
}

/* Return the length of the complete answer at the head of the input, or 0. */
static size_t answer_length(const struct buffer *input, const char **head_end) {
    char *blank = memmem(input->bytes, input->length, "\r\n\r\n", 4);
    if (blank == NULL) return 0;
    *head_end = blank + 2;
    size_t head_length = (size_t)(blank - input->bytes) + 4, body_length;
    const char *given = find_header(input->bytes, *head_end, "content-length");
    if (given != NULL) {
        size_t whole = head_length + strtoul(given, NULL, 10);
        return input->length >= whole ? whole : 0;
    }
    if (find_header(input->bytes, *head_end, "transfer-encoding") == NULL) return head_length;
    size_t taken = read_chunks(blank + 4, input->length - head_length, NULL, &body_length);
    return taken ? head_length + taken : 0;
}

static void note_answer(struct connection *connection, const char *head_end) {
    int status = atoi(connection->input.bytes + 9);
    if (status < 0 || status >= STATUS_MAX) status = 0;
    state.by_status[status]++;
    state.fates[connection->number - options.first] = (char)('0' + status / 100);
    bool later = find_header(connection->input.bytes, head_end, "retry-after") != NULL;
    if ((status == 429 || status == 503) && !later) state.bare++;
    if (status >= 200 && status < 300) {
        state.accepted++;
    } else if (state.refused++ == 0) {
        snprintf(state.first_refusal, sizeof state.first_refusal, "%.250s", head_end + 2);
    }
    state.last_us = monotonic_us();
    latencies_add(&state.latencies, state.last_us - connection->since_us);
    state.done++;
    connection->busy = false;
}

/* The server closed: what it did not answer is sent once more, since it may have closed an idle connection. */
static void answer_missing(struct connection *connection) {
    hang_up(connection);
    if (!connection->busy) return;
    if (!connection->sent_again && send_message(connection)) {
        connection->sent_again = true;
        return;
    }
    connection->busy = false;
    state.lost++;
    state.done++;
}

/* Read from a connection; in a closed loop its next message follows at once. */
static void receive_answer(struct connection *connection) {
    struct buffer *input = &connection->input;
    const char *head_end = NULL;
    if (connection->fd < 0) return;
    buffer_make_room(input);
    ssize_t got = recv(connection->fd, input->bytes + input->length, input->capacity - input->length - 1, 0);
    if (got <= 0) {
        answer_missing(connection);
    } else {
        input->length += (size_t)got;
        input->bytes[input->length] = '\0';
        if (answer_length(input, &head_end) == 0) return;
        note_answer(connection, head_end);
        const char *wish = find_header(input->bytes, head_end, "connection");
        if (wish != NULL && strncasecmp(wish, "close", 5) == 0) hang_up(connection);
        input->length = 0;
    }
    if (options.rate <= 0 && !connection->busy && !state.stopped && state.sent < options.count)
        start(connection, wall_us(), monotonic_us());
}

/* Start every message that is due by now on an idle connection; return how long until the next is due. */
static int64_t start_due(struct connection *connections, int64_t began_us, int64_t began_wall_us) {
    static int next;
    while (!state.stopped && state.sent < options.count) {
        int64_t plan_us = (int64_t)((double)state.sent * 1e6 / options.rate);
        int64_t late_us = monotonic_us() - began_us - plan_us;
        if (late_us < 0) return -late_us;
        int tried = 0;
        while (tried < options.connections && connections[next].busy) {
            next = (next + 1) % options.connections;
            tried++;
        }
        if (tried == options.connections) return 200; /* All wait for answers: look again soon. */
        if (late_us > state.max_late_us) state.max_late_us = late_us;
        start(&connections[next], began_wall_us + plan_us, began_us + plan_us);
    }
    return 1000000;
}

static int64_t run(struct connection *connections) {
    struct epoll_event events[EVENTS_MAX];
    int64_t began_us = monotonic_us(), began_wall_us = wall_us();
    for (int i = 0; i < options.connections && options.rate <= 0 && state.sent < options.count; i++)
        start(&connections[i], wall_us(), monotonic_us());
    while (state.done < (state.stopped ? state.sent : options.count)) {
        double gone_us = (double)(monotonic_us() - began_us);
        if (gone_us >= options.seconds * 1e6) break;
        state.stopped = options.stop > 0 && gone_us >= options.stop * 1e6;
        int64_t wait_us = options.rate > 0 ? start_due(connections, began_us, began_wall_us) : 1000000;
        struct timespec wait = {wait_us / 1000000, wait_us % 1000000 * 1000};
        int ready = epoll_pwait2(epoll_fd, events, EVENTS_MAX, &wait, NULL);
        for (int i = 0; i < ready; i++) receive_answer(events[i].data.ptr);
    }
    return began_us;
}

static void report(int64_t began_us) {
    double seconds = (double)(state.last_us - began_us) / 1e6;
    latencies_sort(&state.latencies);
    printf("{\"count\":%ld,\"sent\":%ld,\"accepted\":%ld,\"refused\":%ld,\"bare\":%ld,\"lost\":%ld,"
           "\"seconds\":%.4f,\"per_second\":%.1f,"
           "\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,\"max_late_ms\":%.3f,\"connections\":%d,\"status\":{",
           options.count, state.sent, state.accepted, state.refused, state.bare, state.lost, seconds > 0 ? seconds : 0,
           seconds > 0 ? (double)state.accepted / seconds : 0, latencies_ms(&state.latencies, 0.5),
           latencies_ms(&state.latencies, 0.99), latencies_ms(&state.latencies, 1),
           (double)state.max_late_us / 1000.0, options.connections);
    const char *comma = "";
    for (int status = 0; status < STATUS_MAX; status++) {
        if (state.by_status[status] == 0) continue;
        printf("%s\"%d\":%ld", comma, status, state.by_status[status]);
        comma = ",";
    }
    printf("}}\n");
    if (state.refused > 0) fprintf(stderr, "first refusal: %s\n", state.first_refusal);
}

static void write_log(void) {
    FILE *file = fopen(options.log, "w");
    if (file == NULL || fwrite(state.fates, 1, (size_t)options.count, file) != (size_t)options.count || fclose(file) != 0)
        die("cannot write %s: %s", options.log, strerror(errno));
}

static void add_header(const char *line) {
    size_t length = strlen(options.headers);
    if (length + strlen(line) + 3 > sizeof options.headers) die("too many headers");
    snprintf(options.headers + length, sizeof options.headers - length, "%s\r\n", line);
}

static void set_url(const char *url) {
    int path_at = 0;
    if (sscanf(url, "http://%63[0-9a-z.]:%d%n", options.host, &options.port, &path_at) != 2)
        die("--url must look like http://127.0.0.1:PORT/path");
    if (strcmp(options.host, "localhost") == 0) strcpy(options.host, "127.0.0.1");
    if (strncmp(options.host, "127.", 4) != 0) die("loopback only, not %s", options.host);
    snprintf(options.path, sizeof options.path, "%s", url[path_at] ? url + path_at : "/");
}

static void read_options(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, "--url") == 0) set_url(value);
        else if (strcmp(name, "--header") == 0) add_header(value);
        else if (strcmp(name, "--method") == 0) options.method = value;
        else if (strcmp(name, "--body") == 0) options.body = value;
        else if (strcmp(name, "--log") == 0) options.log = value;
        else if (strcmp(name, "--stop") == 0) options.stop = atof(value);
        else if (strcmp(name, "--count") == 0) options.count = atol(value);
        else if (strcmp(name, "--first") == 0) options.first = atol(value);
        else if (strcmp(name, "--connections") == 0) options.connections = atoi(value);
        else if (strcmp(name, "--size") == 0) options.size = atoi(value);
        else if (strcmp(name, "--rate") == 0) options.rate = atof(value);
        else if (strcmp(name, "--seconds") == 0) options.seconds = atof(value);
        else die("unknown option %s", name);
    }
    if (argc % 2 == 0) die("every option takes a value");
    if (options.host[0] == '\0') die("--url is missing");
    if (options.count < 1 || options.connections < 1) die("--count and --connections must be positive");
    if (options.size < 0 || options.size > TEXT_MAX - 100) die("--size must be below %d", TEXT_MAX - 100);
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    padding = must_have_zeroed((size_t)options.size + 1, 1);
    memset(padding, 'x', (size_t)options.size);
    state.latencies.capacity = (size_t)options.count;
    state.latencies.values = must_grow(NULL, sizeof(uint32_t) * (size_t)options.count);
    state.fates = must_have_zeroed((size_t)options.count, 1);
    memset(state.fates, '.', (size_t)options.count);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct connection *connections = must_have_zeroed((size_t)options.connections, sizeof *connections);
    for (int i = 0; i < options.connections; i++)
        if (!dial(&connections[i])) die("cannot connect to %s:%d", options.host, options.port);
    report(run(connections));
    if (options.log != NULL) write_log();
    return 0;
}
