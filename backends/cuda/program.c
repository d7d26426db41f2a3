// backends/cuda/program.c: programs: which kernels the nodes of a slice need, compiled once.
//
// compile() asks each node's row for sources, compiles those that neither a program, the cache nor
// an artifact has, side by side, and loads them. An artifact is the images of the generated
// kernels; what the engine has already said in its key (nodes, architecture, build) is only checked
// by a digest. Must not launch anything.
#include "backends/cuda/cuda.h"

#include <stdio.h>
#include <string.h>

#define TEXT_BYTES (256u << 10) // of one source
#define ARTIFACT_MAGIC 0x3161647563726577ull

typedef struct artifact {
    uint64_t magic, checksum, digest;
    uint32_t arch, generated_count;
} artifact_t;

// Followed by its image, and padding to 8 bytes.
typedef struct artifact_part {
    uint32_t node, source;
    uint64_t hash[2], bytes;
    char entry[WEIR_CUDA_ENTRY_BYTES];
} artifact_part_t;

static weir_cuda_program_t *program_of(weir_handle_t handle)
{
    return (weir_cuda_program_t *)(uintptr_t)handle;
}

// ---- Digests ------------------------------------------------------------------------------------

// Two rounds of a multiply and shift mixer over 64-bit words (Steele and others, SplitMix64).
void weir_cuda_hash(uint64_t seed, const void *data, uint64_t bytes, uint64_t out_hash[2])
{
    const uint8_t *at = data;
    uint64_t a = seed ^ bytes, b = ~seed;
    while (bytes) {
        uint64_t word = 0, step = WEIR_MIN(bytes, sizeof word);
        memcpy(&word, at, step);
        at += step;
        bytes -= step;
        a = (a ^ word) * 0xbf58476d1ce4e5b9ull;
        a ^= a >> 29;
        b = (b + word) * 0x94d049bb133111ebull;
        b ^= b >> 31;
    }
    out_hash[0] = (a ^ (a >> 32)) * 0x9e3779b97f4a7c15ull;
    out_hash[1] = (b ^ (b >> 32)) * 0xff51afd7ed558ccdull;
}

static uint64_t join(uint64_t digest, const void *data, uint64_t bytes)
{
    uint64_t hash[2];
    weir_cuda_hash(digest, data, bytes, hash);
    return hash[0] ^ hash[1];
}

static uint64_t digest_of(const weir_slice_t *slice)
{
    uint64_t digest = slice->node_count;
    for (uint32_t i = 0; i < slice->node_count; i++) {
        const weir_slice_node_t *node = &slice->nodes[i];
        const weir_expression_t *parts[3] = {
            node->node.prologue, node->node.body, node->node.epilogue};
        digest = join(digest, node->kernel->name, strlen(node->kernel->name));
        for (uint32_t t = 0; t < node->node.input_count; t++)
            digest = join(digest, &node->node.inputs[t].dtype, sizeof(weir_dtype_t));
        for (uint32_t p = 0; p < 3; p++)
            for (uint32_t k = 0; parts[p] && k < parts[p]->instruction_count; k++)
                digest = join(digest, &parts[p]->instructions[k], sizeof parts[p]->instructions[k]);
    }
    return digest;
}

// ---- Making -------------------------------------------------------------------------------------

static void program_free(weir_cuda_program_t *program)
{
    const weir_host_t *host = program->device->host;
    while (program->conv_count)
        weir_cuda_conv_free(program->device, program->conv_plans[--program->conv_count]);
    host->free(host, program->conv_plans);
    for (uint32_t i = 0; i < program->generated_count; i++) {
        weir_cuda_module_release(program->device, program->generated[i].module);
        host->free(host, program->generated[i].image);
    }
    host->free(host, program->generated);
    host->free(host, program);
}

static weir_cuda_program_t *program_new(weir_cuda_device_t *device, const weir_slice_t *slice)
{
    const weir_host_t *host = device->host;
    weir_cuda_program_t *program =
        host->alloc(host, sizeof *program + slice->node_count * sizeof program->rows[0]);
    if (!program) {
        host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a program");
        return NULL;
    }
    *program = (weir_cuda_program_t){
        .device = device, .digest = digest_of(slice), .node_count = slice->node_count};
    for (uint32_t i = 0; i < slice->node_count; i++) {
        program->rows[i] = weir_cuda_row(device->state, slice->nodes[i].kernel);
        if (!program->rows[i]) {
            host->fail(host, WEIR_INTERNAL, "no kernel of ours: %s", slice->nodes[i].kernel->name);
            program_free(program);
            return NULL;
        }
    }
    return program;
}

// What is being compiled: sources by their number in the program.
typedef struct job {
    weir_cuda_program_t *program;
    char **sources; // [program->generated_count]
    uint32_t capacity;
    pthread_mutex_t lock; // of the reason
    char reason[WEIR_CUDA_SAID_BYTES];
} job_t;

static weir_code_t add_generated(job_t *job, uint32_t node, const weir_cuda_build_t *build)
{
    weir_cuda_program_t *program = job->program;
    const weir_host_t *host = program->device->host;
    for (uint32_t s = 0; s < build->source_count; s++) {
        if (program->generated_count == job->capacity) {
            uint32_t capacity = job->capacity ? job->capacity * 2 : 32;
            weir_cuda_generated_t *grown = host->alloc(host, capacity * sizeof *grown);
            char **sources = host->alloc(host, capacity * sizeof *sources);
            if (!grown || !sources) {
                host->free(host, grown);
                host->free(host, sources);
                return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a program");
            }
            if (job->capacity) {
                memcpy(grown, program->generated, job->capacity * sizeof *grown);
                memcpy(sources, job->sources, job->capacity * sizeof *sources);
            }
            host->free(host, program->generated);
            host->free(host, job->sources);
            program->generated = grown;
            job->sources = sources;
            job->capacity = capacity;
        }
        weir_cuda_generated_t *generated = &program->generated[program->generated_count];
        *generated = (weir_cuda_generated_t){.node = node, .source = s};
        memcpy(generated->entry, build->sources[s].entry, sizeof generated->entry);
        weir_cuda_hash(program->device->facts.arch, build->sources[s].source,
            strlen(build->sources[s].source), generated->hash);
        size_t bytes = strlen(build->sources[s].source) + 1;
        char *source = host->alloc(host, bytes);
        if (!source)
            return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a source");
        memcpy(source, build->sources[s].source, bytes);
        job->sources[program->generated_count++] = source;
    }
    return WEIR_OK;
}

static weir_code_t build_nodes(job_t *job, const weir_slice_t *slice, char *text)
{
    weir_cuda_device_t *device = job->program->device;
    const weir_host_t *host = device->host;
    weir_code_t code = WEIR_OK;
    for (uint32_t i = 0; i < slice->node_count && code == WEIR_OK; i++) {
        const weir_cuda_row_t *row = job->program->rows[i];
        weir_cuda_build_t build = {
            .host = host, .facts = &device->facts, .text = text, .text_bytes = TEXT_BYTES};
        if (!row->build)
            continue;
        weir_node_t node = slice->nodes[i].node;
        code = row->build(&node, &build);
        if (code == WEIR_OK)
            code = add_generated(job, i, &build);
        for (uint32_t s = 0; s < build.source_count; s++)
            host->free(host, build.sources[s].source);
    }
    return code;
}

static bool is_first_of_its_kind(const weir_cuda_program_t *program, uint64_t i)
{
    for (uint64_t k = 0; k < i; k++)
        if (memcmp(program->generated[k].hash, program->generated[i].hash,
                sizeof program->generated[i].hash) == 0)
            return false;
    return true;
}

// Compiles source `i`, or finds it in the cache; on any thread of the team.
static weir_code_t compile_one(void *user, uint64_t i)
{
    job_t *job = user;
    weir_cuda_program_t *program = job->program;
    weir_cuda_device_t *device = program->device;
    const weir_host_t *host = device->host;
    weir_cuda_generated_t *generated = &program->generated[i];
    char key[96];
    const void *kept;
    uint64_t bytes;
    if (!is_first_of_its_kind(program, i))
        return WEIR_OK;
    snprintf(key, sizeof key, "kernel %016llx%016llx sm_%u %s",
        (unsigned long long)generated->hash[0], (unsigned long long)generated->hash[1],
        device->facts.arch, device->state->libraries[WEIR_CUDA_LIBRARY_NVRTC].version);
    if (host->blob_get(host, key, &kept, &bytes) == WEIR_OK) {
        generated->image = host->alloc(host, bytes);
        if (generated->image)
            memcpy(generated->image, kept, bytes);
        generated->image_bytes = bytes;
        host->blob_release(host, kept);
        return generated->image ? WEIR_OK : WEIR_RESOURCE_EXHAUSTED;
    }
    char reason[WEIR_CUDA_SAID_BYTES] = "no memory for a kernel";
    weir_code_t code = weir_cuda_compile_source(device->state, device->facts.arch, job->sources[i],
        generated->entry, &generated->image, &generated->image_bytes, reason);
    if (code != WEIR_OK) {
        pthread_mutex_lock(&job->lock);
        memcpy(job->reason, reason, sizeof reason);
        pthread_mutex_unlock(&job->lock);
    }
    if (code == WEIR_OK) // a cache that is full or read-only only costs time
        (void)host->blob_put(host, key, generated->image, generated->image_bytes);
    return code;
}

static weir_code_t load_modules(weir_cuda_program_t *program)
{
    weir_code_t code = weir_cuda_modules_prepare(program->device);
    for (uint32_t i = 0; i < program->generated_count && code == WEIR_OK; i++) {
        weir_cuda_generated_t *generated = &program->generated[i];
        generated->module = weir_cuda_module_find(program->device, generated->hash);
        if (!generated->module)
            code = weir_cuda_module_load(program->device, generated->hash, generated->entry,
                generated->image, &generated->module);
    }
    return code;
}

// ---- Convolutions -------------------------------------------------------------------------------

static bool has_known_dims(const weir_node_t *node)
{
    for (uint32_t i = 0; i < node->input_count + node->output_count; i++) {
        const weir_tensor_t *tensor =
            i < node->input_count ? &node->inputs[i] : &node->outputs[i - node->input_count];
        for (uint32_t d = 0; d < tensor->rank; d++)
            if (tensor->dims[d] <= 0)
                return false;
    }
    return true;
}

static void keep_conv(weir_cuda_program_t *program, const weir_cuda_conv_t *conv)
{
    void *plan;
    uint64_t bytes;
    if (weir_cuda_conv_plan(program->device, conv, WEIR_CUDA_CONV_WORKSPACE, &plan, &bytes) ==
        WEIR_OK)
        program->conv_plans[program->conv_count++] = plan;
}

// Plans of the library that need no run to know their dims. What it cannot plan is no failure here:
// specializations then have it on the own kernels.
static weir_code_t plan_convs(weir_cuda_program_t *program, const weir_slice_t *slice)
{
    weir_cuda_device_t *device = program->device;
    const weir_host_t *host = device->host;
    if (!device->facts.has_conv)
        return WEIR_OK;
    weir_cuda_recipe_t *recipe = host->alloc(host, sizeof *recipe);
    program->conv_plans =
        host->alloc(host, (slice->node_count + 1ull) * sizeof *program->conv_plans);
    if (!recipe || !program->conv_plans) {
        host->free(host, recipe);
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a program");
    }
    for (uint32_t i = 0; i < slice->node_count; i++) {
        const weir_cuda_row_t *row = program->rows[i];
        weir_node_t node = slice->nodes[i].node;
        if (strcmp(node.op, "Conv") != 0 || !has_known_dims(&node))
            continue;
        weir_cuda_recipe_begin(recipe, host, &device->facts, row);
        if (row->plan(&node, recipe) == WEIR_OK && recipe->step_count &&
            recipe->steps[0].kind == WEIR_CUDA_STEP_CONV)
            keep_conv(program, &recipe->steps[0].conv);
    }
    host->free(host, recipe);
    return atomic_load(&device->is_lost) ? WEIR_DEVICE_LOST : WEIR_OK;
}

// ---- The call -----------------------------------------------------------------------------------

static weir_code_t compile(
    weir_cuda_device_t *device, const weir_slice_t *slice, weir_handle_t *out_program)
{
    const weir_host_t *host = device->host;
    weir_code_t code;
    weir_cuda_program_t *program = program_new(device, slice);
    char *text = program ? host->alloc(host, TEXT_BYTES) : NULL;
    job_t job = {.program = program, .lock = PTHREAD_MUTEX_INITIALIZER};
    code = text ? build_nodes(&job, slice, text) : WEIR_RESOURCE_EXHAUSTED;
    if (code == WEIR_OK && program->generated_count && !device->facts.has_compiler)
        code = host->fail(
            host, WEIR_UNSUPPORTED, "%s", device->state->libraries[WEIR_CUDA_LIBRARY_NVRTC].reason);
    if (code == WEIR_OK && program->generated_count)
        code = host->parallel_for(host, program->generated_count, compile_one, &job);
    if (job.reason[0])
        host->fail(host, code, "%s", job.reason);
    if (code == WEIR_OK)
        code = load_modules(program);
    if (code == WEIR_OK)
        code = plan_convs(program, slice);
    for (uint32_t i = 0; program && i < program->generated_count && job.sources; i++)
        host->free(host, job.sources[i]);
    host->free(host, job.sources);
    host->free(host, text);
    if (code != WEIR_OK && program)
        program_free(program);
    else
        *out_program = (weir_handle_t)(uintptr_t)program;
    return code;
}

weir_code_t weir_cuda_compile(
    weir_handle_t handle, const weir_slice_t *slice, weir_handle_t *out_program)
{
    weir_cuda_device_t *device = weir_cuda_device(handle);
    weir_code_t code = weir_cuda_enter(device);
    if (code != WEIR_OK)
        return code;
    code = compile(device, slice, out_program);
    weir_cuda_leave(device);
    return code;
}

void weir_cuda_program_release(weir_handle_t handle)
{
    weir_cuda_program_t *program = program_of(handle);
    weir_cuda_device_t *device = program->device;
    weir_cuda_choices_save(device);
    const bool is_in = weir_cuda_enter_to_free(device);
    program_free(program);
    if (is_in)
        weir_cuda_leave(device);
}

weir_code_t weir_cuda_program_info(weir_handle_t handle, weir_program_info_t *out_info)
{
    const weir_cuda_program_t *program = program_of(handle);
    out_info->replay = program->device->state->graphs_max ? WEIR_REPLAY_FIXED : WEIR_REPLAY_NONE;
    return WEIR_OK;
}

// ---- Artifacts ----------------------------------------------------------------------------------

static uint64_t padded(uint64_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

// Everything behind the checksum.
static uint64_t checksum_of(const artifact_t *artifact, uint64_t bytes)
{
    const char *from = (const char *)&artifact->digest;
    return join(bytes, from, bytes - offsetof(artifact_t, digest));
}

// Equal images are written once: later parts of the same hash have none.
weir_code_t weir_cuda_program_save(weir_handle_t handle, void *destination, uint64_t *inout_bytes)
{
    const weir_cuda_program_t *program = program_of(handle);
    const weir_host_t *host = program->device->host;
    uint64_t room = *inout_bytes, bytes = sizeof(artifact_t);
    for (uint32_t i = 0; i < program->generated_count; i++)
        bytes += sizeof(artifact_part_t) + padded(program->generated[i].image_bytes);
    *inout_bytes = bytes;
    if (!destination)
        return WEIR_OK;
    if (room < bytes)
        return host->fail(
            host, WEIR_RESOURCE_EXHAUSTED, "room for %llu bytes", (unsigned long long)room);
    memset(destination, 0, bytes);
    artifact_t *artifact = destination;
    char *at = (char *)(artifact + 1);
    for (uint32_t i = 0; i < program->generated_count; i++) {
        const weir_cuda_generated_t *generated = &program->generated[i];
        artifact_part_t part = {.node = generated->node,
            .source = generated->source,
            .hash = {generated->hash[0], generated->hash[1]},
            .bytes = generated->image_bytes};
        memcpy(part.entry, generated->entry, sizeof part.entry);
        memcpy(at, &part, sizeof part);
        at += sizeof part;
        if (part.bytes)
            memcpy(at, generated->image, part.bytes);
        at += padded(part.bytes);
    }
    *artifact = (artifact_t){.magic = ARTIFACT_MAGIC,
        .digest = program->digest,
        .arch = program->device->facts.arch,
        .generated_count = program->generated_count};
    artifact->checksum = checksum_of(artifact, bytes);
    return WEIR_OK;
}

weir_code_t weir_cuda_artifact_check(weir_handle_t handle, const void *data, uint64_t bytes)
{
    weir_cuda_device_t *device = weir_cuda_device(handle);
    const weir_host_t *host = device->host;
    const artifact_t *artifact = data;
    if (bytes < sizeof *artifact || artifact->magic != ARTIFACT_MAGIC)
        return host->fail(host, WEIR_DATA_LOSS, "no artifact of this plugin");
    if (artifact->checksum != checksum_of(artifact, bytes))
        return host->fail(host, WEIR_DATA_LOSS, "a damaged artifact");
    if (artifact->arch != device->facts.arch)
        return host->fail(host, WEIR_UNSUPPORTED, "an artifact for sm_%u", artifact->arch);
    uint64_t at = sizeof *artifact;
    for (uint32_t i = 0; i < artifact->generated_count; i++) {
        artifact_part_t part;
        if (bytes - at < sizeof part)
            return host->fail(host, WEIR_DATA_LOSS, "an artifact that ends too early");
        memcpy(&part, (const char *)data + at, sizeof part);
        at += sizeof part;
        if (part.bytes > bytes - at || padded(part.bytes) > bytes - at ||
            part.entry[sizeof part.entry - 1])
            return host->fail(host, WEIR_DATA_LOSS, "an artifact that ends too early");
        at += padded(part.bytes);
    }
    return WEIR_OK;
}

static weir_code_t take_parts(weir_cuda_program_t *program, const artifact_t *artifact)
{
    const weir_host_t *host = program->device->host;
    const char *at = (const char *)(artifact + 1);
    program->generated =
        host->alloc(host, (artifact->generated_count + 1ull) * sizeof *program->generated);
    if (!program->generated)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a program");
    for (uint32_t i = 0; i < artifact->generated_count; i++) {
        artifact_part_t part;
        memcpy(&part, at, sizeof part);
        at += sizeof part;
        if (part.node >= program->node_count || part.source >= WEIR_CUDA_SOURCES_MAX)
            return host->fail(host, WEIR_DATA_LOSS, "an artifact of another slice");
        weir_cuda_generated_t *generated = &program->generated[i];
        *generated = (weir_cuda_generated_t){.node = part.node,
            .source = part.source,
            .hash = {part.hash[0], part.hash[1]},
            .image_bytes = part.bytes};
        memcpy(generated->entry, part.entry, sizeof generated->entry);
        program->generated_count++;
        if (part.bytes && !(generated->image = host->alloc(host, part.bytes)))
            return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a program");
        if (part.bytes)
            memcpy(generated->image, at, part.bytes);
        at += padded(part.bytes);
    }
    return WEIR_OK;
}

static weir_code_t load(weir_cuda_device_t *device, const weir_slice_t *slice,
    const artifact_t *artifact, weir_handle_t *out_program)
{
    const weir_host_t *host = device->host;
    weir_cuda_program_t *program = program_new(device, slice);
    if (!program)
        return WEIR_RESOURCE_EXHAUSTED;
    weir_code_t code = artifact->digest == program->digest
                           ? take_parts(program, artifact)
                           : host->fail(host, WEIR_DATA_LOSS, "an artifact of another slice");
    if (code == WEIR_OK)
        code = load_modules(program);
    if (code == WEIR_OK)
        code = plan_convs(program, slice);
    if (code != WEIR_OK)
        program_free(program);
    else
        *out_program = (weir_handle_t)(uintptr_t)program;
    return code;
}

weir_code_t weir_cuda_program_load(weir_handle_t handle, const weir_slice_t *slice,
    const void *data, uint64_t bytes, weir_handle_t *out_program)
{
    weir_cuda_device_t *device = weir_cuda_device(handle);
    weir_code_t code = weir_cuda_artifact_check(handle, data, bytes);
    if (code == WEIR_OK)
        code = weir_cuda_enter(device);
    if (code != WEIR_OK)
        return code;
    code = load(device, slice, data, out_program);
    weir_cuda_leave(device);
    return code;
}
