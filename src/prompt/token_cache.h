/* token_cache -- tokens of text segments, by hash: a prompt's segments come back with every
 * request.
 *
 * Keyed by 128 bits of XXH3 over the text, and whether special tokens were parsed.  Bounded in
 * bytes; the least recently used go.  Any thread. */
#pragma once

#include "prompt/token_lists.h"

struct token_cache;

struct token_cache *token_cache_create(size_t limit_bytes);
void token_cache_destroy(struct token_cache *c);

/* Appends the tokens of `text` to `out`. */
MUST_USE enum status token_cache_append(struct token_cache *c, const struct model *m,
                                        struct str text, bool parse_special,
                                        struct token_list *out);
