/* The folder of blocks: what was put is found after a restart, whatever happened in between. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support/check.h"
#include "support/folder.h"

#include "base/file.h"
#include "cache/kvstore.h"

enum {
    DATA_BYTES = 2000,
    CHAIN = 6,  /* blocks of a prompt */
    LAST = 100, /* tokens of its last one */
    PROMPT = (CHAIN - 1) * KVFILE_BLOCK_TOKENS + LAST,
    KILLS = 500,
    WAIT_MS = 20 * 1000,
    DAY_S = 24 * 3600,
};

static const char fingerprint[] =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static uint64_t seed = 20261126;

static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

struct fixture {
    struct folder folder; /* the store's is in it */
    char path[FOLDER_PATH_BYTES + 8];
    struct kvstore *store;
    struct kvstore_options options;
};

static void reopen(struct fixture *f)
{
    struct error err;
    kvstore_close(f->store, WAIT_MS);
    f->options.folder = f->path;
    assert_int_equal(kvstore_open(&f->options, &f->store, &err), STATUS_OK);
}

static struct fixture make(void)
{
    struct fixture f = {
        .options = {.budget_bytes = 1 << 20, .ttl_days = 10, .queue_bytes = 1 << 20},
    };
    folder_make(&f.folder);
    snprintf(f.path, sizeof f.path, "%s/kv", f.folder.path);
    reopen(&f);
    return f;
}

static void unmake(struct fixture *f)
{
    kvfile_fault_at(KVFILE_FAULT_NONE, 0);
    kvstore_close(f->store, WAIT_MS);
    folder_remove(&f->folder);
}

/* Prompts that differ from the token `fork` on. */
static void make_prompt(uint32_t nth, uint32_t fork, model_token out[PROMPT])
{
    for (uint32_t i = 0; i < PROMPT; i++)
        out[i] = (model_token)(i < fork ? i * 7 % 1000 : i * 7 % 1000 + 1000 * nth);
}

/* What the model "computed": a function of all that the key stands for. */
static void make_data(const struct kv_key *key, char out[DATA_BYTES])
{
    for (size_t i = 0; i < DATA_BYTES; i++)
        out[i] = (char)(key->bytes[i % SHA256_BYTES] + i);
}

static struct kvfile_head head_of(const struct kv_key *parent, const model_token *tokens, size_t n,
                                  uint32_t begin)
{
    struct kvfile_head head = {
        .key = kv_key_child(parent, tokens, n),
        .parent = *parent,
        .begin = begin,
        .n_tokens = (uint32_t)n,
    };
    snprintf(head.fingerprint, sizeof head.fingerprint, "%s", fingerprint);
    memcpy(head.tokens, tokens, n * sizeof *tokens);
    return head;
}

static size_t block_size(uint32_t begin)
{
    return PROMPT - begin < KVFILE_BLOCK_TOKENS ? PROMPT - begin : KVFILE_BLOCK_TOKENS;
}

/* Hands over all blocks of a prompt that are not there.  Returns how many were taken. */
static size_t save(struct kvstore *s, const model_token tokens[PROMPT])
{
    struct kv_key parent = kv_key_root(fingerprint, 1);
    size_t n_taken = 0;
    for (uint32_t begin = 0; begin < PROMPT; begin += KVFILE_BLOCK_TOKENS) {
        struct kvfile_head head = head_of(&parent, tokens + begin, block_size(begin), begin);
        parent = head.key;
        if (kvstore_has(s, &head.key))
            continue;
        char *data = mem_alloc(DATA_BYTES);
        make_data(&head.key, data);
        if (kvstore_put(s, &head, data, DATA_BYTES) == STATUS_OK)
            n_taken++;
        else
            mem_free(data);
    }
    return n_taken;
}

/* How many tokens of a prompt are found; every byte of them must be right. */
static size_t find(struct kvstore *s, uint64_t namespace_key, const model_token tokens[PROMPT],
                   size_t n_tokens)
{
    struct kv_key parent = kv_key_root(fingerprint, namespace_key);
    struct kvstore_hit hit;
    size_t n_found = 0;
    while (n_found < n_tokens &&
           kvstore_find(s, &parent, tokens + n_found, n_tokens - n_found, &hit)) {
        struct kvfile_head head;
        struct str data;
        char expected[DATA_BYTES];
        if (kvstore_load(s, &hit, &head, &data) != STATUS_OK)
            break;
        make_data(&hit.key, expected);
        assert_int_equal(data.len, DATA_BYTES);
        assert_memory_equal(data.ptr, expected, DATA_BYTES);
        assert_memory_equal(head.tokens, tokens + n_found, hit.n_common * sizeof *tokens);
        n_found += hit.n_common;
        if (hit.n_common < KVFILE_BLOCK_TOKENS)
            break;
        parent = hit.key;
    }
    return n_found;
}

static void save_and_wait(struct fixture *f, uint32_t nth, uint32_t fork, size_t n_expected)
{
    model_token tokens[PROMPT];
    make_prompt(nth, fork, tokens);
    assert_int_equal(save(f->store, tokens), n_expected);
    assert_true(kvstore_wait(f->store, WAIT_MS));
}

static size_t find_nth(struct fixture *f, uint32_t nth, uint32_t fork)
{
    model_token tokens[PROMPT];
    make_prompt(nth, fork, tokens);
    return find(f->store, 1, tokens, PROMPT);
}

static void test_kvstore__a_prompt_is_found_after_a_restart(void **state)
{
    (void)state;
    struct fixture f = make();
    assert_int_equal(find_nth(&f, 1, 0), 0);
    save_and_wait(&f, 1, 0, CHAIN);
    assert_int_equal(find_nth(&f, 1, 0), PROMPT);
    reopen(&f);
    assert_int_equal(find_nth(&f, 1, 0), PROMPT);
    save_and_wait(&f, 1, 0, 0); /* it is not written again */
    model_token tokens[PROMPT];
    make_prompt(1, 0, tokens);
    assert_int_equal(find(f.store, 2, tokens, PROMPT), 0); /* another key's */
    unmake(&f);
}

static void test_kvstore__the_common_part_of_another_prompt_is_found_to_the_token(void **state)
{
    (void)state;
    struct fixture f = make();
    const uint32_t forks[] = {1, 100, 255, 256, 257, 700, PROMPT - LAST, PROMPT - 1};
    save_and_wait(&f, 1, 0, CHAIN);
    for (size_t i = 0; i < sizeof forks / sizeof *forks; i++) {
        model_token tokens[PROMPT], other[PROMPT];
        make_prompt(1, 0, tokens);
        make_prompt(2, 0, other);
        memcpy(other, tokens, forks[i] * sizeof *tokens);
        assert_int_equal(find(f.store, 1, other, PROMPT), forks[i]);
        assert_int_equal(find(f.store, 1, tokens, forks[i]), forks[i]);
    }
    unmake(&f);
}

static void test_kvstore__files_are_private_and_say_nothing(void **state)
{
    (void)state;
    struct fixture f = make();
    save_and_wait(&f, 1, 0, CHAIN);
    struct stat info;
    assert_int_equal(stat(f.path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    kvstore_close(f.store, WAIT_MS);
    f.store = NULL;
    DIR *dir = opendir(f.path);
    size_t n_blocks = 0;
    for (const struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
        if (d->d_name[0] == '.')
            continue;
        assert_int_equal(fstatat(dirfd(dir), d->d_name, &info, 0), 0);
        assert_int_equal(info.st_mode & 0777, 0600);
        n_blocks += strspn(d->d_name, "0123456789abcdef") == KVFILE_NAME_CHARS;
    }
    closedir(dir);
    assert_int_equal(n_blocks, CHAIN);
    unmake(&f);
}

static void test_kvstore__a_folder_that_is_open_to_others_is_closed(void **state)
{
    (void)state;
    struct fixture f = make();
    assert_int_equal(chmod(f.path, 0755), 0);
    reopen(&f);
    struct stat info;
    assert_int_equal(stat(f.path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    unmake(&f);
}

/* Does something to each file of the folder that holds a block. */
static void each_block(const struct fixture *f, void (*change)(int fd, const char *name))
{
    DIR *dir = opendir(f->path);
    for (const struct dirent *d = readdir(dir); d != NULL; d = readdir(dir))
        if (strlen(d->d_name) == KVFILE_NAME_CHARS)
            change(dirfd(dir), d->d_name);
    closedir(dir);
}

static void flip_last_byte(int fd, const char *name)
{
    int file = openat(fd, name, O_RDWR);
    char byte;
    off_t at = lseek(file, -1, SEEK_END);
    assert_int_equal(pread(file, &byte, 1, at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(file, &byte, 1, at), 1);
    close(file);
}

static void cut(int fd, const char *name)
{
    int file = openat(fd, name, O_RDWR);
    assert_int_equal(ftruncate(file, 100), 0);
    close(file);
}

static void make_old(int fd, const char *name)
{
    struct timespec then[2] = {{.tv_sec = time(NULL) - 11 * DAY_S},
                               {.tv_sec = time(NULL) - 11 * DAY_S}};
    assert_int_equal(utimensat(fd, name, then, 0), 0);
}

static void delete(int fd, const char *name)
{
    assert_int_equal(unlinkat(fd, name, 0), 0);
}

static void test_kvstore__damaged_blocks_are_misses_and_go(void **state)
{
    (void)state;
    void (*const damages[])(int, const char *) = {flip_last_byte, cut, delete};
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        struct fixture f = make();
        save_and_wait(&f, 1, 0, CHAIN);
        each_block(&f, damages[i]);
        assert_int_equal(find_nth(&f, 1, 0), 0);
        save_and_wait(&f, 1, 0, 1); /* the first one, which was looked at */
        assert_int_equal(find_nth(&f, 1, 0), KVFILE_BLOCK_TOKENS);
        unmake(&f);
    }
}

static void test_kvstore__blocks_that_nobody_used_go_at_last(void **state)
{
    (void)state;
    struct fixture f = make();
    save_and_wait(&f, 1, 0, CHAIN);
    each_block(&f, make_old);
    f.options.ttl_days = 12;
    reopen(&f);
    assert_int_equal(find_nth(&f, 1, 0), PROMPT); /* and are used by this */
    f.options.ttl_days = 10;
    reopen(&f);
    assert_int_equal(find_nth(&f, 1, 0), PROMPT);
    each_block(&f, make_old);
    reopen(&f);
    struct kvstore_stats stats;
    kvstore_get_stats(f.store, &stats);
    assert_int_equal(stats.blocks, 0);
    assert_int_equal(find_nth(&f, 1, 0), 0);
    unmake(&f);
}

static void test_kvstore__the_budget_holds_and_beginnings_stay(void **state)
{
    (void)state;
    struct fixture f = make();
    f.options.budget_bytes = 40 * 1000; /* a dozen blocks */
    reopen(&f);
    struct kvstore_stats stats;
    for (uint32_t nth = 1; nth < 20; nth++) {
        model_token tokens[PROMPT];
        make_prompt(nth, 2 * KVFILE_BLOCK_TOKENS, tokens);
        save(f.store, tokens);
        assert_true(kvstore_wait(f.store, WAIT_MS));
        kvstore_get_stats(f.store, &stats);
        assert_true(stats.bytes <= f.options.budget_bytes);
        assert_true(find(f.store, 1, tokens, PROMPT) >= 2 * KVFILE_BLOCK_TOKENS);
    }
    assert_true(stats.blocks >= 8);
    reopen(&f);
    assert_int_equal(find_nth(&f, 1, 2 * KVFILE_BLOCK_TOKENS) / KVFILE_BLOCK_TOKENS, 2);
    unmake(&f);
}

static void test_kvstore__a_day_has_its_bytes(void **state)
{
    (void)state;
    struct fixture f = make();
    f.options.daily_bytes = 3 * 3600; /* three blocks */
    reopen(&f);
    model_token tokens[PROMPT];
    make_prompt(1, 0, tokens);
    for (int i = 0; i < 3; i++) {
        save(f.store, tokens);
        assert_true(kvstore_wait(f.store, WAIT_MS));
        assert_int_equal(find(f.store, 1, tokens, PROMPT), 3 * KVFILE_BLOCK_TOKENS);
        assert_false(kvstore_accepts(f.store, DATA_BYTES));
        reopen(&f); /* is no way around it */
    }
    unmake(&f);
}

static void test_kvstore__a_full_disk_is_survived(void **state)
{
    (void)state;
    struct fixture f = make();
    save_and_wait(&f, 1, 0, CHAIN);
    kvfile_fault_at(KVFILE_FAULT_FULL, 5000); /* in the midst of the second block */
    model_token tokens[PROMPT];
    make_prompt(2, 0, tokens);
    assert_true(save(f.store, tokens) >= 2);
    assert_true(kvstore_wait(f.store, WAIT_MS));
    assert_int_equal(find(f.store, 1, tokens, PROMPT), KVFILE_BLOCK_TOKENS);
    assert_int_equal(find_nth(&f, 1, 0), PROMPT);
    assert_false(kvstore_accepts(f.store, DATA_BYTES)); /* for a while */
    kvfile_fault_at(KVFILE_FAULT_NONE, 0);
    reopen(&f);
    assert_int_equal(save(f.store, tokens), CHAIN - 1);
    assert_true(kvstore_wait(f.store, WAIT_MS));
    assert_int_equal(find(f.store, 1, tokens, PROMPT), PROMPT);
    unmake(&f);
}

static void test_kvstore__what_the_disk_must_keep_free_stays_free(void **state)
{
    (void)state;
    struct fixture f = make();
    f.options.reserve_bytes = UINT64_MAX / 2;
    reopen(&f);
    model_token tokens[PROMPT];
    make_prompt(1, 0, tokens);
    assert_true(save(f.store, tokens) >= 1);
    assert_true(kvstore_wait(f.store, WAIT_MS));
    assert_int_equal(find(f.store, 1, tokens, PROMPT), 0);
    unmake(&f);
}

static void test_kvstore__a_folder_that_vanishes_is_survived(void **state)
{
    (void)state;
    struct fixture f = make();
    save_and_wait(&f, 1, 0, CHAIN);
    each_block(&f, delete);
    assert_int_equal(rmdir(f.path), 0);
    assert_int_equal(find_nth(&f, 1, 0), 0);
    model_token tokens[PROMPT];
    make_prompt(2, 0, tokens);
    assert_true(save(f.store, tokens) >= 1);
    assert_true(kvstore_wait(f.store, WAIT_MS));
    assert_int_equal(find(f.store, 1, tokens, PROMPT), 0);
    reopen(&f);
    save_and_wait(&f, 2, 0, CHAIN);
    unmake(&f);
}

static void test_kvstore__a_folder_that_cannot_be_is_an_error(void **state)
{
    (void)state;
    struct fixture f = make();
    folder_write(&f.folder, "file", "");
    struct kvstore_options options = f.options;
    struct kvstore *s;
    struct error err;
    options.folder = folder_path(&f.folder, "file/kv");
    assert_int_equal(kvstore_open(&options, &s, &err), STATUS_IO);
    unmake(&f);
}

static void test_kvstore__a_read_only_folder_is_read(void **state)
{
    (void)state;
    if (geteuid() == 0) {
        print_message("skipped: permissions don't bind root\n");
        skip();
    }
    struct fixture f = make();
    save_and_wait(&f, 1, 0, CHAIN);
    assert_int_equal(chmod(f.path, 0500), 0);
    model_token tokens[PROMPT];
    make_prompt(2, 0, tokens);
    assert_true(save(f.store, tokens) >= 1);
    assert_true(kvstore_wait(f.store, WAIT_MS));
    assert_int_equal(find(f.store, 1, tokens, PROMPT), 0);
    assert_int_equal(find_nth(&f, 1, 0), PROMPT);
    assert_int_equal(chmod(f.path, 0700), 0);
    unmake(&f);
}

static void test_kvstore__strange_things_in_the_folder_do_no_harm(void **state)
{
    (void)state;
    struct fixture f = make();
    save_and_wait(&f, 1, 0, CHAIN);
    kvstore_close(f.store, WAIT_MS);
    f.store = NULL;
    folder_write(&f.folder, "kv/notes.txt", "mine");
    folder_write(&f.folder, "kv/999999999-3.tmp", "of a process that died");
    folder_write(&f.folder, "kv/written-today", "12345678901234567890123 -5 x");
    char name[KVFILE_NAME_CHARS + 8] = "kv/";
    memset(name + 3, 'a', KVFILE_NAME_CHARS);
    assert_int_equal(mkdir(folder_path(&f.folder, name), 0700), 0);
    reopen(&f);
    assert_int_equal(find_nth(&f, 1, 0), PROMPT);
    assert_true(file_exists(folder_path(&f.folder, "kv/notes.txt")));
    assert_false(file_exists(folder_path(&f.folder, "kv/999999999-3.tmp")));
    unmake(&f);
}

static void test_kvstore__a_queue_that_is_full_takes_no_more(void **state)
{
    (void)state;
    struct fixture f = make();
    f.options.queue_bytes = 1;
    reopen(&f);
    model_token tokens[PROMPT];
    make_prompt(1, 0, tokens);
    size_t n_taken = 0;
    for (int i = 0; n_taken < CHAIN; i++) { /* one at a time, sooner or later all */
        assert_true(i <= CHAIN);
        n_taken += save(f.store, tokens);
        assert_true(kvstore_wait(f.store, WAIT_MS));
    }
    assert_int_equal(find(f.store, 1, tokens, PROMPT), PROMPT);
    unmake(&f);
}

/* The kills test starts this program anew: "program write-and-die FOLDER NTH STEP".  Opens the
 * store, writes prompts, and dies at some step. */
static const char *program;
static const struct kvstore_options small = {
    .budget_bytes = 60 * 1000, /* so that it deletes, too */
    .queue_bytes = 1 << 20,
};

static int write_and_die(const char *folder, const char *nth_text, const char *step)
{
    struct kvstore *s;
    struct error err;
    struct kvstore_options options = small;
    options.folder = folder;
    uint32_t nth = (uint32_t)strtoul(nth_text, NULL, 10);
    kvfile_fault_at(KVFILE_FAULT_KILL, strtoul(step, NULL, 10));
    if (kvstore_open(&options, &s, &err) != STATUS_OK)
        return 1;
    for (uint32_t i = 0; i < 3; i++) {
        model_token tokens[PROMPT];
        make_prompt((nth + i) % 8, 300, tokens);
        save(s, tokens);
    }
    kvstore_close(s, WAIT_MS);
    return 0;
}

/* The exit status of that process. */
static int run_and_die(const struct fixture *f, uint32_t nth, uint32_t step)
{
    char nth_text[16], step_text[16];
    snprintf(nth_text, sizeof nth_text, "%u", nth);
    snprintf(step_text, sizeof step_text, "%u", step);
    pid_t child = fork();
    if (child == 0) {
        execl(program, program, "write-and-die", f->path, nth_text, step_text, (char *)NULL);
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void test_kvstore__kills_at_any_step_cost_no_start_and_no_byte(void **state)
{
    (void)state;
    struct fixture f = make();
    f.options = small;
    kvstore_close(f.store, WAIT_MS);
    f.store = NULL;
    size_t n_killed = 0, n_found = 0;
    for (uint32_t i = 0; n_killed < KILLS; i++) {
        assert_true(i < 4 * KILLS); /* most come to a step where they die */
        int status = run_and_die(&f, i, draw(40 * 1000));
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        n_killed += WIFSIGNALED(status) != 0;
        reopen(&f);
        for (uint32_t nth = 0; nth < 8; nth++)
            n_found += find_nth(&f, nth, 300);
        kvstore_close(f.store, WAIT_MS);
        f.store = NULL;
    }
    assert_true(n_found > 0);
    unmake(&f);
}

int main(int argc, char **argv)
{
    program = argv[0];
    if (argc == 5 && strcmp(argv[1], "write-and-die") == 0)
        return write_and_die(argv[2], argv[3], argv[4]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kvstore__a_prompt_is_found_after_a_restart),
        cmocka_unit_test(test_kvstore__the_common_part_of_another_prompt_is_found_to_the_token),
        cmocka_unit_test(test_kvstore__files_are_private_and_say_nothing),
        cmocka_unit_test(test_kvstore__a_folder_that_is_open_to_others_is_closed),
        cmocka_unit_test(test_kvstore__damaged_blocks_are_misses_and_go),
        cmocka_unit_test(test_kvstore__blocks_that_nobody_used_go_at_last),
        cmocka_unit_test(test_kvstore__the_budget_holds_and_beginnings_stay),
        cmocka_unit_test(test_kvstore__a_day_has_its_bytes),
        cmocka_unit_test(test_kvstore__a_full_disk_is_survived),
        cmocka_unit_test(test_kvstore__what_the_disk_must_keep_free_stays_free),
        cmocka_unit_test(test_kvstore__a_folder_that_vanishes_is_survived),
        cmocka_unit_test(test_kvstore__a_folder_that_cannot_be_is_an_error),
        cmocka_unit_test(test_kvstore__a_read_only_folder_is_read),
        cmocka_unit_test(test_kvstore__strange_things_in_the_folder_do_no_harm),
        cmocka_unit_test(test_kvstore__a_queue_that_is_full_takes_no_more),
        cmocka_unit_test(test_kvstore__kills_at_any_step_cost_no_start_and_no_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
