/* tool_bm25 -- the deferred tools that fit a query in plain words best.
 *
 * BM25F: Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond",
 * Foundations and Trends in Information Retrieval 3(4), 2009, with k1 = 1.2 and b = 0.75 in every
 * field.  Fields are the name (weight 4), the description (1) and names and descriptions of the
 * arguments (0.5). */
#pragma once

#include "base/status.h"
#include "servertools/tool_picks.h"

/* Offers every tool that has a word of `query`.  STATUS_OK or STATUS_NO_MEMORY. */
MUST_USE enum status tool_bm25_search(const struct tool *tools, size_t n_tools, struct str query,
                                      struct tool_picks *picks);
