// engine/plan/artifact.c: programs of slices, kept in the cache between processes.
//
// The key is the engine's and says all that a program may depend on: nodes, attributes,
// expressions, types, what the constants hold; the device's arch, the plugin's build and options,
// the header. Whatever is wrong with what the cache has, the program is compiled as if it had none.
#include "engine/plan/plan.h"

#include <string.h>

#define ARTIFACT_BYTES_MAX (4ull << 30)

// ---- The key -----------------------------------------------------------------------------------

static void add(weir__hash_t *key, const void *data, uint64_t bytes)
{
    *key = weir__hash_join(*key, weir__hash128(bytes ? data : "", bytes));
}

static void add_number(weir__hash_t *key, uint64_t number)
{
    add(key, &number, sizeof number);
}

static void add_text(weir__hash_t *key, const char *text)
{
    add(key, text, text ? strlen(text) : 0);
}

static void add_expression(weir__hash_t *key, const weir_expression_t *expression)
{
    add_number(key, expression != NULL);
    if (!expression)
        return;
    add(key, expression->instructions,
        expression->instruction_count * sizeof *expression->instructions);
    add(key, expression->outputs, expression->output_count * sizeof *expression->outputs);
    add_number(key, expression->first_operand);
    add_number(key, expression->operand_count);
}

static void add_attribute(weir__hash_t *key, const weir_attribute_t *attribute)
{
    add_text(key, attribute->name);
    add_number(key, attribute->type);
    add_number(key, (uint64_t)attribute->i);
    add(key, &attribute->f, sizeof attribute->f);
    add_text(key, attribute->type == WEIR_ATTR_STRING ? attribute->s : NULL);
    if (attribute->type == WEIR_ATTR_INTS)
        add(key, attribute->ints, attribute->count * sizeof *attribute->ints);
    if (attribute->type == WEIR_ATTR_FLOATS)
        add(key, attribute->floats, attribute->count * sizeof *attribute->floats);
}

static void add_node(weir__hash_t *key, const weir_slice_node_t *member)
{
    const weir_node_t *node = &member->node;
    add_text(key, node->op);
    add_number(key, node->revision);
    add_text(key, member->kernel ? member->kernel->name : NULL);
    add(key, member->inputs, node->input_count * sizeof *member->inputs);
    add(key, member->outputs, node->output_count * sizeof *member->outputs);
    for (uint32_t i = 0; i < node->attribute_count; i++)
        add_attribute(key, &node->attributes[i]);
    add_expression(key, node->body);
    add_expression(key, node->prologue);
    add_expression(key, node->epilogue);
}

static void add_tensor(
    weir__hash_t *key, const weir_plan_t *plan, uint32_t value, const weir_tensor_t *tensor)
{
    uint64_t shape[] = {tensor->dtype, tensor->rank, tensor->format, tensor->flags, tensor->bytes};
    add(key, shape, sizeof shape);
    add(key, tensor->dims, tensor->rank * sizeof *tensor->dims);
    if (!(tensor->flags & WEIR_TENSOR_CONSTANT))
        return;
    const weir__value_t *source = &plan->model->graph->values[value];
    *key = weir__hash_join(*key, weir__plan_hash_constant(plan->model, source));
}

static weir__hash_t key_of(
    const weir_plan_t *plan, const weir__plan_slice_t *slice, const weir_slice_t *view)
{
    const weir__plugin_t *plugin = slice->device->plugin;
    weir__hash_t key = {.low = WEIR_PLUGIN_HEADER_HASH, .high = 1};
    add_text(&key, plugin->name);
    add_text(&key, plugin->abi.version);
    add_text(&key, plugin->abi.build);
    add_text(&key, slice->device->arch);
    for (const char *const *option = plugin->host.options; option && *option; option++)
        add_text(&key, *option);
    add(&key, view->inputs, view->input_count * sizeof *view->inputs);
    add(&key, view->outputs, view->output_count * sizeof *view->outputs);
    for (uint32_t i = 0; i < view->node_count; i++)
        add_node(&key, &view->nodes[i]);
    for (uint32_t i = 0; i < view->tensor_count; i++)
        add_tensor(&key, plan, slice->values[i], &view->tensors[i]);
    return key;
}

// ---- Out of the cache and into it --------------------------------------------------------------

static void note(const weir_plan_t *plan, const weir__opened_t *opened, const char *what)
{
    weir__log(&plan->runtime->log, WEIR_LOG_INFO, "plan", "%s: %s; the program is compiled",
        opened->device->name, what);
}

// *out_program 0: there is none that is good. Only a lost device is an error.
static weir_status_t load(weir_plan_t *plan, weir__opened_t *opened, weir__hash_t key,
    const weir_slice_t *view, weir_handle_t *out_program)
{
    const weir_device_table_t *table = &opened->plugin->device;
    weir__view_t blob;
    *out_program = 0;
    if (!weir__cache_get(plan->runtime->cache, key, &blob))
        return NULL;
    weir_code_t code = table->artifact_check(opened->handle, blob.data, blob.bytes);
    const char *call = "artifact_check";
    if (code == WEIR_OK) {
        call = "program_load";
        code = table->program_load(opened->handle, view, blob.data, blob.bytes, out_program);
    }
    weir__cache_view_release(&blob);
    weir_status_t status = weir__opened_status(opened, code, call);
    if (!status || code == WEIR_DEVICE_LOST)
        return status;
    note(plan, opened, weir_status_message(status));
    weir_status_free(status);
    *out_program = 0;
    return NULL;
}

typedef struct saving {
    weir__opened_t *opened;
    weir_handle_t program;
} saving_t;

static weir_status_t fill(void *user, void *destination, uint64_t bytes)
{
    const saving_t *saving = user;
    uint64_t written = bytes;
    weir_code_t code =
        saving->opened->plugin->device.program_save(saving->program, destination, &written);
    WEIR_TRY(weir__opened_status(saving->opened, code, "program_save"));
    return written == bytes
               ? NULL
               : WEIR_ERR(WEIR_INTERNAL, "device \"%s\": program_save wrote %llu bytes of %llu",
                     saving->opened->device->name, (unsigned long long)written,
                     (unsigned long long)bytes);
}

// A program that cannot be kept works all the same.
static void save(weir_plan_t *plan, weir__opened_t *opened, weir__hash_t key, weir_handle_t program)
{
    saving_t saving = {.opened = opened, .program = program};
    uint64_t bytes = 0;
    weir__view_t blob;
    weir_code_t code = opened->plugin->device.program_save(program, NULL, &bytes);
    weir_status_t status = weir__opened_status(opened, code, "program_save");
    if (!status && bytes && bytes <= ARTIFACT_BYTES_MAX) {
        status = weir__cache_put(
            plan->runtime->cache, &plan->runtime->heap, key, bytes, fill, &saving, &blob);
        if (!status)
            weir__cache_view_release(&blob);
    }
    if (status)
        note(plan, opened, weir_status_message(status));
    weir_status_free(status);
}

weir_status_t weir__plan_compile(weir_plan_t *plan, const weir__plan_slice_t *slice,
    const weir_slice_t *view, weir_handle_t *out_program)
{
    weir__opened_t *opened = plan->devices[slice->plan_device].opened;
    const weir_device_table_t *table = &opened->plugin->device;
    bool keeps = table->program_save && table->artifact_check && table->program_load &&
                 weir__cache_is_on(plan->runtime->cache) &&
                 opened->plugin->abi.build; // without it two builds could not be told apart
    weir__hash_t key = {0};
    *out_program = 0;
    plan->info.program_count++;
    if (keeps) {
        key = key_of(plan, slice, view);
        WEIR_TRY(load(plan, opened, key, view, out_program));
        plan->info.program_cached_count += *out_program != 0;
        if (*out_program)
            return NULL;
    }
    WEIR_TRY(
        weir__opened_status(opened, table->compile(opened->handle, view, out_program), "compile"));
    if (keeps)
        save(plan, opened, key, *out_program);
    return NULL;
}
