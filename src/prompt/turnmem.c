#include "prompt/turnmem.h"

enum { BLOCK_TOKENS = 256 };

struct turnmem {
    struct token_lists *lists;
    turnmem_keeper *keeper;
    void *keeper_arg;
};

struct turnmem *turnmem_create(size_t limit_bytes)
{
    struct turnmem *m = mem_zalloc(sizeof *m);
    m->lists = token_lists_create(limit_bytes);
    return m;
}

void turnmem_destroy(struct turnmem *m)
{
    if (m == NULL)
        return;
    token_lists_destroy(m->lists);
    mem_free(m);
}

void turnmem_set_keeper(struct turnmem *m, turnmem_keeper *keeper, void *arg)
{
    m->keeper = keeper;
    m->keeper_arg = arg;
}

void turnmem_put_back(struct turnmem *m, const struct token_key *key, const model_token *tokens,
                      size_t n)
{
    if (n >= 1 && n <= TURNMEM_MOST_TOKENS)
        token_lists_put(m->lists, key, tokens, n);
}

void turnmem_put(struct turnmem *m, const struct token_key *key, const model_token *tokens,
                 size_t n)
{
    turnmem_put_back(m, key, tokens, n);
    if (m->keeper != NULL && n >= 1 && n <= TURNMEM_MOST_TOKENS)
        m->keeper(m->keeper_arg, key, tokens, n);
}

enum status turnmem_append(struct turnmem *m, const struct token_key *key, struct token_list *out)
{
    return token_lists_append(m->lists, key, out);
}

/* ---- Places ---- */

void turn_place_begin(struct turn_place *p, uint64_t namespace_key)
{
    struct sha256 *h = sha256_create();
    sha256_update(h, &namespace_key, sizeof namespace_key);
    sha256_finish(h, p->chain);
    p->n_chained = 0;
}

static void chain_block(struct turn_place *p, const model_token *tokens)
{
    struct sha256 *h = sha256_create();
    sha256_update(h, p->chain, sizeof p->chain);
    sha256_update(h, tokens + p->n_chained, BLOCK_TOKENS * sizeof *tokens);
    sha256_finish(h, p->chain);
    p->n_chained += BLOCK_TOKENS;
}

struct token_key turn_place_key(struct turn_place *p, const model_token *tokens, size_t n,
                                const unsigned char digest[SHA256_BYTES], struct str reasoning)
{
    INVARIANT(n >= p->n_chained);
    while (n - p->n_chained >= BLOCK_TOKENS)
        chain_block(p, tokens);
    uint64_t n_left = n - p->n_chained;
    unsigned char whole[SHA256_BYTES];
    struct sha256 *h = sha256_create();
    sha256_update(h, p->chain, sizeof p->chain);
    sha256_update(h, &n_left, sizeof n_left);
    if (n_left > 0)
        sha256_update(h, tokens + p->n_chained, n_left * sizeof *tokens);
    sha256_update(h, digest, SHA256_BYTES);
    reasoning = str_trim(reasoning);
    if (reasoning.len > 0)
        sha256_update(h, reasoning.ptr, reasoning.len);
    sha256_finish(h, whole);
    struct token_key key;
    memcpy(key.bytes, whole, sizeof key.bytes);
    return key;
}
