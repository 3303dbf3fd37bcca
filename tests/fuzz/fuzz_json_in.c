/* Any bytes, read as JSON: what is taken prints, what is printed is taken again and is the same. */
#include "fuzz/fuzz.h"

#include "base/utf8.h"
#include "wire/json_in.h"

enum {
    PRINT_BYTES = 16 * 1024 * 1024,
};

/* Walks everything that a reader of settings or requests would ask. */
static void ask(const struct json *v)
{
    INVARIANT(json_type_name(v) != NULL);
    INVARIANT(utf8_valid(json_string(v)));
    INVARIANT(json_get(v, "a") == NULL || json_type(v) == JSON_OBJECT);
    (void)json_integer(v);
    (void)json_number(v);
    size_t n = 0;
    for (struct json_iter it = json_iter(v); json_next(&it); n++)
        INVARIANT(it.index == n && it.value != NULL && utf8_valid(it.key));
    INVARIANT(n == json_length(v));
}

static void print_again(const struct json *v)
{
    struct strbuf sorted, plain, again;
    strbuf_init(&sorted, PRINT_BYTES);
    strbuf_init(&plain, PRINT_BYTES);
    strbuf_init(&again, PRINT_BYTES);
    json_print(&plain, v);
    json_print_sorted(&sorted, v);
    INVARIANT(strbuf_status(&plain) == STATUS_OK && strbuf_status(&sorted) == STATUS_OK);

    struct json_doc *doc;
    INVARIANT(json_parse_copy(strbuf_str(&plain), JSON_STRICT, &doc, NULL) == STATUS_OK);
    json_print(&again, json_root(doc));
    INVARIANT(str_equal(strbuf_str(&plain), strbuf_str(&again)));
    strbuf_clear(&again);
    json_print_sorted(&again, json_root(doc));
    INVARIANT(str_equal(strbuf_str(&sorted), strbuf_str(&again)));
    json_doc_free(doc);
    strbuf_free(&sorted);
    strbuf_free(&plain);
    strbuf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct str text = {(const char *)bytes, n};
    struct json_doc *doc;
    struct error err = {.message = ""};
    bool is_strict = json_parse_copy(text, JSON_STRICT, &doc, &err) == STATUS_OK;
    if (is_strict) {
        ask(json_root(doc));
        print_again(json_root(doc));
        json_doc_free(doc);
    } else {
        INVARIANT(err.status == STATUS_INVALID || err.status == STATUS_TOO_LARGE);
        INVARIANT(err.message[0] != '\0');
    }
    bool is_loose = json_parse_copy(text, JSON_COMMENTS, &doc, &err) == STATUS_OK;
    if (is_loose) {
        ask(json_root(doc));
        print_again(json_root(doc));
        json_doc_free(doc);
    }
    INVARIANT(is_loose || !is_strict); /* comments only ever allow more */
    return 0;
}
