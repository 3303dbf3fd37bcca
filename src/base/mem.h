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

/* How many mem_try_* calls of this thread have failed.  For code that writes many small texts and
 * does not look at each: who calls it compares before and after. */
unsigned long mem_failures(void);

/* `st`, or STATUS_NO_MEMORY where a call of this thread failed since mem_failures() answered
 * `before`: what was made since then can't be trusted, nor can a cause that was told. */
MUST_USE enum status mem_check(unsigned long before, enum status st, struct error *err);

/* n * size, or SIZE_MAX where that overflows, so that the allocation then fails. */
size_t mem_array_bytes(size_t n, size_t size);
