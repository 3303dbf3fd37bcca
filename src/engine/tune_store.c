#include "engine/tune_store.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "wire/json_in.h"
#include "wire/json_out.h"

enum {
    FILE_BYTES = 64 * 1024,
    PATH_BYTES = 4096,
    NAME_HASH_CHARS = 16,
    MOST_THREADS = 512,
    MOST_POLL = 100,
    FORMAT_VERSION = 2,
};

static const char *const flash_names[] = {
    [MODEL_FLASH_AUTO] = "auto",
    [MODEL_FLASH_ON] = "on",
    [MODEL_FLASH_OFF] = "off",
};

char *tune_store_path(const char *folder, struct str key)
{
    unsigned char digest[SHA256_BYTES];
    char hex[SHA256_HEX_BYTES];
    struct sha256 *h = sha256_create();
    sha256_update(h, key.ptr, key.len);
    sha256_finish(h, digest);
    sha256_hex(digest, hex);
    struct strbuf path;
    strbuf_init(&path, PATH_BYTES);
    strbuf_printf(&path, "%s/tune/%.*s.json", folder, NAME_HASH_CHARS, hex);
    return strbuf_detach(&path, NULL);
}

/* ---- Reading ---- */

static bool read_count(const struct json *object, const char *key, uint32_t least, uint32_t most,
                       uint32_t *out)
{
    const struct json *v = json_get(object, key);
    int64_t n = json_integer(v);
    if (!json_is_integer(v) || n < least || n > most)
        return false;
    *out = (uint32_t)n;
    return true;
}

static bool read_speed(const struct json *object, const char *key, double *out)
{
    *out = json_number(json_get(object, key));
    return json_type(json_get(object, key)) == JSON_NUMBER && *out >= 0 && *out < 1e9;
}

static bool read_flash(const struct json *object, enum model_flash *out)
{
    struct str name = json_string(json_get(object, "flash_attention"));
    for (size_t i = 0; i < sizeof flash_names / sizeof flash_names[0]; i++)
        if (str_is(name, flash_names[i])) {
            *out = (enum model_flash)i;
            return true;
        }
    return false;
}

static bool read_kernels(const struct json *object, enum kernel_isa *out)
{
    char name[32];
    struct str text = json_string(json_get(object, "kernels"));
    if (text.len >= sizeof name)
        return false;
    memcpy(name, text.ptr, text.len);
    name[text.len] = '\0';
    return isa_from_name(name, out) && isa_is_here(*out);
}

static bool is_step(uint32_t n)
{
    return (n & (n - 1)) == 0; /* the range is checked before */
}

static bool read_record(const struct json *root, struct str key, struct tune_record *out)
{
    struct tune_choice *c = &out->choice;
    const struct json *settled = json_get(root, "settled");
    uint32_t version;
    out->is_settled = json_bool(settled);
    return read_count(root, "version", FORMAT_VERSION, FORMAT_VERSION, &version) &&
           str_equal(json_string(json_get(root, "key")), key) && json_type(settled) == JSON_BOOL &&
           read_count(root, "attempts", 0, UINT16_MAX, &out->n_attempts) &&
           read_kernels(root, &c->kernels) && read_flash(root, &c->flash) &&
           read_count(root, "threads", 1, MOST_THREADS, &c->n_threads) &&
           read_count(root, "threads_batch", 1, MOST_THREADS, &c->n_threads_batch) &&
           read_count(root, "poll", 0, MOST_POLL, &c->poll) &&
           read_count(root, "step_rows", TUNE_SMALLEST_STEP, TUNE_LARGEST_STEP, &c->n_step_rows) &&
           is_step(c->n_step_rows) &&
           read_speed(root, "prefill_tokens_per_s", &c->prefill_tokens_per_s) &&
           read_speed(root, "decode_tokens_per_s", &c->decode_tokens_per_s);
}

bool tune_store_read(const char *path, struct str key, struct tune_record *out)
{
    struct strbuf text;
    strbuf_init(&text, FILE_BYTES);
    struct json_doc *doc = NULL;
    struct tune_record record;
    bool ok = file_read(path, &text, NULL) == STATUS_OK &&
              json_parse_copy(strbuf_str(&text), JSON_STRICT, &doc, NULL) == STATUS_OK &&
              read_record(json_root(doc), key, &record);
    if (ok)
        *out = record;
    json_doc_free(doc);
    strbuf_free(&text);
    return ok;
}

/* ---- Writing ---- */

static void print_record(struct strbuf *out, struct str key, const struct tune_record *record)
{
    const struct tune_choice *c = &record->choice;
    struct json_out w;
    json_out_begin(&w, out);
    json_object_begin(&w);
    json_field_int(&w, "version", FORMAT_VERSION);
    json_field_str(&w, "key", key);
    json_field_int(&w, "measured_at", clock_wall_s());
    json_field_bool(&w, "settled", record->is_settled);
    json_field_int(&w, "attempts", record->n_attempts);
    json_field_cstr(&w, "kernels", isa_name(c->kernels));
    json_field_cstr(&w, "flash_attention", flash_names[c->flash]);
    json_field_int(&w, "threads", c->n_threads);
    json_field_int(&w, "threads_batch", c->n_threads_batch);
    json_field_int(&w, "poll", c->poll);
    json_field_int(&w, "step_rows", c->n_step_rows);
    json_key(&w, "prefill_tokens_per_s");
    json_double(&w, c->prefill_tokens_per_s);
    json_key(&w, "decode_tokens_per_s");
    json_double(&w, c->decode_tokens_per_s);
    json_object_end(&w);
    json_out_end(&w);
    strbuf_append_char(out, '\n');
}

enum status tune_store_write(const char *path, struct str key, const struct tune_record *record,
                             struct error *err)
{
    char *folder = mem_strdup(path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL && slash != folder)
        *slash = '\0';
    enum status st = file_make_dirs(folder, err);
    mem_free(folder);
    if (st != STATUS_OK)
        return st;
    struct strbuf text;
    strbuf_init(&text, FILE_BYTES);
    print_record(&text, key, record);
    st = strbuf_status(&text);
    if (st == STATUS_OK)
        st = file_write_atomic(path, strbuf_str(&text), err);
    strbuf_free(&text);
    return st;
}
