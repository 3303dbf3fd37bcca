/* persist -- between the pool and the store on disk: what goes out, and what comes back.
 *
 * Out: blocks of idle leaves, one at a time, once the scheduler has had nothing to do for a while;
 * whatever is missing of a leaf that must go for room; the rest when the server stops.  A block is
 * copied out of the pool here and written by the store's thread.
 *
 * Back: while a prompt is read, wherever the next tokens of it lie on disk they are taken from
 * there instead of being computed, whole blocks or the common beginning of one.
 *
 * A model that can't share prefixes has no blocks: all of a leaf goes out as one snapshot, under
 * the key of its last block, and comes back into an empty leaf of a prompt that goes on from there.
 *
 * What it is not: it computes nothing and admits nobody.  All of it does nothing where there is no
 * store.  Owner: the scheduler thread. */
#pragma once

#include "cache/kvstore.h"
#include "cache/prefix.h"

struct persist;

struct persist_options {
    unsigned idle_ms; /* without work, before blocks are copied out */
};

/* Borrows all three; `store` may be NULL.  Takes the leaves' on_drop. */
struct persist *persist_create(struct model *m, struct prefix *p, struct kvstore *store,
                               const struct persist_options *options);
void persist_destroy(struct persist *ps);

/* The scheduler has worked: the time without work begins anew. */
void persist_note_work(struct persist *ps);

/* In a step without work: copies out one block.  False where there is nothing to do now. */
bool persist_rest(struct persist *ps);

/* Continues a pinned leaf with tokens of its prompt that are on disk, for some milliseconds and up
 * to the last but one.  Returns how many tokens the leaf has gained; 0: the next are not there, or
 * there is no room for them. */
size_t persist_restore(struct persist *ps, struct prefix_leaf *leaf, const model_token *tokens,
                       size_t n_tokens);

/* Copies out all that is missing of idle leaves, for at most so long.  Waits for the disk after
 * each block, so that no more than one is held in memory: this may be the end of a server that
 * stops for want of it. */
void persist_flush(struct persist *ps, unsigned timeout_ms);
