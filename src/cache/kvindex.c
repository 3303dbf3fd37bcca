/* kvindex -- see kvindex.h.  Entries lie in one array; two tables of chains through it. */
#include "cache/kvindex.h"

#include <stdlib.h>

#include "base/mem.h"

enum {
    N_BUCKETS = 16 * 1024,
    FIRST_CAPACITY = 256,
    /* Names are taken from the folder as they are, so a chain that never ends can't be ruled out:
     * walks end here.  Four million tokens are more than any window. */
    MOST_DEPTH = 16 * 1024,
};

static const uint32_t no_entry = UINT32_MAX;

/* The rank of a block that is not written yet, and so of all that it continues: later than any. */
static const int64_t on_its_way = INT64_MAX / 2;

struct kvindex {
    struct kvindex_entry *entries; /* [n_slots] in use or free, of [capacity] */
    uint32_t n_slots, capacity, most;
    uint32_t free_slot; /* chained by next_by_key */
    uint32_t n_entries;
    uint64_t n_bytes;
    uint32_t by_key[N_BUCKETS];
    uint32_t by_parent[N_BUCKETS];
};

/* Keys are hashes: any of their bits will do. */
static uint32_t bucket_of(uint64_t key_short)
{
    return (uint32_t)(key_short % N_BUCKETS);
}

struct kvindex *kvindex_create(uint32_t most_entries)
{
    struct kvindex *ix = mem_zalloc(sizeof *ix);
    ix->most = most_entries;
    ix->free_slot = no_entry;
    for (size_t i = 0; i < N_BUCKETS; i++)
        ix->by_key[i] = ix->by_parent[i] = no_entry;
    return ix;
}

void kvindex_destroy(struct kvindex *ix)
{
    if (ix == NULL)
        return;
    mem_free(ix->entries);
    mem_free(ix);
}

struct kvindex_entry *kvindex_find(struct kvindex *ix, const struct kv_key *key)
{
    uint32_t at = ix->by_key[bucket_of(kv_key_short(key))];
    while (at != no_entry && !kv_key_equal(&ix->entries[at].key, key))
        at = ix->entries[at].next_by_key;
    return at != no_entry ? &ix->entries[at] : NULL;
}

/* By the short key only: good enough for the order of eviction, which nothing true depends on. */
static struct kvindex_entry *find_short(struct kvindex *ix, uint64_t key_short)
{
    uint32_t at = ix->by_key[bucket_of(key_short)];
    while (at != no_entry && kv_key_short(&ix->entries[at].key) != key_short)
        at = ix->entries[at].next_by_key;
    return at != no_entry ? &ix->entries[at] : NULL;
}

static uint32_t take_slot(struct kvindex *ix)
{
    if (ix->free_slot != no_entry) {
        uint32_t slot = ix->free_slot;
        ix->free_slot = ix->entries[slot].next_by_key;
        return slot;
    }
    if (ix->n_slots == ix->capacity) {
        uint32_t capacity = ix->capacity > 0 ? 2 * ix->capacity : FIRST_CAPACITY;
        ix->entries = mem_realloc(ix->entries, mem_array_bytes(capacity, sizeof *ix->entries));
        ix->capacity = capacity;
    }
    return ix->n_slots++;
}

struct kvindex_entry *kvindex_add(struct kvindex *ix, const struct kv_key *key,
                                  uint64_t parent_short, uint64_t bytes, int64_t used_at)
{
    INVARIANT(kvindex_find(ix, key) == NULL);
    if (ix->n_entries >= ix->most)
        return NULL;
    uint32_t slot = take_slot(ix);
    uint32_t *by_key = &ix->by_key[bucket_of(kv_key_short(key))];
    uint32_t *by_parent = &ix->by_parent[bucket_of(parent_short)];
    ix->entries[slot] = (struct kvindex_entry){
        .key = *key,
        .parent_short = parent_short,
        .bytes = bytes,
        .used_at = used_at,
        .is_used = true,
        .next_by_key = *by_key,
        .next_by_parent = *by_parent,
    };
    *by_key = *by_parent = slot;
    ix->n_entries++;
    ix->n_bytes += bytes;
    return &ix->entries[slot];
}

void kvindex_remove(struct kvindex *ix, const struct kv_key *key)
{
    struct kvindex_entry *e = kvindex_find(ix, key);
    if (e == NULL)
        return;
    uint32_t slot = (uint32_t)(e - ix->entries);
    uint32_t *link = &ix->by_key[bucket_of(kv_key_short(key))];
    while (*link != slot)
        link = &ix->entries[*link].next_by_key;
    *link = e->next_by_key;
    link = &ix->by_parent[bucket_of(e->parent_short)];
    while (*link != slot)
        link = &ix->entries[*link].next_by_parent;
    *link = e->next_by_parent;

    ix->n_entries--;
    ix->n_bytes -= e->bytes;
    *e = (struct kvindex_entry){.next_by_key = ix->free_slot};
    ix->free_slot = slot;
}

/* The first of the chain from `at` on that has this parent. */
static struct kvindex_entry *child_from(struct kvindex *ix, uint32_t at, uint64_t parent_short)
{
    while (at != no_entry && ix->entries[at].parent_short != parent_short)
        at = ix->entries[at].next_by_parent;
    return at != no_entry ? &ix->entries[at] : NULL;
}

struct kvindex_entry *kvindex_first_child(struct kvindex *ix, uint64_t parent_short)
{
    return child_from(ix, ix->by_parent[bucket_of(parent_short)], parent_short);
}

struct kvindex_entry *kvindex_next_child(struct kvindex *ix, const struct kvindex_entry *entry)
{
    return child_from(ix, entry->next_by_parent, entry->parent_short);
}

uint32_t kvindex_count(const struct kvindex *ix)
{
    return ix->n_entries;
}

uint64_t kvindex_bytes(const struct kvindex *ix)
{
    return ix->n_bytes;
}

/* ---- The order of eviction ---- */

static struct kvindex_entry *parent_of(struct kvindex *ix, const struct kvindex_entry *e)
{
    return find_short(ix, e->parent_short);
}

/* What continues `e` makes it as recent as itself.  Stops where that is known already. */
static void raise_ancestors(struct kvindex *ix, struct kvindex_entry *e)
{
    int64_t rank_at = e->rank_at;
    struct kvindex_entry *up = parent_of(ix, e);
    for (int i = 0; up != NULL && up->rank_at < rank_at && i < MOST_DEPTH; i++) {
        up->rank_at = rank_at;
        up = parent_of(ix, up);
    }
}

static void mark_shared(struct kvindex *ix, struct kvindex_entry *e)
{
    for (; e != NULL && !e->is_shared; e = parent_of(ix, e))
        e->is_shared = true;
}

static uint32_t depth_of(struct kvindex *ix, const struct kvindex_entry *e)
{
    uint32_t depth = 0;
    for (struct kvindex_entry *up = parent_of(ix, e); up != NULL && depth < MOST_DEPTH;
         up = parent_of(ix, up)) {
        depth++;
        if (up->depth > 0)
            return depth + up->depth;
    }
    return depth;
}

static void rank_all(struct kvindex *ix)
{
    for (uint32_t i = 0; i < ix->n_slots; i++) {
        struct kvindex_entry *e = &ix->entries[i];
        e->rank_at = e->is_written ? e->used_at : on_its_way;
        e->depth = e->n_children = 0;
        e->is_shared = false;
    }
    for (uint32_t i = 0; i < ix->n_slots; i++) {
        struct kvindex_entry *e = &ix->entries[i];
        if (!e->is_used)
            continue;
        raise_ancestors(ix, e);
        e->depth = depth_of(ix, e);
        struct kvindex_entry *parent = parent_of(ix, e);
        if (parent != NULL && ++parent->n_children == 2)
            mark_shared(ix, parent);
    }
    for (uint32_t i = 0; i < ix->n_slots; i++)
        if (ix->entries[i].is_shared)
            ix->entries[i].rank_at += KVINDEX_SHARED_BONUS_S;
}

static int goes_before(const void *a, const void *b)
{
    const struct kvindex_entry *x = *(const struct kvindex_entry *const *)a;
    const struct kvindex_entry *y = *(const struct kvindex_entry *const *)b;
    if (x->rank_at != y->rank_at)
        return x->rank_at < y->rank_at ? -1 : 1;
    if (x->depth != y->depth)
        return x->depth > y->depth ? -1 : 1;
    return memcmp(x->key.bytes, y->key.bytes, sizeof x->key.bytes);
}

struct kv_key *kvindex_order(struct kvindex *ix, size_t *out_n)
{
    const struct kvindex_entry **order =
        mem_try_alloc(mem_array_bytes(ix->n_entries + 1, sizeof *order));
    struct kv_key *keys = mem_try_alloc(mem_array_bytes(ix->n_entries + 1, sizeof *keys));
    if (order == NULL || keys == NULL) {
        mem_free(order);
        mem_free(keys);
        return NULL;
    }
    rank_all(ix);
    size_t n = 0;
    for (uint32_t i = 0; i < ix->n_slots; i++)
        if (ix->entries[i].is_used && ix->entries[i].is_written)
            order[n++] = &ix->entries[i];
    qsort(order, n, sizeof *order, goes_before);
    for (size_t i = 0; i < n; i++)
        keys[i] = order[i]->key;
    mem_free(order);
    *out_n = n;
    return keys;
}

void kvindex_check(struct kvindex *ix)
{
    uint64_t n_bytes = 0;
    uint32_t n_entries = 0;
    for (uint32_t i = 0; i < ix->n_slots; i++) {
        const struct kvindex_entry *e = &ix->entries[i];
        if (!e->is_used)
            continue;
        n_entries++;
        n_bytes += e->bytes;
        INVARIANT(kvindex_find(ix, &e->key) == e); /* 1 */
        const struct kvindex_entry *child = kvindex_first_child(ix, e->parent_short);
        while (child != NULL && child != e)
            child = kvindex_next_child(ix, child);
        INVARIANT(child == e); /* 1 */
    }
    INVARIANT(n_entries == ix->n_entries && n_bytes == ix->n_bytes); /* 2 */
}
