/* There is no index: the words of the query are known, so one pass over the texts counts how often
 * each of them is in each field of each tool, and a second one over the counts makes the scores.
 * Memory is 4 bytes * MOST_TERMS * N_FIELDS for a tool, 4 MB for LIMIT_TOOLS. */
#include "servertools/tool_bm25.h"

#include <math.h>

#include "base/mem.h"
#include "servertools/tool_arguments.h"
#include "servertools/tool_words.h"

enum field {
    FIELD_NAME,
    FIELD_DESCRIPTION,
    FIELD_ARGUMENTS,
    N_FIELDS,
};

enum { MOST_TERMS = 32 }; /* different words of a query that count */

static const double K1 = 1.2, B = 0.75;

/* A name says in two words what a tool is for; arguments are many, and often `id` and `name`. */
static const double weights[N_FIELDS] = {
    [FIELD_NAME] = 4,
    [FIELD_DESCRIPTION] = 1,
    [FIELD_ARGUMENTS] = 0.5,
};

struct term {
    char letters[TOOL_WORD_BYTES];
    size_t len;
    size_t n_documents; /* tools that have it in any field */
};

struct document {
    const struct tool *tool;
    uint32_t n_words[N_FIELDS];
    uint32_t counts[N_FIELDS][MOST_TERMS];
};

struct corpus {
    struct term terms[MOST_TERMS];
    size_t n_terms;
    struct document *documents; /* the deferred tools, in the order of the list */
    size_t n_documents;
    double mean_words[N_FIELDS];
};

/* ---- Counting ---- */

static size_t find_term(const struct corpus *c, struct str word)
{
    size_t i = 0;
    while (i < c->n_terms && !str_equal((struct str){c->terms[i].letters, c->terms[i].len}, word))
        i++;
    return i;
}

static void take_query(struct corpus *c, struct str query)
{
    struct tool_words it;
    tool_words_init(&it, query);
    while (c->n_terms < MOST_TERMS && tool_words_next(&it)) {
        if (find_term(c, it.word) < c->n_terms)
            continue;
        struct term *term = &c->terms[c->n_terms++];
        memcpy(term->letters, it.word.ptr, it.word.len);
        term->len = it.word.len;
    }
}

static void count_words(const struct corpus *c, struct document *d, enum field field,
                        struct str text)
{
    struct tool_words it;
    tool_words_init(&it, text);
    while (tool_words_next(&it)) {
        size_t term = find_term(c, it.word);
        if (term < c->n_terms)
            d->counts[field][term]++;
        d->n_words[field]++;
    }
}

static enum status count_tool(const struct corpus *c, const struct tool *t, struct document *d)
{
    *d = (struct document){.tool = t};
    count_words(c, d, FIELD_NAME, t->name);
    count_words(c, d, FIELD_DESCRIPTION, t->description);
    struct tool_arguments it;
    enum status st = tool_arguments_init(&it, t->schema_json);
    while (st == STATUS_OK && tool_arguments_next(&it))
        count_words(c, d, FIELD_ARGUMENTS, it.text);
    tool_arguments_free(&it);
    return st;
}

static enum status count_tools(struct corpus *c, const struct tool *tools, size_t n_tools)
{
    for (size_t i = 0; i < n_tools; i++) {
        if (!tools[i].defer_loading)
            continue;
        enum status st = count_tool(c, &tools[i], &c->documents[c->n_documents]);
        if (st != STATUS_OK)
            return st;
        c->n_documents++;
    }
    return STATUS_OK;
}

/* ---- Scores ---- */

static bool has_term(const struct document *d, size_t term)
{
    for (size_t field = 0; field < N_FIELDS; field++)
        if (d->counts[field][term] > 0)
            return true;
    return false;
}

static void sum_up(struct corpus *c)
{
    for (size_t i = 0; i < c->n_documents; i++) {
        const struct document *d = &c->documents[i];
        for (size_t field = 0; field < N_FIELDS; field++)
            c->mean_words[field] += d->n_words[field];
        for (size_t term = 0; term < c->n_terms; term++)
            c->terms[term].n_documents += has_term(d, term);
    }
    for (size_t field = 0; field < N_FIELDS; field++)
        c->mean_words[field] /= (double)c->n_documents;
}

/* How rare a term is; with 1 added below the logarithm, as else what half of the tools have would
 * count against them. */
static double rarity(const struct corpus *c, size_t term)
{
    double n = (double)c->n_documents, n_with = (double)c->terms[term].n_documents;
    return log(1 + (n - n_with + 0.5) / (n_with + 0.5));
}

/* How often a tool has a term, each field by its weight and its length. */
static double weighted_count(const struct corpus *c, const struct document *d, size_t term)
{
    double sum = 0;
    for (size_t field = 0; field < N_FIELDS; field++)
        if (d->counts[field][term] > 0) {
            double length = d->n_words[field] / c->mean_words[field];
            sum += weights[field] * d->counts[field][term] / (1 - B + B * length);
        }
    return sum;
}

static double score_document(const struct corpus *c, const struct document *d)
{
    double score = 0;
    for (size_t term = 0; term < c->n_terms; term++) {
        double count = weighted_count(c, d, term);
        score += rarity(c, term) * count / (K1 + count);
    }
    return score;
}

enum status tool_bm25_search(const struct tool *tools, size_t n_tools, struct str query,
                             struct tool_picks *picks)
{
    size_t n_deferred = 0;
    for (size_t i = 0; i < n_tools; i++)
        n_deferred += tools[i].defer_loading;
    struct corpus c = {.n_terms = 0};
    take_query(&c, query);
    if (n_deferred == 0 || c.n_terms == 0)
        return STATUS_OK;
    c.documents = mem_try_alloc(mem_array_bytes(n_deferred, sizeof *c.documents));
    if (c.documents == NULL)
        return STATUS_NO_MEMORY;
    enum status st = count_tools(&c, tools, n_tools);
    if (st == STATUS_OK) {
        sum_up(&c);
        for (size_t i = 0; i < c.n_documents; i++)
            tool_picks_offer(picks, c.documents[i].tool, score_document(&c, &c.documents[i]));
        tool_picks_trim(picks);
    }
    mem_free(c.documents);
    return st;
}
