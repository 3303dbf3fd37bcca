/* cmd_serve -- puts the server together: settings, model, memory, engine, sockets; and takes it
 * apart in the reverse order. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "app/commands.h"
#include "app/tuning.h"
#include "base/file.h"
#include "base/log.h"
#include "cache/kvfolder.h"
#include "engine/engine_local.h"
#include "engine/engine_rounds.h"
#include "engine/engine_script.h"
#include "memory/governor.h"
#include "model/model_llama.h"
#include "server/server.h"
#include "version.h"

enum {
    LARGEST_DEFAULT_CTX = 32768,
    SMALLEST_CTX = 4096,
    CTX_STEP = 256,
    KEY_BYTES = 4096,
    LEAST_KEY_BYTES = 8,
    AMPLE = 4, /* memory for so many times the needs makes the pool larger */
    MOST_HOSTS = 64,
    DEFAULT_REPEAT_LAST_N = 64,
    DEFAULT_PORT = 7777,                   /* what scripts/claude-local takes by itself */
    STORE_QUEUE_BYTES = 256 * 1024 * 1024, /* prompts on their way to the disk */
    STORE_RESERVE_BYTES = 1024 * 1024 * 1024,
};

struct plan {
    const struct options *options;
    char *path;                        /* of the model file */
    const struct catalog_model *model; /* NULL for a file of the user's */
    uint32_t n_window, n_cells, n_sequences;
    struct tuning tuning;
    struct model_llama_needs needs;
    char name[128];
    char model_id[160];
    struct governor_rules rules;
    struct engine *script; /* for the levers of tests; NULL where the engine is a model */
};

/* ---- Choosing ---- */

static enum status choose_model(struct plan *p, struct error *err)
{
    const struct options *o = p->options;
    const char *spec = option_text(o, OPTION_MODEL);
    if (spec[0] != '\0')
        return catalog_resolve(spec, &p->path, &p->model, err);

    char why[256];
    const struct catalog_model *m = default_model(o, why, sizeof why);
    fprintf(stderr, "%s\n", why);
    for (size_t i = 0; !catalog_is_here(m) && i < catalog_count(); i++) {
        const struct catalog_model *other = catalog_at(i);
        if (!other->is_chat || !catalog_is_here(other))
            continue;
        fprintf(stderr, "%s is not here; using %s (`pensieve pull` fetches the other)\n", m->name,
                other->name);
        m = other;
    }
    return catalog_resolve(m->name, &p->path, &p->model, err);
}

static void name_model(struct plan *p)
{
    const char *slash = strrchr(p->path, '/');
    snprintf(p->name, sizeof p->name, "%s",
             p->model != NULL ? p->model->name
             : slash != NULL  ? slash + 1
                              : p->path);
    /* Claude Code lists only models whose id contains "claude". */
    snprintf(p->model_id, sizeof p->model_id, "claude-local-%s", p->name);
    for (char *c = p->model_id; *c != '\0'; c++)
        if (*c == ':' || *c == ' ')
            *c = '-';
}

static uint64_t total_needs(const struct plan *p, uint32_t n_cells)
{
    uint64_t per_cell = p->needs.kv_bytes_per_cell + p->needs.step_bytes_per_cell;
    return p->needs.weights_bytes + p->needs.step_bytes + per_cell * n_cells;
}

/* Fewer rows a step before a smaller window: they cost some speed, the window a conversation. */
static enum status shrink_step(struct plan *p, uint32_t n_cells, uint64_t usable, struct error *err)
{
    struct tune_choice *choice = &p->tuning.choice;
    uint32_t wanted = choice->n_step_rows;
    enum status st = STATUS_OK;
    while (st == STATUS_OK && total_needs(p, n_cells) > usable &&
           choice->n_step_rows > TUNE_SMALLEST_STEP) {
        tuning_limit_step(&p->tuning, choice->n_step_rows / 2);
        st = model_llama_measure(p->path, choice, &p->needs, err);
    }
    if (st == STATUS_OK && choice->n_step_rows < wanted)
        fprintf(stderr, "memory is short: computing %u rows a step instead of %u\n",
                choice->n_step_rows, wanted);
    return st;
}

/* What was asked for, or what the model was trained on and a pool that was asked for can hold. */
static uint32_t first_window(const struct plan *p, uint32_t pool)
{
    uint32_t asked = (uint32_t)option_number(p->options, OPTION_CTX);
    uint32_t most = p->needs.n_context_trained;
    if (asked > most)
        fprintf(stderr, "--ctx %u is more than the %u tokens the model was trained on\n", asked,
                most);
    if (asked != 0)
        return asked;
    if (most > LARGEST_DEFAULT_CTX)
        most = LARGEST_DEFAULT_CTX;
    return pool != 0 && pool < most ? pool : most;
}

static double gb(uint64_t bytes)
{
    return (double)bytes / (1u << 30);
}

/* The window and the pool that fit into `available` bytes: a smaller step first, then a smaller
 * window, a refusal with numbers last.  A pool that was asked for is taken or refused as it is. */
static enum status fit_sizes(struct plan *p, uint64_t available, struct error *err)
{
    uint32_t pool = (uint32_t)option_number(p->options, OPTION_POOL);
    uint32_t wanted = first_window(p, pool), n_window = wanted;
    uint64_t kept = p->rules.warn_bytes, usable = available > kept ? available - kept : 0;
    if (pool != 0 && pool < n_window)
        return error_set(err, STATUS_INVALID, "--pool %u is smaller than the window of %u tokens",
                         pool, n_window);
    enum status st = shrink_step(p, pool != 0 ? pool : n_window, usable, err);
    if (st != STATUS_OK)
        return st;
    while (pool == 0 && total_needs(p, n_window) > usable && n_window / 2 >= SMALLEST_CTX)
        n_window = n_window / 2 / CTX_STEP * CTX_STEP;
    uint32_t n_cells = pool != 0 ? pool : n_window;
    if (total_needs(p, n_cells) > usable)
        return error_set(err, STATUS_NO_MEMORY,
                         "%s with a %s of %u tokens needs %.2f GB, and %.2f GB are free, of which "
                         "%.2f GB stay free; close other programs, or choose a smaller --model, "
                         "--ctx or --pool",
                         p->name, pool != 0 ? "pool" : "window", n_cells,
                         gb(total_needs(p, n_cells)), gb(available), gb(kept));
    if (n_window < wanted)
        fprintf(stderr, "a window of %u tokens would need %.2f GB: using %u tokens, %.2f GB\n",
                wanted, gb(total_needs(p, wanted)), n_window, gb(total_needs(p, n_window)));
    p->n_window = n_window;
    p->n_cells = n_cells;
    if (pool == 0 && usable / AMPLE > total_needs(p, n_window))
        p->n_cells += n_window / 2;
    return STATUS_OK;
}

static const char *memory_source(const struct options *o)
{
    const char *source = option_text(o, OPTION_MEMORY_SOURCE);
    return source[0] != '\0' ? source : NULL;
}

static enum status choose_sizes(struct plan *p, struct error *err)
{
    enum status st = model_llama_measure(p->path, &p->tuning.choice, &p->needs, err);
    struct mem_sample memory;
    if (st == STATUS_OK)
        st = governor_read(memory_source(p->options), 0, &memory, err);
    return st == STATUS_OK ? fit_sizes(p, memory.available_bytes, err) : st;
}

static float or_default(float given, float otherwise)
{
    return given >= 0 ? given : otherwise;
}

static struct sampler_params choose_sampling(const struct catalog_model *m)
{
    struct sampler_params p = {.temperature = 0.7f,
                               .top_p = 0.95f,
                               .top_k = 40,
                               .min_p = 0.05f,
                               .repeat_penalty = 1,
                               .repeat_last_n = DEFAULT_REPEAT_LAST_N};
    if (m == NULL)
        return p;
    p.temperature = or_default(m->temperature, p.temperature);
    p.top_p = or_default(m->top_p, 1);
    p.min_p = or_default(m->min_p, 0);
    p.repeat_penalty = or_default(m->repeat_penalty, 1);
    p.top_k = m->top_k >= 0 ? m->top_k : 0;
    return p;
}

/* ---- Parts ---- */

static enum status load_model(void *arg, bool (*on_progress)(float fraction, void *progress_arg),
                              void *progress_arg, struct model **out, struct error *err)
{
    struct plan *p = arg;
    struct model_llama_options options = {
        .path = p->path,
        .n_cells = p->n_cells,
        .n_sequences = p->n_sequences,
        .how = p->tuning.choice,
        .repack = option_flag(p->options, OPTION_REPACK),
        .n_gpu_layers = (uint32_t)option_number(p->options, OPTION_GPU_LAYERS),
        .tune = p->tuning.must_measure ? &p->tuning.request : NULL,
        .tuned = &p->tuning.result,
        .on_progress = on_progress,
        .arg = progress_arg,
    };
    enum status st = model_llama_load(&options, out, err);
    if (st == STATUS_OK)
        tuning_remember(&p->tuning);
    return st;
}

/* The folder for prompts; where keeping is switched off there is none, and what was kept goes. */
static enum status choose_store(const struct options *o, char **out, struct error *err)
{
    char *folder = cache_folder(o);
    if (folder == NULL || option_flag(o, OPTION_CACHE)) {
        *out = folder;
        return STATUS_OK;
    }
    uint64_t n_blocks, n_bytes;
    enum status st = kvfolder_clear(folder, &n_blocks, &n_bytes, err);
    if (st == STATUS_OK && n_bytes > 0)
        log_info("store: switched off; %llu kept blocks and the replies were deleted (%.2f GB)",
                 (unsigned long long)n_blocks, gb(n_bytes));
    mem_free(folder);
    return st;
}

/* The engine that computes, or the one that plays scripts: a turn of it is one round. */
static enum status make_inner_engine(struct plan *p, struct engine **out, struct error *err)
{
    const char *engine = option_text(p->options, OPTION_ENGINE);
    if (strncmp(engine, "script:", 7) == 0) {
        snprintf(p->name, sizeof p->name, "script");
        snprintf(p->model_id, sizeof p->model_id, "claude-local-script");
        *out = p->script = engine_script_create(engine + 7);
        return STATUS_OK;
    }
    if (strcmp(engine, "local") != 0)
        return error_set(err, STATUS_INVALID, "--engine: should be local or script:DIR");
    enum status st = choose_model(p, err);
    if (st != STATUS_OK)
        return st;
    name_model(p);
    st = tuning_prepare(&p->tuning, p->options, p->path, err);
    if (st == STATUS_OK)
        st = choose_sizes(p, err);
    if (st != STATUS_OK)
        return st;
    char *store_folder = NULL;
    st = choose_store(p->options, &store_folder, err);
    if (st != STATUS_OK)
        return st;
    uint32_t parallel = (uint32_t)option_number(p->options, OPTION_PARALLEL);
    p->n_sequences = 2 * parallel + 8;
    struct engine_local_options options = {
        .model_name = p->name,
        .sampling = choose_sampling(p->model),
        .n_window = p->n_window,
        .parallel = parallel,
        .drafts = option_flag(p->options, OPTION_DRAFTS),
        .load = load_model,
        .arg = p,
        .store = {.folder = store_folder,
                  .budget_bytes = option_bytes(p->options, OPTION_CACHE_GB),
                  .daily_bytes = option_bytes(p->options, OPTION_CACHE_DAILY_GB),
                  .ttl_days = (uint32_t)option_number(p->options, OPTION_CACHE_DAYS),
                  .reserve_bytes = STORE_RESERVE_BYTES,
                  .queue_bytes = STORE_QUEUE_BYTES},
        .recount_file = option_is_set(p->options, OPTION_RECOUNT)
                            ? option_text(p->options, OPTION_RECOUNT)
                            : NULL,
    };
    *out = engine_local_create(&options);
    mem_free(store_folder);
    return *out != NULL ? STATUS_OK
                        : error_set(err, STATUS_INTERNAL, "cannot start the engine's thread");
}

static enum status make_engine(struct plan *p, struct engine **out, struct error *err)
{
    const char *searxng = option_text(p->options, OPTION_SEARXNG);
    struct str url = str_from(searxng);
    if (url.len > 0 && !str_starts_with(url, STR("http://")) &&
        !str_starts_with(url, STR("https://")))
        return error_set(err, STATUS_INVALID, "--searxng: should be an http or https address");
    struct web_options web = {.searxng_url = url.len > 0 ? searxng : NULL};
    struct engine *inner;
    enum status st = make_inner_engine(p, &inner, err);
    if (st == STATUS_OK)
        *out = engine_rounds_create(inner, &web);
    return st;
}

static enum status read_key(const struct options *o, struct strbuf *key, struct error *err)
{
    const char *path = option_text(o, OPTION_API_KEY_FILE);
    strbuf_init(key, KEY_BYTES);
    if (path[0] == '\0')
        return STATUS_OK;
    enum status st = file_read(path, key, err);
    if (st != STATUS_OK)
        return error_set(err, STATUS_INVALID, "--api-key-file: cannot read %.300s", path);
    while (key->len > 0 && strchr("\r\n \t", key->data[key->len - 1]) != NULL)
        key->data[--key->len] = '\0';
    if (key->len < LEAST_KEY_BYTES)
        return error_set(err, STATUS_INVALID,
                         "--api-key-file: the key should have %d characters "
                         "or more",
                         LEAST_KEY_BYTES);
    return STATUS_OK;
}

static size_t split_hosts(char *list, const char **out)
{
    size_t n = 0;
    for (char *save = NULL, *host = strtok_r(list, ", ", &save); host != NULL && n < MOST_HOSTS;
         host = strtok_r(NULL, ", ", &save))
        out[n++] = host;
    return n;
}

static void stop_for_memory(void *arg)
{
    log_error("memory is nearly gone: stopping in good order");
    server_stop(arg, EXIT_CODE_LOW_MEMORY_STOP);
}

static void say_how(const struct options *o, const struct plan *p, uint16_t port)
{
    char port_option[32] = "";
    if (port != DEFAULT_PORT)
        snprintf(port_option, sizeof port_option, " --port %u", port);
    printf("listening on http://%s:%u\n", option_text(o, OPTION_HOST), port);
    fflush(stdout);
    fprintf(stderr,
            "\nPensieve serves %s (window %u tokens, pool %u) on http://%s:%u\n"
            "  Claude Code:  scripts/claude-local%s\n"
            "  others:       ANTHROPIC_BASE_URL=http://%s:%u ANTHROPIC_AUTH_TOKEN=%s\n"
            "  state:        pensieve status, /health; stop with Ctrl-C or pensieve stop\n\n",
            p->name, p->n_window, p->n_cells, option_text(o, OPTION_HOST), port, port_option,
            option_text(o, OPTION_HOST), port,
            option_text(o, OPTION_API_KEY_FILE)[0] ? "(your key)" : SERVER_DEFAULT_KEY);
}

/* Prompts are in this process's memory: no core file of it, and nobody of the same user attaches.
 */
static void protect_process(void)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    /* Files that may not grow (ulimit -f) are a failed write, which is handled, and no reason to
     * die. */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGXFSZ, &ignore, NULL);
#ifdef __linux__
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

/* ---- Running ---- */

static int run_server(struct plan *p, struct engine *engine, struct error *err, enum status *out_st)
{
    const struct options *o = p->options;
    struct strbuf key;
    char *hosts = mem_strdup(option_text(o, OPTION_ALLOWED_HOST));
    const char *host_list[MOST_HOSTS];
    struct server *server = NULL;
    struct governor *governor = NULL;
    int code = EXIT_CODE_OK;

    enum status st = read_key(o, &key, err);
    if (st != STATUS_OK)
        goto out;
    struct server_options options = {
        .host = option_text(o, OPTION_HOST),
        .port = (uint16_t)option_number(o, OPTION_PORT),
        .api_key = key.len > 0 ? strbuf_cstr(&key) : NULL,
        .allowed_hosts = host_list,
        .n_allowed_hosts = split_hosts(hosts, host_list),
        .engine = engine,
        .governor = NULL,
        .version = PENSIEVE_VERSION,
        .model_id = p->model_id,
        .model_display_name = p->name,
        .has_web = option_text(o, OPTION_SEARXNG)[0] != '\0',
        .tells_prefix = option_flag(o, OPTION_PREFIX_HEADER),
        .script = option_flag(o, OPTION_TEST_ROUTES) ? p->script : NULL,
        .tuning.ping_ms = (unsigned)option_number(o, OPTION_PING_MS),
        .tuning.progress_ms = (unsigned)option_number(o, OPTION_PROGRESS_MS),
    };
    if (option_flag(o, OPTION_TEST_ROUTES) && p->script == NULL) {
        st = error_set(err, STATUS_INVALID, "--test-routes works only with --engine script:DIR");
        goto out;
    }
    st = server_create(&options, &server, err);
    if (st != STATUS_OK)
        goto out;
    struct governor_options memory = {
        .rules = p->rules,
        .source_file = memory_source(o),
        .model_mapped_bytes = p->needs.weights_bytes,
        .on_emergency = stop_for_memory,
        .arg = server,
    };
    st = governor_start(&memory, &governor, err);
    if (st != STATUS_OK)
        goto out;
    server_set_governor(server, governor);
    say_how(o, p, server_port(server));
    code = server_run(server);

out:
    if (governor != NULL)
        governor_stop(governor);
    server_destroy(server);
    mem_free(hosts);
    strbuf_free(&key);
    *out_st = st;
    return code;
}

int cmd_serve(const struct options *o)
{
    struct error err;
    struct plan plan = {
        .options = o,
        .rules = {option_bytes(o, OPTION_MEMORY_WARN), option_bytes(o, OPTION_MEMORY_REJECT),
                  option_bytes(o, OPTION_MEMORY_STOP)},
    };
    enum log_level level;
    if (o->n_rest > 0)
        return complain(EXIT_CODE_USAGE, "serve takes options only; name the model with --model");
    if (!log_level_parse(option_text(o, OPTION_LOG_LEVEL), &level))
        return complain(EXIT_CODE_USAGE, "--log-level: should be error, warn, info or debug");
    log_set_level(level);
    if (option_is_set(o, OPTION_MODELS))
        setenv("PENSIEVE_MODELS", option_text(o, OPTION_MODELS), 1);
    protect_process();

    struct engine *engine = NULL;
    int code = EXIT_CODE_OK;
    enum status st = governor_rules_check(&plan.rules, &err);
    if (st == STATUS_OK)
        st = make_engine(&plan, &engine, &err);
    if (st == STATUS_OK)
        code = run_server(&plan, engine, &err, &st);
    engine_destroy(engine);
    tuning_free(&plan.tuning);
    mem_free(plan.path);
    return st == STATUS_OK ? code : complain(exit_code_for(&err), err.message);
}
