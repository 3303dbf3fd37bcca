/* Each rule of the canonical prompt, one case each: a request, and what the template is given.
 *
 * Messages are written `role:content`, calls as `name(arguments)#id`, results as `tool#id:content`,
 * reasoning as `{...}`; ` | ` stands between messages.  Tools follow as `tools=`, those that may be
 * called beyond them as `callable=`. */
#include "unit/prompt/prompt_fixture.h"

static const struct chat_caps full = {true, true, true, true, true, true};
static const struct chat_caps system_at_first_only = {true, false, true, true, true, false};
static const struct chat_caps one_call_a_turn = {true, true, true, true, false, false};
static const struct chat_caps no_tools = {.system_first = true};
static const struct chat_caps nothing = {0};

static void write_message(struct strbuf *out, const struct chat_message *m)
{
    strbuf_append_cstr(out, m->role);
    if (m->call_id.len > 0)
        strbuf_printf(out, "#%.*s", (int)m->call_id.len, m->call_id.ptr);
    strbuf_append_char(out, ':');
    if (m->reasoning.len > 0)
        strbuf_printf(out, "{%.*s}", (int)m->reasoning.len, m->reasoning.ptr);
    strbuf_append_str(out, m->content);
    for (size_t i = 0; i < m->n_calls; i++) {
        const struct chat_call *c = &m->calls[i];
        strbuf_printf(out, " %.*s(%.*s)#%.*s", (int)c->name.len, c->name.ptr,
                      (int)c->arguments_json.len, c->arguments_json.ptr, (int)c->id.len, c->id.ptr);
    }
}

static void write_tools(struct strbuf *out, const char *title, const struct chat_tool *tools,
                        size_t n)
{
    if (n > 0)
        strbuf_append_cstr(out, title);
    for (size_t i = 0; i < n; i++)
        strbuf_printf(out, "%s%.*s", i > 0 ? "," : "", (int)tools[i].name.len, tools[i].name.ptr);
}

static void write_canon(struct strbuf *out, const struct canon *c)
{
    for (size_t i = 0; i < c->n_messages; i++) {
        strbuf_append_cstr(out, i > 0 ? " | " : "");
        write_message(out, &c->messages[i]);
    }
    write_tools(out, " tools=", c->tools, c->n_tools);
    if (c->n_callable != c->n_tools)
        write_tools(out, " callable=", c->callable, c->n_callable);
    if (c->continue_last)
        strbuf_append_cstr(out, " continued");
    if (c->enable_thinking)
        strbuf_append_cstr(out, " thinking");
}

static enum status make(const char *json, const struct chat_caps *caps, struct strbuf *out)
{
    struct fixture_request r;
    struct canon canon;
    struct error err = {0};
    fixture_read(&r, json);
    enum status st = canon_make(&r.req, caps, &r.arena, &canon, &err);
    if (st == STATUS_OK)
        write_canon(out, &canon);
    fixture_free(&r);
    return st;
}

#define BEGIN     "{\"model\":\"m\","
#define MESSAGES  "\"messages\":["
#define END       "]}"
#define USER(t)   "{\"role\":\"user\",\"content\":\"" t "\"}"
#define SYSTEM(t) "{\"role\":\"system\",\"content\":\"" t "\"}"
#define SAYS(t)   "{\"role\":\"assistant\",\"content\":\"" t "\"}"
#define CALL(id)                                                                                   \
    "{\"type\":\"tool_use\",\"id\":\"" id "\",\"name\":\"Read\",\"input\":{\"path\":\"" id "\"}}"
#define CALLS(c)      "{\"role\":\"assistant\",\"content\":[" c "]}"
#define RESULT(id, t) "{\"type\":\"tool_result\",\"tool_use_id\":\"" id "\",\"content\":\"" t "\"}"
#define TEXT(t)       "{\"type\":\"text\",\"text\":\"" t "\"}"
#define RESULTS(r)    "{\"role\":\"user\",\"content\":[" r "]}"
#define TOOL          "\"tools\":[" FIXTURE_READ_TOOL "],"
#define LATE          "{\"name\":\"Late\",\"defer_loading\":true,\"input_schema\":{}}"
#define REFERENCE                                                                                  \
    "{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":[{\"type\":"                      \
    "\"tool_reference\",\"tool_name\":\"Late\"}]}"

#define ROUND_ONCE "user:u | assistant: Read({\"path\":\"a\"})#c00000001 | tool#c00000001:r"
#define SEARCH     "\"tools\":[{\"type\":\"mcp_toolset\",\"name\":\"search\"}],"

static const struct canon_case {
    const char *rule;
    const struct chat_caps *caps;
    const char *json, *wanted;
} cases[] = {
    {"the client's billing header is dropped", &full,
     BEGIN "\"system\":[" TEXT("x-anthropic-billing-header: v=1; h=2") "," TEXT(
         "S") "]," MESSAGES USER("u") END,
     "system:S | user:u"},
    {"cache marks and metadata say nothing", &full,
     BEGIN "\"metadata\":{\"user_id\":\"x\"},\"system\":[{\"type\":\"text\",\"text\":\"S\","
           "\"cache_control\":{\"type\":\"ephemeral\"}}]," MESSAGES
           "{\"role\":\"user\",\"content\":[{\"cache_control\":{\"type\":\"ephemeral\"},\"type\":"
           "\"text\","
           "\"text\":\"u\"}]}" END,
     "system:S | user:u"},
    {"a string is one block of text", &full, BEGIN "\"system\":\"S\"," MESSAGES USER("u") END,
     "system:S | user:u"},
    {"tools come behind the first block of system text, before what names folders and days", &full,
     BEGIN "\"system\":[" TEXT("I") "," TEXT(" ") "," TEXT("S") "," TEXT(
         "T") "]," TOOL MESSAGES USER("u") END,
     "system:I | system:S\n\nT | user:u tools=Read"},
    {"without tools nothing comes between", &full,
     BEGIN "\"system\":[" TEXT("I") "," TEXT("S") "]," MESSAGES USER("u") END,
     "system:I\n\nS | user:u"},
    {"nor where the template takes no second system message", &system_at_first_only,
     BEGIN "\"system\":[" TEXT("I") "," TEXT("S") "]," TOOL MESSAGES USER("u") END,
     "system:I\n\nS | user:u tools=Read"},
    {"blocks are joined by a blank line", &full,
     BEGIN MESSAGES "{\"role\":\"user\",\"content\":[" TEXT("a") "," TEXT("b") "]}" END,
     "user:a\n\nb"},
    {"a round that is the one before it again becomes a line", &full,
     BEGIN TOOL MESSAGES USER("u") "," CALLS(CALL("a")) "," RESULTS(RESULT("a", "r")) "," CALLS(
         CALL("a")) "," RESULTS(RESULT("a", "r")) "," SAYS("w") "," USER("v") END,
     ROUND_ONCE " | user:This call was made twice, and this is its result. Answer from it now, in "
                "words: u | assistant:w | user:v tools=Read"},
    {"the client's own tags are not what the user asked for", &full,
     BEGIN TOOL MESSAGES USER("u") "," USER("<system-reminder>s</system-reminder>") "," CALLS(CALL(
         "a")) "," RESULTS(RESULT("a", "r")) "," CALLS(CALL("a")) "," RESULTS(RESULT("a", "r")) END,
     "user:u\n\n<system-reminder>s</system-reminder> | assistant: "
     "Read({\"path\":\"a\"})#c00000001 | tool#c00000001:r | user:This call was made twice, and "
     "this "
     "is its result. Answer from it now, in words: u tools=Read"},
    {"one with another result stays", &full,
     BEGIN TOOL MESSAGES USER("u") "," CALLS(CALL("a")) "," RESULTS(RESULT("a", "r")) "," CALLS(
         CALL("a")) "," RESULTS(RESULT("a", "s")) END,
     ROUND_ONCE " | assistant: Read({\"path\":\"a\"})#c00000002 | tool#c00000002:s tools=Read"},
    {"blocks of white space are left out", &full,
     BEGIN MESSAGES
     "{\"role\":\"user\",\"content\":[" TEXT("a") "," TEXT(" \\n") "," TEXT("b") "]}" END,
     "user:a\n\nb"},
    {"neighbours of one role are one turn", &full,
     BEGIN MESSAGES USER("a") "," USER("b") "," SAYS("c") "," SAYS("d") "," USER("e") END,
     "user:a\n\nb | assistant:c\n\nd | user:e"},
    {"an assistant's message of nothing is none", &full,
     BEGIN MESSAGES USER("a") "," SAYS(" ") "," USER("b") END, "user:a\n\nb"},
    {"the client's ids never show", &full,
     BEGIN TOOL MESSAGES USER("u") "," CALLS(CALL("toolu_01")) "," RESULTS(RESULT("toolu_01", "r"))
         END,
     "user:u | assistant: Read({\"path\":\"toolu_01\"})#c00000001 | tool#c00000001:r tools=Read"},
    {"results stand in the order of their calls", &full,
     BEGIN TOOL MESSAGES USER("u") "," CALLS(CALL("a") "," CALL("b")) "," RESULTS(
         RESULT("b", "of b") "," RESULT("a", "of a")) END,
     "user:u | assistant: Read({\"path\":\"a\"})#c00000001 Read({\"path\":\"b\"})#c00000002 | "
     "tool#c00000001:of a | tool#c00000002:of b tools=Read"},
    {"calls are told one by one where the template takes one a turn", &one_call_a_turn,
     BEGIN TOOL MESSAGES USER("u") "," CALLS(CALL("a") "," CALL("b")) "," RESULTS(
         RESULT("b", "of b") "," RESULT("a", "of a")) END,
     "user:u | assistant: Read({\"path\":\"a\"})#c00000001 | tool#c00000001:of a | "
     "assistant: Read({\"path\":\"b\"})#c00000002 | tool#c00000002:of b tools=Read"},
    {"a call without a result has one that says so", &full,
     BEGIN TOOL MESSAGES USER("u") "," CALLS(CALL("a")) "," USER("stop") END,
     "user:u | assistant: Read({\"path\":\"a\"})#c00000001 | tool#c00000001:(no result) | "
     "user:stop tools=Read"},
    {"a result without a call is told as words", &full,
     BEGIN TOOL MESSAGES RESULTS(RESULT("lost", "r") "," TEXT("u")) END, "user:r\n\nu tools=Read"},
    {"a second result of one call is told as words", &full,
     BEGIN TOOL MESSAGES USER("u") "," CALLS(CALL("a")) "," RESULTS(
         RESULT("a", "one") "," RESULT("a", "two")) END,
     "user:u | assistant: Read({\"path\":\"a\"})#c00000001 | tool#c00000001:one | user:two "
     "tools=Read"},
    {"an error is marked", &full,
     BEGIN TOOL MESSAGES USER("u") "," CALLS(CALL("a")) "," RESULTS(
         "{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"is_error\":true,\"content\":\"no\"}")
         END,
     "user:u | assistant: Read({\"path\":\"a\"})#c00000001 | tool#c00000001:Error: no tools=Read"},
    {"an error that names itself is not marked again", &full,
     BEGIN TOOL MESSAGES USER("u") "," CALLS(CALL("a")) "," RESULTS(
         "{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"is_error\":true,"
         "\"content\":\"Error: no\"}") END,
     "user:u | assistant: Read({\"path\":\"a\"})#c00000001 | tool#c00000001:Error: no tools=Read"},
    {"a system message stands where it stood", &full,
     BEGIN MESSAGES USER("a") "," SYSTEM("s") "," SAYS("b") "," USER("c") END,
     "user:a | system:s | assistant:b | user:c"},
    {"or is a reminder in the words beside it", &system_at_first_only,
     BEGIN MESSAGES USER("a") "," SYSTEM("s") "," SAYS("b") "," USER("c") END,
     "user:a\n\n<system-reminder>\ns\n</system-reminder> | assistant:b | user:c"},
    {"it never parts a call from its result", &full,
     BEGIN TOOL MESSAGES USER("u") "," CALLS(CALL("a")) "," SYSTEM("s") "," RESULTS(
         RESULT("a", "r")) END,
     "user:u | assistant: Read({\"path\":\"a\"})#c00000001 | tool#c00000001:r | system:s "
     "tools=Read"},
    {"nor as a reminder: then the last result carries it", &system_at_first_only,
     BEGIN TOOL MESSAGES USER("u") "," CALLS(CALL("a")) "," SYSTEM("s") "," RESULTS(
         RESULT("a", "r")) END,
     "user:u | assistant: Read({\"path\":\"a\"})#c00000001 | "
     "tool#c00000001:r\n\n<system-reminder>\ns\n</system-reminder> tools=Read"},
    {"or the user's words behind the results", &system_at_first_only,
     BEGIN TOOL MESSAGES USER("u") "," CALLS(CALL("a")) "," RESULTS(
         RESULT("a", "r") "," TEXT("v")) "," SYSTEM("s") END,
     "user:u | assistant: Read({\"path\":\"a\"})#c00000001 | tool#c00000001:r | "
     "user:v\n\n<system-reminder>\ns\n</system-reminder> tools=Read"},
    {"system text goes to the first words where there is no place for it", &nothing,
     BEGIN "\"system\":\"S\"," MESSAGES USER("u") END, "user:S\n\nu"},
    {"and before an assistant that begins", &nothing,
     BEGIN "\"system\":\"S\"," MESSAGES SAYS("a") "," USER("u") END,
     "user:S | assistant:a | user:u"},
    {"calls and results are text where the template knows none", &no_tools,
     BEGIN MESSAGES USER("u") "," CALLS(TEXT("t") "," CALL("a")) "," RESULTS(RESULT("a", "r")) END,
     "user:u | assistant:t\n\n<tool_call>\n{\"name\": \"Read\", \"arguments\": {\"path\":\"a\"}}\n"
     "</tool_call> | user:<tool_response>\nr\n</tool_response>"},
    {"a deferred tool is not listed", &full,
     BEGIN "\"tools\":[" FIXTURE_READ_TOOL "," LATE "]," MESSAGES USER("u") END,
     "user:u tools=Read"},
    {"and is callable from where it is named, with its schema there", &full,
     BEGIN "\"tools\":[" FIXTURE_READ_TOOL "," LATE
           "]," MESSAGES USER("u") "," CALLS(CALL("a")) "," RESULTS(REFERENCE) END,
     "user:u | assistant: Read({\"path\":\"a\"})#c00000001 | tool#c00000001:You can now call this "
     "function too:\n{\"name\": \"Late\", \"description\": \"\", \"parameters\": {}} tools=Read "
     "callable=Read,Late"},
    {"a reference to a tool that is not there says so", &full,
     BEGIN TOOL MESSAGES USER("u") "," CALLS(CALL("a")) "," RESULTS(REFERENCE) END,
     "user:u | assistant: Read({\"path\":\"a\"})#c00000001 | tool#c00000001:The tool Late is not "
     "available. tools=Read"},
    {"tools of the hosted service are named as missing", &full, BEGIN SEARCH MESSAGES USER("u") END,
     "system:These tools are not available on this server: search. If they are needed, say so; "
     "never invent their results. | user:u"},
    {"only the tool that is demanded may be called", &full,
     BEGIN "\"tools\":[" FIXTURE_READ_TOOL ",{\"name\":\"List\",\"input_schema\":{}}],"
           "\"tool_choice\":{\"type\":\"tool\",\"name\":\"List\"}," MESSAGES USER("u") END,
     "user:u tools=Read,List callable=List"},
    {"the assistant's last words are continued, without the white space behind them", &full,
     BEGIN MESSAGES USER("u") "," SAYS("It is \\n") END, "user:u | assistant:It is continued"},
    {"calls that nobody has answered yet are not continued", &full,
     BEGIN TOOL MESSAGES USER("u") "," CALLS(CALL("a")) END,
     "user:u | assistant: Read({\"path\":\"a\"})#c00000001 tools=Read"},
    {"reasoning goes to models that reason", &full,
     BEGIN "\"thinking\":{\"type\":\"adaptive\"}," MESSAGES USER("u") "," CALLS(
         "{\"type\":\"thinking\",\"thinking\":\"t\",\"signature\":\"s\"}," TEXT("a")) "," USER("v")
         END,
     "user:u | assistant:{t}a | user:v thinking"},
    {"and to no others", &system_at_first_only,
     BEGIN "\"thinking\":{\"type\":\"adaptive\"}," MESSAGES USER("u") "," CALLS(
         "{\"type\":\"thinking\",\"thinking\":\"t\",\"signature\":\"s\"}," TEXT("a")) "," USER("v")
         END,
     "user:u | assistant:a | user:v"},
};

static void test_canon__every_rule_as_it_is_written(void **state)
{
    (void)state;
    struct strbuf got;
    strbuf_init(&got, 100000);
    size_t n_failed = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        strbuf_clear(&got);
        assert_int_equal(make(cases[i].json, cases[i].caps, &got), STATUS_OK);
        bool is_wanted = str_is(strbuf_str(&got), cases[i].wanted);
        n_failed += !is_wanted;
        if (!is_wanted)
            print_error("%s:\n  got    %s\n  wanted %s\n", cases[i].rule, strbuf_cstr(&got),
                        cases[i].wanted);
    }
    strbuf_free(&got);
    assert_int_equal(n_failed, 0);
}

static void test_canon__a_tool_of_the_hosted_service_cannot_be_demanded(void **state)
{
    (void)state;
    struct strbuf got;
    strbuf_init(&got, 1000);
    assert_int_equal(
        make(BEGIN SEARCH
             "\"tool_choice\":{\"type\":\"tool\",\"name\":\"search\"}," MESSAGES USER("u") END,
             &full, &got),
        STATUS_INVALID);
    strbuf_free(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canon__every_rule_as_it_is_written),
        cmocka_unit_test(test_canon__a_tool_of_the_hosted_service_cannot_be_demanded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
