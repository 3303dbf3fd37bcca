#include "wire/sse.h"

void sse_write(struct strbuf *to, const char *name, struct str json)
{
    INVARIANT(json.len == 0 || memchr(json.ptr, '\n', json.len) == NULL);
    strbuf_append_cstr(to, "event: ");
    strbuf_append_cstr(to, name);
    strbuf_append_cstr(to, "\ndata: ");
    strbuf_append_str(to, json);
    strbuf_append_cstr(to, "\n\n");
}

void sse_comment(struct strbuf *to, struct str text)
{
    INVARIANT(text.len == 0 || memchr(text.ptr, '\n', text.len) == NULL);
    strbuf_append_cstr(to, ": ");
    strbuf_append_str(to, text);
    strbuf_append_char(to, '\n');
}
