// engine/conform/custom.c: nodes of operators that the plugin itself declares, and its infer().
//
// There is no reference for them, so values are not compared with anything but themselves: what is
// checked is everything else, and that infer() keeps its promises. Shapes are random; infer() says
// which of them make a node.
#include "engine/conform/kit.h"

#include <stdio.h>
#include <string.h>

#define ANY (WEIR__KIT_FLOATS | WEIR__KIT_INTEGERS | WEIR_BOOL)
#define ELEMENTS_MAX (1u << 20) // of an output: larger nodes say nothing more

bool weir__kit_custom(const weir__kit_subject_t *subject, const weir_kernel_t *kernel,
    weir_operator_t *out_declared, weir__kit_operator_t *out_operator)
{
    const weir_array_t *array = &subject->plugin.operators;
    for (uint32_t i = 0; array->data && i < array->count; i++) {
        char name[300];
        const char *from = (const char *)array->data + (size_t)i * array->stride;
        weir_head_t head;
        memcpy(&head, from, sizeof head);
        memset(out_declared, 0, sizeof *out_declared);
        memcpy(out_declared, from, WEIR_MIN(head.size, sizeof *out_declared));
        if (!out_declared->domain || !out_declared->op || !out_declared->infer)
            continue;
        snprintf(name, sizeof name, "%s::%s", out_declared->domain, out_declared->op);
        if (strcmp(name, kernel->op) != 0 || out_declared->revision != kernel->revision)
            continue;
        *out_operator = (weir__kit_operator_t){
            .op = kernel->op, .make = weir__kit_make_custom, .dtypes = ANY, .takes_specials = true};
        return true;
    }
    return false;
}

// ---- Nodes -------------------------------------------------------------------------------------

static bool give_attributes(weir__kit_case_t *c)
{
    const weir_array_t *array = &c->declared->attributes;
    if (array->count > WEIR__KIT_ATTRIBUTES)
        return false;
    for (uint32_t i = 0; i < array->count; i++) {
        weir_attribute_t *made = &c->attributes[c->node.attribute_count++];
        memcpy(made, (const char *)array->data + (size_t)i * array->stride, sizeof *made);
        if (made->type == WEIR_ATTR_STRING && !made->s)
            made->s = "";
    }
    return true;
}

static void give_inputs(weir__kit_case_t *c, weir_dtype_t dtype)
{
    const weir_operator_t *declared = c->declared;
    int64_t common[WEIR__KIT_RANK], own[WEIR__KIT_RANK];
    uint32_t rank = (uint32_t)weir__kit_between(c->random, 1, 4);
    uint32_t given = (uint32_t)weir__kit_between(
        c->random, (int64_t)declared->min_inputs, (int64_t)declared->max_inputs);
    bool are_alike = weir__kit_chance(c->random, 50);
    weir__kit_dims(c, rank, common);
    for (uint32_t i = 0; i < declared->max_inputs; i++) {
        uint32_t own_rank = (uint32_t)weir__kit_between(c->random, 0, 4);
        weir__kit_dims(c, own_rank, own);
        if (i >= given)
            weir__kit_input_absent(c);
        else if (i == 0 || are_alike)
            weir__kit_input(c, dtype, rank, common);
        else
            weir__kit_input(c, weir__kit_chance(c->random, 80) ? dtype : WEIR_I64, own_rank, own);
    }
}

static bool is_one_dtype(weir_dtype_t dtype)
{
    return dtype && !(dtype & (dtype - 1)) && (dtype & ANY);
}

// Makes an output of what infer() said. false: not a possible one, or too large.
static bool give_output(weir__kit_case_t *c, const weir_shape_t *shape)
{
    uint64_t count = 1;
    if (!is_one_dtype(shape->dtype) || shape->rank > WEIR_RANK_MAX)
        return false;
    for (uint32_t d = 0; d < shape->rank; d++) {
        if (shape->dims[d] < 0 || shape->dims[d] > ELEMENTS_MAX)
            return false;
        count *= (uint64_t)shape->dims[d];
        if (count > ELEMENTS_MAX)
            return false;
    }
    weir__kit_output(c, shape->dtype, shape->rank, shape->dims);
    return true;
}

// infer() as the engine asks it: contents of constants only.
static weir_code_t ask(const weir__kit_case_t *c, const weir_tensor_t *inputs, weir_shape_t *shapes,
    weir_support_t *support)
{
    weir_tensor_t shown[WEIR__KIT_INPUTS], outputs[WEIR__KIT_OUTPUTS] = {{0}};
    weir_node_t node = c->node;
    for (uint32_t i = 0; i < node.input_count; i++) {
        shown[i] = inputs[i];
        if (!(shown[i].flags & WEIR_TENSOR_CONSTANT)) {
            shown[i].data = NULL;
            shown[i].bytes = 0;
        }
    }
    node.inputs = shown;
    node.outputs = outputs;
    node.output_count = c->declared->output_count;
    memset(shapes, 0, WEIR__KIT_OUTPUTS * sizeof *shapes);
    *support = (weir_support_t){.head = WEIR_HEAD(weir_support_t)};
    return c->declared->infer(&node, shapes, support);
}

bool weir__kit_make_custom(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    weir_shape_t shapes[WEIR__KIT_OUTPUTS];
    weir_support_t support;
    (void)argument;
    if (c->declared->max_inputs > WEIR__KIT_INPUTS ||
        c->declared->output_count > WEIR__KIT_OUTPUTS || !give_attributes(c))
        return false;
    c->node.revision = c->declared->revision;
    give_inputs(c, dtype);
    if (ask(c, c->inputs, shapes, &support) != WEIR_OK)
        return false;
    for (uint32_t o = 0; o < c->declared->output_count; o++)
        if (!give_output(c, &shapes[o]))
            return false;
    return true;
}

// ---- infer() -----------------------------------------------------------------------------------

static bool same_shape(const weir_shape_t *a, const weir_shape_t *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           (a->rank > WEIR_RANK_MAX || memcmp(a->dims, b->dims, a->rank * sizeof a->dims[0]) == 0);
}

// What infer() says of numbers: a type, and the same one when it is asked again.
static bool check_numbers(
    weir__kit_subject_t *subject, const weir__kit_case_t *c, weir_shape_t *shapes)
{
    weir_shape_t again[WEIR__KIT_OUTPUTS];
    weir_support_t support, other;
    weir_code_t code = ask(c, c->inputs, shapes, &support);
    if (ask(c, c->inputs, again, &other) != code)
        return weir__kit_fail(subject, "infer() is not pure");
    if (code != WEIR_OK && !support.reason[0])
        return weir__kit_fail(subject, "infer() refused it (%d) and gave no reason", code);
    for (uint32_t o = 0; code == WEIR_OK && o < c->declared->output_count; o++) {
        if (!same_shape(&shapes[o], &again[o]))
            return weir__kit_fail(subject, "infer() is not pure: output %u differs", o);
        if (!is_one_dtype(shapes[o].dtype) || shapes[o].rank > WEIR_RANK_MAX)
            return weir__kit_fail(subject,
                "infer() gives output %u the dtype bits %u and the rank %u", o, shapes[o].dtype,
                shapes[o].rank);
        for (uint32_t d = 0; d < shapes[o].rank; d++)
            if (shapes[o].dims[d] < 0)
                return weir__kit_fail(subject,
                    "infer() gives dim %u of output %u as %lld, though all sizes are known", d, o,
                    (long long)shapes[o].dims[d]);
    }
    return code == WEIR_OK;
}

// The same node with a symbol for each size: what was told must hold for the numbers.
static void check_symbols(
    weir__kit_subject_t *subject, const weir__kit_case_t *c, const weir_shape_t *numbers)
{
    weir_tensor_t inputs[WEIR__KIT_INPUTS];
    int64_t dims[WEIR__KIT_INPUTS][WEIR_RANK_MAX], sizes[WEIR__KIT_INPUTS * WEIR_RANK_MAX];
    weir_shape_t shapes[WEIR__KIT_OUTPUTS];
    weir_support_t support;
    uint32_t count = 0; // of symbols: equal sizes share one
    for (uint32_t i = 0; i < c->node.input_count; i++) {
        inputs[i] = c->inputs[i];
        for (uint32_t d = 0; d < inputs[i].rank; d++) {
            uint32_t symbol = 0;
            while (symbol < count && sizes[symbol] != inputs[i].dims[d])
                symbol++;
            sizes[symbol] = inputs[i].dims[d];
            count = WEIR_MAX(count, symbol + 1);
            dims[i][d] = -1 - (int64_t)symbol;
        }
        inputs[i].dims = dims[i];
        inputs[i].element_count = inputs[i].rank ? 0 : inputs[i].element_count;
        inputs[i].flags &= ~WEIR_TENSOR_CONSTANT;
    }
    weir_code_t code = ask(c, inputs, shapes, &support);
    if (code != WEIR_OK) {
        weir__kit_fail(subject, "infer() takes these sizes, but not symbols for them (%d): %.100s",
            code, support.reason);
        return;
    }
    for (uint32_t o = 0; o < c->declared->output_count; o++) {
        bool agrees = shapes[o].dtype == numbers[o].dtype && shapes[o].rank == numbers[o].rank;
        for (uint32_t d = 0; agrees && d < shapes[o].rank; d++) {
            int64_t dim = shapes[o].dims[d];
            if (dim < 0 && dim != WEIR_DIM_NEW)
                agrees = dim >= -(int64_t)count && sizes[-1 - dim] == numbers[o].dims[d];
            else
                agrees = dim == WEIR_DIM_NEW || dim == numbers[o].dims[d];
        }
        if (!agrees)
            weir__kit_fail(subject,
                "infer() says another type of output %u with symbols than with their sizes", o);
    }
}

void weir__kit_check_infer(weir__kit_subject_t *subject, const weir__kit_target_t *target)
{
    static weir__kit_case_t c;
    weir__kit_progress_t *progress = subject->progress;
    while (!progress->has_failed && progress->run_count < subject->case_limit &&
           progress->case_count < 8 * subject->case_limit) {
        weir_shape_t shapes[WEIR__KIT_OUTPUTS];
        uint32_t number = progress->case_count++;
        subject->random.state = subject->seed + number;
        subject->random.state = weir__kit_random(&subject->random);
        // Also of nodes that infer() refuses, or whose types are not possible.
        (void)weir__kit_case_make(
            &c, target->operator_, target->declared, target->dtype, false, &subject->random);
        if (c.node.input_count == c.declared->max_inputs) {
            int used = snprintf(progress->which, sizeof progress->which, "case %u: ", number);
            weir__kit_case_text(
                &c, progress->which + used, (uint32_t)sizeof progress->which - (uint32_t)used);
            if (check_numbers(subject, &c, shapes)) {
                progress->run_count++;
                check_symbols(subject, &c, shapes);
            }
        }
        weir__kit_case_free(&c);
    }
}
