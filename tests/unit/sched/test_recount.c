/* Rows that are computed twice: the set alone, and what the scheduler tells it. */
#include "spy.h"
#include "support/folder.h"

#include "base/metrics.h"
#include "sched/recount.h"

static const model_token tokens[] = {5, 6, 7, 8, 9};

static int64_t again(void)
{
    return metric_get(METRIC_ROWS_AGAIN);
}

static void test_recount__the_same_row_has_the_same_tokens_before_it(void **state)
{
    (void)state;
    static const model_token others[] = {5, 6, 1, 8, 9};
    struct folder folder;
    folder_make(&folder);
    struct recount *r = recount_create(folder_path(&folder, "rows"));
    int64_t before = again(), before_us = metric_get(METRIC_ROWS_AGAIN_US);
    recount_add(r, tokens, 0, 3, 300);
    recount_add(r, tokens, 3, 5, 300);
    recount_add(r, others, 2, 5, 300);
    assert_int_equal(again(), before);
    recount_add(r, others, 1, 3, 300);
    assert_int_equal(again(), before + 2);
    assert_int_equal(metric_get(METRIC_ROWS_AGAIN_US), before_us + 300);
    recount_destroy(r);
    folder_remove(&folder);
}

static void test_recount__rows_of_an_earlier_process_count(void **state)
{
    (void)state;
    enum { N = 100 * 1000 };
    model_token *many = mem_alloc(N * sizeof *many);
    for (int i = 0; i < N; i++)
        many[i] = i % 7;
    struct folder folder;
    folder_make(&folder);
    char *file = mem_strdup(folder_path(&folder, "rows"));
    int64_t before = again();
    struct recount *r = recount_create(file);
    recount_add(r, many, 0, N, 0);
    recount_destroy(r);
    assert_int_equal(again(), before);
    r = recount_create(file);
    recount_add(r, many, 10, N, 0);
    recount_destroy(r);
    assert_int_equal(again(), before + N - 10);
    mem_free(file);
    mem_free(many);
    folder_remove(&folder);
}

static void test_recount__nothing_is_counted_without_a_file(void **state)
{
    (void)state;
    int64_t before = again();
    assert_null(recount_create(NULL));
    recount_add(NULL, tokens, 0, 5, 1);
    recount_add(NULL, tokens, 0, 5, 1);
    recount_destroy(NULL);
    assert_int_equal(again(), before);
}

static void test_recount__a_prompt_sent_again_costs_its_last_row(void **state)
{
    (void)state;
    struct folder folder;
    folder_make(&folder);
    char *file = mem_strdup(folder_path(&folder, "rows"));
    struct model_toy_options toy = {.n_cells = 4096, .n_sequences = N_SEQUENCES};
    struct sched_options options = {.max_running = 2, .max_jobs = 4, .recount_file = file};
    struct fixture f = {.model = model_toy_create(&toy)};
    f.sched = sched_create(f.model, &options);
    char *prompt = long_prompt('L', 700);
    struct strbuf text;
    strbuf_init(&text, 10000);
    int64_t before = again(), rows_before = metric_get(METRIC_ROWS_COMPUTED);
    finish(submit(&f, prompt, 5), &text);
    assert_int_equal(again(), before);
    finish(submit(&f, prompt, 1), &text);
    sched_destroy(f.sched);
    assert_int_equal(again(), before + 1);
    assert_int_equal(metric_get(METRIC_ROWS_COMPUTED), rows_before + 700 + 4 + 1);
    strbuf_free(&text);
    mem_free(prompt);
    mem_free(file);
    folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recount__the_same_row_has_the_same_tokens_before_it),
        cmocka_unit_test(test_recount__rows_of_an_earlier_process_count),
        cmocka_unit_test(test_recount__nothing_is_counted_without_a_file),
        cmocka_unit_test(test_recount__a_prompt_sent_again_costs_its_last_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
