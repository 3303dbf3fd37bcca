/* html_text -- see the header.
 *
 * libxml2 calls on_start, on_text and on_end as it reads; no tree is made.  A writer keeps what is
 * due before the next character (`newlines`, `has_space`, `marker`) and writes it only when that
 * character comes, so that empty elements leave nothing. */
#include "servertools/html_text.h"

#include <libxml/HTMLparser.h>
#include <libxml/uri.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/limits.h"
#include "base/utf8.h"

enum {
    LISTS = 16, /* deeper ones are not indented further */
    MARKER_BYTES = 32,
    PIECE_BYTES = 16 * 1024,
    SLACK_BYTES = 4096, /* the text may pass its limit by what one element adds */
};

enum role {
    ROLE_INLINE, /* nothing of its own, as an element that is not known */
    ROLE_DROP,   /* neither it nor what is in it */
    ROLE_TITLE,
    ROLE_HEADING,
    ROLE_BLOCK, /* between empty lines */
    ROLE_LINE,  /* on lines of its own */
    ROLE_LIST,
    ROLE_ITEM,
    ROLE_CELL,
    ROLE_PRE,
    ROLE_CODE,
    ROLE_LINK,
    ROLE_BREAK,
};

/* Sorted by name. */
static const struct element {
    const char *name;
    enum role role;
} elements[] = {
    {"a", ROLE_LINK},           {"address", ROLE_BLOCK},
    {"article", ROLE_BLOCK},    {"aside", ROLE_BLOCK},
    {"audio", ROLE_DROP},       {"blockquote", ROLE_BLOCK},
    {"br", ROLE_BREAK},         {"button", ROLE_DROP},
    {"canvas", ROLE_DROP},      {"caption", ROLE_BLOCK},
    {"code", ROLE_CODE},        {"dd", ROLE_LINE},
    {"details", ROLE_BLOCK},    {"div", ROLE_LINE},
    {"dl", ROLE_BLOCK},         {"dt", ROLE_LINE},
    {"embed", ROLE_DROP},       {"fieldset", ROLE_BLOCK},
    {"figcaption", ROLE_BLOCK}, {"figure", ROLE_BLOCK},
    {"footer", ROLE_BLOCK},     {"form", ROLE_BLOCK},
    {"frame", ROLE_DROP},       {"h1", ROLE_HEADING},
    {"h2", ROLE_HEADING},       {"h3", ROLE_HEADING},
    {"h4", ROLE_HEADING},       {"h5", ROLE_HEADING},
    {"h6", ROLE_HEADING},       {"header", ROLE_BLOCK},
    {"hr", ROLE_BLOCK},         {"iframe", ROLE_DROP},
    {"input", ROLE_DROP},       {"legend", ROLE_LINE},
    {"li", ROLE_ITEM},          {"main", ROLE_BLOCK},
    {"menu", ROLE_LIST},        {"nav", ROLE_DROP},
    {"noscript", ROLE_BLOCK}, /* we are who it is for */
    {"object", ROLE_DROP},      {"ol", ROLE_LIST},
    {"p", ROLE_BLOCK},          {"pre", ROLE_PRE},
    {"script", ROLE_DROP},      {"section", ROLE_BLOCK},
    {"select", ROLE_DROP},      {"style", ROLE_DROP},
    {"summary", ROLE_LINE},     {"svg", ROLE_DROP},
    {"table", ROLE_BLOCK},      {"td", ROLE_CELL},
    {"template", ROLE_DROP},    {"textarea", ROLE_DROP},
    {"th", ROLE_CELL},          {"title", ROLE_TITLE},
    {"tr", ROLE_LINE},          {"ul", ROLE_LIST},
    {"video", ROLE_DROP},
};

struct open_element {
    const xmlChar *name; /* the parser's, as long as the parser */
    enum role role;
};

struct list {
    bool is_ordered;
    unsigned n_items;
};

struct writer {
    struct html_text *out;
    const char *base_url;
    size_t limit_bytes;
    bool is_stopped; /* nothing more is taken */

    struct open_element open[LIMIT_HTML_DEPTH];
    size_t n_open;
    size_t n_dropped, n_titles, n_pre; /* open elements of that role */
    struct list lists[LISTS];
    size_t n_lists; /* may exceed LISTS */

    /* Due before the next character. */
    unsigned newlines; /* 0 to 2 */
    bool has_space, has_cell_gap;
    char marker[MARKER_BYTES]; /* "- ", "## " */

    char link[LIMIT_WEB_ASKED_URL_BYTES + 1]; /* of the open link; "" where there is none */
    size_t link_begin;                        /* where its text begins */
    bool is_title_done;
    bool is_pre_new; /* a line break here is the markup's, not the text's */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

static void stop(struct writer *w)
{
    w->out->is_cut = true;
    w->is_stopped = true;
}

/* The bytes that came have none, but "&#27;" makes one. */
static bool is_control(char c)
{
    return ((unsigned char)c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
}

/* ---- Writing ---- */

/* Asks for the next character to stand on a new line (1) or after an empty one (2).  What has a
 * marker begins at the marker, not on the line below. */
static void break_line(struct writer *w, unsigned newlines)
{
    if (w->marker[0] == '\0' && newlines > w->newlines)
        w->newlines = newlines;
}

static void add_marker(struct writer *w, const char *marker)
{
    size_t len = strlen(w->marker);
    snprintf(w->marker + len, sizeof w->marker - len, "%s", marker);
}

static void indent(struct writer *w)
{
    size_t levels = w->n_lists < LISTS ? w->n_lists : LISTS;
    if (levels > 0 && w->marker[0] != '\0')
        levels--; /* the marker takes the place */
    for (size_t i = 0; i < levels; i++)
        strbuf_append_cstr(&w->out->text, "  ");
}

/* Writes what is due. */
static void flush_gap(struct writer *w)
{
    struct strbuf *text = &w->out->text;
    bool is_first = text->len == 0;
    if (w->newlines > 0 || is_first) {
        for (unsigned i = 0; i < w->newlines && !is_first; i++)
            strbuf_append_char(text, '\n');
        indent(w);
    } else if (w->has_cell_gap) {
        strbuf_append_cstr(text, " | ");
    } else if (w->has_space && text->data[text->len - 1] != '\n') {
        strbuf_append_char(text, ' ');
    }
    strbuf_append_cstr(text, w->marker);
    w->newlines = 0;
    w->has_space = w->has_cell_gap = false;
    w->marker[0] = '\0';
}

static void write_pre(struct writer *w, char c)
{
    bool is_skipped = w->is_pre_new && c == '\n';
    w->is_pre_new = false;
    if (!is_skipped)
        strbuf_append_char(&w->out->text, c);
}

static void write_char(struct writer *w, char c)
{
    if (w->n_pre > 0) {
        write_pre(w, c);
        return;
    }
    if (is_blank(c)) {
        w->has_space = true;
        return;
    }
    if (w->newlines > 0 || w->has_space || w->has_cell_gap || w->marker[0] != '\0' ||
        w->out->text.len == 0)
        flush_gap(w);
    strbuf_append_char(&w->out->text, c);
}

static void write_title(struct writer *w, const char *s, size_t n)
{
    struct strbuf *title = &w->out->title;
    for (size_t i = 0; i < n && title->len < LIMIT_WEB_TITLE_BYTES; i++) {
        bool has_gap = title->len == 0 || title->data[title->len - 1] == ' ';
        if (!is_blank(s[i]) && !is_control(s[i]))
            strbuf_append_char(title, s[i]);
        else if (is_blank(s[i]) && !has_gap)
            strbuf_append_char(title, ' ');
    }
}

/* ---- Elements ---- */

static int compare_element(const void *key, const void *element)
{
    return strcmp(key, ((const struct element *)element)->name);
}

static const char *attribute(const xmlChar **attributes, const char *name)
{
    for (; attributes != NULL && attributes[0] != NULL; attributes += 2)
        if (strcasecmp((const char *)attributes[0], name) == 0)
            return attributes[1] != NULL ? (const char *)attributes[1] : "";
    return NULL;
}

static bool is_hidden(const xmlChar **attributes)
{
    const char *aria = attribute(attributes, "aria-hidden");
    const char *style = attribute(attributes, "style");
    if (attribute(attributes, "hidden") != NULL || (aria != NULL && strcasecmp(aria, "true") == 0))
        return true;
    for (; style != NULL && *style != '\0'; style++) {
        static const char *const rules[] = {"display:none", "display: none", "visibility:hidden",
                                            "visibility: hidden"};
        for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
            if (strncasecmp(style, rules[i], strlen(rules[i])) == 0)
                return true;
    }
    return false;
}

static enum role role_of(const char *name, const xmlChar **attributes)
{
    if (strcmp(name, "html") == 0 || strcmp(name, "body") == 0)
        return ROLE_INLINE; /* hidden until a script has run, often */
    if (is_hidden(attributes))
        return ROLE_DROP;
    const struct element *e = bsearch(name, elements, sizeof elements / sizeof elements[0],
                                      sizeof elements[0], compare_element);
    return e != NULL ? e->role : ROLE_INLINE;
}

static void open_item(struct writer *w)
{
    char number[16] = "- ";
    struct list *list = w->n_lists > 0 && w->n_lists <= LISTS ? &w->lists[w->n_lists - 1] : NULL;
    if (list != NULL && list->is_ordered)
        snprintf(number, sizeof number, "%u. ", ++list->n_items);
    w->marker[0] = '\0'; /* of an item that had nothing in it */
    break_line(w, 1);
    add_marker(w, number);
}

static void open_list(struct writer *w, const char *name)
{
    w->marker[0] = '\0';
    break_line(w, w->n_lists == 0 ? 2 : 1);
    if (w->n_lists < LISTS)
        w->lists[w->n_lists] = (struct list){.is_ordered = strcmp(name, "ol") == 0};
    w->n_lists++;
}

static void open_heading(struct writer *w, const char *name)
{
    char marker[8];
    snprintf(marker, sizeof marker, "%.*s ", name[1] - '0', "######");
    break_line(w, 2);
    add_marker(w, marker);
}

/* Remembers the link where a web tool could follow it. */
static void open_link(struct writer *w, const char *href)
{
    w->link[0] = '\0';
    if (href == NULL || href[0] == '\0' || href[0] == '#' || strlen(href) > LIMIT_WEB_URL_BYTES)
        return;
    xmlChar *url = xmlBuildURI((const xmlChar *)href, (const xmlChar *)w->base_url);
    const char *s = url != NULL ? (const char *)url : "";
    if ((strncmp(s, "http://", 7) == 0 || strncmp(s, "https://", 8) == 0) &&
        strlen(s) < sizeof w->link && utf8_valid(str_from(s)))
        memcpy(w->link, s, strlen(s) + 1);
    if (url != NULL)
        xmlFree(url);
    w->link_begin = w->out->text.len;
}

static void close_link(struct writer *w)
{
    struct strbuf *text = &w->out->text;
    if (w->link[0] != '\0' && text->len > w->link_begin && w->n_pre == 0) {
        struct str shown = {text->data + w->link_begin, text->len - w->link_begin};
        if (str_find(shown, str_from(w->link)) == SIZE_MAX)
            strbuf_printf(text, " (%s)", w->link);
    }
    w->link[0] = '\0';
}

static void open_pre(struct writer *w)
{
    break_line(w, 2);
    if (w->n_pre++ > 0)
        return;
    flush_gap(w);
    strbuf_append_cstr(&w->out->text, "```\n");
    w->is_pre_new = true;
}

static void close_pre(struct writer *w)
{
    struct strbuf *text = &w->out->text;
    if (--w->n_pre > 0)
        return;
    if (text->len > 0 && text->data[text->len - 1] != '\n')
        strbuf_append_char(text, '\n');
    strbuf_append_cstr(text, "```");
    w->newlines = 2;
}

static void mark_code(struct writer *w, bool is_open)
{
    if (w->n_pre > 0)
        return;
    if (is_open)
        write_char(w, '`');
    else
        strbuf_append_char(&w->out->text, '`');
}

static void open_role(struct writer *w, enum role role, const char *name,
                      const xmlChar **attributes)
{
    switch (role) {
    case ROLE_INLINE:
    case ROLE_CELL:
        break;
    case ROLE_DROP:
        w->n_dropped++;
        break;
    case ROLE_TITLE:
        w->n_titles++;
        break;
    case ROLE_HEADING:
        open_heading(w, name);
        break;
    case ROLE_BLOCK:
        break_line(w, 2);
        break;
    case ROLE_LINE:
        break_line(w, 1);
        break;
    case ROLE_LIST:
        open_list(w, name);
        break;
    case ROLE_ITEM:
        open_item(w);
        break;
    case ROLE_PRE:
        open_pre(w);
        break;
    case ROLE_CODE:
        mark_code(w, true);
        break;
    case ROLE_LINK:
        open_link(w, attribute(attributes, "href"));
        break;
    case ROLE_BREAK:
        if (w->n_pre > 0)
            write_pre(w, '\n');
        else
            break_line(w, w->newlines < 2 ? w->newlines + 1 : 2);
        break;
    }
}

static void close_role(struct writer *w, enum role role)
{
    switch (role) {
    case ROLE_INLINE:
    case ROLE_BREAK:
        break;
    case ROLE_DROP:
        w->n_dropped--;
        break;
    case ROLE_TITLE:
        w->n_titles--;
        w->is_title_done = w->out->title.len > 0;
        break;
    case ROLE_HEADING:
        w->marker[0] = '\0';
        break_line(w, 2);
        break;
    case ROLE_BLOCK:
        break_line(w, 2);
        break;
    case ROLE_LINE:
        break_line(w, 1);
        break;
    case ROLE_LIST:
        w->n_lists--;
        break_line(w, w->n_lists == 0 ? 2 : 1);
        break;
    case ROLE_ITEM:
        w->marker[0] = '\0';
        break_line(w, 1);
        break;
    case ROLE_CELL:
        w->has_cell_gap = true;
        break;
    case ROLE_PRE:
        close_pre(w);
        break;
    case ROLE_CODE:
        mark_code(w, false);
        break;
    case ROLE_LINK:
        close_link(w);
        break;
    }
}

/* ---- What libxml2 calls ---- */

static void on_start(void *arg, const xmlChar *name, const xmlChar **attributes)
{
    struct writer *w = arg;
    if (w->is_stopped)
        return;
    if (w->n_open == LIMIT_HTML_DEPTH) {
        stop(w);
        return;
    }
    enum role role = role_of((const char *)name, attributes);
    if (w->n_dropped > 0 && role != ROLE_DROP)
        role = ROLE_INLINE;
    w->open[w->n_open++] = (struct open_element){name, role};
    open_role(w, role, (const char *)name, attributes);
}

/* The parser now and then opens an element and never tells its end; it goes with the one around
 * it. */
static void on_end(void *arg, const xmlChar *name)
{
    struct writer *w = arg;
    size_t at = w->n_open;
    while (at > 0 && strcmp((const char *)w->open[at - 1].name, (const char *)name) != 0)
        at--;
    if (w->is_stopped || at == 0)
        return;
    while (w->n_open >= at)
        close_role(w, w->open[--w->n_open].role);
}

static void on_text(void *arg, const xmlChar *bytes, int n)
{
    struct writer *w = arg;
    const char *s = (const char *)bytes;
    if (w->is_stopped || w->n_dropped > 0 || n <= 0)
        return;
    if (w->n_titles > 0) {
        if (!w->is_title_done)
            write_title(w, s, (size_t)n);
        return;
    }
    for (int i = 0; i < n; i++) {
        if (!is_control(s[i]))
            write_char(w, s[i]);
        if (w->out->text.len > w->limit_bytes) {
            stop(w);
            return;
        }
    }
}

/* ---- The whole ---- */

struct str html_text_cut(struct str s, size_t limit)
{
    if (s.len > limit)
        s.len = limit;
    s.len -= utf8_incomplete_tail(s);
    return s;
}

static void cut(struct strbuf *sb, size_t limit)
{
    struct str s = html_text_cut(strbuf_str(sb), limit);
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    if (sb->data != NULL) {
        sb->len = s.len;
        sb->data[sb->len] = '\0';
    }
}

/* In pieces, so that a page that is deep or long enough is not read to its end.  Each ends with a
 * whole character. */
static void feed(struct writer *w, htmlParserCtxtPtr parser, struct str html)
{
    while (html.len > 0 && !w->is_stopped) {
        struct str piece = html_text_cut(html, PIECE_BYTES);
        htmlParseChunk(parser, piece.ptr, (int)piece.len, 0);
        html = (struct str){html.ptr + piece.len, html.len - piece.len};
    }
    if (!w->is_stopped)
        htmlParseChunk(parser, "", 0, 1);
    while (w->n_open > 0 && !w->is_stopped)
        close_role(w, w->open[--w->n_open].role);
}

static enum status parse(struct writer *w, struct str html)
{
    htmlSAXHandler sax = {.startElement = on_start,
                          .endElement = on_end,
                          .characters = on_text,
                          .ignorableWhitespace = on_text};
    htmlParserCtxtPtr parser =
        htmlCreatePushParserCtxt(&sax, w, NULL, 0, NULL, XML_CHAR_ENCODING_UTF8);
    if (parser == NULL)
        return STATUS_NO_MEMORY;
    htmlCtxtUseOptions(parser, HTML_PARSE_RECOVER | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING |
                                   HTML_PARSE_NONET | HTML_PARSE_IGNORE_ENC);
    feed(w, parser, html);
    htmlFreeParserCtxt(parser);
    return STATUS_OK;
}

enum status html_text_make(struct str html, const char *base_url, size_t limit_bytes,
                           struct html_text *out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, xmlInitParser);
    *out = (struct html_text){0};
    strbuf_init(&out->title, LIMIT_WEB_TITLE_BYTES);
    strbuf_init(&out->text, limit_bytes + SLACK_BYTES);
    struct writer *w = mem_zalloc(sizeof *w);
    w->out = out;
    w->base_url = base_url;
    w->limit_bytes = limit_bytes;
    unsigned long failures = mem_failures();
    enum status st = parse(w, html);
    mem_free(w);
    out->is_cut = out->is_cut || out->text.failed;
    cut(&out->title, LIMIT_WEB_TITLE_BYTES);
    cut(&out->text, limit_bytes);
    return mem_check(failures, st, NULL);
}

void html_text_free(struct html_text *t)
{
    if (t == NULL)
        return;
    strbuf_free(&t->title);
    strbuf_free(&t->text);
}
