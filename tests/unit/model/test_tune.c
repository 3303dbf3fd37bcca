/* The measurement's protocol on a machine of numbers: its speeds are what the test says, its time
 * is the frozen clock. */
#include "model/tune.h"

#include "support/check.h"

#include "base/clock.h"

enum {
    START_MS = 1000,
    BUDGET_MS = 60 * 1000,
    DEPTH = 6144,
    KERNELS = 2, /* the third form: flash attention by our kernels */
};

/* Microseconds a row. */
struct machine {
    struct tune_bench base;         /* first: pointers are cast */
    double read_us[3], write_us[3]; /* by form */
    double spinning;                /* factor on writing with poll */
    double read_threads[9];         /* factors by number of threads; 0 counts as 1 */
    double write_threads[9];
    double steps[2];     /* factor on reading with 128 and 256 rows */
    const double *noise; /* factors, one a call, in turn */
    size_t n_noise;
    unsigned call_ms;
    unsigned fail_at;           /* the n-th call; 0: never */
    unsigned busy_from, n_busy; /* calls in which others compute too */
    unsigned n_calls;
    uint64_t now_ms;
};

static double or_one(double factor)
{
    return factor > 0 ? factor : 1;
}

static double time_rows(struct tune_bench *base, const struct tune_setting *s, uint32_t n_rows)
{
    struct machine *m = (struct machine *)base;
    m->now_ms += m->call_ms;
    clock_freeze(m->now_ms);
    m->n_calls++;
    if (m->n_calls == m->fail_at)
        return 0;
    base->share = m->n_calls >= m->busy_from && m->n_calls < m->busy_from + m->n_busy ? 0.6 : 0.99;
    int form = s->kernels != KERNEL_ISA_NONE ? KERNELS : s->flash;
    double us = n_rows == 1 ? m->write_us[form] : m->read_us[form];
    if (n_rows == 1 && s->poll > 0)
        us *= or_one(m->spinning);
    if (n_rows == 128 || n_rows == 256)
        us *= or_one(m->steps[n_rows / 256]);
    us *= or_one((n_rows == 1 ? m->write_threads : m->read_threads)[s->n_threads]);
    if (m->n_noise > 0)
        us *= m->noise[m->n_calls % m->n_noise];
    return us;
}

static struct machine machine_of(double read_off, double read_on, double write_off, double write_on)
{
    clock_freeze(START_MS);
    return (struct machine){
        .base = {.time_rows = time_rows, .depth = DEPTH, .share = 1},
        .read_us = {read_off, read_on, read_off},
        .write_us = {write_off, write_on, write_off},
        .now_ms = START_MS,
        .call_ms = 10,
    };
}

static struct tune_request request_of(enum model_flash flash)
{
    struct tune_request request = {.start = tune_default(4, false, KERNEL_ISA_NONE),
                                   .budget_ms = BUDGET_MS};
    request.start.flash = flash;
    return request;
}

static struct tune_result run(struct machine *m, const struct tune_request *request)
{
    struct tune_result result;
    tune_run(&m->base, request, &result);
    clock_freeze(0);
    return result;
}

static void test_tune__takes_the_form_that_makes_a_turn_shorter(void **state)
{
    (void)state;
    struct tune_request request = request_of(MODEL_FLASH_AUTO);
    /* Reading counts 8 times: 1024 read, 128 written. */
    struct machine reader = machine_of(1000, 850, 2000, 2500);
    struct tune_result result = run(&reader, &request);
    assert_int_equal(result.state, TUNE_SETTLED);
    assert_int_equal(result.choice.flash, MODEL_FLASH_ON);

    struct machine writer = machine_of(1000, 950, 2000, 4500);
    result = run(&writer, &request);
    assert_int_equal(result.state, TUNE_SETTLED);
    assert_int_equal(result.choice.flash, MODEL_FLASH_OFF);
}

static void test_tune__keeps_the_default_where_the_gain_is_below_the_margin(void **state)
{
    (void)state;
    struct tune_request request = request_of(MODEL_FLASH_AUTO);
    struct machine m = machine_of(1000, 985, 1000, 985);
    m.spinning = 0.97;
    struct tune_result result = run(&m, &request);
    assert_int_equal(result.state, TUNE_SETTLED);
    assert_int_equal(result.choice.flash, MODEL_FLASH_OFF);
    assert_int_equal(result.choice.poll, 0);
}

static void test_tune__does_not_settle_on_a_busy_machine(void **state)
{
    (void)state;
    static const double busy[] = {1, 1.1, 3, 1, 2.5, 1.2, 1};
    struct tune_request request = request_of(MODEL_FLASH_AUTO);
    struct machine m = machine_of(1000, 700, 2000, 1400);
    m.noise = busy;
    m.n_noise = sizeof busy / sizeof busy[0];
    struct tune_result result = run(&m, &request);
    assert_int_equal(result.state, TUNE_UNSETTLED);
    assert_int_equal(result.choice.flash, MODEL_FLASH_OFF);
    assert_int_equal(result.choice.n_threads, 4);
    assert_int_equal(result.choice.n_step_rows, TUNE_LARGEST_STEP);
    assert_true(result.choice.prefill_tokens_per_s > 0);
}

static void test_tune__noise_in_one_comparison_keeps_that_default_only(void **state)
{
    (void)state;
    /* The first six calls compare spinning, the next six the steps. */
    static const double noise[100] = {1, 1, 1, 3, 1, 1, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    double factors[100];
    for (size_t i = 0; i < 100; i++)
        factors[i] = noise[i] > 0 ? noise[i] : 1;
    struct tune_request request = request_of(MODEL_FLASH_OFF);
    struct machine m = machine_of(1000, 1000, 1000, 1000);
    m.spinning = 0.8;
    m.noise = factors;
    m.n_noise = 100;
    struct tune_result result = run(&m, &request);
    assert_int_equal(result.state, TUNE_SETTLED);
    assert_int_equal(result.choice.poll, 0);
    assert_int_equal(result.choice.n_step_rows, TUNE_SMALLEST_STEP);
    factors[9] = 3; /* and one of the steps */
    m = machine_of(1000, 1000, 1000, 1000);
    m.noise = factors;
    m.n_noise = 100;
    result = run(&m, &request);
    assert_int_equal(result.state, TUNE_UNSETTLED);
}

static void test_tune__is_put_off_while_others_compute(void **state)
{
    (void)state;
    struct tune_request request = request_of(MODEL_FLASH_AUTO);
    struct machine m = machine_of(1000, 700, 2000, 1400);
    m.busy_from = 1;
    m.n_busy = 1000;
    struct tune_result result = run(&m, &request);
    assert_int_equal(result.state, TUNE_NONE);
    assert_int_equal(result.choice.flash, MODEL_FLASH_OFF);
    assert_int_equal(m.n_calls, 5);
    /* Unless the user insists. */
    request.insists = true;
    m = machine_of(1000, 700, 2000, 1400);
    m.busy_from = 1;
    m.n_busy = 1000;
    assert_int_equal(run(&m, &request).choice.flash, MODEL_FLASH_ON);
    request.insists = false;
    /* Now and then is no harm: what was disturbed is timed again. */
    m = machine_of(1000, 700, 2000, 1400);
    m.busy_from = 3;
    m.n_busy = 3;
    result = run(&m, &request);
    assert_int_equal(result.state, TUNE_SETTLED);
    assert_int_equal(result.choice.flash, MODEL_FLASH_ON);
}

static void test_tune__small_noise_does_not_hide_a_large_gain(void **state)
{
    (void)state;
    static const double small[] = {1, 1.06, 0.97, 1.04, 1.01};
    struct tune_request request = request_of(MODEL_FLASH_AUTO);
    struct machine m = machine_of(1000, 700, 2000, 1400);
    m.noise = small;
    m.n_noise = sizeof small / sizeof small[0];
    struct tune_result result = run(&m, &request);
    assert_int_equal(result.state, TUNE_SETTLED);
    assert_int_equal(result.choice.flash, MODEL_FLASH_ON);
}

static void test_tune__leaves_a_form_that_was_asked_for(void **state)
{
    (void)state;
    struct tune_request request = request_of(MODEL_FLASH_ON);
    struct machine m = machine_of(100, 900, 100, 900);
    struct tune_result result = run(&m, &request);
    assert_int_equal(result.state, TUNE_SETTLED);
    assert_int_equal(result.choice.flash, MODEL_FLASH_ON);
    assert_int_equal((int)(result.choice.prefill_tokens_per_s + 0.5), 1111);
    assert_int_equal((int)(result.choice.decode_tokens_per_s + 0.5), 1111);
}

static void test_tune__chooses_threads_for_reading_and_writing_apart(void **state)
{
    (void)state;
    struct tune_request request = request_of(MODEL_FLASH_OFF);
    request.n_threads = tune_thread_candidates(8, 4, request.threads);
    request.start = tune_default(8, false, KERNEL_ISA_NONE);
    struct machine m = machine_of(1000, 1000, 1000, 1000);
    m.write_threads[4] = 0.8;
    m.write_threads[2] = 1.5;
    m.read_threads[4] = 1.4;
    m.read_threads[2] = 2;
    struct tune_result result = run(&m, &request);
    assert_int_equal(result.choice.n_threads, 4);
    assert_int_equal(result.choice.n_threads_batch, 8);
    m = machine_of(1000, 1000, 1000, 1000);
    m.read_threads[4] = 0.8;
    m.read_threads[2] = 0.7;
    result = run(&m, &request);
    assert_int_equal(result.choice.n_threads, 8);
    assert_int_equal(result.choice.n_threads_batch, 2);
    m = machine_of(1000, 1000, 1000, 1000);
    m.read_threads[4] = m.write_threads[4] = m.read_threads[2] = m.write_threads[2] = 0.97;
    result = run(&m, &request);
    assert_int_equal(result.choice.n_threads, 8);
    assert_int_equal(result.choice.n_threads_batch, 8);
}

static void test_tune__spins_only_where_that_gains_much(void **state)
{
    (void)state;
    struct tune_request request = request_of(MODEL_FLASH_OFF);
    struct machine m = machine_of(1000, 1000, 1000, 1000);
    m.spinning = 0.9;
    assert_int_equal(run(&m, &request).choice.poll, 50);
    request.start.n_threads = 1;
    m = machine_of(1000, 1000, 1000, 1000);
    m.spinning = 0.9;
    assert_int_equal(run(&m, &request).choice.poll, 0);
}

static void test_tune__takes_smaller_steps_unless_they_cost(void **state)
{
    (void)state;
    struct tune_request request = request_of(MODEL_FLASH_OFF);
    struct machine m = machine_of(1000, 1000, 1000, 1000);
    m.steps[0] = 1.02;
    assert_int_equal(run(&m, &request).choice.n_step_rows, TUNE_SMALLEST_STEP);
    m = machine_of(1000, 1000, 1000, 1000);
    m.steps[0] = 1.08;
    m.steps[1] = 1.02;
    assert_int_equal(run(&m, &request).choice.n_step_rows, 256);
    m = machine_of(1000, 1000, 1000, 1000);
    m.steps[0] = m.steps[1] = 1.08;
    assert_int_equal(run(&m, &request).choice.n_step_rows, TUNE_LARGEST_STEP);
    /* With the flash form there is nothing to save. */
    request = request_of(MODEL_FLASH_ON);
    m = machine_of(1000, 1000, 1000, 1000);
    assert_int_equal(run(&m, &request).choice.n_step_rows, TUNE_LARGEST_STEP);
}

static void test_tune__stops_where_the_bench_is_stopped(void **state)
{
    (void)state;
    struct tune_request request = request_of(MODEL_FLASH_AUTO);
    for (unsigned at = 1; at <= 8; at++) {
        struct machine m = machine_of(1000, 500, 1000, 500);
        m.fail_at = at;
        struct tune_result result = run(&m, &request);
        assert_int_equal(result.state, TUNE_UNSETTLED);
        assert_int_equal(result.choice.flash, MODEL_FLASH_OFF);
        assert_int_equal(m.n_calls, at);
    }
}

static void test_tune__begins_nothing_after_its_time(void **state)
{
    (void)state;
    struct tune_request request = request_of(MODEL_FLASH_AUTO);
    request.budget_ms = 1000;
    /* Three pairs of two forms, each read and written: done within the time, the rest is not. */
    struct machine m = machine_of(1000, 700, 1000, 700);
    m.call_ms = 100;
    struct tune_result result = run(&m, &request);
    assert_int_equal(m.n_calls, 12);
    assert_int_equal(result.state, TUNE_SETTLED);
    assert_int_equal(result.choice.flash, MODEL_FLASH_ON);
    assert_int_equal(result.elapsed_ms, 1200);
    /* So slow that not even the form was compared: to be tried again. */
    m = machine_of(1000, 700, 1000, 700);
    m.call_ms = 600;
    result = run(&m, &request);
    assert_int_equal(m.n_calls, 4);
    assert_int_equal(result.state, TUNE_UNSETTLED);
    assert_int_equal(result.choice.flash, MODEL_FLASH_OFF);
}

static void test_tune__judges_pairs_and_not_sums(void **state)
{
    (void)state;
    /* The machine slows down by a third on the way: inside each pair the second is better. */
    const struct tune_pair slowing[] = {{{100, 90}}, {{120, 110}}, {{135, 120}}};
    assert_int_equal(tune_judge(slowing, 3, 0.03), TUNE_TAKE);
    /* One pair says the opposite: a gain, or somebody else's moment? */
    const struct tune_pair split[] = {{{100, 90}}, {{100, 92}}, {{100, 101}}};
    assert_int_equal(tune_judge(split, 3, 0.03), TUNE_NOISE);
    const struct tune_pair swayed[] = {{{72, 57}}, {{58, 54}}, {{60, 63}}};
    assert_int_equal(tune_judge(swayed, 3, 0.03), TUNE_NOISE);
    /* A tie is no noise, on whichever side of the margin a pair falls. */
    const struct tune_pair tie[] = {{{100, 96}}, {{100, 100}}, {{100, 101}}};
    assert_int_equal(tune_judge(tie, 3, 0.03), TUNE_KEEP);
    /* Much worse, though not evenly, is a clear answer too. */
    const struct tune_pair worse[] = {{{100, 120}}, {{100, 150}}, {{100, 130}}};
    assert_int_equal(tune_judge(worse, 3, 0.03), TUNE_KEEP);
    /* A smaller step has only to be not much slower. */
    const struct tune_pair same[] = {{{100, 103}}, {{100, 100}}, {{100, 98}}};
    assert_int_equal(tune_judge(same, 3, -0.04), TUNE_TAKE);
    const struct tune_pair slower[] = {{{100, 106}}, {{100, 103}}, {{100, 108}}};
    assert_int_equal(tune_judge(slower, 3, -0.04), TUNE_KEEP);
    const struct tune_pair apart[] = {{{100, 60}}, {{100, 95}}, {{100, 90}}};
    assert_int_equal(tune_judge(apart, 3, 0.03), TUNE_NOISE);
    const struct tune_pair jumping[] = {{{100, 90}}, {{170, 150}}, {{100, 90}}};
    assert_int_equal(tune_judge(jumping, 3, 0.03), TUNE_NOISE);
}

static void test_tune__thread_candidates(void **state)
{
    (void)state;
    uint32_t out[TUNE_MOST_CANDIDATES];
    assert_int_equal(tune_thread_candidates(1, 0, out), 0);
    assert_int_equal(tune_thread_candidates(2, 2, out), 0);
    assert_int_equal(tune_thread_candidates(2, 1, out), 1);
    assert_int_equal(out[0], 1);
    assert_int_equal(tune_thread_candidates(4, 0, out), 1);
    assert_int_equal(out[0], 2);
    assert_int_equal(tune_thread_candidates(16, 8, out), 2);
    assert_int_equal(out[0], 8);
    assert_int_equal(out[1], 4);
}

static struct tune_result run_with_kernels(double read_us, double write_us, bool compares)
{
    struct tune_request request = request_of(MODEL_FLASH_AUTO);
    request.start.kernels = KERNEL_ISA_AVX2;
    request.compares_kernels = compares;
    struct machine m = machine_of(1000, 900, 1000, 900);
    m.read_us[KERNELS] = read_us;
    m.write_us[KERNELS] = write_us;
    return run(&m, &request);
}

static void test_tune__kernels_stay_and_bring_their_form_of_attention(void **state)
{
    (void)state;
    struct tune_result result = run_with_kernels(400, 500, true);
    assert_int_equal(result.state, TUNE_SETTLED);
    assert_int_equal(result.choice.kernels, KERNEL_ISA_AVX2);
    assert_int_equal(result.choice.flash, MODEL_FLASH_ON);
    assert_true(result.choice.prefill_tokens_per_s == 1e6 / 400);
    assert_true(result.choice.decode_tokens_per_s == 1e6 / 500);
}

static void test_tune__kernels_that_are_slower_here_are_not_used(void **state)
{
    (void)state;
    struct tune_result result = run_with_kernels(1200, 1200, true);
    assert_int_equal(result.state, TUNE_SETTLED);
    assert_int_equal(result.choice.kernels, KERNEL_ISA_NONE);
    assert_int_equal(result.choice.flash, MODEL_FLASH_ON); /* ggml's two were compared then */
    assert_true(result.choice.prefill_tokens_per_s == 1e6 / 900);
}

static void test_tune__kernels_that_the_user_named_are_not_compared(void **state)
{
    (void)state;
    struct tune_result result = run_with_kernels(1200, 1200, false);
    assert_int_equal(result.choice.kernels, KERNEL_ISA_AVX2);
    assert_int_equal(result.choice.flash, MODEL_FLASH_ON);
}

static void test_tune__the_default_form_follows_the_kernels(void **state)
{
    (void)state;
    assert_int_equal(tune_default(2, false, KERNEL_ISA_NEON).flash, MODEL_FLASH_ON);
    assert_int_equal(tune_default(2, false, KERNEL_ISA_NONE).flash, MODEL_FLASH_OFF);
    assert_int_equal(tune_default(2, true, KERNEL_ISA_NEON).flash, MODEL_FLASH_AUTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tune__takes_the_form_that_makes_a_turn_shorter),
        cmocka_unit_test(test_tune__keeps_the_default_where_the_gain_is_below_the_margin),
        cmocka_unit_test(test_tune__does_not_settle_on_a_busy_machine),
        cmocka_unit_test(test_tune__noise_in_one_comparison_keeps_that_default_only),
        cmocka_unit_test(test_tune__is_put_off_while_others_compute),
        cmocka_unit_test(test_tune__small_noise_does_not_hide_a_large_gain),
        cmocka_unit_test(test_tune__leaves_a_form_that_was_asked_for),
        cmocka_unit_test(test_tune__chooses_threads_for_reading_and_writing_apart),
        cmocka_unit_test(test_tune__spins_only_where_that_gains_much),
        cmocka_unit_test(test_tune__takes_smaller_steps_unless_they_cost),
        cmocka_unit_test(test_tune__stops_where_the_bench_is_stopped),
        cmocka_unit_test(test_tune__begins_nothing_after_its_time),
        cmocka_unit_test(test_tune__judges_pairs_and_not_sums),
        cmocka_unit_test(test_tune__thread_candidates),
        cmocka_unit_test(test_tune__kernels_stay_and_bring_their_form_of_attention),
        cmocka_unit_test(test_tune__kernels_that_are_slower_here_are_not_used),
        cmocka_unit_test(test_tune__kernels_that_the_user_named_are_not_compared),
        cmocka_unit_test(test_tune__the_default_form_follows_the_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
