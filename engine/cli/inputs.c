// Inputs of one run. It must not check values against the model's dtypes and shapes: the engine
// does, for every embedder alike. It only resolves names and unknown dims.
#include "engine/cli/inputs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/limits.h>

#include "engine/cli/chain.h"
#include "engine/cli/dtype.h"
#include "engine/cli/near.h"
#include "engine/cli/npy.h"
#include "engine/cli/ports.h"
#include "engine/cli/random.h"
#include "engine/cli/text.h"

// A symbolic dim that has a size: from --dim, from an input's file, or by default.
typedef struct binding {
    const char *name; // not terminated when it points into argv
    size_t name_bytes;
    int64_t size;
} binding_t;

typedef struct bindings {
    binding_t *items;
    size_t count;
} bindings_t;

static const binding_t *find_binding(const bindings_t *bindings, const char *name)
{
    const size_t bytes = strlen(name);
    for (size_t i = 0; i < bindings->count; i++) {
        const binding_t *item = &bindings->items[i];
        if (item->name_bytes == bytes && memcmp(item->name, name, bytes) == 0)
            return item;
    }
    return NULL;
}

static weir_code_t read_ports(
    const weir_model_t *model, weir__cli_inputs_t *inputs, weir__cli_fault_t *fault)
{
    const uint32_t count = weir_model_input_count(model);
    inputs->ports = calloc((size_t)count + 1, sizeof(*inputs->ports));
    inputs->values = calloc((size_t)count + 1, sizeof(*inputs->values));
    inputs->files = calloc((size_t)count + 1, sizeof(*inputs->files));
    if (!inputs->ports || !inputs->values || !inputs->files)
        return weir__cli_fault_set(
            fault, WEIR_RESOURCE_EXHAUSTED, "no memory for %u inputs", count);
    inputs->count = count;
    for (uint32_t i = 0; i < count; i++) {
        const weir_code_t code =
            weir__cli_chain_take(weir_model_input(model, i, &inputs->ports[i]), fault);
        if (code != WEIR_OK)
            return code;
    }
    return WEIR_OK;
}

// The names of the inputs, for a message. Returns `text`.
static const char *list_inputs(const weir__cli_inputs_t *inputs, char *text, size_t text_bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < inputs->count && used + 1 < text_bytes; i++) {
        char safe[96];
        const int put = snprintf(text + used, text_bytes - used, "%s%s", i ? ", " : "",
            weir__cli_text_safe(inputs->ports[i].name, safe, sizeof(safe)));
        used += (size_t)put;
    }
    return inputs->count ? text : "none";
}

static weir_code_t unknown_input(const weir__cli_inputs_t *inputs, const char *model_path,
    const char *name, weir__cli_fault_t *fault)
{
    char all[512];
    weir__cli_near_t near = weir__cli_near_start(name);
    for (uint32_t i = 0; i < inputs->count; i++)
        weir__cli_near_offer(&near, inputs->ports[i].name);
    return weir__cli_fault_set(fault, WEIR_NOT_FOUND,
        "%s has no input \"%s\"%s%s%s: its inputs are %s", model_path, name,
        near.best ? ", did you mean \"" : "", near.best ? near.best : "", near.best ? "\"?" : "",
        list_inputs(inputs, all, sizeof(all)));
}

// The input whose name starts `text` and is followed by `mark`: names may hold '=' and ':'
// themselves.
static bool find_input(
    const weir__cli_inputs_t *inputs, const char *text, char mark, uint32_t *out_index)
{
    for (uint32_t i = 0; i < inputs->count; i++) {
        const size_t bytes = strlen(inputs->ports[i].name);
        if (strncmp(text, inputs->ports[i].name, bytes) == 0 && text[bytes] == mark) {
            *out_index = i;
            return true;
        }
    }
    return false;
}

static weir_code_t load_file(const char *text, const weir__cli_inputs_wanted_t *wanted,
    weir__cli_inputs_t *inputs, weir__cli_fault_t *fault)
{
    uint32_t index = 0;
    const char *equals = strchr(text, '=');
    if (!equals)
        return weir__cli_fault_usage(
            fault, "--input takes NAME=FILE.npy, not \"%s\" (weir run --help says more)", text);
    if (!find_input(inputs, text, '=', &index)) {
        char name[128];
        (void)snprintf(name, sizeof(name), "%.*s", (int)WEIR_MIN(equals - text, 127), text);
        return unknown_input(inputs, wanted->model_path, name, fault);
    }
    if (inputs->files[index])
        return weir__cli_fault_usage(
            fault, "input \"%s\" is given twice: give it once", inputs->ports[index].name);
    inputs->files[index] = text + strlen(inputs->ports[index].name) + 1;
    return weir__cli_npy_load(inputs->files[index], &inputs->values[index], fault);
}

// Whether `name` is a dim that some input of the model leaves open.
static bool is_open_dim(const weir__cli_inputs_t *inputs, const char *name, weir__cli_near_t *near)
{
    bool is_there = false;
    for (uint32_t i = 0; i < inputs->count; i++) {
        const weir_port_t *port = &inputs->ports[i];
        for (int32_t axis = 0; axis < port->rank; axis++) {
            const char *dim_name = port->dim_names[axis];
            if (port->dims[axis] >= 0 || !dim_name)
                continue;
            is_there = is_there || strcmp(dim_name, name) == 0;
            weir__cli_near_offer(near, dim_name);
        }
    }
    uint32_t index = 0;
    uint64_t axis = 0;
    if (!is_there && find_input(inputs, name, ':', &index)) {
        const weir_port_t *port = &inputs->ports[index];
        const char *number = name + strlen(port->name) + 1;
        is_there = port->rank > 0 &&
                   weir__cli_options_number(number, 0, (uint64_t)port->rank - 1, &axis) &&
                   port->dims[axis] < 0;
    }
    return is_there;
}

static weir_code_t bind_option(const char *text, const weir__cli_inputs_wanted_t *wanted,
    const weir__cli_inputs_t *inputs, bindings_t *bindings, weir__cli_fault_t *fault)
{
    const char *equals = strrchr(text, '=');
    uint64_t size = 0;
    if (!equals || equals == text || !weir__cli_options_number(equals + 1, 0, INT64_MAX, &size))
        return weir__cli_fault_usage(fault,
            "--dim takes NAME=N with a whole number N, not \"%s\" (weir run --help says more)",
            text);
    char name[256];
    (void)snprintf(name, sizeof(name), "%.*s", (int)WEIR_MIN(equals - text, 255), text);
    weir__cli_near_t near = weir__cli_near_start(name);
    if (!is_open_dim(inputs, name, &near))
        return weir__cli_fault_set(fault, WEIR_NOT_FOUND,
            "%s has no open dim \"%s\"%s%s%s: weir inspect %s shows the names; INPUT:AXIS names "
            "one "
            "without a name",
            wanted->model_path, name, near.best ? ", did you mean \"" : "",
            near.best ? near.best : "", near.best ? "\"?" : "", wanted->model_path);
    if (find_binding(bindings, name))
        return weir__cli_fault_usage(fault, "dim \"%s\" is given twice: give it once", name);
    bindings->items[bindings->count++] =
        (binding_t){.name = text, .name_bytes = (size_t)(equals - text), .size = (int64_t)size};
    return WEIR_OK;
}

// A --dim that says something else than the file, for this axis or for the axis's name.
static weir_code_t check_against_options(const weir__cli_inputs_t *inputs, uint32_t index,
    int32_t axis, const bindings_t *options, weir__cli_fault_t *fault)
{
    const weir_port_t *port = &inputs->ports[index];
    const int64_t size = inputs->values[index].dims[axis];
    char place[256];
    (void)snprintf(place, sizeof(place), "%s:%d", port->name, axis);
    const char *names[] = {place, port->dim_names[axis]};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const binding_t *found = names[i] ? find_binding(options, names[i]) : NULL;
        if (found && found->size != size)
            return weir__cli_fault_usage(fault,
                "--dim %s=%" PRId64 " contradicts %s, where axis %d of input \"%s\" is %" PRId64
                ": leave it out, or give another file",
                names[i], found->size, inputs->files[index], axis, port->name, size);
    }
    return WEIR_OK;
}

// What files say about symbolic dims holds for the inputs that are made up. So far the bindings are
// those of the options.
static weir_code_t bind_from_files(
    const weir__cli_inputs_t *inputs, bindings_t *bindings, weir__cli_fault_t *fault)
{
    const bindings_t options = *bindings;
    for (uint32_t i = 0; i < inputs->count; i++) {
        const weir_port_t *port = &inputs->ports[i];
        if (!inputs->files[i] || port->rank != (int32_t)inputs->values[i].rank)
            continue;
        for (int32_t axis = 0; axis < port->rank; axis++) {
            const char *name = port->dim_names[axis];
            if (port->dims[axis] >= 0)
                continue;
            const weir_code_t code = check_against_options(inputs, i, axis, &options, fault);
            if (code != WEIR_OK)
                return code;
            if (name && !find_binding(bindings, name))
                bindings->items[bindings->count++] = (binding_t){
                    .name = name, .name_bytes = strlen(name), .size = inputs->values[i].dims[axis]};
        }
    }
    return WEIR_OK;
}

// The size of an open dim; 1 when nothing says. Each name is noted once.
static int64_t size_of_dim(
    weir__cli_inputs_t *inputs, const weir_port_t *port, int32_t axis, bindings_t *bindings)
{
    char place[256];
    (void)snprintf(place, sizeof(place), "%s:%d", port->name, axis);
    const binding_t *found = find_binding(bindings, place);
    const char *name = port->dim_names[axis];
    if (!found && name)
        found = find_binding(bindings, name);
    if (found)
        return found->size;
    char *guessed = inputs->guessed_dims;
    const size_t used = strlen(guessed);
    (void)snprintf(guessed + used, sizeof(inputs->guessed_dims) - used, "%s%s", used ? ", " : "",
        name ? name : place);
    if (name)
        bindings->items[bindings->count++] =
            (binding_t){.name = name, .name_bytes = strlen(name), .size = 1};
    return 1;
}

// Room for a made-up value whose dims are set. What no session takes, and what this machine has no
// memory for, is refused before a page of it is touched.
static weir_code_t make_room(
    const char *model_path, const weir_port_t *port, weir_value_t *value, weir__cli_fault_t *fault)
{
    const weir__cli_port_text_t type =
        weir__cli_port_concrete(value->dtype, value->rank, value->dims);
    weir_limits_t limits;
    weir_limits_default(&limits);
    if (!weir__cli_dtype_size(value->dtype, value->rank, value->dims, &value->capacity_bytes) ||
        value->capacity_bytes > limits.tensor_bytes)
        return weir__cli_fault_set(fault, WEIR_LIMIT,
            "input \"%s\" %s of %s is larger than any tensor may be, %" PRIu64
            " bytes: give a smaller --dim",
            port->name, type.text, model_path, limits.tensor_bytes);
    const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    const bool is_too_much = pages > 0 && page_bytes > 0 &&
                             value->capacity_bytes / (uint64_t)page_bytes >= (uint64_t)pages;
    if (!is_too_much)
        value->data = malloc(value->capacity_bytes ? (size_t)value->capacity_bytes : 1);
    if (!value->data)
        return weir__cli_fault_set(fault, WEIR_RESOURCE_EXHAUSTED,
            "input \"%s\" %s of %s does not fit into memory: give a smaller --dim", port->name,
            type.text, model_path);
    return WEIR_OK;
}

static weir_code_t make_random(const weir__cli_inputs_wanted_t *wanted, weir__cli_inputs_t *inputs,
    uint32_t index, bindings_t *bindings, weir__cli_fault_t *fault)
{
    const weir_port_t *port = &inputs->ports[index];
    weir_value_t *value = &inputs->values[index];
    const weir__cli_port_text_t type = weir__cli_port_type(port);
    if (!wanted->seed.is_set)
        return weir__cli_fault_set(fault, WEIR_INVALID_ARGUMENT,
            "input \"%s\" %s of %s has no value: give --input %s=FILE.npy, or --random SEED",
            port->name, type.text, wanted->model_path, port->name);
    if (port->rank < 0 || weir__cli_dtype_bytes(port->dtype) == 0)
        return weir__cli_fault_set(fault, WEIR_INVALID_ARGUMENT,
            "input \"%s\" %s of %s cannot be made up: %s; give --input %s=FILE.npy", port->name,
            type.text, wanted->model_path,
            port->rank < 0 ? "its rank is not known" : "weir has no such random values",
            port->name);
    *value = (weir_value_t){.dtype = port->dtype, .rank = (uint32_t)port->rank};
    for (int32_t axis = 0; axis < port->rank; axis++)
        value->dims[axis] =
            port->dims[axis] >= 0 ? port->dims[axis] : size_of_dim(inputs, port, axis, bindings);
    const weir_code_t code = make_room(wanted->model_path, port, value, fault);
    if (code != WEIR_OK)
        return code;
    weir__cli_random_fill(wanted->seed.value, port->name, value->dtype,
        value->capacity_bytes / weir__cli_dtype_bytes(value->dtype), value->data);
    return WEIR_OK;
}

static weir_code_t fill(const weir__cli_inputs_wanted_t *wanted, weir__cli_inputs_t *inputs,
    bindings_t *bindings, weir__cli_fault_t *fault)
{
    weir_code_t code = WEIR_OK;
    for (size_t i = 0; i < wanted->files.count && code == WEIR_OK; i++)
        code = load_file(wanted->files.items[i], wanted, inputs, fault);
    for (size_t i = 0; i < wanted->dims.count && code == WEIR_OK; i++)
        code = bind_option(wanted->dims.items[i], wanted, inputs, bindings, fault);
    if (code == WEIR_OK)
        code = bind_from_files(inputs, bindings, fault);
    for (uint32_t i = 0; i < inputs->count && code == WEIR_OK; i++) {
        if (!inputs->files[i])
            code = make_random(wanted, inputs, i, bindings, fault);
    }
    return code;
}

weir_code_t weir__cli_inputs_make(const weir_model_t *model,
    const weir__cli_inputs_wanted_t *wanted, weir__cli_inputs_t *out_inputs,
    weir__cli_fault_t *fault)
{
    *out_inputs = (weir__cli_inputs_t){0};
    const weir_code_t code = read_ports(model, out_inputs, fault);
    if (code != WEIR_OK)
        return code;
    // Each name is bound once, so this is room for all.
    const size_t most = wanted->dims.count + (size_t)out_inputs->count * WEIR_RANK_MAX;
    bindings_t bindings = {.items = calloc(most + 1, sizeof(binding_t))};
    if (!bindings.items)
        return weir__cli_fault_set(fault, WEIR_RESOURCE_EXHAUSTED, "no memory for %zu dims", most);
    const weir_code_t filled = fill(wanted, out_inputs, &bindings, fault);
    free(bindings.items);
    return filled;
}

void weir__cli_inputs_guessed(const weir__cli_inputs_t *inputs, weir_code_t code)
{
    char safe[sizeof(inputs->guessed_dims)];
    if (code == WEIR_OK && *inputs->guessed_dims)
        (void)fprintf(stderr,
            "weir: note: open dims that nothing sets count as 1: %s; --dim NAME=N sets one\n",
            weir__cli_text_safe(inputs->guessed_dims, safe, sizeof(safe)));
}

weir_code_t weir__cli_inputs_blame(
    const weir__cli_inputs_t *inputs, weir_code_t code, weir__cli_fault_t *fault)
{
    // Every other code is about the device, the time or the memory.
    const bool is_of_shapes =
        code == WEIR_INVALID_ARGUMENT || code == WEIR_UNSUPPORTED || code == WEIR_LIMIT;
    const size_t used = strlen(fault->text);
    if (is_of_shapes && *inputs->guessed_dims)
        (void)snprintf(fault->text + used, sizeof(fault->text) - used,
            " (open dims that nothing sets count as 1: %s; --dim NAME=N sets one)",
            inputs->guessed_dims);
    return code;
}

void weir__cli_inputs_free(weir__cli_inputs_t *inputs)
{
    for (uint32_t i = 0; i < inputs->count; i++)
        free(inputs->values[i].data);
    free(inputs->values);
    free(inputs->ports);
    free(inputs->files);
    *inputs = (weir__cli_inputs_t){0};
}
