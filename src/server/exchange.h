/* exchange -- one request and its answer, shared by the I/O thread and the workers.
 *
 * Life: the I/O thread makes it when a head is complete; the connection, every queue and every
 * worker that has it hold a reference; the last one to let go writes the log line and frees the
 * body, the arena and the rest.
 *
 * Numbered invariants:
 *  1. The request part is written before the exchange is handed to a worker and read-only after.
 *  2. `mutex` guards the answer part.  Lock order: exchange, then the server's ready list, or the
 *     engine (turn_cancel); neither of these ever calls back.
 *  3. At most LIMIT_OUTPUT_HIGH_BYTES of an answer wait in memory: a worker that wants to add more
 *     waits until fewer than LIMIT_OUTPUT_LOW_BYTES are left.  The I/O thread never waits.
 *  4. Once `is_gone`, nothing is sent any more, every write answers STATUS_CANCELLED, and the turn
 *     has been cancelled.  turn_cancel and turn_finish never overlap (both under, or after, the
 *     mutex: exchange_end_turn takes the turn out first). */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "api/message.h"
#include "base/arena.h"
#include "engine/engine.h"
#include "server/framing.h"
#include "wire/json_in.h"

struct conn;
struct server;
struct route;

enum {
    REQUEST_ID_BYTES = 32,
};

struct exchange {
    atomic_uint references;
    struct server *server;

    /* The request. */
    char request_id[REQUEST_ID_BYTES]; /* req_... */
    uint64_t started_ms;
    char *head_bytes; /* what `head` points into */
    struct http_head head;
    const struct route *route; /* NULL while, or where, there is none */
    uint64_t namespace_key;
    char *body; /* JSON_PADDING_BYTES more than body_len are writable */
    size_t body_len, body_capacity;
    size_t body_charge; /* of the server's budget for bodies */
    bool holds_turn;    /* of the server's places for turns */

    struct conn *conn; /* the I/O thread's: who sends the answer; NULL once that one is closed */

    /* The work of a worker; nobody else looks. */
    struct json_doc *doc;
    struct arena arena;
    struct message_request request;
    uint32_t prompt_tokens;
    struct usage usage;
    char extra_head[128]; /* header lines of the answer, each with its end; mostly none */

    /* The answer. */
    pthread_mutex_t mutex;
    pthread_cond_t has_room;
    struct strbuf out; /* not yet taken by the I/O thread */
    size_t in_flight;  /* taken, and not yet taken by the system */
    int status;        /* HTTP status, 0 before there is one */
    bool is_chunked;
    bool is_ended;     /* nothing will be added */
    bool is_gone;      /* see 4 */
    bool is_complete;  /* all was sent */
    bool close;        /* the connection ends with this answer */
    struct turn *turn; /* between exchange_set_turn and exchange_end_turn */

    /* Guarded by the server's ready list. */
    bool is_ready;
    struct exchange *next_ready;
};

struct exchange *exchange_create(struct server *server);
struct exchange *exchange_reference(struct exchange *x);
void exchange_release(struct exchange *x);

/* I/O thread: room for the announced body, or STATUS_NO_MEMORY.  A body without an announced length
 * grows by this too. */
MUST_USE enum status exchange_reserve_body(struct exchange *x, size_t capacity);

/* Appends to the answer; see 3.  STATUS_CANCELLED when nobody listens any more. */
MUST_USE enum status exchange_write(struct exchange *x, struct str bytes);

/* The same, as part of a body without a length: chunked, or until the end of the connection. */
MUST_USE enum status exchange_write_chunk(struct exchange *x, struct str bytes);

/* The answer is whole.  Closes the chunked body where there is one. */
void exchange_end(struct exchange *x);

/* The answer cannot be made whole: the connection breaks, so that half of it is not taken for all.
 */
void exchange_fail(struct exchange *x);

/* The client is gone or must go: wakes a waiting writer and cancels the turn. */
void exchange_cancel(struct exchange *x);
bool exchange_is_gone(struct exchange *x);

/* Worker: from here on exchange_cancel reaches `t`. */
void exchange_set_turn(struct exchange *x, struct turn *t);

/* Worker: takes the turn back and finishes it. */
void exchange_end_turn(struct exchange *x);

/* I/O thread: moves what is to be sent into the empty `into`. */
void exchange_take(struct exchange *x, struct strbuf *into, bool *out_is_ended);

/* I/O thread: what was taken has been sent. */
void exchange_sent(struct exchange *x);
