#define _GNU_SOURCE
#include "server/reply.h"

#include <stdio.h>
#include <time.h>

#include "api/anthropic_write.h"
#include "base/clock.h"
#include "base/limits.h"
#include "server/route.h"
#include "server/server_private.h"

enum {
    HEAD_BYTES = 2048,
    BUSY_RETRY_S = 2,
    MEMORY_RETRY_S = 5,
    ERROR_BYTES = 8192,
};

static const struct reply_rule rules[] = {
    [STATUS_OK] = {200, "", 0, false},
    [STATUS_AGAIN] = {500, "api_error", 0, false},
    /* Ended by us, not by the client: the server is stopping. */
    [STATUS_CANCELLED] = {503, "overloaded_error", BUSY_RETRY_S, false},
    [STATUS_INVALID] = {400, "invalid_request_error", 0, false},
    [STATUS_TOO_LARGE] = {413, "request_too_large", 0, true},
    [STATUS_TOO_LONG] = {400, "invalid_request_error", 0, false},
    [STATUS_UNAUTHENTICATED] = {401, "authentication_error", 0, true},
    [STATUS_FORBIDDEN] = {403, "permission_error", 0, true},
    [STATUS_NOT_FOUND] = {404, "not_found_error", 0, true},
    [STATUS_BUSY] = {529, "overloaded_error", BUSY_RETRY_S, false},
    [STATUS_NO_MEMORY] = {503, "overloaded_error", MEMORY_RETRY_S, false},
    [STATUS_IO] = {500, "api_error", 0, false},
    [STATUS_CORRUPT] = {500, "api_error", 0, false},
    [STATUS_UNSUPPORTED] = {400, "invalid_request_error", 0, false},
    [STATUS_INTERNAL] = {500, "api_error", 0, false},
};

const struct reply_rule *reply_rule_for(enum status st)
{
    if ((size_t)st >= sizeof rules / sizeof rules[0])
        st = STATUS_INTERNAL;
    return &rules[st];
}

static const char *reason_phrase(int http)
{
    switch (http) {
    case 200:
        return "OK";
    case 202:
        return "Accepted";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 415:
        return "Unsupported Media Type";
    case 417:
        return "Expectation Failed";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    case 529:
        return "Overloaded";
    default:
        return "Error";
    }
}

/* IMF-fixdate of RFC 9110, 5.6.7, without asking the locale. */
static void append_date(struct strbuf *out)
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strbuf_printf(out, "date: %s, %02d %s %d %02d:%02d:%02d GMT\r\n", days[tm.tm_wday], tm.tm_mday,
                  months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* How many turns more would be admitted now, and when to ask again: what the hosted API counts by
 * the minute is here a number of places, and memory.  No promise: others ask too. */
static void append_limits(const struct exchange *x, struct strbuf *out, int http)
{
    const struct server *s = x->server;
    if (x->route == NULL || (x->route->flags & ROUTE_TURN) == 0)
        return;
    bool is_low = server_is_low(s);
    unsigned limit = s->tuning.n_turns, taken = atomic_load(&s->n_turns);
    unsigned left = is_low || http == 503 || http == 529 || taken >= limit ? 0 : limit - taken;
    int wait_s = left > 0 ? 0 : is_low ? MEMORY_RETRY_S : BUSY_RETRY_S;
    char reset[CLOCK_TEXT_BYTES];
    clock_wall_text(clock_wall_s() + wait_s, reset);
    strbuf_printf(out, "anthropic-ratelimit-requests-limit: %u\r\n", limit);
    strbuf_printf(out, "anthropic-ratelimit-requests-remaining: %u\r\n", left);
    strbuf_printf(out, "anthropic-ratelimit-requests-reset: %s\r\n", reset);
}

/* The status line and the headers that every answer has. */
static void append_head(struct exchange *x, struct strbuf *out, int http, const char *content_type)
{
    /* Nothing may follow an answer while stopping, an answer whose request was not read to its
     * end, or one to a client that knows no other end of a body. */
    if (atomic_load(&x->server->n_stops) > 0 || !x->head.keep_alive)
        x->close = true;
    x->status = http;
    strbuf_printf(out, "HTTP/1.1 %d %s\r\n", http, reason_phrase(http));
    append_date(out);
    strbuf_printf(out, "content-type: %s\r\n", content_type);
    strbuf_printf(out, "request-id: %s\r\n", x->request_id);
    strbuf_append_cstr(out, "cache-control: no-store\r\nx-content-type-options: nosniff\r\n");
    append_limits(x, out, http);
    strbuf_append_cstr(out, x->extra_head);
    if (x->close)
        strbuf_append_cstr(out, "connection: close\r\n");
}

static void reply_with(struct exchange *x, int http, const char *content_type, const char *extra,
                       struct str body)
{
    struct strbuf head;
    strbuf_init(&head, HEAD_BYTES);
    append_head(x, &head, http, content_type);
    strbuf_append_cstr(&head, extra);
    strbuf_printf(&head, "content-length: %zu\r\n\r\n", body.len);
    struct str shown = x->head.method == HTTP_METHOD_HEAD ? STR("") : body;
    enum status st = strbuf_status(&head);
    if (st == STATUS_OK)
        st = exchange_write(x, strbuf_str(&head));
    if (st == STATUS_OK)
        st = exchange_write(x, shown);
    if (st == STATUS_OK)
        exchange_end(x);
    else
        exchange_fail(x);
    strbuf_free(&head);
}

void reply_whole(struct exchange *x, int http, const char *content_type, struct str body)
{
    reply_with(x, http, content_type, "", body);
}

/* Of an error, whose body can be replaced by nothing smaller. */
static void reply_with_buffer(struct exchange *x, int http, const char *extra, struct strbuf *body)
{
    if (strbuf_status(body) == STATUS_OK)
        reply_with(x, http, REPLY_JSON, extra, strbuf_str(body));
    else
        exchange_fail(x);
    strbuf_free(body);
}

void reply_buffer(struct exchange *x, int http, const char *content_type, struct strbuf *body)
{
    if (strbuf_status(body) == STATUS_OK) {
        reply_with(x, http, content_type, "", strbuf_str(body));
    } else {
        struct error err;
        error_set(&err, STATUS_NO_MEMORY, "not enough memory for the answer; try again shortly");
        reply_error(x, &err);
    }
    strbuf_free(body);
}

void reply_http_error(struct exchange *x, int http, const char *type, const char *message,
                      const char *extra)
{
    struct strbuf body;
    strbuf_init(&body, ERROR_BYTES);
    anthropic_error_print(type, message, STR(""), x->request_id, &body);
    reply_with_buffer(x, http, extra, &body);
}

void reply_error_details(struct exchange *x, const struct error *err, struct str details_json)
{
    const struct reply_rule *rule = reply_rule_for(err->status);
    char extra[64] = "";
    if (rule->retry_after_s > 0)
        snprintf(extra, sizeof extra, "retry-after: %u\r\n", rule->retry_after_s);
    else if (rule->is_final)
        snprintf(extra, sizeof extra, "x-should-retry: false\r\n");

    struct strbuf body;
    strbuf_init(&body, ERROR_BYTES);
    anthropic_error_print(rule->type, err->message, details_json, x->request_id, &body);
    reply_with_buffer(x, rule->http, extra, &body);
}

void reply_error(struct exchange *x, const struct error *err)
{
    reply_error_details(x, err, STR(""));
}

enum status reply_begin_events(struct exchange *x)
{
    struct strbuf head;
    strbuf_init(&head, HEAD_BYTES);
    x->is_chunked = x->head.minor == 1;
    if (!x->is_chunked)
        x->close = true; /* HTTP/1.0: the end of the connection ends the body */
    append_head(x, &head, 200, REPLY_EVENTS);
    if (x->is_chunked)
        strbuf_append_cstr(&head, "transfer-encoding: chunked\r\n");
    strbuf_append_cstr(&head, "\r\n");
    enum status st = strbuf_status(&head);
    if (st == STATUS_OK)
        st = exchange_write(x, strbuf_str(&head));
    strbuf_free(&head);
    return st;
}
