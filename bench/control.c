/* The floor: an epoll server that sends what vllmsim sends and does nothing else.
 *
 *   control PORT RECORDING WHOLE ITL_NS GRAIN_NS
 *
 * RECORDING has a stream in pieces: a line with their number, their lengths one a line, and their bytes. The first is
 * everything before the first token, then there is one for each token, and the last has all that ends the stream too.
 * WHOLE has the answer to a request that asks for no stream. A GET is answered with an empty object.
 *
 * With an ITL each stream has max_tokens tokens at absolute deadlines, whose pieces are the recorded ones over and
 * over. All streams have one gap, so whoever joins the queue belongs near its end. The server wakes at most once per
 * grain. Without an ITL a stream is the recording, in writes of at most 64 KiB. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 4096, BURST = 1 << 16, BATCH = 256, TURN = 2000000 };

typedef struct Connection {
    int fd;
    size_t had;                 /* bytes in head, the beginning of the body included */
    long long body_left;        /* bytes of the body that are to come, or -1 while the head does */
    long token, tokens;
    int64_t due;
    const char *out;            /* what is left of a response that is written as there is room */
    size_t out_length;
    bool writable;
    struct Connection *before, *after; /* in the queue */
    bool queued;
    char head[HEAD + 1];
} Connection;

static char *recording, *whole;
static size_t *lengths, *offsets, whole_length, recording_length;
static long pieces;
static int64_t itl, grain;
static int poller;
static Connection *first, *last;

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void watch(Connection *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event)) fail("epoll_ctl: %s", strerror(errno));
}

static void dequeue(Connection *c) {
    *(c->before ? &c->before->after : &first) = c->after;
    *(c->after ? &c->after->before : &last) = c->before;
    c->queued = false;
}

/* Keep the queue in the order of deadlines: a stream that was served a little late is due before those that began. */
static void enqueue(Connection *c) {
    Connection *before = last;
    while (before && before->due > c->due) before = before->before;
    c->before = before;
    c->after = before ? before->after : first;
    *(before ? &before->after : &first) = c;
    *(c->after ? &c->after->before : &last) = c;
    c->queued = true;
}

static void drop(Connection *c) {
    if (c->queued) dequeue(c);
    close(c->fd);
    free(c);
}

static void ready_for_next(Connection *c) {
    c->had = 0;
    c->body_left = -1;
}

/* Write a response that is there at once, a burst at a time. */
static void write_out(Connection *c) {
    size_t length = c->out_length < BURST ? c->out_length : BURST;
    ssize_t n = send(c->fd, c->out, length, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) return; /* the reading side learns of it */
    if (n > 0) c->out += n, c->out_length -= n;
    bool more = c->out_length > 0;
    if (more != c->writable) watch(c, EPOLL_CTL_MOD, EPOLLIN | (more ? EPOLLOUT : 0));
    c->writable = more;
    if (!more) ready_for_next(c);
}

static void send_piece(Connection *c, long piece) {
    ssize_t n = send(c->fd, recording + offsets[piece], lengths[piece], MSG_NOSIGNAL);
    if (n >= 0 && (size_t)n != lengths[piece]) fail("the client reads too slowly for a paced stream");
}

static void send_token(Connection *c) {
    c->token++;
    send_piece(c, c->token == c->tokens ? pieces - 1 : 1 + (c->token - 1) % (pieces - 2));
}

static void answer(Connection *c) {
    static const char EMPTY[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    bool stream = strstr(c->head, "\"stream\":true") || strstr(c->head, "\"stream\": true");
    if (!strncmp(c->head, "GET ", 4)) c->out = EMPTY, c->out_length = sizeof EMPTY - 1;
    else if (!stream) c->out = whole, c->out_length = whole_length;
    else if (!itl) c->out = recording, c->out_length = recording_length;
    else {
        char *limit = strstr(c->head, "\"max_tokens\":");
        c->tokens = limit ? atol(limit + 13) : pieces - 1;
        c->token = 0;
        c->due = now_ns();
        send_piece(c, 0);
        send_token(c);
        c->due += itl;
        if (c->token < c->tokens) enqueue(c);
        else ready_for_next(c);
        return;
    }
    write_out(c);
}

static void receive(Connection *c) {
    char buffer[BURST];
    ssize_t n = recv(c->fd, buffer, BURST, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        drop(c);
        return;
    }
    size_t room = HEAD - c->had, take = (size_t)n < room ? (size_t)n : room;
    memcpy(c->head + c->had, buffer, take);
    c->had += take;
    c->head[c->had] = 0;
    if (c->body_left >= 0) c->body_left -= n;
    else {
        char *blank = strstr(c->head, "\r\n\r\n");
        if (!blank) return;
        char *length = strcasestr(c->head, "\r\ncontent-length:");
        c->body_left = (length && length < blank ? atoll(length + 17) : 0) - (c->head + c->had - blank - 4);
        c->body_left -= n - (ssize_t)take;
    }
    if (c->body_left <= 0) answer(c);
}

static void accept_all(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        Connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        ready_for_next(c);
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

/* Send every token that is due, for one turn at most. Returns when to come back. */
static int64_t emit(void) {
    int64_t begun = now_ns(), now = begun;
    while (first && first->due <= now && now - begun < TURN) {
        Connection *c = first;
        dequeue(c);
        send_token(c);
        c->due += itl;
        if (c->token < c->tokens) enqueue(c);
        else ready_for_next(c);
        now = now_ns();
    }
    if (!first) return 0;
    return first->due > begun + grain || first->due <= now ? first->due : begun + grain;
}

static char *read_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    if (!file) fail("%s: %s", path, strerror(errno));
    fseek(file, 0, SEEK_END);
    *length = ftell(file);
    rewind(file);
    char *data = malloc(*length + 1);
    if (fread(data, 1, *length, file) != *length) fail("%s is short", path);
    data[*length] = 0;
    fclose(file);
    return data;
}

static void read_recording(const char *path) {
    size_t size, at = 0;
    char *data = read_file(path, &size);
    pieces = strtol(data, &data, 10);
    if (pieces < 3) fail("%s has too few pieces", path);
    lengths = calloc(pieces, sizeof *lengths);
    offsets = calloc(pieces, sizeof *offsets);
    for (long i = 0; i < pieces; i++) {
        offsets[i] = at;
        at += lengths[i] = strtoul(data, &data, 10);
    }
    recording = data + 1;
    recording_length = at;
}

int main(int argc, char **argv) {
    if (argc != 6) fail("see the head of control.c");
    read_recording(argv[2]);
    whole = read_file(argv[3], &whole_length);
    itl = atoll(argv[4]);
    grain = atoll(argv[5]);
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    at.sin_port = htons(atoi(argv[1]));
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096)) fail("listen: %s", strerror(errno));
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    poller = epoll_create1(0);
    static Connection listening, ticking;
    listening.fd = listener, ticking.fd = timer;
    watch(&listening, EPOLL_CTL_ADD, EPOLLIN);
    watch(&ticking, EPOLL_CTL_ADD, EPOLLIN);
    int64_t armed = 0;
    for (;;) {
        struct epoll_event events[BATCH];
        int ready = epoll_wait(poller, events, BATCH, -1);
        for (int i = 0; i < ready; i++) {
            Connection *c = events[i].data.ptr;
            if (c == &listening) accept_all(listener);
            else if (c == &ticking) continue;
            else if (events[i].events & EPOLLOUT) write_out(c);
            else receive(c);
        }
        int64_t next = emit();
        if (next == armed) continue;
        /* Arming the timer anew forgets that it rang, so it need not be read. */
        armed = next;
        struct itimerspec when = {.it_value = {next / 1000000000, next % 1000000000}};
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
    }
}
