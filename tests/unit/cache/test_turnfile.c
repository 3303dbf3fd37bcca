/* The log of replies: what is told is what was appended, whatever happened to the file. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/folder.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "cache/kvfolder.h"
#include "cache/turnfile.h"

enum {
    MODEL = 7,
    HEAD_BYTES = 56,
    MOST_TOLD = 8192,
    FLIPS = 20 * 1000,
    DAY_S = 24 * 3600,
    RETRY_MS = 60 * 1000,
    WRITERS = 2,
    EACH = 1500, /* appends of a writer */
    LARGEST = 27,
    LARGEST_BYTES = HEAD_BYTES + 4 * 200, /* of the reply of that number; none takes more */
    SMALL_BUDGET = 20 * 1000,
};

#define DAY_0 INT64_C(1700000000)

static uint64_t seed = 20261127;

static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

/* ---- Replies by number ---- */

/* The nth reply's key says its number; number and place give each token. */
static struct turn_key key_of(uint32_t nth)
{
    struct turn_key key;
    memset(key.bytes, 0xa5, sizeof key.bytes);
    bytes_put_u32((char *)key.bytes, nth);
    return key;
}

static size_t tokens_of(uint32_t nth, model_token *out)
{
    size_t n = 1 + nth * 37 % 200;
    for (size_t i = 0; i < n; i++)
        out[i] = (model_token)((nth * 7919u + i * 104729u) % 150000u);
    return n;
}

static void append(struct turnfile *t, uint32_t nth)
{
    model_token tokens[256];
    struct turn_key key = key_of(nth);
    size_t n = tokens_of(nth, tokens);
    turnfile_append(t, &key, tokens, n);
}

/* ---- What is told ---- */

struct told {
    size_t n;
    uint32_t nths[MOST_TOLD];
};

/* Anything that was not appended ends the test. */
static void note(void *arg, const struct turn_key *key, const model_token *tokens, size_t n)
{
    struct told *told = arg;
    uint32_t nth = bytes_get_u32((const char *)key->bytes);
    struct turn_key expected_key = key_of(nth);
    model_token expected[256];
    assert_memory_equal(key->bytes, expected_key.bytes, sizeof key->bytes);
    assert_int_equal(n, tokens_of(nth, expected));
    assert_memory_equal(tokens, expected, n * sizeof *tokens);
    assert_true(told->n < MOST_TOLD);
    told->nths[told->n++] = nth;
}

struct fixture {
    struct folder folder; /* the store's is in it */
    char path[FOLDER_PATH_BYTES + 8];
    char file[FOLDER_PATH_BYTES + 16];
    struct turnfile_options options;
    struct turnfile *log;
    struct told told;
};

static void shut(struct fixture *f)
{
    turnfile_close(f->log);
    f->log = NULL;
}

static void reopen(struct fixture *f)
{
    struct error err;
    shut(f);
    f->options.folder = f->path;
    f->told.n = 0;
    assert_int_equal(turnfile_open(&f->options, note, &f->told, &f->log, &err), STATUS_OK);
}

static struct fixture *make(void)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    f->options =
        (struct turnfile_options){.model_id = MODEL, .budget_bytes = 1 << 20, .ttl_days = 30};
    log_set_level(LOG_ERROR);
    folder_make(&f->folder);
    snprintf(f->path, sizeof f->path, "%s/kv", f->folder.path);
    snprintf(f->file, sizeof f->file, "%s/kv/" TURNFILE_NAME, f->folder.path);
    reopen(f);
    return f;
}

static void unmake(struct fixture *f)
{
    clock_freeze(0);
    clock_freeze_wall(0);
    shut(f);
    folder_remove(&f->folder);
    mem_free(f);
}

/* Appends the replies [begin, end). */
static void append_some(struct fixture *f, uint32_t begin, uint32_t end)
{
    for (uint32_t nth = begin; nth < end; nth++)
        append(f->log, nth);
}

/* That [begin, end) were told, in this order, and nothing else. */
static void check_told(const struct fixture *f, uint32_t begin, uint32_t end)
{
    assert_int_equal(f->told.n, end - begin);
    for (uint32_t i = 0; i < end - begin; i++)
        assert_int_equal(f->told.nths[i], begin + i);
}

static struct turnfile_sum look(const struct fixture *f)
{
    struct turnfile_sum sum;
    struct error err;
    assert_int_equal(turnfile_look(f->path, &sum, &err), STATUS_OK);
    return sum;
}

static uint64_t size_of(const struct fixture *f)
{
    uint64_t n = 0;
    assert_int_equal(file_size(f->file, &n), STATUS_OK);
    return n;
}

static void read_log(const struct fixture *f, struct strbuf *out)
{
    folder_read(&f->folder, "kv/" TURNFILE_NAME, out);
}

/* In the place of the file, not over it: its inode stays. */
static void write_log(const struct fixture *f, struct str bytes)
{
    int fd = open(f->file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes.ptr, bytes.len), bytes.len);
    close(fd);
}

/* ---- Appending and telling ---- */

static void test_turnfile__what_was_appended_is_told_in_order(void **state)
{
    (void)state;
    struct fixture *f = make();
    assert_int_equal(f->told.n, 0);
    assert_false(file_exists(f->file)); /* until there is something to keep */
    append_some(f, 0, 300);
    reopen(f);
    check_told(f, 0, 300);
    append_some(f, 300, 310);
    reopen(f);
    check_told(f, 0, 310);

    struct turnfile_sum sum = look(f);
    assert_int_equal(sum.replies, 310);
    assert_int_equal(sum.damaged, 0);
    assert_int_equal(sum.bytes, size_of(f));
    assert_int_equal(sum.bytes, 310 * HEAD_BYTES + 4 * sum.tokens);
    unmake(f);
}

static void test_turnfile__file_and_folder_are_private(void **state)
{
    (void)state;
    struct fixture *f = make();
    append(f->log, 1);
    assert_int_equal(chmod(f->path, 0755), 0);
    assert_int_equal(chmod(f->file, 0644), 0);
    reopen(f);
    append(f->log, 2);
    struct stat info;
    assert_int_equal(stat(f->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_int_equal(stat(f->file, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    unmake(f);
}

static void test_turnfile__other_models_records_are_kept_and_not_told(void **state)
{
    (void)state;
    struct fixture *f = make();
    append_some(f, 0, 5);
    f->options.model_id = MODEL + 1;
    reopen(f);
    assert_int_equal(f->told.n, 0);
    append_some(f, 5, 8);
    reopen(f);
    check_told(f, 5, 8);
    f->options.model_id = MODEL;
    reopen(f);
    check_told(f, 0, 5);
    assert_int_equal(look(f).replies, 8);
    unmake(f);
}

static void take_longest(void *arg, const struct turn_key *key, const model_token *tokens, size_t n)
{
    (void)key;
    assert_int_equal(n, TURNFILE_MOST_TOKENS);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(tokens[i], i);
    *(int *)arg += 1;
}

static void test_turnfile__the_longest_reply_is_kept_and_no_longer_one(void **state)
{
    (void)state;
    struct fixture *f = make();
    model_token *tokens = mem_alloc((TURNFILE_MOST_TOKENS + 1) * sizeof *tokens);
    for (int i = 0; i <= TURNFILE_MOST_TOKENS; i++)
        tokens[i] = i;
    struct turn_key key = key_of(1);
    turnfile_append(f->log, &key, tokens, 0);
    turnfile_append(f->log, &key, tokens, TURNFILE_MOST_TOKENS + 1);
    assert_false(file_exists(f->file));
    turnfile_append(f->log, &key, tokens, TURNFILE_MOST_TOKENS);
    shut(f);
    int n_told = 0;
    struct error err;
    assert_int_equal(turnfile_open(&f->options, take_longest, &n_told, &f->log, &err), STATUS_OK);
    assert_int_equal(n_told, 1);
    mem_free(tokens);
    unmake(f);
}

/* Invariant 2: the reader would take the second marker for the next record's. */
static void test_turnfile__a_record_with_a_marker_inside_is_not_written(void **state)
{
    (void)state;
    struct fixture *f = make();
    model_token tokens[4] = {1};
    memcpy(tokens + 1, "PNSVTRN1", 8);
    struct turn_key key = key_of(1);
    turnfile_append(f->log, &key, tokens, 4);
    memcpy(key.bytes + 3, "PNSVTRN1", 8);
    turnfile_append(f->log, &key, tokens, 1);
    assert_false(file_exists(f->file));
    unmake(f);
}

/* ---- Bounds ---- */

static void test_turnfile__past_its_budget_the_newest_stay(void **state)
{
    (void)state;
    struct fixture *f = make();
    f->options.budget_bytes = SMALL_BUDGET;
    reopen(f);
    for (uint32_t nth = 0; nth < 1000; nth++) {
        append(f->log, nth);
        assert_true(size_of(f) <= f->options.budget_bytes);
    }
    assert_int_equal(folder_count(&f->folder), 1);
    reopen(f);
    assert_true(size_of(f) > f->options.budget_bytes / 4);
    check_told(f, 1000 - (uint32_t)f->told.n, 1000);

    f->options.budget_bytes = 8 * 1000; /* a smaller one, from the start */
    reopen(f);
    assert_true(size_of(f) <= f->options.budget_bytes / 2);
    reopen(f);
    assert_true(f->told.n > 2);
    check_told(f, 1000 - (uint32_t)f->told.n, 1000);
    struct folder inner;
    snprintf(inner.path, sizeof inner.path, "%.200s", f->path);
    assert_int_equal(folder_count(&inner), 1); /* nothing temporary is left */
    unmake(f);
}

static void test_turnfile__old_records_go_at_the_next_start(void **state)
{
    (void)state;
    struct fixture *f = make();
    clock_freeze_wall(DAY_0);
    append_some(f, 0, 4);
    clock_freeze_wall(DAY_0 + 5 * DAY_S);
    append_some(f, 4, 10);
    clock_freeze_wall(DAY_0 + 30 * DAY_S);
    reopen(f);
    check_told(f, 0, 10);
    clock_freeze_wall(DAY_0 + 30 * DAY_S + 1);
    f->options.ttl_days = 0; /* for ever */
    reopen(f);
    check_told(f, 0, 10);
    f->options.ttl_days = 30;
    reopen(f);
    check_told(f, 4, 10);
    assert_int_equal(look(f).replies, 6);
    clock_freeze_wall(DAY_0 + 365 * DAY_S);
    reopen(f);
    assert_int_equal(f->told.n, 0);
    assert_false(file_exists(f->file)); /* since nothing is left */
    clock_freeze_wall(DAY_0 - DAY_S);   /* a clock that was set back */
    append(f->log, 10);
    reopen(f);
    check_told(f, 10, 11);
    unmake(f);
}

static void test_turnfile__old_records_go_while_a_server_runs(void **state)
{
    (void)state;
    struct fixture *f = make();
    for (uint32_t day = 0; day <= 30; day++) { /* a reply an hour */
        for (uint32_t hour = 0; hour < 24; hour++) {
            clock_freeze_wall(DAY_0 + day * DAY_S + hour * 3600);
            append(f->log, day * 24 + hour);
        }
    }
    assert_int_equal(look(f).replies, 31 * 24);
    clock_freeze_wall(DAY_0 + 31 * DAY_S + 1); /* 25 are more than 30 days old, one of them 31 */
    append(f->log, 31 * 24);
    assert_int_equal(look(f).replies, 30 * 24);
    clock_freeze_wall(DAY_0 + 31 * DAY_S + 7200); /* and then it is done for a day */
    append(f->log, 31 * 24 + 1);
    assert_int_equal(look(f).replies, 30 * 24 + 1);
    reopen(f);
    check_told(f, 24 + 2, 31 * 24 + 2); /* at a start, to the second */
    unmake(f);
}

/* ---- Damage ---- */

/* That what is told of the replies [0, n_written) is in order, and that the log goes on. */
static void check_goes_on(struct fixture *f, uint32_t n_written)
{
    reopen(f);
    size_t n_told = f->told.n;
    assert_true(n_told <= n_written);
    for (size_t i = 0; i < n_told; i++)
        assert_true(f->told.nths[i] < n_written &&
                    (i == 0 || f->told.nths[i - 1] < f->told.nths[i]));
    append(f->log, n_written);
    reopen(f);
    assert_int_equal(f->told.n, n_told + 1);
    assert_int_equal(f->told.nths[n_told], n_written);
    assert_int_equal(look(f).damaged, 0); /* since it was rewritten */
}

static void note_record(void *arg, const struct turnfile_record *r)
{
    model_token tokens[256];
    assert_true(r->n_tokens <= 256);
    assert_int_equal(r->model_id, MODEL);
    for (size_t i = 0; i < r->n_tokens; i++)
        tokens[i] = turnfile_token(r, i);
    note(arg, &r->key, tokens, r->n_tokens);
}

/* The same as opening a file of these bytes, but for the file. */
static void scan(struct fixture *f, struct str bytes)
{
    struct turnfile_sum sum;
    f->told.n = 0;
    turnfile_scan(bytes, note_record, &f->told, &sum);
    assert_int_equal(sum.replies, f->told.n);
}

static void test_turnfile__no_length_of_the_file_gives_a_wrong_token(void **state)
{
    (void)state;
    struct fixture *f = make();
    append_some(f, 0, 6);
    struct strbuf file;
    read_log(f, &file);
    size_t end = 0;
    for (uint32_t n_whole = 0; n_whole < 6; n_whole++) {
        size_t begin = end;
        end += HEAD_BYTES + 4 * (size_t)bytes_get_u32(file.data + begin + 16);
        for (size_t n = begin; n < end; n++) {
            scan(f, (struct str){file.data, n});
            check_told(f, 0, n_whole);
        }
        for (size_t n = begin; n < end; n += 13) { /* less often: the disk is slow */
            write_log(f, (struct str){file.data, n});
            reopen(f);
            check_told(f, 0, n_whole);
            append(f->log, n_whole);
            reopen(f);
            check_told(f, 0, n_whole + 1);
        }
    }
    assert_int_equal(end, file.len);
    strbuf_free(&file);
    unmake(f);
}

static void test_turnfile__no_flipped_bits_give_a_wrong_token(void **state)
{
    (void)state;
    struct fixture *f = make();
    append_some(f, 0, 8);
    struct strbuf file;
    read_log(f, &file);
    char *copy = mem_alloc(file.len);
    for (int i = 0; i < FLIPS; i++) {
        memcpy(copy, file.data, file.len);
        uint32_t n_flips = 1 + draw(4);
        for (uint32_t k = 0; k < n_flips; k++)
            copy[draw((uint32_t)file.len)] ^= (char)(1 << draw(8));
        scan(f, (struct str){copy, file.len});
        assert_true(f->told.n + n_flips >= 8); /* each cost its record and no other */
        assert_true(f->told.n <= 8);
        if (i % 100 == 0) {
            write_log(f, (struct str){copy, file.len});
            check_goes_on(f, 8);
        }
    }
    mem_free(copy);
    strbuf_free(&file);
    unmake(f);
}

static void test_turnfile__garbage_between_records_costs_none(void **state)
{
    (void)state;
    struct fixture *f = make();
    const struct str garbage[] = {
        STR("x"),
        STR("PNSVTRN"),
        STR("PNSVTRN1"),
        STR("PNSVTRN1PNSVTRN1PNSV"),
        STR("PNSVTRN1\0\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0 a length that is too large"),
        STR("PNSVTRN1\0\0\0\0\0\0\0\0\xff\xff\0\0\0\0\0\0 one that reaches over the next record"),
    };
    size_t n_garbage = sizeof garbage / sizeof *garbage;
    for (uint32_t i = 0; i < 40; i++) {
        append(f->log, i);
        int fd = open(f->file, O_WRONLY | O_APPEND);
        struct str g = garbage[i % n_garbage];
        assert_int_equal(write(fd, g.ptr, g.len), g.len);
        close(fd);
    }
    struct turnfile_sum sum = look(f);
    assert_int_equal(sum.replies, 40);
    assert_true(sum.damaged >= 40);
    check_goes_on(f, 40);
    check_told(f, 0, 41);
    unmake(f);
}

static void count_none(void *arg, const struct turnfile_record *r)
{
    (void)arg, (void)r;
    fail_msg("nothing of this is sound");
}

/* Markers all over, each with the largest length: where each length was believed, this would hash
 * 256 KB for each 24 bytes of 32 MiB, which takes minutes.  The bound is what ctest waits for. */
static void test_turnfile__a_hostile_file_is_read_in_linear_time(void **state)
{
    (void)state;
    size_t n = TURNFILE_BUDGET_BYTES;
    char *bytes = mem_zalloc(n);
    for (size_t at = 0; at + 24 <= n; at += 24) {
        memcpy(bytes + at, "PNSVTRN1", 8);
        bytes_put_u32(bytes + at + 16, TURNFILE_MOST_TOKENS);
    }
    struct turnfile_sum sum;
    turnfile_scan((struct str){bytes, n}, count_none, NULL, &sum);
    assert_int_equal(sum.damaged, n / 24);
    memset(bytes, 'P', n);
    turnfile_scan((struct str){bytes, n}, count_none, NULL, &sum);
    assert_int_equal(sum.damaged, 1);
    mem_free(bytes);
}

static void test_turnfile__of_a_file_without_bounds_only_the_end_is_read(void **state)
{
    (void)state;
    struct fixture *f = make();
    append_some(f, 0, 5);
    struct strbuf file;
    read_log(f, &file);
    assert_int_equal(truncate(f->file, (off_t)1 << 33), 0); /* a hole */
    int fd = open(f->file, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, file.data, file.len), file.len);
    close(fd);
    assert_int_equal(look(f).replies, 5);
    reopen(f);
    check_told(f, 0, 5);
    assert_int_equal(size_of(f), file.len);
    strbuf_free(&file);
    unmake(f);
}

static void test_turnfile__what_is_no_file_is_not_touched(void **state)
{
    (void)state;
    struct fixture *f = make();
    folder_write(&f->folder, "mine", "not the store's");
    for (int i = 0; i < 3; i++) {
        int rc = i == 0   ? mkfifo(f->file, 0600)
                 : i == 1 ? symlink("../mine", f->file)
                          : mkdir(f->file, 0700);
        assert_int_equal(rc, 0);
        clock_freeze(1000);
        reopen(f);
        assert_int_equal(f->told.n, 0);
        append(f->log, 1);
        assert_int_equal(look(f).damaged, 1);
        assert_int_equal(i == 2 ? rmdir(f->file) : unlink(f->file), 0);
        append(f->log, 2); /* not yet */
        assert_false(file_exists(f->file));
        clock_freeze(1000 + RETRY_MS);
        append(f->log, 3);
        reopen(f);
        check_told(f, 3, 4);
        assert_int_equal(unlink(f->file), 0);
    }
    struct strbuf mine;
    folder_read(&f->folder, "mine", &mine);
    CHECK_STR(strbuf_str(&mine), "not the store's");
    strbuf_free(&mine);
    unmake(f);
}

/* ---- A disk that takes no more, a folder that can't be ---- */

/* In a process of its own, whose files may grow no further, and whose log is the file "log". */
static void append_with_limit(struct fixture *f, uint64_t most_bytes, uint32_t begin, uint32_t end)
{
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {.rlim_cur = most_bytes, .rlim_max = RLIM_INFINITY};
        int fd = open(folder_path(&f->folder, "log"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        signal(SIGXFSZ, SIG_IGN); /* as the server does */
        if (dup2(fd, STDERR_FILENO) < 0 || setrlimit(RLIMIT_FSIZE, &limit) != 0)
            _exit(1);
        log_set_level(LOG_DEBUG);
        append_some(f, begin, end);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    struct strbuf log;
    folder_read(&f->folder, "log", &log);
    size_t n_lines = 0;
    for (size_t i = 0; i < log.len; i++)
        n_lines += log.data[i] == '\n';
    assert_int_equal(n_lines, 1); /* however many did not fit */
    assert_non_null(strstr(strbuf_cstr(&log), "the disk is full"));
    strbuf_free(&log);
}

/* Appends until there is no room for the largest one. */
static void fill(struct fixture *f)
{
    f->options.budget_bytes = SMALL_BUDGET;
    reopen(f);
    uint32_t nth = 0;
    do {
        append(f->log, nth++);
    } while (size_of(f) <= SMALL_BUDGET - LARGEST_BYTES);
    assert_true(size_of(f) <= SMALL_BUDGET);
}

static void test_turnfile__a_full_disk_tears_one_record_at_most(void **state)
{
    (void)state;
    struct fixture *f = make();
    append_some(f, 0, 3);
    uint64_t n_before = size_of(f);
    append_with_limit(f, n_before + 100, 3, 20);
    assert_int_equal(size_of(f), n_before + 100); /* and no more was tried */
    append_some(f, 20, 22);                       /* behind the torn one, by a server that can */
    struct turnfile_sum sum = look(f);
    assert_int_equal(sum.replies, 5);
    assert_int_equal(sum.damaged, 1);
    reopen(f);
    assert_int_equal(f->told.n, 5);
    assert_int_equal(look(f).damaged, 0);
    unmake(f);
}

static void test_turnfile__a_rewrite_that_finds_no_room_changes_nothing(void **state)
{
    (void)state;
    struct fixture *f = make();
    fill(f);
    uint64_t n_before = size_of(f);
    append_with_limit(f, SMALL_BUDGET / 4, LARGEST, LARGEST + 9);
    assert_int_equal(size_of(f), n_before);
    reopen(f);
    check_told(f, 0, (uint32_t)f->told.n);
    assert_int_equal(look(f).replies, f->told.n);
    struct folder inner;
    snprintf(inner.path, sizeof inner.path, "%.200s", f->path);
    assert_int_equal(folder_count(&inner), 1);
    unmake(f);
}

static void test_turnfile__what_the_disk_must_keep_free_stays_free(void **state)
{
    (void)state;
    struct fixture *f = make();
    f->options.reserve_bytes = UINT64_MAX / 2;
    reopen(f);
    append(f->log, 1);
    reopen(f);
    assert_int_equal(f->told.n, 0);
    unmake(f);
}

static void test_turnfile__a_folder_that_cannot_be_is_an_error(void **state)
{
    (void)state;
    struct fixture *f = make();
    folder_write(&f->folder, "file", "");
    assert_int_equal(chmod(folder_path(&f->folder, "file"), 0644), 0);
    const char *const names[] = {"file", "file/kv"};
    for (size_t i = 0; i < 2; i++) {
        struct turnfile_options options = f->options;
        struct turnfile *t;
        struct error err;
        options.folder = folder_path(&f->folder, names[i]);
        assert_int_equal(turnfile_open(&options, note, &f->told, &t, &err), STATUS_IO);
    }
    struct stat info;
    assert_int_equal(stat(folder_path(&f->folder, "file"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0644); /* it is somebody else's */
    unmake(f);
}

static void test_turnfile__a_read_only_folder_is_read(void **state)
{
    (void)state;
    if (geteuid() == 0) {
        print_message("skipped: permissions don't bind root\n");
        skip();
    }
    struct fixture *f = make();
    append_some(f, 0, 3);
    shut(f);
    assert_int_equal(chmod(f->file, 0400), 0);
    reopen(f);
    check_told(f, 0, 3);
    append(f->log, 3);
    reopen(f);
    check_told(f, 0, 3);
    assert_int_equal(chmod(f->file, 0000), 0);
    reopen(f); /* is no failed start */
    assert_int_equal(f->told.n, 0);
    unmake(f);
}

static void test_turnfile__want_of_memory_costs_no_start_and_no_record(void **state)
{
    (void)state;
    struct fixture *f = make();
    append_some(f, 0, 3);
    mem_fail_at(1);
    reopen(f);
    assert_int_equal(f->told.n, 0);
    mem_fail_at(1);
    append(f->log, 3); /* is left out */
    mem_fail_at(0);
    append(f->log, 4);
    reopen(f);
    assert_int_equal(f->told.n, 4);
    assert_int_equal(f->told.nths[3], 4);

    struct turnfile_sum sum;
    struct error err;
    mem_fail_at(1);
    assert_int_equal(turnfile_look(f->path, &sum, &err), STATUS_NO_MEMORY);
    mem_fail_at(0);
    unmake(f);
}

static void test_turnfile__want_of_memory_in_a_rewrite_changes_nothing(void **state)
{
    (void)state;
    struct fixture *f = make();
    clock_freeze(1000);
    fill(f);
    uint64_t n_before = size_of(f);
    mem_fail_at(2); /* of the append: its record, then the file that is rewritten */
    append(f->log, LARGEST);
    append(f->log, LARGEST); /* not yet again */
    assert_int_equal(mem_fail_at(0), 0);
    assert_int_equal(size_of(f), n_before);
    clock_freeze(1000 + RETRY_MS);
    append(f->log, LARGEST);
    assert_true(size_of(f) <= SMALL_BUDGET / 2 + LARGEST_BYTES);
    reopen(f);
    assert_int_equal(f->told.nths[f->told.n - 1], LARGEST);
    unmake(f);
}

/* ---- Other processes ---- */

static void test_turnfile__a_file_that_was_cleared_is_made_again(void **state)
{
    (void)state;
    struct fixture *f = make();
    append_some(f, 0, 3);
    uint64_t n_blocks, n_bytes, expected = size_of(f);
    struct error err;
    assert_int_equal(kvfolder_clear(f->path, &n_blocks, &n_bytes, &err), STATUS_OK);
    assert_int_equal(n_blocks, 0);
    assert_int_equal(n_bytes, expected);
    assert_false(file_exists(f->path));
    append_some(f, 3, 5); /* with the folder */
    assert_int_equal(look(f).replies, 2);
    struct stat info;
    assert_int_equal(stat(f->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);

    assert_int_equal(rename(f->file, folder_path(&f->folder, "elsewhere")), 0);
    append(f->log, 5);
    reopen(f);
    check_told(f, 5, 6);
    unmake(f);
}

static void test_turnfile__a_rewrite_by_another_is_followed(void **state)
{
    (void)state;
    struct fixture *f = make();
    append_some(f, 0, 3);
    int fd = open(f->file, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "garbage", 7), 7);
    close(fd);
    struct turnfile_sum sum;
    struct error err;
    assert_int_equal(turnfile_verify(f->path, &sum, &err), STATUS_OK);
    assert_int_equal(sum.damaged, 1);
    assert_int_equal(sum.replies, 3);
    append_some(f, 3, 6);
    assert_int_equal(turnfile_verify(f->path, &sum, &err), STATUS_OK);
    assert_int_equal(sum.damaged, 0);
    reopen(f);
    check_told(f, 0, 6);
    unmake(f);
}

static void test_turnfile__who_finds_a_rewrite_under_way_leaves_a_reply_out(void **state)
{
    (void)state;
    struct fixture *f = make();
    fill(f);
    uint64_t n_before = size_of(f);
    int fd = open(f->file, O_RDONLY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    append(f->log, LARGEST); /* does not wait */
    assert_int_equal(size_of(f), n_before);
    close(fd);
    append(f->log, LARGEST); /* nor pauses */
    assert_true(size_of(f) <= SMALL_BUDGET / 2 + LARGEST_BYTES);
    unmake(f);
}

static void test_turnfile__one_rewrites_at_a_time(void **state)
{
    (void)state;
    struct fixture *f = make();
    append_some(f, 0, 3);
    int fd = open(f->file, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "garbage", 7), 7);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    struct turnfile_sum sum;
    struct error err;
    assert_int_equal(turnfile_verify(f->path, &sum, &err), STATUS_IO);
    reopen(f); /* neither waits nor fails */
    check_told(f, 0, 3);
    append(f->log, 3);
    close(fd);
    reopen(f);
    check_told(f, 0, 4);
    assert_int_equal(look(f).damaged, 0);
    unmake(f);
}

/* What is no file is deleted, and what it points to stays. */
static void test_turnfile__verify_deletes_what_is_no_file(void **state)
{
    (void)state;
    struct fixture *f = make();
    struct turnfile_sum sum;
    struct error err;
    folder_write(&f->folder, "mine", "not the store's");
    assert_int_equal(symlink("../mine", f->file), 0);
    assert_int_equal(turnfile_verify(f->path, &sum, &err), STATUS_OK);
    assert_int_equal(sum.damaged, 1);
    assert_int_equal(turnfile_verify(f->path, &sum, &err), STATUS_OK);
    assert_int_equal(sum.damaged, 0);
    assert_true(file_exists(folder_path(&f->folder, "mine")));
    assert_int_equal(turnfile_verify(folder_path(&f->folder, "no such"), &sum, &err), STATUS_OK);
    assert_int_equal(sum.replies, 0);
    unmake(f);
}

struct writer {
    pthread_t thread;
    struct turnfile *log;
    uint32_t begin;
};

static void *run_writer(void *arg)
{
    struct writer *w = arg;
    for (uint32_t i = 0; i < EACH; i++)
        append(w->log, w->begin + i);
    return NULL;
}

static void ignore(void *arg, const struct turn_key *key, const model_token *tokens, size_t n)
{
    (void)arg, (void)key, (void)tokens, (void)n;
}

/* Two threads, each with a log of its own or both with one. */
static void write_at_once(struct fixture *f, bool is_shared)
{
    struct writer writers[WRITERS] = {0};
    for (uint32_t i = 0; i < WRITERS; i++) {
        struct error err;
        writers[i].begin = i * EACH;
        writers[i].log = f->log;
        if (!is_shared)
            assert_int_equal(turnfile_open(&f->options, ignore, NULL, &writers[i].log, &err),
                             STATUS_OK);
        assert_int_equal(pthread_create(&writers[i].thread, NULL, run_writer, &writers[i]), 0);
    }
    for (uint32_t i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        if (!is_shared)
            turnfile_close(writers[i].log);
    }
}

static void test_turnfile__writers_at_once_tear_nothing(void **state)
{
    (void)state;
    for (int is_shared = 0; is_shared <= 1; is_shared++) {
        struct fixture *f = make();
        f->options.budget_bytes = TURNFILE_BUDGET_BYTES;
        reopen(f);
        write_at_once(f, is_shared);
        assert_int_equal(look(f).damaged, 0);
        reopen(f);
        assert_int_equal(f->told.n, WRITERS * EACH);
        uint32_t next[WRITERS] = {0, EACH}; /* each one's in its order */
        for (size_t i = 0; i < f->told.n; i++)
            assert_int_equal(f->told.nths[i], next[f->told.nths[i] / EACH]++);
        unmake(f);
    }
}

/* What one appends while the other rewrites may be lost; what is there is sound. */
static void test_turnfile__writers_at_once_past_the_budget_tear_nothing(void **state)
{
    (void)state;
    for (int is_shared = 0; is_shared <= 1; is_shared++) {
        struct fixture *f = make();
        f->options.budget_bytes = 60 * 1000;
        reopen(f);
        write_at_once(f, is_shared);
        struct turnfile_sum sum = look(f);
        assert_int_equal(sum.damaged, 0);
        assert_true(sum.replies > 30);
        reopen(f);
        assert_int_equal(f->told.n, sum.replies);
        unmake(f);
    }
}

/* A process that is killed between any two of its steps leaves a log that goes on. */
static void test_turnfile__killed_writers_cost_at_most_their_last_record(void **state)
{
    (void)state;
    struct fixture *f = make();
    f->options.budget_bytes = 60 * 1000;
    reopen(f);
    for (uint32_t i = 0; i < 50; i++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            for (uint32_t nth = 0; nth < 200 * 1000; nth++) {
                append(f->log, nth % 4000);
                if (nth == 10 * i && write(ends[1], "x", 1) != 1)
                    _exit(1);
            }
            _exit(0);
        }
        char byte;
        assert_int_equal(read(ends[0], &byte, 1), 1); /* so far it has come, at least */
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        close(ends[0]);
        close(ends[1]);
        struct turnfile_sum sum = look(f);
        assert_true(sum.replies > 0 && sum.damaged <= 1);
        reopen(f);
        assert_int_equal(f->told.n, sum.replies);
        append(f->log, 5000);
        reopen(f);
        assert_int_equal(f->told.nths[f->told.n - 1], 5000);
        assert_int_equal(look(f).damaged, 0);
    }
    unmake(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turnfile__what_was_appended_is_told_in_order),
        cmocka_unit_test(test_turnfile__file_and_folder_are_private),
        cmocka_unit_test(test_turnfile__other_models_records_are_kept_and_not_told),
        cmocka_unit_test(test_turnfile__the_longest_reply_is_kept_and_no_longer_one),
        cmocka_unit_test(test_turnfile__a_record_with_a_marker_inside_is_not_written),
        cmocka_unit_test(test_turnfile__past_its_budget_the_newest_stay),
        cmocka_unit_test(test_turnfile__old_records_go_at_the_next_start),
        cmocka_unit_test(test_turnfile__old_records_go_while_a_server_runs),
        cmocka_unit_test(test_turnfile__no_length_of_the_file_gives_a_wrong_token),
        cmocka_unit_test(test_turnfile__no_flipped_bits_give_a_wrong_token),
        cmocka_unit_test(test_turnfile__garbage_between_records_costs_none),
        cmocka_unit_test(test_turnfile__a_hostile_file_is_read_in_linear_time),
        cmocka_unit_test(test_turnfile__of_a_file_without_bounds_only_the_end_is_read),
        cmocka_unit_test(test_turnfile__what_is_no_file_is_not_touched),
        cmocka_unit_test(test_turnfile__a_full_disk_tears_one_record_at_most),
        cmocka_unit_test(test_turnfile__a_rewrite_that_finds_no_room_changes_nothing),
        cmocka_unit_test(test_turnfile__what_the_disk_must_keep_free_stays_free),
        cmocka_unit_test(test_turnfile__a_folder_that_cannot_be_is_an_error),
        cmocka_unit_test(test_turnfile__a_read_only_folder_is_read),
        cmocka_unit_test(test_turnfile__want_of_memory_costs_no_start_and_no_record),
        cmocka_unit_test(test_turnfile__want_of_memory_in_a_rewrite_changes_nothing),
        cmocka_unit_test(test_turnfile__a_file_that_was_cleared_is_made_again),
        cmocka_unit_test(test_turnfile__a_rewrite_by_another_is_followed),
        cmocka_unit_test(test_turnfile__who_finds_a_rewrite_under_way_leaves_a_reply_out),
        cmocka_unit_test(test_turnfile__one_rewrites_at_a_time),
        cmocka_unit_test(test_turnfile__verify_deletes_what_is_no_file),
        cmocka_unit_test(test_turnfile__writers_at_once_tear_nothing),
        cmocka_unit_test(test_turnfile__writers_at_once_past_the_budget_tear_nothing),
        cmocka_unit_test(test_turnfile__killed_writers_cost_at_most_their_last_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
