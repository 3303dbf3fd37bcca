/* splitter_cases -- a reply, and the events that it must become however it is cut. */
#pragma once

#include "unit/prompt/prompt_fixture.h"

#include "prompt/splitter.h"

#define BODY_END   "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"
#define BODY_TOOLS "{\"model\":\"m\",\"tools\":[" FIXTURE_READ_TOOL "]," BODY_END
#define BODY_FORCED                                                                                \
    "{\"model\":\"m\",\"tool_choice\":{\"type\":\"any\"},\"tools\":[" FIXTURE_READ_TOOL            \
    "]," BODY_END
#define BODY_THINKING                                                                              \
    "{\"model\":\"m\",\"thinking\":{\"type\":\"adaptive\"},\"tools\":[" FIXTURE_READ_TOOL          \
    "]," BODY_END

/* Appends an event in a short notation: T(text) K(thinking) C(name,arguments). */
static void write_event(struct strbuf *out, const struct event *ev)
{
    static const char *const opening[] = {
        [EVENT_BLOCK_TEXT] = "T(", [EVENT_BLOCK_THINKING] = "K(", [EVENT_BLOCK_TOOL_USE] = "C("};
    switch (ev->type) {
    case EVENT_BLOCK_START:
        strbuf_append_cstr(out, opening[ev->block]);
        strbuf_append_str(out, ev->name);
        strbuf_append_cstr(out, ev->block == EVENT_BLOCK_TOOL_USE ? "," : "");
        break;
    case EVENT_BLOCK_STOP:
        strbuf_append_char(out, ')');
        break;
    default:
        assert_true(utf8_valid(ev->text));
        strbuf_append_str(out, ev->text);
        break;
    }
}

static void split(const struct splitter_options *options, struct str reply, size_t step,
                  bool was_cut, struct strbuf *out)
{
    struct splitter *s = splitter_create(options);
    struct event ev;
    strbuf_clear(out);
    for (size_t at = 0; at < reply.len; at += step) {
        size_t n = reply.len - at < step ? reply.len - at : step;
        splitter_feed(s, (struct str){reply.ptr + at, n});
        while (splitter_next(s, &ev))
            write_event(out, &ev);
    }
    splitter_finish(s, was_cut);
    while (splitter_next(s, &ev))
        write_event(out, &ev);
    splitter_free(s);
}

struct splitter_case {
    const char *chat_template;
    const char *body;
    const char *reply;
    const char *wanted;
    bool was_cut;
    bool single_call;
    bool text_tools;
    bool names_any;
};

static void check_cases(const struct splitter_case *cases, size_t n)
{
    struct strbuf text, out;
    strbuf_init(&text, 1000000);
    strbuf_init(&out, 1000000);
    for (size_t i = 0; i < n; i++) {
        struct fixture_model f;
        struct rendered r;
        fixture_open(&f, cases[i].chat_template);
        fixture_render(&f, cases[i].body, &r, &text);
        struct splitter_options options = {
            .prompt = &r.chat,
            .tools = FIXTURE_TOOLS,
            .n_tools = 1,
            .text_tools = cases[i].text_tools,
            .names_any = cases[i].names_any,
            .single_call = cases[i].single_call,
            .keep_thinking = true,
        };
        struct str reply = str_from(cases[i].reply);
        for (size_t step = 1; step <= reply.len + 1; step++) {
            split(&options, reply, step, cases[i].was_cut, &out);
            CHECK_STR(strbuf_str(&out), cases[i].wanted);
        }
        rendered_free(&r);
        fixture_close(&f);
    }
    strbuf_free(&text);
    strbuf_free(&out);
}

#define CHECK_CASES(cases) check_cases(cases, sizeof(cases) / sizeof(cases)[0])
