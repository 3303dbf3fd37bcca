/* json_out -- see the header.  Numbers are written in the C locale, which the program never
 * leaves. */
#include "wire/json_out.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"

void json_out_begin(struct json_out *w, struct strbuf *to)
{
    *w = (struct json_out){.to = to};
}

void json_out_end(struct json_out *w)
{
    INVARIANT(w->depth == 0);
}

/* The comma before an element, where one is due. */
static void separate(struct json_out *w)
{
    if (w->needs_comma)
        strbuf_append_char(w->to, ',');
    w->needs_comma = true;
}

static void open_container(struct json_out *w, char bracket)
{
    separate(w);
    strbuf_append_char(w->to, bracket);
    w->depth++;
    w->needs_comma = false;
}

static void close_container(struct json_out *w, char bracket)
{
    INVARIANT(w->depth > 0);
    strbuf_append_char(w->to, bracket);
    w->depth--;
    w->needs_comma = true;
}

void json_object_begin(struct json_out *w)
{
    open_container(w, '{');
}

void json_object_end(struct json_out *w)
{
    close_container(w, '}');
}

void json_array_begin(struct json_out *w)
{
    open_container(w, '[');
}

void json_array_end(struct json_out *w)
{
    close_container(w, ']');
}

void json_key(struct json_out *w, const char *key)
{
    separate(w);
    strbuf_append_char(w->to, '"');
    strbuf_append_cstr(w->to, key);
    strbuf_append_cstr(w->to, "\":");
    w->needs_comma = false;
}

void json_str(struct json_out *w, struct str s)
{
    separate(w);
    strbuf_append_char(w->to, '"');
    json_escape(w->to, s);
    strbuf_append_char(w->to, '"');
}

void json_cstr(struct json_out *w, const char *s)
{
    json_str(w, str_from(s));
}

void json_int(struct json_out *w, int64_t n)
{
    separate(w);
    strbuf_printf(w->to, "%" PRId64, n);
}

void json_double(struct json_out *w, double x)
{
    if (!isfinite(x)) {
        json_null(w);
        return;
    }
    /* The fewest digits that read back as the same number. */
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    separate(w);
    strbuf_append_cstr(w->to, text);
}

void json_boolean(struct json_out *w, bool b)
{
    json_raw(w, b ? STR("true") : STR("false"));
}

void json_null(struct json_out *w)
{
    json_raw(w, STR("null"));
}

void json_raw(struct json_out *w, struct str valid_json)
{
    separate(w);
    strbuf_append_str(w->to, valid_json);
}

void json_field_str(struct json_out *w, const char *key, struct str s)
{
    json_key(w, key);
    json_str(w, s);
}

void json_field_cstr(struct json_out *w, const char *key, const char *s)
{
    json_field_str(w, key, str_from(s));
}

void json_field_int(struct json_out *w, const char *key, int64_t n)
{
    json_key(w, key);
    json_int(w, n);
}

void json_field_bool(struct json_out *w, const char *key, bool b)
{
    json_key(w, key);
    json_boolean(w, b);
}

static void escape_char(struct strbuf *to, unsigned char c)
{
    switch (c) {
    case '"':
        strbuf_append_cstr(to, "\\\"");
        break;
    case '\\':
        strbuf_append_cstr(to, "\\\\");
        break;
    case '\b':
        strbuf_append_cstr(to, "\\b");
        break;
    case '\f':
        strbuf_append_cstr(to, "\\f");
        break;
    case '\n':
        strbuf_append_cstr(to, "\\n");
        break;
    case '\r':
        strbuf_append_cstr(to, "\\r");
        break;
    case '\t':
        strbuf_append_cstr(to, "\\t");
        break;
    default:
        strbuf_printf(to, "\\u%04x", c);
        break;
    }
}

void json_escape(struct strbuf *to, struct str s)
{
    /* Runs without a character to escape go out whole.  All such characters are ASCII, so a cut
     * there never splits a UTF-8 character. */
    size_t begin = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        if (i > begin)
            utf8_append_clean(to, (struct str){s.ptr + begin, i - begin});
        escape_char(to, c);
        begin = i + 1;
    }
    if (s.len > begin)
        utf8_append_clean(to, (struct str){s.ptr + begin, s.len - begin});
}
