/* handler_admin -- stopping the server, and the levers that tests of the scripted engine pull. */
#include "base/limits.h"
#include "base/mem.h"
#include "engine/engine_script.h"
#include "server/handlers.h"
#include "server/reply.h"
#include "server/server_private.h"

#include <stdlib.h>

enum { NAME_BYTES = 64 };

void handle_stop(struct exchange *x)
{
    x->close = true;
    reply_whole(x, 202, REPLY_JSON, STR("{\"status\":\"stopping\"}"));
    server_stop(x->server, 0);
}

void handle_test_stats(struct exchange *x)
{
    struct strbuf body;
    strbuf_init(&body, 4096);
    engine_script_print_stats(x->server->options.script, &body);
    if (body.len > 0)
        body.len--; /* over the last brace, with what the server knows */
    strbuf_printf(&body, ",\"paused\":%u,\"turns\":%u,\"bodies_bytes\":%zu}",
                  atomic_load(&x->server->n_paused), atomic_load(&x->server->n_turns),
                  atomic_load(&x->server->bodies_bytes));
    reply_buffer(x, 200, REPLY_JSON, &body);
}

/* What stands behind the '?'; answers the exchange where that is nothing. */
static bool take_query(struct exchange *x, char out[NAME_BYTES])
{
    struct str query = x->head.query;
    if (query.len == 0 || query.len >= NAME_BYTES) {
        struct error err;
        error_set(&err, STATUS_INVALID, "say what, behind the question mark");
        reply_error(x, &err);
        return false;
    }
    memcpy(out, query.ptr, query.len);
    out[query.len] = '\0';
    return true;
}

void handle_test_release(struct exchange *x)
{
    char name[NAME_BYTES];
    if (!take_query(x, name))
        return;
    engine_script_release(x->server->options.script, name);
    reply_whole(x, 200, REPLY_JSON, STR("{}"));
}

/* The count begins behind this answer, so that the next request meets the failure. */
void handle_test_fail_alloc(struct exchange *x)
{
    char number[NAME_BYTES];
    long left = mem_fail_at(0);
    if (!take_query(x, number))
        return;
    struct strbuf body;
    strbuf_init(&body, NAME_BYTES);
    strbuf_printf(&body, "{\"left\":%ld}", left);
    reply_buffer(x, 200, REPLY_JSON, &body);
    mem_fail_at(strtol(number, NULL, 10));
}
