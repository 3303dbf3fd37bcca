/* anthropic_read_documents -- blocks that hold foreign text with a title: documents, search
 * results.
 *
 * The model reads them as one text: what names the text, a line each, a blank line, the text.
 * Nothing is cited: the `citations` of both are ignored (docs/API.md). */
#include "api/anthropic_read_fields.h"
#include "base/limits.h"
#include "base/strbuf.h"

/* A document under way. */
struct writer {
    const struct reader *r;
    struct strbuf text;
};

static void writer_begin(struct writer *w, const struct reader *r)
{
    w->r = r;
    strbuf_init(&w->text, LIMIT_REQUEST_ARENA_BYTES);
}

static void add_line(struct writer *w, struct str line)
{
    if (line.len == 0)
        return;
    strbuf_append_str(&w->text, line);
    strbuf_append_char(&w->text, '\n');
}

/* A part of the text itself, with a blank line before it where anything stands there. */
static void add_part(struct writer *w, struct str part)
{
    if (part.len == 0)
        return;
    bool ends_line = w->text.len > 0 && w->text.data[w->text.len - 1] == '\n';
    if (w->text.len > 0)
        strbuf_append_cstr(&w->text, ends_line ? "\n" : "\n\n");
    strbuf_append_str(&w->text, part);
}

/* The whole becomes the block's text, where nothing has failed; the writer is done with. */
static enum status writer_end(struct writer *w, enum status st, struct block *b)
{
    b->type = BLOCK_TEXT;
    b->text = STR("");
    if (st == STATUS_OK && w->text.len > 0)
        b->text = w->text.failed ? (struct str){0} : arena_str(w->r->arena, strbuf_str(&w->text));
    strbuf_free(&w->text);
    return st == STATUS_OK && b->text.ptr == NULL ? too_large(w->r) : st;
}

/* Text, or blocks of text, or of what a note stands for. */
static enum status add_content(struct writer *w, const struct json *content,
                               const struct json_path *at)
{
    struct block *blocks;
    size_t n;
    enum status st = read_content(w->r, content, at, PLACE_DOCUMENT, &blocks, &n);
    for (size_t i = 0; st == STATUS_OK && i < n; i++)
        add_part(w, blocks[i].text);
    return st;
}

/* title and context, which either may lack. */
static enum status add_names(struct writer *w, const struct json *v, const struct json_path *at)
{
    struct str title, context;
    enum status st = read_string(w->r, v, at, "title", OPTIONAL, &title);
    if (st == STATUS_OK)
        st = read_string(w->r, v, at, "context", OPTIONAL, &context);
    if (st == STATUS_OK) {
        add_line(w, title);
        add_line(w, context);
    }
    return st;
}

static enum status add_source(struct writer *w, const struct json *source, bool is_text,
                              const struct json_path *at)
{
    if (is_text) {
        struct str data;
        enum status st = read_string(w->r, source, at, "data", REQUIRED, &data);
        if (st == STATUS_OK)
            add_part(w, data);
        return st;
    }
    const struct json *content = json_get(source, "content");
    struct json_path here = {.parent = at, .key = "content"};
    if (content == NULL)
        return fail_at(w->r, at, "content", "Field required");
    return add_content(w, content, &here);
}

enum status read_document(const struct reader *r, const struct json *v, const struct json_path *at,
                          struct block *b)
{
    const struct json *source;
    enum status st = read_object(r, v, at, "source", REQUIRED, &source);
    if (st != STATUS_OK)
        return st;
    struct str type = json_string(json_get(source, "type"));
    bool is_text = str_is(type, "text");
    if (!is_text && !str_is(type, "content"))
        return read_as_note(r, b, "A document", json_string(json_get(source, "media_type")),
                            "this server cannot read such documents");
    struct json_path here = {.parent = at, .key = "source"};
    struct writer w;
    writer_begin(&w, r);
    st = add_names(&w, v, at);
    if (st == STATUS_OK)
        st = add_source(&w, source, is_text, &here);
    return writer_end(&w, st, b);
}

enum status read_search_result(const struct reader *r, const struct json *v,
                               const struct json_path *at, struct block *b)
{
    struct str title, source;
    const struct json *content;
    struct json_path here = {.parent = at, .key = "content"};
    enum status st = read_string(r, v, at, "title", REQUIRED, &title);
    if (st == STATUS_OK)
        st = read_string(r, v, at, "source", REQUIRED, &source);
    if (st == STATUS_OK)
        st = read_list(r, v, at, "content", REQUIRED, LIMIT_JSON_VALUES, &content);
    if (st != STATUS_OK)
        return st;
    struct writer w;
    writer_begin(&w, r);
    add_line(&w, title);
    add_line(&w, source);
    return writer_end(&w, add_content(&w, content, &here), b);
}
