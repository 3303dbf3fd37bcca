#include "server/conn.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metrics.h"
#include "server/admission.h"
#include "server/reply.h"
#include "server/route.h"

enum {
    READ_BYTES = 64 * 1024,
    ADDRESS_BYTES = 64,
    FIRST_BODY_BYTES = 64 * 1024, /* of a body that does not say its length */
};

enum conn_state {
    CONN_IDLE,
    CONN_READING,
    CONN_ANSWERING,
    CONN_LINGERING,
    CONN_CLOSING,
};

struct conn {
    uv_tcp_t handle; /* first: the two pointers are cast into each other */
    struct server *server;
    struct conn *next, *previous;
    enum conn_state state;
    char address[ADDRESS_BYTES]; /* ours, that the client came to */
    struct framing framing;
    struct exchange *exchange; /* of the request that is read or answered */
    bool is_answered_early;    /* refused at its head, before its end was read */
    struct strbuf ahead;       /* bytes after the request that is being answered */
    bool is_reading;           /* read interest is on */

    uint64_t since_ms;      /* when the state was entered, or the request began */
    uint64_t body_since_ms; /* when the head was complete */
    uint64_t body_bytes;

    uv_write_t write;
    uv_shutdown_t shutdown;
    struct strbuf sending; /* what `write` sends */
    bool is_sending;
    bool is_end_taken;    /* the answer's last bytes are in `sending` */
    size_t unsent_bytes;  /* of `sending`, when last looked at */
    uint64_t progress_ms; /* when that changed */

    char buffer[READ_BYTES];
};

static void start_reading(struct conn *c);
static void consume(struct conn *c, const char *bytes, size_t n);

/* ---- Ends ---- */

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = (struct conn *)handle;
    framing_free(&c->framing);
    strbuf_free(&c->ahead);
    strbuf_free(&c->sending);
    mem_free(c);
}

static void drop_exchange(struct conn *c)
{
    struct exchange *x = c->exchange;
    if (x == NULL)
        return;
    c->exchange = NULL;
    x->conn = NULL;
    if (!x->is_complete)
        exchange_cancel(x);
    exchange_release(x);
}

static void close_conn(struct conn *c)
{
    if (c->state == CONN_CLOSING)
        return;
    c->state = CONN_CLOSING;
    drop_exchange(c);
    struct server *s = c->server;
    *(c->previous != NULL ? &c->previous->next : &s->conns) = c->next;
    *(c->next != NULL ? &c->next->previous : &s->conns_last) = c->previous;
    s->n_conns--;
    metric_add(METRIC_CONNECTIONS, -1);
    uv_close((uv_handle_t *)&c->handle, on_closed);
}

static void on_shut_down(uv_shutdown_t *req, int status)
{
    (void)req, (void)status; /* the client's end, or the time limit, closes */
}

/* The last answer is out.  What still comes is read and dropped for a moment: a connection closed
 * with unread bytes is reset, and a reset may destroy the answer on its way. */
static void linger(struct conn *c)
{
    c->state = CONN_LINGERING;
    c->since_ms = clock_now_ms();
    if (uv_shutdown(&c->shutdown, (uv_stream_t *)&c->handle, on_shut_down) != 0) {
        close_conn(c);
        return;
    }
    start_reading(c);
}

/* ---- Answers ---- */

static void finish_exchange(struct conn *c)
{
    struct exchange *x = c->exchange;
    bool closes = x->close || c->server->is_draining;
    x->is_complete = true;
    drop_exchange(c);
    if (closes) {
        linger(c);
        return;
    }
    c->state = CONN_IDLE;
    c->since_ms = clock_now_ms();
    c->is_answered_early = false;
    framing_reset(&c->framing);
    start_reading(c);
    if (c->ahead.len > 0 && c->state == CONN_IDLE) {
        struct strbuf ahead = c->ahead;
        strbuf_init(&c->ahead, LIMIT_PIPELINED_BYTES);
        consume(c, ahead.data, ahead.len);
        strbuf_free(&ahead);
    }
}

static void on_written(uv_write_t *req, int status)
{
    struct conn *c = req->data;
    c->is_sending = false;
    strbuf_clear(&c->sending);
    if (c->state == CONN_CLOSING)
        return;
    if (status != 0 || c->exchange == NULL) {
        close_conn(c);
        return;
    }
    exchange_sent(c->exchange);
    if (c->is_end_taken)
        finish_exchange(c);
    else
        conn_flush(c);
}

void conn_flush(struct conn *c)
{
    if (c->is_sending || c->exchange == NULL || c->state == CONN_CLOSING)
        return;
    exchange_take(c->exchange, &c->sending, &c->is_end_taken);
    if (c->sending.failed) {
        log_error("%s: an answer could not be made whole, or outgrew its buffer",
                  c->exchange->request_id);
        close_conn(c);
        return;
    }
    if (c->sending.len == 0) {
        /* A request that was refused at its head is answered before it is read to its end. */
        if (c->is_end_taken && c->state == CONN_ANSWERING)
            finish_exchange(c);
        return;
    }
    uv_buf_t buf = uv_buf_init(c->sending.data, (unsigned)c->sending.len);
    c->write.data = c;
    c->is_sending = true;
    c->unsent_bytes = c->sending.len;
    c->progress_ms = clock_now_ms();
    if (uv_write(&c->write, (uv_stream_t *)&c->handle, &buf, 1, on_written) != 0) {
        c->is_sending = false;
        close_conn(c);
    }
}

/* ---- Requests ---- */

static bool on_head(void *arg, struct framing *f)
{
    struct conn *c = arg;
    struct exchange *x = exchange_create(c->server);
    c->exchange = x;
    x->conn = c;
    x->started_ms = c->since_ms;
    x->head = f->head;
    x->head_bytes = framing_detach_head(f);
    c->body_since_ms = clock_now_ms();
    c->body_bytes = 0;
    c->is_answered_early = false;
    if (!admission_check(x, str_from(c->address))) {
        c->is_answered_early = true;
        c->state = CONN_ANSWERING;
        return !x->head.has_body; /* a body that nobody wants is not read */
    }
    if (x->head.has_field[HTTP_FIELD_EXPECT] && x->head.has_body) {
        uv_buf_t go_on = uv_buf_init((char *)(uintptr_t)"HTTP/1.1 100 Continue\r\n\r\n", 25);
        if (uv_try_write((uv_stream_t *)&c->handle, &go_on, 1) != 25)
            x->close = true; /* such a full socket before any answer: let it end with this one */
    }
    return true;
}

static bool refuse_body(struct conn *c, enum status st, const char *message)
{
    struct error err;
    error_set(&err, st, "%s", message);
    c->exchange->close = true;
    c->is_answered_early = true;
    c->state = CONN_ANSWERING;
    reply_error(c->exchange, &err);
    return false;
}

static bool on_body(void *arg, const char *bytes, size_t n)
{
    struct conn *c = arg;
    struct exchange *x = c->exchange;
    c->body_bytes += n;
    if (c->is_answered_early)
        return true;
    size_t need = x->body_len + n;
    if (need > LIMIT_BODY_BYTES)
        return refuse_body(c, STATUS_TOO_LARGE, "the request body is larger than 32 MiB");
    if (need > x->body_capacity) {
        size_t capacity = x->body_capacity > 0 ? x->body_capacity * 2 : FIRST_BODY_BYTES;
        if (capacity < need)
            capacity = need;
        if (exchange_reserve_body(x, capacity) != STATUS_OK)
            return refuse_body(c, STATUS_NO_MEMORY,
                               "too many large requests at once; try again shortly");
    }
    memcpy(x->body + x->body_len, bytes, n);
    x->body_len = need;
    return true;
}

static const struct framing_sink sink = {.on_head = on_head, .on_body = on_body};

/* A whole request is there. */
static void dispatch(struct conn *c)
{
    c->state = CONN_ANSWERING;
    struct exchange *x = c->exchange;
    if (c->is_answered_early) {
        conn_flush(c);
        return;
    }
    if ((x->route->flags & ROUTE_WORKER) == 0) {
        x->route->handle(x);
        return;
    }
    if (workers_submit(c->server->workers, x) != STATUS_OK) {
        struct error err;
        error_set(&err, STATUS_BUSY, "too many requests wait already; try again shortly");
        reply_error(x, &err);
    }
}

/* Answers what is no HTTP; the connection ends with it. */
static void answer_failed(struct conn *c)
{
    if (c->exchange == NULL) {
        c->exchange = exchange_create(c->server);
        c->exchange->conn = c;
        c->exchange->started_ms = c->since_ms;
    }
    struct exchange *x = c->exchange;
    c->state = CONN_ANSWERING;
    if (c->is_answered_early || x->status != 0) {
        x->close = true;
        return;
    }
    x->close = true;
    const char *reason = c->framing.error_reason;
    reply_http_error(x, c->framing.error_status,
                     c->framing.error_status == 503 ? "overloaded_error" : "invalid_request_error",
                     reason != NULL && reason[0] != '\0' ? reason : "this is no HTTP request", "");
}

/* Reads requests from bytes until one has to be answered; the rest waits in `ahead`. */
static void consume(struct conn *c, const char *bytes, size_t n)
{
    if (c->state == CONN_IDLE) {
        c->state = CONN_READING;
        c->since_ms = clock_now_ms();
    }
    if (c->state == CONN_READING) {
        size_t used = 0;
        enum framing_state state = framing_feed(&c->framing, bytes, n, &used);
        bytes += used;
        n -= used;
        if (state == FRAMING_DONE)
            dispatch(c);
        else if (state == FRAMING_FAILED)
            answer_failed(c);
        if (state == FRAMING_REFUSED || state == FRAMING_FAILED)
            n = 0; /* where the next request would begin is not known */
    }
    if (n == 0 || c->state != CONN_ANSWERING)
        return;
    strbuf_append(&c->ahead, bytes, n);
    if (c->ahead.failed)
        close_conn(c); /* far more than any client sends ahead */
}

/* ---- Reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct conn *c = (struct conn *)handle;
    *buf = uv_buf_init(c->buffer, sizeof c->buffer);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = (struct conn *)stream;
    if (n == 0 || c->state == CONN_CLOSING)
        return;
    if (n < 0) {
        close_conn(c); /* the client is gone: nothing that it asked for is wanted any more */
        return;
    }
    if (c->state == CONN_LINGERING)
        return;
    consume(c, buf->base, (size_t)n);
    /* One that sends ahead waits: its bytes stay with the system until the answer is out. */
    if (c->state == CONN_ANSWERING && c->ahead.len > LIMIT_PIPELINED_BYTES / 2) {
        uv_read_stop(stream);
        c->is_reading = false;
    }
}

static void start_reading(struct conn *c)
{
    if (c->is_reading)
        return;
    c->is_reading = uv_read_start((uv_stream_t *)&c->handle, on_alloc, on_read) == 0;
    if (!c->is_reading)
        close_conn(c);
}

/* ---- Time limits ---- */

static void answer_timeout(struct conn *c, const char *what)
{
    c->framing.error_status = 408;
    c->framing.error_reason = what;
    answer_failed(c);
}

static bool is_body_slow(const struct conn *c, uint64_t now_ms)
{
    uint64_t grace_end = c->body_since_ms + c->server->tuning.body_grace_ms;
    if (now_ms <= grace_end)
        return false;
    return c->body_bytes * 1000 < (now_ms - grace_end) * LIMIT_BODY_BYTES_PER_S;
}

static void check_time(struct conn *c, uint64_t now_ms)
{
    const struct server_tuning *tuning = &c->server->tuning;
    switch (c->state) {
    case CONN_IDLE:
        if (now_ms - c->since_ms > tuning->keep_alive_ms)
            close_conn(c);
        break;
    case CONN_READING:
        if (c->exchange == NULL && now_ms - c->since_ms > tuning->header_ms)
            answer_timeout(c, "the request's headers took too long");
        else if (c->exchange != NULL && is_body_slow(c, now_ms))
            answer_timeout(c, "the request's body comes too slowly");
        break;
    case CONN_ANSWERING: {
        size_t unsent = uv_stream_get_write_queue_size((uv_stream_t *)&c->handle);
        if (!c->is_sending || unsent != c->unsent_bytes) {
            c->unsent_bytes = unsent;
            c->progress_ms = now_ms;
        } else if (now_ms - c->progress_ms > tuning->stall_ms) {
            log_info("a client took nothing of its answer for %u ms and is dropped",
                     tuning->stall_ms);
            close_conn(c);
        }
        break;
    }
    case CONN_LINGERING:
        if (now_ms - c->since_ms > tuning->linger_ms)
            close_conn(c);
        break;
    case CONN_CLOSING:
        break;
    }
}

void conns_check_time(struct server *s, uint64_t now_ms)
{
    for (struct conn *c = s->conns; c != NULL;) {
        struct conn *next = c->next; /* c may go */
        check_time(c, now_ms);
        c = next;
    }
}

void conns_close(struct server *s, bool all)
{
    for (struct conn *c = s->conns; c != NULL;) {
        struct conn *next = c->next;
        if (all || c->state == CONN_IDLE)
            close_conn(c);
        c = next;
    }
}

/* ---- Birth ---- */

static void close_oldest_idle(struct server *s)
{
    for (struct conn *c = s->conns; c != NULL; c = c->next) {
        if (c->state == CONN_IDLE) {
            close_conn(c);
            return;
        }
    }
}

static void learn_address(struct conn *c)
{
    struct sockaddr_storage local;
    int len = sizeof local;
    if (uv_tcp_getsockname(&c->handle, (struct sockaddr *)&local, &len) == 0)
        uv_ip_name((const struct sockaddr *)&local, c->address, sizeof c->address);
}

void conn_accept(struct server *s, uv_stream_t *listener)
{
    if (s->n_conns >= s->tuning.n_connections)
        close_oldest_idle(s);
    bool is_over = s->n_conns >= s->tuning.n_connections;

    struct conn *c = mem_zalloc(sizeof *c);
    c->server = s;
    c->since_ms = clock_now_ms();
    framing_init(&c->framing, &sink, c);
    strbuf_init(&c->ahead, LIMIT_PIPELINED_BYTES);
    strbuf_init(&c->sending, 2 * LIMIT_OUTPUT_HIGH_BYTES);
    INVARIANT(uv_tcp_init(&s->loop, &c->handle) == 0);
    c->previous = s->conns_last;
    *(s->conns_last != NULL ? &s->conns_last->next : &s->conns) = c;
    s->conns_last = c;
    s->n_conns++;
    metric_add(METRIC_CONNECTIONS, 1);
    if (uv_accept(listener, (uv_stream_t *)&c->handle) != 0 || is_over) {
        close_conn(c);
        return;
    }
    uv_tcp_nodelay(&c->handle, 1);
    int send_bytes = LIMIT_SEND_BUFFER_BYTES;
    uv_send_buffer_size((uv_handle_t *)&c->handle, &send_bytes);
    learn_address(c);
    start_reading(c);
}
