/* render -- see render.h.
 *
 * The steps of render_prompt: protect (contents and hostile strings become sentinels), chat_render,
 * cut (the text at the sentinels, each piece to tokens).  A sentinel is "Pv", a nonce of this
 * render that nobody outside can guess, and six digits: letters and digits only, so that no
 * template and no JSON writer changes it. */
#include "prompt/render.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "prompt/control.h"
#include "prompt/text_tools.h"
#include "prompt/token_cache.h"
#include "wire/json_in.h"
#include "wire/json_out.h"

enum {
    CACHE_BYTES = 48 * 1024 * 1024,
    NONCE_BYTES = 2 + 24, /* "Pv" and random_id's letters */
    MARK_BYTES = NONCE_BYTES + 6,
    MOST_SLOTS = 999999,
};

struct render {
    const struct model *model;
    struct chat_template *chat;
    struct token_cache *cache;
    struct control *control;
    bool trims_user, trims_assistant;
};

/* What stands behind one sentinel. */
struct slot {
    struct str value;
    bool is_leaf;    /* a string inside JSON: escaped where the template put it between quotes */
    bool may_vanish; /* some templates drop it, as reasoning of earlier turns: not an error */
    bool joins_next; /* tokenised together with the template's text behind it */
    bool was_found;
};

/* One render under way. */
struct work {
    struct render *r;
    struct arena arena;
    char nonce[NONCE_BYTES + 1];
    struct slot *slots; /* arena, n_slots of capacity */
    size_t n_slots, capacity;
    bool is_full;         /* the arena or the slots ran out */
    bool breaks_controls; /* the fallback: contents stay, their control tokens are broken */
    bool changed_schemas; /* the listed tools are not quite the ones that may be called */
    struct chat_message *messages;
    struct chat_tool *tools;
};

/* ---- Control tokens in foreign text ---- */

/* The fallback's form of a hostile text: broken up, it is no control token for the tokenizer. */
static struct str break_controls(struct work *w, struct str text)
{
    if (!control_stands_in(w->r->control, text))
        return text;
    struct strbuf out;
    strbuf_init(&out, LIMIT_PROMPT_BYTES);
    control_break(w->r->control, text, &out);
    struct str broken = arena_str(&w->arena, strbuf_str(&out));
    w->is_full |= broken.ptr == NULL || out.failed;
    strbuf_free(&out);
    return broken;
}

/* ---- Sentinels ---- */

/* A sentinel that stands for `value`. */
static struct str put_slot(struct work *w, struct slot slot)
{
    if (w->n_slots == w->capacity) {
        size_t capacity = w->capacity == 0 ? 256 : w->capacity * 2;
        struct slot *grown = arena_array(&w->arena, capacity, sizeof *grown);
        if (grown == NULL || capacity > MOST_SLOTS) {
            w->is_full = true;
            return slot.value;
        }
        if (w->n_slots > 0)
            memcpy(grown, w->slots, w->n_slots * sizeof *grown);
        w->slots = grown;
        w->capacity = capacity;
    }
    char mark[MARK_BYTES + 8];
    snprintf(mark, sizeof mark, "%s%06zu", w->nonce, w->n_slots);
    w->slots[w->n_slots++] = slot;
    struct str copy = arena_str(&w->arena, str_from(mark));
    w->is_full |= copy.ptr == NULL;
    return copy;
}

static struct str protect_content(struct work *w, struct slot slot, bool trims)
{
    if (trims)
        slot.value = str_trim(slot.value);
    if (slot.value.len == 0)
        return slot.value; /* templates test for it */
    return w->breaks_controls ? break_controls(w, slot.value) : put_slot(w, slot);
}

/* A name, a key or another string among the template's own text: most are harmless, and are left as
 * they are, so that the model sees the tokens that it would write itself. */
static struct str protect_string(struct work *w, struct str s)
{
    if (!control_stands_in(w->r->control, s))
        return s;
    return w->breaks_controls ? break_controls(w, s)
                              : put_slot(w, (struct slot){.value = s, .is_leaf = true});
}

static void protect_value(struct work *w, struct json_out *out, const struct json *v);

static void protect_members(struct work *w, struct json_out *out, const struct json *v)
{
    bool is_object = json_type(v) == JSON_OBJECT;
    struct strbuf key;
    strbuf_init(&key, LIMIT_REQUEST_ARENA_BYTES);
    if (is_object)
        json_object_begin(out);
    else
        json_array_begin(out);
    for (struct json_iter it = json_iter(v); json_next(&it);) {
        if (is_object) {
            strbuf_clear(&key);
            json_escape(&key, protect_string(w, it.key));
            json_key(out, strbuf_cstr(&key));
        }
        protect_value(w, out, it.value);
    }
    strbuf_free(&key);
    if (is_object)
        json_object_end(out);
    else
        json_array_end(out);
}

/* Depth is bounded by LIMIT_JSON_DEPTH, which the parser has checked. */
static void protect_value(struct work *w, struct json_out *out, const struct json *v)
{
    switch (json_type(v)) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        protect_members(w, out, v);
        return;
    case JSON_STRING:
        json_str(out, protect_string(w, json_string(v)));
        return;
    default: {
        struct strbuf plain;
        strbuf_init(&plain, 4096);
        json_print(&plain, v);
        json_raw(out, strbuf_str(&plain));
        strbuf_free(&plain);
        return;
    }
    }
}

/* JSON text whose hostile strings are sentinels. */
static struct str protect_json(struct work *w, struct str json)
{
    if (!control_stands_in(w->r->control, json))
        return json;
    struct json_doc *doc;
    if (json_parse_copy(json, JSON_STRICT, &doc, NULL) != STATUS_OK)
        return break_controls(w, json);
    struct strbuf text;
    strbuf_init(&text, LIMIT_REQUEST_ARENA_BYTES);
    struct json_out out;
    size_t first = w->n_slots;
    json_out_begin(&out, &text);
    protect_value(w, &out, json_root(doc));
    json_out_end(&out);
    /* The new slots point into the document: what they hold is copied before it goes. */
    for (size_t i = first; i < w->n_slots; i++) {
        w->slots[i].value = arena_str(&w->arena, w->slots[i].value);
        w->is_full |= w->slots[i].value.ptr == NULL;
    }
    struct str copy = arena_str(&w->arena, strbuf_str(&text));
    w->is_full |= copy.ptr == NULL || text.failed;
    strbuf_free(&text);
    json_doc_free(doc);
    return copy;
}

/* How the content of `m` is treated.  User text and results must come through.  Some templates show
 * system text only in some places, and not what the assistant says beside its calls.
 *
 * What the assistant said goes together with the mark behind it (the end of the turn, or a call),
 * as it was one text when it was sampled: then the tokens are the same, and found in the pool. */
static struct slot content_slot(const struct work *w, const struct chat_message *m)
{
    bool is_assistant = strcmp(m->role, "assistant") == 0;
    return (struct slot){
        .value = m->content,
        .is_leaf = strcmp(m->role, "tool") == 0, /* some templates show results as JSON */
        .may_vanish = strcmp(m->role, "system") == 0 || (is_assistant && m->n_calls > 0),
        .joins_next =
            is_assistant && !w->breaks_controls && !control_stands_in(w->r->control, m->content),
    };
}

static void protect_message(struct work *w, const struct chat_message *from,
                            struct chat_message *to)
{
    bool is_assistant = strcmp(from->role, "assistant") == 0;
    *to = *from;
    to->content = protect_content(w, content_slot(w, from),
                                  is_assistant ? w->r->trims_assistant : w->r->trims_user);
    to->reasoning =
        protect_content(w, (struct slot){.value = from->reasoning, .may_vanish = true}, true);
    to->tool_name = protect_string(w, from->tool_name);
    if (from->n_calls == 0)
        return;
    struct chat_call *calls = arena_array(&w->arena, from->n_calls, sizeof *calls);
    if (calls == NULL) {
        w->is_full = true;
        return;
    }
    for (size_t i = 0; i < from->n_calls; i++) {
        calls[i] = from->calls[i];
        calls[i].name = protect_string(w, from->calls[i].name);
        calls[i].arguments_json = protect_json(w, from->calls[i].arguments_json);
    }
    to->calls = calls;
}

static void protect_tool(struct work *w, const struct chat_tool *from, struct chat_tool *to)
{
    size_t before = w->n_slots;
    to->name = protect_string(w, from->name);
    to->schema_json = protect_json(w, from->schema_json);
    to->grammar_json = from->grammar_json;
    w->changed_schemas |= w->n_slots > before || w->breaks_controls;
    to->description = protect_string(w, from->description);
}

static enum status protect(struct work *w, const struct canon *c)
{
    random_id(w->nonce, sizeof w->nonce, "Pv");
    w->messages = arena_array(&w->arena, c->n_messages, sizeof *w->messages);
    w->tools = arena_array(&w->arena, c->n_tools, sizeof *w->tools);
    if (w->messages == NULL || w->tools == NULL)
        return STATUS_TOO_LARGE;
    for (size_t i = 0; i < c->n_messages; i++)
        protect_message(w, &c->messages[i], &w->messages[i]);
    size_t first = w->n_slots;
    for (size_t i = 0; i < c->n_tools; i++)
        protect_tool(w, &c->tools[i], &w->tools[i]);
    for (size_t i = first; i < w->n_slots; i++)
        w->slots[i].may_vanish = true; /* templates leave parts of tools out */
    return w->is_full ? STATUS_TOO_LARGE : STATUS_OK;
}

/* ---- The cut ---- */

struct token_list {
    model_token *tokens;
    size_t n, capacity;
};

static enum status add_tokens(struct work *w, struct token_list *list, struct str text,
                              bool parse_special)
{
    if (text.len == 0)
        return STATUS_OK;
    return token_cache_append(w->r->cache, w->r->model, text, parse_special, &list->tokens,
                              &list->n, &list->capacity);
}

/* The number behind a nonce at text[at..), or MOST_SLOTS where there is none. */
static size_t slot_at(const struct work *w, struct str text, size_t at)
{
    if (text.len - at < MARK_BYTES)
        return MOST_SLOTS;
    size_t index = 0;
    for (size_t i = NONCE_BYTES; i < MARK_BYTES; i++) {
        char digit = text.ptr[at + i];
        if (digit < '0' || digit > '9')
            return MOST_SLOTS;
        index = index * 10 + (size_t)(digit - '0');
    }
    return index < w->n_slots ? index : MOST_SLOTS;
}

static enum status add_escaped(struct work *w, struct token_list *list, struct str value)
{
    struct strbuf escaped;
    strbuf_init(&escaped, LIMIT_PROMPT_BYTES);
    json_escape(&escaped, value);
    enum status st = strbuf_status(&escaped);
    if (st == STATUS_OK)
        st = add_tokens(w, list, strbuf_str(&escaped), false);
    strbuf_free(&escaped);
    return st;
}

/* `value` and the template's text behind it, as one piece. */
static enum status add_joined(struct work *w, struct token_list *list, struct str value,
                              struct str behind)
{
    struct strbuf whole;
    strbuf_init(&whole, LIMIT_PROMPT_BYTES);
    strbuf_append_str(&whole, value);
    strbuf_append_str(&whole, behind);
    enum status st = strbuf_status(&whole);
    if (st == STATUS_OK)
        st = add_tokens(w, list, strbuf_str(&whole), true);
    strbuf_free(&whole);
    return st;
}

/* The slot whose sentinel stands at `at`, and the template's text from behind it up to `end`. */
static enum status add_slot(struct work *w, struct token_list *list, struct str text, size_t at,
                            size_t end)
{
    struct slot *slot = &w->slots[slot_at(w, text, at)];
    struct str behind = {text.ptr + at + MARK_BYTES, end - at - MARK_BYTES};
    slot->was_found = true;
    if (slot->joins_next)
        return add_joined(w, list, slot->value, behind);

    bool is_quoted = at > 0 && text.ptr[at - 1] == '"' && behind.len > 0 && behind.ptr[0] == '"';
    enum status st = slot->is_leaf && is_quoted ? add_escaped(w, list, slot->value)
                                                : add_tokens(w, list, slot->value, false);
    return st == STATUS_OK ? add_tokens(w, list, behind, true) : st;
}

/* Where the next sentinel at or behind `from` begins, or the end of the text. */
static size_t next_mark(const struct work *w, struct str text, size_t from)
{
    struct str nonce = {w->nonce, NONCE_BYTES};
    while (from < text.len) {
        size_t found = str_find((struct str){text.ptr + from, text.len - from}, nonce);
        if (found == SIZE_MAX)
            break;
        if (slot_at(w, text, from + found) != MOST_SLOTS)
            return from + found;
        from += found + 1;
    }
    return text.len;
}

static enum status cut(struct work *w, struct str text, struct token_list *list)
{
    const struct model_info *info = &w->r->model->info;
    enum status st = STATUS_OK;
    struct str bos = str_from(info->bos_text);
    if (info->bos != MODEL_NO_TOKEN && !(bos.len > 0 && str_starts_with(text, bos)))
        st = add_tokens(w, list, bos, true);

    size_t at = next_mark(w, text, 0);
    if (st == STATUS_OK)
        st = add_tokens(w, list, (struct str){text.ptr, at}, true);
    while (st == STATUS_OK && at < text.len) {
        size_t end = next_mark(w, text, at + MARK_BYTES);
        st = add_slot(w, list, text, at, end);
        at = end;
    }
    return st;
}

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
    enum status st = protect(&w, c);
    if (st != STATUS_OK) {
        error_set(err, st, "the conversation is too large to render");
        goto out;
    }
    st = write_text(&w, c, purpose, &out->chat, err);
    if (st != STATUS_OK)
        goto out;
    st = cut(&w, (struct str){out->chat.text, out->chat.len}, &list);
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
    *out = r;
    return STATUS_OK;
}

void render_destroy(struct render *r)
{
    if (r == NULL)
        return;
    control_destroy(r->control);
    token_cache_destroy(r->cache);
    chat_template_free(r->chat);
    mem_free(r);
}

const struct chat_caps *render_caps(const struct render *r)
{
    return chat_template_get_caps(r->chat);
}
