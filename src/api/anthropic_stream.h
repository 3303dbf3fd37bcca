/* anthropic_stream -- events -> the SSE of a streamed Messages answer.
 *
 * State machine (see the table in the .c file): START -> IDLE -> BLOCK -> IDLE -> ENDED, with
 * PROGRESS wherever IDLE lasts too long.  Each call appends complete SSE events; nothing is held
 * back here. */
#pragma once

#include "api/event.h"
#include "base/strbuf.h"

enum anthropic_stream_state {
    ANTHROPIC_STREAM_START,    /* message_start not written */
    ANTHROPIC_STREAM_IDLE,     /* between blocks */
    ANTHROPIC_STREAM_BLOCK,    /* a block of the reply is open */
    ANTHROPIC_STREAM_PROGRESS, /* the thinking block that tells the progress is open */
    ANTHROPIC_STREAM_ENDED,    /* message_stop or error written: nothing may follow */
};

struct anthropic_stream {
    enum anthropic_stream_state state;
    enum event_block kind; /* of the open block */
    uint32_t index;        /* of the open or next block */
};

void anthropic_stream_init(struct anthropic_stream *s);

/* message_start: the whole prompt as input_tokens (message_delta carries the true split). */
void anthropic_stream_begin(struct anthropic_stream *s, const char *id, struct str model,
                            uint32_t prompt_tokens, struct strbuf *out);

void anthropic_stream_ping(struct anthropic_stream *s, struct str note, struct strbuf *out);

/* Tells `text` in a thinking block of its own, signed PROGRESS_SIGNATURE: for clients that give up
 * without a delta, pings or not.  In IDLE or PROGRESS only; the next event closes the block. */
void anthropic_stream_progress(struct anthropic_stream *s, struct str text, struct strbuf *out);

/* Any event.  FAILED becomes an `error` event of `error_type` and ends the stream. */
void anthropic_stream_feed(struct anthropic_stream *s, const struct event *ev,
                           const char *error_type, const char *request_id, struct strbuf *out);
