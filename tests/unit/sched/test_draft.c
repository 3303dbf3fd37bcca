/* Guesses at the next tokens: pure. */
#include "support/check.h"

#include "sched/draft.h"

enum { MOST = 4096, STEP_US = 20 * 1000 };

static const struct draft_cost unknown;

/* Tokens are characters; `out` gets the guess at what follows `text`. */
static const char *guess(struct draft *d, const char *text, size_t n_most)
{
    static char out[DRAFT_MOST + 1];
    model_token tokens[MOST], drafted[DRAFT_MOST];
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        tokens[i] = (unsigned char)text[i];
    size_t n_drafted = draft_propose(d, tokens, n, n_most, drafted);
    assert_true(n_drafted <= n_most);
    for (size_t i = 0; i < n_drafted; i++)
        out[i] = (char)drafted[i];
    out[n_drafted] = '\0';
    return out;
}

static void test_draft__follows_a_long_match_only(void **state)
{
    (void)state;
    struct draft d;
    draft_init(&d, MOST);
    assert_string_equal(guess(&d, "", DRAFT_MOST), "");
    assert_string_equal(guess(&d, "12345678", DRAFT_MOST), "");
    assert_string_equal(guess(&d, "12345678 and more of it; 2345678", DRAFT_MOST), "");
    draft_free(&d);
    draft_init(&d, MOST);
    assert_string_equal(guess(&d, "12345678 and more of it; 12345678", DRAFT_MOST), " and mor");
    assert_string_equal(guess(&d, "12345678 and more of it; 12345678 ", 3), "and");
    assert_string_equal(guess(&d, "12345678 and more of it; 12345678 and", 0), "");
    draft_free(&d);
}

static void test_draft__the_latest_occurrence_counts(void **state)
{
    (void)state;
    struct draft d;
    draft_init(&d, MOST);
    assert_string_equal(guess(&d, "int value = one; int value = two; int value = ", 3), "two");
    draft_free(&d);
}

/* A list with many equal beginnings of lines is followed in its own order. */
static void test_draft__a_text_that_is_followed_goes_before_a_later_one(void **state)
{
    (void)state;
    static const char list[] = "apple number 1 is red, apple number 2 is ripe, apple number 3; ";
    char text[MOST];
    struct draft d;
    draft_init(&d, MOST);
    snprintf(text, sizeof text, "%s%.9s", list, list);
    assert_string_equal(guess(&d, text, 6), "ber 3;"); /* the latest */
    snprintf(text, sizeof text, "%s%.17s", list, list);
    assert_string_equal(guess(&d, text, 6), " red, ");
    snprintf(text, sizeof text, "%s%.32s", list, list);
    assert_string_equal(guess(&d, text, 6), "ber 2 ");
    draft_free(&d);
}

/* Of what repeats itself, no more is known than there is. */
static void test_draft__ends_where_the_text_ends(void **state)
{
    (void)state;
    struct draft d;
    draft_init(&d, MOST);
    assert_string_equal(guess(&d, "abcabcabcabc", DRAFT_MOST), "abc");
    draft_free(&d);
}

static void test_draft__grows_while_it_holds_and_is_no_longer_than_the_match(void **state)
{
    (void)state;
    static const char file[] =
        "the quick brown fox jumps over the lazy dog, again and again, without "
        "end in sight for anyone who waits; ";
    char text[MOST];
    struct draft d;
    draft_init(&d, MOST);
    size_t wanted[] = {8, 16, 32, 48, 48};
    for (size_t i = 0; i < 5; i++) {
        snprintf(text, sizeof text, "%s%.50s", file, file);
        assert_int_equal(strlen(guess(&d, text, DRAFT_MOST)), wanted[i]);
        draft_note(&d, &unknown, 1, wanted[i], wanted[i]);
    }
    snprintf(text, sizeof text, "%s%.50s%.10s", file, file, file);
    assert_int_equal(strlen(guess(&d, text, DRAFT_MOST)), 10); /* ten tokens match */
    draft_note(&d, &unknown, 1, 10, 9);
    snprintf(text, sizeof text, "%s%.50s%.10s%.40s", file, file, file, file + 50);
    assert_int_equal(strlen(guess(&d, text, DRAFT_MOST)), 8); /* after a failure */
    draft_free(&d);
}

static void test_draft__pauses_where_guesses_fail(void **state)
{
    (void)state;
    static const char text[] = "12345678 and more of it; 12345678";
    model_token tokens[MOST] = {0}, out[DRAFT_MOST];
    struct draft d;
    draft_init(&d, MOST);
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        tokens[i] = (unsigned char)text[i];
    draft_note(&d, &unknown, n, 8, 0);
    assert_int_equal(draft_propose(&d, tokens, n, DRAFT_MOST, out), 8); /* once is no habit */
    draft_note(&d, &unknown, n, 8, 0);
    assert_int_equal(draft_propose(&d, tokens, n, DRAFT_MOST, out), 0);

    for (size_t i = n; i < n + DRAFT_PAUSE_TOKENS; i++) /* all tokens are the same now */
        tokens[i] = 'x';
    n += DRAFT_PAUSE_TOKENS;
    assert_int_equal(draft_propose(&d, tokens, n - 1, DRAFT_MOST, out), 0);
    assert_int_equal(draft_propose(&d, tokens, n, DRAFT_MOST, out), 8);
    draft_note(&d, &unknown, n, 8, 0); /* once is enough after a pause */
    assert_int_equal(draft_propose(&d, tokens, n, DRAFT_MOST, out), 0);
    draft_free(&d);
}

static void test_draft__mostly_right_goes_on(void **state)
{
    (void)state;
    struct draft d;
    draft_init(&d, MOST);
    for (int i = 0; i < 100; i++) {
        assert_string_equal(guess(&d, "12345678 and; 12345678", 2), " a");
        draft_note(&d, &unknown, 22, 2, i % 3 == 0 ? 0 : 2);
    }
    draft_free(&d);
}

/* Guesses of which eight in ten hold pay where they are cheap, and not where they are dear. */
static void test_draft__what_pays_depends_on_what_a_guess_costs(void **state)
{
    (void)state;
    static const char text[] = "12345678 and more of it; 12345678";
    static const struct {
        uint64_t us; /* of a step with ten guessed tokens */
        bool goes_on;
    } cases[] = {{STEP_US + 10 * 5 * 1000, true}, {STEP_US + 10 * 18 * 1000, false}};
    for (size_t i = 0; i < 2; i++) {
        struct draft_cost cost = {0};
        draft_cost_add(&cost, 0, STEP_US);
        draft_cost_add(&cost, 10, cases[i].us);
        struct draft d;
        draft_init(&d, MOST);
        for (int round = 0; round < 20; round++)
            draft_note(&d, &cost, sizeof text, 10, 8);
        assert_int_equal(strlen(guess(&d, text, DRAFT_MOST)) > 0, cases[i].goes_on);
        draft_free(&d);
    }
}

static void test_draft__steps_too_short_to_measure_count_as_cheap(void **state)
{
    (void)state;
    struct draft_cost cost = {0};
    draft_cost_add(&cost, 0, 10);
    draft_cost_add(&cost, 10, 100 * 1000);
    assert_true(cost.share == 0);
    draft_cost_add(&cost, 0, 100 * STEP_US); /* now the mean is long enough */
    draft_cost_add(&cost, 10, 1000 * STEP_US);
    assert_true(cost.share > 0.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draft__follows_a_long_match_only),
        cmocka_unit_test(test_draft__the_latest_occurrence_counts),
        cmocka_unit_test(test_draft__a_text_that_is_followed_goes_before_a_later_one),
        cmocka_unit_test(test_draft__ends_where_the_text_ends),
        cmocka_unit_test(test_draft__grows_while_it_holds_and_is_no_longer_than_the_match),
        cmocka_unit_test(test_draft__pauses_where_guesses_fail),
        cmocka_unit_test(test_draft__mostly_right_goes_on),
        cmocka_unit_test(test_draft__what_pays_depends_on_what_a_guess_costs),
        cmocka_unit_test(test_draft__steps_too_short_to_measure_count_as_cheap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
