#include "server/exchange.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/thread.h"
#include "server/server_private.h"

enum {
    /* A write is taken apart into pieces of this size, so that one large piece does not pass the
     * ceiling by much. */
    PIECE_BYTES = 64 * 1024,
    CHUNK_FRAME_BYTES = 16,   /* "10000\r\n" and "\r\n" */
    STATUS_CLIENT_LEFT = 499, /* in the log only */
};

struct exchange *exchange_create(struct server *server)
{
    struct exchange *x = mem_zalloc(sizeof *x);
    atomic_init(&x->references, 1);
    x->server = server;
    x->started_ms = clock_now_ms();
    random_id(x->request_id, sizeof x->request_id, "req_");
    pthread_mutex_init(&x->mutex, NULL);
    thread_cond_init(&x->has_room);
    strbuf_init(&x->out, LIMIT_OUTPUT_HIGH_BYTES + PIECE_BYTES + CHUNK_FRAME_BYTES);
    arena_init(&x->arena, LIMIT_REQUEST_ARENA_BYTES);
    return x;
}

struct exchange *exchange_reference(struct exchange *x)
{
    atomic_fetch_add(&x->references, 1);
    return x;
}

/* Of all rounds of a turn; before its end, and where it failed early, of the first. */
static uint32_t prompt_tokens(const struct exchange *x)
{
    const struct usage *u = &x->usage;
    uint32_t n = u->input_tokens + u->cache_creation_tokens + u->cache_read_tokens;
    return n > x->prompt_tokens ? n : x->prompt_tokens;
}

/* One line per request; method, path and figures only. */
static void log_exchange(const struct exchange *x)
{
    int status = x->is_complete ? x->status : STATUS_CLIENT_LEFT;
    struct str path = x->head.path;
    if (path.len > 128)
        path.len = 128;
    metric_add(METRIC_REQUESTS, 1);
    if (status >= 400)
        metric_add(METRIC_REQUESTS_FAILED, 1);
    if (x->prompt_tokens > 0) {
        log_info("%s %s %.*s %d %" PRIu64 " ms, prompt %u (%u reused), output %u", x->request_id,
                 x->head.method_name, (int)path.len, path.ptr, status,
                 clock_now_ms() - x->started_ms, prompt_tokens(x), x->usage.cache_read_tokens,
                 x->usage.output_tokens);
        return;
    }
    /* What watches the server asks several times a second: no news as long as it is answered. */
    bool is_watching = str_is(path, "/health") || str_is(path, "/metrics");
    (status == 200 && is_watching ? log_debug : log_info)(
        "%s %s %.*s %d %" PRIu64 " ms", x->request_id,
        x->head.method_name != NULL ? x->head.method_name : "-", (int)path.len,
        path.len > 0 ? path.ptr : "", status, clock_now_ms() - x->started_ms);
}

void exchange_release(struct exchange *x)
{
    if (x == NULL || atomic_fetch_sub(&x->references, 1) != 1)
        return;
    INVARIANT(x->turn == NULL);
    log_exchange(x);
    if (x->holds_turn)
        atomic_fetch_sub(&x->server->n_turns, 1);
    atomic_fetch_sub(&x->server->bodies_bytes, x->body_charge);
    json_doc_free(x->doc);
    arena_free(&x->arena);
    mem_free(x->body);
    mem_free(x->head_bytes);
    strbuf_free(&x->out);
    pthread_cond_destroy(&x->has_room);
    pthread_mutex_destroy(&x->mutex);
    mem_free(x);
}

enum status exchange_reserve_body(struct exchange *x, size_t capacity)
{
    if (capacity <= x->body_capacity && x->body != NULL)
        return STATUS_OK;
    size_t more = capacity - x->body_capacity;
    size_t before = atomic_fetch_add(&x->server->bodies_bytes, more);
    x->body_charge += more; /* given back with the exchange, whatever happens here */
    if (before + more > x->server->tuning.bodies_bytes)
        return STATUS_NO_MEMORY;
    char *body = mem_try_realloc(x->body, capacity + JSON_PADDING_BYTES);
    if (body == NULL)
        return STATUS_NO_MEMORY;
    x->body = body;
    x->body_capacity = capacity;
    return STATUS_OK;
}

/* Waits for room for `n` bytes; see invariant 3.  Each wait has a limit, but the connection decides
 * when a client has taken nothing for too long: it then cancels the exchange, which ends this. */
static enum status wait_for_room(struct exchange *x, size_t n)
{
    if (x->is_gone)
        return STATUS_CANCELLED;
    if (x->out.len + x->in_flight + n <= LIMIT_OUTPUT_HIGH_BYTES)
        return STATUS_OK;
    atomic_fetch_add(&x->server->n_paused, 1);
    while (!x->is_gone && x->out.len + x->in_flight >= LIMIT_OUTPUT_LOW_BYTES)
        thread_cond_wait_ms(&x->has_room, &x->mutex, x->server->tuning.stall_ms);
    atomic_fetch_sub(&x->server->n_paused, 1);
    return x->is_gone ? STATUS_CANCELLED : STATUS_OK;
}

static enum status write_piece(struct exchange *x, struct str piece, bool as_chunk)
{
    pthread_mutex_lock(&x->mutex);
    enum status st = wait_for_room(x, piece.len + CHUNK_FRAME_BYTES);
    if (st == STATUS_OK) {
        if (as_chunk)
            strbuf_printf(&x->out, "%zx\r\n", piece.len);
        strbuf_append_str(&x->out, piece);
        if (as_chunk)
            strbuf_append_cstr(&x->out, "\r\n");
        if (strbuf_status(&x->out) != STATUS_OK)
            st = STATUS_NO_MEMORY; /* half an answer is none: the I/O thread sees `failed` */
        server_notify(x);
    }
    pthread_mutex_unlock(&x->mutex);
    return st;
}

static enum status write_pieces(struct exchange *x, struct str bytes, bool as_chunk)
{
    while (bytes.len > 0) {
        struct str piece = {bytes.ptr, bytes.len < PIECE_BYTES ? bytes.len : PIECE_BYTES};
        enum status st = write_piece(x, piece, as_chunk);
        if (st != STATUS_OK)
            return st;
        bytes.ptr += piece.len;
        bytes.len -= piece.len;
    }
    return STATUS_OK;
}

enum status exchange_write(struct exchange *x, struct str bytes)
{
    return write_pieces(x, bytes, false);
}

enum status exchange_write_chunk(struct exchange *x, struct str bytes)
{
    return write_pieces(x, bytes, x->is_chunked);
}

void exchange_end(struct exchange *x)
{
    pthread_mutex_lock(&x->mutex);
    INVARIANT(!x->is_ended);
    if (x->is_chunked && !x->is_gone)
        strbuf_append_cstr(&x->out, "0\r\n\r\n");
    x->is_ended = true;
    if (!x->is_gone)
        server_notify(x);
    pthread_mutex_unlock(&x->mutex);
}

void exchange_fail(struct exchange *x)
{
    pthread_mutex_lock(&x->mutex);
    INVARIANT(!x->is_ended);
    x->out.failed = true; /* the I/O thread sees it */
    x->is_ended = true;
    if (!x->is_gone)
        server_notify(x);
    pthread_mutex_unlock(&x->mutex);
}

void exchange_cancel(struct exchange *x)
{
    pthread_mutex_lock(&x->mutex);
    x->is_gone = true;
    if (x->turn != NULL)
        turn_cancel(x->turn);
    pthread_cond_broadcast(&x->has_room);
    pthread_mutex_unlock(&x->mutex);
}

bool exchange_is_gone(struct exchange *x)
{
    pthread_mutex_lock(&x->mutex);
    bool is_gone = x->is_gone;
    pthread_mutex_unlock(&x->mutex);
    return is_gone;
}

void exchange_set_turn(struct exchange *x, struct turn *t)
{
    pthread_mutex_lock(&x->mutex);
    INVARIANT(x->turn == NULL);
    x->turn = t;
    if (x->is_gone)
        turn_cancel(t);
    pthread_mutex_unlock(&x->mutex);
}

void exchange_end_turn(struct exchange *x)
{
    pthread_mutex_lock(&x->mutex);
    struct turn *t = x->turn;
    x->turn = NULL;
    pthread_mutex_unlock(&x->mutex);
    if (t != NULL)
        turn_finish(t);
}

void exchange_take(struct exchange *x, struct strbuf *into, bool *out_is_ended)
{
    INVARIANT(into->len == 0);
    pthread_mutex_lock(&x->mutex);
    struct strbuf empty = *into;
    *into = x->out;
    x->out = empty;
    x->out.limit = into->limit;
    x->in_flight = into->len;
    *out_is_ended = x->is_ended;
    pthread_mutex_unlock(&x->mutex);
}

void exchange_sent(struct exchange *x)
{
    pthread_mutex_lock(&x->mutex);
    x->in_flight = 0;
    if (x->out.len < LIMIT_OUTPUT_LOW_BYTES)
        pthread_cond_broadcast(&x->has_room);
    pthread_mutex_unlock(&x->mutex);
}
