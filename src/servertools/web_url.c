#include "servertools/web_url.h"

#include <curl/curl.h>

/* `text` as libcurl's functions want it: terminated, and of bytes that may stand in an address. */
static bool copy_text(struct str text, char out[LIMIT_WEB_URL_BYTES + 1])
{
    if (text.len == 0 || text.len > LIMIT_WEB_URL_BYTES)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] <= ' ' || text.ptr[i] == 0x7f)
            return false;
    memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
    return true;
}

static bool get_part(CURLU *u, CURLUPart part, char *out, size_t capacity)
{
    char *value = NULL;
    bool fits =
        curl_url_get(u, part, &value, CURLU_PUNYCODE) == CURLUE_OK && strlen(value) < capacity;
    if (fits)
        memcpy(out, value, strlen(value) + 1);
    curl_free(value);
    return fits;
}

static bool has_part(CURLU *u, CURLUPart part)
{
    char *value = NULL;
    bool has = curl_url_get(u, part, &value, 0) == CURLUE_OK;
    curl_free(value);
    return has;
}

static void normalise_host(char *host)
{
    size_t len = strlen(host);
    while (len > 0 && host[len - 1] == '.')
        host[--len] = '\0';
    for (size_t i = 0; i < len; i++)
        if (host[i] >= 'A' && host[i] <= 'Z')
            host[i] = (char)(host[i] - 'A' + 'a');
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "%2e" becomes "."; a server does so too, and a rule must not be passed by with it. */
static void unescape(char *s)
{
    char *to = s;
    while (*s != '\0') {
        bool is_escape = s[0] == '%' && hex_digit(s[1]) >= 0 && hex_digit(s[2]) >= 0;
        int value = is_escape ? hex_digit(s[1]) * 16 + hex_digit(s[2]) : (unsigned char)*s;
        s += is_escape ? 3 : 1;
        *to++ = (char)(value == 0 || value == '\\' ? '/' : value);
    }
    *to = '\0';
}

/* Takes out "", "." and "..", keeping a slash at the end.  `path` begins with a slash, so that what
 * is written never reaches what is still to be read. */
static void drop_dot_segments(char *path)
{
    size_t len = 0;
    for (const char *s = path; *s != '\0';) {
        s++; /* the slash */
        size_t n = strcspn(s, "/");
        bool is_up = n == 2 && memcmp(s, "..", 2) == 0;
        bool is_nothing = n == 0 || (n == 1 && *s == '.');
        bool is_last = s[n] == '\0';
        while (is_up && len > 0 && path[--len] != '/')
            ;
        if (!is_up && !is_nothing) {
            path[len++] = '/';
            memmove(path + len, s, n);
            len += n;
        } else if (is_last) {
            path[len++] = '/';
        }
        s += n;
    }
    path[len] = '\0';
}

static bool take_apart(CURLU *u, struct web_url *out)
{
    char scheme[8];
    if (!get_part(u, CURLUPART_SCHEME, scheme, sizeof scheme) ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        return false;
    if (has_part(u, CURLUPART_USER) || has_part(u, CURLUPART_PASSWORD) ||
        has_part(u, CURLUPART_ZONEID))
        return false;
    if (!get_part(u, CURLUPART_HOST, out->host, sizeof out->host) ||
        !get_part(u, CURLUPART_PATH, out->path, sizeof out->path) || out->path[0] != '/')
        return false;
    out->has_query = has_part(u, CURLUPART_QUERY);
    normalise_host(out->host);
    unescape(out->path);
    drop_dot_segments(out->path);
    return out->host[0] != '\0' && curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
           get_part(u, CURLUPART_URL, out->text, sizeof out->text);
}

bool web_url_parse(struct str text, struct web_url *out)
{
    char copy[LIMIT_WEB_URL_BYTES + 1];
    if (!copy_text(text, copy))
        return false;
    CURLU *u = curl_url();
    if (u == NULL)
        return false;
    bool is_good =
        curl_url_set(u, CURLUPART_URL, copy, CURLU_URLENCODE) == CURLUE_OK && take_apart(u, out);
    curl_url_cleanup(u);
    return is_good;
}
