/* kvjournal -- how many bytes the store has written today, noted in its folder, so that a restart
 * does not give the day new ones.  A note that can't be read or written costs no more than that. */
#pragma once

#include <stdint.h>

#define KVJOURNAL_NAME "written-today"

int64_t kvjournal_today(void); /* days since 1970, UTC */

/* What is noted for `day`; 0 where nothing is. */
uint64_t kvjournal_read(int folder_fd, int64_t day);
void kvjournal_write(const char *folder, int64_t day, uint64_t n_bytes);
