/* mem -- the only place that calls malloc and free.
 *
 * Two kinds of allocation.  Small and bounded by the program itself: mem_alloc() and friends abort
 * when the system has nothing left, as there is nothing sensible to do.  Sized by a client or by a
 * file: mem_try_alloc() returns NULL, and its caller answers with a status.
 *
 * Tests set PENSIEVE_FAIL_ALLOC=n to make the n-th mem_try_* call fail, or call mem_fail_at(). */
#pragma once

#include "status.h"

void *mem_alloc(size_t bytes);                /* uninitialised; never NULL */
void *mem_zalloc(size_t bytes);               /* zeroed; never NULL        */
void *mem_realloc(void *p, size_t bytes);     /* never NULL                */
char *mem_strdup(const char *s);              /* never NULL                */
char *mem_strndup(const char *s, size_t len); /* never NULL; terminated    */
void mem_free(void *p);                       /* NULL is fine              */

MUST_USE void *mem_try_alloc(size_t bytes);
MUST_USE void *mem_try_realloc(void *p, size_t bytes); /* on NULL `p` is unchanged */

/* Tests only: the n-th mem_try_* call from now on, of any thread, fails; 0: none.  Returns how many
 * calls the setting before still waited for, 0 where its call came. */
long mem_fail_at(long n);

/* n * size, or SIZE_MAX where that overflows, so that the allocation then fails. */
size_t mem_array_bytes(size_t n, size_t size);
