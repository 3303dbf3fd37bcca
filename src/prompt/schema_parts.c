#include "prompt/schema_parts.h"

const struct json *schema_member(const struct json *object, struct str key)
{
    const struct json *found = NULL;
    if (json_type(object) == JSON_OBJECT)
        for (struct json_iter it = json_iter(object); json_next(&it);)
            if (str_equal(it.key, key))
                found = it.value;
    return found;
}

/* One step of a JSON pointer, RFC 6901: ~1 is "/", ~0 is "~". */
static const struct json *step(const struct json *at, struct str token)
{
    char name[256];
    size_t n = 0;
    for (size_t i = 0; i < token.len && n < sizeof name; i++) {
        bool is_escape = token.ptr[i] == '~' && i + 1 < token.len;
        if (is_escape)
            i++;
        name[n++] = !is_escape ? token.ptr[i] : token.ptr[i] == '1' ? '/' : '~';
    }
    if (json_type(at) == JSON_OBJECT)
        return schema_member(at, (struct str){name, n});
    if (json_type(at) != JSON_ARRAY || n == 0 || n > 6)
        return NULL;
    size_t index = 0;
    for (size_t i = 0; i < n; i++) {
        if (name[i] < '0' || name[i] > '9')
            return NULL;
        index = index * 10 + (size_t)(name[i] - '0');
    }
    for (struct json_iter it = json_iter(at); json_next(&it);)
        if (it.index == index)
            return it.value;
    return NULL;
}

const struct json *schema_resolve(const struct schema_reader *r, struct str ref)
{
    if (ref.len == 0 || ref.ptr[0] != '#' || (ref.len > 1 && ref.ptr[1] != '/'))
        return NULL;
    const struct json *at = r->root;
    size_t begin = 2;
    while (at != NULL && begin <= ref.len && ref.len > 1) {
        size_t end = begin;
        while (end < ref.len && ref.ptr[end] != '/')
            end++;
        at = step(at, (struct str){ref.ptr + begin, end - begin});
        begin = end + 1;
    }
    return at;
}

static bool is_known(const struct schema_parts *all, const struct json *schema)
{
    for (size_t i = 0; i < all->n_parts; i++)
        if (all->parts[i] == schema)
            return true;
    return false;
}

static void add_choice(struct schema_reader *r, struct schema_parts *all, const struct json *list)
{
    if (json_type(list) != JSON_ARRAY)
        return;
    if (all->n_choices < SCHEMA_MOST_CHOICES)
        all->choices[all->n_choices++] = list;
    else
        r->n_relaxed++;
}

void schema_add(struct schema_reader *r, struct schema_parts *all, const struct json *schema)
{
    if (json_type(schema) == JSON_BOOL && !json_bool(schema))
        all->is_impossible = true;
    if (json_type(schema) != JSON_OBJECT || is_known(all, schema))
        return;
    if (all->n_parts == SCHEMA_MOST_PARTS) {
        r->n_relaxed++;
        return;
    }
    all->parts[all->n_parts++] = schema;
    const struct json *ref = json_get(schema, "$ref");
    if (json_type(ref) == JSON_STRING) {
        const struct json *target = schema_resolve(r, json_string(ref));
        r->n_relaxed += target == NULL;
        schema_add(r, all, target);
    }
    const struct json *parts = json_get(schema, "allOf");
    if (json_type(parts) == JSON_ARRAY)
        for (struct json_iter it = json_iter(parts); json_next(&it);)
            schema_add(r, all, it.value);
    add_choice(r, all, json_get(schema, "anyOf"));
    add_choice(r, all, json_get(schema, "oneOf"));
}

void schema_ask(struct schema_reader *r, struct schema_parts *all, const struct json *schema)
{
    if (json_type(schema) == JSON_OBJECT && all->n_asked++ == 0)
        all->first = schema;
    schema_add(r, all, schema);
}

bool schema_has_key(const struct schema_parts *all, const char *key)
{
    for (size_t i = 0; i < all->n_parts; i++)
        if (json_get(all->parts[i], key) != NULL)
            return true;
    return false;
}

/* ---- Types ---- */

static unsigned type_of_name(struct str name)
{
    static const struct {
        const char *name;
        unsigned type;
    } types[] = {
        {"null", TYPE_NULL},       {"boolean", TYPE_BOOLEAN},
        {"integer", TYPE_INTEGER}, {"number", TYPE_NUMBER | TYPE_INTEGER},
        {"string", TYPE_STRING},   {"array", TYPE_ARRAY},
        {"object", TYPE_OBJECT},
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (str_is(name, types[i].name))
            return types[i].type;
    return TYPE_ANY;
}

static unsigned types_of_part(const struct json *schema)
{
    const struct json *type = json_get(schema, "type");
    if (json_type(type) == JSON_STRING)
        return type_of_name(json_string(type));
    unsigned types = 0;
    if (json_type(type) == JSON_ARRAY)
        for (struct json_iter it = json_iter(type); json_next(&it);)
            types |= type_of_name(json_string(it.value));
    return types != 0 ? types : TYPE_ANY;
}

unsigned schema_types(const struct schema_parts *all)
{
    unsigned types = TYPE_ANY;
    for (size_t i = 0; i < all->n_parts; i++)
        types &= types_of_part(all->parts[i]);
    return types;
}

unsigned schema_type_of(const struct json *v)
{
    switch (json_type(v)) {
    case JSON_NULL:
        return TYPE_NULL;
    case JSON_BOOL:
        return TYPE_BOOLEAN;
    case JSON_NUMBER:
        return json_is_integer(v) ? TYPE_INTEGER : TYPE_NUMBER;
    case JSON_STRING:
        return TYPE_STRING;
    case JSON_ARRAY:
        return TYPE_ARRAY;
    case JSON_OBJECT:
        return TYPE_OBJECT;
    }
    return 0;
}

unsigned schema_types_meant(const struct schema_parts *all)
{
    static const struct {
        const char *key;
        unsigned type;
    } keys[] = {
        {"properties", TYPE_OBJECT},
        {"required", TYPE_OBJECT},
        {"additionalProperties", TYPE_OBJECT},
        {"items", TYPE_ARRAY},
        {"prefixItems", TYPE_ARRAY},
        {"pattern", TYPE_STRING},
        {"minLength", TYPE_STRING},
        {"maxLength", TYPE_STRING},
        {"format", TYPE_STRING},
        {"minimum", TYPE_NUMBER | TYPE_INTEGER},
        {"maximum", TYPE_NUMBER | TYPE_INTEGER},
    };
    unsigned types = schema_types(all);
    if (types != TYPE_ANY)
        return types;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (schema_has_key(all, keys[i].key))
            return keys[i].type;
    return TYPE_ANY;
}

bool schema_is_possible(const struct schema_parts *all)
{
    return !all->is_impossible && schema_types(all) != 0;
}
