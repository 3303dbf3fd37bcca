/* The one file that knows ggml's internal headers (third_party/README.md says how to raise them).
 */
#include "kernels/hook.h"

#include <atomic>
#include <cstring>

#include "ggml-cpu.h"
#include "ggml-internal/traits.h"

extern "C" {
#include "kernels/ggml_ops.h"
}

/* What is relied on beyond the classes of traits.h. */
#define PINNED_VERSION "0.25.3"
static_assert(GGML_BACKEND_API_VERSION == 2, "another ggml: read its traits.h again");
static_assert(sizeof(ggml_backend_buffer_type) == 8 * sizeof(void *), "another buffer type");

static std::atomic<int> isa_in_use{KERNEL_ISA_NONE};
static std::atomic<uint64_t> n_computed{0};

enum {
    ALIGNMENT = 64, /* of the work buffer; ggml's is aligned to less */
};

static void *align(void *p)
{
    return reinterpret_cast<void *>((reinterpret_cast<uintptr_t>(p) + ALIGNMENT - 1) &
                                    ~static_cast<uintptr_t>(ALIGNMENT - 1));
}

/* ---- ggml's threads as a team ---- */

static void barrier(void *pool)
{
    ggml_barrier(static_cast<ggml_threadpool *>(pool));
}

static void set_counter(void *pool, int to)
{
    ggml_threadpool_chunk_set(static_cast<ggml_threadpool *>(pool), to);
}

static int take(void *pool)
{
    return ggml_threadpool_chunk_add(static_cast<ggml_threadpool *>(pool), 1);
}

/* Of an operation that is ours. */
static kernel_team team_of(const ggml_compute_params *params)
{
    if (params->ith == 0)
        n_computed.fetch_add(1, std::memory_order_relaxed);
    return {params->ith, params->nth, params->threadpool, barrier, set_counter, take};
}

/* ---- The operations ---- */

/* A kind of operation: how its arguments are read, what work buffer it wants, and its kernel. */
template <typename args_of_op, auto read, auto work_bytes, auto run>
class traits_of : public ggml::cpu::tensor_traits
{
    bool work_size(int n_threads, const ggml_tensor *op, size_t &size) override
    {
        args_of_op args;
        if (!read(op, kernels_in_use(), &args))
            return false;
        size = work_bytes(kernels_in_use(), &args.shape, n_threads) + ALIGNMENT;
        return true;
    }

    bool compute_forward(ggml_compute_params *params, ggml_tensor *op) override
    {
        args_of_op args;
        if (!read(op, kernels_in_use(), &args))
            return false;
        args.work = align(params->wdata);
        kernel_team team = team_of(params);
        run(kernels_in_use(), &args, &team);
        return true;
    }
};

/* ---- The buffer type ---- */

class kernels_buffer_type : public ggml::cpu::extra_buffer_type
{
    traits_of<attention_args, ggml_ops_read_attention, attention_work_bytes, attention_run>
        attention;
    traits_of<matmul_args, ggml_ops_read_matmul, matmul_work_bytes, matmul_run> matmul;
    traits_of<experts_args, ggml_ops_read_experts, experts_work_bytes, experts_run> experts;

    /* No tensor lives in a buffer of ours. */
    bool supports_op(ggml_backend_dev_t, const ggml_tensor *) override
    {
        return false;
    }

    ggml::cpu::tensor_traits *get_tensor_traits(const ggml_tensor *op) override
    {
        if (kernels_in_use() == KERNEL_ISA_NONE)
            return nullptr;
        switch (op->op) {
        case GGML_OP_FLASH_ATTN_EXT:
            return &attention;
        case GGML_OP_MUL_MAT:
            return &matmul;
        case GGML_OP_MUL_MAT_ID:
            return &experts;
        default:
            return nullptr;
        }
    }
};

static const char *buffer_name(ggml_backend_buffer_type_t)
{
    return "Pensieve";
}

static ggml_backend_buffer_t alloc_nothing(ggml_backend_buffer_type_t, size_t)
{
    return nullptr;
}

static size_t buffer_alignment(ggml_backend_buffer_type_t)
{
    return ALIGNMENT;
}

static bool install()
{
    if (std::strcmp(ggml_version(), PINNED_VERSION) != 0)
        return false;
    static kernels_buffer_type kernels;
    static ggml_backend_buffer_type type = {
        {buffer_name, alloc_nothing, buffer_alignment, nullptr, nullptr, nullptr},
        ggml_backend_reg_dev_get(ggml_backend_cpu_reg(), 0),
        static_cast<ggml::cpu::extra_buffer_type *>(&kernels),
    };
    ggml_backend_cpu_get_extra_buffer_types().push_back(&type);
    return true;
}

bool kernels_install(void)
{
    static const bool is_installed = install();
    return is_installed;
}

void kernels_use(enum kernel_isa isa)
{
    isa_in_use.store(isa, std::memory_order_relaxed);
}

enum kernel_isa kernels_in_use(void)
{
    return static_cast<kernel_isa>(isa_in_use.load(std::memory_order_relaxed));
}

uint64_t kernels_n_computed(void)
{
    return n_computed.load(std::memory_order_relaxed);
}
