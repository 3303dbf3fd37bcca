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
