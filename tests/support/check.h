/* check -- cmocka with its includes in the order it wants, and what our tests share. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/strbuf.h"

#define CHECK_STR(got, wanted)                                                                     \
    do {                                                                                           \
        struct str check_got = (got), check_wanted = str_from(wanted);                             \
        if (!str_equal(check_got, check_wanted))                                                   \
            fail_msg("got \"%.*s\", wanted \"%.*s\"", (int)check_got.len, check_got.ptr,           \
                     (int)check_wanted.len, check_wanted.ptr);                                     \
    } while (0)
