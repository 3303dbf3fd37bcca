/* options -- the one table of settings, behind flags, PENSIEVE_* variables, the settings file,
 * --help and docs/CONFIGURATION.md.
 *
 * Order: flag > environment > settings file (JSON with comments) > default.  A value that is wrong
 * is refused with its place (flag, variable, or file with line and column) and, for a name, the
 * nearest known one. */
#pragma once

#include <stdint.h>

#include "base/strbuf.h"

enum option_type {
    OPTION_TEXT,
    OPTION_NUMBER, /* a whole number within the range */
    OPTION_GB,     /* a decimal number of GiB */
    OPTION_FLAG,   /* true or false; as a flag it takes no value */
};

/* id, name (flag, and settings key), type, default, low, high, argument, help */
#define OPTION_MAP(X)                                                                              \
    X(HOST, "host", TEXT, "127.0.0.1", 0, 0, "ADDRESS", "address to listen on")                    \
    X(PORT, "port", NUMBER, "7777", 0, 65535, "N", "port; 0 lets the system choose")               \
    X(MODEL, "model", TEXT, "", 0, 0, "NAME|PATH", "model of the catalogue, or a .gguf file")      \
    X(CTX, "ctx", NUMBER, "0", 0, 1048576, "TOKENS",                                               \
      "window of one conversation; 0: what the model and the memory allow, up to 32768")           \
    X(POOL, "pool", NUMBER, "0", 0, 4194304, "TOKENS",                                             \
      "KV pool of all conversations together; 0: one window, or more where memory is ample")       \
    X(PARALLEL, "parallel", NUMBER, "4", 1, 16, "N", "turns that are decoded together")            \
    X(DRAFTS, "drafts", FLAG, "true", 0, 0, "",                                                    \
      "guess at text that repeats what was said, and verify it in one step; replies are the same") \
    X(THREADS, "threads", NUMBER, "0", 0, 512, "N", "threads that compute; 0: as measured")        \
    X(FLASH_ATTENTION, "flash-attention", TEXT, "auto", 0, 0, "auto|on|off",                       \
      "form of attention; auto: the faster one, as measured")                                      \
    X(KERNELS, "kernels", TEXT, "auto", 0, 0, "auto|off|avx2|avx512|avx512-vnni|neon|neon-i8mm",   \
      "compute kernels; auto: the best that this processor has, if measured to be faster")         \
    X(TUNE, "tune", TEXT, "auto", 0, 0, "auto|now|never",                                          \
      "measure what is fastest here: at the first start of a model, now, or never")                \
    X(REPACK, "repack", FLAG, "false", 0, 0, "", "keep a second, repacked copy of the weights")    \
    X(GPU_LAYERS, "gpu-layers", NUMBER, "0", 0, 10000, "N", "layers to put on a GPU")              \
    X(API_KEY_FILE, "api-key-file", TEXT, "", 0, 0, "FILE",                                        \
      "file that holds the key clients must send (default key: pensieve-local-token)")             \
    X(ALLOWED_HOST, "allowed-host", TEXT, "", 0, 0, "NAME,...", "more Host names to answer to")    \
    X(SEARXNG, "searxng", TEXT, "", 0, 0, "URL",                                                   \
      "SearXNG whose results web_search answers with; also opens the web to web_fetch")            \
    X(MEMORY_WARN, "memory-warn", GB, "2", 0, 0, "GB", "free memory below which to warn")          \
    X(MEMORY_REJECT, "memory-reject", GB, "1", 0, 0, "GB",                                         \
      "free memory below which new requests are refused")                                          \
    X(MEMORY_STOP, "memory-stop", GB, "0.5", 0, 0, "GB", "free memory below which to stop")        \
    X(MODELS, "models", TEXT, "", 0, 0, "DIR",                                                     \
      "where models lie (default: ~/.local/share/pensieve/models)")                                \
    X(CACHE_DIR, "cache-dir", TEXT, "", 0, 0, "DIR",                                               \
      "where measurements and prompts are kept (default: ~/.cache/pensieve)")                      \
    X(CACHE, "cache", FLAG, "true", 0, 0, "",                                                      \
      "keep prompts on disk over restarts; --cache=false deletes those that are kept")             \
    X(CACHE_GB, "cache-gb", GB, "10", 0, 0, "GB", "most that kept prompts take on disk")           \
    X(CACHE_DAILY_GB, "cache-daily-gb", GB, "20", 0, 0, "GB",                                      \
      "most of them that is written in a day")                                                     \
    X(CACHE_DAYS, "cache-days", NUMBER, "30", 1, 36500, "DAYS",                                    \
      "kept prompts that nobody used for so long are deleted")                                     \
    X(LOG_LEVEL, "log-level", TEXT, "info", 0, 0, "error|warn|info|debug", "what is logged")       \
    X(CONFIG, "config", TEXT, "", 0, 0, "FILE",                                                    \
      "settings file (default: ~/.config/pensieve/config.json)")                                   \
    X(PING_MS, "ping-ms", NUMBER, "5000", 10, 250000, "MS", "pause between pings of a stream")     \
    X(PROGRESS_MS, "progress-ms", NUMBER, "480000", 10, 3600000, "MS",                             \
      "silence of a stream after which it tells its progress in a thinking block")                 \
    X(PREFIX_HEADER, "prefix-header", FLAG, "false", 0, 0, "",                                     \
      "tell in a header where a prompt parts from what was known; answers then begin late")        \
    X(ENGINE, "engine", TEXT, "local", 0, 0, "local|script:DIR",                                   \
      "what answers; a folder of scripts is for tests")                                            \
    X(TEST_ROUTES, "test-routes", FLAG, "false", 0, 0, "", "the levers that tests pull")           \
    X(RECOUNT, "recount", TEXT, "", 0, 0, "FILE",                                                  \
      "count rows that are computed twice, over restarts by means of this file; for measuring")    \
    X(MEMORY_SOURCE, "memory-source", TEXT, "", 0, 0, "FILE",                                      \
      "read the free bytes from here instead of from the system; for tests")

enum option {
#define X(id, name, type, value, low, high, arg, help) OPTION_##id,
    OPTION_MAP(X)
#undef X
        OPTION_COUNT
};

enum option_origin { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENVIRONMENT, ORIGIN_FLAG };

struct options {
    char *values[OPTION_COUNT]; /* text; never NULL */
    enum option_origin origins[OPTION_COUNT];
    char **rest; /* arguments that are no options; borrowed */
    size_t n_rest;
    bool json; /* --json */
    bool help; /* --help, -h */
};

/* Reads flags from argv[1..argc) (argv[0] is the verb), then environment and file.  argv is
 * reordered.  STATUS_INVALID for a bad flag or variable, STATUS_CORRUPT for a bad settings file. */
MUST_USE enum status options_read(int argc, char **argv, struct options *out, struct error *err);
void options_free(struct options *o);

const char *option_text(const struct options *o, enum option id);
int64_t option_number(const struct options *o, enum option id);
uint64_t option_bytes(const struct options *o, enum option id); /* OPTION_GB */
bool option_flag(const struct options *o, enum option id);
bool option_is_set(const struct options *o, enum option id); /* by anyone */

/* The table for --help, and as Markdown for docs/CONFIGURATION.md. */
void options_print_help(struct strbuf *out);
void options_print_markdown(struct strbuf *out);
