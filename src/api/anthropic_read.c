/* anthropic_read -- see anthropic_read.h.  One function per member of the body; the table at the
 * end is the order in which they are read, and so which error comes first. */
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
    if (st == STATUS_OK && (req->model.len == 0 || req->model.len > LIMIT_MODEL_NAME_BYTES))
        return fail_at(r, NULL, "model", "String should have 1 to %d bytes",
                       LIMIT_MODEL_NAME_BYTES);
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
        return fail_at(r, at, "role", "Input should be 'user', 'assistant' or 'system'");
    return STATUS_OK;
}

static enum status read_message(const struct reader *r, const struct json *v,
                                const struct json_path *at, struct message *out)
{
    static const enum place places[] = {
        [ROLE_SYSTEM] = PLACE_SYSTEM,
        [ROLE_USER] = PLACE_USER,
        [ROLE_ASSISTANT] = PLACE_ASSISTANT,
    };
    enum status st = expect_object(r, v, at);
    if (st == STATUS_OK)
        st = read_role(r, v, at, &out->role);
    if (st != STATUS_OK)
        return st;
    const struct json *content = json_get(v, "content");
    /* A system message may carry nothing but settings for the turns after it. */
    if (out->role == ROLE_SYSTEM && json_type(content) == JSON_NULL)
        return STATUS_OK;
    if (content == NULL)
        return fail_at(r, at, "content", "Field required");
    struct json_path here = {.parent = at, .key = "content"};
    return read_content(r, content, &here, places[out->role], &out->blocks, &out->n_blocks);
}

static enum status read_messages(const struct reader *r, const struct json *body,
                                 struct message_request *req)
{
    struct json_path at = {.key = "messages"};
    const struct json *list;
    enum status st = read_list(r, body, NULL, "messages", REQUIRED, LIMIT_MESSAGES, &list);
    if (st != STATUS_OK)
        return st;
    if (json_length(list) == 0)
        return json_fail(&at, r->err, "at least one message is required");
    req->messages = arena_array(r->arena, json_length(list), sizeof *req->messages);
    if (req->messages == NULL)
        return too_large(r);
    for (struct json_iter it = json_iter(list); json_next(&it);) {
        struct json_path here = {.parent = &at, .index = it.index};
        st = read_message(r, it.value, &here, &req->messages[it.index]);
        if (st != STATUS_OK)
            return st;
    }
    req->n_messages = json_length(list);
    return read_rounds(r, req);
}

static enum status read_system(const struct reader *r, const struct json *body,
                               struct message_request *req)
{
    const struct json *v = json_get(body, "system");
    if (json_type(v) == JSON_NULL)
        return STATUS_OK;
    struct json_path at = {.key = "system"};
    return read_content(r, v, &at, PLACE_SYSTEM, &req->system, &req->n_system);
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
    if (st == STATUS_OK && req->sampling.top_p == 0)
        st = fail_at(r, NULL, "top_p",
                     "Input should be greater than 0; for the likeliest token "
                     "alone use temperature 0 or top_k 1");
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
    const struct json *list;
    enum status st =
        read_list(r, body, NULL, "stop_sequences", OPTIONAL, LIMIT_STOP_SEQUENCES, &list);
    if (st != STATUS_OK || list == NULL)
        return st;
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
            return json_fail(&here, r->err, "String should have 1 to %d bytes",
                             LIMIT_STOP_SEQUENCE_BYTES);
        req->stop_sequences[req->n_stop_sequences++] = s;
    }
    return STATUS_OK;
}

static enum status read_thinking_mode(const struct reader *r, const struct json *body,
                                      struct message_request *req)
{
    struct json_path at = {.key = "thinking"};
    const struct json *v;
    struct str type = {0}, display = {0};
    enum status st = read_object(r, body, NULL, "thinking", OPTIONAL, &v);
    if (st == STATUS_OK && v != NULL)
        st = read_string(r, v, &at, "type", REQUIRED, &type);
    if (st == STATUS_OK && v != NULL)
        st = read_string(r, v, &at, "display", OPTIONAL, &display);
    if (st != STATUS_OK || v == NULL)
        return st;
    req->omits_thinking = str_is(display, "omitted");
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
        return fail_at(r, &at, "type", "Input should be 'enabled', 'disabled' or 'adaptive'");
    }
    return st;
}

/* output_config.format, and output_format as earlier clients call it. */
static enum status read_output_format(const struct reader *r, const struct json *body,
                                      struct message_request *req)
{
    const struct json_path config_at = {.key = "output_config"};
    const struct json *config, *format = NULL, *schema;
    enum status st = read_object(r, body, NULL, "output_config", OPTIONAL, &config);
    if (st == STATUS_OK)
        st = read_object(r, config, &config_at, "format", OPTIONAL, &format);
    struct json_path at = {.parent = &config_at, .key = "format"};
    if (st == STATUS_OK && format == NULL) {
        at = (struct json_path){.key = "output_format"};
        st = read_object(r, body, NULL, "output_format", OPTIONAL, &format);
    }
    if (st != STATUS_OK || format == NULL)
        return st;

    struct str type;
    st = read_string(r, format, &at, "type", REQUIRED, &type);
    if (st == STATUS_OK && !str_is(type, "json_schema"))
        return fail_at(r, &at, "type", "Input should be 'json_schema'");
    if (st == STATUS_OK)
        st = read_object(r, format, &at, "schema", REQUIRED, &schema);
    return st == STATUS_OK ? read_json_text(r, schema, &req->output_schema_json) : st;
}

/* Names that are not known here are of models to come: no limit. */
static enum status read_effort(const struct reader *r, const struct json *body,
                               struct message_request *req)
{
    const struct json_path at = {.key = "output_config"};
    const struct json *config;
    struct str effort = {0};
    enum status st = read_object(r, body, NULL, "output_config", OPTIONAL, &config);
    if (st == STATUS_OK && config != NULL)
        st = read_string(r, config, &at, "effort", OPTIONAL, &effort);
    if (str_is(effort, "low"))
        req->effort = EFFORT_LOW;
    else if (str_is(effort, "medium"))
        req->effort = EFFORT_MEDIUM;
    else if (str_is(effort, "high") || str_is(effort, "xhigh") || str_is(effort, "max"))
        req->effort = EFFORT_HIGH;
    return st;
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
        read_model,
        read_messages,
        read_system,
        read_tools,
        read_tool_choice,
        read_sampling,
        read_thinking_mode,
        read_stops,
        read_stream,
        read_output_format,
        read_effort,
        read_context_edits,
        read_compaction_config,
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
    enum presence presence = endpoint == ANTHROPIC_MESSAGES ? REQUIRED : OPTIONAL;
    enum status st = STATUS_OK;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && st == STATUS_OK; i++)
        st = parts[i](&r, body, &req);
    if (st == STATUS_OK)
        st = read_integer(&r, body, NULL, "max_tokens", 1, UINT32_MAX, presence, &max_tokens);
    if (st != STATUS_OK)
        return st;
    req.max_tokens = endpoint == ANTHROPIC_MESSAGES ? (uint32_t)max_tokens : 0;
    *out = req;
    return STATUS_OK;
}
