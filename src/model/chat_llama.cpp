/* chat_llama -- chat.h over llama.cpp's common/: the one file that sees its chat code.
 *
 * That code is C++, throws, and logs what it could not parse; here every exception becomes a status
 * and its log is switched off, since it would quote the model's words.
 *
 * It is slow as well: for each conversation it analyses the template anew, writes the conversation
 * three times, and makes grammar and parser again.  So the text is written by one run of the
 * template, and what says how the reply is read (its format) is kept by what it depends on; both
 * only where a trial at birth gave the library's own result, which is used everywhere else. */
extern "C" {
#include "model/chat.h"

#include "base/log.h"
#include "base/mem.h"
}

#include <llama-common/chat-auto-parser.h>
#include <llama-common/chat.h>
#include <llama-common/json-schema-to-grammar.h>
#include <llama-common/log.h>

#include <chrono>
#include <cstring>
#include <exception>
#include <iomanip>
#include <list>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

namespace
{

/* How the reply to a conversation is read. */
struct reply_format {
    common_chat_params params; /* without the two long texts: the prompt and the parser */
    common_chat_parser_params parser;
};
using format_ptr = std::shared_ptr<const reply_format>;

/* The formats used last, by format_key().  Any thread. */
class format_cache
{
  public:
    format_ptr find(const std::string &key)
    {
        std::lock_guard<std::mutex> lock(mutex);
        for (auto at = entries.begin(); at != entries.end(); ++at) {
            if (at->first != key)
                continue;
            entries.splice(entries.begin(), entries, at);
            return at->second;
        }
        return nullptr;
    }

    void add(const std::string &key, const format_ptr &format)
    {
        std::lock_guard<std::mutex> lock(mutex);
        entries.remove_if([&](const auto &entry) { return entry.first == key; });
        entries.emplace_front(key, format);
        if (entries.size() > most_entries)
            entries.pop_back();
    }

  private:
    static constexpr size_t most_entries = 16; /* about 1 MB each with the tools of an agent */
    std::mutex mutex;
    std::list<std::pair<std::string, format_ptr>> entries; /* newest first */
};

} // namespace

struct chat_template {
    common_chat_templates_ptr templates;
    chat_caps caps;
    std::unique_ptr<common_chat_template> direct; /* empty where the library's detours matter */
    std::unique_ptr<format_cache> formats;
};

struct chat_parser {
    format_ptr format;
};

namespace
{

std::string to_string(struct str s)
{
    return s.len > 0 ? std::string(s.ptr, s.len) : std::string();
}

char *copy(const std::string &s)
{
    return mem_strndup(s.data(), s.size());
}

void silence_library()
{
    static std::once_flag once;
    std::call_once(once, [] {
        common_log_set_verbosity_thold(-1);
        common_log_pause(common_log_main());
    });
}

/* Templates may print the date.  A clock in the prompt would change it every second and make the
 * prefix useless, so they are shown the day and no more. */
std::chrono::system_clock::time_point today()
{
    using days = std::chrono::duration<int64_t, std::ratio<86400>>;
    auto now = std::chrono::system_clock::now();
    auto day = std::chrono::duration_cast<days>(now.time_since_epoch());
    return std::chrono::system_clock::time_point(
        std::chrono::duration_cast<std::chrono::system_clock::duration>(day) +
        std::chrono::hours(12));
}

common_chat_msg to_message(const struct chat_message &m)
{
    common_chat_msg out;
    out.role = m.role;
    out.content = to_string(m.content);
    out.reasoning_content = to_string(m.reasoning);
    out.tool_call_id = to_string(m.call_id);
    out.tool_name = to_string(m.tool_name);
    for (size_t i = 0; i < m.n_calls; i++)
        out.tool_calls.push_back({to_string(m.calls[i].name), to_string(m.calls[i].arguments_json),
                                  to_string(m.calls[i].id)});
    return out;
}

common_chat_templates_inputs to_inputs(const struct chat_inputs *in)
{
    common_chat_templates_inputs out;
    for (size_t i = 0; i < in->n_messages; i++)
        out.messages.push_back(to_message(in->messages[i]));
    for (size_t i = 0; i < in->n_tools; i++)
        out.tools.push_back({to_string(in->tools[i].name), to_string(in->tools[i].description),
                             to_string(in->tools[i].schema_json)});
    switch (in->tool_choice) {
    case CHAT_TOOLS_AUTO:
        out.tool_choice = COMMON_CHAT_TOOL_CHOICE_AUTO;
        break;
    case CHAT_TOOLS_REQUIRED:
        out.tool_choice = COMMON_CHAT_TOOL_CHOICE_REQUIRED;
        break;
    case CHAT_TOOLS_NONE:
        out.tool_choice = COMMON_CHAT_TOOL_CHOICE_NONE;
        break;
    }
    out.parallel_tool_calls = in->parallel_calls;
    /* A reply that is held to a schema from its first byte on has no place for reasoning. */
    out.enable_thinking = in->enable_thinking && in->json_schema.len == 0;
    out.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK; /* reasoning apart from content */
    out.now = today();
    if (in->continue_last) {
        out.add_generation_prompt = false;
        out.continue_final_message = COMMON_CHAT_CONTINUATION_CONTENT;
    }
    return out;
}

enum grammar_trigger_type to_trigger_type(common_grammar_trigger_type type)
{
    switch (type) {
    case COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN:
        return GRAMMAR_TRIGGER_TOKEN;
    case COMMON_GRAMMAR_TRIGGER_TYPE_WORD:
        return GRAMMAR_TRIGGER_WORD;
    case COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN:
        return GRAMMAR_TRIGGER_PATTERN;
    case COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN_FULL:
        return GRAMMAR_TRIGGER_PATTERN_FULL;
    }
    return GRAMMAR_TRIGGER_WORD;
}

void take_grammar(const common_chat_params &params, struct grammar_spec *out)
{
    out->text = {copy(params.grammar), params.grammar.size()};
    out->lazy = params.grammar_lazy;
    out->prefix = {copy(params.generation_prompt), params.generation_prompt.size()};
    size_t n = params.grammar_triggers.size();
    auto *triggers =
        (struct grammar_trigger *)mem_zalloc(mem_array_bytes(n, sizeof *out->triggers));
    for (size_t i = 0; i < n; i++) {
        const common_grammar_trigger &t = params.grammar_triggers[i];
        triggers[i] = {to_trigger_type(t.type), {copy(t.value), t.value.size()}};
    }
    out->triggers = triggers;
    out->n_triggers = n;
}

/* A grammar that demands a call begins `root ::= "..." space until-N? ...`: the rule until-N stands
 * for words before the call.  Where the library writes it another way, nothing is changed. */
void drop_words_before_calls(std::string *grammar)
{
    size_t root = grammar->compare(0, 9, "root ::= ") == 0 ? 0 : grammar->find("\nroot ::= ");
    if (root == std::string::npos)
        return;
    size_t end = grammar->find('\n', root + 1);
    size_t words = grammar->find(" until-", root);
    if (words == std::string::npos || words > end)
        return;
    size_t after = grammar->find_first_not_of("0123456789", words + 7);
    if (after != std::string::npos && (*grammar)[after] == '?')
        grammar->erase(words, after + 1 - words);
}

/* The templates' own grammars leave room that the API does not: words before a call that must come,
 * and a code fence around JSON that must be the whole text. */
void tighten_grammar(const struct chat_inputs *in, common_chat_params *params)
{
    if (in->json_schema.len > 0 && in->n_tools == 0) {
        params->grammar = json_schema_to_grammar(common_json::parse(to_string(in->json_schema)));
        params->grammar_lazy = false;
        params->grammar_triggers.clear();
    } else if (in->tool_choice == CHAT_TOOLS_REQUIRED) {
        drop_words_before_calls(&params->grammar);
    }
}

void take_prompt(const std::string &text, const format_ptr &format, struct chat_prompt *out)
{
    const common_chat_params &params = format->params;
    *out = {};
    out->text = copy(text);
    out->len = text.size();
    take_grammar(params, &out->grammar);
    out->generation_prompt = copy(params.generation_prompt);
    out->thinking_start = copy(params.thinking_start_tag);
    out->thinking_end = copy(params.thinking_end_tags.empty() ? "" : params.thinking_end_tags[0]);
    out->n_stops = params.additional_stops.size();
    out->stops = (char **)mem_zalloc(mem_array_bytes(out->n_stops, sizeof *out->stops));
    for (size_t i = 0; i < out->n_stops; i++)
        out->stops[i] = copy(params.additional_stops[i]);

    out->parser = new chat_parser{format};
}

/* ---- Writing the text ---- */

/* The messages as the library shows them to a template of these abilities. */
common_json to_json(const common_chat_template &tmpl, const std::vector<common_chat_msg> &messages)
{
    common_json out = common_chat_msgs_to_json_oaicompat(messages);
    if (!tmpl.caps.supports_object_arguments)
        return out;
    for (auto &message : out) {
        if (!message.contains("tool_calls"))
            continue;
        for (auto &call : message["tool_calls"]) {
            auto &arguments = call["function"]["arguments"];
            if (arguments.is_string())
                arguments = common_json::parse(arguments.get<std::string>());
        }
    }
    return out;
}

std::string print_date(const char *format)
{
    time_t now = time(nullptr);
    struct tm local = {};
    localtime_r(&now, &local);
    std::ostringstream text;
    text << std::put_time(&local, format);
    return text.str();
}

std::string write_directly(const common_chat_template &tmpl, const common_chat_templates_inputs &in)
{
    autoparser::generation_params params;
    params.messages = to_json(tmpl, in.messages);
    params.tools = common_chat_tools_to_json_oaicompat(in.tools);
    params.enable_thinking = in.enable_thinking;
    params.add_generation_prompt = true;
    params.extra_context = common_json::object();
    params.extra_context["datetime"] = print_date("%b %d %Y");
    params.extra_context["date_string"] = print_date("%d %b %Y");
    return common_chat_template_direct_apply(tmpl, params);
}

/* ---- How the reply is read ---- */

void add_part(std::string *key, const std::string &part)
{
    key->append(std::to_string(part.size()));
    key->append(":");
    key->append(part);
}

/* All that a format depends on.  The words of the conversation are not among it; what the prompt
 * ends with, which they may change, is compared by its user. */
std::string format_key(const struct chat_inputs *in, const common_chat_templates_inputs &inputs)
{
    std::string key;
    for (const common_chat_tool &tool : inputs.tools) {
        add_part(&key, tool.name);
        add_part(&key, tool.parameters);
    }
    add_part(&key, inputs.messages.empty() ? "" : inputs.messages.back().role);
    add_part(&key, to_string(in->json_schema));
    add_part(&key, std::to_string(inputs.tool_choice));
    add_part(&key, inputs.parallel_tool_calls ? "parallel" : "");
    add_part(&key, inputs.enable_thinking ? "thinking" : "");
    return key;
}

format_ptr make_format(common_chat_params *params)
{
    auto format = std::make_shared<reply_format>();
    format->parser = common_chat_parser_params(*params);
    format->parser.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
    if (!params->parser.empty())
        format->parser.parser.load(params->parser);
    params->prompt.clear();
    params->parser.clear();
    format->params = std::move(*params);
    return format;
}

bool ends_with(const std::string &text, const std::string &end)
{
    return text.size() >= end.size() &&
           text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/* To the library, words of the assistant's that are to be continued are a part of what opens the
 * reply.  Here they belong to the prompt: what reads and holds the reply begins behind them. */
void leave_words_to_prompt(const std::string &words, common_chat_params *params)
{
    std::string *opening = &params->generation_prompt;
    if (ends_with(*opening, words))
        opening->resize(opening->size() - words.size());
}

/* Text and format the library's way. */
format_ptr apply_library(const struct chat_template *t, const struct chat_inputs *in,
                         const common_chat_templates_inputs &inputs, std::string *text)
{
    common_chat_params params = common_chat_templates_apply(t->templates.get(), inputs);
    *text = params.prompt;
    tighten_grammar(in, &params);
    if (in->continue_last)
        leave_words_to_prompt(inputs.messages.back().content, &params);
    return make_format(&params);
}

/* The same for the reply: its grammar is made of what it can hold of the tools' schemas. */
common_chat_templates_inputs to_format_inputs(const struct chat_inputs *in,
                                              common_chat_templates_inputs inputs)
{
    for (size_t i = 0; i < in->n_tools; i++)
        if (in->tools[i].grammar_json.len > 0)
            inputs.tools[i].parameters = to_string(in->tools[i].grammar_json);
    return inputs;
}

/* Where only the library can write the text, it is asked twice: the text shows the schemas as the
 * client wrote them, which the library may refuse to make a grammar of. */
format_ptr apply_twice(const struct chat_template *t, const struct chat_inputs *in,
                       const common_chat_templates_inputs &inputs, std::string *text)
{
    format_ptr format = apply_library(t, in, to_format_inputs(in, inputs), text);
    if (in->n_tools > 0) {
        try {
            (void)apply_library(t, in, inputs, text);
        } catch (const std::exception &) {
            return format; /* shown as the grammar has them */
        }
    }
    return format;
}

format_ptr apply_template(const struct chat_template *t, const struct chat_inputs *in,
                          std::string *text)
{
    common_chat_templates_inputs inputs = to_inputs(in);
    if (t->direct == nullptr || in->continue_last)
        return apply_twice(t, in, inputs, text);
    std::string key = format_key(in, to_format_inputs(in, inputs));
    format_ptr format = t->formats->find(key);
    if (format != nullptr) {
        *text = write_directly(*t->direct, inputs);
        if (ends_with(*text, format->params.generation_prompt))
            return format;
    }
    format = apply_twice(t, in, inputs, text);
    t->formats->add(key, format);
    return format;
}

/* ---- What a template can do, found out by trying ---- */

const char *const first_mark = "PROBEfirst";
const char *const middle_mark = "PROBEmiddle";
const char *const last_mark = "PROBElast";

common_chat_tool probe_tool()
{
    return {middle_mark, "Reads.",
            "{\"type\":\"object\",\"properties\":"
            "{\"path\":{\"type\":\"string\"}},\"required\":[\"path\"]}"};
}

common_chat_tool_call probe_call()
{
    return {middle_mark, "{\"path\":\"PROBEpath\"}", "call00001"};
}

common_chat_msg say(const char *role, const char *content)
{
    common_chat_msg m;
    m.role = role;
    m.content = content;
    return m;
}

common_chat_msg probe_result()
{
    common_chat_msg m = say("tool", last_mark);
    m.tool_call_id = "call00001";
    m.tool_name = middle_mark;
    return m;
}

std::string try_render(const common_chat_templates *templates,
                       std::vector<common_chat_msg> messages, bool with_tool, bool thinking)
{
    common_chat_templates_inputs in;
    in.messages = std::move(messages);
    in.enable_thinking = thinking;
    in.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
    in.now = today();
    if (with_tool)
        in.tools.push_back(probe_tool());
    try {
        return common_chat_templates_apply(templates, in).prompt;
    } catch (const std::exception &) {
        return std::string();
    }
}

size_t count(const std::string &text, const char *mark)
{
    size_t n = 0;
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1))
        n++;
    return n;
}

bool system_stands_anywhere(const common_chat_templates *templates)
{
    /* Where the template takes it, the text appears once, between its neighbours, and it makes a
     * turn of its own, not a part of the user's.  Between the user and the assistant, as clients
     * send it: templates that insist on turns in order count it as one. */
    std::string text =
        try_render(templates,
                   {say("system", "PROBEzero"), say("user", first_mark), say("system", middle_mark),
                    say("assistant", "PROBEreply"), say("user", last_mark)},
                   false, false);
    return count(text, middle_mark) == 1 && text.find(first_mark) < text.find(middle_mark) &&
           text.find(middle_mark) < text.find(last_mark);
}

bool renders_calls(const common_chat_templates *templates)
{
    common_chat_msg call = say("assistant", "");
    call.tool_calls.push_back(probe_call());
    std::string text =
        try_render(templates, {say("user", first_mark), call, probe_result()}, true, false);
    return text.find("PROBEpath") != std::string::npos && text.find(last_mark) != std::string::npos;
}

/* Conversations in which the library is known to change what some templates are given, each once as
 * the model thinks and once as it does not. */
std::vector<common_chat_templates_inputs> trials(const chat_caps &caps)
{
    common_chat_templates_inputs in;
    in.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
    if (caps.system_first)
        in.messages.push_back(say("system", " PROBEsystem\n"));
    in.messages.push_back(say("user", " PROBEuser\n"));
    common_chat_templates_inputs answered = in;
    answered.messages.push_back(say("assistant", " PROBEreply\n"));
    answered.messages.back().reasoning_content = "PROBEthought";
    answered.messages.push_back(say("user", last_mark));

    common_chat_templates_inputs called = in;
    called.tools.push_back(probe_tool());
    if (caps.tool_calls) {
        called.messages.push_back(say("assistant", "PROBEwords"));
        called.messages.back().reasoning_content = "PROBEthought";
        called.messages.back().tool_calls.push_back(probe_call());
        called.messages.push_back(probe_result());
    }
    std::vector<common_chat_templates_inputs> out;
    for (bool thinking : {true, false}) {
        for (common_chat_templates_inputs *each : {&in, &answered, &called}) {
            each->enable_thinking = thinking;
            out.push_back(*each);
        }
    }
    return out;
}

/* Whether one run of the template gives what the library makes of it. */
bool is_direct(const common_chat_templates *templates, const common_chat_template &tmpl,
               const chat_caps &caps)
{
    for (const common_chat_templates_inputs &in : trials(caps)) {
        try {
            if (write_directly(tmpl, in) != common_chat_templates_apply(templates, in).prompt)
                return false;
        } catch (const std::exception &) {
            return false;
        }
    }
    return true;
}

chat_caps probe(const common_chat_templates *templates)
{
    chat_caps caps = {};
    auto known = common_chat_templates_get_caps(templates);
    /* Where the template takes none, the library would put it before the first words itself;
     * prompt/ does that better, as it does for all other messages. */
    caps.system_first =
        known["supports_system_role"] &&
        count(try_render(templates, {say("system", middle_mark), say("user", last_mark)}, false,
                         false),
              middle_mark) > 0;
    caps.system_anywhere = caps.system_first && system_stands_anywhere(templates);
    caps.tools =
        count(try_render(templates, {say("user", last_mark)}, true, false), middle_mark) > 0;
    caps.tool_calls = caps.tools && renders_calls(templates);
    caps.parallel_calls = known["supports_parallel_tool_calls"];
    caps.thinking = common_chat_templates_support_enable_thinking(templates);
    return caps;
}

/* Qwen2.5's template doubles the braces of its example call, as if something would halve them.  The
 * model copies what it reads, so it is shown what it was trained to write. */
void mend_template(std::string *text)
{
    const std::string doubled =
        R"({{\"name\": <function-name>, \"arguments\": <args-json-object>}})";
    size_t at = text->find(doubled);
    if (at != std::string::npos)
        text->replace(at, doubled.size(), doubled.substr(1, doubled.size() - 2));
}

} // namespace

enum status chat_template_create(struct str source, const char *bos, const char *eos,
                                 struct chat_template **out, struct error *err)
{
    silence_library();
    try {
        /* "chatml" is the library's word for the plain form, for models that bring no template. */
        std::string text = source.len > 0 ? to_string(source) : std::string("chatml");
        mend_template(&text);
        auto t = std::make_unique<chat_template>();
        t->templates = common_chat_templates_init(nullptr, text, bos, eos);
        t->caps = probe(t->templates.get());
        t->formats = std::make_unique<format_cache>();
        auto direct = std::make_unique<common_chat_template>(
            common_chat_templates_source(t->templates.get()), bos, eos);
        if (is_direct(t->templates.get(), *direct, t->caps))
            t->direct = std::move(direct);
        *out = t.release();
        return STATUS_OK;
    } catch (const std::exception &e) {
        return error_set(err, STATUS_UNSUPPORTED, "the model's chat template can't be used: %s",
                         e.what());
    }
}

void chat_template_free(struct chat_template *t)
{
    delete t;
}

const struct chat_caps *chat_template_get_caps(const struct chat_template *t)
{
    return &t->caps;
}

enum status chat_render(const struct chat_template *t, const struct chat_inputs *in,
                        struct chat_prompt *out, struct error *err)
{
    struct chat_prompt prompt = {};
    try {
        std::string text;
        format_ptr format = apply_template(t, in, &text);
        take_prompt(text, format, &prompt);
        if (in->json_schema.len > 0 && in->n_tools == 0)
            prompt.grammar.prefix.len = 0; /* the schema's grammar begins with the reply */
        *out = prompt;
        return STATUS_OK;
    } catch (const std::exception &) {
        chat_prompt_free(&prompt);
        /* The exception's text may quote the conversation: it stays here. */
        return error_set(err, STATUS_UNSUPPORTED,
                         "the model's chat template refuses this conversation");
    }
}

enum status chat_render_text(const struct chat_template *t, const struct chat_inputs *in,
                             struct strbuf *out, struct error *err)
{
    try {
        common_chat_templates_inputs inputs = to_inputs(in);
        std::string text = t->direct != nullptr && !in->continue_last
                               ? write_directly(*t->direct, inputs)
                               : common_chat_templates_apply(t->templates.get(), inputs).prompt;
        strbuf_append(out, text.data(), text.size());
    } catch (const std::exception &) {
        return error_set(err, STATUS_UNSUPPORTED,
                         "the model's chat template refuses this conversation");
    }
    return strbuf_status(out);
}

void chat_prompt_free(struct chat_prompt *p)
{
    if (p == nullptr)
        return;
    mem_free(p->text);
    mem_free((void *)p->grammar.text.ptr);
    mem_free((void *)p->grammar.prefix.ptr);
    for (size_t i = 0; i < p->grammar.n_triggers; i++)
        mem_free((void *)p->grammar.triggers[i].text.ptr);
    mem_free((void *)p->grammar.triggers);
    mem_free(p->generation_prompt);
    mem_free(p->thinking_start);
    mem_free(p->thinking_end);
    for (size_t i = 0; i < p->n_stops; i++)
        mem_free(p->stops[i]);
    mem_free(p->stops);
    delete p->parser;
    *p = {};
}

enum status chat_parse(const struct chat_prompt *p, struct str reply, bool is_partial,
                       struct chat_reply *out)
{
    try {
        auto *msg = new common_chat_msg(
            common_chat_parse(to_string(reply), is_partial, p->parser->format->parser));
        size_t n = msg->tool_calls.size();
        auto *calls = (struct chat_call *)mem_zalloc(mem_array_bytes(n, sizeof *out->calls));
        for (size_t i = 0; i < n; i++) {
            const common_chat_tool_call &c = msg->tool_calls[i];
            calls[i] = {{c.id.data(), c.id.size()},
                        {c.name.data(), c.name.size()},
                        {c.arguments.data(), c.arguments.size()}};
        }
        *out = {{msg->content.data(), msg->content.size()},
                {msg->reasoning_content.data(), msg->reasoning_content.size()},
                calls,
                n,
                msg};
        return STATUS_OK;
    } catch (const std::exception &) {
        return STATUS_INVALID;
    }
}

void chat_reply_free(struct chat_reply *r)
{
    mem_free(r->calls);
    delete (common_chat_msg *)r->storage;
    *r = {};
}
