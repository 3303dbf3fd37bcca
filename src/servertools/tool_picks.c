/* The best five, kept sorted by insertion. */
#include "servertools/tool_picks.h"

enum { ALWAYS_KEPT = 3 };

void tool_picks_offer(struct tool_picks *picks, const struct tool *t, double score)
{
    size_t at = picks->n;
    while (at > 0 && picks->best[at - 1].score < score)
        at--;
    if (at == TOOL_PICKS_MOST || !(score > 0))
        return;
    if (picks->n < TOOL_PICKS_MOST)
        picks->n++;
    for (size_t i = picks->n - 1; i > at; i--)
        picks->best[i] = picks->best[i - 1];
    picks->best[at] = (struct tool_pick){t, score};
}

void tool_picks_trim(struct tool_picks *picks)
{
    while (picks->n > ALWAYS_KEPT && picks->best[picks->n - 1].score < picks->best[0].score / 2)
        picks->n--;
}
