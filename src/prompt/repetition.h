/* repetition -- an agent that goes round in circles.
 *
 * Small models repeat a call whose result they have just been given, again and again, until the
 * client's limit of turns.  Once is a retry; where the same calls gave the same results twice in a
 * row, with nothing in between, a third time brings nothing new, and the model is asked for words
 * instead (canon.must_use_words).  Anything else that was said or done in between starts anew. */
#pragma once

#include "api/message.h"

/* Whether the conversation ends with two equal rounds of calls and results. */
bool repetition_found(const struct message_request *req);
