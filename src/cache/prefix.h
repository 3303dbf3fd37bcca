/* prefix -- which token prefixes are in the KV pool, and in which sequence.
 *
 * First form: a list of live sequences (leaves), each with its tokens.  A new prompt takes the
 * longest common prefix of any of them of the same namespace, running ones included, by sharing its
 * cells (seq_copy).  Sequences of ended turns stay as idle leaves until their cells or ids are
 * needed; then the least important goes (prefix_leaf_claim), of these the least recently used.
 *
 * A model that can't share prefixes (info.can_share_prefix) lends only whole idle leaves, and only
 * to prompts that are longer.
 *
 * What it is not: not the store on disk, and it computes nothing.  Who keeps leaves elsewhere
 * (sched/persist) is told before one goes whose content no other leaf has, and may note on each
 * that all of it is kept.  Owner: the scheduler thread.
 *
 * Invariants (prefix_check walks them):
 *  1. every sequence id is either free or belongs to exactly one leaf;
 *  2. a leaf's tokens are exactly the positions 0..n-1 that the model holds for its sequence;
 *  3. a pinned leaf (a running job) is never evicted;
 *  4. the cells counted as used are exactly those that the model uses, each once however many
 *     sequences share it, and never exceed the pool. */
#pragma once

#include "model/model.h"

struct prefix;
struct prefix_leaf; /* one sequence; the scheduler extends it while its job runs */

enum {
    PREFIX_KEEP_TOKENS = 16, /* a shorter idle leaf is not worth a sequence id */
};

struct prefix *prefix_create(struct model *m);
void prefix_destroy(struct prefix *p);

/* A pinned leaf for a prompt, with as much of it as is known: *out_reused of its tokens are in the
 * pool already (at most n_tokens - 1: the last one is computed for its logits).  Evicts an idle
 * leaf where no sequence id is free.  STATUS_BUSY when all are pinned. */
MUST_USE enum status prefix_acquire(struct prefix *p, uint64_t namespace_key,
                                    const model_token *tokens, size_t n_tokens,
                                    struct prefix_leaf **out, size_t *out_reused);

/* How much of a prompt prefix_acquire would find now; in *out_length, unless NULL, how many tokens
 * the leaf has that it would be found in. */
size_t prefix_known(struct prefix *p, uint64_t namespace_key, const model_token *tokens,
                    size_t n_tokens, size_t *out_length);

/* The leaf is at least as important as `rank` says: 0 is evicted last.  An idle leaf that it
 * replaces leaves it its own rank. */
void prefix_leaf_claim(struct prefix_leaf *leaf, unsigned rank);

/* After a decode: the leaf's sequence holds these n tokens more. */
void prefix_extend(struct prefix_leaf *leaf, const model_token *tokens, size_t n);

/* Forgets (and removes from the pool) everything from `n_tokens` on, rows of an aborted decode
 * included.  A model that can only drop a whole sequence loses all of it: read the length after. */
void prefix_truncate(struct prefix_leaf *leaf, size_t n_tokens);

/* The job is over; the caller forgets the pointer.  The leaf stays, unpinned, most recently used.
 * Where the model can share prefixes, a leaf that is a prefix of another says nothing new and is
 * dropped at once (this one, or idle ones that this one continues); so is one of fewer than
 * PREFIX_KEEP_TOKENS. */
void prefix_release(struct prefix_leaf *leaf);

/* Makes room: evicts the least important idle leaf, of these the least recently used.  False where
 * there is none. */
bool prefix_evict_one(struct prefix *p);

/* Who wants to know of an idle leaf that goes to make room; what it says is still in the pool. */
void prefix_on_drop(struct prefix *p, void (*on_drop)(void *arg, struct prefix_leaf *leaf),
                    void *arg);

/* An idle leaf that is not noted as kept, the most recently used one; NULL where there is none. */
struct prefix_leaf *prefix_find_unkept(struct prefix *p);

/* Notes that all of an idle leaf is kept; holds until its tokens change. */
void prefix_leaf_set_kept(struct prefix_leaf *leaf);
bool prefix_leaf_is_kept(const struct prefix_leaf *leaf);

const model_token *prefix_leaf_tokens(const struct prefix_leaf *leaf);
uint64_t prefix_leaf_namespace(const struct prefix_leaf *leaf);
uint32_t prefix_leaf_sequence(const struct prefix_leaf *leaf);
size_t prefix_leaf_length(const struct prefix_leaf *leaf);
uint32_t prefix_cells_used(const struct prefix *p);

/* How many cells would be beyond eviction if this prompt ran beside the pinned leaves. */
uint32_t prefix_cells_with(struct prefix *p, uint64_t namespace_key, const model_token *tokens,
                           size_t n_tokens);

/* Walks everything and aborts where an invariant does not hold.  For tests. */
void prefix_check(struct prefix *p);
