/* The two kinds of allocation: small ones end the program in words, those that a client sizes fail
 * and are counted. */
#include "support/check.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/thread.h"

static void test_mem__the_named_call_fails_and_no_other(void **state)
{
    (void)state;
    unsigned long before = mem_failures();
    mem_fail_at(3);
    void *first = mem_try_alloc(10);
    void *second = mem_try_realloc(first, 20);
    assert_non_null(second);
    assert_null(mem_try_realloc(second, 30)); /* the third; `second` is as it was */
    void *fourth = mem_try_alloc(10);
    assert_non_null(fourth);
    assert_int_equal(mem_failures() - before, 1);
    assert_int_equal(mem_fail_at(0), 0);
    mem_free(second);
    mem_free(fourth);
}

static void test_mem__a_countdown_says_what_is_left_of_it(void **state)
{
    (void)state;
    mem_fail_at(5);
    mem_free(mem_try_alloc(1));
    mem_free(mem_alloc(1)); /* not of this kind */
    assert_int_equal(mem_fail_at(0), 4);
    void *p = mem_try_alloc(1);
    assert_non_null(p);
    mem_free(p);
}

static void test_mem__what_the_system_cannot_give_is_refused(void **state)
{
    (void)state;
    assert_int_equal(mem_array_bytes(SIZE_MAX / 2, 3), SIZE_MAX);
    assert_int_equal(mem_array_bytes(3, 5), 15);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* the sanitizer ends the program where malloc would say no */
#else
    unsigned long before = mem_failures();
    assert_null(mem_try_alloc(SIZE_MAX));
    assert_int_equal(mem_failures() - before, 1);
#endif
}

static void test_mem__a_failure_outweighs_what_was_told_since(void **state)
{
    (void)state;
    struct error err = {.status = STATUS_INVALID, .message = "a field is wrong"};
    unsigned long before = mem_failures();
    assert_int_equal(mem_check(before, STATUS_INVALID, &err), STATUS_INVALID);
    CHECK_STR(str_from(err.message), "a field is wrong");
    mem_fail_at(1);
    assert_null(mem_try_alloc(1));
    assert_int_equal(mem_check(before, STATUS_INVALID, &err), STATUS_NO_MEMORY);
    assert_int_equal(err.status, STATUS_NO_MEMORY);
    assert_int_equal(mem_check(before, STATUS_OK, NULL), STATUS_NO_MEMORY);
    assert_int_equal(mem_check(mem_failures(), STATUS_OK, &err), STATUS_OK);
}

static void *fail_once(void *arg)
{
    (void)arg;
    mem_fail_at(1);
    assert_null(mem_try_alloc(1));
    return NULL;
}

static void test_mem__failures_are_counted_for_each_thread(void **state)
{
    (void)state;
    unsigned long before = mem_failures();
    pthread_t other;
    assert_int_equal(thread_start(&other, "other", fail_once, NULL), STATUS_OK);
    pthread_join(other, NULL);
    assert_int_equal(mem_failures(), before);
}

/* A program that has no memory for its own small things says so and ends. */
static void test_mem__a_small_one_that_fails_ends_the_program_in_words(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* the sanitizer ends the program first, in its own words */
#else
    int words[2];
    assert_int_equal(pipe(words), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(words[1], STDERR_FILENO);
        mem_alloc(SIZE_MAX - 4096);
        _exit(0);
    }
    close(words[1]);
    char text[256] = "";
    ssize_t n = read(words[0], text, sizeof text - 1);
    close(words[0]);
    int ended = 0;
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_true(WIFSIGNALED(ended));
    assert_int_equal(WTERMSIG(ended), SIGABRT);
    assert_true(n > 0);
    assert_true(str_starts_with(str_from(text), STR("pensieve: the system has no ")));
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mem__the_named_call_fails_and_no_other),
        cmocka_unit_test(test_mem__a_countdown_says_what_is_left_of_it),
        cmocka_unit_test(test_mem__what_the_system_cannot_give_is_refused),
        cmocka_unit_test(test_mem__a_failure_outweighs_what_was_told_since),
        cmocka_unit_test(test_mem__failures_are_counted_for_each_thread),
        cmocka_unit_test(test_mem__a_small_one_that_fails_ends_the_program_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
