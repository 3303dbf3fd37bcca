#include "prompt/token_cache.h"

#include "base/hash.h"

enum {
    WORTH_BYTES = 32, /* shorter segments are tokenised faster than looked up */
    SEED_LOW = 1,
    SEED_HIGH = 2,
    SEED_SPECIAL = 4, /* added to both where special tokens are parsed */
};

struct token_cache {
    struct token_lists *lists;
};

struct token_cache *token_cache_create(size_t limit_bytes)
{
    struct token_cache *c = mem_zalloc(sizeof *c);
    c->lists = token_lists_create(limit_bytes);
    return c;
}

void token_cache_destroy(struct token_cache *c)
{
    if (c == NULL)
        return;
    token_lists_destroy(c->lists);
    mem_free(c);
}

static struct token_key key_of(struct str text, bool parse_special)
{
    uint64_t seed = parse_special ? SEED_SPECIAL : 0;
    uint64_t halves[] = {hash_xxh3(text.ptr, text.len, seed + SEED_LOW),
                         hash_xxh3(text.ptr, text.len, seed + SEED_HIGH)};
    struct token_key key;
    _Static_assert(sizeof halves == sizeof key.bytes, "two halves make a key");
    memcpy(key.bytes, halves, sizeof halves);
    return key;
}

enum status token_cache_append(struct token_cache *c, const struct model *m, struct str text,
                               bool parse_special, struct token_list *out)
{
    struct token_key key = {0};
    bool is_worth_it = text.len >= WORTH_BYTES;
    if (is_worth_it) {
        key = key_of(text, parse_special);
        enum status st = token_lists_append(c->lists, &key, out);
        if (st != STATUS_NOT_FOUND)
            return st;
    }

    model_token *fresh;
    size_t n_fresh;
    enum status st = model_tokenize(m, text, parse_special, &fresh, &n_fresh);
    if (st != STATUS_OK)
        return st;
    if (!token_list_append(out, fresh, n_fresh))
        st = STATUS_NO_MEMORY;
    else if (is_worth_it)
        token_lists_put(c->lists, &key, fresh, n_fresh);
    mem_free(fresh);
    return st;
}
