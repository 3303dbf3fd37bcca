/* splitter -- see splitter.h.
 *
 *      state      what the bytes are             leaves by
 *      TEXT       words for the user, or what    a thinking mark, a tool mark; anything where a
 *                 may be calls (held back)       call must come
 *      THINKING   reasoning                      the end mark
 *      SECTION    tool calls, from a mark on     only the end of the reply
 *      WHOLE      anything                       only the end of the reply
 *
 * In TEXT, white space at the end is held back with what may begin a mark: before a call it belongs
 * to nobody.  In SECTION and WHOLE the template's parser reads the whole reply again each time it
 * has grown by an eighth, so the cost of all readings together stays within nine times the last
 * one. WHOLE is for replies that no mark divides: calls that must come, of which the words before
 * are held back until one has, and formats that wrap words too (channels), from the first byte. */
#include "prompt/splitter.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "model/call_scan.h"
#include "prompt/call_mend.h"
#include "prompt/text_tools.h"
#include "wire/json_in.h"

enum {
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
    struct strbuf bytes; /* of a character that is not complete */
    struct strbuf reply; /* all of it, as UTF-8 */
    size_t scanned;      /* bytes of it that were passed on or belong to a mark */

    struct call_scan *scan; /* of the text; made with its first byte, NULL without tools */
    size_t scan_begin;      /* where in the reply the text begins */
    struct str thinking_start, thinking_end; /* len 0: none */
    bool has_channels;
    bool must_call; /* behind thinking comes WHOLE */

    bool is_open; /* a block is open */
    enum event_block kind;
    struct strbuf thinking; /* of the open block, for its signature */
    bool leaves_out;        /* thinking or a call was not passed on */
    bool says_text;         /* something but white space was passed on as text */
    bool is_finishing;      /* no more bytes will come: a reading is the last */
    bool skips_blank;       /* thinking has just ended: the blank lines behind it are nobody's */

    size_t section_begin;
    size_t next_read;                    /* reply length at which to read again */
    size_t n_calls;                      /* calls begun */
    size_t n_found;                      /* of these, before the section, by the scanner */
    struct call_mender *mender;          /* of the last call begun */
    struct strbuf sent;                  /* arguments passed on of it */
    bool is_open_ended;                  /* and they are not closed yet */
    size_t said_content, said_reasoning; /* WHOLE: bytes of a reading that were passed on, or were
                                            there before the reply began (a continued message) */
    bool has_said;                       /* and something was passed on */

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
    return str_trim_end(s).len == 0;
}

/* Passes words on, opening their block where none is.  White space alone opens none. */
static void say(struct splitter *s, enum event_block kind, struct str words)
{
    if (kind == EVENT_BLOCK_THINKING && !is_blank(words))
        s->leaves_out |= !s->options.keep_thinking || s->options.omit_thinking;
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
    if (kind == EVENT_BLOCK_THINKING)
        strbuf_append_str(&s->thinking, words);
    else
        s->says_text = true;
    if (kind == EVENT_BLOCK_TEXT)
        push(s, EVENT_TEXT, words);
    else if (!s->options.omit_thinking)
        push(s, EVENT_THINKING, words);
}

/* ---- Calls ---- */

static struct str schema_of(const struct splitter *s, struct str name)
{
    for (size_t i = 0; i < s->options.n_tools; i++)
        if (str_equal(s->options.tools[i].name, name))
            return s->options.tools[i].schema_json;
    return STR("{}");
}

static void begin_call(struct splitter *s, struct str name)
{
    open_block(s, EVENT_BLOCK_TOOL_USE, name);
    s->n_calls++;
    strbuf_clear(&s->sent);
    call_mender_free(s->mender);
    s->mender = call_mender_create(schema_of(s, name));
    s->is_open_ended = true;
}

/* Passes on what `arguments`, mended, has more than was sent; a text that is no continuation of it
 * is not ready yet.  Of a call that `was_cut` they never become JSON. */
static void send_arguments(struct splitter *s, struct str arguments, bool was_cut)
{
    struct strbuf mended;
    strbuf_init(&mended, LIMIT_REPLY_BYTES);
    bool is_whole = call_mend(s->mender, arguments, &mended) && !was_cut;
    if (was_cut && mended.len > 1 && mended.data[mended.len - 1] == '}')
        mended.len--;
    if (mended.len > s->sent.len && str_starts_with(strbuf_str(&mended), strbuf_str(&s->sent))) {
        struct str more = {mended.data + s->sent.len, mended.len - s->sent.len};
        strbuf_append_str(&s->sent, more);
        push(s, EVENT_TOOL_INPUT, more);
        s->is_open_ended = !is_whole;
    }
    strbuf_free(&mended);
}

/* A call without a word of arguments has none; a cut one must not look like that. */
static void end_call(struct splitter *s, bool was_cut)
{
    if (!s->is_open || s->kind != EVENT_BLOCK_TOOL_USE)
        return;
    if (s->sent.len == 0)
        send_arguments(s, STR("{}"), was_cut);
    close_block(s);
}

static struct str found_name(struct str text, const struct call_found *call)
{
    return (struct str){text.ptr + call->name_begin, call->name_end - call->name_begin};
}

/* The arguments of a found call as text that begins with a brace: models also write the object as
 * a string, or, between marks, leave an empty one out. */
static void found_arguments(struct str text, const struct call_found *call, struct str closers,
                            struct strbuf *out)
{
    struct str arguments = {text.ptr + call->arguments_begin,
                            call->arguments_end - call->arguments_begin};
    strbuf_append_str(out, call->arguments_end > 0 ? arguments : STR("{}"));
    strbuf_append_str(out, closers);
    struct json_doc *doc = NULL;
    if (json_parse_copy(strbuf_str(out), JSON_STRICT, &doc, NULL) == STATUS_OK &&
        json_type(json_root(doc)) == JSON_STRING) {
        strbuf_clear(out);
        strbuf_append_str(out, json_string(json_root(doc)));
    }
    json_doc_free(doc);
}

/* Whether every one of the calls has a JSON object for arguments. */
static bool are_sound(struct splitter *s, const struct call_scan *scan, struct str text,
                      const struct call_found *calls, size_t n)
{
    struct strbuf arguments, mended;
    strbuf_init(&arguments, LIMIT_REPLY_BYTES);
    strbuf_init(&mended, LIMIT_REPLY_BYTES);
    bool is_sound = true;
    for (size_t i = 0; i < n && is_sound; i++) {
        strbuf_clear(&arguments);
        strbuf_clear(&mended);
        found_arguments(text, &calls[i], i + 1 == n ? call_scan_closers(scan) : STR(""),
                        &arguments);
        struct call_mender *m = call_mender_create(schema_of(s, found_name(text, &calls[i])));
        struct json_doc *doc = NULL;
        is_sound = call_mend(m, strbuf_str(&arguments), &mended) &&
                   json_parse_copy(strbuf_str(&mended), JSON_STRICT, &doc, NULL) == STATUS_OK;
        json_doc_free(doc);
        call_mender_free(m);
    }
    strbuf_free(&mended);
    strbuf_free(&arguments);
    return is_sound;
}

/* Passes on the calls that a scanner found in `text`; with `is_broken` the last is cut.  False, and
 * nothing, where they can't be run as they are. */
static bool take_found(struct splitter *s, const struct call_scan *scan, struct str text,
                       bool is_broken)
{
    size_t n;
    const struct call_found *calls = call_scan_calls(scan, &n);
    if (!are_sound(s, scan, text, calls, is_broken ? n - 1 : n))
        return false;
    struct strbuf arguments;
    strbuf_init(&arguments, LIMIT_REPLY_BYTES);
    for (size_t i = 0; i < n; i++) {
        bool is_last = i + 1 == n;
        if (s->options.single_call && s->n_calls > 0) {
            s->leaves_out = true;
            break;
        }
        strbuf_clear(&arguments);
        found_arguments(text, &calls[i], is_last ? call_scan_closers(scan) : STR(""), &arguments);
        begin_call(s, found_name(text, &calls[i]));
        send_arguments(s, strbuf_str(&arguments), is_last && is_broken);
        end_call(s, is_last && is_broken);
    }
    strbuf_free(&arguments);
    return true;
}

/* ---- Tool sections ---- */

/* Of words that a reading shows: what is new and can't change any more. */
static void say_more(struct splitter *s, enum event_block kind, struct str words, size_t *said,
                     bool is_last)
{
    if (!is_last)
        words = str_trim_end(words);
    if (words.len <= *said)
        return;
    say(s, kind, (struct str){words.ptr + *said, words.len - *said});
    *said = words.len;
    s->has_said = true;
}

/* The words of channels. */
static void take_words(struct splitter *s, const struct chat_reply *r, bool is_last)
{
    if (!s->has_channels || s->n_calls > 0)
        return;
    bool has_more = r->content.len > s->said_content || r->n_calls > 0;
    say_more(s, EVENT_BLOCK_THINKING, r->reasoning, &s->said_reasoning, is_last || has_more);
    struct str content = r->content;
    if (r->n_calls > 0)
        content = str_trim_end(content); /* before a call it belongs to nobody */
    say_more(s, EVENT_BLOCK_TEXT, content, &s->said_content, is_last);
}

/* The words before a call that must come. */
static void take_words_before(struct splitter *s, const struct chat_reply *r)
{
    if (s->must_call && s->n_calls == 0)
        say_more(s, EVENT_BLOCK_TEXT, r->content, &s->said_content, false);
}

/* Whether the arguments so far are more than a brace: with less a call is not sure to be one. */
static bool has_begun(struct str arguments)
{
    return !is_blank(arguments) && !(arguments.ptr[0] == '{' &&
                                     is_blank((struct str){arguments.ptr + 1, arguments.len - 1}));
}

/* Passes on what a reading shows that was not passed on yet.  Of the last call only its arguments
 * count as begun, unless the reading is the last. */
static void take_reading(struct splitter *s, const struct chat_reply *r, bool is_last)
{
    size_t n = r->n_calls;
    if (s->options.single_call)
        n = s->n_found == 0 && n > 0 ? 1 : 0;
    s->leaves_out |= n < r->n_calls;
    size_t n_begun = s->n_calls - s->n_found;
    for (size_t i = n_begun > 0 ? n_begun - 1 : 0; i < n; i++) {
        const struct chat_call *call = &r->calls[i];
        bool is_whole = is_last || i + 1 < r->n_calls;
        if (call->name.len == 0 || (!is_whole && !has_begun(call->arguments_json)))
            return;
        if (i >= n_begun) {
            take_words_before(s, r);
            begin_call(s, call->name);
        }
        send_arguments(s, call->arguments_json, false);
        if (is_whole && i + 1 < r->n_calls)
            end_call(s, false);
    }
}

/* Reads the first `len` bytes and passes on what is new, if there are at least `least_calls`. */
static bool read_reply(struct splitter *s, size_t len, bool is_partial, size_t least_calls)
{
    bool is_last = s->is_finishing;
    struct chat_reply r;
    struct str reply = {strbuf_cstr(&s->reply), len};
    reply.len -= utf8_incomplete_tail(reply);
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

/* Reads at lengths that do not depend on the pieces in which the reply comes: what a reading shows
 * and a later one does not is said all the same. */
static void read_section(struct splitter *s)
{
    while (s->reply.len >= s->next_read) {
        size_t len = s->next_read;
        size_t growth = len / GROWTH;
        s->next_read += growth > LEAST_GROWTH ? growth : LEAST_GROWTH;
        (void)read_reply(s, len, true, 0);
    }
}

static void say_raw(struct splitter *s, struct str words)
{
    if (!is_blank(words))
        say(s, EVENT_BLOCK_TEXT, words);
}

/* A call between the plain marks, in any form that the scanner knows. */
static bool take_plain_call(struct splitter *s, struct str body, bool was_cut)
{
    static const struct grammar_spec no_format;
    struct call_scan_options options = {
        .tools = s->options.tools,
        .n_tools = s->options.n_tools,
        .format = &no_format,
        .is_marked = true,
    };
    struct call_scan *scan = call_scan_create(&options);
    call_scan_feed(scan, body);
    enum call_verdict verdict = call_scan_finish(scan, was_cut);
    bool is_taken =
        verdict != CALL_VERDICT_WORDS && take_found(s, scan, body, verdict == CALL_VERDICT_BROKEN);
    call_scan_free(scan);
    return is_taken;
}

/* Where the template's parser finds nothing: calls between the plain marks.  What is no call is
 * passed on as it is. */
static void read_plain_calls(struct splitter *s, bool was_cut)
{
    struct str rest = {s->reply.data + s->section_begin, s->reply.len - s->section_begin};
    while (rest.len > 0) {
        size_t begin = str_find(rest, STR(TEXT_TOOLS_CALL_BEGIN));
        if (begin == SIZE_MAX)
            break;
        size_t skip = begin + sizeof TEXT_TOOLS_CALL_BEGIN - 1;
        struct str body = {rest.ptr + skip, rest.len - skip};
        size_t end = str_find(body, STR(TEXT_TOOLS_CALL_END));
        size_t next = end == SIZE_MAX ? rest.len : skip + end + sizeof TEXT_TOOLS_CALL_END - 1;
        bool is_cut = was_cut && end == SIZE_MAX;
        body.len = end == SIZE_MAX ? body.len : end;
        struct str before = {rest.ptr, begin};
        size_t n_before = s->n_calls;
        say_raw(s, before);
        if (!take_plain_call(s, body, is_cut) && s->n_calls == n_before)
            say(s, EVENT_BLOCK_TEXT, (struct str){rest.ptr + begin, next - begin});
        rest.ptr += next;
        rest.len -= next;
    }
    say_raw(s, rest);
}

/* The parser does not take the reply as a whole: it is read up to the last place where it does, if
 * that holds a call, and what stands behind is passed on as text. */
static bool salvage(struct splitter *s)
{
    size_t least_calls = s->n_calls > s->n_found ? s->n_calls - s->n_found : 1;
    size_t tries = SALVAGE_TRIES;
    for (size_t len = s->reply.len; len > s->section_begin && tries > 0; len--) {
        if (strchr(">}]", s->reply.data[len - 1]) == NULL)
            continue;
        tries--;
        if (!read_reply(s, len, false, least_calls))
            continue;
        end_call(s, false);
        say_raw(s, (struct str){s->reply.data + len, s->reply.len - len});
        return true;
    }
    return false;
}

static void finish_section(struct splitter *s, bool was_cut)
{
    s->is_finishing = true;
    bool is_read = read_reply(s, s->reply.len, was_cut, 0) || (!was_cut && salvage(s));
    if (!is_read && (s->n_calls > s->n_found || s->state == STATE_WHOLE))
        (void)read_reply(s, s->reply.len, true, s->n_calls - s->n_found);
    end_call(s, was_cut);
    if (s->n_calls == s->n_found &&
        !s->has_said) /* no call after all: nothing that was said is lost */
        read_plain_calls(s, was_cut);
}

/* ---- Text and thinking ---- */

/* The unscanned bytes. */
static struct str rest_of(const struct splitter *s)
{
    return (struct str){strbuf_cstr(&s->reply) + s->scanned, s->reply.len - s->scanned};
}

static enum event_block kind_of(const struct splitter *s)
{
    return s->state == STATE_THINKING ? EVENT_BLOCK_THINKING : EVENT_BLOCK_TEXT;
}

/* Passes on the reply up to `end`.  White space before it waits: in front of a call it belongs to
 * nobody. */
static void say_up_to(struct splitter *s, size_t end)
{
    struct str ready = {strbuf_cstr(&s->reply) + s->scanned, end - s->scanned};
    ready = str_trim_end(ready);
    say(s, kind_of(s), ready);
    s->scanned += ready.len;
}

/* Goes on behind a thinking mark that is `len` bytes long and stands at `at` of the rest. */
static void pass_thinking_mark(struct splitter *s, size_t at, size_t len)
{
    size_t end = s->scanned + at;
    say_up_to(s, end);
    close_block(s);
    s->scanned = end + len;
    s->skips_blank = s->state == STATE_THINKING;
    s->state = s->state == STATE_THINKING ? STATE_TEXT : STATE_THINKING;
}

static bool scan_thinking(struct splitter *s)
{
    struct str rest = rest_of(s);
    size_t at = str_find(rest, s->thinking_end);
    if (at != SIZE_MAX) {
        pass_thinking_mark(s, at, s->thinking_end.len);
        return true;
    }
    say_up_to(s, s->reply.len - str_partial_suffix(rest, s->thinking_end));
    return false;
}

/* Thinking comes first: behind words, its mark is one of them.  Sets *may_come where what is there
 * may still become the mark. */
static bool find_thinking(const struct splitter *s, size_t *at, bool *may_come)
{
    struct str rest = rest_of(s);
    *at = 0;
    while (*at < rest.len && is_blank((struct str){rest.ptr + *at, 1}))
        ++*at;
    struct str mark = s->thinking_start;
    struct str begins = {rest.ptr + *at, rest.len - *at};
    bool is_first = mark.len > 0 && !s->says_text && s->scan == NULL;
    *may_come = is_first && begins.len < mark.len && str_starts_with(mark, begins);
    return is_first && str_starts_with(begins, mark);
}

static void enter_section(struct splitter *s)
{
    size_t n;
    (void)call_scan_calls(s->scan, &n);
    struct str text = {s->reply.data + s->scan_begin, s->reply.len - s->scan_begin};
    s->section_begin = s->scan_begin + call_scan_mark(s->scan);
    if (n > 0 && take_found(s, s->scan, text, false))
        s->n_found = n;
    else
        say_up_to(s, s->section_begin);
    close_block(s);
    s->scanned = s->section_begin;
    s->state = STATE_SECTION;
    s->next_read = s->section_begin + LEAST_GROWTH;
}

/* A continued message is part of what the parser reads, but not of the reply. */
static void begin_whole(struct splitter *s)
{
    s->state = STATE_WHOLE;
    s->section_begin = s->scanned;
    s->next_read = s->section_begin + LEAST_GROWTH;
    struct chat_reply r;
    if (chat_parse(s->options.prompt, STR(""), true, &r) != STATUS_OK)
        return;
    s->said_content = r.content.len;
    s->said_reasoning = r.reasoning.len;
    chat_reply_free(&r);
}

static void begin_text(struct splitter *s)
{
    struct call_scan_options options = {
        .tools = s->options.tools,
        .n_tools = s->options.n_tools,
        .format = &s->options.prompt->grammar,
        .names_any = s->options.names_any,
    };
    s->scan = call_scan_create(&options);
    s->scan_begin = s->scanned;
}

static bool scan_text(struct splitter *s)
{
    size_t at;
    bool may_come;
    if (find_thinking(s, &at, &may_come)) {
        pass_thinking_mark(s, at, s->thinking_start.len);
        return true;
    }
    if (may_come)
        return false;
    if (s->must_call) {
        begin_whole(s);
        return false;
    }
    if (s->options.n_tools == 0) {
        say_up_to(s, s->reply.len);
        return false;
    }
    if (s->scan == NULL)
        begin_text(s);
    size_t seen = s->scan_begin + call_scan_length(s->scan);
    call_scan_feed(s->scan, (struct str){s->reply.data + seen, s->reply.len - seen});
    size_t released = s->scan_begin + call_scan_released(s->scan);
    if (released > s->scanned)
        say_up_to(s, released);
    if (call_scan_place(s->scan) == CALL_PLACE_MARK)
        enter_section(s);
    return false;
}

static void scan(struct splitter *s)
{
    bool goes_on = true;
    while (goes_on && s->scanned < s->reply.len) {
        if (s->state == STATE_THINKING)
            goes_on = scan_thinking(s);
        else if (s->state == STATE_TEXT)
            goes_on = scan_text(s);
        else
            goes_on = false;
    }
    if (s->state == STATE_SECTION || s->state == STATE_WHOLE)
        read_section(s);
}

/* The reply is kept as UTF-8, of which the parsers need every byte: one that is no character's
 * becomes U+FFFD, and the beginning of one waits for the rest. */
static void take_bytes(struct splitter *s, struct str bytes, bool is_last)
{
    strbuf_append_str(&s->bytes, bytes);
    struct str ready = strbuf_str(&s->bytes);
    if (!is_last)
        ready.len -= utf8_incomplete_tail(ready);
    utf8_append_clean(&s->reply, ready);
    strbuf_consume(&s->bytes, ready.len);
}

void splitter_feed(struct splitter *s, struct str bytes)
{
    take_bytes(s, bytes, false);
    scan(s);
}

/* What was held back is calls, or text after all. */
static void finish_text(struct splitter *s, bool was_cut)
{
    enum call_verdict verdict =
        s->scan != NULL ? call_scan_finish(s->scan, was_cut) : CALL_VERDICT_WORDS;
    if (verdict != CALL_VERDICT_WORDS) {
        struct str text = {s->reply.data + s->scan_begin, s->reply.len - s->scan_begin};
        if (take_found(s, s->scan, text, verdict == CALL_VERDICT_BROKEN))
            s->scanned = s->reply.len;
    }
    if (s->n_calls == 0)
        say(s, kind_of(s), rest_of(s));
    s->scanned = s->reply.len;
}

void splitter_finish(struct splitter *s, bool was_cut)
{
    take_bytes(s, STR(""), true);
    scan(s);
    if (s->state == STATE_SECTION || s->state == STATE_WHOLE)
        finish_section(s, was_cut);
    else
        finish_text(s, was_cut);
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

bool splitter_is_broken(const struct splitter *s)
{
    return s->n_calls > 0 && s->is_open_ended;
}

/* ---- Birth ---- */

struct splitter *splitter_create(const struct splitter_options *options)
{
    struct splitter *s = mem_zalloc(sizeof *s);
    s->options = *options;
    strbuf_init(&s->bytes, LIMIT_REPLY_BYTES);
    strbuf_init(&s->reply, LIMIT_REPLY_BYTES);
    strbuf_init(&s->thinking, LIMIT_REPLY_BYTES);
    strbuf_init(&s->sent, LIMIT_REPLY_BYTES);

    const struct chat_prompt *p = options->prompt;
    s->thinking_start = str_from(p->thinking_start);
    s->thinking_end = str_from(p->thinking_end);
    if (s->thinking_end.len == 0)
        s->thinking_start.len = 0;
    s->has_channels =
        p->parser != NULL && str_find(s->thinking_start, STR("<|channel")) != SIZE_MAX;
    if (s->has_channels) {
        begin_whole(s);
        return s;
    }
    s->must_call = p->parser != NULL && options->n_tools > 0 && !options->text_tools &&
                   p->grammar.text.len > 0 && !p->grammar.lazy;
    if (s->thinking_start.len > 0 && chat_begins_in_thinking(p))
        s->state = STATE_THINKING;
    return s;
}

void splitter_free(struct splitter *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->n_events; i++)
        mem_free(s->events[i].text);
    mem_free(s->events);
    strbuf_free(&s->bytes);
    strbuf_free(&s->reply);
    strbuf_free(&s->thinking);
    strbuf_free(&s->sent);
    call_scan_free(s->scan);
    call_mender_free(s->mender);
    mem_free(s);
}

bool splitter_leaves_out(const struct splitter *s)
{
    return s->leaves_out;
}
