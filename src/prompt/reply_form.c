#include "prompt/reply_form.h"

#include "base/limits.h"
#include "prompt/call_mend.h"
#include "wire/json_in.h"
#include "wire/json_out.h"

/* Each part with its length before it, so that no two lists of parts read alike. */
static void add(struct sha256 *h, struct str part)
{
    uint64_t n = part.len;
    sha256_update(h, &n, sizeof n);
    if (part.len > 0)
        sha256_update(h, part.ptr, part.len);
}

static const struct tool *find_tool(const struct reply_form *f, struct str name)
{
    for (size_t i = 0; i < f->n_tools; i++)
        if (str_equal(f->tools[i].name, name))
            return &f->tools[i];
    return NULL;
}

static const struct json *schema_of_member(const struct json *schema, struct str key)
{
    for (struct json_iter it = json_iter(json_get(schema, "properties")); json_next(&it);)
        if (str_equal(it.key, key))
            return it.value;
    return NULL;
}

/* Whether `v` is what the schema says that it is where it is left out. */
static bool is_default(const struct json *v, const struct json *schema)
{
    const struct json *given = json_get(schema, "default");
    if (given == NULL)
        return false;
    struct strbuf a, b;
    strbuf_init(&a, LIMIT_REPLY_BYTES);
    strbuf_init(&b, LIMIT_REPLY_BYTES);
    json_print_sorted(&a, v);
    json_print_sorted(&b, given);
    bool is_equal = !a.failed && !b.failed && str_equal(strbuf_str(&a), strbuf_str(&b));
    strbuf_free(&a);
    strbuf_free(&b);
    return is_equal;
}

/* `v` without its defaults, members as they come.  The schema is followed into properties and items
 * only: elsewhere values are taken as they are.  Depth: LIMIT_JSON_DEPTH, checked by the parser. */
static void write_bare(struct json_out *w, const struct json *v, const struct json *schema)
{
    if (json_type(v) == JSON_OBJECT) {
        struct strbuf key;
        strbuf_init(&key, LIMIT_REPLY_BYTES);
        json_object_begin(w);
        for (struct json_iter it = json_iter(v); json_next(&it);) {
            const struct json *member = schema_of_member(schema, it.key);
            if (is_default(it.value, member))
                continue;
            strbuf_clear(&key);
            json_escape(&key, it.key);
            json_key(w, strbuf_cstr(&key));
            write_bare(w, it.value, member);
        }
        json_object_end(w);
        strbuf_free(&key);
    } else if (json_type(v) == JSON_ARRAY) {
        json_array_begin(w);
        for (struct json_iter it = json_iter(v); json_next(&it);)
            write_bare(w, it.value, json_get(schema, "items"));
        json_array_end(w);
    } else if (json_is_integer(v)) {
        json_int(w, json_integer(v)); /* 5 and 5.0 are one number */
    } else {
        struct strbuf plain;
        strbuf_init(&plain, LIMIT_REPLY_BYTES);
        json_print(&plain, v);
        json_raw(w, strbuf_str(&plain));
        strbuf_free(&plain);
    }
}

static void add_value(struct sha256 *h, struct str json, const struct json *schema)
{
    struct json_doc *doc, *bare_doc;
    struct strbuf bare, sorted;
    struct json_out w;
    if (json_parse_copy(json, JSON_STRICT, &doc, NULL) != STATUS_OK) {
        add(h, json); /* a call that was cut, or never was JSON: equal only to itself */
        return;
    }
    strbuf_init(&bare, LIMIT_REPLY_BYTES);
    strbuf_init(&sorted, LIMIT_REPLY_BYTES);
    json_out_begin(&w, &bare);
    write_bare(&w, json_root(doc), schema);
    json_out_end(&w);
    if (json_parse_copy(strbuf_str(&bare), JSON_STRICT, &bare_doc, NULL) == STATUS_OK) {
        json_print_sorted(&sorted, json_root(bare_doc));
        json_doc_free(bare_doc);
    }
    add(h, sorted.len > 0 && !sorted.failed ? strbuf_str(&sorted) : json);
    strbuf_free(&sorted);
    strbuf_free(&bare);
    json_doc_free(doc);
}

static void add_arguments(struct sha256 *h, struct str arguments, const struct tool *tool)
{
    struct json_doc *schema = NULL;
    struct strbuf mended;
    if (arguments.len == 0)
        arguments = STR("{}");
    if (tool == NULL ||
        json_parse_copy(tool->schema_json, JSON_STRICT, &schema, NULL) != STATUS_OK) {
        add_value(h, arguments, NULL);
        return;
    }
    strbuf_init(&mended, LIMIT_REPLY_BYTES);
    struct call_mender *mender = call_mender_create(tool->schema_json);
    bool is_whole = call_mend(mender, arguments, &mended) && !mended.failed;
    add_value(h, is_whole ? strbuf_str(&mended) : arguments, json_root(schema));
    call_mender_free(mender);
    strbuf_free(&mended);
    json_doc_free(schema);
}

void reply_digest(const struct reply_form *f, unsigned char out[SHA256_BYTES])
{
    struct sha256 *h = sha256_create();
    add(h, str_trim(f->text));
    for (size_t i = 0; i < f->n_calls; i++) {
        add(h, f->calls[i].name);
        add_arguments(h, f->calls[i].arguments_json, find_tool(f, f->calls[i].name));
    }
    sha256_finish(h, out);
}
