/* kvindex -- which blocks the folder of the store holds: found by key and by parent, and in which
 * order they may go.
 *
 * What it is not: it reads no file and knows no clock.  Owner: whoever holds the store's mutex.
 *
 * Order of eviction.  The least recently used block goes first, but
 *  - a block is at least as recent as the blocks that continue it, since those are of no use
 *    without it; of equal ones the deepest goes first, so that a prompt loses its end and not its
 *    beginning.  What a block on its way continues goes last;
 *  - a block that several prompts continue, and all that it continues itself (system prompts and
 *    tools, that is), counts as used KVINDEX_SHARED_BONUS_S later than it was.
 *
 * Invariants (kvindex_check walks them):
 *  1. every entry is found by its key, once, and among the children of its parent;
 *  2. n_bytes is the sum of the entries' bytes. */
#pragma once

#include "cache/kvfile.h"

enum {
    KVINDEX_SHARED_BONUS_S = 7 * 24 * 3600,
};

struct kvindex_entry {
    struct kv_key key;
    uint64_t parent_short;
    uint64_t bytes;  /* of its file */
    int64_t used_at; /* wall clock, seconds */
    bool is_written; /* the file is there; else it is on its way */

    /* The index's own. */
    uint32_t next_by_key, next_by_parent;
    int64_t rank_at;
    uint32_t depth, n_children;
    bool is_used, is_shared;
};

struct kvindex;

struct kvindex *kvindex_create(uint32_t most_entries);
void kvindex_destroy(struct kvindex *ix);

/* NULL where there is none.  Pointers to entries are valid until the next kvindex_add. */
struct kvindex_entry *kvindex_find(struct kvindex *ix, const struct kv_key *key);

/* The key is new.  NULL when the index is full. */
struct kvindex_entry *kvindex_add(struct kvindex *ix, const struct kv_key *key,
                                  uint64_t parent_short, uint64_t bytes, int64_t used_at);
void kvindex_remove(struct kvindex *ix, const struct kv_key *key);

/* The blocks that continue a parent, the newest first: the first of them, and the one after. */
struct kvindex_entry *kvindex_first_child(struct kvindex *ix, uint64_t parent_short);
struct kvindex_entry *kvindex_next_child(struct kvindex *ix, const struct kvindex_entry *entry);

uint32_t kvindex_count(const struct kvindex *ix);
uint64_t kvindex_bytes(const struct kvindex *ix);

/* Keys of all written blocks, the first to go first: a fresh array (mem_free); n in *out_n.  NULL
 * where there is no memory for it. */
struct kv_key *kvindex_order(struct kvindex *ix, size_t *out_n);

/* Walks everything and aborts where an invariant does not hold.  For tests. */
void kvindex_check(struct kvindex *ix);
