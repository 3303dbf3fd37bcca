/* prompt_fixture -- what the tests of prompt share: requests from JSON, and a renderer for any
 * template. */
#pragma once

#include "support/check.h"
#include "support/templates.h"

#include "api/anthropic_read.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "model/model_toy.h"
#include "prompt/canon.h"
#include "prompt/render.h"

/* A request and what it was read from. */
struct fixture_request {
    struct json_doc *doc;
    struct arena arena;
    struct message_request req;
};

static inline void fixture_read(struct fixture_request *f, const char *json)
{
    struct error err = {0};
    arena_init(&f->arena, LIMIT_REQUEST_ARENA_BYTES);
    if (json_parse_copy(str_from(json), JSON_STRICT, &f->doc, &err) != STATUS_OK ||
        anthropic_read(json_root(f->doc), ANTHROPIC_COUNT_TOKENS, &f->arena, &f->req, &err) !=
            STATUS_OK)
        fail_msg("%s", err.message);
}

static inline void fixture_free(struct fixture_request *f)
{
    json_doc_free(f->doc);
    arena_free(&f->arena);
}

/* The toy's tokens with another template. */
struct fixture_model {
    struct model *model;
    struct render *render;
};

static inline void fixture_open(struct fixture_model *f, const char *chat_template)
{
    struct model_toy_options options = {.n_cells = 64, .n_sequences = 2};
    struct error err = {0};
    f->model = model_toy_create(&options);
    if (chat_template != NULL)
        f->model->info.chat_template = str_from(chat_template);
    if (render_create(f->model, &f->render, &err) != STATUS_OK)
        fail_msg("%s", err.message);
}

static inline void fixture_close(struct fixture_model *f)
{
    render_destroy(f->render);
    model_destroy(f->model);
}

/* The prompt of a request in *out, and as text with control tokens spelled out in `text`. */
static inline void fixture_render(struct fixture_model *f, const char *json, struct rendered *out,
                                  struct strbuf *text)
{
    struct fixture_request r;
    struct canon canon;
    struct error err = {0};
    fixture_read(&r, json);
    if (canon_make(&r.req, render_caps(f->render), &r.arena, &canon, &err) != STATUS_OK ||
        render_prompt(f->render, &canon, out, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    strbuf_clear(text);
    for (size_t i = 0; i < out->n_tokens; i++)
        f->model->ops->piece(f->model, out->tokens[i], true, text);
    fixture_free(&r);
}

/* A tool as it stands in a request's list. */
#define FIXTURE_READ_SCHEMA                                                                        \
    "{\"type\":\"object\",\"properties\":{\"path\":{\"type\":\"string\"},\"limit\":{\"type\":"     \
    "\"integer\"}},\"required\":[\"path\"]}"
#define FIXTURE_READ_TOOL                                                                          \
    "{\"name\":\"Read\",\"description\":\"Reads.\",\"input_schema\":" FIXTURE_READ_SCHEMA "}"

/* The same tool, as the splitter takes it. */
#define FIXTURE_TOOLS                                                                              \
    (&(const struct grammar_call){                                                                 \
        {"Read", 4}, {FIXTURE_READ_SCHEMA, sizeof FIXTURE_READ_SCHEMA - 1}, {0}})
