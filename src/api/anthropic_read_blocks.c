/* anthropic_read_blocks -- content: a string, or a list of typed blocks. */
#include <stdio.h>
#include <string.h>

#include "api/anthropic_read_fields.h"
#include "base/limits.h"

/* ---- Blocks that become a note ---- */

/* Whether a client's word may stand in a note: a media type or the name of a block type, not prose
 * that would speak to the model. */
static bool is_plain_word(struct str s)
{
    enum { WORD_BYTES = 64 };
    if (s.len == 0 || s.len > WORD_BYTES)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(c >= '0' && c <= '9') && strchr("/+-._", c) == NULL)
            return false;
    }
    return true;
}

enum status read_as_note(const struct reader *r, struct block *b, const char *what, struct str kind,
                         const char *why)
{
    char note[256];
    int n = is_plain_word(kind) ? snprintf(note, sizeof note, "[%s (%.*s) stood here; %s.]", what,
                                           (int)kind.len, kind.ptr, why)
                                : snprintf(note, sizeof note, "[%s stood here; %s.]", what, why);
    INVARIANT(n > 0 && (size_t)n < sizeof note);
    b->type = BLOCK_NOTE;
    b->text = arena_str(r->arena, (struct str){note, (size_t)n});
    return b->text.ptr == NULL ? too_large(r) : STATUS_OK;
}

static enum status read_image(const struct reader *r, const struct json *v,
                              const struct json_path *at, struct block *b)
{
    const struct json *source;
    enum status st = read_object(r, v, at, "source", REQUIRED, &source);
    if (st != STATUS_OK)
        return st;
    struct str kind = json_string(json_get(source, "media_type"));
    return read_as_note(r, b, "An image", kind, "this model cannot see images");
}

/* ---- Blocks that are kept ---- */

static enum status read_text(const struct reader *r, const struct json *v,
                             const struct json_path *at, struct block *b)
{
    b->type = BLOCK_TEXT;
    return read_string(r, v, at, "text", REQUIRED, &b->text);
}

static enum status read_thinking(const struct reader *r, const struct json *v,
                                 const struct json_path *at, struct block *b)
{
    b->type = BLOCK_THINKING;
    enum status st = read_string(r, v, at, "thinking", REQUIRED, &b->text);
    if (st == STATUS_OK)
        st = read_string(r, v, at, "signature", OPTIONAL, &b->signature);
    return st;
}

static enum status read_redacted(const struct reader *r, const struct json *v,
                                 const struct json_path *at, struct block *b)
{
    (void)r, (void)v, (void)at;
    b->type = BLOCK_REDACTED_THINKING;
    return STATUS_OK;
}

static enum status read_tool_use(const struct reader *r, const struct json *v,
                                 const struct json_path *at, struct block *b)
{
    b->type = BLOCK_TOOL_USE;
    enum status st = read_string(r, v, at, "id", REQUIRED, &b->id);
    if (st == STATUS_OK)
        st = read_string(r, v, at, "name", REQUIRED, &b->name);
    if (st != STATUS_OK)
        return st;
    const struct json *input;
    st = read_object(r, v, at, "input", REQUIRED, &input);
    return st == STATUS_OK ? read_json_text(r, input, &b->input_json) : st;
}

static enum status read_tool_result(const struct reader *r, const struct json *v,
                                    const struct json_path *at, struct block *b)
{
    b->type = BLOCK_TOOL_RESULT;
    enum status st = read_string(r, v, at, "tool_use_id", REQUIRED, &b->id);
    if (st == STATUS_OK)
        st = read_bool(r, v, at, "is_error", &b->is_error);
    const struct json *content = json_get(v, "content");
    if (st != STATUS_OK || content == NULL || json_type(content) == JSON_NULL)
        return st;
    struct json_path here = {.parent = at, .key = "content"};
    return read_content(r, content, &here, PLACE_RESULT, &b->content, &b->n_content);
}

static enum status read_reference(const struct reader *r, const struct json *v,
                                  const struct json_path *at, struct block *b)
{
    b->type = BLOCK_TOOL_REFERENCE;
    return read_string(r, v, at, "tool_name", REQUIRED, &b->name);
}

/* Changes of the tool list inside a conversation: accepted, of no effect (docs/API.md). */
static enum status read_nothing(const struct reader *r, const struct json *v,
                                const struct json_path *at, struct block *b)
{
    (void)r, (void)v, (void)at;
    b->type = BLOCK_TEXT;
    b->text = STR("");
    return STATUS_OK;
}

enum {
    IN_MESSAGES = PLACE_SYSTEM | PLACE_USER | PLACE_ASSISTANT,
    ANYWHERE = IN_MESSAGES | PLACE_RESULT,
    IN_DOCUMENTS = ANYWHERE | PLACE_DOCUMENT,
};

static const struct {
    const char *type;
    enum status (*read)(const struct reader *r, const struct json *v, const struct json_path *at,
                        struct block *b);
    unsigned places; /* of enum place */
} kinds[] = {
    {"text", read_text, IN_DOCUMENTS},
    {"thinking", read_thinking, PLACE_ASSISTANT},
    {"redacted_thinking", read_redacted, PLACE_ASSISTANT},
    {"tool_use", read_tool_use, PLACE_ASSISTANT},
    {"tool_result", read_tool_result, PLACE_USER},
    {"tool_reference", read_reference, PLACE_RESULT},
    {"server_tool_use", read_tool_use, PLACE_ASSISTANT},
    {"tool_search_tool_result", read_server_result, PLACE_ASSISTANT},
    {"web_search_tool_result", read_server_result, PLACE_ASSISTANT},
    {"web_fetch_tool_result", read_server_result, PLACE_ASSISTANT},
    {"code_execution_tool_result", read_server_result, PLACE_ASSISTANT},
    {"bash_code_execution_tool_result", read_server_result, PLACE_ASSISTANT},
    {"text_editor_code_execution_tool_result", read_server_result, PLACE_ASSISTANT},
    {"mcp_tool_use", read_tool_use, PLACE_ASSISTANT},
    {"mcp_tool_result", read_tool_result, PLACE_ASSISTANT},
    {"compaction", read_compaction, PLACE_ASSISTANT},
    {"image", read_image, IN_DOCUMENTS},
    {"document", read_document, ANYWHERE},
    {"search_result", read_search_result, PLACE_USER | PLACE_RESULT},
    {"tool_addition", read_nothing, IN_MESSAGES},
    {"tool_removal", read_nothing, IN_MESSAGES},
};

static const char *place_name(enum place place)
{
    switch (place) {
    case PLACE_SYSTEM:
        return "system text";
    case PLACE_USER:
        return "a user message";
    case PLACE_ASSISTANT:
        return "an assistant message";
    case PLACE_RESULT:
        return "a tool_result";
    case PLACE_DOCUMENT:
        return "a document";
    }
    return "this place";
}

static enum status read_block(const struct reader *r, const struct json *v,
                              const struct json_path *at, enum place place, struct block *b)
{
    struct str type = {0};
    enum status st = expect_object(r, v, at);
    if (st == STATUS_OK)
        st = read_string(r, v, at, "type", REQUIRED, &type);
    if (st != STATUS_OK)
        return st;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (!str_is(type, kinds[i].type))
            continue;
        if ((kinds[i].places & place) == 0)
            return fail_at(r, at, "type", "a `%s` block cannot stand in %s", kinds[i].type,
                           place_name(place));
        return kinds[i].read(r, v, at, b);
    }
    /* Clients are ahead of servers: a block that we do not know must not end a session. */
    return read_as_note(r, b, "A block", type, "this server does not know its type");
}

enum status read_content(const struct reader *r, const struct json *value,
                         const struct json_path *at, enum place place, struct block **out,
                         size_t *out_n)
{
    if (json_type(value) == JSON_STRING) {
        struct block *b = arena_alloc(r->arena, sizeof *b);
        if (b == NULL)
            return too_large(r);
        *b = (struct block){.type = BLOCK_TEXT, .text = json_string(value)};
        *out = b;
        *out_n = 1;
        return STATUS_OK;
    }
    if (json_type(value) != JSON_ARRAY)
        return json_fail(at, r->err, "Input should be a string or a list of blocks, not %s",
                         json_type_name(value));
    struct block *blocks = arena_array(r->arena, json_length(value), sizeof *blocks);
    if (blocks == NULL)
        return too_large(r);
    for (struct json_iter it = json_iter(value); json_next(&it);) {
        struct json_path here = {.parent = at, .index = it.index};
        enum status st = read_block(r, it.value, &here, place, &blocks[it.index]);
        if (st != STATUS_OK)
            return st;
    }
    *out = blocks;
    *out_n = json_length(value);
    return STATUS_OK;
}
