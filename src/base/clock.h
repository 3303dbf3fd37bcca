/* clock -- the two clocks.  Monotonic for every limit and duration, wall only for what people read.
 *
 * Tests may freeze either and move it by hand; code that waits must therefore wait on a queue or
 * condition, never by sleeping. */
#pragma once

#include <stdint.h>

uint64_t clock_now_ms(void); /* monotonic milliseconds */
uint64_t clock_now_us(void); /* monotonic microseconds */
int64_t clock_wall_s(void);  /* seconds since 1970, UTC */

/* Such a time as RFC 3339 writes it: 2026-11-27T07:30:00Z. */
enum { CLOCK_TEXT_BYTES = 32 };
void clock_wall_text(int64_t wall_s, char out[CLOCK_TEXT_BYTES]);

/* Tests only: from now on clock_now_ms() answers `ms`; 0 thaws. */
void clock_freeze(uint64_t ms);

/* Tests only: the same for clock_wall_s(); the log's lines keep the real time. */
void clock_freeze_wall(int64_t wall_s);
