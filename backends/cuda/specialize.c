// backends/cuda/specialize.c: a program at concrete dims: each node's recipe becomes commands.
//
// Commands have their parameters, and say for each pointer which tensor of the slice it is in, so
// that a launch looks up bindings and nothing else. Plans of products are made here, too: what they
// choose is known by dims alone (the heuristic and the choices of earlier times), so no device is
// asked. A plan of a convolution takes milliseconds: here one that is there already is taken
// (compile() makes those whose dims are known), else the node gets two sets of commands: the own
// kernels', and the library's for when record() has made the plan. Where a library cannot do a
// product or a convolution, the own kernels get it. Must not ask the device.
#include "backends/cuda/cuda.h"

#include <string.h>

// Room for the workspace of a plan that is not there yet: one that needs more is not taken.
#define LATE_WORKSPACE (32ull << 20)

// What grows while the nodes are gone through. Counts first, then the arrays are made in one go.
typedef struct maker {
    weir_cuda_specialization_t *specialization;
    const weir_slice_t *slice;
    weir_cuda_recipe_t *recipe;
    uint32_t command_capacity, spot_count, spot_capacity;
    uint64_t params_count, params_capacity; // in words of 8 bytes
} maker_t;

// ---- Room ---------------------------------------------------------------------------------------

static bool grow(
    const weir_host_t *host, void **inout_data, uint64_t used, uint64_t capacity, uint64_t bytes)
{
    void *grown = host->alloc(host, capacity * bytes);
    if (!grown)
        return false;
    if (used)
        memcpy(grown, *inout_data, used * bytes);
    host->free(host, *inout_data);
    *inout_data = grown;
    return true;
}

static bool make_room(maker_t *maker, uint32_t spots, uint64_t words)
{
    weir_cuda_specialization_t *to = maker->specialization;
    const weir_host_t *host = to->device->host;
    if (to->command_count == maker->command_capacity) {
        maker->command_capacity = maker->command_capacity * 2 + 32;
        if (!grow(host, (void **)&to->commands, to->command_count, maker->command_capacity,
                sizeof *to->commands))
            return false;
    }
    if (maker->spot_count + spots > maker->spot_capacity) {
        maker->spot_capacity = (maker->spot_count + spots) * 2;
        if (!grow(host, (void **)&to->spots, maker->spot_count, maker->spot_capacity,
                sizeof *to->spots))
            return false;
    }
    if (maker->params_count + words > maker->params_capacity) {
        maker->params_capacity = (maker->params_count + words) * 2;
        if (!grow(host, (void **)&to->params, maker->params_count, maker->params_capacity,
                sizeof *to->params))
            return false;
    }
    return true;
}

// ---- Commands -----------------------------------------------------------------------------------

static weir_cuda_spot_t spot_of(
    maker_t *maker, uint32_t node, const weir_cuda_place_t *place, uint32_t at)
{
    const weir_slice_node_t *from = &maker->slice->nodes[node];
    weir_cuda_spot_t spot = {.tensor = WEIR_CUDA_NO_TENSOR, .at = at, .offset = place->offset};
    if (place->kind == WEIR_CUDA_INPUT && place->index < from->node.input_count)
        spot.tensor = from->inputs[place->index];
    else if (place->kind == WEIR_CUDA_OUTPUT && place->index < from->node.output_count)
        spot.tensor = from->outputs[place->index];
    else if (place->kind == WEIR_CUDA_SCRATCH)
        spot.tensor = WEIR_CUDA_IS_SCRATCH;
    else if (place->kind == WEIR_CUDA_ERROR)
        spot.tensor = WEIR_CUDA_IS_ERROR;
    if (spot.tensor == WEIR_CUDA_IS_ERROR)
        maker->specialization->may_fail = true;
    return spot;
}

static void add_spot(maker_t *maker, uint32_t node, const weir_cuda_place_t *place, uint32_t at)
{
    maker->specialization->spots[maker->spot_count++] = spot_of(maker, node, place, at);
}

static weir_code_t find_function(
    maker_t *maker, uint32_t node, const weir_cuda_kernel_step_t *step, CUfunction *out_function)
{
    weir_cuda_specialization_t *to = maker->specialization;
    if (step->entry) {
        *out_function = weir_cuda_module_entry(to->device, step->entry);
        return *out_function ? WEIR_OK
                             : to->device->host->fail(to->device->host, WEIR_INTERNAL,
                                   "there is no kernel %s", step->entry);
    }
    for (uint32_t i = 0; i < to->program->generated_count; i++) {
        const weir_cuda_generated_t *generated = &to->program->generated[i];
        if (generated->node == node && generated->source == step->source) {
            *out_function = generated->module->function;
            return WEIR_OK;
        }
    }
    return to->device->host->fail(to->device->host, WEIR_INTERNAL,
        "%s: there is no generated kernel %u", maker->slice->nodes[node].node.op, step->source);
}

static weir_code_t add_kernel(maker_t *maker, uint32_t node, const weir_cuda_kernel_step_t *step,
    weir_cuda_command_t *command)
{
    weir_cuda_specialization_t *to = maker->specialization;
    command->grid = step->grid;
    command->block = step->block;
    command->shared_bytes = step->shared_bytes;
    command->params_bytes = step->params_bytes;
    command->params_at = maker->params_count;
    memcpy(to->params + maker->params_count, step->params, step->params_bytes);
    maker->params_count += (step->params_bytes + 7) / 8;
    for (uint32_t i = 0; i < step->pointer_count; i++)
        add_spot(maker, node, &step->pointers[i].place, step->pointers[i].at);
    return find_function(maker, node, step, &command->function);
}

// The plan if it is there; else the command keeps what is asked for, and room for a workspace. A
// plan that nobody can make later is made now.
static weir_code_t add_conv(
    maker_t *maker, uint32_t node, const weir_cuda_conv_t *conv, weir_cuda_command_t *command)
{
    weir_cuda_device_t *device = maker->specialization->device;
    const weir_host_t *host = device->host;
    add_spot(maker, node, &conv->x, 0);
    add_spot(maker, node, &conv->w, 0);
    add_spot(maker, node, &conv->y, 0);
    command->plan =
        weir_cuda_conv_find(device, conv, WEIR_CUDA_CONV_WORKSPACE, &command->workspace_bytes);
    if (command->plan)
        return WEIR_OK;
    if (!device->state->graphs_max)
        return weir_cuda_conv_plan(
            device, conv, WEIR_CUDA_CONV_WORKSPACE, &command->plan, &command->workspace_bytes);
    weir_cuda_conv_t *kept = host->alloc(host, sizeof *kept);
    if (!kept)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a specialization");
    *kept = *conv;
    command->conv = kept;
    command->workspace_bytes = LATE_WORKSPACE;
    atomic_store(&maker->specialization->is_ready, false);
    return WEIR_OK;
}

static weir_code_t add_step(maker_t *maker, uint32_t node, const weir_cuda_step_t *step)
{
    weir_cuda_specialization_t *to = maker->specialization;
    weir_cuda_device_t *device = to->device;
    bool is_kernel = step->kind == WEIR_CUDA_STEP_KERNEL;
    weir_code_t code = WEIR_OK;
    if (is_kernel && step->kernel.pointer_count > WEIR_CUDA_POINTERS_MAX)
        return device->host->fail(device->host, WEIR_INTERNAL, "%s: a kernel of %u pointers",
            maker->slice->nodes[node].node.op, step->kernel.pointer_count);
    if (is_kernel && (!step->kernel.grid.x || !step->kernel.grid.y || !step->kernel.grid.z))
        return WEIR_OK;
    if (!make_room(maker, WEIR_CUDA_POINTERS_MAX, WEIR_CUDA_PARAMS_MAX / 8))
        return device->host->fail(
            device->host, WEIR_RESOURCE_EXHAUSTED, "no memory for a specialization");
    weir_cuda_command_t *command = &to->commands[to->command_count];
    *command = (weir_cuda_command_t){.kind = step->kind,
        .node = node,
        .first_spot = maker->spot_count,
        .is_early = true,
        .is_late = true};
    switch (step->kind) {
    case WEIR_CUDA_STEP_KERNEL:
        code = add_kernel(maker, node, &step->kernel, command);
        break;
    case WEIR_CUDA_STEP_MATMUL:
        code =
            weir_cuda_matmul_plan(device, &step->matmul, &command->plan, &command->workspace_bytes);
        add_spot(maker, node, &step->matmul.a, 0);
        add_spot(maker, node, &step->matmul.b, 0);
        add_spot(maker, node, &step->matmul.c, 0);
        add_spot(maker, node, &step->matmul.d, 0);
        add_spot(maker, node, &step->matmul.bias, 0);
        break;
    case WEIR_CUDA_STEP_CONV:
        code = add_conv(maker, node, &step->conv, command);
        break;
    case WEIR_CUDA_STEP_COPY:
        command->copy_bytes = step->copy.bytes;
        add_spot(maker, node, &step->copy.from, 0);
        add_spot(maker, node, &step->copy.to, 0);
        break;
    }
    command->spot_count = maker->spot_count - command->first_spot;
    if (command->workspace_bytes) // behind the scratch of the node
        command->workspace_offset =
            weir_cuda_recipe_scratch(maker->recipe, command->workspace_bytes);
    if (code == WEIR_OK)
        to->command_count++;
    return code;
}

static void free_plans(weir_cuda_specialization_t *from, uint32_t first)
{
    for (uint32_t i = first; i < from->command_count; i++) {
        if (from->commands[i].kind == WEIR_CUDA_STEP_MATMUL)
            weir_cuda_matmul_free(from->device, from->commands[i].plan);
        if (from->commands[i].kind == WEIR_CUDA_STEP_CONV) {
            weir_cuda_conv_free(from->device, from->commands[i].plan);
            from->device->host->free(from->device->host, (void *)(uintptr_t)from->commands[i].conv);
        }
    }
    from->command_count = first;
}

// ---- Nodes --------------------------------------------------------------------------------------

static bool has_elements(const weir_node_t *node)
{
    for (uint32_t i = 0; i < node->output_count; i++)
        if (node->outputs[i].dtype && node->outputs[i].element_count)
            return true;
    return false;
}

static weir_code_t plan_node(maker_t *maker, uint32_t number, const weir_cuda_facts_t *facts)
{
    weir_cuda_specialization_t *to = maker->specialization;
    weir_cuda_recipe_t *recipe = maker->recipe;
    const weir_cuda_row_t *row = to->program->rows[number];
    weir_node_t node = maker->slice->nodes[number].node;
    uint32_t first = to->command_count;
    weir_cuda_recipe_begin(recipe, to->device->host, facts, row);
    weir_code_t code = row->plan(&node, recipe);
    for (uint32_t i = 0; i < recipe->step_count && code == WEIR_OK; i++)
        code = add_step(maker, number, &recipe->steps[i]);
    if (code != WEIR_OK)
        free_plans(to, first);
    else
        to->scratch_bytes = WEIR_MAX(to->scratch_bytes, recipe->scratch_bytes);
    return code;
}

// The commands from `first` on wait for a plan; the own kernels' come in their place until then.
static weir_code_t add_early(maker_t *maker, uint32_t number, uint32_t first)
{
    weir_cuda_specialization_t *to = maker->specialization;
    weir_cuda_facts_t facts = to->device->facts;
    const uint32_t late = to->command_count;
    facts.has_matmul = facts.has_conv = false;
    weir_code_t code = plan_node(maker, number, &facts);
    for (uint32_t i = first; i < to->command_count; i++) {
        to->commands[i].is_early = i >= late;
        to->commands[i].is_late = i < late;
    }
    return code;
}

static weir_code_t add_node(maker_t *maker, uint32_t number)
{
    weir_cuda_specialization_t *to = maker->specialization;
    const weir_cuda_device_t *device = to->device;
    const uint32_t first = to->command_count;
    if (!has_elements(&maker->slice->nodes[number].node))
        return WEIR_OK;
    weir_code_t code = plan_node(maker, number, &device->facts);
    if (code == WEIR_UNSUPPORTED && (device->facts.has_matmul || device->facts.has_conv)) {
        // What a library cannot do is planned again without it.
        weir_cuda_facts_t facts = device->facts;
        facts.has_matmul = facts.has_conv = false;
        return plan_node(maker, number, &facts);
    }
    for (uint32_t i = first; i < to->command_count && code == WEIR_OK; i++)
        if (to->commands[i].conv)
            return add_early(maker, number, first);
    return code;
}

// ---- Getting ready ------------------------------------------------------------------------------

// The commands of this one's node from now on: the library's, or the own kernels' for good.
static void settle(weir_cuda_specialization_t *of, uint32_t conv, bool is_planned)
{
    for (uint32_t i = 0; !is_planned && i < of->command_count; i++)
        if (of->commands[i].node == of->commands[conv].node)
            of->commands[i].is_late = of->commands[i].is_early;
}

// Launches read is_early until is_ready is set, and plan and is_late only behind it.
void weir_cuda_specialization_ready(weir_cuda_specialization_t *of)
{
    weir_cuda_device_t *device = of->device;
    pthread_mutex_lock(&device->ready_lock);
    if (!atomic_load(&of->is_ready)) {
        for (uint32_t i = 0; i < of->command_count; i++) {
            weir_cuda_command_t *command = &of->commands[i];
            uint64_t workspace_bytes;
            if (!command->conv || command->plan)
                continue;
            weir_code_t code = weir_cuda_conv_plan(
                device, command->conv, command->workspace_bytes, &command->plan, &workspace_bytes);
            if (code != WEIR_OK && code != WEIR_UNSUPPORTED) { // else it is said already
                char why[WEIR_REASON_BYTES];
                weir_cuda_failed_text(device, why, sizeof why);
                (void)weir_cuda_stay_own(device, why);
            }
            settle(of, i, code == WEIR_OK);
        }
        atomic_store_explicit(&of->is_ready, true, memory_order_release);
    }
    pthread_mutex_unlock(&device->ready_lock);
}

// ---- The call -----------------------------------------------------------------------------------

static void specialization_free(weir_cuda_specialization_t *specialization)
{
    const weir_host_t *host = specialization->device->host;
    free_plans(specialization, 0);
    host->free(host, specialization->commands);
    host->free(host, specialization->spots);
    host->free(host, specialization->params);
    host->free(host, specialization);
}

static weir_code_t fill(weir_cuda_specialization_t *to, const weir_slice_t *slice)
{
    const weir_host_t *host = to->device->host;
    weir_cuda_recipe_t *recipe = host->alloc(host, sizeof *recipe);
    maker_t maker = {.specialization = to, .slice = slice, .recipe = recipe};
    if (!recipe)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a specialization");
    weir_code_t code = WEIR_OK;
    for (uint32_t i = 0; i < slice->node_count && code == WEIR_OK; i++)
        code = add_node(&maker, i);
    host->free(host, recipe);
    return code;
}

weir_code_t weir_cuda_specialize(
    weir_handle_t handle, const weir_slice_t *slice, weir_specialized_t *out_specialized)
{
    weir_cuda_program_t *program = (weir_cuda_program_t *)(uintptr_t)handle;
    weir_cuda_device_t *device = program->device;
    const weir_host_t *host = device->host;
    if (slice->node_count != program->node_count)
        return host->fail(host, WEIR_INVALID_ARGUMENT, "another slice than the program's");
    weir_cuda_specialization_t *specialization = host->alloc(host, sizeof *specialization);
    if (!specialization)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a specialization");
    *specialization = (weir_cuda_specialization_t){
        .program = program, .device = device, .tensor_count = slice->tensor_count};
    atomic_init(&specialization->is_ready, true);
    weir_code_t code = weir_cuda_enter(device); // the libraries look at it
    if (code == WEIR_OK) {
        code = fill(specialization, slice);
        weir_cuda_leave(device);
    }
    if (code != WEIR_OK) {
        specialization_free(specialization);
        return code;
    }
    out_specialized->specialization = (weir_handle_t)(uintptr_t)specialization;
    out_specialized->scratch_bytes = specialization->scratch_bytes;
    return WEIR_OK;
}

void weir_cuda_specialization_release(weir_handle_t handle)
{
    weir_cuda_specialization_t *specialization = (weir_cuda_specialization_t *)(uintptr_t)handle;
    weir_cuda_device_t *device = specialization->device;
    weir_cuda_reaper_wait(device, specialization, NULL, NULL);
    const bool is_in = weir_cuda_enter_to_free(device);
    specialization_free(specialization);
    if (is_in)
        weir_cuda_leave(device);
}
