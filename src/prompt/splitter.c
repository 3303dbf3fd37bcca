/* splitter -- see splitter.h.
 *
 *      state      what the bytes are             leaves by
 *      TEXT       words for the user             a thinking mark, a tool mark
 *      THINKING   reasoning                      the end mark
 *      SECTION    tool calls, from a mark on     only the end of the reply
 *      WHOLE      anything, from the first byte  only the end of the reply
 *
 * In TEXT, white space at the end is held back with what may begin a mark: before a call it belongs
 * to nobody.  In SECTION and WHOLE the template's parser reads the whole reply again each time it
 * has grown by an eighth, so the cost of all readings together stays within nine times the last
 * one. WHOLE is for replies that no mark divides: calls that begin with the reply, as where one
 * must come, and formats that wrap words too (channels). */
#include "prompt/splitter.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "prompt/text_tools.h"

enum {
    MOST_MARKS = 16,
    GROWTH = 8,        /* read again after 1/8 more ... */
    LEAST_GROWTH = 32, /* ... and at least so many bytes */
    SALVAGE_TRIES = 32,
    ID_BYTES = 32,
};

enum state {
    STATE_TEXT,
    STATE_THINKING,
    STATE_SECTION,
    STATE_WHOLE,
};

struct pending {
    struct event event;
    char *text; /* owned; event.text, .name or .signature points into it */
    char id[ID_BYTES];
};

struct splitter {
    struct splitter_options options;
    enum state state;
    struct strbuf reply; /* all of it, as sampled */
    size_t scanned;      /* bytes of it that were passed on or belong to a mark */

    struct str marks[MOST_MARKS]; /* of tool sections; strings in mark_storage */
    size_t n_marks;
    struct strbuf mark_storage;
    struct str thinking_start, thinking_end; /* len 0: none */

    bool is_open; /* a block is open */
    enum event_block kind;
    struct strbuf thinking; /* of the open block, for its signature */
    bool says_text;         /* something but white space was passed on as text */
    bool is_finishing;      /* no more bytes will come: a reading is the last */
    bool skips_blank;       /* thinking has just ended: the blank lines behind it are nobody's */

    size_t section_begin;
    size_t next_read;                    /* reply length at which to read again */
    size_t n_calls;                      /* calls begun */
    struct strbuf sent;                  /* arguments passed on of the last call begun */
    size_t said_content, said_reasoning; /* WHOLE: bytes of a reading that were passed on, or were
                                            there before the reply began (a continued message) */

    struct pending *events; /* ring-less: filled, then drained */
    size_t n_events, events_capacity, next_event;
};

/* ---- Events ---- */

static struct pending *push(struct splitter *s, enum event_type type, struct str text)
{
    if (s->n_events == s->events_capacity) {
        s->events_capacity = s->events_capacity == 0 ? 16 : s->events_capacity * 2;
        s->events = mem_realloc(s->events, mem_array_bytes(s->events_capacity, sizeof *s->events));
    }
    struct pending *p = &s->events[s->n_events++];
    *p = (struct pending){.event.type = type};
    p->text = mem_strndup(text.len > 0 ? text.ptr : "", text.len);
    p->event.text = (struct str){p->text, text.len};
    return p;
}

static void close_block(struct splitter *s)
{
    if (!s->is_open)
        return;
    char signature[40] = "";
    if (s->kind == EVENT_BLOCK_THINKING)
        snprintf(signature, sizeof signature, "pv1.%016llx",
                 (unsigned long long)hash_xxh3(strbuf_cstr(&s->thinking), s->thinking.len, 0));
    struct pending *p = push(s, EVENT_BLOCK_STOP, str_from(signature));
    p->event.signature = p->event.text;
    p->event.text = (struct str){0};
    s->is_open = false;
}

static void open_block(struct splitter *s, enum event_block kind, struct str name)
{
    close_block(s);
    struct pending *p = push(s, EVENT_BLOCK_START, name);
    p->event.block = kind;
    p->event.name = p->event.text;
    p->event.text = (struct str){0};
    if (kind == EVENT_BLOCK_TOOL_USE)
        random_id(p->id, sizeof p->id, "toolu_");
    s->is_open = true;
    s->kind = kind;
    strbuf_clear(&s->thinking);
}

static bool is_blank(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (strchr(" \t\r\n", s.ptr[i]) == NULL)
            return false;
    return true;
}

/* Passes words on, opening their block where none is.  White space alone opens none. */
static void say(struct splitter *s, enum event_block kind, struct str words)
{
    if (words.len == 0 || (kind == EVENT_BLOCK_THINKING && !s->options.keep_thinking))
        return;
    if (!s->is_open || s->kind != kind) {
        bool skips = kind == EVENT_BLOCK_THINKING || s->skips_blank;
        while (words.len > 0 && skips && is_blank((struct str){words.ptr, 1})) {
            words.ptr++;
            words.len--;
        }
        if (is_blank(words))
            return;
        s->skips_blank = false;
        open_block(s, kind, (struct str){0});
    }
    struct strbuf clean;
    strbuf_init(&clean, LIMIT_REPLY_BYTES);
    utf8_append_clean(&clean, words);
    if (kind == EVENT_BLOCK_THINKING)
        strbuf_append_str(&s->thinking, strbuf_str(&clean));
    else
        s->says_text = true;
    push(s, kind == EVENT_BLOCK_THINKING ? EVENT_THINKING : EVENT_TEXT, strbuf_str(&clean));
    strbuf_free(&clean);
}

/* ---- Tool sections ---- */

/* Passes on what `arguments` has more than was sent; a text that is no continuation of it is not
 * ready yet. */
static void send_arguments(struct splitter *s, struct str arguments)
{
    if (arguments.len <= s->sent.len || !str_starts_with(arguments, strbuf_str(&s->sent)))
        return;
    struct str more = {arguments.ptr + s->sent.len, arguments.len - s->sent.len};
    more.len -= utf8_incomplete_tail(more);
    if (more.len == 0)
        return;
    strbuf_append_str(&s->sent, more);
    push(s, EVENT_TOOL_INPUT, more);
}

static void begin_call(struct splitter *s, struct str name)
{
    open_block(s, EVENT_BLOCK_TOOL_USE, name);
    s->n_calls++;
    strbuf_clear(&s->sent);
}

static void end_call(struct splitter *s)
{
    if (!s->is_open || s->kind != EVENT_BLOCK_TOOL_USE)
        return;
    if (s->sent.len == 0)
        send_arguments(s, STR("{}"));
    close_block(s);
}

/* Passes on what a reading shows that was not passed on yet.  Of the last call only its arguments
 * count as begun, unless the reading is the last. */
static void take_reading(struct splitter *s, const struct chat_reply *r, bool is_last)
{
    size_t n = s->options.single_call && r->n_calls > 1 ? 1 : r->n_calls;
    for (size_t i = s->n_calls > 0 ? s->n_calls - 1 : 0; i < n; i++) {
        const struct chat_call *call = &r->calls[i];
        bool is_whole = is_last || i + 1 < r->n_calls;
        if (call->name.len == 0 || (call->arguments_json.len == 0 && !is_whole))
            return;
        if (i >= s->n_calls)
            begin_call(s, call->name);
        send_arguments(s, call->arguments_json);
        if (is_whole && i + 1 < r->n_calls)
            end_call(s);
    }
}

static size_t blank_tail(struct str s)
{
    size_t n = 0;
    while (n < s.len && strchr(" \t\r\n", s.ptr[s.len - n - 1]) != NULL)
        n++;
    return n;
}

/* Of words that a reading shows: what is new and can't change any more. */
static void say_more(struct splitter *s, enum event_block kind, struct str words, size_t *said,
                     bool is_last)
{
    if (!is_last) {
        words.len -= utf8_incomplete_tail(words);
        words.len -= blank_tail(words);
    }
    if (words.len <= *said)
        return;
    say(s, kind, (struct str){words.ptr + *said, words.len - *said});
    *said = words.len;
}

static void take_words(struct splitter *s, const struct chat_reply *r, bool is_last)
{
    if (s->state != STATE_WHOLE || s->n_calls > 0)
        return;
    bool has_more = r->content.len > s->said_content || r->n_calls > 0;
    say_more(s, EVENT_BLOCK_THINKING, r->reasoning, &s->said_reasoning, is_last || has_more);
    struct str content = r->content;
    if (r->n_calls > 0)
        content.len -= blank_tail(content); /* before a call it belongs to nobody */
    say_more(s, EVENT_BLOCK_TEXT, content, &s->said_content, is_last);
}

/* Reads the first `len` bytes and passes on what is new, if there are at least `least_calls`. */
static bool read_reply(struct splitter *s, size_t len, bool is_partial, size_t least_calls)
{
    bool is_last = s->is_finishing;
    struct chat_reply r;
    struct str reply = {strbuf_cstr(&s->reply), len};
    if (chat_parse(s->options.prompt, reply, is_partial, &r) != STATUS_OK)
        return false;
    bool has_enough = r.n_calls >= least_calls;
    if (has_enough) {
        take_words(s, &r, is_last);
        take_reading(s, &r, is_last);
    }
    chat_reply_free(&r);
    return has_enough;
}

static void read_section(struct splitter *s)
{
    if (s->reply.len < s->next_read)
        return;
    size_t growth = s->reply.len / GROWTH;
    s->next_read = s->reply.len + (growth > LEAST_GROWTH ? growth : LEAST_GROWTH);
    (void)read_reply(s, s->reply.len, true, 0);
}

static void say_raw(struct splitter *s, struct str words)
{
    if (!is_blank(words))
        say(s, EVENT_BLOCK_TEXT, words);
}

/* Where the template's parser finds nothing: calls between the plain marks.  What is no call is
 * passed on as it is. */
static void read_plain_calls(struct splitter *s)
{
    struct str rest = {s->reply.data + s->section_begin, s->reply.len - s->section_begin};
    struct strbuf name, arguments;
    strbuf_init(&name, 4096);
    strbuf_init(&arguments, LIMIT_REPLY_BYTES);
    while (rest.len > 0) {
        size_t begin = str_find(rest, STR(TEXT_TOOLS_CALL_BEGIN));
        if (begin == SIZE_MAX)
            break;
        size_t skip = begin + sizeof TEXT_TOOLS_CALL_BEGIN - 1;
        struct str body = {rest.ptr + skip, rest.len - skip};
        size_t end = str_find(body, STR(TEXT_TOOLS_CALL_END));
        size_t next = end == SIZE_MAX ? rest.len : skip + end + sizeof TEXT_TOOLS_CALL_END - 1;
        body.len = end == SIZE_MAX ? body.len : end;
        strbuf_clear(&name);
        strbuf_clear(&arguments);
        if (text_tools_parse(body, &name, &arguments) != STATUS_OK) {
            say_raw(s, (struct str){rest.ptr, next});
        } else {
            say_raw(s, (struct str){rest.ptr, begin});
            if (!(s->options.single_call && s->n_calls > 0)) {
                begin_call(s, strbuf_str(&name));
                send_arguments(s, strbuf_str(&arguments));
                end_call(s);
            }
        }
        rest.ptr += next;
        rest.len -= next;
    }
    say_raw(s, rest);
    strbuf_free(&arguments);
    strbuf_free(&name);
}

/* The parser does not take the reply as a whole: it is read up to the last place where it does, if
 * that holds a call, and what stands behind is passed on as text. */
static bool salvage(struct splitter *s)
{
    size_t least_calls = s->n_calls > 0 ? s->n_calls : 1;
    size_t tries = SALVAGE_TRIES;
    for (size_t len = s->reply.len; len > s->section_begin && tries > 0; len--) {
        if (strchr(">}]", s->reply.data[len - 1]) == NULL)
            continue;
        tries--;
        if (!read_reply(s, len, false, least_calls))
            continue;
        end_call(s);
        say_raw(s, (struct str){s->reply.data + len, s->reply.len - len});
        return true;
    }
    return false;
}

static void finish_section(struct splitter *s, bool was_cut)
{
    s->is_finishing = true;
    bool is_read = read_reply(s, s->reply.len, was_cut, 0) || (!was_cut && salvage(s));
    if (!is_read && (s->n_calls > 0 || s->state == STATE_WHOLE))
        (void)read_reply(s, s->reply.len, true, s->n_calls);
    end_call(s);
    bool has_said = s->n_calls > 0 || (s->state == STATE_WHOLE && s->says_text);
    if (!has_said) /* no call after all: nothing that was said is lost */
        read_plain_calls(s);
}

/* ---- Text and thinking ---- */

/* The unscanned bytes. */
static struct str rest_of(const struct splitter *s)
{
    return (struct str){strbuf_cstr(&s->reply) + s->scanned, s->reply.len - s->scanned};
}

struct hit {
    size_t at; /* in the rest, SIZE_MAX: none */
    size_t len;
    enum state next;
    size_t held; /* bytes at the end that may begin a mark */
};

static void look_for(struct hit *hit, struct str rest, struct str mark, enum state next)
{
    if (mark.len == 0)
        return;
    size_t at = str_find(rest, mark);
    if (at < hit->at)
        *hit = (struct hit){at, mark.len, next, 0};
    size_t held = str_partial_suffix(rest, mark);
    if (held > hit->held)
        hit->held = held;
}

static struct hit find_mark(const struct splitter *s, struct str rest)
{
    struct hit hit = {.at = SIZE_MAX};
    if (s->state == STATE_THINKING) {
        look_for(&hit, rest, s->thinking_end, STATE_TEXT);
        return hit;
    }
    if (!s->says_text) {
        /* Thinking comes first: behind words, its mark is one of them. */
        look_for(&hit, rest, s->thinking_start, STATE_THINKING);
        if (hit.at != SIZE_MAX && !is_blank((struct str){rest.ptr, hit.at}))
            hit = (struct hit){.at = SIZE_MAX};
    }
    for (size_t i = 0; i < s->n_marks; i++)
        look_for(&hit, rest, s->marks[i], STATE_SECTION);
    return hit;
}

static enum event_block kind_of(const struct splitter *s)
{
    return s->state == STATE_THINKING ? EVENT_BLOCK_THINKING : EVENT_BLOCK_TEXT;
}

/* Goes to the state behind a mark; the words before it are complete. */
static void pass_mark(struct splitter *s, struct str rest, const struct hit *hit)
{
    struct str before = {rest.ptr, hit->at};
    before.len -= blank_tail(before);
    say(s, kind_of(s), before);
    close_block(s);
    s->skips_blank = s->state == STATE_THINKING;
    s->state = hit->next;
    if (hit->next == STATE_SECTION) {
        s->section_begin = s->scanned + hit->at;
        s->scanned = s->section_begin;
        s->next_read = s->reply.len;
    } else {
        s->scanned += hit->at + hit->len;
    }
}

static void scan(struct splitter *s)
{
    while (s->state != STATE_SECTION && s->state != STATE_WHOLE) {
        struct str rest = rest_of(s);
        struct hit hit = find_mark(s, rest);
        if (hit.at != SIZE_MAX) {
            pass_mark(s, rest, &hit);
            continue;
        }
        struct str ready = {rest.ptr, rest.len - hit.held};
        ready.len -= utf8_incomplete_tail(ready);
        ready.len -= blank_tail(ready);
        say(s, kind_of(s), ready);
        s->scanned += ready.len;
        return;
    }
    read_section(s);
}

void splitter_feed(struct splitter *s, struct str bytes)
{
    strbuf_append_str(&s->reply, bytes);
    scan(s);
}

void splitter_finish(struct splitter *s, bool was_cut)
{
    scan(s);
    if (s->state == STATE_SECTION || s->state == STATE_WHOLE) {
        finish_section(s, was_cut);
    } else {
        say(s, kind_of(s), rest_of(s));
        s->scanned = s->reply.len;
    }
    close_block(s);
}

bool splitter_next(struct splitter *s, struct event *out)
{
    if (s->next_event == s->n_events) {
        for (size_t i = 0; i < s->n_events; i++)
            mem_free(s->events[i].text);
        s->n_events = s->next_event = 0;
        return false;
    }
    struct pending *p = &s->events[s->next_event++];
    p->event.id = str_from(p->id);
    *out = p->event;
    return true;
}

bool splitter_called_tool(const struct splitter *s)
{
    return s->n_calls > 0;
}

/* ---- Birth ---- */

static void add_mark(struct splitter *s, struct str mark)
{
    while (mark.len > 0 && is_blank((struct str){mark.ptr + mark.len - 1, 1}))
        mark.len--;
    while (mark.len > 0 && is_blank((struct str){mark.ptr, 1})) {
        mark.ptr++;
        mark.len--;
    }
    if (mark.len < 2 || s->n_marks == MOST_MARKS)
        return;
    for (size_t i = 0; i < s->n_marks; i++)
        if (str_equal(s->marks[i], mark))
            return;
    s->marks[s->n_marks++] = mark;
}

/* The literal text that every match of a pattern begins with. */
static struct str literal_prefix(struct splitter *s, struct str pattern)
{
    size_t begin = s->mark_storage.len;
    for (size_t i = 0; i < pattern.len; i++) {
        char c = pattern.ptr[i];
        if (c == '^' && i == 0)
            continue;
        if (c == '\\' && i + 1 < pattern.len && strchr("wsdbWSDBn", pattern.ptr[i + 1]) == NULL)
            c = pattern.ptr[++i];
        else if (strchr(".^$|()*+?[]{}\\", c) != NULL)
            break;
        if (i + 1 < pattern.len && strchr("*?{", pattern.ptr[i + 1]) != NULL)
            break; /* this character is optional */
        strbuf_append_char(&s->mark_storage, c);
    }
    return (struct str){strbuf_cstr(&s->mark_storage) + begin, s->mark_storage.len - begin};
}

static void learn_marks(struct splitter *s)
{
    const struct grammar_spec *g = &s->options.prompt->grammar;
    for (size_t i = 0; i < g->n_triggers; i++) {
        bool is_pattern = g->triggers[i].type == GRAMMAR_TRIGGER_PATTERN ||
                          g->triggers[i].type == GRAMMAR_TRIGGER_PATTERN_FULL;
        add_mark(s, is_pattern ? literal_prefix(s, g->triggers[i].text) : g->triggers[i].text);
    }
    if (s->n_marks == 0) {
        /* Formats without a mark: the call is the reply, as a bare JSON object. */
        add_mark(s, STR("{\"name\":"));
        add_mark(s, STR("{\"type\": \"function\""));
    }
    add_mark(s, STR(TEXT_TOOLS_CALL_BEGIN));
}

/* Whether marks can't tell words from calls. */
static bool needs_whole(const struct splitter *s)
{
    const struct chat_prompt *p = s->options.prompt;
    bool has_channels = str_find(s->thinking_start, STR("<|channel")) != SIZE_MAX;
    bool begins_with_call = s->options.has_tools && !s->options.text_tools &&
                            p->grammar.text.len > 0 && !p->grammar.lazy;
    return p->parser != NULL && (has_channels || begins_with_call);
}

/* A continued message is part of what the parser reads, but not of the reply. */
static void begin_whole(struct splitter *s)
{
    s->state = STATE_WHOLE;
    s->next_read = LEAST_GROWTH;
    struct chat_reply r;
    if (chat_parse(s->options.prompt, STR(""), true, &r) != STATUS_OK)
        return;
    s->said_content = r.content.len;
    s->said_reasoning = r.reasoning.len;
    chat_reply_free(&r);
}

struct splitter *splitter_create(const struct splitter_options *options)
{
    struct splitter *s = mem_zalloc(sizeof *s);
    s->options = *options;
    strbuf_init(&s->reply, LIMIT_REPLY_BYTES);
    strbuf_init(&s->thinking, LIMIT_REPLY_BYTES);
    strbuf_init(&s->sent, LIMIT_REPLY_BYTES);
    strbuf_init(&s->mark_storage, 64 * 1024);
    /* Marks point into the storage, which must not move: its room is made here. */
    for (size_t i = 0; i < 16 * 1024; i++)
        strbuf_append_char(&s->mark_storage, ' ');
    strbuf_clear(&s->mark_storage);

    const struct chat_prompt *p = options->prompt;
    s->thinking_start = str_from(p->thinking_start);
    s->thinking_end = str_from(p->thinking_end);
    if (s->thinking_end.len == 0)
        s->thinking_start.len = 0;
    if (options->has_tools)
        learn_marks(s);
    if (needs_whole(s)) {
        begin_whole(s);
    } else if (s->thinking_start.len > 0) {
        struct str written = str_from(p->generation_prompt);
        size_t start = str_find(written, s->thinking_start);
        if (start != SIZE_MAX && str_find(written, s->thinking_end) == SIZE_MAX)
            s->state = STATE_THINKING;
    }
    return s;
}

void splitter_free(struct splitter *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->n_events; i++)
        mem_free(s->events[i].text);
    mem_free(s->events);
    strbuf_free(&s->reply);
    strbuf_free(&s->thinking);
    strbuf_free(&s->sent);
    strbuf_free(&s->mark_storage);
    mem_free(s);
}
