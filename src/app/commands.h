/* commands -- the verbs of the program.  Each takes the options that were read, prints data on
 * stdout and talk on stderr, and returns an exit code. */
#pragma once

#include "app/exit.h"
#include "app/options.h"
#include "catalog/catalog.h"

int cmd_serve(const struct options *o);
int cmd_pull(const struct options *o);
int cmd_list(const struct options *o);
int cmd_status(const struct options *o);
int cmd_stop(const struct options *o);
int cmd_cache(const struct options *o);
int cmd_version(const struct options *o);
int cmd_options(const struct options *o); /* the table as Markdown, for the documents */

/* The folder of kept prompts (mem_free); NULL where there is no HOME.  cmd_cache.c. */
char *cache_folder(const struct options *o);

/* Prints "pensieve: text" on stderr and returns `code`. */
int complain(int code, const char *text);

/* The exit code that fits an error. */
int exit_code_for(const struct error *err);

/* Which model is right for this machine when the user names none, and a line that says why
 * (default_model.c). */
const struct catalog_model *default_model(const struct options *o, char *why, size_t why_bytes);
