#include "api/anthropic_read_fields.h"

#include <math.h>

#include "base/limits.h"

enum status too_large(const struct reader *r)
{
    return error_set(r->err, STATUS_TOO_LARGE, "the request needs more than %d MiB to read",
                     LIMIT_REQUEST_ARENA_BYTES / 1024 / 1024);
}

static bool is_absent(const struct json *v)
{
    return v == NULL || json_type(v) == JSON_NULL;
}

static enum status missing(const struct reader *r, const struct json_path *at, const char *key)
{
    struct json_path here = {.parent = at, .key = key};
    return json_fail(&here, r->err, "Field required");
}

static enum status wrong_type(const struct reader *r, const struct json_path *at, const char *key,
                              const char *wanted, const struct json *found)
{
    struct json_path here = {.parent = at, .key = key};
    return json_fail(&here, r->err, "Input should be %s, not %s", wanted, json_type_name(found));
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
    if (!isfinite(x) || x < low || x > high) {
        struct json_path here = {.parent = at, .key = key};
        return json_fail(&here, r->err, "Input should be between %g and %g", low, high);
    }
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
    if (n < low) {
        struct json_path here = {.parent = at, .key = key};
        return json_fail(&here, r->err, "Input should be greater than or equal to %lld",
                         (long long)low);
    }
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
