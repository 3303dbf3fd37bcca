/* choices -- what is chosen for a turn from its request and its rendered prompt: how it is sampled,
 * what it is held to, how long it may think, what ends it.
 *
 * Pure functions: they know the model's vocabulary, but no engine, no scheduler and no state. */
#pragma once

#include "api/message.h"
#include "model/chat.h"
#include "model/sampler.h"
#include "sched/thinking.h"

/* What the request leaves open comes from the model's recommendation; the seed is drawn. */
struct sampler_params choose_sampling(const struct sampler_params *recommended,
                                      const struct message_request *req);

/* The reply's form: the template's grammar and the `n` tools that may be called, or words alone.
 * Borrows from all of them.  Where the schemas are larger than a grammar may be, calls without
 * marks are still understood, but not held to a schema while they are sampled. */
struct grammar_spec choose_grammar(const struct chat_prompt *chat, const struct grammar_call *tools,
                                   size_t n, bool must_use_words);

/* How long the model may reason, and what ends it: the mark as it stands in what models were
 * trained on, on a line of its own.  `may_call`: tools may be called.  out->closing is the
 * caller's, mem; start and end borrow from `chat`. */
MUST_USE enum status choose_thinking_limit(const struct model *m, const struct chat_prompt *chat,
                                           const struct message_request *req, bool may_call,
                                           struct thinking_limit *out);

/* The token that any turn begins with, as small models now and then begin one of somebody else's
 * instead of ending their own; MODEL_NO_TOKEN where there is none. */
model_token choose_turn_begin(const struct model *m, const struct chat_prompt *chat);
