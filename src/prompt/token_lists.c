#include "prompt/token_lists.h"

#include <pthread.h>
#include <stdint.h>

enum {
    BUCKETS = 8192,
    FIRST_CAPACITY = 1024,
};

struct entry {
    struct entry *next_in_bucket;
    struct entry *newer, *older; /* in order of use */
    struct token_key key;
    size_t n;
    model_token tokens[];
};

/* `mutex` guards everything below it. */
struct token_lists {
    size_t limit_bytes;
    pthread_mutex_t mutex;
    size_t used_bytes;
    struct entry *newest, *oldest;
    struct entry *buckets[BUCKETS];
};

bool token_list_append(struct token_list *list, const model_token *tokens, size_t n)
{
    if (n > list->capacity - list->n) {
        size_t wanted = list->capacity == 0 ? FIRST_CAPACITY : list->capacity * 2;
        if (wanted < list->n + n)
            wanted = list->n + n;
        model_token *grown =
            mem_try_realloc(list->tokens, mem_array_bytes(wanted, sizeof *list->tokens));
        if (grown == NULL)
            return false;
        list->tokens = grown;
        list->capacity = wanted;
    }
    if (n > 0)
        memcpy(list->tokens + list->n, tokens, n * sizeof *list->tokens);
    list->n += n;
    return true;
}

struct token_lists *token_lists_create(size_t limit_bytes)
{
    struct token_lists *l = mem_zalloc(sizeof *l);
    l->limit_bytes = limit_bytes;
    pthread_mutex_init(&l->mutex, NULL);
    return l;
}

void token_lists_destroy(struct token_lists *l)
{
    if (l == NULL)
        return;
    for (struct entry *e = l->newest; e != NULL;) {
        struct entry *older = e->older;
        mem_free(e);
        e = older;
    }
    pthread_mutex_destroy(&l->mutex);
    mem_free(l);
}

static size_t entry_bytes(size_t n)
{
    return sizeof(struct entry) + n * sizeof(model_token);
}

static void unlink_use(struct token_lists *l, struct entry *e)
{
    *(e->newer != NULL ? &e->newer->older : &l->newest) = e->older;
    *(e->older != NULL ? &e->older->newer : &l->oldest) = e->newer;
}

static void link_newest(struct token_lists *l, struct entry *e)
{
    e->newer = NULL;
    e->older = l->newest;
    *(l->newest != NULL ? &l->newest->newer : &l->oldest) = e;
    l->newest = e;
}

/* Keys are hashes: any of their bytes are as good as a hash of them. */
static struct entry **find(struct token_lists *l, const struct token_key *key)
{
    uint64_t some;
    memcpy(&some, key->bytes, sizeof some);
    struct entry **at = &l->buckets[some % BUCKETS];
    while (*at != NULL && memcmp(&(*at)->key, key, sizeof *key) != 0)
        at = &(*at)->next_in_bucket;
    return at;
}

/* The entry at `at`, taken out: the caller frees it. */
static struct entry *take_out(struct token_lists *l, struct entry **at)
{
    struct entry *e = *at;
    *at = e->next_in_bucket;
    unlink_use(l, e);
    l->used_bytes -= entry_bytes(e->n);
    return e;
}

void token_lists_put(struct token_lists *l, const struct token_key *key, const model_token *tokens,
                     size_t n)
{
    size_t bytes = entry_bytes(n);
    if (bytes > l->limit_bytes / 4)
        return;
    struct entry *e = mem_try_alloc(bytes);
    if (e == NULL)
        return;
    *e = (struct entry){.key = *key, .n = n};
    if (n > 0)
        memcpy(e->tokens, tokens, n * sizeof *tokens);

    pthread_mutex_lock(&l->mutex);
    struct entry **at = find(l, key);
    if (*at != NULL)
        mem_free(take_out(l, at));
    e->next_in_bucket = *at;
    *at = e;
    link_newest(l, e);
    l->used_bytes += bytes;
    while (l->used_bytes > l->limit_bytes)
        mem_free(take_out(l, find(l, &l->oldest->key)));
    pthread_mutex_unlock(&l->mutex);
}

enum status token_lists_append(struct token_lists *l, const struct token_key *key,
                               struct token_list *out)
{
    enum status st = STATUS_NOT_FOUND;
    pthread_mutex_lock(&l->mutex);
    struct entry *hit = *find(l, key);
    if (hit != NULL) {
        st = token_list_append(out, hit->tokens, hit->n) ? STATUS_OK : STATUS_NO_MEMORY;
        unlink_use(l, hit);
        link_newest(l, hit);
    }
    pthread_mutex_unlock(&l->mutex);
    return st;
}
