/* Settings: what wins over what, and where a mistake is told to be. */
#define _GNU_SOURCE
#include "support/check.h"

#include <stdlib.h>
#include <unistd.h>

#include "app/options.h"
#include "base/file.h"
#include "support/folder.h"

extern char **environ;

enum { MOST_ARGUMENTS = 16 };

struct fixture {
    struct folder home;
    struct options options;
    struct error err;
};

/* No setting of the user's own, in the environment or a file. */
static void set_up(struct fixture *f)
{
    *f = (struct fixture){0};
    for (size_t i = 0; environ[i] != NULL;) {
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(environ[i], "="), environ[i]);
        if (strncmp(name, "PENSIEVE_", 9) == 0)
            unsetenv(name); /* the next one moves here */
        else
            i++;
    }
    folder_make(&f->home);
    char here[4096], home[8192];
    snprintf(home, sizeof home, "%s/%s", getcwd(here, sizeof here), f->home.path);
    setenv("HOME", home, 1);
    setenv("XDG_CONFIG_HOME", home, 1);
}

static void tear_down(struct fixture *f)
{
    options_free(&f->options);
    folder_remove(&f->home);
}

/* Reads "serve" and the words of `flags`, which end with NULL. */
static enum status read_options(struct fixture *f, const char *const *flags)
{
    static char *argv[MOST_ARGUMENTS];
    int argc = 0;
    options_free(&f->options);
    argv[argc++] = (char *)(uintptr_t)"serve";
    for (; *flags != NULL && argc < MOST_ARGUMENTS; flags++)
        argv[argc++] = (char *)(uintptr_t)*flags;
    return options_read(argc, argv, &f->options, &f->err);
}
#define READ(f, ...) read_options((f), (const char *const[]){__VA_ARGS__, NULL})
#define READ_NONE(f) read_options((f), (const char *const[]){NULL})

#define CHECK_REFUSED(f, want_status, want_text, ...)                                              \
    do {                                                                                           \
        assert_int_equal(READ(f, __VA_ARGS__), want_status);                                       \
        assert_int_equal((f)->err.status, want_status);                                            \
        CHECK_STR(str_from((f)->err.message), want_text);                                          \
    } while (0)

static void check_file_refused(struct fixture *f, const char *text, const char *place,
                               const char *said)
{
    char wanted[512];
    folder_write(&f->home, "own.json", text);
    assert_int_equal(READ(f, "--config", folder_path(&f->home, "own.json")), STATUS_CORRUPT);
    snprintf(wanted, sizeof wanted, "%s%s", folder_path(&f->home, "own.json"), place);
    if (strncmp(f->err.message, wanted, strlen(wanted)) != 0)
        fail_msg("\"%s\" does not begin with \"%s\"", f->err.message, wanted);
    if (strstr(f->err.message, said) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", f->err.message, said);
}

static void test_options__every_default_is_a_value_that_it_would_take(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    assert_int_equal(READ_NONE(&f), STATUS_OK);
    for (enum option id = 0; id < OPTION_COUNT; id++)
        assert_false(option_is_set(&f.options, id));
    assert_string_equal(option_text(&f.options, OPTION_HOST), "127.0.0.1");
    assert_int_equal(option_number(&f.options, OPTION_PORT), 7777);
    assert_true(option_bytes(&f.options, OPTION_MEMORY_STOP) == UINT64_C(1) << 29);
    assert_false(option_flag(&f.options, OPTION_REPACK));
#define X(id, name, type, value, low, high, arg, help)                                             \
    if (OPTION_##type == OPTION_NUMBER) {                                                          \
        assert_true(option_number(&f.options, OPTION_##id) >= (low));                              \
        assert_true(option_number(&f.options, OPTION_##id) <= (high));                             \
    } else if (OPTION_##type == OPTION_GB) {                                                       \
        assert_true(option_bytes(&f.options, OPTION_##id) > 0);                                    \
    }
    OPTION_MAP(X)
#undef X
    tear_down(&f);
}

static void test_options__flags_take_their_value_either_way(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    assert_int_equal(READ(&f, "--port", "0", "one", "--ctx=4096", "--repack", "two", "--json",
                          "--memory-warn", "1.5"),
                     STATUS_OK);
    assert_int_equal(option_number(&f.options, OPTION_PORT), 0);
    assert_int_equal(option_number(&f.options, OPTION_CTX), 4096);
    assert_true(option_flag(&f.options, OPTION_REPACK));
    assert_true(option_bytes(&f.options, OPTION_MEMORY_WARN) == UINT64_C(3) << 29);
    assert_true(option_is_set(&f.options, OPTION_PORT));
    assert_false(option_is_set(&f.options, OPTION_HOST));
    assert_true(f.options.json && !f.options.help);
    assert_int_equal(f.options.n_rest, 2);
    assert_string_equal(f.options.rest[0], "one");
    assert_string_equal(f.options.rest[1], "two");
    assert_int_equal(READ(&f, "--repack=false", "-h"), STATUS_OK);
    assert_false(option_flag(&f.options, OPTION_REPACK));
    assert_true(f.options.help);
    tear_down(&f);
}

static void test_options__a_wrong_flag_is_refused_with_the_nearest_name(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    CHECK_REFUSED(&f, STATUS_INVALID, "unknown option --prot; did you mean --port?", "--prot",
                  "80");
    CHECK_REFUSED(&f, STATUS_INVALID, "unknown option --prot=80; did you mean --port?",
                  "--prot=80");
    CHECK_REFUSED(&f, STATUS_INVALID, "unknown option --nothing-alike-at-all; see --help",
                  "--nothing-alike-at-all");
    CHECK_REFUSED(&f, STATUS_INVALID, "unknown option -p; see --help", "-p", "80");
    CHECK_REFUSED(&f, STATUS_INVALID, "--port needs a value: --port N", "--port");
    tear_down(&f);
}

static void test_options__a_wrong_value_is_refused_with_what_it_should_be(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    static const char *const numbers[] = {"65536", "-1", "", "x", "80x", "99999999999999999999"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        CHECK_REFUSED(&f, STATUS_INVALID, "--port: should be a whole number from 0 to 65535",
                      "--port", numbers[i]);
    static const char *const sizes[] = {"0", "-1", "", "much", "2GB", "nan", "inf"};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        CHECK_REFUSED(&f, STATUS_INVALID, "--memory-warn: should be a number of GB above 0",
                      "--memory-warn", sizes[i]);
    CHECK_REFUSED(&f, STATUS_INVALID, "--repack: should be true or false", "--repack=yes");
    tear_down(&f);
}

static void test_options__a_flag_wins_over_the_environment_that_over_the_file(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    folder_write(&f.home, "own.json", "{\"ctx\": 1024, \"parallel\": 2, \"threads\": 3}");
    setenv("PENSIEVE_CONFIG", folder_path(&f.home, "own.json"), 1);
    setenv("PENSIEVE_PARALLEL", "5", 1);
    setenv("PENSIEVE_THREADS", "6", 1);
    setenv("PENSIEVE_LOG_LEVEL", "", 1); /* empty: as if it were not there */
    assert_int_equal(READ(&f, "--threads", "7"), STATUS_OK);
    assert_int_equal(option_number(&f.options, OPTION_CTX), 1024);
    assert_int_equal(option_number(&f.options, OPTION_PARALLEL), 5);
    assert_int_equal(option_number(&f.options, OPTION_THREADS), 7);
    assert_string_equal(option_text(&f.options, OPTION_LOG_LEVEL), "info");
    tear_down(&f);
}

static void test_options__a_wrong_variable_is_named(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    setenv("PENSIEVE_MEMORY_WARN", "lots", 1);
    CHECK_REFUSED(&f, STATUS_INVALID, "PENSIEVE_MEMORY_WARN: should be a number of GB above 0",
                  "--port", "1");
    /* Nobody is held up by a variable that a flag overrules. */
    assert_int_equal(READ(&f, "--memory-warn", "3"), STATUS_OK);
    tear_down(&f);
}

static void test_options__the_file_may_hold_comments_and_every_kind_of_value(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    folder_write(&f.home, "own.json",
                 "// mine\n{\"port\": 8000, /* a flag */ \"repack\": true, \"memory-warn\": 2.5,\n"
                 " \"model\": \"smollm2:135m\", \"ctx\": \"2048\",}\n");
    assert_int_equal(READ(&f, "--config", folder_path(&f.home, "own.json")), STATUS_OK);
    assert_int_equal(option_number(&f.options, OPTION_PORT), 8000);
    assert_int_equal(option_number(&f.options, OPTION_CTX), 2048);
    assert_true(option_flag(&f.options, OPTION_REPACK));
    assert_true(option_bytes(&f.options, OPTION_MEMORY_WARN) == UINT64_C(5) << 29);
    assert_string_equal(option_text(&f.options, OPTION_MODEL), "smollm2:135m");
    tear_down(&f);
}

static void test_options__the_users_own_file_is_found_and_need_not_be_there(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    assert_int_equal(READ_NONE(&f), STATUS_OK);
    assert_int_equal(option_number(&f.options, OPTION_PORT), 7777);
    assert_int_equal(file_make_dirs(folder_path(&f.home, "pensieve"), NULL), STATUS_OK);
    folder_write(&f.home, "pensieve/config.json", "{\"port\": 9000}");
    assert_int_equal(READ_NONE(&f), STATUS_OK);
    assert_int_equal(option_number(&f.options, OPTION_PORT), 9000);
    /* One that was named has to be there. */
    assert_int_equal(READ(&f, "--config", folder_path(&f.home, "other.json")), STATUS_CORRUPT);
    assert_non_null(strstr(f.err.message, "other.json"));
    tear_down(&f);
}

static void test_options__a_mistake_in_the_file_is_told_with_line_and_column(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    check_file_refused(&f, "{\n  \"port\": 80,\n  \"prallel\": 2\n}", ":3:3: unknown setting",
                       "did you mean \"parallel\"?");
    check_file_refused(&f, "{\"port\": 80, \"nothing-alike-at-all\": 2}", ":1:14: unknown setting",
                       "");
    check_file_refused(&f, "{\n  \"host\": \"x\",\n    \"port\": 70000}", ":3:5: port",
                       "should be a whole number from 0 to 65535");
    check_file_refused(&f, "{\"repack\": 1}", ":1:2: repack", "should be true or false");
    check_file_refused(&f, "[1, 2]", ":1:1: ", "one JSON object");
    tear_down(&f);
}

/* The place of a key is that of the key, not of a value or a comment that reads the same. */
static void test_options__a_word_that_looks_like_the_key_does_not_mislead(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    check_file_refused(&f, "// \"port\" is wrong below\n{\"host\": \"port\",\n \"port\": -1}",
                       ":3:2: port", "whole number");
    tear_down(&f);
}

static void test_options__text_that_is_no_json_is_told_with_line_and_column(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    check_file_refused(&f, "{\n  \"port\" 80\n}", "", "line 2");
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options__every_default_is_a_value_that_it_would_take),
        cmocka_unit_test(test_options__flags_take_their_value_either_way),
        cmocka_unit_test(test_options__a_wrong_flag_is_refused_with_the_nearest_name),
        cmocka_unit_test(test_options__a_wrong_value_is_refused_with_what_it_should_be),
        cmocka_unit_test(test_options__a_flag_wins_over_the_environment_that_over_the_file),
        cmocka_unit_test(test_options__a_wrong_variable_is_named),
        cmocka_unit_test(test_options__the_file_may_hold_comments_and_every_kind_of_value),
        cmocka_unit_test(test_options__the_users_own_file_is_found_and_need_not_be_there),
        cmocka_unit_test(test_options__a_mistake_in_the_file_is_told_with_line_and_column),
        cmocka_unit_test(test_options__a_word_that_looks_like_the_key_does_not_mislead),
        cmocka_unit_test(test_options__text_that_is_no_json_is_told_with_line_and_column),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
