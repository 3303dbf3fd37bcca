/* The central promise, over generated conversations: a longer conversation's prompt begins with the
 * shorter one's, up to the words that open the reply. */
#include "unit/prompt/talk.h"

enum { CONVERSATIONS = 40 };

static void grow_many(const char *name, const char *source, struct talk t, count_kept *count)
{
    struct fixture_model f;
    fixture_open(&f, source);
    for (uint64_t k = 0; k < CONVERSATIONS; k++) {
        talk_seed = k;
        grow(&f, name, t, t.only_results || k % 2 == 0, count);
    }
    fixture_close(&f);
}

static void test_render__every_prompt_begins_with_the_one_before(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIXTURE_TEMPLATES; i++)
        grow_many(fixture_templates[i].name, fixture_templates[i].source, (struct talk){0},
                  count_closed);
}

static void test_render__reasoning_stays_while_tools_are_called(void **state)
{
    (void)state;
    grow_many("qwen3", FIXTURE_THINKING, (struct talk){.thinks = true, .only_results = true},
              count_closed);
}

/* Qwen's templates show reasoning only since the user's last words: that is how the model was
 * trained, and what stands before it stays. */
static void test_render__what_stands_before_dropped_reasoning_stays(void **state)
{
    (void)state;
    grow_many("qwen3", FIXTURE_THINKING, (struct talk){.thinks = true}, count_before_thinking);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_render__every_prompt_begins_with_the_one_before),
        cmocka_unit_test(test_render__reasoning_stays_while_tools_are_called),
        cmocka_unit_test(test_render__what_stands_before_dropped_reasoning_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
