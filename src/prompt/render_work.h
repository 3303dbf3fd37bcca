/* render_work -- one rendering under way: what render.c, render_protect.c and render_cut.c share,
 * and nobody else.
 *
 * A sentinel is "Pv", a nonce of this render that nobody outside can guess, and six digits: letters
 * and digits only, so that no template and no JSON writer changes it. */
#pragma once

#include "base/arena.h"
#include "prompt/control.h"
#include "prompt/render.h"
#include "prompt/token_cache.h"

enum {
    NONCE_BYTES = 2 + 24, /* "Pv" and random_id's letters */
    MARK_BYTES = NONCE_BYTES + 6,
    MOST_SLOTS = 999999,
    MOST_OPENINGS = 3,
};

/* How a template writes replies, found out by trial at birth. */
struct reply_marks {
    struct str openings[MOST_OPENINGS]; /* mem; what may stand before a reply, shortest first, each
                                           the beginning of the next; the first stands before every
                                           reply, those of earlier turns included */
    size_t n_openings;                  /* 0: not known, and no reply is known again */
    struct str end;                     /* mem; the text of the control token behind a reply */
};

struct render {
    const struct model *model;
    struct chat_template *chat;
    struct token_cache *cache;
    struct control *control;
    struct turnmem *turnmem; /* borrowed; may be NULL */
    struct reply_marks marks;
    bool trims_user, trims_assistant;
};

/* What stands behind one sentinel. */
struct slot {
    struct str value;
    bool is_leaf;      /* a string inside JSON: escaped where the template put it between quotes */
    bool may_vanish;   /* some templates drop it, as reasoning of earlier turns: not an error */
    bool joins_next;   /* tokenised together with the template's text behind it */
    bool is_reasoning; /* of the assistant */
    bool was_found;
};

struct work {
    struct render *r;
    struct arena arena;
    char nonce[NONCE_BYTES + 1];
    struct slot *slots; /* arena, n_slots of capacity */
    size_t n_slots, capacity;
    bool is_full;         /* the arena or the slots ran out */
    bool breaks_controls; /* the fallback: contents stay, their control tokens are broken */
    bool changed_schemas; /* the listed tools are not quite the ones that may be called */
    struct chat_message *messages;
    struct chat_tool *tools;
};

/* Contents and hostile strings of the conversation become sentinels, in w->messages and w->tools.
 * STATUS_TOO_LARGE. */
MUST_USE enum status render_protect(struct work *w, const struct canon *c);

/* The template's text to tokens: cut at the sentinels, and replies that were sampled here in the
 * tokens in which they were.  STATUS_TOO_LARGE, STATUS_NO_MEMORY. */
MUST_USE enum status render_cut(struct work *w, const struct canon *c, struct str text,
                                struct token_list *list);

/* How the template writes replies; n_openings is 0 where it can't be told. */
void reply_marks_find(const struct render *r, struct reply_marks *out);
void reply_marks_free(struct reply_marks *m);
