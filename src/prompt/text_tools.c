#include "prompt/text_tools.h"

#include <stdio.h>

#include "base/limits.h"
#include "model/schema_rules.h"
#include "wire/json_out.h"

static void append_json_string(struct strbuf *out, struct str s)
{
    strbuf_append_char(out, '"');
    json_escape(out, s);
    strbuf_append_char(out, '"');
}

void text_tools_schema(struct strbuf *out, const struct chat_tool *tool)
{
    strbuf_append_cstr(out, "{\"name\": ");
    append_json_string(out, tool->name);
    strbuf_append_cstr(out, ", \"description\": ");
    append_json_string(out, tool->description);
    strbuf_append_cstr(out, ", \"parameters\": ");
    strbuf_append_str(out, tool->schema_json.len > 0 ? tool->schema_json : STR("{}"));
    strbuf_append_char(out, '}');
}

void text_tools_describe(struct strbuf *out, const struct chat_tool *tools, size_t n_tools)
{
    strbuf_append_cstr(out, "# Tools\n\nYou can call these functions, one a line:\n<tools>\n");
    for (size_t i = 0; i < n_tools; i++) {
        text_tools_schema(out, &tools[i]);
        strbuf_append_char(out, '\n');
    }
    strbuf_append_cstr(out,
                       "</tools>\n\nTo call a function, answer with a JSON object of its name and "
                       "arguments within <tool_call></tool_call> tags:\n<tool_call>\n"
                       "{\"name\": <function-name>, \"arguments\": <args-json-object>}\n"
                       "</tool_call>\nThe result comes in the next message within "
                       "<tool_response></tool_response> tags.");
}

void text_tools_call(struct strbuf *out, struct str name, struct str arguments_json)
{
    strbuf_append_cstr(out, TEXT_TOOLS_CALL_BEGIN "\n{\"name\": ");
    append_json_string(out, name);
    strbuf_append_cstr(out, ", \"arguments\": ");
    strbuf_append_str(out, arguments_json.len > 0 ? arguments_json : STR("{}"));
    strbuf_append_cstr(out, "}\n" TEXT_TOOLS_CALL_END);
}

void text_tools_result(struct strbuf *out, struct str text)
{
    strbuf_append_cstr(out, "<tool_response>\n");
    strbuf_append_str(out, text);
    strbuf_append_cstr(out, "\n</tool_response>");
}

/* `text` as a GBNF literal. */
static void append_literal(struct strbuf *out, struct str text)
{
    strbuf_append_char(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '\n') {
            strbuf_append_cstr(out, "\\n");
            continue;
        }
        if (c == '"' || c == '\\')
            strbuf_append_char(out, '\\');
        strbuf_append_char(out, c);
    }
    strbuf_append_char(out, '"');
}

/* The call of one tool from its name on; where its schema is refused, with any object. */
static void append_tool(struct strbuf *out, size_t i, const struct chat_tool *tool)
{
    struct strbuf quoted;
    char rule[32];
    strbuf_init(&quoted, LIMIT_GRAMMAR_BYTES);
    append_json_string(&quoted, tool->name);
    snprintf(rule, sizeof rule, "arguments%zu", i);
    struct str schema = tool->grammar_json.len > 0 ? tool->grammar_json : tool->schema_json;
    bool is_held = schema_rules_append(schema, rule, out);
    strbuf_printf(out, "tool%zu ::= ", i);
    append_literal(out, strbuf_str(&quoted));
    strbuf_printf(out, " ws \",\" ws \"\\\"arguments\\\"\" ws \":\" ws %s\n",
                  is_held ? rule : "object");
    strbuf_free(&quoted);
}

static const char any_object[] =
    "object ::= \"{\" ws (string ws \":\" ws value (ws \",\" ws string ws \":\" ws value)*)? ws "
    "\"}\"\n"
    "array ::= \"[\" ws (value (ws \",\" ws value)*)? ws \"]\"\n"
    "value ::= object | array | string | number | \"true\" | \"false\" | \"null\"\n"
    "string ::= \"\\\"\" char* \"\\\"\"\n"
    "char ::= [^\"\\\\\\x00-\\x1F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" hex hex hex hex)\n"
    "hex ::= [0-9a-fA-F]\n"
    "number ::= \"-\"? (\"0\" | [1-9] [0-9]*) (\".\" [0-9]+)? ([eE] [-+]? [0-9]+)?\n";

void text_tools_grammar(const struct chat_tool *tools, size_t n_tools, bool is_required,
                        bool is_parallel, struct grammar_spec *out)
{
    struct strbuf text;
    strbuf_init(&text, LIMIT_GRAMMAR_BYTES);
    strbuf_append_cstr(&text, is_parallel ? "root ::= call (ws call)* ws\n" : "root ::= call ws\n");
    strbuf_append_cstr(&text, "call ::= \"<tool_call>\" ws \"{\" ws \"\\\"name\\\"\" ws \":\" ws "
                              "tool ws \"}\" ws \"</tool_call>\"\n"
                              "ws ::= [ \\n]{0,4}\n");
    strbuf_append_cstr(&text, any_object);
    strbuf_append_cstr(&text, "tool ::= tool0");
    for (size_t i = 1; i < n_tools; i++)
        strbuf_printf(&text, " | tool%zu", i);
    strbuf_append_char(&text, '\n');
    for (size_t i = 0; i < n_tools; i++)
        append_tool(&text, i, &tools[i]);
    *out = (struct grammar_spec){0};
    if (strbuf_status(&text) == STATUS_OK) { /* names beyond the ceiling: decode freely */
        out->text.ptr = strbuf_detach(&text, &out->text.len);
        out->lazy = !is_required;
        if (out->lazy) {
            struct grammar_trigger *trigger = mem_zalloc(sizeof *trigger);
            trigger->type = GRAMMAR_TRIGGER_WORD;
            trigger->text.ptr = mem_strdup(TEXT_TOOLS_CALL_BEGIN);
            trigger->text.len = sizeof TEXT_TOOLS_CALL_BEGIN - 1;
            out->triggers = trigger;
            out->n_triggers = 1;
        }
    }
    strbuf_free(&text);
}
