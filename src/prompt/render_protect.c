/* render_protect -- see render_work.h: what must not be read as the template's own becomes
 * sentinels. */
#include <stdio.h>

#include "base/hash.h"
#include "base/limits.h"
#include "prompt/render_work.h"
#include "wire/json_in.h"
#include "wire/json_out.h"

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
    to->reasoning = protect_content(
        w, (struct slot){.value = from->reasoning, .may_vanish = true, .is_reasoning = true}, true);
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

enum status render_protect(struct work *w, const struct canon *c)
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
