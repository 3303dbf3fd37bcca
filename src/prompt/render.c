/* render -- see render.h.
 *
 * The steps of render_prompt: render_protect (contents and hostile strings become sentinels),
 * chat_render, render_cut (the text at the sentinels, each piece to tokens). */
#include "prompt/render.h"

#include "base/limits.h"
#include "base/log.h"
#include "prompt/render_work.h"
#include "prompt/text_tools.h"

enum { CACHE_BYTES = 48 * 1024 * 1024 };

/* Nothing that the client said may be missing from the prompt. */
static bool all_found(const struct work *w)
{
    for (size_t i = 0; i < w->n_slots; i++)
        if (!w->slots[i].was_found && !w->slots[i].may_vanish)
            return false;
    return true;
}

/* ---- What the reply is held to ---- */

static bool same_tools(const struct canon *c)
{
    if (c->n_callable != c->n_tools)
        return false;
    for (size_t i = 0; i < c->n_tools; i++)
        if (!str_equal(c->callable[i].name, c->tools[i].name))
            return false;
    return true;
}

static void swap_prompts(struct chat_prompt *a, struct chat_prompt *b)
{
    struct chat_prompt t = *a;
    *a = *b;
    *b = t;
}

static void replace_grammar(struct chat_prompt *p, const struct grammar_spec *grammar)
{
    struct chat_prompt old = {.grammar = p->grammar};
    p->grammar = *grammar;
    chat_prompt_free(&old);
}

/* Where other tools may be called than are listed (loaded ones, or the one that tool_choice names),
 * grammar and parser come from a second rendering of the last words only. */
static enum status use_callable(struct render *r, const struct canon *c, bool changed_schemas,
                                struct rendered *out, struct error *err)
{
    if (c->text_tools) {
        struct grammar_spec grammar = {0};
        if (c->n_callable > 0 && c->tool_choice != CHAT_TOOLS_NONE)
            text_tools_grammar(c->callable, c->n_callable, c->tool_choice == CHAT_TOOLS_REQUIRED,
                               c->parallel_calls, &grammar);
        if (grammar.text.len > 0)
            replace_grammar(&out->chat, &grammar);
        return STATUS_OK;
    }
    if ((same_tools(c) && !changed_schemas) || c->tool_choice == CHAT_TOOLS_NONE)
        return STATUS_OK;
    struct chat_message ask = {.role = "user", .content = STR("?")};
    struct chat_inputs in = {
        .messages = &ask,
        .n_messages = 1,
        .tools = c->callable,
        .n_tools = c->n_callable,
        .tool_choice = c->tool_choice,
        .parallel_calls = c->parallel_calls,
        .enable_thinking = c->enable_thinking,
        .json_schema = c->json_schema,
    };
    struct chat_prompt second;
    enum status st = chat_render(r->chat, &in, &second, err);
    if (st != STATUS_OK)
        return st;
    swap_prompts(&out->chat, &second); /* the first one's text has served its purpose */
    chat_prompt_free(&second);
    return STATUS_OK;
}

/* ---- The whole ---- */

/* What a rendering is for: to be answered (with the text goes how the reply is read), or only to
 * count its tokens, which costs much less. */
enum purpose { TO_ANSWER, TO_COUNT };

static enum status write_text(struct work *w, const struct canon *c, enum purpose purpose,
                              struct chat_prompt *out, struct error *err)
{
    struct chat_inputs in = {
        .messages = w->messages,
        .n_messages = c->n_messages,
        .tools = w->tools,
        .n_tools = c->n_tools,
        .tool_choice = c->tool_choice,
        .parallel_calls = c->parallel_calls,
        .enable_thinking = c->enable_thinking,
        .json_schema = c->json_schema,
        .continue_last = c->continue_last,
    };
    if (purpose == TO_ANSWER)
        return chat_render(w->r->chat, &in, out, err);
    struct strbuf text;
    strbuf_init(&text, LIMIT_PROMPT_BYTES);
    enum status st = chat_render_text(w->r->chat, &in, &text, err);
    if (st == STATUS_OK)
        out->text = strbuf_detach(&text, &out->len);
    strbuf_free(&text);
    return st;
}

static enum status render_once(struct render *r, const struct canon *c, enum purpose purpose,
                               bool breaks_controls, bool *out_is_whole, struct rendered *out,
                               struct error *err)
{
    struct work w = {.r = r, .breaks_controls = breaks_controls};
    arena_init(&w.arena, LIMIT_REQUEST_ARENA_BYTES);
    struct token_list list = {0};
    *out = (struct rendered){0};
    enum status st = render_protect(&w, c);
    if (st != STATUS_OK) {
        error_set(err, st, "the conversation is too large to render");
        goto out;
    }
    st = write_text(&w, c, purpose, &out->chat, err);
    if (st != STATUS_OK)
        goto out;
    st = render_cut(&w, c, (struct str){out->chat.text, out->chat.len}, &list);
    if (st != STATUS_OK) {
        error_set(err, st, "the conversation is too large to tokenise");
        goto out;
    }
    *out_is_whole = all_found(&w);
    if (purpose == TO_ANSWER)
        st = use_callable(r, c, w.changed_schemas, out, err);

out:
    arena_free(&w.arena);
    out->tokens = list.tokens;
    out->n_tokens = list.n;
    if (st != STATUS_OK)
        rendered_free(out);
    return st;
}

static enum status render_for(struct render *r, const struct canon *c, enum purpose purpose,
                              struct rendered *out, struct error *err)
{
    bool is_whole = false;
    enum status st = render_once(r, c, purpose, false, &is_whole, out, err);
    if (st == STATUS_OK && is_whole)
        return STATUS_OK;
    if (st == STATUS_OK) {
        log_debug("render: the template breaks sentinels; contents are rendered in place");
        rendered_free(out);
    } else if (st != STATUS_UNSUPPORTED) {
        return st;
    }
    return render_once(r, c, purpose, true, &is_whole, out, err);
}

enum status render_prompt(struct render *r, const struct canon *c, struct rendered *out,
                          struct error *err)
{
    return render_for(r, c, TO_ANSWER, out, err);
}

enum status render_count(struct render *r, const struct canon *c, size_t *out_n_tokens,
                         struct error *err)
{
    struct rendered rendered;
    enum status st = render_for(r, c, TO_COUNT, &rendered, err);
    if (st != STATUS_OK)
        return st;
    *out_n_tokens = rendered.n_tokens;
    rendered_free(&rendered);
    return STATUS_OK;
}

void rendered_free(struct rendered *r)
{
    mem_free(r->tokens);
    chat_prompt_free(&r->chat);
    *r = (struct rendered){0};
}

/* ---- Birth ---- */

/* Whether the template trims the contents of `role`. */
static bool trims_role(struct render *r, const char *role)
{
    struct chat_message messages[] = {
        {.role = "user", .content = STR("a")},
        {.role = role, .content = STR("  PROBE  ")},
        {.role = "user", .content = STR("b")},
    };
    bool is_user = strcmp(role, "user") == 0;
    struct chat_inputs in = {.messages = is_user ? messages + 1 : messages,
                             .n_messages = is_user ? 1 : 3};
    struct chat_prompt p;
    if (chat_render(r->chat, &in, &p, NULL) != STATUS_OK)
        return false;
    struct str text = {p.text, p.len};
    bool trims =
        str_find(text, STR("  PROBE  ")) == SIZE_MAX && str_find(text, STR("PROBE")) != SIZE_MAX;
    chat_prompt_free(&p);
    return trims;
}

enum status render_create(const struct model *m, struct render **out, struct error *err)
{
    struct render *r = mem_zalloc(sizeof *r);
    r->model = m;
    enum status st = chat_template_create(m->info.chat_template, m->info.bos_text, m->info.eos_text,
                                          &r->chat, err);
    if (st != STATUS_OK) {
        mem_free(r);
        return st;
    }
    r->cache = token_cache_create(CACHE_BYTES);
    r->control = control_create(m);
    r->trims_user = trims_role(r, "user");
    r->trims_assistant = trims_role(r, "assistant");
    reply_marks_find(r, &r->marks);
    *out = r;
    return STATUS_OK;
}

void render_destroy(struct render *r)
{
    if (r == NULL)
        return;
    reply_marks_free(&r->marks);
    control_destroy(r->control);
    token_cache_destroy(r->cache);
    chat_template_free(r->chat);
    mem_free(r);
}

void render_use_turnmem(struct render *r, struct turnmem *turnmem)
{
    r->turnmem = turnmem;
}

const struct chat_caps *render_caps(const struct render *r)
{
    return chat_template_get_caps(r->chat);
}
