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

/* Times and ceilings; 0 stands for the constant of base/limits.h.  Tests make them short. */
struct server_tuning {
    unsigned ping_ms;       /* LIMIT_PING_MS */
    unsigned progress_ms;   /* LIMIT_PROGRESS_MS */
    unsigned header_ms;     /* LIMIT_HEADER_MS */
    unsigned body_grace_ms; /* LIMIT_BODY_GRACE_MS */
    unsigned keep_alive_ms; /* LIMIT_KEEP_ALIVE_MS */
    unsigned stall_ms;      /* LIMIT_STALL_MS */
    unsigned drain_ms;      /* LIMIT_DRAIN_MS */
    unsigned linger_ms;     /* LIMIT_LINGER_MS */
    unsigned n_connections; /* LIMIT_CONNECTIONS */
    unsigned n_turns;       /* LIMIT_TURNS, never more */
    size_t bodies_bytes;    /* LIMIT_BODIES_BYTES */
};

struct server_options {
    const char *host;    /* "127.0.0.1"; beyond loopback only with a key of the user's own */
    uint16_t port;       /* 0: the system chooses */
    const char *api_key; /* what clients must send; NULL: the default key on loopback */
    const char *const *allowed_hosts; /* Host names besides the loopback ones */
    size_t n_allowed_hosts;
    struct engine *engine;     /* borrowed */
    struct governor *governor; /* borrowed; NULL where there is none (yet) */
    const char *version;
    const char *model_id; /* id shown by /v1/models; contains "claude" */
    const char *model_display_name;
    bool has_web;          /* web_search and web_fetch work (--searxng) */
    bool tells_prefix;     /* in a header: docs/API.md, pensieve-prefix */
    struct engine *script; /* an engine_script, for /test/...; NULL: there are no such paths */
    struct server_tuning tuning;
};

#define SERVER_DEFAULT_KEY "pensieve-local-token"

/* Binds and listens.  `options` and its strings are copied.  STATUS_BUSY: the port is taken;
 * STATUS_FORBIDDEN: needs a key. */
MUST_USE enum status server_create(const struct server_options *options, struct server **out,
                                   struct error *err);
uint16_t server_port(const struct server *s);

/* Before server_run: the governor, which needs the server to stop it.  Borrowed. */
void server_set_governor(struct server *s, struct governor *g);

/* Serves until stopped, by server_stop or by SIGTERM or SIGINT (which are a server_stop with
 * reason 0).  Returns the reason that the first server_stop was given, with both signals held on
 * the calling thread: the rest of an orderly end is not cut short. */
int server_run(struct server *s);

/* Any thread or signal handler, until server_destroy: stops accepting, lets running turns end
 * (LIMIT_DRAIN_MS; a second call ends them at once), then server_run returns `reason`. */
void server_stop(struct server *s, int reason);
void server_destroy(struct server *s);
