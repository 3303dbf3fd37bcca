/* prefix -- leaves, and the runs of cells that they share.
 *
 * Definitions.  A leaf is one sequence id in use; leaf i has sequence id i.  A run is a stretch of
 * cells that belong together: each leaf is a chain of runs from its tail run up to a root run, and
 * leaves that share a beginning share the runs of it.  Since seq_copy only ever shares positions
 * [0, n), the runs form a forest with parent pointers, as long as a run is split where a copy or a
 * cut ends inside it.
 *
 *     leaf 0:  [ system prompt, 900 ] <- [ question, 60 ]      tail of leaf 0
 *     leaf 1:           same run      <- [ other, 80 ]         tail of leaf 1
 *
 * Invariants of runs (besides those in the header):
 *  5. the lengths along a leaf's chain add up to its number of tokens; an empty leaf has no tail;
 *  6. `refs` of a run counts the leaves that end in it and the runs whose parent it is; at zero it
 *     is freed, and its cells are free in the model too;
 *  7. cells_used is the sum of the lengths of all runs. */
#include "cache/prefix.h"

#include <limits.h>

#include "base/mem.h"

struct cell_run {
    struct cell_run *parent;
    uint32_t length;
    uint32_t refs;
    uint64_t visit;     /* the last walk that came by; see next_visit */
    uint32_t refs_seen; /* by prefix_check */
};

struct prefix_leaf {
    struct prefix *owner;
    uint64_t namespace_key;
    model_token *tokens;
    size_t n_tokens;
    size_t capacity;
    struct cell_run *tail;
    uint64_t used_at; /* owner's clock at the last release */
    unsigned rank;    /* the greatest goes first */
    bool is_live;
    bool is_pinned;
    bool is_kept; /* elsewhere too, all of it */
};

struct prefix {
    struct model *model;
    struct prefix_leaf *leaves; /* [n_leaves], by sequence id */
    uint32_t n_leaves;
    uint32_t cells_used;
    uint64_t clock; /* counts releases: the order of last use */
    uint64_t visit; /* counts walks over the runs */
    void (*on_drop)(void *arg, struct prefix_leaf *leaf);
    void *on_drop_arg;
};

/* The best leaf for a prompt and how many tokens of it are of use. */
struct match {
    struct prefix_leaf *leaf;
    size_t n_common;
    bool is_whole; /* idle, and nothing of it would be lost if the prompt took it over */
};

/* --- Runs ------------------------------------------------------------------------------------ */

static struct cell_run *run_create(struct cell_run *parent, uint32_t length)
{
    struct cell_run *run = mem_zalloc(sizeof *run);
    run->parent = parent;
    run->length = length;
    run->refs = 1;
    return run;
}

/* Makes a run of the first `length` cells of `run`, as its parent. */
static struct cell_run *run_split(struct cell_run *run, uint32_t length)
{
    struct cell_run *upper = run_create(run->parent, length);
    run->parent = upper;
    run->length -= length;
    return upper;
}

/* Joins parents that nobody else refers to, so that chains don't grow with every copy ever made. */
static void run_join(struct cell_run *run)
{
    for (; run != NULL; run = run->parent) {
        while (run->parent != NULL && run->parent->refs == 1) {
            struct cell_run *parent = run->parent;
            run->length += parent->length;
            run->parent = parent->parent;
            mem_free(parent);
        }
    }
}

static void run_release(struct prefix *p, struct cell_run *run)
{
    while (run != NULL && --run->refs == 0) {
        struct cell_run *parent = run->parent;
        p->cells_used -= run->length;
        mem_free(run);
        run = parent;
    }
}

/* The run that ends after the leaf's first n tokens, with one reference more; NULL for none. */
static struct cell_run *run_share(struct prefix_leaf *leaf, size_t n)
{
    if (n == 0)
        return NULL;
    run_join(leaf->tail);

    struct cell_run *run = leaf->tail;
    size_t end = leaf->n_tokens;
    while (end - run->length >= n) {
        end -= run->length;
        run = run->parent;
    }
    if (n < end)
        run = run_split(run, (uint32_t)(n - (end - run->length)));
    run->refs++;
    return run;
}

/* --- Leaves ---------------------------------------------------------------------------------- */

uint32_t prefix_leaf_sequence(const struct prefix_leaf *leaf)
{
    return (uint32_t)(leaf - leaf->owner->leaves);
}

size_t prefix_leaf_length(const struct prefix_leaf *leaf)
{
    return leaf->n_tokens;
}

static bool leaf_is_idle(const struct prefix_leaf *leaf)
{
    return leaf->is_live && !leaf->is_pinned;
}

static size_t common_length(const struct prefix_leaf *leaf, const model_token *tokens, size_t n)
{
    size_t limit = leaf->n_tokens < n ? leaf->n_tokens : n;
    size_t i = 0;
    while (i < limit && leaf->tokens[i] == tokens[i])
        i++;
    return i;
}

static bool leaf_is_prefix_of(const struct prefix_leaf *a, const struct prefix_leaf *b)
{
    return a->namespace_key == b->namespace_key && a->n_tokens <= b->n_tokens &&
           common_length(b, a->tokens, a->n_tokens) == a->n_tokens;
}

static void leaf_append(struct prefix_leaf *leaf, const model_token *tokens, size_t n)
{
    if (n == 0)
        return;
    if (leaf->capacity - leaf->n_tokens < n) {
        size_t capacity = leaf->capacity * 2;
        if (capacity < leaf->n_tokens + n)
            capacity = leaf->n_tokens + n;
        leaf->tokens = mem_realloc(leaf->tokens, mem_array_bytes(capacity, sizeof *tokens));
        leaf->capacity = capacity;
    }
    memcpy(leaf->tokens + leaf->n_tokens, tokens, n * sizeof *tokens);
    leaf->n_tokens += n;
}

/* Frees the sequence id and the cells that nobody shares. */
static void leaf_drop(struct prefix_leaf *leaf)
{
    struct prefix *p = leaf->owner;
    (void)p->model->ops->seq_remove(p->model, prefix_leaf_sequence(leaf), 0, UINT32_MAX);
    run_release(p, leaf->tail);
    mem_free(leaf->tokens);
    *leaf = (struct prefix_leaf){.owner = p};
}

/* What an idle leaf says, or the end of it, goes for want of room: whoever keeps it is told. */
static void leaf_tell_drop(struct prefix_leaf *leaf)
{
    struct prefix *p = leaf->owner;
    if (p->on_drop != NULL)
        p->on_drop(p->on_drop_arg, leaf);
}

static void leaf_evict(struct prefix_leaf *leaf)
{
    leaf_tell_drop(leaf);
    leaf_drop(leaf);
}

static bool leaf_goes_before(const struct prefix_leaf *a, const struct prefix_leaf *b)
{
    return a->rank != b->rank ? a->rank > b->rank : a->used_at < b->used_at;
}

/* The idle leaf that goes next, but for `spared`; NULL where there is none. */
static struct prefix_leaf *next_to_go(struct prefix *p, const struct prefix_leaf *spared)
{
    struct prefix_leaf *next = NULL;
    for (uint32_t i = 0; i < p->n_leaves; i++) {
        struct prefix_leaf *leaf = &p->leaves[i];
        if (leaf_is_idle(leaf) && leaf != spared && (next == NULL || leaf_goes_before(leaf, next)))
            next = leaf;
    }
    return next;
}

/* A leaf slot with nothing in it: a free one, or that of the idle leaf that goes next. */
static struct prefix_leaf *free_slot(struct prefix *p, const struct prefix_leaf *spared)
{
    for (uint32_t i = 0; i < p->n_leaves; i++) {
        if (!p->leaves[i].is_live)
            return &p->leaves[i];
    }
    struct prefix_leaf *next = next_to_go(p, spared);
    if (next != NULL)
        leaf_evict(next);
    return next;
}

/* --- The interface ---------------------------------------------------------------------------- */

struct prefix *prefix_create(struct model *m)
{
    struct prefix *p = mem_zalloc(sizeof *p);
    p->model = m;
    p->n_leaves = m->info.n_sequences;
    p->leaves = mem_zalloc(mem_array_bytes(p->n_leaves, sizeof *p->leaves));
    for (uint32_t i = 0; i < p->n_leaves; i++)
        p->leaves[i].owner = p;
    return p;
}

void prefix_destroy(struct prefix *p)
{
    if (p == NULL)
        return;
    for (uint32_t i = 0; i < p->n_leaves; i++) {
        if (p->leaves[i].is_live)
            leaf_drop(&p->leaves[i]);
    }
    INVARIANT(p->cells_used == 0);
    mem_free(p->leaves);
    mem_free(p);
}

static bool match_is_better(const struct match *a, const struct match *b)
{
    if (a->n_common != b->n_common)
        return a->n_common > b->n_common;
    return a->is_whole && !b->is_whole;
}

static struct match find_match(struct prefix *p, uint64_t namespace_key, const model_token *tokens,
                               size_t n_tokens)
{
    bool can_share = p->model->info.can_share_prefix;
    struct match best = {0};
    for (uint32_t i = 0; i < p->n_leaves; i++) {
        struct prefix_leaf *leaf = &p->leaves[i];
        if (!leaf->is_live || leaf->namespace_key != namespace_key)
            continue;

        size_t n_common = common_length(leaf, tokens, n_tokens);
        bool is_whole = leaf_is_idle(leaf) && n_common == leaf->n_tokens;
        if (n_common == n_tokens)
            n_common--; /* the last token is computed for its logits */
        if (!can_share && (!is_whole || n_common < leaf->n_tokens))
            continue;
        struct match found = {.leaf = leaf, .n_common = n_common, .is_whole = is_whole};
        if (n_common > 0 && match_is_better(&found, &best))
            best = found;
    }
    return best;
}

static void leaf_pin(struct prefix_leaf *leaf, const struct match *match)
{
    if (leaf->n_tokens > match->n_common)
        prefix_truncate(leaf, match->n_common);
    leaf->is_pinned = true;
}

/* Fills the empty slot with the common part of the match, whose cells it shares. */
static void leaf_start(struct prefix_leaf *slot, uint64_t namespace_key, const struct match *match)
{
    struct prefix *p = slot->owner;
    slot->is_live = true;
    slot->is_pinned = true;
    slot->rank = UINT_MAX;
    slot->namespace_key = namespace_key;
    if (match->n_common == 0)
        return;

    p->model->ops->seq_copy(p->model, prefix_leaf_sequence(match->leaf), prefix_leaf_sequence(slot),
                            0, (uint32_t)match->n_common);
    leaf_append(slot, match->leaf->tokens, match->n_common);
    slot->tail = run_share(match->leaf, match->n_common);
}

enum status prefix_acquire(struct prefix *p, uint64_t namespace_key, const model_token *tokens,
                           size_t n_tokens, struct prefix_leaf **out, size_t *out_reused)
{
    INVARIANT(n_tokens > 0);
    struct match match = find_match(p, namespace_key, tokens, n_tokens);
    struct prefix_leaf *leaf = match.leaf;

    if (match.is_whole) {
        leaf_pin(leaf, &match);
        goto out;
    }

    struct prefix_leaf *slot = free_slot(p, match.leaf);
    if (slot != NULL) {
        leaf_start(slot, namespace_key, &match);
        leaf = slot;
        goto out;
    }
    /* The only idle leaf is the one that we would copy from: its end gives way. */
    if (leaf == NULL || leaf->is_pinned)
        return STATUS_BUSY;
    leaf_tell_drop(leaf);
    leaf_pin(leaf, &match);

out:
    *out = leaf;
    *out_reused = leaf->n_tokens;
    return STATUS_OK;
}

size_t prefix_known(struct prefix *p, uint64_t namespace_key, const model_token *tokens,
                    size_t n_tokens, size_t *out_length)
{
    struct match match = find_match(p, namespace_key, tokens, n_tokens);
    if (out_length != NULL)
        *out_length = match.leaf != NULL ? match.leaf->n_tokens : 0;
    return match.n_common;
}

void prefix_leaf_claim(struct prefix_leaf *leaf, unsigned rank)
{
    if (rank < leaf->rank)
        leaf->rank = rank;
}

void prefix_extend(struct prefix_leaf *leaf, const model_token *tokens, size_t n)
{
    INVARIANT(leaf->is_pinned);
    if (n == 0)
        return;
    leaf_append(leaf, tokens, n);
    leaf->is_kept = false;

    /* Cells of a shared run belong to others too: what comes now is a run of its own. */
    if (leaf->tail != NULL && leaf->tail->refs == 1)
        leaf->tail->length += (uint32_t)n;
    else
        leaf->tail = run_create(leaf->tail, (uint32_t)n);
    leaf->owner->cells_used += (uint32_t)n;
    INVARIANT(leaf->owner->cells_used <= leaf->owner->model->info.n_cells);
}

void prefix_truncate(struct prefix_leaf *leaf, size_t n_tokens)
{
    struct prefix *p = leaf->owner;
    INVARIANT(n_tokens <= leaf->n_tokens);
    uint32_t sequence = prefix_leaf_sequence(leaf);
    if (!p->model->ops->seq_remove(p->model, sequence, (uint32_t)n_tokens, UINT32_MAX)) {
        (void)p->model->ops->seq_remove(p->model, sequence, 0, UINT32_MAX);
        n_tokens = 0;
    }

    struct cell_run *old = leaf->tail;
    leaf->tail = run_share(leaf, n_tokens);
    run_release(p, old);
    if (n_tokens < leaf->n_tokens)
        leaf->is_kept = false;
    leaf->n_tokens = n_tokens;
}

void prefix_release(struct prefix_leaf *leaf)
{
    struct prefix *p = leaf->owner;
    INVARIANT(leaf->is_pinned);
    leaf->is_pinned = false;
    leaf->used_at = ++p->clock;
    if (leaf->n_tokens < PREFIX_KEEP_TOKENS) {
        leaf_drop(leaf);
        return;
    }
    if (!p->model->info.can_share_prefix)
        return; /* there, a shorter leaf is of use where a longer one is not */

    for (uint32_t i = 0; i < p->n_leaves; i++) {
        struct prefix_leaf *other = &p->leaves[i];
        if (other == leaf || !other->is_live)
            continue;
        if (leaf_is_prefix_of(leaf, other)) {
            prefix_leaf_claim(other, leaf->rank);
            leaf_drop(leaf);
            return;
        }
        if (leaf_is_idle(other) && leaf_is_prefix_of(other, leaf)) {
            prefix_leaf_claim(leaf, other->rank);
            leaf_drop(other);
        }
    }
}

bool prefix_evict_one(struct prefix *p)
{
    struct prefix_leaf *next = next_to_go(p, NULL);
    if (next == NULL)
        return false;
    leaf_evict(next);
    return true;
}

void prefix_on_drop(struct prefix *p, void (*on_drop)(void *arg, struct prefix_leaf *leaf),
                    void *arg)
{
    p->on_drop = on_drop;
    p->on_drop_arg = arg;
}

struct prefix_leaf *prefix_find_unkept(struct prefix *p)
{
    struct prefix_leaf *newest = NULL;
    for (uint32_t i = 0; i < p->n_leaves; i++) {
        struct prefix_leaf *leaf = &p->leaves[i];
        if (leaf_is_idle(leaf) && !leaf->is_kept &&
            (newest == NULL || leaf->used_at > newest->used_at))
            newest = leaf;
    }
    return newest;
}

void prefix_leaf_set_kept(struct prefix_leaf *leaf)
{
    leaf->is_kept = true;
}

bool prefix_leaf_is_kept(const struct prefix_leaf *leaf)
{
    return leaf->is_kept;
}

const model_token *prefix_leaf_tokens(const struct prefix_leaf *leaf)
{
    return leaf->tokens;
}

uint64_t prefix_leaf_namespace(const struct prefix_leaf *leaf)
{
    return leaf->namespace_key;
}

uint32_t prefix_cells_used(const struct prefix *p)
{
    return p->cells_used;
}

uint32_t prefix_cells_with(struct prefix *p, uint64_t namespace_key, const model_token *tokens,
                           size_t n_tokens)
{
    uint64_t visit = ++p->visit;
    size_t n_cells = 0;
    size_t n_shared = 0;
    for (uint32_t i = 0; i < p->n_leaves; i++) {
        const struct prefix_leaf *leaf = &p->leaves[i];
        if (!leaf->is_pinned)
            continue;
        /* Above a run that this walk has seen, it has seen everything. */
        for (struct cell_run *run = leaf->tail; run != NULL && run->visit != visit;
             run = run->parent) {
            run->visit = visit;
            n_cells += run->length;
        }
        if (!p->model->info.can_share_prefix || leaf->namespace_key != namespace_key)
            continue;
        size_t n_common = common_length(leaf, tokens, n_tokens);
        if (n_common > n_shared)
            n_shared = n_common;
    }
    if (n_shared == n_tokens)
        n_shared--;
    return (uint32_t)(n_cells + n_tokens - n_shared);
}

/* Counts the references that the chain of one leaf makes; returns the cells not seen before. */
static size_t check_chain(const struct prefix_leaf *leaf, uint64_t visit)
{
    size_t n_new_cells = 0;
    for (struct cell_run *run = leaf->tail; run != NULL; run = run->parent) {
        bool is_first = run->visit != visit;
        if (is_first) {
            run->visit = visit;
            run->refs_seen = 0;
            n_new_cells += run->length;
        }
        run->refs_seen++;
        if (!is_first)
            break;
    }
    return n_new_cells;
}

void prefix_check(struct prefix *p)
{
    uint64_t visit = ++p->visit;
    size_t n_cells = 0;
    for (uint32_t i = 0; i < p->n_leaves; i++) {
        const struct prefix_leaf *leaf = &p->leaves[i];
        INVARIANT(leaf->owner == p);
        INVARIANT(leaf->is_live || (!leaf->is_pinned && leaf->n_tokens == 0)); /* 1 */
        INVARIANT((leaf->tail == NULL) == (leaf->n_tokens == 0));              /* 5 */
        n_cells += check_chain(leaf, visit);
    }
    INVARIANT(n_cells == p->cells_used);          /* 7 */
    INVARIANT(n_cells <= p->model->info.n_cells); /* 4 */

    for (uint32_t i = 0; i < p->n_leaves; i++) {
        size_t n_tokens = 0;
        for (struct cell_run *run = p->leaves[i].tail; run != NULL; run = run->parent) {
            INVARIANT(run->length > 0);
            INVARIANT(run->refs == run->refs_seen); /* 6 */
            n_tokens += run->length;
        }
        INVARIANT(n_tokens == p->leaves[i].n_tokens); /* 5 */
    }
}
