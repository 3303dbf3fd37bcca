#include "servertools/domain_rules.h"

#include <stdio.h>

enum {
    ENTRY_BYTES = 255,
    ARENA_BYTES = LIMIT_WEB_DOMAINS * 2048, /* host, path and text of an entry, and its struct */
};

/* "example.com/a" as an address, read by the parser that reads the addresses it is compared with.
 */
static bool read_entry(struct str text, struct web_url *out)
{
    char url[sizeof "http://" + ENTRY_BYTES];
    if (text.len > ENTRY_BYTES || memchr(text.ptr, '\0', text.len) != NULL ||
        memchr(text.ptr, '#', text.len) != NULL)
        return false;
    const char *slash = memchr(text.ptr, '/', text.len);
    size_t host_len = slash != NULL ? (size_t)(slash - text.ptr) : text.len;
    if (host_len == 0 || memchr(text.ptr, '*', host_len) != NULL ||
        memchr(text.ptr, ':', host_len) != NULL) /* a scheme or a port */
        return false;
    int len = snprintf(url, sizeof url, "http://%.*s", (int)text.len, text.ptr);
    return web_url_parse((struct str){url, (size_t)len}, out) && !out->has_query;
}

static enum status split_path(struct domain_rule *rule, const char *path)
{
    const char *star = strchr(path, '*');
    size_t len = strlen(path);
    rule->path = (struct str){path, star != NULL ? (size_t)(star - path) : len};
    rule->has_wildcard = star != NULL;
    if (star != NULL) {
        rule->after = str_from(star + 1);
        return memchr(star + 1, '*', rule->after.len) == NULL ? STATUS_OK : STATUS_INVALID;
    }
    while (rule->path.len > 0 && rule->path.ptr[rule->path.len - 1] == '/')
        rule->path.len--;
    return STATUS_OK;
}

static enum status read_rule(struct arena *arena, struct str text, struct domain_rule *out)
{
    struct web_url url;
    if (!read_entry(text, &url))
        return STATUS_INVALID;
    struct str path = arena_str(arena, str_from(url.path));
    out->host = arena_str(arena, str_from(url.host));
    out->text = arena_str(arena, text);
    if (path.ptr == NULL || out->host.ptr == NULL || out->text.ptr == NULL)
        return STATUS_NO_MEMORY;
    return split_path(out, path.ptr);
}

static enum status read_list(const struct json *list, struct domain_rules *out)
{
    size_t n = json_length(list);
    if (json_type(list) != JSON_ARRAY || n > LIMIT_WEB_DOMAINS)
        return STATUS_INVALID;
    out->rules = arena_array(&out->arena, n, sizeof *out->rules);
    if (out->rules == NULL)
        return STATUS_NO_MEMORY;
    for (struct json_iter it = json_iter(list); json_next(&it);) {
        if (json_type(it.value) != JSON_STRING)
            return STATUS_INVALID;
        enum status st = read_rule(&out->arena, json_string(it.value), &out->rules[it.index]);
        if (st != STATUS_OK)
            return st;
        out->n_rules++;
    }
    return STATUS_OK;
}

/* Absent, null and empty all mean that there is no rule. */
static bool has_entries(const struct json *list)
{
    return json_type(list) != JSON_NULL &&
           !(json_type(list) == JSON_ARRAY && json_length(list) == 0);
}

enum status domain_rules_read(const struct json *declared, struct domain_rules *out)
{
    const struct json *allowed = json_get(declared, "allowed_domains");
    const struct json *blocked = json_get(declared, "blocked_domains");
    *out = (struct domain_rules){.are_allowed = has_entries(allowed)};
    arena_init(&out->arena, ARENA_BYTES);
    if (!has_entries(allowed) && !has_entries(blocked))
        return STATUS_OK;
    enum status st = STATUS_INVALID;
    if (!has_entries(allowed) || !has_entries(blocked))
        st = read_list(out->are_allowed ? allowed : blocked, out);
    if (st != STATUS_OK)
        domain_rules_free(out);
    return st;
}

void domain_rules_free(struct domain_rules *r)
{
    if (r == NULL)
        return;
    arena_free(&r->arena);
    *r = (struct domain_rules){0};
}

static bool is_domain(struct str host, struct str domain)
{
    if (host.len < domain.len)
        return false;
    size_t before = host.len - domain.len;
    return str_equal((struct str){host.ptr + before, domain.len}, domain) &&
           (before == 0 || host.ptr[before - 1] == '.');
}

/* The path of a rule ends where a name of the address's path does: "/blog" is not "/blogs". */
static bool ends_here(struct str rest)
{
    return rest.len == 0 || rest.ptr[0] == '/';
}

static bool is_path(struct str path, const struct domain_rule *rule)
{
    if (!str_starts_with(path, rule->path))
        return false;
    struct str rest = {path.ptr + rule->path.len, path.len - rule->path.len};
    if (!rule->has_wildcard)
        return ends_here(rest);
    struct str after = rule->after;
    while (after.len > 0 && after.ptr[after.len - 1] == '/')
        after.len--;
    if (after.len == 0)
        return true;
    for (;;) {
        size_t at = str_find(rest, after);
        if (at == SIZE_MAX)
            return false;
        struct str behind = {rest.ptr + at + after.len, rest.len - at - after.len};
        if (ends_here(behind))
            return true;
        rest = (struct str){rest.ptr + at + 1, rest.len - at - 1};
    }
}

bool domain_rules_allow(const struct domain_rules *r, const struct web_url *url)
{
    if (r->n_rules == 0)
        return true;
    struct str host = str_from(url->host), path = str_from(url->path);
    for (size_t i = 0; i < r->n_rules; i++)
        if (is_domain(host, r->rules[i].host) && is_path(path, &r->rules[i]))
            return r->are_allowed;
    return !r->are_allowed;
}
