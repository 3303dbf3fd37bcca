/* The small modules of base/: buffers, arenas, text, queues, hashes, files. */
#include "support/check.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/queue.h"
#include "base/thread.h"
#include "base/utf8.h"

static void test_strbuf__keeps_its_content_when_an_append_does_not_fit(void **state)
{
    (void)state;
    struct strbuf sb;
    strbuf_init(&sb, 8);
    strbuf_append_cstr(&sb, "12345678");
    assert_int_equal(strbuf_status(&sb), STATUS_OK);
    strbuf_append_char(&sb, '9');
    assert_int_equal(strbuf_status(&sb), STATUS_TOO_LARGE);
    CHECK_STR(strbuf_str(&sb), "12345678");
    strbuf_clear(&sb);
    strbuf_printf(&sb, "%d", 123);
    strbuf_consume(&sb, 1);
    CHECK_STR(strbuf_str(&sb), "23");
    strbuf_free(&sb);
}

static void test_arena__fails_at_its_ceiling_and_zeroes(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 64 * 1024);
    for (int i = 0; i < 100; i++) {
        unsigned char *p = arena_alloc(&a, 100);
        assert_non_null(p);
        for (int k = 0; k < 100; k++)
            assert_int_equal(p[k], 0);
        memset(p, 0xA5, 100);
    }
    assert_null(arena_alloc(&a, 1024 * 1024));
    assert_null(arena_array(&a, SIZE_MAX / 2, 4));
    assert_non_null(arena_alloc(&a, 10));
    arena_free(&a);
    assert_int_equal(a.used_bytes, 0);
}

static void test_str__trims_blanks_and_nothing_else(void **state)
{
    (void)state;
    CHECK_STR(str_trim(STR(" \t\r\n a b\n")), "a b");
    CHECK_STR(str_trim_end(STR(" a \r\n")), " a");
    CHECK_STR(str_trim(STR(" \n ")), "");
    CHECK_STR(str_trim((struct str){0}), "");
    assert_int_equal(str_trim((struct str){"\0a\0 ", 4}).len, 3);
    assert_int_equal(str_trim(STR("\va")).len, 2);
}

static void test_str__partial_suffix_is_the_longest_beginning_of_a_mark(void **state)
{
    (void)state;
    assert_int_equal(str_partial_suffix(STR("abc<to"), STR("<tool>")), 3);
    assert_int_equal(str_partial_suffix(STR("<<"), STR("<tool>")), 1);
    assert_int_equal(str_partial_suffix(STR("abc"), STR("<tool>")), 0);
    assert_int_equal(str_partial_suffix(STR("aaa"), STR("aaaa")), 3);
    assert_int_equal(str_find(STR("xxabab"), STR("abab")), 2);
    assert_true(str_find(STR("aab"), STR("abb")) == SIZE_MAX);
}

static void test_str__nearest_finds_slips_only(void **state)
{
    (void)state;
    const char *names[] = {"serve", "status", "stop"};
    assert_string_equal(str_nearest(STR("serv"), names, 3), "serve");
    assert_string_equal(str_nearest(STR("sotp"), names, 3), "stop");
    assert_null(str_nearest(STR("frobnicate"), names, 3));
}

static void test_utf8__knows_whole_and_broken_characters(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_valid;
        size_t tail;
    } cases[] = {
        {"abc", true, 0},
        {"\xC3\xA9", true, 0},
        {"a\xC3", false, 1},
        {"\xE2\x82", false, 2},
        {"\xF0\x9F\x98", false, 3},
        {"\xF0\x9F\x98\x80", true, 0},
        {"\xC0\x80", false, 0},
        {"\xED\xA0\x80", false, 0},
        {"\xF4\x90\x80\x80", false, 0},
        {"\x80", false, 0},
        {"", true, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(utf8_valid(str_from(cases[i].text)), cases[i].is_valid);
        assert_int_equal(utf8_incomplete_tail(str_from(cases[i].text)), cases[i].tail);
    }
    struct strbuf out;
    strbuf_init(&out, 100);
    utf8_append_clean(&out, STR("a\xF0\x9F"
                                "b\xFF"
                                "c"));
    CHECK_STR(strbuf_str(&out), "a\xEF\xBF\xBD"
                                "b\xEF\xBF\xBD"
                                "c");
    strbuf_free(&out);
}

struct producer {
    struct queue *queue;
    uintptr_t n;
};

static void *produce(void *arg)
{
    struct producer *p = arg;
    for (uintptr_t i = 1; i <= p->n; i++)
        if (queue_push(p->queue, (void *)i, 10000) != STATUS_OK)
            return NULL;
    queue_close(p->queue);
    return NULL;
}

static void test_queue__carries_everything_in_order_and_then_ends(void **state)
{
    (void)state;
    struct producer p = {.queue = queue_create(4), .n = 1000};
    pthread_t thread;
    assert_int_equal(thread_start(&thread, "producer", produce, &p), STATUS_OK);
    void *item;
    for (uintptr_t i = 1; i <= p.n; i++) {
        assert_int_equal(queue_pop(p.queue, &item, 10000), STATUS_OK);
        assert_ptr_equal(item, (void *)i);
    }
    assert_int_equal(queue_pop(p.queue, &item, 10000), STATUS_CANCELLED);
    pthread_join(thread, NULL);
    queue_destroy(p.queue);
}

static void test_queue__full_and_empty_say_again(void **state)
{
    (void)state;
    struct queue *q = queue_create(1);
    void *item;
    assert_int_equal(queue_pop(q, &item, 0), STATUS_AGAIN);
    assert_int_equal(queue_push(q, q, 0), STATUS_OK);
    assert_int_equal(queue_push(q, q, 0), STATUS_AGAIN);
    assert_int_equal(queue_length(q), 1);
    queue_destroy(q);
}

static void test_hash__sha256_of_abc_is_the_standards(void **state)
{
    (void)state;
    struct sha256 *h = sha256_create();
    sha256_update(h, "abc", 3);
    unsigned char digest[SHA256_BYTES];
    sha256_finish(h, digest);
    char hex[SHA256_HEX_BYTES];
    sha256_hex(digest, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_true(secret_equal(STR("key"), STR("key")));
    assert_false(secret_equal(STR("key"), STR("keys")));
    char id[64], other[64];
    random_id(id, sizeof id, "msg_");
    random_id(other, sizeof other, "msg_");
    assert_int_equal(strlen(id), 28);
    assert_string_not_equal(id, other);
}

static void test_file__is_replaced_whole_and_private(void **state)
{
    (void)state;
    char folder[] = "/tmp/pensieve-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct strbuf path, content;
    struct error err;
    strbuf_init(&path, 4096);
    strbuf_printf(&path, "%s/a/b", folder);
    assert_int_equal(file_make_dirs(strbuf_cstr(&path), &err), STATUS_OK);
    strbuf_append_cstr(&path, "/f");
    assert_int_equal(file_write_atomic(strbuf_cstr(&path), STR("one"), &err), STATUS_OK);
    assert_int_equal(file_write_atomic(strbuf_cstr(&path), STR("two"), &err), STATUS_OK);
    strbuf_init(&content, 100);
    assert_int_equal(file_read(strbuf_cstr(&path), &content, &err), STATUS_OK);
    CHECK_STR(strbuf_str(&content), "two");
    strbuf_free(&content);
    strbuf_init(&content, 2);
    assert_int_equal(file_read(strbuf_cstr(&path), &content, &err), STATUS_TOO_LARGE);
    unlink(strbuf_cstr(&path));
    strbuf_free(&content);
    strbuf_free(&path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strbuf__keeps_its_content_when_an_append_does_not_fit),
        cmocka_unit_test(test_arena__fails_at_its_ceiling_and_zeroes),
        cmocka_unit_test(test_str__trims_blanks_and_nothing_else),
        cmocka_unit_test(test_str__partial_suffix_is_the_longest_beginning_of_a_mark),
        cmocka_unit_test(test_str__nearest_finds_slips_only),
        cmocka_unit_test(test_utf8__knows_whole_and_broken_characters),
        cmocka_unit_test(test_queue__carries_everything_in_order_and_then_ends),
        cmocka_unit_test(test_queue__full_and_empty_say_again),
        cmocka_unit_test(test_hash__sha256_of_abc_is_the_standards),
        cmocka_unit_test(test_file__is_replaced_whole_and_private),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
