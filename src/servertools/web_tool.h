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

/* One call: the tool as the client declared it, and what the model asks of it. */
struct web_call {
    struct json_doc *declared_doc, *input_doc;
    const struct json *declared;
    struct domain_rules domains;
    struct str subject; /* the one text of the input: a query, an address */
};

/* `key` names the input's text.  STATUS_INVALID where either is not what it should be (the error
 * code is invalid_tool_input), STATUS_NO_MEMORY. */
MUST_USE enum status web_call_read(struct str declared_json, struct str input_json, const char *key,
                                   struct web_call *out);
void web_call_free(struct web_call *c);

/* Appends {"type":TYPE,"error_code":CODE}. */
void web_write_error(struct strbuf *out, const char *type, const char *code);
