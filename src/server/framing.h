/* framing -- bytes of one connection -> requests: llhttp, strict, with our limits on top.
 *
 * Pure: no I/O, no clock, resumable at any byte.  One `struct framing` reads one request; then it
 * stops at the first byte after it (FRAMING_DONE) until framing_reset().  What is refused, and why,
 * follows RFC 9112: wherever two readers could disagree about where a request ends (both
 * Transfer-Encoding and Content-Length, two lengths, bare LF, folded lines, odd codings), the
 * request is an error and the connection ends.
 *
 *   state   may follow        when
 *   HEAD    BODY, DONE        headers complete (then the sink was asked)
 *   HEAD    REFUSED           the sink said no to the head
 *   BODY    DONE              body complete
 *   BODY    REFUSED           the sink said no to a piece of the body
 *   any     FAILED            the bytes are no HTTP, or a limit is passed */
#pragma once

#include <llhttp.h>
#include <stdint.h>

#include "base/strbuf.h"

/* id, lower-case name: the headers that decide something here.  Each may come once. */
#define HTTP_FIELD_MAP(X)                                                                          \
    X(HOST, "host")                                                                                \
    X(ORIGIN, "origin")                                                                            \
    X(SEC_FETCH_SITE, "sec-fetch-site")                                                            \
    X(CONTENT_TYPE, "content-type")                                                                \
    X(CONTENT_ENCODING, "content-encoding")                                                        \
    X(AUTHORIZATION, "authorization")                                                              \
    X(API_KEY, "x-api-key")                                                                        \
    X(EXPECT, "expect")                                                                            \
    X(TRANSFER_ENCODING, "transfer-encoding")                                                      \
    X(USER_AGENT, "user-agent")                                                                    \
    X(AGENT_ID, "x-claude-code-agent-id")

enum http_field {
#define X(id, name) HTTP_FIELD_##id,
    HTTP_FIELD_MAP(X)
#undef X
        HTTP_FIELD_COUNT,
};

enum http_method {
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_OTHER,
};

/* The head of a request.  The slices point into the bytes that framing_detach_head() hands over. */
struct http_head {
    enum http_method method;
    const char *method_name; /* constant */
    struct str path;         /* without the query; begins with '/' */
    struct str query;        /* without the '?' */
    struct str fields[HTTP_FIELD_COUNT];
    bool has_field[HTTP_FIELD_COUNT];
    unsigned minor; /* HTTP/1.minor */
    bool has_body;
    bool is_chunked;
    uint64_t content_length; /* 0 where chunked */
    bool keep_alive;         /* the client lets the connection stay */
};

enum framing_state {
    FRAMING_HEAD,
    FRAMING_BODY,
    FRAMING_DONE,
    FRAMING_REFUSED,
    FRAMING_FAILED,
};

struct framing;

/* What the owner does with what is read; false refuses the request. */
struct framing_sink {
    bool (*on_head)(void *arg, struct framing *f);
    bool (*on_body)(void *arg, const char *bytes, size_t n);
};

/* Where a value lies in `bytes` while these may still move. */
struct framing_span {
    size_t begin, end;
};

enum {
    FRAMING_NAME_BYTES = 32, /* longer than every name in HTTP_FIELD_MAP */
};

struct framing {
    llhttp_t parser;
    enum framing_state state;
    const struct framing_sink *sink;
    void *arg;

    struct http_head head;
    struct strbuf bytes; /* the target, then the values of known fields */
    struct framing_span target;
    struct framing_span spans[HTTP_FIELD_COUNT];
    char name[FRAMING_NAME_BYTES]; /* of the header being read */
    size_t name_len;               /* may pass FRAMING_NAME_BYTES: then it is none of ours */
    int field;                     /* enum http_field of the value being read, or -1 */

    size_t head_bytes; /* names and values so far, trailers included */
    size_t fed_bytes;  /* everything fed while in FRAMING_HEAD */
    unsigned n_headers;
    size_t extension_bytes; /* of all chunks */

    int error_status;         /* FRAMING_FAILED: the HTTP status */
    const char *error_reason; /* constant */
};

void framing_init(struct framing *f, const struct framing_sink *sink, void *arg);
void framing_free(struct framing *f);
void framing_reset(struct framing *f); /* ready for the next request */

/* Reads from bytes[0..n).  *out_consumed < n only when the state is not HEAD or BODY any more. */
enum framing_state framing_feed(struct framing *f, const char *bytes, size_t n,
                                size_t *out_consumed);

/* For on_head: takes the memory that f->head points into.  The caller frees it with mem_free. */
MUST_USE char *framing_detach_head(struct framing *f);
