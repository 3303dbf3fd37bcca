#include "prompt/tool_pattern.h"

#include <ctype.h>
#include <string.h>

enum { MOST_REPEATS = 200, MOST_DEPTH = 16 };

static const char any_character[] = "[^\\x22\\x5C\\x00-\\x1F]";

struct reader {
    struct str text;
    size_t at;
    unsigned depth; /* of open groups */
    struct strbuf *out;
};

static bool has(const struct reader *r, char c)
{
    return r->at < r->text.len && r->text.ptr[r->at] == c;
}

static bool take(struct reader *r, char c)
{
    if (!has(r, c))
        return false;
    r->at++;
    return true;
}

/* One character for itself.  A quote, a backslash and control characters would have to be escaped
 * in JSON. */
static bool put_character(struct strbuf *out, unsigned char c)
{
    if (c == '"' || c == '\\' || c < 0x20 || c == 0x7F)
        return false;
    if (isalnum(c) || c >= 0x80)
        strbuf_append_char(out, (char)c);
    else
        strbuf_printf(out, "\\x%02X", c);
    return true;
}

/* The same outside a class; where a count follows, as a class, so that it counts this one only. */
static bool put_literal(struct reader *r, unsigned char c)
{
    bool is_counted = r->at < r->text.len && strchr("*+?{", r->text.ptr[r->at]) != NULL;
    if (!is_counted)
        return put_character(r->out, c);
    strbuf_append_char(r->out, '[');
    bool ok = c < 0x80 && put_character(r->out, c); /* one byte of several can't be counted */
    strbuf_append_char(r->out, ']');
    return ok;
}

/* What \d, \w and \s stand for, as the inside of a class; NULL for other letters. */
static const char *members_of(char letter)
{
    switch (letter) {
    case 'd':
        return "0-9";
    case 'w':
        return "a-zA-Z0-9\\x5F";
    case 's':
        return "\\x20";
    default:
        return NULL;
    }
}

/* Behind a backslash: a letter that stands for several characters, or an escaped mark. */
static bool take_escape(struct reader *r, bool is_in_class)
{
    if (r->at == r->text.len)
        return false;
    char c = r->text.ptr[r->at++];
    const char *members = members_of(c);
    if (members != NULL) {
        strbuf_printf(r->out, is_in_class ? "%s" : "[%s]", members);
        return true;
    }
    if (isalnum((unsigned char)c))
        return false;
    return is_in_class ? put_character(r->out, (unsigned char)c) : put_literal(r, (unsigned char)c);
}

/* Behind "[". */
static bool take_class(struct reader *r)
{
    bool is_negated = take(r, '^');
    strbuf_append_cstr(r->out, is_negated ? "[^\\x22\\x5C\\x00-\\x1F" : "[");
    bool is_empty = true;
    while (r->at < r->text.len && !has(r, ']')) {
        char c = r->text.ptr[r->at++];
        bool is_range = c == '-' && !is_empty && r->at < r->text.len && !has(r, ']');
        bool ok = true;
        if (is_range)
            strbuf_append_char(r->out, '-');
        else if (c == '\\')
            ok = take_escape(r, true);
        else if (!is_negated || (c != '"' && c != '\\'))
            ok = put_character(r->out, (unsigned char)c);
        if (!ok)
            return false;
        is_empty = false;
    }
    strbuf_append_char(r->out, ']');
    return take(r, ']') && !is_empty;
}

/* {n}, {n,} or {n,m}, behind "{". */
static bool take_count(struct reader *r)
{
    size_t begin = r->at;
    unsigned n = 0;
    unsigned n_numbers = 0;
    for (; r->at < r->text.len && !has(r, '}'); r->at++) {
        char c = r->text.ptr[r->at];
        if (c == ',') {
            if (++n_numbers > 1 || r->at == begin)
                return false;
            n = 0;
        } else if (isdigit((unsigned char)c)) {
            n = n * 10 + (unsigned)(c - '0');
            if (n > MOST_REPEATS)
                return false;
        } else {
            return false;
        }
    }
    if (r->at == begin || !take(r, '}'))
        return false;
    strbuf_append_char(r->out, '{');
    strbuf_append_str(r->out, (struct str){r->text.ptr + begin, r->at - begin});
    return true;
}

static bool take_quantifier(struct reader *r)
{
    bool ok = true;
    char c = r->at < r->text.len ? r->text.ptr[r->at] : '\0';
    if (c == '*' || c == '+' || c == '?') {
        strbuf_append_char(r->out, c);
        r->at++;
    } else if (take(r, '{')) {
        ok = take_count(r);
    } else {
        return true;
    }
    return ok && !has(r, '?') && !has(r, '+') && !has(r, '*') && !has(r, '{');
}

/* Behind "(". */
static bool open_group(struct reader *r)
{
    if (take(r, '?') && !take(r, ':'))
        return false; /* look-around, a name */
    strbuf_append_char(r->out, '(');
    return ++r->depth <= MOST_DEPTH;
}

/* One piece of the pattern with what repeats it. */
static bool take_piece(struct reader *r)
{
    char c = r->text.ptr[r->at++];
    switch (c) {
    case '(':
        return open_group(r);
    case ')':
        strbuf_append_char(r->out, ')');
        return r->depth-- > 0 && take_quantifier(r);
    case '|':
        strbuf_append_char(r->out, '|');
        return true;
    case '[':
        return take_class(r) && take_quantifier(r);
    case '.':
        strbuf_append_cstr(r->out, any_character);
        return take_quantifier(r);
    case '\\':
        return take_escape(r, false) && take_quantifier(r);
    case '^':
    case '$':
    case '*':
    case '+':
    case '?':
    case '{':
        return false;
    default:
        return put_literal(r, (unsigned char)c) && take_quantifier(r);
    }
}

/* Whether a "|" stands outside all groups, where anchors belong to one side of it only. */
static bool has_open_alternatives(struct str text)
{
    unsigned depth = 0;
    bool is_in_class = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '\\')
            i++;
        else if (is_in_class)
            is_in_class = c != ']';
        else if (c == '[')
            is_in_class = true;
        else if (c == '(')
            depth++;
        else if (c == ')' && depth > 0)
            depth--;
        else if (c == '|' && depth == 0)
            return true;
    }
    return false;
}

static bool ends_anchored(struct str text)
{
    if (text.len == 0 || text.ptr[text.len - 1] != '$')
        return false;
    size_t n_slashes = 0;
    while (n_slashes + 1 < text.len && text.ptr[text.len - 2 - n_slashes] == '\\')
        n_slashes++;
    return n_slashes % 2 == 0;
}

bool tool_pattern_for_grammar(struct str pattern, struct strbuf *out)
{
    struct str body = pattern;
    bool is_anchored_left = body.len > 0 && body.ptr[0] == '^';
    if (is_anchored_left)
        body = (struct str){body.ptr + 1, body.len - 1};
    bool is_anchored_right = ends_anchored(body);
    if (is_anchored_right)
        body.len--;
    bool has_alternatives = has_open_alternatives(body);
    if (body.len == 0 || (has_alternatives && (is_anchored_left || is_anchored_right)))
        return false;

    struct strbuf text;
    strbuf_init(&text, 16 * pattern.len + 256);
    struct reader r = {.text = body, .out = &text};
    strbuf_append_cstr(&text, "^");
    if (!is_anchored_left)
        strbuf_printf(&text, "%s*", any_character);
    if (has_alternatives)
        strbuf_append_char(&text, '(');
    bool ok = true;
    while (ok && r.at < body.len)
        ok = take_piece(&r);
    if (has_alternatives)
        strbuf_append_char(&text, ')');
    if (!is_anchored_right)
        strbuf_printf(&text, "%s*", any_character);
    strbuf_append_cstr(&text, "$");
    ok = ok && r.depth == 0 && strbuf_status(&text) == STATUS_OK;
    if (ok)
        strbuf_append_str(out, strbuf_str(&text));
    strbuf_free(&text);
    return ok;
}
