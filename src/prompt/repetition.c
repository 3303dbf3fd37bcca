#include "prompt/repetition.h"

#include "base/limits.h"
#include "prompt/edits.h"
#include "wire/json_in.h"

static const struct tool *find_tool(const struct message_request *req, struct str name)
{
    for (size_t i = 0; i < req->n_tools; i++)
        if (str_equal(req->tools[i].name, name))
            return &req->tools[i];
    return NULL;
}

static bool print_equal(const struct json *a, const struct json *b)
{
    struct strbuf x, y;
    strbuf_init(&x, LIMIT_BODY_BYTES);
    strbuf_init(&y, LIMIT_BODY_BYTES);
    json_print_sorted(&x, a);
    json_print_sorted(&y, b);
    bool is_equal = str_equal(strbuf_str(&x), strbuf_str(&y));
    strbuf_free(&x);
    strbuf_free(&y);
    return is_equal;
}

static const struct json *member(const struct json *object, struct str key)
{
    for (struct json_iter it = json_iter(object); json_next(&it);)
        if (str_equal(it.key, key))
            return it.value;
    return NULL;
}

/* Equal in what the schema demands, as models play with the optional members; in everything where
 * it demands nothing. */
static bool inputs_equal(const struct json *schema, const struct json *a, const struct json *b)
{
    const struct json *required = json_get(schema, "required");
    if (json_type(required) != JSON_ARRAY || json_length(required) == 0)
        return print_equal(a, b);
    for (struct json_iter it = json_iter(required); json_next(&it);) {
        const struct json *x = member(a, json_string(it.value));
        const struct json *y = member(b, json_string(it.value));
        if (x == NULL || y == NULL || !print_equal(x, y))
            return false;
    }
    return true;
}

static bool calls_equal(const struct message_request *req, const struct block *a,
                        const struct block *b)
{
    if (!str_equal(a->name, b->name))
        return false;
    const struct tool *tool = find_tool(req, a->name);
    struct json_doc *schema = NULL, *x = NULL, *y = NULL;
    bool is_equal = false;
    if (json_parse_copy(tool != NULL ? tool->schema_json : STR("{}"), JSON_STRICT, &schema, NULL) ==
            STATUS_OK &&
        json_parse_copy(a->input_json, JSON_STRICT, &x, NULL) == STATUS_OK &&
        json_parse_copy(b->input_json, JSON_STRICT, &y, NULL) == STATUS_OK)
        is_equal = inputs_equal(json_root(schema), json_root(x), json_root(y));
    json_doc_free(schema);
    json_doc_free(x);
    json_doc_free(y);
    return is_equal;
}

static bool results_equal(const struct block *a, const struct block *b)
{
    if (a->is_error != b->is_error || a->n_content != b->n_content || edits_is_cleared(a))
        return false; /* what was taken out may have differed */
    for (size_t i = 0; i < a->n_content; i++)
        if (a->content[i].type != b->content[i].type ||
            !str_equal(a->content[i].text, b->content[i].text))
            return false;
    return true;
}

static const struct block *next_of(const struct message *m, enum block_type type, size_t *at)
{
    while (*at < m->n_blocks)
        if (m->blocks[(*at)++].type == type)
            return &m->blocks[*at - 1];
    return NULL;
}

/* Whether the blocks of `type` in two messages are equal, one by one, and there is one at least. */
static bool rounds_equal(const struct message_request *req, const struct message *a,
                         const struct message *b, enum block_type type)
{
    size_t at_a = 0, at_b = 0;
    const struct block *x = next_of(a, type, &at_a);
    const struct block *y = next_of(b, type, &at_b);
    if (x == NULL)
        return false;
    while (x != NULL && y != NULL) {
        bool is_equal = type == BLOCK_TOOL_USE ? calls_equal(req, x, y) : results_equal(x, y);
        if (!is_equal)
            return false;
        x = next_of(a, type, &at_a);
        y = next_of(b, type, &at_b);
    }
    return x == NULL && y == NULL;
}

/* A message that only brings results: whatever else the user says is a new wish. */
static bool only_results(const struct message *m)
{
    for (size_t i = 0; i < m->n_blocks; i++)
        if (m->blocks[i].type != BLOCK_TOOL_RESULT)
            return false;
    return m->n_blocks > 0;
}

bool repetition_at(const struct message_request *req, size_t at)
{
    if (at < 2 || at + 1 >= req->n_messages)
        return false;
    const struct message *m = &req->messages[at - 2];
    bool is_two_rounds = m[0].role == ROLE_ASSISTANT && m[1].role == ROLE_USER &&
                         m[2].role == ROLE_ASSISTANT && m[3].role == ROLE_USER &&
                         only_results(&m[1]) && only_results(&m[3]);
    return is_two_rounds && rounds_equal(req, &m[0], &m[2], BLOCK_TOOL_USE) &&
           rounds_equal(req, &m[1], &m[3], BLOCK_TOOL_RESULT);
}

bool repetition_found(const struct message_request *req)
{
    return req->n_messages >= 4 && repetition_at(req, req->n_messages - 2);
}

/* What the model is told in the place of the second round, and what it was asked for: between the
 * two, small models have lost sight of it. */
#define NOTE "This call was made twice, and this is its result. Answer from it now, in words"
static const struct str note = {NOTE, sizeof NOTE - 1};

enum { MOST_REQUEST_BYTES = 1000 /* a longer one is not repeated */ };

/* The last that the user said before message `at`; "" where it is nothing that could be repeated.
 * What stands in a tag of its own is the client's, not the user's. */
static struct str last_request(const struct message_request *req, size_t at)
{
    for (size_t i = at; i-- > 0;)
        for (size_t j = req->messages[i].n_blocks; req->messages[i].role == ROLE_USER && j-- > 0;) {
            const struct block *b = &req->messages[i].blocks[j];
            bool is_own = b->type == BLOCK_TEXT && b->text.len > 0 && b->text.ptr[0] != '<' &&
                          !str_starts_with(b->text, note);
            if (is_own)
                return b->text.len <= MOST_REQUEST_BYTES ? b->text : (struct str){0};
        }
    return (struct str){0};
}

/* Puts the note behind the results of message `at`, once. */
static bool add_note(struct message_request *req, size_t at, struct arena *arena)
{
    struct message *m = &req->messages[at];
    if (m->n_blocks > 0 && str_starts_with(m->blocks[m->n_blocks - 1].text, note))
        return true;
    struct block *blocks = arena_array(arena, m->n_blocks + 1, sizeof *blocks);
    struct str request = last_request(req, at);
    struct strbuf text;
    strbuf_init(&text, 2 * MOST_REQUEST_BYTES);
    strbuf_append_str(&text, note);
    strbuf_append_cstr(&text, request.len > 0 ? ": " : ".");
    strbuf_append_str(&text, request);
    struct str kept = text.failed ? (struct str){0} : arena_str(arena, strbuf_str(&text));
    strbuf_free(&text);
    if (blocks == NULL || kept.ptr == NULL)
        return false;
    memcpy(blocks, m->blocks, m->n_blocks * sizeof *blocks);
    blocks[m->n_blocks] = (struct block){.type = BLOCK_TEXT, .text = kept};
    m->blocks = blocks;
    m->n_blocks++;
    return true;
}

/* A copy of the request with room for all its messages; the first n are there. */
static struct message_request *copy_first(const struct message_request *req, size_t n,
                                          struct arena *arena)
{
    struct message_request *out = arena_array(arena, 1, sizeof *out);
    struct message *kept = arena_array(arena, req->n_messages, sizeof *kept);
    if (out == NULL || kept == NULL)
        return NULL;
    *out = *req;
    out->messages = kept;
    out->n_messages = n;
    memcpy(kept, req->messages, n * sizeof *kept);
    return out;
}

const struct message_request *repetition_left_out(const struct message_request *req,
                                                  struct arena *arena)
{
    struct message_request *out = NULL;
    for (size_t i = 0; i < req->n_messages; i++) {
        if (repetition_at(req, i)) {
            if (out == NULL)
                out = copy_first(req, i, arena);
            if (out == NULL || !add_note(out, out->n_messages - 1, arena))
                return NULL;
            i++; /* its results too */
        } else if (out != NULL) {
            out->messages[out->n_messages++] = req->messages[i];
        }
    }
    return out != NULL ? out : req;
}
