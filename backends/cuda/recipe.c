// backends/cuda/recipe.c: what operators fill recipes and builds with. See recipe.h.
#include "backends/cuda/recipe.h"

#include <string.h>

void weir_cuda_recipe_begin(weir_cuda_recipe_t *recipe, const weir_host_t *host,
    const weir_cuda_facts_t *facts, const weir_cuda_row_t *row)
{
    recipe->host = host;
    recipe->facts = facts;
    recipe->precision =
        row->kernel.head.flags & WEIR_KERNEL_BF16 ? WEIR_CUDA_BF16 : facts->precision;
    recipe->scratch_bytes = 0;
    recipe->step_count = 0;
}

uint64_t weir_cuda_recipe_scratch(weir_cuda_recipe_t *recipe, uint64_t bytes)
{
    uint64_t offset = recipe->scratch_bytes;
    recipe->scratch_bytes = (offset + bytes + 255) / 256 * 256;
    return offset;
}

static weir_cuda_step_t *new_step(weir_cuda_recipe_t *recipe, weir_cuda_step_kind_t kind)
{
    if (recipe->step_count == WEIR_CUDA_STEPS_MAX) {
        recipe->host->fail(
            recipe->host, WEIR_INTERNAL, "a node of more than %d steps", WEIR_CUDA_STEPS_MAX);
        return NULL;
    }
    weir_cuda_step_t *step = &recipe->steps[recipe->step_count++];
    step->kind = kind;
    return step;
}

weir_cuda_kernel_step_t *weir_cuda_recipe_kernel(weir_cuda_recipe_t *recipe, const char *entry,
    uint32_t source, weir_cuda_dim3_t grid, weir_cuda_dim3_t block, uint32_t shared_bytes,
    const void *params, uint32_t params_bytes)
{
    if (params_bytes > WEIR_CUDA_PARAMS_MAX) {
        recipe->host->fail(recipe->host, WEIR_INTERNAL, "%s: %u bytes of parameters",
            entry ? entry : "a generated kernel", params_bytes);
        return NULL;
    }
    weir_cuda_step_t *step = new_step(recipe, WEIR_CUDA_STEP_KERNEL);
    if (!step)
        return NULL;
    weir_cuda_kernel_step_t *kernel = &step->kernel;
    kernel->entry = entry;
    kernel->source = source;
    kernel->grid = grid;
    kernel->block = block;
    kernel->shared_bytes = shared_bytes;
    kernel->params_bytes = params_bytes;
    kernel->pointer_count = 0;
    memcpy(kernel->params, params, params_bytes);
    return kernel;
}

void weir_cuda_step_pointer(weir_cuda_kernel_step_t *step, uint32_t at, weir_cuda_place_t place)
{
    // A pointer too many is found when the step is taken up: specialize() refuses that count.
    if (step->pointer_count < WEIR_CUDA_POINTERS_MAX)
        step->pointers[step->pointer_count] = (weir_cuda_pointer_t){at, place};
    step->pointer_count++;
}

weir_code_t weir_cuda_recipe_matmul(weir_cuda_recipe_t *recipe, const weir_cuda_matmul_t *matmul)
{
    weir_cuda_step_t *step = new_step(recipe, WEIR_CUDA_STEP_MATMUL);
    if (!step)
        return WEIR_INTERNAL;
    step->matmul = *matmul;
    return WEIR_OK;
}

weir_code_t weir_cuda_recipe_conv(weir_cuda_recipe_t *recipe, const weir_cuda_conv_t *conv)
{
    weir_cuda_step_t *step = new_step(recipe, WEIR_CUDA_STEP_CONV);
    if (!step)
        return WEIR_INTERNAL;
    step->conv = *conv;
    return WEIR_OK;
}

weir_code_t weir_cuda_recipe_copy(
    weir_cuda_recipe_t *recipe, weir_cuda_place_t from, weir_cuda_place_t to, uint64_t bytes)
{
    weir_cuda_step_t *step = new_step(recipe, WEIR_CUDA_STEP_COPY);
    if (!step)
        return WEIR_INTERNAL;
    step->copy = (weir_cuda_copy_step_t){from, to, bytes};
    return WEIR_OK;
}

weir_code_t weir_cuda_build_source(weir_cuda_build_t *build, const char *entry, const char *source)
{
    const weir_host_t *host = build->host;
    size_t bytes = strlen(source) + 1, entry_bytes = strlen(entry) + 1;
    if (build->source_count == WEIR_CUDA_SOURCES_MAX || entry_bytes > WEIR_CUDA_ENTRY_BYTES)
        return host->fail(host, WEIR_INTERNAL, "%s: too many sources, or too long a name", entry);
    char *copy = host->alloc(host, bytes);
    if (!copy)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a source");
    memcpy(copy, source, bytes);
    build->sources[build->source_count].source = copy;
    memcpy(build->sources[build->source_count].entry, entry, entry_bytes);
    build->source_count++;
    return WEIR_OK;
}
