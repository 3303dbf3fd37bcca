/* The reading on macOS: Mach's page counters, and the kernel's own pressure level. */
#include "memory/meminfo.h"

#ifdef __APPLE__

#include <mach/mach.h>
#include <sys/sysctl.h>

#include "memory/meminfo_parse.h"

enum {
    /* kern.memorystatus_vm_pressure_level: 1 normal, 2 warning, 4 critical. */
    PRESSURE_CRITICAL = 4,
};

static enum status read_pages(struct mem_page_counts *out)
{
    mach_port_t host = mach_host_self();
    vm_size_t page_bytes = 0;
    vm_statistics64_data_t counters;
    mach_msg_type_number_t n = HOST_VM_INFO64_COUNT;
    uint64_t total = 0;
    size_t total_len = sizeof total;
    kern_return_t rc = host_page_size(host, &page_bytes);
    if (rc == KERN_SUCCESS)
        rc = host_statistics64(host, HOST_VM_INFO64, (host_info64_t)&counters, &n);
    mach_port_deallocate(mach_task_self(), host);
    if (rc != KERN_SUCCESS || sysctlbyname("hw.memsize", &total, &total_len, NULL, 0) != 0)
        return STATUS_IO;
    *out = (struct mem_page_counts){
        .page_bytes = page_bytes,
        .total_bytes = total,
        .internal = counters.internal_page_count,
        .purgeable = counters.purgeable_count,
        .wired = counters.wire_count,
        .compressor = counters.compressor_page_count,
    };
    return STATUS_OK;
}

enum status meminfo_read(uint64_t own_mapped_bytes, struct mem_sample *out, struct error *err)
{
    struct mem_page_counts pages;
    if (read_pages(&pages) != STATUS_OK)
        return error_set(err, STATUS_IO, "cannot read the system's memory counters");
    meminfo_from_pages(&pages, own_mapped_bytes, out);

    int level = 0;
    size_t len = sizeof level;
    if (sysctlbyname("kern.memorystatus_vm_pressure_level", &level, &len, NULL, 0) == 0)
        out->is_pressed = level >= PRESSURE_CRITICAL;
    return STATUS_OK;
}

enum status meminfo_self(uint64_t *out_anon_bytes, uint64_t *out_file_bytes)
{
    task_vm_info_data_t info;
    mach_msg_type_number_t n = TASK_VM_INFO_COUNT;
    if (task_info(mach_task_self(), TASK_VM_INFO, (task_info_t)&info, &n) != KERN_SUCCESS)
        return STATUS_IO;
    *out_anon_bytes = info.internal + info.compressed;
    *out_file_bytes = info.external;
    return STATUS_OK;
}

#endif
