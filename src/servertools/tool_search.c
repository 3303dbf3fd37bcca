/* Reads the query, has it searched, and writes the answer in the API's shape. */
#include "servertools/tool_search.h"

#include "servertools/tool_bm25.h"
#include "servertools/tool_picks.h"
#include "servertools/tool_regex.h"
#include "wire/json_in.h"
#include "wire/json_out.h"

/* STATUS_INVALID with what the model should do better. */
static enum status read_query(const struct json *input, struct str *out, struct error *err)
{
    const struct json *query = json_get(input, "query");
    if (json_type(input) != JSON_OBJECT || query == NULL)
        return error_set(err, STATUS_INVALID, "the input must be an object with a \"query\"");
    if (json_type(query) != JSON_STRING)
        return error_set(err, STATUS_INVALID, "\"query\" must be a string");
    if (json_string(query).len == 0)
        return error_set(err, STATUS_INVALID, "\"query\" must not be empty");
    *out = json_string(query);
    return STATUS_OK;
}

static void write_references(struct strbuf *to, const struct tool_picks *picks)
{
    struct json_out w;
    json_out_begin(&w, to);
    json_object_begin(&w);
    json_field_cstr(&w, "type", "tool_search_tool_search_result");
    json_key(&w, "tool_references");
    json_array_begin(&w);
    for (size_t i = 0; i < picks->n; i++) {
        json_object_begin(&w);
        json_field_cstr(&w, "type", "tool_reference");
        json_field_str(&w, "tool_name", picks->best[i].tool->name);
        json_object_end(&w);
    }
    json_array_end(&w);
    json_object_end(&w);
    json_out_end(&w);
}

static void write_error(struct strbuf *to, const char *code, const char *message)
{
    struct json_out w;
    json_out_begin(&w, to);
    json_object_begin(&w);
    json_field_cstr(&w, "type", "tool_search_tool_result_error");
    json_field_cstr(&w, "error_code", code);
    json_field_cstr(&w, "error_message", message);
    json_object_end(&w);
    json_out_end(&w);
}

static enum status search(enum tool_search_kind kind, const struct tool *tools, size_t n_tools,
                          struct str query, struct tool_picks *picks, struct error *err)
{
    switch (kind) {
    case TOOL_SEARCH_BY_REGEX:
        return tool_regex_search(tools, n_tools, query, picks, err);
    case TOOL_SEARCH_BY_BM25:
        return tool_bm25_search(tools, n_tools, query, picks);
    }
    return STATUS_INTERNAL;
}

enum status tool_search_run(enum tool_search_kind kind, const struct tool *tools, size_t n_tools,
                            struct str input_json, struct strbuf *content_json)
{
    unsigned long failures = mem_failures();
    struct error err = {.message = "the input is not valid JSON"};
    struct tool_picks picks = {.n = 0};
    struct json_doc *doc = NULL;
    struct str query;
    enum status st = json_parse_copy(input_json, JSON_STRICT, &doc, NULL);
    if (st == STATUS_TOO_LARGE)
        st = STATUS_INVALID;
    if (st == STATUS_OK)
        st = read_query(json_root(doc), &query, &err);
    if (st == STATUS_OK)
        st = search(kind, tools, n_tools, query, &picks, &err);
    json_doc_free(doc);

    if (st == STATUS_OK)
        write_references(content_json, &picks);
    else if (st == STATUS_INVALID)
        write_error(content_json, "invalid_tool_input", err.message);
    else if (st == STATUS_AGAIN)
        write_error(content_json, "execution_time_exceeded",
                    "the pattern takes too long; use a simpler one");
    else
        return st;
    return mem_check(failures, strbuf_status(content_json), NULL);
}
