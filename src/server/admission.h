/* admission -- what is decided about a request from its head alone, before a byte of its body. */
#pragma once

#include "server/exchange.h"

/* True: the request may go on, its route is set and room for its body is there.  False: it was
 * answered.  I/O thread. */
bool admission_check(struct exchange *x, struct str local_address);
