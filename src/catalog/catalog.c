#include "catalog/catalog.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "catalog_data.h"
#include "wire/json_in.h"

enum { MOST_MODELS = 64 };

static struct catalog_model models[MOST_MODELS];
static size_t n_models;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The texts live as long as the program. */
static const char *text_of(const struct json *object, const char *key)
{
    const struct json *v = json_get(object, key);
    if (json_type(v) != JSON_STRING)
        return NULL;
    struct str s = json_string(v);
    return mem_strndup(s.ptr, s.len);
}

static float number_of(const struct json *object, const char *key)
{
    const struct json *v = json_get(object, key);
    return json_type(v) == JSON_NUMBER ? (float)json_number(v) : -1;
}

static void take_parts(struct catalog_model *m, const struct json *parts)
{
    for (struct json_iter it = json_iter(parts); json_next(&it) && m->n_parts < CATALOG_PARTS;)
        m->parts[m->n_parts++] = (struct catalog_part){
            .package = text_of(it.value, "package"),
            .sha256 = text_of(it.value, "sha256"),
            .member = text_of(it.value, "member"),
            .bytes = (uint64_t)json_integer(json_get(it.value, "bytes")),
        };
}

static void take_model(struct catalog_model *m, const struct json *v)
{
    const struct json *sampling = json_get(v, "sampling");
    *m = (struct catalog_model){
        .name = text_of(v, "name"),
        .family = text_of(v, "family"),
        .licence = text_of(v, "licence"),
        .file = text_of(v, "file"),
        .is_chat = json_bool(json_get(v, "chat")),
        .url = text_of(v, "url"),
        .sha256 = text_of(v, "sha256"),
        .bytes = (uint64_t)json_integer(json_get(v, "bytes")),
        .context_tokens = (uint32_t)json_integer(json_get(v, "context_tokens")),
        .kv_bytes_per_token = (uint64_t)json_integer(json_get(v, "kv_bytes_per_token")),
        .macs_per_token = (uint64_t)json_integer(json_get(v, "macs_per_token")),
        .temperature = number_of(sampling, "temperature"),
        .top_p = number_of(sampling, "top_p"),
        .min_p = number_of(sampling, "min_p"),
        .repeat_penalty = number_of(sampling, "repeat_penalty"),
        .top_k = (int32_t)number_of(sampling, "top_k"),
    };
    INVARIANT(m->name != NULL && m->file != NULL && m->sha256 != NULL && m->bytes > 0);
    take_parts(m, json_get(v, "parts"));
}

static void load(void)
{
    struct json_doc *doc;
    struct error err;
    struct str text = {(const char *)catalog_data, sizeof catalog_data - 1};
    /* The catalogue is part of the program: it can't be wrong without a failing test. */
    INVARIANT(json_parse_copy(text, JSON_COMMENTS, &doc, &err) == STATUS_OK);
    for (struct json_iter it = json_iter(json_get(json_root(doc), "models"));
         json_next(&it) && n_models < MOST_MODELS;)
        take_model(&models[n_models++], it.value);
    json_doc_free(doc);
}

size_t catalog_count(void)
{
    pthread_once(&once, load);
    return n_models;
}

const struct catalog_model *catalog_at(size_t i)
{
    INVARIANT(i < catalog_count());
    return &models[i];
}

const struct catalog_model *catalog_find(struct str name)
{
    const struct catalog_model *by_family = NULL;
    size_t n_family = 0;
    for (size_t i = 0; i < catalog_count(); i++) {
        struct str known = str_from(models[i].name);
        if (str_equal_nocase(known, name))
            return &models[i];
        size_t colon = str_find(known, STR(":"));
        if (colon != SIZE_MAX && str_equal_nocase((struct str){known.ptr, colon}, name)) {
            by_family = &models[i];
            n_family++;
        }
    }
    return n_family == 1 ? by_family : NULL;
}

const char *catalog_nearest(struct str name)
{
    const char *names[MOST_MODELS];
    for (size_t i = 0; i < catalog_count(); i++)
        names[i] = models[i].name;
    return str_nearest(name, names, n_models);
}

char *catalog_path(const struct catalog_model *m)
{
    struct strbuf path;
    strbuf_init(&path, 4096);
    const char *folder = getenv("PENSIEVE_MODELS");
    if (folder != NULL && folder[0] != '\0') {
        strbuf_printf(&path, "%s/%s", folder, m->file);
        return strbuf_detach(&path, NULL);
    }
    strbuf_printf(&path, "models/%s", m->file);
    char *full = file_user_path("data", strbuf_cstr(&path));
    strbuf_free(&path);
    /* Without a HOME: beside where we stand. */
    return full != NULL ? full : mem_strdup(m->file);
}

bool catalog_is_here(const struct catalog_model *m)
{
    char *path = catalog_path(m);
    uint64_t bytes = 0;
    bool is_here = file_size(path, &bytes) == STATUS_OK && bytes == m->bytes;
    mem_free(path);
    return is_here;
}

/* A known model's file that lies elsewhere, by its name and size: it has the same recommended
 * settings.  NULL for other files. */
static const struct catalog_model *find_by_file(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *file = slash != NULL ? slash + 1 : path;
    uint64_t n_bytes = 0;
    if (file_size(path, &n_bytes) != STATUS_OK)
        return NULL;
    for (size_t i = 0; i < catalog_count(); i++) {
        const struct catalog_model *m = catalog_at(i);
        if (strcmp(m->file, file) == 0 && m->bytes == n_bytes)
            return m;
    }
    return NULL;
}

enum status catalog_resolve(const char *spec, char **out_path,
                            const struct catalog_model **out_model, struct error *err)
{
    struct str name = str_from(spec);
    const struct catalog_model *m = catalog_find(name);
    if (m != NULL) {
        if (!catalog_is_here(m))
            return error_set(err, STATUS_NOT_FOUND,
                             "the model %s is not here; fetch it with `pensieve pull %s`", m->name,
                             m->name);
        *out_path = catalog_path(m);
        *out_model = m;
        return STATUS_OK;
    }
    if (file_exists(spec)) {
        *out_path = mem_strdup(spec);
        *out_model = find_by_file(spec);
        return STATUS_OK;
    }
    const char *near = catalog_nearest(name);
    if (near != NULL)
        return error_set(err, STATUS_NOT_FOUND, "no model or file %s; did you mean %s?", spec,
                         near);
    return error_set(err, STATUS_NOT_FOUND, "no model or file %s; see `pensieve list`", spec);
}
