/* web_search -- the server tool of that name, on a SearXNG of the user's.
 *
 * The search server's address comes from the user, so it may be on this machine or in its network;
 * its results come from the web, so they are bounded, filtered and cleaned. */
#pragma once

#include <stdatomic.h>

#include "servertools/web_tool.h"

/* Appends the value of the `content` member of a web_search_tool_result: a list of at most
 * LIMIT_WEB_RESULTS web_search_result, or a web_search_tool_result_error (invalid_tool_input,
 * query_too_long, request_too_large, too_many_requests, unavailable).
 *
 * `declared_json` is the tool as the client declared it, `input_json` what the model gave:
 * {"query":"..."}.  `cancel` may be NULL.  STATUS_OK in all cases but STATUS_CANCELLED,
 * STATUS_NO_MEMORY and STATUS_TOO_LARGE (`content_json` is full). */
MUST_USE enum status web_search_run(const struct web_options *o, struct str declared_json,
                                    struct str input_json, const atomic_bool *cancel,
                                    struct strbuf *content_json);
