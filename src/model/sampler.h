/* sampler -- logits -> one token.
 *
 * Order: repetition penalty, top_k, temperature, top_p, min_p, draw.  Temperature 0 is greedy
 * (the highest logit; the lowest id among equals).  The grammar is asked about the drawn token
 * only; where it says no, the whole row is masked and drawn again.  Scaffold of a tool call is
 * greedy whatever the temperature.  Same seed, same logits, same tokens.  Owner: the scheduler
 * thread. */
#pragma once

#include "model/model.h"

struct sampler_params {
    float temperature;    /* >= 0 */
    float top_p;          /* (0, 1]; 1 is off */
    float min_p;          /* [0, 1); 0 is off */
    int32_t top_k;        /* 0 is off */
    float repeat_penalty; /* 1 is off */
    int32_t repeat_last_n;
    uint64_t seed;
};

struct sampler;
struct sampler *sampler_create(const struct sampler_params *params, uint32_t n_vocab);
void sampler_free(struct sampler *s);

/* Draws the next token; `grammar` may be NULL.  The token is not accepted yet. */
model_token sampler_draw(struct sampler *s, const struct model *m, const float *logits,
                         struct grammar *grammar);

/* The same among the tokens that do not end a reply: neither an end of generation nor `turn_begin`,
 * which begins the next turn (MODEL_NO_TOKEN: none). */
model_token sampler_draw_inside(struct sampler *s, const struct model *m, const float *logits,
                                struct grammar *grammar, model_token turn_begin);

/* Makes `token` part of the history (and of the grammar's state). */
void sampler_accept(struct sampler *s, const struct model *m, model_token token,
                    struct grammar *grammar);
