extern "C" {
#include "model/grammar_llama.h"
}

#include <llama.h>

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

extern "C" {
#include "base/limits.h"
#include "base/log.h"
#include "model/call_scan.h"
#include "model/schema_rules.h"
}

/* A lazy grammar waits for its trigger.  libllama searches all of the reply for it, by a regular
 * expression, after each token: the square of the reply's length, and it takes a quoted mark for a
 * call.  Where the triggers are plain words the scanner of calls searches instead; tokens that may
 * belong to a mark are kept back, and handed over once it is whole; libllama then finds it at once.
 *
 * The scanner also tells where a call begins that needs no mark.  From there to its end the tool's
 * own schema is the grammar. */
enum class state {
    FREE,   /* words, or what may become a call: everything is allowed */
    FORMAT, /* the template's grammar sees each token (and waits by itself for a pattern) */
    GUIDED, /* the call's grammar does */
    DEAD,   /* one threw: from then on everything is allowed */
};

struct kept_token {
    llama_token token;
    size_t begin, end; /* bytes of the reply */
};

/* With which byte a token's text begins.  A text is allowed only where its beginning is, so one
 * question about the token that is a byte alone answers for all that begin with it. */
struct token_starts {
    std::vector<uint8_t> first;      /* of each token: an ASCII byte, or LOOKED_AT */
    std::vector<llama_token> single; /* for each ASCII byte the token that is it alone, or -1 */
};

enum {
    ASCII = 128,
    LOOKED_AT =
        0xff, /* asked about one by one: ends of generation, texts of other bytes, no text */
};

struct grammar {
    const llama_vocab *vocab;
    const token_starts *starts;
    llama_sampler *format; /* nullptr: the template has none */
    llama_sampler *guide;  /* of the call under way */
    enum state state;
    std::vector<grammar_call> calls; /* strings are the creator's, and live as long */
    call_scan *scan;
    std::vector<kept_token> kept; /* FREE: what reaches behind the released bytes */
    std::vector<llama_token_data> row;
};

namespace
{

std::string escape_regex(const std::string &text)
{
    static const std::string special = ".^$|()*+?[]{}\\";
    std::string out;
    for (char c : text) {
        if (special.find(c) != std::string::npos)
            out += '\\';
        out += c;
    }
    return out;
}

std::vector<llama_token> tokenize(const llama_vocab *vocab, const std::string &text)
{
    std::vector<llama_token> tokens(text.size() + 8);
    int32_t n = llama_tokenize(vocab, text.data(), (int32_t)text.size(), tokens.data(),
                               (int32_t)tokens.size(), false, true);
    tokens.resize(n > 0 ? (size_t)n : 0);
    return tokens;
}

/* The two forms that libllama takes triggers in. */
struct triggers {
    std::vector<std::string> patterns;
    std::vector<llama_token> tokens;
    bool only_words = true;
};

triggers translate(const llama_vocab *vocab, const grammar_spec *spec)
{
    triggers out;
    for (size_t i = 0; i < spec->n_triggers; i++) {
        const grammar_trigger &t = spec->triggers[i];
        std::string text(t.text.ptr, t.text.len);
        switch (t.type) {
        case GRAMMAR_TRIGGER_TOKEN:
        case GRAMMAR_TRIGGER_WORD: {
            /* A word that is one control token is never spelled out as text: match the token. */
            std::vector<llama_token> tokens = tokenize(vocab, text);
            if (tokens.size() == 1 && llama_vocab_is_control(vocab, tokens[0]))
                out.tokens.push_back(tokens[0]);
            else
                out.patterns.push_back(escape_regex(text));
            break;
        }
        case GRAMMAR_TRIGGER_PATTERN:
            out.only_words = false;
            out.patterns.push_back(text);
            break;
        case GRAMMAR_TRIGGER_PATTERN_FULL:
            out.only_words = false;
            if (text.empty() || text.front() != '^')
                text.insert(0, "^");
            if (text.back() != '$')
                text += '$';
            out.patterns.push_back(text);
            break;
        }
    }
    return out;
}

llama_sampler *make_sampler(const llama_vocab *vocab, const grammar_spec *spec, const triggers &t)
{
    std::string text(spec->text.ptr, spec->text.len);
    if (!spec->lazy)
        return llama_sampler_init_grammar(vocab, text.c_str(), "root");

    std::vector<const char *> patterns;
    for (const std::string &pattern : t.patterns)
        patterns.push_back(pattern.c_str());
    return llama_sampler_init_grammar_lazy_patterns(vocab, text.c_str(), "root", patterns.data(),
                                                    patterns.size(), t.tokens.data(),
                                                    t.tokens.size());
}

/* Runs `work`; a grammar that throws is of no use any more, and the reply goes on without it. */
template <typename F> void guarded(struct grammar *g, F work)
{
    if (g->state == state::DEAD)
        return;
    try {
        work();
    } catch (...) {
        g->state = state::DEAD;
        log_warn("grammar: reached an impossible state; the rest of the reply is free");
    }
}

llama_sampler *active(const struct grammar *g)
{
    return g->state == state::GUIDED ? g->guide : g->format;
}

bool sampler_allows(llama_sampler *sampler, llama_token token)
{
    llama_token_data one = {token, 1.0f, 0.0f};
    llama_token_data_array array = {&one, 1, -1, false};
    llama_sampler_apply(sampler, &array);
    return one.logit != -INFINITY;
}

/* libllama aborts the program where a reply ends that the grammar does not let end. */
void accept_checked(struct grammar *g, llama_token token)
{
    llama_sampler *sampler = active(g);
    if (llama_vocab_is_eog(g->vocab, token) && !sampler_allows(sampler, token))
        throw std::runtime_error("the reply ended inside the grammar");
    llama_sampler_accept(sampler, token);
}

std::string spell(const llama_vocab *vocab, llama_token token)
{
    std::string text(64, '\0');
    int32_t n = llama_token_to_piece(vocab, token, &text[0], (int32_t)text.size(), 0, true);
    if (n < 0) {
        text.resize((size_t)-n);
        n = llama_token_to_piece(vocab, token, &text[0], (int32_t)text.size(), 0, true);
    }
    text.resize(n > 0 ? (size_t)n : 0);
    return text;
}

/* ---- Calls without marks ---- */

/* The arguments by their schema, the end of the call, then whatever comes. */
std::string call_grammar(const grammar_call &call)
{
    struct strbuf rules;
    strbuf_init(&rules, LIMIT_GRAMMAR_BYTES);
    struct str schema = call.grammar_json.len > 0 ? call.grammar_json : call.schema_json;
    bool ok = schema_rules_append(schema, "arguments", &rules) && !rules.failed;
    std::string text(rules.data, rules.len);
    strbuf_free(&rules);
    if (!ok)
        throw std::runtime_error("no grammar for the schema");
    return text + "root ::= call-space arguments call-space \"}\" [\\U00000001-\\U0010FFFF]*\n"
                  "call-space ::= [ \\t\\n]{0,20}\n";
}

void leave_guide(struct grammar *g)
{
    llama_sampler_free(g->guide);
    g->guide = nullptr;
    g->state = state::FREE;
}

/* `skip` bytes of the token come before the arguments; a rest of it begins them. */
void enter_guide(struct grammar *g, llama_token token, size_t skip, size_t n_bytes)
{
    try {
        std::string text = call_grammar(g->calls[call_scan_current(g->scan).tool]);
        if (skip == n_bytes) {
            g->guide = llama_sampler_init_grammar(g->vocab, text.c_str(), "root");
        } else {
            std::string pattern = "^[\\s\\S]{" + std::to_string(skip) + "}([\\s\\S]+)$";
            const char *patterns[] = {pattern.c_str()};
            g->guide = llama_sampler_init_grammar_lazy_patterns(g->vocab, text.c_str(), "root",
                                                                patterns, 1, nullptr, 0);
            if (g->guide != nullptr)
                llama_sampler_accept(g->guide, token);
        }
        g->state = g->guide != nullptr ? state::GUIDED : state::FREE;
    } catch (...) {
        leave_guide(g); /* an unusual schema, or arguments that are no object: the call goes on */
    }
}

/* The template's format has begun: its grammar is given the tokens of the mark. */
void enter_format(struct grammar *g)
{
    if (g->format == nullptr) {
        g->state = state::DEAD;
        return;
    }
    g->state = state::FORMAT;
    size_t begin = call_scan_mark(g->scan);
    for (const kept_token &kept : g->kept)
        if (kept.end > begin)
            accept_checked(g, kept.token);
    g->kept.clear();
}

void forget_released(struct grammar *g)
{
    size_t released = call_scan_released(g->scan);
    size_t n = 0;
    while (n < g->kept.size() && g->kept[n].end <= released)
        n++;
    g->kept.erase(g->kept.begin(), g->kept.begin() + (std::ptrdiff_t)n);
}

void accept_free(struct grammar *g, llama_token token, size_t begin, size_t end)
{
    g->kept.push_back({token, begin, end});
    switch (call_scan_place(g->scan)) {
    case CALL_PLACE_MARK:
        enter_format(g);
        return;
    case CALL_PLACE_CALL:
        if (call_scan_current(g->scan).arguments_begin > begin)
            enter_guide(g, token, call_scan_current(g->scan).arguments_begin - begin, end - begin);
        return;
    default:
        forget_released(g);
        return;
    }
}

void accept_any(struct grammar *g, llama_token token)
{
    std::string piece = spell(g->vocab, token);
    size_t begin = call_scan_length(g->scan);
    call_scan_feed(g->scan, {piece.data(), piece.size()});
    size_t end = call_scan_length(g->scan);
    if (g->state == state::FREE) {
        accept_free(g, token, begin, end);
        return;
    }
    accept_checked(g, token);
    if (g->state == state::GUIDED) {
        g->kept.push_back({token, begin, end});
        if (call_scan_place(g->scan) != CALL_PLACE_CALL)
            leave_guide(g);
    }
}

call_scan *make_scan(const struct grammar *g, const struct grammar_spec *spec)
{
    struct call_scan_options options = {};
    options.tools = g->calls.data();
    options.n_tools = g->calls.size();
    options.format = spec;
    options.thinking_start = spec->thinking_start;
    options.thinking_end = spec->thinking_end;
    options.begins_in_thinking = spec->begins_in_thinking;
    return call_scan_create(&options);
}

} // namespace

struct token_starts *token_starts_create(const struct llama_vocab *vocab)
{
    auto *starts = new token_starts;
    auto n = (llama_token)llama_vocab_n_tokens(vocab);
    starts->first.assign((size_t)n, LOOKED_AT);
    starts->single.assign(ASCII, -1);
    for (llama_token token = 0; token < n; token++) {
        std::string text = spell(vocab, token);
        auto byte = text.empty() ? (uint8_t)LOOKED_AT : (uint8_t)text[0];
        if (byte == 0 || byte >= ASCII || llama_vocab_is_eog(vocab, token))
            continue;
        starts->first[(size_t)token] = byte;
        if (text.size() == 1 && starts->single[byte] < 0)
            starts->single[byte] = token;
    }
    return starts;
}

void token_starts_free(struct token_starts *starts)
{
    delete starts;
}

struct grammar *grammar_llama_create(const struct llama_vocab *vocab,
                                     const struct token_starts *starts,
                                     const struct grammar_spec *spec)
{
    auto *g = new grammar{vocab, starts, nullptr, nullptr, state::FREE, {}, nullptr, {}, {}};
    try {
        g->calls.assign(spec->calls, spec->calls + spec->n_calls);
        g->scan = make_scan(g, spec);
        if (spec->text.len > 0) {
            triggers t = translate(vocab, spec);
            g->format = make_sampler(vocab, spec, t);
            if (g->format == nullptr)
                throw std::runtime_error("no grammar");
            g->state = spec->lazy && t.only_words ? state::FREE : state::FORMAT;
        }
        if (!spec->lazy && spec->prefix.len > 0 && g->format != nullptr)
            for (llama_token token : tokenize(vocab, {spec->prefix.ptr, spec->prefix.len}))
                accept_checked(g, token);
        return g;
    } catch (...) {
        log_warn("grammar: could not be used (%zu bytes); decoding freely", spec->text.len);
        grammar_llama_free(g);
        return nullptr;
    }
}

void grammar_llama_free(struct grammar *g)
{
    if (g == nullptr)
        return;
    llama_sampler_free(g->format);
    llama_sampler_free(g->guide);
    call_scan_free(g->scan);
    delete g;
}

bool grammar_llama_allows(struct grammar *g, model_token token)
{
    bool allows = true;
    if (g->state == state::FORMAT || g->state == state::GUIDED)
        guarded(g, [&] { allows = sampler_allows(active(g), token); });
    return allows;
}

/* The bytes that no text may begin with now. */
static void find_closed(struct grammar *g, bool is_closed[])
{
    g->row.clear();
    for (llama_token token : g->starts->single)
        if (token >= 0)
            g->row.push_back({token, 0.0f, 0.0f});
    llama_token_data_array array = {g->row.data(), g->row.size(), -1, false};
    llama_sampler_apply(active(g), &array);
    for (size_t i = 0; i < array.size; i++)
        if (array.data[i].logit == -INFINITY)
            is_closed[g->starts->first[(size_t)array.data[i].id]] = true;
}

void grammar_llama_mask(struct grammar *g, float *logits, uint32_t n_vocab)
{
    if (g->state != state::FORMAT && g->state != state::GUIDED)
        return;
    guarded(g, [&] {
        bool is_closed[LOOKED_AT + 1] = {};
        find_closed(g, is_closed);
        g->row.clear();
        for (uint32_t i = 0; i < n_vocab; i++) {
            if (is_closed[g->starts->first[i]])
                logits[i] = -INFINITY;
            if (logits[i] != -INFINITY)
                g->row.push_back({(llama_token)i, logits[i], 0.0f});
        }
        llama_token_data_array array = {g->row.data(), g->row.size(), -1, false};
        llama_sampler_apply(active(g), &array);
        for (size_t i = 0; i < array.size; i++)
            if (array.data[i].logit == -INFINITY)
                logits[array.data[i].id] = -INFINITY;
    });
}

void grammar_llama_accept(struct grammar *g, model_token token)
{
    guarded(g, [&] { accept_any(g, token); });
}

bool grammar_llama_in_call(struct grammar *g)
{
    if (g->calls.empty() || g->state == state::DEAD)
        return false;
    if (call_scan_place(g->scan) == CALL_PLACE_CALL)
        return true;
    return g->state == state::FORMAT && !grammar_llama_allows(g, llama_vocab_eos(g->vocab)) &&
           g->state == state::FORMAT;
}

bool grammar_llama_in_scaffold(const struct grammar *g)
{
    return g->state != state::DEAD && call_scan_is_scaffold(g->scan);
}
