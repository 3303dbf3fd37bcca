#include "server/admission.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/metrics.h"
#include "server/reply.h"
#include "server/route.h"
#include "server/server_private.h"

static bool refuse(struct exchange *x, enum status st, const char *message)
{
    struct error err;
    error_set(&err, st, "%s", message);
    reply_error(x, &err);
    return false;
}

static bool check_origin(struct exchange *x, struct str local_address)
{
    const struct guard *guard = &x->server->guard;
    if (!guard_host(guard, x->head.fields[HTTP_FIELD_HOST], local_address))
        return refuse(x, STATUS_FORBIDDEN,
                      "this server does not answer to that Host; add it with --allowed-host");
    if (!guard_origin(guard, &x->head))
        return refuse(x, STATUS_FORBIDDEN, "requests from other web pages are refused");
    return true;
}

static bool find_route(struct exchange *x)
{
    const char *allow;
    x->route = route_find(x->head.method, x->head.path, x->server->options.script != NULL, &allow);
    if (x->route != NULL)
        return true;
    if (allow[0] == '\0')
        return refuse(x, STATUS_NOT_FOUND, "there is nothing at this path");
    char extra[64];
    snprintf(extra, sizeof extra, "allow: %s\r\n", allow);
    reply_http_error(x, 405, "invalid_request_error", "this path does not take that method", extra);
    return false;
}

static bool check_key(struct exchange *x)
{
    struct str key = {0};
    bool is_right = guard_key(&x->server->guard, &x->head, &key);
    if (is_right)
        x->namespace_key = hash_xxh3(key.ptr, key.len, 0);
    if (is_right || (x->route->flags & ROUTE_PUBLIC) != 0)
        return true;
    return refuse(x, STATUS_UNAUTHENTICATED,
                  "invalid or missing key: send it as x-api-key or as Authorization: Bearer");
}

static bool check_form(struct exchange *x)
{
    const struct http_head *head = &x->head;
    if (head->has_field[HTTP_FIELD_EXPECT] &&
        !str_equal_nocase(head->fields[HTTP_FIELD_EXPECT], STR("100-continue"))) {
        reply_http_error(x, 417, "invalid_request_error", "this expectation can't be met", "");
        return false;
    }
    if (head->content_length > LIMIT_BODY_BYTES)
        return refuse(x, STATUS_TOO_LARGE, "the request body is larger than 32 MiB");
    if (head->method != HTTP_METHOD_POST || !head->has_body)
        return true;
    if (!guard_content_type(head->fields[HTTP_FIELD_CONTENT_TYPE])) {
        reply_http_error(x, 415, "invalid_request_error",
                         "the body must be sent as content-type: application/json", "");
        return false;
    }
    if (head->has_field[HTTP_FIELD_CONTENT_ENCODING] &&
        !str_equal_nocase(head->fields[HTTP_FIELD_CONTENT_ENCODING], STR("identity"))) {
        reply_http_error(x, 415, "invalid_request_error",
                         "the body must be sent without content-encoding", "");
        return false;
    }
    return true;
}

/* Whether the machine has room for what the request asks for. */
static bool check_room(struct exchange *x)
{
    struct server *s = x->server;
    if ((x->route->flags & ROUTE_ENGINE) == 0)
        return true;
    if (atomic_load(&s->n_stops) > 0)
        return refuse(x, STATUS_CANCELLED, "the server is stopping");
    if ((x->route->flags & ROUTE_TURN) == 0)
        return true;
    if (server_is_low(s)) {
        metric_add(METRIC_REJECTED_MEMORY, 1);
        struct error err;
        error_set(&err, STATUS_NO_MEMORY,
                  "memory is low: %.2f GB free; new requests wait until there is more",
                  (double)governor_available_bytes(s->options.governor) / (1u << 30));
        reply_error(x, &err);
        return false;
    }
    if (atomic_fetch_add(&s->n_turns, 1) >= s->tuning.n_turns) {
        atomic_fetch_sub(&s->n_turns, 1);
        return refuse(x, STATUS_BUSY, "too many turns run or wait already; try again shortly");
    }
    x->holds_turn = true;
    return true;
}

bool admission_check(struct exchange *x, struct str local_address)
{
    /* After a refusal the body, if any, is not read: nothing can follow it on this connection. */
    bool keeps = !x->close;
    x->close |= x->head.has_body;
    if (!check_origin(x, local_address) || !find_route(x) || !check_key(x) || !check_form(x) ||
        !check_room(x))
        return false;
    if (x->head.content_length > 0 &&
        exchange_reserve_body(x, (size_t)x->head.content_length) != STATUS_OK)
        return refuse(x, STATUS_NO_MEMORY, "too many large requests at once; try again shortly");
    x->close = !keeps;
    return true;
}
