/* server -- the HTTP face: one I/O thread (libuv + llhttp), two short workers, turn workers.
 *
 * The I/O thread owns all sockets and never waits for the engine; /health, /metrics and HEAD are
 * answered there from atomics.  Requests for the engine go: I/O thread (framing, limits, Host,
 * Origin, key) -> short worker (JSON, engine_start) -> turn worker (events to bytes) -> the
 * connection's bounded output queue -> I/O thread. */
#pragma once

#include "engine/engine.h"
#include "memory/governor.h"

struct server;

struct server_options {
    const char *host;      /* "127.0.0.1"; beyond loopback only with a key of the user's own */
    uint16_t port;         /* 0: the system chooses */
    const char *api_key;   /* what clients must send; NULL: the default key on loopback */
    const char *const *allowed_hosts; /* Host names besides the loopback ones */
    size_t n_allowed_hosts;
    struct engine *engine;       /* borrowed */
    struct governor *governor;   /* borrowed; NULL in tests without one */
    const char *version;
    const char *model_id;        /* id shown by /v1/models; contains "claude" */
    const char *model_display_name;
    bool allow_test_routes;      /* POST /test/release, for engine_script */
};

#define SERVER_DEFAULT_KEY "pensieve-local-token"

/* Binds and listens.  STATUS_BUSY: the port is taken; STATUS_FORBIDDEN: needs a key. */
MUST_USE enum status server_create(const struct server_options *options, struct server **out,
                                   struct error *err);
uint16_t server_port(const struct server *s);

/* Serves until stopped.  Returns the reason that server_stop was given. */
int server_run(struct server *s);

/* Any thread or signal handler: stops accepting, lets running turns end (LIMIT_DRAIN_MS; a second
 * call ends them at once), then server_run returns `reason`. */
void server_stop(struct server *s, int reason);
void server_destroy(struct server *s);
