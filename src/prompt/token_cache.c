#include "prompt/token_cache.h"

#include <pthread.h>

#include "base/hash.h"

enum {
    BUCKETS = 8192,
    WORTH_BYTES = 32, /* shorter segments are tokenised faster than looked up */
    SEED_LOW = 1,
    SEED_HIGH = 2,
};

struct entry {
    struct entry *next_in_bucket;
    struct entry *newer, *older; /* in order of use */
    uint64_t low, high;
    size_t text_bytes;
    bool parse_special;
    size_t n;
    model_token tokens[];
};

/* `mutex` guards everything below it; tokenising happens outside it. */
struct token_cache {
    size_t limit_bytes;
    pthread_mutex_t mutex;
    size_t used_bytes;
    struct entry *newest, *oldest;
    struct entry *buckets[BUCKETS];
};

struct token_cache *token_cache_create(size_t limit_bytes)
{
    struct token_cache *c = mem_zalloc(sizeof *c);
    c->limit_bytes = limit_bytes;
    pthread_mutex_init(&c->mutex, NULL);
    return c;
}

void token_cache_destroy(struct token_cache *c)
{
    if (c == NULL)
        return;
    for (struct entry *e = c->newest; e != NULL;) {
        struct entry *older = e->older;
        mem_free(e);
        e = older;
    }
    pthread_mutex_destroy(&c->mutex);
    mem_free(c);
}

static size_t entry_bytes(size_t n)
{
    return sizeof(struct entry) + n * sizeof(model_token);
}

static void unlink_use(struct token_cache *c, struct entry *e)
{
    *(e->newer != NULL ? &e->newer->older : &c->newest) = e->older;
    *(e->older != NULL ? &e->older->newer : &c->oldest) = e->newer;
}

static void link_newest(struct token_cache *c, struct entry *e)
{
    e->newer = NULL;
    e->older = c->newest;
    *(c->newest != NULL ? &c->newest->newer : &c->oldest) = e;
    c->newest = e;
}

static struct entry **find(struct token_cache *c, const struct entry *key)
{
    struct entry **at = &c->buckets[key->low % BUCKETS];
    while (*at != NULL &&
           ((*at)->low != key->low || (*at)->high != key->high ||
            (*at)->text_bytes != key->text_bytes || (*at)->parse_special != key->parse_special))
        at = &(*at)->next_in_bucket;
    return at;
}

static void drop_oldest(struct token_cache *c)
{
    struct entry *e = c->oldest;
    *find(c, e) = e->next_in_bucket;
    unlink_use(c, e);
    c->used_bytes -= entry_bytes(e->n);
    mem_free(e);
}

static bool append(const model_token *from, size_t n, model_token **tokens, size_t *count,
                   size_t *capacity)
{
    if (n > *capacity - *count) {
        size_t wanted = *capacity < 1024 ? 1024 : *capacity * 2;
        if (wanted < *count + n)
            wanted = *count + n;
        model_token *grown = mem_try_realloc(*tokens, mem_array_bytes(wanted, sizeof **tokens));
        if (grown == NULL)
            return false;
        *tokens = grown;
        *capacity = wanted;
    }
    if (n > 0)
        memcpy(*tokens + *count, from, n * sizeof **tokens);
    *count += n;
    return true;
}

static void remember(struct token_cache *c, const struct entry *key, const model_token *tokens,
                     size_t n)
{
    size_t bytes = entry_bytes(n);
    if (bytes > c->limit_bytes / 4)
        return;
    struct entry *e = mem_try_alloc(bytes);
    if (e == NULL)
        return;
    *e = *key;
    e->n = n;
    memcpy(e->tokens, tokens, n * sizeof *tokens);

    pthread_mutex_lock(&c->mutex);
    struct entry **at = find(c, key);
    if (*at != NULL) { /* another thread was faster */
        mem_free(e);
    } else {
        e->next_in_bucket = NULL;
        *at = e;
        link_newest(c, e);
        c->used_bytes += bytes;
        while (c->used_bytes > c->limit_bytes)
            drop_oldest(c);
    }
    pthread_mutex_unlock(&c->mutex);
}

enum status token_cache_append(struct token_cache *c, const struct model *m, struct str text,
                               bool parse_special, model_token **tokens, size_t *n,
                               size_t *capacity)
{
    struct entry key = {.text_bytes = text.len, .parse_special = parse_special};
    bool is_worth_it = text.len >= WORTH_BYTES;
    if (is_worth_it) {
        key.low = hash_xxh3(text.ptr, text.len, SEED_LOW);
        key.high = hash_xxh3(text.ptr, text.len, SEED_HIGH);
        pthread_mutex_lock(&c->mutex);
        struct entry *hit = *find(c, &key);
        bool is_appended = hit != NULL && append(hit->tokens, hit->n, tokens, n, capacity);
        if (hit != NULL) {
            unlink_use(c, hit);
            link_newest(c, hit);
        }
        pthread_mutex_unlock(&c->mutex);
        if (hit != NULL)
            return is_appended ? STATUS_OK : STATUS_NO_MEMORY;
    }

    model_token *fresh;
    size_t n_fresh;
    enum status st = model_tokenize(m, text, parse_special, &fresh, &n_fresh);
    if (st != STATUS_OK)
        return st;
    if (!append(fresh, n_fresh, tokens, n, capacity))
        st = STATUS_NO_MEMORY;
    else if (is_worth_it)
        remember(c, &key, fresh, n_fresh);
    mem_free(fresh);
    return st;
}
