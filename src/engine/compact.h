/* compact -- the words of summing a conversation up: what the model is asked, and what becomes of
 * what it says.  Not when that is done, nor how it is told: engine_rounds.h. */
#pragma once

#include "api/message.h"
#include "base/arena.h"
#include "base/status.h"

/* Tokens of a prompt above which it is summed up: what the client says, but never so late that a
 * window of `n_window` tokens has no room for the summary. */
uint32_t compact_trigger(const struct message_request *req, uint32_t n_window);

/* `req` with a last message that asks for a summary; the beginning stays, so that it is not read
 * again.  STATUS_TOO_LARGE where the arena is full. */
MUST_USE enum status compact_ask(const struct message_request *req, struct arena *arena,
                                 struct message_request *out);

/* Makes of what the model said the summary, with the user's last words behind it, and of `req` the
 * conversation in which only that is left.  *out_summary is "", and `req` as it was, where the
 * model said nothing. */
MUST_USE enum status compact_take(struct message_request *req, struct str said, struct arena *arena,
                                  struct str *out_summary);
