/* tool_regex -- the deferred tools in which a regular expression is found.
 *
 * As Python's re.search on a str: anywhere in the text, case-sensitive unless (?i) says otherwise,
 * \w, \d and \s as Unicode has them.  Name, description, and each argument's name and description
 * are texts of their own, so ^ and $ are the ends of one of these.  A match in the name ranks
 * before one in the description, and that before one in the arguments; then the order of the list
 * counts.
 *
 * Small models write plain words where a pattern is asked for.  So where nothing matches and the
 * pattern has no metacharacter, its words (tool_words.h) are searched one by one instead, as parts
 * of words and in any case; the tool with most of them comes first, then by where they are.
 *
 * The only user of PCRE2.  No pattern can take longer than LIMIT_TOOL_SEARCH_STEPS for all texts
 * together. */
#pragma once

#include "base/status.h"
#include "servertools/tool_picks.h"

/* Offers every tool that matches.  STATUS_INVALID where the pattern is too long or does not compile
 * (`err` says why), STATUS_AGAIN where it took too many steps, or STATUS_NO_MEMORY. */
MUST_USE enum status tool_regex_search(const struct tool *tools, size_t n_tools, struct str pattern,
                                       struct tool_picks *picks, struct error *err);
