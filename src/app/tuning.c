#include "app/tuning.h"

#include "base/cpu.h"
#include "base/file.h"
#include "base/log.h"
#include "kernels/hook.h"
#include "model/bench_llama.h"
#include "model/model_llama.h"
#include "version.h"

enum {
    KEY_BYTES = 8192,
    BUDGET_MS = 6500,
    LIMIT_MS = 10 * 1000,
    ASKED_BUDGET_MS = 30 * 1000, /* the user has time */
    ASKED_LIMIT_MS = 60 * 1000,
    MOST_ATTEMPTS = 3,
};

enum tune_when { TUNE_AUTO, TUNE_NOW, TUNE_NEVER };

static enum status read_when(const struct options *o, enum tune_when *out, struct error *err)
{
    const char *text = option_text(o, OPTION_TUNE);
    static const char *const names[] = {"auto", "now", "never"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (enum tune_when)i;
            return STATUS_OK;
        }
    return error_set(err, STATUS_INVALID, "--tune: should be auto, now or never");
}

static enum status read_flash(const struct options *o, enum model_flash *out, struct error *err)
{
    const char *text = option_text(o, OPTION_FLASH_ATTENTION);
    static const char *const names[] = {"auto", "on", "off"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (enum model_flash)i;
            return STATUS_OK;
        }
    return error_set(err, STATUS_INVALID, "--flash-attention: should be auto, on or off");
}

/* *out_is_auto: to be measured against ggml's own. */
static enum status read_kernels(const struct options *o, enum kernel_isa *out, bool *out_is_auto,
                                struct error *err)
{
    const char *text = option_text(o, OPTION_KERNELS);
    *out = isa_best();
    *out_is_auto = strcmp(text, "auto") == 0;
    if (*out_is_auto)
        return STATUS_OK;
    if (!isa_from_name(text, out))
        return error_set(err, STATUS_INVALID,
                         "--kernels: should be auto, off, avx2, avx512, avx512-vnni, neon or "
                         "neon-i8mm");
    if (!isa_is_here(*out))
        return error_set(err, STATUS_INVALID,
                         "--kernels: this processor has no %s; the best that it has is %s", text,
                         isa_name(isa_best()));
    return STATUS_OK;
}

static enum status make_key(struct tuning *t, const struct options *o, const char *model_path,
                            struct error *err)
{
    char model[SHA256_HEX_BYTES];
    enum status st = model_llama_identify(model_path, model, err);
    if (st != STATUS_OK)
        return st;
    strbuf_printf(&t->key, "model %s; pensieve %s; ", model, PENSIEVE_VERSION);
    bench_llama_describe(&t->key);
    strbuf_append_cstr(&t->key, "; ");
    cpu_name(&t->key);
    strbuf_printf(&t->key, ", %u cores of %u; kernels %s (%d), flash %s, threads %s, repack %s",
                  cpu_usable(), cpu_physical(), option_text(o, OPTION_KERNELS), KERNELS_REVISION,
                  option_text(o, OPTION_FLASH_ATTENTION), option_text(o, OPTION_THREADS),
                  option_text(o, OPTION_REPACK));
    return strbuf_status(&t->key);
}

static char *choose_path(const struct options *o, struct str key)
{
    const char *folder = option_text(o, OPTION_CACHE_DIR);
    if (folder[0] != '\0')
        return tune_store_path(folder, key);
    char *own = file_user_path("cache", "");
    char *path = own != NULL ? tune_store_path(own, key) : NULL;
    mem_free(own);
    return path;
}

/* Takes over what is known; true where that is enough. */
static bool recall(struct tuning *t)
{
    struct tune_record record;
    if (t->path == NULL || !tune_store_read(t->path, strbuf_str(&t->key), &record))
        return false;
    t->n_attempts = record.n_attempts;
    if (!record.is_settled && record.n_attempts < MOST_ATTEMPTS)
        return false;
    t->choice = record.choice;
    log_info("tune: as measured before: flash attention %s, kernels %s, %u threads to read and %u "
             "to write, %u rows a step",
             record.choice.flash == MODEL_FLASH_ON ? "on" : "off", isa_name(record.choice.kernels),
             record.choice.n_threads_batch, record.choice.n_threads, record.choice.n_step_rows);
    return true;
}

enum status tuning_prepare(struct tuning *t, const struct options *o, const char *model_path,
                           struct error *err)
{
    *t = (struct tuning){0};
    strbuf_init(&t->key, KEY_BYTES);
    enum tune_when when = TUNE_AUTO;
    enum model_flash flash = MODEL_FLASH_AUTO;
    enum kernel_isa kernels = KERNEL_ISA_NONE;
    bool compares_kernels = false;
    enum status st = read_when(o, &when, err);
    if (st == STATUS_OK)
        st = read_flash(o, &flash, err);
    if (st == STATUS_OK)
        st = read_kernels(o, &kernels, &compares_kernels, err);
    if (st != STATUS_OK)
        return st;

    uint32_t asked = (uint32_t)option_number(o, OPTION_THREADS);
    uint32_t usable = cpu_usable();
    bool has_gpu = option_number(o, OPTION_GPU_LAYERS) > 0;
    t->choice = tune_default(asked != 0 ? asked : usable, has_gpu, kernels);
    if (flash != MODEL_FLASH_AUTO)
        t->choice.flash = flash;
    if (when == TUNE_NEVER || has_gpu)
        return STATUS_OK;
    st = make_key(t, o, model_path, err);
    if (st != STATUS_OK)
        return st;
    t->path = choose_path(o, strbuf_str(&t->key));
    t->must_measure = when == TUNE_NOW || !recall(t);
    bool is_asked = when == TUNE_NOW;
    t->request = (struct tune_request){
        .start = t->choice,
        .compares_kernels = compares_kernels,
        .budget_ms = is_asked ? ASKED_BUDGET_MS : BUDGET_MS,
        .limit_ms = is_asked ? ASKED_LIMIT_MS : LIMIT_MS,
        .insists = is_asked,
    };
    t->request.start.flash = flash;
    if (asked == 0)
        t->request.n_threads = tune_thread_candidates(usable, cpu_physical(), t->request.threads);
    return STATUS_OK;
}

void tuning_limit_step(struct tuning *t, uint32_t n_step_rows)
{
    if (t->choice.n_step_rows > n_step_rows)
        t->choice.n_step_rows = n_step_rows;
    if (t->request.start.n_step_rows > n_step_rows)
        t->request.start.n_step_rows = n_step_rows;
}

void tuning_remember(const struct tuning *t)
{
    if (!t->must_measure || t->result.state == TUNE_NONE || t->path == NULL)
        return;
    bool is_settled = t->result.state == TUNE_SETTLED;
    struct tune_record record = {
        .is_settled = is_settled,
        .n_attempts = is_settled ? 0 : t->n_attempts + 1,
        .choice = t->result.choice,
    };
    struct error err;
    if (tune_store_write(t->path, strbuf_str(&t->key), &record, &err) != STATUS_OK)
        log_warn("tune: what was measured can't be kept: %s", err.message);
}

void tuning_free(struct tuning *t)
{
    strbuf_free(&t->key);
    mem_free(t->path);
    *t = (struct tuning){0};
}
