/* limits -- every ceiling of the program: value, unit, reason, who enforces it. */
#pragma once

enum {
    /* HTTP (server/conn).  Sources: the hosted API refuses bodies over 32 MB; nginx's header
     * buffers are 1 KiB + 4 x 8 KiB. */
    LIMIT_HEADER_BYTES = 32 * 1024,
    LIMIT_HEADER_COUNT = 100,
    LIMIT_URI_BYTES = 8 * 1024,
    LIMIT_BODY_BYTES = 32 * 1024 * 1024,
    LIMIT_BODIES_BYTES = 256 * 1024 * 1024, /* all request bodies being read or worked on */
    LIMIT_CONNECTIONS = 512,
    LIMIT_PIPELINED_BYTES = 64 * 1024,    /* read ahead while an answer is under way */
    LIMIT_OUTPUT_HIGH_BYTES = 256 * 1024, /* unsent answer of one connection: its writer waits */
    LIMIT_SEND_BUFFER_BYTES = 128 * 1024, /* asked of the system: else it takes megabytes ahead of a
                                             slow client, and nobody waits for it */
    LIMIT_OUTPUT_LOW_BYTES = 64 * 1024,   /* ... and goes on */

    LIMIT_HEADER_MS = 10 * 1000,    /* from the first byte to the end of the headers */
    LIMIT_BODY_GRACE_MS = 5 * 1000, /* then at least LIMIT_BODY_BYTES_PER_S on average */
    LIMIT_BODY_BYTES_PER_S = 10 * 1024,
    LIMIT_KEEP_ALIVE_MS = 120 * 1000,
    LIMIT_STALL_MS = 30 * 1000, /* a client that takes nothing is dropped */
    LIMIT_DRAIN_MS = 30 * 1000, /* SIGTERM: time for running turns to end */
    LIMIT_LINGER_MS = 2 * 1000, /* after the last answer: what still comes is read, so that no
                                   reset destroys the answer on its way */
    LIMIT_CHUNK_EXTENSION_BYTES = 256,

    /* JSON (wire/json_in). */
    LIMIT_JSON_DEPTH = 128,
    LIMIT_JSON_VALUES = 2 * 1000 * 1000, /* 16 bytes each: bounds what 32 MB of "[1,1,..." costs */

    /* A request (api, prompt). */
    LIMIT_REQUEST_ARENA_BYTES = 128 * 1024 * 1024,
    LIMIT_MESSAGES = 100 * 1000, /* the hosted API's ceiling */
    LIMIT_TOOLS = 10 * 1000,
    LIMIT_TOOL_NAME_BYTES = 128,  /* as the hosted API has it */
    LIMIT_MODEL_NAME_BYTES = 256, /* as the hosted API has it */
    LIMIT_STOP_SEQUENCES = 64,
    LIMIT_CONTEXT_EDITS = 16,
    LIMIT_STOP_SEQUENCE_BYTES = 1024,
    LIMIT_PROMPT_BYTES = 64 * 1024 * 1024, /* rendered text */
    LIMIT_REPLY_BYTES = 16 * 1024 * 1024,  /* what one turn may say */
    LIMIT_GRAMMAR_BYTES = 1024 * 1024,

    /* The tool search (servertools). */
    LIMIT_TOOL_PATTERN_CHARACTERS = 200,         /* as the hosted API has it */
    LIMIT_TOOL_SEARCH_STEPS = 100 * 1000 * 1000, /* of one search: 0.1 to 2 s */

    /* Turns (server, sched). */
    LIMIT_TURNS = 64,        /* admitted at once, running or waiting; more get 529 */
    LIMIT_SHORT_QUEUE = 256, /* requests waiting for a short worker; more get 529 */
    LIMIT_JOB_TOKENS = 256,  /* sampled tokens that a turn has not fetched yet; then it parks */
    LIMIT_ROUNDS = 10, /* of one turn, in which the server runs tools; then the client is asked */
    LIMIT_PING_MS = 5 * 1000,
    LIMIT_PROGRESS_MS = 8 * 60 * 1000, /* without a delta; Claude Code gives up after 600 s */

    /* The web tools (servertools).  What a model asks for and what a web page sends are both
     * untrusted. */
    LIMIT_WEB_INPUT_BYTES = 16 * 1024, /* input of one call */
    LIMIT_WEB_ASKED_URL_BYTES = 250,   /* as the hosted API has it */
    LIMIT_WEB_URL_BYTES = 2 * 1024,    /* of redirects, of search results */
    LIMIT_WEB_QUERY_BYTES = 1024,      /* percent-encoded it still fits the 4 KiB request line that
                                          SearXNG's usual front (uWSGI) reads */
    LIMIT_WEB_DOMAINS = 500,           /* in allowed_domains, in blocked_domains */
    LIMIT_WEB_RESULTS = 10,
    LIMIT_WEB_SNIPPET_BYTES = 2 * 1024,
    LIMIT_WEB_TITLE_BYTES = 512,
    LIMIT_WEB_SEARCH_BYTES = 4 * 1024 * 1024, /* a search engine's answer, decompressed */
    LIMIT_WEB_PAGE_BYTES = 4 * 1024 * 1024,   /* a page, decompressed; its text at most as much */
    LIMIT_WEB_HEADER_BYTES = 256 * 1024,      /* headers of one answer */
    LIMIT_WEB_TOKENS = 16 * 1024, /* of a page where the client gives no max_content_tokens: half of
                                     a 32k window */
    LIMIT_WEB_REDIRECTS = 5,
    LIMIT_WEB_CONNECT_MS = 5 * 1000,
    LIMIT_WEB_TOTAL_MS = 15 * 1000, /* one call, with all its redirects */
    LIMIT_HTML_DEPTH = 512,         /* as browsers have it; libxml2 looks through all open elements
                                       at each end tag */
};
