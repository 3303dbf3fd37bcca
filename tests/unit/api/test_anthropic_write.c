/* Whole answers and streams: the hosted shapes letter by letter, and that both say the same. */
#include "support/check.h"

#include "api/anthropic_stream.h"
#include "api/anthropic_write.h"
#include "base/limits.h"
#include "wire/json_in.h"

enum {
    OUT_BYTES = 64u * 1024 * 1024,
};

static const struct usage usage_of_test = {
    .input_tokens = 3,
    .cache_creation_tokens = 20,
    .cache_read_tokens = 100,
    .output_tokens = 7,
};

#define USAGE_OF_TEST                                                                              \
    "{\"input_tokens\":3,\"cache_creation_input_tokens\":20,\"cache_read_input_tokens\":100,"      \
    "\"cache_creation\":{\"ephemeral_5m_input_tokens\":20,\"ephemeral_1h_input_tokens\":0},"       \
    "\"output_tokens\":7,\"service_tier\":\"standard\"}"

static struct event block_start(enum event_block block)
{
    return (struct event){.type = EVENT_BLOCK_START, .block = block};
}

static struct event tool_start(const char *id, const char *name)
{
    return (struct event){.type = EVENT_BLOCK_START,
                          .block = EVENT_BLOCK_TOOL_USE,
                          .id = str_from(id),
                          .name = str_from(name)};
}

static struct event piece(enum event_type type, const char *text)
{
    return (struct event){.type = type, .text = str_from(text)};
}

static struct event block_stop(const char *signature)
{
    return (struct event){.type = EVENT_BLOCK_STOP, .signature = str_from(signature)};
}

static struct event done(enum stop_reason reason, const char *sequence)
{
    return (struct event){.type = EVENT_DONE,
                          .reason = reason,
                          .stop_sequence = str_from(sequence),
                          .usage = usage_of_test};
}

static void print_whole(const struct event *events, size_t n, struct strbuf *out)
{
    struct anthropic_message m;
    anthropic_message_init(&m);
    for (size_t i = 0; i < n; i++)
        anthropic_message_feed(&m, &events[i]);
    strbuf_init(out, OUT_BYTES);
    anthropic_message_print(&m, "msg_1", STR("claude-x"), out);
    anthropic_message_free(&m);
}

static void print_stream(const struct event *events, size_t n, struct strbuf *out)
{
    struct anthropic_stream s;
    anthropic_stream_init(&s);
    strbuf_init(out, OUT_BYTES);
    anthropic_stream_begin(&s, "msg_1", STR("claude-x"), 123, out);
    for (size_t i = 0; i < n; i++)
        anthropic_stream_feed(&s, &events[i], "overloaded_error", "req_1", out);
    assert_int_equal(s.state, ANTHROPIC_STREAM_ENDED);
}

/* ---- Whole answers ---- */

static void test_anthropic_message__has_the_hosted_shape(void **state)
{
    (void)state;
    const struct event events[] = {
        block_start(EVENT_BLOCK_THINKING),
        piece(EVENT_THINKING, "h\"m"),
        piece(EVENT_THINKING, "m"),
        block_stop("sig"),
        block_start(EVENT_BLOCK_TEXT),
        piece(EVENT_TEXT, "Hi\n"),
        piece(EVENT_TEXT, "\xF0\x9F\x98\x80"),
        block_stop(""),
        tool_start("toolu_1", "Read"),
        piece(EVENT_TOOL_INPUT, "{\"b\": 1.0, "),
        piece(EVENT_TOOL_INPUT, "\"a\": 2}"),
        block_stop(""),
        tool_start("toolu_2", "Now"),
        block_stop(""),
        done(STOP_TOOL_USE, ""),
    };
    struct strbuf out;
    print_whole(events, sizeof events / sizeof events[0], &out);
    CHECK_STR(strbuf_str(&out),
              "{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\","
              "\"model\":\"claude-x\",\"content\":["
              "{\"type\":\"thinking\",\"thinking\":\"h\\\"mm\",\"signature\":\"sig\"},"
              "{\"type\":\"text\",\"text\":\"Hi\\n\xF0\x9F\x98\x80\"},"
              "{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"Read\","
              "\"input\":{\"b\":1.0,\"a\":2}},"
              "{\"type\":\"tool_use\",\"id\":\"toolu_2\",\"name\":\"Now\",\"input\":{}}],"
              "\"stop_reason\":\"tool_use\",\"stop_sequence\":null,\"usage\":" USAGE_OF_TEST "}");
    strbuf_free(&out);
}

static void test_anthropic_edits__are_told_whole_and_streamed(void **state)
{
    (void)state;
    static const struct context_report report = {
        .is_wanted = true,
        .applied = {{EDIT_CLEAR_THINKING, 4, 900}, {EDIT_CLEAR_TOOL_USES, 8, 50000}},
        .n_applied = 2};
    static const struct context_report none = {.is_wanted = true}, unwanted = {0};
    static const char told[] =
        "\"context_management\":{\"applied_edits\":[{\"type\":\"clear_thinking_20251015\","
        "\"cleared_thinking_turns\":4,\"cleared_input_tokens\":900},"
        "{\"type\":\"clear_tool_uses_20250919\",\"cleared_tool_uses\":8,"
        "\"cleared_input_tokens\":50000}]}";
    static const struct {
        const struct context_report *report;
        const char *told;
    } cases[] = {
        {&report, told},
        {&none, "\"context_management\":{\"applied_edits\":[]}"},
        {&unwanted, NULL},
        {NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct event end = done(STOP_END_TURN, "");
        struct strbuf whole, stream;
        end.edits = cases[i].report;
        print_whole(&end, 1, &whole);
        print_stream(&end, 1, &stream);
        const char *wanted = cases[i].told != NULL ? cases[i].told : "\"usage\"";
        assert_non_null(strstr(strbuf_cstr(&whole), wanted));
        assert_non_null(strstr(strbuf_cstr(&stream), wanted));
        assert_int_equal(strstr(strbuf_cstr(&whole), "context_management") != NULL,
                         cases[i].told != NULL);
        assert_int_equal(strstr(strbuf_cstr(&stream), "context_management") != NULL,
                         cases[i].told != NULL);
        strbuf_free(&whole);
        strbuf_free(&stream);
    }
}

static void test_anthropic_message__without_blocks_has_empty_content(void **state)
{
    (void)state;
    const struct event events[] = {done(STOP_SEQUENCE, "\n\nHuman:")};
    struct strbuf out;
    print_whole(events, 1, &out);
    CHECK_STR(strbuf_str(&out),
              "{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\","
              "\"model\":\"claude-x\",\"content\":[],\"stop_reason\":\"stop_sequence\","
              "\"stop_sequence\":\"\\n\\nHuman:\",\"usage\":" USAGE_OF_TEST "}");
    strbuf_free(&out);
}

static void test_anthropic_message__an_input_that_is_no_object_stays_a_string(void **state)
{
    (void)state;
    static const struct {
        const char *input, *printed;
    } cases[] = {
        {"", "{}"},
        {" { } ", "{}"},
        {"{\"a\":", "{\"__unparsedToolInput\":{\"raw\":\"{\\\"a\\\":\"}}"},
        {"{\"a\":\"cut in a str", "{\"__unparsedToolInput\":{\"raw\":\"{\\\"a\\\":\\\"cut in a "
                                  "str\"}}"},
        {"[1]", "{\"__unparsedToolInput\":{\"raw\":\"[1]\"}}"},
        {"null", "{\"__unparsedToolInput\":{\"raw\":\"null\"}}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct event events[] = {tool_start("t", "n"),
                                       piece(EVENT_TOOL_INPUT, cases[i].input), block_stop(""),
                                       done(STOP_MAX_TOKENS, "")};
        struct strbuf out, wanted;
        print_whole(events, 4, &out);
        strbuf_init(&wanted, 1000);
        strbuf_printf(&wanted, "\"input\":%s}],\"stop_reason\":\"max_tokens\"", cases[i].printed);
        if (str_find(strbuf_str(&out), strbuf_str(&wanted)) == SIZE_MAX)
            fail_msg("%s is not in %s", strbuf_cstr(&wanted), strbuf_cstr(&out));
        strbuf_free(&wanted);
        strbuf_free(&out);
    }
}

static void test_anthropic_message__a_reply_over_the_ceiling_fails_and_is_not_cut(void **state)
{
    (void)state;
    struct anthropic_message m;
    anthropic_message_init(&m);
    struct strbuf text, out;
    strbuf_init(&text, 1024u * 1024);
    while (text.len < text.limit)
        strbuf_append_char(&text, 'x');
    struct event start = block_start(EVENT_BLOCK_TEXT), stop = block_stop("");
    struct event more = {.type = EVENT_TEXT, .text = strbuf_str(&text)};
    struct event end = done(STOP_END_TURN, "");
    anthropic_message_feed(&m, &start);
    for (size_t bytes = 0; bytes <= LIMIT_REPLY_BYTES; bytes += text.len)
        anthropic_message_feed(&m, &more);
    anthropic_message_feed(&m, &stop);
    /* A block that fits does not make up for it. */
    anthropic_message_feed(&m, &start);
    anthropic_message_feed(&m, &stop);
    anthropic_message_feed(&m, &end);
    strbuf_init(&out, OUT_BYTES);
    anthropic_message_print(&m, "msg_1", STR("m"), &out);
    assert_int_equal(strbuf_status(&out), STATUS_TOO_LARGE);
    strbuf_free(&out);
    strbuf_free(&text);
    anthropic_message_free(&m);
}

/* A turn in which the server summed up and ran a tool. */
static void test_anthropic_work__is_told_whole_and_streamed(void **state)
{
    (void)state;
    static const struct server_work work = {
        .n_web_searches = 2,
        .n_web_fetches = 1,
        .has_compaction = true,
        .compaction = {.input_tokens = 1, .cache_read_tokens = 900, .output_tokens = 40},
    };
    struct event call = tool_start("srvtoolu_1", "web_search");
    call.block = EVENT_BLOCK_SERVER_TOOL_USE;
    struct event result = block_start(EVENT_BLOCK_SERVER_RESULT);
    result.json = STR("{\"type\":\"web_search_tool_result\",\"content\":[]}");
    struct event end = done(STOP_PAUSE, "");
    end.work = &work;
    const struct event events[] = {
        block_start(EVENT_BLOCK_COMPACTION),
        piece(EVENT_SUMMARY, "all \"of\" it"),
        block_stop(""),
        call,
        piece(EVENT_TOOL_INPUT, "{\"query\":\"q\"}"),
        block_stop(""),
        result,
        block_stop(""),
        end,
    };
    const char usage[] =
        "\"output_tokens\":7,\"server_tool_use\":{\"web_search_requests\":2,"
        "\"web_fetch_requests\":1},\"iterations\":[{\"type\":\"compaction\",\"input_tokens\":1,"
        "\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":900,\"cache_creation\":"
        "{\"ephemeral_5m_input_tokens\":0,\"ephemeral_1h_input_tokens\":0},\"output_tokens\":40},"
        "{\"type\":\"message\",\"input_tokens\":3,\"cache_creation_input_tokens\":20,"
        "\"cache_read_input_tokens\":100,\"cache_creation\":{\"ephemeral_5m_input_tokens\":20,"
        "\"ephemeral_1h_input_tokens\":0},\"output_tokens\":7}],\"service_tier\":\"standard\"}";
    struct strbuf whole, stream;
    print_whole(events, sizeof events / sizeof events[0], &whole);
    print_stream(events, sizeof events / sizeof events[0], &stream);
    assert_true(str_find(strbuf_str(&whole), str_from(usage)) != SIZE_MAX);
    assert_true(str_find(strbuf_str(&stream), str_from(usage)) != SIZE_MAX);
    assert_true(
        str_find(strbuf_str(&whole),
                 STR("\"content\":[{\"type\":\"compaction\",\"content\":\"all \\\"of\\\" it\"},"
                     "{\"type\":\"server_tool_use\",\"id\":\"srvtoolu_1\",\"name\":\"web_search\","
                     "\"input\":{\"query\":\"q\"}},{\"type\":\"web_search_tool_result\","
                     "\"content\":[]}],\"stop_reason\":\"pause_turn\"")) != SIZE_MAX);
    static const char *const parts[] = {
        "\"index\":0,\"content_block\":{\"type\":\"compaction\",\"content\":null}}",
        "\"delta\":{\"type\":\"compaction_delta\",\"content\":\"all \\\"of\\\" it\"}}",
        "\"index\":1,\"content_block\":{\"type\":\"server_tool_use\",\"id\":\"srvtoolu_1\","
        "\"name\":\"web_search\",\"input\":{}}}",
        "\"index\":1,\"delta\":{\"type\":\"input_json_delta\"",
        "\"index\":2,\"content_block\":{\"type\":\"web_search_tool_result\",\"content\":[]}}",
        "\"delta\":{\"stop_reason\":\"pause_turn\"",
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (str_find(strbuf_str(&stream), str_from(parts[i])) == SIZE_MAX)
            fail_msg("not in the stream: %s", parts[i]);
    strbuf_free(&whole);
    strbuf_free(&stream);
}

static void test_anthropic_message__a_summary_that_failed_is_null(void **state)
{
    (void)state;
    const struct event events[] = {block_start(EVENT_BLOCK_COMPACTION), block_stop(""),
                                   done(STOP_COMPACTION, "")};
    struct strbuf whole;
    print_whole(events, 3, &whole);
    assert_true(str_find(strbuf_str(&whole), STR("[{\"type\":\"compaction\",\"content\":null}],"
                                                 "\"stop_reason\":\"compaction\"")) != SIZE_MAX);
    strbuf_free(&whole);
}

static void test_anthropic_stop_reason__is_spelt_as_the_api_does(void **state)
{
    (void)state;
    assert_string_equal(anthropic_stop_reason(STOP_END_TURN), "end_turn");
    assert_string_equal(anthropic_stop_reason(STOP_MAX_TOKENS), "max_tokens");
    assert_string_equal(anthropic_stop_reason(STOP_SEQUENCE), "stop_sequence");
    assert_string_equal(anthropic_stop_reason(STOP_TOOL_USE), "tool_use");
    assert_string_equal(anthropic_stop_reason(STOP_CONTEXT_WINDOW),
                        "model_context_window_exceeded");
}

static void test_anthropic_error__has_the_hosted_shape(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 1000);
    anthropic_error_print("not_found_error", "no \"such\" thing", (struct str){0}, "req_1", &out);
    CHECK_STR(strbuf_str(&out), "{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\","
                                "\"message\":\"no \\\"such\\\" thing\"},\"request_id\":\"req_1\"}");
    strbuf_clear(&out);
    anthropic_error_print("a", "b", STR("{\"error_code\":\"c\"}"), "req_2", &out);
    CHECK_STR(strbuf_str(&out), "{\"type\":\"error\",\"error\":{\"type\":\"a\",\"message\":\"b\","
                                "\"details\":{\"error_code\":\"c\"}},\"request_id\":\"req_2\"}");
    strbuf_free(&out);
}

/* ---- Streams ---- */

static void test_anthropic_stream__writes_the_hosted_events(void **state)
{
    (void)state;
    const struct event events[] = {
        block_start(EVENT_BLOCK_THINKING),
        piece(EVENT_THINKING, "hm"),
        block_stop("sig"),
        block_start(EVENT_BLOCK_TEXT),
        piece(EVENT_TEXT, "Hi\n"),
        block_stop(""),
        tool_start("toolu_1", "Read"),
        piece(EVENT_TOOL_INPUT, "{\"a\":"),
        piece(EVENT_TOOL_INPUT, "2}"),
        block_stop(""),
        done(STOP_TOOL_USE, ""),
    };
    struct strbuf out;
    print_stream(events, sizeof events / sizeof events[0], &out);
    CHECK_STR(
        strbuf_str(&out),
        "event: message_start\n"
        "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\","
        "\"role\":\"assistant\",\"model\":\"claude-x\",\"content\":[],\"stop_reason\":null,"
        "\"stop_sequence\":null,\"usage\":{\"input_tokens\":123,\"cache_creation_input_tokens\":0,"
        "\"cache_read_input_tokens\":0,\"cache_creation\":{\"ephemeral_5m_input_tokens\":0,"
        "\"ephemeral_1h_input_tokens\":0},\"output_tokens\":0,\"service_tier\":\"standard\"}}}\n\n"
        "event: content_block_start\n"
        "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":"
        "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n"
        "event: content_block_delta\n"
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
        "{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}\n\n"
        "event: content_block_delta\n"
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
        "{\"type\":\"signature_delta\",\"signature\":\"sig\"}}\n\n"
        "event: content_block_stop\n"
        "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
        "event: content_block_start\n"
        "data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":"
        "{\"type\":\"text\",\"text\":\"\"}}\n\n"
        "event: content_block_delta\n"
        "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":"
        "{\"type\":\"text_delta\",\"text\":\"Hi\\n\"}}\n\n"
        "event: content_block_stop\n"
        "data: {\"type\":\"content_block_stop\",\"index\":1}\n\n"
        "event: content_block_start\n"
        "data: {\"type\":\"content_block_start\",\"index\":2,\"content_block\":"
        "{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"Read\",\"input\":{}}}\n\n"
        "event: content_block_delta\n"
        "data: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":"
        "{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\":\"}}\n\n"
        "event: content_block_delta\n"
        "data: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":"
        "{\"type\":\"input_json_delta\",\"partial_json\":\"2}\"}}\n\n"
        "event: content_block_stop\n"
        "data: {\"type\":\"content_block_stop\",\"index\":2}\n\n"
        "event: message_delta\n"
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\","
        "\"stop_sequence\":null},\"usage\":" USAGE_OF_TEST "}\n\n"
        "event: message_stop\n"
        "data: {\"type\":\"message_stop\"}\n\n");
    strbuf_free(&out);
}

static void test_anthropic_stream__a_stop_sequence_is_named_at_the_end(void **state)
{
    (void)state;
    const struct event events[] = {done(STOP_SEQUENCE, "END")};
    struct strbuf out;
    print_stream(events, 1, &out);
    struct str wanted =
        STR("\"delta\":{\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"END\"}");
    assert_true(str_find(strbuf_str(&out), wanted) != SIZE_MAX);
    strbuf_free(&out);
}

static void test_anthropic_stream__a_failure_ends_it_wherever_it_comes(void **state)
{
    (void)state;
    struct event failed = {.type = EVENT_FAILED,
                           .error = {.status = STATUS_NO_MEMORY, .message = "not \"now\""}};
    const struct event between[] = {failed};
    const struct event inside[] = {block_start(EVENT_BLOCK_TEXT), failed};
    struct str wanted = STR("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":"
                            "\"overloaded_error\",\"message\":\"not \\\"now\\\"\"},"
                            "\"request_id\":\"req_1\"}\n\n");
    struct strbuf out;
    print_stream(between, 1, &out);
    assert_int_equal(str_find(strbuf_str(&out), wanted), out.len - wanted.len);
    strbuf_free(&out);
    print_stream(inside, 2, &out);
    assert_int_equal(str_find(strbuf_str(&out), wanted), out.len - wanted.len);
    strbuf_free(&out);
}

static void test_anthropic_stream__pings_come_at_any_time_but_after_the_end(void **state)
{
    (void)state;
    struct anthropic_stream s;
    struct strbuf out;
    strbuf_init(&out, 100 * 1024);
    anthropic_stream_init(&s);
    anthropic_stream_ping(&s, STR(""), &out);
    CHECK_STR(strbuf_str(&out), "event: ping\ndata: {\"type\":\"ping\"}\n\n");
    strbuf_clear(&out);
    anthropic_stream_ping(&s, STR("half of it is read"), &out);
    CHECK_STR(strbuf_str(&out), ": half of it is read\nevent: ping\ndata: {\"type\":\"ping\"}\n\n");
    assert_int_equal(s.state, ANTHROPIC_STREAM_START);
    anthropic_stream_begin(&s, "msg_1", STR("m"), 1, &out);
    struct event start = block_start(EVENT_BLOCK_TEXT), stop = block_stop("");
    struct event end = done(STOP_END_TURN, "");
    anthropic_stream_feed(&s, &start, "", "", &out);
    size_t before = out.len;
    anthropic_stream_ping(&s, STR(""), &out);
    assert_true(out.len > before);
    assert_int_equal(s.state, ANTHROPIC_STREAM_BLOCK);
    anthropic_stream_feed(&s, &stop, "", "", &out);
    anthropic_stream_feed(&s, &end, "", "", &out);
    before = out.len;
    anthropic_stream_ping(&s, STR(""), &out);
    assert_int_equal(out.len, before);
    strbuf_free(&out);
}

static void test_anthropic_stream__progress_is_a_block_that_the_next_event_closes(void **state)
{
    (void)state;
    struct anthropic_stream s;
    struct strbuf out;
    strbuf_init(&out, OUT_BYTES);
    anthropic_stream_init(&s);
    anthropic_stream_begin(&s, "msg_1", STR("claude-x"), 123, &out);
    strbuf_clear(&out);
    anthropic_stream_progress(&s, STR("one\n"), &out);
    anthropic_stream_ping(&s, STR(""), &out);
    anthropic_stream_progress(&s, STR("two\n"), &out);
    struct event text = block_start(EVENT_BLOCK_TEXT);
    anthropic_stream_feed(&s, &text, "", "req_1", &out);
    assert_int_equal(s.state, ANTHROPIC_STREAM_BLOCK);
    CHECK_STR(strbuf_str(&out),
              "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
              "\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n"
              "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
              "\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"one\\n\"}}\n\n"
              "event: ping\ndata: {\"type\":\"ping\"}\n\n"
              "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
              "\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"two\\n\"}}\n\n"
              "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
              "\"delta\":{\"type\":\"signature_delta\",\"signature\":\"pensieve-progress\"}}\n\n"
              "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
              "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,"
              "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
    strbuf_free(&out);
}

static void test_anthropic_stream__bytes_that_are_no_text_are_mended(void **state)
{
    (void)state;
    const struct event events[] = {block_start(EVENT_BLOCK_TEXT),
                                   piece(EVENT_TEXT, "a\xFF"
                                                     "b"),
                                   block_stop(""), done(STOP_END_TURN, "")};
    struct strbuf out;
    print_stream(events, 4, &out);
    assert_true(str_find(strbuf_str(&out), STR("\"text\":\"a\xEF\xBF\xBD"
                                               "b\"")) != SIZE_MAX);
    strbuf_free(&out);
}

/* ---- Both say the same ---- */

/* What a client makes of a stream: the content array, rebuilt from starts and deltas, and the
 * members of message_delta.  Prints the same text as the message has from "content" on. */
struct client {
    struct strbuf content;
    struct strbuf text; /* of the open block */
    struct strbuf head; /* of the open block's object */
    struct strbuf signature;
    struct strbuf end;
    bool is_tool;
    bool has_blocks;
};

static void client_event(struct client *c, const struct json *data)
{
    struct str type = json_string(json_get(data, "type"));
    const struct json *block = json_get(data, "content_block"), *delta = json_get(data, "delta");
    if (str_is(type, "content_block_start")) {
        strbuf_clear(&c->text);
        strbuf_clear(&c->head);
        strbuf_clear(&c->signature);
        json_print(&c->head, block);
        c->is_tool = str_is(json_string(json_get(block, "type")), "tool_use");
    } else if (str_is(type, "content_block_delta")) {
        strbuf_append_str(&c->text, json_string(json_get(delta, "text")));
        strbuf_append_str(&c->text, json_string(json_get(delta, "thinking")));
        strbuf_append_str(&c->text, json_string(json_get(delta, "partial_json")));
        strbuf_append_str(&c->signature, json_string(json_get(delta, "signature")));
    } else if (str_is(type, "content_block_stop")) {
        strbuf_printf(&c->content, "%s%s|%s|%s|%d", c->has_blocks ? "\n" : "",
                      strbuf_cstr(&c->head), strbuf_cstr(&c->text), strbuf_cstr(&c->signature),
                      c->is_tool);
        c->has_blocks = true;
    } else if (str_is(type, "message_delta")) {
        json_print(&c->end, delta);
        json_print(&c->end, json_get(data, "usage"));
    }
}

static void client_init(struct client *c)
{
    *c = (struct client){.is_tool = false};
    struct strbuf *all[] = {&c->content, &c->text, &c->head, &c->signature, &c->end};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        strbuf_init(all[i], OUT_BYTES);
}

static void client_free(struct client *c)
{
    struct strbuf *all[] = {&c->content, &c->text, &c->head, &c->signature, &c->end};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        strbuf_free(all[i]);
}

static struct json_doc *parse(struct str text)
{
    struct json_doc *doc = NULL;
    struct error err = {.message = ""};
    if (json_parse_copy(text, JSON_STRICT, &doc, &err) != STATUS_OK)
        fail_msg("not JSON: %s: %.*s", err.message, (int)text.len, text.ptr);
    return doc;
}

static void client_read(struct client *c, struct str stream)
{
    while (stream.len > 0) {
        size_t data = str_find(stream, STR("\ndata: ")), end = str_find(stream, STR("\n\n"));
        assert_true(str_starts_with(stream, STR("event: ")));
        assert_true(data < end && end != SIZE_MAX);
        struct json_doc *doc = parse((struct str){stream.ptr + data + 7, end - data - 7});
        struct str name = {stream.ptr + 7, data - 7};
        struct str type = json_string(json_get(json_root(doc), "type"));
        assert_true(str_equal(name, type));
        client_event(c, json_root(doc));
        json_doc_free(doc);
        stream = (struct str){stream.ptr + end + 2, stream.len - end - 2};
    }
}

/* The same picture of a whole message. */
static void client_read_whole(struct client *c, struct str body)
{
    struct json_doc *doc = parse(body);
    const struct json *message = json_root(doc);
    for (struct json_iter it = json_iter(json_get(message, "content")); json_next(&it);) {
        struct str type = json_string(json_get(it.value, "type"));
        c->is_tool = str_is(type, "tool_use");
        strbuf_clear(&c->head);
        if (c->is_tool)
            strbuf_printf(&c->head,
                          "{\"type\":\"tool_use\",\"id\":\"%s\",\"name\":\"%s\",\"input\":{}}",
                          json_string(json_get(it.value, "id")).ptr,
                          json_string(json_get(it.value, "name")).ptr);
        else
            strbuf_append_cstr(
                &c->head, str_is(type, "text")
                              ? "{\"type\":\"text\",\"text\":\"\"}"
                              : "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
        strbuf_clear(&c->text);
        strbuf_append_str(&c->text, json_string(json_get(it.value, "text")));
        strbuf_append_str(&c->text, json_string(json_get(it.value, "thinking")));
        if (c->is_tool)
            json_print(&c->text, json_get(it.value, "input"));
        strbuf_printf(&c->content, "%s%s|%s|%s|%d", c->has_blocks ? "\n" : "",
                      strbuf_cstr(&c->head), strbuf_cstr(&c->text),
                      json_string(json_get(it.value, "signature")).ptr, c->is_tool);
        c->has_blocks = true;
    }
    strbuf_append_cstr(&c->end, "{\"stop_reason\":");
    json_print(&c->end, json_get(message, "stop_reason"));
    strbuf_append_cstr(&c->end, ",\"stop_sequence\":");
    json_print(&c->end, json_get(message, "stop_sequence"));
    strbuf_append_char(&c->end, '}');
    json_print(&c->end, json_get(message, "usage"));
    json_doc_free(doc);
}

static void test_anthropic_stream__a_client_builds_what_the_whole_answer_says(void **state)
{
    (void)state;
    const struct event events[] = {
        block_start(EVENT_BLOCK_THINKING),
        piece(EVENT_THINKING, "1\t2"),
        block_stop("s=="),
        block_start(EVENT_BLOCK_TEXT),
        piece(EVENT_TEXT, "\\ \"a\" "),
        piece(EVENT_TEXT, "é"),
        block_stop(""),
        tool_start("toolu_1", "Write"),
        piece(EVENT_TOOL_INPUT, "{\"p\":\"/x\","),
        piece(EVENT_TOOL_INPUT, "\"n\":[1,2.50]}"),
        block_stop(""),
        block_start(EVENT_BLOCK_TEXT),
        block_stop(""),
        done(STOP_SEQUENCE, "\"S\""),
    };
    size_t n = sizeof events / sizeof events[0];
    struct strbuf stream, whole;
    print_stream(events, n, &stream);
    print_whole(events, n, &whole);
    struct client a, b;
    client_init(&a);
    client_init(&b);
    client_read(&a, strbuf_str(&stream));
    client_read_whole(&b, strbuf_str(&whole));
    assert_true(a.content.len > 0);
    assert_string_equal(strbuf_cstr(&a.content), strbuf_cstr(&b.content));
    assert_string_equal(strbuf_cstr(&a.end), strbuf_cstr(&b.end));
    client_free(&a);
    client_free(&b);
    strbuf_free(&stream);
    strbuf_free(&whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_anthropic_message__has_the_hosted_shape),
        cmocka_unit_test(test_anthropic_edits__are_told_whole_and_streamed),
        cmocka_unit_test(test_anthropic_message__without_blocks_has_empty_content),
        cmocka_unit_test(test_anthropic_message__an_input_that_is_no_object_stays_a_string),
        cmocka_unit_test(test_anthropic_message__a_reply_over_the_ceiling_fails_and_is_not_cut),
        cmocka_unit_test(test_anthropic_work__is_told_whole_and_streamed),
        cmocka_unit_test(test_anthropic_message__a_summary_that_failed_is_null),
        cmocka_unit_test(test_anthropic_stop_reason__is_spelt_as_the_api_does),
        cmocka_unit_test(test_anthropic_error__has_the_hosted_shape),
        cmocka_unit_test(test_anthropic_stream__writes_the_hosted_events),
        cmocka_unit_test(test_anthropic_stream__a_stop_sequence_is_named_at_the_end),
        cmocka_unit_test(test_anthropic_stream__a_failure_ends_it_wherever_it_comes),
        cmocka_unit_test(test_anthropic_stream__pings_come_at_any_time_but_after_the_end),
        cmocka_unit_test(test_anthropic_stream__progress_is_a_block_that_the_next_event_closes),
        cmocka_unit_test(test_anthropic_stream__bytes_that_are_no_text_are_mended),
        cmocka_unit_test(test_anthropic_stream__a_client_builds_what_the_whole_answer_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
