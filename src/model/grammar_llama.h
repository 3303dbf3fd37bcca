/* grammar_llama -- libllama's GBNF grammars behind C functions that never throw.
 *
 * Only for model_llama.c.  libllama's grammar code reports impossible states by exceptions, which
 * must not pass through C.  C++ files include our headers inside extern "C". */
#pragma once

#include "model/model.h"

struct llama_vocab;

/* What masks need to know of a vocabulary; some milliseconds' work, once for each model. */
struct token_starts;
struct token_starts *token_starts_create(const struct llama_vocab *vocab);
void token_starts_free(struct token_starts *starts);

/* NULL, with a log line, where there is nothing to hold the reply to.  Borrows all of them. */
struct grammar *grammar_llama_create(const struct llama_vocab *vocab,
                                     const struct token_starts *starts,
                                     const struct grammar_spec *spec);
void grammar_llama_free(struct grammar *g);
bool grammar_llama_allows(struct grammar *g, model_token token);
void grammar_llama_mask(struct grammar *g, float *logits, uint32_t n_vocab);
void grammar_llama_accept(struct grammar *g, model_token token);
bool grammar_llama_in_call(struct grammar *g);
bool grammar_llama_in_scaffold(const struct grammar *g);
