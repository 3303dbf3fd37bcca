/* What is taken out of a conversation at its client's wish; a character counts as a token. */
#include "support/check.h"

#include "prompt/edits.h"
#include "prompt/repetition.h"

enum { ROUNDS = 5, RESULT_BYTES = 400 };

/* A user's wish, then rounds of thinking, a call, and its result. */
struct conversation {
    struct message_request req;
    struct message messages[1 + 2 * ROUNDS];
    struct block blocks[1 + 3 * ROUNDS];
    struct block results[ROUNDS];
    char text[RESULT_BYTES];
    struct arena arena;
    int n_counts;
};

static const char *const ids[ROUNDS] = {"toolu_0", "toolu_1", "toolu_2", "toolu_3", "toolu_4"};

static void make(struct conversation *c)
{
    memset(c, 0, sizeof *c);
    memset(c->text, 'r', sizeof c->text);
    arena_init(&c->arena, 1 << 20);
    c->blocks[0] = (struct block){.type = BLOCK_TEXT, .text = STR("Go.")};
    c->messages[0] = (struct message){ROLE_USER, &c->blocks[0], 1};
    for (size_t i = 0; i < ROUNDS; i++) {
        struct block *b = &c->blocks[1 + 3 * i];
        c->results[i] = (struct block){.type = BLOCK_TEXT, .text = {c->text, RESULT_BYTES}};
        b[0] = (struct block){.type = BLOCK_THINKING, .text = STR("Hm. Let me see.")};
        b[1] = (struct block){.type = BLOCK_TOOL_USE,
                              .id = str_from(ids[i]),
                              .name = i == 1 ? STR("Keep") : STR("Read"),
                              .input_json = STR("{\"path\":\"a\"}")};
        b[2] = (struct block){.type = BLOCK_TOOL_RESULT,
                              .id = str_from(ids[i]),
                              .content = &c->results[i],
                              .n_content = 1};
        c->messages[1 + 2 * i] = (struct message){ROLE_ASSISTANT, b, 2};
        c->messages[2 + 2 * i] = (struct message){ROLE_USER, b + 2, 1};
    }
    c->req = (struct message_request){
        .messages = c->messages, .n_messages = 1 + 2 * ROUNDS, .reports_edits = true};
}

static enum status count(void *arg, const struct message_request *req, size_t *out,
                         struct error *err)
{
    (void)err;
    struct conversation *c = arg;
    c->n_counts++;
    *out = 0;
    for (size_t i = 0; i < req->n_messages; i++)
        for (size_t j = 0; j < req->messages[i].n_blocks; j++) {
            const struct block *b = &req->messages[i].blocks[j];
            *out += b->text.len + b->input_json.len;
            for (size_t k = 0; k < b->n_content; k++)
                *out += b->content[k].text.len;
        }
    return STATUS_OK;
}

static const struct message_request *apply(struct conversation *c, struct context_edit *edit,
                                           struct context_report *report)
{
    const struct message_request *out;
    struct error err = {0};
    c->req.edits = edit;
    c->req.n_edits = 1;
    if (edits_apply(&c->req, &c->arena, count, c, &out, report, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return out;
}

static bool has_result(const struct message_request *req, size_t round)
{
    return req->messages[2 + 2 * round].blocks[0].content[0].text.len == RESULT_BYTES;
}

static void test_edits__old_results_become_a_line(void **state)
{
    (void)state;
    struct conversation c;
    struct context_report report;
    make(&c);
    struct context_edit edit = {.type = EDIT_CLEAR_TOOL_USES, .keep = 2, .trigger = 1000};
    const struct message_request *out = apply(&c, &edit, &report);
    for (size_t i = 0; i < ROUNDS; i++) {
        assert_int_equal(has_result(out, i), i >= 3);
        assert_true(has_result(&c.req, i)); /* what the client sent is left alone */
        assert_true(out->messages[1 + 2 * i].blocks[1].input_json.len > 2);
    }
    assert_int_equal(report.n_applied, 1);
    assert_int_equal(report.applied[0].n_cleared, 3);
    size_t before, after;
    count(&c, &c.req, &before, NULL);
    count(&c, out, &after, NULL);
    assert_int_equal(report.original_tokens, before);
    assert_int_equal(report.applied[0].cleared_tokens, before - after);
    arena_free(&c.arena);
}

static void test_edits__below_the_trigger_nothing_is_done(void **state)
{
    (void)state;
    struct conversation c;
    struct context_report report;
    make(&c);
    struct context_edit edit = {.type = EDIT_CLEAR_TOOL_USES, .keep = 2, .trigger = 100000};
    assert_ptr_equal(apply(&c, &edit, &report), &c.req);
    assert_int_equal(report.n_applied, 0);
    assert_true(report.is_wanted);
    edit = (struct context_edit){
        .type = EDIT_CLEAR_TOOL_USES, .keep = 2, .trigger = 5, .trigger_counts_uses = true};
    c.n_counts = 0;
    assert_ptr_equal(apply(&c, &edit, &report), &c.req);
    edit.trigger = 4;
    assert_ptr_not_equal(apply(&c, &edit, &report), &c.req);
    arena_free(&c.arena);
}

static void test_edits__few_tool_uses_cost_no_counting(void **state)
{
    (void)state;
    struct conversation c;
    struct context_report report;
    make(&c);
    struct context_edit edit = {.type = EDIT_CLEAR_TOOL_USES, .keep = ROUNDS, .trigger = 1};
    assert_ptr_equal(apply(&c, &edit, &report), &c.req);
    edit = (struct context_edit){.type = EDIT_CLEAR_THINKING, .keep = UINT32_MAX};
    assert_ptr_equal(apply(&c, &edit, &report), &c.req);
    assert_int_equal(c.n_counts, 0);
    arena_free(&c.arena);
}

static void test_edits__excluded_tools_are_kept_and_inputs_go_where_wanted(void **state)
{
    (void)state;
    struct conversation c;
    struct context_report report;
    make(&c);
    static const struct str excluded[] = {{"Keep", 4}};
    struct context_edit edit = {.type = EDIT_CLEAR_TOOL_USES,
                                .keep = 2,
                                .trigger = 1,
                                .clears_inputs = true,
                                .excluded = excluded,
                                .n_excluded = 1};
    const struct message_request *out = apply(&c, &edit, &report);
    assert_int_equal(report.applied[0].n_cleared, 2);
    assert_true(has_result(out, 1));
    assert_false(has_result(out, 2));
    CHECK_STR(out->messages[1].blocks[1].input_json, "{}");
    CHECK_STR(out->messages[3].blocks[1].input_json, "{\"path\":\"a\"}");
    CHECK_STR(c.req.messages[1].blocks[1].input_json, "{\"path\":\"a\"}");
    arena_free(&c.arena);
}

static void test_edits__inputs_go_for_the_tools_that_are_named(void **state)
{
    (void)state;
    struct conversation c;
    struct context_report report;
    make(&c);
    static const struct str names[] = {{"Keep", 4}};
    struct context_edit edit = {.type = EDIT_CLEAR_TOOL_USES,
                                .keep = 2,
                                .trigger = 1,
                                .without_input = names,
                                .n_without_input = 1};
    const struct message_request *out = apply(&c, &edit, &report);
    assert_int_equal(report.applied[0].n_cleared, 3);
    CHECK_STR(out->messages[1].blocks[1].input_json, "{\"path\":\"a\"}");
    CHECK_STR(out->messages[3].blocks[1].input_json, "{}");
    arena_free(&c.arena);
}

static void test_edits__rounds_without_results_are_no_repetition(void **state)
{
    (void)state;
    struct conversation c;
    struct context_report report;
    make(&c);
    /* Rounds 2 to 4 are equal but for what the tool said, which has changed from one to the next.
     */
    c.results[2].text = STR("nothing yet");
    c.results[3].text = STR("it is there");
    struct context_edit edit = {.type = EDIT_CLEAR_TOOL_USES, .keep = 0, .trigger = 1};
    const struct message_request *out = apply(&c, &edit, &report);
    assert_int_equal(report.applied[0].n_cleared, ROUNDS);
    assert_false(repetition_found(out));
    assert_ptr_equal(repetition_left_out(out, &c.arena), out);
    arena_free(&c.arena);
}

static void test_edits__tools_that_a_result_loaded_stay(void **state)
{
    (void)state;
    struct conversation c;
    struct context_report report;
    make(&c);
    struct block loaded[3] = {
        {.type = BLOCK_TOOL_REFERENCE, .name = STR("Fetch")},
        {.type = BLOCK_TEXT, .text = {c.text, RESULT_BYTES}},
        {.type = BLOCK_TOOL_REFERENCE, .name = STR("Grep")},
    };
    c.blocks[3].content = loaded;
    c.blocks[3].n_content = 3;
    struct context_edit edit = {.type = EDIT_CLEAR_TOOL_USES, .keep = 2, .trigger = 1};
    const struct block *result = &apply(&c, &edit, &report)->messages[2].blocks[0];
    assert_true(edits_is_cleared(result));
    assert_int_equal(result->n_content, 3);
    CHECK_STR(result->content[1].name, "Fetch");
    CHECK_STR(result->content[2].name, "Grep");
    arena_free(&c.arena);
}

static void test_edits__too_little_to_be_worth_it_is_left(void **state)
{
    (void)state;
    struct conversation c;
    struct context_report report;
    make(&c);
    struct context_edit edit = {
        .type = EDIT_CLEAR_TOOL_USES, .keep = 4, .trigger = 1, .clear_at_least = 500};
    assert_ptr_equal(apply(&c, &edit, &report), &c.req);
    assert_int_equal(report.n_applied, 0);
    arena_free(&c.arena);
}

static void test_edits__thinking_of_old_turns_goes(void **state)
{
    (void)state;
    struct conversation c;
    struct context_report report;
    make(&c);
    struct context_edit edit = {.type = EDIT_CLEAR_THINKING, .keep = 1};
    const struct message_request *out = apply(&c, &edit, &report);
    for (size_t i = 0; i < ROUNDS; i++) {
        const struct message *m = &out->messages[1 + 2 * i];
        assert_int_equal(m->n_blocks, i + 1 == ROUNDS ? 2 : 1);
        assert_int_equal(m->blocks[m->n_blocks - 1].type, BLOCK_TOOL_USE);
    }
    assert_int_equal(report.applied[0].n_cleared, ROUNDS - 1);
    assert_int_equal(report.applied[0].type, EDIT_CLEAR_THINKING);
    arena_free(&c.arena);
}

static void test_edits__only_thoughts_make_a_turn_of_thinking(void **state)
{
    (void)state;
    struct conversation c;
    struct context_report report;
    make(&c);
    c.blocks[1 + 3 * 4].text = STR("");
    c.blocks[1 + 3 * 3].signature = STR(PROGRESS_SIGNATURE);
    struct context_edit edit = {.type = EDIT_CLEAR_THINKING, .keep = 2};
    const struct message_request *out = apply(&c, &edit, &report);
    assert_int_equal(report.applied[0].n_cleared, 1);
    assert_int_equal(out->messages[1].n_blocks, 1);
    assert_int_equal(out->messages[3].n_blocks, 2);
    arena_free(&c.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edits__old_results_become_a_line),
        cmocka_unit_test(test_edits__below_the_trigger_nothing_is_done),
        cmocka_unit_test(test_edits__few_tool_uses_cost_no_counting),
        cmocka_unit_test(test_edits__excluded_tools_are_kept_and_inputs_go_where_wanted),
        cmocka_unit_test(test_edits__inputs_go_for_the_tools_that_are_named),
        cmocka_unit_test(test_edits__rounds_without_results_are_no_repetition),
        cmocka_unit_test(test_edits__tools_that_a_result_loaded_stay),
        cmocka_unit_test(test_edits__only_thoughts_make_a_turn_of_thinking),
        cmocka_unit_test(test_edits__too_little_to_be_worth_it_is_left),
        cmocka_unit_test(test_edits__thinking_of_old_turns_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
