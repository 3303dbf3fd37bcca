/* What a request alone decides of its turn. */
#include "support/check.h"

#include "base/limits.h"
#include "engine/choices.h"
#include "model/model_toy.h"

static const struct sampler_params recommended = {
    .temperature = 0.7F, .top_p = 0.8F, .top_k = 20, .repeat_penalty = 1.1F};

/* A request that leaves everything open. */
static struct message_request open_request(size_t n_tools)
{
    return (struct message_request){.sampling = {.temperature = -1, .top_p = -1, .top_k = -1},
                                    .n_tools = n_tools};
}

static void check_near(float a, double b)
{
    assert_true(a > b - 1e-6 && a < b + 1e-6);
}

static void test_choices__what_is_left_open_is_as_recommended_and_what_is_set_wins(void **state)
{
    (void)state;
    struct message_request req = open_request(0);
    struct sampler_params p = choose_sampling(&recommended, &req);
    check_near(p.temperature, 0.7);
    check_near(p.top_p, 0.8);
    assert_int_equal(p.top_k, 20);
    check_near(p.repeat_penalty, 1.1);

    req.sampling.temperature = 0;
    req.sampling.top_p = 0.5F;
    req.sampling.top_k = 3;
    p = choose_sampling(&recommended, &req);
    check_near(p.temperature, 0);
    check_near(p.top_p, 0.5);
    assert_int_equal(p.top_k, 3);
}

static void test_choices__tools_are_sampled_cool_and_may_repeat_words(void **state)
{
    (void)state;
    struct message_request req = open_request(2);
    struct sampler_params p = choose_sampling(&recommended, &req);
    check_near(p.temperature, 0.2);
    check_near(p.repeat_penalty, 1);

    struct sampler_params greedy = recommended;
    greedy.temperature = 0.1F; /* cooler than that already */
    check_near(choose_sampling(&greedy, &req).temperature, 0.1);

    req.sampling.temperature = 1; /* the client's word */
    p = choose_sampling(&recommended, &req);
    check_near(p.temperature, 1);
    check_near(p.repeat_penalty, 1);
}

static void test_choices__two_turns_are_not_sampled_with_one_seed(void **state)
{
    (void)state;
    struct message_request req = open_request(0);
    struct sampler_params a = choose_sampling(&recommended, &req);
    struct sampler_params b = choose_sampling(&recommended, &req);
    assert_true(a.seed != b.seed);
}

/* ---- The form of the reply ---- */

static char thinking_start[] = "<think>", thinking_end[] = "</think>", none[] = "";
static char opened[] = "<|im_start|>assistant\n<think>\n", plain[] = "<|im_start|>assistant\n";
static char text[] = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";

static struct chat_prompt prompt_of(char *generation_prompt, bool can_think)
{
    return (struct chat_prompt){
        .text = text,
        .len = sizeof text - 1,
        .grammar = {.text = STR("root ::= \"x\""), .lazy = true},
        .generation_prompt = generation_prompt,
        .thinking_start = can_think ? thinking_start : none,
        .thinking_end = can_think ? thinking_end : none,
    };
}

static void test_choices__a_reply_is_held_to_the_tools_that_may_be_called(void **state)
{
    (void)state;
    struct chat_prompt chat = prompt_of(opened, true);
    struct grammar_call tool = {.name = STR("Read"), .schema_json = STR("{}")};
    struct grammar_spec spec = choose_grammar(&chat, &tool, 1, false);
    assert_int_equal(spec.n_calls, 1);
    assert_ptr_equal(spec.calls, &tool);
    assert_true(spec.begins_in_thinking);
    CHECK_STR(spec.thinking_end, "</think>");
    CHECK_STR(spec.text, "root ::= \"x\"");

    spec = choose_grammar(&chat, NULL, 0, false);
    assert_int_equal(spec.n_calls, 0);
    CHECK_STR(spec.text, "root ::= \"x\"");
}

static void test_choices__schemas_that_are_too_large_hold_nothing(void **state)
{
    (void)state;
    struct chat_prompt chat = prompt_of(plain, false);
    char *schema = mem_zalloc(LIMIT_GRAMMAR_BYTES);
    struct grammar_call tool = {.name = STR("Read"), .schema_json = {schema, LIMIT_GRAMMAR_BYTES}};
    assert_int_equal(choose_grammar(&chat, &tool, 1, false).n_calls, 0);
    tool.schema_json.len -= tool.name.len;
    assert_int_equal(choose_grammar(&chat, &tool, 1, false).n_calls, 1);
    mem_free(schema);
}

static void test_choices__words_are_a_grammar_of_their_own(void **state)
{
    (void)state;
    struct chat_prompt chat = prompt_of(plain, false);
    struct grammar_call tool = {.name = STR("Read"), .schema_json = STR("{}")};
    struct grammar_spec spec = choose_grammar(&chat, &tool, 1, true);
    assert_int_equal(spec.n_calls, 0);
    assert_false(spec.lazy);
    assert_true(str_starts_with(spec.text, STR("root ::= [^{}<>`|")));
}

/* ---- Thinking ---- */

static void test_choices__of_budget_and_effort_the_least_counts(void **state)
{
    (void)state;
    static const struct {
        enum thinking_mode thinking;
        uint32_t budget;
        enum effort effort;
        uint32_t is;
    } cases[] = {
        {THINKING_ENABLED, 2000, EFFORT_UNSET, 2000},
        {THINKING_ENABLED, 2000, EFFORT_LOW, 1024},
        {THINKING_ENABLED, 2000, EFFORT_MEDIUM, 2000},
        {THINKING_ENABLED, 9000, EFFORT_MEDIUM, 4096},
        {THINKING_ENABLED, 9000, EFFORT_HIGH, 9000},
        {THINKING_ADAPTIVE, 9000, EFFORT_LOW, 1024},
        {THINKING_ADAPTIVE, 9000, EFFORT_HIGH, UINT32_MAX},
    };
    struct model_toy_options options = {.n_cells = 64, .n_sequences = 2};
    struct model *m = model_toy_create(&options);
    struct chat_prompt chat = prompt_of(plain, true);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct message_request req = {.thinking = cases[i].thinking,
                                      .thinking_budget_tokens = cases[i].budget,
                                      .effort = cases[i].effort};
        struct thinking_limit limit;
        assert_int_equal(choose_thinking_limit(m, &chat, &req, true, &limit), STATUS_OK);
        assert_int_equal(limit.budget, cases[i].is);
        assert_int_equal(limit.n_closing > 0, cases[i].is != UINT32_MAX);
        mem_free((void *)(uintptr_t)limit.closing);
    }
    model_destroy(m);
}

/* A reply that a schema holds from its first byte on can't be told to close a thought; one that may
 * call a tool instead is not held so. */
static void test_choices__a_reply_held_to_a_schema_has_no_thoughts_to_end(void **state)
{
    (void)state;
    struct model_toy_options options = {.n_cells = 64, .n_sequences = 2};
    struct model *m = model_toy_create(&options);
    struct chat_prompt thinks = prompt_of(plain, true), never = prompt_of(plain, false);
    struct message_request req = {.thinking = THINKING_ENABLED,
                                  .thinking_budget_tokens = 2000,
                                  .output_schema_json = STR("{}")};
    struct thinking_limit limit;
    assert_int_equal(choose_thinking_limit(m, &thinks, &req, false, &limit), STATUS_OK);
    assert_int_equal(limit.end.len, 0);
    assert_int_equal(limit.n_closing, 0);

    assert_int_equal(choose_thinking_limit(m, &thinks, &req, true, &limit), STATUS_OK);
    CHECK_STR(limit.end, "</think>");
    mem_free((void *)(uintptr_t)limit.closing);

    req.output_schema_json.len = 0;
    assert_int_equal(choose_thinking_limit(m, &never, &req, true, &limit), STATUS_OK);
    assert_int_equal(limit.end.len, 0);
    model_destroy(m);
}

static void test_choices__the_token_that_begins_a_turn_is_the_templates(void **state)
{
    (void)state;
    static char words[] = "Assistant: ";
    static char channels[] = "<|start|>assistant<|channel|>";
    struct model_toy_options options = {.n_cells = 64, .n_sequences = 2};
    struct model *m = model_toy_create(&options);
    struct chat_prompt chat = prompt_of(plain, false);
    assert_int_equal(choose_turn_begin(m, &chat), MODEL_TOY_IM_START);
    chat.text = channels; /* there it also stands inside replies */
    assert_int_equal(choose_turn_begin(m, &chat), MODEL_NO_TOKEN);
    chat = prompt_of(words, false);
    assert_int_equal(choose_turn_begin(m, &chat), MODEL_NO_TOKEN);
    chat = prompt_of(none, false);
    assert_int_equal(choose_turn_begin(m, &chat), MODEL_NO_TOKEN);
    model_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices__what_is_left_open_is_as_recommended_and_what_is_set_wins),
        cmocka_unit_test(test_choices__tools_are_sampled_cool_and_may_repeat_words),
        cmocka_unit_test(test_choices__two_turns_are_not_sampled_with_one_seed),
        cmocka_unit_test(test_choices__a_reply_is_held_to_the_tools_that_may_be_called),
        cmocka_unit_test(test_choices__schemas_that_are_too_large_hold_nothing),
        cmocka_unit_test(test_choices__words_are_a_grammar_of_their_own),
        cmocka_unit_test(test_choices__of_budget_and_effort_the_least_counts),
        cmocka_unit_test(test_choices__a_reply_held_to_a_schema_has_no_thoughts_to_end),
        cmocka_unit_test(test_choices__the_token_that_begins_a_turn_is_the_templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
