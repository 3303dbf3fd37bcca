/* charset -- text of a web page as clean UTF-8.
 *
 * Which character set it is in says, in this order: a byte order mark, the header, the first bytes
 * of the markup; else it is UTF-8.  Only the sets that browsers know (the Encoding Standard's) are
 * decoded, under the names that browsers know: a page names its set itself, and the system's
 * converter has many more, of which some had holes. */
#pragma once

#include "base/strbuf.h"

/* Appends `bytes` as valid UTF-8 without control characters other than tab and newline; each line
 * ends with a newline alone.  What cannot be decoded becomes U+FFFD.  `content_type` is the
 * header's value, "" where there is none.  STATUS_NO_MEMORY, or STATUS_TOO_LARGE beyond `out`'s
 * limit. */
MUST_USE enum status charset_decode(struct str bytes, const char *content_type, struct strbuf *out);
