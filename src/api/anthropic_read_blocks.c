/* anthropic_read_blocks -- content: a string, or a list of typed blocks. */
#include <stdio.h>

#include "api/anthropic_read_fields.h"
#include "base/limits.h"

/* ---- Blocks that become a note ---- */

/* What the model is told where something stood that it can't be shown. */
static enum status make_note(const struct reader *r, struct block *b, const char *what,
                             struct str kind, const char *why)
{
    char note[256];
    int n = snprintf(note, sizeof note, "[%s%s%.*s%s stood here; %s]", what, kind.len ? " (" : "",
                     kind.len < 60 ? (int)kind.len : 60, kind.len ? kind.ptr : "",
                     kind.len ? ")" : "", why);
    b->type = BLOCK_NOTE;
    b->text = arena_str(r->arena, (struct str){note, n > 0 ? (size_t)n : 0});
    return b->text.ptr == NULL ? too_large(r) : STATUS_OK;
}

static enum status read_image(const struct reader *r, const struct json *v,
                              const struct json_path *at, struct block *b)
{
    (void)at;
    struct str kind = json_string(json_get(json_get(v, "source"), "media_type"));
    return make_note(r, b, "An image", kind, "this model cannot see images");
}

/* Plain text in a document can be shown; anything else can't yet. */
static enum status read_document(const struct reader *r, const struct json *v,
                                 const struct json_path *at, struct block *b)
{
    (void)at;
    const struct json *source = json_get(v, "source");
    if (str_is(json_string(json_get(source, "type")), "text")) {
        b->type = BLOCK_TEXT;
        b->text = json_string(json_get(source, "data"));
        return STATUS_OK;
    }
    struct str kind = json_string(json_get(source, "media_type"));
    return make_note(r, b, "A document", kind, "this server cannot read such documents yet");
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
    struct json_path here = {.parent = at, .key = "input"};
    const struct json *input = json_get(v, "input");
    if (input == NULL)
        return json_fail(&here, r->err, "Field required");
    if (json_type(input) != JSON_OBJECT)
        return json_fail(&here, r->err, "Input should be an object, not %s", json_type_name(input));
    return read_json_text(r, input, &b->input_json);
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
    return read_content(r, content, &here, true, &b->content, &b->n_content);
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

static const struct {
    const char *type;
    enum status (*read)(const struct reader *r, const struct json *v, const struct json_path *at,
                        struct block *b);
    bool in_result; /* may stand in a tool result */
} kinds[] = {
    {"text", read_text, true},
    {"thinking", read_thinking, false},
    {"redacted_thinking", read_redacted, false},
    {"tool_use", read_tool_use, false},
    {"tool_result", read_tool_result, false},
    {"tool_reference", read_reference, true},
    {"image", read_image, true},
    {"document", read_document, true},
    {"tool_addition", read_nothing, false},
    {"tool_removal", read_nothing, false},
};

static enum status read_block(const struct reader *r, const struct json *v,
                              const struct json_path *at, bool in_result, struct block *b)
{
    if (json_type(v) != JSON_OBJECT)
        return json_fail(at, r->err, "Input should be an object, not %s", json_type_name(v));
    struct str type;
    enum status st = read_string(r, v, at, "type", REQUIRED, &type);
    if (st != STATUS_OK)
        return st;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (!str_is(type, kinds[i].type))
            continue;
        if (in_result && !kinds[i].in_result) {
            struct json_path here = {.parent = at, .key = "type"};
            return json_fail(&here, r->err, "a tool_result cannot hold a block of this type");
        }
        return kinds[i].read(r, v, at, b);
    }
    /* Clients are ahead of servers: a block that we do not know must not end a session. */
    return make_note(r, b, "A block of type", type, "this server does not know it");
}

enum status read_content(const struct reader *r, const struct json *value,
                         const struct json_path *at, bool in_result, struct block **out,
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
        enum status st = read_block(r, it.value, &here, in_result, &blocks[it.index]);
        if (st != STATUS_OK)
            return st;
    }
    *out = blocks;
    *out_n = json_length(value);
    return STATUS_OK;
}
