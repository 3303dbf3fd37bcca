/* handler_admin -- stopping the server, and the levers that tests of the scripted engine pull. */
#include "base/limits.h"
#include "engine/engine_script.h"
#include "server/handlers.h"
#include "server/reply.h"
#include "server/server_private.h"

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
    engine_script_print_stats(x->server->options.engine, &body);
    body.len--; /* over the last brace, with what the server knows */
    strbuf_printf(&body, ",\"paused\":%u,\"turns\":%u,\"bodies_bytes\":%zu}",
                  atomic_load(&x->server->n_paused), atomic_load(&x->server->n_turns),
                  atomic_load(&x->server->bodies_bytes));
    reply_whole(x, 200, REPLY_JSON, strbuf_str(&body));
    strbuf_free(&body);
}

void handle_test_release(struct exchange *x)
{
    char name[NAME_BYTES];
    struct str query = x->head.query;
    if (query.len == 0 || query.len >= sizeof name) {
        struct error err;
        error_set(&err, STATUS_INVALID, "name what to release: /test/release?NAME");
        reply_error(x, &err);
        return;
    }
    memcpy(name, query.ptr, query.len);
    name[query.len] = '\0';
    engine_script_release(x->server->options.engine, name);
    reply_whole(x, 200, REPLY_JSON, STR("{}"));
}
