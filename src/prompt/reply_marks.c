/* reply_marks -- see render_work.h: how a template writes replies, by trial. */
#include "prompt/render_work.h"

static struct str copy_str(struct str s)
{
    char *copy = mem_alloc(s.len + 1);
    memcpy(copy, s.ptr, s.len);
    return (struct str){copy, s.len};
}

/* Behind what was found before, where it goes on from there. */
static void add_opening(struct reply_marks *marks, struct str opening)
{
    struct str last = marks->openings[marks->n_openings - 1];
    if (opening.len > last.len && str_starts_with(opening, last))
        marks->openings[marks->n_openings++] = copy_str(opening);
}

static bool ends_with(struct str s, struct str end)
{
    return s.len >= end.len && memcmp(s.ptr + s.len - end.len, end.ptr, end.len) == 0;
}

/* What a template that reasons opens a reply with, in order of length. */
static void find_longer_openings(const struct render *r, struct reply_marks *out)
{
    struct chat_message ask = {.role = "user", .content = STR("a")};
    struct chat_prompt prompts[2];
    size_t n = 0;
    for (int thinks = 0; thinks < 2; thinks++) {
        struct chat_inputs in = {.messages = &ask, .n_messages = 1, .enable_thinking = thinks == 1};
        n += chat_render(r->chat, &in, &prompts[n], NULL) == STATUS_OK;
    }
    bool is_first_longer =
        n == 2 && strlen(prompts[0].generation_prompt) > strlen(prompts[1].generation_prompt);
    for (size_t i = 0; i < n; i++)
        add_opening(out, str_from(prompts[is_first_longer ? 1 - i : i].generation_prompt));
    for (size_t i = 0; i < n; i++)
        chat_prompt_free(&prompts[i]);
}

/* The text of the control token that `text` begins with, but for blanks; "" where it does not. */
static struct str find_end(const struct render *r, struct str text, struct strbuf *piece)
{
    model_token *tokens;
    size_t n;
    text = str_trim(text);
    if (text.len == 0 || model_tokenize(r->model, text, true, &tokens, &n) != STATUS_OK)
        return (struct str){0};
    if (n > 0 && r->model->ops->is_control(r->model, tokens[0]))
        r->model->ops->piece(r->model, tokens[0], true, piece);
    mem_free(tokens);
    return str_starts_with(text, strbuf_str(piece)) ? strbuf_str(piece) : (struct str){0};
}

/* From a conversation with a reply in its middle: of what opens a reply, as much as stands before
 * that one; and what stands behind it. */
static void find_in_history(const struct render *r, struct reply_marks *out)
{
    enum { MOST_PIECE_BYTES = 256 };
    struct str said = STR("PROBE");
    struct chat_message messages[] = {
        {.role = "user", .content = STR("a")},
        {.role = "assistant", .content = said},
        {.role = "user", .content = STR("b")},
    };
    struct chat_inputs in = {.messages = messages, .n_messages = 3};
    struct chat_prompt p;
    struct strbuf piece;
    if (chat_render(r->chat, &in, &p, NULL) != STATUS_OK)
        return;
    strbuf_init(&piece, MOST_PIECE_BYTES);
    struct str text = {p.text, p.len}, opening = str_from(p.generation_prompt);
    size_t at = str_find(text, said);
    if (at != SIZE_MAX) {
        while (opening.len > 0 && !ends_with((struct str){text.ptr, at}, opening))
            opening.len--;
        size_t behind = at + said.len;
        struct str end = find_end(r, (struct str){text.ptr + behind, text.len - behind}, &piece);
        if (end.len > 0 && control_stands_in(r->control, opening)) {
            out->openings[out->n_openings++] = copy_str(opening);
            out->end = copy_str(end);
        }
    }
    strbuf_free(&piece);
    chat_prompt_free(&p);
}

void reply_marks_find(const struct render *r, struct reply_marks *out)
{
    *out = (struct reply_marks){0};
    find_in_history(r, out);
    if (out->n_openings > 0)
        find_longer_openings(r, out);
}

void reply_marks_free(struct reply_marks *m)
{
    for (size_t i = 0; i < m->n_openings; i++)
        mem_free((void *)(uintptr_t)m->openings[i].ptr);
    mem_free((void *)(uintptr_t)m->end.ptr);
    *m = (struct reply_marks){0};
}
