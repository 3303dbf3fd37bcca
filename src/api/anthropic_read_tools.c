/* anthropic_read_tools -- tools and tool_choice.
 *
 * The names of tools become part of the prompt and of the grammar that holds calls to a form, so
 * they are held to the hosted API's alphabet. */
#include <stdlib.h>

#include "api/anthropic_read_fields.h"
#include "api/published_tools.h"
#include "base/limits.h"

static bool is_good_name(struct str name)
{
    if (name.len == 0 || name.len > LIMIT_TOOL_NAME_BYTES)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_letter && !(c >= '0' && c <= '9') && c != '_' && c != '-')
            return false;
    }
    return true;
}

static enum status check_name(const struct reader *r, const struct json_path *at, struct str name)
{
    if (is_good_name(name))
        return STATUS_OK;
    return fail_at(r, at, "name",
                   "String should have 1 to %d characters, each a letter, digit, '_' or '-'",
                   LIMIT_TOOL_NAME_BYTES);
}

/* A tool that is named by its type.  Some kinds that are not known here, such as sets of tools of a
 * server, have no name of their own. */
static enum status read_typed_tool(const struct reader *r, const struct json *v,
                                   const struct json_path *at, struct tool *out)
{
    const struct published_tool *known = published_tool_find(out->type);
    out->kind = known != NULL ? known->kind : TOOL_FOREIGN;
    out->schema_json = known != NULL ? str_from(known->schema_json) : STR("{}");
    out->description = known != NULL ? str_from(known->description) : STR("");
    enum status st = read_string(r, v, at, "name", known != NULL ? REQUIRED : OPTIONAL, &out->name);
    if (st == STATUS_OK && out->name.len == 0)
        out->name = out->type;
    if (st == STATUS_OK && known != NULL)
        st = check_name(r, at, out->name);
    return st == STATUS_OK ? read_json_text(r, v, &out->declared_json) : st;
}

static enum status read_tool(const struct reader *r, const struct json *v,
                             const struct json_path *at, struct tool *out)
{
    enum status st = expect_object(r, v, at);
    if (st == STATUS_OK)
        st = read_string(r, v, at, "type", OPTIONAL, &out->type);
    if (st == STATUS_OK)
        st = read_bool(r, v, at, "defer_loading", &out->defer_loading);
    if (st != STATUS_OK)
        return st;
    if (out->type.len == 0)
        out->type = STR("custom");
    if (!str_is(out->type, "custom"))
        return read_typed_tool(r, v, at, out);

    const struct json *schema;
    st = read_string(r, v, at, "name", REQUIRED, &out->name);
    if (st == STATUS_OK)
        st = check_name(r, at, out->name);
    if (st == STATUS_OK)
        st = read_string(r, v, at, "description", OPTIONAL, &out->description);
    if (st == STATUS_OK)
        st = read_object(r, v, at, "input_schema", REQUIRED, &schema);
    return st == STATUS_OK ? read_json_text(r, schema, &out->schema_json) : st;
}

static int compare_names(const void *left, const void *right)
{
    const struct str *a = left, *b = right;
    if (a->len != b->len)
        return a->len < b->len ? -1 : 1;
    return a->len > 0 ? memcmp(a->ptr, b->ptr, a->len) : 0;
}

/* Two tools of one name could not be told apart in a call. */
static enum status refuse_twins(const struct reader *r, const struct message_request *req)
{
    struct str *names = arena_array(r->arena, req->n_tools, sizeof *names);
    if (names == NULL)
        return too_large(r);
    for (size_t i = 0; i < req->n_tools; i++)
        names[i] = req->tools[i].name;
    qsort(names, req->n_tools, sizeof *names, compare_names);
    for (size_t i = 1; i < req->n_tools; i++)
        if (str_equal(names[i - 1], names[i]))
            return fail_at(r, NULL, "tools", "Tool names must be unique");
    return STATUS_OK;
}

enum status read_tools(const struct reader *r, const struct json *body, struct message_request *req)
{
    struct json_path at = {.key = "tools"};
    const struct json *list;
    enum status st = read_list(r, body, NULL, "tools", OPTIONAL, LIMIT_TOOLS, &list);
    if (st != STATUS_OK || json_length(list) == 0)
        return st;
    req->tools = arena_array(r->arena, json_length(list), sizeof *req->tools);
    if (req->tools == NULL)
        return too_large(r);
    for (struct json_iter it = json_iter(list); json_next(&it);) {
        struct json_path here = {.parent = &at, .index = it.index};
        st = read_tool(r, it.value, &here, &req->tools[it.index]);
        if (st != STATUS_OK)
            return st;
    }
    req->n_tools = json_length(list);
    return refuse_twins(r, req);
}

/* ---- The choice ---- */

static bool is_offered(const struct message_request *req, struct str name)
{
    for (size_t i = 0; i < req->n_tools; i++)
        if (str_equal(req->tools[i].name, name))
            return true;
    return false;
}

static enum status read_choice_type(const struct reader *r, const struct json *v,
                                    const struct json_path *at, enum tool_choice_type *out)
{
    static const char *const names[] = {
        [TOOL_CHOICE_AUTO] = "auto",
        [TOOL_CHOICE_NONE] = "none",
        [TOOL_CHOICE_ANY] = "any",
        [TOOL_CHOICE_TOOL] = "tool",
    };
    struct str type;
    enum status st = read_string(r, v, at, "type", REQUIRED, &type);
    if (st != STATUS_OK)
        return st;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (str_is(type, names[i])) {
            *out = (enum tool_choice_type)i;
            return STATUS_OK;
        }
    }
    return fail_at(r, at, "type", "Input should be 'auto', 'any', 'tool' or 'none'");
}

enum status read_tool_choice(const struct reader *r, const struct json *body,
                             struct message_request *req)
{
    struct json_path at = {.key = "tool_choice"};
    struct tool_choice *choice = &req->tool_choice;
    const struct json *v;
    enum status st = read_object(r, body, NULL, "tool_choice", OPTIONAL, &v);
    if (st != STATUS_OK || v == NULL)
        return st;
    st = read_choice_type(r, v, &at, &choice->type);
    if (st == STATUS_OK)
        st = read_bool(r, v, &at, "disable_parallel_tool_use", &choice->disable_parallel);
    if (st != STATUS_OK)
        return st;
    if (choice->type == TOOL_CHOICE_ANY && req->n_tools == 0)
        return json_fail(&at, r->err, "'any' needs tools to choose from");
    if (choice->type != TOOL_CHOICE_TOOL)
        return STATUS_OK;
    st = read_string(r, v, &at, "name", REQUIRED, &choice->name);
    if (st == STATUS_OK && !is_offered(req, choice->name))
        return fail_at(r, &at, "name", "no tool of this name is offered in `tools`");
    return st;
}
