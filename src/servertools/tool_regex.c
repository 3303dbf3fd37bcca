/* PCRE2 with a budget.
 *
 * PCRE2's own limits hold for one place of one text where a match is tried, so a pattern that
 * stays just below them could still take minutes over 32 MiB of texts, and a single \d+ that runs
 * along a text costs nothing by them.  Therefore the patterns are compiled with automatic callouts:
 * before each item PCRE2 calls count_steps, which counts that and how far the match went since the
 * last time, over all texts.  Unlike a clock that gives the same answer on every machine.  PCRE2's
 * limits stay as they guard its memory.
 *
 * Differences to Python that remain: PCRE2 also knows what Python refuses ((?R), \K, \Q, possessive
 * forms before 3.11, flags in the middle), \Z may stand before a last line feed, and (?u), (?L) and
 * {,n} are not known. */
#include "servertools/tool_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/limits.h"
#include "base/mem.h"
#include "servertools/tool_arguments.h"
#include "servertools/tool_words.h"

enum {
    MOST_WORDS = 16, /* of a query in plain words */
    MATCH_LIMIT = 1000 * 1000,
    DEPTH_LIMIT = 100 * 1000,
    HEAP_LIMIT_KIB = 32 * 1024,
};

/* What is found of one pattern in one tool; more is better. */
enum place {
    PLACE_NOWHERE,
    PLACE_ARGUMENTS,
    PLACE_DESCRIPTION,
    PLACE_NAME,
};

/* Above what places can add up to: one more word is worth more than all places. */
enum { SCORE_OF_WORD = PLACE_NAME * MOST_WORDS + 1 };

struct steps {
    size_t left;
    size_t start; /* where the match that was seen last began, and how far it was */
    size_t at;
};

struct matcher {
    pcre2_general_context *memory;
    pcre2_compile_context *rules;
    pcre2_match_context *limits;
    pcre2_match_data *data;
    pcre2_code *patterns[MOST_WORDS];
    enum place places[MOST_WORDS]; /* of each pattern in the tool at hand */
    size_t n_patterns;
    struct steps steps;
};

/* ---- PCRE2 ---- */

static void *take_memory(size_t bytes, void *unused)
{
    (void)unused;
    return mem_try_alloc(bytes);
}

static void give_memory(void *p, void *unused)
{
    (void)unused;
    mem_free(p);
}

static int count_steps(pcre2_callout_block *block, void *data)
{
    struct steps *steps = data;
    size_t cost = 1;
    if (block->start_match == steps->start)
        cost += block->current_position > steps->at ? block->current_position - steps->at
                                                    : steps->at - block->current_position;
    steps->start = block->start_match;
    steps->at = block->current_position;
    if (cost > steps->left)
        return PCRE2_ERROR_CALLOUT;
    steps->left -= cost;
    return 0;
}

static enum status matcher_init(struct matcher *m)
{
    *m = (struct matcher){.steps.left = LIMIT_TOOL_SEARCH_STEPS};
    m->memory = pcre2_general_context_create(take_memory, give_memory, NULL);
    if (m->memory == NULL)
        return STATUS_NO_MEMORY;
    m->rules = pcre2_compile_context_create(m->memory);
    m->limits = pcre2_match_context_create(m->memory);
    m->data = pcre2_match_data_create(1, m->memory);
    if (m->rules == NULL || m->limits == NULL || m->data == NULL)
        return STATUS_NO_MEMORY;
    (void)pcre2_set_newline(m->rules, PCRE2_NEWLINE_LF); /* what Python's dot does not match */
    (void)pcre2_set_match_limit(m->limits, MATCH_LIMIT);
    (void)pcre2_set_depth_limit(m->limits, DEPTH_LIMIT);
    (void)pcre2_set_heap_limit(m->limits, HEAP_LIMIT_KIB);
    (void)pcre2_set_callout(m->limits, count_steps, &m->steps);
    return STATUS_OK;
}

static void drop_patterns(struct matcher *m)
{
    while (m->n_patterns > 0)
        pcre2_code_free(m->patterns[--m->n_patterns]);
}

static void matcher_free(struct matcher *m)
{
    drop_patterns(m);
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->limits);
    pcre2_compile_context_free(m->rules);
    pcre2_general_context_free(m->memory);
}

static enum status add_pattern(struct matcher *m, struct str pattern, uint32_t options,
                               struct error *err)
{
    int code;
    size_t offset;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern.ptr, pattern.len,
                      options | PCRE2_UTF | PCRE2_AUTO_CALLOUT, &code, &offset, m->rules);
    if (compiled != NULL) {
        m->patterns[m->n_patterns++] = compiled;
        return STATUS_OK;
    }
    if (code == PCRE2_ERROR_HEAP_FAILED)
        return STATUS_NO_MEMORY;
    PCRE2_UCHAR text[128] = "";
    (void)pcre2_get_error_message(code, text, sizeof text);
    return error_set(err, STATUS_INVALID,
                     "the pattern is not a valid regular expression: %s (byte %zu)",
                     (const char *)text, offset);
}

static enum status try_pattern(struct matcher *m, const pcre2_code *pattern, struct str text,
                               bool *out)
{
    m->steps.start = SIZE_MAX;
    int rc = pcre2_match(pattern, (PCRE2_SPTR)(text.len > 0 ? text.ptr : ""), text.len, 0, 0,
                         m->data, m->limits);
    switch (rc) {
    case PCRE2_ERROR_NOMEMORY:
        return STATUS_NO_MEMORY;
    case PCRE2_ERROR_CALLOUT:
    case PCRE2_ERROR_MATCHLIMIT:
    case PCRE2_ERROR_DEPTHLIMIT:
    case PCRE2_ERROR_HEAPLIMIT:
    case PCRE2_ERROR_RECURSELOOP:
        return STATUS_AGAIN;
    default:
        *out = rc >= 0; /* 0: more groups than there is room for; below: also no UTF-8 */
        return STATUS_OK;
    }
}

/* ---- Tools ---- */

/* Tries the patterns that are not found in this tool yet. */
static enum status try_text(struct matcher *m, struct str text, enum place place)
{
    for (size_t i = 0; i < m->n_patterns; i++) {
        bool is_found = false;
        enum status st = STATUS_OK;
        if (m->places[i] == PLACE_NOWHERE)
            st = try_pattern(m, m->patterns[i], text, &is_found);
        if (st != STATUS_OK)
            return st;
        if (is_found)
            m->places[i] = place;
    }
    return STATUS_OK;
}

static bool is_all_found(const struct matcher *m)
{
    for (size_t i = 0; i < m->n_patterns; i++)
        if (m->places[i] == PLACE_NOWHERE)
            return false;
    return true;
}

static enum status try_arguments(struct matcher *m, struct str schema_json)
{
    struct tool_arguments it;
    enum status st = tool_arguments_init(&it, schema_json);
    while (st == STATUS_OK && !is_all_found(m) && tool_arguments_next(&it))
        st = try_text(m, it.text, PLACE_ARGUMENTS);
    tool_arguments_free(&it);
    return st;
}

static enum status score_tool(struct matcher *m, const struct tool *t, double *out)
{
    memset(m->places, 0, sizeof m->places);
    enum status st = try_text(m, t->name, PLACE_NAME);
    if (st == STATUS_OK)
        st = try_text(m, t->description, PLACE_DESCRIPTION);
    if (st == STATUS_OK && !is_all_found(m))
        st = try_arguments(m, t->schema_json);
    if (st != STATUS_OK)
        return st;
    *out = 0;
    for (size_t i = 0; i < m->n_patterns; i++)
        if (m->places[i] != PLACE_NOWHERE)
            *out += SCORE_OF_WORD + m->places[i];
    return STATUS_OK;
}

static enum status search_tools(struct matcher *m, const struct tool *tools, size_t n_tools,
                                struct tool_picks *picks)
{
    for (size_t i = 0; i < n_tools; i++) {
        if (!tools[i].defer_loading)
            continue;
        double score;
        enum status st = score_tool(m, &tools[i], &score);
        if (st != STATUS_OK)
            return st;
        tool_picks_offer(picks, &tools[i], score);
    }
    return STATUS_OK;
}

/* ---- Queries ---- */

static size_t count_characters(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.ptr[i] & 0xC0) != 0x80;
    return n;
}

static bool is_plain(struct str pattern)
{
    for (size_t i = 0; i < pattern.len; i++)
        if (pattern.ptr[i] == '\0' || strchr("\\^$.|?*+()[]{}", pattern.ptr[i]) != NULL)
            return false;
    return true;
}

/* Puts the words of a plain query in the pattern's place. */
static enum status take_words(struct matcher *m, struct str query)
{
    struct tool_words it;
    tool_words_init(&it, query);
    drop_patterns(m);
    while (m->n_patterns < MOST_WORDS && tool_words_next(&it)) {
        enum status st = add_pattern(m, it.word, PCRE2_LITERAL | PCRE2_CASELESS, NULL);
        if (st != STATUS_OK)
            return st;
    }
    return STATUS_OK;
}

enum status tool_regex_search(const struct tool *tools, size_t n_tools, struct str pattern,
                              struct tool_picks *picks, struct error *err)
{
    if (count_characters(pattern) > LIMIT_TOOL_PATTERN_CHARACTERS)
        return error_set(err, STATUS_INVALID, "the pattern is longer than %d characters",
                         LIMIT_TOOL_PATTERN_CHARACTERS);
    struct matcher m;
    enum status st = matcher_init(&m);
    if (st == STATUS_OK)
        st = add_pattern(&m, pattern, PCRE2_UCP | PCRE2_ALT_BSUX | PCRE2_NEVER_BACKSLASH_C, err);
    if (st == STATUS_OK)
        st = search_tools(&m, tools, n_tools, picks);
    if (st == STATUS_OK && picks->n == 0 && is_plain(pattern)) {
        st = take_words(&m, pattern);
        if (st == STATUS_OK)
            st = search_tools(&m, tools, n_tools, picks);
        tool_picks_trim(picks);
    }
    matcher_free(&m);
    return st;
}
