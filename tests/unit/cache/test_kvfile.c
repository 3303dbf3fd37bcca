/* One block in a file: what is read is what was written, or nothing. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/check.h"
#include "support/folder.h"

#include "cache/kvfile.h"

enum { N_TOKENS = 200, DATA_BYTES = 3000, FLIPS = 10000 };

static const char fingerprint[] =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static uint64_t seed = 20261126;

static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

struct fixture {
    struct folder folder;
    int fd;
    struct kvfile_head head;
    char data[DATA_BYTES];
    char name[KVFILE_NAME_CHARS + 1];
    struct kvfile_buffer buffer;
};

static struct fixture make(void)
{
    struct fixture f = {.head = {.begin = 256, .n_tokens = N_TOKENS}};
    folder_make(&f.folder);
    f.fd = open(f.folder.path, O_RDONLY | O_DIRECTORY);
    assert_true(f.fd >= 0);
    snprintf(f.head.model, sizeof f.head.model, "a model");
    snprintf(f.head.fingerprint, sizeof f.head.fingerprint, "%s", fingerprint);
    f.head.parent = kv_key_root(fingerprint, 7);
    for (size_t i = 0; i < N_TOKENS; i++)
        f.head.tokens[i] = (model_token)draw(150000);
    f.head.key = kv_key_child(&f.head.parent, f.head.tokens, N_TOKENS);
    for (size_t i = 0; i < DATA_BYTES; i++)
        f.data[i] = (char)draw(256);
    kvfile_name(&f.head.key, kv_key_short(&f.head.parent), f.name);
    return f;
}

static void unmake(struct fixture *f)
{
    kvfile_fault_at(KVFILE_FAULT_NONE, 0);
    kvfile_buffer_free(&f->buffer);
    close(f->fd);
    folder_remove(&f->folder);
}

static enum status put(struct fixture *f)
{
    int why = 0;
    return kvfile_write(f->fd, &f->head, (struct str){f->data, DATA_BYTES}, &why);
}

static enum status get(struct fixture *f, struct kvfile_head *head, struct str *data)
{
    return kvfile_read(f->fd, f->name, &f->buffer, head, data);
}

static void check_is_written(struct fixture *f)
{
    struct kvfile_head head;
    struct str data;
    assert_int_equal(get(f, &head, &data), STATUS_OK);
    assert_true(kv_key_equal(&head.key, &f->head.key));
    assert_true(kv_key_equal(&head.parent, &f->head.parent));
    assert_string_equal(head.fingerprint, fingerprint);
    assert_string_equal(head.model, "a model");
    assert_int_equal(head.begin, 256);
    assert_int_equal(head.n_tokens, N_TOKENS);
    assert_memory_equal(head.tokens, f->head.tokens, N_TOKENS * sizeof *head.tokens);
    assert_int_equal(data.len, DATA_BYTES);
    assert_memory_equal(data.ptr, f->data, DATA_BYTES);
}

static void test_kvfile__what_was_written_is_read(void **state)
{
    (void)state;
    struct fixture f = make();
    assert_int_equal(put(&f), STATUS_OK);
    check_is_written(&f);
    struct kvfile_head head;
    assert_int_equal(kvfile_read_head(f.fd, f.name, &head), STATUS_OK);
    assert_memory_equal(head.tokens, f.head.tokens, N_TOKENS * sizeof *head.tokens);
    struct stat info;
    assert_int_equal(fstatat(f.fd, f.name, &info, 0), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(info.st_size, kvfile_size(&f.head, DATA_BYTES));
    assert_int_equal(folder_count(&f.folder), 1); /* nothing temporary is left */
    unmake(&f);
}

static void test_kvfile__a_name_is_hex_and_comes_back(void **state)
{
    (void)state;
    struct fixture f = make();
    struct kv_key key;
    uint64_t parent;
    assert_int_equal(strspn(f.name, "0123456789abcdef"), KVFILE_NAME_CHARS);
    assert_true(kvfile_parse_name(f.name, &key, &parent));
    assert_true(kv_key_equal(&key, &f.head.key));
    assert_int_equal(parent, kv_key_short(&f.head.parent));
    assert_false(kvfile_parse_name("12-0.tmp", &key, &parent));
    f.name[40] = 'g';
    assert_false(kvfile_parse_name(f.name, &key, &parent));
    unmake(&f);
}

static void test_kvfile__keys_depend_on_all_that_came_before(void **state)
{
    (void)state;
    const model_token tokens[] = {1, 2, 3}, others[] = {1, 2, 4};
    struct kv_key root = kv_key_root(fingerprint, 7), other_root = kv_key_root(fingerprint, 8);
    struct kv_key key = kv_key_child(&root, tokens, 3);
    struct kv_key different[] = {
        kv_key_child(&other_root, tokens, 3),
        kv_key_child(&root, others, 3),
        kv_key_child(&root, tokens, 2),
        kv_key_child(&key, tokens, 3),
        root,
    };
    for (size_t i = 0; i < sizeof different / sizeof *different; i++)
        assert_false(kv_key_equal(&key, &different[i]));
    struct kv_key again = kv_key_child(&root, tokens, 3);
    assert_true(kv_key_equal(&key, &again));
}

static void read_file(const struct fixture *f, struct strbuf *out)
{
    folder_read(&f->folder, f->name, out);
    assert_int_equal(out->len, kvfile_size(&f->head, DATA_BYTES));
}

/* In memory, so that there are many; the rest are like files of these bytes. */
static void test_kvfile__no_flipped_bit_gives_a_wrong_byte(void **state)
{
    (void)state;
    struct fixture f = make();
    assert_int_equal(put(&f), STATUS_OK);
    struct strbuf file;
    read_file(&f, &file);
    for (int i = 0; i < FLIPS; i++) {
        size_t at = draw((uint32_t)file.len);
        char bit = (char)(1 << draw(8));
        file.data[at] ^= bit;
        struct kvfile_head head;
        struct str data;
        assert_int_equal(kvfile_check(strbuf_str(&file), &head, &data), STATUS_CORRUPT);
        file.data[at] ^= bit;
    }
    struct kvfile_head head;
    struct str data;
    assert_int_equal(kvfile_check(strbuf_str(&file), &head, &data), STATUS_OK);
    strbuf_free(&file);
    unmake(&f);
}

static void test_kvfile__no_other_length_is_taken(void **state)
{
    (void)state;
    struct fixture f = make();
    assert_int_equal(put(&f), STATUS_OK);
    struct strbuf file;
    read_file(&f, &file);
    struct kvfile_head head;
    struct str data;
    for (size_t n = 0; n < file.len; n++)
        assert_int_equal(kvfile_check((struct str){file.data, n}, &head, &data), STATUS_CORRUPT);
    strbuf_append_char(&file, 'x');
    assert_int_equal(kvfile_check(strbuf_str(&file), &head, &data), STATUS_CORRUPT);
    strbuf_free(&file);
    unmake(&f);
}

static void test_kvfile__damaged_files_are_refused(void **state)
{
    (void)state;
    struct fixture f = make();
    struct kvfile_head head;
    struct str data;
    assert_int_equal(get(&f, &head, &data), STATUS_NOT_FOUND);
    assert_int_equal(put(&f), STATUS_OK);
    char path[FOLDER_PATH_BYTES];
    snprintf(path, sizeof path, "%s", folder_path(&f.folder, f.name));
    for (int i = 0; i < 100; i++) {
        assert_int_equal(truncate(path, (off_t)draw(DATA_BYTES)), 0);
        assert_int_equal(get(&f, &head, &data), STATUS_CORRUPT);
        assert_int_equal(put(&f), STATUS_OK); /* over the damaged one */
        check_is_written(&f);
    }
    /* A sound file under the name of another. */
    char other[KVFILE_NAME_CHARS + 1];
    kvfile_name(&f.head.parent, kv_key_short(&f.head.parent), other);
    assert_int_equal(renameat(f.fd, f.name, f.fd, other), 0);
    assert_int_equal(kvfile_read(f.fd, other, &f.buffer, &head, &data), STATUS_CORRUPT);
    assert_int_equal(kvfile_read_head(f.fd, other, &head), STATUS_CORRUPT);
    /* A folder and a link are no files. */
    assert_int_equal(mkdirat(f.fd, f.name, 0700), 0);
    assert_int_equal(get(&f, &head, &data), STATUS_CORRUPT);
    assert_int_equal(unlinkat(f.fd, f.name, AT_REMOVEDIR), 0);
    assert_int_equal(symlinkat(other, f.fd, f.name), 0);
    assert_int_equal(get(&f, &head, &data), STATUS_IO);
    assert_int_equal(unlinkat(f.fd, f.name, 0), 0);
    unmake(&f);
}

static void test_kvfile__a_full_disk_leaves_no_file(void **state)
{
    (void)state;
    struct fixture f = make();
    uint64_t n_steps = kvfile_size(&f.head, DATA_BYTES);
    for (uint64_t at = 0; at <= n_steps; at += 97) {
        kvfile_fault_at(KVFILE_FAULT_FULL, at);
        assert_int_equal(put(&f), STATUS_IO);
        assert_int_equal(folder_count(&f.folder), 0);
    }
    kvfile_fault_at(KVFILE_FAULT_NONE, 0);
    assert_int_equal(put(&f), STATUS_OK);
    check_is_written(&f);
    unmake(&f);
}

static void test_kvfile__want_of_memory_is_told(void **state)
{
    (void)state;
    struct fixture f = make();
    assert_int_equal(put(&f), STATUS_OK);
    struct kvfile_head head;
    struct str data;
    mem_fail_at(1);
    assert_int_equal(get(&f, &head, &data), STATUS_NO_MEMORY);
    mem_fail_at(0);
    check_is_written(&f);
    unmake(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kvfile__what_was_written_is_read),
        cmocka_unit_test(test_kvfile__a_name_is_hex_and_comes_back),
        cmocka_unit_test(test_kvfile__keys_depend_on_all_that_came_before),
        cmocka_unit_test(test_kvfile__no_flipped_bit_gives_a_wrong_byte),
        cmocka_unit_test(test_kvfile__no_other_length_is_taken),
        cmocka_unit_test(test_kvfile__damaged_files_are_refused),
        cmocka_unit_test(test_kvfile__a_full_disk_leaves_no_file),
        cmocka_unit_test(test_kvfile__want_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
