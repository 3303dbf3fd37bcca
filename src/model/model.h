/* model -- tokens and sequences: the seam between the scheduler and what computes.
 *
 * Two implementations: model_llama (libllama) and model_toy (deterministic, with real KV rules and
 * injected failures, for tests).  Nothing here knows messages, JSON or sockets.
 *
 * Cells.  The KV pool has n_cells cells shared by all sequences: a cell holds one position and the
 * set of sequences that use it.  seq_copy shares cells and copies no data; seq_remove frees cells
 * that no sequence uses any more.  Positions of a sequence are 0, 1, 2, ... without holes.
 * seq_save and seq_load carry cells out of the pool and back in, through a scratch sequence of the
 * model's own that is not counted in n_sequences.
 *
 * Threads: decode, logits, seq_* and grammars belong to the scheduler thread.  tokenize, piece,
 * is_eog, the info and the template are read-only and may be used by any thread. */
#pragma once

#include <stdint.h>

#include "base/strbuf.h"

typedef int32_t model_token;

enum {
    MODEL_NO_TOKEN = -1,
    MODEL_BATCH_ROWS = 512, /* most rows of one decode call */
    MODEL_LOGIT_ROWS = 64,  /* most of them that want logits */
};

struct model;
struct grammar; /* a grammar and its state along one reply */

struct model_info {
    char name[128];       /* general.name or the file's name */
    char fingerprint[65]; /* SHA-256, hex, of what makes KV comparable */
    uint32_t n_vocab;
    uint32_t n_cells;     /* size of the KV pool */
    uint32_t n_sequences; /* sequence ids are 0 .. n_sequences-1 */
    uint32_t n_context_trained;
    uint64_t weights_bytes; /* resident while loaded */
    uint64_t kv_bytes_per_cell;
    bool can_share_prefix; /* false for recurrent models: only whole sequences can be reused */
    model_token bos;       /* MODEL_NO_TOKEN where prompts have none */
    double prefill_tokens_per_s, decode_tokens_per_s; /* as measured once; 0: not known */
    const char *kernels;      /* which compute: isa_name(); NULL where there are none */
    struct str chat_template; /* Jinja source, "" where the model has none */
    char bos_text[64];
    char eos_text[64];
};

/* One row of a batch. */
struct model_row {
    model_token token;
    uint32_t position;
    uint32_t sequence;
    bool wants_logits;
};

enum model_result {
    MODEL_DONE,    /* all rows are in the pool; logits are valid until the next decode */
    MODEL_FULL,    /* no room in the pool: nothing was changed */
    MODEL_ABORTED, /* the abort function said so: leading rows of each sequence may be in the pool,
                      whole and of use (seq_length tells how many); the others are not */
    MODEL_FAILED,  /* as ABORTED, but the model is not usable any more */
};

enum grammar_trigger_type {
    GRAMMAR_TRIGGER_WORD,         /* starts where this text appears in the reply */
    GRAMMAR_TRIGGER_PATTERN,      /* a regular expression matched anywhere in the reply */
    GRAMMAR_TRIGGER_PATTERN_FULL, /* ... matched from the beginning of the reply */
    GRAMMAR_TRIGGER_TOKEN,        /* starts with this special token (`text` is its piece) */
};

struct grammar_trigger {
    enum grammar_trigger_type type;
    struct str text;
};

/* A tool that may be called without the format's marks: call_scan.h. */
struct grammar_call {
    struct str name;
    struct str schema_json;  /* of its arguments */
    struct str grammar_json; /* the same as a grammar holds it; "" for schema_json */
};

/* What a reply is held to: the template's format, and calls in other forms. */
struct grammar_spec {
    struct str text; /* GBNF; "" for none */
    bool lazy;       /* wait for a trigger */
    const struct grammar_trigger *triggers;
    size_t n_triggers;
    struct str
        prefix; /* what the prompt already wrote of the reply; accepted first when not lazy */
    const struct grammar_call *calls;
    size_t n_calls;
    struct str thinking_start, thinking_end; /* calls are not looked for in between */
    bool begins_in_thinking;
};

struct model_ops {
    void (*destroy)(struct model *m);

    /* Appends the tokens of `text`.  parse_special: text such as <|im_end|> becomes the control
     * token; without it no text can.  STATUS_TOO_LARGE over `capacity`. */
    enum status (*tokenize)(const struct model *m, struct str text, bool parse_special,
                            model_token *out, size_t capacity, size_t *out_n);

    /* Appends the bytes of `token`; control tokens are spelled out only with `special`. */
    void (*piece)(const struct model *m, model_token token, bool special, struct strbuf *out);
    bool (*is_eog)(const struct model *m, model_token token); /* ends a reply */
    bool (*is_control)(const struct model *m, model_token token);

    /* rows: at most MODEL_BATCH_ROWS, of which at most MODEL_LOGIT_ROWS want logits. */
    enum model_result (*decode)(struct model *m, const struct model_row *rows, size_t n_rows);

    /* [n_vocab] f32 of row `row` of the last decode, which had wants_logits. */
    const float *(*logits)(const struct model *m, size_t row);

    /* Positions [begin, end) of `from` become positions of `to` too (end UINT32_MAX: to the last).
     * `to` holds nothing in that range before. */
    void (*seq_copy)(struct model *m, uint32_t from, uint32_t to, uint32_t begin, uint32_t end);

    /* How many positions the sequence holds.  Only where can_share_prefix. */
    uint32_t (*seq_length)(const struct model *m, uint32_t sequence);

    /* Removes positions [begin, end).  False where the model can only drop a whole sequence. */
    bool (*seq_remove)(struct model *m, uint32_t sequence, uint32_t begin, uint32_t end);

    /* What the pool holds of positions [begin, end), in the model's own form, which seq_load of a
     * model with the same fingerprint reads; the caller frees it (mem_free).  Without
     * can_share_prefix, only all of a sequence.  STATUS_NO_MEMORY, _INTERNAL. */
    enum status (*seq_save)(struct model *m, uint32_t sequence, uint32_t begin, uint32_t end,
                            char **out, size_t *out_bytes);

    /* `data` is what seq_save gave for [begin, end).  The sequence, of `from` positions with
     * begin <= from < end, goes on with [from, end) of it.  Takes end - begin free cells while it
     * works and end - from for good.  STATUS_BUSY: no room; STATUS_CORRUPT: not such data.  Nothing
     * is changed then. */
    enum status (*seq_load)(struct model *m, uint32_t sequence, uint32_t begin, uint32_t from,
                            uint32_t end, struct str data);

    /* Asked between operations of a decode, on its threads; true stops it within milliseconds. */
    void (*set_abort)(struct model *m, bool (*should_abort)(void *arg), void *arg);

    /* NULL, with a log line, where the grammar can't be used: the caller decodes freely then. */
    struct grammar *(*grammar_create)(const struct model *m, const struct grammar_spec *spec);
    void (*grammar_free)(struct grammar *g);
    bool (*grammar_allows)(struct grammar *g, model_token token);
    /* Sets logits[i] of the tokens that may not follow to -INFINITY. */
    void (*grammar_mask)(struct grammar *g, float *logits, uint32_t n_vocab);
    void (*grammar_accept)(struct grammar *g, model_token token);
    /* Whether a tool call has begun that is not whole yet: a reply cut here must not be run. */
    bool (*grammar_in_call)(struct grammar *g);
    /* Whether the next token is scaffold of a call, of which the likeliest is wanted. */
    bool (*grammar_in_scaffold)(const struct grammar *g);
};

/* The head of every implementation. */
struct model {
    const struct model_ops *ops;
    struct model_info info;
};

static inline void model_destroy(struct model *m)
{
    if (m != NULL)
        m->ops->destroy(m);
}

/* The tokens of `text` in a fresh array (mem_free); n in *out_n. */
MUST_USE enum status model_tokenize(const struct model *m, struct str text, bool parse_special,
                                    model_token **out, size_t *out_n);
