/* model_toy -- a model that is a rule instead of weights: deterministic, instant, with the KV pool's
 * rules enforced (INVARIANT on a hole, a double position or a foreign cell), so that scheduler and
 * prefix code are tested without a file.
 *
 * Tokens are bytes (0..255) plus control tokens for the chat template's marks; see the .c file.
 * The next token is a pure function of the sequence's tokens: by default it copies the prompt's
 * "reply script" (the text after the last "say:" up to a newline or the end), then ends. */
#pragma once

#include "model/model.h"

struct model_toy_options {
    uint32_t n_cells;
    uint32_t n_sequences;
    uint32_t step_us;       /* time that a decode row takes, slept in slices that ask for abort */
    uint32_t fail_decode_at; /* the n-th decode returns MODEL_FAILED; 0: never */
};

struct model *model_toy_create(const struct model_toy_options *options);

/* For tests: decodes so far, rows so far, cells in use now, and the tokens of one sequence. */
uint64_t model_toy_decodes(const struct model *m);
uint64_t model_toy_rows(const struct model *m);
uint32_t model_toy_cells_used(const struct model *m);
size_t model_toy_sequence(const struct model *m, uint32_t sequence, model_token *out, size_t cap);
