/* The catalogue: every entry of the embedded file is whole, and names are found or suggested. */
#define _GNU_SOURCE
#include "support/check.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "catalog/catalog.h"
#include "support/folder.h"

#include <unistd.h>

static void check_hex(const char *hex)
{
    assert_non_null(hex);
    assert_int_equal(strlen(hex), SHA256_HEX_BYTES - 1);
    for (const char *p = hex; *p != '\0'; p++)
        assert_true(isdigit((unsigned char)*p) || (*p >= 'a' && *p <= 'f'));
}

static void check_text(const char *text)
{
    assert_non_null(text);
    assert_true(text[0] != '\0');
}

static void test_catalog__every_entry_says_all_that_the_program_asks(void **state)
{
    (void)state;
    assert_true(catalog_count() >= 4);
    for (size_t i = 0; i < catalog_count(); i++) {
        const struct catalog_model *m = catalog_at(i);
        print_message("%s\n", m->name);
        check_text(m->name);
        check_text(m->family);
        check_text(m->licence);
        check_hex(m->sha256);
        assert_true(m->bytes > 1000 * 1000);
        assert_true(m->context_tokens >= 2048);
        assert_true(m->kv_bytes_per_token > 0 && m->macs_per_token > 0);
        assert_true(strlen(m->file) > 5 && strchr(m->file, '/') == NULL);
        assert_string_equal(m->file + strlen(m->file) - 5, ".gguf");
        assert_true(m->url != NULL || m->n_parts > 0);
        assert_true(m->url == NULL || strncmp(m->url, "https://", 8) == 0);
    }
}

/* A family that gives no value has a negative one: it is not checked. */
static void test_catalog__every_sampling_value_is_one_that_a_request_could_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < catalog_count(); i++) {
        const struct catalog_model *m = catalog_at(i);
        print_message("%s\n", m->name);
        assert_true(m->temperature <= 2);
        assert_true(m->top_p <= 1 && m->top_p != 0);
        assert_true(m->min_p < 1);
        assert_true(m->top_k <= 1000 && m->top_k != 0);
        assert_true(m->repeat_penalty <= 2 && m->repeat_penalty != 0);
    }
}

static void test_catalog__parts_add_up_to_the_file_and_are_pinned(void **state)
{
    (void)state;
    size_t n_with_parts = 0;
    for (size_t i = 0; i < catalog_count(); i++) {
        const struct catalog_model *m = catalog_at(i);
        print_message("%s\n", m->name);
        uint64_t sum = 0;
        for (size_t k = 0; k < m->n_parts; k++) {
            assert_non_null(strstr(m->parts[k].package, "=="));
            check_text(m->parts[k].member);
            check_hex(m->parts[k].sha256);
            assert_true(m->parts[k].bytes > 0);
            sum += m->parts[k].bytes;
        }
        assert_true(m->n_parts == 0 || sum == m->bytes);
        n_with_parts += m->n_parts > 0;
    }
    assert_true(n_with_parts >= 4);
}

static void test_catalog__no_two_entries_share_a_name_a_file_or_a_hash(void **state)
{
    (void)state;
    for (size_t i = 0; i < catalog_count(); i++)
        for (size_t k = i + 1; k < catalog_count(); k++) {
            assert_string_not_equal(catalog_at(i)->name, catalog_at(k)->name);
            assert_string_not_equal(catalog_at(i)->file, catalog_at(k)->file);
            assert_string_not_equal(catalog_at(i)->sha256, catalog_at(k)->sha256);
        }
}

static void test_catalog__finds_names_in_any_case_and_without_a_tag_that_is_the_only_one(void **s)
{
    (void)s;
    const struct catalog_model *m = catalog_find(STR("smollm2:135m"));
    assert_non_null(m);
    assert_ptr_equal(catalog_find(STR("SmolLM2:135M")), m);
    assert_ptr_equal(catalog_find(STR("smollm2")), m);
    assert_null(catalog_find(STR("qwen2.5-coder"))); /* there are several */
    assert_null(catalog_find(STR("")));
    assert_null(catalog_find(STR("smollm")));
}

static void test_catalog__an_unknown_name_suggests_a_near_one_only(void **state)
{
    (void)state;
    assert_string_equal(catalog_nearest(STR("qwen2.5-codr:1.5b")), "qwen2.5-coder:1.5b");
    assert_string_equal(catalog_nearest(STR("phi3-mini")), "phi-3-mini");
    assert_null(catalog_nearest(STR("an-altogether-other-thing")));
}

static void check_refused(const char *spec, const char *said)
{
    char *path = NULL;
    const struct catalog_model *m = NULL;
    struct error err;
    assert_int_equal(catalog_resolve(spec, &path, &m, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, said));
    assert_null(path);
}

static void test_catalog__resolves_names_that_are_here_and_files(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    setenv("PENSIEVE_MODELS", f.path, 1);
    check_refused("smollm2:135m", "pensieve pull smollm2:135m");
    check_refused("smolm2:135m", "did you mean smollm2:135m?");
    check_refused("an-altogether-other-thing.gguf", "pensieve list");

    folder_write(&f, "own.gguf", "x");
    char *path = NULL;
    const struct catalog_model *m = catalog_at(0);
    assert_int_equal(catalog_resolve(folder_path(&f, "own.gguf"), &path, &m, NULL), STATUS_OK);
    assert_string_equal(path, folder_path(&f, "own.gguf"));
    assert_null(m);
    mem_free(path);
    folder_remove(&f);
    unsetenv("PENSIEVE_MODELS");
}

static void test_catalog__a_file_of_another_size_is_not_here(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    setenv("PENSIEVE_MODELS", f.path, 1);
    const struct catalog_model *m = catalog_find(STR("smollm2"));
    folder_write(&f, m->file, "half a file");
    assert_false(catalog_is_here(m));
    folder_remove(&f);
    unsetenv("PENSIEVE_MODELS");
}

/* Its recommended sampling goes with it. */
static void test_catalog__a_known_models_file_is_known_elsewhere_too(void **state)
{
    (void)state;
    struct folder f;
    folder_make(&f);
    const struct catalog_model *known = catalog_find(STR("smollm2"));
    const char *file = folder_path(&f, known->file);
    char *path = NULL;
    const struct catalog_model *m = NULL;
    folder_write(&f, known->file, "half a file");
    assert_int_equal(catalog_resolve(file, &path, &m, NULL), STATUS_OK);
    assert_null(m);
    mem_free(path);
    assert_int_equal(truncate(file, (off_t)known->bytes), 0);
    assert_int_equal(catalog_resolve(file, &path, &m, NULL), STATUS_OK);
    assert_ptr_equal(m, known);
    mem_free(path);
    folder_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_catalog__every_entry_says_all_that_the_program_asks),
        cmocka_unit_test(test_catalog__every_sampling_value_is_one_that_a_request_could_name),
        cmocka_unit_test(test_catalog__parts_add_up_to_the_file_and_are_pinned),
        cmocka_unit_test(test_catalog__no_two_entries_share_a_name_a_file_or_a_hash),
        cmocka_unit_test(
            test_catalog__finds_names_in_any_case_and_without_a_tag_that_is_the_only_one),
        cmocka_unit_test(test_catalog__an_unknown_name_suggests_a_near_one_only),
        cmocka_unit_test(test_catalog__resolves_names_that_are_here_and_files),
        cmocka_unit_test(test_catalog__a_known_models_file_is_known_elsewhere_too),
        cmocka_unit_test(test_catalog__a_file_of_another_size_is_not_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
