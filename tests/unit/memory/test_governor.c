/* The state machine on scripted traces, and the running thread on a scripted source. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/metrics.h"
#include "base/queue.h"
#include "memory/governor.h"

enum {
    PERIOD_MS = 250,
    START_MS = 1000,
    WAIT_MS = 20 * 1000, /* a limit, not a duration: reached only by a failing test */
};

#define MIB (UINT64_C(1) << 20)

/* ---- A trace: samples every 250 ms, and the number of state changes that they made ---- */

struct trace {
    struct governor_machine machine;
    uint64_t now_ms;
    unsigned n_changes;
};

static void trace_init(struct trace *t)
{
    governor_machine_init(&t->machine, &GOVERNOR_RULES_DEFAULT);
    t->now_ms = START_MS;
    t->n_changes = 0;
}

static enum governor_state trace_sample(struct trace *t, const struct mem_sample *sample)
{
    enum governor_state before = t->machine.state;
    enum governor_state after = governor_step(&t->machine, sample, t->now_ms);
    t->n_changes += after != before;
    t->now_ms += PERIOD_MS;
    return after;
}

static enum governor_state trace_mib(struct trace *t, uint64_t mib)
{
    return trace_sample(t, &(struct mem_sample){.available_bytes = mib * MIB});
}

/* The same figure for `ms`; the state at the end. */
static enum governor_state trace_hold(struct trace *t, uint64_t mib, unsigned ms)
{
    enum governor_state s = t->machine.state;
    for (unsigned passed = 0; passed < ms; passed += PERIOD_MS)
        s = trace_mib(t, mib);
    return s;
}

static void test_governor__starts_safe_and_stays_so_with_plenty(void **state)
{
    (void)state;
    struct trace t;
    trace_init(&t);
    assert_int_equal(trace_hold(&t, 8192, 60000), GOVERNOR_SAFE);
    assert_int_equal(t.n_changes, 0);
}

static void test_governor__slow_leak_passes_every_state_once_in_order(void **state)
{
    (void)state;
    struct trace t;
    trace_init(&t);
    enum governor_state seen[GOVERNOR_STATES] = {GOVERNOR_SAFE};
    size_t n_seen = 1;
    for (uint64_t mib = 3072; mib >= 300; mib--) {
        enum governor_state s = trace_mib(&t, mib);
        if (s != seen[n_seen - 1]) {
            assert_true(n_seen < GOVERNOR_STATES);
            seen[n_seen++] = s;
        }
    }
    assert_int_equal(n_seen, 4);
    assert_int_equal(seen[1], GOVERNOR_CAUTION);
    assert_int_equal(seen[2], GOVERNOR_CRITICAL);
    assert_int_equal(seen[3], GOVERNOR_EMERGENCY);
    assert_int_equal(t.n_changes, 3);
}

static void test_governor__enters_exactly_below_the_threshold_after_two_samples(void **state)
{
    (void)state;
    struct trace t;
    trace_init(&t);
    assert_int_equal(trace_hold(&t, 2048, 5000), GOVERNOR_SAFE);
    assert_int_equal(trace_mib(&t, 2047), GOVERNOR_SAFE);
    assert_int_equal(trace_mib(&t, 2047), GOVERNOR_CAUTION);
    assert_int_equal(trace_hold(&t, 1024, 5000), GOVERNOR_CAUTION);
    assert_int_equal(trace_mib(&t, 1023), GOVERNOR_CAUTION);
    assert_int_equal(trace_mib(&t, 1023), GOVERNOR_CRITICAL);
}

static void test_governor__noise_around_one_gib_changes_at_most_twice(void **state)
{
    (void)state;
    struct trace t;
    trace_init(&t);
    trace_hold(&t, 1500, 5000);
    t.n_changes = 0;
    for (unsigned i = 0; i < 120 * 4; i++) {
        unsigned phase = i % 20; /* a tooth of 5 s: 974 .. 1074 MiB */
        trace_mib(&t, 974 + (phase < 10 ? phase * 10 : (20 - phase) * 10));
    }
    assert_in_range(t.n_changes, 1, 2);
    assert_int_equal(t.machine.state, GOVERNOR_CRITICAL);
}

static void test_governor__one_deep_spike_changes_nothing(void **state)
{
    (void)state;
    struct trace t;
    trace_init(&t);
    trace_hold(&t, 8192, 1000);
    assert_int_equal(trace_mib(&t, 300), GOVERNOR_SAFE);
    assert_int_equal(trace_hold(&t, 8192, 1000), GOVERNOR_SAFE);
    assert_int_equal(t.n_changes, 0);
}

static void test_governor__critical_is_left_after_five_seconds_above_its_border(void **state)
{
    (void)state;
    struct trace t;
    trace_init(&t);
    assert_int_equal(trace_hold(&t, 900, 1000), GOVERNOR_CRITICAL);
    assert_int_equal(trace_hold(&t, 1280, 20000), GOVERNOR_CRITICAL); /* not above + 25 % */
    assert_int_equal(trace_hold(&t, 1300, 5000), GOVERNOR_CRITICAL);
    assert_int_equal(trace_mib(&t, 1300), GOVERNOR_CAUTION);
    assert_int_equal(trace_hold(&t, 1300, 20000), GOVERNOR_CAUTION);
}

static void test_governor__a_dip_starts_the_leave_time_anew(void **state)
{
    (void)state;
    struct trace t;
    trace_init(&t);
    trace_hold(&t, 900, 1000);
    trace_hold(&t, 1300, 4750);
    trace_mib(&t, 1200);
    assert_int_equal(trace_hold(&t, 1300, 5000), GOVERNOR_CRITICAL);
    assert_int_equal(trace_mib(&t, 1300), GOVERNOR_CAUTION);
}

static void test_governor__a_freed_hog_leads_back_to_safe_within_eleven_seconds(void **state)
{
    (void)state;
    struct trace t;
    trace_init(&t);
    trace_hold(&t, 900, 1000);
    assert_int_equal(trace_hold(&t, 16384, 5250), GOVERNOR_CAUTION);
    assert_int_equal(trace_hold(&t, 16384, 5500), GOVERNOR_SAFE);
}

static void test_governor__emergency_needs_three_samples_or_one_below_half(void **state)
{
    (void)state;
    struct trace t;
    trace_init(&t);
    assert_int_equal(trace_mib(&t, 500), GOVERNOR_SAFE);
    assert_int_equal(trace_mib(&t, 500), GOVERNOR_CRITICAL);
    assert_int_equal(trace_mib(&t, 500), GOVERNOR_EMERGENCY);

    trace_init(&t);
    assert_int_equal(trace_mib(&t, 256), GOVERNOR_SAFE);
    trace_init(&t);
    assert_int_equal(trace_mib(&t, 255), GOVERNOR_EMERGENCY);
}

static void test_governor__emergency_is_never_left(void **state)
{
    (void)state;
    struct trace t;
    trace_init(&t);
    trace_mib(&t, 100);
    assert_int_equal(trace_hold(&t, 16384, 3600 * 1000), GOVERNOR_EMERGENCY);
    assert_int_equal(t.n_changes, 1);
}

static void test_governor__unreadable_source_keeps_the_state_five_seconds_then_warns(void **state)
{
    (void)state;
    struct trace t;
    trace_init(&t);
    trace_hold(&t, 8192, 1000);
    uint64_t last_good_ms = t.now_ms - PERIOD_MS;
    while (t.now_ms < last_good_ms + 5000)
        assert_int_equal(trace_sample(&t, NULL), GOVERNOR_SAFE);
    assert_int_equal(trace_sample(&t, NULL), GOVERNOR_CAUTION);
    assert_int_equal(trace_hold(&t, 8192, 9750), GOVERNOR_CAUTION);
    assert_int_equal(trace_hold(&t, 8192, 500), GOVERNOR_SAFE);
}

static void test_governor__unreadable_source_does_not_end_critical(void **state)
{
    (void)state;
    struct trace t;
    trace_init(&t);
    trace_hold(&t, 900, 1000);
    for (unsigned i = 0; i < 400; i++)
        assert_int_equal(trace_sample(&t, NULL), GOVERNOR_CRITICAL);
}

static void test_governor__pressure_counts_for_the_next_worse_state_but_never_stops(void **state)
{
    (void)state;
    struct trace t;
    trace_init(&t);
    struct mem_sample plenty = {.available_bytes = 8192 * MIB, .is_pressed = true};
    trace_sample(&t, &plenty);
    assert_int_equal(trace_sample(&t, &plenty), GOVERNOR_CAUTION);
    struct mem_sample low = {.available_bytes = 1500 * MIB, .is_pressed = true};
    trace_sample(&t, &low);
    assert_int_equal(trace_sample(&t, &low), GOVERNOR_CRITICAL);
    struct mem_sample lower = {.available_bytes = 600 * MIB, .is_pressed = true};
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(trace_sample(&t, &lower), GOVERNOR_CRITICAL);
}

static void test_governor__rules_must_fall(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(governor_rules_check(&GOVERNOR_RULES_DEFAULT, &err), STATUS_OK);
    static const struct governor_rules wrong[] = {
        {1, 1, 1}, {3, 3, 2}, {3, 2, 2}, {3, 2, 0}, {1, 2, 3},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(governor_rules_check(&wrong[i], &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "warn 1 > reject 2 > stop 3"));
}

static void test_governor__state_names_are_those_of_the_api(void **state)
{
    (void)state;
    assert_string_equal(governor_state_name(GOVERNOR_SAFE), "Safe");
    assert_string_equal(governor_state_name(GOVERNOR_CAUTION), "Caution");
    assert_string_equal(governor_state_name(GOVERNOR_CRITICAL), "Critical");
    assert_string_equal(governor_state_name(GOVERNOR_EMERGENCY), "Emergency");
}

/* ---- Running, on a scripted source ---- */

struct running {
    char source[64];
    struct queue *emergencies;
    struct governor *governor;
};

static void set_source(const struct running *r, const char *text)
{
    assert_int_equal(file_write_atomic(r->source, str_from(text), NULL), STATUS_OK);
}

static void note_emergency(void *arg)
{
    assert_int_equal(queue_push(arg, arg, 0), STATUS_OK);
}

static void running_start(struct running *r, const char *text)
{
    snprintf(r->source, sizeof r->source, "governor-source.XXXXXX");
    int fd = mkstemp(r->source);
    assert_true(fd >= 0);
    close(fd);
    set_source(r, text);
    r->emergencies = queue_create(4);
    struct governor_options options = {
        .rules = GOVERNOR_RULES_DEFAULT,
        .source_file = r->source,
        .on_emergency = note_emergency,
        .arg = r->emergencies,
    };
    assert_int_equal(governor_start(&options, &r->governor, NULL), STATUS_OK);
}

static void running_stop(struct running *r)
{
    governor_stop(r->governor);
    queue_destroy(r->emergencies);
    unlink(r->source);
}

static void test_governor__publishes_the_first_reading_before_start_returns(void **state)
{
    (void)state;
    struct running r;
    running_start(&r, "8589934592\n");
    assert_int_equal(governor_state(r.governor), GOVERNOR_SAFE);
    assert_true(governor_available_bytes(r.governor) == 8192 * MIB);
    assert_true(metric_get(METRIC_MEMORY_AVAILABLE) == (int64_t)(8192 * MIB));
    running_stop(&r);
}

static void test_governor__calls_on_emergency_exactly_once(void **state)
{
    (void)state;
    struct running r;
    running_start(&r, "8589934592");
    set_source(&r, "1000");
    void *item;
    assert_int_equal(queue_pop(r.emergencies, &item, WAIT_MS), STATUS_OK);
    assert_int_equal(governor_state(r.governor), GOVERNOR_EMERGENCY);
    assert_int_equal(metric_get(METRIC_MEMORY_STATE), GOVERNOR_EMERGENCY);
    /* Some samples later there is still no second call. */
    assert_int_equal(queue_pop(r.emergencies, &item, 500), STATUS_AGAIN);
    running_stop(&r);
}

static void test_governor__refuses_to_start_without_a_reading(void **state)
{
    (void)state;
    struct governor *g = NULL;
    struct error err = {0};
    struct governor_options options = {
        .rules = GOVERNOR_RULES_DEFAULT,
        .source_file = "no-such-folder/source",
    };
    assert_int_equal(governor_start(&options, &g, &err), STATUS_NOT_FOUND);
    assert_null(g);
    assert_non_null(strstr(err.message, "no-such-folder/source"));
    governor_stop(NULL);
}

static void test_governor__a_real_reading_costs_far_less_than_five_milliseconds(void **state)
{
    (void)state;
    struct governor *g;
    struct governor_options options = {.rules = GOVERNOR_RULES_DEFAULT};
    assert_int_equal(governor_start(&options, &g, NULL), STATUS_OK);
    uint64_t reading_us = governor_reading_us(g);
    print_message("one reading: %u us\n", (unsigned)reading_us);
    assert_in_range(reading_us, 1, 4999);
    governor_stop(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_governor__starts_safe_and_stays_so_with_plenty),
        cmocka_unit_test(test_governor__slow_leak_passes_every_state_once_in_order),
        cmocka_unit_test(test_governor__enters_exactly_below_the_threshold_after_two_samples),
        cmocka_unit_test(test_governor__noise_around_one_gib_changes_at_most_twice),
        cmocka_unit_test(test_governor__one_deep_spike_changes_nothing),
        cmocka_unit_test(test_governor__critical_is_left_after_five_seconds_above_its_border),
        cmocka_unit_test(test_governor__a_dip_starts_the_leave_time_anew),
        cmocka_unit_test(test_governor__a_freed_hog_leads_back_to_safe_within_eleven_seconds),
        cmocka_unit_test(test_governor__emergency_needs_three_samples_or_one_below_half),
        cmocka_unit_test(test_governor__emergency_is_never_left),
        cmocka_unit_test(test_governor__unreadable_source_keeps_the_state_five_seconds_then_warns),
        cmocka_unit_test(test_governor__unreadable_source_does_not_end_critical),
        cmocka_unit_test(test_governor__pressure_counts_for_the_next_worse_state_but_never_stops),
        cmocka_unit_test(test_governor__rules_must_fall),
        cmocka_unit_test(test_governor__state_names_are_those_of_the_api),
        cmocka_unit_test(test_governor__publishes_the_first_reading_before_start_returns),
        cmocka_unit_test(test_governor__calls_on_emergency_exactly_once),
        cmocka_unit_test(test_governor__refuses_to_start_without_a_reading),
        cmocka_unit_test(test_governor__a_real_reading_costs_far_less_than_five_milliseconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
