/* anthropic_read -- see anthropic_read.h.  One function per member of the body; the table at the end
 * is the order in which they are read, and so which error comes first. */
#include "api/anthropic_read.h"

#include "api/anthropic_read_fields.h"
#include "base/limits.h"

enum {
    LEAST_THINKING_TOKENS = 1024, /* the hosted API's smallest budget */
};

static enum status read_model(const struct reader *r, const struct json *body,
                              struct message_request *req)
{
    enum status st = read_string(r, body, NULL, "model", REQUIRED, &req->model);
    if (st == STATUS_OK && req->model.len == 0)
        return json_fail(&(struct json_path){.key = "model"}, r->err,
                         "String should have at least 1 character");
    return st;
}

/* ---- Messages and system ---- */

static enum status read_role(const struct reader *r, const struct json *v,
                             const struct json_path *at, enum role *out)
{
    struct str role;
    enum status st = read_string(r, v, at, "role", REQUIRED, &role);
    if (st != STATUS_OK)
        return st;
    if (str_is(role, "user"))
        *out = ROLE_USER;
    else if (str_is(role, "assistant"))
        *out = ROLE_ASSISTANT;
    else if (str_is(role, "system"))
        *out = ROLE_SYSTEM;
    else
        return json_fail(&(struct json_path){.parent = at, .key = "role"}, r->err,
                         "Input should be 'user', 'assistant' or 'system'");
    return STATUS_OK;
}

static enum status read_message(const struct reader *r, const struct json *v,
                                const struct json_path *at, struct message *out)
{
    if (json_type(v) != JSON_OBJECT)
        return json_fail(at, r->err, "Input should be an object, not %s", json_type_name(v));
    enum status st = read_role(r, v, at, &out->role);
    if (st != STATUS_OK)
        return st;
    struct json_path here = {.parent = at, .key = "content"};
    const struct json *content = json_get(v, "content");
    if (content == NULL) {
        /* A system message may carry nothing but settings for the turns after it. */
        return out->role == ROLE_SYSTEM ? STATUS_OK : json_fail(&here, r->err, "Field required");
    }
    return read_content(r, content, &here, false, &out->blocks, &out->n_blocks);
}

static enum status read_messages(const struct reader *r, const struct json *body,
                                 struct message_request *req)
{
    struct json_path at = {.key = "messages"};
    const struct json *list = json_get(body, "messages");
    if (list == NULL)
        return json_fail(&at, r->err, "Field required");
    if (json_type(list) != JSON_ARRAY)
        return json_fail(&at, r->err, "Input should be a list, not %s", json_type_name(list));
    size_t n = json_length(list);
    if (n == 0)
        return json_fail(&at, r->err, "at least one message is required");
    if (n > LIMIT_MESSAGES)
        return json_fail(&at, r->err, "at most %d messages are allowed", LIMIT_MESSAGES);
    req->messages = arena_array(r->arena, n, sizeof *req->messages);
    if (req->messages == NULL)
        return too_large(r);
    for (struct json_iter it = json_iter(list); json_next(&it);) {
        struct json_path here = {.parent = &at, .index = it.index};
        enum status st = read_message(r, it.value, &here, &req->messages[it.index]);
        if (st != STATUS_OK)
            return st;
    }
    req->n_messages = n;
    return STATUS_OK;
}

static enum status read_system(const struct reader *r, const struct json *body,
                               struct message_request *req)
{
    const struct json *v = json_get(body, "system");
    if (v == NULL || json_type(v) == JSON_NULL)
        return STATUS_OK;
    struct json_path at = {.key = "system"};
    return read_content(r, v, &at, false, &req->system, &req->n_system);
}

/* ---- Tools ---- */

static enum status read_tool(const struct reader *r, const struct json *v,
                             const struct json_path *at, struct tool *out)
{
    if (json_type(v) != JSON_OBJECT)
        return json_fail(at, r->err, "Input should be an object, not %s", json_type_name(v));
    enum status st = read_string(r, v, at, "name", REQUIRED, &out->name);
    if (st == STATUS_OK)
        st = read_string(r, v, at, "description", OPTIONAL, &out->description);
    if (st == STATUS_OK)
        st = read_string(r, v, at, "type", OPTIONAL, &out->type);
    if (st == STATUS_OK)
        st = read_bool(r, v, at, "defer_loading", &out->defer_loading);
    if (st != STATUS_OK)
        return st;
    if (out->name.len == 0)
        return json_fail(&(struct json_path){.parent = at, .key = "name"}, r->err,
                         "String should have at least 1 character");
    if (out->type.len == 0)
        out->type = STR("custom");
    if (!str_is(out->type, "custom")) {
        out->schema_json = STR("{}");
        return STATUS_OK;
    }
    struct json_path here = {.parent = at, .key = "input_schema"};
    const struct json *schema = json_get(v, "input_schema");
    if (schema == NULL)
        return json_fail(&here, r->err, "Field required");
    if (json_type(schema) != JSON_OBJECT)
        return json_fail(&here, r->err, "Input should be an object, not %s",
                         json_type_name(schema));
    return read_json_text(r, schema, &out->schema_json);
}

static enum status read_tools(const struct reader *r, const struct json *body,
                              struct message_request *req)
{
    struct json_path at = {.key = "tools"};
    const struct json *list = json_get(body, "tools");
    if (list == NULL || json_type(list) == JSON_NULL)
        return STATUS_OK;
    if (json_type(list) != JSON_ARRAY)
        return json_fail(&at, r->err, "Input should be a list, not %s", json_type_name(list));
    size_t n = json_length(list);
    if (n > LIMIT_TOOLS)
        return json_fail(&at, r->err, "at most %d tools are allowed", LIMIT_TOOLS);
    req->tools = arena_array(r->arena, n, sizeof *req->tools);
    if (req->tools == NULL)
        return too_large(r);
    for (struct json_iter it = json_iter(list); json_next(&it);) {
        struct json_path here = {.parent = &at, .index = it.index};
        enum status st = read_tool(r, it.value, &here, &req->tools[it.index]);
        if (st != STATUS_OK)
            return st;
    }
    req->n_tools = n;
    return STATUS_OK;
}

static bool is_offered(const struct message_request *req, struct str name)
{
    for (size_t i = 0; i < req->n_tools; i++)
        if (str_equal(req->tools[i].name, name))
            return true;
    return false;
}

static enum status read_tool_choice(const struct reader *r, const struct json *body,
                                    struct message_request *req)
{
    struct json_path at = {.key = "tool_choice"};
    const struct json *v = json_get(body, "tool_choice");
    if (v == NULL || json_type(v) == JSON_NULL)
        return STATUS_OK;
    if (json_type(v) != JSON_OBJECT)
        return json_fail(&at, r->err, "Input should be an object, not %s", json_type_name(v));
    struct tool_choice *choice = &req->tool_choice;
    struct str type;
    enum status st = read_string(r, v, &at, "type", REQUIRED, &type);
    if (st == STATUS_OK)
        st = read_bool(r, v, &at, "disable_parallel_tool_use", &choice->disable_parallel);
    if (st != STATUS_OK)
        return st;
    if (str_is(type, "auto"))
        choice->type = TOOL_CHOICE_AUTO;
    else if (str_is(type, "none"))
        choice->type = TOOL_CHOICE_NONE;
    else if (str_is(type, "any"))
        choice->type = TOOL_CHOICE_ANY;
    else if (str_is(type, "tool"))
        choice->type = TOOL_CHOICE_TOOL;
    else
        return json_fail(&(struct json_path){.parent = &at, .key = "type"}, r->err,
                         "Input should be 'auto', 'any', 'tool' or 'none'");
    if (choice->type == TOOL_CHOICE_ANY && req->n_tools == 0)
        return json_fail(&at, r->err, "'any' needs tools to choose from");
    if (choice->type != TOOL_CHOICE_TOOL)
        return STATUS_OK;
    st = read_string(r, v, &at, "name", REQUIRED, &choice->name);
    if (st == STATUS_OK && !is_offered(req, choice->name))
        return json_fail(&(struct json_path){.parent = &at, .key = "name"}, r->err,
                         "no tool of this name is offered in `tools`");
    return st;
}

/* ---- Limits and sampling ---- */

static enum status read_sampling(const struct reader *r, const struct json *body,
                                 struct message_request *req)
{
    req->sampling = (struct sampling){.temperature = -1, .top_p = -1, .top_k = -1};
    int64_t top_k = -1;
    enum status st = read_number(r, body, NULL, "temperature", 0, 2, &req->sampling.temperature);
    if (st == STATUS_OK)
        st = read_number(r, body, NULL, "top_p", 0, 1, &req->sampling.top_p);
    if (st == STATUS_OK)
        st = read_integer(r, body, NULL, "top_k", 0, INT32_MAX, OPTIONAL, &top_k);
    if (st == STATUS_OK)
        req->sampling.top_k = (int32_t)top_k;
    return st;
}

static enum status read_stops(const struct reader *r, const struct json *body,
                              struct message_request *req)
{
    struct json_path at = {.key = "stop_sequences"};
    const struct json *list = json_get(body, "stop_sequences");
    if (list == NULL || json_type(list) == JSON_NULL)
        return STATUS_OK;
    if (json_type(list) != JSON_ARRAY)
        return json_fail(&at, r->err, "Input should be a list, not %s", json_type_name(list));
    if (json_length(list) > LIMIT_STOP_SEQUENCES)
        return json_fail(&at, r->err, "at most %d stop sequences are allowed",
                         LIMIT_STOP_SEQUENCES);
    req->stop_sequences = arena_array(r->arena, json_length(list), sizeof *req->stop_sequences);
    if (req->stop_sequences == NULL)
        return too_large(r);
    for (struct json_iter it = json_iter(list); json_next(&it);) {
        struct json_path here = {.parent = &at, .index = it.index};
        struct str s = json_string(it.value);
        if (json_type(it.value) != JSON_STRING)
            return json_fail(&here, r->err, "Input should be a string, not %s",
                             json_type_name(it.value));
        if (s.len == 0 || s.len > LIMIT_STOP_SEQUENCE_BYTES)
            return json_fail(&here, r->err, "should have 1 to %d bytes", LIMIT_STOP_SEQUENCE_BYTES);
        req->stop_sequences[req->n_stop_sequences++] = s;
    }
    return STATUS_OK;
}

static enum status read_thinking_mode(const struct reader *r, const struct json *body,
                                      struct message_request *req)
{
    struct json_path at = {.key = "thinking"};
    const struct json *v = json_get(body, "thinking");
    if (v == NULL || json_type(v) == JSON_NULL)
        return STATUS_OK;
    if (json_type(v) != JSON_OBJECT)
        return json_fail(&at, r->err, "Input should be an object, not %s", json_type_name(v));
    struct str type;
    enum status st = read_string(r, v, &at, "type", REQUIRED, &type);
    if (st != STATUS_OK)
        return st;
    if (str_is(type, "disabled")) {
        req->thinking = THINKING_DISABLED;
    } else if (str_is(type, "adaptive")) {
        req->thinking = THINKING_ADAPTIVE;
    } else if (str_is(type, "enabled")) {
        req->thinking = THINKING_ENABLED;
        int64_t budget = 0;
        st = read_integer(r, v, &at, "budget_tokens", LEAST_THINKING_TOKENS, UINT32_MAX, REQUIRED,
                          &budget);
        req->thinking_budget_tokens = (uint32_t)budget;
    } else {
        return json_fail(&(struct json_path){.parent = &at, .key = "type"}, r->err,
                         "Input should be 'enabled', 'disabled' or 'adaptive'");
    }
    return st;
}

/* output_config.format, and output_format as earlier clients call it. */
static enum status read_output_format(const struct reader *r, const struct json *body,
                                      struct message_request *req)
{
    struct json_path config = {.key = "output_config"};
    struct json_path at = {.parent = &config, .key = "format"};
    const struct json *format = json_get(json_get(body, "output_config"), "format");
    if (format == NULL) {
        at = (struct json_path){.key = "output_format"};
        format = json_get(body, "output_format");
    }
    if (format == NULL || json_type(format) == JSON_NULL)
        return STATUS_OK;
    if (json_type(format) != JSON_OBJECT)
        return json_fail(&at, r->err, "Input should be an object, not %s", json_type_name(format));
    if (!str_is(json_string(json_get(format, "type")), "json_schema"))
        return STATUS_OK;
    const struct json *schema = json_get(format, "schema");
    if (json_type(schema) != JSON_OBJECT)
        return json_fail(&(struct json_path){.parent = &at, .key = "schema"}, r->err,
                         "Input should be an object");
    return read_json_text(r, schema, &req->output_schema_json);
}

static enum status read_stream(const struct reader *r, const struct json *body,
                               struct message_request *req)
{
    return read_bool(r, body, NULL, "stream", &req->stream);
}

enum status anthropic_read(const struct json *body, enum anthropic_endpoint endpoint,
                           struct arena *arena, struct message_request *out, struct error *err)
{
    static enum status (*const parts[])(const struct reader *r, const struct json *body,
                                        struct message_request *req) = {
        read_model,         read_messages, read_system, read_tools,  read_tool_choice, read_sampling,
        read_thinking_mode, read_stops,    read_stream, read_output_format,
    };
    struct reader r = {.arena = arena, .err = err};
    if (json_type(body) != JSON_OBJECT)
        return error_set(err, STATUS_INVALID, "the body should be a JSON object, not %s",
                         json_type_name(body));
    const struct json *thread = json_get(body, "thread");
    if (thread != NULL && json_type(thread) != JSON_NULL)
        return error_set(err, STATUS_UNSUPPORTED,
                         "thread: this server holds no threads; send the whole conversation");

    struct message_request req = {0};
    int64_t max_tokens = 0;
    enum status st = STATUS_OK;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && st == STATUS_OK; i++)
        st = parts[i](&r, body, &req);
    if (st == STATUS_OK)
        st = read_integer(&r, body, NULL, "max_tokens", 1, UINT32_MAX,
                          endpoint == ANTHROPIC_MESSAGES ? REQUIRED : OPTIONAL, &max_tokens);
    if (st != STATUS_OK)
        return st;
    req.max_tokens = (uint32_t)max_tokens;
    *out = req;
    return STATUS_OK;
}
