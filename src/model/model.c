#include "model/model.h"

/* A tokenizer never makes more tokens than the text has bytes, but for the few that some
 * vocabularies put in front (a space, a prefix). */
enum { EXTRA_TOKENS = 16 };

enum status model_tokenize(const struct model *m, struct str text, bool parse_special,
                           model_token **out, size_t *out_n)
{
    size_t capacity = text.len + EXTRA_TOKENS;
    model_token *tokens = mem_try_alloc(mem_array_bytes(capacity, sizeof *tokens));
    if (tokens == NULL)
        return STATUS_NO_MEMORY;
    size_t n = 0;
    enum status st = m->ops->tokenize(m, text, parse_special, tokens, capacity, &n);
    if (st != STATUS_OK) {
        mem_free(tokens);
        return st;
    }

    /* Text has about four bytes per token: give the rest back, since callers keep the array. */
    model_token *fitted = mem_try_realloc(tokens, mem_array_bytes(n > 0 ? n : 1, sizeof *tokens));
    *out = fitted != NULL ? fitted : tokens;
    *out_n = n;
    return STATUS_OK;
}
