#include "api/anthropic_write.h"

#include "base/limits.h"
#include "wire/json_in.h"
#include "wire/json_out.h"

const char *anthropic_stop_reason(enum stop_reason reason)
{
    switch (reason) {
    case STOP_END_TURN:
        return "end_turn";
    case STOP_MAX_TOKENS:
        return "max_tokens";
    case STOP_SEQUENCE:
        return "stop_sequence";
    case STOP_TOOL_USE:
        return "tool_use";
    case STOP_CONTEXT_WINDOW:
        return "model_context_window_exceeded";
    case STOP_PAUSE:
        return "pause_turn";
    case STOP_COMPACTION:
        return "compaction";
    }
    return "end_turn";
}

/* The counts, as members of an object that is open. */
static void print_counts(struct json_out *w, const struct usage *u)
{
    json_field_int(w, "input_tokens", u->input_tokens);
    json_field_int(w, "cache_creation_input_tokens", u->cache_creation_tokens);
    json_field_int(w, "cache_read_input_tokens", u->cache_read_tokens);
    json_key(w, "cache_creation");
    json_object_begin(w);
    json_field_int(w, "ephemeral_5m_input_tokens", u->cache_creation_tokens);
    json_field_int(w, "ephemeral_1h_input_tokens", 0);
    json_object_end(w);
    json_field_int(w, "output_tokens", u->output_tokens);
}

static void print_iteration(struct json_out *w, const char *type, const struct usage *u)
{
    json_object_begin(w);
    json_field_cstr(w, "type", type);
    print_counts(w, u);
    json_object_end(w);
}

static void print_work(struct json_out *w, const struct usage *u, const struct server_work *work)
{
    if (work->n_web_searches + work->n_web_fetches > 0) {
        json_key(w, "server_tool_use");
        json_object_begin(w);
        json_field_int(w, "web_search_requests", work->n_web_searches);
        json_field_int(w, "web_fetch_requests", work->n_web_fetches);
        json_object_end(w);
    }
    if (work->has_compaction) {
        json_key(w, "iterations");
        json_array_begin(w);
        print_iteration(w, "compaction", &work->compaction);
        if (u->output_tokens > 0)
            print_iteration(w, "message", u);
        json_array_end(w);
    }
}

void anthropic_usage_print(const struct usage *u, const struct server_work *work,
                           struct strbuf *out)
{
    struct json_out w;
    json_out_begin(&w, out);
    json_object_begin(&w);
    print_counts(&w, u);
    if (work != NULL)
        print_work(&w, u, work);
    json_field_cstr(&w, "service_tier", "standard");
    json_object_end(&w);
    json_out_end(&w);
}

void anthropic_edits_print(const struct context_report *report, struct json_out *w)
{
    json_key(w, "context_management");
    json_object_begin(w);
    json_key(w, "applied_edits");
    json_array_begin(w);
    for (size_t i = 0; i < report->n_applied; i++) {
        const struct applied_edit *edit = &report->applied[i];
        bool is_thinking = edit->type == EDIT_CLEAR_THINKING;
        json_object_begin(w);
        json_field_cstr(w, "type",
                        is_thinking ? "clear_thinking_20251015" : "clear_tool_uses_20250919");
        json_field_int(w, is_thinking ? "cleared_thinking_turns" : "cleared_tool_uses",
                       edit->n_cleared);
        json_field_int(w, "cleared_input_tokens", edit->cleared_tokens);
        json_object_end(w);
    }
    json_array_end(w);
    json_object_end(w);
}

void anthropic_message_init(struct anthropic_message *m)
{
    *m = (struct anthropic_message){.first = true};
    strbuf_init(&m->content, 8u * LIMIT_REPLY_BYTES); /* escapes make text up to six times longer */
    strbuf_init(&m->text, LIMIT_REPLY_BYTES);
    strbuf_init(&m->stop_sequence, LIMIT_STOP_SEQUENCE_BYTES);
}

void anthropic_message_free(struct anthropic_message *m)
{
    strbuf_free(&m->content);
    strbuf_free(&m->text);
    strbuf_free(&m->stop_sequence);
}

/* The beginning of a block's object, up to the member that the deltas fill. */
static void begin_block(struct anthropic_message *m, const struct event *ev)
{
    if (!m->first)
        strbuf_append_char(&m->content, ',');
    m->first = false;
    m->kind = ev->block;
    strbuf_clear(&m->text);
    if (ev->block == EVENT_BLOCK_SERVER_RESULT)
        strbuf_append_str(&m->content, ev->json);
    if (ev->block != EVENT_BLOCK_TOOL_USE && ev->block != EVENT_BLOCK_SERVER_TOOL_USE)
        return;
    strbuf_append_cstr(&m->content, ev->block == EVENT_BLOCK_TOOL_USE
                                        ? "{\"type\":\"tool_use\",\"id\":\""
                                        : "{\"type\":\"server_tool_use\",\"id\":\"");
    json_escape(&m->content, ev->id);
    strbuf_append_cstr(&m->content, "\",\"name\":\"");
    json_escape(&m->content, ev->name);
    strbuf_append_cstr(&m->content, "\",\"input\":");
}

/* A tool's input as it was written where that is a JSON object.  One that was cut is nothing that a
 * client may run: it stands as a string under a name that no schema has, which is what Claude Code
 * itself makes of an input that it could not parse. */
static void print_input(struct strbuf *out, struct str text)
{
    struct json_doc *doc = NULL;
    enum status st = text.len > 0 ? json_parse_copy(text, JSON_STRICT, &doc, NULL) : STATUS_INVALID;
    if (text.len == 0) {
        strbuf_append_cstr(out, "{}");
    } else if (st == STATUS_OK && json_type(json_root(doc)) == JSON_OBJECT) {
        json_print(out, json_root(doc));
    } else if (st == STATUS_NO_MEMORY) {
        out->failed = true; /* nothing is known of it */
    } else {
        strbuf_append_cstr(out, "{\"__unparsedToolInput\":{\"raw\":\"");
        json_escape(out, text);
        strbuf_append_cstr(out, "\"}}");
    }
    json_doc_free(doc);
}

/* "" is no summary: one that failed is null, as in the hosted API. */
static void print_summary(struct strbuf *out, struct str text)
{
    strbuf_append_cstr(out, "{\"type\":\"compaction\",\"content\":");
    if (text.len > 0) {
        strbuf_append_char(out, '"');
        json_escape(out, text);
        strbuf_append_cstr(out, "\"}");
    } else {
        strbuf_append_cstr(out, "null}");
    }
}

static void end_block(struct anthropic_message *m, const struct event *ev)
{
    struct strbuf *out = &m->content;
    struct str text = strbuf_str(&m->text);
    out->failed |= m->text.failed; /* `text` is emptied for the next block; `content` remembers */
    switch (m->kind) {
    case EVENT_BLOCK_TEXT:
        strbuf_append_cstr(out, "{\"type\":\"text\",\"text\":\"");
        json_escape(out, text);
        strbuf_append_cstr(out, "\"}");
        break;
    case EVENT_BLOCK_THINKING:
        strbuf_append_cstr(out, "{\"type\":\"thinking\",\"thinking\":\"");
        json_escape(out, text);
        strbuf_append_cstr(out, "\",\"signature\":\"");
        json_escape(out, ev->signature);
        strbuf_append_cstr(out, "\"}");
        break;
    case EVENT_BLOCK_TOOL_USE:
    case EVENT_BLOCK_SERVER_TOOL_USE:
        print_input(out, text);
        strbuf_append_char(out, '}');
        break;
    case EVENT_BLOCK_SERVER_RESULT:
        break;
    case EVENT_BLOCK_COMPACTION:
        print_summary(out, text);
        break;
    }
}

void anthropic_message_feed(struct anthropic_message *m, const struct event *ev)
{
    switch (ev->type) {
    case EVENT_BLOCK_START:
        begin_block(m, ev);
        break;
    case EVENT_TEXT:
    case EVENT_THINKING:
    case EVENT_TOOL_INPUT:
    case EVENT_SUMMARY:
        strbuf_append_str(&m->text, ev->text);
        break;
    case EVENT_BLOCK_STOP:
        end_block(m, ev);
        break;
    case EVENT_DONE:
        m->reason = ev->reason;
        m->usage = ev->usage;
        if (ev->edits != NULL)
            m->edits = *ev->edits;
        if (ev->work != NULL)
            m->work = *ev->work;
        strbuf_append_str(&m->stop_sequence, ev->stop_sequence);
        break;
    case EVENT_FAILED:
        break;
    }
}

void anthropic_message_print(const struct anthropic_message *m, const char *id, struct str model,
                             struct strbuf *out)
{
    struct strbuf usage;
    strbuf_init(&usage, 1024);
    anthropic_usage_print(&m->usage, &m->work, &usage);

    out->failed |= m->content.failed || m->stop_sequence.failed || usage.failed;
    struct json_out w;
    json_out_begin(&w, out);
    json_object_begin(&w);
    json_field_cstr(&w, "id", id);
    json_field_cstr(&w, "type", "message");
    json_field_cstr(&w, "role", "assistant");
    json_field_str(&w, "model", model);
    json_key(&w, "content");
    strbuf_append_char(out, '[');
    json_raw(&w, strbuf_str(&m->content));
    strbuf_append_char(out, ']');
    json_field_cstr(&w, "stop_reason", anthropic_stop_reason(m->reason));
    json_key(&w, "stop_sequence");
    if (m->reason == STOP_SEQUENCE)
        json_str(&w, strbuf_str(&m->stop_sequence));
    else
        json_null(&w);
    json_key(&w, "usage");
    json_raw(&w, strbuf_str(&usage));
    if (m->edits.is_wanted)
        anthropic_edits_print(&m->edits, &w);
    json_object_end(&w);
    json_out_end(&w);
    strbuf_free(&usage);
}

void anthropic_error_print(const char *type, const char *message, struct str details_json,
                           const char *request_id, struct strbuf *out)
{
    struct json_out w;
    json_out_begin(&w, out);
    json_object_begin(&w);
    json_field_cstr(&w, "type", "error");
    json_key(&w, "error");
    json_object_begin(&w);
    json_field_cstr(&w, "type", type);
    json_field_cstr(&w, "message", message);
    if (details_json.len > 0) {
        json_key(&w, "details");
        json_raw(&w, details_json);
    }
    json_object_end(&w);
    json_field_cstr(&w, "request_id", request_id);
    json_object_end(&w);
    json_out_end(&w);
}
