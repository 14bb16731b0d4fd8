/* The load client: one thread, one epoll, as few system calls as there can be.
 *
 *   client paced NAME=VALUE...   streams that start spread over time; every token is stamped as it arrives
 *   client closed NAME=VALUE...  connections that ask again as soon as they are answered
 *   client hold NAME=VALUE...    connections that stay until standard input ends
 *
 * port=P        may be given several times; connections take turns
 * connections=N
 * request=FILE  what to send, the head included
 * tokens=T      tokens that every stream must have; 0 for answers that are no streams
 * spacing=NS    paced: how long after one stream the next one starts
 *               closed: the least time between two requests of a connection
 * from=NS until=NS  the window that is counted, after the start; closed ends with it
 * pid=P         whose processor time is read at both ends of the window
 * stamps=FILE   paced: arrivals as 64-bit nanoseconds after the start, by stream and token
 *               closed: 64-bit pairs, when an answer was complete and how long it took, in nanoseconds
 *
 * Prints lines of a name and a number. A stream that ends too early or too late, and any status but 200, is an error:
 * status 1, and a sentence on standard error. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 2048, TAIL = 5, BUFFER = 1 << 18, PORTS = 8, BATCH = 512 };
static const char LAST[] = "0\r\n\r\n";
static const char DONE[] = "data: [DONE]\n\n";

typedef struct {
    int fd;
    size_t sent;         /* bytes of the request */
    bool waiting;        /* for an answer */
    bool writable;       /* whether it waits for room too */
    bool chunked;
    bool in_body;
    bool newline;        /* whether the last byte was one */
    size_t head_length;
    long long left;      /* bytes of a body of known length */
    long events;         /* of this stream */
    int64_t asked;
    char tail[sizeof DONE - 1 + 16];
    size_t tail_length;
    char head[HEAD];
} Connection;

static Connection *connections;
static char *request, buffer[BUFFER];
static size_t request_length;
static int ports[PORTS], port_count, count, poller, timer;
static long tokens;
static bool paced, closed_loop, over;
static int64_t started, spacing, from, until, *stamps;
static FILE *times;
static long long arrived, answers;
static int finished, asking;

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static int64_t clock_of(clockid_t clock) {
    struct timespec now;
    if (clock_gettime(clock, &now)) return 0;
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int64_t since_start(void) { return clock_of(CLOCK_MONOTONIC) - started; }

static void set_timer(int64_t at) {
    at += started;
    struct itimerspec when = {.it_value = {at / 1000000000, at % 1000000000}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void watch(Connection *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event)) fail("epoll_ctl: %s", strerror(errno));
}

static void open_connection(Connection *c, int index) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons(ports[index % port_count]);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to)) fail("connection %d: %s", index, strerror(errno));
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
    if (index % 25 == 24) usleep(1000); /* the server's backlog may be short */
}

static void send_rest(Connection *c) {
    while (c->sent < request_length) {
        ssize_t n = send(c->fd, request + c->sent, request_length - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            if (!c->writable) watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            c->writable = true;
            return;
        }
        if (n < 0) fail("send: %s", strerror(errno));
        c->sent += n;
    }
    if (c->writable) watch(c, EPOLL_CTL_MOD, EPOLLIN);
    c->writable = false;
}

static void ask(Connection *c) {
    c->sent = c->head_length = c->tail_length = 0;
    c->events = 0;
    c->waiting = true;
    asking++;
    c->in_body = c->chunked = c->newline = false;
    c->asked = since_start();
    send_rest(c);
}

/* An answer is complete: see that it is what was asked for. */
static void complete(Connection *c, int64_t now) {
    long had = c->events - 2; /* the first event tells the role, the last one is [DONE] */
    if (tokens && had != tokens) fail("a stream had %ld of %ld tokens", had, tokens);
    if (tokens && !c->chunked) fail("a stream was not chunked");
    if (tokens && !memmem(c->tail, c->tail_length, DONE, sizeof DONE - 1)) fail("a stream ended without [DONE]");
    c->waiting = false;
    asking--;
    answers++;
    if (times) {
        int64_t pair[2] = {now, now - c->asked};
        fwrite(pair, sizeof pair, 1, times);
    }
    if (paced) {
        finished++;
        close(c->fd);
    } else if (closed_loop && !spacing && !over) ask(c);
}

static void count_events(Connection *c, const char *data, size_t length, int64_t now) {
    const char *end = data + length, *at = data;
    long before = c->events;
    if (c->newline && *at == '\n') c->events++;
    while ((at = memchr(at, '\n', end - at)) && at + 1 < end) {
        if (at[1] == '\n') c->events++;
        at++;
    }
    c->newline = end[-1] == '\n';
    for (long event = before; event < c->events; event++) {
        if (event < 1 || event > tokens) continue;
        arrived++;
        if (stamps) stamps[(c - connections) * tokens + event - 1] = now;
    }
}

static void keep_tail(Connection *c, const char *data, size_t length) {
    size_t room = sizeof c->tail;
    if (length >= room) {
        memcpy(c->tail, data + length - room, room);
        c->tail_length = room;
        return;
    }
    size_t keep = c->tail_length < room - length ? c->tail_length : room - length;
    memmove(c->tail, c->tail + c->tail_length - keep, keep);
    memcpy(c->tail + keep, data, length);
    c->tail_length = keep + length;
}

static void body(Connection *c, const char *data, size_t length, int64_t now) {
    if (tokens && length) count_events(c, data, length, now);
    if (!c->chunked) {
        c->left -= length;
        if (c->left < 0) fail("an answer is longer than it said");
        if (c->left == 0) complete(c, now);
        return;
    }
    keep_tail(c, data, length);
    if (c->tail_length >= TAIL && !memcmp(c->tail + c->tail_length - TAIL, LAST, TAIL)) complete(c, now);
}

static void receive(Connection *c) {
    ssize_t n = recv(c->fd, buffer, BUFFER, 0);
    int64_t now = since_start();
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) fail("a connection ended after %ld of %ld events", c->events, tokens + 2);
    if (!c->waiting) fail("bytes came that nobody asked for");
    if (c->in_body) {
        body(c, buffer, n, now);
        return;
    }
    size_t take = (size_t)n < HEAD - 1 - c->head_length ? (size_t)n : HEAD - 1 - c->head_length;
    memcpy(c->head + c->head_length, buffer, take);
    size_t already = c->head_length;
    c->head_length += take;
    c->head[c->head_length] = 0;
    char *blank = strstr(c->head, "\r\n\r\n");
    if (!blank) {
        if (c->head_length == HEAD - 1) fail("a head is too long");
        return;
    }
    if (strncmp(c->head, "HTTP/1.1 200 ", 13)) fail("the server answered %.*s", (int)(blank - c->head), c->head);
    blank[2] = 0;
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    c->chunked = !length;
    c->left = length ? atoll(length + 17) : 0;
    c->in_body = true;
    size_t skip = blank + 4 - c->head - already;
    body(c, buffer + skip, n - skip, now);
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    struct stat facts;
    if (!file || fstat(fileno(file), &facts)) fail("%s: %s", path, strerror(errno));
    request_length = facts.st_size;
    request = malloc(request_length);
    if (fread(request, 1, request_length, file) != request_length) fail("%s is short", path);
    fclose(file);
}

static void write_stamps(const char *path) {
    FILE *file = fopen(path, "wb");
    if (!file) fail("%s: %s", path, strerror(errno));
    fwrite(stamps, sizeof *stamps, (size_t)count * tokens, file);
    if (fclose(file)) fail("%s: %s", path, strerror(errno));
}

/* Wait for what arrives, or for the timer; what is no connection of ours is the timer or standard input. */
static void turn(void) {
    struct epoll_event events[BATCH];
    uint64_t rung;
    int ready = epoll_wait(poller, events, BATCH, -1);
    for (int i = 0; i < ready; i++) {
        Connection *c = events[i].data.ptr;
        if (c && events[i].events & EPOLLOUT) send_rest(c);
        if (c && events[i].events & ~EPOLLOUT) receive(c);
        if (!c && read(timer, &rung, sizeof rung) < 0) continue;
    }
}

typedef struct {
    int64_t at, server, client;
    long long tokens, answers;
} Sample;

static Sample sample(int pid) {
    Sample s = {.at = since_start(), .tokens = arrived, .answers = answers};
    clockid_t clock;
    if (pid && !clock_getcpuclockid(pid, &clock)) s.server = clock_of(clock);
    s.client = clock_of(CLOCK_PROCESS_CPUTIME_ID);
    return s;
}

static Sample begin, end;
static bool begun;

/* Count the window, and set the timer for the earlier of its next end and what else there is to do. */
static void count_and_wait(int pid, int64_t next) {
    static int64_t alarm = -1;
    int64_t now = since_start();
    if (!begun && now >= from) begin = sample(pid), begun = true;
    if (!over && now >= until) end = sample(pid), over = true;
    if (!begun && from < next) next = from;
    if (!over && until < next) next = until;
    if (next != alarm && next != INT64_MAX) set_timer(alarm = next);
    turn();
}

/* One stream for each connection, the next one a spacing later. */
static void run_paced(int pid) {
    for (int next = 0; finished < count || !over;) {
        int64_t now = since_start();
        while (next < count && next * spacing <= now) ask(&connections[next++]);
        count_and_wait(pid, next < count ? next * spacing : INT64_MAX);
    }
}

/* Ask, and ask again when there is an answer and the spacing is over. What was asked is answered before it ends, so that
 * the server is idle then. */
static void run_closed(int pid) {
    while (since_start() < 0) usleep(1000);
    for (int i = 0; i < count; i++) ask(&connections[i]);
    while (!over || asking) {
        int64_t next = INT64_MAX, now = since_start();
        for (int i = 0; spacing && !over && i < count; i++) {
            Connection *c = &connections[i];
            if (!c->waiting && now >= c->asked + spacing) ask(c);
            if (!c->waiting && c->asked + spacing < next) next = c->asked + spacing;
        }
        count_and_wait(pid, next);
    }
}

/* Have every connection answered, or at least begun to be, and stay. */
static void run_hold(void) {
    char byte;
    for (int i = 0; i < count; i++) {
        ask(&connections[i]);
        while (!connections[i].in_body) turn();
    }
    printf("ready %d\n", count);
    fflush(stdout);
    struct epoll_event event = {.events = EPOLLIN};
    fcntl(0, F_SETFL, O_NONBLOCK);
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &event);
    while (read(0, &byte, 1) != 0) turn();
}

int main(int argc, char **argv) {
    int pid = 0;
    const char *path = NULL, *mode = argc > 1 ? argv[1] : "";
    for (int i = 2; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) fail("%s has no value", argv[i]);
        *value++ = 0;
        if (!strcmp(argv[i], "port") && port_count < PORTS) ports[port_count++] = atoi(value);
        else if (!strcmp(argv[i], "connections")) count = atoi(value);
        else if (!strcmp(argv[i], "request")) read_request(value);
        else if (!strcmp(argv[i], "tokens")) tokens = atol(value);
        else if (!strcmp(argv[i], "spacing")) spacing = atoll(value);
        else if (!strcmp(argv[i], "from")) from = atoll(value);
        else if (!strcmp(argv[i], "until")) until = atoll(value);
        else if (!strcmp(argv[i], "pid")) pid = atoi(value);
        else if (!strcmp(argv[i], "stamps")) path = value;
        else fail("%s is unknown", argv[i]);
    }
    paced = !strcmp(mode, "paced");
    closed_loop = !strcmp(mode, "closed");
    if (!port_count || count < 1 || !request || (paced && !tokens)) fail("see the head of client.c");
    connections = calloc(count, sizeof *connections);
    if (paced) stamps = calloc((size_t)count * tokens, sizeof *stamps);
    if (closed_loop && path && !(times = fopen(path, "wb"))) fail("%s: %s", path, strerror(errno));
    poller = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event);
    for (int i = 0; i < count; i++) open_connection(&connections[i], i);

    started = clock_of(CLOCK_MONOTONIC) + 50000000; /* the server has accepted them all by then */
    if (paced) run_paced(pid);
    else if (closed_loop) run_closed(pid);
    else run_hold();
    if (paced && path) write_stamps(path);
    if (times && fclose(times)) fail("%s: %s", path, strerror(errno));
    printf("nanoseconds %lld\ntokens %lld\nanswers %lld\nserver_nanoseconds %lld\nclient_nanoseconds %lld\n",
           (long long)(end.at - begin.at), end.tokens - begin.tokens, end.answers - begin.answers,
           (long long)(end.server - begin.server), (long long)(end.client - begin.client));
    return 0;
}
