/* persist -- see persist.h.
 *
 * Nothing is remembered of what lies on disk: keys follow from the tokens, and hashing a prompt of
 * 12,000 tokens costs less than computing one of them.  So a block that vanishes or was damaged in
 * between is computed, and the ones after it are found again. */
#include "sched/persist.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"

enum {
    STEP_MS = 50,                      /* of restoring, between two rounds of the scheduler */
    MOST_REFUSALS = 3,                 /* in a row, of a store whose queue is empty */
    LARGEST_BYTES = 512 * 1024 * 1024, /* of a snapshot: it is written anew each turn */
};

struct persist {
    struct model *model;
    struct prefix *prefix;
    struct kvstore *store; /* NULL: there is nothing to do */
    struct persist_options options;
    uint64_t worked_ms;
};

/* ---- Out ---- */

/* Tokens of the block that begins there. */
static size_t block_length(size_t n_tokens, size_t begin)
{
    size_t left = n_tokens - begin;
    return left < KVFILE_BLOCK_TOKENS ? left : KVFILE_BLOCK_TOKENS;
}

/* The first block of a leaf that the store does not have; false where it has them all.  Of a model
 * that can't share prefixes only the last one counts, which stands for the whole leaf. */
static bool find_missing(struct persist *ps, const struct prefix_leaf *leaf,
                         struct kvfile_head *out)
{
    const model_token *tokens = prefix_leaf_tokens(leaf);
    size_t n = prefix_leaf_length(leaf);
    struct kv_key parent = kv_key_root(ps->model->info.fingerprint, prefix_leaf_namespace(leaf));
    for (size_t begin = 0; begin < n; begin += KVFILE_BLOCK_TOKENS) {
        size_t length = block_length(n, begin);
        struct kv_key key = kv_key_child(&parent, tokens + begin, length);
        bool counts = ps->model->info.can_share_prefix || begin + length == n;
        if (!counts || kvstore_has(ps->store, &key)) {
            parent = key;
            continue;
        }
        out->key = key;
        out->parent = parent;
        out->begin = (uint32_t)begin;
        out->n_tokens = (uint32_t)length;
        snprintf(out->fingerprint, sizeof out->fingerprint, "%s", ps->model->info.fingerprint);
        snprintf(out->model, sizeof out->model, "%s", ps->model->info.name);
        memcpy(out->tokens, tokens + begin, length * sizeof *tokens);
        return true;
    }
    return false;
}

enum save_result {
    SAVE_NOTHING, /* all is there */
    SAVE_DONE,    /* one block is on its way */
    SAVE_LATER,   /* the store takes nothing now */
    SAVE_NEVER,   /* the model gives nothing */
};

static enum save_result save_block(struct persist *ps, struct prefix_leaf *leaf)
{
    struct kvfile_head head;
    if (!find_missing(ps, leaf, &head))
        return SAVE_NOTHING;
    uint32_t begin = ps->model->info.can_share_prefix ? head.begin : 0;
    uint32_t end = head.begin + head.n_tokens;
    uint64_t n_expected = ps->model->info.kv_bytes_per_cell * (end - begin);
    if (n_expected > LARGEST_BYTES)
        return SAVE_NEVER;
    if (!kvstore_accepts(ps->store, n_expected))
        return SAVE_LATER;
    char *data;
    size_t n_bytes;
    enum status st = ps->model->ops->seq_save(ps->model, prefix_leaf_sequence(leaf), begin, end,
                                              &data, &n_bytes);
    if (st != STATUS_OK)
        return st == STATUS_NO_MEMORY ? SAVE_LATER : SAVE_NEVER;
    if (kvstore_put(ps->store, &head, data, n_bytes) == STATUS_OK)
        return SAVE_DONE;
    mem_free(data);
    return SAVE_LATER;
}

static void save_before_drop(void *arg, struct prefix_leaf *leaf)
{
    struct persist *ps = arg;
    enum save_result result = prefix_leaf_is_kept(leaf) ? SAVE_NOTHING : SAVE_DONE;
    while (result == SAVE_DONE)
        result = save_block(ps, leaf);
    if (result != SAVE_NOTHING)
        log_debug("persist: a prompt of %zu tokens leaves the pool and was not kept whole",
                  prefix_leaf_length(leaf));
}

void persist_note_work(struct persist *ps)
{
    ps->worked_ms = clock_now_ms();
}

bool persist_rest(struct persist *ps)
{
    if (ps->store == NULL || clock_now_ms() - ps->worked_ms < ps->options.idle_ms)
        return false;
    struct prefix_leaf *leaf = prefix_find_unkept(ps->prefix);
    if (leaf == NULL)
        return false;
    switch (save_block(ps, leaf)) {
    case SAVE_LATER:
        return false;
    case SAVE_NOTHING:
    case SAVE_NEVER:
        prefix_leaf_set_kept(leaf);
        break;
    case SAVE_DONE:
        break;
    }
    return true;
}

void persist_flush(struct persist *ps, unsigned timeout_ms)
{
    if (ps->store == NULL)
        return;
    uint64_t end_ms = clock_now_ms() + timeout_ms;
    for (int n_refused = 0; n_refused < MOST_REFUSALS;) {
        struct prefix_leaf *leaf = prefix_find_unkept(ps->prefix);
        uint64_t now_ms = clock_now_ms();
        if (leaf == NULL || now_ms >= end_ms ||
            !kvstore_wait(ps->store, (unsigned)(end_ms - now_ms)))
            return;
        enum save_result result = save_block(ps, leaf);
        if (result == SAVE_NOTHING || result == SAVE_NEVER)
            prefix_leaf_set_kept(leaf);
        n_refused = result == SAVE_LATER ? n_refused + 1 : 0;
    }
}

/* ---- Back ---- */

/* The key of the leaf's last full block, or the root. */
static struct kv_key chain_end(const struct persist *ps, const struct prefix_leaf *leaf)
{
    const model_token *tokens = prefix_leaf_tokens(leaf);
    struct kv_key key = kv_key_root(ps->model->info.fingerprint, prefix_leaf_namespace(leaf));
    size_t n_blocks = prefix_leaf_length(leaf) / KVFILE_BLOCK_TOKENS;
    for (size_t i = 0; i < n_blocks; i++)
        key = kv_key_child(&key, tokens + i * KVFILE_BLOCK_TOKENS, KVFILE_BLOCK_TOKENS);
    return key;
}

/* While a block is loaded, all of it is in the pool, beside what the leaf has of it. */
static bool make_room(struct persist *ps, uint32_t n_cells)
{
    while (prefix_cells_used(ps->prefix) + n_cells > ps->model->info.n_cells)
        if (!prefix_evict_one(ps->prefix))
            return false;
    return true;
}

/* Continues the leaf with what the block has in common with the prompt.  Returns how many tokens.
 */
static size_t load_block(struct persist *ps, struct prefix_leaf *leaf, const model_token *tokens,
                         const struct kvstore_hit *hit)
{
    size_t n_done = prefix_leaf_length(leaf);
    uint32_t begin = (uint32_t)(n_done / KVFILE_BLOCK_TOKENS * KVFILE_BLOCK_TOKENS);
    uint32_t sequence = prefix_leaf_sequence(leaf);
    struct kvfile_head head;
    struct str data;
    if (!make_room(ps, hit->n_tokens) || kvstore_load(ps->store, hit, &head, &data) != STATUS_OK)
        return 0;
    enum status st = STATUS_CORRUPT;
    if (head.begin == begin && head.n_tokens == hit->n_tokens)
        st = ps->model->ops->seq_load(ps->model, sequence, begin, (uint32_t)n_done,
                                      begin + head.n_tokens, data);
    if (st == STATUS_CORRUPT)
        kvstore_discard(ps->store, hit);
    if (st != STATUS_OK)
        return 0;
    if (hit->n_common < hit->n_tokens)
        (void)ps->model->ops->seq_remove(ps->model, sequence, begin + hit->n_common, UINT32_MAX);
    size_t n_gained = begin + hit->n_common - n_done;
    prefix_extend(leaf, tokens + n_done, n_gained);
    return n_gained;
}

static size_t restore_blocks(struct persist *ps, struct prefix_leaf *leaf,
                             const model_token *tokens, size_t n_tokens)
{
    size_t n_before = prefix_leaf_length(leaf);
    uint64_t end_ms = clock_now_ms() + STEP_MS;
    struct kv_key parent = chain_end(ps, leaf);
    do {
        size_t n_done = prefix_leaf_length(leaf), n_in_block = n_done % KVFILE_BLOCK_TOKENS;
        size_t begin = n_done - n_in_block;
        struct kvstore_hit hit;
        if (n_done + 1 >= n_tokens ||
            !kvstore_find(ps->store, &parent, tokens + begin, n_tokens - 1 - begin, &hit) ||
            hit.n_common <= n_in_block || load_block(ps, leaf, tokens, &hit) == 0)
            break;
        if (hit.n_common < KVFILE_BLOCK_TOKENS)
            break;
        parent = hit.key;
    } while (clock_now_ms() < end_ms);
    return prefix_leaf_length(leaf) - n_before;
}

/* The longest snapshot that the prompt goes on from; *out_begin is where its last block begins. */
static bool find_snapshot(struct persist *ps, const struct prefix_leaf *leaf,
                          const model_token *tokens, size_t n, struct kvstore_hit *out,
                          uint32_t *out_begin)
{
    struct kv_key parent = kv_key_root(ps->model->info.fingerprint, prefix_leaf_namespace(leaf));
    bool is_found = false;
    for (size_t begin = 0; begin < n; begin += KVFILE_BLOCK_TOKENS) {
        struct kvstore_hit hit;
        if (kvstore_find_whole(ps->store, &parent, tokens + begin, n - begin, &hit)) {
            *out = hit;
            *out_begin = (uint32_t)begin;
            is_found = true;
        }
        if (n - begin >= KVFILE_BLOCK_TOKENS)
            parent = kv_key_child(&parent, tokens + begin, KVFILE_BLOCK_TOKENS);
    }
    return is_found;
}

/* A leaf that has something is left as it is: what was counted as reused stays so. */
static size_t restore_snapshot(struct persist *ps, struct prefix_leaf *leaf,
                               const model_token *tokens, size_t n_tokens)
{
    struct kvstore_hit hit;
    uint32_t begin;
    struct kvfile_head head;
    struct str data;
    if (prefix_leaf_length(leaf) > 0 ||
        !find_snapshot(ps, leaf, tokens, n_tokens - 1, &hit, &begin) ||
        !make_room(ps, begin + hit.n_tokens) ||
        kvstore_load(ps->store, &hit, &head, &data) != STATUS_OK)
        return 0;
    uint32_t end = begin + hit.n_tokens;
    enum status st = STATUS_CORRUPT;
    if (head.begin == begin)
        st = ps->model->ops->seq_load(ps->model, prefix_leaf_sequence(leaf), 0, 0, end, data);
    if (st == STATUS_CORRUPT)
        kvstore_discard(ps->store, &hit);
    if (st != STATUS_OK)
        return 0;
    prefix_extend(leaf, tokens, end);
    return end;
}

size_t persist_restore(struct persist *ps, struct prefix_leaf *leaf, const model_token *tokens,
                       size_t n_tokens)
{
    if (ps->store == NULL)
        return 0;
    size_t n_gained = ps->model->info.can_share_prefix
                          ? restore_blocks(ps, leaf, tokens, n_tokens)
                          : restore_snapshot(ps, leaf, tokens, n_tokens);
    metric_add(METRIC_RESTORED_TOKENS, (int64_t)n_gained);
    return n_gained;
}

/* ---- Life ---- */

struct persist *persist_create(struct model *m, struct prefix *p, struct kvstore *store,
                               const struct persist_options *options)
{
    struct persist *ps = mem_zalloc(sizeof *ps);
    *ps = (struct persist){
        .model = m,
        .prefix = p,
        .store = store,
        .options = *options,
        .worked_ms = clock_now_ms(),
    };
    if (ps->store != NULL)
        prefix_on_drop(p, save_before_drop, ps);
    return ps;
}

void persist_destroy(struct persist *ps)
{
    if (ps == NULL)
        return;
    if (ps->store != NULL)
        prefix_on_drop(ps->prefix, NULL, NULL);
    mem_free(ps);
}
