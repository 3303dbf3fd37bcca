#include "engine/choices.h"

#include "base/hash.h"
#include "base/limits.h"
#include "base/strbuf.h"

/* Words, told by their first byte: a call begins with a mark, a fence or a bracket. */
#define WORDS_GRAMMAR "root ::= [^{}<>`|\\x00-\\x20\\[\\]] [\\U00000001-\\U0010FFFF]*"

/* Work with tools is copying: names, paths and results to the letter.  The repetition penalty is
 * off there, and a client that says nothing of the temperature gets one at which the likeliest word
 * nearly always comes. */
static const float TOOLS_TEMPERATURE = 0.2F;

struct sampler_params choose_sampling(const struct sampler_params *recommended,
                                      const struct message_request *req)
{
    struct sampler_params p = *recommended;
    if (req->sampling.temperature >= 0)
        p.temperature = req->sampling.temperature;
    if (req->sampling.top_p > 0)
        p.top_p = req->sampling.top_p;
    if (req->sampling.top_k >= 0)
        p.top_k = req->sampling.top_k;
    if (req->n_tools > 0) {
        p.repeat_penalty = 1;
        if (req->sampling.temperature < 0 && p.temperature > TOOLS_TEMPERATURE)
            p.temperature = TOOLS_TEMPERATURE;
    }
    random_bytes(&p.seed, sizeof p.seed);
    return p;
}

struct grammar_spec choose_grammar(const struct chat_prompt *chat, const struct grammar_call *tools,
                                   size_t n, bool must_use_words)
{
    if (must_use_words)
        return (struct grammar_spec){.text = STR(WORDS_GRAMMAR)};
    struct grammar_spec spec = chat->grammar;
    size_t n_bytes = 0;
    for (size_t i = 0; i < n; i++)
        n_bytes += tools[i].schema_json.len + tools[i].name.len;
    if (n == 0 || n_bytes > LIMIT_GRAMMAR_BYTES)
        return spec;
    spec.calls = tools;
    spec.n_calls = n;
    spec.thinking_start = str_from(chat->thinking_start);
    spec.thinking_end = str_from(chat->thinking_end);
    spec.begins_in_thinking = chat_begins_in_thinking(chat);
    return spec;
}

/* Of what a client asks for, the least: its budget, and what its effort allows. */
static uint32_t thinking_budget(const struct message_request *req)
{
    enum { LOW_TOKENS = 1024, MEDIUM_TOKENS = 4096 };
    uint32_t most = req->effort == EFFORT_LOW      ? LOW_TOKENS
                    : req->effort == EFFORT_MEDIUM ? MEDIUM_TOKENS
                                                   : UINT32_MAX;
    bool has_budget = req->thinking == THINKING_ENABLED;
    return has_budget && req->thinking_budget_tokens < most ? req->thinking_budget_tokens : most;
}

enum status choose_thinking_limit(const struct model *m, const struct chat_prompt *chat,
                                  const struct message_request *req, bool may_call,
                                  struct thinking_limit *out)
{
    *out = (struct thinking_limit){.budget = thinking_budget(req)};
    bool is_held_to_schema = req->output_schema_json.len > 0 && !may_call; /* from its start */
    if (chat->thinking_end[0] == '\0' || out->budget == UINT32_MAX || is_held_to_schema)
        return STATUS_OK;
    out->start = str_from(chat->thinking_start);
    out->end = str_from(chat->thinking_end);
    out->begins_inside = chat_begins_in_thinking(chat);
    struct strbuf text;
    strbuf_init(&text, LIMIT_STOP_SEQUENCE_BYTES);
    strbuf_printf(&text, "\n%s\n\n", chat->thinking_end);
    model_token *closing = NULL;
    enum status st = text.failed
                         ? STATUS_TOO_LARGE
                         : model_tokenize(m, strbuf_str(&text), true, &closing, &out->n_closing);
    out->closing = closing;
    strbuf_free(&text);
    return st;
}

/* It is what the template wrote for this turn; in formats with channels it also stands inside
 * replies. */
model_token choose_turn_begin(const struct model *m, const struct chat_prompt *chat)
{
    struct str written = str_from(chat->generation_prompt);
    if (str_find(str_from(chat->text), STR("<|channel")) != SIZE_MAX)
        return MODEL_NO_TOKEN;
    model_token *tokens;
    size_t n;
    if (written.len == 0 || model_tokenize(m, written, true, &tokens, &n) != STATUS_OK)
        return MODEL_NO_TOKEN;
    model_token first = n > 0 && m->ops->is_control(m, tokens[0]) ? tokens[0] : MODEL_NO_TOKEN;
    mem_free(tokens);
    return first;
}
