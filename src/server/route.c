#include "server/route.h"

#include "server/handlers.h"

static const struct route routes[] = {
    {HTTP_METHOD_GET, "/", ROUTE_PUBLIC, handle_root},
    {HTTP_METHOD_GET, "/api/hello", ROUTE_PUBLIC, handle_root},
    {HTTP_METHOD_GET, "/health", ROUTE_PUBLIC, handle_health},
    {HTTP_METHOD_GET, "/metrics", 0, handle_metrics},
    {HTTP_METHOD_GET, "/v1/models", 0, handle_models},
    {HTTP_METHOD_GET, "/v1/models/", ROUTE_PREFIX, handle_model},
    {HTTP_METHOD_POST, "/v1/messages", ROUTE_WORKER | ROUTE_ENGINE | ROUTE_TURN, handle_messages},
    {HTTP_METHOD_POST, "/v1/messages/count_tokens", ROUTE_WORKER | ROUTE_ENGINE,
     handle_count_tokens},
    {HTTP_METHOD_POST, "/admin/stop", 0, handle_stop},
    {HTTP_METHOD_GET, "/test/stats", ROUTE_TEST, handle_test_stats},
    {HTTP_METHOD_POST, "/test/release", ROUTE_TEST, handle_test_release},
    {HTTP_METHOD_POST, "/test/fail-alloc", ROUTE_TEST, handle_test_fail_alloc},
};

static bool path_matches(const struct route *route, struct str path)
{
    struct str own = str_from(route->path);
    if ((route->flags & ROUTE_PREFIX) != 0)
        return path.len > own.len && str_starts_with(path, own);
    return str_equal(path, own);
}

const struct route *route_find(enum http_method method, struct str path, bool with_test_routes,
                               const char **out_allow)
{
    *out_allow = "";
    enum http_method wanted = method == HTTP_METHOD_HEAD ? HTTP_METHOD_GET : method;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        const struct route *route = &routes[i];
        if ((route->flags & ROUTE_TEST) != 0 && !with_test_routes)
            continue;
        if (!path_matches(route, path))
            continue;
        if (route->method == wanted)
            return route;
        *out_allow = route->method == HTTP_METHOD_POST ? "POST" : "GET, HEAD";
    }
    return NULL;
}

struct str route_rest(const struct route *route, struct str path)
{
    size_t n = strlen(route->path);
    return (struct str){path.ptr + n, path.len - n};
}

bool route_next_pair(struct str *query, struct str *out_key, struct str *out_value)
{
    if (query->len == 0)
        return false;
    size_t end = str_find(*query, STR("&"));
    struct str pair = {query->ptr, end == SIZE_MAX ? query->len : end};
    size_t used = end == SIZE_MAX ? query->len : end + 1;
    *query = (struct str){query->ptr + used, query->len - used};

    size_t equals = str_find(pair, STR("="));
    *out_key = (struct str){pair.ptr, equals == SIZE_MAX ? pair.len : equals};
    *out_value = (struct str){"", 0};
    if (equals != SIZE_MAX)
        *out_value = (struct str){pair.ptr + equals + 1, pair.len - equals - 1};
    return true;
}

bool route_query(struct str query, const char *name, struct str *out_value)
{
    struct str key, value;
    while (route_next_pair(&query, &key, &value)) {
        if (!str_is(key, name))
            continue;
        *out_value = value;
        return true;
    }
    return false;
}
