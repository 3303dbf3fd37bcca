#include "prompt/canon_text.h"

#include "base/limits.h"
#include "prompt/text_tools.h"

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool canon_is_blank(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_space(s.ptr[i]))
            return false;
    return true;
}

struct str canon_trim_end(struct str s)
{
    while (s.len > 0 && is_space(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

bool canon_names_error(struct str s)
{
    enum { LOOK_BYTES = 24 };
    struct str head = {s.ptr, s.len < LOOK_BYTES ? s.len : LOOK_BYTES};
    return str_find(head, STR("rror")) != SIZE_MAX;
}

void joined_init(struct joined *j)
{
    *j = (struct joined){0};
    strbuf_init(&j->buf, LIMIT_PROMPT_BYTES);
}

void joined_free(struct joined *j)
{
    strbuf_free(&j->buf);
}

void joined_clear(struct joined *j)
{
    strbuf_clear(&j->buf);
    j->n_parts = 0;
    j->is_borrowed = false;
}

/* Moves a borrowed part into the buffer and sets the gap before the next one. */
static void make_room(struct joined *j)
{
    if (j->is_borrowed) {
        strbuf_append_str(&j->buf, j->only);
        j->is_borrowed = false;
    }
    if (j->n_parts > 0)
        strbuf_append_cstr(&j->buf, "\n\n");
}

void joined_add(struct joined *j, struct str part)
{
    if (canon_is_blank(part))
        return;
    if (j->n_parts == 0) {
        j->only = part;
        j->is_borrowed = true;
    } else {
        make_room(j);
        strbuf_append_str(&j->buf, part);
    }
    j->n_parts++;
}

void joined_add_copy(struct joined *j, struct str part)
{
    if (canon_is_blank(part))
        return;
    make_room(j);
    strbuf_append_str(&j->buf, part);
    j->n_parts++;
}

void joined_add_reference(struct joined *j, const struct message_request *req, struct str name)
{
    struct strbuf text;
    strbuf_init(&text, LIMIT_PROMPT_BYTES);
    const struct tool *found = NULL;
    for (size_t i = 0; i < req->n_tools && found == NULL; i++)
        if (str_equal(req->tools[i].name, name))
            found = &req->tools[i];
    if (found != NULL) {
        const struct chat_tool tool = {.name = found->name,
                                       .description = found->description,
                                       .schema_json = found->schema_json};
        strbuf_append_cstr(&text, "You can now call this function too:\n");
        text_tools_schema(&text, &tool);
    } else {
        strbuf_append_cstr(&text, "The tool ");
        strbuf_append_str(&text, name);
        strbuf_append_cstr(&text, " is not available.");
    }
    joined_add_copy(j, strbuf_str(&text));
    strbuf_free(&text);
}

enum status joined_take(struct joined *j, struct arena *arena, struct str *out)
{
    enum status st = strbuf_status(&j->buf);
    *out = (struct str){0};
    if (st == STATUS_OK && j->n_parts > 0) {
        *out = j->is_borrowed ? j->only : arena_str(arena, strbuf_str(&j->buf));
        if (out->ptr == NULL)
            st = STATUS_TOO_LARGE;
    }
    joined_clear(j);
    return st;
}
