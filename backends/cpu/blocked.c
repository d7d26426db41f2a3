// The blocked format's layout rules: operands of expressions, packed constants, and what follows
// the sums of a Conv. No operator is computed here.
#include <string.h>

#include "backends/cpu/anchor.h"
#include "backends/cpu/blocked.h"

int weir_cpu_is_blocked(const weir_tensor_t *tensor)
{
    return tensor->format == WEIR_FORMAT_NCHW16C && tensor->rank == 4 &&
           tensor->dtype == WEIR_F32 && tensor->dims[1] >= 0 && !tensor->strides;
}

// Dim `axis` of the four that a tensor is broadcast to.
static int64_t dim_of_four(const weir_tensor_t *tensor, uint32_t axis)
{
    return axis + tensor->rank < 4 ? 1 : tensor->dims[axis + tensor->rank - 4];
}

weir_code_t weir_cpu_blocked_operand(
    const weir_node_t *node, uint32_t input, weir_support_t *out_support)
{
    const weir_tensor_t *operand = &node->inputs[input];
    if (operand->dtype != WEIR_F32 || operand->rank > 4 || operand->strides)
        return weir_cpu_refuse(out_support, "an operand is not a dense f32 tensor of 4 dims");
    const int64_t channels = dim_of_four(operand, 1);
    if (channels != 1 && channels != node->outputs[0].dims[1])
        return weir_cpu_refuse(out_support, "the channels of an operand are not known");
    const int is_constant = (operand->flags & WEIR_TENSOR_CONSTANT) != 0;
    const int is_packable = dim_of_four(operand, 0) == 1;
    if (channels != 1 && !weir_cpu_is_blocked(operand) && !(is_constant && is_packable))
        return weir_cpu_refuse(out_support, "an operand with channels is not in blocks");
    return WEIR_OK;
}

weir_code_t weir_cpu_blocked_expression(
    const weir_node_t *node, const weir_expression_t *expression, weir_support_t *out_support)
{
    if (node->output_count != 1 || !weir_cpu_is_blocked(&node->outputs[0]))
        return weir_cpu_refuse(out_support, "gives one f32 output in blocks only");
    for (uint32_t k = 0; k < expression->operand_count; k++) {
        const uint32_t input = expression->first_operand + k;
        if (input >= node->input_count)
            return weir_cpu_refuse(
                out_support, "the expression loads an operand that is not there");
        const weir_code_t code = weir_cpu_blocked_operand(node, input, out_support);
        if (code != WEIR_OK)
            return code;
    }
    return WEIR_OK;
}

static int has_channels(const weir_node_t *node, const weir_expression_t *expression,
    uint32_t bias_input, uint32_t input)
{
    const weir_tensor_t *tensor = &node->inputs[input];
    if (bias_input && input == bias_input)
        return tensor->dtype == WEIR_F32 && tensor->rank == 1;
    return expression && input >= expression->first_operand &&
           input - expression->first_operand < expression->operand_count &&
           tensor->dtype == WEIR_F32 && tensor->rank >= 3 && dim_of_four(tensor, 1) > 1;
}

// Channels and pixels of a constant as it is packed; a vector is channels.
static void constant_shape(
    const weir_tensor_t *tensor, uint64_t *out_channels, uint64_t *out_pixels)
{
    const int is_vector = tensor->rank == 1;
    *out_channels = (uint64_t)(is_vector ? tensor->dims[0] : dim_of_four(tensor, 1));
    *out_pixels =
        is_vector ? 1 : (uint64_t)dim_of_four(tensor, 2) * (uint64_t)dim_of_four(tensor, 3);
}

void weir_cpu_blocked_pack_query(const weir_node_t *node, const weir_expression_t *expression,
    uint32_t bias_input, uint32_t input, weir_packing_t *out_packing)
{
    if (!has_channels(node, expression, bias_input, input))
        return;
    uint64_t channels, pixels;
    constant_shape(&node->inputs[input], &channels, &pixels);
    if (channels == 0 || pixels == 0)
        return;
    out_packing->format = WEIR_CPU_FORMAT_CHANNELS;
    out_packing->bytes = weir_cpu_blocks(channels) * WEIR_K_BLOCK * pixels * sizeof(float);
}

weir_code_t weir_cpu_finish_pack_query(const weir_node_t *node, uint32_t input,
    uint32_t weights_format, uint64_t weights_bytes, weir_packing_t *out_packing)
{
    if (input != 1) {
        const uint32_t bias = weir_cpu_anchor_inputs(node) > 2 ? 2 : 0;
        weir_cpu_blocked_pack_query(node, node->epilogue, bias, input, out_packing);
        return WEIR_OK;
    }
    out_packing->format = weights_format;
    out_packing->bytes = weights_bytes;
    return WEIR_OK;
}

weir_code_t weir_cpu_blocked_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    uint64_t channels, pixels;
    constant_shape(&node->inputs[input], &channels, &pixels);
    if (bytes < weir_cpu_blocks(channels) * WEIR_K_BLOCK * pixels * sizeof(float))
        return WEIR_INVALID_ARGUMENT;
    float *to = destination;
    const float *from = node->inputs[input].data;
    for (uint64_t c = 0; c < channels; c += WEIR_K_BLOCK, to += pixels * WEIR_K_BLOCK)
        weir_k_table__plain.block_f32_x16(
            pixels, weir_cpu_min(channels - c, WEIR_K_BLOCK), from + c * pixels, pixels, to);
    return WEIR_OK;
}

void weir_cpu_blocked_clear(float *block, uint64_t pixels, uint64_t channels)
{
    const uint64_t used = channels % WEIR_K_BLOCK;
    if (used == 0)
        return;
    for (uint64_t p = 0; p < pixels; p++, block += WEIR_K_BLOCK)
        for (uint64_t lane = used; lane < WEIR_K_BLOCK; lane++)
            block[lane] = 0.0f;
}

static void strides_of(const weir_tensor_t *tensor, int64_t *strides)
{
    const int64_t n = dim_of_four(tensor, 0), c = dim_of_four(tensor, 1);
    const int64_t height = dim_of_four(tensor, 2), width = dim_of_four(tensor, 3);
    const int in_blocks = weir_cpu_is_blocked(tensor) || tensor->format == WEIR_CPU_FORMAT_CHANNELS;
    const int64_t pixel = in_blocks ? (int64_t)WEIR_K_BLOCK : 1;
    const int64_t block = height * width * pixel;
    strides[0] = n == 1 ? 0 : (int64_t)weir_cpu_blocks((uint64_t)c) * block;
    strides[1] = c == 1 ? 0 : block;
    strides[2] = height == 1 ? 0 : width * pixel;
    strides[3] = width == 1 ? 0 : pixel;
    strides[4] = c == 1 ? 0 : 1;
}

void weir_cpu_blocked_begin(weir_cpu_program_t *program, weir_cpu_room_t room,
    const weir_k_table_t *kernels, const weir_tensor_t *output)
{
    const int64_t dims[WEIR_CPU_BLOCKED_RANK] = {output->dims[0],
        (int64_t)weir_cpu_blocks((uint64_t)output->dims[1]), output->dims[2], output->dims[3],
        WEIR_K_BLOCK};
    weir_cpu_program_begin(program, room, kernels, WEIR_CPU_BLOCKED_RANK, dims);
    program->strides_of = strides_of;
}

weir_code_t weir_cpu_finish_supports(
    const weir_node_t *node, uint32_t own_inputs, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_anchor_supports(node, own_inputs, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *y = &node->outputs[0];
    if (node->output_count != 1 || !weir_cpu_is_blocked(y) || y->dims[1] < 1)
        return weir_cpu_refuse(out_support, "gives one f32 output in blocks only");
    if (weir_cpu_anchor_inputs(node) > 2 && node->inputs[2].dtype != 0 &&
        (!(node->inputs[2].flags & WEIR_TENSOR_CONSTANT) || node->inputs[2].rank != 1))
        return weir_cpu_refuse(out_support, "the bias is no constant");
    return node->epilogue ? weir_cpu_blocked_expression(node, node->epilogue, out_support)
                          : WEIR_OK;
}

// The value of a constant of one element; 0: it is none.
static int scalar_of(const weir_node_t *node, uint32_t value, float *out_value)
{
    const weir_instruction_t *in = &node->epilogue->instructions[value];
    if (in->opcode == WEIR_OP_CONST) {
        *out_value = in->imm[0];
        return 1;
    }
    if (in->opcode != WEIR_OP_LOAD)
        return 0;
    const weir_tensor_t *tensor = &node->inputs[node->epilogue->first_operand + in->a];
    if (!(tensor->flags & WEIR_TENSOR_CONSTANT) || tensor->element_count != 1 || !tensor->data)
        return 0;
    memcpy(out_value, tensor->data, sizeof(*out_value));
    return 1;
}

// The input that value `value` loads, if it lies as the output does; 0: it does not.
static uint32_t residual_of(const weir_node_t *node, uint32_t value)
{
    const weir_instruction_t *in = &node->epilogue->instructions[value];
    if (in->opcode != WEIR_OP_LOAD)
        return 0;
    const uint32_t input = node->epilogue->first_operand + in->a;
    const weir_tensor_t *tensor = &node->inputs[input], *y = &node->outputs[0];
    return weir_cpu_is_blocked(tensor) && !memcmp(tensor->dims, y->dims, 4 * sizeof(*y->dims))
               ? input
               : 0;
}

// Can the kernel itself apply the epilogue? Then the residual and the activation are noted.
static int epilogue_fits_kernel(weir_cpu_finish_t *finish, const weir_node_t *node)
{
    const weir_expression_t *e = node->epilogue;
    uint32_t result = UINT32_MAX; // the value that is the anchor with what came so far
    for (uint32_t i = 0; i < e->instruction_count; i++) {
        const weir_instruction_t *in = &e->instructions[i];
        if (in->opcode == WEIR_OP_LOAD || in->opcode == WEIR_OP_CONST)
            continue;
        if (in->opcode == WEIR_OP_ANCHOR && result == UINT32_MAX) {
            result = i;
            continue;
        }
        weir_k_finish_t *kernel = &finish->kernel;
        const int is_last = kernel->has_scale || kernel->has_shift;
        const int is_first = kernel->activation == WEIR_K_NO_ACTIVATION && !is_last;
        const uint32_t other = in->a == result ? in->b : in->a;
        const int is_binary = (in->opcode == WEIR_OP_ADD || in->opcode == WEIR_OP_MUL) &&
                              (in->a == result || in->b == result);
        if (is_binary && in->opcode == WEIR_OP_ADD && is_first && !finish->add_input &&
            residual_of(node, other)) {
            finish->add_input = residual_of(node, other);
        } else if (is_binary && in->opcode == WEIR_OP_MUL && !is_last &&
                   scalar_of(node, other, &kernel->scale)) {
            kernel->has_scale = 1;
        } else if (is_binary && in->opcode == WEIR_OP_ADD && !kernel->has_shift &&
                   scalar_of(node, other, &kernel->shift)) {
            kernel->has_shift = 1;
        } else if (in->opcode == WEIR_OP_HARD_SWISH && is_first && in->a == result) {
            kernel->activation = WEIR_K_HARD_SWISH;
        } else if (in->opcode == WEIR_OP_RELU && is_first && in->a == result) {
            kernel->activation = WEIR_K_RELU;
        } else if (in->opcode == WEIR_OP_CLAMP && is_first && in->a == result &&
                   scalar_of(node, in->b, &kernel->low) && scalar_of(node, in->c, &kernel->high)) {
            kernel->activation = WEIR_K_CLAMP;
        } else {
            return 0;
        }
        result = i;
    }
    return e->outputs[0] == result;
}

uint64_t weir_cpu_finish_bytes(const weir_node_t *node)
{
    weir_cpu_finish_t finish = {.add_input = 0};
    return node->epilogue && !epilogue_fits_kernel(&finish, node)
               ? weir_cpu_program_bytes(node->epilogue)
               : 0;
}

const char *weir_cpu_finish_init(
    weir_cpu_finish_t *finish, void *memory, const weir_k_table_t *kernels, const weir_node_t *node)
{
    const weir_tensor_t *y = &node->outputs[0];
    memset(finish, 0, sizeof(*finish));
    finish->channels = (uint64_t)y->dims[1];
    finish->out_blocks = weir_cpu_blocks(finish->channels);
    finish->pixels = (uint64_t)y->dims[2] * (uint64_t)y->dims[3];
    finish->program.scratch_bytes = 0;
    if (weir_cpu_anchor_inputs(node) > 2 && node->inputs[2].dtype != 0) {
        if (node->inputs[2].format != WEIR_CPU_FORMAT_CHANNELS)
            return "the bias has not been packed";
        finish->bias_input = 2;
    }
    const weir_expression_t *e = node->epilogue;
    for (uint32_t k = 0; e && k < e->operand_count; k++) {
        const weir_tensor_t *operand = &node->inputs[e->first_operand + k];
        if (dim_of_four(operand, 1) != 1 && !weir_cpu_is_blocked(operand) &&
            operand->format != WEIR_CPU_FORMAT_CHANNELS)
            return "a constant of the epilogue has not been packed";
    }
    if (e && !epilogue_fits_kernel(finish, node)) {
        finish->add_input = 0;
        finish->kernel = (weir_k_finish_t){.activation = WEIR_K_NO_ACTIVATION};
        finish->has_program = 1;
        weir_cpu_blocked_begin(
            &finish->program, (weir_cpu_room_t){.expression = e, .memory = memory}, kernels, y);
        weir_cpu_anchor_end(&finish->program, node, weir_cpu_program_anchor(&finish->program));
    }
    finish->is_needed = finish->bias_input || finish->add_input || finish->kernel.has_scale ||
                        finish->kernel.has_shift ||
                        finish->kernel.activation != WEIR_K_NO_ACTIVATION;
    return NULL;
}

const weir_k_finish_t *weir_cpu_finish_of(const weir_cpu_finish_t *finish, const weir_task_t *task,
    uint64_t block, uint64_t offset, weir_k_finish_t *out_finish)
{
    if (!finish->is_needed)
        return NULL;
    *out_finish = finish->kernel;
    if (finish->bias_input)
        out_finish->bias = (const float *)task->inputs[finish->bias_input].data +
                           block % finish->out_blocks * WEIR_K_BLOCK;
    if (finish->add_input)
        out_finish->add = (const float *)task->inputs[finish->add_input].data + offset;
    return out_finish;
}

void weir_cpu_finish_apply(const weir_cpu_finish_t *finish, const weir_task_t *task,
    weir_cpu_interpreter_t *interpreter, uint64_t block, uint64_t first, uint64_t count)
{
    const uint64_t offset = (block * finish->pixels + first) * WEIR_K_BLOCK;
    if (finish->has_program)
        weir_cpu_interpreter_run(interpreter, offset, count * WEIR_K_BLOCK);
    if (block % finish->out_blocks + 1 == finish->out_blocks)
        weir_cpu_blocked_clear((float *)task->outputs[0].data + offset, count, finish->channels);
}
