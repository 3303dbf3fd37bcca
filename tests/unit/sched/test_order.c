/* Whose prompt is read first: pure, with the time given. */
#include "support/check.h"

#include "sched/order.h"

enum { S = 1000, N = 5 };

static void check_order(const struct order_entry *entries, size_t n, uint64_t now_ms,
                        const char *wanted)
{
    size_t order[N];
    char found[N + 1] = {0};
    order_sort(entries, n, now_ms, order);
    for (size_t i = 0; i < n; i++)
        found[i] = (char)('0' + order[i]);
    assert_string_equal(found, wanted);
}

static void test_order__goes_by_class_then_by_age(void **state)
{
    (void)state;
    const struct order_entry entries[N] = {
        {JOB_BACKGROUND, 0},   {JOB_SUBAGENT, 0},        {JOB_INTERACTIVE, 5 * S},
        {JOB_SUBAGENT, 2 * S}, {JOB_INTERACTIVE, 1 * S},
    };
    check_order(entries, N, 10 * S, "24130");
    check_order(entries, 2, 10 * S, "10");
    check_order(entries, 0, 10 * S, "");
}

static void test_order__who_is_passed_over_rises_a_class_each_half_minute(void **state)
{
    (void)state;
    struct order_entry entries[] = {
        {JOB_BACKGROUND, 100 * S}, {JOB_INTERACTIVE, 0}, {JOB_SUBAGENT, 159 * S}};
    check_order(entries, 3, 100 * S, "120");
    check_order(entries, 3, 130 * S - 1, "120");
    entries[2].served_ms = 130 * S;
    check_order(entries, 3, 130 * S, "102"); /* a sub-agent's rank, and older */
    entries[1].served_ms = 160 * S;          /* it was served all the while */
    check_order(entries, 3, 160 * S - 1, "102");
    entries[2].served_ms = 160 * S;
    check_order(entries, 3, 160 * S, "012"); /* the user's rank, and older */
    entries[0].served_ms = 160 * S;          /* a chunk of it is computed: it waits again */
    check_order(entries, 3, 161 * S, "120");
}

static void test_order__no_wait_makes_more_important_than_the_user(void **state)
{
    (void)state;
    const struct order_entry entries[] = {{JOB_INTERACTIVE, 1000 * S}, {JOB_BACKGROUND, 0}};
    check_order(entries, 2, 1000 * S, "01");
    check_order(entries, 2, 500 * S, "01"); /* a time before the entry's own is no wait */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order__goes_by_class_then_by_age),
        cmocka_unit_test(test_order__who_is_passed_over_rises_a_class_each_half_minute),
        cmocka_unit_test(test_order__no_wait_makes_more_important_than_the_user),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
