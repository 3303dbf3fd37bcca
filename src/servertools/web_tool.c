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

enum status web_call_read(struct str declared_json, struct str input_json, const char *key,
                          struct web_call *out)
{
    *out = (struct web_call){0};
    enum status st = read_object(declared_json, &out->declared_doc);
    if (st != STATUS_OK)
        goto out;
    out->declared = json_root(out->declared_doc);
    st = read_object(input_json, &out->input_doc);
    if (st != STATUS_OK)
        goto out;
    const struct json *subject = json_get(json_root(out->input_doc), key);
    out->subject = json_string(subject);
    st = json_type(subject) == JSON_STRING && out->subject.len > 0 ? STATUS_OK : STATUS_INVALID;
    if (st == STATUS_OK)
        st = domain_rules_read(out->declared, &out->domains);
out:
    if (st != STATUS_OK)
        web_call_free(out);
    return st;
}

void web_call_free(struct web_call *c)
{
    if (c == NULL)
        return;
    domain_rules_free(&c->domains);
    json_doc_free(c->input_doc);
    json_doc_free(c->declared_doc);
    *c = (struct web_call){0};
}

void web_write_error(struct strbuf *out, const char *type, const char *code)
{
    struct json_out w;
    json_out_begin(&w, out);
    json_object_begin(&w);
    json_field_cstr(&w, "type", type);
    json_field_cstr(&w, "error_code", code);
    json_object_end(&w);
    json_out_end(&w);
}
