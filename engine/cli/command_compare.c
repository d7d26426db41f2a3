// `weir compare MODEL --device X`: the first node whose output differs from that of another device.
//
// Two comparisons. Node by node: the graph as the file has it, every value an output, both devices
// on the same inputs, each fed by its own values; so an error shows where it begins and how it
// grows. Then as it is really run: the rewritten and fused model on the device, against the
// reference's graph as it is. It must not judge by more than the tolerance given.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/weir.h>

#include "engine/cli/command.h"
#include "engine/cli/differ.h"
#include "engine/cli/json.h"
#include "engine/cli/ports.h"
#include "engine/cli/subject.h"
#include "engine/cli/text.h"

typedef struct compare_options {
    const char *model;
    weir__cli_subject_t subject;
    const char *reference;
    const char *rtol;
    const char *atol;
    bool is_all;
} compare_options_t;

#define FIELD(name) .field = offsetof(compare_options_t, name)
static const weir__cli_option_t rows[] = {
    WEIR__CLI_SUBJECT_ROWS(compare_options_t,
        "what is compared (default: the devices that plans prefer)", WEIR__CLI_RANDOM_HELP,
        WEIR__CLI_DIM_HELP, "one JSON object; always with every value"),
    {.name = "--reference",
        .value_name = "NAME",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(reference),
        .help = "what it is compared with (default: ref)"},
    {.name = "--rtol",
        .value_name = "R",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(rtol),
        .help = "an element may be off by A + R times its size, or the root mean square of its\n"
                "tensor where that is larger (default: 1e-3)"},
    {.name = "--atol",
        .value_name = "A",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(atol),
        .help = "(default: 1e-4); integers and bools must be equal"},
    {.name = "--all", FIELD(is_all), .help = "shows every value, not only those that differ"},
};
#undef FIELD
static const weir__cli_syntax_t syntax = {
    .command = "compare",
    .arguments = "MODEL",
    .purpose = "Finds the first node whose output differs between two devices, and by how much.",
    .notes = "Exit code 1 when something differs. Values inside branches (If) are not looked at.\n"
             "Example: weir compare model.onnx --device cpu --dim batch=2 --all",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
    .argument_least = 1,
    .argument_most = 1,
    .argument_field = offsetof(compare_options_t, model),
};

// ---- Runs
// -------------------------------------------------------------------------------------------

// One plan of one model, run once. The values are views into its session.
typedef struct side {
    weir_plan_t *plan;
    weir_session_t *session;
    uint32_t count;
    weir_value_t *values;
} side_t;

static weir_code_t run_side(weir_model_t *model, const char *devices, const char *placement,
    const char *precision, const weir__cli_inputs_t *inputs, side_t *side, weir__cli_fault_t *fault)
{
    const weir_plan_options_t options = {.size = sizeof(options),
        .devices = devices,
        .placement = placement,
        .precision = precision};
    weir_code_t code = weir__cli_chain_take(weir_plan_create(model, &options, &side->plan), fault);
    if (code == WEIR_OK)
        code = weir__cli_chain_take(weir_session_create(side->plan, NULL, &side->session), fault);
    if (code != WEIR_OK)
        return code;
    side->count = weir_model_output_count(model);
    side->values = calloc((size_t)side->count + 1, sizeof(*side->values));
    if (!side->values)
        return weir__cli_fault_set(
            fault, WEIR_RESOURCE_EXHAUSTED, "no memory for %u values", side->count);
    for (uint32_t i = 0; i < side->count; i++)
        side->values[i] = weir_view();
    code = weir__cli_chain_take(weir_session_run(side->session, NULL, inputs->count, inputs->values,
                                    side->count, side->values),
        fault);
    return weir__cli_inputs_blame(inputs, code, fault);
}

static void close_side(side_t *side)
{
    free(side->values);
    weir_session_free(side->session);
    weir_plan_free(side->plan);
    *side = (side_t){0};
}

// ---- What is found
// ----------------------------------------------------------------------------------

typedef struct row {
    weir_port_t port;
    weir_producer_t producer; // op NULL: the input or constant that an output is
    weir__cli_difference_t difference;
    weir_value_t value;
    bool is_fused; // of the second comparison
} row_t;

typedef struct findings {
    row_t *rows;
    uint32_t count, different_count;
    const row_t *first, *worst; // NULL: nothing differs; worst: by what is allowed
} findings_t;

// The kernel of the node that an ONNX name stands for.
static const char *kernel_of(const weir_plan_t *plan, const char *origin, char *text, size_t bytes)
{
    weir_plan_node_t node = {.size = sizeof(node)};
    for (uint32_t i = 0; *origin && weir_plan_node(plan, i, &node); i++) {
        if (strcmp(node.origins, origin) != 0)
            continue;
        (void)snprintf(text, bytes, "%s:%s", node.device, node.kernel);
        return text;
    }
    return "";
}

static void add_row(findings_t *findings, const row_t *row)
{
    row_t *kept = &findings->rows[findings->count++];
    *kept = *row;
    findings->different_count += row->difference.is_different;
    if (row->difference.is_different && !findings->first)
        findings->first = kept;
    if (!findings->worst || row->difference.share > findings->worst->difference.share)
        findings->worst = kept;
}

static weir_code_t compare_nodes(weir_model_t *model, const side_t *reference, const side_t *device,
    const weir__cli_tolerance_t *tolerance, findings_t *findings, weir__cli_fault_t *fault)
{
    for (uint32_t i = 0; i < reference->count; i++) {
        row_t row = {.value = reference->values[i]};
        const weir_code_t code =
            weir__cli_chain_take(weir_model_output(model, i, &row.port), fault);
        if (code != WEIR_OK)
            return code;
        weir_status_t status = weir_model_producer(model, i, &row.producer);
        weir_status_free(status); // an output that no node makes has nothing to differ in
        row.difference = weir__cli_differ(&reference->values[i], &device->values[i], tolerance);
        add_row(findings, &row);
    }
    return WEIR_OK;
}

// The outputs of the model as it is really run, against the reference's values of the same names.
static weir_code_t compare_outputs(weir_model_t *all, const side_t *reference, weir_model_t *model,
    const side_t *device, const weir__cli_tolerance_t *tolerance, findings_t *findings,
    weir__cli_fault_t *fault)
{
    for (uint32_t i = 0; i < device->count; i++) {
        row_t row = {.value = device->values[i], .is_fused = true};
        weir_code_t code = weir__cli_chain_take(weir_model_output(model, i, &row.port), fault);
        for (uint32_t j = 0; j < reference->count && code == WEIR_OK; j++) {
            weir_port_t port;
            code = weir__cli_chain_take(weir_model_output(all, j, &port), fault);
            if (code != WEIR_OK || strcmp(port.name, row.port.name) != 0)
                continue;
            row.difference = weir__cli_differ(&reference->values[j], &device->values[i], tolerance);
            add_row(findings, &row);
            break;
        }
        if (code != WEIR_OK)
            return code;
    }
    return WEIR_OK;
}

// ---- Showing
// ----------------------------------------------------------------------------------------

static const char *node_name(const row_t *row)
{
    if (row->is_fused)
        return "the whole, fused";
    if (!row->producer.op)
        return "-";
    return *row->producer.origin ? row->producer.origin : row->port.name;
}

static void number_text(double number, char *text, size_t bytes)
{
    (void)snprintf(text, bytes, "%.3g", number);
}

static void print_text(
    const compare_options_t *options, const weir_plan_t *plan, const findings_t *findings)
{
    weir__cli_table_t table = weir__cli_table_start(7);
    static const char *const titles[] = {
        "node", "operator", "kernel", "output", "type", "error", "of allowed"};
    for (size_t i = 0; i < 7 && (options->is_all || findings->first); i++)
        weir__cli_table_add(&table, titles[i]);
    for (uint32_t i = 0; i < findings->count; i++) {
        const row_t *row = &findings->rows[i];
        char number[32], kernel[128];
        if (!options->is_all && !row->difference.is_different)
            continue;
        weir__cli_table_add(&table, node_name(row));
        weir__cli_table_add(&table, row->producer.op ? row->producer.op : "");
        weir__cli_table_add(&table,
            row->producer.op ? kernel_of(plan, row->producer.origin, kernel, sizeof(kernel)) : "");
        weir__cli_table_add(&table, row->port.name);
        weir__cli_table_add(&table,
            weir__cli_port_concrete(row->value.dtype, row->value.rank, row->value.dims).text);
        number_text(row->difference.error, number, sizeof(number));
        weir__cli_table_add(&table, number);
        number_text(row->difference.share, number, sizeof(number));
        weir__cli_table_add(&table, number);
    }
    weir__cli_table_finish(&table, 0, stdout);
    char safe[512];
    (void)printf("%s: %" PRIu32 " values compared, %" PRIu32 " differ",
        weir__cli_text_safe(options->model, safe, sizeof(safe)), findings->count,
        findings->different_count);
    if (findings->worst)
        (void)printf("; the worst, \"%s\", is off by %.3g, %.3g times what is allowed",
            weir__cli_text_safe(findings->worst->port.name, safe, sizeof(safe)),
            findings->worst->difference.error, findings->worst->difference.share);
    (void)putchar('\n');
}

static void put_row(weir__cli_json_t *json, const char *key, const row_t *row)
{
    if (!row) {
        weir__cli_json_text(json, key, NULL);
        return;
    }
    weir__cli_json_open(json, key, '{');
    weir__cli_json_text(json, "output", row->port.name);
    weir__cli_json_text(json, "node", row->producer.op ? row->producer.origin : NULL);
    weir__cli_json_text(json, "op", row->producer.op);
    weir__cli_json_bool(json, "fused", row->is_fused);
    weir__cli_json_text(json, "type",
        weir__cli_port_concrete(row->value.dtype, row->value.rank, row->value.dims).text);
    weir__cli_json_bool(json, "differs", row->difference.is_different);
    weir__cli_json_f64(json, "error", row->difference.error, 9); // null: infinite
    weir__cli_json_f64(json, "share", row->difference.share, 9);
    weir__cli_json_u64(json, "index", row->difference.index);
    weir__cli_json_f64(json, "want", row->difference.want, 17);
    weir__cli_json_f64(json, "got", row->difference.got, 17);
    weir__cli_json_close(json, '}');
}

static void print_json(const compare_options_t *options, const findings_t *findings)
{
    weir__cli_json_t json = {.out = stdout};
    weir__cli_json_open(&json, NULL, '{');
    weir__cli_json_text(&json, "model", options->model);
    weir__cli_json_text(&json, "device", options->subject.devices);
    weir__cli_json_text(&json, "reference", options->reference ? options->reference : "ref");
    weir__cli_json_u64(&json, "value_count", findings->count);
    weir__cli_json_u64(&json, "different_count", findings->different_count);
    put_row(&json, "first", findings->first);
    put_row(&json, "worst", findings->worst);
    weir__cli_json_open(&json, "values", '[');
    for (uint32_t i = 0; i < findings->count; i++)
        put_row(&json, NULL, &findings->rows[i]);
    weir__cli_json_close(&json, ']');
    weir__cli_json_close(&json, '}');
    (void)putchar('\n');
}

// A difference is this command's failure, and its one line says where it begins.
static weir_code_t judge(
    const compare_options_t *options, const findings_t *findings, weir__cli_fault_t *fault)
{
    const row_t *first = findings->first;
    if (!first)
        return WEIR_OK;
    const char *device =
        options->subject.devices ? options->subject.devices : "the preferred devices";
    const char *reference = options->reference ? options->reference : "ref";
    char place[512];
    if (first->is_fused)
        (void)snprintf(place, sizeof(place),
            "in the output \"%s\" of the rewritten and fused model, though each node agrees",
            first->port.name);
    else
        (void)snprintf(place, sizeof(place), "first at node \"%s\" (%s), output \"%s\"",
            node_name(first), first->producer.op ? first->producer.op : "none", first->port.name);
    if (!first->difference.is_comparable)
        return weir__cli_fault_set(fault, WEIR_INTERNAL,
            "%s and %s differ %s: in dtype or dims; report it to the maker of the device", device,
            reference, place);
    return weir__cli_fault_set(fault, WEIR_INTERNAL,
        "%s and %s differ %s: element %" PRIu64 " is %.9g instead of %.9g, %.3g times what is "
        "allowed; --rtol and --atol allow more, --all shows every value",
        device, reference, place, first->difference.index, first->difference.got,
        first->difference.want, first->difference.share);
}

// ---- The command
// --------------------------------------------------------------------------------------

static weir_code_t read_tolerance(
    const char *text, const char *option, double *out_number, weir__cli_fault_t *fault)
{
    char *end = NULL;
    if (!text)
        return WEIR_OK;
    *out_number = strtod(text, &end);
    if (end == text || *end || !(*out_number >= 0) || isinf(*out_number))
        return weir__cli_fault_usage(
            fault, "option %s takes a number such as 1e-3, not \"%s\"", option, text);
    return WEIR_OK;
}

static weir_code_t compare_sides(const compare_options_t *options, weir__cli_chain_t *all,
    weir__cli_chain_t *usual, const weir__cli_inputs_t *inputs,
    const weir__cli_tolerance_t *tolerance, weir__cli_fault_t *fault)
{
    side_t reference = {0}, device = {0}, fused = {0};
    findings_t findings = {0};
    char with_ref[512];
    const char *devices = options->subject.devices;
    // What one device cannot run is no difference: plain C runs it on both sides.
    if (devices && !strchr(devices, ',') && strlen(devices) + sizeof(",ref") <= sizeof(with_ref)) {
        (void)snprintf(with_ref, sizeof(with_ref), "%s,ref", devices);
        devices = with_ref;
    }
    const size_t most =
        (size_t)weir_model_output_count(all->model) + weir_model_output_count(usual->model);
    findings.rows = calloc(most + 1, sizeof(*findings.rows));
    weir_code_t code = WEIR_OK;
    if (!findings.rows)
        code =
            weir__cli_fault_set(fault, WEIR_RESOURCE_EXHAUSTED, "no memory for %zu values", most);
    if (code == WEIR_OK)
        code = run_side(all->model, options->reference ? options->reference : "ref", NULL, NULL,
            inputs, &reference, fault);
    if (code == WEIR_OK)
        code = run_side(all->model, devices, options->subject.placement, options->subject.precision,
            inputs, &device, fault);
    if (code == WEIR_OK)
        code = run_side(usual->model, devices, options->subject.placement,
            options->subject.precision, inputs, &fused, fault);
    if (code == WEIR_OK)
        code = compare_nodes(all->model, &reference, &device, tolerance, &findings, fault);
    if (code == WEIR_OK)
        code = compare_outputs(
            all->model, &reference, usual->model, &fused, tolerance, &findings, fault);
    if (code == WEIR_OK && options->subject.is_json)
        print_json(options, &findings);
    else if (code == WEIR_OK)
        print_text(options, device.plan, &findings);
    if (code == WEIR_OK)
        code = judge(options, &findings, fault);
    close_side(&fused);
    close_side(&device);
    close_side(&reference);
    free(findings.rows);
    return code;
}

static weir_code_t compare(const compare_options_t *options, weir__cli_chain_t *all,
    weir__cli_chain_t *usual, weir__cli_fault_t *fault)
{
    const weir__cli_chain_options_t how = weir__cli_subject_chain(&options->subject);
    const weir_model_options_t as_it_is = {
        .size = sizeof(as_it_is), .keep_as_is = 1, .all_outputs = 1};
    const weir__cli_inputs_wanted_t wanted =
        weir__cli_subject_inputs(&options->subject, options->model);
    weir__cli_tolerance_t tolerance = {.relative = 1e-3, .absolute = 1e-4};
    weir__cli_inputs_t inputs = {0};
    weir_code_t code = read_tolerance(options->rtol, "--rtol", &tolerance.relative, fault);
    if (code == WEIR_OK)
        code = read_tolerance(options->atol, "--atol", &tolerance.absolute, fault);
    if (code == WEIR_OK)
        code = weir__cli_chain_engine(all, &how, fault);
    if (code == WEIR_OK)
        code = weir__cli_chain_model_as(all, options->model, &as_it_is, fault);
    if (code == WEIR_OK) {
        usual->engine = all->engine;
        code = weir__cli_chain_model(usual, options->model, fault);
    }
    if (code == WEIR_OK)
        code = weir__cli_inputs_make(usual->model, &wanted, &inputs, fault);
    if (code == WEIR_OK)
        code = compare_sides(options, all, usual, &inputs, &tolerance, fault);
    weir__cli_inputs_guessed(&inputs, code);
    weir__cli_inputs_free(&inputs);
    return code;
}

weir_code_t weir__cli_compare(int argc, char **argv, weir__cli_fault_t *fault)
{
    compare_options_t options = {0};
    weir_code_t code = WEIR_OK;
    if (!weir__cli_begin(&syntax, argc, argv, &options, fault, &code))
        return code;
    weir__cli_chain_t all = {0}, usual = {0};
    code = compare(&options, &all, &usual, fault);
    usual.engine = NULL; // the other one's
    weir__cli_chain_close(&usual);
    weir__cli_chain_close(&all);
    weir__cli_options_free(&syntax, &options);
    return code;
}
