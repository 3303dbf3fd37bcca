/* anthropic_read_results -- what servers answered inside a message of the assistant: the results of
 * tools that the client does not run, and summaries of what stood before.
 *
 * The model reads each as the text that a client's tool would have answered with. */
#include "api/anthropic_read.h"
#include "api/anthropic_read_fields.h"
#include "base/limits.h"
#include "base/strbuf.h"

/* Appends nothing where `s` is "". */
static void append_line(struct strbuf *out, const char *label, struct str s)
{
    if (s.len == 0)
        return;
    strbuf_append_cstr(out, label);
    strbuf_append_str(out, s);
    strbuf_append_char(out, '\n');
}

/* Makes of `text` the whole content of a result. */
static enum status set_text(const struct reader *r, struct strbuf *text, struct block *b)
{
    b->content = arena_array(r->arena, 1, sizeof *b->content);
    struct str kept = text->failed ? (struct str){0} : arena_str(r->arena, strbuf_str(text));
    strbuf_free(text);
    if (b->content == NULL || kept.ptr == NULL)
        return too_large(r);
    b->content[0] = (struct block){.type = BLOCK_TEXT, .text = kept};
    b->n_content = 1;
    return STATUS_OK;
}

/* {"type": "..._error", "error_code": ...}: true where `content` is one, told in `out`. */
static bool tell_failure(const struct json *content, struct strbuf *out)
{
    struct str code = json_string(json_get(content, "error_code"));
    if (code.len == 0)
        return false;
    append_line(out, "The tool failed: ", code);
    append_line(out, "", json_string(json_get(content, "error_message")));
    return true;
}

static enum status read_found_tools(const struct reader *r, const struct json *list,
                                    const struct json_path *at, struct block *b)
{
    b->content = arena_array(r->arena, json_length(list), sizeof *b->content);
    if (b->content == NULL)
        return too_large(r);
    for (struct json_iter it = json_iter(list); json_next(&it);) {
        struct json_path item = {.parent = at, .index = it.index};
        struct block *found = &b->content[b->n_content];
        *found = (struct block){.type = BLOCK_TOOL_REFERENCE};
        enum status st = expect_object(r, it.value, &item);
        if (st == STATUS_OK)
            st = read_string(r, it.value, &item, "tool_name", REQUIRED, &found->name);
        if (st != STATUS_OK)
            return st;
        b->n_content++;
    }
    return STATUS_OK;
}

/* tool_search_tool_result. */
static enum status read_tool_search(const struct reader *r, const struct json *content,
                                    const struct json_path *at, struct block *b)
{
    const struct json *list = json_get(content, "tool_references");
    if (json_type(list) == JSON_ARRAY && json_length(list) > 0) {
        struct json_path here = {.parent = at, .key = "tool_references"};
        return read_found_tools(r, list, &here, b);
    }
    struct strbuf text;
    strbuf_init(&text, LIMIT_REPLY_BYTES);
    b->is_error = tell_failure(content, &text);
    if (!b->is_error)
        strbuf_append_cstr(&text, "No tool was found.  Try another query.");
    return set_text(r, &text, b);
}

/* What a result of ours says beside title and address stands in its opaque member, readable. */
static struct str excerpt_of(const struct json *result)
{
    struct str text = json_string(json_get(result, "encrypted_content"));
    struct str mark = STR(READABLE_CONTENT_MARK);
    if (!str_starts_with(text, mark))
        return STR("");
    return (struct str){text.ptr + mark.len, text.len - mark.len};
}

/* web_search_tool_result: a list of pages. */
static enum status read_web_search(const struct reader *r, const struct json *content,
                                   const struct json_path *at, struct block *b)
{
    (void)at;
    struct strbuf text;
    strbuf_init(&text, LIMIT_REPLY_BYTES);
    b->is_error = tell_failure(content, &text);
    if (!b->is_error && json_length(content) == 0)
        strbuf_append_cstr(&text, "Nothing was found.");
    if (json_type(content) == JSON_ARRAY) {
        for (struct json_iter it = json_iter(content); json_next(&it);) {
            append_line(&text, it.index > 0 ? "\n" : "", json_string(json_get(it.value, "title")));
            append_line(&text, "", json_string(json_get(it.value, "url")));
            append_line(&text, "", json_string(json_get(it.value, "page_age")));
            append_line(&text, "", excerpt_of(it.value));
        }
    }
    return set_text(r, &text, b);
}

/* web_fetch_tool_result: a document. */
static enum status read_web_fetch(const struct reader *r, const struct json *content,
                                  const struct json_path *at, struct block *b)
{
    (void)at;
    struct strbuf text;
    strbuf_init(&text, LIMIT_REPLY_BYTES);
    b->is_error = tell_failure(content, &text);
    const struct json *document = json_get(content, "content");
    const struct json *source = json_get(document, "source");
    append_line(&text, "", json_string(json_get(document, "title")));
    append_line(&text, "", json_string(json_get(content, "url")));
    if (str_is(json_string(json_get(source, "type")), "text"))
        append_line(&text, "\n", json_string(json_get(source, "data")));
    else if (source != NULL)
        strbuf_append_cstr(&text, "[A document that this server cannot read stood here.]");
    return set_text(r, &text, b);
}

/* Any other: as it came. */
static enum status read_any(const struct reader *r, const struct json *content,
                            const struct json_path *at, struct block *b)
{
    (void)at;
    struct strbuf text;
    strbuf_init(&text, LIMIT_REPLY_BYTES);
    b->is_error = tell_failure(content, &text);
    if (!b->is_error && content != NULL)
        json_print(&text, content);
    return set_text(r, &text, b);
}

static const struct {
    const char *type;
    enum status (*read)(const struct reader *r, const struct json *content,
                        const struct json_path *at, struct block *b);
} kinds[] = {
    {"tool_search_tool_result", read_tool_search},
    {"web_search_tool_result", read_web_search},
    {"web_fetch_tool_result", read_web_fetch},
};

enum status read_server_result(const struct reader *r, const struct json *v,
                               const struct json_path *at, struct block *b)
{
    struct json_path here = {.parent = at, .key = "content"};
    struct str type = json_string(json_get(v, "type"));
    const struct json *content = json_get(v, "content");
    b->type = BLOCK_TOOL_RESULT;
    enum status st = read_string(r, v, at, "tool_use_id", REQUIRED, &b->id);
    if (st != STATUS_OK)
        return st;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (str_is(type, kinds[i].type))
            return kinds[i].read(r, content, &here, b);
    return read_any(r, content, &here, b);
}

enum status anthropic_read_server_result(const struct json *block, struct arena *arena,
                                         struct block *out, struct error *err)
{
    struct reader r = {.arena = arena, .err = err};
    struct json_path at = {.key = "content"};
    *out = (struct block){0};
    return read_server_result(&r, block, &at, out);
}

/* One without content tells of a summary that failed: nothing is left out for it. */
enum status read_compaction(const struct reader *r, const struct json *v,
                            const struct json_path *at, struct block *b)
{
    b->type = BLOCK_TEXT;
    b->text = STR("");
    const struct json *content = json_get(v, "content");
    if (content == NULL || json_type(content) == JSON_NULL)
        return STATUS_OK;
    b->type = BLOCK_COMPACTION;
    return read_string(r, v, at, "content", REQUIRED, &b->text);
}
