// backends/opencl/program.c: a slice's programs: each node's row, asked what it needs.
#include "backends/opencl/opencl.h"

#include "backends/opencl/operators.h"
#include <string.h>

weir_cl_program_t *weir_cl_program(weir_handle_t handle)
{
    return (weir_cl_program_t *)(uintptr_t)handle;
}

// The row that the engine's kernel is a copy of: names are unique within a family.
static const weir_cl_operator_t *row_of(weir_cl_family_t family, const weir_kernel_t *kernel)
{
    uint32_t count;
    const weir_cl_operator_t *rows = weir_cl_operators(family, &count);
    for (uint32_t i = 0; kernel && i < count; i++)
        if (strcmp(rows[i].kernel.name, kernel->name) == 0)
            return &rows[i];
    return NULL;
}

static void program_free(weir_cl_program_t *program)
{
    weir_cl_device_t *device = program->device;
    for (uint32_t m = 0; m < program->member_count; m++)
        for (uint32_t k = 0; k < program->members[m].kernel_count; k++)
            weir_cl_source_release(device, program->members[m].kernels[k].source);
    device->host->free(device->host, program->image);
    device->host->free(device->host, program);
}

static weir_code_t add_member(weir_cl_builder_t *builder, const weir_slice_node_t *node)
{
    weir_cl_device_t *device = builder->device;
    weir_cl_member_t *member = builder->member;
    member->row = row_of(device->facts.family, node->kernel);
    if (!member->row)
        return device->host->fail(
            device->host, WEIR_UNSUPPORTED, "%s: no kernel of this family", node->node.op);
    member->built.facts = &device->facts;
    builder->length = 0;
    builder->is_said = false;
    weir_code_t code = member->row->build(&node->node, builder);
    return builder->code != WEIR_OK ? builder->code : code;
}

weir_code_t weir_cl_program_make(weir_cl_device_t *device, const weir_slice_t *slice,
    const weir_cl_binaries_t *binaries, weir_handle_t *out_program)
{
    const weir_host_t *host = device->host;
    uint64_t bytes = sizeof(weir_cl_program_t) + slice->node_count * sizeof(weir_cl_member_t);
    weir_cl_program_t *program = host->alloc(host, bytes);
    weir_cl_builder_t *builder = host->alloc(host, sizeof *builder);
    weir_code_t code = program && builder ? WEIR_OK : WEIR_RESOURCE_EXHAUSTED;
    if (code == WEIR_OK) {
        memset(program, 0, bytes);
        program->device = device;
        *builder = (weir_cl_builder_t){
            .device = device, .matmul_rows = weir_cl_tune(device, slice), .binaries = binaries};
    }
    for (uint32_t i = 0; i < slice->node_count && code == WEIR_OK; i++) {
        builder->member = &program->members[program->member_count++];
        code = add_member(builder, &slice->nodes[i]);
    }
    for (uint32_t m = 0; code == WEIR_OK && m < program->member_count; m++)
        for (uint32_t k = 0; k < program->members[m].kernel_count; k++)
            weir_cl_source_keep(device, program->members[m].kernels[k].source);
    host->free(host, builder);
    if (code == WEIR_OK)
        *out_program = (weir_handle_t)(uintptr_t)program;
    else if (program && builder)
        program_free(program);
    else
        host->free(host, program);
    return code;
}

weir_code_t weir_cl_compile(
    weir_handle_t handle, const weir_slice_t *slice, weir_handle_t *out_program)
{
    weir_cl_device_t *device = weir_cl_device(handle);
    weir_code_t code = weir_cl_enter(device);
    return code == WEIR_OK ? weir_cl_program_make(device, slice, NULL, out_program) : code;
}

void weir_cl_program_release(weir_handle_t handle)
{
    program_free(weir_cl_program(handle));
}

weir_code_t weir_cl_program_info(weir_handle_t handle, weir_program_info_t *out_info)
{
    (void)handle;
    out_info->replay = WEIR_REPLAY_NONE;
    return WEIR_OK;
}
