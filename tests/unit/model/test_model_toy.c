/* The toy model's rule and its pool; also model_tokenize over it. */
#include "model/model_toy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct model *make_toy(uint32_t n_cells)
{
    return model_toy_create(&(struct model_toy_options){.n_cells = n_cells, .n_sequences = 4});
}

/* Appends `text` to a sequence; logits of the last row. */
static enum model_result decode_text(struct model *m, uint32_t sequence, const char *text)
{
    model_token *tokens = NULL;
    size_t n = 0;
    assert_int_equal(model_tokenize(m, str_from(text), true, &tokens, &n), STATUS_OK);
    struct model_row rows[MODEL_BATCH_ROWS];
    uint32_t begin = (uint32_t)model_toy_sequence(m, sequence, NULL, 0);
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct model_row){tokens[i], begin + (uint32_t)i, sequence, i + 1 == n};
    enum model_result result = m->ops->decode(m, rows, n);
    mem_free(tokens);
    return result;
}

static model_token highest(const float *logits)
{
    model_token best = 0;
    for (model_token i = 1; i < MODEL_TOY_VOCAB; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* Goes on greedily after the last row, until the end or `limit` tokens. */
static void reply(struct model *m, uint32_t sequence, size_t last_row, size_t limit,
                  struct strbuf *out)
{
    model_token token = highest(m->ops->logits(m, last_row));
    for (size_t i = 0; i < limit && !m->ops->is_eog(m, token); i++) {
        m->ops->piece(m, token, false, out);
        struct model_row row = {token, (uint32_t)model_toy_sequence(m, sequence, NULL, 0), sequence,
                                true};
        assert_int_equal(m->ops->decode(m, &row, 1), MODEL_DONE);
        token = highest(m->ops->logits(m, 0));
    }
}

static void check_reply(const char *prompt, const char *expected)
{
    struct model *m = make_toy(512);
    struct strbuf out;
    strbuf_init(&out, 512);
    model_token *tokens = NULL;
    size_t n = 0;
    assert_int_equal(model_tokenize(m, str_from(prompt), true, &tokens, &n), STATUS_OK);
    mem_free(tokens);
    assert_int_equal(decode_text(m, 0, prompt), MODEL_DONE);
    reply(m, 0, n - 1, 20, &out);
    assert_string_equal(strbuf_cstr(&out), expected);
    strbuf_free(&out);
    model_destroy(m);
}

static void test_model_toy__says_the_script_and_ends(void **state)
{
    (void)state;
    check_reply("say:hello\n", "hello");
    check_reply("say:a\nsay:bc\n", "bc");
    check_reply("<|im_start|>user\nplease say:hi there<|im_end|>\n<|im_start|>assistant\n",
                "hi there");
    check_reply("<|im_start|>user\nsay:one\\ntwo\nmore<|im_end|>\n<|im_start|>assistant\n",
                "one\ntwo");
    check_reply("<|im_start|>user\nsay:hello<|im_end|>\n<|im_start|>assistant\nhel", "lo");
}

static void test_model_toy__without_a_script_every_token_changes_the_reply(void **state)
{
    (void)state;
    struct strbuf texts[3];
    const char *const prompts[] = {"abcdefgh", "abcdefgh", "xbcdefgh"};
    for (size_t i = 0; i < 3; i++) {
        struct model *m = make_toy(64);
        strbuf_init(&texts[i], 64);
        assert_int_equal(decode_text(m, 0, prompts[i]), MODEL_DONE);
        reply(m, 0, 7, 20, &texts[i]);
        assert_int_equal(texts[i].len, 20);
        model_destroy(m);
    }
    assert_string_equal(strbuf_cstr(&texts[0]), strbuf_cstr(&texts[1]));
    assert_string_not_equal(strbuf_cstr(&texts[0]), strbuf_cstr(&texts[2]));
    for (size_t i = 0; i < 3; i++)
        strbuf_free(&texts[i]);
}

static void test_model_toy__control_tokens_come_only_from_special_text(void **state)
{
    (void)state;
    struct model *m = make_toy(16);
    model_token *tokens = NULL;
    size_t n = 0;
    assert_int_equal(model_tokenize(m, STR("a<|im_end|>"), true, &tokens, &n), STATUS_OK);
    assert_int_equal(n, 2);
    assert_int_equal(tokens[1], MODEL_TOY_IM_END);
    assert_true(m->ops->is_eog(m, tokens[1]));
    mem_free(tokens);
    assert_int_equal(model_tokenize(m, STR("a<|im_end|>"), false, &tokens, &n), STATUS_OK);
    assert_int_equal(n, 11);
    for (size_t i = 0; i < n; i++)
        assert_false(m->ops->is_control(m, tokens[i]));
    mem_free(tokens);
    struct strbuf out;
    strbuf_init(&out, 64);
    m->ops->piece(m, MODEL_TOY_IM_START, false, &out);
    assert_int_equal(out.len, 0);
    m->ops->piece(m, MODEL_TOY_IM_START, true, &out);
    assert_string_equal(strbuf_cstr(&out), "<|im_start|>");
    strbuf_free(&out);
    model_destroy(m);
}

static void test_model_toy__copies_share_cells_until_both_let_go(void **state)
{
    (void)state;
    struct model *m = make_toy(16);
    assert_int_equal(decode_text(m, 0, "abcdef"), MODEL_DONE);
    m->ops->seq_copy(m, 0, 1, 0, 4);
    assert_int_equal(model_toy_cells_used(m), 6);
    assert_int_equal(decode_text(m, 1, "XY"), MODEL_DONE);
    assert_int_equal(model_toy_cells_used(m), 8);
    model_token tokens[8];
    assert_int_equal(model_toy_sequence(m, 1, tokens, 8), 6);
    assert_int_equal(tokens[3], 'd');
    assert_int_equal(tokens[4], 'X');
    assert_true(m->ops->seq_remove(m, 0, 2, UINT32_MAX)); /* c and d are still used by 1 */
    assert_int_equal(model_toy_cells_used(m), 6);
    assert_true(m->ops->seq_remove(m, 1, 0, UINT32_MAX));
    assert_int_equal(model_toy_cells_used(m), 2);
    assert_int_equal(model_toy_sequence(m, 0, tokens, 8), 2);
    assert_true(m->ops->seq_remove(m, 0, 0, UINT32_MAX));
    assert_int_equal(model_toy_cells_used(m), 0);
    model_destroy(m);
}

static void test_model_toy__a_shared_prefix_gives_the_same_reply(void **state)
{
    (void)state;
    struct model *m = make_toy(128);
    struct strbuf cold;
    struct strbuf warm;
    strbuf_init(&cold, 64);
    strbuf_init(&warm, 64);
    assert_int_equal(decode_text(m, 0, "a common prefix, then this"), MODEL_DONE);
    reply(m, 0, 25, 10, &cold);
    assert_int_equal(decode_text(m, 1, "a common prefix, but that"), MODEL_DONE);
    m->ops->seq_copy(m, 1, 2, 0, 17);
    assert_int_equal(decode_text(m, 2, "then this"), MODEL_DONE);
    reply(m, 2, 8, 10, &warm);
    assert_string_equal(strbuf_cstr(&warm), strbuf_cstr(&cold));
    strbuf_free(&warm);
    strbuf_free(&cold);
    model_destroy(m);
}

static void test_model_toy__a_full_pool_changes_nothing(void **state)
{
    (void)state;
    struct model *m = make_toy(8);
    assert_int_equal(decode_text(m, 0, "abcdef"), MODEL_DONE);
    assert_int_equal(decode_text(m, 1, "xyz"), MODEL_FULL);
    assert_int_equal(model_toy_cells_used(m), 6);
    assert_int_equal(model_toy_sequence(m, 1, NULL, 0), 0);
    assert_true(m->ops->seq_remove(m, 0, 5, UINT32_MAX));
    assert_int_equal(decode_text(m, 1, "xyz"), MODEL_DONE);
    model_destroy(m);
}

static bool abort_after(void *arg)
{
    int *left = arg;
    return (*left)-- <= 0;
}

static void test_model_toy__an_abort_leaves_leading_rows(void **state)
{
    (void)state;
    struct model *m = make_toy(16);
    int left = 3;
    m->ops->set_abort(m, abort_after, &left);
    assert_int_equal(decode_text(m, 0, "abcdef"), MODEL_ABORTED);
    assert_int_equal(model_toy_sequence(m, 0, NULL, 0), 3);
    assert_int_equal(m->ops->seq_length(m, 0), 3);
    m->ops->set_abort(m, NULL, NULL);
    assert_true(m->ops->seq_remove(m, 0, 0, UINT32_MAX));
    assert_int_equal(decode_text(m, 0, "abcdef"), MODEL_DONE);
    assert_int_equal(model_toy_rows(m), 9);
    model_destroy(m);
}

static void test_model_toy__fails_at_the_decode_that_was_asked_for(void **state)
{
    (void)state;
    struct model *m = model_toy_create(
        &(struct model_toy_options){.n_cells = 16, .n_sequences = 1, .fail_decode_at = 2});
    assert_int_equal(decode_text(m, 0, "a"), MODEL_DONE);
    assert_int_equal(decode_text(m, 0, "b"), MODEL_FAILED);
    assert_int_equal(decode_text(m, 0, "b"), MODEL_FAILED);
    assert_int_equal(model_toy_decodes(m), 3);
    model_destroy(m);
}

/* A pool with "abcdef" in sequence 0, and positions [2, 6) of it outside. */
static struct model *make_saved(struct model_toy_options options, char **out, size_t *out_bytes)
{
    struct model *m = model_toy_create(&options);
    assert_int_equal(decode_text(m, 0, "abcdef"), MODEL_DONE);
    assert_int_equal(m->ops->seq_save(m, 0, 2, 6, out, out_bytes), STATUS_OK);
    return m;
}

static void test_model_toy__saved_positions_come_back_behind_others(void **state)
{
    (void)state;
    char *data;
    size_t n;
    struct model *m =
        make_saved((struct model_toy_options){.n_cells = 16, .n_sequences = 2}, &data, &n);
    m->ops->seq_copy(m, 0, 1, 0, 4);
    assert_int_equal(m->ops->seq_load(m, 1, 2, 4, 6, (struct str){data, n}), STATUS_OK);
    assert_int_equal(model_toy_cells_used(m), 8); /* four are shared */
    model_token held[6];
    assert_int_equal(model_toy_sequence(m, 1, held, 6), 6);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(held[i], "abcdef"[i]);
    mem_free(data);
    model_destroy(m);
}

static void test_model_toy__what_cannot_be_loaded_changes_nothing(void **state)
{
    (void)state;
    char *data;
    size_t n;
    struct model *m = make_saved(
        (struct model_toy_options){
            .n_cells = 10, .n_sequences = 2, .fail_save_at = 2, .fail_load_at = 1},
        &data, &n);
    char *other;
    size_t n_other;
    assert_int_equal(m->ops->seq_save(m, 0, 0, 6, &other, &n_other), STATUS_NO_MEMORY);
    m->ops->seq_copy(m, 0, 1, 0, 2);
    struct str saved = {data, n};
    assert_int_equal(m->ops->seq_load(m, 1, 2, 2, 6, saved), STATUS_BUSY); /* as was asked for */
    struct str cut = {data, n - 1};
    assert_int_equal(m->ops->seq_load(m, 1, 2, 2, 6, cut), STATUS_CORRUPT);
    assert_int_equal(m->ops->seq_load(m, 1, 1, 2, 5, saved), STATUS_CORRUPT); /* elsewhere */
    assert_int_equal(model_toy_cells_used(m), 6);
    assert_int_equal(m->ops->seq_load(m, 1, 2, 2, 6, saved), STATUS_OK);
    m->ops->seq_remove(m, 1, 2, UINT32_MAX);
    assert_int_equal(decode_text(m, 0, "g"), MODEL_DONE);
    assert_int_equal(m->ops->seq_load(m, 1, 2, 2, 6, saved), STATUS_BUSY); /* no room */
    mem_free(data);
    model_destroy(m);
}

static void test_model_tokenize__refuses_what_the_array_cannot_hold(void **state)
{
    (void)state;
    struct model *m = make_toy(4);
    model_token tokens[2];
    size_t n = 0;
    assert_int_equal(m->ops->tokenize(m, STR("abc"), false, tokens, 2, &n), STATUS_TOO_LARGE);
    assert_int_equal(n, 0);
    model_token *fresh = NULL;
    assert_int_equal(model_tokenize(m, STR(""), false, &fresh, &n), STATUS_OK);
    assert_int_equal(n, 0);
    mem_free(fresh);
    model_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_toy__says_the_script_and_ends),
        cmocka_unit_test(test_model_toy__without_a_script_every_token_changes_the_reply),
        cmocka_unit_test(test_model_toy__control_tokens_come_only_from_special_text),
        cmocka_unit_test(test_model_toy__copies_share_cells_until_both_let_go),
        cmocka_unit_test(test_model_toy__a_shared_prefix_gives_the_same_reply),
        cmocka_unit_test(test_model_toy__a_full_pool_changes_nothing),
        cmocka_unit_test(test_model_toy__an_abort_leaves_leading_rows),
        cmocka_unit_test(test_model_toy__fails_at_the_decode_that_was_asked_for),
        cmocka_unit_test(test_model_toy__saved_positions_come_back_behind_others),
        cmocka_unit_test(test_model_toy__what_cannot_be_loaded_changes_nothing),
        cmocka_unit_test(test_model_tokenize__refuses_what_the_array_cannot_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
