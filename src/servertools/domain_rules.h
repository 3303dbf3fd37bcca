/* domain_rules -- allowed_domains and blocked_domains of a web tool, as the hosted API reads them.
 *
 * "example.com" means that domain and all below it; "example.com/blog" only what lies there; one
 * "*" may stand in the path.  No scheme, port or query.  One list or the other, not both.  Where a
 * page lies is decided by its unescaped path, so that no spelling of it passes by a rule. */
#pragma once

#include "base/arena.h"
#include "servertools/web_url.h"
#include "wire/json_in.h"

struct domain_rule {
    struct str text;  /* as it was declared */
    struct str host;  /* as in struct web_url */
    struct str path;  /* up to the wildcard; no slash at the end */
    struct str after; /* behind the wildcard */
    bool has_wildcard;
};

struct domain_rules {
    struct arena arena;
    struct domain_rule *rules;
    size_t n_rules;
    bool are_allowed; /* the rules name what is allowed, not what is blocked */
};

/* `declared` is the tool as the client declared it.  STATUS_INVALID for what is no such list. */
MUST_USE enum status domain_rules_read(const struct json *declared, struct domain_rules *out);
void domain_rules_free(struct domain_rules *r);

bool domain_rules_allow(const struct domain_rules *r, const struct web_url *url);
