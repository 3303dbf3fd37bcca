#include "model/call_scan.h"

#include "base/limits.h"

enum {
    INFO_BYTES = 24, /* of a fence's first line */
    FENCE_TICKS = 3,
};

/*      state        reads                                 goes on to
 *      THINKING     reasoning                             WORDS, at its end mark
 *      WORDS        text                                  THINKING, TICKS, ITEM, MARK
 *      PLAIN_FENCE  code that is no call                  WORDS, at the closing line
 *      TICKS        backticks that begin a line           INFO, or words
 *      INFO         the rest of a fence's first line      ITEM, or words
 *      ITEM         blanks before an object               OBJECT, CLOSE, BETWEEN, or words
 *      OBJECT       one JSON object                       ITEM or BETWEEN, or words
 *      CLOSE        the closing line of a fence           BETWEEN, or words
 *      BETWEEN      blanks behind a call, in no fence     TICKS, ITEM, MARK, or words
 *      MARK         the template's own format             -                               */
enum state {
    STATE_THINKING,
    STATE_WORDS,
    STATE_PLAIN_FENCE,
    STATE_TICKS,
    STATE_INFO,
    STATE_ITEM,
    STATE_OBJECT,
    STATE_CLOSE,
    STATE_BETWEEN,
    STATE_MARK,
};

/* What the members of a call are, by their keys. */
enum member { MEMBER_NONE, MEMBER_NAME, MEMBER_ARGUMENTS, MEMBER_OTHER };

struct call_scan {
    const struct grammar_call *tools;
    size_t n_tools;
    bool is_marked, names_any;
    struct str thinking_start, thinking_end;
    struct strbuf mark_storage;
    struct str marks[CALL_SCAN_MARKS];
    size_t n_marks;

    struct strbuf text; /* all of the reply */
    enum state state;
    bool line_is_blank; /* nothing but blanks since the line began */
    bool in_code;       /* behind an odd number of backticks of this line */
    size_t begin;       /* of the candidate */
    size_t mark;        /* of the mark */
    size_t item_begin;  /* ITEM and BETWEEN: where what is no blank began; SIZE_MAX: nowhere */
    size_t n_ticks, fence_ticks;
    size_t fence_begin;
    bool is_fenced; /* the candidate is inside a fence */
    bool is_list;   /* and inside a list of calls */

    char open[LIMIT_JSON_DEPTH]; /* brackets that are open in the object */
    size_t depth;
    bool in_string, is_escaped;
    bool wants_key;  /* depth 1: a key is next */
    bool is_doubled; /* it began with two braces, as in templates that escape them; may end so */
    size_t string_begin;
    enum member member;
    bool has_tool, has_arguments;
    struct call_found call;

    struct call_found calls[CALL_SCAN_CALLS];
    size_t n_calls;
    char closers[LIMIT_JSON_DEPTH];
    size_t n_closers;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct str text_from(const struct call_scan *s, size_t begin)
{
    return (struct str){strbuf_cstr(&s->text) + begin, s->text.len - begin};
}

static bool text_ends_with(const struct call_scan *s, struct str tail)
{
    return tail.len > 0 && tail.len <= s->text.len &&
           str_equal(text_from(s, s->text.len - tail.len), tail);
}

/* ---- Candidates come and go ---- */

static void begin_candidate(struct call_scan *s)
{
    s->begin = s->text.len - 1;
    s->item_begin = SIZE_MAX;
    s->is_fenced = false;
    s->is_list = false;
    s->n_calls = 0;
}

/* At the first backtick of a line. */
static void begin_fence(struct call_scan *s)
{
    s->state = STATE_TICKS;
    s->fence_begin = s->text.len - 1;
    s->n_ticks = 1;
}

/* The candidate is text.  If it opened a fence, so is the rest of that fence. */
static void give_up(struct call_scan *s)
{
    s->state = s->is_fenced ? STATE_PLAIN_FENCE : STATE_WORDS;
    s->n_calls = 0;
    s->n_ticks = 0;
}

static void begin_object(struct call_scan *s)
{
    s->state = STATE_OBJECT;
    s->open[0] = '{';
    s->depth = 1;
    s->in_string = s->is_escaped = false;
    s->wants_key = true;
    s->is_doubled = false;
    s->member = MEMBER_NONE;
    s->has_tool = s->has_arguments = false;
    s->call = (struct call_found){0};
}

static void end_object(struct call_scan *s)
{
    if (!s->has_tool || !(s->has_arguments || s->is_marked) || s->n_calls == CALL_SCAN_CALLS) {
        give_up(s);
        return;
    }
    s->calls[s->n_calls++] = s->call;
    s->item_begin = SIZE_MAX;
    s->state = s->is_fenced || s->is_list ? STATE_ITEM : STATE_BETWEEN;
}

/* ---- Marks ---- */

/* A mark that is a part of a sentence is talked about: it begins a line, or follows the end of a
 * sentence.  (Other scripts' full stops are not told from their letters.) */
static bool stands_alone(const struct call_scan *s, size_t at)
{
    while (at > 0 && (s->text.data[at - 1] == ' ' || s->text.data[at - 1] == '\t'))
        at--;
    if (at == 0)
        return true;
    char before = s->text.data[at - 1];
    return (unsigned char)before >= 0x80 || strchr("\r\n.:;!?)]}>", before) != NULL;
}

static bool ends_with_mark(const struct call_scan *s, size_t *out_at)
{
    for (size_t i = 0; i < s->n_marks; i++) {
        if (!text_ends_with(s, s->marks[i]))
            continue;
        *out_at = s->text.len - s->marks[i].len;
        return stands_alone(s, *out_at);
    }
    return false;
}

static void enter_mark(struct call_scan *s, size_t begin, size_t mark)
{
    if (s->state == STATE_WORDS)
        s->n_calls = 0;
    s->state = STATE_MARK;
    s->begin = begin;
    s->mark = mark;
    s->depth = 0;
    s->in_string = s->is_escaped = false;
}

/* Inside a fence the common marks around a call are no more than its wrapping. */
static bool goes_on_as_wrapping(struct call_scan *s, struct str item)
{
    static const char *const wrappings[] = {CALL_SCAN_COMMON_MARK, CALL_SCAN_COMMON_END};
    for (size_t i = 0; i < sizeof wrappings / sizeof wrappings[0]; i++) {
        if (str_is(item, wrappings[i]))
            s->item_begin = SIZE_MAX;
        if (str_starts_with(str_from(wrappings[i]), item))
            return true;
    }
    return false;
}

/* Whether the text since item_begin may become a mark, or is one. */
static bool goes_on_as_mark(struct call_scan *s)
{
    struct str item = text_from(s, s->item_begin);
    if (s->is_fenced)
        return goes_on_as_wrapping(s, item);
    for (size_t i = 0; i < s->n_marks; i++) {
        if (str_equal(item, s->marks[i])) {
            enter_mark(s, s->begin, s->item_begin);
            return true;
        }
        if (str_starts_with(s->marks[i], item))
            return true;
    }
    return false;
}

/* ---- Bytes of each state.  `was_blank`: the line held nothing before this byte. ---- */

/* Whether the reply is, so far, the mark of thinking and no more. */
static bool begins_with_thinking(const struct call_scan *s)
{
    if (!text_ends_with(s, s->thinking_start))
        return false;
    for (size_t i = 0; i < s->text.len - s->thinking_start.len; i++)
        if (!is_blank(s->text.data[i]))
            return false;
    return true;
}

static void words_byte(struct call_scan *s, char c, bool was_blank)
{
    if (c == '\n')
        s->in_code = false;
    if (was_blank && c == '`') {
        begin_candidate(s);
        begin_fence(s);
        return;
    }
    if (was_blank && (c == '{' || c == '[') && s->n_tools > 0) {
        begin_candidate(s);
        s->state = STATE_ITEM;
        if (c == '[')
            s->is_list = true;
        else
            begin_object(s);
        return;
    }
    if (c == '`')
        s->in_code = !s->in_code;
    size_t at;
    if (!s->in_code && ends_with_mark(s, &at))
        enter_mark(s, at, at);
    else if (begins_with_thinking(s))
        s->state = STATE_THINKING;
}

static void plain_fence_byte(struct call_scan *s, char c, bool was_blank)
{
    if (c == '`' && (was_blank || s->n_ticks > 0))
        s->n_ticks++;
    else if (c == '\n' && s->n_ticks >= s->fence_ticks)
        s->state = STATE_WORDS;
    else if (!is_blank(c) || c == '\n')
        s->n_ticks = 0;
}

static void ticks_byte(struct call_scan *s, char c)
{
    if (c == '`') {
        s->n_ticks++;
        return;
    }
    if (s->n_ticks < FENCE_TICKS) {
        s->in_code = s->n_ticks % 2 != 0;
        give_up(s);
        words_byte(s, c, false);
        return;
    }
    s->fence_ticks = s->n_ticks;
    s->is_fenced = true;
    s->state = c == '\n' ? STATE_ITEM : STATE_INFO;
    s->item_begin = SIZE_MAX;
}

static void info_byte(struct call_scan *s, char c)
{
    bool is_inline = c == '`'; /* ```like this``` */
    if (is_inline)
        s->is_fenced = false;
    if (c == '\n')
        s->state = STATE_ITEM;
    else if (is_inline || s->text.len - s->fence_begin > s->fence_ticks + INFO_BYTES)
        give_up(s);
}

/* The second of two closing braces. */
static bool closes_double(struct call_scan *s, char c)
{
    bool does = c == '}' && s->n_calls > 0 && s->is_doubled;
    if (does)
        s->is_doubled = false;
    return does;
}

static void item_byte(struct call_scan *s, char c, bool was_blank)
{
    if (s->item_begin == SIZE_MAX) {
        if (is_blank(c) || (c == ',' && s->is_list && s->n_calls > 0))
            return;
        if (closes_double(s, c))
            return;
        if (c == '{') {
            begin_object(s);
            return;
        }
        if (c == '[' && !s->is_list) {
            s->is_list = true;
            return;
        }
        if (c == ']' && s->is_list && s->n_calls > 0) {
            s->is_list = false;
            if (!s->is_fenced)
                s->state = STATE_BETWEEN;
            return;
        }
        if (c == '`' && was_blank && s->is_fenced && !s->is_list && s->n_calls > 0) {
            s->state = STATE_CLOSE;
            s->n_ticks = 1;
            return;
        }
        s->item_begin = s->text.len - 1;
    }
    if (!goes_on_as_mark(s))
        give_up(s);
}

static void close_byte(struct call_scan *s, char c)
{
    if (c == '`') {
        s->n_ticks++;
    } else if (!is_blank(c) || s->n_ticks < s->fence_ticks) {
        give_up(s);
    } else if (c == '\n') {
        s->state = STATE_BETWEEN;
        s->is_fenced = false;
        s->item_begin = SIZE_MAX;
    }
}

static void between_byte(struct call_scan *s, char c, bool was_blank)
{
    if (s->item_begin == SIZE_MAX) {
        if (is_blank(c) || closes_double(s, c))
            return;
        if (c == '`' && was_blank) {
            begin_fence(s);
            return;
        }
        if (c == '{') {
            begin_object(s);
            return;
        }
        s->item_begin = s->text.len - 1;
    }
    if (!goes_on_as_mark(s)) {
        give_up(s);
        words_byte(s, c, false);
    }
}

/* ---- The object ---- */

static enum member member_of(struct str key)
{
    static const char *const names[] = {"name", "function", "tool", "tool_name"};
    static const char *const arguments[] = {"arguments", "parameters", "input"};
    static const char *const others[] = {"id", "type", "call_id"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (str_is(key, names[i]))
            return MEMBER_NAME;
    for (size_t i = 0; i < sizeof arguments / sizeof arguments[0]; i++)
        if (str_is(key, arguments[i]))
            return MEMBER_ARGUMENTS;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (str_is(key, others[i]))
            return MEMBER_OTHER;
    return MEMBER_NONE;
}

/* Whether a tool that was not offered is called all the same: between marks, and where a fence is
 * all that the reply has. */
static bool may_name_any(const struct call_scan *s)
{
    if (s->is_marked)
        return true;
    size_t n = 0;
    while (n < s->begin && is_blank(s->text.data[n]))
        n++;
    return s->names_any && s->is_fenced && n == s->begin;
}

/* A string of the object itself has ended, before the byte that was read last. */
static void take_string(struct call_scan *s)
{
    struct str string = text_from(s, s->string_begin);
    string.len--;
    if (s->wants_key) {
        s->member = member_of(string);
        s->wants_key = false;
        if (s->member == MEMBER_NONE)
            give_up(s);
        return;
    }
    if (s->member != MEMBER_NAME)
        return;
    s->call.name_begin = s->string_begin;
    s->call.name_end = s->string_begin + string.len;
    s->call.tool = SIZE_MAX;
    for (size_t i = 0; i < s->n_tools; i++)
        if (str_equal(s->tools[i].name, string))
            s->call.tool = i;
    s->has_tool = s->call.tool != SIZE_MAX || (string.len > 0 && may_name_any(s));
    if (!s->has_tool)
        give_up(s); /* it names nothing that can be called */
}

static void end_member(struct call_scan *s)
{
    if (s->member == MEMBER_ARGUMENTS)
        s->call.arguments_end = s->text.len - 1;
    s->member = MEMBER_NONE;
    s->wants_key = true;
}

/* Keeps `depth` and `in_string`; true where the byte is inside a string, or ends one. */
static bool string_byte(struct call_scan *s, char c)
{
    if (!s->in_string) {
        if (c != '"')
            return false;
        s->in_string = true;
        s->string_begin = s->text.len;
        return true;
    }
    if (s->is_escaped)
        s->is_escaped = false;
    else if (c == '\\')
        s->is_escaped = true;
    else if (c == '"')
        s->in_string = false;
    return true;
}

static void object_byte(struct call_scan *s, char c)
{
    if (string_byte(s, c)) {
        if (!s->in_string && s->depth == 1)
            take_string(s);
        return;
    }
    switch (c) {
    case '{':
    case '[':
        if (c == '{' && s->text.data[s->text.len - 2] == '{' && s->depth == 1 && s->wants_key) {
            s->is_doubled = true;
            return;
        }
        if (s->wants_key || s->depth == LIMIT_JSON_DEPTH) {
            give_up(s);
            return;
        }
        s->open[s->depth++] = c;
        return;
    case '}':
    case ']':
        if (s->depth == 1) {
            end_member(s);
            end_object(s);
            return;
        }
        s->depth--;
        return;
    case ':':
        if (s->depth == 1 && s->member == MEMBER_ARGUMENTS && !s->has_arguments) {
            s->has_arguments = true;
            s->call.arguments_begin = s->text.len;
        }
        return;
    case ',':
        if (s->depth == 1)
            end_member(s);
        return;
    default:
        if (s->depth == 1 && s->wants_key && !is_blank(c))
            give_up(s);
        return;
    }
}

/* In the template's format nothing is decided, but scaffold is told from text where it is JSON. */
static void mark_byte(struct call_scan *s, char c)
{
    if (s->depth > 0 && string_byte(s, c))
        return;
    if (c == '{' || (c == '[' && s->depth > 0))
        s->depth++;
    else if ((c == '}' || c == ']') && s->depth > 0)
        s->depth--;
}

/* ---- The scanner ---- */

static void take_byte(struct call_scan *s, char c)
{
    strbuf_append_char(&s->text, c);
    if (s->text.failed)
        return; /* no memory: nothing more is decided */
    bool was_blank = s->line_is_blank;
    s->line_is_blank = c == '\n' || (was_blank && is_blank(c));
    switch (s->state) {
    case STATE_THINKING:
        if (text_ends_with(s, s->thinking_end)) {
            s->state = STATE_WORDS;
            s->line_is_blank = true;
        }
        return;
    case STATE_WORDS:
        words_byte(s, c, was_blank);
        return;
    case STATE_PLAIN_FENCE:
        plain_fence_byte(s, c, was_blank);
        return;
    case STATE_TICKS:
        ticks_byte(s, c);
        return;
    case STATE_INFO:
        info_byte(s, c);
        return;
    case STATE_ITEM:
        item_byte(s, c, was_blank);
        return;
    case STATE_OBJECT:
        object_byte(s, c);
        return;
    case STATE_CLOSE:
        close_byte(s, c);
        return;
    case STATE_BETWEEN:
        between_byte(s, c, was_blank);
        return;
    case STATE_MARK:
        mark_byte(s, c);
        return;
    }
}

void call_scan_feed(struct call_scan *s, struct str bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        take_byte(s, bytes.ptr[i]);
}

enum call_place call_scan_place(const struct call_scan *s)
{
    switch (s->state) {
    case STATE_THINKING:
    case STATE_WORDS:
    case STATE_PLAIN_FENCE:
        return CALL_PLACE_WORDS;
    case STATE_MARK:
        return CALL_PLACE_MARK;
    case STATE_OBJECT:
        return s->has_tool && s->has_arguments && (s->is_marked || s->call.tool != SIZE_MAX)
                   ? CALL_PLACE_CALL
                   : CALL_PLACE_MAYBE;
    default:
        return CALL_PLACE_MAYBE;
    }
}

size_t call_scan_begin(const struct call_scan *s)
{
    return s->begin;
}

size_t call_scan_mark(const struct call_scan *s)
{
    return s->mark;
}

size_t call_scan_length(const struct call_scan *s)
{
    return s->text.len;
}

size_t call_scan_released(const struct call_scan *s)
{
    if (call_scan_place(s) != CALL_PLACE_WORDS)
        return s->begin;
    size_t held = 0;
    if (s->state == STATE_WORDS) {
        for (size_t i = 0; i < s->n_marks; i++) {
            size_t n = str_partial_suffix(strbuf_str(&s->text), s->marks[i]);
            held = n > held ? n : held;
        }
    }
    return s->text.len - held;
}

struct call_found call_scan_current(const struct call_scan *s)
{
    return s->call;
}

const struct call_found *call_scan_calls(const struct call_scan *s, size_t *out_n)
{
    *out_n = s->n_calls;
    return s->calls;
}

bool call_scan_is_scaffold(const struct call_scan *s)
{
    bool is_call = s->state == STATE_OBJECT || (s->state == STATE_MARK && s->depth > 0);
    return is_call && !(s->in_string && s->depth > 1);
}

enum call_verdict call_scan_finish(struct call_scan *s, bool was_cut)
{
    s->n_closers = 0;
    if (call_scan_place(s) == CALL_PLACE_WORDS || s->state == STATE_MARK)
        return CALL_VERDICT_WORDS;
    if (s->state != STATE_OBJECT)
        return s->n_calls > 0 && s->item_begin == SIZE_MAX ? CALL_VERDICT_CALLS
                                                           : CALL_VERDICT_WORDS;
    if (call_scan_place(s) != CALL_PLACE_CALL || s->n_calls == CALL_SCAN_CALLS)
        return CALL_VERDICT_WORDS;
    if (s->call.arguments_end == 0)
        s->call.arguments_end = s->text.len;
    if (was_cut || s->in_string) {
        s->calls[s->n_calls++] = s->call;
        return was_cut ? CALL_VERDICT_BROKEN : CALL_VERDICT_WORDS;
    }
    for (size_t i = s->depth; i > 1; i--)
        s->closers[s->n_closers++] = s->open[i - 1] == '{' ? '}' : ']';
    s->calls[s->n_calls++] = s->call;
    return CALL_VERDICT_CALLS;
}

struct str call_scan_closers(const struct call_scan *s)
{
    return (struct str){s->closers, s->n_closers};
}

/* ---- Birth ---- */

static void add_mark(struct call_scan *s, struct str mark)
{
    while (mark.len > 0 && is_blank(mark.ptr[mark.len - 1]))
        mark.len--;
    while (mark.len > 0 && is_blank(mark.ptr[0])) {
        mark.ptr++;
        mark.len--;
    }
    /* A brace is no mark: bare objects are looked at by themselves. */
    if (mark.len < 2 || mark.ptr[0] == '{' || s->n_marks == CALL_SCAN_MARKS)
        return;
    for (size_t i = 0; i < s->n_marks; i++)
        if (str_equal(s->marks[i], mark))
            return;
    s->marks[s->n_marks++] = mark;
}

/* The literal text that every match of a pattern begins with. */
static struct str literal_prefix(struct call_scan *s, struct str pattern)
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

static struct str keep(struct call_scan *s, struct str text)
{
    size_t begin = s->mark_storage.len;
    strbuf_append_str(&s->mark_storage, text);
    return (struct str){strbuf_cstr(&s->mark_storage) + begin, s->mark_storage.len - begin};
}

static void learn_marks(struct call_scan *s, const struct grammar_spec *format)
{
    for (size_t i = 0; i < format->n_triggers; i++) {
        const struct grammar_trigger *t = &format->triggers[i];
        bool is_pattern =
            t->type == GRAMMAR_TRIGGER_PATTERN || t->type == GRAMMAR_TRIGGER_PATTERN_FULL;
        add_mark(s, is_pattern ? literal_prefix(s, t->text) : keep(s, t->text));
    }
    add_mark(s, STR(CALL_SCAN_COMMON_MARK));
}

struct call_scan *call_scan_create(const struct call_scan_options *options)
{
    struct call_scan *s = mem_zalloc(sizeof *s);
    s->tools = options->tools;
    s->n_tools = options->n_tools;
    s->is_marked = options->is_marked;
    s->names_any = options->names_any;
    s->thinking_start = options->thinking_start;
    s->thinking_end = options->thinking_end;
    s->state = options->begins_in_thinking ? STATE_THINKING : STATE_WORDS;
    s->line_is_blank = true;
    strbuf_init(&s->text, LIMIT_REPLY_BYTES);
    strbuf_init(&s->mark_storage, 64 * 1024);
    /* Marks point into the storage, which must not move: its room is made here. */
    for (size_t i = 0; i < 16 * 1024; i++)
        strbuf_append_char(&s->mark_storage, ' ');
    strbuf_clear(&s->mark_storage);
    learn_marks(s, options->format);
    return s;
}

void call_scan_free(struct call_scan *s)
{
    if (s == NULL)
        return;
    strbuf_free(&s->text);
    strbuf_free(&s->mark_storage);
    mem_free(s);
}
