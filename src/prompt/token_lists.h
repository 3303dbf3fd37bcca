/* token_lists -- lists of tokens by a 16-byte key, the least recently used of them dropped.
 *
 * What token_cache (segments of prompts) and turnmem (replies) have in common.  The keys are hashes
 * that their makers vouch for: equal keys are taken for equal things.
 *
 * Invariants: the bytes of all lists and their heads are at most the limit; one list takes at most
 * a quarter of it.  Any thread; nothing is computed or called back under its mutex. */
#pragma once

#include "model/model.h"

enum { TOKEN_KEY_BYTES = 16 };

struct token_key {
    unsigned char bytes[TOKEN_KEY_BYTES];
};

/* A growing array of tokens: the caller's, freed with mem_free(tokens). */
struct token_list {
    model_token *tokens;
    size_t n, capacity;
};

MUST_USE bool token_list_append(struct token_list *list, const model_token *tokens, size_t n);

struct token_lists;

struct token_lists *token_lists_create(size_t limit_bytes);
void token_lists_destroy(struct token_lists *l);

/* Keeps a copy of tokens[0..n) under `key`, in the place of what was there; not where the list is
 * too long or memory is short. */
void token_lists_put(struct token_lists *l, const struct token_key *key, const model_token *tokens,
                     size_t n);

/* Appends what is kept under `key` to `out`; it counts as used.  STATUS_NOT_FOUND;
 * STATUS_NO_MEMORY, `out` unchanged. */
MUST_USE enum status token_lists_append(struct token_lists *l, const struct token_key *key,
                                        struct token_list *out);
