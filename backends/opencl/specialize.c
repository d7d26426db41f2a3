// backends/opencl/specialize.c: a program at concrete dims: the dispatches of its nodes, each with
// a kernel object of its own whose numbers are set here, once. What a launch sets are places.
#include "backends/opencl/opencl.h"

#include <string.h>

#define NOT_SET UINT64_MAX

typedef struct maker {
    weir_cl_specialization_t *made;
    const weir_slice_t *slice;
    uint32_t step_room, use_room;
} maker_t;

static weir_cl_specialization_t *specialization_of(weir_handle_t handle)
{
    return (weir_cl_specialization_t *)(uintptr_t)handle;
}

static void specialization_free(weir_cl_specialization_t *made)
{
    const weir_host_t *host = made->device->host;
    for (uint32_t i = 0; i < made->step_count; i++)
        (void)clReleaseKernel(made->steps[i].kernel);
    pthread_mutex_destroy(&made->lock);
    host->free(host, made->steps);
    host->free(host, made->uses);
    host->free(host, made->bound);
    host->free(host, made->bytes);
    host->free(host, made);
}

// ---- Growing ------------------------------------------------------------------------------------

static bool grow(const weir_host_t *host, void **inout_data, uint32_t *inout_room, uint32_t count,
    uint64_t element_bytes)
{
    if (count < *inout_room)
        return true;
    uint32_t room = *inout_room ? *inout_room * 2 : 64;
    void *data = host->alloc(host, room * element_bytes);
    if (!data)
        return false;
    if (count)
        memcpy(data, *inout_data, count * element_bytes);
    host->free(host, *inout_data);
    *inout_data = data;
    *inout_room = room;
    return true;
}

static weir_code_t add_use(maker_t *maker, cl_uint argument, uint32_t binding, uint64_t offset)
{
    weir_cl_specialization_t *made = maker->made;
    void *uses = made->uses;
    if (!grow(made->device->host, &uses, &maker->use_room, made->use_count, sizeof *made->uses))
        return WEIR_RESOURCE_EXHAUSTED;
    made->uses = uses;
    made->uses[made->use_count++] =
        (weir_cl_use_t){.argument = argument, .binding = binding, .offset = offset};
    return WEIR_OK;
}

// ---- One dispatch -------------------------------------------------------------------------------

// The letter that an argument of this kind has in the kernel's signature.
static char letter_of(weir_cl_arg_kind_t kind)
{
    switch (kind) {
    case WEIR_CL_ARG_TENSOR:
    case WEIR_CL_ARG_SCRATCH:
        return 't';
    case WEIR_CL_ARG_ERROR:
        return 'e';
    case WEIR_CL_ARG_I32:
        return 'i';
    case WEIR_CL_ARG_I64:
        return 'l';
    case WEIR_CL_ARG_F32:
        return 'f';
    }
    return '?';
}

static uint32_t tensor_of(const weir_slice_node_t *node, uint32_t number)
{
    uint32_t inputs = node->node.input_count;
    if (number < inputs)
        return node->inputs[number];
    return number - inputs < node->node.output_count ? node->outputs[number - inputs] : UINT32_MAX;
}

// A tensor that is absent is no place at all.
static weir_code_t set_absent(maker_t *maker, cl_kernel kernel, cl_uint at)
{
    const cl_mem none = NULL;
    const cl_ulong zero = 0;
    cl_int error = clSetKernelArg(kernel, at, sizeof none, &none);
    if (error == CL_SUCCESS)
        error = clSetKernelArg(kernel, at + 1, sizeof zero, &zero);
    return error == CL_SUCCESS ? WEIR_OK
                               : weir_cl_failure(maker->made->device, error, "an absent tensor");
}

static weir_code_t set_argument(maker_t *maker, const weir_slice_node_t *node, cl_kernel kernel,
    const weir_cl_arg_t *arg, cl_uint *inout_at)
{
    weir_cl_specialization_t *made = maker->made;
    const cl_int i32 = (cl_int)arg->value;
    const cl_long i64 = arg->value;
    const cl_float f32 = arg->real;
    cl_uint at = *inout_at;
    cl_int error = CL_SUCCESS;
    uint32_t tensor;
    *inout_at += arg->kind < WEIR_CL_ARG_I32 ? 2 : 1;
    switch (arg->kind) {
    case WEIR_CL_ARG_TENSOR:
        tensor = tensor_of(node, arg->number);
        return tensor == UINT32_MAX ? set_absent(maker, kernel, at) : add_use(maker, at, tensor, 0);
    case WEIR_CL_ARG_SCRATCH:
        return add_use(maker, at, made->tensor_count, (uint64_t)arg->value);
    case WEIR_CL_ARG_ERROR:
        made->has_errors = true;
        return add_use(maker, at, UINT32_MAX, 0);
    case WEIR_CL_ARG_I32:
        if (i32 != arg->value)
            return made->device->host->fail(made->device->host, WEIR_UNSUPPORTED,
                "%s: %lld is too large for this kernel", node->node.op, (long long)arg->value);
        error = clSetKernelArg(kernel, at, sizeof i32, &i32);
        break;
    case WEIR_CL_ARG_I64:
        error = clSetKernelArg(kernel, at, sizeof i64, &i64);
        break;
    case WEIR_CL_ARG_F32:
        error = clSetKernelArg(kernel, at, sizeof f32, &f32);
        break;
    }
    return error == CL_SUCCESS ? WEIR_OK : weir_cl_failure(made->device, error, "an argument");
}

static bool fits(const weir_cl_kernel_t *kernel, const weir_cl_dispatch_t *dispatch)
{
    if (strlen(kernel->arguments) != dispatch->arg_count)
        return false;
    for (uint32_t i = 0; i < dispatch->arg_count; i++)
        if (kernel->arguments[i] != letter_of(dispatch->args[i].kind))
            return false;
    return true;
}

static weir_code_t add_step(
    maker_t *maker, uint32_t number, const weir_cl_member_t *member, const weir_cl_dispatch_t *from)
{
    weir_cl_specialization_t *made = maker->made;
    const weir_host_t *host = made->device->host;
    const weir_slice_node_t *node = &maker->slice->nodes[number];
    if (from->kernel >= member->kernel_count || !fits(&member->kernels[from->kernel], from))
        return host->fail(host, WEIR_INTERNAL,
            "%s: a dispatch with arguments that its kernel does not have", node->node.op);
    const weir_cl_kernel_t *kernel = &member->kernels[from->kernel];
    void *steps = made->steps;
    if (!grow(host, &steps, &maker->step_room, made->step_count, sizeof *made->steps))
        return WEIR_RESOURCE_EXHAUSTED;
    made->steps = steps;
    weir_cl_step_t *step = &made->steps[made->step_count];
    *step = (weir_cl_step_t){.node = number, .first_use = made->use_count};
    for (uint32_t d = 0; d < 3; d++) {
        step->local[d] = kernel->local[d];
        step->global[d] = (size_t)(from->groups[d] * kernel->local[d]);
    }
    cl_int error = CL_SUCCESS;
    const cl_int go = 1;
    step->kernel = clCreateKernel(kernel->source->program, kernel->entry, &error);
    if (error != CL_SUCCESS)
        return weir_cl_failure(made->device, error, "clCreateKernel");
    made->step_count++;
    error = clSetKernelArg(step->kernel, 0, sizeof go, &go);
    if (error != CL_SUCCESS)
        return weir_cl_failure(made->device, error, "an argument");
    cl_uint at = 1;
    weir_code_t code = WEIR_OK;
    for (uint32_t i = 0; i < from->arg_count && code == WEIR_OK; i++)
        code = set_argument(maker, node, step->kernel, &from->args[i], &at);
    step = &made->steps[made->step_count - 1];
    step->use_count = made->use_count - step->first_use;
    return code;
}

// ---- All of them --------------------------------------------------------------------------------

static weir_code_t add_node(maker_t *maker, uint32_t number, weir_cl_recipe_t *recipe)
{
    weir_cl_specialization_t *made = maker->made;
    const weir_cl_member_t *member = &made->program->members[number];
    const weir_node_t *node = &maker->slice->nodes[number].node;
    recipe->dispatch_count = 0;
    recipe->scratch_bytes = 0;
    weir_code_t code = member->row->plan(node, &member->built, recipe);
    if (code != WEIR_OK)
        return code;
    if (recipe->dispatch_count > WEIR_CL_DISPATCHES_MAX)
        return made->device->host->fail(made->device->host, WEIR_INTERNAL,
            "%s: %u dispatches, there is room for %u", node->op, recipe->dispatch_count,
            WEIR_CL_DISPATCHES_MAX);
    made->scratch_bytes = WEIR_MAX(made->scratch_bytes, recipe->scratch_bytes);
    for (uint32_t i = 0; i < recipe->dispatch_count && code == WEIR_OK; i++) {
        const weir_cl_dispatch_t *dispatch = &recipe->dispatches[i];
        if (dispatch->groups[0] && dispatch->groups[1] && dispatch->groups[2])
            code = add_step(maker, number, member, dispatch);
    }
    return code;
}

static weir_code_t fill(maker_t *maker)
{
    weir_cl_specialization_t *made = maker->made;
    const weir_slice_t *slice = maker->slice;
    const weir_host_t *host = made->device->host;
    weir_cl_recipe_t *recipe = host->alloc(host, sizeof *recipe);
    made->bytes = host->alloc(host, (slice->tensor_count + 1) * sizeof *made->bytes);
    weir_code_t code = recipe && made->bytes ? WEIR_OK : WEIR_RESOURCE_EXHAUSTED;
    for (uint32_t i = 0; i < slice->node_count && code == WEIR_OK; i++)
        code = add_node(maker, i, recipe);
    host->free(host, recipe);
    if (code != WEIR_OK)
        return code;
    for (uint32_t t = 0; t < slice->tensor_count; t++)
        made->bytes[t] = slice->tensors[t].bytes;
    made->bytes[slice->tensor_count] = made->scratch_bytes;
    made->bound = host->alloc(host, (made->use_count + 1) * sizeof *made->bound);
    if (!made->bound)
        return WEIR_RESOURCE_EXHAUSTED;
    for (uint32_t i = 0; i < made->use_count; i++)
        made->bound[i] = (weir_cl_bound_t){.offset = NOT_SET};
    return WEIR_OK;
}

weir_code_t weir_cl_specialize(
    weir_handle_t handle, const weir_slice_t *slice, weir_specialized_t *out_specialized)
{
    weir_cl_program_t *program = weir_cl_program(handle);
    weir_cl_device_t *device = program->device;
    const weir_host_t *host = device->host;
    weir_code_t code = weir_cl_enter(device);
    if (code != WEIR_OK)
        return code;
    if (slice->node_count != program->member_count)
        return host->fail(host, WEIR_INVALID_ARGUMENT, "specialize with another slice");
    weir_cl_specialization_t *made = host->alloc(host, sizeof *made);
    if (!made)
        return WEIR_RESOURCE_EXHAUSTED;
    *made = (weir_cl_specialization_t){
        .program = program, .device = device, .tensor_count = slice->tensor_count};
    pthread_mutex_init(&made->lock, NULL);
    maker_t maker = {.made = made, .slice = slice};
    code = fill(&maker);
    if (code != WEIR_OK) {
        specialization_free(made);
        return code;
    }
    out_specialized->specialization = (weir_handle_t)(uintptr_t)made;
    out_specialized->scratch_bytes = made->scratch_bytes;
    return WEIR_OK;
}

void weir_cl_specialization_release(weir_handle_t handle)
{
    weir_cl_specialization_t *made = specialization_of(handle);
    weir_cl_device_t *device = made->device;
    // One that hangs is left to whatever it does: its counters are all that it touches of this.
    if (weir_cl_settle(device, made))
        specialization_free(made);
}
