/* handler_messages -- POST /v1/messages and /v1/messages/count_tokens.
 *
 * A short worker reads the body and starts the turn; everything that can be refused is refused
 * there, before a header is sent.  The turn's own worker then makes bytes of its events, top to
 * bottom. */
#include <stdio.h>

#include "api/anthropic_read.h"
#include "api/anthropic_stream.h"
#include "api/anthropic_write.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/limits.h"
#include "server/handlers.h"
#include "server/reply.h"
#include "server/server_private.h"

enum {
    MESSAGE_ID_BYTES = 32,
    FLUSH_BYTES = 16 * 1024, /* events at hand are sent together up to this */
    PROGRESS_BYTES = 256,
};

/* The TypeScript SDK sends threads at first and goes on without them where it reads this. */
static const char thread_details[] =
    "{\"error_code\":\"thread_unsupported_request\",\"unsupported\":[\"thread\"]}";

static bool is_claude_code(const struct exchange *x)
{
    return str_starts_with(x->head.fields[HTTP_FIELD_USER_AGENT], STR("claude-cli/"));
}

/* ---- Reading ---- */

static enum status read_request(struct exchange *x, enum anthropic_endpoint endpoint,
                                struct error *err)
{
    if (x->body_len == 0)
        return error_set(err, STATUS_INVALID, "the body should be a JSON object, not empty");
    unsigned long n_failures = mem_failures();
    enum status st = json_parse(x->body, x->body_len, JSON_STRICT, &x->doc, err);
    if (st == STATUS_OK)
        st = anthropic_read(json_root(x->doc), endpoint, &x->arena, &x->request, err);
    return mem_check(n_failures, st, err);
}

static void refuse_request(struct exchange *x, const struct error *err)
{
    if (err->status == STATUS_UNSUPPORTED)
        reply_error_details(x, err, str_from(thread_details));
    else
        reply_error(x, err);
}

static struct engine_caller caller_of(const struct exchange *x)
{
    return (struct engine_caller){
        .namespace_key = x->namespace_key,
        .is_agent_client = is_claude_code(x),
        .is_subagent = x->head.has_field[HTTP_FIELD_AGENT_ID],
        .reports_broken_input = is_claude_code(x),
    };
}

void handle_count_tokens(struct exchange *x)
{
    struct error err;
    uint32_t n_tokens = 0;
    struct context_report edits;
    if (read_request(x, ANTHROPIC_COUNT_TOKENS, &err) != STATUS_OK) {
        refuse_request(x, &err);
        return;
    }
    struct engine_caller caller = caller_of(x);
    if (engine_count_tokens(x->server->options.engine, &x->request, &caller, &n_tokens, &edits,
                            &err) != STATUS_OK) {
        reply_error(x, &err);
        return;
    }
    struct strbuf body;
    strbuf_init(&body, 256);
    strbuf_printf(&body, "{\"input_tokens\":%u", n_tokens);
    if (edits.is_wanted)
        strbuf_printf(&body, ",\"context_management\":{\"original_input_tokens\":%u}",
                      edits.original_tokens > 0 ? edits.original_tokens : n_tokens);
    strbuf_append_char(&body, '}');
    reply_buffer(x, 200, REPLY_JSON, &body);
}

/* ---- Streaming ---- */

struct stream {
    struct exchange *x;
    struct anthropic_stream wire;
    struct strbuf out;
    uint64_t sent_ms;    /* when something was last sent */
    uint64_t told_ms;    /* when the last delta came; at first, when the request did */
    bool tells_progress; /* in thinking blocks, where no delta comes for long */
};

/* Claude Code gives up without a delta for 600 s, pings or not, and takes thinking at any time;
 * other clients get it only where they asked for it. */
static bool takes_progress(const struct exchange *x)
{
    return x->request.thinking == THINKING_ENABLED || x->request.thinking == THINKING_ADAPTIVE ||
           is_claude_code(x);
}

static enum status send_out(struct stream *s)
{
    enum status st = strbuf_status(&s->out);
    if (st == STATUS_OK)
        st = exchange_write_chunk(s->x, strbuf_str(&s->out));
    strbuf_clear(&s->out);
    s->sent_ms = clock_now_ms();
    return st;
}

static void feed(struct stream *s, const struct event *ev)
{
    if (ev->type == EVENT_TEXT || ev->type == EVENT_THINKING || ev->type == EVENT_TOOL_INPUT)
        s->told_ms = clock_now_ms();
    if (ev->type == EVENT_DONE || ev->type == EVENT_FAILED)
        s->x->usage = ev->usage;
    anthropic_stream_feed(&s->wire, ev, reply_rule_for(ev->error.status)->type, s->x->request_id,
                          &s->out);
}

static void append_count(struct strbuf *out, uint32_t n)
{
    if (n >= 1000) {
        append_count(out, n / 1000);
        strbuf_printf(out, ",%03u", n % 1000);
    } else {
        strbuf_printf(out, "%u", n);
    }
}

static void describe_progress(const struct stream *s, struct strbuf *out)
{
    struct turn_progress at;
    turn_get_progress(s->x->turn, &at);
    if (at.n_read == 0) {
        strbuf_append_cstr(out, "Waiting for other requests to finish ...");
    } else if (at.n_sampled == 0) {
        strbuf_append_cstr(out, "Reading the prompt: ");
        append_count(out, at.n_read);
        strbuf_append_cstr(out, " of ");
        append_count(out, at.n_prompt);
        strbuf_append_cstr(out, " tokens ...");
    } else {
        strbuf_append_cstr(out, "Writing the reply; tokens so far: ");
        append_count(out, at.n_sampled);
        strbuf_append_cstr(out, " ...");
    }
}

static void tell_progress(struct stream *s)
{
    struct strbuf text;
    strbuf_init(&text, PROGRESS_BYTES);
    describe_progress(s, &text);
    strbuf_append_char(&text, '\n');
    anthropic_stream_progress(&s->wire, strbuf_str(&text), &s->out);
    strbuf_free(&text);
    s->told_ms = clock_now_ms();
}

/* With a comment on how far the turn is, for those who look at the stream itself. */
static void ping(struct stream *s)
{
    struct strbuf text;
    strbuf_init(&text, PROGRESS_BYTES);
    describe_progress(s, &text);
    anthropic_stream_ping(&s->wire, strbuf_str(&text), &s->out);
    strbuf_free(&text);
}

/* When the progress is to be told, if nothing comes before: never inside a block of the reply. */
static uint64_t progress_due_ms(const struct stream *s)
{
    if (!s->tells_progress || s->wire.state == ANTHROPIC_STREAM_BLOCK)
        return UINT64_MAX;
    return s->told_ms + s->x->server->tuning.progress_ms;
}

static unsigned until_ms(uint64_t ping_due_ms, uint64_t progress_due_ms)
{
    uint64_t due_ms = ping_due_ms < progress_due_ms ? ping_due_ms : progress_due_ms;
    uint64_t now_ms = clock_now_ms();
    return due_ms > now_ms ? (unsigned)(due_ms - now_ms) : 0;
}

/* Takes what the turn has to say, waiting for the first of it until a ping or a word on the
 * progress is due. */
static enum status pump(struct stream *s)
{
    uint64_t ping_due_ms = s->sent_ms + s->x->server->tuning.ping_ms;
    unsigned wait_ms = until_ms(ping_due_ms, progress_due_ms(s));
    struct event ev;
    enum status st = turn_next(s->x->turn, wait_ms, &ev);
    while (st == STATUS_OK) {
        feed(s, &ev);
        if (s->wire.state == ANTHROPIC_STREAM_ENDED || s->out.len > FLUSH_BYTES)
            break;
        st = turn_next(s->x->turn, 0, &ev);
    }
    if (s->out.len == 0 && clock_now_ms() >= progress_due_ms(s))
        tell_progress(s);
    if (s->out.len == 0 && clock_now_ms() >= ping_due_ms)
        ping(s);
    return s->out.len > 0 ? send_out(s) : STATUS_OK;
}

static void stream_turn(struct exchange *x, const char *message_id)
{
    struct stream s = {.x = x,
                       .sent_ms = clock_now_ms(),
                       .told_ms = x->started_ms,
                       .tells_progress = takes_progress(x)};
    strbuf_init(&s.out, 16u * LIMIT_REPLY_BYTES);
    anthropic_stream_init(&s.wire);
    enum status st = reply_begin_events(x);
    if (st == STATUS_OK) {
        anthropic_stream_begin(&s.wire, message_id, x->request.model, x->prompt_tokens, &s.out);
        anthropic_stream_ping(&s.wire, STR(""), &s.out);
        st = send_out(&s);
    }
    while (st == STATUS_OK && s.wire.state != ANTHROPIC_STREAM_ENDED && !exchange_is_gone(x))
        st = pump(&s);
    if (st == STATUS_OK)
        exchange_end(x);
    else
        exchange_fail(x);
    strbuf_free(&s.out);
}

/* ---- Whole answers ---- */

static void whole_turn(struct exchange *x, const char *message_id)
{
    struct anthropic_message message;
    anthropic_message_init(&message);
    struct event ev = {.type = EVENT_TEXT};
    while (ev.type != EVENT_DONE && ev.type != EVENT_FAILED)
        if (turn_next(x->turn, LIMIT_PING_MS, &ev) == STATUS_OK)
            anthropic_message_feed(&message, &ev);
        else
            ev.type = EVENT_TEXT;

    x->usage = ev.usage;
    if (ev.type == EVENT_FAILED) {
        reply_error(x, &ev.error);
    } else {
        struct strbuf body;
        strbuf_init(&body, 8u * LIMIT_REPLY_BYTES + 4096);
        anthropic_message_print(&message, message_id, x->request.model, &body);
        if (strbuf_status(&body) == STATUS_OK) {
            reply_whole(x, 200, REPLY_JSON, strbuf_str(&body));
        } else {
            struct error err;
            error_set(&err, STATUS_INTERNAL, "the answer outgrew its buffer; ask for a stream");
            reply_error(x, &err);
        }
        strbuf_free(&body);
    }
    anthropic_message_free(&message);
}

/* Waits for the turn's place, so that the answer's head can tell where its prompt parts from what
 * was known. */
static void find_parting(struct exchange *x)
{
    struct turn_parting p;
    enum status st = STATUS_AGAIN;
    while (st == STATUS_AGAIN && !exchange_is_gone(x))
        st = turn_await_parting(x->turn, LIMIT_PING_MS, &p);
    if (st == STATUS_OK)
        snprintf(x->extra_head, sizeof x->extra_head,
                 "pensieve-prefix: prompt=%u known=%u nearest=%u turn=%u\r\n", p.n_prompt,
                 p.n_known, p.n_nearest, p.turn);
}

static void run_turn(struct exchange *x)
{
    if (x->server->options.tells_prefix)
        find_parting(x);
    char message_id[MESSAGE_ID_BYTES];
    random_id(message_id, sizeof message_id, "msg_");
    if (x->request.stream)
        stream_turn(x, message_id);
    else
        whole_turn(x, message_id);
    exchange_end_turn(x);
}

void handle_messages(struct exchange *x)
{
    struct error err;
    if (read_request(x, ANTHROPIC_MESSAGES, &err) != STATUS_OK) {
        refuse_request(x, &err);
        return;
    }
    struct engine_caller caller = caller_of(x);
    struct turn *turn;
    if (engine_start(x->server->options.engine, &x->request, &caller, &turn, &x->prompt_tokens,
                     &err) != STATUS_OK) {
        reply_error(x, &err);
        return;
    }
    exchange_set_turn(x, turn);
    if (workers_start_turn(x->server->workers, x, run_turn) != STATUS_OK) {
        exchange_end_turn(x);
        error_set(&err, STATUS_BUSY, "too many turns run already; try again shortly");
        reply_error(x, &err);
    }
}
