#define _GNU_SOURCE
#include "server/server.h"

#include <signal.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/thread.h"
#include "server/conn.h"

enum {
    BACKLOG = 256,
    TICK_MS = 100,
    NO_REASON = -1,
};

/* ---- News from the workers ---- */

void server_notify(struct exchange *x)
{
    struct server *s = x->server;
    pthread_mutex_lock(&s->ready_mutex);
    bool is_news = !x->is_ready;
    if (is_news) {
        x->is_ready = true;
        x->next_ready = s->ready;
        s->ready = exchange_reference(x);
    }
    pthread_mutex_unlock(&s->ready_mutex);
    if (is_news)
        uv_async_send(&s->wake);
}

static void flush_ready(struct server *s)
{
    pthread_mutex_lock(&s->ready_mutex);
    struct exchange *list = s->ready;
    s->ready = NULL;
    for (struct exchange *x = list; x != NULL; x = x->next_ready)
        x->is_ready = false;
    /* The links are taken while nobody can write new ones. */
    struct exchange *batch[256];
    size_t n = 0;
    while (list != NULL && n < sizeof batch / sizeof batch[0]) {
        batch[n++] = list;
        list = list->next_ready;
    }
    for (struct exchange *x = list; x != NULL; x = x->next_ready)
        x->is_ready = true;
    s->ready = list;
    pthread_mutex_unlock(&s->ready_mutex);
    if (list != NULL)
        uv_async_send(&s->wake);

    for (size_t i = 0; i < n; i++) {
        if (batch[i]->conn != NULL)
            conn_flush(batch[i]->conn);
        exchange_release(batch[i]);
    }
}

/* ---- Stopping ---- */

static void begin_drain(struct server *s)
{
    s->is_draining = true;
    s->drain_until_ms = clock_now_ms() + s->tuning.drain_ms;
    uv_close((uv_handle_t *)&s->listener, NULL);
    log_info("stopping: %u turns still run", atomic_load(&s->n_turns));
    conns_close(s, false);
}

static void look_at_stop(struct server *s)
{
    unsigned n_stops = atomic_load(&s->n_stops);
    if (n_stops > 0 && !s->is_draining)
        begin_drain(s);
    if (!s->is_draining)
        return;
    if (!s->is_ending && (n_stops > 1 || clock_now_ms() >= s->drain_until_ms)) {
        s->is_ending = true;
        conns_close(s, true);
    }
    if (s->n_conns == 0)
        uv_stop(&s->loop);
}

static void on_wake(uv_async_t *handle)
{
    struct server *s = handle->data;
    flush_ready(s);
    look_at_stop(s);
}

static void on_tick(uv_timer_t *handle)
{
    struct server *s = handle->data;
    conns_check_time(s, clock_now_ms());
    look_at_stop(s);
}

static void on_signal(uv_signal_t *handle, int signal_number)
{
    (void)signal_number;
    server_stop(handle->data, 0);
}

void server_stop(struct server *s, int reason)
{
    int none = NO_REASON;
    atomic_compare_exchange_strong(&s->stop_reason, &none, reason);
    atomic_fetch_add(&s->n_stops, 1);
    uv_async_send(&s->wake);
}

/* ---- Listening ---- */

static void on_connection(uv_stream_t *listener, int status)
{
    if (status == 0)
        conn_accept(listener->data, listener);
}

static enum status bind_and_listen(struct server *s, struct error *err)
{
    struct sockaddr_storage address;
    const char *host = s->options.host;
    if (strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    if (uv_ip4_addr(host, s->options.port, (struct sockaddr_in *)&address) != 0 &&
        uv_ip6_addr(host, s->options.port, (struct sockaddr_in6 *)&address) != 0)
        return error_set(err, STATUS_INVALID, "--host: %s is not an IP address", s->options.host);

    int rc = uv_tcp_bind(&s->listener, (const struct sockaddr *)&address, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&s->listener, BACKLOG, on_connection);
    if (rc == UV_EADDRINUSE)
        return error_set(err, STATUS_BUSY, "port %u is taken; choose another with --port",
                         s->options.port);
    if (rc != 0)
        return error_set(err, STATUS_IO, "cannot listen on %s port %u: %s", s->options.host,
                         s->options.port, uv_strerror(rc));

    int len = sizeof address;
    uv_tcp_getsockname(&s->listener, (struct sockaddr *)&address, &len);
    s->port = ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                                  : ((struct sockaddr_in *)&address)->sin_port);
    return STATUS_OK;
}

/* ---- Birth and death ---- */

static void fill_tuning(struct server_tuning *t)
{
    const struct server_tuning defaults = {
        .ping_ms = LIMIT_PING_MS,
        .progress_ms = LIMIT_PROGRESS_MS,
        .header_ms = LIMIT_HEADER_MS,
        .body_grace_ms = LIMIT_BODY_GRACE_MS,
        .keep_alive_ms = LIMIT_KEEP_ALIVE_MS,
        .stall_ms = LIMIT_STALL_MS,
        .drain_ms = LIMIT_DRAIN_MS,
        .linger_ms = LIMIT_LINGER_MS,
        .n_connections = LIMIT_CONNECTIONS,
        .n_turns = LIMIT_TURNS,
        .bodies_bytes = LIMIT_BODIES_BYTES,
    };
#define FILL(field) t->field = t->field != 0 ? t->field : defaults.field
    FILL(ping_ms);
    FILL(progress_ms);
    FILL(header_ms);
    FILL(body_grace_ms);
    FILL(keep_alive_ms);
    FILL(stall_ms);
    FILL(drain_ms);
    FILL(linger_ms);
    FILL(n_connections);
    FILL(n_turns);
    FILL(bodies_bytes);
#undef FILL
    if (t->n_turns > LIMIT_TURNS)
        t->n_turns = LIMIT_TURNS;
}

static void copy_options(struct server *s, const struct server_options *options)
{
    struct server_options *o = &s->options;
    *o = *options;
    o->host = mem_strdup(options->host);
    o->api_key = mem_strdup(options->api_key != NULL ? options->api_key : SERVER_DEFAULT_KEY);
    o->version = mem_strdup(options->version);
    o->model_id = mem_strdup(options->model_id);
    o->model_display_name = mem_strdup(options->model_display_name);
    const char **hosts = mem_zalloc(mem_array_bytes(options->n_allowed_hosts, sizeof *hosts));
    for (size_t i = 0; i < options->n_allowed_hosts; i++)
        hosts[i] = mem_strdup(options->allowed_hosts[i]);
    o->allowed_hosts = hosts;
    s->tuning = options->tuning;
    fill_tuning(&s->tuning);
}

static void free_options(struct server *s)
{
    struct server_options *o = &s->options;
    for (size_t i = 0; i < o->n_allowed_hosts; i++)
        mem_free((void *)(uintptr_t)o->allowed_hosts[i]);
    mem_free((void *)(uintptr_t)o->allowed_hosts);
    mem_free((void *)(uintptr_t)o->host);
    mem_free((void *)(uintptr_t)o->api_key);
    mem_free((void *)(uintptr_t)o->version);
    mem_free((void *)(uintptr_t)o->model_id);
    mem_free((void *)(uintptr_t)o->model_display_name);
}

/* A write to a client that left must be an error of that write, not the end of the program. */
static void ignore_broken_pipes(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
}

static void init_handles(struct server *s)
{
    INVARIANT(uv_loop_init(&s->loop) == 0);
    INVARIANT(uv_tcp_init(&s->loop, &s->listener) == 0);
    INVARIANT(uv_async_init(&s->loop, &s->wake, on_wake) == 0);
    INVARIANT(uv_timer_init(&s->loop, &s->tick) == 0);
    INVARIANT(uv_signal_init(&s->loop, &s->on_term) == 0);
    INVARIANT(uv_signal_init(&s->loop, &s->on_int) == 0);
    s->listener.data = s->wake.data = s->tick.data = s->on_term.data = s->on_int.data = s;
    uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
    uv_signal_start(&s->on_term, on_signal, SIGTERM);
    uv_signal_start(&s->on_int, on_signal, SIGINT);
}

enum status server_create(const struct server_options *options, struct server **out,
                          struct error *err)
{
    if (!guard_is_loopback(options->host) && options->api_key == NULL)
        return error_set(err, STATUS_FORBIDDEN,
                         "listening on %s would serve everyone who can reach this machine; set a "
                         "key of your own with --api-key-file first",
                         options->host);
    struct server *s = mem_zalloc(sizeof *s);
    copy_options(s, options);
    atomic_init(&s->stop_reason, NO_REASON);
    pthread_mutex_init(&s->ready_mutex, NULL);
    ignore_broken_pipes();
    init_handles(s);
    s->started_ms = clock_now_ms();
    s->started_wall_s = clock_wall_s();

    enum status st = bind_and_listen(s, err);
    if (st == STATUS_OK)
        st = workers_create(&s->workers, err);
    if (st != STATUS_OK) {
        server_destroy(s);
        return st;
    }
    s->guard = (struct guard){
        .port = s->port,
        .allowed_hosts = s->options.allowed_hosts,
        .n_allowed_hosts = s->options.n_allowed_hosts,
        .key = str_from(s->options.api_key),
    };
    *out = s;
    return STATUS_OK;
}

uint16_t server_port(const struct server *s)
{
    return s->port;
}

void server_set_governor(struct server *s, struct governor *g)
{
    s->options.governor = g;
}

int server_run(struct server *s)
{
    uv_run(&s->loop, UV_RUN_DEFAULT);
    /* All that a further signal could end has ended.  Closing libuv's handles brings back the
     * signal's default, which would make this orderly end a killing. */
    thread_hold_stop_signals(NULL);
    /* Turns of connections that were cut have been cancelled: their workers end soon. */
    workers_destroy(s->workers);
    s->workers = NULL;
    flush_ready(s);
    return atomic_load(&s->stop_reason);
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void server_destroy(struct server *s)
{
    if (s == NULL)
        return;
    conns_close(s, true);
    workers_destroy(s->workers);
    flush_ready(s);
    uv_walk(&s->loop, close_handle, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    INVARIANT(uv_loop_close(&s->loop) == 0);
    pthread_mutex_destroy(&s->ready_mutex);
    free_options(s);
    mem_free(s);
}
