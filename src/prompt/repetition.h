/* repetition -- an agent that goes round in circles.
 *
 * Small models repeat a call whose result they have just been given, again and again, until the
 * client's limit of turns.  Once is a retry; where the same calls gave the same results twice in a
 * row, with nothing in between, a third time brings nothing new, and the model is asked for words
 * instead (canon.must_use_words).  Anything else that was said or done in between starts anew.
 *
 * The second round is not shown to the model, but a line in its place: one that reads its call
 * twice takes it for the subject and explains it (docs/decisions/repeated-calls.md). */
#pragma once

#include "api/message.h"
#include "base/arena.h"

/* Whether messages `at` and `at` + 1, calls and their results, are the two before them again. */
bool repetition_at(const struct message_request *req, size_t at);

/* Whether the conversation ends so. */
bool repetition_found(const struct message_request *req);

/* The request with a line of text in the place of such rounds: `req` itself where there are none;
 * NULL where the arena is full.
 */
const struct message_request *repetition_left_out(const struct message_request *req,
                                                  struct arena *arena);
