/* What comes back into an empty pool is as good as what never left it: the same replies, over many
 * prompts, on models with full and with sliding-window attention.
 *
 * The pool is empty as after a restart.
 *
 * PENSIEVE_TEST_PROMPTS sets how many prompts per model (default 8). */
#include "support/weights.h"

enum {
    CELLS = 2048,
    SEQUENCES = 3,
    BLOCK = 256,
    KNOWN = 700, /* tokens that are kept: two blocks and a part; more than gemma's window of 512 */
    OWN = 12,    /* that each prompt adds */
    REPLY = 8,
    DEFAULT_PROMPTS = 8,
    LIVE = 1,     /* sequence that shares the cells of sequence 0 */
    RESTORED = 2, /* sequence that is loaded */
};

/* A model, a text that it has read as sequence 0, and the blocks of it. */
struct fixture {
    struct model *model;
    model_token known[KNOWN];
    struct str blocks[(KNOWN + BLOCK - 1) / BLOCK];
    size_t n_blocks;
};

static void read_text(const struct model *m, model_token *out, size_t n, int nth)
{
    struct strbuf text;
    strbuf_init(&text, 1000000);
    for (int i = 0; i < 200; i++)
        strbuf_printf(&text, "In step %d the clerk of town %d counts %d sheep. ", i * (nth + 1),
                      (i * 7 + nth) % 31, (i * i + 3 * nth) % 89);
    model_token *tokens;
    size_t n_tokens;
    assert_int_equal(model_tokenize(m, strbuf_str(&text), false, &tokens, &n_tokens), STATUS_OK);
    assert_true(n_tokens >= n);
    memcpy(out, tokens, n * sizeof *out);
    mem_free(tokens);
    strbuf_free(&text);
}

/* Decodes n tokens from `begin` on. */
static void decode(struct model *m, uint32_t sequence, const model_token *tokens, size_t n,
                   size_t begin)
{
    struct model_row rows[MODEL_BATCH_ROWS];
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct model_row){tokens[i], (uint32_t)(begin + i), sequence, i + 1 == n};
    assert_int_equal(m->ops->decode(m, rows, n), MODEL_DONE);
}

/* What the model says behind the known text and a prompt's own tokens. */
static void reply(struct model *m, uint32_t sequence, const model_token own[OWN],
                  model_token out[REPLY])
{
    decode(m, sequence, own, OWN, KNOWN);
    out[0] = weights_likeliest(m, OWN - 1);
    for (size_t i = 1; i < REPLY; i++) {
        decode(m, sequence, &out[i - 1], 1, KNOWN + OWN + i - 1);
        out[i] = weights_likeliest(m, 0);
    }
    m->ops->seq_remove(m, sequence, 0, UINT32_MAX);
}

static void open_fixture(struct fixture *f, const char *path)
{
    *f = (struct fixture){.model = weights_load(path, CELLS, SEQUENCES)};
    struct model *m = f->model;
    assert_true(m->info.can_share_prefix);
    read_text(m, f->known, KNOWN, 0);
    decode(m, 0, f->known, MODEL_BATCH_ROWS, 0);
    decode(m, 0, f->known + MODEL_BATCH_ROWS, KNOWN - MODEL_BATCH_ROWS, MODEL_BATCH_ROWS);
    for (uint32_t begin = 0; begin < KNOWN; begin += BLOCK) {
        uint32_t end = begin + BLOCK < KNOWN ? begin + BLOCK : KNOWN;
        struct str *block = &f->blocks[f->n_blocks++];
        char *data;
        assert_int_equal(m->ops->seq_save(m, 0, begin, end, &data, &block->len), STATUS_OK);
        block->ptr = data;
    }
}

static void restore(struct fixture *f)
{
    for (uint32_t i = 0; i < f->n_blocks; i++) {
        uint32_t begin = i * BLOCK, end = begin + BLOCK < KNOWN ? begin + BLOCK : KNOWN;
        assert_int_equal(
            f->model->ops->seq_load(f->model, RESTORED, begin, begin, end, f->blocks[i]),
            STATUS_OK);
    }
}

static void check_model(const char *file)
{
    char *path = weights_find(file);
    if (path == NULL)
        skip();
    const char *wanted = getenv("PENSIEVE_TEST_PROMPTS");
    int n_prompts = wanted != NULL ? (int)strtol(wanted, NULL, 10) : DEFAULT_PROMPTS;
    struct fixture f;
    open_fixture(&f, path);
    model_token(*live)[REPLY] = mem_alloc(mem_array_bytes((size_t)n_prompts, sizeof *live));
    model_token own[OWN], restored[REPLY];
    for (int nth = 0; nth < n_prompts; nth++) {
        read_text(f.model, own, OWN, nth + 1);
        f.model->ops->seq_copy(f.model, 0, LIVE, 0, KNOWN);
        reply(f.model, LIVE, own, live[nth]);
    }
    f.model->ops->seq_remove(f.model, 0, 0, UINT32_MAX);
    for (int nth = 0; nth < n_prompts; nth++) {
        read_text(f.model, own, OWN, nth + 1);
        restore(&f);
        reply(f.model, RESTORED, own, restored);
        assert_memory_equal(restored, live[nth], sizeof restored);
    }
    mem_free(live);
    for (size_t i = 0; i < f.n_blocks; i++)
        mem_free((char *)(uintptr_t)f.blocks[i].ptr);
    model_destroy(f.model);
    mem_free(path);
}

static void test_restored__smollm2_says_what_it_says_live(void **state)
{
    (void)state;
    check_model(WEIGHTS_SMOLLM2);
}

static void test_restored__qwen_says_what_it_says_live(void **state)
{
    (void)state;
    check_model(WEIGHTS_QWEN);
}

/* Sliding-window layers: the text is longer than the window. */
static void test_restored__gemma_says_what_it_says_live(void **state)
{
    (void)state;
    check_model(WEIGHTS_GEMMA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restored__smollm2_says_what_it_says_live),
        cmocka_unit_test(test_restored__qwen_says_what_it_says_live),
        cmocka_unit_test(test_restored__gemma_says_what_it_says_live),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
