// Results of `weir run`. It must show the same facts as text and as JSON.
#include "engine/cli/outputs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cli/dtype.h"
#include "engine/cli/json.h"
#include "engine/cli/npy.h"
#include "engine/cli/ports.h"
#include "engine/cli/summary.h"
#include "engine/cli/text.h"

weir_code_t weir__cli_outputs_make(const weir_model_t *model, uint64_t run_count,
    weir__cli_outputs_t *out_outputs, weir__cli_fault_t *fault)
{
    const uint32_t count = weir_model_output_count(model);
    *out_outputs = (weir__cli_outputs_t){.count = count,
        .ports = calloc((size_t)count + 1, sizeof(weir_port_t)),
        .values = calloc((size_t)count + 1, sizeof(weir_value_t)),
        .files = calloc((size_t)count + 1, sizeof(weir__cli_filename_t)),
        .run_count = run_count,
        .run_ns = calloc((size_t)run_count, sizeof(uint64_t))};
    const char **names = calloc((size_t)count + 1, sizeof(*names));
    weir_code_t code = WEIR_OK;
    if (!out_outputs->ports || !out_outputs->values || !out_outputs->files ||
        !out_outputs->run_ns || !names)
        code =
            weir__cli_fault_set(fault, WEIR_RESOURCE_EXHAUSTED, "no memory for %u outputs", count);
    for (uint32_t i = 0; i < count && code == WEIR_OK; i++) {
        code = weir__cli_chain_take(weir_model_output(model, i, &out_outputs->ports[i]), fault);
        names[i] = out_outputs->ports[i].name;
    }
    if (code == WEIR_OK)
        weir__cli_filenames_make(count, names, out_outputs->files);
    free(names);
    return code;
}

void weir__cli_outputs_free(weir__cli_outputs_t *outputs)
{
    free(outputs->ports);
    free(outputs->values);
    free(outputs->files);
    free(outputs->run_ns);
    *outputs = (weir__cli_outputs_t){0};
}

weir_code_t weir__cli_outputs_save(
    weir__cli_outputs_t *outputs, const char *folder, weir__cli_fault_t *fault)
{
    weir_code_t code = WEIR_OK;
    for (uint32_t i = 0; i < outputs->count && code == WEIR_OK; i++)
        code = weir__cli_npy_save(folder, outputs->files[i].text, &outputs->values[i], fault);
    if (code == WEIR_OK)
        outputs->folder = folder;
    return code;
}

static int compare_ns(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a;
    const uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

typedef struct times {
    uint64_t first_ns;            // the run that met the shape
    uint64_t least_ns, median_ns; // of the later ones, if there are
    uint64_t later_count;
} times_t;

static times_t times_of(const weir__cli_outputs_t *outputs)
{
    times_t times = {.first_ns = outputs->run_ns[0], .later_count = outputs->run_count - 1};
    if (times.later_count > 0) {
        qsort(outputs->run_ns + 1, (size_t)times.later_count, sizeof(uint64_t), compare_ns);
        times.least_ns = outputs->run_ns[1];
        times.median_ns = outputs->run_ns[1 + (times.later_count - 1) / 2];
    }
    return times;
}

static void print_values(const weir__cli_inputs_t *inputs, const weir__cli_outputs_t *outputs)
{
    weir__cli_table_t table = weir__cli_table_start(4);
    for (uint32_t i = 0; i < inputs->count; i++) {
        const weir_value_t *value = &inputs->values[i];
        weir__cli_table_add(&table, "input");
        weir__cli_table_add(&table, inputs->ports[i].name);
        weir__cli_table_add(
            &table, weir__cli_port_concrete(value->dtype, value->rank, value->dims).text);
        weir__cli_table_add(&table, inputs->files[i] ? inputs->files[i] : "made up");
    }
    for (uint32_t i = 0; i < outputs->count; i++) {
        const weir_value_t *value = &outputs->values[i];
        char text[512];
        weir__cli_table_add(&table, "output");
        weir__cli_table_add(&table, outputs->ports[i].name);
        weir__cli_table_add(
            &table, weir__cli_port_concrete(value->dtype, value->rank, value->dims).text);
        if (weir__cli_dtype_bytes(value->dtype) == 0) {
            weir__cli_table_add(&table, "");
        } else {
            const weir__cli_summary_t summary = weir__cli_summary_make(value);
            weir__cli_table_add(
                &table, weir__cli_summary_text(&summary, value, text, sizeof(text)));
        }
    }
    weir__cli_table_finish(&table, 0, stdout);
}

void weir__cli_outputs_text(const char *path, const weir__cli_chain_t *chain,
    const weir__cli_inputs_t *inputs, const weir__cli_outputs_t *outputs)
{
    weir_model_info_t model = {.size = sizeof(model)};
    weir_plan_info_t plan = {.size = sizeof(plan)};
    char safe[512];
    weir_model_describe(chain->model, &model);
    weir_plan_describe(chain->plan, &plan);
    (void)printf("model   %s: %" PRIu32 " nodes, %" PRIu32 " of them on ref, %" PRIu32 " threads\n",
        weir__cli_text_safe(path, safe, sizeof(safe)), plan.node_count, plan.ref_node_count,
        weir_engine_threads(chain->engine));
    print_values(inputs, outputs);
    for (uint32_t i = 0; i < outputs->count && outputs->folder; i++)
        (void)printf("wrote   %s/%s\n", weir__cli_text_safe(outputs->folder, safe, sizeof(safe)),
            outputs->files[i].text);
    const times_t times = times_of(outputs);
    (void)printf("time    load %s%s, plan %s, %s %s", weir__cli_text_ns(model.load_ns).text,
        model.from_cache ? " (cached)" : "", weir__cli_text_ns(plan.create_ns).text,
        times.later_count ? "first run" : "run", weir__cli_text_ns(times.first_ns).text);
    if (times.later_count)
        (void)printf(", then %s (median of %" PRIu64 ", least %s)",
            weir__cli_text_ns(times.median_ns).text, times.later_count,
            weir__cli_text_ns(times.least_ns).text);
    (void)putchar('\n');
}

// The members that an input and an output have in common.
static void put_tensor(weir__cli_json_t *json, const char *name, const weir_value_t *value)
{
    weir__cli_json_text(json, "name", name);
    weir__cli_json_text(json, "dtype", weir_dtype_name(value->dtype));
    weir__cli_json_open(json, "dims", '[');
    for (uint32_t i = 0; i < value->rank; i++)
        weir__cli_json_i64(json, NULL, value->dims[i]);
    weir__cli_json_close(json, ']');
}

static void put_output(weir__cli_json_t *json, const weir__cli_outputs_t *outputs, uint32_t index)
{
    const weir_value_t *value = &outputs->values[index];
    weir__cli_json_open(json, NULL, '{');
    put_tensor(json, outputs->ports[index].name, value);
    if (weir__cli_dtype_bytes(value->dtype) != 0) {
        const weir__cli_summary_t summary = weir__cli_summary_make(value);
        weir__cli_summary_json(&summary, value, json);
    }
    weir__cli_json_text(json, "file", outputs->folder ? outputs->files[index].text : NULL);
    weir__cli_json_close(json, '}');
}

void weir__cli_outputs_json(const char *path, const weir__cli_chain_t *chain,
    const weir__cli_inputs_t *inputs, const weir__cli_outputs_t *outputs)
{
    weir_model_info_t model = {.size = sizeof(model)};
    weir_plan_info_t plan = {.size = sizeof(plan)};
    weir_session_info_t session = {.size = sizeof(session)};
    weir_model_describe(chain->model, &model);
    weir_plan_describe(chain->plan, &plan);
    weir_session_describe(chain->session, &session);
    weir__cli_json_t json = {.out = stdout};
    weir__cli_json_open(&json, NULL, '{');
    weir__cli_json_text(&json, "model", path);
    weir__cli_json_text(&json, "digest", model.digest);
    weir__cli_json_open(&json, "inputs", '[');
    for (uint32_t i = 0; i < inputs->count; i++) {
        weir__cli_json_open(&json, NULL, '{');
        put_tensor(&json, inputs->ports[i].name, &inputs->values[i]);
        weir__cli_json_text(&json, "file", inputs->files[i]);
        weir__cli_json_close(&json, '}');
    }
    weir__cli_json_close(&json, ']');
    weir__cli_json_open(&json, "outputs", '[');
    for (uint32_t i = 0; i < outputs->count; i++)
        put_output(&json, outputs, i);
    weir__cli_json_close(&json, ']');
    weir__cli_json_text(&json, "folder", outputs->folder);
    weir__cli_json_u64(&json, "threads", weir_engine_threads(chain->engine));
    weir__cli_json_u64(&json, "node_count", plan.node_count);
    weir__cli_json_u64(&json, "ref_node_count", plan.ref_node_count);
    weir__cli_json_u64(&json, "arena_bytes", session.arena_bytes);
    const times_t times = times_of(outputs);
    weir__cli_json_bool(&json, "from_cache", model.from_cache != 0);
    weir__cli_json_u64(&json, "load_ns", model.load_ns);
    weir__cli_json_u64(&json, "plan_ns", plan.create_ns);
    weir__cli_json_u64(&json, "first_run_ns", times.first_ns);
    weir__cli_json_u64(&json, "later_run_count", times.later_count);
    if (times.later_count > 0) {
        weir__cli_json_u64(&json, "later_run_median_ns", times.median_ns);
        weir__cli_json_u64(&json, "later_run_least_ns", times.least_ns);
    }
    weir__cli_json_close(&json, '}');
    (void)putchar('\n');
}
