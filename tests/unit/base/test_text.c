/* Text in base/: UTF-8 at every cut, statuses and errors, buffers, arenas and paths of the user. */
#include "support/check.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/queue.h"
#include "base/status.h"
#include "base/utf8.h"
#include "support/guard.h"

/* The bytes of one code point by the plain rule of RFC 3629, section 3. */
static size_t encode(unsigned code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (char)(lead[n] | code);
    return n;
}

static void test_utf8__every_code_point_is_whole_and_every_cut_of_it_is_a_tail(void **state)
{
    (void)state;
    struct guard g = guard_copy(STR("    "), 0);
    for (unsigned code = 0; code <= 0x10FFFF + 1; code++) {
        char bytes[4];
        size_t n = encode(code, bytes);
        bool is_char = code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
        /* At the end of the page: a reader that looks past the text stops the test. */
        char *at = g.text + g.len - n;
        memcpy(at, bytes, n);
        assert_int_equal(utf8_valid((struct str){at, n}), is_char);
        for (size_t cut = 1; is_char && cut < n; cut++) {
            char *begin = g.text + g.len - cut;
            memcpy(begin, bytes, cut);
            assert_false(utf8_valid((struct str){begin, cut}));
            assert_int_equal(utf8_incomplete_tail((struct str){begin, cut}), cut);
        }
    }
    guard_free(&g);
}

static void test_utf8__mended_text_is_valid_and_valid_text_is_left_alone(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 100);
    for (unsigned pair = 0; pair < 65536; pair++) {
        char bytes[3] = {(char)(pair >> 8), (char)pair, 'z'};
        struct str s = {bytes, sizeof bytes};
        strbuf_clear(&out);
        utf8_append_clean(&out, s);
        assert_true(utf8_valid(strbuf_str(&out)));
        assert_int_equal(str_equal(strbuf_str(&out), s), utf8_valid(s));
    }
    strbuf_free(&out);
}

static void test_error__is_cut_at_its_size_and_wrapped_in_front(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(error_set(&err, STATUS_IO, "cannot read %d", 7), STATUS_IO);
    error_wrap(&err, "while %s", "starting");
    assert_string_equal(err.message, "while starting: cannot read 7");
    assert_int_equal(err.status, STATUS_IO);
    char text[600];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    (void)error_set(&err, STATUS_INVALID, "%s", text);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    error_wrap(&err, "%s", text);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_int_equal(error_set(NULL, STATUS_BUSY, "nobody listens"), STATUS_BUSY);
    error_wrap(NULL, "nobody listens");
    assert_string_equal(status_text(STATUS_TOO_LONG), "prompt is too long");
    assert_string_equal(status_text((enum status)999), "unknown status");
}

static void test_strbuf__failure_sticks_until_it_is_cleared(void **state)
{
    (void)state;
    struct strbuf sb;
    strbuf_init(&sb, 4);
    CHECK_STR(strbuf_str(&sb), "");
    strbuf_append_cstr(&sb, "abcde");
    strbuf_append_cstr(&sb, "a");
    assert_int_equal(sb.len, 0);
    assert_int_equal(strbuf_status(&sb), STATUS_TOO_LARGE);
    strbuf_clear(&sb);
    strbuf_append_str(&sb, (struct str){NULL, 0});
    strbuf_printf(&sb, "%s", "abcd");
    strbuf_printf(&sb, "%s", "");
    assert_int_equal(strbuf_status(&sb), STATUS_OK);
    strbuf_printf(&sb, "%s", "e");
    CHECK_STR(strbuf_str(&sb), "abcd");
    assert_int_equal(strbuf_status(&sb), STATUS_TOO_LARGE);
    size_t len;
    char *text = strbuf_detach(&sb, &len);
    assert_string_equal(text, "abcd");
    assert_int_equal(len, 4);
    assert_int_equal(strbuf_status(&sb), STATUS_OK);
    mem_free(text);
    text = strbuf_detach(&sb, &len);
    assert_string_equal(text, "");
    mem_free(text);
}

static void test_arena__mixes_small_and_large_and_keeps_them_apart(void **state)
{
    (void)state;
    enum { N = 200 };
    struct arena a;
    unsigned char *parts[N];
    arena_init(&a, 4u * 1024 * 1024);
    for (size_t i = 0; i < N; i++) {
        size_t bytes = i % 10 == 0 ? 20000 + i : 1 + i;
        parts[i] = arena_alloc(&a, bytes);
        assert_non_null(parts[i]);
        assert_int_equal((uintptr_t)parts[i] % sizeof(max_align_t *), 0);
        memset(parts[i], (int)i, bytes);
    }
    for (size_t i = 0; i < N; i++) {
        size_t bytes = i % 10 == 0 ? 20000 + i : 1 + i;
        assert_int_equal(parts[i][0], (unsigned char)i);
        assert_int_equal(parts[i][bytes - 1], (unsigned char)i);
    }
    struct str copy = arena_str(&a, STR("text"));
    assert_string_equal(copy.ptr, "text");
    assert_non_null(arena_str(&a, (struct str){NULL, 0}).ptr);
    assert_non_null(arena_alloc(&a, 0));
    assert_null(arena_alloc(&a, SIZE_MAX));
    arena_free(&a);
    assert_non_null(arena_alloc(&a, 1)); /* can be used again */
    arena_free(&a);
}

static void test_str__compares_without_case_and_by_beginning(void **state)
{
    (void)state;
    assert_true(str_equal_nocase(STR("Content-Type"), STR("content-TYPE")));
    assert_false(str_equal_nocase(STR("a"), STR("ab")));
    assert_false(str_equal_nocase(STR("["), STR("{"))); /* differ by the bit of case alone */
    assert_true(str_starts_with(STR("abc"), STR("")));
    assert_true(str_starts_with(STR("abc"), STR("abc")));
    assert_false(str_starts_with(STR("ab"), STR("abc")));
    assert_true(str_equal((struct str){NULL, 0}, STR("")));
    assert_int_equal(str_find(STR("abc"), STR("")), 0);
    assert_true(str_find(STR("ab"), STR("abc")) == SIZE_MAX);
    assert_null(str_nearest(STR("x"), NULL, 0));
}

static void test_hash__checks_and_identities(void **state)
{
    (void)state;
    /* The XXH3 of nothing with seed 0, as its specification gives it. */
    assert_true(hash_xxh3("", 0, 0) == 0x2D06800538D394C2ull);
    assert_true(hash_xxh3("a", 1, 0) != hash_xxh3("a", 1, 1));
    struct sha256 *h = sha256_create();
    unsigned char digest[SHA256_BYTES];
    char hex[SHA256_HEX_BYTES];
    sha256_update(h, "a", 1);
    sha256_update(h, "", 0);
    sha256_update(h, "bc", 2);
    sha256_finish(h, digest);
    sha256_hex(digest, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    char id[sizeof "req_" + 24];
    random_id(id, sizeof id, "req_");
    assert_memory_equal(id, "req_", 4);
    assert_int_equal(strspn(id + 4, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                    "0123456789"),
                     24);
    assert_false(secret_equal(STR(""), STR("key")));
    assert_true(secret_equal(STR(""), STR("")));
}

static void test_queue__closed_takes_no_more_and_gives_what_is_left(void **state)
{
    (void)state;
    struct queue *q = queue_create(2);
    int a, b;
    void *item;
    assert_int_equal(queue_push(q, &a, 0), STATUS_OK);
    assert_int_equal(queue_push(q, &b, 0), STATUS_OK);
    queue_close(q);
    assert_int_equal(queue_push(q, &a, 0), STATUS_CANCELLED);
    assert_int_equal(queue_pop(q, &item, 0), STATUS_OK);
    assert_ptr_equal(item, &a);
    assert_int_equal(queue_pop(q, &item, 0), STATUS_OK);
    assert_ptr_equal(item, &b);
    assert_int_equal(queue_pop(q, &item, 0), STATUS_CANCELLED);
    queue_destroy(q);
    queue_destroy(NULL);
}

static void test_file__user_paths_follow_the_xdg_rules(void **state)
{
    (void)state;
    setenv("HOME", "/home/u", 1);
    unsetenv("XDG_DATA_HOME");
    char *path = file_user_path("data", "models/x.gguf");
    assert_string_equal(path, "/home/u/.local/share/pensieve/models/x.gguf");
    mem_free(path);
    setenv("XDG_CACHE_HOME", "/c", 1);
    path = file_user_path("cache", "kv");
    assert_string_equal(path, "/c/pensieve/kv");
    mem_free(path);
    setenv("XDG_CACHE_HOME", "relative", 1);
    path = file_user_path("cache", "kv");
    assert_string_equal(path, "/home/u/.cache/pensieve/kv");
    mem_free(path);
    unsetenv("HOME");
    assert_null(file_user_path("state", "x"));
    assert_null(file_user_path("none", "x"));
}

static void test_file__what_is_not_there_is_not_found(void **state)
{
    (void)state;
    struct strbuf content;
    struct error err;
    uint64_t bytes = 0;
    strbuf_init(&content, 10);
    assert_int_equal(file_read("/nonexistent/file", &content, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "/nonexistent/file"));
    assert_int_equal(file_size("/nonexistent/file", &bytes), STATUS_NOT_FOUND);
    assert_false(file_exists("/nonexistent/file"));
    assert_int_equal(file_write_atomic("/nonexistent/file", STR("x"), &err), STATUS_NOT_FOUND);
    /* The nearest folder that exists answers for one that does not yet. */
    assert_int_equal(file_disk_free("/nonexistent/file", &bytes), STATUS_OK);
    assert_true(bytes > 0);
    strbuf_free(&content);
}

static void test_file__what_we_write_is_private_whatever_the_umask(void **state)
{
    (void)state;
    char folder[] = "/tmp/pensieve-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char dir[128], path[256];
    struct stat sb;
    struct error err;
    uint64_t bytes;
    snprintf(dir, sizeof dir, "%s/a", folder);
    snprintf(path, sizeof path, "%s/f", dir);
    mode_t before = umask(0);
    assert_int_equal(file_make_dirs(dir, &err), STATUS_OK);
    assert_int_equal(file_make_dirs(dir, &err), STATUS_OK); /* again is fine */
    assert_int_equal(file_write_atomic(path, STR("secret"), &err), STATUS_OK);
    umask(before);
    assert_int_equal(stat(dir, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0700);
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0600);
    assert_int_equal(file_size(path, &bytes), STATUS_OK);
    assert_int_equal(bytes, 6);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0); /* and no temporary file is left */
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8__every_code_point_is_whole_and_every_cut_of_it_is_a_tail),
        cmocka_unit_test(test_utf8__mended_text_is_valid_and_valid_text_is_left_alone),
        cmocka_unit_test(test_error__is_cut_at_its_size_and_wrapped_in_front),
        cmocka_unit_test(test_strbuf__failure_sticks_until_it_is_cleared),
        cmocka_unit_test(test_arena__mixes_small_and_large_and_keeps_them_apart),
        cmocka_unit_test(test_str__compares_without_case_and_by_beginning),
        cmocka_unit_test(test_hash__checks_and_identities),
        cmocka_unit_test(test_queue__closed_takes_no_more_and_gives_what_is_left),
        cmocka_unit_test(test_file__user_paths_follow_the_xdg_rules),
        cmocka_unit_test(test_file__what_is_not_there_is_not_found),
        cmocka_unit_test(test_file__what_we_write_is_private_whatever_the_umask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
