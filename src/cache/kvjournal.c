#define _GNU_SOURCE
#include "cache/kvjournal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

enum { DAY_S = 24 * 3600, TEXT_BYTES = 64, PATH_BYTES = 4096 };

int64_t kvjournal_today(void)
{
    return clock_wall_s() / DAY_S;
}

uint64_t kvjournal_read(int folder_fd, int64_t day)
{
    char text[TEXT_BYTES] = "";
    int fd = openat(folder_fd, KVJOURNAL_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    char *rest;
    if (n <= 0 || strtoll(text, &rest, 10) != day)
        return 0;
    return strtoull(rest, NULL, 10);
}

void kvjournal_write(const char *folder, int64_t day, uint64_t n_bytes)
{
    char path[PATH_BYTES], text[TEXT_BYTES];
    snprintf(text, sizeof text, "%lld %llu\n", (long long)day, (unsigned long long)n_bytes);
    snprintf(path, sizeof path, "%s/" KVJOURNAL_NAME, folder);
    (void)!file_write_atomic(path, str_from(text), NULL);
}
