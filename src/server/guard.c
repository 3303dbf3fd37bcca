#include "server/guard.h"

#include <arpa/inet.h>

#include "base/hash.h"

static const char *const loopback_names[] = {"127.0.0.1", "localhost", "[::1]"};

/* "name:port" -> name and port text (empty where there is none).  The colons of "[::1]" are inside
 * brackets. */
static bool split_host(struct str host, struct str *out_name, struct str *out_port)
{
    size_t end = host.len;
    size_t i = host.len;
    while (i > 0 && host.ptr[i - 1] >= '0' && host.ptr[i - 1] <= '9')
        i--;
    *out_port = (struct str){NULL, 0};
    if (i > 0 && host.ptr[i - 1] == ':') {
        bool is_plain = memchr(host.ptr, ':', i - 1) == NULL;
        bool is_bracketed = host.ptr[0] == '[' && i >= 2 && host.ptr[i - 2] == ']';
        if (!is_plain && !is_bracketed)
            return false;
        if (i == host.len)
            return false; /* "name:" */
        *out_port = (struct str){host.ptr + i, host.len - i};
        end = i - 1;
    }
    *out_name = (struct str){host.ptr, end};
    return end > 0;
}

static bool is_our_port(const struct guard *g, struct str port)
{
    if (port.len == 0)
        return true;
    if (port.len > 5 || port.ptr[0] == '0')
        return false;
    unsigned value = 0;
    for (size_t i = 0; i < port.len; i++)
        value = value * 10 + (unsigned)(port.ptr[i] - '0');
    return value == g->port;
}

static bool is_loopback_name(struct str name)
{
    for (size_t i = 0; i < sizeof loopback_names / sizeof loopback_names[0]; i++)
        if (str_equal_nocase(name, str_from(loopback_names[i])))
            return true;
    return false;
}

/* `name` as it stands in a Host header: an IPv6 address wears brackets there. */
static bool is_address(struct str name, struct str address)
{
    if (address.len == 0)
        return false;
    if (name.len == address.len + 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']')
        name = (struct str){name.ptr + 1, name.len - 2};
    return str_equal_nocase(name, address);
}

bool guard_host(const struct guard *g, struct str host, struct str local_address)
{
    for (size_t i = 0; i < g->n_allowed_hosts; i++)
        if (str_equal_nocase(host, str_from(g->allowed_hosts[i])))
            return true; /* listed with its port, perhaps that of a proxy before us */

    struct str name, port;
    if (!split_host(host, &name, &port) || !is_our_port(g, port))
        return false;
    if (is_loopback_name(name) || is_address(name, local_address))
        return true;
    for (size_t i = 0; i < g->n_allowed_hosts; i++)
        if (str_equal_nocase(name, str_from(g->allowed_hosts[i])))
            return true;
    return false;
}

bool guard_origin(const struct guard *g, const struct http_head *head)
{
    if (head->has_field[HTTP_FIELD_SEC_FETCH_SITE] &&
        str_equal_nocase(head->fields[HTTP_FIELD_SEC_FETCH_SITE], STR("cross-site")))
        return false;
    if (!head->has_field[HTTP_FIELD_ORIGIN])
        return true;

    struct str origin = head->fields[HTTP_FIELD_ORIGIN];
    struct str scheme = STR("http://");
    if (!str_starts_with(origin, scheme))
        return false;
    struct str authority = {origin.ptr + scheme.len, origin.len - scheme.len};
    if (str_equal_nocase(authority, head->fields[HTTP_FIELD_HOST]))
        return true;
    /* Our own page under another of our loopback names. */
    struct str name, port;
    return split_host(authority, &name, &port) && port.len > 0 && is_our_port(g, port) &&
           is_loopback_name(name);
}

bool guard_key(const struct guard *g, const struct http_head *head, struct str *out_key)
{
    struct str bearer = STR("bearer ");
    struct str authorization = head->fields[HTTP_FIELD_AUTHORIZATION];
    struct str candidates[2] = {head->fields[HTTP_FIELD_API_KEY], {NULL, 0}};
    if (authorization.len > bearer.len &&
        str_equal_nocase((struct str){authorization.ptr, bearer.len}, bearer)) {
        candidates[1] =
            (struct str){authorization.ptr + bearer.len, authorization.len - bearer.len};
    }
    for (size_t i = 0; i < 2; i++) {
        if (candidates[i].len > 0 && secret_equal(candidates[i], g->key)) {
            *out_key = candidates[i];
            return true;
        }
    }
    return false;
}

bool guard_content_type(struct str content_type)
{
    struct str json = STR("application/json");
    if (content_type.len < json.len ||
        !str_equal_nocase((struct str){content_type.ptr, json.len}, json))
        return false;
    for (size_t i = json.len; i < content_type.len; i++) {
        if (content_type.ptr[i] == ';')
            return true;
        if (content_type.ptr[i] != ' ' && content_type.ptr[i] != '\t')
            return false;
    }
    return true;
}

bool guard_is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (str_equal_nocase(str_from(host), STR("localhost")))
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return false;
}
