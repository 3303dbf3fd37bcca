/* engine_local -- the engine that computes here: canonical prompt, scheduler, model, splitter. */
#pragma once

#include "cache/kvstore.h"
#include "engine/engine.h"
#include "model/model.h"
#include "model/sampler.h"

struct engine_local_options {
    const char *model_name;         /* as shown to clients */
    struct sampler_params sampling; /* for what a request leaves open (from the catalogue) */
    uint32_t n_window;              /* tokens of one conversation */
    uint32_t parallel;              /* turns decoded together */
    bool drafts;                    /* guess ahead where one is decoded alone */
    /* Called once on the engine's loader thread; makes the model.  Separate so that tests pass the
     * toy model and the server is up before the weights are.  Where on_progress answers false, the
     * engine is being destroyed and load should give up. */
    enum status (*load)(void *arg, bool (*on_progress)(float fraction, void *progress_arg),
                        void *progress_arg, struct model **out, struct error *err);
    void *arg;

    /* Where prompts are kept over restarts; the folder's name is copied.  store.folder NULL:
     * nowhere.  What can't be opened is told in the log, and nothing is kept. */
    struct kvstore_options store;

    /* Rows that are computed twice are counted by means of this file (sched/recount.h); the name is
     * copied.  NULL: not counted. */
    const char *recount_file;
};

/* Starts loading and returns at once. */
struct engine *engine_local_create(const struct engine_local_options *options);
