/* server_private -- what the files of this folder share of the server.
 *
 * Owner: the I/O thread, but for the atomics, the ready list (its mutex), and what is only read
 * after server_create. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "server/guard.h"
#include "server/server.h"
#include "server/workers.h"

struct conn;
struct exchange;

struct server {
    struct server_options options; /* strings are our own copies */
    struct server_tuning tuning;   /* without zeros */
    struct guard guard;
    struct workers *workers;
    uint64_t started_ms;
    int64_t started_wall_s;

    uv_loop_t loop;
    uv_tcp_t listener;
    uv_async_t wake;
    uv_timer_t tick; /* looks at the connections' time limits */
    uv_signal_t on_term, on_int;
    uint16_t port;
    bool is_draining;
    bool is_ending; /* drained, or told twice: what is left is cut */
    uint64_t drain_until_ms;

    struct conn *conns; /* oldest first */
    struct conn *conns_last;
    unsigned n_conns;

    atomic_uint n_turns;        /* places for turns that are taken */
    atomic_size_t bodies_bytes; /* of all requests in memory */
    atomic_uint n_paused;       /* writers that wait for their client */
    atomic_uint n_stops;        /* calls of server_stop */
    atomic_int stop_reason;

    pthread_mutex_t ready_mutex; /* guards the ready list */
    struct exchange *ready;
};

/* Memory is so low that no turn is admitted. */
static inline bool server_is_low(const struct server *s)
{
    return s->options.governor != NULL && governor_state(s->options.governor) >= GOVERNOR_CRITICAL;
}

/* Any thread, with the exchange's mutex held: the I/O thread looks at its answer soon. */
void server_notify(struct exchange *x);
