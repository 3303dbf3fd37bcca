/* thinking -- keeps a reply's reasoning to a budget of tokens.
 *
 * The text between the format's marks is counted token by token.  Where the budget is spent, what
 * the model would have gone on with is not asked for any more: the tokens of `closing` are, as if
 * it had ended its thoughts by itself, and it answers with what it has.  The budget is of the whole
 * reply: a model that begins anew is closed again at once.
 *
 * What it is not: a parser of replies (prompt/splitter).  Owner: a job. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "model/model.h"

enum { THINKING_MARK_BYTES = 128 /* longest mark */ };

struct thinking_limit {
    struct str start, end;      /* the marks; end "": nothing is counted */
    bool begins_inside;         /* the prompt ends behind `start` */
    uint32_t budget;            /* tokens; UINT32_MAX: none */
    const model_token *closing; /* spell `end`, with what usually stands around it */
    size_t n_closing;
};

struct thinking {
    struct thinking_limit limit; /* borrowed */
    bool is_inside;
    uint32_t n_tokens;                  /* inside, so far */
    size_t n_closed;                    /* of `closing`, given so far */
    bool is_closing;                    /* more of it is due */
    char tail[2 * THINKING_MARK_BYTES]; /* the end of the reply, which may begin a mark */
    size_t n_tail;
};

/* Marks longer than THINKING_MARK_BYTES: as with none. */
void thinking_init(struct thinking *t, const struct thinking_limit *limit);

/* The token that must come next; MODEL_NO_TOKEN where the model is free. */
model_token thinking_forced(struct thinking *t);

/* The reply has grown by a token with this text. */
void thinking_feed(struct thinking *t, struct str piece);
