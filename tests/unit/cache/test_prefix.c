/* The prefix list against a naive one, over random operations, on the toy model, which aborts on a
 * hole, a double position or a foreign cell. */
#include "support/check.h"

#include "cache/prefix.h"
#include "model/model_toy.h"

enum {
    N_CELLS = 400,
    N_SEQUENCES = 8,
    MOST_RUNNING = 4,
    ROUNDS = 3000,
    PROMPT = 60,
};

static uint64_t seed = 20261124;

static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

struct running {
    struct prefix_leaf *leaf;
    model_token tokens[PROMPT + 40];
    size_t n;
};

/* Puts the tokens from the leaf's length on into the pool. */
static bool compute(struct model *m, struct prefix *p, struct running *r)
{
    size_t n_done = prefix_leaf_length(r->leaf);
    struct model_row rows[PROMPT + 40];
    size_t n = 0;
    for (size_t i = n_done; i < r->n; i++)
        rows[n++] = (struct model_row){r->tokens[i], (uint32_t)i, prefix_leaf_sequence(r->leaf),
                                       i + 1 == r->n};
    while (n > 0) {
        enum model_result result = m->ops->decode(m, rows, n);
        if (result == MODEL_DONE) {
            prefix_extend(r->leaf, r->tokens + n_done, n);
            return true;
        }
        assert_int_equal(result, MODEL_FULL);
        if (!prefix_evict_one(p))
            return false;
    }
    return true;
}

static void test_prefix__random_operations_keep_every_invariant(void **state)
{
    (void)state;
    struct model_toy_options options = {.n_cells = N_CELLS, .n_sequences = N_SEQUENCES};
    struct model *m = model_toy_create(&options);
    struct prefix *p = prefix_create(m);
    struct running running[MOST_RUNNING];
    size_t n_running = 0;
    uint64_t n_reused = 0;
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t what = draw(4);
        if (what < 2 && n_running < MOST_RUNNING) {
            struct running *r = &running[n_running];
            /* Few different tokens, so that prompts have beginnings in common. */
            r->n = 20 + draw(PROMPT - 20);
            uint32_t family = draw(3), differs = draw(PROMPT);
            for (size_t i = 0; i < r->n; i++)
                r->tokens[i] = (model_token)('a' + family + (i >= differs ? draw(3) : 0));
            size_t reused;
            if (prefix_acquire(p, 1, r->tokens, r->n, &r->leaf, &reused) == STATUS_OK) {
                assert_true(reused < r->n);
                assert_int_equal(prefix_leaf_length(r->leaf), reused);
                model_token held[PROMPT + 40];
                assert_int_equal(model_toy_sequence(m, prefix_leaf_sequence(r->leaf), held, PROMPT),
                                 reused);
                assert_memory_equal(held, r->tokens, reused * sizeof *held);
                n_reused += reused;
                n_running++;
                if (!compute(m, p, r)) {
                    prefix_release(r->leaf);
                    n_running--;
                }
            }
        } else if (what == 2 && n_running > 0) {
            struct running *r = &running[draw((uint32_t)n_running)];
            if (r->n < PROMPT + 40) {
                r->tokens[r->n++] = (model_token)('a' + draw(3));
                if (!compute(m, p, r))
                    r->n--;
            }
        } else if (n_running > 0) {
            size_t i = draw((uint32_t)n_running);
            prefix_release(running[i].leaf);
            running[i] = running[--n_running];
        }
        prefix_check(p);
        assert_int_equal(prefix_cells_used(p), model_toy_cells_used(m));
    }
    assert_true(n_reused > 10000);
    while (n_running > 0)
        prefix_release(running[--n_running].leaf);
    while (prefix_evict_one(p))
        prefix_check(p);
    assert_int_equal(model_toy_cells_used(m), 0);
    prefix_destroy(p);
    model_destroy(m);
}

static void test_prefix__pinned_leaves_are_never_evicted(void **state)
{
    (void)state;
    struct model_toy_options options = {.n_cells = N_CELLS, .n_sequences = 2};
    struct model *m = model_toy_create(&options);
    struct prefix *p = prefix_create(m);
    struct running a = {.n = 30}, b = {.n = 30}, c = {.n = 30};
    for (size_t i = 0; i < 30; i++) {
        a.tokens[i] = 'a';
        b.tokens[i] = 'b';
        c.tokens[i] = 'c';
    }
    size_t reused;
    assert_int_equal(prefix_acquire(p, 1, a.tokens, a.n, &a.leaf, &reused), STATUS_OK);
    assert_true(compute(m, p, &a));
    assert_int_equal(prefix_acquire(p, 1, b.tokens, b.n, &b.leaf, &reused), STATUS_OK);
    assert_true(compute(m, p, &b));
    assert_false(prefix_evict_one(p));
    assert_int_equal(prefix_acquire(p, 1, c.tokens, c.n, &c.leaf, &reused), STATUS_BUSY);
    prefix_release(a.leaf);
    assert_int_equal(prefix_acquire(p, 1, c.tokens, c.n, &c.leaf, &reused), STATUS_OK);
    prefix_release(b.leaf);
    prefix_release(c.leaf);
    prefix_destroy(p);
    model_destroy(m);
}

/* A pool whose leaves are asked for one after the other. */
struct pool {
    struct model *model;
    struct prefix *prefix;
};

static struct pool open_pool(uint32_t n_sequences)
{
    struct model_toy_options options = {.n_cells = N_CELLS, .n_sequences = n_sequences};
    struct model *m = model_toy_create(&options);
    return (struct pool){m, prefix_create(m)};
}

static void close_pool(struct pool *pool)
{
    prefix_check(pool->prefix);
    prefix_destroy(pool->prefix);
    model_destroy(pool->model);
}

/* A leaf of n times `letter`, computed; how much of it was there already is the result. */
static size_t take(struct pool *pool, uint64_t namespace_key, char letter, size_t n,
                   struct running *out)
{
    size_t reused = 0;
    out->n = n;
    for (size_t i = 0; i < n; i++)
        out->tokens[i] = letter;
    assert_int_equal(
        prefix_acquire(pool->prefix, namespace_key, out->tokens, n, &out->leaf, &reused),
        STATUS_OK);
    assert_true(compute(pool->model, pool->prefix, out));
    return reused;
}

/* The same, and given back at once. */
static size_t take_and_release(struct pool *pool, uint64_t namespace_key, char letter, size_t n)
{
    struct running r;
    size_t reused = take(pool, namespace_key, letter, n, &r);
    prefix_release(r.leaf);
    prefix_check(pool->prefix);
    return reused;
}

static void test_prefix__namespaces_never_share(void **state)
{
    (void)state;
    struct pool pool = open_pool(4);
    assert_int_equal(take_and_release(&pool, 1, 'a', 30), 0);
    assert_int_equal(take_and_release(&pool, 2, 'a', 30), 0);
    assert_int_equal(take_and_release(&pool, 1, 'a', 40), 30);
    assert_int_equal(take_and_release(&pool, 2, 'a', 35), 30);
    close_pool(&pool);
}

static void test_prefix__what_is_truncated_is_gone_from_the_pool(void **state)
{
    (void)state;
    struct pool pool = open_pool(4);
    struct running r;
    model_token held[PROMPT];
    take(&pool, 1, 'a', 30, &r);
    prefix_truncate(r.leaf, 20);
    prefix_check(pool.prefix);
    assert_int_equal(prefix_leaf_length(r.leaf), 20);
    assert_int_equal(model_toy_cells_used(pool.model), 20);
    assert_int_equal(model_toy_sequence(pool.model, prefix_leaf_sequence(r.leaf), held, PROMPT),
                     20);
    prefix_release(r.leaf);
    assert_int_equal(take_and_release(&pool, 1, 'a', 30), 20);
    close_pool(&pool);
}

static void test_prefix__truncating_frees_no_cell_that_another_leaf_uses(void **state)
{
    (void)state;
    struct pool pool = open_pool(4);
    struct running a, b;
    take(&pool, 1, 'a', 30, &a);
    assert_int_equal(take(&pool, 1, 'a', 40, &b), 30);
    prefix_truncate(b.leaf, 10);
    prefix_check(pool.prefix);
    assert_int_equal(model_toy_cells_used(pool.model), 30);
    assert_int_equal(prefix_leaf_length(a.leaf), 30);
    prefix_release(a.leaf);
    prefix_release(b.leaf);
    close_pool(&pool);
}

static void test_prefix__the_least_recently_used_leaf_goes_first(void **state)
{
    (void)state;
    struct pool pool = open_pool(8);
    take_and_release(&pool, 1, 'a', 30);
    take_and_release(&pool, 1, 'b', 30);
    take_and_release(&pool, 1, 'c', 30);
    assert_int_equal(take_and_release(&pool, 1, 'a', 30), 29); /* used again: b is the oldest */
    assert_true(prefix_evict_one(pool.prefix));
    assert_int_equal(model_toy_cells_used(pool.model), 60);
    assert_int_equal(take_and_release(&pool, 1, 'a', 30), 29);
    assert_int_equal(take_and_release(&pool, 1, 'c', 30), 29);
    assert_int_equal(take_and_release(&pool, 1, 'b', 30), 0);
    close_pool(&pool);
}

static void test_prefix__the_least_important_leaf_goes_before_an_older_one(void **state)
{
    (void)state;
    struct pool pool = open_pool(8);
    struct running r;
    take(&pool, 1, 'a', 30, &r);
    prefix_leaf_claim(r.leaf, 0);
    prefix_leaf_claim(r.leaf, 2); /* once important is enough */
    prefix_release(r.leaf);
    take(&pool, 1, 'b', 30, &r);
    prefix_leaf_claim(r.leaf, 2);
    prefix_release(r.leaf);
    assert_int_equal(take_and_release(&pool, 1, 'a', 40), 30); /* what continues it is as it was */
    assert_int_equal(take_and_release(&pool, 1, 'b', 40), 30);
    assert_true(prefix_evict_one(pool.prefix));
    assert_int_equal(model_toy_cells_used(pool.model), 40);
    assert_int_equal(take_and_release(&pool, 1, 'a', 40), 39);
    close_pool(&pool);
}

static void test_prefix__a_new_leaf_takes_the_oldest_idle_sequence(void **state)
{
    (void)state;
    struct pool pool = open_pool(2);
    take_and_release(&pool, 1, 'a', 30);
    take_and_release(&pool, 1, 'b', 30);
    take_and_release(&pool, 1, 'c', 30);
    assert_int_equal(take_and_release(&pool, 1, 'b', 30), 29);
    assert_int_equal(take_and_release(&pool, 1, 'a', 30), 0);
    close_pool(&pool);
}

static void test_prefix__what_another_leaf_says_too_is_kept_once(void **state)
{
    (void)state;
    struct pool pool = open_pool(4);
    take_and_release(&pool, 1, 'a', 30);
    take_and_release(&pool, 1, 'a', 50);
    assert_int_equal(model_toy_cells_used(pool.model), 50);
    assert_true(prefix_evict_one(pool.prefix));
    assert_false(prefix_evict_one(pool.prefix));
    take_and_release(&pool, 1, 'b', PREFIX_KEEP_TOKENS - 1);
    assert_int_equal(model_toy_cells_used(pool.model), 0);
    close_pool(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefix__random_operations_keep_every_invariant),
        cmocka_unit_test(test_prefix__pinned_leaves_are_never_evicted),
        cmocka_unit_test(test_prefix__namespaces_never_share),
        cmocka_unit_test(test_prefix__what_is_truncated_is_gone_from_the_pool),
        cmocka_unit_test(test_prefix__truncating_frees_no_cell_that_another_leaf_uses),
        cmocka_unit_test(test_prefix__the_least_recently_used_leaf_goes_first),
        cmocka_unit_test(test_prefix__the_least_important_leaf_goes_before_an_older_one),
        cmocka_unit_test(test_prefix__a_new_leaf_takes_the_oldest_idle_sequence),
        cmocka_unit_test(test_prefix__what_another_leaf_says_too_is_kept_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
