/* Characters have a class, and words end where it changes in certain ways.
 *
 * The plural: Harman's S-stemmer ("How effective is suffixing?", JASIS 42(1), 1991), with the forms
 * in -ches, -shes, -sses and -xes added.  Endings of verbs stay: "listing" and "list" differ, but
 * so do "meeting" and "meet". */
#include "servertools/tool_words.h"

#include <stdint.h>

enum letter {
    CLASS_NONE, /* between words */
    CLASS_LOWER,
    CLASS_UPPER,
    CLASS_DIGIT,
    CLASS_ALONE, /* a word by itself */
};

enum { NOT_A_CHARACTER = 0xFFFD };

struct character {
    uint32_t code;
    size_t end; /* where the next one begins */
};

/* The character at `at`.  A byte that begins none is one by itself: texts come out of JSON, which
 * is checked, so this is for safety only. */
static struct character character_at(struct str text, size_t at)
{
    unsigned char c = (unsigned char)text.ptr[at];
    size_t n = c < 0xC0 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (c < 0x80)
        return (struct character){c, at + 1};
    if (n == 1 || n > text.len - at)
        return (struct character){NOT_A_CHARACTER, at + 1};
    uint32_t code = c & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++)
        code = code << 6 | ((unsigned char)text.ptr[at + i] & 0x3F);
    return (struct character){code, at + n};
}

static bool is_between(uint32_t c, uint32_t first, uint32_t last)
{
    return c >= first && c <= last;
}

/* Lower case of the alphabets in which it is a fixed distance away. */
static uint32_t lower(uint32_t c)
{
    if (is_between(c, 'A', 'Z') || (is_between(c, 0xC0, 0xDE) && c != 0xD7) ||
        is_between(c, 0x391, 0x3A9) || is_between(c, 0x410, 0x42F))
        return c + 0x20;
    return is_between(c, 0x400, 0x40F) ? c + 0x50 : c;
}

static bool is_separator(uint32_t c)
{
    return c < 0xC0 || is_between(c, 0x2000, 0x206F) || is_between(c, 0x3000, 0x303F) ||
           is_between(c, 0xFF00, 0xFF0F) || c == NOT_A_CHARACTER;
}

static enum letter class_of(uint32_t c)
{
    if (is_between(c, '0', '9'))
        return CLASS_DIGIT;
    if (lower(c) != c)
        return CLASS_UPPER;
    if (is_between(c, 'a', 'z'))
        return CLASS_LOWER;
    if (is_separator(c))
        return CLASS_NONE;
    bool is_alone = is_between(c, 0x2E80, 0xD7FF) || is_between(c, 0xF900, 0xFAFF) ||
                    is_between(c, 0x20000, 0x3FFFF);
    return is_alone ? CLASS_ALONE : CLASS_LOWER;
}

static enum letter class_at(struct str text, size_t at)
{
    return at < text.len ? class_of(character_at(text, at).code) : CLASS_NONE;
}

/* Whether a part ends before a character, from the classes around it: camel|Case, HTTP|Server. */
static bool is_border(enum letter before, enum letter here, enum letter after)
{
    if (here != CLASS_UPPER)
        return false;
    return before != CLASS_UPPER || after == CLASS_LOWER;
}

/* The end of the part that begins at `begin`. */
static size_t part_end(struct str text, size_t begin)
{
    enum letter before = class_at(text, begin);
    size_t at = character_at(text, begin).end;
    while (before != CLASS_ALONE) {
        enum letter here = class_at(text, at);
        if (here == CLASS_NONE || here == CLASS_ALONE)
            break;
        size_t end = character_at(text, at).end;
        if (is_border(before, here, class_at(text, end)))
            break;
        before = here;
        at = end;
    }
    return at;
}

/* ---- One word ---- */

static bool ends_with(struct str word, struct str ending)
{
    return word.len >= ending.len &&
           memcmp(word.ptr + word.len - ending.len, ending.ptr, ending.len) == 0;
}

/* Takes the plural's ending off, in place; the length that is left. */
static size_t strip_plural(char *letters, size_t n)
{
    static const struct str kept[] = {{"ss", 2}, {"us", 2}, {"is", 2}};
    static const struct str with_e[] = {{"ches", 4}, {"shes", 4}, {"sses", 4}, {"xes", 3}};
    struct str word = {letters, n};
    if (n < 4 || !ends_with(word, STR("s")))
        return n;
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        if (ends_with(word, kept[i]))
            return n;
    if (n > 4 && ends_with(word, STR("ies"))) {
        letters[n - 3] = 'y';
        return n - 2;
    }
    for (size_t i = 0; i < sizeof with_e / sizeof with_e[0]; i++)
        if (ends_with(word, with_e[i]))
            return n - 2;
    return n - 1;
}

/* Common words, and those that every search for a tool is likely to hold. */
static bool is_stop_word(struct str word)
{
    static const char *const words[] = {
        "a",    "an",   "and",  "are",   "as",   "at",  "be",   "by", "can",  "do",
        "for",  "from", "how",  "i",     "in",   "is",  "it",   "me", "my",   "need",
        "of",   "on",   "or",   "s",     "that", "the", "this", "to", "tool", "use",
        "want", "we",   "what", "which", "with", "you", "your",
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (str_is(word, words[i]))
            return true;
    return false;
}

static size_t put_character(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    to[0] = (char)(0xC0 | c >> 6);
    to[1] = (char)(0x80 | (c & 0x3F));
    return 2;
}

/* Makes text[begin..end) the word.  False where it is one that does not count. */
static bool take_word(struct tool_words *it, size_t begin, size_t end)
{
    size_t n = 0;
    for (size_t at = begin; at < end;) {
        struct character c = character_at(it->text, at);
        size_t n_bytes = c.end - at;
        if (n + n_bytes > TOOL_WORD_BYTES)
            break;
        if (lower(c.code) != c.code)
            n += put_character(it->letters + n, lower(c.code)); /* as many bytes as before */
        else
            for (size_t i = 0; i < n_bytes; i++)
                it->letters[n++] = it->text.ptr[at + i];
        at = c.end;
    }
    it->word = (struct str){it->letters, strip_plural(it->letters, n)};
    return !is_stop_word(it->word);
}

/* ---- The text ---- */

void tool_words_init(struct tool_words *it, struct str text)
{
    *it = (struct tool_words){.text = text};
}

/* The next part, or a run of several as a whole; [*begin, *end) is empty at the end of the text. */
static void next_stretch(struct tool_words *it, size_t *begin, size_t *end)
{
    if (it->is_whole_next) {
        it->is_whole_next = false;
        *begin = it->run_begin;
        *end = it->at;
        return;
    }
    if (!it->is_in_run) {
        while (it->at < it->text.len && class_at(it->text, it->at) == CLASS_NONE)
            it->at = character_at(it->text, it->at).end;
        it->run_begin = it->at;
        it->n_parts = 0;
    }
    *begin = it->at;
    if (it->at < it->text.len)
        it->at = part_end(it->text, it->at);
    *end = it->at;
    it->n_parts++;
    enum letter next = class_at(it->text, it->at);
    it->is_in_run =
        next != CLASS_NONE && next != CLASS_ALONE && class_at(it->text, *begin) != CLASS_ALONE;
    it->is_whole_next = !it->is_in_run && it->n_parts > 1;
}

bool tool_words_next(struct tool_words *it)
{
    for (;;) {
        size_t begin, end;
        next_stretch(it, &begin, &end);
        if (begin == end)
            return false;
        if (take_word(it, begin, end))
            return true;
    }
}
