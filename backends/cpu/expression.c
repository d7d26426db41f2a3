// From expressions to programs: which kernel an instruction means, how each operand is walked, and
// which slot of the scratch holds each value. The interpreter itself is in interpreter.c.
//
// A BOOL is a mask of 32 bits inside a program; loads and outputs convert. Nothing here runs per
// element.
#include <string.h>

#include "backends/cpu/expression.h"

#define DTYPES_TAKEN (WEIR_F32 | WEIR_I32 | WEIR_I64 | WEIR_BOOL)

static uint32_t slot_element_bytes(weir_dtype_t dtype)
{
    return dtype == WEIR_I64 ? 8 : 4;
}

static int operand_count(weir_opcode_t opcode)
{
    if (opcode < WEIR_OP_IDENTITY)
        return 0;
    if (opcode < WEIR_OP_ADD)
        return 1;
    return opcode < WEIR_OP_SELECT ? 2 : 3;
}

static weir_k_map_t *map_f32_unary(const weir_k_table_t *t, weir_opcode_t opcode)
{
    switch (opcode) {
    case WEIR_OP_NEG:
        return t->neg_f32;
    case WEIR_OP_ABS:
        return t->abs_f32;
    case WEIR_OP_SIGN:
        return t->sign_f32;
    case WEIR_OP_RECIPROCAL:
        return t->reciprocal_f32;
    case WEIR_OP_SQRT:
        return t->sqrt_f32;
    case WEIR_OP_EXP:
        return t->exp_f32;
    case WEIR_OP_LOG:
        return t->log_f32;
    case WEIR_OP_ERF:
        return t->erf_f32;
    case WEIR_OP_SIN:
        return t->sin_f32;
    case WEIR_OP_COS:
        return t->cos_f32;
    case WEIR_OP_TANH:
        return t->tanh_f32;
    case WEIR_OP_SIGMOID:
        return t->sigmoid_f32;
    case WEIR_OP_SOFTPLUS:
        return t->softplus_f32;
    case WEIR_OP_RELU:
        return t->relu_f32;
    case WEIR_OP_FLOOR:
        return t->floor_f32;
    case WEIR_OP_CEIL:
        return t->ceil_f32;
    case WEIR_OP_ROUND:
        return t->round_f32;
    case WEIR_OP_ISNAN:
        return t->isnan_f32;
    case WEIR_OP_GELU:
        return t->gelu_f32;
    case WEIR_OP_GELU_TANH:
        return t->gelu_tanh_f32;
    case WEIR_OP_HARD_SIGMOID:
        return t->hard_sigmoid_f32;
    case WEIR_OP_HARD_SWISH:
        return t->hard_swish_f32;
    case WEIR_OP_LEAKY_RELU:
        return t->leaky_relu_f32;
    case WEIR_OP_ELU:
        return t->elu_f32;
    default:
        return NULL;
    }
}

static weir_k_map_t *map_f32(const weir_k_table_t *t, weir_opcode_t opcode)
{
    switch (opcode) {
    case WEIR_OP_ADD:
        return t->add_f32;
    case WEIR_OP_SUB:
        return t->sub_f32;
    case WEIR_OP_MUL:
        return t->mul_f32;
    case WEIR_OP_DIV:
        return t->div_f32;
    case WEIR_OP_POW:
        return t->pow_f32;
    case WEIR_OP_MOD:
        return t->mod_f32;
    case WEIR_OP_FMOD:
        return t->fmod_f32;
    case WEIR_OP_MIN:
        return t->min_f32;
    case WEIR_OP_MAX:
        return t->max_f32;
    case WEIR_OP_PRELU:
        return t->prelu_f32;
    case WEIR_OP_EQ:
        return t->eq_f32;
    case WEIR_OP_LT:
        return t->lt_f32;
    case WEIR_OP_LE:
        return t->le_f32;
    case WEIR_OP_CLAMP:
        return t->clamp_f32;
    default:
        return map_f32_unary(t, opcode);
    }
}

static weir_k_map_t *map_i32(const weir_k_table_t *t, weir_opcode_t opcode)
{
    switch (opcode) {
    case WEIR_OP_NEG:
        return t->neg_i32;
    case WEIR_OP_ABS:
        return t->abs_i32;
    case WEIR_OP_ADD:
        return t->add_i32;
    case WEIR_OP_SUB:
        return t->sub_i32;
    case WEIR_OP_MUL:
        return t->mul_i32;
    case WEIR_OP_MIN:
        return t->min_i32;
    case WEIR_OP_MAX:
        return t->max_i32;
    case WEIR_OP_EQ:
        return t->eq_i32;
    case WEIR_OP_LT:
        return t->lt_i32;
    case WEIR_OP_LE:
        return t->le_i32;
    default:
        return NULL;
    }
}

static weir_k_map_t *map_i64(const weir_k_table_t *t, weir_opcode_t opcode)
{
    switch (opcode) {
    case WEIR_OP_NEG:
        return t->neg_i64;
    case WEIR_OP_ABS:
        return t->abs_i64;
    case WEIR_OP_ADD:
        return t->add_i64;
    case WEIR_OP_SUB:
        return t->sub_i64;
    case WEIR_OP_MUL:
        return t->mul_i64;
    case WEIR_OP_MIN:
        return t->min_i64;
    case WEIR_OP_MAX:
        return t->max_i64;
    case WEIR_OP_EQ:
        return t->eq_i64;
    case WEIR_OP_LT:
        return t->lt_i64;
    case WEIR_OP_LE:
        return t->le_i64;
    default:
        return NULL;
    }
}

static weir_k_map_t *map_bool(const weir_k_table_t *t, weir_opcode_t opcode)
{
    switch (opcode) {
    case WEIR_OP_NOT:
        return t->not_mask;
    case WEIR_OP_AND:
        return t->and_mask;
    case WEIR_OP_OR:
        return t->or_mask;
    case WEIR_OP_XOR:
        return t->xor_mask;
    case WEIR_OP_EQ:
        return t->eq_i32;
    default:
        return NULL;
    }
}

static weir_k_map_t *map_cast(const weir_k_table_t *t, weir_dtype_t from, weir_dtype_t to)
{
    switch (from) {
    case WEIR_F32:
        return to == WEIR_I32    ? t->cast_f32_i32
               : to == WEIR_I64  ? t->cast_f32_i64
               : to == WEIR_BOOL ? t->cast_f32_mask
                                 : NULL;
    case WEIR_I32:
        return to == WEIR_F32    ? t->cast_i32_f32
               : to == WEIR_I64  ? t->cast_i32_i64
               : to == WEIR_BOOL ? t->cast_i32_mask
                                 : NULL;
    case WEIR_I64:
        return to == WEIR_F32    ? t->cast_i64_f32
               : to == WEIR_I32  ? t->cast_i64_i32
               : to == WEIR_BOOL ? t->cast_i64_mask
                                 : NULL;
    case WEIR_BOOL:
        return to == WEIR_F32   ? t->cast_mask_f32
               : to == WEIR_I32 ? t->cast_mask_i32
               : to == WEIR_I64 ? t->cast_mask_i64
                                : NULL;
    default:
        return NULL;
    }
}

// The kernel for an instruction whose value a has dtype `from`; NULL: none.
static weir_k_map_t *map_of(
    const weir_k_table_t *t, weir_opcode_t opcode, weir_dtype_t from, weir_dtype_t to)
{
    if (opcode == WEIR_OP_CAST)
        return map_cast(t, from, to);
    if (opcode == WEIR_OP_SELECT)
        return to == WEIR_I64 ? t->select_b64 : t->select_b32;
    switch (from) {
    case WEIR_F32:
        return map_f32(t, opcode);
    case WEIR_I32:
        return map_i32(t, opcode);
    case WEIR_I64:
        return map_i64(t, opcode);
    case WEIR_BOOL:
        return map_bool(t, opcode);
    default:
        return NULL;
    }
}

// a > b is b < a.
static weir_opcode_t unswapped(weir_opcode_t opcode)
{
    return opcode == WEIR_OP_GT ? WEIR_OP_LT : opcode == WEIR_OP_GE ? WEIR_OP_LE : opcode;
}

static int is_test(weir_opcode_t opcode)
{
    return opcode == WEIR_OP_ISNAN || opcode == WEIR_OP_NOT ||
           (opcode >= WEIR_OP_AND && opcode <= WEIR_OP_GE);
}

// Is instruction i one that runs here, with operands of the dtypes it wants?
static const char *instruction_refusal(
    const weir_node_t *node, const weir_expression_t *expression, uint32_t i, int has_anchor)
{
    const weir_instruction_t *all = expression->instructions, *in = &all[i];
    if (!(in->dtype & DTYPES_TAKEN))
        return "the expression has a dtype other than f32, i32, i64 and bool";
    if (in->opcode == WEIR_OP_LOAD) {
        const uint32_t input = expression->first_operand + in->a;
        if (in->a >= expression->operand_count || input >= node->input_count ||
            node->inputs[input].dtype != in->dtype)
            return "the expression loads an operand that is not there";
        return NULL;
    }
    if (in->opcode == WEIR_OP_ANCHOR)
        return has_anchor && in->dtype == WEIR_F32 ? NULL : "the expression has no f32 anchor";
    if (in->opcode == WEIR_OP_CONST)
        return NULL;
    const int count = operand_count(in->opcode);
    if (count == 0 || in->a >= i || (count > 1 && in->b >= i) || (count > 2 && in->c >= i))
        return "the expression is malformed";
    const weir_dtype_t from = all[in->a].dtype;
    if (in->opcode == WEIR_OP_IDENTITY || (in->opcode == WEIR_OP_CAST && from == in->dtype))
        return from == in->dtype ? NULL : "the expression mixes dtypes";
    const weir_dtype_t second = count > 1 ? all[in->b].dtype : 0;
    if (in->opcode == WEIR_OP_SELECT) {
        const int fits = from == WEIR_BOOL && second == in->dtype && all[in->c].dtype == in->dtype;
        return fits ? NULL : "the expression mixes dtypes";
    }
    if ((count > 1 && second != from) || (count > 2 && all[in->c].dtype != from))
        return "the expression mixes dtypes";
    if (in->opcode != WEIR_OP_CAST && in->dtype != (is_test(in->opcode) ? WEIR_BOOL : from))
        return "the expression mixes dtypes";
    if (!map_of(&weir_k_table__plain, unswapped(in->opcode), from, in->dtype))
        return "an instruction of the expression has no kernel for its dtype";
    return NULL;
}

weir_code_t weir_cpu_expression_supports(const weir_node_t *node,
    const weir_expression_t *expression, int has_anchor, weir_support_t *out_support)
{
    if (expression->instruction_count > WEIR_EXPRESSION_MAX ||
        expression->operand_count > WEIR_OPERANDS_MAX ||
        expression->output_count != node->output_count || expression->output_count == 0)
        return weir_cpu_refuse(out_support, "the expression is malformed");
    for (uint32_t i = 0; i < expression->instruction_count; i++) {
        const char *refusal = instruction_refusal(node, expression, i, has_anchor);
        if (refusal)
            return weir_cpu_refuse(out_support, refusal);
    }
    for (uint32_t j = 0; j < expression->output_count; j++) {
        const uint16_t value = expression->outputs[j];
        if (value >= expression->instruction_count ||
            expression->instructions[value].dtype != node->outputs[j].dtype)
            return weir_cpu_refuse(out_support, "an output of the expression has another dtype");
    }
    // The anchor's result lies in output 0 until the expression has been applied to it.
    if (has_anchor && node->outputs[0].dtype != WEIR_F32)
        return weir_cpu_refuse(out_support, "output 0 of a node with an epilogue is not f32");
    return WEIR_OK;
}

static uint64_t steps_most(const weir_expression_t *expression)
{
    return WEIR_CPU_ANCHOR_STEPS + (expression ? expression->instruction_count : 0u);
}

static uint64_t views_most(const weir_expression_t *expression)
{
    return WEIR_CPU_ANCHOR_VIEWS + (expression ? expression->operand_count : 0u);
}

uint64_t weir_cpu_program_bytes(const weir_expression_t *expression)
{
    const uint64_t outputs = expression ? expression->output_count : 1;
    return views_most(expression) * sizeof(weir_cpu_view_t) +
           steps_most(expression) * sizeof(weir_cpu_step_t) + outputs * sizeof(uint16_t);
}

void weir_cpu_program_begin(weir_cpu_program_t *program, weir_cpu_room_t room,
    const weir_k_table_t *kernels, uint32_t rank, const int64_t *dims)
{
    memset(program, 0, sizeof(*program));
    program->kernels = kernels;
    program->views = room.memory;
    program->steps = (weir_cpu_step_t *)(program->views + views_most(room.expression));
    program->outputs = (uint16_t *)(program->steps + steps_most(room.expression));
    program->rank = rank;
    program->element_count = 1;
    for (uint32_t d = 0; d < rank; d++) {
        program->dims[d] = dims[d];
        program->element_count *= (uint64_t)dims[d];
    }
}

static uint16_t step_add(
    weir_cpu_program_t *program, weir_cpu_step_kind_t kind, weir_dtype_t dtype, uint16_t a)
{
    weir_cpu_step_t *step = &program->steps[program->step_count];
    *step = (weir_cpu_step_t){.kind = kind, .dtype = dtype, .a = a};
    step->b = step->c = step->slot = step->view = WEIR_CPU_NONE;
    return (uint16_t)program->step_count++;
}

uint16_t weir_cpu_program_anchor(weir_cpu_program_t *program)
{
    return step_add(program, WEIR_CPU_STEP_ANCHOR, WEIR_F32, WEIR_CPU_NONE);
}

uint16_t weir_cpu_program_constant(weir_cpu_program_t *program, float value)
{
    const uint16_t number = step_add(program, WEIR_CPU_STEP_CONST, WEIR_F32, WEIR_CPU_NONE);
    program->steps[number].immediates.f[0] = value;
    program->steps[number].is_pinned = 1;
    return number;
}

// Takes out the dims of 1 and merges neighbours that one stride reaches.
static void view_make(
    weir_cpu_view_t *view, uint32_t rank, const int64_t *dims, const int64_t *strides)
{
    view->rank = 0;
    for (uint32_t d = 0; d < rank; d++) {
        if (dims[d] == 1)
            continue;
        const uint32_t last = view->rank;
        if (last > 0 && view->strides[last - 1] == strides[d] * dims[d]) {
            view->extents[last - 1] *= (uint64_t)dims[d];
            view->strides[last - 1] = strides[d];
            continue;
        }
        view->extents[last] = (uint64_t)dims[d];
        view->strides[last] = strides[d];
        view->rank++;
    }
    if (view->rank == 1 && view->strides[0] == 0)
        view->rank = 0;
}

uint16_t weir_cpu_program_load(
    weir_cpu_program_t *program, const weir_node_t *node, uint32_t input, const int64_t *strides)
{
    const weir_tensor_t *tensor = &node->inputs[input];
    weir_cpu_view_t *view = &program->views[program->view_count];
    *view = (weir_cpu_view_t){
        .input = input, .element_bytes = weir_dtype_bytes(tensor->dtype), .dtype = tensor->dtype};
    view_make(view, program->rank, program->dims, strides);
    const uint16_t number = step_add(program, WEIR_CPU_STEP_LOAD, tensor->dtype, WEIR_CPU_NONE);
    program->steps[number].view = (uint16_t)program->view_count++;
    program->steps[number].is_pinned = view->rank == 0;
    return number;
}

uint16_t weir_cpu_program_broadcast(
    weir_cpu_program_t *program, const weir_node_t *node, uint32_t input)
{
    const weir_tensor_t *tensor = &node->inputs[input];
    int64_t strides[WEIR_RANK_MAX] = {0}, distance = 1;
    if (program->strides_of) {
        program->strides_of(tensor, strides);
        return weir_cpu_program_load(program, node, input, strides);
    }
    for (uint32_t d = tensor->rank; d-- > 0;) {
        const uint32_t seen = d + program->rank - tensor->rank;
        if (tensor->dims[d] != 1)
            strides[seen] = tensor->strides ? tensor->strides[d] : distance;
        distance *= tensor->dims[d];
    }
    return weir_cpu_program_load(program, node, input, strides);
}

uint16_t weir_cpu_program_binary(
    weir_cpu_program_t *program, weir_opcode_t opcode, uint16_t a, uint16_t b)
{
    const uint16_t number = step_add(program, WEIR_CPU_STEP_MAP, WEIR_F32, a);
    program->steps[number].b = b;
    program->steps[number].kernel = map_f32(program->kernels, opcode);
    return number;
}

static uint16_t instruction_append(weir_cpu_program_t *program, const weir_node_t *node,
    const weir_expression_t *expression, const weir_instruction_t *in, uint16_t anchor,
    const uint16_t *numbers)
{
    if (in->opcode == WEIR_OP_LOAD) {
        // An operand has one view, however often it is loaded.
        const uint32_t input = expression->first_operand + in->a;
        for (uint16_t i = 0; i < program->step_count; i++) {
            const weir_cpu_step_t *step = &program->steps[i];
            if (step->kind == WEIR_CPU_STEP_LOAD && program->views[step->view].input == input)
                return i;
        }
        return weir_cpu_program_broadcast(program, node, input);
    }
    if (in->opcode == WEIR_OP_ANCHOR)
        return step_add(program, WEIR_CPU_STEP_SAME, WEIR_F32, anchor);
    uint16_t number;
    if (in->opcode == WEIR_OP_CONST) {
        number = step_add(program, WEIR_CPU_STEP_CONST, in->dtype, WEIR_CPU_NONE);
        program->steps[number].immediates.f[0] = in->imm[0];
        program->steps[number].integer = in->integer;
        program->steps[number].is_pinned = 1;
        return number;
    }
    const int count = operand_count(in->opcode);
    uint16_t a = numbers[in->a], b = count > 1 ? numbers[in->b] : WEIR_CPU_NONE;
    const weir_dtype_t from = program->steps[a].dtype;
    if (in->opcode == WEIR_OP_IDENTITY || (in->opcode == WEIR_OP_CAST && from == in->dtype))
        return step_add(program, WEIR_CPU_STEP_SAME, in->dtype, a);
    const weir_opcode_t opcode = unswapped(in->opcode);
    const int swap = opcode != in->opcode;
    number = step_add(program, WEIR_CPU_STEP_MAP, in->dtype, swap ? b : a);
    weir_cpu_step_t *step = &program->steps[number];
    step->b = swap ? a : b;
    step->c = count > 2 ? numbers[in->c] : WEIR_CPU_NONE;
    step->kernel = map_of(program->kernels, opcode, from, in->dtype);
    step->immediates = (weir_k_immediates_t){{in->imm[0], in->imm[1]}};
    return number;
}

void weir_cpu_program_append(weir_cpu_program_t *program, const weir_node_t *node,
    const weir_expression_t *expression, uint16_t anchor)
{
    uint16_t numbers[WEIR_EXPRESSION_MAX];
    for (uint32_t i = 0; i < expression->instruction_count; i++)
        numbers[i] = instruction_append(
            program, node, expression, &expression->instructions[i], anchor, numbers);
    for (uint32_t j = 0; j < expression->output_count; j++)
        weir_cpu_program_output(program, numbers[expression->outputs[j]]);
}

void weir_cpu_program_output(weir_cpu_program_t *program, uint16_t value)
{
    program->outputs[program->output_count++] = value;
}

// The step that value `number` is another name of, or itself.
static uint16_t same_root(const weir_cpu_program_t *program, uint16_t number)
{
    while (program->steps[number].kind == WEIR_CPU_STEP_SAME)
        number = program->steps[number].a;
    return number;
}

// A value's slot is free again after its last use; its own operands' only after it is made, so that
// a kernel never writes what it still reads. What is filled once a task comes first and keeps its
// slot.
static void slots_assign(weir_cpu_program_t *program, const uint16_t *last_use)
{
    uint8_t is_taken[WEIR_CPU_STEPS_MAX] = {0};
    for (uint16_t i = 0; i < program->step_count; i++)
        if (program->steps[i].is_pinned) {
            program->steps[i].slot = (uint16_t)program->slot_count;
            is_taken[program->slot_count++] = 1;
        }
    for (uint16_t i = 0; i < program->step_count; i++) {
        weir_cpu_step_t *step = &program->steps[i];
        if (step->kind != WEIR_CPU_STEP_SAME && !step->is_pinned) {
            uint16_t slot = 0;
            while (is_taken[slot])
                slot++;
            is_taken[slot] = 1;
            step->slot = slot;
            program->slot_count = WEIR_MAX(program->slot_count, slot + 1u);
        }
        for (uint16_t v = 0; v <= i; v++) {
            const weir_cpu_step_t *other = &program->steps[v];
            if (last_use[v] == i && !other->is_pinned && !other->is_output &&
                other->slot != WEIR_CPU_NONE)
                is_taken[other->slot] = 0;
        }
    }
}

void weir_cpu_program_end(weir_cpu_program_t *program)
{
    uint16_t last_use[WEIR_CPU_STEPS_MAX];
    program->slot_bytes = WEIR_CPU_TILE * 4;
    for (uint16_t i = 0; i < program->step_count; i++) {
        weir_cpu_step_t *step = &program->steps[i];
        uint16_t *const operands[3] = {&step->a, &step->b, &step->c};
        last_use[i] = i;
        for (int o = 0; o < 3; o++)
            if (*operands[o] != WEIR_CPU_NONE) {
                *operands[o] = same_root(program, *operands[o]);
                last_use[*operands[o]] = i;
            }
        if (slot_element_bytes(step->dtype) == 8)
            program->slot_bytes = WEIR_CPU_TILE * 8;
    }
    for (uint32_t j = 0; j < program->output_count; j++) {
        program->outputs[j] = same_root(program, program->outputs[j]);
        program->steps[program->outputs[j]].is_output = 1;
    }
    slots_assign(program, last_use);
    program->scratch_bytes = (uint64_t)program->slot_count * program->slot_bytes;
}

uint64_t weir_cpu_program_cost_ps(const weir_cpu_program_t *program)
{
    uint64_t cost = 50;
    for (uint32_t i = 0; i < program->step_count; i++)
        cost += program->steps[i].kind == WEIR_CPU_STEP_MAP ? 200 : 50;
    return cost;
}
