/* turn_record -- what a turn has told its client, in the form in which the client will send it
 * back.
 *
 * Made of the turn's events as they leave, so that the reply's digest is that which canon makes of
 * the message when it returns (prompt/reply_form.h).  Owner: the turn's worker. */
#pragma once

#include "api/event.h"
#include "prompt/canon_text.h"
#include "prompt/reply_form.h"

struct turn_record {
    struct arena arena;
    struct joined text, reasoning; /* of the closed blocks */
    struct strbuf block;           /* the open one */
    enum event_block kind;
    struct chat_call *calls; /* arena */
    size_t n_calls, capacity;
    bool is_lost; /* memory ran out: not to be relied on */
};

void turn_record_init(struct turn_record *r);
void turn_record_free(struct turn_record *r);
void turn_record_note(struct turn_record *r, const struct event *e);

/* The whole; valid as long as the record.  False where it was lost. */
MUST_USE bool turn_record_take(struct turn_record *r, struct reply_form *out,
                               struct str *out_reasoning);
