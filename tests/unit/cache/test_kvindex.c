/* The index of the store: random operations against a naive list, and the order of eviction. */
#include "support/check.h"

#include "cache/kvindex.h"

enum { ROUNDS = 20000, MOST = 200 };

static uint64_t seed = 20261126;

static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

/* The n-th of few keys, so that they come again. */
static struct kv_key key_of(uint32_t n)
{
    struct kv_key root = kv_key_root("00", 0);
    model_token token = (model_token)n;
    return kv_key_child(&root, &token, 1);
}

static void test_kvindex__random_operations_agree_with_a_list(void **state)
{
    (void)state;
    struct kvindex *ix = kvindex_create(MOST / 2);
    bool is_there[MOST] = {0};
    uint64_t parents[MOST] = {0};
    uint32_t n_there = 0;
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t n = draw(MOST);
        struct kv_key key = key_of(n);
        assert_int_equal(kvindex_find(ix, &key) != NULL, is_there[n]);
        if (is_there[n]) {
            assert_int_equal(kvindex_find(ix, &key)->parent_short, parents[n]);
            kvindex_remove(ix, &key);
            is_there[n] = false;
            n_there--;
        } else {
            parents[n] = draw(5);
            bool has_room = n_there < MOST / 2;
            assert_int_equal(kvindex_add(ix, &key, parents[n], n, 0) != NULL, has_room);
            is_there[n] = has_room;
            n_there += has_room;
        }
        assert_int_equal(kvindex_count(ix), n_there);
        if (round % 100 == 0)
            kvindex_check(ix);
    }
    kvindex_destroy(ix);
}

static void test_kvindex__children_are_those_of_the_parent(void **state)
{
    (void)state;
    struct kvindex *ix = kvindex_create(MOST);
    for (uint32_t i = 0; i < MOST; i++) {
        struct kv_key key = key_of(i);
        assert_non_null(kvindex_add(ix, &key, i % 7, 1, 0));
    }
    uint32_t n = 0;
    for (struct kvindex_entry *e = kvindex_first_child(ix, 3); e != NULL;
         e = kvindex_next_child(ix, e)) {
        assert_int_equal(e->parent_short, 3);
        n++;
    }
    assert_int_equal(n, MOST / 7 + (3 < MOST % 7));
    kvindex_destroy(ix);
}

/* A block behind the n-th one (or behind none, for itself), used at a time. */
static void add(struct kvindex *ix, uint32_t n, uint32_t parent, int64_t used_at)
{
    struct kv_key key = key_of(n), parent_key = key_of(parent);
    struct kvindex_entry *e =
        kvindex_add(ix, &key, parent != n ? kv_key_short(&parent_key) : 0, 10, used_at);
    assert_non_null(e);
    e->is_written = true;
}

static void check_order(struct kvindex *ix, const uint32_t *expected, size_t n_expected)
{
    size_t n;
    struct kv_key *order = kvindex_order(ix, &n);
    assert_int_equal(n, n_expected);
    for (size_t i = 0; i < n; i++) {
        struct kv_key key = key_of(expected[i]);
        assert_memory_equal(&order[i], &key, sizeof key);
    }
    mem_free(order);
}

static void test_kvindex__a_prompt_loses_its_end_first(void **state)
{
    (void)state;
    struct kvindex *ix = kvindex_create(MOST);
    add(ix, 2, 1, 1000); /* children may be known before their parents */
    add(ix, 1, 1, 900);
    add(ix, 3, 2, 1000);
    add(ix, 4, 4, 950); /* another prompt, used before */
    check_order(ix, (const uint32_t[]){4, 3, 2, 1}, 4);
    kvindex_destroy(ix);
}

static void test_kvindex__what_a_block_on_its_way_continues_goes_last(void **state)
{
    (void)state;
    struct kvindex *ix = kvindex_create(MOST);
    add(ix, 1, 1, 100);
    add(ix, 2, 1, 100);
    add(ix, 3, 2, 100);
    struct kv_key key = key_of(3);
    kvindex_find(ix, &key)->is_written = false;
    add(ix, 4, 4, 500);
    check_order(ix, (const uint32_t[]){4, 2, 1}, 3);
    kvindex_destroy(ix);
}

static void test_kvindex__what_several_prompts_share_stays_longer(void **state)
{
    (void)state;
    struct kvindex *ix = kvindex_create(MOST);
    add(ix, 1, 1, 100);
    add(ix, 2, 1, 100);
    add(ix, 3, 2, 100); /* 1 and 2 are continued by 3 and by 4 */
    add(ix, 4, 2, 200);
    add(ix, 5, 5, 200 + KVINDEX_SHARED_BONUS_S - 1); /* a prompt that nobody shares */
    check_order(ix, (const uint32_t[]){3, 4, 5, 2, 1}, 5);
    kvindex_destroy(ix);
}

static void test_kvindex__a_circle_of_names_ends(void **state)
{
    (void)state;
    struct kvindex *ix = kvindex_create(MOST);
    add(ix, 1, 2, 100);
    add(ix, 2, 3, 300);
    add(ix, 3, 1, 200);
    size_t n;
    mem_free(kvindex_order(ix, &n));
    assert_int_equal(n, 3);
    mem_fail_at(1);
    assert_null(kvindex_order(ix, &n));
    mem_fail_at(0);
    kvindex_destroy(ix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kvindex__random_operations_agree_with_a_list),
        cmocka_unit_test(test_kvindex__children_are_those_of_the_parent),
        cmocka_unit_test(test_kvindex__a_prompt_loses_its_end_first),
        cmocka_unit_test(test_kvindex__what_a_block_on_its_way_continues_goes_last),
        cmocka_unit_test(test_kvindex__what_several_prompts_share_stays_longer),
        cmocka_unit_test(test_kvindex__a_circle_of_names_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
