// tests/scheduler/scenario.c: from a seed to a scenario of many kinds of trouble.
#include <string.h>

#include "tests/scheduler/sim.h"

static uint32_t pick(sim_random_t *random, const uint32_t *from, uint32_t count)
{
    return from[sim_random_below(random, count)];
}

#define PICK(random, ...)                                                                          \
    pick(random, (const uint32_t[]){__VA_ARGS__},                                                  \
        (uint32_t)(sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)))

// Rows per second of one model on all devices, if it had them for itself.
static uint64_t capacity_of(const sim_scenario_t *scenario, const sim_model_t *model)
{
    uint64_t rows = 0;
    for (uint32_t d = 0; d < scenario->device_count; d++) {
        const sim_device_t *device = &scenario->devices[d];
        uint32_t at_once =
            device->slot_count < device->instances ? device->slot_count : device->instances;
        uint64_t ns = (model->fixed_ns + model->row_ns * model->batch_rows) * device->percent / 100;
        rows += 1000000000ull * model->batch_rows * at_once / ns;
    }
    return rows + 1;
}

static void draw_machine(sim_random_t *random, sim_scenario_t *scenario)
{
    scenario->device_count = sim_random_between(random, 1, 3);
    // One draw a statement: an initialiser has no order, and a seed is to mean the same everywhere.
    for (uint32_t d = 0; d < scenario->device_count; d++) {
        sim_device_t *it = &scenario->devices[d];
        it->slot_count = sim_random_between(random, 1, 2);
        it->percent = d ? PICK(random, 50, 100, 300) : 100;
        it->jitter_permille = PICK(random, 0, 30, 100, 300);
        it->instances = sim_random_between(random, 1, 2);
    }
    scenario->model_count = sim_random_between(random, 1, 3);
    for (uint32_t m = 0; m < scenario->model_count; m++) {
        sim_model_t *it = &scenario->models[m];
        it->batch_rows = PICK(random, 1, 4, 8, 16, 32);
        it->version = 1;
        it->fixed_ns = sim_random_between(random, 100, 2000) * 1000ull;
        it->row_ns = sim_random_between(random, 10, 300) * 1000ull;
    }
}

static void draw_stream(sim_random_t *random, sim_scenario_t *scenario, uint32_t index)
{
    sim_stream_t *it = &scenario->streams[index];
    it->model = index % scenario->model_count;
    const sim_model_t *model = &scenario->models[it->model];
    it->version = 1;
    it->dtype = sim_random_below(random, 2);
    it->shape_count = PICK(random, 1, 1, 2, SIM_SHAPE_MAX);
    it->tenant = index % scenario->tenant_count;
    it->priority = PICK(random, 0, 0, 1, 3);
    it->rows_max = model->batch_rows >= 8 ? PICK(random, 1, 1, 3) : 1;
    it->burst = PICK(random, 1, 1, 1, 20);
    uint64_t full = model->fixed_ns + model->row_ns * model->batch_rows;
    it->slo_ns = full * PICK(random, 0, 12, 25, 25, 50, 200) / 10;
    uint64_t load_percent = PICK(random, 5, 30, 90, 200, 400);
    uint64_t rate = capacity_of(scenario, model) * load_percent / 100 * 2 / (it->rows_max + 1) /
                    scenario->stream_count;
    it->gap_ns = 1000000000ull * it->burst / (rate + 1) + 1;
    if (it->gap_ns > 100 * SIM_MS)
        it->gap_ns = 100 * SIM_MS;
    it->once_permille = PICK(random, 0, 0, 50);
    it->cancel_permille = PICK(random, 0, 20, 200);
    it->poison_permille = PICK(random, 0, 0, 5, 30);
    it->bad_permille = PICK(random, 0, 10, 40);
}

static void draw_faults(sim_random_t *random, sim_scenario_t *scenario)
{
    scenario->fault_count = sim_random_between(random, 1, 8);
    uint32_t step = 100;
    for (uint32_t i = 0; i < scenario->fault_count; i++) {
        sim_fault_t *it = &scenario->faults[i];
        step += sim_random_between(random, 20, scenario->step_count / 10);
        it->at_step = step;
        uint32_t kind = sim_random_below(random, SIM_FAULT_KIND_COUNT + 2);
        it->kind = kind < SIM_FAULT_KIND_COUNT ? (sim_fault_kind_t)kind : SIM_FAULT_LOST;
        it->device = sim_random_below(random, scenario->device_count);
        it->value = it->kind == SIM_FAULT_SLOW ? PICK(random, 50, 100, 200, 400)
                                               : PICK(random, 1, 20, 100, SIM_REQUEST_MAX);
    }
}

// Tenants alike, all of them asking for more than there is: each has to get its part.
static void make_fair(sim_random_t *random, sim_scenario_t *scenario)
{
    scenario->fair = 1;
    scenario->device_count = 1;
    scenario->devices[0] = (sim_device_t){1, 100, 30, 1};
    scenario->model_count = sim_random_between(random, 1, 2);
    scenario->tenant_count = scenario->stream_count = 2;
    scenario->step_count = 8000;
    scenario->count_max = SIM_REQUEST_MAX - 100;
    uint32_t rows = PICK(random, 4, 8);
    for (uint32_t m = 0; m < scenario->model_count; m++)
        scenario->models[m] = (sim_model_t){rows, 1, 500000, 100000};
    for (uint32_t s = 0; s < 2; s++) {
        sim_stream_t *it = &scenario->streams[s];
        *it = (sim_stream_t){.model = s % scenario->model_count,
            .version = 1,
            .shape_count = 1,
            .tenant = s,
            .rows_max = 1,
            .burst = 1};
        it->slo_ns = sim_random_below(random, 2) ? 40 * SIM_MS : 0;
        it->gap_ns = 1000000000ull / capacity_of(scenario, &scenario->models[0]);
        it->gap_ns = it->gap_ns * (s ? 6 : 2) / 10; // one asks for five times its part
        scenario->weights[s] = PICK(random, 1, 1, 3);
    }
    scenario->fault_count = 1;
    scenario->faults[0] = (sim_fault_t){SIM_FAULT_SLOW, 0, 3000, 0, PICK(random, 50, 200)};
}

// Overload with deadlines on a machine that does not jitter much.
static void make_honest(sim_random_t *random, sim_scenario_t *scenario)
{
    make_fair(random, scenario);
    scenario->fair = 0;
    scenario->honest = 1;
    for (uint32_t s = 0; s < 2; s++) {
        const sim_model_t *model = &scenario->models[scenario->streams[s].model];
        scenario->streams[s].slo_ns = (model->fixed_ns + model->row_ns * model->batch_rows) * 3;
    }
    scenario->faults[0].value = 120;
}

// Devices that go and come back in turns while their batches are long: some requests meet two of
// them.
static void make_flapping(sim_random_t *random, sim_scenario_t *scenario)
{
    scenario->device_count = 2;
    for (uint32_t d = 0; d < 2; d++)
        scenario->devices[d] = (sim_device_t){2, 100, 100, 2};
    for (uint32_t m = 0; m < scenario->model_count; m++)
        scenario->models[m].fixed_ns = 5 * SIM_MS;
    scenario->fault_count = SIM_FAULT_MAX;
    for (uint32_t i = 0; i < scenario->fault_count; i++)
        scenario->faults[i] = (sim_fault_t){
            SIM_FAULT_LOST, 0, 300 + i * sim_random_between(random, 20, 150), i % 2, 0};
}

void sim_scenario_from_seed(uint64_t seed, sim_scenario_t *scenario)
{
    sim_random_t random = {seed * 0x9E3779B97F4A7C15u + 1};
    memset(scenario, 0, sizeof *scenario);
    scenario->seed = seed;
    scenario->end_ns = UINT64_MAX;
    scenario->row_steps = seed / 16 % 2;
    scenario->step_count = sim_random_between(&random, 2000, 4000);
    scenario->count_max = PICK(&random, 20, 200, SIM_REQUEST_MAX - 100);
    scenario->bytes_max = PICK(&random, 15000, 150000, 1u << 30);
    scenario->lane_count = PICK(&random, 3, 64);
    scenario->flow_count = PICK(&random, 8, 128);
    scenario->action_capacity = PICK(&random, WEIR__CORE_ACTION_COUNT_MIN, 32, 512);
    scenario->drain_ns = PICK(&random, 0, 1, 50) * SIM_MS;
    scenario->tenant_count = sim_random_between(&random, 1, SIM_TENANT_MAX);
    for (uint32_t t = 0; t < scenario->tenant_count; t++)
        scenario->weights[t] = PICK(&random, 1, 1, 3);
    draw_machine(&random, scenario);
    scenario->stream_count = sim_random_between(&random, 1, SIM_STREAM_MAX);
    for (uint32_t i = 0; i < scenario->stream_count; i++)
        draw_stream(&random, scenario, i);
    draw_faults(&random, scenario);
    if (seed % 16 == 5)
        make_fair(&random, scenario);
    if (seed % 16 == 9)
        make_honest(&random, scenario);
    if (seed % 16 == 13)
        make_flapping(&random, scenario);
    if (scenario->fair || scenario->honest) {
        scenario->bytes_max = 1u << 30;
        scenario->lane_count = 64;
        scenario->flow_count = 128;
    }
}
