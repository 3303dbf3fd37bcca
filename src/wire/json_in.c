/* json_in -- see the header.
 *
 * A document is read in two passes.  The first counts values and depth over the bytes, so that
 * yyjson is never asked to allocate more than LIMIT_JSON_VALUES costs, and remembers where lines
 * begin: reading in place moves the bytes of strings, so that counting line breaks afterwards would
 * count those that came from "\n" too.  The second is yyjson's.
 *
 * Numbers stay text (YYJSON_READ_NUMBER_AS_RAW): a value that passes through us, such as a tool
 * schema or a tool's input, keeps "1.0" and integers of any size as the client wrote them. */
#include "wire/json_in.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#include "base/limits.h"
#include "wire/json_out.h"

enum {
    LINES_KNOWN = 1024, /* errors beyond this many lines are located by their byte */
    PATH_PARTS = 32,    /* more than any path of ours has */
    PATH_BYTES = 256,
};

struct json_doc {
    yyjson_doc *tree;
    char *copy; /* text of json_parse_copy; else NULL */
};

/* ---- First pass: limits and lines ------------------------------------------------------------ */

struct scan {
    const char *text;
    size_t len;
    enum json_flags flags;
    size_t n_values;
    size_t depth;
    size_t n_lines;                /* line breaks outside strings */
    size_t line_ends[LINES_KNOWN]; /* offsets of the first of them */
};

static void note_line_end(struct scan *s, size_t at)
{
    if (s->n_lines < LINES_KNOWN)
        s->line_ends[s->n_lines] = at;
    s->n_lines++;
}

/* "line 3, column 5" of the byte at `at`; columns count bytes from 1. */
static void locate(const struct scan *s, size_t at, char *out, size_t capacity)
{
    size_t line = 0;
    size_t known = s->n_lines < LINES_KNOWN ? s->n_lines : LINES_KNOWN;
    while (line < known && s->line_ends[line] < at)
        line++;
    size_t begin = line == 0 ? 0 : s->line_ends[line - 1] + 1;
    if (line == LINES_KNOWN)
        snprintf(out, capacity, "byte %zu", at + 1);
    else
        snprintf(out, capacity, "line %zu, column %zu", line + 1, at - begin + 1);
}

/* `open` is at a quote: the offset of the one that ends the string, or the end of the text. */
static size_t skip_string(const struct scan *s, size_t open)
{
    for (size_t i = open + 1; i < s->len; i++) {
        const char *quote = memchr(s->text + i, '"', s->len - i);
        if (quote == NULL)
            return s->len;
        i = (size_t)(quote - s->text);
        size_t backslashes = 0;
        while (i - backslashes - 1 > open && s->text[i - backslashes - 1] == '\\')
            backslashes++;
        if (backslashes % 2 == 0)
            return i;
    }
    return s->len;
}

/* `open` is at a slash: the offset of the last byte of the comment.  What is no comment is one
 * byte long; yyjson will complain of it. */
static size_t skip_comment(struct scan *s, size_t open)
{
    char kind = open + 1 < s->len ? s->text[open + 1] : '\0';
    if ((s->flags & JSON_COMMENTS) == 0 || (kind != '/' && kind != '*'))
        return open;
    for (size_t i = open + 2; i < s->len; i++) {
        if (s->text[i] == '\n')
            note_line_end(s, i);
        if (kind == '/' && s->text[i] == '\n')
            return i;
        if (kind == '*' && s->text[i] == '*' && i + 1 < s->len && s->text[i + 1] == '/')
            return i + 1;
    }
    return s->len;
}

static size_t skip_scalar(const struct scan *s, size_t begin)
{
    size_t i = begin + 1;
    while (i < s->len && strchr(",:[]{}\" \t\r\n/", s->text[i]) == NULL)
        i++;
    return i - 1;
}

/* Moves over what begins at `i`; answers the offset of its last byte. */
static size_t scan_token(struct scan *s, size_t i)
{
    switch (s->text[i]) {
    case '\n':
        note_line_end(s, i);
        return i;
    case ' ':
    case '\t':
    case '\r':
    case ',':
    case ':':
        return i;
    case '/':
        return skip_comment(s, i);
    case ']':
    case '}':
        if (s->depth > 0)
            s->depth--;
        return i;
    case '[':
    case '{':
        s->n_values++;
        s->depth++;
        return i;
    case '"':
        s->n_values++;
        return skip_string(s, i);
    default:
        s->n_values++;
        return skip_scalar(s, i);
    }
}

static enum status scan_limits(struct scan *s, struct error *err)
{
    char where[64];
    for (size_t i = 0; i < s->len; i++) {
        i = scan_token(s, i);
        if (s->depth > LIMIT_JSON_DEPTH) {
            locate(s, i, where, sizeof where);
            return error_set(err, STATUS_TOO_LARGE,
                             "JSON nests deeper than %d levels at %s; flatten it", LIMIT_JSON_DEPTH,
                             where);
        }
        if (s->n_values > LIMIT_JSON_VALUES)
            return error_set(err, STATUS_TOO_LARGE,
                             "JSON holds more than %d values; send less at once",
                             LIMIT_JSON_VALUES);
    }
    return STATUS_OK;
}

/* ---- Second pass: yyjson --------------------------------------------------------------------- */

static void *yyjson_malloc(void *ctx, size_t bytes)
{
    (void)ctx;
    return mem_try_alloc(bytes);
}

static void *yyjson_realloc(void *ctx, void *p, size_t old_bytes, size_t bytes)
{
    (void)ctx;
    (void)old_bytes;
    return mem_try_realloc(p, bytes);
}

static void yyjson_free(void *ctx, void *p)
{
    (void)ctx;
    mem_free(p);
}

static enum status read_error(const struct scan *s, const yyjson_read_err *why, struct error *err)
{
    if (why->code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return error_set(err, STATUS_NO_MEMORY,
                         "no memory to read %zu bytes of JSON; try again later", s->len);
    char where[64];
    locate(s, why->pos, where, sizeof where);
    return error_set(err, STATUS_INVALID, "not valid JSON: %s at %s", why->msg, where);
}

enum status json_parse(char *text, size_t len, enum json_flags flags, struct json_doc **out,
                       struct error *err)
{
    struct scan scan = {.text = text, .len = len, .flags = flags};
    enum status st = scan_limits(&scan, err);
    if (st != STATUS_OK)
        return st;

    static const yyjson_alc allocator = {yyjson_malloc, yyjson_realloc, yyjson_free, NULL};
    yyjson_read_flag how = YYJSON_READ_INSITU | YYJSON_READ_NUMBER_AS_RAW;
    if (flags & JSON_COMMENTS)
        how |= YYJSON_READ_ALLOW_COMMENTS | YYJSON_READ_ALLOW_TRAILING_COMMAS;
    memset(text + len, 0, JSON_PADDING_BYTES);

    yyjson_read_err why;
    yyjson_doc *tree = yyjson_read_opts(text, len, how, &allocator, &why);
    if (tree == NULL)
        return read_error(&scan, &why, err);
    struct json_doc *doc = mem_zalloc(sizeof *doc);
    doc->tree = tree;
    *out = doc;
    return STATUS_OK;
}

enum status json_parse_copy(struct str text, enum json_flags flags, struct json_doc **out,
                            struct error *err)
{
    char *copy = text.len < SIZE_MAX - JSON_PADDING_BYTES
                     ? mem_try_alloc(text.len + JSON_PADDING_BYTES)
                     : NULL;
    if (copy == NULL)
        return error_set(err, STATUS_NO_MEMORY,
                         "no memory to read %zu bytes of JSON; try again later", text.len);
    if (text.len > 0)
        memcpy(copy, text.ptr, text.len);
    struct json_doc *doc;
    enum status st = json_parse(copy, text.len, flags, &doc, err);
    if (st != STATUS_OK) {
        mem_free(copy);
        return st;
    }
    doc->copy = copy;
    *out = doc;
    return STATUS_OK;
}

void json_doc_free(struct json_doc *doc)
{
    if (doc == NULL)
        return;
    yyjson_doc_free(doc->tree);
    mem_free(doc->copy);
    mem_free(doc);
}

/* ---- Values: `struct json` is yyjson's value under our name ---------------------------------- */

/* yyjson's accessors take pointers to non-const, and never write through them. */
static yyjson_val *value_of(const struct json *v)
{
    return (yyjson_val *)(uintptr_t)v;
}

static const struct json *json_of(const yyjson_val *v)
{
    return (const struct json *)v;
}

const struct json *json_root(const struct json_doc *doc)
{
    return doc != NULL ? json_of(yyjson_doc_get_root(doc->tree)) : NULL;
}

enum json_type json_type(const struct json *v)
{
    switch (yyjson_get_type(value_of(v))) {
    case YYJSON_TYPE_BOOL:
        return JSON_BOOL;
    case YYJSON_TYPE_RAW:
    case YYJSON_TYPE_NUM:
        return JSON_NUMBER;
    case YYJSON_TYPE_STR:
        return JSON_STRING;
    case YYJSON_TYPE_ARR:
        return JSON_ARRAY;
    case YYJSON_TYPE_OBJ:
        return JSON_OBJECT;
    default:
        return JSON_NULL;
    }
}

const char *json_type_name(const struct json *v)
{
    static const char *const names[] = {
        [JSON_NULL] = "null",     [JSON_BOOL] = "boolean", [JSON_NUMBER] = "number",
        [JSON_STRING] = "string", [JSON_ARRAY] = "array",  [JSON_OBJECT] = "object",
    };
    return names[json_type(v)];
}

struct str json_string(const struct json *v)
{
    if (json_type(v) != JSON_STRING)
        return (struct str){"", 0};
    return (struct str){unsafe_yyjson_get_str(value_of(v)), unsafe_yyjson_get_len(value_of(v))};
}

bool json_bool(const struct json *v)
{
    return yyjson_get_bool(value_of(v));
}

/* The number as it was written; terminated (yyjson puts a zero behind raw values). */
static struct str number_text(const struct json *v)
{
    if (json_type(v) != JSON_NUMBER)
        return STR("0");
    return (struct str){unsafe_yyjson_get_raw(value_of(v)), unsafe_yyjson_get_len(value_of(v))};
}

static bool has_only_digits(struct str number)
{
    for (size_t i = 0; i < number.len; i++)
        if (number.ptr[i] == '.' || number.ptr[i] == 'e' || number.ptr[i] == 'E')
            return false;
    return true;
}

double json_number(const struct json *v)
{
    return strtod(number_text(v).ptr, NULL);
}

bool json_is_integer(const struct json *v)
{
    if (json_type(v) != JSON_NUMBER)
        return false;
    if (has_only_digits(number_text(v)))
        return true;
    double x = json_number(v);
    return isfinite(x) && floor(x) == x;
}

int64_t json_integer(const struct json *v)
{
    struct str text = number_text(v);
    if (has_only_digits(text))
        return strtoll(text.ptr, NULL, 10); /* saturates by itself */
    double x = strtod(text.ptr, NULL);
    if (x >= 0x1p63)
        return INT64_MAX;
    if (x < -0x1p63)
        return INT64_MIN;
    return (int64_t)x;
}

size_t json_length(const struct json *v)
{
    enum json_type type = json_type(v);
    return type == JSON_ARRAY || type == JSON_OBJECT ? unsafe_yyjson_get_len(value_of(v)) : 0;
}

const struct json *json_get(const struct json *object, const char *key)
{
    if (json_type(object) != JSON_OBJECT)
        return NULL;
    const struct json *found = NULL;
    struct str wanted = str_from(key);
    for (struct json_iter it = json_iter(object); json_next(&it);)
        if (str_equal(it.key, wanted))
            found = it.value;
    return found;
}

struct json_iter json_iter(const struct json *container)
{
    size_t n = json_length(container);
    return (struct json_iter){
        .container = container,
        .left = n,
        .next = n > 0 ? json_of(unsafe_yyjson_get_first(value_of(container))) : NULL,
    };
}

bool json_next(struct json_iter *it)
{
    if (it->left == 0)
        return false;
    bool first = it->value == NULL;
    yyjson_val *at = value_of(it->next);
    if (json_type(it->container) == JSON_OBJECT) {
        it->key = json_string(json_of(at));
        at++; /* a key's value lies right behind it */
    }
    it->index = first ? 0 : it->index + 1;
    it->value = json_of(at);
    it->left--;
    if (it->left > 0)
        it->next = json_of(unsafe_yyjson_get_next(at));
    return true;
}

/* ---- Printing -------------------------------------------------------------------------------- */

struct member {
    struct str key;
    size_t index; /* in the object as it was received */
    const struct json *value;
};

/* One open container.  Objects printed in order of their keys have their members gathered first;
 * everything else is walked as it lies. */
struct print_frame {
    struct json_iter it;
    struct member *members; /* sorted, or NULL */
    size_t n_members;
    size_t at;
};

struct printer {
    struct strbuf *out;
    bool sorted;
    size_t depth;
    struct print_frame frames[LIMIT_JSON_DEPTH];
};

static int compare_members(const void *left, const void *right)
{
    const struct member *a = left, *b = right;
    size_t shared = a->key.len < b->key.len ? a->key.len : b->key.len;
    int order = shared > 0 ? memcmp(a->key.ptr, b->key.ptr, shared) : 0;
    if (order != 0)
        return order;
    if (a->key.len != b->key.len)
        return a->key.len < b->key.len ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

/* Gathers, sorts, and keeps the last member of each name.  False without memory. */
static bool sort_members(struct print_frame *frame, const struct json *object)
{
    size_t n = json_length(object);
    struct member *members = mem_try_alloc(mem_array_bytes(n, sizeof *members));
    if (members == NULL)
        return false;
    for (struct json_iter it = json_iter(object); json_next(&it);)
        members[it.index] = (struct member){it.key, it.index, it.value};
    qsort(members, n, sizeof *members, compare_members);

    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (i + 1 == n || !str_equal(members[i].key, members[i + 1].key))
            members[kept++] = members[i];
    frame->members = members;
    frame->n_members = kept;
    return true;
}

/* A number in the one form that all its spellings share: 5, 5.0 and 5e0 are all "5". */
static void print_canonical_number(struct strbuf *out, const struct json *v)
{
    struct str text = number_text(v);
    double x = json_number(v);
    bool fits = json_is_integer(v) && x > -0x1p63 && x < 0x1p63;
    if (fits) {
        strbuf_printf(out, "%" PRId64, json_integer(v));
    } else if (has_only_digits(text) || !isfinite(x)) {
        strbuf_append_str(out, text);
    } else {
        struct json_out w;
        json_out_begin(&w, out);
        json_double(&w, x);
        json_out_end(&w);
    }
}

static void print_scalar(struct printer *p, const struct json *v)
{
    switch (json_type(v)) {
    case JSON_STRING:
        strbuf_append_char(p->out, '"');
        json_escape(p->out, json_string(v));
        strbuf_append_char(p->out, '"');
        break;
    case JSON_NUMBER:
        if (p->sorted)
            print_canonical_number(p->out, v);
        else
            strbuf_append_str(p->out, number_text(v));
        break;
    case JSON_BOOL:
        strbuf_append_cstr(p->out, json_bool(v) ? "true" : "false");
        break;
    default:
        strbuf_append_cstr(p->out, "null");
        break;
    }
}

static void print_value(struct printer *p, const struct json *v)
{
    enum json_type type = json_type(v);
    if (type != JSON_ARRAY && type != JSON_OBJECT) {
        print_scalar(p, v);
        return;
    }
    INVARIANT(p->depth < LIMIT_JSON_DEPTH); /* json_parse has seen to that */
    struct print_frame *frame = &p->frames[p->depth];
    *frame = (struct print_frame){.it = json_iter(v)};
    if (p->sorted && type == JSON_OBJECT && !sort_members(frame, v)) {
        p->out->failed = true;
        return;
    }
    p->depth++;
    strbuf_append_char(p->out, type == JSON_ARRAY ? '[' : '{');
}

/* The next member of the innermost container; false at its end. */
static bool next_member(struct print_frame *frame, struct member *out)
{
    if (frame->members != NULL) {
        if (frame->at == frame->n_members)
            return false;
        *out = frame->members[frame->at++];
        return true;
    }
    if (!json_next(&frame->it))
        return false;
    frame->at++;
    *out = (struct member){.key = frame->it.key, .value = frame->it.value};
    return true;
}

static void print_tree(struct strbuf *out, const struct json *v, bool sorted)
{
    struct printer p;
    p.out = out;
    p.sorted = sorted;
    p.depth = 0;
    print_value(&p, v);
    while (p.depth > 0) {
        struct print_frame *frame = &p.frames[p.depth - 1];
        bool is_object = json_type(frame->it.container) == JSON_OBJECT;
        struct member member;
        if (!next_member(frame, &member)) {
            mem_free(frame->members);
            strbuf_append_char(out, is_object ? '}' : ']');
            p.depth--;
            continue;
        }
        if (frame->at > 1)
            strbuf_append_char(out, ',');
        if (is_object) {
            strbuf_append_char(out, '"');
            json_escape(out, member.key);
            strbuf_append_cstr(out, "\":");
        }
        print_value(&p, member.value);
    }
}

void json_print(struct strbuf *out, const struct json *v)
{
    print_tree(out, v, false);
}

void json_print_sorted(struct strbuf *out, const struct json *v)
{
    print_tree(out, v, true);
}

/* ---- Paths in errors ------------------------------------------------------------------------- */

static void print_path(struct strbuf *out, const struct json_path *at)
{
    const struct json_path *parts[PATH_PARTS];
    size_t n = 0;
    for (; at != NULL && n < PATH_PARTS; at = at->parent)
        parts[n++] = at;
    for (size_t i = n; i > 0; i--) {
        if (i < n)
            strbuf_append_char(out, '.');
        if (parts[i - 1]->key != NULL)
            strbuf_append_cstr(out, parts[i - 1]->key);
        else
            strbuf_printf(out, "%zu", parts[i - 1]->index);
    }
}

enum status json_fail(const struct json_path *at, struct error *err, const char *fmt, ...)
{
    if (err == NULL)
        return STATUS_INVALID;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    err->status = STATUS_INVALID;
    if (at == NULL)
        return STATUS_INVALID;

    struct strbuf path;
    strbuf_init(&path, PATH_BYTES);
    print_path(&path, at);
    if (path.len > 0) /* nothing where there was no memory for it */
        error_wrap(err, "%s", strbuf_cstr(&path));
    strbuf_free(&path);
    return STATUS_INVALID;
}
