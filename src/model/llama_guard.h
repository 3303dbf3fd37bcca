/* llama_guard -- the calls into libllama that are made with a client's bytes, safe for C.
 *
 * Only for model_llama.c.  libllama is C++ behind a C face that does not catch: an exception (no
 * memory for a batch, a tokenizer's regular expression that gives up) would pass through our C
 * frames and end the program.  Here it becomes the call's own error code. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct llama_batch;
struct llama_context;
struct llama_vocab;

/* The number of tokens, or a negative number where they do not fit or the tokenizer failed. */
int32_t llama_guard_tokenize(const struct llama_vocab *vocab, const char *text, int32_t text_len,
                             int32_t *tokens, int32_t capacity, bool parse_special);

/* What llama_decode() returns; INT32_MIN where it threw. */
int32_t llama_guard_decode(struct llama_context *context, const struct llama_batch *batch);
