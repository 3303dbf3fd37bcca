/* reply -- answers: the head, whole bodies, errors in the shape of the Messages API.
 *
 * The one table from `enum status` to HTTP is in reply.c.  Sources of its columns: the API's error
 * page (types and codes), and how clients react (which answers they try again, and when). */
#pragma once

#include "server/exchange.h"

/* How a failure looks from outside. */
struct reply_rule {
    int http;
    const char *type;
    unsigned retry_after_s; /* 0: no such header */
    bool is_final;          /* x-should-retry: false, where clients would try again in vain */
};
const struct reply_rule *reply_rule_for(enum status st);

#define REPLY_JSON   "application/json"
#define REPLY_TEXT   "text/plain; charset=utf-8"
#define REPLY_EVENTS "text/event-stream; charset=utf-8"

/* All of these may be called by the thread that works on the exchange; exactly one of them answers
 * it.  On the I/O thread only with bodies far below LIMIT_OUTPUT_HIGH_BYTES. */
void reply_whole(struct exchange *x, int http, const char *content_type, struct str body);

/* The same with a body that was written to a buffer, which is freed; an error where the buffer
 * failed. */
void reply_buffer(struct exchange *x, int http, const char *content_type, struct strbuf *body);

/* The error body and headers for `err`. */
void reply_error(struct exchange *x, const struct error *err);

/* The same with error.details. */
void reply_error_details(struct exchange *x, const struct error *err, struct str details_json);

/* For what only HTTP knows (405, 408, 415, ...); `extra` holds more header lines or is "". */
void reply_http_error(struct exchange *x, int http, const char *type, const char *message,
                      const char *extra);

/* Head of an answer that is streamed; then exchange_write_chunk and exchange_end. */
MUST_USE enum status reply_begin_events(struct exchange *x);
