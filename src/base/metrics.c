#include "metrics.h"

#include <inttypes.h>
#include <stdatomic.h>

static _Atomic int64_t values[METRIC_COUNT];

static const struct {
    const char *name, *type, *help;
} table[METRIC_COUNT] = {
#define X(id, name, type, help) {name, type, help},
    METRIC_MAP(X)
#undef X
};

void metric_add(enum metric m, int64_t delta)
{
    atomic_fetch_add_explicit(&values[m], delta, memory_order_relaxed);
}

void metric_set(enum metric m, int64_t value)
{
    atomic_store_explicit(&values[m], value, memory_order_relaxed);
}

int64_t metric_get(enum metric m)
{
    return atomic_load_explicit(&values[m], memory_order_relaxed);
}

void metrics_print(struct strbuf *out)
{
    for (int m = 0; m < METRIC_COUNT; m++) {
        strbuf_printf(out, "# HELP %s %s\n", table[m].name, table[m].help);
        strbuf_printf(out, "# TYPE %s %s\n", table[m].name, table[m].type);
        strbuf_printf(out, "%s %" PRId64 "\n", table[m].name, metric_get((enum metric)m));
    }
}
