/* model_toy -- a model that is a rule instead of weights: deterministic, instant, with the KV
 * pool's rules enforced (INVARIANT on a hole, a double position or a foreign cell), so that
 * scheduler and prefix code are tested without a file.
 *
 * Tokens are bytes (0..255) plus the control tokens <|im_start|> and <|im_end|> (256, 257; the
 * latter ends a reply) of its ChatML template.  It has no grammars.
 *
 * The next token is a pure function of the sequence's tokens.  The reply begins after the last
 * "<|im_start|>assistant\n", or, where there is none, after the script.  The script is the text
 * after the last "say:" before the reply, up to a newline or a control token; in it, the two
 * characters \n stand for a newline.  The model says the script and then <|im_end|>.  (A script
 * that nothing ends yet is ended by the model itself, with a newline, as it could not tell it from
 * the reply.)  Without a "say:" it says letters for ever, each a hash of all tokens before it, so
 * that any mistake in reused KV changes the reply.
 *
 * What seq_save gives is the position and the token of each cell: 8 bytes a token. */
#pragma once

#include "model/model.h"

enum {
    MODEL_TOY_IM_START = 256,
    MODEL_TOY_IM_END = 257,
    MODEL_TOY_VOCAB = 258,
};

struct model_toy_options {
    uint32_t n_cells;
    uint32_t n_sequences; /* <= 64 */
    uint32_t step_us;     /* time that a row takes, slept in slices that ask for abort */
    uint32_t
        fail_decode_at;    /* the n-th decode returns MODEL_FAILED, and all later ones; 0: never */
    bool whole_only;       /* as a recurrent model: a sequence can't lose a part of itself */
    uint32_t fail_save_at; /* the n-th seq_save returns STATUS_NO_MEMORY; 0: none does */
    uint32_t fail_load_at; /* the n-th seq_load returns STATUS_BUSY; 0: none does */
};

struct model *model_toy_create(const struct model_toy_options *options);

/* For tests: decodes so far, rows so far, cells in use now (these from any thread), and the tokens
 * of one sequence (returns how many there are, writes at most `cap`). */
uint64_t model_toy_decodes(const struct model *m);
uint64_t model_toy_rows(const struct model *m);
uint32_t model_toy_cells_used(const struct model *m);
size_t model_toy_sequence(const struct model *m, uint32_t sequence, model_token *out, size_t cap);
