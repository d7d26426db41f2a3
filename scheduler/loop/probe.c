// scheduler/loop/probe.c: before rows are stacked: do they answer as they do alone, bit by bit?
//
// Three rows that differ run alone and then stacked, in the batch sizes that will be used, and each
// answer is compared with that of the row alone. The same runs, timed, tell the core what batches
// cost. On the thread that adds the model, with an instance nobody uses yet.
#include "scheduler/loop/loop.h"

#include <stdlib.h>
#include <string.h>

#define ROWS 3
#define SEEDS (WEIR__INPUTS_MAX + 2) // of one row's inputs
#define LENGTH 16                    // of a free dim that is not that of rows, where none is given
#define CHECK_NS (1000 * WEIR_MS)    // no new batch size after that, but for 2 and the greatest

typedef struct probe {
    weir_scheduler_t *scheduler;
    weir__served_t *served;
    weir__command_t *command;
    weir__instance_t *instance;
    weir_value_t *rows[ROWS];  // inputs
    weir_value_t *alone[ROWS]; // outputs
    weir_value_t *one;         // an output of a stacked row
    uint32_t placed;
    uint64_t begin_ns;
} probe_t;

static bool make_room(weir_value_t *value)
{
    uint64_t count = weir_value_count(value), bytes = count * weir_dtype_bytes(value->dtype);
    if (count > UINT32_MAX)
        return false;
    free(value->data);
    value->capacity_bytes = bytes;
    value->data = aligned_alloc(64, ((size_t)bytes + 64) & ~(size_t)63);
    return value->data != NULL;
}

static void fill_value(weir_value_t *value, uint32_t seed)
{
    uint64_t count = weir_value_count(value), random = seed * 0x9e3779b97f4a7c15u + 1;
    size_t element_bytes = weir_dtype_bytes(value->dtype);
    bool odd = seed / SEEDS % 2; // the row
    for (uint64_t i = 0; i < count; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        char *at = (char *)value->data + i * element_bytes;
        memset(at, 0, element_bytes);
        float small = (float)(random >> 40) / (float)(1 << 23) - 1;
        double wide = small;
        // Indices and masks: 0 and 1 are right for most, some 1 for a mask, and rows that differ; a
        // half and a bfloat16 of some size below 1.
        uint16_t half = (uint16_t)(value->dtype == WEIR_BF16 ? 0x3f00 + (random >> 58)
                                                             : 0x3800 + (random >> 56));
        if (value->dtype == WEIR_F32)
            memcpy(at, &small, sizeof small);
        else if (value->dtype == WEIR_F64)
            memcpy(at, &wide, sizeof wide);
        else if (value->dtype == WEIR_F16 || value->dtype == WEIR_BF16)
            memcpy(at, &half, sizeof half);
        else
            *at = (char)(i == 0 ? count > 1 || !odd : i == 1 ? odd : random >> 63);
    }
}

static bool is_real(weir_dtype_t dtype)
{
    return dtype == WEIR_F32 || dtype == WEIR_F64 || dtype == WEIR_F16 || dtype == WEIR_BF16;
}

static void rotate_value(weir_value_t *value, const weir_value_t *given, uint32_t by)
{
    uint64_t count = weir_value_count(value);
    size_t element_bytes = weir_dtype_bytes(value->dtype);
    for (uint64_t i = 0; i < count; i++)
        memcpy((char *)value->data + i * element_bytes,
            (const char *)given->data + (i + by) % count * element_bytes, element_bytes);
}

static weir_status_t make_row(probe_t *probe, uint32_t row, const weir_serving_options_t *options)
{
    const weir__served_t *served = probe->served;
    for (uint32_t i = 0; i < served->input_count; i++) {
        const weir_port_t *port = &served->inputs[i];
        weir_value_t *value = &probe->rows[row][i];
        *value = (weir_value_t){.dtype = port->dtype};
        if (options->sample) {
            const weir_value_t *given = &options->sample[i];
            if (given->dtype != port->dtype || given->rank > WEIR_RANK_MAX)
                return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
                    "%s@%s: the sample of \"%s\" has another type than the model's input",
                    served->name, served->version, port->name);
            *value = *given;
            value->data = NULL;
            if (!make_room(value) || given->capacity_bytes < value->capacity_bytes)
                return WEIR_FAIL(WEIR_INVALID_ARGUMENT, "%s@%s: the sample of \"%s\" has no data",
                    served->name, served->version, port->name);
            memcpy(value->data, given->data, (size_t)value->capacity_bytes);
            // Rows have to differ: numbers are others, indices the same in another order.
            if (row && served->input_axes[i] != WEIR_AXIS_NONE) {
                if (is_real(value->dtype))
                    fill_value(value, row + 1);
                else
                    rotate_value(value, given, row);
            }
            continue;
        }
        value->rank = port->rank < 0 ? 0 : (uint32_t)port->rank;
        for (uint32_t d = 0; d < value->rank; d++)
            value->dims[d] = port->dims[d] >= 0                    ? port->dims[d]
                             : (int32_t)d == served->input_axes[i] ? 1
                                                                   : LENGTH;
        if (!make_room(value))
            return weir__loop_no_memory();
        // Inputs without rows are the same for all.
        fill_value(value, served->input_axes[i] == WEIR_AXIS_NONE ? 1 : row * SEEDS + i + 2);
    }
    return NULL;
}

static weir_status_t run(probe_t *probe, const weir_value_t *inputs, uint64_t *out_elapsed_ns)
{
    const weir__served_t *served = probe->served;
    weir__instance_t *instance = probe->instance;
    for (uint32_t i = 0; i < served->output_count; i++)
        instance->outputs[i] = weir_view();
    uint64_t begin_ns = weir_now_ns();
    WEIR_TRY(weir_session_run(instance->session, NULL, served->input_count, inputs,
        served->output_count, instance->outputs));
    *out_elapsed_ns = weir_now_ns() - begin_ns;
    return NULL;
}

// Row `first` of what has just run, into memory of its own.
static bool take_row(
    probe_t *probe, uint32_t run_rows, uint32_t first, uint32_t row, weir_value_t *out_outputs)
{
    const weir_value_t *inputs[WEIR__INPUTS_MAX];
    for (uint32_t i = 0; i < probe->served->input_count; i++)
        inputs[i] = &probe->rows[row][i];
    for (uint32_t i = 0; i < probe->served->output_count; i++) {
        const weir_value_t *batch = &probe->instance->outputs[i];
        int32_t axis = probe->served->output_axes[i];
        if (probe->served->max_batch > 1 &&
            (axis >= (int32_t)batch->rank || batch->dims[axis] % run_rows))
            return false;
        if (!out_outputs[i].data || out_outputs[i].capacity_bytes < batch->capacity_bytes) {
            weir_value_t like = *batch;
            like.data = out_outputs[i].data;
            out_outputs[i] = like;
            if (!make_room(&out_outputs[i]))
                return false;
        }
        out_outputs[i].dtype = batch->dtype;
        if (!weir__pack_out(probe->served, i, batch, run_rows, first, 1, inputs, &out_outputs[i]))
            return false;
    }
    return true;
}

static weir_status_t stack(probe_t *probe, uint32_t rows, weir_value_t *batch)
{
    for (uint32_t i = 0; i < probe->served->input_count; i++) {
        void *data = batch[i].data;
        batch[i] = (weir_value_t){.data = data};
        weir__pack_dims(probe->served, i, &probe->rows[0][i], rows, &batch[i]);
        if (!make_room(&batch[i]))
            return weir__loop_no_memory();
        for (uint32_t r = 0; r < rows; r++)
            if (r == 0 || probe->served->input_axes[i] != WEIR_AXIS_NONE)
                weir__pack_rows(probe->served, i, &probe->rows[r % ROWS][i], 1, r, &batch[i]);
    }
    return NULL;
}

static bool same_bytes(const weir_value_t *a, const weir_value_t *b)
{
    uint64_t bytes = weir_value_count(a) * weir_dtype_bytes(a->dtype);
    return a->rank == b->rank && memcmp(a->dims, b->dims, a->rank * sizeof a->dims[0]) == 0 &&
           (!bytes || memcmp(a->data, b->data, (size_t)bytes) == 0);
}

// Rows that are alike agree whatever a model does with them: that says nothing.
static bool rows_differ(const probe_t *probe)
{
    for (uint32_t i = 0; i < probe->served->input_count; i++)
        if (probe->served->input_axes[i] != WEIR_AXIS_NONE &&
            !same_bytes(&probe->rows[0][i], &probe->rows[1][i]))
            return true;
    return false;
}

static bool rows_agree(probe_t *probe, uint32_t rows)
{
    for (uint32_t r = 0; r < rows; r++) {
        if (!take_row(probe, rows, r, r % ROWS, probe->one))
            return false;
        for (uint32_t i = 0; i < probe->served->output_count; i++)
            if (!same_bytes(&probe->one[i], &probe->alone[r % ROWS][i]))
                return false;
    }
    return true;
}

static weir_status_t learn(probe_t *probe, uint32_t rows, uint64_t elapsed_ns)
{
    const weir_value_t *inputs[WEIR__INPUTS_MAX];
    for (uint32_t i = 0; i < probe->served->input_count; i++)
        inputs[i] = &probe->rows[0][i];
    weir__command_t *command = probe->command;
    weir__sample_t *grown = realloc(command->samples, (command->sample_count + 1) * sizeof *grown);
    if (!grown)
        return weir__loop_no_memory();
    command->samples = grown;
    weir__sample_t *sample = &grown[command->sample_count];
    *sample = (weir__sample_t){.placed = probe->placed, .rows = rows, .elapsed_ns = elapsed_ns};
    sample->key = calloc(weir__shape_key_capacity(probe->served), sizeof *sample->key);
    if (!sample->key)
        return weir__loop_no_memory();
    sample->key_count = weir__shape_key(probe->served, inputs, sample->key, &sample->hash);
    command->sample_count++;
    return NULL;
}

// One batch size: right (*out_agree, where `check`)? and where `warm`, what it costs, the second
// time.
static weir_status_t try_rows(probe_t *probe, uint32_t rows, bool check, bool warm, bool *out_agree)
{
    weir_value_t batch[WEIR__INPUTS_MAX];
    memset(batch, 0, sizeof batch);
    uint64_t first_ns = 0, second_ns = 0;
    weir_status_t status = stack(probe, rows, batch);
    if (!status)
        status = run(probe, batch, &first_ns);
    if (!status && check)
        *out_agree = rows_agree(probe, rows);
    if (!status && warm)
        status = run(probe, batch, &second_ns);
    if (!status && warm)
        status = learn(probe, rows, WEIR_MIN(first_ns, second_ns));
    for (uint32_t i = 0; i < probe->served->input_count; i++)
        free(batch[i].data);
    return status;
}

static weir_status_t run_alone(probe_t *probe)
{
    for (uint32_t row = 0; row < ROWS; row++) {
        weir_value_t batch[WEIR__INPUTS_MAX];
        memset(batch, 0, sizeof batch);
        weir_status_t status = NULL;
        for (uint32_t i = 0; i < probe->served->input_count && !status; i++) {
            weir__pack_dims(probe->served, i, &probe->rows[row][i], 1, &batch[i]);
            if (!make_room(&batch[i]))
                status = weir__loop_no_memory();
            else
                weir__pack_rows(probe->served, i, &probe->rows[row][i], 1, 0, &batch[i]);
        }
        uint64_t elapsed_ns;
        if (!status)
            status = run(probe, batch, &elapsed_ns);
        if (!status && !take_row(probe, 1, 0, row, probe->alone[row]))
            status = WEIR_FAIL(WEIR_INVALID_ARGUMENT, "an output has no rows");
        for (uint32_t i = 0; i < probe->served->input_count; i++)
            free(batch[i].data);
        WEIR_TRY(status);
    }
    return NULL;
}

// 2 and the greatest size first, then the others while there is time.
static weir_status_t check_rows(probe_t *probe, uint32_t *out_differs)
{
    uint32_t most = probe->served->max_batch;
    bool agree = true;
    *out_differs = 0;
    if (!rows_differ(probe))
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT, "the rows it would compare are all alike");
    WEIR_TRY(run_alone(probe));
    for (uint32_t rows = 2; rows <= most && agree;) {
        bool due = rows == 2 || rows == most || weir_now_ns() - probe->begin_ns < CHECK_NS;
        if (due)
            WEIR_TRY(try_rows(probe, rows, true, false, &agree));
        if (!agree)
            *out_differs = rows;
        rows = rows == most ? most + 1 : weir__shape_round(rows + 1, most);
    }
    return NULL;
}

static weir_status_t warm_up(probe_t *probe, uint32_t wanted)
{
    uint32_t most = WEIR_MIN(wanted, probe->served->max_batch);
    // The curve has points at powers of two. The other sizes that batches of at most so many are
    // run at are tried since the first run of a shape takes longest; not on a plan that is freed
    // right after. The largest always is: what its run takes is what a seat is charged.
    for (uint32_t rows = 1; rows <= most; rows++) {
        rows = weir__shape_round(rows, probe->served->max_batch);
        bool is_power = (rows & (rows - 1)) == 0;
        if (is_power || rows == probe->served->max_batch || !probe->served->path)
            WEIR_TRY(try_rows(probe, rows, false, is_power, NULL));
    }
    return NULL;
}

static weir_status_t open_probe(probe_t *probe, const weir_serving_options_t *options)
{
    const weir__served_t *served = probe->served;
    probe->one = calloc(served->output_count + 1u, sizeof *probe->one);
    for (uint32_t r = 0; r < ROWS; r++) {
        probe->rows[r] = calloc(served->input_count + 1u, sizeof *probe->rows[r]);
        probe->alone[r] = calloc(served->output_count + 1u, sizeof *probe->alone[r]);
        if (!probe->one || !probe->rows[r] || !probe->alone[r])
            return weir__loop_no_memory();
        WEIR_TRY(make_row(probe, r, options));
    }
    return NULL;
}

static void free_values(weir_value_t *values, uint32_t count)
{
    for (uint32_t i = 0; values && i < count; i++)
        free(values[i].data);
    free(values);
}

static void close_probe(probe_t *probe)
{
    for (uint32_t r = 0; r < ROWS; r++) {
        free_values(probe->rows[r], probe->served->input_count);
        free_values(probe->alone[r], probe->served->output_count);
    }
    free_values(probe->one, probe->served->output_count);
}

// What was measured for stacked rows is no use to a model that runs one request at a time.
static void do_not_stack(probe_t *probe, const char *why)
{
    probe->served->max_batch = 1;
    snprintf(probe->served->batching, sizeof probe->served->batching, "not stacked: %.140s", why);
    for (uint32_t i = 0; i < probe->command->sample_count; i++)
        free(probe->command->samples[i].key);
    probe->command->sample_count = 0;
}

static weir_status_t probe_device(probe_t *probe, const weir_serving_options_t *options)
{
    probe->instance = NULL;
    for (uint32_t i = 0; i < probe->scheduler->limits.instance_count; i++) {
        weir__instance_t *instance = &probe->scheduler->instances[i];
        if (instance->served == probe->served &&
            instance->placed == &probe->served->placed[probe->placed])
            probe->instance = instance;
    }
    if (!probe->instance) // the device is away
        return NULL;
    probe->begin_ns = weir_now_ns();
    char why[144];
    if (options->batching == WEIR_BATCHING_AUTO && probe->served->max_batch > 1) {
        uint32_t differs;
        weir_status_t status = check_rows(probe, &differs);
        if (status)
            snprintf(why, sizeof why, "the check did not run (%.80s); options.sample may help",
                weir_status_message(status));
        else if (differs)
            snprintf(why, sizeof why, "rows alone and in a batch of %u have other bits", differs);
        if (status || differs)
            do_not_stack(probe, why);
        weir_status_free(status);
    }
    if (!options->warm_rows)
        return NULL;
    weir_status_t status = warm_up(probe, options->warm_rows);
    if (status && !options->sample) { // made-up inputs need not suit every model
        weir__loop_log(probe->scheduler, WEIR_LOG_WARNING, 0, "%s@%s: no warm-up: %s",
            probe->served->name, probe->served->version, weir_status_text(status));
        weir_status_free(status);
        status = NULL;
    }
    return status;
}

weir_status_t weir__probe(weir_scheduler_t *scheduler, weir__served_t *served,
    const weir_serving_options_t *options, weir__command_t *command)
{
    probe_t probe = {.scheduler = scheduler, .served = served, .command = command};
    bool checks = options->batching == WEIR_BATCHING_AUTO && served->max_batch > 1;
    if (!checks && !options->warm_rows)
        return NULL;
    weir_status_t status = open_probe(&probe, options);
    for (; probe.placed < served->placed_count && !status; probe.placed++)
        status = probe_device(&probe, options);
    close_probe(&probe);
    return status;
}
