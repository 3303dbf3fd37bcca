/* tuning -- how the model is run here: as the user says, as was measured once, or measured now.
 *
 * Once per model, processor, version and settings; what was found is kept in the cache folder
 * (engine/tune_store.h).  What was too unsteady to trust is not kept: it is measured again at the
 * next starts, three in all, then the defaults stay (until --tune now). */
#pragma once

#include "app/options.h"
#include "engine/tune_store.h"

struct tuning {
    struct tune_choice choice; /* in force, and to start from where it is measured */
    bool must_measure;
    struct tune_request request; /* must_measure: for model_llama_load */
    struct tune_result result;   /* ... and its answer */

    struct strbuf key;
    char *path; /* NULL where nothing can be kept */
    unsigned n_attempts;
};

/* STATUS_INVALID for a wrong --tune or --flash-attention, or what model_llama_identify() says. */
MUST_USE enum status tuning_prepare(struct tuning *t, const struct options *o,
                                    const char *model_path, struct error *err);

/* Before loading: the rows of a step were cut to `n_step_rows`, as memory is short. */
void tuning_limit_step(struct tuning *t, uint32_t n_step_rows);

/* After loading, where it was measured: keeps what was found. */
void tuning_remember(const struct tuning *t);

void tuning_free(struct tuning *t);
