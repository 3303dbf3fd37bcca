/* handlers -- what stands behind the routes.  Each answers its exchange exactly once, or hands it
 * to a worker that does. */
#pragma once

#include "server/exchange.h"

/* handler_messages.c */
void handle_messages(struct exchange *x);
void handle_count_tokens(struct exchange *x);

/* handler_info.c */
void handle_root(struct exchange *x);
void handle_health(struct exchange *x);
void handle_metrics(struct exchange *x);
void handle_models(struct exchange *x);
void handle_model(struct exchange *x);

/* handler_admin.c */
void handle_stop(struct exchange *x);
void handle_test_stats(struct exchange *x);
void handle_test_release(struct exchange *x);
void handle_test_fail_alloc(struct exchange *x);
