/* http_get -- one GET over http or https, for the web tools.
 *
 * Follows redirects itself, so that each address on the way is asked about before anything is sent
 * to it, and looks at the address that a name resolved to when the socket is made, so that a name
 * that resolves to another address the second time gains nothing.  No proxy, cookie, key or stored
 * password takes part.  Everything is bounded: bytes after decompression, headers, redirects, time.
 *
 * Blocks its thread for at most LIMIT_WEB_TOTAL_MS and looks at `cancel` at least once a second;
 * but where the system's resolver hangs, its own limit comes on top, as libcurl waits for it. */
#pragma once

#include <stdatomic.h>

#include "base/strbuf.h"
#include "servertools/web_url.h"

enum { HTTP_TYPE_BYTES = 128 };

struct http_get_options {
    const char *accept; /* value of the Accept header */
    size_t limit_bytes; /* of the body */
    /* May a socket to this address be made?  NULL: to any (the caller trusts `url`). */
    bool (*may_connect)(const unsigned char *bytes, size_t n);
    /* May this address be asked for?  Called for `url` and for each redirect.  NULL: `url` is
     * trusted as it is, and redirects are not followed. */
    bool (*may_visit)(const struct web_url *url, void *arg);
    void *arg;
    /* Is a body of this Content-Type (lower case, without parameters) of use?  NULL: any is. */
    bool (*is_wanted_type)(struct str type);
    const atomic_bool *cancel; /* may be NULL */
};

enum http_outcome {
    HTTP_ANSWERED,    /* with a body: status 2xx, a wanted type, within the limit */
    HTTP_REFUSED,     /* by may_connect or may_visit, or a redirect to what is no web address */
    HTTP_STATUS,      /* another status */
    HTTP_OTHER_TYPE,  /* a type that is not wanted */
    HTTP_TOO_LARGE,   /* the body passed the limit */
    HTTP_NOT_REACHED, /* the network, a certificate, the time limit, too many redirects */
};

struct http_answer {
    enum http_outcome outcome;
    long http_status;                   /* 0 where none came */
    const char *why;                    /* HTTP_NOT_REACHED: a constant text without the address */
    char content_type[HTTP_TYPE_BYTES]; /* as it came, with its parameters; maybe cut */
    struct web_url url;                 /* with may_visit: where the answer came from */
    struct strbuf body;
};

/* STATUS_OK where the outcome says how it went, else STATUS_CANCELLED or STATUS_NO_MEMORY.  The
 * answer is to be freed in each case. */
MUST_USE enum status http_get(const char *url, const struct http_get_options *options,
                              struct http_answer *answer);
void http_answer_free(struct http_answer *answer);

/* "Text/HTML; charset=x" -> "text/html" in `out`. */
struct str http_bare_type(const char *content_type, char out[HTTP_TYPE_BYTES]);
