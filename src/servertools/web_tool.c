#include "servertools/web_tool.h"

#include "wire/json_out.h"

/* Too large or too deep is the asker's mistake as well. */
static enum status read_object(struct str text, struct json_doc **out)
{
    enum status st = json_parse_copy(text, JSON_STRICT, out, NULL);
    if (st == STATUS_OK && json_type(json_root(*out)) == JSON_OBJECT)
        return STATUS_OK;
    return st == STATUS_NO_MEMORY ? st : STATUS_INVALID;
}

/* STATUS_INVALID where the declaration or the input is not what it should be. */
static enum status read_call(struct web_call *c, struct str declared_json, struct str input_json)
{
    enum status st = read_object(declared_json, &c->declared_doc);
    if (st == STATUS_OK)
        st = read_object(input_json, &c->input_doc);
    if (st != STATUS_OK)
        return st;
    const struct json *subject = json_get(json_root(c->input_doc), c->tool->key);
    c->declared = json_root(c->declared_doc);
    c->subject = json_string(subject);
    if (json_type(subject) != JSON_STRING || c->subject.len == 0)
        return STATUS_INVALID;
    return domain_rules_read(c->declared, &c->domains);
}

enum status web_call_begin(const struct web_options *o, const struct web_tool *tool,
                           struct str declared_json, struct str input_json, struct web_call *out)
{
    *out = (struct web_call){.tool = tool, .failures = mem_failures()};
    enum status st = STATUS_OK;
    if (o->searxng_url == NULL)
        out->code = "unavailable";
    else if (input_json.len > LIMIT_WEB_INPUT_BYTES)
        out->code = tool->too_long;
    else
        st = read_call(out, declared_json, input_json);
    if (st != STATUS_INVALID)
        return st;
    out->code = "invalid_tool_input";
    return STATUS_OK;
}

static void write_failure(const struct web_call *c, struct strbuf *out)
{
    struct json_out w;
    json_out_begin(&w, out);
    json_object_begin(&w);
    json_field_cstr(&w, "type", c->tool->error_type);
    json_field_cstr(&w, "error_code", c->code);
    json_object_end(&w);
    json_out_end(&w);
}

enum status web_call_end(struct web_call *c, enum status st, struct strbuf *content_json)
{
    domain_rules_free(&c->domains);
    json_doc_free(c->input_doc);
    json_doc_free(c->declared_doc);
    if (st == STATUS_OK && c->code != NULL)
        write_failure(c, content_json);
    return mem_check(c->failures, st == STATUS_OK ? strbuf_status(content_json) : st, NULL);
}
