/* engine_rounds -- turns of several rounds, around an engine that plays one round at a time.
 *
 * Two kinds of turns have them.  In one the model calls tools that the server runs by itself
 * (published_tools.h): they run, their results are told to the client and to the model, and it goes
 * on in a round of its own, inside the same answer.  In the other the conversation has grown over
 * what its client allows: a first round sums it up, and the answer comes from the summary.
 *
 * All other turns are the inner engine's, untouched.  What the model is shown in a round is what a
 * later request shows it that brings the answer back (api/anthropic_read_rounds.c), so that nothing
 * is read twice.
 *
 *   SUMMING -> TELLING_SUMMARY -> ROUND -> TOOLS -> TELLING_RESULTS -> ROUND ... -> the end
 *
 * Owner of the inner engine, and of each round's turn: exactly one is under way in SUMMING and
 * ROUND, and none in TOOLS. */
#pragma once

#include "engine/engine.h"
#include "servertools/web_search.h"

/* Takes `inner` over.  `web` and its strings are copied. */
struct engine *engine_rounds_create(struct engine *inner, const struct web_options *web);
