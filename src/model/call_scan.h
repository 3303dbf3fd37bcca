/* call_scan -- finds tool calls in a reply, byte by byte, in the forms that models write them.
 *
 * Small models often write a call as a JSON object in a code fence, or bare, where their template
 * trains marks around it.  Such an object is a call when
 *   - it begins a line, or is what a code fence holds,
 *   - it has the name of an offered tool (but see names_any) and arguments,
 *   - and nothing but further calls follows, to the end of the reply.
 * The last is known only at the end, so its bytes are held back until then.  A mark of the template
 * is a call's beginning at once, unless it is quoted (in a code span or a fence) or a part of a
 * sentence.
 *
 *      place      what the newest bytes are                             leaves by
 *      WORDS      text; releasable up to call_scan_released()           a fence or object, a mark
 *      MAYBE      since `begin` perhaps calls                           what no call can hold
 *      CALL       the arguments of an offered tool, in such an object   the object's end
 *      MARK       since `begin` the template's own format               only the reply's end
 *
 * Two read along: the scheduler's side, to hold a recognised call to its tool's schema while it is
 * sampled, and the turn's side, to split the reply.  Both see the same bytes, so they agree.
 * Not here: JSON parsing, schemas, tokens. */
#pragma once

#include "model/model.h"

enum { CALL_SCAN_MARKS = 16, CALL_SCAN_CALLS = 32 };

/* The mark that models know from other models' templates, whatever their own says. */
#define CALL_SCAN_COMMON_MARK "<tool_call>"
#define CALL_SCAN_COMMON_END  "</tool_call>"

enum call_place {
    CALL_PLACE_WORDS,
    CALL_PLACE_MAYBE,
    CALL_PLACE_CALL,
    CALL_PLACE_MARK,
};

enum call_verdict {
    CALL_VERDICT_WORDS,  /* nothing is held, or what is held is no call: text after all */
    CALL_VERDICT_CALLS,  /* the held bytes are calls, all whole */
    CALL_VERDICT_BROKEN, /* the last was recognised, and the reply was cut inside it */
};

/* Offsets are in the reply. */
struct call_found {
    size_t tool; /* index into the offered tools; SIZE_MAX: none of them */
    size_t name_begin, name_end;
    size_t arguments_begin,
        arguments_end; /* white space may surround them; equal: there are none */
};

struct call_scan;

struct call_scan_options {
    const struct grammar_call *tools; /* borrowed */
    size_t n_tools;
    const struct grammar_spec *format; /* borrowed while creating: its triggers are the marks */
    /* Borrowed; "" where the model does not reason or the caller takes thinking away itself. */
    struct str thinking_start, thinking_end;
    bool begins_in_thinking;
    bool is_marked; /* the text stood between marks: a call may come without arguments, and name any
                       tool, as the client's answer to that helps the model */
    bool names_any; /* a fence that is the whole reply may name any tool, for the same reason */
};

struct call_scan *call_scan_create(const struct call_scan_options *options);
void call_scan_free(struct call_scan *s);

void call_scan_feed(struct call_scan *s, struct str bytes);

enum call_place call_scan_place(const struct call_scan *s);
size_t call_scan_begin(const struct call_scan *s); /* of what is held back: MAYBE, CALL or MARK */
size_t call_scan_mark(const struct call_scan *s);  /* MARK: of the mark, behind whole calls */
size_t call_scan_released(const struct call_scan *s); /* bytes that are surely text */
size_t call_scan_length(const struct call_scan *s);   /* bytes seen */

/* The tool and the first byte of the arguments, in CALL. */
struct call_found call_scan_current(const struct call_scan *s);

/* Whether what comes next is scaffold of what is, or may be, a call (braces, keys, the tool's
 * name), not an argument's text. */
bool call_scan_is_scaffold(const struct call_scan *s);

/* The calls that are whole so far, of what is held back. */
const struct call_found *call_scan_calls(const struct call_scan *s, size_t *out_n);

/* The reply is over.  Where the model itself ended it (not `was_cut`) before the last object was
 * closed, with no string open, that counts as whole, and call_scan_closers() is what is missing. */
enum call_verdict call_scan_finish(struct call_scan *s, bool was_cut);
struct str call_scan_closers(const struct call_scan *s);
