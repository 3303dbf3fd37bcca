/* The reading of the system that this is built for. */
#include "memory/meminfo.h"

#ifndef __APPLE__

#include "memory/meminfo_linux.h"

enum status meminfo_read(uint64_t own_mapped_bytes, struct mem_sample *out, struct error *err)
{
    return meminfo_linux_read("", own_mapped_bytes, out, err);
}

enum status meminfo_self(uint64_t *out_anon_bytes, uint64_t *out_file_bytes)
{
    return meminfo_linux_self("", out_anon_bytes, out_file_bytes);
}

#endif
