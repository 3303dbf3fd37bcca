/* status -- what a fallible call returns, and the text that a person reads.
 *
 * Functions that can fail return `enum status` and are MUST_USE; results travel by pointer and are
 * written only on success.  Where a person will read the cause, the last parameter is a
 * `struct error *`, filled where the cause is known and wrapped at most once on the way up.
 *
 * Not an exception system: a status never carries ownership, and an error never holds prompt text.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#if defined(__GNUC__)
#define MUST_USE               __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NO_RETURN              __attribute__((noreturn))
#else
#define MUST_USE
#define PRINTF_LIKE(fmt, args)
#define NO_RETURN
#endif

/* name, text.  The server maps each to one HTTP status (server/route.c). */
#define STATUS_MAP(X)                                                                              \
    X(OK, "success")                                                                               \
    X(AGAIN, "not ready yet")         /* a time limit passed; call again            */             \
    X(CANCELLED, "cancelled")         /* the other side went away or asked to stop  */             \
    X(INVALID, "invalid request")     /* the caller's input is at fault             */             \
    X(TOO_LARGE, "too large")         /* a ceiling in limits.h was reached          */             \
    X(TOO_LONG, "prompt is too long") /* the prompt does not fit the window         */             \
    X(UNAUTHENTICATED, "authentication failed")                                                    \
    X(FORBIDDEN, "forbidden")                                                                      \
    X(NOT_FOUND, "not found")                                                                      \
    X(BUSY, "busy")                   /* queue full; trying later helps             */             \
    X(NO_MEMORY, "not enough memory") /* the governor or a reservation said no      */             \
    X(IO, "input/output error")                                                                    \
    X(CORRUPT, "damaged data") /* a checksum or a format check failed        */                    \
    X(UNSUPPORTED, "not supported")                                                                \
    X(INTERNAL, "internal error")

enum status {
#define X(name, text) STATUS_##name,
    STATUS_MAP(X)
#undef X
};

/* A cause that a person reads: at most 511 bytes of UTF-8, always terminated. */
struct error {
    enum status status;
    char message[512];
};

/* The constant text of `st`. */
const char *status_text(enum status st);

/* Fills `err` (may be NULL) and returns `st`, so that `return error_set(err, ...)` reads well. */
enum status error_set(struct error *err, enum status st, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "`prefix`: " before the message, keeping the status; for one wrap on the way up. */
void error_wrap(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Stays in release builds: logs file and line and aborts.  Never for input. */
#define INVARIANT(x)                                                                               \
    do {                                                                                           \
        if (!(x))                                                                                  \
            invariant_failed(#x, __FILE__, __LINE__);                                              \
    } while (0)

void invariant_failed(const char *what, const char *file, int line) NO_RETURN;
