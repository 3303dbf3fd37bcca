/* Prompts over restarts, on the toy model, whose replies depend on every token before them: a wrong
 * token out of the store changes what is said. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "support/check.h"
#include "support/folder.h"

#include "base/clock.h"
#include "model/model_toy.h"
#include "sched/sched.h"

enum {
    WAIT_MS = 20 * 1000,
    N_CELLS = 4096,
    PROMPT_BYTES = 1200, /* as many tokens: four blocks and a part of one */
    REPLY = 40,
};

/* A server, as far as prompts go: model, scheduler, store. */
struct house {
    struct folder folder;
    struct kvstore_options store_options;
    struct model_toy_options toy;
    struct sched_options sched_options;
    struct kvstore *store;
    struct model *model;
    struct sched *sched;
};

static void open_house(struct house *h)
{
    struct error err;
    h->store_options.folder = folder_path(&h->folder, "kv");
    assert_int_equal(kvstore_open(&h->store_options, &h->store, &err), STATUS_OK);
    h->model = model_toy_create(&h->toy);
    h->sched_options.store = h->store;
    h->sched = sched_create(h->model, &h->sched_options);
    assert_non_null(h->sched);
}

static void close_house(struct house *h)
{
    sched_destroy(h->sched);
    kvstore_close(h->store, WAIT_MS);
}

static void restart(struct house *h)
{
    close_house(h);
    open_house(h);
}

static struct house make(void)
{
    struct house h = {
        .store_options = {.budget_bytes = 1 << 24, .queue_bytes = 1 << 24},
        .toy = {.n_cells = N_CELLS, .n_sequences = 8},
        .sched_options = {.max_running = 4, .max_jobs = 32, .flush_ms = WAIT_MS},
    };
    folder_make(&h.folder);
    open_house(&h);
    return h;
}

static void unmake(struct house *h)
{
    kvfile_fault_at(KVFILE_FAULT_NONE, 0);
    close_house(h);
    folder_remove(&h->folder);
}

/* A prompt of n bytes that others share up to `fork`. */
static void make_prompt(int nth, size_t fork, size_t n, struct strbuf *out)
{
    strbuf_init(out, 10000);
    for (size_t i = 0; i < n; i++)
        strbuf_append_char(out, (char)('a' + (i * i / 7 + (i < fork ? 0 : (size_t)nth)) % 26));
}

struct answer {
    struct strbuf text;
    struct job_output out;
};

static struct job *submit(struct house *h, uint64_t namespace_key, struct str prompt)
{
    model_token *tokens;
    size_t n;
    assert_int_equal(model_tokenize(h->model, prompt, true, &tokens, &n), STATUS_OK);
    struct job_params params = {.tokens = tokens,
                                .n_tokens = n,
                                .namespace_key = namespace_key,
                                .max_tokens = REPLY,
                                .turn_begin = MODEL_NO_TOKEN,
                                .n_window = N_CELLS,
                                .sampler = {.top_p = 1, .repeat_penalty = 1}};
    struct job *j;
    struct error err;
    assert_int_equal(sched_submit(h->sched, &params, &j, &err), STATUS_OK);
    mem_free(tokens);
    return j;
}

static struct answer ask(struct house *h, uint64_t namespace_key, struct str prompt)
{
    struct answer a = {0};
    strbuf_init(&a.text, 10000);
    struct job *j = submit(h, namespace_key, prompt);
    a.out.bytes = &a.text;
    while (a.out.end == JOB_RUNNING)
        assert_int_equal(job_next(j, WAIT_MS, &a.out), STATUS_OK);
    job_release(j);
    assert_int_equal(a.out.end, JOB_MAX_TOKENS);
    assert_int_equal(a.out.n_reused + a.out.n_prefilled, prompt.len); /* exact, always */
    return a;
}

/* Asks, checks how much was reused and what was said ("" for a first time, which is kept there). */
static void check_ask(struct house *h, struct str prompt, size_t n_reused, struct strbuf *said)
{
    uint64_t n_rows = model_toy_rows(h->model);
    struct answer a = ask(h, 1, prompt);
    assert_int_equal(a.out.n_reused, n_reused);
    assert_int_equal(model_toy_rows(h->model) - n_rows, prompt.len - n_reused + REPLY - 1);
    if (said->len == 0)
        strbuf_append_str(said, strbuf_str(&a.text));
    CHECK_STR(strbuf_str(&a.text), strbuf_cstr(said));
    strbuf_free(&a.text);
}

static void test_persist__a_restart_computes_one_token_of_a_known_prompt(void **state)
{
    (void)state;
    struct house h = make();
    struct strbuf prompt, said;
    strbuf_init(&said, 10000);
    make_prompt(1, 0, PROMPT_BYTES, &prompt);
    check_ask(&h, strbuf_str(&prompt), 0, &said);
    for (int i = 0; i < 3; i++) {
        restart(&h);
        check_ask(&h, strbuf_str(&prompt), PROMPT_BYTES - 1, &said);
    }
    check_ask(&h, strbuf_str(&prompt), PROMPT_BYTES - 1, &said); /* live, the same */
    strbuf_free(&prompt);
    strbuf_free(&said);
    unmake(&h);
}

static void test_persist__a_conversation_goes_on_after_a_restart(void **state)
{
    (void)state;
    struct house h = make();
    struct strbuf prompt;
    make_prompt(1, 0, 300, &prompt);
    size_t n_known = 0;
    for (int turn = 0; turn < 8; turn++) {
        struct answer a = ask(&h, 1, strbuf_str(&prompt));
        assert_int_equal(a.out.n_reused, n_known);
        /* The last token of a reply is never computed; the next prompt has it. */
        n_known = prompt.len + REPLY - 1;
        strbuf_append_str(&prompt, strbuf_str(&a.text));
        strbuf_append_cstr(&prompt, "and what a user says to that ");
        strbuf_free(&a.text);
        restart(&h);
    }
    strbuf_free(&prompt);
    unmake(&h);
}

static void test_persist__another_prompt_shares_what_is_common(void **state)
{
    (void)state;
    struct house h = make();
    const size_t forks[] = {100, 256, 600, 1030};
    struct strbuf prompt, said;
    make_prompt(0, 0, PROMPT_BYTES, &prompt);
    strbuf_init(&said, 10000);
    check_ask(&h, strbuf_str(&prompt), 0, &said);
    for (int i = 0; i < 4; i++) {
        restart(&h);
        struct strbuf other;
        make_prompt(i + 1, forks[i], PROMPT_BYTES, &other);
        strbuf_clear(&said);
        check_ask(&h, strbuf_str(&other), forks[i], &said);
        strbuf_free(&other);
    }
    strbuf_free(&said);
    strbuf_free(&prompt);
    unmake(&h);
}

static void test_persist__another_key_finds_nothing(void **state)
{
    (void)state;
    struct house h = make();
    struct strbuf prompt;
    make_prompt(1, 0, PROMPT_BYTES, &prompt);
    struct answer mine = ask(&h, 1, strbuf_str(&prompt));
    restart(&h);
    struct answer others = ask(&h, 2, strbuf_str(&prompt));
    assert_int_equal(others.out.n_reused, 0);
    CHECK_STR(strbuf_str(&others.text), strbuf_cstr(&mine.text));
    strbuf_free(&mine.text);
    strbuf_free(&others.text);
    strbuf_free(&prompt);
    unmake(&h);
}

static void test_persist__what_leaves_the_pool_is_found_again(void **state)
{
    (void)state;
    struct house h = make();
    h.toy.n_cells = 2600;                          /* two prompts, not five */
    h.sched_options.persist_idle_ms = 3600 * 1000; /* so only because they go */
    restart(&h);
    for (int round = 0; round < 3; round++) {
        for (int nth = 1; nth <= 5; nth++) {
            struct strbuf prompt;
            make_prompt(nth, 0, PROMPT_BYTES, &prompt);
            struct answer a = ask(&h, 1, strbuf_str(&prompt));
            /* What is still on its way to the disk is no miss to count on, nor a hit. */
            assert_true(kvstore_wait(h.store, WAIT_MS));
            assert_int_equal(a.out.n_reused, round == 0 ? 0 : PROMPT_BYTES - 1);
            strbuf_free(&a.text);
            strbuf_free(&prompt);
        }
    }
    unmake(&h);
}

static void test_persist__idle_time_is_used(void **state)
{
    (void)state;
    struct house h = make();
    h.sched_options.flush_ms = 0; /* only what was written before counts */
    restart(&h);
    struct strbuf prompt, said;
    strbuf_init(&said, 10000);
    make_prompt(1, 0, PROMPT_BYTES, &prompt);
    check_ask(&h, strbuf_str(&prompt), 0, &said);
    /* Five blocks, one a step, without any news: the scheduler is awake by itself. */
    struct kvstore_stats stats = {0};
    uint64_t end_ms = clock_now_ms() + WAIT_MS;
    while (clock_now_ms() < end_ms && (stats.blocks < 5 || stats.waiting_bytes > 0)) {
        sched_yield();
        kvstore_get_stats(h.store, &stats);
    }
    assert_int_equal(stats.blocks, 5);
    restart(&h);
    check_ask(&h, strbuf_str(&prompt), PROMPT_BYTES - 1, &said);
    strbuf_free(&prompt);
    strbuf_free(&said);
    unmake(&h);
}

/* The prompt again after a restart in which the n-th block is not taken for want of room. */
static void test_persist__what_the_model_has_no_room_for_is_tried_again(void **state)
{
    (void)state;
    const size_t n_reused[] = {PROMPT_BYTES - 1 - MODEL_BATCH_ROWS, PROMPT_BYTES - 1};
    for (uint32_t nth = 1; nth <= 2; nth++) {
        struct house h = make();
        struct strbuf prompt, said;
        strbuf_init(&said, 10000);
        make_prompt(1, 0, PROMPT_BYTES, &prompt);
        check_ask(&h, strbuf_str(&prompt), 0, &said);
        h.toy.fail_load_at = nth;
        restart(&h);
        check_ask(&h, strbuf_str(&prompt), n_reused[nth - 1], &said);
        strbuf_free(&prompt);
        strbuf_free(&said);
        unmake(&h);
    }
}

/* Writes a sound file under the key of the prompt's first block, of other data. */
static void write_wrong_block(const struct house *h, struct str prompt)
{
    struct kvfile_head head = {.parent = kv_key_root(h->model->info.fingerprint, 1),
                               .n_tokens = KVFILE_BLOCK_TOKENS};
    for (size_t i = 0; i < KVFILE_BLOCK_TOKENS; i++)
        head.tokens[i] = (unsigned char)prompt.ptr[i];
    head.key = kv_key_child(&head.parent, head.tokens, head.n_tokens);
    snprintf(head.fingerprint, sizeof head.fingerprint, "%s", h->model->info.fingerprint);
    int fd = open(folder_path(&h->folder, "kv"), O_RDONLY | O_DIRECTORY);
    int why;
    assert_int_equal(kvfile_write(fd, &head, STR("of another model"), &why), STATUS_OK);
    close(fd);
}

static void test_persist__what_the_model_refuses_goes_and_is_computed(void **state)
{
    (void)state;
    struct house h = make();
    struct strbuf prompt, said;
    strbuf_init(&said, 10000);
    make_prompt(1, 0, PROMPT_BYTES, &prompt);
    check_ask(&h, strbuf_str(&prompt), 0, &said);
    restart(&h);
    write_wrong_block(&h, strbuf_str(&prompt));
    check_ask(&h, strbuf_str(&prompt), PROMPT_BYTES - 1 - MODEL_BATCH_ROWS, &said);
    restart(&h); /* the block was written anew */
    check_ask(&h, strbuf_str(&prompt), PROMPT_BYTES - 1, &said);
    strbuf_free(&prompt);
    strbuf_free(&said);
    unmake(&h);
}

static void test_persist__what_cannot_be_saved_is_left_out(void **state)
{
    (void)state;
    struct house h = make();
    h.toy.fail_save_at = 2;
    restart(&h);
    struct strbuf prompt, said;
    strbuf_init(&said, 10000);
    make_prompt(1, 0, PROMPT_BYTES, &prompt);
    check_ask(&h, strbuf_str(&prompt), 0, &said);
    h.toy.fail_save_at = 0;
    restart(&h);
    struct answer a = ask(&h, 1, strbuf_str(&prompt));
    assert_true(a.out.n_reused >= 256); /* the second block came later, or not at all */
    CHECK_STR(strbuf_str(&a.text), strbuf_cstr(&said));
    strbuf_free(&a.text);
    strbuf_free(&prompt);
    strbuf_free(&said);
    unmake(&h);
}

static void test_persist__a_full_disk_costs_no_answer(void **state)
{
    (void)state;
    struct house h = make();
    struct strbuf prompt, said;
    strbuf_init(&said, 10000);
    make_prompt(1, 0, PROMPT_BYTES, &prompt);
    kvfile_fault_at(KVFILE_FAULT_FULL, 3000);
    check_ask(&h, strbuf_str(&prompt), 0, &said);
    check_ask(&h, strbuf_str(&prompt), PROMPT_BYTES - 1, &said);
    restart(&h);
    check_ask(&h, strbuf_str(&prompt), 0, &said);
    kvfile_fault_at(KVFILE_FAULT_NONE, 0);
    strbuf_free(&prompt);
    strbuf_free(&said);
    unmake(&h);
}

static void test_persist__a_full_pool_restores_what_fits(void **state)
{
    (void)state;
    struct house h = make();
    struct strbuf prompt, said;
    strbuf_init(&said, 10000);
    make_prompt(1, 0, PROMPT_BYTES, &prompt);
    check_ask(&h, strbuf_str(&prompt), 0, &said);
    h.toy.n_cells = PROMPT_BYTES + REPLY; /* not one cell more than is needed */
    restart(&h);
    struct answer a = ask(&h, 1, strbuf_str(&prompt));
    assert_true(a.out.n_reused >= 1024);
    CHECK_STR(strbuf_str(&a.text), strbuf_cstr(&said));
    strbuf_free(&a.text);
    strbuf_free(&prompt);
    strbuf_free(&said);
    unmake(&h);
}

/* A model that can only keep whole sequences: a conversation goes on from its snapshot. */
static void test_persist__a_recurrent_model_goes_on_from_where_it_was(void **state)
{
    (void)state;
    struct house h = make();
    h.toy.whole_only = true;
    restart(&h);
    struct strbuf prompt, said;
    make_prompt(1, 0, 300, &prompt);
    strbuf_init(&said, 10000);
    size_t n_known = 0;
    for (int turn = 0; turn < 8; turn++) {
        strbuf_clear(&said);
        check_ask(&h, strbuf_str(&prompt), n_known, &said);
        n_known = prompt.len + REPLY - 1;
        strbuf_append_str(&prompt, strbuf_str(&said));
        strbuf_append_cstr(&prompt, "and what a user says to that ");
        restart(&h);
    }
    struct strbuf other;
    make_prompt(2, 200, 300, &other); /* there is no snapshot at 200 */
    strbuf_clear(&said);
    check_ask(&h, strbuf_str(&other), 0, &said);
    strbuf_free(&other);
    strbuf_free(&prompt);
    strbuf_free(&said);
    unmake(&h);
}

static void test_persist__random_days_never_change_an_answer(void **state)
{
    (void)state;
    struct house h = make();
    h.toy.n_cells = 3000;
    h.store_options.budget_bytes = 60 * 1000;
    restart(&h);
    enum { PROMPTS = 12, DAYS = 40, ASKS = 10 };
    struct strbuf prompts[PROMPTS], said[PROMPTS];
    for (int i = 0; i < PROMPTS; i++) {
        make_prompt(i, 300 + 50 * (size_t)i, 600 + 50 * (size_t)i, &prompts[i]);
        struct answer a = ask(&h, 1 + (uint64_t)i % 2, strbuf_str(&prompts[i]));
        said[i] = a.text;
    }
    uint32_t seed = 20261126;
    size_t n_reused = 0;
    for (int day = 0; day < DAYS; day++) {
        for (int i = 0; i < ASKS; i++) {
            seed = seed * 1664525u + 1013904223u;
            size_t n = (seed >> 16) % PROMPTS;
            struct answer a = ask(&h, 1 + (uint64_t)n % 2, strbuf_str(&prompts[n]));
            CHECK_STR(strbuf_str(&a.text), strbuf_cstr(&said[n]));
            n_reused += a.out.n_reused;
            strbuf_free(&a.text);
        }
        if (day % 4 == 0)
            kvfile_fault_at(KVFILE_FAULT_FULL, seed % 5000);
        restart(&h);
        kvfile_fault_at(KVFILE_FAULT_NONE, 0);
    }
    assert_true(n_reused > 100 * 1000);
    for (int i = 0; i < PROMPTS; i++) {
        strbuf_free(&prompts[i]);
        strbuf_free(&said[i]);
    }
    unmake(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_persist__a_restart_computes_one_token_of_a_known_prompt),
        cmocka_unit_test(test_persist__a_conversation_goes_on_after_a_restart),
        cmocka_unit_test(test_persist__another_prompt_shares_what_is_common),
        cmocka_unit_test(test_persist__another_key_finds_nothing),
        cmocka_unit_test(test_persist__what_leaves_the_pool_is_found_again),
        cmocka_unit_test(test_persist__idle_time_is_used),
        cmocka_unit_test(test_persist__what_the_model_has_no_room_for_is_tried_again),
        cmocka_unit_test(test_persist__what_the_model_refuses_goes_and_is_computed),
        cmocka_unit_test(test_persist__what_cannot_be_saved_is_left_out),
        cmocka_unit_test(test_persist__a_full_disk_costs_no_answer),
        cmocka_unit_test(test_persist__a_full_pool_restores_what_fits),
        cmocka_unit_test(test_persist__a_recurrent_model_goes_on_from_where_it_was),
        cmocka_unit_test(test_persist__random_days_never_change_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
