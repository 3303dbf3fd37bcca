/* A store's folder looked at, checked and cleared from outside. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/check.h"
#include "support/folder.h"

#include "base/file.h"
#include "cache/kvfolder.h"
#include "cache/kvjournal.h"
#include "cache/turnfile.h"

enum { N_BLOCKS = 5 };

static const char fingerprint[] =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

struct sums {
    size_t n, n_damaged, n_tokens;
    uint64_t n_bytes;
};

static void count(void *arg, const struct kvfolder_block *block)
{
    struct sums *sums = arg;
    sums->n++;
    sums->n_bytes += block->bytes;
    sums->n_damaged += block->state == STATUS_CORRUPT;
    if (block->state == STATUS_OK)
        sums->n_tokens += block->head.n_tokens;
}

static struct sums look(const struct folder *f, bool reads_all)
{
    struct sums sums = {0};
    struct error err;
    assert_int_equal(kvfolder_each(f->path, reads_all, count, &sums, &err), STATUS_OK);
    return sums;
}

/* A folder with blocks of 1, 2, 3, ... tokens; the path of the last one. */
static const char *fill(struct folder *f)
{
    folder_make(f);
    int fd = open(f->path, O_RDONLY | O_DIRECTORY);
    struct kvfile_head head = {.parent = kv_key_root(fingerprint, 1)};
    snprintf(head.fingerprint, sizeof head.fingerprint, "%s", fingerprint);
    for (uint32_t i = 0; i < N_BLOCKS; i++) {
        head.n_tokens = i + 1;
        head.tokens[i] = (model_token)i;
        head.key = kv_key_child(&head.parent, head.tokens, head.n_tokens);
        int why;
        assert_int_equal(kvfile_write(fd, &head, STR("some data"), &why), STATUS_OK);
    }
    close(fd);
    static char name[KVFILE_NAME_CHARS + 1];
    kvfile_name(&head.key, kv_key_short(&head.parent), name);
    return name;
}

static void test_kvfolder__counts_what_is_there(void **state)
{
    (void)state;
    struct folder f;
    fill(&f);
    folder_write(&f, "notes.txt", "not the store's");
    struct sums sums = look(&f, false);
    assert_int_equal(sums.n, N_BLOCKS);
    assert_int_equal(sums.n_tokens, 1 + 2 + 3 + 4 + 5);
    assert_int_equal(sums.n_damaged, 0);
    folder_remove(&f);
}

static void test_kvfolder__reading_all_deletes_what_is_damaged(void **state)
{
    (void)state;
    struct folder f;
    const char *last = fill(&f);
    /* In the data, of which the head alone does not tell. */
    int fd = open(folder_path(&f, last), O_RDWR);
    off_t end = lseek(fd, 0, SEEK_END);
    assert_int_equal(pwrite(fd, "?", 1, end - 1), 1);
    close(fd);
    assert_int_equal(look(&f, false).n_damaged, 0);
    assert_int_equal(look(&f, true).n_damaged, 1);
    assert_int_equal(look(&f, true).n, N_BLOCKS - 1);
    folder_remove(&f);
}

static void test_kvfolder__clearing_leaves_what_is_not_the_stores(void **state)
{
    (void)state;
    struct folder f;
    struct error err;
    uint64_t n_blocks, n_bytes;
    fill(&f);
    uint64_t expected = look(&f, false).n_bytes;
    folder_write(&f, "notes.txt", "not the store's");
    folder_write(&f, "12-3.tmp", "");
    folder_write(&f, KVJOURNAL_NAME, "");
    folder_write(&f, TURNFILE_NAME, "1234567");
    assert_int_equal(kvfolder_clear(f.path, &n_blocks, &n_bytes, &err), STATUS_OK);
    assert_int_equal(n_blocks, N_BLOCKS);
    assert_int_equal(n_bytes, expected + 7);
    assert_int_equal(folder_count(&f), 1);
    assert_int_equal(unlink(folder_path(&f, "notes.txt")), 0);
    assert_int_equal(kvfolder_clear(f.path, &n_blocks, &n_bytes, &err), STATUS_OK);
    assert_false(file_exists(f.path));
    assert_int_equal(kvfolder_clear(f.path, &n_blocks, &n_bytes, &err), STATUS_OK);
    assert_int_equal(n_blocks, 0);
    assert_int_equal(look(&f, true).n, 0); /* what is not there is empty */
}

static void test_kvjournal__a_day_knows_only_its_own_bytes(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    int fd = open(f.path, O_RDONLY | O_DIRECTORY);
    assert_int_equal(kvjournal_read(fd, 20000), 0);
    kvjournal_write(f.path, 20000, 123456789012);
    assert_true(kvjournal_read(fd, 20000) == 123456789012);
    assert_int_equal(kvjournal_read(fd, 20001), 0);
    kvjournal_write(f.path, kvjournal_today(), 77);
    assert_int_equal(kvfolder_written_today(f.path), 77);
    folder_write(&f, KVJOURNAL_NAME, "of no use");
    assert_int_equal(kvfolder_written_today(f.path), 0);
    close(fd);
    folder_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kvfolder__counts_what_is_there),
        cmocka_unit_test(test_kvfolder__reading_all_deletes_what_is_damaged),
        cmocka_unit_test(test_kvfolder__clearing_leaves_what_is_not_the_stores),
        cmocka_unit_test(test_kvjournal__a_day_knows_only_its_own_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
