/* A walk over the schema with a stack of its own, as a client decides how deep it is. */
#include "servertools/tool_arguments.h"

static void open_level(struct tool_arguments *it, const struct json *v, enum arguments_role role)
{
    bool is_container = json_type(v) == JSON_OBJECT || json_type(v) == JSON_ARRAY;
    if (is_container && it->n_levels < TOOL_ARGUMENTS_DEPTH)
        it->levels[it->n_levels++] = (struct arguments_level){json_iter(v), role};
}

enum status tool_arguments_init(struct tool_arguments *it, struct str schema_json)
{
    it->text = STR("");
    it->doc = NULL;
    it->n_levels = 0;
    enum status st = json_parse_copy(schema_json, JSON_STRICT, &it->doc, NULL);
    if (st == STATUS_NO_MEMORY)
        return st;
    if (st == STATUS_OK && json_type(json_root(it->doc)) == JSON_OBJECT)
        open_level(it, json_root(it->doc), LEVEL_SCHEMA);
    return STATUS_OK;
}

void tool_arguments_free(struct tool_arguments *it)
{
    json_doc_free(it->doc);
    it->doc = NULL;
    it->n_levels = 0;
}

/* What the value of a keyword holds, for those that hold schemas. */
static bool role_of_keyword(struct str keyword, enum arguments_role *out)
{
    static const struct {
        const char *keyword;
        enum arguments_role role;
    } roles[] = {
        {"properties", LEVEL_NAMES},
        {"$defs", LEVEL_PARTS},
        {"definitions", LEVEL_PARTS},
        {"anyOf", LEVEL_PARTS},
        {"oneOf", LEVEL_PARTS},
        {"allOf", LEVEL_PARTS},
        {"prefixItems", LEVEL_PARTS},
        {"items", LEVEL_SCHEMA},
        {"contains", LEVEL_SCHEMA},
        {"additionalProperties", LEVEL_SCHEMA},
        {"patternProperties", LEVEL_PARTS},
    };
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (str_is(keyword, roles[i].keyword)) {
            *out = roles[i].role;
            return true;
        }
    return false;
}

/* One keyword of a schema.  True where it is a text to be searched. */
static bool visit_keyword(struct tool_arguments *it, struct str keyword, const struct json *v)
{
    if (str_is(keyword, "description") && json_type(v) == JSON_STRING) {
        it->text = json_string(v);
        return true;
    }
    enum arguments_role role;
    if (role_of_keyword(keyword, &role)) {
        /* Older drafts write `items` as a list of schemas. */
        bool is_list = json_type(v) == JSON_ARRAY;
        open_level(it, v, is_list ? LEVEL_PARTS : role);
    }
    return false;
}

bool tool_arguments_next(struct tool_arguments *it)
{
    while (it->n_levels > 0) {
        struct arguments_level *level = &it->levels[it->n_levels - 1];
        if (!json_next(&level->it)) {
            it->n_levels--;
            continue;
        }
        struct str key = level->it.key;
        const struct json *v = level->it.value;
        if (level->role == LEVEL_SCHEMA) {
            if (visit_keyword(it, key, v))
                return true;
            continue;
        }
        bool is_name = level->role == LEVEL_NAMES;
        if (json_type(v) == JSON_OBJECT)
            open_level(it, v, LEVEL_SCHEMA);
        if (is_name) {
            it->text = key;
            return true;
        }
    }
    return false;
}
