/* Any bytes as a model's reply: what comes out keeps what splitter.h and event.h promise.
 *
 * An input is `P F S reply`, where the first three bytes choose
 *   P  the format, prompts[] from 'a' on
 *   F  the options, bits from '@' on: was_cut, single_call, names_any, keep_thinking, omit_thinking
 *   S  the sizes of the pieces; '0': one byte each
 * so that the letters of a corpus file say what it is, and a finding comes back by itself.
 *
 * Checked are, of each reply:
 *   1. the grammar of events, and that deltas match their block and are UTF-8
 *   2. that the pieces change nothing
 *   3. that the input of a call is a JSON object of members that the schema knows, but of the last,
 *      cut call, of which it is none
 *   4. that no words are lost where there is no call, and none are said twice where there is */
#include "fuzz/fuzz.h"

#include <stdio.h>

#include "base/limits.h"
#include "base/utf8.h"
#include "model/model_toy.h"
#include "prompt/splitter.h"
#include "prompt/text_tools.h"
#include "support/templates.h"
#include "wire/json_in.h"

enum {
    HEAD_BYTES = 3,
    REPLY_BYTES = 16 * 1024,
    SAID_BYTES = 4 * 1024 * 1024,
};

enum {
    WAS_CUT = 1,
    SINGLE_CALL = 2,
    NAMES_ANY = 4,
    KEEP_THINKING = 8,
    OMIT_THINKING = 16,
};

/* ---- The formats ---- */

#define READ_SCHEMA                                                                                \
    "{\"type\":\"object\",\"properties\":{\"path\":{\"type\":\"string\"},\"limit\":{\"type\":"     \
    "\"integer\"}},\"required\":[\"path\"]}"
#define EDIT_SCHEMA                                                                                \
    "{\"type\":\"object\",\"properties\":{\"file_path\":{\"type\":\"string\"},\"edits\":{"         \
    "\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"all\":{\"type\":\"boolean\"},"          \
    "\"mode\":{\"type\":\"string\",\"enum\":[\"\",\"x\"]},\"options\":{\"type\":\"object\"},"      \
    "\"count\":{\"type\":[\"number\",\"null\"]}},\"required\":[\"file_path\"]}"
#define ANY_SCHEMA "{\"type\":\"object\"}"

#define CALL(name, schema) {{name, sizeof name - 1}, {schema, sizeof schema - 1}, {0}}
static const struct grammar_call tools[] = {
    CALL("Read", READ_SCHEMA),
    CALL("Edit", EDIT_SCHEMA),
    CALL("Any", ANY_SCHEMA),
};
#undef CALL

enum { N_TOOLS = sizeof tools / sizeof tools[0] };

/* Harmony: all words stand in channels. */
#define TEMPLATE_CHANNELS                                                                          \
    "{% for m in messages %}{{ '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}"    \
    "{% endfor %}{% if tools %}{% for t in tools %}{{ t | tojson }}{% endfor %}{% endif %}"        \
    "{# <|channel|>analysis<|message|> #}"                                                         \
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"

struct format {
    const char *chat_template; /* NULL: none, only the marks below; "": the toy's */
    const char *thinking_start, *thinking_end, *generation_prompt;
    enum chat_tool_choice choice;
    bool thinks;
    bool text_tools;
};

static const struct format formats[] = {
    /* a */ {.thinking_start = "", .thinking_end = "", .generation_prompt = ""},
    /* b */ {.thinking_start = "<think>", .thinking_end = "</think>", .generation_prompt = ""},
    /* c */
    {.thinking_start = "<think>", .thinking_end = "</think>", .generation_prompt = "<think>\n"},
    /* d */ {.chat_template = ""},
    /* e */ {.chat_template = "", .choice = CHAT_TOOLS_REQUIRED},
    /* f */ {.chat_template = FIXTURE_THINKING, .thinks = true},
    /* g */ {.chat_template = FIXTURE_THINKING, .choice = CHAT_TOOLS_REQUIRED},
    /* h */ {.chat_template = FIXTURE_TAGGED},
    /* i */ {.chat_template = FIXTURE_LLAMA3},
    /* j */ {.chat_template = FIXTURE_LLAMA3, .choice = CHAT_TOOLS_REQUIRED},
    /* k */ {.chat_template = FIXTURE_MISTRAL},
    /* l */ {.chat_template = FIXTURE_CHATML, .text_tools = true},
    /* m */ {.chat_template = FIXTURE_CHATML, .text_tools = true, .choice = CHAT_TOOLS_REQUIRED},
    /* n */ {.chat_template = TEMPLATE_CHANNELS, .thinks = true},
};

enum { N_FORMATS = sizeof formats / sizeof formats[0] };

static struct chat_prompt prompts[N_FORMATS];

/* The grammar of tools that were told as text; the template, which was shown none, gave none. */
static void use_text_tools(const struct format *f, const struct chat_tool *offered,
                           struct chat_prompt *out)
{
    mem_free((void *)(uintptr_t)out->grammar.text.ptr);
    mem_free((void *)(uintptr_t)out->grammar.prefix.ptr);
    mem_free((void *)(uintptr_t)out->grammar.triggers);
    text_tools_grammar(offered, N_TOOLS, f->choice == CHAT_TOOLS_REQUIRED, true, &out->grammar);
}

static void render(const struct format *f, struct chat_prompt *out)
{
    struct model_toy_options options = {.n_cells = 64, .n_sequences = 2};
    struct model *toy = model_toy_create(&options);
    struct chat_template *t;
    struct chat_message ask = {.role = "user", .content = STR("?")};
    struct chat_tool offered[N_TOOLS];
    for (size_t i = 0; i < N_TOOLS; i++)
        offered[i] = (struct chat_tool){tools[i].name, STR("Does."), tools[i].schema_json, STR("")};
    struct chat_inputs in = {
        .messages = &ask,
        .n_messages = 1,
        .tools = f->text_tools ? NULL : offered,
        .n_tools = f->text_tools ? 0 : N_TOOLS,
        .tool_choice = f->choice,
        .parallel_calls = true,
        .enable_thinking = f->thinks,
    };
    struct str source =
        f->chat_template[0] == '\0' ? toy->info.chat_template : str_from(f->chat_template);
    INVARIANT(chat_template_create(source, "", "", &t, NULL) == STATUS_OK);
    INVARIANT(chat_render(t, &in, out, NULL) == STATUS_OK);
    if (f->text_tools)
        use_text_tools(f, offered, out);
    chat_template_free(t);
    model_destroy(toy);
}

static const struct chat_prompt *prompt_of(size_t i)
{
    const struct format *f = &formats[i];
    struct chat_prompt *p = &prompts[i];
    if (p->generation_prompt != NULL)
        return p;
    if (f->chat_template != NULL) {
        render(f, p);
        return p;
    }
    p->thinking_start = mem_strdup(f->thinking_start);
    p->thinking_end = mem_strdup(f->thinking_end);
    p->generation_prompt = mem_strdup(f->generation_prompt);
    return p;
}

/* ---- What was said ---- */

struct said {
    struct strbuf log;   /* all blocks, in a notation that shows each border */
    struct strbuf words; /* text and thinking */
    struct strbuf input; /* of the newest call */
    struct strbuf name;  /* and its tool */
    size_t n_calls;
    bool is_open, was_broken;
    enum event_block kind;
};

static void said_init(struct said *s)
{
    *s = (struct said){0};
    strbuf_init(&s->log, SAID_BYTES);
    strbuf_init(&s->words, SAID_BYTES);
    strbuf_init(&s->input, SAID_BYTES);
    strbuf_init(&s->name, SAID_BYTES);
}

static void said_free(struct said *s)
{
    strbuf_free(&s->log);
    strbuf_free(&s->words);
    strbuf_free(&s->input);
    strbuf_free(&s->name);
}

static bool knows_member(struct str schema_json, struct str key)
{
    struct json_doc *schema;
    INVARIANT(json_parse_copy(schema_json, JSON_STRICT, &schema, NULL) == STATUS_OK);
    const struct json *properties = json_get(json_root(schema), "properties");
    bool knows = properties == NULL;
    for (struct json_iter it = json_iter(properties); json_next(&it);)
        knows = knows || str_equal(it.key, key);
    json_doc_free(schema);
    return knows;
}

static bool is_object(struct str text)
{
    struct json_doc *doc;
    if (json_parse_copy(text, JSON_STRICT, &doc, NULL) != STATUS_OK)
        return false;
    bool is = json_type(json_root(doc)) == JSON_OBJECT;
    json_doc_free(doc);
    return is;
}

/* The input of a call that may run. */
static void check_input(const struct said *s)
{
    struct json_doc *doc;
    INVARIANT(is_object(strbuf_str(&s->input)));
    INVARIANT(json_parse_copy(strbuf_str(&s->input), JSON_STRICT, &doc, NULL) == STATUS_OK);
    for (size_t i = 0; i < N_TOOLS; i++)
        if (str_equal(tools[i].name, strbuf_str(&s->name)))
            for (struct json_iter it = json_iter(json_root(doc)); json_next(&it);)
                INVARIANT(knows_member(tools[i].schema_json, it.key));
    json_doc_free(doc);
}

static void take_start(struct said *s, const struct event *ev, const struct splitter_options *o)
{
    static const char letters[] = {
        [EVENT_BLOCK_TEXT] = 'T', [EVENT_BLOCK_THINKING] = 'K', [EVENT_BLOCK_TOOL_USE] = 'C'};
    INVARIANT(!s->is_open);
    s->is_open = true;
    s->kind = ev->block;
    strbuf_printf(&s->log, "\n%c(", letters[ev->block]);
    INVARIANT(ev->block != EVENT_BLOCK_THINKING || o->keep_thinking);
    bool is_call = ev->block == EVENT_BLOCK_TOOL_USE;
    INVARIANT((ev->name.len > 0) == is_call && utf8_valid(ev->name));
    INVARIANT(str_starts_with(ev->id, STR("toolu_")) == is_call);
    if (!is_call)
        return;
    if (s->n_calls > 0)
        check_input(s); /* only the last may be cut */
    INVARIANT(o->n_tools > 0);
    s->n_calls++;
    strbuf_clear(&s->input);
    strbuf_clear(&s->name);
    strbuf_append_str(&s->name, ev->name);
    strbuf_append_str(&s->log, ev->name);
    strbuf_append_char(&s->log, ',');
}

static void take_delta(struct said *s, const struct event *ev, const struct splitter_options *o)
{
    static const enum event_block kinds[] = {
        [EVENT_TEXT] = EVENT_BLOCK_TEXT,
        [EVENT_THINKING] = EVENT_BLOCK_THINKING,
        [EVENT_TOOL_INPUT] = EVENT_BLOCK_TOOL_USE,
    };
    INVARIANT(s->is_open && kinds[ev->type] == s->kind);
    INVARIANT(ev->text.len > 0 && utf8_valid(ev->text));
    INVARIANT(ev->type != EVENT_THINKING || !o->omit_thinking);
    strbuf_append_str(&s->log, ev->text);
    strbuf_append_str(ev->type == EVENT_TOOL_INPUT ? &s->input : &s->words, ev->text);
}

static void take_stop(struct said *s, const struct event *ev)
{
    INVARIANT(s->is_open);
    s->is_open = false;
    bool is_signed = str_starts_with(ev->signature, STR("pv1."));
    INVARIANT(is_signed == (s->kind == EVENT_BLOCK_THINKING));
    INVARIANT(is_signed || ev->signature.len == 0);
    strbuf_append_char(&s->log, ')');
    strbuf_append_str(&s->log, ev->signature);
}

static void drain(struct splitter *splitter, const struct splitter_options *o, struct said *s)
{
    struct event ev;
    while (splitter_next(splitter, &ev)) {
        switch (ev.type) {
        case EVENT_BLOCK_START:
            take_start(s, &ev, o);
            break;
        case EVENT_TEXT:
        case EVENT_THINKING:
        case EVENT_TOOL_INPUT:
            take_delta(s, &ev, o);
            break;
        case EVENT_BLOCK_STOP:
            take_stop(s, &ev);
            break;
        case EVENT_SUMMARY:
        case EVENT_DONE:
        case EVENT_FAILED:
            INVARIANT(ev.type == EVENT_BLOCK_STOP); /* the others are the turn's */
        }
    }
}

/* xorshift64*, as in replay.c. */
static uint64_t draw(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1Dull;
}

/* The reply in pieces: `seed` 0 is the whole at once, 1 byte by byte. */
static void split(const struct splitter_options *o, struct str reply, bool was_cut, unsigned seed,
                  struct said *out)
{
    struct splitter *s = splitter_create(o);
    uint64_t state = seed * 0x9E3779B97F4A7C15ull + 1;
    size_t most = seed == 0 ? reply.len : seed == 1 ? 1 : 1 + draw(&state) % 48;
    said_init(out);
    for (size_t at = 0, n; at < reply.len; at += n) {
        n = seed == 0 ? reply.len : 1 + draw(&state) % most;
        n = n < reply.len - at ? n : reply.len - at;
        splitter_feed(s, (struct str){reply.ptr + at, n});
        drain(s, o, out);
    }
    splitter_finish(s, was_cut);
    drain(s, o, out);
    INVARIANT(!out->is_open && out->log.failed == false);
    out->was_broken = splitter_is_broken(s);
    INVARIANT(splitter_called_tool(s) == (out->n_calls > 0));
    INVARIANT(!out->was_broken || out->n_calls > 0);
    INVARIANT(!o->single_call || out->n_calls <= 1);
    if (out->was_broken)
        INVARIANT(!is_object(strbuf_str(&out->input)));
    else if (out->n_calls > 0)
        check_input(out);
    splitter_free(s);
}

/* ---- The words ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t blank_head(struct str s)
{
    size_t n = 0;
    while (n < s.len && is_blank(s.ptr[n]))
        n++;
    return n;
}

static struct str from(struct str s, size_t at)
{
    return (struct str){s.ptr + at, s.len - at};
}

/* A reply without calls, of a format without channels: the words that must be said, as the marks of
 * thinking alone divide it. */
static void expect_words(const struct splitter_options *o, struct str reply, struct strbuf *out)
{
    struct str start = str_from(o->prompt->thinking_start), end = str_from(o->prompt->thinking_end);
    struct str written = str_from(o->prompt->generation_prompt);
    bool is_inside =
        start.len > 0 && str_find(written, start) != SIZE_MAX && str_find(written, end) == SIZE_MAX;
    for (;;) { /* more thinking may follow, where there are no words in between */
        size_t blank = blank_head(reply);
        if (!is_inside && start.len > 0 && str_starts_with(from(reply, blank), start)) {
            is_inside = true;
            reply = from(reply, blank + start.len);
        }
        if (!is_inside)
            break;
        size_t at = str_find(reply, end);
        struct str thinking = {reply.ptr, at == SIZE_MAX ? reply.len : at};
        if (o->keep_thinking && !o->omit_thinking)
            utf8_append_clean(out, thinking);
        reply = at == SIZE_MAX ? from(reply, reply.len) : from(reply, at + end.len);
        is_inside = false;
    }
    utf8_append_clean(out, reply);
}

/* Whether `part` is `whole` with something left out; white space aside, whole where `is_all`. */
static bool is_part(struct str part, struct str whole, bool is_all)
{
    size_t at = 0;
    for (size_t i = 0; i < part.len; i++) {
        if (is_blank(part.ptr[i]))
            continue;
        while (at < whole.len && whole.ptr[at] != part.ptr[i] &&
               (!is_all || is_blank(whole.ptr[at])))
            at++;
        if (at == whole.len || whole.ptr[at++] != part.ptr[i])
            return false;
    }
    return !is_all || blank_head(from(whole, at)) == whole.len - at;
}

/* A finding says what it found. */
static bool holds(bool is_true, const struct strbuf *a, const struct strbuf *b)
{
    for (int i = 0; i < 2 && !is_true; i++) {
        const struct strbuf *each = i == 0 ? a : b;
        fprintf(stderr, "\n%s: ", i == 0 ? "one" : "the other");
        fwrite(strbuf_cstr(each), 1, each->len, stderr);
    }
    return is_true;
}

static void check_words(const struct splitter_options *o, struct str reply, const struct said *s,
                        bool has_channels)
{
    struct strbuf words;
    strbuf_init(&words, SAID_BYTES);
    if (s->n_calls > 0 || has_channels)
        utf8_append_clean(&words, reply);
    else
        expect_words(o, reply, &words);
    bool is_kept =
        is_part(strbuf_str(&s->words), strbuf_str(&words), s->n_calls == 0 && !has_channels);
    INVARIANT(holds(is_kept, &s->words, &words));
    strbuf_free(&words);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    if (n < HEAD_BYTES || n > HEAD_BYTES + REPLY_BYTES)
        return 0;
    size_t format = (size_t)(uint8_t)(bytes[0] - 'a') % N_FORMATS;
    unsigned flags = bytes[1];
    struct splitter_options options = {
        .prompt = prompt_of(format),
        .tools = tools,
        .n_tools = formats[format].chat_template != NULL ? N_TOOLS : 0,
        .text_tools = formats[format].text_tools,
        .names_any = (flags & NAMES_ANY) != 0,
        .single_call = (flags & SINGLE_CALL) != 0,
        .keep_thinking = (flags & KEEP_THINKING) != 0,
        .omit_thinking = (flags & OMIT_THINKING) != 0,
    };
    struct str reply = {(const char *)bytes + HEAD_BYTES, n - HEAD_BYTES};
    bool was_cut = (flags & WAS_CUT) != 0;
    struct said whole, pieces;
    split(&options, reply, was_cut, 0, &whole);
    split(&options, reply, was_cut, 1 + (uint8_t)(bytes[2] - '0'), &pieces);
    bool is_same = str_equal(strbuf_str(&whole.log), strbuf_str(&pieces.log));
    INVARIANT(holds(is_same, &whole.log, &pieces.log));
    INVARIANT(whole.was_broken == pieces.was_broken);
    bool has_channels = str_find(str_from(options.prompt->thinking_start), STR("<|channel")) == 0;
    check_words(&options, reply, &whole, has_channels);
    said_free(&whole);
    said_free(&pieces);
    return 0;
}
