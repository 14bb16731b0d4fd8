/* What the load clients have in common: one thread, one epoll, as few system calls as there can be.
 *
 *   PROGRAM paced NAME=VALUE...   streams that start spread over time; every token is stamped as it arrives
 *   PROGRAM closed NAME=VALUE...  askers that ask again as soon as they are answered
 *   PROGRAM hold NAME=VALUE...    askers that stay until standard input ends
 *
 * port=P        may be given several times; connections take turns
 * connections=N
 * askers=N      calls at once, on connections that take turns; as many as connections unless said otherwise
 * path=P        of the method that is called
 * request=FILE  what to send
 * tokens=T      tokens that every stream must have; 0 for answers that are no streams
 * spacing=NS    paced: how long after one stream the next one starts
 *               closed: the least time between two requests of an asker
 * from=NS until=NS  the window that is counted, after the start; closed ends with it
 * pid=P         whose processor time is read at both ends of the window
 * stamps=FILE   paced: arrivals as 64-bit nanoseconds after the start, by stream and token
 *               closed: 64-bit pairs, when an answer was complete and how long it took, in nanoseconds
 *
 * Prints lines of a name and a number. A stream that ends too early or too late, and an answer that is an error, are
 * errors: status 1, and a sentence on standard error.
 *
 * A program includes this once, and defines the four functions that are declared below. */
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

enum { PORTS = 8, BATCH = 512 };

typedef struct {
    bool waiting; /* for an answer */
    bool begun;   /* whether some of it has come */
    int64_t asked;
} Asker;

static Asker *askers;
static char *request, *path = "/";
static size_t request_length;
static int ports[PORTS], port_count, connection_count, asker_count, poller, timer;
static long tokens;
static bool paced, closed_loop, over;
static int64_t started, spacing, from, until, *stamps;
static FILE *times;
static long long arrived, answers;
static int finished, asking;

static void open_connections(void);
static void send_request(int asker);
static void readable(void *known);
static void writable(void *known);

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

/* Watch a socket; what it is known by comes back with its events. */
static void watch(int fd, void *known, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = known};
    if (epoll_ctl(poller, operation, fd, &event)) fail("epoll_ctl: %s", strerror(errno));
}

static int open_socket(void *known, int index) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons(ports[index % port_count]);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) fail("connection %d: %s", index, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    watch(fd, known, EPOLL_CTL_ADD, EPOLLIN);
    if (index % 25 == 24) usleep(1000); /* the server's backlog may be short */
    return fd;
}

static void read_request(const char *source) {
    FILE *file = fopen(source, "rb");
    struct stat facts;
    if (!file || fstat(fileno(file), &facts)) fail("%s: %s", source, strerror(errno));
    request_length = facts.st_size;
    request = malloc(request_length + 1);
    if (fread(request, 1, request_length, file) != request_length) fail("%s is short", source);
    fclose(file);
}

static void ask(int asker) {
    askers[asker] = (Asker){.waiting = true, .asked = since_start()};
    asking++;
    send_request(asker);
}

/* Remember when a token of a stream came; they count from 0. */
static void stamp(int asker, long token, int64_t now) {
    arrived++;
    if (stamps && token < tokens) stamps[asker * tokens + token] = now;
}

/* Learn that an answer is complete, and what was asked for. */
static void answered(int asker, int64_t now) {
    askers[asker].waiting = false;
    asking--;
    answers++;
    if (times) {
        int64_t pair[2] = {now, now - askers[asker].asked};
        fwrite(pair, sizeof pair, 1, times);
    }
    if (paced) finished++;
    else if (closed_loop && !spacing && !over) ask(asker);
}

/* Wait for what arrives, or for the timer; what is known by nothing is the timer or standard input. */
static void turn(void) {
    struct epoll_event events[BATCH];
    uint64_t rung;
    int ready = epoll_wait(poller, events, BATCH, -1);
    for (int i = 0; i < ready; i++) {
        void *known = events[i].data.ptr;
        if (known && events[i].events & EPOLLOUT) writable(known);
        if (known && events[i].events & ~EPOLLOUT) readable(known);
        if (!known && read(timer, &rung, sizeof rung) < 0) continue;
    }
}

typedef struct {
    int64_t at, server, client;
    long long tokens, answers;
} Sample;

static Sample begin, end;

static Sample sample(int pid) {
    Sample s = {.at = since_start(), .tokens = arrived, .answers = answers};
    clockid_t clock;
    if (pid && !clock_getcpuclockid(pid, &clock)) s.server = clock_of(clock);
    s.client = clock_of(CLOCK_PROCESS_CPUTIME_ID);
    return s;
}

/* Count the window, and set the timer for the earlier of its next end and what else there is to do. */
static void count_and_wait(int pid, int64_t next) {
    static int64_t alarm = -1;
    static bool begun;
    int64_t now = since_start();
    if (!begun && now >= from) begin = sample(pid), begun = true;
    if (!over && now >= until) end = sample(pid), over = true;
    if (!begun && from < next) next = from;
    if (!over && until < next) next = until;
    if (next == INT64_MAX && !asking) return; /* nothing will come */
    if (next != alarm && next != INT64_MAX) set_timer(alarm = next);
    turn();
}

/* A stream of each asker, the next one a spacing later. */
static void run_paced(int pid) {
    for (int next = 0; finished < asker_count || !over;) {
        int64_t now = since_start();
        while (next < asker_count && next * spacing <= now) ask(next++);
        count_and_wait(pid, next < asker_count ? next * spacing : INT64_MAX);
    }
}

/* Ask, and ask again when there is an answer and the spacing is over. What was asked is answered before it ends, so that
 * the server is idle then. */
static void run_closed(int pid) {
    while (since_start() < 0) usleep(1000);
    for (int i = 0; i < asker_count; i++) ask(i);
    while (!over || asking) {
        int64_t next = INT64_MAX, now = since_start();
        for (int i = 0; spacing && !over && i < asker_count; i++) {
            if (!askers[i].waiting && now >= askers[i].asked + spacing) ask(i);
            if (!askers[i].waiting && askers[i].asked + spacing < next) next = askers[i].asked + spacing;
        }
        count_and_wait(pid, next);
    }
}

/* Have everybody answered, or at least begun to be, and stay. */
static void run_hold(void) {
    char byte;
    for (int i = 0; i < asker_count; i++) {
        ask(i);
        while (!askers[i].begun) turn();
    }
    printf("ready %d\n", asker_count);
    fflush(stdout);
    fcntl(0, F_SETFL, O_NONBLOCK);
    watch(0, NULL, EPOLL_CTL_ADD, EPOLLIN);
    while (read(0, &byte, 1) != 0) turn();
}

static void write_stamps(const char *to) {
    FILE *file = fopen(to, "wb");
    if (!file) fail("%s: %s", to, strerror(errno));
    fwrite(stamps, sizeof *stamps, (size_t)asker_count * tokens, file);
    if (fclose(file)) fail("%s: %s", to, strerror(errno));
}

int main(int argc, char **argv) {
    int pid = 0;
    const char *stamped = NULL, *mode = argc > 1 ? argv[1] : "";
    for (int i = 2; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) fail("%s has no value", argv[i]);
        *value++ = 0;
        if (!strcmp(argv[i], "port") && port_count < PORTS) ports[port_count++] = atoi(value);
        else if (!strcmp(argv[i], "connections")) connection_count = atoi(value);
        else if (!strcmp(argv[i], "askers")) asker_count = atoi(value);
        else if (!strcmp(argv[i], "path")) path = value;
        else if (!strcmp(argv[i], "request")) read_request(value);
        else if (!strcmp(argv[i], "tokens")) tokens = atol(value);
        else if (!strcmp(argv[i], "spacing")) spacing = atoll(value);
        else if (!strcmp(argv[i], "from")) from = atoll(value);
        else if (!strcmp(argv[i], "until")) until = atoll(value);
        else if (!strcmp(argv[i], "pid")) pid = atoi(value);
        else if (!strcmp(argv[i], "stamps")) stamped = value;
        else fail("%s is unknown", argv[i]);
    }
    paced = !strcmp(mode, "paced");
    closed_loop = !strcmp(mode, "closed");
    if (!asker_count) asker_count = connection_count;
    if (!port_count || connection_count < 1 || !request || (paced && !tokens)) fail("see the head of load.h");
    askers = calloc(asker_count, sizeof *askers);
    if (paced) stamps = calloc((size_t)asker_count * tokens, sizeof *stamps);
    if (closed_loop && stamped && !(times = fopen(stamped, "wb"))) fail("%s: %s", stamped, strerror(errno));
    poller = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    watch(timer, NULL, EPOLL_CTL_ADD, EPOLLIN);
    open_connections();

    started = clock_of(CLOCK_MONOTONIC) + 50000000; /* the server has accepted them all by then */
    if (paced) run_paced(pid);
    else if (closed_loop) run_closed(pid);
    else run_hold();
    if (paced && stamped) write_stamps(stamped);
    if (times && fclose(times)) fail("%s: %s", stamped, strerror(errno));
    printf("nanoseconds %lld\ntokens %lld\nanswers %lld\nserver_nanoseconds %lld\nclient_nanoseconds %lld\n",
           (long long)(end.at - begin.at), end.tokens - begin.tokens, end.answers - begin.answers,
           (long long)(end.server - begin.server), (long long)(end.client - begin.client));
    return 0;
}
