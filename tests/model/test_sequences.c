/* The model seam over real weights (smollm2:135m): an abort is quick and leaves no trace, sequences
 * share cells, and what was read once need not be read again. */
#include "support/weights.h"

#include "base/clock.h"

enum {
    CELLS = 512,
    SEQUENCES = 4,
    PROMPT = 160,
    SHARED = 100,
    REPLY = 8,
    ABORT_MS = 250,
};

static model_token prompt[PROMPT];

/* Ordinary text of exactly PROMPT tokens. */
static void make_prompt(const struct model *m)
{
    struct strbuf text;
    strbuf_init(&text, 100000);
    for (int i = 0; i < 100; i++)
        strbuf_printf(&text, "Step %d of the list is to read file %d and to count its lines. ", i,
                      i * 7 % 31);
    model_token *tokens;
    size_t n;
    assert_int_equal(model_tokenize(m, strbuf_str(&text), false, &tokens, &n), STATUS_OK);
    assert_true(n >= PROMPT);
    memcpy(prompt, tokens, sizeof prompt);
    mem_free(tokens);
    strbuf_free(&text);
}

static enum model_result decode_rows(struct model *m, uint32_t sequence, size_t begin, size_t end)
{
    static struct model_row rows[MODEL_BATCH_ROWS];
    for (size_t i = begin; i < end; i++)
        rows[i - begin] = (struct model_row){prompt[i], (uint32_t)i, sequence, i + 1 == end};
    return m->ops->decode(m, rows, end - begin);
}

/* The REPLY likeliest tokens behind the prompt, whose last row of `n_rows` was just decoded. */
static void reply(struct model *m, uint32_t sequence, size_t n_rows, model_token *out)
{
    out[0] = weights_likeliest(m, n_rows - 1);
    for (uint32_t i = 1; i < REPLY; i++) {
        struct model_row row = {out[i - 1], PROMPT + i - 1, sequence, true};
        assert_int_equal(m->ops->decode(m, &row, 1), MODEL_DONE);
        out[i] = weights_likeliest(m, 0);
    }
}

static void drop(struct model *m, uint32_t sequence)
{
    m->ops->seq_remove(m, sequence, 0, UINT32_MAX);
}

static int setup(void **state)
{
    struct model *m = weights_load(getenv("PENSIEVE_TEST_WEIGHTS"), CELLS, SEQUENCES);
    make_prompt(m);
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    model_destroy(*state);
    return 0;
}

/* Says yes from the n-th question on, and remembers when that was. */
struct abort_plan {
    int questions_left;
    uint64_t asked_ms;
};

static bool abort_by_plan(void *arg)
{
    struct abort_plan *plan = arg;
    if (--plan->questions_left > 0)
        return false;
    if (plan->asked_ms == 0)
        plan->asked_ms = clock_now_ms();
    return true;
}

static void test_model__an_aborted_prefill_returns_soon_and_leaves_no_trace(void **state)
{
    struct model *m = *state;
    model_token clean[REPLY], after[REPLY];
    assert_int_equal(decode_rows(m, 0, 0, PROMPT), MODEL_DONE);
    reply(m, 0, PROMPT, clean);
    drop(m, 0);

    assert_int_equal(decode_rows(m, 0, 0, 50), MODEL_DONE);
    for (int questions = 1; questions < 400; questions *= 4) {
        struct abort_plan plan = {.questions_left = questions};
        m->ops->set_abort(m, abort_by_plan, &plan);
        assert_int_equal(decode_rows(m, 0, 50, PROMPT), MODEL_ABORTED);
        assert_true(clock_now_ms() - plan.asked_ms < ABORT_MS);
        m->ops->set_abort(m, NULL, NULL);
        assert_true(m->ops->seq_remove(m, 0, 50, UINT32_MAX));
    }
    drop(m, 0);
    assert_int_equal(decode_rows(m, 0, 0, PROMPT), MODEL_DONE);
    reply(m, 0, PROMPT, after);
    drop(m, 0);
    assert_memory_equal(after, clean, sizeof clean);
}

/* Steps of 32 rows in one call of 160: an abort costs the step under way. */
static void test_model__what_an_abort_leaves_is_of_use(void **state)
{
    (void)state;
    struct model_llama_options options = {.path = getenv("PENSIEVE_TEST_WEIGHTS"),
                                          .n_cells = CELLS,
                                          .n_sequences = SEQUENCES,
                                          .how = tune_default(1, false, isa_best())};
    options.how.n_step_rows = 32;
    struct model *m;
    struct error err = {0};
    assert_int_equal(model_llama_load(&options, &m, &err), STATUS_OK);
    model_token clean[REPLY], after[REPLY];
    assert_int_equal(decode_rows(m, 0, 0, PROMPT), MODEL_DONE);
    reply(m, 0, PROMPT, clean);
    drop(m, 0);

    uint32_t most = 0;
    for (int questions = 1; questions < 5000; questions = questions * 3 / 2 + 1) {
        struct abort_plan plan = {.questions_left = questions};
        m->ops->set_abort(m, abort_by_plan, &plan);
        enum model_result result = decode_rows(m, 0, 0, PROMPT);
        m->ops->set_abort(m, NULL, NULL);
        if (result == MODEL_DONE)
            break;
        uint32_t n = m->ops->seq_length(m, 0);
        assert_int_equal(n % 32, 0);
        assert_in_range(n, most, PROMPT - 32);
        most = n;
        assert_int_equal(decode_rows(m, 0, n, PROMPT), MODEL_DONE);
        reply(m, 0, PROMPT - n, after);
        assert_memory_equal(after, clean, sizeof clean);
        drop(m, 0);
    }
    assert_true(most >= 64);
    model_destroy(m);
}

static void test_model__sequences_share_their_cells(void **state)
{
    struct model *m = *state;
    assert_int_equal(decode_rows(m, 0, 0, PROMPT), MODEL_DONE);
    for (uint32_t s = 1; s < SEQUENCES; s++)
        m->ops->seq_copy(m, 0, s, 0, UINT32_MAX); /* 4 x 160 would not fit into 512 */
    for (uint32_t s = 0; s < SEQUENCES; s++) {
        struct model_row row = {prompt[s], PROMPT, s, true};
        assert_int_equal(m->ops->decode(m, &row, 1), MODEL_DONE);
    }
    for (uint32_t s = 1; s < SEQUENCES; s++)
        drop(m, s);
    drop(m, 0);
    /* All cells are free again, and no more than that: nothing was counted twice. */
    for (uint32_t s = 0; s < CELLS / PROMPT; s++)
        assert_int_equal(decode_rows(m, s, 0, PROMPT), MODEL_DONE);
    assert_int_equal(decode_rows(m, SEQUENCES - 1, 0, PROMPT), MODEL_FULL);
    for (uint32_t s = 0; s < CELLS / PROMPT; s++)
        drop(m, s);
}

static void test_model__a_shared_prefix_gives_the_reply_of_a_cold_one(void **state)
{
    struct model *m = *state;
    model_token cold[REPLY], warm[REPLY];
    assert_int_equal(decode_rows(m, 0, 0, SHARED), MODEL_DONE);
    assert_int_equal(decode_rows(m, 0, SHARED, PROMPT), MODEL_DONE);
    reply(m, 0, PROMPT - SHARED, cold);

    m->ops->seq_copy(m, 0, 1, 0, SHARED);
    assert_int_equal(decode_rows(m, 1, SHARED, PROMPT), MODEL_DONE);
    reply(m, 1, PROMPT - SHARED, warm);
    assert_memory_equal(warm, cold, sizeof cold);
    drop(m, 0);
    drop(m, 1);
}

/* What was saved of sequence 0 comes back as sequence 1, after the pool was emptied: its reply is
 * that of a shared prefix, and the pool has no cell less than before. */
static void test_model__a_restored_prefix_gives_the_reply_of_a_shared_one(void **state)
{
    struct model *m = *state;
    enum { BLOCK = 64, SPLIT = 80 };
    model_token live[REPLY], restored[REPLY];
    assert_int_equal(decode_rows(m, 0, 0, SHARED), MODEL_DONE);
    m->ops->seq_copy(m, 0, 1, 0, SHARED);
    assert_int_equal(decode_rows(m, 1, SHARED, PROMPT), MODEL_DONE);
    reply(m, 1, PROMPT - SHARED, live);

    struct str blocks[2];
    const uint32_t begins[] = {0, BLOCK, SHARED};
    for (int i = 0; i < 2; i++) {
        char *data;
        assert_int_equal(m->ops->seq_save(m, 0, begins[i], begins[i + 1], &data, &blocks[i].len),
                         STATUS_OK);
        blocks[i].ptr = data;
    }
    drop(m, 1);
    assert_true(m->ops->seq_remove(m, 0, SPLIT, UINT32_MAX));
    m->ops->seq_copy(m, 0, 1, 0, SPLIT);
    assert_int_equal(m->ops->seq_load(m, 1, BLOCK, SPLIT, SHARED, blocks[1]), STATUS_OK);
    assert_int_equal(decode_rows(m, 1, SHARED, PROMPT), MODEL_DONE);
    reply(m, 1, PROMPT - SHARED, restored);
    assert_memory_equal(restored, live, sizeof live); /* a part of a block behind live cells */

    drop(m, 0);
    drop(m, 1);
    for (int i = 0; i < 2; i++)
        assert_int_equal(m->ops->seq_load(m, 1, begins[i], begins[i], begins[i + 1], blocks[i]),
                         STATUS_OK);
    assert_int_equal(decode_rows(m, 1, SHARED, PROMPT), MODEL_DONE);
    reply(m, 1, PROMPT - SHARED, restored);
    assert_memory_equal(restored, live, sizeof live); /* whole blocks into an empty pool */
    drop(m, 1);

    /* Damaged or misplaced data, and a full pool, are refused and cost no cell. */
    struct str cut = {blocks[0].ptr, blocks[0].len / 2};
    assert_true(m->ops->seq_load(m, 1, 0, 0, BLOCK, cut) != STATUS_OK);
    assert_int_equal(m->ops->seq_load(m, 1, 0, 0, BLOCK + 1, blocks[0]), STATUS_CORRUPT);
    for (uint32_t s = 0; s < CELLS / PROMPT; s++)
        assert_int_equal(decode_rows(m, s, 0, PROMPT), MODEL_DONE);
    assert_int_equal(m->ops->seq_load(m, 3, 0, 0, BLOCK, blocks[0]), STATUS_BUSY);
    for (uint32_t s = 0; s < CELLS / PROMPT; s++)
        drop(m, s);
    for (int i = 0; i < 2; i++)
        mem_free((char *)(uintptr_t)blocks[i].ptr);
}

static void test_model__ordinary_text_never_becomes_a_control_token(void **state)
{
    const struct model *m = *state;
    struct strbuf piece;
    strbuf_init(&piece, 1000);
    size_t n_controls = 0;
    for (uint32_t t = 0; t < m->info.n_vocab; t++) {
        if (!m->ops->is_control(m, (model_token)t))
            continue;
        n_controls++;
        strbuf_clear(&piece);
        m->ops->piece(m, (model_token)t, true, &piece);
        model_token *tokens;
        size_t n;
        assert_int_equal(model_tokenize(m, strbuf_str(&piece), false, &tokens, &n), STATUS_OK);
        for (size_t i = 0; i < n; i++)
            assert_false(m->ops->is_control(m, tokens[i]));
        mem_free(tokens);
    }
    assert_true(n_controls >= 2);
    strbuf_free(&piece);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model__an_aborted_prefill_returns_soon_and_leaves_no_trace),
        cmocka_unit_test(test_model__what_an_abort_leaves_is_of_use),
        cmocka_unit_test(test_model__sequences_share_their_cells),
        cmocka_unit_test(test_model__a_shared_prefix_gives_the_reply_of_a_cold_one),
        cmocka_unit_test(test_model__a_restored_prefix_gives_the_reply_of_a_shared_one),
        cmocka_unit_test(test_model__ordinary_text_never_becomes_a_control_token),
    };
    char *path = weights_find(WEIGHTS_SMOLLM2);
    if (path == NULL)
        return WEIGHTS_SKIPPED;
    setenv("PENSIEVE_TEST_WEIGHTS", path, 1);
    mem_free(path);
    return cmocka_run_group_tests(tests, setup, teardown);
}
