/* metrics -- counters and gauges that any thread adds to and the I/O thread prints.
 *
 * All are 64-bit atomics in one table, so that answering /health and /metrics never waits for the
 * engine.  Names follow Prometheus (https://prometheus.io/docs/practices/naming/). */
#pragma once

#include <stdint.h>

#include "strbuf.h"

/* id, Prometheus name, type, help */
#define METRIC_MAP(X)                                                                              \
    X(REQUESTS, "pensieve_requests_total", "counter", "HTTP requests answered")                    \
    X(REQUESTS_FAILED, "pensieve_requests_failed_total", "counter", "HTTP answers of 400 and up")  \
    X(TURNS_RUNNING, "pensieve_turns_running", "gauge", "Turns being generated")                   \
    X(TURNS_WAITING, "pensieve_turns_waiting", "gauge", "Turns that wait for the engine")          \
    X(TURNS_DONE, "pensieve_turns_total", "counter", "Turns that ended")                           \
    X(TURNS_CANCELLED, "pensieve_turns_cancelled_total", "counter", "Turns the client left")       \
    X(PROMPT_TOKENS, "pensieve_prompt_tokens_total", "counter", "Prompt tokens asked for")         \
    X(PREFILLED_TOKENS, "pensieve_prefilled_tokens_total", "counter", "Prompt tokens computed")    \
    X(REUSED_TOKENS, "pensieve_reused_tokens_total", "counter",                                    \
      "Prompt tokens not computed again")                                                          \
    X(GENERATED_TOKENS, "pensieve_generated_tokens_total", "counter", "Tokens sampled")            \
    X(DRAFTED_TOKENS, "pensieve_drafted_tokens_total", "counter", "Tokens guessed ahead")          \
    X(ACCEPTED_TOKENS, "pensieve_accepted_tokens_total", "counter",                                \
      "Guessed tokens that were sampled too: decode calls saved")                                  \
    X(PREFILL_US, "pensieve_prefill_microseconds_total", "counter", "Time spent in prefill")       \
    X(DECODE_US, "pensieve_decode_microseconds_total", "counter", "Time spent in decode")          \
    X(ROWS_COMPUTED, "pensieve_rows_computed_total", "counter",                                    \
      "Rows that the model computed, of prompts, replies and guesses")                             \
    X(ROWS_AGAIN, "pensieve_rows_computed_again_total", "counter",                                 \
      "Of them, rows that had been computed before; counted with --recount only")                  \
    X(ROWS_AGAIN_US, "pensieve_rows_computed_again_microseconds_total", "counter",                 \
      "Time that these took")                                                                      \
    X(KV_CELLS_USED, "pensieve_kv_cells_used", "gauge", "KV cells in use")                         \
    X(KV_CELLS_TOTAL, "pensieve_kv_cells", "gauge", "KV cells in the pool")                        \
    X(CONNECTIONS, "pensieve_connections", "gauge", "Open client connections")                     \
    X(MEMORY_AVAILABLE, "pensieve_memory_available_bytes", "gauge", "Memory free for use")         \
    X(MEMORY_STATE, "pensieve_memory_state", "gauge",                                              \
      "0 safe, 1 caution, 2 critical, 3 emergency")                                                \
    X(RESTORED_TOKENS, "pensieve_restored_tokens_total", "counter",                                \
      "Prompt tokens found on disk (of the reused ones)")                                          \
    X(STORE_BLOCKS, "pensieve_store_blocks", "gauge", "Blocks of prompts on disk")                 \
    X(STORE_BYTES, "pensieve_store_bytes", "gauge", "Their bytes")                                 \
    X(STORE_WRITTEN_BYTES, "pensieve_store_written_bytes_total", "counter", "Bytes written there") \
    X(STORE_DROPPED, "pensieve_store_dropped_total", "counter",                                    \
      "Blocks that could not be written")                                                          \
    X(STORE_DAMAGED, "pensieve_store_damaged_total", "counter",                                    \
      "Blocks that failed their check and were deleted")                                           \
    X(REJECTED_MEMORY, "pensieve_rejected_memory_total", "counter", "Requests refused: memory")

enum metric {
#define X(id, name, type, help) METRIC_##id,
    METRIC_MAP(X)
#undef X
        METRIC_COUNT
};

void metric_add(enum metric m, int64_t delta);
void metric_set(enum metric m, int64_t value);
int64_t metric_get(enum metric m);

/* All of them in the text exposition format, version 0.0.4. */
void metrics_print(struct strbuf *out);
