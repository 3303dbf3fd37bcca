extern "C" {
#include "model/schema_rules.h"
}

#include <llama-common/json-schema-to-grammar.h>

#include <cctype>
#include <sstream>
#include <string>

namespace
{

bool is_name_character(char c)
{
    return std::isalnum((unsigned char)c) || c == '-';
}

std::string rename(const std::string &rule, const std::string &prefix)
{
    return rule == "root" ? prefix : prefix + "-" + rule;
}

/* Where the literal or the class that begins at `at` ends. */
size_t skip_quoted(const std::string &text, size_t at)
{
    char end = text[at] == '[' ? ']' : '"';
    for (at++; at < text.size() && text[at] != end; at++)
        if (text[at] == '\\')
            at++;
    return at < text.size() ? at + 1 : text.size();
}

/* One line with the names of rules changed: those are what is neither literal, class nor count. */
std::string rename_all(const std::string &line, const std::string &prefix)
{
    std::string out;
    for (size_t at = 0; at < line.size();) {
        size_t end = at + 1;
        if (line[at] == '"' || line[at] == '[') {
            end = skip_quoted(line, at);
            out.append(line, at, end - at);
        } else if (line[at] == '{') {
            end = line.find('}', at);
            end = end == std::string::npos ? line.size() : end + 1;
            out.append(line, at, end - at);
        } else if (is_name_character(line[at])) {
            while (end < line.size() && is_name_character(line[end]))
                end++;
            out += rename(line.substr(at, end - at), prefix);
        } else {
            out += line[at];
        }
        at = end;
    }
    return out;
}

} // namespace

bool schema_rules_append(struct str schema_json, const char *name, struct strbuf *out)
{
    std::string rules;
    try {
        std::istringstream lines(json_schema_to_grammar(
            common_json::parse(std::string(schema_json.ptr, schema_json.len))));
        for (std::string line; std::getline(lines, line);)
            rules += rename_all(line, name) + "\n";
    } catch (...) {
        return false; /* no schema, or one that the converter does not know */
    }
    strbuf_append(out, rules.data(), rules.size());
    return true;
}
