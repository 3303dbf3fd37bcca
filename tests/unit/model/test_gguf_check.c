/* gguf_check on small files made here byte by byte: whole ones, cut ones, and absurd ones. */
#include "support/check.h"

#include <ggml.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "model/gguf_check.h"

enum {
    TYPE_U32 = 4,
    TYPE_STRING = 8,
    TYPE_ARRAY = 9,
    TENSOR_BYTES = 64 * sizeof(float),
};

/* What is written; the defaults make a model that passes. */
struct plan {
    uint32_t n_layer;
    uint32_t n_head;
    uint32_t head_count_kv;
    uint32_t key_length;
    uint32_t split_count;
    bool has_vocabulary;
    bool kv_heads_per_layer; /* head_count_kv, then 0, in turns */
    uint64_t tensor_offset;
};

static const struct plan sound = {
    .n_layer = 4, .n_head = 8, .head_count_kv = 2, .key_length = 16, .has_vocabulary = true};

static void put_u32(struct strbuf *out, uint32_t v)
{
    strbuf_append(out, &v, sizeof v);
}

static void put_u64(struct strbuf *out, uint64_t v)
{
    strbuf_append(out, &v, sizeof v);
}

static void put_text(struct strbuf *out, const char *text)
{
    put_u64(out, strlen(text));
    strbuf_append_cstr(out, text);
}

static void put_number(struct strbuf *out, const char *key, uint32_t value)
{
    put_text(out, key);
    put_u32(out, TYPE_U32);
    put_u32(out, value);
}

static void put_kv_heads(struct strbuf *out, const struct plan *plan)
{
    if (!plan->kv_heads_per_layer) {
        put_number(out, "test.attention.head_count_kv", plan->head_count_kv);
        return;
    }
    put_text(out, "test.attention.head_count_kv");
    put_u32(out, TYPE_ARRAY);
    put_u32(out, TYPE_U32);
    put_u64(out, plan->n_layer);
    for (uint32_t i = 0; i < plan->n_layer; i++)
        put_u32(out, i % 2 == 0 ? plan->head_count_kv : 0);
}

static void put_vocabulary(struct strbuf *out)
{
    put_text(out, "tokenizer.ggml.tokens");
    put_u32(out, TYPE_ARRAY);
    put_u32(out, TYPE_STRING);
    put_u64(out, 3);
    put_text(out, "a");
    put_text(out, "b");
    put_text(out, "<end>");
}

static void put_file(struct strbuf *out, const struct plan *plan)
{
    strbuf_append_cstr(out, "GGUF");
    put_u32(out, 3);
    put_u64(out, 1); /* tensors */
    put_u64(out, plan->has_vocabulary ? 10 : 9);
    put_text(out, "general.architecture");
    put_u32(out, TYPE_STRING);
    put_text(out, "test");
    put_number(out, "test.block_count", plan->n_layer);
    put_number(out, "test.embedding_length", 128);
    put_number(out, "test.context_length", 4096);
    put_number(out, "test.feed_forward_length", 256);
    put_number(out, "test.attention.head_count", plan->n_head);
    put_kv_heads(out, plan);
    put_number(out, "test.attention.key_length", plan->key_length);
    put_number(out, "split.count", plan->split_count);
    if (plan->has_vocabulary)
        put_vocabulary(out);

    put_text(out, "token_embd.weight");
    put_u32(out, 1); /* dimension */
    put_u64(out, TENSOR_BYTES / sizeof(float));
    put_u32(out, 0); /* f32 */
    put_u64(out, plan->tensor_offset);
    while (out->len % 32 != 0)
        strbuf_append_char(out, '\0');
    for (size_t i = 0; i < TENSOR_BYTES; i++)
        strbuf_append_char(out, 'w');
}

static char folder[] = "/tmp/pensieve-gguf-XXXXXX";
static char path[sizeof folder + 16];

/* The reader says at length what is wrong with each file. */
static void say_nothing(enum ggml_log_level level, const char *text, void *arg)
{
    (void)level;
    (void)text;
    (void)arg;
}

static int make_folder(void **state)
{
    (void)state;
    ggml_log_set(say_nothing, NULL);
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static enum status check_bytes(struct str bytes, struct gguf_facts *facts, struct error *err)
{
    assert_int_equal(file_write_atomic(path, bytes, err), STATUS_OK);
    return gguf_check(path, facts, err);
}

static enum status check_plan(const struct plan *plan, struct gguf_facts *facts, struct error *err)
{
    struct strbuf file;
    strbuf_init(&file, 4096);
    put_file(&file, plan);
    enum status st = check_bytes(strbuf_str(&file), facts, err);
    strbuf_free(&file);
    return st;
}

static void test_gguf_check__reads_the_sizes_that_memory_is_predicted_from(void **state)
{
    (void)state;
    struct gguf_facts facts;
    struct error err = {0};
    assert_int_equal(check_plan(&sound, &facts, &err), STATUS_OK);
    assert_int_equal(facts.n_layer, 4);
    assert_int_equal(facts.n_head, 8);
    assert_int_equal(facts.n_embd, 128);
    assert_int_equal(facts.n_vocab, 3);
    assert_int_equal(facts.n_context_trained, 4096);
    assert_int_equal(facts.n_feed_forward, 256);
    assert_int_equal(facts.weights_bytes, TENSOR_BYTES);
    assert_int_equal(facts.file_bytes, facts.meta_bytes + TENSOR_BYTES);
    /* 4 layers x 2 heads x (16 key + 128/8 value) x 2 bytes */
    assert_int_equal(facts.kv_bytes_per_cell, 4 * 2 * (16 + 16) * 2);
}

static void test_gguf_check__adds_up_heads_that_differ_by_layer(void **state)
{
    (void)state;
    struct plan plan = sound;
    plan.kv_heads_per_layer = true;
    struct gguf_facts facts;
    struct error err = {0};
    assert_int_equal(check_plan(&plan, &facts, &err), STATUS_OK);
    assert_int_equal(facts.kv_bytes_per_cell, 2 * 2 * (16 + 16) * 2);
}

static void test_gguf_check__refuses_sizes_that_make_no_sense(void **state)
{
    (void)state;
    struct plan plans[5] = {sound, sound, sound, sound, sound};
    plans[0].n_layer = 0;
    plans[1].n_layer = 1000000;
    plans[2].head_count_kv = UINT32_MAX;
    plans[3].key_length = UINT32_MAX;
    plans[4].has_vocabulary = false;
    for (size_t i = 0; i < 5; i++) {
        struct gguf_facts facts;
        struct error err = {0};
        assert_int_equal(check_plan(&plans[i], &facts, &err), STATUS_CORRUPT);
        assert_non_null(strstr(err.message, path));
    }
}

static void test_gguf_check__lives_with_a_head_count_of_zero(void **state)
{
    (void)state;
    struct plan plan = sound;
    plan.n_head = 0;
    struct gguf_facts facts;
    struct error err = {0};
    assert_int_equal(check_plan(&plan, &facts, &err), STATUS_OK);
    assert_int_equal(facts.n_head, 1);
}

static void test_gguf_check__refuses_a_tensor_outside_the_file(void **state)
{
    (void)state;
    const uint64_t offsets[] = {32, 1u << 30, UINT64_MAX - 31};
    for (size_t i = 0; i < 3; i++) {
        struct plan plan = sound;
        plan.tensor_offset = offsets[i];
        struct gguf_facts facts;
        struct error err = {0};
        assert_int_equal(check_plan(&plan, &facts, &err), STATUS_CORRUPT);
    }
}

static void test_gguf_check__refuses_one_part_of_several(void **state)
{
    (void)state;
    struct plan plan = sound;
    plan.split_count = 3;
    struct gguf_facts facts;
    struct error err = {0};
    assert_int_equal(check_plan(&plan, &facts, &err), STATUS_UNSUPPORTED);
    assert_non_null(strstr(err.message, "--merge"));
}

static void test_gguf_check__refuses_a_file_cut_at_any_byte(void **state)
{
    (void)state;
    struct strbuf file;
    strbuf_init(&file, 4096);
    put_file(&file, &sound);
    for (size_t len = 0; len < file.len; len++) {
        struct gguf_facts facts;
        struct error err = {0};
        assert_int_equal(check_bytes((struct str){file.data, len}, &facts, &err), STATUS_CORRUPT);
        assert_non_null(strstr(err.message, "pensieve pull"));
    }
    strbuf_free(&file);
}

static void test_gguf_check__survives_any_damaged_byte(void **state)
{
    (void)state;
    struct strbuf file;
    strbuf_init(&file, 4096);
    put_file(&file, &sound);
    size_t n_refused = 0;
    for (size_t at = 0; at < file.len - TENSOR_BYTES; at++) {
        char before = file.data[at];
        file.data[at] = (char)~before;
        struct gguf_facts facts;
        struct error err = {0};
        n_refused += check_bytes(strbuf_str(&file), &facts, &err) != STATUS_OK;
        file.data[at] = before;
    }
    assert_true(n_refused > 100);
    strbuf_free(&file);
}

static void test_gguf_check__tells_a_missing_file_from_a_damaged_one(void **state)
{
    (void)state;
    struct gguf_facts facts;
    struct error err = {0};
    assert_int_equal(gguf_check("/nonexistent/model.gguf", &facts, &err), STATUS_NOT_FOUND);
    assert_int_equal(check_bytes(STR("GGML is not GGUF"), &facts, &err), STATUS_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_check__reads_the_sizes_that_memory_is_predicted_from),
        cmocka_unit_test(test_gguf_check__adds_up_heads_that_differ_by_layer),
        cmocka_unit_test(test_gguf_check__refuses_sizes_that_make_no_sense),
        cmocka_unit_test(test_gguf_check__lives_with_a_head_count_of_zero),
        cmocka_unit_test(test_gguf_check__refuses_a_tensor_outside_the_file),
        cmocka_unit_test(test_gguf_check__refuses_one_part_of_several),
        cmocka_unit_test(test_gguf_check__refuses_a_file_cut_at_any_byte),
        cmocka_unit_test(test_gguf_check__survives_any_damaged_byte),
        cmocka_unit_test(test_gguf_check__tells_a_missing_file_from_a_damaged_one),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
