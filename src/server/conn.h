/* conn -- one client connection: bytes in, requests out, answers back, one after the other.
 *
 *      state      what happens                                   leaves by
 *      IDLE       nothing was sent yet, or the last answer was   a byte, EOF, LIMIT_KEEP_ALIVE_MS
 *      READING    a request is being read                        its end, an error, a time limit
 *      ANSWERING  the answer of `exchange` is awaited and sent   its end, EOF, LIMIT_STALL_MS
 *      LINGERING  the last answer is out, what comes is dropped  EOF, LIMIT_LINGER_MS
 *      CLOSING    the handle is being closed                     the end of it
 *
 * Reading never stops but for a client that sends far ahead of its answers: so an end or a reset is
 * seen at any moment, and cancels what was asked for.  A half-closed connection counts as left.
 *
 * Owner: the I/O thread. */
#pragma once

#include "server/exchange.h"
#include "server/server_private.h"

/* A new connection of `listener`; beyond the ceiling the oldest idle one makes room. */
void conn_accept(struct server *s, uv_stream_t *listener);

/* There is something to send, or the end was reached. */
void conn_flush(struct conn *c);

/* Looks at every connection's time limits. */
void conns_check_time(struct server *s, uint64_t now_ms);

/* Ends the ones that wait for nothing; with `all`, every one, whatever it waits for. */
void conns_close(struct server *s, bool all);
