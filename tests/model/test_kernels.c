/* Whole models by our kernels: as sure of a text as by ggml's, the same greedy words but for near
 * ties, and the same to the bit however the text is read.
 *
 * PENSIEVE_TEST_TOKENS sets how much of the text is read (default 256), PENSIEVE_TEST_PROMPTS how
 * many replies are compared (default 3). */
#include "support/weights.h"

#include <math.h>

enum {
    CELLS = 2048,
    SEQUENCES = 3,
    WINDOW = 256, /* the text is read in windows of so many, each by itself */
    DEFAULT_TOKENS = 256,
    PROMPT = 200,
    DEFAULT_PROMPTS = 3,
    REPLY = 24,
};

/* In logits: one word is at most 1.5 times as likely as the other. */
static const float NEAR_TIE = 0.4F;

/* The first tokens, at most `most`, of a text that no model has been trained on. */
static size_t read_text(const struct model *m, model_token **out, size_t most)
{
    static const char *const files[] = {"README.md",
                                        "ARCHITECTURE.md",
                                        "docs/API.md",
                                        "docs/KERNELS.md",
                                        "docs/BENCHMARKS.md",
                                        "docs/INTEGRATIONS.md",
                                        "docs/TROUBLESHOOTING.md"};
    struct strbuf text, path;
    struct error err = {0};
    size_t n;
    strbuf_init(&text, 1 << 20);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        strbuf_init(&path, 4096);
        strbuf_printf(&path, "%s/%s", PENSIEVE_ROOT, files[i]);
        if (file_read(strbuf_cstr(&path), &text, &err) != STATUS_OK)
            fail_msg("%s", err.message);
        strbuf_free(&path);
    }
    assert_int_equal(model_tokenize(m, strbuf_str(&text), false, out, &n), STATUS_OK);
    strbuf_free(&text);
    return n < most ? n : most;
}

/* ---- As sure of a text ---- */

/* -log of the probability that the logits give a token. */
static double surprise(const struct model *m, size_t row, model_token token)
{
    const float *logits = m->ops->logits(m, row);
    double highest = logits[0], sum = 0;
    for (uint32_t t = 1; t < m->info.n_vocab; t++)
        highest = logits[t] > highest ? logits[t] : highest;
    for (uint32_t t = 0; t < m->info.n_vocab; t++)
        sum += exp(logits[t] - highest);
    return highest + log(sum) - logits[token];
}

/* The summed surprise at a window's tokens behind the first; in steps that want all logits. */
static double surprise_of_window(struct model *m, const model_token *tokens)
{
    struct model_row rows[MODEL_LOGIT_ROWS];
    double sum = 0;
    for (size_t begin = 0; begin < WINDOW; begin += MODEL_LOGIT_ROWS) {
        for (size_t i = 0; i < MODEL_LOGIT_ROWS; i++)
            rows[i] = (struct model_row){tokens[begin + i], (uint32_t)(begin + i), 0, true};
        assert_int_equal(m->ops->decode(m, rows, MODEL_LOGIT_ROWS), MODEL_DONE);
        for (size_t i = 0; i < MODEL_LOGIT_ROWS && begin + i + 1 < WINDOW; i++)
            sum += surprise(m, i, tokens[begin + i + 1]);
    }
    m->ops->seq_remove(m, 0, 0, UINT32_MAX);
    return sum;
}

static double perplexity(const char *path, enum kernel_isa kernels)
{
    const char *wanted = getenv("PENSIEVE_TEST_TOKENS");
    struct model *m = weights_load_with(path, CELLS, SEQUENCES, kernels);
    model_token *tokens;
    size_t n = read_text(m, &tokens, wanted != NULL ? strtoul(wanted, NULL, 10) : DEFAULT_TOKENS);
    double sum = 0;
    assert_true(n >= WINDOW);
    for (size_t begin = 0; begin + WINDOW <= n; begin += WINDOW)
        sum += surprise_of_window(m, tokens + begin);
    mem_free(tokens);
    model_destroy(m);
    return exp(sum / (double)(n / WINDOW * (WINDOW - 1)));
}

/* Which rounding of the activations does better is chance, token by token; over few tokens the
 * chance is most of the difference.  docs/KERNELS.md has that of many. */
static void check_perplexity(const char *file)
{
    char *path = weights_find(file);
    if (path == NULL)
        skip();
    double ggml = perplexity(path, KERNEL_ISA_NONE), ours = perplexity(path, isa_best());
    print_message("%s: perplexity %.4f by ggml's kernels, %.4f by ours (%+.3f %%)\n", file, ggml,
                  ours, (ours / ggml - 1) * 100);
    assert_true(fabs(ours / ggml - 1) < 0.01);
    mem_free(path);
}

/* ---- The same words ---- */

/* Where a prompt that the text gives begins. */
static const model_token *prompt_at(const model_token *tokens, size_t nth)
{
    return tokens + nth * PROMPT / 2;
}

/* Reads a prompt, then replies[] token by token; calls `note` with what comes before each. */
static void walk_reply(struct model *m, const model_token *prompt, model_token reply[REPLY],
                       void (*note)(struct model *m, size_t row, model_token *token, void *arg),
                       void *arg)
{
    struct model_row rows[PROMPT];
    for (size_t i = 0; i < PROMPT; i++)
        rows[i] = (struct model_row){prompt[i], (uint32_t)i, 0, i + 1 == PROMPT};
    assert_int_equal(m->ops->decode(m, rows, PROMPT), MODEL_DONE);
    note(m, PROMPT - 1, &reply[0], arg);
    for (size_t i = 1; i < REPLY; i++) {
        rows[0] = (struct model_row){reply[i - 1], (uint32_t)(PROMPT + i - 1), 0, true};
        assert_int_equal(m->ops->decode(m, rows, 1), MODEL_DONE);
        note(m, 0, &reply[i], arg);
    }
    m->ops->seq_remove(m, 0, 0, UINT32_MAX);
}

static void choose(struct model *m, size_t row, model_token *token, void *arg)
{
    (void)arg;
    *token = weights_likeliest(m, row);
}

/* How often other words are likeliest than the reply's, and by how much at most. */
struct difference {
    int n;
    float most;
};

static void compare(struct model *m, size_t row, model_token *token, void *arg)
{
    struct difference *difference = arg;
    const float *logits = m->ops->logits(m, row);
    float gap = logits[weights_likeliest(m, row)] - logits[*token];
    difference->n += gap > 0;
    difference->most = gap > difference->most ? gap : difference->most;
}

/* Each word of ggml's greedy replies is ours too, behind the same words, or misses by little. */
static void check_words(const char *file)
{
    char *path = weights_find(file);
    if (path == NULL)
        skip();
    const char *wanted = getenv("PENSIEVE_TEST_PROMPTS");
    size_t n_prompts = wanted != NULL ? strtoul(wanted, NULL, 10) : DEFAULT_PROMPTS;
    model_token(*replies)[REPLY] = mem_alloc(mem_array_bytes(n_prompts, sizeof *replies));
    struct model *m = weights_load_with(path, CELLS, SEQUENCES, KERNEL_ISA_NONE);
    model_token *tokens;
    size_t n = read_text(m, &tokens, (n_prompts + 1) * PROMPT / 2);
    assert_int_equal(n, (n_prompts + 1) * PROMPT / 2);
    for (size_t i = 0; i < n_prompts; i++)
        walk_reply(m, prompt_at(tokens, i), replies[i], choose, NULL);
    model_destroy(m);
    m = weights_load_with(path, CELLS, SEQUENCES, isa_best());
    struct difference difference = {0};
    for (size_t i = 0; i < n_prompts; i++)
        walk_reply(m, prompt_at(tokens, i), replies[i], compare, &difference);
    print_message("%s: %d of %zu words differ, by %.3f at most\n", file, difference.n,
                  n_prompts * REPLY, (double)difference.most);
    assert_true(difference.most < NEAR_TIE);
    model_destroy(m);
    mem_free(tokens);
    mem_free(replies);
    mem_free(path);
}

/* ---- The same however it was read ---- */

/* The rows of a prompt that ends with wanted logits, `step` rows a call. */
static void read_prompt(struct model *m, uint32_t sequence, const model_token *tokens, size_t step)
{
    struct model_row rows[MODEL_BATCH_ROWS];
    for (size_t begin = 0; begin < PROMPT; begin += step) {
        size_t n = PROMPT - begin < step ? PROMPT - begin : step;
        for (size_t i = 0; i < n; i++)
            rows[i] = (struct model_row){tokens[begin + i], (uint32_t)(begin + i), sequence,
                                         begin + i + 1 == PROMPT};
        assert_int_equal(m->ops->decode(m, rows, n), MODEL_DONE);
    }
}

static void assert_last_logits(struct model *m, size_t row, const float *wanted)
{
    assert_memory_equal(m->ops->logits(m, row), wanted, m->info.n_vocab * sizeof *wanted);
}

/* The last token in one call with a token of another sequence. */
static void read_beside_another(struct model *m, const model_token *tokens)
{
    struct model_row rows[MODEL_BATCH_ROWS];
    for (size_t i = 0; i + 1 < PROMPT; i++) {
        rows[2 * i] = (struct model_row){tokens[PROMPT - 1 - i], (uint32_t)i, 1, false};
        rows[2 * i + 1] = (struct model_row){tokens[i], (uint32_t)i, 2, false};
    }
    assert_int_equal(m->ops->decode(m, rows, 2 * (PROMPT - 1)), MODEL_DONE);
    rows[0] = (struct model_row){tokens[0], PROMPT - 1, 1, false};
    rows[1] = (struct model_row){tokens[PROMPT - 1], PROMPT - 1, 2, true};
    assert_int_equal(m->ops->decode(m, rows, 2), MODEL_DONE);
}

static void check_steps(const char *file)
{
    static const size_t steps[] = {100, 7, 3, 1};
    char *path = weights_find(file);
    if (path == NULL)
        skip();
    struct model *m = weights_load_with(path, CELLS, SEQUENCES, isa_best());
    model_token *tokens;
    assert_int_equal(read_text(m, &tokens, PROMPT), PROMPT);
    float *wanted = mem_alloc(m->info.n_vocab * sizeof *wanted);
    read_prompt(m, 0, tokens, PROMPT);
    memcpy(wanted, m->ops->logits(m, PROMPT - 1), m->info.n_vocab * sizeof *wanted);
    m->ops->seq_remove(m, 0, 0, UINT32_MAX);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        read_prompt(m, 0, tokens, steps[i]);
        assert_last_logits(m, (PROMPT - 1) % steps[i], wanted);
        m->ops->seq_remove(m, 0, 0, UINT32_MAX);
    }
    read_beside_another(m, tokens);
    assert_last_logits(m, 1, wanted);
    mem_free(wanted);
    mem_free(tokens);
    model_destroy(m);
    mem_free(path);
}

static void test_kernels__smollm2_is_as_sure_of_a_text_as_by_ggml(void **state)
{
    (void)state;
    check_perplexity(WEIGHTS_SMOLLM2);
}

static void test_kernels__qwen_is_as_sure_of_a_text_as_by_ggml(void **state)
{
    (void)state;
    check_perplexity(WEIGHTS_QWEN);
}

static void test_kernels__smollm2_says_what_it_says_by_ggml(void **state)
{
    (void)state;
    check_words(WEIGHTS_SMOLLM2);
}

static void test_kernels__qwen_says_what_it_says_by_ggml(void **state)
{
    (void)state;
    check_words(WEIGHTS_QWEN);
}

static void test_kernels__smollm2_does_not_depend_on_how_it_was_read(void **state)
{
    (void)state;
    check_steps(WEIGHTS_SMOLLM2);
}

static void test_kernels__qwen_does_not_depend_on_how_it_was_read(void **state)
{
    (void)state;
    check_steps(WEIGHTS_QWEN);
}

int main(void)
{
    if (isa_best() == KERNEL_ISA_NONE) {
        print_message("skipped: there are no kernels for this processor\n");
        return WEIGHTS_SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels__smollm2_is_as_sure_of_a_text_as_by_ggml),
        cmocka_unit_test(test_kernels__qwen_is_as_sure_of_a_text_as_by_ggml),
        cmocka_unit_test(test_kernels__smollm2_says_what_it_says_by_ggml),
        cmocka_unit_test(test_kernels__qwen_says_what_it_says_by_ggml),
        cmocka_unit_test(test_kernels__smollm2_does_not_depend_on_how_it_was_read),
        cmocka_unit_test(test_kernels__qwen_does_not_depend_on_how_it_was_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
