/* draft -- guesses at what a reply says next, from what the conversation has said before.
 *
 * Replies of a coding agent repeat the prompt: the lines of a file that an edit names, paths, the
 * frame of a call.  Where the last DRAFT_KEY_TOKENS tokens stood before, what followed there is the
 * guess; of the place of the last guess and the latest place, the one where more matches.  It is
 * computed together with the last token and taken as far as the model, asked for each
 * of its tokens, samples the same: the reply is what it would have been without.
 *
 * A guess that fails costs time, so it is at most as long as what matches before it, begins short
 * and grows while guesses hold; and a turn of whose guesses fewer tokens hold than pays, as
 * measured on this machine, goes on without for a while.
 *
 * Pure: tokens and times in, tokens out.  One per turn, of the scheduler thread. */
#pragma once

#include "model/model.h"

enum {
    DRAFT_KEY_TOKENS = 8, /* shorter matches are mostly chance */
    DRAFT_LEAST = 8,      /* length of the first guess, and of the one after a failure */
    DRAFT_MOST = 48,
    DRAFT_PAUSE_TOKENS = 128, /* of the reply, without guesses, where they do not pay */
};

/* What a guessed token costs here, over all turns.  A zeroed struct knows nothing. */
struct draft_cost {
    double step_us; /* of a step without a guess; 0: not measured */
    double share;   /* of that, which each guessed token adds; 0: not measured */
};

/* Takes note of a step of one turn, with n_guessed tokens besides the one that it waited for. */
void draft_cost_add(struct draft_cost *cost, size_t n_guessed, uint64_t us);

struct draft {
    uint32_t *ends; /* [mask + 1] by hash of a key: where its last occurrence ends; 0: nowhere */
    size_t mask;
    size_t n_indexed; /* keys that end before this are in the table */
    size_t source;    /* where the last guess was taken from, at ... */
    size_t source_n;  /* ... this number of tokens; 0: there was none */
    size_t length;
    double yield; /* moving share of guessed tokens that held; 0: none was judged yet */
    size_t resume_at;
};

/* For a prompt and reply of at most n_most tokens.  Without memory for it, it guesses nothing. */
void draft_init(struct draft *d, size_t n_most);
void draft_free(struct draft *d);

/* A guess at what follows tokens[0..n), at most `n_most` of them into `out`; how many is the
 * result.  `tokens` has only grown since the last call. */
size_t draft_propose(struct draft *d, const model_token *tokens, size_t n, size_t n_most,
                     model_token *out);

/* How the last guess went, of which the first n_held tokens were sampled too; there are n_tokens
 * now. */
void draft_note(struct draft *d, const struct draft_cost *cost, size_t n_tokens, size_t n_guessed,
                size_t n_held);
