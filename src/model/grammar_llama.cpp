extern "C" {
#include "model/grammar_llama.h"
}

#include <llama.h>

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

extern "C" {
#include "base/log.h"
}

/* A lazy grammar waits for its trigger.  libllama searches all of the reply for it, by a regular
 * expression, after each token: the square of the reply's length.  Where the triggers are plain
 * words we search ourselves, keep back only the tokens that may hold the beginning of a word, and
 * hand those over once the word is whole; libllama then finds it at once. */
enum class state {
    WAITING_FOR_WORD, /* `kept` ends the reply so far; the sampler has seen nothing */
    RUNNING,          /* the sampler sees each token (and waits by itself for a pattern) */
    DEAD,             /* it threw: from then on everything is allowed */
};

struct kept_token {
    llama_token token;
    size_t bytes;
};

struct grammar {
    const llama_vocab *vocab;
    llama_sampler *sampler;
    enum state state;
    std::vector<std::string> words;
    std::vector<llama_token> tokens; /* triggers as well */
    std::vector<kept_token> kept;
    std::string kept_text;
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

/* The two forms that libllama takes triggers in, and the words behind the patterns. */
struct triggers {
    std::vector<std::string> patterns;
    std::vector<llama_token> tokens;
    std::vector<std::string> words;
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
            else {
                out.patterns.push_back(escape_regex(text));
                out.words.push_back(text);
            }
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

bool sampler_allows(struct grammar *g, llama_token token)
{
    llama_token_data one = {token, 1.0f, 0.0f};
    llama_token_data_array array = {&one, 1, -1, false};
    llama_sampler_apply(g->sampler, &array);
    return one.logit != -INFINITY;
}

/* libllama aborts the program where a reply ends that the grammar does not let end. */
void accept_checked(struct grammar *g, llama_token token)
{
    if (llama_vocab_is_eog(g->vocab, token) && !sampler_allows(g, token))
        throw std::runtime_error("the reply ended inside the grammar");
    llama_sampler_accept(g->sampler, token);
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

bool holds_trigger(const struct grammar *g, llama_token last)
{
    for (llama_token token : g->tokens)
        if (token == last)
            return true;
    for (const std::string &word : g->words)
        if (g->kept_text.find(word) != std::string::npos)
            return true;
    return false;
}

/* Forgets the leading tokens that cannot hold the beginning of a word any more. */
void forget_leading(struct grammar *g)
{
    struct str text = {g->kept_text.data(), g->kept_text.size()};
    size_t keep = 0;
    for (const std::string &word : g->words) {
        size_t n = str_partial_suffix(text, {word.data(), word.size()});
        keep = n > keep ? n : keep;
    }
    size_t n_tokens = 0;
    size_t n_bytes = 0;
    while (n_tokens < g->kept.size() &&
           n_bytes + g->kept[n_tokens].bytes <= g->kept_text.size() - keep)
        n_bytes += g->kept[n_tokens++].bytes;
    g->kept.erase(g->kept.begin(), g->kept.begin() + (std::ptrdiff_t)n_tokens);
    g->kept_text.erase(0, n_bytes);
}

void wait_for_word(struct grammar *g, llama_token token)
{
    std::string piece = spell(g->vocab, token);
    g->kept.push_back({token, piece.size()});
    g->kept_text += piece;
    if (!holds_trigger(g, token)) {
        forget_leading(g);
        return;
    }
    g->state = state::RUNNING;
    for (const kept_token &kept : g->kept)
        llama_sampler_accept(g->sampler, kept.token);
    g->kept.clear();
    g->kept_text.clear();
}

} // namespace

struct grammar *grammar_llama_create(const struct llama_vocab *vocab,
                                     const struct grammar_spec *spec)
{
    struct grammar *g = nullptr;
    try {
        triggers t = translate(vocab, spec);
        llama_sampler *sampler = make_sampler(vocab, spec, t);
        if (sampler == nullptr) {
            log_warn("grammar: could not be parsed (%zu bytes); decoding freely", spec->text.len);
            return nullptr;
        }
        bool waits = spec->lazy && t.only_words;
        g = new grammar{vocab,   sampler,  waits ? state::WAITING_FOR_WORD : state::RUNNING,
                        t.words, t.tokens, {},
                        {},      {}};
        if (!spec->lazy && spec->prefix.len > 0)
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
    llama_sampler_free(g->sampler);
    delete g;
}

bool grammar_llama_allows(struct grammar *g, model_token token)
{
    bool allows = true;
    if (g->state == state::RUNNING)
        guarded(g, [&] { allows = sampler_allows(g, token); });
    return allows;
}

void grammar_llama_mask(struct grammar *g, float *logits, uint32_t n_vocab)
{
    if (g->state != state::RUNNING)
        return;
    guarded(g, [&] {
        g->row.clear();
        for (uint32_t i = 0; i < n_vocab; i++)
            if (logits[i] != -INFINITY)
                g->row.push_back({(llama_token)i, logits[i], 0.0f});
        llama_token_data_array array = {g->row.data(), g->row.size(), -1, false};
        llama_sampler_apply(g->sampler, &array);
        for (size_t i = 0; i < array.size; i++)
            if (array.data[i].logit == -INFINITY)
                logits[array.data[i].id] = -INFINITY;
    });
}

void grammar_llama_accept(struct grammar *g, model_token token)
{
    guarded(g, [&] {
        if (g->state == state::WAITING_FOR_WORD)
            wait_for_word(g, token);
        else
            accept_checked(g, token);
    });
}
