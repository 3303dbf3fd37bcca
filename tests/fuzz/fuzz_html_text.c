/* Any bytes, read as a web page: what leaves is valid UTF-8 without control characters, within its
 * limit, and no beginning of it is lost by a lower limit. */
#include "fuzz/fuzz.h"

#include "base/limits.h"
#include "base/utf8.h"
#include "servertools/charset.h"
#include "servertools/html_text.h"

enum {
    TEXT_BYTES = 64 * 1024,
    SHORT_BYTES = 100,
};

static void check_text(const struct strbuf *text, size_t limit)
{
    struct str s = strbuf_str(text);
    INVARIANT(s.len <= limit && utf8_valid(s));
    for (size_t i = 0; i < s.len; i++)
        INVARIANT((unsigned char)s.ptr[i] >= 0x20 || s.ptr[i] == '\n' || s.ptr[i] == '\t');
}

static void make(struct str html, size_t limit, struct html_text *out)
{
    INVARIANT(html_text_make(html, "https://a.test/dir/page", limit, out) == STATUS_OK);
    check_text(&out->title, LIMIT_WEB_TITLE_BYTES);
    check_text(&out->text, limit);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct strbuf html;
    struct html_text whole, part;
    strbuf_init(&html, 3 * n);
    INVARIANT(charset_decode((struct str){(const char *)bytes, n}, "", &html) == STATUS_OK);
    INVARIANT(utf8_valid(strbuf_str(&html)));
    make(strbuf_str(&html), TEXT_BYTES, &whole);
    make(strbuf_str(&html), SHORT_BYTES, &part);
    INVARIANT(str_starts_with(strbuf_str(&whole.text), strbuf_str(&part.text)));
    html_text_free(&part);
    html_text_free(&whole);
    strbuf_free(&html);
    return 0;
}
