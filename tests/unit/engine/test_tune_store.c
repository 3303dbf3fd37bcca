/* What is remembered of a measurement: read back as written, and nothing stale or spoiled. */
#include "engine/tune_store.h"

#include "support/check.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"

enum { PATH_BYTES = 4096, TEXT_BYTES = 64 * 1024 };

static const struct str key = {"model a; cpu \"b\"", 16};

struct place {
    char folder[64];
    char *path;
};

static const struct tune_record record = {
    .is_settled = true,
    .n_attempts = 2,
    .choice = {.kernels = KERNEL_ISA_NONE,
               .flash = MODEL_FLASH_ON,
               .n_threads = 3,
               .n_threads_batch = 6,
               .poll = 50,
               .n_step_rows = 256,
               .prefill_tokens_per_s = 45.5,
               .decode_tokens_per_s = 12.25},
};

static int setup(void **state)
{
    struct place *p = mem_zalloc(sizeof *p);
    snprintf(p->folder, sizeof p->folder, "/tmp/pensieve-tune-XXXXXX");
    if (mkdtemp(p->folder) == NULL)
        return -1;
    p->path = tune_store_path(p->folder, key);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    char tune[96];
    snprintf(tune, sizeof tune, "%s/tune", p->folder);
    unlink(p->path);
    rmdir(tune);
    rmdir(p->folder);
    mem_free(p->path);
    mem_free(p);
    return 0;
}

static void test_tune_store__reads_back_what_it_wrote(void **state)
{
    const struct place *p = *state;
    struct tune_record got;
    assert_false(tune_store_read(p->path, key, &got));
    assert_int_equal(tune_store_write(p->path, key, &record, NULL), STATUS_OK);
    assert_true(tune_store_read(p->path, key, &got));
    assert_true(got.is_settled);
    assert_int_equal(got.n_attempts, 2);
    assert_int_equal(got.choice.flash, MODEL_FLASH_ON);
    assert_int_equal(got.choice.n_threads, 3);
    assert_int_equal(got.choice.n_threads_batch, 6);
    assert_int_equal(got.choice.poll, 50);
    assert_int_equal(got.choice.n_step_rows, 256);
    assert_true(got.choice.prefill_tokens_per_s == 45.5);
    assert_true(got.choice.decode_tokens_per_s == 12.25);
}

static void test_tune_store__another_key_has_another_file_and_reads_nothing(void **state)
{
    const struct place *p = *state;
    char *other = tune_store_path(p->folder, STR("model a; cpu \"c\""));
    assert_string_not_equal(other, p->path);
    mem_free(other);
    struct tune_record got;
    assert_int_equal(tune_store_write(p->path, key, &record, NULL), STATUS_OK);
    assert_false(tune_store_read(p->path, STR("model a; cpu \"c\""), &got));
}

/* Every field, once missing and once out of its range, makes the file count as none. */
static void test_tune_store__a_spoiled_file_counts_as_none(void **state)
{
    const struct place *p = *state;
    static const char *const spoils[][2] = {
        {"\"version\":2", "\"version\":1"},
        {"\"kernels\":\"off\"", "\"kernels\":\"mmx\""},
        {"\"settled\":true", "\"settled\":1"},
        {"\"attempts\":2", "\"attempts\":-1"},
        {"\"flash_attention\":\"on\"", "\"flash_attention\":\"maybe\""},
        {"\"threads\":3", "\"threads\":0"},
        {"\"threads_batch\":6", "\"threads_batch\":100000"},
        {"\"poll\":50", "\"poll\":101"},
        {"\"step_rows\":256", "\"step_rows\":300"},
        {"\"step_rows\":256", "\"step_rows\":1024"},
        {"\"prefill_tokens_per_s\":45.5", "\"prefill_tokens_per_s\":\"fast\""},
        {"\"decode_tokens_per_s\":12.25", "\"decode_tokens_per_s\":-1"},
        {"}", ""},
        {"{", "["},
    };
    assert_int_equal(tune_store_write(p->path, key, &record, NULL), STATUS_OK);
    struct strbuf whole;
    strbuf_init(&whole, TEXT_BYTES);
    assert_int_equal(file_read(p->path, &whole, NULL), STATUS_OK);
    for (size_t i = 0; i < sizeof spoils / sizeof spoils[0]; i++) {
        struct str from = str_from(spoils[i][0]);
        size_t at = str_find(strbuf_str(&whole), from);
        assert_true(at != SIZE_MAX);
        struct strbuf spoiled;
        strbuf_init(&spoiled, TEXT_BYTES);
        strbuf_append(&spoiled, whole.data, at);
        strbuf_append_cstr(&spoiled, spoils[i][1]);
        strbuf_append_cstr(&spoiled, whole.data + at + from.len);
        assert_int_equal(file_write_atomic(p->path, strbuf_str(&spoiled), NULL), STATUS_OK);
        strbuf_free(&spoiled);
        struct tune_record got;
        assert_false(tune_store_read(p->path, key, &got));
    }
    strbuf_free(&whole);
}

static void test_tune_store__a_folder_that_cannot_be_made_is_an_error(void **state)
{
    (void)state;
    struct error err;
    char *path = tune_store_path("/dev/null/nowhere", key);
    assert_int_not_equal(tune_store_write(path, key, &record, &err), STATUS_OK);
    assert_true(strlen(err.message) > 0);
    mem_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tune_store__reads_back_what_it_wrote, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_tune_store__another_key_has_another_file_and_reads_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tune_store__a_spoiled_file_counts_as_none, setup,
                                        teardown),
        cmocka_unit_test(test_tune_store__a_folder_that_cannot_be_made_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
