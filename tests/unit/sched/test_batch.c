/* The pure half of the scheduler: which rows the next call takes. */
#include "support/check.h"

#include "sched/batch.h"

enum { N_TOKENS = 2000, MS = 1000 };

static model_token tokens[N_TOKENS]; /* tokens[i] == i */

static struct batch_entry entry(enum batch_role role, size_t n_done, size_t n_tokens,
                                uint32_t sequence)
{
    for (model_token i = 0; i < N_TOKENS; i++)
        tokens[i] = i;
    return (struct batch_entry){.role = role,
                                .tokens = tokens,
                                .n_tokens = n_tokens,
                                .n_done = n_done,
                                .sequence = sequence};
}

static void test_batch__takes_one_row_of_each_decoding_job(void **state)
{
    (void)state;
    struct batch_entry entries[] = {
        entry(BATCH_DECODES, 9, 10, 3),
        entry(BATCH_SITS_OUT, 0, 5, 0),
        entry(BATCH_PREFILLS, 0, 100, 1),
        entry(BATCH_DECODES, 1499, 1500, 7),
    };
    struct batch batch;
    batch_decode(&batch, entries, 4);
    assert_int_equal(batch.n_rows, 2);
    assert_int_equal(batch.entry_of[0], 0);
    assert_int_equal(batch.entry_of[1], 3);
    assert_int_equal(batch.rows[0].token, 9);
    assert_int_equal(batch.rows[0].position, 9);
    assert_int_equal(batch.rows[0].sequence, 3);
    assert_int_equal(batch.rows[1].token, 1499);
    assert_int_equal(batch.rows[1].sequence, 7);
    assert_true(batch.rows[0].wants_logits && batch.rows[1].wants_logits);
}

static void test_batch__is_empty_where_nobody_has_work(void **state)
{
    (void)state;
    struct batch_entry entries[] = {entry(BATCH_SITS_OUT, 0, 5, 0)};
    struct batch batch;
    batch_decode(&batch, entries, 1);
    assert_int_equal(batch.n_rows, 0);
    batch_decode(&batch, entries, 0);
    assert_int_equal(batch.n_rows, 0);
}

static void test_batch__a_lone_prefill_goes_to_the_next_border(void **state)
{
    (void)state;
    struct batch_speed speed = {0};
    struct batch batch;
    size_t n_done = 100; /* as after reuse */
    size_t wanted[] = {412, 512, 512, 264};
    for (size_t i = 0; i < 4; i++) {
        struct batch_entry one = entry(BATCH_PREFILLS, n_done, 1800, 2);
        batch_prefill(&batch, &one, 1, 0, &speed);
        assert_int_equal(batch.n_rows, wanted[i]);
        for (size_t row = 0; row < batch.n_rows; row++) {
            assert_int_equal(batch.rows[row].token, n_done + row);
            assert_int_equal(batch.rows[row].position, n_done + row);
            assert_int_equal(batch.rows[row].wants_logits, n_done + row == 1799);
        }
        n_done += batch.n_rows;
    }
    assert_int_equal(n_done, 1800);
}

static void test_batch__only_the_reader_gets_a_chunk(void **state)
{
    (void)state;
    struct batch_speed speed = {0};
    struct batch_entry entries[] = {
        entry(BATCH_SITS_OUT, 0, 5, 0),
        entry(BATCH_PREFILLS, 0, 8, 2),
        entry(BATCH_PREFILLS, 0, 40, 1),
    };
    struct batch batch;
    batch_prefill(&batch, entries, 3, 2, &speed);
    assert_int_equal(batch.n_rows, 40);
    assert_int_equal(batch.entry_of[0], 2);
    assert_int_equal(batch.entry_of[39], 2);
}

static size_t rows_beside_a_stream(const struct batch_speed *speed, size_t n_done)
{
    struct batch_entry entries[] = {
        entry(BATCH_PREFILLS, n_done, N_TOKENS, 1),
        entry(BATCH_DECODES, 3, 4, 2),
    };
    struct batch batch;
    batch_prefill(&batch, entries, 2, 0, speed);
    return batch.n_rows;
}

static void test_batch__background_work_holds_nobody_up_and_is_not_minded(void **state)
{
    (void)state;
    struct batch_speed speed = {0};
    struct batch batch;
    struct batch_entry entries[] = {
        entry(BATCH_PREFILLS, 0, N_TOKENS, 1),
        entry(BATCH_DECODES, 3, 4, 2),
    };
    entries[1].is_background = true;
    batch_prefill(&batch, entries, 2, 0, &speed);
    assert_int_equal(batch.n_rows, 512); /* as if alone */
    entries[0].is_background = true;
    batch_prefill(&batch, entries, 2, 0, &speed);
    assert_int_equal(batch.n_rows, 32); /* among its equals it minds */
    batch_prefill(&batch, entries, 1, 0, &speed);
    assert_int_equal(batch.n_rows, 128); /* who comes now waits for no more than this */
    entries[0].n_done = 500;
    batch_prefill(&batch, entries, 1, 0, &speed);
    assert_int_equal(batch.n_rows, 12);
}

static void test_batch__a_chunk_beside_a_stream_fits_the_budget(void **state)
{
    (void)state;
    struct batch_speed speed = {0};
    assert_int_equal(rows_beside_a_stream(&speed, 0), 32); /* speed unknown */
    batch_speed_add(&speed, 0, 32, 32 * 1 * MS);
    assert_int_equal(rows_beside_a_stream(&speed, 0), 32); /* 250 would fit: the ceiling */

    speed = (struct batch_speed){0};
    batch_speed_add(&speed, 0, 32, 32 * 12 * MS);
    assert_int_equal(rows_beside_a_stream(&speed, 0), 16); /* 20.8 fit */

    speed = (struct batch_speed){0};
    batch_speed_add(&speed, 0, 32, 32 * 400 * MS);
    assert_int_equal(rows_beside_a_stream(&speed, 0), 8);   /* the floor */
    assert_int_equal(rows_beside_a_stream(&speed, 507), 5); /* the border comes first */
}

static void test_batch__speed_depends_on_depth_and_size_of_the_chunk(void **state)
{
    (void)state;
    struct batch_speed speed = {0};
    batch_speed_add(&speed, 1024, 512, 512 * 10 * MS);
    assert_int_equal(batch_speed_shared_rows(&speed, 1500), 24); /* 25 fit, by the large chunk */
    assert_int_equal(batch_speed_shared_rows(&speed, 9000), 24); /* the nearest that is known */
    assert_int_equal(batch_speed_shared_rows(&speed, 100), 32);  /* nothing is known so low */

    batch_speed_add(&speed, 1024, 32, 32 * 12 * MS); /* a small chunk costs more per row */
    assert_int_equal(batch_speed_shared_rows(&speed, 1500), 16);

    batch_speed_add(&speed, 8192, 16, 16 * 30 * MS);
    assert_int_equal(batch_speed_shared_rows(&speed, 9000), 8);
    assert_int_equal(batch_speed_shared_rows(&speed, 1500), 16);
    assert_int_equal(batch_speed_shared_rows(&speed, SIZE_MAX), 8); /* the last class is open */
}

/* Where most of a small chunk's time is the call's, not the rows', more of them wait no longer. */
static void test_batch__a_chunk_takes_no_longer_than_32_rows_do(void **state)
{
    (void)state;
    static const struct {
        uint64_t small_us, large_us; /* of 32 and of 512 rows */
        size_t wanted;
    } cases[] = {
        {20 * MS, 320 * MS, 32},   /* each row costs the same: a fifth more is 38 */
        {20 * MS, 212 * MS, 40},   /* 7.2 ms a call, 0.4 a row: 24 ms are 42 rows */
        {20 * MS, 70 * MS, 64},    /* 16.7 and 0.1: 70 rows */
        {20 * MS, 21 * MS, 80},    /* hardly more: at least an eighth is the rows' */
        {20 * MS, 900 * MS, 32},   /* a contradiction */
        {300 * MS, 2220 * MS, 16}, /* 172 and 4: the 250 ms come first */
        {600 * MS, 2520 * MS, 8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct batch_speed speed = {0};
        batch_speed_add(&speed, 0, 512, cases[i].large_us);
        batch_speed_add(&speed, 0, 32, cases[i].small_us);
        assert_int_equal(batch_speed_shared_rows(&speed, 0), cases[i].wanted);
    }
}

static void test_batch__chunks_of_a_size_between_correct_both(void **state)
{
    (void)state;
    struct batch_speed speed = {0};
    batch_speed_add(&speed, 0, 512, 70 * MS);
    batch_speed_add(&speed, 0, 32, 20 * MS);
    for (int i = 0; i < 30; i++)
        batch_speed_add(&speed, 0, 64, 23333); /* as foreseen: it stays */
    assert_int_equal(batch_speed_shared_rows(&speed, 0), 64);
    for (int i = 0; i < 30; i++)
        batch_speed_add(&speed, 0, 64, 20 * 23333); /* the machine is twenty times as slow */
    assert_int_equal(batch_speed_shared_rows(&speed, 0), 8);
}

static void test_batch__speed_follows_what_is_measured(void **state)
{
    (void)state;
    struct batch_speed speed = {0};
    batch_speed_add(&speed, 0, 32, 32 * 30 * MS);
    assert_int_equal(batch_speed_shared_rows(&speed, 0), 8);
    for (int i = 0; i < 10; i++)
        batch_speed_add(&speed, 0, 32, 32 * 2 * MS);
    assert_int_equal(batch_speed_shared_rows(&speed, 0), 32);
    batch_speed_add(&speed, 0, 1, 0); /* a clock that did not move is no division by zero */
    assert_int_equal(batch_speed_shared_rows(&speed, 0), 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch__takes_one_row_of_each_decoding_job),
        cmocka_unit_test(test_batch__is_empty_where_nobody_has_work),
        cmocka_unit_test(test_batch__a_lone_prefill_goes_to_the_next_border),
        cmocka_unit_test(test_batch__only_the_reader_gets_a_chunk),
        cmocka_unit_test(test_batch__background_work_holds_nobody_up_and_is_not_minded),
        cmocka_unit_test(test_batch__a_chunk_beside_a_stream_fits_the_budget),
        cmocka_unit_test(test_batch__speed_depends_on_depth_and_size_of_the_chunk),
        cmocka_unit_test(test_batch__a_chunk_takes_no_longer_than_32_rows_do),
        cmocka_unit_test(test_batch__chunks_of_a_size_between_correct_both),
        cmocka_unit_test(test_batch__speed_follows_what_is_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
