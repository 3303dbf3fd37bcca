/* anthropic_stream -- see anthropic_stream.h.
 *
 *      START    -> IDLE      [anthropic_stream_begin]     message_start
 *      IDLE     -> BLOCK     [start_block]                content_block_start
 *      BLOCK    -> IDLE      [stop_block]                 content_block_stop
 *      IDLE     -> PROGRESS  [anthropic_stream_progress]  content_block_start, _delta
 *      PROGRESS -> IDLE      [stop_progress]              content_block_stop; the next event
 * follows IDLE     -> ENDED     [end_message]                message_delta, message_stop any ->
 * ENDED     [fail]                       error
 *
 * Shapes: https://docs.claude.com/en/docs/build-with-claude/streaming */
#include "api/anthropic_stream.h"

#include "api/anthropic_write.h"
#include "api/message.h"
#include "base/limits.h"
#include "wire/json_out.h"
#include "wire/sse.h"

void anthropic_stream_init(struct anthropic_stream *s)
{
    *s = (struct anthropic_stream){.state = ANTHROPIC_STREAM_START};
}

static void json_init(struct strbuf *json)
{
    strbuf_init(json, 8u * LIMIT_REPLY_BYTES);
}

/* Writes one event and forgets its JSON. */
static void emit(struct strbuf *out, const char *name, struct strbuf *json)
{
    sse_write(out, name, strbuf_str(json));
    out->failed |= json->failed;
    strbuf_free(json);
}

void anthropic_stream_begin(struct anthropic_stream *s, const char *id, struct str model,
                            uint32_t prompt_tokens, struct strbuf *out)
{
    INVARIANT(s->state == ANTHROPIC_STREAM_START);
    s->state = ANTHROPIC_STREAM_IDLE;
    struct strbuf usage, json;
    strbuf_init(&usage, 1024);
    anthropic_usage_print(&(struct usage){.input_tokens = prompt_tokens}, NULL, &usage);
    json_init(&json);
    struct json_out w;
    json_out_begin(&w, &json);
    json_object_begin(&w);
    json_field_cstr(&w, "type", "message_start");
    json_key(&w, "message");
    json_object_begin(&w);
    json_field_cstr(&w, "id", id);
    json_field_cstr(&w, "type", "message");
    json_field_cstr(&w, "role", "assistant");
    json_field_str(&w, "model", model);
    json_key(&w, "content");
    json_array_begin(&w);
    json_array_end(&w);
    json_key(&w, "stop_reason");
    json_null(&w);
    json_key(&w, "stop_sequence");
    json_null(&w);
    json_key(&w, "usage");
    json_raw(&w, strbuf_str(&usage));
    json_object_end(&w);
    json_object_end(&w);
    json_out_end(&w);
    json.failed |= usage.failed;
    emit(out, "message_start", &json);
    strbuf_free(&usage);
}

void anthropic_stream_ping(struct anthropic_stream *s, struct str note, struct strbuf *out)
{
    if (s->state == ANTHROPIC_STREAM_ENDED)
        return;
    if (note.len > 0)
        sse_comment(out, note);
    sse_write(out, "ping", STR("{\"type\":\"ping\"}"));
}

/* The members of a block that deltas follow, as they are before them. */
static void print_start(struct json_out *w, const struct event *ev)
{
    switch (ev->block) {
    case EVENT_BLOCK_TEXT:
        json_field_cstr(w, "type", "text");
        json_field_cstr(w, "text", "");
        break;
    case EVENT_BLOCK_THINKING:
        json_field_cstr(w, "type", "thinking");
        json_field_cstr(w, "thinking", "");
        json_field_cstr(w, "signature", "");
        break;
    case EVENT_BLOCK_TOOL_USE:
    case EVENT_BLOCK_SERVER_TOOL_USE:
        json_field_cstr(w, "type",
                        ev->block == EVENT_BLOCK_TOOL_USE ? "tool_use" : "server_tool_use");
        json_field_str(w, "id", ev->id);
        json_field_str(w, "name", ev->name);
        json_key(w, "input");
        json_object_begin(w);
        json_object_end(w);
        break;
    case EVENT_BLOCK_COMPACTION:
        json_field_cstr(w, "type", "compaction");
        json_key(w, "content");
        json_null(w);
        break;
    case EVENT_BLOCK_SERVER_RESULT: /* has none, and stands whole */
        break;
    }
}

static void start_block(struct anthropic_stream *s, const struct event *ev, struct strbuf *out)
{
    INVARIANT(s->state == ANTHROPIC_STREAM_IDLE);
    s->state = ANTHROPIC_STREAM_BLOCK;
    s->kind = ev->block;
    struct strbuf json;
    json_init(&json);
    struct json_out w;
    json_out_begin(&w, &json);
    json_object_begin(&w);
    json_field_cstr(&w, "type", "content_block_start");
    json_field_int(&w, "index", s->index);
    json_key(&w, "content_block");
    if (ev->block == EVENT_BLOCK_SERVER_RESULT) {
        json_raw(&w, ev->json);
    } else {
        json_object_begin(&w);
        print_start(&w, ev);
        json_object_end(&w);
    }
    json_object_end(&w);
    json_out_end(&w);
    emit(out, "content_block_start", &json);
}

/* A content_block_delta whose delta is {"type": type, member: text}. */
static void delta(struct anthropic_stream *s, const char *type, const char *member, struct str text,
                  struct strbuf *out)
{
    INVARIANT(s->state == ANTHROPIC_STREAM_BLOCK || s->state == ANTHROPIC_STREAM_PROGRESS);
    struct strbuf json;
    json_init(&json);
    struct json_out w;
    json_out_begin(&w, &json);
    json_object_begin(&w);
    json_field_cstr(&w, "type", "content_block_delta");
    json_field_int(&w, "index", s->index);
    json_key(&w, "delta");
    json_object_begin(&w);
    json_field_cstr(&w, "type", type);
    json_field_str(&w, member, text);
    json_object_end(&w);
    json_object_end(&w);
    json_out_end(&w);
    emit(out, "content_block_delta", &json);
}

static void stop_block(struct anthropic_stream *s, const struct event *ev, struct strbuf *out)
{
    if (s->kind == EVENT_BLOCK_THINKING)
        delta(s, "signature_delta", "signature", ev->signature, out);
    INVARIANT(s->state == ANTHROPIC_STREAM_BLOCK || s->state == ANTHROPIC_STREAM_PROGRESS);
    s->state = ANTHROPIC_STREAM_IDLE;
    struct strbuf json;
    json_init(&json);
    strbuf_printf(&json, "{\"type\":\"content_block_stop\",\"index\":%u}", s->index);
    emit(out, "content_block_stop", &json);
    s->index++;
}

void anthropic_stream_progress(struct anthropic_stream *s, struct str text, struct strbuf *out)
{
    if (s->state != ANTHROPIC_STREAM_PROGRESS) {
        start_block(s, &(struct event){.type = EVENT_BLOCK_START, .block = EVENT_BLOCK_THINKING},
                    out);
        s->state = ANTHROPIC_STREAM_PROGRESS;
    }
    delta(s, "thinking_delta", "thinking", text, out);
}

static void stop_progress(struct anthropic_stream *s, struct strbuf *out)
{
    stop_block(s, &(struct event){.type = EVENT_BLOCK_STOP, .signature = STR(PROGRESS_SIGNATURE)},
               out);
}

static void end_message(struct anthropic_stream *s, const struct event *ev, struct strbuf *out)
{
    INVARIANT(s->state == ANTHROPIC_STREAM_IDLE);
    s->state = ANTHROPIC_STREAM_ENDED;
    struct strbuf usage, json;
    strbuf_init(&usage, 1024);
    anthropic_usage_print(&ev->usage, ev->work, &usage);
    json_init(&json);
    struct json_out w;
    json_out_begin(&w, &json);
    json_object_begin(&w);
    json_field_cstr(&w, "type", "message_delta");
    json_key(&w, "delta");
    json_object_begin(&w);
    json_field_cstr(&w, "stop_reason", anthropic_stop_reason(ev->reason));
    json_key(&w, "stop_sequence");
    if (ev->reason == STOP_SEQUENCE)
        json_str(&w, ev->stop_sequence);
    else
        json_null(&w);
    json_object_end(&w);
    json_key(&w, "usage");
    json_raw(&w, strbuf_str(&usage));
    if (ev->edits != NULL && ev->edits->is_wanted)
        anthropic_edits_print(ev->edits, &w);
    json_object_end(&w);
    json_out_end(&w);
    json.failed |= usage.failed;
    emit(out, "message_delta", &json);
    strbuf_free(&usage);
    sse_write(out, "message_stop", STR("{\"type\":\"message_stop\"}"));
}

static void fail(struct anthropic_stream *s, const struct event *ev, const char *error_type,
                 const char *request_id, struct strbuf *out)
{
    s->state = ANTHROPIC_STREAM_ENDED;
    struct strbuf json;
    json_init(&json);
    anthropic_error_print(error_type, ev->error.message, (struct str){0}, request_id, &json);
    emit(out, "error", &json);
}

void anthropic_stream_feed(struct anthropic_stream *s, const struct event *ev,
                           const char *error_type, const char *request_id, struct strbuf *out)
{
    INVARIANT(s->state != ANTHROPIC_STREAM_START && s->state != ANTHROPIC_STREAM_ENDED);
    if (s->state == ANTHROPIC_STREAM_PROGRESS)
        stop_progress(s, out);
    switch (ev->type) {
    case EVENT_BLOCK_START:
        start_block(s, ev, out);
        break;
    case EVENT_TEXT:
        delta(s, "text_delta", "text", ev->text, out);
        break;
    case EVENT_THINKING:
        delta(s, "thinking_delta", "thinking", ev->text, out);
        break;
    case EVENT_TOOL_INPUT:
        delta(s, "input_json_delta", "partial_json", ev->text, out);
        break;
    case EVENT_SUMMARY:
        delta(s, "compaction_delta", "content", ev->text, out);
        break;
    case EVENT_BLOCK_STOP:
        stop_block(s, ev, out);
        break;
    case EVENT_DONE:
        end_message(s, ev, out);
        break;
    case EVENT_FAILED:
        fail(s, ev, error_type, request_id, out);
        break;
    }
}
