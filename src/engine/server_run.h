/* server_run -- the tools of one round that the server runs itself, at work on a thread of their
 * own, so that the turn can say in the meantime that it is alive.
 *
 * Owner: the turn.  The calls are the turn's too, and must outlive the run. */
#pragma once

#include <stdatomic.h>

#include "api/message.h"
#include "base/strbuf.h"
#include "servertools/web_search.h"

/* One call, and what came of it. */
struct server_call {
    struct str id; /* srvtoolu_... */
    struct str input_json;
    const struct tool *tool;
    bool is_over_limit;   /* the client wants fewer uses of this tool: it is not run */
    struct strbuf result; /* the block, a JSON object; initialised by the run, freed by the turn */
};

/* What the tools look at: the tools and messages of the request, as they are before the round. */
struct server_view {
    const struct message_request *req;
    const struct web_options *web;
};

struct server_run;

/* NULL where no thread can be had. */
struct server_run *server_run_start(const struct server_view *view, struct server_call *calls,
                                    size_t n_calls);

/* True once all calls have their results, false after `timeout_ms`. */
bool server_run_wait(struct server_run *run, unsigned timeout_ms);

/* Any thread: what still runs ends within about a second. */
void server_run_cancel(struct server_run *run);

/* Cancels and waits for the thread.  STATUS_CANCELLED where that was before the last result,
 * STATUS_NO_MEMORY where one is not whole. */
enum status server_run_end(struct server_run *run);
