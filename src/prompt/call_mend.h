/* call_mend -- the arguments of a call, as the tool's input_schema wants them.
 *
 * Small models write what they plainly mean in a form that the schema forbids.  Mended are, of the
 * members of the arguments object (not deeper):
 *
 *      written                                   becomes
 *      "5" where a number is wanted              5           (and true, false, null alike)
 *      5 where only text is wanted               "5"         (objects and arrays: their JSON text)
 *      "[1, 2]" where a list or object is wanted [1, 2]
 *      "x" where a list of text is wanted        ["x"]
 *      null or "" of an optional member          left out    (unless the schema names it)
 *      filePath for file_path                    file_path   (letters alike, one such member)
 *      a member that the schema does not know    left out    (unless it allows others)
 *      control characters inside text            escaped
 *
 * What means nothing plainly is passed on as it is: the client's own error tells the model more.
 * A reply streams, so mending goes along with it: of a longer beginning of the same arguments comes
 * a longer text that begins with the shorter one's. */
#pragma once

#include "base/strbuf.h"

struct call_mender;

/* `schema_json` is borrowed while creating; one that can't be read mends nothing but escapes. */
struct call_mender *call_mender_create(struct str schema_json);
void call_mender_free(struct call_mender *m);

/* Appends the certain part of `arguments`, a JSON object or the beginning of one; nothing where it
 * begins with no brace.  True where the object is closed: then what was appended is, too. */
bool call_mend(const struct call_mender *m, struct str arguments, struct strbuf *out);
