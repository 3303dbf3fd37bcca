/* tool_picks -- the best tools of a search so far.
 *
 * Tools are offered in the order of the client's list, so that among equals the first one stays
 * first.  Data without an owner: it lives on the stack of one search. */
#pragma once

#include "api/message.h"

enum { TOOL_PICKS_MOST = 5 };

struct tool_pick {
    const struct tool *tool;
    double score;
};

struct tool_picks {
    struct tool_pick best[TOOL_PICKS_MOST]; /* falling scores */
    size_t n;
};

/* Takes `t` in where its score is above 0 and among the best. */
void tool_picks_offer(struct tool_picks *picks, const struct tool *t, double score);

/* Drops the fourth and fifth where they are far behind the first: what is referred to has to be
 * read by the model, which for a schema of 500 tokens can be seconds on a processor. */
void tool_picks_trim(struct tool_picks *picks);
