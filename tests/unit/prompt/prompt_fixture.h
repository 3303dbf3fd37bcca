/* prompt_fixture -- what the tests of prompt share: requests from JSON, a renderer for any
 * template, and short templates of our own in the manner of the well-known families. */
#pragma once

#include "support/check.h"

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

/* ChatML without tools, as many small models have it. */
#define FIXTURE_CHATML                                                                             \
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"   \
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

/* Llama 3: contents are trimmed, one call a turn, words beside a call are left out, results are
 * printed as JSON strings. */
#define FIXTURE_LLAMA3                                                                             \
    "{{ '<|begin|>' }}{% for m in messages %}{% if m.tool_calls %}"                                \
    "{% if m.tool_calls|length != 1 %}{{ raise_exception('one call at a time') }}{% endif %}"      \
    "{% set c = m.tool_calls[0].function %}"                                                       \
    "{{ '<|head|>assistant<|/head|>\\n\\n{\"name\": \"' + c.name + '\", \"parameters\": ' }}"      \
    "{{ c.arguments | tojson }}{{ '}<|eot|>' }}"                                                   \
    "{% elif m.role == 'tool' %}"                                                                  \
    "{{ '<|head|>ipython<|/head|>\\n\\n' }}{{ m.content | tojson }}{{ '<|eot|>' }}"                \
    "{% else %}"                                                                                   \
    "{{ '<|head|>' + m.role + '<|/head|>\\n\\n' + m.content | trim }}"                             \
    "{% if loop.first and tools %}{% for t in tools %}{{ '\\n' }}{{ t | tojson }}{% endfor %}"     \
    "{% endif %}{{ '<|eot|>' }}"                                                                   \
    "{% endif %}{% endfor %}"                                                                      \
    "{% if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\\n\\n' }}{% endif %}"

/* Gemma: no system role, strict turns, no tools. */
#define FIXTURE_GEMMA                                                                              \
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"      \
    "{% for m in messages %}"                                                                      \
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"                                        \
    "{{ raise_exception('turns must alternate') }}{% endif %}"                                     \
    "{{ '<turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + m.content | trim + "   \
    "'</turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<turn>model\\n' }}{% endif %}"

/* Mistral: the system text goes with the first words of the user, ids are nine letters long. */
#define FIXTURE_MISTRAL                                                                            \
    "{% if messages[0].role == 'system' %}{% set sys = messages[0].content + '\\n\\n' %}"          \
    "{% set rest = messages[1:] %}{% else %}{% set sys = '' %}{% set rest = messages %}{% endif "  \
    "%}"                                                                                           \
    "{% if tools %}{{ '[AVAILABLE_TOOLS]' }}{{ tools | tojson }}{{ '[/AVAILABLE_TOOLS]' }}"        \
    "{% endif %}"                                                                                  \
    "{% for m in rest %}"                                                                          \
    "{% if m.role == 'user' %}"                                                                    \
    "{{ '[INST]' + (sys if loop.first else '') + m.content + '[/INST]' }}"                         \
    "{% elif m.role == 'system' %}{{ raise_exception('system only first') }}"                      \
    "{% elif m.role == 'tool' %}"                                                                  \
    "{% if m.tool_call_id|length != 9 %}{{ raise_exception('nine letters') }}{% endif %}"          \
    "{{ '[TOOL_RESULTS]{\"content\": ' }}{{ m.content }}"                                          \
    "{{ ', \"call_id\": \"' + m.tool_call_id + '\"}[/TOOL_RESULTS]' }}"                            \
    "{% elif m.tool_calls %}{{ m.content }}{{ '[TOOL_CALLS][' }}"                                  \
    "{% for c in m.tool_calls %}"                                                                  \
    "{{ '{\"name\": \"' + c.function.name + '\", \"arguments\": ' }}"                              \
    "{{ c.function.arguments | tojson }}{{ ', \"id\": \"' + c.id + '\"}' }}"                       \
    "{% if not loop.last %}{{ ', ' }}{% endif %}{% endfor %}{{ ']</s>' }}"                         \
    "{% else %}{{ m.content + '</s>' }}{% endif %}{% endfor %}"

/* Qwen 3: reasoning is shown since the user's last words only. */
#define FIXTURE_THINKING                                                                           \
    "{% set ns = namespace(last=-1) %}"                                                            \
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}"   \
    "{% endfor %}"                                                                                 \
    "{% if tools %}{{ '<|im_start|>system\\n' }}{% if messages[0].role == 'system' %}"             \
    "{{ messages[0].content + '\\n\\n' }}{% endif %}{{ '<tools>' }}"                               \
    "{% for t in tools %}{{ '\\n' }}{{ t | tojson }}{% endfor %}"                                  \
    "{{ '\\n</tools>\\nCall with <tool_call>\\n{\"name\": ..., \"arguments\": ...}\\n</tool_call>" \
    "<|im_end|>\\n' }}{% endif %}"                                                                 \
    "{% for m in messages %}"                                                                      \
    "{% if m.role == 'system' and loop.first and tools %}"                                         \
    "{% elif m.role == 'tool' %}"                                                                  \
    "{{ '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' " \
    "}}"                                                                                           \
    "{% elif m.role == 'assistant' %}"                                                             \
    "{{ '<|im_start|>assistant\\n' }}"                                                             \
    "{% if m.reasoning_content and loop.index0 > ns.last %}"                                       \
    "{{ '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' }}{% endif %}{{ m.content }}"     \
    "{% for c in m.tool_calls or [] %}{% if m.content or not loop.first %}{{ '\\n' }}{% endif %}"  \
    "{{ '<tool_call>\\n{\"name\": \"' + c.function.name + '\", \"arguments\": ' }}"                \
    "{{ c.function.arguments | tojson }}{{ '}\\n</tool_call>' }}{% endfor %}"                      \
    "{{ '<|im_end|>\\n' }}"                                                                        \
    "{% else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}"     \
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"                   \
    "{% if enable_thinking is defined and not enable_thinking %}"                                  \
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"

/* Arguments as tags, one each, as coder models write them. */
#define FIXTURE_TAGGED                                                                             \
    "{% if tools %}{{ '<|im_start|>system\\n<tools>' }}{% for t in tools %}{{ '\\n' }}"            \
    "{{ t | tojson }}{% endfor %}{{ '\\n</tools><|im_end|>\\n' }}{% endif %}"                      \
    "{% for m in messages %}"                                                                      \
    "{% if m.role == 'assistant' and m.tool_calls %}"                                              \
    "{{ '<|im_start|>assistant\\n' + m.content }}"                                                 \
    "{% for c in m.tool_calls %}"                                                                  \
    "{{ '\\n<tool_call>\\n<function=' + c.function.name + '>\\n' }}"                               \
    "{% for k, v in c.function.arguments | items %}"                                               \
    "{{ '<parameter=' + k + '>\\n' }}{{ v if v is string else v | tojson }}"                       \
    "{{ '\\n</parameter>\\n' }}{% endfor %}"                                                       \
    "{{ '</function>\\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\\n' }}"                          \
    "{% elif m.role == 'tool' %}"                                                                  \
    "{{ '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' " \
    "}}"                                                                                           \
    "{% else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}"     \
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

/* A tool as it stands in a request's list. */
#define FIXTURE_READ_SCHEMA                                                                        \
    "{\"type\":\"object\",\"properties\":{\"path\":{\"type\":\"string\"},\"limit\":{\"type\":"     \
    "\"integer\"}},\"required\":[\"path\"]}"
#define FIXTURE_READ_TOOL                                                                          \
    "{\"name\":\"Read\",\"description\":\"Reads.\",\"input_schema\":" FIXTURE_READ_SCHEMA "}"

/* The same tool, as the splitter takes it. */
#define FIXTURE_TOOLS                                                                              \
    (&(const struct grammar_call){{"Read", 4},                                                     \
                                  {FIXTURE_READ_SCHEMA, sizeof FIXTURE_READ_SCHEMA - 1}})
