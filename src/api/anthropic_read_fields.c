#include "api/anthropic_read_fields.h"

#include <math.h>
#include <stdio.h>

#include "base/limits.h"

enum status too_large(const struct reader *r)
{
    return error_set(r->err, STATUS_TOO_LARGE,
                     "reading the request takes more memory than there is, or than %d MiB; "
                     "send less at once",
                     LIMIT_REQUEST_ARENA_BYTES / 1024 / 1024);
}

static bool is_absent(const struct json *v)
{
    return v == NULL || json_type(v) == JSON_NULL;
}

enum status fail_at(const struct reader *r, const struct json_path *at, const char *key,
                    const char *fmt, ...)
{
    char text[sizeof((struct error){0}).message];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    struct json_path here = {.parent = at, .key = key};
    return json_fail(&here, r->err, "%s", text);
}

static enum status missing(const struct reader *r, const struct json_path *at, const char *key)
{
    return fail_at(r, at, key, "Field required");
}

static enum status wrong_type(const struct reader *r, const struct json_path *at, const char *key,
                              const char *wanted, const struct json *found)
{
    return fail_at(r, at, key, "Input should be %s, not %s", wanted, json_type_name(found));
}

enum status expect_object(const struct reader *r, const struct json *v, const struct json_path *at)
{
    if (json_type(v) != JSON_OBJECT)
        return json_fail(at, r->err, "Input should be an object, not %s", json_type_name(v));
    return STATUS_OK;
}

enum status read_string(const struct reader *r, const struct json *object,
                        const struct json_path *at, const char *key, enum presence presence,
                        struct str *out)
{
    const struct json *v = json_get(object, key);
    if (is_absent(v)) {
        if (presence == REQUIRED)
            return missing(r, at, key);
        *out = STR("");
        return STATUS_OK;
    }
    if (json_type(v) != JSON_STRING)
        return wrong_type(r, at, key, "a string", v);
    *out = json_string(v);
    return STATUS_OK;
}

enum status read_number(const struct reader *r, const struct json *object,
                        const struct json_path *at, const char *key, double low, double high,
                        float *out)
{
    const struct json *v = json_get(object, key);
    if (is_absent(v))
        return STATUS_OK;
    if (json_type(v) != JSON_NUMBER)
        return wrong_type(r, at, key, "a number", v);
    double x = json_number(v);
    if (!isfinite(x) || x < low || x > high)
        return fail_at(r, at, key, "Input should be between %g and %g", low, high);
    *out = (float)x;
    return STATUS_OK;
}

enum status read_integer(const struct reader *r, const struct json *object,
                         const struct json_path *at, const char *key, int64_t low, int64_t high,
                         enum presence presence, int64_t *out)
{
    const struct json *v = json_get(object, key);
    if (is_absent(v))
        return presence == REQUIRED ? missing(r, at, key) : STATUS_OK;
    if (json_type(v) != JSON_NUMBER || !json_is_integer(v))
        return wrong_type(r, at, key, "a whole number", v);
    int64_t n = json_integer(v);
    if (n < low)
        return fail_at(r, at, key, "Input should be greater than or equal to %lld", (long long)low);
    *out = n < high ? n : high;
    return STATUS_OK;
}

enum status read_bool(const struct reader *r, const struct json *object, const struct json_path *at,
                      const char *key, bool *out)
{
    const struct json *v = json_get(object, key);
    if (is_absent(v))
        return STATUS_OK;
    if (json_type(v) != JSON_BOOL)
        return wrong_type(r, at, key, "true or false", v);
    *out = json_bool(v);
    return STATUS_OK;
}

enum status read_object(const struct reader *r, const struct json *object,
                        const struct json_path *at, const char *key, enum presence presence,
                        const struct json **out)
{
    const struct json *v = json_get(object, key);
    *out = NULL;
    if (v == NULL || (presence == OPTIONAL && is_absent(v)))
        return presence == REQUIRED ? missing(r, at, key) : STATUS_OK;
    if (json_type(v) != JSON_OBJECT)
        return wrong_type(r, at, key, "an object", v);
    *out = v;
    return STATUS_OK;
}

enum status read_list(const struct reader *r, const struct json *object, const struct json_path *at,
                      const char *key, enum presence presence, size_t most, const struct json **out)
{
    const struct json *v = json_get(object, key);
    *out = NULL;
    if (v == NULL || (presence == OPTIONAL && is_absent(v)))
        return presence == REQUIRED ? missing(r, at, key) : STATUS_OK;
    if (json_type(v) != JSON_ARRAY)
        return wrong_type(r, at, key, "a list", v);
    if (json_length(v) > most)
        return fail_at(r, at, key, "List should have at most %zu items, not %zu", most,
                       json_length(v));
    *out = v;
    return STATUS_OK;
}

enum status read_json_text(const struct reader *r, const struct json *value, struct str *out)
{
    struct strbuf text;
    strbuf_init(&text, LIMIT_BODY_BYTES);
    json_print(&text, value);
    struct str copy = arena_str(r->arena, strbuf_str(&text));
    bool failed = text.failed || copy.ptr == NULL;
    strbuf_free(&text);
    if (failed)
        return too_large(r);
    *out = copy;
    return STATUS_OK;
}
