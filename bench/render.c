/* render -- how long a request like Claude Code's takes from its JSON to tokens.
 *
 *     bench-render MODEL.gguf [ROUNDS]
 *
 * For 0, 12 and 25 tools it prints the processor time of the first rendering and of the ones after
 * it, early (2 calls made) and late (40) in a conversation: to be counted (count_tokens) and to be
 * answered.  The user's last words differ each time.  Requests are made here, from nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "api/anthropic_read.h"
#include "base/limits.h"
#include "model/model_llama.h"
#include "prompt/canon.h"
#include "prompt/render.h"

enum {
    MOST_ROUNDS = 100,
    SYSTEM_SENTENCES = 150,
    TOOL_SENTENCES = 16,
};

static void add_sentences(struct strbuf *out, size_t n, size_t seed)
{
    static const char *const what[] = {"the file", "a command", "the path", "one test", "the user"};
    static const char *const then[] = {"is read first", "must be absolute", "may be left out",
                                       "is shown with line numbers", "is never sent on"};
    for (size_t i = 0; i < n; i++)
        strbuf_printf(out, "In case %zu of %zu <example>%s %s</example>, unless %s %s. ", i, seed,
                      what[(i + seed) % 5], then[(i * 3 + seed) % 5], what[(i * 7 + 1) % 5],
                      then[(i + 2) % 5]);
}

static void add_tool(struct strbuf *out, size_t i)
{
    strbuf_printf(out, "{\"name\":\"Tool%zu\",\"description\":\"", i);
    add_sentences(out, TOOL_SENTENCES, i);
    strbuf_append_cstr(out, "\",\"input_schema\":{\"type\":\"object\",\"properties\":{");
    for (size_t k = 0; k < 5; k++) {
        strbuf_printf(out, "%s\"field_%zu\":{\"type\":\"%s\",\"description\":\"", k > 0 ? "," : "",
                      k, k % 2 == 0 ? "string" : "integer");
        add_sentences(out, 1, i + k);
        strbuf_append_cstr(out, "\"}");
    }
    strbuf_append_cstr(out, "},\"required\":[\"field_0\"],\"additionalProperties\":false}}");
}

static void make_body(struct strbuf *out, size_t n_tools, size_t n_turns, size_t round)
{
    strbuf_clear(out);
    strbuf_append_cstr(out, "{\"model\":\"m\",\"max_tokens\":100,\"system\":\"");
    add_sentences(out, SYSTEM_SENTENCES, 0);
    strbuf_append_cstr(out, "\",\"tools\":[");
    for (size_t i = 0; i < n_tools; i++) {
        strbuf_append_cstr(out, i > 0 ? "," : "");
        add_tool(out, i);
    }
    strbuf_append_cstr(out, "],\"messages\":[{\"role\":\"user\",\"content\":\"Begin.\"}");
    for (size_t i = 0; i < n_turns; i++) {
        strbuf_printf(out,
                      ",{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"Step "
                      "%zu.\"},{\"type\":\"tool_use\",\"id\":\"t%zu\",\"name\":\"Tool1\",\"input\":"
                      "{\"field_0\":\"a%zu\"}}]},{\"role\":\"user\",\"content\":[{\"type\":"
                      "\"tool_result\",\"tool_use_id\":\"t%zu\",\"content\":\"",
                      i, i, i, i);
        add_sentences(out, 10, i);
        strbuf_append_cstr(out, "\"}]}");
    }
    strbuf_printf(out, ",{\"role\":\"user\",\"content\":\"Go on, round %zu.\"}]}", round);
}

/* Processor time of this thread: other work on the machine does not show in it. */
static uint64_t spent_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Microseconds from request to tokens. */
static uint64_t render_body(struct render *r, struct str body, bool only_count, size_t *out_tokens)
{
    struct error err = {0};
    struct arena arena;
    struct json_doc *doc = NULL;
    struct message_request req;
    struct canon canon;
    struct rendered rendered = {0};
    arena_init(&arena, LIMIT_REQUEST_ARENA_BYTES);
    enum status st = json_parse_copy(body, JSON_STRICT, &doc, &err);
    if (st == STATUS_OK)
        st = anthropic_read(json_root(doc), ANTHROPIC_MESSAGES, &arena, &req, &err);
    uint64_t begin = spent_us();
    if (st == STATUS_OK)
        st = canon_make(&req, render_caps(r), &arena, &canon, &err);
    if (st == STATUS_OK && only_count)
        st = render_count(r, &canon, out_tokens, &err);
    else if (st == STATUS_OK)
        st = render_prompt(r, &canon, &rendered, &err);
    uint64_t took = spent_us() - begin;
    if (st != STATUS_OK) {
        fprintf(stderr, "bench-render: %s\n", err.message);
        exit(1);
    }
    if (!only_count)
        *out_tokens = rendered.n_tokens;
    rendered_free(&rendered);
    json_doc_free(doc);
    arena_free(&arena);
    return took;
}

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void measure(const struct model *m, size_t n_tools, size_t n_turns, bool only_count,
                    size_t rounds)
{
    struct render *r;
    struct error err = {0};
    if (render_create(m, &r, &err) != STATUS_OK) {
        fprintf(stderr, "bench-render: %s\n", err.message);
        exit(1);
    }
    struct strbuf body;
    strbuf_init(&body, LIMIT_BODY_BYTES);
    uint64_t first = 0;
    uint64_t times[MOST_ROUNDS];
    size_t n_tokens = 0;
    for (size_t i = 0; i <= rounds; i++) {
        make_body(&body, n_tools, n_turns, i);
        uint64_t took = render_body(r, strbuf_str(&body), only_count, &n_tokens);
        if (i == 0)
            first = took;
        else
            times[i - 1] = took;
    }
    qsort(times, rounds, sizeof times[0], compare_times);
    printf("%2zu tools, %2zu calls, %-6s  first %6.2f ms, then median %5.2f ms, worst %5.2f ms  "
           "(%zu tokens)\n",
           n_tools, n_turns, only_count ? "count" : "answer", (double)first / 1000,
           (double)times[rounds / 2] / 1000, (double)times[rounds - 1] / 1000, n_tokens);
    strbuf_free(&body);
    render_destroy(r);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench-render MODEL.gguf [ROUNDS]\n");
        return 2;
    }
    long rounds = argc > 2 ? strtol(argv[2], NULL, 10) : 20;
    if (rounds < 1 || rounds > MOST_ROUNDS)
        rounds = 20;
    struct model_llama_options options = {.path = argv[1],
                                          .n_cells = 512,
                                          .n_sequences = 1,
                                          .how = tune_default(1, false, KERNEL_ISA_NONE)};
    struct model *m;
    struct error err = {0};
    if (model_llama_load(&options, &m, &err) != STATUS_OK) {
        fprintf(stderr, "bench-render: %s\n", err.message);
        return 1;
    }
    static const size_t tools[] = {0, 12, 25, 25};
    static const size_t turns[] = {2, 2, 2, 40};
    for (size_t i = 0; i < sizeof tools / sizeof tools[0]; i++) {
        measure(m, tools[i], turns[i], true, (size_t)rounds);
        measure(m, tools[i], turns[i], false, (size_t)rounds);
    }
    model_destroy(m);
    return 0;
}
