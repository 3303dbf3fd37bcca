/* render_cut -- see render_work.h: the template's text to tokens.
 *
 * Borders of tokens are where a sentinel stands, and behind each opening of a reply: there the
 * prompt of the request ended to which that reply was sampled, so its tokens stay a beginning of
 * this one's. The openings hold a control token, and no content does while it is cut, so whatever
 * looks like one is the template's. */
#include "base/limits.h"
#include "prompt/render_work.h"
#include "prompt/turnmem.h"
#include "wire/json_out.h"

static enum status add_tokens(struct work *w, struct token_list *list, struct str text,
                              bool parse_special)
{
    if (text.len == 0)
        return STATUS_OK;
    return token_cache_append(w->r->cache, w->r->model, text, parse_special, list);
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

/* text[from..to): the template's words and what stands behind the sentinels among them. */
static enum status add_piece(struct work *w, struct token_list *list, struct str text, size_t from,
                             size_t to)
{
    text.len = to;
    size_t at = next_mark(w, text, from);
    enum status st = add_tokens(w, list, (struct str){text.ptr + from, at - from}, true);
    while (st == STATUS_OK && at < to) {
        size_t end = next_mark(w, text, at + MARK_BYTES);
        st = add_slot(w, list, text, at, end);
        at = end;
    }
    return st;
}

/* ---- Replies that are known again ---- */

/* Where the text of the next reply begins, right behind its opening; text.len where none does. */
static size_t next_reply(const struct work *w, struct str text, size_t from)
{
    const struct reply_marks *marks = &w->r->marks;
    if (marks->n_openings == 0)
        return text.len;
    size_t at = str_find((struct str){text.ptr + from, text.len - from}, marks->openings[0]);
    return at == SIZE_MAX ? text.len : from + at + marks->openings[0].len;
}

static bool is_assistant(const struct chat_message *m)
{
    return strcmp(m->role, "assistant") == 0;
}

/* Whether the template wrote each of the assistant's messages once, and the opening of the next:
 * then the n-th opening is the n-th message's. */
static bool shows_all_replies(const struct work *w, const struct canon *c, struct str text)
{
    size_t n_left = c->continue_last ? 0 : 1;
    for (size_t i = 0; i < c->n_messages; i++)
        n_left += is_assistant(&c->messages[i]);
    struct str opening = w->r->marks.openings[0];
    size_t at;
    while ((at = str_find(text, opening)) != SIZE_MAX && n_left > 0) {
        text = (struct str){text.ptr + at + opening.len, text.len - at - opening.len};
        n_left--;
    }
    return at == SIZE_MAX && n_left == 0;
}

/* The walk from reply to reply. */
struct replies {
    const struct canon *canon;
    bool are_known; /* which opening belongs to which message */
    size_t i_next;  /* message */
    struct turn_place place;
};

/* The message whose opening comes next; its index, or n_messages. */
static size_t take_reply(struct replies *r)
{
    const struct canon *c = r->canon;
    while (r->i_next < c->n_messages && !is_assistant(&c->messages[r->i_next]))
        r->i_next++;
    return r->i_next < c->n_messages ? r->i_next++ : c->n_messages;
}

/* The reasoning that the template shows of the reply text[from..to); false where that can't be
 * told. */
static bool find_reasoning(const struct work *w, const struct chat_message *m, struct str text,
                           size_t from, size_t to, struct str *out)
{
    *out = (struct str){0};
    if (w->breaks_controls)
        return m->reasoning.len == 0;
    text.len = to;
    for (size_t at = next_mark(w, text, from); at < to; at = next_mark(w, text, at + MARK_BYTES))
        if (w->slots[slot_at(w, text, at)].is_reasoning)
            *out = w->slots[slot_at(w, text, at)].value;
    return true;
}

/* What stands in text[from..to) is told in other tokens. */
static void skip_slots(struct work *w, struct str text, size_t from, size_t to)
{
    text.len = to;
    for (size_t at = next_mark(w, text, from); at < to; at = next_mark(w, text, at + MARK_BYTES))
        w->slots[slot_at(w, text, at)].was_found = true;
}

/* The reply of message `i` that begins at *from, as it was sampled; then *from is its end.
 * STATUS_NOT_FOUND: it has to be written anew. */
static enum status add_known(struct work *w, struct replies *replies, size_t i, struct str text,
                             size_t *from, struct token_list *list)
{
    const struct canon *c = replies->canon;
    if (!replies->are_known || i == c->n_messages || !c->replies[i].is_whole)
        return STATUS_NOT_FOUND;
    size_t n = str_find((struct str){text.ptr + *from, text.len - *from}, w->r->marks.end);
    struct str reasoning;
    if (n == SIZE_MAX || *from + n > next_reply(w, text, *from) ||
        !find_reasoning(w, &c->messages[i], text, *from, *from + n, &reasoning))
        return STATUS_NOT_FOUND;
    struct token_key key =
        turn_place_key(&replies->place, list->tokens, list->n, c->replies[i].digest, reasoning);
    enum status st = turnmem_append(w->r->turnmem, &key, list);
    if (st == STATUS_OK) {
        skip_slots(w, text, *from, *from + n);
        *from += n;
    }
    return st;
}

/* A reply may have been opened with more than every reply has: "<think>", say. */
static enum status add_reply(struct work *w, struct replies *replies, struct str text, size_t *from,
                             struct token_list *list)
{
    const struct reply_marks *marks = &w->r->marks;
    size_t i = take_reply(replies);
    enum status st = add_known(w, replies, i, text, from, list);
    for (size_t k = 1; k < marks->n_openings && st == STATUS_NOT_FOUND; k++) {
        size_t n_before = marks->openings[k - 1].len;
        struct str more = {marks->openings[k].ptr + n_before, marks->openings[k].len - n_before};
        if (!str_starts_with((struct str){text.ptr + *from, text.len - *from}, more))
            break;
        st = add_tokens(w, list, more, true);
        *from += more.len;
        if (st == STATUS_OK)
            st = add_known(w, replies, i, text, from, list);
    }
    return st == STATUS_NOT_FOUND ? STATUS_OK : st;
}

enum status render_cut(struct work *w, const struct canon *c, struct str text,
                       struct token_list *list)
{
    const struct model_info *info = &w->r->model->info;
    enum status st = STATUS_OK;
    struct str bos = str_from(info->bos_text);
    if (info->bos != MODEL_NO_TOKEN && !(bos.len > 0 && str_starts_with(text, bos)))
        st = add_tokens(w, list, bos, true);

    struct replies replies = {.canon = c};
    replies.are_known =
        w->r->turnmem != NULL && w->r->marks.n_openings > 0 && shows_all_replies(w, c, text);
    turn_place_begin(&replies.place, c->namespace_key);
    for (size_t from = 0; st == STATUS_OK && from < text.len;) {
        size_t to = next_reply(w, text, from);
        st = add_piece(w, list, text, from, to);
        from = to;
        if (st == STATUS_OK && from < text.len)
            st = add_reply(w, &replies, text, &from, list);
    }
    return st;
}
