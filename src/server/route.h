/* route -- the table of what can be asked for: method and path -> handler. */
#pragma once

#include "server/exchange.h"

enum route_flags {
    ROUTE_PUBLIC = 1,  /* no key needed */
    ROUTE_WORKER = 2,  /* handled on a short worker, else on the I/O thread */
    ROUTE_TURN = 4,    /* makes the model answer: needs memory, an engine and a place */
    ROUTE_ENGINE = 8,  /* needs a loaded engine */
    ROUTE_PREFIX = 16, /* the path begins with `path`, and goes on */
    ROUTE_TEST = 32,   /* only with options.script */
};

struct route {
    enum http_method method; /* GET answers HEAD too */
    const char *path;
    unsigned flags;
    void (*handle)(struct exchange *x); /* answers x, or gives it to a worker that does */
};

/* NULL where there is none; then *out_allow is what the path would take ("GET, HEAD"), or "" for an
 * unknown path. */
const struct route *route_find(enum http_method method, struct str path, bool with_test_routes,
                               const char **out_allow);

/* What comes after the `path` of a ROUTE_PREFIX. */
struct str route_rest(const struct route *route, struct str path);

/* Takes the first pair off a query ("a=b&c=d"), both as they stand; false where none is left. */
bool route_next_pair(struct str *query, struct str *out_key, struct str *out_value);

/* The value of `name` in a query ("a=b&c=d"), as it stands; false where it is not there. */
bool route_query(struct str query, const char *name, struct str *out_value);
