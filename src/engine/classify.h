/* classify -- how important a request is to the person at the other end.
 *
 * Interactive is what nothing says otherwise of.  A sub-agent is one that the client says is one.
 * Background is only what is plainly a side request of an agent client: sent by one, without tools,
 * and for a title (Claude Code asks for one 80 ms before the request that the user waits for).  The
 * name of the model, or a small max_tokens, says nothing: people use them too. */
#pragma once

#include "engine/engine.h"
#include "sched/sched.h"

enum job_class classify_request(const struct message_request *req,
                                const struct engine_caller *caller);
