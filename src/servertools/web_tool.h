/* web_tool -- what web_search and web_fetch share: their options, what the client declared, and how
 * they say that they failed.
 *
 * Neither logs what was asked: a query and an address are tool inputs. */
#pragma once

#include "base/strbuf.h"
#include "servertools/domain_rules.h"
#include "wire/json_in.h"

struct web_options {
    const char *searxng_url; /* the user's own search server; NULL: no web at all */
    bool allows_private;     /* tests: loopback and private addresses may be fetched */
};

/* Which of the two. */
struct web_tool {
    const char *key;        /* of the one text of the input: a query, an address */
    const char *too_long;   /* the code for an input over LIMIT_WEB_INPUT_BYTES */
    const char *error_type; /* of the result that tells a failure */
};

/* One call: the tool as the client declared it, and what the model asks of it. */
struct web_call {
    const struct web_tool *tool;
    struct json_doc *declared_doc, *input_doc;
    const struct json *declared;
    struct domain_rules domains;
    struct str subject;     /* the one text of the input */
    const char *code;       /* how it failed, as the API has it; NULL: it did not */
    unsigned long failures; /* of memory, when it began */
};

/* STATUS_OK, with a code where nothing is to be run; STATUS_NO_MEMORY.  web_call_end() in any case.
 */
MUST_USE enum status web_call_begin(const struct web_options *o, const struct web_tool *tool,
                                    struct str declared_json, struct str input_json,
                                    struct web_call *out);

/* What the tool's run function returns: `st` is how its work ended, and `content_json` has the
 * result already, or gets the failure. */
MUST_USE enum status web_call_end(struct web_call *c, enum status st, struct strbuf *content_json);
