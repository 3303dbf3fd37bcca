/* control -- which foreign text would become a control token among the template's own text.
 *
 * A tokenizer that is told to look for special tokens takes them wherever their text stands.  All
 * these texts are learnt once from the vocabulary and looked for without tokenising, since every
 * description and schema of every request goes through here.  Read-only after creation. */
#pragma once

#include "base/strbuf.h"
#include "model/model.h"

struct control;

struct control *control_create(const struct model *m);
void control_destroy(struct control *c);

/* Whether the text of a control token stands somewhere in `text`. */
bool control_stands_in(const struct control *c, struct str text);

/* Appends `text` with a zero-width space after each byte that could begin a control token. */
void control_break(const struct control *c, struct str text, struct strbuf *out);
