/* charset -- see the header.  Source of the labels: the WHATWG Encoding Standard, section 4.2; the
 * multi-byte sets that can switch their state (ISO-2022-*, HZ) are left out. */
#include "servertools/charset.h"

#include <errno.h>
#include <iconv.h>

#include "base/utf8.h"

enum {
    PRESCAN_BYTES = 1024, /* of markup, as browsers do */
    LABEL_BYTES = 40,
    CHUNK_BYTES = 4096,
};

/* `name` is the system's; NULL: UTF-8. */
static const struct charset {
    const char *label, *name;
} charsets[] = {
    {"utf-8", NULL},
    {"utf8", NULL},
    {"us-ascii", "CP1252"},
    {"ascii", "CP1252"},
    {"iso-8859-1", "CP1252"},
    {"iso8859-1", "CP1252"},
    {"latin1", "CP1252"},
    {"windows-1252", "CP1252"},
    {"cp1252", "CP1252"},
    {"iso-8859-2", "ISO-8859-2"},
    {"latin2", "ISO-8859-2"},
    {"iso-8859-3", "ISO-8859-3"},
    {"iso-8859-4", "ISO-8859-4"},
    {"iso-8859-5", "ISO-8859-5"},
    {"iso-8859-6", "ISO-8859-6"},
    {"iso-8859-7", "ISO-8859-7"},
    {"iso-8859-8", "ISO-8859-8"},
    {"iso-8859-9", "CP1254"},
    {"iso-8859-10", "ISO-8859-10"},
    {"iso-8859-13", "ISO-8859-13"},
    {"iso-8859-14", "ISO-8859-14"},
    {"iso-8859-15", "ISO-8859-15"},
    {"latin9", "ISO-8859-15"},
    {"iso-8859-16", "ISO-8859-16"},
    {"koi8-r", "KOI8-R"},
    {"koi8-u", "KOI8-U"},
    {"windows-874", "CP874"},
    {"windows-1250", "CP1250"},
    {"windows-1251", "CP1251"},
    {"cp1251", "CP1251"},
    {"windows-1253", "CP1253"},
    {"windows-1254", "CP1254"},
    {"windows-1255", "CP1255"},
    {"windows-1256", "CP1256"},
    {"windows-1257", "CP1257"},
    {"windows-1258", "CP1258"},
    {"gb2312", "GB18030"},
    {"gbk", "GB18030"},
    {"gb18030", "GB18030"},
    {"big5", "BIG5"},
    {"euc-jp", "EUC-JP"},
    {"shift_jis", "CP932"},
    {"shift-jis", "CP932"},
    {"sjis", "CP932"},
    {"windows-31j", "CP932"},
    {"euc-kr", "CP949"},
    {"ks_c_5601-1987", "CP949"},
    {"utf-16", "UTF-16LE"},
    {"utf-16le", "UTF-16LE"},
    {"utf-16be", "UTF-16BE"},
};

/* ---- Which one ---- */

static const struct charset *find_label(struct str label)
{
    for (size_t i = 0; i < sizeof charsets / sizeof charsets[0]; i++)
        if (str_equal_nocase(label, str_from(charsets[i].label)))
            return &charsets[i];
    return NULL;
}

/* What stands behind `key`, an equals sign and maybe a quote; "" where nothing does. */
static struct str value_of(struct str text, struct str key)
{
    for (size_t i = 0; i + key.len < text.len; i++) {
        if (!str_equal_nocase((struct str){text.ptr + i, key.len}, key))
            continue;
        size_t at = i + key.len;
        while (at < text.len && strchr(" \t\r\n=\"'", text.ptr[at]) != NULL)
            at++;
        size_t end = at;
        while (end < text.len && end - at < LABEL_BYTES &&
               strchr(" \t\r\n\"';/>?", text.ptr[end]) == NULL)
            end++;
        if (end > at && memchr(text.ptr + i + key.len, '=', at - i - key.len) != NULL)
            return (struct str){text.ptr + at, end - at};
    }
    return STR("");
}

/* The first bytes of markup as ASCII: a set that is told in them can be read that far. */
static const struct charset *find_in_markup(struct str bytes)
{
    struct str head = {bytes.ptr, bytes.len < PRESCAN_BYTES ? bytes.len : PRESCAN_BYTES};
    size_t begin = 0;
    while (begin < head.len && strchr(" \t\r\n", head.ptr[begin]) != NULL)
        begin++;
    if (begin == head.len || head.ptr[begin] != '<')
        return NULL;
    const struct charset *c = find_label(value_of(head, STR("charset")));
    if (c == NULL && str_starts_with(head, STR("<?xml")))
        c = find_label(value_of(head, STR("encoding")));
    /* Whoever writes so in ASCII is not in UTF-16, whatever it says. */
    return c != NULL && c->name != NULL && strncmp(c->name, "UTF-16", 6) == 0 ? NULL : c;
}

static const char *find_name(struct str *bytes, const char *content_type)
{
    static const struct {
        struct str mark;
        const char *name;
    } marks[] = {
        {{"\xEF\xBB\xBF", 3}, NULL}, {{"\xFF\xFE", 2}, "UTF-16LE"}, {{"\xFE\xFF", 2}, "UTF-16BE"}};
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if (str_starts_with(*bytes, marks[i].mark)) {
            *bytes = (struct str){bytes->ptr + marks[i].mark.len, bytes->len - marks[i].mark.len};
            return marks[i].name;
        }
    const struct charset *c = find_label(value_of(str_from(content_type), STR("charset")));
    if (c == NULL)
        c = find_in_markup(*bytes);
    return c != NULL ? c->name : NULL;
}

/* ---- Decoding ---- */

/* Appends what `cd` makes of `bytes`; in place of a byte that it cannot read, U+FFFD. */
static void convert(iconv_t cd, struct str bytes, struct strbuf *out)
{
    char chunk[CHUNK_BYTES];
    char *in = (char *)bytes.ptr; /* iconv's prototype is older than const */
    size_t in_left = bytes.len;
    while (in_left > 0 && !out->failed) {
        char *to = chunk;
        size_t to_left = sizeof chunk;
        size_t n = iconv(cd, &in, &in_left, &to, &to_left);
        int cause = n == (size_t)-1 ? errno : 0;
        strbuf_append(out, chunk, sizeof chunk - to_left);
        if (cause == EILSEQ || cause == EINVAL) {
            strbuf_append_cstr(out, "\xEF\xBF\xBD");
            in++;
            in_left--;
        }
    }
}

/* Appends valid UTF-8 without what would steer a terminal or end a string. */
static void append_clean(struct str text, struct strbuf *out)
{
    size_t begin = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if ((c >= 0x20 && c != 0x7f) || c == '\t' || c == '\n')
            continue;
        strbuf_append(out, text.ptr + begin, i - begin);
        if (c == '\r' && (i + 1 == text.len || text.ptr[i + 1] != '\n'))
            strbuf_append_char(out, '\n');
        if (c == '\f')
            strbuf_append_char(out, '\n');
        begin = i + 1;
    }
    strbuf_append(out, text.ptr + begin, text.len - begin);
}

enum status charset_decode(struct str bytes, const char *content_type, struct strbuf *out)
{
    unsigned long failures = mem_failures();
    const char *name = find_name(&bytes, content_type);
    iconv_t cd = name != NULL ? iconv_open("UTF-8", name) : (iconv_t)-1;
    struct strbuf decoded;
    strbuf_init(&decoded, out->limit);
    if (cd != (iconv_t)-1) {
        convert(cd, bytes, &decoded);
        iconv_close(cd);
    } else {
        utf8_append_clean(&decoded, bytes); /* also where this system lacks the converter */
    }
    if (!decoded.failed)
        append_clean(strbuf_str(&decoded), out);
    enum status st = decoded.failed ? STATUS_TOO_LARGE : strbuf_status(out);
    strbuf_free(&decoded);
    return mem_check(failures, st, NULL);
}
