/* Helper programs: what they say, where they run, and that nothing of them stays. */
#define _GNU_SOURCE
#include "support/check.h"

#include <poll.h>
#include <unistd.h>

#include "catalog/child.h"
#include "support/folder.h"

enum { LIMIT_MS = 60 * 1000 };

struct run {
    struct child_options options;
    struct strbuf output;
    struct error err;
    const char *argv[4];
    char here[4096];
    enum status refusal; /* what on_output answers */
};

static enum status keep_output(const void *bytes, size_t n, void *arg, struct error *err)
{
    struct run *r = arg;
    strbuf_append(&r->output, bytes, n);
    return r->refusal == STATUS_OK ? STATUS_OK : error_set(err, r->refusal, "refused");
}

static enum status run(struct run *r, const char *script)
{
    strbuf_init(&r->output, 4 * 1024 * 1024);
    r->argv[0] = "sh";
    r->argv[1] = "-c";
    r->argv[2] = script;
    r->argv[3] = NULL;
    if (r->options.argv == NULL)
        r->options.argv = r->argv;
    if (r->options.folder == NULL)
        r->options.folder = getcwd(r->here, sizeof r->here);
    if (r->options.limit_ms == 0)
        r->options.limit_ms = LIMIT_MS;
    r->options.on_output = keep_output;
    r->options.arg = r;
    return child_run(&r->options, &r->err);
}

static void test_child__hands_over_all_output(void **state)
{
    (void)state;
    struct run r = {0};
    assert_int_equal(run(&r, "i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done"),
                     STATUS_OK);
    assert_int_equal(r.output.len, 20000 * 11);
    strbuf_free(&r.output);
}

static void test_child__runs_in_its_folder_with_nothing_to_read(void **state)
{
    (void)state;
    struct folder f;
    struct run r = {0};
    char here[4096], folder[8192];
    folder_make(&f);
    snprintf(folder, sizeof folder, "%s/%s", getcwd(here, sizeof here), f.path);
    r.options.folder = folder;
    assert_int_equal(run(&r, "cat; [ \"$TMPDIR\" = \"$PWD\" ] && basename \"$PWD\""), STATUS_OK);
    r.output.data[--r.output.len] = '\0'; /* the line's end */
    CHECK_STR(strbuf_str(&r.output), f.path);
    strbuf_free(&r.output);
    folder_remove(&f);
}

static void test_child__a_failure_quotes_the_last_lines(void **state)
{
    (void)state;
    struct run r = {0};
    assert_int_equal(run(&r, "i=0; while [ $i -lt 500 ]; do echo noise >&2; i=$((i+1)); done;"
                             "printf 'ERROR: no \\033[31mroom\\nremedy: buy\\n\\n' >&2; exit 3"),
                     STATUS_IO);
    assert_non_null(strstr(r.err.message, "ERROR: no  [31mroom remedy: buy"));
    assert_true(strlen(r.err.message) < 400);
    strbuf_free(&r.output);
}

static void test_child__a_silent_failure_and_a_signal_are_told(void **state)
{
    (void)state;
    struct run silent = {0}, killed = {0};
    assert_int_equal(run(&silent, "exit 1"), STATUS_IO);
    assert_non_null(strstr(silent.err.message, "did not say why"));
    assert_int_equal(run(&killed, "kill -9 $$"), STATUS_IO);
    assert_non_null(strstr(killed.err.message, "signal 9"));
    strbuf_free(&silent.output);
    strbuf_free(&killed.output);
}

static void test_child__a_program_that_is_not_there_is_told_apart(void **state)
{
    (void)state;
    const char *const argv[] = {"no-such-program-here", NULL};
    struct run r = {.options.argv = argv};
    assert_int_equal(run(&r, ""), STATUS_NOT_FOUND);
    assert_non_null(strstr(r.err.message, "no-such-program-here is not installed"));
    strbuf_free(&r.output);
}

/* A pipe that every process of the helper inherits: its end is seen when none of them is left. */
struct leash {
    int fds[2];
};

static void leash_begin(struct leash *l)
{
    assert_int_equal(pipe(l->fds), 0);
}

static void leash_check_free(struct leash *l)
{
    struct pollfd fd = {.fd = l->fds[0], .events = POLLIN};
    char byte;
    close(l->fds[1]);
    assert_int_equal(poll(&fd, 1, LIMIT_MS), 1);
    assert_int_equal(read(l->fds[0], &byte, 1), 0);
    close(l->fds[0]);
}

static void test_child__one_that_takes_too_long_is_killed_with_its_group(void **state)
{
    (void)state;
    struct run r = {.options.limit_ms = 300};
    struct leash leash;
    leash_begin(&leash);
    assert_int_equal(run(&r, "sleep 600 & sleep 600"), STATUS_AGAIN);
    leash_check_free(&leash);
    strbuf_free(&r.output);
}

static void test_child__one_that_closes_its_output_is_still_watched(void **state)
{
    (void)state;
    struct run r = {.options.limit_ms = 300};
    assert_int_equal(run(&r, "exec >&- 2>&-; sleep 600"), STATUS_AGAIN);
    strbuf_free(&r.output);
}

static bool says_stop(void *arg)
{
    return ((struct run *)arg)->output.len > 0;
}

static void test_child__a_stop_kills_its_group(void **state)
{
    (void)state;
    struct run r = {.options.on_tick = says_stop};
    struct leash leash;
    leash_begin(&leash);
    assert_int_equal(run(&r, "sleep 600 & echo begun; sleep 600"), STATUS_CANCELLED);
    leash_check_free(&leash);
    strbuf_free(&r.output);
}

static void test_child__output_that_is_refused_ends_it(void **state)
{
    (void)state;
    struct run r = {.refusal = STATUS_TOO_LARGE};
    assert_int_equal(run(&r, "echo much; sleep 600"), STATUS_TOO_LARGE);
    assert_string_equal(r.err.message, "refused");
    strbuf_free(&r.output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_child__hands_over_all_output),
        cmocka_unit_test(test_child__runs_in_its_folder_with_nothing_to_read),
        cmocka_unit_test(test_child__a_failure_quotes_the_last_lines),
        cmocka_unit_test(test_child__a_silent_failure_and_a_signal_are_told),
        cmocka_unit_test(test_child__a_program_that_is_not_there_is_told_apart),
        cmocka_unit_test(test_child__one_that_takes_too_long_is_killed_with_its_group),
        cmocka_unit_test(test_child__one_that_closes_its_output_is_still_watched),
        cmocka_unit_test(test_child__a_stop_kills_its_group),
        cmocka_unit_test(test_child__output_that_is_refused_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
