/* The load client for gRPC, whose words are those of load.h: HTTP/2 without a library, as much of it as a client needs
 * that makes one kind of call. An asker is a call at a time; what is sent is one message, with its five bytes in front.
 *
 * A request's head is written once: the first of a connection puts its fields into the server's table, and the others
 * refer to them, as clients do. Nothing of a head that comes is read: a call that ends without a message was refused.
 *
 * Where tokens are to be counted, answers are a stream of vLLM's GenerateResponse: its field 1 is a piece, whose field 1
 * has the tokens' numbers, packed; field 2 is the end, and must come last. */
#include "load.h"

enum { FRAME = 9, LARGEST = 1 << 14, BUFFER = 1 << 18, HEAD = 512, WINDOW = 1 << 24, TABLE = 4096 };
enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { ACK = 1, END_STREAM = 1, END_HEADERS = 4, PADDED = 8 };
enum { MESSAGE = 5 };

typedef struct {
    int fd;
    uint32_t next;      /* number of the next stream */
    int *askers;        /* of each stream, by half its number */
    size_t askers_room;
    long long window;   /* bytes that may be sent */
    long long consumed; /* bytes of data that came and were not told of */
    char *out;          /* what is still to be sent */
    size_t out_length, out_room;
    bool writable;      /* whether it waits for room */
    size_t kept;        /* bytes of a frame that is not complete */
    char part[FRAME + LARGEST];
} Connection;

typedef struct {
    long tokens, messages;
    bool complete;     /* whether the last message was an end */
    char *part;        /* of a message */
    size_t part_length, part_room;
} Call;

static Connection *connections;
static Call *calls;
static char buffer[FRAME + LARGEST + BUFFER], first_head[HEAD], later_head[HEAD];
static size_t first_length, later_length;

static uint32_t number_at(const char *at, int bytes) {
    uint32_t number = 0;
    for (int i = 0; i < bytes; i++) number = number << 8 | (unsigned char)at[i];
    return number;
}

static void put(char *at, uint32_t number, int bytes) {
    for (int i = bytes; i--; number >>= 8) at[i] = number;
}

/* What is sent */

/* Add a field to the head: `name` is the index of a known one with the bits that say how it is written, or 0x40 for one
 * that is spelled. It is the next one in the table for those who refer to it. */
static void add_field(unsigned char name, const char *spelled, const char *value) {
    first_head[first_length++] = name;
    if (name == 0x40) {
        first_head[first_length++] = strlen(spelled);
        first_length += sprintf(first_head + first_length, "%s", spelled);
    }
    if (strlen(value) > 100) fail("%s is too long", value);
    first_head[first_length++] = strlen(value);
    first_length += sprintf(first_head + first_length, "%s", value);
}

static void write_heads(void) {
    enum { FIELDS = 6, POST = 0x83, SCHEME_HTTP = 0x86, NEWEST = 0x80 | 62 };
    first_head[first_length++] = (char)POST;
    first_head[first_length++] = (char)SCHEME_HTTP;
    add_field(0x40 | 4, "", path);
    add_field(0x40 | 1, "", "localhost");
    add_field(0x40, "te", "trailers");
    add_field(0x40 | 31, "", "application/grpc");
    add_field(0x40 | 58, "", "vllmsim-bench");
    add_field(0x40, "grpc-accept-encoding", "identity, deflate, gzip");
    later_head[later_length++] = (char)POST;
    later_head[later_length++] = (char)SCHEME_HTTP;
    for (int i = FIELDS; i--;) later_head[later_length++] = NEWEST + i;
}

static void send_bytes(Connection *c, const char *data, size_t length) {
    if (c->out_length + length > c->out_room) {
        c->out_room = 2 * (c->out_length + length);
        c->out = realloc(c->out, c->out_room);
    }
    memcpy(c->out + c->out_length, data, length);
    c->out_length += length;
}

static void send_frame(Connection *c, int type, int flags, uint32_t stream, const char *payload, size_t length) {
    char head[FRAME];
    put(head, length, 3);
    head[3] = type, head[4] = flags;
    put(head + 5, stream, 4);
    send_bytes(c, head, FRAME);
    send_bytes(c, payload, length);
}

/* Send what there is; the rest goes when there is room. */
static void flush(Connection *c) {
    ssize_t n = c->out_length ? send(c->fd, c->out, c->out_length, MSG_NOSIGNAL) : 0;
    if (n < 0 && errno != EAGAIN) fail("send: %s", strerror(errno));
    if (n > 0) memmove(c->out, c->out + n, c->out_length -= n);
    bool more = c->out_length > 0;
    if (more != c->writable) watch(c->fd, c, EPOLL_CTL_MOD, EPOLLIN | (more ? EPOLLOUT : 0));
    c->writable = more;
}

static void writable(void *known) { flush(known); }

static void allow(Connection *c, uint32_t more) {
    char increment[4];
    put(increment, more, 4);
    send_frame(c, WINDOW_UPDATE, 0, 0, increment, sizeof increment);
}

static void open_connections(void) {
    static const char PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    char settings[12] = {0, 2, 0, 0, 0, 0, 0, 4}; /* nothing is pushed, and a stream has a window */
    put(settings + 8, WINDOW, 4);
    write_heads();
    calls = calloc(asker_count, sizeof *calls);
    connections = calloc(connection_count, sizeof *connections);
    for (int i = 0; i < connection_count; i++) {
        Connection *c = &connections[i];
        c->fd = open_socket(c, i);
        c->next = 1;
        c->window = 65535;
        send_bytes(c, PREFACE, sizeof PREFACE - 1);
        send_frame(c, SETTINGS, 0, 0, settings, sizeof settings);
        allow(c, WINDOW - 65535);
        flush(c);
    }
}

static void send_request(int asker) {
    Connection *c = &connections[asker % connection_count];
    Call *call = &calls[asker];
    bool first = c->next == 1;
    call->tokens = call->messages = call->part_length = call->complete = 0;
    if (request_length > LARGEST) fail("the request is too long");
    if ((c->window -= request_length) < 0) fail("the server does not make room for requests");
    if (c->next / 2 >= c->askers_room) {
        c->askers_room = 2 * c->askers_room + 64;
        c->askers = realloc(c->askers, c->askers_room * sizeof *c->askers);
    }
    c->askers[c->next / 2] = asker;
    send_frame(c, HEADERS, END_HEADERS, c->next, first ? first_head : later_head, first ? first_length : later_length);
    send_frame(c, DATA, END_STREAM, c->next, request, request_length);
    c->next += 2;
    flush(c);
}

/* What comes */

/* Read a number of Protocol Buffers. */
static uint64_t varint(const char **at, const char *end) {
    uint64_t number = 0;
    for (int shift = 0; *at < end && shift < 64; shift += 7) {
        unsigned char byte = *(*at)++;
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return number;
    }
    fail("a message is cut off");
    return 0;
}

/* Count the numbers of a piece's first field. */
static long tokens_of(const char *at, const char *end) {
    enum { VARINT, FIXED64, BYTES };
    long found = 0;
    while (at < end) {
        uint64_t tag = varint(&at, end), length = 0;
        if ((tag & 7) == VARINT) varint(&at, end);
        else length = (tag & 7) == BYTES ? varint(&at, end) : (tag & 7) == FIXED64 ? 8 : 4;
        if (length > (uint64_t)(end - at)) fail("a message is cut off");
        for (uint64_t i = 0; tag == (1 << 3 | BYTES) && i < length; i++) found += (unsigned char)at[i] < 0x80;
        at += length;
    }
    return found;
}

static void message(int asker, const char *at, const char *end, int64_t now) {
    Call *call = &calls[asker];
    call->messages++;
    askers[asker].begun = true;
    if (!tokens) return;
    if (call->complete) fail("a message came behind the end of a stream");
    if (at == end || (*at != 0x0a && *at != 0x12)) fail("a message is no GenerateResponse");
    call->complete = *at++ == 0x12;
    uint64_t length = varint(&at, end);
    if (length > (uint64_t)(end - at)) fail("a message is cut off");
    for (long found = call->complete ? 0 : tokens_of(at, at + length); found--;) stamp(asker, call->tokens++, now);
}

/* Take the messages that are whole out of some bytes. Returns how many bytes they are. */
static size_t messages(int asker, const char *data, size_t length, int64_t now) {
    size_t taken = 0;
    while (length - taken >= MESSAGE) {
        const char *at = data + taken;
        size_t size = number_at(at + 1, 4);
        if (*at) fail("a message is compressed");
        if (size > length - taken - MESSAGE) break;
        message(asker, at + MESSAGE, at + MESSAGE + size, now);
        taken += MESSAGE + size;
    }
    return taken;
}

static void data(int asker, const char *at, size_t length, int64_t now) {
    Call *call = &calls[asker];
    if (!call->part_length) {
        size_t taken = messages(asker, at, length, now);
        at += taken, length -= taken;
        if (!length) return;
    }
    if (call->part_length + length > call->part_room) {
        call->part_room = 2 * (call->part_length + length);
        call->part = realloc(call->part, call->part_room);
    }
    memcpy(call->part + call->part_length, at, length);
    call->part_length += length;
    size_t taken = messages(asker, call->part, call->part_length, now);
    memmove(call->part, call->part + taken, call->part_length -= taken);
}

/* An answer is complete: see that it is what was asked for. */
static void complete(int asker, int64_t now) {
    Call *call = &calls[asker];
    if (!call->messages) fail("a call was refused");
    if (call->part_length) fail("a message is cut off");
    if (tokens && call->tokens != tokens) fail("a stream had %ld of %ld tokens", call->tokens, tokens);
    if (tokens && !call->complete) fail("a stream ended without its last message");
    answered(asker, now);
}

static void settings(Connection *c, int flags, const char *at, const char *end) {
    if (flags & ACK) return;
    for (; at + 6 <= end; at += 6)
        if (number_at(at, 2) == 1 && number_at(at + 2, 4) < TABLE) fail("the server remembers too few fields");
    send_frame(c, SETTINGS, ACK, 0, "", 0);
}

static void frame(Connection *c, const char *at, int64_t now) {
    size_t length = number_at(at, 3);
    int type = at[3], flags = at[4];
    uint32_t stream = number_at(at + 5, 4);
    const char *payload = at + FRAME;
    int asker = stream & 1 && stream < c->next ? c->askers[stream / 2] : -1;
    if (stream && asker < 0) fail("frames came of a stream that nobody began");
    if (type == SETTINGS) settings(c, flags, payload, payload + length);
    else if (type == PING && !(flags & ACK)) send_frame(c, PING, ACK, 0, payload, length);
    else if (type == WINDOW_UPDATE && !stream) c->window += number_at(payload, 4);
    else if (type == RST_STREAM) fail("a stream was reset for reason %u", number_at(payload, 4));
    else if (type == GOAWAY) fail("the server closes for reason %u", number_at(payload + 4, 4));
    else if (type == DATA) {
        if (flags & PADDED) fail("data are padded");
        c->consumed += length;
        data(asker, payload, length, now);
    }
    if (type == DATA && flags & END_STREAM) fail("a stream ended without trailers");
    if (type == HEADERS && flags & END_STREAM) complete(asker, now);
}

static void readable(void *known) {
    Connection *c = known;
    memcpy(buffer, c->part, c->kept);
    ssize_t n = recv(c->fd, buffer + c->kept, BUFFER, 0);
    int64_t now = since_start();
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) fail("a connection ended");
    const char *at = buffer, *end = buffer + c->kept + n;
    while (end - at >= FRAME) {
        size_t length = number_at(at, 3);
        if (length > LARGEST) fail("a frame is too large");
        if ((size_t)(end - at) < FRAME + length) break;
        frame(c, at, now);
        at += FRAME + length;
    }
    c->kept = end - at;
    memcpy(c->part, at, c->kept);
    if (c->consumed > WINDOW / 2) {
        allow(c, c->consumed);
        c->consumed = 0;
    }
    if (c->out_length && !c->writable) flush(c);
}
