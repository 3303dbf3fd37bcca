/* log -- lines for the operator, on stderr or in a file.
 *
 * A line is `time level [request id] text`.  Prompt text, tool input, header values and keys never
 * go through here: log their length.  Thread-safe; one write(2) per line. */
#pragma once

#include "status.h"

enum log_level {
    LOG_ERROR,
    LOG_WARN,
    LOG_INFO,
    LOG_DEBUG,
};

void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* "error", "warn", "info", "debug" -> *out; false for anything else. */
bool log_level_parse(const char *name, enum log_level *out);

void log_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_info(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_debug(const char *fmt, ...) PRINTF_LIKE(1, 2);
