/* render -- canonical conversation -> tokens, such that no text can forge a control token.
 *
 * The template returns one string.  So every content is rendered as a random sentinel and the
 * result is cut there: pieces of the template are tokenised with special tokens, contents without,
 * each by itself, so that a longer conversation never re-tokenises the shorter one.  Where a
 * template breaks a sentinel (trims, splits or tests contents), the contents are rendered as they
 * are and found again in the result; where that fails too, STATUS_UNSUPPORTED.
 *
 * A reply of the assistant's that was sampled at its place, and means what it meant then, is not
 * written anew but in the tokens that were sampled (turnmem.h). */
#pragma once

#include "model/chat.h"
#include "model/model.h"
#include "prompt/canon.h"
#include "prompt/turnmem.h"

struct render; /* renderer of one model: template + cache of tokenised segments; any thread */

MUST_USE enum status render_create(const struct model *m, struct render **out, struct error *err);
void render_destroy(struct render *r);

/* Replies are looked up in `turnmem` (borrowed) from then on.  Before other threads render. */
void render_use_turnmem(struct render *r, struct turnmem *turnmem);
const struct chat_caps *render_caps(const struct render *r);

struct rendered {
    model_token *tokens; /* mem */
    size_t n_tokens;
    struct chat_prompt chat; /* grammar, stops, tags, parser of the reply */
};

MUST_USE enum status render_prompt(struct render *r, const struct canon *c, struct rendered *out,
                                   struct error *err);
/* How many tokens render_prompt() would give, at a part of its cost. */
MUST_USE enum status render_count(struct render *r, const struct canon *c, size_t *out_n_tokens,
                                  struct error *err);
void rendered_free(struct rendered *r);
