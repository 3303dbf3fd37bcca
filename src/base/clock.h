/* clock -- the two clocks.  Monotonic for every limit and duration, wall only for what people read.
 *
 * Tests may freeze the monotonic clock (clock_freeze) and move it by hand; code that waits must
 * therefore wait on a queue or condition, never by sleeping. */
#pragma once

#include <stdint.h>

uint64_t clock_now_ms(void); /* monotonic milliseconds */
uint64_t clock_now_us(void); /* monotonic microseconds */
int64_t clock_wall_s(void);  /* seconds since 1970, UTC */

/* Tests only: from now on clock_now_ms() answers `ms`; 0 thaws. */
void clock_freeze(uint64_t ms);
