/* child -- a helper program that is run without a shell, watched, and stopped when asked.
 *
 * Its standard output is handed over as it comes; the end of its standard error is kept for the
 * message.  It runs in a folder of ours and in a process group of its own, so that Ctrl-C reaches
 * it through us, and nothing of it stays when it is stopped. */
#pragma once

#include "base/status.h"

struct child_options {
    const char *const *argv; /* argv[0] is looked up in PATH */
    const char *folder;      /* absolute: the working directory, and TMPDIR */
    unsigned limit_ms;       /* for all of it */

    /* Output as it comes; anything but STATUS_OK stops the child and is returned.  NULL: dropped */
    enum status (*on_output)(const void *bytes, size_t n, void *arg, struct error *err);
    bool (*on_tick)(void *arg); /* a few times a second; true stops the child.  NULL: never */
    void *arg;
};

/* Waits for its end.  STATUS_NOT_FOUND: no such program.  STATUS_AGAIN: longer than its limit.
 * STATUS_CANCELLED: on_tick said so.  STATUS_IO: it failed; the message has its last lines. */
MUST_USE enum status child_run(const struct child_options *options, struct error *err);
