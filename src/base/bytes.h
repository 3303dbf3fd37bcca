/* bytes -- integers in files, little-endian whatever the machine is, at any address. */
#pragma once

#include <stdint.h>

static inline void bytes_put_u32(char *at, uint32_t x)
{
    for (int i = 0; i < 4; i++)
        at[i] = (char)(x >> (8 * i) & 0xff);
}

static inline void bytes_put_u64(char *at, uint64_t x)
{
    bytes_put_u32(at, (uint32_t)x);
    bytes_put_u32(at + 4, (uint32_t)(x >> 32));
}

static inline uint32_t bytes_get_u32(const char *at)
{
    const unsigned char *b = (const unsigned char *)at;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint64_t bytes_get_u64(const char *at)
{
    return bytes_get_u32(at) | (uint64_t)bytes_get_u32(at + 4) << 32;
}
