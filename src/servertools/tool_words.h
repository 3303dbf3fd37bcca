/* tool_words -- the words of names and descriptions, as a search compares them.
 *
 * A run of letters and digits is a word; snake_case, dots and dashes end it.  A run in camelCase
 * gives its parts and then the whole, so that "GitHub" is found by "git hub" and by "github".
 * Chinese and Japanese characters and Hangul syllables are a word each, since there are no spaces
 * between words to go by.
 * Words come in lower case (ASCII, Latin-1, Greek, Cyrillic), without the plural's ending, cut at
 * TOOL_WORD_BYTES; the commonest English words do not come at all.  Not a linguist: it need only
 * treat the query and the tools alike. */
#pragma once

#include "base/status.h"
#include "base/str.h"

enum { TOOL_WORD_BYTES = 48 };

struct tool_words {
    struct str word; /* valid until the next call */

    /* Private. */
    struct str text;
    size_t at;        /* where the next part begins */
    size_t run_begin; /* of the run that `at` is in */
    size_t n_parts;   /* of that run so far */
    bool is_in_run;
    bool is_whole_next;
    char letters[TOOL_WORD_BYTES];
};

void tool_words_init(struct tool_words *it, struct str text);
MUST_USE bool tool_words_next(struct tool_words *it);
