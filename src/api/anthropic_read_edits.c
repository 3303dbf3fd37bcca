/* anthropic_read_edits -- context_management: what a client wants taken out of a long conversation.
 *
 * Fields and defaults follow https://docs.claude.com/en/docs/build-with-claude/context-editing and
 * .../compaction.  Edits of types that are not known are accepted and left out. */
#include "api/anthropic_read_fields.h"
#include "base/limits.h"

enum {
    DEFAULT_TRIGGER_TOKENS = 100 * 1000,
    DEFAULT_KEPT_TOOL_USES = 3,
    DEFAULT_KEPT_THINKING_TURNS = 1,
    DEFAULT_COMPACTION_TOKENS = 150 * 1000,
};

/* {"type": ..., "value": n}, where `unit` is the one type that is possible, or `other` (NULL for
 * none). */
static enum status read_amount(const struct reader *r, const struct json *edit,
                               const struct json_path *at, const char *key, const char *unit,
                               const char *other, uint32_t *out, bool *out_is_other)
{
    const struct json *v;
    struct json_path inside = {.parent = at, .key = key};
    struct str type = {0};
    enum status st = read_object(r, edit, at, key, OPTIONAL, &v);
    if (st != STATUS_OK || v == NULL)
        return st;
    st = read_string(r, v, &inside, "type", REQUIRED, &type);
    bool is_other = other != NULL && str_is(type, other);
    if (st == STATUS_OK && !is_other && !str_is(type, unit))
        return fail_at(r, &inside, "type", "Input should be '%s'", unit);
    int64_t value = 0;
    if (st == STATUS_OK)
        st = read_integer(r, v, &inside, "value", 0, UINT32_MAX - 1, REQUIRED, &value);
    if (st == STATUS_OK)
        *out = (uint32_t)value;
    if (st == STATUS_OK && other != NULL)
        *out_is_other = is_other;
    return st;
}

/* A list of tools' names; left alone where it is absent or null. */
static enum status read_names(const struct reader *r, const struct json *edit,
                              const struct json_path *at, const char *key, const struct str **out,
                              size_t *out_n)
{
    const struct json *list;
    enum status st = read_list(r, edit, at, key, OPTIONAL, LIMIT_TOOLS, &list);
    if (st != STATUS_OK || list == NULL)
        return st;
    struct str *names = arena_array(r->arena, json_length(list), sizeof *names);
    if (names == NULL)
        return too_large(r);
    struct json_path inside = {.parent = at, .key = key};
    for (struct json_iter it = json_iter(list); json_next(&it);) {
        struct json_path item = {.parent = &inside, .index = it.index};
        if (json_type(it.value) != JSON_STRING)
            return json_fail(&item, r->err, "Input should be a string, not %s",
                             json_type_name(it.value));
        names[it.index] = json_string(it.value);
    }
    *out = names;
    *out_n = json_length(list);
    return STATUS_OK;
}

/* clear_tool_inputs: true for all tools, or their names. */
static enum status read_cleared_inputs(const struct reader *r, const struct json *edit,
                                       const struct json_path *at, struct context_edit *out)
{
    static const char key[] = "clear_tool_inputs";
    if (json_type(json_get(edit, key)) == JSON_ARRAY)
        return read_names(r, edit, at, key, &out->without_input, &out->n_without_input);
    return read_bool(r, edit, at, key, &out->clears_inputs);
}

static enum status read_tool_uses(const struct reader *r, const struct json *v,
                                  const struct json_path *at, struct context_edit *out)
{
    out->type = EDIT_CLEAR_TOOL_USES;
    out->trigger = DEFAULT_TRIGGER_TOKENS;
    out->keep = DEFAULT_KEPT_TOOL_USES;
    enum status st = read_amount(r, v, at, "trigger", "input_tokens", "tool_uses", &out->trigger,
                                 &out->trigger_counts_uses);
    if (st == STATUS_OK)
        st = read_amount(r, v, at, "keep", "tool_uses", NULL, &out->keep, NULL);
    if (st == STATUS_OK)
        st = read_amount(r, v, at, "clear_at_least", "input_tokens", NULL, &out->clear_at_least,
                         NULL);
    if (st == STATUS_OK)
        st = read_cleared_inputs(r, v, at, out);
    return st == STATUS_OK ? read_names(r, v, at, "exclude_tools", &out->excluded, &out->n_excluded)
                           : st;
}

/* keep: {"type": "thinking_turns", "value": n}, {"type": "all"}, or "all". */
static enum status read_thinking_edit(const struct reader *r, const struct json *v,
                                      const struct json_path *at, struct context_edit *out)
{
    out->type = EDIT_CLEAR_THINKING;
    out->keep = DEFAULT_KEPT_THINKING_TURNS;
    const struct json *keep = json_get(v, "keep"), *type = json_get(keep, "type");
    const struct json *word = type != NULL ? type : keep;
    if (json_type(word) == JSON_STRING && str_is(json_string(word), "all")) {
        out->keep = UINT32_MAX;
        return STATUS_OK;
    }
    if (json_type(keep) == JSON_STRING)
        return fail_at(r, at, "keep", "Input should be 'all' or an object");
    return read_amount(r, v, at, "keep", "thinking_turns", NULL, &out->keep, NULL);
}

static enum status read_compact(const struct reader *r, const struct json *v,
                                const struct json_path *at, struct compaction *out)
{
    *out = (struct compaction){.is_wanted = true, .trigger = DEFAULT_COMPACTION_TOKENS};
    enum status st = read_amount(r, v, at, "trigger", "input_tokens", NULL, &out->trigger, NULL);
    if (st == STATUS_OK)
        st = read_bool(r, v, at, "pause_after_compaction", &out->pauses);
    return st == STATUS_OK ? read_string(r, v, at, "instructions", OPTIONAL, &out->instructions)
                           : st;
}

static enum status read_edit(const struct reader *r, const struct json *v,
                             const struct json_path *at, struct message_request *req)
{
    struct str type = {0};
    struct context_edit *out = &req->edits[req->n_edits];
    enum status st = expect_object(r, v, at);
    if (st == STATUS_OK)
        st = read_string(r, v, at, "type", REQUIRED, &type);
    if (st != STATUS_OK)
        return st;
    *out = (struct context_edit){0};
    if (str_is(type, "clear_tool_uses_20250919"))
        st = read_tool_uses(r, v, at, out);
    else if (str_is(type, "clear_thinking_20251015"))
        st = read_thinking_edit(r, v, at, out);
    else if (str_is(type, "compact_20260112"))
        return read_compact(r, v, at, &req->compaction);
    else
        return STATUS_OK;
    req->n_edits++;
    return st;
}

enum status read_context_edits(const struct reader *r, const struct json *body,
                               struct message_request *req)
{
    const struct json_path at = {.key = "context_management"};
    const struct json *v, *list = NULL;
    enum status st = read_object(r, body, NULL, "context_management", OPTIONAL, &v);
    if (st == STATUS_OK && v != NULL)
        st = read_list(r, v, &at, "edits", OPTIONAL, LIMIT_CONTEXT_EDITS, &list);
    if (st != STATUS_OK || list == NULL)
        return st;
    req->reports_edits = true;
    req->edits = arena_array(r->arena, json_length(list), sizeof *req->edits);
    if (req->edits == NULL)
        return too_large(r);
    const struct json_path edits = {.parent = &at, .key = "edits"};
    for (struct json_iter it = json_iter(list); st == STATUS_OK && json_next(&it);) {
        struct json_path item = {.parent = &edits, .index = it.index};
        st = read_edit(r, it.value, &item, req);
    }
    return st;
}

/* The member `compaction`: the conversation is summed up at once, and that is the whole answer. */
enum status read_compaction_config(const struct reader *r, const struct json *body,
                                   struct message_request *req)
{
    const struct json_path at = {.key = "compaction"};
    const struct json *v;
    struct str type = {0};
    enum status st = read_object(r, body, NULL, "compaction", OPTIONAL, &v);
    if (st != STATUS_OK || v == NULL)
        return st;
    st = read_string(r, v, &at, "type", REQUIRED, &type);
    if (st == STATUS_OK && !str_is(type, "summarize"))
        return fail_at(r, &at, "type", "Input should be 'summarize'");
    req->compaction = (struct compaction){.is_wanted = true, .pauses = true};
    return st == STATUS_OK
               ? read_string(r, v, &at, "instructions", OPTIONAL, &req->compaction.instructions)
               : st;
}
