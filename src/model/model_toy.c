#define _GNU_SOURCE
#include "model/model_toy.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "base/hash.h"

enum {
    MAX_SEQUENCES = 64,
    SLEEP_SLICE_US = 1000,
};

/* ChatML with tools in the Hermes dialect, as Qwen2.5 has it. */
static const char chat_template[] =
    "{%- if tools %}"
    "{{- '<|im_start|>system\\n' }}"
    "{%- if messages[0]['role'] == 'system' %}{{- messages[0]['content'] + '\\n\\n' }}{%- endif %}"
    "{{- '# Tools\\n\\nYou may call functions. Their signatures are within <tools></tools>:\\n"
    "<tools>' }}"
    "{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}"
    "{{- '\\n</tools>\\n\\nFor each call, return a JSON object with the function name and "
    "arguments "
    "within <tool_call></tool_call>:\\n<tool_call>\\n{\"name\": <function-name>, \"arguments\": "
    "<args-json-object>}\\n</tool_call><|im_end|>\\n' }}"
    "{%- endif %}"
    "{%- for message in messages %}"
    "{%- if loop.first and tools and message.role == 'system' %}"
    "{%- elif message.role == 'tool' %}"
    "{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}"
    "{{- '<|im_start|>user' }}{%- endif %}"
    "{{- '\\n<tool_response>\\n' }}{{- message.content }}{{- '\\n</tool_response>' }}"
    "{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}"
    "{%- endif %}"
    "{%- elif message.role == 'assistant' and message.tool_calls %}"
    "{{- '<|im_start|>assistant' }}"
    "{%- if message.content %}{{- '\\n' + message.content }}{%- endif %}"
    "{%- for tool_call in message.tool_calls %}"
    "{%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}"
    "{{- '\\n<tool_call>\\n{\"name\": \"' }}{{- tool_call.name }}{{- '\", \"arguments\": ' }}"
    "{{- tool_call.arguments | tojson }}{{- '}\\n</tool_call>' }}"
    "{%- endfor %}"
    "{{- '<|im_end|>\\n' }}"
    "{%- else %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}";

struct cell {
    uint64_t users; /* bit s: sequence s holds it; 0: free */
    uint32_t position;
    model_token token;
};

struct sequence {
    uint32_t *cells; /* [n_cells] index of the cell of each position */
    uint32_t len;
};

struct toy {
    struct model base; /* first */
    struct model_toy_options options;
    struct cell *cells;
    uint32_t next_free; /* where the search for a free cell begins */
    struct sequence sequences[MAX_SEQUENCES];
    float *logits; /* [MODEL_BATCH_ROWS][MODEL_TOY_VOCAB] */
    bool row_has_logits[MODEL_BATCH_ROWS];
    model_token *scratch; /* [n_cells] tokens of the sequence that is looked at */
    bool (*should_abort)(void *arg);
    void *abort_arg;
    bool failed;
    uint32_t n_saves, n_loads;
    /* Read by tests on other threads. */
    atomic_uint_fast64_t n_decodes;
    atomic_uint_fast64_t n_rows;
    atomic_uint_fast32_t cells_used;
};

static struct toy *toy_of(struct model *m)
{
    return (struct toy *)m;
}

static const struct toy *toy_of_const(const struct model *m)
{
    return (const struct toy *)m;
}

/* ---- tokens ---- */

static const char *control_text(model_token token)
{
    return token == MODEL_TOY_IM_START ? "<|im_start|>" : "<|im_end|>";
}

static enum status toy_tokenize(const struct model *m, struct str text, bool parse_special,
                                model_token *out, size_t capacity, size_t *out_n)
{
    (void)m;
    size_t n = 0;
    for (size_t at = 0; at < text.len;) {
        struct str rest = {text.ptr + at, text.len - at};
        model_token token = (unsigned char)rest.ptr[0];
        size_t taken = 1;
        for (model_token control = MODEL_TOY_IM_START; parse_special && control < MODEL_TOY_VOCAB;
             control++) {
            struct str name = str_from(control_text(control));
            if (!str_starts_with(rest, name))
                continue;
            token = control;
            taken = name.len;
        }
        if (n == capacity)
            return STATUS_TOO_LARGE;
        out[n++] = token;
        at += taken;
    }
    *out_n = n;
    return STATUS_OK;
}

static bool toy_is_control(const struct model *m, model_token token)
{
    (void)m;
    return token >= MODEL_TOY_IM_START;
}

static void toy_piece(const struct model *m, model_token token, bool special, struct strbuf *out)
{
    if (!toy_is_control(m, token))
        strbuf_append_char(out, (char)(unsigned char)token);
    else if (special)
        strbuf_append_cstr(out, control_text(token));
}

static bool toy_is_eog(const struct model *m, model_token token)
{
    (void)m;
    return token == MODEL_TOY_IM_END;
}

/* ---- the rule ---- */

static bool tokens_match(const model_token *tokens, const char *text)
{
    for (size_t i = 0; text[i] != '\0'; i++)
        if (tokens[i] != (unsigned char)text[i])
            return false;
    return true;
}

/* Where the text after the last `text` before `end` begins; false where there is none.  `mark`: the
 * control token that must stand before it, or MODEL_NO_TOKEN. */
static bool find_last(const model_token *tokens, size_t end, model_token mark, const char *text,
                      size_t *out)
{
    size_t len = strlen(text);
    size_t mark_len = mark != MODEL_NO_TOKEN ? 1 : 0;
    for (size_t at = end; at >= len + mark_len; at--) {
        if (!tokens_match(tokens + at - len, text))
            continue;
        if (mark_len == 1 && tokens[at - len - 1] != mark)
            continue;
        *out = at;
        return true;
    }
    return false;
}

static model_token hashed_letter(const model_token *tokens, size_t n)
{
    return 'a' + (model_token)(hash_xxh3(tokens, n * sizeof *tokens, 0) % 26);
}

/* The token of the script at `at`, with the escape undone; *len is how many tokens it takes. */
static model_token script_token(const model_token *tokens, size_t at, size_t end, size_t *len)
{
    bool is_escape = tokens[at] == '\\' && at + 1 < end && tokens[at + 1] == 'n';
    *len = is_escape ? 2 : 1;
    return is_escape ? '\n' : tokens[at];
}

/* What the model says after `tokens`. */
static model_token next_token(const model_token *tokens, size_t n)
{
    size_t reply = n;
    bool is_chat = find_last(tokens, n, MODEL_TOY_IM_START, "assistant\n", &reply);
    size_t script = 0;
    if (!find_last(tokens, reply, MODEL_NO_TOKEN, "say:", &script))
        return hashed_letter(tokens, n);

    size_t script_end = script;
    while (script_end < reply && tokens[script_end] != '\n' && tokens[script_end] < 256)
        script_end++;
    if (!is_chat) {
        if (script_end == n)
            return '\n';
        reply = script_end + 1;
    }

    size_t at = script;
    for (size_t said = n - reply; at < script_end; said--) {
        size_t len;
        model_token token = script_token(tokens, at, script_end, &len);
        if (said == 0)
            return token;
        at += len;
    }
    return MODEL_TOY_IM_END;
}

static void write_logits(struct toy *toy, size_t row, const struct sequence *seq)
{
    for (uint32_t i = 0; i < seq->len; i++)
        toy->scratch[i] = toy->cells[seq->cells[i]].token;
    model_token next = next_token(toy->scratch, seq->len);
    float *logits = toy->logits + row * MODEL_TOY_VOCAB;
    for (size_t i = 0; i < MODEL_TOY_VOCAB; i++)
        logits[i] = -20;
    logits[next] = 20;
    toy->row_has_logits[row] = true;
}

/* ---- the pool ---- */

static uint32_t take_cell(struct toy *toy)
{
    for (uint32_t i = 0; i < toy->options.n_cells; i++) {
        uint32_t at = (toy->next_free + i) % toy->options.n_cells;
        if (toy->cells[at].users != 0)
            continue;
        toy->next_free = at + 1;
        atomic_fetch_add(&toy->cells_used, 1);
        return at;
    }
    INVARIANT(!"a free cell was counted and is not there");
    return 0;
}

static void add_row(struct toy *toy, const struct model_row *row)
{
    struct sequence *seq = &toy->sequences[row->sequence];
    INVARIANT(row->position == seq->len); /* no hole, no double position */
    uint32_t at = take_cell(toy);
    toy->cells[at] = (struct cell){
        .users = UINT64_C(1) << row->sequence, .position = row->position, .token = row->token};
    seq->cells[seq->len++] = at;
}

/* Sleeps as long as a row takes; false when it was aborted. */
static bool spend_row_time(const struct toy *toy)
{
    uint32_t left_us = toy->options.step_us;
    for (;;) {
        if (toy->should_abort != NULL && toy->should_abort(toy->abort_arg))
            return false;
        if (left_us == 0)
            return true;
        uint32_t slice_us = left_us < SLEEP_SLICE_US ? left_us : SLEEP_SLICE_US;
        struct timespec slice = {.tv_nsec = (long)slice_us * 1000};
        nanosleep(&slice, NULL);
        left_us -= slice_us;
    }
}

static enum model_result toy_decode(struct model *m, const struct model_row *rows, size_t n_rows)
{
    struct toy *toy = toy_of(m);
    INVARIANT(n_rows > 0 && n_rows <= MODEL_BATCH_ROWS);
    size_t n_logits = 0;
    for (size_t i = 0; i < n_rows; i++) {
        n_logits += rows[i].wants_logits;
        INVARIANT(n_logits <= MODEL_LOGIT_ROWS);
        INVARIANT(rows[i].sequence < toy->options.n_sequences);
        INVARIANT(rows[i].token >= 0 && rows[i].token < MODEL_TOY_VOCAB);
    }
    uint64_t nth = atomic_fetch_add(&toy->n_decodes, 1) + 1;
    if (toy->failed || nth == toy->options.fail_decode_at) {
        toy->failed = true;
        return MODEL_FAILED;
    }
    if (toy->options.n_cells - atomic_load(&toy->cells_used) < n_rows)
        return MODEL_FULL;

    memset(toy->row_has_logits, 0, sizeof toy->row_has_logits);
    for (size_t i = 0; i < n_rows; i++) {
        if (!spend_row_time(toy))
            return MODEL_ABORTED;
        add_row(toy, &rows[i]);
        atomic_fetch_add(&toy->n_rows, 1);
        if (rows[i].wants_logits)
            write_logits(toy, i, &toy->sequences[rows[i].sequence]);
    }
    return MODEL_DONE;
}

static const float *toy_logits(const struct model *m, size_t row)
{
    const struct toy *toy = toy_of_const(m);
    INVARIANT(row < MODEL_BATCH_ROWS && toy->row_has_logits[row]);
    return toy->logits + row * MODEL_TOY_VOCAB;
}

static void toy_seq_copy(struct model *m, uint32_t from, uint32_t to, uint32_t begin, uint32_t end)
{
    struct toy *toy = toy_of(m);
    INVARIANT(from < toy->options.n_sequences && to < toy->options.n_sequences && from != to);
    struct sequence *source = &toy->sequences[from];
    struct sequence *target = &toy->sequences[to];
    if (end > source->len)
        end = source->len;
    if (begin >= end)
        return;
    INVARIANT(target->len == begin); /* the copy leaves no hole and doubles nothing */
    for (uint32_t i = begin; i < end; i++) {
        struct cell *cell = &toy->cells[source->cells[i]];
        INVARIANT(cell->position == i && (cell->users & (UINT64_C(1) << from)) != 0);
        cell->users |= UINT64_C(1) << to;
        target->cells[target->len++] = source->cells[i];
    }
}

static uint32_t toy_seq_length(const struct model *m, uint32_t sequence)
{
    const struct toy *toy = toy_of_const(m);
    INVARIANT(sequence < toy->options.n_sequences);
    return toy->sequences[sequence].len;
}

static bool toy_seq_remove(struct model *m, uint32_t sequence, uint32_t begin, uint32_t end)
{
    struct toy *toy = toy_of(m);
    INVARIANT(sequence < toy->options.n_sequences);
    struct sequence *seq = &toy->sequences[sequence];
    INVARIANT(end >= seq->len || begin >= end); /* a hole would be left behind */
    if (toy->options.whole_only && begin > 0 && begin < seq->len)
        return false;
    while (begin < end && seq->len > begin) {
        struct cell *cell = &toy->cells[seq->cells[--seq->len]];
        INVARIANT(cell->position == seq->len);
        INVARIANT((cell->users & (UINT64_C(1) << sequence)) != 0);
        cell->users &= ~(UINT64_C(1) << sequence);
        if (cell->users == 0)
            atomic_fetch_sub(&toy->cells_used, 1);
    }
    return true;
}

/* What a cell is outside the pool. */
struct saved_cell {
    uint32_t position;
    model_token token;
};

static enum status toy_seq_save(struct model *m, uint32_t sequence, uint32_t begin, uint32_t end,
                                char **out, size_t *out_bytes)
{
    struct toy *toy = toy_of(m);
    INVARIANT(sequence < toy->options.n_sequences);
    const struct sequence *seq = &toy->sequences[sequence];
    INVARIANT(begin < end && end <= seq->len);
    INVARIANT(m->info.can_share_prefix || (begin == 0 && end == seq->len));
    if (++toy->n_saves == toy->options.fail_save_at)
        return STATUS_NO_MEMORY;
    size_t n = end - begin;
    struct saved_cell *saved = mem_alloc(mem_array_bytes(n, sizeof *saved));
    for (size_t i = 0; i < n; i++) {
        const struct cell *cell = &toy->cells[seq->cells[begin + i]];
        saved[i] = (struct saved_cell){cell->position, cell->token};
    }
    *out = (char *)saved;
    *out_bytes = n * sizeof *saved;
    return STATUS_OK;
}

static struct saved_cell saved_at(struct str data, size_t i)
{
    struct saved_cell cell;
    memcpy(&cell, data.ptr + i * sizeof cell, sizeof cell);
    return cell;
}

static enum status toy_seq_load(struct model *m, uint32_t sequence, uint32_t begin, uint32_t from,
                                uint32_t end, struct str data)
{
    struct toy *toy = toy_of(m);
    INVARIANT(sequence < toy->options.n_sequences && begin <= from && from < end);
    INVARIANT(toy->sequences[sequence].len == from); /* no hole, no double position */
    if (++toy->n_loads == toy->options.fail_load_at ||
        toy->options.n_cells - atomic_load(&toy->cells_used) < end - begin)
        return STATUS_BUSY;
    if (data.len != (end - begin) * sizeof(struct saved_cell))
        return STATUS_CORRUPT;
    for (uint32_t i = begin; i < end; i++) {
        struct saved_cell cell = saved_at(data, i - begin);
        if (cell.position != i || cell.token < 0 || cell.token >= MODEL_TOY_VOCAB)
            return STATUS_CORRUPT;
    }
    for (uint32_t i = from; i < end; i++) {
        struct model_row row = {saved_at(data, i - begin).token, i, sequence, false};
        add_row(toy, &row);
    }
    return STATUS_OK;
}

static void toy_set_abort(struct model *m, bool (*should_abort)(void *arg), void *arg)
{
    struct toy *toy = toy_of(m);
    toy->should_abort = should_abort;
    toy->abort_arg = arg;
}

/* ---- grammars: none ---- */

static struct grammar *toy_grammar_create(const struct model *m, const struct grammar_spec *spec)
{
    (void)m;
    (void)spec;
    return NULL;
}

static void toy_grammar_free(struct grammar *g)
{
    INVARIANT(g == NULL);
}

static bool toy_grammar_allows(struct grammar *g, model_token token)
{
    (void)token;
    INVARIANT(g == NULL);
    return true;
}

static void toy_grammar_mask(struct grammar *g, float *logits, uint32_t n_vocab)
{
    (void)logits;
    (void)n_vocab;
    INVARIANT(g == NULL);
}

static void toy_grammar_accept(struct grammar *g, model_token token)
{
    (void)token;
    INVARIANT(g == NULL);
}

static bool toy_grammar_in_call(struct grammar *g)
{
    (void)g;
    return false;
}

static bool toy_grammar_in_scaffold(const struct grammar *g)
{
    (void)g;
    return false;
}

/* ---- life ---- */

static void toy_destroy(struct model *m)
{
    struct toy *toy = toy_of(m);
    for (size_t i = 0; i < MAX_SEQUENCES; i++)
        mem_free(toy->sequences[i].cells);
    mem_free(toy->scratch);
    mem_free(toy->logits);
    mem_free(toy->cells);
    mem_free(toy);
}

static const struct model_ops toy_ops = {
    .destroy = toy_destroy,
    .tokenize = toy_tokenize,
    .piece = toy_piece,
    .is_eog = toy_is_eog,
    .is_control = toy_is_control,
    .decode = toy_decode,
    .logits = toy_logits,
    .seq_copy = toy_seq_copy,
    .seq_length = toy_seq_length,
    .seq_remove = toy_seq_remove,
    .seq_save = toy_seq_save,
    .seq_load = toy_seq_load,
    .set_abort = toy_set_abort,
    .grammar_create = toy_grammar_create,
    .grammar_free = toy_grammar_free,
    .grammar_allows = toy_grammar_allows,
    .grammar_mask = toy_grammar_mask,
    .grammar_accept = toy_grammar_accept,
    .grammar_in_call = toy_grammar_in_call,
    .grammar_in_scaffold = toy_grammar_in_scaffold,
};

static void fill_info(struct model_info *info, const struct model_toy_options *options)
{
    *info = (struct model_info){
        .n_vocab = MODEL_TOY_VOCAB,
        .n_cells = options->n_cells,
        .n_sequences = options->n_sequences,
        .n_context_trained = options->n_cells,
        .kv_bytes_per_cell = sizeof(struct cell),
        .can_share_prefix = !options->whole_only,
        .bos = MODEL_NO_TOKEN,
        .chat_template = STR(chat_template),
    };
    snprintf(info->name, sizeof info->name, "toy");
    snprintf(info->eos_text, sizeof info->eos_text, "<|im_end|>");
    struct sha256 *hash = sha256_create();
    sha256_update(hash, "toy model 1", sizeof "toy model 1" - 1);
    unsigned char digest[SHA256_BYTES];
    sha256_finish(hash, digest);
    sha256_hex(digest, info->fingerprint);
}

struct model *model_toy_create(const struct model_toy_options *options)
{
    INVARIANT(options->n_cells > 0);
    INVARIANT(options->n_sequences > 0 && options->n_sequences <= MAX_SEQUENCES);
    struct toy *toy = mem_zalloc(sizeof *toy);
    toy->base.ops = &toy_ops;
    toy->options = *options;
    fill_info(&toy->base.info, options);
    toy->cells = mem_zalloc(mem_array_bytes(options->n_cells, sizeof *toy->cells));
    toy->scratch = mem_alloc(mem_array_bytes(options->n_cells, sizeof *toy->scratch));
    toy->logits =
        mem_alloc(mem_array_bytes((size_t)MODEL_BATCH_ROWS * MODEL_TOY_VOCAB, sizeof *toy->logits));
    for (uint32_t i = 0; i < options->n_sequences; i++)
        toy->sequences[i].cells =
            mem_alloc(mem_array_bytes(options->n_cells, sizeof *toy->sequences[i].cells));
    return &toy->base;
}

uint64_t model_toy_decodes(const struct model *m)
{
    return atomic_load(&toy_of_const(m)->n_decodes);
}

uint64_t model_toy_rows(const struct model *m)
{
    return atomic_load(&toy_of_const(m)->n_rows);
}

uint32_t model_toy_cells_used(const struct model *m)
{
    return (uint32_t)atomic_load(&toy_of_const(m)->cells_used);
}

size_t model_toy_sequence(const struct model *m, uint32_t sequence, model_token *out, size_t cap)
{
    const struct toy *toy = toy_of_const(m);
    INVARIANT(sequence < toy->options.n_sequences);
    const struct sequence *seq = &toy->sequences[sequence];
    for (uint32_t i = 0; i < seq->len && i < cap; i++)
        out[i] = toy->cells[seq->cells[i]].token;
    return seq->len;
}
