// backends/opencl/builder.c: what build() and plan() of an operator talk to.
//
// The first failure stays; what is said after it is ignored, so that an operator need not look
// after each call.
#include "backends/opencl/opencl.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// ---- build() ------------------------------------------------------------------------------------

const weir_cl_facts_t *weir_cl_facts(const weir_cl_builder_t *builder)
{
    return &builder->device->facts;
}

int64_t weir_cl_matmul_rows(const weir_cl_builder_t *builder)
{
    return builder->matmul_rows;
}

weir_code_t weir_cl_build_fails(
    weir_cl_builder_t *builder, weir_code_t code, const char *format, ...)
{
    char text[512];
    va_list arguments;
    if (builder->code != WEIR_OK)
        return builder->code;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    builder->code = code;
    return builder->device->host->fail(builder->device->host, code, "%s", text);
}

void weir_cl_text(weir_cl_builder_t *builder, const char *format, ...)
{
    va_list arguments;
    if (builder->is_said) {
        builder->is_said = false;
        builder->length = 0;
    }
    uint32_t room = WEIR_CL_TEXT_BYTES - builder->length;
    va_start(arguments, format);
    int needed = vsnprintf(builder->text + builder->length, room, format, arguments);
    va_end(arguments);
    if (needed < 0 || (uint32_t)needed >= room)
        (void)weir_cl_build_fails(
            builder, WEIR_LIMIT, "a kernel's texts are larger than %u bytes", WEIR_CL_TEXT_BYTES);
    else
        builder->length += (uint32_t)needed;
}

void weir_cl_define(weir_cl_builder_t *builder, const char *name, int64_t value)
{
    weir_cl_text(builder, "#define %s %lld\n", name, (long long)value);
}

void weir_cl_note(weir_cl_builder_t *builder, uint32_t which, int64_t value)
{
    if (which < WEIR_CL_NOTES)
        builder->member->built.notes[which] = value;
}

// Letters it may have.
static bool is_signature(const char *arguments)
{
    size_t length = strlen(arguments);
    return length <= WEIR_CL_ARGS_MAX && strspn(arguments, "teilf") == length;
}

static void add_kernel(weir_cl_builder_t *builder, const char *entry, const char *arguments)
{
    weir_cl_device_t *device = builder->device;
    weir_cl_member_t *member = builder->member;
    const uint32_t *local = builder->local;
    char texts[256];
    uint64_t items = (uint64_t)local[0] * local[1] * local[2];
    if (builder->code != WEIR_OK)
        return;
    if (member->kernel_count == WEIR_CL_KERNELS_MAX || !is_signature(arguments) || !items) {
        (void)weir_cl_build_fails(
            builder, WEIR_INTERNAL, "kernel %s: arguments %s", entry, arguments);
        return;
    }
    if (items > device->facts.group_max) {
        (void)weir_cl_build_fails(builder, WEIR_UNSUPPORTED,
            "kernel %s: the device runs at most %u work-items together", entry,
            device->facts.group_max);
        return;
    }
    weir_cl_kernel_t *kernel = &member->kernels[member->kernel_count];
    *kernel = (weir_cl_kernel_t){.local = {local[0], local[1], local[2]}};
    snprintf(kernel->entry, sizeof kernel->entry, "%s", entry);
    snprintf(kernel->arguments, sizeof kernel->arguments, "%s", arguments);
    snprintf(texts, sizeof texts,
        "#define WEIR_FAMILY_%s 1\n#define WEIR_LX %u\n#define WEIR_LY %u\n#define WEIR_LZ %u\n",
        device->facts.family == WEIR_CL_FAMILY_GPU ? "GPU" : "CPU", local[0], local[1], local[2]);
    builder->text[builder->length] = '\0';
    weir_code_t code = weir_cl_source_get(
        device, builder->name, texts, builder->text, builder->binaries, &kernel->source);
    if (code == WEIR_OK) {
        member->kernel_count++;
        code = weir_cl_source_warm(device, kernel);
    }
    if (code != WEIR_OK)
        builder->code = code;
}

void weir_cl_kernel(weir_cl_builder_t *builder, const char *source, const char *entry,
    const char *arguments, const uint32_t local[3])
{
    if (builder->is_said) // it has no texts of its own
        builder->length = 0;
    builder->is_said = true;
    snprintf(builder->name, sizeof builder->name, "%s", source);
    memcpy(builder->local, local, sizeof builder->local);
    add_kernel(builder, entry, arguments);
}

void weir_cl_kernel_too(weir_cl_builder_t *builder, const char *entry, const char *arguments)
{
    add_kernel(builder, entry, arguments);
}

// ---- plan() -------------------------------------------------------------------------------------

weir_cl_dispatch_t *weir_cl_dispatch(
    weir_cl_recipe_t *recipe, uint32_t kernel, uint64_t x, uint64_t y, uint64_t z)
{
    // One too many is written over the last, and seen by whoever reads the recipe.
    uint32_t last = WEIR_CL_DISPATCHES_MAX - 1;
    weir_cl_dispatch_t *dispatch = &recipe->dispatches[WEIR_MIN(recipe->dispatch_count, last)];
    recipe->dispatch_count++;
    dispatch->kernel = kernel;
    dispatch->arg_count = 0;
    dispatch->groups[0] = x;
    dispatch->groups[1] = y;
    dispatch->groups[2] = z;
    return dispatch;
}

static void add(weir_cl_dispatch_t *dispatch, const weir_cl_arg_t *arg)
{
    if (dispatch->arg_count < WEIR_CL_ARGS_MAX)
        dispatch->args[dispatch->arg_count] = *arg;
    dispatch->arg_count++;
}

void weir_cl_arg_input(weir_cl_dispatch_t *dispatch, const weir_node_t *node, uint32_t input)
{
    (void)node;
    add(dispatch, &(weir_cl_arg_t){.kind = WEIR_CL_ARG_TENSOR, .number = input});
}

void weir_cl_arg_output(weir_cl_dispatch_t *dispatch, const weir_node_t *node, uint32_t output)
{
    add(dispatch,
        &(weir_cl_arg_t){.kind = WEIR_CL_ARG_TENSOR, .number = node->input_count + output});
}

void weir_cl_arg_none(weir_cl_dispatch_t *dispatch)
{
    add(dispatch, &(weir_cl_arg_t){.kind = WEIR_CL_ARG_TENSOR, .number = UINT32_MAX});
}

void weir_cl_arg_scratch(weir_cl_dispatch_t *dispatch, uint64_t offset)
{
    add(dispatch, &(weir_cl_arg_t){.kind = WEIR_CL_ARG_SCRATCH, .value = (int64_t)offset});
}

void weir_cl_arg_error(weir_cl_dispatch_t *dispatch)
{
    add(dispatch, &(weir_cl_arg_t){.kind = WEIR_CL_ARG_ERROR});
}

void weir_cl_arg_i32(weir_cl_dispatch_t *dispatch, int64_t value)
{
    add(dispatch, &(weir_cl_arg_t){.kind = WEIR_CL_ARG_I32, .value = value});
}

void weir_cl_arg_i64(weir_cl_dispatch_t *dispatch, int64_t value)
{
    add(dispatch, &(weir_cl_arg_t){.kind = WEIR_CL_ARG_I64, .value = value});
}

void weir_cl_arg_f32(weir_cl_dispatch_t *dispatch, float value)
{
    add(dispatch, &(weir_cl_arg_t){.kind = WEIR_CL_ARG_F32, .real = value});
}
