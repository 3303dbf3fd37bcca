/* edits -- takes out of a long conversation what its client wants to have taken out
 * (context_management.edits of the Messages API), before it becomes a prompt.
 *
 * Results of old tool uses become a line that says so; thinking of old turns goes.  The client
 * keeps the whole conversation and sends it again next time, so this is done anew each time.
 *
 * What it is not: a decision of the server's own; nothing is taken out that was not asked for. */
#pragma once

#include "api/event.h"
#include "api/message.h"
#include "base/arena.h"

/* How many tokens a conversation is. */
typedef enum status edits_count_fn(void *arg, const struct message_request *req, size_t *out,
                                   struct error *err);

/* *out is `req`, or a copy in the arena that has less.  Counts only where an edit depends on it, or
 * takes something out. */
MUST_USE enum status edits_apply(const struct message_request *req, struct arena *arena,
                                 edits_count_fn *count, void *arg,
                                 const struct message_request **out, struct context_report *report,
                                 struct error *err);

/* Whether this tool_result was taken out: its text is not what the tool said. */
bool edits_is_cleared(const struct block *result);
