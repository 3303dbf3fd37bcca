#include "prompt/call_mend.h"

#include <ctype.h>

#include "base/limits.h"
#include "wire/json_in.h"
#include "wire/json_out.h"

/* Types that a schema allows, as bits; 0: it does not say. */
enum {
    WANTS_STRING = 1,
    WANTS_NUMBER = 2, /* and integer */
    WANTS_BOOLEAN = 4,
    WANTS_NULL = 8,
    WANTS_OBJECT = 16,
    WANTS_ARRAY = 32,
};

enum { MOST_MEMBERS = 256 };

struct member {
    struct str name; /* in the document */
    unsigned wants;
    unsigned item_wants; /* of an array's items */
    bool is_required;
    bool allows_empty; /* the schema's enum names "" */
};

struct call_mender {
    struct json_doc *schema; /* NULL: unreadable */
    struct member members[MOST_MEMBERS];
    size_t n_members;
    bool drops_unknown;
};

/* ---- The schema ---- */

static unsigned wants_of_name(struct str type)
{
    static const struct {
        const char *name;
        unsigned wants;
    } types[] = {
        {"string", WANTS_STRING},   {"number", WANTS_NUMBER}, {"integer", WANTS_NUMBER},
        {"boolean", WANTS_BOOLEAN}, {"null", WANTS_NULL},     {"object", WANTS_OBJECT},
        {"array", WANTS_ARRAY},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (str_is(type, types[i].name))
            return types[i].wants;
    return 0;
}

static unsigned wants_of(const struct json *schema)
{
    const struct json *type = json_get(schema, "type");
    if (json_type(type) == JSON_STRING)
        return wants_of_name(json_string(type));
    unsigned wants = 0;
    if (json_type(type) == JSON_ARRAY)
        for (struct json_iter it = json_iter(type); json_next(&it);)
            wants |= wants_of_name(json_string(it.value));
    return wants;
}

static bool holds_string(const struct json *list, struct str wanted)
{
    if (json_type(list) != JSON_ARRAY)
        return false;
    for (struct json_iter it = json_iter(list); json_next(&it);)
        if (json_type(it.value) == JSON_STRING && str_equal(json_string(it.value), wanted))
            return true;
    return false;
}

static void read_schema(struct call_mender *m)
{
    const struct json *root = json_root(m->schema);
    const struct json *properties = json_get(root, "properties");
    const struct json *others = json_get(root, "additionalProperties");
    if (json_type(properties) != JSON_OBJECT)
        return;
    if (json_length(properties) > MOST_MEMBERS)
        return;
    bool allows_others = json_type(others) == JSON_OBJECT || json_bool(others);
    m->drops_unknown = json_length(properties) > 0 && !allows_others;
    for (struct json_iter it = json_iter(properties); json_next(&it);) {
        m->members[m->n_members++] = (struct member){
            .name = it.key,
            .wants = wants_of(it.value),
            .item_wants = wants_of(json_get(it.value, "items")),
            .is_required = holds_string(json_get(root, "required"), it.key),
            .allows_empty = holds_string(json_get(it.value, "enum"), STR("")),
        };
    }
}

struct call_mender *call_mender_create(struct str schema_json)
{
    struct call_mender *m = mem_zalloc(sizeof *m);
    if (json_parse_copy(schema_json, JSON_STRICT, &m->schema, NULL) == STATUS_OK)
        read_schema(m);
    return m;
}

void call_mender_free(struct call_mender *m)
{
    if (m == NULL)
        return;
    json_doc_free(m->schema);
    mem_free(m);
}

/* Letters and digits only, lower case: fileP-ath and file_path are one. */
static bool names_alike(struct str a, struct str b)
{
    size_t i = 0, j = 0;
    for (;;) {
        while (i < a.len && !isalnum((unsigned char)a.ptr[i]))
            i++;
        while (j < b.len && !isalnum((unsigned char)b.ptr[j]))
            j++;
        if (i == a.len || j == b.len)
            return i == a.len && j == b.len;
        if (tolower((unsigned char)a.ptr[i++]) != tolower((unsigned char)b.ptr[j++]))
            return false;
    }
}

static const struct member *find_member(const struct call_mender *m, struct str key)
{
    const struct member *alike = NULL;
    size_t n_alike = 0;
    for (size_t i = 0; i < m->n_members; i++) {
        if (str_equal(m->members[i].name, key))
            return &m->members[i];
        if (names_alike(m->members[i].name, key)) {
            alike = &m->members[i];
            n_alike++;
        }
    }
    return n_alike == 1 ? alike : NULL;
}

/* ---- The text of the arguments ---- */

/* One member as it was written; `value` may be only a beginning. */
struct written {
    struct str key; /* without quotes, as written */
    struct str value;
    bool is_complete;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_blanks(struct str *text)
{
    while (text->len > 0 && is_blank(text->ptr[0])) {
        text->ptr++;
        text->len--;
    }
}

static void skip(struct str *text, size_t n)
{
    text->ptr += n;
    text->len -= n;
}

/* The length of the string at the beginning of `text`, quotes included; 0: it has no end. */
static size_t string_length(struct str text)
{
    for (size_t i = 1; i < text.len; i++) {
        if (text.ptr[i] == '\\')
            i++;
        else if (text.ptr[i] == '"')
            return i + 1;
    }
    return 0;
}

/* The length of the value at the beginning of `text`; 0: its end is not there yet. */
static size_t value_length(struct str text)
{
    size_t depth = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '"') {
            size_t n = string_length((struct str){text.ptr + i, text.len - i});
            if (n == 0)
                return 0;
            i += n - 1;
            if (depth == 0)
                return i + 1;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth == 0)
                return i; /* of a number or a word: the object's end */
            if (--depth == 0)
                return i + 1;
        } else if (depth == 0 && (c == ',' || is_blank(c))) {
            return i;
        }
    }
    return 0;
}

/* Takes the next member off `text`, which begins with '{', ',' or blanks.  False: there is no more.
 */
static bool next_member(struct str *text, struct written *out)
{
    skip_blanks(text);
    if (text->len == 0 || (text->ptr[0] != ',' && text->ptr[0] != '{'))
        return false;
    skip(text, 1);
    skip_blanks(text);
    if (text->len == 0 || text->ptr[0] != '"')
        return false;
    size_t n_key = string_length(*text);
    if (n_key == 0)
        return false;
    out->key = (struct str){text->ptr + 1, n_key - 2};
    skip(text, n_key);
    skip_blanks(text);
    if (text->len == 0 || text->ptr[0] != ':')
        return false;
    skip(text, 1);
    skip_blanks(text);
    size_t n_value = value_length(*text);
    out->is_complete = n_value > 0;
    out->value = (struct str){text->ptr, out->is_complete ? n_value : text->len};
    skip(text, out->value.len);
    return out->value.len > 0;
}

/* ---- Mending ---- */

/* Appends JSON text with what may not stand in its strings escaped; line ends between its tokens
 * stay.  `in_string`: it begins inside a string. */
static void append_escaped(struct strbuf *out, struct str text, bool in_string)
{
    size_t begin = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (in_string && c == '\\') {
            i++;
        } else if (c == '"') {
            in_string = !in_string;
        } else if (in_string && c < 0x20) {
            strbuf_append(out, text.ptr + begin, i - begin);
            strbuf_printf(out, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\u%04x", c);
            begin = i + 1;
        }
    }
    strbuf_append(out, text.ptr + begin, text.len - begin);
}

static void append_quoted(struct strbuf *out, struct str text)
{
    strbuf_append_char(out, '"');
    json_escape(out, text);
    strbuf_append_char(out, '"');
}

static unsigned wants_of_value(const struct json *v)
{
    static const unsigned wants[] = {
        [JSON_NULL] = WANTS_NULL,     [JSON_BOOL] = WANTS_BOOLEAN, [JSON_NUMBER] = WANTS_NUMBER,
        [JSON_STRING] = WANTS_STRING, [JSON_ARRAY] = WANTS_ARRAY,  [JSON_OBJECT] = WANTS_OBJECT,
    };
    return wants[json_type(v)];
}

/* Text that is, as JSON, of a type that is wanted: "5" where a number is. */
static bool mend_text(const struct member *member, struct str text, struct strbuf *out)
{
    struct strbuf lower;
    strbuf_init(&lower, 16);
    if (str_equal_nocase(text, STR("true")) || str_equal_nocase(text, STR("false"))) {
        for (size_t i = 0; i < text.len; i++)
            strbuf_append_char(&lower, (char)tolower((unsigned char)text.ptr[i]));
        text = strbuf_str(&lower);
    }
    struct json_doc *doc = NULL;
    bool is_mended = false;
    if (json_parse_copy(text, JSON_STRICT, &doc, NULL) == STATUS_OK) {
        unsigned is = wants_of_value(json_root(doc));
        is_mended = (is & member->wants) != 0 && is != WANTS_STRING;
        if (is_mended)
            json_print(out, json_root(doc));
    }
    if (!is_mended && (member->wants & WANTS_ARRAY) && (member->item_wants & WANTS_STRING)) {
        strbuf_append_char(out, '[');
        append_quoted(out, text);
        strbuf_append_char(out, ']');
        is_mended = true;
    }
    json_doc_free(doc);
    strbuf_free(&lower);
    return is_mended;
}

/* Appends the mended form of a complete value, or nothing where it stays as it was written. */
static void mend_value(const struct member *member, struct str written, struct strbuf *out)
{
    struct json_doc *doc = NULL;
    struct strbuf text;
    strbuf_init(&text, LIMIT_REPLY_BYTES);
    append_escaped(&text, written, false);
    if (json_parse_copy(strbuf_str(&text), JSON_STRICT, &doc, NULL) != STATUS_OK)
        goto out;
    const struct json *v = json_root(doc);
    unsigned is = wants_of_value(v);
    if (member->wants == 0 || (is & member->wants) != 0)
        goto out;
    if (is == WANTS_STRING)
        (void)mend_text(member, json_string(v), out);
    else if ((member->wants & WANTS_STRING) && is != WANTS_NULL)
        append_quoted(out, written);
out:
    strbuf_free(&text);
    json_doc_free(doc);
}

static bool is_left_out(const struct call_mender *m, const struct member *member, struct str value)
{
    if (member == NULL)
        return m->drops_unknown;
    if (member->is_required)
        return false;
    bool is_null = str_is(value, "null") && !(member->wants & WANTS_NULL);
    return is_null || (str_is(value, "\"\"") && !member->allows_empty);
}

static void append_member(struct strbuf *out, struct str key, struct str value)
{
    if (out->failed)
        return; /* perhaps without its opening brace */
    strbuf_append_cstr(out, out->data[out->len - 1] == '{' ? "\"" : ",\"");
    append_escaped(out, key, true);
    strbuf_append_cstr(out, "\":");
    append_escaped(out, value, false);
}

/* The part of an unfinished value that can't change any more: text where text is wanted. */
static struct str certain_part(const struct call_mender *m, const struct member *member,
                               struct str value)
{
    bool takes_text =
        member == NULL ? !m->drops_unknown : member->wants == 0 || (member->wants & WANTS_STRING);
    if (!takes_text || value.ptr[0] != '"' || value.len < 2)
        return (struct str){value.ptr, 0};
    return value;
}

static void mend_member(const struct call_mender *m, const struct written *w, struct strbuf *out)
{
    const struct member *member = find_member(m, w->key);
    struct str key = member != NULL ? member->name : w->key;
    if (!w->is_complete) {
        struct str certain = certain_part(m, member, w->value);
        if (certain.len > 0)
            append_member(out, key, certain);
        return;
    }
    if (is_left_out(m, member, w->value))
        return;
    struct strbuf mended;
    strbuf_init(&mended, LIMIT_REPLY_BYTES);
    if (member != NULL)
        mend_value(member, w->value, &mended);
    append_member(out, key, mended.len > 0 ? strbuf_str(&mended) : w->value);
    strbuf_free(&mended);
}

bool call_mend(const struct call_mender *m, struct str arguments, struct strbuf *out)
{
    skip_blanks(&arguments);
    if (arguments.len == 0 || arguments.ptr[0] != '{')
        return false;
    size_t n_value = value_length(arguments);
    struct str behind = {arguments.ptr + n_value, arguments.len - n_value};
    skip_blanks(&behind);
    bool is_whole = n_value > 0 && behind.len == 0;
    strbuf_append_char(out, '{');
    struct written w;
    while (next_member(&arguments, &w))
        mend_member(m, &w, out);
    if (is_whole)
        strbuf_append_char(out, '}');
    return is_whole;
}
