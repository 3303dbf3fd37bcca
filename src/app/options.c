#include "app/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "wire/json_in.h"

enum {
    SETTINGS_BYTES = 1024 * 1024,
    VARIABLE_BYTES = 64,
};

static const struct {
    const char *name;
    enum option_type type;
    const char *value;
    int64_t low, high;
    const char *argument;
    const char *help;
} table[OPTION_COUNT] = {
#define X(id, name, type, value, low, high, arg, help)                                             \
    {name, OPTION_##type, value, low, high, arg, help},
    OPTION_MAP(X)
#undef X
};

/* ---- Values ---- */

static bool parse_number(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (text[0] == '\0' || *end != '\0' || errno != 0)
        return false;
    *out = n;
    return true;
}

static bool parse_gb(const char *text, double *out)
{
    char *end;
    double x = strtod(text, &end);
    if (text[0] == '\0' || *end != '\0' || !(x > 0) || x > 1e6)
        return false;
    *out = x;
    return true;
}

/* Checks and stores; `place` says where the text came from. */
static enum status set_value(struct options *o, size_t id, const char *text,
                             enum option_origin origin, const char *place, struct error *err)
{
    int64_t n;
    double gb;
    switch (table[id].type) {
    case OPTION_TEXT:
        break;
    case OPTION_NUMBER:
        if (!parse_number(text, &n) || n < table[id].low || n > table[id].high)
            return error_set(err, STATUS_INVALID, "%s: should be a whole number from %lld to %lld",
                             place, (long long)table[id].low, (long long)table[id].high);
        break;
    case OPTION_GB:
        if (!parse_gb(text, &gb))
            return error_set(err, STATUS_INVALID, "%s: should be a number of GB above 0", place);
        break;
    case OPTION_FLAG:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return error_set(err, STATUS_INVALID, "%s: should be true or false", place);
        break;
    }
    mem_free(o->values[id]);
    o->values[id] = mem_strdup(text);
    o->origins[id] = origin;
    return STATUS_OK;
}

static size_t find_option(struct str name)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (str_is(name, table[i].name))
            return i;
    return OPTION_COUNT;
}

static const char *nearest_option(struct str name)
{
    const char *names[OPTION_COUNT];
    for (size_t i = 0; i < OPTION_COUNT; i++)
        names[i] = table[i].name;
    return str_nearest(name, names, OPTION_COUNT);
}

/* ---- Flags ---- */

static enum status unknown_flag(const char *flag, struct str name, struct error *err)
{
    const char *near = nearest_option(name);
    if (near != NULL)
        return error_set(err, STATUS_INVALID, "unknown option %s; did you mean --%s?", flag, near);
    return error_set(err, STATUS_INVALID, "unknown option %s; see --help", flag);
}

/* One flag at argv[*i]; steps over its value. */
static enum status read_flag(struct options *o, int argc, char **argv, int *i, struct error *err)
{
    const char *flag = argv[*i];
    struct str name = {flag + 2, strlen(flag + 2)};
    size_t equals = str_find(name, STR("="));
    const char *value = NULL;
    if (equals != SIZE_MAX) {
        value = name.ptr + equals + 1;
        name.len = equals;
    }
    if (str_is(name, "json") || str_is(name, "help")) {
        *(name.ptr[0] == 'j' ? &o->json : &o->help) = true;
        return STATUS_OK;
    }
    size_t id = find_option(name);
    if (id == OPTION_COUNT)
        return unknown_flag(flag, name, err);
    if (value == NULL && table[id].type == OPTION_FLAG) {
        value = "true";
    } else if (value == NULL) {
        if (*i + 1 >= argc)
            return error_set(err, STATUS_INVALID, "--%s needs a value: --%s %s", table[id].name,
                             table[id].name, table[id].argument);
        value = argv[++*i];
    }
    char place[64];
    snprintf(place, sizeof place, "--%s", table[id].name);
    return set_value(o, id, value, ORIGIN_FLAG, place, err);
}

static enum status read_flags(struct options *o, int argc, char **argv, struct error *err)
{
    o->rest = argv; /* filled from the front, over what was read already */
    enum status st = STATUS_OK;
    for (int i = 1; i < argc && st == STATUS_OK; i++) {
        if (strcmp(argv[i], "-h") == 0)
            o->help = true;
        else if (strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0')
            st = read_flag(o, argc, argv, &i, err);
        else if (argv[i][0] == '-')
            st = error_set(err, STATUS_INVALID, "unknown option %s; see --help", argv[i]);
        else
            o->rest[o->n_rest++] = argv[i];
    }
    return st;
}

/* ---- Environment ---- */

static enum status read_environment(struct options *o, struct error *err)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char variable[VARIABLE_BYTES];
        snprintf(variable, sizeof variable, "PENSIEVE_%s", table[i].name);
        for (char *p = variable; *p != '\0'; p++)
            *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
        const char *text = getenv(variable);
        if (text == NULL || text[0] == '\0' || o->origins[i] > ORIGIN_ENVIRONMENT)
            continue;
        enum status st = set_value(o, i, text, ORIGIN_ENVIRONMENT, variable, err);
        if (st != STATUS_OK)
            return st;
    }
    return STATUS_OK;
}

/* ---- Settings file ---- */

/* A place in the text, for messages. */
static void find_place(struct str text, size_t at, unsigned *out_line, unsigned *out_column)
{
    *out_line = *out_column = 1;
    for (size_t i = 0; i < at && i < text.len; i++) {
        ++*out_column;
        if (text.ptr[i] == '\n') {
            ++*out_line;
            *out_column = 1;
        }
    }
}

/* The key of `it` begins at text[at]. */
static enum status take_setting(struct options *o, const char *path, struct str text, size_t at,
                                const struct json_iter *it, struct error *err)
{
    unsigned line, column;
    find_place(text, at, &line, &column);
    size_t id = find_option(it->key);
    if (id == OPTION_COUNT) {
        const char *near = nearest_option(it->key);
        return error_set(err, STATUS_CORRUPT, "%s:%u:%u: unknown setting%s%s%s", path, line, column,
                         near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    }
    if (o->origins[id] > ORIGIN_FILE)
        return STATUS_OK;
    struct strbuf value;
    strbuf_init(&value, 4096);
    if (json_type(it->value) == JSON_STRING)
        strbuf_append_str(&value, json_string(it->value));
    else
        json_print(&value, it->value);
    char place[256];
    snprintf(place, sizeof place, "%.180s:%u:%u: %s", path, line, column, table[id].name);
    enum status st = set_value(o, id, strbuf_cstr(&value), ORIGIN_FILE, place, err);
    strbuf_free(&value);
    if (st != STATUS_OK)
        err->status = STATUS_CORRUPT;
    return st == STATUS_OK ? STATUS_OK : STATUS_CORRUPT;
}

static enum status read_settings(struct options *o, const char *path, struct str text,
                                 struct error *err)
{
    /* Parsed in place, so that a key's address tells where it stands. */
    char *copy = mem_alloc(text.len + JSON_PADDING_BYTES);
    if (text.len > 0)
        memcpy(copy, text.ptr, text.len);
    struct json_doc *doc = NULL;
    enum status st = json_parse(copy, text.len, JSON_COMMENTS, &doc, err);
    if (st != STATUS_OK) {
        error_wrap(err, "%s", path);
        err->status = st = STATUS_CORRUPT;
    } else if (json_type(json_root(doc)) != JSON_OBJECT) {
        st = error_set(err, STATUS_CORRUPT, "%s:1:1: should hold one JSON object", path);
    }
    for (struct json_iter it = json_iter(json_root(doc)); st == STATUS_OK && json_next(&it);)
        st = take_setting(o, path, text, (size_t)(it.key.ptr - copy) - 1, &it, err);
    json_doc_free(doc);
    mem_free(copy);
    return st;
}

static enum status read_file(struct options *o, struct error *err)
{
    const char *named = o->values[OPTION_CONFIG];
    char *path = named[0] != '\0' ? mem_strdup(named) : file_user_path("config", "config.json");
    if (path == NULL)
        return STATUS_OK;
    struct strbuf text;
    strbuf_init(&text, SETTINGS_BYTES);
    enum status st = file_read(path, &text, err);
    if (st == STATUS_OK)
        st = read_settings(o, path, strbuf_str(&text), err);
    else if (st == STATUS_NOT_FOUND && named[0] == '\0')
        st = STATUS_OK; /* nobody asked for it */
    else
        st = STATUS_CORRUPT;
    strbuf_free(&text);
    mem_free(path);
    return st;
}

/* ---- The whole ---- */

enum status options_read(int argc, char **argv, struct options *out, struct error *err)
{
    struct options o = {0};
    for (size_t i = 0; i < OPTION_COUNT; i++)
        o.values[i] = mem_strdup(table[i].value);
    enum status st = read_flags(&o, argc, argv, err);
    if (st == STATUS_OK)
        st = read_environment(&o, err);
    if (st == STATUS_OK && !o.help)
        st = read_file(&o, err);
    if (st != STATUS_OK) {
        options_free(&o);
        return st;
    }
    *out = o;
    return STATUS_OK;
}

void options_free(struct options *o)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        mem_free(o->values[i]);
        o->values[i] = NULL;
    }
}

const char *option_text(const struct options *o, enum option id)
{
    return o->values[id];
}

int64_t option_number(const struct options *o, enum option id)
{
    int64_t n = 0;
    INVARIANT(parse_number(o->values[id], &n));
    return n;
}

uint64_t option_bytes(const struct options *o, enum option id)
{
    double gb = 0;
    INVARIANT(parse_gb(o->values[id], &gb));
    return (uint64_t)(gb * 1024 * 1024 * 1024);
}

bool option_flag(const struct options *o, enum option id)
{
    return strcmp(o->values[id], "true") == 0;
}

bool option_is_set(const struct options *o, enum option id)
{
    return o->origins[id] != ORIGIN_DEFAULT;
}

/* ---- Documents ---- */

void options_print_help(struct strbuf *out)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char left[64];
        snprintf(left, sizeof left, "--%s %s", table[i].name, table[i].argument);
        strbuf_printf(out, "  %-34s %s", left, table[i].help);
        if (table[i].value[0] != '\0' && table[i].type != OPTION_FLAG)
            strbuf_printf(out, " (%s)", table[i].value);
        strbuf_append_char(out, '\n');
    }
}

void options_print_markdown(struct strbuf *out)
{
    strbuf_append_cstr(out, "| flag and settings key | variable | default | what it sets |\n"
                            "|---|---|---|---|\n");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        strbuf_printf(out, "| `--%s%s", table[i].name, table[i].argument[0] ? " " : "");
        for (const char *p = table[i].argument; *p != '\0'; p++)
            strbuf_append_cstr(out, *p == '|' ? "\\|" : (char[2]){*p, '\0'});
        strbuf_append_cstr(out, "` | `PENSIEVE_");
        for (const char *p = table[i].name; *p != '\0'; p++)
            strbuf_append_char(out, *p == '-' ? '_' : (char)toupper((unsigned char)*p));
        strbuf_printf(out, "` | %s%s%s | %s |\n", table[i].value[0] ? "`" : "", table[i].value,
                      table[i].value[0] ? "`" : "", table[i].help);
    }
}
