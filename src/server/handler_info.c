/* handler_info -- what can be asked about the server: health, metrics, models.  All of it is
 * answered on the I/O thread from atomics and short locks, whatever the engine is doing. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "server/handlers.h"
#include "server/reply.h"
#include "server/route.h"
#include "server/server_private.h"
#include "wire/json_out.h"

enum { INFO_BYTES = 32 * 1024 };

void handle_root(struct exchange *x)
{
    reply_whole(x, 200, REPLY_TEXT,
                STR("Pensieve: the Anthropic Messages API, answered on this machine.\n"
                    "Point a client at this address (ANTHROPIC_BASE_URL), or see /health.\n"));
}

/* ---- Health ---- */

static const char *state_name(enum engine_state state)
{
    switch (state) {
    case ENGINE_LOADING:
        return "loading";
    case ENGINE_READY:
        return "ready";
    case ENGINE_FAILED:
        return "failed";
    }
    return "failed";
}

static void print_memory(const struct server *s, struct json_out *w)
{
    const struct governor *g = s->options.governor;
    enum governor_state state = g != NULL ? governor_state(g) : GOVERNOR_SAFE;
    char available[32] = "0.00";
    if (g != NULL)
        snprintf(available, sizeof available, "%.2f",
                 (double)governor_available_bytes(g) / (1u << 30));
    json_key(w, "memory");
    json_object_begin(w);
    json_field_cstr(w, "status", governor_state_name(state));
    json_field_cstr(w, "available_gb", available);
    json_field_bool(w, "accepting_requests", state < GOVERNOR_CRITICAL);
    json_field_int(w, "reading_us", g != NULL ? (int64_t)governor_reading_us(g) : 0);
    json_object_end(w);
}

static void print_engine(const struct engine_status *e, struct json_out *w)
{
    json_key(w, "requests");
    json_object_begin(w);
    json_field_int(w, "running", e->n_running);
    json_field_int(w, "waiting", e->n_waiting);
    json_object_end(w);
    json_key(w, "kv");
    json_object_begin(w);
    json_field_int(w, "cells_used", e->cells_used);
    json_field_int(w, "cells_total", e->cells_total);
    json_field_int(w, "bytes", (int64_t)e->kv_bytes);
    json_object_end(w);
    json_key(w, "prefill");
    json_object_begin(w);
    json_field_int(w, "done", e->prefill_done);
    json_field_int(w, "total", e->prefill_total);
    json_object_end(w);
    json_key(w, "speed");
    json_object_begin(w);
    json_key(w, "prefill_tokens_per_s");
    json_double(w, e->prefill_tokens_per_s);
    json_key(w, "decode_tokens_per_s");
    json_double(w, e->decode_tokens_per_s);
    json_object_end(w);
    if (e->kernels != NULL)
        json_field_cstr(w, "kernels", e->kernels);
}

static void print_store(const struct engine_status *e, struct json_out *w)
{
    json_key(w, "store");
    json_object_begin(w);
    json_field_bool(w, "enabled", e->keeps_prompts);
    json_field_bool(w, "paused", e->keeping_is_paused);
    json_field_int(w, "blocks", (int64_t)e->kept_blocks);
    json_field_int(w, "bytes", (int64_t)e->kept_bytes);
    json_field_int(w, "budget_bytes", (int64_t)e->kept_budget_bytes);
    json_field_int(w, "written_today_bytes", (int64_t)e->kept_today_bytes);
    json_field_int(w, "waiting_bytes", (int64_t)e->kept_waiting_bytes);
    json_object_end(w);
}

void handle_health(struct exchange *x)
{
    const struct server *s = x->server;
    struct engine_status e;
    engine_get_status(s->options.engine, &e);
    struct strbuf body;
    strbuf_init(&body, INFO_BYTES);
    struct json_out w;
    json_out_begin(&w, &body);
    json_object_begin(&w);
    json_field_cstr(&w, "status", "ok");
    json_field_cstr(&w, "state", state_name(e.state));
    json_field_cstr(&w, "model", e.model);
    json_field_cstr(&w, "model_id", s->options.model_id);
    json_field_int(&w, "context_window", e.n_window);
    print_memory(s, &w);
    json_field_cstr(&w, "version", s->options.version);
    json_field_int(&w, "pid", getpid());
    json_field_int(&w, "uptime_s", (int64_t)((clock_now_ms() - s->started_ms) / 1000));
    json_field_int(&w, "load_ms", e.load_ms);
    json_field_int(&w, "load_percent", e.load_percent);
    if (e.state == ENGINE_FAILED)
        json_field_cstr(&w, "error", e.error.message);
    print_engine(&e, &w);
    print_store(&e, &w);
    json_object_end(&w);
    json_out_end(&w);
    reply_buffer(x, 200, REPLY_JSON, &body);
}

void handle_metrics(struct exchange *x)
{
    struct strbuf body;
    strbuf_init(&body, INFO_BYTES);
    metrics_print(&body);
    reply_buffer(x, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
}

/* ---- Models ---- */

/* {"supported": ...}, as a member of that name. */
static void print_support(struct json_out *w, const char *name, bool is_supported)
{
    json_key(w, name);
    json_object_begin(w);
    json_field_bool(w, "supported", is_supported);
    json_object_end(w);
}

/* The same, to be followed by members of its own and json_object_end(). */
static void begin_support(struct json_out *w, const char *name, bool is_supported)
{
    json_key(w, name);
    json_object_begin(w);
    json_field_bool(w, "supported", is_supported);
}

/* Every name that the hosted API knows, since clients count on all of them.  "adaptive" and
 * "enabled" are supported where they do something, though a request may name them anyway. */
static void print_capabilities(struct json_out *w, bool can_think, bool has_web)
{
    static const char *const efforts[] = {"low", "medium", "high", "xhigh", "max"};
    json_key(w, "capabilities");
    json_object_begin(w);
    print_support(w, "batch", false);
    print_support(w, "citations", false);
    print_support(w, "code_execution", false);
    begin_support(w, "context_management", true);
    print_support(w, "clear_thinking_20251015", true);
    print_support(w, "clear_tool_uses_20250919", true);
    print_support(w, "compact_20260112", true);
    json_object_end(w);
    begin_support(w, "effort", can_think);
    for (size_t i = 0; i < sizeof efforts / sizeof efforts[0]; i++)
        print_support(w, efforts[i], can_think);
    json_object_end(w);
    print_support(w, "image_input", false);
    print_support(w, "pdf_input", false);
    begin_support(w, "server_tools", has_web);
    print_support(w, "code_execution", false);
    print_support(w, "web_search", has_web);
    json_object_end(w);
    print_support(w, "structured_outputs", true);
    begin_support(w, "thinking", can_think);
    json_key(w, "types");
    json_object_begin(w);
    print_support(w, "adaptive", can_think);
    print_support(w, "between_tools", false);
    print_support(w, "disabled", true);
    print_support(w, "enabled", can_think);
    json_object_end(w);
    json_object_end(w);
    json_object_end(w);
}

static void print_null(struct json_out *w, const char *name)
{
    json_key(w, name);
    json_null(w);
}

static void print_model(const struct server *s, struct str id, struct json_out *w)
{
    char created[CLOCK_TEXT_BYTES];
    clock_wall_text((int64_t)s->started_wall_s, created);
    struct engine_status e;
    engine_get_status(s->options.engine, &e);
    json_object_begin(w);
    json_field_cstr(w, "type", "model");
    json_field_str(w, "id", id);
    json_field_cstr(w, "display_name", s->options.model_display_name);
    json_field_cstr(w, "created_at", created);
    json_field_int(w, "max_input_tokens", e.n_window);
    json_field_int(w, "max_tokens", e.n_window);
    if (e.state == ENGINE_READY)
        print_capabilities(w, e.can_think, s->options.has_web);
    else
        print_null(w, "capabilities"); /* nothing is known before the model is loaded */
    json_field_cstr(w, "lifecycle", "active");
    print_null(w, "deprecated_at");
    print_null(w, "retires_at");
    print_null(w, "line");
    json_object_end(w);
}

/* The list `lifecycle`, as clients write lists in a query: the stages wanted, any where there are
 * none. STATUS_INVALID for one that the API does not have. */
static enum status read_lifecycle(struct str query, bool *out_wants_active, struct error *err)
{
    static const char *const keys[] = {"lifecycle", "lifecycle[]", "lifecycle%5B%5D",
                                       "lifecycle%5b%5d"};
    size_t n_stages = 0;
    struct str key, value;
    *out_wants_active = false;
    while (route_next_pair(&query, &key, &value)) {
        bool is_stage = false;
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
            is_stage |= str_is(key, keys[i]);
        if (!is_stage)
            continue;
        n_stages++;
        bool is_active = str_is(value, "active");
        *out_wants_active |= is_active;
        if (!is_active && !str_is(value, "deprecated") && !str_is(value, "retired"))
            return error_set(err, STATUS_INVALID,
                             "lifecycle: Input should be 'active', 'deprecated' or 'retired'");
    }
    *out_wants_active |= n_stages == 0;
    return STATUS_OK;
}

/* One model is served, an active one, so a page holds it or nothing: before_id or after_id of it is
 * behind it. */
static bool is_behind(const struct exchange *x)
{
    struct str after = {0}, before = {0};
    (void)route_query(x->head.query, "after_id", &after);
    (void)route_query(x->head.query, "before_id", &before);
    return after.len > 0 || before.len > 0;
}

static bool is_limit(struct str value)
{
    if (value.len == 0 || value.len > 4)
        return false;
    unsigned n = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return false;
        n = n * 10 + (unsigned)(value.ptr[i] - '0');
    }
    return n >= 1 && n <= 1000;
}

void handle_models(struct exchange *x)
{
    const struct server *s = x->server;
    struct str limit;
    struct error err;
    bool wants_active;
    enum status st = read_lifecycle(x->head.query, &wants_active, &err);
    if (st == STATUS_OK && route_query(x->head.query, "limit", &limit) && !is_limit(limit))
        st = error_set(&err, STATUS_INVALID, "limit: Input should be between 1 and 1000");
    if (st != STATUS_OK) {
        reply_error(x, &err);
        return;
    }
    bool is_empty = !wants_active || is_behind(x);
    struct strbuf body;
    strbuf_init(&body, INFO_BYTES);
    struct json_out w;
    json_out_begin(&w, &body);
    json_object_begin(&w);
    json_key(&w, "data");
    json_array_begin(&w);
    if (!is_empty)
        print_model(s, str_from(s->options.model_id), &w);
    json_array_end(&w);
    json_field_bool(&w, "has_more", false);
    const char *const ends[] = {"first_id", "last_id"};
    for (size_t i = 0; i < 2; i++) {
        json_key(&w, ends[i]);
        if (is_empty)
            json_null(&w);
        else
            json_cstr(&w, s->options.model_id);
    }
    json_object_end(&w);
    json_out_end(&w);
    reply_buffer(x, 200, REPLY_JSON, &body);
}

/* Any claude-* name is answered by the loaded model, so each of them is a model here. */
void handle_model(struct exchange *x)
{
    const struct server *s = x->server;
    struct str id = route_rest(x->route, x->head.path);
    if (!str_starts_with(id, STR("claude-")) && !str_is(id, s->options.model_id)) {
        struct error err;
        error_set(&err, STATUS_NOT_FOUND, "no such model; this server has %s", s->options.model_id);
        reply_error(x, &err);
        return;
    }
    struct strbuf body;
    strbuf_init(&body, INFO_BYTES);
    struct json_out w;
    json_out_begin(&w, &body);
    print_model(s, id, &w);
    json_out_end(&w);
    reply_buffer(x, 200, REPLY_JSON, &body);
}
