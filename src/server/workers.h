/* workers -- the threads that work for requests: two short ones, and one per admitted turn.
 *
 * Short workers take exchanges from a queue and call their route's handler: reading JSON, counting
 * tokens, starting turns.  A turn's own thread then turns its events into bytes, and may wait: for
 * the engine, or for a client that reads slowly. */
#pragma once

#include "server/exchange.h"

struct workers;

MUST_USE enum status workers_create(struct workers **out, struct error *err);

/* Takes a reference.  STATUS_BUSY when the queue is full. */
MUST_USE enum status workers_submit(struct workers *w, struct exchange *x);

/* Runs `run(x)` on a thread of its own, with a reference.  STATUS_BUSY when there is none. */
MUST_USE enum status workers_start_turn(struct workers *w, struct exchange *x,
                                        void (*run)(struct exchange *x));

/* Waits for all; every exchange must have been cancelled or be near its end. */
void workers_destroy(struct workers *w);
