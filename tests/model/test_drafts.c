/* Guesses over real weights (smollm2:135m): a turn that repeats its prompt says the same with them
 * as without, in fewer calls of the model. */
#include "support/weights.h"

#include "sched/sched.h"

enum {
    CELLS = 2048,
    SEQUENCES = 4,
    REPLY = 120,
    WAIT_MS = 60 * 1000,
};

/* Twice the same file, and the beginning of a third copy. */
#define FILE_TEXT                                                                                  \
    "def add_reader(self, name, address):\n"                                                       \
    "    if name in self.readers:\n"                                                               \
    "        raise ValueError(\"there is a reader of this name\")\n"                               \
    "    self.readers[name] = address\n\n"                                                         \
    "def lend(self, reader, book):\n"                                                              \
    "    if reader not in self.readers:\n"                                                         \
    "        raise KeyError(reader)\n"                                                             \
    "    self.loans.append(Loan(reader, book))\n\n"
static const char prompt[] = "The file:\n" FILE_TEXT "The file again:\n" FILE_TEXT
                             "And once more, word for word:\ndef add_reader(";

static const struct model_ops *inner;
static size_t n_calls;

static enum model_result count_calls(struct model *m, const struct model_row *rows, size_t n_rows)
{
    n_calls++;
    return inner->decode(m, rows, n_rows);
}

/* The reply to `prompt`; how many calls of the model it took in *out_calls. */
static void ask(bool drafts, struct strbuf *reply, size_t *out_calls)
{
    struct model *m = weights_load(getenv("PENSIEVE_TEST_WEIGHTS"), CELLS, SEQUENCES);
    inner = m->ops;
    struct model_ops ops = *inner;
    ops.decode = count_calls;
    m->ops = &ops;
    n_calls = 0;
    model_token *tokens;
    size_t n;
    assert_int_equal(model_tokenize(m, str_from(prompt), false, &tokens, &n), STATUS_OK);
    struct sched_options options = {.max_running = 1, .max_jobs = 1, .drafts = drafts};
    struct sched *s = sched_create(m, &options);
    assert_non_null(s);
    struct job_params params = {.tokens = tokens,
                                .n_tokens = n,
                                .max_tokens = REPLY,
                                .n_window = CELLS,
                                .turn_begin = MODEL_NO_TOKEN,
                                .sampler = {.top_p = 1, .repeat_penalty = 1}};
    struct job *j;
    assert_int_equal(sched_submit(s, &params, &j, NULL), STATUS_OK);
    struct job_output out = {.bytes = reply};
    while (out.end == JOB_RUNNING)
        assert_int_equal(job_next(j, WAIT_MS, &out), STATUS_OK);
    assert_int_not_equal(out.end, JOB_FAILED);
    job_release(j);
    sched_destroy(s);
    mem_free(tokens);
    *out_calls = n_calls;
}

static void test_drafts__a_copy_is_the_same_in_fewer_calls(void **state)
{
    (void)state;
    struct strbuf plain, drafted;
    size_t n_plain, n_drafted;
    strbuf_init(&plain, 100000);
    strbuf_init(&drafted, 100000);
    ask(false, &plain, &n_plain);
    ask(true, &drafted, &n_drafted);
    CHECK_STR(strbuf_str(&drafted), strbuf_cstr(&plain));
    /* It copies on every processor, but not as far: near ties fall otherwise with other sums. */
    assert_true(str_find(strbuf_str(&plain), STR("self.readers[name] = address")) != SIZE_MAX);
    print_message("%zu calls without guesses, %zu with\n", n_plain, n_drafted);
    assert_true(n_drafted * 2 < n_plain);
    strbuf_free(&plain);
    strbuf_free(&drafted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drafts__a_copy_is_the_same_in_fewer_calls),
    };
    char *path = weights_find(WEIGHTS_SMOLLM2);
    if (path == NULL)
        return WEIGHTS_SKIPPED;
    setenv("PENSIEVE_TEST_WEIGHTS", path, 1);
    mem_free(path);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
