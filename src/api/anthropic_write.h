/* anthropic_write -- whole JSON bodies of the Messages API: the message of a non-streamed answer,
 * errors, counts and models. */
#pragma once

#include "api/event.h"
#include "base/strbuf.h"
#include "wire/json_out.h"

/* Collects a turn's events into one message.  Init, feed every event (FAILED changes nothing), then
 * print.  A tool input that is no JSON object, as one that max_tokens cut, is printed as
 * {"__unparsedToolInput":{"raw":"..."}}. */
struct anthropic_message {
    struct context_report edits;
    struct server_work work;
    struct strbuf content; /* the JSON of the content array, without brackets */
    struct strbuf text;    /* text of the open block */
    enum event_block kind; /* of the open block */
    enum stop_reason reason;
    struct strbuf stop_sequence;
    struct usage usage;
    bool first; /* no block written yet */
};

void anthropic_message_init(struct anthropic_message *m);
void anthropic_message_free(struct anthropic_message *m);
void anthropic_message_feed(struct anthropic_message *m, const struct event *ev);

/* Appends the message object; `id` is msg_..., `model` what the client asked for.  A reply over
 * LIMIT_REPLY_BYTES makes `out` fail (strbuf_status). */
void anthropic_message_print(const struct anthropic_message *m, const char *id, struct str model,
                             struct strbuf *out);

/* {"type":"error","error":{"type":...,"message":...},"request_id":...}.  `details_json` is the
 * value of error.details or "". */
void anthropic_error_print(const char *type, const char *message, struct str details_json,
                           const char *request_id, struct strbuf *out);

/* "end_turn", "max_tokens", ... as the API spells it. */
const char *anthropic_stop_reason(enum stop_reason reason);

/* The member context_management, with what was taken out of the conversation. */
void anthropic_edits_print(const struct context_report *report, struct json_out *w);

/* The members of a usage object, braces included; `work` may be NULL: none was done. */
void anthropic_usage_print(const struct usage *u, const struct server_work *work,
                           struct strbuf *out);
