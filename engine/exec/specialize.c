// engine/exec/specialize.c: walks a plan with concrete dims and writes down the steps of a run.
#include "engine/exec/maker.h"

#include "engine/base/size.h"
#include "engine/plan/fuse.h"
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define KNOWN_BYTES_MAX 65536 // contents larger than this are never worked out while specializing
#define OPERANDS_MAX 512

// ---- Limits ------------------------------------------------------------------------------------

static weir_status_t check_size(
    const weir__maker_t *maker, const weir__slot_t *slot, const char *label)
{
    if (slot->bytes > maker->plan->runtime->limits.tensor_bytes)
        return WEIR_ERR(WEIR_LIMIT,
            "%s: its output would take %llu bytes, more than limits.tensor_bytes (%llu)", label,
            (unsigned long long)slot->bytes,
            (unsigned long long)maker->plan->runtime->limits.tensor_bytes);
    return NULL;
}

// ---- One node: types ---------------------------------------------------------------------------

typedef struct operands {
    weir__slot_t *inputs[OPERANDS_MAX]; // NULL: absent
    weir__type_t outputs[64];
} operands_t;

static weir_status_t read_operands(
    weir__maker_t *maker, const weir__plan_node_t *node, operands_t *operands)
{
    if (node->input_count > OPERANDS_MAX || node->output_count > 64)
        return WEIR_ERR(
            WEIR_UNSUPPORTED, "%s: more than %d inputs or 64 outputs", node->label, OPERANDS_MAX);
    for (uint32_t i = 0; i < node->input_count; i++) {
        operands->inputs[i] = NULL;
        if (node->inputs[i] == WEIR__NONE)
            continue;
        operands->inputs[i] = weir__maker_slot_of(maker, node->inputs[i]);
        if (!operands->inputs[i])
            return weir__maker_no_slot(maker, node->inputs[i], node->label);
    }
    return NULL;
}

// Broadcasts the operands of an expression onto *type (rank -1: start with nothing).
static weir_status_t broadcast_operands(const weir__plan_node_t *node, const operands_t *operands,
    const weir_expression_t *expression, weir__type_t *type)
{
    for (uint32_t i = 0; i < expression->operand_count; i++) {
        const weir__type_t *operand = &operands->inputs[expression->first_operand + i]->type;
        weir__type_t wide = *operand;
        if (type->rank >= 0)
            WEIR_TRY(weir__status_prefix(
                weir__infer_broadcast(NULL, type, operand, &wide), "%s", node->label));
        *type = wide;
    }
    return NULL;
}

static weir_status_t infer_group(const weir__plan_node_t *node, operands_t *operands)
{
    weir__type_t *type = &operands->outputs[0];
    if (!node->body) { // Reorder
        *type = operands->inputs[0]->type;
        return NULL;
    }
    type->rank = -1;
    WEIR_TRY(broadcast_operands(node, operands, node->body, type));
    if (type->rank < 0)
        type->rank = 0;
    type->dtype = node->body->instructions[node->body->outputs[0]].dtype;
    return NULL;
}

static weir_status_t infer_anchor(const weir__plan_node_t *node, operands_t *operands)
{
    const weir__type_t *types[OPERANDS_MAX];
    const weir__tensor_t *values[OPERANDS_MAX];
    for (uint32_t i = 0; i < node->anchor->input_count; i++) {
        types[i] = operands->inputs[i] ? &operands->inputs[i]->type : NULL;
        values[i] = operands->inputs[i] ? operands->inputs[i]->known : NULL;
    }
    weir__infer_t infer = {.node = node->anchor,
        .input_count = node->anchor->input_count,
        .output_count = node->anchor->output_count,
        .inputs = types,
        .values = values,
        .outputs = operands->outputs};
    WEIR_TRY(weir__infer_node(&infer));
    if (node->prologue) {
        weir__type_t wide = operands->inputs[0]->type;
        WEIR_TRY(broadcast_operands(node, operands, node->prologue, &wide));
        if (!weir__plan_same_dims(&wide, &operands->inputs[0]->type))
            return WEIR_ERR(WEIR_INVALID_ARGUMENT,
                "%s: an operand fused in front of it does not have its shape in this run",
                node->label);
    }
    if (!node->epilogue)
        return NULL;
    weir__type_t wide = operands->outputs[0];
    WEIR_TRY(broadcast_operands(node, operands, node->epilogue, &wide));
    if (!weir__plan_same_dims(&wide, &operands->outputs[0]))
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "%s: an operand fused behind it does not have its shape in this run", node->label);
    operands->outputs[0].dtype = node->epilogue->instructions[node->epilogue->outputs[0]].dtype;
    return NULL;
}

// ---- One node: contents
// --------------------------------------------------------------------------

static bool can_evaluate(
    const weir__maker_t *maker, const weir__plan_node_t *node, const operands_t *operands)
{
    if (node->epilogue || node->prologue || (!node->anchor && !node->body) ||
        (node->anchor && (node->anchor->op->flags & WEIR__OP_CUSTOM)))
        return false;
    bool dims_only = node->anchor && (node->anchor->op->flags & WEIR__OP_DIMS_ONLY);
    for (uint32_t i = 0; i < node->input_count; i++)
        if (operands->inputs[i] && !dims_only &&
            (!operands->inputs[i]->known || operands->inputs[i]->bytes > KNOWN_BYTES_MAX))
            return false;
    for (uint32_t i = 0; i < node->output_count; i++) {
        uint64_t bytes;
        const weir__type_t *type = &operands->outputs[i];
        if (weir__plan_format_of(maker->plan, node->outputs[i]) ||
            !weir__tensor_bytes(type->dims, (uint32_t)type->rank, type->dtype, &bytes) ||
            bytes > KNOWN_BYTES_MAX)
            return false;
    }
    return true;
}

static weir_status_t evaluate(
    weir__maker_t *maker, const weir__plan_node_t *node, const operands_t *operands)
{
    weir__zone_t *zone = &maker->spec->zone;
    weir_tensor_t tensors[OPERANDS_MAX + 64];
    weir_node_t view;
    weir__view_head(node, &view);
    if (node->body)
        view.op = "Pointwise";
    view.inputs = tensors;
    view.outputs = tensors + node->input_count;
    for (uint32_t i = 0; i < node->input_count; i++) {
        tensors[i] = weir__slot_tensor(operands->inputs[i]);
        tensors[i].format = WEIR_FORMAT_ROW_MAJOR; // of what lies otherwise only the dims are read
        if (operands->inputs[i] &&
            operands->inputs[i]->known) // read during the run: not in the slot
            tensors[i].data = (void *)(uintptr_t)operands->inputs[i]->known->data;
    }
    for (uint32_t i = 0; i < node->output_count; i++) {
        tensors[node->input_count + i] = (weir_tensor_t){.dtype = 0};
        if (node->outputs[i] == WEIR__NONE)
            continue;
        weir__slot_t *slot =
            weir__maker_new_slot(maker, WEIR__SLOT_CONSTANT, &operands->outputs[i], 0);
        weir__tensor_t *known = weir__zone_alloc(zone, sizeof *known);
        void *data = slot ? weir__zone_alloc(zone, slot->bytes + 64) : NULL;
        if (!known || !data)
            return weir__status_no_memory();
        *known = (weir__tensor_t){.dtype = slot->type.dtype,
            .rank = (uint32_t)slot->type.rank,
            .dims = slot->type.dims,
            .count = slot->count,
            .bytes = slot->bytes,
            .data = data};
        slot->data = data;
        slot->known = known;
        maker->spec->slot_of_value[node->outputs[i]] = slot;
        tensors[node->input_count + i] = weir__slot_tensor(slot);
    }
    char error[WEIR_REASON_BYTES] = "";
    weir__runtime_t *runtime = maker->plan->runtime;
    weir_code_t code =
        runtime->evaluate(&runtime->registry.plugins[0]->host.abi, &view, error, sizeof error);
    if (code != WEIR_OK)
        return WEIR_ERR(code, "%s: %s", node->label, error[0] ? error : "cannot be evaluated");
    return NULL;
}

// ---- One node: outputs -------------------------------------------------------------------------

// What a node makes: of a view the same memory, of a slice's member the memory of its device.
static weir_status_t make_outputs(
    weir__maker_t *maker, const weir__plan_node_t *node, const operands_t *operands)
{
    const weir__plan_slice_t *slice =
        node->slice == UINT32_MAX ? NULL : &maker->plan->slices[node->slice];
    bool leaves = slice && maker->plan->devices[slice->plan_device].own_memory;
    for (uint32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] == WEIR__NONE)
            continue;
        weir__slot_t *slot = weir__maker_new_slot(maker, WEIR__SLOT_ARENA, &operands->outputs[i],
            weir__plan_format_of(maker->plan, node->outputs[i]));
        if (!slot)
            return weir__status_no_memory();
        WEIR_TRY(check_size(maker, slot, node->label));
        slot->place = leaves ? slice->plan_device + 1 : WEIR__HOST;
        maker->spec->slot_of_value[node->outputs[i]] = slot;
    }
    return NULL;
}

// A view's output lies wherever its input does.
static weir_status_t make_view(
    weir__maker_t *maker, const weir__plan_node_t *node, const operands_t *operands)
{
    uint32_t output = node->outputs[0], places = maker->plan->device_count + 1;
    if (output == WEIR__NONE)
        return NULL;
    uint32_t format = weir__plan_format_of(maker->plan, output);
    weir__slot_t *slot =
        weir__maker_alias(maker, operands->inputs[0], &operands->outputs[0], format);
    if (!slot)
        return weir__status_no_memory();
    WEIR_TRY(check_size(maker, slot, node->label));
    maker->spec->slot_of_value[output] = slot;
    for (uint32_t place = 0; maker->spec->copies && place < places; place++) {
        const weir__slot_t *copy = weir__maker_copy_in(maker, place, node->inputs[0]);
        if (!copy)
            continue;
        slot = weir__maker_alias(maker, copy, &operands->outputs[0], format);
        if (!slot)
            return weir__status_no_memory();
        weir__maker_set_copy(maker, place, output, slot);
    }
    return NULL;
}

// ---- The walk
// ----------------------------------------------------------------------------------------

// Ends the specialization before a node whose operands have to be read first.
static bool must_wait(
    weir__maker_t *maker, const weir__plan_node_t *node, const operands_t *operands)
{
    weir__spec_t *spec = maker->spec;
    uint32_t wanted = 0;
    if (node->anchor)
        wanted = node->anchor->op->flags & WEIR__OP_REGIONS ? 1 : node->anchor->op->value_inputs;
    for (uint32_t i = 0; i < node->input_count && i < 32; i++)
        if ((wanted >> i & 1) && operands->inputs[i] && !operands->inputs[i]->known)
            spec->waits[spec->wait_count++] = node->inputs[i];
    return spec->wait_count > 0;
}

static weir_status_t enter_branch(
    weir__maker_t *maker, const weir__plan_node_t *node, const operands_t *operands)
{
    weir__spec_t *spec = maker->spec;
    const weir__tensor_t *condition = operands->inputs[0]->known;
    if (condition->count != 1 || condition->dtype != WEIR_BOOL)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "%s: its condition must be one bool, it has %llu elements", node->label,
            (unsigned long long)condition->count);
    const weir__plan_region_t *region = node->regions[*(const uint8_t *)condition->data ? 0 : 1];
    if (!region || spec->frame_count == WEIR__FRAMES_MAX)
        return WEIR_ERR(WEIR_LIMIT, "%s: regions are nested too deep", node->label);
    spec->frames[spec->frame_count++] = (weir__frame_t){.region = region, .owner = node};
    return NULL;
}

// The outputs of a branch become those of its If.
static weir_status_t leave_branch(weir__maker_t *maker, const weir__frame_t *frame)
{
    for (uint32_t i = 0; i < frame->owner->output_count; i++) {
        if (frame->owner->outputs[i] == WEIR__NONE)
            continue;
        weir__slot_t *slot = weir__maker_slot_of(maker, frame->region->source->outputs[i]);
        if (!slot)
            return weir__maker_no_slot(
                maker, frame->region->source->outputs[i], frame->owner->label);
        uint32_t output = frame->owner->outputs[i];
        maker->spec->slot_of_value[output] = slot;
        for (uint32_t place = 0; maker->spec->copies && place <= maker->plan->device_count; place++)
            weir__maker_set_copy(maker, place, output,
                weir__maker_copy_in(maker, place, frame->region->source->outputs[i]));
    }
    return NULL;
}

static weir_status_t make_kernel_step(
    weir__maker_t *maker, const weir__plan_node_t *node, operands_t *operands)
{
    for (uint32_t i = 0; i < node->input_count; i++)
        if (operands->inputs[i])
            WEIR_TRY(
                weir__maker_host_slot(maker, node->inputs[i], node->label, &operands->inputs[i]));
    return weir__maker_kernel_step(maker, node, operands->inputs);
}

static weir_status_t visit(weir__maker_t *maker, const weir__plan_node_t *node, uint32_t number,
    operands_t *operands, bool *out_stop)
{
    WEIR_TRY(read_operands(maker, node, operands));
    if ((*out_stop = must_wait(maker, node, operands)) == true)
        return NULL;
    maker->spec->frames[maker->spec->frame_count - 1].next++;
    if (node->regions[0] || node->regions[1])
        return enter_branch(maker, node, operands);
    WEIR_TRY(node->anchor ? infer_anchor(node, operands) : infer_group(node, operands));
    bool is_view = node->anchor && (node->anchor->op->flags & WEIR__OP_VIEW);
    if (node->slice == UINT32_MAX && can_evaluate(maker, node, operands))
        return evaluate(maker, node, operands);
    if (is_view)
        return make_view(maker, node, operands);
    WEIR_TRY(make_outputs(maker, node, operands));
    if (node->slice == UINT32_MAX)
        return make_kernel_step(maker, node, operands);
    const weir__plan_slice_t *slice = &maker->plan->slices[node->slice];
    return number == slice->last ? weir__maker_launch(maker, slice) : NULL;
}

// Between two new shapes a model runs, which leaves nothing of the plan near the processor, and the
// walk would wait for each piece of it in turn. Asked for all at once they come in parallel.
static void fetch_plan(const weir__spec_t *spec, const weir__plan_region_t *region)
{
    for (uint32_t i = 0; i < region->node_count; i++) {
        const weir__plan_node_t *node = &region->nodes[i];
        if (node->anchor) {
            __builtin_prefetch(node->anchor);
            __builtin_prefetch(&node->anchor->attributes);
        }
        __builtin_prefetch(node->inputs);
        __builtin_prefetch(node->outputs);
        __builtin_prefetch(node->body ? node->body : node->epilogue);
        __builtin_prefetch(node->packed);
    }
    for (uint32_t i = 0; i < region->node_count; i++) {
        const weir__plan_node_t *node = &region->nodes[i];
        const weir_expression_t *code = node->body ? node->body : node->epilogue;
        if (node->anchor)
            __builtin_prefetch(node->anchor->attributes);
        if (code)
            __builtin_prefetch(code->instructions);
        for (uint32_t j = 0; j < node->input_count; j++) {
            const char *slot = node->inputs[j] == WEIR__NONE
                                   ? NULL
                                   : (const char *)spec->slot_of_value[node->inputs[j]];
            for (size_t at = 0; slot && at <= offsetof(weir__slot_t, type.dims[0]); at += 64)
                __builtin_prefetch(slot + at);
        }
    }
}

static weir_status_t walk(weir__maker_t *maker)
{
    weir__spec_t *spec = maker->spec;
    fetch_plan(spec, spec->frames[spec->frame_count - 1].region);
    operands_t *operands = weir__heap_alloc(&maker->plan->runtime->heap, sizeof *operands);
    if (!operands)
        return weir__status_no_memory();
    weir_status_t status = NULL;
    for (bool stop = false; !stop && !status && spec->frame_count;) {
        weir__frame_t *frame = &spec->frames[spec->frame_count - 1];
        if (frame->next < frame->region->node_count) {
            status = visit(maker, &frame->region->nodes[frame->next], frame->next, operands, &stop);
        } else {
            if (frame->owner)
                status = leave_branch(maker, frame);
            spec->frame_count--;
        }
    }
    spec->complete = spec->frame_count == 0;
    weir__heap_free(&maker->plan->runtime->heap, operands);
    return status;
}

// ---- Life
// --------------------------------------------------------------------------------------------

static weir_status_t new_spec(weir_plan_t *plan, weir__spec_t **out_spec)
{
    weir__runtime_t *runtime = plan->runtime;
    weir__spec_t *spec = weir__heap_calloc(&runtime->heap, 1, sizeof *spec);
    if (!spec)
        return weir__status_no_memory();
    atomic_init(&spec->references, 1);
    spec->plan = plan;
    weir__spec_zone_begin(plan, &spec->zone);
    *out_spec = spec;
    spec->slot_of_value = weir__zone_copy(&spec->zone, weir__spec_constants(plan),
        weir__plan_value_count(plan) * sizeof *spec->slot_of_value);
    spec->needs = weir__zone_array(&spec->zone, plan->device_count, sizeof *spec->needs);
    bool leaves = false;
    for (uint32_t i = 0; i < plan->device_count; i++)
        leaves |= plan->devices[i].own_memory;
    uint64_t count = (uint64_t)weir__plan_value_count(plan) * (plan->device_count + 1);
    if (leaves)
        spec->copies = weir__zone_array(&spec->zone, count, sizeof *spec->copies);
    return spec->slot_of_value && spec->needs && (spec->copies || !leaves)
               ? NULL
               : weir__status_no_memory();
}

// What ends with the specialization: what its run returns, or what it reads to go on.
static weir_status_t finish(weir__maker_t *maker)
{
    weir__spec_t *spec = maker->spec;
    WEIR_TRY(walk(maker));
    const weir__region_t *main = &maker->graph->main;
    weir__slot_t *slot;
    for (uint32_t i = 0; spec->complete && i < main->output_count; i++)
        WEIR_TRY(weir__maker_host_slot(maker, main->outputs[i], "an output", &slot));
    for (uint32_t i = 0; i < spec->wait_count; i++)
        WEIR_TRY(weir__maker_host_slot(maker, spec->waits[i], "a size", &slot));
    if (spec->complete)
        WEIR_TRY(weir__maker_wait_for_all(maker));
    weir__maker_number(maker);
    return weir__spec_layout(spec);
}

// Does a device work on host memory?
static bool shares_host(const weir_plan_t *plan)
{
    for (uint32_t i = 0; i < plan->device_count; i++)
        if (!plan->devices[i].own_memory)
            return true;
    return false;
}

static weir_status_t set_inputs(weir__maker_t *maker, const weir_value_t *inputs)
{
    weir__spec_t *spec = maker->spec;
    const weir__region_t *main = &maker->graph->main;
    uint64_t words = 0;
    for (uint32_t i = 0; i < main->input_count; i++)
        words += 1 + inputs[i].rank;
    spec->key = weir__zone_array(&spec->zone, words, sizeof *spec->key);
    if (!spec->key)
        return weir__status_no_memory();
    spec->key_bytes = words * sizeof *spec->key;
    int64_t *key = spec->key;
    for (uint32_t i = 0; i < main->input_count; i++) {
        weir__type_t type = {.dtype = inputs[i].dtype, .rank = (int32_t)inputs[i].rank};
        *key++ = inputs[i].rank;
        for (uint32_t d = 0; d < inputs[i].rank; d++)
            *key++ = type.dims[d] = inputs[i].dims[d];
        // A device must never read the caller's memory: a run can end before the device does.
        weir__slot_t *slot = weir__maker_new_slot(
            maker, shares_host(maker->plan) ? WEIR__SLOT_ARENA : WEIR__SLOT_INPUT, &type, 0);
        if (!slot)
            return weir__status_no_memory();
        slot->input = i;
        slot->pinned = true;
        spec->slot_of_value[main->inputs[i]] = slot;
    }
    return NULL;
}

weir_status_t weir__spec_create(
    weir_plan_t *plan, const weir_value_t *inputs, weir__spec_t **out_spec)
{
    weir__maker_t maker = {.plan = plan, .graph = plan->model->graph};
    weir_status_t status = new_spec(plan, &maker.spec);
    if (!status)
        status = set_inputs(&maker, inputs);
    if (!status) {
        maker.spec->frames[0] = (weir__frame_t){.region = &plan->main};
        maker.spec->frame_count = 1;
        status = finish(&maker);
    }
    if (maker.spec)
        status = weir__zone_status(&maker.spec->zone, status);
    if (status) {
        weir__spec_release(maker.spec);
        return status;
    }
    *out_spec = maker.spec;
    return NULL;
}

// The values that were waited for become known.
static weir_status_t set_contents(
    weir__maker_t *maker, const weir__spec_t *parent, const void *const *contents)
{
    weir__spec_t *spec = maker->spec;
    for (uint32_t i = 0; i < parent->wait_count; i++)
        spec->key_bytes += parent->slot_of_value[parent->waits[i]]->bytes;
    char *key = weir__zone_alloc(&spec->zone, spec->key_bytes + 8);
    if (!key)
        return weir__status_no_memory();
    spec->key = (int64_t *)(void *)key;
    for (uint32_t i = 0; i < parent->wait_count; i++) {
        const weir__slot_t *from = parent->slot_of_value[parent->waits[i]];
        weir__slot_t *slot = weir__zone_copy(&spec->zone, from, sizeof *from);
        weir__tensor_t *known = weir__zone_alloc(&spec->zone, sizeof *known);
        void *data = weir__zone_alloc(&spec->zone, from->bytes + 64);
        if (!slot || !known || !data)
            return weir__status_no_memory();
        if (from->bytes) {
            memcpy(data, contents[i], (size_t)from->bytes);
            memcpy(key, contents[i], (size_t)from->bytes);
        }
        key += from->bytes;
        *known = (weir__tensor_t){.dtype = slot->type.dtype,
            .rank = (uint32_t)slot->type.rank,
            .dims = slot->type.dims,
            .count = slot->count,
            .bytes = slot->bytes,
            .data = data};
        slot->known = known; // it stays where it lies: kernels may go on reading it there
        spec->slot_of_value[parent->waits[i]] = slot;
    }
    return NULL;
}

weir_status_t weir__spec_create_child(
    weir__spec_t *parent, const void *const *contents, weir__spec_t **out_spec)
{
    weir_plan_t *plan = parent->plan;
    weir__maker_t maker = {.plan = plan, .graph = plan->model->graph};
    weir_status_t status = new_spec(plan, &maker.spec);
    if (!status) {
        memcpy(maker.spec->slot_of_value, parent->slot_of_value,
            weir__plan_value_count(plan) * sizeof *parent->slot_of_value);
        memcpy(maker.spec->frames, parent->frames, sizeof parent->frames);
        maker.spec->frame_count = parent->frame_count;
        maker.spec->depth = parent->depth + 1;
        for (uint32_t i = 0; i < plan->device_count; i++) {
            maker.spec->needs[i].used = parent->needs[i].used;
            maker.awaited[i] = -1;
        }
        if (parent->copies)
            memcpy(maker.spec->copies, parent->copies,
                (size_t)weir__plan_value_count(plan) * (plan->device_count + 1) *
                    sizeof *parent->copies);
        maker.spec->arena_bytes = parent->arena_bytes;
        maker.spec->scratch_bytes = parent->scratch_bytes;
        status = set_contents(&maker, parent, contents);
    }
    if (!status)
        status = finish(&maker);
    if (maker.spec)
        status = weir__zone_status(&maker.spec->zone, status);
    if (status) {
        weir__spec_release(maker.spec);
        return status;
    }
    *out_spec = maker.spec;
    return NULL;
}

void weir__spec_retain(weir__spec_t *spec)
{
    atomic_fetch_add_explicit(&spec->references, 1, memory_order_relaxed);
}

static void free_launch(const weir__spec_t *spec, const weir__step_t *step)
{
    weir__opened_t *opened = spec->plan->devices[step->lane].opened;
    weir__made_release(opened, step->specialization);
    for (uint32_t i = 0; step->parts && i < step->slice_view->node_count; i++)
        weir__made_release(opened, step->parts[i].state);
}

static void free_spec(weir__spec_t *spec)
{
    for (uint32_t i = 0; i < spec->step_count; i++) // far away: all at once, as in fetch_plan()
        if (spec->steps[i].state)
            __builtin_prefetch((const char *)spec->steps[i].state - 64);
    for (uint32_t i = 0; i < spec->step_count; i++) {
        weir__step_t *step = &spec->steps[i];
        if (step->kind == WEIR__STEP_LAUNCH)
            free_launch(spec, step);
        if (step->kernel && step->kernel->release && step->state)
            step->kernel->release(&step->plugin->host.abi, step->state);
    }
    weir__heap_t *heap = &spec->plan->runtime->heap;
    weir__spec_zone_end(spec->plan, &spec->zone);
    weir__heap_free(heap, spec);
}

void weir__spec_release(weir__spec_t *spec)
{
    if (!spec || atomic_fetch_sub_explicit(&spec->references, 1, memory_order_acq_rel) != 1)
        return;
    // Children of children: nesting is as deep as the data-dependent points of one run.
    while (spec->children) {
        weir__spec_t *child = spec->children;
        spec->children = child->next;
        weir__spec_release(child);
    }
    free_spec(spec);
}
