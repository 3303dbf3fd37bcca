/* web_url -- an address in the web, taken apart by the library that will connect to it.
 *
 * Two parsers that read one address differently are how checks are passed by; so what is checked
 * here is libcurl's own reading, and what is fetched is the text that it made of it. */
#pragma once

#include "base/limits.h"
#include "base/str.h"

enum { WEB_HOST_BYTES = 256 };

struct web_url {
    char text[LIMIT_WEB_URL_BYTES + 1]; /* the whole, normalised, without a fragment */
    char host[WEB_HOST_BYTES];          /* lower case, ASCII (IDN as Punycode), no final dot */
    char path[LIMIT_WEB_URL_BYTES + 1]; /* unescaped, without dot and empty segments: to compare
                                           with rules, never to fetch */
    bool has_query;
};

/* False for what is not http or https, names a user or password, has white space or control
 * characters, or is longer than LIMIT_WEB_URL_BYTES. */
bool web_url_parse(struct str text, struct web_url *out);
