/* guard -- who may talk to us: Host and Origin against hostile web pages, the key against others.
 *
 * Threats and answers.  A page that resolves its own name to 127.0.0.1 (DNS rebinding) sends that
 * name as Host: only known names pass.  A page that posts to us across origins (CSRF) sends Origin
 * or Sec-Fetch-Site, and cannot send `application/json` without asking first: all three are
 * checked, and no answer ever carries an Access-Control-Allow header.
 *
 * Pure functions over a head; the I/O thread calls them before a body is read. */
#pragma once

#include "server/framing.h"

struct guard {
    uint16_t port; /* ours, the only one that a Host may name */
    const char *const *allowed_hosts;
    size_t n_allowed_hosts;
    struct str key;
};

/* `local_address`: the address literal that this connection came in on, without brackets.  An
 * address cannot be rebound as a name can, so it is a good Host. */
bool guard_host(const struct guard *g, struct str host, struct str local_address);

/* After guard_host.  True where the request has no Origin, or our own. */
bool guard_origin(const struct guard *g, const struct http_head *head);

/* Bearer token or x-api-key; in constant time.  *out_key is the one that matched. */
bool guard_key(const struct guard *g, const struct http_head *head, struct str *out_key);

/* True for application/json with any parameters. */
bool guard_content_type(struct str content_type);

/* True for 127.0.0.0/8, ::1 and "localhost". */
bool guard_is_loopback(const char *host);
