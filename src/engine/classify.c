#include "engine/classify.h"

#include "wire/json_in.h"

/* Members that the schemas of titles have had. */
static bool is_member_of_title(struct str name)
{
    return str_equal(name, STR("title")) || str_equal(name, STR("isNewTopic"));
}

/* Whether the answer is an object with a title and nothing of use besides. */
static bool wants_title(struct str schema)
{
    struct json_doc *doc;
    struct error err;
    if (schema.len == 0 || json_parse_copy(schema, JSON_STRICT, &doc, &err) != STATUS_OK)
        return false;
    const struct json *members = json_get(json_root(doc), "properties");
    bool is_title = json_get(members, "title") != NULL;
    for (struct json_iter it = json_iter(members); json_next(&it);)
        is_title = is_title && is_member_of_title(it.key);
    json_doc_free(doc);
    return is_title;
}

enum job_class classify_request(const struct message_request *req,
                                const struct engine_caller *caller)
{
    if (caller->is_agent_client && req->n_tools == 0 && wants_title(req->output_schema_json))
        return JOB_BACKGROUND;
    return caller->is_subagent ? JOB_SUBAGENT : JOB_INTERACTIVE;
}
