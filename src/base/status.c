#include "status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const status_texts[] = {
#define X(name, text) text,
    STATUS_MAP(X)
#undef X
};

const char *status_text(enum status st)
{
    if ((size_t)st >= sizeof status_texts / sizeof status_texts[0])
        return "unknown status";
    return status_texts[st];
}

enum status error_set(struct error *err, enum status st, const char *fmt, ...)
{
    if (err == NULL)
        return st;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    err->status = st;
    return st;
}

void error_wrap(struct error *err, const char *fmt, ...)
{
    if (err == NULL)
        return;
    char inner[sizeof err->message];
    memcpy(inner, err->message, sizeof inner);

    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err->message)
        snprintf(err->message + n, sizeof err->message - (size_t)n, ": %s", inner);
}

void invariant_failed(const char *what, const char *file, int line)
{
    fprintf(stderr, "pensieve: invariant broken: %s (%s:%d)\n", what, file, line);
    abort();
}
