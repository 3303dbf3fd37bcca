/* tool_search -- the hosted API's tool search: which of the deferred tools the model needs.
 *
 * A client with many tools sends them with defer_loading, so that they do not fill the prompt, and
 * one of the server tools tool_search_tool_regex_20251119 and tool_search_tool_bm25_20251119.  The
 * model calls that with {"query": "..."}, and the references in the answer make the tools known to
 * it (prompt/canon).  Searched are names, descriptions, and names and descriptions of arguments;
 * how, is in tool_regex.h and tool_bm25.h.  Stateless: any thread may call it. */
#pragma once

#include "api/message.h"
#include "base/status.h"
#include "base/strbuf.h"

enum tool_search_kind {
    TOOL_SEARCH_BY_REGEX,
    TOOL_SEARCH_BY_BM25,
};

/* Appends the JSON of the `content` of a tool_search_tool_result block: references to at most 5 of
 * the deferred `tools`, the best first, or an error: invalid_tool_input for what the model wrote,
 * execution_time_exceeded for a pattern that takes too long.  STATUS_OK for both; STATUS_NO_MEMORY,
 * or STATUS_TOO_LARGE where `content_json` has no room, leaves a part of the JSON there. */
MUST_USE enum status tool_search_run(enum tool_search_kind kind, const struct tool *tools,
                                     size_t n_tools, struct str input_json,
                                     struct strbuf *content_json);
