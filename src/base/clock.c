#include "clock.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic uint64_t frozen_ms;
static _Atomic int64_t frozen_wall_s;

uint64_t clock_now_us(void)
{
    uint64_t frozen = atomic_load(&frozen_ms);
    if (frozen != 0)
        return frozen * 1000;
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

uint64_t clock_now_ms(void)
{
    return clock_now_us() / 1000;
}

int64_t clock_wall_s(void)
{
    int64_t frozen = atomic_load(&frozen_wall_s);
    return frozen != 0 ? frozen : (int64_t)time(NULL);
}

void clock_freeze(uint64_t ms)
{
    atomic_store(&frozen_ms, ms);
}

void clock_freeze_wall(int64_t wall_s)
{
    atomic_store(&frozen_wall_s, wall_s);
}

void clock_wall_text(int64_t wall_s, char out[CLOCK_TEXT_BYTES])
{
    time_t at = (time_t)wall_s;
    struct tm tm;
    gmtime_r(&at, &tm);
    strftime(out, CLOCK_TEXT_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm);
}
