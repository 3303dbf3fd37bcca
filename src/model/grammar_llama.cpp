extern "C" {
#include "model/grammar_llama.h"
}

#include <llama.h>

#include <cmath>
#include <exception>
#include <string>
#include <vector>

extern "C" {
#include "base/log.h"
}

struct grammar {
    llama_sampler *sampler;
    bool is_dead; /* it threw: from then on everything is allowed */
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
            out.patterns.push_back(text);
            break;
        case GRAMMAR_TRIGGER_PATTERN_FULL:
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

llama_sampler *make_sampler(const llama_vocab *vocab, const grammar_spec *spec)
{
    std::string text(spec->text.ptr, spec->text.len);
    if (!spec->lazy)
        return llama_sampler_init_grammar(vocab, text.c_str(), "root");

    triggers t = translate(vocab, spec);
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
    if (g->is_dead)
        return;
    try {
        work();
    } catch (const std::exception &) {
        g->is_dead = true;
        log_warn("grammar: reached an impossible state; the rest of the reply is free");
    }
}

} // namespace

struct grammar *grammar_llama_create(const struct llama_vocab *vocab,
                                     const struct grammar_spec *spec)
{
    try {
        llama_sampler *sampler = make_sampler(vocab, spec);
        if (sampler == nullptr) {
            log_warn("grammar: could not be parsed (%zu bytes); decoding freely", spec->text.len);
            return nullptr;
        }
        struct grammar *g = new grammar{sampler, false, {}};
        if (!spec->lazy && spec->prefix.len > 0) {
            std::string prefix(spec->prefix.ptr, spec->prefix.len);
            for (llama_token token : tokenize(vocab, prefix))
                grammar_llama_accept(g, token);
        }
        return g;
    } catch (const std::exception &) {
        log_warn("grammar: could not be built (%zu bytes); decoding freely", spec->text.len);
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
    llama_token_data one = {token, 1.0f, 0.0f};
    guarded(g, [&] {
        llama_token_data_array array = {&one, 1, -1, false};
        llama_sampler_apply(g->sampler, &array);
    });
    return g->is_dead || one.logit != -INFINITY;
}

void grammar_llama_mask(struct grammar *g, float *logits, uint32_t n_vocab)
{
    guarded(g, [&] {
        g->row.resize(n_vocab);
        for (uint32_t i = 0; i < n_vocab; i++)
            g->row[i] = {(llama_token)i, logits[i], 0.0f};
        llama_token_data_array array = {g->row.data(), n_vocab, -1, false};
        llama_sampler_apply(g->sampler, &array);
        for (size_t i = 0; i < array.size; i++)
            if (array.data[i].logit == -INFINITY)
                logits[array.data[i].id] = -INFINITY;
    });
}

void grammar_llama_accept(struct grammar *g, model_token token)
{
    guarded(g, [&] { llama_sampler_accept(g->sampler, token); });
}
