/* tool_schema -- see tool_schema.h.
 *
 * Lists of alternatives are taken one after the other: for each alternative the list of what must
 * hold (prompt/schema_parts) without it grows by that one and is written.  What is left is written
 * type by type, each keyword from all parts together. */
#include "prompt/tool_schema.h"

#include <math.h>

#include "base/limits.h"
#include "prompt/schema_parts.h"
#include "prompt/tool_pattern.h"
#include "wire/json_out.h"

enum {
    MOST_DEFINITIONS = 128,
    MOST_DEPTH = 32,
    MOST_NODES = 8000,
    MOST_PROPERTIES = 1024,
    MOST_COUNT = 200, /* libllama refuses grammars that repeat much more often */
};

struct maker {
    struct schema_reader reader;
    struct strbuf out;
    const struct json *definitions[MOST_DEFINITIONS]; /* targets of references, as d0, d1, ... */
    size_t n_definitions;
    unsigned depth;
    size_t n_nodes;
};

static void write_asked(struct maker *m, const struct schema_parts *all);

/* ---- Writing ---- */

static void put(struct maker *m, const char *text)
{
    strbuf_append_cstr(&m->out, text);
}

static void put_string(struct maker *m, struct str s)
{
    strbuf_append_char(&m->out, '"');
    json_escape(&m->out, s);
    strbuf_append_char(&m->out, '"');
}

/* The tightest of a limit's values; `sign` +1: the greatest, -1: the least. */
static bool find_limit(const struct schema_parts *all, const char *key, int sign, double *out)
{
    bool found = false;
    for (size_t i = 0; i < all->n_parts; i++) {
        const struct json *v = json_get(all->parts[i], key);
        if (json_type(v) != JSON_NUMBER)
            continue;
        double x = json_number(v);
        if (!found || sign * x > sign * *out)
            *out = x;
        found = true;
    }
    return found;
}

/* Limits of a count: characters or items.  Larger ones than a grammar repeats are left out. */
static void write_counts(struct maker *m, const struct schema_parts *all, const char *least,
                         const char *most)
{
    double low = 0;
    double high = MOST_COUNT + 1.0;
    (void)find_limit(all, least, 1, &low);
    (void)find_limit(all, most, -1, &high);
    if (low > MOST_COUNT || low > high)
        m->reader.n_relaxed++;
    else if (low > 0)
        strbuf_printf(&m->out, ",\"%s\":%d", least, (int)low);
    if (high <= MOST_COUNT && low <= high && high >= 0)
        strbuf_printf(&m->out, ",\"%s\":%d", most, (int)high);
}

static bool equal_values(const struct json *a, const struct json *b)
{
    struct strbuf texts[2];
    strbuf_init(&texts[0], LIMIT_GRAMMAR_BYTES);
    strbuf_init(&texts[1], LIMIT_GRAMMAR_BYTES);
    json_print_sorted(&texts[0], a);
    json_print_sorted(&texts[1], b);
    bool equal = str_equal(strbuf_str(&texts[0]), strbuf_str(&texts[1]));
    strbuf_free(&texts[0]);
    strbuf_free(&texts[1]);
    return equal;
}

/* Whether every enum and const has the value. */
static bool is_listed(const struct schema_parts *all, const struct json *value)
{
    for (size_t i = 0; i < all->n_parts; i++) {
        const struct json *constant = json_get(all->parts[i], "const");
        if (constant != NULL && !equal_values(constant, value))
            return false;
        const struct json *list = json_get(all->parts[i], "enum");
        bool found = json_type(list) != JSON_ARRAY;
        if (!found)
            for (struct json_iter it = json_iter(list); !found && json_next(&it);)
                found = equal_values(it.value, value);
        if (!found)
            return false;
    }
    return true;
}

static void write_if_listed(struct maker *m, const struct schema_parts *all,
                            const struct json *value, size_t *n)
{
    if ((schema_types(all) & schema_type_of(value)) == 0 || !is_listed(all, value))
        return;
    put(m, (*n)++ == 0 ? "{\"enum\":[" : ",");
    json_print(&m->out, value);
}

/* Values from the first list of them that every part allows. */
static void write_enum(struct maker *m, const struct schema_parts *all)
{
    size_t n = 0;
    for (size_t i = 0; i < all->n_parts && n == 0; i++) {
        const struct json *constant = json_get(all->parts[i], "const");
        const struct json *list = json_get(all->parts[i], "enum");
        if (constant != NULL)
            write_if_listed(m, all, constant, &n);
        else if (json_type(list) == JSON_ARRAY)
            for (struct json_iter it = json_iter(list); json_next(&it);)
                write_if_listed(m, all, it.value, &n);
    }
    m->reader.n_relaxed += n == 0;
    put(m, n == 0 ? "{}" : "]}");
}

static void write_string(struct maker *m, const struct schema_parts *all)
{
    static const char *const formats[] = {"date", "time", "date-time", "uuid"};
    put(m, "{\"type\":\"string\"");
    bool is_held = false;
    for (size_t i = 0; i < all->n_parts && !is_held; i++) {
        const struct json *pattern = json_get(all->parts[i], "pattern");
        if (json_type(pattern) != JSON_STRING)
            continue;
        struct strbuf text;
        strbuf_init(&text, 64 * 1024);
        is_held = tool_pattern_for_grammar(json_string(pattern), &text);
        m->reader.n_relaxed += !is_held;
        if (is_held) {
            put(m, ",\"pattern\":");
            put_string(m, strbuf_str(&text));
        }
        strbuf_free(&text);
    }
    for (size_t i = 0; i < all->n_parts && !is_held; i++) {
        struct str format = json_string(json_get(all->parts[i], "format"));
        for (size_t k = 0; k < sizeof formats / sizeof formats[0] && !is_held; k++) {
            is_held = str_is(format, formats[k]);
            if (is_held)
                strbuf_printf(&m->out, ",\"format\":\"%s\"", formats[k]);
        }
    }
    if (!is_held)
        write_counts(m, all, "minLength", "maxLength");
    put(m, "}");
}

static void write_integer(struct maker *m, const struct schema_parts *all)
{
    const double most = 1e15; /* doubles are exact up to here */
    double low = -2 * most;
    double high = 2 * most;
    double x = 0;
    if (find_limit(all, "minimum", 1, &x))
        low = ceil(x);
    if (find_limit(all, "exclusiveMinimum", 1, &x))
        low = fmax(low, floor(x) + 1);
    if (find_limit(all, "maximum", -1, &x))
        high = floor(x);
    if (find_limit(all, "exclusiveMaximum", -1, &x))
        high = fmin(high, ceil(x) - 1);
    put(m, "{\"type\":\"integer\"");
    bool agree = low <= high;
    m->reader.n_relaxed += !agree;
    if (agree && fabs(low) <= most)
        strbuf_printf(&m->out, ",\"minimum\":%lld", (long long)low);
    if (agree && fabs(high) <= most)
        strbuf_printf(&m->out, ",\"maximum\":%lld", (long long)high);
    put(m, "}");
}

static void write_number(struct maker *m, const struct schema_parts *all)
{
    static const char *const limits[] = {"minimum", "maximum", "exclusiveMinimum",
                                         "exclusiveMaximum"};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        m->reader.n_relaxed += schema_has_key(all, limits[i]);
    put(m, "{\"type\":\"number\"}");
}

/* ---- Arrays ---- */

/* The items at `index`: what prefixItems (or items, as a list) has there, else what all have. */
static void add_items(struct maker *m, struct schema_parts *items, const struct schema_parts *all,
                      size_t index)
{
    for (size_t i = 0; i < all->n_parts; i++) {
        const struct json *prefix = json_get(all->parts[i], "prefixItems");
        const struct json *rest = json_get(all->parts[i], "items");
        if (json_type(rest) == JSON_ARRAY) {
            prefix = rest;
            rest = json_get(all->parts[i], "additionalItems");
        }
        bool is_in_prefix = json_type(prefix) == JSON_ARRAY && index < json_length(prefix);
        if (!is_in_prefix) {
            schema_ask(&m->reader, items, rest);
            continue;
        }
        for (struct json_iter it = json_iter(prefix); json_next(&it);)
            if (it.index == index)
                schema_ask(&m->reader, items, it.value);
    }
}

static size_t length_of_tuple(const struct schema_parts *all)
{
    size_t n = 0;
    for (size_t i = 0; i < all->n_parts; i++) {
        const struct json *prefix = json_get(all->parts[i], "prefixItems");
        if (json_type(prefix) != JSON_ARRAY)
            prefix = json_get(all->parts[i], "items");
        if (json_type(prefix) == JSON_ARRAY && json_length(prefix) > n)
            n = json_length(prefix);
    }
    return n <= MOST_COUNT ? n : MOST_COUNT;
}

static void write_array(struct maker *m, const struct schema_parts *all)
{
    put(m, "{\"type\":\"array\"");
    size_t n_tuple = length_of_tuple(all);
    for (size_t i = 0; i < n_tuple; i++) {
        struct schema_parts items = {0};
        add_items(m, &items, all, i);
        put(m, i == 0 ? ",\"prefixItems\":[" : ",");
        write_asked(m, &items);
    }
    if (n_tuple > 0) {
        put(m, "]}");
        return;
    }
    struct schema_parts items = {0};
    add_items(m, &items, all, 0);
    if (items.is_impossible) {
        put(m, ",\"prefixItems\":[]}");
        return;
    }
    put(m, ",\"items\":");
    write_asked(m, &items);
    write_counts(m, all, "minItems", "maxItems");
    put(m, "}");
}

/* ---- Objects ---- */

struct names {
    struct str list[MOST_PROPERTIES];
    size_t n;
};

static void add_name(struct maker *m, struct names *names, struct str name)
{
    for (size_t i = 0; i < names->n; i++)
        if (str_equal(names->list[i], name))
            return;
    if (names->n < MOST_PROPERTIES)
        names->list[names->n++] = name;
    else
        m->reader.n_relaxed++;
}

static void add_names(struct maker *m, struct names *names, const struct json *list)
{
    if (json_type(list) != JSON_ARRAY)
        return;
    for (struct json_iter it = json_iter(list); json_next(&it);)
        if (json_type(it.value) == JSON_STRING)
            add_name(m, names, json_string(it.value));
}

/* What the parts say of one property.  Where one has a list without it, its additionalProperties.
 */
static void add_property(struct maker *m, struct schema_parts *value,
                         const struct schema_parts *all, struct str name)
{
    for (size_t i = 0; i < all->n_parts; i++) {
        const struct json *v = schema_member(json_get(all->parts[i], "properties"), name);
        schema_ask(&m->reader, value,
                   v != NULL ? v : json_get(all->parts[i], "additionalProperties"));
    }
}

/* additionalProperties of all parts: whether there may be any, and of what kind. */
static bool may_have_more(struct maker *m, const struct schema_parts *all,
                          struct schema_parts *value)
{
    for (size_t i = 0; i < all->n_parts; i++)
        schema_ask(&m->reader, value, json_get(all->parts[i], "additionalProperties"));
    return !value->is_impossible;
}

static void write_required(struct maker *m, const struct names *required)
{
    for (size_t i = 0; i < required->n; i++) {
        put(m, i == 0 ? ",\"required\":[" : ",");
        put_string(m, required->list[i]);
    }
    if (required->n > 0)
        put(m, "]");
}

static void write_properties(struct maker *m, const struct schema_parts *all,
                             const struct names *names)
{
    put(m, ",\"properties\":{");
    bool is_first = true;
    for (size_t i = 0; i < names->n; i++) {
        struct schema_parts value = {0};
        add_property(m, &value, all, names->list[i]);
        if (!schema_is_possible(&value))
            continue;
        if (!is_first)
            put(m, ",");
        is_first = false;
        put_string(m, names->list[i]);
        put(m, ":");
        write_asked(m, &value);
    }
    put(m, "}");
}

static void write_object(struct maker *m, const struct schema_parts *all)
{
    struct names *lists = mem_zalloc(2 * sizeof *lists);
    struct names *names = &lists[0];
    struct names *required = &lists[1];
    for (size_t i = 0; i < all->n_parts; i++) {
        const struct json *properties = json_get(all->parts[i], "properties");
        if (json_type(properties) == JSON_OBJECT)
            for (struct json_iter it = json_iter(properties); json_next(&it);)
                add_name(m, names, it.key);
        add_names(m, required, json_get(all->parts[i], "required"));
    }
    for (size_t i = 0; i < required->n; i++)
        add_name(m, names, required->list[i]);
    struct schema_parts more = {0};
    bool is_open = may_have_more(m, all, &more);
    if (names->n == 0 && is_open) /* the keys of a map */
        for (size_t i = 0; i < all->n_parts; i++)
            add_names(m, names, json_get(json_get(all->parts[i], "propertyNames"), "enum"));

    put(m, "{\"type\":\"object\"");
    if (names->n > 0 || !is_open)
        write_properties(m, all, names);
    write_required(m, required);
    if (!is_open || schema_has_key(all, "propertyNames")) {
        put(m, names->n > 0 || !is_open ? ",\"additionalProperties\":false" : "");
    } else if (more.n_parts > 0) {
        put(m, ",\"additionalProperties\":");
        write_asked(m, &more);
    } else if (schema_has_key(all, "additionalProperties")) {
        put(m, ",\"additionalProperties\":true");
    }
    put(m, "}");
    mem_free(lists);
}

/* ---- The walk ---- */

static void count_left_out(struct maker *m, const struct schema_parts *all)
{
    static const char *const keys[] = {
        "not",         "if",          "patternProperties", "propertyNames",         "minProperties",
        "uniqueItems", "contains",    "dependentRequired", "dependentSchemas",      "maxProperties",
        "multipleOf",  "$dynamicRef", "dependencies",      "unevaluatedProperties", "$recursiveRef",
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        m->reader.n_relaxed += schema_has_key(all, keys[i]);
}

static void write_type(struct maker *m, const struct schema_parts *all, unsigned type)
{
    switch (type) {
    case TYPE_NULL:
        put(m, "{\"type\":\"null\"}");
        return;
    case TYPE_BOOLEAN:
        put(m, "{\"type\":\"boolean\"}");
        return;
    case TYPE_INTEGER:
        write_integer(m, all);
        return;
    case TYPE_NUMBER:
        write_number(m, all);
        return;
    case TYPE_STRING:
        write_string(m, all);
        return;
    case TYPE_ARRAY:
        write_array(m, all);
        return;
    default:
        write_object(m, all);
        return;
    }
}

static void write_types(struct maker *m, const struct schema_parts *all)
{
    unsigned types = schema_types_meant(all);
    if ((types & TYPE_NUMBER) != 0)
        types &= ~(unsigned)TYPE_INTEGER;
    bool is_one = (types & (types - 1)) == 0;
    bool is_first = true;
    if (!is_one)
        put(m, "{\"anyOf\":[");
    for (unsigned type = 1; type <= TYPE_OBJECT; type *= 2) {
        if ((types & type) == 0)
            continue;
        if (!is_first)
            put(m, ",");
        is_first = false;
        write_type(m, all, type);
    }
    if (!is_one)
        put(m, "]}");
}

/* Whether a schema says nothing of values but by the schemas it holds. */
static bool is_bare(const struct json *schema, const char *but)
{
    static const char *const notes[] = {
        "description", "title",     "default", "examples", "deprecated", "$comment",
        "readOnly",    "writeOnly", "$schema", "$id",      "$defs",      "definitions",
    };
    for (struct json_iter it = json_iter(schema); json_next(&it);) {
        bool is_note = str_is(it.key, but);
        for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++)
            is_note |= str_is(it.key, notes[i]);
        if (!is_note)
            return false;
    }
    return true;
}

/* The last list of alternatives, each with all the rest. */
static void write_choice(struct maker *m, const struct schema_parts *all)
{
    struct schema_parts rest = *all;
    const struct json *list = rest.choices[--rest.n_choices];
    bool is_alone = all->n_parts == 1 && all->n_choices == 1 &&
                    (is_bare(all->parts[0], "anyOf") || is_bare(all->parts[0], "oneOf"));
    if (is_alone)
        rest = (struct schema_parts){0};
    size_t n = 0;
    for (struct json_iter it = json_iter(list); json_next(&it);) {
        struct schema_parts with = rest;
        with.n_asked = is_alone ? 0 : SCHEMA_MOST_PARTS;
        schema_ask(&m->reader, &with, it.value);
        if (!schema_is_possible(&with))
            continue;
        put(m, n++ == 0 ? "{\"anyOf\":[" : ",");
        write_asked(m, &with);
    }
    if (n == 0)
        put(m, "{}");
    else
        put(m, "]}");
}

static void write_all_of(struct maker *m, const struct schema_parts *all)
{
    if (m->depth == MOST_DEPTH || m->n_nodes >= MOST_NODES) {
        m->reader.n_relaxed++;
        put(m, "{}");
        return;
    }
    m->depth++;
    m->n_nodes++;
    count_left_out(m, all);
    if (all->n_choices > 0)
        write_choice(m, all);
    else if (schema_has_key(all, "enum") || schema_has_key(all, "const"))
        write_enum(m, all);
    else if (schema_types_meant(all) == TYPE_ANY)
        put(m, "{}");
    else
        write_types(m, all);
    m->depth--;
}

/* The place of a reference's target among the definitions; SIZE_MAX where there is no room. */
static size_t define(struct maker *m, const struct json *target)
{
    for (size_t i = 0; i < m->n_definitions; i++)
        if (m->definitions[i] == target)
            return i;
    if (m->n_definitions == MOST_DEFINITIONS)
        return SIZE_MAX;
    m->definitions[m->n_definitions] = target;
    return m->n_definitions++;
}

/* A reference that nothing stands beside stays one, so that recursion ends. */
static void write_asked(struct maker *m, const struct schema_parts *all)
{
    const struct json *ref = all->n_asked == 1 ? json_get(all->first, "$ref") : NULL;
    if (json_type(ref) == JSON_STRING && is_bare(all->first, "$ref")) {
        const struct json *target = schema_resolve(&m->reader, json_string(ref));
        size_t place = target != NULL ? define(m, target) : SIZE_MAX;
        if (place != SIZE_MAX) {
            strbuf_printf(&m->out, "{\"$ref\":\"#/$defs/d%zu\"}", place);
            return;
        }
    }
    write_all_of(m, all);
}

/* What is referred to, which may add to it. */
static void write_definitions(struct maker *m)
{
    m->out.len--; /* the root's closing brace */
    for (size_t i = 0; i < m->n_definitions; i++) {
        strbuf_printf(&m->out, i == 0 ? ",\"$defs\":{\"d%zu\":" : ",\"d%zu\":", i);
        struct schema_parts all = {0};
        schema_add(&m->reader, &all, m->definitions[i]);
        write_all_of(m, &all);
    }
    put(m, "}}");
}

struct str tool_schema_for_grammar(struct str schema_json, struct arena *arena, size_t *n_relaxed)
{
    static const char any_object[] = "{\"type\":\"object\"}";
    struct json_doc *doc = NULL;
    struct json_doc *object = NULL;
    struct maker m = {0};
    strbuf_init(&m.out, LIMIT_GRAMMAR_BYTES);
    struct str result = STR(any_object);
    *n_relaxed = 1;
    if (json_parse_copy(schema_json, JSON_STRICT, &doc, NULL) != STATUS_OK ||
        json_parse_copy(STR(any_object), JSON_STRICT, &object, NULL) != STATUS_OK ||
        json_type(json_root(doc)) != JSON_OBJECT)
        goto out;
    m.reader.root = json_root(doc);
    struct schema_parts all = {0};
    schema_add(&m.reader, &all, m.reader.root);
    if (schema_types(&all) == TYPE_ANY)
        schema_add(&m.reader, &all, json_root(object)); /* the input of a tool is one */
    write_all_of(&m, &all);
    if (m.n_definitions > 0)
        write_definitions(&m);
    if (strbuf_status(&m.out) == STATUS_OK) {
        result = arena_str(arena, strbuf_str(&m.out));
        *n_relaxed = m.reader.n_relaxed;
    }
out:
    json_doc_free(doc);
    json_doc_free(object);
    strbuf_free(&m.out);
    return result.ptr != NULL ? result : STR("");
}
