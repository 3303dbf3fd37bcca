/* turnmem -- the tokens that the model sampled, for when its reply comes back.
 *
 * A client sends a reply back changed but equal in meaning (reply_form.h).  Rendered anew it would
 * be other tokens than those whose cells lie in the pool, and all behind it would be computed
 * again.  So render asks here, at the place where a reply stands, for the tokens that were sampled
 * there, and uses them instead.
 *
 * The key of a reply is a hash of namespace, all tokens before it, its digest and its reasoning:
 * what comes out was sampled for this very prompt, by this model, for this API key, and meant the
 * same.  An edited reply, or an edit anywhere before it, has another key.
 *
 * What is put is also handed to a keeper, which may write it to disk, and puts it back at the next
 * start.  Bounded; the least recently used go.  Any thread. */
#pragma once

#include "base/hash.h"
#include "prompt/token_lists.h"

enum { TURNMEM_MOST_TOKENS = 64 * 1024 }; /* of one reply; longer ones are not remembered */

struct turnmem;

struct turnmem *turnmem_create(size_t limit_bytes);
void turnmem_destroy(struct turnmem *m);

/* Called with each turnmem_put from then on, on its thread.  Set before other threads put. */
typedef void turnmem_keeper(void *arg, const struct token_key *key, const model_token *tokens,
                            size_t n);
void turnmem_set_keeper(struct turnmem *m, turnmem_keeper *keeper, void *arg);

/* n in 1 .. TURNMEM_MOST_TOKENS, else nothing happens. */
void turnmem_put(struct turnmem *m, const struct token_key *key, const model_token *tokens,
                 size_t n);

/* The same for what the keeper has kept: it is not told again. */
void turnmem_put_back(struct turnmem *m, const struct token_key *key, const model_token *tokens,
                      size_t n);

/* Appends the tokens of a reply.  STATUS_NOT_FOUND, STATUS_NO_MEMORY: nothing is appended. */
MUST_USE enum status turnmem_append(struct turnmem *m, const struct token_key *key,
                                    struct token_list *out);

/* Where in a conversation a reply stands: goes along with the tokens of one prompt, so that the
 * keys of all its replies cost one hash over it. */
struct turn_place {
    unsigned char chain[SHA256_BYTES]; /* of namespace and whole blocks of tokens */
    size_t n_chained;
};

void turn_place_begin(struct turn_place *p, uint64_t namespace_key);

/* The key of a reply behind tokens[0..n), which begin with those given before. */
struct token_key turn_place_key(struct turn_place *p, const model_token *tokens, size_t n,
                                const unsigned char digest[SHA256_BYTES], struct str reasoning);
