/* The load client for HTTP/1.1, whose words are those of load.h: each asker has a connection of its own, and what is
 * sent has its head in it. Any status but 200 is an error. */
#include "load.h"

enum { HEAD = 2048, TAIL = 5, BUFFER = 1 << 18 };
static const char LAST[] = "0\r\n\r\n";
static const char DONE[] = "data: [DONE]\n\n";

typedef struct {
    int fd;
    size_t sent;         /* bytes of the request */
    bool writable;       /* whether it waits for room too */
    bool chunked;
    bool in_body;
    bool newline;        /* whether the last byte was one */
    size_t head_length;
    long long left;      /* bytes of a body of known length */
    long events;         /* of this stream */
    char tail[sizeof DONE - 1 + 16];
    size_t tail_length;
    char head[HEAD];
} Connection;

static Connection *connections;
static char buffer[BUFFER];

static int asker_of(const Connection *c) { return c - connections; }

static void open_connections(void) {
    connections = calloc(connection_count, sizeof *connections);
    for (int i = 0; i < connection_count; i++) connections[i].fd = open_socket(&connections[i], i);
}

static void writable(void *known) {
    Connection *c = known;
    while (c->sent < request_length) {
        ssize_t n = send(c->fd, request + c->sent, request_length - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            if (!c->writable) watch(c->fd, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            c->writable = true;
            return;
        }
        if (n < 0) fail("send: %s", strerror(errno));
        c->sent += n;
    }
    if (c->writable) watch(c->fd, c, EPOLL_CTL_MOD, EPOLLIN);
    c->writable = false;
}

static void send_request(int asker) {
    Connection *c = &connections[asker];
    c->sent = c->head_length = c->tail_length = 0;
    c->events = 0;
    c->in_body = c->chunked = c->newline = false;
    writable(c);
}

/* An answer is complete: see that it is what was asked for. */
static void complete(Connection *c, int64_t now) {
    long had = c->events - 2; /* the first event tells the role, the last one is [DONE] */
    if (tokens && had != tokens) fail("a stream had %ld of %ld tokens", had, tokens);
    if (tokens && !c->chunked) fail("a stream was not chunked");
    if (tokens && !memmem(c->tail, c->tail_length, DONE, sizeof DONE - 1)) fail("a stream ended without [DONE]");
    if (paced) close(c->fd);
    answered(asker_of(c), now);
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
        if (event >= 1 && event <= tokens) stamp(asker_of(c), event - 1, now);
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

static void readable(void *known) {
    Connection *c = known;
    ssize_t n = recv(c->fd, buffer, BUFFER, 0);
    int64_t now = since_start();
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) fail("a connection ended after %ld of %ld events", c->events, tokens + 2);
    if (!askers[asker_of(c)].waiting) fail("bytes came that nobody asked for");
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
    c->in_body = askers[asker_of(c)].begun = true;
    size_t skip = blank + 4 - c->head - already;
    body(c, buffer + skip, n - skip, now);
}
