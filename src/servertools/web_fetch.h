/* web_fetch -- the server tool of that name: one page as text.
 *
 * The model chooses the address, and what the model read may have talked it into that choice.  So:
 * http and https alone, no passwords, only what the client's domain lists allow and what the
 * conversation has named before (the caller knows), at most LIMIT_WEB_REDIRECTS redirects under the
 * same rules, and no connection to this machine, its networks or any private address. */
#pragma once

#include <stdatomic.h>

#include "servertools/web_tool.h"

struct web_fetch_request {
    struct str declared_json; /* the tool as the client declared it */
    struct str input_json;    /* {"url":"..."} */
    /* Has this address stood in the conversation, outside of what the model wrote?  NULL: all
     * have. */
    bool (*is_known_url)(void *arg, struct str url);
    void *arg;
};

/* Appends the value of the `content` member of a web_fetch_tool_result: a web_fetch_result, or a
 * web_fetch_tool_result_error (invalid_tool_input, url_too_long, url_not_allowed,
 * url_not_in_prior_context, url_not_accessible, unsupported_content_type, content_too_large,
 * too_many_requests, unavailable).
 *
 * `cancel` may be NULL.  STATUS_OK in all cases but STATUS_CANCELLED, STATUS_NO_MEMORY and
 * STATUS_TOO_LARGE (`content_json` is full). */
MUST_USE enum status web_fetch_run(const struct web_options *o, const struct web_fetch_request *r,
                                   const atomic_bool *cancel, struct strbuf *content_json);
