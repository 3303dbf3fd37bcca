#define _GNU_SOURCE
#include "model/model_llama.h"

#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <llama.h>
#include <pthread.h>
#include <stdio.h>

#include "base/file.h"
#include "base/log.h"
#include "kernels/hook.h"
#include "model/bench_llama.h"
#include "model/gguf_check.h"
#include "model/grammar_llama.h"
#include "model/llama_guard.h"

enum {
    CELLS_STEP = 256, /* libllama pads the pool to this */
    FINGERPRINT_VERSION = 2,
    FINGERPRINT_SAMPLES = 64,
    FINGERPRINT_CHUNK_BYTES = 64 * 1024,
};

struct model_llama {
    struct model base; /* first: the two pointers are cast into each other */
    struct llama_model *weights;
    struct llama_context *context;
    const struct llama_vocab *vocab;
    struct token_starts *starts;
    struct ggml_threadpool *threads;
    struct llama_batch batch; /* arrays of MODEL_BATCH_ROWS */
    bool (*should_abort)(void *arg);
    void *abort_arg;
    bool (*on_progress)(float fraction, void *arg);
    void *progress_arg;
    bool was_given_up; /* on_progress said so */
    struct tune_choice how;
    llama_seq_id scratch; /* the sequence behind the last one; nothing stays in it */
    char *template_text;  /* what info.chat_template borrows */
};

static struct model_llama *llama_of(struct model *m)
{
    return (struct model_llama *)m;
}

static const struct model_llama *const_llama_of(const struct model *m)
{
    return (const struct model_llama *)m;
}

/* What libllama says while a model is being loaded.  Set on the loading thread only, so that its
 * lines reach our log and our error message then and never later: once prompts and grammars go
 * through it, its lines quote them. */
struct load_report {
    char failure[256]; /* the first line that tells why */
    bool no_memory;
};
static _Thread_local struct load_report *current_load;

static void forward_log(enum ggml_log_level level, const char *text, void *arg)
{
    (void)arg;
    struct load_report *report = current_load;
    if (report == NULL || (level != GGML_LOG_LEVEL_ERROR && level != GGML_LOG_LEVEL_WARN))
        return;
    size_t len = strlen(text);
    while (len > 0 && text[len - 1] == '\n')
        len--;
    log_debug("llama: %.*s", (int)len, text);
    if (level != GGML_LOG_LEVEL_ERROR)
        return;
    if (strstr(text, "alloc") != NULL)
        report->no_memory = true;
    const char *colon = strstr(text, ": ");
    const char *reason = colon != NULL ? colon + 2 : text;
    if (report->failure[0] == '\0')
        snprintf(report->failure, sizeof report->failure, "%.*s", (int)(text + len - reason),
                 reason);
}

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void init_library(void)
{
    llama_log_set(forward_log, NULL);
    llama_backend_init();
    if (!kernels_install())
        log_warn("model: this ggml is not the one that the kernels are for; they are off");
}

/* ---- Vocabulary: any thread ---- */

static enum status llama_model_tokenize(const struct model *m, struct str text, bool parse_special,
                                        model_token *out, size_t capacity, size_t *out_n)
{
    if (text.len > INT32_MAX || capacity > INT32_MAX)
        return STATUS_TOO_LARGE;
    int32_t n = llama_guard_tokenize(const_llama_of(m)->vocab, text.len > 0 ? text.ptr : "",
                                     (int32_t)text.len, out, (int32_t)capacity, parse_special);
    if (n < 0)
        return STATUS_TOO_LARGE;
    *out_n = (size_t)n;
    return STATUS_OK;
}

static void llama_model_piece(const struct model *m, model_token token, bool special,
                              struct strbuf *out)
{
    char small[128];
    const struct llama_vocab *vocab = const_llama_of(m)->vocab;
    int32_t n = llama_token_to_piece(vocab, token, small, sizeof small, 0, special);
    if (n >= 0) {
        strbuf_append(out, small, (size_t)n);
        return;
    }
    char *large = mem_alloc((size_t)-n);
    n = llama_token_to_piece(vocab, token, large, -n, 0, special);
    if (n > 0)
        strbuf_append(out, large, (size_t)n);
    mem_free(large);
}

static bool llama_model_is_eog(const struct model *m, model_token token)
{
    return llama_vocab_is_eog(const_llama_of(m)->vocab, token);
}

static bool llama_model_is_control(const struct model *m, model_token token)
{
    return llama_vocab_is_control(const_llama_of(m)->vocab, token);
}

/* ---- Sequences and computing: the scheduler's thread ---- */

static bool abort_asked(void *arg)
{
    const struct model_llama *ml = arg;
    return ml->should_abort != NULL && ml->should_abort(ml->abort_arg);
}

static enum model_result llama_model_decode(struct model *m, const struct model_row *rows,
                                            size_t n_rows)
{
    struct model_llama *ml = llama_of(m);
    INVARIANT(n_rows > 0 && n_rows <= MODEL_BATCH_ROWS);
    struct llama_batch *b = &ml->batch;
    b->n_tokens = (int32_t)n_rows;
    for (size_t i = 0; i < n_rows; i++) {
        b->token[i] = rows[i].token;
        b->pos[i] = (llama_pos)rows[i].position;
        b->n_seq_id[i] = 1;
        b->seq_id[i][0] = (llama_seq_id)rows[i].sequence;
        b->logits[i] = rows[i].wants_logits;
    }
    int32_t result = llama_guard_decode(ml->context, b);
    switch (result) {
    case 0:
        return MODEL_DONE;
    case 1:
        return MODEL_FULL;
    case 2:
        return MODEL_ABORTED;
    default:
        log_error("model: a step of %zu rows failed (%d)", n_rows, (int)result);
        return MODEL_FAILED;
    }
}

static const float *llama_model_logits(const struct model *m, size_t row)
{
    return llama_get_logits_ith(const_llama_of(m)->context, (int32_t)row);
}

static void llama_model_seq_copy(struct model *m, uint32_t from, uint32_t to, uint32_t begin,
                                 uint32_t end)
{
    llama_memory_seq_cp(llama_get_memory(llama_of(m)->context), (llama_seq_id)from,
                        (llama_seq_id)to, (llama_pos)begin,
                        end == UINT32_MAX ? -1 : (llama_pos)end);
}

static uint32_t llama_model_seq_length(const struct model *m, uint32_t sequence)
{
    llama_memory_t memory = llama_get_memory(const_llama_of(m)->context);
    return (uint32_t)(llama_memory_seq_pos_max(memory, (llama_seq_id)sequence) + 1);
}

static bool llama_model_seq_remove(struct model *m, uint32_t sequence, uint32_t begin, uint32_t end)
{
    return llama_memory_seq_rm(llama_get_memory(llama_of(m)->context), (llama_seq_id)sequence,
                               (llama_pos)begin, end == UINT32_MAX ? -1 : (llama_pos)end);
}

/* All that the pool holds of a sequence. */
static enum status take_state(struct model_llama *ml, llama_seq_id sequence, char **out,
                              size_t *out_bytes)
{
    size_t n_bytes = llama_state_seq_get_size(ml->context, sequence);
    char *data = mem_try_alloc(n_bytes);
    size_t n = 0;
    if (data != NULL)
        n = llama_state_seq_get_data(ml->context, (uint8_t *)data, n_bytes, sequence);
    if (n == 0 || n > n_bytes) {
        enum status st = data == NULL ? STATUS_NO_MEMORY : STATUS_INTERNAL;
        mem_free(data);
        return st;
    }
    *out = data;
    *out_bytes = n;
    return STATUS_OK;
}

/* The states of libllama are of whole sequences, so a part of one is copied (which costs next to
 * nothing) to the scratch sequence, and that is taken. */
static enum status llama_model_seq_save(struct model *m, uint32_t sequence, uint32_t begin,
                                        uint32_t end, char **out, size_t *out_bytes)
{
    struct model_llama *ml = llama_of(m);
    INVARIANT(begin < end && (m->info.can_share_prefix || begin == 0));
    if (!m->info.can_share_prefix)
        return take_state(ml, (llama_seq_id)sequence, out, out_bytes);
    llama_memory_t memory = llama_get_memory(ml->context);
    llama_memory_seq_cp(memory, (llama_seq_id)sequence, ml->scratch, (llama_pos)begin,
                        (llama_pos)end);
    enum status st = take_state(ml, ml->scratch, out, out_bytes);
    llama_memory_seq_rm(memory, ml->scratch, -1, -1);
    return st;
}

/* A recurrent model keeps the last position only. */
static enum status load_whole(struct model_llama *ml, uint32_t sequence, uint32_t end,
                              struct str data)
{
    llama_memory_t memory = llama_get_memory(ml->context);
    size_t n = llama_state_seq_set_data(ml->context, (const uint8_t *)data.ptr, data.len,
                                        (llama_seq_id)sequence);
    if (n == data.len &&
        llama_memory_seq_pos_max(memory, (llama_seq_id)sequence) == (llama_pos)end - 1)
        return STATUS_OK;
    llama_memory_seq_rm(memory, (llama_seq_id)sequence, -1, -1);
    return n == 0 ? STATUS_BUSY : STATUS_CORRUPT;
}

static enum status llama_model_seq_load(struct model *m, uint32_t sequence, uint32_t begin,
                                        uint32_t from, uint32_t end, struct str data)
{
    struct model_llama *ml = llama_of(m);
    INVARIANT(begin <= from && from < end && (m->info.can_share_prefix || from == 0));
    if (!m->info.can_share_prefix)
        return load_whole(ml, sequence, end, data);
    llama_memory_t memory = llama_get_memory(ml->context);
    size_t n =
        llama_state_seq_set_data(ml->context, (const uint8_t *)data.ptr, data.len, ml->scratch);
    bool is_whole = n == data.len &&
                    llama_memory_seq_pos_min(memory, ml->scratch) == (llama_pos)begin &&
                    llama_memory_seq_pos_max(memory, ml->scratch) == (llama_pos)end - 1;
    if (is_whole)
        llama_memory_seq_cp(memory, ml->scratch, (llama_seq_id)sequence, (llama_pos)from,
                            (llama_pos)end);
    llama_memory_seq_rm(memory, ml->scratch, -1, -1);
    if (is_whole)
        return STATUS_OK;
    return n == 0 ? STATUS_BUSY : STATUS_CORRUPT;
}

static void llama_model_set_abort(struct model *m, bool (*should_abort)(void *arg), void *arg)
{
    struct model_llama *ml = llama_of(m);
    ml->should_abort = should_abort;
    ml->abort_arg = arg;
}

static struct grammar *llama_model_grammar_create(const struct model *m,
                                                  const struct grammar_spec *spec)
{
    return grammar_llama_create(const_llama_of(m)->vocab, const_llama_of(m)->starts, spec);
}

static void llama_model_destroy(struct model *m)
{
    struct model_llama *ml = llama_of(m);
    token_starts_free(ml->starts);
    if (ml->batch.token != NULL)
        llama_batch_free(ml->batch);
    if (ml->context != NULL)
        llama_free(ml->context);
    if (ml->threads != NULL)
        ggml_threadpool_free(ml->threads);
    if (ml->weights != NULL)
        llama_model_free(ml->weights);
    mem_free(ml->template_text);
    mem_free(ml);
}

static const struct model_ops ops = {
    .destroy = llama_model_destroy,
    .tokenize = llama_model_tokenize,
    .piece = llama_model_piece,
    .is_eog = llama_model_is_eog,
    .is_control = llama_model_is_control,
    .decode = llama_model_decode,
    .logits = llama_model_logits,
    .seq_copy = llama_model_seq_copy,
    .seq_length = llama_model_seq_length,
    .seq_remove = llama_model_seq_remove,
    .seq_save = llama_model_seq_save,
    .seq_load = llama_model_seq_load,
    .set_abort = llama_model_set_abort,
    .grammar_create = llama_model_grammar_create,
    .grammar_free = grammar_llama_free,
    .grammar_allows = grammar_llama_allows,
    .grammar_mask = grammar_llama_mask,
    .grammar_accept = grammar_llama_accept,
    .grammar_in_call = grammar_llama_in_call,
    .grammar_in_scaffold = grammar_llama_in_scaffold,
};

/* ---- Loading ---- */

static bool report_progress(float fraction, void *arg)
{
    struct model_llama *ml = arg;
    if (ml->on_progress != NULL && !ml->on_progress(fraction, ml->progress_arg))
        ml->was_given_up = true;
    return !ml->was_given_up;
}

static bool is_given_up(void *arg)
{
    return !report_progress(1, arg);
}

static enum status given_up(struct error *err)
{
    return error_set(err, STATUS_CANCELLED, "loading was given up");
}

/* Why libllama made nothing, as a status with its own words. */
static enum status explain(const struct load_report *report, const char *path, struct error *err)
{
    const char *reason = report->failure[0] != '\0' ? report->failure : "no reason given";
    if (report->no_memory)
        return error_set(err, STATUS_NO_MEMORY, "not enough memory to load %s: %s", path, reason);
    return error_set(err, STATUS_CORRUPT,
                     "%s could not be loaded; it is damaged or of a kind that this version does "
                     "not know: %s",
                     path, reason);
}

static enum status load_weights(struct model_llama *ml, const struct model_llama_options *options,
                                struct error *err)
{
    /* Text is tokenised piece by piece; a space put before each piece would not be in the prompt.
     * (Only vocabularies of the SentencePiece kind would add one.) */
    static const struct llama_model_kv_override overrides[] = {
        {.tag = LLAMA_KV_OVERRIDE_TYPE_BOOL, .key = "tokenizer.ggml.add_space_prefix"},
        {.key = ""},
    };
    struct llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = (int32_t)options->n_gpu_layers;
    params.load_mode = LLAMA_LOAD_MODE_MMAP;
    params.use_extra_bufts = options->repack;
    params.kv_overrides = overrides;
    params.progress_callback = report_progress;
    params.progress_callback_user_data = ml;

    struct load_report report = {0};
    current_load = &report;
    ml->weights = llama_model_load_from_file(options->path, params);
    current_load = NULL;
    if (ml->was_given_up)
        return given_up(err);
    if (ml->weights == NULL)
        return explain(&report, options->path, err);
    if (llama_model_has_encoder(ml->weights) || !llama_model_has_decoder(ml->weights) ||
        llama_model_is_diffusion(ml->weights))
        return error_set(err, STATUS_UNSUPPORTED,
                         "%s is not a model that writes text from left to right", options->path);
    ml->vocab = llama_model_get_vocab(ml->weights);
    ml->starts = token_starts_create(ml->vocab);
    return STATUS_OK;
}

static enum llama_flash_attn_type flash_type(enum model_flash flash)
{
    switch (flash) {
    case MODEL_FLASH_ON:
        return LLAMA_FLASH_ATTN_TYPE_ENABLED;
    case MODEL_FLASH_OFF:
        return LLAMA_FLASH_ATTN_TYPE_DISABLED;
    case MODEL_FLASH_AUTO:
        break;
    }
    return LLAMA_FLASH_ATTN_TYPE_AUTO;
}

/* Chooses how the model is run: as told, or as measured now. */
static enum status choose_how(struct model_llama *ml, const struct model_llama_options *options,
                              struct error *err)
{
    ml->how = options->how;
    if (options->tune == NULL) {
        kernels_use(ml->how.kernels);
        return STATUS_OK;
    }
    *options->tuned = (struct tune_result){.state = TUNE_NONE, .choice = ml->how};
    struct bench_llama_options bench_options = {
        .weights = ml->weights,
        .n_cells = options->n_cells,
        .n_step_rows = options->tune->start.n_step_rows,
        .limit_ms = options->tune->limit_ms,
        .insists = options->tune->insists,
        .should_stop = is_given_up,
        .arg = ml,
    };
    struct tune_bench *bench = bench_llama_create(&bench_options);
    if (bench != NULL) {
        tune_run(bench, options->tune, options->tuned);
        bench_llama_destroy(bench);
        ml->how = options->tuned->choice;
    }
    kernels_use(ml->how.kernels);
    return ml->was_given_up ? given_up(err) : STATUS_OK;
}

static enum status start_threads(struct model_llama *ml, struct error *err)
{
    uint32_t n =
        ml->how.n_threads > ml->how.n_threads_batch ? ml->how.n_threads : ml->how.n_threads_batch;
    struct ggml_threadpool_params pool = ggml_threadpool_params_default((int)n);
    pool.poll = ml->how.poll;
    ml->threads = ggml_threadpool_new(&pool);
    if (ml->threads == NULL)
        return error_set(err, STATUS_INTERNAL, "cannot start %u threads", n);
    llama_attach_threadpool(ml->context, ml->threads, ml->threads);
    return STATUS_OK;
}

static bool can_share_prefix(const struct model_llama *ml)
{
    return !llama_model_is_recurrent(ml->weights) && !llama_model_is_hybrid(ml->weights);
}

static enum status make_context(struct model_llama *ml, const struct model_llama_options *options,
                                struct error *err)
{
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (options->n_cells + CELLS_STEP - 1) / CELLS_STEP * CELLS_STEP;
    params.n_batch = MODEL_BATCH_ROWS;
    params.n_ubatch = ml->how.n_step_rows;
    ml->scratch = (llama_seq_id)options->n_sequences;
    params.n_seq_max = options->n_sequences + (can_share_prefix(ml) ? 1 : 0);
    params.n_outputs_max =
        params.n_seq_max > MODEL_LOGIT_ROWS ? params.n_seq_max : MODEL_LOGIT_ROWS;
    params.n_threads = (int32_t)ml->how.n_threads;
    params.n_threads_batch = (int32_t)ml->how.n_threads_batch;
    params.flash_attn_type = flash_type(ml->how.flash);
    params.abort_callback = abort_asked;
    params.abort_callback_data = ml;
    params.no_perf = true;
    params.swa_full = true; /* a prefix of a sliding-window model can be shared only so */
    params.kv_unified = true;

    struct load_report report = {0};
    current_load = &report;
    ml->context = llama_init_from_model(ml->weights, params);
    current_load = NULL;
    if (ml->context == NULL)
        return error_set(err, STATUS_NO_MEMORY,
                         "no memory for a pool of %u tokens; try a smaller --ctx", params.n_ctx);
    if (llama_get_memory(ml->context) == NULL)
        return error_set(err, STATUS_UNSUPPORTED, "%s keeps no memory of what it reads",
                         options->path);

    ml->batch = llama_batch_init(MODEL_BATCH_ROWS, 0, 1);
    return start_threads(ml, err);
}

static bool hash_header(struct sha256 *h, FILE *file, const struct gguf_facts *facts, char *buf)
{
    bool ok = true;
    for (uint64_t at = 0; ok && at < facts->meta_bytes; at += FINGERPRINT_CHUNK_BYTES) {
        uint64_t left = facts->meta_bytes - at;
        size_t n = left < FINGERPRINT_CHUNK_BYTES ? (size_t)left : FINGERPRINT_CHUNK_BYTES;
        ok = fread(buf, 1, n, file) == n;
        sha256_update(h, buf, ok ? n : 0);
    }
    return ok;
}

/* Adds to `h` all of the header, and samples spread over the weights: two trainings of one model
 * may differ in nothing else. */
static bool hash_file(struct sha256 *h, FILE *file, const struct gguf_facts *facts)
{
    char *buf = mem_alloc(FINGERPRINT_CHUNK_BYTES);
    bool ok = hash_header(h, file, facts, buf);
    uint64_t weights = facts->file_bytes - facts->meta_bytes;
    for (uint64_t i = 0; ok && i < FINGERPRINT_SAMPLES; i++) {
        uint64_t at = facts->meta_bytes + weights / FINGERPRINT_SAMPLES * i;
        ok = fseeko(file, (off_t)at, SEEK_SET) == 0;
        size_t n = fread(buf, 1, FINGERPRINT_CHUNK_BYTES, file);
        ok = ok && ferror(file) == 0;
        sha256_update(h, buf, n);
    }
    mem_free(buf);
    return ok;
}

/* What two processes must agree on before KV of one may be used by the other. */
static enum status fingerprint(const struct model_llama *ml, const char *path,
                               const struct gguf_facts *facts, enum llama_flash_attn_type flash,
                               char out[SHA256_HEX_BYTES], struct error *err)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return error_set(err, STATUS_IO, "cannot read the model file %s", path);
    struct strbuf settings;
    strbuf_init(&settings, 512);
    strbuf_printf(&settings,
                  "v%d size=%llu weights=%llu kv=f16/f16 flash=%d kernels=%s-%d layers=%u embd=%u "
                  "rope=%g llama=%s\n",
                  FINGERPRINT_VERSION, (unsigned long long)facts->file_bytes,
                  (unsigned long long)facts->weights_bytes, (int)flash, isa_name(kernels_in_use()),
                  KERNELS_REVISION, facts->n_layer, facts->n_embd,
                  (double)llama_model_rope_freq_scale_train(ml->weights), llama_version());
    struct sha256 *h = sha256_create();
    sha256_update(h, strbuf_cstr(&settings), settings.len);
    strbuf_free(&settings);
    bool ok = hash_file(h, file, facts);
    fclose(file);
    unsigned char digest[SHA256_BYTES];
    sha256_finish(h, digest);
    sha256_hex(digest, out);
    return ok ? STATUS_OK : error_set(err, STATUS_IO, "cannot read the model file %s", path);
}

static void spell(const struct model_llama *ml, model_token token, char *out, size_t capacity)
{
    out[0] = '\0';
    if (token < 0)
        return;
    int32_t n = llama_token_to_piece(ml->vocab, token, out, (int32_t)capacity - 1, 0, true);
    out[n > 0 ? n : 0] = '\0';
}

static enum status describe(struct model_llama *ml, const struct model_llama_options *options,
                            const struct gguf_facts *facts, struct error *err)
{
    struct model_info *info = &ml->base.info;
    if (llama_model_meta_val_str(ml->weights, "general.name", info->name, sizeof info->name) <= 0) {
        const char *slash = strrchr(options->path, '/');
        snprintf(info->name, sizeof info->name, "%s", slash ? slash + 1 : options->path);
    }
    info->n_vocab = (uint32_t)llama_vocab_n_tokens(ml->vocab);
    info->n_cells = llama_n_ctx(ml->context);
    info->n_sequences = options->n_sequences;
    info->n_context_trained = (uint32_t)llama_model_n_ctx_train(ml->weights);
    info->weights_bytes = facts->weights_bytes;
    info->kv_bytes_per_cell = facts->kv_bytes_per_cell;
    info->can_share_prefix = can_share_prefix(ml);
    info->bos = llama_vocab_get_add_bos(ml->vocab) ? llama_vocab_bos(ml->vocab) : MODEL_NO_TOKEN;
    spell(ml, llama_vocab_bos(ml->vocab), info->bos_text, sizeof info->bos_text);
    spell(ml, llama_vocab_eos(ml->vocab), info->eos_text, sizeof info->eos_text);

    const char *source = llama_model_chat_template(ml->weights, NULL);
    ml->template_text = mem_strdup(source != NULL ? source : "");
    info->chat_template = str_from(ml->template_text);
    info->prefill_tokens_per_s = ml->how.prefill_tokens_per_s;
    info->decode_tokens_per_s = ml->how.decode_tokens_per_s;
    info->kernels = isa_name(kernels_in_use());
    return fingerprint(ml, options->path, facts, flash_type(ml->how.flash), info->fingerprint, err);
}

enum status model_llama_measure(const char *path, const struct tune_choice *how,
                                struct model_llama_needs *out, struct error *err)
{
    pthread_once(&library_once, init_library); /* for its log */
    struct gguf_facts facts;
    enum status st = gguf_check(path, &facts, err);
    if (st != STATUS_OK)
        return st;

    /* The largest buffers of one step: without the flash form the attention scores of one layer
     * and their mask (rows x cells x (heads + 1), f32; what libllama reserves grows by exactly this
     * per cell), with it the mask alone, in f16; the widest intermediate results; the logits, once
     * where they are computed and once where they are handed out. */
    uint64_t rows = how->n_step_rows;
    uint64_t scores = rows * (facts.n_head + 1u) * sizeof(float);
    uint64_t mask = rows * sizeof(uint16_t);
    uint64_t hidden =
        rows * ((uint64_t)facts.n_feed_forward * 2 + facts.n_embd * 8u) * sizeof(float);
    uint64_t logits = (uint64_t)facts.n_vocab * MODEL_LOGIT_ROWS * 2 * sizeof(float);
    *out = (struct model_llama_needs){
        .weights_bytes = facts.weights_bytes,
        .kv_bytes_per_cell = facts.kv_bytes_per_cell,
        .step_bytes = hidden + logits,
        .step_bytes_per_cell = how->flash == MODEL_FLASH_ON ? mask : scores,
        .n_context_trained = facts.n_context_trained,
    };
    return STATUS_OK;
}

enum status model_llama_identify(const char *path, char out[SHA256_HEX_BYTES], struct error *err)
{
    struct gguf_facts facts;
    enum status st = gguf_check(path, &facts, err);
    if (st != STATUS_OK)
        return st;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return error_set(err, STATUS_IO, "cannot read the model file %s", path);
    char *buf = mem_alloc(FINGERPRINT_CHUNK_BYTES);
    struct sha256 *h = sha256_create();
    sha256_update(h, &facts.file_bytes, sizeof facts.file_bytes);
    bool ok = hash_header(h, file, &facts, buf);
    unsigned char digest[SHA256_BYTES];
    sha256_finish(h, digest);
    sha256_hex(digest, out);
    mem_free(buf);
    fclose(file);
    return ok ? STATUS_OK : error_set(err, STATUS_IO, "cannot read the model file %s", path);
}

enum status model_llama_load(const struct model_llama_options *options, struct model **out,
                             struct error *err)
{
    pthread_once(&library_once, init_library);
    INVARIANT(options->how.n_threads >= 1 && options->n_sequences >= 1);

    struct gguf_facts facts;
    enum status st = gguf_check(options->path, &facts, err);
    if (st != STATUS_OK)
        return st;

    struct model_llama *ml = mem_zalloc(sizeof *ml);
    ml->base.ops = &ops;
    ml->on_progress = options->on_progress;
    ml->progress_arg = options->arg;
    st = load_weights(ml, options, err);
    if (st == STATUS_OK)
        st = choose_how(ml, options, err);
    if (st == STATUS_OK)
        st = make_context(ml, options, err);
    if (st == STATUS_OK)
        st = describe(ml, options, &facts, err);
    if (st != STATUS_OK) {
        llama_model_destroy(&ml->base);
        return st;
    }
    *out = &ml->base;
    return STATUS_OK;
}
